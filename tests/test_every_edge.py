"""Every small case around an edge, in one run each: what random drawing meets too seldom.

All sequences of up to three statements about a subscription, and all of up to two about a cart between two
snapshots, at a cycle's edge and a microsecond either side; all cycle lengths and anchors at every clock change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from tests import oracle, oracle_bill
from tests.comparison import first_difference, run
from tests.oracle import World
from tests.worlds import SCENES, TICK

Text = dict[str, str | None]

NEW_YORK = "America/New_York"
EDGE = oracle.first_instant(date(2024, 2, 29), NEW_YORK)
NEXT_EDGE = oracle.first_instant(date(2024, 3, 31), NEW_YORK)
LATER = EDGE + timedelta(hours=12)
STARTED_AT = datetime(2024, 2, 10, 12, tzinfo=UTC)


def card(plans: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Monthly from the account's creation, on the last day of January."""
    return {
        "rate_card": "carts",
        "version": 1,
        "effective_from": date(2000, 1, 1),
        "reason": "Made up.",
        "currency": "USD",
        "time_zone": NEW_YORK,
        "cycle": {"every": "1 month", "anchor": "account_created"},
        "grace_days": 0,
        "payment_days": 0,
        "rounding": "half_up",
        "settlement": "invoice",
        "plans": dict(plans),
        **changes,
    }


def peak(category: str, price: str) -> dict[str, Any]:
    """A charge for the most carts."""
    return {"kind": "peak", "category": category, "price": {"per_unit": price}}


def account(account_id: str, created_at: datetime) -> Text:
    """A row of `accounts`."""
    return {"account_id": account_id, "created_at": created_at.isoformat(), "time_zone": None}


def statement(subscription_id: str, at: datetime, event: str, plan: str, takes_effect: str | None = None) -> Text:
    """A row of `subscriptions`."""
    return {
        "subscription_id": subscription_id,
        "effective_at": at.isoformat(),
        "account_id": "A",
        "rate_card": "carts",
        "plan": plan,
        "event": event,
        "takes_effect": takes_effect,
    }


def event(subscription_id: str, cart_id: str, at: datetime, category: str, state: str) -> Text:
    """A row of `cart_events`."""
    row: Text = {"subscription_id": subscription_id, "cart_id": cart_id, "occurred_at": at.isoformat()}
    return {**row, "category": category, "state": state}


def listed(subscription_id: str, cart_id: str, at: datetime, category: str, state: str) -> Text:
    """A row of `cart_snapshots`."""
    row: Text = {"subscription_id": subscription_id, "cart_id": cart_id, "snapshot_at": at.isoformat()}
    return {**row, "category": category, "state": state}


def check(world: World, as_of: date, folder: Path) -> None:
    """The product bills the world as the oracle does."""
    difference = first_difference(run(world, folder, as_of), oracle_bill.rate(world, as_of))
    assert difference is None, difference[:5000]


def sequences(instants: Sequence[datetime], kinds: Sequence[Any], most: int) -> Iterator[tuple[Any, ...]]:
    """Every way to say up to so many things at different instants."""
    for length in range(most + 1):
        for at in combinations(instants, length):
            for said in product(kinds, repeat=length):
                yield tuple(zip(at, said, strict=True))


def test_every_sequence_of_three_statements_about_a_subscription(tmp_path: Path) -> None:
    """Each statement names a plan of its own, so that the bill tells which one was in force."""
    kinds = [
        ("plan_changed", "immediately"),
        ("plan_changed", "next_cycle"),
        ("cancelled", None),
        ("reactivated", None),
    ]
    instants = [EDGE - TICK, EDGE, EDGE + TICK, LATER, NEXT_EDGE - TICK, NEXT_EDGE]
    plans = {
        f"p{number}": {
            "fee": {"kind": "recurring", "bill": "arrears", "price": {"flat": f"{number + 1}.00"}}
            | {"on_cancel": "drop" if number % 2 else "charge"},
            "carts": peak("Standard", f"{number + 1}0.00"),
        }
        for number in range(4)
    }
    subscriptions, events = [], []
    for number, said in enumerate(sequences(instants, kinds, 3)):
        own = f"S{number}"
        subscriptions.append(statement(own, STARTED_AT, "started", "p0"))
        for place, (at, (what, takes_effect)) in enumerate(said, start=1):
            subscriptions.append(statement(own, at, what, f"p{place}", takes_effect))
        events.append(event(own, "1", STARTED_AT, "Standard", "active"))
    accounts = [account("A", datetime(2024, 1, 31, 12, tzinfo=UTC))]
    files = {"accounts/a.csv": accounts, "subscriptions/s.csv": subscriptions, "cart_events/e.csv": events}
    check(World(files, [card(plans)]), date(2024, 4, 30), tmp_path)


def test_every_sequence_of_two_events_around_two_snapshots(tmp_path: Path) -> None:
    """Two snapshots list a cart in every way, or not at all; a second cart stays on throughout."""
    listings = [None, ("Standard", "active"), ("Premium", "active"), ("Standard", "disabled"), ("Standard", "wrong")]
    kinds = [("Standard", "active"), ("Premium", "active"), ("Standard", "deleted")]
    instants = [EDGE - timedelta(days=9), EDGE - TICK, EDGE, EDGE + TICK, LATER]
    subscriptions, events, snapshots = [], [], []
    cases = product(sequences(instants, kinds, 2), listings, listings)
    for number, (said, *both) in enumerate(cases):
        own = f"S{number}"
        subscriptions.append(statement(own, STARTED_AT, "started", "p"))
        events.append(event(own, "2", STARTED_AT, "Standard", "active"))
        events += [event(own, "1", at, *what) for at, what in said]
        for at, listing in zip((EDGE, LATER), both, strict=True):
            snapshots.append(listed(own, "2", at, "Standard", "active"))
            snapshots += [listed(own, "1", at, *listing)] if listing else []
    files = {
        "accounts/a.csv": [account("A", datetime(2024, 1, 31, 12, tzinfo=UTC))],
        "subscriptions/s.csv": subscriptions,
        "cart_events/e.csv": events,
        "cart_snapshots/s.csv": snapshots,
    }
    plan = {"standard": peak("Standard", "1.00"), "premium": peak("Premium", "100.00")}
    check(World(files, [card({"p": plan})], Decimal(0)), date(2024, 4, 30), tmp_path)


def deliveries(variants: Sequence[Mapping[str, str | None]]) -> Iterator[tuple[Mapping[str, str | None], ...]]:
    """Every order in which up to three rows of one key come, each of revision 0 or 1 and one of the variants."""
    rows = [{**variant, "revision": revision} for variant in variants for revision in ("0", "1")]
    for length in (1, 2, 3):
        yield from product(rows, repeat=length)


# What the rows of one key may say: it stands, says otherwise, is voided, does not fit, cannot be read.
VARIANTS: dict[str, list[dict[str, str | None]]] = {
    "accounts": [{"time_zone": NEW_YORK}, {"time_zone": "Europe/Berlin"}, {"voided": "true"}, {"time_zone": "Mars"}],
    "subscriptions": [
        {"plan": "p0"},
        {"plan": "p1"},
        {"voided": "true"},
        {"plan": "no-such-plan"},
        {"event": "began"},
    ],
    "later": [
        {"plan": "p1"},
        {"event": "cancelled"},
        {"voided": "true"},
        {"account_id": "B"},
        {"plan": None},
    ],
    "cart_events": [
        {"category": "Standard"},
        {"category": "Premium"},
        {"voided": "true"},
        {"category": "Warehouse"},
        {"state": "on"},
    ],
    "cart_snapshots": [
        {"category": "Standard"},
        {"category": "Premium"},
        {"voided": "true"},
        {"category": "Warehouse"},
        {"state": "on"},
    ],
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_every_order_of_three_deliveries_of_a_row(kind: str, tmp_path: Path) -> None:
    """Repeats, revisions, conflicts, voids and refused rows, of an account, a start, a plan change, a cart."""
    created_at = datetime(2024, 1, 31, 12, tzinfo=UTC)
    files: dict[str, list[Text]] = {name: [] for name in ("accounts", "subscriptions", "cart_events", "cart_snapshots")}
    files["accounts"] = [account("A", created_at), account("B", created_at)]
    for number, variants in enumerate(deliveries(VARIANTS[kind])):
        own, owner = f"S{number}", f"A{number}" if kind == "accounts" else "A"
        rows: dict[str, list[Text]] = {
            "accounts": [account(owner, created_at)],
            "subscriptions": [{**statement(own, STARTED_AT, "started", "p0"), "account_id": owner}],
            "later": [statement(own, LATER, "plan_changed", "p0")],
            "cart_events": [event(own, "1", EDGE - timedelta(days=1), "Standard", "active")],
            "cart_snapshots": [listed(own, "1", LATER, "Standard", "active")],
        }
        rows[kind] = [{**row, **variant} for row in rows[kind] for variant in variants]
        files["accounts"] += rows["accounts"] if kind == "accounts" else []
        files["subscriptions"] += rows["subscriptions"] + (rows["later"] if kind == "later" else [])
        files["cart_events"] += rows["cart_events"]
        files["cart_snapshots"] += rows["cart_snapshots"] if kind == "cart_snapshots" else []
    plans = {
        plan: {"standard": peak("Standard", price), "premium": peak("Premium", f"{price}5")}
        for plan, price in (("p0", "1.0"), ("p1", "2.0"))
    }
    world = World({f"{feed}/f.csv": rows for feed, rows in files.items() if rows}, [card(plans)], Decimal(0))
    check(world, date(2024, 4, 30), tmp_path)


def cycles() -> Iterable[dict[str, str]]:
    """Every kind of cycle."""
    for every, anchor in product(["1 month", "2 months", "30 days", "7 days", "1 day"], ANCHORS):
        if "month" in every or "calendar" not in anchor.values():
            yield {"every": every, **anchor}


ANCHORS: list[dict[str, str]] = [
    {"anchor": "account_created"},
    {"anchor": "subscription_started"},
    {"anchor": "calendar"},
    {"anchor": "calendar", "first_cycle_from": "account_created"},
]


@pytest.mark.parametrize(("zone_name", "day"), SCENES)
def test_every_cycle_at_every_clock_change(zone_name: str, day: date, tmp_path: Path) -> None:
    """Accounts created and subscriptions started around two midnights, whichever comes first."""
    midnights = [oracle.first_instant(day + timedelta(days=days), zone_name) for days in (0, 1)]
    instants = sorted({at + tick for at in midnights for tick in (-TICK, timedelta(0), TICK)})
    accounts = [account(f"A{number}", at) for number, at in enumerate(instants)]
    accounts.append(account("old", datetime.combine(day, datetime.min.time(), UTC) - timedelta(days=400)))
    cards = [
        card({"p": {"carts": peak("Standard", "1.00")}}, rate_card=f"card {number}", cycle=cycle, time_zone=zone_name)
        for number, cycle in enumerate(cycles())
    ]
    subscriptions = [
        {
            **statement(f"S{number}", at, "started", "p"),
            "account_id": owner["account_id"],
            "rate_card": terms["rate_card"],
        }
        for number, (owner, terms, at) in enumerate(product(accounts, cards, instants[:-1]))
    ]
    files = {"accounts/a.csv": accounts, "subscriptions/s.csv": subscriptions}
    check(World(files, cards), day + timedelta(days=33), tmp_path)
