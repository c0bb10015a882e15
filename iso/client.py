"""The asking end of a link: many requests in flight on one connection, each matched with its answer.

Used by simulated terminals and by our own outgoing side. Knows sign-on (0800, DE70 001) and echo (301), no other message;
never retries and never reverses: a time-out says that the outcome is unknown, and the caller decides. Bounded: at most
`max_in_flight` requests wait, further ones wait for a place. Read next: client_wire.py, framing.py, message.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from iso.client_wire import CLOSING_S, Wire, why
from iso.codec import decode, encode
from iso.dialect import HIMBARA, Dialect
from iso.errors import (
    DuplicateInFlight,
    FormatError,
    FrameError,
    LinkClosed,
    LinkError,
    LinkFailed,
    LinkTimeout,
    SignOnRefused,
)
from iso.framing import HIMBARA_FRAMING, LengthFraming
from iso.message import Message, response_mti
from iso.response_codes import APPROVED

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime
    from types import TracebackType

OnRequest: TypeAlias = "Callable[[Message], Message | Awaitable[Message | None] | None]"

DEFAULT_KEY = (11, 7, 41)
"""Fields by which an answer is found where a link says no others: trace number, time of transmission, terminal."""
_TRANSMITTED = 7
_STAN = 11
_RESPONSE_CODE = 39
_NETWORK_CODE = 70
_UNREAD_MAX = 16_000_000  # bytes of answers to a peer that asks and does not read
_LAST_STAN = 999_999
_SIGN_ON, _ECHO = "001", "301"
_NETWORK_REQUESTS = ("0800", "0801")
_NO_KEYS: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def answer_network(request: Message) -> Message | None:
    """The answer to an 0800 of the other side: 00. None, so no answer, to any other request."""
    if request.mti not in _NETWORK_REQUESTS:
        return None
    answer = request.response()
    answer.fields[_RESPONSE_CODE] = APPROVED
    return answer


@dataclass(slots=True, eq=False)
class _Waiting:
    values: tuple[str, ...]
    answer: asyncio.Future[Message]


class LinkClient:
    """One connection to one host.

    `timeout_s` bounds connecting and each answer. With `tls`, the host's certificate must be for `tls_name`, by default
    `host`; a context with a certificate of ours makes it mutual. With `sign_on`, connecting includes a sign-on answered
    00. With `echo_s`, an echo is sent when nothing was heard for so long, and a host that leaves it unanswered is given
    up. Both need `clock` (aware UTC time) for DE7. `key_fields`: MTI class (second digit) -> the fields by which an answer
    is found, DEFAULT_KEY where it says none; the first must stand in the answer, the others count where both messages
    hold them. `on_request` answers what the other side asks, by default its 0800; where it is asynchronous, up to
    `max_in_flight` answers are made at once. Counters: `unmatched`, answers nobody waited for (late ones) and requests
    nobody answered; `unreadable`, messages that broke the dialect.
    """

    def __init__(
        self,
        host: str,
        port: int,
        dialect: Dialect = HIMBARA,
        framing: LengthFraming = HIMBARA_FRAMING,
        *,
        tls: ssl.SSLContext | None = None,
        tls_name: str | None = None,
        sign_on: bool = False,
        echo_s: float | None = None,
        timeout_s: float = 30.0,
        max_in_flight: int = 1_000,
        key_fields: Mapping[str, tuple[int, ...]] = _NO_KEYS,
        clock: Callable[[], datetime] | None = None,
        on_request: OnRequest = answer_network,
    ) -> None:
        if (sign_on or echo_s is not None) and clock is None:
            raise ValueError("sign-on and echo need a clock for DE7")
        if not all(key_fields.values()):
            raise ValueError("a key has at least one field")
        self.unmatched = 0
        self.unreadable = 0
        self._address = (host, port)
        self._dialect = dialect
        self._framing = framing
        self._tls = (tls, tls_name or host)
        self._clock = clock
        self._sign_on = sign_on
        self._echo_s = echo_s
        self._timeout_s = timeout_s
        self._max_in_flight = max_in_flight
        self._places = asyncio.Semaphore(max_in_flight)
        self._key_fields = dict(key_fields)
        self._on_request = on_request
        self._connecting = asyncio.Lock()
        self._wire: Wire | None = None
        self._last: Wire | None = None
        self._ready = False
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
        """Whether requests can be sent now: connected, and signed on where asked."""
        return self._ready and self._wire is not None and not self._wire.closing

    @property
    def failure(self) -> str | None:
        """Why the connection went away by itself; None where it stands, was closed by us, or never was."""
        return None if self._last is None else self._last.failure

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return sum(map(len, self._waiting.values()))

    async def connect(self) -> None:
        """Connect, and sign on where asked. Again after a loss is allowed; where the link stands nothing is done.

        Raises LinkFailed, LinkTimeout or SignOnRefused; the connection is closed then.
        """
        async with self._connecting:
            if self._wire is not None and self._wire.closing:
                await self._wire.gone.wait()
            if self._wire is not None:
                return
            wire = await self._connect()
            if wire.gone.is_set():
                raise LinkFailed("the connection was closed at once")
            self._wire = self._last = wire
            if self._sign_on:
                await self._be_signed_on()
            self._ready = True
            if self._echo_s is not None:
                wire.run(self._echo_when_idle(wire, self._echo_s))

    async def request(self, message: Message, *, again: bool = False) -> Message:
        """Send `message` and wait for its answer.

        The answer is the message of the answering type whose key is the same. Raises LinkClosed where we closed the
        link, LinkFailed where it went away, LinkTimeout, DuplicateInFlight, or FormatError where the message cannot be
        encoded. `again`: send it even while its key is in flight, for trials of the other side; the copies get the
        answers in turn.
        """
        framed = self._framed(message)
        async with self._places:
            if not self.connected:
                raise self._gone("not connected")
            return await self._exchange(message, framed, again=again)

    def send_bytes(self, data: bytes) -> None:
        """Put `data` on the wire as it is, header and all: for malformed frames. Raises LinkClosed."""
        if self._wire is None:
            raise self._gone("not connected")
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
        await wire.gone.wait()
        answering = wire.tasks - {asyncio.current_task()}
        if answering:
            await asyncio.wait(answering, timeout=CLOSING_S)

    async def wait_closed(self) -> None:
        """Wait until there is no connection; `failure` tells then whether it was lost or closed by us."""
        if self._wire is not None:
            await self._wire.gone.wait()

    async def _connect(self) -> Wire:
        context, name = self._tls
        options: dict[str, Any] = {}
        if context is not None:
            options = {"ssl": context, "server_hostname": name, "ssl_handshake_timeout": self._timeout_s + CLOSING_S}
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                _, wire = await loop.create_connection(lambda: Wire(self, self._framing), *self._address, **options)
        except TimeoutError:
            raise LinkTimeout(f"no connection within {self._timeout_s} s") from None
        except OSError as error:
            raise LinkFailed(f"no connection: {why(error)}") from error
        return wire

    async def _be_signed_on(self) -> None:
        try:
            answer = await self._network(_SIGN_ON)
        except BaseException:
            await self.close()
            raise
        code = answer.get(_RESPONSE_CODE, "")
        if code != APPROVED:
            await self.close()
            raise SignOnRefused(code)

    async def _echo_when_idle(self, wire: Wire, echo_s: float) -> None:
        """Send an echo whenever nothing was heard for `echo_s`; whatever comes then says that the host lives."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(wire.heard_at + echo_s - loop.time())
            asked_at = loop.time()
            if asked_at < wire.heard_at + echo_s:
                continue
            try:
                await self._network(_ECHO)
            except LinkTimeout as error:
                if wire.heard_at < asked_at:
                    wire.fail(f"{error} (echo)")
                    return
            except DuplicateInFlight:
                continue  # somebody's own echo is under way

    async def _network(self, code: str) -> Message:
        """Ask an 0800; it waits for no place. Its callers have a clock."""
        assert self._clock is not None  # noqa: S101 - checked when the client was made
        fields = {_TRANSMITTED: f"{self._clock():%m%d%H%M%S}", _STAN: self.next_stan(), _NETWORK_CODE: code}
        message = Message("0800", fields)
        return await self._exchange(message, self._framed(message))

    async def _exchange(self, message: Message, framed: bytes, *, again: bool = False) -> Message:
        if self._wire is None:
            raise self._gone("not connected")
        place, values = self._key(response_mti(message.mti), message)
        waiting = _Waiting(values, asyncio.get_running_loop().create_future())
        if not again and any(one.values == values and not one.answer.done() for one in self._waiting.get(place, ())):
            raise DuplicateInFlight(f"an {message.mti} with the same key waits for its answer")
        self._waiting.setdefault(place, []).append(waiting)
        self._wire.write(framed)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiting.answer
        except TimeoutError:
            raise LinkTimeout(f"no answer to {message.mti} within {self._timeout_s} s") from None
        finally:
            self._forget(place, waiting)

    def received(self, wire: Wire, header: bytes, payload: bytes) -> None:
        """Hand an answer to who waits for it, or answer what the other side asks. Called by the connection."""
        try:
            message = decode(payload, self._dialect)
            if message.is_request:
                self._answer(wire, header, message)
                return
        except (FormatError, FrameError):
            self.unreadable += 1
            return
        place, values = self._key(message.mti, message)
        fitting = [one for one in self._waiting.get(place, ()) if not one.answer.done() and _fits(one.values, values)]
        if fitting and all(one.values == fitting[0].values for one in fitting):
            fitting[0].answer.set_result(message)
        else:  # nobody's, or one of several requests and nobody can say which
            self.unmatched += 1

    def lost(self, wire: Wire) -> None:
        """Fail all who wait. Called by the connection when it is gone."""
        if self._wire is not wire:
            return
        self._wire, self._ready = None, False
        for same_place in self._waiting.values():
            for waiting in same_place:
                if not waiting.answer.done():
                    waiting.answer.set_exception(self._gone("the connection was closed before the answer came"))

    def _gone(self, what: str) -> LinkClosed:
        return LinkClosed(what) if self.failure is None else LinkFailed(f"{what}: {self.failure}")

    def _answer(self, wire: Wire, header: bytes, request: Message) -> None:
        if len(wire.tasks) >= self._max_in_flight + (self._echo_s is not None):  # the echo is a task too
            self.unmatched += 1
            return
        answer = self._on_request(request)
        if answer is None or isinstance(answer, Message):
            self._reply(wire, header, answer)
        else:
            wire.run(self._answer_later(wire, header, answer))

    async def _answer_later(self, wire: Wire, header: bytes, answer: Awaitable[Message | None]) -> None:
        try:
            self._reply(wire, header, await answer)
        except (FormatError, FrameError):
            self.unreadable += 1
        except LinkError:
            self.unmatched += 1

    def _reply(self, wire: Wire, header: bytes, answer: Message | None) -> None:
        if answer is None:
            self.unmatched += 1
        elif wire.unread > _UNREAD_MAX:
            wire.fail("the other side asks and does not read")
        else:
            wire.write(self._framing.frame(encode(answer, self._dialect), self._framing.reply_header(header)))

    def _framed(self, message: Message) -> bytes:
        return self._framing.frame(encode(message, self._dialect))

    def _key(self, answer_mti: str, message: Message) -> tuple[tuple[str, str], tuple[str, ...]]:
        """Where an answer is looked for (version, class and function, first key field), and its key, "" for what it lacks."""
        numbers = self._key_fields.get(answer_mti[1], DEFAULT_KEY)
        values = tuple(message.get(number, "").rstrip() for number in numbers)
        return (answer_mti[:3], values[0]), values

    def _forget(self, place: tuple[str, str], waiting: _Waiting) -> None:
        same_place = self._waiting[place]
        same_place.remove(waiting)
        if not same_place:
            del self._waiting[place]


def _fits(asked: tuple[str, ...], answered: tuple[str, ...]) -> bool:
    """Whether two keys agree wherever both say something."""
    return all(mine == theirs or not mine or not theirs for mine, theirs in zip(asked, answered, strict=True))
