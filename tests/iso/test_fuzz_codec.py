"""The codec against rubbish, in every dialect: any bytes, good messages spoilt, and the corpus. FormatError and nothing else.

A dialect of a bank's own stands beside the three, with every encoding that they do not have.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iso import codec, tlv, wire
from iso.bitmap import make_bitmap
from iso.codec import decode, encode, peek
from iso.describe import describe, summary
from iso.dialect import DIALECTS, EBCDIC, HIMBARA, Dialect, derive
from iso.errors import FormatError
from iso.mac import mac_input
from iso.message import Message
from tests.iso.samples import messages, withdrawal

if TYPE_CHECKING:
    from collections.abc import Callable

CORPUS = sorted((Path(__file__).parent.parent / "corpus" / "codec").glob("*.txt"))
OWN = derive(
    EBCDIC,
    "own",
    {
        "text": "cp037", "numeric": "bcd", "lengths": "raw", "bitmap": "hex", "fixed_padding": "right-f",
        "variable_padding": "left-0", "remove": [71],
        "fields": {"52": {"encoding": "hex"}, "130": {"kind": "ans", "length": 99, "length_digits": 2},
                   "131": {"kind": "ansb", "length": 99, "length_digits": 3}, "192": {"kind": "b", "length": 16}},
    },
)  # fmt: skip
ALL = {one.name: one for one in (*DIALECTS.values(), OWN)}
MEMORY_MOST = 2_000_000  # bytes, of 64 KiB of message
SECONDS_MOST = 1.0
SHAPES_KEPT = 512


def said(path: Path) -> dict[str, str]:
    """The lines of a file of the corpus, by their first word."""
    lines = [line.partition(" ") for line in path.read_text(encoding="ascii").splitlines() if not line.startswith("#")]
    return {word: value for word, _, value in lines}


def refusal(call: Callable[[], object]) -> FormatError | None:
    """Why `call` was refused; any other error escapes."""
    try:
        call()
    except FormatError as error:
        return error
    return None


def read_or_refuse(data: bytes, dialect: Dialect) -> Message | None:
    """What `data` holds, or what could be saved of it; any other error than FormatError escapes, and so does a half-truth.

    What was read or saved obeys the dialect: it can be written, and is read again as it was. It can be shown, and answered.
    """
    peek(data, dialect)
    refused = refusal(lambda: decode(data, dialect))
    unsigned = refusal(lambda: mac_input(data, dialect))
    assert "\n" not in f"{refused} {unsigned}"
    assert unsigned is None or unsigned.field in {None, 64, 128, 192}
    message = decode(data, dialect) if refused is None else refused.partial
    if message is None:
        return None
    assert message == decode(encode(message, dialect), dialect)
    assert describe(message, dialect)
    assert message.mti == summary(message)["mti"]
    if message.is_request:
        answer = message.response()
        answer.fields[39] = "30"
        assert answer == decode(encode(answer, dialect), dialect)
    return message


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_corpus(path: Path) -> None:
    """Each message gives what its file says."""
    lines = said(path)
    dialect, data = DIALECTS[lines["dialect"]], bytes.fromhex(lines["message"])
    if "read" in lines:
        message = decode(data, dialect)
        assert message == read_or_refuse(data, dialect)
        if "chip" in lines:
            with pytest.raises(FormatError) as caught:
                tlv.parse(bytes.fromhex(message.fields[55]))
            assert f"field 55: {lines['chip']}" == str(caught.value)
        return
    with pytest.raises(FormatError) as caught:
        decode(data, dialect)
    assert lines["refused"] == str(caught.value)
    saved = caught.value.partial
    assert lines.get("saved") == (None if saved is None else " ".join(map(str, sorted(saved.fields))))
    assert saved == read_or_refuse(data, dialect)


def test_the_corpus_has_good_and_bad_messages_of_every_dialect() -> None:
    """So that none is run by nobody."""
    found = [said(path) for path in CORPUS]
    for name in DIALECTS:
        own = [lines for lines in found if lines["dialect"] == name]
        assert len([lines for lines in own if "refused" in lines]) >= 12
        assert len([lines for lines in own if "chip" in lines]) >= 7
        assert len([lines for lines in own if "read" in lines and "chip" not in lines]) >= 9


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    """Rubbish raises nothing but FormatError, and a message type is never made up."""
    message = read_or_refuse(data, ALL[name])
    packed = ALL[name].numeric.value == "bcd"
    assert message is None or message.mti == (data.hex()[:4] if packed else str(data[:4], ALL[name].text.value))


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60)
@given(bits=st.integers(0, 2**192 - 1) | st.just(2**192 - 1), rest=st.binary(max_size=200))
def test_any_bitmap_is_read_or_refused(name: str, bits: int, rest: bytes) -> None:
    """A message with a true type and bitmap always leaves at least its type."""
    dialect = ALL[name]
    good = encode(Message("0200", {}), dialect)
    text = f"{bits:048X}"
    bitmap = bytes.fromhex(text) if dialect.bitmap.value == "raw" else text.encode(dialect.text.value)
    mti = good[: 2 if dialect.numeric.value == "bcd" else 4]
    message = read_or_refuse(mti + bitmap + rest, dialect)
    assert message is not None
    assert "0200" == message.mti


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=80)
@given(data=st.data())
def test_a_spoilt_message_is_read_or_refused(name: str, data: st.DataObject) -> None:
    """Bytes changed, cut out or put in."""
    dialect = ALL[name]
    good = encode(data.draw(messages(dialect)), dialect)
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 4)))
    read_or_refuse(good[:start] + data.draw(st.binary(max_size=4)) + good[end:], dialect)


@settings(max_examples=150)
@given(
    path=st.sampled_from(CORPUS),
    name=st.sampled_from(sorted(ALL)),
    start=st.integers(0, 200),
    put=st.binary(max_size=3),
)
def test_mutants_of_the_corpus_are_read_or_refused(path: Path, name: str, start: int, put: bytes) -> None:
    """The neighbours of known messages, in their own dialect and in every other."""
    data = bytes.fromhex(said(path)["message"])
    read_or_refuse(data[:start] + put + data[start + len(put) :], ALL[name])


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60)
@given(
    mti=st.text(max_size=5) | st.just("0200"),
    fields=st.dictionaries(st.integers(-2, 260), st.text(max_size=20), max_size=5),
)
def test_any_message_is_written_or_refused(name: str, mti: str, fields: dict[int, str]) -> None:
    """Whatever a caller puts into a message: FormatError, or bytes that are read as what was put in, but for filling."""
    dialect = ALL[name]
    refused = refusal(lambda: encode(Message(mti, fields), dialect))
    if refused is not None:
        assert refused.field is None or refused.field in fields
        return
    again = decode(encode(Message(mti, fields), dialect), dialect)
    assert (mti, fields.keys()) == (again.mti, again.fields.keys())


@pytest.mark.parametrize("name", ALL)
def test_the_worst_message_takes_no_time_and_no_memory(name: str) -> None:
    """64 KiB of the worst kinds: bounded by their length, in processor time and in memory."""
    dialect = ALL[name]
    good = encode(withdrawal(), dialect)
    pieces = (b"\xff", b"\x00", b"9", b"\x99", b"\xf9", b"F", good)
    for worst in [
        head + piece * (65_000 // len(piece)) for piece in pieces for head in (b"", good[:2], good[:4], good)
    ]:
        tracemalloc.start()
        began = time.thread_time()
        with pytest.raises(FormatError):
            decode(worst, dialect)
        peek(worst, dialect)
        spent, memory = time.thread_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert spent < SECONDS_MOST
        assert memory < MEMORY_MOST


@pytest.mark.parametrize("name", ALL)
def test_what_is_kept_of_bitmaps_is_bounded(name: str) -> None:
    """A sender of ever new bitmaps fills no memory: so many shapes are kept, and no more."""
    dialect, random = ALL[name], Random(8583)
    good = encode(withdrawal(), dialect)
    at = 2 if dialect.numeric.value == "bcd" else 4
    for _ in range(2 * SHAPES_KEPT):
        bits = random.randbytes(16)
        bitmap = bits if dialect.bitmap.value == "raw" else bits.hex().encode(dialect.text.value)
        read_or_refuse(good[:at] + bitmap + good[at:], dialect)
        encode(Message("0200", dict.fromkeys(random.sample(range(3, 28), 8), "1")), dialect)
    for kept in (wire._compiled(dialect).reading.cache_info(), wire._compiled(dialect).writing.cache_info()):
        assert kept.currsize <= SHAPES_KEPT == kept.maxsize
    plan = codec._compiled(dialect)
    if plan is not None:
        assert len(plan.readers) <= SHAPES_KEPT
        assert len(plan._seen) <= codec._SHAPES_SEEN


def test_a_function_is_made_for_a_shape_that_comes_again() -> None:
    """Not for each new one, since making it takes far longer than a message; and no more than so many are kept."""
    dialect = derive(HIMBARA, "fresh", {})
    plan = codec._compiled(dialect)
    assert plan is not None
    good = encode(withdrawal(), dialect)
    assert ({}, {}) == (plan.readers, plan.writers)
    first = decode(good, dialect)
    assert {} == plan.readers
    assert (first, 1) == (decode(good, dialect), len(plan.readers))
    assert (good, 1) == (encode(first, dialect), len(plan.writers))
    numbers = sorted(dialect.by_number)
    for place in range(2 * SHAPES_KEPT):
        shape = tuple(number for bit, number in enumerate(numbers[:12]) if place >> bit & 1)
        for _ in range(2):
            plan.writer_of(shape)
            plan.reader_of(make_bitmap(shape))
    assert 0 < len(plan.readers) <= SHAPES_KEPT
    assert 0 < len(plan.writers) <= SHAPES_KEPT
    assert good == encode(decode(good, dialect), dialect)
