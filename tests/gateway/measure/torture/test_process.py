"""Tests of gateway.measure.torture.process: processes that answer, die, and leave nothing half done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.measure.torture import visits
from gateway.measure.torture.process import Process

if TYPE_CHECKING:
    from gateway.measure.torture.world import World


async def test_any_process_answers_any_card(town: World) -> None:
    """And a stopped one has answered what it accepted."""
    questions = [visits.new_request(town) for _ in range(12)]
    third = await Process.start(town.settings, town.home.database.url)
    asking = [asyncio.ensure_future(third.ask(sent)) for sent in questions]
    await asyncio.sleep(0)
    await third.stop()
    answers = await asyncio.gather(*asking)
    assert None not in answers
    await town.settle(list(zip(questions, answers, strict=True)))
    assert await third.ask(questions[0]) is None


async def test_a_killed_process_answers_nobody(town: World) -> None:
    """Its connections are gone from PostgreSQL when kill() returns, and what it did or did not do is found out."""
    third = await Process.start(town.settings, town.home.database.url)
    questions = [visits.new_request(town) for _ in range(6)]
    asking = [asyncio.ensure_future(third.ask(sent)) for sent in questions]
    await asyncio.sleep(0.002)
    grave = await third.kill()
    answers = await asyncio.gather(*asking)
    assert None in answers
    await town.settle(list(zip(questions, answers, strict=True)))
    await grave
    assert not third.wire.folder.exists()
