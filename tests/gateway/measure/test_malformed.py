"""Tests of gateway.measure.malformed: what is called broken is a whole frame, and what is called derailed lies."""

from __future__ import annotations

from random import Random

import pytest

from gateway.measure.codec import sample
from gateway.measure.malformed import broken, derailed
from iso.codec import decode
from iso.errors import FormatError, FrameError
from iso.framing import Deframer, FrameKind, LengthFraming

SEEDS = sample()
FRAMINGS = [LengthFraming(FrameKind.ASCII4, max_length=4096), LengthFraming(FrameKind.BINARY2, max_length=4096)]


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda one: one.kind)
def test_broken_frames_are_whole_and_most_are_no_messages(framing: LengthFraming) -> None:
    """The stream stays in step whatever is inside; a few changes leave a message good, which is fair."""
    random = Random(1)
    deframer = Deframer(framing)
    good = 0
    for _ in range(2_000):
        (message,) = deframer.feed(broken(SEEDS, framing, random))
        try:
            decode(message)
            good += 1
        except FormatError:
            pass
    assert 0 == deframer.pending
    assert good < 400


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda one: one.kind)
def test_derailed_frames_are_out_of_step(framing: LengthFraming) -> None:
    """They end the link at once, wait for more than comes, or leave a rest: a whole good message never comes out alone."""
    random = Random(2)
    seen = {"refused": 0, "waits": 0}
    for _ in range(500):
        deframer = Deframer(framing)
        try:
            messages = deframer.feed(derailed(SEEDS, framing, random))
        except FrameError:
            seen["refused"] += 1
            continue
        assert not (len(messages) == 1 and not deframer.pending and messages[0] in SEEDS)
        seen["waits"] += deframer.pending > 0
    assert min(seen.values()) > 50
