"""Fees in advance and in arrears, prorations, upgrades and one-off charges (part of the oracle)."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from tests.oracle import Row
from tests.oracle_cycle import ActiveCycle, Line, Terms, day_after


def fees_in_advance(of: ActiveCycle, plan: str) -> dict[str, Terms]:
    """The advance fees of a plan by the cycle's card version; none where the version lacks the plan."""
    charges = of.version["plans"].get(plan, {})
    return {name: terms for name, terms in charges.items() if terms.get("bill") == "advance"}


def fee_lines(of: ActiveCycle, plan: str, fees: dict[str, Terms], invoice: tuple[str, date] | None) -> list[Line]:
    """A line for each fee of a cycle; a fee that is prorated over a short cycle has no unit price."""
    lines = []
    for name, terms in fees.items():
        flat = Fraction(terms["price"]["flat"])
        is_cut = "prorate" in terms and of.days.own < of.days.whole
        amount = of.money(flat * of.days.share if is_cut else flat)
        unit_price = None if is_cut else terms["price"]["flat"]
        lines.append(of.line("recurring", name, amount, plan=plan, unit_price=unit_price, invoice=invoice))
    return lines


def opening_lines(first: ActiveCycle) -> list[Line]:
    """The lines of an opening invoice: the first cycle's advance fees. Empty: there is no opening invoice."""
    fees = fees_in_advance(first, first.plan_first)
    return fee_lines(first, first.plan_first, fees, ("opening", first.cycle.cycle_start))


def is_active_at(of: ActiveCycle, instant: datetime) -> bool:
    """Whether the subscription is active at an instant."""
    spans = of.timeline.active_spans()
    return any(since <= instant and (until is None or instant < until) for _, since, until in spans)


def is_billed_before(of: ActiveCycle, before: ActiveCycle | None) -> bool:
    """Whether a later cycle's advance fee stands on the invoice of the cycle before, which falls on its first day.

    :param before: the cycle just before; None: it has no active instant
    """
    return before is not None and is_active_at(of, of.cycle.starts_at)


def advance_lines(of: ActiveCycle, after: ActiveCycle | None, *, is_billed: bool) -> list[Line]:
    """Advance fees on a cycle's invoice: the next cycle's, and its own where no earlier invoice bears them."""
    lines: list[Line] = []
    if not is_billed:
        lines += fee_lines(of, of.plan_first, fees_in_advance(of, of.plan_first), None)
    if after and is_billed_before(after, of):
        fees = fees_in_advance(after, after.plan_first)
        lines += fee_lines(after, after.plan_first, fees, ("cycle", of.cycle.cycle_start))
    return lines


def arrears_lines(of: ActiveCycle) -> list[Line]:
    """Fees in arrears of the plan at the end; one may be dropped where the subscription was cancelled and not back."""
    stayed = of.segments[-1][1] == of.cycle.ends_at or is_active_at(of, of.cycle.ends_at)
    owed = {
        name: terms
        for name, terms in of.charges_of(of.plan_last).items()
        if terms.get("bill") == "arrears" and (stayed or terms.get("on_cancel", "charge") == "charge")
    }
    return fee_lines(of, of.plan_last, owed, None)


class PlanChange(NamedTuple):
    """A change of plan that takes effect at once, and what the fees in advance differ by."""

    at: datetime
    plan: str
    difference: Fraction


def changes_at_once(of: ActiveCycle) -> Iterator[PlanChange]:
    """The changes of plan inside the cycle, not at its start, that take effect at once."""
    for before, after in pairwise(of.timeline.plan_spans()):
        if before.plan_until == after.plan_from and of.cycle.starts_at < after.plan_from < of.cycle.ends_at:
            difference = _advance_sum(of, after.plan) - _advance_sum(of, before.plan)
            yield PlanChange(after.plan_from, after.plan, difference)


def minimum_difference(of: ActiveCycle) -> Fraction:
    """How much more an upgrade must cost to be charged; 0: any."""
    return Fraction(of.version.get("plan_change", {}).get("minimum_difference", "0"))


def upgrade_lines(of: ActiveCycle) -> list[Line]:
    """Upgrades that take effect at once inside the cycle."""
    lines = []
    for change in changes_at_once(of):
        if change.difference <= 0 or change.difference < minimum_difference(of):
            continue
        changed_on = of.local_date(change.at)
        days_remaining = (of.cycle.cycle_end - changed_on).days - 1
        amount = of.money(change.difference * Fraction(days_remaining, of.days.whole))
        if amount:
            service = (changed_on, of.cycle.cycle_end)
            lines.append(of.line("upgrade", change.plan, amount, plan=change.plan, service=service))
    return lines


def _advance_sum(of: ActiveCycle, plan: str) -> Fraction:
    prices = (Fraction(terms["price"]["flat"]) for terms in fees_in_advance(of, plan).values())
    return sum(prices, Fraction(0))


def one_off_lines(of: ActiveCycle, rows: Sequence[Row]) -> list[Line]:
    """A line for each purchase in the cycle, dated the day of the purchase."""
    lines = []
    for row in rows:
        at = row.values["purchased_at"]
        if of.cycle.starts_at <= at < of.cycle.ends_at:
            day, amount = of.local_date(at), Decimal(row.values["amount"])
            charge_id = row.values["charge_id"]
            service = (day, day_after(day))
            lines.append(of.line("one_off", charge_id, amount, unit_price=amount, service=service))
    return lines
