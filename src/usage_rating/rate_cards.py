"""Rate cards: what a version of a price list may say (SPEC, section 3).

These models refuse what does not belong; `rate_card_files` reads the YAML and says where the fault stands.
"""

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from iso4217 import Currency
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from usage_rating import time_zones

Place = tuple[str | int, ...]
CYCLE_LENGTH_MAX = {"days": 3660, "months": 120}


def _decimal(digits: int, decimals: int) -> BeforeValidator:
    """Takes a quoted decimal of 0 or more; a YAML number is refused, since it may have been rounded already."""
    pattern = re.compile(rf"[0-9]{{1,{digits}}}(\.[0-9]{{1,{decimals}}})?")

    def quoted(value: object) -> Decimal:
        if not isinstance(value, str):
            raise ValueError(f'not a quoted decimal; write it in quotes, such as "{value}"')  # noqa: TRY004
        if not pattern.fullmatch(value):
            raise ValueError(
                f"'{value}' is not a decimal of 0 or more with up to {digits} digits and {decimals} decimals"
            )
        return Decimal(value)

    return BeforeValidator(quoted)


def _known_zone(name: str) -> str:
    if name not in time_zones.names():
        raise ValueError(f"'{name}' is not an IANA time zone such as America/New_York")
    return name


def _known_currency(code: str) -> str:
    if code not in {currency.code for currency in Currency} or Currency(code).exponent is None:
        raise ValueError(f"'{code}' is not an ISO 4217 currency with minor units, such as USD")
    return code


def _plain_date(value: object) -> object:
    is_text = isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value)
    if is_text or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    raise ValueError(f"'{value}' is not a date such as 2024-01-31")


def _cycle_length(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,3} (day|month)s?", text):
        raise ValueError(f"'{text}' is not a number of days or months such as 30 days or 1 month")
    return text


UnitPrice = Annotated[Decimal, _decimal(10, 9)]
Amount = Annotated[Decimal, _decimal(12, 4)]
Quantity = Annotated[Decimal, _decimal(12, 6)]
Share = Annotated[Decimal, _decimal(2, 6), Field(gt=0)]
Name = Annotated[str, StringConstraints(strict=True, min_length=1)]
Days = Annotated[StrictInt, Field(ge=0, le=3660)]


class CardPart(BaseModel):
    """A mapping of the card. Notes which keys it knows, so that an unknown one can be answered with the list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _note_known_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, dict):
            if info.context is not None:
                info.context[id(data)] = list(cls.model_fields)
            empty = [str(key) for key, value in data.items() if value is None]
            if empty:
                raise ValueError(f"without a value: {', '.join(empty)}; give one or leave the key out")
        return data


class Tier(CardPart):
    """One tier of a graduated or volume price; `up_to` belongs to it, the last one has none."""

    up_to: Quantity | None = None
    per_unit: UnitPrice
    flat: Amount | None = None


class Package(CardPart):
    """Units sold by the package; a started one is charged whole."""

    size: Annotated[Quantity, Field(gt=0)]
    price: UnitPrice


def _rising_tiers(tiers: list[Tier]) -> list[Tier]:
    bounds = [tier.up_to for tier in tiers]
    if not bounds or bounds[-1] is not None:
        raise ValueError("the last tier has no up_to: it goes on without end")
    rising = [bound for bound in bounds[:-1] if bound is not None]
    if len(rising) < len(bounds) - 1:
        raise ValueError("only the last tier goes without up_to")
    if any(low >= high for low, high in zip([Decimal(0), *rising], rising, strict=False)):
        raise ValueError("each tier's up_to must be above the one before, the first above 0")
    return tiers


Tiers = Annotated[list[Tier], AfterValidator(_rising_tiers)]


class Price(CardPart):
    """How a quantity becomes money: exactly one of the five forms."""

    flat: Amount | None = None
    per_unit: UnitPrice | None = None
    graduated: Tiers | None = None
    volume: Tiers | None = None
    package: Package | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a price has exactly one form of {', '.join(type(self).model_fields)}")
        return self

    @property
    def form(self) -> str:
        """Which of the five forms it is."""
        return next(iter(self.model_fields_set))

    @property
    def tiers(self) -> list[Tier]:
        """Its tiers, of a graduated or a volume price; none of another."""
        return self.graduated or self.volume or []

    @property
    def amounts(self) -> list[Decimal]:
        """The sums of money in it that are charged as they stand, and so must fit the currency."""
        return [amount for amount in (self.flat, *(tier.flat for tier in self.tiers)) if amount is not None]


class Minimum(CardPart):
    """The least quantity billed in a cycle."""

    quantity: Annotated[Quantity, Field(gt=0)]
    meter: Name | None = None
    prorate: Literal["first_cycle"] | None = None
    daily_decimals: Annotated[StrictInt, Field(ge=0, le=6)] | None = None

    @model_validator(mode="after")
    def _daily_decimals_prorate(self) -> Self:
        if self.daily_decimals is not None and self.prorate is None:
            raise ValueError("daily_decimals belongs to prorate: first_cycle")
        return self


class RecurringCharge(CardPart):
    """A fee per cycle."""

    kind: Literal["recurring"]
    bill: Literal["advance", "arrears"]
    price: Price
    on_cancel: Literal["charge", "drop"] | None = None
    prorate: Literal["first_cycle"] | None = None

    @model_validator(mode="after")
    def _fee(self) -> Self:
        if self.price.form != "flat":
            raise ValueError("a recurring charge counts nothing; its price is {flat: ...}")
        if self.on_cancel and self.bill == "advance":
            raise ValueError("on_cancel belongs to bill: arrears")
        return self


class PeakCharge(CardPart):
    """The most carts of a category active at one time."""

    kind: Literal["peak"]
    category: Name
    price: Price


class UsageCharge(CardPart):
    """What a meter counted."""

    kind: Literal["usage"]
    meter: Name
    aggregation: Literal["sum", "count", "max", "latest", "unique"]
    price: Price
    minimum: Minimum | None = None
    cap: Amount | None = None


Charge = Annotated[RecurringCharge | PeakCharge | UsageCharge, Field(discriminator="kind")]


class Cycle(CardPart):
    """How long a billing cycle is, and what it is counted from."""

    every: Annotated[Name, AfterValidator(_cycle_length)]
    anchor: Literal["account_created", "subscription_started", "calendar"]
    first_cycle_from: Literal["account_created", "subscription_started"] | None = None

    @property
    def terms(self) -> tuple[int, str, str, str]:
        """What the key says, however it is written: length, unit, anchor, and what a first cycle starts from."""
        return self.length, self.unit, self.anchor, self.first_cycle_from or "subscription_started"

    @property
    def length(self) -> int:
        """How many units a cycle lasts."""
        return int(self.every.split()[0])

    @property
    def unit(self) -> Literal["days", "months"]:
        """Days or months."""
        return "days" if "day" in self.every else "months"

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.length > CYCLE_LENGTH_MAX[self.unit]:
            raise ValueError(f"a cycle has at most {CYCLE_LENGTH_MAX[self.unit]} {self.unit}")
        if self.anchor == "calendar" and self.unit == "days":
            raise ValueError("anchor calendar starts at the first of a month, so every is a number of months")
        if self.first_cycle_from and self.anchor != "calendar":
            raise ValueError("first_cycle_from belongs to anchor: calendar")
        return self


class PlanChange(CardPart):
    """What a change of plan does."""

    takes_effect: Literal["immediately", "next_cycle"] = "immediately"
    minimum_difference: Amount = Decimal(0)


class SpendingLimit(CardPart):
    """The most that usage may cost in a cycle, and the shares of it that are reported."""

    default: Amount | None = None
    alert_at: list[Share] = []


class RateCard(CardPart):
    """One version of a price list."""

    rate_card: Name
    version: Annotated[StrictInt, Field(ge=1, le=999_999)]
    effective_from: Annotated[date, BeforeValidator(_plain_date), Field(ge=date(1900, 1, 1), le=date(9998, 12, 31))]
    reason: str = ""
    currency: Annotated[Name, AfterValidator(_known_currency)]
    time_zone: Annotated[Name, AfterValidator(_known_zone)] = "UTC"
    cycle: Cycle
    grace_days: Days = 0
    payment_days: Days = 0
    rounding: Literal["half_up", "half_even", "down", "up"] = "half_up"
    settlement: Literal["invoice", "prepaid_credits"] = "invoice"
    plan_change: PlanChange = PlanChange()
    spending_limit: SpendingLimit | None = None
    plans: Annotated[dict[Name, dict[Name, Charge]], Field(min_length=1)]

    @property
    def minor_digits(self) -> int:
        """Decimals of the currency's minor unit: JPY 0, USD 2, KWD 3."""
        digits = Currency(self.currency).exponent
        assert digits is not None
        return int(digits)

    @property
    def amounts_too_fine(self) -> list[tuple[Place, Decimal]]:
        """Amounts finer than the currency's minor unit, each with its place in the file."""
        return [(place, amount) for place, amount in self._amounts() if amount != round(amount, self.minor_digits)]

    def _amounts(self) -> list[tuple[Place, Decimal]]:
        found: list[tuple[Place, Decimal]] = [
            (("plan_change", "minimum_difference"), self.plan_change.minimum_difference)
        ]
        if self.spending_limit and self.spending_limit.default is not None:
            found.append((("spending_limit", "default"), self.spending_limit.default))
        for plan, charges in self.plans.items():
            for name, charge in charges.items():
                place: Place = ("plans", plan, name)
                found += [((*place, "price"), amount) for amount in charge.price.amounts]
                if isinstance(charge, UsageCharge) and charge.cap is not None:
                    found.append(((*place, "cap"), charge.cap))
        return found
