"""Measures of one more night: after a month, after a year, and with a row that comes half a year late."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.bench import Bench, Finding, bytes_below
from tests.benchmarks.period import night
from tests.benchmarks.processes import Command, Took, program, took

MEASURES = ("next-night", "kept", "year", "late-row")
MONTH = 30
YEAR_ROWS_A_NIGHT = 10_000
WINDOW = 5  # nights up to one, of which the median counts: how many cycles fall due differs from night to night
SHORT_REPEATS = 5  # of what takes a second or two


@dataclass(frozen=True)
class Nights:
    """A row of nights: each takes in its own files, and all before it are done."""

    bench: Bench
    data: Path
    work: Path

    @property
    def inputs(self) -> Path:
        """The files of all nights so far."""
        return self.work / "input"

    @property
    def output(self) -> Path:
        """What all nights so far left."""
        return self.work / "output"

    def take_in(self, number: int) -> None:
        """Puts a night's files where the next run finds them."""
        shutil.copytree(self.data / "nights" / f"{number:03}", self.inputs, copy_function=os.link, dirs_exist_ok=True)

    def run_to(self, last: int) -> list[Took]:
        """Runs all nights from the first one on."""
        taken = []
        for number in range(1, last + 1):
            self.take_in(number)
            taken.append(took(self.bench.product(self.inputs, self.output, night(number))))
            if number % 10 == 0:
                self.bench.say(f"{number} nights: the last took {taken[-1].wall:.2f} s")
        return taken

    def after_these(self, number: int) -> Command:
        """One more night, in a copy of what those before it left."""
        copy = self.bench.removed(self.work / "copy")
        subprocess.run(["cp", "-a", self.output, copy], check=True)  # files with several names stay one
        return self.bench.product(self.inputs, copy, night(number))


def months(bench: Bench, chosen: list[str]) -> list[Finding]:
    """Each size once more, as a month of nights."""
    return [found for rows in bench.sizes for found in _month(bench, rows) if found.measure in chosen]


def _month(bench: Bench, rows: int) -> list[Finding]:
    nights = Nights(bench, bench.data(rows, "--nights", str(MONTH)), bench.cleared())
    nights.run_to(MONTH - 1)
    touched = nights.work / "touched"
    took(program("touched", nights.data, touched, "--night", str(MONTH)))
    nights.take_in(MONTH)
    programs = {
        "floor of the next night": lambda: bench.floor(touched),
        "next night": lambda: nights.after_these(MONTH),
    }
    bench.alternate(rows, programs)
    floor, wall = (bench.wall(rows, name) for name in programs)
    kept = bytes_below(nights.work / "copy") / bytes_below(nights.inputs)
    says = "one more night after 29, less 1 s, against the floor over the rows it touches"
    return [
        Finding("next-night", rows, says, (wall - 1) / floor, 3),
        Finding("kept", rows, "bytes kept for a month, against the Parquet input", kept, 1.2),
    ]


def year(bench: Bench, chosen: list[str]) -> list[Finding]:
    """A year of nights with the same rows each; in the end one row comes late."""
    last = bench.nights
    rows = YEAR_ROWS_A_NIGHT * (last + 1)
    nights = Nights(bench, bench.data(rows, "--nights", str(last + 1)), bench.cleared())
    taken = [each.wall for each in nights.run_to(last)]
    says = f"night {last} against night {last // 4}, {YEAR_ROWS_A_NIGHT:,} rows a night"
    findings = [Finding("year", rows, says, _up_to(taken, last) / _up_to(taken, last // 4), 1.15)]
    if "late-row" in chosen:
        findings.append(_late_row(nights, rows, last + 1))
    return [found for found in findings if found.measure in chosen]


def _up_to(walls: list[float], number: int) -> float:
    return median(walls[max(number - WINDOW, 0) : number])


def _late_row(nights: Nights, rows: int, number: int) -> Finding:
    bench, late = nights.bench, nights.inputs / "usage" / "late.parquet"
    nights.take_in(number)

    def without() -> Command:
        late.unlink(missing_ok=True)
        return nights.after_these(number)

    def with_late_row() -> Command:
        took(program("late_row", nights.data, late, "--night", str(number)))
        return nights.after_these(number)

    programs = {"night": without, "night with a late row": with_late_row}
    bench.alternate(rows, programs, SHORT_REPEATS)
    usual, with_it = (bench.wall(rows, name) for name in programs)
    says = "a late usage row for a cycle closed six months ago, against a night without"
    return Finding("late-row", rows, says, with_it / usual, 1.1)
