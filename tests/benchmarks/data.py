"""The rows of the benchmark, made from a seed: the same sizes give the same files.

    python -m tests.benchmarks.data FOLDER --rows 1000000               FOLDER/parquet, an input folder of weekly files
    python -m tests.benchmarks.data FOLDER --rows 1000000 --csv         the same rows below FOLDER/csv as well
    python -m tests.benchmarks.data FOLDER --rows 1000000 --nights 30   FOLDER/nights/001 to 030, each a night's files

and a tenth as many cart events. FOLDER/cycles.parquet has every billing cycle's edges, for those who work without the
product. Rows come in the order in which they arrive: 3 % are repeats, half of them in the same piece, half in the next
one; from the third week on 1 % are late by two weeks to two months; 0.1 % are wrong. In the last of a row of nights
nothing is late.
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tests.benchmarks.cycles import billing_cycles
from tests.benchmarks.period import DAYS, WEEK, night
from tests.benchmarks.rows import FEEDS, Feed, Rows
from tests.benchmarks.world import DAY, FIRST_INSTANT, World, customer_feeds, make_world

SEED = 2024
PIECE_ROWS = 1 << 20
REPEATED, LATE, WRONG = 0.03, 0.01, 0.001
LATE_DAYS = (14, 60)
CARDS = Path(__file__).parent / "rate_cards"


@dataclass(frozen=True)
class Delivery:
    """The files of a week or a night: where they go, and from when to when the rows in them happened."""

    folders: tuple[Path, ...]
    name: str
    begins: int
    ends: int
    rows: int
    has_late_rows: bool = True


@dataclass
class Maker:
    """Makes one feed's rows, piece by piece; remembers which are to be repeated in the next one."""

    feed: Feed
    world: World
    random: np.random.Generator
    made: int = 0
    repeated_next: Rows | None = None

    def pieces(self, delivery: Delivery, rows: int) -> Iterator[Rows]:
        """So many rows of a delivery, in pieces of about a million, in order of time."""
        bounds = np.linspace(0, rows, -(-rows // PIECE_ROWS) + 1).astype(np.int64)
        instants = delivery.begins + (delivery.ends - delivery.begins) * bounds // rows
        for count, begins, ends in zip(np.diff(bounds), instants, instants[1:], strict=False):
            yield self._piece(int(count), int(begins), int(ends), LATE * delivery.has_late_rows)

    def _piece(self, rows: int, begins: int, ends: int, late: float) -> Rows:
        """So many rows, good and bad, that arrive from one instant to another."""
        random = self.random
        wrong, again = round(rows * WRONG), round(rows * REPEATED / 2)
        before = [] if self.repeated_next is None else [self.repeated_next]
        count = rows - wrong - again - sum(map(len, before))
        at = np.sort(random.integers(begins, ends, count))
        places = random.integers(0, count, round(count * late))
        places = places[at[places] >= FIRST_INSTANT + (LATE_DAYS[0] + 1) * DAY]
        earliest = np.maximum(at[places] - LATE_DAYS[1] * DAY, FIRST_INSTANT)
        at[places] = random.integers(earliest, at[places] - LATE_DAYS[0] * DAY)
        fresh = self.feed.fresh(self.world, at, self.made, random)
        self.made += count
        spoiled = fresh[random.integers(0, count, wrong)]
        self.feed.spoil(self.world, spoiled, random)
        repeated, self.repeated_next = (fresh[random.integers(0, count, again)] for _ in range(2))
        return np.concatenate([fresh, repeated, spoiled, *before])


def weeks(folders: tuple[Path, ...], rows: int) -> list[Delivery]:
    """Three months in weekly files."""
    return [_delivery(folders, week, DAYS // WEEK, WEEK, rows) for week in range(DAYS // WEEK)]


def nights(folder: Path, count: int, rows: int) -> list[Delivery]:
    """So many nights, with a folder each; the last one without late rows."""
    made = [_delivery((folder / f"{number + 1:03}",), number, count, 1, rows) for number in range(count)]
    return [*made[:-1], replace(made[-1], has_late_rows=False)]


def _delivery(folders: tuple[Path, ...], number: int, of: int, days: int, rows: int) -> Delivery:
    begins = FIRST_INSTANT + number * days * DAY
    name = str(night(number * days + 1))
    return Delivery(folders, name, begins, begins + days * DAY, rows * (number + 1) // of - rows * number // of)


def write_deliveries(world: World, deliveries: list[Delivery], random: np.random.Generator) -> None:
    """Writes all files, those of customers with the week or the night in which they are known."""
    makers = [Maker(feed, world, random) for feed in FEEDS]
    customers = customer_feeds(world, (deliveries[-1].ends - FIRST_INSTANT) // DAY)
    for number, delivery in enumerate(deliveries):
        for name, (table, known_at) in customers.items():
            is_known = (known_at < delivery.ends) & ((known_at >= delivery.begins) | (number == 0))
            if is_known.any():
                _write(delivery, name, iter([table.filter(pa.array(is_known))]))
        for maker, rows in zip(makers, (delivery.rows, delivery.rows // 10), strict=True):
            tables = (maker.feed.table(world, piece) for piece in maker.pieces(delivery, rows))
            _write(delivery, maker.feed.name, tables)


def _write(delivery: Delivery, feed: str, tables: Iterator[pa.Table]) -> None:
    """A file below each folder; in Parquet a row group a table."""
    first = next(tables)
    with ExitStack() as files:
        writers = [
            files.enter_context(_writer(folder / feed / delivery.name, first.schema, is_csv=folder.name == "csv"))
            for folder in delivery.folders
        ]
        for table in chain([first], tables):
            for writer in writers:
                writer.write_table(table)


def _writer(path: Path, schema: pa.Schema, *, is_csv: bool) -> pq.ParquetWriter | pacsv.CSVWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_csv:
        return pacsv.CSVWriter(f"{path}.csv", schema, write_options=pacsv.WriteOptions(quoting_style="none"))
    in_dictionary = [name for name in schema.names if name not in ("event_id", "occurred_at")]
    return pq.ParquetWriter(f"{path}.parquet", schema, use_dictionary=in_dictionary, store_schema=False)


def make(folder: Path, rows: int, *, nights_count: int = 0, as_csv: bool = False) -> None:
    """Makes the input folders below `folder`, in place of what was there.

    :param rows: usage rows in all; a tenth as many cart events come on top
    :param nights_count: so many nights instead of three months in weekly files
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random = np.random.default_rng(SEED)
    days = nights_count or DAYS
    world = make_world(rows, days, random)
    kinds = ["nights"] if nights_count else ["parquet", "csv"] if as_csv else ["parquet"]
    inputs = tuple(folder / kind for kind in kinds)
    deliveries = nights(inputs[0], nights_count, rows) if nights_count else weeks(inputs, rows)
    write_deliveries(world, deliveries, random)
    pq.write_table(billing_cycles(world, night(days + 1)), folder / "cycles.parquet")
    for input_folder in deliveries[0].folders:
        shutil.copytree(CARDS, input_folder / "rate_cards")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000, help="usage rows in all")
    parser.add_argument("--nights", type=int, default=0, help="so many nights with files of their own")
    parser.add_argument("--csv", action="store_true", help="the same as CSV as well")
    chosen = parser.parse_args()
    make(chosen.folder, chosen.rows, nights_count=chosen.nights, as_csv=chosen.csv)


if __name__ == "__main__":
    main()
