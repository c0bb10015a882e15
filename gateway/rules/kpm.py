"""Judges one row of the ministry's list of families (KPM): a normalised family, or everything that is wrong with it.

Pure: the business date and the policy are parameters. Duplicates and exclusions are not seen here, they need the other
rows and the database (gateway.store). Read next: gateway.rules.findings, gateway.rules.nik.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from gateway.rules.findings import (
    Finding,
    Reason,
    Severity,
    found,
    mask_date,
    mask_name,
    mask_number,
    mask_text,
)
from gateway.rules.names import is_plain, tidy
from gateway.rules.nik import Sex, born_on, judge_nik, sex_of, trim
from gateway.rules.regions import known_regency

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PKH_COMPONENTS = frozenset(("HAMIL", "USIA_DINI", "SD", "SMP", "SMA", "DISABILITAS", "LANSIA", "HAM_BERAT"))


@dataclass(frozen=True, slots=True)
class ProgrammeFacts:
    """What a programme asks of a row. `code` is its name in the bank: a policy may map several spellings to one code."""

    code: str
    needs_components: bool = False


def _usual_programmes() -> Mapping[str, ProgrammeFacts]:
    sembako = ProgrammeFacts("SEMBAKO")
    return MappingProxyType({"PKH": ProgrammeFacts("PKH", needs_components=True), "SEMBAKO": sembako, "BPNT": sembako})


@dataclass(frozen=True, slots=True, eq=False)
class KpmPolicy:
    """The configurable part of the rules. `programmes` maps the spelling in a list to its facts.

    Compared by identity, so that what a cell means under it is worked out once: make one and keep it.
    """

    min_age_years: int = 17
    programmes: Mapping[str, ProgrammeFacts] = field(default_factory=_usual_programmes)
    components: frozenset[str] = PKH_COMPONENTS
    max_per_component: int = 9
    earliest_birth_date: dt.date = dt.date(1900, 1, 1)


class KpmFamily(NamedTuple):
    """A family's row, normalised: numbers as digits, texts in capitals with single spaces, "" for what is not given.

    `mother_name` is "" where it must be completed at hand-over. `region` has 10 digits. `components` counts persons.
    """

    nik: str
    no_kk: str
    name: str
    birth_place: str
    birth_date: dt.date
    sex: Sex
    mother_name: str
    address: str
    rt: str
    rw: str
    region: str
    phone: str
    dtsen_id: str
    programmes: tuple[str, ...]
    components: Mapping[str, int]
    branch: str

    def __repr__(self) -> str:
        return (
            f"KpmFamily(nik={mask_number(self.nik)!r}, no_kk={mask_number(self.no_kk)!r}, name={mask_name(self.name)!r},"
            f" mother_name={mask_name(self.mother_name)!r}, region={self.region!r}, programmes={self.programmes!r})"
        )


class CheckedRow(NamedTuple):
    """`family` is None where a finding is an error. A family with only warnings is accepted."""

    family: KpmFamily | None
    findings: tuple[Finding, ...]


def check_row(
    values: Mapping[str, str],
    *,
    on: dt.date,
    policy: KpmPolicy,
    numeric: Collection[str] = (),
    surplus: int = 0,
) -> CheckedRow:
    """Judge a row and collect all its findings.

    `values` by column name, `numeric` the columns a spreadsheet stored as numbers, `surplus` the filled cells beyond the
    header, `on` the business date that ages are counted on.
    """
    findings: list[Finding] = []
    if surplus:
        findings.append(found(Reason.ROW_MALFORMED, "", f"+{surplus}"))
    nik = _nik(values.get("NIK", ""), "NIK" in numeric, findings)
    no_kk = _no_kk(values.get("NO_KK", ""), "NO_KK" in numeric, nik, findings)
    name = _name(values.get("NAMA", ""), findings)
    birth_date = _birth_date(values.get("TGL_LAHIR", ""), on, policy, findings)
    sex = _sex(values.get("JENIS_KELAMIN", ""), findings)
    _agree(nik, birth_date, sex, findings)
    mother_name = _mother_name(values.get("NAMA_IBU_KANDUNG", ""), findings)
    region = _region(values.get("KODE_WILAYAH", ""), findings)
    programmes = _programmes(values.get("PROGRAM", ""), policy, findings)
    components = _components(values.get("KOMPONEN", ""), programmes, policy, findings)
    phone = _phone(values.get("NO_HP", ""), findings)
    branch = _short_code("KODE_CABANG", values.get("KODE_CABANG", ""), findings)
    rt = _short_code("RT", values.get("RT", ""), findings)
    rw = _short_code("RW", values.get("RW", ""), findings)
    birth_place = _text("TEMPAT_LAHIR", values.get("TEMPAT_LAHIR", ""), findings)
    address = _text("ALAMAT", values.get("ALAMAT", ""), findings)
    dtsen_id = _text("ID_DTSEN", values.get("ID_DTSEN", ""), findings)
    refused = bool(findings) and any(finding.severity is Severity.ERROR for finding in findings)
    if refused or birth_date is None or sex is None:
        return CheckedRow(None, tuple(findings))
    family = KpmFamily(
        nik=nik,
        no_kk=no_kk,
        name=name,
        birth_place=birth_place,
        birth_date=birth_date,
        sex=sex,
        mother_name=mother_name,
        address=address,
        rt=rt.zfill(3) if rt else "",
        rw=rw.zfill(3) if rw else "",
        region=region,
        phone=phone,
        dtsen_id=dtsen_id,
        programmes=tuple(facts.code for facts in programmes),
        components=components,
        branch=branch,
    )
    return CheckedRow(family, tuple(findings))


def _nik(value: str, is_number: bool, findings: list[Finding]) -> str:  # noqa: FBT001 a fact of the cell beside it
    nik = trim(value)
    wrong = judge_nik(nik, stored_as_number=is_number)
    if wrong is None:
        return nik
    findings.append(found(wrong, "NIK", mask_number(nik)))
    return ""


_DIGITS_16 = re.compile(r"[0-9]{16}")


def _no_kk(value: str, is_number: bool, nik: str, findings: list[Finding]) -> str:  # noqa: FBT001 as above
    no_kk = trim(value)
    if not is_number and _DIGITS_16.fullmatch(no_kk) and no_kk != nik and no_kk[1:] != no_kk[:-1]:
        return no_kk
    findings.append(found(Reason.NO_KK_INVALID, "NO_KK", mask_number(no_kk)))
    return ""


_MAX_TEXT = 200
_MAX_NAME = 100


def _name(value: str, findings: list[Finding]) -> str:
    name = _capitals(value)
    if not name:
        findings.append(found(Reason.NAME_MISSING, "NAMA", mask_text(value)))
    elif len(name) > _MAX_NAME:
        findings.append(found(Reason.DATA_INVALID, "NAMA", mask_name(name)))
    return name


def _mother_name(value: str, findings: list[Finding]) -> str:
    name = _capitals(value)
    if not name:
        findings.append(
            found(Reason.MOTHER_NAME_EMPTY, "NAMA_IBU_KANDUNG", mask_text(value), severity=Severity.WARNING)
        )
    elif len(name) > _MAX_NAME:
        findings.append(found(Reason.DATA_INVALID, "NAMA_IBU_KANDUNG", mask_name(name)))
    return name


def _capitals(value: str) -> str:
    """A name in capitals with single spaces; "" where it has no letter ("-", ".", "0")."""
    if is_plain(value):
        return value
    name = tidy(value)
    return name if name.isupper() or any(char.isalpha() for char in name) else ""


_DAY_FIRST = re.compile(r"([0-9]{1,2})([-/])([0-9]{1,2})\2([0-9]{4})")
_YEAR_FIRST = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_MIDNIGHT = re.compile(r"[ T]00:00(?::00)?$")


@lru_cache(maxsize=65_536)
def parse_date(value: str) -> dt.date | None:
    """31-12-1990, 31/12/1990 or 1990-12-31 (a midnight behind it is dropped); None for anything else."""
    text = value.strip()
    if ":" in text:
        text = _MIDNIGHT.sub("", text)
    if match := _DAY_FIRST.fullmatch(text):
        day, month, year = int(match[1]), int(match[3]), int(match[4])
    elif match := _YEAR_FIRST.fullmatch(text):
        year, month, day = int(match[1]), int(match[2]), int(match[3])
    else:
        return None
    try:
        return dt.date(year, month, day)
    except ValueError:
        return None


def _birth_date(value: str, on: dt.date, policy: KpmPolicy, findings: list[Finding]) -> dt.date | None:
    born = parse_date(value)
    if born is None or not policy.earliest_birth_date <= born <= on:
        findings.append(found(Reason.DATE_INVALID, "TGL_LAHIR", mask_date(value)))
        return None
    if age_on(born, on) < policy.min_age_years:
        findings.append(found(Reason.UNDER_AGE, "TGL_LAHIR", mask_date(value)))
    return born


def age_on(born: dt.date, on: dt.date) -> int:
    """Full years of age; someone born on 29 February turns a year older on 1 March of a common year."""
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


_SEXES = {"L": Sex.MAN, "P": Sex.WOMAN, "LAKI-LAKI": Sex.MAN, "LAKI LAKI": Sex.MAN, "PEREMPUAN": Sex.WOMAN}


def _sex(value: str, findings: list[Finding]) -> Sex | None:
    sex = _SEXES.get(value) or _SEXES.get(" ".join(value.upper().split()))
    if sex is None:
        mend = "Tulis L atau P / write L (man) or P (woman)"
        findings.append(found(Reason.DATA_INVALID, "JENIS_KELAMIN", mask_text(value), mend))
    return sex


def _agree(nik: str, birth_date: dt.date | None, sex: Sex | None, findings: list[Finding]) -> None:
    """At most one NIK_MISMATCH a row; a NIK that is invalid itself disagrees with nothing."""
    if not nik:
        return
    if birth_date is not None and not born_on(nik, birth_date):
        findings.append(found(Reason.NIK_MISMATCH, "TGL_LAHIR", mask_date(birth_date.isoformat())))
    elif sex is not None and sex_of(nik) is not sex:
        findings.append(found(Reason.NIK_MISMATCH, "JENIS_KELAMIN", sex.value))


_REGION = re.compile(r"[0-9]{2}\.?[0-9]{2}\.?[0-9]{2}\.?[0-9]{4}")


@lru_cache(maxsize=65_536)
def parse_region(value: str) -> str | None:
    """A village code as 10 digits, dots dropped; None if it has another shape or no such regency."""
    text = trim(value)
    if not _REGION.fullmatch(text):
        return None
    code = text.replace(".", "")
    return code if known_regency(code[:4]) else None


def _region(value: str, findings: list[Finding]) -> str:
    region = parse_region(value)
    if region is None:
        findings.append(found(Reason.REGION_INVALID, "KODE_WILAYAH", mask_text(value)))
        return ""
    return region


def _programmes(value: str, policy: KpmPolicy, findings: list[Finding]) -> tuple[ProgrammeFacts, ...]:
    programmes = _known_programmes(value, policy)
    if programmes is None:
        findings.append(found(Reason.PROGRAM_UNKNOWN, "PROGRAM", mask_text(value)))
        return ()
    return programmes


@lru_cache(maxsize=1024)
def _known_programmes(value: str, policy: KpmPolicy) -> tuple[ProgrammeFacts, ...] | None:
    """Programmes in the order written, each once; None where one of them is unknown."""
    chosen: dict[str, ProgrammeFacts] = {}
    for word in value.upper().split("+"):
        facts = policy.programmes.get(word.strip())
        if facts is None:
            return None
        chosen[facts.code] = facts
    return tuple(chosen.values())


_COMPONENT = re.compile(r"([A-Z_ ]+?)\s*:\s*([0-9]{1,3})")


def _components(
    value: str, programmes: tuple[ProgrammeFacts, ...], policy: KpmPolicy, findings: list[Finding]
) -> Mapping[str, int]:
    """Empty where a programme needs them is wrong; counts are kept whatever the programme."""
    counts = _counted_components(value, policy)
    if counts is None or (not counts and any(facts.needs_components for facts in programmes)):
        findings.append(found(Reason.COMPONENT_INVALID, "KOMPONEN", mask_text(value)))
        return _NO_COMPONENTS
    return counts


_NO_COMPONENTS: Mapping[str, int] = MappingProxyType({})


@lru_cache(maxsize=4096)
def _counted_components(value: str, policy: KpmPolicy) -> Mapping[str, int] | None:
    """HAMIL:1;SD:2 as counts; None where a code is unknown or stands twice, or a count is out of bounds."""
    text = value.strip().strip(";").upper()
    if not text or len(text) > _MAX_TEXT:
        return None if text else _NO_COMPONENTS
    counts: dict[str, int] = {}
    for part in text.replace(",", ";").split(";"):
        match = _COMPONENT.fullmatch(part.strip())
        code = match[1].replace(" ", "_") if match else ""
        count = int(match[2]) if match else 0
        if code not in policy.components or code in counts or not 1 <= count <= policy.max_per_component:
            return None
        counts[code] = count
    return MappingProxyType(counts)


_PHONE_NOISE = re.compile(r"[\s().-]+")
_PHONE = re.compile(r"(?:\+?62|0)?([1-9][0-9]{6,12})")


def _phone(value: str, findings: list[Finding]) -> str:
    """The number with a leading 0, "" where none is given. A bad one is a warning: the card does not depend on it."""
    match = _PHONE.fullmatch(value)
    if match is None:
        text = _PHONE_NOISE.sub("", trim(value))
        if not text.strip("0"):
            return ""
        match = _PHONE.fullmatch(text) or _PHONE.fullmatch(text.removeprefix("0"))
    if match is None:
        mend = "Periksa nomor HP / check the phone number"
        findings.append(found(Reason.DATA_INVALID, "NO_HP", mask_number(value), mend, Severity.WARNING))
        return ""
    return f"0{match[1]}"


def _short_code(column: str, value: str, findings: list[Finding]) -> str:
    code = _as_short_code(value)
    if code is None:
        findings.append(found(Reason.DATA_INVALID, column, mask_text(value)))
        return ""
    return code


_SHORT_CODE = re.compile(r"[0-9A-Z ./-]{0,12}")


@lru_cache(maxsize=4096)
def _as_short_code(value: str) -> str | None:
    code = value.strip().upper()
    return code.strip("-") if _SHORT_CODE.fullmatch(code) else None


def _text(column: str, value: str, findings: list[Finding]) -> str:
    text = tidy(value)
    if len(text) > _MAX_TEXT:
        findings.append(found(Reason.DATA_INVALID, column, f"{mask_text(text[:1])}***"))
    return text
