"""Whether a rival counted what the product published: agreement.sql over the files of both.

python -m tests.benchmarks.agreement OUTPUT RIVAL      exit code 1 where they differ
"""

import argparse
import sys
from pathlib import Path

import duckdb

SQL = Path(__file__).with_suffix(".sql")
SHOWN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("rival", type=Path)
    chosen = parser.parse_args()
    with duckdb.connect() as engine:
        history = engine.read_parquet(f"{chosen.output}/usage_history/*.parquet")
        history.create_view("usage_history")
        for table in ("quantities", "peaks", "clipped"):
            engine.read_parquet(f"{chosen.rival}/{table}.parquet").create_view(table)
        differences = engine.sql(SQL.read_text(encoding="utf-8")).fetchall()
        compared = len(history)
    for difference in differences[:SHOWN]:
        print(*difference)
    if differences or not compared:
        sys.exit(f"{chosen.rival}: {len(differences):,} figures differ, {compared:,} charges were compared")


if __name__ == "__main__":
    main()
