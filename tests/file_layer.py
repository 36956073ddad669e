"""Stands between a run and the file system: stops before each step, to copy, to fail or to lose what is unsynced.

A step is a call of ours that changes a file or a name (the interpreter tells of most just before they happen), a sync,
a piece of a text that is written, or a file that the engine writes, before, halfway and after.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from usage_rating import store

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NAMING = ("os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")
Reached = Callable[[int, str], None]


@dataclass
class Steps:
    """Counts the steps below a folder; `reached(number, what)` is called before each."""

    folder: Path
    reached: Reached
    number: int = 0
    is_on: bool = False
    done: list["Change"] = field(default_factory=list)

    def step(self, what: str, *paths: object) -> None:
        """One step; nothing happens outside the folder, or while a step is looked at."""
        if not self.is_on or not any(self._is_below(path) for path in paths):
            return
        self.is_on = False
        try:
            self.number += 1
            self.reached(self.number, f"{what} {' '.join(self._short(path) for path in paths)}")
        finally:
            self.is_on = True

    def note(self, what: str, *paths: object) -> None:
        """What a step does, for the sake of `unsynced`."""
        if self.is_on and any(self._is_below(path) for path in paths):
            places = tuple(str(Path(str(path)).absolute()) for path in paths)
            last = Path(places[-1])
            if what == "made" and last.exists():
                return  # there before: the call will fail
            link = str(last.readlink()) if what == "renamed" and last.is_symlink() else ""
            self.done.append(Change(what, places, link))

    def _is_below(self, path: object) -> bool:
        return isinstance(path, (str, os.PathLike)) and Path(path).absolute().is_relative_to(self.folder)

    def _short(self, path: object) -> str:
        return str(path).removeprefix(f"{self.folder}/")


@dataclass(frozen=True)
class Change:
    """Something done to the file system: `made`, `wrote`, `renamed` (over a link that led to `link`), `synced`."""

    what: str
    paths: tuple[str, ...]
    link: str = ""


_current: list[Steps] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _current:
        return
    steps = _current[-1]
    if event == "open":
        path, mode, flags = arguments
        is_write = bool(flags & WRITING) if mode is None else bool(set("wax+") & set(mode))
        if is_write:
            steps.step("open", path)
            steps.note("wrote", path)
    elif event in NAMING:
        paths = [os.fspath(one) for one in arguments if isinstance(one, (str, os.PathLike))]
        paths = paths[-1:] if event in ("os.link", "os.symlink") else paths
        steps.step(event.removeprefix("os."), *paths)
        steps.note("renamed" if event == "os.rename" else "made" if event in MAKING else "removed", *paths)


MAKING = ("os.link", "os.symlink", "os.mkdir")
sys.addaudithook(_heard)


@contextmanager
def watched(folder: Path, reached: Reached) -> Iterator[Steps]:
    """Counts the steps of what runs meanwhile."""
    steps = Steps(folder.absolute(), reached)
    sync, write_text = os.fsync, Path.write_text
    write_parquet, write_views = _relation().write_parquet, vars(store)["write_views"]

    def fsync(handle: int) -> None:
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        steps.step("fsync", path)
        sync(handle)
        steps.note("synced", path)

    def text(path: Path, data: str, *arguments: Any, **options: Any) -> int:
        half = len(data) // 2
        write_text(path, data[:half], *arguments, **options)
        steps.step("write", path)
        with path.open("a", encoding="utf-8") as file:
            file.write(data[half:])
        return len(data)

    def parquet(relation: duckdb.DuckDBPyRelation, target: str, *arguments: Any, **options: Any) -> None:
        made_by_engine(Path(target), lambda: write_parquet(relation, target, *arguments, **options), "COPY")

    def views(night: Path, target: Path, names: list[str]) -> None:
        made_by_engine(target, lambda: write_views(night, target, names), "views")

    def made_by_engine(path: Path, make: Callable[[], None], what: str) -> None:
        steps.step(f"{what}, before,", path)
        make()
        steps.note("wrote", path)
        if steps.is_on:
            whole = path.read_bytes()
            with path.open("r+b") as file:
                os.ftruncate(file.fileno(), len(whole) // 2)
            steps.step(f"{what}, halfway,", path)
            steps.is_on = False
            path.write_bytes(whole)
            steps.is_on = True
        steps.step(f"{what}, after,", path)

    patched = (
        (os, "fsync", fsync),
        (Path, "write_text", text),
        (_relation(), "write_parquet", parquet),
        (store, "write_views", views),
    )
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patched]
    for owner, name, new in patched:
        setattr(owner, name, new)
    _current.append(steps)
    steps.is_on = True
    try:
        yield steps
    finally:
        steps.is_on = False
        _current.remove(steps)
        for owner, name, old in before:
            setattr(owner, name, old)


def _relation() -> Any:
    return duckdb.DuckDBPyRelation


def disk_is(fault: int, at: int) -> Reached:
    """A disk on which one step fails, and no other."""

    def reached(number: int, what: str) -> None:
        if number != at:
            return
        if what.startswith(("COPY", "views")):
            raise duckdb.IOException(f"IO Error: {os.strerror(fault)}")
        raise OSError(fault, os.strerror(fault), what)

    return reached


def copy_of(folder: Path, to: Path) -> None:
    """The folder as it is at this moment, files with several names as such."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)


def lose_unsynced(copy: Path, steps: Steps) -> None:
    """Takes back, in a copy of the folder, what a power cut would: names and bytes not brought to the disk.

    What is lost of a file are its bytes; of a folder the names put there since. What was removed stays removed, for
    nothing of ours is removed before what takes its place is on the disk.
    """
    lost: list[Change] = []
    for change in steps.done:
        if change.what == "synced":
            (path,) = change.paths
            lost = [old for old in lost if not _is_brought_by(path, old)]
        else:
            lost.append(change)
            if change.what == "renamed":
                lost[:-1] = [
                    _moved(old, *change.paths[:2]) for old in lost[:-1] if not _is_name_of(old, change.paths[0])
                ]
    for change in reversed(lost):
        paths = [copy / Path(path).relative_to(steps.folder) for path in change.paths]
        if change.what == "wrote" and paths[0].is_file() and not paths[0].is_symlink():
            os.truncate(paths[0], 0)
        elif change.what == "made":
            _take_away(paths[0])
        elif change.what == "renamed":
            _take_away(paths[1])
            if change.link:
                paths[1].symlink_to(change.link)


def _take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_brought_by(path: str, change: Change) -> bool:
    """A file's own sync brings its bytes; a folder's brings the names in it."""
    if change.what == "wrote":
        return change.paths[0] == path
    return str(Path(change.paths[-1]).parent) == path


def _is_name_of(change: Change, path: str) -> bool:
    """Whether it made the name that a rename takes away: only the new name can be lost then."""
    return change.what == "made" and change.paths == (path,)


def _moved(change: Change, source: str, target: str) -> Change:
    """What was done below a folder that has another name now."""
    is_below = [path == source or path.startswith(f"{source}/") for path in change.paths]
    paths = (
        target + path[len(source) :] if below else path for path, below in zip(change.paths, is_below, strict=True)
    )
    return replace(change, paths=tuple(paths))


ENOSPC, EIO = errno.ENOSPC, errno.EIO
