"""Bitmaps by hand, and there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.bitmap import make_bitmap, read_bitmap, width_at
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


@given(st.sets(st.integers(2, 128)))
def test_there_and_back(numbers: set[int]) -> None:
    """Any set of fields survives the bitmap."""
    assert read_bitmap(make_bitmap(numbers)) == tuple(sorted(numbers))
