"""What a MAC covers and where it stands."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.codec import decode, encode
from iso.dialect import DIALECTS, EBCDIC, EDC, Dialect, derive
from iso.errors import FormatError
from iso.mac import mac_field, mac_input, seal
from iso.message import Message
from tests.iso.samples import messages, withdrawal


def sign(covered: bytes) -> bytes:
    """Stands for a MAC: 8 bytes that hang on every byte covered."""
    return hashlib.sha256(covered).digest()[:8]


def test_primary_mac_by_hand() -> None:
    """DE64 covers all before it, its own bit in the bitmap included."""
    encoded = b"080000200000000000010000010123456789ABCDEF"
    assert mac_input(encoded) == b"08000020000000000001000001"


def test_secondary_mac_by_hand() -> None:
    """DE128 stands last where there is a second bitmap."""
    encoded = b"0800802000000000000004000000000000010000013010123456789ABCDEF"
    assert mac_input(encoded) == encoded[:-16]


def test_primary_mac_behind_an_empty_second_bitmap() -> None:
    """An all-zero second bitmap does not move the MAC."""
    encoded = b"0800802000000000000100000000000000000000010123456789ABCDEF"
    assert mac_input(encoded) == encoded[:-16]


@pytest.mark.parametrize(
    ("encoded", "field"),
    [
        (b"08000020000000000000000001", 64),
        (b"0800802000000000000104000000000000000000010123456789ABCDEF301", 128),
        (b"08000000000000000000", 64),
    ],
)
def test_a_message_without_its_mac_is_refused(encoded: bytes, field: int) -> None:
    """The error names the field that is missing."""
    with pytest.raises(FormatError, match=rf"^field {field}: is missing"):
        mac_input(encoded)


@pytest.mark.parametrize("encoded", [b"", b"0800", b"0800zz20000000000001", b"080000000000000000010123"])
def test_a_broken_message_is_refused(encoded: bytes) -> None:
    """Nothing but FormatError comes of rubbish."""
    with pytest.raises(FormatError):
        mac_input(encoded)


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({11: "000001"}, 64),
        ({11: "000001", 70: "301"}, 128),
        ({}, 64),
        ({64: "00"}, 64),
        ({129: "0"}, 192),
        ({300: "0"}, 192),
    ],
)
def test_mac_field(fields: dict[int, str], number: int) -> None:
    """The last possible field of the last bitmap."""
    assert mac_field(Message("0800", fields)) == number


def test_seal_refuses_a_code_of_another_length() -> None:
    """A MAC has 8 bytes."""
    with pytest.raises(FormatError, match=r"^field 64: must be 16 hexadecimal characters$"):
        seal(withdrawal(), lambda _: b"short")


def test_a_binary_mac_by_hand() -> None:
    """Eight bytes behind packed fields; bitmaps are covered as the bytes they are."""
    sealed = seal(Message("0800", {11: "000001"}), sign, EDC)
    covered = bytes.fromhex("0800 0020000000000001 000001")
    assert covered + sign(covered) == sealed
    assert covered == mac_input(sealed, EDC)


def test_a_hexadecimal_mac_in_ebcdic() -> None:
    """Where a host writes binary fields in hexadecimal, the code is written in its characters."""
    host = derive(EBCDIC, "host", {"binary": "hex", "fields": {"55": {"length": 998}}})
    sealed = seal(Message("0800", {11: "000001"}), sign, host)
    covered = bytes.fromhex("F0F8F0F0 0020000000000001 F0F0F0F0F0F1")
    assert covered + sign(covered).hex().upper().encode("cp500") == sealed


def test_a_third_bitmap_moves_the_mac() -> None:
    """To the last field it has; a dialect without that field has no place for a MAC, and says so."""
    new = {"kind": "ans", "length": 10, "length_digits": 2}
    message = Message("0800", {11: "000001", 130: "own"})
    whole = derive(EDC, "whole", {"fields": {"130": new, "192": {"kind": "b", "length": 16}}})
    sealed = seal(message, sign, whole)
    assert sign(mac_input(sealed, whole)).hex().upper() == decode(sealed, whole).get(192)
    with pytest.raises(FormatError, match=r"^field 192: is not in dialect half$"):
        seal(message, sign, derive(EDC, "half", {"fields": {"130": new}}))
    with pytest.raises(FormatError, match=r"^field 192: is missing"):
        mac_input(encode(message, whole), whole)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
@given(data=st.data())
def test_what_is_sealed_can_be_verified(dialect: Dialect, data: st.DataObject) -> None:
    """The receiver computes the same code over the same bytes, and reads the same fields, in every dialect."""
    message = data.draw(messages(dialect))
    sealed = seal(message, sign, dialect)
    number = mac_field(message)
    code = sign(mac_input(sealed, dialect)).hex().upper()
    assert decode(sealed, dialect) == Message(message.mti, {**message.fields, number: code})


def test_seal_does_not_change_the_message() -> None:
    """The caller's message stays as it was."""
    message = withdrawal()
    seal(message, sign)
    assert encode(message) == encode(withdrawal())
