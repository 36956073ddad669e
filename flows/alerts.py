"""Tells of alerts: one message a subscription, through a notification block, until each was told once."""

import smtplib
import socket
from dataclasses import dataclass, fields
from datetime import UTC
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from prefect.blocks.abstract import NotificationError
from prefect.blocks.core import Block

import flows.mail  # noqa: F401  (a block is loaded by its type's name, which this makes known)
from flows.steps import MessagesUnsent, may_pass
from flows.told import Found, Told
from usage_rating.frames import frame
from usage_rating.report import Alert

COLUMNS = [column.name for column in fields(Alert)]
PATIENCE = 3  # messages in a row that an ailing channel did not take; after them the rest waits for the next try


@dataclass(frozen=True)
class Message:
    """What is to be told of one subscription, by one run or by several whose messages did not go out."""

    found: list[Found]
    subject: str
    body: str


def tell_of_alerts(output: Path, slug: str | None) -> None:
    """Sends what is published in `alerts` and was not told yet, and notes each message before the next is sent.

    A run that dies between publishing and telling thus leaves its alerts to the next one. A message that was sent and
    could not be noted any more (the process was killed, the disk was full) is sent again.

    :param slug: the notification block as `type/name`; None passes the alerts over, for good
    :raises MessagesUnsent: some could not be sent, after trying the others
    """
    told = Told(output)
    with told.hold() as told_before:
        messages = _messages(output, told_before)
        if slug is None:
            told.note((found for message in messages for found in message.found), None)
        else:
            _send(messages, told, slug)


def _send(messages: list[Message], told: Told, slug: str) -> None:
    block = _load(slug, len(messages))
    faults: list[Exception] = []
    sent = passing_in_a_row = 0
    for message in messages:
        try:
            with block.raise_on_failure():  # or a refused message would count as sent
                block.notify(subject=message.subject, body=message.body)
        except Exception as fault:  # each type of block has its own
            faults.append(fault)
            passing_in_a_row = passing_in_a_row + 1 if _may_pass(fault) else 0
            if passing_in_a_row == PATIENCE:
                break
        else:
            told.note(message.found, slug)
            sent += 1
            passing_in_a_row = 0
    if faults:
        why = ", ".join(sorted({_in_words(fault) for fault in faults}))
        raise MessagesUnsent(len(messages) - sent, len(messages), why, may_pass=any(map(_may_pass, faults)))


def _load(slug: str, messages: int) -> Any:
    try:
        return Block.load(slug)  # by type a coroutine too, which it is in async code alone
    except ValueError:
        why = f"the server has no notification block {slug!r}; name one of its blocks as type/name"
        raise MessagesUnsent(messages, messages, why, may_pass=False) from None


def _may_pass(fault: Exception) -> bool:
    match fault:
        case smtplib.SMTPResponseException():
            return 400 <= fault.smtp_code < 500  # RFC 5321: "transient", and 5xx "permanent"
        case smtplib.SMTPRecipientsRefused():
            return all(400 <= code < 500 for code, _ in fault.recipients.values())
        case httpx.HTTPStatusError():
            return fault.response.status_code == httpx.codes.TOO_MANY_REQUESTS or fault.response.is_server_error
        case socket.gaierror():
            return fault.errno == socket.EAI_AGAIN
        # Blocks that send through Apprise say only that they failed, so their faults get the benefit of the doubt.
        case smtplib.SMTPServerDisconnected() | httpx.TransportError() | NotificationError():
            return True
        case _:
            return may_pass(fault)


def _in_words(fault: Exception) -> str:
    """The kind of fault and its number: what a channel answers may quote the message."""
    match fault:
        case smtplib.SMTPResponseException():
            number: object = fault.smtp_code
        case httpx.HTTPStatusError():
            number = fault.response.status_code
        case smtplib.SMTPRecipientsRefused():
            number = next(iter(fault.recipients.values()))[0]
        case _:
            number = ""
    return f"{type(fault).__qualname__} {number}".rstrip()


def _messages(output: Path, told: set[Found]) -> list[Message]:
    """A message a subscription, in order of subscriptions, each with its alerts in order of runs."""
    rows = pa.Table.from_pandas(frame(output, "alerts")).to_pylist()
    alerts = [(row["run_id"], Alert(**{name: row[name] for name in COLUMNS})) for row in rows]
    untold = [(run_id, alert) for run_id, alert in alerts if Found(run_id, alert.subscription_id) not in told]
    untold.sort(key=lambda found: (found[1].subscription_id, found[0]))
    return [
        _message(subscription_id, list(found))
        for subscription_id, found in groupby(untold, lambda found: found[1].subscription_id)
    ]


def _message(subscription_id: str, found: list[tuple[str, Alert]]) -> Message:
    run_ids = list(dict.fromkeys(run_id for run_id, _ in found))
    sentences = [_sentence(alert) for _, alert in found]
    runs = f"Found by billing run {', '.join(run_ids)}."
    return Message(
        found=[Found(run_id, subscription_id) for run_id in run_ids],
        subject=f"Subscription {_shown(subscription_id)}: {_headline(found[-1][1])}",
        body="\n\n".join([f"Subscription {_shown(subscription_id)}", *sentences, runs]) + "\n",
    )


def _headline(alert: Alert) -> str:
    if alert.threshold is None:
        return "prepaid credit below 0"
    return f"{_percent(alert.threshold)} of the spending limit reached"


def _sentence(alert: Alert) -> str:
    cycle = f"Account {_shown(alert.account_id)}, billing cycle from {alert.cycle_start}:"
    if alert.threshold is None:
        return f"{cycle} with this cycle's invoice the balance of the prepaid credit fell below 0."
    assert alert.limit_amount is not None
    assert alert.reached_at is not None
    at = alert.reached_at.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
    limit = f"{_plain(alert.limit_amount)} {alert.currency}"
    return (
        f"{cycle} {_percent(alert.threshold)} of the spending limit of {limit} was reached "
        f"on {at} UTC, by usage event {_shown(str(alert.event_id))}."
    )


def _percent(share: Decimal) -> str:
    return f"{_plain(share * 100)} %"


def _plain(figure: Decimal) -> str:
    return f"{figure.normalize():f}"


def _shown(identifier: str) -> str:
    """An id as it is, unless it would break the line or hide something: then with its odd characters spelled out."""
    return identifier if identifier.isprintable() else ascii(identifier)
