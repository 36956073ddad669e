"""An explanation as text, for a person."""

from collections.abc import Iterator

from usage_rating.explanation.model import Explanation, Line, Section, SourceRow
from usage_rating.figures import plain, span

ROWS_SHOWN = 20


def as_text(explained: Explanation) -> str:
    """The whole explanation; of many rows the first are shown and the others counted."""
    return "\n".join(_text(explained)) + "\n"


def _text(explained: Explanation) -> Iterator[str]:
    invoice, digits = explained.invoice, explained.minor_digits
    yield f"Invoice {invoice['invoice_number']} of {invoice['rate_card']}, {invoice['invoice_id']}"
    kind = invoice["kind"]
    corrects = f" of {invoice['corrects_invoice_id']}" if kind == "correction" else ""
    payer = invoice["bill_to_account_id"]
    paid = "" if payer == invoice["account_id"] else f", paid by {payer}"
    yield f"  {kind}{corrects} for {invoice['subscription_id']} of account {invoice['account_id']}{paid}"
    yield (
        f"  dated {invoice['issue_date']}, issued by run {explained.run_id} as of {invoice['issued_as_of']}, "
        f"due {invoice['due_date']}"
    )
    yield f"  total {plain(invoice['total'], digits)} {invoice['currency']}"
    yield from _section("Cycle", explained.cycle)
    yield from _section("Rate card", explained.card)
    for line in explained.lines:
        yield from _line(line, digits, is_correction=kind == "correction")
    if not explained.lines:
        yield from ("", "No line: nothing was owed.")
    elif len(explained.lines) > 1:
        parts = [plain(line.amount, digits) for line in explained.lines]
        shown = " + ".join(f"({part})" if part.startswith("-") else part for part in parts)
        total = plain(sum(line.amount for line in explained.lines), digits)
        yield from ("", f"Total: {shown} = {total} {invoice['currency']}")
    yield from _section("Prepaid credit", explained.credit)


def _section(title: str, section: Section) -> Iterator[str]:
    if section.says:
        yield ""
        yield title
        for says in section.says:
            yield f"  {says}"
        yield from _rows(section.rows)


def _line(line: Line, digits: int, *, is_correction: bool) -> Iterator[str]:
    yield ""
    plan = f" ({line.plan})" if line.plan else ""
    yield f"Line {line.line_number}: {line.kind} {line.charge}{plan}, {plain(line.amount, digits)}"
    days = span(line.service_start, line.service_end)
    yield f"  {line.description}; for {days}; version {line.rate_card_version} of the card prices it"
    for step in line.steps:
        yield f"  - {step}"
    yield from _rows(line.rows, "made by" if is_correction else "rests on")


def _rows(rows: list[SourceRow], how: str = "rests on") -> Iterator[str]:
    if rows:
        yield f"  {how} {'this row' if len(rows) == 1 else f'these {len(rows):,} rows'}:"
    for row in rows[:ROWS_SHOWN]:
        content = ", ".join(f"{name}={value}" for name, value in row.content.items())
        yield f"    {row.file}:{row.row_number}  {content}" + (f"  [{row.note}]" if row.note else "")
    if len(rows) > ROWS_SHOWN:
        yield f"    and {len(rows) - ROWS_SHOWN:,} more; --json has all"
