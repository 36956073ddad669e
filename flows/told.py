"""Which alerts somebody was told of: a file in the output folder, which a run that dies leaves true."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import fsync
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

FILE_MODE = 0o640


class Found(NamedTuple):
    """The alerts about one subscription that one run found: told together or not at all."""

    run_id: str
    subscription_id: str


class Told:
    """The lines of `alerts_told.jsonl`, one for each `Found` that was told, and through which block."""

    def __init__(self, output: Path) -> None:
        self._path = output / "alerts_told.jsonl"
        self._lock = FileLock(output / ".alerts_told.lock", mode=FILE_MODE)

    @contextmanager
    def hold(self) -> Iterator[set[Found]]:
        """Keeps other runs from telling the same meanwhile; waits for one that is at it.

        :returns: what was told so far
        """
        with self._lock:
            self._path.touch(FILE_MODE)
            with self._path.open("r+b") as file:
                lines, line_end, _cut_by_a_power_failure = file.read().rpartition(b"\n")
                file.truncate(len(lines + line_end))
            told = (json.loads(line) for line in lines.splitlines())
            yield {Found(line["run_id"], line["subscription_id"]) for line in told}

    def note(self, told: Iterable[Found], through: str | None) -> None:
        """Adds what was just told, so that it lasts when this returns."""
        lines = "".join(json.dumps(found._asdict() | {"through": through}) + "\n" for found in told)
        with self._path.open("ab") as file:
            file.write(lines.encode())
            file.flush()
            fsync(file.fileno())
