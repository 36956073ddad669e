"""Reads one file of a feed as a run does, for the tests of what becomes of its rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.folders import write
from usage_rating import ingest
from usage_rating.engine import open_engine
from usage_rating.input_files import check, input_file
from usage_rating.settings import Settings


@dataclass(frozen=True)
class Read:
    """What became of one file: its good rows in the feed's columns, its rejected ones, and how many there were."""

    total: int
    rows: list[dict[str, Any]]
    rejected: list[dict[str, Any]]

    def by_row(self, column: str) -> dict[int, object]:
        """Row number to the typed value, or to the reason it was rejected for."""
        good = {row["row_number"]: row[column] for row in self.rows}
        bad = {row["row_number"]: row["reason"] for row in self.rejected}
        assert len(good) + len(bad) == self.total, "a row was lost, or two have one number"
        return dict(sorted((good | bad).items()))


Reader = Callable[[str, str | bytes], Read]


@contextmanager
def reader(folder: Path, scratch: Path) -> Iterator[Reader]:
    """Reads one file at a time, by its name in the input folder; its refusals are those of a run."""

    def read_file(name: str, content: str | bytes) -> Read:
        path = write(folder, {name: content}) / name
        feed = name.split("/", maxsplit=1)[0]
        (checked,) = check([input_file(feed, name, path)], allow_missing_final_newline=False)
        tables = [f"new_{feed}", "new_rejected_rows"]
        for table in tables:
            engine.execute(f"delete from {table}")
        total = ingest.read_file(engine, checked, 1, scratch)
        return Read(total, *(engine.table(table).order("row_number").to_arrow_table().to_pylist() for table in tables))

    with open_engine(Settings(input=folder, output=folder, threads=1), scratch) as engine:
        ingest.prepare(engine)
        yield read_file
