"""Tests of gateway.store.tranches. The clocks are tested with gateway.operations.dormancy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.rules.dormancy import TrancheState
from gateway.store import tranches
from tests.gateway.owner import as_owner, one_value
from tests.gateway.world import credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_candidates_come_by_page_and_age(bank: Bank, tmp_path: Path) -> None:
    """Tranches old enough, with money, unused unless asked for, by clock and id from where the last page ended."""
    families = await open_families(bank, tmp_path, 5)
    await credit(bank, tmp_path, families, 100_000)
    today = bank.business_date
    await as_owner(bank, "UPDATE tranche SET used_on = credited_on WHERE id = 2")
    await as_owner(bank, "UPDATE tranche SET clock_from = clock_from + 1 WHERE id = 3")
    await as_owner(bank, "UPDATE tranche SET available_idr = 0 WHERE id = 4")
    await as_owner(bank, "UPDATE tranche SET state = 'BLOCKED' WHERE id = 5")
    async with bank.database.engine.connect() as connection:

        async def found(*, days: int = 0, used: bool = False, after: int = 0, limit: int = 9) -> list[int]:
            before = today + timedelta(days=days)
            start = (today, after) if after else tranches.FIRST_PAGE
            page = await tranches.candidates(connection, before=before, used_too=used, after=start, limit=limit)
            return [key[2] for key in page.keys]

        assert [1, 5] == await found()
        assert [1, 5, 3] == await found(days=1)
        assert [] == await found(days=-1)
        assert [1, 2, 5] == await found(used=True)
        assert [1] == await found(limit=1)
        assert [5] == await found(after=1)
        assert [5, 3] == await found(days=1, after=1)  # the oldest clock first
        assert [5] == [key[2] for key in await tranches.blocked(connection, "", None)]
        assert [] == await tranches.blocked(connection, "", families[0].account_number)


async def test_tranches_are_moved_and_dated(bank: Bank, tmp_path: Path) -> None:
    """Each step keeps its date; opening again starts the clock there; a notice is written once a date."""
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families, 100_000)
    on = bank.business_date + timedelta(days=90)
    async with bank.database.engine.begin() as connection:
        keys, _ = await tranches.candidates(connection, before=on, used_too=False, after=tranches.FIRST_PAGE, limit=1)
        (one,) = await tranches.lock(connection, keys)
        assert (families[0].region, "SP2D-SI-1", 100_000) == (one.region, one.sp2d_no, one.available_idr)
        await tranches.set_state(connection, [one], TrancheState.BLOCKED, on)
        assert 1 == await tranches.notice(connection, [(one, "BLOCK", 90, 100_000)], on)
        assert 0 == await tranches.notice(connection, [(one, "BLOCK", 90, 100_000)], on)
        await tranches.set_state(connection, [one], TrancheState.OPEN, on + timedelta(days=1))
        assert [] == await tranches.lock(connection, [])
    rows = await as_owner(bank, "SELECT state, blocked_on, clock_from FROM tranche ORDER BY id")
    today = bank.business_date
    assert [("OPEN", on, on + timedelta(days=1)), ("OPEN", None, today)] == [tuple(row) for row in rows]


async def test_a_return_is_made_and_found(bank: Bank) -> None:
    """A debit to RPL stands AT_RPL until its deposit; an unknown one is not found."""
    on = bank.business_date
    async with bank.database.engine.begin() as connection:
        number = await tranches.create_return(connection, 1, "SP2D-1", 5_000, 2, on, "RPL-1")
        assert [number] == [one.id for one in await tranches.returns(connection, "AT_RPL")]
        await tranches.mark_returned(connection, number, on, "SETOR-1")
        await tranches.set_ntpn(connection, number, "N" * 16)
        one = await tranches.lock_return(connection, number)
        assert ("RETURNED", on, "SETOR-1", "N" * 16) == (one.state, one.returned_on, one.deposit_evidence, one.ntpn)
        assert ([], [one]) == (await tranches.returns(connection, "AT_RPL"), await tranches.returns(connection))
        with pytest.raises(NotFound, match=r"^there is no return 99$"):
            await tranches.lock_return(connection, 99)
    assert 1 == await one_value(bank, "SELECT count(*) FROM treasury_return")
