"""Values of the feeds: instants in microseconds since 1970 (UTC), quantities and amounts as fractions, or a refusal."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?\s?(?:(Z)|([+-])(\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"(-?)(\d*)(?:\.(\d*))?", re.ASCII)
YEARS = range(1900, 9999)


@dataclass(frozen=True)
class Refused(Exception):  # noqa: N818  (it is the row's error)
    """A value that cannot be used, by SPEC's reason."""

    reason: str


def micros(at: datetime) -> int:
    """An instant as microseconds since 1970."""
    return (at - EPOCH) // TICK


def instant_text(at: int) -> str:
    """An instant for people."""
    return f"{EPOCH + at * TICK:%Y-%m-%d %H:%M:%S.%f}Z"


def bad_value() -> Refused:
    """The refusal of what cannot be understood."""
    return Refused("bad_value")


def read_instant(value: Any) -> int:
    """A time as text, a date or whole microseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _in_years(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return _in_years(micros(datetime(value.year, value.month, value.day, tzinfo=UTC)))
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise bad_value()
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, sign = int((match[7] or "").ljust(6, "0")), -1 if match[9] == "-" else 1
    hours, minutes = int(match[10] or 0), int(match[11] or 0)
    if minutes > 59 or hours > 23:
        raise bad_value()
    try:
        local = datetime(year, month, day, hour, minute, second, fraction, tzinfo=UTC)
    except ValueError:
        raise bad_value() from None
    return _in_years(micros(local) - sign * (hours * 60 + minutes) * 60 * SECOND)


_FIRST = micros(datetime(YEARS.start, 1, 1, tzinfo=UTC))
_END = micros(datetime(YEARS.stop, 1, 1, tzinfo=UTC))


def _in_years(at: int) -> int:
    if not _FIRST <= at < _END:
        raise bad_value()
    return at


def read_number(value: Any, decimals: int) -> Fraction:
    """A number of 0 or more with up to 12 digits before the point; nothing is rounded."""
    if isinstance(value, bool):
        raise bad_value()
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    match = _NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise bad_value()
    whole, part = match[2].lstrip("0"), (match[3] or "").rstrip("0")
    if match[1] and (whole or part):
        raise Refused("negative_quantity")
    if len(whole) > 12 or len(part) > decimals:
        raise bad_value()
    return Fraction(int(whole + part or "0"), 10 ** len(part))


def read_whole_number(value: Any) -> int:
    """A whole number of 0 or more."""
    if isinstance(value, bool) or re.fullmatch(r"\d{1,18}", str(value), re.ASCII) is None:
        raise bad_value()
    return int(value)


def read_flag(value: Any) -> bool:
    """`true` or `false`, in any case."""
    flag = {"true": True, "false": False}.get(str(value).lower())
    if flag is None:
        raise bad_value()
    return flag


def read_text(value: Any) -> str:
    """Text as written; whole numbers of Parquet as their digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise bad_value()
    return value
