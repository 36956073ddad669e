"""The lines of an invoice, each worked out step by step by what its kind asks for."""

from collections.abc import Callable

from usage_rating.explanation import carts, counted, fees, limits
from usage_rating.explanation.context import Context, Worked
from usage_rating.explanation.model import Line, SourceRow
from usage_rating.explanation.published import Record

BY_KIND: dict[str, Callable[[Context, Record], Worked]] = {
    "recurring": fees.recurring,
    "peak": carts.peak,
    "usage": counted.usage,
    "minimum": counted.minimum,
    "cap": counted.cap,
    "upgrade": fees.upgrade,
    "one_off": fees.one_off,
    "spending_limit": limits.spending_limit,
}
ROWS_BY_KIND: dict[str, Callable[[Context, Record], list[SourceRow]]] = {
    "recurring": fees.recurring_rows,
    "peak": carts.peak_rows,
    "usage": counted.charge_rows,
    "minimum": counted.minimum_rows,
    "cap": counted.charge_rows,
    "upgrade": fees.upgrade_rows,
    "one_off": fees.one_off_rows,
    "spending_limit": limits.spending_limit_rows,
}
SAID = ("kind", "charge", "plan", "rate_card_version", "description", "quantity", "unit_price", "amount")
SAID_IN_ALL = (*SAID, "service_start", "service_end")


def explained_lines(context: Context) -> list[Line]:
    """Every line of an invoice as the stages work it out, in their order."""
    return [explained(context, line, number) for number, line in enumerate(context.lines, start=1)]


def explained(context: Context, line: Record, number: int) -> Line:
    """One line. What its steps come to is what it bills, or the explanation would be a fault of ours."""
    worked = BY_KIND[line["kind"]](context, line)
    assert worked.amount == line["amount"], f"the steps of {line['charge']} come to {worked.amount}"
    said = {name: line[name] for name in SAID_IN_ALL}
    return Line(line_number=number, steps=worked.steps, rows=worked.rows, details=worked.details, **said)
