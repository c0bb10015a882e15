"""Dialects that are not all ASCII text: by hand, against pyiso8583, and what they refuse."""

from __future__ import annotations

from typing import Any

import iso8583
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iso import wire
from iso.codec import decode, encode, peek
from iso.dialect import DIALECTS, EBCDIC, EDC, HIMBARA, Dialect, Kind, derive, pyiso8583_spec
from iso.errors import FormatError
from iso.message import Message
from tests.iso.samples import messages, withdrawal

ASCII_RAW = derive(HIMBARA, "ascii-raw", {"bitmap": "raw", "fields": {"55": {"encoding": "raw", "length": 1998}}})
EDC_OWN = derive(
    EDC,
    "edc-own",
    {
        "lengths": "raw",
        "fixed_padding": "right-0",
        "variable_padding": "left-0",
        "fields": {
            "35": {"padding": "right-0"},
            "52": {"encoding": "hex"},
            "37": {"kind": "n"},
            "48": {"lengths": "text"},
            "130": {"kind": "ans", "length": 30, "length_digits": 2},
            "150": {"kind": "n", "length": 5},
            "192": {"kind": "b", "length": 16},
        },
    },
)
HOST_OWN = derive(
    EBCDIC, "host-own", {"text": "cp037", "bitmap": "hex", "binary": "hex", "fields": {"55": {"length": 998}}}
)
HIMBARA_192 = derive(HIMBARA, "himbara-192", {"fields": {"130": {"kind": "ans", "length": 999, "length_digits": 3}}})
ALL = {one.name: one for one in (*DIALECTS.values(), ASCII_RAW, EDC_OWN, HOST_OWN, HIMBARA_192)}

EDC_BYTES = bytes.fromhex(
    "0200"
    "F238440128C09200 0400000000000001"
    "16 6013010000000018"
    "011000"
    "000050000000"
    "1224031500"
    "000123"
    "101500"
    "1224"
    "6011"
    "0021"  # 22: three digits, 0 on the left
    "11 00000000002F"  # 32: eleven digits, F on the right
    "29 6013010000000018D291220100000F"  # 35: 29 half bytes, the separator is one
    "343335393130303030313233"
    "41544D3030303031"
    "42414E4B2044454D4F202020202020"
    "333630"
    "0123456789ABCDEF"
    "0006 9F2602AABBCC"  # 55: six bytes
    "0301"
    "0011223344556677"
)  # fmt: skip

EBCDIC_BYTES = bytes.fromhex(
    "F0F2F0F0"
    "7238440108C09000"
    "F1F6 F6F0F1F3F0F1F0F0F0F0F0F0F0F0F1F8"
    "F0F1F1F0F0F0"
    "F0F0F0F0F5F0F0F0F0F0F0F0"
    "F1F2F2F4F0F3F1F5F0F0"
    "F0F0F0F1F2F3"
    "F1F0F1F5F0F0"
    "F1F2F2F4"
    "F6F0F1F1"
    "F0F2F1"
    "F0F6 F0F0F0F0F0F2"
    "F4F3F5F9F1F0F0F0F0F1F2F3"
    "C1E3D4F0F0F0F0F1"
    "C2C1D5D240C4C5D4D6404040404040"
    "F3F6F0"
    "0123456789ABCDEF"
)  # fmt: skip


def edc_message() -> Message:
    """The message in EDC_BYTES."""
    return Message(
        "0200",
        {
            **withdrawal().fields,
            32: "00000000002",
            35: "6013010000000018D291220100000",
            55: "9F2602AABBCC",
            70: "301",
            128: "0011223344556677",
        },
    )


def by_name(name: str) -> st.SearchStrategy[Message]:
    """Any message of the dialect of that name."""
    return messages(ALL[name])


def refused(data: bytes, dialect: Dialect) -> tuple[int | None, str]:
    """Field and reason of the refusal of `data`."""
    with pytest.raises(FormatError) as caught:
        decode(data, dialect)
    return caught.value.field, caught.value.reason


def message_of(document: dict[str, str]) -> Message:
    """What pyiso8583 read."""
    return Message(document["t"], {int(key): value for key, value in document.items() if key not in ("t", "p", "1")})


def test_edc_by_hand() -> None:
    """Digits and lengths packed, an odd number filled up, bytes as bytes, text in ASCII."""
    assert EDC_BYTES == encode(edc_message(), EDC)
    assert edc_message() == decode(EDC_BYTES, EDC)
    assert ("0200", "000123") == peek(EDC_BYTES, EDC)


def test_ebcdic_by_hand() -> None:
    """Characters and lengths in EBCDIC, bitmaps and PIN block as bytes."""
    assert EBCDIC_BYTES == encode(withdrawal(), EBCDIC)
    assert withdrawal() == decode(EBCDIC_BYTES, EBCDIC)
    assert ("0200", "000123") == peek(EBCDIC_BYTES, EBCDIC)


def test_fixed_fields_are_filled_up_in_every_dialect() -> None:
    """Numbers get zeros on the left, text gets spaces on the right, before they are packed."""
    message = Message("0200", {4: "5000", 22: "21", 41: "ATM1"})
    full = Message("0200", {4: "000000005000", 22: "021", 41: "ATM1    "})
    assert [full] * len(ALL) == [decode(encode(message, one), one) for one in ALL.values()]


def test_a_signed_amount_is_a_character_and_packed_digits() -> None:
    """x+n: the C or D in ASCII, then two digits a byte. pyiso8583 cannot say it, so here it is by hand."""
    message = Message("0220", {28: "D00000150", 97: "C0000000000012345"})
    encoded = encode(message, EDC)
    assert bytes.fromhex("0220 8000001000000000 0000000080000000 4400000150 430000000000012345") == encoded
    assert message == decode(encoded, EDC)
    assert (28, "must be 9 characters, C or D and then digits") == refused(encoded.replace(b"D", b"E", 1), EDC)


@pytest.mark.parametrize(
    ("padding", "packed"),
    [("left-0", "0123"), ("right-0", "1230"), ("right-f", "123F")],
)
def test_the_side_of_padding_is_a_property(padding: str, packed: str) -> None:
    """Of fixed and of variable fields, and of one field alone; what is read may be filled with 0 or F."""
    fixed = derive(EDC, "fixed", {"fixed_padding": padding})
    variable = derive(EDC, "variable", {"variable_padding": padding})
    single = derive(EDC, "single", {"fields": {"22": {"padding": padding}, "32": {"padding": padding}}})
    for number, dialects in ((22, (fixed, single)), (32, (variable, single))):
        prefix = b"" if number == 22 else b"\x03"
        for dialect in dialects:
            message = Message("0200", {number: "123"})
            encoded = encode(message, dialect)
            assert prefix + bytes.fromhex(packed) == encoded[10:]
            for filler in "0F":
                other = f"{filler}123" if padding == "left-0" else f"123{filler}"
                assert message == decode(encoded[:10] + prefix + bytes.fromhex(other), dialect)
            wrong = "1123" if padding == "left-0" else "1231"
            assert number == refused(encoded[:10] + prefix + bytes.fromhex(wrong), dialect)[0]


def test_the_separator_of_packed_track_2_is_a_half_byte() -> None:
    """Written of = or D, read as D; no other separator can be packed."""
    message = Message("0200", {35: "6013010000000018=2912"})
    assert Message("0200", {35: "6013010000000018D2912"}) == decode(encode(message, EDC), EDC)
    with pytest.raises(FormatError, match=r"^field 35: must be at most 37 track characters$"):
        encode(Message("0200", {35: "6013010000000018;2912"}), EDC)


def test_one_field_may_differ_from_its_dialect() -> None:
    """DE52 in hexadecimal among bytes, DE55 as bytes among text; hexadecimal is read in either case and kept in capitals."""
    encoded = encode(Message("0200", {52: "0123456789ABCDEF", 11: "000001"}), EDC_OWN)
    assert encoded.endswith(b"0123456789ABCDEF")
    assert "0123456789ABCDEF" == decode(encoded.replace(b"ABCDEF", b"abcdef"), EDC_OWN).get(52)
    assert "0123456789ABCDEF" == decode(encode(Message("0200", {52: "0123456789abcdef"}))).get(52)
    chip = encode(Message("0200", {55: "9F2602AABB"}), ASCII_RAW)
    assert b"005\x9f\x26\x02\xaa\xbb" == chip[12:]


def test_a_third_bitmap_where_the_dialect_has_fields_for_it() -> None:
    """It follows the second one; bit 65 is no field; all-zero it is read as well."""
    message = Message("0200", {3: "010000", 130: "own", 192: "0011223344556677"})
    encoded = encode(message, EDC_OWN)
    assert bytes.fromhex("0200 A000000000000000 8000000000000000 4000000000000001 010000 03") == encoded[:30]
    assert message == decode(encoded, EDC_OWN)
    empty = bytes.fromhex("0200 A000000000000000 8000000000000000 0000000000000000 010000")
    assert Message("0200", {3: "010000"}) == decode(empty, EDC_OWN)
    text = encode(Message("0200", {130: "own"}), HIMBARA_192)
    assert b"0200800000000000000080000000000000004000000000000000003own" == text
    assert Message("0200", {130: "own"}) == decode(text, HIMBARA_192)
    assert (None, "bitmap must be 8 bytes, or 16 where its first bit is set") == refused(empty[:24], EDC_OWN)


@pytest.mark.parametrize("name", ["himbara", "edc", "ebcdic", "ascii-raw"])
def test_a_third_bitmap_is_refused_by_name_elsewhere(name: str) -> None:
    """Bit 65 is a field that the dialect does not have."""
    dialect = ALL[name]
    head = encode(Message("0800", {70: "301"}), dialect)[: -3 if dialect is not EDC else -2]
    at = len(head) - (16 if name == "himbara" else 8)
    bits = b"8000000000000000" if name == "himbara" else bytes.fromhex("8000000000000000")
    assert (65, f"is not in dialect {name}") == refused(head[:at] + bits + bits, dialect)


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_field_that_the_dialect_lacks_is_refused_by_name(name: str) -> None:
    """When writing and when reading, and what came before it can be echoed."""
    short = derive(ALL[name], "short", {"remove": [71]})
    message = Message("0200", {11: "000001", 71: "0001", 72: "0002"})
    with pytest.raises(FormatError, match=r"^field 71: is not in dialect short$"):
        encode(message, short)
    with pytest.raises(FormatError, match=r"^field 71: is not in dialect short$") as caught:
        decode(encode(message, ALL[name]), short)
    assert Message("0200", {11: "000001"}) == caught.value.partial


@pytest.mark.parametrize("name", sorted(ALL))
def test_an_all_zero_second_bitmap_is_read(name: str) -> None:
    """Hosts that always send two bitmaps are understood in every dialect."""
    dialect = ALL[name]
    two = encode(Message("0800", {11: "000001", 66: "1"}), dialect)
    bits = encode(Message("0800", {66: "1"}), dialect)
    digits = dialect.bitmap.value == "hex"
    page = dialect.text.value
    second = "4000000000000000".encode(page) if digits else bytes.fromhex("4000000000000000")
    zeros = ("0" * 16).encode(page) if digits else bytes(8)
    assert second in bits
    last = len(bits) - bits.index(second) - len(second)
    assert Message("0800", {11: "000001"}) == decode(two[:-last].replace(second, zeros, 1), dialect)


@pytest.mark.parametrize(
    ("broken", "field", "reason"),
    [
        ("", None, "MTI must be 4 digits"),
        ("02", None, "MTI must be 4 digits"),
        ("02A0", None, "MTI must be 4 digits"),
        ("0200", None, "bitmap must be 8 bytes, or 16 where its first bit is set"),
        ("020070000000000000", None, "bitmap must be 8 bytes, or 16 where its first bit is set"),
        ("0200F000000000000000" + "00" * 7, None, "bitmap must be 8 bytes, or 16 where its first bit is set"),
        ("0200 2000000000000000 0100", 3, "the message ends inside it"),
        ("0200 2000000000000000 01000A", 3, "must be 6 digits"),
        ("0200 2000000000000000 010000 00", None, "bytes are left over after the last field"),
        ("0200 4000000000000000 1A 601301", 2, "length must be 2 digits"),
        ("0200 4000000000000000 20 60130100000000000000", 2, "must be at most 19 digits"),
        ("0200 4000000000000000 06 60", 2, "the message ends inside it"),
        ("0200 4000000000000000", 2, "the message ends inside it"),
        ("0200 4000000000000000 05 601300", None, None),
        ("0200 4000000000000000 05 601301", 2, "must be at most 19 digits"),
        ("0200 0000000000010000 9999 41", 48, "length must be 3 digits"),
        ("0200 0000000000010000 0999 41", 48, "the message ends inside it"),
        ("0200 0000000000010000 09", 48, "the message ends inside it"),
        ("0200 0000000000010000 0001 FF", 48, "holds a character that is not ASCII"),
        ("0200 0000000000010000 0001 0A", 48, "must be at most 999 printable characters"),
        ("0200 0000000000001000 01234567", 52, "the message ends inside it"),
        ("0200 0000000020000000 05 6013D0", None, None),
        ("0200 0000000020000000 05 6013E0", 35, "must be at most 37 track characters"),
        ("0200 FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF", 2, "the message ends inside it"),
    ],
)
def test_what_is_wrong_in_a_binary_message_is_named(broken: str, field: int | None, reason: str | None) -> None:
    """Half bytes that are no digits, lengths past the end, bitmaps cut off: the first fault, never the value."""
    data = bytes.fromhex(broken)
    if reason is None:
        assert decode(data, EDC).fields
    else:
        assert (field, reason) == refused(data, EDC)


def test_a_character_of_ebcdic_that_ascii_lacks_is_refused() -> None:
    """A message holds ASCII whatever the page; nothing is guessed."""
    encoded = encode(Message("0200", {48: "SITI"}), EBCDIC)
    assert (48, "holds a character that is not ASCII") == refused(encoded[:-1] + "é".encode("cp500"), EBCDIC)
    with pytest.raises(FormatError, match=r"^field 48: holds a character that is not ASCII$"):
        encode(Message("0200", {48: "Renée"}), EBCDIC)
    with pytest.raises(FormatError, match=r"^field 4: must be 12 digits$"):
        encode(Message("0200", {4: "12.50"}), EDC)


def test_the_two_ebcdic_pages_differ_in_a_few_signs_alone() -> None:
    """So the page is a property, and a wrong one does no harm to letters and digits."""
    printable = "".join(map(chr, range(0x20, 0x7F)))
    differing = [sign for sign in printable if sign.encode("cp500") != sign.encode("cp037")]
    assert list("![]^|") == sorted(differing)


def test_partial_goes_on_after_a_field_of_the_wrong_kind() -> None:
    """All but the wrong field can be echoed, packed or not."""
    with pytest.raises(FormatError) as caught:
        decode(EDC_BYTES.replace(bytes.fromhex("000050000000"), bytes.fromhex("00005000000A")), EDC)
    readable = edc_message()
    del readable.fields[4]
    assert (4, readable) == (caught.value.field, caught.value.partial)


@pytest.mark.parametrize("mti", ["", "020", "02000", "02A0", "020\N{ARABIC-INDIC DIGIT THREE}"])
def test_no_message_without_a_type(mti: str) -> None:
    """Four digits, in every dialect."""
    with pytest.raises(FormatError, match=r"^message: MTI must be 4 digits$"):
        encode(Message(mti, {}), EDC)


@pytest.mark.parametrize("name", sorted(ALL))
@settings(max_examples=60)
@given(data=st.data())
def test_there_and_back(name: str, data: st.DataObject) -> None:
    """What is written is read the same, and the cheap scan finds the trace number."""
    message = data.draw(by_name(name))
    dialect = ALL[name]
    encoded = encode(message, dialect)
    assert message == decode(encoded, dialect)
    stan = message.get(11)
    assert (None if stan is None else (message.mti, stan)) == peek(encoded, dialect)


@pytest.mark.parametrize("name", sorted(ALL))
@settings(max_examples=60)
@given(data=st.data())
def test_same_as_pyiso8583(name: str, data: st.DataObject) -> None:
    """Both write the same bytes and read the same fields: all but x+n packed, for which pyiso8583 has no words."""
    dialect = ALL[name]
    spec: Any = pyiso8583_spec(dialect)
    known = [one for one in dialect.fields if str(one.number) in spec]
    message = data.draw(messages(dialect, known))
    document = {"t": message.mti, **{str(number): value for number, value in message.fields.items()}}
    encoded = encode(message, dialect)
    assert bytes(iso8583.encode(document, spec)[0]) == encoded
    assert message_of(iso8583.decode(encoded, spec)[0]) == decode(encoded, dialect)


def test_what_pyiso8583_has_no_words_for() -> None:
    """x+n packed, and nothing else."""
    for dialect in ALL.values():
        left_out = {one.kind for one in dialect.fields if str(one.number) not in pyiso8583_spec(dialect)}
        assert left_out == ({Kind.XN} if dialect.numeric.value == "bcd" else set())


def test_where_pyiso8583_differs() -> None:
    """It takes half bytes that are no digits, refuses 0 where F is said, and reads a third bitmap whatever the fields."""
    spec: Any = pyiso8583_spec(EDC)
    letters = bytes.fromhex("0200 2000000000000000 01000A")
    assert {3: "01000A"} == message_of(iso8583.decode(letters, spec)[0]).fields
    assert (3, "must be 6 digits") == refused(letters, EDC)
    zero = bytes.fromhex("0200 0000000100000000 03 1230")
    assert {32: "123"} == decode(zero, EDC).fields
    with pytest.raises(iso8583.DecodeError, match="Field data is 4 nibbles, expecting 3"):
        iso8583.decode(zero, spec)
    third = bytes.fromhex("0200 8000000000000000 8000000000000000 0000000000000000")
    assert {} == message_of(iso8583.decode(third, spec)[0]).fields
    assert (65, "is not in dialect edc") == refused(third, EDC)


@settings(max_examples=60)
@given(messages(HIMBARA))
def test_the_two_ways_of_an_all_text_dialect_agree(message: Message) -> None:
    """Himbara is read and written by the fast way; the general one says the same."""
    encoded = encode(message)
    assert encoded == wire.encode(message, HIMBARA)
    assert decode(encoded) == wire.decode(encoded, HIMBARA)
    assert peek(encoded) == wire.peek(encoded, HIMBARA)


@settings(max_examples=150)
@given(messages(HIMBARA), st.data())
def test_the_two_ways_refuse_the_same(message: Message, data: st.DataObject) -> None:
    """A message with some bytes changed: both read the same, or name the same fault and save the same fields."""
    encoded = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    found: list[tuple[int | None, str | None, Message | None]] = []
    for read in (decode, wire.decode):
        try:
            found.append((None, None, read(bytes(encoded), HIMBARA)))
        except FormatError as error:
            found.append((error.field, error.reason, error.partial))
    assert found[0] == found[1]
    assert peek(bytes(encoded)) == wire.peek(bytes(encoded), HIMBARA)
