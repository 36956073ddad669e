"""Time zones from the pinned IANA release, and the instants at which local dates begin.

The machine's own zone files are not used: the same inputs must give the same bytes everywhere.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@cache
def names() -> frozenset[str]:
    """Every zone name of the release."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@cache
def zone(name: str) -> ZoneInfo:
    """Loads a zone of the release.

    :raises KeyError: there is no such zone
    """
    if name not in names():
        raise KeyError(name)
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def midnights(name: str, first: date, last: date) -> Iterator[tuple[date, datetime]]:
    """Yields each local date of a zone, `first` to `last` inclusive, with the UTC instant at which it begins."""
    place = zone(name)
    day = first
    while day <= last:
        yield day, midnight(place, day)
        day += DAY


def midnight(place: ZoneInfo, day: date) -> datetime:
    """The first instant of a local date, in UTC.

    A midnight that a clock change skips is the first instant after it; one that comes twice is the first (SPEC 4,
    Cycles). A date that was skipped whole begins where the next one does.
    """
    early = datetime.combine(day, time.min, place)
    late = early.replace(fold=1)
    before, after = early.utcoffset(), late.utcoffset()
    assert before is not None
    assert after is not None
    instant = early.astimezone(UTC)
    if after <= before:  # an ordinary midnight, or the first of two
        return instant
    return _transition(place, late.astimezone(UTC), instant)


def _transition(place: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The instant in (before, after] from which the zone's later offset holds."""
    offset = after.astimezone(place).utcoffset()
    while after - before > SECOND:
        middle = before + (after - before) // SECOND // 2 * SECOND
        if middle.astimezone(place).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def local_date(name: str, instant: datetime) -> date:
    """The date on the clocks of a zone at an instant."""
    return instant.astimezone(zone(name)).date()
