"""Has real nights billed with a planted fault, and `verify` look at what they publish.

A fault is tried in a night in which it changes a published table; the nights before are billed without it. What only
changes what is kept for later nights is followed through these, and a month further. `description`, `evidence`,
`detail` and `raw` are for people: verify does not look at them, and no fault is looked for in them.
"""

import resource
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Self
from unittest.mock import patch

import duckdb
import pyarrow.parquet as pq

from tests.comparison import Rows, rows_of, settings_for
from tests.folders import EXAMPLE, EXAMPLE_NIGHTS, copied
from tests.oracle import World
from tests.rehearsals import (
    EDGE_PAGES,
    FLOOD,
    STOPS,
    Read,
    Rehearsals,
    Script,
    Source,
    drawn,
    night_in,
    one_night,
    stops,
    two_nights,
)
from tests.test_worked_examples import write_files
from tests.worked_example import read_page
from tests.worlds import arriving_worlds, scattered_worlds, worlds, write_world
from tests.worlds_usage import usage_worlds
from usage_rating import reproduction, stages
from usage_rating.errors import BadInput
from usage_rating.night import run_night
from usage_rating.stages import Stage, all_stages
from usage_rating.tables import TABLES
from usage_rating.verification.comparison import Finding
from usage_rating.verification.verdict import Scope, verify

ROOT = Path(__file__).parents[1]
FOR_PEOPLE = {"description", "evidence", "detail", "raw"}
COLUMNS = {
    name: [column for column in table.columns if column not in FOR_PEOPLE]
    for name, table in TABLES.items()
    if name != "runs"  # its hashes follow from the others
}
# What a night leaves to later ones beside what it publishes, and of how many nights the later ones are run.
KEPT, FOLLOWED = {"cycles_issued", "usage_rows_judged", "usage_sums_rated", "subscription_spans"}, 3
A_MONTH_FURTHER = timedelta(days=40)

# A fault that multiplies rows within a stage ends here, not with the machine's memory or its disk.
MEMORY, FILE_BYTES = "1GB", 1 << 28

BY_INVOICE, BY_TABLE, STOPPED, UNPUBLISHED, MISSED = "invoice", "other table", "run stopped", "unpublished", "MISSED"
KINDS = (BY_INVOICE, BY_TABLE, STOPPED, UNPUBLISHED, MISSED)


@dataclass(frozen=True)
class Coming:
    """What comes in before a night, as what writes it below an input folder, and how the night is billed."""

    write: Callable[[Path], object]
    as_of: date
    policies: Mapping[str, Any] = field(default_factory=dict)

    def run(self, folder: Path) -> None:
        """The night itself.

        :raises BadInput: it has to stop
        """
        self.write(folder / "input")
        run_night(settings_for(folder, self.as_of, memory_limit=MEMORY, **self.policies))


@dataclass(frozen=True)
class StagedNight(Script):
    """A script with the folder as it is before its night, that night, and those after it."""

    before: Path = field(kw_only=True)
    nights: Sequence[Coming] = field(kw_only=True)


Published = dict[str, Rows]


@dataclass(frozen=True)
class Outcome:
    """What became of a fault, in which night, and what was said of it."""

    kind: str
    night: str = ""
    said: str = ""


# ---- nights

Nights = tuple[str, Callable[[], list[Coming]]]


def of_world(number: int) -> Nights:
    """Carts, plans and activity; the one night may have to stop for want of a price."""
    return f"world {number}", lambda: coming_of(*one_night(drawn(worlds(gaps=True), number)))


def of_arriving_world(number: int) -> Nights:
    """The same where files come in over two or three nights."""
    return f"arriving world {number}", lambda: coming_of(*drawn(arriving_worlds(), number))


def of_usage_world(number: int) -> Nights:
    """Usage, limits, fees and credit, billed in two nights."""
    return f"usage world {number}", lambda: coming_of(*two_nights(drawn(usage_worlds(), number)))


def of_scattered_world(number: int) -> Nights:
    """The same where rows come in one by one, late, and twice."""
    return f"scattered world {number}", lambda: coming_of(*drawn(scattered_worlds(usage_worlds()), number))


def of_page(path: Path) -> Nights:
    """A page's nights. A file that would replace an earlier one gets a name of its own: verify reads files again."""

    def coming() -> Iterator[Coming]:
        given: dict[str, str] = {}
        for number, night in enumerate(read_page(path).nights, start=1):
            files = {}
            for name, text in night.files.items():
                file = PurePosixPath(name)
                own = file if given.get(str(file), text) == text else file.with_stem(f"{file.stem}.{number}")
                files[str(own)] = given[str(own)] = text
            yield Coming(partial(write_files, replace(night, files=files)), night.as_of, night.policies)

    return path.stem, lambda: list(coming())


def of_folder(folder: Path, nights: Mapping[date, str]) -> Nights:
    """The nights over a folder of exports, each with the name of a file that comes before it, or none."""

    def coming() -> Iterator[Coming]:
        not_yet = [Path(name).name for name in nights.values() if name]
        for night, name in nights.items():
            not_yet = [other for other in not_yet if other != Path(name).name]
            yield Coming(partial(copy_exports, folder, tuple(not_yet)), night)

    return folder.name, lambda: list(coming())


def copy_exports(folder: Path, not_yet: Sequence[str], to: Path) -> None:
    """Copies what has come of a folder of exports."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("README.md", *not_yet), dirs_exist_ok=True)


def coming_of(world: World, nights: Sequence[date]) -> list[Coming]:
    """A world's nights."""
    policies = {"min_snapshot_share": world.min_snapshot_share}
    return [Coming(partial(write_world, world.until(number)), night, policies) for number, night in enumerate(nights)]


# The first ones bill much in few nights.
QUICK_NIGHTS: tuple[Nights, ...] = (
    of_folder(EXAMPLE, EXAMPLE_NIGHTS),
    of_folder(ROOT / "data" / "sample", {date(2024, 5, 5): ""}),
    *map(of_scattered_world, range(3)),
)
NIGHTS: tuple[Nights, ...] = (
    *QUICK_NIGHTS,
    *map(of_arriving_world, range(10)),
    *map(of_scattered_world, range(3, 12)),
    *map(of_page, sorted(EDGE_PAGES.glob("*.md"))),
    *map(of_usage_world, range(24)),
    *map(of_world, range(30)),
)


def staged(nights: Nights, folder: Path) -> Source:
    """Bills the nights without any fault, keeping the folder as it is before each."""
    name, coming = nights
    return Source(name, lambda: staged_nights(name, coming(), folder / name))


def staged_nights(name: str, nights: Sequence[Coming], folder: Path) -> Iterator[Script]:
    """One script a night; what the real night published tells."""
    at_work = folder / "at work"
    runs_before = 0
    for number, night in enumerate(nights, start=1):
        night.write(at_work / "input")
        before = copied(at_work, folder / str(number))
        inputs, issued, has_to_stop = night_in(at_work, night.as_of, publishes=True, **night.policies)
        as_published, runs = published(at_work), runs_in(at_work)
        if runs == runs_before:  # nothing came of it: there is no run that could balance
            del as_published["balances"]
        runs_before = runs
        yield StagedNight(
            f"{name}, night {number}",
            inputs,
            issued,
            partial(told_by_the_night, as_published, has_to_stop),
            before=before,
            nights=nights[number - 1 :],
        )
        if has_to_stop:
            return


def told_by_the_night(as_published: Published, has_to_stop: bool, relation: str, read: Read) -> str:
    """What is not as the night without a fault published it."""
    if relation == STOPS:
        return "" if stops(read) == has_to_stop else "the run stops, or does not, as it should not"
    if relation not in as_published or has_to_stop:
        return ""
    rows = told_rows(relation, read(relation).to_pylist())
    return "" if rows == as_published[relation] else "other rows are published"


def published(folder: Path) -> Published:
    """The tables of the last night, but for what is for people and the hashes in `runs`."""
    output = folder / "output"
    return {
        name: told_rows(name, pq.read_table(output / name).to_pylist() if (output / name).exists() else [])
        for name in COLUMNS
    }


def told_rows(name: str, records: Sequence[Mapping[str, Any]]) -> Rows:
    """The rows of a table without balances in which every amount is 0: they tell nothing."""
    if name == "balances":
        records = [one for one in records if one["feed"] is not None or any(map(is_money, one.values()))]
    return rows_of(records, COLUMNS[name])


def is_money(value: Any) -> bool:
    """Whether it is an amount other than 0."""
    return isinstance(value, Decimal) and value != 0


def runs_in(folder: Path) -> int:
    """How many runs there were."""
    runs = folder / "output" / "runs"
    return len(pq.read_table(runs)) if runs.exists() else 0


# ---- trials


@contextmanager
def within_bounds() -> Iterator[None]:
    """No file grows beyond bounds: what would be spilled there is an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def planting(planted: Stage) -> Iterator[None]:
    """Has every run bill by the planted stage, where it works issued invoices out again too: the code has the fault."""
    faulty = tuple(planted if stage.name == planted.name else stage for stage in all_stages())
    with (
        patch.object(stages, "all_stages", lambda: faulty),
        patch.object(reproduction, "all_stages", lambda: faulty),
    ):
        yield


def with_head(planted: Stage) -> Stage:
    """A planted stage under the head of its file, which says whether it is a table or a view."""
    (stage,) = (stage for stage in all_stages() if stage.name == planted.name)
    head = [line for line in stage.sql.splitlines() if line.startswith("--")]
    return replace(planted, sql="\n".join([*head, planted.sql]))


class VerifiedFaults:
    """Nights of several kinds, made ready as trials ask for them, for faults that `verify` is to find."""

    def __init__(self, nights: Sequence[Nights]) -> None:
        self._open = ExitStack()
        self._folder = Path(self._open.enter_context(TemporaryDirectory()))
        sources = [staged(own, self._folder / "staged") for own in nights]
        self._rehearsals = self._open.enter_context(Rehearsals(sources))
        self._published: dict[tuple[str, int], Published] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def outcome_of(self, planted: Stage) -> Outcome:
        """What becomes of a fault.

        :raises Stillborn: the engine cannot make sense of the stage
        """
        leaves_otherwise: list[StagedNight] = []
        for rehearsal, told in self._rehearsals.trials(planted):
            night = rehearsal.script
            assert isinstance(night, StagedNight)
            if FLOOD in told:
                return Outcome(STOPPED, night.name, told)
            if told:
                outcome = self._billed(night, night.nights[:1], planted)
                if outcome.kind != UNPUBLISHED:
                    return outcome
            elif not KEPT.isdisjoint(rehearsal.changed()):
                leaves_otherwise.append(night)
        for night in leaves_otherwise[:FOLLOWED]:
            last = night.nights[-1]
            further = Coming(lambda _: None, last.as_of + A_MONTH_FURTHER, last.policies)
            outcome = self._billed(night, [*night.nights, further], planted)
            if outcome.kind != UNPUBLISHED:
                return outcome
        return Outcome(UNPUBLISHED)

    def _billed(self, night: StagedNight, nights: Sequence[Coming], planted: Stage) -> Outcome:
        """Bills nights with the fault and has them verified."""
        folder = copied(night.before, self._folder / "planted")
        try:
            with planting(with_head(planted)), within_bounds():
                run(nights, folder)
        except (BadInput, AssertionError, duckdb.Error, OSError) as stopped:
            return Outcome(STOPPED, night.name, repr(stopped))
        else:
            if published(folder) == self._faultless(night, nights):
                return Outcome(UNPUBLISHED, night.name)
            findings = verify(folder / "input", folder / "output", Scope()).findings
            return Outcome(kind_of(findings), night.name, "\n".join(map(str, findings)))
        finally:
            shutil.rmtree(folder)

    def _faultless(self, night: StagedNight, nights: Sequence[Coming]) -> Published:
        """What the nights publish without any fault."""
        key = night.name, len(nights)
        if key not in self._published:
            folder = copied(night.before, self._folder / "faultless")
            with suppress(BadInput):
                run(nights, folder)
            self._published[key] = published(folder)
            shutil.rmtree(folder)
        return self._published[key]


def run(nights: Sequence[Coming], folder: Path) -> None:
    """Runs the nights one after the other; one that has to stop is the last."""
    for night in nights:
        night.run(folder)


def kind_of(findings: Sequence[Finding]) -> str:
    """Whether an invoice is named, by its id or, where none is published, by what it is for; or else another table."""
    if not findings:
        return MISSED
    return BY_INVOICE if any(one.table in ("invoices", "invoice_lines") for one in findings) else BY_TABLE
