"""Every way an input file can be wrong ends in a refusal with its name, in refused rows, or in the same bill as ever.

What is held elsewhere is not held here again: cut compressed files, types of single values and line ends in
test_input_files and test_ingest, names and words through a whole night in test_hostile_text.
"""

import csv
import gzip
import io
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, time, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.folders import CARD, CART_EVENTS, ONE_CUSTOMER, csv_text, rows, settings_of, write
from tests.reading import Reader, reader
from usage_rating import ingest
from usage_rating.csv_lines import BLANK_LINES_MAX, LINE_BYTES_MAX, CsvLines
from usage_rating.engine import open_engine
from usage_rating.errors import BadInput
from usage_rating.feeds import FEEDS, Column, ColumnType, Feed
from usage_rating.input_files import CHUNK_BYTES, InputFile, check, files_in
from usage_rating.night import run_night
from usage_rating.rate_card_files import read_rate_cards
from usage_rating.settings import Settings

AS_OF = date(2024, 2, 10)
BAD = "bad_value"
GOOD = {
    ColumnType.TEXT: "x",
    ColumnType.TIME_ZONE: "UTC",
    ColumnType.INSTANT: "2024-01-31T23:59:59Z",
    ColumnType.QUANTITY: "1",
    ColumnType.AMOUNT: "1",
    ColumnType.WHOLE_NUMBER: "1",
    ColumnType.FLAG: "false",
}
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".csv": bytes,
    ".csv.gz": gzip.compress,
    ".csv.zst": zstandard.compress,
}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with reader(tmp_path_factory.mktemp("faults"), tmp_path_factory.mktemp("scratch")) as read:
        yield read


def good_row(feed: Feed) -> dict[str, str]:
    return {column.name: column.choices[0] if column.choices else GOOD[column.type] for column in feed.columns}


def csv_of(feed: Feed, *lines: dict[str, str]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, good_row(feed), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return target.getvalue()


def parquet_of(columns: Mapping[str, object]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


def file_of(feed: Feed, suffix: str, lines: list[dict[str, str]]) -> str | bytes:
    """The same rows as text in either kind of file."""
    if suffix == ".csv":
        return csv_of(feed, *lines)
    return parquet_of({name: [line[name] for line in lines] for name in good_row(feed)})


def refusal(read: Reader, name: str, content: str | bytes) -> str:
    with pytest.raises(BadInput) as error:
        read(name, content)
    assert all(fault.startswith(f"{name}: ") for fault in error.value.faults)
    return str(error.value)


# ---- CSV cut anywhere


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_csv_cut_at_any_byte_is_refused_or_ends_with_a_whole_row(line_end: str, read: Reader) -> None:
    """Nothing in a CSV tells a cut between two rows from its end. No other cut may pass, also not inside quotes."""
    lines = [
        CART_EVENTS,
        'S1,"c\n,""2""\n",2024-01-12,Standard,active',
        *(f"S1,c{n},2024-01-13,Standard,active" for n in (3, 4)),
    ]
    records = [f"{line}{line_end}".encode() for line in lines]
    whole = b"".join(records)
    expected = read("cart_events/cut.csv", whole).rows
    rows_by_end, accepted = {len(b"".join(records[:count])): max(count - 1, 0) for count in range(1, 5)}, []
    for end in range(len(whole)):
        with suppress(BadInput):
            accepted.append((end, read("cart_events/cut.csv", whole[:end])))
    for end, found in accepted:
        # A Windows line end of which one byte is left still ends its row.
        count = rows_by_end.get(end, rows_by_end.get(end + 1))
        assert count is not None, whole[:end]
        assert found.rows == [row for row in expected if row["row_number"] <= count]
        assert found.rejected == []


# ---- encodings and zero bytes


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037"])
def test_another_encoding_is_refused(encoding: str, read: Reader) -> None:
    refusal(read, "usage/f.csv", csv_of(FEEDS["usage"], good_row(FEEDS["usage"])).encode(encoding))


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_latin_1_refuses_the_rows_that_hold_it_and_utf_8_with_a_mark_none(suffix: str, read: Reader) -> None:
    feed, name = FEEDS["one_off_charges"], f"one_off_charges/f{suffix}"
    lines = [good_row(feed) | {"charge_id": id_, "description": text} for id_, text in (("1", "a"), ("2", "é"))]
    text = csv_of(feed, *lines)
    assert read(name, COMPRESSED[suffix](text.encode("latin-1"))).by_row("charge_id") == {1: "1", 2: BAD}
    assert read(name, COMPRESSED[suffix](text.encode("utf-8-sig"))).by_row("charge_id") == {1: "1", 2: "2"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_a_zero_byte_in_any_column_refuses_the_row(feed: Feed, suffix: str, read: Reader) -> None:
    lines = [good_row(feed)] + [
        good_row(feed) | {column.name: f"{good_row(feed)[column.name]}\0"} for column in feed.columns
    ]
    found = read(f"{feed.name}/f{suffix}", file_of(feed, suffix, lines))
    refused = {row["row_number"]: row["detail"].split(" is '")[0] for row in found.rejected if row["reason"] == BAD}
    assert refused == {number: column.name for number, column in enumerate(feed.columns, start=2)}


def test_a_block_of_zeros_in_a_file_costs_the_rows_it_hit_and_no_other(read: Reader) -> None:
    """What a crash leaves of a file whose blocks had not all reached the disk."""
    text = csv_text(CART_EVENTS, *(f"S1,c{n},2024-01-12,Standard,active" for n in range(9))).encode()
    (whole,) = {len(line) for line in text.splitlines(keepends=True)[1:]}
    start = len(CART_EVENTS) + 1 + 3 * whole + 5
    found = read("cart_events/f.csv", text[:start] + bytes(2 * whole) + text[start + 2 * whole :])
    assert found.by_row("cart_id") == {1: "c0", 2: "c1", 3: "c2", 4: BAD, 5: "c6", 6: "c7", 7: "c8"}
    assert "newline" in refusal(read, "cart_events/f.csv", text[:start] + bytes(len(text) - start))


# ---- columns


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_the_header_again_among_the_rows_is_a_refused_row(feed: Feed, read: Reader) -> None:
    """Exports joined with `cat`."""
    names = {name: name for name in good_row(feed)}
    found = read(f"{feed.name}/f.csv", csv_of(feed, good_row(feed), names, good_row(feed)))
    assert [(row["row_number"], row["reason"]) for row in found.rejected] == [(2, BAD)]
    assert [row["row_number"] for row in found.rows if row["revision"] == 1] == [1, 3]


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_a_column_renamed_by_its_case_or_a_space_is_refused_also_where_it_may_be_left_out(
    feed: Feed, read: Reader
) -> None:
    """Without `voided` what was taken back would be billed."""
    for column in feed.columns:
        for name in (column.name.upper(), f" {column.name}", column.name.title().replace("_", "-")):
            columns = {name if known == column.name else known: [text] for known, text in good_row(feed).items()}
            assert column.name in refusal(read, f"{feed.name}/f.parquet", parquet_of(columns))
            text = csv_text(",".join(columns), ",".join(value for (value,) in columns.values()))
            assert column.name in refusal(read, f"{feed.name}/f.csv", text)


NO_VALUES = {
    "a list": pa.array([["1"]]),
    "a struct": pa.array([{"value": "1"}]),
    "a map": pa.array([[("1", "1")]], pa.map_(pa.string(), pa.string())),
    "bytes": pa.array([b"1"]),
    "a time of day": pa.array([time(1)]),
    "a duration": pa.array([timedelta(1)]),
}


@pytest.mark.parametrize("kind", NO_VALUES)
@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_a_parquet_column_of_a_kind_without_values_condemns_the_file(feed: Feed, kind: str, read: Reader) -> None:
    row: dict[str, object] = {name: [text] for name, text in good_row(feed).items()}
    for column in feed.columns:
        said = refusal(read, f"{feed.name}/f.parquet", parquet_of(row | {column.name: NO_VALUES[kind]}))
        assert f"column {column.name} is " in said


# ---- values of every column

NO_NUMBERS = [
    "nan",
    "NaN",
    "inf",
    "-inf",
    "Infinity",
    "1e308",
    "1" + "0" * 38,
    "0x10",
    "1_000",
    "\uff11\uff12",
    "1,000",
    "\u00b2",
]
NO_INSTANTS = [
    "0000-01-01",
    "0001-01-01",
    "9999-12-31T23:59:59Z",
    "10000-01-01",
    "2024-02-30",
    "2023-02-29T00:00:00Z",
    "2024-01-31T24:00:00",
    "2024-01-31T24:00:01Z",
    "2016-12-31T23:59:60Z",
    "\uff12\uff10\uff12\uff14-01-31",
    "infinity",
    "1706702400",
]
REFUSED = {
    ColumnType.INSTANT: NO_INSTANTS,
    ColumnType.QUANTITY: NO_NUMBERS,
    ColumnType.AMOUNT: NO_NUMBERS,
    ColumnType.WHOLE_NUMBER: [*NO_NUMBERS, "-0", "1.5", "9223372036854775808"],
    ColumnType.FLAG: ["nan", "0", "1", "\uff10", "t", "yes"],
    ColumnType.TIME_ZONE: ["nan", "Mars/Base", "+02:00", "UTC' or '1'='1", "posixrules"],
}
NO_CHOICES = ["nan", "Active", "active ", "active\n", "'; drop table x; --"]


def refused_texts(column: Column) -> list[str]:
    return NO_CHOICES if column.choices else REFUSED.get(column.type, [])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_text_that_is_no_such_value_is_refused_in_every_column(feed: Feed, suffix: str, read: Reader) -> None:
    wrong = [(column.name, text) for column in feed.columns for text in refused_texts(column)]
    found = read(
        f"{feed.name}/f{suffix}", file_of(feed, suffix, [good_row(feed) | {name: text} for name, text in wrong])
    )
    assert found.total == len(wrong)
    said = {row["row_number"]: row["detail"] for row in found.rejected if row["reason"] == BAD}
    accepted = [pair for number, pair in enumerate(wrong, 1) if not said.get(number, "").startswith(f"{pair[0]} is '")]
    assert accepted == []


YEAR_0, YEAR_10000 = -62167219200, 253402300800  # their first seconds
DOUBLES = [float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e38, 5e-324]
DECIMAL_38 = pa.array([10**37], pa.decimal128(38, 0))


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_doubles_decimals_and_timestamps_out_of_bounds_are_refused_in_every_column(feed: Feed, read: Reader) -> None:
    numbers = [pa.array(DOUBLES), pa.array(DOUBLES[:5], pa.float32()), DECIMAL_38, pa.array([2**63], pa.uint64())]
    edges = [YEAR_0 * 10**6, YEAR_10000 * 10**6, 2**63 - 1, 1 - 2**63]
    instants = [pa.array(edges, pa.timestamp("us")), pa.array([2**31 - 1], pa.date32())]
    for column in feed.columns:
        kinds = instants if column.type is ColumnType.INSTANT else numbers
        if column.choices or column.type is ColumnType.TEXT:
            continue
        for array in kinds:
            table = {name: [text] * len(array) for name, text in good_row(feed).items()} | {column.name: array}
            found = read(f"{feed.name}/f.parquet", parquet_of(table))
            assert {row["row_number"] for row in found.rejected} == set(range(1, len(array) + 1)), (column, array)
            assert {row["detail"].split(" is '")[0] for row in found.rejected} == {column.name}


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_a_timestamp_past_what_microseconds_reach_condemns_the_file(feed: Feed, read: Reader) -> None:
    """The engine cannot say which row it is; one in a column that may be left out must not be lost either."""
    for column in feed.columns:
        if column.type is ColumnType.INSTANT:
            row: dict[str, object] = {name: [text] for name, text in good_row(feed).items()}
            row[column.name] = pa.array([2**62], pa.timestamp("ms"))
            refusal(read, f"{feed.name}/f.parquet", parquet_of(row))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_minus_nothing_is_nothing(suffix: str, read: Reader) -> None:
    feed = FEEDS["spending_limits"]
    content = file_of(feed, suffix, [good_row(feed) | {"limit_amount": "-0"}])
    (row,) = read(f"spending_limits/f{suffix}", content).rows
    assert str(row["limit_amount"]) == "0.0000"


def test_a_double_of_minus_nothing_is_nothing(read: Reader) -> None:
    row: dict[str, object] = {name: [text] for name, text in good_row(FEEDS["spending_limits"]).items()}
    (typed,) = read("spending_limits/f.parquet", parquet_of(row | {"limit_amount": pa.array([-0.0])})).rows
    assert str(typed["limit_amount"]) == "0.0000"


# ---- text that is code somewhere

CODE = [
    "'; drop table x; --",
    '"; drop table x; --',
    "x') or ('1'='1",
    "${x}",
    "$1 $$x$$ :x ?",
    "{} {0} {{x}} %s %(x)s",
    "*?[a-z]",
    "read_csv('*')",
    "\\'; \\x",
    "/* x */ -- y",
    "getvariable('time_zones')",
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_code_in_a_text_column_of_any_feed_is_text(feed: Feed, suffix: str, read: Reader) -> None:
    texts = [column.name for column in feed.columns if column.type is ColumnType.TEXT and not column.choices]
    lines = [good_row(feed) | dict.fromkeys(texts, code) for code in CODE]
    found = read(f"{feed.name}/f{suffix}", file_of(feed, suffix, lines))
    assert [[row[name] for name in texts] for row in found.rows] == [[code] * len(texts) for code in CODE]


@pytest.mark.parametrize("code", ["'; drop table x; --", '"{}" ${x} $1', "*?[a-z]{b,c}"])
def test_code_in_the_name_of_every_folder_is_a_name(code: str, tmp_path: Path) -> None:
    """Of the input, of a subfolder and of a file, whose refused row names it; the file beside it is another."""
    name = f"cart_events/{code}/{code}.csv"
    events = csv_text(CART_EVENTS, "S1,c2,2024-01-12,Standard,active", "S1,c3,soon,Standard,active")
    beside = "cart_events/a/a.csv"  # what a pattern would find instead
    write(tmp_path / code / "input", ONE_CUSTOMER | {name: events, beside: events.replace("c2", "c4")})
    settings = settings_of(tmp_path / code, AS_OF)
    if "*" in code:
        with pytest.raises(BadInput, match="in a path for a pattern"):
            run_night(settings)
        settings = settings.model_copy(update={"output": tmp_path / "output"})
    report = run_night(settings)
    assert [invoices.total for invoices in report.invoices] == [3 * 40]
    listed = rows(settings.output.parent, "select file from rejected_rows order by file")
    assert listed == sorted([(name,), (beside,)])


# ---- files that would take memory without end

MEMORY_MB = 400
# A process inherits the peak of the one that started it: a small one stands between it and the tests.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
MEGABYTE = b"x" * (1 << 20)
HEADER = f"{CART_EVENTS}\n".encode()
ROW = b"S1,c1,2024-01-12,Standard,active\n"


def zstd_of(header: bytes, piece: bytes, times: int) -> bytes:
    frame = zstandard.ZstdCompressor().compressobj()
    return b"".join([frame.compress(header), *(frame.compress(piece) for _ in range(times)), frame.flush()])


def gzip_of(header: bytes, piece: bytes, times: int) -> bytes:
    return gzip.compress(header) + gzip.compress(piece) * times


def huge_files() -> dict[str, tuple[bytes, str]]:
    many_rows = ROW * ((1 << 20) // len(ROW))
    return {
        "cell-of-10-MB.csv": (HEADER + ROW + b"S1," + 10 * MEGABYTE + ROW[5:], "line 3 is longer than 4 MB"),
        "quoted-cell.csv": (HEADER + b'S1,"' + b"xxx\n" * (5 << 18) + b'"' + ROW[5:], "line 2 is longer than 4 MB"),
        "open-quote.csv": (HEADER + ROW + b'S1,"c' + 5 * many_rows, "line 3 is longer than 4 MB, or begins a quote"),
        "columns.csv": (b"x," * (1 << 20) + b"\n", "has 1,048,577 columns"),
        "header.csv": (5 * MEGABYTE + b"\n", "line 1 is longer than 4 MB"),
        "commas.csv": (HEADER + b"x," * (1 << 19) + b"\n" + ROW, "have not the 5 fields"),
        "wide.csv": (HEADER + (ROW[:-1] + b",x" * 200 + b"\n") * 3000, "have not the 5 fields"),
        "latin.csv": (HEADER + ROW.replace(b"c1", b"\xe9") * 400_000, "are no UTF-8"),
        "line.csv.gz": (gzip_of(HEADER, MEGABYTE, 1024), "line 2 is longer than 4 MB"),
        "line.csv.zst": (zstd_of(HEADER, MEGABYTE, 2048), "line 2 is longer than 4 MB"),
        "zeros.csv.zst": (zstd_of(b"", bytes(1 << 20), 1024), "line 1 is longer than 4 MB"),
        "blank.csv.gz": (gzip_of(HEADER, b"\n" * (1 << 20), 1024), "1,000,000 lines are blank"),
        "rows.csv.gz": (gzip_of(HEADER, many_rows, 100), "unpacks to more than 250 times its size"),
        "rows.csv.zst": (zstd_of(HEADER, many_rows, 1024), "unpacks to more than 250 times its size"),
    }


def test_files_past_every_bound_are_refused_at_once_in_little_memory(tmp_path: Path) -> None:
    """The real command, and the most memory that it ever held; all of it together unpacks to 6 GB."""
    huge = huge_files()
    write(tmp_path / "input", ONE_CUSTOMER | {f"cart_events/{name}": content for name, (content, _) in huge.items()})
    with (tmp_path / "input/cart_events/line-of-300-MB.csv").open("wb") as file:
        file.write(HEADER)
        file.writelines(MEGABYTE for _ in range(300))
        file.write(b"\n" + ROW)
    command = Path(sys.executable).with_name("usage-rating")
    folders = [f"--input={tmp_path / 'input'}", f"--output={tmp_path / 'output'}"]
    with (tmp_path / "said").open("w+") as said:
        run = [sys.executable, "-S", "-c", MEASURED, str(command), "run", *folders, "--as-of", "2024-02-10"]
        child = subprocess.run(run, stderr=said, stdout=subprocess.PIPE, text=True, check=False)
        said.seek(0)
        faults = dict(line.rstrip("\n").partition(": ")[::2] for line in said)
    (tmp_path / "input/cart_events/line-of-300-MB.csv").unlink()
    expected = {name: text for name, (_, text) in huge.items()} | {"line-of-300-MB.csv": "line 2 is longer than 4 MB"}
    assert [name for name, text in expected.items() if text not in faults.get(f"cart_events/{name}", "")] == [], faults
    assert child.returncode == 2
    assert int(child.stdout.split()[-1]) < MEMORY_MB << 10


def test_rows_after_a_long_stretch_of_lines_that_are_none_are_not_lost_in_silence(read: Reader) -> None:
    """The engine took 8 MB without one row in it for the end of the file. Then the file is refused."""
    bad = f"S1,c1,2024-01-12,{'x' * 350},active,more\n"
    text = csv_text(CART_EVENTS) + bad * 45_000 + "S1,c2,2024-01-12,Standard,active\n"
    assert "of its 45,001 rows" in refusal(read, "cart_events/f.csv", text)


def test_a_small_file_of_one_row_over_and_over_is_read(read: Reader) -> None:
    """It packs far better than any bound, and is no danger."""
    row = "S1,e1,m,1,2024-01-12\n"
    text = f"subscription_id,event_id,meter,quantity,occurred_at\n{row * 20_000}".encode()
    assert len(gzip.compress(text)) * 100 < len(text)
    assert read("usage/f.csv.gz", gzip.compress(text)).total == 20_000


# ---- the count of rows that the engine's is held against

LINES = {
    "plain": (b"a,b\n1,2\n3,4\n", 2),
    "no end": (b"a,b\n1,2\n3,4", 2),
    "Windows": (b"a,b\r\n1,2\r\n3,4\r\n", 2),
    "old Macintosh": (b"a,b\r1,2\r3,4\r", 2),
    "blank lines": (b"a,b\n\n1,2\n\n\n3,4\n\n", 2),
    "Windows blank lines": (b"a,b\r\n\r\n1,2\r\n\r\n", 1),
    "quoted": (b'"a","b"\n"1","2"\n', 1),
    "line ends and commas in quotes": (b'a,b\n"1\n\n,,","\r\n2"\n3,"4\r"\n', 2),
    "quotes in quotes": (b'a,b\n"""\n",""""\n3,4\n', 2),
    "a quote inside a value": (b'a,b\n5" pipe,2\n3,4\n', 2),
    "quotes inside values and around them": (b'a,b\n5" pipe,"2\n"\n3,x"4"\n', 2),
    "an empty value in quotes alone": (b'a,b\n""\n3,4\n', 2),
    "no UTF-8": (b"a,b\n\xff,2\n\xe9\n", 2),
    "a mark before quotes": (b'\xef\xbb\xbf"a,\n","b"\n1,2\n', 1),
    "a header alone": (b"a,b\n", 0),
    "nothing": (b"", 0),
}


@pytest.mark.parametrize("kind", LINES)
def test_rows_are_counted_however_the_text_comes_in_pieces(kind: str) -> None:
    text, expected = LINES[kind]
    mark = 3 if text.startswith(b"\xef\xbb\xbf") else 1
    for size in range(mark, max(len(text), mark) + 1):
        lines = CsvLines("f.csv")
        for start in range(0, len(text), size):
            lines.add(text[start : start + size])
        lines.end()
        assert lines.rows == expected, size


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("row", [b"1,2", b'"1","2"', b'"1,\n","2"', b'5" pipe,"2\r\n,"'])
def test_rows_of_many_pieces_are_counted(row: bytes, line_end: bytes) -> None:
    """More than fits into the longest line there may be: none is kept waiting for its end."""
    count = (LINE_BYTES_MAX + 3 * CHUNK_BYTES) // len(row)
    text = b"a,b" + line_end + (row + line_end) * count
    lines = CsvLines("f.csv")
    for start in range(0, len(text), CHUNK_BYTES):
        lines.add(text[start : start + CHUNK_BYTES])
    lines.end()
    assert lines.rows == count


def test_blank_lines_up_to_the_bound_are_no_rows() -> None:
    lines = CsvLines("f.csv")
    lines.add(b"a,b\n" + b"\n" * BLANK_LINES_MAX + b"1,2\n")
    assert lines.rows == 1
    with pytest.raises(BadInput, match="blank"):
        lines.add(b"\n")


# ---- what stands in a file's place


def test_no_pipe_socket_folder_or_file_stands_in_for_another(tmp_path: Path) -> None:
    """Nothing of it is opened: a pipe would hang the run. A link within the folder is a file like any other."""
    folder = write(tmp_path / "input", ONE_CUSTOMER | {"usage": "", "cart_events/whole.csv": CART_EVENTS + "\n"})
    os.mkfifo(folder / "cart_snapshots")
    (folder / "cart_events/empty.csv").mkdir()
    os.mkfifo(folder / "cart_events/pipe.csv.gz")
    (folder / "cart_events/linked.csv").symlink_to("whole.csv")
    (folder / "cart_events/linked-pipe.csv").symlink_to("pipe.csv.gz")
    (folder / "cart_events/itself.csv").symlink_to("itself.csv")
    (folder / "cart_events/out.csv").symlink_to("/etc/hostname")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder / "cart_events")  # the path of a socket has to be short
        try:
            server.bind("socket.csv")
        finally:
            os.chdir(here)
        with pytest.raises(BadInput) as error:
            files_in(folder)
    named = [fault.partition(": ")[0].strip("'") for fault in error.value.faults]
    events = ["empty.csv", "itself.csv", "linked-pipe.csv", "out.csv", "pipe.csv.gz", "socket.csv"]
    assert sorted(named) == sorted([*(f"cart_events/{name}" for name in events), "cart_snapshots/", "usage/"])


def test_a_rate_card_that_is_no_file_is_not_passed_over(tmp_path: Path) -> None:
    """The version before it would go on pricing."""
    folder = write(tmp_path / "rate_cards", {"carts.v1.yaml": CARD})
    os.mkfifo(folder / "carts.v2.yaml")
    (folder / "carts.v3.yaml").symlink_to("nowhere.yaml")
    (folder / "later").symlink_to(tmp_path)
    with pytest.raises(BadInput) as error:
        read_rate_cards(folder)
    named = [fault.partition(": ")[0].strip("'") for fault in error.value.faults]
    assert named == [f"rate_cards/{name}" for name in ("carts.v2.yaml", "carts.v3.yaml", "later")]


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder to work in, without the rights of root, whom no mode keeps out."""
    with tempfile.TemporaryDirectory() as name:
        folder, is_root = Path(name), os.geteuid() == 0
        folder.chmod(0o777)
        if is_root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            for path in folder.rglob("*"):
                path.chmod(0o700)
            if is_root:
                os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(mode: int) -> None:
    """With one right only it shows its files' names, or opens them, but not both."""
    with as_nobody() as folder:
        write(folder, ONE_CUSTOMER | {"cart_events/2024/2.csv": ONE_CUSTOMER["cart_events/1.csv"]})
        write(folder, {"rate_cards/2024/carts.v2.yaml": CARD})
        for name in ("cart_events/2024", "rate_cards/2024"):
            (folder / name).chmod(mode)
        for look in (lambda: files_in(folder), lambda: read_rate_cards(folder / "rate_cards")):
            with pytest.raises(BadInput) as error:
                look()
            assert ["/2024" in fault for fault in error.value.faults] == [True]
        for name in ("cart_events/2024", "rate_cards/2024"):
            (folder / name).chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_an_input_folder_that_cannot_be_looked_into_is_named(mode: int) -> None:
    with as_nobody() as folder:
        settings = settings_of(folder, AS_OF)
        write(settings.input, ONE_CUSTOMER).chmod(mode)
        with pytest.raises(BadInput) as error:
            run_night(settings)
        settings.input.chmod(0o700)
    assert error.value.faults[0].startswith(f"{settings.input}: cannot be read")


def test_a_file_that_cannot_be_read_is_named() -> None:
    with as_nobody() as folder:
        write(folder, ONE_CUSTOMER)
        (folder / "cart_events/1.csv").chmod(0)
        (folder / "rate_cards/carts.v1.yaml").chmod(0)
        with pytest.raises(BadInput, match=r"^cart_events/1\.csv: cannot be read"):
            check(files_in(folder), allow_missing_final_newline=False)
        with pytest.raises(BadInput, match=r"^rate_cards/carts\.v1\.yaml: cannot be read"):
            read_rate_cards(folder / "rate_cards")


# ---- files that change while they are read

EVENTS = csv_text(CART_EVENTS, "S1,c2,2024-01-12,Standard,active", "S1,c3,2024-01-13,Standard,active").encode()
FEWER = csv_text(CART_EVENTS, "S1,c2,2024-01-12,Standard,active").encode()


def parquet_events(text: bytes) -> bytes:
    lines = list(csv.DictReader(io.StringIO(text.decode())))
    return parquet_of({name: [line[name] for line in lines] for name in lines[0]})


STORED = COMPRESSED | {".parquet": parquet_events}


def grow(path: Path, other: bytes) -> None:
    with path.open("ab") as file:
        file.write(other)


def truncate(path: Path, other: bytes) -> None:
    path.write_bytes(other[: len(other) // 2])


def replace(path: Path, other: bytes) -> None:
    """By a file of the same size and time, as tools that keep both would."""
    stat = path.stat()
    aside = path.with_name(".aside")
    aside.write_bytes(other.ljust(stat.st_size, b"\n")[: stat.st_size])
    os.utime(aside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    aside.rename(path)


def write_over(path: Path, other: bytes) -> None:
    """In place, and the time set back."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.write(other[: stat.st_size])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def take_away(path: Path, other: bytes) -> None:
    path.unlink()


CHANGES = [grow, truncate, replace, write_over, take_away]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", STORED)
def test_a_file_that_changes_after_it_is_listed_or_hashed_is_refused(
    suffix: str, change: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    """One that grows for ever is read no further than it was long."""
    name, other = f"cart_events/2{suffix}", STORED[suffix](FEWER)

    def files() -> list[InputFile]:
        write(tmp_path, ONE_CUSTOMER | {name: STORED[suffix](EVENTS)})
        return [file for file in files_in(tmp_path) if file.name == name]

    with open_engine(Settings(input=tmp_path, output=tmp_path, threads=1), tmp_path) as engine:
        ingest.prepare(engine)
        (listed,) = files()
        change(listed.path, other)
        with pytest.raises(BadInput) as at_first:
            read_all(engine, [listed], tmp_path)
        checked = check(files(), allow_missing_final_newline=False)
        change(checked[0].file.path, other)
        with pytest.raises(BadInput) as later:
            ingest.read_file(engine, checked[0], 1, tmp_path)
    for error in (at_first, later):
        (fault,) = error.value.faults
        assert fault.startswith(f"{name}: ")
        assert re.search("changed while it was read|cannot be read|does not end with a newline", fault)


def read_all(engine: duckdb.DuckDBPyConnection, files: list[InputFile], scratch: Path) -> None:
    for checked in check(files, allow_missing_final_newline=False):
        ingest.read_file(engine, checked, 1, scratch)
