"""How fast it is: `make bench`, or `python -m tests.benchmarks [--only floor polars] [--repeats 1]`.

Makes its data, runs the product, the floor and the rivals one after the other, each as a process of its own, several
times over, and prints the medians beside their goals. Exit code 1: a program failed, or a rival counted otherwise.

BENCH_ROWS=1000000,200000000 chooses other sizes, in usage rows; a tenth as many cart events come on top.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import first_run, nights, sample
from tests.benchmarks.bench import Bench, Finding, gigabytes
from tests.benchmarks.processes import ProgramError

SIZES = "1000000,10000000,50000000"
GROUPS = {
    sample.MEASURES: sample.sample,
    first_run.MEASURES: first_run.first_runs,
    ("next-night", "kept"): nights.months,
    ("year", "late-row"): nights.year,
}
MEASURES = [measure for group in GROUPS for measure in group]


def machine() -> dict[str, str]:
    """What it ran on, and what else was at work there."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "polars", "pandas", "pyarrow"))
    return {
        "machine": f"{os.cpu_count()} cores of {model}, {memory / 2**30:.0f} GiB",
        "system": platform.platform(),
        "versions": f"Python {platform.python_version()}, {packages}",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def print_findings(findings: list[Finding]) -> None:
    """Each measure beside its goal, in Markdown."""
    print("\n| measure | usage rows | found | goal: at most | |\n|---|---:|---:|---:|---|")
    for each in findings:
        reached = "reached" if each.is_reached else "not reached"
        print(f"| {each.says} | {each.rows:,} | {each.value:.2f} {each.unit} | {each.goal} {each.unit} | {reached} |")


def print_times(bench: Bench) -> None:
    """What each program took, in Markdown."""
    print("\n| program | usage rows | runs | seconds | of processors | GB at the most |")
    print("|---|---:|---:|---:|---:|---:|")
    for rows, programs in sorted(bench.times.items()):
        for name, taken in programs.items():
            middle = bench.medians(rows, name)
            figures = f"{middle.wall:.2f} | {middle.cpu:.2f} | {gigabytes(middle.peak):.2f}"
            print(f"| {name} | {rows:,} | {len(taken)} | {figures} |")


def write_copy(bench: Bench, findings: list[Finding], ran_on: dict[str, str]) -> None:
    """The same for programs: everything that was found, and every single run."""
    times = [
        {"program": name, "rows": rows, **asdict(each)}
        for rows, programs in sorted(bench.times.items())
        for name, taken in programs.items()
        for each in taken
    ]
    found = [{**asdict(each), "is_reached": each.is_reached} for each in findings]
    path = bench.folder / "results.json"
    path.write_text(
        json.dumps({**ran_on, "findings": found, "runs": times, "failures": bench.failures}, indent=2) + "\n",
        encoding="utf-8",
    )


def bench_from(arguments: argparse.Namespace) -> Bench:
    """The bench as the command line and BENCH_ROWS want it."""
    return Bench(
        folder=arguments.folder.resolve(),
        sizes=sorted(int(size) for size in os.environ.get("BENCH_ROWS", SIZES).split(",")),
        nights=arguments.nights,
        repeats=arguments.repeats,
        once_from=arguments.once_from,
        threads=arguments.threads,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=MEASURES, help="some of the measures")
    parser.add_argument("--folder", type=Path, default=Path("out/bench"), help="for data, results.json and the work")
    parser.add_argument("--repeats", type=int, default=3, help="how often each program runs")
    parser.add_argument("--once-from", type=int, metavar="ROWS", help="sizes from this one on run once")
    parser.add_argument("--nights", type=int, default=360, help="how long the year is; it has to end on no month's end")
    parser.add_argument("--threads", type=int, help="for the product, the floor and Polars; all cores, if left out")
    chosen = parser.parse_args()
    bench, ran_on, findings = bench_from(chosen), machine(), []
    for name, value in ran_on.items():
        print(f"{name}: {value}")
    for measures, measured in GROUPS.items():
        if wanted := [measure for measure in measures if measure in chosen.only]:
            try:
                findings += measured(bench, wanted)
            except ProgramError as failure:
                bench.fail(str(failure))
            write_copy(bench, findings, ran_on)
    bench.cleared()
    print_findings(findings)
    print_times(bench)
    if bench.failures:
        sys.exit("\n".join(["", *bench.failures]))


if __name__ == "__main__":
    main()
