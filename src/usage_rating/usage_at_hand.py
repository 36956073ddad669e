"""Picks the usage rows that a night has to look at, so that it pays for these and not for all that were ever read.

A plain row has its key to itself and falls where it counts. It is looked at in the night that reads it, and again in
one that needs its cycle row by row, works its invoice out again, or changes the span it falls into; in between nobody
opens it, and a sum tells what it counts. What repeats or revises another row, is voided, held or not priced is kept
once more, by itself and with its verdict: it is looked at again where a new row has its key, where it is listed as
refused or waiting, or where its span changes.

For that are kept: the hashes of all keys, the rows that are not plain, from when to when each run's rows happened, the
spans of the last night, and what the plain rows of each come to as long as its cycle is not issued.
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

KEYS, LOOKED_AT, TIMES, SPANS, SUMS = (f"kept/usage_{name}" for name in ("keys", "looked_at", "times", "spans", "sums"))
# 40 bits of a hash take 2.5 to 4 bytes once they are sorted. Two keys of one hash are looked at row by row, which
# changes nothing in what is found.
KEY_HASH = f"(hash({', '.join(FEEDS['usage'].key)}) >> 24)::bigint as key_hash"
SORTED_FROM_ROWS = 500_000  # below, loading numpy takes longer than it saves
INTERVALS_MAX = 64  # a condition of more parts costs more than it spares
PLACE = "run_number, file, row_number"
ROW = ", ".join([*(column.name for column in FEEDS["usage"].columns), PLACE])
FOUND = "cycle_start, plan, verdict"
OUTCOMES = "rated, not_due, duplicate, superseded, voided, unpriced, rejected, held"
NO_KEYS = "select key_hash, '' as filename from usage_keys_new limit 0"
NONE_LOOKED_AT = (
    f"select {ROW}, null::date as cycle_start, '' as plan, '' as verdict, '' as filename from new_usage limit 0"
)
NO_SUMS = (
    "select subscription_id, '' as meter, span_from, span_until, cycle_start, plan, 0::bigint as usage_rows, "
    "0::bigint as rows_above_zero, 0::decimal(38, 6) as quantity_sum, 0::decimal(18, 6) as quantity_max "
    "from usage_spans limit 0"
)
NO_TIMES = "select run_number, occurred_at as first_at, occurred_at as last_at from usage_new limit 0"


@dataclass(frozen=True)
class UsageFiles:
    """Where the usage rows of all runs lie: `typed`, one file a run, and large files."""

    store: Store
    typed: dict[int, Path]
    originals: list[Original]

    def rows(
        self, engine: duckdb.DuckDBPyConnection, runs: Container[int], *, is_held_against_hashes: bool = True
    ) -> duckdb.DuckDBPyRelation:
        """What these runs left in files: the columns of `new_usage`.

        :raises BadInput: one of the files is not as it was written
        """
        typed = [path for run, path in self.typed.items() if run in runs]
        asked = [original for original in self.originals if original.run_number in runs]
        if is_held_against_hashes:
            self.store.refuse_damaged([*typed, *(original.path for original in asked)])
        parts = [engine.table("new_usage").filter("false")]
        if typed:
            parts.append(engine.read_parquet([str(path) for path in typed]))
        parts += originals.open_rows(engine, FEEDS["usage"], asked)
        return reduce(duckdb.DuckDBPyRelation.union, parts)


@dataclass(frozen=True)
class ToKeep:
    """Rows for a folder of the night, in a total order; without `order` they are in theirs.

    A row that is added stands for the earlier ones that are alike in the columns of `order`.
    """

    folder: str
    rows: duckdb.DuckDBPyRelation
    order: str = ""
    is_only_added_to: bool = True


class UsageAtHand:
    """Fills these relations in the course of a night.

    `usage_at_hand`: the rows to look at; `usage_keys_repeated`: the hashes of keys that more than one row may have or
    whose rows are not plain.

    Of earlier runs: `usage_sums_kept`, what plain rows come to in spans of open cycles, and `usage_sums_broken`, where
    that is not known any more; `usage_kept`, the rows that are asked for one by one; `usage_settled`, rows that are not
    plain and count or are not priced, may fall into a cycle rated now, and of which nothing new is to be said;
    `usage_outcomes_kept`, how many rows that are not at hand have come to what.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection, files: UsageFiles, run_number: int) -> None:
        self._engine, self._files = engine, files
        # Where an earlier version kept nothing for this, all rows are new once more.
        self._is_known = bool(files.store.files(SPANS) and files.store.files("balances"))
        self._first_new = run_number if self._is_known else 1
        self._run_number = run_number

    def gather(self) -> None:
        """Takes the new rows, those whose key a new row has too, and those that are not settled."""
        engine = self._engine
        new = self._files.rows(engine, range(self._first_new, self._run_number + 1))
        new.union(engine.table("new_usage")).project(f"*, {KEY_HASH}").create_view("usage_new")
        looked_at = self._kept(LOOKED_AT, NONE_LOOKED_AT, is_named=True)
        looked_at.project(f"*, {KEY_HASH}").create_view("usage_looked_at")
        self._sort_new_keys()
        engine.execute(
            """
            create or replace table usage_keys_looked_at as select distinct key_hash from usage_looked_at;
            create or replace table usage_keys_open as
            from usage_keys_looked_at semi join usage_keys_new using (key_hash)
            union
            select key_hash from usage_looked_at looked_at
            semi join rejected_rows_before listed
                on listed.feed = 'usage' and looked_at.run_number = listed.read_in::integer
                and looked_at.file = listed.file and looked_at.row_number = listed.row_number
            union
            select key_hash from usage_looked_at
            semi join (from held_invoices_before where kind = 'correction') using (subscription_id)
            """
        )
        engine.execute(
            f"create or replace table usage_opened as {_newest('semi join usage_keys_open using (key_hash)')}"
        )
        met = self._files.rows(engine, self._runs_met()).project(f"*, {KEY_HASH}")
        self._recreate("usage_met", met.join(engine.table("usage_keys_met"), "key_hash", how="semi"))
        engine.execute(
            f"""
            create or replace table usage_keys_repeated as
            from usage_keys_shared
            union select key_hash from usage_keys_met
            union from usage_keys_looked_at;
            create or replace table usage_asked_again as from usage_met limit 0;
            create or replace view usage_at_hand as
            from usage_new union all from usage_met union all from usage_asked_again
            union all select {ROW}, key_hash from usage_opened;
            create or replace table usage_kept as from usage_met limit 0;
            create or replace table usage_settled as from usage_opened limit 0
            """
        )

    def _sort_new_keys(self) -> None:
        """Makes `usage_keys_new`, sorted, `usage_keys_shared` of those that two new rows have, and `usage_times_new`.

        Sorting bare hashes takes a fraction of the time in which the engine groups them.
        """
        self._engine.execute(
            "create or replace table usage_times_new as "
            "select run_number, min(occurred_at) as first_at, max(occurred_at) as last_at, count(*) as usage_rows "
            "from usage_new group by run_number"
        )
        ((rows,),) = self._engine.execute("select coalesce(sum(usage_rows), 0) from usage_times_new").fetchall()
        if rows < SORTED_FROM_ROWS:
            self._engine.execute(
                """
                create or replace table usage_keys_new as select key_hash from usage_new order by key_hash;
                create or replace table usage_keys_shared as
                select key_hash from usage_keys_new group by key_hash having count(*) > 1
                """
            )
            return
        import numpy as np  # noqa: PLC0415
        import pyarrow as pa  # noqa: PLC0415

        hashes = self._engine.table("usage_new").project("key_hash").fetchnumpy()["key_hash"]
        hashes.sort()
        shared = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        self._recreate("usage_keys_new", self._engine.from_arrow(pa.table({"key_hash": hashes})))
        self._recreate("usage_keys_shared", self._engine.from_arrow(pa.table({"key_hash": shared})))

    def _runs_met(self) -> set[int]:
        """Makes `usage_keys_met` of the new rows' keys that plain rows of earlier runs have, and gives those runs."""
        self._kept(KEYS, NO_KEYS, is_named=True).create_view("usage_keys_before")
        self._engine.execute(
            """
            create or replace table usage_keys_met as
            select distinct before.key_hash, before.filename
            from usage_keys_before as before
            semi join usage_keys_new on before.key_hash = usage_keys_new.key_hash
            anti join usage_keys_looked_at looked_at on before.key_hash = looked_at.key_hash
            """
        )
        met_in = self._engine.execute("select distinct filename from usage_keys_met").fetchall()
        kept_in = [int(path.stem) for path in self._files.store.files(KEYS)]
        # A file has the keys of all runs after the file before: those without usage, or by a version that kept none.
        covered = {run: range(before + 1, run + 1) for before, run in pairwise((0, *kept_in))}
        return {run for (name,) in met_in for run in covered[int(Path(name).stem)]}

    def ask_again(self) -> None:
        """Adds the rows of spans that are not what they were in the last night to those at hand.

        Makes `usage_spans`, for the next night: what decides over a row that falls there, and the code it is judged by.
        """
        self._engine.execute(
            """
            create or replace table usage_spans as
            with of_versions as (
                select
                    rate_card, rate_card_version,
                    md5(string_agg(
                        concat_ws('|', plan, meter, counts_values, counts_highest), '|' order by plan, meter
                    )) as version_meters
                from meters_in_force
                group by all
            ),
            of_cards as (
                select rate_card, md5(string_agg(distinct meter, '|' order by meter)) as card_meters
                from meters_in_force
                group by rate_card
            )
            select spans.*, card_meters, version_meters, $code_hash as code_hash
            from subscription_spans spans
            left join of_cards using (rate_card)
            left join of_versions using (rate_card, rate_card_version)
            """,
            {"code_hash": code_hash()},
        )
        self._kept(SPANS, "from usage_spans limit 0").create_view("usage_spans_before")
        self._engine.execute(
            """
            create or replace table usage_spans_gone as
            select subscription_id, span_from, span_until, null::varchar as meter, is_active
            from (from usage_spans_before except from usage_spans);
            create or replace table usage_keys_moved as
            select distinct key_hash
            from usage_looked_at usage
            inner join usage_spans_gone gone
                on usage.subscription_id = gone.subscription_id
                and usage.occurred_at >= gone.span_from and usage.occurred_at < gone.span_until
            anti join usage_keys_open opened on usage.key_hash = opened.key_hash
            """
        )
        self._engine.execute(f"insert into usage_opened {_newest('semi join usage_keys_moved using (key_hash)')}")
        self._engine.execute("insert into usage_keys_open from usage_keys_moved")
        # No plain row falls where the subscription was not active.
        self._engine.execute("delete from usage_spans_gone where not is_active")
        self._recreate(
            "usage_asked_again",
            self._within("usage_spans_gone").join(self._engine.table("usage_keys_repeated"), "key_hash", how="anti"),
        )
        self._take_from_sums()
        self._take_from_outcomes()

    def _take_from_sums(self) -> None:
        """Makes `usage_sums_kept`: the last night's sums less the rows that have their key no longer to themselves.

        Where a charge takes the highest quantity and that may be theirs, the sum is in `usage_sums_broken` instead.
        """
        self._kept(SUMS, NO_SUMS).create_view("usage_sums_before")
        self._engine.execute(
            """
            create or replace table usage_sums_less as
            with met as (
                select
                    usage.subscription_id, usage.meter, spans.span_from,
                    count(*) as usage_rows,
                    count(*) filter (where quantity > 0) as rows_above_zero,
                    sum(quantity) as quantity_sum,
                    max(quantity) as quantity_max
                from usage_met usage
                inner join subscription_spans spans
                    on usage.subscription_id = spans.subscription_id
                    and usage.occurred_at >= spans.span_from and usage.occurred_at < spans.span_until
                group by all
            ),
            highest as (
                select rate_card, rate_card_version, meter
                from meters_in_force
                where counts_highest
                group by all
            )
            select
                before.* replace (
                    before.usage_rows - coalesce(met.usage_rows, 0) as usage_rows,
                    before.rows_above_zero - coalesce(met.rows_above_zero, 0) as rows_above_zero,
                    before.quantity_sum - coalesce(met.quantity_sum, 0) as quantity_sum
                ),
                highest.meter is not null and coalesce(met.quantity_max >= before.quantity_max, false) as is_broken
            from usage_sums_before before
            inner join subscription_spans spans using (subscription_id, span_from)
            left join met using (subscription_id, meter, span_from)
            left join highest
                on spans.rate_card = highest.rate_card and spans.rate_card_version = highest.rate_card_version
                and before.meter = highest.meter
            anti join usage_spans_gone gone
                on before.subscription_id = gone.subscription_id and before.span_from = gone.span_from
            where before.usage_rows > coalesce(met.usage_rows, 0);
            create or replace table usage_sums_kept as
            select * exclude is_broken from usage_sums_less where not is_broken;
            create or replace table usage_sums_broken as
            select subscription_id, meter, span_from from usage_sums_less where is_broken
            """
        )

    def _take_from_outcomes(self) -> None:
        """Makes `usage_outcomes_kept`: the last run's balance of usage less what the rows at hand were then.

        It is of typed rows: those that could not be typed are listed, and are counted there.
        """
        self._engine.execute(
            f"""
            create or replace table usage_outcomes_kept as
            with last as (
                select * from balances_before where feed = 'usage' and {str(self._is_known).lower()}
                qualify run_id = max(run_id) over ()
            ),
            at_hand as (
                select 'counted' as verdict, usage.subscription_id, spans.cycle_start
                from (from usage_met union all from usage_asked_again) usage
                inner join usage_spans_before spans
                    on usage.subscription_id = spans.subscription_id
                    and usage.occurred_at >= spans.span_from and usage.occurred_at < spans.span_until
                union all
                select verdict, subscription_id, cycle_start from usage_opened
            )
            select outcome, sum(usage_rows)::bigint as usage_rows
            from (
                select outcome, usage_rows
                from (unpivot last on {OUTCOMES} into name outcome value usage_rows)
                union all
                select 'rejected', -1 from known_rejected_rows where feed = 'usage' and run_number < {self._first_new}
                union all
                select
                    case
                        when verdict <> 'counted' then verdict
                        when issued.kind is null then 'not_due'
                        else 'rated'
                    end,
                    -1
                from at_hand
                left join issued_cycles issued
                    on at_hand.subscription_id = issued.subscription_id and at_hand.cycle_start = issued.cycle_start
                    and issued.kind = 'cycle'
            )
            group by outcome
            """
        )

    def open_kept(self) -> None:
        """Opens the rows of earlier runs that have to be added up anew, or that no sum tells, but for those at hand.

        In `usage_kept` there are rows among them that are not plain; their keys are in `usage_keys_repeated`.
        """
        self._engine.execute(
            """
            create or replace table usage_spans_to_open as
            select subscription_id, span_from, span_until, meter from usage_spans_uncounted
            union all
            select sums.subscription_id, sums.span_from, sums.span_until, sums.meter
            from usage_sums_kept sums
            inner join cycles_rated cycles using (subscription_id, cycle_start)
            semi join (from meters_in_force where is_seen) seen
                on cycles.rate_card = seen.rate_card and cycles.rate_card_version = seen.rate_card_version
                and sums.meter = seen.meter
            """
        )
        self._open_spans()
        settled = _newest("semi join cycles_rated using (subscription_id) anti join usage_keys_open using (key_hash)")
        self._engine.execute(
            f"create or replace table usage_settled as from ({settled}) where verdict in ('counted', 'unpriced')"
        )

    def open_limited(self) -> None:
        """Opens the rows of earlier runs in cycles that may reach a spending limit, for their order counts there."""
        self._engine.execute(
            """
            create or replace table usage_spans_to_open as
            select subscription_id, span_from, span_until, meter
            from usage_sums_kept
            semi join cycles_limited using (subscription_id, cycle_start)
            anti join usage_spans_to_open using (subscription_id, span_from, meter)
            """
        )
        self._open_spans()

    def open_between(self, spans: str, into: str) -> None:
        """Makes a relation of the rows of earlier runs in these spans that are not at hand.

        As in `usage_kept`, there are rows among them that are not plain.
        """
        self._recreate(into, self._not_at_hand(spans))

    def _open_spans(self) -> None:
        self._not_at_hand("usage_spans_to_open").insert_into("usage_kept")

    def _not_at_hand(self, spans: str) -> duckdb.DuckDBPyRelation:
        asked_again = self._engine.table("usage_asked_again").project(PLACE)
        return self._within(spans).join(asked_again, PLACE, how="anti")

    def _within(self, spans: str) -> duckdb.DuckDBPyRelation:
        """The rows of earlier runs in these spans; files and parts of files without any are passed over."""
        epochs = f"select distinct epoch_us(span_from), epoch_us(span_until) from {spans} order by all"
        intervals = _merged(self._engine.execute(epochs).fetchall())
        times = self._times().project("run_number, epoch_us(first_at), epoch_us(last_at)").fetchall()
        runs = {run for run, first, last in times if any(begins <= last and first < ends for begins, ends in intervals)}
        then = (f"(occurred_at >= make_timestamptz({a}) and occurred_at < make_timestamptz({b}))" for a, b in intervals)
        rows = self._files.rows(self._engine, runs).filter(" or ".join(then) or "false").set_alias("usage")
        is_within = (
            "usage.subscription_id = s.subscription_id and occurred_at >= span_from and occurred_at < span_until "
            "and usage.meter = coalesce(s.meter, usage.meter)"
        )
        within = rows.join(self._engine.table(spans).set_alias("s"), is_within, how="semi")
        return within.project(f"*, {KEY_HASH}")

    def to_keep(self) -> list[ToKeep]:
        """What tells the next night which rows it has to look at."""
        engine = self._engine
        found_otherwise = engine.sql(
            f"select {ROW}, {FOUND} from usage_rows_judged judged anti join usage_opened opened "
            f"on {_same(PLACE)} and {_same(FOUND)}"
        )
        sums = engine.sql(
            """
            select
                subscription_id, meter, span_from, span_until, cycle_start, plan,
                sum(usage_rows)::bigint as usage_rows,
                sum(rows_above_zero)::bigint as rows_above_zero,
                sum(quantity_sum) as quantity_sum,
                max(quantity_max) as quantity_max
            from usage_sums_rated
            anti join (
                select subscription_id, cycle_start from issued_cycles where kind = 'cycle'
                union all
                select subscription_id, cycle_start from cycles_issued where kind = 'cycle'
            ) using (subscription_id, cycle_start)
            group by all
            """
        )
        return [
            ToKeep(KEYS, engine.table("usage_keys_new")),
            ToKeep(LOOKED_AT, found_otherwise, PLACE),
            ToKeep(
                TIMES,
                self._times().union(engine.table("usage_times_new").project("run_number, first_at, last_at")),
                "run_number",
                is_only_added_to=False,
            ),
            ToKeep(SPANS, engine.table("usage_spans"), "subscription_id, span_from", is_only_added_to=False),
            ToKeep(SUMS, sums, "subscription_id, meter, span_from", is_only_added_to=False),
        ]

    def _times(self) -> duckdb.DuckDBPyRelation:
        return self._kept(TIMES, NO_TIMES)

    def _kept(self, folder: str, or_else: str, *, is_named: bool = False) -> duckdb.DuckDBPyRelation:
        files = [str(path) for path in self._files.store.files(folder)] if self._is_known else []
        return self._engine.read_parquet(files, filename=is_named) if files else self._engine.sql(or_else)

    def _recreate(self, name: str, rows: duckdb.DuckDBPyRelation) -> None:
        self._engine.execute(f"drop table if exists {name}")
        rows.create(name)


def _same(columns: str) -> str:
    return " and ".join(f"judged.{name} is not distinct from opened.{name}" for name in columns.split(", "))


def _newest(condition: str) -> str:
    """Rows that are not plain as they were found last: each was written anew when it was found otherwise."""
    numbered = f"select *, row_number() over (partition by {PLACE} order by filename desc) as nth from usage_looked_at"
    return f"select {ROW}, {FOUND}, key_hash from ({numbered} {condition}) where nth = 1"


def _merged(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Takes intervals that touch together; of more than `INTERVALS_MAX` also those with the least between them."""
    merged: list[tuple[int, int]] = []
    for begins, ends in intervals:
        if merged and begins <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ends))
        else:
            merged.append((begins, ends))
    while len(merged) > INTERVALS_MAX:
        gaps = [later[0] - earlier[1] for earlier, later in pairwise(merged)]
        at = gaps.index(min(gaps))
        merged[at : at + 2] = [(merged[at][0], merged[at + 1][1])]
    return merged
