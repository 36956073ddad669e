"""How the text of every kind of column is read, and that no row of a file gets lost or misnumbered."""

import gzip
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.folders import csv_text, write
from tests.reading import Reader, reader
from usage_rating import ingest
from usage_rating.engine import open_engine
from usage_rating.errors import BadInput
from usage_rating.input_files import check, input_file
from usage_rating.settings import Settings

MISSING, BAD, NEGATIVE = "missing_value", "bad_value", "negative_quantity"
USAGE = "subscription_id,event_id,meter,quantity,occurred_at"
LIMITS = "subscription_id,agreed_at,limit_amount"


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with reader(tmp_path_factory.mktemp("ingest"), tmp_path_factory.mktemp("scratch")) as read:
        yield read


def in_quotes(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def parquet(**columns: object) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


# ---- types of columns

INSTANTS: dict[str, object] = {
    "2024-01-31": datetime(2024, 1, 31, tzinfo=UTC),
    "2024-01-31T10:20": datetime(2024, 1, 31, 10, 20, tzinfo=UTC),
    "2024-01-31 10:20:30": datetime(2024, 1, 31, 10, 20, 30, tzinfo=UTC),
    "2024-01-31T10:20:30.5": datetime(2024, 1, 31, 10, 20, 30, 500_000, tzinfo=UTC),
    "2024-01-31T23:59:59.999999Z": datetime(2024, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "2024-01-31T10:20:30.1234560": datetime(2024, 1, 31, 10, 20, 30, 123_456, tzinfo=UTC),
    "2024-01-31T10:20:30.1234567": BAD,  # finer than a microsecond
    "2024-01-31T10:20:30.123456001": BAD,
    "2024-01-31T00:30:00+02": datetime(2024, 1, 30, 22, 30, tzinfo=UTC),
    "2024-01-31T00:30:00+0530": datetime(2024, 1, 30, 19, 0, tzinfo=UTC),
    "2024-01-31 23:30-05:00": datetime(2024, 2, 1, 4, 30, tzinfo=UTC),
    "2024-01-31T10:20:30+16:00": BAD,
    "2024-01-31T10:20:30+02:60": BAD,
    "2024-01-31T10:20:30 Europe/Berlin": BAD,
    "2024-02-29": datetime(2024, 2, 29, tzinfo=UTC),
    "2023-02-29": BAD,
    "2024-02-30": BAD,
    "2024-13-01": BAD,
    "2024-01-31T24:00:00": BAD,
    "2024-06-30T23:59:60Z": BAD,  # a leap second
    "1900-01-01T00:00:00Z": datetime(1900, 1, 1, tzinfo=UTC),
    "1899-12-31T23:59:59.999999Z": BAD,
    "1899-12-31T23:00:00-01:00": datetime(1900, 1, 1, tzinfo=UTC),
    "1900-01-01T00:00:00+00:01": BAD,
    "9998-12-31T23:59:59.999999Z": datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "9999-01-01": BAD,
    "10000-01-01": BAD,
    "0000-01-01": BAD,
    "-0044-03-15": BAD,
    "24-01-31": BAD,
    "31.01.2024": BAD,
    "1706659200": BAD,
    "now": BAD,
    "epoch": BAD,
    "infinity": BAD,
    " 2024-01-31": BAD,
    "": MISSING,
}
QUANTITIES: dict[str, object] = {
    "0": Decimal(0),
    "-0.0": Decimal(0),
    "7": Decimal(7),
    "007": Decimal(7),
    "+7": Decimal(7),
    ".5": Decimal("0.5"),
    "5.": Decimal(5),
    "0.000001": Decimal("0.000001"),
    "1.50000000000": Decimal("1.5"),
    "1.0000001": BAD,  # a seventh decimal
    "999999999999.999999": Decimal("999999999999.999999"),
    "1000000000000": BAD,  # a thirteenth digit
    "1" + "0" * 38: BAD,
    "-1": NEGATIVE,
    "-0.000001": NEGATIVE,
    "-0.0000001": BAD,
    "1e3": Decimal(1000),
    "1.5E+3": Decimal(1500),
    "1e-06": Decimal("0.000001"),
    "1.234567e5": Decimal("123456.7"),
    "1.2345678e1": Decimal("12.345678"),
    "1.2345678e0": BAD,
    "9.99999999999999999e11": Decimal("999999999999.999999"),
    "-1e3": NEGATIVE,
    "1e-7": BAD,
    "1e12": BAD,
    "1e308": BAD,
    "1e": BAD,
    "nan": BAD,
    "NaN": BAD,
    "inf": BAD,
    "-Infinity": BAD,
    "1,5": BAD,
    "1_000": BAD,
    "0x10": BAD,
    "\u0661": BAD,  # a digit, but not of ours
    " 1": BAD,
    "--1": BAD,
    "": MISSING,
}
AMOUNTS: dict[str, object] = {
    "0.0001": Decimal("0.0001"),
    "0.00001": BAD,
    "999999999999.9999": Decimal("999999999999.9999"),
    "1000000000000": BAD,
    "1e-4": Decimal("0.0001"),
    "1e-5": BAD,
    "-0.01": NEGATIVE,
    "": MISSING,
}
REVISIONS: dict[str, object] = {
    "": 0,
    "0": 0,
    "12": 12,
    "3.0": 3,  # a whole number in a Parquet column of doubles
    "999999999999999999": 10**18 - 1,
    "1000000000000000000": BAD,
    "1.5": BAD,
    "-1": BAD,
    "one": BAD,
}
FLAGS: dict[str, object] = {"": False, "true": True, "TRUE": True, "False": False, "1": BAD, "yes": BAD, " true": BAD}
TIME_ZONES: dict[str, object] = {
    "": None,
    "UTC": "UTC",
    "America/New_York": "America/New_York",
    "Asia/Calcutta": "Asia/Calcutta",  # an older name is a name
    "america/new_york": BAD,
    "+02:00": BAD,
    "../UTC": BAD,
    "Mars/Base": BAD,
}
STATES: dict[str, object] = {
    "active": "active",
    "disabled": "disabled",
    "deleted": "deleted",
    "Active": BAD,
    "active ": BAD,
    "": MISSING,
}
IDS: dict[str, object] = {"007": "007", "7 ": "7 ", "NULL": "NULL", "1e3": "1e3", "ключ": "ключ", "": MISSING}

COLUMNS: dict[str, tuple[str, str, str, dict[str, object]]] = {
    "instant": ("usage/f.csv", "occurred_at", "S1,{n},m,1,{text}", INSTANTS),
    "quantity": ("usage/f.csv", "quantity", "S1,{n},m,{text},2024-01-01", QUANTITIES),
    "id": ("usage/f.csv", "subscription_id", "{text},{n},m,1,2024-01-01", IDS),
    "amount": ("spending_limits/f.csv", "limit_amount", "S{n},2024-01-01,{text}", AMOUNTS),
    "revision": ("spending_limits/f.csv", "revision", "S{n},2024-01-01,1,{text}", REVISIONS),
    "flag": ("spending_limits/f.csv", "voided", "S{n},2024-01-01,1,{text}", FLAGS),
    "time_zone": ("accounts/f.csv", "time_zone", "A{n},2024-01-01,{text}", TIME_ZONES),
    "choice": ("cart_events/f.csv", "state", "S1,c{n},2024-01-01,Standard,{text}", STATES),
}
HEADERS = {
    "usage": USAGE,
    "spending_limits": LIMITS,
    "accounts": "account_id,created_at,time_zone",
    "cart_events": "subscription_id,cart_id,occurred_at,category,state",
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_each_text_is_typed_exactly_or_refused_by_name(kind: str, read: Reader) -> None:
    name, column, row, texts = COLUMNS[kind]
    header = HEADERS[name.split("/", maxsplit=1)[0]]
    if column not in header.split(","):
        header += f",{column}"
    lines = [row.format(n=n, text=in_quotes(text)) for n, text in enumerate(texts)]
    found = read(name, csv_text(header, *lines))
    typed = found.by_row(column)
    assert {text: typed[number] for number, text in enumerate(texts, start=1)} == texts
    assert all(fault["detail"].startswith(f"{column} is ") for fault in found.rejected)
    raw = [json.loads(fault["raw"])[column] or "" for fault in found.rejected]
    assert raw == [text for text, value in texts.items() if value in (BAD, MISSING, NEGATIVE)]


def test_a_row_with_several_faults_names_them_all(read: Reader) -> None:
    found = read("usage/f.csv", csv_text(f"{USAGE},revision", ",e1,m,-2,soon,-1"))
    (fault,) = found.rejected
    assert fault["reason"] == MISSING
    named = re.findall(r"(?:^|; )(\w+) is ", fault["detail"])
    assert named == ["subscription_id", "quantity", "occurred_at", "revision"]


def test_a_long_value_is_cut_in_the_detail_and_whole_in_the_raw_text(read: Reader) -> None:
    (fault,) = read("usage/f.csv", csv_text(USAGE, f"S1,e1,m,{'9' * 5000},2024-01-01")).rejected
    assert len(fault["detail"]) < 250
    assert json.loads(fault["raw"])["quantity"] == "9" * 5000


# ---- lines


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_are_no_part_of_the_values(mark: str, line_end: str, read: Reader) -> None:
    text = mark + csv_text(LIMITS, "S1,2024-01-01,1", "S2,2024-01-01,x", "S3,2024-01-01,3").replace("\n", line_end)
    assert read("spending_limits/f.csv", text).by_row("subscription_id") == {1: "S1", 2: BAD, 3: "S3"}


MALFORMED = {
    "too few fields": b"S2,2024-01-01",
    "one field": b"S2",
    "too many fields": b"S2,2024-01-01,2,2",
    "many too many fields": b"S2,2024-01-01,2,2,2,2",
    "not UTF-8": b"S\xff2,2024-01-01,2",
    "neither": b"S\xff2,2024-01-01",
    "a line past 2 MB": b"x" * 2_100_000 + b",2024-01-01,2",
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_line_is_refused_and_the_rows_after_it_keep_their_numbers(fault: str, read: Reader) -> None:
    """Blank lines are not counted, and a line end inside quotes begins no row."""
    good, line = b'"S\n1",2024-01-01,1', MALFORMED[fault]
    lines = [LIMITS.encode(), line, b"", good, line, line, b"S5,2024-01-01,x", b"", b"", line, good]
    found = read("spending_limits/f.csv", b"\n".join(lines) + b"\n")
    good_id = "S\n1"
    assert found.by_row("subscription_id") == {1: BAD, 2: good_id, 3: BAD, 4: BAD, 5: BAD, 6: BAD, 7: good_id}
    raw = {row["raw"][:1000] for row in found.rejected if row["row_number"] != 5}
    assert raw == {line[:1000].replace(b"\xff", b"?").decode()}, "the line as it stood"
    assert all(row["detail"] for row in found.rejected)


def test_empty_fields_are_missing_and_a_blank_line_is_no_row(read: Reader) -> None:
    found = read("spending_limits/f.csv", csv_text(LIMITS, ",,", "", "S1,2024-01-01,1", "", '"","",""'))
    assert found.by_row("subscription_id") == {1: MISSING, 2: "S1", 3: MISSING}


def test_broken_quoting_condemns_the_file_without_a_customers_value(read: Reader) -> None:
    """What follows an open quote may be swallowed by it, so the rows after it cannot be trusted."""
    with pytest.raises(BadInput) as error:
        read("spending_limits/f.csv", csv_text(LIMITS, "S1,2024-01-01,1", '"Jane Roe,2024-01-01,1', "S3,2024-01-01,1"))
    assert "spending_limits/f.csv: line 3 cannot be read" in str(error.value)
    assert "Jane" not in str(error.value)


def test_columns_may_come_in_any_order_among_others(read: Reader) -> None:
    header = "row_number,limit_amount,note,field_0,Subscription_ID,agreed_at,subscription_id,note"
    found = read("spending_limits/f.csv", csv_text(header, "9,1,n,f,other,2024-01-01,S1,n"))
    (row,) = found.rows
    assert (row["subscription_id"], row["limit_amount"], row["row_number"]) == ("S1", 1, 1)


# ---- Parquet

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
PARQUET_INSTANTS = {
    "seconds": (pa.array([NOON], pa.timestamp("s")), NOON),
    "milliseconds of UTC": (pa.array([NOON], pa.timestamp("ms", "UTC")), NOON),
    "microseconds of New York": (pa.array([NOON], pa.timestamp("us", "America/New_York")), NOON),
    "nanoseconds": (pa.array([1706702400_000_001_000], pa.timestamp("ns")), NOON.replace(microsecond=1)),
    "one nanosecond": (pa.array([1706702400_000_000_001], pa.timestamp("ns")), BAD),
    "one nanosecond of UTC": (pa.array([1706702400_000_000_001], pa.timestamp("ns", "UTC")), BAD),
    "date": (pa.array([date(2024, 1, 31)]), datetime(2024, 1, 31, tzinfo=UTC)),
    "dictionary": (pa.array([NOON], pa.timestamp("us")).dictionary_encode(), NOON),
    "a whole number": (pa.array([1706702400]), BAD),
    "nothing": (pa.nulls(1, pa.timestamp("us")), MISSING),
}
PARQUET_QUANTITIES = {
    "int32": (pa.array([3], pa.int32()), Decimal(3)),
    "uint64": (pa.array([2**63], pa.uint64()), BAD),
    "negative": (pa.array([-3]), NEGATIVE),
    "decimal": (pa.array([Decimal("1.5")], pa.decimal128(38, 10)), Decimal("1.5")),
    "too fine a decimal": (pa.array([Decimal("0.0000001")], pa.decimal128(38, 10)), BAD),
    "wide decimal": (pa.array([Decimal("1.5")], pa.decimal256(60, 10)), Decimal("1.5")),
    "double": (pa.array([0.1]), Decimal("0.1")),
    "double of no short text": (pa.array([0.1 + 0.2]), BAD),
    "small double": (pa.array([1e-06]), Decimal("0.000001")),
    "large double": (pa.array([123456789012.5]), Decimal("123456789012.5")),
    "too large a double": (pa.array([1e16]), BAD),
    "huge double": (pa.array([1e308]), BAD),
    "not a number": (pa.array([float("nan")]), BAD),
    "infinity": (pa.array([float("inf")]), BAD),
    "float": (pa.array([0.1], pa.float32()), Decimal("0.1")),
    "text": (pa.array(["2.50"]), Decimal("2.5")),
    "dictionary": (pa.array(["2.50"]).dictionary_encode(), Decimal("2.5")),
    "truth": (pa.array([True]), BAD),
    "nothing": (pa.nulls(1), MISSING),
}
PARQUET_IDS = {
    "int": (pa.array([7]), "7"),
    "unsigned": (pa.array([2**63], pa.uint64()), "9223372036854775808"),
    "text": (pa.array(["007"]), "007"),
    "large text": (pa.array(["007"], pa.large_string()), "007"),
    "dictionary": (pa.array(["007"]).dictionary_encode(), "007"),
    "nothing": (pa.nulls(1), MISSING),
}


@pytest.mark.parametrize(
    ("column", "array", "expected"),
    [
        pytest.param(column, array, expected, id=f"{column} of {kind}")
        for column, kinds in (
            ("occurred_at", PARQUET_INSTANTS),
            ("quantity", PARQUET_QUANTITIES),
            ("subscription_id", PARQUET_IDS),
        )
        for kind, (array, expected) in kinds.items()
    ],
)
def test_parquet_columns_of_every_type(column: str, array: pa.Array, expected: object, read: Reader) -> None:
    row = {"subscription_id": ["S1"], "event_id": ["e"], "meter": ["m"], "quantity": [1], "occurred_at": ["2024-01-01"]}
    assert read("usage/f.parquet", parquet(**row | {column: array})).by_row(column) == {1: expected}


def test_parquet_flags_and_revisions_of_doubles(read: Reader) -> None:
    """A column of whole numbers with gaps is written as doubles by many programs."""
    row = {"subscription_id": ["S1", "S2"], "agreed_at": ["2024-01-01"] * 2, "limit_amount": [1, 2]}
    found = read("spending_limits/f.parquet", parquet(**row, revision=[2.0, None], voided=[True, None]))
    assert [(row["revision"], row["voided"]) for row in found.rows] == [(2, True), (0, False)]


@pytest.mark.parametrize("array", [pa.array([7.0]), pa.array([b"7"]), pa.array([date(2024, 1, 1)]), pa.array([["7"]])])
def test_a_parquet_id_that_has_no_one_text_condemns_the_file(array: pa.Array, read: Reader) -> None:
    """7.0 could be the id 7 or 7.0."""
    row = {"subscription_id": array, "agreed_at": ["2024-01-01"], "limit_amount": [1]}
    with pytest.raises(BadInput, match=r"spending_limits/f\.parquet: column subscription_id is "):
        read("spending_limits/f.parquet", parquet(**row))


@pytest.mark.parametrize(
    "extra", ["Subscription_ID", "SUBSCRIPTION_ID", "file_row_number", "row_number", "filename", "faults"]
)
def test_extra_parquet_columns_are_ignored_whatever_their_name(extra: str, read: Reader) -> None:
    """The engine's names know no case, and some are its own."""
    row = {"subscription_id": ["S1"], "agreed_at": ["2024-01-01"], "limit_amount": [1]}
    for columns in ({extra: ["other"], **row}, {**row, extra: ["other"]}):
        assert read("spending_limits/f.parquet", parquet(**columns)).by_row("subscription_id") == {1: "S1"}


def test_parquet_row_numbers_run_through_its_row_groups(read: Reader) -> None:
    ids = [f"S{number}" for number in range(1, 101)]
    table = pa.table({"subscription_id": ids, "agreed_at": ["2024-01-01"] * 100, "limit_amount": ["1"] * 99 + ["x"]})
    target = io.BytesIO()
    pq.write_table(table, target, row_group_size=7)
    found = read("spending_limits/f.parquet", target.getvalue()).by_row("subscription_id")
    assert found == {number: f"S{number}" for number in range(1, 100)} | {100: BAD}


def test_a_damaged_parquet_file_is_refused_by_name_or_read(read: Reader) -> None:
    """Parquet without checksums hides some damage. What is noticed is never taken for a fault of ours."""
    whole = parquet(subscription_id=["S1"], agreed_at=["2024-01-01"], limit_amount=["1"])
    damages = [whole[1:], *(whole[:n] + bytes([whole[n] ^ 0xFF]) + whole[n + 1 :] for n in range(4, len(whole), 37))]
    faults = []
    for damaged in damages:
        try:
            read("spending_limits/f.parquet", damaged)
        except BadInput as error:
            faults += error.faults
    assert len(faults) > 5
    assert [fault for fault in faults if not fault.startswith("spending_limits/f.parquet: ")] == []


# ---- small files, which are read together


def read_together(folder: Path, files: dict[str, bytes], *, one_by_one: bool) -> tuple[list[Any], list[Any]]:
    """The good and the refused rows of limits, in order."""
    write(folder, files)
    listed = [input_file("spending_limits", name, folder / name) for name in sorted(files)]
    checked = check(listed, allow_missing_final_newline=False)
    (folder / "scratch").mkdir(exist_ok=True)
    with open_engine(Settings(input=folder, output=folder, threads=1), folder / "scratch") as engine:
        ingest.prepare(engine)
        for group in [[each] for each in checked] if one_by_one else [checked]:
            ingest.read_files(engine, group, 1, folder / "scratch")
        good, refused = (
            engine.table(table).order("file, row_number").fetchall()
            for table in ("new_spending_limits", "new_rejected_rows")
        )
        return good, refused


def limits(*amounts: object, **types: pa.DataType) -> bytes:
    count = len(amounts)
    amount = pa.array(amounts, types.get("amount", pa.int64()))
    ids = pa.array(["S1"] * count, pa.string())
    return parquet(subscription_id=ids, agreed_at=pa.array([NOON] * count, pa.timestamp("us")), limit_amount=amount)


LIMITS_TURNED = "limit_amount,subscription_id,agreed_at"
TOGETHER = {
    "spending_limits/a.parquet": limits(1, -2, None),
    "spending_limits/b.parquet": limits(),
    "spending_limits/c.parquet": limits(-3, 4),
    "spending_limits/d.parquet": limits("5.5", "x", amount=pa.string()),
    "spending_limits/e.parquet": limits("6.5", amount=pa.string()),
    "spending_limits/it's [f] *.parquet": limits(7, -7),
    "spending_limits/g.csv": csv_text(LIMITS, "S1,2024-01-01,8", "S1,2024-01-01,-8").encode(),
    "spending_limits/h.csv": f"{LIMITS}\n".encode(),
    "spending_limits/i.csv": f'\ufeff{LIMITS}\r\nS1,2024-01-01,9\r\n\r\n"S\n1",2024-01-01,x\r\n'.encode(),
    "spending_limits/j.csv.gz": gzip.compress(csv_text(LIMITS, "S1,2024-01-01,10", ",2024-01-01,1").encode()),
    "spending_limits/it's [k] *.csv": csv_text(LIMITS, "S1,2024-01-01,11").encode(),
    "spending_limits/l.csv": csv_text(LIMITS_TURNED, "12,S1,2024-01-01", "-12,S1,2024-01-01").encode(),
    "spending_limits/m.csv": csv_text(LIMITS_TURNED, "13,S1,2024-01-01").encode(),
}
TOO_MANY_FIELDS = {"spending_limits/m.csv": csv_text(LIMITS_TURNED, "1,S1,2024-01-01,x", "13,S1,2024-01-01").encode()}


@pytest.mark.parametrize("others", [{}, TOO_MANY_FIELDS], ids=["all whole", "one with a line that is no row"])
def test_small_files_read_together_are_as_each_read_by_itself(others: dict[str, bytes], tmp_path: Path) -> None:
    good, refused = read_together(tmp_path, TOGETHER | others, one_by_one=False)
    assert (good, refused) == read_together(tmp_path, TOGETHER | others, one_by_one=True)
    assert (len(good), len(refused)) == (11, 9 + len(others))


@pytest.mark.parametrize("others", [{}, TOO_MANY_FIELDS], ids=["all whole", "one with a line that is no row"])
def test_each_file_goes_with_those_of_its_shape(
    others: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_themselves = []
    monkeypatch.setattr(ingest, "read_file", lambda _, checked, *__: by_themselves.append(checked.file.name))
    read_together(tmp_path, TOGETHER | others, one_by_one=False)
    assert by_themselves == ["spending_limits/l.csv", "spending_limits/m.csv"] * len(others)


def test_of_csv_files_read_together_only_one_with_broken_quoting_is_refused(tmp_path: Path) -> None:
    broken = csv_text(LIMITS, "S1,2024-01-01,1", '"S"1,2024-01-01,1', "S1,2024-01-01,1").encode()
    with pytest.raises(BadInput) as error:
        read_together(tmp_path, TOGETHER | {"spending_limits/z.csv": broken}, one_by_one=False)
    (fault,) = error.value.faults
    assert fault.startswith("spending_limits/z.csv: line 3 cannot be read: ")


def test_of_files_read_together_only_a_damaged_one_is_refused(tmp_path: Path) -> None:
    whole = limits(*range(1000))
    names = []
    for place in range(4, len(whole) // 2, 331):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        try:
            read_together(tmp_path, TOGETHER | {"spending_limits/z.parquet": damaged}, one_by_one=False)
        except BadInput as error:
            names += [fault.split(": ")[0] for fault in error.faults]
    assert names
    assert set(names) == {"spending_limits/z.parquet"}
