"""Some months of the simulated year for a few accounts; `python -m tests.simulated_year` takes a year of 300."""

from pathlib import Path

from tests.folders import rows
from tests.simulated_year import simulate


def test_months_in_which_much_goes_wrong_are_billed_as_the_oracle_and_verify_say(tmp_path: Path) -> None:
    year, faults = simulate(seed=5, accounts=10, days=130, folder=tmp_path, every=4)
    assert faults == []
    assert year.tried["nights"] == len(year.nights)
    assert all(year.invoices[kind] > 0 for kind in ("opening", "cycle", "correction"))
    for table in ("alerts", "credit_ledger", "rejected_rows"):
        assert rows(tmp_path, f"select count(*) from {table}") > [(0,)], table
