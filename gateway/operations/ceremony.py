"""Key ceremonies: what people do with the bank's keys, by whom, and what the record says of it.

An act is written twice: when it begins, before the keystore is touched, and when it has ended, with the check value. An act that
was cut off is seen by its missing end. Two people are needed for every key that comes to work: the custodians of its components,
or one who makes or brings it in and another who activates it; and for its destruction. Refuses to know key material: it passes
through to the HSM. Read next: keys/lifecycle.py, keys/rotation.py, docs/keys/ceremony.md.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gateway.errors import Refused
from gateway.operations import reseal
from gateway.operations.bank import reading, transaction
from gateway.operations.custody import AUDIT_LABEL, INDEX_LABEL, PIN_LABEL, SEALING_LABEL, custody_of
from gateway.store import ceremonies
from gateway.store.audit import Operation
from keys.errors import KeysError
from keys.keystore import Component
from keys.keytypes import KeySpec, KeyState
from keys.rotation import rotate_master_key
from keys.sensitive import Material
from keys.usages import algorithm_of, check_value

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from gateway.operations.bank import Bank
    from gateway.store.ceremonies import Act
    from keys.keytypes import KeyHandle, KeyInfo

Result = TypeVar("Result")

OVERLAP_DAYS_MOST = 90
FIXED = {
    PIN_LABEL: "the PIN offsets of all cards are made with it",
    INDEX_LABEL: "every card and family is found by it",
}
_BY_COMPONENTS = "form"
_MADE = ("generate", "import", "import-rsa", "rotate")
_ENDED = ("retire", "compromise")
_STATES = {
    "activate": KeyState.ACTIVE,
    "suspend": KeyState.SUSPENDED,
    "resume": KeyState.ACTIVE,
    "retire": KeyState.DEACTIVATED,
    "compromise": KeyState.COMPROMISED,
    "destroy": KeyState.DESTROYED,
}


async def record_master_key(bank: Bank, actor: str, custodians: dict[int, str], check: str) -> None:
    """Record who formed the master key: the audit chain that this is in came to be with it."""
    names = {str(number): name for number, name in custodians.items()}
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_DONE, "master key", act="init", custodians=names, kcv=check)


async def generate(bank: Bank, actor: str, label: str, spec: KeySpec) -> KeyInfo:
    """Make a random key. It works once another person has activated it."""
    waiting = replace(spec, state=KeyState.PRE_ACTIVE)
    return await _key_act(bank, actor, "generate", label, lambda: bank.hsm.generate(waiting, label))


async def enter_component(
    bank: Bank, actor: str, label: str, spec: KeySpec, number: int, of: int, value: bytes
) -> tuple[str, KeyInfo | None]:
    """One custodian's component. Gives its check value, and the key where it was the last. The custodian is ACTOR."""
    _refuse_fixed(bank, label)
    check = str(check_value(algorithm_of(spec), Material(value)))
    component = Component(label, number, of, actor.strip(), bank.business_date, check)

    def enter() -> KeyHandle | None:
        return bank.hsm.enter_component(spec, component, value)

    detail = {"component": number, "of": of, "kcv": check}
    handle = await _act(bank, actor, "component", label, enter, detail, lambda _: {})
    if handle is None:
        return check, None
    info = bank.hsm.info(handle)
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_DONE, info.name, act=_BY_COMPONENTS, **_shown(info))
    return check, info


async def forget_components(bank: Bank, actor: str, label: str) -> int:
    """Throw away the components that wait for a key."""
    return await _act(
        bank, actor, "forget", label, lambda: bank.hsm.forget_components(label), {}, lambda count: {"components": count}
    )


async def import_block(bank: Bank, actor: str, label: str, block: str, under: str, spec: KeySpec | None) -> KeyInfo:
    """Take in a key of a TR-31 block. It works once another person has activated it."""
    kbpk = found(bank, under)

    def take() -> KeyHandle:
        return bank.hsm.import_block(label, block, kbpk, spec, KeyState.PRE_ACTIVE)

    return await _key_act(bank, actor, "import", label, take, under=_name(bank, kbpk))


async def import_signing_key(bank: Bank, actor: str, label: str, encoded: bytes, spec: KeySpec) -> KeyInfo:
    """Take in an RSA key: our private one, or a partner's public one. It works once another person has activated it."""
    waiting = replace(spec, state=KeyState.PRE_ACTIVE)
    return await _key_act(
        bank, actor, "import-rsa", label, lambda: bank.hsm.import_signing_key(label, encoded, waiting)
    )


async def export_block(bank: Bank, actor: str, key: str, under: str) -> str:
    """A key in a TR-31 block for a partner."""
    handle, kbpk = found(bank, key), found(bank, under)
    name = _name(bank, handle)
    detail = {"under": _name(bank, kbpk), "kcv": str(bank.hsm.kcv(handle))}
    return await _act(bank, actor, "export", name, lambda: bank.hsm.export_block(handle, kbpk), detail, lambda _: {})


async def rotate(bank: Bank, actor: str, label: str) -> KeyInfo:
    """Make the next version of a key, of the same kind as its newest. It works once another person has activated it."""
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
    return await _key_act(bank, actor, "rotate", info.label, lambda: bank.hsm.generate(spec, info.label))


async def activate(bank: Bank, actor: str, key: str, overlap_days: int | None) -> KeyInfo:
    """Let a key work, as another person than the one who made it. Older versions end after OVERLAP_DAYS; None: they go on."""
    if overlap_days is not None and not 0 <= overlap_days <= OVERLAP_DAYS_MOST:
        raise Refused(f"the overlap of an old and a new key is 0 to {OVERLAP_DAYS_MOST} days")
    handle = found(bank, key)
    name = _name(bank, handle)
    await _refuse_same_person(
        bank, actor, "activate", name, _MADE, "made it or brought it in; another person activates it"
    )

    def work() -> None:
        bank.hsm.set_state(handle, KeyState.ACTIVE)
        if overlap_days is not None:
            for older in bank.hsm.find_all(handle.label):
                if older.version < handle.version:
                    bank.hsm.end_on(older, bank.business_date + timedelta(days=overlap_days))

    await _act(
        bank,
        actor,
        "activate",
        name,
        work,
        {"overlap_days": overlap_days, "kcv": str(bank.hsm.kcv(handle))},
        lambda _: {},
    )
    return bank.hsm.info(handle)


async def change_state(bank: Bank, actor: str, act: str, key: str) -> KeyInfo:
    """Suspend, resume, retire, or mark a key as compromised; destroy it, as another person than the one who ended its life.

    Raises Refused for a sealing key under which something in the database is still sealed, and for the audit key.
    """
    handle = found(bank, key)
    name = _name(bank, handle)
    if act == "destroy":
        await _refuse_same_person(bank, actor, act, name, _ENDED, "ended its life; another person destroys it")
        if handle.label == AUDIT_LABEL:
            reason = f"key {name}: the audit chain is verified with it for as long as there is a bank"
            await _refuse(bank, actor, act, name, reason)
        if handle.label == SEALING_LABEL:
            await reseal.refuse_if_used(bank, handle)
    detail = {"kcv": str(bank.hsm.kcv(handle))}
    await _act(bank, actor, act, name, lambda: bank.hsm.set_state(handle, _STATES[act]), detail, lambda _: {})
    return bank.hsm.info(handle)


async def rotate_master(bank: Bank, actor: str, number: int | None = None) -> int:
    """Seal the keystore under a new master key: a new file, or master key NUMBER of the token. Returns how many keys it has."""
    custody = custody_of(bank.settings)

    def work() -> int:
        if custody.token is None:
            if custody.passphrase is not None:
                raise Refused("this keystore's master key comes of a passphrase: there is no key file to rotate")
            return rotate_master_key(custody.keystore, custody.master_key)
        from keys.pkcs11 import rewrap  # noqa: PLC0415 - a bank without a token needs no PKCS#11 library

        if number is None:
            raise Refused("a token's keystore goes under master key --number N, which its security officer has made")
        return rewrap(custody.keystore, custody.open_token(), number)

    return await _act(bank, actor, "rotate-master", "master key", work, {}, lambda count: {"keys": count})


async def record_of(bank: Bank, first: date | None, last: date | None) -> list[Act]:
    """Everything done with keys from FIRST to LAST business date, for the record."""
    async with reading(bank) as connection:
        return await ceremonies.acts(connection, first, last)


async def _key_act(
    bank: Bank, actor: str, act: str, label: str, work: Callable[[], KeyHandle], **detail: object
) -> KeyInfo:
    """An act that brings a key into being; its end names the key."""
    _refuse_fixed(bank, label)
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_BEGUN, label, act=act, **detail)
    info = bank.hsm.info(await _tried(bank, actor, act, label, work))
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_DONE, info.name, act=act, **detail, **_shown(info))
    return info


async def _act(
    bank: Bank, actor: str, act: str, key: str, work: Callable[[], Result], detail: dict[str, Any],
    told: Callable[[Result], dict[str, Any]],
) -> Result:  # fmt: skip
    """An act with a key, or with the keystore; TOLD: what its end says beside DETAIL."""
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_BEGUN, key, act=act, **detail)
    result = await _tried(bank, actor, act, key, work)
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_DONE, key, act=act, **detail, **told(result))
    return result


async def _tried(bank: Bank, actor: str, act: str, key: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except (KeysError, Refused) as error:
        return await _refuse(bank, actor, act, key, str(error))


async def _refuse(bank: Bank, actor: str, act: str, key: str, reason: str) -> NoReturn:
    """Write that it was refused, and refuse."""
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_FAILED, key, act=act, reason=reason)
    raise Refused(reason)


async def _refuse_same_person(bank: Bank, actor: str, act: str, key: str, acts: tuple[str, ...], why: str) -> None:
    async with reading(bank) as connection:
        before = await ceremonies.last_actor(connection, key, acts)
    if before is not None and before == actor.strip():
        await _refuse(bank, actor, act, key, f"key {key}: {actor.strip()} {why}")


def _refuse_fixed(bank: Bank, label: str) -> None:
    if label in FIXED and bank.hsm.versions(label):
        raise Refused(f"key {label}: has one version for good: {FIXED[label]}")


def found(bank: Bank, key: str) -> KeyHandle:
    """The handle of label#version, or of a label's newest version. Raises Refused."""
    label, mark, number = key.partition("#")
    try:
        return bank.hsm.version(label, int(number)) if mark else bank.hsm.find(label)
    except (KeysError, ValueError) as error:
        raise Refused(str(error) if isinstance(error, KeysError) else f"{key}: is not LABEL or LABEL#VERSION") from None


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
