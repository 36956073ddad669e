"""Writes a night's Parquet files, and keeps their number small: a reader pays for each file that it opens.

A run's rows get a file named after it. Once eight runs or more can share one, the newest takes in the files before its
own, each as long as it has no more runs than have come together so far: so there are files of 8, 16, 32... runs, and a
folder holds a thousand nights in some fifteen. A file that is large enough to be worth opening stays as it is. Which
are taken in follows from names and sizes alone: the same runs make the same files.
"""

from pathlib import Path

import duckdb

from usage_rating.engine import write_kept
from usage_rating.files import hash_of
from usage_rating.manifests import run_id

RUNS_GATHERED = 8  # at least
GATHERED_BELOW = 256 << 10  # bytes: opening a file takes about as long as reading so many of an open one


class NightFiles:
    """The files of a night that is being written, in a folder that begins as the night before.

    `hashes` has the hash of each file written so far, by name; `gathered` names files of earlier runs that are gone, as
    a file of this run has their rows.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection, folder: Path, run_number: int) -> None:
        self._engine, self._folder, self._run_number = engine, folder, run_number
        self.hashes: dict[str, str] = {}
        self.gathered: set[str] = set()

    def add_apart(self, table: str, rows: duckdb.DuckDBPyRelation, order: str) -> None:
        """Adds a file of this run's rows alone. The first run writes one even of none, for its columns."""
        if self._run_number == 1 or _any(rows):
            self._write(rows, order, self._own_file(table))

    def add(self, table: str, rows: duckdb.DuckDBPyRelation, order: str = "", *, place: str = "") -> None:
        """Adds rows to those of earlier runs, and gathers their files where it is time to.

        :param order: in which they are written; left out: as they come, or by all columns where earlier ones join them
        :param place: columns that tell a row, where one that is added stands for the earlier ones of its place
        """
        earlier = self._to_gather(table)
        if not earlier or (len(earlier) == 1 and not _any(rows)):
            self.add_apart(table, rows, order)
            return
        self._write(self._joined(earlier, rows, place), order or "all", self._own_file(table))
        for path in earlier:
            path.unlink()
            self.gathered.add(self._name(path))

    def replace(self, table: str, rows: duckdb.DuckDBPyRelation, order: str, name: str) -> None:
        """Writes a table that each run writes whole, into one file."""
        self._write(rows, order, self._folder / table / f"{name}.parquet")

    def revise(self, table: str, keys: duckdb.DuckDBPyRelation, rows: duckdb.DuckDBPyRelation, order: str) -> None:
        """Puts rows in the place of those that have their keys, in the files that have these.

        :param keys: of every row that goes, also where none takes its place; and `run_number`, the run that added it
        """
        files, own_file = self._files(table), self._own_file(table)
        runs_of: dict[Path, list[int]] = {}
        for (run_number,) in keys.project("run_number").distinct().order("run_number").fetchall():
            path = next((path for path in files if int(path.stem) >= run_number), own_file)
            runs_of.setdefault(path, []).append(run_number)
        key = ", ".join(name for name in keys.columns if name != "run_number")
        for path, runs in runs_of.items():
            gone = keys.filter(f"run_number in ({', '.join(map(str, runs))})").project(key)
            revised = rows.join(gone, key, how="semi")
            if path.exists():
                revised = self._engine.read_parquet(str(path)).join(gone, key, how="anti").union(revised)
            self._write(revised, order, path)

    def _to_gather(self, table: str) -> list[Path]:
        """The newest files that this run takes into its own: each has the runs after that of the file before."""
        files = self._files(table)
        last_runs = [0, *(int(path.stem) for path in files)]
        first = len(files)
        while first:
            before, last = last_runs[first - 1 : first + 1]
            if last - before > self._run_number - last or files[first - 1].stat().st_size >= GATHERED_BELOW:
                break
            first -= 1
        return files[first:] if self._run_number - last_runs[first] >= RUNS_GATHERED else []

    def _joined(self, earlier: list[Path], rows: duckdb.DuckDBPyRelation, place: str) -> duckdb.DuckDBPyRelation:
        columns = ", ".join(rows.columns)
        found = self._engine.read_parquet([str(path) for path in earlier], filename=bool(place))
        if place:
            newest = f"row_number() over (partition by {place} order by filename desc) as nth"
            found = found.project(f"*, {newest}").filter("nth = 1").join(rows.project(place), place, how="anti")
        return found.project(columns).union(rows)

    def _write(self, rows: duckdb.DuckDBPyRelation, order: str, path: Path) -> None:
        """What has the name now may be the night before's too, and stays as it is there."""
        path.parent.mkdir(exist_ok=True)
        aside, ordered = path.with_suffix(".new"), rows.order(order) if order else rows
        if path.is_relative_to(self._folder / "kept"):
            write_kept(self._engine, ordered, aside)
        else:
            ordered.write_parquet(str(aside), compression="zstd")
        aside.replace(path)
        self.hashes[self._name(path)] = hash_of(path)

    def _files(self, table: str) -> list[Path]:
        return sorted((self._folder / table).glob("*.parquet"))

    def _own_file(self, table: str) -> Path:
        return self._folder / table / f"{run_id(self._run_number)}.parquet"

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def _any(rows: duckdb.DuckDBPyRelation) -> bool:
    return bool(rows.limit(1).fetchall())
