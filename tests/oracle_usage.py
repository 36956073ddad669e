"""Usage, minimums, caps, the spending limit and its alerts, row by row (part of the oracle)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from tests.oracle import Row, price_of
from tests.oracle_cycle import ActiveCycle, Line, Terms

# ---- which rows count


def meters_of(charges: Mapping[str, Terms]) -> set[str]:
    """The meters that a plan looks at, for a charge or only for its minimum."""
    usage = [terms for terms in charges.values() if terms["kind"] == "usage"]
    return {terms["meter"] for terms in usage} | {
        terms["minimum"]["meter"] for terms in usage if "meter" in terms.get("minimum", {})
    }


def reason_without_charge(row: Row, charges: Mapping[str, Terms]) -> str | None:
    """Why a row of an active subscription is not counted under the plan in force: `unpriced`, or no value to count."""
    meter = row.values["meter"]
    if meter not in meters_of(charges):
        return "unpriced"
    counts_values = any(
        terms["kind"] == "usage"
        and terms["aggregation"] == "unique"
        and meter in (terms["meter"], terms.get("minimum", {}).get("meter"))
        for terms in charges.values()
    )
    if counts_values and row.values["quantity"] > 0 and row.values["value"] is None:
        return "missing_value"
    return None


# ---- quantities


def aggregated(rows: Sequence[Row], aggregation: str) -> Decimal:
    """What rows come to under an aggregation; 0 where there are none."""
    if not rows:
        return Decimal(0)
    quantities = [Decimal(row.values["quantity"]) for row in rows]
    above_zero = [row for row in rows if row.values["quantity"] > 0]
    match aggregation:
        case "sum":
            return sum(quantities, Decimal(0))
        case "count":
            return Decimal(len(above_zero))
        case "max":
            return max(quantities)
        case "latest":
            return quantities[in_order(rows)[-1]]
        case "unique":
            return Decimal(len({row.values["value"] for row in above_zero} - {None}))
    raise AssertionError(aggregation)


def counts(row: Row, aggregation: str) -> bool:
    """Whether an aggregation looks at a row: those of quantity 0 are skipped by count and unique."""
    return aggregation not in ("count", "unique") or row.values["quantity"] > 0


def in_order(rows: Sequence[Row]) -> list[int]:
    """The places of rows in the order of `occurred_at`, then `event_id`."""
    return sorted(
        range(len(rows)), key=lambda place: (rows[place].values["occurred_at"], rows[place].values["event_id"])
    )


def capped_price(terms: Terms, quantity: Decimal) -> Fraction:
    """What a quantity costs exactly, held to the charge's own cap."""
    if quantity == 0:
        return Fraction(0)
    price = price_of(terms["price"], quantity)
    return min(price, Fraction(terms["cap"])) if "cap" in terms else price


def uncapped_price(terms: Terms, quantity: Decimal) -> Fraction:
    """What a quantity costs exactly; nothing costs nothing."""
    return price_of(terms["price"], quantity) if quantity else Fraction(0)


def minimum_of(terms: Terms, of: ActiveCycle) -> Decimal:
    """The least quantity of a charge in a cycle; scaled to the days of a short one if it is to be."""
    rule = terms["minimum"]
    minimum = Fraction(rule["quantity"])
    if "prorate" not in rule or of.days.own == of.days.whole:
        return Decimal(rule["quantity"])
    if "daily_decimals" in rule:
        scale = 10 ** int(rule["daily_decimals"])
        daily = Fraction(minimum / of.days.whole * scale // 1, scale)
        return Decimal(int(daily * of.days.own // 1))
    return Decimal(int(minimum * of.days.share // 1))


# ---- the limit


@dataclass
class Limits:
    """The spending limits that were agreed for one subscription."""

    agreed: Sequence[tuple[datetime, Decimal]]

    def at(self, instant: datetime, version: Terms) -> Decimal | None:
        """In force: the highest agreed up to and including the instant, else the card's own; None: no limit."""
        return self._highest([amount for at, amount in self.agreed if at <= instant], version)

    def at_end(self, of: ActiveCycle) -> Decimal | None:
        """In force at the end of a cycle: the highest agreed before it."""
        return self._highest([amount for at, amount in self.agreed if at < of.cycle.ends_at], of.version)

    @staticmethod
    def _highest(amounts: Sequence[Decimal], version: Terms) -> Decimal | None:
        if amounts:
            return max(amounts)
        default = version.get("spending_limit", {}).get("default")
        return None if default is None else Decimal(default)


class Alert(NamedTuple):
    """One row of `alerts` about a spending limit."""

    subscription_id: str
    cycle_start: date
    threshold: Decimal
    limit_amount: Decimal
    reached_at: datetime
    event_id: str


class Clipping(NamedTuple):
    """What one step cost, and how much of it the limit took."""

    plan: str
    charge: str
    amount: Fraction
    clipped: Fraction


@dataclass
class RunningTotal:
    """The running total of a cycle's usage charges under the spending limit."""

    running: Fraction = Fraction(0)
    clippings: list[Clipping] = field(default_factory=list)

    def take(self, plan: str, charge: str, amount: Fraction, limit: Decimal | None) -> None:
        """Charges what fits; the running total never passes the limit in force, and what lowers it is taken whole."""
        billed = amount
        if limit is not None and amount > 0:
            billed = min(amount, max(Fraction(0), Fraction(limit) - self.running))
        self.running += billed
        self.clippings.append(Clipping(plan, charge, amount, amount - billed))

    @property
    def clipped(self) -> Fraction:
        """What the limit took from the cycle."""
        return sum((step.clipped for step in self.clippings), Fraction(0))

    def clipped_of(self, plan: str, charge: str) -> Fraction:
        """What the limit took from one charge."""
        own = (step.clipped for step in self.clippings if (step.plan, step.charge) == (plan, charge))
        return sum(own, Fraction(0))


# ---- a cycle's usage


class Counted(NamedTuple):
    """One usage charge of a plan in a cycle, and what it came to."""

    plan: str
    position: int
    charge: str
    terms: Terms
    quantity: Decimal
    is_counted: bool
    minimum: Decimal | None
    shortfall: Decimal | None
    lines: list[Line]

    @property
    def amount(self) -> Decimal:
        """Its usage, minimum and cap lines together."""
        return sum((line.amount for line in self.lines), Decimal(0))

    @property
    def grows_row_by_row(self) -> bool:
        """Volume prices and max, latest and unique are known at the cycle's end only."""
        return self.terms["aggregation"] in ("sum", "count") and "volume" not in self.terms["price"]


@dataclass
class CycleUsage:
    """The usage of one cycle of a subscription."""

    of: ActiveCycle
    rows: Sequence[Row]
    limits: Limits

    def __post_init__(self) -> None:
        """Keeps the rows of the cycle, in the order in which they are charged."""
        cycle = self.of.cycle
        own = [row for row in self.rows if cycle.starts_at <= row.values["occurred_at"] < cycle.ends_at]
        self.rows = [own[place] for place in in_order(own)]

    def usage_charges(self, plan: str) -> Iterator[tuple[int, str, Terms]]:
        """The usage charges of a plan with their place in it."""
        for position, (name, terms) in enumerate(self.of.charges_of(plan).items()):
            if terms["kind"] == "usage":
                yield position, name, terms

    def rows_under(self, plan: str, meter: str) -> list[Row]:
        """The rows of a meter while a plan was in force."""
        return [row for row in self.rows if row.values["meter"] == meter and self.plan_of(row) == plan]

    def plan_of(self, row: Row) -> str:
        """The plan in force at a row's instant."""
        return self.of.plan_at(row.values["occurred_at"])

    def counted(self) -> list[Counted]:
        """Every usage charge of the plan at the end, and those of other plans that looked at a row."""
        found = []
        for plan in sorted({self.of.plan_last} | {self.plan_of(row) for row in self.rows}):
            for position, name, terms in self.usage_charges(plan):
                quantity = aggregated(self.rows_under(plan, terms["meter"]), terms["aggregation"])
                found.append(self._priced(plan, position, name, terms, quantity))
        return [item for item in found if item.plan == self.of.plan_last or item.is_counted]

    def _priced(self, plan: str, position: int, name: str, terms: Terms, quantity: Decimal) -> Counted:
        minimum = shortfall = None
        if "minimum" in terms and plan == self.of.plan_last:
            minimum = minimum_of(terms, self.of)
            shortfall = max(Decimal(0), minimum - self.used(terms))
        lines = []
        unit_price = terms["price"].get("per_unit")
        own = self.of.money(uncapped_price(terms, quantity))
        if quantity:
            lines.append(self.of.line("usage", name, own, plan=plan, quantity=quantity, unit_price=unit_price))
        if shortfall:
            amount = self.of.money(uncapped_price(terms, quantity + shortfall)) - own
            lines.append(self.of.line("minimum", name, amount, plan=plan, quantity=shortfall, unit_price=unit_price))
        total = sum((line.amount for line in lines), Decimal(0))
        if "cap" in terms and total > Decimal(terms["cap"]):
            lines.append(self.of.line("cap", name, Decimal(terms["cap"]) - total, plan=plan))
        rows = self.rows_under(plan, terms["meter"])
        is_counted = any(counts(row, terms["aggregation"]) for row in rows)
        return Counted(plan, position, name, terms, quantity, is_counted, minimum, shortfall, lines)

    def used(self, terms: Terms) -> Decimal:
        """What counts toward a charge's minimum: its meter's quantity in the whole cycle, under any plan."""
        meter = terms["minimum"].get("meter", terms["meter"])
        rows = [row for row in self.rows if row.values["meter"] == meter]
        return aggregated(rows, terms["aggregation"])

    # the limit

    def charged_rows(self) -> Iterator[tuple[Row, str, list[tuple[str, Terms, Fraction]]]]:
        """Each row with its plan and what it adds to each charge that grows row by row."""
        seen: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            plan = self.plan_of(row)
            steps = []
            for _, name, terms in self.usage_charges(plan):
                if terms["meter"] != row.values["meter"] or "volume" in terms["price"]:
                    continue
                if terms["aggregation"] not in ("sum", "count") or not counts(row, terms["aggregation"]):
                    continue
                before = seen.setdefault((plan, name), [])
                price_before = capped_price(terms, aggregated(before, terms["aggregation"]))
                before.append(row)
                price_after = capped_price(terms, aggregated(before, terms["aggregation"]))
                steps.append((name, terms, price_after - price_before))
            yield row, plan, steps

    def under_limit(self) -> RunningTotal:
        """The running total after every row and every item of the cycle's end."""
        total = RunningTotal()
        for row, plan, steps in self.charged_rows():
            limit = self.limits.at(row.values["occurred_at"], self.of.version)
            for name, _, amount in steps:
                total.take(plan, name, amount, limit)
        limit, items = self.limits.at_end(self.of), self.counted()
        # A shortfall that costs less than nothing (a falling volume price) goes with its charge: no step is negative.
        prices = {
            id(item): (
                capped_price(item.terms, item.quantity),
                capped_price(item.terms, item.quantity + (item.shortfall or 0)),
            )
            for item in items
        }
        for item in items:
            if item.quantity and not item.grows_row_by_row:
                total.take(item.plan, item.charge, min(prices[id(item)]), limit)
        for item in items:
            own, whole = prices[id(item)]
            if item.shortfall and whole > own:
                total.take(item.plan, item.charge, whole - own, limit)
        return total

    def limit_line(self, running: RunningTotal, lines: Sequence[Line]) -> list[Line]:
        """The line that brings usage, minimums and caps to the rounded running total, where there is need of one."""
        limit = self.limits.at_end(self.of)
        total = sum((line.amount for line in lines), Decimal(0))
        if not running.clipped and (limit is None or total <= limit):
            return []
        amount = self.of.money(running.running) - total
        return [self.of.line("spending_limit", "spending_limit", amount)] if amount < 0 else []

    def alerts(self) -> list[Alert]:
        """The first row at which each threshold of each limit is reached; what comes at the end raises none."""
        thresholds = [Decimal(text) for text in self.of.version.get("spending_limit", {}).get("alert_at", [])]
        total, found = RunningTotal(), dict[tuple[Decimal, Decimal], Alert]()
        for row, plan, steps in self.charged_rows():
            at = row.values["occurred_at"]
            limit = self.limits.at(at, self.of.version)
            for name, _, amount in steps:
                total.take(plan, name, amount, limit)
            for threshold in thresholds if limit is not None and steps else []:
                assert limit is not None
                if total.running >= Fraction(threshold) * Fraction(limit):
                    alert = Alert(*self.of.cycle[:2], threshold, limit, at, row.values["event_id"])
                    found.setdefault((limit, threshold), alert)
        return list(found.values())
