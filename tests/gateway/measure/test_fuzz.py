"""Tests of gateway.measure.fuzz: nonsense is thrown over TCP, and a listener that hangs, dies or grows is seen."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import pytest

from gateway.errors import GatewayError
from gateway.measure import codec, fuzz
from gateway.terminals.links_file import read_links

LINK = read_links(None).first


async def test_our_listener_outlives_it() -> None:
    """Every batch is answered to its echo or ends in a close."""
    listener, port = await codec.serve_ours("127.0.0.1")
    try:
        figures = await fuzz.throw(LINK, codec.sample(), port, os.getpid(), 3_000)
    finally:
        await listener.close()
    assert 3_000 <= figures.frames < 3_000 + fuzz.CONNECTIONS
    assert 0 == figures.hung
    assert figures.answers > 1_000
    assert figures.closes > 0


async def test_a_listener_that_says_nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes everything and answers nothing."""
    monkeypatch.setattr(fuzz, "BOUND_S", 0.05)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server:
        figures = await fuzz.throw(LINK, codec.sample(), server.sockets[0].getsockname()[1], os.getpid(), 40)
        assert figures.hung > 0
        assert 0 == figures.answers


async def test_a_listener_that_is_gone_is_an_error() -> None:
    """Nobody listens there."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(GatewayError, match="takes no connection"):
        await fuzz.throw(LINK, codec.sample(), port, os.getpid(), 40)
