"""The published tables: their columns, types and row order (SPEC, section 5)."""

from dataclasses import dataclass

AMOUNT = "decimal(20, 4)"
EXACT_AMOUNT = "decimal(38, 15)"
QUANTITY = "decimal(28, 6)"
UNIT_PRICE = "decimal(28, 9)"
TEXT = "varchar"
DATE = "date"
INSTANT = "timestamptz"


@dataclass(frozen=True)
class Table:
    """A published table. `order` is total, so that the same rows give the same bytes.

    A table that is only added to gets a file a run, and small ones are gathered into one in time (`night_files`); rows
    of usage_history are written anew where their cycle is corrected. Another table is written whole by every run that
    changes it.
    """

    name: str
    columns: dict[str, str]
    order: tuple[str, ...]
    is_only_added_to: bool = True


TABLES = {
    table.name: table
    for table in (
        Table(
            "invoices",
            {
                "invoice_id": TEXT,
                "invoice_number": "bigint",
                "kind": TEXT,
                "corrects_invoice_id": TEXT,
                "account_id": TEXT,
                "bill_to_account_id": TEXT,
                "subscription_id": TEXT,
                "rate_card": TEXT,
                "rate_card_version": "integer",
                "currency": TEXT,
                "cycle_start": DATE,
                "cycle_end": DATE,
                "issue_date": DATE,
                "issued_as_of": DATE,
                "due_date": DATE,
                "total": AMOUNT,
            },
            ("rate_card", "invoice_number"),
        ),
        Table(
            "invoice_lines",
            {
                "invoice_id": TEXT,
                "line_number": "integer",
                "kind": TEXT,
                "charge": TEXT,
                "plan": TEXT,
                "rate_card_version": "integer",
                "description": TEXT,
                "quantity": QUANTITY,
                "unit_price": UNIT_PRICE,
                "amount": AMOUNT,
                "service_start": DATE,
                "service_end": DATE,
                "evidence": TEXT,
            },
            ("invoice_id", "line_number"),
        ),
        Table(
            "usage_history",
            {
                "subscription_id": TEXT,
                "cycle_start": DATE,
                "cycle_end": DATE,
                "plan": TEXT,
                "charge": TEXT,
                "quantity": QUANTITY,
                "minimum": QUANTITY,
                "shortfall": QUANTITY,
                "peak_at": INSTANT,
                "amount": AMOUNT,
                "clipped": AMOUNT,
            },
            ("subscription_id", "cycle_start", "plan", "charge"),
        ),
        Table(
            "alerts",
            {
                "run_id": TEXT,
                "account_id": TEXT,
                "subscription_id": TEXT,
                "cycle_start": DATE,
                "kind": TEXT,
                "threshold": "decimal(8, 6)",
                "limit_amount": AMOUNT,
                "reached_at": INSTANT,
                "event_id": TEXT,
                "currency": TEXT,
                "invoice_id": TEXT,
            },
            ("subscription_id", "cycle_start", "kind", "limit_amount", "threshold", "invoice_id"),
        ),
        Table(
            "credit_ledger",
            {
                "account_id": TEXT,
                "currency": TEXT,
                "entry_date": DATE,
                "posted_as_of": DATE,
                "kind": TEXT,
                "reference": TEXT,
                "amount": AMOUNT,
                "balance": AMOUNT,
            },
            ("account_id", "currency", "entry_date", "kind", "reference"),
        ),
        Table(
            "rejected_rows",
            {
                "run_id": TEXT,
                "feed": TEXT,
                "file": TEXT,
                "row_number": "bigint",
                "status": TEXT,
                "reason": TEXT,
                "detail": TEXT,
                "raw": TEXT,
                "read_in": TEXT,
                "held_since": DATE,
            },
            ("feed", "read_in", "file", "row_number", "status", "reason"),
            is_only_added_to=False,
        ),
        Table(
            "held_invoices",
            {
                "run_id": TEXT,
                "held_since": DATE,
                "invoice_id": TEXT,
                "kind": TEXT,
                "account_id": TEXT,
                "subscription_id": TEXT,
                "rate_card": TEXT,
                "currency": TEXT,
                "cycle_start": DATE,
                "total": AMOUNT,
                "reason": TEXT,
                "detail": TEXT,
            },
            ("invoice_id",),
            is_only_added_to=False,
        ),
        Table(
            "balances",
            {
                "run_id": TEXT,
                "feed": TEXT,
                **dict.fromkeys(
                    (
                        "rows_in",
                        "rated",
                        "not_due",
                        "duplicate",
                        "superseded",
                        "voided",
                        "unpriced",
                        "rejected",
                        "held",
                    ),
                    "bigint",
                ),
                "currency": TEXT,
                "charge_kind": TEXT,
                "denominator": "integer",
                "before_numerator": EXACT_AMOUNT,
                "shortfall": EXACT_AMOUNT,
                "capped": EXACT_AMOUNT,
                "clipped": EXACT_AMOUNT,
                "rounding_numerator": EXACT_AMOUNT,
                "billed_before": AMOUNT,
                "billed": AMOUNT,
            },
            ("run_id", "feed", "currency", "charge_kind", "denominator"),
        ),
        Table(
            "runs",
            {
                "run_id": TEXT,
                "as_of": DATE,
                "input_files_hash": TEXT,
                "rate_cards_hash": TEXT,
                "code_hash": TEXT,
                "tables_hash": TEXT,
            },
            ("run_id",),
        ),
    )
}

# What the invoices rest on, kept so that a later row cannot move a cycle that is already invoiced.
ISSUED_CYCLES = ", ".join(
    f"{name} {kind}"
    for name, kind in {
        "invoice_id": TEXT,
        "kind": TEXT,
        "subscription_id": TEXT,
        "cycle_start": DATE,
        "cycle_end": DATE,
        "starts_at": INSTANT,
        "ends_at": INSTANT,
        "rate_card": TEXT,
        "rate_card_version": "integer",
        "issued_in_run": "integer",
        "started_at": INSTANT,
        "account_id": TEXT,
        "time_zone": TEXT,
        "card_time_zone": TEXT,
        "account_created_at": INSTANT,
        "account_updated_at": INSTANT,
        "account_revision": "bigint",
    }.items()
)
