"""The published Parquet files: columns and types as SPEC 5 has them, readable by plain pyarrow, byte for byte again."""

import os
import re
import stat
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.test_properties import bytes_of
from usage_rating.night import run_night
from usage_rating.settings import Settings
from usage_rating.tables import TABLES

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
NIGHTS = (date(2024, 3, 1), date(2024, 4, 3), date(2024, 5, 5))
DATE, INSTANT, TEXT = pa.date32(), pa.timestamp("us", tz="UTC"), pa.string()
AMOUNT, QUANTITY, UNIT_PRICE = pa.decimal128(20, 4), pa.decimal128(28, 6), pa.decimal128(28, 9)
EXACT_AMOUNT = pa.decimal128(38, 15)

# SPEC 5, column by column; written out here so that a slip in the package's own list is seen.
PUBLISHED = {
    "invoices": dict.fromkeys(["invoice_id", "kind", "corrects_invoice_id", "account_id", "bill_to_account_id"], TEXT)
    | dict.fromkeys(["subscription_id", "rate_card", "currency"], TEXT)
    | dict.fromkeys(["cycle_start", "cycle_end", "issue_date", "issued_as_of", "due_date"], DATE)
    | {"invoice_number": pa.int64(), "rate_card_version": pa.int32(), "total": AMOUNT},
    "invoice_lines": dict.fromkeys(["invoice_id", "kind", "charge", "plan", "description", "evidence"], TEXT)
    | {"line_number": pa.int32(), "rate_card_version": pa.int32(), "quantity": QUANTITY, "unit_price": UNIT_PRICE}
    | {"amount": AMOUNT, "service_start": DATE, "service_end": DATE},
    "usage_history": dict.fromkeys(["subscription_id", "plan", "charge"], TEXT)
    | {"cycle_start": DATE, "cycle_end": DATE, "peak_at": INSTANT, "amount": AMOUNT, "clipped": AMOUNT}
    | dict.fromkeys(["quantity", "minimum", "shortfall"], QUANTITY),
    "alerts": dict.fromkeys(
        ["run_id", "account_id", "subscription_id", "kind", "event_id", "currency", "invoice_id"], TEXT
    )
    | {"cycle_start": DATE, "threshold": pa.decimal128(8, 6), "limit_amount": AMOUNT, "reached_at": INSTANT},
    "credit_ledger": dict.fromkeys(["account_id", "currency", "kind", "reference"], TEXT)
    | {"entry_date": DATE, "posted_as_of": DATE, "amount": AMOUNT, "balance": AMOUNT},
    "rejected_rows": dict.fromkeys(["run_id", "feed", "file", "status", "reason", "detail", "raw"], TEXT)
    | {"row_number": pa.int64(), "read_in": TEXT, "held_since": pa.date32()},
    "held_invoices": dict.fromkeys(["run_id", "invoice_id", "kind", "account_id", "subscription_id"], TEXT)
    | dict.fromkeys(["rate_card", "currency", "reason", "detail"], TEXT)
    | {"held_since": DATE, "cycle_start": DATE, "total": AMOUNT},
    "balances": dict.fromkeys(["run_id", "feed", "currency", "charge_kind"], TEXT)
    | dict.fromkeys(["rows_in", "rated", "not_due", "duplicate", "superseded", "voided"], pa.int64())
    | dict.fromkeys(["unpriced", "rejected", "held"], pa.int64())
    | dict.fromkeys(["before_numerator", "shortfall", "capped", "clipped", "rounding_numerator"], EXACT_AMOUNT)
    | {"denominator": pa.int32(), "billed_before": AMOUNT, "billed": AMOUNT},
    "runs": dict.fromkeys(["run_id", "input_files_hash", "rate_cards_hash", "code_hash", "tables_hash"], TEXT)
    | {"as_of": DATE},
}


def nights_of_the_sample(output: Path, threads: int) -> Path:
    """Three nights over the sample, which is all there from the start."""
    for night in NIGHTS:
        run_night(Settings(input=SAMPLE, output=output, as_of=night, threads=threads))
    return output


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nights_of_the_sample(tmp_path_factory.mktemp("published") / "output", threads=1)


def parquet_files(output: Path, table: str) -> Iterator[Path]:
    yield from sorted((output / table).glob("*.parquet"))


@pytest.mark.parametrize("table", TABLES)
def test_every_file_has_the_columns_and_types_of_its_table(output: Path, table: str) -> None:
    assert set(TABLES) == set(PUBLISHED)
    files = list(parquet_files(output, table))
    assert files
    for file in files:
        schema = pq.read_schema(file)
        assert schema.names == list(TABLES[table].columns)
        assert {field.name: field.type for field in schema} == PUBLISHED[table]
        assert not [field for field in schema if pa.types.is_floating(field.type)]


@pytest.mark.parametrize("table", TABLES)
def test_plain_pyarrow_reads_a_table_as_a_whole(output: Path, table: str) -> None:
    rows = pq.read_table(output / table)
    assert rows.num_rows == sum(pq.read_metadata(file).num_rows for file in parquet_files(output, table))
    assert rows.num_rows or table in ("alerts", "held_invoices")
    keys = list(zip(*(rows.column(name).to_pylist() for name in TABLES[table].order), strict=True))
    assert len(keys) == len(set(keys))


def test_files_are_for_the_owner_and_the_group_only(output: Path) -> None:
    """Every file that is kept, whatever the umask of the account that runs it."""
    paths = [Path(folder) / name for folder, folders, files in os.walk(output) for name in [*folders, *files]]
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in paths if not path.is_symlink()}
    assert {path: oct(mode) for path, mode in modes.items() if path.is_dir() and mode != 0o750} == {}
    assert {path: oct(mode) for path, mode in modes.items() if path.is_file() and mode != 0o640} == {}


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_nights_give_the_same_bytes(output: Path, tmp_path: Path, threads: int) -> None:
    """In another folder, and however many threads the engine has: all that is kept, but the views and their paths."""
    again = nights_of_the_sample(tmp_path / "again", threads)
    kept, kept_again = (
        {name: sha256 for name, sha256 in bytes_of(folder).items() if is_compared(name)} for folder in (output, again)
    )
    assert kept == kept_again
    assert any(re.match(r"nights/000003/invoices/.*\.parquet", name) for name in kept)


def is_compared(name: str) -> bool:
    """Parquet, and the manifests; SPEC leaves the file of views out, and the lock holds nothing."""
    return name.startswith("nights/") and "/billing." not in name
