"""The same rows laid out otherwise give the same bill, in worlds without conflicts."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.comparison import run
from tests.oracle import World
from tests.test_properties import EXAMPLES, drawing
from tests.worlds import SUFFIXES, worlds
from tests.worlds_usage import usage_worlds

Rows = Sequence[Mapping[str, str | None]]


def laid_out_otherwise(world: World, random: Random) -> Iterator[tuple[str, World]]:
    """The world's rows in other orders, files and formats, and each of them twice."""
    files = world.files
    shuffled = {name: random.sample(rows, len(rows)) for name, rows in files.items()}
    yield "shuffled rows", replace(world, files=shuffled)
    split: dict[str, Rows] = {}
    for name, rows in files.items():
        feed, rest = name.split("/", maxsplit=1)
        split |= {f"{feed}/part{part}/{rest}": rows[part::2] for part in (0, 1)}
    yield "split files", replace(world, files=split)
    yield "other formats", replace(world, files={turned(name): rows for name, rows in files.items()})
    twice: dict[str, Rows] = {}
    for name, rows in files.items():
        feed, rest = name.split("/", maxsplit=1)
        twice |= {name: [*rows, *rows[::2]], f"{feed}/again/{rest}": rows[1::2]}
    yield "every row twice", replace(world, files=twice)


def turned(name: str) -> str:
    """The name with Parquet for CSV and CSV for Parquet."""
    suffix = max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len)
    return name.removesuffix(suffix) + f"-{SUFFIXES.index(suffix)}" + (".csv" if "parquet" in suffix else ".parquet")


def outcome(world: World, as_of: date) -> dict[str, Counter[tuple[Any, ...]]]:
    """The published bill; of refused rows what they were refused for, since their places differ."""
    with TemporaryDirectory() as folder:
        ran = run(world, Path(folder), as_of)
        tables = {
            name: Counter(tuple(row.items()) for row in ran.published[name])
            for name in ("invoices", "invoice_lines", "usage_history", "alerts", "credit_ledger")
        }
        refused = Counter((row["feed"], row["status"], row["reason"]) for row in ran.published["rejected_rows"])
        return {**tables, "rejected_rows": refused}


@drawing(max(EXAMPLES // 8, 4))
@given(worlds(troubles=False) | usage_worlds(troubles=False), st.randoms(use_true_random=False))
def test_how_rows_are_laid_out_changes_nothing(drawn: tuple[World, date], random: Random) -> None:
    """Shuffled rows, split files, CSV for Parquet and back, every row delivered twice."""
    world, as_of = drawn
    expected = outcome(world, as_of)
    for name, other in laid_out_otherwise(world, random):
        actual = outcome(other, as_of)
        for table, rows in expected.items():
            assert actual[table] == rows, f"{name}: {table} differs"
