"""The oracle's usage, fees and credit against SPEC section 7 (pages 003 and 004), worked by hand."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.oracle import World
from tests.oracle_bill import Bill, rate
from tests.oracle_credit import Deduction, Ledger

ORDERS = {
    "standard": {"orders": {"kind": "usage", "meter": "orders", "aggregation": "count", "price": {"per_unit": "3"}}},
    "professional": {
        "orders": {"kind": "usage", "meter": "orders", "aggregation": "count", "price": {"per_unit": "3.5"}}
    },
}
APPS = {
    plan: {
        "fee": {"kind": "recurring", "bill": "advance", "price": {"flat": fee}},
        "messages": {"kind": "usage", "meter": "messages", "aggregation": "sum", "price": {"per_unit": "1"}},
    }
    for plan, fee in {"small": "5.00", "large": "15.00", "nearly": "5.99"}.items()
}


def card(plans: Mapping[str, Any], every: str, anchor: str, **more: Any) -> dict[str, Any]:
    """A card from long ago, in dollars (points and rupees have two decimals as well)."""
    return {
        "rate_card": "card",
        "version": 1,
        "effective_from": date(2010, 1, 1),
        "currency": "USD",
        "time_zone": "UTC",
        "cycle": {"every": every, "anchor": anchor},
        "grace_days": 0,
        "payment_days": 0,
        "rounding": "half_up",
        "settlement": "invoice",
        "plans": plans,
        **more,
    }


def billed(cards: Sequence[Mapping[str, Any]], rows: str, as_of: date) -> Bill:
    """What one account with one subscription is billed; a row a line: feed, instant, and what the feed needs.

    The first line tells when the account was created.
    """
    start = {"subscription_id": "S", "account_id": "A", "rate_card": "card"}
    files: dict[str, list[dict[str, str | None]]] = {}
    for number, line in enumerate(line.split() for line in rows.strip().splitlines()):
        feed, at, *rest = line
        row: dict[str, str | None]
        match feed:
            case "accounts":
                row = {"account_id": "A", "created_at": at}
            case "subscriptions":
                row = {**start, "effective_at": at, "event": rest[0], "plan": rest[1]}
            case "usage":
                row = {"subscription_id": "S", "event_id": f"E{number}", "meter": rest[0], "quantity": rest[1]}
                row["occurred_at"] = at
            case "spending_limits":
                row = {"subscription_id": "S", "agreed_at": at, "limit_amount": rest[0]}
            case _:
                raise AssertionError(feed)
        files.setdefault(f"{feed}/rows.csv", []).append(row)
    return rate(World(files, cards), as_of)


def amounts(bill: Bill, *kinds: str) -> list[Decimal]:
    """The amounts of the lines of some kinds, in the order of their invoices."""
    return [line.amount for line in bill.invoice_lines if line.kind in kinds]


def minimum(quantity: str, **more: Any) -> dict[str, Any]:
    """Page 003's plans with a minimum."""
    return {
        plan: {"orders": {**charges["orders"], "minimum": {"quantity": quantity, **more}}}
        for plan, charges in ORDERS.items()
    }


def orders(number: int, month: str) -> str:
    """So many orders on the first of a month."""
    return "\n".join(f"usage {month}-26T{hour // 60:02}:{hour % 60:02}:00Z orders 1" for hour in range(number))


@pytest.mark.parametrize(
    ("plan", "number", "figures"),
    [
        ("standard", 201, ["603.00"]),
        ("standard", 15, ["45.00", "555.00"]),
        ("professional", 15, ["52.50", "647.50"]),
    ],
)
def test_page_003_at_least_200_orders_a_month(plan: str, number: int, figures: list[str]) -> None:
    """201 at Rs 3 are 603; of 15 orders 600 and 700 points are deducted."""
    terms = card(minimum("200"), "1 month", "calendar")
    rows = f"accounts 2017-05-01\nsubscriptions 2017-05-01 started {plan}\n{orders(number, '2017-05')}"
    bill = billed([terms], rows, date(2017, 6, 1))
    assert amounts(bill, "usage", "minimum") == [Decimal(figure) for figure in figures]


@pytest.mark.parametrize(
    ("daily", "started", "owed"),
    [({"daily_decimals": 1}, "25", (44, 39)), ({}, "25", (45, 40)), ({"daily_decimals": 1}, "28", (44, 39))],
)
def test_page_003_first_days(daily: dict[str, int], started: str, owed: tuple[int, int]) -> None:
    """200 / 31 x 7 is 45.16; cut to 6.4 first, 44.8. Counted from the account's 25 May, whenever training starts."""
    terms = card(minimum("200", prorate="first_cycle", **daily), "1 month", "calendar")
    terms["cycle"]["first_cycle_from"] = "account_created"
    used = orders(5, "2017-05").replace("-26T", "-29T")
    rows = f"accounts 2017-05-25\nsubscriptions 2017-05-{started} started standard\n{used}"
    bill = billed([terms], rows, date(2017, 6, 1))
    assert [(row.minimum, row.shortfall) for row in bill.minimums] == [tuple(map(Decimal, owed))]
    assert amounts(bill, "usage", "minimum") == [Decimal(15), Decimal(3 * owed[1])]


def test_page_003_deducts_on_the_months_last_day() -> None:
    """A balance of 500 less 600 points is below 0, and that is told once."""
    terms = card(minimum("200"), "1 month", "calendar", settlement="prepaid_credits")
    bill = billed([terms], "accounts 2017-05-01\nsubscriptions 2017-05-01 started standard", date(2017, 6, 1))
    ledger = Ledger([], [])
    (invoice,) = bill.invoices
    ledger.post(date(2017, 6, 1), [Deduction("A", "USD", "S", *invoice[7:9], "I", invoice.total)], bill.topups)
    (entry,) = ledger.entries
    assert (entry.entry_date, entry.amount, entry.balance) == (date(2017, 5, 31), Decimal(-600), Decimal(-600))
    assert len(ledger.exhausted) == 1


def test_page_004_is_billed_every_30_days() -> None:
    """The first invoice on 5 April, not due until the bill of 5 May; the next on 4 June, each with the next fee."""
    terms = card(APPS, "30 days", "subscription_started")
    bill = billed([terms], "accounts 2024-04-05\nsubscriptions 2024-04-05 started small", date(2024, 6, 4))
    found = [(invoice.kind, invoice.issue_date, invoice.due_date) for invoice in bill.invoices]
    opening, bill_of_may, bill_of_june = date(2024, 4, 5), date(2024, 5, 5), date(2024, 6, 4)
    assert found == [
        ("opening", opening, bill_of_may),
        ("cycle", bill_of_may, bill_of_may),
        ("cycle", bill_of_june, bill_of_june),
    ]
    assert amounts(bill, "recurring") == [Decimal(5)] * 3


@pytest.mark.parametrize(
    ("plan", "changed_on", "figures"),
    [("large", "2024-04-19", ["5.00"]), ("large", "2024-05-04", []), ("nearly", "2024-04-06", [])],
    ids=["day 15 of 30", "the last day", "less than a dollar more"],
)
def test_page_004_upgrades(plan: str, changed_on: str, figures: list[str]) -> None:
    """(15 - 5) x 15 / 30 = 5.00."""
    terms = card(APPS, "30 days", "subscription_started", plan_change={"minimum_difference": "1.00"})
    rows = f"""
        accounts 2024-04-05
        subscriptions 2024-04-05 started small
        subscriptions {changed_on}T10:00:00Z plan_changed {plan}
    """
    bill = billed([terms], rows, date(2024, 5, 5))
    assert amounts(bill, "upgrade") == [Decimal(figure) for figure in figures]


def test_page_004_uninstalled_a_day_later() -> None:
    """The fee stands, and the usage until then."""
    rows = """
        accounts 2024-04-05
        subscriptions 2024-04-05 started small
        usage 2024-04-05T12:00:00Z messages 7
        subscriptions 2024-04-06 cancelled small
        usage 2024-04-06T12:00:00Z messages 9
    """
    bill = billed([card(APPS, "30 days", "subscription_started")], rows, date(2024, 9, 1))
    assert [invoice.total for invoice in bill.invoices] == [Decimal(5), Decimal(7)]
    assert [row.reason for row in bill.rejected_rows] == ["outside_subscription"]


LIMITED = """
    accounts 2024-04-05
    subscriptions 2024-04-05 started small
    usage 2024-04-07T12:00:00Z messages 60
    usage 2024-04-09T12:00:00Z messages 60
    spending_limits 2024-04-11 150
    usage 2024-04-12T12:00:00Z messages 20
"""


def test_page_004_spending_limit() -> None:
    """60 and 40 of 60, then 20 under the new limit: 120 billed, 20 clipped; 90 % was reached on day 5."""
    terms = card(APPS, "30 days", "subscription_started", spending_limit={"default": "100.00", "alert_at": ["0.9"]})
    bill = billed([terms], LIMITED, date(2024, 5, 5))
    assert amounts(bill, "usage", "spending_limit") == [Decimal(140), Decimal(-20)]
    (clipped,) = bill.clipped
    assert (clipped.charge, Decimal(str(clipped.clipped))) == ("messages", Decimal(20))
    open_bill = billed([terms], LIMITED, date(2024, 5, 4))
    assert [(alert.limit_amount, alert.reached_at.day) for alert in open_bill.alerts] == [(Decimal(100), 9)]
