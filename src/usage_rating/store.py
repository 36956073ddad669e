"""The output folder: what is kept between nights and what is published, and the one moment at which a night counts.

    DIR/nights/000007/          everything as of run 7: kept/, a folder a published table, manifest, billing.duckdb
    DIR/current                 a link to the last of them; replacing it is the commit
    DIR/invoices, ...           links into current/
    DIR/.work/                  what a run writes before it counts; of no meaning to the next one
    DIR/.lock                   held by the run at work, and given back by the system if it dies

A night's folder shares the files it did not change with the night before (hard links), so that readers of an earlier
night are not disturbed, and the whole of a night appears at once.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from usage_rating.errors import BadInput, OutputHeld
from usage_rating.tables import TABLES
from usage_rating.views import write_views

NIGHTS_KEPT = 7
UNUSABLE = ("*", "?", "[", "\\")
FOLDER_MODE = 0o750
FILE_MODE = 0o640


@dataclass(frozen=True)
class InputRecord:
    """An input file that was taken in, so that it is known again."""

    feed: str
    name: str
    bytes: int
    modified_ns: int
    sha256: str
    run_number: int


@dataclass(frozen=True)
class Manifest:
    """What a night consists of, by hash, and the night it follows."""

    run_number: int = 0
    as_of: str = ""
    previous: str = ""
    inputs: tuple[InputRecord, ...] = ()
    rate_cards: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The run's name in the published tables."""
        return run_id(self.run_number)

    @property
    def as_of_date(self) -> date | None:
        """The date billed up to; None before the first night."""
        return date.fromisoformat(self.as_of) if self.as_of else None

    @property
    def sha256(self) -> str:
        """The hash of the manifest's file, by which the next night names it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The manifest's text; the same night always has the same."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def run_id(run_number: int) -> str:
    """Numbers as text that sorts: the seventh run is 000007."""
    return f"{run_number:06d}"


class Store:
    """An output folder, held by this process while `hold` lasts."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.nights = output / "nights"
        self.current = output / "current"
        self.work = output / ".work"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps other runs out, and clears what a dead one left behind.

        :raises OutputHeld: another run is at work
        :raises BadInput: the folder cannot be used
        """
        with private_files(), self._locked():
            self._clear()
            yield
            self._clear()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Leaves the folder as it is, held by another or not; what has to be written meanwhile goes elsewhere."""
        with TemporaryDirectory() as folder:
            self.current = self.current.resolve()  # the night as it is now, whatever is committed meanwhile
            self.work = Path(folder)
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if any(character in str(self.output.absolute()) for character in UNUSABLE):
            raise BadInput(
                [f"{self.output}: the engine takes {' '.join(UNUSABLE)} in a path for a pattern. Rename it."]
            )
        try:
            self.nights.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise BadInput([f"{self.output}: cannot be used as the output folder: {error.strerror}."]) from None
        holder = self.output / ".lock.holder"
        lock = FileLock(self.output / ".lock", timeout=0, mode=FILE_MODE)
        try:
            lock.acquire()
        except Timeout:
            who = holder.read_text(encoding="utf-8") if holder.exists() else "an unknown process"
            raise OutputHeld(f"{self.output}: held by {who}. Wait for it to end, then run again.") from None
        try:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            holder.write_text(f"process {os.getpid()} since {since}", encoding="utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def _clear(self) -> None:
        committed = self.manifest().run_number
        for night in self.nights.glob("[0-9]*"):
            if int(night.name) > committed or int(night.name) <= committed - NIGHTS_KEPT:
                shutil.rmtree(night)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()

    def manifest(self) -> Manifest:
        """The last committed night's manifest, or an empty one before the first.

        :raises BadInput: there was a night, and its manifest is gone
        """
        path = self.current / "manifest.json"
        if not path.exists():
            self._refuse_lost_nights()
            return Manifest()
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return Manifest(**said | {"inputs": tuple(InputRecord(**record) for record in said["inputs"])})
        except (ValueError, TypeError, KeyError):
            raise BadInput([f"{path}: is damaged. Restore the output folder from a backup."]) from None

    def _refuse_lost_nights(self) -> None:
        """Without a link to the last night its history would be billed anew: only a first commit cut short has none."""
        nights = sorted(night.name for night in self.nights.glob("[0-9]*"))
        is_cut_short = (self.work / "current").is_symlink()
        if self.current.is_symlink() or (nights and not is_cut_short):
            raise BadInput(
                [
                    f"{self.current}: the link to the last night is missing or leads nowhere, so what was issued is "
                    f"unknown. Link it to nights/{nights[-1] if nights else '...'} if that is whole, or restore it."
                ]
            )

    def files(self, folder: str) -> list[Path]:
        """The last night's files in one of its folders, found unchanged since they were written.

        :raises BadInput: one is missing or damaged
        """
        found, faults = [], []
        for name, sha256 in sorted(self.manifest().files.items()):
            if Path(name).parent != Path(folder):
                continue
            path = self.current.resolve() / name
            if not path.exists():
                faults.append(f"{path}: is missing. Restore the output folder from a backup.")
            elif hash_of(path) != sha256:
                faults.append(f"{path}: is not as it was written. Restore the output folder from a backup.")
            found.append(path)
        if faults:
            raise BadInput(faults)
        return found

    def stage(self) -> Path:
        """Begins a night: a folder with the last night's files, which do not count until `commit`."""
        staged = self.work / "night"
        shutil.rmtree(staged, ignore_errors=True)
        for folder in ("kept", *TABLES):
            (staged / folder).mkdir(parents=True)
        before = self.manifest()
        for name in before.files:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).hardlink_to(self.current / name)
        return staged

    def commit(self, staged: Path, manifest: Manifest) -> None:
        """Makes the staged folder the current night. Replacing one link is the moment from which it counts."""
        (staged / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        night = self.nights / manifest.run_id
        upcoming = self.work / "current"
        upcoming.unlink(missing_ok=True)
        upcoming.symlink_to(Path("nights") / manifest.run_id)
        shutil.rmtree(night, ignore_errors=True)
        staged.rename(night)
        write_views(night.resolve(), night / "billing.duckdb", list(manifest.files))
        _make_durable(night)
        _sync(self.nights)
        for table in (*TABLES, "billing.duckdb"):
            link = self.output / table
            if not link.is_symlink():
                link.symlink_to(Path("current") / table)
        upcoming.replace(self.current)
        _sync(self.output)


@contextmanager
def private_files() -> Iterator[None]:
    """What is written meanwhile, also by the engine, is for owner and group only."""
    before = os.umask(0o777 & ~FOLDER_MODE)
    try:
        yield
    finally:
        os.umask(before)


def hash_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of_text(*parts: str) -> str:
    """The SHA-256 of several texts, each kept apart from the next."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _make_durable(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_nlink == 1:
            path.chmod(FILE_MODE)
        if path.is_dir() or path.stat().st_nlink == 1:
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
