"""The bar: on a terminal, while a step takes over a second, and never anywhere else."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

STEPS = """\
import sys, time
from usage_rating.progress import progress

with progress() as announce:
    for step in sys.argv[1:]:
        name, seconds = step.split("=")
        announce(name)
        time.sleep(float(seconds))
        print(f"<{name} ended>", file=sys.stderr, flush=True)
"""


def on_a_terminal(*steps: str) -> str:
    """What a person sees while the steps run; `<name ended>` marks the end of each."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", STEPS, *steps], stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        os.close(ours)
    assert process.returncode == 0
    return seen.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side is closed
        return b""


def test_a_step_that_takes_over_a_second_is_shown_while_it_runs() -> None:
    seen = on_a_terminal("quick=0.1", "cart_states=1.8")
    assert "cart states" in seen.partition("<cart_states ended>")[0]
    assert "quick" not in seen.partition("<quick ended>")[0]
    assert seen.endswith(("\x1b[2K", "\x1b[?25h")), "and the line is cleared, the cursor back"


def test_quick_steps_show_nothing_on_a_terminal() -> None:
    seen = on_a_terminal("one=0.4", "two=0.4", "three=0.4")
    assert seen.replace("\r\n", "") == "<one ended><two ended><three ended>"


def test_nothing_is_shown_where_nobody_watches(tmp_path: Path) -> None:
    began = time.monotonic()
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", STEPS, "slow=1.3"], stderr=log, check=True)
    assert time.monotonic() - began > 1.3
    assert (tmp_path / "log").read_text() == "<slow ended>\n"
