"""All links of one process: opened at start, changed while they work when their file changes, drained and closed at the end.

The file is read as a whole or not at all: a wrong one is refused and the profiles of before go on. A link that did not change is
not touched; one whose wire did not change goes by its new profile from the next message on; one whose wire changed is drained and
opened anew. Read next: line.py (one link at work), links_file.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import GatewayError, NotFound, Refused, SettingsError
from gateway.operations.links import note_link_event, note_links_taken_up
from gateway.terminals.connector import Connector
from gateway.terminals.line import Line
from gateway.terminals.links_file import DEFAULT_FILE, read_links
from gateway.terminals.listener import Listener
from gateway.terminals.needed_keys import lacking
from gateway.terminals.tls import context_of
from gateway.terminals.transaction_log import transaction_log
from iso.errors import LinkClosed
from keys.errors import KeysError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.operations.bank import Bank
    from gateway.operations.lane import Lanes
    from gateway.rules.stand_in import StandInPolicy
    from gateway.terminals.profile import Link
    from iso.message import Message

log = structlog.get_logger(__name__)

LOOK_S = 2.0  # between two looks at the file
SETTLE_S, SETTLINGS = 0.1, 20  # a file that changes is waited for, for a while
NO_KEYS, REFUSED, LISTENING, CONNECTING, CONNECTED, SIGNED_ON, DRAINING = (
    "no keys", "refused", "listening", "connecting", "connected", "signed on", "draining",
)  # fmt: skip


@dataclass(slots=True)
class Place:
    """One link of the file: its profile, and where it is open its line and the side that holds the connections.

    PAPERS: a digest of the files of its TLS. WHY: what keeps it closed; None: nothing. ADDRESS: where it listens or calls.
    """

    link: Link
    context: ssl.SSLContext | None
    digest: str
    papers: bytes = b""
    line: Line | None = None
    side: Listener | Connector | None = None
    address: tuple[str, int] = ("", 0)
    why: str | None = None
    closed: str = REFUSED

    @property
    def state(self) -> str:
        """In one word or two, for people."""
        if self.line is None:
            return self.closed
        if self.line.draining:
            return DRAINING
        if isinstance(self.side, Connector):
            if self.line.signed_on:
                return SIGNED_ON
            if self.line.connections:
                return CONNECTED
            return REFUSED if self.side.refused else CONNECTING
        return LISTENING

    def shown(self) -> dict[str, object]:
        """For the status."""
        line, side = self.line, self.side
        shown: dict[str, object] = {
            "name": self.link.name,
            "role": self.link.role,
            "address": "{}:{}".format(*self.address) if self.address[1] else None,
            "state": self.state,
            "why": side.why if isinstance(side, Connector) else self.why,
            "acquirer": self.link.acquirer,
            "profile": self.digest,
        }
        if line is not None:
            shown |= {
                "connections": len(line.connections),
                "handshakes": side.handshakes if isinstance(side, Listener) else 0,
                "signed_on": line.signed_on,
                "in_flight": line.in_flight,
                "last_message_at": None if line.last_at is None else line.last_at.isoformat(timespec="seconds"),
                "counters": line.counters.shown(),
            }
        if isinstance(side, Connector):
            shown["hosts"] = side.shown()
        return shown


class LinkRoom:
    """Every link of a process. REFUSED: why the file that stands there now was not taken; None: it was. EVENTS: of messages."""

    def __init__(
        self,
        bank: Bank,
        lanes: Lanes,
        errands: Mapping[str, Callable[[Link, Message], Awaitable[Message | None]]] | None = None,
    ) -> None:
        """ERRANDS: who answers a message of that MTI that is not the lanes'.

        Raises SettingsError for a wrong file, Refused where no link of it can be opened for lack of keys.
        """
        self.refused: str | None = None
        self._bank = bank
        self._lanes = lanes
        self._errands = errands
        self.events = transaction_log(bank.settings)
        self._path = bank.settings.links_file or DEFAULT_FILE
        self._host, self._port = bank.settings.host, bank.settings.iso_port
        self._seen = self._file_state()
        self._places = {place.link.name: place for place in self._read()}
        self._leaving: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._looking = asyncio.Lock()
        self._closing = False
        lacks = [lacking(place.link, bank.hsm) for place in self._places.values()]
        if all(lacks):
            raise Refused("; ".join(why for why in lacks if why is not None) or "the keystore has the keys of no link")

    @property
    def places(self) -> list[Place]:
        """Every link, in the order of the file."""
        return list(self._places.values())

    def stand_ins(self) -> dict[str, StandInPolicy]:
        """What links are stood in for while the books are away, by link; of most links nothing."""
        links = [place.link for place in self._places.values()]
        return {link.name: link.stand_in.policy for link in links if link.stand_in is not None}

    @property
    def connections(self) -> int:
        """How many there are, of all links."""
        return sum(len(place.line.connections) for place in self._places.values() if place.line is not None)

    async def start(self) -> None:
        """Open every link whose keys are there; one whose port is taken is tried again later.

        Raises GatewayError where the port of the first link is taken, or no link at all can be opened.
        """
        for number, place in enumerate(self.places):
            await self._open(place)
            if not number and place.line is None and place.closed == REFUSED:
                raise GatewayError(place.why or "")
        if all(place.line is None for place in self.places):
            raise GatewayError("; ".join(place.why or "" for place in self.places))
        await self._record(opened=[place.link.name for place in self.places if place.line is not None])

    async def run(self) -> None:
        """Look at the file each few seconds, or when woken, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.look()
            except (GatewayError, KeysError, OSError) as error:  # a token that is away, say: looked at again
                log.error("links.not_looked_at", error=type(error).__name__)  # noqa: TRY400 - one line

    def wake(self) -> None:
        """Look at the file now, changed or not."""
        self._seen = None
        self._wake.set()

    async def look(self) -> None:
        """Take up the file if it changed and is right; try again to open what could not be opened."""
        async with self._looking:
            if self._file_state() != self._seen or self.refused is not None:
                self._seen = await self._settled()
                await self._take_up()
            for place in self.places:
                if place.line is None and not self._closing:
                    await self._open(place)

    def status(self) -> list[dict[str, object]]:
        """Every link, in the order of the file."""
        return [place.shown() for place in self._places.values()]

    def ready(self, name: str) -> bool:
        """Whether a request of ours can be sent over the link now."""
        place = self._places.get(name)
        return place is not None and place.line is not None and place.line.ready

    async def ask(self, name: str, message: Message, timeout_s: float | None = None) -> Message:
        """Send a request of ours over a link and wait for its answer.

        TIMEOUT_S: the link's answer_timeout_s where it is left out. Raises NotFound for a link there is not, else what Line.ask
        raises.
        """
        place = self._places.get(name)
        if place is None:
            raise NotFound(f"there is no link {name}")
        if place.line is None:
            raise LinkClosed(f"link {name} is not open: {place.why}")
        return await place.line.ask(message, timeout_s)

    async def drain(self) -> None:
        """Take in no more connections and no more money, and wait for what was accepted, drain_s of each link at most."""
        self._closing = True
        for place in self._places.values():
            if isinstance(place.side, Listener):
                place.side.stop()
        await asyncio.gather(*(place.line.drain() for place in self._places.values() if place.line is not None))

    async def close(self) -> None:
        """Sign off where we called, and close every connection."""
        self._closing = True
        await asyncio.gather(*(place.side.close() for place in self._places.values() if place.side is not None))
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self.events is not None:
            self.events.close()

    def _file_state(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size

    async def _settled(self) -> tuple[int, int] | None:
        """The state of a file that nobody is writing just now: half of one may look like a whole one with fewer links."""
        state: tuple[int, int] | None = None
        for _ in range(SETTLINGS):
            before, state = state, self._file_state()
            if before is not None and state == before:
                break
            await asyncio.sleep(SETTLE_S)
        return state

    def _read(self) -> list[Place]:
        """The file's links, closed; not those for trials whose keys the keystore lacks. Raises SettingsError."""
        hsm = self._bank.hsm
        links = read_links(self._bank.settings.links_file)
        return [
            Place(link, context_of(link), digest_of(link), papers_of(link))
            for link in links.link
            if not link.trial or lacking(link, hsm) is None
        ]

    def _check_keys(self, found: list[Place]) -> None:
        """Refuse a file that would close a link that works, for lack of a key. Raises SettingsError."""
        for place in found:
            old = self._places.get(place.link.name)
            why = lacking(place.link, self._bank.hsm)
            if why is not None and old is not None and old.line is not None and old.digest != place.digest:
                raise SettingsError(why)

    async def _take_up(self) -> None:
        try:
            found = self._read()
            self._check_keys(found)
        except (SettingsError, KeysError, OSError) as error:
            if str(error) != self.refused:
                log.error("links.refused", reason=str(error))  # noqa: TRY400 - one line
            self.refused = str(error)
            return
        self.refused = None
        before, self._places = self._places, {}
        opened: list[str] = []
        changed: list[str] = []
        for place in found:
            name = place.link.name
            old = before.pop(name, None)
            if old is not None and old.digest == place.digest:
                self._places[name] = old
                continue
            self._places[name] = place
            (opened if old is None else changed).append(name)
            if old is not None and old.line is not None:
                self._replace(old, place)
        for old in before.values():
            self._leave(old)
        for name in (*opened, *changed):
            await self._open(self._places[name])
        if opened or changed or before:
            log.warning("links.taken_up", opened=opened, changed=changed, closed=sorted(before))
            await self._record(opened=opened, changed=changed, closed=sorted(before))

    def _replace(self, old: Place, new: Place) -> None:
        """Carry the open line over where its wire and the files of its TLS are the same; else let the old one go."""
        if old.line is None or old.papers != new.papers or not old.link.same_wire(new.link):
            new.address = old.address
            self._leave(old)
            return
        old.line.take_up(new.link)
        new.line, new.side, new.address, new.context = old.line, old.side, old.address, old.context

    def _leave(self, place: Place) -> None:
        """Drain a link and close it, beside the others."""
        if place.line is None or place.side is None:
            return
        if isinstance(place.side, Listener):
            place.side.stop()
        task = asyncio.create_task(_drained(place.line, place.side))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _open(self, place: Place) -> None:
        """Open a link that is not; why it cannot be is kept with it."""
        if place.line is not None:
            return
        link = place.link
        why = lacking(link, self._bank.hsm)
        if why is not None:
            self._stays_closed(place, NO_KEYS, why)
            return
        try:
            line = Line(
                link,
                self._lanes,
                self._bank.hsm,
                note=self._note,
                today=lambda: self._bank.business_date,
                errands=self._errands,
                bank=self._bank,
                events=self.events,
            )
        except KeysError as error:
            self._stays_closed(place, NO_KEYS, str(error))
            return
        if link.role == "connect":
            connector = Connector(line, place.context)
            place.address = link.host or "", link.port or 0
            connector.start()
            place.line, place.side = line, connector
        else:
            listener = Listener(line, place.context)
            host, port = self._where(place)
            try:
                place.address = await listener.start(host, port)
            except OSError as error:
                self._stays_closed(
                    place, REFUSED, f"cannot listen for ISO 8583 on {host} port {port}: {error.strerror}"
                )
                return
            place.line, place.side = line, listener
        place.why = None
        log.info("link.open", link=link.name, address="{}:{}".format(*place.address))

    def _stays_closed(self, place: Place, closed: str, why: str) -> None:
        if why != place.why:
            log.error("link.not_open", link=place.link.name, reason=why)
        place.closed, place.why = closed, why

    def _where(self, place: Place) -> tuple[str, int]:
        """Where a listening link listens. What got any free port before keeps it."""
        link = place.link
        port = link.port
        if port is None:
            port = self._port and self._port + link.port_offset
        return link.host or self._host, port or place.address[1]

    async def _note(self, link: str, event: str, times: int) -> None:
        try:
            await note_link_event(self._bank, link, event, times)
        except (
            GatewayError,
            KeysError,
            SQLAlchemyError,
            OSError,
        ) as error:  # the link goes on, and the log has the event
            log.warning("link.event.lost", link=link, error=type(error).__name__)

    async def _record(self, **what: list[str]) -> None:
        profiles = {place.link.name: place.digest for place in self._places.values()}
        try:
            await note_links_taken_up(self._bank, profiles, **what)
        except (GatewayError, KeysError, SQLAlchemyError, OSError) as error:
            log.error("links.not_recorded", profiles=profiles, error=type(error).__name__)  # noqa: TRY400 - one line


async def _drained(line: Line, side: Listener | Connector) -> None:
    await line.drain()
    await side.close()


def digest_of(link: Link) -> str:
    """16 hex digits over a profile and the files of its TLS: what tells two profiles apart in the audit chain."""
    digest = hashlib.sha256(link.model_dump_json().encode())
    digest.update(repr(link.wire).encode())
    digest.update(papers_of(link))
    return digest.hexdigest()[:16]


def papers_of(link: Link) -> bytes:
    """A digest of the files of its TLS, which may be renewed under the same names; empty of plain TCP."""
    if link.tls is None:
        return b""
    paths = (link.tls.certificate, link.tls.key, link.tls.authority)
    files = (b"" if path is None else hashlib.sha256(path.read_bytes()).digest() for path in paths)
    return hashlib.sha256(b"".join(files)).digest()
