"""Large files, copied or typed each into one of its own: the same rows, refusals and bills as by any other way in."""

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.folders import (
    CARD,
    ONE_CUSTOMER,
    SUBSCRIPTIONS,
    bill,
    copied,
    csv_text,
    published_bytes,
    rows,
    settings_of,
    write,
)
from usage_rating import originals, store
from usage_rating.doctor import examine, mend
from usage_rating.errors import BadInput
from usage_rating.files import hash_of
from usage_rating.manifests import InputRecord, Manifest
from usage_rating.night import Night
from usage_rating.usage_at_hand import UsageAtHand

NIGHTS = (date(2024, 2, 10), date(2024, 2, 20), date(2024, 3, 10))
USAGE_CARD = (
    CARD
    + """\
    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "0.10"}}
    visitors: {kind: usage, meter: visits, aggregation: unique, price: {per_unit: "2.00"}}
"""
)
CUSTOMER = ONE_CUSTOMER | {
    "rate_cards/carts.v1.yaml": USAGE_CARD,
    "subscriptions/1.csv": csv_text(SUBSCRIPTIONS, *(f"S{n},2024-01-10,A1,carts,basic,started" for n in (1, 2))),
}
TEXT, FLAG = pa.string(), pa.bool_()
USAGE_TYPES = {
    "subscription_id": TEXT,
    "event_id": TEXT,
    "meter": TEXT,
    "quantity": pa.decimal128(18, 6),
    "occurred_at": pa.timestamp("us", "UTC"),
    "value": TEXT,
    "revision": pa.int64(),
    "voided": FLAG,
}
CART_TYPES = {
    "subscription_id": TEXT,
    "cart_id": TEXT,
    "occurred_at": pa.timestamp("us", "UTC"),
    "category": TEXT,
    "state": TEXT,
    "revision": pa.int32(),
    "voided": FLAG,
}
TYPES = {"usage": USAGE_TYPES, "cart_events": CART_TYPES}
Row = dict[str, Any]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def changes_of(row: Row, *changes: Row) -> list[Row]:
    """A row, changed in one way after the other."""
    return [row | changed for changed in changes]


GOOD: Row = {
    "subscription_id": "S1",
    "event_id": "e",
    "meter": "messages",
    "quantity": Decimal(1),
    "occurred_at": at("2024-01-15T12:00"),
}
GOOD_CART: Row = {
    "subscription_id": "S1",
    "cart_id": "c",
    "occurred_at": at("2024-01-15T12:00"),
    "category": "Standard",
    "state": "active",
}
# What is right beside what is faulty in every way; the row number is the place in this list.
USAGE = changes_of(
    GOOD,
    {"event_id": "plain"},
    *({name: None, "event_id": name} for name in ("subscription_id", "meter", "quantity", "occurred_at")),
    {"event_id": None},
    *({name: "", "event_id": name} for name in ("subscription_id", "meter")),
    {"event_id": ""},
    {"event_id": "negative", "quantity": Decimal("-0.000001")},
    {"event_id": "nothing", "quantity": Decimal(0)},
    {"event_id": "largest", "subscription_id": "S9", "quantity": Decimal("999999999999.999999")},
    {"event_id": "first year", "occurred_at": at("1900-01-01")},
    {"event_id": "too early", "occurred_at": at("1899-12-31T23:59:59.999999")},
    {"event_id": "last year", "occurred_at": at("9998-12-31T23:59:59.999999")},
    {"event_id": "too late", "occurred_at": at("9999-01-01")},
    {"event_id": "revised", "revision": 0, "quantity": Decimal(5)},
    {"event_id": "revised", "revision": 1, "quantity": Decimal("7.5")},
    {"event_id": "highest revision", "revision": 10**18 - 1},
    {"event_id": "too high a revision", "revision": 10**18},
    {"event_id": "below any revision", "revision": -1},
    {"event_id": "taken out", "quantity": Decimal(9)},
    {"event_id": "taken out", "revision": 1, "voided": True},
    {"event_id": "not taken out", "voided": False},
    {"event_id": "v1", "meter": "visits", "value": "x"},
    {"event_id": "v2", "meter": "visits", "value": "x"},
    {"event_id": "v3", "meter": "visits", "value": ""},
    {"event_id": "v4", "meter": "visits", "value": None},
    {"event_id": "several", "quantity": Decimal(-1), "subscription_id": None, "revision": -2},
    {"event_id": "unknown", "subscription_id": "S9"},
    {"event_id": "plain"},
    {"event_id": "plain", "quantity": Decimal(2)},
    {"event_id": "ключ\n'\"", "quantity": Decimal("0.000001")},
)
CARTS = changes_of(
    GOOD_CART,
    {},
    {"cart_id": "c2"},
    *({name: wrong} for name in ("subscription_id", "cart_id", "category", "state") for wrong in (None, "")),
    {"occurred_at": None},
    {"state": "Active"},
    {"state": "active "},
    {"state": "disabled", "occurred_at": at("2024-01-20")},
    {"cart_id": "c2", "revision": 1, "voided": True},
    {"cart_id": "c3", "revision": -1},
    {"cart_id": "c3", "category": "Other"},
)


def parquet(feed: str, lines: list[Row], **types: pa.DataType) -> bytes:
    """Rows as a Parquet file of the contract's types, or others; columns that no row has are left out."""
    named = {name for line in lines for name in line}
    kinds = {name: types.get(name, kind) for name, kind in TYPES[feed].items() if name in named}
    return written({name: pa.array([line.get(name) for line in lines], kind) for name, kind in kinds.items()})


def written(columns: Mapping[str, object] | pa.Table) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target, row_group_size=7)
    return target.getvalue()


def text_of(value: object) -> str | None:
    """As the engine writes it, so that raw texts can be compared."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S") + (f".{value:%f}" if value.microsecond else "") + "+00"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else None if value is None else str(value)


def in_texts(feed: str, lines: list[Row]) -> list[dict[str, str | None]]:
    exact = {"quantity": lambda value: value and value.quantize(Decimal("0.000001"))}
    return [
        {name: text_of(exact.get(name, lambda value: value)(line.get(name))) for name in TYPES[feed]} for line in lines
    ]


def as_csv(feed: str, lines: list[Row]) -> bytes:
    target = io.StringIO()
    writer = csv.DictWriter(target, TYPES[feed], lineterminator="\n")
    writer.writeheader()
    writer.writerows(in_texts(feed, lines))
    return target.getvalue().encode()


def as_text_parquet(feed: str, lines: list[Row]) -> bytes:
    texts = in_texts(feed, lines)
    return written({name: pa.array([line[name] for line in texts], TEXT) for name in TYPES[feed]})


@pytest.fixture
def kept_from_one_row_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "ROWS_MIN", 1)


@pytest.fixture(params=["usage", "cart_events"])
def feed(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def lines_of(feed: str) -> list[Row]:
    return {"usage": USAGE, "cart_events": CARTS}[feed]


class TakenIn:
    """What a run reads of an input folder: a feed's good and refused rows.

    And which of the files it keeps each by itself, and which of these as they are, byte for byte.
    """

    def __init__(self, folder: Path, feed: str, files: Mapping[str, bytes]) -> None:
        write(folder / "input", {**CUSTOMER, **files})
        with Night(settings_of(folder, NIGHTS[0])) as night:
            night.ingest()
            order = [("file", "ascending"), ("row_number", "ascending")]
            if feed == "usage":
                UsageAtHand(night._engine, night._intake.usage, 1).gather()
            rows = night.relation("usage_new" if feed == "usage" else f"known_{feed}")
            self.rows = rows.select([name for name in rows.column_names if name != "key_hash"]).sort_by(order)
            self.refused = night.relation("new_rejected_rows").sort_by(order).to_pylist()
            kept_as = night._intake.kept_as
            hashes = {name: hash_of(folder / "output" / ".work" / kept) for name, (kept, _) in kept_as.items()}
            assert hashes == {name: sha256 for name, (_, sha256) in kept_as.items()}
            self.kept = sorted(files.keys() & kept_as)
            self.copied = [name for name in self.kept if hashes[name] == hash_of(folder / "input" / name)]


def both_ways(
    folder: Path, feed: str, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> tuple[TakenIn, TakenIn]:
    """The same files typed together with others, and kept each by itself where that may be."""
    monkeypatch.setattr(originals, "ROWS_MIN", 10**9)
    typed = TakenIn(folder / "typed", feed, files)
    monkeypatch.setattr(originals, "ROWS_MIN", 1)
    return typed, TakenIn(folder / "kept", feed, files)


def same(typed: TakenIn, kept: TakenIn) -> None:
    assert kept.rows.schema == typed.rows.schema
    assert kept.rows.to_pylist() == typed.rows.to_pylist()
    assert kept.refused == typed.refused
    assert typed.kept == []


# ---- rows and refusals


def test_rows_and_refusals_are_those_of_a_file_typed_row_by_row(
    feed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, kept = both_ways(tmp_path, feed, {f"{feed}/x.parquet": parquet(feed, lines_of(feed))}, monkeypatch)
    same(typed, kept)
    assert kept.copied == [f"{feed}/x.parquet"]
    assert len(kept.refused) > 8
    assert {row["row_number"] for row in kept.rows.to_pylist() if row["file"].endswith("x.parquet")} | {
        row["row_number"] for row in kept.refused
    } == set(range(1, len(lines_of(feed)) + 1))


WHOLE = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
EXACT = {
    "quantity": [*WHOLE, pa.decimal128(5, 0), pa.decimal128(9, 2), pa.decimal128(38, 6)],
    "revision": WHOLE,
    "occurred_at": [
        pa.timestamp("us"),
        pa.timestamp("ms"),
        pa.timestamp("ms", "UTC"),
        pa.timestamp("s"),
        pa.timestamp("us", "America/New_York"),
    ],
    "subscription_id": [pa.large_string(), pa.dictionary(pa.int32(), pa.string())],
}
INEXACT = {
    "quantity": [pa.float64(), pa.float32(), pa.decimal128(38, 7), pa.string()],
    "revision": [pa.float64(), pa.decimal128(9, 0), pa.string(), pa.null()],
    "occurred_at": [pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.date32(), pa.string()],
    "subscription_id": [pa.int64(), pa.uint64()],
    "voided": [pa.string(), pa.int8(), pa.null()],
    "value": [pa.int32(), pa.null()],
}
OF_TYPE: dict[str, list[object]] = {
    "quantity": [3, 0, -3, 127, 200, 10**12, 10**12 - 1, 2**63, None],
    "revision": [3, 0, -3, 127, 200, 10**18, 10**18 - 1, 2**63, None],
    "occurred_at": [at("2024-01-15"), at("1900-01-01"), at("1899-12-31"), at("9998-12-31T23:59:59"), at("9999-01-01")],
    "subscription_id": ["7", "8", "", None],
    "voided": [None],
    "value": [None],
}


def column_of(name: str, kind: pa.DataType) -> pa.Array:
    """Of the values those that fit the type, and past the ends of what the engine knows."""
    values = []
    for value in OF_TYPE[name]:
        try:
            values.append(pa.scalar(value, kind).as_py() if not pa.types.is_string(kind) else text_of(value))
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            continue
    array = pa.array(values, kind)
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        ends = pa.array([2**63 - 1, 1 - 2**63, -(2**62), 2**62], pa.int64()).cast(kind)
        return pa.concat_arrays([array, ends])
    return array


@pytest.mark.parametrize(
    ("name", "kind", "is_copied"),
    [
        pytest.param(name, kind, is_copied, id=f"{name} of {kind}")
        for kinds, is_copied in ((EXACT, True), (INEXACT, False))
        for name, each in kinds.items()
        for kind in each
    ],
)
def test_columns_of_every_type(
    name: str, kind: pa.DataType, is_copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = column_of(name, kind)
    table = pa.Table.from_pylist(
        [dict(GOOD) | {"event_id": str(number)} for number in range(len(column))],
        pa.schema({each: USAGE_TYPES[each] for each in GOOD}),
    )
    place = table.schema.get_field_index(name)
    table = table.append_column(name, column) if place < 0 else table.set_column(place, name, column)
    typed, kept = both_ways(tmp_path, "usage", {"usage/x.parquet": written(table)}, monkeypatch)
    same(typed, kept)
    assert kept.kept == ["usage/x.parquet"]
    assert bool(kept.copied) is is_copied


def with_column(name: str, values: list[object], *, first: bool = False) -> bytes:
    table = pa.Table.from_pylist([dict(GOOD)] * len(values), pa.schema({each: USAGE_TYPES[each] for each in GOOD}))
    return written(table.add_column(0 if first else table.num_columns, name, pa.array(values)))


TYPED_ANYWAY: dict[str, bytes] = {
    "a zero byte in a required text": parquet("usage", [GOOD, GOOD | {"event_id": "e\x00"}]),
    "a zero byte in another text": parquet("usage", [GOOD, GOOD | {"value": "\x00"}]),
    **{
        f"{name} {place}": with_column(name, ["a", "b"], first=place == "first")
        for name in ("Subscription_ID", "EVENT_ID", "filename", "File_Row_Number", "file_index")
        for place in ("first", "last")
    },
    "two others of one name": written(
        pa.Table.from_arrays(
            [pa.array([value], USAGE_TYPES[name]) for name, value in GOOD.items()] + [pa.array(["a"])] * 2,
            names=[*GOOD, "note", "Note"],
        )
    ),
}


@pytest.mark.parametrize("content", TYPED_ANYWAY.values(), ids=TYPED_ANYWAY)
def test_a_file_whose_test_could_mislead_is_typed_anew(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's names know no case; a zero byte is found by reading the texts alone."""
    typed, kept = both_ways(tmp_path, "usage", {"usage/x.parquet": content}, monkeypatch)
    same(typed, kept)
    assert (kept.kept, kept.copied) == (["usage/x.parquet"], [])


def test_a_zero_byte_in_a_row_that_is_refused_anyway_misleads_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = parquet("usage", [GOOD, GOOD | {"event_id": "e\x00", "quantity": Decimal(-1)}])
    typed, kept = both_ways(tmp_path, "usage", {"usage/x.parquet": content}, monkeypatch)
    same(typed, kept)
    assert kept.copied == ["usage/x.parquet"]


def lines_as_csv(feed: str) -> bytes:
    return as_csv(feed, lines_of(feed))


def with_blank_lines(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n").replace(b"\r\n", b"\r\n\r\n", 3)


CSV_FILES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": (".csv", bytes),
    "packed": (".csv.gz", gzip.compress),
    "with blank lines and CRLF": (".csv", with_blank_lines),
}


@pytest.mark.parametrize("kind", CSV_FILES)
def test_rows_and_refusals_of_csv_are_those_of_small_files(
    kind: str, feed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix, changed = CSV_FILES[kind]
    name = f"{feed}/x{suffix}"
    typed, kept = both_ways(tmp_path, feed, {name: changed(lines_as_csv(feed))}, monkeypatch)
    same(typed, kept)
    assert (kept.kept, kept.copied) == ([name], [])
    assert len(kept.refused) > 8


def test_a_csv_file_with_a_line_that_is_no_row_is_typed_with_others(
    feed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, first, rest = lines_as_csv(feed).split(b"\n", 2)
    content = b"\n".join([header, first, b"a,b", rest])
    typed, kept = both_ways(tmp_path, feed, {f"{feed}/x.csv": content}, monkeypatch)
    same(typed, kept)
    assert kept.kept == []
    assert 2 in {row["row_number"] for row in kept.refused}


def test_files_of_several_shapes_are_read_each_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine reads all files of one call as the types of the first: 1.5 would become 2."""
    half = [GOOD | {"quantity": Decimal("1.5")}]
    whole = [GOOD | {"quantity": 3}]
    table = pq.read_table(io.BytesIO(parquet("usage", half)))
    files = {
        "usage/a.parquet": parquet("usage", whole, quantity=pa.int64()),
        "usage/b.parquet": parquet("usage", half),
        "usage/c.parquet": parquet("usage", whole * 2, quantity=pa.int64()),
        "usage/d.parquet": parquet("usage", half, occurred_at=pa.timestamp("us")),
        "usage/e.parquet": written(table.select(table.column_names[::-1])),
        "usage/f.parquet": written(table.append_column("extra", pa.array(["a"]))),
        "usage/g.parquet": written(table.append_column("revision", pa.array([3]))),
        "usage/it's * [g].parquet": parquet("usage", half * 2),
    }
    typed, kept = both_ways(tmp_path, "usage", files, monkeypatch)
    same(typed, kept)
    assert kept.copied == sorted(files)
    assert [row["quantity"] for row in kept.rows.to_pylist()][:3] == [3, Decimal("1.5"), 3]


@pytest.mark.parametrize("is_large", [True, False])
def test_only_a_file_of_many_rows_is_kept(is_large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "ROWS_MIN", len(USAGE) + (0 if is_large else 1))
    assert bool(TakenIn(tmp_path, "usage", {"usage/x.parquet": parquet("usage", USAGE)}).kept) is is_large


@pytest.mark.usefixtures("kept_from_one_row_on")
def test_a_damaged_file_is_refused_by_name_or_read(tmp_path: Path) -> None:
    whole = parquet("usage", USAGE)
    faults = []
    for place in range(4, len(whole), 97):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        write(tmp_path / "input", CUSTOMER | {"usage/x.parquet": damaged})
        with Night(settings_of(tmp_path, NIGHTS[0])) as night:
            try:
                night.ingest()
            except BadInput as error:
                faults.append(error.faults)
    assert len(faults) > 5
    assert {len(each) for each in faults} == {1}, "refused by its copy and by itself"
    assert [fault for (fault,) in faults if not fault.startswith("usage/x.parquet: ")] == []


@pytest.mark.usefixtures("kept_from_one_row_on")
@pytest.mark.parametrize("change", ["written to", "taken away"])
def test_a_file_that_changes_while_it_is_copied_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile = shutil.copyfile

    def changing(source: Path, target: Path) -> None:
        if change == "taken away":
            source.unlink()
        copyfile(source, target)
        source.write_bytes(source.read_bytes() + b"x")

    monkeypatch.setattr(shutil, "copyfile", changing)
    with pytest.raises(BadInput, match=r"usage/x\.parquet: changed while it was read"):
        TakenIn(tmp_path, "usage", {"usage/x.parquet": parquet("usage", USAGE)})


# ---- bills: three nights, the second corrects the first's invoice

LATE: list[Row] = [
    GOOD | {"event_id": "late", "quantity": Decimal(30)},
    GOOD | {"event_id": "revised", "revision": 2, "quantity": Decimal(1)},
    GOOD | {"event_id": "refused again", "quantity": Decimal(-3)},
]
NEXT: list[Row] = [
    GOOD | {"event_id": "next", "occurred_at": at("2024-02-15T00:00"), "subscription_id": subscription}
    for subscription in ("S1", "S2")
]
WAYS = {
    "CSV": (as_csv, 10**9),
    "large CSV": (as_csv, 1),
    "Parquet of texts": (as_text_parquet, 10**9),
    "large Parquet of texts": (as_text_parquet, 1),
    "small Parquet": (parquet, 10**9),
    "large Parquet": (parquet, 1),
}
TABLES = ("invoices", "invoice_lines", "usage_history", "alerts", "credit_ledger", "held_invoices")


def three_nights(folder: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    written_as, rows_min = WAYS[way]
    suffix = "csv" if way.endswith("CSV") else "parquet"
    monkeypatch.setattr(originals, "ROWS_MIN", rows_min)
    exports = (("usage/1", USAGE), ("cart_events/1", CARTS)), (("usage/2", LATE),), (("usage/3", NEXT),)
    for night, files in zip(NIGHTS, exports, strict=True):
        made = {f"{name}.{suffix}": written_as(name.split("/")[0], lines) for name, lines in files}
        without = {name: text for name, text in CUSTOMER.items() if not name.startswith("cart_events")}
        bill(folder, night, without | made, max_rejected=1)
    return folder


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The same rows brought in each of the ways."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield {way: three_nights(tmp_path_factory.mktemp("billed"), way, monkeypatch) for way in WAYS}


def table_of(folder: Path, table: str) -> list[tuple[Any, ...]]:
    """A published table; lines name the files that their rows came from."""
    found = rows(folder, f"from {table} order by all")
    return [tuple(each.replace(".csv", ".parquet") if isinstance(each, str) else each for each in row) for row in found]


def refused_rows(folder: Path) -> list[tuple[Any, ...]]:
    """Without the kind of file, and whether nothing was an empty text."""
    found = rows(folder, "select * replace (split_part(file, '.', 1) as file) from rejected_rows order by all")
    return [tuple(raw_of(value) for value in row) for row in found]


def raw_of(value: object) -> object:
    if not isinstance(value, str) or not value.startswith("{"):
        return value
    return sorted((name, text or None) for name, text in json.loads(value).items())


@pytest.mark.parametrize("way", WAYS)
def test_the_same_rows_give_the_same_bill_whichever_way_they_come(way: str, billed: dict[str, Path]) -> None:
    folder, expected = billed[way], billed["CSV"]
    kept = sorted(path.name for path in (folder / "output" / "current" / "kept").glob("*_files/*"))
    originals_kept = ["000001_0001.parquet", "000001_0002.parquet", "000002_0001.parquet", "000003_0001.parquet"]
    assert kept == (originals_kept if way.startswith("large") else [])
    for table in TABLES:
        assert table_of(folder, table) == table_of(expected, table), table
    assert refused_rows(folder) == refused_rows(expected)
    assert rows(folder, "select count(*) from invoices where kind = 'correction'") == [(1,)]


def test_published_bytes_are_those_of_small_files(billed: dict[str, Path]) -> None:
    """Only the rows about the runs name what went in."""
    small, large = (published_bytes(billed[way]) for way in ("small Parquet", "large Parquet"))
    assert {name for name in small if small[name] != large[name]} == set()


def test_a_folder_written_before_files_were_kept_goes_on(
    billed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifests stay the same to the byte, and its typed rows are read beside the files kept since."""
    folder = tmp_path / "output"
    small = billed["small Parquet"]
    before = (small / "output" / "manifests" / "000001.json").read_bytes()
    assert b"kept_as" not in before
    monkeypatch.setattr(originals, "ROWS_MIN", 10**9)
    copied(small / "input", tmp_path / "input")
    for name in ("usage/2.parquet", "usage/3.parquet"):
        (tmp_path / "input" / name).unlink()
    bill(tmp_path, NIGHTS[0], max_rejected=1)
    monkeypatch.setattr(originals, "ROWS_MIN", 1)
    bill(tmp_path, NIGHTS[1], {"usage/2.parquet": parquet("usage", LATE)}, max_rejected=1)
    bill(tmp_path, NIGHTS[2], {"usage/3.parquet": parquet("usage", NEXT)}, max_rejected=1)
    for table in TABLES:
        assert table_of(tmp_path, table) == table_of(small, table), table
    assert refused_rows(tmp_path) == refused_rows(small)
    assert len(list((folder / "current" / "kept" / "usage_files").iterdir())) == 2


@pytest.mark.usefixtures("kept_from_one_row_on")
def test_a_preview_reads_the_input_and_copies_nothing(
    billed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(billed["large Parquet"], tmp_path)
    more = [GOOD | {"event_id": "previewed", "occurred_at": at("2024-03-15T00:00"), "quantity": Decimal(70)}]
    write(folder / "input", {"usage/4.parquet": parquet("usage", more)})
    monkeypatch.setattr(shutil, "copyfile", None)
    with Night(settings_of(folder, date(2024, 4, 10), max_rejected=1), is_preview=True) as night:
        night.ingest()
        night.rate()
        lines = night.relation("invoice_lines").to_pylist()
    assert [line["amount"] for line in lines if line["charge"] == "messages"] == [Decimal("7.0000")]
    assert not list((folder / "output").rglob("000004*"))


# ---- the output folder


def test_originals_are_kept_to_the_byte_listed_by_hash_and_shared_by_the_nights(billed: dict[str, Path]) -> None:
    folder = billed["large Parquet"]
    nights = folder / "output" / "nights"
    name = "kept/usage_files/000002_0001.parquet"
    kept = nights / "000003" / name
    assert kept.read_bytes() == (folder / "input" / "usage" / "2.parquet").read_bytes()
    manifest = json.loads((folder / "output" / "manifests" / "000002.json").read_text())
    assert manifest["files"][name] == hash_of(kept)
    assert {record["name"]: record.get("kept_as") for record in manifest["inputs"]}["usage/2.parquet"] == name
    assert kept.samefile(nights / "000002" / name)
    assert {kept.stat().st_nlink} == {2}
    assert oct(kept.stat().st_mode)[-3:] == "640"
    assert rows(folder, "select run_id from runs order by all") == [("000001",), ("000002",), ("000003",)]


def test_a_typed_file_holds_only_the_rows_of_files_that_are_not_kept(billed: dict[str, Path]) -> None:
    kept = billed["large Parquet"] / "output" / "current" / "kept"
    assert pq.read_metadata(kept / "usage" / "000001.parquet").num_rows == 0
    assert not (kept / "usage" / "000002.parquet").exists()


@pytest.mark.usefixtures("kept_from_one_row_on")
def test_publishing_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "input", CUSTOMER | {"usage/1.parquet": parquet("usage", USAGE)})
    with Night(settings_of(tmp_path, NIGHTS[0], max_rejected=1)) as night:
        night.ingest()
        night.rate()
        with monkeypatch.context() as failing:
            failing.setattr(store, "write_views", None)
            with pytest.raises(TypeError):
                night.publish()
        assert night.publish().run_id == "000001"
    assert examine(tmp_path / "output", tmp_path / "input") == []


def test_a_record_without_a_copy_is_written_as_before() -> None:
    record = InputRecord("usage", "usage/1.csv", 1, 2, "hash", 1, 3)
    assert list(json.loads(Manifest(inputs=(record,)).to_json())["inputs"][0]) == sorted(
        vars(record).keys() - {"kept_as"}
    )


# ---- damage


def damaged(path: Path, how: str) -> None:
    """One file under all of its names, or that name alone."""
    if how == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:50] + bytes([content[50] ^ 16]) + content[51:])


@pytest.mark.usefixtures("kept_from_one_row_on")
@pytest.mark.parametrize("way", ["large Parquet", "large CSV"])
@pytest.mark.parametrize("how", ["one bit", "gone"])
def test_a_damaged_original_is_named_stops_the_run_and_is_rebuilt(
    how: str, way: str, billed: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(billed[way], tmp_path)
    path = folder / "output" / "nights" / "000003" / "kept" / "usage_files" / "000002_0001.parquet"
    whole = path.read_bytes()
    damaged(path, how)
    (found,) = examine(folder / "output", None)
    assert found.path == path
    assert "keeps a large input file of run 000002" in str(found)
    repeat = {"usage/4.parquet": parquet("usage", LATE[:1])}
    with pytest.raises(BadInput, match=r"000002_0001\.parquet: is "):
        bill(folder, date(2024, 4, 10), repeat, max_rejected=1)
    (mended,) = mend(folder / "output", folder / "input")
    assert mended.is_mended
    assert path.read_bytes() == whole
    assert bill(folder, date(2024, 4, 10), max_rejected=1).run_id == "000004"


@pytest.mark.usefixtures("kept_from_one_row_on")
@pytest.mark.parametrize("way", ["large Parquet", "large CSV"])
def test_every_damaged_file_of_nights_with_originals_is_rebuilt(
    way: str, billed: dict[str, Path], tmp_path: Path
) -> None:
    """By running the nights once more: the copies come out the same, and what was made from them."""
    folder = copied(billed[way], tmp_path)
    for path in (folder / "output" / "nights").rglob("*.parquet"):
        path.unlink()
    assert [str(each) for each in mend(folder / "output", folder / "input") if not each.is_mended] == []
    assert published_bytes(folder) == published_bytes(billed[way])


def test_an_original_is_rebuilt_from_its_own_input_file_alone(billed: dict[str, Path], tmp_path: Path) -> None:
    """Under whatever name, though no night can be run again."""
    folder = copied(billed["large Parquet"], tmp_path)
    (folder / "input" / "accounts" / "1.csv").unlink()
    (folder / "input" / "usage" / "1.parquet").rename(folder / "input" / "usage" / "renamed.parquet")
    for path in (folder / "output" / "nights").rglob("kept/usage_files/000001_0002.parquet"):
        path.unlink()
    found = mend(folder / "output", folder / "input")
    assert {each.path.name for each in found if each.is_mended} == {"000001_0002.parquet"}
