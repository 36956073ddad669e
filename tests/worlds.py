"""Small worlds for the property tests: what hypothesis draws, and how a world becomes an input folder.

Instants are drawn from the edges on purpose: starts of cycles, month ends, clock changes, a microsecond
either side of each, and the instants of other rows. Uniformly random ones would let an inclusive end live.
"""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hypothesis import strategies as st

from tests import oracle
from tests.oracle import FEEDS, World

Draw = Callable[[st.SearchStrategy[Any]], Any]
Text = dict[str, str | None]

TICK = timedelta(microseconds=1)

# A place, and a date on which something happens to its clocks or its calendar.
SCENES = [
    ("UTC", date(2024, 2, 29)),
    ("UTC", date(2023, 12, 31)),
    ("Asia/Kolkata", date(2023, 2, 28)),
    ("America/New_York", date(2024, 3, 10)),
    ("America/New_York", date(2024, 11, 3)),
    ("Europe/Berlin", date(2024, 3, 31)),
    ("Europe/Berlin", date(2024, 10, 27)),
    ("Australia/Lord_Howe", date(2024, 4, 7)),
    ("Australia/Lord_Howe", date(2024, 10, 6)),
    ("Pacific/Apia", date(2011, 12, 30)),  # the day that was skipped
    ("Asia/Beirut", date(2024, 3, 31)),  # no midnight
    ("America/Havana", date(2024, 11, 3)),  # two midnights
    ("America/Sao_Paulo", date(2018, 2, 18)),  # back from midnight to 23:00
    ("America/St_Johns", date(2010, 11, 7)),  # back from 00:01 to 23:01, the date before
]
LATER_EVENTS = ["plan_changed"] * 4 + ["cancelled", "reactivated"] * 2 + ["started"]
CATEGORIES = ["Standard", "Premium", "EDI"]
MINOR_UNITS = {"USD": 2, "JPY": 0, "KWD": 3}


# ---- rate cards


@st.composite
def amounts(draw: Draw, currency: str) -> str:
    """Money in whole minor units."""
    minor = draw(st.sampled_from([0, 1, 5, 999, 4000, 12345]))
    return f"{Decimal(minor).scaleb(-MINOR_UNITS[currency]):f}"


unit_prices = st.sampled_from(["0", "40", "40.00", "0.005", "0.125", "1.5", "12.345", "0.333333333", "0.000000001"])


@st.composite
def tiers(draw: Draw, currency: str) -> list[dict[str, str]]:
    """One to three tiers; the last has no end."""
    ends = draw(st.sampled_from([[], ["1"], ["2"], ["1", "3"], ["2", "3"], ["1.5"]]))
    drawn: list[dict[str, str]] = []
    for end in [*ends, None]:
        tier: dict[str, str] = {} if end is None else {"up_to": end}
        tier["per_unit"] = draw(unit_prices)
        if draw(st.booleans()):
            tier["flat"] = draw(amounts(currency))
        drawn.append(tier)
    return drawn


@st.composite
def prices(draw: Draw, currency: str) -> dict[str, Any]:
    """A price of any form."""
    form = draw(st.sampled_from(["per_unit", "flat", "graduated", "volume", "package"]))
    if form == "per_unit":
        return {form: draw(unit_prices)}
    if form == "flat":
        return {form: draw(amounts(currency))}
    if form == "package":
        return {form: {"size": draw(st.sampled_from(["1", "2", "3", "1.5"])), "price": draw(amounts(currency))}}
    return {form: draw(tiers(currency))}


@st.composite
def plans(draw: Draw, currency: str) -> dict[str, Any]:
    """The charges of one plan: a peak charge for some categories, perhaps a fee in arrears."""
    categories = draw(st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=3, unique=True))
    charges: dict[str, Any] = {
        f"{category.lower()}_carts": {"kind": "peak", "category": category, "price": draw(prices(currency))}
        for category in categories
    }
    if draw(st.booleans()):
        charges["fee"] = {"kind": "recurring", "bill": "arrears", "price": {"flat": draw(amounts(currency))}}
        if draw(st.booleans()):
            charges["fee"]["on_cancel"] = draw(st.sampled_from(["charge", "drop"]))
    return charges


@dataclass(frozen=True)
class Pace:
    """How long the cycles of a world are, and how far apart its rows."""

    everies: tuple[str, ...]
    days: int


PACES = [Pace(("1 month", "2 months", "30 days"), 110), Pace(("1 day", "3 days", "7 days"), 9)]


@st.composite
def cycles(draw: Draw, pace: Pace) -> dict[str, str]:
    """How often, and counted from what."""
    anchors = ["account_created", "subscription_started"]
    every = draw(st.sampled_from(pace.everies))
    if "month" in every:
        anchors += ["calendar", "calendar"]
    cycle = {"every": every, "anchor": draw(st.sampled_from(anchors))}
    if cycle["anchor"] == "calendar" and draw(st.integers(0, 2)):
        cycle["first_cycle_from"] = draw(
            st.sampled_from(["subscription_started", "account_created", "account_created"])
        )
    return cycle


@st.composite
def rate_cards(
    draw: Draw, name: str, zone_name: str, pace: Pace, days: Sequence[date], *, gaps: bool
) -> list[dict[str, Any]]:
    """One to three versions of a card; the first is old enough for every cycle, and each has both plans.

    With `gaps` some are not so: such a card does not price every cycle.
    """
    currency = draw(st.sampled_from(sorted(MINOR_UNITS)))
    cycle = draw(cycles(pace))
    starts = [date(1999, 1, 1), *sorted(draw(st.sets(st.sampled_from(days), max_size=2)))]
    if gaps and len(starts) > 1 and draw(st.integers(0, 9)) == 9:
        starts.pop(0)
    versions = []
    for number, effective_from in enumerate(starts, start=1):
        version = {
            "rate_card": name,
            "version": number,
            "effective_from": effective_from,
            "reason": "Drawn for a test.",
            "currency": currency,
            "time_zone": zone_name,
            "cycle": cycle,
            "grace_days": draw(st.sampled_from([0, 0, 1, 5])),
            "payment_days": draw(st.sampled_from([0, 14])),
            "rounding": draw(st.sampled_from(["half_up", "half_even", "down", "up"])),
            "settlement": "invoice",
            "plans": {plan: draw(plans(currency)) for plan in ("basic", "plus")},
        }
        if draw(st.booleans()):
            takes_effect = draw(st.sampled_from(["immediately", "next_cycle"]))
            version["plan_change"] = {"takes_effect": takes_effect, "minimum_difference": "1"}
        if gaps and draw(st.integers(0, 19)) == 19:
            del version["plans"]["plus"]
        versions.append(version)
    return versions


# ---- instants


def either_side(instants: Sequence[datetime]) -> list[datetime]:
    """Each instant, and a microsecond before and after it."""
    return sorted({near for instant in instants for near in (instant - TICK, instant, instant + TICK)})


@cache
def clock_changes(zone_name: str, day: date) -> list[datetime]:
    """The instants around a date at which the zone's clocks change."""
    hours = [datetime.combine(day, time(), UTC) + timedelta(minutes=minute) for minute in range(-1080, 1080)]
    place = oracle.zone(zone_name)
    return [
        after
        for before, after in pairwise(hours)
        if before.astimezone(place).utcoffset() != after.astimezone(place).utcoffset()
    ]


@st.composite
def instant_texts(draw: Draw, instant: datetime) -> str:
    """One of the ways in which exports write an instant."""
    shift = draw(st.sampled_from([0, 0, 0, 330, -240]))
    clock = (instant + timedelta(minutes=shift)).replace(tzinfo=None)
    if shift:
        sign = "+" if shift > 0 else "-"
        return f"{clock.isoformat()}{sign}{abs(shift) // 60:02}:{abs(shift) % 60:02}"
    if clock.time() == time() and draw(st.booleans()):
        return clock.date().isoformat()
    written = clock.isoformat(sep=draw(st.sampled_from("T ")))
    return f"{written}{draw(st.sampled_from(['Z', '', '+00', '+00:00']))}"


# ---- rows


@dataclass
class Sketch:
    """A world while it is drawn."""

    draw: Draw
    zone_name: str
    day: date
    pace: Pace
    rows: dict[str, list[Text]]
    cards: dict[str, list[dict[str, Any]]]
    created: dict[str, tuple[datetime, str | None]]

    def chance(self, one_in: int) -> bool:
        """True about once in so many draws, and False in the simplest world."""
        return bool(self.draw(st.integers(0, one_in - 1)) == one_in - 1)

    def pick(self, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        return self.draw(st.sampled_from(choices))

    def text(self, instant: datetime) -> str:
        """The instant as some export would write it."""
        written: str = self.draw(instant_texts(instant))
        return written

    @property
    def days(self) -> list[date]:
        """Dates around the scene's own: month ends and starts, a week, one date in the middle."""
        first = self.day.replace(day=1)
        month_ends = [oracle.months_later(first, months) - timedelta(days=1) for months in (0, 1, 2)]
        near = [self.day + timedelta(days=days) for days in (-2, -1, 0, 1, 2)]
        far = [day + timedelta(days=1) for day in month_ends] + month_ends
        return sorted(near + (far if self.pace.days > 30 else []))

    @property
    def edges(self) -> list[datetime]:
        """Starts of those dates (in the zone, in UTC) and clock changes, each with a microsecond around."""
        starts = [oracle.first_instant(day, zone) for day in self.days for zone in (self.zone_name, "UTC")]
        noon = datetime.combine(self.day, time(12), UTC)
        return [*either_side([*starts, *clock_changes(self.zone_name, self.day)]), noon]


def sketch_accounts(sketch: Sketch) -> None:
    """One to four accounts, created around the scene or years before it, some with an older row."""
    for number in range(1, sketch.draw(st.integers(1, 4)) + 1):
        account_id = f"A{number}"
        created_at = sketch.pick(sketch.edges)
        if sketch.chance(3):
            created_at = sketch.pick(
                [
                    datetime(2009, 10, 31, 12, tzinfo=UTC),
                    datetime(2008, 2, 29, tzinfo=UTC),
                    datetime(2007, 1, 30, tzinfo=UTC),
                ]
            )
        zone_name = sketch.pick([sketch.zone_name, sketch.zone_name, None, "America/New_York", "UTC"])
        sketch.created[account_id] = (created_at, zone_name)
        row: Text = {"account_id": account_id, "created_at": sketch.text(created_at), "time_zone": zone_name}
        row["master_account_id"] = sketch.pick([None, None, "A1"])
        row["name"] = sketch.pick([None, "Müller & Söhne"])
        if sketch.chance(4):
            older = {**row, "created_at": sketch.text(sketch.pick(sketch.edges)), "time_zone": "Asia/Kolkata"}
            older["updated_at"] = sketch.pick([None, "2001-01-01"])
            sketch.rows["accounts"].append(older)
            row["updated_at"] = "2002-01-01T00:00:00Z"
        sketch.rows["accounts"].append(row)


def cycle_edges(sketch: Sketch, row: Text, started_at: datetime) -> list[datetime]:
    """The first starts of cycles of a subscription that starts with a row."""
    account_id, card = str(row["account_id"]), sketch.cards[str(row["rate_card"])]
    created_at, zone_name = sketch.created[account_id]
    account = oracle.Row("accounts", "", 0, {"created_at": created_at, "time_zone": zone_name})
    start = oracle.Row("subscriptions", "", 0, {"effective_at": started_at})
    subscription = oracle.Subscription("", account, oracle.RateCard(card), [start])
    edges = [cycle.starts_at for cycle in islice(oracle.cycles_of(subscription), 7)]
    return [edge for edge in edges if edge < started_at + timedelta(days=sketch.pace.days)]


def sketch_subscription(sketch: Sketch, subscription_id: str) -> list[datetime]:
    """A subscription's rows; returns the instants at which its carts should move."""
    started_at = sketch.pick(sketch.edges)
    row: Text = {
        "subscription_id": subscription_id,
        "effective_at": sketch.text(started_at),
        "account_id": sketch.pick(sorted(sketch.created)),
        "rate_card": sketch.pick(sorted(sketch.cards)),
        "plan": sketch.pick(["basic", "plus"]),
        "event": "started",
        "takes_effect": None,
    }
    sketch.rows["subscriptions"].append(row)
    edges = either_side(cycle_edges(sketch, row, started_at))
    middle = [edge + timedelta(hours=9) for edge in edges[1::3]]
    moments = [*edges, *middle, started_at - timedelta(days=1)]
    at_least = sketch.pick([0, 2, 4])
    others = sorted(set(moments) - {started_at})
    instants = st.sets(st.sampled_from(others), min_size=min(at_least, len(others)), max_size=6)
    for at in sorted(sketch.draw(instants)):
        later = {**row, "effective_at": sketch.text(at), "plan": sketch.pick(["basic", "plus"])}
        later["event"] = sketch.pick(LATER_EVENTS)
        later["takes_effect"] = sketch.pick([None, "immediately", "next_cycle", "next_cycle"])
        sketch.rows["subscriptions"].append(later)
    return moments


def sketch_cart_events(sketch: Sketch, subscription_id: str, moments: Sequence[datetime]) -> None:
    """Changes of up to four carts, each key once."""
    keys = st.tuples(st.sampled_from(["1", "2", "3", "04"]), st.sampled_from(moments))
    at_least = sketch.pick([0, 4, 8])
    for cart_id, at in sketch.draw(st.lists(keys, min_size=at_least, max_size=12, unique=True)):
        sketch.rows["cart_events"].append(
            {
                "subscription_id": subscription_id,
                "cart_id": cart_id,
                "occurred_at": sketch.text(at),
                "category": sketch.pick(["Standard", *CATEGORIES]),
                "state": sketch.pick(["active", "active", "disabled", "deleted"]),
            }
        )


def sketch_snapshots(sketch: Sketch, subscription_ids: Sequence[str], moments: Sequence[datetime]) -> None:
    """Complete listings of all carts, some of them thin."""
    for at in sorted(sketch.draw(st.sets(st.sampled_from(moments), max_size=4))):
        written = sketch.text(at)
        is_thin = sketch.chance(4)
        for subscription_id in subscription_ids:
            for cart_id in ["1", "2", "3", "04"]:
                state = sketch.pick(
                    ["absent"] * 4 + ["active"] if is_thin else ["active", "active", "disabled", "absent"]
                )
                if state != "absent":
                    sketch.rows["cart_snapshots"].append(
                        {
                            "snapshot_at": written,
                            "subscription_id": subscription_id,
                            "cart_id": cart_id,
                            "category": sketch.pick(CATEGORIES),
                            "state": state,
                        }
                    )


def sketch_other_feeds(sketch: Sketch, subscription_ids: Sequence[str], moments: Sequence[datetime]) -> None:
    """A few rows of the feeds that no charge of these cards prices: they are read and judged all the same.

    One-off charges and top-ups do change a bill or a ledger: they are drawn in `worlds_usage`.
    """
    drawn = sketch.draw(st.lists(st.sampled_from(moments), max_size=4, unique=True))
    for number, moment in enumerate(drawn):
        own, amount = sketch.pick(subscription_ids), sketch.pick(["0", "10", "12.5", "20.00"])
        row: Text = {"subscription_id": own}
        if sketch.chance(2):
            limit = {"agreed_at": sketch.text(moment), "limit_amount": amount}
            sketch.rows["spending_limits"].append(row | limit)
        else:
            used = {"event_id": f"E{number}", "meter": "messages", "occurred_at": sketch.text(moment)}
            sketch.rows["usage"].append(row | used | {"quantity": amount, "value": None})


# ---- rows that are wrong, come again, or replace others

BAD_NUMBERS: list[str | None] = [None, "-1", "-0.5", "1.0000001", "ten", "1234567890123", "1,5"]

BAD_TEXTS: dict[str, list[str | None]] = {
    "account_id": [None, "A999"],
    "subscription_id": [None, "S999"],
    "cart_id": [None],
    "rate_card": [None, "no-such-card"],
    "plan": [None, "no-such-plan"],
    "event": [None, "resumed", "Started"],
    "takes_effect": ["later"],
    "category": [None, "Warehouse"],
    "state": [None, "on", "ACTIVE"],
    "time_zone": ["Mars/Olympus", "America/New York"],
    "meter": [None],
    "event_id": [None],
    "charge_id": [None],
    "topup_id": [None],
    "description": [None],
    "quantity": BAD_NUMBERS,
    "amount": BAD_NUMBERS,
    "limit_amount": BAD_NUMBERS,
    "revision": ["-1", "1.5", "first"],
    "voided": ["yes", "0"],
}
BAD_INSTANTS: list[str | None] = [
    "",
    "yesterday",
    "2024-02-30",
    "2024-01-01T24:00:00Z",
    "1899-12-31T23:59:59Z",
    "2024-1-1",
]
BAD_INSTANTS += ["2024-01-01T00:00:00.1234567Z", "9999-01-01", "1704067200"]


def spoiled(sketch: Sketch, feed: str, row: Text) -> Text:
    """The row with one column that cannot be right."""
    names = (*FEEDS[feed][1], *FEEDS[feed][2], "revision", "voided")
    name = sketch.pick([name for name in names if name in BAD_TEXTS or name.endswith("_at")])
    bad = BAD_TEXTS.get(name, BAD_INSTANTS if name in FEEDS[feed][1] else BAD_INSTANTS[1:])
    return {**row, name: sketch.pick(bad)}


def changed(sketch: Sketch, feed: str, row: Text) -> Text:
    """The row with the same key and something else in it."""
    if feed == "accounts":
        return {**row, "name": "renamed", "time_zone": sketch.pick([row["time_zone"], "UTC"])}
    if feed == "subscriptions":
        if row["event"] != "started" and sketch.chance(2):
            return {**row, "event": sketch.pick([event for event in LATER_EVENTS if event != row["event"]])}
        return {**row, "plan": "plus" if row["plan"] == "basic" else "basic"}
    for name in ("quantity", "amount", "limit_amount"):
        if name in row:
            return {**row, name: "15"}
    change = sketch.pick(["category", "state"])
    if change == "category":
        return {
            **row,
            "category": sketch.pick([name for name in [*CATEGORIES, "Warehouse"] if name != row["category"]]),
        }
    return {**row, "state": "disabled" if row["state"] == "active" else "active"}


def next_revision(row: Text) -> str:
    """A higher revision than the row's own."""
    return str(int(row.get("revision") or "0") + 1)


def troubled(sketch: Sketch, feed: str, row: Text) -> tuple[Text, bool]:
    """A row that repeats another, takes its place, takes it out, conflicts with it or is wrong.

    The flag is False for a wrong one: a second fault in it would leave open which of the two is its reason.
    """
    higher = {**row, "revision": next_revision(row)}
    match sketch.pick(["spoiled", "repeat", "conflict", "revision", "void", "spoiled revision"]):
        case "spoiled":
            return spoiled(sketch, feed, row), False
        case "repeat":
            return rewritten(sketch, row), True
        case "conflict":
            return changed(sketch, feed, row), True
        case "revision":
            return changed(sketch, feed, higher), True
        case "void":
            return {**higher, "voided": sketch.pick(["true", "TRUE"])}, True
        case _:
            return spoiled(sketch, feed, higher), False


def rewritten(sketch: Sketch, row: Text) -> Text:
    """The same row with its instants written in another way."""
    instants = {name: oracle.read_instant(text) for name, text in row.items() if text and name.endswith("_at")}
    return {**row, **{name: sketch.text(instant) for name, instant in instants.items() if instant}}


def add_troubles(sketch: Sketch) -> None:
    """Repeats, revisions, voids, conflicts and rows that are wrong, put next to good ones."""
    cart_feeds = ["cart_snapshots", "cart_events"]
    other_feeds = [feed for feed in FEEDS if feed not in cart_feeds]
    good = {feed: list(rows) for feed, rows in sketch.rows.items()}
    for _ in range(sketch.draw(st.integers(0, 6))):
        feed = sketch.pick(other_feeds if sketch.chance(4) else cart_feeds)
        if good[feed]:
            new, is_good = troubled(sketch, feed, sketch.pick(good[feed]))
            sketch.rows[feed].append(new)
            if is_good:
                good[feed].append(new)


# ---- worlds

SUFFIXES = [".csv", ".csv.gz", ".csv.zst", ".parquet", "-text.parquet"]


def laid_out(sketch: Sketch) -> dict[str, list[Text]]:
    """The rows, shuffled, in one to three files a feed."""
    files: dict[str, list[Text]] = {}
    for feed, rows in sketch.rows.items():
        if not rows and not sketch.chance(8):
            continue
        most = 3 if len(rows) > 6 else 1 + len(rows) // 2
        stems = sketch.draw(
            st.lists(st.sampled_from(["a", "b", "2024/a", "Z"]), min_size=1, max_size=most, unique=True)
        )
        names = [f"{feed}/{stem}{sketch.pick(SUFFIXES)}" for stem in stems]
        files |= {name: [] for name in names}
        for row in sketch.draw(st.permutations(rows)):
            files[sketch.pick(names)].append(row)
        for name in names:
            if sketch.chance(4):
                files[name] = [otherwise(row) for row in files[name]]
    return files


def otherwise(row: Text) -> Text:
    """The row with its columns in another order, and one more that is none of ours."""
    return {"exported by": "nobody", **dict(sorted(row.items(), reverse=True))}


@st.composite
def worlds(draw: Draw, *, troubles: bool = True, gaps: bool = False) -> tuple[World, date]:
    """A small world and a date to bill it up to.

    :param troubles: some rows are wrong, repeated, replaced or taken out
    :param gaps: some cycles may have no price, so that the run has to stop
    """
    zone_name, day = draw(st.sampled_from(SCENES))
    feeds: dict[str, list[Text]] = {feed: [] for feed in FEEDS}
    sketch = Sketch(draw, zone_name, day, draw(st.sampled_from(PACES)), feeds, {}, {})
    for name in ["carts", "carts-2"][: draw(st.integers(1, 2))]:
        sketch.cards[name] = draw(rate_cards(name, zone_name, sketch.pace, sketch.days, gaps=gaps))
    sketch_accounts(sketch)
    moments: set[datetime] = set()
    subscription_ids = [f"S{number}" for number in range(1, draw(st.sampled_from([1, 2, 3, 4, 8])) + 1)]
    for subscription_id in subscription_ids:
        own = sketch_subscription(sketch, subscription_id)
        sketch_cart_events(sketch, subscription_id, own)
        moments.update(own)
    sketch_snapshots(sketch, subscription_ids, sorted(moments))
    sketch_other_feeds(sketch, subscription_ids, sorted(moments))
    if troubles:
        add_troubles(sketch)
    share = draw(st.sampled_from(["0", "0.5", "0.8", "1"])) if troubles else "0"
    cards = [version for versions in sketch.cards.values() for version in versions]
    world = World(laid_out(sketch), cards, Decimal(share))
    days = sorted({moment.date() for moment in moments})
    return world, draw(
        st.sampled_from([days[-1] + timedelta(days=late) for late in (7, 6, 1, 0)] + days[len(days) // 2 :])
    )


@st.composite
def arriving_worlds(draw: Draw, drawn: st.SearchStrategy[tuple[World, date]] | None = None) -> tuple[World, list[date]]:
    """A small world whose files come in over two or three runs, and the dates of the runs.

    Accounts and starts of subscriptions come first: what would move invoiced cycles is refused by other rules.

    :param drawn: worlds and the dates to bill them up to; those of `worlds` if left out
    """
    world, as_of = draw(worlds() if drawn is None else drawn)
    days = st.dates(as_of - timedelta(days=60), as_of - timedelta(days=1))
    runs = [*sorted(draw(st.sets(days, min_size=1, max_size=2))), as_of]
    files: dict[str, Sequence[Mapping[str, str | None]]] = {}
    for name, rows in world.files.items():
        later = [row for row in rows if row.get("event") != "started"] if name.startswith("subscriptions/") else []
        if later:
            files[f"subscriptions/later/{name.removeprefix('subscriptions/')}"] = later
        files[name] = [row for row in rows if row not in later]
    first = ("accounts/", "subscriptions/")
    late = [name for name in files if not name.startswith(first) or name.startswith("subscriptions/later/")]
    nights = {name: draw(st.integers(0, len(runs) - 1)) for name in late}
    return replace(world, files=files, nights=nights), runs


@st.composite
def scattered_worlds(
    draw: Draw, drawn: st.SearchStrategy[tuple[World, date]] | None = None
) -> tuple[World, list[date]]:
    """A small world whose rows, one by one, come in any of two to four runs, some of them twice; and the runs' dates.

    Accounts and starts of subscriptions come first, as in `arriving_worlds`.
    """
    world, as_of = draw(worlds() if drawn is None else drawn)
    days = st.dates(as_of - timedelta(days=75), as_of - timedelta(days=1))
    runs = [*sorted(draw(st.sets(days, min_size=1, max_size=3))), as_of]
    files: dict[str, list[Mapping[str, str | None]]] = {}
    nights: dict[str, int] = {}
    seen: set[tuple[str, bytes]] = set()
    for name, rows in world.files.items():
        feed, _, below = name.partition("/")
        for row in rows:
            is_first = feed == "accounts" or row.get("event") == "started"
            comes = {0} if is_first else draw(st.sets(st.integers(0, len(runs) - 1), min_size=1, max_size=2))
            for night in comes:
                part = f"{feed}/{night}/{below}"
                files.setdefault(part, []).append(row)
                nights[part] = night
    for part in sorted(files, key=lambda part: (nights[part], part)):
        content = (part.partition("/")[0], encoded(part, files[part]))
        if content in seen:
            del files[part]  # the same bytes under another name add nothing, not even a refused row
        seen.add(content)
    return replace(world, files=files, nights=nights), runs


# ---- a world as an input folder


def write_world(world: World, folder: Path) -> None:
    """Writes the feeds' files and the rate cards under a folder, but for those that are there already."""
    for name, rows in world.files.items():
        path = folder / name
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(name, rows))
    for number, card in enumerate(world.rate_cards, start=1):
        path = folder / "rate_cards" / f"{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml_of(card), encoding="utf-8")


def columns_of(name: str, rows: Sequence[Mapping[str, str | None]]) -> list[str]:
    """The columns of a file: whatever its rows hold, and the feed's required ones."""
    feed = name.split("/", maxsplit=1)[0]
    return list(dict.fromkeys([*(column for row in rows for column in row), *FEEDS[feed][1]]))


def encoded(name: str, rows: Sequence[Mapping[str, str | None]]) -> bytes:
    """A file's bytes, in the kind its name says."""
    if name.endswith(".parquet"):
        return parquet_of(name, rows)
    plain = csv_of(columns_of(name, rows), rows).encode()
    if name.endswith(".gz"):
        return gzip.compress(plain, mtime=0)
    return zstandard.ZstdCompressor().compress(plain) if name.endswith(".zst") else plain


def csv_of(columns: Sequence[str], rows: Sequence[Mapping[str, str | None]], line_end: str = "\n") -> str:
    """CSV as RFC 4180 has it: quotes where a field needs them, so that a lone carriage return is quoted too."""
    table = [columns, *([row.get(column) or "" for column in columns] for row in rows)]
    return "".join(",".join(field_of(text) for text in record) + line_end for record in table)


def field_of(text: str) -> str:
    """One field of CSV."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


def parquet_of(name: str, rows: Sequence[Mapping[str, str | None]]) -> bytes:
    """Parquet, with columns of their own types where every text in them allows it; `-text` keeps all text."""
    columns = {}
    for column in columns_of(name, rows):
        texts = [row.get(column) or None for row in rows]
        columns[column] = pa.array(texts, pa.string()) if name.endswith("-text.parquet") else typed(column, texts)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def naive(text: str) -> datetime | None:
    """An instant in UTC without saying so."""
    instant = oracle.read_instant(text)
    return instant.replace(tzinfo=None) if instant else None


def whole_id(text: str) -> int | None:
    """An id that a database would keep as a number."""
    return int(text) if text.isdecimal() and str(int(text)) == text else None


READERS: dict[str, tuple[Callable[[str], Any], pa.DataType]] = {
    "revision": (oracle.read_whole, pa.int64()),
    "voided": (oracle.read_flag, pa.bool_()),
    "cart_id": (whole_id, pa.int32()),
    "quantity": (lambda text: float(text) if oracle.read_number(text) is not None else None, pa.float64()),
    "amount": (oracle.read_number, pa.decimal128(38, 6)),
    "limit_amount": (oracle.read_number, pa.decimal128(38, 6)),
    "created_at": (oracle.read_instant, pa.timestamp("us", tz="America/New_York")),
    "occurred_at": (oracle.read_instant, pa.timestamp("us", tz="UTC")),
    "purchased_at": (oracle.read_instant, pa.timestamp("us", tz="UTC")),
    "effective_at": (naive, pa.timestamp("us")),
    "snapshot_at": (naive, pa.timestamp("ns")),
}


def typed(column: str, texts: Sequence[str | None]) -> pa.Array:
    """A column as an export that knows its types would write it, where every text in it allows that."""
    if column in READERS:
        reader, kind = READERS[column]
        values = [reader(text) if text else None for text in texts]
        if all(value is not None or not text for value, text in zip(values, texts, strict=True)):
            return pa.array(values, kind)
    return pa.array(texts, pa.string())


def yaml_of(value: Any, indent: int = 0) -> str:
    """YAML in block style: every text quoted, dates and whole numbers plain."""
    pad = "  " * indent
    if isinstance(value, Mapping):
        lines = [
            f"{pad}{quoted(key)}:" + (f"\n{yaml_of(item, indent + 1)}" if is_block(item) else f" {plain(item)}\n")
            for key, item in value.items()
        ]
        return "".join(lines)
    if isinstance(value, list):
        return "".join(
            f"{pad}-\n{yaml_of(item, indent + 1)}" if is_block(item) else f"{pad}- {plain(item)}\n" for item in value
        )
    raise AssertionError(f"not a block: {value!r}")


def is_block(value: Any) -> bool:
    """Whether a value spans lines of its own."""
    return isinstance(value, Mapping | list)


def plain(value: Any) -> str:
    """A single value."""
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    """A text in double quotes, everything but ASCII escaped (in few characters: a key may have 1,024)."""
    characters = json.dumps(text, ensure_ascii=False)
    return "".join(
        char if char.isascii() else f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else f"\\u{ord(char):04x}"
        for char in characters
    )
