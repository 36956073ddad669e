"""The floor: floor.sql over the Parquet files of an input folder, by DuckDB alone.

python -m tests.benchmarks.floor FOLDER/parquet [--threads 2]
"""

import argparse
from pathlib import Path

import duckdb

FEEDS = ("usage", "cart_events")
SQL = Path(__file__).with_suffix(".sql")


def run(folder: Path, threads: int | None = None) -> dict[str, int]:
    """The figures of floor.sql over the files below `folder`."""
    with duckdb.connect(config={"threads": threads} if threads else {}) as engine:
        for feed in FEEDS:
            engine.read_parquet(f"{folder}/{feed}/*.parquet").create_view(feed)
        figures: dict[str, int] = {}
        for statement in duckdb.extract_statements(SQL.read_text(encoding="utf-8")):
            found = engine.execute(statement)
            names = [column[0] for column in found.description or ()]
            figures |= dict(zip(names, map(int, found.fetchall()[0]), strict=True))
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int)
    chosen = parser.parse_args()
    for name, figure in run(chosen.folder, chosen.threads).items():
        print(f"{name}: {figure:,}")


if __name__ == "__main__":
    main()
