"""Text made to break parsers, paths, SQL and spreadsheets comes out as it went in, or in a refused row."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import pytest

from tests import oracle, oracle_bill
from tests.comparison import first_difference, run
from tests.oracle import World
from tests.worlds import columns_of, csv_of, write_world
from usage_rating.errors import BadInput

AS_OF = date(2024, 4, 1)

TEXTS = [
    "\"quoted\" and 'quoted'",
    '"',
    "two\nlines",
    "two\r\nlines",
    "a\rreturn",
    "a,b;c|d\te",
    "../../up/and/away",
    "C:\\folder\\file",
    "x" * 300,
    "é" * 150,
    "=1+1",
    '=HYPERLINK("http://example.org";"x")',
    "@x",
    "-2",
    "+3",
    "\t=tab",
    "\r=return",
    "'=1+1",
    "日本語のカート",
    "עברית عربي",
    "'; drop table invoices; --",
    "%s {0} $as_of $1 {{ x }} ${x}",
    "🛒👩‍👩‍👧",  # one picture of three people, joined by characters without width
    "007",
    "7",
    " 7",
    "7 ",
    " ",
    "0.10",
    "1e5",
    "NULL",
    "null",
    "nan",
    "true",
    "2024-01-01",
    "caf\u00e9",
    "cafe\u0301",
    "\ufeffmark",
    "\u202eturned",
    "bell\x07",
    "__HIVE_DEFAULT_PARTITION__",
    "key=value",
]
RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


def card_of(text: str, number: int) -> dict[str, object]:
    """A rate card whose every name is the text."""
    return {
        "rate_card": text,
        "version": 1,
        "effective_from": date(2020, 1, 1),
        "reason": text,
        "currency": "USD",
        "time_zone": "UTC",
        "cycle": {"every": "1 month", "anchor": "calendar"},
        "grace_days": 0,
        "payment_days": number,
        "rounding": "half_up",
        "settlement": "invoice",
        "plans": {text: {text: {"kind": "peak", "category": text, "price": {"per_unit": "1.00"}}}},
    }


def hostile_world(suffix: str) -> World:
    """For each text an account, a subscription, a card and a cart in every subscription; and refused rows."""
    start = "2024-03-01T00:00:00Z"
    texts_before = dict(zip(TEXTS, [None, *TEXTS], strict=False))
    accounts = [
        {"account_id": text, "created_at": start, "name": text, "master_account_id": texts_before[text]}
        for text in TEXTS
    ]
    subscriptions = [
        {
            "subscription_id": text,
            "effective_at": start,
            "account_id": text,
            "rate_card": text,
            "plan": text,
            "event": "started",
        }
        for text in TEXTS
    ]
    carts = [
        {
            "subscription_id": text,
            "cart_id": cart_id,
            "occurred_at": "2024-03-02",
            "category": text,
            "state": "active",
        }
        for text in TEXTS
        for cart_id in TEXTS
    ]
    refused = [dict.fromkeys(oracle.FEEDS["cart_events"][1], text) for text in TEXTS]
    unknown = [{**row, "subscription_id": f"no {row['subscription_id']}"} for row in carts[:: len(TEXTS) + 1]]
    files: dict[str, Sequence[Mapping[str, str | None]]] = {
        f"accounts/a{suffix}": accounts,
        f"subscriptions/s{suffix}": subscriptions,
        f"cart_events/c{suffix}": carts + refused + unknown,
    }
    return World(files, [card_of(text, number) for number, text in enumerate(TEXTS)])


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_hostile_text_comes_out_as_it_went_in(suffix: str, tmp_path: Path) -> None:
    """Every id, plan, charge, category and card name; the refused rows hold the raw text of every column."""
    world = hostile_world(suffix)
    ran = run(world, tmp_path, AS_OF)
    difference = first_difference(ran, oracle_bill.rate(world, AS_OF))
    assert difference is None, difference
    assert {row["account_id"] for row in ran.published["invoices"]} == set(TEXTS)
    assert {row["quantity"] for row in ran.published["invoice_lines"]} == {len(TEXTS)}
    rows = world.files[f"cart_events/c{suffix}"]
    for refused in ran.published["rejected_rows"]:
        raw, written = json.loads(refused["raw"]), dict(rows[refused["row_number"] - 1])
        if refused["status"] == "held":  # typed before it was held: its instant may be written otherwise
            del written["occurred_at"]
        assert {name: raw[name] for name in written} == written


def test_line_ends_of_windows_are_no_part_of_the_text(tmp_path: Path) -> None:
    """Records end in CRLF, and quoted fields hold line ends of every kind."""
    world = hostile_world(".csv")
    write_world(world, tmp_path / "input")
    for name, rows in world.files.items():
        text = csv_of(columns_of(name, rows), rows, line_end="\r\n")
        (tmp_path / "input" / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    difference = first_difference(run(world, tmp_path, AS_OF), oracle_bill.rate(world, AS_OF))
    assert difference is None, difference


def test_a_spreadsheet_runs_nothing_of_an_export(tmp_path: Path) -> None:
    """No cell begins as a formula; behind the apostrophe of an escaped one stands the text as it went in."""
    run(hostile_world(".csv"), tmp_path, AS_OF)
    command = Path(sys.executable).with_name("usage-rating")
    folders = ["--output", str(tmp_path / "output"), "--to", str(tmp_path / "to")]
    subprocess.run(
        [command, "export", "--month", "2024-04", "--format", "csv", *folders],
        check=True,
        capture_output=True,
    )
    seen: set[str] = set()
    for path in (tmp_path / "to").rglob("*.csv"):
        for row in csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")):
            assert not [cell for cell in row.values() if cell.startswith(RUN_BY_SPREADSHEETS)], row
            seen.update(row[name] for name in ("account_id", "charge", "plan", "rate_card") if name in row)
    expected = {f"'{text}" if text.startswith(RUN_BY_SPREADSHEETS) else text for text in TEXTS}
    assert expected <= seen


FILE_NAMES = [
    "=1+1.csv",
    "@x.csv",
    "-2.csv",
    'it\'s "quoted".csv',
    "[a]*?{b}.csv",
    "'; drop table invoices; --.csv",
    "日本 語.csv",
    "🛒.csv",
    " led by a space.csv",
    "a..b.csv",
    "%s $1 {x}.csv",
    "category=Premium/part.parquet",
    "state=deleted/part.csv",
    "x" * 240 + ".csv",
]


def test_hostile_file_names_are_read_and_listed_as_they_are(tmp_path: Path) -> None:
    """Each file switches one cart on and holds one wrong row."""
    text = "carts"
    base = hostile_world(".csv")
    card = card_of(text, 0)
    card["plans"] = {"p": {"c": {"kind": "peak", "category": "Standard", "price": {"per_unit": "1.00"}}}}
    start = {
        "subscription_id": "S",
        "effective_at": "2024-03-01",
        "account_id": "7",
        "rate_card": text,
        "plan": "p",
    }
    files: dict[str, list[dict[str, str | None]]] = {
        "accounts/a.csv": [dict(base.files["accounts/a.csv"][TEXTS.index("7")])],
        "subscriptions/s.csv": [{**start, "event": "started"}],
    }
    for name in FILE_NAMES:
        row = {"subscription_id": "S", "cart_id": name, "occurred_at": "2024-03-02", "category": "Standard"}
        files[f"cart_events/{name}"] = [{**row, "state": "active"}, {**row, "state": "on"}]
    world = World(files, [card])
    ran = run(world, tmp_path, AS_OF)
    difference = first_difference(ran, oracle_bill.rate(world, AS_OF))
    assert difference is None, difference
    assert [line["quantity"] for line in ran.published["invoice_lines"]] == [len(FILE_NAMES)]


def test_a_file_name_that_would_break_a_report_stops_the_run(tmp_path: Path) -> None:
    """A line end in a file name could forge a line of the run's report."""
    write_world(hostile_world(".csv"), tmp_path / "input")
    (tmp_path / "input/cart_events/two\nlines.csv").write_text("cart_id\n")
    with pytest.raises(BadInput):
        run(hostile_world(".csv"), tmp_path, AS_OF)
