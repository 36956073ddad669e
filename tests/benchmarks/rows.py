"""What usage rows and cart events are like: those of every day, and the wrong ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tests.benchmarks.world import APP_CYCLE, DAY, HEAVY_TIMES, INSTANT, Numbers, World

Rows = npt.NDArray[Any]  # of one of these two
USAGE = np.dtype([("subscription", "i4"), ("event", "u8"), ("meter", "i1"), ("quantity", "i8"), ("occurred_at", "i8")])
CART_EVENT = np.dtype(
    [("subscription", "i4"), ("cart", "i4"), ("occurred_at", "i8"), ("category", "i1"), ("state", "i1")]
)
METERS = pa.array(["order_items", "invoices", "shipping_labels", "messages", "calls", "fax_pages"])
QUANTITY_MAX = np.array([9, 1, 5, 30, 5])
CATEGORIES = pa.array(["standard", "premium", "edi", "wholesale"])
STATES = pa.array(["active", "disabled", "deleted"])
UNKNOWN_METER, UNKNOWN_CATEGORY = 5, 3
CARTS_MAX = 3000
CART_IDS = pa.array([f"cart-{number}" for number in range(CARTS_MAX + 2)])
ABSENT, ABSENT_QUANTITY = -1, np.iinfo(np.int64).min  # stand for an empty field
BEFORE_1900 = -2_300_000_000 * 1_000_000
HEX = np.array([f"{number:04x}" for number in range(1 << 16)], dtype="S4")


def fresh_usage(world: World, at: Numbers, made: int, random: np.random.Generator) -> Rows:
    """Usage at these instants; what an app sends in a cycle that is to reach its limit is many times as much."""
    rows = np.empty(len(at), USAGE)
    subscription = world.pick(world.members("orders", "apps"), at, random)
    is_app = subscription % 3 == 2
    kind = random.random(len(at))
    meter = np.where(is_app, 3 + (kind < 0.4), (kind > 0.45).astype(np.int8) + (kind > 0.9))
    quantity = 1 + (random.random(len(at)) * QUANTITY_MAX[meter]).astype(np.int64)
    is_heavy = world.is_heavy[subscription, (at - world.started_at[subscription]) // APP_CYCLE]
    rows["subscription"], rows["meter"], rows["occurred_at"] = subscription, meter, at
    rows["quantity"] = np.where(is_heavy, HEAVY_TIMES * quantity, quantity)
    rows["event"] = (made + 1 + np.arange(len(at), dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return rows


def fresh_cart_events(world: World, at: Numbers, made: int, random: np.random.Generator) -> Rows:
    """Carts switched on and off at these instants: the larger a customer, the more carts; now and then one moves."""
    rows = np.empty(len(at), CART_EVENT)
    subscription = world.pick(world.members("carts"), at, random)
    cart = (random.random(len(at)) * (2 + CARTS_MAX // (subscription + 1))).astype(np.int64)
    category = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])[(cart + (random.random(len(at)) < 0.02)) % 10]
    rows["subscription"], rows["cart"], rows["occurred_at"] = subscription, cart, at
    rows["category"] = category
    rows["state"] = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 2])[random.integers(0, 10, len(at))]
    return rows


def spoil_usage(world: World, rows: Rows, random: np.random.Generator) -> None:
    """Makes each row wrong in one of eight ways. The last says otherwise than a row that came before it."""
    way = random.integers(0, 8, len(rows))
    rows["subscription"][way == 0] = world.count
    rows["meter"][way == 1] = UNKNOWN_METER
    rows["meter"][way == 2] = ABSENT
    rows["quantity"][way == 3] *= -1
    rows["quantity"][way == 4] = ABSENT_QUANTITY
    rows["occurred_at"][way == 5] = BEFORE_1900
    rows["occurred_at"][way == 6] = (world.started_at - DAY)[rows["subscription"][way == 6]]
    rows["quantity"][way == 7] += 1
    rows["event"][way < 7] ^= np.uint64(1 << 63)


def spoil_cart_events(world: World, rows: Rows, random: np.random.Generator) -> None:
    """Makes each row wrong in one of five ways. The last says otherwise than a row that came before it."""
    way = random.integers(0, 5, len(rows))
    rows["subscription"][way == 0] = world.count
    rows["category"][way == 1] = UNKNOWN_CATEGORY
    rows["category"][way == 2] = ABSENT
    rows["state"][way == 3] = ABSENT
    rows["state"][way == 4] = (rows["state"][way == 4] + 1) % 3
    rows["occurred_at"][way < 4] += 1


def text_of_events(events: npt.NDArray[np.uint64]) -> pa.Array:
    """Sixteen hexadecimal digits each."""
    digits = HEX[events.astype(">u8").view(">u2")]
    offsets = np.arange(len(events) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(events), pa.py_buffer(offsets), pa.py_buffer(digits.tobytes()))


def words(choices: pa.Array, numbers: Numbers) -> pa.Array:
    """The word of each number; none for ABSENT."""
    return choices.take(pa.array(numbers, mask=numbers == ABSENT))


def usage_table(world: World, rows: Rows) -> pa.Table:
    """Usage as an input file has it."""
    quantity = np.ascontiguousarray(rows["quantity"])
    columns = {
        "subscription_id": words(world.subscriptions, rows["subscription"]),
        "event_id": text_of_events(rows["event"]),
        "meter": words(METERS, rows["meter"]),
        "quantity": pa.array(quantity, mask=quantity == ABSENT_QUANTITY),
        "occurred_at": pa.array(np.ascontiguousarray(rows["occurred_at"]), INSTANT),
    }
    return pa.table(columns)


def cart_events_table(world: World, rows: Rows) -> pa.Table:
    """Cart events as an input file has them."""
    columns = {
        "subscription_id": words(world.subscriptions, rows["subscription"]),
        "cart_id": words(CART_IDS, rows["cart"]),
        "occurred_at": pa.array(np.ascontiguousarray(rows["occurred_at"]), INSTANT),
        "category": words(CATEGORIES, rows["category"]),
        "state": words(STATES, rows["state"]),
    }
    return pa.table(columns)


@dataclass(frozen=True)
class Feed:
    """How a feed's rows are made, spoiled and written."""

    name: str
    fresh: Callable[[World, Numbers, int, np.random.Generator], Rows]
    spoil: Callable[[World, Rows, np.random.Generator], None]
    table: Callable[[World, Rows], pa.Table]


FEEDS = (
    Feed("usage", fresh_usage, spoil_usage, usage_table),
    Feed("cart_events", fresh_cart_events, spoil_cart_events, cart_events_table),
)
