"""A sample of the points at which a night may die or its disk fail; `python -m tests.crashes` tries them all."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crashes import Nights, Point, failing, killed, nights_in, told

EVERY = 23


@pytest.mark.parametrize("kind", [killed, failing])
@pytest.mark.parametrize("offset", [5, 17])
def test_a_night_disturbed_at_any_step_ends_as_an_undisturbed_one(
    kind: Callable[[Nights, Path, int, int], Iterator[Point]], offset: int, tmp_path: Path
) -> None:
    nights = nights_in(tmp_path)
    tried = 0
    for point in kind(nights, tmp_path / "points", EVERY, offset):
        tried += 1
        found = told(point, nights)
        assert not found, f"{point.what}: {found}"
    assert tried > 10
