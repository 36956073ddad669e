"""Drawn worlds, billed by the product and by the oracle; RATING_EXAMPLES raises how many are drawn."""

import hashlib
import os
from collections import Counter
from datetime import date
from decimal import Decimal
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from tests import oracle_bill
from tests.comparison import Ran, first_difference, published, run, run_again
from tests.oracle import RunStops, World
from tests.worlds import arriving_worlds, worlds
from usage_rating.errors import BadInput

EXAMPLES = int(os.environ.get("RATING_EXAMPLES", "30"))


def drawing(examples: int) -> settings:
    """Settings of a property: no deadline, since a run takes as long as it takes; repeatable in CI.

    CI reports the failing world as it was drawn: making it smaller may take five minutes, and it can be drawn again.
    """
    is_ci = os.environ.get("CI") == "true"
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate,) if is_ci else (Phase.generate, Phase.shrink),
        derandomize=is_ci,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )


@drawing(EXAMPLES)
@given(worlds(gaps=True))
def test_every_stage_is_as_the_oracle_works_it_out(drawn: tuple[World, date]) -> None:
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
        event(f"invoices: {min(len(bill.invoices), 3)}{'+' if len(bill.invoices) > 2 else ''}")
        difference = first_difference(ran, bill)
        assert difference is None, difference
        check_cycles_tile(ran)
        check_totals(ran)
        check_numbers(ran)


def check_cycles_tile(ran: Ran) -> None:
    """Each cycle of a subscription starts where the one before ends, as a date and as an instant."""
    rows = sorted(ran.stages["billing_cycles"])
    for _, cycles in groupby(rows, key=lambda row: row[0]):
        for (_, _, end, _, ends_at), (_, start, _, starts_at, _) in pairwise(cycles):
            assert (start, starts_at) == (end, ends_at)


def check_totals(ran: Ran) -> None:
    """Every invoice is the sum of its lines, which are numbered from 1."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in ran.published["invoice_lines"]:
        lines.setdefault(line["invoice_id"], []).append(line)
    for invoice in ran.published["invoices"]:
        own = lines.pop(invoice["invoice_id"], [])
        assert invoice["total"] == sum((line["amount"] for line in own), Decimal(0))
        assert sorted(line["line_number"] for line in own) == list(range(1, len(own) + 1))
    assert not lines


def check_numbers(ran: Ran) -> None:
    """Invoice numbers run from 1 without a gap in each rate card: by run, issue date and invoice id."""
    by_card: dict[str, list[dict[str, Any]]] = {}
    for invoice in ran.published["invoices"]:
        by_card.setdefault(invoice["rate_card"], []).append(invoice)
    for invoices in by_card.values():
        invoices.sort(key=lambda invoice: [invoice[name] for name in ("issued_as_of", "issue_date", "invoice_id")])
        assert [invoice["invoice_number"] for invoice in invoices] == list(range(1, len(invoices) + 1))


@drawing(max(EXAMPLES // 4, 5))
@given(worlds(), st.data())
def test_several_nights_issue_what_one_night_would(drawn: tuple[World, date], data: st.DataObject) -> None:
    """All files are there from the start; then one more run, with nothing new, changes no byte."""
    world, as_of = drawn
    cuts = data.draw(st.sets(st.dates(date.fromordinal(as_of.toordinal() - 60), as_of), max_size=2))
    bill = oracle_bill.rate(world, as_of)
    with TemporaryDirectory() as folder:
        for night in sorted({*cuts, as_of}):
            ran = run(world, Path(folder), night)
        issued_as_of = oracle_bill.Invoice._fields.index("issued_as_of")
        invoices = Counter(
            (*row[:issued_as_of], as_of, *row[issued_as_of + 1 :]) for row in published(ran, "invoices").elements()
        )
        assert invoices == Counter(tuple(invoice) for invoice in bill.invoices)
        assert published(ran, "invoice_lines") == Counter(tuple(line) for line in bill.invoice_lines)
        assert published(ran, "usage_history") == Counter(tuple(row) for row in bill.usage_history)
        check_totals(ran)
        check_numbers(ran)
        before = bytes_of(ran.output)
        assert run_again(world, Path(folder), as_of) == [None, None]
        assert bytes_of(ran.output) == before


@drawing(max(EXAMPLES // 4, 5))
@given(arriving_worlds())
def test_late_files_are_billed_by_corrections(drawn: tuple[World, list[date]]) -> None:
    """Night by night what is issued and corrected comes to the bill over all rows known, line by line."""
    world, runs = drawn
    with TemporaryDirectory() as folder:
        for (there, bill), as_of in zip(oracle_bill.rate_nights(world, runs), runs, strict=True):
            ran = run(there, Path(folder), as_of)
            difference = first_difference(ran, bill)
            assert difference is None, f"as of {as_of}: {difference}"
            check_totals(ran)
            check_numbers(ran)


def bytes_of(folder: Path) -> dict[str, str]:
    """The hash of every file of an output folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
