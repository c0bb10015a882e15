"""Keys that a partner changes over its link: a TR-31 block under the ZMK of both becomes the next version of a key of the link.

No person of the bank takes part. What stands for the two of a ceremony is the ZMK: two custodians entered it, and only who has it
can make a block that opens. The version is PENDING until it is first used (gateway.rules.key_turns); older ones go on for the
overlap and are then retired. Each step is in the audit chain as an act of the link. The block is remembered before its key is
taken in: a change that was cut off ends when the partner sends the same block again, and no block is taken in twice.
Refuses to know messages. Read next: ceremony.py, gateway/terminals/security.py, docs/keys/ceremony.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.operations import ceremony
from gateway.operations.bank import reading
from gateway.operations.custody import ENDED, take_up_keys
from gateway.rules.key_turns import CHANGES_MOST, Due, Turn
from gateway.store import ceremonies
from gateway.store import link_keys as stored
from keys.errors import KeyBlockError, KeyRefused, KeysError
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyState, KeyUsage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank
    from keys.keytypes import KeyHandle, KeyInfo

MAC_USAGES = (KeyUsage.MAC_CBC, KeyUsage.MAC_RETAIL, KeyUsage.MAC_CMAC)
MAC_LENGTHS = range(4, 9)
"""Bytes of a MAC of a link: DE64 and DE128 hold eight."""
CUT_OFF_AFTER = timedelta(minutes=1)
"""A block whose key has not come by then was cut off before it came."""
TRY_AGAIN_AFTER = timedelta(minutes=1)
_USAGE = slice(5, 7)
"""Where the header of a TR-31 block says the usage of its key."""
_WORKS = (KeyState.ACTIVE, KeyState.SUSPENDED)
SENDING = "send"
"""The act by which a key that the bank offers (link_key_offers.py) is let out."""
_PEOPLE = (*(act for act in ceremony.MAKING if act != "exchange"), "form", SENDING)


class NotNow(Refused):
    """The bank's own keystore or token is at fault, and not what the partner sent."""


@dataclass(frozen=True, slots=True)
class Zone:
    """What may be changed over one link: by labels, with the profile's times in seconds. None: nothing of that kind.

    FIELD: where a message has the block, and its answer the check value. CODE: DE70 of a change that we ask for.
    """

    link: str
    master_key: str
    pin_key: str | None
    pin_algorithm: Algorithm
    mac_key: str | None
    overlap_s: int
    pending_s: int
    field: int = 48
    code: str = "161"


async def change(bank: Bank, zone: Zone, block: str) -> KeyInfo:
    """Take in the key of a block of a partner: it waits for its first use. The same block again, before that, is the same key.

    Raises Refused where the block is not authentic, its key is not for this link, or was here before, and where the link has
    asked too often; NotNow where it is not the partner's fault.
    """
    async with bank.key_change:
        usage, label = kind_of(zone, block)
        digest = digest_of(block)
        await take_up(bank)  # first: another process's key is never known before it is known that it waits
        take_up_keys(bank)
        async with reading(bank) as connection:
            before = await stored.came(connection, label, digest)
        if before is not None and (before.label, before.version) in _names(bank, label):
            return await _again(bank, zone, before)
        if not bank.key_turns.may_change(zone.link, bank.now()):
            raise Refused(f"link {zone.link} has brought {CHANGES_MOST} keys within an hour, which is the most")
        info = await _first(bank, zone, block, digest, _spec(bank, zone, usage, label), label)
        bank.key_turns.changed(zone.link, bank.now())
        return info


async def take_up(bank: Bank) -> None:
    """Know, in a process that has just opened the bank, which versions wait for their first use."""
    async with reading(bank) as connection:
        bank.key_turns.know(await stored.turns(connection))


async def look(bank: Bank) -> None:
    """Write first uses, end what is over, drop what nobody used; and know what other processes did. Of the watch, each second."""
    async with bank.key_change:
        for turn in bank.key_turns.first_uses(bank.now()):
            await _trying(bank, turn, write_first_use(bank, turn))
        await take_up(bank)
        for turn, due in bank.key_turns.due(bank.now()):
            await _trying(bank, turn, _end_older(bank, turn) if due is Due.END_OLDER else drop(bank, turn, due))


def digest_of(block: str) -> bytes:
    """What a block is remembered by: SHA-256."""
    return hashlib.sha256(block.encode()).digest()


def kind_of(zone: Zone, block: str) -> tuple[KeyUsage, str]:
    """The usage that a block says its key has, and the label of the link's key of that usage. Raises Refused where none is."""
    try:
        usage = KeyUsage(block[_USAGE])
    except ValueError:
        raise Refused("the key block says no usage that is known here") from None
    label = zone.pin_key if usage is KeyUsage.PIN_ENCRYPTION else zone.mac_key if usage in MAC_USAGES else None
    if label is None:
        raise Refused(f"a key of usage {usage.value} is not changed over link {zone.link}")
    return usage, label


def _spec(bank: Bank, zone: Zone, usage: KeyUsage, label: str) -> KeySpec:
    """What the next version must be: what the bank needs of it and no more, padding and length of the MAC as they were."""
    newest = next((bank.hsm.info(key) for key in bank.hsm.versions(label)), None)
    attributes = newest.attributes if newest is not None and newest.usage is usage else None
    if usage is KeyUsage.PIN_ENCRYPTION:
        return KeySpec(usage, zone.pin_algorithm, KeyMode.DECRYPT, attributes=attributes, state=KeyState.PRE_ACTIVE)
    return KeySpec(usage, mode=KeyMode.GENERATE_AND_VERIFY, attributes=attributes, state=KeyState.PRE_ACTIVE)


async def _first(bank: Bank, zone: Zone, block: str, digest: bytes, spec: KeySpec, label: str) -> KeyInfo:
    """Take in a block that has not come before. It is remembered first, under the version that its key will have."""
    turn = await begin(bank, zone, label, digest)
    version = turn.version

    def take() -> KeyHandle:
        handle = _import(bank, zone, label, block, spec)
        bank.key_turns.know_one(replace(turn, version=handle.version))  # before it works: nothing is made under it
        return _let_work(bank, handle)

    try:
        info = await _exchange(bank, zone, label, take)
    except Refused:
        await over(bank, turn)
        raise
    if info.version != version:  # somebody brought in a version at the same moment
        await _begin(bank, replace(turn, version=info.version), digest)
        await _write(bank, lambda connection: stored.comes_to_nothing(connection, *turn.key, bank.now()))
        bank.key_turns.forget(turn.key)
    return info


async def begin(bank: Bank, zone: Zone, label: str, digest: bytes) -> Turn:
    """The turn of a label's next version, whose block is remembered from now on. Raises NotNow."""
    version = max((key.version for key in bank.hsm.versions(label)), default=0) + 1
    turn = Turn(label, version, zone.link, bank.now(), zone.overlap_s, zone.pending_s)
    await _begin(bank, turn, digest)
    return turn


async def _begin(bank: Bank, turn: Turn, digest: bytes) -> None:
    async with bank.database.engine.begin() as connection:
        if not await stored.begin(connection, turn, digest, bank.now() - CUT_OFF_AFTER):
            raise NotNow(f"another change of {turn.label} is under way")


async def _again(bank: Bank, zone: Zone, before: stored.Came) -> KeyInfo:
    """A block that came before: the answer may have been lost, or the change was cut off. Used or ended, it is refused."""
    handle = bank.hsm.version(before.label, before.version)
    info = bank.hsm.info(handle)
    waits = before.pending and (handle.label, handle.version) not in bank.key_turns.unwritten
    if not waits or info.state in ENDED:
        raise Refused(f"the key block came before: it is {info.name}")
    async with reading(bank) as connection:
        if await ceremonies.done_by(connection, info.name, _PEOPLE):
            raise Refused(f"{info.name} was brought in by people, or is offered by the bank")
        if info.state is KeyState.ACTIVE and await ceremonies.done_by(connection, info.name, ("exchange",)):
            return info
    try:
        return await _exchange(bank, zone, before.label, lambda: _let_work(bank, handle))
    except Refused:
        if bank.hsm.info(handle).state in ENDED:
            await _write(bank, lambda connection: stored.ends(connection, before.label, before.version, bank.now()))
            bank.key_turns.forget((before.label, before.version))
        raise


async def _exchange(bank: Bank, zone: Zone, label: str, take: Callable[[], KeyHandle]) -> KeyInfo:
    """The act itself. Raises NotNow instead of Refused where TAKE fails by no fault of the partner."""
    ours: list[KeysError] = []

    def taken() -> KeyHandle:
        try:
            return take()
        except (KeyRefused, KeyBlockError):
            raise
        except KeysError as error:
            ours.append(error)
            raise

    try:
        return await ceremony.exchange(bank, zone.link, label, zone.master_key, taken)
    except Refused as error:
        raise (NotNow if ours else Refused)(str(error)) from None


def _import(bank: Bank, zone: Zone, label: str, block: str, spec: KeySpec) -> KeyHandle:
    """The key of a block, under any version of the ZMK that works today. Raises KeysError."""
    masters = bank.hsm.find_all(zone.master_key) or [bank.hsm.find(zone.master_key)]
    for master in masters[:-1]:
        try:
            return bank.hsm.import_block(label, block, master, spec)
        except KeyBlockError:
            continue
    return bank.hsm.import_block(label, block, masters[-1], spec)


def _let_work(bank: Bank, handle: KeyHandle) -> KeyHandle:
    """Let a version that has just come be used. One that is here already, or of no use, is destroyed: KeyRefused."""
    info, known = bank.hsm.info(handle), bank.hsm.keys()
    twin = next((one for one in known if one.name != info.name and one.kcv == info.kcv), None)
    wrong = None if twin is None else f"has the check value of {twin.name}"
    if info.attributes.mac_length is not None and info.attributes.mac_length not in MAC_LENGTHS:
        wrong = f"makes MACs of {info.attributes.mac_length} bytes, which no message holds"
    if wrong is not None:
        if info.state is KeyState.PRE_ACTIVE:
            bank.hsm.set_state(handle, KeyState.DESTROYED)
        raise KeyRefused(f"key {info.name}: {wrong}")
    if info.state is KeyState.PRE_ACTIVE:
        bank.hsm.set_state(handle, KeyState.ACTIVE)
    return handle


async def _trying(bank: Bank, turn: Turn, work: Awaitable[None]) -> None:
    """WORK; where it fails, it rests for a while, since each try is in the audit chain."""
    try:
        await work
    except (KeysError, Refused):
        bank.key_turns.rest(turn.key, bank.now() + TRY_AGAIN_AFTER)
        raise


async def write_first_use(bank: Bank, turn: Turn) -> None:
    """Write what key_turns has of a version's first use."""
    used_at = bank.key_turns.unwritten[turn.key]
    await ceremony.act_of_link(bank, turn.link, "activate", _name(turn), "first use", _nothing)
    await _write(bank, lambda connection: stored.uses(connection, *turn.key, used_at))
    del bank.key_turns.unwritten[turn.key]


async def over(bank: Bank, turn: Turn) -> None:
    """Nothing is to come of a block. It is remembered where it left a key, which is destroyed; else it may come again."""
    left = turn.key in _names(bank, turn.label)
    end = stored.ends if left else stored.comes_to_nothing
    await _write(bank, lambda connection: end(connection, *turn.key, bank.now()))
    bank.key_turns.forget(turn.key)


async def drop(bank: Bank, turn: Turn, due: Due) -> None:
    """A version that nobody used, or wanted: destroyed, so that its block is worth nothing any more."""
    if turn.key not in _names(bank, turn.label):
        if bank.now() - turn.came_at > CUT_OFF_AFTER:
            await over(bank, turn)
        return
    handle = bank.hsm.version(*turn.key)
    state = bank.hsm.info(handle).state

    def destroy() -> None:
        if state in _WORKS:
            bank.hsm.set_state(handle, KeyState.DEACTIVATED)
        bank.hsm.set_state(handle, KeyState.DESTROYED)

    if state in (*_WORKS, KeyState.PRE_ACTIVE):
        await ceremony.act_of_link(bank, turn.link, "destroy", _name(turn), due.value, destroy)
    await over(bank, turn)


async def _end_older(bank: Bank, turn: Turn) -> None:
    """The overlap with older versions is over. Where the new one itself no longer works they stay, for people to decide."""
    states = {key: bank.hsm.info(key).state for key in bank.hsm.versions(turn.label)}
    mine = next((state for key, state in states.items() if key.version == turn.version), None)
    if mine is KeyState.SUSPENDED:
        return
    for key, state in states.items():
        if mine is KeyState.ACTIVE and key.version < turn.version and state in _WORKS:
            name = f"{key.label}#{key.version}"
            why = f"overlap with {_name(turn)} is over"
            await ceremony.act_of_link(bank, turn.link, "retire", name, why, _retiring(bank, key))
    await over(bank, turn)


def _retiring(bank: Bank, key: KeyHandle) -> Callable[[], None]:
    return lambda: bank.hsm.set_state(key, KeyState.DEACTIVATED)


def _names(bank: Bank, label: str) -> Sequence[tuple[str, int]]:
    """Every version of a label that the keystore has."""
    return [(key.label, key.version) for key in bank.hsm.versions(label)]


def _name(turn: Turn) -> str:
    return f"{turn.label}#{turn.version}"


def _nothing() -> None:
    """A first use changes nothing in the keystore."""


async def _write(bank: Bank, write: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    """A row, in a transaction of its own: the acts around it are what is recorded."""
    async with bank.database.engine.begin() as connection:
        await write(connection)
