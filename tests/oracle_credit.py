"""The ledger of prepaid credit, and the alert that it ran out (part of the oracle)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from tests.oracle import RateCard, Row, Subscription, date_begun


class Prepaid(NamedTuple):
    """The currency and the zone in which an account keeps its credit."""

    currency: str
    zone_name: str


class Entry(NamedTuple):
    """One row of `credit_ledger`."""

    account_id: str
    currency: str
    entry_date: date
    posted_as_of: date
    kind: str
    reference: str
    amount: Decimal
    balance: Decimal


class Exhausted(NamedTuple):
    """One row of `alerts` about credit: the invoice that took the balance below 0."""

    subscription_id: str
    cycle_start: date


class Deduction(NamedTuple):
    """An invoice, as the ledger needs it."""

    account_id: str
    currency: str
    subscription_id: str
    cycle_start: date
    cycle_end: date
    reference: str
    total: Decimal


def is_prepaid(card: RateCard) -> bool:
    """Whether a card's invoices are taken from credit."""
    return card.versions[0].get("settlement") == "prepaid_credits"


def prepaid_of(account: Row, subscriptions: Iterable[Subscription]) -> Prepaid | None:
    """Where a top-up of an account goes: by the prepaid cards of subscriptions that it pays for, if they agree."""
    account_id, currencies, zones = account.values["account_id"], set[str](), set[str]()
    for subscription in subscriptions:
        values, version = subscription.account.values, subscription.card.versions[0]
        payer = values["master_account_id"] or values["account_id"]
        if payer == account_id and is_prepaid(subscription.card):
            currencies.add(version["currency"])
            zones.add(account.values["time_zone"] or version["time_zone"])
    return Prepaid(currencies.pop(), min(zones)) if len(currencies) == 1 else None


def entry_date(row: Row, prepaid: Prepaid) -> date:
    """The local date on which a top-up was bought."""
    return date_begun(row.values["purchased_at"], prepaid.zone_name)


@dataclass
class Ledger:
    """All entries posted so far, in the order of posting."""

    entries: list[Entry]
    exhausted: list[Exhausted]

    def balance(self, account_id: str, currency: str) -> Decimal:
        """What an account has left."""
        amounts = [
            entry.amount for entry in self.entries if (entry.account_id, entry.currency) == (account_id, currency)
        ]
        return sum(amounts, Decimal(0))

    def post(
        self,
        as_of: date,
        deductions: Collection[Deduction],
        topups: Sequence[tuple[Row, Prepaid]],
        voided: Collection[str] = (),
    ) -> None:
        """Adds a run's invoices, the top-ups whose date has come, and what those posted before come to more or less.

        :param voided: top-ups that were taken out; one that waits again stays as it is posted

        Entries follow in the order of their dates, top-ups before invoices, then references.
        """
        due: list[tuple[date, int, str, str, str, Decimal, Deduction | None]] = []
        settled = {*voided, *(row.values["topup_id"] for row, _ in topups)}
        parts: dict[tuple[str, str, str], list[tuple[date, Decimal]]] = {}
        for row, prepaid in topups:
            day, reference = entry_date(row, prepaid), row.values["topup_id"]
            if day <= as_of:
                owner = (reference, row.values["account_id"], prepaid.currency)
                parts.setdefault(owner, []).append((day, Decimal(row.values["amount"])))
        posted = [entry for entry in self.entries if entry.kind == "topup" and entry.reference in settled]
        for entry in posted:
            owner = (entry.reference, entry.account_id, entry.currency)
            parts.setdefault(owner, []).append((entry.entry_date, -entry.amount))
        for owner, dated in parts.items():
            amount = sum((amount for _, amount in dated), Decimal(0))
            if amount or not any((entry.reference, entry.account_id, entry.currency) == owner for entry in posted):
                due.append((min(day for day, _ in dated), 0, *owner, amount, None))
        for invoice in deductions:
            day = invoice.cycle_end - timedelta(days=1)
            due.append((day, 1, invoice.reference, invoice.account_id, invoice.currency, -invoice.total, invoice))
        for day, rank, reference, account_id, currency, amount, deduction in sorted(due, key=lambda entry: entry[:3]):
            before = self.balance(account_id, currency)
            kind = ("topup", "invoice")[rank]
            self.entries.append(
                Entry(account_id, currency, day, as_of, kind, reference, amount, before + amount),
            )
            if before >= 0 > before + amount and deduction:
                self.exhausted.append(Exhausted(deduction.subscription_id, deduction.cycle_start))
