"""Works invoices of one subscription out once more, by the stages, from the rows that a run knew.

As a correction does (`reproduction`), but each usage row is judged by itself, and what the stages made can be read.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property, reduce
from operator import and_
from pathlib import Path
from typing import Any

import duckdb

from usage_rating.engine import open_engine
from usage_rating.errors import BadInput
from usage_rating.explanation.published import Published, Record, records
from usage_rating.feeds import FEEDS
from usage_rating.intake import open_kept
from usage_rating.manifests import Manifest, run_id
from usage_rating.rate_card_files import CardFile, read_rate_cards
from usage_rating.rate_cards import RateCard
from usage_rating.reference import load_calendar_up_to, load_policies, load_rate_cards
from usage_rating.reproduction import GIVEN
from usage_rating.settings import Settings
from usage_rating.stages import Stage, all_stages, run_stages
from usage_rating.store import Store
from usage_rating.usage_at_hand import KEY_HASH, LOOKED_AT, ROW, UsageFiles

SCHEMA = "as_known_then"
OF_ONE_SUBSCRIPTION = ("subscriptions", "cart_events", "spending_limits")
LAST_BEFORE_CYCLES = "credit_topups_judged"  # the calendar is laid out by what these stages found
LINES_IN_ORDER = "order by place, service_start, charge_number, charge, plan, kind desc, stands_for"

# What an explanation reads of the stages, beside the rows of the feeds. Of usage: the cycles asked for.
RELATIONS = {
    "accounts_judged": "from accounts_judged",
    "subscriptions_judged": "from subscriptions_judged where subscription_id = $subscription_id",
    "spending_limits_judged": "from spending_limits_judged where subscription_id = $subscription_id",
    "one_off_charges_judged": "from one_off_charges_judged where charge_id in "
    "(select charge_id from one_off_charges_judged where subscription_id = $subscription_id)",
    "cart_events": "select known.*, judged.verdict, judged.reason, judged.detail from known_cart_events known "
    "inner join cart_events_judged judged using (run_number, file, row_number)",
    "cart_snapshots": "select known.*, judged.verdict, judged.reason, judged.detail from known_cart_snapshots known "
    "inner join cart_snapshots_judged judged using (run_number, file, row_number) "
    "where known.subscription_id = $subscription_id and known.cart_id = coalesce($cart_id, known.cart_id)",
    "usage_judged": "from usage_judged where cycle_start in (select cycle_start from invoices_touched) "
    "or (subscription_id, event_id) in (select subscription_id, event_id from usage_judged "
    "where cycle_start in (select cycle_start from invoices_touched)) "
    "or not exists (from invoices_touched)",  # then it is one event's
    "subscription_starts": "from subscription_starts",
    "subscription_anchors": "from subscription_anchors",
    "billing_cycles": "from billing_cycles",
    "active_segments": "from active_segments",
    "plan_spans": "from plan_spans",
    "snapshots": "from snapshots",
    "cart_changes": "from cart_changes where subscription_id = $subscription_id",
    "carts_reached": "from carts_reached",
    "usage_clipped": "from usage_clipped order by cycle_start, step",
    "usage_limited": "from usage_limited",
    "lines": f"from rated_lines {LINES_IN_ORDER}",
    "lines_now": "from lines_now order by all",
}
CARTS = ("cart_events", "cart_snapshots")
# Rows of these feeds that may tell otherwise of what happened up to an instant.
OF_BEFORE = {
    "accounts": "account_id in (select account_id from known_subscriptions where subscription_id = $id)",
    "subscriptions": "subscription_id = $id and effective_at <= $until",
    "cart_events": "subscription_id = $id and occurred_at < $until",
    "cart_snapshots": "snapshot_at < $until",
    "spending_limits": "subscription_id = $id and agreed_at < $until",
    "one_off_charges": "charge_id in (select charge_id from known_one_off_charges where subscription_id = $id)",
    "approvals": "true",
}
STAGE_OF = {"cart_events": "cart_events_judged", "cart_snapshots": "cart_snapshots_judged", "lines": "rated_lines"}
# What became of a row, and which lines rest on it, is known from these: no other row of usage is needed.
OF_ROWS = {
    "usage": ("usage_judged", "billing_cycles"),
    "one_off_charges": ("one_off_charges_judged", "billing_cycles"),
    "spending_limits": ("spending_limits_judged", "billing_cycles"),
    "subscriptions": ("subscriptions_judged", "billing_cycles", "plan_spans", "active_segments"),
    "cart_events": ("cart_events", "cart_snapshots", "billing_cycles", "cart_changes"),
    "cart_snapshots": ("cart_events", "cart_snapshots", "billing_cycles", "cart_changes"),
}


@dataclass(frozen=True)
class State:
    """What the stages made of a subscription's invoices, from what was known after a run."""

    run: Manifest
    cards: dict[int, RateCard]
    relations: dict[str, list[Record]]

    def of(self, name: str, **equal: Any) -> list[Record]:
        """The rows of a relation in which these columns have these values."""
        return [row for row in self.relations[name] if all(row[key] == value for key, value in equal.items())]

    def with_lines(self, lines: list[Record]) -> "State":
        """The same with lines as they were published in place of those worked out."""
        return replace(self, relations=self.relations | {"lines": lines})

    def one(self, name: str, **equal: Any) -> Record:
        """The only such row."""
        (row,) = self.of(name, **equal)
        return row

    def day_begins(self, cycle_start: date) -> datetime:
        """The first instant of a cycle."""
        begins: datetime = self.one("billing_cycles", cycle_start=cycle_start)["starts_at"]
        return begins


class Archive:
    """All that an output folder keeps and published, open to be asked."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, store: Store, rate_cards: Path) -> None:
        self.engine, self.store, self._rate_cards = engine, store, rate_cards
        self.chain = store.chain
        self._usage: UsageFiles = open_kept(engine, store)
        self._states: dict[tuple[str, int, tuple[str, ...]], State] = {}
        self.published = Published(engine, self.chain)

    @property
    def usage(self) -> UsageFiles:
        """Where the usage rows of all runs lie."""
        return self._usage

    @cached_property
    def _cards(self) -> list[CardFile]:
        return read_rate_cards(self._rate_cards)

    def cards_of(self, run: Manifest, rate_card: str) -> list[CardFile]:
        """The versions of a card as a run had them.

        :raises BadInput: one of them is not to be had any more as it was
        """
        wanted = {name: sha256 for name, sha256 in run.rate_cards.items() if name.rpartition(" v")[0] == rate_card}
        found = [file for file in self._cards if file.sha256 in wanted.values() and file.card.rate_card == rate_card]
        there = {file.sha256 for file in found}
        faults = [
            f"{self._rate_cards}: {name} is not there as run {run.run_id} had it. Put the file of the SHA-256 "
            f"{sha256[:12]} back: nothing it priced can be explained without it."
            for name, sha256 in sorted(wanted.items())
            if sha256 not in there
        ]
        if faults:
            raise BadInput(faults)
        return found

    def state(self, subscription_id: str, run: Manifest, invoice_ids: list[str]) -> State:
        """Works out invoices of a subscription from what was known after a run.

        :param invoice_ids: of kind opening or cycle
        :raises BadInput: a rate card of that run is missing
        """
        asked = (subscription_id, run.run_number, tuple(invoice_ids))
        if asked not in self._states:
            self.engine.execute("reset threads")
            self._open_usage_of(subscription_id, self._times_of(invoice_ids))
            self._states[asked] = self._worked_out(subscription_id, run, invoice_ids, tuple(RELATIONS))
        return self._states[asked]

    def judged(self, feed: str, row: Record, run: Manifest) -> State:
        """What became of a row after a run, and of the rows of its feed that tell what it did.

        Nothing is priced. Of usage nothing is looked at but the row's event, of carts nothing but its cart: no other
        one decides what became of it.
        """
        asked = (row["subscription_id"], run.run_number, (feed, *(str(row[name]) for name in FEEDS[feed].key)))
        if asked not in self._states:
            self._open_event(feed, row)
            self._states[asked] = self._worked_out(
                row["subscription_id"], run, [], OF_ROWS[feed], cart_id=row.get("cart_id")
            )
        return self._states[asked]

    def judged_before(self, feed: str, row: Record, run: Manifest, until: datetime) -> State:
        """What `judged` gives after a run, of what happened before an instant.

        Where nothing has come since that could tell otherwise, the last run's is the same, and asked for anyway.
        """
        last = self.chain.last
        is_as_known_now = run == last or (
            (run.rate_cards, run.policies) == (last.rate_cards, last.policies)
            and self._last_run_with(feed, row, until) <= run.run_number
        )
        return self.judged(feed, row, last if is_as_known_now else run)

    def _last_run_with(self, feed: str, row: Record, until: datetime) -> int:
        """The last run that read something which may tell otherwise of what became of a row before an instant."""
        feeds = ("accounts", "subscriptions", *((*CARTS, "approvals") if feed in CARTS else (feed,)))
        values = {"id": row["subscription_id"], "until": until}
        numbers = [
            int(each["run_number"]) for each in self.judged(feed, row, self.chain.last).relations["usage_judged"]
        ]
        for name in feeds:
            if condition := OF_BEFORE.get(name):
                query = f"select coalesce(max(run_number), 0) from known_{name} where {condition}"
                asked = {key: value for key, value in values.items() if f"${key}" in condition}
                numbers += [number for (number,) in self.engine.execute(query, asked).fetchall()]
        return max(numbers)

    def _worked_out(
        self,
        subscription_id: str,
        run: Manifest,
        invoice_ids: list[str],
        wanted: tuple[str, ...],
        *,
        cart_id: str | None = None,
    ) -> State:
        engine = self.engine
        ((rate_card, account_id),) = engine.execute(
            "select coalesce(max(rate_card), ''), max(account_id) from invoices_before where subscription_id = $id",
            {"id": subscription_id},
        ).fetchall()
        if not account_id:
            rate_card, account_id = self._named_by(subscription_id)
        cards = self.cards_of(run, rate_card)
        if not cards:
            return State(run, {}, {name: [] for name in RELATIONS})
        stages = stages_to({LAST_BEFORE_CYCLES, *(STAGE_OF.get(name, name) for name in wanted)})
        engine.execute("set threads = 1")  # one customer's rows are few: to share them out costs more than it saves
        engine.execute(f"create schema {SCHEMA}")
        engine.execute(f"set search_path = '{SCHEMA},main'")
        try:
            self._open_rows(subscription_id, run, invoice_ids, cart_id, stages)
            load_rate_cards(engine, cards)
            # Without a bound on prices each limited cycle counts as near its limit: its usage is charged row by row.
            engine.execute("update charges set price_per_unit_max = null")
            load_policies(engine, run.policies)
            self._run_stages(run, cards, stages)
            found = {
                name: records(engine.sql(query, params=_asked(query, subscription_id, cart_id)))
                if name in wanted
                else []
                for name, query in RELATIONS.items()
            }
        finally:
            engine.execute("set search_path = 'main'")
            engine.execute(f"drop schema {SCHEMA} cascade")
        return State(run, {file.card.version: file.card for file in cards}, found)

    def _run_stages(self, run: Manifest, cards: list[CardFile], stages: list[Stage]) -> None:
        cut = [stage.name for stage in stages].index(LAST_BEFORE_CYCLES) + 1
        run_stages(self.engine, stages[:cut])
        load_calendar_up_to(self.engine, cards, date.fromisoformat(run.as_of))
        run_stages(self.engine, stages[cut:])

    def _named_by(self, subscription_id: str) -> tuple[str, str]:
        """The rate card and account of a subscription without an invoice, as its first row has them."""
        named = self.engine.execute(
            "select rate_card, account_id from known_subscriptions where subscription_id = $id "
            "order by event <> 'started', effective_at, run_number, file, row_number limit 1",
            {"id": subscription_id},
        ).fetchall()
        return named[0] if named else ("", "")

    def _open_usage_of(self, subscription_id: str, times: tuple[datetime, datetime] | None) -> None:
        """Makes `usage_of_one`: its rows of some time, and from any time those that are not plain (`usage_at_hand`).

        For a row of another time matters only where it repeats or revises one, and then it is not plain. Rows are not
        held against their files' hashes: what is explained is held against what is published, and to read all usage
        for one customer's would take minutes.
        """
        runs = range(1, self.chain.last.run_number + 1) if times else ()
        found = self._usage.rows(self.engine, runs, is_held_against_hashes=False).project(ROW)
        if times:
            first, until = (duckdb.ConstantExpression(at) for at in times)
            at = duckdb.ColumnExpression("occurred_at")
            found = found.filter((at >= first) & (at < until))
        looked_at = [str(path) for path in self.store.files(LOOKED_AT)]
        if looked_at:
            found = found.union(self.engine.read_parquet(looked_at).project(ROW))
        own = duckdb.ColumnExpression("subscription_id") == duckdb.ConstantExpression(subscription_id)
        self._keep_usage(found.filter(own))

    def _open_event(self, feed: str, row: Record) -> None:
        """Makes `usage_of_one` of the rows of one event: where it has more than one, they are not plain."""
        found = self.engine.table("new_usage").project(ROW).filter("false")
        if feed == "usage":
            columns = ROW.split(", ")
            own = {name: row[name] for name in columns}
            found = found.union(self.engine.sql(f"select {', '.join(f'${name}' for name in columns)}", params=own))
            is_alike = (
                duckdb.ColumnExpression(name) == duckdb.ConstantExpression(own[name]) for name in FEEDS[feed].key
            )
            if looked_at := [str(path) for path in self.store.files(LOOKED_AT)]:
                found = found.union(self.engine.read_parquet(looked_at).filter(reduce(and_, is_alike)).project(ROW))
        self._keep_usage(found)

    def _keep_usage(self, rows: duckdb.DuckDBPyRelation) -> None:
        self.engine.execute("drop table if exists usage_of_one")
        rows.distinct().project(f"*, {KEY_HASH}").create("usage_of_one")

    def _times_of(self, invoice_ids: list[str]) -> tuple[datetime, datetime] | None:
        """From when to when the cycles of some invoices last."""
        cycles = records(
            self.engine.sql(
                "select starts_at, ends_at from issued_cycles where invoice_id in (select unnest($ids::varchar[]))",
                params={"ids": invoice_ids},
            )
        )
        if not cycles:
            return None
        return min(each["starts_at"] for each in cycles), max(each["ends_at"] for each in cycles)

    def _open_rows(
        self, subscription_id: str, run: Manifest, invoice_ids: list[str], cart_id: str | None, stages: list[Stage]
    ) -> None:
        """Opens what the stages read. To scan all once for one subscription's rows is enough, and only if they do."""
        engine, number = self.engine, run.run_number
        read = {name for stage in stages for name in stage.reads}
        engine.execute(
            "create table asked as select $id as subscription_id, $cart_id::varchar as cart_id",
            {"id": subscription_id, "cart_id": cart_id},
        )
        own = "subscription_id in (select subscription_id from asked)"
        for feed in FEEDS:
            only = f"and {own}" if feed in OF_ONE_SUBSCRIPTION else ""
            if feed == "cart_events" and cart_id is not None:
                only += " and cart_id in (select cart_id from asked)"
            if feed == "accounts":
                only = f"and account_id in (select account_id from main.known_subscriptions where {own})"
            if feed != "usage":
                limit = "limit 0" if feed == "credit_topups" else ""
                kind = "table" if feed in OF_ONE_SUBSCRIPTION and f"known_{feed}" in read else "view"
                engine.execute(
                    f"create {kind} known_{feed} as from main.known_{feed} where run_number <= {number} {only} {limit}"
                )
        for statement in (
            f"create table usage_at_hand as from main.usage_of_one where run_number <= {number}",
            "create table usage_keys_repeated as select key_hash from usage_at_hand group by all having count(*) > 1",
            "create table usage_kept as from usage_at_hand limit 0",
            "create table usage_settled as select *, null::date as cycle_start, '' as plan, '' as verdict "
            "from usage_at_hand limit 0",
            "create table usage_sums_kept as select subscription_id, meter, occurred_at as span_from, "
            "occurred_at as span_until, null::date as cycle_start, '' as plan, 0::bigint as usage_rows, "
            "0::bigint as rows_above_zero, 0::decimal(38, 6) as quantity_sum, 0::decimal(18, 6) as quantity_max "
            "from usage_at_hand limit 0",
            "create table usage_sums_broken as select subscription_id, meter, span_from from usage_sums_kept",
            f"create view known_approvals as from main.known_approvals where run_number <= {number}",
            f"create table issued_cycles as from main.issued_cycles where {own} and issued_in_run <= {number}",
            "create table late_rows as select feed, read_in::integer as run_number, file, row_number "
            f"from main.rejected_rows_before where reason = 'late' and read_in::integer <= {number}",
        ):
            engine.execute(statement)
        engine.execute(
            "create table invoices_touched as select invoice_id, kind, subscription_id, cycle_start, cycle_end, "
            "starts_at, ends_at, rate_card, rate_card_version from issued_cycles where invoice_id in "
            "(select unnest($ids::varchar[]))",
            {"ids": invoice_ids},
        )
        engine.execute(
            "create table run_parameters as select $number::integer as run_number, $run_id as run_id, "
            "$as_of::date as as_of, false as is_preview",
            {"number": number, "run_id": run_id(number), "as_of": run.as_of},
        )


def _asked(query: str, subscription_id: str, cart_id: str | None) -> dict[str, str | None]:
    values = {"subscription_id": subscription_id, "cart_id": cart_id}
    return {name: value for name, value in values.items() if f"${name}" in query}


def stages_to(names: Iterable[str]) -> list[Stage]:
    """The stages that make these relations, and those that they read, in order."""
    needed, found = set(names), []
    for stage in reversed(all_stages()):
        if stage.name in needed and stage.name not in GIVEN:
            found.append(stage)
            needed.update(stage.reads)
    return found[::-1]


@contextmanager
def open_archive(input_folder: Path, output: Path) -> Iterator[Archive]:
    """Opens an output folder to be asked; a run may be at work meanwhile.

    :raises BadInput: it holds no published night, or a file of it is damaged
    """
    store = Store(output)
    with store.read_only():
        if not store.chain.manifests:
            raise BadInput([f"{output}: holds no published night. Run `usage-rating run` first."])
        settings = Settings(input=input_folder, output=output)
        engine = open_engine(settings, store.work)
        try:
            yield Archive(engine, store, input_folder / "rate_cards")
        finally:
            engine.close()
