"""Tests of gateway.simulator.rawline."""

from __future__ import annotations

import pytest

from gateway.simulator.rawline import RawLine
from gateway.simulator.switch import Switch
from iso.codec import decode, encode
from iso.errors import FrameError, LinkClosed, LinkTimeout
from iso.framing import HIMBARA_FRAMING
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

WALLET = make_wallet(1)
PINPAD = make_pinpad()


def line_to(port: int, timeout_s: float = 2) -> RawLine:
    """A line to this machine."""
    return RawLine("127.0.0.1", port, HIMBARA_FRAMING, timeout_s=timeout_s)


async def test_a_message_in_pieces_is_answered_once_it_is_whole() -> None:
    """Silence until the last byte is there; then the frame that came."""
    message = Switch("127.0.0.1", 9, clock=clock).network_message("301")
    data = HIMBARA_FRAMING.frame(encode(message))
    async with FakeIssuer(WALLET, PINPAD) as bank:
        line = line_to(bank.port)
        await line.open()
        await line.open()
        await line.send(data[:10])
        with pytest.raises(LinkTimeout, match=r"nothing came within 0\.05 s"):
            await line.next_frame(0.05)
        await line.send(data[10:] + data)
        answers = [decode(await line.next_frame()) for _ in range(2)]
        assert [("0810", "00")] * 2 == [(answer.mti, answer.fields[39]) for answer in answers]
        assert line.is_open
        await line.close()
        await line.close()
    assert not line.is_open


async def test_garbage_ends_the_line() -> None:
    """What the other side does about it is seen; a line that is gone sends nothing, and can be opened again."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        line = line_to(bank.port)
        with pytest.raises(LinkClosed, match="not connected"):
            await line.send(b"x")
        await line.open()
        await line.send(b"GET / HTTP/1.1\r\n")
        with pytest.raises(LinkClosed, match="was closed"):
            await line.next_frame()
        with pytest.raises(LinkClosed, match="not connected"):
            await line.next_frame()
        await line.open()
        await line.close()
        port = bank.port
    with pytest.raises(LinkClosed, match="no connection"):
        await line_to(port).open()


async def test_an_answer_that_is_no_frame_is_said() -> None:
    """The frame before it still counts."""
    message = Switch("127.0.0.1", 9, clock=clock).network_message("301")
    async with FakeIssuer(WALLET, PINPAD) as bank:
        line = line_to(bank.port)
        await line.open()
        await line.send(HIMBARA_FRAMING.frame(encode(message)))
        assert "0810" == decode(await line.next_frame()).mti
        line._deframer._kept = bytearray(b"XXXX")  # as if the bank had sent it
        await line.send(HIMBARA_FRAMING.frame(encode(message)))
        with pytest.raises(FrameError):
            await line.next_frame()
        await line.close()
