"""A bar for a person who waits: shown only on a terminal, and only once a step takes over a second."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Event, Lock, Thread
from time import monotonic
from typing import NamedTuple

import duckdb

SHOWN_AFTER_SECONDS = 1.0
DRAWN_EVERY_SECONDS = 0.1


class Display(NamedTuple):
    """What a run tells: each step before it begins, and its engine for as long as that may be asked how far it is."""

    announce: Callable[[str], None]
    watch: Callable[[duckdb.DuckDBPyConnection], AbstractContextManager[object]]


@contextmanager
def progress() -> Iterator[Display]:
    """Gives the display of a run; off a terminal it shows nothing and asks nothing."""
    if not sys.stderr.isatty():
        yield Display(lambda step: None, nullcontext)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    statement = _Statement()
    text = TextColumn("{task.description}{task.fields[statement]}", markup=False)  # a file's name may hold brackets
    columns = (BarColumn(bar_width=20), text, TimeElapsedColumn())
    bar = Progress(*columns, transient=True, auto_refresh=False, console=Console(stderr=True))
    task = bar.add_task("", total=None, statement=statement)
    began, ended = math.inf, Event()

    def announce(step: str) -> None:
        nonlocal began
        bar.update(task, description=step)
        began = monotonic()

    def draw() -> None:
        while not ended.wait(DRAWN_EVERY_SECONDS):
            if monotonic() - began >= SHOWN_AFTER_SECONDS:
                bar.start()
            bar.refresh()

    # Not the bar's own thread, for which nothing waits: one that outlives the engine makes its binding print a page of
    # warnings about leaks.
    drawing = Thread(target=draw, daemon=True)
    drawing.start()
    try:
        yield Display(announce, statement.watch)
    finally:
        ended.set()
        drawing.join()
        bar.stop()


class _Statement:
    """The statement an engine is at. As text, its per cent at that moment: the bar's thread asks each time it draws."""

    def __init__(self) -> None:
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._lock = Lock()

    @contextmanager
    def watch(self, engine: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Asks this engine meanwhile, and no longer: one that is being closed must not be asked."""
        engine.execute("set enable_progress_bar = true")  # without, the engine does not count
        engine.execute("set enable_progress_bar_print = false")
        with self._lock:
            self._engine = engine
        try:
            yield
        finally:
            with self._lock:
                self._engine = None

    def __str__(self) -> str:
        with self._lock:
            done = self._engine.query_progress() if self._engine else -1
        return f" · {int(done)} %" if done >= 0 else ""  # between statements it is -1
