"""A partner's host on loopback for tests of what we send: it keeps what it gets and does with each message what it was told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.terminals.links_file import read_links
from gateway.terminals.profile_tables import Outgoing
from iso.client import LinkClient
from iso.codec import decode, encode
from iso.dialect import HIMBARA
from iso.framing import HIMBARA_FRAMING, Deframer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.terminals.profile import Link
    from iso.message import Message

DROP, CLOSE, SILENT_CODE = "drop", "close", ""
TIMEOUT_S = 0.4
RETRY_S = 0.05


def hot_link(name: str = "himbara", **changes: object) -> Link:
    """The shipped link, which wants to know of stopped cards, and is tried again soon."""
    values = {"name": name, "answer_timeout_s": TIMEOUT_S, "outgoing": Outgoing(hot_list=True, retry_s=RETRY_S)}
    return read_links(None).first.model_copy(update=values | changes)


class Partner:
    """A host. `acts`: what becomes of the next messages, in order: a response code, DROP, CLOSE; when there is none left, 00."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.acts: list[str] = []
        self.arrived = asyncio.Event()
        self.up = True
        self.address = ("", 0)
        self._client: LinkClient | None = None

    @property
    def types(self) -> list[str]:
        """Types of what was received."""
        return [message.mti for message in self.received]

    def ready(self) -> bool:
        """Whether our side may ask."""
        return self.up

    async def ask(self, message: Message, timeout_s: float) -> Message:
        """As a link asks: over one connection, made anew where it was lost."""
        if self._client is None or not self._client.connected:
            self._client = LinkClient(*self.address, timeout_s=timeout_s)
            await self._client.connect()
        return await self._client.request(message)

    async def close(self) -> None:
        """Our side hangs up."""
        if self._client is not None:
            await self._client.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        deframer = Deframer(HIMBARA_FRAMING)
        try:
            while data := await reader.read(65_536):
                for frame in deframer.feed(data):
                    if not self._answer(decode(frame, HIMBARA), writer):
                        return
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _answer(self, message: Message, writer: asyncio.StreamWriter) -> bool:
        self.received.append(message)
        self.arrived.set()
        act = self.acts.pop(0) if self.acts else "00"
        if act not in (DROP, CLOSE):
            answer = message.response()
            answer.fields.update({39: act} if act else {})
            writer.write(HIMBARA_FRAMING.frame(encode(answer, HIMBARA)))
        return act != CLOSE


@asynccontextmanager
async def open_partner() -> AsyncIterator[Partner]:
    """A host that listens."""
    partner = Partner()
    server = await asyncio.start_server(partner.serve, "127.0.0.1", 0)
    partner.address = server.sockets[0].getsockname()[:2]
    try:
        yield partner
    finally:
        await partner.close()
        server.close()
        await server.wait_closed()
