"""The runs, one after the other: what each knew, what it had to issue, and what it had to put right."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from usage_rating.verification.bill import (
    Facts,
    History,
    Line,
    NoPrice,
    cycle_lines,
    opening_lines,
)
from usage_rating.verification.calendar import Cycle, local_date
from usage_rating.verification.cards import Card, Version
from usage_rating.verification.feeds import Row
from usage_rating.verification.known import Judged, Known
from usage_rating.verification.limits import Reached

DAY = timedelta(days=1)
OPENING = -(2**31)
Key = tuple[Any, ...]


@dataclass
class Invoice:
    """An invoice as it was worked out, a correction with lines of differences.

    `said` is what it and its corrections so far come to; `worked_out` are all lines as they come to now, also those
    that do not show.
    """

    kind: str
    account_id: str
    bill_to_account_id: str
    subscription_id: str
    rate_card: str
    version: Version
    cycle: Cycle
    number: int
    issue_date: date
    issued_as_of: date
    due_date: date
    run: int
    lines: list[Line] = field(default_factory=list)
    corrects: "Invoice | None" = None
    said: dict[Key, Line] = field(default_factory=dict)
    page: list[History] = field(default_factory=list)
    worked_out: list[Line] = field(default_factory=list)
    card: Card = field(default_factory=Card)
    invoice_id: str = ""
    invoice_number: int = 0

    @property
    def total(self) -> Fraction:
        """The sum of its lines."""
        return sum((line.amount for line in self.lines), Fraction(0))

    @property
    def currency(self) -> str:
        """The card's."""
        return self.version.currency


@dataclass(frozen=True)
class Alert:
    """A share of a spending limit that was reached in an open cycle."""

    run: int
    account_id: str
    subscription_id: str
    cycle_start: date
    reached: Reached
    currency: str


@dataclass(frozen=True)
class Night:
    """What a run has at hand."""

    run: int
    as_of: date
    rows: list[Row]
    cards: dict[str, Card]
    share: Fraction
    approved: frozenset[int]
    max_change: Fraction | None = None
    window: int | None = None

    @property
    def bounds(self) -> tuple[object, ...]:
        """What decides over listings and late rows."""
        return self.share, self.approved, self.window


def shown(lines: Iterable[Line]) -> list[Line]:
    """The lines that stand on an invoice."""
    return [line for line in lines if line.is_shown]


def keyed(lines: Iterable[Line]) -> dict[Key, Line]:
    """Lines brought together as corrections do: by kind, charge and plan, of fees also by the cycle they are for."""
    sums: dict[Key, Line] = {}
    for line in lines:
        key = line.kind, line.charge, line.plan, line.service_start if line.kind == "recurring" else None
        sums[key] = together(sums[key], line) if key in sums else line
    return sums


def together(one: Line, other: Line) -> Line:
    """Two lines as one, with a unit price where it is a single one."""
    return one._replace(
        version=max(one.version, other.version),
        quantity=one.quantity + other.quantity,
        unit_price=one.unit_price if one.unit_price == other.unit_price else None,
        amount=one.amount + other.amount,
        service_start=min(one.service_start, other.service_start),
        service_end=max(one.service_end, other.service_end),
    )


def differences(before: dict[Key, Line], now: dict[Key, Line]) -> list[Line]:
    """The lines that have to be said so that `before` comes to `now`, each with what the line says now."""
    found = []
    for key in before.keys() | now.keys():
        stands = now.get(key) or before[key]
        nothing = stands._replace(quantity=Fraction(0), amount=Fraction(0))
        old, new = before.get(key, nothing), now.get(key, nothing)
        quantity, amount = new.quantity - old.quantity, new.amount - old.amount
        if quantity or amount:
            price = stands.unit_price if old.unit_price == new.unit_price else None
            found.append(stands._replace(quantity=quantity, amount=amount, unit_price=price))
    return found


def _held_as(invoice: Invoice) -> tuple[str, int]:
    """A place for each invoice of a subscription: its kind and its cycle's number, one below any for the opening."""
    of = invoice.corrects or invoice
    return invoice.kind, of.number if of.kind == "cycle" else OPENING


@dataclass(frozen=True)
class Held:
    """Why an invoice waits, since which run, and as what it was worked out; without a price, what it would correct."""

    reason: str
    invoice: Invoice
    run: int
    since: date


@dataclass
class State:
    """A subscription between runs: what was issued of it, and what was told."""

    opening: Invoice | None = None
    cycles: dict[int, Invoice] = field(default_factory=dict)
    history: dict[int, list[History]] = field(default_factory=dict)
    told: set[tuple[int, Fraction, Fraction]] = field(default_factory=set)
    held: dict[tuple[str, int], Held] = field(default_factory=dict)
    looked_until: int | None = None
    open_cycle: int | None = None
    judged: Judged | None = None


@dataclass
class Replay:
    """Runs the nights again."""

    wanted: frozenset[str] | None = None
    known: Known = field(default_factory=Known)
    states: dict[str, State] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)
    unpriced: list[str] = field(default_factory=list)
    before: Night | None = None
    bills: dict[tuple[str, str], list[Invoice]] = field(default_factory=lambda: defaultdict(list))
    is_approved: Callable[[Invoice], bool] = lambda _: False

    def run(self, night: Night) -> list[Invoice]:
        """One run: what it had to issue."""
        dirty = self._take(night)
        issued: list[Invoice] = []
        for subscription_id in sorted(self.known.of["subscriptions"]):
            if self.wanted is None or subscription_id in self.wanted:
                issued += self._subscription(subscription_id, night, is_dirty=subscription_id in dirty)
        self.before = night
        return issued

    def _take(self, night: Night) -> set[str]:
        """Takes the run's rows in; gives the subscriptions for which something may be otherwise than before."""
        known, before = self.known, self.before
        known.as_of, known.cards, known.closed = night.as_of, night.cards, self._closed(night)
        dirty, accounts, has_listing = known.take(night.rows, self.wanted)
        known.freeze()
        known.judge_accounts(accounts)
        everything = set(known.of["subscriptions"])
        if before is None or before.cards != night.cards:
            dirty = everything
        elif has_listing or before.bounds != night.bounds:
            dirty |= everything
        else:
            for subscription_id, (life, _) in known.lives.items():
                rows = known.of["subscriptions"].get(subscription_id, [])
                if (life and life.account_id in accounts) or any(row["account_id"] in accounts for row in rows):
                    dirty.add(subscription_id)
        if has_listing or before is None or before.bounds != night.bounds:
            known.snapshots.judge(night.share, set(night.approved), known.lateness)
        for subscription_id in dirty:
            known.lives.pop(subscription_id, None)
        return dirty

    def _closed(self, night: Night) -> dict[str, int]:
        """Up to when the books of each subscription are closed: to the end of its latest old invoiced cycle."""
        closed: dict[str, int] = {}
        for subscription_id, state in self.states.items() if night.window is not None else ():
            for invoice in state.cycles.values():
                if invoice.cycle.end + (night.window or 0) * DAY < night.as_of:
                    closed[subscription_id] = max(closed.get(subscription_id, 0), invoice.cycle.ends_at)
        return closed

    def _subscription(self, subscription_id: str, night: Night, *, is_dirty: bool) -> Iterator[Invoice]:
        state = self.states.setdefault(subscription_id, State())
        life = self.known.life_of(subscription_id)
        if life is None:
            if is_dirty or state.judged is None:
                state.judged = self.known.judge(subscription_id)
            return
        first = life.cycles.number_at(life.started_at)
        open_cycle = first
        while life.cycles.cycle(open_cycle + 1).start <= night.as_of:
            open_cycle += 1
        if is_dirty or state.judged is None or open_cycle != state.open_cycle:
            state.judged = self.known.judge(subscription_id)
            state.looked_until, is_dirty = None, True
        state.open_cycle = open_cycle
        facts = state.judged.facts
        assert facts is not None, "a subscription with a life has facts"
        has_held = any(kind == "correction" for kind, _ in state.held)
        waited, state.held = state.held, {}
        issued = [invoice for invoice in self._due(facts, state, first, night) if self._passes(invoice, night, state)]
        for invoice in issued:
            self._issue(invoice, state)
        if is_dirty or has_held:
            yield from self._corrections(facts, state, night, {id(invoice) for invoice in issued})
        if is_dirty:
            self._alert(facts, state, night, open_cycle)
        for place in waited.keys() & state.held.keys():
            state.held[place] = replace(state.held[place], run=waited[place].run, since=waited[place].since)
        yield from issued
        if issued:
            self.known.invoiced(life)

    # ---- what is due

    def _due(self, facts: Facts, state: State, first: int, night: Night) -> Iterator[Invoice]:
        life = facts.life
        if state.opening is None and (opening := self._opening(facts, first, night)):
            yield opening
        number = first if state.looked_until is None else state.looked_until
        all_issued = True
        while (cycle := life.cycles.cycle(number)).end <= night.as_of:
            if all_issued:
                state.looked_until = number
            if number not in state.cycles and life.active_in(cycle):
                version = self._priced(facts, cycle)
                all_issued = False
                if version and cycle.end + version.grace_days * DAY <= night.as_of:
                    lines, page = cycle_lines(facts, number)
                    invoice = self._invoice("cycle", facts, number, night, lines)
                    invoice.page = page
                    yield invoice
            number += 1

    def _priced(self, facts: Facts, cycle: Cycle) -> Version | None:
        try:
            return facts.version(cycle)
        except NoPrice:
            place = f"{facts.life.subscription_id}, cycle of {cycle.start}"
            self.unpriced.append(f"{place}: no version of {facts.life.rate_card} prices it, or one lacks its plan.")
            return None

    def _opening(self, facts: Facts, first: int, night: Night) -> Invoice | None:
        life, cycle = facts.life, facts.life.cycles.cycle(first)
        day = local_date(life.started_at, life.zone_name)
        if day > night.as_of or not life.active:
            return None
        version = life.version(cycle)
        if version is None or day + version.grace_days * DAY > night.as_of:
            return None
        plan = version.plans.get(life.plan_at(life.started_at), ())
        if not any(charge.bill == "advance" for charge in plan):
            return None
        return self._invoice("opening", facts, first, night, opening_lines(facts))

    def _invoice(self, kind: str, facts: Facts, number: int, night: Night, lines: list[Line]) -> Invoice:
        life, cycle = facts.life, facts.life.cycles.cycle(number)
        version = facts.version(cycle)
        issue_date = cycle.end if kind == "cycle" else local_date(life.started_at, life.zone_name)
        due = cycle.end + version.payment_days * DAY  # an opening invoice is due with the first cycle's
        return Invoice(
            kind,
            life.account_id,
            self.known.payer_of(life.account_id),
            life.subscription_id,
            life.rate_card,
            version,
            cycle,
            number,
            issue_date,
            night.as_of,
            due,
            night.run,
            shown(lines),
            said=keyed(shown(lines)),
            card=life.card,
            worked_out=lines,
        )

    def _passes(self, invoice: Invoice, night: Night, state: State) -> bool:
        """Whether it goes out: not far above the account's last bills, or approved at just this total."""
        own = self.bills.get((invoice.account_id, invoice.rate_card), [])
        if night.max_change is None or not own:
            return True
        last = sorted(own, key=lambda bill: (bill.cycle.end, bill.invoice_number))[-3:]
        if invoice.total <= night.max_change * max(bill.total for bill in last) or self.is_approved(invoice):
            return True
        state.held[_held_as(invoice)] = Held("max_change", invoice, night.run, night.as_of)
        return False

    def _issue(self, invoice: Invoice, state: State) -> None:
        if invoice.kind == "opening":
            state.opening = invoice
        else:
            state.cycles[invoice.number] = invoice
            state.history[invoice.number] = invoice.page

    # ---- what has to be put right

    def _corrections(self, facts: Facts, state: State, night: Night, new: set[int]) -> Iterator[Invoice]:
        invoices = [*([state.opening] if state.opening else []), *state.cycles.values()]
        for invoice in invoices:
            if id(invoice) in new:
                continue
            lines, history = self._now(replace(facts, is_lenient=True), invoice)
            now = keyed(shown(lines))
            differs = differences(invoice.said, now)
            if not differs:
                continue
            correction = Invoice(
                "correction",
                invoice.account_id,
                invoice.bill_to_account_id,
                invoice.subscription_id,
                invoice.rate_card,
                invoice.version,
                invoice.cycle,
                invoice.number,
                night.as_of,
                night.as_of,
                night.as_of + invoice.version.payment_days * DAY,
                night.run,
                differs,
                corrects=invoice,
                said=invoice.said,
                worked_out=lines,
            )
            if not facts.is_priced(invoice.cycle):  # until its row is put right
                state.held[_held_as(correction)] = Held("without_price", correction, night.run, night.as_of)
            elif self._passes(correction, night, state):
                invoice.said = keyed([*invoice.said.values(), *differs])
                if invoice.kind == "cycle":
                    state.history[invoice.number] = history
                yield correction

    @staticmethod
    def _now(facts: Facts, invoice: Invoice) -> tuple[list[Line], list[History]]:
        if invoice.kind == "cycle":
            return cycle_lines(facts, invoice.number)
        return (opening_lines(facts) if facts.life.active else []), []

    # ---- what somebody should be told

    def _alert(self, facts: Facts, state: State, night: Night, number: int) -> None:
        """Tells each share of the limit that is reached in the open cycle, once."""
        life, cycle = facts.life, facts.life.cycles.cycle(number)
        if cycle.start > night.as_of or not life.active_in(cycle):
            return
        try:
            _, total = facts.total(cycle)
        except NoPrice:
            return  # the run that bills this cycle will stop
        for reached in total.reached:
            if (number, reached.limit, reached.threshold) not in state.told:
                state.told.add((number, reached.limit, reached.threshold))
                currency = life.card.first.currency
                self.alerts.append(
                    Alert(night.run, life.account_id, life.subscription_id, cycle.start, reached, currency)
                )
