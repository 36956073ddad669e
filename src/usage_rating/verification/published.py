"""The published tables, as their Parquet files hold them."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from usage_rating.verification.values import micros

TABLES = (
    "invoices",
    "invoice_lines",
    "usage_history",
    "alerts",
    "credit_ledger",
    "rejected_rows",
    "held_invoices",
    "balances",
    "runs",
)
OF_FEEDS = ("rows_in", "rated", "not_due", "duplicate", "superseded", "voided", "unpriced", "rejected", "held")
OF_MONEY = (
    "currency",
    "charge_kind",
    "denominator",
    "before_numerator",
    "shortfall",
    "capped",
    "clipped",
    "rounding_numerator",
    "billed_before",
    "billed",
)
# Columns that may be empty; a balance is of a feed or of money.
MAY_BE_EMPTY: dict[str, set[str]] = {
    "invoices": {"corrects_invoice_id"},
    "invoice_lines": {"unit_price"},
    "usage_history": {"minimum", "shortfall", "peak_at"},
    "alerts": {"subscription_id", "cycle_start", "threshold", "limit_amount", "reached_at", "event_id", "invoice_id"},
    "rejected_rows": {"detail", "raw", "held_since"},
    "held_invoices": {"detail"},
}
Record = dict[str, Any]


class IncompleteError(ValueError):
    """A published table lacks what each row of it has."""


@dataclass
class Published:
    """The rows of each table; of invoices also their lines, by invoice_id."""

    tables: dict[str, list[Record]]
    lines: dict[str, list[Record]] = field(default_factory=dict)
    invoices: dict[str, Record] = field(default_factory=dict)


def read_published(night: Path, files: list[str]) -> Published:
    """Reads the tables of a night, figures as fractions and instants as microseconds.

    :raises OSError, ValueError: a file cannot be read
    :raises IncompleteError: a row lacks a value that no row may lack, or has 0 for a denominator
    """
    tables: dict[str, list[Record]] = {name: [] for name in TABLES}
    for name in sorted(files):
        table = name.split("/", maxsplit=1)[0]
        if table in tables and name.endswith(".parquet"):
            rows = [_exact(row) for row in pq.read_table(night / name).to_pylist()]
            _check_filled(name, table, rows)
            tables[table] += rows
    published = Published(tables)
    for invoice in sorted(tables["invoices"], key=lambda row: (row["rate_card"], row["invoice_number"])):
        published.invoices[invoice["invoice_id"]] = invoice
        published.lines[invoice["invoice_id"]] = []
    for line in tables["invoice_lines"]:
        published.lines.setdefault(line["invoice_id"], []).append(line)
    return published


def _check_filled(name: str, table: str, rows: list[Record]) -> None:
    for number, row in enumerate(rows, start=1):
        empty = {column for column, value in row.items() if value is None} - MAY_BE_EMPTY.get(table, set())
        if table == "balances":
            empty &= {"run_id", *OF_FEEDS} if row["feed"] is not None else {"run_id", *OF_MONEY}
            empty |= {"denominator"} if row["denominator"] == 0 else set()
        if empty:
            raise IncompleteError(f"{name}: row {number} has no {', '.join(sorted(empty))}")


def _exact(row: Record) -> Record:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return Fraction(value)
    return micros(value) if isinstance(value, datetime) else value
