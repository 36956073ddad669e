"""Figures as a person reads them, and such that each can be worked out again from the text: exact, or marked as cut."""

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from usage_rating.rate_cards import RateCard

CUT_TO = 10  # decimals of a figure that has no end
CUT = "..."
ROUNDINGS = {
    "half_up": "half up",
    "half_even": "half to even",
    "down": "down, to zero",
    "up": "up, away from zero",
}


def plain(value: Fraction | Decimal | int, decimals: int = 0) -> str:
    """A figure with thousands set apart and at least so many decimals; one without an end is cut and ends in `...`."""
    exact = Fraction(value)
    sign, size = ("-" if exact < 0 else ""), abs(exact)
    for places in range(decimals, 19):
        if (size * 10**places).denominator == 1:
            return sign + _digits(int(size * 10**places), places)
    return f"{sign}{_digits(int(size * 10**CUT_TO), CUT_TO)}{CUT}"


def _digits(units: int, places: int) -> str:
    whole, rest = divmod(units, 10**places)
    return f"{whole:,}" + (f".{rest:0{places}d}" if places else "")


def money(value: Fraction | Decimal, card: RateCard) -> str:
    """An amount with at least its currency's decimals."""
    return plain(value, card.minor_digits)


def in_brackets(text: str) -> str:
    """A figure below 0 in brackets, to stand behind a sign."""
    return f"({text})" if text.startswith("-") else text


def added(parts: list[str]) -> str:
    """Figures with plus signs between."""
    return " + ".join(in_brackets(part) for part in parts)


def rounded(value: Fraction, card: RateCard) -> Fraction:
    """An amount in the currency's minor units, as the card rounds."""
    scale = 10**card.minor_digits
    units, rest = divmod(abs(value) * scale, 1)
    half = Fraction(1, 2)
    goes_up = {
        "half_up": rest >= half,
        "half_even": rest > half or (rest == half and units % 2 == 1),
        "down": False,
        "up": rest > 0,
    }[card.rounding]
    size = Fraction(units + goes_up, scale)
    return -size if value < 0 else size


def rounding(value: Fraction, card: RateCard) -> list[str]:
    """How an amount is rounded, in a sentence; none where there is nothing to round."""
    result = rounded(value, card)
    if result == value:
        return []
    digits = card.minor_digits
    return [
        f"{plain(value)} rounded {ROUNDINGS[card.rounding]} to {digits} decimal{'' if digits == 1 else 's'}: "
        f"{money(result, card)}"
    ]


def instant(at: datetime) -> str:
    """An instant in UTC, without parts of a second where there are none."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')} UTC"


def span(first: date, until: date) -> str:
    """A span of days as invoices name it: the last day is not in it."""
    return f"{first} to {until}"


def lasting(seconds: Fraction) -> str:
    """How long something lasted, in words."""
    left = int(seconds)
    parts = []
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        number, left = divmod(left, size)
        parts += [f"{number:,} {name}{'' if number == 1 else 's'}"] if number else []
    rest = left + (seconds - int(seconds))
    parts += [f"{plain(rest)} second{'' if rest == 1 else 's'}"] if rest or not parts else []
    return ", ".join(parts)


def seconds_between(first: datetime, last: datetime) -> Fraction:
    """Exactly: to the microsecond."""
    passed = last - first
    return Fraction(passed.days * 86_400 + passed.seconds) + Fraction(passed.microseconds, 1_000_000)


def microseconds(at: datetime) -> int:
    """Since the epoch, exactly."""
    passed = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def text_of(value: Any) -> str:
    """A row's value as text: exact, and an instant in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ") + "Z"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return plain(value).replace(",", "")
    return str(value)
