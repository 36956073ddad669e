"""All rules together: what each run over a world should give (part of the oracle)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile
from typing import Any, NamedTuple

from tests.oracle import (
    ActiveSpan,
    CartChange,
    Cycle,
    Peak,
    PlanSpan,
    RateCard,
    Reading,
    Refused,
    Row,
    RunStops,
    Subscription,
    Timeline,
    Verdict,
    World,
    cart_changes_of,
    cart_feeds_of,
    cycles_of,
    date_begun,
    first_instant,
    grouped,
    judged,
    newest_accounts,
    price_of,
    rate_cards_of,
    read_feeds,
    subscriptions_of,
)
from tests.oracle_credit import Prepaid, is_prepaid, prepaid_of
from tests.oracle_cycle import ActiveCycle, Line, Terms, active_cycles_of
from tests.oracle_fees import (
    advance_lines,
    arrears_lines,
    is_billed_before,
    one_off_lines,
    opening_lines,
    upgrade_lines,
)
from tests.oracle_usage import Alert, Counted, CycleUsage, Limits, reason_without_charge

# ---- what comes out


class Invoice(NamedTuple):
    """One invoice, without its id and number."""

    kind: str
    account_id: str
    bill_to_account_id: str
    subscription_id: str
    rate_card: str
    rate_card_version: int
    currency: str
    cycle_start: date
    cycle_end: date
    issue_date: date
    issued_as_of: date
    due_date: date
    total: Decimal


class History(NamedTuple):
    """One row of `usage_history`, but for what was clipped."""

    subscription_id: str
    cycle_start: date
    cycle_end: date
    plan: str
    charge: str
    quantity: Decimal
    minimum: Decimal | None
    shortfall: Decimal | None
    peak_at: datetime | None
    amount: Decimal


class Clipped(NamedTuple):
    """What the limit took from a charge, exactly; only where it took something."""

    subscription_id: str
    cycle_start: date
    plan: str
    charge: str
    clipped: Fraction


class Used(NamedTuple):
    """One row of the stage `usage_quantities`."""

    subscription_id: str
    cycle_start: date
    plan: str
    charge: str
    quantity: Decimal


class Minimum(NamedTuple):
    """One row of the stage `minimums`."""

    subscription_id: str
    cycle_start: date
    charge: str
    plan: str
    used: Decimal
    minimum: Decimal
    shortfall: Decimal


# An invoice's kind, subscription and cycle_start: of a correction those of the invoice it corrects.
InvoiceKey = tuple[str, str, date]


def invoice_of(line: Line) -> InvoiceKey:
    """The invoice that a line is on."""
    return line.invoice_kind, line.subscription_id, line.cycle_start


@dataclass
class Bill:
    """Everything a run over a world should give, stage by stage, in the order of the work."""

    rejected_rows: list[Refused] = field(default_factory=list)
    billing_cycles: list[Cycle] = field(default_factory=list)
    active_spans: list[ActiveSpan] = field(default_factory=list)
    plan_spans: list[PlanSpan] = field(default_factory=list)
    cart_changes: list[CartChange] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)
    usage_quantities: list[Used] = field(default_factory=list)
    minimums: list[Minimum] = field(default_factory=list)
    invoices: list[Invoice] = field(default_factory=list)
    invoice_lines: list[Line] = field(default_factory=list)
    usage_history: list[History] = field(default_factory=list)
    clipped: list[Clipped] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    topups: list[tuple[Row, Prepaid]] = field(default_factory=list)
    voided_topups: set[str] = field(default_factory=set)
    prepaid_cards: set[str] = field(default_factory=set)
    limits_throughout: dict[tuple[str, date], Decimal] = field(default_factory=dict)
    corrections: list[tuple[InvoiceKey, list[Line]]] = field(default_factory=list)
    issued_before: set[tuple[str, date]] = field(default_factory=set)
    closed: list[CycleUsage] = field(default_factory=list)


@dataclass
class Books:
    """What earlier runs left behind: what they issued and reported.

    `said` is what each opening or cycle invoice came to, by what it bills: its own lines and those of its corrections.
    `settled` spares a long row of runs the work on subscriptions of which nothing is new and nothing falls due; the
    stages of such a run are then not whole. None: every run works out everything.
    """

    said: dict[InvoiceKey, list[Line]] = field(default_factory=dict)
    invoices: list[Invoice] = field(default_factory=list)
    invoice_lines: list[Line] = field(default_factory=list)
    usage_history: list[History] = field(default_factory=list)
    clipped: list[Clipped] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    settled: dict[str, "Settled"] | None = None

    def close(self, bill: Bill) -> Bill:
        """Takes a run in; returns its stages, and all that is published after it."""
        for invoice in bill.invoices:
            if invoice.kind != "correction":
                key = (invoice.kind, invoice.subscription_id, invoice.cycle_start)
                self.said[key] = [line for line in bill.invoice_lines if invoice_of(line) == key]
        for key, lines in bill.corrections:
            self.said[key] += lines
        corrected = {key[1:] for key, _ in bill.corrections}
        self.invoices += bill.invoices
        self.invoice_lines += bill.invoice_lines
        self.usage_history = [row for row in self.usage_history if row[:2] not in corrected] + bill.usage_history
        self.clipped = [row for row in self.clipped if row[:2] not in corrected] + bill.clipped
        self.alerts += bill.alerts
        return replace(
            bill,
            invoices=[*self.invoices],
            invoice_lines=[*self.invoice_lines],
            usage_history=[*self.usage_history],
            clipped=[*self.clipped],
            alerts=[*self.alerts],
        )

    def knows(self, alert: Alert) -> bool:
        """Whether an earlier run reported the threshold of this limit in this cycle."""
        return any(alert[:4] == known[:4] for known in self.alerts)

    def has_settled(self, own: str, rests_on: Any, as_of: date) -> bool:
        """Whether a run at this date can only say of a subscription what was said before."""
        settled = self.settled.get(own) if self.settled is not None else None
        return settled is not None and settled.rests_on == rests_on and as_of < settled.until

    def settle(self, subscription: Subscription, rests_on: Any, as_of: date) -> None:
        """Takes down what a subscription's bill rests on."""
        if self.settled is not None:
            self.settled[subscription.subscription_id] = Settled(rests_on, next_due(subscription, as_of))


class Settled(NamedTuple):
    """What the bill of a subscription rested on, and the date from which on more may fall due."""

    rests_on: Any
    until: date


def next_due(subscription: Subscription, as_of: date) -> date:
    """The first date after `as_of` on which a cycle begins, or an invoice may be due, whatever the card version."""
    graces = {version["grace_days"] for version in subscription.card.versions}
    dates = []
    for cycle in cycles_of(subscription):
        dates += [cycle.cycle_start, *(cycle.cycle_end + timedelta(days=grace) for grace in graces)]
        if cycle.cycle_start > as_of:
            break
    started_on = date_begun(subscription.started_at, subscription.zone_name)
    dates += [started_on + timedelta(days=grace) for grace in graces]
    return min(day for day in dates if day > as_of)


# ---- what becomes of the rows


@dataclass
class Judge:
    """What becomes of the rows of usage, limits, one-off charges and top-ups."""

    subscriptions: Mapping[str, Subscription]
    timelines: Mapping[str, Timeline]
    accounts: Mapping[str, Row]
    as_of: date
    is_preview: bool

    def cycle_of(self, row: Row) -> Cycle | None:
        """The cycle that a row about a subscription falls in; None: it lies before the first or has not begun yet.

        In a preview the open cycle ends where `as_of` begins.
        """
        at = row.values[INSTANTS[row.feed]]
        subscription = self.subscriptions.get(row.values["subscription_id"])
        if subscription is None or (self.is_preview and at >= first_instant(self.as_of, subscription.zone_name)):
            return None
        cycle = next(cycle for cycle in cycles_of(subscription) if at < cycle.ends_at)
        return cycle if cycle.starts_at <= at and cycle.cycle_start <= self.as_of else None

    def usage(self, row: Row) -> str | None:
        """Why a usage row is not counted."""
        subscription = self.subscriptions.get(row.values["subscription_id"])
        if subscription is None:
            return "unknown_subscription"
        if row.values["meter"] not in meters_ever(subscription.card):
            return "unknown_meter"
        if not self._is_active(row, row.values["occurred_at"]):
            return "outside_subscription"
        return "missing_value" if self.lacks_charge(row) == "missing_value" else None

    def lacks_charge(self, row: Row) -> str | None:
        """Why a usage row of an active subscription is not counted under the plan in force."""
        charges = self._charges_at(row)
        return None if charges is None else reason_without_charge(row, charges)

    def one_off(self, row: Row) -> str | None:
        """Why a purchase is not charged."""
        subscription = self.subscriptions.get(row.values["subscription_id"])
        if subscription is None:
            return "unknown_subscription"
        return None if self._is_active(row, row.values["purchased_at"]) else "outside_subscription"

    def is_too_fine(self, row: Row) -> bool:
        """Whether the amount of a purchase is finer than the currency of its subscription's card."""
        subscription = self.subscriptions.get(row.values["subscription_id"])
        if subscription is None or row.is_voided:
            return False
        return is_finer_than(row.values["amount"], subscription.card.versions[0]["currency"])

    def topup(self, row: Row) -> str | None:
        """Why a top-up is not posted."""
        account = self.accounts.get(row.values["account_id"])
        if account is None:
            return "unknown_account"
        return None if prepaid_of(account, self.subscriptions.values()) else "unknown_rate_card"

    def limits(self, rows: Sequence[Row]) -> list[Verdict]:
        """Spending limits in the order of agreement: each must be above the one in force just before."""
        agreed: dict[str, Decimal] = {}

        def misfit(row: Row) -> str | None:
            own, amount = row.values["subscription_id"], row.values["limit_amount"]
            if own not in self.subscriptions:
                return "unknown_subscription"
            in_force = agreed.get(own, self._default_at(row))
            return "limit_not_raised" if in_force is not None and amount <= in_force else None

        verdicts = []
        for at in sorted({row.values["agreed_at"] for row in rows}):
            verdicts.append(judged((row for row in rows if row.values["agreed_at"] == at), misfit))
            agreed |= {row.values["subscription_id"]: row.values["limit_amount"] for row in verdicts[-1].standing}
        return verdicts

    def _default_at(self, row: Row) -> Decimal | None:
        cycle = self.cycle_of(row)
        if cycle is None:
            return None
        version = self._version_of(row, cycle)
        default = version.get("spending_limit", {}).get("default") if version else None
        return None if default is None else Decimal(default)

    def _is_active(self, row: Row, instant: datetime) -> bool:
        spans = self.timelines[row.values["subscription_id"]].active_spans()
        return any(since <= instant and (until is None or instant < until) for _, since, until in spans)

    def _charges_at(self, row: Row) -> Mapping[str, Terms] | None:
        """The charges of the plan in force at a usage row, by its cycle's card version; None: no version says."""
        cycle, at = self.cycle_of(row), row.values["occurred_at"]
        if cycle is None:
            return None
        plan = [plan for since, plan in self.timelines[row.values["subscription_id"]].plans if since <= at][-1]
        version = self._version_of(row, cycle)
        return version["plans"].get(plan) if version else None

    def _version_of(self, row: Row, cycle: Cycle) -> Terms | None:
        try:
            return self.subscriptions[row.values["subscription_id"]].card.version_on(cycle.cycle_start)
        except RunStops:
            return None


def meters_ever(card: RateCard) -> set[str]:
    """Every meter that any plan of any version counts, for a charge or for a minimum."""
    charges = [terms for version in card.versions for plan in version["plans"].values() for terms in plan.values()]
    return {terms["meter"] for terms in charges if "meter" in terms} | {
        terms["minimum"]["meter"] for terms in charges if "meter" in terms.get("minimum", {})
    }


def is_finer_than(amount: Decimal, currency: str) -> bool:
    """Whether an amount has more decimals than the currency."""
    minor = {"JPY": 1, "USD": 100, "EUR": 100, "KWD": 1000}[currency]
    return Fraction(amount) * minor % 1 != 0


INSTANTS = {
    "subscriptions": "effective_at",
    "cart_events": "occurred_at",
    "cart_snapshots": "snapshot_at",
    "usage": "occurred_at",
    "one_off_charges": "purchased_at",
    "spending_limits": "agreed_at",
}

STATUS = {"unpriced": "unpriced", "bad_value": "rejected"}


# ---- bills


@dataclass
class Biller:
    """Bills one subscription, cycle by cycle."""

    subscription: Subscription
    timeline: Timeline
    changes: Sequence[CartChange]
    rows: Mapping[str, Sequence[Row]]
    as_of: date
    bill: Bill
    books: Books
    is_preview: bool = False

    def run(self) -> None:
        """Adds the subscription's cycles, its invoices that are due and not issued, and its open cycle's alerts.

        A preview bills the open cycle too, without any grace, as if nothing came after the start of `as_of`.
        """
        cycles = list(takewhile(lambda cycle: cycle.cycle_start <= self.as_of, cycles_of(self.subscription)))
        active = active_cycles_of(self.subscription, self.timeline, self.as_of)
        if self.is_preview:
            close = first_instant(self.as_of, self.subscription.zone_name)
            begun = takewhile(lambda cycle: cycle.cycle_start < self.as_of, cycles)  # one of a skipped day too
            cycles = [cycle._replace(ends_at=min(cycle.ends_at, close)) for cycle in begun]
            active = [cut for of in active if (cut := of.until(close))]
        self.bill.billing_cycles += cycles
        if not active:
            self._correct_inactive(set())
            return
        unpriced = [of for of in active if not self._has_price(of)]
        self._open(active[0])
        by_start = {of.cycle.cycle_start: of for of in active}
        by_end = {of.cycle.cycle_end: of for of in active}
        for of in active:
            if of.cycle.cycle_end > self.as_of:
                self._watch(of)
            if self._closes(of) and of not in unpriced:
                before, after = by_end.get(of.cycle.cycle_start), by_start.get(of.cycle.cycle_end)
                self._close(of, advance_lines(of, after, is_billed=of is active[0] or is_billed_before(of, before)))
        self._correct_inactive({of.cycle.cycle_start for of in active})

    def _is_issued(self, kind: str, cycle_start: date) -> bool:
        return (kind, self.subscription.subscription_id, cycle_start) in self.books.said

    def _has_price(self, of: ActiveCycle) -> bool:
        """An issued cycle may come to be without a price by a late change of plan: then its correction waits."""
        try:
            of.check_price()
        except RunStops:
            if not self._is_issued("cycle", of.cycle.cycle_start):
                raise
            return False
        return True

    def _correct_inactive(self, active: set[date]) -> None:
        """An issued cycle that has no active instant any more comes to nothing."""
        for kind, own, start in self.books.said:
            if own == self.subscription.subscription_id and start not in active:
                self._correct((kind, own, start), [])

    def _closes(self, of: ActiveCycle) -> bool:
        """Whether the cycle's own invoice is due, or wanted before it is."""
        return self.is_preview or self._is_due(of, of.cycle.cycle_end)

    def _is_due(self, of: ActiveCycle, issue_date: date) -> bool:
        return issue_date + timedelta(days=of.version["grace_days"]) <= self.as_of

    def _open(self, first: ActiveCycle) -> None:
        """The opening invoice, where the plan at the start has a fee in advance."""
        lines = opening_lines(first)
        started_on = first.local_date(self.subscription.started_at)
        is_issued = self._is_issued("opening", first.cycle.cycle_start)
        if is_issued or (lines and self._is_due(first, started_on)):
            self._invoice("opening", first, started_on, lines)

    def _watch(self, of: ActiveCycle) -> None:
        """The alerts of an open cycle."""
        if of.version.get("spending_limit", {}).get("alert_at"):
            usage = self._usage(of)
            self.bill.alerts += [alert for alert in usage.alerts() if not self.books.knows(alert)]
            if not self._closes(of):
                self._note_quantities(of, usage.counted())

    def _note_quantities(self, of: ActiveCycle, counted: Sequence[Counted]) -> None:
        """What every charge counted that looked at a row."""
        for item in counted:
            if item.is_counted:
                self.bill.usage_quantities.append(Used(*of.cycle[:2], item.plan, item.charge, item.quantity))

    def _usage(self, of: ActiveCycle) -> CycleUsage:
        agreed = [(row.values["agreed_at"], row.values["limit_amount"]) for row in self.rows["spending_limits"]]
        return CycleUsage(of, self.rows["usage"], Limits(agreed))

    def _close(self, of: ActiveCycle, advance: list[Line]) -> None:
        """The invoice of a cycle that is over."""
        usage = self._usage(of)
        self.bill.closed.append(usage)
        counted = usage.counted()
        running = usage.under_limit()
        metered = [line for item in counted for line in item.lines]
        metered += usage.limit_line(running, metered)
        self._note(of, counted)
        own = of.subscription.subscription_id
        limit = usage.limits.at_end(of)
        if limit is not None and usage.limits.at(of.cycle.starts_at, of.version) is not None:
            self.bill.limits_throughout[of.cycle[:2]] = limit
        for item in counted:
            clipped = running.clipped_of(item.plan, item.charge)
            if clipped:
                self.bill.clipped.append(Clipped(own, of.cycle.cycle_start, item.plan, item.charge, clipped))
        lines = [*advance, *arrears_lines(of), *upgrade_lines(of), *self._peak_lines(of), *metered]
        lines += one_off_lines(of, self.rows["one_off_charges"])
        self._invoice("cycle", of, of.cycle.cycle_end, lines)

    def _note(self, of: ActiveCycle, counted: Sequence[Counted]) -> None:
        """The stages and the history of a cycle's usage charges."""
        cycle = of.cycle
        usage = self._usage(of)
        self._note_quantities(of, counted)
        for item in counted:
            if item.minimum is not None and item.shortfall is not None:
                used = usage.used(item.terms)
                self.bill.minimums.append(
                    Minimum(*cycle[:2], item.charge, item.plan, used, item.minimum, item.shortfall)
                )
            if item.plan != of.plan_last and not item.quantity:
                continue
            self.bill.usage_history.append(
                History(
                    *cycle[:3],
                    item.plan,
                    item.charge,
                    item.quantity,
                    item.minimum,
                    item.shortfall,
                    None,
                    item.amount,
                )
            )

    def _peak_lines(self, of: ActiveCycle) -> list[Line]:
        peaks, lines, plan = self._peaks(of), [], of.plan_last
        self.bill.peaks += peaks.values()
        for name, terms in of.charges_of(plan).items():
            if terms["kind"] != "peak":
                continue
            peak = peaks.get(terms["category"])
            quantity = Decimal(peak.quantity if peak else 0)
            amount = of.money(price_of(terms["price"], peak.quantity)) if peak else Decimal(0)
            peak_at = peak.peak_at if peak else None
            if peak:
                unit_price = terms["price"].get("per_unit")
                lines.append(of.line("peak", name, amount, quantity=quantity, unit_price=unit_price))
            self.bill.usage_history.append(History(*of.cycle[:3], plan, name, quantity, None, None, peak_at, amount))
        return lines

    def _peaks(self, of: ActiveCycle) -> dict[str, Peak]:
        peaks: dict[str, Peak] = {}
        for start, end in of.segments:
            inside = {change.changed_at for change in self.changes if start < change.changed_at < end}
            for instant in sorted({start} | inside):
                for category, quantity in self._active_carts(instant).items():
                    if category not in peaks or quantity > peaks[category].quantity:
                        peaks[category] = Peak(*of.cycle[:2], category, quantity, instant)
        return peaks

    def _active_carts(self, instant: datetime) -> dict[str, int]:
        now = {change.cart_id: change.category_after for change in self.changes if change.changed_at <= instant}
        categories = [category for category in now.values() if category is not None]
        return {category: categories.count(category) for category in categories}

    def _invoice(self, kind: str, of: ActiveCycle, issue_date: date, lines: list[Line]) -> None:
        account, version = self.subscription.account.values, of.version
        if self._is_issued(kind, of.cycle.cycle_start):
            self._correct((kind, self.subscription.subscription_id, of.cycle.cycle_start), lines)
            return
        self.bill.invoice_lines += lines
        self.bill.invoices.append(
            Invoice(
                kind,
                account["account_id"],
                account["master_account_id"] or account["account_id"],
                self.subscription.subscription_id,
                version["rate_card"],
                version["version"],
                version["currency"],
                of.cycle.cycle_start,
                of.cycle.cycle_end,
                issue_date,
                self.as_of,
                of.cycle.cycle_end + timedelta(days=version["payment_days"]),
                sum((line.amount for line in lines), Decimal(0)),
            )
        )

    def _correct(self, key: InvoiceKey, now: Sequence[Line]) -> None:
        """A correction of an issued invoice, where its lines come to something else than it has said so far."""
        lines = [
            difference
            for what in sorted({what_of(line) for line in (*now, *self.books.said[key])})
            if (difference := difference_in(what, now, self.books.said[key]))
        ]
        if not lines:
            return
        self.bill.corrections.append((key, lines))
        self.bill.invoice_lines += [line._replace(invoice_kind="correction") for line in lines]
        original = next(row for row in self.books.invoices if (row.kind, row.subscription_id, row.cycle_start) == key)
        (version,) = (
            version for version in self.subscription.card.versions if version["version"] == original.rate_card_version
        )
        self.bill.invoices.append(
            original._replace(
                kind="correction",
                issue_date=self.as_of,
                issued_as_of=self.as_of,
                due_date=self.as_of + timedelta(days=version["payment_days"]),
                total=sum((line.amount for line in lines), Decimal(0)),
            )
        )


def what_of(line: Line) -> tuple[str, str, str, str]:
    """What a line bills: its kind, charge and plan, and of a fee the cycle that it is for."""
    return line.kind, line.charge, line.plan, str(line.service_start) if line.kind == "recurring" else ""


def difference_in(what: tuple[str, str, str, str], now: Sequence[Line], said: Sequence[Line]) -> Line | None:
    """What has to be added to what was said so far; None where the two agree."""
    after = [line for line in now if what_of(line) == what]
    before = [line for line in said if what_of(line) == what]
    quantity = sum((line.quantity for line in after), Decimal(0)) - sum((line.quantity for line in before), Decimal(0))
    amount = sum((line.amount for line in after), Decimal(0)) - sum((line.amount for line in before), Decimal(0))
    if not quantity and not amount:
        return None
    prices = {line.unit_price for line in (*after, *before)}
    shown = after or before
    return shown[0]._replace(
        quantity=quantity,
        amount=amount,
        unit_price=prices.pop() if len(prices) == 1 else None,
        service_start=min(line.service_start for line in shown),
        service_end=max(line.service_end for line in shown),
    )


def reading_of(world: World, judge: Judge) -> Reading:
    """The feeds, with conflicts of usage and one-off rows looked for among the rows of one cycle.

    While its cycle is not known, a row is in conflict with none: the two may turn out to lie in different ones.
    """

    def part_of(row: Row) -> Any:
        return (judge.cycle_of(row) or tuple(row.content.items())) if row.feed in ("usage", "one_off_charges") else None

    return read_feeds(world, part_of)


def rate(world: World, as_of: date, books: Books | None = None, *, is_preview: bool = False) -> Bill:
    """Works out what one run over a world should give: its stages, what it issues, and every row refused so far.

    :param books: what earlier runs left; None: nothing was run before
    :param is_preview: the open cycles are billed too, as if they ended at the start of `as_of`
    :raises RunStops: the run should end with exit 2
    """
    books = books or Books()
    reading = read_feeds(world)
    accounts = newest_accounts(reading.rows["accounts"])
    subscriptions, verdict = subscriptions_of(reading.rows["subscriptions"], accounts, rate_cards_of(world))
    timelines = {own: Timeline(subscription) for own, subscription in subscriptions.items()}
    for timeline in timelines.values():
        timeline.replay()
    judge = Judge(subscriptions, timelines, accounts, as_of, is_preview)
    reading = reading_of(world, judge)
    carts, cart_verdicts = cart_feeds_of(reading, subscriptions, world.min_snapshot_share)
    too_fine = [row for row in reading.rows["one_off_charges"] if judge.is_too_fine(row)]
    purchases = [row for row in reading.rows["one_off_charges"] if row not in too_fine]
    verdicts = {
        "usage": [judged(reading.rows["usage"], judge.usage)],
        "one_off_charges": [judged(purchases, judge.one_off)],
        "spending_limits": judge.limits(reading.rows["spending_limits"]),
        "credit_topups": [judged(reading.rows["credit_topups"], judge.topup)],
    }
    standing = {feed: [row for one in found for row in one.standing] for feed, found in verdicts.items()}
    bill = Bill(cart_changes=cart_changes_of(carts), issued_before={key[1:] for key in books.said if key[0] == "cycle"})
    by_owner = {
        feed: grouped(row for row in found if "subscription_id" in row.values) for feed, found in standing.items()
    }
    changes_of: dict[str, list[CartChange]] = {}
    for change in bill.cart_changes:
        changes_of.setdefault(change.subscription_id, []).append(change)
    for own, subscription in subscriptions.items():
        bill.active_spans += timelines[own].active_spans()
        bill.plan_spans += timelines[own].plan_spans()
        changes, rows = changes_of.get(own, []), {feed: found.get(own, []) for feed, found in by_owner.items()}
        rests_on = (subscription, changes, rows)
        if not books.has_settled(own, rests_on, as_of):
            Biller(subscription, timelines[own], changes, rows, as_of, bill, books, is_preview).run()
            books.settle(subscription, rests_on, as_of)
    cards = rate_cards_of(world)
    bill.prepaid_cards = {name for name, card in cards.items() if is_prepaid(card)}
    for row in standing["credit_topups"]:
        prepaid = prepaid_of(accounts[row.values["account_id"]], subscriptions.values())
        assert prepaid
        bill.topups.append((row, prepaid))
    bill.voided_topups = {row.values["topup_id"] for row in verdicts["credit_topups"][0].voids}
    every = [verdict, *cart_verdicts, *(one for found in verdicts.values() for one in found)]
    listed = [held for one in every for held in one.held]
    listed += [(row, "bad_value") for row in too_fine]
    unpriced = [(row, "unpriced") for row in standing["usage"] if judge.lacks_charge(row) == "unpriced"]
    listed += unpriced
    corrected = {key[1:] for key, _ in bill.corrections}
    unchanged = bill.issued_before - corrected
    bill.usage_history = [row for row in bill.usage_history if row[:2] not in unchanged]
    bill.clipped = [row for row in bill.clipped if row[:2] not in unchanged]
    bill.rejected_rows = reading.refused + [row.refused(STATUS.get(why, "held"), why) for row, why in listed]
    return bill


def rate_nights(world: World, as_of: Sequence[date]) -> Iterator[tuple[World, Bill]]:
    """Works out a sequence of runs: what is there in each, its stages, and all that is published after it."""
    books = Books()
    for night, day in enumerate(as_of):
        there = world.until(night)
        yield there, books.close(rate(there, day, books))
