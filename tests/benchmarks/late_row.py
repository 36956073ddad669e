"""One usage row for a cycle that was closed half a year before a night.

python -m tests.benchmarks.late_row FOLDER FILE --night 361       FOLDER as data.py made it
"""

import argparse
from datetime import timedelta
from pathlib import Path

import duckdb

from tests.benchmarks.period import night

SQL = Path(__file__).with_suffix(".sql")
HALF_A_YEAR = timedelta(days=182)


def write_late_row(folder: Path, number: int, to: Path) -> None:
    """Writes the row that late_row.sql gives for the n-th night."""
    with duckdb.connect() as engine:
        engine.read_parquet(str(folder / "cycles.parquet")).create_view("cycles")
        engine.execute(
            "create table bounds as select $first_day::date as first_day, $closed_by::date as closed_by",
            {"first_day": night(1), "closed_by": night(number) - HALF_A_YEAR},
        )
        to.parent.mkdir(parents=True, exist_ok=True)
        engine.sql(SQL.read_text(encoding="utf-8")).write_parquet(str(to))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument("--night", type=int, required=True)
    chosen = parser.parse_args()
    write_late_row(chosen.folder, chosen.night, chosen.to)


if __name__ == "__main__":
    main()
