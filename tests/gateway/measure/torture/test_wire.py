"""Tests of gateway.measure.torture.wire: a connection that is cut exactly where it is told to."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture.wire import SOCKET, CutAt, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMIT = b"Q\0\0\0\x0cCOMMIT;\0"
SELECT = b"Q\0\0\0\x0dSELECT 1\0"


class Server:
    """Notes what it hears and answers every piece with its length."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the other side hangs up."""
        self.open += 1
        while data := await reader.read(1_000):
            self.heard.append(data)
            writer.write(str(len(data)).encode())
        self.open -= 1
        writer.close()


@asynccontextmanager
async def _wired() -> AsyncIterator[tuple[Server, Wire]]:
    folder = Path(tempfile.mkdtemp(prefix="kks-wire-test-"))
    server = Server()
    listening = await asyncio.start_unix_server(server.serve, folder / SOCKET)
    wire = Wire(folder)
    await wire.open()
    try:
        yield server, wire
    finally:
        await wire.close()
        listening.close()
        await listening.wait_closed()
        shutil.rmtree(folder)


async def _ask(wire: Wire, *pieces: bytes) -> list[bytes]:
    """What comes back for each piece; nothing where the connection is gone."""
    reader, writer = await asyncio.open_unix_connection(wire.folder / SOCKET)
    answers = []
    for piece in pieces:
        writer.write(piece)
        answers.append(await reader.read(100))
    writer.close()
    return answers


async def test_it_passes_everything_on() -> None:
    """Both ways, commits too."""
    async with _wired() as (server, wire):
        assert [b"14", b"13"] == await _ask(wire, SELECT, COMMIT)
        assert [SELECT, COMMIT] == server.heard


@pytest.mark.parametrize(
    ("at", "heard"), [(CutAt.BEFORE_COMMIT, [COMMIT, SELECT]), (CutAt.AFTER_COMMIT, [COMMIT, SELECT, COMMIT])]
)
async def test_a_cut_commit(at: CutAt, heard: list[bytes]) -> None:
    """The second one from now: the server has it or not, and the client never hears of it."""
    async with _wired() as (server, wire):
        wire.cut_commit(2, at)
        assert [b"13", b"14", b""] == await _ask(wire, COMMIT, SELECT, COMMIT)
        assert not wire.spare_commits()
        await wire.cut(for_good=False)
        assert (heard, 0) == (server.heard, server.open)
        assert [b"13"] == await _ask(wire, COMMIT)


async def test_a_cut_that_met_no_commit() -> None:
    """Is forgotten when asked to."""
    async with _wired() as (_, wire):
        wire.cut_commit(1, CutAt.BEFORE_COMMIT)
        assert wire.spare_commits()
        assert [b"13"] == await _ask(wire, COMMIT)


async def test_cut_for_good() -> None:
    """Every line is dead and no new one is made."""
    async with _wired() as (server, wire):
        reader, writer = await asyncio.open_unix_connection(wire.folder / SOCKET)
        writer.write(SELECT)
        assert b"14" == await reader.read(100)
        await wire.cut(for_good=True)
        assert (b"", 0) == (await reader.read(100), server.open)
        with pytest.raises(ConnectionRefusedError):
            await _ask(wire, SELECT)
        writer.close()
