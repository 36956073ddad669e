"""What each airline's months should cost, worked out in pandas from the flights alone.

It shares no code with usage_rating, reads neither the feeds nor the rate card, and goes another way: every
month is cut out of the flights, edges first, and counted by itself. Nothing is carried from one to the next.
"""

from decimal import Decimal
from itertools import pairwise

import pandas as pd

MONTH_EDGES = pd.date_range("2013-01-01", periods=13, freq="MS", tz="America/New_York").tz_convert("UTC")
GROUP = ["airline", "category"]

UNIT_PRICES = {"Small": Decimal("40.00"), "Large": Decimal("125.25"), "No record": Decimal("55.55")}
MEDIUM_FIRST_TEN, MEDIUM_FURTHER = Decimal("75.00"), Decimal("62.50")


def most_in_the_air(flights: pd.DataFrame) -> pd.DataFrame:
    """The most planes of each airline and category in the air at one instant of each local month of 2013.

    `flights` has airline, category, wheels_off_at and landed_at (UTC). Returns airline, category, month (1 to
    12), most (above 0) and reached_at, the first instant of the month with that many. A plane that lands at
    an instant and one that starts at it are never in the air together.
    """
    months = []
    for month, (begins, ends) in enumerate(pairwise(MONTH_EDGES), start=1):
        within = flights[(flights["wheels_off_at"] < ends) & (flights["landed_at"] > begins)]
        off, landed = within["wheels_off_at"], within["landed_at"]
        starts = within[GROUP].assign(at=off.mask(off < begins, begins), change=1)
        landings = within[GROUP].assign(at=landed.mask(landed > ends, ends), change=-1)
        changes = pd.concat([starts, landings]).groupby([*GROUP, "at"])["change"].sum()
        in_the_air = changes.groupby(level=GROUP).cumsum().rename("most").reset_index()
        # A stable sort keeps the instants in order, so the first row of a group is the first instant.
        highest = in_the_air.sort_values("most", ascending=False, kind="stable").drop_duplicates(GROUP)
        months.append(highest.rename(columns={"at": "reached_at"}).assign(month=month))
    return pd.concat(months, ignore_index=True)[["airline", "category", "month", "most", "reached_at"]]


def price(category: str, most: int) -> Decimal:
    """What a month costs for the `most` planes of a category that were in the air together, in USD."""
    if category == "Medium":
        return MEDIUM_FIRST_TEN * min(most, 10) + MEDIUM_FURTHER * max(most - 10, 0)
    return UNIT_PRICES[category] * most


def bills(most: pd.DataFrame, airlines: list[str]) -> dict[tuple[str, int], Decimal]:
    """The total of every airline and month in USD, from `most_in_the_air`; 0 where nothing flew."""
    totals = {(airline, month): Decimal(0) for airline in airlines for month in range(1, 13)}
    for row in most.to_dict("records"):
        totals[row["airline"], row["month"]] += price(row["category"], row["most"])
    return totals
