"""The whole of it: reads what is there, runs the nights again, compares, and says what agrees and what does not."""

import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from usage_rating.verification import balances, comparison
from usage_rating.verification.cards import Card, Version, read_version
from usage_rating.verification.comparison import Books, Finding
from usage_rating.verification.feeds import FEEDS, Row
from usage_rating.verification.inputs import UNREADABLE, find, rows_of, sha256_of
from usage_rating.verification.ledger import Ledger
from usage_rating.verification.manifests import Chain, InputRecord, Manifest, check_files, read_chain
from usage_rating.verification.published import IncompleteError, Published, Record, read_published
from usage_rating.verification.runs import Invoice, Night, Replay
from usage_rating.verification.values import read_instant

Announce = Callable[[str, int, int], None]


class BadUse(Exception):  # noqa: N818  (it is the call's error)
    """There is nothing to verify, or no such run or invoice."""


@dataclass(frozen=True)
class Scope:
    """What is looked at: everything, one run, one invoice, or a sample of subscriptions."""

    run: int | None = None
    invoice: str | None = None
    sample: int | None = None
    seed: int = 1


@dataclass
class Verdict:
    """What was looked at, and every difference."""

    output: str
    scope: str
    runs: int = 0
    files: int = 0
    inputs: int = 0
    rows: int = 0
    invoices: int = 0
    lines: int = 0
    others: dict[str, int] = field(default_factory=dict)
    totals: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether everything that was looked at agrees."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {"agrees": self.agrees, **asdict(self)}


@dataclass
class Approvals:
    """What persons let pass: an invoice at a total, or a listing; an invoice's is spent once it is issued."""

    invoices: dict[str, set[Fraction]] = field(default_factory=dict)
    snapshots: set[int] = field(default_factory=set)


def verify(input_folder: Path, output: Path, scope: Scope, announce: Announce = lambda *_: None) -> Verdict:
    """Works everything out anew.

    :raises BadUse: the output folder has no published night, or there is no such run or invoice
    """
    if not (output / "current" / "manifests").is_dir():
        raise BadUse(f"{output}: has no published night; `usage-rating run` publishes one.")
    if not input_folder.is_dir():
        raise BadUse(f"{input_folder}: is not a folder.")
    chain = read_chain(output)
    verdict = Verdict(str(output), _told(scope))
    verdict.files = check_files(chain)
    try:
        published = read_published(chain.night, list(chain.files()))
    except IncompleteError as fault:
        chain.damage.append(f"{fault}.")
        published = None
    except (OSError, ValueError) as fault:
        chain.damage.append(f"published tables: cannot be read ({type(fault).__name__}).")
        published = None
    if published is not None:
        _Verification(input_folder, output, scope, chain, published, verdict, announce).run()
    verdict.findings = [Finding("files", *damage.split(": ", 1)) for damage in chain.damage] + verdict.findings
    return verdict


def _told(scope: Scope) -> str:
    if scope.invoice:
        return f"invoice {scope.invoice}"
    said = f"run {scope.run:06d}" if scope.run else "all runs"
    return f"{said}, a sample of {scope.sample} subscriptions (seed {scope.seed})" if scope.sample else said


@dataclass
class _Verification:
    input_folder: Path
    output: Path
    scope: Scope
    chain: Chain
    published: Published
    verdict: Verdict
    announce: Announce
    approvals: Approvals = field(default_factory=Approvals)
    versions: dict[tuple[str, str], Version | None] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)
    listed: dict[Row, comparison.Listed] = field(default_factory=dict)
    card_files: tuple[dict[str, Path], dict[str, Version]] | None = None
    as_of: date | None = field(init=False)
    invoice_id: str | None = field(init=False)
    wanted: frozenset[str] | None = field(init=False)

    def __post_init__(self) -> None:
        self.as_of = self._as_of()
        self.invoice_id = self._invoice_id()
        self.wanted = self._wanted(self.invoice_id)

    def run(self) -> None:
        """Every run in turn, then the tables as they stand."""
        manifests, wanted = self.chain.manifests, self.wanted
        replay, ledger, books = Replay(wanted, is_approved=self._is_approved), Ledger(), Books(self.published)
        worked_out: list[Invoice] = []
        for place, manifest in enumerate(manifests):
            self.announce(f"run {manifest.run_id}", place, len(manifests))
            issued = replay.run(self._night(manifest))
            books.match(issued)
            self._spend(issued)
            for invoice in issued:
                if invoice.kind == "cycle":
                    replay.bills[invoice.account_id, invoice.rate_card].append(invoice)
            if wanted is None:
                ledger.post(replay.known, issued, manifest.run_number)
                self.listed = comparison.listed_now(self.listed, replay, ledger, manifest.run_number)
                books.check_numbers(issued)
            books.compare([invoice for invoice in issued if self._is_meant(invoice)])
            worked_out += issued
        self.announce("comparing", len(manifests), len(manifests))
        books.left(self._is_wanted)
        self._tables(replay, ledger, books)
        self._money(worked_out, books)
        verdict = self.verdict
        verdict.findings += books.findings
        verdict.findings += [Finding("rate_cards", *said.split(": ", 1)) for said in dict.fromkeys(replay.unpriced)]
        verdict.runs, verdict.invoices, verdict.lines = len(manifests), books.invoices, books.lines
        totals: dict[str, Fraction] = {}
        for invoice in (one for one in worked_out if self._is_meant(one)):
            totals[invoice.currency] = totals.get(invoice.currency, Fraction(0)) + invoice.total
        verdict.totals = {currency: comparison.figure(total) for currency, total in sorted(totals.items())}
        if self.invoice_id:
            verdict.findings = [one for one in verdict.findings if one.invoice_id in ("", self.invoice_id)]

    # ---- what is looked at

    def _as_of(self) -> date | None:
        """The date of the one run that is asked for: what is published from that date has to be worked out in it."""
        if self.scope.run is None:
            return None
        asked = [manifest for manifest in self.chain.manifests if manifest.run_number == self.scope.run]
        if not asked:
            last = len(self.chain.manifests)
            raise BadUse(f"{self.output}: there is no run {self.scope.run}; the last one is {last}.")
        return date.fromisoformat(asked[0].as_of)

    def _invoice_id(self) -> str | None:
        asked = self.scope.invoice
        if asked is None:
            return None
        found = [i for i, r in self.published.invoices.items() if asked in (i, str(r["invoice_number"]))]
        if not found:
            raise BadUse(f"{self.output}: there is no invoice {asked}.")
        if len(found) > 1:
            raise BadUse(f"{self.output}: {asked} is the number of several invoices: {', '.join(sorted(found))}.")
        return found[0]

    def _wanted(self, invoice_id: str | None) -> frozenset[str] | None:
        """The subscriptions to work out: whole accounts, since a bound looks at all bills of one."""
        invoices = list(self.published.invoices.values())
        if invoice_id is not None:
            accounts = {self.published.invoices[invoice_id]["account_id"]}
        elif self.scope.sample is not None:
            there = sorted({record["subscription_id"] for record in invoices})
            drawn = set(random.Random(self.scope.seed).sample(there, min(self.scope.sample, len(there))))  # noqa: S311
            accounts = {record["account_id"] for record in invoices if record["subscription_id"] in drawn}
        else:
            return None
        return frozenset(record["subscription_id"] for record in invoices if record["account_id"] in accounts)

    def _is_meant(self, invoice: Invoice) -> bool:
        if self.invoice_id is not None:
            return invoice.invoice_id == self.invoice_id
        return self.scope.run is None or invoice.run == self.scope.run

    def _is_wanted(self, record: Record) -> bool:
        if self.invoice_id is not None:
            return bool(record["invoice_id"] == self.invoice_id)
        if self.wanted is not None and record["subscription_id"] not in self.wanted:
            return False
        return self.as_of is None or bool(record["issued_as_of"] == self.as_of)

    # ---- what a run had at hand

    def _night(self, manifest: Manifest) -> Night:
        cards = self._cards(manifest)
        rows = [row for record in manifest.inputs for row in self._rows(record)]
        policies = manifest.policies
        window = policies.get("correction_window")
        if window is not None and self.wanted is not None and any(r.feed == "cart_snapshots" for r in self._listings()):
            raise BadUse("A listing that comes late is judged by everybody's closed books: verify all, or a run.")
        return Night(
            manifest.run_number,
            date.fromisoformat(manifest.as_of),
            rows,
            cards,
            Fraction(policies.get("min_snapshot_share", "0.5")),
            frozenset(self.approvals.snapshots),
            Fraction(policies["max_change"]) if policies.get("max_change") else None,
            None if window is None else int(window),
        )

    def _listings(self) -> Iterator[InputRecord]:
        return (record for manifest in self.chain.manifests for record in manifest.inputs)

    def _rows(self, record: InputRecord) -> Iterator[Row]:
        if (record.feed, record.sha256) in self.seen:
            return
        self.seen.add((record.feed, record.sha256))
        self.verdict.inputs += 1
        is_approval = record.feed not in FEEDS
        path, is_same = find(self.output if is_approval else self.input_folder, record.name, record.sha256)
        if not is_same:
            what = "is missing" if path is None else "has changed"
            self.chain.damage.append(f"{record.name}: {what} since run {record.run_number:06d} took it in.")
        if path is None:
            return
        try:
            if is_approval:
                self._approve(path)
                return
            for row in rows_of(path, record, self.wanted):
                self.verdict.rows += 1
                yield row
        except UNREADABLE as fault:
            self.chain.damage.append(f"{record.name}: cannot be read ({type(fault).__name__}).")

    def _approve(self, path: Path) -> None:
        with path.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                if row["invoice_id"]:
                    self.approvals.invoices.setdefault(row["invoice_id"], set()).add(Fraction(row["total"]))
                if row["snapshot_at"]:
                    self.approvals.snapshots.add(read_instant(row["snapshot_at"]))

    def _cards(self, manifest: Manifest) -> dict[str, Card]:
        cards: dict[str, Card] = {}
        for name, sha256 in sorted(manifest.rate_cards.items()):
            if (name, sha256) not in self.versions:
                self.versions[name, sha256] = self._version(name, sha256, manifest.run_id)
            version = self.versions[name, sha256]
            if version:
                cards.setdefault(version.rate_card, Card()).versions.append(version)
        for card in cards.values():
            card.versions.sort(key=lambda version: version.effective_from)
        return cards

    def _version(self, name: str, sha256: str, run_id: str) -> Version | None:
        """The version of a hash; where its file has changed, what now says it is that version."""
        found, by_name = self._card_files()
        if sha256 in found:
            return self._read_card(found[sha256])
        what = "has changed" if name in by_name else "is missing"
        self.chain.damage.append(f"rate_cards/, {name}: {what} since run {run_id}, which billed by it.")
        return by_name.get(name)

    def _card_files(self) -> tuple[dict[str, Path], dict[str, Version]]:
        if self.card_files is None:
            paths = [path for path in sorted((self.input_folder / "rate_cards").rglob("*")) if path.is_file()]
            read = [version for path in paths if (version := self._read_card(path, is_needed=False))]
            by_name = {f"{version.rate_card} v{version.number}": version for version in read}
            self.card_files = {sha256_of(path): path for path in paths}, by_name
        return self.card_files

    def _read_card(self, path: Path, *, is_needed: bool = True) -> Version | None:
        try:
            return read_version(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError) as fault:
            if is_needed:
                self.chain.damage.append(f"{path.name}: is no rate card ({type(fault).__name__}).")
            return None

    def _is_approved(self, invoice: Invoice) -> bool:
        """Whether somebody let it pass at just this total; of a correction the id is of what it corrects."""
        if invoice.corrects:
            own = {invoice.corrects.invoice_id}
        else:
            names = ("kind", "subscription_id", "cycle_start")
            said = invoice.kind, invoice.subscription_id, invoice.cycle.start
            own = {i for i, r in self.published.invoices.items() if tuple(r[name] for name in names) == said}
        return any(invoice.total in self.approvals.invoices.get(one, ()) for one in own)

    def _spend(self, issued: list[Invoice]) -> None:
        for invoice in issued:
            self.approvals.invoices.pop(invoice.corrects.invoice_id if invoice.corrects else invoice.invoice_id, None)

    # ---- the other tables

    def _money(self, worked_out: list[Invoice], books: Books) -> None:
        """The balances of money of the runs that are looked at; versions before them kept none."""
        records = self.published.tables["balances"]
        since = min((record["run_id"] for record in records), default=None)
        if self.wanted is not None or since is None:
            return
        asked = [m.run_id for m in self.chain.manifests if m.run_id >= since and self.scope.run in (None, m.run_number)]
        own = [record for record in records if record["feed"] is None and record["run_id"] in asked]
        issued = [invoice for invoice in worked_out if f"{invoice.run:06d}" in asked]
        published = balances.published_money(own)
        self.verdict.others["balances of money"] = len(published)
        books.findings += comparison.bags(
            "balances of money", published, balances.money_rows(issued), balances.MONEY_NAMES
        )

    def _tables(self, replay: Replay, ledger: Ledger, books: Books) -> None:
        wanted = self.wanted
        if self.invoice_id is not None or self.as_of is not None:
            return
        tables = self.published.tables

        def own(table: str, kind: str = "") -> list[Record]:
            records = tables[table] if wanted is None else [r for r in tables[table] if r["subscription_id"] in wanted]
            return [record for record in records if not kind or record["kind"] == kind]

        compared = {
            "usage_history": (own("usage_history"), comparison.history_rows(replay), comparison.HISTORY),
            "held_invoices": (
                own("held_invoices"),
                comparison.held_rows(replay),
                comparison.HELD,
            ),
            "alerts of limits": (
                own("alerts", "spending_limit"),
                comparison.limit_alert_rows(replay),
                comparison.LIMIT_ALERTS,
            ),
        }
        if wanted is None:
            credit = own("alerts", "credit_exhausted")
            compared["alerts of credit"] = credit, comparison.credit_alert_rows(ledger), comparison.CREDIT_ALERTS
            compared["credit_ledger"] = tables["credit_ledger"], comparison.entry_rows(ledger), comparison.ENTRIES
            listed = comparison.listed_rows(self.listed)
            compared["rejected_rows"] = tables["rejected_rows"], listed, comparison.REJECTED
            if tables["balances"]:
                run_id, outcomes = self.chain.manifests[-1].run_id, balances.outcomes_of(replay, ledger)
                last = [one for one in tables["balances"] if one["feed"] is not None and one["run_id"] == run_id]
                of_feeds = balances.feed_rows(run_id, outcomes, replay, ledger)
                compared["balances of feeds"] = last, of_feeds, balances.FEED_NAMES
            runs = [(manifest.run_id, date.fromisoformat(manifest.as_of)) for manifest in self.chain.manifests]
            compared["runs"] = tables["runs"], runs, comparison.RUNS
        for table, (records, worked_out, names) in compared.items():
            self.verdict.others[table] = len(records)
            books.findings += comparison.bags(table, comparison.rows(records, names), worked_out, names)
