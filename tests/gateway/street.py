"""A bank with its service running and a street of simulated terminals in front of it, for tests over real TCP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway import clock
from gateway.app import run_service
from gateway.operations import proof
from gateway.operations.bank import reading
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import TerminalKind
from iso.codec import decode, encode
from iso.dialect import HIMBARA
from iso.framing import HIMBARA_FRAMING, Deframer
from tests.gateway.world import activate, credit, open_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.app import Service
    from gateway.operations.bank import Bank
    from gateway.simulator.pinpad import PinPad
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard, Wallet
    from iso.dialect import Dialect
    from iso.message import Message
    from tests.gateway.world import Holder

AID_IDR = 600_000
TIMEOUT_S = 20.0


@dataclass(slots=True)
class Street:
    """The service and what stands in front of it: an ATM, an agent and an e-Warong on one signed-on switch."""

    bank: Bank
    service: Service
    families: list[Holder]
    wallet: Wallet
    pinpad: PinPad
    switch: Switch
    atm: Terminal
    agent: Terminal
    shop: Terminal

    @property
    def card(self) -> TestCard:
        """The first family's card."""
        return self.wallet.cards[0]

    def new_switch(self, dialect: Dialect = HIMBARA) -> Switch:
        """Another connection."""
        host, port = self.service.iso_address
        return Switch(host, port, clock=clock.now, dialect=dialect, timeout_s=TIMEOUT_S)

    def terminal(self, kind: TerminalKind, number: int, first_stan: int) -> Terminal:
        """Another terminal on the switch."""
        return self.switch.terminal(self.pinpad, kind, number, first_stan=first_stan)


@asynccontextmanager
async def open_street(bank: Bank, folder: Path, families: int = 1, amount_idr: int = AID_IDR) -> AsyncIterator[Street]:
    """Families with active cards and AMOUNT_IDR of Sembako each, and the service listening. 0: no money."""
    found = await open_families(bank, folder, families)
    wallet = await activate(bank, found)
    if amount_idr:
        await credit(bank, folder, found, amount_idr)
    async with run_service(bank, jobs=False) as service, stand_before(bank, service, wallet, found) as street:
        yield street


@asynccontextmanager
async def stand_before(bank: Bank, service: Service, wallet: Wallet, families: list[Holder]) -> AsyncIterator[Street]:
    """Terminals in front of a service that runs already."""
    pinpad = pinpad_of(wallet)
    host, port = service.iso_address
    async with Switch(host, port, clock=clock.now, timeout_s=TIMEOUT_S) as switch:
        atm = switch.terminal(pinpad, TerminalKind.ATM, 1)
        agent = switch.terminal(pinpad, TerminalKind.AGENT, 2, first_stan=100_000)
        shop = switch.terminal(pinpad, TerminalKind.EWARONG, 3, first_stan=200_000)
        yield Street(bank, service, families, wallet, pinpad, switch, atm, agent, shop)


async def available_idr(bank: Bank, account_id: int) -> int:
    """What the ledger says a family can spend."""
    async with reading(bank) as connection:
        return int((await connection.execute(AVAILABLE, {"id": account_id})).scalar_one())


async def tranches_idr(bank: Bank, account_id: int) -> list[int]:
    """What is left of each of a family's tranches, oldest first."""
    async with reading(bank) as connection:
        return list((await connection.execute(TRANCHES, {"id": account_id})).scalars())


async def reasons(bank: Bank) -> list[str]:
    """Why each authorisation was decided as it was, in order of decision."""
    async with reading(bank) as connection:
        return list((await connection.execute(REASONS)).scalars())


async def assert_proved(bank: Bank) -> None:
    """Every proof of ledger and audit chain holds; since the last closed day too, where there is one."""
    checks = [*await proof.prove_ledger(bank), *await proof.verify_audit(bank)]
    if await proof.proven_from(bank) is not None:
        checks += await proof.prove_ledger(bank, incremental=True)
    assert [] == [f"{check.name}: {check.detail}" for check in checks if not check.ok]


class RawLink:
    """A bare TCP connection: bytes in, messages out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._deframer = Deframer(HIMBARA_FRAMING)
        self._ready: list[bytes] = []

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> Message:
        """The next message. Raises ConnectionError where the other side has closed."""
        async with asyncio.timeout(TIMEOUT_S):
            while not self._ready:
                data = await self.reader.read(65_536)
                if not data:
                    raise ConnectionError("closed")
                self._ready += self._deframer.feed(data)
        return decode(self._ready.pop(0), HIMBARA)


@asynccontextmanager
async def raw_link(service: Service) -> AsyncIterator[RawLink]:
    """A bare connection to the service."""
    reader, writer = await asyncio.open_connection(*service.iso_address)
    try:
        yield RawLink(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def framed(message: Message) -> bytes:
    """A message with its length header, as it goes on the wire."""
    return HIMBARA_FRAMING.frame(encode(message, HIMBARA))


AVAILABLE = text("SELECT coalesce(sum(available_idr), 0) FROM purse WHERE account_id = :id")
TRANCHES = text("SELECT available_idr FROM tranche WHERE account_id = :id ORDER BY credited_on, id")
REASONS = text("SELECT reason FROM authorisation ORDER BY decided_at, id")
