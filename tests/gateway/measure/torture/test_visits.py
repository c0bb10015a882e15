"""Tests of gateway.measure.torture.visits: every kind of visit, each explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.measure.torture import run, visits

if TYPE_CHECKING:
    from gateway.measure.torture.world import World

EVERY = (
    visits.visit, visits.visit_limited_machine, visits.hold, visits.complete, visits.refund, visits.repeat, visits.forge,
    visits.reverse, visits.reverse_first, visits.wrong_pins, visits.crowd,
)  # fmt: skip


async def test_every_visit(town: World) -> None:
    """Again and again in one town; the whole proof at the end."""
    for _ in range(3):
        for step in EVERY:
            await run.play_step(town, 7, step)
    await run.finish(town, 7)
    kinds = {answer.split()[0] for answer in town.answers}
    assert {"CASH", "PURCHASE", "BALANCE", "HOLD", "COMPLETION", "REFUND", "REVERSAL"} == kinds
    assert {"CASH APPROVED", "CASH PIN_WRONG", "CASH PIN_TRIES_EXCEEDED"} <= set(town.answers)


async def test_nothing_to_speak_of(town: World) -> None:
    """Where no message was sent yet there is nothing to repeat or forge."""
    assert ("nothing to repeat", "nothing to forge") == (await visits.repeat(town), await visits.forge(town))
    assert visits.old_message(town) is None
    sent = visits.keep(town, town.terminals[0].request("CASH", town.members[1].card, 10_000))
    assert sent is visits.old_message(town, "CASH")
    assert visits.old_message(town, "HOLD") is None


async def test_a_crowd_comes_to_every_process(town: World) -> None:
    """And some of its messages come twice."""
    questions = [question for _ in range(5) for question in visits.new_crowd(town)]
    assert set(town.processes) == {process for _, process in questions}
    assert len(questions) > len({id(sent) for sent, _ in questions})
