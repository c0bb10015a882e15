"""Everything that can happen in a day, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.measure.torture import crashes, offices, partners, visits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.measure.torture.world import World

    Step = Callable[[World], Awaitable[str]]

WEIGHTS: dict[Step, int] = {
    visits.visit: 22,
    visits.visit_limited_machine: 3,
    visits.repeat: 8,
    visits.forge: 2,
    visits.reverse: 9,
    visits.reverse_first: 2,
    visits.wrong_pins: 2,
    visits.hold: 3,
    visits.complete: 6,
    visits.refund: 4,
    visits.crowd: 10,
    offices.credit: 7,
    offices.block_card: 3,
    offices.unlock_cards: 1,
    offices.replace_card: 2,
    offices.unblock_aid: 2,
    offices.release_holds: 1,
    offices.correct_payment: 3,
    offices.correct_credit: 1,
    offices.exclude: 1,
    partners.settle: 3,
    crashes.kill_process: 3,
    crashes.restart_process: 1,
    crashes.cut_at_commit: 4,
    crashes.cut_all: 2,
    crashes.end_sessions: 2,
    crashes.kill_server: 1,
}


def choose(world: World) -> Step:
    """What happens next."""
    return world.chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
