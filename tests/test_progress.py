"""The bar: on a terminal, while a step takes over a second, and never anywhere else."""

import os
import pty
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import duckdb

from tests.folders import ONE_CUSTOMER, settings_of, write
from usage_rating.night import run_night
from usage_rating.progress import progress
from usage_rating.stages import all_stages

STEPS = """\
import sys, time
import duckdb
from usage_rating.progress import progress

def main():
    with progress() as display, duckdb.connect() as engine, display.watch(engine):
        for step in sys.argv[1:]:
            name, amount = step.split("=")
            display.announce(name)
            if name == "statement":
                engine.execute(f"create table t as select range as i, hash(range) % 1000003 as h from range({amount})")
                engine.execute("create table r as select h, count(*), list(i order by i)[1] from t group by h")
            else:
                time.sleep(float(amount))
            print(f"<{name} ended>", file=sys.stderr, flush=True)

main()
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
    seen = on_a_terminal("quick=0.1", "cart states [1]=1.8")
    assert "cart states [1]" in seen.partition("<cart states [1] ended>")[0]
    assert "quick" not in seen.partition("<quick ended>")[0]
    assert seen.endswith(("\x1b[2K", "\x1b[?25h")), "and the line is cleared, the cursor back"


def test_a_statement_is_shown_with_its_per_cent_and_a_step_without_one_is_not() -> None:
    seen = on_a_terminal("statement=5000000", "sums=1.3")
    during, _, after = seen.partition("<statement ended>")
    shown = [int(per_cent) for per_cent in re.findall(r"statement · ([0-9]+) %", during)]
    assert len(set(shown)) > 3, "it moves"
    assert all(0 <= per_cent <= 100 for per_cent in shown)
    assert "sums" in after
    assert "%" not in after.partition("sums")[2]
    assert "Traceback" not in seen


def test_stages_and_files_are_told_with_their_place(tmp_path: Path) -> None:
    write(tmp_path / "input", ONE_CUSTOMER)
    said: list[str] = []
    run_night(settings_of(tmp_path, date(2024, 2, 10)), announce=said.append)
    names = [stage.name.replace("_", " ") for stage in all_stages()]
    assert [f"{name} · {n} of {len(names)}" for n, name in enumerate(names, 1)] == [
        step for step in said if step.partition(" · ")[0] in names
    ]
    assert [step for step in said if step.startswith("reading ")] == [
        "reading accounts/1.csv · 1 of 3",
        "reading subscriptions/1.csv · 2 of 3",
        "reading cart_events/1.csv · 3 of 3",
    ]


def test_nothing_is_counted_where_nobody_watches() -> None:
    with duckdb.connect() as engine, progress() as display:
        engine.execute("set enable_progress_bar = false")  # as `open_engine` does: some interpreters begin otherwise
        with display.watch(engine):
            assert engine.execute("select current_setting('enable_progress_bar')").fetchall() == [(False,)]


def test_quick_steps_show_nothing_on_a_terminal() -> None:
    seen = on_a_terminal("one=0.4", "two=0.4", "three=0.4")
    assert seen.replace("\r\n", "") == "<one ended><two ended><three ended>"


def test_nothing_is_shown_where_nobody_watches(tmp_path: Path) -> None:
    began = time.monotonic()
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", STEPS, "slow=1.3"], stderr=log, check=True)
    assert time.monotonic() - began > 1.3
    assert (tmp_path / "log").read_text() == "<slow ended>\n"
