"""What an explanation says, as data: printed for a person, or dumped for a program."""

import json
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from usage_rating.figures import text_of


@dataclass(frozen=True)
class SourceRow:
    """A row of an input file: where it stands, and what it says. `note` tells what it was to the figure, if more."""

    feed: str
    file: str
    row_number: int
    read_in_run: int
    content: dict[str, str]
    note: str = ""

    @property
    def place(self) -> tuple[str, int, int]:
        """What tells it from any other row: a file of the same name may come again with other bytes."""
        return self.file, self.row_number, self.read_in_run


@dataclass(frozen=True)
class Line:
    """A published line: its figures, how they were worked out, and the rows they rest on.

    `details` has for programs what the steps say in words, one set of keys a kind.
    """

    line_number: int
    kind: str
    charge: str
    plan: str | None
    rate_card_version: int
    description: str
    quantity: Decimal
    unit_price: Decimal | None
    amount: Decimal
    service_start: date
    service_end: date
    steps: list[str]
    rows: list[SourceRow]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """Something about the whole invoice: sentences, and the rows they rest on."""

    says: list[str]
    rows: list[SourceRow] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """An invoice, and how it came about."""

    invoice: dict[str, Any]
    run_id: str
    minor_digits: int
    cycle: Section
    card: Section
    lines: list[Line]
    credit: Section


def as_json(value: Any) -> Any:
    """Data for a program: figures, dates and instants as exact text."""
    if hasattr(value, "__dataclass_fields__"):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal | datetime | date):
        return text_of(value)
    return str(value)


def as_json_text(value: Any) -> str:
    """The same as a JSON document."""
    return json.dumps(as_json(value), indent=1, ensure_ascii=False) + "\n"
