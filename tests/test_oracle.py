"""The oracle itself against SPEC section 7 (pages 000 and 001) and against clocks worked out by hand."""

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests import oracle
from tests.oracle import World
from tests.oracle_bill import rate


def card(**changes: Any) -> dict[str, Any]:
    """Page 000's terms, at made-up prices."""
    return {
        "rate_card": "carts",
        "version": 1,
        "effective_from": date(2020, 1, 1),
        "reason": "Made up.",
        "currency": "USD",
        "time_zone": "America/New_York",
        "cycle": {"every": "1 month", "anchor": "account_created"},
        "grace_days": 0,
        "payment_days": 0,
        "rounding": "half_up",
        "settlement": "invoice",
        "plans": {
            "standard": {"carts": {"kind": "peak", "category": "Standard", "price": {"per_unit": "40.00"}}},
            "with_fee": {
                "carts": {"kind": "peak", "category": "Standard", "price": {"per_unit": "40.00"}},
                "fee": {
                    "kind": "recurring",
                    "bill": "arrears",
                    "on_cancel": "drop",
                    "price": {"flat": "99.00"},
                },
            },
        },
        **changes,
    }


def world(created: str, plan: str, carts: str, lifecycle: str = "", **changes: Any) -> World:
    """One account with one subscription from its creation; `carts` and `lifecycle` hold one row a line."""
    start = {"subscription_id": "S", "account_id": "A", "rate_card": "carts", "plan": plan}
    events = [line.split() for line in carts.splitlines() if line.strip()]
    later = [line.split() for line in lifecycle.splitlines() if line.strip()]
    return World(
        {
            "accounts/a.csv": [{"account_id": "A", "created_at": f"{created}T12:00:00Z"}],
            "subscriptions/s.csv": [
                {**start, "effective_at": at, "event": event}
                for at, event in [(f"{created}T12:00:00Z", "started"), *later]
            ],
            "cart_events/e.csv": [
                {
                    "subscription_id": "S",
                    "cart_id": cart_id,
                    "occurred_at": at,
                    "category": "Standard",
                    "state": state,
                }
                for cart_id, at, state in events
            ],
        },
        [card(**changes)],
    )


FEBRUARY = """
    1 2021-02-01T10:00:00Z active
    1 2021-02-10T10:00:00Z disabled
"""


@pytest.mark.parametrize(
    ("carts", "quantity"),
    [
        ("1 2021-02-27T23:00:00Z active", 1),
        ("1 2021-02-03T10:00:00Z active \n 1 2021-02-04T10:00:00Z deleted", 1),
        (FEBRUARY + "2 2021-02-10T10:00:01Z active", 1),
        (FEBRUARY + "2 2021-02-10T10:00:00Z active", 1),
        (FEBRUARY + "2 2021-02-10T09:59:59.999999Z active", 2),
    ],
    ids=["on on 27 Feb", "on for one day", "disabled, later another", "at one instant", "new one first"],
)
def test_page_000_counts_the_most_carts_at_one_time(carts: str, quantity: int) -> None:
    """Cycle 2021-01-28 to 2021-02-28: counted in full, invoice issued 2021-02-28."""
    bill = rate(world("2021-01-28", "standard", carts), date(2021, 2, 28))
    (invoice,) = bill.invoices
    assert (invoice.cycle_start, invoice.cycle_end) == (date(2021, 1, 28), date(2021, 2, 28))
    assert (invoice.issue_date, invoice.total) == (date(2021, 2, 28), Decimal("40.00") * quantity)
    (line,) = bill.invoice_lines
    assert (line.quantity, line.amount) == (Decimal(quantity), Decimal(40 * quantity))


def test_no_invoice_before_the_cycle_is_over() -> None:
    """One day before the cycle's end nothing is due, and grace days make it wait."""
    page = world("2021-01-28", "standard", FEBRUARY)
    assert rate(page, date(2021, 2, 27)).invoices == []
    waits = world("2021-01-28", "standard", FEBRUARY, grace_days=3)
    assert rate(waits, date(2021, 3, 2)).invoices == []
    assert len(rate(waits, date(2021, 3, 3)).invoices) == 1


@pytest.mark.parametrize(
    ("carts", "total"),
    [
        ("", "0"),
        ("1 2023-10-25T10:00:00Z active \n 1 2023-10-26T10:00:00Z disabled", "40.00"),
        ("1 2023-11-05T10:00:00Z active", "0"),
    ],
    ids=["nothing active", "one cart on some days", "a cart after the cancellation"],
)
def test_page_001_final_invoice_after_a_cancellation(carts: str, total: str) -> None:
    """Cycle 2023-10-20 to 2023-11-20, cancelled 2023-11-01: no fee, and what was active is charged."""
    page = world("2023-10-20", "with_fee", carts, "2023-11-01T15:00:00Z cancelled")
    bill = rate(page, date(2024, 2, 1))
    (invoice,) = bill.invoices
    assert (invoice.issue_date, invoice.total) == (date(2023, 11, 20), Decimal(total))


@pytest.mark.parametrize(
    ("zone_name", "day", "instant"),
    [
        ("UTC", date(2024, 3, 1), datetime(2024, 3, 1, tzinfo=UTC)),
        ("America/New_York", date(2024, 3, 10), datetime(2024, 3, 10, 5, tzinfo=UTC)),
        ("America/New_York", date(2024, 3, 11), datetime(2024, 3, 11, 4, tzinfo=UTC)),
        ("Australia/Lord_Howe", date(2024, 4, 8), datetime(2024, 4, 7, 13, 30, tzinfo=UTC)),
        ("Asia/Beirut", date(2024, 3, 31), datetime(2024, 3, 30, 22, tzinfo=UTC)),
        ("America/Havana", date(2024, 11, 3), datetime(2024, 11, 3, 4, tzinfo=UTC)),
        ("America/St_Johns", date(2010, 11, 7), datetime(2010, 11, 7, 2, 30, tzinfo=UTC)),
        ("Pacific/Apia", date(2011, 12, 30), datetime(2011, 12, 30, 10, tzinfo=UTC)),
        ("Pacific/Apia", date(2011, 12, 31), datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ],
)
def test_a_date_starts_at_the_first_instant_that_shows_it(zone_name: str, day: date, instant: datetime) -> None:
    """Worked out by hand from the zones' rules: no midnight, two midnights, a day that is not there."""
    assert oracle.first_instant(day, zone_name) == instant


def test_a_date_that_has_begun_is_not_taken_back() -> None:
    """St John's went back from 00:01 on 7 November 2010 to 23:01 on the 6th: 7 November began at its first midnight."""
    again = datetime(2010, 11, 7, 2, 45, tzinfo=UTC)
    assert oracle.local_date(again, "America/St_Johns") == date(2010, 11, 6)
    assert oracle.date_begun(again, "America/St_Johns") == date(2010, 11, 7)
    assert oracle.date_begun(datetime(2010, 11, 7, 2, 29, 59, tzinfo=UTC), "America/St_Johns") == date(2010, 11, 6)


def test_months_are_counted_from_the_anchor_itself() -> None:
    """31 Jan, 29 Feb (2024 is a leap year), 31 Mar, 30 Apr; and backwards."""
    anchor = date(2024, 1, 31)
    starts = [oracle.months_later(anchor, months) for months in (-2, 0, 1, 2, 3, 13)]
    assert [f"{start}" for start in starts] == [
        "2023-11-30",
        "2024-01-31",
        "2024-02-29",
        "2024-03-31",
        "2024-04-30",
        "2025-02-28",
    ]


TIERS = [{"up_to": "2", "per_unit": "10", "flat": "1"}, {"per_unit": "3", "flat": "5"}]


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        ({"flat": "7"}, 3, "7"),
        ({"per_unit": "0.333333333"}, 3, "0.999999999"),
        ({"graduated": TIERS}, 2, "21"),
        ({"graduated": TIERS}, 3, "29"),
        ({"volume": TIERS}, 2, "21"),
        ({"volume": TIERS}, 3, "14"),
        ({"package": {"size": "2", "price": "9"}}, 2, "9"),
        ({"package": {"size": "2", "price": "9"}}, 3, "18"),
    ],
)
def test_prices(price: dict[str, Any], quantity: int, amount: str) -> None:
    """2 at 10 and 1 once, the third at 3 and 5 once; by volume all 3 at 3 and 5 once."""
    assert oracle.price_of(price, quantity) == Fraction(amount)


@pytest.mark.parametrize(
    ("rounding", "figures"),
    [
        ("half_up", ["0.13", "0.12", "0.14"]),
        ("half_even", ["0.12", "0.12", "0.14"]),
        ("down", ["0.12", "0.12", "0.13"]),
        ("up", ["0.13", "0.13", "0.14"]),
    ],
)
def test_rounding(rounding: str, figures: list[str]) -> None:
    """A tie over an even cent, less than a tie, and a tie over an odd cent."""
    exact = [Fraction("0.125"), Fraction("0.1249"), Fraction("0.135")]
    assert [oracle.rounded(amount, "USD", rounding) for amount in exact] == [Decimal(text) for text in figures]


def test_a_cart_missing_from_a_snapshot_is_gone_and_a_refused_row_leaves_it_as_it_was() -> None:
    """Three carts; the second snapshot lists the first, has a wrong row for the second, omits the third."""

    def row(at: str, cart_id: str, state: str) -> dict[str, str | None]:
        return {
            "snapshot_at": at,
            "subscription_id": "S",
            "cart_id": cart_id,
            "category": "Standard",
            "state": state,
        }

    first = [row("2021-02-01", cart_id, "active") for cart_id in "123"]
    second = [row("2021-02-02", "1", "active"), row("2021-02-02", "2", "asleep")]
    page = world("2021-01-28", "standard", "")
    page = World({**page.files, "cart_snapshots/s.csv": first + second}, page.rate_cards, Decimal("0.3"))
    bill = rate(page, date(2021, 2, 28))
    gone = [change.cart_id for change in bill.cart_changes if change.category_after is None]
    assert gone == ["3"]
    assert [(refused.row_number, refused.reason) for refused in bill.rejected_rows] == [(5, "bad_value")]

    held = rate(World(page.files, page.rate_cards, Decimal("0.5")), date(2021, 2, 28))
    assert [change for change in held.cart_changes if change.category_after is None] == []
    assert {(refused.row_number, refused.reason) for refused in held.rejected_rows} == {
        (4, "incomplete_snapshot"),
        (5, "bad_value"),
    }
