"""The reference relations the stages join: rate cards as rows, and the calendar of every zone in use."""

import json
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import ROUND_CEILING, Context, Decimal
from itertools import pairwise
from typing import Any

import duckdb

from usage_rating import time_zones
from usage_rating.rate_card_files import CardFile
from usage_rating.rate_cards import Charge, PeakCharge, Price, RateCard, RecurringCharge, UsageCharge

EXACT = Context(prec=60)  # of Decimal arithmetic; its usual 28 digits would round a large price
EXACT_AMOUNT = "decimal(38, 15)"
QUANTITY = "decimal(18, 6)"
SHARE = "decimal(8, 6)"
UNIT_PRICE = "decimal(19, 9)"
UNIT_PRICE_LIMIT, NANO = Decimal(10) ** 10, Decimal(10) ** -9
AMOUNT = "decimal(20, 4)"
SHORT = "integer"
FLAG = "boolean"
TEXT = "varchar"
DATE = "date"
INSTANT = "timestamptz"
VERSION_KEY = {"rate_card": TEXT, "rate_card_version": SHORT}

SCHEMAS = {
    "rate_card_versions": VERSION_KEY
    | {
        "effective_from": DATE,
        "effective_until": DATE,
        "currency": TEXT,
        "minor_digits": SHORT,
        "time_zone": TEXT,
        "cycle_length": SHORT,
        "cycle_unit": TEXT,
        "anchor": TEXT,
        "first_cycle_from": TEXT,
        "grace_days": SHORT,
        "payment_days": SHORT,
        "rounding": TEXT,
        "settlement": TEXT,
        "plan_change_takes_effect": TEXT,
        "minimum_difference": AMOUNT,
        "spending_limit_default": AMOUNT,
    },
    "alert_thresholds": VERSION_KEY | {"threshold": SHARE},
    "plans": VERSION_KEY | {"plan": TEXT},
    "charges": VERSION_KEY
    | {
        "plan": TEXT,
        "charge": TEXT,
        "charge_number": SHORT,
        "kind": TEXT,
        "category": TEXT,
        "meter": TEXT,
        "aggregation": TEXT,
        "bill": TEXT,
        "on_cancel": TEXT,
        "is_prorated": FLAG,
        "flat_price": AMOUNT,
        "cap": AMOUNT,
        "minimum_quantity": QUANTITY,
        "minimum_meter": TEXT,
        "is_minimum_prorated": FLAG,
        "minimum_daily_decimals": SHORT,
        "price_form": TEXT,
        "unit_price": UNIT_PRICE,
        "package_size": QUANTITY,
        "price_flat_max": EXACT_AMOUNT,
        "price_per_unit_max": UNIT_PRICE,
        "price": TEXT,
    },
    "price_tiers": VERSION_KEY
    | {
        "plan": TEXT,
        "charge": TEXT,
        "tier_number": SHORT,
        "above": QUANTITY,
        "up_to": QUANTITY,
        "unit_price": UNIT_PRICE,
        "amount_before": EXACT_AMOUNT,
    },
    "midnights": {"time_zone": TEXT, "local_date": DATE, "starts_at": INSTANT},
    "months": {"month_index": SHORT, "first_date": DATE, "days": SHORT},
}


def load_rate_cards(engine: duckdb.DuckDBPyConnection, cards: list[CardFile]) -> None:
    """Fills `rate_card_versions`, `alert_thresholds`, `plans`, `charges` and `price_tiers`."""
    versions, thresholds, plans, charges, tiers = [], [], [], [], []
    for file, following in pairwise([*cards, None]):
        assert file is not None
        is_last = following is None or following.card.rate_card != file.card.rate_card
        versions.append(
            _version_row(file.card, None if is_last or following is None else following.card.effective_from)
        )
        limit = file.card.spending_limit
        thresholds += [_version_key(file.card) | {"threshold": share} for share in (limit.alert_at if limit else [])]
        for plan, plan_charges in file.card.plans.items():
            plans.append(_version_key(file.card) | {"plan": plan})
            for number, (name, charge) in enumerate(plan_charges.items(), start=1):
                key = _version_key(file.card) | {"plan": plan, "charge": name}
                charges.append(key | _charge_row(charge, number))
                tiers += [key | row for row in _tier_rows(charge.price)]
    _load(engine, "rate_card_versions", versions)
    _load(engine, "alert_thresholds", thresholds)
    _load(engine, "plans", plans)
    _load(engine, "charges", charges)
    _load(engine, "price_tiers", tiers)


def load_policies(engine: duckdb.DuckDBPyConnection, policies: Mapping[str, str]) -> None:
    """Fills `policies`, one row: what the settings say of how rows are judged."""
    engine.execute(
        "create or replace table policies as select $min_snapshot_share::decimal(9, 6) as min_snapshot_share, "
        "$max_change::decimal(9, 3) as max_change, $correction_window::integer as correction_window",
        {"max_change": None, "correction_window": None} | dict(policies),
    )


def _version_key(card: RateCard) -> dict[str, Any]:
    return {"rate_card": card.rate_card, "rate_card_version": card.version}


def _version_row(card: RateCard, effective_until: date | None) -> dict[str, Any]:
    return _version_key(card) | {
        "effective_from": card.effective_from,
        "effective_until": effective_until,
        "currency": card.currency,
        "minor_digits": card.minor_digits,
        "time_zone": card.time_zone,
        "cycle_length": card.cycle.length,
        "cycle_unit": card.cycle.unit,
        "anchor": card.cycle.anchor,
        "first_cycle_from": card.cycle.first_cycle_from or "subscription_started",
        "grace_days": card.grace_days,
        "payment_days": card.payment_days,
        "rounding": card.rounding,
        "settlement": card.settlement,
        "minimum_difference": card.plan_change.minimum_difference,
        "plan_change_takes_effect": card.plan_change.takes_effect,
        "spending_limit_default": card.spending_limit.default if card.spending_limit else None,
    }


def _charge_row(charge: Charge, number: int) -> dict[str, Any]:
    price: Price = charge.price
    row = {
        "charge_number": number,
        "kind": charge.kind,
        "price_form": price.form,
        "unit_price": price.package.price if price.package else price.per_unit,
        "flat_price": price.flat,
        "package_size": price.package.size if price.package else None,
        "price": json.dumps(price.model_dump(mode="json", exclude_unset=True), separators=(",", ":")),
    } | _highest(price)
    match charge:
        case PeakCharge():
            return row | {"category": charge.category}
        case RecurringCharge():
            return row | {
                "bill": charge.bill,
                "on_cancel": charge.on_cancel or "charge",
                "is_prorated": charge.prorate is not None,
            }
        case UsageCharge():
            return (
                row | {"meter": charge.meter, "aggregation": charge.aggregation, "cap": charge.cap} | _minimum(charge)
            )


def _highest(price: Price) -> dict[str, Decimal | None]:
    """A price that nothing exceeds: no quantity q costs more than `price_flat_max` + q x `price_per_unit_max`.

    The second is empty where it does not fit its type.
    """
    if price.package:
        per_unit = EXACT.divide(price.package.price, price.package.size).quantize(NANO, ROUND_CEILING, EXACT)
        return {
            "price_flat_max": price.package.price,
            "price_per_unit_max": per_unit if per_unit < UNIT_PRICE_LIMIT else None,
        }
    return {
        "price_flat_max": sum((tier.flat or Decimal(0) for tier in price.tiers), price.flat or Decimal(0)),
        "price_per_unit_max": max((tier.per_unit for tier in price.tiers), default=price.per_unit or Decimal(0)),
    }


def _minimum(charge: UsageCharge) -> dict[str, Any]:
    minimum = charge.minimum
    if minimum is None:
        return {}
    return {
        "minimum_quantity": minimum.quantity,
        "minimum_meter": minimum.meter or charge.meter,
        "is_minimum_prorated": minimum.prorate is not None,
        "minimum_daily_decimals": minimum.daily_decimals,
    }


def _tier_rows(price: Price) -> Iterable[dict[str, Any]]:
    """Every form but the package as tiers, so that one formula prices them all.

    A quantity q that reaches a tier costs `amount_before` + (q - `above`) x `unit_price`. Of graduated tiers
    `amount_before` is what the tiers below cost when full, of volume tiers the units below at this tier's price; both
    with the flats that are due.
    """
    if not price.tiers:
        if not price.package:
            yield _tier(1, Decimal(0), None, price.per_unit or Decimal(0), price.flat or Decimal(0))
        return
    above = below = Decimal(0)
    for number, tier in enumerate(price.tiers, start=1):
        flat = tier.flat or Decimal(0)
        if price.volume:
            below = EXACT.multiply(above, tier.per_unit)
        below = EXACT.add(below, flat)
        yield _tier(number, above, tier.up_to, tier.per_unit, below)
        if tier.up_to is not None:
            below = EXACT.add(below, EXACT.multiply(tier.up_to - above, tier.per_unit))
            above = tier.up_to


def _tier(
    number: int, above: Decimal, up_to: Decimal | None, unit_price: Decimal, amount_before: Decimal
) -> dict[str, Any]:
    return {
        "tier_number": number,
        "above": above,
        "up_to": up_to,
        "unit_price": unit_price,
        "amount_before": amount_before,
    }


def load_calendar_up_to(engine: duckdb.DuckDBPyConnection, cards: list[CardFile], as_of: date) -> None:
    """Every zone from one cycle before its first instant to three cycles after the date billed up to.

    And the dates of accounts created later still: their cycles are counted backwards from there. Reads the stages
    `subscription_starts` and `credit_topups_judged`.
    """
    cycles = [file.card.cycle for file in cards]
    longest = timedelta(days=max(cycle.length * (31 if cycle.unit == "months" else 1) for cycle in cycles))
    first_dates = engine.execute(
        "select time_zone, min(instant)::date from ("
        "select time_zone, least(started_at, account_created_at) as instant from subscription_starts union all "
        "select time_zone, purchased_at from credit_topups_judged where verdict = 'counted') group by time_zone"
    ).fetchall()
    margin = longest + timedelta(days=2)
    last = as_of + 3 * longest + margin
    later = engine.execute(
        "select distinct time_zone, day from (select time_zone, unnest([created - 1, created, created + 1]) as day "
        "from (select time_zone, account_created_at::date as created from subscription_starts)) "
        f"where day > date '{last}'"
    ).fetchall()
    load_calendar(engine, {zone: first - margin for zone, first in first_dates}, last, later)


def load_calendar(
    engine: duckdb.DuckDBPyConnection, first_dates: dict[str, date], last: date, later: list[tuple[str, date]]
) -> None:
    """Fills `midnights` for each zone from its first date to `last`, and `months` over all of them.

    :param first_dates: time zone to the earliest local date that any of its accounts needs
    :param later: single dates after `last`, each with its zone
    """
    _create(engine, "midnights")
    for zone, first in sorted(first_dates.items()):
        spans = [(first, last), *((day, day) for there, day in sorted(later) if there == zone)]
        midnights = [midnight for span in spans for midnight in time_zones.midnights(zone, *span)]
        engine.execute(
            "insert into midnights select $zone, unnest($days), unnest($instants)",
            {"zone": zone, "days": [day for day, _ in midnights], "instants": [instant for _, instant in midnights]},
        )
    _load(engine, "months", _months(min(first_dates.values(), default=last), last))


def _months(first: date, last: date) -> list[dict[str, Any]]:
    rows = []
    for month_index in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        year, month = divmod(month_index, 12)
        first_date = date(year, month + 1, 1)
        following = (first_date + timedelta(days=31)).replace(day=1)
        rows.append({"month_index": month_index, "first_date": first_date, "days": (following - first_date).days})
    return rows


def _load(engine: duckdb.DuckDBPyConnection, name: str, rows: list[dict[str, Any]]) -> None:
    columns = _create(engine, name)
    if rows:
        places = f"({', '.join('?' for _ in columns)})"
        engine.execute(
            f"insert into {name} values {', '.join(places for _ in rows)}",
            [row.get(column) for row in rows for column in columns],
        )


def _create(engine: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """Makes an empty relation; gives its columns."""
    columns = SCHEMAS[name]
    engine.execute(f"create or replace table {name} ({', '.join(f'{c} {kind}' for c, kind in columns.items())})")
    return list(columns)
