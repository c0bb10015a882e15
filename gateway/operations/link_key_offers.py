"""Keys that the bank changes over a link: it makes the next version of a key, and offers it to the partner in an 0800.

As with a key that a partner brings (link_keys.py), the version is PENDING, then the link's, with the older one beside it for the
overlap. The message goes through the link's queue (outgoing.py), so the same block is sent again until it is answered. The key
works from the moment its message first leaves, since the partner may have it from then on. An answer with its check value shows
that the partner has it: of a MAC key that is the first use, as each side might wait for the other. A refusal, or another check
value, drops it; but the refusal of a repeat does not, as a first sending without an answer may have arrived. What is sent is made
under another label, is let out once, and is destroyed: the link's key never leaves.
Refuses to know sockets. Read next: gateway/terminals/forwarder.py, docs/keys/ceremony.md.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from gateway.errors import Refused
from gateway.operations import ceremony, link_keys, outgoing
from gateway.operations.bank import reading, transaction
from gateway.operations.custody import ENDED, take_up_keys
from gateway.rules.approval import same_person
from gateway.rules.key_turns import Due
from gateway.rules.outgoing import Verdict
from gateway.store import link_keys as stored
from gateway.store.audit import Operation
from iso.message import Message
from keys.errors import KeyRefused
from keys.keytypes import Exportability, KeyMode, KeySpec, KeyState, KeyUsage

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.operations.link_keys import Zone
    from gateway.rules.key_turns import Turn
    from keys.keytypes import KeyHandle, KeyInfo

KEY_CHANGES = frozenset({"101", "161"})
"""DE70 of a change of keys."""
NETWORK, CODE = "0800", 70
DRAFT = "-draft"
"""What the label of the key that is let out ends with."""
GONE = "the key is no longer to be sent"
ANOTHER = "answered with another check value"
OF_REPEAT = "a repeat was refused: the key waits on, as the partner may have it"
CHECK_LEAST = 6
"""Hexadecimal digits of a check value in an answer: fewer show nothing."""
Kind = Literal["mac", "pin"]


async def offer(bank: Bank, maker: str, checker: str, zone: Zone, kind: Kind) -> KeyInfo:
    """Make the next version of a link's key and queue the message that brings it to the partner. Two people want it.

    Raises Refused where they are one, where the link does not change such a key or has none yet, and where the keystore refuses.
    """
    if not checker.strip() or same_person(maker, checker):
        raise Refused("a new key of a link needs two different people")
    label = zone.mac_key if kind == "mac" else zone.pin_key
    if label is None:
        raise Refused(f"link {zone.link} has no {kind.upper()} key that is changed over it")
    named = label

    async def make() -> KeyHandle:
        spec = _spec(bank, zone, named)
        zmk = bank.hsm.find(zone.master_key)
        block = _draft(bank, named, zmk, spec)
        turn = await link_keys.begin(bank, zone, named, link_keys.digest_of(block))
        try:
            return await _keep(bank, zone, turn, block, zmk, spec)
        except Refused:
            await link_keys.over(bank, turn)
            raise

    async with bank.key_change:
        take_up_keys(bank)
        detail = {"link": zone.link, "checker": checker.strip(), "under": zone.master_key}
        return await ceremony.offer(bank, maker, label, make, **detail)


async def may_go(bank: Bank, zone: Zone | None, message: Message) -> bool:
    """Whether a message of a link's queue may leave now. A key it offers is let work, and is known to be pending before that.

    False: the key was refused, dropped, overtaken, or has waited for too long.
    """
    block = _offered(zone, message)
    if zone is None or block is None:
        return not _is_change(message)
    async with bank.key_change:
        handle = await _found(bank, zone, block)
        if handle is None or bank.hsm.info(handle).state in ENDED:
            return False
        turn = bank.key_turns.turn_of(handle)
        if turn is not None and turn.used_at is None and bank.now() >= turn.came_at + _term(turn.pending_s):
            return False
        info = bank.hsm.info(handle)
        if info.state is KeyState.PRE_ACTIVE:

            def let_work() -> None:
                bank.hsm.set_state(handle, KeyState.ACTIVE)

            await ceremony.act_of_link(bank, zone.link, link_keys.SENDING, info.name, "to the partner", let_work)
    return True


async def outcome(
    bank: Bank, zone: Zone | None, message: Message, answer: Message, verdict: Verdict
) -> tuple[Verdict, str | None]:
    """What an answer of this VERDICT means where MESSAGE offers a key; and what is wrong, for people."""
    block = _offered(zone, message)
    if zone is None or block is None or verdict is Verdict.AGAIN:
        return verdict, None
    async with bank.key_change:
        handle = await _found(bank, zone, block)
        if handle is None or bank.hsm.info(handle).state in ENDED:
            return verdict, None
        turn = bank.key_turns.turn_of(handle)
        if turn is None or turn.used_at is not None:  # the partner uses it, whatever it says of a repeat
            return Verdict.DONE, None
        shows = _shows(answer.get(zone.field, ""), block, bank.hsm.info(handle))
        if verdict is Verdict.REFUSED and message.mti != NETWORK:  # it may have been taken in when it came first
            return verdict, OF_REPEAT
        if verdict is Verdict.REFUSED or shows is False:
            await link_keys.drop(bank, turn, Due.REFUSED)
            return Verdict.REFUSED, ANOTHER if shows is False else None
        if shows and handle.label == zone.mac_key:
            bank.key_turns.uses(handle, bank.now())
            await link_keys.write_first_use(bank, turn)
    return Verdict.DONE, None


def _is_change(message: Message) -> bool:
    return message.mti[:3] == NETWORK[:3] and message.get(CODE) in KEY_CHANGES


def _offered(zone: Zone | None, message: Message) -> str | None:
    """The block of a message that offers a key; None of any other, and where the link changes no keys any more."""
    return message.get(zone.field) if zone is not None and _is_change(message) else None


async def _found(bank: Bank, zone: Zone, block: str) -> KeyHandle | None:
    """The version that a block brings, with its turn as it is by now; None: there is none. The caller holds key_change."""
    try:
        _, label = link_keys.kind_of(zone, block)
    except Refused:
        return None
    await link_keys.take_up(bank)
    take_up_keys(bank)
    async with reading(bank) as connection:
        before = await stored.came(connection, label, link_keys.digest_of(block))
    known = bank.hsm.versions(label)
    return None if before is None else next((key for key in known if key.version == before.version), None)


def _shows(value: str, block: str, info: KeyInfo) -> bool | None:
    """Whether the answer's check value is the key's. None: it has none; a host that sends the block back has none either."""
    told = value.strip().upper()
    if not told or told == block.upper():
        return None
    return len(told) >= CHECK_LEAST and (info.kcv.value.startswith(told) or told.startswith(info.kcv.value))


def _spec(bank: Bank, zone: Zone, label: str) -> KeySpec:
    """What the next version is: as the newest one, and no more than the bank needs. Raises KeyRefused where there is none."""
    newest = next((bank.hsm.info(key) for key in bank.hsm.versions(label)), None)
    if newest is None:
        raise KeyRefused(f"key {label}: link {zone.link} has none yet: agree on the first one with the partner")
    mode = KeyMode.DECRYPT if newest.usage is KeyUsage.PIN_ENCRYPTION else KeyMode.GENERATE_AND_VERIFY
    return KeySpec(
        newest.usage, newest.algorithm, mode, bits=newest.bits, attributes=newest.attributes,
        exportability=Exportability.NOT_EXPORTABLE, state=KeyState.PRE_ACTIVE,
    )  # fmt: skip


def _draft(bank: Bank, label: str, zmk: KeyHandle, spec: KeySpec) -> str:
    """The block of a random key, for both sides' use of it. The key itself is destroyed, and so are those of before."""
    mode = KeyMode.BOTH if spec.usage is KeyUsage.PIN_ENCRYPTION else spec.mode
    draft = KeySpec(
        spec.usage, spec.algorithm, mode, bits=spec.bits, attributes=spec.attributes, exportability=Exportability.EXPORTABLE
    )  # fmt: skip
    try:
        return bank.hsm.export_block(bank.hsm.generate(draft, label + DRAFT), zmk)
    finally:
        for key in bank.hsm.versions(label + DRAFT):
            if bank.hsm.info(key).state is KeyState.ACTIVE:
                bank.hsm.set_state(key, KeyState.DEACTIVATED)
            if bank.hsm.info(key).state is not KeyState.DESTROYED:
                bank.hsm.set_state(key, KeyState.DESTROYED)


async def _keep(bank: Bank, zone: Zone, turn: Turn, block: str, zmk: KeyHandle, spec: KeySpec) -> KeyHandle:
    """Keep the key of a block as the version of TURN, and queue the block. It works when it leaves (may_go)."""
    handle = bank.hsm.import_block(turn.label, block, zmk, spec)
    if handle.version != turn.version:
        bank.hsm.set_state(handle, KeyState.DESTROYED)
        raise Refused(f"another version of {turn.label} came at the same moment: try again")
    bank.key_turns.know_one(turn)
    info = bank.hsm.info(handle)
    async with transaction(bank, f"link {zone.link}") as tx:
        message = Message(NETWORK, {CODE: zone.code, zone.field: block})
        about = outgoing.About(f"key {turn.label}", f"{info.name}, check value {info.kcv.value}")
        number = await outgoing.queue(bank, tx, zone.link, message, about, turn.pending_s // 2)
        await tx.record(Operation.OUTGOING, f"outgoing {number}", event="queued", about=about.subject, what=about.what)
    return handle


def _term(pending_s: int) -> timedelta:
    """How long an offer may go: half as long as its key waits, so that the partner has the other half to use it."""
    return timedelta(seconds=pending_s // 2)
