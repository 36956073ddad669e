"""Every head in sql/ is held to the truth: what a stage reads, that it reads only earlier ones, and its key."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from tests.bound_types import losses
from tests.rehearsals import INPUTS, Rehearsal, Rehearsals, of_page, of_usage_world
from tests.test_worked_examples import PAGES
from usage_rating.feeds import FEEDS
from usage_rating.sql_files import SQL_FOLDER
from usage_rating.stages import FILE_NAME, Stage, all_stages
from usage_rating.tables import TABLES

GIVEN = {f"known_{feed}" for feed in FEEDS if feed != "usage"} | {
    "alert_thresholds",
    "alerts_before",
    "charges",
    "credit_ledger_before",
    "files_read",
    "held_invoices_before",
    "invoice_lines_before",
    "invoices_before",
    "issued_cycles",
    "issued_numbers",
    "known_approvals",
    "known_rejected_rows",
    "lines_reproduced",
    "midnights",
    "months",
    "plans",
    "policies",
    "price_tiers",
    "rate_card_versions",
    "rejected_rows_before",
    "run_parameters",
    "usage_at_hand",
    "usage_kept",
    "usage_keys_repeated",
    "usage_outcomes_kept",
    "usage_settled",
    "usage_sums_broken",
    "usage_sums_kept",
}
# What depends on the order of rows has to say it; what depends on the clock or on chance has no place at all.
ORDERED = (exp.RowNumber, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue, exp.Rank, exp.DenseRank)
AGGREGATES_IN_ORDER = (exp.GroupConcat, exp.ArrayAgg, exp.First, exp.Last, exp.AnyValue)
OF_THE_MOMENT = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime, exp.CurrentDatetime, exp.Rand, exp.Uuid)
NAMES_OF_THE_MOMENT = {"now", "today", "random", "uuid", "gen_random_uuid", "nextval", "get_current_timestamp"}
STAGES = pytest.mark.parametrize("stage", all_stages(), ids=lambda stage: f"{stage.number:03}_{stage.name}")


@pytest.fixture(scope="module")
def nights() -> Iterator[list[Rehearsal]]:
    """Nights that between them put rows into nearly every stage."""
    said = ("late", "invoiced")
    # A page of the ledger names top-ups, which a rehearsal of stages alone cannot.
    late = [path for path in PAGES if any(word in path.stem for word in said) and "ledger" not in path.stem]
    with Rehearsals([*map(of_usage_world, (1, 2)), *map(of_page, late)]) as rehearsals:
        yield list(rehearsals)


def statement(stage: Stage) -> exp.Expr:
    (tree,) = sqlglot.parse(stage.sql, dialect="duckdb")
    assert tree is not None
    return tree


def relations_read(tree: exp.Expr) -> set[str]:
    """The tables of every scope, but for those that a `with` makes."""
    sources = (source for scope in traverse_scope(tree) for source in scope.sources.values())
    return {source.name for source in sources if isinstance(source, exp.Table)}


def test_every_file_is_a_stage() -> None:
    """No file is passed over for its name, no number is given twice, and what is read from outside exists."""
    files = sorted(path.name for path in SQL_FOLDER.glob("*.sql"))
    assert files == [f"{stage.number:03}_{stage.name}.sql" for stage in all_stages()]
    assert all(FILE_NAME.fullmatch(name) for name in files)
    assert [number for number, times in Counter(stage.number for stage in all_stages()).items() if times > 1] == []
    assert set(INPUTS) <= GIVEN


@STAGES
def test_one_select_a_file(stage: Stage) -> None:
    tree = statement(stage)
    assert isinstance(tree, exp.Select | exp.Union)
    assert not stage.sql.rstrip().endswith(";")
    assert not list(tree.find_all(exp.DDL, exp.DML)) or isinstance(tree, exp.Query)


@STAGES
def test_head_names_the_stage(stage: Stage) -> None:
    head = re.match(rf"-- {stage.number:03}_{stage.name}: \S.*\.(?=\n--\n)", stage.sql, re.DOTALL)
    assert head is not None
    assert all(line.startswith("--        ") for line in head[0].splitlines()[1:])
    labels = re.findall(r"^-- (\w+): ", stage.sql, re.MULTILINE)
    assert [label for label in labels if label != f"{stage.number:03}_{stage.name}"][:3] == ["in", "out", "grain"]


@STAGES
def test_head_lists_what_is_read(stage: Stage) -> None:
    assert set(stage.reads) == relations_read(statement(stage))
    assert len(stage.reads) == len(set(stage.reads))


@STAGES
def test_only_earlier_stages_are_read(stage: Stage) -> None:
    earlier = {other.name for other in all_stages() if other.number < stage.number}
    assert set(stage.reads) <= earlier | GIVEN


@STAGES
def test_nothing_depends_on_the_moment_or_on_an_order_not_given(stage: Stage) -> None:
    tree = statement(stage)
    assert not list(tree.find_all(*OF_THE_MOMENT, exp.Limit, exp.TableSample))
    assert NAMES_OF_THE_MOMENT.isdisjoint(call.name.lower() for call in tree.find_all(exp.Anonymous))
    unordered = [call.sql() for call in without_order(tree)]
    assert unordered == []


def without_order(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Calls whose result hangs on the order of rows, without an order."""
    named = {
        window.name.lower(): window for window in tree.find_all(exp.Window) if isinstance(window.this, exp.Identifier)
    }
    for call in tree.find_all(*ORDERED):
        window = call.find_ancestor(exp.Window)
        window = named.get(window.alias.lower(), window) if window else None
        if window is None or not window.args.get("order"):
            yield call
    for call in tree.find_all(*AGGREGATES_IN_ORDER):
        if not call.find(exp.Order):
            yield call


@STAGES
def test_key_is_unique(stage: Stage, nights: list[Rehearsal]) -> None:
    key = ", ".join(stage.key)
    for night in nights:
        repeated = night.engine.execute(
            f"select {key}, count(*) from {night.schema}.{stage.name} group by all having count(*) > 1"
        ).fetchall()
        assert repeated == [], night.script.name


@STAGES
def test_head_lists_the_columns(stage: Stage, nights: list[Rehearsal]) -> None:
    """Where the head says less than all, in words or with dots, what it does name has to be there."""
    columns = [name for name, _ in types(stage, nights[0])]
    named = stage.head("out").replace("|", ",").replace(" ", "").split(",")
    words = {name for name in named if name not in columns}
    assert all(re.fullmatch(r"\.\.\.|the[a-z']+.*", word) for word in words), words
    if not words:
        assert sorted(named) == sorted(columns)
    if stage.name in TABLES:
        assert set(TABLES[stage.name].columns) == set(columns)


@STAGES
def test_no_float_and_nothing_too_wide(stage: Stage, nights: list[Rehearsal]) -> None:
    """HUGEINT becomes DOUBLE in Parquet, and a DOUBLE holds no money."""
    found = dict(types(stage, nights[0]))
    assert {kind for kind in found.values() if re.match("DOUBLE|FLOAT|REAL|U?HUGEINT", kind)} == set()
    figures = {kind for name, kind in found.items() if re.search("amount|unit_price|quantity|total|minimum", name)}
    assert {kind for kind in figures if not re.fullmatch(r"DECIMAL.*|BIGINT|INTEGER", kind)} == set()


def types(stage: Stage, night: Rehearsal) -> list[tuple[str, str]]:
    """The names and types of a stage's columns."""
    return [row[:2] for row in night.engine.execute(f"describe {night.schema}.{stage.name}").fetchall()]


def test_every_stage_is_in_the_stage_table() -> None:
    """The README beside the stages lists them as they are."""
    listed = re.findall(r"^\| `(\d{3})_(\w+)` \|", (Path(SQL_FOLDER) / "README.md").read_text("utf-8"), re.MULTILINE)
    assert listed == [(f"{stage.number:03}", stage.name) for stage in all_stages()]


@STAGES
def test_no_figure_loses_a_decimal_but_where_lines_are_rounded(stage: Stage, nights: list[Rehearsal]) -> None:
    engine, schema = nights[0].engine, nights[0].schema
    engine.execute(f"set search_path = '{schema}'")
    lost = [(loss.decimals_before, loss.decimals_after, loss.is_written) for loss in losses(engine, stage.sql)]
    assert lost == ([(15, 4, True)] if stage.name == "rounded_figures" else [])


@pytest.mark.parametrize(
    ("sql", "lost"),
    [
        ("select coalesce(wide, narrow) from figures", (6, 4, False)),
        ("select wide from figures union all select narrow from figures", (6, 4, False)),
        ("select case when wide > narrow then wide else narrow end from figures", (6, 4, False)),
        ("select cast(wide as decimal(20, 2)) from figures", (6, 2, True)),
        ("select wide * 1e0 from figures", (6, None, False)),
    ],
)
def test_a_lost_decimal_is_found(sql: str, lost: tuple[int, int | None, bool]) -> None:
    engine = duckdb.connect()
    engine.execute("create table figures (wide decimal(38, 6), narrow decimal(38, 4))")
    assert [(loss.decimals_before, loss.decimals_after, loss.is_written) for loss in losses(engine, sql)] == [lost]
