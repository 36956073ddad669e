"""Carts: what each snapshot and event says, and the most that were active at one time."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from usage_rating.verification.calendar import Cycle
from usage_rating.verification.feeds import Row
from usage_rating.verification.rows import resolve
from usage_rating.verification.subscriptions import FOREVER, Life

Cart = tuple[str, str]


@dataclass
class Snapshots:
    """All listings known so far: the carts of each, which are held, and the rows in time, by subscription."""

    rows: list[Row] = field(default_factory=list)
    listed: dict[int, set[Cart]] = field(default_factory=dict)
    own: dict[str, list[Row]] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)

    def judge(self, share: Fraction, approved: set[int], lateness: Callable[[Row], str]) -> None:
        """Sets each too small a listing aside, against the one before it, and what speaks of closed books."""
        resolved = resolve(self.rows, reason_of_any=lateness)
        amiss = {row for row in self.rows if row.refused or row in resolved.listed}
        late = {row for row in amiss if lateness(row)}
        self.listed, self.own = defaultdict(set), defaultdict(list)
        sizes: dict[int, int] = defaultdict(int)
        by_key: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            if None not in row.key and row not in late:
                by_key[row.key].append(row)
        counting = {row.key: row for row in resolved.counting}
        for (at, *cart), rows in by_key.items():
            said = counting.get((at, *cart))
            if said or not amiss.isdisjoint(rows):
                self.listed[at].add((cart[0], cart[1]))
            sizes[at] += bool(said and said["state"] == "active")
            self.own[cart[0]] += rows
        self.held = set()
        before: int | None = None
        for at in sorted(self.listed):
            if before is not None and sizes[at] < share * before and at not in approved:
                self.held.add(at)
            before = sizes[at]

    @property
    def instants(self) -> list[int]:
        """The instants of the listings that count."""
        return sorted(at for at in self.listed if at not in self.held)


@dataclass(frozen=True)
class Peak:
    """The most carts active at one time, and since when; None where there were none."""

    quantity: int
    at: int | None


def active_spans(
    life: Life, events: list[Row], snapshots: Snapshots, listings: list[Row]
) -> list[tuple[str, int, int]]:
    """The spans in which each cart was active, by category.

    :param listings: the rows of listings that count
    """
    statements: dict[str, list[tuple[int, int, str | None]]] = defaultdict(list)
    for row in events:
        says = row["category"] if row["state"] == "active" else None
        statements[row["cart_id"]].append((row["occurred_at"], 1, says))
    own = {cart for listing in snapshots.listed.values() for cart in listing if cart[0] == life.subscription_id}
    carts = {cart_id for _, cart_id in own} | set(statements)
    says = {(row["snapshot_at"], row["cart_id"]): row for row in listings}
    for at in snapshots.instants:
        for cart_id in carts:
            said = says.get((at, cart_id))
            if said is not None:
                statements[cart_id].append((at, 0, said["category"] if said["state"] == "active" else None))
            elif (life.subscription_id, cart_id) not in snapshots.listed[at]:
                statements[cart_id].append((at, 0, None))
    spans = []
    for own_statements in statements.values():
        ordered = sorted(own_statements, key=lambda one: one[:2])
        ends = [at for at, _, _ in ordered[1:]] + [FOREVER]
        for (at, _, category), until in zip(ordered, ends, strict=True):
            if category is not None and at < until:
                spans.append((category, at, until))
    return spans


def peak(spans: list[tuple[str, int, int]], category: str, life: Life, cycle: Cycle) -> Peak:
    """The most carts of a category active at any one instant of a cycle while the subscription is."""
    steps: dict[int, int] = defaultdict(int)
    for since, until in life.active_in(cycle):
        for own, on, off in spans:
            start, end = max(on, since), min(off, until)
            if own == category and start < end:
                steps[start] += 1
                steps[end] -= 1
    count, most = 0, Peak(0, None)
    for at in sorted(steps):
        count += steps[at]
        if count > most.quantity:
            most = Peak(count, at)
    return most
