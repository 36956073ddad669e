"""One billing cycle of one subscription, with everything that its bill rests on (part of the oracle).

Like `oracle`, it shares no code with usage_rating: SPEC section 4, worked out event by event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from tests.oracle import (
    Cycle,
    RunStops,
    Subscription,
    Timeline,
    cycles_of,
    date_begun,
    months_later,
    rounded,
)

Terms = Mapping[str, Any]


class Line(NamedTuple):
    """One line of an invoice, without its number and its words; `invoice_kind` tells its invoice apart."""

    subscription_id: str
    invoice_kind: str
    cycle_start: date
    kind: str
    charge: str
    plan: str
    rate_card_version: int
    quantity: Decimal
    unit_price: Decimal | None
    amount: Decimal
    service_start: date
    service_end: date


class Days(NamedTuple):
    """How long a cycle is, and how long a whole one would be."""

    own: int
    whole: int

    @property
    def share(self) -> Fraction:
        """The part of a whole cycle."""
        return Fraction(self.own, self.whole)


@dataclass(frozen=True)
class ActiveCycle:
    """A cycle with an active instant, and the parts of it in which its subscription is active."""

    subscription: Subscription
    timeline: Timeline
    cycle: Cycle
    segments: Sequence[tuple[datetime, datetime]]

    def until(self, close: datetime) -> "ActiveCycle | None":
        """The cycle as if nothing came after an instant; its dates stay. None: nothing came before either."""
        segments = [(start, min(end, close)) for start, end in self.segments if start < close]
        cycle = self.cycle._replace(ends_at=min(self.cycle.ends_at, close))
        return replace(self, cycle=cycle, segments=segments) if segments else None

    @property
    def version(self) -> Terms:
        """The card version that prices the cycle, whole."""
        return self.subscription.card.version_on(self.cycle.cycle_start)

    @property
    def plan_first(self) -> str:
        """The plan in force at the first active instant."""
        return self.plan_at(self.segments[0][0])

    @property
    def plan_last(self) -> str:
        """The plan in force at the last active instant."""
        return self.timeline.plan_before(self.segments[-1][1])

    def plan_at(self, instant: datetime) -> str:
        """The plan in force at an instant."""
        return [plan for at, plan in self.timeline.plans if at <= instant][-1]

    def charges_of(self, plan: str) -> Mapping[str, Terms]:
        """What a plan charges for, by the version in force.

        :raises RunStops: the version has no such plan
        """
        if plan not in self.version["plans"]:
            raise RunStops(f"version {self.version['version']} has no plan {plan}")
        charges: Mapping[str, Terms] = self.version["plans"][plan]
        return charges

    def check_price(self) -> None:
        """A cycle that has begun must have a price for every plan in force at an active instant.

        :raises RunStops: it has not
        """
        for start, end in self.segments:
            for plan in [self.plan_at(start), *(plan for at, plan in self.timeline.plans if start < at < end)]:
                self.charges_of(plan)

    @property
    def days(self) -> Days:
        """Only a calendar card's first cycle is shorter than a whole one."""
        own = (self.cycle.cycle_end - self.cycle.cycle_start).days
        rule = self.version["cycle"]
        if rule["anchor"] != "calendar":
            return Days(own, own)
        month = self.cycle.cycle_start.replace(day=1)
        return Days(own, (months_later(month, int(rule["every"].split()[0])) - month).days)

    def money(self, exact: Fraction) -> Decimal:
        """An exact amount in the card's minor units, by the card's rounding: that of its size, with its sign."""
        size = rounded(abs(exact), self.version["currency"], self.version["rounding"])
        return -size if exact < 0 else size

    def local_date(self, instant: datetime) -> date:
        """The account's date at an instant."""
        return date_begun(instant, self.subscription.zone_name)

    def line(
        self,
        kind: str,
        charge: str,
        amount: Decimal,
        *,
        plan: str | None = None,
        quantity: Decimal = Decimal(1),
        unit_price: Decimal | str | None = None,
        service: tuple[date, date] | None = None,
        invoice: tuple[str, date] | None = None,
    ) -> Line:
        """A line of this cycle, on its own invoice unless another is named."""
        invoice_kind, cycle_start = invoice or ("cycle", self.cycle.cycle_start)
        service_start, service_end = service or (self.cycle.cycle_start, self.cycle.cycle_end)
        return Line(
            self.subscription.subscription_id,
            invoice_kind,
            cycle_start,
            kind,
            charge,
            plan or self.plan_last,
            self.version["version"],
            quantity,
            None if unit_price is None else Decimal(unit_price),
            amount,
            service_start,
            service_end,
        )


def active_cycles_of(subscription: Subscription, timeline: Timeline, until: date) -> list[ActiveCycle]:
    """The cycles with an active instant among those that start on or before a date."""
    found: list[ActiveCycle] = []
    for cycle in cycles_of(subscription):
        if cycle.cycle_start > until:
            return found
        segments = []
        for _, active_from, active_until in timeline.active_spans():
            start, end = max(active_from, cycle.starts_at), min(active_until or cycle.ends_at, cycle.ends_at)
            if start < end:
                segments.append((start, end))
        if segments:
            found.append(ActiveCycle(subscription, timeline, cycle, segments))
    raise AssertionError("cycles have no end")


def day_after(day: date) -> date:
    """The date after."""
    return day + timedelta(days=1)
