"""Tests of gateway.store.link_locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.app import open_bank
from gateway.store.link_locks import LINK_LOCKS, LinkLocks
from tests.gateway.owner import as_owner, one_value

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.settings import Settings

HELD = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {LINK_LOCKS}"
END_HOLDERS = f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = {LINK_LOCKS}"


async def test_one_holder_a_link(bank: Bank, bank_settings: Settings) -> None:
    """Within a process and over two; other links are free. When all is given back no lock and no connection is kept."""
    async with open_bank(bank_settings) as other:
        mine, theirs = LinkLocks(bank.database.engine), LinkLocks(other.database.engine)
        async with mine.held("himbara") as first, mine.held("himbara") as again, theirs.held("himbara") as second:
            assert [True, False, False] == [first, again, second]
            async with mine.held("bersama") as third, theirs.held("alto") as fourth:
                assert [True, True] == [third, fourth]
                assert 3 == await one_value(bank, HELD)
        assert 0 == await one_value(bank, HELD)
        async with theirs.held("himbara") as now:
            assert now
        assert (0, 0) == (bank.database.engine.pool.checkedout(), other.database.engine.pool.checkedout())  # type: ignore[attr-defined]


async def test_a_lost_connection_frees_its_locks(bank: Bank, bank_settings: Settings) -> None:
    """The other process has the link at once; giving back what was lost is no error, and the next lock opens a connection."""
    async with open_bank(bank_settings) as other:
        mine, theirs = LinkLocks(bank.database.engine), LinkLocks(other.database.engine)
        async with mine.held("himbara") as first:
            assert first
            await as_owner(bank, END_HOLDERS)
            async with theirs.held("himbara") as second:
                assert second
        async with mine.held("himbara") as again:
            assert again
            async with bank.database.engine.connect() as connection:
                assert 1 == (await connection.execute(text(HELD))).scalar_one()
