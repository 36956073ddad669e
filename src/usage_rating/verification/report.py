"""What a person, or a program, is told."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from usage_rating.verification.verdict import Announce, BadUse, Scope, Verdict, verify


def verify_and_tell(input_folder: Path, output: Path, scope: Scope, *, as_json: bool) -> int:
    """Verifies, prints what was found, and gives the exit code: 0 if everything agrees, else 2."""
    try:
        with _progress() as announce:
            verdict = verify(input_folder, output, scope, announce)
    except BadUse as said:
        print(said, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(verdict.to_json(), indent=1))
    else:
        print("\n".join(told(verdict)))
    if verdict.agrees:
        return 0
    print(f"{output}: {len(verdict.findings):,} differences.", file=sys.stderr)
    return 2


def told(verdict: Verdict) -> Iterator[str]:
    """The verdict in a few lines, and a line a difference."""
    yield f"Verified {verdict.output}: {verdict.scope}"
    totals = ", ".join(f"{amount} {currency}" for currency, amount in verdict.totals.items())
    looked_at = {
        "manifests": f"{verdict.runs:,} runs, {verdict.files:,} files held against their hashes",
        "input": f"{verdict.inputs:,} files, {verdict.rows:,} rows",
        "invoices": f"{verdict.invoices:,} with {verdict.lines:,} lines, worked out as {totals or 'nothing'}",
        **{table: f"{count:,} rows" for table, count in verdict.others.items()},
    }
    yield from (f"  {name:<17}  {said}" for name, said in looked_at.items())
    if verdict.agrees:
        yield "Everything agrees."
        return
    yield "Does not agree:"
    for finding in verdict.findings:
        yield f"  {finding}"


@contextmanager
def _progress() -> Iterator[Announce]:
    """A bar on the terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda said, done, total: bar.update(task, description=said, completed=done, total=total)
