"""A bar for a person who waits: shown only on a terminal, and only once a step takes over a second."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

SHOWN_AFTER_SECONDS = 1.0


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Gives the function a run tells its steps to."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn())
    bar = Progress(*columns, transient=True, console=Console(stderr=True))
    task = bar.add_task("", total=None)
    timer = Timer(0, bar.start)

    def announce(step: str) -> None:
        nonlocal timer
        timer.cancel()
        bar.update(task, description=step.replace("_", " "))
        timer = Timer(SHOWN_AFTER_SECONDS, bar.start)
        timer.daemon = True
        timer.start()

    try:
        yield announce
    finally:
        timer.cancel()
        bar.stop()
