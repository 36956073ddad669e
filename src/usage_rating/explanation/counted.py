"""Usage, its minimum and its cap, step by step."""

import json
from fractions import Fraction
from typing import Any

from usage_rating.explanation.context import Context, Worked
from usage_rating.explanation.model import SourceRow
from usage_rating.explanation.prices import price_steps
from usage_rating.explanation.published import Record
from usage_rating.explanation.quantities import quantity_steps
from usage_rating.explanation.rows import usage_of, usage_rows
from usage_rating.figures import in_brackets, money, plain, rounded, rounding
from usage_rating.rate_cards import UsageCharge


def usage(context: Context, line: Record) -> Worked:
    """What a meter counted under one plan, and what that costs."""
    card, charge = context.card(line), context.charge(line)
    counted = rows_counted(context, line)
    steps, quantity = quantity_steps(charge.aggregation, charge.meter, counted)
    assert quantity == line["quantity"], "the rows listed give the quantity billed"
    priced, amount = price_steps(charge.price, quantity, card)
    steps += [*priced, *rounding(amount, card)]
    return Worked(steps, rounded(amount, card), usage_rows(counted), json.loads(line["evidence"]))


def charge_rows(context: Context, line: Record) -> list[SourceRow]:
    """The rows of a line of usage or of its cap."""
    return usage_rows(rows_counted(context, line))


def rows_counted(context: Context, line: Record) -> list[Record]:
    """The usage rows that a charge of one plan counts in the cycle; those of 0 are skipped by count and unique."""
    charge = context.charge(line)
    rows = usage_of(context.state, line["service_start"], charge.meter, line["plan"])
    return [row for row in rows if row["quantity"] > 0] if charge.aggregation in ("count", "unique") else rows


def minimum(context: Context, line: Record) -> Worked:
    """The least quantity of a cycle, by days where it is shared out, and what was missing to it."""
    card, charge, evidence = context.card(line), context.charge(line), json.loads(line["evidence"])
    assert charge.minimum
    steps, least = _least(charge, evidence)
    counted = _rows_of_minimum(context, line)
    said, used = quantity_steps(charge.aggregation, charge.minimum.meter or charge.meter, counted)
    steps += [f"used, under whatever plan: {said[0]}"]
    shortfall = least - used
    steps.append(f"the shortfall: {plain(least)} - {plain(used)} = {plain(shortfall)}")
    assert shortfall == line["quantity"], "the rows listed give the shortfall billed"
    own = sum(
        (
            Fraction(each["quantity"])
            for each in context.lines
            if (each["kind"], each["plan"], each["charge"]) == ("usage", line["plan"], line["charge"])
        ),
        Fraction(0),
    )
    steps.append(
        f"usage and shortfall together cost what the minimum costs: {plain(own)} + {plain(shortfall)} = "
        f"{plain(own + shortfall)}"
    )
    priced, exact = price_steps(charge.price, own + shortfall, card)
    whole, of_usage = rounded(exact, card), Fraction(evidence["amount_of_usage"])
    steps += [*priced, *rounding(exact, card)]
    steps.append(
        f"less the usage line: {money(whole, card)} - {in_brackets(money(of_usage, card))} = "
        f"{money(whole - of_usage, card)}"
    )
    return Worked(steps, whole - of_usage, usage_rows(counted), evidence)


def minimum_rows(context: Context, line: Record) -> list[SourceRow]:
    """The rows that are held against a minimum."""
    return usage_rows(_rows_of_minimum(context, line))


def _rows_of_minimum(context: Context, line: Record) -> list[Record]:
    charge = context.charge(line)
    return usage_of(context.state, line["service_start"], charge.minimum.meter or charge.meter)


def _least(charge: UsageCharge, evidence: dict[str, Any]) -> tuple[list[str], Fraction]:
    """The minimum of this cycle; by days, cut and never rounded, in a short first one."""
    assert charge.minimum
    quantity, decimals = Fraction(charge.minimum.quantity), charge.minimum.daily_decimals
    days, whole = int(evidence["days"]), int(evidence["whole_days"])
    asked = f"at least {plain(quantity)} a cycle"
    if charge.minimum.prorate is None or days == whole:
        return [asked], quantity
    asked += f"; this first one has {days} of {whole} days"
    if decimals is None:
        share = quantity * days / whole
        least = Fraction(share // 1)
        return [
            asked,
            f"{plain(quantity)} x {days} / {whole} = {plain(share)}, cut to a whole number: {plain(least)}",
        ], least
    a_day = Fraction(quantity / whole * 10**decimals // 1, 10**decimals)
    least = Fraction(a_day * days // 1)
    return [
        asked,
        f"the quota of one day: {plain(quantity)} / {whole} = {plain(quantity / whole)}, cut to {decimals} "
        f"decimal{'' if decimals == 1 else 's'}: {plain(a_day)}",
        f"{plain(a_day)} x {days} = {plain(a_day * days)}, cut to a whole number: {plain(least)}",
    ], least


def cap(context: Context, line: Record) -> Worked:
    """What is above the most that one charge may come to."""
    card, charge, evidence = context.card(line), context.charge(line), json.loads(line["evidence"])
    own, missing = context.amount_of("usage", line), context.amount_of("minimum", line)
    most = Fraction(charge.cap)
    total = own + missing
    steps = [f"the charge may come to {money(most, card)} in a cycle at the most, its shortfall included"]
    if missing:
        steps.append(
            f"its usage and minimum lines: {money(own, card)} + {in_brackets(money(missing, card))} = "
            f"{money(total, card)}"
        )
    else:
        steps.append(f"its usage line comes to {money(own, card)}")
    amount = most - total
    steps.append(f"{money(most, card)} - {money(total, card)} = {money(amount, card)}")
    return Worked(steps, amount, charge_rows(context, line), evidence)
