"""The command line as an operator meets it: the real command, its exit codes and what it prints."""

import os
import re
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tests.folders import CART_EVENTS, ONE_CUSTOMER, bill, csv_text, published_bytes, rows, timeless, write

COMMAND = str(Path(sys.executable).with_name("usage-rating"))
CUSTOMER = "Jane Roe of Leeds"


def usage_rating(*arguments: str | Path, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the installed command. Its width is fixed, so that what it prints is too."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "120"},
        preexec_fn=before,
    )


def run(
    folder: Path, *arguments: str | Path, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `run` from `folder`/input to `folder`/output, up to the first cycle's end."""
    folders = ("--input", folder / "input", "--output", folder / "output")
    return usage_rating("run", *folders, "--as-of", "2024-02-10", *arguments, before=before)


# ---- what it prints


REPORT = """\
Run 000001, billed up to 2024-02-10
  not read: cart_event/ belongs to no feed

Read
feed           files  rows  rejected
accounts           1     1         0
subscriptions      1     1         0
cart_events        2     4         1

Refused or waiting
feed         status    reason                rows
cart_events  held      unknown_subscription     1
cart_events  rejected  bad_value                1

Issued
rate card  currency  kind   invoices  total
carts      USD       cycle         1  80.00

6 rows read and rated in …
Next: duckdb -readonly {output}/billing.duckdb 'from invoices'
      'from rejected_rows' says for each row what was expected and what to do
"""


def test_a_run_says_what_it_did_and_a_second_one_that_nothing_is_new(tmp_path: Path) -> None:
    events = [
        "S1,c2,2024-01-12,Standard,active",
        "S9,c1,2024-01-12,Standard,active",
        f"S1,c3,{CUSTOMER},Standard,active",
    ]
    write(tmp_path / "input", ONE_CUSTOMER | {"cart_events/2.csv": csv_text(CART_EVENTS, *events), "cart_event/x": ""})
    first = run(tmp_path)
    lines = [line.rstrip() for line in timeless(first.stdout).splitlines()]
    assert (first.returncode, first.stderr) == (0, "")
    assert lines == REPORT.format(output=tmp_path / "output").splitlines()
    before = published_bytes(tmp_path)
    second = run(tmp_path)
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.startswith("Nothing new as of 2024-02-10: no file, no invoice due. Nothing was published.\n")
    assert published_bytes(tmp_path) == before


HELP = {
    (): ["run", "preview", "views", "export", "Exit codes: 0 done", "2 bad input", "3 the output is held"],
    ("run",): [
        "--input",
        "--output",
        "--as-of",
        "--max-rejected",
        "--min-snapshot-share",
        "--memory-limit",
        "Example:",
    ],
    ("preview",): ["--input", "--output", "--as-of", "--to", "open cycle", "Example:"],
    ("views",): ["--output", "billing.duckdb", "moved"],
    ("export",): ["--month", "--format", "--to", "issue_date", "formula"],
}


@pytest.mark.parametrize("command", HELP)
def test_help_teaches(command: tuple[str, ...]) -> None:
    shown = usage_rating(*command, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    text = " ".join(shown.stdout.split())
    assert [words for words in HELP[command] if words not in text] == []


def test_it_starts_in_under_half_a_second() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        usage_rating("--help")
        return time.perf_counter() - began

    assert min(seconds() for _ in range(3)) < 0.5


def test_a_run_imports_neither_prefect_nor_pandas(tmp_path: Path) -> None:
    write(tmp_path / "input", ONE_CUSTOMER)
    program = "import sys; from usage_rating.cli import app; app(standalone_mode=False); print(*sys.modules)"
    arguments = [
        "run",
        "--input",
        str(tmp_path / "input"),
        "--output",
        str(tmp_path / "output"),
        "--as-of",
        "2024-02-10",
    ]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert {"prefect", "pandas", "flows", "IPython"} & set(done.stdout.splitlines()[-1].split()) == set()
    assert "Run 000001" in done.stdout


# ---- exit 2: bad input or use, said in full, nothing published


WRONG_USE = {
    "": ["Usage"],
    "bill": ["No such command 'bill'"],
    "run --output o": ["--input"],
    "run --input i --output o --as-of 2024-02-30": ["--as-of", "'2024-02-30'"],
    "run --input i --output o --as_of 2024-02-01": ["--as_of"],
    "run --input i --output o --max-rejected few": ["--max-rejected: 'few' is not a number"],
    "run --input i --output o --max-rejected NaN --min-snapshot-share 1.1 --threads 0 --memory-limit lots": [
        "max_rejected: ",
        "min_snapshot_share: ",
        "threads: ",
        "memory_limit: ",
    ],
    "run --input i --output o": ["i: no such input folder"],
    "export --output o --month 2024-02": ["o: holds no published night"],
    "views --output o": ["o: holds no published night"],
}


@pytest.mark.parametrize("use", WRONG_USE)
def test_wrong_use_is_said_in_full_and_exits_2(use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = usage_rating(*use.split())
    assert done.returncode == 2
    assert [said for said in WRONG_USE[use] if said not in done.stderr + done.stdout] == []
    assert "Traceback" not in done.stderr


def test_an_output_that_is_a_file_exits_2(tmp_path: Path) -> None:
    write(tmp_path, {"output": "", **{f"input/{name}": content for name, content in ONE_CUSTOMER.items()}})
    done = run(tmp_path)
    assert done.returncode == 2
    assert "cannot be used as the output folder" in done.stderr


REFUSED: dict[str, dict[str, str | bytes]] = {
    "too many rejected rows": {
        "cart_events/2.csv": csv_text(CART_EVENTS, *(f"S1,{CUSTOMER} {n},{CUSTOMER},,{CUSTOMER}" for n in range(6))),
        "cart_events/3.csv": csv_text(
            CART_EVENTS, *(f"S1,{CUSTOMER},2024-01-12,{CUSTOMER} {n},active" for n in range(7))
        ),
        "cart_events/4.csv": csv_text(CART_EVENTS, *(f"{CUSTOMER},{CUSTOMER},,,,,,{n}" for n in range(6))),
        "cart_events/5.csv": csv_text(CART_EVENTS).encode() + f"{CUSTOMER}\xe9,,,,\n".encode("latin-1") * 6,
    },
    "open quotes": {"cart_events/2.csv": csv_text(CART_EVENTS, f'S1,"{CUSTOMER},2024-01-12,Standard,active')},
    "no header": {
        "cart_events/2.csv": f"S1,{CUSTOMER},2024-01-12,Standard,active\n",
        "cart_events/3.csv": f"{CART_EVENTS}\nS1,{CUSTOMER}",
    },
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_stopped_run_names_places_and_no_customers_value(fault: str, tmp_path: Path) -> None:
    write(tmp_path / "input", ONE_CUSTOMER | REFUSED[fault])
    done = run(tmp_path)
    assert done.returncode == 2
    assert [name for name in REFUSED[fault] if f"{name}: " not in done.stderr] == []
    assert done.stderr.endswith("\nNothing was published.\n")
    assert not re.search("Jane|Roe|Leeds|Traceback", done.stdout + done.stderr)
    assert not (tmp_path / "output" / "current").exists()


# ---- exit 1: a fault of ours, or of the disk


def test_a_full_disk_exits_1_publishes_nothing_and_harms_nothing(tmp_path: Path) -> None:
    """No file may grow past 4 KB: the engine's first larger write fails as it would on a full disk."""
    write(tmp_path / "input", ONE_CUSTOMER)
    done = run(tmp_path, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "output" / "current").exists()
    bill(tmp_path, date(2024, 2, 10))
    assert rows(tmp_path, "select total from invoices") == [(40,)]


# ---- settings


def test_a_settings_file_holds_policies_and_options_beat_it(tmp_path: Path) -> None:
    wrong = csv_text(CART_EVENTS, *(f"S1,c{n},soon,Standard,active" for n in range(30)))[:-1]
    write(tmp_path / "input", ONE_CUSTOMER | {"cart_events/2.csv": wrong})
    strict = tmp_path / "strict.toml"
    strict.write_text('max_rejected = "0"\nallow_missing_final_newline = true\nthreads = 1\nmemory_limit = "1GB"\n')
    assert "than --max-rejected 0 allows" in run(tmp_path, "--settings", strict).stderr
    assert run(tmp_path, "--settings", strict, "--max-rejected", "1").returncode == 0


BAD_SETTINGS = {
    "input = 'x'\nas_of = 2024-01-01\nmax_rejectd = 1\n": [
        "unknown key 'as_of'",
        "unknown key 'input'",
        "unknown key 'max_rejectd'",
        "Known keys: allow_missing_final_newline, correction_window, max_change, max_rejected, memory_limit, "
        "min_snapshot_share, threads",
    ],
    "max_rejected = 2\nthreads = 'many'\n": ["max_rejected: ", "threads: "],
    "max_rejected\n": ["not a readable settings file"],
}


@pytest.mark.parametrize("text", BAD_SETTINGS)
def test_every_fault_of_a_settings_file_is_said(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    done = run(tmp_path, "--settings", path)
    assert done.returncode == 2
    assert [said for said in BAD_SETTINGS[text] if said not in done.stderr] == []


# ---- what views and export write


def let_everybody_read() -> None:
    os.umask(0)


def test_views_and_exports_are_for_owner_and_group_only(tmp_path: Path) -> None:
    """They hold, or lead to, customers' rows, whoever runs the command with whatever mask."""
    bill(tmp_path, date(2024, 2, 10), ONE_CUSTOMER)
    output = tmp_path / "output"
    for arguments in (
        ["views"],
        ["export", "--month", "2024-02"],
        ["export", "--month", "2024-02", "--to", tmp_path / "to"],
    ):
        done = usage_rating(*arguments, "--output", output, before=let_everybody_read)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"wrote {tmp_path}")
    written = [
        output / "billing.duckdb",
        *(output / "exports").rglob("*"),
        tmp_path / "to",
        *(tmp_path / "to").rglob("*"),
    ]
    assert len(written) == 9
    readable_by_all = [path for path in written if stat.S_IMODE(path.stat().st_mode) & 0o007]
    assert readable_by_all == []
