"""The DuckDB engine, set up so that a run reads and writes only its own folders and repeats byte for byte."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from usage_rating.errors import BadInput
from usage_rating.settings import Settings


def open_engine(settings: Settings, scratch: Path) -> duckdb.DuckDBPyConnection:
    """Opens an engine in memory that spills to `scratch`.

    It can open files below the input, the output and the package's SQL only, loads no extension, and takes times
    without an offset for UTC, wherever the machine stands.
    """
    engine = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(scratch / "spill"),
        }
    )
    engine.execute("set timezone = 'UTC'")
    engine.execute("set enable_progress_bar = false")
    engine.execute("set checkpoint_threshold = '1TB'")  # there is no file to write to, and trying takes a second
    engine.execute("set allowed_directories = $folders", {"folders": _folders(settings, scratch)})
    engine.execute("set enable_external_access = false")
    if settings.memory_limit:
        engine.execute("set memory_limit = $limit", {"limit": settings.memory_limit})
    if settings.threads:
        engine.execute("set threads = $threads", {"threads": settings.threads})
    return engine


@contextmanager
def disk_faults_as_os_errors() -> Iterator[None]:
    """Lets the engine's disk faults out as what they are, so that a caller can tell a full disk from bad input.

    :raises OSError: the engine could not read or write a file
    :raises BadInput: the memory it may use does not suffice
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise BadInput(["--memory-limit: too little for this input. Give more, or leave it out."]) from error
    except duckdb.IOException as error:
        is_full = "No space left" in str(error)
        raise OSError(errno.ENOSPC if is_full else errno.EIO, str(error)) from error


def _folders(settings: Settings, scratch: Path) -> list[str]:
    folders: Iterable[Path] = (settings.input, settings.output, scratch)
    return [f"{folder.resolve()}/" for folder in folders]
