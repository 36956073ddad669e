"""Adds to an input folder the rows that a near miss says would cross its bound, and asks what the bill is then."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.folders import CART_EVENTS, csv_text, settings_of, write
from usage_rating.near import Near, NearMiss
from usage_rating.night import Night

USAGE = "subscription_id,event_id,meter,quantity,occurred_at,value"

Cycle = tuple[str, date]


@dataclass(frozen=True)
class Previewed:
    """A preview: what is near, each cycle's total, when it was first and last active, and what its charges counted."""

    near: Near
    totals: dict[Cycle, Decimal]
    cycles: dict[Cycle, dict[str, Any]]
    counted: dict[tuple[Cycle, str, str], Decimal]


def previewed(folder: Path, as_of: date, within: str = "0.1", edge_minutes: int = 60) -> Previewed:
    """Previews `folder`/input over `folder`/output, which may not exist."""
    with Night(settings_of(folder, as_of, max_rejected=Decimal(1)), is_preview=True) as night:
        night.ingest()
        night.rate()
        near = night.near(Decimal(within), edge_minutes)
        invoices = night.relation("invoices").to_pylist()
        cycles = night.relation("cycles_rated").to_pylist()
        counted = night.relation("charges_counted").to_pylist()
    totals = {of(row): row["total"] for row in invoices if row["kind"] == "cycle"}
    quantities = {(of(row), row["plan"], row["charge"]): row["quantity"] for row in counted}
    return Previewed(near, totals, {of(row): row for row in cycles}, quantities)


def of(row: dict[str, Any]) -> Cycle:
    """Which cycle a row is about."""
    return row["subscription_id"], row["cycle_start"]


def crossed(folder: Path, as_of: date, before: Previewed, misses: Iterable[NearMiss]) -> list[tuple[NearMiss, Decimal]]:
    """Adds the rows that cross these bounds, one a cycle, and gives with each what its bill changed by."""
    misses = list(misses)
    usage = [row for miss in misses if miss.aggregation for row in usage_rows(miss, before)]
    carts = [row for miss in misses if not miss.aggregation for row in cart_rows(miss, before)]
    write(folder / "input", {"usage/crossing.csv": csv_text(USAGE, *usage)} if usage else {})
    write(folder / "input", {"cart_events/crossing.csv": csv_text(CART_EVENTS, *carts)} if carts else {})
    after = previewed(folder, as_of)
    keys = [(miss, (miss.subscription_id, miss.cycle_start)) for miss in misses]
    return [(miss, after.totals[key] - before.totals[key]) for miss, key in keys]


def usage_rows(miss: NearMiss, before: Previewed) -> list[str]:
    """The last rows of the cycle: one with all units, or as many as are counted."""
    assert miss.units_to_cross, "a bound that no unit crosses"
    last = before.cycles[miss.subscription_id, miss.cycle_start]["active_until"] - timedelta(microseconds=1)
    rows, quantity = 1, miss.units_to_cross
    if miss.aggregation in {"count", "unique"}:
        rows, quantity = int(miss.units_to_cross), Decimal(1)
    elif miss.aggregation in {"max", "latest"}:
        is_of_money = miss.kind in {"cap", "limit"}
        cycle = miss.subscription_id, miss.cycle_start
        quantity += before.counted[cycle, miss.plan, miss.charge] if is_of_money else miss.so_far
    day = f"{miss.cycle_start:%m%d}"
    return [
        f"{miss.subscription_id},~{day}{number},{miss.counted_by},{quantity},{instant(last)},new {day}{number}"
        for number in range(rows)
    ]


def cart_rows(miss: NearMiss, before: Previewed) -> list[str]:
    """New carts, on from the first active instant of the cycle to its end: in the next one they would count as well."""
    assert miss.units_to_cross, "a bound that no cart crosses"
    cycle = before.cycles[miss.subscription_id, miss.cycle_start]
    return [
        f"{miss.subscription_id},new {miss.cycle_start:%m%d}{number},{instant(at)},{miss.counted_by},{state}"
        for number in range(int(miss.units_to_cross))
        for at, state in ((cycle["first_active_at"], "active"), (cycle["ends_at"], "disabled"))
    ]


def instant(at: datetime) -> str:
    """An instant as feeds have it, to the microsecond."""
    return at.isoformat(timespec="microseconds")
