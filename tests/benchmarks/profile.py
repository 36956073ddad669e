"""Where a run's time goes: its steps and stages with the seconds they take, longest first, in Markdown.

python -m tests.benchmarks.profile INPUT OUTPUT --as-of 2024-01-31       as `usage-rating run`, which it is
"""

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from usage_rating.night import run_night
from usage_rating.settings import Settings

SHOWN = 25


@dataclass
class Step:
    """Seconds by the clock and of processors."""

    wall: float = 0
    cpu: float = 0


class Profile:
    """Told each step as it begins; a file's number or a stage's is no part of a step's name."""

    def __init__(self) -> None:
        self.steps: defaultdict[str, Step] = defaultdict(Step)
        self._name, self._since = "start", (time.perf_counter(), time.process_time())

    def begin(self, step: str) -> None:
        """Ends the step before, and begins one."""
        now = time.perf_counter(), time.process_time()
        before = self.steps[self._name]
        before.wall += now[0] - self._since[0]
        before.cpu += now[1] - self._since[1]
        name = step.partition(" · ")[0]
        self._name, self._since = "reading files" if name.startswith("reading ") else name, now


def print_profile(steps: dict[str, Step]) -> None:
    """The longest steps, then the rest as one, then all."""
    longest = sorted(steps.items(), key=lambda named: named[1].cpu, reverse=True)
    others = [step for _, step in longest[SHOWN:]]
    rest = Step(sum(step.wall for step in others), sum(step.cpu for step in others))
    whole = Step(sum(step.wall for step in steps.values()), sum(step.cpu for step in steps.values()))
    print("| step | seconds | of processors | share |\n|---|---:|---:|---:|")
    for name, step in [*longest[:SHOWN], (f"{len(others)} others", rest), ("all", whole)]:
        print(f"| {name} | {step.wall:.2f} | {step.cpu:.2f} | {step.cpu / whole.cpu:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--as-of", type=date.fromisoformat, required=True)
    chosen = parser.parse_args()
    profile = Profile()
    run_night(Settings(input=chosen.input, output=chosen.output, as_of=chosen.as_of), announce=profile.begin)
    profile.begin("end")
    print_profile(profile.steps)


if __name__ == "__main__":
    main()
