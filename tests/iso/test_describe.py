"""Masking: what shows, what does not, and the way around it by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.codec import decode, encode
from iso.describe import (
    describe,
    describe_unmasked,
    mask_pan,
    mask_tail,
    masked,
    masked_fields,
    summary,
    summary_members,
)
from iso.dialect import DIALECTS, EDC, Dialect, derive
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
    ("pan", "shown"),
    [
        ("6013010000000018", "60130100****0018"),
        ("6013010000000000018", "60130100*******0018"),
        ("601301000000018", "601301*****0018"),
        ("601301000018", "************"),
    ],
)
def test_mask_pan_with_a_long_bin(pan: str, shown: str) -> None:
    """Eight and four digits, where it is asked for and the number is long enough."""
    assert mask_pan(pan, long_bin=True) == shown
    assert masked(2, pan, long_bin=True) == shown
    assert shown in describe(Message("0200", {2: pan}), long_bin=True)
    assert describe(Message("0200", {2: pan})) == describe(Message("0200", {2: pan}), long_bin=False)


@pytest.mark.parametrize(
    ("account", "shown"), [("0123456789", "******6789"), ("0123456789  ", "******6789"), ("6789", "****"), ("", "")]
)
def test_mask_tail(account: str, shown: str) -> None:
    """The last four characters show, where there are more."""
    assert mask_tail(account) == shown


@pytest.mark.parametrize("number", [14, 34, 35, 36, 45, 52, 53, 55, 64, 96, 125, 128, 192])
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


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_describe_hides_the_same_in_every_dialect(dialect: Dialect) -> None:
    """Whatever its bytes were, a message is shown masked; bytes themselves are never shown."""
    secrets = {35: "6013010000000018D2912", 45: "B6013010000000018^SITI^2912", 52: "0123456789ABCDEF", 53: "1123456789ABCDEF",
               55: "9F2608AABBCCDDEEFF0011", 64: "2123456789ABCDEF", 128: "3123456789ABCDEF"}  # fmt: skip
    private = {48: "PI011SITI AMINAH", 62: "00100000000000000001", 126: "& 0000200026! Q900004 BUDI"}
    message = Message("0200", {2: "6013010000000018", **secrets, **private})
    shown = describe(decode(encode(message, dialect), dialect), dialect)
    assert "601301******0018" in shown
    assert [] == [value for value in (*secrets.values(), *private.values()) if value in shown]
    assert [] == [word for word in ("SITI", "BUDI", "PI011", "Q9", "9F26", "2912") if word in shown]
    assert len(secrets) == shown.count("[wiped]")


def test_describe_names_fields_as_the_dialect_does() -> None:
    """A bank's own fields have the bank's own names."""
    own = derive(EDC, "own", {"fields": {"130": {"name": "shop", "kind": "ans", "length": 10, "length_digits": 2}}})
    line = "130 shop                                         [4 characters]"
    assert describe(Message("0200", {130: "SITI"}), own).endswith(line)
    assert describe_unmasked(Message("0200", {130: "SITI"}), own).endswith(line.replace("[4 characters]", "SITI"))


def test_a_field_that_a_bank_made_longer_is_hidden() -> None:
    """It may hold anything now; the same length with other characters is what it was."""
    own = derive(EDC, "own", {"fields": {"40": {"kind": "ans", "length": 40, "length_digits": 2}, "49": {"kind": "n"}}})
    shown = describe(Message("0200", {40: "6013010000000018", 49: "360", 52: "00" * 8}), own).splitlines()
    assert ["[16 characters]", "360", "[wiped]"] == [line[49:] for line in shown[1:]]
    assert {40: "[16 characters]"} == masked_fields(Message("0200", {40: "6013010000000018"}), own)


FIELDS = st.dictionaries(
    st.sampled_from([2, 3, 4, 7, 11, 32, 35, 38, 42, 48, 52, 90, 95]),
    st.text(st.sampled_from('0123456789 "\\{}%\x00\ré'), max_size=20) | st.from_regex(r"[0-9]{13,19}", fullmatch=True),
    max_size=8,
)


@given(FIELDS)
def test_members_for_a_log_are_the_summary(fields: dict[int, str]) -> None:
    """Whatever the fields hold, quotes and control characters too: the same values masked alike, sorted by name, ASCII."""
    message = Message("0200", fields)
    members = summary_members(message)
    told = json.loads("{" + members + "}")
    assert {name: text for name, text in summary(message).items() if name != "mti"} == told
    assert sorted(told) == list(told)
    assert members.isascii()
