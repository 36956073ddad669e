"""The file layer: hashes, privacy, and what it takes for a write to outlive a power cut."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER_MODE = 0o750
FILE_MODE = 0o640


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


def make_durable(folder: Path) -> None:
    """Brings what is new below a folder to the disk; a file with several names was brought there before."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_nlink == 1:
            path.chmod(FILE_MODE)
        if path.is_dir() or path.stat().st_nlink == 1:
            sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Brings a file's bytes, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(aside: Path, path: Path) -> None:
    """Gives a file that was written aside its name, whole or not at all, also where something has the name."""
    sync(aside)
    aside.replace(path)
    sync(path.parent)
