"""What each airline's miles should cost, by the month and by 30 days, worked out from the flights alone.

Like `sweep.py` it shares no code with usage_rating and reads neither the feeds nor the rate cards. Money is whole
millionths of a dollar until it is rounded, once, to cents. The limit is walked flight by flight, not by a formula.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pandas as pd

CYCLES = 13
MONTHS = [date(2013 + month // 12, month % 12 + 1, 1) for month in range(CYCLES + 1)]
DAYS_30 = [date(2013, 1, 1) + timedelta(days=30 * cycle) for cycle in range(CYCLES + 2)]

SHORT_OF = {"AS": 140_000, "F9": 140_000, "FL": 140_000, "HA": 140_000, "OO": 140_000, "YV": 140_000}
LIMIT_AT_FIRST = 300_000_000
FEE = Decimal("99.95")


class Line(NamedTuple):
    """An invoice line, with the days it is for; on which invoice it stands, the keys of `lines` say."""

    kind: str
    charge: str
    quantity: Decimal
    unit_price: Decimal | None
    amount: Decimal
    service_start: date
    service_end: date


class Limited(NamedTuple):
    """A 30-day cycle: what was counted, its exact price by charge, and what the limit took, in millionths."""

    miles: int
    departures: int
    price: dict[str, int]
    clipped: dict[str, int]

    @property
    def billed(self) -> int:
        """The running total at the cycle's end, exactly."""
        return sum(self.price.values()) - sum(self.clipped.values())

    @property
    def amount_taken(self) -> Decimal:
        """What the limit's line takes off: both usage lines are rounded, and so is the total they are brought to."""
        if not any(self.clipped.values()):
            return Decimal(0)
        return sum(map(_half_up, self.price.values()), Decimal(0)) - _half_up(self.billed)


Invoice = tuple[str, str, date]  # subscription_id, kind, cycle_start
Lines = dict[Invoice, list[Line]]
Due = tuple[str, str, Decimal, Decimal | None, Decimal]  # a line without its days


def by_month(flights: pd.DataFrame, airlines: list[str]) -> Lines:
    """The lines of every airline's 13 months: three flights of December left in January 2014."""
    cycle = _cycles(flights, MONTHS)
    grouped = flights.groupby(["airline", cycle])
    miles: dict[Any, int] = grouped["miles"].sum().to_dict()
    planes: dict[Any, int] = grouped["tail_number"].nunique().to_dict()
    lines: Lines = {}
    for airline in airlines:
        for month in range(CYCLES):
            flown = int(miles.get((airline, month), 0))
            if airline in SHORT_OF:
                due = _small_airline(flown, SHORT_OF[airline])
            else:
                due = _large_airline(flown, int(planes.get((airline, month), 0)))
            days = MONTHS[month], MONTHS[month + 1]
            lines[f"{airline}-month", "cycle", days[0]] = [Line(*line, *days) for line in due if line[2]]
    return lines


def _small_airline(miles: int, minimum: int) -> list[Due]:
    used = _half_even(miles * 5_000)
    whole = _half_even(max(miles, minimum) * 5_000)
    price = Decimal("0.005")
    return [
        ("usage", "miles", Decimal(miles), price, used),
        ("minimum", "miles", Decimal(max(minimum - miles, 0)), price, whole - used),
    ]


def _large_airline(miles: int, planes: int) -> list[Due]:
    to_a_million = min(miles, 1_000_000) * 4_500
    to_four = min(max(miles - 1_000_000, 0), 3_000_000) * 3_750 + (250_000_000 if miles > 1_000_000 else 0)
    further = max(miles - 4_000_000, 0) * 3_125
    return [
        ("usage", "miles", Decimal(miles), None, _half_even(to_a_million + to_four + further)),
        ("usage", "planes", Decimal(planes), Decimal("1.15"), _half_even(planes * 1_150_000)),
    ]


def limited_cycles(
    flights: pd.DataFrame, agreed: Iterable[tuple[str, str, str]], airlines: list[str]
) -> dict[tuple[str, int], Limited]:
    """Each airline's 13 cycles of 30 days, walked flight by flight under the limit in force at its start.

    `agreed` says who raised the limit, when, and to how many dollars, in order of time for each airline.
    """
    ordered = flights.assign(cycle=_cycles(flights, DAYS_30)).sort_values(["wheels_off_at", "flight_id"])
    flown: dict[tuple[str, int], list[tuple[pd.Timestamp, int]]] = defaultdict(list)
    columns = (ordered[column] for column in ("airline", "cycle", "wheels_off_at", "miles"))
    for airline, cycle, at, miles in zip(*columns, strict=True):
        flown[airline, cycle].append((at, miles))
    raises: dict[str, list[tuple[pd.Timestamp, int]]] = defaultdict(list)
    for airline, at, dollars in agreed:
        raises[airline].append((pd.Timestamp(at), int(Decimal(dollars) * 1_000_000)))
    return {
        (airline, cycle): _walk(flown[airline, cycle], raises[airline])
        for airline in airlines
        for cycle in range(CYCLES)
    }


def _walk(flown: Sequence[tuple[pd.Timestamp, int]], raises: Sequence[tuple[pd.Timestamp, int]]) -> Limited:
    price = {"miles": 0, "departures": 0}
    clipped = {"miles": 0, "departures": 0}
    total_miles, billed, limit, agreed = 0, 0, LIMIT_AT_FIRST, 0
    for at, miles in flown:
        while agreed < len(raises) and raises[agreed][0] <= at:
            limit = raises[agreed][1]
            agreed += 1
        cheap = min(max(total_miles + miles - 1_000_000, 0), miles)
        total_miles += miles
        for charge, worth in (("miles", (miles - cheap) * 2_500 + cheap * 1_875), ("departures", 50_000)):
            taken = min(worth, limit - billed)
            billed += taken
            price[charge] += worth
            clipped[charge] += worth - taken
    return Limited(total_miles, len(flown), price, clipped)


def by_30_days(cycles: dict[tuple[str, int], Limited]) -> Lines:
    """The lines of every `opening` and `cycle` invoice, of `limited_cycles`: the fee is the next cycle's."""
    lines: Lines = {}
    for (airline, cycle), limited in cycles.items():
        begins, ends, next_ends = DAYS_30[cycle : cycle + 3]
        subscription = f"{airline}-30-days"
        if cycle == 0:
            lines[subscription, "opening", begins] = [Line("recurring", "fee", Decimal(1), FEE, FEE, begins, ends)]
        price = limited.price
        counted = [
            Line("usage", "miles", Decimal(limited.miles), None, _half_up(price["miles"]), begins, ends),
            Line(
                "usage",
                "departures",
                Decimal(limited.departures),
                Decimal("0.05"),
                _half_up(price["departures"]),
                begins,
                ends,
            ),
        ]
        due = [line for line in counted if line.quantity]
        if limited.amount_taken:
            due.append(
                Line("spending_limit", "spending_limit", Decimal(1), None, -limited.amount_taken, begins, ends),
            )
        due.append(Line("recurring", "fee", Decimal(1), FEE, FEE, ends, next_ends))
        lines[subscription, "cycle", begins] = due
    return lines


def lost(limited: Limited) -> dict[str, Decimal]:
    """What the limit took from each charge, in cents: the charge that lost more takes what rounding leaves over."""
    more, less = sorted(limited.clipped, key=lambda charge: -limited.clipped[charge])
    other = _half_up(limited.clipped[less])
    return {more: limited.amount_taken - other, less: other}


def _cycles(flights: pd.DataFrame, begins: list[date]) -> pd.Series:
    """Which cycle each flight starts in, the first being 0; cycles begin at New York's midnights."""
    edges = pd.DatetimeIndex([pd.Timestamp(day, tz="America/New_York") for day in begins]).tz_convert("UTC")
    return pd.Series(edges.searchsorted(flights["wheels_off_at"], side="right") - 1, index=flights.index, name="cycle")


def _half_up(millionths: int) -> Decimal:
    return Decimal((millionths + 5_000) // 10_000).scaleb(-2)


def _half_even(millionths: int) -> Decimal:
    cents, rest = divmod(millionths, 10_000)
    return Decimal(cents + (rest > 5_000 or (rest == 5_000 and cents % 2 == 1))).scaleb(-2)
