"""What all measures share: the data, the programs that are measured, and what was found."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

from tests.benchmarks.processes import USAGE_RATING, Command, ProgramError, Took, program, took

MAKERS = ("cycles.py", "data.py", "period.py", "rows.py", "world.py", "rate_cards/*.yaml")


@dataclass(frozen=True)
class Finding:
    """One line of the report: a measure, its value, and the goal it should not be above."""

    measure: str
    rows: int
    says: str
    value: float
    goal: float
    unit: str = "times"

    @property
    def is_reached(self) -> bool:
        """Whether the goal is."""
        return self.value <= self.goal


@dataclass
class Bench:
    """A folder to work in, and how often and on how many threads everything is measured."""

    folder: Path
    sizes: list[int]
    nights: int
    repeats: int
    once_from: int | None
    threads: int | None
    say: Callable[[str], None]
    times: dict[int, dict[str, list[Took]]] = field(default_factory=dict)  # by usage rows and program
    failures: list[str] = field(default_factory=list)

    def cleared(self) -> Path:
        """An empty folder for what programs write; what the last measure left is gone."""
        work = self.removed(self.folder / "work")
        work.mkdir(parents=True)
        return work

    def removed(self, path: Path) -> Path:
        """Where a program will write, after what the last one left."""
        shutil.rmtree(path, ignore_errors=True)
        return path

    def data(self, rows: int, *options: str) -> Path:
        """A folder with data of so many rows; made only where it is not there yet, by the same makers."""
        folder = self.folder / "data" / "-".join([str(rows), *(option.strip("-") for option in options)])
        here = Path(__file__).parent
        makers = b"".join(path.read_bytes() for pattern in MAKERS for path in sorted(here.glob(pattern)))
        made_by, mark = hashlib.sha256(makers).hexdigest(), folder / "made_by"
        if not mark.exists() or mark.read_text(encoding="utf-8") != made_by:
            self.say(f"{rows:,} rows: making {folder}")
            took(program("data", folder, "--rows", str(rows), *options))
            mark.write_text(made_by, encoding="utf-8")
        return folder

    def product(self, inputs: Path, output: Path, as_of: date, *options: str) -> Command:
        """The command line of a run."""
        folders = ["--input", str(inputs), "--output", str(output)]
        return [str(USAGE_RATING), "run", *folders, "--as-of", str(as_of), *self._threads, *options]

    def floor(self, inputs: Path, *options: str) -> Command:
        """DuckDB alone, on as many threads."""
        return program("floor", inputs, *self._threads, *options)

    @property
    def _threads(self) -> list[str]:
        return ["--threads", str(self.threads)] if self.threads else []

    def alternate(self, rows: int, programs: Mapping[str, Callable[[], Command]], repeats: int = 0) -> None:
        """Measures some programs, one after the other, several times over.

        :param programs: each by its name; asked for its command before every run, it also clears away the last one's
        :param repeats: in place of the bench's own
        """
        is_slow = self.once_from is not None and rows >= self.once_from
        rounds = repeats or (1 if is_slow else self.repeats)
        failed: set[str] = set()
        for number in range(rounds):
            for name in [name for name in programs if name not in failed]:
                try:
                    self._measure(rows, name, programs[name](), f"{number + 1} of {rounds}")
                except ProgramError as failure:
                    failed.add(name)
                    self.times.get(rows, {}).pop(name, None)
                    self.fail(f"{rows:,} rows: {name}: {failure}")

    def _measure(self, rows: int, name: str, command: Command, which: str) -> None:
        taken = took(command, **({"POLARS_MAX_THREADS": str(self.threads)} if self.threads else {}))
        self.times.setdefault(rows, {}).setdefault(name, []).append(taken)
        self.say(f"{rows:,} rows: {name}, {which}: {taken.wall:.2f} s, {gigabytes(taken.peak):.2f} GB")

    def fail(self, reason: str) -> None:
        """Notes what could not be measured; the rest goes on."""
        self.failures.append(reason)
        self.say(reason)

    def has(self, rows: int, *programs: str) -> bool:
        """Whether all these were measured."""
        return self.times.get(rows, {}).keys() >= set(programs)

    def medians(self, rows: int, name: str) -> Took:
        """What a program took; each figure's median by itself.

        :raises ProgramError: it did not end well, and so has none
        """
        if not self.has(rows, name):
            raise ProgramError(f"{rows:,} rows: {name} was not measured")
        taken = self.times[rows][name]
        return Took(
            median(each.wall for each in taken),
            median(each.cpu for each in taken),
            int(median(each.peak for each in taken)),
        )

    def wall(self, rows: int, name: str) -> float:
        """The median of a program's seconds."""
        return self.medians(rows, name).wall


def gigabytes(count: float) -> float:
    """Bytes in units of 10^9."""
    return count / 1e9


def bytes_below(folder: Path) -> int:
    """What the files below a folder take; one that has several names counts once."""
    stats = [path.stat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}.values())
