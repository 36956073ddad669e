"""The command line. Imports what a command needs only when that command runs, so that `--help` is quick."""

import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from usage_rating.errors import BadInput, OutputHeld

app = typer.Typer(
    name="usage-rating",
    help="Turns usage exports and cart-state snapshots into invoices, in nightly batches.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done; 1 a fault of ours; 2 bad input or use, nothing published; 3 the output is held.",
)

InputFolder = Annotated[Path, typer.Option(help="The folder with one folder a feed and rate_cards/.")]
OutputFolder = Annotated[Path, typer.Option(help="The folder that keeps and publishes everything.")]
Day = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], help="Bill what is due up to this date (YYYY-MM-DD)."),
]


@app.command()
def run(
    input: InputFolder,  # noqa: A002  (the option's name)
    output: OutputFolder,
    as_of: Day = None,
    max_rejected: Annotated[
        str | None, typer.Option(help="Stop if more than 20 new rows, and more than this share, are rejected.  [0.01]")
    ] = None,
    min_snapshot_share: Annotated[
        str | None,
        typer.Option(help="Hold a snapshot with fewer active carts than this share of the one before.  [0.5]"),
    ] = None,
    *,
    max_change: Annotated[
        str | None,
        typer.Option(help="Hold a bill above this many times the account's last ones, until it is approved."),
    ] = None,
    correction_window: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS",
            help="Hold a late row that would change a bill whose cycle ended more than this many days ago.",
        ),
    ] = None,
    allow_missing_final_newline: Annotated[
        bool | None,
        typer.Option("--allow-missing-final-newline", help="Trust CSV files whose last line has no end."),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            help="Memory for the engine, such as 2GB; more is spilled.  [all but 1 GiB, at least half, at most 80 %]"
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads for the engine.  [all cores]")] = None,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with the policies above; an option given here wins.")
    ] = None,
) -> None:
    """Take in new files and issue every invoice that is due.

    Without --as-of it bills up to the last date that is over in every account's time zone. Nights that were missed
    are caught up; running it again changes nothing. Until the run has ended nothing is published.

    \b
    Example:
      usage-rating run --input exports --output billing --as-of 2024-03-01
    """
    from usage_rating.night import run_night  # noqa: PLC0415
    from usage_rating.progress import progress  # noqa: PLC0415
    from usage_rating.report import print_report  # noqa: PLC0415
    from usage_rating.settings import settings_from  # noqa: PLC0415

    given = {
        "input": input,
        "output": output,
        "as_of": as_of.date() if as_of else None,
        "max_rejected": _decimal("--max-rejected", max_rejected),
        "min_snapshot_share": _decimal("--min-snapshot-share", min_snapshot_share),
        "max_change": _decimal("--max-change", max_change),
        "correction_window": correction_window,
        "allow_missing_final_newline": allow_missing_final_newline,
        "memory_limit": memory_limit,
        "threads": threads,
    }
    policies = settings_from(given, settings)
    with progress() as display:
        report = run_night(policies, announce=display.announce, watch=display.watch)
    print_report(report)


@app.command()
def preview(
    input: InputFolder,  # noqa: A002
    output: OutputFolder,
    as_of: Annotated[
        datetime, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Rate open cycles as if they ended on this date.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="A folder for the invoices, lines and control totals, as CSV.")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file with policies, as for run.")] = None,
) -> None:
    """Show what each open cycle would cost if it ended on a date.

    Rates by the same rules as run, new files included, and leaves the output folder as it is: nothing is issued, no
    file counts as read, and a run may be at work meanwhile.

    \b
    Example:
      usage-rating preview --input exports --output billing --as-of 2024-03-15 --to march-so-far
    """
    from usage_rating.night import Night  # noqa: PLC0415
    from usage_rating.progress import progress  # noqa: PLC0415
    from usage_rating.report import print_preview  # noqa: PLC0415
    from usage_rating.settings import settings_from  # noqa: PLC0415

    policies = settings_from({"input": input, "output": output, "as_of": as_of.date()}, settings)
    with (
        progress() as display,
        Night(policies, announce=display.announce, watch=display.watch, is_preview=True) as night,
    ):
        night.ingest()
        night.rate()
        report = night.write_preview(to)
    print_preview(report, to)


@app.command()
def near(
    input: InputFolder,  # noqa: A002
    output: OutputFolder,
    as_of: Annotated[
        datetime, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Rate open cycles as if they ended on this date.")
    ],
    *,
    within: Annotated[str, typer.Option(help="How near, as a share of the bound.")] = "0.1",
    edge_minutes: Annotated[
        int, typer.Option(min=0, max=24 * 60, help="How near to a cycle's start or end a row is listed.")
    ] = 60,
    settings: Annotated[Path | None, typer.Option(help="A TOML file with policies, as for run.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The list for programs.")] = False,
) -> None:
    """List open cycles near a tier, a minimum, a cap, a limit, the smallest upgrade or a cycle's edge.

    Rates as preview does, and leaves the output folder as it is. Nearest first, with what the units up to the bound
    and the first one above it would change on the bill. Exit code 0, also where nothing is near.

    \b
    Example:
      usage-rating near --input exports --output billing --as-of 2024-03-15 --within 0.05
    """
    from usage_rating.near import as_json, as_text, checked_within  # noqa: PLC0415
    from usage_rating.night import Night  # noqa: PLC0415
    from usage_rating.progress import progress  # noqa: PLC0415
    from usage_rating.settings import settings_from  # noqa: PLC0415

    share = checked_within(_decimal("--within", within) or Decimal(0))
    policies = settings_from({"input": input, "output": output, "as_of": as_of.date()}, settings)
    with (
        progress() as display,
        Night(policies, announce=display.announce, watch=display.watch, is_preview=True) as night,
    ):
        night.ingest()
        night.rate()
        found = night.near(share, edge_minutes)
    typer.echo(as_json(found) if json else as_text(found))


@app.command()
def views(output: OutputFolder) -> None:
    """Write billing.duckdb anew after the output folder was moved.

    Its views name absolute paths. Open it with `duckdb -readonly`, so that several people can.
    """
    from usage_rating.files import private_files  # noqa: PLC0415
    from usage_rating.store import Store  # noqa: PLC0415
    from usage_rating.views import rewrite_views  # noqa: PLC0415

    with private_files():
        typer.echo(f"wrote {rewrite_views(output, list(Store(output).chain.files))}")


@app.command()
def approve(
    output: OutputFolder,
    subjects: Annotated[
        list[str] | None, typer.Argument(help="Invoice ids, and instants of snapshots.  [list what is held]")
    ] = None,
) -> None:
    """Let pass what a bound holds: an invoice for the total it is held with, or a snapshot. Lists them without any.

    An approval is a file below OUTPUT/approvals, and an input of the next run like any other.

    \b
    Example:
      usage-rating approve --output billing in_0242603ee5b826d436f0773fe471767f '2024-03-13 02:00Z'
    """
    from usage_rating.approvals import approve as write_approval  # noqa: PLC0415
    from usage_rating.approvals import held  # noqa: PLC0415

    if subjects:
        typer.echo(f"wrote {write_approval(output, subjects)}: it counts from the next run on.")
        return
    waiting = held(output)
    for each in waiting:
        typer.echo(f"{each.subject}: {each.says}")
    if not waiting:
        typer.echo("Nothing waits for approval.")


@app.command()
def doctor(
    output: OutputFolder,
    input: Annotated[  # noqa: A002
        Path | None, typer.Option(help="The input folder, to be read as well; files are rebuilt from it.")
    ] = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be; no run may be at work.")] = False,
) -> None:
    """Read everything that is kept and published once more, and say what is damaged or missing.

    What must be there is told by the manifests of all runs. With --repair, links, manifests and views are made anew,
    and lost Parquet files rebuilt by running the nights again from the input files; each is taken only with the hash
    that it had. Exit code 2: something is left that is not as it should be.

    \b
    Example:
      usage-rating doctor --output billing --input exports --repair
    """
    from usage_rating.doctor import examine, mend  # noqa: PLC0415
    from usage_rating.progress import progress  # noqa: PLC0415

    with progress() as display:
        found = mend(output, input, display.announce) if repair else examine(output, input)
    left = [damage for damage in found if not damage.is_mended]
    for damage in found:
        typer.echo(str(damage))
    if left:
        raise BadInput([f"{output}: {len(left):,} of {len(found):,} found are not as they should be."])
    typer.echo(f"{output}: all that the runs wrote is there as they wrote it.")


@app.command()
def verify(
    input: InputFolder,  # noqa: A002
    output: OutputFolder,
    *,
    run: Annotated[int | None, typer.Option(metavar="N", help="Only what this run issued.")] = None,
    invoice: Annotated[str | None, typer.Option(metavar="ID", help="Only this invoice, by its id or number.")] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only so many subscriptions, drawn by --seed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="What the sample is drawn by.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="The verdict for programs.")] = False,
) -> None:
    """Work every figure out once more, by a second implementation, and compare with what is published.

    It reads the published tables, the manifests and the input files that they name, row by row, in plain Python with
    exact fractions; nothing of what rated them takes part. Nothing is written. Exit code 0: everything agrees; 2: it
    does not, or a file is not as it was.

    \b
    Example:
      usage-rating verify --input exports --output billing --sample 200
    """
    from usage_rating.verification.report import verify_and_tell  # noqa: PLC0415
    from usage_rating.verification.verdict import Scope  # noqa: PLC0415

    if code := verify_and_tell(input, output, Scope(run, invoice, sample, seed), as_json=json):
        raise typer.Exit(code)


@app.command()
def explain(
    invoice: Annotated[str, typer.Argument(help="An invoice_id, or an invoice_number: 12, or CARD/12.")],
    input: InputFolder,  # noqa: A002
    output: OutputFolder,
    *,
    line: Annotated[int | None, typer.Option(metavar="N", help="Only this line.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The same for programs, with every row.")] = False,
    svg: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Draw it too: peaks of carts, and usage under its spending limit."
        ),
    ] = None,
) -> None:
    """Say how an invoice came about: each figure step by step, down to the rows of the input files.

    The invoice is worked out once more from what was known in the run that issued it, and held against what was
    published: where they differ, that is said instead (exit code 2). Nothing is written but FILE.

    \b
    Example:
      usage-rating explain 17 --input exports --output billing
      usage-rating explain 17 --input exports --output billing --svg 17.svg
    """
    from usage_rating.explanation.explaining import explain as explain_invoice  # noqa: PLC0415
    from usage_rating.explanation.explaining import explain_to_draw  # noqa: PLC0415
    from usage_rating.explanation.model import as_json_text  # noqa: PLC0415
    from usage_rating.explanation.text import as_text  # noqa: PLC0415

    if svg is not None:
        from usage_rating.explanation.picture import write_picture  # noqa: PLC0415

        explained, picture = explain_to_draw(input, output, invoice, line)
        write_picture(picture, svg)
    else:
        explained = explain_invoice(input, output, invoice, line)
    typer.echo(as_json_text(explained) if json else as_text(explained), nl=False)


@app.command()
def trace(
    row: Annotated[str, typer.Argument(metavar="FILE:ROW", help="A row of an input file: usage/2024-01.csv:17.")],
    input: InputFolder,  # noqa: A002
    output: OutputFolder,
    *,
    json: Annotated[bool, typer.Option("--json", help="The same for programs.")] = False,
) -> None:
    """Say what became of a row of an input file, and name every published line that it fed.

    FILE is named as it lay in the input folder when it was read; it need not be there any more. Rows count from 1,
    without the header and blank lines, as in rejected_rows. Nothing is written.

    \b
    Example:
      usage-rating trace usage/2024-01.csv:17 --input exports --output billing
    """
    from usage_rating.explanation.model import as_json_text  # noqa: PLC0415
    from usage_rating.explanation.trace import as_data, as_text  # noqa: PLC0415
    from usage_rating.explanation.trace import trace as trace_row  # noqa: PLC0415

    traced = trace_row(input, output, row)
    typer.echo(as_json_text(as_data(traced)) if json else as_text(traced), nl=False)


@app.command()
def export(
    output: OutputFolder,
    month: Annotated[str, typer.Option(help="Invoices issued in this month, YYYY-MM.")],
    to: Annotated[Path | None, typer.Option(help="The folder to write.  [OUTPUT/exports/MONTH]")] = None,
    format: Annotated[str, typer.Option(help="csv is the only format so far.")] = "csv",  # noqa: A002
) -> None:
    """Write a month's invoices for finance: invoices, lines and control totals.

    The month is that of issue_date. Text that a spreadsheet would run as a formula is escaped with an apostrophe.
    """
    from usage_rating.export import export_month  # noqa: PLC0415

    for path in export_month(output, month, to or output / "exports" / month, format):
        typer.echo(f"wrote {path}")


def _decimal(option: str, text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except ArithmeticError:
        raise BadInput([f"{option}: '{text}' is not a number such as 0.02."]) from None


def main() -> None:
    """Runs the command line; exit codes as in SPEC, section 6."""
    try:
        app()
    except BadInput as error:
        print(error, file=sys.stderr)
        if "doctor" not in sys.argv[:2]:
            print(f"Nothing was {'published' if 'run' in sys.argv[:2] else 'written'}.", file=sys.stderr)
        sys.exit(2)
    except OutputHeld as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except OSError as error:  # the disk's; it names the file, and where in the code it came up helps nobody
        print(error, file=sys.stderr)
        sys.exit(1)
