"""A night opens the usage rows it has to look at, and no others; what it bills is as if it had opened all."""

from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.folders import ACCOUNTS, SUBSCRIPTIONS, bill, copied, csv_text, rows, settings_of, write
from usage_rating import originals, usage_at_hand
from usage_rating.errors import BadInput
from usage_rating.night import Night
from usage_rating.store import PARQUET_END

USAGE = "subscription_id,event_id,meter,quantity,occurred_at"
REVISED = f"{USAGE},revision,voided"
CARD = """\
rate_card: calls
version: 1
effective_from: 2023-01-01
reason: First price list.
currency: USD
time_zone: UTC
cycle: {every: 1 month, anchor: account_created}
plans:
  basic:
    calls: {kind: usage, meter: calls, aggregation: sum, price: {per_unit: "1.00"}}
  flat:
    calls: {kind: usage, meter: calls, aggregation: sum, price: {per_unit: "2.00"}}
"""
FEBRUARY, MARCH, APRIL = date(2024, 2, 1), date(2024, 3, 1), date(2024, 4, 1)
DAY_AFTER = date(2024, 3, 2)  # a night with nothing new at all rates nothing
TOTALS = "select cycle_start, sum(total) from invoices group by all order by all"
OUTCOMES = "select feed, file, row_number, status, reason from rejected_rows order by all"


def usage(*events: str) -> str:
    return csv_text(USAGE, *(f"S1,{event}" for event in events))


CUSTOMER = {
    "rate_cards/calls.v1.yaml": CARD,
    "accounts/1.csv": csv_text(ACCOUNTS, "A1,2024-01-01,UTC"),
    "subscriptions/1.csv": csv_text(SUBSCRIPTIONS, "S1,2024-01-01,A1,calls,basic,started"),
    "usage/1.csv": usage("jan-1,calls,1,2024-01-10", "jan-2,calls,2,2024-01-20"),
}


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """January and February are issued: 3 and 30 calls; March has begun, with 300."""
    folder = tmp_path_factory.mktemp("two_nights")
    bill(folder, FEBRUARY, CUSTOMER)
    bill(folder, MARCH, {"usage/2.csv": usage("feb-1,calls,30,2024-02-10")})
    bill(folder, MARCH, {"usage/3.csv": usage("mar-1,calls,300,2024-03-01")})
    return folder


@pytest.fixture
def billed(two_nights: Path, tmp_path: Path) -> Path:
    """A folder of its own with those nights."""
    return copied(two_nights, tmp_path)


def rows_at_hand(folder: Path, as_of: date) -> tuple[list[Any], list[Any]]:
    """The events that a night has at hand, and those of earlier runs that it opens besides; nothing is published."""
    with Night(settings_of(folder, as_of)) as night:
        night.ingest()
        night.rate()
        at_hand, kept = (
            sorted(night.relation(name).column("event_id").to_pylist()) for name in ("usage_at_hand", "usage_kept")
        )
    return at_hand, kept


def zeroed(content: bytes) -> bytes:
    """Nothing can be read of it, though it has the length and the end of a Parquet file."""
    return bytes(len(content) - len(PARQUET_END)) + PARQUET_END


def damage(folder: Path, run_number: int) -> Path:
    """Overwrites what a run kept of usage; of the same length, so that only its bytes tell."""
    path = (folder / "output/current").resolve() / f"kept/usage/{run_number:06d}.parquet"
    path.write_bytes(zeroed(path.read_bytes()))
    return path


def test_a_night_without_usage_opens_none(billed: Path) -> None:
    assert rows_at_hand(billed, DAY_AFTER) == ([], [])


def test_new_rows_are_at_hand_and_of_a_cycle_that_falls_due_a_sum_is_kept(billed: Path) -> None:
    write(billed / "input", {"usage/4.csv": usage("mar-2,calls,7,2024-03-31")})
    assert rows_at_hand(billed, APRIL) == (["mar-2"], [])
    bill(billed, APRIL)
    assert rows(billed, TOTALS)[-1] == (date(2024, 3, 1), Decimal(307))


def test_a_late_row_opens_the_cycle_it_falls_into(billed: Path) -> None:
    write(billed / "input", {"usage/4.csv": usage("jan-3,calls,4,2024-01-15")})
    assert rows_at_hand(billed, MARCH) == (["jan-3"], ["jan-1", "jan-2"])
    bill(billed, MARCH)
    assert rows(billed, TOTALS) == [(date(2024, 1, 1), Decimal(7)), (date(2024, 2, 1), Decimal(30))]


def test_a_file_that_is_not_asked_for_is_not_read(billed: Path) -> None:
    damage(billed, 1)
    assert bill(billed, MARCH, {"usage/4.csv": usage("mar-2,calls,5,2024-03-01")}).run_id == "000004"


def test_a_file_that_is_asked_for_is_held_against_its_hash(billed: Path) -> None:
    path = damage(billed, 1)
    with pytest.raises(BadInput, match=f"{path}: is not as it was written"):
        bill(billed, MARCH, {"usage/4.csv": usage("jan-3,calls,4,2024-01-15")})
    assert rows(billed, "select count(*) from runs") == [(3,)]


def test_a_repeat_of_an_old_row_adds_nothing_and_both_are_settled(billed: Path) -> None:
    bill(billed, MARCH, {"usage/4.csv": usage("jan-1,calls,1,2024-01-10", "mar-2,calls,5,2024-03-01")})
    assert rows(billed, TOTALS) == [(date(2024, 1, 1), Decimal(3)), (date(2024, 2, 1), Decimal(30))]
    assert rows_at_hand(billed, DAY_AFTER) == ([], [])
    bill(billed, APRIL)
    assert rows(billed, TOTALS)[-1] == (date(2024, 3, 1), Decimal(305))


def test_a_revision_moves_an_old_row_to_another_cycle(billed: Path) -> None:
    write(billed / "input", {"usage/4.csv": csv_text(REVISED, "S1,jan-1,calls,1,2024-02-15,1,false")})
    bill(billed, MARCH)
    assert rows(billed, TOTALS) == [(date(2024, 1, 1), Decimal(2)), (date(2024, 2, 1), Decimal(31))]


def test_a_late_change_of_plan_looks_at_the_rows_after_it_again(billed: Path) -> None:
    write(
        billed / "input", {"subscriptions/2.csv": csv_text(SUBSCRIPTIONS, "S1,2024-02-02,A1,calls,flat,plan_changed")}
    )
    assert rows_at_hand(billed, MARCH) == (["feb-1", "mar-1"], [])
    bill(billed, MARCH)
    assert rows(billed, TOTALS) == [(date(2024, 1, 1), Decimal(3)), (date(2024, 2, 1), Decimal(60))]


def test_a_late_cancellation_holds_the_rows_after_it(billed: Path) -> None:
    write(billed / "input", {"subscriptions/2.csv": csv_text(SUBSCRIPTIONS, "S1,2024-02-05,A1,calls,basic,cancelled")})
    bill(billed, MARCH)
    assert rows(billed, TOTALS) == [(date(2024, 1, 1), Decimal(3)), (date(2024, 2, 1), Decimal(0))]
    assert rows(billed, OUTCOMES) == [
        ("usage", "usage/2.csv", 1, "held", "outside_subscription"),
        ("usage", "usage/3.csv", 1, "held", "outside_subscription"),
    ]
    assert rows_at_hand(billed, DAY_AFTER) == (["feb-1", "mar-1"], [])


def test_other_code_looks_at_every_row_again(billed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_at_hand, "code_hash", lambda: "other")
    assert rows_at_hand(billed, DAY_AFTER) == (["feb-1", "jan-1", "jan-2", "mar-1"], [])


def test_a_folder_without_what_a_night_goes_by_is_looked_at_whole_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions before this one wrote it."""
    with monkeypatch.context() as before:
        before.setattr(usage_at_hand.UsageAtHand, "to_keep", lambda self: [])
        bill(tmp_path, FEBRUARY, CUSTOMER)
        bill(tmp_path, MARCH, {"usage/2.csv": usage("feb-1,calls,30,2024-02-10")})
    write(tmp_path / "input", {"usage/3.csv": usage("jan-1,calls,1,2024-01-10")})
    assert rows_at_hand(tmp_path, MARCH) == (["feb-1", "jan-1", "jan-1", "jan-2"], [])
    bill(tmp_path, MARCH)
    write(tmp_path / "input", {"usage/4.csv": usage("feb-1,calls,30,2024-02-10", "jan-3,calls,4,2024-01-15")})
    assert rows_at_hand(tmp_path, MARCH) == (["feb-1", "feb-1", "jan-3"], ["jan-1", "jan-1", "jan-2"])
    bill(tmp_path, MARCH)
    assert rows(tmp_path, TOTALS) == [(date(2024, 1, 1), Decimal(7)), (date(2024, 2, 1), Decimal(30))]


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """January has begun, and of each meter two rows are read: one by its highest quantity, one by how many values."""
    card = CARD.replace(
        "  flat:",
        '    seats: {kind: usage, meter: seats, aggregation: max, price: {per_unit: "10.00"}}\n'
        '    users: {kind: usage, meter: users, aggregation: unique, price: {per_unit: "100.00"}}\n'
        "  flat:",
    )
    seats = ("s-1,seats,3,2024-01-05,", "s-2,seats,8,2024-01-06,")
    users = ("u-1,users,1,2024-01-07,ann", "u-2,users,1,2024-01-08,bob")
    header = f"{USAGE},value"
    files = {"rate_cards/calls.v1.yaml": card, "usage/1.csv": csv_text(header, *(f"S1,{x}" for x in (*seats, *users)))}
    bill(tmp_path, date(2024, 1, 9), CUSTOMER | files)
    return tmp_path


def test_values_are_opened_where_a_charge_counts_unique_ones(measured: Path) -> None:
    write(measured / "input", {"usage/2.csv": csv_text(f"{USAGE},value", "S1,u-3,users,1,2024-01-09,ann")})
    assert rows_at_hand(measured, FEBRUARY) == (["u-3"], ["u-1", "u-2"])
    bill(measured, FEBRUARY)
    assert rows(measured, TOTALS) == [(date(2024, 1, 1), Decimal(280))]


@pytest.mark.parametrize(
    ("row", "opened", "total"),
    [
        pytest.param("s-2,seats,5,2024-01-06,1", ["s-1", "s-2", "u-1", "u-2"], 250, id="the highest one"),
        pytest.param("s-1,seats,5,2024-01-05,1", ["u-1", "u-2"], 280, id="another one"),
    ],
)
def test_rows_are_added_up_anew_where_the_highest_quantity_is_revised(
    measured: Path, row: str, opened: list[str], total: int
) -> None:
    """8 seats were the most; a higher revision of that row leaves what only the rows themselves tell."""
    write(measured / "input", {"usage/2.csv": csv_text(f"{USAGE},revision", f"S1,{row}")})
    assert rows_at_hand(measured, FEBRUARY)[1] == opened
    bill(measured, FEBRUARY)
    assert rows(measured, TOTALS) == [(date(2024, 1, 1), Decimal(total))]


def test_a_sum_is_less_what_is_revised_and_voided_in_the_nights_after(billed: Path) -> None:
    revised = csv_text(REVISED, "S1,mar-1,calls,100,2024-03-01,1,false", "S1,mar-3,calls,5,2024-03-03,0,false")
    bill(billed, MARCH, {"usage/4.csv": revised})
    bill(billed, MARCH, {"usage/5.csv": csv_text(REVISED, "S1,mar-3,calls,5,2024-03-03,1,true")})
    assert rows_at_hand(billed, APRIL) == ([], [])
    bill(billed, APRIL)
    assert rows(billed, TOTALS)[-1] == (date(2024, 3, 1), Decimal(100))


def test_nothing_is_left_of_a_plan_whose_only_row_was_voided(billed: Path) -> None:
    bill(billed, MARCH, {"subscriptions/2.csv": csv_text(SUBSCRIPTIONS, "S1,2024-03-02,A1,calls,flat,plan_changed")})
    bill(billed, MARCH, {"usage/4.csv": csv_text(REVISED, "S1,mar-1,calls,300,2024-03-01,1,true")})
    bill(billed, APRIL)
    counted = "select plan, charge, quantity from usage_history where cycle_start = date '2024-03-01' order by all"
    assert rows(billed, counted) == [("flat", "calls", Decimal(0))]


def test_the_order_of_rows_is_asked_for_where_a_limit_or_an_untold_threshold_may_be_reached(tmp_path: Path) -> None:
    """The limit is 400, and half of it is told of: 150 are far from both, 250 are told of once, 500 are clipped."""
    card = CARD.replace("plans:", 'spending_limit: {default: "400.00", alert_at: ["0.5"]}\nplans:')
    limited = {"rate_cards/calls.v1.yaml": card, "usage/1.csv": usage("jan-1,calls,150,2024-01-10")}
    bill(tmp_path, date(2024, 1, 11), CUSTOMER | limited)
    write(tmp_path / "input", {"usage/2.csv": usage("jan-2,calls,100,2024-01-12")})
    assert rows_at_hand(tmp_path, date(2024, 1, 13)) == (["jan-2"], ["jan-1"])
    bill(tmp_path, date(2024, 1, 13))
    assert rows(tmp_path, "select threshold, event_id from alerts") == [(Decimal("0.5"), "jan-2")]
    write(tmp_path / "input", {"usage/3.csv": usage("jan-3,calls,10,2024-01-14")})
    assert rows_at_hand(tmp_path, date(2024, 1, 15)) == (["jan-3"], [])
    bill(tmp_path, date(2024, 1, 15), {"usage/4.csv": usage("jan-4,calls,240,2024-01-15")})
    assert rows_at_hand(tmp_path, FEBRUARY) == ([], ["jan-1", "jan-2", "jan-3", "jan-4"])
    bill(tmp_path, FEBRUARY)
    assert rows(tmp_path, TOTALS) == [(date(2024, 1, 1), Decimal(400))]
    assert len(rows(tmp_path, "from alerts")) == 1


def parquet(*events: tuple[str, int, datetime]) -> bytes:
    """Usage rows whose columns have the contract's types."""
    event_ids, quantities, instants = zip(*events, strict=True)
    count = len(events)
    columns = {
        "subscription_id": ["S1"] * count,
        "event_id": list(event_ids),
        "meter": ["calls"] * count,
        "quantity": list(quantities),
        "occurred_at": pa.array(instants, pa.timestamp("us", "UTC")),
    }
    buffer = BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_large_files_are_opened_only_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "ROWS_MIN", 1)
    first = parquet(("jan-1", 1, datetime(2024, 1, 10, tzinfo=UTC)), ("jan-2", 2, datetime(2024, 1, 20, tzinfo=UTC)))
    bill(tmp_path, FEBRUARY, {**CUSTOMER, "usage/1.csv": usage(), "usage/1.parquet": first})
    bill(tmp_path, MARCH, {"usage/2.parquet": parquet(("feb-1", 30, datetime(2024, 2, 10, tzinfo=UTC)))})
    assert rows(tmp_path, TOTALS) == [(date(2024, 1, 1), Decimal(3)), (date(2024, 2, 1), Decimal(30))]
    kept = (tmp_path / "output/current").resolve() / "kept/usage_files/000001_0001.parquet"
    kept.write_bytes(zeroed(first))
    assert rows_at_hand(tmp_path, DAY_AFTER) == ([], [])
    write(tmp_path / "input", {"usage/3.parquet": parquet(("feb-2", 7, datetime(2024, 2, 10, tzinfo=UTC)))})
    assert rows_at_hand(tmp_path, MARCH) == (["feb-2"], ["feb-1"])
    kept.write_bytes(first)
    write(tmp_path / "input", {"usage/3.parquet": parquet(("jan-1", 1, datetime(2024, 1, 10, tzinfo=UTC)))})
    assert rows_at_hand(tmp_path, MARCH) == (["jan-1", "jan-1"], [])


@pytest.mark.parametrize("length", [1, usage_at_hand.INTERVALS_MAX, usage_at_hand.INTERVALS_MAX + 40])
def test_intervals_cover_what_they_are_made_of(length: int) -> None:
    asked = [(10 * number + number % 3, 10 * number + 8 + number % 4) for number in range(length)]
    merged = usage_at_hand._merged(asked)
    assert len(merged) <= usage_at_hand.INTERVALS_MAX
    assert all(any(begins <= a and b <= ends for begins, ends in merged) for a, b in asked)
    assert merged == sorted(merged)
