"""Approvals: what a person let pass that a bound had held. Each is a small file, and an input of the next run."""

import csv
import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from usage_rating.errors import BadInput
from usage_rating.files import hash_of, private_files, sync
from usage_rating.input_files import CheckedFile, input_file
from usage_rating.manifests import Chain
from usage_rating.store import Store

FEED = "approvals"
COLUMNS = {
    "invoice_id": "varchar",
    "total": "decimal(20, 4)",
    "snapshot_at": "timestamptz",
    "approved_by": "varchar",
    "approved_at": "timestamptz",
}
SCHEMA = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items()) + ", run_number integer, file varchar"
# No approval gives a cycle a price.
NOT_APPROVABLE = "without_price"


@dataclass(frozen=True)
class Held:
    """Something that waits for approval: an invoice by its id, with its total, or a snapshot by its instant."""

    subject: str
    total: str | None
    says: str


def held(output: Path) -> list[Held]:
    """What the last night holds and an approval would let pass.

    :raises BadInput: there is no published night, or a table of it is damaged
    """
    files = Store(output).published_files("held_invoices", "rejected_rows")
    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        invoices, refused = (engine.read_parquet([str(path) for path in own]) for own in files)
        found = (
            invoices.filter(f"reason <> '{NOT_APPROVABLE}'")
            .order("invoice_id")
            .project(
                "invoice_id, total::varchar, concat_ws(' ', kind, 'of', account_id, 'for the cycle of', cycle_start, "
                "'over', total, currency || ':', reason)"
            )
            .fetchall()
        )
        found += (
            refused.filter("reason = 'incomplete_snapshot'")
            .aggregate("raw ->> 'snapshot_at' as snapshot_at, count(*) as listed", "1")
            .order("snapshot_at")
            .project("snapshot_at, null, 'snapshot of ' || listed || ' rows, held as incomplete'")
            .fetchall()
        )
    return [Held(*row) for row in found]


def approve(output: Path, subjects: list[str]) -> Path:
    """Writes an approval, which counts from the next run on.

    An invoice is approved for the total it is held with: should it come to another one by then, it is held again.

    :param subjects: invoice ids and instants of snapshots, as `held` gives them; an instant also as ISO 8601
    :returns: the file written
    :raises BadInput: one of them is not held; nothing is approved then
    """
    waiting = {each.subject: each for each in held(output)}
    named = {subject: subject if subject in waiting else _instant(subject) for subject in subjects}
    unknown = [subject for subject, name in named.items() if name not in waiting]
    if unknown:
        known = ", ".join(waiting) or "nothing"
        raise BadInput(f"{text}: is not held, or no approval lets it pass.\n    Held: {known}" for text in unknown)
    with private_files():
        approved = [waiting[name] for name in named.values() if name]
        return _write(output / FEED, approved, Store(output).chain)


def _write(folder: Path, approved: list[Held], chain: Chain) -> Path:
    """A number is not given twice, also where somebody took a file away, or two people approve at once."""
    folder.mkdir(exist_ok=True)
    names = [record.name for record in chain.inputs if record.feed == FEED]
    taken = [int(Path(str(name)).stem) for name in (*names, *folder.glob("[0-9]*.csv"))]
    aside = folder / f".{os.getpid()}.csv"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with aside.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for each in approved:
            what = [each.subject, each.total, None] if each.total else [None, None, each.subject]
            rows.writerow([*what, _who(), now])
    sync(aside)
    path = _link(aside, folder, max(taken, default=0) + 1)
    aside.unlink()
    sync(folder)
    return path


def _link(aside: Path, folder: Path, number: int) -> Path:
    """Gives a written file the first number from this one on that nobody else has taken meanwhile."""
    while True:
        path = folder / f"{number:06d}.csv"
        try:
            path.hardlink_to(aside)
        except FileExistsError:
            number += 1
        else:
            return path


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        return str(os.getuid())


def _instant(text: str) -> str | None:
    """An instant as the engine writes it."""
    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        query = "select cast(try_cast($text as timestamptz) as varchar)"
        ((found,),) = engine.execute(query, {"text": text}).fetchall()
    return str(found) if found else None


def no_new_approvals(engine: duckdb.DuckDBPyConnection) -> None:
    """Makes an empty `new_approvals`."""
    engine.execute(f"create or replace table new_approvals ({SCHEMA})")


def open_approvals(
    engine: duckdb.DuckDBPyConnection, output: Path, chain: Chain, announce: Callable[[str], None]
) -> list[CheckedFile]:
    """Makes `new_approvals` of those that no run has taken in; gives their files.

    :raises BadInput: one is not as it was written
    """
    announce("approvals")
    no_new_approvals(engine)
    known = {record.name for record in chain.inputs if record.feed == FEED}
    files = []
    for path in sorted((output / FEED).glob("[0-9]*.csv")):
        name = f"{FEED}/{path.name}"
        if name in known:
            continue
        file, sha256 = input_file(FEED, name, path), hash_of(path)
        files.append(CheckedFile(file, sha256, tuple(COLUMNS), _read(engine, path, name, chain.last.run_number + 1)))
    return files


def _read(engine: duckdb.DuckDBPyConnection, path: Path, name: str, run_number: int) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        engine.executemany(
            f"insert into new_approvals values ({', '.join(f'${column}' for column in COLUMNS)}, $run_number, $file)",
            [
                {column: row[column] or None for column in COLUMNS} | {"run_number": run_number, "file": name}
                for row in rows
            ],
        )
    except (KeyError, duckdb.Error):
        raise BadInput([f"{name}: is damaged. Take it away, and approve what it held again."]) from None
    return len(rows)
