"""`python -m flows.nightly`: runs the nightly flow once, or serves it every night."""

import argparse
import atexit
import logging
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.nightly import nightly
from flows.steps import FaultOfOurs, MessagesUnsent
from usage_rating.errors import BadInput, OutputHeld
from usage_rating.report import print_report

EVERY_NIGHT = "0 3 * * *"  # UTC

EPILOG = """\
exit codes: 0 done, 1 a fault of ours, or alerts that could not be sent, 2 bad input or use (nothing was published),
            3 another run holds the output

Without PREFECT_API_URL a run starts a Prefect server of its own and ends it when done.
docs/every-night.md tells the rest: as-of, work pools, notifications, what is retried.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says; gives the exit code of SPEC 6."""
    options = _parser().parse_args(arguments)
    return _serve(options) if options.serve else _run_once(options)


def _run_once(options: argparse.Namespace) -> int:
    exit_code = 1

    def end() -> None:
        sys.stdout.flush()
        os._exit(exit_code)

    # Prefect's threads hold on to DuckDB's objects until the very end, and its binding then prints a page of warnings
    # about leaks. This runs after every exit handler of Prefect's and leaves out the interpreter's own clearing up.
    atexit.register(end)
    _leave_the_terminal_to_the_report()
    exit_code = _run_and_report(options)
    return exit_code


def _run_and_report(options: argparse.Namespace) -> int:
    try:
        # Heartbeats tell a lasting server that a run still lives; their thread takes a second to end.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            report = nightly(
                input=options.input,
                output=options.output,
                as_of=options.as_of,
                settings_file=options.settings,
                notification_block=options.notify,
                alert_block=options.alert,
            )
    except BadInput as bad:
        return _fail(f"{bad}\nNothing was published.", 2)
    except OutputHeld as held:
        return _fail(held, 3)
    except (FaultOfOurs, MessagesUnsent, OSError) as fault:
        return _fail(fault, 1)
    print_report(report)
    return 0


def _serve(options: argparse.Namespace) -> int:
    """Keeps a deployment `nightly/every-night` on the server of PREFECT_API_URL until it is stopped."""
    if not PREFECT_API_URL.value():
        return _fail("--serve: PREFECT_API_URL names no server, and only a lasting one starts a run every night.", 2)
    if options.as_of:
        return _fail("--as-of: with --serve every night would bill up to the same date. Leave it out.", 2)
    parameters = {
        "input": options.input.absolute(),
        "output": options.output.absolute(),
        "settings_file": options.settings and options.settings.absolute(),
        "notification_block": options.notify,
        "alert_block": options.alert,
    }
    nightly.serve(
        name="every-night",
        schedule=options.cron,
        parameters={name: str(value) for name, value in parameters.items() if value is not None},
        global_limit=1,  # a run that is late lets the next one wait, rather than fail on its held output
    )
    return 0


def _leave_the_terminal_to_the_report() -> None:
    """Prefect's log lines still reach the server's record of the run, tracebacks of our faults among them."""
    for logger in (logging.getLogger(), logging.getLogger("prefect._internal")):
        for handler in logger.handlers:
            handler.setLevel(logging.CRITICAL + 1)


def _fail(fault: object, exit_code: int) -> int:
    print(fault, file=sys.stderr)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.nightly",
        description="Runs the nightly billing flow once, or serves it every night.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", type=Path, required=True, metavar="DIR", help="folder of the feeds and rate_cards/")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of everything kept and published"
    )
    parser.add_argument(
        "--as-of",
        type=_date,
        metavar="YYYY-MM-DD",
        help="the date to bill up to; left out, the last one that is over in every account's time zone",
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help='TOML with policies, such as max_rejected = "0.02"'
    )
    parser.add_argument(
        "--notify",
        metavar="TYPE/NAME",
        help="Prefect notification block to tell of a failure, such as slack-webhook/billing",
    )
    parser.add_argument(
        "--alert",
        metavar="TYPE/NAME",
        help="Prefect notification block to tell of spending limits reached and of credit that ran out, such as "
        "mail/customer-care",
    )
    parser.add_argument(
        "--serve", action="store_true", help="serve the flow on the server of PREFECT_API_URL until stopped"
    )
    parser.add_argument(
        "--cron",
        type=_schedule,
        default=EVERY_NIGHT,
        metavar="CRON",
        help="when a served flow runs, UTC (default: %(default)r)",
    )
    return parser


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; expected one like 2024-03-31") from None


def _schedule(text: str) -> Schedule:
    try:
        return Cron(text, timezone="UTC")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no cron schedule; expected one like {EVERY_NIGHT!r}") from None
