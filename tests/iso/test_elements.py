"""The table of data elements: whole, in order, and of the standard's kinds."""

from iso.dialect import Kind
from iso.elements import ELEMENTS_1987


def test_every_data_element_once_and_in_order() -> None:
    """2 to 128 without the third bitmap at 65."""
    assert [*range(2, 65), *range(66, 129)] == [row[0] for row in ELEMENTS_1987]


def test_names_tell_elements_apart() -> None:
    """No two have the same name, none is empty."""
    names = {row[1] for row in ELEMENTS_1987}
    assert len(ELEMENTS_1987) == len(names)
    assert "" not in names


def test_kinds_are_those_a_dialect_knows() -> None:
    """Every word is a kind."""
    assert {row[2] for row in ELEMENTS_1987} <= set(Kind)


def test_amounts_and_dates_are_as_the_standard_says() -> None:
    """A few that money and clocks hang on."""
    rows = {row[0]: row[2:] for row in ELEMENTS_1987}
    assert ("n", 12, 0) == rows[4]
    assert ("n", 10, 0) == rows[7]
    assert ("x+n", 9, 0) == rows[28]
    assert ("an", 120, 3) == rows[54]
    assert ("n", 42, 0) == rows[90]
    assert ("x+n", 17, 0) == rows[97]
