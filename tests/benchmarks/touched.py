"""The rows that one of a row of nights touches, as Parquet files of their own, for the floor.

python -m tests.benchmarks.touched FOLDER --night 30 OUT     FOLDER as data.py made it; OUT is an input of floor.py
"""

import argparse
from pathlib import Path

import duckdb
from duckdb import ColumnExpression, ConstantExpression

from tests.benchmarks.floor import FEEDS
from tests.benchmarks.period import night

SQL = Path(__file__).with_suffix(".sql")


def write_touched(folder: Path, number: int, to: Path) -> None:
    """Writes the rows that the n-th night touches; those are all that its floor goes over."""
    with duckdb.connect() as engine:
        falls_due = ColumnExpression("cycle_end") == ConstantExpression(night(number))
        engine.read_parquet(str(folder / "cycles.parquet")).filter(falls_due).create_view("cycles_due")
        for feed in FEEDS:
            files = [f"{folder}/nights/{earlier:03}/{feed}/*.parquet" for earlier in range(1, number + 1)]
            engine.read_parquet(files[:-1]).create_view("before")
            engine.read_parquet(files[-1]).create_view("new")
            (to / feed).mkdir(parents=True, exist_ok=True)
            engine.sql(SQL.read_text(encoding="utf-8")).write_parquet(str(to / feed / "touched.parquet"))
            engine.execute("drop view before")
            engine.execute("drop view new")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument("--night", type=int, required=True)
    chosen = parser.parse_args()
    write_touched(chosen.folder, chosen.night, chosen.to)


if __name__ == "__main__":
    main()
