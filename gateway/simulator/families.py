"""Invented lists of families (KPM) in the shape the ministry sends, with known faults: for demos, tests and load.

No row is a person: names are put together from word lists, numbers are counted. The same seed makes the same list. It
imports nothing of the bank, so what it calls a fault is not what the bank calls one. Read next: docs of the KPM list.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import xlsxwriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

COLUMNS = (
    *("NO", "NIK", "NO_KK", "NAMA", "TEMPAT_LAHIR", "TGL_LAHIR", "JENIS_KELAMIN", "NAMA_IBU_KANDUNG", "ALAMAT"),
    *("RT", "RW", "KODE_WILAYAH", "NO_HP", "ID_DTSEN", "PROGRAM", "KOMPONEN", "KODE_CABANG"),
)
_AT = {name: at for at, name in enumerate(COLUMNS)}
_NIK, _KK, _NAME, _BORN, _SEX, _MOTHER = (_AT[name] for name in ("NIK", "NO_KK", "NAMA", "TGL_LAHIR", *COLUMNS[6:8]))
_REGION, _PROGRAM, _COMPONENTS = _AT["KODE_WILAYAH"], _AT["PROGRAM"], _AT["KOMPONEN"]

LIST_DATE = dt.date(2026, 11, 2)
"""The day the list is meant for: ages are counted to it."""

# fmt: off
_WOMEN = (
    "SITI", "ROSMAWATI", "RINA", "INTAN", "DEWI", "ASIAH", "WATI", "TUTI", "LINA", "MARIA", "NUR", "YULI", "FITRI",
    "SRI", "SARI", "MURNI", "RAHMA", "LESTARI",
)
_MEN = (
    "PONIMAN", "BUDI", "AGUS", "SLAMET", "JOKO", "HASAN", "RUDI", "BAMBANG", "SUTRISNO", "ANWAR", "TOGAR", "RAMLI",
    "DEDI", "EKO", "YUSUF", "HENDRA",
)
_SECOND = (
    "AINI", "HANDAYANI", "RAHAYU", "UTAMI", "HALIMAH", "MULYANI", "HIDAYAT", "SANTOSO", "SETIAWAN", "MAULANA",
    "FIRMAN", "KARTINI", "AYU",
)
_CLANS = (
    "SIREGAR", "HARAHAP", "NASUTION", "LUBIS", "HASIBUAN", "SEMBIRING", "TARIGAN", "GINTING", "SITORUS",
    "SIMANJUNTAK", "PANE", "SIAHAAN", "WIJAYA", "SUSANTI", "ANGGRAINI", "PURBA", "SARAGIH", "BATUBARA", "DAULAY",
    "RITONGA", "POHAN", "TANJUNG", "SINAGA", "MARPAUNG", "SILALAHI", "PANJAITAN", "NAINGGOLAN", "D'SOUZA",
)
# fmt: on
_MOTHERS = [f"{given} {clan}".strip() for given in (*_WOMEN, "NGATIYEM", "PONIYEM") for clan in (*_CLANS, "")]
_PLACES = ("MEDAN", "BINJAI", "LANGKAT", "DELI SERDANG", "TEBING TINGGI", "KARO", "ASAHAN")
_STREETS = ("PINANG BARIS", "KARYA JAYA", "GAPERTA", "SETIA BUDI", "BAKTI LUHUR", "MARELAN RAYA")
_NIK_REGENCIES = ("1271", "1205", "1206", "1207", "1209", "1272", "1274", "1275", "3171", "3273", "3374", "3578")
_DISTRICTS = tuple(f"{number:02d}" for number in range(1, 22))
_NIK_PREFIXES = tuple(f"{regency}{district}" for district in _DISTRICTS for regency in _NIK_REGENCIES)
_MAX_SERIAL = 9_999
MAX_FAMILIES = len(_NIK_PREFIXES) * _MAX_SERIAL
_PKH_PARTS = ("HAMIL", "USIA_DINI", "SD", "SMP", "SMA", "DISABILITAS", "LANSIA")
_WOMAN_DAYS = 40
_WOMEN_OF_256 = 215

_YOUNGEST_DAYS = 20 * 366
_BIRTH_DAYS = 18_250
_BIRTH_STEP = 7_919  # prime, so that stepping through the days meets each once
_KK_DAYS = 4_999
_KK_STEP = 2_609
_KK_FIRST = dt.date(2008, 1, 2)

Cells: TypeAlias = list[str]
Fault: TypeAlias = "Callable[[Cells, dt.date, int, Cells], None]"


def write_kpm_list(
    path: Path | str,
    families: int,
    seed: int = 1,
    faults: int | Mapping[str, int] = 0,
    *,
    separator: str = ";",
    encoding: str = "utf-8-sig",
) -> dict[str, int]:
    """Write `families` rows, some of them faulty, as CSV or (by the ending) XLSX; returns how many rows have each fault.

    `faults` is a number for every kind in FAULTS, or a number by kind. Each fault stands on a row of its own; a duplicate
    is the later row of two. Every row is made from its number alone, so memory does not grow with the list.
    ValueError: an unknown kind, more than MAX_FAMILIES, or faults on more than half of the rows.
    """
    counts = dict.fromkeys(FAULTS, faults) if isinstance(faults, int) else dict(faults)
    unknown = sorted(counts.keys() - FAULTS.keys())
    total = sum(counts.values())
    if unknown or not 0 < families <= MAX_FAMILIES or total * 2 > families or min(counts.values(), default=0) < 0:
        raise ValueError(f"cannot make {families} families with {total} faults {' '.join(unknown)}".rstrip())
    path = Path(path)
    rows = _rows(families, seed, _placed(families, seed, counts))
    if path.suffix.lower() == ".xlsx":
        _write_workbook(path, rows)
    else:
        with path.open("w", encoding=encoding, newline="") as file:
            writer = csv.writer(file, delimiter=separator, lineterminator="\r\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
    return {kind: count for kind, count in counts.items() if count}


def _placed(families: int, seed: int, counts: Mapping[str, int]) -> dict[int, tuple[str, int, int]]:
    """Row number -> (kind, nth of its kind, row it may copy). The rows copied come first and stay good."""
    total = sum(counts.values())
    places = iter(random.Random(seed).sample(range(total, families), total))
    kinds = [(kind, nth) for kind, count in counts.items() for nth in range(count)]
    return {next(places): (kind, nth, source) for source, (kind, nth) in enumerate(kinds)}


def _rows(families: int, seed: int, placed: Mapping[int, tuple[str, int, int]]) -> Iterator[Cells]:
    key = f"kpm {seed}".encode()
    for number in range(families):
        cells, born = _family(number, key)
        if number in placed:
            kind, nth, source = placed[number]
            FAULTS[kind](cells, born, nth, _family(source, key)[0])
        yield cells


class _Day:
    """A birth day with its spellings made once."""

    __slots__ = ("date", "in_nik", "spellings")

    def __init__(self, date: dt.date) -> None:
        self.date = date
        self.in_nik = {"L": date.strftime("%d%m%y"), "P": f"{date.day + _WOMAN_DAYS}{date.strftime('%m%y')}"}
        self.spellings = (date.strftime("%d-%m-%Y"), date.strftime("%d/%m/%Y"), date.isoformat())


@lru_cache(maxsize=_BIRTH_DAYS)
def _day(number: int) -> _Day:
    return _Day(LIST_DATE - dt.timedelta(days=_YOUNGEST_DAYS + number))


def _family(number: int, key: bytes) -> tuple[Cells, dt.date]:
    """Row `number`: the digest of its number chooses words, the number itself makes NIK, No KK and mother unique."""
    chance = blake2b(number.to_bytes(8), key=key, digest_size=24).digest()
    serial, at = divmod(number, len(_NIK_PREFIXES))
    rounds, place = divmod(number, _BIRTH_DAYS)
    birth = place * _BIRTH_STEP % _BIRTH_DAYS
    day = _day(birth)
    sex = "P" if chance[0] < _WOMEN_OF_256 else "L"
    given = _WOMEN[chance[1] % len(_WOMEN)] if sex == "P" else _MEN[chance[1] % len(_MEN)]
    clan = _CLANS[chance[2] % len(_CLANS)]
    name = f"{given} {_SECOND[chance[3] % len(_SECOND)]} {clan}" if chance[4] & 1 else f"{given} {clan}"
    district = _DISTRICTS[chance[5] % len(_DISTRICTS)]
    village = f"10{chance[6] % 9 + 1:02d}"
    phone = f"08{int.from_bytes(chance[7:12]) % 10**10:010d}" if chance[12] & 1 else ""
    programme, components = _aid(chance)
    return [
        str(number + 1),
        f"{_NIK_PREFIXES[at]}{day.in_nik[sex]}{serial + 1:04d}",
        _no_kk(number),
        name,
        _PLACES[chance[13] % len(_PLACES)],
        day.spellings[chance[14] % 3],
        sex,
        _MOTHERS[(birth * 31 + rounds) % len(_MOTHERS)],
        f"JL. {_STREETS[chance[15] % len(_STREETS)]} GG. {_CLANS[chance[16] % len(_CLANS)]} NO. {chance[17] + 1}",
        f"{chance[18] % 12 + 1:03d}",
        f"{chance[18] // 16 % 8 + 1:03d}",
        f"12.71.{district}.{village}" if chance[19] & 3 == 0 else f"1271{district}{village}",
        phone,
        f"{number * 7 + 100_000_000_000:012d}",
        programme,
        components,
        f"{chance[20] % 40 + 1:04d}",
    ], day.date


def _aid(chance: bytes) -> tuple[str, str]:
    share = chance[21] % 10
    if share < 5:  # noqa: PLR2004 five of ten families get Sembako alone, as in lists of 2026
        return "SEMBAKO", ""
    first = chance[22] % 7
    second = (first + 1 + chance[23] % 6) % 7
    parts = [f"{_PKH_PARTS[first]}:{chance[22] // 7 % 2 + 1}"]
    if chance[23] & 64:
        parts.append(f"{_PKH_PARTS[second]}:{chance[23] // 128 + 1}")
    return "PKH" if share < 7 else "PKH+SEMBAKO", ";".join(parts)  # noqa: PLR2004 two of ten PKH alone


def _no_kk(number: int) -> str:
    rest, district = divmod(number, len(_DISTRICTS))
    serial, place = divmod(rest, _KK_DAYS)
    issued = _KK_FIRST + dt.timedelta(days=place * _KK_STEP % _KK_DAYS)
    return f"1271{_DISTRICTS[district]}{issued.day:02d}{issued.month:02d}{issued.year % 100:02d}{serial + 1:04d}"


def _nik_invalid(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    nik = cells[_NIK]
    broken = (nik[:15], f"{nik[:8]}O{nik[9:]}", f"{nik[:12]}0000", f"{nik[:6]}3213{nik[10:]}", f"99{nik[2:]}")
    cells[_NIK] = broken[nth % len(broken)]


def _nik_mismatch(cells: Cells, born: dt.date, nth: int, _source: Cells) -> None:
    if nth % 2:
        cells[_SEX] = "L" if cells[_SEX] == "P" else "P"
    else:
        cells[_BORN] = (born - dt.timedelta(days=400)).isoformat()


def _nik_as_number(cells: Cells, _born: dt.date, _nth: int, _source: Cells) -> None:
    cells[_NIK] = f"{int(cells[_NIK]):.5E}".replace(".", ",")


def _no_kk_invalid(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    cells[_KK] = cells[_KK][:13] if nth % 2 else ""


def _name_missing(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    cells[_NAME] = ("", "-", "   ")[nth % 3]


def _mother_name_empty(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    cells[_MOTHER] = ("", "-")[nth % 2]


def _date_invalid(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    cells[_BORN] = ("31-02-1990", "tidak tahu", "", "1990-13-05", "01/01/2199")[nth % 5]


def _region_invalid(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    cells[_REGION] = ("12.71", "9971011001", "127101100X", "")[nth % 4]


def _program_unknown(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    cells[_PROGRAM], cells[_COMPONENTS] = ("BLT-XYZ", "", "PKH+XYZ")[nth % 3], ""


def _component_invalid(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    cells[_PROGRAM], cells[_COMPONENTS] = "PKH", ("KULIAH:1", "SD", "", "SMP:0", "SD:1;SD:2")[nth % 5]


def _under_age(cells: Cells, _born: dt.date, nth: int, _source: Cells) -> None:
    day = _Day(LIST_DATE - dt.timedelta(days=3_000 + nth % 2_000))
    nik = cells[_NIK]
    cells[_NIK] = f"{nik[:6]}{day.in_nik[cells[_SEX]]}{nik[12:]}"
    cells[_BORN] = day.spellings[nth % 3]


def _dup_nik(cells: Cells, _born: dt.date, _nth: int, source: Cells) -> None:
    for at in (_NIK, _BORN, _SEX):
        cells[at] = source[at]


def _dup_kk(cells: Cells, _born: dt.date, _nth: int, source: Cells) -> None:
    cells[_KK] = source[_KK]


def _dup_person(cells: Cells, _born: dt.date, _nth: int, source: Cells) -> None:
    cells[_NIK] = f"{cells[_NIK][:6]}{source[_NIK][6:12]}{cells[_NIK][12:]}"
    for at in (_NAME, _BORN, _SEX, _MOTHER):
        cells[at] = source[at]


FAULTS: Mapping[str, Fault] = {
    "NIK_INVALID": _nik_invalid,
    "NIK_MISMATCH": _nik_mismatch,
    "NIK_AS_NUMBER": _nik_as_number,
    "NO_KK_INVALID": _no_kk_invalid,
    "NAME_MISSING": _name_missing,
    "MOTHER_NAME_EMPTY": _mother_name_empty,
    "DATE_INVALID": _date_invalid,
    "REGION_INVALID": _region_invalid,
    "PROGRAM_UNKNOWN": _program_unknown,
    "COMPONENT_INVALID": _component_invalid,
    "UNDER_AGE": _under_age,
    "DUP_NIK_IN_FILE": _dup_nik,
    "DUP_KK_IN_FILE": _dup_kk,
    "DUP_PERSON": _dup_person,
}
"""Kinds of fault, named by the reason code a list of findings should show. MOTHER_NAME_EMPTY alone keeps a row in."""


def _write_workbook(path: Path, rows: Iterator[Cells]) -> None:
    """As spreadsheets do it: ISO birth dates are real dates, a NIK in scientific notation is a number."""
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        sheet = book.add_worksheet("KPM")
        as_date = book.add_format({"num_format": "dd/mm/yyyy"})
        sheet.write_row(0, 0, COLUMNS)
        for line, cells in enumerate(rows, start=1):
            for at, cell in enumerate(cells):
                if at == _NIK and "E+" in cell:
                    sheet.write_number(line, at, float(cell.replace(",", ".")))
                elif at == _BORN and (date := _iso_date(cell)) is not None:
                    sheet.write_datetime(line, at, date, as_date)
                elif cell:
                    sheet.write_string(line, at, cell)


def _iso_date(cell: str) -> dt.datetime | None:
    if "-" not in cell[4:5]:
        return None
    try:
        return dt.datetime.fromisoformat(cell)
    except ValueError:
        return None
