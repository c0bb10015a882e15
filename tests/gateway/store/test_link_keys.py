"""Tests of gateway.store.link_keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.rules.key_turns import Turn
from gateway.store import link_keys
from gateway.store.link_keys import Came

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

AT = datetime(2026, 11, 28, 1, 2, 3, 4, tzinfo=UTC)
LATER = AT + timedelta(seconds=5)
TURN = Turn("zak", 2, "himbara", AT, 60, 3_600)
DIGEST, OTHER = bytes(32), bytes(range(32))


async def test_a_version_from_its_block_to_its_end(engine: AsyncEngine) -> None:
    """Pending, used once, over; its block is known for good."""
    async with engine.begin() as connection:
        assert None is await link_keys.came(connection, "zak", DIGEST)
        assert await link_keys.begin(connection, TURN, DIGEST, AT)
        assert [TURN] == await link_keys.turns(connection)
        assert Came("zak", 2, pending=True) == await link_keys.came(connection, "zak", DIGEST)
        await link_keys.uses(connection, "zak", 2, AT)
        await link_keys.uses(connection, "zak", 2, LATER)
        assert [replace(TURN, used_at=AT)] == await link_keys.turns(connection)
        assert Came("zak", 2, pending=False) == await link_keys.came(connection, "zak", DIGEST)
        await link_keys.ends(connection, "zak", 2, LATER)
        assert [] == await link_keys.turns(connection)
        assert Came("zak", 2, pending=False) == await link_keys.came(connection, "zak", DIGEST)
        assert None is await link_keys.came(connection, "zak", OTHER)


async def test_what_came_to_nothing_may_come_again(engine: AsyncEngine) -> None:
    """The block is forgotten, and the version's number is another's."""
    async with engine.begin() as connection:
        assert await link_keys.begin(connection, TURN, DIGEST, AT)
        await link_keys.comes_to_nothing(connection, "zak", 2, LATER)
        assert ([], None) == (await link_keys.turns(connection), await link_keys.came(connection, "zak", DIGEST))
        again = replace(TURN, link="other", came_at=LATER, overlap_s=0, pending_s=1)
        assert await link_keys.begin(connection, again, OTHER, AT)
        assert [again] == await link_keys.turns(connection)
        assert (None, Came("zak", 2, pending=True)) == (
            await link_keys.came(connection, "zak", DIGEST), await link_keys.came(connection, "zak", OTHER),
        )  # fmt: skip


async def test_a_number_that_another_block_has(engine: AsyncEngine) -> None:
    """A change that is under way is not written over; one that was cut off long ago is, and so is one of the same block."""
    later = replace(TURN, came_at=LATER)
    async with engine.begin() as connection:
        assert await link_keys.begin(connection, TURN, DIGEST, AT)
        assert not await link_keys.begin(connection, later, OTHER, AT)
        assert [TURN] == await link_keys.turns(connection)
        assert await link_keys.begin(connection, later, DIGEST, AT)
        assert [later] == await link_keys.turns(connection)
        assert not await link_keys.begin(connection, TURN, OTHER, LATER)
        assert await link_keys.begin(connection, TURN, OTHER, LATER + timedelta(seconds=1))
        assert [TURN] == await link_keys.turns(connection)


async def test_a_block_is_known_by_the_key_it_was_for(engine: AsyncEngine) -> None:
    """Whoever sends a block of another link over his own does not hide what became of it there."""
    async with engine.begin() as connection:
        assert await link_keys.begin(connection, TURN, DIGEST, AT)
        assert await link_keys.begin(connection, replace(TURN, label="other", version=9, came_at=LATER), DIGEST, AT)
        assert Came("zak", 2, pending=True) == await link_keys.came(connection, "zak", DIGEST)
        assert Came("other", 9, pending=True) == await link_keys.came(connection, "other", DIGEST)
        assert None is await link_keys.came(connection, "third", DIGEST)


async def test_turns_are_in_order(engine: AsyncEngine) -> None:
    """By label and version, those that are over left out."""
    async with engine.begin() as connection:
        wanted = [replace(TURN, label=label, version=version) for label, version in (("a", 1), ("a", 3), ("b", 2))]
        for number, turn in enumerate(reversed([*wanted, replace(TURN, label="c")])):
            assert await link_keys.begin(connection, turn, bytes([number]) * 32, AT)
        await link_keys.ends(connection, "c", 2, LATER)
        assert wanted == await link_keys.turns(connection)
