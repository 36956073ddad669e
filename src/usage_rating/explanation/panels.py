"""What a picture of an invoice shows, as exact figures: a peak over its cycle, usage under its spending limit."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from usage_rating.explanation.carts import Level, course, highest, reached_and_lasted, times_on
from usage_rating.explanation.context import Context
from usage_rating.explanation.limits import LIMITED, Limit, limits_in_force
from usage_rating.explanation.model import Explanation, Line
from usage_rating.figures import instant, money, plain, span
from usage_rating.rate_cards import PeakCharge, RateCard
from usage_rating.time_zones import midnight, zone

TICKS_MAX = 8
DAYS_BETWEEN_TICKS = (1, 2, 7, 14, 28, 91)


@dataclass(frozen=True)
class CartsPanel:
    """The carts of a category over the cycle; of a correction also as they were billed before."""

    heading: str
    says: str
    category: str
    levels: list[Level]
    before: list[Level] = field(default_factory=list)

    @property
    def peaks(self) -> list[Level]:
        """The stretches with the most carts; none where there was no cart."""
        return _peaks(self.levels)


def _peaks(levels: list[Level]) -> list[Level]:
    return [level for level in highest(levels) if level.carts]


@dataclass(frozen=True)
class Charged:
    """What the usage of a cycle has come to from an instant on: charged under the limit, and without it."""

    since: datetime
    charged: Decimal
    due: Decimal


@dataclass(frozen=True)
class Alert:
    """A share of a limit that was reached, and told."""

    reached_at: datetime
    threshold: Decimal
    limit: Decimal


@dataclass(frozen=True)
class LimitPanel:
    """The usage of a cycle under its spending limit; of a correction also as it was billed before.

    `thresholds` are the shares of each limit of which alerts tell.
    """

    heading: str
    says: str
    currency: str
    minor_digits: int
    limits: list[Limit]
    thresholds: list[Decimal]
    charges: list[Charged]
    crossed: Charged | None
    alerts: list[Alert]
    before: list[Charged] = field(default_factory=list)


Panel = CartsPanel | LimitPanel


@dataclass(frozen=True)
class Picture:
    """An invoice to look at: one panel below the other, all over the same cycle."""

    title: str
    subtitles: list[str]
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    panels: list[Panel]


def picture_of(explained: Explanation, now: Context, before: Context | None) -> Picture:
    """What there is to see of the lines that are explained.

    :param now: the invoice as the run that issued it, or its correction, had it
    :param before: of a correction, the invoice as it was before
    :returns: no panel where there is nothing to look at
    """
    invoice, cycle = explained.invoice, explained.cycle.details
    kind = invoice["kind"]
    corrects = f" of {invoice['corrects_invoice_id']}" if kind == "correction" else ""
    total = plain(invoice["total"], explained.minor_digits)
    return Picture(
        title=f"Invoice {invoice['invoice_number']} of {invoice['rate_card']}: {total} {invoice['currency']}",
        subtitles=[
            f"{kind}{corrects} for {invoice['subscription_id']} of account {invoice['account_id']}",
            f"{span(cycle['cycle_start'], cycle['cycle_end'])}, days in {cycle['time_zone']}; {invoice['invoice_id']}",
        ],
        starts_at=cycle["starts_at"],
        ends_at=cycle["ends_at"],
        time_zone=cycle["time_zone"],
        panels=[
            *(_carts(line, explained, now, before) for line in explained.lines if line.kind == "peak"),
            *_limit(explained.lines, now, before),
        ],
    )


def _carts(line: Line, explained: Explanation, now: Context, before: Context | None) -> CartsPanel:
    charge = now.state.cards[line.rate_card_version].plans[str(line.plan)][line.charge]
    assert isinstance(charge, PeakCharge)
    then, earlier = (
        course(context.state, times_on(context.state, charge.category), line.service_start) if context else []
        for context in (now, before)
    )
    amount = f"{plain(line.amount, explained.minor_digits)} {explained.invoice['currency']}"
    return CartsPanel(
        heading=f"Line {line.line_number}: {line.charge} ({line.plan}), {amount}",
        says="; ".join(
            f"{word}{most_carts(levels, charge.category)}"
            for word, levels in ((("before: ", earlier), ("now: ", then)) if before else (("", then),))
        ),
        category=charge.category,
        levels=then,
        before=earlier,
    )


def most_carts(levels: list[Level], category: str) -> str:
    """A peak in a sentence, as the text has it."""
    found = _peaks(levels)
    if not found:
        return f"no {category} cart was active"
    times = f", the first of {len(found):,} times" if len(found) > 1 else ""
    return f"{reached_and_lasted(found[0], category)}{times}"


def _limit(lines: list[Line], now: Context, before: Context | None) -> Iterator[LimitPanel]:
    """One panel for all the lines that the limit is over."""
    shown = [line for line in lines if line.kind in (*LIMITED, "spending_limit")]
    limits, charges = limits_in_force(now), _charges(now)
    earlier = _charges(before) if before else []
    if not (shown and limits and (charges or earlier)):
        return
    card, begins = now.card(now.invoice), now.state.day_begins(now.invoice["cycle_start"])
    shares = sorted(card.spending_limit.alert_at) if card.spending_limit else []
    crossed = next((each for each in charges if each.due > each.charged), None)
    told = now.published.alerts(now.invoice["subscription_id"], now.invoice["cycle_start"])
    numbers = ", ".join(str(line.line_number) for line in shown)
    yield LimitPanel(
        heading=f"Line{'' if len(shown) == 1 else 's'} {numbers}: usage under the spending limit",
        says=_comes_to(card, limits, crossed, charges, earlier if before else None),
        currency=card.currency,
        minor_digits=card.minor_digits,
        limits=[replace(limit, since=max(limit.since, begins)) for limit in limits],
        thresholds=shares,
        charges=charges,
        crossed=crossed,
        alerts=[Alert(each["reached_at"], each["threshold"], each["limit_amount"]) for each in told],
        before=earlier,
    )


def _charges(context: Context) -> list[Charged]:
    """The running charge after each instant at which something was charged."""
    rows = context.state.of("usage_clipped", cycle_start=context.invoice["cycle_start"])
    last = {row["instant"]: Charged(row["instant"], row["billed"], row["amount_so_far"]) for row in rows}
    return list(last.values())


def _comes_to(
    card: RateCard, limits: list[Limit], crossed: Charged | None, now: list[Charged], before: list[Charged] | None
) -> str:
    """The main figures of usage under its limit, in a sentence."""
    parts = [f"a limit of {money(limit.amount, card)} from {instant(limit.since)} on" for limit in limits]
    if crossed:
        parts.append(f"crossed at {instant(crossed.since)}")
    for charges, word in ((before or [], "before: "), (now, "" if before is None else "now: ")):
        parts += [
            f"{word}charged in all {money(each.charged, card)} of {money(each.due, card)}, "
            f"{money(each.due - each.charged, card)} clipped"
            for each in charges[-1:]
        ]
    return "; ".join(parts)


def days_marked(picture: Picture) -> list[tuple[date, datetime]]:
    """The local days that the time axis names, each with its first instant: the cycle's edges, and some between."""
    place = zone(picture.time_zone)
    first, last = (at.astimezone(place).date() for at in (picture.starts_at, picture.ends_at))
    length = (last - first).days
    apart = next((days for days in DAYS_BETWEEN_TICKS if length / days <= TICKS_MAX), length // TICKS_MAX + 1)
    days = [first + timedelta(days=passed) for passed in range(0, length, apart)]
    kept = [day for day in days if day == first or (last - day).days * 2 > apart]
    return [(day, midnight(place, day)) for day in (*kept, last)]


def round_steps(most: Fraction, *, smallest: Fraction) -> list[Fraction]:
    """Round figures from 0 up to the last that is not above `most`, for the marks of an axis; at most six."""
    step = smallest
    for factor in _one_two_five():
        step = smallest * factor
        if most < step * 6:
            break
    return [step * number for number in range(int(most // step) + 1)]


def _one_two_five() -> Iterable[int]:
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


def local(at: datetime, time_zone: str) -> str:
    """An instant on the clocks of a zone, to the minute where it is whole."""
    there = at.astimezone(zone(time_zone))
    clock = there.strftime("%H:%M") if not (there.second or there.microsecond) else there.time().isoformat()
    return f"{day_name(there.date())} {clock}"


def day_name(day: date) -> str:
    """A day without its year, which stands above."""
    return f"{day.day} {MONTHS[day.month - 1]}"


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
