"""Twin of gateway.rules.regions."""

from __future__ import annotations

import pytest

from gateway.rules.regions import NEWER_REGENCIES, known_province, known_regency


@pytest.mark.parametrize("code", ["1271", "3171", "1472", "6501", "9271", "9501", "9671", "9471"])
def test_regencies_of_today_and_before_are_known(code: str) -> None:
    """Medan, Jakarta Selatan, Dumai, Bulungan, and Papua's cities old and new."""
    assert known_regency(code)
    assert known_province(code[:2])


@pytest.mark.parametrize("code", ["9971", "1299", "0000", "12", "127101", "", "ABCD"])
def test_other_codes_are_not_regencies(code: str) -> None:
    """Only four digits that name a regency are one."""
    assert not known_regency(code)


@pytest.mark.parametrize("code", ["99", "00", "1", "1271", ""])
def test_other_codes_are_not_provinces(code: str) -> None:
    """Only two digits that name a province are one."""
    assert not known_province(code)


def test_newer_regencies_have_four_digits() -> None:
    """The table has no slip in it."""
    assert all(len(code) == 4 and code.isdigit() for code in NEWER_REGENCIES)
