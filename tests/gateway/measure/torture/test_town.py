"""Tests of gateway.measure.torture.town: the model's notices say what the bank's policy says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.measure.torture import invariants
from gateway.measure.torture.town import CEILINGS, PROGRAMMES, hand_over
from gateway.operations import card as cards
from gateway.operations.bank import reading
from gateway.store import policy

if TYPE_CHECKING:
    from gateway.measure.torture.ceilings import Ceiling
    from gateway.measure.torture.world import World
    from gateway.rules.limits import LimitRule


async def test_the_policy_of_the_town(town: World) -> None:
    """Programmes, clocks and limits of the bank are those that the model knows."""
    async with reading(town.home) as connection:
        known = await policy.programmes(connection, town.today)
        clocks = {one.programme: one for one in await policy.clock_policies(connection)}
        limits = await policy.limit_rules(connection)
    assert {(one.code, one.purse, one.available_after_days) for one in PROGRAMMES} == {
        (one.code, one.purse.value, one.available_after_days) for one in known.values()
    }
    for one in PROGRAMMES:
        clock = clocks.get(known[one.code].number, clocks[None])
        assert (one.block_days, one.return_days, one.partly_used) == (
            clock.block_days,
            clock.return_days,
            clock.partly_used,
        )
    numbers = {known[one.code].number: one.code for one in PROGRAMMES}
    assert sorted(map(_ceiling, CEILINGS), key=str) == sorted((_limit(one, numbers) for one in limits), key=str)


def _ceiling(one: Ceiling) -> tuple[object, ...]:
    channels = None if one.channels is None else sorted(one.channels)
    return one.period, channels, one.programme, one.terminal, one.max_amount_idr, one.max_count


def _limit(one: LimitRule, codes: dict[int, str]) -> tuple[object, ...]:
    channels = None if one.channels is None else sorted(channel.value for channel in one.channels)
    programme = None if one.programme is None else codes[one.programme]
    return one.period.value, channels, programme, one.terminal, one.max_amount_idr, one.max_count


async def test_everybody_is_ready(town: World) -> None:
    """Two processes, terminals, and for each family an active card that the model knows by its number."""
    assert (2, 8, 4) == (len(town.processes), len(town.terminals), len(town.members))
    books = await invariants.read(town.home, sorted(town.members))
    for member in town.members.values():
        assert member.number == town.holder_of[member.card.pan.reveal()]
        assert {member.card_id: ("ACTIVE", 3)} == books[member.number].cards


async def test_a_new_card(town: World) -> None:
    """The old number stays the family's, so that its messages can still be reversed."""
    member = town.members[1]
    before = member.card.pan.reveal()
    new = await cards.replace(town.home, "branch", member.card_id, "worn")
    await hand_over(town, town.home, member, new.id)
    assert (new.id, 1, 1) == (member.card_id, town.holder_of[before], town.holder_of[member.card.pan.reveal()])
    assert {before, member.card.pan.reveal()} == set(town.families[1].cards)
