"""Twin of gateway.rules.kpm."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.findings import Reason, Severity
from gateway.rules.kpm import KpmFamily, KpmPolicy, ProgrammeFacts, age_on, check_row, parse_date, parse_region
from gateway.rules.nik import Sex

TODAY = dt.date(2026, 11, 2)
POLICY = KpmPolicy()
GOOD = {
    "NIK": "1271074112900001",
    "NO_KK": "1271151801080035",
    "NAMA": "Siti  Rosmawati",
    "TEMPAT_LAHIR": "Medan",
    "TGL_LAHIR": "01-12-1990",
    "JENIS_KELAMIN": "P",
    "NAMA_IBU_KANDUNG": "Ngatiyem",
    "ALAMAT": "Jl. Pinang Baris No. 8",
    "RT": "1",
    "RW": "002",
    "KODE_WILAYAH": "12.71.07.1008",
    "NO_HP": "+62 812-3456-789",
    "ID_DTSEN": "520396698329",
    "PROGRAM": "PKH+SEMBAKO",
    "KOMPONEN": "HAMIL:1;SD:2",
    "KODE_CABANG": "0014",
}


def reasons(**changed: str) -> list[Reason]:
    """Reasons found in a good row with some cells changed."""
    return [finding.code for finding in check_row(GOOD | changed, on=TODAY, policy=POLICY).findings]


def accepted(**changed: str) -> KpmFamily:
    """The family of a good row with some cells changed."""
    family = check_row(GOOD | changed, on=TODAY, policy=POLICY).family
    assert family is not None
    return family


def test_a_good_row_becomes_a_normalised_family() -> None:
    """Capitals, single spaces, ten region digits, a phone with its 0, three-digit RT and RW."""
    expected = KpmFamily(
        nik="1271074112900001",
        no_kk="1271151801080035",
        name="SITI ROSMAWATI",
        birth_place="MEDAN",
        birth_date=dt.date(1990, 12, 1),
        sex=Sex.WOMAN,
        mother_name="NGATIYEM",
        address="JL. PINANG BARIS NO. 8",
        rt="001",
        rw="002",
        region="1271071008",
        phone="0812345 6789".replace(" ", ""),
        dtsen_id="520396698329",
        programmes=("PKH", "SEMBAKO"),
        components={"HAMIL": 1, "SD": 2},
        branch="0014",
    )
    assert expected == accepted()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"NIK": "127107411290001"}, Reason.NIK_INVALID),
        ({"NIK": "1,27107E+15"}, Reason.NIK_AS_NUMBER),
        ({"TGL_LAHIR": "02-12-1990"}, Reason.NIK_MISMATCH),
        ({"JENIS_KELAMIN": "L"}, Reason.NIK_MISMATCH),
        ({"TGL_LAHIR": "02-12-1990", "JENIS_KELAMIN": "L"}, Reason.NIK_MISMATCH),
        ({"JENIS_KELAMIN": "X"}, Reason.DATA_INVALID),
        ({"NO_KK": "1271151801080"}, Reason.NO_KK_INVALID),
        ({"NO_KK": "1271074112900001"}, Reason.NO_KK_INVALID),
        ({"NO_KK": "0000000000000000"}, Reason.NO_KK_INVALID),
        ({"NAMA": " - "}, Reason.NAME_MISSING),
        ({"NAMA": "A" * 101}, Reason.DATA_INVALID),
        ({"NAMA_IBU_KANDUNG": "B" * 101}, Reason.DATA_INVALID),
        ({"TGL_LAHIR": "31-02-1990"}, Reason.DATE_INVALID),
        ({"TGL_LAHIR": "01-12-1890"}, Reason.DATE_INVALID),
        ({"TGL_LAHIR": "01-12-2090"}, Reason.DATE_INVALID),
        ({"TGL_LAHIR": ""}, Reason.DATE_INVALID),
        ({"KODE_WILAYAH": "12.71"}, Reason.REGION_INVALID),
        ({"KODE_WILAYAH": "9971011001"}, Reason.REGION_INVALID),
        ({"KODE_WILAYAH": "1299011001"}, Reason.REGION_INVALID),
        ({"PROGRAM": "BLT-XYZ"}, Reason.PROGRAM_UNKNOWN),
        ({"PROGRAM": ""}, Reason.PROGRAM_UNKNOWN),
        ({"KOMPONEN": ""}, Reason.COMPONENT_INVALID),
        ({"KOMPONEN": "KULIAH:1"}, Reason.COMPONENT_INVALID),
        ({"KOMPONEN": "SD"}, Reason.COMPONENT_INVALID),
        ({"KOMPONEN": "SD:0"}, Reason.COMPONENT_INVALID),
        ({"KOMPONEN": "SD:10"}, Reason.COMPONENT_INVALID),
        ({"KOMPONEN": "SD:1;SD:2"}, Reason.COMPONENT_INVALID),
        ({"KOMPONEN": "SD:1;" * 100}, Reason.COMPONENT_INVALID),
        ({"PROGRAM": "SEMBAKO", "KOMPONEN": "KULIAH:1"}, Reason.COMPONENT_INVALID),
        ({"KODE_CABANG": "0014\n0015"}, Reason.DATA_INVALID),
        ({"ALAMAT": "J" * 201}, Reason.DATA_INVALID),
    ],
)
def test_one_fault_gives_its_one_reason(changed: dict[str, str], expected: Reason) -> None:
    """A fault keeps the row out and shows once, without reasons that only follow from it."""
    row = check_row(GOOD | changed, on=TODAY, policy=POLICY)
    assert [expected] == [finding.code for finding in row.findings]
    assert row.family is None


def test_all_faults_of_a_row_are_collected() -> None:
    """The sender mends a row once, not fault by fault."""
    found = reasons(NIK="12", NO_KK="", NAMA="", NAMA_IBU_KANDUNG="", TGL_LAHIR="x", KODE_WILAYAH="", PROGRAM="?")
    assert found == [
        Reason.NIK_INVALID,
        Reason.NO_KK_INVALID,
        Reason.NAME_MISSING,
        Reason.DATE_INVALID,
        Reason.MOTHER_NAME_EMPTY,
        Reason.REGION_INVALID,
        Reason.PROGRAM_UNKNOWN,
    ]


def test_a_missing_mother_only_warns() -> None:
    """The family is accepted with an empty name, to be completed at hand-over."""
    row = check_row(GOOD | {"NAMA_IBU_KANDUNG": "-"}, on=TODAY, policy=POLICY)
    assert [(one.code, one.severity) for one in row.findings] == [(Reason.MOTHER_NAME_EMPTY, Severity.WARNING)]
    assert row.family is not None
    assert row.family.mother_name == ""


def test_a_number_cell_is_seen() -> None:
    """NIK and No KK stored as numbers have lost digits, whatever they look like."""
    row = check_row(GOOD, on=TODAY, policy=POLICY, numeric={"NIK", "NO_KK"})
    assert [finding.code for finding in row.findings] == [Reason.NIK_AS_NUMBER, Reason.NO_KK_INVALID]


def test_surplus_cells_are_a_finding_of_the_row() -> None:
    """A row with more cells than the header is not trusted."""
    row = check_row(GOOD, on=TODAY, policy=POLICY, surplus=2)
    assert [(finding.code, finding.shown) for finding in row.findings] == [(Reason.ROW_MALFORMED, "+2")]


def test_the_age_is_counted_to_the_business_date() -> None:
    """Seventeen on the day is old enough, a day before is not."""
    birthday = {"NIK": "1271074211090001", "TGL_LAHIR": "02-11-2009"}
    assert reasons(**birthday) == []
    day_before = check_row(GOOD | birthday, on=TODAY - dt.timedelta(days=1), policy=POLICY)
    assert [finding.code for finding in day_before.findings] == [Reason.UNDER_AGE]


@given(st.dates(dt.date(1901, 1, 1), dt.date(2020, 1, 1)), st.integers(1, 100))
def test_age_changes_on_the_birthday(born: dt.date, years: int) -> None:
    """On it the age is the years passed, the day before one less; a leap day's is on 1 March in common years."""
    try:
        birthday = born.replace(year=born.year + years)
    except ValueError:
        birthday = dt.date(born.year + years, 3, 1)
    assert age_on(born, birthday) == years
    assert age_on(born, birthday - dt.timedelta(days=1)) == years - 1


@given(st.dates(), st.sampled_from(["{0:02d}-{1:02d}-{2:04d}", "{0:02d}/{1:02d}/{2:04d}", "{2:04d}-{1:02d}-{0:02d}"]))
def test_a_date_is_read_in_three_forms(date: dt.date, form: str) -> None:
    """Day first with - or /, or ISO; a midnight behind it does not matter."""
    written = form.format(date.day, date.month, date.year)
    assert date == parse_date(written) == parse_date(f" {written} ") == parse_date(f"{written} 00:00:00")


@pytest.mark.parametrize(
    "written",
    ["31-02-1990", "1990-13-01", "01-12/1990", "12-1990", "01-12-90", "1990/12/01", "00-00-0000", "33208", ""],
)
def test_other_dates_are_refused(written: str) -> None:
    """No such day, mixed signs, two-digit years and spreadsheet numbers are not dates."""
    assert parse_date(written) is None


@given(st.integers(0, 9_999_999_999))
def test_a_region_is_ten_digits_of_a_known_regency(number: int) -> None:
    """With or without dots it is the same, and an unknown regency is none."""
    digits = f"{number:010d}"
    dotted = f"{digits[:2]}.{digits[2:4]}.{digits[4:6]}.{digits[6:]}"
    assert parse_region(digits) == parse_region(dotted)
    assert parse_region(f"1271{digits[4:]}") == f"1271{digits[4:]}"
    assert parse_region(f"99{digits[2:]}") is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [("", ""), ("-", ""), ("0", ""), ("8123456789", "08123456789"), ("628123456789", "08123456789")],
)
def test_a_phone_gets_its_leading_zero(written: str, expected: str) -> None:
    """Placeholders are no number; the country code is dropped."""
    assert expected == accepted(NO_HP=written).phone


def test_a_bad_phone_only_warns() -> None:
    """The card does not depend on a phone."""
    row = check_row(GOOD | {"NO_HP": "tidak ada"}, on=TODAY, policy=POLICY)
    assert [finding.severity for finding in row.findings] == [Severity.WARNING]
    assert row.family is not None


def test_programmes_come_from_the_policy() -> None:
    """A new programme and another spelling of an old one are data; each stands once."""
    policy = KpmPolicy(programmes={"BLTS": ProgrammeFacts("BLTS"), "KESRA": ProgrammeFacts("BLTS")})
    row = check_row(GOOD | {"PROGRAM": "blts + Kesra", "KOMPONEN": ""}, on=TODAY, policy=policy)
    assert row.family is not None
    assert row.family.programmes == ("BLTS",)
    assert accepted(PROGRAM="BPNT", KOMPONEN="").programmes == ("SEMBAKO",)


def test_components_may_be_written_loosely() -> None:
    """Spaces, lower case, a comma or an end separator change nothing."""
    assert dict(accepted(KOMPONEN=" usia dini : 2 , SD:1; ").components) == {"USIA_DINI": 2, "SD": 1}


def test_nothing_shown_tells_who_it_is() -> None:
    """Findings and the family's repr carry no whole NIK, No KK, birth date or name."""
    row = check_row(GOOD | {"TGL_LAHIR": "02-12-1990", "NO_KK": "1271151801080"}, on=TODAY, policy=POLICY)
    told = f"{row.findings!r} {accepted()!r}"
    assert not any(secret in told for secret in (GOOD["NIK"], GOOD["NO_KK"], "ROSMAWATI", "NGATIYEM", "02-12", "12-02"))


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.text(max_size=30)))
def test_any_row_gives_a_family_or_an_error(changed: dict[str, str]) -> None:
    """Whatever stands in the cells, nothing is raised and one of both is true."""
    row = check_row(GOOD | changed, on=TODAY, policy=POLICY)
    assert (row.family is None) == any(finding.severity is Severity.ERROR for finding in row.findings)
