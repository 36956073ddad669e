"""Near misses: each kind on both sides of its bound and at it, with figures worked by hand, and billed once more."""

import json
import os
from collections import Counter
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.bound_types import Loss, losses
from tests.crossing import USAGE, Previewed, crossed, previewed
from tests.folders import ACCOUNTS, CART_EVENTS, ONE_CUSTOMER, SUBSCRIPTIONS, bill, csv_text, write
from tests.oracle import RunStops, World
from tests.oracle_bill import rate
from tests.oracle_near import bounds_near
from tests.test_properties import drawing
from tests.worlds import write_world
from tests.worlds_usage import usage_worlds
from usage_rating import near as near_module
from usage_rating.cli import app
from usage_rating.errors import BadInput
from usage_rating.near import NearMiss
from usage_rating.sql_files import SQL_FOLDER, read_sql

EXAMPLES = max(int(os.environ.get("RATING_EXAMPLES", "16")) // 2, 8)
AS_OF = date(2024, 5, 20)
METERED = """\
rate_card: metered
version: 1
effective_from: 2024-01-01
reason: Every kind of bound.
currency: USD
cycle: {every: 1 month, anchor: calendar}
plans:
  graduated:
    units:
      kind: usage
      meter: units
      aggregation: sum
      price: {graduated: [{up_to: "1000", per_unit: "0.04"}, {per_unit: "0.03"}]}
  volume:
    units:
      kind: usage
      meter: units
      aggregation: sum
      price: {volume: [{up_to: "100", per_unit: "0.10"}, {per_unit: "0.06"}]}
  package: {units: {kind: usage, meter: units, aggregation: sum, price: {package: {size: "50", price: "4.50"}}}}
  least: {units: {kind: usage, meter: units, aggregation: sum, price: {per_unit: "3"}, minimum: {quantity: "200"}}}
  most: {units: {kind: usage, meter: units, aggregation: sum, price: {per_unit: "0.50"}, cap: "10.00"}}
  carts:
    units: {kind: peak, category: Standard, price: {graduated: [{up_to: "1", per_unit: "40"}, {per_unit: "30"}]}}
"""
APPS = """\
rate_card: apps
version: 1
effective_from: 2024-01-01
reason: A limit, and a smallest upgrade.
currency: USD
cycle: {every: 30 days, anchor: subscription_started}
plan_change: {takes_effect: immediately, minimum_difference: "1.00"}
spending_limit: {default: "100.00", alert_at: ["0.9", "1"]}
plans:
  basic:
    fee: {kind: recurring, bill: advance, price: {flat: "5.00"}}
    units: {kind: usage, meter: units, aggregation: sum, price: {per_unit: "0.50"}}
  nearly: {fee: {kind: recurring, bill: advance, price: {flat: "5.99"}}}
  just: {fee: {kind: recurring, bill: advance, price: {flat: "6.00"}}}
  far: {fee: {kind: recurring, bill: advance, price: {flat: "6.11"}}}
"""
# Plan to the quantities of its subscriptions, which are named plan-quantity.
USED = {
    "graduated": ("899", "900", "950", "999.5", "1000", "1001"),
    "volume": ("89", "98", "100"),
    "package": ("44", "45", "47", "50", "96"),
    "least": ("179", "180", "190", "200", "215", "221"),
    "most": ("17", "18", "19", "20", "21", "23"),
    "basic": ("179", "180", "200", "210"),
}
# Subscription: what is left to the bound; the bill's change up to it, and by the first unit above.
EXPECTED = {
    "graduated-900": ("100", "4.00", "0.03"),  # exactly a tenth of 1,000 is left: 100 x 0.04
    "graduated-950": ("50", "2.00", "0.03"),  # 50 x 0.04; 950 x 0.04 + 2.00 + 0.03 = 40.03
    "graduated-999.5": ("0.5", "0.02", "0.03"),
    "graduated-1000": ("0", "0", "0.03"),
    "volume-98": ("2", "0.20", "-3.94"),  # 100 x 0.10 = 10.00, but 101 x 0.06 = 6.06
    "volume-100": ("0", "0", "-3.94"),
    "package-45": ("5", "0", "4.50"),  # exactly a tenth of a package of 50
    "package-47": ("3", "0", "4.50"),
    "package-50": ("0", "0", "4.50"),
    "package-96": ("4", "0", "4.50"),
    "least-180": ("20", "0", "3.00"),
    "least-190": ("10", "0", "3.00"),  # 200 x 3 = 600.00 is owed for 190 and for 200
    "least-200": ("0", "0", "3.00"),
    "least-215": ("-15", "0", "3.00"),
    "most-18": ("1.00", "0", "0.50"),
    "most-19": ("0.50", "0", "0.50"),
    "most-20": ("0", "0", "0"),
    "most-21": ("-0.50", "0", "0"),
    "basic-180": ("10.00", "0", "0.50"),
    "basic-200": ("0", "0", "0"),
    "basic-210": ("0", "0", "0"),
    "carts-1": ("0", "0", "30.00"),
}


def files() -> dict[str, str | bytes]:
    """One account; its subscriptions began on 1 May (apps on the 5th), but for one that has edges to look at."""
    names = {f"{plan}-{quantity}": plan for plan, quantities in USED.items() for quantity in quantities}
    cards = dict.fromkeys(names, "metered") | {name: "apps" for name, plan in names.items() if plan == "basic"}
    starts = [
        f"{name},2024-05-0{5 if card == 'apps' else 1},A,{card},{names[name]},started" for name, card in cards.items()
    ]
    upgrades = [
        row
        for plan in ("nearly", "just", "far")
        for row in (f"to-{plan},2024-05-05,A,apps,basic,started", f"to-{plan},2024-05-06,A,apps,{plan},plan_changed")
    ]
    others = ["carts-1,2024-05-01,A,metered,carts,started", "edges,2024-04-01,A,metered,graduated,started"]
    usage = [f"{name},e,units,{name.partition('-')[2]},2024-05-10T12:00:00," for name in names]
    at_edges = {"1": "04-30T22:59:59.999999", "2": "04-30T23:00", "4": "05-01T00:59:59.999999", "8": "05-01T01:00"}
    usage += [f"edges,e{quantity},units,{quantity},2024-{at}," for quantity, at in at_edges.items()]
    one_off = "o,edges,Theme,12.50,2024-04-30T23:30"
    return {
        "rate_cards/metered.v1.yaml": METERED,
        "rate_cards/apps.v1.yaml": APPS,
        "accounts/1.csv": csv_text(ACCOUNTS, "A,2024-04-01,UTC"),
        "subscriptions/1.csv": csv_text(SUBSCRIPTIONS, *starts, *upgrades, *others),
        "cart_events/1.csv": csv_text(CART_EVENTS, "carts-1,c,2024-05-02,Standard,active"),
        "usage/1.csv": csv_text(USAGE, *usage),
        "one_off_charges/1.csv": csv_text("charge_id,subscription_id,description,amount,purchased_at", one_off),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("near")
    write(folder / "input", files())
    return folder


@pytest.fixture(scope="module")
def before(folder: Path) -> Previewed:
    return previewed(folder, AS_OF)


def test_bounds_within_reach_and_what_they_change(before: Previewed) -> None:
    """All that are listed are here, and those that are not here are not listed."""
    told = {
        miss.subscription_id: (miss.to_bound, miss.change_to_bound, miss.next_unit)
        for miss in before.near.misses
        if miss.kind != "upgrade"
    }
    assert told == {name: tuple(map(Decimal, figures)) for name, figures in EXPECTED.items()}
    shares = [miss.share for miss in before.near.misses]
    assert shares == sorted(shares)


def test_no_figure_loses_a_decimal_unsaid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for units, which are told to 6 decimals as usage is."""
    lost: dict[str, list[Loss]] = {}
    make = near_module._make

    def watched(engine: duckdb.DuckDBPyConnection, *names: str) -> None:
        for name in names:
            lost[name] = [loss for loss in losses(engine, read_sql(f"near/{name}.sql")) if not loss.is_written]
            make(engine, name)

    monkeypatch.setattr(near_module, "_make", watched)
    previewed(folder, AS_OF)
    assert set(lost) == {path.stem for path in (SQL_FOLDER / "near").iterdir()}
    assert {name: found for name, found in lost.items() if found} == {}


def test_what_else_is_told_of_each_kind(before: Previewed) -> None:
    misses = {miss.subscription_id: miss for miss in before.near.misses}
    assert misses["graduated-950"].price_next == Decimal("0.03")
    assert misses["graduated-950"].change == Decimal("2.03")
    assert [misses[f"least-{used}"].charge_amount for used in (190, 200, 215)] == [600, 600, 645]
    assert [misses[f"most-{used}"].charge_amount for used in (19, 20, 21)] == [Decimal("9.50"), 10, 10]
    limits = [misses[f"basic-{used}"] for used in (180, 200, 210)]
    told = [(limit.so_far, limit.clipped, limit.threshold_next) for limit in limits]
    assert told == [
        (Decimal(90), Decimal(0), Decimal(1)),
        (Decimal(100), Decimal(0), None),
        (Decimal(100), Decimal(5), None),
    ]


def test_upgrades_near_the_smallest(before: Previewed) -> None:
    """Changed on 6 May, 28 of 30 days are left: 0.99 x 28 / 30 = 0.924, 1.00 x 28 / 30 = 0.933."""
    told = {
        miss.charge: (miss.to_bound, miss.charge_amount, miss.change)
        for miss in before.near.misses
        if miss.kind == "upgrade"
    }
    assert told == {
        "nearly": (Decimal("0.01"), Decimal(0), Decimal("0.92")),
        "just": (Decimal(0), Decimal("0.93"), Decimal("-0.93")),
    }


def test_rows_close_to_an_edge(before: Previewed) -> None:
    """An hour before counts, a microsecond more does not; an hour after does not, a microsecond less does."""
    told = [
        (edge.subscription_id, edge.edge_on, edge.feed, edge.rows_before, edge.quantity_before, edge.rows_after,
         edge.quantity_after, edge.nearest)
        for edge in before.near.edges
    ]  # fmt: skip
    day, hour = date(2024, 5, 1), timedelta(hours=1)
    assert told == [
        ("edges", day, "one_off_charges", 1, Decimal("12.5"), 0, Decimal(0), hour / 2),
        ("edges", day, "usage", 1, Decimal(2), 1, Decimal(4), hour - timedelta(microseconds=1)),
    ]


def test_the_rows_that_cross_change_the_bill_as_said(folder: Path, before: Previewed) -> None:
    """Every bound listed is crossed, and what is previewed then is what was said."""
    misses = [miss for miss in before.near.misses if miss.kind != "upgrade"]
    billed = crossed(folder, AS_OF, before, misses)
    assert [(miss.subscription_id, change) for miss, change in billed] == [
        (miss.subscription_id, miss.change) for miss in misses
    ]
    assert len(billed) == len(EXPECTED)


@drawing(EXAMPLES)
@given(usage_worlds(), st.data())
def test_in_drawn_worlds_the_bill_changes_as_said(drawn: tuple[World, date], data: st.DataObject) -> None:
    """One bound of each cycle is crossed; bounds far off as well, which are told the same way."""
    world, as_of = drawn
    with TemporaryDirectory() as name, suppress(BadInput):
        folder = Path(name)
        write_world(world, folder / "input")
        before = previewed(folder, as_of, within="1")
        listed = [miss for miss in before.near.misses if miss.kind != "upgrade"]
        by_cycle: dict[tuple[str, date], list[NearMiss]] = {}
        for miss in listed:
            by_cycle.setdefault((miss.subscription_id, miss.cycle_start), []).append(miss)
        chosen = [data.draw(st.sampled_from(own)) for own in by_cycle.values()]
        event(f"bounds: {min(len(chosen), 3)}")
        billed = crossed(folder, as_of, before, chosen)
        assert [change for _, change in billed] == [miss.change for miss in chosen], chosen


@drawing(EXAMPLES)
@given(usage_worlds(), st.sampled_from(["0.1", "0.5", "1"]))
def test_in_drawn_worlds_all_that_is_near_is_listed_and_nothing_else(drawn: tuple[World, date], within: str) -> None:
    """Every bound of every cycle, looked through by the oracle."""
    world, as_of = drawn
    try:
        expected = bounds_near(rate(world, as_of, is_preview=True), Fraction(within))
    except RunStops:
        return
    with TemporaryDirectory() as name:
        write_world(world, Path(name) / "input")
        near = previewed(Path(name), as_of, within).near
    for kind in sorted({bound.kind for bound in expected}):
        event(kind)
    told = [
        (miss.kind, miss.subscription_id, miss.cycle_start, miss.charge, miss.changed_at, miss.bound, miss.so_far)
        for miss in near.misses
    ]
    assert Counter(told) == Counter(bound[:7] for bound in expected)


HIGHEST = """\
rate_card: highest
version: 1
effective_from: 2024-01-01
reason: One charge an aggregation that no sum tells.
currency: USD
cycle: {every: 1 month, anchor: calendar}
plans:
  most: {seats: {kind: usage, meter: units, aggregation: max, price: {graduated: [{up_to: "10", per_unit: "2"},
    {per_unit: "1"}]}}}
  last: {disk: {kind: usage, meter: units, aggregation: latest, price: {per_unit: "0.50"}, cap: "10.00"}}
  each: {people: {kind: usage, meter: units, aggregation: unique, price: {per_unit: "3"}, minimum: {quantity: "4"}}}
"""


def test_bounds_of_the_highest_the_last_and_the_different_values(tmp_path: Path) -> None:
    """The highest of 3, 9 and 7 is 9: 1 left to 10, +2.00; a row of 11 adds 1.00 more.

    The last quantity is 19, not 25: 9.50 of 10.00, and a row of 20 adds 0.50. Three different values of four owed cost
    12.00; the fourth costs nothing more, the fifth 3.00.
    """
    plans = {"most": (3, 9, 7), "last": (25, 19), "each": (1, 1, 1, 1)}
    values = "abca"
    starts = [f"{plan},2024-05-01,A,highest,{plan},started" for plan in plans]
    usage = [
        f"{plan},e{number},units,{quantity},2024-05-0{number + 2},{values[number]}"
        for plan, quantities in plans.items()
        for number, quantity in enumerate(quantities)
    ]
    files = {
        "rate_cards/highest.v1.yaml": HIGHEST,
        "accounts/1.csv": csv_text(ACCOUNTS, "A,2024-04-01,UTC"),
        "subscriptions/1.csv": csv_text(SUBSCRIPTIONS, *starts),
        "usage/1.csv": csv_text(USAGE, *usage),
    }
    write(tmp_path / "input", files)
    before = previewed(tmp_path, AS_OF, within="0.25")
    told = {
        miss.charge: (miss.kind, miss.so_far, miss.to_bound, miss.change_to_bound, miss.next_unit)
        for miss in before.near.misses
    }
    assert told == {
        "seats": ("tier", 9, 1, Decimal("2.00"), Decimal("1.00")),
        "disk": ("cap", Decimal("9.50"), Decimal("0.50"), Decimal(0), Decimal("0.50")),
        "people": ("minimum", 3, 1, Decimal(0), Decimal("3.00")),
    }
    billed = crossed(tmp_path, AS_OF, before, before.near.misses)
    assert {miss.charge: change for miss, change in billed} == {
        "seats": Decimal("3.00"),
        "disk": Decimal("0.50"),
        "people": Decimal("3.00"),
    }


def test_rows_close_to_an_edge_are_listed_in_later_nights_too(tmp_path: Path, before: Previewed) -> None:
    """What a night has read and counted is not at hand in the next one; its rows are listed as if they were new."""
    bill(tmp_path, date(2024, 5, 2), files(), max_rejected=Decimal(1))
    bill(tmp_path, date(2024, 5, 10), max_rejected=Decimal(1))
    late = {"usage/2.csv": csv_text(USAGE, "edges,e16,units,16,2024-04-30T23:59,")}
    assert previewed(tmp_path, AS_OF).near.edges == before.near.edges
    write(tmp_path / "input", late)
    (usage,) = [edge for edge in previewed(tmp_path, AS_OF).near.edges if edge.feed == "usage"]
    assert (usage.rows_before, usage.rows_after) == (2, 1)
    assert (usage.quantity_before, usage.quantity_after) == (Decimal(18), Decimal(4))


def test_the_page_shows_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "exports", files())
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "near.md").read_text(encoding="utf-8")
    command, _, shown = page.partition("```console\n")[2].partition("```")[0].partition("\n")
    told = CliRunner().invoke(app, command.split()[2:], catch_exceptions=False)
    assert told.output == shown


def test_nothing_near_is_an_empty_list(tmp_path: Path) -> None:
    write(tmp_path / "input", ONE_CUSTOMER)
    where = ["--input", f"{tmp_path}/input", "--output", f"{tmp_path}/output", "--as-of", "2024-01-20"]
    told = CliRunner().invoke(app, ["near", *where, "--json"], catch_exceptions=False)
    assert told.exit_code == 0
    assert json.loads(told.output) == {
        "as_of": "2024-01-20",
        "within": "0.1",
        "edge_minutes": 60,
        "near": [],
        "edges": [],
    }
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("share", ["-0.1", "1.5", "0.0000001", "NaN"])
def test_what_is_no_share_is_refused(share: str, tmp_path: Path) -> None:
    where = ["--input", f"{tmp_path}", "--output", f"{tmp_path}", "--as-of", "2024-01-20"]
    told = CliRunner().invoke(app, ["near", *where, f"--within={share}"])
    assert "--within" in str(told.exception)
