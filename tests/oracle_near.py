"""Which bounds a bill comes near to, worked out from what the oracle counted (part of the oracle)."""

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from tests.oracle_bill import Bill
from tests.oracle_cycle import Terms
from tests.oracle_fees import changes_at_once, minimum_difference
from tests.oracle_usage import CycleUsage


class Bound(NamedTuple):
    """A bound of a cycle: how far the cycle has come, and of what a share may be left for it to be near."""

    kind: str
    subscription_id: str
    cycle_start: date
    charge: str
    changed_at: datetime | None
    bound: Fraction
    so_far: Fraction
    reach_of: Fraction


def bounds_near(bill: Bill, within: Fraction) -> list[Bound]:
    """The bounds of a preview that are near, of every cycle that it bills.

    :param within: the share of a bound, or of a package's size, that may be left
    """
    peaks = {(*peak[:2], peak.category): peak.quantity for peak in bill.peaks}
    found = [bound for usage in bill.closed for bound in _bounds_of(usage, peaks)]
    return [bound for bound in found if abs(bound.bound - bound.so_far) <= within * bound.reach_of]


def _bounds_of(usage: CycleUsage, peaks: dict[tuple[str, date, str], int]) -> Iterator[Bound]:
    of = usage.of
    subscription_id, cycle_start = of.cycle[:2]

    def bound(kind: str, charge: str, at: Fraction, so_far: Fraction, changed_at: datetime | None = None) -> Bound:
        return Bound(kind, subscription_id, cycle_start, charge, changed_at, at, so_far, at)

    counted = [item for item in usage.counted() if item.plan == of.plan_last]
    quantities = {item.charge: (item.terms, Fraction(item.quantity)) for item in counted}
    for name, terms in of.charges_of(of.plan_last).items():
        if terms["kind"] == "peak":
            peak = peaks.get((subscription_id, cycle_start, terms["category"]), 0)
            quantities[name] = terms, Fraction(peak)
    for name, (terms, quantity) in quantities.items():
        for at, reach_of in _ends(terms["price"], quantity):
            yield bound("tier", name, at, quantity)._replace(reach_of=reach_of)
    limit, billed = usage.limits.at_end(of), usage.under_limit().running
    for item in counted:
        if item.minimum:
            yield bound("minimum", item.charge, Fraction(item.minimum), Fraction(usage.used(item.terms)))
        cap = Fraction(item.terms.get("cap", 0))
        if cap:
            uncapped = sum((line.amount for line in item.lines if line.kind != "cap"), Decimal(0))
            yield bound("cap", item.charge, cap, Fraction(uncapped))
        if limit is not None:
            yield bound("limit", item.charge, Fraction(limit), billed)
    least = minimum_difference(of)
    for change in changes_at_once(of):
        if least and change.difference > 0:
            yield bound("upgrade", change.plan, least, change.difference, change.at)


def _ends(price: Terms, quantity: Fraction) -> Iterator[tuple[Fraction, Fraction]]:
    """The end of the tier that a quantity lies in, or of the package that is open, and of what a share is near."""
    if "package" in price:
        size = Fraction(price["package"]["size"])
        if quantity:
            yield ceil(quantity / size) * size, size
    ends = [Fraction(tier["up_to"]) for tier in price.get("graduated", price.get("volume", [])) if "up_to" in tier]
    yield from [(end, end) for end in ends if quantity <= end][:1]
