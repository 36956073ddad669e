"""Which alerts are told, in which words, and what happens to those that do not go out."""

import errno
import json
import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from flows.alerts import PATIENCE, tell_of_alerts
from flows.mail import Mail
from flows.steps import MessagesUnsent
from prefect.blocks.abstract import NotificationError
from prefect.blocks.core import Block
from prefect.blocks.notifications import SlackWebhook
from pydantic import SecretStr

from tests.mail_server import MailServer, mail_server
from usage_rating.tables import TABLES

REQUEST = httpx.Request("POST", "http://127.0.0.1/")


def publish(output: Path, run_id: str, *subscription_ids: str, event_id: str = "e1") -> None:
    """Puts one alert of a run for each subscription where the core publishes them."""
    columns = ", ".join(f"{name} {kind}" for name, kind in TABLES["alerts"].columns.items())
    table = output / "current" / "alerts"
    table.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as engine:
        engine.execute(f"create table alerts ({columns})")
        engine.executemany(
            "insert into alerts by name select $1 as run_id, 'A1' as account_id, $2 as subscription_id, "
            "date '2024-01-05' as cycle_start, 'spending_limit' as kind, 0.9 as threshold, 100 as limit_amount, "
            "timestamptz '2024-01-07 10:00:00+00' as reached_at, $3 as event_id",
            [(run_id, subscription_id, event_id) for subscription_id in subscription_ids],
        )
        engine.table("alerts").write_parquet(str(table / f"{run_id}.parquet"))


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mail_server() as server:
        block = Mail(host="127.0.0.1", port=server.port, security="none", sender="us@a.test", recipient="care@a.test")
        monkeypatch.setattr(Block, "load", lambda slug: block)
        yield server


class Failing:
    """A channel that always fails in one way."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault
        self.tries = 0
        self.raise_on_failure = Mail.raise_on_failure.__get__(self)

    def notify(self, **_: str) -> None:
        self.tries += 1
        raise self.fault


def test_a_message_holds_all_that_was_not_told_of_a_subscription(tmp_path: Path, mails: MailServer) -> None:
    publish(tmp_path, "000001", "S1", "S2")
    publish(tmp_path, "000003", "S1", event_id="e9")
    tell_of_alerts(tmp_path, "mail/care")
    assert [s.split(":")[0] for s in mails.subjects()] == ["Subscription S1", "Subscription S2"]
    body = mails.taken[0].get_content()
    assert "event e1." in body
    assert "event e9." in body
    assert "Found by billing run 000001, 000003." in body
    tell_of_alerts(tmp_path, "mail/care")
    assert len(mails.taken) == 2


def test_alerts_of_a_night_without_a_channel_are_passed_over(tmp_path: Path, mails: MailServer) -> None:
    publish(tmp_path, "000001", "S1")
    tell_of_alerts(tmp_path, None)
    publish(tmp_path, "000002", "S2")
    tell_of_alerts(tmp_path, "mail/care")
    assert mails.subjects() == ["Subscription S2: 90 % of the spending limit reached"]
    lines = (tmp_path / "alerts_told.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"run_id": "000001", "subscription_id": "S1", "through": None},
        {"run_id": "000002", "subscription_id": "S2", "through": "mail/care"},
    ]


def test_what_was_sent_is_noted_before_the_next_is_sent(
    tmp_path: Path, mails: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "000001", "S1", "S2")
    send = Mail.notify

    def notify(block: Mail, body: str, subject: str) -> None:
        if "S2" in subject:
            raise KeyboardInterrupt
        send(block, body, subject)

    monkeypatch.setattr(Mail, "notify", notify)
    with pytest.raises(KeyboardInterrupt):
        tell_of_alerts(tmp_path, "mail/care")
    monkeypatch.setattr(Mail, "notify", send)
    tell_of_alerts(tmp_path, "mail/care")
    assert [s.split(":")[0] for s in mails.subjects()] == ["Subscription S1", "Subscription S2"]


def test_a_block_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(slug: str) -> None:
        raise ValueError(slug)

    monkeypatch.setattr(Block, "load", load)
    publish(tmp_path, "000001", "S1")
    with pytest.raises(MessagesUnsent, match="no notification block 'mail/cair'"):
        tell_of_alerts(tmp_path, "mail/cair")


def test_a_line_that_a_power_failure_cut_does_not_count(tmp_path: Path, mails: MailServer) -> None:
    publish(tmp_path, "000001", "S1", "S2")
    tell_of_alerts(tmp_path, "mail/care")
    told = tmp_path / "alerts_told.jsonl"
    whole = told.read_bytes()
    told.write_bytes(whole[:-5])
    tell_of_alerts(tmp_path, "mail/care")
    assert [s.split(":")[0] for s in mails.subjects()] == ["Subscription S1", "Subscription S2", "Subscription S2"]
    assert told.read_bytes() == whole
    # What was sent twice says so: the same words carry the same id.
    assert mails.taken[1]["Message-ID"] == mails.taken[2]["Message-ID"] != mails.taken[0]["Message-ID"]


def test_an_id_cannot_forge_a_header_or_a_line(tmp_path: Path, mails: MailServer) -> None:
    forged = "S1\r\nBcc: x@b.test\n\nPay to X"
    publish(tmp_path, "000001", forged, "Ärger 7", event_id="e1\nFound by nobody.\u202e")
    tell_of_alerts(tmp_path, "mail/care")
    first, second = mails.taken
    assert first["Subject"].startswith(f"Subscription {forged!r}: 90 %")
    assert first["Bcc"] is None
    lines = [line for mail in mails.taken for line in mail.get_content().splitlines()]
    assert not {line for line in lines if line.startswith(("Pay", "Found by nobody"))}
    assert second["Subject"].startswith("Subscription Ärger 7: 90 %")


@pytest.mark.parametrize(
    ("fault", "words", "passes"),
    [
        (smtplib.SMTPDataError(451, b"Jane Roe"), "SMTPDataError 451", True),
        (smtplib.SMTPDataError(554, b"Jane Roe"), "SMTPDataError 554", False),
        (smtplib.SMTPAuthenticationError(535, b"no"), "SMTPAuthenticationError 535", False),
        (smtplib.SMTPRecipientsRefused({"care@a.test": (450, b"")}), "SMTPRecipientsRefused 450", True),
        (smtplib.SMTPRecipientsRefused({"care@a.test": (550, b"")}), "SMTPRecipientsRefused 550", False),
        (smtplib.SMTPServerDisconnected("gone"), "SMTPServerDisconnected", True),
        (smtplib.SMTPNotSupportedError("no STARTTLS"), "SMTPNotSupportedError", False),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "ConnectionRefusedError", True),
        (TimeoutError("timed out"), "TimeoutError", True),
        (OSError(errno.ENETUNREACH, "unreachable"), "OSError", True),
        (socket.gaierror(socket.EAI_AGAIN, "again"), "gaierror", True),
        (socket.gaierror(socket.EAI_NONAME, "no such host"), "gaierror", False),
        (httpx.ConnectTimeout("slow"), "ConnectTimeout", True),
        (httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(503)), "HTTPStatusError 503", True),
        (httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(404)), "HTTPStatusError 404", False),
        (NotificationError("Jane Roe"), "NotificationError", True),
        (KeyError("Jane Roe"), "KeyError", False),
    ],
)
def test_a_fault_of_the_channel_is_named_and_known_to_pass_or_to_last(
    fault: Exception, words: str, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel: Any = Failing(fault)
    monkeypatch.setattr(Block, "load", lambda slug: channel)
    publish(tmp_path, "000001", *(f"S{number}" for number in range(PATIENCE + 2)))
    with pytest.raises(MessagesUnsent) as unsent:
        tell_of_alerts(tmp_path, "mail/care")
    # A channel that is down is left alone for a while; one that refuses a message may take the next.
    assert channel.tries == (PATIENCE if passes else PATIENCE + 2)
    assert unsent.value.may_pass == passes
    assert str(unsent.value).startswith(f"Messages about alerts could not be sent, 5 of 5: {words}.")


def test_a_block_that_keeps_its_failures_to_itself_is_made_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_listens = SlackWebhook(url=SecretStr("json://127.0.0.1:1"))
    monkeypatch.setattr(Block, "load", lambda slug: nobody_listens)
    publish(tmp_path, "000001", "S1")
    with pytest.raises(MessagesUnsent, match="1 of 1: NotificationError"):
        tell_of_alerts(tmp_path, "slack-webhook/care")
    assert not (tmp_path / "alerts_told.jsonl").read_text()


def test_a_server_without_encryption_gets_no_mail_unless_that_is_allowed(mails: MailServer) -> None:
    block = Mail(host="127.0.0.1", port=mails.port, sender="us@a.test", recipient="care@a.test")
    with pytest.raises(smtplib.SMTPNotSupportedError):
        block.notify("body", "subject")
    assert not mails.taken
