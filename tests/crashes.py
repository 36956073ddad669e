"""A night that dies, or whose disk fails, before any one step of the file layer: `python -m tests.crashes [EVERY]`.

The second night of a folder (a correction, a new invoice, a rewritten history) is run once; before each step the folder
is copied as a killed process would leave it, and once more as a power cut would, without what was not synced. Then each
copy is run again. And the night is run with each step failing, for want of space and by an input/output error. All must
end with the bytes of an undisturbed night and one commit.
"""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.file_layer import EIO, ENOSPC, copy_of, disk_is, lose_unsynced, watched
from tests.folders import CART_EVENTS, ONE_CUSTOMER, bill, copied, csv_text, published_bytes, write
from usage_rating.doctor import examine

FIRST_NIGHT, SECOND_NIGHT = date(2024, 2, 10), date(2024, 3, 10)
SECOND_EXPORT: dict[str, str | bytes] = {
    "cart_events/2.csv": csv_text(
        CART_EVENTS,
        "S1,c2,2024-01-20,Standard,active",  # late: the first night's invoice is corrected
        "S1,c3,2024-02-12,Standard,active",
        "S9,c1,2024-02-12,Standard,active",
    )
}


@dataclass(frozen=True)
class Nights:
    """A folder after the first night, and what it publishes after the second, undisturbed."""

    folder: Path
    first: dict[str, bytes]
    second: dict[str, bytes]


@dataclass(frozen=True)
class Point:
    """A folder as a disturbed night left it."""

    what: str
    folder: Path


def nights_in(scratch: Path) -> Nights:
    """Bills both nights, and keeps the first."""
    folder = scratch / "first"
    bill(folder, FIRST_NIGHT, ONE_CUSTOMER)
    first = published_bytes(folder)
    write(folder / "input", SECOND_EXPORT)
    bill(copied(folder, scratch / "second"), SECOND_NIGHT)
    return Nights(folder, first, published_bytes(scratch / "second"))


def killed(nights: Nights, scratch: Path, every: int = 1, offset: int = 0) -> Iterator[Point]:
    """The folder before each step, as a kill leaves it and as a power cut does."""
    run = copied(nights.folder, scratch / "run")
    points: list[Point] = []

    def reached(number: int, what: str) -> None:
        if number % every != offset:
            return
        for name in ("killed", "power cut"):
            folder = scratch / f"{number}-{name}"
            folder.mkdir()
            (folder / "input").symlink_to(nights.folder / "input")
            copy_of(run / "output", folder / "output")
            if name == "power cut":
                lose_unsynced(folder / "output", steps)
            points.append(Point(f"{name} before step {number}: {what}", folder))

    with watched(run / "output", reached) as steps:
        bill(run, SECOND_NIGHT)
    assert published_bytes(run) == nights.second
    yield from points


def failing(nights: Nights, scratch: Path, every: int = 1, offset: int = 0) -> Iterator[Point]:
    """The folder after a night in which a step failed; the run says so, or ends well without that step."""
    counted = copied(nights.folder, scratch / "counted")
    with watched(counted / "output", lambda number, what: None) as steps:
        bill(counted, SECOND_NIGHT)
    for number in range(1, steps.number + 1):
        if number % every != offset:
            continue
        for fault in (ENOSPC, EIO):
            folder = copied(nights.folder, scratch / f"{number}-{fault}")
            with watched(folder / "output", disk_is(fault, number)):
                try:
                    bill(folder, SECOND_NIGHT)
                except OSError as error:
                    said = f"{error}"
                else:
                    said = "the run ended well"
            yield Point(f"fault {fault} at step {number}: {said}", folder)


def told(point: Point, nights: Nights) -> str:
    """What is wrong with a point, before and after the next run; empty: nothing."""
    before = published_bytes(point.folder)
    if before not in (nights.first, nights.second):
        return "readers see half a night"
    report = bill(point.folder, SECOND_NIGHT)
    if published_bytes(point.folder) != nights.second:
        return "other bytes than those of an undisturbed night"
    if report.run_id is not None and before == nights.second:
        return "the night was committed twice"
    return "\n".join(map(str, examine(point.folder / "output", None)))


def main(every: int) -> int:
    """Tries every point, or every n-th; says how many, and what is wrong."""
    tried, faults = 0, []
    with TemporaryDirectory() as folder:
        nights = nights_in(Path(folder))
        for kind in (killed, failing):
            scratch = Path(folder) / kind.__name__
            for point in kind(nights, scratch, every):
                tried += 1
                if found := told(point, nights):
                    faults.append(f"{point.what}\n  {found}")
                shutil.rmtree(point.folder)
    print("\n".join([*faults, f"{tried} points tried, {len(faults)} at fault"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 1))
