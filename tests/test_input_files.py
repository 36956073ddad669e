"""Which files of an input folder are read, and that a file which cannot be trusted is refused by its name."""

import gzip
import io
import os
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.folders import CART_EVENTS, ONE_CUSTOMER, bill, csv_text, rows, write
from usage_rating.errors import BadInput
from usage_rating.input_files import CheckedFile, check, files_in

AS_OF = date(2024, 2, 10)
EVENTS = csv_text(CART_EVENTS, "S1,c2,2024-01-12,Standard,active", "S1,c3,2024-01-13,Standard,active").encode()


def parquet_of(**columns: list[str]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


PARQUET = parquet_of(
    subscription_id=["S1"], cart_id=["c2"], occurred_at=["2024-01-12"], category=["Standard"], state=["active"]
)


def checked(folder: Path, *, allow_missing_final_newline: bool = False) -> list[CheckedFile]:
    return check(files_in(folder), allow_missing_final_newline=allow_missing_final_newline)


def faults_of(folder: Path, name: str, content: bytes) -> list[str]:
    """What is said of one more file beside good ones; nothing if it is accepted."""
    write(folder, ONE_CUSTOMER | {name: content})
    try:
        checked(folder)
    except BadInput as error:
        return error.faults
    finally:
        (folder / name).unlink()
    return []


# ---- files that are cut, empty or damaged

UNTRUSTED = {
    "cut CSV": ("cart_events/2.csv", EVENTS[:-1], "does not end with a newline"),
    "cut inside a number": ("usage/1.csv", b"subscription_id,event_id,meter,quantity,occurred_at\nS,e,m,1", "newline"),
    "no byte": ("cart_events/2.csv", b"", "is empty; expected a header with subscription_id, cart_id"),
    "a byte order mark alone": ("cart_events/2.csv", b"\xef\xbb\xbf\n", "lacks the required column subscription_id"),
    "a blank line alone": ("cart_events/2.csv", b"\n", "lacks the required column subscription_id"),
    "no byte in gzip": ("cart_events/2.csv.gz", gzip.compress(b""), "is empty"),
    "no gzip": ("cart_events/2.csv.gz", EVENTS, "cannot be read: Not a gzipped file"),
    "gzip and more": ("cart_events/2.csv.gz", gzip.compress(EVENTS) + b"more", "cannot be read"),
    "a changed gzip": ("cart_events/2.csv.gz", gzip.compress(EVENTS)[:-8] + bytes(8), "cannot be read"),
    "CSV cut before gzip": ("cart_events/2.csv.gz", gzip.compress(EVENTS[:-1]), "does not end with a newline"),
    "no zstd": ("cart_events/2.csv.zst", EVENTS, "cannot be read"),
    "zstd and more": ("cart_events/2.csv.zst", zstandard.compress(EVENTS) + b"more", "cannot be read"),
    "CSV cut before zstd": ("cart_events/2.csv.zst", zstandard.compress(EVENTS[:-1]), "does not end with a newline"),
    "empty Parquet": ("cart_events/2.parquet", b"", "cannot be read"),
    "Parquet cut at its end": ("cart_events/2.parquet", PARQUET[:-1], "cannot be read"),
    "text for Parquet": ("cart_events/2.parquet", EVENTS, "cannot be read"),
    "a column twice": (
        "cart_events/2.csv",
        csv_text(f"{CART_EVENTS},state,state", "S1,c2,2024-01-12,Standard,active,active,active").encode(),
        "has the column state more than once",
    ),
    "a name in capitals": (
        "cart_events/2.csv",
        EVENTS.replace(b"cart_id", b"Cart_ID"),
        "lacks the required column cart_id",
    ),
    "a name with a space": (
        "cart_events/2.csv",
        EVENTS.replace(b",state", b", state"),
        "lacks the required column state",
    ),
    "a spreadsheet": ("cart_events/2.xlsx", b"PK", "not a kind of file that is read. Expected .csv, .csv.gz, .csv.zst"),
    "no suffix": ("cart_events/2", EVENTS, "not a kind of file that is read"),
    "another compression": ("cart_events/2.csv.bz2", EVENTS, "not a kind of file that is read"),
}


@pytest.mark.parametrize("fault", UNTRUSTED)
def test_a_file_that_cannot_be_trusted_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    name, content, said = UNTRUSTED[fault]
    faults = faults_of(tmp_path, name, content)
    assert faults, "accepted"
    assert all(line.startswith(f"{name}: ") for line in faults)
    assert said in faults[0]


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst"])
def test_a_compressed_file_cut_at_any_byte_is_refused(suffix: str, tmp_path: Path) -> None:
    whole = gzip.compress(EVENTS) if suffix == ".csv.gz" else zstandard.compress(EVENTS)
    name = f"cart_events/2{suffix}"
    accepted = [end for end in range(len(whole)) if not faults_of(tmp_path, name, whole[:end])]
    assert accepted == []
    assert faults_of(tmp_path, name, whole) == []


def test_a_file_without_its_final_newline_is_read_if_it_is_said_to_be_whole(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "cart_events/2.csv": EVENTS[:-1],
        "cart_events/3.csv.gz": gzip.compress(EVENTS.replace(b"S1,c", b"S1,d")[:-1]),
        "cart_events/4.csv": CART_EVENTS,
    }
    with pytest.raises(BadInput) as error:
        bill(tmp_path, AS_OF, ONE_CUSTOMER | files)
    assert [fault.partition(":")[0] for fault in error.value.faults] == list(files)
    assert "--allow-missing-final-newline" in error.value.faults[0]
    report = bill(tmp_path, AS_OF, allow_missing_final_newline=True)
    assert [invoices.total for invoices in report.invoices] == [5 * 40]


def test_compressed_parts_joined_into_one_file_are_all_read(tmp_path: Path) -> None:
    """`cat a.gz b.gz` is a gzip file, and so with zstd."""
    lines = EVENTS.splitlines(keepends=True)
    parts = [b"".join(lines[:2]), lines[2]]
    files = {
        "cart_events/2.csv.gz": b"".join(map(gzip.compress, parts)),
        "cart_events/3.csv.zst": b"".join(zstandard.compress(part.replace(b"S1,c", b"S1,d")) for part in parts),
    }
    report = bill(tmp_path, AS_OF, ONE_CUSTOMER | files)
    assert [invoices.total for invoices in report.invoices] == [5 * 40]


def test_every_faulty_file_column_and_card_is_named_at_once(tmp_path: Path) -> None:
    two_of_a_name = pa.table(
        [["S1"], ["c"], ["2024-01-12"], ["a"], ["b"], ["active"]],
        names=[
            "subscription_id",
            "cart_id",
            "occurred_at",
            "category",
            "category",
            "state",
        ],
    )
    pq.write_table(two_of_a_name, tmp_path / "two.parquet")
    files = ONE_CUSTOMER | {
        "accounts/1.csv": "id,created\nA1,2024-01-10\n",
        "cart_events/2.csv": "subscription_id,cart_id,state\n",
        "cart_events/3.csv.gz": b"",
        "cart_events/4.parquet": parquet_of(subscription_id=["S1"], cart_id=["c"], occurred_at=["x"], state=["active"]),
        "cart_events/5.parquet": (tmp_path / "two.parquet").read_bytes(),
        "usage/1.csv": "usage",
        "rate_cards/carts.v1.yaml": "rate_card: carts\n",
    }
    with pytest.raises(BadInput) as error:
        bill(tmp_path, AS_OF, files)
    expected = [
        ("accounts/1.csv", "lacks the required column account_id"),
        ("accounts/1.csv", "lacks the required column created_at"),
        ("cart_events/2.csv", "lacks the required column occurred_at"),
        ("cart_events/2.csv", "lacks the required column category"),
        ("cart_events/3.csv.gz", "is empty"),
        ("cart_events/4.parquet", "lacks the required column category"),
        ("cart_events/5.parquet", "has the column category more than once"),
        ("usage/1.csv", "newline"),
        ("rate_cards/carts.v1.yaml", "lacks the key 'version'"),
    ]
    for (name, text), fault in zip(expected, error.value.faults, strict=False):
        assert fault.startswith(f"{name}: "), error.value.faults
        assert text in fault
    assert not (tmp_path / "output" / "current").exists()


# ---- which files are read


def test_files_are_read_from_subfolders_and_hidden_ones_are_not(tmp_path: Path) -> None:
    write(tmp_path, ONE_CUSTOMER)
    read = ["cart_events/2024/01/a.csv", "cart_events/2024/b.csv", "cart_events/c.csv.d/e.csv"]
    hidden = [
        "cart_events/.f.csv",
        "cart_events/_f.csv",
        "cart_events/.tmp/f.csv",
        "cart_events/_tmp/f.txt",
        "cart_events/.DS_Store",
    ]
    write(tmp_path, dict.fromkeys([*read, *hidden], EVENTS))
    names = [file.name for file in files_in(tmp_path) if file.feed == "cart_events"]
    assert names == ["cart_events/1.csv", *read]


def test_a_feed_that_is_absent_or_empty_is_no_rows(tmp_path: Path) -> None:
    files = {name: content for name, content in ONE_CUSTOMER.items() if not name.startswith("cart_events")}
    (tmp_path / "input" / "cart_snapshots").mkdir(parents=True)
    bill(tmp_path, AS_OF, files | {"usage/1.csv": "subscription_id,event_id,meter,quantity,occurred_at\n"})
    assert rows(tmp_path, "select total from invoices") == [(0,)]


def test_feeds_that_must_exist_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "input" / "accounts").mkdir(parents=True)
    with pytest.raises(BadInput) as error:
        bill(tmp_path, AS_OF, {"usage/1.txt": ""})
    assert [fault.partition(":")[0] for fault in error.value.faults] == [
        "accounts/",
        "subscriptions/",
        "usage/1.txt",
        "rate_cards/",
    ]
    assert "with columns account_id, created_at" in error.value.faults[0]


def test_a_missing_input_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such input folder"):
        bill(tmp_path, AS_OF)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    """A pipe would hang the run; a link to nothing is an export that did not arrive."""
    write(tmp_path, ONE_CUSTOMER)
    os.mkfifo(tmp_path / "cart_events" / "pipe.csv")
    (tmp_path / "cart_events" / "gone.csv").symlink_to("nowhere.csv")
    with pytest.raises(BadInput) as error:
        files_in(tmp_path)
    assert [fault.partition(":")[0] for fault in error.value.faults] == [
        "'cart_events/gone.csv'",
        "'cart_events/pipe.csv'",
    ]


def test_a_linked_folder_is_read_or_refused_but_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "input", ONE_CUSTOMER)
    write(tmp_path / "elsewhere", {"2.csv": EVENTS})
    (tmp_path / "input" / "cart_events" / "linked").symlink_to(tmp_path / "elsewhere")
    try:
        said = [file.name for file in files_in(tmp_path / "input")]
    except BadInput as error:
        said = error.faults
    assert [text for text in said if "linked" in text]


def test_folders_and_exports_that_are_no_feed_are_said(tmp_path: Path) -> None:
    """A misspelt feed would bill nothing."""
    files: dict[str, str | bytes] = {
        "cart_event/1.csv": EVENTS,
        "cart_events.csv": EVENTS,
        ".git/x": "",
        "README.md": "",
    }
    notes = bill(tmp_path, AS_OF, ONE_CUSTOMER | files).notes
    assert [note.split()[2].rstrip("/") for note in notes] == ["cart_event", "cart_events.csv"]


# ---- files seen before


def test_bytes_taken_in_before_add_nothing_under_another_name(tmp_path: Path) -> None:
    same = {"cart_events/1 copy.csv": ONE_CUSTOMER["cart_events/1.csv"], "cart_events/2.csv": EVENTS}
    first = bill(tmp_path, AS_OF, ONE_CUSTOMER | same)
    assert [(feed.files, feed.rows) for feed in first.feeds if feed.feed == "cart_events"] == [(2, 3)]
    assert [note for note in first.notes if "adds nothing" in note] == [
        "adds nothing: cart_events/1.csv has the bytes of cart_events/1 copy.csv"
    ]
    again = bill(tmp_path, AS_OF, {"cart_events/2024/2.csv": EVENTS})
    assert again.run_id is None
    assert "adds nothing: cart_events/2024/2.csv has the bytes of cart_events/2.csv" in again.notes


def test_other_bytes_under_a_known_name_are_read_too(tmp_path: Path) -> None:
    """What was taken in stays: the rows of both count."""
    bill(tmp_path, date(2024, 2, 9), ONE_CUSTOMER)
    report = bill(tmp_path, AS_OF, {"cart_events/1.csv": EVENTS})
    assert report.notes == ["delivered anew: cart_events/1.csv has other bytes than before"]
    assert rows(tmp_path, "select quantity from invoice_lines") == [(3,)]


def test_a_file_that_is_gone_stays_counted(tmp_path: Path) -> None:
    bill(tmp_path, date(2024, 2, 9), ONE_CUSTOMER)
    (tmp_path / "input" / "cart_events" / "1.csv").unlink()
    bill(tmp_path, AS_OF)
    assert rows(tmp_path, "select quantity from invoice_lines") == [(1,)]


def test_a_file_touched_without_a_change_is_no_new_one(tmp_path: Path) -> None:
    bill(tmp_path, AS_OF, ONE_CUSTOMER)
    os.utime(tmp_path / "input" / "cart_events" / "1.csv", (0, 0))
    assert bill(tmp_path, AS_OF).run_id is None
