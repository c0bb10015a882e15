"""The asking end of a link: many requests in flight on one connection, each matched with its answer.

Used by simulated terminals and by our own outgoing side. Knows sign-on (0800, DE70 001) and echo (301), no other message;
never retries and never reverses: a time-out says that the outcome is unknown, and the caller decides. Bounded: at most
`max_in_flight` requests wait, further ones wait for a place. Read next: framing.py, message.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from iso.codec import decode, encode
from iso.dialect import HIMBARA, Dialect
from iso.errors import FormatError, FrameError, LinkClosed, LinkTimeout, SignOnRefused
from iso.framing import HIMBARA_FRAMING, Deframer, LengthFraming
from iso.message import Message, response_mti
from iso.response_codes import APPROVED

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

_TRANSMITTED = 7
_STAN = 11
_RESPONSE_CODE = 39
_NETWORK_CODE = 70
_COMPARED = (_TRANSMITTED, 41)
_CLOSING_S = 5.0  # a peer that reads nothing may hold what is still to be written for so long
_LAST_STAN = 999_999
_SIGN_ON = "001"
_NETWORK_REQUESTS = ("0800", "0801")


def answer_network(request: Message) -> Message | None:
    """The answer to an 0800 of the other side: 00. None, so no answer, to any other request."""
    if request.mti not in _NETWORK_REQUESTS:
        return None
    answer = request.response()
    answer.fields[_RESPONSE_CODE] = APPROVED
    return answer


@dataclass(slots=True, eq=False)
class _Waiting:
    request: Message
    answer: asyncio.Future[Message]


class LinkClient:
    """One connection to one host.

    `timeout_s` bounds connecting and each answer. With `sign_on`, connecting includes a sign-on answered 00; it needs
    `clock` (aware UTC time) for DE7. `on_request` answers what the other side asks, by default its 0800. Counters:
    `unmatched`, answers nobody waited for (late ones), and `unreadable`, messages that broke the dialect.
    """

    def __init__(
        self,
        host: str,
        port: int,
        dialect: Dialect = HIMBARA,
        framing: LengthFraming = HIMBARA_FRAMING,
        *,
        sign_on: bool = False,
        timeout_s: float = 30.0,
        max_in_flight: int = 1_000,
        clock: Callable[[], datetime] | None = None,
        on_request: Callable[[Message], Message | None] = answer_network,
    ) -> None:
        if sign_on and clock is None:
            raise ValueError("sign-on needs a clock for DE7")
        self.unmatched = 0
        self.unreadable = 0
        self._address = (host, port)
        self._dialect = dialect
        self._framing = framing
        self._sign_on_clock = clock if sign_on else None
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(max_in_flight)
        self._on_request = on_request
        self._wire: _Wire | None = None
        self._waiting: dict[tuple[str, str], list[_Waiting]] = {}
        self._stan = 0

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._wire is not None

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return sum(map(len, self._waiting.values()))

    async def connect(self) -> None:
        """Connect, and sign on where asked. Again after a loss is allowed.

        Raises LinkClosed, LinkTimeout or SignOnRefused; the connection is closed then.
        """
        if self._wire is not None:
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                _, wire = await loop.create_connection(lambda: _Wire(self, self._framing), *self._address)
        except TimeoutError:
            raise LinkTimeout(f"no connection within {self._timeout_s} s") from None
        except OSError as error:
            raise LinkClosed(f"no connection: {error.strerror or 'refused'}") from error
        if wire.gone.is_set():
            raise LinkClosed("the connection was closed at once")
        self._wire = wire
        if self._sign_on_clock is not None:
            await self._sign_on(self._sign_on_clock())

    async def request(self, message: Message) -> Message:
        """Send `message` and wait for its answer.

        The answer is the message of the answering type with the same DE11, and the same DE7 and DE41 where both hold
        them. Raises LinkClosed, LinkTimeout, or FormatError where the message cannot be encoded.
        """
        key = _key(response_mti(message.mti), message)
        framed = self._framing.frame(encode(message, self._dialect))
        async with self._places:
            if self._wire is None:
                raise LinkClosed("not connected")
            waiting = _Waiting(message, asyncio.get_running_loop().create_future())
            self._waiting.setdefault(key, []).append(waiting)
            self._wire.write(framed)
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await waiting.answer
            except TimeoutError:
                raise LinkTimeout(f"no answer to {message.mti} within {self._timeout_s} s") from None
            finally:
                self._forget(key, waiting)

    def send_bytes(self, data: bytes) -> None:
        """Put `data` on the wire as it is, header and all: for malformed frames. Raises LinkClosed."""
        if self._wire is None:
            raise LinkClosed("not connected")
        self._wire.write(data)

    def next_stan(self) -> str:
        """A trace number (DE11), 000001 to 999999 and again."""
        self._stan = self._stan % _LAST_STAN + 1
        return f"{self._stan:06d}"

    async def close(self) -> None:
        """Close the connection; requests still waiting fail with LinkClosed. Closing twice is allowed."""
        wire = self._wire
        if wire is None:
            return
        wire.close()
        try:
            async with asyncio.timeout(_CLOSING_S):
                await wire.gone.wait()
        except TimeoutError:
            wire.abort()
            await wire.gone.wait()

    async def _sign_on(self, now: datetime) -> None:
        fields = {_TRANSMITTED: f"{now:%m%d%H%M%S}", _STAN: self.next_stan(), _NETWORK_CODE: _SIGN_ON}
        try:
            answer = await self.request(Message("0800", fields))
        except BaseException:
            await self.close()
            raise
        code = answer.get(_RESPONSE_CODE, "")
        if code != APPROVED:
            await self.close()
            raise SignOnRefused(code)

    def received(self, payload: bytes) -> None:
        """Hand an answer to who waits for it, or answer what the other side asks. Called by the connection."""
        try:
            message = decode(payload, self._dialect)
            if message.is_request:
                self._answer(message)
                return
        except FormatError:
            self.unreadable += 1
            return
        for waiting in self._waiting.get(_key(message.mti, message), ()):
            if not waiting.answer.done() and _same(waiting.request, message):
                waiting.answer.set_result(message)
                return
        self.unmatched += 1

    def lost(self, wire: _Wire) -> None:
        """Fail all who wait. Called by the connection when it is gone."""
        if self._wire is not wire:
            return
        self._wire = None
        for same_key in self._waiting.values():
            for waiting in same_key:
                if not waiting.answer.done():
                    waiting.answer.set_exception(LinkClosed("the connection was closed before the answer came"))

    def _answer(self, request: Message) -> None:
        answer = self._on_request(request)
        if answer is None:
            self.unmatched += 1
        elif self._wire is not None:
            self._wire.write(self._framing.frame(encode(answer, self._dialect)))

    def _forget(self, key: tuple[str, str], waiting: _Waiting) -> None:
        same_key = self._waiting[key]
        same_key.remove(waiting)
        if not same_key:
            del self._waiting[key]


class _Wire(asyncio.Protocol):
    """The connection itself: bytes to messages, messages to the client."""

    def __init__(self, client: LinkClient, framing: LengthFraming) -> None:
        self.gone = asyncio.Event()
        self._client = client
        self._deframer = Deframer(framing)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own promise, for the type checker
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            payloads = self._deframer.feed(data)
        except FrameError as error:
            payloads = list(error.complete)
            self.close()
        for payload in payloads:
            self._client.received(payload)

    def connection_lost(self, _error: Exception | None) -> None:
        self.gone.set()
        self._client.lost(self)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _key(answer_mti: str, message: Message) -> tuple[str, str]:
    """What an answer is found by: its version, class and function, and the trace number."""
    return answer_mti[:3], message.get(_STAN, "")


def _same(request: Message, answer: Message) -> bool:
    """Whether DE7 and DE41 agree, where both messages hold them."""
    return all(
        request.get(number, "").rstrip() == answer.get(number, "").rstrip()
        for number in _COMPARED
        if number in request.fields and number in answer.fields
    )
