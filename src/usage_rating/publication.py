"""Writes a night: what is kept for the next one and what is published, then commits it."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb

from usage_rating.code import code_hash
from usage_rating.files import hash_of, hash_of_text
from usage_rating.intake import KEPT, Intake
from usage_rating.manifests import Chain, InputRecord, Manifest, run_id
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
    ((last_code,),) = engine.read_parquet(str(store.files("runs")[-1])).project("code_hash").fetchall()
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
    originals = {intake.kept_as[f.file.name]: f.sha256 for f in intake.files if f.file.name in intake.kept_as}
    staged = store.stage(originals)
    written = [_write_kept(engine, staged, name, run_number) for name in KEPT]
    written += [
        _write_table(staged, table, engine.table(table.name), run_number)
        for table in TABLES.values()
        if table.name not in ("usage_history", "runs")
    ]
    written += _write_history(engine, staged, run_number)
    written += [_write_of_usage(staged, each, run_number) for each in usage.to_keep()]
    manifest = Manifest(
        run_number=run_number,
        as_of=as_of.isoformat(),
        previous=before.last.sha256 if before.manifests else "",
        inputs=tuple(_records(intake, run_number)),
        rate_cards={f"{file.card.rate_card} v{file.card.version}": file.sha256 for file in intake.cards},
        files=_hashes(staged, written) | originals,
        policies=policies,
    )
    run_row = _run_row(engine, manifest, before, intake, as_of)
    written = [_write_table(staged, TABLES["runs"], run_row, run_number)]
    manifest = replace(manifest, files=manifest.files | _hashes(staged, written))
    store.commit(staged, manifest)
    return manifest


def _write_kept(engine: duckdb.DuckDBPyConnection, staged: Path, name: str, run_number: int) -> Path | None:
    is_read = name != "issued_cycles"
    rows = engine.table(f"new_{name}" if is_read else "cycles_issued")
    orders = {"issued_cycles": "subscription_id, cycle_start, kind", "approvals": "file, invoice_id, snapshot_at"}
    order = orders.get(name, "file, row_number")
    return _write(rows, order, staged / "kept" / name, run_id(run_number), run_number)


def _write_of_usage(staged: Path, kept: ToKeep, run_number: int) -> Path | None:
    folder = staged / kept.folder
    if kept.is_only_added_to:
        return _write(kept.rows, kept.order, folder, run_id(run_number), run_number)
    return _write_anew(kept.rows, kept.order, folder, "whole")


def _write_table(staged: Path, table: Table, rows: duckdb.DuckDBPyRelation, run_number: int) -> Path | None:
    typed = ", ".join(f"cast({column} as {kind}) as {column}" for column, kind in table.columns.items())
    order = ", ".join(table.order)
    if table.is_only_added_to:
        return _write(rows.project(typed), order, staged / table.name, run_id(run_number), run_number)
    return _write_anew(rows.project(typed), order, staged / table.name, table.name)


def _write_anew(rows: duckdb.DuckDBPyRelation, order: str, folder: Path, name: str) -> Path | None:
    """Writes a table that each run writes whole. The file there is the night before's too, and stays as it is."""
    (folder / f"{name}.parquet").unlink(missing_ok=True)
    return _write(rows, order, folder, name, run_number=1)


def _write_history(engine: duckdb.DuckDBPyConnection, staged: Path, run_number: int) -> list[Path | None]:
    """The history of the cycles issued now, and anew the files with cycles that are corrected: one row a figure."""
    table, rows = TABLES["usage_history"], engine.table("usage_history")
    corrected = engine.sql(
        "select i.subscription_id, i.cycle_start, i.issued_in_run from issued_cycles i "
        "inner join invoices_decided d on i.invoice_id = d.invoice_id "
        "where i.kind = 'cycle' and d.kind = 'correction' and d.reason is null"
    )
    key = "subscription_id, cycle_start"
    written = [_write_table(staged, table, rows.join(corrected, key, how="anti"), run_number)]
    for (issued_in_run,) in corrected.project("issued_in_run").distinct().order("issued_in_run").fetchall():
        own = corrected.filter(f"issued_in_run = {issued_in_run}")
        path = staged / table.name / f"{run_id(issued_in_run)}.parquet"
        now = rows.join(own, key, how="semi")
        if path.exists():
            now = engine.read_parquet(str(path)).join(own, key, how="anti").union(now)
        aside = path.with_suffix(".new")
        now.order(", ".join(table.order)).write_parquet(str(aside), compression="zstd")
        aside.replace(path)
        written.append(path)
    return written


def _write(rows: duckdb.DuckDBPyRelation, order: str, folder: Path, name: str, run_number: int) -> Path | None:
    """Writes rows in an order, or in theirs, if there are any; the first night writes every table, for its columns."""
    if run_number > 1 and not rows.limit(1).fetchall():
        return None
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.parquet"
    (rows.order(order) if order else rows).write_parquet(str(path), compression="zstd")
    return path


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
            intake.kept_as.get(f.file.name, ""),
        )
        for f in (*intake.files, *intake.repeats, *intake.approvals)
    ]


def _run_row(
    engine: duckdb.DuckDBPyConnection, manifest: Manifest, before: Chain, intake: Intake, as_of: date
) -> duckdb.DuckDBPyRelation:
    files = before.files | manifest.files
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


def _hashes(staged: Path, written: list[Path | None]) -> dict[str, str]:
    return {path.relative_to(staged).as_posix(): hash_of(path) for path in written if path}
