"""A line: one link at work in this process, and what its connections share.

Profile, keys, lanes, counters, bounds, and the requests of our own that wait for their answers.
Both roles use it, the listener and the connector. Read next: connection.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING
from zlib import crc32

import structlog

from gateway import clock
from gateway.errors import Refused
from gateway.rules.settlement import PartnerDay
from gateway.terminals.counters import Counters
from gateway.terminals.link_notes import LinkNotes
from gateway.terminals.security import LinkSecurity
from gateway.terminals.unread_tags import unread_tags
from iso.describe import summary
from iso.errors import LinkClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from datetime import date, datetime

    from gateway.operations.bank import Bank
    from gateway.operations.lane import Lanes
    from gateway.terminals.connection import Connection, Question
    from gateway.terminals.profile import Link
    from gateway.terminals.transaction_log import TransactionLog
    from iso.message import Message
    from keys.hsm import Hsm

log = structlog.get_logger(__name__)

LAST_STAN = 999_999
LOOKS = 4  # at the connections in the shortest time that one of them may take
UNMATCHED, UNPROVED = "unmatched", "unproved"
LOOK_LEAST_S, LOOK_MOST_S = 0.05, 1.0


class Line:
    """One link at work. Its profile changes under open connections where their wire stays the same.

    TURNS_AWAY: money is answered 91, since too much is in flight or the line drains. PROVES: messages have MACs. EVENTS: where
    each message has its event; None: nowhere.
    """

    def __init__(
        self,
        link: Link,
        lanes: Lanes,
        hsm: Hsm,
        *,
        note: Callable[[str, str, int], Coroutine[object, object, None]] | None = None,
        today: Callable[[], date] | None = None,
        errands: Mapping[str, Callable[[Link, Message], Awaitable[Message | None]]] | None = None,
        bank: Bank | None = None,
        events: TransactionLog | None = None,
    ) -> None:
        """NOTE(link, event, times) keeps a record of sign-on, sign-off and cut-over. TODAY: the bank's business date.

        ERRANDS: who answers a message of that MTI that is not the lanes'; None: no answer. BANK: where keys that come over the
        line are kept; without it none is taken. Raises KeyRefused without a PIN key.
        """
        self.lanes = lanes
        self.counters = Counters()
        self.connections: set[Connection] = set()
        self.in_flight = 0
        self.turns_away = False
        self.draining = False
        self.last: float | None = None
        self._drained = asyncio.Event()
        self.errands = errands or {}
        self.events = events
        self._hsm = hsm
        self._bank = bank
        self._notes = None if note is None else LinkNotes(partial(note, link.name))
        self._today = today
        self._stan = 0
        self._asked: dict[tuple[str, str], list[Question]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()
        self.take_up(link)

    def take_up(self, link: Link) -> None:
        """Go by this profile from the next message on. Raises KeyRefused where the keystore has no such PIN key."""
        self.pin_key = self._hsm.find(link.pin_key)
        self.security = LinkSecurity(link, self._hsm, self._bank, self.counters.unproved)
        self.proves = self.security.proves
        self.unread = unread_tags(link, self.counters.unread_tags)
        self.link = link
        self.dialect = link.wire
        self.framing = link.framing
        self._partner_day = PartnerDay(link.cut_over)

    @property
    def signed_on(self) -> int:
        """Connections over which messages may pass now."""
        if not self.link.sign_on_required:
            return len(self.connections)
        return sum(connection.signed_on for connection in self.connections)

    @property
    def ready(self) -> bool:
        """Whether a request of ours can be sent now."""
        return not self.draining and self.signed_on > 0

    @property
    def last_at(self) -> datetime | None:
        """When something came last; None: never."""
        return None if self.last is None else clock.now() - timedelta(seconds=monotonic() - self.last)

    def start(self) -> None:
        """Watch over the connections from now on."""
        self._look()

    async def ask(self, message: Message, timeout_s: float | None = None) -> Message:
        """Send a request of ours and wait for its answer.

        Of the connections that are signed on those of the host that comes first for this message, in turn: whose last turn was
        longest ago. Raises LinkClosed where there is none, LinkTimeout, or what Connection.ask raises.
        """
        if not self.draining:
            open_ones = [one for one in self.connections if one.signed_on or not self.link.sign_on_required]
            if open_ones:
                return await min(open_ones, key=lambda one: (self._comes(one.place, message), one.asked)).ask(
                    message, timeout_s
                )
        raise LinkClosed(f"link {self.link.name} is not signed on")

    def _comes(self, place: int, message: Message) -> int:
        """Where a host of the profile comes for a message, lower first: all alike, by their order, or by the message's card.

        By card the host of the highest digest of place and card (rendezvous hashing): where one goes, only its cards move.
        """
        if self.link.spread == "card":
            return -crc32(f"{place} {message.get(2) or message.get(11)}".encode())
        return place if self.link.spread == "first" else 0

    def ask_about(self, question: Question) -> None:
        """Let QUESTION wait for its answer. Raises Refused where one that could not be told from it waits already."""
        same_key = self._asked.setdefault(question.key, [])
        if any(one.fits(question.request) for one in same_key):
            raise Refused(
                f"link {self.link.name}: a {question.request.mti} with the same DE11 and DE7 waits for its answer"
            )
        same_key.append(question)
        self.counters.asked += 1

    def forget(self, question: Question) -> None:
        """QUESTION waits no longer."""
        same_key = self._asked.get(question.key, [])
        if question in same_key:
            same_key.remove(question)
        if not same_key:
            self._asked.pop(question.key, None)

    def unmatched(self, message: Message, data: bytes) -> str | None:
        """Hand an answer to the question it belongs to, on whatever connection it came. DATA: its bytes.

        Returns None; UNMATCHED where it is proved and nobody asked, UNPROVED where it is not to be believed.
        """
        code = self.security.refusal(message, data) if self.proves else None
        if code is None:
            for question in self._asked.get((message.mti[:3], message.get(11, "")), ()):
                if question.fits(message) and not question.answer.done():
                    question.answer.set_result(message)
                    return None
        self.counters.unmatched += 1
        log.warning("answer.unmatched", link=self.link.name, unproved=code is not None, **summary(message))
        return UNMATCHED if code is None else UNPROVED

    def lose(self, connection: Connection) -> None:
        """A connection is gone: what was asked over it is not answered any more."""
        for question in [one for same_key in self._asked.values() for one in same_key if one.connection is connection]:
            if not question.answer.done():
                question.answer.set_exception(LinkClosed(f"link {self.link.name}: closed before the answer came"))

    def next_stan(self) -> str:
        """A trace number (DE11) for a message of ours, 000001 to 999999 and again."""
        self._stan = self._stan % LAST_STAN + 1
        return f"{self._stan:06d}"

    def settlement_date(self) -> date | None:
        """The partner's day of a message that comes now; None: the business date."""
        if self._today is None or self.link.cut_over is None:
            return None
        return self._partner_day.of(clock.now(), self._today())

    def enters(self) -> None:
        """One more request is on its way to its answer."""
        self.in_flight += 1
        if self.in_flight >= self.link.in_flight_max and not self.turns_away:
            self.turns_away = True
            log.warning("link.full", link=self.link.name, in_flight=self.in_flight)

    def leaves(self) -> None:
        """One less."""
        self.in_flight -= 1
        if self.turns_away:
            self._empties()

    def _empties(self) -> None:
        if self.draining:
            if not self.in_flight:
                self._drained.set()
        elif self.in_flight <= self.link.in_flight_resume:
            self.turns_away = False
            log.warning("link.takes_again", link=self.link.name, in_flight=self.in_flight)

    def note(self, event: str) -> None:
        """Keep a record of a link event without holding up the answer."""
        log.info("link.event", link=self.link.name, link_event=event)
        if self._notes is not None:
            self._notes.add(event)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run WORK beside the messages; finish() waits for it."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def drain(self) -> None:
        """Take no more money messages (they are answered 91) and wait for those that were taken, drain_s at most."""
        self.draining = self.turns_away = True
        self._empties()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), self.link.drain_s)

    async def finish(self) -> None:
        """Close every connection and wait for what runs beside them."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*(connection.end() for connection in list(self.connections)))
        if self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        if self._notes is not None:
            await self._notes.finish()

    def _look(self) -> None:
        """Look at every connection, and again in a while: one timer for all of them, none for a message."""
        now = monotonic()
        for connection in list(self.connections):
            connection.look(now)
        link = self.link
        shortest = min(filter(None, (link.frame_timeout_s, link.idle_close_s, link.asks_after_s)))
        again = min(max(shortest / LOOKS, LOOK_LEAST_S), LOOK_MOST_S)
        self._timer = asyncio.get_running_loop().call_later(again, self._look)
