"""What is known at a run: the rows of all files so far, and what of them counts for a subscription."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from typing import Any

from usage_rating.verification.bill import Facts
from usage_rating.verification.cards import Card
from usage_rating.verification.carts import Snapshots, active_spans
from usage_rating.verification.feeds import Row
from usage_rating.verification.limits import Agreed
from usage_rating.verification.rows import Resolved, no_scope, resolve
from usage_rating.verification.subscriptions import Life, live

BY_SUBSCRIPTION = ("subscriptions", "cart_events", "usage", "spending_limits")

INSTANTS = {
    "subscriptions": "effective_at",
    "cart_events": "occurred_at",
    "cart_snapshots": "snapshot_at",
    "usage": "occurred_at",
    "spending_limits": "agreed_at",
    "one_off_charges": "purchased_at",
}


@dataclass(frozen=True)
class Frozen:
    """What can no longer move once a subscription is invoiced; `account` is the row that its last cycle rests on."""

    account: Row
    zone_name: str
    created_at: int
    started_at: int
    rate_card: str
    card_zone: str


@dataclass
class Judged:
    """A subscription at a run: its facts, None where it is not known; its rows that are listed, and all others."""

    facts: Facts | None
    listed: dict[Row, str]
    outcomes: dict[Row, str]


@dataclass
class Known:
    """The rows of every file so far, by feed and what they speak of."""

    of: dict[str, dict[str, list[Row]]] = field(
        default_factory=lambda: {feed: defaultdict(list) for feed in (*BY_SUBSCRIPTION, "accounts", "one_off_charges")}
    )
    topups: list[Row] = field(default_factory=list)
    charge_ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    snapshots: Snapshots = field(default_factory=Snapshots)
    refused: list[Row] = field(default_factory=list)
    cards: dict[str, Card] = field(default_factory=dict)
    frozen: dict[str, Frozen] = field(default_factory=dict)
    frozen_of_account: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    newly_invoiced: list[Life] = field(default_factory=list)
    as_of: date = date.min
    accounts: dict[str, Row] = field(default_factory=dict)
    lives: dict[str, tuple[Life | None, Resolved]] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    taken_in: set[Row] = field(default_factory=set)
    waiting: set[Row] = field(default_factory=set)
    rows_in: Counter[str] = field(default_factory=Counter)

    def take(self, rows: Iterable[Row], wanted: frozenset[str] | None) -> tuple[set[str], set[str], bool]:
        """Takes rows in; gives the subscriptions and accounts they speak of, and whether a listing is among them."""
        subscriptions: set[str] = set()
        accounts: set[str] = set()
        has_listing = False
        for row in rows:
            own: Any = row.values.get("subscription_id")
            self.rows_in[row.feed] += 1
            if row.refused:
                self.refused.append(row)
            if row.feed == "cart_snapshots":
                self.snapshots.rows.append(row)
                has_listing = True
            elif row.refused or (own is not None and wanted is not None and own not in wanted):
                continue
            elif row.feed == "accounts":
                self.of["accounts"][row["account_id"]].append(row)
                accounts.add(row["account_id"])
            elif row.feed == "credit_topups":
                self.topups.append(row)
            elif row.feed == "one_off_charges":
                self.of["one_off_charges"][row["charge_id"]].append(row)
                self.charge_ids[own].add(row["charge_id"])
                subscriptions |= {other["subscription_id"] for other in self.of["one_off_charges"][row["charge_id"]]}
            else:
                self.of[row.feed][own].append(row)
                subscriptions.add(own)
        return subscriptions, accounts, has_listing

    # ---- what is invoiced

    def invoiced(self, life: Life) -> None:
        """Notes that a cycle of a subscription is issued: from the next run on, what it rests on is frozen."""
        self.newly_invoiced.append(life)

    def freeze(self) -> None:
        """Freezes what the run before has issued."""
        for life in self.newly_invoiced:
            account = self.accounts[life.account_id]
            first = Frozen(
                account,
                life.zone_name,
                account["created_at"],
                life.started_at,
                life.rate_card,
                life.card.first.time_zone,
            )
            self.frozen[life.subscription_id] = replace(self.frozen.get(life.subscription_id, first), account=account)
            self.frozen_of_account[life.account_id].add(life.subscription_id)
        self.newly_invoiced.clear()

    # ---- accounts

    def judge_accounts(self, account_ids: Iterable[str]) -> None:
        """Settles which row of each account counts: the newest that moves no invoiced cycle."""
        for account_id in account_ids:
            counting = self._account_rows(self.of["accounts"][account_id]).counting
            if counting:
                self.accounts[account_id] = max(
                    counting, key=lambda row: (row["updated_at"] is not None, row["updated_at"])
                )
            else:
                self.accounts.pop(account_id, None)

    def _account_rows(self, rows: list[Row]) -> Resolved:
        return resolve(rows, reason_of_any=self._moves_cycles)

    def _moves_cycles(self, row: Row) -> str:
        for frozen in self._frozen_under(row):
            rests_on, zone_name = frozen.account.key == row.key, row["time_zone"] or frozen.card_zone
            is_moved = (zone_name, row["created_at"]) != (frozen.zone_name, frozen.created_at)
            if rests_on if row.is_void else is_moved:
                return "would_move_cycles"
        return ""

    def _frozen_under(self, row: Row) -> list[Frozen]:
        """What may no longer move of the row's account; nothing where its last cycles rest on a newer row."""
        own = [self.frozen[subscription_id] for subscription_id in self.frozen_of_account[row["account_id"]]]
        return own if all(_is_newer(row, frozen.account) for frozen in own) else []

    def payer_of(self, account_id: str) -> str:
        """The account that pays."""
        account = self.accounts.get(account_id)
        return (account["master_account_id"] if account else None) or account_id

    # ---- subscriptions

    def life_of(self, subscription_id: str) -> Life | None:
        """A subscription's life as it is known; None before its start is."""
        if subscription_id not in self.lives:
            self.lives[subscription_id] = self._live(subscription_id)
        return self.lives[subscription_id][0]

    def _unfit(self, row: Row) -> str:
        if row["account_id"] not in self.accounts:
            return "unknown_account"
        card = self.cards.get(row["rate_card"])
        if card is None:
            return "unknown_rate_card"
        return "" if row["plan"] in card.plans() else "unknown_plan"

    def _live(self, subscription_id: str) -> tuple[Life | None, Resolved]:
        rows, frozen = self.of["subscriptions"].get(subscription_id, []), self.frozen.get(subscription_id)

        def reason_alone(row: Row) -> str:
            if frozen and _moves_start(row, frozen):
                return "would_move_cycles"
            unfit = "" if row.is_void else self._unfit(row)
            return unfit or self.lateness(row)

        alone = resolve(rows, reason_of_any=reason_alone).counting
        start = min((row for row in alone if row["event"] == "started"), key=_instant, default=None)
        if start is None:
            return None, resolve(rows, lambda _: "unknown_subscription", reason_of_any=reason_alone)

        def reason(row: Row) -> str:
            if row["effective_at"] < start["effective_at"]:
                return "unknown_subscription"
            if row["account_id"] != start["account_id"]:
                return "unknown_account"
            return "" if row["rate_card"] == start["rate_card"] else "unknown_rate_card"

        # Only what fits is taken in: whose books a row speaks of that names an unknown subscription is not known yet.
        resolved = resolve(rows, reason, reason_of_any=reason_alone)
        self.taken_in.update(resolved.fitting)
        return self._life_from(start, resolved.counting, frozen), resolved

    def _life_from(self, start: Row, rows: list[Row], frozen: Frozen | None) -> Life:
        card, account = self.cards[start["rate_card"]], self.accounts[start["account_id"]]
        zone_name = frozen.zone_name if frozen else account["time_zone"] or card.first.time_zone
        created_at = frozen.created_at if frozen else account["created_at"]
        started_at = frozen.started_at if frozen else start["effective_at"]
        cycles = card.cycles(zone_name, created_at, started_at)
        life = Life(
            start["subscription_id"], start["account_id"], start["rate_card"], card, started_at, zone_name, cycles
        )
        live(life, [row for row in rows if row["effective_at"] >= start["effective_at"]])
        return life

    # ---- closed books

    def lateness(self, row: Row) -> str:
        """`late` where it is."""
        return "late" if self.is_late(row) else ""

    def is_late(self, row: Row) -> bool:
        """Whether a row speaks of closed books; one that was taken in in time stays, however old it grows."""
        if row in self.taken_in:
            return False
        closed = self._closed_for(row)
        if closed is not None and (_instant(row) < closed or self._was_billed(row, closed)):
            return True
        if row.feed != "subscriptions":
            self.taken_in.add(row)
        return False

    def _resolve(
        self, rows: list[Row], reason_of: Callable[[Row], str], scope: Callable[[Row], Hashable] = no_scope
    ) -> Resolved:
        """Which rows of a subscription count."""
        resolved = resolve(rows, reason_of, scope, self.lateness)
        self.taken_in.update(resolved.fitting)
        self.waiting.difference_update(rows)
        self.waiting.update(resolved.listed)
        return resolved

    def _closed_for(self, row: Row) -> int | None:
        """Up to when books are closed for a row: a listing speaks of everybody's."""
        if row.feed == "cart_snapshots":
            return max(self.closed.values(), default=None)
        closed = self.closed.get(row["subscription_id"])
        is_inclusive = row.feed == "subscriptions"  # the closed invoice may carry the next fee
        return None if closed is None else closed + is_inclusive

    def _was_billed(self, row: Row, closed: int) -> bool:
        """Whether it replaces a row that counts in closed books: to bill it would mean to give the other back."""
        if row.feed not in ("usage", "one_off_charges") or not row.revision:
            return False
        own = self.of[row.feed][row["subscription_id"] if row.feed == "usage" else row["charge_id"]]
        before = [one for one in own if one.key == row.key and one in self.taken_in and one not in self.waiting]
        highest = max((one.revision for one in before), default=0)
        return any(one.revision == highest and not one.is_void and _instant(one) < closed for one in before)

    # ---- what is listed

    def listings(self) -> Resolved:
        """What became of the rows of listings."""

        def reason(row: Row) -> str:
            return "incomplete_snapshot" if row["snapshot_at"] in self.snapshots.held else self._unfit_cart(row)

        return resolve(self.snapshots.rows, reason, reason_of_any=self.lateness)

    def strangers(self) -> Iterator[Judged | Resolved]:
        """What became of the rows of subscriptions of which no row is known, and of accounts."""
        own = {subscription_id for feed in BY_SUBSCRIPTION for subscription_id in self.of[feed]}
        for subscription_id in (own | self.charge_ids.keys()) - self.of["subscriptions"].keys():
            yield self.judge(subscription_id)
        for rows in self.of["accounts"].values():
            yield self._account_rows(rows)

    # ---- everything else of a subscription

    def judge(self, subscription_id: str) -> Judged:
        """What counts of a subscription now."""
        life = self.life_of(subscription_id)
        own = self.lives[subscription_id][1]
        events = self._resolve(self.of["cart_events"].get(subscription_id, []), self._unfit_cart)
        usage = self._resolve(self.of["usage"].get(subscription_id, []), self._unfit_usage, self._cycle_of)
        one_offs = self._resolve(self._purchases(subscription_id), self._unfit_purchase, self._cycle_of)
        agreed, limits = self._agreed(subscription_id, life)
        listed: dict[Row, str] = {}
        outcomes: dict[Row, str] = {}
        for each in (own, events, usage, *limits, one_offs):
            listed |= each.listed
            outcomes |= each.outcomes
        if life is None:
            return Judged(None, listed, outcomes)
        listed |= {row: "unpriced" for row in usage.counting if self._is_unpriced(life, row)}
        listings = resolve(self.snapshots.own.get(subscription_id, []), self._unfit_cart).counting
        spans = active_spans(life, events.counting, self.snapshots, listings)
        bought = [row for row in one_offs.counting if row["subscription_id"] == subscription_id]
        return Judged(Facts(life, usage.counting, spans, agreed, bought), listed, outcomes)

    @staticmethod
    def _categories(card: Card) -> set[str]:
        return {category for version in card.versions for category in version.categories()}

    def _unfit_cart(self, row: Row) -> str:
        life = self.life_of(row["subscription_id"])
        if life is None:
            return "unknown_subscription"
        return "" if row["category"] in self._categories(life.card) else "unknown_category"

    def _unfit_usage(self, row: Row) -> str:
        life = self.life_of(row["subscription_id"])
        if life is None:
            return "unknown_subscription"
        if not any(row["meter"] in version.meters() for version in life.card.versions):
            return "unknown_meter"
        at = row["occurred_at"]
        if not life.is_active(at):
            return "outside_subscription"
        version = life.version(life.cycles.at(at))
        plan = version.plans.get(life.plan_at(at), ()) if version else ()
        counts_values = any(c.aggregation == "unique" and row["meter"] in c.meters for c in plan)
        is_missing = counts_values and row["value"] is None and row["quantity"] > 0 and self._has_begun(life, at)
        return "missing_value" if is_missing else ""

    def _is_unpriced(self, life: Life, row: Row) -> bool:
        if not self._has_begun(life, row["occurred_at"]):
            return False
        version = life.version(life.cycles.at(row["occurred_at"]))
        plan = version.plans.get(life.plan_at(row["occurred_at"]), ()) if version else ()
        return not any(row["meter"] in charge.meters for charge in plan)

    def _cycle_of(self, row: Row) -> Hashable:
        """The cycle within which rows can be in conflict; None where it is not known yet."""
        life = self.life_of(row["subscription_id"])
        at = row["occurred_at"] if row.feed == "usage" else row["purchased_at"]
        if life is None:
            return None
        return (row["subscription_id"], life.cycles.at(at).start) if self._is_in_cycle(life, at) else None

    def _is_in_cycle(self, life: Life, at: int) -> bool:
        """Whether an instant lies in a cycle of the subscription that has begun."""
        return self._has_begun(life, at) and at >= life.cycles.at(life.started_at).starts_at

    def _has_begun(self, life: Life, at: int) -> bool:
        """Whether an instant's cycle has begun by the date billed up to; before that nobody knows its prices."""
        return life.cycles.at(at).start <= self.as_of

    def _purchases(self, subscription_id: str) -> list[Row]:
        return [row for own in self.charge_ids.get(subscription_id, ()) for row in self.of["one_off_charges"][own]]

    def _unfit_purchase(self, row: Row) -> str:
        life = self.life_of(row["subscription_id"])
        if life is None:
            return "unknown_subscription"
        if (row["amount"] * 10**life.card.first.decimals).denominator != 1:
            return "bad_value"
        return "" if life.is_active(row["purchased_at"]) else "outside_subscription"

    def _agreed(self, subscription_id: str, life: Life | None) -> tuple[Agreed, list[Resolved]]:
        """The limits agreed to, in order of time; each must be above the one in force."""
        rows = self.of["spending_limits"].get(subscription_id, [])
        if life is None:
            return [], [resolve(rows, lambda _: "unknown_subscription")]
        agreed: Agreed = []
        found: list[Resolved] = []
        for at in sorted({row["agreed_at"] for row in rows}):
            version = life.version(life.cycles.at(at)) if self._is_in_cycle(life, at) else None
            highest = max((amount for _, amount in agreed), default=version.default_limit if version else None)
            resolved = self._resolve(
                [row for row in rows if row["agreed_at"] == at],
                lambda row, highest=highest: _not_raised(row["limit_amount"], highest),  # type: ignore[misc]
            )
            found.append(resolved)
            agreed += [(at, row["limit_amount"]) for row in resolved.counting]
        return agreed, found


def _not_raised(amount: Fraction, highest: Fraction | None) -> str:
    return "" if highest is None or amount > highest else "limit_not_raised"


def _instant(row: Row) -> int:
    """The instant that a row speaks of."""
    at: int = row[INSTANTS[row.feed]]
    return at


def _moves_start(row: Row, frozen: Frozen) -> bool:
    """Whether a row would give an invoiced subscription another start, account or rate card."""
    is_start = row["event"] == "started"
    if row["effective_at"] != frozen.started_at:
        return bool(is_start and row["effective_at"] < frozen.started_at)
    is_same = row["account_id"] == frozen.account["account_id"] and row["rate_card"] == frozen.rate_card
    return bool(row.is_void or not is_start or not is_same)


def _is_newer(row: Row, than: Row) -> bool:
    """Whether an account's row would take the place of another."""

    def place(one: Row) -> tuple[bool, int, int]:
        return one["updated_at"] is not None, one["updated_at"] or 0, one.revision

    return place(row) > place(than)
