"""Every billing cycle's edges, for those who work without the product: the rivals, and the floor of a single night."""

import calendar
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import count, pairwise
from zoneinfo import ZoneInfo

import pyarrow as pa

from tests.benchmarks.world import CARDS, INSTANT, World

CARD_ZONES = {"carts": "America/New_York", "orders": "Asia/Kolkata", "apps": "UTC"}


def _month_later(anchor: date, months: int) -> date:
    """So many months after the anchor, held to the month's last day."""
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    return date(year, month + 1, min(anchor.day, calendar.monthrange(year, month + 1)[1]))


def _first_of_month(anchor: date, months: int) -> date:
    return _month_later(anchor.replace(day=1), months) if months else anchor


def _thirty_days_later(anchor: date, times: int) -> date:
    return anchor + timedelta(days=30 * times)


COLUMNS = pa.schema(
    {
        "subscription_id": pa.string(),
        "rate_card": pa.string(),
        "cycle_start": pa.date32(),
        "cycle_end": pa.date32(),
        "starts_at": INSTANT,
        "ends_at": INSTANT,
    }
)
NTH_EDGE: dict[str, Callable[[date, int], date]] = {
    "carts": _month_later,
    "orders": _first_of_month,
    "apps": _thirty_days_later,
}


@cache
def _edges(card: str, zone: str, anchor: date, last: date) -> list[tuple[date, datetime]]:
    """The first day of each cycle and its first instant, to the first one after `last`."""
    return list(_until(last, (NTH_EDGE[card](anchor, number) for number in count()), ZoneInfo(zone)))


def _until(last: date, days: Iterator[date], zone: ZoneInfo) -> Iterator[tuple[date, datetime]]:
    for day in days:
        yield day, datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        if day > last:
            return


def billing_cycles(world: World, last: date) -> pa.Table:
    """One row a subscription and cycle that begins by `last`: its days and its instants, both half-open."""
    rows = []
    for number, (subscription, started_at) in enumerate(
        zip(world.subscription_ids.tolist(), world.started_at.tolist(), strict=True)
    ):
        card = CARDS[number % 3]
        zone = world.zones[number] or CARD_ZONES[card]
        started = datetime.fromtimestamp(started_at / 1_000_000, UTC)
        edges = _edges(card, zone, started.astimezone(ZoneInfo(zone)).date(), last)
        for (start, starts_at), (end, ends_at) in pairwise(edges):
            rows.append((subscription, card, start, end, starts_at, ends_at))
    columns = zip(COLUMNS, zip(*rows, strict=True), strict=True)
    return pa.table([pa.array(values, column.type) for column, values in columns], COLUMNS)
