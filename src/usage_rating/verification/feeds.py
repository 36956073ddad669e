"""The feeds' columns: how each is read, and the keys."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from usage_rating.verification.calendar import zone_names
from usage_rating.verification.values import (
    Refused,
    bad_value,
    read_flag,
    read_instant,
    read_number,
    read_text,
    read_whole_number,
)

Reader = Callable[[Any], Any]


def read_quantity(value: Any) -> Any:
    """Up to six decimals."""
    return read_number(value, 6)


def read_amount(value: Any) -> Any:
    """Up to four decimals."""
    return read_number(value, 4)


def read_zone(value: Any) -> str:
    """An IANA name."""
    if value not in zone_names():
        raise bad_value()
    return str(value)


def one_of(*choices: str) -> Reader:
    """Exactly one of some words."""

    def read(value: Any) -> str:
        if value not in choices:
            raise bad_value()
        return str(value)

    return read


_STATE = one_of("active", "disabled", "deleted")


@dataclass(frozen=True)
class Feed:
    """A feed's key, and its columns, needed and not."""

    key: tuple[str, ...]
    needed: dict[str, Reader]
    optional: dict[str, Reader]

    @property
    def columns(self) -> dict[str, Reader]:
        """All columns, the feeds' common ones last."""
        return self.needed | self.optional | {"revision": read_whole_number, "voided": read_flag}


FEEDS = {
    "accounts": Feed(
        ("account_id", "updated_at"),
        {"account_id": read_text, "created_at": read_instant},
        {"updated_at": read_instant, "time_zone": read_zone, "master_account_id": read_text, "name": read_text},
    ),
    "subscriptions": Feed(
        ("subscription_id", "effective_at"),
        {
            "subscription_id": read_text,
            "effective_at": read_instant,
            "account_id": read_text,
            "rate_card": read_text,
            "plan": read_text,
            "event": one_of("started", "plan_changed", "cancelled", "reactivated"),
        },
        {"takes_effect": one_of("immediately", "next_cycle")},
    ),
    "cart_events": Feed(
        ("subscription_id", "cart_id", "occurred_at"),
        {
            "subscription_id": read_text,
            "cart_id": read_text,
            "occurred_at": read_instant,
            "category": read_text,
            "state": _STATE,
        },
        {},
    ),
    "cart_snapshots": Feed(
        ("snapshot_at", "subscription_id", "cart_id"),
        {
            "snapshot_at": read_instant,
            "subscription_id": read_text,
            "cart_id": read_text,
            "category": read_text,
            "state": _STATE,
        },
        {},
    ),
    "usage": Feed(
        ("subscription_id", "event_id"),
        {
            "subscription_id": read_text,
            "event_id": read_text,
            "meter": read_text,
            "quantity": read_quantity,
            "occurred_at": read_instant,
        },
        {"value": read_text},
    ),
    "spending_limits": Feed(
        ("subscription_id", "agreed_at"),
        {"subscription_id": read_text, "agreed_at": read_instant, "limit_amount": read_amount},
        {},
    ),
    "one_off_charges": Feed(
        ("charge_id",),
        {
            "charge_id": read_text,
            "subscription_id": read_text,
            "description": read_text,
            "amount": read_amount,
            "purchased_at": read_instant,
        },
        {},
    ),
    "credit_topups": Feed(
        ("topup_id",),
        {"topup_id": read_text, "account_id": read_text, "amount": read_amount, "purchased_at": read_instant},
        {},
    ),
}


@dataclass(frozen=True, eq=False)
class Row:
    """One row of an input file: typed, or refused for good; of a refused one `values` holds what could be read."""

    feed: str
    run: int
    file: str
    number: int
    values: dict[str, Any]
    revision: int = 0
    is_void: bool = False
    refused: str = ""

    @property
    def order(self) -> tuple[int, str, int]:
        """Of two rows that disagree the first in this order stands."""
        return self.run, self.file, self.number

    @property
    def key(self) -> tuple[Any, ...]:
        """What it speaks of."""
        return tuple(self.values.get(name) for name in FEEDS[self.feed].key)

    @property
    def content(self) -> tuple[Any, ...]:
        """All it says but which edition it is."""
        return (*self.values.values(), self.is_void)

    def __getitem__(self, column: str) -> Any:
        return self.values[column]


def typed(feed: str, run: int, file: str, number: int, raw: dict[str, Any]) -> Row:
    """A row as its columns are read; a fault in any refuses it, the first column's reason first."""
    values: dict[str, Any] = {}
    refused = ""
    for name, read in FEEDS[feed].columns.items():
        value = raw.get(name)
        if value is None or value == "":
            values[name] = None
            if name in FEEDS[feed].needed:
                refused = refused or "missing_value"
            continue
        try:
            values[name] = read(value)
        except Refused as refusal:
            refused = refused or refusal.reason
    revision, is_void = values.pop("revision", None), values.pop("voided", None)
    return Row(feed, run, file, number, values, revision or 0, bool(is_void), refused)
