"""Measures of the smallest input: what starting the command line costs."""

from datetime import date
from pathlib import Path

from tests.benchmarks.bench import Bench, Finding

MEASURES = ("sample",)
SAMPLE = Path(__file__).parents[2] / "data" / "sample"
AS_OF = date(2024, 5, 5)
REPEATS = 5


def sample(bench: Bench, _: list[str]) -> list[Finding]:
    """The sample by command line, and a second time with nothing new."""
    output = bench.cleared() / "output"
    first, second = "data/sample", "data/sample, nothing new"
    programs = {
        first: lambda: bench.product(SAMPLE, bench.removed(output), AS_OF),
        second: lambda: bench.product(SAMPLE, output, AS_OF),
    }
    bench.alternate(0, programs, REPEATS)
    return [
        Finding("sample", 0, "whole process on data/sample by command line", bench.wall(0, first), 1.5, "s"),
        Finding("sample", 0, "a second run with nothing new", bench.wall(0, second), 0.7, "s"),
    ]
