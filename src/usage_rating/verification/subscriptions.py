"""What became of a subscription: its spans of activity, its plans, its changes of plan, its cycles."""

from dataclasses import dataclass, field

from usage_rating.verification.calendar import Cycle, Cycles
from usage_rating.verification.cards import Card, Version
from usage_rating.verification.feeds import Row

FOREVER = 2**62


@dataclass(frozen=True)
class Change:
    """A change of plan that took effect at once, inside a cycle."""

    at: int
    before: str
    after: str


@dataclass
class Life:
    """A subscription as it is known: when it was active, and on which plan."""

    subscription_id: str
    account_id: str
    rate_card: str
    card: Card
    started_at: int
    zone_name: str
    cycles: Cycles
    active: list[tuple[int, int]] = field(default_factory=list)
    plans: list[tuple[int, str]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def is_active(self, at: int) -> bool:
        """Whether it is active at an instant."""
        return any(since <= at < until for since, until in self.active)

    def active_in(self, cycle: Cycle) -> list[tuple[int, int]]:
        """The parts of a cycle in which it is active."""
        spans = ((max(since, cycle.starts_at), min(until, cycle.ends_at)) for since, until in self.active)
        return [(since, until) for since, until in spans if since < until]

    def plan_at(self, at: int) -> str:
        """The plan in force at an instant."""
        return next(plan for since, plan in reversed(self.plans) if since <= at)

    def version(self, cycle: Cycle) -> Version | None:
        """The version that prices a cycle."""
        return self.card.on(cycle.start)


def live(life: Life, rows: list[Row]) -> None:
    """Follows the rows that count, in order of time, the first of which starts it."""
    waiting: tuple[int, str] | None = None
    since: int | None = None
    for row in sorted(rows, key=lambda row: row["effective_at"]):
        at, event = row["effective_at"], row["event"]
        if waiting and waiting[0] <= at:
            if waiting[0] < at or event != "cancelled":
                life.plans.append(waiting)
            waiting = None
        if since is None:
            if event == "reactivated" or (event == "started" and not life.plans):
                since = at
                life.plans.append((at, row["plan"]))
        elif event == "cancelled":
            life.active.append((since, at))
            since, waiting = None, None
        elif event == "plan_changed":
            waiting = _change(life, row)
    if since is not None:
        life.active.append((since, FOREVER))
        if waiting:
            life.plans.append(waiting)


def _change(life: Life, row: Row) -> tuple[int, str] | None:
    """A change of plan: at once, or what waits for the next cycle's start."""
    at, cycle = row["effective_at"], life.cycles.at(row["effective_at"])
    version = life.version(cycle) or life.card.first
    takes_effect = row["takes_effect"] or version.change_takes_effect
    if at == cycle.starts_at:
        life.plans.append((at, row["plan"]))
        return None
    if takes_effect == "next_cycle":
        return cycle.ends_at, row["plan"]
    life.changes.append(Change(at, life.plan_at(at), row["plan"]))
    life.plans.append((at, row["plan"]))
    return None
