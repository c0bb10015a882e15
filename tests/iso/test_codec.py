"""The codec of the default link by hand and against pyiso8583. Rubbish is test_fuzz_codec.py's, other dialects test_wire.py's."""

from __future__ import annotations

import iso8583
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso import wire
from iso.codec import decode, encode, peek
from iso.dialect import DIALECTS, HIMBARA, Dialect, Kind, pyiso8583_spec
from iso.errors import FormatError
from iso.message import Message
from tests.iso.samples import WITHDRAWAL_BYTES, messages, withdrawal

SPEC = pyiso8583_spec(HIMBARA)
FILLED = {2: "6013010000000018", 32: "2", 35: "6013010000000018=2912", 55: "9505"}
ZERO = {  # a length of zero: LL, and LLL of DE55
    ("himbara", False): b"00", ("himbara", True): b"000", ("edc", False): b"\0", ("edc", True): b"\0\0",
    ("ebcdic", False): b"\xf0" * 2, ("ebcdic", True): b"\xf0" * 3,
}  # fmt: skip
EMPTIABLE = [one.number for one in HIMBARA.fields if one.length_digits]


def test_decode_by_hand() -> None:
    """The 15-field withdrawal is read field by field."""
    assert decode(WITHDRAWAL_BYTES) == withdrawal()


def test_encode_by_hand() -> None:
    """The 15-field withdrawal is written byte by byte."""
    assert encode(withdrawal()) == WITHDRAWAL_BYTES


def test_decode_two_bitmaps() -> None:
    """A field above 64 stands after the second bitmap."""
    assert decode(b"080080200000000000000400000000000000000001301") == Message("0800", {11: "000001", 70: "301"})


def test_decode_takes_an_all_zero_second_bitmap() -> None:
    """Hosts that always send two bitmaps are understood."""
    assert decode(b"080080200000000000000000000000000000000001") == Message("0800", {11: "000001"})


def test_encode_fills_short_fixed_fields() -> None:
    """Numbers get zeros on the left, text gets spaces on the right."""
    encoded = encode(Message("0200", {4: "5000", 37: "A1", 41: "ATM1"}))
    assert encoded == b"02001000000008800000000000005000A1          ATM1    "


def test_an_empty_free_text_field_is_kept() -> None:
    """A private field of no characters is there and empty."""
    assert decode(b"02000000000000010000000") == Message("0200", {48: ""})


@pytest.mark.parametrize(
    ("number", "value", "reason"),
    [
        (2, "60130100000000180000", "must be at most 19 digits"),
        (2, "", "must be at most 19 digits"),
        (2, "601301x", "must be at most 19 digits"),
        (4, "1234567890123", "must be 12 digits"),
        (4, "", "must be 12 digits"),
        (4, "-5", "must be 12 digits"),
        (11, "00012\N{ARABIC-INDIC DIGIT THREE}", "holds a character that is not ASCII"),
        (28, "12345678", "must be 9 characters, C or D and then digits"),
        (39, "0!", "must be 2 letters or digits"),
        (41, "", "must be 8 printable characters"),
        (43, "Caf\N{LATIN SMALL LETTER E WITH ACUTE}", "holds a character that is not ASCII"),
        (43, "line\nbreak", "must be 40 printable characters"),
        (52, "0123456789ABCDE", "must be 16 hexadecimal characters"),
        (52, "0123456789ABCDEG", "must be 16 hexadecimal characters"),
        (65, "0", "is not in dialect himbara"),
        (129, "0", "is not in dialect himbara"),
    ],
)
def test_encode_refuses_what_the_dialect_does_not_take(number: int, value: str, reason: str) -> None:
    """The error names the field and the want, never the value."""
    with pytest.raises(FormatError) as caught:
        encode(Message("0200", {number: value}))
    assert (caught.value.field, caught.value.reason) == (number, reason)


@pytest.mark.parametrize("mti", ["", "020", "02000", "02A0", "020\N{ARABIC-INDIC DIGIT THREE}"])
def test_encode_refuses_an_mti_that_is_not_4_digits(mti: str) -> None:
    """No message goes out without a type."""
    with pytest.raises(FormatError, match=r"^message: MTI must be 4 digits$"):
        encode(Message(mti, {}))


@pytest.mark.parametrize(
    ("broken", "field", "reason"),
    [
        (b"", None, "MTI must be 4 digits"),
        (b"02A0", None, "MTI must be 4 digits"),
        (b"02\xff0", None, "MTI must be 4 digits"),
        (b"0200", None, "bitmap must be 16 hexadecimal characters, or 32 where its first bit is set"),
        (b"0200F238440108C09000", None, "bitmap must be 16 hexadecimal characters, or 32 where its first bit is set"),
        (WITHDRAWAL_BYTES + b"0", None, "bytes are left over after the last field"),
        (WITHDRAWAL_BYTES + b"\xff", None, "bytes are left over after the last field"),
        (WITHDRAWAL_BYTES[:-1], 52, "the message ends inside it"),
        (WITHDRAWAL_BYTES[:21], 2, "the message ends inside it"),
        (WITHDRAWAL_BYTES[:-1] + b"\xff", 52, "holds a character that is not ASCII"),
        (WITHDRAWAL_BYTES[:-1] + b"G", 52, "must be 16 hexadecimal characters"),
        (WITHDRAWAL_BYTES.replace(b"1660", b"2060"), 2, "must be at most 19 digits"),
        (WITHDRAWAL_BYTES.replace(b"1660", b"1 60"), 2, "length must be 2 digits"),
        (WITHDRAWAL_BYTES.replace(b"000050000000", b"0000500000.0"), 4, "must be 12 digits"),
        (b"08008000000000000000800000000000000000", 65, "is not in dialect himbara"),
    ],
)
def test_decode_names_the_fault(broken: bytes, field: int | None, reason: str) -> None:
    """The error names the first wrong field and the want, never the value."""
    with pytest.raises(FormatError) as caught:
        decode(broken)
    assert (caught.value.field, caught.value.reason) == (field, reason)


def test_partial_goes_on_after_a_field_of_the_wrong_kind() -> None:
    """All but the wrong field can be echoed."""
    with pytest.raises(FormatError) as caught:
        decode(WITHDRAWAL_BYTES.replace(b"000050000000", b"0000500000.0"))
    readable = withdrawal()
    del readable.fields[4]
    assert caught.value.partial == readable


def test_partial_holds_what_came_before_a_cut() -> None:
    """A message that was cut short keeps its first fields."""
    with pytest.raises(FormatError) as caught:
        decode(WITHDRAWAL_BYTES[:72])
    assert caught.value.partial == Message(
        "0200", {2: "6013010000000018", 3: "011000", 4: "000050000000", 7: "1224031500", 11: "000123"}
    )


def test_partial_is_there_as_soon_as_the_mti_is() -> None:
    """A message without a bitmap can still be answered by its type."""
    with pytest.raises(FormatError) as caught:
        decode(b"0200zz")
    assert caught.value.partial == Message("0200", {})


def test_partial_is_none_without_an_mti() -> None:
    """What has no type cannot be answered."""
    with pytest.raises(FormatError) as caught:
        decode(b"rubbish")
    assert caught.value.partial is None


def test_peek_finds_mti_and_stan() -> None:
    """The trace number is found behind a variable and fixed fields."""
    assert peek(WITHDRAWAL_BYTES) == ("0200", "000123")


def test_peek_reads_past_faults() -> None:
    """A wrong amount does not hide the trace number."""
    assert peek(WITHDRAWAL_BYTES.replace(b"000050000000", b"0000500000.0")) == ("0200", "000123")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"02",
        b"02A0",
        b"0200",
        b"0200000000000000zz00",
        b"02000000000000000000",
        b"02000000000000800000A1          ",
        b"0200002000000000000000012",
        b"0200002000000000000000012x",
        b"02004020000000000000x66013010000000018000123",
    ],
)
def test_peek_is_none_where_either_is_missing(data: bytes) -> None:
    """No guess is made."""
    assert peek(data) is None


@given(messages())
def test_there_and_back(message: Message) -> None:
    """What is written is read the same."""
    assert decode(encode(message)) == message


@given(messages())
def test_encode_agrees_with_pyiso8583(message: Message) -> None:
    """Both write the same bytes."""
    document = {"t": message.mti, **{str(number): value for number, value in message.fields.items()}}
    assert encode(message) == bytes(iso8583.encode(document, SPEC)[0])


@given(messages())
def test_decode_agrees_with_pyiso8583(message: Message) -> None:
    """Both read the same fields."""
    encoded = encode(message)
    document, _ = iso8583.decode(encoded, SPEC)
    theirs = Message(document["t"], {int(key): value for key, value in document.items() if key not in ("t", "p", "1")})
    assert decode(encoded) == theirs


@given(messages())
def test_peek_agrees_with_decode(message: Message) -> None:
    """The cheap scan finds what the full reading finds."""
    stan = message.get(11)
    assert peek(encode(message)) == (None if stan is None else (message.mti, stan))


@given(message=messages(), emptied=st.sets(st.sampled_from(EMPTIABLE), min_size=1, max_size=4))
def test_a_field_of_length_zero_says_nothing(message: Message, emptied: set[int]) -> None:
    """pyiso8583 takes it as an empty text; here it is as if its bit were not there. Free text stays, empty."""
    document = {"t": message.mti} | {str(number): value for number, value in message.fields.items()}
    document |= {str(number): "" for number in emptied}
    data = bytes(iso8583.encode(document, SPEC)[0])
    taken, _ = iso8583.decode(data, SPEC)
    held = {int(name): value for name, value in taken.items() if name not in ("t", "p", "1")}
    expected = {
        number: value for number, value in held.items() if value or HIMBARA.field(number).kind in (Kind.ANS, Kind.ANSB)
    }
    assert set(held) == set(message.fields) | emptied
    for _ in range(3):
        assert expected == decode(data).fields
    assert expected == wire.decode(data, HIMBARA).fields
    with pytest.raises(FormatError) as refused:
        decode(data + b"0")
    assert refused.value.partial is not None
    assert expected == refused.value.partial.fields


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda one: one.name)
def test_a_field_of_length_zero_in_every_dialect(dialect: Dialect) -> None:
    """Digits, bytes and tracks of no length are left out; a field without a length must be there."""
    head = len(encode(Message("0200", {}), dialect))
    for number, value in FILLED.items():
        data = encode(Message("0200", {number: value}), dialect)[:head] + ZERO[dialect.name, number == 55]
        for _ in range(3):
            assert Message("0200", {}) == decode(data, dialect)
    with pytest.raises(FormatError, match="field 3"):
        decode(encode(Message("0200", {3: "010000"}), dialect)[:head], dialect)
