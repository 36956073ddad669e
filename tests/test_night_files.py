"""The files of many nights: few, with every row, and the same from the same runs."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from usage_rating import night_files
from usage_rating.night_files import NightFiles

NIGHTS = 130
TABLE = "kept/rows"


@pytest.fixture
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def rows(engine: duckdb.DuckDBPyConnection, run_number: int, count: int = 1) -> duckdb.DuckDBPyRelation:
    return engine.sql(
        f"select {run_number} as run_number, range as row_number, hash(range) as content from range({count})"
    )


def files(folder: Path) -> dict[str, int]:
    """Each file's number of rows."""
    with duckdb.connect() as connection:
        return {
            path.stem: len(connection.read_parquet(str(path)).fetchall()) for path in sorted((folder / TABLE).iterdir())
        }


def night(engine: duckdb.DuckDBPyConnection, folder: Path, run_number: int, count: int = 1) -> NightFiles:
    (folder / TABLE).mkdir(parents=True, exist_ok=True)
    made = NightFiles(engine, folder, run_number)
    made.add(TABLE, rows(engine, run_number, count), "run_number, row_number")
    return made


def test_many_nights_are_few_files_and_every_row_is_there_once(
    engine: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    most = 0
    for number in range(1, NIGHTS + 1):
        before = files(tmp_path) if number > 1 else {}
        made = night(engine, tmp_path, number)
        now = files(tmp_path)
        assert sum(now.values()) == number
        assert {f"{TABLE}/{name}.parquet" for name in before.keys() - now.keys()} == made.gathered
        assert made.hashes.keys() == {f"{TABLE}/{number:06}.parquet"}
        most = max(most, len(now))
    assert most == 7 + 4
    assert files(tmp_path) == {"000128": 128, "000129": 1, "000130": 1}
    found = (
        engine.read_parquet(f"{tmp_path}/{TABLE}/*.parquet")
        .project("run_number, row_number")
        .order("run_number")
        .fetchall()
    )
    assert found == [(number, 0) for number in range(1, NIGHTS + 1)]


def test_a_run_without_rows_writes_nothing_but_the_first_for_its_columns(
    engine: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for number in range(1, 20):
        night(engine, tmp_path, number, 0)
    assert files(tmp_path) == {"000001": 0}
    night(engine, tmp_path, 20)
    assert files(tmp_path) == {"000020": 1}, "twenty runs share it, of which one had a row"


def test_many_files_of_an_earlier_version_come_together_at_once(
    engine: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_files, "RUNS_GATHERED", NIGHTS)
    for number in range(1, 101):
        night(engine, tmp_path, number)
    assert len(files(tmp_path)) == 100
    monkeypatch.undo()
    night(engine, tmp_path, 101)
    assert files(tmp_path) == {"000101": 101}


def test_a_large_file_stays_as_it_is_and_parts_those_before_it_from_those_after(
    engine: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_files, "GATHERED_BELOW", 100_000)
    for number in range(1, 17):
        night(engine, tmp_path, number, 100_000 if number == 5 else 1)
    assert files(tmp_path) == dict.fromkeys(("000001", "000002", "000003", "000004"), 1) | {
        "000005": 100_000,
        "000013": 8,
        "000014": 1,
        "000015": 1,
        "000016": 1,
    }


def test_a_row_that_was_found_otherwise_later_stands_for_the_earlier_ones(
    engine: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / TABLE).mkdir(parents=True)
    for number in range(1, 9):
        place = number // 3
        found = engine.sql(f"select {place} as place, {number} as found_in")
        NightFiles(engine, tmp_path, number).add(TABLE, found, "place", place="place")
    assert files(tmp_path) == {"000008": 3}
    assert engine.read_parquet(f"{tmp_path}/{TABLE}/*.parquet").fetchall() == [(0, 2), (1, 5), (2, 8)]


def test_rows_are_revised_in_the_files_that_have_them(engine: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / TABLE).mkdir(parents=True)
    for number in range(1, 11):
        made = NightFiles(engine, tmp_path, number)
        made.add(TABLE, engine.sql(f"select {number} as place, 'first' as found"), "place")
    made.revise(
        TABLE,
        engine.sql("select unnest([3, 5, 9]) as run_number, unnest([3, 5, 9]) as place"),
        engine.sql("select unnest([3, 9, 10]) as place, 'then' as found"),
        "place",
    )
    assert made.hashes.keys() == {f"{TABLE}/{number:06}.parquet" for number in (8, 9, 10)}
    found = engine.read_parquet(f"{tmp_path}/{TABLE}/*.parquet").order("all").fetchall()
    assert found == [(place, "then" if place in (3, 9) else "first") for place in range(1, 11) if place != 5]
