"""Key ceremonies: what people do with the bank's keys, by whom, and what the record says of it.

An act is written twice: when it begins, before the keystore is touched, and when it has ended or was refused, with the check
value. An act that was cut off is seen by its missing end, and counts against who began it. Two people are needed for every key
that comes to work: the custodians of its components, or one who makes or brings it in and another who activates it; and for the
destruction of a key that has worked. The bank's own keys are rotated and nothing else, and what it cannot live without is not
ended. Refuses to know key material: it passes through to the HSM. Read next: keys/lifecycle.py, keys/rotation.py,
docs/keys/ceremony.md.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from gateway.errors import Refused
from gateway.operations import pin_keys, reseal
from gateway.operations.bank import reading, transaction
from gateway.operations.custody import (
    AUDIT_LABEL,
    BANK_KEYS,
    INDEX_LABEL,
    PIN_LABEL,
    SEALING_LABEL,
    custody_of,
    take_up_keys,
)
from gateway.operations.noted_acts import MASTER, take_in_notes, token_key
from gateway.store import ceremonies
from gateway.store.audit import Operation
from keys.errors import KeysError
from keys.keystore import Component
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyState, check_transition
from keys.master_ceremony import component_check
from keys.usages import check_custodian, component_check_value, same_person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.store.ceremonies import Act
    from keys.keytypes import KeyHandle, KeyInfo
    from keys.master_ceremony import Entered, MasterComponent

KEY_MOST = 80
VERSION = re.compile("[1-9][0-9]{0,8}")
FIXED_HEADER = 16
"""Characters of a TR-31 block that say what its key is for; what is behind them, the record has not."""
OVERLAP_DAYS_MOST = 90
FIXED = {INDEX_LABEL: "every card and family is found by it"}
MAKING = ("generate", "import", "import-rsa", "import-secret", "rotate", "exchange", "offer")
ENDING = ("retire", "compromise")
FOR_GOOD = (*ENDING, "destroy")
STATES = {
    "suspend": KeyState.SUSPENDED,
    "resume": KeyState.ACTIVE,
    "retire": KeyState.DEACTIVATED,
    "compromise": KeyState.COMPROMISED,
    "destroy": KeyState.DESTROYED,
}


async def generate(bank: Bank, actor: str, label: str, spec: KeySpec) -> KeyInfo:
    """Make a random key. It works once another person has activated it."""
    waiting = replace(spec, state=KeyState.PRE_ACTIVE)
    return await _making(bank, actor, "generate", label, lambda: bank.hsm.generate(waiting, label))


async def enter_component(
    bank: Bank, actor: str, label: str, spec: KeySpec, number: int, of: int, value: bytes, sheet: str = ""
) -> tuple[str, KeyInfo | None]:
    """One custodian's component. Gives its check value, and the key where it was the last. The custodian is ACTOR.

    SHEET: the check value that the custodian's sheet shows, to find a slip of the fingers; empty: not told.
    """
    check = _check_of(spec, value)
    async with _act(bank, actor, "component", label, component=number, of=of, kcv=check) as ended:
        _refuse_own("component", label)
        if check is None:
            raise Refused(f"component {number} of {label}: its length is that of no key of usage {spec.usage.value}")
        component = Component(label, number, of, actor.strip(), bank.business_date, sheet)
        handle = bank.hsm.enter_component(spec, component, value)
        info = None if handle is None else bank.hsm.info(handle)
        ended.formed = info
    return str(check), info


async def forget_components(bank: Bank, actor: str, label: str) -> int:
    """Throw away the components that wait for a key."""
    async with _act(bank, actor, "forget", label) as ended:
        count = bank.hsm.forget_components(label)
        ended.told["components"] = count
    return count


async def import_block(bank: Bank, actor: str, label: str, block: str, under: str, spec: KeySpec | None) -> KeyInfo:
    """Take in a key of a TR-31 block. It works once another person has activated it."""
    kbpk = found(bank, under)

    def take() -> KeyHandle:
        return bank.hsm.import_block(label, block, kbpk, spec, KeyState.PRE_ACTIVE)

    return await _making(bank, actor, "import", label, take, under=_name(bank, kbpk))


async def exchange(bank: Bank, link: str, label: str, under: str, take: Callable[[], KeyHandle]) -> KeyInfo:
    """A key that a partner changes over its link (link_keys.py): TAKE takes it in."""
    return await _making(bank, f"link {link}", "exchange", label, take, under=under)


async def offer(
    bank: Bank, actor: str, label: str, make: Callable[[], Awaitable[KeyHandle]], **detail: object
) -> KeyInfo:
    """A key that the bank offers a partner over their link (link_key_offers.py): MAKE makes it."""
    async with _act(bank, actor, "offer", label, **detail) as ended:
        info = bank.hsm.info(await make())
        ended.key, ended.told = info.name, _shown(info)
    return info


async def act_of_link(bank: Bank, link: str, act: str, key: str, why: str, change: Callable[[], None]) -> None:
    """What follows of it for a version: CHANGE does it, WHY says what for."""
    async with _act(bank, f"link {link}", act, key, why=why):
        change()


async def import_signing_key(bank: Bank, actor: str, label: str, encoded: bytes, spec: KeySpec) -> KeyInfo:
    """Take in an RSA key: our private one, or a partner's public one. It works once another person has activated it."""
    waiting = replace(spec, state=KeyState.PRE_ACTIVE)
    return await _making(bank, actor, "import-rsa", label, lambda: bank.hsm.import_signing_key(label, encoded, waiting))


async def import_secret(bank: Bank, actor: str, label: str, secret: bytes, spec: KeySpec) -> KeyInfo:
    """Take in a partner's client secret as an HMAC key. It works once another person has activated it."""
    waiting = replace(spec, state=KeyState.PRE_ACTIVE)
    return await _making(bank, actor, "import-secret", label, lambda: bank.hsm.import_secret(label, secret, waiting))


async def export_public(bank: Bank, actor: str, key: str) -> str:
    """The public half of an RSA key in PEM, for a partner. Recorded, as he will trust what is signed with the other half."""
    handle = found(bank, key)
    async with _act(bank, actor, "export-public", _name(bank, handle), kcv=str(bank.hsm.kcv(handle))):
        pem = bank.hsm.public_key(handle).decode("ascii")
    return pem  # noqa: RET504 - its end is written first


async def export_block(bank: Bank, actor: str, key: str, under: str) -> str:
    """A key in a TR-31 block for a partner."""
    handle, kbpk = found(bank, key), found(bank, under)
    check = str(bank.hsm.kcv(handle))
    async with _act(bank, actor, "export", _name(bank, handle), under=_name(bank, kbpk), kcv=check):
        block = bank.hsm.export_block(handle, kbpk)
    return block  # noqa: RET504 - its end is written first


async def rewrap_block(bank: Bank, actor: str, block: str, under: str, to: str) -> str:
    """A partner's TR-31 block, under one ZMK, under another. The key in it is not kept; the record has the block's header."""
    source, target = found(bank, under), found(bank, to)
    async with _act(bank, actor, "rewrap", _name(bank, source), to=_name(bank, target)) as ended:
        passed = bank.hsm.rewrap_block(block, source, target)
        ended.told["header"] = passed[:FIXED_HEADER]
    return passed


async def rotate(bank: Bank, actor: str, label: str) -> KeyInfo:
    """Make the next version of a key, of the same kind as its newest. It works once another person has activated it.

    Raises Refused for a partner's secret or public key, whose next version he makes.
    """
    info = bank.hsm.info(found(bank, label))
    spec = KeySpec(
        info.usage,
        info.algorithm,
        info.mode,
        bits=info.bits,
        attributes=info.attributes,
        exportability=info.exportability,
        state=KeyState.PRE_ACTIVE,
    )
    async with reading(bank) as connection:
        theirs = bool(await ceremonies.done_by(connection, info.name, ("import-secret",)))

    def make() -> KeyHandle:
        if theirs or (info.algorithm is Algorithm.RSA and info.mode is KeyMode.VERIFY):
            raise Refused(f"key {info.name}: the partner makes its next version: it is taken in as this one was")
        return bank.hsm.generate(spec, info.label)

    return await _making(bank, actor, "rotate", info.label, make)


async def activate(bank: Bank, actor: str, key: str, overlap_days: int | None) -> KeyInfo:
    """Let a key work, as another person than the one who made it. Older versions end after OVERLAP_DAYS; None: they go on.

    The overlap begins today, or on the key's first day where that is to come. An older version that ends earlier anyway keeps
    its day. Raises Refused for a key whose last day is over, and where the record does not say who made it.
    """
    if overlap_days is not None and not 0 <= overlap_days <= OVERLAP_DAYS_MOST:
        raise Refused(f"the overlap of an old and a new key is 0 to {OVERLAP_DAYS_MOST} days")
    handle = found(bank, key)
    name, check = _name(bank, handle), str(bank.hsm.kcv(handle))
    async with _act(bank, actor, "activate", name, overlap_days=overlap_days, kcv=check):
        if handle.label == PIN_LABEL and overlap_days is not None:
            raise Refused(f"key {name}: an older version ends when no card's PIN hangs on it, and not by a date")
        info, today = bank.hsm.info(handle), bank.business_date
        if info.state is not KeyState.PRE_ACTIVE:
            raise Refused(f"key {name}: is {info.state.value}: only a new key is activated")
        if info.active_to is not None and info.active_to < today:
            raise Refused(f"key {name}: its last day was {info.active_to}: it would never work")
        async with reading(bank) as connection:
            makers = await ceremonies.done_by(connection, name, MAKING)
        _refuse_alone(actor, makers, name, "made it or brought it in", "activates")
        bank.hsm.set_state(handle, KeyState.ACTIVE)
        if overlap_days is not None:
            begins = max(today, info.active_from or today)
            _end_older(bank, handle, begins + min(timedelta(days=overlap_days), date.max - begins))
    return bank.hsm.info(handle)


async def change_state(bank: Bank, actor: str, act: str, key: str) -> KeyInfo:
    """Suspend, resume, retire, or mark a key as compromised; destroy it, as another person than the one who ended its life.

    Raises Refused for what the bank cannot live without, for a sealing key under which something is still sealed, and for the
    retirement or destruction of a PIN verification key on which a card's PIN hangs.
    """
    handle = found(bank, key)
    name = _name(bank, handle)
    async with _act(bank, actor, act, name, kcv=str(bank.hsm.kcv(handle))) as ended:
        _refuse_vital(bank, handle, act)
        state = bank.hsm.info(handle).state
        if act == "resume" and state is not KeyState.SUSPENDED:
            raise Refused(f"key {name}: is {state.value}: only a suspended key is resumed")
        check_transition(bank.hsm.info(handle), STATES[act])
        if act == "destroy" and state is not KeyState.PRE_ACTIVE:
            async with reading(bank) as connection:
                enders = await ceremonies.begun_by(connection, name, ENDING)
            _refuse_alone(actor, enders, name, "ended its life", "destroys")
        if act == "destroy" and handle.label == SEALING_LABEL:
            await reseal.refuse_if_used(bank, handle)
        async with pin_keys.let_end(bank, handle) if act in ("retire", "destroy") else nullcontext():
            bank.hsm.set_state(handle, STATES[act])
        if handle.label == PIN_LABEL:
            ended.told["cards"] = (await pin_keys.count(bank)).get(handle.version, 0)
    return bank.hsm.info(handle)


async def rotate_master(bank: Bank, actor: str, number: int | None = None) -> int:
    """Seal the keystore under a new master key: a random one, or NUMBER of those in a device. Returns how many keys it has.

    Another person than the one who made NUMBER puts the keystore under it.
    """
    custody = custody_of(bank.settings)
    await take_in_notes(bank)  # who made NUMBER may have done it since the bank was opened
    async with _act(bank, actor, "rotate-master", MASTER, number=number) as ended:
        if number is not None:
            async with reading(bank) as connection:
                makers = await ceremonies.begun_by(connection, token_key(number), ("token-init",))
            _refuse_alone(actor, makers, token_key(number), "made it", "puts a keystore under")
        ended.told["keys"] = count = custody.kind.rotate_master(custody.place, number)
    return count


async def enter_next_component(bank: Bank, actor: str, component: MasterComponent) -> Entered:
    """One custodian's component of the next master key; the last one makes it, and seals the keystore under it.

    The custodian is ACTOR. Cut off as the last, it is entered again.
    """
    custody, check = custody_of(bank.settings), component_check(component)
    named = {"component": component.number, "of": component.of, "kcv": check}
    async with _act(bank, actor, "rotate-master", MASTER, **named) as ended:
        component = component._replace(custodian=actor.strip())
        entered = custody.kind.enter_next_component(custody.place, component)
        if entered.check_value is not None:
            ended.told["custodians"] = {str(at): name for at, name in entered.custodians.items()}
            ended.told |= {"formed": entered.check_value, "keys": entered.keys}
        if entered.left:
            ended.told["left"] = entered.left
    return entered


async def forget_next_components(bank: Bank, actor: str) -> int:
    """Throw away the components that wait for a next master key. Returns how many it were."""
    custody = custody_of(bank.settings)
    async with _act(bank, actor, "rotate-forget", MASTER) as ended:
        ended.told["components"] = count = custody.kind.forget_master_components(custody.place)
    return count


async def rotate_passphrase(bank: Bank, actor: str, passphrase_file: Path) -> int:
    """Seal the keystore under the passphrase of a file, which the bank's own holds from then on. Returns how many keys it has."""
    custody = custody_of(bank.settings)
    async with _act(bank, actor, "rotate-passphrase", MASTER) as ended:
        ended.told["keys"] = count = custody.kind.rotate_passphrase(custody.place, passphrase_file)
    return count


async def compare_keystore(bank: Bank) -> None:
    """Compare an opened keystore with what the chain has seen of it.

    Raises Refused where it has had fewer changes: it was put back to an earlier state. More, where an act was cut off before its
    end was written: the chain sees them from now on, so that nobody puts the keystore back by just those.
    """
    async with reading(bank) as connection:
        seen = await ceremonies.last_serial(connection)
    had = bank.hsm.serial()
    if seen is not None and had < seen:
        raise Refused(
            f"the keystore is older than the audit chain: it has had {had} changes, the chain has seen {seen}; "
            "restore the newer one"
        )
    if seen is not None and had > seen:
        async with transaction(bank, "hsm") as tx:
            await tx.record(Operation.KEY_SEEN, "keystore", act="seen", seen=seen, serial=had)


async def record_of(bank: Bank, first: date | None, last: date | None) -> list[Act]:
    """Everything done with keys from FIRST to LAST business date, for the record."""
    async with reading(bank) as connection:
        return await ceremonies.acts(connection, first, last)


@dataclass(slots=True)
class _Ended:
    """What the end of an act says beside what its beginning said: the key's name, if it has one only now, and what came of it."""

    key: str
    told: dict[str, Any] = field(default_factory=dict)
    formed: KeyInfo | None = None


@asynccontextmanager
async def _act(bank: Bank, actor: str, act: str, key: str, **detail: object) -> AsyncIterator[_Ended]:
    """An act with a key, or with the keystore: its beginning is written before the block, its end or its refusal after."""
    try:
        check_custodian(actor.strip())
    except KeysError as error:
        raise Refused(str(error)) from None
    if not key.isprintable() or len(key) > KEY_MOST:
        raise Refused("a key is named by LABEL or LABEL#VERSION")
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_BEGUN, key, act=act, **detail, serial=bank.hsm.serial())
    ended = _Ended(key)
    try:
        yield ended
    except (KeysError, Refused) as error:
        async with transaction(bank, actor) as tx:
            await tx.record(Operation.KEY_FAILED, key, act=act, **detail, reason=str(error), serial=bank.hsm.serial())
        raise Refused(str(error)) from None
    take_up_keys(bank)
    async with transaction(bank, actor) as tx:
        serial = bank.hsm.serial()
        await tx.record(Operation.KEY_DONE, ended.key, act=act, **detail | ended.told, serial=serial)
        if ended.formed is not None:
            await tx.record(Operation.KEY_DONE, ended.formed.name, act="form", **_shown(ended.formed), serial=serial)


async def _making(
    bank: Bank, actor: str, act: str, label: str, work: Callable[[], KeyHandle], **detail: object
) -> KeyInfo:
    """An act that brings a key into being; its end names the key."""
    async with _act(bank, actor, act, label, **detail) as ended:
        _refuse_own(act, label)
        info = bank.hsm.info(work())
        ended.key, ended.told = info.name, _shown(info)
    return info


def _refuse_own(act: str, label: str) -> None:
    """The bank's own keys come into being with its keystore; what is rotated is of the same kind as they."""
    if label in FIXED:
        raise Refused(f"key {label}: has one version for good: {FIXED[label]}")
    if label in BANK_KEYS and act != "rotate":
        raise Refused(f"key {label}: is the bank's own: its next version is made by `keys rotate`")


def _refuse_vital(bank: Bank, handle: KeyHandle, act: str) -> None:
    """Raise Refused where the bank could not go on after the act, or not prove what it did before."""
    label, name = handle.label, _name(bank, handle)
    if label in FIXED and act in FOR_GOOD:
        raise Refused(f"key {name}: has one version for good: {FIXED[label]}")
    if bank.hsm.info(handle).state is KeyState.PRE_ACTIVE:
        return
    if label == AUDIT_LABEL and act not in ("resume", "retire"):
        raise Refused(f"key {name}: the audit chain is verified with it for as long as there is a bank")
    working = bank.hsm.find_all(label)[:1]
    if label in (AUDIT_LABEL, SEALING_LABEL, PIN_LABEL) and act in FOR_GOOD and working in ([], [handle]):
        why = "the bank works with it" if working else "no version of it may work now"
        raise Refused(f"key {name}: {why}: rotate it, and activate the new version, first")


def _refuse_alone(actor: str, before: Sequence[str], name: str, did: str, does: str) -> None:
    """Two people: one of BEFORE did the first half, and whoever does the second is none of them."""
    if not before:
        raise Refused(f"key {name}: the record does not say who {did}, so nobody {does} it")
    for one in before:
        if same_person(one, actor):
            raise Refused(f"key {name}: {one} {did}; another person {does} it")


def _end_older(bank: Bank, handle: KeyHandle, last_day: date) -> None:
    """Let every older version work to the end of LAST_DAY; one that ends earlier anyway keeps its day."""
    for older in bank.hsm.versions(handle.label):
        info = bank.hsm.info(older)
        if info.version < handle.version and info.state in (KeyState.ACTIVE, KeyState.SUSPENDED):
            begun = info.active_from is None or info.active_from <= last_day
            if begun and (info.active_to is None or info.active_to > last_day):
                bank.hsm.end_on(older, last_day)


def _check_of(spec: KeySpec, value: bytes) -> str | None:
    """The check value of a component; None where no key of its algorithm is as long."""
    try:
        return str(component_check_value(spec, value))
    except KeysError:
        return None


def found(bank: Bank, key: str) -> KeyHandle:
    """The handle of label#version, or of a label's newest version, as it is by now. Raises Refused."""
    label, mark, number = key.partition("#")
    if mark and not VERSION.fullmatch(number):
        raise Refused(f"{key[:KEY_MOST]}: is not LABEL or LABEL#VERSION")
    try:
        take_up_keys(bank)
        return bank.hsm.version(label, int(number)) if mark else bank.hsm.find(label)
    except KeysError as error:
        raise Refused(str(error)) from None


def _name(bank: Bank, handle: KeyHandle) -> str:
    return bank.hsm.info(handle).name


def _shown(info: KeyInfo) -> dict[str, Any]:
    """What the record says of a key."""
    return {
        "usage": info.usage.value,
        "algorithm": info.algorithm.value,
        "bits": info.bits,
        "mode": info.mode.value,
        "exportability": info.exportability.value,
        "kcv": info.kcv.value,
        "kcv_method": info.kcv.method.value,
    }
