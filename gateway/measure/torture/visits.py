"""What happens at terminals: single visits, repeats, forged keys, reversals of every kind, holds, and crowds.

Each function is one step: it throws the dice, asks, settles, and says in a line what it did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.measure.torture.oracle import REMEMBERED_DAYS
from gateway.measure.torture.terminals import RESTAURANT, other_content
from gateway.simulator.terminal import TerminalKind
from gateway.simulator.wallet import strangers

if TYPE_CHECKING:
    from gateway.measure.torture.process import Process
    from gateway.measure.torture.terminals import Sent, TerminalPost
    from gateway.measure.torture.world import World

AMOUNTS_IDR = (10_000, 10_000, 20_000, 20_000, 50_000, 50_000, 100_000, 100_000, 150_000, 200_000, 300_000, 600_000)
LATELY = 20
WRONG_PIN_SHARE = 0.12
STRANGER_SHARE = 0.03
PARTIAL_SHARE = 0.4
JUST_NOW_SHARE = 0.5
LIMITED_MACHINE = 7  # its place among the terminals: nobody stands there in a crowd, since its limit is everybody's
CROWD_FAMILIES = (1, 3)
CROWD_EACH = (2, 3)


async def visit(world: World) -> str:
    """One message of one family at one terminal."""
    sent = new_request(world)
    await world.settle(await world.put([(sent, world.some_process())]))
    return str(sent)


async def repeat(world: World) -> str:
    """A message that was sent before comes again, at any process; sometimes at every process at once."""
    sent = old_message(world)
    if sent is None:
        return "nothing to repeat"
    everywhere = world.chance.random() < PARTIAL_SHARE
    processes = world.processes if everywhere else [world.some_process()]
    await world.settle(await world.put((sent, process) for process in processes))
    return f"again{' everywhere' if everywhere else ''}: {sent}"


async def forge(world: World) -> str:
    """The key of an old message with another amount."""
    sent = old_message(world, "CASH", "PURCHASE", "HOLD", "COMPLETION", "REFUND")
    if sent is None:
        return "nothing to forge"
    forged = other_content(sent, sent.said.amount_idr + 10_000)
    await world.settle(await world.put([(forged, world.some_process())]))
    return f"other content: {forged}"


async def visit_limited_machine(world: World) -> str:
    """A family at the ATM that pays out so much a day and no more, whoever asks."""
    amount = world.chance.choice(AMOUNTS_IDR)
    sent = world.terminals[LIMITED_MACHINE].request("CASH", world.some_member().card, amount)
    await world.settle(await world.put([(sent, world.some_process())]))
    return str(sent)


async def reverse(world: World) -> str:
    """A reversal, whole or in part, of a message that was approved or declined, held or completed, once or again."""
    original = old_message(world, "CASH", "PURCHASE", "HOLD", "COMPLETION", "REFUND")
    if original is None:
        return "nothing to reverse"
    sent = new_reversal(world, original)
    await world.settle(await world.put([(sent, world.some_process())]))
    return str(sent)


async def reverse_first(world: World) -> str:
    """A reversal overtakes its original; the original must never be paid."""
    original = new_request(world, kinds=("CASH", "PURCHASE", "HOLD"), remember=False)
    sent = new_reversal(world, original)
    process, other = world.some_process(), world.some_process()
    await world.settle(await world.put([(sent, process)]))
    await world.settle(await world.put([(original, other)]))
    return f"{sent}, and then {original}"


async def wrong_pins(world: World) -> str:
    """Wrong PINs up to the lock and beyond, then the right one."""
    member = world.some_member()
    post = world.chance.choice(world.terminals[:4])
    for right in (False, False, False, True):
        sent = post.request("CASH", member.card, 10_000, pin_right=right)
        await world.settle(await world.put([(sent, world.some_process())]))
    return f"wrong PINs of family {member.number}"


async def hold(world: World) -> str:
    """Money is set aside."""
    sent = new_request(world, kinds=("HOLD",))
    await world.settle(await world.put([(sent, world.some_process())]))
    return str(sent)


async def complete(world: World) -> str:
    """A hold, often one just made, is completed: all of it, a part, or more than there is."""
    original = await _just_now(world, "HOLD") or old_message(world, "HOLD")
    if original is None:
        return "nothing to complete"
    sent = new_completion(world, original)
    await world.settle(await world.put([(sent, world.some_process())]))
    return str(sent)


async def refund(world: World) -> str:
    """Goods, often just bought, are brought back: all, some, or more than were bought."""
    original = await _just_now(world, "PURCHASE") or old_message(world, "PURCHASE", "COMPLETION")
    if original is None:
        return "nothing to refund"
    amount = world.chance.choice((original.said.amount_idr, 10_000, original.said.amount_idr + 10_000))
    sent = keep(world, original.terminal.request("REFUND", original.card, amount, original=original))
    await world.settle(await world.put([(sent, world.some_process())]))
    return str(sent)


async def crowd(world: World) -> str:
    """Many at once, at every process: the same cards, the same messages twice, reversals beside their originals."""
    questions = new_crowd(world)
    await world.settle(await world.put(questions))
    return "crowd: " + "; ".join(str(sent) for sent, _ in questions)


def new_crowd(world: World) -> list[tuple[Sent, Process]]:
    """Messages of a few families and the processes they come to; some come twice."""
    questions = []
    for _ in range(world.chance.randint(*CROWD_FAMILIES)):
        member = world.some_member()
        for _ in range(world.chance.randint(*CROWD_EACH)):
            sent = new_request(world, number=member.number)
            questions.append((sent, world.some_process()))
            if world.chance.random() < PARTIAL_SHARE:
                questions.append((sent, world.some_process()))
        if world.chance.random() < PARTIAL_SHARE and sent.said.kind in ("CASH", "PURCHASE", "HOLD"):
            questions.append((new_reversal(world, sent), world.some_process()))
    world.chance.shuffle(questions)
    return questions


def new_request(world: World, kinds: tuple[str, ...] = (), number: int | None = None, *, remember: bool = True) -> Sent:
    """A request of a family at a terminal that fits what is asked."""
    chance = world.chance
    post = chance.choice(world.terminals[:LIMITED_MACHINE])
    usual = ("PURCHASE", "PURCHASE", "HOLD", "BALANCE") if _is_shop(post) else ("CASH", "CASH", "CASH", "BALANCE")
    kind = chance.choice([one for one in kinds if one in usual] or [one for one in usual if not kinds] or ["HOLD"])
    member = world.some_member() if number is None else world.members[number]
    card = member.card
    if chance.random() < STRANGER_SHARE:
        card = next(strangers([member.card], chance))
    purse = chance.choice(("BY_RULE", "BY_RULE", "BY_RULE", "CASH", "FOOD"))
    amount = 0 if kind == "BALANCE" else chance.choice(AMOUNTS_IDR)
    sent = post.request(kind, card, amount, pin_right=chance.random() >= WRONG_PIN_SHARE, purse=purse)
    return keep(world, sent) if remember else sent


def new_reversal(world: World, original: Sent) -> Sent:
    """A reversal of ORIGINAL, whole or leaving a part taken."""
    partly = world.chance.random() < PARTIAL_SHARE
    kept = world.chance.choice((10_000, original.said.amount_idr // 2, original.said.amount_idr)) if partly else 0
    return keep(world, original.terminal.reversal(original, kept))


def new_completion(world: World, original: Sent) -> Sent:
    """A completion of a hold: of all, of a part, or of more."""
    whole = original.said.amount_idr
    amount = world.chance.choice((whole, whole, 10_000, whole // 2, whole + 10_000))
    return keep(world, original.terminal.request("COMPLETION", original.card, amount, original=original))


def old_message(world: World, *kinds: str) -> Sent | None:
    """One of the last messages, of these kinds; none where there is none, or it is too old for a terminal to speak of."""
    place = world.chance.randrange(LATELY)
    fitting = [one for one in world.sent if not kinds or one.said.kind in kinds]
    if not fitting:
        return None
    sent = fitting[-1 - place % len(fitting)]
    return sent if (world.today - sent.on).days <= REMEMBERED_DAYS else None


def keep(world: World, sent: Sent) -> Sent:
    """Remember a message, so that it can be repeated, reversed or completed later."""
    world.sent.append(sent)
    return sent


async def _just_now(world: World, kind: str) -> Sent | None:
    """Half of the time a new request that is in order, at a shop that takes food aid."""
    member, amount = world.some_member(), world.chance.choice(AMOUNTS_IDR)
    post = world.chance.choice([post for post in world.terminals if _is_shop(post) and post.mcc != RESTAURANT])
    if world.chance.random() < JUST_NOW_SHARE:
        return None
    sent = keep(world, post.request(kind, member.card, amount))
    await world.settle(await world.put([(sent, world.some_process())]))
    return sent


def _is_shop(post: TerminalPost) -> bool:
    return post.kind is TerminalKind.EWARONG
