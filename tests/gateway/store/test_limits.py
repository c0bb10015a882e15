"""Tests of gateway.store.limits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.operations.bank import reading
from gateway.rules.purse import Channel
from gateway.store import limits
from tests.gateway.past import add_past

if TYPE_CHECKING:
    from gateway.operations.bank import Bank


async def ids(bank: Bank, *, by_account: bool, days_ago: int = 0) -> list[int]:
    """What is replayed up to the bank's date, in order."""
    until = bank.business_date
    async with reading(bank) as connection:
        rows = limits.replayed(connection, until - timedelta(days=days_ago), until, by_account=by_account)
        return [row.id async for row in rows]


async def test_rows_come_by_account_or_by_time(bank: Bank) -> None:
    """A family's together and in order, or everybody's in order; of the span asked for."""
    today = bank.business_date
    await add_past(bank, 5, 100, today, account=17)
    await add_past(bank, 6, 100, today, account=1)
    await add_past(bank, 7, 100, today, account=17)
    await add_past(bank, 3, 100, today - timedelta(days=1), account=17)
    assert [6, 5, 7] == await ids(bank, by_account=True)
    assert [6, 3, 5, 7] == await ids(bank, by_account=True, days_ago=1)
    assert [3, 5, 6, 7] == await ids(bank, by_account=False, days_ago=1)


async def test_what_limits_concern(bank: Bank) -> None:
    """Approved debits, those declined for a limit, and what gave back; no inquiry, no other refusal, no unknown card."""
    today = bank.business_date
    await add_past(bank, 1, 100, today)
    await add_past(bank, 2, 70, today, reason="LIMIT", limits=(1, 2), limit=2)
    await add_past(bank, 3, 60, today, kind="REVERSAL", of=1)
    await add_past(bank, 4, 50, today, kind="PURCHASE", channel="EWARONG", terminal="SHOP0001")
    await add_past(bank, 5, 50, today, reason="INSUFFICIENT_FUNDS")
    await add_past(bank, 6, 0, today, kind="BALANCE")
    await add_past(bank, 7, 50, today, account=0, reason="CARD_UNKNOWN")
    await add_past(bank, 8, 50, today, kind="REVERSAL", reason="ORIGINAL_UNKNOWN", of=99)
    await add_past(bank, 9, 40, today, kind="HOLD", kept_idr=0)
    await add_past(bank, 10, 30, today, kind="COMPLETION", of=9)
    async with reading(bank) as connection:
        rows = [row async for row in limits.replayed(connection, today, today, by_account=True)]
        assert rows == await limits.of_account(connection, 1, 1, today, today)
        assert [] == await limits.of_account(connection, 2, 2, today, today)
    told = [(row.id, row.kind, row.approved, row.original_key, row.amount_idr, row.amounts_idr) for row in rows]
    assert [
        (1, "CASH", True, None, 100, {2: 100}),
        (2, "CASH", False, None, 70, {}),
        (3, "REVERSAL", True, b"1", 60, {2: 60}),
        (4, "PURCHASE", True, None, 50, {2: 50}),
        (9, "HOLD", True, None, 40, {2: 40}),
        (10, "COMPLETION", True, b"9", 30, {2: 30}),
    ] == told
    assert (Channel.EWARONG, "000200:SHOP0001", b"4", None) == (
        rows[3].channel, rows[3].terminal, rows[3].key, rows[3].limit_id,
    )  # fmt: skip
    assert 2 == rows[1].limit_id


async def test_an_authorisation_with_its_limits(bank: Bank) -> None:
    """Found by its number in whichever cell it is; one that is not there is said so."""
    await add_past(bank, 8, 100, bank.business_date, account=29, limits=(1, 3), limit=3)
    async with reading(bank) as connection:
        found = await limits.judged(connection, 8, bank.row.cells)
        with pytest.raises(NotFound, match=r"^there is no authorisation 9$"):
            await limits.judged(connection, 9, bank.row.cells)
    assert (13, 29, None, (1, 3), 3, "000200:ATM00001") == (
        found.cell, found.account_id, found.account_number, found.limit_ids, found.limit_id, found.terminal,
    )  # fmt: skip


async def test_limits_in_words(bank: Bank) -> None:
    """Each row of the table by its number."""
    async with reading(bank) as connection:
        known = await limits.stored(connection)
    assert ["cash-month", "atm-transaction", "atm-day", "cash-count-day"] == [one.name for one in known.values()]
    month = known[1]
    assert ("CARD", "MONTH", ("AGENT", "ATM"), None, None, 5_000_000, None, None) == (
        month.per, month.period, month.channels, month.programme, month.terminal, month.max_amount_idr, month.max_count,
        month.valid_to,
    )  # fmt: skip
