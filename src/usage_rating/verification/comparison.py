"""What was worked out against what is published, to the cent."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Any

from usage_rating.verification.balances import listed_in, status
from usage_rating.verification.feeds import Row
from usage_rating.verification.ledger import Ledger
from usage_rating.verification.published import Published, Record
from usage_rating.verification.runs import Invoice, Key, Replay
from usage_rating.verification.values import instant_text


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: where, what, and both figures."""

    table: str
    place: str
    what: str
    published: str = ""
    worked_out: str = ""
    invoice_id: str = ""

    def __str__(self) -> str:
        said = f"{self.table} {self.place}: {self.what}"
        if self.published or self.worked_out:
            said += f": published {self.published or 'nothing'}, worked out {self.worked_out or 'nothing'}"
        return said


def figure(value: Any) -> str:
    """A value for people: fractions as decimals."""
    if isinstance(value, Fraction):
        return _decimal(value)
    return "nothing" if value is None else str(value)


def _decimal(value: Fraction) -> str:
    scaled = abs(value) * 10**9
    whole, rest = divmod(scaled.numerator // scaled.denominator, 10**9)
    text = f"{whole}.{rest:09d}".rstrip("0")
    text += "0" * max(0, 2 - len(text.partition(".")[2]))
    return f"-{text}" if value < 0 else text


@dataclass
class Books:
    """Matches each invoice that was worked out with the published one, and notes what differs."""

    published: Published
    findings: list[Finding] = field(default_factory=list)
    invoices: int = 0
    lines: int = 0
    _waiting: dict[Key, list[Record]] = field(default_factory=lambda: defaultdict(list))
    _numbers: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        for invoice in self.published.invoices.values():
            self._waiting[_published_key(invoice)].append(invoice)

    def match(self, issued: list[Invoice]) -> None:
        """Finds the published invoice of each, and takes its id and number over."""
        for invoice in issued:
            waiting = self._waiting[_key(invoice)]
            if waiting:
                record = waiting.pop(0)
                invoice.invoice_id, invoice.invoice_number = record["invoice_id"], record["invoice_number"]

    def compare(self, issued: list[Invoice]) -> None:
        """Holds a run's invoices against the published ones."""
        for invoice in issued:
            if invoice.invoice_id:
                self.invoices += 1
                self._invoice(invoice, self.published.invoices[invoice.invoice_id])
            else:
                what = f"{invoice.kind} of run {invoice.run:06d} is not published"
                self.findings.append(
                    Finding("invoices", _place(invoice), what, "", f"{figure(invoice.total)} {invoice.currency}")
                )

    def check_numbers(self, issued: list[Invoice]) -> None:
        """Numbers go on without a gap, within a run by issue_date and invoice_id."""
        for invoice in sorted(issued, key=lambda one: (one.issue_date, one.invoice_id)):
            if invoice.invoice_id:
                self._numbers[invoice.rate_card] += 1
                self._same(invoice, "invoice_number", invoice.invoice_number, self._numbers[invoice.rate_card])

    def left(self, is_wanted: Callable[[Record], bool]) -> None:
        """What is published and was not worked out."""
        for records in self._waiting.values():
            for record in records:
                if is_wanted(record):
                    place = f"{record['invoice_id']} ({record['subscription_id']}, cycle of {record['cycle_start']})"
                    total = f"{figure(record['total'])} {record['currency']}"
                    what = f"{record['kind']} of {record['issued_as_of']} is not to be issued"
                    self.findings.append(Finding("invoices", place, what, total, "", record["invoice_id"]))
        for invoice_id in self.published.lines.keys() - self.published.invoices.keys():
            self.findings.append(Finding("invoice_lines", invoice_id, "no invoice has this id", "", "", invoice_id))

    def _same(self, invoice: Invoice, column: str, published: Any, worked_out: Any, line: str = "") -> None:
        if published != worked_out:
            table = "invoice_lines" if line else "invoices"
            place = f"{_place(invoice)}{', ' if line else ''}{line}"
            self.findings.append(
                Finding(table, place, column, figure(published), figure(worked_out), invoice.invoice_id)
            )

    def _invoice(self, invoice: Invoice, record: Record) -> None:
        cycle = invoice.cycle
        expected = {
            "corrects_invoice_id": invoice.corrects.invoice_id if invoice.corrects else None,
            "account_id": invoice.account_id,
            "bill_to_account_id": invoice.bill_to_account_id,
            "rate_card": invoice.rate_card,
            "rate_card_version": invoice.version.number,
            "currency": invoice.currency,
            "cycle_end": cycle.end,
            "issue_date": invoice.issue_date,
            "due_date": invoice.due_date,
            "total": invoice.total,
        }
        for column, value in expected.items():
            self._same(invoice, column, record[column], value)
        own = sorted(self.published.lines[invoice.invoice_id], key=lambda line: line["line_number"])
        self.lines += len(own)
        numbers = [line["line_number"] for line in own]
        self._same(invoice, "line numbers", numbers, list(range(1, len(own) + 1)))
        order = [_order(invoice, line) for line in own]
        if order != sorted(order):
            self._same(invoice, "order of its lines", "as numbered", "by kind, service, place in the plan and name")
        self._same(invoice, "total of its lines", sum((line["amount"] for line in own), Fraction(0)), record["total"])
        self._lines(invoice, own)

    def _lines(self, invoice: Invoice, own: list[Record]) -> None:
        worked_out: dict[Key, list[dict[str, Any]]] = defaultdict(list)
        for one in invoice.lines:
            said = one._asdict()
            said["rate_card_version"] = said.pop("version")
            del said["exact"]
            worked_out[one.kind, one.charge, one.plan, one.service_start].append(said)
        for line in own:
            expected = worked_out[line["kind"], line["charge"], line["plan"], line["service_start"]]
            name = f"line {line['line_number']}, {line['kind']} {line['charge']} ({line['plan']})"
            if not expected:
                self._same(invoice, "amount", line["amount"], None, f"{name} is not to be there")
                continue
            for column, value in expected.pop(0).items():
                self._same(invoice, column, line[column], value, name)
        for said in (line for lines in worked_out.values() for line in lines):
            name = f"{said['kind']} {said['charge']} ({said['plan']}) is missing"
            self._same(invoice, "amount", None, said["amount"], name)


def _order(invoice: Invoice, line: Record) -> Key:
    """Where a line stands: fees, what was counted, upgrades, purchases, the limit; the earlier service first.

    The next cycle's fee has its place in the version that prices that cycle. A correction goes by names alone.
    """
    priced_by = (v for v in invoice.card.versions if not invoice.corrects and v.number == line["rate_card_version"])
    charges = (charge for version in priced_by for charge in version.plans.get(line["plan"], ()))
    named = (charge.place for charge in charges if charge.name == line["charge"])
    return (
        ORDER.get(line["kind"], COUNTED),
        line["service_start"],
        0 if line["kind"] in ("upgrade", "one_off", "spending_limit") else next(named, 0),
        line["charge"],
        line["plan"],
        OF_ONE_CHARGE.get(line["kind"], 0),
    )


ORDER, COUNTED = {"recurring": 1, "upgrade": 3, "one_off": 4, "spending_limit": 5}, 2
OF_ONE_CHARGE = {"usage": 0, "minimum": 1, "cap": 2}


def _key(invoice: Invoice) -> Key:
    corrected = invoice.corrects.invoice_id if invoice.corrects else None
    return invoice.kind, invoice.subscription_id, invoice.cycle.start, invoice.issued_as_of, corrected


def _published_key(record: Record) -> Key:
    names = ("kind", "subscription_id", "cycle_start", "issued_as_of", "corrects_invoice_id")
    return tuple(record[name] for name in names)


def _place(invoice: Invoice) -> str:
    of = f"{invoice.subscription_id}, cycle of {invoice.cycle.start}"
    return f"{invoice.invoice_id} ({of})" if invoice.invoice_id else of


def bags(table: str, published: Iterable[Key], worked_out: Iterable[Key], names: tuple[str, ...]) -> list[Finding]:
    """Where two bags of rows differ: rows of one key by their columns, others whole."""
    own, other = Counter(published), Counter(worked_out)
    width = KEYS[table]
    missing: dict[Key, list[Key]] = defaultdict(list)
    for row in (other - own).elements():
        missing[row[:width]].append(row)
    findings: list[Finding] = []
    for row in (own - other).elements():
        place = _said(row[:width], names)
        if not missing[row[:width]]:
            findings.append(Finding(table, place, "is published, and was not worked out"))
            continue
        pairs = zip(names, row, missing[row[:width]].pop(0), strict=True)
        findings += [Finding(table, place, name, _told(name, a), _told(name, b)) for name, a, b in pairs if a != b]
    left = (row for rows_left in missing.values() for row in rows_left)
    return findings + [Finding(table, _said(row, names), "was worked out, and is not published") for row in left]


def _said(row: Key, names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_told(name, value)}" for name, value in zip(names, row, strict=False))


def _told(name: str, value: Any) -> str:
    return instant_text(value) if name.endswith("_at") and value is not None else figure(value)


# How many of the first columns name a row.
KEYS = {
    "usage_history": 5,
    "held_invoices": 3,
    "alerts of limits": 6,
    "alerts of credit": 6,
    "credit_ledger": 6,
    "rejected_rows": 4,
    "balances of feeds": 2,
    "balances of money": 3,
    "runs": 1,
}
HISTORY = (
    "subscription_id",
    "cycle_start",
    "cycle_end",
    "plan",
    "charge",
    "quantity",
    "minimum",
    "shortfall",
    "peak_at",
    "amount",
    "clipped",
)
LIMIT_ALERTS = (
    "run_id",
    "account_id",
    "subscription_id",
    "cycle_start",
    "threshold",
    "limit_amount",
    "reached_at",
    "event_id",
    "currency",
)
CREDIT_ALERTS = ("run_id", "account_id", "subscription_id", "cycle_start", "currency", "invoice_id")
ENTRIES = ("account_id", "currency", "entry_date", "posted_as_of", "kind", "reference", "amount", "balance")
HELD = (
    "kind",
    "subscription_id",
    "cycle_start",
    "run_id",
    "held_since",
    "account_id",
    "rate_card",
    "currency",
    "reason",
    "total",
)
RUNS = ("run_id", "as_of")
REJECTED = ("feed", "file", "row_number", "read_in", "run_id", "status", "reason", "held_since")


def rows(records: Iterable[Record], names: tuple[str, ...]) -> list[Key]:
    """Some columns of published rows."""
    return [tuple(record[name] for name in names) for record in records]


def history_rows(replay: Replay) -> list[Key]:
    """The pages of usage history after the last run."""
    found: list[Key] = []
    for subscription_id, state in replay.states.items():
        for number, page in state.history.items():
            cycle = state.cycles[number].cycle
            found += [(subscription_id, cycle.start, cycle.end, *row) for row in page]
    return found


def held_rows(replay: Replay) -> list[Key]:
    """Invoices and corrections that wait after the last run."""
    found: list[Key] = []
    for state in replay.states.values():
        for (kind, _), held in state.held.items():
            issued = held.invoice.corrects or held.invoice
            found.append(
                (
                    kind,
                    issued.subscription_id,
                    issued.cycle.start,
                    f"{held.run:06d}",
                    held.since,
                    issued.account_id,
                    issued.rate_card,
                    issued.currency,
                    held.reason,
                    held.invoice.total,
                )
            )
    return found


def limit_alert_rows(replay: Replay) -> list[Key]:
    """The alerts of spending limits."""
    return [
        (
            f"{alert.run:06d}",
            alert.account_id,
            alert.subscription_id,
            alert.cycle_start,
            alert.reached.threshold,
            alert.reached.limit,
            alert.reached.at,
            alert.reached.event_id,
            alert.currency,
        )
        for alert in replay.alerts
    ]


def credit_alert_rows(ledger: Ledger) -> list[Key]:
    """The alerts of credit that ran out."""
    return [
        (
            f"{entry.run:06d}",
            entry.account_id,
            entry.invoice.subscription_id,
            entry.invoice.cycle.start,
            entry.currency,
            entry.reference,
        )
        for entry in ledger.entries
        if entry.ran_out and entry.invoice
    ]


def entry_rows(ledger: Ledger) -> list[Key]:
    """The ledger."""
    return [tuple(getattr(entry, name) for name in ENTRIES) for entry in ledger.entries]


@dataclass(frozen=True)
class Listed:
    """How a row is listed, and since which run; of one that waits also since when, be it for another reason."""

    status: str
    reason: str
    run: int
    held_since: date | None


def listed_now(before: dict[Row, Listed], replay: Replay, ledger: Ledger, run: int) -> dict[Row, Listed]:
    """What is refused, waits or is not priced after a run."""
    now = {}
    for row, reason in listed_in(replay, ledger).items():
        said, old = status(row, reason), before.get(row)
        is_as_before = old is not None and (old.status, old.reason) == (said, reason)
        held_since = (old and old.held_since) or replay.known.as_of
        now[row] = Listed(
            said,
            reason,
            old.run if old and is_as_before else run,
            held_since if said == "held" else None,
        )
    return now


def listed_rows(listed: dict[Row, Listed]) -> list[Key]:
    """The rejected rows."""
    return [
        (
            row.feed,
            row.file,
            row.number,
            f"{row.run:06d}",
            f"{one.run:06d}",
            one.status,
            one.reason,
            one.held_since,
        )
        for row, one in listed.items()
    ]
