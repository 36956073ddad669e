"""The files of an input folder: which are there, which are new, and whether each can be trusted.

A file is read through once here, to hash it and to find out that it is whole: the engine itself reads a CSV cut inside
its last number, and half of a cut gzip, without a word.
"""

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from usage_rating.csv_lines import LINE_BYTES_MAX, CsvLines
from usage_rating.errors import BadInput
from usage_rating.feeds import FEEDS, Feed

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet")
CHUNK_BYTES = 1 << 20
ZSTD_BYTES = 1 << 10  # of zstd, 4 bytes can stand for 128 KB: this many unpack to 32 MB at the most
# Rows with ids of their own pack to a hundredth at the very best; what packs far better says one thing over and over.
UNPACKED_TIMES_MAX = 250
UNPACKED_ALWAYS_ALLOWED = 64 << 20

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
    changed_ns: int

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet; everything else is CSV, compressed or not."""
        return self.name.endswith(".parquet")


@dataclass(frozen=True)
class CheckedFile:
    """A file found whole: its hash, its columns, and how many rows it holds, good and bad."""

    file: InputFile
    sha256: str
    header: tuple[str, ...]
    rows: int


def input_file(feed: str, name: str, path: Path) -> InputFile:
    """A file as it is now."""
    stat = path.stat()
    return InputFile(feed, name, path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


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
        try:
            found = list(_files_of(feed, folder, faults))
        except PermissionError as error:
            raise BadInput([f"{folder}: cannot be read: {error.strerror}. Let the run read it."]) from None
        if feed.must_exist and not found:
            faults.append(f"{feed.name}/: no file. This feed must exist, with columns {_listed(feed)}.")
        files += found
    if faults:
        raise BadInput(faults)
    return files


def not_read(folder: Path) -> list[str]:
    """Folders that are no feed, and exports in no feed's folder: said in the summary, so that a slip is seen."""
    known = {*FEEDS, "rate_cards"}
    try:
        return sorted(
            f"{entry.name}/" if entry.is_dir() else entry.name
            for entry in folder.iterdir()
            if entry.name not in known
            and not entry.name.startswith((".", "_"))
            and (entry.is_dir() or entry.name.endswith(SUFFIXES))
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []  # `files_in` says so


def _files_of(feed: Feed, folder: Path, faults: list[str]) -> Iterator[InputFile]:
    top = folder / feed.name
    if top.is_symlink() or (top.exists() and not top.is_dir()):
        kind = "a link to a folder is not followed" if top.is_dir() else "not a folder"
        faults.append(f"{feed.name}/: {kind}. Put the files themselves here.")
        return
    for path in paths_below(top, folder, faults):
        name = path.relative_to(folder).as_posix()
        if _is_hidden(name):
            continue
        try:
            is_folder = path.is_dir()
            fault = _fault_of_folder(path, name) if is_folder else _fault_of(path, name, folder)
            if fault:
                faults.append(fault)
            elif not is_folder:
                yield input_file(feed.name, name, path)
        except (FileNotFoundError, PermissionError) as error:
            faults.append(_unreadable(name, error))


def paths_below(top: Path, folder: Path, faults: list[str]) -> list[Path]:
    """Everything below a folder, sorted; links to folders are listed and not followed.

    :param faults: takes up every folder that cannot be looked into; their files must not be passed over in silence
    """

    def take_up(error: OSError) -> None:
        path = Path(error.filename)
        if not isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError)):
            raise error  # the disk's fault
        name = path.relative_to(folder).as_posix()
        is_absent = path == top and isinstance(error, FileNotFoundError)
        if not is_absent and not _is_hidden(name):
            faults.append(_unreadable(name, error))

    walk = os.walk(top, onerror=take_up)
    return sorted(Path(parent, name) for parent, folders, files in walk for name in (*folders, *files))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in Path(name).parts)


def _unreadable(name: str, error: OSError) -> str:
    return f"{name!r}: cannot be read: {error.strerror}. Let the run read it, or take it away."


def _fault_of_folder(path: Path, name: str) -> str | None:
    if path.is_symlink():
        return f"{name}: a link to a folder is not followed. Put the files themselves here."
    if name.endswith(SUFFIXES) and not any(path.iterdir()):
        return f"{name!r}: an empty folder, not a file. Put the export itself here."
    return None


def _fault_of(path: Path, name: str, folder: Path) -> str | None:
    """What is wrong with what should be a file before it is opened, or None."""
    if not path.is_file():
        return f"{name!r}: not a regular file. Put the export itself here."
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        return f"{name!r}: a link out of the input folder is not followed. Put the file itself here."
    if not name.isprintable():
        return f"{name!r}: the name holds unprintable characters. Rename the file."
    if not name.endswith(SUFFIXES):
        return f"{name}: not a kind of file that is read. Expected {', '.join(SUFFIXES)}."
    return None


def refuse_if_changed(file: InputFile) -> None:
    """What was hashed and what was read must be the same bytes.

    :raises BadInput: the file grew, was written to, replaced or taken away meanwhile
    """
    try:
        is_as_listed = input_file(file.feed, file.name, file.path) == file
    except FileNotFoundError:
        is_as_listed = False
    if not is_as_listed:
        raise _changed(file)


def _changed(file: InputFile) -> BadInput:
    return BadInput(
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
            found = _read_through(file, allow_missing_final_newline=allow_missing_final_newline)
            _check_columns(file, found.header)
        except BadInput as error:
            faults += error.faults
        except UNREADABLE as error:
            faults.append(f"{file.name}: cannot be read: {error}. Have it exported again.")
        else:
            checked.append(found)
    if faults:
        raise BadInput(faults)
    return checked


def _read_through(file: InputFile, *, allow_missing_final_newline: bool) -> CheckedFile:
    with file.path.open("rb") as source:
        tee = _Tee(source, file)
        if file.is_parquet:
            while tee.read(CHUNK_BYTES):
                pass
            header, rows = _parquet_shape(file)
        else:
            header, rows = _csv_shape(file, tee, allow_missing_final_newline=allow_missing_final_newline)
        return CheckedFile(file, tee.sha256(), header, rows)


def _csv_shape(file: InputFile, tee: "_Tee", *, allow_missing_final_newline: bool) -> tuple[tuple[str, ...], int]:
    """Reads a CSV file to its end; gives its header and its number of rows."""
    lines, last, size = CsvLines(file.name), b"", 0
    for text in _text_chunks(file.name, tee):
        lines.add(text)
        last = text[-1:]
        size += len(text)
        if size > UNPACKED_ALWAYS_ALLOWED and size > UNPACKED_TIMES_MAX * file.bytes:
            raise BadInput(
                [
                    f"{file.name}: unpacks to more than {UNPACKED_TIMES_MAX} times its size, which no rows with ids of "
                    "their own do. Have it exported again, or give it unpacked if it is right."
                ]
            )
    lines.end()
    if not last:
        raise BadInput([f"{file.name}: is empty; expected a header with {_listed(FEEDS[file.feed])}."])
    if last not in (b"\n", b"\r") and not allow_missing_final_newline:
        raise BadInput(
            [
                f"{file.name}: does not end with a newline, so it may be cut. Have it exported again, "
                "or run with --allow-missing-final-newline if it is whole."
            ]
        )
    return lines.header, lines.rows


def _text_chunks(name: str, source: "_Tee") -> Iterator[bytes]:
    """Yields a CSV file's decompressed bytes, in pieces that are never empty nor longer than CHUNK_BYTES."""
    if name.endswith(".gz"):
        with gzip.GzipFile(fileobj=source) as plain:
            yield from iter(lambda: plain.read(CHUNK_BYTES), b"")
    elif name.endswith(".zst"):
        for text in _zstd_chunks(source):
            yield from (text[start : start + CHUNK_BYTES] for start in range(0, len(text), CHUNK_BYTES))
    else:
        yield from iter(lambda: source.read(CHUNK_BYTES), b"")


class _Tee(io.RawIOBase):
    """A reader that hashes what passes through it, and goes no further than the file went when it was listed."""

    def __init__(self, source: io.BufferedReader, file: InputFile) -> None:
        self._source = source
        self._file = file
        self._left = file.bytes
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        self._left -= len(data)
        if self._left < 0:
            raise _changed(self._file)
        return data

    def sha256(self) -> str:
        """The hash of the whole file.

        :raises BadInput: it has become shorter or longer
        """
        if self.read(1) or self._left:
            raise _changed(self._file)
        return self._digest.hexdigest()


def _zstd_chunks(source: _Tee) -> Iterator[bytes]:
    """Yields decompressed bytes, frame after frame; a stream reader would take a cut frame's end for the file's."""
    frame, is_whole = zstandard.ZstdDecompressor().decompressobj(), True
    while data := source.read(ZSTD_BYTES):
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
    csv.field_size_limit(LINE_BYTES_MAX)
    with checked.file.path.open("rb") as source:
        chunks = _text_chunks(checked.file.name, _Tee(source, checked.file))
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


def _parquet_shape(file: InputFile) -> tuple[tuple[str, ...], int]:
    """Gives a Parquet file's columns and its number of rows."""
    import pyarrow as pa  # noqa: PLC0415  (takes a fifth of a second; CSV runs do without)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        metadata = pq.read_metadata(file.path)
        schema = metadata.schema.to_arrow_schema()
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
    return tuple(schema.names), metadata.num_rows


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
        *_misspelt(file, header),
    ]
    if faults:
        raise BadInput(faults)


def _misspelt(file: InputFile, header: tuple[str, ...]) -> Iterator[str]:
    """A column that may be left out is easily lost to a capital letter: then voided rows would be billed."""
    for column in FEEDS[file.feed].columns:
        if column.is_required or column.name in header:
            continue
        for name in header:
            if "".join(filter(str.isalnum, name)).lower() == column.name.replace("_", ""):
                yield (
                    f"{file.name}: has a column {name!r} but none of the name {column.name}. Write the name so, or "
                    "give the column another if it is something else."
                )


def _known_of(header: tuple[str, ...]) -> str:
    """The header's names as far as some feed knows them: without a header, the first line is a customer's row."""
    known = {column.name for feed in FEEDS.values() for column in feed.columns}
    shown = [name for name in header if name.strip().lower() in known]
    others = len(header) - len(shown)
    return ", ".join([*shown, *([f"{others} columns of no feed"] if others else [])])


def _listed(feed: Feed) -> str:
    return ", ".join(feed.required_columns)
