"""One night's run: takes in what is new, rates what is due, publishes it at one moment."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb

from usage_rating import publication, time_zones
from usage_rating.engine import disk_faults_as_os_errors, open_engine
from usage_rating.errors import BadInput
from usage_rating.export import write_bills
from usage_rating.intake import Intake, take_in
from usage_rating.manifests import run_id
from usage_rating.reference import load_calendar_up_to, load_policies, load_rate_cards
from usage_rating.refusals import (
    refuse_changed_cards,
    refuse_cycles_without_price,
    refuse_lost_starts,
    refuse_too_many_rejected,
)
from usage_rating.report import Alert, FeedCount, HeldTotal, InvoiceTotal, NightReport, RefusedCount, rows_read
from usage_rating.reproduction import forget, reproduce
from usage_rating.settings import Settings
from usage_rating.stages import run_stages, stages_from
from usage_rating.store import Store
from usage_rating.usage_at_hand import UsageAtHand

if TYPE_CHECKING:  # takes a fifth of a second, and a night of CSV files does without
    import pyarrow as pa

    from usage_rating.near import Near

Watch = Callable[[duckdb.DuckDBPyConnection], AbstractContextManager[object]]


class Night:
    """A run in steps: `ingest`, `rate`, `publish`, in a `with` block that holds the output folder.

    Each step begins anew when it is called again. Until `publish` returns, nothing that a reader could see has changed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: datetime | None = None,
        announce: Callable[[str], None] = lambda step: None,
        watch: Watch = nullcontext,
        is_preview: bool = False,
    ) -> None:
        """Prepares a run.

        :param now: with `settings.as_of` left out, the run bills up to the last date that is over at this instant in
            every account's zone
        :param is_preview: rates open cycles as if they ended on `as_of`; leaves the output folder alone, and so cannot
            publish
        :param announce: told each step before it begins, for a progress display
        :param watch: given the engine for as long as it is open, so that a display can ask how far a statement is
        """
        self._settings = settings
        self._now = now
        self._announce = announce
        self._watch = watch
        self._is_preview = is_preview
        self._store = Store(settings.output)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._open.enter_context(self._store.read_only() if self._is_preview else self._store.hold())
        self._engine = self._open.enter_context(open_engine(self._settings, self._store.work))
        self._open.enter_context(self._watch(self._engine))
        self._before = self._store.chain
        self._run_number = self._before.last.run_number + 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
        del self._engine

    @disk_faults_as_os_errors()
    def ingest(self) -> list[FeedCount]:
        """Reads rate cards and new input files into typed rows.

        :raises BadInput: files that cannot be read or lack columns, and faulty rate cards, all at once
        :raises OSError: the disk or the network failed; the step may be tried again
        """
        self._intake: Intake = take_in(self._engine, self._settings, self._store, self._before, self._announce)
        return self._intake.feeds

    @disk_faults_as_os_errors()
    def rate(self) -> date:
        """Works out every invoice that is due.

        :returns: the date billed up to
        :raises BadInput: the date lies before an earlier run's; a cycle has no price; a card that priced an issued
            invoice, or the start of an invoiced subscription, was changed; more rows were rejected than the settings
            allow
        :raises OSError: the disk failed; the step may be tried again
        """
        engine, settings = self._engine, self._settings
        self._as_of = self._date_billed_up_to()
        if not self._is_preview and publication.is_as_before(
            engine, self._store, self._before, self._intake, (self._as_of, settings.policies)
        ):
            publication.stand_by_the_last_night(engine)
            return self._as_of
        load_rate_cards(engine, self._intake.cards)
        refuse_changed_cards(engine, self._intake.cards, self._before.last.rate_cards)
        load_policies(engine, settings.policies)
        forget(engine)
        engine.execute(
            "create or replace table run_parameters as "
            "select $run_number::integer as run_number, $run_id as run_id, $as_of::date as as_of, "
            "$is_preview as is_preview",
            {
                "run_number": self._run_number,
                "run_id": run_id(self._run_number),
                "as_of": self._as_of,
                "is_preview": self._is_preview,
            },
        )
        self._usage = UsageAtHand(engine, self._intake.usage, self._run_number)
        self._announce("picking usage to look at")
        self._usage.gather()
        self._run_stages("late_rows", "credit_topups_judged")
        refuse_lost_starts(engine)
        self._announce("calendar")
        load_calendar_up_to(engine, self._intake.cards, self._as_of)
        self._run_stages("local_dates", "subscription_spans")
        self._announce("looking for what moved")
        self._usage.ask_again()
        self._run_stages("usage_keys_apart", "cycles_without_price")
        self._announce("opening usage of open cycles")
        self._usage.open_kept()
        refuse_cycles_without_price(engine)
        self._run_stages("cart_statements", "cycles_limited")
        self._announce("opening usage near a limit")
        self._usage.open_limited()
        self._run_stages("running_quantities", "line_differences")
        self._announce("reproducing what was issued")
        reproduce(engine, self._intake.cards, self._before.last, self._run_number)
        self._run_stages("invoices_decided", "check_lines_balance")
        refuse_too_many_rejected(engine, run_id(self._run_number), rows_read(self._intake.feeds), settings.max_rejected)
        return self._as_of

    def _run_stages(self, first: str, last: str) -> None:
        run_stages(self._engine, stages_from(first, last), self._announce)

    def _date_billed_up_to(self) -> date:
        as_of, before = self._settings.as_of, self._before.as_of
        if as_of is None:
            zones = [
                zone
                for (zone,) in self._rows("select distinct time_zone from known_accounts where time_zone is not null")
            ]
            zones += [file.card.time_zone for file in self._intake.cards]
            as_of = last_date_over(self._now or datetime.now(UTC), zones)
        if before and as_of < before:
            raise BadInput(
                [
                    f"--as-of {as_of}: an earlier run billed up to {before}, and what it issued does not change. "
                    f"Give {before} or a later date."
                ]
            )
        return as_of

    @disk_faults_as_os_errors()
    def publish(self) -> NightReport:
        """Writes the night and commits it; does nothing where nothing changed.

        :returns: the run's summary; its `seconds` count everything since the `with` block began, so also what lies
            between steps, failed tries and the waits before the next ones
        :raises OSError: the disk failed; the night does not count, and the step may be tried again
        """
        assert not self._is_preview, "a preview publishes nothing"
        self._announce("publishing")
        if self._store.chain.last.run_number == self._run_number:
            return self._report(run_id(self._run_number))  # committed by an attempt that failed right after
        if not publication.has_changed(self._engine, self._intake):
            return self._report(None)
        manifest = publication.publish(
            self._engine, self._store, self._before, self._intake, self._usage, policies=self._settings.policies
        )
        return self._report(manifest.run_id)

    def _report(self, published_as: str | None) -> NightReport:
        refused = self._rows(
            "select feed, status, reason, count(*) from rejected_rows "
            f"where run_id = '{run_id(self._run_number)}' group by all order by all"
        )
        rejected: dict[str, int] = Counter()
        for feed, status, _, rows in refused:
            rejected[feed] += rows if status == "rejected" else 0
        invoices = self._rows(
            "select rate_card, currency, kind, count(*), sum(total) from invoices group by all order by all"
        )
        held = self._rows(
            "select reason, kind, currency, count(*), sum(total) from held_invoices group by all order by all"
        )
        digits = {file.card.currency: file.card.minor_digits for file in self._intake.cards}
        return NightReport(
            run_id=published_as,
            as_of=self._as_of,
            output=self._settings.output,
            feeds=[replace(f, rejected=rejected.get(f.feed, 0)) for f in self._intake.feeds],
            refused=[RefusedCount(*row) for row in refused],
            invoices=[
                InvoiceTotal(card, currency, kind, count, round(total, digits[currency]))
                for card, currency, kind, count, total in invoices
            ],
            held=[
                HeldTotal(reason, kind, currency, count, round(total, digits[currency]))
                for reason, kind, currency, count, total in held
            ],
            alerts=[Alert(**row) for row in self._alerts()],
            notes=self._intake.notes,
            seconds=time.monotonic() - self._began,
        )

    @disk_faults_as_os_errors()
    def write_preview(self, to: Path | None) -> NightReport:
        """Reports what was rated, and writes it as CSV files if told where; nothing is published.

        :param to: the folder for invoices, lines and control totals
        :raises BadInput: the folder cannot be written
        """
        if to:
            write_bills(self._engine.table("invoices"), self._engine.table("invoice_lines"), to)
        return self._report(None)

    @disk_faults_as_os_errors()
    def near(self, within: Decimal, edge_minutes: int) -> "Near":
        """Lists what is near a bound or a cycle's edge, after `rate` of a preview. See `near_misses`."""
        from usage_rating.near import near_misses  # noqa: PLC0415  (a night does without)

        assert self._is_preview, "only a preview rates what is open"
        self._announce("looking for what is near")
        return near_misses(self._engine, self._usage, self._as_of, within, edge_minutes)

    def _alerts(self) -> list[dict[str, Any]]:
        columns = ", ".join(column.name for column in fields(Alert))
        found = (
            self._engine.table("alerts")
            .project(columns)
            .order("subscription_id, cycle_start, kind, limit_amount, threshold")
        )
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    def relation(self, name: str) -> "pa.Table":
        """Any stage's result, after `rate`, with exact decimals."""
        return self._engine.table(name).to_arrow_table()

    def _rows(self, query: str) -> list[Any]:
        return self._engine.execute(query).fetchall()


def run_night(
    settings: Settings,
    *,
    now: datetime | None = None,
    announce: Callable[[str], None] = lambda step: None,
    watch: Watch = nullcontext,
) -> NightReport:
    """Runs a whole night: ingest, rate, publish. See `Night` for what goes in and what it raises."""
    with Night(settings, now=now, announce=announce, watch=watch) as night:
        night.ingest()
        night.rate()
        return night.publish()


def last_date_over(now: datetime, zones: list[str]) -> date:
    """The last date that is over at `now` in every zone; in UTC where there are none."""
    return min(time_zones.local_date(zone, now) for zone in zones or ["UTC"]) - timedelta(days=1)
