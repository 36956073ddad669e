"""The books of a run: what became of every row, and how what is billed comes from exact figures."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from usage_rating.verification.feeds import Row
from usage_rating.verification.known import INSTANTS, Judged
from usage_rating.verification.ledger import Ledger
from usage_rating.verification.published import OF_FEEDS, Record
from usage_rating.verification.rows import Resolved
from usage_rating.verification.runs import Invoice, Replay

UNLISTED = ("counted", "duplicate", "superseded", "voided")
MONEY = ("before", "shortfall", "capped", "clipped", "rounding", "billed_before", "billed")
FEED_NAMES, MONEY_NAMES = ("run_id", "feed", *OF_FEEDS), ("run_id", "currency", "charge_kind", *MONEY)
Key = tuple[Any, ...]


def status(row: Row, reason: str) -> str:
    """How a row is listed."""
    if reason == "unpriced":
        return reason
    return "rejected" if row.refused or reason in ("bad_value", "conflicting_duplicate") else "held"


def listed_in(replay: Replay, ledger: Ledger) -> dict[Row, str]:
    """The rows that are listed after a run, each with the reason."""
    listed = {row: row.refused for row in replay.known.refused}
    for each in _judged(replay, ledger):
        listed |= each.listed
    return listed


def outcomes_of(replay: Replay, ledger: Ledger) -> dict[Row, str]:
    """What became of every row after the last run: one of `UNLISTED`, or why it is listed."""
    found: dict[Row, str] = {}
    listed = {row: row.refused for row in replay.known.refused}
    for each in _judged(replay, ledger):
        found |= each.outcomes
        listed |= each.listed
    return found | listed


def _judged(replay: Replay, ledger: Ledger) -> Iterator[Judged | Resolved]:
    yield ledger.resolved
    yield replay.known.listings()
    yield from (state.judged for state in replay.states.values() if state.judged)
    yield from replay.known.strangers()


def feed_rows(run_id: str, outcomes: dict[Row, str], replay: Replay, ledger: Ledger) -> list[Key]:
    """The balance of each feed after the last run."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    billed = {invoice.account_id for state in replay.states.values() for invoice in state.cycles.values()}
    billed |= {state.opening.account_id for state in replay.states.values() if state.opening}
    for row, outcome in outcomes.items():
        if outcome == "counted":
            is_rated = _is_rated(row, replay, ledger, billed)
            counts[row.feed]["rated" if is_rated else "not_due"] += 1
        else:
            counts[row.feed][outcome if outcome in UNLISTED else status(row, outcome)] += 1
    for feed, rows in replay.known.rows_in.items():
        counts[feed]["rows_in"] = rows
    return [(run_id, feed, *(own[name] for name in OF_FEEDS)) for feed, own in counts.items()]


def _is_rated(row: Row, replay: Replay, ledger: Ledger, billed: set[str]) -> bool:
    """Whether what a row bills is invoiced: its cycle, or one that ends later; of accounts anything."""
    if row.feed == "accounts":
        return row["account_id"] in billed
    if row.feed == "credit_topups":
        return row["topup_id"] in ledger.due
    state, at = replay.states.get(row["subscription_id"]), row[INSTANTS[row.feed]]
    life = replay.known.life_of(row["subscription_id"])
    if state is None or life is None:
        return False
    if row.feed in ("usage", "one_off_charges"):
        return life.cycles.number_at(at) in state.cycles
    return any(at < invoice.cycle.ends_at for invoice in state.cycles.values())


def money_rows(issued: Iterable[Invoice]) -> list[Key]:
    """What each run billed, by currency and kind, from exact figures on."""
    sums: dict[Key, dict[str, Fraction]] = defaultdict(lambda: dict.fromkeys(MONEY, Fraction(0)))
    for invoice in issued:
        of_run = f"{invoice.run:06d}", invoice.currency
        for line in invoice.worked_out:
            column, sign = COLUMNS.get(line.kind, ("before", 1))
            own = sums[*of_run, line.kind]
            own[column] += sign * line.exact
            own["rounding"] += line.amount - line.exact
        for line in invoice.lines:
            sums[*of_run, line.kind]["billed"] += line.amount
        for line in invoice.said.values() if invoice.corrects else ():
            sums[*of_run, line.kind]["billed_before"] += line.amount
    return [(*key, *own.values()) for key, own in sums.items() if any(own.values())]


COLUMNS = {"minimum": ("shortfall", 1), "cap": ("capped", -1), "spending_limit": ("clipped", -1)}


def published_money(records: Iterable[Record]) -> list[Key]:
    """The published balances of money as `money_rows` tells them: shares of days added up."""
    sums: dict[Key, dict[str, Fraction]] = defaultdict(lambda: dict.fromkeys(MONEY, Fraction(0)))
    for record in records:
        own = sums[record["run_id"], record["currency"], record["charge_kind"]]
        for name in MONEY:
            is_share = name in ("before", "rounding")
            own[name] += record[f"{name}_numerator"] / record["denominator"] if is_share else record[name]
    return [(*key, *own.values()) for key, own in sums.items() if any(own.values())]
