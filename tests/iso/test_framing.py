"""Frames: headers by hand, any segmentation, headers that make no sense, and the corpus."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.errors import FrameError
from iso.framing import HIMBARA_FRAMING, Deframer, FrameKind, HeaderKind, LengthFraming

CORPUS = Path(__file__).parent.parent / "corpus" / "framing"
BASE24 = b"ISO026000070"
TPDU = b"\x60\x00\x03\x12\x34"
FRAMINGS = [
    HIMBARA_FRAMING,
    LengthFraming(FrameKind.ASCII4, inclusive=True, max_length=9_995),
    LengthFraming(FrameKind.BINARY2, inclusive=False, max_length=65_535),
    LengthFraming(FrameKind.BINARY2, inclusive=True, max_length=500),
    LengthFraming(FrameKind.BINARY4, inclusive=False, max_length=300),
    LengthFraming(FrameKind.BINARY4, inclusive=True, max_length=0xFFFF_FFFB),
    LengthFraming(FrameKind.BCD2, inclusive=False, max_length=9_999),
    LengthFraming(FrameKind.BCD2, inclusive=True, max_length=9_997),
    LengthFraming(FrameKind.VML, inclusive=False, max_length=2_048),
    LengthFraming(FrameKind.VML, inclusive=True, max_length=65_531),
]
BY_HAND = [
    b"0003abc", b"0007abc", b"\0\3abc", b"\0\5abc", b"\0\0\0\3abc", b"\0\0\0\7abc", b"\0\x03abc", b"\0\x05abc",
    b"\0\3\0\0abc", b"\0\7\0\0abc",
]  # fmt: skip
HEADED = [
    LengthFraming(FrameKind.BINARY2, header_kind=HeaderKind.TPDU, header=TPDU),
    LengthFraming(FrameKind.ASCII4, header_kind=HeaderKind.STATIC, header=BASE24, max_length=200),
    LengthFraming(FrameKind.BCD2, inclusive=True, header_kind=HeaderKind.TPDU, max_length=120),
    LengthFraming(FrameKind.VML, header_kind=HeaderKind.STATIC, header=b"\0", check_header=False),
]


def name_of(framing: LengthFraming) -> str:
    """The framing as a test's name."""
    return f"{framing.kind}-{'in' if framing.inclusive else 'ex'}clusive-{framing.header_kind}"


def outcome(framing: LengthFraming, segments: list[bytes]) -> tuple[list[bytes], str, int]:
    """Frames, why the stream was refused ("" where it was not), and what is kept, of a stream that comes in these segments."""
    deframer, frames, reason = Deframer(framing), [], ""
    for segment in segments:
        try:
            frames += deframer.feed(segment)
        except FrameError as error:
            if not reason:
                frames += error.complete
            reason = reason or error.reason
        assert deframer.pending < framing.header_bytes + framing.max_length
    return frames, reason, deframer.pending


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream in pieces, some of them empty."""
    edges = [0, *sorted(min(at, len(stream)) for at in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize(("framing", "framed"), list(zip(FRAMINGS, BY_HAND, strict=True)))
def test_frame_by_hand(framing: LengthFraming, framed: bytes) -> None:
    """The header of each kind, with and without itself."""
    assert framing.frame(b"abc") == framed


@pytest.mark.parametrize(
    ("kind", "header", "length"),
    [
        (FrameKind.ASCII4, b"0258", 258),
        (FrameKind.BINARY2, b"\x01\x02", 258),
        (FrameKind.BINARY4, b"\0\0\x01\x02", 258),
        (FrameKind.BCD2, b"\x02\x58", 258),
        (FrameKind.BCD2, b"\x99\x99", 9_999),
        (FrameKind.VML, b"\x01\x02\0\0", 258),
    ],
)
def test_lengths_by_hand(kind: FrameKind, header: bytes, length: int) -> None:
    """Digits count in tens, bytes in 256s, most significant first; written as read."""
    framing = LengthFraming(kind)
    assert (framing.length_of(header), framing.frame(b"x" * length)[: len(header)]) == (length, header)


@pytest.mark.parametrize("framing", [*FRAMINGS, *HEADED], ids=name_of)
@given(
    payloads=st.lists(st.binary(min_size=1, max_size=50), max_size=6), cuts=st.lists(st.integers(0, 400), max_size=8)
)
def test_any_segmentation_gives_the_same_messages(
    framing: LengthFraming, payloads: list[bytes], cuts: list[int]
) -> None:
    """Many messages in a segment or one in many: the same comes out and nothing is kept."""
    stream = b"".join(map(framing.frame, payloads))
    frames, reason, pending = outcome(framing, cut(stream, cuts))
    assert ([framing.split(frame) for frame in frames], reason, pending) == (
        [(framing.header, payload) for payload in payloads], "", 0
    )  # fmt: skip


@pytest.mark.parametrize("framing", [*FRAMINGS, *HEADED], ids=name_of)
@given(data=st.data())
def test_any_bytes_in_any_cuts_give_what_they_give_in_one_piece(framing: LengthFraming, data: st.DataObject) -> None:
    """The same frames and the same refusal, whatever comes and however it is cut; a bounded part is kept."""
    good = st.builds(framing.frame, st.binary(min_size=1, max_size=30))
    short_lengths = st.integers(0, 40).map(framing._write)
    pieces = data.draw(st.lists(st.one_of(good, good, good, short_lengths, st.binary(max_size=9)), max_size=8))
    stream = b"".join(pieces)
    whole = outcome(framing, [stream])
    assert outcome(framing, cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))) == whole
    assert outcome(framing, [stream[at : at + 1] for at in range(len(stream))]) == whole
    assert all(framing.message_header_bytes < len(frame) <= framing.max_length for frame in whole[0])


@pytest.mark.parametrize("framing", [*FRAMINGS, *HEADED], ids=name_of)
@given(message=st.binary(max_size=30))
def test_split_gives_header_and_message_or_refuses(framing: LengthFraming, message: bytes) -> None:
    """Nothing but FrameError is raised, and nothing is lost."""
    try:
        header, rest = framing.split(message)
    except FrameError:
        return
    assert (header + rest, len(header), rest != b"") == (message, framing.message_header_bytes, True)


def test_a_sender_of_single_bytes_costs_no_more_than_its_bytes() -> None:
    """Each byte is not copied again with every byte after it: that would be 80 billion bytes here."""
    framing = LengthFraming(FrameKind.BINARY4, max_length=400_000)
    stream = framing.frame(b"x" * 400_000)
    deframer = Deframer(framing)
    began = time.process_time()
    received = [frame for at in range(len(stream)) for frame in deframer.feed(stream[at : at + 1])]
    assert (received, time.process_time() - began < 3) == ([b"x" * 400_000], True)


def test_an_announced_length_takes_no_memory() -> None:
    """Four gigabytes announced are not set aside, and what came is all that is kept."""
    deframer = Deframer(FRAMINGS[5])
    assert (deframer.feed(b"\xff\xff\xff\xffabc"), deframer.pending, sys.getsizeof(deframer._kept) < 200) == (
        [],
        7,
        True,
    )


def test_a_tpdu_comes_back_swapped() -> None:
    """From 1234 to 0003, so the answer goes from 0003 to 1234."""
    framing = HEADED[0]
    (frame,) = Deframer(framing).feed(b"\0\x08\x60\x00\x03\x12\x34abc")
    header, message = framing.split(frame)
    assert message == b"abc"
    assert framing.frame(b"defg", framing.reply_header(header)) == b"\0\x09\x60\x12\x34\x00\x03defg"


def test_a_tpdu_that_a_profile_leaves_out_has_no_addresses() -> None:
    """Protocol id 0x60 and four zeros; two swaps are none."""
    framing = HEADED[2]
    assert framing.frame(b"abc") == b"\x00\x10\x60\0\0\0\0abc"
    assert framing.reply_header(framing.reply_header(TPDU)) == TPDU


def test_a_static_header_is_echoed() -> None:
    """An answer goes back with what came; a question of ours with our own."""
    framing = LengthFraming(header_kind=HeaderKind.STATIC, header=BASE24, check_header=False)
    other = b"ISO025000050"
    assert framing.split(other + b"abc") == (other, b"abc")
    assert framing.frame(b"abc", framing.reply_header(other)) == b"0015ISO025000050abc"
    assert framing.frame(b"abc") == b"0015ISO026000070abc"


def test_a_link_without_message_header_splits_nothing_off() -> None:
    """The whole frame is the message, and the answer has no header either."""
    assert HIMBARA_FRAMING.split(b"abc") == (b"", b"abc")
    assert HIMBARA_FRAMING.frame(b"abc", HIMBARA_FRAMING.reply_header(b"")) == b"0003abc"


@pytest.mark.parametrize(
    ("framing", "frame", "reason"),
    [
        (HEADED[1], b"ISO025000050abc", "the message header is not this link's"),
        (HEADED[1], b"ISO026", "no message after the message header"),
        (HEADED[1], BASE24, "no message after the message header"),
        (HEADED[0], b"\x61\0\3\0\0abc", "the message header is no TPDU: it does not begin with 0x60"),
        (HEADED[0], TPDU, "no message after the message header"),
        (HIMBARA_FRAMING, b"", "no message after the message header"),
    ],
)
def test_a_wrong_message_header_is_refused(framing: LengthFraming, frame: bytes, reason: str) -> None:
    """Another static header, no TPDU, or nothing after it."""
    with pytest.raises(FrameError) as caught:
        framing.split(frame)
    assert reason == caught.value.reason


def test_without_its_check_any_message_header_passes() -> None:
    """A TPDU of another protocol is taken, and answered in kind."""
    framing = LengthFraming(header_kind=HeaderKind.TPDU, check_header=False)
    header, message = framing.split(b"\x68\1\2\3\4abc")
    assert (framing.reply_header(header), message) == (b"\x68\3\4\1\2", b"abc")


@pytest.mark.parametrize(("framing", "header"), [(HEADED[0], b"\x60"), (HEADED[1], b""), (HIMBARA_FRAMING, TPDU)])
def test_a_message_header_of_another_size_is_not_sent(framing: LengthFraming, header: bytes) -> None:
    """The other side could not tell it from the message."""
    with pytest.raises(FrameError, match=r"^frame: a message header has \d+ bytes on this link, not \d+$"):
        framing.frame(b"abc", header)


@pytest.mark.parametrize(
    ("kind", "header", "reason"),
    [
        (HeaderKind.NONE, b"x", "a link without message header has none of its own"),
        (HeaderKind.TPDU, b"\x60\0\0\0", "a TPDU has 5 bytes and begins with 0x60"),
        (HeaderKind.TPDU, b"\x68\0\0\0\0", "a TPDU has 5 bytes and begins with 0x60"),
        (HeaderKind.STATIC, b"", "a static header has 1 to 64 bytes, not 0"),
        (HeaderKind.STATIC, b"x" * 65, "a static header has 1 to 64 bytes, not 65"),
    ],
)
def test_a_header_that_is_none_of_its_kind_is_refused(kind: HeaderKind, header: bytes, reason: str) -> None:
    """The link's own header is checked when the framing is made."""
    with pytest.raises(FrameError) as caught:
        LengthFraming(header_kind=kind, header=header)
    assert reason == caught.value.reason


def test_the_limit_counts_the_message_header() -> None:
    """A message may have what the header leaves of the limit, and a limit that leaves nothing is refused."""
    framing = LengthFraming(header_kind=HeaderKind.STATIC, header=BASE24, max_length=15)
    assert framing.frame(b"abc") == b"0015ISO026000070abc"
    with pytest.raises(FrameError, match=r"^frame: a message has 1 to 3 bytes, not 4$"):
        framing.frame(b"abcd")
    with pytest.raises(FrameError, match="does not fit"):
        LengthFraming(header_kind=HeaderKind.STATIC, header=BASE24, max_length=12)


def test_a_message_is_not_handed_out_before_its_last_byte() -> None:
    """An unfinished message waits, and says so."""
    deframer = Deframer()
    assert (deframer.feed(b"0003ab"), deframer.pending, deframer.feed(b"c")) == ([], 6, [b"abc"])


@pytest.mark.parametrize(
    ("framing", "header"),
    [
        (HIMBARA_FRAMING, b"00x3"),
        (HIMBARA_FRAMING, b" 003"),
        (HIMBARA_FRAMING, b"+003"),
        (HIMBARA_FRAMING, b"\x00\x97\x00\x00"),
        (HIMBARA_FRAMING, b"0000"),
        (LengthFraming(max_length=100), b"0101"),
        (FRAMINGS[1], b"0004"),
        (FRAMINGS[1], b"0003"),
        (FRAMINGS[2], b"\0\0"),
        (FRAMINGS[3], b"\0\2"),
        (FRAMINGS[3], b"\xff\xff"),
        (FRAMINGS[4], b"\0\0\1\x2d"),
        (FRAMINGS[4], b"\xff\xff\xff\xff"),
        (FRAMINGS[5], b"\0\0\0\4"),
        (FRAMINGS[6], b"\x0a\x00"),
        (FRAMINGS[6], b"\0\0"),
        (FRAMINGS[7], b"\0\1"),
        (FRAMINGS[8], b"\0\x80\0\1"),
        (FRAMINGS[8], b"\x08\1\0\0"),
        (FRAMINGS[9], b"\0\4\0\0"),
        (HEADED[0], b"\0\5"),
        (HEADED[1], b"0012"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(framing: LengthFraming, header: bytes) -> None:
    """No digits, empty, less than itself or than the message header, and too long end the link, before anything follows."""
    with pytest.raises(FrameError, match=r"^frame: the length header "):
        Deframer(framing).feed(header)


def test_messages_before_a_bad_header_are_not_lost() -> None:
    """The error carries what was whole."""
    with pytest.raises(FrameError) as caught:
        Deframer().feed(b"0003abc0002dexxxxfgh")
    assert caught.value.complete == (b"abc", b"de")


def test_after_a_bad_header_nothing_is_read_any_more() -> None:
    """Good bytes after a bad header are refused too, and not kept."""
    deframer = Deframer()
    with pytest.raises(FrameError):
        deframer.feed(b"xxxx")
    with pytest.raises(FrameError):
        deframer.feed(b"0003abc")
    assert deframer.pending == 4


@pytest.mark.parametrize("payload", [b"", b"x" * 101])
def test_a_message_that_does_not_fit_is_not_framed(payload: bytes) -> None:
    """Empty and too long messages are refused before the wire."""
    with pytest.raises(FrameError, match=r"^frame: a message has 1 to 100 bytes, not "):
        LengthFraming(max_length=100).frame(payload)


@pytest.mark.parametrize(
    ("kind", "inclusive", "max_length"),
    [
        (FrameKind.ASCII4, False, 10_000),
        (FrameKind.ASCII4, True, 9_996),
        (FrameKind.BINARY2, True, 65_534),
        (FrameKind.BINARY4, True, 0xFFFF_FFFC),
        (FrameKind.BCD2, True, 9_998),
        (FrameKind.VML, True, 65_532),
        (FrameKind.BINARY2, False, 0),
    ],
)
def test_a_limit_that_the_header_cannot_write_is_refused(
    kind: FrameKind,
    inclusive: bool,  # noqa: FBT001 - a column of the table above
    max_length: int,
) -> None:
    """The limit is checked when the framing is made."""
    with pytest.raises(FrameError, match="does not fit a header of kind"):
        LengthFraming(kind, inclusive=inclusive, max_length=max_length)


@pytest.mark.parametrize("kind", FrameKind)
@pytest.mark.parametrize("inclusive", [False, True])
def test_a_poll_is_a_length_of_zero(kind: FrameKind, inclusive: bool) -> None:  # noqa: FBT001 - a case of the table
    """Whether or not lengths count themselves; only a link with polls takes it."""
    framing = LengthFraming(kind, inclusive=inclusive, max_length=100, polls=True)
    assert [b""] == Deframer(framing).feed(framing.poll)
    assert bytes(framing.header_bytes) == framing.poll.replace(b"0", b"\0")
    with pytest.raises(FrameError, match="empty message"):
        Deframer(LengthFraming(kind, inclusive=inclusive, max_length=100)).feed(framing.poll)


def test_a_kind_may_come_from_a_profile_as_text() -> None:
    """The text of a profile becomes the kind."""
    framing = LengthFraming(kind="binary2", header_kind="tpdu")  # type: ignore[arg-type]
    assert (framing.kind, framing.header_kind) == (FrameKind.BINARY2, HeaderKind.TPDU)


def case_of(path: Path) -> tuple[LengthFraming, list[bytes], tuple[list[bytes], str, int]]:
    """A file of the corpus: its framing, what comes, and what must come of it. Its README says what the lines mean."""
    said: dict[str, list[str]] = {}
    for line in path.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            said.setdefault(word, []).append(rest)
    one = {word: texts[-1] for word, texts in said.items()}
    framing = LengthFraming(
        FrameKind(one["kind"]),
        inclusive="inclusive" in said,
        max_length=int(one.get("max_length", "9999")),
        header_kind=HeaderKind(one.get("header_kind", "none")),
        header=bytes.fromhex(one.get("header", "")),
        polls="polls" in said,
    )
    frames = [bytes.fromhex(text) for text in said.get("frame", [])]
    segments = [bytes.fromhex(text) for text in said["feed"]]
    return framing, segments, (frames, one.get("refused", ""), int(one.get("pending", "0")))


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.txt")), ids=lambda path: path.stem)
def test_corpus(path: Path) -> None:
    """Each stream gives what its file says, as it is cut there, in one piece and byte by byte."""
    framing, segments, expected = case_of(path)
    stream = b"".join(segments)
    assert expected == outcome(framing, segments)
    assert expected == outcome(framing, [stream])
    assert expected == outcome(framing, [stream[at : at + 1] for at in range(len(stream))])


@given(path=st.sampled_from(sorted(CORPUS.glob("*.txt"))), position=st.integers(0, 60), put=st.binary(max_size=2))
def test_mutants_of_the_corpus_are_cut_alike_in_any_segments(path: Path, position: int, put: bytes) -> None:
    """The neighbours of known streams are read or refused, the same in one piece and byte by byte."""
    framing, segments, _ = case_of(path)
    stream = b"".join(segments)
    stream = stream[:position] + put + stream[position + 1 :]
    assert outcome(framing, [stream]) == outcome(framing, [stream[at : at + 1] for at in range(len(stream))])
