"""Tests of gateway.store.batches. Duplicates and routing are tested with gateway.operations.kpm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.operations import kpm
from gateway.operations.bank import reading
from gateway.rules.batch import BatchState
from gateway.store import batches
from tests.gateway.lists import good_rows, write_rows
from tests.gateway.world import CHECKER, MAKER

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_lists_are_read_newest_first(bank: Bank, tmp_path: Path) -> None:
    """A list comes back as it was made, with who decided and why."""
    rows = good_rows(tmp_path, 3)
    for number in (1, 2):
        path = write_rows(tmp_path / f"{number}.csv", rows[:number])
        await kpm.import_list(bank, MAKER, path, f"SK-{number}", bank.business_date)
    await kpm.reject(bank, CHECKER, 1, "wrong month")
    async with reading(bank) as connection:
        newest, oldest = await batches.read_all(connection)
        assert oldest == await batches.read(connection, oldest.id)
        assert ("SK-2", BatchState.PROPOSED, 2, None) == (newest.sk_no, newest.state, newest.rows, newest.checker)
        assert (BatchState.REJECTED, CHECKER, "wrong month") == (oldest.state, oldest.checker, oldest.reason)
        assert list(rows[0]) == oldest.header
        assert await batches.seen_before(connection, "0" * 64) is None
        with pytest.raises(NotFound, match=r"^there is no list 3$"):
            await batches.read(connection, 3)


async def test_rows_are_opened_in_the_order_of_the_list(bank: Bank, tmp_path: Path) -> None:
    """The next rows are the first accepted ones, at most as many as asked for; opened ones do not come again."""
    path = write_rows(tmp_path / "list.csv", good_rows(tmp_path, 5))
    summary = await kpm.import_list(bank, MAKER, path, "SK-1", bank.business_date)
    async with bank.database.engine.begin() as connection:
        found, looked_at = await batches.rows_to_open(connection, summary.batch, bank.business_date, 2)
        assert ([2, 3], 2) == ([row.line for row in found], looked_at)
        await batches.mark_opened(connection, summary.batch, [2, 3], [1, 2])
        found, looked_at = await batches.rows_to_open(connection, summary.batch, bank.business_date, 9)
        assert ([4, 5, 6], 3) == ([row.line for row in found], looked_at)
        await batches.mark_opened(connection, summary.batch, [4, 5, 6], [3, 4, 5])
        assert ([], 0) == await batches.rows_to_open(connection, summary.batch, bank.business_date, 9)
        assert {} == await batches.count(connection, summary.batch)
        assert 5 == (await batches.read(connection, summary.batch)).accepted
