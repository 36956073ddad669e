"""Usage of a cycle: which rows fall under which charge, what they count, and what a minimum adds."""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from usage_rating.verification.calendar import Cycle
from usage_rating.verification.cards import Charge, Minimum, Version
from usage_rating.verification.feeds import Row
from usage_rating.verification.subscriptions import Life

# Known row by row; the others only once the cycle is over.
RUNNING = ("sum", "count")


@dataclass(frozen=True)
class Owned:
    """A charge of a plan."""

    plan: str
    charge: Charge

    @property
    def is_running(self) -> bool:
        """Whether each row says at once what it adds."""
        return self.charge.aggregation in RUNNING and self.charge.price.form != "volume"


@dataclass
class Used:
    """The usage of a cycle: rows in order, each with the charges it falls under, and what each charge counts."""

    rows: list[tuple[Row, list[Owned]]] = field(default_factory=list)
    quantities: dict[Owned, Fraction] = field(default_factory=dict)
    shortfalls: dict[Owned, tuple[Fraction, Fraction]] = field(default_factory=dict)


def adds(aggregation: str, row: Row) -> Fraction:
    """What a row adds to a sum or a count."""
    return row["quantity"] if aggregation == "sum" else Fraction(row["quantity"] > 0)


def aggregated(aggregation: str, rows: list[Row]) -> Fraction:
    """What rows, in order of time and event_id, come to."""
    match aggregation:
        case "sum" | "count":
            return sum((adds(aggregation, row) for row in rows), Fraction(0))
        case "max":
            return max((row["quantity"] for row in rows), default=Fraction(0))
        case "latest":
            return rows[-1]["quantity"] if rows else Fraction(0)
        case _:
            return Fraction(len({row["value"] for row in rows if row["quantity"] > 0} - {None}))


def used_in(life: Life, cycle: Cycle, version: Version, rows: list[Row]) -> Used:
    """What the rows of a cycle count under each charge, and the shortfalls of the plan at its end."""
    used = Used()
    by_charge: dict[Owned, list[Row]] = defaultdict(list)
    in_order = sorted(rows, key=lambda row: (row["occurred_at"], row["event_id"]))
    for row in in_order:
        plan = life.plan_at(row["occurred_at"])
        own = [Owned(plan, c) for c in version.plans[plan] if c.kind == "usage" and c.meter == row["meter"]]
        used.rows.append((row, own))
        for owned in own:
            by_charge[owned].append(row)
    used.quantities = {owned: aggregated(owned.charge.aggregation, own) for owned, own in by_charge.items()}
    plan = life.plan_at(life.active_in(cycle)[-1][1] - 1)
    for charge in version.plans[plan]:
        if charge.minimum:
            counted = [row for row in in_order if row["meter"] == charge.minimum.meter]
            least = least_quantity(charge.minimum, cycle)
            missing = max(Fraction(0), least - aggregated(charge.aggregation, counted))
            used.shortfalls[Owned(plan, charge)] = least, missing
    return used


def least_quantity(minimum: Minimum, cycle: Cycle) -> Fraction:
    """A minimum, of a short first cycle its share of days, cut to a whole number."""
    if not (minimum.is_prorated and cycle.is_short):
        return minimum.quantity
    if minimum.daily_decimals is None:
        return Fraction(floor(minimum.quantity * cycle.days / cycle.whole_days))
    scale = 10**minimum.daily_decimals
    of_a_day = Fraction(floor(minimum.quantity / cycle.whole_days * scale), scale)
    return Fraction(floor(of_a_day * cycle.days))
