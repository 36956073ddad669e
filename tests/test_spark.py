"""The stages as Spark would run them: rewritten by sqlglot, and what means another thing there kept out.

Spark itself is not needed here; what differs in meaning was looked up, and where a stage has to live with it, the
stage is run with Spark's meaning spelled out for DuckDB.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from tests.planting import DATE, INSTANT, parsed, text_of
from tests.rehearsals import Rehearsals, of_page, of_world
from usage_rating.stages import Stage, all_stages

STAGES = pytest.mark.parametrize("stage", all_stages(), ids=lambda stage: f"{stage.number:03}_{stage.name}")
PAGES = Path(__file__).parent / "worked_examples"
# Translated the wrong way round, not at all, or into an inexact number (STYLE, facts found by trying).
REFUSED = (exp.AtTimeZone, exp.Div, exp.Avg, exp.Qualify, exp.Lambda, exp.Pivot)
WIDE = (exp.DataType.Type.INT128, exp.DataType.Type.UINT128, exp.DataType.Type.DOUBLE, exp.DataType.Type.FLOAT)
PASSED_ON = {"to_json"}
WHOLE_DAYS = re.compile(r".*_days|day_offset")


def on_spark(sql: str) -> str:
    """A stage's SQL in Spark's words; anything Spark lacks raises."""
    (text,) = sqlglot.transpile(sql, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    return text


def wrong_on_spark(tree: exp.Expr) -> list[str]:
    """The constructs that Spark runs otherwise, or not at all."""
    found = [node for node in tree.find_all(*REFUSED, exp.Join, exp.DataType, exp.Star) if is_wrong(node)]
    return [text_of(node) for node in found]


def is_wrong(node: exp.Expr) -> bool:
    if isinstance(node, exp.Join):
        return str(node.args.get("method") or "").upper() in {"ASOF", "POSITIONAL", "NATURAL"}
    if isinstance(node, exp.DataType):
        return node.this in WIDE
    return not isinstance(node, exp.Star) or bool(node.args.get("except_"))


@STAGES
def test_stage_is_rewritten_whole(stage: Stage) -> None:
    text = on_spark(stage.sql)
    again = sqlglot.parse_one(text, dialect="spark")
    assert {table.name for table in again.find_all(exp.Table)} >= set(stage.reads)
    assert sqlglot.parse_one(again.sql(dialect="spark"), dialect="spark") == again
    unknown = {call.name.lower() for call in parsed(stage).find_all(exp.Anonymous)}
    assert unknown <= PASSED_ON, "sqlglot hands a function that it does not know to Spark as it is"


@STAGES
def test_stage_has_nothing_that_spark_runs_otherwise(stage: Stage) -> None:
    assert wrong_on_spark(parsed(stage)) == []


@pytest.mark.parametrize(
    "sql",
    [
        "select at at time zone 'UTC' from t",
        "from t asof join s on t.at >= s.at",
        "select cast(a as hugeint) from t",
        "select a / b from t",
        "select avg(a) from t",
        "select * exclude (a) from t",
        "select a from t qualify row_number() over (order by a) = 1",
    ],
)
def test_what_spark_runs_otherwise_is_found(sql: str) -> None:
    assert wrong_on_spark(sqlglot.parse_one(sql, dialect="duckdb"))


@STAGES
def test_empty_values_come_last_as_in_duckdb(stage: Stage) -> None:
    """Spark puts them first in an ascending order unless told."""
    before = list(parsed(stage).find_all(exp.Ordered))
    after = list(sqlglot.parse_one(on_spark(stage.sql), dialect="spark").find_all(exp.Ordered))
    assert len(before) == len(after)
    assert not [order.sql() for order in after if order.args.get("nulls_first")]


@STAGES
def test_frames_and_extremes_stay_as_written(stage: Stage) -> None:
    """LEAST and GREATEST pass over empty values in both; no case is put around them."""
    kinds = (exp.WindowSpec, exp.Window, exp.Least, exp.Greatest, exp.Case, exp.Coalesce, exp.IntDiv, exp.Round)
    after = sqlglot.parse_one(on_spark(stage.sql), dialect="spark")
    for kind in kinds:
        assert len(list(parsed(stage).find_all(kind))) == len(list(after.find_all(kind))), kind
    assert " / " not in on_spark(stage.sql)


@STAGES
def test_only_a_plain_int_is_added_to_a_date(stage: Stage) -> None:
    """Spark has no DATE + BIGINT, which DuckDB's whole-number functions give."""
    sums = [node for node in parsed(stage).find_all(exp.Add, exp.Sub) if is_date(node.this)]
    assert [text_of(node) for node in sums if not is_plain_int(node.expression)] == []


def is_date(node: exp.Expr) -> bool:
    is_cast = isinstance(node, exp.Cast) and node.to.is_type("date")
    return is_cast or (isinstance(node, exp.Column) and bool(DATE.fullmatch(node.name)))


def is_plain_int(node: exp.Expr) -> bool:
    if isinstance(node, exp.Coalesce):
        return is_plain_int(node.this)
    is_cast = isinstance(node, exp.Cast) and node.to.is_type("int")
    return is_cast or isinstance(node, exp.Literal) or bool(WHOLE_DAYS.fullmatch(node.name))


@STAGES
def test_instants_become_text_only_to_be_shown(stage: Stage) -> None:
    """Spark writes them without an offset, and leaves empty values out of JSON: so nothing may be joined on either."""
    tree = parsed(stage)
    casts = [cast for cast in tree.find_all(exp.Cast) if cast.to.is_type("text") and INSTANT.fullmatch(cast.this.name)]
    in_json = [call for call in tree.find_all(exp.Anonymous) if call.name.lower() == "to_json"]
    assert [text_of(cast) for cast in casts if cast.find_ancestor(exp.Anonymous) not in in_json] == []
    assert {alias.alias for call in in_json if (alias := call.find_ancestor(exp.Alias))} <= {"evidence", "raw"}


def test_a_sequence_that_runs_backwards_adds_nothing() -> None:
    """Spark counts down where the start lies after the end; DuckDB gives nothing."""
    with Rehearsals([of_page(PAGES / "missed-nights-are-caught-up-in-one-run.md"), *map(of_world, range(4))]) as nights:
        for stage in all_stages():
            tree = parsed(stage)
            series = list(tree.find_all(exp.GenerateSeries))
            for call in series:
                first, last = text_of(call.args["start"]), text_of(call.args["end"])
                both_ways = f"generate_series({first}, {last}, case when {first} <= {last} then 1 else -1 end)"
                call.replace(sqlglot.parse_one(both_ways, dialect="duckdb"))
            if series:
                planted = replace(stage, sql=text_of(tree))
                assert nights.killer_of(planted) is None, stage.name
