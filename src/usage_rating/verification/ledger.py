"""Prepaid credit: entries in the order of posting, and the balance after each."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction

from usage_rating.verification.calendar import local_date
from usage_rating.verification.feeds import Row
from usage_rating.verification.known import Known
from usage_rating.verification.rows import Resolved, resolve
from usage_rating.verification.runs import Invoice

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Entry:
    """One entry, with the balance after it; `ran_out` if it took the balance below 0."""

    account_id: str
    currency: str
    entry_date: date
    posted_as_of: date
    kind: str
    reference: str
    amount: Fraction
    balance: Fraction
    ran_out: bool
    run: int
    invoice: Invoice | None = None


@dataclass(frozen=True)
class Topup:
    """A top-up as it is known."""

    account_id: str
    currency: str
    entry_date: date
    amount: Fraction


Posting = tuple[str, str, date, str, str, Fraction, Invoice | None]


@dataclass
class Ledger:
    """The ledger, run by run; `due` are the top-ups whose day is over."""

    entries: list[Entry] = field(default_factory=list)
    balances: dict[tuple[str, str], Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    posted: dict[str, Topup] = field(default_factory=dict)
    resolved: Resolved = field(default_factory=Resolved)
    due: set[str] = field(default_factory=set)

    def post(self, known: Known, issued: Iterable[Invoice], run: int) -> None:
        """Posts what a run adds: by date, top-ups before invoices, then by reference."""
        postings = [*self._topups(known), *_deductions(issued)]
        for account_id, currency, day, kind, reference, amount, invoice in sorted(
            postings, key=lambda one: (one[2], one[3] != "topup", one[4])
        ):
            before = self.balances[account_id, currency]
            after = self.balances[account_id, currency] = before + amount
            ran_out = kind == "invoice" and before >= 0 > after
            self.entries.append(
                Entry(account_id, currency, day, known.as_of, kind, reference, amount, after, ran_out, run, invoice)
            )

    def _topups(self, known: Known) -> Iterable[Posting]:
        zones = _prepaid_zones(known)

        def reason(row: Row) -> str:
            if row["account_id"] not in known.accounts:
                return "unknown_account"
            return "" if len({currency for currency, _ in zones[row["account_id"]]}) == 1 else "unknown_rate_card"

        self.resolved = resolve(known.topups, reason)
        self.due.clear()
        counting = {row["topup_id"]: row for row in self.resolved.counting}
        voided = {key[0] for key in self.resolved.voided if isinstance(key, tuple)}
        for topup_id in sorted(counting.keys() | (voided & self.posted.keys())):
            row, old = counting.get(topup_id), self.posted.get(topup_id)
            new = _topup(known, row, zones) if row else None
            if new and new.entry_date <= known.as_of:
                self.due.add(topup_id)
            if new and not old and new.entry_date > known.as_of:
                continue
            yield from _changes(topup_id, old, new)
            if new:
                self.posted[topup_id] = new
            else:
                del self.posted[topup_id]


def _prepaid_zones(known: Known) -> dict[str, set[tuple[str, str]]]:
    """For each account that pays by credit: the currencies and zones of the cards that it pays for."""
    zones: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for subscription_id in known.of["subscriptions"]:
        life = known.life_of(subscription_id)
        if life and life.card.first.is_prepaid:
            zones[known.payer_of(life.account_id)].add((life.card.first.currency, life.card.first.time_zone))
    return zones


def _topup(known: Known, row: Row, zones: dict[str, set[tuple[str, str]]]) -> Topup:
    currency, card_zone = min(zones[row["account_id"]])  # of several zones the first by name
    zone_name = known.accounts[row["account_id"]]["time_zone"] or card_zone
    return Topup(row["account_id"], currency, local_date(row["purchased_at"], zone_name), row["amount"])


def _changes(topup_id: str, old: Topup | None, new: Topup | None) -> Iterable[Posting]:
    """What a new or changed top-up adds: the difference, by the earlier of its dates."""
    day = min(one.entry_date for one in (old, new) if one)
    sums: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    if old:
        sums[old.account_id, old.currency] -= old.amount
    if new:
        sums[new.account_id, new.currency] += new.amount
    for (account_id, currency), amount in sums.items():
        if amount or old is None:
            yield account_id, currency, day, "topup", topup_id, amount, None


def _deductions(issued: Iterable[Invoice]) -> Iterable[Posting]:
    for invoice in issued:
        if invoice.version.is_prepaid:
            yield (
                invoice.bill_to_account_id,
                invoice.currency,
                invoice.cycle.end - DAY,
                "invoice",
                invoice.invoice_id,
                -invoice.total,
                invoice,
            )
