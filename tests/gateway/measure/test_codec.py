"""Tests of gateway.measure.codec: both sides do the same work, and an answer that fails is seen."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gateway.errors import GatewayError
from gateway.measure import codec
from gateway.measure.fuzz import CONNECTIONS
from iso.codec import decode, encode
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def test_the_measurement() -> None:
    """Rates and costs are positive and the ratios are theirs."""
    figures = await codec.measure(0.05, messages=1_000, malformed=3_000)
    assert 15 == figures.fields
    assert 1_000 * codec.ROUNDS == figures.messages
    assert figures.ratio == pytest.approx(figures.ops_per_s / figures.pyiso8583_ops_per_s, abs=0.01)
    ours_us, theirs_us = figures.server_cpu_us_per_message, figures.pyiso8583_server_cpu_us_per_message
    assert ours_us > 0
    assert 3_000 <= figures.malformed_frames <= 3_000 + len(codec.WIRES) * CONNECTIONS
    assert 0 == figures.malformed_hung
    assert figures.malformed_answers > 500
    assert figures.server_cost_ratio == pytest.approx(ours_us / theirs_us, abs=0.01)


def test_the_messages() -> None:
    """All different, 15 fields each, and both codecs answer each byte for byte alike, sign-on too."""
    messages = codec.sample()
    assert codec.SHAPES == len(set(messages))
    assert {15} == {len(decode(one).fields) for one in messages}
    for one in [*messages, encode(codec.SIGN_ON)]:
        answer = codec.answer_ours(one)
        assert codec.answer_theirs(one) == answer
        assert "00" == decode(answer).get(39)


async def test_codecs_that_differ_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers something else is an error before anything is timed."""
    monkeypatch.setattr(codec, "answer_theirs", lambda _data: b"0210")
    with pytest.raises(GatewayError, match="do not answer alike"):
        await codec.measure(0.05)


async def test_our_server_is_the_listener_itself() -> None:
    """It refuses what the listener refuses, before sign-on as after, and answers every message."""
    listener, port = await codec.serve_ours("127.0.0.1")
    try:
        await codec._drive(port, codec.sample(), 200)
        no_pin = [encode(Message("0200", {7: "1123120000", 11: "000001"}))]
        with pytest.raises(GatewayError, match="did not answer 00"):
            await codec._drive(port, no_pin, 1)
    finally:
        await listener.close()


async def test_their_server_answers_everything() -> None:
    """The streams server too, in a process of its own."""
    async with codec._server(codec.THEIRS) as server:
        await codec._drive(server.port, codec.sample(), 200)
        await codec._drive(server.port, codec.sample(), 1)
        assert server.cpu_seconds() > 0
    assert server.process.returncode is not None


async def test_a_server_that_hangs_up() -> None:
    """A closed connection is an error, not a fast answer."""

    async def hang_up(_reader: asyncio.StreamReader) -> None:
        pass

    with pytest.raises(GatewayError, match="closed the connection"):
        await _against(hang_up)


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence ends in an error."""
    monkeypatch.setattr(codec, "ANSWER_S", 0.1)

    async def keep_quiet(reader: asyncio.StreamReader) -> None:
        await reader.read()

    with pytest.raises(GatewayError, match="left an answer out"):
        await _against(keep_quiet)


async def test_a_server_that_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends at once is one line."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(GatewayError, match="did not come up"):
        async with codec._server(codec.OURS):
            pass


async def _against(talk: Callable[[asyncio.StreamReader], Awaitable[None]]) -> None:
    """Drive a server of one connection that treats it so, and closes it."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await talk(reader)
            writer.close()
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await codec._drive(server.sockets[0].getsockname()[1], codec.sample(), 1)
    finally:
        await over.wait()
        server.close()
        await server.wait_closed()
