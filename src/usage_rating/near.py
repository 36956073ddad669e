"""Near misses: the open cycles within reach of a bound, and what one more unit or row would change.

Nothing is priced here. Each bound within reach becomes three invented cycles: as it is, with the bound reached, and one
unit above. The stages that bill all others price these too, in a schema of their own, and their bills are compared.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import duckdb

from usage_rating.errors import BadInput
from usage_rating.figures import plain, text_of
from usage_rating.sql_files import read_sql
from usage_rating.stages import all_stages, run_stages
from usage_rating.usage_at_hand import UsageAtHand

SCHEMA = "near"
WITHIN, EDGE_MINUTES = Decimal("0.1"), 60
MINUTES_MAX = 24 * 60
PLACES_MAX = 6
NO_ROWS = ("fees_due", "running_quantities", "usage_clipped")  # what an added row leaves as it is


@dataclass(frozen=True)
class NearMiss:
    """A bound that an open cycle is near to; `kind` is `tier`, `minimum`, `cap`, `limit` or `upgrade`.

    `bound`, `so_far` and `to_bound` (below 0 where it was passed) are quantities of a tier or a minimum, else money.
    `change_to_bound` is what the bill changes by if the bound is just reached, `change` if it is crossed, which takes
    `units_to_cross` more, and `next_unit` the difference: what the first unit above costs. Of a cap and a limit they
    tell of one more unit. Of an upgrade `change` is what the other side of the bound would have made of it.
    """

    kind: str
    account_id: str
    subscription_id: str
    cycle_start: date
    cycle_end: date
    rate_card: str
    plan: str
    charge: str
    counted_by: str | None
    aggregation: str | None
    price_form: str | None
    currency: str
    minor_digits: int
    bound: Decimal
    so_far: Decimal
    to_bound: Decimal
    units_to_cross: Decimal | None
    change_to_bound: Decimal | None
    change: Decimal
    next_unit: Decimal | None
    price_next: Decimal | None
    charge_amount: Decimal | None
    clipped: Decimal | None
    threshold_next: Decimal | None
    plan_before: str | None
    changed_at: datetime | None
    share: Decimal


@dataclass(frozen=True)
class AtEdge:
    """Rows close to the midnight at which a cycle ends and the next begins: those before it and those after.

    `feed` is `usage`, `one_off_charges` or `carts`; `counted_by` the meter or category. Of one-offs the quantity is
    their amount, of carts how many changes there were. `nearest` is how far off the nearest row is.
    """

    account_id: str
    subscription_id: str
    edge_on: date
    edge_at: datetime
    feed: str
    counted_by: str
    currency: str
    minor_digits: int
    rows_before: int
    quantity_before: Decimal
    rows_after: int
    quantity_after: Decimal
    nearest: timedelta


@dataclass(frozen=True)
class Near:
    """What is near as of a date, nearest first."""

    as_of: date
    within: Decimal
    edge_minutes: int
    misses: list[NearMiss]
    edges: list[AtEdge]


def checked_within(within: Decimal) -> Decimal:
    """Gives the share back.

    :raises BadInput: it is no share from 0 to 1, or finer than 6 decimals
    """
    exponent = within.as_tuple().exponent
    if not (within.is_finite() and 0 <= within <= 1 and isinstance(exponent, int) and exponent >= -PLACES_MAX):
        raise BadInput([f"--within {within}: give a share from 0 to 1 with up to {PLACES_MAX} decimals, such as 0.1."])
    return within


def near_misses(
    engine: duckdb.DuckDBPyConnection, usage: UsageAtHand, as_of: date, within: Decimal, edge_minutes: int
) -> Near:
    """Lists what is near, after the stages of a preview have run; leaves their relations as they are.

    :param within: the share of a bound within which it is near
    :param edge_minutes: how long before and after a cycle's edge a row is near
    :raises BadInput: `within` is no share; a figure does not fit its type
    """
    checked_within(within)
    with _schema(engine):
        engine.execute(
            "create table near_parameters as "
            "select $within::decimal(9, 6) as within, $edge_seconds::bigint as edge_seconds",
            {"within": within, "edge_seconds": edge_minutes * 60},
        )
        _make(engine, "open_cycles", "cycle_edges")
        usage.open_between("cycle_edges", "usage_kept_at_edges")
        _make(engine, "rows_at_edges", "limits_left", "near_bounds", "scenarios")
        _upgrades_of_any_difference(engine)
        _bill_scenarios(engine)
        _make(engine, "near_misses")
        return Near(
            as_of,
            within,
            edge_minutes,
            [_miss(row) for row in _rows(engine, "near_misses")],
            [_at_edge(row) for row in _rows(engine, "rows_at_edges")],
        )


@contextmanager
def _schema(engine: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """A schema before that of the stages, for as long as it is asked."""
    engine.execute(f"create schema {SCHEMA}")
    engine.execute(f"set search_path = '{SCHEMA},main'")
    try:
        yield
    finally:
        engine.execute("set search_path = 'main'")
        engine.execute(f"drop schema {SCHEMA} cascade")


def _make(engine: duckdb.DuckDBPyConnection, *names: str) -> None:
    for name in names:
        try:
            engine.execute(f"create table {SCHEMA}.{name} as {read_sql(f'near/{name}.sql')}")
        except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
            reason = str(error).splitlines()[0]
            raise BadInput([f"{name}: a figure is too large to be told exactly: {reason}"]) from error


def _upgrades_of_any_difference(engine: duckdb.DuckDBPyConnection) -> None:
    """Makes `upgrades_due` as it were if a card asked no least difference of an upgrade."""
    engine.execute(
        f"create table {SCHEMA}.rate_card_versions as "
        "select * replace (0::decimal(20, 4) as minimum_difference) from main.rate_card_versions"
    )
    _run(engine, "upgrades_due")


def _bill_scenarios(engine: duckdb.DuckDBPyConnection) -> None:
    """Prices what each scenario counts, by the stages themselves."""
    for name in NO_ROWS:
        engine.execute(f"create table {SCHEMA}.{name} as from main.{name} limit 0")
    _make(engine, "charges_counted", "minimums", "invoices_due")
    _run(engine, "quantities_to_price", "prices", "prorations")
    _make(engine, "usage_limited")
    _run(engine, "figures", "rounded_figures", "charge_amounts", "lines", "limit_lines")


def _run(engine: duckdb.DuckDBPyConnection, *names: str) -> None:
    run_stages(engine, [stage for stage in all_stages() if stage.name in names])


def _rows(engine: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    found = engine.execute(read_in_order(name))
    columns = [column[0] for column in found.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def read_in_order(name: str) -> str:
    """The query of a list's rows, in the order of the file that makes it; instants as microseconds since 1970."""
    at = {"near_misses": "changed_at", "rows_at_edges": "edge_at"}[name]
    order = {
        "near_misses": "share_in_millionths, kind, subscription_id, cycle_start, plan, charge, changed_at",
        "rows_at_edges": "microseconds_away, subscription_id, edge_at, feed, counted_by",
    }[name]
    return f"select * replace (epoch_us({at}) as {at}) from {name} order by {order}"


def _instant(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _miss(row: dict[str, Any]) -> NearMiss:
    share = Decimal(row.pop("share_in_millionths")).scaleb(-6)
    return NearMiss(**row | {"share": share, "changed_at": _instant(row["changed_at"])})


def _at_edge(row: dict[str, Any]) -> AtEdge:
    nearest = timedelta(microseconds=row.pop("microseconds_away"))
    return AtEdge(**row | {"nearest": nearest, "edge_at": _instant(row["edge_at"])})


# ---- for programs


def as_json(near: Near) -> str:
    """The list for programs: exact figures as strings, an empty field as null."""
    said = {
        "as_of": near.as_of.isoformat(),
        "within": text_of(near.within),
        "edge_minutes": near.edge_minutes,
        "near": [_fields(miss) for miss in near.misses],
        "edges": [_fields(edge) for edge in near.edges],
    }
    return json.dumps(said, indent=2)


def _fields(item: NearMiss | AtEdge) -> dict[str, Any]:
    fields = asdict(item)
    del fields["minor_digits"]
    return {name: _as_text(value) for name, value in fields.items()}


def _as_text(value: Any) -> Any:
    match value:
        case Decimal():
            return text_of(value)
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case timedelta():
            return text_of(_seconds(value))
        case _:
            return value


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)).scaleb(-6)


# ---- for people


def as_text(near: Near) -> str:
    """The list for a person, nearest first: bounds, then edges."""
    if not near.misses and not near.edges:
        return f"As of {near.as_of}: nothing is near."
    parts = []
    if near.misses:
        parts += [f"Within {plain(near.within)} of a bound as of {near.as_of}, nearest first:", _misses(near.misses)]
    if near.edges:
        parts += [""] * bool(parts)
        parts += [f"Within {near.edge_minutes} minutes of a cycle's edge, nearest first:", _edges(near.edges)]
    return "\n".join(parts)


def _misses(misses: list[NearMiss]) -> str:
    headings = (
        "near to",
        "subscription",
        "cycle from",
        "charge",
        "so far",
        "bound",
        "left",
        "up to it",
        "next one",
        "",
    )
    return _table(headings, {4, 5, 6, 7, 8}, [_line(miss) for miss in misses])


def _line(miss: NearMiss) -> list[str]:
    counted = plain if miss.kind in ("tier", "minimum") else _money(miss.minor_digits)
    money = _money(miss.minor_digits)
    signed = [
        "" if change is None else f"{'' if change < 0 else '+'}{money(change)}"
        for change in (
            miss.change_to_bound if miss.to_bound > 0 and miss.kind in ("tier", "minimum") else None,
            miss.next_unit,
        )
    ]
    figures = [counted(figure) for figure in (miss.so_far, miss.bound, miss.to_bound)]
    names = [_shown(miss.subscription_id), miss.cycle_start.isoformat(), _shown(miss.charge)]
    return [miss.kind, *names, *figures, *signed, _note(miss)]


def _note(miss: NearMiss) -> str:
    money = _money(miss.minor_digits)
    amount = money(miss.charge_amount or Decimal(0))
    match miss.kind:
        case "tier" if miss.price_form == "package":
            return f"then a package of {money(miss.price_next or Decimal(0))}"
        case "tier":
            return f"then {money(miss.price_next or Decimal(0))} {'for all' if miss.price_form == 'volume' else 'each'}"
        case "minimum":
            return f"{amount} owed {'anyway' if miss.to_bound > 0 else 'so far'}"
        case "cap":
            return f"{amount} owed so far"
        case "limit":
            share = miss.threshold_next
            alert = "no alert to come" if share is None else f"next alert at {money(share * miss.bound)}"
            return f"{money(miss.clipped or Decimal(0))} clipped; {alert}"
        case _:
            assert miss.changed_at, "only an upgrade is of another kind"
            other = "would be" if miss.to_bound > 0 else "else"
            change = miss.change if miss.to_bound > 0 else Decimal(0)
            return f"from {_shown(miss.plan_before or '')}: billed {amount}, {other} {money(change)}"


def _edges(edges: list[AtEdge]) -> str:
    headings = ("edge", "subscription", "rows of", "", "before", "quantity", "after", "quantity", "nearest")
    return _table(
        headings,
        {4, 5, 6, 7, 8},
        [
            [
                edge.edge_on.isoformat(),
                _shown(edge.subscription_id),
                edge.feed,
                _shown(edge.counted_by) or edge.currency,
                f"{edge.rows_before:,}",
                _quantity(edge)(edge.quantity_before),
                f"{edge.rows_after:,}",
                _quantity(edge)(edge.quantity_after),
                f"{plain(_seconds(edge.nearest))} s",
            ]
            for edge in edges
        ],
    )


def _quantity(edge: AtEdge) -> Callable[[Decimal], str]:
    return _money(edge.minor_digits) if edge.feed == "one_off_charges" else plain


def _money(minor_digits: int) -> Callable[[Decimal], str]:
    """Writes amounts with the currency's decimals, and more where there are more."""
    return partial(plain, decimals=minor_digits)


def _shown(text: str) -> str:
    """Text of a feed as it may be printed: what would move the cursor is written out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _table(headings: tuple[str, ...], to_the_right: set[int], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if place in to_the_right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (headings, *rows)
    )
    return "\n".join(lines)
