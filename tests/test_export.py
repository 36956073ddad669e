"""A month's files for finance: what they hold, how figures and text are written, and that the totals add up."""

import csv
import hashlib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from tests.folders import ACCOUNTS, CARD, CART_EVENTS, SUBSCRIPTIONS, bill, csv_text
from usage_rating.errors import BadInput
from usage_rating.export import export_month

FORMULA = '=HYPERLINK("http://example.org")'
CARDS = {"dollars": ("USD", "40.005"), "yen": ("JPY", "1234"), "dinars": ("KWD", "1.2345")}
# One account a card; the first cycle ends on 31 January, 1 February and 29 February. The dollars' account is a formula.
ACCOUNT_IDS = {"dollars": FORMULA, "yen": "A2", "dinars": "A3"}
STARTS = {"dollars": "2023-12-31", "yen": "2024-01-01", "dinars": "2024-01-29"}


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with invoices of three currencies, up to 31 March."""
    folder = tmp_path_factory.mktemp("export")
    files: dict[str, str | bytes] = {
        "accounts/1.csv": csv_text(
            ACCOUNTS, *(f"{quoted(ACCOUNT_IDS[name])},{start},UTC" for name, start in STARTS.items())
        ),
        "subscriptions/1.csv": csv_text(
            SUBSCRIPTIONS,
            *(f"S-{name},{start},{quoted(ACCOUNT_IDS[name])},{name},basic,started" for name, start in STARTS.items()),
        ),
        "cart_events/1.csv": csv_text(
            CART_EVENTS, *(f"S-{name},c,{start},Standard,active" for name, start in STARTS.items())
        ),
    }
    for name, (currency, price) in CARDS.items():
        card = CARD.replace("rate_card: carts", f"rate_card: {name}").replace("USD", currency).replace("40.00", price)
        files[f"rate_cards/{name}.yaml"] = card.replace("standard_carts:", '"@carts":')
    bill(folder, date(2024, 3, 31), files)
    return folder


def exported(billed: Path, to: Path, month: str) -> dict[str, list[dict[str, str]]]:
    """Every file that is written, by its name, as a CSV reader sees it."""
    paths = export_month(billed / "output", month, to, "csv")
    assert sorted(to.iterdir()) == sorted(paths)
    tables = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            tables[path.name] = list(csv.DictReader(file, strict=True))
    return tables


def test_amounts_have_their_currencys_decimals_and_prices_their_own(billed: Path, tmp_path: Path) -> None:
    """40.005 dollars is 40.01, 1.2345 dinars 1.235 (ties away from zero); yen have no decimals."""
    tables = exported(billed, tmp_path / "to", "2024-02")
    invoices = {row["currency"]: row["total"] for row in tables["invoices.csv"]}
    lines = {
        row["currency"]: (row["quantity"], row["unit_price"], row["amount"]) for row in tables["invoice_lines.csv"]
    }
    assert invoices == {"JPY": "1234", "USD": "40.01", "KWD": "1.235"}
    assert lines == {
        "JPY": ("1", "1234", "1234"),
        "USD": ("1", "40.005", "40.01"),
        "KWD": ("1", "1.2345", "1.235"),
    }


def test_every_line_belongs_to_an_invoice_of_the_month_and_adds_up_to_it(billed: Path, tmp_path: Path) -> None:
    tables = exported(billed, tmp_path / "to", "2024-02")
    totals = {row["invoice_id"]: Decimal(row["total"]) for row in tables["invoices.csv"]}
    sums = dict.fromkeys(totals, Decimal(0))
    for line in tables["invoice_lines.csv"]:
        sums[line["invoice_id"]] += Decimal(line["amount"])
    assert sums == totals


def test_control_totals_count_add_and_hash_the_other_files(billed: Path, tmp_path: Path) -> None:
    tables = exported(billed, tmp_path / "to", "2024-02")
    hashes = {
        f"sha256_of_{name}": hashlib.sha256((tmp_path / "to" / f"{name}.csv").read_bytes()).hexdigest()
        for name in ("invoices", "invoice_lines")
    }
    assert tables["control_totals.csv"] == [
        {
            "currency": currency,
            "rate_card": card,
            "kind": "cycle",
            "invoices": "1",
            "lines": "1",
            "total": total,
            **hashes,
        }
        for currency, card, total in (("JPY", "yen", "1234"), ("KWD", "dinars", "1.235"), ("USD", "dollars", "40.01"))
    ]


@pytest.mark.parametrize(
    ("month", "issued_on"),
    [
        ("2023-12", []),
        ("2024-01", ["2024-01-31"]),
        ("2024-02", ["2024-02-01", "2024-02-29", "2024-02-29"]),
        ("2024-03", ["2024-03-01", "2024-03-29", "2024-03-31"]),
        ("2024-04", []),
    ],
)
def test_a_month_has_the_invoices_issued_in_it(month: str, issued_on: list[str], billed: Path, tmp_path: Path) -> None:
    tables = exported(billed, tmp_path / "to", month)
    assert sorted(row["issue_date"] for row in tables["invoices.csv"]) == issued_on
    assert len(tables["invoice_lines.csv"]) == len(issued_on)


def test_a_month_without_invoices_has_the_same_headings(billed: Path, tmp_path: Path) -> None:
    for month in ("2024-02", "2030-02"):
        export_month(billed / "output", month, tmp_path / month, "csv")
    for name in ("invoices.csv", "invoice_lines.csv", "control_totals.csv"):
        full, empty = ((tmp_path / month / name).read_text().splitlines() for month in ("2024-02", "2030-02"))
        assert empty == full[:1]


def test_text_that_a_spreadsheet_would_run_is_escaped(billed: Path, tmp_path: Path) -> None:
    """The apostrophe is for the spreadsheet; numbers and dates are left alone."""
    tables = exported(billed, tmp_path / "to", "2024-01")
    (invoice,), (line,) = tables["invoices.csv"], tables["invoice_lines.csv"]
    assert (invoice["account_id"], line["charge"]) == (f"'{FORMULA}", "'@carts")
    assert (invoice["subscription_id"], invoice["issue_date"]) == ("S-dollars", "2024-01-31")
    assert line["description"].startswith("'@carts")
    cells = [cell for rows in tables.values() for row in rows for cell in row.values()]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


def test_the_same_month_gives_the_same_bytes_over_an_older_export(billed: Path, tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in export_month(billed / "output", "2024-02", tmp_path, "csv")}
    export_month(billed / "output", "2024-03", tmp_path, "csv")
    again = {path.name: path.read_bytes() for path in export_month(billed / "output", "2024-02", tmp_path, "csv")}
    assert first == again


@pytest.mark.parametrize(
    "month", ["2024-13", "2024-00", "2024-2", "24-02", "0000-01", "9999-12", "2024-02-01", "../x", ""]
)
def test_a_month_that_is_none_is_refused(month: str, billed: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--month"):
        export_month(billed / "output", month, tmp_path / "to", "csv")
    assert not (tmp_path / "to").exists()


def test_a_format_that_is_not_written_is_refused_with_those_that_are(billed: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--format xlsx: .* csv"):
        export_month(billed / "output", "2024-02", tmp_path / "to", "xlsx")


def test_an_output_without_a_night_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no published night"):
        export_month(tmp_path, "2024-02", tmp_path / "to", "csv")


def test_a_folder_that_cannot_be_written_is_refused(billed: Path, tmp_path: Path) -> None:
    (tmp_path / "to").write_text("a file")
    with pytest.raises(BadInput, match="cannot be written"):
        export_month(billed / "output", "2024-02", tmp_path / "to", "csv")


def test_a_damaged_table_is_not_exported(billed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "output"
    for path in (billed / "output" / "current").resolve().rglob("*"):
        target = copy / "nights" / "000001" / path.relative_to((billed / "output" / "current").resolve())
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            target.write_bytes(path.read_bytes())
    (copy / "current").symlink_to("nights/000001")
    (copy / "nights" / "000001" / "invoices" / "000001.parquet").write_bytes(b"damaged")
    with pytest.raises(BadInput, match="not as it was written"):
        export_month(copy, "2024-02", tmp_path / "to", "csv")
