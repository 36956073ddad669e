"""What a run can refuse, each with the exit code of SPEC's commands."""

from collections.abc import Iterable


class BadInput(Exception):  # noqa: N818  (it is the input's error, not ours)
    """The input or the call is wrong: nothing was published (exit 2).

    `faults` holds every fault found, one sentence each, with its place, what was expected and what to do.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        assert self.faults, "BadInput without a fault tells nobody anything"
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type["BadInput"], tuple[list[str]]]:
        """Pickles by its faults; the joined text would come back as one fault a letter."""
        return BadInput, (self.faults,)


class OutputHeld(Exception):  # noqa: N818
    """Another run holds the output folder (exit 3)."""
