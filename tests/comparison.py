"""Runs the product over a world, and says where it first differs from the oracle."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb

from tests import oracle, oracle_bill
from tests.oracle import ActiveSpan, World
from tests.oracle_bill import Bill
from tests.oracle_credit import Deduction, Ledger
from tests.oracle_cycle import Line
from tests.oracle_usage import Alert
from tests.worlds import write_world
from usage_rating import publication
from usage_rating.night import Night
from usage_rating.report import NightReport
from usage_rating.settings import Settings

Rows = Counter[tuple[Any, ...]]

# Stage to the columns that the oracle works out, in the order of the work.
STAGES = {
    "billing_cycles": oracle.Cycle._fields,
    "active_spans": oracle.ActiveSpan._fields,
    "plan_spans": oracle.PlanSpan._fields,
    "cart_changes": oracle.CartChange._fields,
    "peaks": oracle.Peak._fields,
    "usage_quantities": oracle_bill.Used._fields,
    "minimums": oracle_bill.Minimum._fields,
}
PUBLISHED = {
    "rejected_rows": oracle.Refused._fields,
    "invoices": oracle_bill.Invoice._fields,
    "invoice_lines": Line._fields,
    "usage_history": oracle_bill.History._fields,
}


# What the product rated, of which issued cycles may be some: the oracle works out all of them anew.
RATED = {"cycles_rated": ("subscription_id", "cycle_start")}
BY_CYCLE = ("peaks", "usage_quantities", "minimums")


@dataclass(frozen=True)
class Ran:
    """One run: its report, the stages that can be compared, the published tables, and the output folder."""

    report: NightReport
    stages: Mapping[str, Rows]
    published: Mapping[str, list[dict[str, Any]]]
    output: Path


def run(world: World, folder: Path, as_of: date) -> Ran:
    """Writes the world under `folder` (what is not there yet) and runs one night over it."""
    write_world(world, folder / "input")
    settings = settings_for(folder, as_of, min_snapshot_share=world.min_snapshot_share)
    with Night(settings) as night:
        night.ingest()
        night.rate()
        stages = stages_of(night)
        report = night.publish()
    return Ran(report, stages, tables_in(settings.output), settings.output)


def run_again(world: World, folder: Path, as_of: date) -> list[str | None]:
    """Two nights with nothing new: one that need not be rated, and one that is. Gives what they were published as."""
    settings = settings_for(folder, as_of, min_snapshot_share=world.min_snapshot_share)
    published_as = []
    for is_as_before in (publication.is_as_before, lambda *_: False):
        with patch.object(publication, "is_as_before", is_as_before), Night(settings) as night:
            night.ingest()
            night.rate()
            published_as.append(night.publish().run_id)
    return published_as


def preview(world: World, folder: Path, as_of: date) -> Ran:
    """Writes the world under `folder` (what is not there yet) and rates it as a preview, which publishes nothing."""
    write_world(world, folder / "input")
    settings = settings_for(folder, as_of, min_snapshot_share=world.min_snapshot_share)
    with Night(settings, is_preview=True) as night:
        night.ingest()
        night.rate()
        tables = {name: night.relation(name).to_pylist() for name in (*PUBLISHED, "alerts", "credit_ledger")}
        return Ran(night.write_preview(None), stages_of(night), with_what_lines_bill(tables), settings.output)


def settings_for(folder: Path, as_of: date, **policies: Any) -> Settings:
    """A night over what is in `folder`, refusing nothing for the number of its wrong rows."""
    return Settings(
        input=folder / "input",
        output=folder / "output",
        as_of=as_of,
        max_rejected=Decimal(1),
        threads=1,
        **policies,
    )


def stages_of(night: Night) -> dict[str, Rows]:
    """The stages that the oracle works out."""
    return {name: rows_of(night.relation(name).to_pylist(), columns) for name, columns in (STAGES | RATED).items()}


def tables_in(output: Path) -> dict[str, list[dict[str, Any]]]:
    """The published tables, as the views of billing.duckdb show them; each line also with what it is billed for."""
    with duckdb.connect(str(output / "billing.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        tables = {
            table: connection.table(table).to_arrow_table().to_pylist()
            for table in (*PUBLISHED, "alerts", "credit_ledger")
        }
    return with_what_lines_bill(tables)


def with_what_lines_bill(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Published tables, each line with what its invoice bills."""
    invoices = {invoice["invoice_id"]: invoice for invoice in tables["invoices"]}
    for line in tables["invoice_lines"]:
        invoice = invoices[line["invoice_id"]]
        line |= {name: invoice[name] for name in ("subscription_id", "cycle_start")}
        line["invoice_kind"] = invoice["kind"]
    return tables


def rows_of(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> Rows:
    """Rows as a bag of tuples: how often each comes counts, their order does not."""
    names = list(columns)
    return Counter(tuple(row[name] for name in names) for row in rows)


def while_active(plan_spans: Rows, active_spans: Rows, known_until: Mapping[str, datetime]) -> Rows:
    """Plan spans cut to the spans in which their subscription is active, neighbours of one plan joined.

    What plan a cancelled subscription is on decides nothing, nor does one after the cycle that holds `as_of`
    (`known_until`): a stage is free to say it or not.
    """
    if any(since is None for _, _, since, _ in plan_spans):
        return plan_spans  # a span that begins nowhere is wrong, and cannot be cut
    activity: dict[str, list[ActiveSpan]] = {}
    for span in active_spans:
        activity.setdefault(span[0], []).append(ActiveSpan(*span))
    cut = sorted(
        (own, max(since, active.active_from), sooner(until, active.active_until, known_until[own]), plan)
        for own, plan, since, until in plan_spans
        for active in activity.get(own, [])
        if own in known_until
    )
    joined: list[tuple[str, str, datetime, datetime]] = []
    for own, since, until, plan in cut:
        if since >= until:
            continue
        if joined and (joined[-1][0], joined[-1][1], joined[-1][3]) == (own, plan, since):
            joined[-1] = (own, plan, joined[-1][2], until)
        else:
            joined.append((own, plan, since, until))
    return Counter(joined)


def sooner(*ends: datetime | None) -> datetime:
    """The earliest of some ends; None is no end."""
    return min(end for end in ends if end is not None)


def first_difference(ran: Ran, bill: Bill) -> str | None:
    """The first stage or published table that is not as the oracle has it, and its rows; None: all are."""
    actual = dict(ran.stages)
    known_until = {row[0]: row[4] for row in sorted(ran.stages["billing_cycles"])}
    actual["plan_spans"] = while_active(ran.stages["plan_spans"], ran.stages["active_spans"], known_until)
    for name in ("rejected_rows", *STAGES, "invoices", "invoice_lines", "usage_history"):
        rows = actual[name] if name in actual else published(ran, name)
        expected = expected_of(name, bill, ran.stages["cycles_rated"])
        if name == "plan_spans":
            expected = while_active(expected, actual["active_spans"], known_until)
        if difference := difference_of(rows, expected):
            return f"{name}:\n{difference}"
    return clipped_difference(ran, bill) or limit_alert_difference(ran, bill) or None


def expected_of(name: str, bill: Bill, rated: Rows) -> Rows:
    """What the oracle has of a stage or table; of cycles issued before only those that the product rated again."""
    rows = (tuple(row) for row in getattr(bill, name))
    unrated = bill.issued_before - set(rated) if name in BY_CYCLE else set()
    return Counter(row for row in rows if row[:2] not in unrated)


def published(ran: Ran, table: str) -> Rows:
    """A published table's rows, with the columns that the oracle works out."""
    return rows_of(ran.published[table], PUBLISHED[table])


def difference_of(actual: Rows, expected: Rows) -> str:
    """The rows that only one side has; empty where there are none."""
    lines = [f"  only the product: {said(row)}" for row in sorted(actual - expected, key=repr)]
    return "\n".join(lines + [f"  only the oracle:  {said(row)}" for row in sorted(expected - actual, key=repr)])


def said(row: tuple[Any, ...]) -> str:
    """A row in short."""
    return ", ".join("-" if value is None else str(value) for value in row)


# ---- what the spending limit took, and its alerts


def limit_alert_difference(ran: Ran, bill: Bill) -> str:
    """Where the alerts about spending limits differ."""
    accounts = {row["subscription_id"]: row["account_id"] for row in ran.published["invoices"]}
    actual = [row for row in ran.published["alerts"] if row["kind"] == "spending_limit"]
    for row in actual:
        assert row["account_id"] == accounts.get(row["subscription_id"], row["account_id"])
    expected = Counter(tuple(alert) for alert in bill.alerts)
    difference = difference_of(rows_of(actual, Alert._fields), expected)
    return f"alerts:\n{difference}" if difference else ""


def clipped_difference(ran: Ran, bill: Bill) -> str:
    """Where what the limit took is not given back to the charges: to the cent together, each to about its own part."""
    lines = [row for row in ran.published["invoice_lines"] if row["kind"] == "spending_limit"]
    taken: dict[tuple[str, date], Decimal] = {}
    for row in lines:
        cycle = (row["subscription_id"], row["cycle_start"])
        taken[cycle] = taken.get(cycle, Decimal(0)) - row["amount"]
    exact = {tuple(row[:4]): row.clipped for row in bill.clipped}
    by_cycle: dict[tuple[str, date], list[dict[str, Any]]] = {}
    for row in ran.published["usage_history"]:
        by_cycle.setdefault((row["subscription_id"], row["cycle_start"]), []).append(row)
    faults = []
    for cycle, rows in sorted(by_cycle.items()):
        given = sum((row["clipped"] or Decimal(0) for row in rows), Decimal(0))
        if given != taken.get(cycle, Decimal(0)):
            faults.append(f"  {cycle}: {given} given back of {taken.get(cycle, 0)}")
        slack = Fraction(len(rows) + 1) * 3  # each charge's lines and parts are rounded on their own; JPY has no cents
        for row in rows:
            own = exact.get((*cycle, row["plan"], row["charge"]), Fraction(0))
            if abs(Fraction(row["clipped"] or 0) - own) > slack:
                faults.append(f"  {cycle} {row['plan']} {row['charge']}: {row['clipped']}, exactly {own}")
    return "clipped:\n" + "\n".join(faults) if faults else ""


# ---- the ledger


def ledger_difference(ran: Ran, ledger: Ledger, bill: Bill) -> str | None:
    """Posts a run's invoices and top-ups, and says where the product's ledger is not the same.

    Invoices of one date follow by their ids, which only the product knows.
    """
    known = {entry.reference for entry in ledger.entries if entry.kind == "invoice"}
    deductions = [
        Deduction(
            row["bill_to_account_id"],
            row["currency"],
            row["subscription_id"],
            row["cycle_start"],
            row["cycle_end"],
            row["invoice_id"],
            row["total"],
        )
        for row in ran.published["invoices"]
        if row["rate_card"] in bill.prepaid_cards and row["invoice_id"] not in known
    ]
    ledger.post(ran.report.as_of, deductions, bill.topups, bill.voided_topups)
    rows = ran.published["credit_ledger"]
    actual = rows_of(rows, ledger.entries[0]._fields) if ledger.entries else rows_of(rows, ["account_id"])
    if difference := difference_of(actual, Counter(tuple(entry) for entry in ledger.entries)):
        return f"credit_ledger:\n{difference}"
    exhausted = [row for row in ran.published["alerts"] if row["kind"] == "credit_exhausted"]
    expected = Counter(tuple(alert) for alert in ledger.exhausted)
    difference = difference_of(rows_of(exhausted, ["subscription_id", "cycle_start"]), expected)
    return f"alerts:\n{difference}" if difference else None
