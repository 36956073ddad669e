"""The nightly flow: a night's five steps, each a task run of its own in the Prefect server's record.

`python -m flows.nightly --help` says how to run it once or serve it every night; docs/every-night.md is for
operators.
"""

import sys
from datetime import date, datetime
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.alerts import tell_of_alerts
from flows.notices import record_control_totals, record_held_invoices, record_refused_rows, tell_of_failure
from flows.steps import step, without_rows
from usage_rating.night import Night
from usage_rating.report import NightReport
from usage_rating.settings import settings_from


@step
def ingest(night: Night) -> None:
    """Takes in the files not yet seen; every row of theirs ends typed or refused."""
    night.ingest()


@step
def rate(night: Night) -> None:
    """Works out every invoice that is due."""
    night.rate()


@step
def publish(night: Night) -> NightReport:
    """Makes the invoices part of the published tables, all of them or none."""
    return night.publish()


@step
def record(report: NightReport) -> None:
    """Leaves control totals, refused rows and held invoices, as counts and sums, in the server's record."""
    record_control_totals(report)
    record_refused_rows(report)
    record_held_invoices(report)


@step
def notify(output: Path, alert_block: str | None) -> None:
    """Sends the alerts that nobody was told of yet, this run's and any that an earlier run left."""
    tell_of_alerts(output, alert_block)


@flow(name="nightly", persist_result=False, on_failure=[tell_of_failure], on_crashed=[tell_of_failure])
@without_rows
def nightly(
    *,
    input: Path,  # noqa: A002  (operators meet it as --input)
    output: Path,
    as_of: date | None = None,
    settings_file: Path | None = None,
    notification_block: str | None = None,  # tell_of_failure reads it from the flow run
    alert_block: str | None = None,
) -> NightReport:
    """Bills everything due as of a date and publishes it.

    Args:
        input: folder of the feeds and rate_cards/
        output: folder of everything kept and published
        as_of: the date to bill up to; left out, the last one that was over in every account's zone when the
            run was to start
        settings_file: TOML with policies such as max_rejected
        notification_block: whom to tell of a failure: a notification block as `type/name`, such as
            `slack-webhook/billing`
        alert_block: whom to tell of spending limits nearly or wholly reached and of credit that ran out: a
            notification block as `type/name`, such as `mail/customer-care`; left out, nobody is told
    """
    settings = settings_from({"input": input, "output": output, "as_of": as_of}, settings_file)
    # Prefect's own date type stays on this side.
    now = datetime.fromisoformat(flow_run.scheduled_start_time.isoformat())
    with Night(settings, now=now) as night:
        ingest(night)
        rate(night)
        report = publish(night)
    record(report)
    notify(output, alert_block)
    return report


if __name__ == "__main__":
    from flows.command import main

    sys.exit(main())
