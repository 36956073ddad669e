"""What makes a function a step of the night: a Prefect task that retries I/O faults only and logs no row."""

import errno
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from usage_rating.errors import BadInput, OutputHeld

RETRIES_AFTER = [30.0, 120.0, 600.0]  # seconds: a hiccup, a remount, someone who frees disk space

P = ParamSpec("P")
R = TypeVar("R")

# The disk, the mount or the machine was unwell: a later try may find it well. A missing or forbidden file is
# not among them: it is missing or forbidden each time.
PASSING_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOLCK,
        errno.ENOSPC,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


def step(function: Callable[P, R]) -> Task[P, R]:
    """Makes a task of a function that takes the live night or its report.

    A night cannot be pickled, so nothing is cached or persisted and the task runs in the flow's own process.
    """
    as_task = task(
        retries=len(RETRIES_AFTER),
        retry_delay_seconds=RETRIES_AFTER,
        retry_condition_fn=is_io_fault,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return as_task(without_rows(function))


class FaultOfOurs(Exception):  # noqa: N818  (STYLE's word for it)
    """A step failed by our own fault. Says which error and where, never the error's own words."""

    def __init__(self, kind: str, places: str) -> None:
        super().__init__(kind, places)
        self.kind = kind
        self.places = places

    def __str__(self) -> str:
        return (
            f"{self.kind}, raised at\n{self.places}\nIts own words are left out, they may quote customers' rows; "
            "`usage-rating run` by hand with the same folders and --as-of shows them."
        )


class MessagesUnsent(Exception):  # noqa: N818
    """Messages about alerts did not go out. Says how many and why, never which: that is between us and the channel."""

    def __init__(self, unsent: int, of: int, why: str, *, may_pass: bool) -> None:
        super().__init__(unsent, of, why)
        self.unsent = unsent
        self.of = of
        self.why = why
        self.may_pass = may_pass

    def __str__(self) -> str:
        return (
            f"Messages about alerts could not be sent, {self.unsent} of {self.of}: {self.why}.\n"
            "The night is published. The next run sends what is left, and not again what was sent."
        )


def is_io_fault(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tells Prefect whether a failed step is worth a retry: only faults of disk, mount or network are."""
    return may_pass(state.data)


def may_pass(fault: object) -> bool:
    """Whether a fault of disk, mount, network or channel may be gone at a later try."""
    match fault:
        case MessagesUnsent():
            return fault.may_pass
        case TimeoutError() | ConnectionError():
            return True
        case _:
            return isinstance(fault, OSError) and fault.errno in PASSING_ERRNOS


def without_rows(function: Callable[P, R]) -> Callable[P, R]:
    """Keeps customers' rows out of Prefect's record, which stores and logs what an exception says.

    Bad input, a held output and I/O faults name files and places only and pass as they are. Of anything else
    (an engine's conversion error quotes the row) the kind and the place are kept.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (BadInput, OutputHeld, OSError, FaultOfOurs, MessagesUnsent):
            raise
        except Exception as fault:
            raise FaultOfOurs(type(fault).__qualname__, _places(fault)) from None

    return guarded


def _places(fault: Exception) -> str:
    frames = traceback.extract_tb(fault.__traceback__)[1:]  # the first is `guarded` itself
    return "\n".join(f"    {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
