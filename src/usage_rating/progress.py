"""A bar for a person who waits: shown only on a terminal, and only once a step takes over a second."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHOWN_AFTER_SECONDS = 1.0


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Gives the function a run tells its steps to."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    bar = Progress(
        BarColumn(bar_width=20),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        transient=True,
        disable=False,
        auto_refresh=True,
    )
    task = bar.add_task("", total=None)
    began = time.monotonic()
    is_shown = False

    def announce(step: str) -> None:
        nonlocal is_shown, began
        bar.update(task, description=step.replace("_", " "))
        if not is_shown and time.monotonic() - began > SHOWN_AFTER_SECONDS:
            bar.start()
            is_shown = True
        began = began if is_shown else time.monotonic()

    try:
        yield announce
    finally:
        if is_shown:
            bar.stop()
