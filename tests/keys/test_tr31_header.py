"""Headers of key blocks."""

import dataclasses
from typing import Any

import psec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keys import tr31_header
from keys.errors import KeyBlockError
from keys.tr31_header import Header
from tests.keys.samples import one_line, vectors

LETTERS_OR_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
names = st.text(LETTERS_OR_DIGITS, min_size=2, max_size=2).filter(lambda name: name != "PB")
optional_blocks = st.dictionaries(
    names, st.text(printable, max_size=40) | st.text(printable, min_size=245, max_size=300), max_size=5
).map(lambda found: tuple(found.items()))


def headers(versions: str) -> st.SearchStrategy[Header]:
    """Any header of these versions."""
    return st.builds(
        Header,
        version=st.sampled_from(versions),
        usage=st.text(LETTERS_OR_DIGITS, min_size=2, max_size=2),
        algorithm=st.sampled_from("TAHRESD"),
        mode=st.sampled_from("BCDEGNSTVXY"),
        key_version=st.text(LETTERS_OR_DIGITS + "c", min_size=2, max_size=2),
        exportability=st.sampled_from("ENS"),
        blocks=optional_blocks,
    )


def whole(header: Header, sealed: int = 96) -> str:
    """A key block with SEALED characters behind its header."""
    return header.build(sealed) + "0" * sealed


PLAIN = Header("D", "P0", "A", "E")
WITH_BLOCKS = Header("D", "P0", "A", "E", blocks=(("KS", "0" * 20), ("LB", "the zone key")))


@pytest.mark.parametrize("vector", vectors("tr31."), ids=lambda vector: vector["name"])
def test_vectors_read_and_build_to_the_same_text(vector: dict[str, Any]) -> None:
    """The header of each published key block."""
    block = vector["inputs"]["key_block"]
    header, end = tr31_header.parse(block)
    assert block[:end] == header.build(len(block) - end)
    assert block[0] == header.version
    assert block[5:12] == header.usage + header.algorithm + header.mode + header.key_version + header.exportability


@given(headers("ABCDE"), st.integers(0, 20))
def test_there_and_back(header: Header, units: int) -> None:
    """Whatever can be said comes back, and the padding block is no part of it."""
    sealed = 16 * units
    block = whole(header, sealed)
    assert (header, len(block) - sealed) == tr31_header.parse(block)
    assert 0 == (len(block) - sealed) % tr31_header.UNITS[header.version]


@given(headers("ABCD"))
@example(Header("D", "P0", "A", "E", blocks=(("LB", "x" * 251),)))
@example(Header("D", "P0", "A", "E", blocks=(("LB", "x" * 252),)))
def test_same_text_as_psec(header: Header) -> None:
    """The psec package writes the same header, padding block and long lengths included."""
    theirs = psec.tr31.Header(
        header.version, header.usage, header.algorithm, header.mode, header.key_version, header.exportability
    )
    for name, text in header.blocks:
        theirs.blocks[name] = text
    assert str(theirs) == header.build(0)


def test_optional_blocks_by_name() -> None:
    """Their text as it came, None for one that is not there."""
    header, _ = tr31_header.parse(whole(WITH_BLOCKS))
    assert "the zone key" == header.block("LB")
    assert header.block("KP") is None
    assert header.block("PB") is None


def test_a_component_says_so() -> None:
    """A key version that begins with a c: a part of a key is not taken for the key."""
    assert Header("D", "K1", "A", "B", key_version="c1").is_component
    assert not Header("D", "K1", "A", "B", key_version="C1").is_component
    assert not PLAIN.is_component


@pytest.mark.parametrize(
    ("version", "length", "padding"),
    [
        ("B", 0, "PB0C00000000"),
        ("B", 1, "PB0B0000000"),
        ("B", 3, "PB0900000"),
        ("B", 4, ""),
        ("B", 5, "PB07000"),
        ("B", 7, "PB050"),
        ("D", 12, ""),
        ("D", 7, "PB050"),
        ("D", 8, "PB140000000000000000"),
        ("D", 9, "PB13000000000000000"),
    ],
)
def test_padding_fills_up_to_the_unit(version: str, length: int, padding: str) -> None:
    """Five characters at least: name, length and some text. Where fewer are missing, a unit more."""
    header = Header(version, "P0", "T", "E", blocks=(("LB", "x" * length),))
    assert padding == header.build(0)[20 + length :]
    assert bool(padding) + 1 == int(header.build(0)[12:14])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        *(("version", value, "version .byte 0.") for value in ("F", "d", "0", "", "DD")),
        *(("usage", value, "usage .bytes 5-6.") for value in ("p0", "P", "P00", "P ", "Ｐ0")),
        *(("algorithm", value, "algorithm .byte 7.") for value in ("a", "X", "", "0", "TA")),
        *(("mode", value, "mode .byte 8.") for value in ("e", "A", "", "EE", "1")),
        *(("key_version", value, "key version .bytes 9-10.") for value in ("0", "000", "  ", "0-", "٠٠")),
        *(("exportability", value, "exportability .byte 11.") for value in ("n", "X", "", "NN")),
    ],
)
def test_fields_that_no_header_has(field: str, value: str, said: str) -> None:
    """Refused with the name and the place of the field."""
    with pytest.raises(KeyBlockError, match=said) as caught:
        Header(**(dataclasses.asdict(PLAIN) | {field: value}))
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ((("KS", "1"), ("KS", "2")), "two optional blocks of one name"),
        ((("PB", "0000"),), "optional block 1 has a name"),
        ((("LB", ""), ("ks", "1")), "optional block 2 has a name"),
        ((("K", "1"),), "optional block 1 has a name"),
        ((("LB", "a\nb"),), "optional block 1 is not printable"),
        ((("LB", "kartu é"),), "optional block 1 is not printable"),
        ((("LB", "x" * 10_000),), "optional block 1 is not printable ASCII of 9999"),
    ],
)
def test_optional_blocks_that_no_header_has(blocks: tuple[tuple[str, str], ...], said: str) -> None:
    """Doubles, names, text."""
    with pytest.raises(KeyBlockError, match=said):
        Header("D", "P0", "A", "E", blocks=blocks)


def test_no_more_than_the_length_field_can_say() -> None:
    """9999 characters, 99 optional blocks with the padding block."""
    assert 9984 == int(PLAIN.build(9968)[1:5])
    with pytest.raises(KeyBlockError, match="9999"):
        PLAIN.build(9984)
    many = tuple((f"{number:02d}", "x" * 4) for number in range(99))
    assert "99" == Header("B", "P0", "T", "E", blocks=many).build(0)[12:14]
    one_too_many = (*many[:-1], ("98", "x"))
    with pytest.raises(KeyBlockError, match="99 optional blocks"):
        Header("B", "P0", "T", "E", blocks=one_too_many).build(0)


SOUND = whole(WITH_BLOCKS)
"""D0160P0AE00N0300 KS18 LB10 PB08, and 96 characters behind."""


def test_the_sample_is_as_the_cases_below_take_it() -> None:
    """16 characters, KS at 16, LB at 40, PB at 56, end at 64."""
    assert ["KS18", "LB10", "PB08"] == [SOUND[at : at + 4] for at in (16, 40, 56)]
    assert 64 == tr31_header.parse(SOUND)[1]


@pytest.mark.parametrize(
    ("at", "text", "said"),
    [
        (0, "F", "version .byte 0."),
        (1, "0144", "length .bytes 1-4."),
        (1, "+160", "length .bytes 1-4."),
        (1, " 160", "length .bytes 1-4."),
        (5, "p", "usage .bytes 5-6."),
        (12, "0A", "number of optional blocks .bytes 12-13."),
        (12, " 3", "number of optional blocks .bytes 12-13."),
        (12, "00", None),
        (12, "02", "do not fill up"),
        (12, "04", "optional block 3 .byte 56. is a padding block and not the last"),
        (14, "01", "reserved field .bytes 14-15."),
        (16, "ks", "optional block 1 has a name"),
        (16, "LB", "two optional blocks of one name"),
        (16, "PB", "optional block 1 .byte 16. is a padding block and not the last"),
        (18, "1a", "optional block 1 .byte 16. has a length that is not upper case hex"),
        (18, " 8", "optional block 1 .byte 16. has a length that is not upper case hex"),
        (18, "03", "optional block 1 .byte 16. has a length that leaves no room"),
        (18, "FF", "optional block 1 .byte 16. has a length that leaves no room"),
        (18, "0000", "optional block 1 .byte 16. has a length of length"),
        (18, "0003", "optional block 1 .byte 16. has a length of length"),
        (18, "000107", "optional block 1 .byte 16. has a length that leaves no room"),
        (18, "00020009", "optional block 1 .byte 16. has a length that leaves no room"),
        (18, "0002270F", "optional block 1 .byte 16. has a length that leaves no room"),
        (18, "0002FFFF", "optional block 1 .byte 16. has a length that leaves no room"),
        (18, "00020018", None),
        (18, "000118", None),
        (44, "\x7f", "a key block is printable ASCII"),
        (44, "\n", "a key block is printable ASCII"),
        (44, "é", "a key block is printable ASCII"),
        (60, "\t", "a key block is printable ASCII"),
        (70, "é", "a key block is printable ASCII"),
    ],
)
def test_blocks_with_one_fault(at: int, text: str, said: str | None) -> None:
    """Each is refused with its place; a length may be given the long way; without its optional blocks it is a header too."""
    block = SOUND[:at] + text + SOUND[at + len(text) :]
    if said is None:
        tr31_header.parse(block)
        return
    with pytest.raises(KeyBlockError, match=said) as caught:
        tr31_header.parse(block)
    assert one_line(caught.value)


@pytest.mark.parametrize("block", ["", "D", SOUND[:15], "D" * 10_000])
def test_blocks_too_short_or_too_long(block: str) -> None:
    """16 to 9999 characters."""
    with pytest.raises(KeyBlockError, match="16 to 9999"):
        tr31_header.parse(block)


@pytest.mark.parametrize(("version", "length"), [("A", 28), ("B", 36), ("C", 70), ("D", 24), ("E", 33)])
def test_lengths_that_no_block_has(version: str, length: int) -> None:
    """A whole block is a multiple of its version's unit, even where its length field is right."""
    with pytest.raises(KeyBlockError, match=f"version {version} key block is a multiple"):
        tr31_header.parse(f"{version}{length:04d}P0TE00N0000" + "0" * (length - 16))


def test_a_long_length_cut_off_at_the_end() -> None:
    """The block ends inside the length of an optional block."""
    for tail in ("LB", "LB00", "LB0002", "LB000200", "LB00020"):
        block = f"E{16 + len(tail):04d}P0TE00N0100{tail}"
        with pytest.raises(KeyBlockError, match="optional block 1"):
            tr31_header.parse(block)


def read(block: str) -> tuple[Header, int] | None:
    """What the text says, or None where it is refused as it should be: any other error fails the test."""
    try:
        return tr31_header.parse(block)
    except KeyBlockError:
        return None


@given(st.text(max_size=60) | st.text(LETTERS_OR_DIGITS, min_size=16, max_size=60))
def test_random_text(text: str) -> None:
    """Only the package's own error, even with a right length field; and what is read is what stands there."""
    for block in (text, text[:1] + f"{len(text):04d}" + text[5:], f"D{len(text) + 5:04d}{text}"):
        found = read(block)
        if found is not None:
            assert block[5:12] == found[0].build(len(block) - found[1])[5:12]


@given(headers("ABCDE"), st.data())
def test_mutated_headers(header: Header, data: st.DataObject) -> None:
    """One character changed, left out or put in: only the package's own error, or a header that can be said again."""
    block = whole(header, 32)
    at = data.draw(st.integers(0, len(block) - 1))
    character = data.draw(st.characters())
    before, after = block[:at], block[at + 1 :]
    for changed in (before + character + after, before + after, before + character + block[at:]):
        found = read(changed)
        if found is not None:
            assert found[1] <= len(changed)
            assert found[0] == tr31_header.parse(whole(found[0]))[0]
