"""The running total under the caps and the spending limit: what is billed, what is lost, and the shares reached."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from usage_rating.verification.calendar import Cycle
from usage_rating.verification.cards import Charge, Version
from usage_rating.verification.prices import price_of
from usage_rating.verification.usage import Owned, Used, adds

Agreed = list[tuple[int, Fraction]]


@dataclass(frozen=True)
class Reached:
    """A share of a limit that the running total reached, with the row that did it."""

    threshold: Fraction
    limit: Fraction
    at: int
    event_id: str


@dataclass
class Total:
    """The running total of a cycle."""

    billed: Fraction = Fraction(0)
    clipped: dict[Owned, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    reached: list[Reached] = field(default_factory=list)
    limit: Fraction | None = None

    def add(self, owned: Owned, amount: Fraction, limit: Fraction | None) -> None:
        """Charges an amount as far as the limit in force allows."""
        room = amount if limit is None else max(Fraction(0), limit - self.billed)
        charged = min(amount, room)
        self.billed += charged
        if charged < amount:
            self.clipped[owned] += amount - charged


def limit_at(agreed: Agreed, version: Version, at: int) -> Fraction | None:
    """The limit in force at an instant: the highest agreed to by then, before any the card's."""
    amounts = [amount for agreed_at, amount in agreed if agreed_at <= at]
    return max(amounts) if amounts else version.default_limit


def capped(charge: Charge, quantity: Fraction) -> Fraction:
    """The exact price of a quantity, at most the charge's own cap."""
    price = price_of(charge.price, quantity)
    return price if charge.cap is None else min(price, charge.cap)


def running_total(used: Used, version: Version, agreed: Agreed, cycle: Cycle) -> Total:
    """Charges the rows in order, then what is only known at the cycle's end, then the shortfalls."""
    total = Total(limit=limit_at(agreed, version, cycle.ends_at - 1))
    so_far: dict[Owned, tuple[Fraction, Fraction]] = {}
    seen: set[tuple[Fraction, Fraction]] = set()
    for row, own in used.rows:
        limit = limit_at(agreed, version, row["occurred_at"])
        for owned in (one for one in own if one.is_running and (row["quantity"] or one.charge.aggregation == "sum")):
            quantity, price = so_far.get(owned, (Fraction(0), Fraction(0)))
            quantity += adds(owned.charge.aggregation, row)
            so_far[owned] = quantity, capped(owned.charge, quantity)
            total.add(owned, so_far[owned][1] - price, limit)
            if limit is None:
                continue
            for share in version.alert_at:
                if total.billed >= share * limit and (limit, share) not in seen:
                    seen.add((limit, share))
                    total.reached.append(Reached(share, limit, row["occurred_at"], row["event_id"]))
    for owned, amount in sorted(_at_end(used), key=lambda one: one[1] >= 0):
        total.add(owned, amount, total.limit)
    return total


def _at_end(used: Used) -> Iterator[tuple[Owned, Fraction]]:
    """What is only known when the cycle is over, shortfalls last.

    A shortfall under a volume price can lower the bill. Such ones are taken off first, so that nothing is lost to the
    limit that the cycle does not come to.
    """
    for owned in sorted(used.quantities, key=lambda one: (one.plan, one.charge.place)):
        if not owned.is_running:
            yield owned, capped(owned.charge, used.quantities[owned])
    for owned, (_, missing) in used.shortfalls.items():
        quantity = used.quantities.get(owned, Fraction(0))
        yield owned, capped(owned.charge, quantity + missing) - capped(owned.charge, quantity)
