"""A season of the simulated year for a few accounts; `python -m tests.simulated_year` takes a year of 300."""

from pathlib import Path

import pytest

from tests.simulated_year import simulate


@pytest.mark.parametrize("seed", [1, 2])
def test_a_season_in_which_much_goes_wrong_is_billed_as_the_oracle_says(seed: int, tmp_path: Path) -> None:
    year, faults = simulate(seed, accounts=4, days=30, folder=tmp_path)
    assert faults == []
    assert year.invoices["cycle"] > 2
