"""Small worlds with usage, limits, fees and credit, drawn at the edges on purpose.

Usage falls on starts of cycles, on raises of the limit and on changes of plan, and a microsecond either side;
quantities lie on the bounds of tiers and just past them; limits are small enough to be reached, often exactly.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from tests import oracle, worlds
from tests.oracle import FEEDS, World
from tests.worlds import MINOR_UNITS, Draw, Pace, Sketch, Text, either_side

METERS = ["messages", "orders", "invoices"]
AGGREGATIONS = ["sum", "sum", "sum", "count", "count", "max", "latest", "unique"]
PACES = [Pace(("1 month", "2 months", "30 days", "30 days"), 110), Pace(("1 day", "3 days", "7 days"), 9)]
QUANTITIES = ["1", "1", "2", "3", "0", "0.5", "1.5", "1.500001", "2.000001", "10", "7.25", "0.000001"]
UNIT_PRICES = ["1", "0.5", "3", "3.5", "0.01", "0.005", "0.015", "0.333333333", "0", "12.345"]
# A plan to its fees in minor units, so that most changes from basic to plus are upgrades.
FEES = {"basic": (500, 0, 100, 1500), "plus": (1500, 599, 1499, 100)}


@st.composite
def money(draw: Draw, currency: str, choices: Sequence[int] = (0, 1, 5, 100, 250, 500, 999)) -> str:
    """Money in whole minor units."""
    return f"{Decimal(draw(st.sampled_from(choices))).scaleb(-MINOR_UNITS[currency]):f}"


@st.composite
def tiers(draw: Draw, currency: str) -> list[dict[str, str]]:
    """One to three tiers; the last has no end. Prices may fall, so that a volume price can fall too."""
    ends = draw(st.sampled_from([["2"], ["1"], ["1.5"], ["2", "3"], ["3", "10"], []]))
    drawn: list[dict[str, str]] = []
    for end in [*ends, None]:
        tier: dict[str, str] = {} if end is None else {"up_to": end}
        tier["per_unit"] = draw(st.sampled_from(UNIT_PRICES))
        if draw(st.booleans()):
            tier["flat"] = draw(money(currency))
        drawn.append(tier)
    return drawn


@st.composite
def prices(draw: Draw, currency: str) -> dict[str, Any]:
    """A price of any form."""
    form = draw(st.sampled_from(["per_unit", "per_unit", "graduated", "volume", "package", "flat"]))
    if form == "per_unit":
        return {form: draw(st.sampled_from(UNIT_PRICES))}
    if form == "flat":
        return {form: draw(money(currency))}
    if form == "package":
        size = draw(st.sampled_from(["1", "2", "3", "1.5"]))
        return {form: {"size": size, "price": draw(st.sampled_from(UNIT_PRICES))}}
    return {form: draw(tiers(currency))}


@st.composite
def minimums(draw: Draw) -> dict[str, Any]:
    """The least quantity of a charge."""
    minimum: dict[str, Any] = {"quantity": draw(st.sampled_from(["2", "1", "3", "10", "200", "1.5"]))}
    if draw(st.booleans()):
        minimum["meter"] = draw(st.sampled_from(METERS))
    if draw(st.booleans()):
        minimum["prorate"] = "first_cycle"
        if draw(st.booleans()):
            minimum["daily_decimals"] = draw(st.sampled_from([1, 0, 2, 6]))
    return minimum


@st.composite
def usage_charges(draw: Draw, currency: str) -> dict[str, Any]:
    """One usage charge."""
    charge: dict[str, Any] = {
        "kind": "usage",
        "meter": draw(st.sampled_from(["messages", *METERS])),
        "aggregation": draw(st.sampled_from(AGGREGATIONS)),
        "price": draw(prices(currency)),
    }
    if draw(st.integers(0, 2)) == 2:
        charge["minimum"] = draw(minimums())
    if draw(st.integers(0, 3)) == 3:
        charge["cap"] = draw(money(currency, (250, 100, 500, 1000, 0)))
    return charge


@st.composite
def plans(draw: Draw, currency: str, fees: Sequence[int]) -> dict[str, Any]:
    """The charges of one plan, in a drawn order: usage, fees in advance and arrears, sometimes carts.

    :param fees: what its fees may be, in minor units
    """
    charges: dict[str, Any] = {}
    for number in range(1, draw(st.integers(1, 3)) + 1):
        charges[f"usage_{number}"] = draw(usage_charges(currency))
    for name in ("fee", "fee_2")[: draw(st.sampled_from([1, 0, 2]))]:
        charges[name] = {"kind": "recurring", "bill": draw(st.sampled_from(["advance", "advance", "arrears"]))}
        charges[name]["price"] = {"flat": draw(money(currency, fees))}
        if charges[name]["bill"] == "arrears" and draw(st.booleans()):
            charges[name]["on_cancel"] = draw(st.sampled_from(["charge", "drop"]))
        if draw(st.booleans()):
            charges[name]["prorate"] = "first_cycle"
    if draw(st.integers(0, 3)) == 3:
        charges["carts"] = {"kind": "peak", "category": "Standard", "price": draw(prices(currency))}
    return {name: charges[name] for name in draw(st.permutations(sorted(charges)))}


@st.composite
def rate_cards(draw: Draw, name: str, sketch: Sketch, prepaid_in: str) -> list[dict[str, Any]]:
    """One to three versions of a card, each with the plans basic and plus."""
    cycle = draw(worlds.cycles(sketch.pace))
    settlement = draw(st.sampled_from(["invoice", "prepaid_credits"]))
    currency = prepaid_in if settlement == "prepaid_credits" else draw(st.sampled_from(sorted(MINOR_UNITS)))
    starts = [date(1999, 1, 1), *sorted(draw(st.sets(st.sampled_from(sketch.days), max_size=2)))]
    versions = []
    for number, effective_from in enumerate(starts, start=1):
        version: dict[str, Any] = {
            "rate_card": name,
            "version": number,
            "effective_from": effective_from,
            "reason": "Drawn for a test.",
            "currency": currency,
            "time_zone": sketch.zone_name,
            "cycle": cycle,
            "grace_days": draw(st.sampled_from([0, 0, 1, 5])),
            "payment_days": draw(st.sampled_from([0, 14])),
            "rounding": draw(st.sampled_from(["half_up", "half_even", "down", "up"])),
            "settlement": settlement,
            "plans": {plan: draw(plans(currency, fees)) for plan, fees in FEES.items()},
        }
        if draw(st.booleans()):
            takes_effect = draw(st.sampled_from(["immediately", "next_cycle"]))
            version["plan_change"] = {"takes_effect": takes_effect}
            if draw(st.booleans()):
                version["plan_change"]["minimum_difference"] = draw(money(currency, (100, 99, 900, 1000, 0)))
        if draw(st.integers(0, 3)):
            version["spending_limit"] = draw(spending_limits(currency))
        versions.append(version)
    return versions


@st.composite
def spending_limits(draw: Draw, currency: str) -> dict[str, Any]:
    """A card's own limit, mostly, and the shares of a limit that are reported."""
    limit: dict[str, Any] = {"alert_at": draw(st.sampled_from([["0.9", "1"], ["0.5"], ["1", "0.333333"]]))}
    if draw(st.integers(0, 5)) < 5:
        limit["default"] = draw(money(currency, (300, 500, 1000, 100, 150, 1, 0)))
    return limit


def hurry(sketch: Sketch, rows: Sequence[Text]) -> None:
    """Makes some changes of plan take effect at once, to the other plan."""
    for before, row in pairwise(rows):
        if row["event"] == "plan_changed" and sketch.chance(2):
            row["takes_effect"] = sketch.pick(["immediately", None])
            row["plan"] = "plus" if before["plan"] == "basic" else "basic"


def sketch_usage(sketch: Sketch, subscription_id: str, moments: Sequence[datetime], *, conflicts: bool) -> None:
    """Rows of usage; their ids follow no order of time.

    :param conflicts: an exporter may number anew in each cycle, and now and then within one
    """
    is_numbered_anew = conflicts and sketch.chance(4)
    drawn = sketch.draw(st.lists(st.sampled_from(moments), min_size=sketch.pick([6, 0, 10]), max_size=16))
    for number, at in enumerate(drawn):
        sketch.rows["usage"].append(
            {
                "subscription_id": subscription_id,
                "event_id": f"E{number % 4}" if is_numbered_anew else f"E{number * 7 % 10}{number}",
                "meter": sketch.pick(["messages", "messages", *METERS]),
                "quantity": sketch.pick(QUANTITIES),
                "occurred_at": sketch.text(at),
                "value": sketch.pick(["a", "b", "A", "c", "a", None]),
            }
        )


def sketch_limits(sketch: Sketch, subscription_id: str, moments: Sequence[datetime], currency: str) -> list[datetime]:
    """Agreed limits, most of them raises; returns their instants."""
    instants = sorted(sketch.draw(st.sets(st.sampled_from(moments), max_size=3)))
    minor = sketch.pick([200, 301, 500])
    for at in instants:
        amount = Decimal(minor).scaleb(-MINOR_UNITS[currency])
        row: Text = {"subscription_id": subscription_id, "agreed_at": sketch.text(at), "limit_amount": f"{amount:f}"}
        sketch.rows["spending_limits"].append(row)
        minor += sketch.pick([100, 1, 250, 0, -50])
    return instants


def sketch_purchases(sketch: Sketch, subscription_id: str, moments: Sequence[datetime], currency: str) -> None:
    """One-off charges, one of them now and then too fine for the currency."""
    for number, at in enumerate(sketch.draw(st.lists(st.sampled_from(moments), max_size=3))):
        amount = sketch.draw(money(currency, (1000, 1, 250, 0)))
        if sketch.chance(8):
            amount = "1.0005"
        sketch.rows["one_off_charges"].append(
            {
                "charge_id": f"O{subscription_id}{number}",
                "subscription_id": subscription_id,
                "description": "Moving in",
                "amount": amount,
                "purchased_at": sketch.text(at),
            }
        )


def sketch_topups(sketch: Sketch, moments: Sequence[datetime], currency: str) -> None:
    """Credit bought by accounts, with and without a prepaid card."""
    for number, at in enumerate(sketch.draw(st.lists(st.sampled_from(moments), max_size=4))):
        sketch.rows["credit_topups"].append(
            {
                "topup_id": f"T{number}",
                "account_id": sketch.pick(sorted(sketch.created)),
                "amount": sketch.draw(money(currency, (1000, 500, 1, 0, 10000))),
                "purchased_at": sketch.text(at),
            }
        )


@st.composite
def usage_worlds(draw: Draw, *, troubles: bool = True) -> tuple[World, date]:
    """A small world with all rules in it, and a date to bill it up to.

    :param troubles: some rows are wrong, repeated, replaced or taken out
    """
    zone_name, day = draw(st.sampled_from(worlds.SCENES))
    feeds: dict[str, list[Text]] = {feed: [] for feed in FEEDS}
    sketch = Sketch(draw, zone_name, day, draw(st.sampled_from(PACES)), feeds, {}, {})
    currency = draw(st.sampled_from(sorted(MINOR_UNITS)))
    for name in ["apps", "orders", "carts"][: draw(st.integers(1, 3))]:
        sketch.cards[name] = draw(rate_cards(name, sketch, currency))
    worlds.sketch_accounts(sketch)
    moments: set[datetime] = set()
    for subscription_id in [f"S{number}" for number in range(1, draw(st.integers(1, 6)) + 1)]:
        own = worlds.sketch_subscription(sketch, subscription_id)
        changes = [row for row in sketch.rows["subscriptions"] if row["subscription_id"] == subscription_id]
        hurry(sketch, changes)
        own_currency = sketch.cards[str(changes[0]["rate_card"])][0]["currency"]
        raises = sketch_limits(sketch, subscription_id, own, own_currency)
        switched = [oracle.read_instant(str(row["effective_at"])) for row in changes]
        near = either_side([*raises, *(at for at in switched if at)])
        lively = [*sorted({*own, *near}), *near]
        sketch_usage(sketch, subscription_id, lively, conflicts=troubles)
        sketch_purchases(sketch, subscription_id, lively, own_currency)
        if sketch.chance(3):
            worlds.sketch_cart_events(sketch, subscription_id, own)
        moments.update(own)
    sketch_topups(sketch, sorted(moments), currency)
    if troubles:
        add_troubles(sketch)
    cards = [version for versions in sketch.cards.values() for version in versions]
    world = World(worlds.laid_out(sketch), cards, Decimal(0))
    days = sorted({moment.date() for moment in moments})
    late = [days[-1] + timedelta(days=more) for more in (7, 6, 1, 0)]
    return world, draw(st.sampled_from(late + 2 * days[len(days) // 3 :]))


def add_troubles(sketch: Sketch) -> None:
    """Repeats, revisions, voids, conflicts and wrong rows of usage, limits, purchases and top-ups."""
    feeds = ["usage", "usage", "spending_limits", "one_off_charges", "credit_topups", "subscriptions"]
    good = {feed: list(rows) for feed, rows in sketch.rows.items()}
    for _ in range(sketch.draw(st.integers(0, 4))):
        feed = sketch.pick(feeds)
        if good[feed]:
            new, is_good = worlds.troubled(sketch, feed, sketch.pick(good[feed]))
            sketch.rows[feed].append(new)
            if is_good:
                good[feed].append(new)
