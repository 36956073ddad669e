"""Works issued invoices out again from what was known before: a correction bills what is new, and nothing else."""

import duckdb

from usage_rating.feeds import FEEDS
from usage_rating.manifests import Manifest
from usage_rating.rate_card_files import CardFile
from usage_rating.reference import load_policies, load_rate_cards
from usage_rating.stages import Stage, all_stages, run_stages
from usage_rating.tables import AMOUNT, QUANTITY

OF_ONE_SUBSCRIPTION = ("subscriptions", "cart_events", "spending_limits")
GIVEN = ("late_rows", "rows_touching", "invoices_touched")
SCHEMA = "before"
LINE_COLUMNS = dict.fromkeys(("invoice_id", "kind", "charge", "plan", "fee_from"), "varchar") | {
    "quantity": QUANTITY,
    "amount": AMOUNT,
}


def reproduce(engine: duckdb.DuckDBPyConnection, cards: list[CardFile], before: Manifest, run_number: int) -> None:
    """Fills `lines_reproduced`, which `forget` has made.

    With, of each invoice in `line_differences`, its lines from what was known when they agreed.
    That is before this run, or before the run that first held its correction. The same stages run once more in a
    schema of their own, over the rows of earlier runs, with the rate cards and policies of the last one.

    :raises OSError: the disk failed; the step may be tried again
    """
    for until_run in _runs_of_differences(engine, run_number):
        engine.execute(f"create schema {SCHEMA}")
        engine.execute(f"set search_path = '{SCHEMA},main'")
        try:
            _open_rows_before(engine, until_run)
            load_rate_cards(engine, [file for file in cards if file.sha256 in before.rate_cards.values()])
            load_policies(engine, before.policies)
            run_stages(engine, stages_to_lines())
            engine.execute(f"insert into main.lines_reproduced select {', '.join(LINE_COLUMNS)} from lines_now")
        finally:
            engine.execute("set search_path = 'main'")
            engine.execute(f"drop schema {SCHEMA} cascade")


def forget(engine: duckdb.DuckDBPyConnection) -> None:
    """Makes an empty `lines_reproduced`."""
    listed = ", ".join(f"{name} {kind}" for name, kind in LINE_COLUMNS.items())
    engine.execute(f"create or replace table lines_reproduced ({listed})")


def stages_to_lines() -> list[Stage]:
    """The stages that work invoices out again, once it is given which."""
    names = [stage.name for stage in all_stages()]
    return [stage for stage in all_stages()[: names.index("lines_now") + 1] if stage.name not in GIVEN]


def _runs_of_differences(engine: duckdb.DuckDBPyConnection, run_number: int) -> list[int]:
    """Finds for each invoice with a difference the run before which it agreed, and gives those runs."""
    engine.execute(
        """
        create or replace table differing as
        select t.invoice_id, t.subscription_id, min(coalesce(h.run_id::integer, $run_number)) as until_run
        from line_differences d
        inner join invoices_touched t on d.invoice_id = t.invoice_id
        left join held_invoices_before h on t.invoice_id = h.invoice_id and h.kind = 'correction'
        group by t.invoice_id, t.subscription_id
        """,
        {"run_number": run_number},
    )
    runs = engine.execute("select distinct until_run from differing order by until_run").fetchall()
    return [until_run for (until_run,) in runs]


def _open_rows_before(engine: duckdb.DuckDBPyConnection, until_run: int) -> None:
    own = f"(select subscription_id from main.differing where until_run = {until_run})"
    for feed in (feed for feed in FEEDS if feed != "usage"):
        only = f"and subscription_id in {own}" if feed in OF_ONE_SUBSCRIPTION else ""
        engine.execute(f"create view known_{feed} as from main.known_{feed} where run_number < {until_run} {only}")
    for rows in ("usage_at_hand", "usage_kept", "usage_settled"):
        engine.execute(
            f"create view {rows} as from main.{rows} where run_number < {until_run} and subscription_id in {own}"
        )
    for of_open_cycles in ("usage_sums_kept", "usage_sums_broken"):
        engine.execute(f"create view {of_open_cycles} as from main.{of_open_cycles} limit 0")
    engine.execute(f"create view known_approvals as from main.known_approvals where run_number < {until_run}")
    engine.execute(
        "create table late_rows as select feed, read_in::integer as run_number, file, row_number "
        "from main.rejected_rows_before where reason = 'late'"
    )
    engine.execute(
        "create table invoices_touched as from main.invoices_touched "
        f"where invoice_id in (select invoice_id from main.differing where until_run = {until_run})"
    )
