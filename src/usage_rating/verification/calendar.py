"""Zones, local dates and billing cycles."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from usage_rating.verification.values import EPOCH, TICK, micros

DAY = timedelta(days=1)


@cache
def zone_names() -> frozenset[str]:
    """Every IANA name, of the package's own edition and not the machine's."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@cache
def zone(name: str) -> ZoneInfo:
    """A zone's rules, of the package's own edition."""
    place = resources.files("tzdata").joinpath("zoneinfo")
    for part in name.split("/"):
        place = place.joinpath(part)
    with place.open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


@cache
def first_instant(day: date, zone_name: str) -> int:
    """When a date begins: its midnight, the first of two, or the end of the gap that swallowed it."""
    place = zone(zone_name)
    midnight = datetime.combine(day, time())
    first, second = (micros(midnight.replace(tzinfo=place, fold=fold).astimezone(UTC)) for fold in (0, 1))
    if _clock(first, place) == midnight:
        return first
    low, high = second, first  # in a gap the later offset gives an instant before it: the clocks change in (low, high]
    before = _offset(low, place)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, place) == before else (low, middle)
    return high


def _clock(at: int, place: ZoneInfo) -> datetime:
    return (EPOCH + at * TICK).astimezone(place).replace(tzinfo=None, fold=0)


def _offset(at: int, place: ZoneInfo) -> timedelta | None:
    return (EPOCH + at * TICK).astimezone(place).utcoffset()


@lru_cache(maxsize=100_000)
def local_date(at: int, zone_name: str) -> date:
    """The date whose span, from its first midnight to the next date's, holds the instant."""
    day = _clock(at, zone(zone_name)).date() + 2 * DAY
    while first_instant(day, zone_name) > at:
        day -= DAY
    return day


def months_later(day: date, months: int) -> date:
    """The same day some months later, held to the month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    following = date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (following - DAY).day))


@dataclass(frozen=True)
class Cycle:
    """A billing cycle: its dates and instants, half open, and the days that a whole one has."""

    start: date
    end: date
    starts_at: int
    ends_at: int
    whole_days: int
    is_short: bool

    @property
    def days(self) -> int:
        """The days in it."""
        return (self.end - self.start).days


@dataclass
class Cycles:
    """The cycles of a subscription, counted from an anchor; `is_calendar` ones begin at firsts of a month."""

    anchor: date
    count: int
    is_months: bool
    is_calendar: bool
    zone_name: str
    made: dict[int, Cycle] = field(default_factory=dict)

    def _start(self, number: int) -> date:
        if self.is_calendar:
            return months_later(self.anchor.replace(day=1), number * self.count) if number else self.anchor
        if self.is_months:
            return months_later(self.anchor, number * self.count)
        return self.anchor + number * self.count * DAY

    def cycle(self, number: int) -> Cycle:
        """The cycle of a number; that of the anchor is 0."""
        if number not in self.made:
            start, end = self._start(number), self._start(number + 1)
            is_short = self.is_calendar and number == 0 and start.day != 1
            whole = (end - start.replace(day=1)).days if is_short else (end - start).days
            starts_at, ends_at = first_instant(start, self.zone_name), first_instant(end, self.zone_name)
            self.made[number] = Cycle(start, end, starts_at, ends_at, whole, is_short)
        return self.made[number]

    def number_at(self, at: int) -> int:
        """The number of the cycle that holds an instant."""
        day = local_date(at, self.zone_name)
        if self.is_months:
            number = ((day.year - self.anchor.year) * 12 + day.month - self.anchor.month) // self.count
        else:
            number = (day - self.anchor).days // self.count
        while self.cycle(number).starts_at > at:
            number -= 1
        while self.cycle(number).ends_at <= at:
            number += 1
        return number

    def at(self, at: int) -> Cycle:
        """The cycle that holds an instant."""
        return self.cycle(self.number_at(at))
