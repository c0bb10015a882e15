"""Kemendagri region codes as far as the province (2 digits) and regency or city (4 digits).

python-stdnum's table is older than some provinces, so what Kepmendagri 300.2.2-2430/2025 and the codes before it add
stands here. Old codes stay known: a NIK keeps the code of its first registration. Read next: gateway.rules.nik.
"""

from __future__ import annotations

from functools import lru_cache

from stdnum import numdb

NEWER_REGENCIES = frozenset(
    f"{province}{regency}"
    for province, regencies in {
        "14": "72",
        "16": "12 13",
        "18": "13",
        "32": "18",
        "53": "21",
        "64": "11",
        "65": "01 02 03 04 71",
        "72": "11 12",
        "73": "24",
        "74": "11 12 13 14 15",
        "76": "06",
        "82": "08",
        "91": "11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28",
        "92": "01 02 03 04 05 06 07 08 09 10 11 12 71",
        "93": "01 02 03 04",
        "94": "05 06 07",
        "95": "01 02 03 04 05 06 07 08",
        "96": "01 02 03 04 05 71",
    }.items()
    for regency in regencies.split()
)
_PROVINCE_DIGITS = 2
_REGENCY_DIGITS = 4
_NEWER_PROVINCES = frozenset(code[:2] for code in NEWER_REGENCIES)


@lru_cache(maxsize=10_000)
def known_regency(code: str) -> bool:
    """Whether 4 digits name a regency or city of today or before. Anything else is False."""
    return code in NEWER_REGENCIES or (len(code) == _REGENCY_DIGITS and _named(code))


@lru_cache(maxsize=100)
def known_province(code: str) -> bool:
    """Whether 2 digits name a province of today or before. Anything else is False."""
    return code in _NEWER_PROVINCES or (len(code) == _PROVINCE_DIGITS and _named(code))


def _named(code: str) -> bool:
    """Whether stdnum has a name for each part of the code."""
    return all(about for _, about in numdb.get("id/loc").info(code))
