"""A town to torture, on a fresh database of the tests' server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture import offices, run
from gateway.measure.torture.town import open_town

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.measure.torture.world import World
    from gateway.settings import Settings

SEED = 7
FAMILIES = 4


@pytest.fixture
async def town(bank_settings: Settings) -> AsyncIterator[World]:
    """Families with active cards; every one was credited by some list or other."""
    async with open_town(bank_settings, SEED, FAMILIES) as world:
        while not all(family.stages for family in world.real_families()):
            await run.play_step(world, SEED, offices.credit)
        yield world
