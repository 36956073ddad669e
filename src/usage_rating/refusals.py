"""What stops a run after its rows are read: said in full, before anything is worked out from it or published."""

from decimal import Decimal
from typing import Any

import duckdb

from usage_rating.errors import BadInput
from usage_rating.rate_card_files import CardFile

REJECTED_ALWAYS_ALLOWED = 20


def refuse_changed_cards(
    engine: duckdb.DuckDBPyConnection, cards: list[CardFile], hashes_before: dict[str, str]
) -> None:
    """An issued invoice keeps its price: its card version may not change, go, or be overtaken by a new one.

    :param hashes_before: card version ("app-store v1") to the hash of its file in the last night
    :raises BadInput: naming each version, its file and the invoices it priced
    """
    files = {(file.card.rate_card, file.card.version): file for file in cards}
    faults = []
    for card, version, version_now, cycle_start, invoices in _issued_by_version(engine):
        issued = f"invoices already issued ({invoices:,}, the first for the cycle of {cycle_start})"
        file = files.get((card, version))
        hash_before = hashes_before[f"{card} v{version}"]
        if file is None:
            faults.append(f"rate_cards/: version {version} of {card} is gone but priced {issued}. Put it back.")
        elif file.sha256 != hash_before:
            faults.append(
                f"{file.name}: has changed (SHA-256 {file.sha256[:12]}, was {hash_before[:12]}) but priced {issued}. "
                "Restore it, and say the change in a new version."
            )
        elif version != version_now:
            faults.append(
                f"rate_cards/: version {version_now} of {card} would re-price {issued}, priced by version {version}. "
                "Give it a later effective_from."
            )
    if faults:
        raise BadInput(faults)


def _issued_by_version(engine: duckdb.DuckDBPyConnection) -> list[Any]:
    return engine.execute(
        """
        with fees as (
            select
                coalesce(i.corrects_invoice_id, i.invoice_id) as invoice_id,
                i.rate_card,
                l.rate_card_version,
                l.service_start as cycle_start
            from invoice_lines_before l
            inner join invoices_before i on l.invoice_id = i.invoice_id
            where l.kind = 'recurring'
            group by 1, 2, 3, 4, l.charge, l.plan
            having sum(l.quantity) <> 0
        ),
        priced as (
            select invoice_id, rate_card, rate_card_version, cycle_start from issued_cycles
            union all
            from fees
        )
        select p.rate_card, p.rate_card_version, v.rate_card_version, min(p.cycle_start), count(distinct p.invoice_id)
        from priced p
        left join rate_card_versions v
            on p.rate_card = v.rate_card
            and p.cycle_start >= v.effective_from
            and (v.effective_until is null or p.cycle_start < v.effective_until)
        group by all
        order by all
        """
    ).fetchall()


def refuse_lost_starts(engine: duckdb.DuckDBPyConnection) -> None:
    """An invoiced subscription keeps its start, from which its cycles are counted.

    No row can move it (`would_move_cycles`), but a card can from which the plan started on has gone.

    :raises BadInput: naming each such subscription, its start and its card
    """
    lost = engine.execute(
        """
        select distinct i.subscription_id, i.started_at::varchar, i.rate_card
        from issued_cycles i
        left join subscription_starts s on i.subscription_id = s.subscription_id
        where s.started_at is distinct from i.started_at
        order by all
        """
    ).fetchall()
    if lost:
        raise BadInput(
            [
                f"rate_cards/: subscription {subscription_id} is invoiced as started at {started_at}, on a plan that "
                f"no version of {card} has any more. Put the plan back."
                for subscription_id, started_at, card in lost
            ]
        )


def refuse_cycles_without_price(engine: duckdb.DuckDBPyConnection) -> None:
    """Every cycle to invoice must have a card version in force, with the subscription's plan in it.

    :raises BadInput: naming the subscription's row, and the versions or plans there are
    """
    faults = []
    found = engine.table("cycles_without_price").filter("not is_issued").order("file, row_number, cycle_start, plan")
    for _, cycle_start, card, version, plan, first, plans, file, row, _ in found.fetchall():
        if version is None:
            faults.append(
                f"{file}: row {row}: no version of {card} is in force on {cycle_start}, when a cycle of this "
                f"subscription starts. The first holds from {first}; add an earlier one or correct effective_from."
            )
        else:
            faults.append(
                f"{file}: row {row}: version {version} of {card} prices this subscription's cycle of {cycle_start} "
                f"but has no plan '{plan}'. Its plans: {plans}."
            )
    if faults:
        raise BadInput(faults)


def refuse_too_many_rejected(
    engine: duckdb.DuckDBPyConnection, run_id: str, rows_read: int, share_allowed: Decimal
) -> None:
    """A broken export should stop the night, not shrink the bill.

    :raises BadInput: more than 20 rows, and more than the share of the rows newly read, were rejected for good; with
        the counts by reason and the first twenty by file, row and column, but no customer's value
    """
    found = engine.table("rejected_rows").filter(f"status = 'rejected' and run_id = '{run_id}'")
    counts = found.aggregate("feed, reason, count(*)", "feed, reason").order("feed, reason").fetchall()
    rejected = sum(count for _, _, count in counts)
    if rejected <= REJECTED_ALWAYS_ALLOWED or Decimal(rejected) <= share_allowed * rows_read:
        return
    first = found.order("file, row_number").limit(REJECTED_ALWAYS_ALLOWED)
    raise BadInput(
        [
            f"{rejected:,} of {rows_read:,} rows newly read are rejected, more than --max-rejected {share_allowed} "
            "allows. Correct the export, or allow more if this is as it should be.",
            *(f"  {feed}: {reason}: {count:,} rows" for feed, reason, count in counts),
            *(
                f"  {file}: row {row}: {reason}: {_without_value(detail)}"
                for file, row, reason, detail in first.project("file, row_number, reason, detail").fetchall()
            ),
        ]
    )


def _without_value(detail: str) -> str:
    """The column at fault; the customer's value stays in the output folder."""
    return detail.partition(" is '")[0]
