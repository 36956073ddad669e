"""The files of an input folder: which are there, which are new, and whether each can be trusted.

A file is read through once here, to hash it and to find out that it is whole: the engine itself reads a CSV cut inside
its last number, and half of a cut gzip, without a word.
"""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from usage_rating.errors import BadInput
from usage_rating.feeds import FEEDS, Feed

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet")
CHUNK_BYTES = 1 << 20
HEADER_BYTES_MAX = 1 << 20
CSV_FIELD_BYTES_MAX = 1 << 24

# What the file itself is at fault for. Any other OSError is the disk's or the network's and may pass: it goes up.
UNREADABLE = (
    gzip.BadGzipFile,
    zlib.error,
    zstandard.ZstdError,
    EOFError,
    FileNotFoundError,
    PermissionError,
    UnicodeDecodeError,
    csv.Error,
)


@dataclass(frozen=True)
class InputFile:
    """One file of a feed. `name` is its path in the input folder, with `/`, as `rejected_rows` shows it."""

    feed: str
    name: str
    path: Path
    bytes: int
    modified_ns: int

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet; everything else is CSV, compressed or not."""
        return self.name.endswith(".parquet")


@dataclass(frozen=True)
class CheckedFile:
    """A file found whole: its hash, and its header if it is CSV."""

    file: InputFile
    sha256: str
    header: tuple[str, ...]


def files_in(folder: Path) -> list[InputFile]:
    """Lists every feed's files, sorted by feed and name.

    Names that start with `.` or `_` are not ours to read (editors and writers leave them).

    :raises BadInput: the folder, a feed that must exist, or a file's kind is not as SPEC section 2 says
    """
    if not folder.is_dir():
        raise BadInput([f"{folder}: no such input folder. It holds one folder a feed and rate_cards/."])
    faults: list[str] = []
    files: list[InputFile] = []
    for feed in FEEDS.values():
        found = list(_files_of(feed, folder, faults))
        if feed.must_exist and not found:
            faults.append(f"{feed.name}/: no file. This feed must exist, with columns {_listed(feed)}.")
        files += found
    if faults:
        raise BadInput(faults)
    return files


def not_read(folder: Path) -> list[str]:
    """Folders that are no feed, and exports in no feed's folder: said in the summary, so that a slip is seen."""
    known = {*FEEDS, "rate_cards"}
    return sorted(
        f"{entry.name}/" if entry.is_dir() else entry.name
        for entry in folder.iterdir()
        if entry.name not in known
        and not entry.name.startswith((".", "_"))
        and (entry.is_dir() or entry.name.endswith(SUFFIXES))
    )


def _files_of(feed: Feed, folder: Path, faults: list[str]) -> Iterator[InputFile]:
    if (folder / feed.name).is_symlink():
        faults.append(f"{feed.name}/: a link to a folder is not followed. Put the files themselves here.")
        return
    for path in sorted((folder / feed.name).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and path.is_symlink():
            faults.append(f"{name}: a link to a folder is not followed. Put the files themselves here.")
        if path.is_dir() or any(part.startswith((".", "_")) for part in Path(name).parts):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            faults.append(f"{name!r}: a link out of the input folder is not followed. Put the file itself here.")
        elif not path.is_file():
            faults.append(f"{name!r}: not a regular file. Put the export itself here.")
        elif not name.isprintable():
            faults.append(f"{name!r}: the name holds unprintable characters. Rename the file.")
        elif not name.endswith(SUFFIXES):
            faults.append(f"{name}: not a kind of file that is read. Expected {', '.join(SUFFIXES)}.")
        else:
            stat = path.stat()
            yield InputFile(feed.name, name, path, stat.st_size, stat.st_mtime_ns)


def refuse_if_changed(file: InputFile) -> None:
    """What was hashed and what was read must be the same bytes.

    :raises BadInput: the file grew, was written to or was taken away meanwhile
    """
    try:
        stat = file.path.stat()
    except FileNotFoundError:
        stat = None
    if stat is None or (stat.st_size, stat.st_mtime_ns) != (file.bytes, file.modified_ns):
        raise BadInput(
            [f"{file.name}: changed while it was read. Write exports under another name, and rename them when done."]
        )


def check(files: list[InputFile], *, allow_missing_final_newline: bool) -> list[CheckedFile]:
    """Reads every file through: is it whole, and does it have its feed's required columns?

    :raises BadInput: naming every file that cannot be read, is cut, or lacks columns, at once
    """
    checked: list[CheckedFile] = []
    faults: list[str] = []
    for file in files:
        try:
            sha256, header = _read_through(file, allow_missing_final_newline=allow_missing_final_newline)
            _check_columns(file, header)
        except BadInput as error:
            faults += error.faults
        except UNREADABLE as error:
            faults.append(f"{file.name}: cannot be read: {error}. Have it exported again.")
        else:
            checked.append(CheckedFile(file, sha256, header))
    if faults:
        raise BadInput(faults)
    return checked


def _read_through(file: InputFile, *, allow_missing_final_newline: bool) -> tuple[str, tuple[str, ...]]:
    digest = hashlib.sha256()
    if file.is_parquet:
        with file.path.open("rb") as source:
            for chunk in iter(lambda: source.read(CHUNK_BYTES), b""):
                digest.update(chunk)
        return digest.hexdigest(), _parquet_columns(file)
    beginning, last = b"", b""
    with file.path.open("rb") as source:
        for text in _text_chunks(file.name, source, digest):
            beginning = beginning if len(beginning) >= HEADER_BYTES_MAX else beginning + text[:HEADER_BYTES_MAX]
            last = text[-1:] or last
    if not beginning:
        raise BadInput([f"{file.name}: is empty; expected a header with {_listed(FEEDS[file.feed])}."])
    if last not in (b"\n", b"\r") and not allow_missing_final_newline:
        raise BadInput(
            [
                f"{file.name}: does not end with a newline, so it may be cut. Have it exported again, "
                "or run with --allow-missing-final-newline if it is whole."
            ]
        )
    return digest.hexdigest(), _header(beginning)


def _text_chunks(name: str, source: io.BufferedReader, digest: "hashlib._Hash") -> Iterator[bytes]:
    """Yields a CSV file's decompressed bytes, while `digest` takes in the bytes as stored."""
    tee = _Tee(source, digest)
    if name.endswith(".gz"):
        with gzip.GzipFile(fileobj=tee) as plain:
            yield from iter(lambda: plain.read(CHUNK_BYTES), b"")
    elif name.endswith(".zst"):
        yield from _zstd_chunks(tee)
    else:
        yield from iter(lambda: tee.read(CHUNK_BYTES), b"")
    assert not tee.read(1), "the whole file must be hashed"


class _Tee(io.RawIOBase):
    """A reader that hashes what passes through it."""

    def __init__(self, source: io.BufferedReader, digest: "hashlib._Hash") -> None:
        self._source = source
        self._digest = digest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        return data


def _zstd_chunks(source: _Tee) -> Iterator[bytes]:
    """Yields decompressed bytes, frame after frame; a stream reader would take a cut frame's end for the file's."""
    frame, is_whole = zstandard.ZstdDecompressor().decompressobj(), True
    while data := source.read(CHUNK_BYTES // 8):
        while data:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(data)
            data = frame.unused_data if frame.eof else b""
        is_whole = frame.eof
    if not is_whole:
        raise EOFError("the compressed data ends before its end marker")


def blank_lines(checked: CheckedFile) -> list[int]:
    """The places of a CSV file's blank lines among its lines; the header is line 1, a quoted newline begins none."""
    csv.field_size_limit(CSV_FIELD_BYTES_MAX)
    with checked.file.path.open("rb") as source:
        chunks = _text_chunks(checked.file.name, source, hashlib.sha256())
        text = io.TextIOWrapper(io.BufferedReader(_Joined(chunks)), "utf-8-sig", errors="replace", newline="")
        return [line for line, fields in enumerate(csv.reader(text), start=1) if not fields]


class _Joined(io.RawIOBase):
    """A reader of chunks one after the other."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _header(beginning: bytes) -> tuple[str, ...]:
    lines = io.StringIO(beginning.decode("utf-8-sig", errors="replace"), newline="")
    return tuple(next(csv.reader(lines, strict=True), ()))


def _parquet_columns(file: InputFile) -> tuple[str, ...]:
    import pyarrow as pa  # noqa: PLC0415  (takes a fifth of a second; CSV runs do without)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        schema = pq.read_schema(file.path)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        raise BadInput([f"{file.name}: cannot be read: {error}. Have it exported again."]) from None
    faults = [
        f"{file.name}: column {field.name} is {field.type}; expected {_KINDS_EXPECTED}."
        for column in FEEDS[file.feed].columns
        for field in (schema.field(i) for i in schema.get_all_field_indices(column.name))
        if not _is_readable(field.type, is_text=column.type.value == "as_text")
    ]
    if faults:
        raise BadInput(faults)
    return tuple(schema.names)


_KINDS_EXPECTED = "text or whole numbers for ids; numbers, times, dates and booleans elsewhere"


def _is_readable(kind: object, *, is_text: bool) -> bool:
    import pyarrow.types as kinds  # noqa: PLC0415

    value = getattr(kind, "value_type", kind) if kinds.is_dictionary(kind) else kind
    if kinds.is_string(value) or kinds.is_large_string(value) or kinds.is_null(value):
        return True
    if kinds.is_integer(value):
        return True
    return not is_text and (
        kinds.is_decimal(value)
        or kinds.is_floating(value)
        or kinds.is_boolean(value)
        or kinds.is_timestamp(value)
        or kinds.is_date(value)
    )


def _check_columns(file: InputFile, header: tuple[str, ...]) -> None:
    feed = FEEDS[file.feed]
    missing = [name for name in feed.required_columns if name not in header]
    twice = [column.name for column in feed.columns if header.count(column.name) > 1]
    faults = [
        *(f"{file.name}: lacks the required column {name}. It has {_known_of(header)}." for name in missing),
        *(f"{file.name}: has the column {name} more than once." for name in twice),
    ]
    if faults:
        raise BadInput(faults)


def _known_of(header: tuple[str, ...]) -> str:
    """The header's names as far as some feed knows them: without a header, the first line is a customer's row."""
    known = {column.name for feed in FEEDS.values() for column in feed.columns}
    shown = [name for name in header if name.strip().lower() in known]
    others = len(header) - len(shown)
    return ", ".join([*shown, *([f"{others} columns of no feed"] if others else [])])


def _listed(feed: Feed) -> str:
    return ", ".join(feed.required_columns)
