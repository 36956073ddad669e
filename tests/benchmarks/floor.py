"""The floor: what DuckDB alone takes for the rows of an input folder.

python -m tests.benchmarks.floor FOLDER/parquet [--threads 2]     floor.sql over its Parquet files
python -m tests.benchmarks.floor FOLDER/csv --text                reads every field of its CSV files as text
"""

import argparse
import csv
from pathlib import Path

import duckdb

FEEDS = ("usage", "cart_events")
SQL = Path(__file__).with_suffix(".sql")


def floor(engine: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, int]:
    """The figures of floor.sql over the Parquet files below `folder`."""
    for feed in FEEDS:
        engine.read_parquet(f"{folder}/{feed}/*.parquet").create_view(feed)
    figures: dict[str, int] = {}
    for statement in duckdb.extract_statements(SQL.read_text(encoding="utf-8")):
        found = engine.execute(statement)
        names = [column[0] for column in found.description or ()]
        figures |= dict(zip(names, map(int, found.fetchall()[0]), strict=True))
    return figures


def text(engine: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, int]:
    """How many fields of each feed's CSV files are filled. Counting them by column makes the engine read each."""
    figures = {}
    for feed in FEEDS:
        with next((folder / feed).glob("*.csv")).open(encoding="utf-8", newline="") as file:
            columns = dict.fromkeys(next(csv.reader(file)), "VARCHAR")
        rows = engine.read_csv(f"{folder}/{feed}/*.csv", header=True, auto_detect=False, columns=columns)
        figures[f"{feed}, fields"] = sum(rows.aggregate("count(columns(*))").fetchall()[0])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", action="store_true", help="CSV as text instead of the floor")
    parser.add_argument("--threads", type=int, help="all cores, if left out")
    chosen = parser.parse_args()
    with duckdb.connect(config={"threads": chosen.threads} if chosen.threads else {}) as engine:
        figures = text(engine, chosen.folder) if chosen.text else floor(engine, chosen.folder)
    for name, figure in figures.items():
        print(f"{name}: {figure:,}")


if __name__ == "__main__":
    main()
