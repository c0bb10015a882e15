"""Whoever waits for a lock decides by what stands there when it has the lock, not by what it read before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.operations import correction
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street
from tests.gateway.world import CHECKER, MAKER

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

LOCK_ACCOUNT = text("SELECT 1 FROM account FOR UPDATE")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_correction_and_a_partial_reversal(bank: Bank, tmp_path: Path) -> None:
    """Both wait for the account; the reversal, second, gives back what the correction has left of it."""
    async with open_street(bank, tmp_path) as street:
        holder = street.families[0]
        paid = await street.atm.withdraw(street.card, 100_000)
        transfer = await one_value(bank, "SELECT transfer_ids[1] FROM authorisation")
        owner = create_async_engine(bank.database.url)
        async with owner.begin() as connection:
            await connection.execute(LOCK_ACCOUNT)
            correcting = asyncio.ensure_future(
                correction.take_back(bank, MAKER, CHECKER, holder.account_number, transfer, "booked twice", 30_000)
            )
            await _until_waiting(bank, 1)
            reversing = asyncio.ensure_future(street.atm.reverse(paid, kept_idr=50_000))
            await _until_waiting(bank, 2)
        await owner.dispose()
        assert (30_000, "00") == ((await correcting).amount_idr, (await reversing).code)
        assert AID_IDR - 50_000 == await available_idr(bank, holder.family_id)
        taken = await as_owner(bank, "SELECT reversed_idr, kept_idr FROM authorisation WHERE kind = 'CASH'")
        assert [(50_000, [50_000])] == [tuple(row) for row in taken]
    await assert_proved(bank)


async def _until_waiting(bank: Bank, sessions: int) -> None:
    for _ in range(1_000):
        if await one_value(bank, WAITING) >= sessions:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(f"no {sessions} sessions wait for a lock")
