"""`kks bench codec`: decode, answer and encode of a 15-field 0200, ours beside pyiso8583, as code alone and as servers.

Code alone is timed in short slices of processor time, in turns, so that a busy machine slows both. As servers, our listener
with lanes that approve at once stands against an asyncio-streams server on pyiso8583, each a process of its own; one client
sends both the same messages and the processor time of the server counts. Then malformed frames are thrown at our listener, by
three dialects (fuzz.py). Run as a program this module is one of the servers.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import iso8583

from gateway.app import settle_collector
from gateway.errors import GatewayError
from gateway.measure.fuzz import FuzzFigures, throw
from gateway.measure.workbench import Gateway
from gateway.operations.authorise import AuthoriseCommand, Outcome
from gateway.rules.authorise import DeclineReason
from gateway.terminals.line import Line
from gateway.terminals.links_file import read_links
from gateway.terminals.listener import Listener
from gateway.terminals.profile import Link
from iso.codec import decode, encode
from iso.dialect import HIMBARA, pyiso8583_spec
from iso.framing import HIMBARA_FRAMING, Deframer
from iso.message import Message
from keys.keytypes import KeyUsage
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.operations.lane import Lanes, Passage

OURS, THEIRS = "ours", "pyiso8583"
SPEC = pyiso8583_spec(HIMBARA)
ECHOED = ("2", "3", "4", "7", "11", "12", "13", "32", "37", "41", "42", "49")
SHAPES = 64  # different messages, so that nobody answers from memory
SLICE = 512  # messages between two looks at the clock
MESSAGES = 5_000  # of a round, to each server
ROUNDS = 4
IN_FLIGHT = 32
ANSWER_S = 60.0
MALFORMED = 1_000_000  # frames, to the listeners of WIRES together
SIGN_ON = Message("0800", {7: "1123120000", 11: "000001", 70: "001"})


def _wires() -> dict[str, Link]:
    """A link of each dialect, by name: the shipped two, and EBCDIC with a length of 4 bytes and a static header."""
    shipped = read_links(None)
    changes = {
        "name": "ebcdic",
        "dialect": "ebcdic",
        "frame": "binary4",
        "header": "static",
        "header_hex": b"ISO02".hex(),
    }
    ebcdic = Link.model_validate(shipped.first.model_dump(exclude_defaults=True) | changes)
    return {link.name: link for link in (*shipped.link, ebcdic)}


WIRES = _wires()


@dataclass(frozen=True, slots=True)
class CodecFigures:
    """What was measured; the keys of `--json`. RATIO: our rate / theirs. SERVER_COST_RATIO: our processor time / theirs."""

    ops_per_s: float
    pyiso8583_ops_per_s: float
    ratio: float
    server_cost_ratio: float
    server_cpu_us_per_message: float
    pyiso8583_server_cpu_us_per_message: float
    fields: int
    messages: int
    malformed_frames: int
    malformed_answers: int
    malformed_closes: int
    malformed_hung: int
    malformed_memory_growth_mib: float
    malformed_seconds: float


async def measure(seconds: float, messages: int = MESSAGES, malformed: int = MALFORMED) -> CodecFigures:
    """Take SECONDS of processor time for the code of each, send MESSAGES a round to each server, then MALFORMED frames to ours.

    Raises GatewayError where the two do not answer alike, a server leaves an answer out, or ours does not outlive the frames.
    """
    requests = sample()
    _check_alike(requests)
    ours, theirs = await asyncio.to_thread(_rates, requests, seconds)
    ours_us, theirs_us = await _server_costs(requests, messages)
    thrown = [await _thrown(link, -(-malformed // len(WIRES))) for link in WIRES.values() if malformed]
    return CodecFigures(
        round(ours, 1), round(theirs, 1), round(ours / theirs, 2), round(ours_us / theirs_us, 3), round(ours_us, 2),
        round(theirs_us, 2), len(decode(requests[0]).fields), messages * ROUNDS,
        sum(one.frames for one in thrown), sum(one.answers for one in thrown), sum(one.closes for one in thrown),
        sum(one.hung for one in thrown), max((one.memory_growth_mib for one in thrown), default=0.0),
        round(sum(one.seconds for one in thrown), 1),
    )  # fmt: skip


def sample() -> list[bytes]:
    """Withdrawals of 15 fields that differ in card, amount, trace number and PIN block."""
    return [
        encode(
            Message(
                "0200",
                {
                    2: f"6013010000{number:06d}", 3: "010000", 4: f"{(number + 1) * 1_000_000:012d}", 7: "1123120000",
                    11: f"{number + 1:06d}", 12: "190000", 13: "1123", 14: "3111", 18: "6011", 32: "000002",
                    37: f"632712{number + 1:06d}", 41: f"A{number:07d}", 42: "SIMULASI       ", 49: "360",
                    52: f"0123456789AB{number:04X}",
                },
            )
        )
        for number in range(SHAPES)
    ]  # fmt: skip


def answer_ours(data: bytes) -> bytes:
    """Decode, answer 00, encode: this project's codec."""
    answer = decode(data).response()
    answer.fields[39] = "00"
    return encode(answer)


def answer_theirs(data: bytes) -> bytes:
    """The same with pyiso8583."""
    asked, _ = iso8583.decode(data, SPEC)
    answer = {name: asked[name] for name in ECHOED if name in asked}
    answer["t"] = asked["t"][:2] + "10"
    answer["39"] = "00"
    if "70" in asked:
        answer["70"] = asked["70"]
    encoded, _ = iso8583.encode(answer, SPEC)
    return bytes(encoded)


def _check_alike(requests: list[bytes]) -> None:
    for request in requests:
        if answer_ours(request) != answer_theirs(request):
            raise GatewayError("the two codecs do not answer alike: nothing to compare")


def _rates(requests: list[bytes], seconds: float) -> tuple[float, float]:
    """Operations a second of processor time, ours and theirs, in turns."""
    done = dict.fromkeys((answer_ours, answer_theirs), 0)
    spent = dict.fromkeys(done, 0.0)
    for answer in done:
        _slice(answer, requests)  # what is compiled at first use is compiled now
    while min(spent.values()) < seconds:
        answer = min(spent, key=lambda one: spent[one])
        spent[answer] += _slice(answer, requests)
        done[answer] += SLICE
    return done[answer_ours] / spent[answer_ours], done[answer_theirs] / spent[answer_theirs]


def _slice(answer: Callable[[bytes], bytes], requests: list[bytes]) -> float:
    """Processor seconds of this thread for SLICE messages."""
    began = time.thread_time()
    for _ in range(SLICE // SHAPES):
        for request in requests:
            answer(request)
    return time.thread_time() - began


async def _server_costs(requests: list[bytes], messages: int) -> tuple[float, float]:
    """Processor microseconds a message of our server and of theirs, each driven alike, in turns."""
    spent = {OURS: 0.0, THEIRS: 0.0}
    async with _server(OURS) as ours, _server(THEIRS) as theirs:
        for server in (ours, theirs):
            await _drive(server.port, requests, SHAPES)  # warm
        for turn in range(ROUNDS):
            pair = ((OURS, ours), (THEIRS, theirs))
            for name, server in pair if turn % 2 == 0 else pair[::-1]:
                before = server.cpu_seconds()
                await _drive(server.port, requests, messages)
                spent[name] += server.cpu_seconds() - before
    if not spent[OURS] or not spent[THEIRS]:
        raise GatewayError(f"{messages} messages are too few to measure processor time")
    return spent[OURS] / (messages * ROUNDS) * 1e6, spent[THEIRS] / (messages * ROUNDS) * 1e6


async def _thrown(link: Link, frames: int) -> FuzzFigures:
    """FRAMES malformed ones at a listener of LINK, a process of its own."""
    seeds = [encode(decode(request), link.wire) for request in sample()]
    async with _server(link.name) as server:
        return await throw(link, seeds, server.port, server.process.pid, frames)


@asynccontextmanager
async def _server(side: str) -> AsyncIterator[Gateway]:
    """One of the two servers as a process; it prints its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __spec__.name, side, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    server = Gateway(process, 0)
    try:
        async with asyncio.timeout(ANSWER_S):
            line = await process.stdout.readline()
        if not line:
            raise GatewayError(f"the server of {side} did not come up")
        server.port = int(line)
        yield server
    finally:
        await server.stop()


class _Client(asyncio.Protocol):
    """Sends so many messages, a bounded number in flight; counts the answers that say 00."""

    def __init__(self, frames: list[bytes], messages: int) -> None:
        self._frames = frames
        self._left = messages
        self._awaited = messages
        self._deframer = Deframer()
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sign on, and fill the window."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(HIMBARA_FRAMING.frame(encode(SIGN_ON)))
        self._awaited += 1
        self._send(IN_FLIGHT)

    def data_received(self, data: bytes) -> None:
        """For each answer one more message."""
        answers = self._deframer.feed(data)
        self._awaited -= len(answers)
        if any(decode(answer).get(39) != "00" for answer in answers) and not self.done.done():
            self.done.set_exception(GatewayError("a server did not answer 00"))
        self._send(len(answers))
        if self._awaited <= 0 and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Too early, where answers are still due."""
        del exc
        if not self.done.done():
            self.done.set_exception(GatewayError("a server closed the connection"))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, count: int) -> None:
        if self._transport is None:
            return
        count = min(count, self._left)
        first = self._left
        self._left -= count
        self._transport.write(b"".join(self._frames[at % len(self._frames)] for at in range(first, first - count, -1)))


async def _drive(port: int, requests: list[bytes], messages: int) -> None:
    """Send MESSAGES and wait for every answer. Raises GatewayError."""
    frames = [HIMBARA_FRAMING.frame(request) for request in requests]
    _, client = await asyncio.get_running_loop().create_connection(lambda: _Client(frames, messages), "127.0.0.1", port)
    try:
        async with asyncio.timeout(ANSWER_S + messages / 1_000):
            await client.done
    except TimeoutError:
        raise GatewayError("a server left an answer out") from None
    finally:
        client.close()


class ApprovingLanes:
    """Lanes without a bank: every request is approved at once."""

    def submit(
        self,
        command: AuthoriseCommand,
        answer: Callable[[Outcome | None], None],
        alive: Callable[[], bool] | None = None,
        passed: Callable[[Passage], None] | None = None,
    ) -> None:
        """Approve."""
        del command, alive, passed
        answer(Outcome(DeclineReason.APPROVED, "00", None, None))


async def serve_ours(host: str, link: Link | None = None) -> tuple[Listener, int]:
    """Our own listener, by default of the first link, no database. Returns it and its port."""
    hsm = SoftwareHsm.in_memory()
    link = link or read_links(None).first
    hsm.generate(KeyUsage.PIN_ENCRYPTION, link.pin_key)
    listener = Listener(Line(link, cast("Lanes", ApprovingLanes()), hsm))
    return listener, (await listener.start(host, 0))[1]


async def serve_theirs(host: str) -> tuple[asyncio.Server, int]:
    """The plain way: asyncio streams, a message at a time, pyiso8583. Returns the server and its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int(await reader.readexactly(4))
                answer = answer_theirs(await reader.readexactly(length))
                writer.write(b"%04d" % len(answer) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, host, 0)
    return server, server.sockets[0].getsockname()[1]


async def _be_server(side: str) -> None:
    """Serve until killed."""
    running: tuple[object, int]
    if side == THEIRS:
        running = await serve_theirs("127.0.0.1")
    else:
        running = await serve_ours("127.0.0.1", WIRES.get(side))
    settle_collector()  # both sides as `kks serve` runs
    sys.stdout.write(f"{running[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    from gateway.telemetry import configure

    configure("error")
    asyncio.run(_be_server(sys.argv[1]))
