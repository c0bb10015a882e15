"""A scripted host on the loopback, for tests of whoever asks it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from iso.codec import decode, encode
from iso.dialect import HIMBARA, Dialect
from iso.framing import HIMBARA_FRAMING, Deframer, LengthFraming
from iso.message import Message
from tests.iso.samples import withdrawal

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

QUICK_S = 0.2
PATIENT_S = 5.0
LOOPBACK = "127.0.0.1"


def frame(message: Message) -> bytes:
    """The message as it stands on the wire of an ordinary link."""
    return HIMBARA_FRAMING.frame(encode(message))


def approve(request: Message, **changes: str) -> Message:
    """The answer 00, with fields changed as de7="..."; an empty text takes the field away."""
    answer = request.response()
    answer.fields[39] = "00"
    for name, value in changes.items():
        answer.fields[int(name[2:])] = value
    return Message(answer.mti, {number: value for number, value in answer.fields.items() if value})


def request_of(stan: int, **changes: str) -> Message:
    """A withdrawal with this trace number and changed fields."""
    message = withdrawal()
    message.fields[11] = f"{stan:06d}"
    message.fields.update({int(name[2:]): value for name, value in changes.items()})
    return message


class Host:
    """A host whose answers are bytes made by `script` from each request; None closes the connection.

    `received`: messages, without message header. `wire`: all bytes that came.
    """

    def __init__(self, framing: LengthFraming = HIMBARA_FRAMING, dialect: Dialect = HIMBARA) -> None:
        self.script: Callable[[Message], bytes | None] = lambda request: self.framed(approve(request))
        self.framing = framing
        self.dialect = dialect
        self.received: list[bytes] = []
        self.wire = b""
        self.writers: list[asyncio.StreamWriter] = []
        self.heard = asyncio.Event()
        self.greeting: Callable[[], bytes | None] = lambda: b""
        self.port = 0

    def framed(self, message: Message, header: bytes | None = None) -> bytes:
        """The message as this host writes it."""
        return self.framing.frame(encode(message, self.dialect), header)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it."""
        self.writers.append(writer)
        deframer = Deframer(self.framing)
        try:
            greeting = self.greeting()
            if greeting is None:
                return
            writer.write(greeting)
            while data := await reader.read(4_096):
                self.wire += data
                for payload in deframer.feed(data):
                    self.received.append(self.framing.split(payload)[1])
                    self.heard.set()
                    said = self.script(decode(self.received[-1], self.dialect))
                    if said is None:
                        return
                    writer.write(said)
        except ConnectionError:
            pass  # the other side aborted: the test looks at that side
        finally:
            writer.close()

    async def heard_again(self) -> None:
        """Wait for the next message."""
        self.heard.clear()
        await self.heard.wait()


@asynccontextmanager
async def hosted(host: Host | None = None, *, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Host]:
    """A listening host, by default one that approves all; its port is `host.port`."""
    host = host or Host()
    server = await asyncio.start_server(host.serve, LOOPBACK, port, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        for writer in host.writers:
            writer.close()
            with suppress(ConnectionError, TimeoutError):
                await writer.wait_closed()
        await server.wait_closed()
