"""The oracle: the rules of SPEC worked out event by event in plain Python, sharing no code with usage_rating.

It is written to be obviously right, not fast: loops over small worlds, no engine, no SQL, no shared table of
columns. A figure that the product and this file work out alike was derived twice from the same page.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from importlib import resources
from itertools import count, pairwise
from math import ceil
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

# ---- what goes in, comes out


@dataclass(frozen=True)
class World:
    """An input folder as data.

    `files` maps a path inside the folder (`cart_events/2024/a.csv.gz`) to its rows, each a column's name to
    its text (None: empty); the first row has number 1. `rate_cards` are the versions as SPEC writes them.
    `nights` says of a file that was not there from the start in which run it came (the first is 0).
    """

    files: Mapping[str, Sequence[Mapping[str, str | None]]]
    rate_cards: Sequence[Mapping[str, Any]]
    min_snapshot_share: Decimal = Decimal("0.5")
    nights: Mapping[str, int] = field(default_factory=dict)

    def until(self, night: int) -> "World":
        """The world as it is in a run: without the files that come later."""
        return replace(self, files={file: rows for file, rows in self.files.items() if self.night_of(file) <= night})

    def night_of(self, file: str) -> int:
        """The run in which a file came."""
        return self.nights.get(file, 0)


class RunStops(Exception):  # noqa: N818
    """The run must end with exit 2: a cycle that has begun has no card version, or that version lacks its plan."""


class Refused(NamedTuple):
    """One row of `rejected_rows`."""

    feed: str
    file: str
    row_number: int
    status: str
    reason: str


class Cycle(NamedTuple):
    """One billing cycle of one subscription."""

    subscription_id: str
    cycle_start: date
    cycle_end: date
    starts_at: datetime
    ends_at: datetime


class ActiveSpan(NamedTuple):
    """The subscription is active over [active_from, active_until); None: still active."""

    subscription_id: str
    active_from: datetime
    active_until: datetime | None


class PlanSpan(NamedTuple):
    """The plan an active subscription is on over [plan_from, plan_until); None: still in force."""

    subscription_id: str
    plan: str
    plan_from: datetime
    plan_until: datetime | None


class CartChange(NamedTuple):
    """A cart enters, leaves or changes category; None: not active."""

    subscription_id: str
    cart_id: str
    changed_at: datetime
    category_before: str | None
    category_after: str | None


class Peak(NamedTuple):
    """The most carts of a category at one active instant of a due cycle, and the first such instant."""

    subscription_id: str
    cycle_start: date
    category: str
    quantity: int
    peak_at: datetime


# ---- dates and clocks


@cache
def zone_names() -> frozenset[str]:
    """The IANA names of the pinned tzdata package."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@cache
def zone(name: str) -> ZoneInfo:
    """A time zone from the pinned tzdata package, never from the machine."""
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def local_date(instant: datetime, zone_name: str) -> date:
    """The date that clocks in the zone show at an instant."""
    return instant.astimezone(zone(zone_name)).date()


@cache
def first_instant(day: date, zone_name: str) -> datetime:
    """The start of a local date: the first instant at which clocks in the zone show that date or a later one.

    That is midnight, the first of two midnights, or the end of the gap that swallowed it. The clock is walked
    in steps of a minute: one that goes back may show a date for a single minute (St John's, 2010-11-07).
    """
    instant = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=16)
    assert local_date(instant, zone_name) < day
    while local_date(instant, zone_name) < day:
        instant += timedelta(minutes=1)
    while local_date(instant - timedelta(seconds=1), zone_name) >= day:
        instant -= timedelta(seconds=1)
    return instant


def date_begun(instant: datetime, zone_name: str) -> date:
    """The last date that has begun at an instant.

    It is the date on the clock, but for the hour in which a clock that went back over midnight shows the date
    before once more: a midnight that comes twice is the first, so the later date has begun.
    """
    shown = local_date(instant, zone_name)
    following = shown + timedelta(days=1)
    return following if first_instant(following, zone_name) <= instant else shown


def months_later(day: date, months: int) -> date:
    """The same day of a later (or earlier) month, held to that month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    for number in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, min(number, day.day))
        except ValueError:
            continue
    raise AssertionError("every month has a 28th")


# ---- text to values

_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6})0*)?)?(Z|[+-][0-9]{2}(?::[0-9]{2})?)?)?"
)


def read_instant(text: str) -> datetime | None:
    """An instant in UTC (so too without an offset; a date alone is midnight), or None if the text is none."""
    match = _INSTANT.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    microsecond = int((fraction or "").ljust(6, "0"))
    try:
        clock = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            microsecond,
            UTC,
        )
        instant = clock - _offset(offset)
    except (ValueError, OverflowError):
        return None
    return instant if 1900 <= instant.year <= 9998 else None


def _offset(text: str | None) -> timedelta:
    if text in (None, "Z"):
        return timedelta(0)
    assert text is not None
    size = timedelta(hours=int(text[1:3]), minutes=int(text[4:6] or 0))
    return -size if text[0] == "-" else size


def read_number(text: str) -> Decimal | None:
    """A figure with up to 12 digits before the point and 6 after it."""
    return Decimal(text) if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", text) else None


def read_whole(text: str) -> int | None:
    """A whole number, 0 or more."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def read_flag(text: str) -> bool | None:
    """`true` or `false`, in any case."""
    return {"true": True, "false": False}.get(text.lower())


def read_text(text: str) -> str:
    """An id, as written."""
    return text


def one_of(*words: str) -> Callable[[str], str | None]:
    """A reader that takes one of some words only."""
    return lambda text: text if text in words else None


def read_zone(text: str) -> str | None:
    """The name of a time zone that the pinned rules know."""
    return text if text in zone_names() else None


_STATE = one_of("active", "disabled", "deleted")
_EVENT = one_of("started", "plan_changed", "cancelled", "reactivated")
_TAKES_EFFECT = one_of("immediately", "next_cycle")

# feed: (key, what must be given, what may be left out)
FEEDS: dict[str, tuple[tuple[str, ...], dict[str, Callable[[str], Any]], dict[str, Callable[[str], Any]]]] = {
    "accounts": (
        ("account_id", "updated_at"),
        {"account_id": read_text, "created_at": read_instant},
        {
            "updated_at": read_instant,
            "time_zone": read_zone,
            "master_account_id": read_text,
            "name": read_text,
        },
    ),
    "subscriptions": (
        ("subscription_id", "effective_at"),
        {
            "subscription_id": read_text,
            "effective_at": read_instant,
            "account_id": read_text,
            "rate_card": read_text,
            "plan": read_text,
            "event": _EVENT,
        },
        {"takes_effect": _TAKES_EFFECT},
    ),
    "cart_events": (
        ("subscription_id", "cart_id", "occurred_at"),
        {
            "subscription_id": read_text,
            "cart_id": read_text,
            "occurred_at": read_instant,
            "category": read_text,
            "state": _STATE,
        },
        {},
    ),
    "cart_snapshots": (
        ("snapshot_at", "subscription_id", "cart_id"),
        {
            "snapshot_at": read_instant,
            "subscription_id": read_text,
            "cart_id": read_text,
            "category": read_text,
            "state": _STATE,
        },
        {},
    ),
    "usage": (
        ("subscription_id", "event_id"),
        {
            "subscription_id": read_text,
            "event_id": read_text,
            "meter": read_text,
            "quantity": read_number,
            "occurred_at": read_instant,
        },
        {"value": read_text},
    ),
    "spending_limits": (
        ("subscription_id", "agreed_at"),
        {"subscription_id": read_text, "agreed_at": read_instant, "limit_amount": read_number},
        {},
    ),
    "one_off_charges": (
        ("charge_id",),
        {
            "charge_id": read_text,
            "subscription_id": read_text,
            "description": read_text,
            "amount": read_number,
            "purchased_at": read_instant,
        },
        {},
    ),
    "credit_topups": (
        ("topup_id",),
        {"topup_id": read_text, "account_id": read_text, "amount": read_number, "purchased_at": read_instant},
        {},
    ),
}
_ANY_FEED: dict[str, Callable[[str], Any]] = {"revision": read_whole, "voided": read_flag}


@dataclass(frozen=True)
class Row:
    """A row that could be read."""

    feed: str
    file: str
    row_number: int
    values: Mapping[str, Any]

    @property
    def key(self) -> tuple[Any, ...]:
        """What the row is about."""
        return tuple(self.values[name] for name in FEEDS[self.feed][0])

    @property
    def revision(self) -> int:
        """0 where none is written."""
        return self.values["revision"] or 0

    @property
    def is_voided(self) -> bool:
        """True: the row takes its key out."""
        return bool(self.values["voided"])

    @property
    def content(self) -> dict[str, Any]:
        """Everything the row says; two rows of a key and revision with other content are in conflict."""
        return {**self.values, "revision": self.revision, "voided": self.is_voided}

    def refused(self, status: str, reason: str) -> Refused:
        """The row as `rejected_rows` lists it."""
        return Refused(self.feed, self.file, self.row_number, status, reason)


def read_row(feed: str, written: Mapping[str, str | None]) -> tuple[dict[str, Any], str | None]:
    """The values that could be read, and why the row is refused (None: it is not)."""
    _, must, may = FEEDS[feed]
    values: dict[str, Any] = {}
    faults = set()
    for name, reader in {**must, **may, **_ANY_FEED}.items():
        text = written.get(name)
        values[name] = reader(text) if text else None
        if not text and name in must:
            faults.add("missing_value")
        if text and values[name] is None:
            faults.add("bad_value")
    if any(isinstance(value, Decimal) and value < 0 for value in values.values()):
        faults.add("negative_quantity")
    for reason in ("missing_value", "bad_value", "negative_quantity"):
        if reason in faults:
            return values, reason
    return values, None


class Reading(NamedTuple):
    """The feeds after reading: rows by feed, refused rows, snapshot keys that refused rows still list."""

    rows: dict[str, list[Row]]
    refused: list[Refused]
    listed: set[tuple[datetime, str, str]]


def read_feeds(world: World, part_of: Callable[[Row], Any] = lambda _: None) -> Reading:
    """Reads every row; of a key and revision the first stands, the others repeat it or conflict with it.

    :param part_of: conflicts are looked for among the rows of one part, such as a cycle; all are one if left out
    """
    reading = Reading({feed: [] for feed in FEEDS}, [], set())
    first: dict[tuple[Any, ...], Row] = {}
    for file in sorted(world.files, key=lambda file: (world.night_of(file), file)):
        feed = file.split("/", maxsplit=1)[0]
        for row_number, written in enumerate(world.files[file], start=1):
            values, reason = read_row(feed, written)
            row = Row(feed, file, row_number, values)
            if not reason:
                stands = first.setdefault((feed, row.key, row.revision, part_of(row)), row)
                if stands is row:
                    reading.rows[feed].append(row)
                    continue
                if stands.content == row.content:
                    continue
                reason = "conflicting_duplicate"
            reading.refused.append(row.refused("rejected", reason))
            if feed == "cart_snapshots" and None not in row.key:
                reading.listed.add(row.key)
    return reading


class Verdict(NamedTuple):
    """What becomes of rows: those that count, those that took their key out, and those held, with the reason."""

    standing: list[Row]
    voids: list[Row]
    held: list[tuple[Row, str]]


def judged(rows: Iterable[Row], reason_to_hold: Callable[[Row], str | None]) -> Verdict:
    """Of each key the row of the highest revision that is not held counts, or takes the key out if it is voided.

    A voided row says nothing that could be held. What a standing revision supersedes is not looked at. Rows of one key
    and revision that are not in conflict, since they fall into different cycles, count side by side.
    """
    by_key: dict[tuple[Any, ...], dict[int, list[Row]]] = {}
    for row in rows:
        by_key.setdefault(row.key, {}).setdefault(row.revision, []).append(row)
    verdict = Verdict([], [], [])
    for revisions in by_key.values():
        for _, same in sorted(revisions.items(), reverse=True):
            reasons = [None if row.is_voided else reason_to_hold(row) for row in same]
            for row, reason in zip(same, reasons, strict=True):
                if reason:
                    verdict.held.append((row, reason))
                else:
                    (verdict.voids if row.is_voided else verdict.standing).append(row)
            if None in reasons:
                break
    return verdict


def grouped(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by their subscription."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.values["subscription_id"], []).append(row)
    return groups


def never(_: Row) -> None:
    """No reason to hold a row."""


# ---- accounts and subscriptions


def newest_accounts(rows: Iterable[Row]) -> dict[str, Row]:
    """Of each account the row with the newest `updated_at`; one without it is the oldest."""
    standing = judged(rows, never).standing
    oldest = datetime(1, 1, 1, tzinfo=UTC)
    accounts: dict[str, Row] = {}
    for row in sorted(standing, key=lambda row: row.values["updated_at"] or oldest):
        accounts[row.values["account_id"]] = row
    return accounts


@dataclass(frozen=True)
class RateCard:
    """All versions of one rate card, oldest first."""

    versions: Sequence[Mapping[str, Any]]

    @property
    def plans(self) -> set[str]:
        """Every plan of any version."""
        return {plan for version in self.versions for plan in version["plans"]}

    def priced(self, what: str) -> set[str]:
        """Every `category` or `meter` that any plan of any version prices."""
        plans = (plan for version in self.versions for plan in version["plans"].values())
        return {charge[what] for plan in plans for charge in plan.values() if what in charge}

    def version_on(self, cycle_start: date) -> Mapping[str, Any]:
        """The version with the latest `effective_from` on or before a cycle's start."""
        in_force = [version for version in self.versions if version["effective_from"] <= cycle_start]
        if not in_force:
            raise RunStops(f"no version of {self.versions[0]['rate_card']} on {cycle_start}")
        return in_force[-1]


def rate_cards_of(world: World) -> dict[str, RateCard]:
    """The world's rate cards by name."""
    cards: dict[str, list[Mapping[str, Any]]] = {}
    for version in sorted(world.rate_cards, key=lambda version: version["effective_from"]):
        cards.setdefault(version["rate_card"], []).append(version)
    return {name: RateCard(versions) for name, versions in cards.items()}


@dataclass
class Subscription:
    """One subscription, from its earliest `started` row on."""

    subscription_id: str
    account: Row
    card: RateCard
    rows: list[Row]

    @property
    def started_at(self) -> datetime:
        """The instant of the earliest `started` row."""
        at: datetime = self.rows[0].values["effective_at"]
        return at

    @property
    def zone_name(self) -> str:
        """The account's zone, else the card's."""
        name: str = self.account.values["time_zone"] or self.card.versions[0]["time_zone"]
        return name


def subscriptions_of(
    rows: Sequence[Row], accounts: Mapping[str, Row], cards: Mapping[str, RateCard]
) -> tuple[dict[str, Subscription], Verdict]:
    """Every subscription with a `started` row that fits, and what becomes of the rows."""

    def misfit(row: Row) -> str | None:
        if row.values["account_id"] not in accounts:
            return "unknown_account"
        if row.values["rate_card"] not in cards:
            return "unknown_rate_card"
        return None if row.values["plan"] in cards[row.values["rate_card"]].plans else "unknown_plan"

    starts: dict[str, Row] = {}
    for row in sorted(judged(rows, misfit).standing, key=lambda row: row.values["effective_at"]):
        if row.values["event"] == "started":
            starts.setdefault(row.values["subscription_id"], row)

    def misfit_or_stray(row: Row) -> str | None:
        start = starts.get(row.values["subscription_id"])
        if reason := misfit(row):
            return reason
        if start is None or row.values["effective_at"] < start.values["effective_at"]:
            return "unknown_subscription"
        if row.values["account_id"] != start.values["account_id"]:
            return "unknown_account"
        if row.values["rate_card"] != start.values["rate_card"]:
            return "unknown_rate_card"
        return None

    verdict = judged(rows, misfit_or_stray)
    subscriptions = {}
    for subscription_id, own in grouped(verdict.standing).items():
        own.sort(key=lambda row: row.values["effective_at"])
        start = own[0]
        assert start is starts[subscription_id]
        account, card = accounts[start.values["account_id"]], cards[start.values["rate_card"]]
        subscriptions[subscription_id] = Subscription(subscription_id, account, card, own)
    return subscriptions, verdict


# ---- cycles


def cycle_starts(cycle: Mapping[str, str], anchor: date) -> Callable[[int], date]:
    """The date on which cycle k starts."""
    number, unit = cycle["every"].split()
    every = int(number)
    if unit.startswith("day"):
        return lambda k: anchor + timedelta(days=k * every)
    if cycle["anchor"] == "calendar":
        return lambda k: anchor if k == 0 else months_later(anchor.replace(day=1), k * every)
    return lambda k: months_later(anchor, k * every)


def cycle_anchor(subscription: Subscription) -> date:
    """The local date that a subscription's cycles are counted from."""
    cycle = subscription.card.versions[0]["cycle"]
    started = date_begun(subscription.started_at, subscription.zone_name)
    created = date_begun(subscription.account.values["created_at"], subscription.zone_name)
    if cycle["anchor"] == "account_created":
        return created
    if cycle["anchor"] == "calendar" and cycle.get("first_cycle_from") == "account_created":
        return min(created, started)
    return started


def cycles_of(subscription: Subscription) -> Iterator[Cycle]:
    """The cycles from the one that holds the subscription's start, without end."""
    start_of = cycle_starts(subscription.card.versions[0]["cycle"], cycle_anchor(subscription))

    def opens(k: int) -> datetime:
        return first_instant(start_of(k), subscription.zone_name)

    k = 0
    near = local_date(subscription.started_at, subscription.zone_name)
    while start_of(k) > near:
        k -= 1
    while start_of(k + 1) < near:
        k += 1
    while opens(k) > subscription.started_at:
        k -= 1
    while opens(k + 1) <= subscription.started_at:  # by instants: around a clock change dates say too little
        k += 1
    for number in count(k):
        yield Cycle(
            subscription.subscription_id,
            start_of(number),
            start_of(number + 1),
            opens(number),
            opens(number + 1),
        )


def first_cycle_start(subscription: Subscription, instant: datetime) -> datetime:
    """The first start of a cycle at or after an instant that is not before the subscription."""
    for cycle in cycles_of(subscription):
        if cycle.starts_at >= instant:
            return cycle.starts_at
    raise AssertionError("cycles have no end")


def plan_change_at(subscription: Subscription, instant: datetime) -> str:
    """When a plan changes that is changed at an instant: as the card version of the cycle around it says."""
    for cycle in cycles_of(subscription):
        if instant < cycle.ends_at:
            break
    try:
        version = subscription.card.version_on(cycle.cycle_start)
    except RunStops:  # such a cycle has no price; whether that matters is for its invoice to say
        return "immediately"
    takes_effect: str = version.get("plan_change", {}).get("takes_effect", "immediately")
    return takes_effect


# ---- activity and plans


@dataclass
class Timeline:
    """What a subscription's rows come to: switches of activity, and plans from their instants on."""

    subscription: Subscription
    is_active: bool = False
    switches: list[datetime] = field(default_factory=list)
    plans: list[tuple[datetime, str]] = field(default_factory=list)
    waiting: tuple[datetime, str] | None = None

    def replay(self) -> None:
        """Takes the rows one by one, letting a waiting plan change happen when its cycle starts."""
        for row in self.subscription.rows:
            at = row.values["effective_at"]
            self._let_waiting_happen(until=at)
            self._take(at, row)
        self._let_waiting_happen(until=None)

    def _take(self, at: datetime, row: Row) -> None:
        event, plan = row.values["event"], row.values["plan"]
        if event == "started" and not self.plans:
            self._switch(at)
            self.plans.append((at, plan))
        elif event == "cancelled" and self.is_active:
            self._switch(at)
        elif event == "reactivated" and not self.is_active:
            self._switch(at)
            self.waiting = None
            self.plans.append((at, plan))
        elif event == "plan_changed" and self.is_active:
            self.waiting = (self._effect_of(at, row), plan)
            self._let_waiting_happen(until=at)

    def _switch(self, at: datetime) -> None:
        self.is_active = not self.is_active
        self.switches.append(at)

    def _effect_of(self, at: datetime, row: Row) -> datetime:
        takes_effect = row.values["takes_effect"] or plan_change_at(self.subscription, at)
        return at if takes_effect == "immediately" else first_cycle_start(self.subscription, at)

    def _let_waiting_happen(self, *, until: datetime | None) -> None:
        if self.waiting and (until is None or self.waiting[0] <= until):
            if self.is_active:
                self.plans.append(self.waiting)
            self.waiting = None

    def active_spans(self) -> list[ActiveSpan]:
        """When the subscription was active."""
        ends: list[datetime | None] = [*self.switches, None]
        own = self.subscription.subscription_id
        return [ActiveSpan(own, start, ends[place + 1]) for place, start in enumerate(self.switches) if place % 2 == 0]

    def plan_before(self, instant: datetime) -> str:
        """The plan in force just before an instant."""
        return [plan for at, plan in self.plans if at < instant][-1]

    def plan_spans(self) -> list[PlanSpan]:
        """The plans of the active spans; a change to the same plan starts no new span."""
        spans: list[PlanSpan] = []
        for own, active_from, active_until in self.active_spans():
            edges: list[datetime | None] = [active_from]
            edges += sorted(
                {at for at, _ in self.plans if at > active_from and (active_until is None or at < active_until)}
            )
            for start, end in pairwise([*edges, active_until]):
                assert start is not None
                plan = [plan for at, plan in self.plans if at <= start][-1]
                if spans and (spans[-1].plan, spans[-1].plan_until) == (plan, start):
                    spans[-1] = spans[-1]._replace(plan_until=end)
                else:
                    spans.append(PlanSpan(own, plan, start, end))
        return spans


# ---- carts


class CartFeeds(NamedTuple):
    """What counts: each cart's events, each accepted snapshot's rows, and what refused rows still list."""

    events: dict[tuple[str, str], dict[datetime, str | None]]
    snapshots: dict[datetime, dict[tuple[str, str], str | None]]
    listed: set[tuple[datetime, str, str]]


def category_of(row: Row) -> str | None:
    """The category a row puts its cart in; None: it is not active."""
    category: str = row.values["category"]
    return category if row.values["state"] == "active" else None


def incomplete_snapshots(reading: Reading, share: Decimal) -> tuple[set[datetime], set[datetime]]:
    """All snapshots, and those with too few active carts against the one before."""
    standing = judged(reading.rows["cart_snapshots"], never).standing
    size = {key[0]: 0 for key in reading.listed}
    for row in standing:
        at = row.values["snapshot_at"]
        size[at] = size.get(at, 0) + (row.values["state"] == "active")
    held = {at for before, at in pairwise(sorted(size)) if size[at] < share * size[before]}
    return set(size), held


def cart_feeds_of(
    reading: Reading, subscriptions: Mapping[str, Subscription], share: Decimal
) -> tuple[CartFeeds, list[Verdict]]:
    """The cart statements that count, and what becomes of the rows."""
    all_snapshots, incomplete = incomplete_snapshots(reading, share)

    def misfit(row: Row) -> str | None:
        if row.feed == "cart_snapshots" and row.values["snapshot_at"] in incomplete:
            return "incomplete_snapshot"
        subscription = subscriptions.get(row.values["subscription_id"])
        if subscription is None:
            return "unknown_subscription"
        return None if row.values["category"] in subscription.card.priced("category") else "unknown_category"

    events = judged(reading.rows["cart_events"], misfit)
    snapshots = judged(reading.rows["cart_snapshots"], misfit)
    feeds = CartFeeds({}, {at: {} for at in all_snapshots - incomplete}, set(reading.listed))
    for row in events.standing:
        cart = (row.values["subscription_id"], row.values["cart_id"])
        feeds.events.setdefault(cart, {})[row.values["occurred_at"]] = category_of(row)
    for row in snapshots.standing:
        cart = (row.values["subscription_id"], row.values["cart_id"])
        feeds.snapshots[row.values["snapshot_at"]][cart] = category_of(row)
    for row, _ in snapshots.held:
        feeds.listed.add(row.key)
    return feeds, [events, snapshots]


def cart_statements(cart: tuple[str, str], feeds: CartFeeds) -> list[tuple[datetime, str | None]]:
    """Everything said about one cart, in order; at one instant the event wins over the snapshot."""
    events = feeds.events.get(cart, {})
    statements = []
    for at in sorted(set(events) | set(feeds.snapshots)):
        if at in events:
            statements.append((at, events[at]))
        elif cart in feeds.snapshots[at]:
            statements.append((at, feeds.snapshots[at][cart]))
        elif (at, *cart) not in feeds.listed:
            statements.append((at, None))
    return statements


def cart_changes_of(feeds: CartFeeds) -> list[CartChange]:
    """The statements that change something."""
    carts = set(feeds.events).union(*feeds.snapshots.values())
    changes = []
    for cart in sorted(carts):
        now: str | None = None
        for at, category in cart_statements(cart, feeds):
            if category != now:
                changes.append(CartChange(*cart, at, now, category))
            now = category
    return changes


# ---- prices


def price_of(price: Mapping[str, Any], quantity: int | Decimal) -> Fraction:
    """The exact price of a quantity above 0, before rounding."""
    units = Fraction(quantity)
    if "flat" in price:
        return Fraction(price["flat"])
    if "per_unit" in price:
        return Fraction(price["per_unit"]) * units
    if "package" in price:
        packages = ceil(units / Fraction(price["package"]["size"]))
        return packages * Fraction(price["package"]["price"])
    return _graduated(price["graduated"], units) if "graduated" in price else _volume(price["volume"], units)


def _graduated(tiers: Sequence[Mapping[str, str]], units: Fraction) -> Fraction:
    total = below = Fraction(0)
    for tier in tiers:
        top = Fraction(tier["up_to"]) if "up_to" in tier else units
        inside = min(units, top) - below
        if inside <= 0:
            break
        total += inside * Fraction(tier["per_unit"]) + Fraction(tier.get("flat", 0))
        below = top
    return total


def _volume(tiers: Sequence[Mapping[str, str]], units: Fraction) -> Fraction:
    for tier in tiers:
        if "up_to" not in tier or units <= Fraction(tier["up_to"]):
            return units * Fraction(tier["per_unit"]) + Fraction(tier.get("flat", 0))
    raise AssertionError("the last tier has no end")


_MINOR_UNITS = {"JPY": 0, "USD": 2, "EUR": 2, "KWD": 3}


def rounded(amount: Fraction, currency: str, rounding: str) -> Decimal:
    """An exact amount of 0 or more in whole minor units of its currency."""
    assert amount >= 0
    digits = _MINOR_UNITS[currency]
    minor, rest = divmod(amount * 10**digits, 1)
    up = {
        "half_up": rest >= Fraction(1, 2),
        "half_even": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and minor % 2 == 1),
        "down": False,
        "up": rest > 0,
    }[rounding]
    return Decimal(int(minor) + up).scaleb(-digits)
