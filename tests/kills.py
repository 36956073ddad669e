"""Real processes: killed at random moments, and started several at once: `python -m tests.kills [TIMES [ROWS]]`.

A night over many usage rows, two thirds of them late, is killed with SIGKILL after a random time, TIMES times: each
time the folder must hold the night before or the night after, whole, and the next run end with the bytes of an
undisturbed one. Then TIMES times two to four processes start it at one moment: one commits.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.folders import ONE_CUSTOMER, bill, copied, csv_text, published_bytes, rows, write
from usage_rating.doctor import examine

FIRST_NIGHT, SECOND_NIGHT = date(2024, 3, 10), date(2024, 4, 10)
USAGE = "subscription_id,event_id,meter,quantity,occurred_at"
CARD = str(ONE_CUSTOMER["rate_cards/carts.v1.yaml"]) + (
    '    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "0.01"}}\n'
)
RUN = [str(Path(sys.executable).with_name("usage-rating")), "run"]
# Every process waits for the others: it starts when the file it watches appears.
AT_ONE_MOMENT = """\
import pathlib, sys, time
go, arguments = pathlib.Path(sys.argv[1]), sys.argv[2:]
import usage_rating.night, usage_rating.progress, usage_rating.report
while not go.exists():
    time.sleep(0.001)
sys.argv = ["usage-rating", *arguments]
from usage_rating.cli import main
main()
"""


@dataclass(frozen=True)
class Nights:
    """A folder after its first night, with the second one's files; what it publishes before and after that."""

    folder: Path
    first: dict[str, bytes]
    second: dict[str, bytes]
    seconds: float


def nights_in(scratch: Path, count: int) -> Nights:
    """Bills both nights; the second takes in so many rows of three months."""
    folder = scratch / "first"
    bill(folder, FIRST_NIGHT, ONE_CUSTOMER | {"rate_cards/carts.v1.yaml": CARD})
    first = published_bytes(folder)
    events = (f"S1,e{n},messages,{n % 7 + 1},2024-{n % 3 + 1:02}-{n % 18 + 11:02}T{n % 24:02}:00" for n in range(count))
    write(folder / "input", {"usage/1.csv": csv_text(USAGE, *events)})
    copied(folder, scratch / "second")
    began = time.monotonic()
    run_of(scratch / "second").wait()
    return Nights(folder, first, published_bytes(scratch / "second"), time.monotonic() - began)


def arguments_of(folder: Path) -> list[str]:
    """The second night over a folder."""
    return ["--input", str(folder / "input"), "--output", str(folder / "output"), "--as-of", str(SECOND_NIGHT)]


def run_of(folder: Path) -> "subprocess.Popen[bytes]":
    """The second night, in a process of its own."""
    return subprocess.Popen([*RUN, *arguments_of(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def told_after_kill(nights: Nights, folder: Path, after: float) -> str:
    """Kills the night after so many seconds; says what is wrong then, or after the next run."""
    with run_of(copied(nights.folder, folder)) as process:
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
    before = published_bytes(folder)
    if before not in (nights.first, nights.second):
        return "readers see half a night"
    if run_of(folder).wait() != 0:
        return "the next run fails"
    return told(nights, folder)


def told_after_race(nights: Nights, folder: Path, processes: int) -> str:
    """Starts the night so many times at one moment; says what is wrong then."""
    go = copied(nights.folder, folder) / "go"
    command = [sys.executable, "-c", AT_ONE_MOMENT, str(go), "run", *arguments_of(folder)]
    started = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(processes)
    ]
    time.sleep(1.0)
    go.touch()
    codes = sorted(process.wait() for process in started)
    if set(codes) - {0, 3} or 0 not in codes:
        return f"exit codes {codes}"
    return told(nights, folder)


def told(nights: Nights, folder: Path) -> str:
    """What is wrong with a folder in which the second night must have been committed once."""
    if published_bytes(folder) != nights.second:
        return "other bytes than those of an undisturbed night"
    if rows(folder, "select run_id from runs order by run_id") != [("000001",), ("000002",)]:
        return "not one commit a night"
    return "\n".join(map(str, examine(folder / "output", None)))


def main(times: int, count: int) -> int:
    """Tries it; says how often, and what was wrong."""
    random, faults = Random(2024), []  # noqa: S311
    with TemporaryDirectory() as scratch:
        nights = nights_in(Path(scratch), count)
        for number in range(times):
            after = random.uniform(0.1, nights.seconds)
            with TemporaryDirectory() as folder:
                if found := told_after_kill(nights, Path(folder), after):
                    faults.append(f"killed after {after:.2f} s: {found}")
            with TemporaryDirectory() as folder:
                if found := told_after_race(nights, Path(folder), number % 3 + 2):
                    faults.append(f"{number % 3 + 2} at once: {found}")
    print("\n".join([*faults, f"{times} kills over {count:,} rows and {times} races, {len(faults)} faults"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in [*sys.argv[1:], "100", "1000000"][:2])))
