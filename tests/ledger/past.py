"""A seeded history told step by step, each in a transaction of its own, with days closed on the way: what was can be replayed."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from ledger import days
from tests.ledger.effects import TrancheDelta, effects
from tests.ledger.history import History
from tests.ledger.model import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from ledger.days import ClosedDay
    from ledger.posting import Account, Transfer

NOW = text("SELECT clock_timestamp()")


class Past:
    """Plays a history. INSTANTS: moments after each step, with how many transfers the journal had then."""

    def __init__(self, engine: AsyncEngine, history: History, close_chance: float) -> None:
        self.engine = engine
        self.history = history
        self.close_chance = close_chance
        self.instants: list[tuple[datetime, int]] = []
        self.closed: list[ClosedDay] = []

    @property
    def journal(self) -> list[Transfer]:
        """Every transfer, in the order it was posted."""
        return self.history.books.journal

    @property
    def today(self) -> date:
        """The business date of the newest transfer."""
        return DAY + timedelta(days=self.history.books.steps // 10)

    async def play(self, steps: int) -> None:
        """STEPS errands; now and then the days before the newest transfer are closed."""
        for _ in range(steps):
            async with self.engine.begin() as connection:
                self.history.connection = connection
                await (self.history.play(1) if self.instants else self.history.begin())
            async with self.engine.connect() as connection:
                self.instants.append(((await connection.execute(NOW)).scalar_one(), len(self.journal)))
            if self.history.dice.random() < self.close_chance:
                await self.close_until(self.today - timedelta(days=1))

    async def close_until(self, last: date) -> None:
        """Close every open day up to a date."""
        async with self.engine.connect() as connection:
            on = await days.first_to_close(connection, DAY)
        while on <= last:
            self.closed.append(await close_day(self.engine, on))
            on += timedelta(days=1)

    def until(self, on: date) -> list[Transfer]:
        """The transfers of a business date and before."""
        return [one for one in self.journal if one.source.business_date <= on]


async def close_day(engine: AsyncEngine, on: date, actor: str = "siti") -> ClosedDay:
    """Lock and close one day, in the two transactions that it takes."""
    async with engine.begin() as connection:
        await days.lock(connection, on, actor)
    async with engine.begin() as connection:
        return await days.close(connection, on)


async def played(engine: AsyncEngine, seed: int, steps: int, close_chance: float = 0.3) -> Past:
    """A past of so many steps."""
    async with engine.connect() as connection:
        past = Past(engine, History(connection, seed), close_chance)
    await past.play(steps)
    return past


def tranches_of(account: Account, transfers: Iterable[Transfer]) -> dict[int, TrancheDelta]:
    """Replay: what each tranche of an account holds after some transfers."""
    return {key[2]: part for key, part in effects(transfers).tranches.items() if key[:2] == (account.cell, account.id)}


def controls_after(transfers: Iterable[Transfer]) -> dict[int, int]:
    """Replay: what each control account holds after some transfers."""
    found: defaultdict[int, int] = defaultdict(int)
    for one in transfers:
        for account, amount in ((one.credit, one.amount_idr), (one.debit, -one.amount_idr)):
            if account < 10_000:
                found[account] += amount
    return dict(found)
