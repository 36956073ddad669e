"""The output folder: one run at a time, a night that counts whole or not at all, and readers that are not disturbed."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pytest

from tests.folders import CART_EVENTS, ONE_CUSTOMER, bill, copied, csv_text, published_bytes, rows, settings_of, write
from usage_rating import store
from usage_rating.errors import BadInput, OutputHeld
from usage_rating.night import Night
from usage_rating.store import Store
from usage_rating.tables import TABLES
from usage_rating.views import rewrite_views

FIRST_NIGHT = date(2024, 2, 10)
SECOND_NIGHT = date(2024, 3, 10)
SECOND_EXPORT: dict[str, str | bytes] = {
    "cart_events/2.csv": csv_text(CART_EVENTS, "S1,c2,2024-02-12,Standard,active", "S9,c1,2024-02-12,Standard,active")
}

HOLD = """\
import sys
from usage_rating.night import Night
from usage_rating.settings import Settings

with Night(Settings(input=sys.argv[1], output=sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""

# Runs a night and kills itself, for real, when it reaches one moment for the nth time: before a step of the run, or
# before a call that changes the file system (the interpreter tells of it just before).
DIE = """\
import os, signal, sys
from datetime import date
from pathlib import Path
from usage_rating.night import run_night
from usage_rating.settings import Settings

folder, as_of, moment, count = Path(sys.argv[1]), date.fromisoformat(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def reached(now):
    global count
    count -= now.partition(" · ")[0] == moment  # a stage is told with its place
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def heard(event, arguments):
    if event in ("os.rename", "shutil.rmtree"):
        reached(event)
        for name in {Path(path).name for path in arguments if isinstance(path, (str, Path))}:
            reached(f"{event} {name}")

sys.addaudithook(heard)
settings = Settings(input=folder / "input", output=folder / "output", as_of=as_of, threads=1)
run_night(settings, announce=reached)
"""


@pytest.fixture(scope="module")
def one_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_night")
    bill(folder, FIRST_NIGHT, ONE_CUSTOMER)
    return folder


@pytest.fixture(scope="module")
def two_nights(one_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(one_night, tmp_path_factory.mktemp("two_nights"))
    bill(folder, SECOND_NIGHT, SECOND_EXPORT)
    return folder


@pytest.fixture
def billed(one_night: Path, tmp_path: Path) -> Path:
    """A folder of its own in which the first night was billed."""
    return copied(one_night, tmp_path)


@contextmanager
def another_process_holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(folder / "input"), str(folder / "output")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


# ---- one run at a time


def test_a_second_run_is_kept_out_until_the_holder_dies(billed: Path) -> None:
    """The lock is the operating system's: it goes with its process, however that ends."""
    with another_process_holding(billed) as holder:
        run = [str(Path(sys.executable).with_name("usage-rating")), "run", "--as-of", "2024-03-10"]
        folders = ["--input", str(billed / "input"), "--output", str(billed / "output")]
        second = subprocess.run([*run, *folders], capture_output=True, text=True, check=False)
        assert second.returncode == 3
        assert f"held by process {holder.pid} since 20" in second.stderr
        assert "Traceback" not in second.stderr
        with pytest.raises(OutputHeld, match=f"process {holder.pid}"):
            bill(billed, SECOND_NIGHT)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert bill(billed, SECOND_NIGHT).run_id == "000002"


def test_readers_do_not_wait_for_a_run(tmp_path: Path) -> None:
    bill(tmp_path, FIRST_NIGHT, ONE_CUSTOMER)
    with Night(settings_of(tmp_path, SECOND_NIGHT)) as night:
        night.ingest()
        night.rate()
        assert rows(tmp_path, "select count(*) from invoices") == [(1,)]
        night.publish()
        assert rows(tmp_path, "select count(*) from invoices") == [(2,)]


# ---- a night that is killed

MOMENTS = [
    ("peaks", 1),
    ("os.rename 000002", 1),  # the night is whole but not in its place
    ("os.rename current", 1),  # it is in its place and does not count: this is the commit
    ("shutil.rmtree .work", 2),  # it counts; what is old is about to be cleared
]


def test_a_night_killed_at_any_moment_leaves_the_same_as_an_undisturbed_one(
    one_night: Path, two_nights: Path, tmp_path: Path
) -> None:
    """Whatever a dead run left behind, the next one publishes the bytes it would have published."""
    folders = [write(copied(one_night, tmp_path / str(n)) / "input", SECOND_EXPORT).parent for n in range(len(MOMENTS))]
    runs = [
        subprocess.Popen([sys.executable, "-c", DIE, str(folder), str(SECOND_NIGHT), moment, str(count)])
        for folder, (moment, count) in zip(folders, MOMENTS, strict=True)
    ]
    first, second = published_bytes(one_night), published_bytes(two_nights)
    for run, folder, moment in zip(runs, folders, MOMENTS, strict=True):
        assert run.wait() == -signal.SIGKILL, moment
        assert published_bytes(folder) in (first, second), moment
        bill(folder, SECOND_NIGHT)
        assert published_bytes(folder) == second, moment
        assert sorted(path.name for path in (folder / "output" / "nights").iterdir()) == ["000001", "000002"]
        assert rows(folder, "select count(*) from invoices") == [(2,)]


def test_a_first_night_killed_before_it_counts_leaves_none(one_night: Path, tmp_path: Path) -> None:
    write(tmp_path / "input", ONE_CUSTOMER)
    command = [sys.executable, "-c", DIE, str(tmp_path), str(FIRST_NIGHT), "os.rename current", "1"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert published_bytes(tmp_path) == {}
    assert bill(tmp_path, FIRST_NIGHT).run_id == "000001"
    assert published_bytes(tmp_path) == published_bytes(one_night)


def test_nothing_of_a_failed_or_given_up_run_is_seen(billed: Path) -> None:
    def changes() -> dict[Path, int]:
        return {path: path.lstat().st_mtime_ns for path in (billed / "output" / "nights").rglob("*")}

    before = changes()
    with pytest.raises(BadInput):
        bill(billed, SECOND_NIGHT, {"usage/1.csv": "cut"})
    (billed / "input" / "usage" / "1.csv").unlink()
    with Night(settings_of(billed, SECOND_NIGHT)) as night:
        night.ingest()
        night.rate()
    assert changes() == before
    assert bill(billed, SECOND_NIGHT).run_id == "000002"


# ---- what is kept

DAMAGES: dict[str, Callable[[Path], object]] = {
    "changed": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "gone": lambda path: path.unlink(),
}
KEPT_FILES = [
    "kept/cart_events/000001.parquet",
    "kept/issued_cycles/000001.parquet",
    "invoices/000001.parquet",
    "rejected_rows/rejected_rows.parquet",
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", KEPT_FILES)
def test_a_kept_file_that_is_not_as_written_is_refused_by_name(name: str, damage: str, billed: Path) -> None:
    DAMAGES[damage](billed / "output" / "nights" / "000001" / name)
    with pytest.raises(BadInput) as error:
        bill(billed, SECOND_NIGHT)
    assert f"nights/000001/{name}: is " in str(error.value)
    assert "doctor" in str(error.value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_refused_by_name(damage: str, billed: Path) -> None:
    DAMAGES[damage](billed / "output" / "nights" / "000001" / "manifests" / "000001.json")
    with pytest.raises(BadInput, match=r"manifests/000001\.json: is"):
        bill(billed, SECOND_NIGHT)


@pytest.mark.parametrize("loss", ["current is gone", "current points to nothing", "its night is gone"])
def test_nights_without_their_current_link_are_refused_and_kept(loss: str, two_nights: Path, tmp_path: Path) -> None:
    """A backup restored without its links must not be taken for a new output folder, or invoices are issued twice."""
    output = copied(two_nights, tmp_path) / "output"
    if loss == "its night is gone":
        shutil.rmtree(output / "nights" / "000002")
    else:
        (output / "current").unlink()
    if loss == "current points to nothing":
        (output / "current").symlink_to("nights/000009")
    nights = sorted(path.name for path in (output / "nights").iterdir())
    with pytest.raises(BadInput):
        bill(tmp_path, SECOND_NIGHT)
    assert sorted(path.name for path in (output / "nights").iterdir()) == nights


def test_a_reader_keeps_its_night_and_old_nights_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody reads the first night while the next ones are published; of those before, the last few stay."""
    monkeypatch.setattr(store, "NIGHTS_KEPT", 2)
    bill(tmp_path, FIRST_NIGHT, ONE_CUSTOMER)
    totals = "select total from invoices order by invoice_number"
    nights = tmp_path / "output" / "nights"
    with duckdb.connect(str(tmp_path / "output" / "billing.duckdb"), read_only=True) as reader:
        assert reader.execute(totals).fetchall() == [(40,)]
        bill(tmp_path, SECOND_NIGHT, SECOND_EXPORT)
        assert reader.execute(totals).fetchall() == [(40,)]
    assert rows(tmp_path, totals) == [(40,), (80,)]
    bill(tmp_path, date(2024, 4, 10))
    assert sorted(path.name for path in nights.iterdir()) == ["000002", "000003"]
    assert rows(tmp_path, totals) == [(40,), (80,), (80,)]
    assert rows(tmp_path, "select run_id from runs order by run_id") == [("000001",), ("000002",), ("000003",)]


def test_views_are_written_anew_after_a_move(one_night: Path, tmp_path: Path) -> None:
    output = copied(one_night / "output", tmp_path / "it's here")
    rewrite_views(output, list(Store(output).chain.files))
    with duckdb.connect(str(output / "billing.duckdb"), read_only=True) as database:
        sources = database.execute("select sql from duckdb_views() where not internal").fetchall()
        assert len(sources) == len(TABLES)
        assert all(str(one_night) not in sql and "here" in sql for (sql,) in sources)
        assert database.execute("select total from invoices").fetchall() == [(40,)]


def test_views_need_a_night(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no published night"):
        rewrite_views(tmp_path, [])


def test_files_are_readable_by_their_owner_and_group_only(tmp_path: Path) -> None:
    """Even where the person who runs it lets everybody read."""
    umask = os.umask(0)
    try:
        bill(tmp_path, FIRST_NIGHT, ONE_CUSTOMER)
        bill(tmp_path, SECOND_NIGHT, SECOND_EXPORT)
    finally:
        os.umask(umask)
    modes = {
        (path.is_dir(), oct(stat.S_IMODE(path.stat().st_mode)))
        for path in (tmp_path / "output", *(tmp_path / "output").rglob("*"))
        if not path.is_symlink()
    }
    assert modes == {(True, "0o750"), (False, "0o640")}


def test_the_manifest_of_a_first_night_names_its_every_file(one_night: Path) -> None:
    night = (one_night / "output" / "current").resolve()
    files = {path.relative_to(night).as_posix() for path in night.rglob("*.parquet")}
    assert set(json.loads((night / "manifests" / "000001.json").read_text())["files"]) == files
