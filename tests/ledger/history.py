"""A seeded history of a small bank, told to PostgreSQL and to the books in memory at once."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from ledger import book
from ledger.book import NewTranche
from ledger.chart import Control
from ledger.posting import Account, Kind, Source, Transfer
from tests.ledger.model import DAY, FAMILIES, PARTNERS, PROGRAMMES, Books, Taken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection


class History:
    """One run of errands with dice of its own."""

    def __init__(self, connection: AsyncConnection, seed: int) -> None:
        self.connection = connection
        self.dice = Random(seed)
        self.books = Books()
        self.told: set[str] = set()
        self.credited_by: dict[int, int] = {}  # tranche id -> its credit's transfer id

    async def begin(self) -> None:
        """Money of both programmes arrives, and every family is credited once."""
        for programme in PROGRAMMES:
            await self._post(self.books.fund(programme, 1_000_000))
            await self._credit([(account, programme) for account in FAMILIES])

    async def play(self, steps: int) -> None:
        """STEPS errands, each one that is possible where the bank stands."""
        errands = (self._more_credit, self._take, self._take, self._hold, self._undo_debit, self._undo_hold, self._freeze,
                   self._thaw, self._return, self._correct, self._settle)  # fmt: skip
        for _ in range(steps):
            await self.dice.choice(errands)()
            self.books.check()

    async def _more_credit(self) -> None:
        await self._credit([(self.dice.choice(FAMILIES), self.dice.choice(PROGRAMMES))])

    async def _take(self) -> None:
        account, amount = self._somebody()
        if amount:
            kind = self.dice.choice([Kind.WITHDRAWAL, Kind.PURCHASE])
            ids = await self._post(transfers := self.books.spend(account, amount, kind, self.dice.choice(PARTNERS)))
            pairs = zip(transfers, ids, strict=True)
            self.books.debits[-1].transfers = {t.tranche_id: number for t, number in pairs if t.tranche_id is not None}

    async def _hold(self) -> None:
        account, amount = self._somebody()
        if amount:
            await self._post(self.books.hold(account, amount, self.dice.choice(PARTNERS)))

    async def _undo_debit(self) -> None:
        if debit := self._unfinished(self.books.debits):
            await self._post(self.books.reverse(debit, self._part(debit.left_idr)))

    async def _undo_hold(self) -> None:
        if held := self._unfinished(self.books.holds):
            errand = self.dice.choice([self.books.release, self.books.capture])
            await self._post(errand(held, self._part(held.left_idr)))

    async def _freeze(self) -> None:
        if stages := [stage for stage in self.books.stages if self.books.part(stage).available_idr]:
            await self._post(self.books.freeze(self.dice.choice(stages)))

    async def _thaw(self) -> None:
        if stages := [stage for stage in self.books.stages if self.books.part(stage).frozen_idr]:
            stage = self.dice.choice(stages)
            errand = self.dice.choice([self.books.unfreeze, self.books.to_rpl])
            await self._post(errand(stage, self._part(self.books.part(stage).frozen_idr)))

    async def _return(self) -> None:
        for programme in PROGRAMMES:
            if there := self.books.control(Control.RPL, programme):
                await self._post(self.books.return_to_treasury(programme, self._part(there)))

    async def _settle(self) -> None:
        owed = self.dice.choice(PARTNERS)
        if self.books.control(owed):
            await self._post(self.books.settle(owed))

    async def _credit(self, whom: Sequence[tuple[Account, int]]) -> None:
        new = []
        for account, programme in whom:
            amount = self.dice.randint(1, 900)
            transfers = self.books.credit(account, programme, amount)
            self.books.apply(transfers)
            on = transfers[0].source.business_date
            new.append(new_tranche(account, len(self.books.stages), programme, amount, on=on))
        ids = await book.credit(self.connection, new)
        self.credited_by |= {one.id: number for one, number in zip(new, ids, strict=True)}
        self.told.add(Kind.CREDIT)

    async def _correct(self) -> None:
        if stages := [stage for stage in self.books.stages if self.books.part(stage).available_idr]:
            stage = self.dice.choice(stages)
            left = self.books.part(stage).available_idr
            await self._post(self.books.correct_credit(stage, self.credited_by[stage.id], self._part(left)))

    async def _post(self, transfers: list[Transfer]) -> list[int]:
        self.books.apply(transfers)
        self.told |= {transfer.kind for transfer in transfers}
        return await book.post(self.connection, transfers)

    def _somebody(self) -> tuple[Account, int]:
        account = self.dice.choice(FAMILIES)
        total = sum(draw.amount_idr for draw in self.books.available(account))
        return account, self._part(total) if total else 0

    def _unfinished(self, of: list[Taken]) -> Taken | None:
        found = [one for one in of if one.left_idr]
        return self.dice.choice(found) if found else None

    def _part(self, total: int) -> int:
        return self.dice.choice([total, self.dice.randint(1, total)])


def new_tranche(
    account: Account, number: int, programme: int, amount_idr: int, stage: str | None = None, on: date = DAY
) -> NewTranche:
    """A tranche with papers."""
    return NewTranche(
        account.cell, account.id, number, programme, stage or f"STAGE-{number}", ["2026-11"], 1, number, "SP2D-1", "1271070001",
        on, on, amount_idr,
    )  # fmt: skip


def source(number: int = 1) -> Source:
    """What caused a transfer of a test."""
    return Source("authorisation", number, DAY)
