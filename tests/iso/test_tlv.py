"""Chip data: BER-TLV."""

import doctest
import re
import time

import pyemv
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iso import tlv
from iso.errors import FormatError

_MIDDLE = st.lists(st.integers(0x80, 0xFF), max_size=2)
short_tags = st.integers(1, 255).filter(lambda byte: byte & 0x1F != 0x1F).map(lambda byte: f"{byte:02X}")
long_tags = st.builds(
    lambda first, middle, last: bytes([first | 0x1F, *middle, last]).hex().upper(),
    st.sampled_from(range(0, 256, 32)),
    _MIDDLE,
    st.integers(0, 0x7F),
)
tags = short_tags | long_tags
values = st.binary(max_size=20) | st.integers(120, 400).map(bytes) | st.just(bytes(300))
objects = st.lists(st.tuples(tags, values), max_size=12, unique_by=lambda item: item[0])


def refused(data: bytes) -> str:
    """Why `data` are refused, with field 55."""
    with pytest.raises(FormatError) as caught:
        tlv.parse(data)
    assert 55 == caught.value.field
    return caught.value.reason


def read_or_refuse(data: bytes) -> None:
    """Read and written and read again, or refused in one line."""
    try:
        items = tlv.parse(data)
    except FormatError:
        assert re.fullmatch(r"chip data: [ -~]+", refused(data))
        return
    assert items == tlv.parse(tlv.build(items))


def test_examples_come_out() -> None:
    """The examples in the docstrings."""
    result = doctest.testmod(tlv)
    assert (0, True) == (result.failed, result.attempted > 0)


def test_a_request_by_hand() -> None:
    """Tags of one and two bytes, an empty value, a tag of three bytes, and a template whose value stays as it is."""
    data = bytes.fromhex("82025400" + "9F36020001" + "9F0300" + "DF81010155" + "71049F180100")
    expected = (
        ("82", bytes.fromhex("5400")),
        ("9F36", bytes.fromhex("0001")),
        ("9F03", b""),
        ("DF8101", b"\x55"),
        ("71", bytes.fromhex("9F180100")),
    )
    assert expected == tlv.parse(data)
    assert data == tlv.build(expected)
    assert (("9F18", b"\x00"),) == tlv.parse(dict(expected)["71"])


def test_long_lengths() -> None:
    """81, 82 and 83 before one, two and three bytes, shortest or not; written as short as can be."""
    value = bytes(range(1, 6))
    for head in ("05", "8105", "820005", "83000005"):
        assert (("9A", value),) == tlv.parse(bytes.fromhex("9A" + head) + value)
    for length, head in ((127, "7F"), (128, "8180"), (255, "81FF"), (256, "820100"), (60_000, "82EA60")):
        assert bytes.fromhex("9A" + head) + bytes(length) == tlv.build([("9A", bytes(length))])


def test_padding_between_objects_is_skipped() -> None:
    """Bytes 00 before, between and behind, and nothing at all."""
    assert (("9C", b"\x01"), ("82", b"\x00\x00")) == tlv.parse(bytes.fromhex("00009C0101000000820200000000"))
    assert () == tlv.parse(b"") == tlv.parse(bytes(100))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("9F", "chip data: a tag is cut off"),
        ("9F81", "chip data: a tag is cut off"),
        ("DF81818181010100", "chip data: a tag has at most 4 bytes"),
        ("9C", "chip data: a length is cut off"),
        ("9C81", "chip data: a length is cut off"),
        ("9C8201", "chip data: a length is cut off"),
        ("9C80010000", "chip data: an indefinite length"),
        ("9C8400000001FF", "chip data: a length has at most 3 bytes after its first"),
        ("9C887FFFFFFFFFFFFFFF01", "chip data: a length has at most 3 bytes after its first"),
        ("9C888000000000000000", "chip data: a length has at most 3 bytes after its first"),
        ("9CFF" + "FF" * 127, "chip data: a length has at most 3 bytes after its first"),
        ("9C83FFFFFF00", "chip data: the value of tag 9C is cut off"),
        ("9C0201", "chip data: the value of tag 9C is cut off"),
        ("9C01019C0102", "chip data: tag 9C comes twice"),
    ],
)
def test_what_makes_no_sense_is_refused(data: str, reason: str) -> None:
    """Each with its reason, and never a value in it."""
    assert refused(bytes.fromhex(data)).startswith(reason)


def test_issuer_scripts_may_come_again() -> None:
    """Two templates 72, two commands 86 in one: all kept, in their order."""
    commands = tlv.build([("86", b"\x84\x24"), ("86", b"\x84\x18")])
    items = (("72", commands), ("71", b""), ("72", b""))
    assert items == tlv.parse(tlv.build(items))
    assert (("86", b"\x84\x24"), ("86", b"\x84\x18")) == tlv.parse(commands)


@pytest.mark.parametrize(
    "tag",
    ["", "9", "00", "9c", "9F", "1F", "9F82", "9C01", "9F3601", "DF81828384", "5F2A ", " 9C", "９C", "9C\n", "XX"],
)
def test_bad_tags_are_not_written(tag: str) -> None:
    """A tag is whole, in upper case hex, and never the padding byte."""
    with pytest.raises(FormatError, match=r"^field 55: chip data: a tag is 1 to 4 bytes"):
        tlv.build([(tag, b"")])


def test_repeated_tags_are_not_written() -> None:
    """What would not be read is not written."""
    with pytest.raises(FormatError, match=r"^field 55: chip data: tag 9C comes twice$"):
        tlv.build([("9C", b"\x00"), ("9C", b"\x00")])


def test_nothing_longer_than_a_field() -> None:
    """65,535 bytes in all, to be read and to be written; the error names the field it was asked for."""
    assert (
        65_535 == len(tlv.build([("9C", bytes(65_531))])) == len(tlv.build([("9C", bytes(65_523)), ("82", bytes(6))]))
    )
    whole = "^field 48: chip data: at most 65535 bytes$"
    with pytest.raises(FormatError, match=whole):
        tlv.build([("9C", bytes(65_532))], 48)
    with pytest.raises(FormatError, match=whole):
        tlv.build([("9C", bytes(65_536))], 48)
    with pytest.raises(FormatError, match=whole):
        tlv.parse(bytes(65_536), 48)
    assert () == tlv.parse(bytes(65_535))


@pytest.mark.parametrize(
    ("tag", "constructed"),
    [("71", True), ("BF0C", True), ("E0", True), ("9F36", False), ("82", False), ("DF8101", False)],
)
def test_templates(tag: str, constructed: bool) -> None:  # noqa: FBT001 - a column of the table above
    """The third highest bit of a tag says so."""
    assert constructed is tlv.is_constructed(tag)


@pytest.mark.parametrize("tag", ["", "9", "zz", "9F"])
def test_what_is_no_tag_is_no_template(tag: str) -> None:
    """It is refused as when writing."""
    with pytest.raises(FormatError):
        tlv.is_constructed(tag)


@given(objects)
def test_there_and_back(items: list[tuple[str, bytes]]) -> None:
    """Every tag that BER-TLV can form comes back with its value and in its place, known or not."""
    assert tuple(items) == tlv.parse(tlv.build(items))


@given(objects)
def test_same_as_pyemv(items: list[tuple[str, bytes]]) -> None:
    """The pyemv package writes the same bytes, and reads them as the same objects. It opens templates, so they stay out."""
    simple = [(tag, value) for tag, value in items if not tlv.is_constructed(tag)]
    written = tlv.build(simple)
    assert pyemv.tlv.encode(dict(simple)) == written
    assert pyemv.tlv.decode(written) == dict(tlv.parse(written))


@given(st.binary(max_size=300))
@example(bytes.fromhex("9F80"))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No other error, and what was read can be written and read again."""
    read_or_refuse(data)


@given(objects.filter(bool), st.data())
def test_changed_bytes_are_read_or_refused(items: list[tuple[str, bytes]], data: st.DataObject) -> None:
    """One byte of a good message changed, or its end cut off."""
    good = bytearray(tlv.build(items))
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(good))
    read_or_refuse(bytes(good[: data.draw(st.integers(0, len(good)))]))


@given(st.text(max_size=10), st.binary(max_size=10))
def test_any_text_is_a_tag_or_refused(tag: str, value: bytes) -> None:
    """No other error when writing."""
    try:
        written = tlv.build([(tag, value)])
    except FormatError:
        return
    assert ((tag, value),) == tlv.parse(written)


def test_the_worst_field_takes_no_time() -> None:
    """As many objects as a field can hold are read in a moment: work grows with bytes, not with their square."""
    scripts = bytes.fromhex("7100") * 32_000
    deep = b"".join(bytes([0x70, 0x83]) + (60_000).to_bytes(3) for _ in range(10_000))
    began = time.process_time()
    assert 32_000 == len(tlv.parse(scripts))
    refused(deep)
    assert 1.0 > time.process_time() - began
