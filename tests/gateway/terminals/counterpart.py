"""A line without a bank behind it, and the other end of its wire, for tests over real TCP on loopback.

Lanes that hold what they get until a test lets it go; a partner that sends bytes and reads messages, calling or called.
"""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from gateway.operations.authorise import Outcome
from gateway.rules.authorise import DeclineReason
from gateway.telemetry import Outlet
from gateway.terminals.line import Line
from gateway.terminals.links_file import read_links
from gateway.terminals.listener import Listener
from gateway.terminals.profile import Link
from gateway.terminals.transaction_log import TransactionLog
from iso.codec import decode, encode
from iso.framing import Deframer
from iso.message import Message
from keys.keytypes import KeyUsage
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from gateway.operations.authorise import AuthoriseCommand
    from gateway.operations.lane import Lanes, Passage

WAIT_S = 10.0
SHIPPED = read_links(None).first
SIGN_ON = Message("0800", {7: "1123120000", 11: "000001", 70: "001"})
ECHO = Message("0800", {7: "1123120000", 11: "000042", 70: "301"})
CASH = {2: "6013010000000018", 3: "010000", 4: "000010000000", 7: "1123120000", 11: "000007", 18: "6011", 32: "000002",
        37: "632712000007", 41: "A0000001", 49: "360", 52: "0123456789ABCDEF"}  # fmt: skip
ORIGINAL = "0200" + "000007" + "1123120000" + "00000000002" + "0" * 11


def a_link(**changes: object) -> Link:
    """The shipped link with some settings changed; checked like any other."""
    return Link.model_validate(SHIPPED.model_dump(exclude_defaults=True) | changes)


def cash(stan: int, mti: str = "0200") -> Message:
    """A withdrawal with this trace number."""
    return Message(mti, CASH | {11: f"{stan:06d}"})


def reversal(mti: str = "0420") -> Message:
    """A reversal of a withdrawal."""
    return Message(
        mti, {number: value for number, value in CASH.items() if number != 52} | {11: "000099", 90: ORIGINAL}
    )


class Heard(TransactionLog):
    """A transaction log that a test reads."""

    def __init__(self, *, every: bool = True, slow_ms: int = 0) -> None:
        self.file = io.StringIO()
        super().__init__(Outlet(self.file), every=every, slow_ms=slow_ms)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What was written so far."""
        return [json.loads(line) for line in self.file.getvalue().splitlines()]

    async def has(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many are written; all of them."""
        await until(lambda: len(self.lines) >= count)
        return self.lines


class HeldLanes:
    """Lanes that keep every request until a test decides it."""

    def __init__(self) -> None:
        self.held: list[tuple[AuthoriseCommand, Callable[[Outcome | None], None], Callable[[], bool] | None]] = []

    def submit(
        self,
        command: AuthoriseCommand,
        answer: Callable[[Outcome | None], None],
        alive: Callable[[], bool] | None = None,
        passed: Callable[[Passage], None] | None = None,
    ) -> None:
        """Keep it."""
        del passed
        self.held.append((command, answer, alive))

    def release(self, count: int = 1) -> None:
        """Approve the oldest for whom somebody waits still; drop the others, as a lane does."""
        for _ in range(count):
            _, answer, alive = self.held.pop(0)
            if alive is not None and not alive():
                answer(None)
            else:
                answer(Outcome(DeclineReason.APPROVED, "00", "123456", None))

    async def hold(self, count: int) -> None:
        """Wait until so many are held."""
        async with asyncio.timeout(WAIT_S):
            while len(self.held) < count:  # noqa: ASYNC110 - what others do is waited for
                await asyncio.sleep(0.005)


def a_line(link: Link, lanes: HeldLanes | None = None, **options: Any) -> Line:  # noqa: ANN401 - of Line
    """A line of its own, with a PIN key."""
    hsm = SoftwareHsm.in_memory()
    hsm.generate(KeyUsage.PIN_ENCRYPTION, link.pin_key)
    return Line(link, cast("Lanes", lanes or HeldLanes()), hsm, **options)


class Partner:
    """The other end of a connection: bytes in, messages out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
        self.reader = reader
        self.writer = writer
        self._link = link
        self._deframer = Deframer(link.framing)
        self._ready: list[bytes] = []

    async def send(self, *messages: Message, header: bytes | None = None) -> None:
        """Messages in one write."""
        framing = self._link.framing
        await self.raw(b"".join(framing.frame(encode(one, self._link.wire), header) for one in messages))

    async def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> Message:
        """The next message. Raises ConnectionError where the other side has closed."""
        return (await self.receive_with_header())[1]

    async def receive_with_header(self) -> tuple[bytes, Message]:
        """The next message with its message header. Raises ConnectionError where the other side has closed."""
        async with asyncio.timeout(WAIT_S):
            while not self._ready:
                data = await self.reader.read(65_536)
                if not data:
                    raise ConnectionError("closed")
                self._ready += self._deframer.feed(data)
        header, message = self._link.framing.split(self._ready.pop(0))
        return header, decode(message, self._link.wire)

    async def ask(self, message: Message) -> str:
        """Send it; the response code of the next message."""
        await self.send(message)
        return (await self.receive()).get(39, "")

    async def is_closed(self) -> bool:
        """Wait until the other side has closed; whether nothing came before."""
        async with asyncio.timeout(WAIT_S):
            with suppress(ConnectionError):
                return await self.reader.read(1) == b""
        return True

    async def hang_up(self) -> None:
        """Close."""
        self.writer.close()
        with suppress(ConnectionError, OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def listening(line: Line, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, int]]:
    """A listener of that line on loopback. Yields its address."""
    listener = Listener(line, context)
    address = await listener.start("127.0.0.1", 0)
    try:
        yield address
    finally:
        await listener.close()


@asynccontextmanager
async def calling(
    address: tuple[str, int], link: Link, context: ssl.SSLContext | None = None
) -> AsyncIterator[Partner]:
    """A connection to a listener."""
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    partner = Partner(reader, writer, link)
    try:
        yield partner
    finally:
        await partner.hang_up()


@asynccontextmanager
async def at_the_line(line: Line) -> AsyncIterator[Partner]:
    """A listener of that line and one connection to it."""
    async with listening(line) as address, calling(address, line.link) as partner:
        yield partner


@asynccontextmanager
async def switch_host(
    link: Link, serve: Callable[[Partner], Any], context: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[tuple[Link, list[Partner]]]:
    """A host to call, which gives each connection to SERVE. PORT: 0: a free one.

    Yields the calling link's profile and the connections so far.
    """
    partners: list[Partner] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        partner = Partner(reader, writer, link)
        partners.append(partner)
        with suppress(ConnectionError, TimeoutError):
            await serve(partner)
        await partner.hang_up()

    server = await asyncio.start_server(talk, "127.0.0.1", port, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield link.model_copy(update={"role": "connect", "host": "127.0.0.1", "port": port}), partners
    finally:
        server.close()
        for partner in partners:
            await partner.hang_up()
        await server.wait_closed()


async def until(condition: Callable[[], object]) -> None:
    """Wait until CONDITION holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - whatever it is, nobody announces it
            await asyncio.sleep(0.005)
