"""Twin of gateway.store.holds: which holds lapse, and that they are read as they are once their accounts are locked."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.store import holds
from tests.gateway.street import open_street

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_only_open_holds_past_their_day_lapse(bank: Bank, tmp_path: Path) -> None:
    """By id, a page at a time; one that was completed meanwhile is read as nothing."""
    async with open_street(bank, tmp_path, families=3) as street:
        held = [await street.shop.hold(card, 100_000) for card in street.wallet.cards]
        later = bank.business_date + timedelta(days=8)
        async with bank.database.engine.begin() as connection:
            assert [] == await holds.lapsed(connection, later - timedelta(days=1), 0, 10)
            first = await holds.lapsed(connection, later, 0, 2)
            rest = await holds.lapsed(connection, later, first[-1][1], 2)
        assert (2, 1) == (len(first), len(rest))
        await street.shop.complete(held[0], 100_000)
        async with bank.database.engine.begin() as connection:
            found = await holds.lock(connection, [*first, *rest])
            await holds.close(connection, found)
        assert [100_000] * 2 == [sum(draw.amount_idr for draw in one.left) for one in found]
        async with bank.database.engine.begin() as connection:
            assert [] == await holds.lapsed(connection, later, 0, 10)
            await connection.rollback()
