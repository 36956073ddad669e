"""Several runs over one output: what one night leaves to the next, and what the next may not change."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.folders import (
    ACCOUNTS,
    CARD,
    CART_EVENTS,
    CART_SNAPSHOTS,
    ONE_CUSTOMER,
    SUBSCRIPTIONS,
    bill,
    copied,
    csv_text,
    published_bytes,
    rows,
)
from usage_rating import night_files, reproduction, stages
from usage_rating.errors import BadInput
from usage_rating.night import last_date_over, run_night
from usage_rating.settings import Settings

FIRST_NIGHT = date(2024, 2, 10)  # the first cycle, 10 January to 10 February, is issued
SECOND_NIGHT = date(2024, 3, 10)
INVOICES = "select invoice_number, cycle_start, issued_as_of, total from invoices order by rate_card, invoice_number"
REFUSED = "select run_id, read_in, feed, file, row_number, status, reason from rejected_rows order by all"


@pytest.fixture(scope="module")
def one_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_night")
    bill(folder, FIRST_NIGHT, ONE_CUSTOMER)
    return folder


@pytest.fixture
def billed(one_night: Path, tmp_path: Path) -> Path:
    """A folder of its own in which the first night was billed."""
    return copied(one_night, tmp_path)


def cart_event(cart_id: str, instant: str, state: str = "active", subscription_id: str = "S1") -> str:
    return f"{subscription_id},{cart_id},{instant},Standard,{state}"


def carts(*events: str) -> str:
    return csv_text(CART_EVENTS, *events)


def refused(folder: Path) -> list[tuple[Any, ...]]:
    """Each refused row: the run that lists it, its feed, row number and reason."""
    return rows(folder, "select run_id, feed, row_number, status, reason from rejected_rows order by all")


def fault_of(folder: Path, as_of: date, files: Mapping[str, str | bytes], **policies: Any) -> str:
    with pytest.raises(BadInput) as error:
        bill(folder, as_of, files, **policies)
    return str(error.value)


# ---- nothing new, missed nights, the date


def test_a_night_without_anything_new_changes_no_byte(tmp_path: Path) -> None:
    bill(tmp_path, FIRST_NIGHT, ONE_CUSTOMER | {"cart_events/2.csv": carts(cart_event("c", "soon"))})
    before = published_bytes(tmp_path)
    link = (tmp_path / "output" / "current").readlink()
    for as_of in (FIRST_NIGHT, FIRST_NIGHT, SECOND_NIGHT - timedelta(days=1)):
        report = bill(tmp_path, as_of)
        assert (report.run_id, report.feeds, report.invoices) == (None, [], [])
    assert published_bytes(tmp_path) == before
    assert (tmp_path / "output" / "current").readlink() == link
    assert rows(tmp_path, "select run_id, as_of from runs") == [("000001", FIRST_NIGHT)]


def test_missed_nights_are_caught_up_in_one(tmp_path: Path) -> None:
    """The same invoices with the same numbers; only the night that issued them differs."""
    nightly, at_once = tmp_path / "nightly", tmp_path / "at once"
    nights = [date(2024, 2, 10), date(2024, 3, 10), date(2024, 4, 10)]
    reports = [bill(nightly, night, ONE_CUSTOMER) for night in nights]
    assert [report.invoices[0].invoices for report in reports] == [1, 1, 1]
    assert bill(at_once, nights[-1], ONE_CUSTOMER).invoices[0].total == 120
    for what in ("* exclude (issued_as_of) from invoices", "* from invoice_lines", "* from usage_history"):
        query = f"select {what} order by all"
        assert rows(nightly, query) == rows(at_once, query)
    assert [row[2] for row in rows(nightly, INVOICES)] == nights


def test_an_earlier_date_than_an_earlier_runs_is_refused(billed: Path) -> None:
    before = published_bytes(billed)
    said = fault_of(billed, date(2024, 2, 9), {"cart_events/2.csv": carts(cart_event("c2", "2024-02-12"))})
    assert "--as-of 2024-02-09" in said
    assert "2024-02-10" in said
    assert published_bytes(billed) == before


def test_a_card_that_loses_the_plan_an_invoiced_subscription_started_on_is_refused(tmp_path: Path) -> None:
    """No invoice was priced by that version yet, and still its plan holds the start from which cycles are counted."""
    both_plans = CARD + CARD.partition("plans:\n")[2].replace("basic", "old")
    starts = ("S1,2024-01-10,A1,carts,old,started", "S1,2024-01-20,A1,carts,basic,plan_changed")
    again = "S1,2024-02-20,A1,carts,basic,started"
    cards = {
        "rate_cards/carts.v1.yaml": both_plans + "grace_days: 60\n",
        "rate_cards/carts.v2.yaml": CARD.replace("version: 1", "version: 2").replace("2023-01-01", "2024-02-01"),
    }
    subscriptions = {"subscriptions/1.csv": csv_text(SUBSCRIPTIONS, *starts, again)}
    bill(tmp_path, SECOND_NIGHT, ONE_CUSTOMER | cards | subscriptions)
    assert [row[1] for row in rows(tmp_path, INVOICES)] == [FIRST_NIGHT]
    before = published_bytes(tmp_path)
    said = fault_of(tmp_path, SECOND_NIGHT, {"rate_cards/carts.v1.yaml": CARD + "grace_days: 60\n"})
    assert "subscription S1 is invoiced as started at 2024-01-10 00:00:00+00" in said
    assert "no version of carts has any more" in said
    assert published_bytes(tmp_path) == before


def test_nothing_is_issued_before_it_is_due(tmp_path: Path) -> None:
    """A cycle ends, and then late exports are waited for; the invoice keeps the cycle's end as its date."""
    waits = {"rate_cards/carts.v1.yaml": CARD + "grace_days: 3\npayment_days: 14\n"}
    assert bill(tmp_path, date(2024, 2, 12), ONE_CUSTOMER | waits).invoices == []
    bill(tmp_path, date(2024, 2, 13), {"cart_events/2.csv": carts(cart_event("c2", "2024-02-09"))})
    dates = "select issue_date, issued_as_of, due_date, total from invoices"
    assert rows(tmp_path, dates) == [(date(2024, 2, 10), date(2024, 2, 13), date(2024, 2, 24), 80)]


MIDNIGHT_IN_NEW_YORK = datetime(2024, 3, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "zones", "over"),
    [
        (MIDNIGHT_IN_NEW_YORK, ["America/New_York", "Asia/Tokyo"], date(2024, 2, 29)),
        (MIDNIGHT_IN_NEW_YORK - timedelta(microseconds=1), ["America/New_York", "Asia/Tokyo"], date(2024, 2, 28)),
        (MIDNIGHT_IN_NEW_YORK, ["Pacific/Kiritimati"], date(2024, 2, 29)),
        (datetime(2024, 3, 1, 10, 59, tzinfo=UTC), ["Pacific/Kiritimati", "Pacific/Pago_Pago"], date(2024, 2, 28)),
        (MIDNIGHT_IN_NEW_YORK, [], date(2024, 2, 29)),
    ],
)
def test_the_date_left_out_is_the_last_that_is_over_everywhere(now: datetime, zones: list[str], over: date) -> None:
    assert last_date_over(now, zones) == over


def test_a_night_without_a_date_bills_up_to_the_last_that_is_over(billed: Path) -> None:
    settings = Settings(input=billed / "input", output=billed / "output")
    assert run_night(settings, now=datetime(2024, 3, 10, 23, 59, tzinfo=UTC)).run_id is None
    assert run_night(settings, now=datetime(2024, 3, 11, tzinfo=UTC)).as_of == SECOND_NIGHT
    assert [row[2] for row in rows(billed, INVOICES)] == [FIRST_NIGHT, SECOND_NIGHT]


# ---- rows that come late, or too early


# A cart is on from the cycle's last microsecond, another from the next cycle's first instant.
LATE = {"cart_events/2.csv": carts(cart_event("c2", "2024-02-09T23:59:59.999999Z"), cart_event("c3", "2024-02-10"))}
AFTER_FIRST = date(2024, 2, 11)
BILLS = "select kind, cycle_start, issue_date, total from invoices order by rate_card, invoice_number"
HELD = "select run_id, held_since, kind, cycle_start, total, reason from held_invoices order by all"
JANUARY, FEBRUARY = date(2024, 1, 10), date(2024, 2, 10)
FIRST_BILL = ("cycle", JANUARY, FIRST_NIGHT, Decimal(40))
FIRST_CORRECTION = ("correction", JANUARY, AFTER_FIRST, Decimal(40))


def files_of(folder: Path, table: str) -> list[str]:
    return [name for name in published_bytes(folder) if name.startswith(f"{table}/")]


def test_late_rows_are_billed_by_a_correction_and_count_for_later_invoices(billed: Path) -> None:
    """What was issued stays, byte for byte; only the customer's page of the corrected cycle is written anew."""
    issued = published_bytes(billed)
    report = bill(billed, AFTER_FIRST, LATE)
    assert [(i.kind, i.invoices, i.total) for i in report.invoices] == [("correction", 1, Decimal("40.00"))]
    assert rows(billed, REFUSED) == rows(billed, HELD) == []
    bill(billed, SECOND_NIGHT)
    assert rows(billed, BILLS) == [
        FIRST_BILL,
        FIRST_CORRECTION,
        ("cycle", FEBRUARY, SECOND_NIGHT, Decimal(120)),
    ]
    corrects = "select c.total, i.total from invoices c join invoices i on c.corrects_invoice_id = i.invoice_id"
    assert rows(billed, corrects) == [(Decimal(40), Decimal(40))]
    published = published_bytes(billed)
    changed = [name for name, content in issued.items() if published[name] != content]
    assert changed == ["usage_history/000001.parquet"]
    history = "select cycle_start, quantity, peak_at, amount from usage_history order by all"
    assert rows(billed, history) == [
        (JANUARY, 2, datetime(2024, 2, 9, 23, 59, 59, 999999, tzinfo=UTC), 80),
        (FEBRUARY, 3, datetime(2024, 2, 10, tzinfo=UTC), 120),
    ]


def test_a_night_after_a_correction_without_anything_new_changes_no_byte(billed: Path) -> None:
    bill(billed, AFTER_FIRST, LATE)
    before = published_bytes(billed)
    for as_of in (AFTER_FIRST, AFTER_FIRST, SECOND_NIGHT - timedelta(days=1)):
        assert bill(billed, as_of).run_id is None
    assert published_bytes(billed) == before


def test_a_night_whose_files_were_gathered_is_repeated_too(billed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night_files, "RUNS_GATHERED", 2)
    bill(billed, SECOND_NIGHT)
    before = published_bytes(billed)
    assert [name for name in before if name.startswith("runs/")] == ["runs/000002.parquet"]
    assert bill(billed, SECOND_NIGHT).run_id is None
    assert published_bytes(billed) == before


def test_the_same_late_rows_again_correct_nothing(billed: Path) -> None:
    """As the same bytes under another name they add nothing; as another file they are read, and repeats."""
    bill(billed, AFTER_FIRST, LATE)
    (late,) = LATE.values()
    assert bill(billed, AFTER_FIRST, {"cart_events/again.csv": late}).run_id is None
    reversed_rows = carts(cart_event("c3", "2024-02-10"), cart_event("c2", "2024-02-09T23:59:59.999999Z"))
    report = bill(billed, AFTER_FIRST, {"cart_events/other.csv": reversed_rows})
    assert (report.run_id, report.invoices) == ("000003", [])
    assert rows(billed, BILLS) == [FIRST_BILL, FIRST_CORRECTION]
    assert rows(billed, REFUSED) == []


def test_a_late_repeat_of_a_row_known_in_time_corrects_nothing(billed: Path) -> None:
    bill(billed, FIRST_NIGHT, {"cart_events/2.csv": carts(cart_event("c1", "2024-01-11T00:00:00Z"))})
    assert rows(billed, BILLS) == [FIRST_BILL]
    assert rows(billed, REFUSED) == []


def test_a_late_row_taken_out_again_is_given_back_by_a_second_correction(billed: Path) -> None:
    """One correction a night, each against all that was said before; in one night the two undo each other."""
    header = f"{CART_EVENTS},revision,voided"
    on, off = "S1,c2,2024-02-01,Standard,active,0,", "S1,c2,2024-02-01,Standard,active,1,true"
    bill(billed, AFTER_FIRST, {"cart_events/2.csv": csv_text(header, on)})
    bill(billed, date(2024, 2, 12), {"cart_events/3.csv": csv_text(header, off)})
    assert rows(billed, BILLS) == [
        FIRST_BILL,
        FIRST_CORRECTION,
        ("correction", JANUARY, date(2024, 2, 12), Decimal(-40)),
    ]
    both = csv_text(header, on.replace("c2", "c4"), off.replace("c2", "c4"))
    assert bill(billed, date(2024, 2, 13), {"cart_events/4.csv": both}).invoices == []
    assert rows(billed, "select quantity, amount from usage_history") == [(1, 40)]


def test_a_correction_goes_to_whoever_paid_and_is_dated_the_day_of_its_run(tmp_path: Path) -> None:
    """The master account changed in between; days of grace hold nothing back, those of payment begin anew."""
    waits = {"rate_cards/carts.v1.yaml": CARD + "grace_days: 3\npayment_days: 14\n"}
    bill(tmp_path, date(2024, 2, 13), ONE_CUSTOMER | waits)
    master = csv_text(
        f"{ACCOUNTS},updated_at,master_account_id", "M,2024-01-01,UTC,,", "A1,2024-01-10,UTC,2024-02-13,M"
    )
    bill(tmp_path, date(2024, 2, 14), LATE | {"accounts/2.csv": master})
    bill(tmp_path, date(2024, 3, 13))
    paid = "select kind, bill_to_account_id, issue_date, due_date from invoices order by invoice_number"
    assert rows(tmp_path, paid) == [
        ("cycle", "A1", FIRST_NIGHT, date(2024, 2, 24)),
        ("correction", "A1", date(2024, 2, 14), date(2024, 2, 28)),
        ("cycle", "M", SECOND_NIGHT, date(2024, 3, 24)),
    ]


def test_usage_revised_into_another_cycle_corrects_both(tmp_path: Path) -> None:
    messages = '    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "1.00"}}\n'
    header = "subscription_id,event_id,meter,quantity,occurred_at,revision"
    first = {
        "rate_cards/carts.v1.yaml": CARD + messages,
        "usage/1.csv": csv_text(header, "S1,e,messages,7,2024-01-20,0"),
    }
    bill(tmp_path, SECOND_NIGHT, ONE_CUSTOMER | first)
    assert [row[-1] for row in rows(tmp_path, BILLS)] == [47, 40]
    bill(tmp_path, date(2024, 3, 11), {"usage/2.csv": csv_text(header, "S1,e,messages,7,2024-02-20,1")})
    corrections = "select cycle_start, total from invoices where kind = 'correction' order by all"
    assert rows(tmp_path, corrections) == [(JANUARY, -7), (FEBRUARY, 7)]


def test_late_activity_brings_an_invoice_and_taken_out_corrects_it_to_nothing(tmp_path: Path) -> None:
    """Away from 20 January; on 11 March it is known to have been back in February, on the 12th that it was not."""
    header = f"{SUBSCRIPTIONS},revision,voided"
    back, gone = "S1,2024-02-20,A1,carts,basic,reactivated", "S1,2024-03-01,A1,carts,basic,cancelled"
    cancelled = csv_text(SUBSCRIPTIONS, "S1,2024-01-20,A1,carts,basic,cancelled")
    bill(tmp_path, SECOND_NIGHT, ONE_CUSTOMER | {"subscriptions/2.csv": cancelled})
    assert rows(tmp_path, BILLS) == [FIRST_BILL]
    bill(tmp_path, date(2024, 3, 11), {"subscriptions/3.csv": csv_text(SUBSCRIPTIONS, back, gone)})
    bill(tmp_path, date(2024, 3, 12), {"subscriptions/4.csv": csv_text(header, f"{back},1,true")})
    assert rows(tmp_path, BILLS) == [
        FIRST_BILL,
        ("cycle", FEBRUARY, SECOND_NIGHT, Decimal(40)),
        ("correction", FEBRUARY, date(2024, 3, 12), Decimal(-40)),
    ]
    assert rows(tmp_path, "select cycle_start from usage_history") == [(JANUARY,)]


def with_another_code(monkeypatch: pytest.MonkeyPatch, stage_name: str, old: str, new: str) -> None:
    """From here on the stage says something else, as if another release of usage_rating were installed."""

    def changed(stage: stages.Stage) -> stages.Stage:
        assert stage.name != stage_name or old in stage.sql
        return replace(stage, sql=stage.sql.replace(old, new)) if stage.name == stage_name else stage

    released = tuple(changed(stage) for stage in stages.all_stages())
    for module in (stages, reproduction):
        monkeypatch.setattr(module, "all_stages", lambda: released)


def test_a_correction_waits_where_the_code_has_changed_what_it_would_correct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release billed two carts too many: a late row is no reason to give them back, so nothing is issued."""
    with monkeypatch.context() as earlier_release:
        with_another_code(earlier_release, "peaks", "max(carts) as quantity", "max(carts) + 2 as quantity")
        bill(tmp_path, FIRST_NIGHT, ONE_CUSTOMER)
        assert [row[-1] for row in rows(tmp_path, BILLS)] == [120]
    assert bill(tmp_path, AFTER_FIRST, LATE).invoices == []
    assert [row[-1] for row in rows(tmp_path, BILLS)] == [120]
    held = [("000002", AFTER_FIRST, "correction", JANUARY, Decimal(-40), "not_reproducible")]
    assert rows(tmp_path, HELD) == held
    assert bill(tmp_path, date(2024, 2, 12)).run_id is None

    with_another_code(monkeypatch, "peaks", "max(carts) as quantity", "max(carts) + 2 as quantity")
    bill(tmp_path, date(2024, 2, 13))
    assert [(row[0], *row[2:]) for row in rows(tmp_path, BILLS)] == [
        ("cycle", FIRST_NIGHT, 120),
        ("correction", date(2024, 2, 13), 40),
    ]
    assert rows(tmp_path, HELD) == []


def test_a_correction_waits_where_a_late_change_leaves_its_cycle_without_a_price(billed: Path) -> None:
    """The night goes on; once the change is taken out there is nothing left to correct."""
    gold = '  gold:\n    standard_carts: {kind: peak, category: Standard, price: {per_unit: "30.00"}}\n'
    changes = ("S1,2024-01-20,A1,carts,gold,plan_changed", "S1,2024-02-10,A1,carts,basic,plan_changed")
    late = {"rate_cards/carts.v2.yaml": LATER_CARD + gold, "subscriptions/2.csv": csv_text(SUBSCRIPTIONS, *changes)}
    assert bill(billed, AFTER_FIRST, late).invoices == []
    assert rows(billed, HELD) == [("000002", AFTER_FIRST, "correction", JANUARY, Decimal(-40), "without_price")]
    bill(billed, SECOND_NIGHT)
    assert rows(billed, BILLS) == [FIRST_BILL, ("cycle", FEBRUARY, SECOND_NIGHT, Decimal(40))]
    void = csv_text(f"{SUBSCRIPTIONS},revision,voided", f"{changes[0]},1,true")
    assert bill(billed, SECOND_NIGHT, {"subscriptions/3.csv": void}).invoices == []
    assert rows(billed, HELD) == []


def test_held_rows_count_once_what_they_wait_for_arrives(tmp_path: Path) -> None:
    early = {
        "accounts/2.csv": csv_text(ACCOUNTS, "A1,2024-01-10,UTC"),
        "subscriptions/2.csv": csv_text(SUBSCRIPTIONS, "S2,2024-01-10,A2,carts,basic,started"),
        "cart_events/2.csv": carts(cart_event("c1", "2024-01-12", subscription_id="S2")),
    }
    bill(tmp_path, date(2024, 2, 1), ONE_CUSTOMER | early)
    assert refused(tmp_path) == [
        ("000001", "cart_events", 1, "held", "unknown_subscription"),
        ("000001", "subscriptions", 1, "held", "unknown_account"),
    ]
    bill(tmp_path, FIRST_NIGHT, {"accounts/3.csv": csv_text(ACCOUNTS, "A2,2024-01-10,UTC")})
    assert refused(tmp_path) == []
    totals = "select account_id, total from invoices order by account_id"
    assert rows(tmp_path, totals) == [("A1", Decimal(40)), ("A2", Decimal(40))]


def test_a_row_still_held_keeps_the_run_that_first_listed_it(tmp_path: Path) -> None:
    bill(
        tmp_path,
        FIRST_NIGHT,
        ONE_CUSTOMER | {"cart_events/2.csv": carts(cart_event("c", "2024-01-12", "active", "S9"))},
    )
    bill(tmp_path, SECOND_NIGHT, {"cart_events/3.csv": carts(cart_event("d", "2024-02-12", "active", "S9"))})
    assert [row[0] for row in refused(tmp_path)] == ["000001", "000002"]


def test_a_category_that_a_later_card_version_names_is_known_from_then_on(tmp_path: Path) -> None:
    """Nothing new arrives but the card: what is published changes all the same."""
    events = {"cart_events/2.csv": carts("S1,p1,2024-01-12,Premium,active")}
    bill(tmp_path, date(2024, 2, 1), ONE_CUSTOMER | events)
    assert refused(tmp_path) == [("000001", "cart_events", 1, "held", "unknown_category")]
    premium = '    premium_carts: {kind: peak, category: Premium, price: {per_unit: "75.00"}}\n'
    assert bill(tmp_path, date(2024, 2, 1), {"rate_cards/carts.v2.yaml": LATER_CARD + premium}).run_id == "000002"
    assert refused(tmp_path) == []


def test_a_held_snapshot_counts_once_the_whole_of_it_is_sent(tmp_path: Path) -> None:
    """A snapshot of 1 cart after one of 3 is held; with the rest of it in another file it is complete."""
    three = csv_text(CART_SNAPSHOTS, *(f"2024-01-12,S1,c{n},Standard,active" for n in (1, 2, 3)))
    cut = csv_text(CART_SNAPSHOTS, "2024-01-13,S1,c3,Standard,active")
    bill(tmp_path, date(2024, 2, 1), ONE_CUSTOMER | {"cart_snapshots/1.csv": three, "cart_snapshots/2.csv": cut})
    assert refused(tmp_path) == [("000001", "cart_snapshots", 1, "held", "incomplete_snapshot")]
    rest = csv_text(CART_SNAPSHOTS, *(f"2024-01-13,S1,c{n},Standard,active" for n in (4, 5)))
    bill(tmp_path, FIRST_NIGHT, {"cart_snapshots/3.csv": rest})
    assert refused(tmp_path) == []
    assert rows(tmp_path, "select quantity from invoice_lines") == [(3,)]


# What is said anew of five customers like the first, A1 and S1 to A5 and S5.
MOVES = {
    "accounts/2.csv": csv_text(
        f"{ACCOUNTS},updated_at,revision",
        "A1,2024-01-10,America/New_York,,1",  # another zone
        "A2,2024-01-09,UTC,,1",  # another creation
        "A3,2024-01-10,Asia/Tokyo,2024-02-11,0",  # another zone from now on: cycles would move all the same
    ),
    "subscriptions/2.csv": csv_text(
        f"{SUBSCRIPTIONS},revision,voided",
        "S4,2024-01-09,A4,carts,basic,started,0,",  # an earlier start
        "S5,2024-01-10,A5,carts,basic,started,1,true",  # the start taken out
    ),
}
FIVE_CUSTOMERS = ONE_CUSTOMER | {
    "accounts/1.csv": csv_text(ACCOUNTS, *(f"A{n},2024-01-10,UTC" for n in range(1, 6))),
    "subscriptions/1.csv": csv_text(SUBSCRIPTIONS, *(f"S{n},2024-01-10,A{n},carts,basic,started" for n in range(1, 6))),
}


def test_what_would_move_the_cycles_of_an_invoiced_subscription_is_held(tmp_path: Path) -> None:
    bill(tmp_path, FIRST_NIGHT, FIVE_CUSTOMERS)
    bill(tmp_path, SECOND_NIGHT, MOVES)
    held = [("000002", "accounts", n, "held", "would_move_cycles") for n in (1, 2, 3)]
    assert refused(tmp_path) == [*held, *(("000002", "subscriptions", n, "held", "would_move_cycles") for n in (1, 2))]
    cycles = "select cycle_start, count(*) from invoices group by all order by all"
    assert rows(tmp_path, cycles) == [(date(2024, 1, 10), 5), (date(2024, 2, 10), 5)]


def test_the_same_is_taken_before_anything_is_invoiced(tmp_path: Path) -> None:
    bill(tmp_path, date(2024, 2, 8), FIVE_CUSTOMERS | MOVES)
    assert refused(tmp_path) == []
    bill(tmp_path, FIRST_NIGHT)
    cycles = "select account_id, cycle_start from invoices where cycle_start >= '2024-01-01' order by all"
    # A2's account is a day older, S4 starts in the cycle before its account's creation; New York and Tokyo have
    # the 9th, or still the 10th, at midnight in UTC
    assert rows(tmp_path, cycles) == [
        ("A1", date(2024, 1, 9)),
        ("A2", date(2024, 1, 9)),
        ("A3", date(2024, 1, 10)),
        ("A4", date(2024, 1, 10)),
    ]


# A fee for each cycle, in advance: the first on an opening invoice, the next one on that of the cycle before.
FEE_CARD = CARD + '    fee: {kind: recurring, bill: advance, price: {flat: "5.00"}}\n'
FEES = ONE_CUSTOMER | {"rate_cards/carts.v1.yaml": FEE_CARD}


def test_an_opening_invoice_keeps_the_days_of_its_cycle_too(tmp_path: Path) -> None:
    bill(tmp_path, date(2024, 1, 11), FEES)
    assert [row[0] for row in rows(tmp_path, BILLS)] == ["opening"]
    moves = {
        "accounts/2.csv": csv_text(f"{ACCOUNTS},updated_at", "A1,2024-01-10,America/New_York,2024-01-12"),
        "subscriptions/2.csv": csv_text(SUBSCRIPTIONS, "S1,2024-01-09,A1,carts,basic,started"),
    }
    bill(tmp_path, FIRST_NIGHT, moves)
    held = [("000002", feed, 1, "held", "would_move_cycles") for feed in ("accounts", "subscriptions")]
    assert refused(tmp_path) == held
    assert [row[:2] for row in rows(tmp_path, BILLS)] == [("opening", JANUARY), ("cycle", JANUARY)]


# ---- rate cards that priced something

LATER_CARD = CARD.replace("version: 1", "version: 2").replace("2023-01-01", "2024-03-01").replace("40.00", "50.00")


def test_a_card_that_priced_an_invoice_may_not_change_go_or_be_overtaken(billed: Path) -> None:
    before = published_bytes(billed)
    card = billed / "input" / "rate_cards" / "carts.v1.yaml"

    said = fault_of(billed, SECOND_NIGHT, {"rate_cards/carts.v1.yaml": CARD.replace("40.00", "41.00")})
    assert said.startswith("rate_cards/carts.v1.yaml: has changed")
    assert "cycle of 2024-01-10" in said

    card.unlink()
    said = fault_of(billed, SECOND_NIGHT, {"rate_cards/carts.v2.yaml": LATER_CARD})
    assert "version 1 of carts is gone" in said

    overtaking = LATER_CARD.replace("2024-03-01", "2024-01-10")
    files = {"rate_cards/carts.v1.yaml": CARD, "rate_cards/carts.v2.yaml": overtaking}
    said = fault_of(billed, SECOND_NIGHT, files)
    assert "version 2 of carts would re-price" in said
    assert "priced by version 1" in said
    assert published_bytes(billed) == before


def test_a_card_may_not_reprice_a_fee_that_an_invoice_carries_in_advance(tmp_path: Path) -> None:
    """January's invoice carries February's fee: a version from 1 February on would be February's."""
    bill(tmp_path, FIRST_NIGHT, FEES)
    version_2 = FEE_CARD.replace("version: 1", "version: 2").replace("5.00", "6.00")
    overtaking = version_2.replace("2023-01-01", "2024-02-01")
    said = fault_of(tmp_path, SECOND_NIGHT, {"rate_cards/carts.v2.yaml": overtaking})
    assert said.startswith("rate_cards/: version 2 of carts would re-price invoices already issued (1, ")
    bill(tmp_path, SECOND_NIGHT, {"rate_cards/carts.v2.yaml": version_2.replace("2023-01-01", "2024-02-11")})
    fees = "select service_start, rate_card_version, amount from invoice_lines where kind = 'recurring' order by all"
    assert rows(tmp_path, fees) == [(JANUARY, 1, 5), (FEBRUARY, 1, 5), (SECOND_NIGHT, 2, 6)]


def test_a_version_that_prices_later_cycles_only_is_taken_and_may_change_until_it_prices_one(billed: Path) -> None:
    bill(billed, SECOND_NIGHT, {"rate_cards/carts.v2.yaml": LATER_CARD})
    bill(billed, date(2024, 4, 10), {"rate_cards/carts.v2.yaml": LATER_CARD.replace("50.00", "60.00")})
    assert [row[-1] for row in rows(billed, INVOICES)] == [40, 40, 60]
    assert rows(billed, "select rate_card_version from invoices order by invoice_number") == [(1,), (1,), (2,)]


def test_a_cycle_without_a_price_stops_the_run_and_names_its_row(tmp_path: Path) -> None:
    late_card = {"rate_cards/carts.v1.yaml": CARD.replace("2023-01-01", "2024-02-01")}
    said = fault_of(tmp_path, FIRST_NIGHT, ONE_CUSTOMER | late_card)
    assert said.startswith("subscriptions/1.csv: row 1: no version of carts is in force on 2024-01-10")
    assert "2024-02-01" in said

    bill(tmp_path, FIRST_NIGHT, {"rate_cards/carts.v1.yaml": CARD})
    other_plan = {"rate_cards/carts.v2.yaml": LATER_CARD.replace("basic:", "large:")}
    said = fault_of(tmp_path, date(2024, 4, 10), other_plan)
    assert said.startswith("subscriptions/1.csv: row 1: version 2 of carts")
    assert "2024-03-10 but has no plan 'basic'. Its plans: large." in said


# ---- invoice numbers


def test_invoice_numbers_have_no_gap_over_runs_and_cards(tmp_path: Path) -> None:
    """Each card counts from 1; a run that issues nothing, and one that fails, take no number."""
    other_card = {"rate_cards/other.v1.yaml": CARD.replace("rate_card: carts", "rate_card: other")}
    accounts = [f"A{n},2024-01-{9 + n:02},UTC" for n in (2, 3, 4)]
    subscriptions = [
        "S2,2024-01-11,A2,carts,basic,started",
        "S3,2024-01-12,A3,other,basic,started",
        "S4,2024-01-13,A4,other,basic,started",
    ]
    more = {
        "accounts/2.csv": csv_text(ACCOUNTS, *accounts),
        "subscriptions/2.csv": csv_text(SUBSCRIPTIONS, *subscriptions),
    }
    bill(tmp_path, date(2024, 2, 12), ONE_CUSTOMER | other_card | more)
    bill(tmp_path, date(2024, 2, 12), {"cart_events/2.csv": carts(cart_event("c", "2024-02-12"))})
    fault_of(tmp_path, date(2024, 3, 15), {"usage/1.csv": "cut"})
    (tmp_path / "input" / "usage" / "1.csv").unlink()
    bill(tmp_path, date(2024, 3, 15))
    query = "select rate_card, invoice_number, issue_date, invoice_id from invoices order by rate_card, invoice_number"
    issued = rows(tmp_path, query)
    assert [row[:3] for row in issued] == [
        ("carts", 1, date(2024, 2, 10)),
        ("carts", 2, date(2024, 2, 11)),
        ("carts", 3, date(2024, 3, 10)),
        ("carts", 4, date(2024, 3, 11)),
        ("other", 1, date(2024, 2, 12)),
        ("other", 2, date(2024, 2, 13)),
        ("other", 3, date(2024, 3, 12)),
        ("other", 4, date(2024, 3, 13)),
    ]
    assert len({row[3] for row in issued}) == len(issued)


# ---- how many rows may be rejected


@pytest.mark.parametrize(
    ("bad", "good", "share", "stops"),
    [
        (20, 0, "0", False),  # 20 are always allowed
        (21, 76, "0.21", False),  # with the customer's three, 21 of 100 rows: not more than that share
        (21, 75, "0.21", True),
    ],
)
def test_more_than_twenty_rejected_rows_and_more_than_the_share_stop_the_run(
    bad: int, good: int, share: str, stops: bool, tmp_path: Path
) -> None:
    events = [cart_event(f"c{n}", "soon") for n in range(bad)] + [
        cart_event(f"d{n}", "2024-01-12") for n in range(good)
    ]
    files = ONE_CUSTOMER | {"cart_events/2.csv": carts(*events)}
    if stops:
        said = fault_of(tmp_path, FIRST_NIGHT, files, max_rejected=Decimal(share))
        assert f"{bad} of {bad + good + 3} rows newly read are rejected" in said
        assert "cart_events: bad_value: 21 rows" in said
        assert not (tmp_path / "output" / "current").exists()
    else:
        assert bill(tmp_path, FIRST_NIGHT, files, max_rejected=Decimal(share)).invoices[0].invoices == 1


def test_rows_rejected_before_and_rows_held_do_not_count_against_a_run(tmp_path: Path) -> None:
    wrong = {"cart_events/2.csv": carts(*(cart_event(f"c{n}", "soon") for n in range(30)))}
    bill(tmp_path, date(2024, 2, 1), ONE_CUSTOMER | wrong, max_rejected=Decimal(1))
    held = {"cart_events/3.csv": carts(*(cart_event(f"c{n}", "2024-01-12", subscription_id="S9") for n in range(30)))}
    assert bill(tmp_path, FIRST_NIGHT, held, max_rejected=Decimal(0)).run_id == "000002"
