"""Nights that are kept ready in one engine, so that a stage can run again with a fault in it, and those after it.

What a night's stages must give is told by the oracle (of a drawn world) or by a page worked by hand, never by an
earlier result. A stage that reads nothing changed is not run again, and the first difference ends a trial.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests import oracle, oracle_bill
from tests.comparison import (
    PUBLISHED,
    RATED,
    STAGES,
    Ran,
    Rows,
    clipped_difference,
    difference_of,
    expected_of,
    ledger_difference,
    limit_alert_difference,
    rows_of,
    run,
    settings_for,
    tables_in,
    while_active,
)
from tests.damaged_nights import Damage
from tests.oracle import World
from tests.oracle_credit import Ledger
from tests.test_properties import check_numbers, check_totals
from tests.test_worked_examples import AS_SHOWN, write_files
from tests.worked_example import Expectation, PageNight, differences, read_page
from tests.worlds import arriving_worlds, worlds, write_world
from tests.worlds_usage import usage_worlds
from usage_rating.errors import BadInput
from usage_rating.night import Night
from usage_rating.report import NightReport
from usage_rating.stages import Stage, all_stages

INPUTS = sorted({name for stage in all_stages() for name in stage.reads} - {stage.name for stage in all_stages()})
ADDED_TO = ("invoices", "invoice_lines", "usage_history", "alerts", "credit_ledger", "balances")
EDGE_PAGES = Path(__file__).parent / "edge_pages"
STOPS, CYCLES = "cycles_without_price", "cycles_rated"
# A published table as it stands after the night, with what pages show beside its own columns.
AFTER = {name: f"from issued_{name} union all by name from {name}" for name in ADDED_TO} | {
    "usage_history": "from issued_usage_history anti join ("
    "select t.* from invoices_decided d join invoices_touched t using (invoice_id) "
    "where d.reason is null and t.kind = 'cycle'"
    ") using (subscription_id, cycle_start) union all by name from usage_history"
}
SHOWN = AFTER | {
    name: re.sub(r"\b(from|join) (\w+)( as \w+)?", lambda m: f"{m[1]} ({AFTER[m[2]]}){m[3] or f' as {m[2]}'}", query)
    for name, query in AS_SHOWN.items()
}
FLOOD = "more than a night can go on with"
# A fault that multiplies rows is found by their number before it fills the memory.
ROWS_AT_MOST, MEMORY = 50_000, "7GB"

Read = Callable[[str], pa.Table]
Told = Callable[[str, Read], str]


class Stillborn(Exception):  # noqa: N818
    """The fault is no SQL at all: the engine would refuse the file before any row is read."""


@dataclass(frozen=True)
class Script:
    """A night before its stages run: the relations they read, what was issued before, and what they must give.

    `told(relation, read)` says what is wrong with a relation, or nothing.
    """

    name: str
    inputs: Mapping[str, pa.Table] = field(repr=False)
    issued: Mapping[str, pa.Table] = field(repr=False)
    told: Told = field(repr=False)
    damage: Damage | None = None


@dataclass(frozen=True)
class Source:
    """Where scripts come from; made when first needed."""

    name: str
    scripts: Callable[[], Iterator[Script]]


# ---- nights of drawn worlds


def of_world(number: int) -> Source:
    """Carts, plans and activity; the one night may have to stop for want of a price."""
    return Source(
        f"world {number}", lambda: world_scripts(f"world {number}", *one_night(drawn(worlds(gaps=True), number)))
    )


def of_arriving_world(number: int) -> Source:
    """The same where files come in over two or three nights."""
    name = f"arriving world {number}"
    return Source(name, lambda: world_scripts(name, *drawn(arriving_worlds(), number)))


def of_usage_world(number: int) -> Source:
    """Usage, limits, fees and credit, all there from the start and billed in two nights."""
    name = f"usage world {number}"
    return Source(name, lambda: world_scripts(name, *two_nights(drawn(usage_worlds(), number))))


def of_preview_world(number: int) -> Source:
    """Usage, limits, fees and credit, previewed ten days after a night."""
    name = f"previewed world {number}"
    return Source(name, lambda: preview_scripts(name, *drawn(usage_worlds(), number)))


def one_night(drawn: tuple[World, date]) -> tuple[World, Sequence[date]]:
    """A world billed once."""
    return drawn[0], [drawn[1]]


def two_nights(drawn: tuple[World, date]) -> tuple[World, Sequence[date]]:
    """A world billed a month before its date too."""
    return drawn[0], [drawn[1] - timedelta(days=31), drawn[1]]


def drawn(strategy: st.SearchStrategy[Any], number: int) -> Any:
    """What a strategy draws, always the same for a seed; the first that hypothesis draws is too plain to use."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=2, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def keep(example: Any) -> None:
        found.append(example)

    keep()
    return found[-1]


def world_scripts(name: str, world: World, nights: Sequence[date]) -> Iterator[Script]:
    """One script a night; the oracle tells."""
    ledger = Ledger([], [])
    with TemporaryDirectory() as folder:
        for (there, bill), night in zip(bills_of(world, nights), nights, strict=False):
            write_world(there, Path(folder) / "input")
            is_last = night == nights[-1] or bill is None
            inputs, issued, _ = night_in(
                Path(folder), night, publishes=not is_last, min_snapshot_share=world.min_snapshot_share
            )
            yield Script(f"{name}, {night}", inputs, issued, partial(told_by_oracle, bill, night, deepcopy(ledger)))
            if bill and not is_last:
                ledger_difference(ran_in(Path(folder) / "output", night), ledger, bill)


def preview_scripts(name: str, world: World, as_of: date) -> Iterator[Script]:
    """The one script; the oracle tells. None where the night before has to stop."""
    books, ledger, before = oracle_bill.Books(), Ledger([], []), as_of - timedelta(days=10)
    with TemporaryDirectory() as folder, suppress(oracle.RunStops):
        issued_before = books.close(oracle_bill.rate(world, before, books))
        ledger_difference(run(world, Path(folder), before), ledger, issued_before)
        bill = books.close(oracle_bill.rate(world, as_of, books, is_preview=True))
        inputs, issued, _ = night_in(Path(folder), as_of, is_preview=True, min_snapshot_share=world.min_snapshot_share)
        yield Script(name, inputs, issued, partial(told_by_oracle, bill, as_of, ledger))


def bills_of(world: World, nights: Sequence[date]) -> Iterator[tuple[World, oracle_bill.Bill | None]]:
    """What is there each night, and what it should give; None, and no more, for one that has to stop."""
    bills = oracle_bill.rate_nights(world, nights)
    for number in range(len(nights)):
        try:
            yield next(bills)
        except oracle.RunStops:
            yield world.until(number), None
            return


def ran_in(output: Path, as_of: date) -> Ran:
    """What a night has published."""
    return Ran(report_of(as_of), {}, tables_in(output), output)


def report_of(as_of: date) -> NightReport:
    """A report that says no more than the date billed up to."""
    return NightReport(None, as_of, Path(), [], [], [])


def night_in(
    folder: Path, as_of: date, *, publishes: bool = False, is_preview: bool = False, **policies: Any
) -> tuple[dict[str, pa.Table], dict[str, pa.Table], bool]:
    """What the stages of a night read, what was published before it, and whether it has to stop."""
    output = folder / "output"
    issued = {name: pq.read_table(output / name) for name in ADDED_TO if (output / name).exists()}
    with Night(settings_for(folder, as_of, **policies), is_preview=is_preview) as night:
        night.ingest()
        with suppress(BadInput):  # a cycle without a price: what was read up to there is all there is
            night.rate()
        inputs = {name: night.relation(name) for name in INPUTS}
        has_to_stop = stops(night.relation)
        if publishes and not has_to_stop:
            night.publish()
    return inputs, issued, has_to_stop


def told_by_oracle(bill: oracle_bill.Bill | None, as_of: date, ledger: Ledger, relation: str, read: Read) -> str:
    """What is not as the oracle has it; None for a bill means that the run must stop."""
    if relation == STOPS:
        return "" if stops(read) == (bill is None) else "the run stops, or does not, as it should not"
    if bill is None:
        return ""
    ran = Ran(report_of(as_of), StagesRead(read), PublishedRead(read), Path())
    if relation == "alerts":
        return limit_alert_difference(ran, bill)
    if relation == "credit_ledger":
        return ledger_difference(ran, deepcopy(ledger), bill) or ""
    if relation not in STAGES and relation not in PUBLISHED:
        return ""
    columns = STAGES.get(relation) or PUBLISHED[relation]
    actual, expected = rows_of(read(relation).to_pylist(), columns), expected_of(relation, bill, ran.stages[CYCLES])
    if relation == "plan_spans":
        ends = {row["subscription_id"]: row["ends_at"] for row in in_order(read("billing_cycles"))}
        actual, expected = (while_active(rows, ran.stages["active_spans"], ends) for rows in (actual, expected))
    told = difference_of(actual, expected)
    if relation == "usage_history":
        told = told or clipped_difference(ran, bill)
    return told or (told_by_sums(read) if relation == "invoices" else "")


def stops(read: Read) -> bool:
    """Whether a cycle that is still to be invoiced has no price."""
    return not all(read(STOPS).column("is_issued").to_pylist())


@dataclass(frozen=True)
class StagesRead(Mapping[str, Rows]):
    """A night's stages as the oracle's comparison wants them, read when asked for."""

    read: Read

    def __getitem__(self, name: str) -> Rows:
        return rows_of(self.read(name).to_pylist(), (STAGES | RATED)[name])

    def __iter__(self) -> Iterator[str]:
        return iter(STAGES)

    def __len__(self) -> int:
        return len(STAGES)


@dataclass(frozen=True)
class PublishedRead(Mapping[str, list[dict[str, Any]]]):
    """The same of a night's published tables."""

    read: Read

    def __getitem__(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.read(name).to_pylist()
        return rows

    def __iter__(self) -> Iterator[str]:
        return iter(PUBLISHED)

    def __len__(self) -> int:
        return len(PUBLISHED)


def in_order(cycles: pa.Table) -> list[dict[str, Any]]:
    """Cycles from the first to the last."""
    return sorted(cycles.to_pylist(), key=lambda row: row["ends_at"])


def told_by_sums(read: Read) -> str:
    """What holds of any bill: totals are sums, lines and invoices are numbered without a gap."""
    ran = Ran(report_of(date.min), {}, PublishedRead(read), Path())
    try:
        check_totals(ran)
        check_numbers(ran)
    except AssertionError as error:
        return str(error) or "totals or numbers are wrong"
    return ""


# ---- nights of pages


def of_page(path: Path) -> Source:
    """The nights of a page worked by hand."""
    return Source(path.stem, lambda: page_scripts(path))


def page_scripts(path: Path) -> Iterator[Script]:
    """One script a night; the page tells."""
    page = read_page(path)
    with TemporaryDirectory() as folder:
        for number, night in enumerate(page.nights, start=1):
            write_files(night, Path(folder) / "input")
            is_last = number == len(page.nights)
            inputs, issued, _ = night_in(Path(folder), night.as_of, publishes=not is_last, **night.policies)
            yield Script(f"{page.name}, night {number}", inputs, issued, told_by(night))


def told_by(night: PageNight) -> Told:
    """A page tells of the relations it lists, and of any bill what holds of it."""
    expected: dict[str, list[Expectation]] = {}
    for expectation in night.expectations:
        expected.setdefault(expectation.relation, []).append(expectation)

    def told(relation: str, read: Read) -> str:
        said = [line for each in expected.get(relation, []) for line in differences(each, read(relation))]
        if relation == STOPS and relation not in expected and stops(read):
            said.append("the run stops")
        if relation == "invoices":
            said.append(told_by_sums(read))
        return "\n".join(filter(None, said))

    return told


def of_damage(damage: Damage) -> Source:
    """A page's night with its results damaged; one check must find it."""
    return Source(f"{damage.check} of {damage.statement}", lambda: damaged_scripts(damage))


def damaged_scripts(damage: Damage) -> Iterator[Script]:
    """The one script."""
    scripts = list(page_scripts(EDGE_PAGES / f"{damage.page}.md"))

    def told(relation: str, read: Read) -> str:
        if relation != damage.check:
            return ""
        rows = zip(*(map(str, read(relation).column(place).to_pylist()) for place in columns), strict=True)
        return difference_of(Counter(rows), Counter(tuple(map(str, row)) for row in damage.found))

    stage = next(stage for stage in all_stages() if stage.name == damage.check)
    columns = [*stage.key, *(["invoices"] if damage.check == "check_one_invoice_a_cycle" else [])]
    script = scripts[damage.night - 1]
    yield replace(script, name=f"{script.name}: {damage.statement}", told=told, damage=damage)


# ---- trials


@dataclass(frozen=True)
class Rehearsal:
    """A night whose stages have run, in a schema of their own."""

    engine: duckdb.DuckDBPyConnection
    schema: str
    script: Script

    def trial(self, planted: Stage) -> str:
        """Runs the night with one stage changed: the first difference, or nothing.

        :raises Stillborn: the engine cannot make sense of the stage
        """
        if self.script.damage and self.script.damage.check != planted.name:
            return ""
        self.engine.execute("drop schema if exists planted cascade; create schema planted")
        self.engine.execute(f"set search_path = 'planted,{self.schema}'")
        changed: set[str] = set()
        for stage in all_stages():
            is_planted = stage.name == planted.name
            if not is_planted and changed.isdisjoint(stage.reads):
                continue
            try:
                self.run(planted if is_planted else stage, "planted")
            except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException) as error:
                raise Stillborn(str(error)) from error
            except duckdb.Error as error:
                return f"{stage.name}: {error}"
            rows, hashes = self.print_of("planted", stage.name)
            if (rows, hashes) == self.print_of(self.schema, stage.name):
                self.engine.execute(f"drop table planted.{stage.name}")
                continue
            if rows > ROWS_AT_MOST:
                return f"{stage.name}: {rows:,} rows, {FLOOD}"
            changed.add(stage.name)
            if told := self.told(stage):
                return f"{stage.name}:\n{told}"
            if self.stops(stage):
                break
        return ""

    def changed(self) -> set[str]:
        """The relations that the last trial, of this night, made otherwise."""
        return {
            name
            for (name,) in self.engine.execute(
                "select table_name from duckdb_tables() where schema_name = 'planted'"
            ).fetchall()
        }

    def run(self, stage: Stage, schema: str) -> None:
        """Makes a stage's relation in a schema."""
        self.engine.execute(f"create or replace table {schema}.{stage.name} as {stage.sql}")

    def told(self, stage: Stage) -> str:
        """What is wrong with a stage's relation."""
        if stage.is_check and not self.script.damage:
            rows = self.engine.execute(f"select count(*) from {stage.name}").fetchall()[0][0]
            return f"{rows} rows" if rows else ""
        try:
            return self.script.told(stage.name, self.read)
        except (TypeError, KeyError) as error:  # empty values where there must be some
            return f"cannot be compared: {error!r}"

    def stops(self, stage: Stage) -> bool:
        """Whether the run would end after a stage, because a cycle has no price."""
        return stage.name == STOPS and stops(self.read)

    def print_of(self, schema: str, name: str) -> tuple[int, object]:
        """A relation's count of rows and a sum of their hashes: equal for equal rows in any order."""
        relation = f"{schema}.{name}"
        found = self.engine.execute(f"select count(*), sum(hash(row_of)) from {relation} as row_of").fetchall()
        return found[0][0], found[0][1]

    def read(self, name: str) -> pa.Table:
        """A relation; of a published one also what earlier nights issued."""
        return self.engine.sql(SHOWN.get(name, f"from {name}")).to_arrow_table()


class Rehearsals:
    """Nights of several sources, made ready one by one as a trial asks for them."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute(f"set TimeZone = 'UTC'; set memory_limit = '{MEMORY}'; set temp_directory = ''")
        self._scripts = (script for source in sources for script in source.scripts())
        self._ready: list[Rehearsal] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def __iter__(self) -> Iterator[Rehearsal]:
        """Those that are ready, then the others."""
        yield from list(self._ready)
        for script in self._scripts:
            rehearsal = rehearsed(self._engine, f"night_{len(self._ready)}", script)
            self._ready.append(rehearsal)
            yield rehearsal

    def trials(self, planted: Stage) -> Iterator[tuple[Rehearsal, str]]:
        """Each night with the first difference that a planted fault makes in it, or nothing.

        :raises Stillborn: the engine cannot make sense of the stage
        """
        for rehearsal in self:
            told = rehearsal.trial(planted)
            if told:
                self._ready.remove(rehearsal)
                self._ready.insert(0, rehearsal)  # what killed one fault will often kill its neighbour
            yield rehearsal, told

    def killer_of(self, planted: Stage) -> str | None:
        """The first difference a planted fault makes in any night; None: it survives them all.

        :raises Stillborn: the engine cannot make sense of the stage
        """
        return next((f"{rehearsal.script.name}: {told}" for rehearsal, told in self.trials(planted) if told), None)


def rehearsed(engine: duckdb.DuckDBPyConnection, schema: str, script: Script) -> Rehearsal:
    """Runs a night's stages without any fault.

    :raises AssertionError: they do not give what they must
    """
    engine.execute(f"create schema {schema}; set search_path = '{schema}'")
    for name, rows in script.inputs.items():
        engine.register("loading", rows)
        engine.execute(f"create table {schema}.{name} as from loading")
        engine.unregister("loading")
    rehearsal = Rehearsal(engine, schema, script)
    for stage in all_stages():
        if stage.is_check and script.damage and stage.name == script.damage.check:
            engine.execute(script.damage.statement)
        rehearsal.run(stage, schema)
    for name in ADDED_TO:
        engine.execute(f"create table {schema}.issued_{name} as from {name} limit 0")
        if name in script.issued:
            engine.register("loading", script.issued[name])
            engine.execute(f"insert into {schema}.issued_{name} by name from loading")
            engine.unregister("loading")
    for stage in all_stages():
        told = rehearsal.told(stage)
        assert not told, f"{script.name}, without any fault: {stage.name}:\n{told}"
        if rehearsal.stops(stage):
            break
    return rehearsal
