"""What a night leaves in Prefect's record for people, and what it sends when it failed.

Counts and sums only: no row, no customer's id.
"""

import os
from typing import Any

from prefect import Flow
from prefect.artifacts import create_table_artifact
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.utilities.urls import url_for

from flows.steps import FaultOfOurs, MessagesUnsent
from usage_rating.errors import BadInput, OutputHeld
from usage_rating.report import NightReport


def record_control_totals(report: NightReport) -> None:
    """Table artifact `control-totals`: invoices and money by rate card, currency and kind of this run."""
    create_table_artifact(
        key="control-totals",
        description=f"Issued as of {report.as_of}, {_run_in_words(report)}",
        table=[
            {
                "rate_card": issued.rate_card,
                "currency": issued.currency,
                "kind": issued.kind,
                "invoices": issued.invoices,
                "total": f"{issued.total:f}",  # text: a JSON number would be read back as a float
            }
            for issued in report.invoices
        ],
    )


def record_refused_rows(report: NightReport) -> None:
    """Table artifact `refused-rows`: how many rows of each feed were refused, by status and reason."""
    create_table_artifact(
        key="refused-rows",
        description=f"Refused as of {report.as_of}, {_run_in_words(report)}; the rows are in rejected_rows",
        table=[
            {"feed": refused.feed, "status": refused.status, "reason": refused.reason, "rows": refused.rows}
            for refused in report.refused
        ],
    )


def record_held_invoices(report: NightReport) -> None:
    """Table artifact `held-invoices`: the invoices that wait, in number and money, by reason, kind and currency."""
    create_table_artifact(
        key="held-invoices",
        description=f"Held as of {report.as_of}, {_run_in_words(report)}; they are in held_invoices",
        table=[
            {
                "reason": held.reason,
                "kind": held.kind,
                "currency": held.currency,
                "invoices": held.invoices,
                "total": f"{held.total:f}",
            }
            for held in report.held
        ],
    )


def tell_of_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Sends one message through the notification block the run names, if it names one (a Prefect hook)."""
    slug = flow_run.parameters.get("notification_block")
    if slug is None:
        return
    block: Any = Block.load(slug)  # by type a coroutine too, which it is in async code alone
    with block.raise_on_failure():  # or a refused message would count as sent
        block.notify(
            subject=f"Nightly billing: {flow_run.name} {state.type.value.lower()}",
            body="\n".join(_message(flow_run, state)),
        )


def _message(flow_run: FlowRun, state: State[Any]) -> list[str]:
    folders = f"input {flow_run.parameters.get('input')}, output {flow_run.parameters.get('output')}"
    if state.is_crashed():
        what = "The run's process ended without a word: killed, or out of memory."
    else:
        what = _in_words(state.result(raise_on_failure=False))
    return [what, folders, f"Flow run: {url_for(flow_run) or flow_run.id}"]


def _in_words(fault: object) -> str:
    match fault:
        case BadInput() as bad:
            return f"Bad input, {len(bad.faults)} fault(s), each named in the run's record. Nothing was published."
        case OutputHeld():
            return "Another run holds the output folder. Nothing was published."
        case OSError() as disk:
            kind = os.strerror(disk.errno) if disk.errno else type(disk).__qualname__
            return f"I/O fault ({kind}); the run's record says where."
        case MessagesUnsent() as unsent:
            return str(unsent)
        case FaultOfOurs() as ours:
            return f"A fault of ours ({ours.kind}); the run's record says where."
        case other:
            return f"{type(other).__qualname__}, raised around the steps; the run's record says more."


def _run_in_words(report: NightReport) -> str:
    return f"run {report.run_id}" if report.run_id else "nothing new to publish"
