"""One connection of a partner, whoever called: bytes to messages, each dispatched by its type, answers and requests of ours out.

Every request is answered: overload 91, what cannot be read 30, what nobody serves 12; the connection stays. Only a length that
makes no sense, a message that never ends and silence for too long end it. Money goes to the lanes and is answered after COMMIT.
Refuses to know sign-on (network.py), keys (security.py) and what a message means (mapping.py). Read next: line.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from gateway import clock
from gateway.terminals import mapping, network, replies
from gateway.terminals.incoming import Incoming
from gateway.terminals.line import UNMATCHED, UNPROVED
from gateway.terminals.transaction_log import Told
from iso.codec import decode, encode
from iso.describe import summary
from iso.errors import FormatError, FrameError, LinkClosed, LinkTimeout
from iso.framing import Deframer
from iso.message import Message, response_mti
from iso.response_codes import FORMAT_ERROR, INOPERATIVE, INVALID_TRANSACTION

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.operations.authorise import AuthoriseCommand
    from gateway.terminals.line import Line

log = structlog.get_logger(__name__)

MAY_BE_DROPPED = frozenset({"0100", "0101", "0200", "0201"})
"""Nobody has acted on these yet. An advice tells what was done, a reversal undoes: both are done whoever waits for the answer."""
REJECT_MTI = "0610"  # administrative answer to bytes that are no message at all
WRITE_HIGH_BYTES = 1_000_000
CLOSING_S = 1.0  # a peer that reads nothing, or never ends its TLS, may hold a closing connection for so long
_TRANSMITTED, _STAN, _CODE, _TERMINAL = 7, 11, 39, 41


def _everyone(_transport: asyncio.Transport) -> bool:
    return True


class Connection(asyncio.Protocol):
    """One connection of a line. SIGNED_ON: whether either side has, and nobody signed off since.

    ASKED: which of the line's requests of ours was the last on this one, by number. PLACE: of its host in the profile.
    """

    def __init__(self, line: Line, admits: Callable[[asyncio.Transport], bool] = _everyone, place: int = 0) -> None:
        """A connection that has not signed on. ADMITS: whether this one may stay."""
        self.line = line
        self._admits = admits
        self.signed_on = False
        self.in_flight = 0
        self.asked = 0
        self.place = place
        self.gone = asyncio.Event()
        self.since = self.last = monotonic()
        self.transport: asyncio.Transport | None = None
        self._deframer = Deframer(line.framing)
        self._headers = line.framing.message_header_bytes > 0
        self._frames = 0
        self.echoing = False
        self._unfinished_since: tuple[int, float] | None = None
        self._outgoing: list[bytes] = []
        self._soon = asyncio.get_running_loop().call_soon

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the line, unless it may not."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives no other
        if not self._admits(transport):
            transport.abort()
            return
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self.line.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The partner has gone. Requests not decided yet are dropped, answers still to come too; its reversals settle them."""
        del exc
        self.transport = None
        self.signed_on = False
        self.line.connections.discard(self)
        self.line.lose(self)
        self.gone.set()

    def data_received(self, data: bytes) -> None:
        """Cut the stream into messages and serve each."""
        line = self.line
        self.last = line.last = now = monotonic()
        try:
            frames = self._deframer.feed(data)
        except FrameError as error:
            line.counters.received += len(error.complete)
            for frame in filter(None, error.complete):
                self._take(frame, now)
            line.counters.broken += 1
            log.warning("link.frame.broken", link=line.link.name, reason=error.reason)
            self.close()
            return
        self._frames += len(frames)
        line.counters.received += len(frames)
        for frame in frames:
            if frame:
                self._take(frame, now)
            else:
                self._write(line.framing.poll)

    def pause_writing(self) -> None:
        """The partner does not read its answers: read nothing more from it."""
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The partner reads again."""
        if self.transport is not None:
            self.transport.resume_reading()

    def close(self) -> None:
        """Send what is waiting and close."""
        self._flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    async def end(self) -> None:
        """Close, and wait until it is closed; a peer that does not let go is cut off."""
        self.close()
        try:
            async with asyncio.timeout(CLOSING_S):
                await self.gone.wait()
        except TimeoutError:
            self.abort()
            await self.gone.wait()

    def look(self, now: float) -> None:
        """End the connection if a message has been unfinished for too long, or nothing came for too long; before that, ask."""
        link = self.line.link
        unfinished = self._unfinished_since
        if not self._deframer.pending:
            self._unfinished_since = None
        elif unfinished is None or unfinished[0] != self._frames:
            self._unfinished_since = self._frames, now
        elif now - unfinished[1] >= link.frame_timeout_s:
            self.line.counters.cut_off += 1
            log.warning("link.message.unfinished", link=link.name, bytes=self._deframer.pending)
            self.abort()
            return
        network.mind_silence(self, now)

    async def ask(self, message: Message, timeout_s: float | None = None) -> Message:
        """Send a request of ours and wait for its answer: the same DE11, and the same DE7 and DE41 where both hold them.

        TIMEOUT_S: the link's answer_timeout_s where it is left out. Raises Refused where a request that could not be told from
        it waits already, LinkClosed, LinkTimeout, or FormatError and FrameError where it cannot be written.
        """
        line = self.line
        seconds = line.link.answer_timeout_s if timeout_s is None else timeout_s
        if self.transport is None:
            raise LinkClosed(f"link {line.link.name}: the connection is gone")
        question = Question(self, message, asyncio.get_running_loop().create_future())
        data = line.framing.frame(self._encoded(message, None))
        line.ask_about(question)
        self.asked = line.counters.asked
        self._write(data)
        asked, code, stopped = monotonic(), None, None
        try:
            async with asyncio.timeout(seconds):
                answer = await question.answer
            code = answer.get(_CODE)
        except TimeoutError:
            line.counters.timed_out += 1
            stopped = "timed out"
            raise LinkTimeout(f"link {line.link.name}: no answer to {message.mti} within {seconds:g} s") from None
        except BaseException:
            stopped = "lost"
            raise
        finally:
            line.forget(question)
            if line.events is not None:
                ended = monotonic()
                marks = (("answered", ended),)
                line.events.tell(Told(line.link.name, message, asked, ended, code, stopped, marks=marks, ours=True))
        return answer

    def reply(self, request: Message, answer: Message, header: bytes | None) -> str | None:
        """Queue the answer to REQUEST, which came with HEADER; all answers of one turn of the loop leave in one write.

        Returns what kept it from leaving, in a word or two; None: nothing.
        """
        line = self.line
        if self.transport is None:
            line.counters.unsent += 1
            return "gone"
        try:
            data = line.framing.frame(self._encoded(answer, request), header)
        except (FormatError, FrameError) as error:
            log.error("answer.unwritable", link=line.link.name, reason=str(error))  # noqa: TRY400 - no traceback wanted
            line.counters.unsent += 1
            return "unwritable"
        code = answer.fields.get(_CODE, "")
        answered = line.counters.answered
        answered[code] = answered.get(code, 0) + 1
        self._write(data)
        return None

    def refuse(self, message: Message | None, code: str, header: bytes | None) -> str | None:
        """Answer with a response code alone; what is no message gets a reject. Returns what kept that from leaving."""
        try:
            answer = None if message is None else mapping.refused(message, code)
        except FormatError:
            answer = None
        if answer is None:
            stan = "000000" if message is None else message.get(_STAN, "000000")
            answer = Message(REJECT_MTI, {_TRANSMITTED: f"{clock.now():%m%d%H%M%S}", _STAN: stan, 39: code})
        return self.reply(message or answer, answer, header)

    def _take(self, frame: bytes, now: float) -> None:
        """One message: read it, and give it to whom its type belongs."""
        line = self.line
        header: bytes | None = None
        try:
            if self._headers:
                header, frame = line.framing.split(frame)
                header = line.framing.reply_header(header)
            message = decode(frame, line.dialect)
        except (FormatError, FrameError) as error:
            self._unreadable(error, frame, header, now)
            return
        serve = _SERVED.get(message.mti, _other)
        if line.proves and serve is not _other and (code := line.security.refusal(message, frame)) is not None:
            log.warning("message.unproved", link=line.link.name, code=code, **summary(message))
            replies.turn_down(self, message, code, header, now, UNPROVED)
            return
        serve(self, message, frame, header, now)

    def _unreadable(self, error: FormatError | FrameError, frame: bytes, header: bytes | None, now: float) -> None:
        self.line.counters.unreadable += 1
        partial = error.partial if isinstance(error, FormatError) else None
        if partial is not None and not partial.is_request and _plausible(partial.mti):
            replies.leave(self, partial, now, None, replies.UNREADABLE, str(error))
            return  # an answer that cannot be read is not answered: two hosts could talk for ever
        if partial is not None and self._kept(partial, str(error), frame, header, now):
            return
        replies.turn_down(self, partial, FORMAT_ERROR, header, now, replies.UNREADABLE, str(error))

    def _kept(self, partial: Message, why: str, frame: bytes, header: bytes | None, now: float) -> bool:
        """Whether an advice of which a field cannot be read went to the lanes all the same, to be kept for people."""
        line = self.line
        if not mapping.is_advice(partial) or not _may_ask(self):
            return False
        if line.proves and line.security.refusal(partial, frame) is not None:
            return False
        try:
            command = mapping.unreadable_advice(partial, line.link, why, line.settlement_date())
        except FormatError:
            return False
        _submit(self, partial, command, header, now)
        return True

    def _encoded(self, message: Message, request: Message | None) -> bytes:
        line = self.line
        if line.proves:
            return line.security.encode(message, line.dialect, request)
        return encode(message, line.dialect)

    def _write(self, data: bytes) -> None:
        if not self._outgoing:
            self._soon(self._flush)
        self._outgoing.append(data)

    def _flush(self) -> None:
        if self._outgoing and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self._outgoing))
        self._outgoing.clear()


@dataclass(slots=True, eq=False)
class Question:
    """A request of ours that waits for its answer."""

    connection: Connection
    request: Message
    answer: asyncio.Future[Message]

    @property
    def key(self) -> tuple[str, str]:
        """What its answer is found by: version, class and function of the answer, and the trace number."""
        return response_mti(self.request.mti)[:3], self.request.get(_STAN, "")

    def fits(self, message: Message) -> bool:
        """Whether DE7 and DE41 of MESSAGE agree, where both hold them."""
        mine, theirs = self.request.fields, message.fields
        return all(
            mine[number].rstrip() == theirs[number].rstrip()
            for number in (_TRANSMITTED, _TERMINAL)
            if number in mine and number in theirs
        )


def _money(connection: Connection, message: Message, _data: bytes, header: bytes | None, now: float) -> None:
    """Give a financial message to the lanes."""
    line = connection.line
    if not _may_ask(connection):
        replies.turn_down(connection, message, INOPERATIVE, header, now, replies.kept_out(line))
        return
    try:
        command = mapping.to_command(message, line.link, line.pin_key, line.settlement_date(), line.unread)
    except FormatError as error:
        replies.turn_down(connection, message, FORMAT_ERROR, header, now, replies.WRONG, str(error))
        return
    except mapping.Declined as error:
        replies.turn_down(connection, message, error.code, header, now, replies.REFUSED, str(error))
        return
    _submit(connection, message, command, header, now)


def _may_ask(connection: Connection) -> bool:
    """Whether a message is taken now: not above the high watermark, and signed on where the link wants it."""
    line = connection.line
    return not line.turns_away and (connection.signed_on or not line.link.sign_on_required)


def _submit(
    connection: Connection, message: Message, command: AuthoriseCommand, header: bytes | None, now: float
) -> None:
    line = connection.line
    incoming = Incoming(connection, message, header, now, command.request)
    connection.in_flight += 1
    line.enters()
    alive = incoming.alive if message.mti in MAY_BE_DROPPED else None
    if line.events is None:
        line.lanes.submit(command, incoming, alive)
    else:
        line.lanes.submit(command, incoming, alive, incoming.passed)
        incoming.read = monotonic()


def _network(connection: Connection, message: Message, _data: bytes, header: bytes | None, now: float) -> None:
    """Sign-on, sign-off, echo, cut-over, key change."""
    if network.changes_key(connection.line, message):
        connection.in_flight += 1
        connection.line.enters()
        connection.line.spawn(replies.change_key(connection, message, header, now))
        return
    replies.give(connection, message, network.answer(connection, message), header, now)


def _other(connection: Connection, message: Message, data: bytes, header: bytes | None, now: float) -> None:
    """An answer to a request of ours, a message with an errand of its own, or one that nobody serves."""
    line = connection.line
    if not message.is_request and _plausible(message.mti):
        stopped = line.unmatched(message, data)
        if stopped == UNMATCHED and message.mti in line.errands and _may_ask(connection):
            replies.send_on(connection, message, header, now)
        elif stopped is not None:
            replies.leave(connection, message, now, None, stopped)
        return
    code = line.security.refusal(message, data) if line.proves else None
    if code is not None:
        replies.turn_down(connection, message, code, header, now, UNPROVED)
    elif message.mti not in line.errands:
        replies.turn_down(connection, message, INVALID_TRANSACTION, header, now, replies.UNKNOWN_TYPE)
    elif not _may_ask(connection):
        replies.turn_down(connection, message, INOPERATIVE, header, now, replies.kept_out(line))
    else:
        replies.send_on(connection, message, header, now)


def _plausible(mti: str) -> bool:
    """Whether a type is one that an answer of some host may have: version 0, 1 or 2, a class of the standard."""
    return mti[0] in "012" and mti[1] in "12345678"


_SERVED: dict[str, Callable[[Connection, Message, bytes, bytes | None, float], None]] = {
    **dict.fromkeys(sorted(mapping.FINANCIAL), _money), "0800": _network, "0801": _network,
}  # fmt: skip
