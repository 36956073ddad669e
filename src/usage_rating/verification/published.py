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
Record = dict[str, Any]


@dataclass
class Published:
    """The rows of each table; of invoices also their lines, by invoice_id."""

    tables: dict[str, list[Record]]
    lines: dict[str, list[Record]] = field(default_factory=dict)
    invoices: dict[str, Record] = field(default_factory=dict)


def read_published(night: Path, files: list[str]) -> Published:
    """Reads the tables of a night, figures as fractions and instants as microseconds.

    :raises OSError, ValueError: a file cannot be read
    """
    tables: dict[str, list[Record]] = {name: [] for name in TABLES}
    for name in sorted(files):
        table = name.split("/", maxsplit=1)[0]
        if table in tables and name.endswith(".parquet"):
            tables[table] += [_exact(row) for row in pq.read_table(night / name).to_pylist()]
    published = Published(tables)
    for invoice in sorted(tables["invoices"], key=lambda row: (row["rate_card"], row["invoice_number"])):
        published.invoices[invoice["invoice_id"]] = invoice
        published.lines[invoice["invoice_id"]] = []
    for line in tables["invoice_lines"]:
        published.lines.setdefault(line["invoice_id"], []).append(line)
    return published


def _exact(row: Record) -> Record:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return Fraction(value)
    return micros(value) if isinstance(value, datetime) else value
