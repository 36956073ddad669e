"""What was published, read for a question: an invoice by its id or number, its lines, who issued it."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from usage_rating.errors import BadInput
from usage_rating.manifests import Chain, Manifest

Record = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT = "TIMESTAMP WITH TIME ZONE"


def records(rows: duckdb.DuckDBPyRelation) -> list[Record]:
    """Rows by column; instants know UTC, decimals stay exact.

    Not by way of Arrow: to load it, and what it loads in turn, takes longer than to answer.
    """
    instants = [name for name, kind in zip(rows.columns, rows.types, strict=True) if kind == INSTANT]
    columns = (
        duckdb.FunctionExpression("epoch_us", duckdb.ColumnExpression(name)).alias(name)
        if name in instants
        else duckdb.ColumnExpression(name)
        for name in rows.columns
    )
    found = [dict(zip(rows.columns, row, strict=True)) for row in rows.select(*columns).fetchall()]
    for row in found:
        row |= {name: EPOCH + timedelta(microseconds=row[name]) for name in instants if row[name] is not None}
    return found


@dataclass(frozen=True)
class Published:
    """The published tables of the last night, open in an engine."""

    engine: duckdb.DuckDBPyConnection
    chain: Chain

    def invoice(self, name: str) -> Record:
        """An invoice by its id, its number, or rate card and number as `CARD/NUMBER`.

        :raises BadInput: there is none, or several cards have that number
        """
        card, _, number = name.rpartition("/")
        if number.isascii() and number.isdigit() and int(number) < 2**63:
            found = self._invoices(
                "invoice_number = $number and rate_card = coalesce(nullif($card, ''), rate_card)",
                {"number": int(number), "card": card},
            )
        else:
            found = self._invoices("invoice_id = $name", {"name": name})
        if not found:
            raise BadInput(
                [f"{name}: no such invoice was issued. Give an invoice_id of the table invoices, or an invoice_number."]
            )
        if len(found) > 1:
            ways = "; ".join(f"{each['rate_card']}/{number} is {each['invoice_id']}" for each in found)
            raise BadInput([f"{name}: each rate card numbers its own invoices, and several have this one: {ways}."])
        return found[0]

    def invoices_of(self, subscription_id: str) -> list[Record]:
        """Every invoice of a subscription, in the order of their cycles and runs."""
        return self._invoices("subscription_id = $subscription_id", {"subscription_id": subscription_id})

    def lines(self, invoice_id: str) -> list[Record]:
        """The lines of an invoice."""
        return self._rows(
            "select * from invoice_lines_before where invoice_id = $invoice_id order by line_number",
            {"invoice_id": invoice_id},
        )

    def alerts(self, subscription_id: str, cycle_start: object) -> list[Record]:
        """What was told of a cycle's spending limit."""
        return self._rows(
            "select run_id, threshold, limit_amount, reached_at, event_id from alerts_before "
            "where kind = 'spending_limit' and subscription_id = $subscription_id and cycle_start = $cycle_start "
            "order by reached_at, limit_amount, threshold",
            {"subscription_id": subscription_id, "cycle_start": cycle_start},
        )

    def ledger(self, reference: str) -> list[Record]:
        """What an invoice or a top-up did to prepaid credit."""
        return self._rows(
            "select account_id, currency, entry_date, posted_as_of, kind, amount, balance from credit_ledger_before "
            "where reference = $reference order by posted_as_of, entry_date",
            {"reference": reference},
        )

    def listed(self, feed: str, file: str, row_number: int) -> list[Record]:
        """What is said of a row that is refused, waits or is not priced."""
        return self._rows(
            "select status, reason, detail, raw, read_in, held_since from rejected_rows_before "
            "where feed = $feed and file = $file and row_number = $row_number order by read_in",
            {"feed": feed, "file": file, "row_number": row_number},
        )

    def run_of(self, invoice: Record) -> Manifest:
        """The run that issued an invoice. Of a correction its id tells: it follows from the run."""
        if invoice["kind"] != "correction":
            values = {"invoice_id": invoice["invoice_id"]}
            (issued,) = self._rows("select issued_in_run from issued_cycles where invoice_id = $invoice_id", values)
            return self.chain.manifests[int(issued["issued_in_run"]) - 1]
        for manifest in self.chain.manifests:
            said = f"correction {manifest.run_id} {invoice['corrects_invoice_id']}"
            if invoice["invoice_id"] == "in_" + hashlib.sha256(said.encode()).hexdigest()[:32]:
                return manifest
        raise AssertionError(f"no run has issued {invoice['invoice_id']}")

    def _invoices(self, condition: str, values: dict[str, Any]) -> list[Record]:
        return self._rows(
            f"select * from invoices_before where {condition} "
            "order by issued_as_of, cycle_start, rate_card, invoice_number",
            values,
        )

    def _rows(self, query: str, values: dict[str, Any]) -> list[Record]:
        return records(self.engine.sql(query, params=values))
