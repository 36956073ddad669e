"""A fault planted in each stage, billed for real, is not missed by `verify`.

A sample, in the nights that bill most; `python -m tests.planted_faults --by verify` tries every fault in many nights.
"""

from collections.abc import Iterator
from random import Random

import pytest

from tests.planted_faults import survivors
from tests.planting import Fault, faults_in
from tests.rehearsals import Stillborn
from tests.verified_faults import MISSED, QUICK_NIGHTS, VerifiedFaults
from usage_rating.stages import Stage, all_stages

SEED = 2024


@pytest.fixture(scope="module")
def nights() -> Iterator[VerifiedFaults]:
    with VerifiedFaults(QUICK_NIGHTS) as ready:
        yield ready


@pytest.mark.parametrize(
    "stage",
    [stage for stage in all_stages() if not stage.is_check],
    ids=lambda stage: f"{stage.number:03}_{stage.name}",
)
def test_a_fault_in_a_stage_is_not_missed(stage: Stage, nights: VerifiedFaults) -> None:
    for fault in shuffled(stage):
        try:
            outcome = nights.outcome_of(fault.planted)
        except Stillborn:
            continue
        assert outcome.kind != MISSED, f"{fault.line}: {fault.name}\n{outcome.night}"
        break


def shuffled(stage: Stage) -> list[Fault]:
    """A stage's faults that some input can show, in an order drawn with a fixed seed."""
    listed = survivors()
    faults = [fault for fault in faults_in(stage) if fault.name not in listed]
    return Random(f"{SEED} {stage.name}").sample(faults, len(faults))  # noqa: S311
