"""A few of the kills and races that `python -m tests.kills` tries by the hundred."""

from pathlib import Path

import pytest

from tests.kills import Nights, nights_in, told_after_kill, told_after_race


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    return nights_in(tmp_path_factory.mktemp("nights"), 5_000)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.9])
def test_a_killed_process_leaves_a_whole_night(share: float, nights: Nights, tmp_path: Path) -> None:
    assert not told_after_kill(nights, tmp_path, share * nights.seconds)


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_of_several_at_once_one_commits(processes: int, nights: Nights, tmp_path: Path) -> None:
    assert not told_after_race(nights, tmp_path, processes)
