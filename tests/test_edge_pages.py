"""The edge pages, stage by stage: cases that are too small, or too far inside, for a page that finance would sign."""

from pathlib import Path

import pytest

from tests.rehearsals import EDGE_PAGES, Rehearsals, of_page


@pytest.mark.parametrize("page", sorted(EDGE_PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_page(page: Path) -> None:
    """What a page says of a stage or a published table is so, after each of its nights."""
    with Rehearsals([of_page(page)]) as nights:
        assert list(nights)
