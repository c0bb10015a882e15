"""Bitmaps by hand, and there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.bitmap import WIDTH, make_bitmap, read_bitmap, width_at
from iso.errors import FormatError


def test_one_bitmap() -> None:
    """Fields up to 64 take 16 characters."""
    assert make_bitmap([2, 3, 4, 64]) == "7000000000000001"


def test_two_bitmaps() -> None:
    """A field above 64 brings the second bitmap and bit 1."""
    assert make_bitmap([2, 70, 128]) == "C0000000000000000400000000000001"


def test_an_all_zero_second_bitmap_is_read() -> None:
    """Hosts that always send two bitmaps are understood."""
    assert read_bitmap("C000000000000000" + "0" * 16) == (2,)


def test_small_letters_are_read() -> None:
    """Hexadecimal of either case is understood."""
    assert read_bitmap("00000000000000af") == (57, 59, 61, 62, 63, 64)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "70",
        "7000000000000_01",
        "+700000000000001",
        " 700000000000001",
        "0x70000000000001",
        "F000000000000000",
        "7" * 32,
        "8" * 16 + "7" * 32,
        "8" * 64,
    ],
)
def test_what_is_no_bitmap_is_refused(text: str) -> None:
    """Only hexadecimal digits count, and all of them."""
    with pytest.raises(FormatError, match=r"^message: bitmap must be"):
        read_bitmap(text)


@pytest.mark.parametrize(("text", "width"), [("02007000", 16), ("0200F000", 32), ("0200c000", 32), ("0200", 16)])
def test_the_first_bit_doubles_the_width(text: str, width: int) -> None:
    """16 characters, or 32 where the first bit is set."""
    assert width_at(text, 4) == width


def test_three_bitmaps() -> None:
    """A field above 128 brings the third bitmap, bit 65 and bit 1, whether or not the second one holds anything else."""
    assert make_bitmap([2, 129]) == "C00000000000000080000000000000008000000000000000"
    assert read_bitmap("C00000000000000084000000000000000000000000000001") == (2, 70, 192)


def test_an_all_zero_third_bitmap_is_read() -> None:
    """It is announced and holds nothing."""
    assert read_bitmap("C0000000000000008000000000000000" + "0" * 16) == (2,)


def test_bit_65_alone_is_a_field_that_nobody_has() -> None:
    """Where only two bitmaps are looked for the bit stays, so that a dialect can refuse it by name."""
    assert read_bitmap("80000000000000008000000000000000") == (65,)


@pytest.mark.parametrize("fields", [set(), {64}, {65}, {128}, {129}])
def test_the_width_grows_with_the_highest_field(fields: set[int]) -> None:
    """As many bitmaps as there must be."""
    expected = WIDTH * max(-(-number // 64) for number in fields or {1})
    assert len(make_bitmap(fields)) == expected


@pytest.mark.parametrize(
    ("text", "width"), [("8" * 48, 48), ("8" * 16 + "7" * 32, 32), ("7" * 48, 16), ("8" * 16, 32), ("8" * 32, 48)]
)
def test_a_third_bitmap_is_looked_for_where_asked(text: str, width: int) -> None:
    """Bit 65 makes it three, bit 1 makes it two."""
    assert width_at(text, 0, 3) == width
    assert width_at(text, 0) == min(width, 32)


@given(st.sets(st.integers(2, 192).filter(lambda number: number != 65)))
def test_there_and_back(numbers: set[int]) -> None:
    """Any set of fields survives the bitmap."""
    assert read_bitmap(make_bitmap(numbers)) == tuple(sorted(numbers))
