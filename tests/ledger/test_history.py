"""Twin of ledger.history: what was at any instant and date is what a replay of the journal says, whatever was closed since."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ledger import history
from ledger.chart import Control
from ledger.posting import Account
from tests.ledger.model import DAY, FAMILIES
from tests.ledger.past import controls_after, played, tranches_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ledger.history import TrancheBalance
    from tests.ledger.effects import TrancheDelta


def phases(found: list[TrancheBalance]) -> dict[int, tuple[int, int, int]]:
    """Balances by tranche."""
    return {one.tranche_id: (one.available_idr, one.held_idr, one.frozen_idr) for one in found}


def replayed(parts: dict[int, TrancheDelta]) -> dict[int, tuple[int, int, int]]:
    """What a replay says, in the same shape."""
    return {number: (one.available_idr, one.held_idr, one.frozen_idr) for number, one in parts.items()}


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_any_instant_and_any_date_are_what_a_replay_says(engine: AsyncEngine, seed: int) -> None:
    """Every family after every step and at the end of every day; every control account too, on whatever checkpoint it stands."""
    past = await played(engine, seed, 45)
    assert past.closed
    dates = [DAY + timedelta(days=day) for day in range(-1, (past.today - DAY).days + 2)]
    async with engine.connect() as connection:
        for account in FAMILIES:
            for at, posted in past.instants:
                expected = replayed(tranches_of(account, past.journal[:posted]))
                assert expected == phases(await history.tranches_at(connection, account, at))
            for on in dates:
                expected = replayed(tranches_of(account, past.until(on)))
                assert expected == phases(await history.tranches_on(connection, account, on))
        for on in dates:
            balances = controls_after(past.until(on))
            for control in Control:
                expected_control = {n % 1_000: amount for n, amount in balances.items() if n // 1_000 == control}
                assert expected_control == await history.control_on(connection, control, on)


@pytest.mark.parametrize("seed", [5, 6])
async def test_movements_lead_from_the_opening_to_the_closing_balance(engine: AsyncEngine, seed: int) -> None:
    """For any span: the balance of the day before, and the movements in their order, end at the balance of the last day."""
    past = await played(engine, seed, 40, close_chance=0.1)
    async with engine.connect() as connection:
        for account in FAMILIES:
            for first in range((past.today - DAY).days + 1):
                start, end = DAY + timedelta(days=first), DAY + timedelta(days=first + first % 3)
                running = phases(await history.tranches_on(connection, account, start - timedelta(days=1)))
                moves = await history.movements(connection, account, start, end)
                for move in moves:
                    before = running.get(move.tranche_id, (0, 0, 0))
                    change = (move.available_idr, move.held_idr, move.frozen_idr)
                    running[move.tranche_id] = tuple(map(sum, zip(before, change, strict=True)))  # type: ignore[assignment]
                    assert min(running[move.tranche_id]) >= 0
                assert phases(await history.tranches_on(connection, account, end)) == running
                assert sorted(moves, key=lambda move: (move.business_date, move.posted_at, move.id)) == moves
    total = sum(one.account_id > 0 for one in past.journal)
    async with engine.connect() as connection:
        found = [await history.movements(connection, account, DAY, past.today) for account in FAMILIES]
    assert total == sum(map(len, found))


async def test_an_account_that_does_not_exist_has_no_past(engine: AsyncEngine) -> None:
    """Nothing is known of it."""
    async with engine.connect() as connection:
        assert [] == await history.tranches_on(connection, Account(1, 999), DAY)
        assert [] == await history.movements(connection, Account(1, 999), DAY, DAY)


async def test_what_was_detached_is_not_guessed(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """Balances begin at the opening ones; a moment before them is refused, and so are single transfers of those months."""
    past = await played(engine, 7, 30, close_chance=0.0)
    last = DAY.replace(day=30)
    await past.close_until(last)
    async with superuser.begin() as connection:
        await connection.execute(text("SELECT carry_month(CAST(:day AS date))"), {"day": DAY})
        await connection.execute(text("ALTER TABLE transfer DETACH PARTITION transfer_2026_11"))
    async with engine.connect() as connection:
        for account in FAMILIES:
            expected = replayed(tranches_of(account, past.journal))
            assert expected == phases(await history.tranches_on(connection, account, last))
        for control in Control:
            balances = controls_after(past.journal)
            expected_control = {n % 1_000: amount for n, amount in balances.items() if n // 1_000 == control}
            assert expected_control == await history.control_on(connection, control, last + timedelta(days=3))
        gone = "the journal up to 2026-11-30 is in the archive"
        with pytest.raises(history.HistoryGone, match=gone):
            await history.tranches_on(connection, FAMILIES[0], last - timedelta(days=1))
        with pytest.raises(history.HistoryGone, match=gone):
            await history.movements(connection, FAMILIES[0], last, last)
        with pytest.raises(history.HistoryGone, match=gone):
            await history.control_on(connection, Control.RPL, DAY)
        with pytest.raises(history.HistoryGone, match=gone):
            await history.tranches_at(connection, FAMILIES[0], past.instants[0][0].replace(year=2026, month=11, day=3))
