"""Writes a night: what is kept for the next one and what is published, then commits it."""

from dataclasses import replace
from datetime import date

import duckdb

from usage_rating.code import code_hash
from usage_rating.files import hash_of_text
from usage_rating.intake import KEPT, OPENED_WHEN_ASKED_FOR, Intake
from usage_rating.manifests import Chain, InputRecord, Manifest
from usage_rating.night_files import NightFiles
from usage_rating.store import Store
from usage_rating.tables import TABLES, Table
from usage_rating.usage_at_hand import ToKeep, UsageAtHand


def is_as_before(
    engine: duckdb.DuckDBPyConnection, store: Store, before: Chain, intake: Intake, asked: tuple[date, dict[str, str]]
) -> bool:
    """Whether a night has all that the last one had, and nothing else: it need not be rated to know what it gives.

    :param asked: the date billed up to, and the policies
    """
    last = before.last
    if intake.files or intake.approvals or asked != (before.as_of, last.policies):
        return False
    runs = engine.read_parquet(str(store.files("runs")[-1]))  # earlier ones too, once they are gathered
    ((last_code,),) = runs.filter(f"run_id = '{last.run_id}'").project("code_hash").fetchall()
    return last_code == code_hash() and sorted(last.rate_cards.values()) == sorted(file.sha256 for file in intake.cards)


def stand_by_the_last_night(engine: duckdb.DuckDBPyConnection) -> None:
    """Leaves listed and held what was, and issues nothing."""
    for name in ("rejected_rows", "held_invoices", "invoices", "alerts", "credit_ledger"):
        of_now = "" if name in ("rejected_rows", "held_invoices") else "limit 0"
        engine.execute(f"create or replace table {name} as from {name}_before {of_now}")


def has_changed(engine: duckdb.DuckDBPyConnection, intake: Intake) -> bool:
    """Whether the night differs from the one before: new files, invoices due, or rows judged otherwise."""
    if (
        intake.files
        or intake.approvals
        or any(engine.table(name).limit(1).fetchall() for name in ("invoices", "alerts", "credit_ledger"))
    ):
        return True
    return any(_is_other_than_before(engine, name) for name in ("rejected_rows", "held_invoices"))


def _is_other_than_before(engine: duckdb.DuckDBPyConnection, table: str) -> bool:
    columns = ", ".join(TABLES[table].columns)
    now, before = (engine.table(name).project(columns) for name in (table, f"{table}_before"))
    return bool(now.except_(before).union(before.except_(now)).limit(1).fetchall())


def publish(
    engine: duckdb.DuckDBPyConnection,
    store: Store,
    before: Chain,
    intake: Intake,
    usage: UsageAtHand,
    *,
    policies: dict[str, str],
) -> Manifest:
    """Writes the night aside and commits it.

    :param policies: how rows were judged
    :returns: the manifest of the committed night
    :raises OSError: the disk failed; the night does not count, and may be run again
    """
    run_number = before.last.run_number + 1
    ((as_of,),) = engine.table("run_parameters").project("as_of").fetchall()
    originals = dict(intake.kept_as.values())
    staged = store.stage(originals)
    night = NightFiles(engine, staged, run_number)
    for name in KEPT:
        _write_kept(engine, night, name)
    for table in TABLES.values():
        if table.name not in ("usage_history", "runs"):
            _write_table(night, table, engine.table(table.name))
    _write_history(engine, night)
    for kept in usage.to_keep():
        _write_of_usage(night, kept)
    manifest = Manifest(
        run_number=run_number,
        as_of=as_of.isoformat(),
        previous=before.last.sha256 if before.manifests else "",
        inputs=tuple(_records(intake, run_number)),
        rate_cards={f"{file.card.rate_card} v{file.card.version}": file.sha256 for file in intake.cards},
        files=night.hashes | originals,
        gathered=tuple(sorted(night.gathered)),
        policies=policies,
    )
    _write_table(night, TABLES["runs"], _run_row(engine, manifest, before, intake, as_of))
    manifest = replace(manifest, files=night.hashes | originals, gathered=tuple(sorted(night.gathered)))
    store.commit(staged, manifest)
    return manifest


def _write_kept(engine: duckdb.DuckDBPyConnection, night: NightFiles, name: str) -> None:
    rows = engine.table("cycles_issued" if name == "issued_cycles" else f"new_{name}")
    orders = {"issued_cycles": "subscription_id, cycle_start, kind", "approvals": "file, invoice_id, snapshot_at"}
    add = night.add_apart if name in OPENED_WHEN_ASKED_FOR else night.add
    add(f"kept/{name}", rows, orders.get(name, "file, row_number"))


def _write_of_usage(night: NightFiles, kept: ToKeep) -> None:
    if kept.is_only_added_to:
        night.add(kept.folder, kept.rows, kept.order, place=kept.order)
    else:
        night.replace(kept.folder, kept.rows, kept.order, "whole")


def _write_table(night: NightFiles, table: Table, rows: duckdb.DuckDBPyRelation) -> None:
    typed = ", ".join(f"cast({column} as {kind}) as {column}" for column, kind in table.columns.items())
    order = ", ".join(table.order)
    if table.is_only_added_to:
        night.add(table.name, rows.project(typed), order)
    else:
        night.replace(table.name, rows.project(typed), order, table.name)


def _write_history(engine: duckdb.DuckDBPyConnection, night: NightFiles) -> None:
    """The history of the cycles issued now, and anew that of cycles that are corrected: one row a figure."""
    table, rows = TABLES["usage_history"], engine.table("usage_history")
    corrected = engine.sql(
        "select i.subscription_id, i.cycle_start, i.issued_in_run as run_number from issued_cycles i "
        "inner join invoices_decided d on i.invoice_id = d.invoice_id "
        "where i.kind = 'cycle' and d.kind = 'correction' and d.reason is null"
    )
    _write_table(night, table, rows.join(corrected, "subscription_id, cycle_start", how="anti"))
    night.revise(table.name, corrected, rows, ", ".join(table.order))


def _records(intake: Intake, run_number: int) -> list[InputRecord]:
    rows_of = {checked.file.name: checked.rows for checked in intake.files}
    return [
        InputRecord(
            f.file.feed,
            f.file.name,
            f.file.bytes,
            f.file.modified_ns,
            f.sha256,
            run_number,
            rows_of.get(f.file.name, 0),
            intake.kept_as.get(f.file.name, ("", ""))[0],
        )
        for f in (*intake.files, *intake.repeats, *intake.approvals)
    ]


def _run_row(
    engine: duckdb.DuckDBPyConnection, manifest: Manifest, before: Chain, intake: Intake, as_of: date
) -> duckdb.DuckDBPyRelation:
    files = Chain((*before.manifests, manifest)).files
    published = (f"{name} {sha256}" for name, sha256 in files.items() if not name.startswith("kept/"))
    row = {
        "run_id": manifest.run_id,
        "as_of": as_of,
        "input_files_hash": hash_of_text(
            *sorted(f"{f.file.name} {f.sha256}" for f in (*intake.files, *intake.approvals))
        ),
        "rate_cards_hash": hash_of_text(*(f"{name} {sha}" for name, sha in sorted(manifest.rate_cards.items()))),
        "code_hash": code_hash(),
        "tables_hash": hash_of_text(*sorted(published)),
    }
    return engine.sql(f"select {', '.join(f'${name} as {name}' for name in row)}", params=row)
