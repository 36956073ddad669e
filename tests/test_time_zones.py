"""The start of a local date, by its definition: the first instant at which clocks show that date or a later one."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest

from usage_rating import time_zones

SECOND, MINUTE, DAY, FORTNIGHT = (timedelta(seconds=seconds) for seconds in (1, 60, 86_400, 14 * 86_400))
FROM, UNTIL = datetime(1990, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


def offset(place: ZoneInfo, instant: datetime) -> timedelta:
    """How far a zone's clocks are ahead of UTC."""
    ahead = instant.astimezone(place).utcoffset()
    assert ahead is not None
    return ahead


def clock_changes(place: ZoneInfo) -> Iterator[datetime]:
    """The instants at which a zone's offset changes, found by halving each fortnight over which it did."""
    fortnights = [FROM + FORTNIGHT * number for number in range((UNTIL - FROM) // FORTNIGHT)]
    for before, after in pairwise(fortnights):
        if offset(place, before) == offset(place, after):
            continue
        early, late = before, after
        while late - early > SECOND:
            middle = early + (late - early) // SECOND // 2 * SECOND
            early, late = (middle, late) if offset(place, middle) == offset(place, before) else (early, middle)
        yield late


def by_pieces(day: date, pieces: list[tuple[datetime, timedelta]]) -> datetime:
    """The definition over spans of one offset each, given by their starts."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    ends = [start for start, _ in pieces[1:]] + [UNTIL]
    for (start, ahead), end in zip(pieces, ends, strict=True):
        first = max(start, midnight - ahead)
        if first < end:
            return first
    raise AssertionError("the pieces end too soon")


def by_walking(place: ZoneInfo, day: date) -> datetime:
    """The definition, instant by instant: from well before, a second at a time where a minute is too coarse."""
    instant = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=16)
    while instant.astimezone(place).date() < day:
        instant += MINUTE
    instant -= MINUTE
    while instant.astimezone(place).date() < day:
        instant += SECOND
    return instant


def test_every_zone_around_every_clock_change_since_1990() -> None:
    """All zones of the release, each date that a change touches; those with the same clocks only once."""
    seen, dates = set(), 0
    for name in sorted(time_zones.names()):
        place = time_zones.zone(name)
        changes = list(clock_changes(place))
        pieces = [(change, offset(place, change)) for change in [FROM, *changes]]
        if tuple(pieces) in seen:
            continue
        seen.add(tuple(pieces))
        near = {change.date() + DAY * days for change in changes[1:-1] for days in (-1, 0, 1)}
        wrong = [day for day in near if time_zones.midnight(place, day) != by_pieces(day, pieces)]
        assert not wrong, (name, sorted(wrong))
        dates += len(near)
    assert (len(seen), dates) > (150, 10_000)


def test_dates_drawn_at_random_and_walked_to() -> None:
    random, names = Random(2024), sorted(time_zones.names())  # noqa: S311
    for _ in range(25):
        name, day = random.choice(names), date(1990, 1, 1) + DAY * random.randrange(14_000)
        assert time_zones.midnight(time_zones.zone(name), day) == by_walking(time_zones.zone(name), day), (name, day)


@pytest.mark.parametrize(
    ("name", "day", "first"),
    [
        ("America/New_York", "2024-03-10", "2024-03-10T05:00Z"),
        ("America/New_York", "2024-03-11", "2024-03-11T04:00Z"),
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00Z"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00Z"),  # never shown by a clock: it begins where the 31st does
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00Z"),
        ("America/Havana", "2024-11-03", "2024-11-03T04:00Z"),  # 1:00 turns back to 0:00: two midnights
        ("America/Havana", "2024-03-10", "2024-03-10T05:00Z"),  # 0:00 turns to 1:00: no midnight
        ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00Z"),
        ("Asia/Beirut", "2024-10-27", "2024-10-26T22:00Z"),  # 0:00 turns back to 23:00 before it is shown
        ("Australia/Lord_Howe", "2024-04-08", "2024-04-07T13:30Z"),
        ("Australia/Lord_Howe", "2024-10-07", "2024-10-06T13:00Z"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00Z"),
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00Z"),
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30Z"),  # 0:01 turns back to 23:01: the date begins twice
        ("America/St_Johns", "2010-03-14", "2010-03-14T03:30Z"),
        ("Africa/Casablanca", "2024-03-10", "2024-03-09T23:00Z"),
        ("Asia/Kathmandu", "2024-01-01", "2023-12-31T18:15Z"),
        ("Etc/GMT+12", "2024-01-01", "2024-01-01T12:00Z"),
        ("Pacific/Kiritimati", "1994-12-31", "1994-12-31T10:00Z"),  # skipped whole
    ],
)
def test_named_dates(name: str, day: str, first: str) -> None:
    """Worked out by hand from the rules of each zone."""
    place = time_zones.zone(name)
    assert time_zones.midnight(place, date.fromisoformat(day)) == datetime.fromisoformat(first)
    assert by_walking(place, date.fromisoformat(day)) == datetime.fromisoformat(first)


def test_midnights_are_one_a_date_and_never_go_back() -> None:
    listed = list(time_zones.midnights("Pacific/Apia", date(2011, 12, 28), date(2012, 1, 2)))
    assert [day.day for day, _ in listed] == [28, 29, 30, 31, 1, 2]
    instants = [instant for _, instant in listed]
    assert instants == sorted(instants)
    assert list(time_zones.midnights("UTC", date(2024, 1, 2), date(2024, 1, 1))) == []


def test_local_date_is_what_the_clock_shows() -> None:
    """Also where the clock has gone back over midnight: 00:15 came, then 23:15 the second time."""
    later = datetime(2010, 11, 7, 2, 45, tzinfo=UTC)
    assert time_zones.local_date("America/St_Johns", later) == date(2010, 11, 6)
    assert time_zones.local_date("America/St_Johns", datetime(2010, 11, 7, 2, 30, 30, tzinfo=UTC)) == date(2010, 11, 7)


def test_zones_are_those_of_the_pinned_release() -> None:
    assert {"Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires"} <= time_zones.names()
    for name in ("Mars/Olympus", "../UTC", "europe/berlin", ""):
        with pytest.raises(KeyError):
            time_zones.zone(name)
