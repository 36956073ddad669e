"""What became of a row of an input file, and every published line that it fed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from duckdb import ColumnExpression, ConstantExpression

from usage_rating import originals
from usage_rating.errors import BadInput
from usage_rating.explanation.context import Context
from usage_rating.explanation.corrections import FEEDS_OF, INSTANTS, RELATION_OF, rows_between
from usage_rating.explanation.explaining import explain_in, last_run_before
from usage_rating.explanation.lines import ROWS_BY_KIND
from usage_rating.explanation.model import SourceRow
from usage_rating.explanation.published import Record, records
from usage_rating.explanation.rework import Archive, State, open_archive
from usage_rating.explanation.rows import source_row
from usage_rating.feeds import FEEDS
from usage_rating.figures import instant, span
from usage_rating.manifests import InputRecord, Manifest
from usage_rating.originals import Original

NEVER = ("duplicate", "rejected")  # such a row decides over no other
FALLING = ("usage", "one_off_charges")  # into one cycle; what the others say lasts


@dataclass(frozen=True)
class Fed:
    """A published line that a row fed."""

    invoice: Record
    line: Record


@dataclass(frozen=True)
class Reach:
    """A row, and the invoices that it may have fed, each with the end of its cycle."""

    feed: str
    row: Record
    cycle_ends: dict[str, datetime]

    def is_among(self, rows: list[SourceRow]) -> bool:
        """Whether the row is one of these."""
        return _place(self.row) in [each.place for each in rows]


@dataclass(frozen=True)
class Traced:
    """A row: where it was read, what it says, what became of it, and the lines it fed."""

    feed: str
    file: str
    row_number: int
    read_in_run: int
    row: SourceRow | None
    verdict: str
    says: list[str]
    fed: list[Fed] = field(default_factory=list)


def trace(input_folder: Path, output: Path, place: str) -> list[Traced]:
    """What became of a row, for each file of that name: the same name may come again with other bytes.

    :param place: FILE:ROW, the file as it was named when it was read, the row from 1
    :raises BadInput: no such file was read, or it has no such row
    """
    file, _, number = place.rpartition(":")
    if not file or not (number.isascii() and number.isdigit()) or not int(number):
        raise BadInput([f"{place}: not a row. Give FILE:ROW, such as usage/2024-01.csv:17; rows count from 1."])
    with open_archive(input_folder, output) as archive:
        return [trace_in(archive, record, int(number)) for record in _files(archive, file, int(number))]


def _files(archive: Archive, file: str, number: int) -> list[InputRecord]:
    """The files of this name that were read; one with the bytes of another was not."""
    named = [record for record in archive.chain.inputs if record.name == file and record.feed in FEEDS]
    read = [record for record in named if record.rows]
    if named and not read:
        twins = [r.name for r in archive.chain.inputs if r.sha256 == named[0].sha256 and r.rows]
        raise BadInput([f"{file}: adds nothing, for it has the bytes of {twins[0] if twins else 'an empty file'}."])
    if not read:
        raise BadInput([f"{file}: no run has read such a file. Name it as it lies in the input folder, with its feed."])
    with_row = [record for record in read if record.rows >= number]
    if not with_row:
        raise BadInput([f"{file}:{number}: the file has {max(record.rows for record in read):,} rows."])
    return with_row


def trace_in(archive: Archive, record: InputRecord, number: int) -> Traced:
    """One row of one file that was read."""
    found = _row(archive, record, number)
    listed = [
        each
        for each in archive.published.listed(record.feed, record.name, number)
        if int(each["read_in"]) == record.run_number
    ]
    said = (record.feed, record.name, number, record.run_number)
    if found is None or (record.feed == "cart_snapshots" and found["state"] is None):
        return Traced(*said, None, *_refused(listed))
    row = source_row(record.feed, found)
    if record.feed == "credit_topups":
        return Traced(*said, row, *_topup(archive, found, listed))
    if record.feed == "accounts":
        return Traced(*said, row, *_account(archive, found, listed))
    state = archive.judged(record.feed, found, archive.chain.last)
    verdict, says = _verdict(record.feed, found, state, listed)
    instants = [each[INSTANTS[record.feed]] for each in (found, *_alike(record.feed, found, state))]
    fed = list(_fed(archive, _reach(archive, record.feed, found, instants)))
    if verdict == "counted" and not fed:
        says += _without_line(archive, record.feed, found, state)
    return Traced(*said, row, verdict, says, fed)


def _row(archive: Archive, record: InputRecord, number: int) -> Record | None:
    """The row as it is kept; None where it was refused when it was read."""
    feed = FEEDS[record.feed]
    engine = archive.engine
    if record.kept_as:
        path = archive.store.current.resolve() / record.kept_as
        kept = originals.open_row(engine, feed, Original(path, record.run_number, record.name), number)
    elif record.feed == "usage":
        kept = engine.read_parquet(str(archive.usage.typed[record.run_number]))
    else:
        kept = engine.table(f"known_{record.feed}")
    is_it = (
        (ColumnExpression("row_number") == ConstantExpression(number))
        & (ColumnExpression("file") == ConstantExpression(record.name))
        & (ColumnExpression("run_number") == ConstantExpression(record.run_number))
    )
    found = records(kept.filter(is_it))
    return found[0] if found else None


def _refused(listed: list[Record]) -> tuple[str, list[str]]:
    for each in listed:
        return str(each["status"]), [f"{each['reason']}: {each['detail']}", f"it reads {each['raw']}"]
    return "rejected", ["it could not be read as a row"]


def _verdict(feed: str, row: Record, state: State, listed: list[Record]) -> tuple[str, list[str]]:
    """What became of it by the last run, with the rows that decided over it."""
    judged = [each for each in state.relations[RELATION_OF[feed]] if _place(each) == _place(row)]
    if not judged:
        return _refused(listed)
    (own,) = judged
    verdict = str(own["verdict"])
    alike = _alike(feed, row, state)
    if verdict == "duplicate":
        first = [each for each in alike if each["revision"] == row["revision"] and each["verdict"] not in NEVER]
        return verdict, [f"it repeats {_named(first)}, and counts once"]
    if verdict == "superseded":
        newer = [each for each in alike if each["revision"] > row["revision"] and each["verdict"] not in NEVER]
        newest = sorted(newer, key=lambda each: each["revision"])[-1:]
        word = "taken out by" if newest and newest[0]["voided"] else "superseded by"
        return verdict, [f"it is {word} {_named(newest)}, which has revision {newest[0]['revision'] if newest else ''}"]
    if verdict == "voided":
        taken = [each for each in alike if each["revision"] < row["revision"]]
        return verdict, [f"it takes out {_named(taken)}" if taken else "it takes out a row that never came"]
    if verdict in ("rejected", "held", "unpriced"):
        since = "".join(f"; it waits since {each['held_since']}" for each in listed if each["held_since"])
        return verdict, [f"{own['reason']}: {own['detail']}{since}"]
    return verdict, ["it counts"]


def _alike(feed: str, row: Record, state: State) -> list[Record]:
    """The other rows with the key of this one."""
    return [
        each
        for each in state.relations[RELATION_OF[feed]]
        if _place(each) != _place(row) and all(each[name] == row[name] for name in FEEDS[feed].key)
    ]


def _named(rows: Iterable[Record]) -> str:
    return ", ".join(f"{row['file']}:{row['row_number']}" for row in rows) or "a row that is not known any more"


def _fed(archive: Archive, reach: Reach) -> Iterable[Fed]:
    """The published lines whose explanation names the row, without working them out once more."""
    for invoice in archive.published.invoices_of(reach.row["subscription_id"]):
        if (invoice["corrects_invoice_id"] or invoice["invoice_id"]) not in reach.cycle_ends:
            continue
        run = archive.published.run_of(invoice)
        if run.run_number >= reach.row["run_number"]:
            rest = _of_correction if invoice["corrects_invoice_id"] else _of_invoice
            lines = archive.published.lines(invoice["invoice_id"])
            own = [line for line in lines if reach.feed in FEEDS_OF[line["kind"]]]
            yield from (Fed(invoice, line) for line in rest(archive, reach, invoice, run, own))


def _of_invoice(archive: Archive, reach: Reach, invoice: Record, run: Manifest, lines: list[Record]) -> list[Record]:
    """Those of the lines that rest on the row."""
    until = reach.cycle_ends[invoice["invoice_id"]]
    state = archive.judged_before(reach.feed, reach.row, run, until)
    context = Context(archive.published, state.with_lines(lines), invoice)
    return [line for line in lines if reach.is_among(ROWS_BY_KIND[line["kind"]](context, line))]


def _of_correction(archive: Archive, reach: Reach, invoice: Record, run: Manifest, lines: list[Record]) -> list[Record]:
    """Those of a correction's lines that the row has made, alone or with others.

    Before is the run before; or, where a bound held the correction, the last run that issued something of the invoice.
    The figures tell which, so they are asked for only where it makes a difference to the row.
    """
    published = archive.published
    base = published.invoice(invoice["corrects_invoice_id"])
    until = reach.cycle_ends[base["invoice_id"]]
    numbers = (run.run_number - 1, last_run_before(archive, invoice).run_number)
    before, issued, now = (
        Context(published, archive.judged_before(reach.feed, reach.row, each, until), base)
        for each in (*(archive.chain.manifests[number - 1] for number in numbers), run)
    )
    found, or_else = (
        [line for line in lines if reach.is_among(rows_between(each, now, line))] for each in (before, issued)
    )
    if found == or_else:
        return found
    named = {line.line_number for line in explain_in(archive, invoice).lines if reach.is_among(line.rows)}
    return [line for line in lines if line["line_number"] in named]


def _reach(archive: Archive, feed: str, row: Record, instants: list[datetime]) -> Reach:
    """The invoices that a row may have fed, by its instant and those of its other revisions."""
    cycles = records(
        archive.engine.sql(
            "select invoice_id, starts_at, ends_at from issued_cycles where subscription_id = $id",
            params={"id": row["subscription_id"]},
        )
    )
    last = timedelta(microseconds=1 if feed == "subscriptions" else 0)  # at a cycle's end one decides the next fee
    is_touched = (
        (lambda each: any(each["starts_at"] <= at < each["ends_at"] for at in instants))
        if feed in FALLING
        else (lambda each: min(instants) < each["ends_at"] + last)
    )
    return Reach(feed, row, {each["invoice_id"]: each["ends_at"] for each in cycles if is_touched(each)})


def _without_line(archive: Archive, feed: str, row: Record, state: State) -> list[str]:
    """Why a row that counts is on no line."""
    at = row[INSTANTS[feed]]
    for cycle in state.relations["billing_cycles"]:
        if cycle["starts_at"] <= at < cycle["ends_at"]:
            issued = [
                each
                for each in archive.published.invoices_of(row["subscription_id"])
                if each["cycle_start"] == cycle["cycle_start"] and each["kind"] == "cycle"
            ]
            if not issued:
                return [f"its cycle, {span(cycle['cycle_start'], cycle['cycle_end'])}, is not invoiced yet"]
            number = f"{issued[0]['rate_card']}/{issued[0]['invoice_number']}"
            return [f"it lies in the cycle of invoice {number}, and no published line rests on it"]
    return [f"no cycle that has begun holds {instant(at)}"]


def _topup(archive: Archive, row: Record, listed: list[Record]) -> tuple[str, list[str]]:
    if listed:
        return _refused(listed)
    entries = archive.published.ledger(row["topup_id"])
    said = [
        f"posted to the credit of {each['account_id']} on {each['entry_date']}: {each['amount']} {each['currency']}, "
        f"balance then {each['balance']}"
        for each in entries
    ]
    return "counted", said or ["it is in the ledger of no account"]


def _account(archive: Archive, row: Record, listed: list[Record]) -> tuple[str, list[str]]:
    if listed:
        return _refused(listed)
    count = archive.engine.execute(
        "select count(*) from invoices_before where account_id = $id", {"id": row["account_id"]}
    ).fetchall()[0][0]
    return "counted", [
        f"it says what is known of the account {row['account_id']}: its zone and the day it was created; "
        f"{count:,} invoices of it are issued"
    ]


def _place(row: Record) -> tuple[str, int, int]:
    return row["file"], row["row_number"], row["run_number"]


def as_text(traced: list[Traced]) -> str:
    """For a person."""
    return "\n\n".join("\n".join(_text(each)) for each in traced) + "\n"


def _text(traced: Traced) -> Iterable[str]:
    yield f"{traced.file}:{traced.row_number}, read by run {traced.read_in_run:06d}"
    if traced.row:
        yield "  " + ", ".join(f"{name}={value}" for name, value in traced.row.content.items())
    yield f"  {traced.verdict}: {'; '.join(traced.says)}"
    for each in traced.fed:
        invoice, line = each.invoice, each.line
        yield (
            f"  fed line {line['line_number']} of {invoice['rate_card']}/{invoice['invoice_number']} "
            f"({invoice['kind']}, {invoice['invoice_id']}): {line['kind']} {line['charge']}, "
            f"{line['amount']} {invoice['currency']}"
        )


def as_data(traced: list[Traced]) -> list[dict[str, Any]]:
    """For a program."""
    return [
        {
            "feed": each.feed,
            "file": each.file,
            "row_number": each.row_number,
            "read_in_run": each.read_in_run,
            "content": each.row.content if each.row else None,
            "verdict": each.verdict,
            "says": each.says,
            "lines": [
                {
                    "invoice_id": fed.invoice["invoice_id"],
                    "rate_card": fed.invoice["rate_card"],
                    "invoice_number": fed.invoice["invoice_number"],
                    "invoice_kind": fed.invoice["kind"],
                    "line_number": fed.line["line_number"],
                    "kind": fed.line["kind"],
                    "charge": fed.line["charge"],
                    "plan": fed.line["plan"],
                    "amount": fed.line["amount"],
                }
                for fed in each.fed
            ],
        }
        for each in traced
    ]
