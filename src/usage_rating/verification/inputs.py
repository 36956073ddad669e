"""Input files: found by feed and SHA-256, read row by row."""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from usage_rating.verification.feeds import Row, typed
from usage_rating.verification.manifests import InputRecord

csv.field_size_limit(8_000_000)
# What a file that was cut or changed ends in.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, csv.Error, zlib.error, zstandard.ZstdError)
_PER_MICROSECOND = {"s": -1_000_000, "ms": -1_000, "us": 1, "ns": 1_000}


def sha256_of(path: Path) -> str:
    """A file's hash."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def find(folder: Path, name: str, sha256: str) -> tuple[Path | None, bool]:
    """The file of a name, or another of its feed with the same bytes; and whether its bytes are those.

    A file that has changed is given all the same, so that the figures it leads to can be named.
    """
    path = folder / name
    if path.is_file() and sha256_of(path) == sha256:
        return path, True
    feed = folder / Path(name).parts[0]
    for other in sorted(feed.rglob("*")) if feed.is_dir() else ():
        if other != path and other.is_file() and sha256_of(other) == sha256:
            return other, True
    return (path, False) if path.is_file() else (None, False)


def rows_of(path: Path, record: InputRecord, wanted: frozenset[str] | None = None) -> Iterator[Row]:
    """Every row of a file, typed or refused.

    :param wanted: the subscriptions whose rows are needed; of a listing of carts all are, to tell whether it is whole
    """
    read = _parquet_rows if path.name.endswith(".parquet") else _csv_rows
    is_cut = wanted is not None and record.feed != "cart_snapshots"
    for number, raw in read(path):
        if is_cut and raw and "subscription_id" in raw and str(raw["subscription_id"]) not in (wanted or ()):
            continue
        if raw is None:
            yield Row(record.feed, record.run_number, record.name, number, {}, refused="bad_value")
        else:
            yield typed(record.feed, record.run_number, record.name, number, raw)


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Rows by column, None for a line that has not the header's fields; blank lines are not counted."""
    with path.open("rb") as opened:
        stream: Any = opened
        if path.name.endswith(".gz"):
            stream = gzip.GzipFile(fileobj=opened)
        elif path.name.endswith(".zst"):
            stream = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(opened, read_across_frames=True))
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        lines = (fields for fields in csv.reader(text) if fields)
        header = next(lines, None)
        if header is None:
            raise ValueError("a file without a header")
        for number, fields in enumerate(lines, start=1):
            yield number, dict(zip(header, fields, strict=True)) if len(fields) == len(header) else None


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            columns = {name: _column(batch.column(i)) for i, name in enumerate(batch.schema.names)}
            for values in zip(*columns.values(), strict=True):
                number += 1
                yield number, dict(zip(columns, values, strict=True))


class _TooFine:
    """A time finer than a microsecond: no reader takes it."""


def _column(column: Any) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind):
        per = _PER_MICROSECOND[kind.unit]
        return [None if at is None else _microseconds(at, per) for at in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_floating(kind):
        return [None if text is None else _plain(text) for text in column.cast(pa.string()).to_pylist()]
    return list(column.to_pylist())


def _microseconds(at: int, per: int) -> Any:
    if per < 0:
        return at * -per
    return at // per if at % per == 0 else _TooFine()


def _plain(text: str) -> str:
    """A double's shortest text without an exponent; what is no number stays as it is, and no reader takes it."""
    number = Decimal(text)
    return f"{number:f}" if number.is_finite() else text
