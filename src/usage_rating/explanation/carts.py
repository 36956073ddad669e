"""A peak, step by step: when it was reached, which carts were on, and what it would be without one of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

from usage_rating.explanation.context import Context, Worked
from usage_rating.explanation.model import SourceRow
from usage_rating.explanation.prices import price_steps
from usage_rating.explanation.published import Record
from usage_rating.explanation.rework import State
from usage_rating.explanation.rows import source_row
from usage_rating.figures import instant, lasting, money, plain, rounded, rounding, seconds_between

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
SHOWN_MAX = 20


@dataclass(frozen=True)
class On:
    """A cart while it is active in a category: from when, and until when."""

    cart_id: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Level:
    """A stretch of the cycle over which so many carts were active."""

    since: datetime
    until: datetime
    carts: int


def times_on(state: State, category: str) -> list[On]:
    """When each cart of a category was on, over all time."""
    found: list[On] = []
    open_since: dict[str, datetime] = {}
    for change in sorted(state.relations["cart_changes"], key=lambda row: (row["cart_id"], row["changed_at"])):
        if change["category_before"] == category:
            found.append(On(change["cart_id"], open_since.pop(change["cart_id"]), change["changed_at"]))
        if change["category_after"] == category:
            open_since[change["cart_id"]] = change["changed_at"]
    return found + [On(cart_id, since, FOREVER) for cart_id, since in open_since.items()]


def levels(times: Iterable[On], segments: Iterable[Record]) -> list[Level]:
    """How many carts were active, stretch by stretch, while the subscription was."""
    steps: dict[datetime, int] = {}
    for time in times:
        steps[time.since] = steps.get(time.since, 0) + 1
        steps[time.until] = steps.get(time.until, 0) - 1
    found: list[Level] = []
    for segment in segments:
        since, carts = segment["segment_from"], 0
        for at in sorted(steps):
            if at > since and steps[at]:
                if at >= segment["segment_until"]:
                    break
                found.append(Level(since, at, carts))
                since = at
            carts += steps[at]
        found.append(Level(since, segment["segment_until"], carts))
    return found


def course(state: State, times: Iterable[On], cycle_start: date) -> list[Level]:
    """How many carts were active, stretch by stretch of a cycle."""
    segments = state.of("active_segments", cycle_start=cycle_start)
    return levels(times, sorted(segments, key=lambda each: each["segment_from"]))


def highest(stretches: Iterable[Level]) -> list[Level]:
    """The stretches over which the most carts were active."""
    found = list(stretches)
    return [level for level in found if level.carts == max(each.carts for each in found)]


def peak(context: Context, line: Record) -> Worked:
    """The most carts of a category at one instant, and what hangs on it."""
    card, charge, state = context.card(line), context.charge(line), context.state
    times = times_on(state, charge.category)
    stretches = course(state, times, line["service_start"])
    reached = highest(stretches)[0]
    evidence = json.loads(line["evidence"])
    assert reached.carts == line["quantity"], "the carts listed give the peak billed"
    assert reached.since == datetime.fromisoformat(evidence["peak_at"]), "and its instant"
    on = _on_at(times, reached.since)
    steps = _when(stretches, reached, charge.category)
    steps += _carts(on, charge.category)
    priced, exact = price_steps(charge.price, Fraction(reached.carts), card)
    amount = rounded(exact, card)
    without = _without_shortest(context, line, stretches, on, times)
    steps += [without["says"], *priced, *rounding(exact, card)]
    details = evidence | {
        "reached_at": reached.since,
        "until": reached.until,
        "carts": [{"cart_id": each.cart_id, "since": each.since, "until": _end(each.until)} for each in on],
        "second_highest": max((level.carts for level in stretches if level.carts < reached.carts), default=None),
        "without_shortest_lived": {key: value for key, value in without.items() if key != "says"},
    }
    return Worked(steps, amount, _rows(state, charge.category, on), details)


def peak_rows(context: Context, line: Record) -> list[SourceRow]:
    """The rows that switched on the carts of the peak: an event, or else a listing."""
    state, category = context.state, context.charge(line).category
    reached_at = datetime.fromisoformat(json.loads(line["evidence"])["peak_at"])
    return _rows(state, category, _on_at(times_on(state, category), reached_at))


def _rows(state: State, category: str, on: list[On]) -> list[SourceRow]:
    events, listings = (
        {
            (row["cart_id"], row[column]): source_row(feed, row, f"switches on {row['cart_id']}")
            for row in state.of(feed, verdict="counted", category=category, state="active")
        }
        for feed, column in (("cart_events", "occurred_at"), ("cart_snapshots", "snapshot_at"))
    )
    said = (events.get((each.cart_id, each.since)) or listings.get((each.cart_id, each.since)) for each in on)
    return [row for row in said if row]


def _on_at(times: Iterable[On], at: datetime) -> list[On]:
    """The carts that were active at an instant, the one first switched on first."""
    return sorted((time for time in times if time.since <= at < time.until), key=lambda on: (on.since, on.cart_id))


def reached_and_lasted(peak: Level, category: str) -> str:
    """A peak in a sentence."""
    return (
        f"the most {category} carts active at one time: {peak.carts:,}, reached at {instant(peak.since)}; "
        f"it lasted {lasting(seconds_between(peak.since, peak.until))}, until {instant(peak.until)}"
    )


def _when(stretches: list[Level], reached: Level, category: str) -> list[str]:
    times = highest(stretches)
    steps = [reached_and_lasted(reached, category)]
    if len(times) > 1:
        total = sum((seconds_between(level.since, level.until) for level in times), Fraction(0))
        steps.append(f"there were as many {len(times):,} times in the cycle, for {lasting(total)} in all")
    lower = [level for level in stretches if level.carts < reached.carts]
    if lower:
        second = max(level.carts for level in lower)
        steps.append(f"the second-highest number in the cycle: {second:,}")
    else:
        steps.append("there were as many all through the cycle")
    return steps


def _carts(on: list[On], category: str) -> list[str]:
    shown = [
        f"{each.cart_id} as {category} on since {instant(each.since)}"
        + (f", until {instant(each.until)}" if each.until != FOREVER else ", and not switched off since")
        for each in on[:SHOWN_MAX]
    ]
    more = len(on) - len(shown)
    return [f"active then: {'; '.join(shown)}" + (f"; and {more:,} more" if more else "")]


def _without_shortest(
    context: Context, line: Record, stretches: list[Level], on: list[On], times: list[On]
) -> dict[str, Any]:
    """What the bill would be without the cart of the peak that was on for the shortest time in this cycle."""
    card, charge = context.card(line), context.charge(line)
    segments = context.state.of("active_segments", cycle_start=line["service_start"])
    begins, ends = stretches[0].since, stretches[-1].until

    def time_in_cycle(cart_id: str) -> Fraction:
        return sum(
            (
                seconds_between(max(t.since, begins), min(t.until, ends))
                for t in times
                if t.cart_id == cart_id and t.since < ends and t.until > begins
            ),
            Fraction(0),
        )

    shortest = min(on, key=lambda each: (time_in_cycle(each.cart_id), each.cart_id))
    others = levels((time for time in times if time.cart_id != shortest.cart_id), segments)
    carts = max(level.carts for level in others)
    _, exact = price_steps(charge.price, Fraction(carts), card)
    amount = rounded(exact, card)
    total = sum((Fraction(each["amount"]) for each in context.lines), Fraction(0)) - Fraction(line["amount"]) + amount
    return {
        "says": (
            f"without {shortest.cart_id}, which was on for {lasting(time_in_cycle(shortest.cart_id))} of the cycle, "
            f"the most would be {plain(carts)}, this line {money(amount, card)} and the invoice {money(total, card)}"
        ),
        "cart_id": shortest.cart_id,
        "quantity": carts,
        "amount": money(amount, card),
        "invoice_total": money(total, card),
    }


def _end(until: datetime) -> datetime | None:
    return None if until == FOREVER else until
