"""Source rows: the rows of input files that a figure rests on."""

from collections.abc import Iterable
from datetime import datetime

from usage_rating.explanation.model import SourceRow
from usage_rating.explanation.published import Record
from usage_rating.explanation.rework import State
from usage_rating.feeds import FEEDS
from usage_rating.figures import text_of
from usage_rating.ingest import DEFAULTS


def source_row(feed: str, row: Record, note: str = "") -> SourceRow:
    """A row as it was read; what it leaves out is left out."""
    said = {c.name: text_of(row[c.name]) for c in FEEDS[feed].columns if row.get(c.name) is not None}
    content = {name: value for name, value in said.items() if DEFAULTS.get(name) != value}
    return SourceRow(feed, row["file"], row["row_number"], row["run_number"], content, note)


def usage_rows(rows: Iterable[Record]) -> list[SourceRow]:
    """Usage rows, in the order in which they occurred."""
    return [source_row("usage", row) for row in rows]


def usage_of(state: State, cycle_start: object, meter: str, plan: str | None = None) -> list[Record]:
    """The usage rows of a meter in a cycle that count, in order: those of one plan, or of all, priced or not."""
    verdicts = ("counted",) if plan else ("counted", "unpriced")
    rows = [
        row
        for row in state.of("usage_judged", cycle_start=cycle_start, meter=meter)
        if row["verdict"] in verdicts and plan in (None, row["plan"])
    ]
    return sorted(rows, key=lambda row: (row["occurred_at"], row["event_id"]))


def plan_row(state: State, at: datetime, *, is_end: bool = False) -> tuple[Record, list[SourceRow]]:
    """The plan in force at an instant, or just before it, and the row that brought it."""
    spans = [
        span
        for span in state.relations["plan_spans"]
        if (span["plan_from"] < at if is_end else span["plan_from"] <= at)
        and (span["plan_until"] is None or (at <= span["plan_until"] if is_end else at < span["plan_until"]))
    ]
    span = max(spans, key=lambda each: each["plan_from"])
    named = [
        row
        for row in state.of("subscriptions_judged", verdict="counted", plan=span["plan"])
        if row["effective_at"] <= span["plan_from"] and row["event"] != "cancelled"
    ]
    newest = sorted(named, key=lambda row: row["effective_at"])[-1:]
    return span, [source_row("subscriptions", row, f"brings the plan {span['plan']}") for row in newest]
