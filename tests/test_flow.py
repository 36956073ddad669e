"""The nightly flow on a real Prefect server: its deployment, the server's own record, retries, notifications.

One server serves all tests, and all runs are started at once: each test reads what became of one of them.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ruamel.yaml import YAML

from tests.mail_server import MailServer, mail_server
from usage_rating.frames import frame
from usage_rating.night import Night, run_night
from usage_rating.settings import Settings

ROOT = Path(__file__).parent.parent
STEPS = ("ingest", "rate", "publish", "record", "notify")
ENDED = ("COMPLETED", "FAILED", "CRASHED")
LONGEST_WAIT = 300  # seconds; a busy machine still passes, as the server alone may wait 60 for its database's lock
CUSTOMER = "Jane Roe of Leeds"
T = TypeVar("T")

RATE_CARD = """\
rate_card: carts
version: 1
effective_from: 2024-01-01
reason: First price list.
currency: USD
time_zone: UTC
cycle: {every: 1 month, anchor: account_created}
grace_days: 0
payment_days: 0
rounding: half_up
settlement: invoice
plans:
  basic:
    standard_carts: {kind: peak, category: Standard, price: {per_unit: "40.00"}}
"""
EXPORTS = {
    "rate_cards/carts.v1.yaml": RATE_CARD,
    "accounts/a.csv": f"account_id,created_at,time_zone,name\nA1,2024-01-05T12:00,America/New_York,{CUSTOMER}\n",
    "subscriptions/s.csv": "subscription_id,effective_at,account_id,rate_card,plan,event\n"
    "S1,2024-01-05T12:00,A1,carts,basic,started\n",
    "cart_events/e.csv": "subscription_id,cart_id,occurred_at,category,state\n"
    "S1,c1,2024-01-06T10:00,Standard,active\n"
    "S1,c2,2024-01-07T10:00,Standard,active\n"
    f"S1,c3,{CUSTOMER},Standard,active\n"
    "S9,c4,2024-01-07,Standard,active\n",
}
TOO_MANY_REJECTED = EXPORTS | {
    "cart_events/e.csv": "subscription_id,cart_id,occurred_at,category,state\n"
    + f"S1,c1,{CUSTOMER},Standard,active\n" * 25
}

# Three subscriptions with something to tell: limits reached in part and wholly, credit that ran out.
WITH_ALERTS = {
    "rate_cards/apps.v1.yaml": """\
rate_card: apps
version: 1
effective_from: 2024-01-01
reason: First price list.
currency: USD
time_zone: UTC
cycle: {every: 30 days, anchor: subscription_started}
grace_days: 0
payment_days: 0
rounding: half_up
settlement: invoice
spending_limit: {default: "100.00", alert_at: ["0.9", "1"]}
plans:
  basic:
    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "1.00"}}
""",
    "rate_cards/orders.v1.yaml": """\
rate_card: orders
version: 1
effective_from: 2024-01-01
reason: First price list.
currency: INR
time_zone: Asia/Kolkata
cycle: {every: 1 month, anchor: calendar}
grace_days: 0
payment_days: 0
rounding: half_up
settlement: prepaid_credits
plans:
  standard:
    orders: {kind: usage, meter: orders, aggregation: sum, price: {per_unit: "3"}, minimum: {quantity: "200"}}
""",
    "accounts/a.csv": f"account_id,created_at,name\nA1,2024-01-05,{CUSTOMER}\nA2,2024-01-05,{CUSTOMER}\n",
    "subscriptions/s.csv": "subscription_id,effective_at,account_id,rate_card,plan,event\n"
    "sub-1,2024-01-15,A1,apps,basic,started\n"
    "sub-2,2024-01-15,A1,apps,basic,started\n"
    "sub-3,2024-01-15,A2,orders,standard,started\n",
    "usage/u.csv": "subscription_id,event_id,meter,quantity,occurred_at\n"
    "sub-1,event-1,messages,60,2024-01-17T10:00\n"
    "sub-1,event-2,messages,35,2024-01-19T10:00\n"
    "sub-1,event-3,messages,60,2024-01-19T12:30:00.5\n"
    "sub-2,event-4,messages,95.5,2024-01-20T08:00\n",
}

# Runs the flow's own command in a process where steps of the night fail once each.
WITH_A_FAULT = """\
import errno, os, signal, sys
from usage_rating.night import Night

steps_to_fail, fault = sys.argv[1].split(",") if sys.argv[1] else [], sys.argv[2]

def make_faulty(step):
    whole = getattr(Night, step)

    def faulty(night):
        result = whole(night)  # the fault comes late: all that the first attempt left behind is in the retry's way
        if step in steps_to_fail:
            steps_to_fail.remove(step)
            raise eval(fault)
        return result

    setattr(Night, step, faulty)

for step in list(steps_to_fail):
    make_faulty(step)
from flows import steps
steps.RETRIES_AFTER[:] = [0.2]
import flows.nightly  # as `python -m flows.nightly` does
from flows.command import main
sys.exit(main(sys.argv[3:]))
"""

# Tells of a crash the way the process that serves a flow does, once the run's own process is gone.
TELL_OF_A_CRASH = """\
import sys
from uuid import uuid4
from flows.nightly import nightly
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed

run = FlowRun(flow_id=uuid4(), name="killed-night", parameters={"notification_block": sys.argv[1]})
for hook in nightly.on_crashed_hooks:
    hook(flow=nightly, flow_run=run, state=Crashed())
"""


@dataclass
class Api:
    """The Prefect server's HTTP API."""

    port: int

    def get(self, path: str) -> Any:
        """Reads one object."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Creates or finds objects."""
        return self._ask("POST", path, json.dumps(body))

    def _ask(self, method: str, path: str, body: str | None) -> Any:
        """Asks again, as Prefect's own client does, while the server's database is busy (503)."""
        status, text = wait_for(lambda: self._answer_unless_busy(method, path, body), path)
        assert status < 300, f"{method} {path}: {status} {text}"
        return json.loads(text)

    def _answer_unless_busy(self, method: str, path: str, body: str | None) -> tuple[int, str] | None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_WAIT)
        try:
            connection.request(method, f"/api{path}", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        return None if answer.status == 503 else (answer.status, text)

    def of_run(self, kind: str, flow_run_id: str) -> list[Any]:
        """All task runs or artifacts of one flow run."""
        found = self.post(f"/{kind}/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})
        assert isinstance(found, list)
        return found

    def run_into(self, output: Path) -> Any:
        """The last flow run that was told to write this folder."""
        runs = self.post("/flow_runs/filter", {"sort": "START_TIME_ASC"})
        *_, run = (run for run in runs if run["parameters"].get("output") == str(output))
        return run

    def end_of(self, flow_run_id: str) -> Any:
        """A flow run once it has ended."""

        def ended() -> Any:
            run = self.get(f"/flow_runs/{flow_run_id}")
            return run if run["state_type"] in ENDED else None

        return wait_for(ended, f"the end of flow run {flow_run_id}")


@dataclass
class Nights:
    """Every run the tests look at, started and on its way."""

    api: Api
    folder: Path
    env: dict[str, str]
    stack: ExitStack
    messages: list[dict[str, str]]
    mails: MailServer
    webhook: str
    runs: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str, source: str = "exports", output: str | None = None) -> None:
        """Starts the flow's command, with what comes before its options as arguments."""
        folders = ["--input", str(self.folder / source), "--output", str(self.folder / (output or name))]
        self.start_other(name, *arguments, *folders, "--as-of", "2024-02-10", "--notify", self.webhook)

    def start_other(self, name: str, *arguments: str) -> None:
        """Starts any command of Python's, on the server's side of the network."""
        self.runs[name] = self.stack.enter_context(running(list(arguments), self.env))

    def outcome_of(self, name: str) -> tuple[int, str, str]:
        """Waits for a run; gives exit code, what it printed, and what it complained of."""
        run = self.runs[name]
        printed, complained = run.communicate(timeout=LONGEST_WAIT)
        return run.returncode, printed, complained

    def message_of(self, flow_run_name: str) -> str:
        """The one message that was sent about a flow run."""

        def about() -> list[str]:
            return [m["text"] for m in self.messages if flow_run_name in m["text"]]

        wait_for(about, f"a message about {flow_run_name}")
        (text,) = about()
        return text


def wait_for(question: Callable[[], T | None], what: str) -> T:
    """Asks until there is an answer."""
    end = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"waited {LONGEST_WAIT} s for {what}")


@contextmanager
def running(arguments: list[str], env: dict[str, str], log: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone at the end, with every process it started."""
    with ExitStack() as files:
        to = files.enter_context(log.open("w")) if log else subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=env,
            stdout=to,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@contextmanager
def prefect_server(env: dict[str, str], log: Path) -> Iterator[Api]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(arguments, env, log) as process:
        api = Api(port)

        def is_well() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return api.get("/health") is True
            except OSError:
                return False

        wait_for(is_well, "the Prefect server")
        yield api


@contextmanager
def message_receiver() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A local address that a webhook may call, and what was sent to it."""
    messages: list[dict[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", messages
        server.shutdown()


def configure_block(api: Api, kind: str, name: str, data: dict[str, Any]) -> str:
    """Stores a notification block on the server, as an operator does in its pages; gives its type and name."""
    block_type = api.get(f"/block_types/slug/{kind}")["id"]
    schema, *_ = api.post("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [block_type]}}})
    block = {"name": name, "data": data, "block_schema_id": schema["id"], "block_type_id": block_type}
    api.post("/block_documents/", block)
    return f"{kind}/{name}"


def lay_out(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    folder = tmp_path_factory.mktemp("flow")
    for name, files in {"exports": EXPORTS, "too_many": TOO_MANY_REJECTED, "with_alerts": WITH_ALERTS}.items():
        lay_out(folder / name, files)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_API_REQUEST_TIMEOUT": str(LONGEST_WAIT),
        "NO_PROXY": "127.0.0.1",
    }
    with ExitStack() as stack:
        api = stack.enter_context(prefect_server(env, folder / "server.log"))
        env["PREFECT_API_URL"] = f"http://127.0.0.1:{api.port}/api"
        url, messages = stack.enter_context(message_receiver())
        told = {"name": "billing", "url": url, "json_data": {"text": "{{subject}}\n{{body}}"}}
        webhook = configure_block(api, "custom-webhook", "billing", told)
        nights = Nights(api, folder, env, stack, messages, stack.enter_context(mail_server()), webhook)

        serve = ["--serve", "--input", str(folder / "exports"), "--output", str(folder / "served")]
        stack.enter_context(running(["-m", "flows.nightly", *serve], env, folder / "serve.log"))
        io_fault, our_fault = "OSError(errno.EIO, 'planted')", f"ValueError('row: {CUSTOMER}')"
        killed = "os.kill(os.getpid(), signal.SIGKILL)"
        nights.start("io_fault", "-c", WITH_A_FAULT, "ingest,rate,publish", io_fault)
        nights.start("killed", "-c", WITH_A_FAULT, "publish", killed, source="with_alerts", output="alerts")
        nights.start("our_fault", "-c", WITH_A_FAULT, "rate", our_fault)
        nights.start("bad_input", "-m", "flows.nightly", source="too_many")
        stack.enter_context(Night(Settings(input=folder / "exports", output=folder / "held")))
        nights.start("held", "-m", "flows.nightly")
        nights.start_other("crash", "-c", TELL_OF_A_CRASH, webhook)
        nights.start_other("mail_block", "-m", "prefect", "block", "register", "-m", "flows.mail")
        yield nights


@pytest.fixture(scope="module")
def deployment(nights: Nights) -> Any:
    """What the server knows of the flow that `--serve` keeps."""

    def served() -> Any:
        found = nights.api.post("/deployments/filter", {})
        return found[0] if found else None

    return wait_for(served, "the deployment")


def states_of(nights: Nights, flow_run: Any, steps: int) -> dict[str, tuple[str, int]]:
    """The server's record of a flow run's tasks: step to final state and number of attempts.

    The record follows the run by a moment, so this waits until that many steps have ended in it.
    """

    def ended() -> dict[str, tuple[str, int]] | None:
        tasks = nights.api.of_run("task_runs", flow_run["id"])
        states = {task["name"].rpartition("-")[0]: (task["state_type"], task["run_count"]) for task in tasks}
        return states if sum(state in ENDED for state, _ in states.values()) >= steps else None

    return wait_for(ended, f"{steps} steps of {flow_run['name']}")


def record_of(nights: Nights, flow_run: Any) -> str:
    """Everything the server stored about a run, logs included, as one text."""
    logs = nights.api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run["id"]]}}})
    tasks = nights.api.of_run("task_runs", flow_run["id"])
    artifacts = nights.api.of_run("artifacts", flow_run["id"])
    return json.dumps([flow_run, tasks, artifacts, logs])


def test_a_run_of_the_deployment_is_five_task_runs_and_three_artifacts(nights: Nights, deployment: Any) -> None:
    due = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2024-03-02T03:00:00Z"}}
    run_id = nights.api.post(f"/deployments/{deployment['id']}/create_flow_run", {"state": due})["id"]
    flow_run = nights.api.end_of(run_id)

    assert flow_run["state_type"] == "COMPLETED", (nights.folder / "serve.log").read_text()
    assert states_of(nights, flow_run, 5) == dict.fromkeys(STEPS, ("COMPLETED", 1))
    artifacts = {a["key"]: a for a in nights.api.of_run("artifacts", run_id)}
    assert {a["type"] for a in artifacts.values()} == {"table"}
    assert {key: json.loads(a["data"]) for key, a in artifacts.items()} == {
        "control-totals": [{"rate_card": "carts", "currency": "USD", "kind": "cycle", "invoices": 1, "total": "80.00"}],
        "held-invoices": [],
        "refused-rows": [
            {"feed": "cart_events", "status": "held", "reason": "unknown_subscription", "rows": 1},
            {"feed": "cart_events", "status": "rejected", "reason": "bad_value", "rows": 1},
        ],
    }
    # As of was left out. At 03:00 UTC on 2 March it was still 1 March in New York.
    assert "as of 2024-02-29" in artifacts["control-totals"]["description"]
    assert CUSTOMER not in record_of(nights, flow_run)


def test_the_schedule_plans_the_nights_to_come(nights: Nights, deployment: Any) -> None:
    assert [entry["schedule"]["cron"] for entry in deployment["schedules"]] == ["0 3 * * *"]

    def planned() -> list[str]:
        runs = nights.api.post("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        return [run["expected_start_time"] for run in runs if run["auto_scheduled"]]

    starts = wait_for(planned, "scheduled runs")
    assert all("T03:00:00" in start and start.endswith("Z") for start in starts)


def test_the_work_pool_deployment_names_the_flows_parameters(deployment: Any) -> None:
    (declared,) = YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]
    assert declared["entrypoint"] == deployment["entrypoint"]
    known = deployment["parameter_openapi_schema"]
    assert set(known["required"]) <= set(declared["parameters"]) <= set(known["properties"])


def test_an_io_fault_in_each_step_is_retried_from_a_clean_start(nights: Nights) -> None:
    exit_code, printed, complained = nights.outcome_of("io_fault")
    assert (exit_code, complained) == (0, "")
    assert "80.00" in printed
    flow_run = nights.api.run_into(nights.folder / "io_fault")
    assert flow_run["state_type"] == "COMPLETED"
    once, twice = ("COMPLETED", 1), ("COMPLETED", 2)
    assert states_of(nights, flow_run, 5) == dict.fromkeys(STEPS, twice) | {"record": once, "notify": once}
    undisturbed = Settings(input=nights.folder / "exports", output=nights.folder / "clean", as_of=date(2024, 2, 10))
    run_night(undisturbed)
    assert published(nights.folder / "io_fault") == published(nights.folder / "clean")


def published(output: Path) -> dict[str, bytes]:
    files = {p.relative_to(output).as_posix(): p.read_bytes() for p in sorted(output.glob("*/*.parquet"))}
    assert files
    return files


def test_bad_input_is_not_retried_and_told_without_a_row(nights: Nights) -> None:
    exit_code, printed, complained = nights.outcome_of("bad_input")
    assert (exit_code, printed) == (2, "")
    assert "25 of 27 rows newly read are rejected" in complained
    assert "Traceback" not in complained
    flow_run = nights.api.run_into(nights.folder / "bad_input")
    assert flow_run["state_type"] == "FAILED"
    assert states_of(nights, flow_run, 2) == {"ingest": ("COMPLETED", 1), "rate": ("FAILED", 1)}
    message, record = nights.message_of(flow_run["name"]), record_of(nights, flow_run)
    assert "Bad input" in message
    assert "25 of 27 rows newly read" in record
    assert CUSTOMER not in complained + message + record


def test_a_fault_of_ours_is_not_retried_and_quotes_no_row(nights: Nights) -> None:
    exit_code, _, complained = nights.outcome_of("our_fault")
    assert exit_code == 1
    assert "ValueError" in complained
    flow_run = nights.api.run_into(nights.folder / "our_fault")
    assert flow_run["state_type"] == "FAILED"
    assert states_of(nights, flow_run, 2) == {"ingest": ("COMPLETED", 1), "rate": ("FAILED", 1)}
    message, record = nights.message_of(flow_run["name"]), record_of(nights, flow_run)
    assert "ValueError" in message
    assert "Encountered exception" in record  # the log has arrived
    assert CUSTOMER not in complained + message + record


def test_a_held_output_ends_the_run_with_its_own_exit_code(nights: Nights) -> None:
    exit_code, printed, complained = nights.outcome_of("held")
    assert (exit_code, printed) == (3, "")
    assert str(nights.folder / "held") in complained
    assert "Traceback" not in complained


def test_a_killed_run_is_told_by_the_process_that_serves_it(nights: Nights) -> None:
    exit_code, _, complained = nights.outcome_of("crash")
    assert exit_code == 0, complained
    assert "killed" in nights.message_of("killed-night")


@pytest.fixture(scope="module")
def mail_block(nights: Nights) -> str:
    """A block that mails to customer care."""
    exit_code, _, complained = nights.outcome_of("mail_block")
    assert exit_code == 0, complained
    data = {
        "host": "127.0.0.1",
        "port": nights.mails.port,
        "security": "none",
        "sender": "billing@example.com",
        "recipient": "care@example.com",
    }
    return configure_block(nights.api, "mail", "customer-care", data)


def test_alerts_reach_people_once_though_the_run_was_killed_and_the_mail_server_ailed(
    nights: Nights, mail_block: str
) -> None:
    def run(name: str) -> tuple[int, str, str]:
        retried_soon = ["-c", WITH_A_FAULT, "", ""]
        nights.start(name, *retried_soon, "--alert", mail_block, source="with_alerts", output="alerts")
        return nights.outcome_of(name)

    assert nights.outcome_of("killed")[0] == -signal.SIGKILL
    assert len(frame(nights.folder / "alerts", "alerts")) == 4
    assert not nights.mails.taken

    # One mail is refused for good, one until the next try. Each try goes on to the others.
    nights.mails.refusals |= {"sub-1": ["554 refused", "554 refused"], "sub-2": ["451 try again later"]}
    exit_code, _, complained = run("after_the_kill")
    assert exit_code == 1
    assert "could not be sent, 1 of 2: SMTPDataError 554.\nThe night is published." in complained
    assert [subject.split(":")[0] for subject in nights.mails.subjects()] == [
        "Subscription sub-3",
        "Subscription sub-2",
    ]
    flow_run = nights.api.run_into(nights.folder / "alerts")
    assert flow_run["state_type"] == "FAILED"
    assert states_of(nights, flow_run, 5) == dict.fromkeys(STEPS, ("COMPLETED", 1)) | {"notify": ("FAILED", 2)}
    message, record = nights.message_of(flow_run["name"]), record_of(nights, flow_run)
    assert "SMTPDataError 554" in message
    assert "Encountered exception" in record  # the log has arrived
    assert not [word for word in ("sub-", "event-", CUSTOMER) if word in complained + message + record]

    exit_code, printed, complained = run("once_more")
    assert (exit_code, complained) == (0, "")
    assert "Nothing was published" in printed
    assert nights.mails.subjects() == [
        "Subscription sub-3: prepaid credit below 0",
        "Subscription sub-2: 90 % of the spending limit reached",
        "Subscription sub-1: 100 % of the spending limit reached",
    ]
    assert {mail["To"] for mail in nights.mails.taken} == {"care@example.com"}
    assert [mail.get_content().replace("\r\n", "\n") for mail in nights.mails.taken] == [
        """\
Subscription sub-3

Account A2, billing cycle from 2024-01-15: with this cycle's invoice the balance of the prepaid credit fell below 0.

Found by billing run 000001.
""",
        """\
Subscription sub-2

Account A1, billing cycle from 2024-01-15: 90 % of the spending limit of 100 USD was reached on \
2024-01-20 08:00:00 UTC, \
by usage event event-4.

Found by billing run 000001.
""",
        """\
Subscription sub-1

Account A1, billing cycle from 2024-01-15: 90 % of the spending limit of 100 USD was reached on \
2024-01-19 10:00:00 UTC, \
by usage event event-2.

Account A1, billing cycle from 2024-01-15: 100 % of the spending limit of 100 USD was reached on \
2024-01-19 12:30:00.500000 UTC, by usage event event-3.

Found by billing run 000001.
""",
    ]
    manual = (ROOT / "docs" / "every-night.md").read_text(encoding="utf-8")
    shown = f"Subject: {nights.mails.subjects()[-1]} {nights.mails.taken[-1].get_content()}"
    assert " ".join(shown.split()) in " ".join(manual.split())
