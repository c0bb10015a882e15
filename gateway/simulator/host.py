"""A switch host: listens, and answers what our side asks by rules: for trying an outgoing link, a store-and-forward, a time-out.

Without a rule it answers sensibly (00, with an approval code where one belongs). It can ask too, on a connection that is
there. Knows no card and no money. Read next: rules.py (the language of rules).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gateway.simulator.errors import SimulatorError
from gateway.simulator.matching import fill
from gateway.simulator.profile import Profile
from gateway.simulator.rules import AnswerMac, Chooser, Deed, Rule, Rules
from iso.codec import decode, encode
from iso.dialect import HIMBARA, Dialect
from iso.errors import FormatError, FrameError, LinkClosed, LinkTimeout
from iso.framing import HIMBARA_FRAMING, Deframer, LengthFraming
from iso.mac import mac_field
from iso.message import Message, response_mti
from iso.response_codes import APPROVED, FORMAT_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from gateway.simulator.capture import Capture
    from gateway.simulator.host_keys import HostKeys

LOCAL = "127.0.0.1"
_NO_MESSAGE = b"NO MESSAGE"
_SEEN_MOST = 100_000
_FAILURES_MOST = 1_000
_NETWORK = "8"
_STANS = 999_999
_MS = 1_000
_ARRIVALS, _REJECTED = ("0100", "0101", "0200", "0201"), "0610"


@dataclass(frozen=True, slots=True)
class Seen:
    """One message that came, and what was done about it: the title of the rule, or "" where none took it."""

    message: Message
    rule: str
    answer: Message | None


class RulesHost:
    """As a context it listens. `port` is 0 for a free one, and the true one once it listens.

    `seen` holds the requests in the order they came, the first 100,000 of them; `answers` counts them by what became of them:
    a DE39, or the deed of the rule that took them. `on_seen` is told of each request once it was answered (or not).
    `unreadable` counts frames that held no message of the dialect, `unmatched` answers to nothing that was asked. `failures`:
    a line for each request that was not as its rule expects, the first 1,000. PROFILE: whose MACs it makes and wants, by default
    none; then it speaks the profile's dialect and frame.
    """

    def __init__(
        self,
        rules: Rules | None = None,
        port: int = 0,
        *,
        host: str = LOCAL,
        dialect: Dialect = HIMBARA,
        framing: LengthFraming = HIMBARA_FRAMING,
        profile: Profile | None = None,
        on_seen: Callable[[Seen], None] | None = None,
        capture: Capture | None = None,
        keys: HostKeys | None = None,
    ) -> None:
        """KEYS: it makes MACs, and takes keys that the other side changes where no rule takes the message; None: neither."""
        self.port = port
        self.seen: list[Message] = []
        self.answers: Counter[str] = Counter()
        self.connections = 0
        self.unreadable = 0
        self.unmatched = 0
        self.failures: list[str] = []
        self.profile = profile or Profile(dialect=dialect, framing=framing)
        self.dialect, self.framing = self.profile.dialect, self.profile.framing
        self._host = host
        self._rules = Rules() if rules is None else rules
        self._chooser = Chooser(self._rules)
        self._on_seen = on_seen
        self._capture = capture
        self._keys = keys
        self._links: list[_Link] = []
        self._asked: dict[tuple[str, str], asyncio.Future[Message]] = {}
        self._stan = 0
        self._server: asyncio.Server | None = None
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Listen. Raises SimulatorError where the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Link(self), self._host, self.port)
        except OSError as error:
            raise SimulatorError(f"cannot listen at {self._host}:{self.port}: {error.strerror}") from None
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more; what is open is closed."""
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._server is not None:
            await self._server.wait_closed()

    @property
    def is_connected(self) -> bool:
        """Whether somebody is there."""
        return bool(self._links)

    @property
    def missing(self) -> list[str]:
        """Which rules took fewer messages than were to come, a line each."""
        return self._chooser.missing

    def cut(self) -> None:
        """Close every connection at once, as a broken line does."""
        for link in list(self._links):
            link.abort()

    async def wait_for(self, count: int, mti: str = "", timeout_s: float = 10.0) -> list[Message]:
        """The first COUNT requests (of that type), once they are there. Raises LinkTimeout."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(found := [one for one in self.seen if mti in ("", one.mti)]) < count:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise LinkTimeout(f"{len(found)} of {count} requests came within {timeout_s} s") from None
        return found[:count]

    async def ask(self, mti: str, fields: dict[int, str], timeout_s: float = 10.0) -> Message:
        """Ask on the newest connection; DE11 is put in where FIELDS has none. Raises LinkClosed, LinkTimeout, FormatError."""
        if not self._links:
            raise LinkClosed("nobody is connected")
        self._stan = self._stan % _STANS + 1
        message = Message(mti, {11: f"{self._stan:06d}"} | fields)
        key = response_mti(mti), message.fields[11]
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[key] = answer
        self._links[-1].send(message)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise LinkTimeout(f"no answer to {mti} within {timeout_s} s") from None
        finally:
            self._asked.pop(key, None)

    def came(self, link: _Link) -> None:
        """A connection. Called by it."""
        self.connections += 1
        self._links.append(link)

    def went(self, link: _Link) -> None:
        """A connection is gone. Called by it."""
        self._links.remove(link)
        if not self._links:
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(LinkClosed("the connection was closed before the answer came"))

    def _sealed(self, message: Message, mac: AnswerMac) -> Message:
        """MESSAGE with such a MAC, where the profile has MACs."""
        if self.profile.sign is None or mac is AnswerMac.NONE:
            return message
        if mac is AnswerMac.RIGHT:
            return self.profile.sealed(message)
        number = mac_field(message)
        return Message(message.mti, message.fields | {number: "0" * self.dialect.field(number).length})

    def goes(self, message: Message, mac: AnswerMac = AnswerMac.RIGHT) -> bytes:
        """Bytes of a message that leaves. Called by a connection."""
        if self._keys is None:
            message = self._sealed(message, mac)
        if self._capture is not None:
            self._capture.sent(message)
        return encode(message, self.dialect) if self._keys is None else self._keys.encoded(message, self.dialect)

    def received(self, link: _Link, frame: bytes) -> None:
        """One frame of a connection. Called by it."""
        try:
            header, payload = self.framing.split(frame)
        except FrameError:
            self.unreadable += 1
            return
        try:
            message = decode(payload, self.dialect)
        except FormatError as error:
            self.unreadable += 1
            self._reject(link, error.partial, header)
            return
        if self._capture is not None:
            self._capture.received(message)
        if message.is_request:
            self._request(link, message, header)
            return
        answer = self._asked.get((message.mti, message.get(11, "")))
        if answer is None or answer.done():
            self.unmatched += 1
        else:
            answer.set_result(message)

    def _request(self, link: _Link, request: Message, header: bytes) -> None:
        if len(self.seen) < _SEEN_MOST:
            self.seen.append(request)
        rule = self._chooser.choose(request)
        self._judge(rule, request)
        answer = self._sensible(request) if rule is None else _by_rule(request, rule)
        self.answers[_became(rule, answer)] += 1
        wait_ms = 0 if rule is None else self._rules.wait_ms(rule)
        if wait_ms:
            asyncio.get_running_loop().call_later(wait_ms / _MS, link.act, rule, answer, header)
        else:
            link.act(rule, answer, header)
        if rule is None and self._keys is not None:
            self._keys.take_up()
        self._came.set()
        if self._on_seen is not None:
            self._on_seen(Seen(request, "" if rule is None else rule.title, answer))

    def _judge(self, rule: Rule | None, request: Message) -> None:
        """Write down where REQUEST is not as it should be."""
        found = [] if rule is None else self._chooser.differences(rule, request)
        if self._keys is None and not self.profile.mac_is_right(request) and request.mti[1:2] != _NETWORK:
            found.append(f"{request.mti}: has no MAC, or a wrong one")
        self.failures += found[: _FAILURES_MOST - len(self.failures)]

    def _sensible(self, request: Message) -> Message:
        return (self._keys and self._keys.answer(request)) or sensible_answer(request)

    @staticmethod
    def _reject(link: _Link, partial: Message | None, header: bytes) -> None:
        if partial is None:
            link.send(Message(_REJECTED, {39: FORMAT_ERROR}), header)
        elif partial.is_request:
            answer = partial.response()
            answer.fields[39] = FORMAT_ERROR
            link.send(answer, header)


class _Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, host: RulesHost) -> None:
        self._host = host
        self._deframer = Deframer(host.framing)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives no other
        self._transport = transport
        self._host.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._host.went(self)

    def data_received(self, data: bytes) -> None:
        try:
            frames = deque(self._deframer.feed(data))
        except FrameError as error:
            frames = deque(error.complete)
            self._host.unreadable += 1
            self._close()
        for frame in frames:
            self._host.received(self, frame)

    def act(self, rule: Rule | None, answer: Message | None, header: bytes) -> None:
        """Do what RULE says, with the answer that was made for it."""
        deed = Deed.ANSWER if rule is None else rule.do
        if deed is Deed.CLOSE:
            self._close()
        elif rule is not None and deed is Deed.GARBAGE:
            self._write(bytes.fromhex(rule.hex) or self._host.framing.frame(_NO_MESSAGE, self._answering(header)))
        elif answer is not None:
            self.send(answer, header, AnswerMac.RIGHT if rule is None else rule.mac)
            if deed is Deed.ANSWER_AND_CLOSE:
                self._close()

    def send(self, message: Message, header: bytes | None = None, mac: AnswerMac = AnswerMac.RIGHT) -> None:
        """Send. HEADER: the message header of the request that is answered."""
        framing = self._host.framing
        self._write(framing.frame(self._host.goes(message, mac), self._answering(header)))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _answering(self, header: bytes | None) -> bytes | None:
        return None if header is None else self._host.framing.reply_header(header)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def sensible_answer(request: Message) -> Message:
    """00, and what else such an answer holds: an approval code (DE38) of 0100 and 0200, in balance (DE66 1) of totals."""
    answer = request.response()
    answer.fields[39] = APPROVED
    if request.mti in _ARRIVALS:
        answer.fields[38] = request.get(11, "000000")
    if request.mti[1:2] == "5":
        answer.fields[66] = "1"
    return answer


def _became(rule: Rule | None, answer: Message | None) -> str:
    """What became of a request, for counting: the code it was answered with, or what was done instead."""
    if answer is not None:
        return answer.fields[39]
    return "" if rule is None else rule.do


def _by_rule(request: Message, rule: Rule) -> Message | None:
    """The answer a rule gives; None where it gives none. Raises CaseError where `set` names a field the request does not have."""
    if rule.do in (Deed.DROP, Deed.CLOSE, Deed.GARBAGE):
        return None
    answer = sensible_answer(request)
    answer.fields[39] = rule.code
    if rule.code != APPROVED:
        answer.fields.pop(38, None)
    if rule.do is Deed.WRONG:
        answer.fields[11] = f"{(int(request.get(11, '0')) + 1) % _STANS:06d}"
    said = {str(number): text for number, text in request.fields.items()} | {"mti": request.mti}
    for number, text in rule.set.items():
        value = fill(text, _Lenient(said))
        if value:
            answer.fields[number] = value
        else:
            answer.fields.pop(number, None)
    return answer


class _Lenient(dict[str, str]):
    """Fields of a request; one that is not there is empty."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return ""
