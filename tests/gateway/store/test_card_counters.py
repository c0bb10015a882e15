"""Tests of gateway.store.card_counters over PostgreSQL: what is taken, what is told, and who waits for whom."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import product
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.operations.bank import reading
from gateway.rules.chip import ATC_MOST, counter_fault
from gateway.store.card_counters import ChipCounter, DeviceCounter, take_chip_counters, take_device_counters
from gateway.store.lane_connection import LaneConnection
from tests.gateway.world import open_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.operations.bank import Bank

KEY, ONE, TWO = "bdk#1", "FFFF9876543210E00000", "FFFF9876543211000000"
WINDOW = 100
FORGET = text("UPDATE card SET last_atc = :last, atc_open = :opened")
EDGES = (0, 1, 2, 99, 100, 101, 102, 200, 65_534, 65_535)


@asynccontextmanager
async def lane(bank: Bank, number: int) -> AsyncIterator[LaneConnection]:
    """A lane's connection, in a transaction."""
    connection = await LaneConnection.open(bank.database.engine, number)
    try:
        await connection.begin()
        yield connection
    finally:
        await connection.close()


async def last_counters(bank: Bank) -> list[tuple[int | None, bool]]:
    """Each card's last counter, and whether its next one may be any number above."""
    async with reading(bank) as connection:
        return [tuple(row) for row in await connection.execute(text("SELECT last_atc, atc_open FROM card ORDER BY id"))]


async def test_chip_counters_move_as_the_rule_says(bank: Bank, tmp_path: Path) -> None:
    """Every pair of counters at an edge: the statement moves the card exactly where counter_fault finds no fault."""
    families = await open_families(bank, tmp_path, 2)
    cells = bank.row.cells
    cards = [(one.family_id % cells, one.family_id, one.card_id) for one in families]
    async with lane(bank, 0) as connection:
        for last, atc, opened in product((None, *EDGES), EDGES, (False, True)):
            async with bank.database.engine.begin() as outside:
                await outside.execute(FORGET, {"last": last, "opened": opened})
            told = [ChipCounter(*card, atc, WINDOW) for card in reversed(cards)]
            assert [(last, opened)] * 2 == await take_chip_counters(connection, told)
            await connection.commit()
            fault = counter_fault(last, atc, ATC_MOST if opened else WINDOW)
            expected = (last, opened) if fault else (atc, False)
            assert [expected] * 2 == await last_counters(bank)
            await connection.begin()


async def test_cards_are_told_in_their_order(bank: Bank, tmp_path: Path) -> None:
    """Each place of the answer is the place of the question; a card's new counter is not told, but the one before."""
    families = await open_families(bank, tmp_path, 3)
    told = [
        ChipCounter(one.family_id % bank.row.cells, one.family_id, one.card_id, 10 * place, WINDOW)
        for place, one in enumerate(families, 1)
    ]
    async with lane(bank, 0) as connection:
        assert [(None, False)] * 3 == await take_chip_counters(connection, told)
        again = [told[2]._replace(atc=31), told[0], told[1]._replace(atc=500)]
        assert [30, 10, 20] == [last.atc for last in await take_chip_counters(connection, again)]
        await connection.commit()
    assert [10, 20, 31] == [last for last, _ in await last_counters(bank)]


async def test_device_counters_tell_what_was_before(bank: Bank) -> None:
    """The highest of a device counts; one that is not above leaves it; another base key, or version, is another device."""
    async with lane(bank, 0) as connection:
        first = [DeviceCounter(KEY, ONE, 5), DeviceCounter(KEY, TWO, 1), DeviceCounter(KEY, ONE, 7)]
        assert {(KEY, ONE): 0, (KEY, TWO): 0} == await take_device_counters(connection, first)
        assert {(KEY, ONE): 7} == await take_device_counters(connection, [DeviceCounter(KEY, ONE, 6)])
        assert {(KEY, ONE): 7} == await take_device_counters(connection, [DeviceCounter(KEY, ONE, 2**32 - 1)])
        assert {("bdk#2", ONE): 0} == await take_device_counters(connection, [DeviceCounter("bdk#2", ONE, 1)])
        await connection.commit()
        await connection.begin()
        assert {(KEY, ONE): 2**32 - 1} == await take_device_counters(connection, [DeviceCounter(KEY, ONE, 8)])


async def test_what_is_rolled_back_was_not_taken(bank: Bank) -> None:
    """A group that fails leaves its terminals where they were."""
    async with lane(bank, 0) as connection:
        await take_device_counters(connection, [DeviceCounter(KEY, ONE, 5)])
    async with lane(bank, 0) as connection:
        assert {(KEY, ONE): 0} == await take_device_counters(connection, [DeviceCounter(KEY, ONE, 5)])


async def test_lanes_wait_for_each_other_and_do_not_deadlock(bank: Bank) -> None:
    """Two lanes take the same terminals at once, named in opposite order: of each number, one finds it new."""
    names = [f"{number:020X}" for number in range(1, 41)]

    async def take(number: int, devices: list[str], counter: int) -> dict[tuple[str, str], int]:
        async with lane(bank, number) as connection:
            found = await take_device_counters(connection, [DeviceCounter(KEY, one, counter) for one in devices])
            await connection.commit()
            return found

    async with asyncio.timeout(30):
        for counter in range(1, 6):
            one, other = await asyncio.gather(take(0, names, counter), take(1, names[::-1], counter))
            found = [sorted([one[KEY, name], other[KEY, name]]) for name in names]
            assert [[counter - 1, counter]] * len(names) == found
