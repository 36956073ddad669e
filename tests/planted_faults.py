"""Plants faults in every numbered stage and shows that each is found: `python -m tests.planted_faults`.

    --stage NAME    only this stage (may be repeated)
    --max N         at most N faults, drawn with a fixed seed
    --jobs N        in so many processes (as many as the machine has cores)
    --list          only name the faults
    --by verify     have real nights billed with each fault that is not listed, and `verify` look at them
    --quick         only in the nights that bill most: with them most faults take seconds, not a minute

A fault is found ("killed") by the first night of `NIGHTS` in which something differs from what the oracle or a page
says. Those that no input can show are listed in planted_faults_survivors.toml, each with the reason; the command
fails where another survives, or where a listed one is killed or no longer planted.
"""

import argparse
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.damaged_nights import DAMAGES
from tests.planting import Fault, faults_in
from tests.rehearsals import (
    EDGE_PAGES,
    Rehearsals,
    Stillborn,
    of_arriving_world,
    of_damage,
    of_page,
    of_preview_world,
    of_usage_world,
    of_world,
)
from tests.verified_faults import KINDS, MISSED, QUICK_NIGHTS, Outcome, VerifiedFaults
from tests.verified_faults import NIGHTS as NIGHTS_VERIFIED
from usage_rating.stages import all_stages

SURVIVORS = Path(__file__).with_name("planted_faults_survivors.toml")
WORKED_EXAMPLES = Path(__file__).parent / "worked_examples"
# Seeds of drawn worlds: from many, those that killed a fault that those before them did not.
WORLDS: tuple[int, ...] = tuple(range(30))
ARRIVING_WORLDS: tuple[int, ...] = tuple(range(10))
USAGE_WORLDS: tuple[int, ...] = tuple(range(24))
PREVIEWED_WORLDS: tuple[int, ...] = tuple(range(8))
NIGHTS = (
    *map(of_usage_world, USAGE_WORLDS),
    *map(of_preview_world, PREVIEWED_WORLDS),
    *map(of_world, WORLDS),
    *map(of_arriving_world, ARRIVING_WORLDS),
    *(of_page(path) for path in sorted(EDGE_PAGES.glob("*.md"))),
    *(of_page(path) for path in sorted(WORKED_EXAMPLES.glob("*.md")) if path.name != "README.md"),
    *map(of_damage, DAMAGES),
)


@dataclass
class Findings:
    """What became of the faults."""

    killed: dict[str, str] = field(default_factory=dict)
    survived: set[str] = field(default_factory=set)
    stillborn: set[str] = field(default_factory=set)

    def add(self, other: "Findings") -> None:
        """Takes in what became of other faults."""
        self.killed |= other.killed
        self.survived |= other.survived
        self.stillborn |= other.stillborn


def all_faults() -> list[Fault]:
    """Every fault of every stage."""
    return [fault for stage in all_stages() for fault in faults_in(stage)]


def survivors() -> dict[str, str]:
    """The faults that no input can show, and why."""
    entries = tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))["equivalent"]
    return {name: entry["because"] for entry in entries for name in entry["faults"]}


def tried(faults: Iterable[Fault], rehearsals: Rehearsals) -> Findings:
    """Runs the nights with each fault until one differs."""
    findings = Findings()
    for fault in faults:
        try:
            killer = rehearsals.killer_of(fault.planted)
        except Stillborn:
            findings.stillborn.add(fault.name)
            continue
        if killer:
            findings.killed[fault.name] = killer
        else:
            findings.survived.add(fault.name)
            print(f"survived: {fault.line}: {fault.name}", file=sys.stderr, flush=True)
    return findings


def tried_in_processes(names: Sequence[str], jobs: int) -> Findings:
    """The same, shared out over processes that each keep the nights of their own."""
    findings = Findings()
    with ProcessPoolExecutor(jobs) as pool:
        for found in pool.map(tried_by_name, [names[job::jobs] for job in range(jobs)]):
            findings.add(found)
    return findings


def tried_by_name(names: Sequence[str]) -> Findings:
    """One process's share."""
    wanted = set(names)
    with Rehearsals(NIGHTS) as rehearsals:
        return tried([fault for fault in all_faults() if fault.name in wanted], rehearsals)


def verified(faults: Sequence[Fault], jobs: int, *, is_quick: bool) -> int:
    """Has `verify` look for the faults that some input can show; 0 where it misses none."""
    listed = survivors()
    sought = [fault for fault in faults if fault.name not in listed and not fault.stage.is_check]
    names, outcomes = [fault.name for fault in sought], dict[str, Outcome]()
    with ProcessPoolExecutor(jobs) as pool:
        shares = [names[job::jobs] for job in range(jobs)]
        for found in pool.map(verified_by_name, shares, [is_quick] * jobs):
            outcomes |= found
    counts = Counter((stage_of(fault), outcomes[fault.name].kind) for fault in sought if fault.name in outcomes)
    counts += Counter({("all", kind): count for kind, count in Counter(kind for _, kind in counts.elements()).items()})
    print("\n" + f"{'stage':32}" + "".join(f"{kind:>13}" for kind in KINDS))
    for stage in dict.fromkeys(stage for stage, _ in counts):
        print(f"{stage:32}" + "".join(f"{counts[stage, kind]:>13}" for kind in KINDS))
    return 1 if counts["all", MISSED] else 0


def verified_by_name(names: Sequence[str], is_quick: bool) -> dict[str, Outcome]:
    """One process's share, each told as it comes; what is no SQL is left out."""
    planted, outcomes = {fault.name: fault for fault in all_faults()}, dict[str, Outcome]()
    with VerifiedFaults(QUICK_NIGHTS if is_quick else NIGHTS_VERIFIED) as nights:
        for fault in map(planted.__getitem__, names):
            with suppress(Stillborn):
                outcome = outcomes[fault.name] = nights.outcome_of(fault.planted)
                print(f"{outcome.kind}: {fault.line}: {fault.name} ({outcome.night})", file=sys.stderr, flush=True)
    return outcomes


def stage_of(fault: Fault) -> str:
    """The file of a fault's stage, without its ending."""
    return f"{fault.stage.number:03}_{fault.stage.name}"


def complaints(faults: Sequence[Fault], findings: Findings) -> list[str]:
    """What is not as the list of survivors says; nothing where all is well."""
    listed = survivors()
    stages = {stage_of(fault) for fault in faults}
    names = {fault.name for stage in stages for fault in all_faults_of(stage)}
    gone = [name for name in listed if name.partition(":")[0] in stages and name not in names]
    new = findings.survived - set(listed)
    return [
        *(f"survived, and is not listed: {fault.line}: {fault.name}" for fault in faults if fault.name in new),
        *(f"listed, but killed by {findings.killed[name]}: {name}" for name in listed if name in findings.killed),
        *(f"listed, but never planted: {name}" for name in gone),
    ]


def all_faults_of(file: str) -> list[Fault]:
    """Every fault of the stage in a file, named without its ending."""
    return next(faults_in(stage) for stage in all_stages() if f"{stage.number:03}_{stage.name}" == file)


def print_table(title: str, faults: Sequence[tuple[str, Fault]], findings: Findings) -> None:
    """Counts of faults by some label."""
    planted = Counter(label for label, fault in faults if fault.name not in findings.stillborn)
    lived = Counter(label for label, fault in faults if fault.name in findings.survived)
    print(f"\n{title:32}{'planted':>9}{'killed':>9}{'survived':>9}")
    for label, count in [*planted.items(), ("all", planted.total())]:
        left = lived[label] if label != "all" else lived.total()
        print(f"{label:32}{count:>9}{count - left:>9}{left:>9}")


def main() -> int:
    """The command; 0 where every fault was killed or is listed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", action="append")
    parser.add_argument("--max", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--by", choices=["oracle", "verify"], default="oracle")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    faults = [fault for fault in all_faults() if not chosen.stage or fault.stage.name in chosen.stage]
    if chosen.max and chosen.max < len(faults):
        faults = Random(0).sample(faults, chosen.max)  # noqa: S311
    if chosen.list:
        print(*(f"{fault.line}: {fault.name}" for fault in faults), sep="\n")
        return 0
    if chosen.by == "verify":
        return verified(faults, chosen.jobs, is_quick=chosen.quick)
    findings = tried_in_processes([fault.name for fault in faults], chosen.jobs)
    print_table("stage", [(stage_of(fault), fault) for fault in faults], findings)
    print_table("operator", sorted(((fault.operator, fault) for fault in faults), key=lambda row: row[0]), findings)
    wrong = complaints(faults, findings)
    print("\n" + "\n".join(wrong or ["Every fault that survived is listed with the reason why no input can show it."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
