"""Which rows count: repeats, conflicts, revisions, voids, and what does not fit yet (SPEC, section 2)."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from usage_rating.verification.feeds import Row

# Wrong in itself, whatever comes later.
FINAL = "bad_value"


@dataclass
class Resolved:
    """The rows that count, and the others that are listed, each with its reason.

    `voided` holds the keys that a void took out, `fitting` every row, but repeats and conflicting ones, that nothing
    holds. `outcomes` has every row that is not listed: `counted`, `duplicate`, `superseded` or `voided`.
    """

    counting: list[Row] = field(default_factory=list)
    listed: dict[Row, str] = field(default_factory=dict)
    voided: set[Hashable] = field(default_factory=set)
    fitting: list[Row] = field(default_factory=list)
    outcomes: dict[Row, str] = field(default_factory=dict)


def no_scope(_: Row) -> Hashable:
    """One key, one thing."""
    return ""


def fits_always(_: Row) -> str:
    """Nothing holds it."""
    return ""


def stood(rows: Iterable[Row], scope: Callable[[Row], Hashable] = no_scope) -> tuple[list[Row], list[Row]]:
    """The rows of one key that stand, without repeats, and those in conflict with an earlier one.

    :param scope: rows of different scopes are never in conflict; None is in conflict with nothing
    """
    standing: list[Row] = []
    conflicting: list[Row] = []
    first: dict[Hashable, Row] = {}
    loose: set[Hashable] = set()
    for row in sorted(rows, key=lambda row: row.order):
        within = scope(row)
        if within is None:
            if (row.revision, row.content) not in loose:
                loose.add((row.revision, row.content))
                standing.append(row)
            continue
        earlier = first.setdefault((row.revision, within), row)
        if earlier is row:
            standing.append(row)
        elif earlier.content != row.content:
            conflicting.append(row)
    return standing, conflicting


def resolve(
    rows: Iterable[Row],
    reason_of: Callable[[Row], str] = fits_always,
    scope: Callable[[Row], Hashable] = no_scope,
    reason_of_any: Callable[[Row], str] = fits_always,
) -> Resolved:
    """Conflicts first; of the rows that fit, the highest revision counts, and nothing where it is a void.

    :param reason_of: why a row that is no void does not fit, or nothing
    :param reason_of_any: why a row, be it a void, does not fit, or nothing; it is asked first
    """
    resolved = Resolved()
    by_key: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        if not row.refused:
            by_key[row.key].append(row)
    for key, own in by_key.items():
        standing, conflicting = stood(own, scope)
        resolved.listed |= dict.fromkeys(conflicting, "conflicting_duplicate")
        reasons = {row: reason_of_any(row) or ("" if row.is_void else reason_of(row)) for row in standing}
        fitting = [row for row, reason in reasons.items() if not reason]
        resolved.fitting += fitting
        highest = max((row.revision for row in fitting), default=-1)
        resolved.listed |= {
            row: reason for row, reason in reasons.items() if reason and (row.revision >= highest or reason == FINAL)
        }
        top = [row for row in fitting if row.revision == highest]
        resolved.counting += [row for row in top if not row.is_void]
        if top and all(row.is_void for row in top):
            resolved.voided.add(key)
        resolved.outcomes |= {row: "duplicate" for row in own if row not in reasons and row not in resolved.listed}
        resolved.outcomes |= {row: "superseded" for row in standing if row.revision < highest}
        resolved.outcomes |= {row: "voided" if row.is_void else "counted" for row in top}
    return resolved
