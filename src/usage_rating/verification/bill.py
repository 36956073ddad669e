"""The lines of one invoice, each rounded once, and the page of usage history beside it."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

from usage_rating.verification.calendar import Cycle, local_date
from usage_rating.verification.cards import Charge, Version
from usage_rating.verification.carts import Peak, peak
from usage_rating.verification.feeds import Row
from usage_rating.verification.limits import Agreed, Total, running_total
from usage_rating.verification.prices import price_of, rounded
from usage_rating.verification.subscriptions import Change, Life
from usage_rating.verification.usage import Owned, Used, used_in

ONE = Fraction(1)


class NoPrice(Exception):  # noqa: N818  (it is the card's want)
    """A cycle without a version, or a plan that its version lacks."""


class Line(NamedTuple):
    """A line of an invoice, as far as money goes; `exact` is the amount before it is rounded."""

    kind: str
    charge: str
    plan: str
    version: int
    quantity: Fraction
    unit_price: Fraction | None
    amount: Fraction
    service_start: date
    service_end: date
    exact: Fraction

    @property
    def is_shown(self) -> bool:
        """Whether it stands on the invoice: not if rounding left nothing of what it would add or take off."""
        return bool(self.amount) or self.kind not in ("upgrade", "cap", "spending_limit")


class History(NamedTuple):
    """A charge on the page a customer checks a bill against."""

    plan: str
    charge: str
    quantity: Fraction
    minimum: Fraction | None
    shortfall: Fraction | None
    peak_at: int | None
    amount: Fraction
    clipped: Fraction


@dataclass
class Facts:
    """What is known of a subscription at a run: its life, and the rows of it that count.

    `is_lenient`: a plan without a price is one without charges, to see what a correction that has to wait would say.
    """

    life: Life
    usage: list[Row] = field(default_factory=list)
    cart_spans: list[tuple[str, int, int]] = field(default_factory=list)
    agreed: Agreed = field(default_factory=list)
    one_offs: list[Row] = field(default_factory=list)
    is_lenient: bool = False

    def version(self, cycle: Cycle) -> Version:
        """The version that prices a cycle.

        :raises NoPrice: there is none, or it lacks a plan that was in force in it
        """
        version = self.life.version(cycle)
        missing = self.plans_in(cycle) - version.plans.keys() if version else set[str]()
        if version is None or (missing and not self.is_lenient):
            raise NoPrice
        return replace(version, plans={**version.plans, **dict.fromkeys(missing, ())}) if missing else version

    def are_priced(self, cycle: Cycle, plans: set[str]) -> bool:
        """Whether the version of a cycle has all of some plans."""
        version = self.life.version(cycle)
        return version is not None and plans <= version.plans.keys()

    def is_priced(self, cycle: Cycle) -> bool:
        """Whether a cycle has a version, with all its plans."""
        return self.are_priced(cycle, self.plans_in(cycle))

    def plans_in(self, cycle: Cycle) -> set[str]:
        """Every plan in force in a cycle while it was active."""
        spans = self.life.active_in(cycle)
        starts = {since for since, _ in spans}
        starts |= {at for at, _ in self.life.plans if any(since <= at < until for since, until in spans)}
        return {self.life.plan_at(at) for at in starts}

    def total(self, cycle: Cycle) -> tuple[Used, Total]:
        """The usage of a cycle and its running total."""
        version = self.version(cycle)
        rows = [row for row in self.usage if cycle.starts_at <= row["occurred_at"] < cycle.ends_at]
        used = used_in(self.life, cycle, version, rows)
        return used, running_total(used, version, self.agreed, cycle)


def fee(charge: Charge, plan: str, version: Version, cycle: Cycle) -> Line:
    """A recurring charge for a cycle, of a short first one by days where the card says so."""
    is_part = charge.is_prorated and cycle.is_short
    exact = charge.price.amount * (Fraction(cycle.days, cycle.whole_days) if is_part else 1)
    amount = rounded(exact, version.decimals, version.rounding)
    price = None if is_part else charge.price.amount
    return Line("recurring", charge.name, plan, version.number, ONE, price, amount, cycle.start, cycle.end, exact)


def fees_in_advance(facts: Facts, cycle: Cycle) -> list[Line]:
    """The fees in advance for a cycle: of the plan at its first active instant."""
    version = facts.version(cycle)
    plan = facts.life.plan_at(facts.life.active_in(cycle)[0][0])
    return [fee(charge, plan, version, cycle) for charge in version.plans[plan] if charge.bill == "advance"]


def opening_lines(facts: Facts) -> list[Line]:
    """What the opening invoice says: the first cycle's fees in advance."""
    return fees_in_advance(facts, facts.life.cycles.at(facts.life.started_at))


def cycle_lines(facts: Facts, number: int) -> tuple[list[Line], list[History]]:
    """The lines of a cycle's invoice, with those that do not show, and its page; nothing without an active instant."""
    life, cycle, after = facts.life, facts.life.cycles.cycle(number), facts.life.cycles.cycle(number + 1)
    spans = life.active_in(cycle)
    if not spans:
        return [], []
    version, plan = facts.version(cycle), life.plan_at(spans[-1][1] - 1)
    lines: list[Line] = []
    if number != life.cycles.number_at(life.started_at) and not _is_carried(life, number):
        lines += fees_in_advance(facts, cycle)
    if life.is_active(after.starts_at) and after.starts_at < after.ends_at:  # a zone can skip a day, whole
        lines += fees_in_advance(facts, after)
    is_back = spans[-1][1] == cycle.ends_at or life.is_active(cycle.ends_at)
    for charge in version.plans[plan]:
        if charge.bill == "arrears" and (is_back or not charge.is_dropped_on_cancel):
            lines.append(fee(charge, plan, version, cycle))
    of_carts, page = _carts(facts, cycle, version, plan)
    of_usage, usage_page = _usage(facts, cycle, version, plan)
    lines += of_carts + of_usage
    lines += [line for change in life.changes if (line := _upgrade(facts, cycle, version, change))]
    lines += _one_offs(facts, cycle, version, plan)
    return lines, page + usage_page


def _is_carried(life: Life, number: int) -> bool:
    """Whether the invoice of the cycle before has this cycle's fees in advance."""
    before, cycle = life.cycles.cycle(number - 1), life.cycles.cycle(number)
    return bool(life.active_in(before)) and life.is_active(cycle.starts_at)


def _line(names: tuple[str, str, str], version: Version, cycle: Cycle, amount: Fraction, exact: Fraction) -> Line:
    """A line of a cycle by its kind, charge and plan; of quantity 1, without a unit price."""
    return Line(*names, version.number, ONE, None, amount, cycle.start, cycle.end, exact)


def _carts(facts: Facts, cycle: Cycle, version: Version, plan: str) -> tuple[list[Line], list[History]]:
    lines, page = [], []
    for charge in (charge for charge in version.plans[plan] if charge.kind == "peak"):
        most: Peak = peak(facts.cart_spans, charge.category, facts.life, cycle)
        quantity = Fraction(most.quantity)
        exact = price_of(charge.price, quantity)
        amount = rounded(exact, version.decimals, version.rounding)
        page.append(History(plan, charge.name, quantity, None, None, most.at, amount, Fraction(0)))
        if quantity:
            line = _line(("peak", charge.name, plan), version, cycle, amount, exact)
            lines.append(line._replace(quantity=quantity, unit_price=charge.price.of_one))
    return lines, page


def _usage(facts: Facts, cycle: Cycle, version: Version, plan: str) -> tuple[list[Line], list[History]]:
    used, total = facts.total(cycle)
    lines: list[Line] = []
    for owned in sorted(set(used.quantities) | set(used.shortfalls), key=lambda one: (one.plan, one.charge.place)):
        lines += _usage_lines(owned, used, version, cycle)
    before = sum((line.amount for line in lines), Fraction(0))
    billed = rounded(total.billed, version.decimals, version.rounding)
    taken_off = Fraction(0)
    if total.clipped or (total.limit is not None and before > total.limit):
        taken_off = min(Fraction(0), billed - before)
    amounts: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for line in lines:
        amounts[line.plan, line.charge] += line.amount
    lost = sum(total.clipped.values(), Fraction(0))
    if taken_off or lost:
        lines.append(_line(("spending_limit", "spending_limit", plan), version, cycle, taken_off, -lost))
    at_end = [Owned(plan, charge) for charge in version.plans[plan] if charge.kind == "usage"]
    shown = {owned for owned, quantity in used.quantities.items() if quantity} | set(at_end)
    used_for = {(line.plan, line.charge): line.amount for line in lines if line.kind == "usage"}
    clipped = _clipped(total, shown, used_for, version, -taken_off)
    page = []
    for owned in shown:
        least, missing = used.shortfalls.get(owned, (None, None))
        key = owned.plan, owned.charge.name
        quantity = used.quantities.get(owned, Fraction(0))
        page.append(History(*key, quantity, least, missing, None, amounts[key], clipped[owned]))
    return lines, page


def _usage_lines(owned: Owned, used: Used, version: Version, cycle: Cycle) -> list[Line]:
    """A charge's usage, its shortfall, and what its cap takes off both."""
    charge, quantity = owned.charge, used.quantities.get(owned, Fraction(0))
    _, missing = used.shortfalls.get(owned, (None, Fraction(0)))

    own, whole = price_of(charge.price, quantity), price_of(charge.price, quantity + missing)
    amount_own, amount = (rounded(exact, version.decimals, version.rounding) for exact in (own, whole))
    lines = []
    if quantity:
        line = _line(("usage", charge.name, owned.plan), version, cycle, amount_own, own)
        lines.append(line._replace(quantity=quantity, unit_price=charge.price.of_one))
    if missing:
        line = _line(("minimum", charge.name, owned.plan), version, cycle, amount - amount_own, whole - own)
        lines.append(line._replace(quantity=missing, unit_price=charge.price.of_one))
    if charge.cap is not None and max(amount, whole) > charge.cap:
        names, taken_off = ("cap", charge.name, owned.plan), min(Fraction(0), charge.cap - amount)
        lines.append(_line(names, version, cycle, taken_off, min(Fraction(0), charge.cap - whole)))
    return lines


def _clipped(
    total: Total, shown: set[Owned], used_for: dict[tuple[str, str], Fraction], version: Version, taken_off: Fraction
) -> dict[Owned, Fraction]:
    """What each charge lost, rounded, so that all add up to the limit's line; nothing where there is no such line.

    :param used_for: what the use of each charge cost
    """
    if not taken_off:
        return dict.fromkeys(shown, Fraction(0))
    lost = {owned: rounded(total.clipped[owned], version.decimals, version.rounding) for owned in shown}

    def place(one: Owned) -> tuple[Fraction, Fraction, str, str]:
        key = one.plan, one.charge.name
        return -lost[one], -used_for.get(key, Fraction(0)), *key

    if lost:
        lost[min(shown, key=place)] += taken_off - sum(lost.values(), Fraction(0))
    return lost


def _upgrade(facts: Facts, cycle: Cycle, version: Version, change: Change) -> Line | None:
    """The difference of the fees in advance for the days left after the change."""
    if not cycle.starts_at < change.at < cycle.ends_at or not facts.are_priced(cycle, {change.before, change.after}):
        return None
    difference = version.advance_fees(change.after) - version.advance_fees(change.before)
    if difference <= 0 or difference < version.minimum_difference:
        return None
    day = local_date(change.at, facts.life.zone_name)
    exact = difference * ((cycle.end - day).days - 1) / cycle.whole_days
    amount = rounded(exact, version.decimals, version.rounding)
    return _line(("upgrade", change.after, change.after), version, cycle, amount, exact)._replace(service_start=day)


def _one_offs(facts: Facts, cycle: Cycle, version: Version, plan: str) -> list[Line]:
    lines = []
    for row in facts.one_offs:
        if cycle.starts_at <= row["purchased_at"] < cycle.ends_at:
            day, amount = local_date(row["purchased_at"], facts.life.zone_name), row["amount"]
            end = day + timedelta(days=1)
            lines.append(Line("one_off", row["charge_id"], plan, version.number, ONE, amount, amount, day, end, amount))
    return lines
