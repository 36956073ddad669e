"""Takes in what is new: rate cards and files that no earlier night has read, joined to the rows kept from before.

Afterwards the engine holds, beside `new_<feed>`, for every feed but usage `known_<feed>`: all rows ever read.
"""

from collections.abc import Callable
from dataclasses import dataclass

import duckdb

from usage_rating import ingest, originals
from usage_rating.approvals import no_new_approvals, open_approvals
from usage_rating.errors import BadInput
from usage_rating.feeds import FEEDS
from usage_rating.input_files import CheckedFile, check, files_in, not_read
from usage_rating.manifests import Chain
from usage_rating.originals import Original
from usage_rating.rate_card_files import CardFile, read_rate_cards
from usage_rating.report import FeedCount
from usage_rating.settings import Settings
from usage_rating.store import Store
from usage_rating.tables import ISSUED_CYCLES, TABLES, Table
from usage_rating.usage_at_hand import UsageFiles

OPENED_WHEN_ASKED_FOR = ("usage", "usage_files")  # and held against their hashes then
KEPT = (*FEEDS, "rejected_rows", "issued_cycles", "approvals")
PUBLISHED_BEFORE = (
    "rejected_rows",
    "held_invoices",
    "invoices",
    "invoice_lines",
    "alerts",
    "credit_ledger",
    "balances",
)


@dataclass(frozen=True)
class Intake:
    """What a night took in; `repeats` are files whose bytes were known.

    `kept_as` says of large files under which name of the night's folder each is kept, and the hash of what is there.
    """

    cards: list[CardFile]
    files: list[CheckedFile]
    repeats: list[CheckedFile]
    feeds: list[FeedCount]
    notes: list[str]
    approvals: list[CheckedFile]
    kept_as: dict[str, tuple[str, str]]
    usage: UsageFiles


def take_in(
    engine: duckdb.DuckDBPyConnection,
    settings: Settings,
    store: Store,
    before: Chain,
    announce: Callable[[str], None],
) -> Intake:
    """Reads new files into typed rows and opens the rows kept from earlier nights.

    :param before: the last night; its files are not read again, its kept rows are checked against their hashes
    :raises BadInput: files that cannot be read or lack columns, and faulty rate cards, all at once
    """
    notes = [f"not read: {name} belongs to no feed" for name in not_read(settings.input)]
    announce("checking what is kept")
    store.refuse_missing()
    store.refuse_damaged(path for path in store.all_files() if path.parent.name not in OPENED_WHEN_ASKED_FOR)
    announce("looking for new files")
    checked, cards = _checked(settings, before)
    files = _not_delivered_before(checked, before, notes)
    ingest.prepare(engine)
    kept_as = _read_all(engine, files, before.last.run_number + 1, store, announce)
    approvals = open_approvals(engine, store.output, before, announce)
    announce("opening what is kept")
    kept = _originals(store, before, files, kept_as)
    _open_known_rows(engine, store, kept)
    engine.execute("create or replace table issued_cycles as from known_issued_cycles")
    _list_files_read(engine, before, files)
    rejected = dict(engine.execute("select feed, count(*) from new_rejected_rows group by feed").fetchall())
    files_of = {feed: [checked for checked in files if checked.file.feed == feed] for feed in FEEDS}
    feeds = [
        FeedCount(feed, len(own), sum(checked.rows for checked in own), rejected.get(feed, 0))
        for feed, own in files_of.items()
        if own
    ]
    repeats = [file for file in checked if file not in files]
    return Intake(cards, files, repeats, feeds, notes, approvals, kept_as, _usage_files(store, kept))


def open_kept(engine: duckdb.DuckDBPyConnection, store: Store) -> UsageFiles:
    """Opens what all runs so far kept and published, with nothing new: for who asks, and bills nothing.

    :raises BadInput: a file of the last night is missing, or one with other than usage is not as it was written
    """
    store.refuse_missing()
    store.refuse_damaged(path for path in store.all_files() if not path.parent.name.startswith("usage"))
    ingest.prepare(engine)
    no_new_approvals(engine)
    kept = _originals(store, store.chain, [], {})
    _open_known_rows(engine, store, kept)
    engine.execute("create view issued_cycles as from known_issued_cycles")  # few of them are asked for
    return _usage_files(store, kept)


def _usage_files(store: Store, kept: dict[str, list[Original]]) -> UsageFiles:
    return UsageFiles(store, {int(path.stem): path for path in store.files("kept/usage")}, kept["usage"])


def _checked(settings: Settings, before: Chain) -> tuple[list[CheckedFile], list[CardFile]]:
    """Checks files and cards both, so that one run shows every fault."""
    faults: list[str] = []
    files: list[CheckedFile] = []
    cards: list[CardFile] = []
    try:
        seen = {(record.name, record.bytes, record.modified_ns) for record in before.inputs}
        unseen = [f for f in files_in(settings.input) if (f.name, f.bytes, f.modified_ns) not in seen]
        files = check(unseen, allow_missing_final_newline=settings.allow_missing_final_newline)
    except BadInput as error:
        faults += error.faults
    try:
        cards = read_rate_cards(settings.input / "rate_cards")
    except BadInput as error:
        faults += error.faults
    if faults:
        raise BadInput(faults)
    return files, cards


def _not_delivered_before(files: list[CheckedFile], before: Chain, notes: list[str]) -> list[CheckedFile]:
    """Leaves out files whose bytes were taken in before, under whatever name."""
    known = {(record.feed, record.sha256): record.name for record in before.inputs}
    names = {record.name for record in before.inputs}
    new = []
    for checked in files:
        file, key = checked.file, (checked.file.feed, checked.sha256)
        if key in known:
            if known[key] != file.name:
                notes.append(f"adds nothing: {file.name} has the bytes of {known[key]}")
            continue
        if file.name in names:
            notes.append(f"delivered anew: {file.name} has other bytes than before")
        known[key] = file.name
        new.append(checked)
    return new


def _read_all(
    engine: duckdb.DuckDBPyConnection,
    files: list[CheckedFile],
    run_number: int,
    store: Store,
    announce: Callable[[str], None],
) -> dict[str, tuple[str, str]]:
    """Gives the names and hashes under which large files are kept, by the files' own names."""
    faults: list[str] = []
    refused: set[str] = set()
    kept: list[originals.Kept] = []
    large = list(filter(originals.is_large, files))
    for number, checked in enumerate(large, 1):
        announce(f"reading {checked.file.name} · {number} of {len(large)} large files")
        try:
            name = originals.name_of(checked.file.feed, run_number, len(kept) + 1)
            each = originals.keep(engine, checked, store, name)
            kept += [each] if each else []
        except BadInput as error:
            faults += error.faults
            refused.add(checked.file.name)
    originals.type_others(engine, kept, run_number)
    kept_as = {each.checked.file.name: (each.name, each.sha256) for each in kept}
    others = [checked for checked in files if checked.file.name not in kept_as.keys() | refused]
    try:
        ingest.read_files(engine, others, run_number, store.work, announce)
    except BadInput as error:
        faults += error.faults
    if faults:
        raise BadInput(faults)
    return kept_as


def _originals(
    store: Store, before: Chain, files: list[CheckedFile], kept_as: dict[str, tuple[str, str]]
) -> dict[str, list[Original]]:
    """By feed, the large files: those of earlier nights, and the new ones where they wait for this one."""
    found: dict[str, list[Original]] = {feed: [] for feed in FEEDS}
    night, run_number = store.current.resolve(), before.last.run_number + 1
    for record in before.inputs:
        if record.kept_as:
            found[record.feed].append(Original(night / record.kept_as, record.run_number, record.name))
    for file in (checked.file for checked in files):
        if file.name in kept_as:
            found[file.feed].append(Original(store.work / kept_as[file.name][0], run_number, file.name))
    return found


def _list_files_read(engine: duckdb.DuckDBPyConnection, before: Chain, files: list[CheckedFile]) -> None:
    """Makes `files_read`: every file ever read, with its number of rows."""
    run_number = before.last.run_number + 1
    read = [(record.feed, record.run_number, record.name, record.rows) for record in before.inputs if record.rows]
    read += [(new.file.feed, run_number, new.file.name, new.rows) for new in files]
    feeds, runs, names, rows = zip(*read, strict=True) if read else ((), (), (), ())
    engine.execute(
        "create or replace table files_read as select "
        "unnest($feeds::varchar[]) as feed, unnest($runs::integer[]) as run_number, "
        "unnest($names::varchar[]) as file, unnest($rows::bigint[]) as rows_read",
        {"feeds": list(feeds), "runs": list(runs), "names": list(names), "rows": list(rows)},
    )


def _open_known_rows(engine: duckdb.DuckDBPyConnection, store: Store, kept: dict[str, list[Original]]) -> None:
    """Makes `known_<feed>` of what earlier nights kept and what is new, but for usage; opens what was published.

    :param kept: by feed, the large files
    """
    engine.execute(f"create or replace table new_issued_cycles ({ISSUED_CYCLES})")
    for name in (name for name in KEPT if name not in OPENED_WHEN_ASKED_FOR):
        files = [str(path) for path in store.files(f"kept/{name}")]
        known = engine.table(f"new_{name}")
        if files:
            known = engine.read_parquet(files).union(known)
        for rows in originals.open_rows(engine, FEEDS[name], kept[name]) if name in FEEDS else ():
            known = known.union(rows)
        known.create_view(f"known_{name}")
    for name in PUBLISHED_BEFORE:
        files = [str(path) for path in store.files(name)]
        earlier = engine.read_parquet(files) if files else empty(engine, TABLES[name])
        earlier.create_view(f"{name}_before")
    engine.execute(
        "create or replace view issued_numbers as "
        "select rate_card, max(invoice_number) as last_number from invoices_before group by rate_card"
    )


def empty(engine: duckdb.DuckDBPyConnection, table: Table) -> duckdb.DuckDBPyRelation:
    """A published table without rows."""
    columns = ", ".join(f"null::{kind} as {name}" for name, kind in table.columns.items())
    return engine.sql(f"select {columns} limit 0")
