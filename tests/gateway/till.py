"""A bank whose lanes are asked directly, without TCP: for tests that need every kind of request and the partner's own dates."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.operations.authorise import AuthoriseCommand, Origin
from gateway.operations.lane import Lanes
from gateway.operations.setup import move_business_date
from gateway.rules.authorise import DeclineReason, Request, RequestKind
from gateway.rules.purse import Channel, PurseChoice
from gateway.simulator.pinpad import pinpad_of
from gateway.terminals.links_file import read_links
from tests.gateway.world import MAKER, activate, credit, open_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

    from gateway.operations.authorise import Outcome
    from gateway.operations.bank import Bank
    from gateway.simulator.wallet import Wallet
    from tests.gateway.world import Holder

MTI = dict.fromkeys(RequestKind, "0200") | {
    RequestKind.HOLD: "0100", RequestKind.COMPLETION: "0220", RequestKind.REVERSAL: "0400",
}  # fmt: skip
MCC = {Channel.ATM: "6011", Channel.AGENT: "6012", Channel.EWARONG: "5411"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was decided: what was said, and what a later one needs to name it."""

    kind: RequestKind
    channel: Channel
    amount_idr: int
    card: int
    outcome: Outcome
    origin: Origin

    @property
    def approved(self) -> bool:
        """Whether the answer was yes."""
        return self.outcome.reason is DeclineReason.APPROVED


@dataclass(slots=True)
class Till:
    """Lanes with families before them."""

    bank: Bank
    lanes: Lanes
    families: list[Holder]
    wallet: Wallet
    link: str = "himbara"
    _stan: int = field(default=0)

    async def ask(
        self, kind: RequestKind, amount_idr: int, channel: Channel = Channel.ATM, *, card: int = 0, on: date | None = None,
        merchant: str = "M1", terminal: str = "T1", original: Asked | None = None, kept_idr: int = 0, link: str = "",
    ) -> Asked:  # fmt: skip
        """One request. ON: its settlement date; None: the business date. ORIGINAL: what it reverses, refunds or completes."""
        self._stan += 1
        named = None
        if original is not None:
            named = original.origin.mti[1], original.origin.stan, original.origin.transmitted, "000002"
        origin = Origin(
            link or self.link, MTI[kind], terminal, merchant, "000002", f"{self._stan:06d}", "1123100000", "", named, on,
        )  # fmt: skip
        held, pinpad = self.wallet.cards[card], pinpad_of(self.wallet)
        request = Request(
            kind, channel, MCC[channel], PurseChoice.BY_RULE, amount_idr, self._stan.to_bytes(16), f"000002:{terminal}",
            kept_idr,
        )  # fmt: skip
        command = AuthoriseCommand(
            request, origin, held.pan, bytes.fromhex(pinpad.block(held.pan, held.pin)),
            self.bank.hsm.find(self.wallet.zpk_label), read_links(None).first.response_codes,
        )  # fmt: skip
        answer: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self.lanes.submit(command, answer.set_result)
        outcome = await answer
        assert outcome is not None
        return Asked(kind, channel, amount_idr, card, outcome, origin)

    async def next_day(self) -> date:
        """Move the bank to its next business date."""
        return await move_business_date(self.bank, MAKER, self.bank.business_date + timedelta(days=1))


@asynccontextmanager
async def open_till(bank: Bank, folder: Path, families: int = 2, amount_idr: int = 600_000) -> AsyncIterator[Till]:
    """Families with active cards and AMOUNT_IDR of Sembako each; the bank's date is moved by hand from today on."""
    found = await open_families(bank, folder, families)
    wallet = await activate(bank, found)
    await move_business_date(bank, MAKER, bank.business_date)
    await credit(bank, folder, found, amount_idr)
    lanes = Lanes(bank)
    await lanes.start()
    try:
        yield Till(bank, lanes, found, wallet)
    finally:
        await lanes.close()
