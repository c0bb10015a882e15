"""Twin of gateway.files.row."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.files.errors import FileRefused
from gateway.files.row import TableRow, clean_header, fit

HERE = Path("list.csv")


def test_a_row_gets_the_width_of_its_header() -> None:
    """Missing cells are empty, empty ones beyond the header vanish, filled ones are counted."""
    assert TableRow(3, ("a", "", "")) == fit(3, ["a"], 3)
    assert TableRow(3, ("a", "b")) == fit(3, ["a", "b", " ", ""], 2)
    assert TableRow(3, ("a", "b"), surplus=2) == fit(3, ["a", "b", "c", "", "d"], 2)


def test_header_names_are_cleaned() -> None:
    """Spaces and a BOM go, unnamed columns at the end go, one in between gets a name."""
    assert clean_header(HERE, ["\ufeffNO  KK ", "", "NAMA", " ", ""], 1) == ("NO KK", "KOLOM_2", "NAMA")


@pytest.mark.parametrize("cells", [["", " "], [f"C{at}" for at in range(257)]])
def test_a_header_without_or_with_too_many_names_is_refused(cells: list[str]) -> None:
    """The line is told."""
    with pytest.raises(FileRefused, match=r"list\.csv: line 2: "):
        clean_header(HERE, cells, 2)
