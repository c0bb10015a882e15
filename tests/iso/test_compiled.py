"""Tests of iso.compiled: a function made for a shape tells right from wrong. test_codec.py compares it with the slow way."""

from __future__ import annotations

import re

import pytest

from iso.compiled import Step, reader, writer

NUMBER = Step(3, 0, 6, str.isdigit, each=True, binary=False)
AMOUNT = Step(4, 0, 12, str.isdigit, each=True, binary=False)
ACQUIRER = Step(32, 2, 11, str.isdigit, each=True, binary=False)
FEE = Step(28, 0, 9, re.compile(r"[CD][0-9]+").fullmatch, each=False, binary=False)
FEE_2 = Step(29, 0, 9, FEE.right, each=False, binary=False)
PIN = Step(52, 0, 16, re.compile(r"[0-9A-Fa-f]+").fullmatch, each=True, binary=True)
LENGTHS = {f"{length:02d}": length for length in range(100)}
PREFIXES = {2: list(LENGTHS)}
SHAPE = [NUMBER, AMOUNT, ACQUIRER, FEE, FEE_2, PIN]
FIELDS = {3: "010000", 4: "000005000000", 32: "000002", 28: "C00000100", 29: "D00000200", 52: "0123456789ABCDEF"}
TEXT = "01000000000500000006000002C00000100D000002000123456789ABCDEF"


def test_what_is_written_is_read() -> None:
    """Both ways, small letters of binary fields as capitals."""
    write, read = writer(SHAPE, "BITMAP", PREFIXES), reader(SHAPE, LENGTHS)
    assert f"0200BITMAP{TEXT}" == write("0200", FIELDS)
    assert FIELDS == read(TEXT, 0)
    assert FIELDS == read("....." + TEXT.replace("ABCDEF", "abcdef"), 5)


@pytest.mark.parametrize(
    "text",
    [
        TEXT[:-1], TEXT + "0", "", TEXT.replace("010000", "01000X", 1), TEXT.replace("0600", "0X00"),
        TEXT.replace("0600", "1200"),
        TEXT.replace("C000", "0000"), TEXT.replace("D0000", "0000D"), TEXT.replace("ABCDEF", "ABCDEG"),
        TEXT.replace("06000002", "9900000200000000000"),
    ],
)  # fmt: skip
def test_what_is_not_right_is_not_read(text: str) -> None:
    """Too short, too long, other characters, a length that is none or too large, checks that do not serve two fields together."""
    assert reader(SHAPE, LENGTHS)(text, 0) is None


@pytest.mark.parametrize(
    "change",
    [
        {3: "10000"},
        {3: "01000X"},
        {32: "123456789012"},
        {32: ""},
        {28: "000000100"},
        {29: ""},
        {52: "0123456789ABCDEG"},
        {4: ""},
    ],
)
def test_what_is_not_right_is_not_written(change: dict[int, str]) -> None:
    """What wants padding neither: the slow way gives it."""
    assert writer(SHAPE, "BITMAP", PREFIXES)("0200", FIELDS | change) is None


def test_a_shape_without_fields() -> None:
    """A type and bitmaps alone."""
    assert "0800BITMAP" == writer([], "BITMAP", PREFIXES)("0800", {})
    assert {} == reader([], LENGTHS)("0800BITMAP", 10)
    assert reader([], LENGTHS)("0800BITMAP0", 10) is None
