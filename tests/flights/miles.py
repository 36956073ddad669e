"""The same flights as usage: a flight is an event, its miles the quantity, its start the instant.

Each airline has two subscriptions, so each flight has a row for both: one is billed by the month of New York, with
a minimum for small airlines, the other by 30 days, under a spending limit. The README.md beside this file has the why.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.flights.feeds import YEAR_BEGINS, accounts, write_rate_card, write_rows

SMALL = frozenset({"AS", "F9", "FL", "HA", "OO", "YV"})

BY_MONTH = """\
rate_card: miles-by-month
version: 1
effective_from: 2013-01-01
reason: Made-up prices, for real flights.
currency: USD
time_zone: America/New_York
cycle: {every: 1 month, anchor: account_created}
rounding: half_even
plans:
  large:
    miles:
      kind: usage
      meter: miles
      aggregation: sum
      price:
        graduated:
          - {up_to: "1000000", per_unit: "0.0045"}
          - {up_to: "4000000", per_unit: "0.00375", flat: "250.00"}
          - {per_unit: "0.003125"}
    planes: {kind: usage, meter: miles, aggregation: unique, price: {per_unit: "1.15"}}
  small:
    miles:
      kind: usage
      meter: miles
      aggregation: sum
      price: {per_unit: "0.005"}
      minimum: {quantity: "140000"}
"""

BY_30_DAYS = """\
rate_card: miles-by-30-days
version: 1
effective_from: 2013-01-01
reason: Made-up prices, for real flights.
currency: USD
time_zone: America/New_York
cycle: {every: 30 days, anchor: subscription_started}
payment_days: 10
spending_limit: {default: "300.00", alert_at: ["0.9", "1"]}
plans:
  airline:
    fee: {kind: recurring, bill: advance, price: {flat: "99.95"}}
    miles:
      kind: usage
      meter: miles
      aggregation: sum
      price: {graduated: [{up_to: "1000000", per_unit: "0.0025"}, {per_unit: "0.001875"}]}
    departures: {kind: usage, meter: miles, aggregation: count, price: {per_unit: "0.05"}}
"""

# Who agreed to a higher limit, when, and to how much; some more than once, in mid-cycle.
LIMITS_AGREED = (
    ("9E", "2013-01-01T05:00Z", "2000.00"),
    ("9E", "2013-08-20T16:30Z", "2400.00"),
    ("AA", "2013-01-01T05:00Z", "5000.00"),
    # One of its planes starts at this very minute, days after the limit was reached.
    ("AA", "2013-01-24T20:30Z", "5600.00"),
    ("B6", "2013-01-01T05:00Z", "8000.00"),
    # The instant at which a cycle begins; from then on it is never reached.
    ("B6", "2013-05-31T04:00Z", "20000.00"),
    ("DL", "2013-01-01T05:00Z", "4000.00"),
    # Twice in one cycle; the second at the very minute at which one of its planes starts.
    ("DL", "2013-06-20T09:00Z", "5000.00"),
    ("DL", "2013-06-26T21:15Z", "7500.00"),
    ("EV", "2013-01-12T17:00Z", "4000.00"),
    ("FL", "2013-02-10T00:00Z", "450.00"),
    # The very minute at which the 28th flight of the cycle starts.
    ("HA", "2013-01-28T13:56Z", "340.00"),
    ("MQ", "2013-01-01T05:00Z", "2950.00"),
    ("UA", "2013-01-01T05:00Z", "6000.00"),
    ("UA", "2013-03-20T12:00Z", "9000.00"),
    # The second 01:30 of the night on which the clocks go back.
    ("UA", "2013-11-03T06:30Z", "12000.00"),
    ("US", "2013-01-01T05:00Z", "2500.00"),
    ("VX", "2013-01-01T05:00Z", "3000.00"),
    ("WN", "2013-01-01T05:00Z", "2600.00"),
)


def usage(used: pd.DataFrame, ending: str) -> pd.DataFrame:
    """A row a flight, in order of time, for the subscription of its airline that has this ending."""
    rows = pd.DataFrame(
        {
            "subscription_id": used["airline"] + ending,
            "event_id": used["flight_id"],
            "meter": "miles",
            "quantity": used["miles"],
            "occurred_at": used["wheels_off_at"],
            "value": used["tail_number"],
        }
    )
    return rows.sort_values(["occurred_at", "event_id"])


def write_usage_feeds(used: pd.DataFrame, folder: Path) -> None:
    """Fills `folder` with accounts, two subscriptions each, usage, agreed limits and the two rate cards."""
    write_rows(accounts(), folder / "accounts" / "airlines.csv")
    write_rows(_subscriptions(), folder / "subscriptions" / "airlines.csv")
    limits = pd.DataFrame(LIMITS_AGREED, columns=["subscription_id", "agreed_at", "limit_amount"])
    limits["subscription_id"] += "-30-days"
    write_rows(limits, folder / "spending_limits" / "agreed.csv")
    half = pd.Timestamp("2013-07-01", tz="UTC")
    for ending, halves in (("-month", ("1.csv", "2.parquet")), ("-30-days", ("1.parquet", "2.csv"))):
        rows = usage(used, ending)
        is_first = rows["occurred_at"] < half
        for part, name in zip((rows[is_first], rows[~is_first]), halves, strict=True):
            write_rows(part, folder / "usage" / f"by{ending}" / f"2013-half-{name}")
    write_rate_card(BY_MONTH, folder / "rate_cards" / "miles-by-month.v1.yaml")
    write_rate_card(BY_30_DAYS, folder / "rate_cards" / "miles-by-30-days.v1.yaml")


def _subscriptions() -> pd.DataFrame:
    airlines = accounts()["account_id"]
    monthly = pd.DataFrame(
        {
            "subscription_id": airlines + "-month",
            "account_id": airlines,
            "rate_card": "miles-by-month",
            "plan": np.where(airlines.isin(SMALL), "small", "large"),
        }
    )
    limited = pd.DataFrame(
        {
            "subscription_id": airlines + "-30-days",
            "account_id": airlines,
            "rate_card": "miles-by-30-days",
            "plan": "airline",
        }
    )
    return pd.concat([monthly, limited]).assign(effective_at=YEAR_BEGINS.isoformat(), event="started")
