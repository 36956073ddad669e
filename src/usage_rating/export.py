"""A month's invoices as files for finance: invoices, lines, and the totals to check a copy against."""

import csv
import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from iso4217 import Currency

from usage_rating.errors import BadInput
from usage_rating.files import hash_of, private_files
from usage_rating.store import Store
from usage_rating.tables import TABLES

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
FORMATS = ("csv",)
TOTALS = [
    *("currency", "rate_card", "kind", "invoices", "lines", "total"),
    *("sha256_of_invoices", "sha256_of_invoice_lines"),
]


def export_month(output: Path, month: str, to: Path, format: str) -> list[Path]:  # noqa: A002
    """Writes `invoices.csv`, `invoice_lines.csv` and `control_totals.csv` of the invoices issued in a month.

    :param month: YYYY-MM, of issue_date in the account's zone
    :returns: the files written
    :raises BadInput: no such month or format, no published night, or the folder cannot be written
    """
    first = _first_of(month)
    if format not in FORMATS:
        raise BadInput([f"--format {format}: not a format that is written. Choose {', '.join(FORMATS)}."])
    files = Store(output).published_files("invoices", "invoice_lines")
    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        invoices, lines = (engine.read_parquet([str(path) for path in own]) for own in files)
        in_month = f"issue_date >= date '{first}' and issue_date < date '{_next(first)}'"
        return write_bills(invoices.filter(in_month), lines, to)


def write_bills(invoices: duckdb.DuckDBPyRelation, lines: duckdb.DuckDBPyRelation, to: Path) -> list[Path]:
    """Writes invoices, those lines that are theirs, and control totals, as CSV files below `to`.

    Amounts are written with their currency's own decimals. The control totals count and add up what the other two
    files hold, by currency, rate card and kind, and give the SHA-256 of each file.

    :raises BadInput: the folder cannot be written
    """
    bills = _rows(invoices, "invoices")
    currencies = {bill["invoice_id"]: bill["currency"] for bill in bills}
    items = [
        line | {"currency": currencies[line["invoice_id"]]}
        for line in _rows(lines, "invoice_lines")
        if line["invoice_id"] in currencies
    ]
    tables = [
        ("invoices", list(TABLES["invoices"].columns), bills),
        ("invoice_lines", [*TABLES["invoice_lines"].columns, "currency"], items),
    ]
    try:
        with private_files():
            to.mkdir(parents=True, exist_ok=True)
            files = [_write(to / f"{name}.csv", headings, rows) for name, headings, rows in tables]
            files.append(_write(to / "control_totals.csv", TOTALS, _control_totals(bills, items, files)))
    except OSError as error:
        raise BadInput([f"{to}: cannot be written: {error.strerror}."]) from None
    return files


def _first_of(month: str) -> date:
    if not re.fullmatch(r"[1-9][0-9]{3}-(0[1-9]|1[0-2])", month) or month >= "9999-12":
        raise BadInput([f"--month {month}: not a month such as 2024-03."])
    return date.fromisoformat(f"{month}-01")


def _next(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _rows(relation: duckdb.DuckDBPyRelation, table: str) -> list[dict[str, Any]]:
    columns = list(TABLES[table].columns)
    rows = relation.project(", ".join(columns)).order(", ".join(TABLES[table].order)).fetchall()
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _control_totals(
    invoices: list[dict[str, Any]], lines: list[dict[str, Any]], files: list[Path]
) -> list[dict[str, Any]]:
    line_counts: dict[str, int] = {}
    for line in lines:
        line_counts[line["invoice_id"]] = line_counts.get(line["invoice_id"], 0) + 1
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for invoice in invoices:
        groups.setdefault((invoice["currency"], invoice["rate_card"], invoice["kind"]), []).append(invoice)
    hashes = {f"sha256_of_{path.stem}": hash_of(path) for path in files}
    return [
        {
            "currency": currency,
            "rate_card": card,
            "kind": kind,
            "invoices": len(members),
            "lines": sum(line_counts.get(invoice["invoice_id"], 0) for invoice in members),
            "total": sum((invoice["total"] for invoice in members), Decimal(0)),
            **hashes,
        }
        for (currency, card, kind), members in sorted(groups.items())
    ]


def _write(path: Path, headings: list[str], rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(headings)
        for row in rows:
            writer.writerow([_cell(name, row[name], row["currency"]) for name in headings])
    return path


def _cell(name: str, value: Any, currency: str) -> str:
    """Amounts in the currency's own decimals; text that a spreadsheet would run gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        if name in ("total", "amount"):
            return f"{value:.{Currency(currency).exponent}f}"
        return f"{value.normalize():f}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA_STARTS) else text
