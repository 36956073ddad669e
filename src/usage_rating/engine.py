"""The DuckDB engine, set up so that a run reads and writes only its own folders and repeats byte for byte."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from usage_rating.errors import BadInput
from usage_rating.settings import Settings

BESIDE_THE_ENGINE = 2**30  # bytes: Python with Arrow, and a Prefect server that a run may start


def open_engine(settings: Settings, scratch: Path) -> duckdb.DuckDBPyConnection:
    """Opens an engine in memory that spills to `scratch`.

    It can open files below the input, the output and the package's SQL only, loads no extension, and takes times
    without an offset for UTC, wherever the machine stands. It uses as much memory as `settings.memory_limit`, else as
    `memory_limit_where_none_is_given`, says.
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
    limit = settings.memory_limit or f"{memory_limit_where_none_is_given(_memory_there_is(engine))}B"
    engine.execute("set memory_limit = $limit", {"limit": limit})
    if settings.threads:
        engine.execute("set threads = $threads", {"threads": settings.threads})
    return engine


def memory_limit_where_none_is_given(there_is: int) -> int:
    """Leaves room for what runs beside the engine: all memory but 1 GiB, though at least half and at most 80 % of it.

    So it is 512 MiB of 1 GiB, 1 GiB of 2, 3 GiB of 4, and 80 % from 5 GiB on.

    :param there_is: the memory that the process may use, in bytes
    """
    return max(there_is // 2, min(there_is - BESIDE_THE_ENGINE, there_is * 4 // 5))


def _memory_there_is(engine: duckdb.DuckDBPyConnection) -> int:
    """In bytes. The engine starts with 80 % of the machine's memory, or of its control group's (v1 or v2) if less.

    It heeds the limit of its own control group only, not of one above it, and neither `memory.high`. It tells the
    figure as a text with one decimal, cut off, so that this comes out somewhat low.
    """
    said = engine.execute("select parse_formatted_bytes(current_setting('memory_limit'))").fetchone()
    assert said, "a select without a table gives one row"
    return int(said[0]) * 5 // 4


@contextmanager
def disk_faults_as_os_errors() -> Iterator[None]:
    """Lets the engine's disk faults out as what they are, so that a caller can tell a full disk from bad input.

    :raises OSError: the engine could not read or write a file
    :raises BadInput: the memory it may use does not suffice, or the disk it spills to
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise BadInput([_too_little(error)]) from error
    except duckdb.IOException as error:
        is_full = "No space left" in str(error)
        raise OSError(errno.ENOSPC if is_full else errno.EIO, str(error)) from error


def _too_little(error: duckdb.OutOfMemoryException) -> str:
    if "max_temp_directory_size" in str(error):
        return (
            "The disk of --output has too little room for what does not fit into memory. Free some, or give the engine "
            "more memory by --memory-limit."
        )
    return "--memory-limit: too little for this input. Give more; left out, it is what `run --help` says."


def write_kept(engine: duckdb.DuckDBPyConnection, rows: duckdb.DuckDBPyRelation, path: Path) -> None:
    """Writes rows to a Parquet file that later runs read: no larger than others, in half the time to write and read.

    Version 2 has encodings of numbers and texts that not every reader knows, so what is published is written without.
    """
    rows.create_view("rows_to_keep")
    try:
        name = str(path).replace("'", "''")
        options = "format parquet, parquet_version v2, compression zstd, compression_level 1"
        engine.execute(f"copy rows_to_keep to '{name}' ({options})")
    finally:
        engine.execute("drop view if exists rows_to_keep")


def _folders(settings: Settings, scratch: Path) -> list[str]:
    folders: Iterable[Path] = (settings.input, settings.output, scratch)
    return [f"{folder.resolve()}/" for folder in folders]
