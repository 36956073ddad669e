"""The nights of the pages about edges, billed for real, and worked out a second time."""

from contextlib import suppress
from pathlib import Path

import pytest

from tests.rehearsals import EDGE_PAGES
from tests.verified_faults import of_page, run
from usage_rating.errors import BadInput
from usage_rating.verification.verdict import Scope, verify

# Of one page the only night has to stop, so there is nothing to verify.
PAGES = sorted(path for path in EDGE_PAGES.glob("*.md") if path.stem != "a-cycle-that-no-version-prices-stops-the-run")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_nights_of_a_page_agree(path: Path, tmp_path: Path) -> None:
    _, coming = of_page(path)
    with suppress(BadInput):  # a page may end with a night that has to stop
        run(coming(), tmp_path)
    assert verify(tmp_path / "input", tmp_path / "output", Scope()).findings == []
