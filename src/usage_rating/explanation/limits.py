"""The line of a spending limit, step by step: the limits in force, the row that crossed, what was clipped and when."""

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from usage_rating.explanation.context import Context, Worked
from usage_rating.explanation.counted import charge_rows, minimum_rows
from usage_rating.explanation.model import SourceRow
from usage_rating.explanation.published import Record
from usage_rating.explanation.rows import source_row
from usage_rating.figures import added, in_brackets, instant, money, plain, rounded, rounding
from usage_rating.rate_cards import RateCard

SHOWN_MAX = 20
LIMITED = ("usage", "minimum", "cap")
ROWS_LIMITED = {"usage": charge_rows, "minimum": minimum_rows}


@dataclass(frozen=True)
class Limit:
    """A spending limit: from when on, and the row that agreed on it; no row where it is the rate card's own."""

    since: datetime
    amount: Decimal
    row: Record | None


def spending_limit(context: Context, line: Record) -> Worked:
    """What usage came to under its limit, row by row, and what the limit took."""
    card, state = context.card(line), context.state
    limits = limits_in_force(context)
    steps = state.of("usage_clipped", cycle_start=line["service_start"])
    said = [_said(limit, card, state.day_begins(line["service_start"])) for limit in limits]
    said += _row_by_row(context, steps, card)
    said += _before_each_raise(steps, card)
    exact = sum((Fraction(each["amount"]) - Fraction(each["clipped"]) for each in steps), Fraction(0))
    due = sum((Fraction(each["amount"]) for each in steps), Fraction(0))
    said.append(
        f"charged in all: {money(due, card)} due less {money(due - exact, card)} clipped: "
        f"{money(due, card)} - {money(due - exact, card)} = {money(exact, card)}"
    )
    said += rounding(exact, card)
    said += _alerts(context, line, card)
    amounts = [Fraction(each["amount"]) for each in context.lines if each["kind"] in LIMITED]
    total = sum(amounts, Fraction(0))
    if len(amounts) > 1:
        said.append(
            f"the lines of usage, minimums and caps: {added([money(each, card) for each in amounts])} = "
            f"{money(total, card)}"
        )
    amount = rounded(exact, card) - total
    said.append(
        "one line brings them to what is charged: "
        f"{money(rounded(exact, card), card)} - {in_brackets(money(total, card))} = {money(amount, card)}"
    )
    details = json.loads(line["evidence"]) | {
        "limits": [{"from": limit.since, "limit": money(limit.amount, card)} for limit in limits],
        "rows_charged": [
            {
                "at": each["instant"],
                "event_id": each["event_id"],
                "charge": each["charge"],
                "plan": each["plan"],
                "due": plain(each["amount"]),
                "clipped": plain(each["clipped"]),
                "charged_so_far": plain(each["billed"]),
                "limit": None if each["limit_amount"] is None else plain(each["limit_amount"]),
            }
            for each in steps
        ],
    }
    return Worked(said, amount, spending_limit_rows(context, line), details)


def spending_limit_rows(context: Context, line: Record) -> list[SourceRow]:
    """The limits of the cycle, and the usage rows of all the charges that they are over, each once."""
    found: dict[tuple[str, int, int], SourceRow] = {}
    for each in context.lines:
        if each["kind"] in ROWS_LIMITED:
            found |= {row.place: row for row in ROWS_LIMITED[each["kind"]](context, each)}
    agreed = [source_row("spending_limits", limit.row) for limit in limits_in_force(context) if limit.row]
    return [*agreed, *found.values()]


def limits_in_force(context: Context) -> list[Limit]:
    """The limits in force in the cycle, in order: the one at its start, and each raise within it."""
    cycle = context.state.one("billing_cycles", cycle_start=context.invoice["cycle_start"])
    agreed = sorted(
        (
            Limit(row["agreed_at"], row["limit_amount"], row)
            for row in context.state.of("spending_limits_judged", verdict="counted")
            if row["agreed_at"] < cycle["ends_at"]
        ),
        key=lambda limit: limit.since,
    )
    earlier = [limit for limit in agreed if limit.since <= cycle["starts_at"]]
    own = context.state.cards[context.invoice["rate_card_version"]].spending_limit
    if earlier:
        first = [max(earlier, key=lambda limit: limit.amount)]
    else:
        first = [Limit(cycle["starts_at"], own.default, None)] if own and own.default is not None else []
    return first + [limit for limit in agreed if limit.since > cycle["starts_at"]]


def _said(limit: Limit, card: RateCard, starts_at: datetime) -> str:
    amount = money(limit.amount, card)
    if limit.row is None:
        return f"in force when the cycle began: {amount}, the rate card's own, for none was agreed by then"
    says = f"in force when the cycle began: {amount}" if limit.since <= starts_at else f"raised to {amount}"
    return f"{says}, agreed at {instant(limit.since)} ({limit.row['file']}:{limit.row['row_number']})"


def _row_by_row(context: Context, steps: list[Record], card: RateCard) -> list[str]:
    """Each row with the running total; of many those from the first one on that was clipped."""
    if len(steps) > SHOWN_MAX:
        crossed = next((number for number, each in enumerate(steps) if each["clipped"] > 0), 0)
        shown = list(enumerate(steps))[crossed : crossed + SHOWN_MAX]
        before = [f"{crossed:,} rows before were charged in full"] if crossed else []
        left = steps[crossed + SHOWN_MAX :]
    else:
        shown, before, left = list(enumerate(steps)), [], []
    said = []
    for number, each in shown:
        so_far = Fraction(steps[number - 1]["billed"]) if number else Fraction(0)
        said.append(_row(context, each, so_far, card))
    if left:
        clipped = sum((Fraction(each["clipped"]) for each in left), Fraction(0))
        said.append(f"{len(left):,} more rows follow; of them {money(clipped, card)} was clipped")
    return before + said


def _row(context: Context, each: Record, so_far: Fraction, card: RateCard) -> str:
    due, clipped = Fraction(each["amount"]), Fraction(each["clipped"])
    where = _place(context, each)
    total = f"{money(so_far, card)} + {money(due, card)} = {money(so_far + due, card)}"
    if not clipped:
        return f"{where}: {total}"
    charged = due - clipped
    word = "this row crosses it" if charged else "nothing of this row is charged"
    limit = money(each["limit_amount"], card)
    return (
        f"{where}: {total}, and the limit is {limit}: {word}. Charged {money(charged, card)}, clipped "
        f"{money(due, card)} - {money(charged, card)} = {money(clipped, card)}; "
        f"so far {money(so_far, card)} + {money(charged, card)} = {money(so_far + charged, card)}"
    )


def _place(context: Context, each: Record) -> str:
    what = f"{each['charge']} ({each['plan']})"
    if each["phase"]:
        return f"at the cycle's end, {'the shortfall of ' if each['phase'] == 2 else ''}{what}"
    row = next((r for r in context.state.of("usage_judged", verdict="counted", event_id=each["event_id"])), None)
    file = f" ({row['file']}:{row['row_number']})" if row else ""
    return f"{instant(each['instant'])}, event {each['event_id']}{file}, {what}"


def _before_each_raise(steps: list[Record], card: RateCard) -> list[str]:
    """What was lost under each limit: a raise does not bring it back."""
    by_limit: dict[Any, Fraction] = {}
    for each in steps:
        by_limit[each["limit_amount"]] = by_limit.get(each["limit_amount"], Fraction(0)) + Fraction(each["clipped"])
    limits = list(by_limit)
    said = []
    for limit, raised in zip(limits, [*limits[1:], None], strict=True):
        if by_limit[limit]:
            then = f", before the raise to {money(raised, card)}, and it stays clipped" if raised is not None else ""
            said.append(f"clipped under the limit of {money(limit, card)}: {money(by_limit[limit], card)}{then}")
    return said


def _alerts(context: Context, line: Record, card: RateCard) -> list[str]:
    found = context.published.alerts(context.invoice["subscription_id"], line["service_start"])
    said = [
        f"alert: {plain(Fraction(each['threshold']) * 100)} % of {money(each['limit_amount'], card)} was reached at "
        f"{instant(each['reached_at'])} by event {each['event_id']}, told by run {each['run_id']}"
        for each in found
    ]
    return said or ["no alert was told while the cycle was open"]
