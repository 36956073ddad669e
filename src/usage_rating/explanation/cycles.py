"""The cycle of an invoice, how its edges came about, and the card version that prices it."""

from datetime import timedelta
from typing import Any

from usage_rating.explanation.context import Context
from usage_rating.explanation.model import Section, SourceRow
from usage_rating.explanation.published import Record
from usage_rating.explanation.rows import source_row
from usage_rating.figures import ROUNDINGS, instant, span
from usage_rating.rate_cards import RateCard

ANCHORS = {
    "account_created": "the day the account was created",
    "subscription_started": "the day the subscription started",
}


def cycle(context: Context) -> Section:
    """The cycle: its days and instants, what it is counted from, activity and plans, with the rows that say so."""
    state, invoice = context.state, context.invoice
    start = state.one("subscription_starts")
    found = state.one("billing_cycles", cycle_start=invoice["cycle_start"])
    zone = start["time_zone"]
    of_account = "" if _account_zone(context) else ", the rate card's zone, for the account names none"
    says = [
        f"{span(found['cycle_start'], found['cycle_end'])}, the last day not in it: from "
        f"{instant(found['starts_at'])} to {instant(found['ends_at'])}, the midnights in {zone}{of_account}",
        *_counted_from(context, found, start),
        *_activity(context),
    ]
    return Section(
        says,
        _rows(context, start),
        {
            "cycle_start": found["cycle_start"],
            "cycle_end": found["cycle_end"],
            "starts_at": found["starts_at"],
            "ends_at": found["ends_at"],
            "time_zone": zone,
            "days": (found["cycle_end"] - found["cycle_start"]).days,
            "whole_days": found["whole_days"],
        },
    )


def _account_zone(context: Context) -> Any:
    start = context.state.one("subscription_starts")
    rows = context.state.of("accounts_judged", verdict="counted", account_id=start["account_id"])
    return any(row["time_zone"] for row in rows)


def _counted_from(context: Context, found: Record, start: Record) -> list[str]:
    """What the card says of cycles, the day they are counted from, and which of them this is."""
    card = context.state.cards[context.invoice["rate_card_version"]]
    anchor = context.state.one("subscription_anchors")
    length, unit, kind, _ = card.cycle.terms
    every = f"every {length} {unit if length > 1 else unit[:-1]}"
    first = anchor["anchor_date"]
    created, started = instant(start["account_created_at"]), instant(start["started_at"])
    said = [f"the account was created at {created}, the subscription started at {started}"]
    if kind == "calendar":
        said.append(f"the card bills {every}, from the first of a month; the first cycle begins on {first}")
        days, whole = (found["cycle_end"] - found["cycle_start"]).days, found["whole_days"]
        if days != whole:
            said.append(f"so this first cycle is shorter: it has {days} of the {whole} days of a whole one")
        return said
    if unit == "days":
        number = (found["cycle_start"] - first).days // length
    else:
        months = (found["cycle_start"].year - first.year) * 12 + found["cycle_start"].month - first.month
        number = months // length
    said.append(f"the card bills {every}, counted from {ANCHORS[kind]}, {first}")
    held = " (the month's last day, for it has no later one)" if found["cycle_start"].day < first.day else ""
    if number:
        away = f"{abs(number) * length:,} {unit if abs(number) * length > 1 else unit[:-1]}"
        side = "after" if number > 0 else "before"
        said.append(f"this cycle begins {away} {side} it{held if unit == 'months' else ''}")
    return said


def _activity(context: Context) -> list[str]:
    state, invoice = context.state, context.invoice
    found = state.one("billing_cycles", cycle_start=invoice["cycle_start"])
    segments = sorted(
        state.of("active_segments", cycle_start=invoice["cycle_start"]), key=lambda each: each["segment_from"]
    )
    if not segments:
        return ["the subscription was not active in it"]
    is_whole = [(s["segment_from"], s["segment_until"]) for s in segments] == [(found["starts_at"], found["ends_at"])]
    said = [
        "the subscription was active all through it"
        if is_whole
        else "the subscription was active from "
        + ", and from ".join(f"{instant(s['segment_from'])} to {instant(s['segment_until'])}" for s in segments)
    ]
    plans = [
        plan
        for plan in sorted(state.relations["plan_spans"], key=lambda each: each["plan_from"])
        if plan["plan_from"] < found["ends_at"]
        and (plan["plan_until"] is None or plan["plan_until"] > found["starts_at"])
    ]
    for plan in plans[:1]:
        changes = "".join(f", then {each['plan']} from {instant(each['plan_from'])}" for each in plans[1:])
        said.append(f"on the plan {plan['plan']}{changes}")
    return said


def _rows(context: Context, start: Record) -> list[SourceRow]:
    """The account's row, and what was said of the subscription before the cycle ended."""
    state = context.state
    found = state.one("billing_cycles", cycle_start=context.invoice["cycle_start"])
    accounts = [
        row
        for row in state.of("accounts_judged", verdict="counted", account_id=start["account_id"])
        if row["updated_at"] == start["account_updated_at"] and row["revision"] == start["account_revision"]
    ]
    subscription = [
        row for row in state.of("subscriptions_judged", verdict="counted") if row["effective_at"] < found["ends_at"]
    ]
    return [source_row("accounts", row) for row in accounts[:1]] + [
        source_row("subscriptions", row) for row in sorted(subscription, key=lambda row: row["effective_at"])
    ]


def card(context: Context) -> Section:
    """The version that prices the cycle, and why that one."""
    version = context.state.cards[context.invoice["rate_card_version"]]
    later = sorted(
        each.effective_from for each in context.state.cards.values() if each.effective_from > version.effective_from
    )
    until = f" until {later[0] - timedelta(days=1)}" if later else ""
    says = [
        f"{version.rate_card}, version {version.version}, for cycles that begin from {version.effective_from} "
        f"on{until}; this one begins on {context.invoice['cycle_start']}",
        f"its reason: {version.reason or 'none is given'}",
        f"amounts are in {version.currency}, rounded once a line: {_rounding(version)}",
    ]
    return Section(
        says,
        [],
        {
            "rate_card": version.rate_card,
            "version": version.version,
            "effective_from": version.effective_from,
            "reason": version.reason,
            "rounding": version.rounding,
        },
    )


def _rounding(version: RateCard) -> str:
    return f"{ROUNDINGS[version.rounding]}, to {version.minor_digits} decimals"
