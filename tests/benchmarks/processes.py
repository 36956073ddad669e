"""Programs as processes of their own: how long each takes, how much of the processors and of memory."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

Command = Sequence[str | Path]
USAGE_RATING = Path(sys.executable).with_name("usage-rating")
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


class ProgramError(Exception):
    """A program did not end well; with its command line and what it said."""


@dataclass(frozen=True)
class Took:
    """What one process took: seconds, seconds of processors, bytes at the most."""

    wall: float
    cpu: float
    peak: int


def took(command: Command, **environment: str) -> Took:
    """Runs a program to its end. What was written before is on the disk by then, so as not to be paid for here.

    :raises ProgramError: it ended with another exit code than 0
    """
    os.sync()
    with TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=os.environ | environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            raise ProgramError(f"{' '.join(map(str, command))}\nexit {process.returncode}: {text}")
    return Took(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * PEAK_UNIT)


def program(module: str, *arguments: str | Path) -> Command:
    """A program of the benchmark, by its module's name."""
    return [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
