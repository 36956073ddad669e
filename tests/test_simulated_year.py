"""A few weeks of the simulated year for a few accounts; `python -m tests.simulated_year` takes a year of 300."""

from pathlib import Path

from tests.simulated_year import simulate


def test_weeks_in_which_much_goes_wrong_are_billed_as_the_oracle_says(tmp_path: Path) -> None:
    year, faults = simulate(seed=2, accounts=6, days=40, folder=tmp_path)
    assert faults == []
    assert year.invoices["cycle"] > 2
