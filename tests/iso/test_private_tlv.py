"""Private tags by hand, there and back, and what is refused."""

import doctest
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iso import private_tlv
from iso.errors import DialectError, FormatError

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
SHAPES = {"2+2": (2, 99), "2+3": (2, 999), "3+3": (3, 999), "1+2": (1, 99), "tokens": (2, 999)}
TRANSFER = "SITI AMINAH".ljust(30) + "REF0000000000001" + "BUDI".ljust(30) + "0" * 70
SWITCH_TOKENS = "& 0000200168! Q900146 " + TRANSFER


def items_of(shape: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Any tags and values that `shape` can hold."""
    size, longest = SHAPES[shape]
    tags = st.text(PRINTABLE[1:], min_size=size, max_size=size)
    return st.lists(st.tuples(tags, st.text(PRINTABLE, max_size=min(longest, 50))), max_size=12)


def refused(text: str, shape: str) -> str:
    """Why `text` is refused, with field 48."""
    with pytest.raises(FormatError) as caught:
        private_tlv.parse(text, shape, 48)
    assert 48 == caught.value.field
    return caught.value.reason


def test_examples_come_out() -> None:
    """The examples in the docstrings."""
    result = doctest.testmod(private_tlv)
    assert (0, True) == (result.failed, result.attempted > 0)


def test_tokens_of_a_switch() -> None:
    """DE126 of an interbank transfer: one token of 146 characters, kept and written back."""
    assert 146 == len(TRANSFER)
    assert (("Q9", TRANSFER),) == private_tlv.parse(SWITCH_TOKENS, "tokens", 126)
    assert SWITCH_TOKENS == private_tlv.build([("Q9", TRANSFER)], "tokens", 126)
    assert () == private_tlv.parse("& 0000100012", "tokens", 126)


def test_unknown_and_repeated_tags_are_kept_in_their_place() -> None:
    """Nobody has to know a tag; one that comes twice comes back twice; an empty value is there."""
    text = "ZZ003a bQX000ZZ001c"
    items = (("ZZ", "a b"), ("QX", ""), ("ZZ", "c"))
    assert items == private_tlv.parse(text, "2+3", 48)
    assert text == private_tlv.build(items, "2+3", 48)
    assert () == private_tlv.parse("", "2+3", 48)


@pytest.mark.parametrize(
    ("text", "shape", "reason"),
    [
        ("Z", "2+3", "private tags: a tag or a length is cut off"),
        ("ZZ00", "2+3", "private tags: a tag or a length is cut off"),
        ("ZZ001", "2+3", "private tags: a value is cut off"),
        ("ZZ999a", "2+3", "private tags: a value is cut off"),
        ("ZZ001ab", "2+3", "private tags: a tag or a length is cut off"),
        ("ZZ001a    ", "2+2", "private tags: a tag and 2 digits of its length must stand here"),
        ("ZZ001a     ", "2+3", "private tags: a tag and 3 digits of its length must stand here"),
        ("ZZ-01a", "2+3", "private tags: a tag and 3 digits of its length must stand here"),
        ("ZZ 1a", "2+2", "private tags: a tag and 2 digits of its length must stand here"),
        ("Z 001a", "2+3", "private tags: a tag and 3 digits of its length must stand here"),
        ("ZZ\u0660\u0660\u0661a", "2+3", "private tags: a tag and 3 digits of its length must stand here"),
        ("ZZ001\n", "2+3", "private tags: a value must be printable characters"),
        ("ZZ001\u00e9", "2+3", "private tags: a value must be printable characters"),
        ("", "tokens", 'tokens: must begin with "& " and ten digits'),
        ("& 0000100012"[:-1], "tokens", 'tokens: must begin with "& " and ten digits'),
        ("& 0000100013", "tokens", "tokens: the head says another length"),
        (SWITCH_TOKENS[:-1], "tokens", "tokens: the head says another length"),
        (SWITCH_TOKENS + " ", "tokens", "tokens: the head says another length"),
        (SWITCH_TOKENS.replace("00146", "00145"), "tokens",
         'tokens: a token must begin with "! ", its tag, five digits and a space'),
        (SWITCH_TOKENS.replace("00146", "00147"), "tokens", "tokens: a token is cut off"),
        (SWITCH_TOKENS.replace("00146", "99999"), "tokens", "tokens: a token is cut off"),
        (SWITCH_TOKENS.replace("00002", "00003"), "tokens", "tokens: the head says another count"),
        (SWITCH_TOKENS.replace("! Q9", "!Q9 "), "tokens",
         'tokens: a token must begin with "! ", its tag, five digits and a space'),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text: str, shape: str, reason: str) -> None:
    """Cut off, left over, no digits: each with its reason, and never a value in it."""
    assert reason == refused(text, shape)


@pytest.mark.parametrize(
    ("items", "shape", "reason"),
    [
        ([("ZZZ", "a")], "2+3", "private tags: a tag has 2 printable characters"),
        ([("Z ", "a")], "2+3", "private tags: a tag has 2 printable characters"),
        ([("Z", "a")], "tokens", "private tags: a tag has 2 printable characters"),
        ([("ZZ", "a" * 100)], "2+2", "private tags: a value has at most 99 characters"),
        ([("ZZ", "a" * 1_000)], "2+3", "private tags: a value has at most 999 characters"),
        ([("ZZ", "a\tb")], "2+3", "private tags: a value must be printable characters"),
    ],
)
def test_what_would_not_be_read_is_not_written(items: list[tuple[str, str]], shape: str, reason: str) -> None:
    """Another tag, a value too long or with control characters."""
    with pytest.raises(FormatError) as caught:
        private_tlv.build(items, shape, 60)
    assert (60, reason) == (caught.value.field, caught.value.reason)


@pytest.mark.parametrize("shape", ["", "2", "2+", "2+4", "0+2", "10+2", "2+2 ", "TOKENS", "2-2"])
def test_a_shape_that_nobody_has_is_refused(shape: str) -> None:
    """A profile's fault, not a message's."""
    with pytest.raises(DialectError, match=r"^a shape of private tags is "):
        private_tlv.parse("ZZ001a", shape, 48)


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_there_and_back(shape: str, data: st.DataObject) -> None:
    """Whatever is written is read the same, in its order."""
    items = data.draw(items_of(shape))
    assert tuple(items) == private_tlv.parse(private_tlv.build(items, shape, 48), shape, 48)


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_any_text_is_read_or_refused(shape: str, data: st.DataObject) -> None:
    """Rubbish and good text with some characters changed: refused in one line, or written back character by character."""
    good = private_tlv.build(data.draw(items_of(shape)), shape, 48)
    at = data.draw(st.integers(0, len(good)))
    text = data.draw(
        st.text(PRINTABLE, max_size=60) | st.text().map(lambda put: good[:at] + put + good[at + len(put) :])
    )
    try:
        items = private_tlv.parse(text, shape, 48)
    except FormatError:
        assert re.fullmatch(r"(private tags|tokens): [ -~]+", refused(text, shape))
        return
    assert text == private_tlv.build(items, shape, 48)


@example("ZZ001a" * 16_000)
@example("ZZ000" * 20_000)
@example("ZZ999" * 20_000)
@given(st.text("Z019", max_size=200))
def test_the_worst_field_takes_no_time(text: str) -> None:
    """Work grows with the characters, not with their square."""
    began = time.process_time()
    try:
        assert "".join(f"{tag}{len(value):03d}{value}" for tag, value in private_tlv.parse(text, "2+3", 48)) == text
    except FormatError:
        assert refused(text, "2+3")
    assert 1.0 > time.process_time() - began


@pytest.mark.parametrize(("shape", "size"), [("2+3", 2), ("3+3", 3), ("tokens", 2)])
def test_how_long_a_tag_is(shape: str, size: int) -> None:
    """As it is parsed."""
    assert size == private_tlv.tag_length(shape)
