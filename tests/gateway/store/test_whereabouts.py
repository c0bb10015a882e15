"""Tests of gateway.store.whereabouts: what is added up, and that older months are left alone."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.operations.bank import reading
from gateway.store import whereabouts
from gateway.store.trace import by_index
from ledger.chart import Control
from tests.gateway.aid_story import AID_IDR, live_through

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_what_is_added_up(bank: Bank, tmp_path: Path) -> None:
    """Rows by outcome, what families have, and what went where, of one SI and no other."""
    await live_through(bank, tmp_path)
    async with reading(bank) as connection:
        rows = await whereabouts.decided(connection, 1)
        standing = await whereabouts.standing(connection, 1, bank.business_date)
        assert standing.first is not None
        flows = await whereabouts.flows(connection, 1, standing.first, 5)
        as_a_whole = await whereabouts.flows(connection, 1, standing.first, whereabouts.LOOKED_UP_MAX + 1)
        assert None is (await whereabouts.standing(connection, 9, bank.business_date)).first
        assert [] == await whereabouts.decided(connection, 9)
    assert [("TOPUP_GAGAL", "NAME_MISMATCH", 1, AID_IDR), ("TOPUP_SUKSES", None, 4, AID_IDR * 4)] == rows
    assert (460_000, 0, 0, 0, 0) == standing[:5]
    assert sorted(flows, key=repr) == sorted(as_a_whole, key=repr)
    gone: dict[tuple[int, str], int] = defaultdict(int)
    for one in flows:
        gone[one.control, one.source] += one.amount_idr
    assert {
        (Control.ATM_SETTLEMENT, "authorisation"): 150_000,
        (Control.AGENT_PAYABLE, "authorisation"): 450_000,
        (Control.EWARONG_PAYABLE, "authorisation"): 140_000,
        (Control.RPL, "treasury_return"): AID_IDR * 2,
    } == gone
    assert [("treasury_return", 1)] == [(one.source, one.source_id) for one in flows if one.source_id is not None]
    assert {("himbara", None)} == {(one.link, one.source_id) for one in flows if one.source == "authorisation"}


async def test_months_before_the_first_credit_are_not_opened(bank: Bank, tmp_path: Path) -> None:
    """The plan of the one statement that reads the journal has no partition older than it asks for."""
    await live_through(bank, tmp_path)
    async with reading(bank) as connection:
        await by_index(connection)
        values = {"si": 1, "since": bank.business_date}
        plan = "\n".join((await connection.execute(text(f"EXPLAIN {whereabouts.FLOWS.text}"), values)).scalars())
    assert f"transfer_{bank.business_date:%Y_%m}" in plan
    assert "_2026_11" not in plan


async def test_how_the_journal_is_read(bank: Bank, tmp_path: Path) -> None:
    """By key for a small SI; for a large one whole months are hashed, and never is a million rows looked up one by one."""
    await live_through(bank, tmp_path)
    explain = text(f"EXPLAIN {whereabouts.FLOWS.text}")
    async with reading(bank) as connection:
        await by_index(connection)
        values = {"si": 1, "since": bank.business_date}
        small = "\n".join((await connection.execute(explain, values)).scalars())
        await connection.execute(whereabouts.BY_HASH)
        large = "\n".join((await connection.execute(explain, values)).scalars())
    assert (False, False) == ("Seq Scan" in small, "Hash" in small)
    assert "Hash Join" in large
    assert "Seq Scan on transfer_" in large
