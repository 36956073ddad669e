"""Rate cards as their YAML files say them, prices as fractions. A card that cannot be read is a finding."""

from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from usage_rating.verification.calendar import Cycles, local_date

# ISO 4217: every other currency has two decimals.
_BY_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DECIMALS = {currency: decimals for decimals, names in _BY_DECIMALS.items() for currency in names.split()}


@dataclass(frozen=True)
class Tier:
    """Units up to a bound, None in the last, at one price, and what is charged once one falls into it."""

    up_to: Fraction | None
    per_unit: Fraction
    flat: Fraction


@dataclass(frozen=True)
class Price:
    """A price of one of the five forms."""

    form: str
    amount: Fraction = Fraction(0)
    size: Fraction = Fraction(1)
    tiers: tuple[Tier, ...] = ()

    @property
    def of_one(self) -> Fraction | None:
        """The price of one, where there is a single one."""
        return self.amount if self.form == "per_unit" else None


@dataclass(frozen=True)
class Minimum:
    """The least quantity of a charge in a cycle."""

    quantity: Fraction
    meter: str
    is_prorated: bool
    daily_decimals: int | None


@dataclass(frozen=True, eq=False)
class Charge:
    """One priced thing of a plan; `place` is where it stands in it. It equals itself alone, which is quick to tell."""

    name: str
    place: int
    kind: str
    price: Price
    meter: str = ""
    aggregation: str = ""
    category: str = ""
    bill: str = ""
    is_dropped_on_cancel: bool = False
    is_prorated: bool = False
    minimum: Minimum | None = None
    cap: Fraction | None = None

    @property
    def meters(self) -> set[str]:
        """The meters it counts: its own, and the one held against its minimum."""
        own = {self.meter} if self.kind == "usage" else set()
        return own | {self.minimum.meter} if self.minimum else own


@dataclass(frozen=True)
class Version:
    """One version of a rate card."""

    rate_card: str
    number: int
    effective_from: date
    currency: str
    time_zone: str
    every: str
    anchor: str
    first_cycle_from: str
    grace_days: int
    payment_days: int
    rounding: str
    is_prepaid: bool
    change_takes_effect: str
    minimum_difference: Fraction
    default_limit: Fraction | None
    alert_at: tuple[Fraction, ...]
    plans: dict[str, tuple[Charge, ...]]

    @property
    def decimals(self) -> int:
        """How many decimals the currency has."""
        return DECIMALS.get(self.currency, 2)

    def advance_fees(self, plan: str) -> Fraction:
        """The sum of a plan's fees in advance."""
        return sum((c.price.amount for c in self.plans[plan] if c.bill == "advance"), Fraction(0))

    def meters(self) -> set[str]:
        """Every meter it counts, be it only for a minimum."""
        return {meter for plan in self.plans.values() for charge in plan for meter in charge.meters}

    def categories(self) -> set[str]:
        """Every category of carts it prices."""
        return {charge.category for plan in self.plans.values() for charge in plan if charge.kind == "peak"}


@dataclass
class Card:
    """The versions of a rate card, by the day from which they hold."""

    versions: list[Version] = field(default_factory=list)

    @property
    def first(self) -> Version:
        """Any version: all share currency, zone, cycle and settlement."""
        return self.versions[0]

    def on(self, day: date) -> Version | None:
        """The version that prices a cycle beginning on a day."""
        return next((v for v in reversed(self.versions) if v.effective_from <= day), None)

    def plans(self) -> set[str]:
        """Every plan of every version."""
        return {plan for version in self.versions for plan in version.plans}

    def cycles(self, zone_name: str, created_at: int, started_at: int) -> Cycles:
        """The cycles of a subscription."""
        count, unit = self.first.every.split()
        created, started = local_date(created_at, zone_name), local_date(started_at, zone_name)
        is_calendar = self.first.anchor == "calendar"
        anchor = created if self.first.anchor == "account_created" else started
        if is_calendar and self.first.first_cycle_from == "account_created":
            anchor = min(created, started)
        return Cycles(anchor, int(count), unit.startswith("month"), is_calendar, zone_name)


def read_version(path: Path) -> Version:
    """One rate card file.

    :raises ValueError, KeyError, TypeError: it is not one
    """
    said = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    cycle, change, limit = said["cycle"], said.get("plan_change") or {}, said.get("spending_limit") or {}
    return Version(
        rate_card=str(said["rate_card"]),
        number=int(said["version"]),
        effective_from=said["effective_from"],
        currency=said["currency"],
        time_zone=said.get("time_zone", "UTC"),
        every=cycle["every"],
        anchor=cycle["anchor"],
        first_cycle_from=cycle.get("first_cycle_from", "subscription_started"),
        grace_days=int(said.get("grace_days", 0)),
        payment_days=int(said.get("payment_days", 0)),
        rounding=said.get("rounding", "half_up"),
        is_prepaid=said.get("settlement", "invoice") == "prepaid_credits",
        change_takes_effect=change.get("takes_effect", "immediately"),
        minimum_difference=Fraction(change.get("minimum_difference", "0")),
        default_limit=None if limit.get("default") is None else Fraction(limit["default"]),
        alert_at=tuple(sorted(Fraction(share) for share in limit.get("alert_at", ()))),
        plans={
            str(name): tuple(_charge(str(own), place, rule) for place, (own, rule) in enumerate((plan or {}).items()))
            for name, plan in said["plans"].items()
        },
    )


def _charge(name: str, place: int, said: dict[str, Any]) -> Charge:
    minimum = said.get("minimum")
    return Charge(
        name=name,
        place=place,
        kind=said["kind"],
        price=_price(said["price"]),
        meter=str(said.get("meter", "")),
        aggregation=said.get("aggregation", ""),
        category=str(said.get("category", "")),
        bill=said.get("bill", ""),
        is_dropped_on_cancel=said.get("on_cancel") == "drop",
        is_prorated=said.get("prorate") == "first_cycle",
        minimum=minimum
        and Minimum(
            Fraction(minimum["quantity"]),
            str(minimum.get("meter", said.get("meter"))),
            minimum.get("prorate") == "first_cycle",
            minimum.get("daily_decimals"),
        ),
        cap=None if said.get("cap") is None else Fraction(said["cap"]),
    )


def _price(said: dict[str, Any]) -> Price:
    ((form, value),) = said.items()
    if form in ("flat", "per_unit"):
        return Price(form, Fraction(value))
    if form == "package":
        return Price(form, Fraction(value["price"]), Fraction(value["size"]))
    if form not in ("graduated", "volume"):
        raise ValueError(f"'{form}' is no form of price")
    tiers = (
        Tier(Fraction(t["up_to"]) if "up_to" in t else None, Fraction(t["per_unit"]), Fraction(t.get("flat", 0)))
        for t in value
    )
    return Price(form, tiers=tuple(tiers))
