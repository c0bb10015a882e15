"""Twin of gateway.rules.findings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.findings import MENDS, Reason, Severity, found, mask_date, mask_name, mask_number, mask_text

digits = st.text("0123456789", min_size=14, max_size=20)


@given(digits)
def test_a_masked_number_shows_first_six_and_last_four(number: str) -> None:
    """Six digits, stars, four digits, at the length of the number."""
    masked = mask_number(number)
    assert number[:6] + number[-4:] == masked.replace("*", "")
    assert len(number) == len(masked)


@given(st.text(max_size=13))
def test_a_short_number_shows_two_characters_at_most(number: str) -> None:
    """What is too short to be an identity number is hidden but for its start."""
    assert len(mask_number(number).replace("***", "")) <= 2


def test_a_name_shows_its_first_letter() -> None:
    """A name in a finding cannot be read."""
    assert (mask_name(" SITI AMINAH"), mask_name(" ")) == ("S***", "")


def test_a_date_shows_its_year_only() -> None:
    """Day and month stay hidden, so that they do not fill the stars of a NIK."""
    assert [mask_date(value) for value in ("31-02-1990", "1990-02-31", "tidak tahu", "01/02/90")] == [
        "**-**-1990",
        "**-**-1990",
        "tidak tahu",
        "**/**/**",
    ]


@given(st.text("0123456789 x", max_size=60))
def test_a_text_never_shows_a_long_run_of_digits(value: str) -> None:
    """A NIK in the wrong column is not shown."""
    shown = mask_text(value)
    assert len(shown) <= 24
    assert not any(len(run) > 6 for run in shown.replace("x", " ").replace("*", " ").split())


def test_control_characters_are_not_shown() -> None:
    """A cell cannot break a line of a report."""
    assert mask_text("a\nb\x1b\x07c") == "a b c"


def test_every_reason_says_how_to_mend_it_in_two_languages() -> None:
    """Indonesian, a slash, English."""
    assert set(Reason) == set(MENDS)
    assert all(len(mend.split(" / ")) == 2 for mend in MENDS.values())


def test_found_takes_the_usual_mend() -> None:
    """An error with the reason's own text unless another is given."""
    finding = found(Reason.NAME_MISSING, "NAMA", "")
    assert (MENDS[Reason.NAME_MISSING], Severity.ERROR) == (finding.mend, finding.severity)
    assert found(Reason.NAME_MISSING, "NAMA", "", "lain / other").mend == "lain / other"
