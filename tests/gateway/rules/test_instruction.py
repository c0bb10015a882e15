"""Twin of gateway.rules.instruction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.findings import Reason, Severity
from gateway.rules.instruction import Instruction, InstructionPolicy, check_instruction, parse_amount, parse_months

POLICY = InstructionPolicy()
GOOD = {
    "NIK": "1271074112900001",
    "NO_REKENING": "0014000012",
    "NAMA": "Siti Rosmawati",
    "PROGRAM": "SEMBAKO",
    "TAHAP": "2026-T4",
    "BULAN": "2026-10,2026-11,2026-12",
    "NOMINAL": "Rp600.000",
    "KODE_WILAYAH": "12.71.07.1008",
}


def test_a_good_row_becomes_an_instruction() -> None:
    """Amount in rupiah, months in order, region as digits."""
    instruction, findings = check_instruction(GOOD, POLICY)
    months = ("2026-10", "2026-11", "2026-12")
    assert findings == ()
    assert instruction == Instruction(
        GOOD["NIK"], "0014000012", "SITI ROSMAWATI", "SEMBAKO", "2026-T4", months, 600_000, "1271071008"
    )


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("NIK", "12", Reason.NIK_INVALID),
        ("NIK", "1,27107E+15", Reason.NIK_AS_NUMBER),
        ("NO_REKENING", "1234567", Reason.ACCOUNT_INVALID),
        ("NO_REKENING", "1,40000E+09", Reason.ACCOUNT_INVALID),
        ("NAMA", ".", Reason.NAME_MISSING),
        ("NAMA", "N" * 101, Reason.DATA_INVALID),
        ("PROGRAM", "PKH+SEMBAKO", Reason.PROGRAM_UNKNOWN),
        ("TAHAP", "T4-2026", Reason.STAGE_INVALID),
        ("BULAN", "", Reason.MONTH_INVALID),
        ("BULAN", "2026-10,2026-10", Reason.MONTH_INVALID),
        ("BULAN", "2026-13", Reason.MONTH_INVALID),
        ("NOMINAL", "0", Reason.AMOUNT_INVALID),
        ("NOMINAL", "-600000", Reason.AMOUNT_INVALID),
        ("NOMINAL", "999999999999", Reason.AMOUNT_INVALID),
    ],
)
def test_one_fault_gives_its_one_reason(column: str, value: str, expected: Reason) -> None:
    """A fault keeps the row out and shows once, in its column."""
    instruction, findings = check_instruction(GOOD | {column: value}, POLICY)
    assert [(expected, column)] == [(finding.code, finding.column) for finding in findings]
    assert instruction is None


def test_all_faults_of_a_row_are_collected() -> None:
    """An empty row shows every required column."""
    _, findings = check_instruction({}, POLICY, surplus=1)
    assert [one.column for one in findings] == [
        "",
        "NIK",
        "NO_REKENING",
        "NAMA",
        "PROGRAM",
        "TAHAP",
        "BULAN",
        "NOMINAL",
    ]


def test_a_wrong_region_only_warns() -> None:
    """The money follows the account."""
    instruction, findings = check_instruction(GOOD | {"KODE_WILAYAH": "12.71"}, POLICY)
    assert [finding.severity for finding in findings] == [Severity.WARNING]
    assert instruction is not None
    assert instruction.region == ""


def test_a_number_cell_with_a_fraction_is_no_amount() -> None:
    """1.125 from a number cell is not 1,125 rupiah; a whole number cell is an amount."""
    _, findings = check_instruction(GOOD | {"NOMINAL": "1.125"}, POLICY, numeric={"NOMINAL"})
    assert [finding.code for finding in findings] == [Reason.AMOUNT_INVALID]
    whole, _ = check_instruction(GOOD | {"NOMINAL": "600000"}, POLICY, numeric={"NOMINAL"})
    assert whole is not None


@given(st.integers(0, 999_999_999_999))
def test_an_amount_is_read_in_every_usual_form(amount_idr: int) -> None:
    """Bare, grouped, with Rp, with ,00 or ,- behind it."""
    grouped = f"{amount_idr:,}".replace(",", ".")
    forms = (f"{amount_idr}", grouped, f"Rp{grouped}", f"Rp. {grouped}", f"rp {grouped},00", f"Rp{grouped},-")
    assert {amount_idr} == {parse_amount(form) for form in (*forms, f"{amount_idr}.00", f"{amount_idr},0")}


@pytest.mark.parametrize(
    "written", ["600.5", "600,50", "6.00.000", "600,000", "6e5", "1000.000", "Rp", "", "9" * 5000, "٦"]
)
def test_other_amounts_are_refused(written: str) -> None:
    """Fractions, wrong groups and other digits are not guessed at."""
    assert parse_amount(written) is None


@given(
    st.sets(st.tuples(st.integers(2000, 2099), st.integers(1, 12)), min_size=1),
    st.sampled_from([",", ";", "+", " ", ", "]),
)
def test_months_are_read_in_order_whatever_stands_between(months: set[tuple[int, int]], between: str) -> None:
    """Written backwards they come out sorted."""
    expected = sorted(f"{year}-{month:02d}" for year, month in months)
    assert tuple(expected) == parse_months(between.join(reversed(expected)))


def test_the_first_of_a_month_from_a_spreadsheet_is_the_month() -> None:
    """A date cell that was a month."""
    assert parse_months("2026-10-01") == ("2026-10",)
    assert parse_months("2026-10-02") is None


def test_the_repr_is_masked() -> None:
    """A log line of an instruction names nobody."""
    told = repr(check_instruction(GOOD, POLICY)[0])
    assert "127107******0001" in told
    assert not any(secret in told for secret in (GOOD["NIK"], GOOD["NO_REKENING"], "ROSMAWATI"))
