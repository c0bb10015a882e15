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


async def test_chunks_are_taken_once_and_in_order(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of a chunk that may be opened are told to one taker; its families are given up with that."""
    monkeypatch.setattr(kpm, "CHUNK", 2)
    path = write_rows(tmp_path / "list.csv", good_rows(tmp_path, 5))
    summary = await kpm.import_list(bank, MAKER, path, "SK-1", bank.business_date)
    async with bank.database.engine.begin() as connection:
        assert {2: 2, 4: 2, 6: 1} == await batches.chunks_to_open(connection, summary.batch)
        assert {"SEMBAKO"} == await batches.programmes_named(connection, summary.batch)
        assert await batches.families_of(connection, summary.batch, 4) is not None
        assert [4, 5] == await batches.take_chunk(connection, summary.batch, 4, bank.business_date)
        assert await batches.families_of(connection, summary.batch, 4) is None
        assert [] == await batches.take_chunk(connection, summary.batch, 4, bank.business_date)
        await batches.mark_opened(connection, summary.batch, [4, 5], [1, 2])
        assert {2: 2, 6: 1} == await batches.chunks_to_open(connection, summary.batch)
        assert {} == await batches.count(connection, summary.batch)
        assert 5 == (await batches.read(connection, summary.batch)).accepted
        assert [2, 3, 6] == sorted(await batches.other_outcomes(connection, summary.batch, (2, 6)))
