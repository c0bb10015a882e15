"""Masking: what shows, what does not, and the way around it by name."""

import pytest
from hypothesis import given

from iso.describe import describe, describe_unmasked, mask_pan, mask_tail, masked, summary
from iso.message import Message
from tests.iso.samples import messages, withdrawal

SECRET = "6013010000000018=2912"


@pytest.mark.parametrize(
    ("pan", "shown"),
    [
        ("6013010000000018", "601301******0018"),
        ("6013010000018", "601301***0018"),
        ("6013010000000000018", "601301*********0018"),
        ("601301000018", "************"),
        ("6013010000x00018", "****************"),
        ("", ""),
    ],
)
def test_mask_pan(pan: str, shown: str) -> None:
    """Six and four digits show, of a true card number only."""
    assert mask_pan(pan) == shown


@pytest.mark.parametrize(
    ("account", "shown"), [("0123456789", "******6789"), ("0123456789  ", "******6789"), ("6789", "****"), ("", "")]
)
def test_mask_tail(account: str, shown: str) -> None:
    """The last four characters show, where there are more."""
    assert mask_tail(account) == shown


@pytest.mark.parametrize("number", [14, 34, 35, 36, 45, 52, 53, 55, 64, 96, 125, 128])
def test_secrets_are_wiped(number: int) -> None:
    """Tracks, PIN, chip, MAC and security data show nothing, not even a length."""
    assert masked(number, SECRET) == "[wiped]"


@pytest.mark.parametrize("number", [44, 46, 47, 48, 54, 56, 57, 60, 61, 62, 63, 98, 101, 104, 105, 120, 126, 127, 200])
def test_free_text_shows_its_length_only(number: int) -> None:
    """Names and accounts may stand in it, so it is hidden."""
    assert masked(number, SECRET) == "[21 characters]"


@pytest.mark.parametrize("number", [102, 103])
def test_accounts_show_their_tail(number: int) -> None:
    """Account numbers keep four characters."""
    assert masked(number, "0123456789") == "******6789"


def test_describe() -> None:
    """One line a field, in order, named and masked."""
    message = Message("0200", {52: "0123456789ABCDEF", 2: "6013010000000018", 4: "000050000000", 48: "SITI"})
    assert describe(message).splitlines() == [
        "MTI 0200",
        "002 primary account number                       601301******0018",
        "004 amount, transaction                          000050000000",
        "048 additional data, private                     [4 characters]",
        "052 PIN data                                     [wiped]",
    ]


def test_describe_unmasked_shows_all() -> None:
    """Who asks for it by name gets every value."""
    message = withdrawal()
    assert [] == [value for value in message.fields.values() if value not in describe_unmasked(message)]


def test_describe_knows_fields_that_have_no_name() -> None:
    """A field outside the standard is shown without breaking the log."""
    assert describe(Message("0200", {200: "x"})).endswith(
        "200 unknown field                                [1 characters]"
    )


def test_summary() -> None:
    """The few fields that tell which message it was."""
    assert summary(withdrawal()) == {
        "mti": "0200",
        "de2": "601301******0018",
        "de3": "011000",
        "de4": "000050000000",
        "de7": "1224031500",
        "de11": "000123",
        "de12": "101500",
        "de13": "1224",
        "de18": "6011",
        "de32": "000002",
        "de37": "435910000123",
        "de41": "ATM00001",
        "de42": "BANK DEMO      ",
        "de49": "360",
    }


def test_a_line_break_does_not_forge_a_log_line() -> None:
    """Control characters are written out."""
    assert summary(Message("0200", {41: "A\nB"}))["de41"] == r"'A\nB'"


@given(messages())
def test_describe_has_one_line_a_field(message: Message) -> None:
    """Whatever stands in the fields, the lines stay whole."""
    assert len(describe(message).splitlines()) == 1 + len(message.fields)
