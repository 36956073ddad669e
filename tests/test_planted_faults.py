"""The planted faults: the operators on small selects, a sample of all faults, and the list of those that survive.

The whole of it takes minutes, and is a command: `python -m tests.planted_faults`.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from tests.planted_faults import all_faults, survivors, tried
from tests.planting import OPERATORS, faults_in, parsed, text_of
from tests.rehearsals import EDGE_PAGES, Rehearsals, Stillborn, of_page, of_usage_world
from usage_rating.stages import Stage, all_stages

SAMPLE, SEED = 60, 2024
QUICK_NIGHTS = (
    *map(of_usage_world, (0, 1, 2)),
    *(of_page(path) for path in sorted(EDGE_PAGES.glob("*.md"))),
)
# In the quick nights; the command runs them all.
FOUND_AT_LEAST = 0.8


@pytest.fixture(scope="module")
def rehearsals() -> Iterator[Rehearsals]:
    with Rehearsals(QUICK_NIGHTS) as nights:
        yield nights


def test_most_of_a_sample_is_found_in_the_quick_nights(rehearsals: Rehearsals) -> None:
    listed = survivors()
    faults = [fault for fault in all_faults() if fault.name not in listed]
    findings = tried(Random(SEED).sample(faults, SAMPLE), rehearsals)  # noqa: S311
    assert len(findings.killed) >= FOUND_AT_LEAST * (SAMPLE - len(findings.stillborn)), findings.survived


def test_a_stage_without_a_fault_survives(rehearsals: Rehearsals) -> None:
    """What kills a fault is the fault, not that its stage was written out anew."""
    for stage in all_stages():
        assert rehearsals.killer_of(replace(stage, sql=text_of(parsed(stage)))) is None, stage.name


def test_listed_survivors_are_still_planted() -> None:
    """A stage that was changed takes its old faults with it; each reason is given."""
    planted = {fault.name for fault in all_faults()}
    assert sorted(set(survivors()) - planted) == []
    assert all(len(reason) > 20 for reason in survivors().values())


@pytest.mark.parametrize(
    ("operator", "sql", "wrongs"),
    [
        ("open for closed", "a < b", ["a <= b"]),
        ("open for closed", "a >= b", ["a > b"]),
        ("equal for unequal", "a = b", ["a <> b"]),
        ("least for most", "min(a)", ["MAX(a)"]),
        ("least for most", "max_by(a, b)", ["ARG_MIN(a, b)"]),
        ("most for all", "sum(a)", ["MAX(a)"]),
        ("before for after", "lag(a) over (order by b)", ["LEAD(a) OVER (ORDER BY b)"]),
        ("lost condition", "a and b and c", ["a AND b", "a AND c", "b AND c"]),
        ("lost condition", "(select a from t where a > 1)", ["(SELECT a FROM t WHERE TRUE)"]),
        ("lost partition key", "sum(a) over (partition by b, c)", ["SUM(a) OVER (PARTITION BY c)"]),
        ("other order", "sum(a) over (order by b desc)", ["SUM(a) OVER (ORDER BY b ASC)"]),
        ("a day off", "cycle_start < cycle_end", ["cycle_start < (cycle_end) - 1"]),
        ("a day off", "(select b as issue_date)", ["(SELECT (b) + 1 AS issue_date)"]),
        ("a microsecond off", "at_noon <= a_at", []),
        ("a microsecond off", "b_at <= a_at", ["b_at <= (a_at) + INTERVAL '1' MICROSECOND"]),
        ("other join", "(select 1 from a left join b on a.x = b.x)", ["(SELECT 1 FROM a JOIN b ON a.x = b.x)"]),
        ("lost branch", "(select a union all select b)", ["(SELECT a)", "(SELECT b)"]),
        ("lost coalesce", "coalesce(a, b)", ["a"]),
        ("other case", "case when a then b else c end", ["CASE WHEN a THEN c ELSE b END", "CASE WHEN a THEN b END"]),
        ("other number", "a + 0", ["a + 1"]),
        ("other number", "cast(a as decimal(18, 6))", []),
        ("other sign", "a - b", ["a + b"]),
        ("lost not", "not a", ["a"]),
        ("lost distinct", "(select distinct a)", ["(SELECT a)"]),
        ("lost member", "max_by(a, struct_pack(b := b, c := c))", ["ARG_MAX(a, {'c': c})", "ARG_MAX(a, {'b': b})"]),
        ("lost member", "a in ('b', 'c')", ["a IN ('c')", "a IN ('b')"]),
    ],
)
def test_operator(operator: str, sql: str, wrongs: list[str]) -> None:
    """What each operator makes of a select of one column."""
    stage = Stage(99, "any", f"select {sql}")
    planted = [fault.planted.sql for fault in faults_in(stage) if fault.operator == operator]
    assert [text.removeprefix("SELECT ") for text in planted][: len(wrongs) or None] == wrongs


def test_every_operator_plants_something() -> None:
    assert {fault.operator for fault in all_faults()} == set(OPERATORS)


def test_a_fault_that_is_no_sql_is_told_apart(rehearsals: Rehearsals) -> None:
    stage = next(stage for stage in all_stages() if stage.name == "peaks")
    with pytest.raises(Stillborn):
        rehearsals.killer_of(replace(stage, sql=stage.sql.replace("max(carts)", "no_such_column")))
