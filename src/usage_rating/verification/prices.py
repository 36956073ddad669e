"""What a quantity costs, exactly, and how a line is rounded, once."""

from fractions import Fraction
from math import ceil, floor

from usage_rating.verification.cards import Price


def price_of(price: Price, quantity: Fraction) -> Fraction:
    """The exact price of a quantity; nothing costs nothing."""
    if quantity <= 0:
        return Fraction(0)
    match price.form:
        case "flat":
            return price.amount
        case "per_unit":
            return price.amount * quantity
        case "package":
            return price.amount * ceil(quantity / price.size)
        case "volume":
            reached = next(tier for tier in price.tiers if tier.up_to is None or quantity <= tier.up_to)
            return reached.flat + reached.per_unit * quantity
        case _:
            return _graduated(price, quantity)


def _graduated(price: Price, quantity: Fraction) -> Fraction:
    total, below = Fraction(0), Fraction(0)
    for tier in price.tiers:
        top = quantity if tier.up_to is None else min(quantity, tier.up_to)
        if top > below:
            total += tier.flat + tier.per_unit * (top - below)
        if tier.up_to is None or quantity <= tier.up_to:
            break
        below = tier.up_to
    return total


def rounded(amount: Fraction, decimals: int, mode: str) -> Fraction:
    """An amount in whole minor units: half_up and up go away from zero, down to zero."""
    minor = abs(amount) * 10**decimals
    below = floor(minor)
    rest = minor - below
    half = Fraction(1, 2)
    goes_up = {
        "half_up": rest >= half,
        "half_even": rest > half or (rest == half and below % 2 == 1),
        "down": False,
        "up": rest > 0,
    }[mode]
    whole = Fraction(below + goes_up, 10**decimals)
    return -whole if amount < 0 else whole
