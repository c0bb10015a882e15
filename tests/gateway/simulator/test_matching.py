"""Tests of gateway.simulator.matching."""

from __future__ import annotations

import pytest

from gateway.simulator.errors import CaseError
from gateway.simulator.matching import differences, fill, fits, pattern_of, value_of
from iso.message import Message


def test_variables_are_filled_in() -> None:
    """Several in one text; a dollar that is no variable stays."""
    assert fill("${a}${b}$", {"a": "1", "b": "2"}) == "12$"
    with pytest.raises(CaseError, match="variable c has no value"):
        fill("${c}", {"a": "1"})


@pytest.mark.parametrize(
    ("wanted", "value", "fits"),
    [
        ("00", "00", True),
        ("00", "01", False),
        ("00", None, False),
        ("A1", "A1      ", True),
        ("*", "x", True),
        ("*", None, False),
        ("!", None, True),
        ("!", "x", False),
        ("/[0-9]{2}/", "55", True),
        ("/[0-9]{2}/", "555", False),
        ("/(?!00)../", "00", False),
        ("/", "/", True),
        ("?/[0-9]{2}/", None, True),
        ("?/[0-9]{2}/", "55", True),
        ("?/[0-9]{2}/", "5X", False),
        ("?00", "01", False),
        ("?00", None, True),
        ("${v}", "75", True),
        ("${v}", "55", False),
    ],
)
def test_matchers(wanted: str, value: str | None, fits: bool) -> None:  # noqa: FBT001 - a column of the table above
    """Exact, present, absent, pattern, variable."""
    answer = Message("0210", {} if value is None else {39: value})
    assert fits == (not differences({"39": wanted}, answer, {"v": "75"}))


def test_differences_name_field_and_values_but_no_card_number() -> None:
    """The type is compared under mti."""
    answer = Message("0210", {2: "6013010000000018", 39: "51"})
    found = differences({"mti": "0230", "2": "6013019999999999", "39": "00", "38": "*"}, answer, {})
    expected = [
        "type: expected 0230, got '0210'",
        "field 2: expected its value, got another value",
        "field 39: expected 00, got '51'",
        "field 38: expected *, got nothing",
    ]
    assert expected == found


def test_values_by_key() -> None:
    """The type has a word, fields their numbers; what is not there is None."""
    message = Message("0200", {39: "00"})
    assert ("0200", "00", None) == tuple(value_of(message, key) for key in ("mti", "39", "4"))
    assert (True, False) == (fits("/02../", "0200"), fits("/02/", "0200"))
    assert ("a/b", None, None) == tuple(pattern_of(text) for text in ("/a/b/", "/", "ab"))
