"""Twin of gateway.rules.nik. The oracle is python-stdnum."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.id import nik as oracle

from gateway.rules.findings import Reason
from gateway.rules.nik import Sex, born_on, judge_nik, sex_of, trim

births = st.dates(dt.date(1930, 1, 1), dt.date(2029, 12, 31))


def make_nik(birth: dt.date, sex: Sex, serial: int = 1, district: str = "127107") -> str:
    """A NIK as the civil register forms it."""
    day = birth.day + (40 if sex is Sex.WOMAN else 0)
    return f"{district}{day:02d}{birth:%m%y}{serial:04d}"


@given(births, st.sampled_from(Sex), st.integers(1, 9999))
def test_a_formed_nik_is_valid_and_tells_birth_and_sex(birth: dt.date, sex: Sex, serial: int) -> None:
    """What was put in is read out, and stdnum agrees that it is valid."""
    nik = make_nik(birth, sex, serial)
    assert judge_nik(nik) is None
    assert oracle.is_valid(nik)
    assert born_on(nik, birth)
    assert not born_on(nik, birth + dt.timedelta(days=1))
    assert sex is sex_of(nik)


@given(st.text("0123456789", min_size=10, max_size=10))
def test_we_accept_nothing_that_stdnum_refuses(rest: str) -> None:
    """Ours is the stricter one, and only about the day and the serial."""
    nik = f"127107{rest}"
    if judge_nik(nik) is None:
        assert oracle.is_valid(nik)
    elif oracle.is_valid(nik):
        assert nik.endswith("0000") or not (1 <= int(nik[6:8]) <= 31 or 41 <= int(nik[6:8]) <= 71)


@pytest.mark.parametrize(
    "nik",
    [
        "127107410190000",
        "127107O101900001",
        "1271070101900000",
        "1271073213900001",
        "9971010101900001",
        "1271074001900001",
        "1271078101900001",
        "1271077201900001",
        "1271073002900001",
        "1271072902910001",
        "\u0661271070101900001",
        "1271 0701 0190 0001",
        "",
    ],
)
def test_a_nik_of_another_form_is_invalid(nik: str) -> None:
    """Length, letters, serial 0000, province, day and month are each looked at."""
    assert judge_nik(nik) == Reason.NIK_INVALID


@pytest.mark.parametrize("nik", ["1,27107E+15", "1.27107E+15", "1.27e15", "1271070101900000.0", "1271070101900000,00"])
def test_a_spreadsheet_number_is_told_apart(nik: str) -> None:
    """Digits are gone: writing it again is the only way."""
    assert judge_nik(nik) == Reason.NIK_AS_NUMBER


def test_a_cell_stored_as_number_is_never_a_nik() -> None:
    """Even where sixteen digits are seen, the last one is not sure."""
    assert judge_nik("1271070101900001", stored_as_number=True) == Reason.NIK_AS_NUMBER


def test_trim_takes_what_spreadsheets_put_around_a_number() -> None:
    """Spaces, a no-break space, the text apostrophe."""
    assert "1271" == trim("\u00a0'1271 ") == trim("1271")
