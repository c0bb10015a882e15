"""The wire between one process of the bank and PostgreSQL: a Unix socket that passes everything on, until it is cut.

It can be cut at any moment, as when a machine dies, and exactly at a COMMIT: before PostgreSQL has seen it, so that nothing
happened, or after, so that all of it happened and nobody was told. Knows of the protocol only what a COMMIT looks like.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
CHUNK = 262_144
QUERY = b"Q"  # a simple query: type, four bytes of length, text
TEXT_AT = 5
SERVER_GONE_S = 20.0


class CutAt(StrEnum):
    """Where a commit is cut off."""

    BEFORE_COMMIT = "before commit"
    AFTER_COMMIT = "after commit"


class Wire:
    """A socket in a folder of its own; FOLDER is what `host=` of a database address names."""

    def __init__(self, server: Path) -> None:
        """SERVER: the folder of PostgreSQL's own socket."""
        self._server = server / SOCKET
        self.folder = Path(tempfile.mkdtemp(prefix="kks-wire-"))
        self._listener: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._cut_at: tuple[int, CutAt] | None = None

    async def open(self) -> None:
        """Listen."""
        self._listener = await asyncio.start_unix_server(self._accept, self.folder / SOCKET)

    def cut_commit(self, number: int, at: CutAt) -> None:
        """The NUMBER-th COMMIT from now, on whatever connection, is the last message there."""
        self._cut_at = number, at

    def spare_commits(self) -> bool:
        """Forget a cut that no commit has met. Whether there was one."""
        waiting, self._cut_at = self._cut_at, None
        return waiting is not None

    async def cut(self, *, for_good: bool) -> None:
        """Cut every connection now, and wait until PostgreSQL has let go of each. FOR_GOOD: accept no other."""
        if for_good and self._listener is not None:
            self._listener.close()
        await asyncio.gather(*(line.cut() for line in list(self._lines)))

    async def close(self) -> None:
        """Cut for good and clear away."""
        await self.cut(for_good=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def take_cut(self) -> CutAt | None:
        """Where the COMMIT that comes by now is to be cut, if it is."""
        if self._cut_at is None:
            return None
        number, at = self._cut_at
        self._cut_at = None if number == 1 else (number - 1, at)
        return at if number == 1 else None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind = await asyncio.open_unix_connection(self._server, limit=CHUNK)
        except OSError:
            writer.close()
            return
        line = _Line(self, (reader, writer), behind)
        self._lines.add(line)
        try:
            await line.run()
        finally:
            self._lines.discard(line)


class _Line:
    """One connection: two pumps."""

    def __init__(
        self,
        wire: Wire,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._wire = wire
        self._client_reader, self._client_writer = client
        self._server_reader, self._server_writer = server
        self._deaf = False  # answers of the server are thrown away
        self.gone = asyncio.Event()

    async def run(self) -> None:
        """Pass on until either side closes."""
        asking = asyncio.ensure_future(self._ask())
        try:
            await self._answer()
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await asking
            for writer in (self._client_writer, self._server_writer):
                writer.close()
            self.gone.set()

    async def cut(self) -> None:
        """Hang up on both sides; returns when PostgreSQL has noticed."""
        self._hang_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(SERVER_GONE_S):
                await self.gone.wait()

    def _hang_up(self) -> None:
        self._deaf = True
        self._client_writer.close()
        with suppress(OSError, RuntimeError):
            self._server_writer.write_eof()

    async def _ask(self) -> None:
        with suppress(OSError):
            while data := await self._client_reader.read(CHUNK):
                if self._deaf:
                    return
                at = self._wire.take_cut() if _is_commit(data) else None
                if at is not CutAt.BEFORE_COMMIT:
                    self._server_writer.write(data)
                    await self._server_writer.drain()
                if at is not None:
                    break
        self._hang_up()

    async def _answer(self) -> None:
        with suppress(OSError):
            while data := await self._server_reader.read(CHUNK):
                if not self._deaf:
                    self._client_writer.write(data)
                    await self._client_writer.drain()


def _is_commit(data: bytes) -> bool:
    return data[:1] == QUERY and data[TEXT_AT : TEXT_AT + 6].upper() == b"COMMIT"
