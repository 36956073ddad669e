"""The output folder: what is kept between nights and what is published, and the one moment at which a night counts.

    DIR/nights/000007/          everything as of run 7: kept/, a folder a published table, manifests/, billing.duckdb
                                (kept/usage/ holds typed rows, kept/usage_files/ large input files as they came)
    DIR/current                 a link to the last of them; replacing it is the commit
    DIR/invoices, ...           links into current/
    DIR/manifests/              the manifests once more, for `doctor`: without them nothing else can be judged
    DIR/.work/                  what a run writes before it counts; of no meaning to the next one
    DIR/.lock                   held by the run at work, and given back by the system if it dies

A night's folder shares the files it did not change with the night before (hard links), so that readers of an earlier
night are not disturbed, and the whole of a night appears at once.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from usage_rating.errors import BadInput, OutputHeld
from usage_rating.files import FILE_MODE, hash_of, make_durable, private_files, sync
from usage_rating.manifests import Chain, Manifest, read_chain
from usage_rating.tables import TABLES
from usage_rating.views import write_views

NIGHTS_KEPT = 7
PARQUET_END = b"PAR1"
ADVICE = "`usage-rating doctor` says what it means and what can be rebuilt; else restore it from a backup."
LINKED = (*TABLES, "billing.duckdb")  # what readers find beside the nights, as links into the last one
UNUSABLE = ("*", "?", "[", "\\")


class Store:
    """An output folder, held by this process while `hold` lasts."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.nights = output / "nights"
        self.current = output / "current"
        self.work = output / ".work"
        self._is_read_only = False
        self._found_whole: set[Path] = set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps other runs out, and clears what a dead one left behind.

        :raises OutputHeld: another run is at work
        :raises BadInput: the folder cannot be used
        """
        with private_files(), self.locked():
            self._clear()
            yield
            self._clear()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Leaves the folder as it is, held by another or not; what has to be written meanwhile goes elsewhere."""
        with TemporaryDirectory() as folder:
            self.current = self.current.resolve()  # the night as it is now, whatever is committed meanwhile
            self.work = Path(folder)
            self._is_read_only = True
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out, and touches nothing.

        :raises OutputHeld: another run is at work
        :raises BadInput: the folder cannot be used
        """
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
        self.__dict__.pop("chain", None)  # another run may have committed one since it was read
        self._found_whole.clear()
        try:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            holder.write_text(f"process {os.getpid()} since {since}", encoding="utf-8")
            yield
        finally:
            try:
                holder.unlink(missing_ok=True)
            finally:
                lock.release()

    def _clear(self) -> None:
        committed = self.chain.last.run_number
        for night in self.nights.glob("[0-9]*"):
            if int(night.name) > committed or int(night.name) <= committed - NIGHTS_KEPT:
                shutil.rmtree(night)
        for left in (self.work, *self.output.glob(".doctor-*")):
            shutil.rmtree(left, ignore_errors=True)
        self.work.mkdir()

    @cached_property
    def chain(self) -> Chain:
        """What the runs up to the last committed one say they left; read once, and known anew after a commit.

        :raises BadInput: a manifest is damaged or missing, or there was a night and the link to it is gone
        """
        night = self.current.resolve()
        if not night.is_dir():
            self._refuse_lost_nights()
            return Chain()
        if (night / "manifest.json").exists():
            raise BadInput(
                [
                    f"{self.output}: was written by a version before corrections, which kept too little to go on from. "
                    "Bill into a new folder with all input files, up to the date billed here; then go on there."
                ]
            )
        return read_chain(night)

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
        """The last night's files in one of its folders."""
        night = self.current.resolve()
        return [night / name for name in sorted(self.chain.files) if Path(name).parent == Path(folder)]

    def published_files(self, *tables: str) -> list[list[Path]]:
        """The files of some tables of the last night, found as they were written.

        :raises BadInput: there is no published night, or one of the files is missing or damaged
        """
        if not self.chain.manifests:
            raise BadInput([f"{self.output}: holds no published night. Run `usage-rating run` first."])
        files = [self.files(table) for table in tables]
        self.refuse_damaged(path for own in files for path in own)
        return files

    def all_files(self) -> list[Path]:
        """Every file of the last night that its manifests name."""
        night = self.current.resolve()
        return [night / name for name in sorted(self.chain.files)]

    def refuse_missing(self) -> None:
        """A night's files stand or fall together, those too that are opened only when asked for.

        :raises BadInput: naming each file of the last night that is missing, or breaks off
        """
        faults = [f"{path}: is {lack}. {ADVICE}" for path in self.all_files() if (lack := _lack_of(path))]
        if faults:
            raise BadInput(faults)

    def refuse_damaged(self, files: Iterable[Path]) -> None:
        """Nothing is built on a file that is not as it was written. Each is read once; new ones are passed over.

        :raises BadInput: naming each file that is missing or damaged
        """
        night, faults = self.current.resolve(), []
        for path in (path for path in files if path.is_relative_to(night) and path not in self._found_whole):
            if not path.exists():
                faults.append(f"{path}: is missing. {ADVICE}")
            elif hash_of(path) != self.chain.files[path.relative_to(night).as_posix()]:
                faults.append(f"{path}: is not as it was written. {ADVICE}")
            else:
                self._found_whole.add(path)
        if faults:
            raise BadInput(faults)

    def to_keep(self, name: str) -> Path:
        """Where to write a file for the coming night, so that `stage` puts it under this name into its folder."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def keep(self, source: Path, name: str) -> Path:
        """Copies a file for the coming night, which `stage` puts it into; who only reads gets a link to it.

        :param name: the copy's name in the night's folder
        :returns: where to read it until then
        """
        path = self.to_keep(name)
        if self._is_read_only:
            path.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, path)
        return path

    def stage(self, kept: Iterable[str] = ()) -> Path:
        """Begins a night: a folder with the last night's files, which do not count until `commit`.

        :param kept: the names of files that lie at `to_keep` for it
        """
        staged = self.work / "night"
        shutil.rmtree(staged, ignore_errors=True)
        for folder in ("kept", "manifests", *TABLES):
            (staged / folder).mkdir(parents=True)
        for name in (*self.chain.files, *(manifest.name for manifest in self.chain.manifests)):
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).hardlink_to(self.current / name)
        for name in kept:
            sync(self.work / name)  # `make_durable` takes a file with two names for one of an earlier night
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).hardlink_to(self.work / name)
        return staged

    def commit(self, staged: Path, manifest: Manifest) -> None:
        """Makes the staged folder the current night. Replacing one link is the moment from which it counts."""
        (staged / manifest.name).write_text(manifest.to_json(), encoding="utf-8")
        chain = Chain((*self.chain.manifests, manifest))
        spare = self.output / manifest.name
        spare.parent.mkdir(exist_ok=True)
        spare.write_text(manifest.to_json(), encoding="utf-8")
        sync(spare)
        sync(spare.parent)
        night = self.nights / manifest.run_id
        upcoming = self.work / "current"
        upcoming.unlink(missing_ok=True)
        upcoming.symlink_to(Path("nights") / manifest.run_id)
        shutil.rmtree(night, ignore_errors=True)
        staged.rename(night)
        write_views(night.resolve(), night / "billing.duckdb", list(chain.files))
        make_durable(night)
        sync(self.nights)
        for table in LINKED:
            link = self.output / table
            if not link.is_symlink():
                link.symlink_to(Path("current") / table)
        upcoming.replace(self.current)
        sync(self.output)
        self.chain = chain


def _lack_of(path: Path) -> str:
    """Whether a file is missing or, if it is Parquet, does not end as each does; nothing where it is there, whole."""
    if not path.exists():
        return "missing"
    if path.suffix != ".parquet":
        return ""
    with path.open("rb") as file:
        file.seek(-min(len(PARQUET_END), path.stat().st_size), os.SEEK_END)
        return "" if file.read() == PARQUET_END else "cut short"
