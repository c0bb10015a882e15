"""The ISO 8583 listener: one asyncio.Protocol a connection, bounded, every message answered.

Reads frames, decodes, gives financial messages to the lanes and writes their answers after COMMIT. Overload is answered 91, a
message that cannot be read 30, one that is not known 12; the link stays up. Only a broken length header closes it.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway import clock
from gateway.rules.authorise import DeclineReason
from gateway.rules.settlement import PartnerDay
from gateway.terminals import mapping
from iso.codec import decode, encode
from iso.describe import summary
from iso.dialect import HIMBARA
from iso.errors import FormatError, FrameError
from iso.framing import Deframer
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from gateway.operations.authorise import Outcome
    from gateway.operations.lane import Lanes
    from gateway.terminals.profile import Link
    from keys.keytypes import KeyHandle

log = structlog.get_logger(__name__)

APPROVED, INVALID, FORMAT, NOT_SIGNED_ON = "00", "12", "30", "91"
SIGN_ON, SIGN_OFF, CUT_OVER, ECHO = "001", "002", "201", "301"
NETWORK_EVENTS = {SIGN_ON: "sign-on", SIGN_OFF: "sign-off", CUT_OVER: "cut-over"}
CONNECTIONS_MAX = 200
REJECT_MTI = "0610"  # administrative answer to bytes that are no message at all
WRITE_HIGH_BYTES = 1_000_000


class Listener:
    """The listening side of one partner link."""

    def __init__(
        self,
        link: Link,
        lanes: Lanes,
        pin_key: KeyHandle,
        note: Callable[[str, str], Awaitable[None]] | None = None,
        today: Callable[[], date] | None = None,
    ) -> None:
        """NOTE(link, event) keeps a record of sign-on, sign-off and cut-over. TODAY: the bank's business date."""
        self.link = link
        self.lanes = lanes
        self.pin_key = pin_key
        self.connections: set[Connection] = set()
        self.background: set[asyncio.Task[None]] = set()
        self._note = note
        self._today = today
        self._partner_day = PartnerDay(link.cut_over)
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen. Returns the address in use (port 0 picks one). Raises OSError where it cannot."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=CONNECTIONS_MAX)
        address: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return address

    async def close(self) -> None:
        """Stop listening and close every connection. The lanes are closed before, so accepted requests are answered."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        if self._server is not None:
            await self._server.wait_closed()
        if self.background:
            await asyncio.gather(*self.background, return_exceptions=True)

    def settlement_date(self) -> date | None:
        """The partner's day of a message that comes now; None: the business date."""
        if self._today is None or self.link.cut_over is None:
            return None
        return self._partner_day.of(clock.now(), self._today())

    def note(self, event: str) -> None:
        """Keep a record of a link event without holding up the answer."""
        log.info("link.event", link=self.link.name, link_event=event)
        if self._note is not None:
            task = asyncio.ensure_future(self._note(self.link.name, event))
            self.background.add(task)
            task.add_done_callback(self._noted)

    def _noted(self, task: asyncio.Task[None]) -> None:
        self.background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("link.event.lost", link=self.link.name, error=type(task.exception()).__name__)


class Connection(asyncio.Protocol):
    """One connection of a partner."""

    def __init__(self, listener: Listener) -> None:
        """A connection that has not signed on."""
        self._listener = listener
        self._link = listener.link
        self._deframer = Deframer(listener.link.framing)
        self._transport: asyncio.Transport | None = None
        self._signed_on = not listener.link.sign_on_required
        self._outgoing: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept, unless there are too many connections."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives no other
        if len(self._listener.connections) >= CONNECTIONS_MAX:
            log.warning("link.connections.full", link=self._link.name)
            transport.abort()
            return
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The partner has gone; answers still to come are dropped, its reversals will settle them."""
        del exc
        self._transport = None
        self._listener.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Cut the stream into messages and serve each."""
        try:
            frames = self._deframer.feed(data)
        except FrameError as error:
            for frame in error.complete:
                self._serve(frame)
            log.warning("link.frame.broken", link=self._link.name, reason=error.reason)
            self._flush()
            self.close()
            return
        for frame in frames:
            self._serve(frame)

    def pause_writing(self) -> None:
        """The partner does not read its answers: read nothing more from it."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The partner reads again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what is waiting and close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _serve(self, frame: bytes) -> None:
        try:
            message = decode(frame, HIMBARA)
        except FormatError as error:
            log.info("message.unreadable", link=self._link.name, field=error.field, reason=error.reason)
            if not self._kept(error):
                self._refuse(error.partial, FORMAT)
            return
        kind = message.mti[:2]
        if kind == "08" and message.mti[2] == "0":
            self._network(message)
        elif message.mti in mapping.FINANCIAL:
            self._financial(message)
        else:
            log.info("message.unknown", link=self._link.name, mti=message.mti)
            self._refuse(message, INVALID)

    def _kept(self, error: FormatError) -> bool:
        """Whether an advice of which a field cannot be read went on all the same, to be kept for people."""
        message = error.partial
        if message is None or message.mti not in mapping.FINANCIAL or message.mti[2] != mapping.ADVICE:
            return False
        if not self._signed_on:
            return False
        fault, day = DeclineReason.ADVICE_UNREADABLE, self._listener.settlement_date()
        try:
            command = mapping.faulty_advice(message, self._link, fault, str(error), day)
        except FormatError:
            return False
        self._listener.lanes.submit(command, partial(self._answer, message))
        return True

    def _network(self, message: Message) -> None:
        code = message.get(70)
        if code is None:
            self._refuse(message, FORMAT)
            return
        if code not in (SIGN_ON, SIGN_OFF, CUT_OVER, ECHO):
            self._refuse(message, INVALID)
            return
        if code == SIGN_ON:
            self._signed_on = True
        elif code == SIGN_OFF:
            self._signed_on = False
        if code in NETWORK_EVENTS:
            self._listener.note(NETWORK_EVENTS[code])
        self._send(mapping.refused(message, APPROVED))

    def _financial(self, message: Message) -> None:
        if not self._signed_on:
            self._refuse(message, NOT_SIGNED_ON)
            return
        try:
            command = mapping.to_command(message, self._link, self._listener.pin_key, self._listener.settlement_date())
        except FormatError as error:
            log.info("message.wrong", link=self._link.name, field=error.field, reason=error.reason, **summary(message))
            self._refuse(message, FORMAT)
            return
        except mapping.Declined as error:
            log.info("message.refused", link=self._link.name, code=error.code, reason=str(error), **summary(message))
            self._refuse(message, error.code)
            return
        self._listener.lanes.submit(command, partial(self._answer, message))

    def _answer(self, message: Message, outcome: Outcome | None) -> None:
        if outcome is None:
            return  # no honest answer exists; see gateway.operations.lane
        if log.is_enabled_for(logging.DEBUG):
            log.debug("authorisation", reason=outcome.reason.value, replayed=outcome.replayed, **summary(message))
        self._send(mapping.to_answer(message, outcome, self._link))

    def _refuse(self, message: Message | None, code: str) -> None:
        """Answer with a response code alone. What is itself an answer is not answered; what is no message gets a reject."""
        if message is None:
            self._send(Message(REJECT_MTI, {7: f"{clock.now():%m%d%H%M%S}", 11: "000000", 39: code}))
            return
        try:
            answer = mapping.refused(message, code)
        except FormatError:
            if message.mti[0] in "012" and message.mti[1] in "12345678":
                log.info("answer.unmatched", link=self._link.name, mti=message.mti)
                return
            answer = Message(REJECT_MTI, {7: f"{clock.now():%m%d%H%M%S}", 11: message.get(11, "000000"), 39: code})
        self._send(answer)

    def _send(self, answer: Message) -> None:
        """Queue an answer; all answers of one turn of the loop leave in one write."""
        if self._transport is None:
            return
        try:
            data = encode(answer, HIMBARA)
        except FormatError as error:
            log.error("answer.unwritable", field=error.field, reason=error.reason)  # noqa: TRY400 - no traceback wanted
            return
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(self._link.framing.frame(data))

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()
