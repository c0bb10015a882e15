"""What a MAC covers and where it stands."""

import hashlib

import pytest
from hypothesis import given

from iso.codec import decode, encode
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


@pytest.mark.parametrize(("fields", "number"), [({11: "000001"}, 64), ({11: "000001", 70: "301"}, 128), ({}, 64)])
def test_mac_field(fields: dict[int, str], number: int) -> None:
    """The last possible field of the last bitmap."""
    assert mac_field(Message("0800", fields)) == number


def test_seal_refuses_a_code_of_another_length() -> None:
    """A MAC has 8 bytes."""
    with pytest.raises(FormatError, match=r"^field 64: must be 16 hexadecimal characters$"):
        seal(withdrawal(), lambda _: b"short")


@given(messages())
def test_what_is_sealed_can_be_verified(message: Message) -> None:
    """The receiver computes the same code over the same bytes, and reads the same fields."""
    sealed = seal(message, sign)
    number = mac_field(message)
    code = sign(mac_input(sealed)).hex().upper()
    assert decode(sealed) == Message(message.mti, {**message.fields, number: code})


def test_seal_does_not_change_the_message() -> None:
    """The caller's message stays as it was."""
    message = withdrawal()
    seal(message, sign)
    assert encode(message) == encode(withdrawal())
