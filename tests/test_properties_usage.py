"""Drawn worlds with all rules, billed by the product and by the oracle; RATING_EXAMPLES raises how many are drawn."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests import oracle_bill
from tests.comparison import Ran, first_difference, ledger_difference, preview, run, run_again
from tests.oracle import RunStops, World
from tests.oracle_bill import Bill, Books, Invoice
from tests.oracle_credit import Ledger
from tests.test_properties import bytes_of, drawing
from tests.worlds import arriving_worlds, scattered_worlds, worlds
from tests.worlds_usage import usage_worlds
from usage_rating.errors import BadInput

EXAMPLES = int(os.environ.get("RATING_EXAMPLES", "16"))
LIMITED = ("usage", "minimum", "cap", "spending_limit")


@drawing(EXAMPLES)
@given(usage_worlds())
def test_every_rule_is_as_the_oracle_works_it_out(drawn: tuple[World, date]) -> None:
    """Stages in the order of the work, then the published tables: the first that differs fails."""
    world, as_of = drawn
    with TemporaryDirectory() as folder:
        try:
            bill = oracle_bill.rate(world, as_of)
        except RunStops:
            with pytest.raises(BadInput):
                run(world, Path(folder), as_of)
            return
        ran = run(world, Path(folder), as_of)
        event(f"clipped: {bool(bill.clipped)}")
        event(f"alerts: {bool(bill.alerts)}")
        difference = first_difference(ran, bill) or ledger_difference(ran, Ledger([], []), bill)
        assert difference is None, difference
        check_totals(ran)
        check_numbers(ran)
        check_minimums(ran)
        check_limits(ran, bill)
        check_balances(ran)


def check_totals(ran: Ran) -> None:
    """Every invoice is the sum of its lines, which are numbered from 1; none has quantity 0 but a correction's."""
    for invoice in ran.published["invoices"]:
        own = lines_of(ran, invoice)
        assert invoice["total"] == sum((line["amount"] for line in own), Decimal(0))
        assert sorted(line["line_number"] for line in own) == list(range(1, len(own) + 1))
        assert all(line["quantity"] or (invoice["kind"] == "correction" and line["amount"]) for line in own)


def lines_of(ran: Ran, invoice: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of one invoice."""
    return [line for line in ran.published["invoice_lines"] if line["invoice_id"] == invoice["invoice_id"]]


def check_numbers(ran: Ran) -> None:
    """Invoice numbers run from 1 without a gap in each rate card, by issue date and then invoice id."""
    by_card: dict[str, list[dict[str, Any]]] = {}
    for invoice in ran.published["invoices"]:
        by_card.setdefault(invoice["rate_card"], []).append(invoice)
    for invoices in by_card.values():
        invoices.sort(key=lambda invoice: (invoice["issued_as_of"], invoice["issue_date"], invoice["invoice_id"]))
        assert [invoice["invoice_number"] for invoice in invoices] == list(range(1, len(invoices) + 1))


def check_minimums(ran: Ran) -> None:
    """With the shortfall's line a charge comes to what its whole quantity would cost at one price a unit."""
    for invoice in (invoice for invoice in ran.published["invoices"] if invoice["kind"] == "cycle"):
        own = lines_of(ran, invoice)
        for short in (line for line in own if line["kind"] == "minimum" and line["unit_price"] is not None):
            lines = [line for line in own if (line["plan"], line["charge"]) == (short["plan"], short["charge"])]
            lines = [line for line in lines if line["kind"] in ("usage", "minimum")]
            exact = sum((line["quantity"] * line["unit_price"] for line in lines), Decimal(0))
            minor = {"JPY": 0, "USD": 2, "KWD": 3}[invoice["currency"]]
            assert abs(sum(line["amount"] for line in lines) - exact) < Decimal(1).scaleb(-minor)


def check_limits(ran: Ran, bill: Bill) -> None:
    """No cycle's usage costs less than nothing, or more than the limit at its end where one was in force throughout."""
    for invoice in (invoice for invoice in ran.published["invoices"] if invoice["kind"] == "cycle"):
        limit = bill.limits_throughout.get((invoice["subscription_id"], invoice["cycle_start"]))
        used = sum((line["amount"] for line in lines_of(ran, invoice) if line["kind"] in LIMITED), Decimal(0))
        assert limit is None or used <= limit
        assert used >= 0


def check_balances(ran: Ran) -> None:
    """The last balance of each account is the sum of its entries, and each invoice stands in the ledger once."""
    entries = ran.published["credit_ledger"]
    for account in {(entry["account_id"], entry["currency"]) for entry in entries}:
        own = [entry for entry in entries if (entry["account_id"], entry["currency"]) == account]
        assert sum(entry["amount"] for entry in own) in {entry["balance"] for entry in own}
    assert max(Counter((entry["kind"], entry["reference"]) for entry in entries).values(), default=1) == 1


@drawing(max(EXAMPLES // 4, 4))
@given(usage_worlds(), st.data())
def test_several_nights_issue_what_one_night_would(drawn: tuple[World, date], data: st.DataObject) -> None:
    """All files are there from the start; then one more run, with nothing new, changes no byte."""
    world, as_of = drawn
    cuts = data.draw(st.sets(st.dates(as_of - timedelta(days=60), as_of), min_size=1, max_size=3))
    nights = sorted({*cuts, as_of})
    once = oracle_bill.rate(world, as_of)
    with TemporaryDirectory() as folder:
        ran = check_nights(world, nights, Path(folder))
        assert dateless(ran.published["invoices"], as_of) == Counter(tuple(invoice) for invoice in once.invoices)
        before = bytes_of(ran.output)
        assert run_again(world, Path(folder), as_of) == [None, None]
        assert bytes_of(ran.output) == before


def dateless(invoices: Sequence[dict[str, Any]], as_of: date) -> Counter[tuple[Any, ...]]:
    """Invoices as if all had been issued in one run."""
    once = ({**invoice, "issued_as_of": as_of} for invoice in invoices)
    return Counter(tuple(invoice[name] for name in Invoice._fields) for invoice in once)


def check_nights(world: World, nights: Sequence[date], folder: Path) -> Ran:
    """Runs night by night, each of which must leave what the oracle says; returns the last."""
    ledger, issued = Ledger([], []), dict[str, str]()
    for (there, bill), as_of in zip(oracle_bill.rate_nights(world, nights), nights, strict=True):
        ran = run(there, folder, as_of)
        tables = ("invoices", "invoice_lines")
        hashes = {table: bytes_of(ran.output / "current" / table) for table in tables}
        now = {f"{table}/{name}": sha256 for table in tables for name, sha256 in hashes[table].items()}
        assert issued.items() <= now.items()
        issued = now
        difference = first_difference(ran, bill) or ledger_difference(ran, ledger, bill)
        assert difference is None, f"as of {as_of}: {difference}"
        check_totals(ran)
        check_numbers(ran)
    return ran


@drawing(max(EXAMPLES // 4, 4))
@given(arriving_worlds(usage_worlds()))
def test_late_files_are_billed_by_corrections(drawn: tuple[World, list[date]]) -> None:
    """Night by night what is issued and corrected comes to the bill over all rows known, line by line."""
    world, nights = drawn
    with TemporaryDirectory() as folder:
        check_nights(world, nights, Path(folder))


@drawing(max(EXAMPLES // 2, 4))
@given(st.one_of(scattered_worlds(usage_worlds()), scattered_worlds(worlds(gaps=True))))
def test_rows_in_any_order_over_any_nights_come_to_one_bill(drawn: tuple[World, list[date]]) -> None:
    """Each row on its own, repeats, revisions and voids apart from what they are about; no issued byte ever changes."""
    world, nights = drawn
    with TemporaryDirectory() as folder, suppress(RunStops):
        ran = check_nights(world, nights, Path(folder))
        event(f"corrections: {min(sum(row['kind'] == 'correction' for row in ran.published['invoices']), 3)}")


@drawing(max(EXAMPLES // 2, 4))
@given(usage_worlds(), st.integers(1, 40))
def test_a_preview_is_as_the_oracle_works_it_out(drawn: tuple[World, date], days: int) -> None:
    """After a night some days before, or in a folder where none has run, which then is not made."""
    world, as_of = drawn
    night, books = as_of - timedelta(days=days), Books()
    with TemporaryDirectory() as folder:
        before = {}
        if days % 2:
            books.close(oracle_bill.rate(world, night))
            before = bytes_of(run(world, Path(folder), night).output)
        bill = oracle_bill.rate(world, as_of, books, is_preview=True)
        ran = preview(world, Path(folder), as_of)
        event(f"invoices: {bool(bill.invoices)}")
        difference = first_difference(ran, bill)
        assert difference is None, difference
        check_totals(ran)
        assert (bytes_of(ran.output) if ran.output.exists() else {}) == before
