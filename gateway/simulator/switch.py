"""A switch: one connection to the bank that many terminals share, with sign-on, echo and sign-off.

Knows network management (0800) and nothing of cards. Read next: terminal.py; iso/client.py matches answers with requests.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from gateway.simulator.errors import WrongArpc, WrongMac
from gateway.simulator.exchange import Exchange, ask
from gateway.simulator.profile import HIMBARA_PROFILE, Profile
from gateway.simulator.rawline import RawLine
from gateway.simulator.terminal import Terminal, TerminalKind
from iso.client import LinkClient
from iso.dialect import HIMBARA, Dialect, Encoding, Kind
from iso.errors import LinkClosed, SignOnRefused
from iso.mac import mac_field
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from gateway.simulator.capture import Capture
    from gateway.simulator.journal import TerminalJournal
    from gateway.simulator.pinpad import Pad


_LETTERS = MappingProxyType({TerminalKind.ATM: "A", TerminalKind.AGENT: "G", TerminalKind.EWARONG: "W"})


class NetworkCode(StrEnum):
    """DE70."""

    SIGN_ON = "001"
    SIGN_OFF = "002"
    KEY_CHANGE = "101"
    CUT_OVER = "201"
    ECHO = "301"


@cache
def careless(dialect: Dialect) -> Dialect:
    """Like DIALECT, but lets a broken terminal put any character into a field that is written as text."""
    written = (Encoding.TEXT, Encoding.HEX)
    fields = (replace(one, kind=Kind.ANSB) if dialect.encoding_of(one) in written else one for one in dialect.fields)
    return replace(dialect, name="careless", fields=tuple(fields))


CARELESS = careless(HIMBARA)
"""The careless one of himbara."""


class SealingClient(LinkClient):
    """A link client that gives its requests the MAC of its profile, wants answers proved, and writes both into a capture."""

    def __init__(
        self, host: str, port: int, profile: Profile, *, timeout_s: float, capture: Capture | None = None
    ) -> None:
        super().__init__(host, port, profile.dialect, profile.framing, timeout_s=timeout_s)
        self._profile = profile
        self._capture = capture

    async def request(self, message: Message, *, again: bool = False) -> Message:
        """Send `message` with its MAC and wait for its answer. Raises WrongMac and WrongArpc too, which are LinkErrors."""
        return self._proved(message, await self._exchanged(self._profile.sealed(message), again=again), needs_mac=True)

    async def request_unsealed(self, message: Message, *, again: bool = False) -> Message:
        """Send `message` as it is. Its answer may lack a MAC, but not have a wrong one."""
        return self._proved(message, await self._exchanged(message, again=again), needs_mac=False)

    async def _exchanged(self, message: Message, *, again: bool) -> Message:
        if self._capture is None:
            return await super().request(message, again=again)
        self._capture.sent(message)
        answer = await super().request(message, again=again)
        self._capture.received(answer)
        return answer

    def _proved(self, message: Message, answer: Message, *, needs_mac: bool) -> Message:
        """ANSWER, where its MAC is right and the card that was asked with believes it."""
        profile = self._profile
        if (needs_mac or mac_field(answer) in answer.fields) and not profile.mac_is_right(answer):
            raise WrongMac(f"the answer to {message.mti} has no MAC, or a wrong one")
        if profile.reader is not None and (fault := profile.reader.fault(message, answer)):
            raise WrongArpc(fault)
        return answer


class Switch:
    """One connection. As a context it connects, signs on, and signs off at the end. `acquirer`: another than the profile's."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        clock: Callable[[], datetime],
        profile: Profile = HIMBARA_PROFILE,
        acquirer: str = "",
        dialect: Dialect | None = None,
        timeout_s: float = 30.0,
        capture: Capture | None = None,
    ) -> None:
        self.profile = profile if dialect is None else replace(profile, dialect=dialect)
        self.client = SealingClient(host, port, self.profile, timeout_s=timeout_s, capture=capture)
        self._address = host, port
        self._timeout_s = timeout_s
        self._clock = clock
        self._acquirer = acquirer or profile.acquirer

    async def __aenter__(self) -> Self:
        """Connect and sign on. Raises LinkError, SignOnRefused among them; the connection is closed then."""
        await self.connect()
        exchange = await self.sign_on()
        if not exchange.approved:
            await self.close()
            raise SignOnRefused(exchange.code) if exchange.code else LinkClosed(exchange.failure)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sign off where the link still stands, and close."""
        if self.client.connected and kind is None:
            await self.sign_off()
        await self.close()

    def now(self) -> datetime:
        """What the clock of its terminals says, UTC."""
        return self._clock()

    async def connect(self) -> None:
        """Connect without signing on. Raises LinkClosed or LinkTimeout."""
        await self.client.connect()

    async def close(self) -> None:
        """Close the connection. Twice is allowed."""
        await self.client.close()

    async def sign_on(self) -> Exchange:
        """0800 with DE70 001."""
        return await self.network(NetworkCode.SIGN_ON)

    async def sign_off(self) -> Exchange:
        """0800 with DE70 002."""
        return await self.network(NetworkCode.SIGN_OFF)

    async def echo(self) -> Exchange:
        """0800 with DE70 301."""
        return await self.network(NetworkCode.ECHO)

    async def network(self, code: str) -> Exchange:
        """0800 with any DE70."""
        return await ask(self.client, self.network_message(code), self.profile.amount_exponent)

    def network_message(self, code: str) -> Message:
        """The 0800 itself."""
        stan = self.client.next_stan()
        return Message("0800", {7: f"{self._clock():%m%d%H%M%S}", 11: stan, 70: str(code)})

    def raw_line(self) -> RawLine:
        """A second connection to the same place, for bytes as they are; not open yet."""
        return RawLine(*self._address, self.profile.framing, timeout_s=self._timeout_s)

    def terminal(
        self,
        pinpad: Pad,
        kind: TerminalKind,
        number: int,
        *,
        first_stan: int = 1,
        record: TerminalJournal | None = None,
        reads: bool = True,
    ) -> Terminal:
        """A terminal on this connection, named after its kind and number. `reads`: whether its card reader works."""
        letter = _LETTERS[kind]
        terminal_id, merchant_id = f"{letter}{number:07d}", f"SIM{letter}{number:011d}"
        return Terminal(
            self.client,
            pinpad.for_terminal(),
            kind,
            terminal_id,
            merchant_id,
            self._acquirer,
            clock=self._clock,
            profile=self.profile,
            first_stan=first_stan,
            record=record,
            reads=reads,
        )
