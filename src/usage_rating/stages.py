"""Runs the stages of sql/ in the order of their numbers. Knows nothing about billing."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import duckdb

from usage_rating.errors import BadInput
from usage_rating.sql_files import SQL_FOLDER

FILE_NAME = re.compile(r"(?P<number>[0-9]{3})_(?P<name>[a-z0-9_]+)\.sql")
CHECKS_FROM = 900


@dataclass(frozen=True)
class Stage:
    """One file of sql/: a select, and the relation it makes."""

    number: int
    name: str
    sql: str

    @property
    def is_check(self) -> bool:
        """Whether no row may come out."""
        return self.number >= CHECKS_FROM

    def head(self, label: str) -> str:
        """What the stage's head says after `label:`, on one line."""
        found = re.search(rf"^-- {label}: +(?P<said>.*(?:\n--  .*)*)", self.sql, re.MULTILINE)
        return re.sub(r"\n-- +", " ", found["said"]) if found else ""

    @property
    def kind(self) -> str:
        """Whether its relation is kept as a table, or worked out where it is read."""
        return self.head("as") or "table"

    @property
    def summary(self) -> str:
        """What it makes, in a sentence."""
        return self.head(f"{self.number:03}_{self.name}")

    @property
    def reads(self) -> list[str]:
        """The relations it reads."""
        return self.head("in").replace(" ", "").split(",")

    @property
    def key(self) -> list[str]:
        """The columns that are unique in its result."""
        return self.head("out").split("|")[0].replace(" ", "").split(",")


@cache
def all_stages() -> tuple[Stage, ...]:
    """Every stage, in the order in which they run."""
    found = ((FILE_NAME.fullmatch(path.name), path) for path in sorted(SQL_FOLDER.glob("*.sql")))
    return tuple(
        Stage(int(match["number"]), match["name"], path.read_text(encoding="utf-8")) for match, path in found if match
    )


def stages_from(first: str, last: str) -> tuple[Stage, ...]:
    """The stages from one to another, both by name and both included."""
    names = [stage.name for stage in all_stages()]
    return all_stages()[names.index(first) : names.index(last) + 1]


def run_stages(
    engine: duckdb.DuckDBPyConnection,
    stages: Iterable[Stage],
    announce: Callable[[str], None] = lambda name: None,
) -> None:
    """Makes each stage's relation a table of its name.

    :param announce: told each stage before it runs: its name, and which of all stages it is
    :raises BadInput: a figure does not fit its type; it is never wrapped or rounded to fit
    :raises AssertionError: a check found something: a fault of ours
    """
    names = [stage.name for stage in all_stages()]
    for stage in stages:
        announce(f"{stage.name.replace('_', ' ')} · {names.index(stage.name) + 1} of {len(names)}")
        try:
            engine.execute(f"create or replace {stage.kind} {stage.name} as {stage.sql}")
        except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
            reason = str(error).splitlines()[0]
            raise BadInput([f"{stage.name}: a figure is too large to be billed exactly: {reason}"]) from error
        if stage.is_check:
            faults = engine.table(stage.name).limit(5).fetchall()
            assert not faults, f"{stage.name} found {faults}"
