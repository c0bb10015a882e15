"""Frames: headers by hand, any segmentation, and headers that make no sense."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.errors import FrameError
from iso.framing import HIMBARA_FRAMING, Deframer, FrameKind, LengthFraming

FRAMINGS = [
    HIMBARA_FRAMING,
    LengthFraming(FrameKind.ASCII4, inclusive=True, max_length=9_995),
    LengthFraming(FrameKind.BINARY2, inclusive=False, max_length=65_535),
    LengthFraming(FrameKind.BINARY2, inclusive=True, max_length=500),
]


@pytest.mark.parametrize(
    ("framing", "framed"), list(zip(FRAMINGS, [b"0003abc", b"0007abc", b"\0\3abc", b"\0\5abc"], strict=True))
)
def test_frame_by_hand(framing: LengthFraming, framed: bytes) -> None:
    """The header of each kind, with and without itself."""
    assert framing.frame(b"abc") == framed


@pytest.mark.parametrize("framing", FRAMINGS)
@given(
    payloads=st.lists(st.binary(min_size=1, max_size=50), max_size=6), cuts=st.lists(st.integers(0, 400), max_size=8)
)
def test_any_segmentation_gives_the_same_messages(
    framing: LengthFraming, payloads: list[bytes], cuts: list[int]
) -> None:
    """Many messages in a segment or one in many: the same comes out and nothing is kept."""
    stream = b"".join(map(framing.frame, payloads))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    deframer = Deframer(framing)
    received = [message for a, b in pairwise(edges) for message in deframer.feed(stream[a:b])]
    assert (received, deframer.pending) == (payloads, 0)


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
    ],
)
def test_a_header_that_makes_no_sense_is_refused(framing: LengthFraming, header: bytes) -> None:
    """No digits, empty and too long end the link."""
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


def test_a_kind_may_come_from_a_profile_as_text() -> None:
    """The text of a profile becomes the kind."""
    assert LengthFraming(kind="binary2", max_length=9).kind is FrameKind.BINARY2  # type: ignore[arg-type]
