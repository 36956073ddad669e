"""The eight input feeds, declared once: their columns, types and keys (SPEC, section 2)."""

from dataclasses import dataclass
from enum import StrEnum


class ColumnType(StrEnum):
    """How a column's text is read. The value names the macro in sql/types.sql that reads it."""

    TEXT = "as_text"
    INSTANT = "as_instant"
    QUANTITY = "as_quantity"
    AMOUNT = "as_amount"
    WHOLE_NUMBER = "as_whole_number"
    FLAG = "as_flag"
    TIME_ZONE = "as_time_zone"


EXPECTED = {
    ColumnType.TEXT: "text without zero bytes",
    ColumnType.INSTANT: "a time such as 2024-01-31T23:59:59Z, to the microsecond, in the years 1900 to 9998",
    ColumnType.QUANTITY: "a number of 0 or more with up to 12 digits before the point and 6 after it",
    ColumnType.AMOUNT: "an amount of 0 or more with up to 12 digits before the point and 4 after it",
    ColumnType.WHOLE_NUMBER: "a whole number of 0 or more",
    ColumnType.FLAG: "true or false",
    ColumnType.TIME_ZONE: "an IANA time zone such as America/New_York",
}


@dataclass(frozen=True)
class Column:
    """One column of a feed; `choices` lists the only words it may hold."""

    name: str
    type: ColumnType = ColumnType.TEXT
    is_required: bool = True
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What the column should hold, for the person who has to correct it."""
        return " or ".join(self.choices) if self.choices else EXPECTED[self.type]


@dataclass(frozen=True)
class Feed:
    """One feed. Rows with the same `key` speak of the same thing.

    `has_originals`: its files may be so large that each is kept by itself (`originals`).
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    must_exist: bool = False
    has_originals: bool = False

    @property
    def required_columns(self) -> list[str]:
        """The columns without which a file of this feed cannot be used."""
        return [column.name for column in self.columns if column.is_required]


_REVISION = (
    Column("revision", ColumnType.WHOLE_NUMBER, is_required=False),
    Column("voided", ColumnType.FLAG, is_required=False),
)
_STATES = ("active", "disabled", "deleted")


def _instant(name: str, *, is_required: bool = True) -> Column:
    return Column(name, ColumnType.INSTANT, is_required)


FEEDS = {
    feed.name: feed
    for feed in (
        Feed(
            "accounts",
            ("account_id", "updated_at"),
            (
                Column("account_id"),
                _instant("updated_at", is_required=False),
                _instant("created_at"),
                Column("time_zone", ColumnType.TIME_ZONE, is_required=False),
                Column("master_account_id", is_required=False),
                Column("name", is_required=False),
                *_REVISION,
            ),
            must_exist=True,
        ),
        Feed(
            "subscriptions",
            ("subscription_id", "effective_at"),
            (
                Column("subscription_id"),
                _instant("effective_at"),
                Column("account_id"),
                Column("rate_card"),
                Column("plan"),
                Column("event", choices=("started", "plan_changed", "cancelled", "reactivated")),
                Column("takes_effect", is_required=False, choices=("immediately", "next_cycle")),
                *_REVISION,
            ),
            must_exist=True,
        ),
        Feed(
            "cart_events",
            ("subscription_id", "cart_id", "occurred_at"),
            (
                Column("subscription_id"),
                Column("cart_id"),
                _instant("occurred_at"),
                Column("category"),
                Column("state", choices=_STATES),
                *_REVISION,
            ),
            has_originals=True,
        ),
        Feed(
            "cart_snapshots",
            ("snapshot_at", "subscription_id", "cart_id"),
            (
                _instant("snapshot_at"),
                Column("subscription_id"),
                Column("cart_id"),
                Column("category"),
                Column("state", choices=_STATES),
                *_REVISION,
            ),
        ),
        Feed(
            "usage",
            ("subscription_id", "event_id"),
            (
                Column("subscription_id"),
                Column("event_id"),
                Column("meter"),
                Column("quantity", ColumnType.QUANTITY),
                _instant("occurred_at"),
                Column("value", is_required=False),
                *_REVISION,
            ),
            has_originals=True,
        ),
        Feed(
            "spending_limits",
            ("subscription_id", "agreed_at"),
            (
                Column("subscription_id"),
                _instant("agreed_at"),
                Column("limit_amount", ColumnType.AMOUNT),
                *_REVISION,
            ),
        ),
        Feed(
            "one_off_charges",
            ("charge_id",),
            (
                Column("charge_id"),
                Column("subscription_id"),
                Column("description"),
                Column("amount", ColumnType.AMOUNT),
                _instant("purchased_at"),
                *_REVISION,
            ),
        ),
        Feed(
            "credit_topups",
            ("topup_id",),
            (
                Column("topup_id"),
                Column("account_id"),
                Column("amount", ColumnType.AMOUNT),
                _instant("purchased_at"),
                *_REVISION,
            ),
        ),
    )
}
