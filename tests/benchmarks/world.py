"""The customers of the benchmark: who they are, what they agreed to, and how their rows are shared out among them.

One account for 1,000 usage rows, at least 1,000, each with one subscription; a third of them on each of three cards.
The n-th largest sends an n-th of the rows of the largest (Zipf's law): of 50 M usage rows over 33,333 accounts the
largest sends 7 %, the ten largest 23 %, and half of the accounts fewer than 300 rows each. One in seven starts within
the first two months, the others in the month before.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tests.benchmarks.period import FIRST_DAY

Numbers = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]

CARDS = ("carts", "orders", "apps")
PLANS = ("merchant", "professional", "basic")
ZONES = (  # of the account, by card; orders leave it to the card
    ("America/New_York", "Europe/Berlin", "UTC", "Australia/Lord_Howe", "Asia/Kolkata"),
    (None,),
    ("UTC", "America/New_York"),
)
HOUR = 3_600_000_000  # instants are microseconds since 1970
DAY = 24 * HOUR
FIRST_INSTANT = int(datetime.combine(FIRST_DAY, time(), UTC).timestamp()) * 1_000_000
INSTANT = pa.timestamp("us", tz="UTC")
APP_CYCLE = 30 * DAY
APP_CYCLES_HEAVY = 0.05  # some begin or end outside the rows, and stay below their limit
HEAVY_TIMES = 12
LIMIT_TIMES = 4
APP_ROW_DOLLARS = 0.117  # what a row costs on average
ORDER_ROW_RUPEES = 9


def zipf_shares(count: int) -> Shares:
    """The part of all rows that each of so many customers sends, the largest first."""
    bounds: Shares = np.log(np.arange(1, count + 2)) / np.log(count + 1)
    return np.diff(bounds)


def zipf_picks(count: int, rows: int, random: np.random.Generator) -> Numbers:
    """For each row the customer that sends it, by `zipf_shares`."""
    picked = np.floor((count + 1) ** random.random(rows)).astype(np.int64) - 1
    return np.minimum(picked, count - 1)


@dataclass(frozen=True)
class World:
    """Customers, numbered; the larger the number, the smaller the customer."""

    account_ids: npt.NDArray[np.str_]
    subscription_ids: npt.NDArray[np.str_]
    started_at: Numbers
    zones: list[str | None]
    limit_dollars: Numbers  # 0 where the card has none
    topup_rupees: Numbers
    is_heavy: npt.NDArray[np.bool_]  # by subscription and cycle since its start

    @property
    def count(self) -> int:
        """How many accounts there are."""
        return len(self.started_at)

    @cached_property
    def subscriptions(self) -> pa.Array:
        """The subscriptions' ids by number, and after the last one an id that no feed knows."""
        return pa.array([*self.subscription_ids.tolist(), "sub-unknown"])

    def members(self, *cards: str) -> Numbers:
        """The customers of some cards, the largest first."""
        numbers = np.arange(self.count)
        return numbers[np.isin(numbers % 3, [CARDS.index(card) for card in cards])]

    def pick(self, members: Numbers, at: Numbers, random: np.random.Generator) -> Numbers:
        """A customer for each instant, active by then: where one is not yet, a slightly larger one sends the row."""
        place = zipf_picks(len(members), len(at), random)
        return members[place - 2 * (at < self.started_at[members[place]])]


def make_world(rows: int, days: int, random: np.random.Generator) -> World:
    """Customers for so many usage rows over so many days."""
    count = max(1000, rows // 1000)
    numbers = np.arange(count)
    shuffled = random.permutation(count)
    is_new = (numbers // 3) % 7 == 3
    hours = np.where(is_new, random.integers(1, 60 * 24, count), -random.integers(1, 31 * 24, count))
    shares = np.zeros(count)
    sends_usage = numbers % 3 > 0
    shares[sends_usage] = zipf_shares(int(sends_usage.sum()))
    rows_a_month = shares * rows * 30 / days
    is_app = numbers % 3 == 2
    zones = [ZONES[number % 3] for number in range(count)]
    return World(
        account_ids=np.char.mod("acc-%06d", shuffled),
        subscription_ids=np.char.mod("sub-%06d", shuffled),
        started_at=FIRST_INSTANT + hours * HOUR,
        zones=[choices[(number // 3) % len(choices)] for number, choices in enumerate(zones)],
        limit_dollars=np.where(is_app, np.ceil(LIMIT_TIMES * APP_ROW_DOLLARS * rows_a_month), 0).astype(np.int64),
        topup_rupees=np.ceil(ORDER_ROW_RUPEES * rows_a_month + 700).astype(np.int64),
        is_heavy=is_app[:, None] & (random.random((count, days // 30 + 3)) < APP_CYCLES_HEAVY),
    )


def customer_feeds(world: World, days: int) -> dict[str, tuple[pa.Table, Numbers]]:
    """The small feeds, each with the instants from which its rows are known."""
    return {
        "accounts": _accounts(world),
        "subscriptions": _subscriptions(world),
        "spending_limits": _spending_limits(world),
        "credit_topups": _credit_topups(world, days),
    }


def _accounts(world: World) -> tuple[pa.Table, Numbers]:
    columns = {
        "account_id": world.account_ids,
        "created_at": pa.array(world.started_at, INSTANT),
        "time_zone": pa.array(world.zones, pa.string()),
    }
    return pa.table(columns), world.started_at


def _subscriptions(world: World) -> tuple[pa.Table, Numbers]:
    cards = np.arange(world.count) % 3
    columns = {
        "subscription_id": world.subscription_ids,
        "effective_at": pa.array(world.started_at, INSTANT),
        "account_id": world.account_ids,
        "rate_card": np.array(CARDS)[cards],
        "plan": np.array(PLANS)[cards],
        "event": pa.repeat("started", world.count),
    }
    return pa.table(columns), world.started_at


def _spending_limits(world: World) -> tuple[pa.Table, Numbers]:
    """One when the app starts; every second of those that reach it raises it in the middle of that cycle."""
    apps = world.members("apps")
    raised = apps[world.is_heavy[apps].any(axis=1)][::2]
    cycle = world.is_heavy[raised].argmax(axis=1)
    agreed_at = np.concatenate([world.started_at[apps], world.started_at[raised] + cycle * APP_CYCLE + APP_CYCLE // 2])
    columns = {
        "subscription_id": world.subscription_ids[np.concatenate([apps, raised])],
        "agreed_at": pa.array(agreed_at, INSTANT),
        "limit_amount": np.concatenate([world.limit_dollars[apps], 2 * world.limit_dollars[raised]]),
    }
    return pa.table(columns), agreed_at


def _credit_topups(world: World, days: int) -> tuple[pa.Table, Numbers]:
    """Every account of orders buys credit every 30 days, enough for most months."""
    orders = world.members("orders")
    times = np.arange(days // 30 + 1)
    numbers, cycles = np.repeat(orders, len(times)), np.tile(times, len(orders))
    purchased_at = np.maximum(world.started_at[numbers], FIRST_INSTANT) + cycles * APP_CYCLE
    columns = {
        "topup_id": np.char.mod("top-%d", np.arange(len(numbers))),
        "account_id": world.account_ids[numbers],
        "amount": world.topup_rupees[numbers],
        "purchased_at": pa.array(purchased_at, INSTANT),
    }
    return pa.table(columns), purchased_at
