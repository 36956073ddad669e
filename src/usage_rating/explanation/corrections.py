"""A correction: what was said before, what it comes to now, and the rows that made the difference."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from usage_rating.explanation.context import Context
from usage_rating.explanation.lines import explained
from usage_rating.explanation.model import Line, SourceRow
from usage_rating.explanation.published import Record
from usage_rating.explanation.rows import source_row
from usage_rating.figures import in_brackets, money, plain
from usage_rating.rate_cards import RateCard, UsageCharge

Key = tuple[str, str, str | None, str]
VERDICTS = {
    "counted": "counts now",
    "superseded": "counts no longer: a higher revision came",
    "voided": "takes its row out",
    "held": "waits now",
    "unpriced": "is not priced",
    "rejected": "is refused",
}
WITHOUT_EFFECT = ("duplicate", "held", "rejected", "refused")
REVISED_BY = {"usage": "event_id", "one_off_charges": "charge_id"}
INSTANTS = {
    "usage": "occurred_at",
    "one_off_charges": "purchased_at",
    "cart_events": "occurred_at",
    "cart_snapshots": "snapshot_at",
    "spending_limits": "agreed_at",
    "subscriptions": "effective_at",
}
RELATION_OF = {
    "usage": "usage_judged",
    "one_off_charges": "one_off_charges_judged",
    "cart_events": "cart_events",
    "cart_snapshots": "cart_snapshots",
    "spending_limits": "spending_limits_judged",
    "subscriptions": "subscriptions_judged",
}
FEEDS_OF = {
    "recurring": ("subscriptions",),
    "upgrade": ("subscriptions",),
    "peak": ("cart_events", "cart_snapshots", "subscriptions"),
    "usage": ("usage", "subscriptions"),
    "minimum": ("usage", "subscriptions"),
    "cap": ("usage", "subscriptions"),
    "spending_limit": ("usage", "spending_limits", "subscriptions"),
    "one_off": ("one_off_charges", "subscriptions"),
}


def key_of(line: Record) -> Key:
    """What tells a line of an invoice from its others: of fees also the cycle that they are for."""
    fee_from = str(line["service_start"]) if line["kind"] == "recurring" else ""
    return line["kind"], line["charge"], line["plan"], fee_from


@dataclass(frozen=True)
class Said:
    """What an invoice and its corrections so far came to, by what they bill: quantity and amount."""

    quantity: Fraction
    amount: Fraction


def said_by(lines: Iterable[Record]) -> dict[Key, Said]:
    """Adds lines up by what they bill."""
    found: dict[Key, Said] = {}
    for line in lines:
        so_far = found.get(key_of(line), Said(Fraction(0), Fraction(0)))
        found[key_of(line)] = Said(
            so_far.quantity + Fraction(line["quantity"]), so_far.amount + Fraction(line["amount"])
        )
    return found


def corrected_lines(before: Context, now: Context, issued: dict[Key, Said], published: list[Record]) -> list[Line]:
    """The lines of a correction, as published and explained.

    :param before: the invoice as it was worked out before
    :param now: as it is worked out in the run that corrected it
    :param issued: what it and its earlier corrections have said
    """
    return [_corrected(before, now, issued, line) for line in published]


def _corrected(before: Context, now: Context, issued: dict[Key, Said], line: Record) -> Line:
    key, card = key_of(line), now.card(line)
    was = issued.get(key, Said(Fraction(0), Fraction(0)))
    lines_before, lines_now = (
        [explained(c, each, 0) for each in c.lines if key_of(each) == key] for c in (before, now)
    )
    amount = sum((Fraction(each.amount) for each in lines_now), Fraction(0))
    quantity = sum((Fraction(each.quantity) for each in lines_now), Fraction(0))
    steps = [f"before: {step}" for each in lines_before for step in each.steps] or ["before: there was no such line"]
    steps += [f"now: {step}" for each in lines_now for step in each.steps] or ["now: there is no such line any more"]
    steps.append(
        f"the invoice and its corrections so far said {money(was.amount, card)} for {plain(was.quantity)}; now it is "
        f"{money(amount, card)} for {plain(quantity)}"
    )
    quantities = f"{plain(quantity)} - {in_brackets(plain(was.quantity))} = {plain(quantity - was.quantity)}"
    steps.append(f"difference of the quantity: {quantities}")
    steps.append(
        "difference of the amount: "
        f"{money(amount, card)} - {in_brackets(money(was.amount, card))} = {money(amount - was.amount, card)}"
    )
    assert amount - was.amount == line["amount"], "the steps of a correction come to its line"
    rows = rows_between(before, now, line)
    details: dict[str, Any] = {
        "quantity_before": plain(was.quantity),
        "quantity_after": plain(quantity),
        "amount_before": money(was.amount, card),
        "amount_after": money(amount, card),
    }
    named = {name: value for name, value in line.items() if name not in ("invoice_id", "evidence")}
    return Line(steps=steps, rows=rows, details=details, **named)


def rows_between(before: Context, now: Context, line: Record) -> list[SourceRow]:
    """The rows that made the difference: those that came since or are judged otherwise, of the feeds it hangs on.

    With them the other revisions of their events and purchases, which may lie in another cycle.
    """
    cycle = now.state.one("billing_cycles", cycle_start=now.invoice["cycle_start"])
    found = []
    for feed in FEEDS_OF[line["kind"]]:
        at, changed = INSTANTS[feed], _changed(before, now, feed)
        own = [
            row
            for row, _ in changed
            if (row[at] < cycle["ends_at"] or (feed == "subscriptions" and row[at] == cycle["ends_at"]))
            and _is_of(now, line, feed, row, cycle)
        ]
        keys = {row[REVISED_BY[feed]] for row in own} if feed in REVISED_BY else set()
        for row, note in changed:
            if row in own or (keys and row[REVISED_BY[feed]] in keys):
                found.append(source_row(feed, row, note))
    return found


def _changed(before: Context, now: Context, feed: str) -> list[tuple[Record, str]]:
    """The rows of a feed that are new or judged otherwise, in order, each with what became of it."""
    earlier = {_place(row): row["verdict"] for row in before.state.relations[RELATION_OF[feed]]}
    found = []
    for row in now.state.relations[RELATION_OF[feed]]:
        was, verdict = earlier.get(_place(row)), str(row["verdict"])
        if was != verdict and (was is not None or verdict not in WITHOUT_EFFECT):
            found.append((row, ("new: " if was is None else "") + VERDICTS.get(verdict, verdict)))
    return sorted(found, key=lambda each: (each[0][INSTANTS[feed]], each[0]["run_number"], each[0]["row_number"]))


def _is_of(now: Context, line: Record, feed: str, row: Record, cycle: Record) -> bool:
    """Whether a row speaks of what a line bills."""
    charge = _charge(now.card(line), line)
    if feed in ("cart_events", "cart_snapshots"):
        return True  # one that moves a cart away names another category
    if feed == "one_off_charges":
        return bool(row["charge_id"] == line["charge"])
    if feed == "usage":
        if row[INSTANTS[feed]] < cycle["starts_at"]:
            return False
        if line["kind"] == "spending_limit":
            return True
        return charge is not None and row["meter"] in (charge.meter, charge.minimum.meter if charge.minimum else None)
    return True


def _charge(card: RateCard, line: Record) -> UsageCharge | None:
    charge = card.plans.get(line["plan"] or "", {}).get(line["charge"])
    return charge if isinstance(charge, UsageCharge) else None


def _place(row: Record) -> tuple[str, int, int]:
    return row["file"], row["row_number"], row["run_number"]
