"""data/sample/ against the tables in its README, which were worked by hand."""

import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.worked_example import Expectation, MarkdownTable, differences, read_table
from usage_rating.night import run_night
from usage_rating.report import NightReport
from usage_rating.settings import Settings

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
PARQUET = "cart_snapshots/2024-03-31.parquet"
# One row an invoice, its lines side by side: the same charge has the same name in both plans of the card.
INVOICES = """
    select
        account_id, bill_to_account_id, cycle_start, issue_date, invoices.rate_card_version, invoices.total,
        cast(sum(amount) filter (charge = 'monthly_fee') as decimal(20, 4)) as fee,
        cast(sum(amount) filter (charge = 'standard_carts') as decimal(20, 4)) as standard,
        cast(sum(amount) filter (charge = 'premium_carts') as decimal(20, 4)) as premium,
        cast(sum(amount) filter (charge = 'edi_carts') as decimal(20, 4)) as edi
    from invoices left join invoice_lines using (invoice_id)
    group by all
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module", autouse=True)
def report(output: Path) -> NightReport:
    return run_night(Settings(input=SAMPLE, output=output, as_of=date(2024, 5, 5)))


def readme_table(heading: str) -> MarkdownTable:
    """The one table under a heading of the sample's README, or above the first one ("")."""
    text = (SAMPLE / "README.md").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"## {heading}\n") if heading else ("", "#", text)
    assert found, f"no heading '## {heading}'"
    return read_table(rest.partition("\n## ")[0], heading)


def rows_of(output: Path, query: str) -> pa.Table:
    with duckdb.connect(os.fspath(output / "billing.duckdb"), read_only=True) as connection:
        return connection.sql(query).to_arrow_table()


def test_every_invoice_is_as_worked_by_hand(output: Path) -> None:
    expected = Expectation("invoices", readme_table("Expected invoices"))
    assert differences(expected, rows_of(output, INVOICES)) == []


def test_every_refused_row_is_listed(output: Path) -> None:
    expected = Expectation("rejected_rows", readme_table("Expected refused rows"))
    assert differences(expected, rows_of(output, "from rejected_rows")) == []


def test_accounts_add_up_to_their_invoices(report: NightReport) -> None:
    accounts, invoices = readme_table(""), readme_table("Expected invoices")
    total = invoices.columns.index("total")
    billed = {row[0]: sum(Decimal(i[total]) for i in invoices.rows if i[0] == row[0]) for row in accounts.rows}
    assert billed == {row[0]: Decimal(row[2]) for row in accounts.rows}
    assert [(i.currency, i.invoices, i.total) for i in report.invoices] == [
        ("USD", len(invoices.rows), sum(billed.values()))
    ]
    assert (len(invoices.rows), sum(billed.values())) == (39, Decimal("2870.00"))


def test_parquet_file_holds_the_rows_the_readme_shows() -> None:
    expected = Expectation(PARQUET, readme_table(f"Rows of {PARQUET}"))
    assert differences(expected, pq.read_table(SAMPLE / PARQUET)) == []
