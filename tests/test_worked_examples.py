"""Every page of worked_examples/ through the real run, and the reader of pages on pages that are wrong."""

import os
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tests.worked_example import (
    Expectation,
    MarkdownTable,
    PageFaultError,
    PageNight,
    differences,
    read_page,
    read_table,
)
from usage_rating.night import Night
from usage_rating.settings import Settings
from usage_rating.stages import all_stages
from usage_rating.verification.verdict import Scope, verify

PAGES = sorted(path for path in (Path(__file__).parent / "worked_examples").glob("*.md") if path.name != "README.md")
# Published tables hold what earlier nights issued too, so they are read from the output, refused rows first.
PUBLISHED = (
    "rejected_rows",
    "invoice_lines",
    "invoices",
    "usage_history",
    "alerts",
    "credit_ledger",
    "balances",
    "runs",
)
# What a page may show beyond the published columns: a line's invoice, and what a ledger entry stands for
# (an invoice_id is a hash, which no page can say).
AS_SHOWN = {
    "invoice_lines": """
        select lines.*, invoices.kind as invoice_kind, invoices.* exclude (invoice_id, kind, rate_card_version)
        from invoice_lines as lines inner join invoices using (invoice_id)
    """,
    "credit_ledger": """
        select
            ledger.*,
            if(ledger.kind = 'topup', ledger.reference, null) as topup_id,
            invoices.subscription_id,
            invoices.cycle_start
        from credit_ledger as ledger
        left join invoices on ledger.kind = 'invoice' and ledger.reference = invoices.invoice_id
    """,
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page(path: Path, tmp_path: Path) -> None:
    page = read_page(path)
    for number, page_night in enumerate(page.nights, start=1):
        write_files(page_night, tmp_path / "input")
        told = first_differences(page_night, tmp_path)
        assert not told, f"{path.name}, night {number}, as of {page_night.as_of}\n  " + "\n  ".join(told)
    assert verify(tmp_path / "input", tmp_path / "output", Scope()).findings == []


def test_there_are_pages() -> None:
    assert len(PAGES) >= 120


def write_files(page_night: PageNight, folder: Path) -> None:
    for name, text in page_night.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="")


def first_differences(page_night: PageNight, folder: Path) -> list[str]:
    """Runs one night and says what is wrong with the first table of the pipeline that is not as expected."""
    order = [stage.name for stage in all_stages() if stage.name not in PUBLISHED]
    known = {*order, *PUBLISHED}
    unknown = [e.relation for e in page_night.expectations if e.relation not in known]
    assert not unknown, f"no such stage or published table: {unknown}"
    settings = Settings(input=folder / "input", output=folder / "output", as_of=page_night.as_of, **page_night.policies)
    with Night(settings) as night:
        night.ingest()
        night.rate()
        for expectation in sorted_by(order, page_night.expectations):
            if told := differences(expectation, night.relation(expectation.relation)):
                return [expectation.relation, *told]
        night.publish()
    for expectation in sorted_by(PUBLISHED, page_night.expectations):
        if told := differences(expectation, published(settings.output, expectation.relation)):
            return [expectation.relation, *told]
    return []


def sorted_by(order: Iterable[str], expectations: Iterable[Expectation]) -> list[Expectation]:
    """The expectations of the relations that are in `order`, in that order."""
    place = {name: index for index, name in enumerate(order)}
    return sorted((e for e in expectations if e.relation in place), key=lambda e: place[e.relation])


def published(output: Path, table: str) -> pa.Table:
    """A published table through its view, with what a page may show beyond its columns."""
    with duckdb.connect(os.fspath(output / "billing.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.sql(AS_SHOWN.get(table, f"from {table}")).to_arrow_table()


PAGE = """# A small page

**Reason.** One.

**By hand.** Two.

## given: accounts

| account_id | created_at |
|------------|------------|
| a\\|b       |            |

## as of: 2024-03-01

## expect: peaks, among others

Said in prose.

| quantity |
|----------|
"""


def read_text(text: str, folder: Path, name: str = "a-small-page.md") -> PageNight:
    (folder / name).write_text(text, encoding="utf-8")
    return read_page(folder / name).nights[0]


def test_page_becomes_files_and_expectations(tmp_path: Path) -> None:
    page_night = read_text(PAGE, tmp_path)
    assert page_night.files == {"accounts/2024-03-01.csv": "account_id,created_at\na|b,\n"}
    assert page_night.expectations == (Expectation("peaks", MarkdownTable(("quantity",), ()), among_others=True),)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# A small page", "# Another page", "the title asks for another-page.md"),
        ("**Reason.**", "Reason.", "begins with **Reason.**"),
        ("**By hand.**", "By hand.", "begins with **By hand.**"),
        ("given: accounts", "given: acounts", "no such feed"),
        ("given: accounts", "assume: accounts", "unknown heading"),
        ("## as of: 2024-03-01", "", "no '## as of: DATE'"),
        ("## given: accounts", "## expect: peaks\n\n## given: accounts", "stands before"),
        ("Said in prose.", "## given: usage", "no table"),
        ("| quantity |", "| quantity |\n|---|\n\n## given: usage\n\n| event_id |", "followed by no"),
        ("2024-03-01", "2024-02-30", "day is out of range"),
        ("| account_id | created_at |", "| account_id |", "2 cells under 1 columns"),
        ("| a\\|b       |            |", "| a\\|b       |", "1 cells under 2 columns"),
        ("## expect: peaks, among others", "Nothing.", "nothing is expected"),
        ("## given: accounts", "## rate card: no-such.v1\n\n## given: accounts", "no-such.v1.yaml"),
        ("## given: accounts", "## rate card\n\n## given: accounts", "no ```yaml block"),
    ],
)
def test_badly_written_page_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in PAGE
    with pytest.raises(PageFaultError, match=r"a-small-page\.md") as told:
        read_text(PAGE.replace(old, new, 1), tmp_path)
    assert said in str(told.value)


ACTUAL = pa.table(
    {
        "quantity": pa.array([1, 1, 2], pa.int64()),
        "amount": pa.array([Decimal(40), Decimal(40), None], pa.decimal128(20, 4)),
        "peak_at": pa.array([0, 0, 1_000_000], pa.timestamp("us", tz="UTC")),
        "cycle_start": pa.array([0, 0, 19_723], pa.date32()),
    }
)
RIGHT = """
| amount | quantity | peak_at              | cycle_start |
|--------|----------|----------------------|-------------|
| 40.00  | 1        | 1970-01-01 00:00Z    | 1970-01-01  |
|        | 2        | 1970-01-01 00:00:01Z | 2024-01-01  |
| 40     | 1        | 1970-01-01 00:00Z    | 1970-01-01  |
"""


def wrong_rows(table: str, *, among_others: bool = False) -> list[str]:
    return differences(Expectation("peaks", read_table(table, "expect: peaks"), among_others), ACTUAL)


def test_equal_rows_in_any_order_are_equal() -> None:
    assert wrong_rows(RIGHT) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| 40 ", "| 40.0001 "),
        ("00:00:01Z", "00:00:01.000001Z"),
        ("2024-01-01", "2024-01-02"),
        ("| 2 ", "| 3 "),
    ],
)
def test_one_wrong_cell_is_told_on_both_sides(old: str, new: str) -> None:
    told = wrong_rows(RIGHT.replace(old, new))
    assert [line.partition(":")[0] for line in told] == ["missing", "not expected"]


def test_rows_are_counted() -> None:
    one_row_short = "\n".join(RIGHT.splitlines()[:-1])
    assert wrong_rows(one_row_short) == [
        "not expected: amount 40.0000 | quantity 1 | peak_at 1970-01-01 00:00:00+00:00 | cycle_start 1970-01-01"
    ]
    assert wrong_rows(one_row_short, among_others=True) == []
    assert len(wrong_rows(RIGHT + "| 40 | 1 | 1970-01-01 00:00Z | 1970-01-01 |\n", among_others=True)) == 1


def test_unknown_column_is_told() -> None:
    assert wrong_rows("| price |\n|---|\n") == ["no column price; there are quantity, amount, peak_at, cycle_start"]


def test_instant_without_offset_is_refused() -> None:
    with pytest.raises(PageFaultError, match="has no offset"):
        wrong_rows(RIGHT.replace("00:00:01Z", "00:00:01"))
