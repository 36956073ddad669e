"""data/sample/ against the tables in its README, which were worked by hand."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
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
PARQUETS = ("cart_snapshots/2024-03-31.parquet", "usage/shoplazza/2024-04.parquet")
AS_OF = date(2024, 5, 5)
NIGHTS = (date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30), AS_OF)
MONTHLESS = ("accounts", "rate_cards")  # there from the first night on; every other file is named after its month
# One row an invoice, its lines side by side, as the README shows each card's.
INVOICES = {
    "extensiv": """
        select
            account_id, bill_to_account_id, cycle_start, issue_date, invoices.rate_card_version, total,
            sum(amount) filter (charge = 'monthly_fee') as fee,
            sum(amount) filter (charge = 'standard_carts') as standard,
            sum(amount) filter (charge = 'premium_carts') as premium,
            sum(amount) filter (charge = 'edi_carts') as edi
        from invoices left join invoice_lines using (invoice_id)
        where rate_card = 'extensiv'
        group by all
    """,
    "unicommerce": """
        select
            account_id, bill_to_account_id, cycle_start, issue_date, invoices.rate_card_version, total,
            sum(quantity) filter (lines.kind = 'usage' and charge = 'order_items') as items,
            sum(quantity) filter (lines.kind = 'minimum') as shortfall,
            sum(amount) filter (lines.kind = 'usage') as usage,
            sum(amount) filter (lines.kind = 'minimum') as minimum
        from invoices left join invoice_lines as lines using (invoice_id)
        where rate_card = 'unicommerce'
        group by all
    """,
    "shoplazza-app": """
        select
            account_id, invoices.kind, cycle_start, issue_date, due_date, total,
            sum(amount) filter (lines.kind = 'recurring') as fee,
            sum(amount) filter (lines.kind = 'usage') as usage,
            sum(amount) filter (lines.kind = 'cap') as cap,
            sum(amount) filter (lines.kind = 'spending_limit') as spending_limit,
            sum(amount) filter (lines.kind = 'upgrade') as upgrade,
            sum(amount) filter (lines.kind = 'one_off') as one_off
        from invoices left join invoice_lines as lines using (invoice_id)
        where rate_card = 'shoplazza-app'
        group by all
    """,
}
PLAIN = str.maketrans({"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "\N{MINUS SIGN}": "-"})
LEDGER = """
    select
        ledger.* exclude (reference),
        coalesce(invoices.subscription_id, ledger.reference) as stands_for
    from credit_ledger as ledger
    left join invoices on ledger.kind = 'invoice' and ledger.reference = invoices.invoice_id
"""
# What must not depend on how many nights the same files came in.
LASTING = (
    "select * exclude (issued_as_of) from invoices",
    "from invoice_lines",
    "from usage_history",
    "select * exclude (posted_as_of) from credit_ledger",
    "select * exclude (run_id, read_in, held_since) from rejected_rows",
)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module", autouse=True)
def report(output: Path) -> NightReport:
    return run_night(Settings(input=SAMPLE, output=output, as_of=AS_OF))


@pytest.fixture(scope="module")
def nightly_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of five nights, before each of which the files of its month arrive."""
    folder = tmp_path_factory.mktemp("nights")
    files = [path.relative_to(SAMPLE) for path in SAMPLE.rglob("*") if path.is_file() and path.name != "README.md"]
    for night in NIGHTS:
        for file in files:
            if file.parts[0] in MONTHLESS or file.name[:7] <= f"{night:%Y-%m}":
                (folder / "input" / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(SAMPLE / file, folder / "input" / file)
        run_night(Settings(input=folder / "input", output=folder / "output", as_of=night))
    return folder / "output"


def readme_table(heading: str) -> MarkdownTable:
    """The one table under a heading of the sample's README."""
    text = (SAMPLE / "README.md").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"## {heading}\n")
    assert found, f"no heading '## {heading}'"
    return read_table(rest.partition("\n## ")[0], heading)


def cells(table: MarkdownTable, *columns: str) -> list[tuple[str, ...]]:
    """The rows of a table, of these columns alone."""
    places = [table.columns.index(column) for column in columns]
    return [tuple(row[place] for place in places) for row in table.rows]


def compared(heading: str, without: str = "") -> Expectation:
    """What the README expects under a heading, without a column that is for readers alone."""
    table = readme_table(heading)
    columns = tuple(column for column in table.columns if column != without)
    return Expectation(heading, MarkdownTable(columns, tuple(cells(table, *columns))))


def rows_of(output: Path, query: str) -> pa.Table:
    with duckdb.connect(os.fspath(output / "billing.duckdb"), read_only=True) as connection:
        return connection.sql(query).to_arrow_table()


def sums(rows: Sequence[tuple[str, ...]]) -> dict[str, Decimal]:
    """The amounts in the second cells, added up by the first."""
    totals: dict[str, Decimal] = {}
    for account, amount in rows:
        totals[account] = totals.get(account, Decimal(0)) + Decimal(amount)
    return totals


def worked_out(arithmetic: str) -> Decimal:
    """The amount that sums and products such as those in the README's columns `arithmetic` come to, to the cent."""
    total = Fraction(0)
    for sign, product in re.findall(r"(^|[+-]) ?([^+-]+)", arithmetic.translate(PLAIN)):
        value = Fraction(1)
        for operator, factor in re.findall(r"(^|[*/]) ?([0-9.]+)", product):
            value = value / Fraction(factor) if operator == "/" else value * Fraction(factor)
        total += -value if sign == "-" else value
    return (Decimal(total.numerator) / total.denominator).quantize(Decimal("0.01"), ROUND_HALF_UP)


@pytest.mark.parametrize("card", INVOICES)
def test_every_invoice_is_as_worked_by_hand(output: Path, card: str) -> None:
    expected = compared(f"Expected invoices: {card}", without="arithmetic")
    assert differences(expected, rows_of(output, INVOICES[card])) == []


@pytest.mark.parametrize("card", ["unicommerce", "shoplazza-app"])
def test_the_arithmetic_comes_to_the_totals(card: str) -> None:
    for arithmetic, total in cells(readme_table(f"Expected invoices: {card}"), "arithmetic", "total"):
        assert worked_out(arithmetic) == Decimal(total), arithmetic


def test_every_refused_row_is_listed(output: Path) -> None:
    assert differences(compared("Expected refused rows"), rows_of(output, "from rejected_rows")) == []


def test_the_ledger_is_as_worked_by_hand(output: Path) -> None:
    assert differences(compared("Expected credit ledger"), rows_of(output, LEDGER)) == []


def test_the_usage_history_is_as_worked_by_hand(output: Path) -> None:
    expected = replace(compared("Expected usage history"), among_others=True)
    assert differences(expected, rows_of(output, "from usage_history")) == []


def test_a_single_run_reports_what_is_still_open(output: Path) -> None:
    assert differences(compared("Expected alerts: one run"), rows_of(output, "from alerts")) == []


def test_nights_report_each_alert_once_while_its_cycle_is_open(nightly_output: Path) -> None:
    alerts = rows_of(nightly_output, "from alerts inner join runs using (run_id)")
    assert differences(compared("Expected alerts: night by night"), alerts) == []


@pytest.mark.parametrize("query", LASTING)
def test_nights_bill_what_a_single_run_bills(output: Path, nightly_output: Path, query: str) -> None:
    once, nightly = (rows_of(folder, f"from ({query}) order by all") for folder in (output, nightly_output))
    assert once.num_rows > 0
    assert nightly.equals(once)


@pytest.mark.parametrize("card", INVOICES)
def test_accounts_add_up_to_their_invoices(card: str) -> None:
    billed = sums(cells(readme_table(f"Expected invoices: {card}"), "account_id", "total"))
    accounts = cells(readme_table(f"Accounts: {card}"), "account_id", "bill to 2024-05-05")
    assert billed == {account: Decimal(bill) for account, bill in accounts}


def test_totals_add_up_to_the_invoices(report: NightReport) -> None:
    totals = readme_table("Expected totals")
    assert cells(totals, *totals.columns) == [
        (i.rate_card, i.currency, i.kind, str(i.invoices), str(i.total)) for i in report.invoices
    ]
    for card in INVOICES:
        invoices = cells(readme_table(f"Expected invoices: {card}"), "total")
        of_card = [row[1:] for row in cells(totals, "rate_card", "invoices", "total") if row[0] == card]
        assert len(invoices) == sum(int(count) for count, _ in of_card)
        assert sum(Decimal(total) for (total,) in invoices) == sum(Decimal(total) for _, total in of_card)


@pytest.mark.parametrize("file", PARQUETS)
def test_parquet_files_hold_the_rows_the_readme_shows(file: str) -> None:
    assert differences(compared(f"Rows of {file}"), pq.read_table(SAMPLE / file)) == []
