"""What a line is explained from."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from usage_rating.explanation.model import SourceRow
from usage_rating.explanation.published import Published, Record
from usage_rating.explanation.rework import State
from usage_rating.rate_cards import RateCard


@dataclass(frozen=True)
class Context:
    """An invoice of kind opening or cycle, its lines as the stages made them, and all that they made of it."""

    published: Published
    state: State
    invoice: Record

    @property
    def lines(self) -> list[Record]:
        """Its lines, in their order."""
        return self.state.of("lines", invoice_id=self.invoice["invoice_id"])

    def card(self, line: Record) -> RateCard:
        """The version that prices a line."""
        return self.state.cards[line["rate_card_version"]]

    def charge(self, line: Record) -> Any:
        """What that version says of the line's charge."""
        return self.card(line).plans[line["plan"]][line["charge"]]

    def amount_of(self, kind: str, like: Record) -> Fraction:
        """The amount of another line of the same charge; 0 where there is none."""
        found = [x for x in self.lines if (x["kind"], x["plan"], x["charge"]) == (kind, like["plan"], like["charge"])]
        return Fraction(found[0]["amount"]) if found else Fraction(0)


@dataclass(frozen=True)
class Worked:
    """How a line was worked out: sentences whose last figure is `amount`, rows, and the same for programs."""

    steps: list[str]
    amount: Fraction
    rows: list[SourceRow]
    details: dict[str, Any]
