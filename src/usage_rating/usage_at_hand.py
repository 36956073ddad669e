"""Picks the usage rows that a night has to look at, so that it pays for these and not for all that were ever read.

A plain row has its key to itself and falls where it counts. It is looked at in the night that reads it, and again in
one that rates its cycle or changes the span it falls into; in between nobody opens it. All other rows are kept together
and looked at every night: what repeats or revises another, is voided, held or not priced.

Three things are kept for that: the hashes of all keys, the rows that are not plain, and the last night's spans.
"""

from collections.abc import Container
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path

import duckdb

from usage_rating import originals
from usage_rating.code import code_hash
from usage_rating.feeds import FEEDS
from usage_rating.originals import Original
from usage_rating.store import Store

KEYS, LOOKED_AT, SPANS = "kept/usage_keys", "kept/usage_looked_at", "kept/usage_spans"
# 40 bits of a hash take 2.5 bytes once they are sorted. Two keys of one hash are looked at row by row, which changes
# nothing in what is found.
KEY_HASH = f"(hash({', '.join(FEEDS['usage'].key)}) >> 24)::bigint as key_hash"
SORTED_FROM_ROWS = 500_000  # below, loading numpy takes longer than it saves
PLACE = "run_number, file, row_number"
INTERVALS_MAX = 64  # a condition of more parts costs more than it spares


@dataclass(frozen=True)
class UsageFiles:
    """Where the usage rows of all runs lie: `typed`, one file a run, and files kept as they are."""

    typed: dict[int, Path]
    originals: list[Original]

    def rows(self, engine: duckdb.DuckDBPyConnection, runs: Container[int]) -> duckdb.DuckDBPyRelation:
        """What these runs left in files, with the columns of `new_usage`."""
        parts = [engine.table("new_usage").filter("false")]
        if typed := [str(path) for run, path in self.typed.items() if run in runs]:
            parts.append(engine.read_parquet(typed))
        asked = [original for original in self.originals if original.run_number in runs]
        parts += originals.open_rows(engine, FEEDS["usage"], asked)
        return reduce(duckdb.DuckDBPyRelation.union, parts)


def gather(engine: duckdb.DuckDBPyConnection, store: Store, files: UsageFiles, run_number: int) -> None:
    """Makes `usage_at_hand` of the new rows, those that are not plain, and those whose key a new row has too.

    And `usage_keys_repeated`: the hashes of keys that more than one row may have, or whose rows are not plain. Where
    nothing is kept for this, as by a version before it, all rows are new. `usage_kept`, the plain rows of earlier runs
    that are asked for once more, is empty until `open_kept`.
    """
    first_new = run_number if store.files(SPANS) else 1
    new = files.rows(engine, range(first_new, run_number + 1)).union(engine.table("new_usage"))
    new.project(f"*, {KEY_HASH}").create_view("usage_new")
    files.rows(engine, range(1, first_new)).project(f"*, {KEY_HASH}").create_view("usage_before")
    looked_at = _kept(engine, store, LOOKED_AT, "from new_usage limit 0").project(f"*, {KEY_HASH}")
    _recreate(engine, "usage_looked_at", looked_at)
    _sort_new_keys(engine)
    _find_keys_met(engine, store)
    met_in = {int(Path(name).stem) for (name,) in engine.table("usage_keys_met").project("filename").fetchall()}
    met = files.rows(engine, met_in).project(f"*, {KEY_HASH}")
    _recreate(engine, "usage_met", met.join(engine.table("usage_keys_met"), "key_hash", how="semi"))
    engine.execute(
        """
        create or replace table usage_keys_repeated as
        from usage_keys_repeated union select key_hash from usage_keys_met union select key_hash from usage_looked_at;
        create or replace table usage_asked_again as from usage_met limit 0;
        create or replace view usage_at_hand as
        from usage_new union all from usage_looked_at union all from usage_met union all from usage_asked_again;
        create or replace view usage_kept as from usage_before limit 0
        """
    )


def _recreate(engine: duckdb.DuckDBPyConnection, name: str, rows: duckdb.DuckDBPyRelation) -> None:
    engine.execute(f"drop table if exists {name}")
    rows.create(name)


def _kept(engine: duckdb.DuckDBPyConnection, store: Store, folder: str, or_else: str) -> duckdb.DuckDBPyRelation:
    files = [str(path) for path in store.files(folder)]
    return engine.read_parquet(files) if files else engine.sql(or_else)


def _sort_new_keys(engine: duckdb.DuckDBPyConnection) -> None:
    """Makes `usage_keys_new`, sorted, and begins `usage_keys_repeated` with those that two new rows share.

    Sorting bare hashes takes a fraction of the time in which the engine groups them.
    """
    ((rows,),) = engine.table("usage_new").aggregate("count(*)").fetchall()
    if rows < SORTED_FROM_ROWS:
        engine.execute(
            """
            create or replace table usage_keys_new as select key_hash from usage_new order by key_hash;
            create or replace table usage_keys_repeated as
            select key_hash from usage_keys_new group by key_hash having count(*) > 1
            """
        )
        return
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    hashes = engine.table("usage_new").project("key_hash").fetchnumpy()["key_hash"]
    hashes.sort()
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    for name, found in (("usage_keys_new", hashes), ("usage_keys_repeated", repeated)):
        _recreate(engine, name, engine.from_arrow(pa.table({"key_hash": found})))


def _find_keys_met(engine: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Makes `usage_keys_met`: the new rows' keys that plain rows of earlier runs have, and each run's file of keys."""
    files = [str(path) for path in store.files(KEYS)]
    if not files:
        engine.execute("create or replace table usage_keys_met (key_hash bigint, filename varchar)")
        return
    engine.read_parquet(files, filename=True).create_view("usage_keys_before")
    engine.execute(
        """
        create or replace table usage_keys_met as
        select distinct before.key_hash, before.filename
        from usage_keys_before as before
        semi join usage_keys_new on before.key_hash = usage_keys_new.key_hash
        anti join usage_looked_at on before.key_hash = usage_looked_at.key_hash
        """
    )


def ask_again(engine: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Adds to `usage_at_hand` the plain rows of spans that are not what they were in the last night.

    Makes `usage_spans`, for the next night: what decides over a row that falls there, and by which code it was judged.
    """
    engine.execute(
        """
        create or replace table usage_spans as
        with of_plans as (
            select
                rate_card, rate_card_version, plan,
                md5(string_agg(meter || counts_values, '|' order by meter)) as meters
            from meters_in_force
            group by all
        ),
        of_cards as (
            select rate_card, md5(string_agg(distinct meter, '|' order by meter)) as meters
            from meters_in_force
            group by rate_card
        )
        select spans.*, of_cards.meters as card_meters, of_plans.meters as plan_meters, $code_hash as code_hash
        from subscription_spans spans
        left join of_cards using (rate_card)
        left join of_plans using (rate_card, rate_card_version, plan)
        """,
        {"code_hash": code_hash()},
    )
    _kept(engine, store, SPANS, "from usage_spans limit 0").create_view("usage_spans_before")
    engine.execute(
        """
        create or replace table usage_spans_gone as
        select subscription_id, span_from, span_until
        from (from usage_spans_before where is_active except from usage_spans)
        """
    )
    condition = _within(engine, "usage_spans_gone")
    engine.execute(
        f"""
        create or replace table usage_asked_again as
        select before.*
        from usage_before before
        inner join usage_spans_gone gone
            on before.subscription_id = gone.subscription_id
            and before.occurred_at >= gone.span_from and before.occurred_at < gone.span_until
        anti join usage_keys_repeated repeated on before.key_hash = repeated.key_hash
        where {condition}
        """
    )


def open_kept(engine: duckdb.DuckDBPyConnection) -> None:
    """Opens as `usage_kept` the rows of earlier runs that may fall into a cycle rated now and are not at hand.

    Those that are not plain are in it too: their keys are in `usage_keys_repeated`.
    """
    engine.execute(
        """
        create or replace table usage_spans_rated as
        select spans.subscription_id, spans.span_from, spans.span_until
        from subscription_spans spans
        semi join cycles_rated using (subscription_id, cycle_start)
        where spans.is_active
        """
    )
    engine.execute(
        f"""
        create or replace view usage_kept as
        from usage_before anti join usage_asked_again using ({PLACE})
        where {_within(engine, "usage_spans_rated")}
        """
    )


def _within(engine: duckdb.DuckDBPyConnection, spans: str) -> str:
    """A condition that only rows in the time of these spans meet; the engine passes over files and parts without any.

    Spans that touch are one; of more than `INTERVALS_MAX` those with the least between them are taken together.
    """
    merged: list[list[int]] = []
    query = f"select distinct epoch_us(span_from), epoch_us(span_until) from {spans} order by all"
    for begins, ends in engine.execute(query).fetchall():
        if merged and begins <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], ends)
        else:
            merged.append([begins, ends])
    while len(merged) > INTERVALS_MAX:
        gaps = [following[0] - before[1] for before, following in pairwise(merged)]
        at = gaps.index(min(gaps))
        merged[at : at + 2] = [[merged[at][0], merged[at + 1][1]]]
    parts = (f"(occurred_at >= make_timestamptz({a}) and occurred_at < make_timestamptz({b}))" for a, b in merged)
    return " or ".join(parts) or "false"
