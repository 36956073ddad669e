"""Fees, upgrades and purchases, step by step."""

import json
from datetime import datetime, timedelta
from fractions import Fraction

from usage_rating.explanation.context import Context, Worked
from usage_rating.explanation.model import SourceRow
from usage_rating.explanation.published import Record
from usage_rating.explanation.rework import State
from usage_rating.explanation.rows import plan_row, source_row
from usage_rating.figures import added, instant, money, plain, rounded, rounding, span
from usage_rating.rate_cards import RateCard, RecurringCharge


def recurring(context: Context, line: Record) -> Worked:
    """A fee: which plan's, why it is on this invoice, and its days."""
    card, evidence = context.card(line), json.loads(line["evidence"])
    price = Fraction(context.charge(line).price.flat)
    days, whole_days = int(evidence["days"]), int(evidence["whole_days"])
    is_advance = evidence["bill"] == "advance"
    at = _decided_at(context.state, line, is_advance=is_advance)
    steps = [
        f"the fee of the plan {line['plan']} for {span(line['service_start'], line['service_end'])}, in "
        f"{evidence['bill']}: that plan was in force at the cycle's {'first' if is_advance else 'last'} active "
        f"instant, {'' if is_advance else 'just before '}{instant(at)}"
    ]
    if is_advance and line["service_start"] == context.invoice["cycle_end"]:
        steps.append("a fee in advance stands on the invoice of the day on which its cycle begins")
    amount = price * days / whole_days
    if days == whole_days:
        steps.append(f"1 x {money(price, card)} = {money(amount, card)}")
    else:
        steps.append(
            f"the first cycle has {days} of the {whole_days} days of a whole one: "
            f"{money(price, card)} x {days} / {whole_days} = {money(amount, card)}"
        )
    return Worked([*steps, *rounding(amount, card)], rounded(amount, card), recurring_rows(context, line), evidence)


def recurring_rows(context: Context, line: Record) -> list[SourceRow]:
    """The row that brought the plan whose fee it is."""
    is_advance = json.loads(line["evidence"])["bill"] == "advance"
    at = _decided_at(context.state, line, is_advance=is_advance)
    return plan_row(context.state, at, is_end=not is_advance)[1]


def _decided_at(state: State, line: Record, *, is_advance: bool) -> datetime:
    """The instant whose plan's fee it is: the first active one of the cycle it is for, or the end of the last."""
    segments = state.of("active_segments", cycle_start=line["service_start"])
    at: datetime = min(s["segment_from"] for s in segments) if is_advance else max(s["segment_until"] for s in segments)
    return at


def upgrade(context: Context, line: Record) -> Worked:
    """An upgrade: day n of N, the days left, the difference of the fees."""
    card, evidence = context.card(line), json.loads(line["evidence"])
    changed_at = datetime.fromisoformat(evidence["changed_at"])
    left, whole = int(evidence["days_remaining"]), int(evidence["whole_days"])
    changed_on, cycle_end = line["service_start"], context.invoice["cycle_end"]
    first, last = context.invoice["cycle_start"], cycle_end - timedelta(days=1)
    steps = [
        f"changed from {evidence['plan_before']} to {line['plan']} at {instant(changed_at)}, on {changed_on}: "
        f"day {(changed_on - first).days + 1} of {(cycle_end - first).days}",
        f"the day of the change is not counted: after it {left} day{'' if left == 1 else 's'} remain, up to and "
        f"including {last}; a whole cycle has {whole}",
    ]
    fees = []
    for plan in (line["plan"], evidence["plan_before"]):
        said, fee = _advance_fees(card, plan)
        steps.append(said)
        fees.append(fee)
    amount = (fees[0] - fees[1]) * left / whole
    steps.append(f"({money(fees[0], card)} - {money(fees[1], card)}) x {left} / {whole} = {money(amount, card)}")
    return Worked([*steps, *rounding(amount, card)], rounded(amount, card), upgrade_rows(context, line), evidence)


def upgrade_rows(context: Context, line: Record) -> list[SourceRow]:
    """The rows that brought the plan before and the one after."""
    changed_at = datetime.fromisoformat(json.loads(line["evidence"])["changed_at"])
    return [row for is_end in (True, False) for row in plan_row(context.state, changed_at, is_end=is_end)[1]]


def _advance_fees(card: RateCard, plan: str) -> tuple[str, Fraction]:
    fees = [
        Fraction(charge.price.flat or 0)
        for charge in card.plans[plan].values()
        if isinstance(charge, RecurringCharge) and charge.bill == "advance"
    ]
    total = sum(fees, Fraction(0))
    parts = [money(fee, card) for fee in fees]
    how = f"{added(parts)} = {money(total, card)}" if len(parts) > 1 else money(total, card)
    return f"fees in advance of {plan}: {how}", total


def one_off(context: Context, line: Record) -> Worked:
    """A purchase: its own row says what it costs."""
    card = context.card(line)
    row = context.state.one("one_off_charges_judged", charge_id=line["charge"], verdict="counted")
    amount = Fraction(row["amount"])
    steps = [
        f"bought at {instant(row['purchased_at'])}, which is {line['service_start']} for the customer and lies in this "
        "invoice's cycle",
        f"1 x {plain(amount, card.minor_digits)} = {money(amount, card)}",
    ]
    return Worked(steps, amount, one_off_rows(context, line), json.loads(line["evidence"]))


def one_off_rows(context: Context, line: Record) -> list[SourceRow]:
    """The row of the purchase."""
    found = context.state.of("one_off_charges_judged", charge_id=line["charge"], verdict="counted")
    return [source_row("one_off_charges", row) for row in found]
