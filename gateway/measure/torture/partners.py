"""What happens between banks: a partner's closed day is what its terminals say, and is paid once, by two people."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from gateway.errors import NotFound, Refused
from gateway.measure.torture import offices
from gateway.measure.torture.invariants import Violated
from gateway.measure.torture.town import CHECKER, LINK, MAKER
from gateway.operations import settlement

if TYPE_CHECKING:
    from gateway.measure.torture.world import World
    from gateway.operations.bank import Bank

DAYS_BACK = (1, 1, 1, 2, 3)


async def settle(world: World) -> str:
    """One of the last days is compared and paid; a day that is paid, or not over, is refused."""
    day = world.today - dt.timedelta(days=world.chance.choice(DAYS_BACK))
    cut = offices.dice_for_a_cut(world)
    if day in world.settled_days:
        await offices.must_refuse(world, lambda bank: settlement.order_payment(bank, MAKER, LINK, day, "AGAIN"))
        return f"{day} is settled already"
    await offices.must_refuse(world, lambda bank: settlement.close_settlement(bank, MAKER, LINK, world.today))
    try:
        found = {one.channel: one.net_idr for one in await settlement.settlement_of(world.home, day, LINK)}
    except NotFound:
        found = {}
    due = world.owed_idr(day)
    if {channel: net for channel, net in found.items() if net} != due:
        raise Violated(f"settlement of {day}: terminals say {due}, the bank {found}")
    if not found:
        return f"nothing to settle for {day}"
    await settlement.order_payment(world.some_process().bank, MAKER, LINK, day, f"ORDER-{world.step}")
    await offices.done(world, cut, lambda bank: _pay(bank, day))
    world.settled_days.add(day)
    for channel, net in due.items():
        world.settled_idr[channel] += net
    return f"{day} is settled: {due}"


async def _pay(bank: Bank, day: dt.date) -> None:
    """Pay, or find it paid by the one that was cut off."""
    try:
        await settlement.pay_settlement(bank, CHECKER, LINK, day)
    except Refused:
        if any(one.state != "PAID" for one in await settlement.settlement_of(bank, day, LINK)):
            raise
