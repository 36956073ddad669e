"""What a run did, as figures and as text for the person who started it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True)
class FeedCount:
    """What was newly read of a feed: files, rows, and how many of those rows were rejected for good."""

    feed: str
    files: int
    rows: int
    rejected: int


def rows_read(feeds: Iterable[FeedCount]) -> int:
    """How many rows were newly read of all feeds, rejected ones included."""
    return sum(feed.rows for feed in feeds)


@dataclass(frozen=True)
class RefusedCount:
    """How many rows this run found refused or waiting, by feed and reason."""

    feed: str
    status: str
    reason: str
    rows: int


@dataclass(frozen=True)
class InvoiceTotal:
    """The invoices this run issued of one rate card, currency and kind, and what they come to."""

    rate_card: str
    currency: str
    kind: str
    invoices: int
    total: Decimal


@dataclass(frozen=True)
class HeldTotal:
    """The invoices that wait for one reason, of one kind and currency, and what they come to."""

    reason: str
    kind: str
    currency: str
    invoices: int
    total: Decimal


@dataclass(frozen=True)
class Alert:
    """What a customer should know now: a spending limit nearly or wholly reached, or credit that ran out.

    `threshold` is the share of `limit_amount` reached at `reached_at`, by `event_id`; of credit these are empty.
    """

    account_id: str
    subscription_id: str
    cycle_start: date
    kind: str
    threshold: Decimal | None
    limit_amount: Decimal | None
    reached_at: datetime | None
    event_id: str | None
    currency: str


@dataclass(frozen=True)
class NightReport:
    """A run's summary. `run_id` is None where nothing had changed, and so nothing was published.

    `seconds` is the time that passed from taking hold of the output folder until the night counted.
    """

    run_id: str | None
    as_of: date
    output: Path
    feeds: list[FeedCount]
    refused: list[RefusedCount]
    invoices: list[InvoiceTotal]
    held: list[HeldTotal] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def print_report(report: NightReport) -> None:
    """Prints the summary: rows by feed, refused rows by reason, invoices and money, speed, where to look next."""
    from rich.console import Console  # noqa: PLC0415  (only a run needs it, not `--help`)

    console = Console(highlight=False, soft_wrap=True)
    if report.run_id is None:
        console.print(f"Nothing new as of {report.as_of}: no file, no invoice due. Nothing was published.")
    else:
        console.print(f"Run {report.run_id}, billed up to {report.as_of}")
    for note in report.notes:
        console.print(f"  {note}", markup=False)
    for title, headings, rows in _sections(report):
        if rows:
            console.print()
            _print_table(console, title, headings, rows)
    if report.run_id is not None:
        console.print()
        if count := rows_read(report.feeds):
            console.print(_speed(count, report.seconds))
        console.print(f"Next: duckdb -readonly {report.output}/billing.duckdb 'from invoices'", markup=False)
        if report.refused:
            console.print("      'from rejected_rows' says for each row what was expected and what to do", markup=False)
        if report.held:
            console.print("      'from held_invoices' says for each invoice why it waits and what to do", markup=False)


def _speed(rows: int, seconds: float) -> str:
    a_second = float(f"{rows / seconds:.3g}")  # more digits would differ from run to run
    return f"{rows:,} rows read and rated in {seconds:,.1f} s: {a_second:,.0f} rows a second"


def print_preview(report: NightReport, to: Path | None) -> None:
    """Prints what open cycles would come to, and where it was written."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"If every open cycle ended on {report.as_of} (nothing is issued):")
    for title, headings, rows in _sections(report):
        if rows and title == "Issued":
            _print_table(console, "Preview", headings, rows)
    if to:
        console.print(f"wrote {to}/invoices.csv, invoice_lines.csv, control_totals.csv", markup=False)


def _sections(report: NightReport) -> list[tuple[str, list[str], list[list[str]]]]:
    return [
        (
            "Read",
            ["feed", "files", "rows", "rejected"],
            [[f.feed, f"{f.files:,}", f"{f.rows:,}", f"{f.rejected:,}"] for f in report.feeds],
        ),
        (
            "Refused or waiting",
            ["feed", "status", "reason", "rows"],
            [[r.feed, r.status, r.reason, f"{r.rows:,}"] for r in report.refused],
        ),
        (
            "Issued",
            ["rate card", "currency", "kind", "invoices", "total"],
            [[i.rate_card, i.currency, i.kind, f"{i.invoices:,}", f"{i.total:,}"] for i in report.invoices],
        ),
        (
            "Held",
            ["reason", "kind", "currency", "invoices", "total"],
            [[h.reason, h.kind, h.currency, f"{h.invoices:,}", f"{h.total:,}"] for h in report.held],
        ),
    ]


def _print_table(console: object, title: str, headings: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    assert isinstance(console, Console)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        numeric = heading in ("files", "rows", "rejected", "invoices", "total")
        table.add_column(heading, justify="right" if numeric else "left", style=None, header_style="dim", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
