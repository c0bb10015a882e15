"""Tests of gateway.rules.trace_subject."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.trace_subject import ID_MAX, Subject, SubjectKind, parse_subject


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("sp2d:SP2D-1", SubjectKind.SP2D, "SP2D-1"),
        ("SP2D: 26/1:7 ", SubjectKind.SP2D, "26/1:7"),
        ("si:SI-1:7", SubjectKind.SI, "SI-1:7"),
        ("account:001400000000019", SubjectKind.ACCOUNT, "001400000000019"),
        ("tranche:1", SubjectKind.TRANCHE, "1"),
        (f"transfer:{ID_MAX}", SubjectKind.TRANSFER, str(ID_MAX)),
        ("authorisation:12", SubjectKind.AUTHORISATION, "12"),
        ("rrn:632902000001", SubjectKind.RRN, "632902000001"),
        ("return:3", SubjectKind.RETURN, "3"),
        ("evidence:RPL-20270311-7-3", SubjectKind.EVIDENCE, "RPL-20270311-7-3"),
        ("ntpn:abcdef0123456789", SubjectKind.NTPN, "ABCDEF0123456789"),
    ],
)
def test_what_can_be_traced(text: str, kind: SubjectKind, value: str) -> None:
    """A word, a colon and what it is known by."""
    assert Subject(kind, value) == parse_subject(text)


@pytest.mark.parametrize("text", ["", "17", "rupiah:17", "tranche", ":17"])
def test_what_is_no_subject(text: str) -> None:
    """One line that names all that may stand there."""
    with pytest.raises(ValueError, match=r"is not one of sp2d:\.\.\., si:\.\.\..*, ntpn:\.\.\.$"):
        parse_subject(text)


@pytest.mark.parametrize("text", ["sp2d:", "sp2d: ", "si:\x1b[2J", "account:" + "1" * 101])
def test_a_word_that_names_nothing(text: str) -> None:
    """Nothing, something that cannot be printed, or too much of it."""
    with pytest.raises(ValueError, match="names nothing"):
        parse_subject(text)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "one", "١", str(ID_MAX + 1)])
def test_an_id_is_a_whole_number(value: str) -> None:
    """Tranches, transfers, authorisations and returns are known by one."""
    with pytest.raises(ValueError, match="is known by its number"):
        parse_subject(f"tranche:{value}")


@given(number=st.text("SI-/:0", min_size=1, max_size=12), line=st.integers(1, ID_MAX))
def test_the_line_of_an_si_stands_last(number: str, line: int) -> None:
    """Whatever the number holds, what stands after its last colon is the line, where it is one."""
    assert (number, line) == Subject(SubjectKind.SI, f"{number}:{line}").split_line


@pytest.mark.parametrize("value", ["SI-1", "SI:A", "SI:0"])
def test_an_si_without_a_line(value: str) -> None:
    """It is the SI itself."""
    assert (value, None) == Subject(SubjectKind.SI, value).split_line
