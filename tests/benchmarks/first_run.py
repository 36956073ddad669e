"""Measures of the first run, over three months of rows, against the floor and the rivals."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.benchmarks.bench import Bench, Finding, gigabytes
from tests.benchmarks.period import AS_OF, DAYS, FIRST_DAY, WEEK
from tests.benchmarks.processes import USAGE_RATING, Command, ProgramError, program, took

PRODUCT, CSV, LIMITED = "usage_rating", "usage_rating from CSV", "usage_rating in 2 GB"
TRACE = "usage_rating trace"
FLOOR, TEXT, POLARS, PANDAS = "floor", "CSV as text", "Polars", "pandas"
PANDAS_ROWS_MAX = 10_000_000  # more do not fit


@dataclass(frozen=True)
class Ratio:
    """How long a program may take, against others together."""

    says: str
    program: str
    against: tuple[str, ...]
    goal: float


RATIOS = {
    "floor": Ratio("first run from Parquet, all outputs, against the floor", PRODUCT, (FLOOR,), 2.5),
    "polars": Ratio("the same against Polars' bare job", PRODUCT, (POLARS,), 0.6),
    "pandas": Ratio("the same against pandas' bare job", PRODUCT, (PANDAS,), 0.3),
    "csv": Ratio("from CSV, against DuckDB reading it as text plus the Parquet case", CSV, (TEXT, PRODUCT), 1.3),
    "memory-limit": Ratio("with --memory-limit 2GB, against without", LIMITED, (PRODUCT,), 2),
}
MEASURES = (*RATIOS, "memory", "further-row", "trace")


def first_runs(bench: Bench, chosen: list[str]) -> list[Finding]:
    """Runs what the chosen measures need, size by size; each rival has to agree with what was published."""
    ratios = {name: RATIOS[name] for name in chosen if name in RATIOS}
    needed = {PRODUCT, *(name for ratio in ratios.values() for name in (ratio.program, *ratio.against))}
    needed |= {TRACE} if "trace" in chosen else set()
    findings = []
    for rows in bench.sizes:
        _run(bench, rows, needed - ({PANDAS} if rows > PANDAS_ROWS_MAX else set()))
        for measure, ratio in ratios.items():
            if bench.has(rows, ratio.program, *ratio.against):
                against = sum(bench.wall(rows, name) for name in ratio.against)
                value = bench.wall(rows, ratio.program) / against
                findings.append(Finding(measure, rows, ratio.says, value, ratio.goal))
        if "memory" in chosen and bench.has(rows, PRODUCT):
            peak = gigabytes(bench.medians(rows, PRODUCT).peak)
            findings.append(Finding("memory", rows, "peak memory of the first run", peak, 6, "GB"))
        if "trace" in chosen and bench.has(rows, TRACE):
            wall = bench.wall(rows, TRACE)
            findings.append(Finding("trace", rows, "from a usage row to the lines it fed", wall, 2, "s"))
    measured = [rows for rows in bench.sizes if bench.has(rows, PRODUCT)]
    if "further-row" in chosen and len(measured) > 2:
        findings.append(_further_row(bench, measured))
    return findings


def _further_row(bench: Bench, sizes: list[int]) -> Finding:
    """Between the two largest sizes, and between the two before."""
    small, middle, large = sizes[-3:]
    walls = {rows: bench.wall(rows, PRODUCT) for rows in (small, middle, large)}
    late = (walls[large] - walls[middle]) / (large - middle)
    early = (walls[middle] - walls[small]) / (middle - small)
    says = f"cost of a further row from {middle:,} on, against one from {small:,} on"
    return Finding("further-row", large, says, late / early, 1.1)


def _run(bench: Bench, rows: int, names: set[str]) -> None:
    data = bench.data(rows, *(["--csv"] if CSV in names else []))
    work = bench.cleared()
    programs = {name: command for name, command in _programs(bench, rows, data, work).items() if name in names}
    bench.alternate(rows, programs)
    for rival in sorted(names & {POLARS, PANDAS}):
        if bench.has(rows, PRODUCT, rival):
            try:
                took(program("agreement", work / PRODUCT, work / rival))
                bench.say(f"{rows:,} rows: {rival} counted what was published")
            except ProgramError as differences:
                bench.fail(f"{rows:,} rows: {rival} counted otherwise than what was published: {differences}")


def _trace(rows: int, inputs: Path, output: Path) -> Command:
    """The command line that traces the row in the middle of all usage."""
    weeks = DAYS // WEEK
    place = f"usage/{FIRST_DAY + timedelta(weeks=weeks // 2)}.parquet:{rows // weeks // 2}"
    return [str(USAGE_RATING), "trace", place, "--input", str(inputs), "--output", str(output)]


def _programs(bench: Bench, rows: int, data: Path, work: Path) -> dict[str, Callable[[], Command]]:
    def product(name: str, kind: str, *options: str) -> Callable[[], Command]:
        return lambda: bench.product(data / kind, bench.removed(work / name), AS_OF, *options)

    def rival(name: str, module: str) -> Callable[[], Command]:
        inputs = (data / "parquet", data / "cycles.parquet")
        return lambda: program(module, *inputs, bench.removed(work / name), "--as-of", str(AS_OF))

    return {
        FLOOR: lambda: bench.floor(data / "parquet"),
        PRODUCT: product(PRODUCT, "parquet"),
        TRACE: lambda: _trace(rows, data / "parquet", work / PRODUCT),
        POLARS: rival(POLARS, "polars_job"),
        PANDAS: rival(PANDAS, "pandas_job"),
        TEXT: lambda: bench.floor(data / "csv", "--text"),
        CSV: product(CSV, "csv"),
        LIMITED: product(LIMITED, "parquet", "--memory-limit", "2GB"),
    }
