"""Tests of gateway.store.settlement: which rows of which dates count, and where."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.operations.bank import reading
from gateway.operations.decision_rows import OWED_TO
from gateway.rules.authorise import RequestKind
from gateway.rules.purse import Channel
from gateway.store import settlement
from gateway.store.lane_connection import LANE_LOCK
from tests.gateway.owner import as_owner
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

CASH, REVERSAL = RequestKind.CASH, RequestKind.REVERSAL
ONE_DAY = timedelta(days=1)


def test_each_channel_is_owed_where_authorisations_book_it() -> None:
    """The control accounts of settlements are those of the lanes."""
    assert {channel.value: control for channel, control in OWED_TO.items()} == settlement.OWED


async def test_both_business_dates_of_a_settlement_date_count(bank: Bank, tmp_path: Path) -> None:
    """What came after the cut-over of the day before, and the day itself, are one date; other dates and links are not."""
    async with open_till(bank, tmp_path) as till:
        today = bank.business_date
        await till.ask(CASH, 1_000)
        await till.ask(CASH, 20_000, on=today + ONE_DAY)
        await till.ask(CASH, 300_000, link="bersama", on=today + ONE_DAY)
        await till.next_day()
        await till.ask(CASH, 40_000)
        await till.ask(CASH, 5_000, on=today + ONE_DAY * 2)
        async with reading(bank) as connection:
            found = await settlement.read_open(connection, today, today + ONE_DAY * 2, "himbara")
            assert [(today, 1_000), (today + ONE_DAY, 60_000), (today + ONE_DAY * 2, 5_000)] == [
                (one.settlement_date, one.net_idr) for one in found
            ]
            assert ["bersama", "himbara"] == await settlement.links_seen(connection, today + ONE_DAY)
            assert ["himbara"] == await settlement.links_seen(connection, today)
            assert [] == await settlement.links_seen(connection, today - ONE_DAY)
            assert None is await settlement.span(connection)


async def test_what_waited_over_midnight_belongs_to_the_new_date(bank: Bank, tmp_path: Path) -> None:
    """A message that came before midnight and is decided after it is settled on the date on which it is booked."""
    async with open_till(bank, tmp_path) as till:
        await till.ask(CASH, 1_000, on=bank.business_date - ONE_DAY)
        async with reading(bank) as connection:
            (found,) = await settlement.read_open(connection, bank.business_date - ONE_DAY, bank.business_date)
        assert (bank.business_date, 1_000) == (found.settlement_date, found.net_idr)


async def test_a_reversal_whose_original_is_gone_counts_by_its_own_row(bank: Bank, tmp_path: Path) -> None:
    """Where the month of the original is no longer there, channel and merchant are those kept with the reversal."""
    async with open_till(bank, tmp_path) as till:
        today = bank.business_date
        cash = await till.ask(CASH, 50_000, Channel.AGENT, merchant="A", terminal="T")
        await till.next_day()
        await till.ask(REVERSAL, 50_000, Channel.EWARONG, merchant="B", terminal="U", original=cash)
        await as_owner(bank, "DELETE FROM authorisation WHERE business_date = :on", on=today)
        async with reading(bank) as connection:
            (found,) = await settlement.read_open(connection, today, today + ONE_DAY)
        assert ("AGENT", 4000, 1, -50_000) == (found.channel, found.control, found.reversals, found.net_idr)


async def test_a_draw_over_several_tranches_is_counted_once(bank: Bank, tmp_path: Path) -> None:
    """One withdrawal of two tranches is one withdrawal of the sum."""
    from tests.gateway.world import credit  # noqa: PLC0415 - only here

    async with open_till(bank, tmp_path, 1, 50_000) as till:
        await credit(bank, tmp_path, till.families, 60_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        asked = await till.ask(CASH, 80_000)
        await till.ask(REVERSAL, 80_000, original=asked, kept_idr=10_000)
        async with reading(bank) as connection:
            (found,) = await settlement.read_open(connection, bank.business_date, bank.business_date)
        assert (1, 80_000, 1, 70_000) == (
            found.withdrawals, found.withdrawals_idr, found.reversals, found.reversals_idr,
        )  # fmt: skip


async def test_closing_waits_for_the_group_that_is_being_decided(bank: Bank) -> None:
    """As long as a lane holds its lock the wait goes on; when it commits it ends."""
    engine = bank.database.engine
    async with engine.connect() as lane, engine.connect() as closer:
        await lane.begin()
        await lane.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LANE_LOCK + bank.row.lanes - 1})")
        waiting = asyncio.create_task(settlement.let_lanes_pass(closer, bank.row.lanes))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        await lane.commit()
        await asyncio.wait_for(waiting, 10)
