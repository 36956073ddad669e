"""What a quantity costs, step by step, for every form of price."""

from fractions import Fraction

from usage_rating.figures import added, in_brackets, money, plain
from usage_rating.rate_cards import Price, RateCard, Tier


def price_steps(price: Price, quantity: Fraction, card: RateCard) -> tuple[list[str], Fraction]:
    """Sentences whose last figure is the exact price, and that price."""
    if quantity == 0:
        return ["a quantity of 0 costs nothing: 0 x 0 = 0"], Fraction(0)
    if price.package:
        return _packages(price, quantity, card)
    if price.graduated:
        return _graduated(price.graduated, quantity, card)
    if price.volume:
        return _volume(price.volume, quantity, card)
    if price.flat is not None:
        amount = Fraction(price.flat)
        return [f"one price, whatever the quantity: 1 x {money(price.flat, card)} = {money(amount, card)}"], amount
    assert price.per_unit is not None, "a price has one of the five forms"
    amount = quantity * Fraction(price.per_unit)
    return [_times(quantity, price.per_unit, amount, card)], amount


def _times(quantity: Fraction, per_unit: object, amount: Fraction, card: RateCard) -> str:
    return f"{plain(quantity)} x {per_unit} = {money(amount, card)}"


def _packages(price: Price, quantity: Fraction, card: RateCard) -> tuple[list[str], Fraction]:
    assert price.package
    size, each = Fraction(price.package.size), Fraction(price.package.price)
    started = -(-quantity // size)
    amount = started * each
    return [
        f"packages of {plain(size)}, a started one is charged whole: {plain(quantity)} / {plain(size)} = "
        f"{plain(quantity / size)}, so {started:,}",
        _times(Fraction(started), price.package.price, amount, card),
    ], amount


def _graduated(tiers: list[Tier], quantity: Fraction, card: RateCard) -> tuple[list[str], Fraction]:
    steps, parts, amount, above = [], [], Fraction(0), Fraction(0)
    for tier in tiers:
        if quantity <= above:
            break
        until = quantity if tier.up_to is None else min(quantity, Fraction(tier.up_to))
        units = until - above
        cost = units * Fraction(tier.per_unit)
        steps.append(f"{_place(above, tier)}: {_times(units, tier.per_unit, cost, card)}")
        parts.append(money(cost, card))
        amount += cost
        if tier.flat:
            steps.append(f"a unit falls into this tier, so its flat price of {money(tier.flat, card)} is due once")
            parts.append(money(tier.flat, card))
            amount += Fraction(tier.flat)
        above = until
    if len(parts) > 1:
        steps.append(f"together: {added(parts)} = {money(amount, card)}")
    return steps, amount


def _volume(tiers: list[Tier], quantity: Fraction, card: RateCard) -> tuple[list[str], Fraction]:
    above = Fraction(0)
    for tier in tiers:
        if tier.up_to is None or quantity <= Fraction(tier.up_to):
            break
        above = Fraction(tier.up_to)
    amount = quantity * Fraction(tier.per_unit)
    steps = [
        f"{plain(quantity)} reaches the tier {_place(above, tier)}, and all units have its price: "
        + _times(quantity, tier.per_unit, amount, card)
    ]
    if tier.flat:
        total = amount + Fraction(tier.flat)
        flat = in_brackets(money(tier.flat, card))
        steps.append(f"with the tier's flat price: {money(amount, card)} + {flat} = {money(total, card)}")
        amount = total
    return steps, amount


def _place(above: Fraction, tier: Tier) -> str:
    return f"above {plain(above)}" + (f" up to {plain(tier.up_to)}" if tier.up_to is not None else "")
