"""Key ceremonies: what people do with the bank's keys, by whom, and what the record says of it.

An act is written twice: when it begins, before the keystore is touched, and when it has ended, with the check value. An act that
was cut off is seen by its missing end. Two people are needed for every key that comes to work: the custodians of its components,
or one who makes or brings it in and another who activates it; and for its destruction. Refuses to know key material: it passes
through to the HSM. Read next: keys/lifecycle.py, keys/rotation.py, docs/keys/ceremony.md.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

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
from keys.usages import check_component, component_check_value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank
    from gateway.store.ceremonies import Act
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle, KeyInfo

OVERLAP_DAYS_MOST = 90
FIXED = {
    PIN_LABEL: "the PIN offsets of all cards are made with it",
    INDEX_LABEL: "every card and family is found by it",
}
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
        await tx.record(
            Operation.KEY_DONE, "master key", act="init", custodians=names, kcv=check, serial=bank.hsm.serial()
        )


async def generate(bank: Bank, actor: str, label: str, spec: KeySpec) -> KeyInfo:
    """Make a random key. It works once another person has activated it."""
    async with _ceremony(bank, actor, "generate", label) as told:
        _refuse_fixed(bank, label)
        return told.made(bank, bank.hsm.generate(replace(spec, state=KeyState.PRE_ACTIVE), label))


async def enter_component(
    bank: Bank, actor: str, label: str, spec: KeySpec, number: int, of: int, value: bytes, sheet: str = ""
) -> tuple[str, KeyInfo | None]:
    """One custodian's component. Gives its check value, and the key where it was the last. The custodian is ACTOR.

    SHEET: the check value that the custodian's sheet shows, to find a slip of the fingers; empty: not told.
    """
    async with _ceremony(bank, actor, "component", label, component=number, of=of) as told:
        _refuse_fixed(bank, label)
        check_component(label, value, number, of)
        check = str(component_check_value(spec, value))
        told.detail["component_kcv"] = check
        component = Component(label, number, of, actor.strip(), bank.business_date, sheet)
        handle = bank.hsm.enter_component(spec, component, value)
        return check, None if handle is None else told.made(bank, handle)


async def forget_components(bank: Bank, actor: str, label: str) -> int:
    """Throw away the components that wait for a key."""
    async with _ceremony(bank, actor, "forget", label) as told:
        told.detail["components"] = bank.hsm.forget_components(label)
        return int(told.detail["components"])


async def import_block(bank: Bank, actor: str, label: str, block: str, under: str, spec: KeySpec | None) -> KeyInfo:
    """Take in a key of a TR-31 block. It works once another person has activated it."""
    async with _ceremony(bank, actor, "import", label, under=under) as told:
        _refuse_fixed(bank, label)
        kbpk = found(bank, under)
        return told.made(bank, bank.hsm.import_block(label, block, kbpk, spec, KeyState.PRE_ACTIVE))


async def import_signing_key(bank: Bank, actor: str, label: str, encoded: bytes, spec: KeySpec) -> KeyInfo:
    """Take in an RSA key: our private one, or a partner's public one. It works once another person has activated it."""
    async with _ceremony(bank, actor, "import-rsa", label) as told:
        _refuse_fixed(bank, label)
        waiting = replace(spec, state=KeyState.PRE_ACTIVE)
        return told.made(bank, bank.hsm.import_signing_key(label, encoded, waiting))


async def export_block(bank: Bank, actor: str, key: str, under: str) -> tuple[str, KeyInfo]:
    """A key in a TR-31 block for a partner, and what it is."""
    async with _ceremony(bank, actor, "export", key, under=under) as told:
        handle = found(bank, key)
        block = bank.hsm.export_block(handle, found(bank, under))
        return block, told.made(bank, handle)


async def rotate(bank: Bank, actor: str, label: str) -> KeyInfo:
    """Make the next version of a key, of the same kind as its newest. It works once another person has activated it."""
    async with _ceremony(bank, actor, "rotate", label) as told:
        _refuse_fixed(bank, label)
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
        return told.made(bank, bank.hsm.generate(spec, info.label))


async def activate(bank: Bank, actor: str, key: str, overlap_days: int | None) -> KeyInfo:
    """Let a key work, as another person than the one who made it. Older versions end after OVERLAP_DAYS; None: they go on."""
    async with _ceremony(bank, actor, "activate", key, overlap_days=overlap_days) as told:
        if overlap_days is not None and not 0 <= overlap_days <= OVERLAP_DAYS_MOST:
            raise Refused(f"the overlap of an old and a new key is 0 to {OVERLAP_DAYS_MOST} days")
        handle = found(bank, key)
        info = bank.hsm.info(handle)
        _refuse_from(info, "activate")
        await _refuse_same_person(
            bank, actor, info.name, _MADE, "made it or brought it in; another person activates it"
        )
        bank.hsm.set_state(handle, KeyState.ACTIVE)
        for older in bank.hsm.find_all(handle.label) if overlap_days is not None else ():
            if older.version < handle.version:
                bank.hsm.end_on(older, bank.business_date + timedelta(days=overlap_days or 0))
        return told.made(bank, handle)


async def change_state(bank: Bank, actor: str, act: str, key: str) -> KeyInfo:
    """Suspend, resume, retire, or mark a key as compromised; destroy it, as another person than the one who ended its life.

    Raises Refused for a sealing key under which something in the database is still sealed, and for keys that the bank cannot
    be without.
    """
    async with _ceremony(bank, actor, act, key) as told:
        handle = found(bank, key)
        info = bank.hsm.info(handle)
        _refuse_from(info, act)
        if act in ("retire", "destroy") and info.label in FIXED:
            raise Refused(f"key {info.name}: goes with the bank: {FIXED[info.label]}")
        if act == "destroy":
            if info.label == AUDIT_LABEL:
                raise Refused(f"key {info.name}: the audit chain is verified with it for as long as there is a bank")
            await _refuse_same_person(bank, actor, info.name, _ENDED, "ended its life; another person destroys it")
            if info.label == SEALING_LABEL:
                await reseal.refuse_if_used(bank, handle)
        bank.hsm.set_state(handle, _STATES[act])
        return told.made(bank, handle)


async def rotate_master(bank: Bank, actor: str, number: int | None = None) -> int:
    """Seal the keystore under a new master key: a new file, or master key NUMBER of the token. Returns how many keys it has."""
    custody = custody_of(bank.settings)
    async with _ceremony(bank, actor, "rotate-master", "master key", number=number) as told:
        if custody.token is not None:
            from keys.pkcs11 import rewrap  # noqa: PLC0415 - a bank without a token needs no PKCS#11 library

            if number is None:
                raise Refused(
                    "a token's keystore goes under master key --number N, which its security officer has made"
                )
            count = rewrap(custody.keystore, custody.open_token(), number)
        elif custody.passphrase is not None:
            raise Refused("this keystore's master key comes of a passphrase: there is no key file to rotate")
        else:
            count = rotate_master_key(custody.keystore, custody.master_key)
        told.detail["keys"] = count
        return count


async def refuse_older_keystore(connection: AsyncConnection, hsm: Hsm) -> None:
    """Raise Refused where the keystore has had fewer changes than the chain has seen: it was put back to an earlier state."""
    seen = await ceremonies.last_serial(connection)
    if seen is not None and hsm.serial() < seen:
        raise Refused(
            f"the keystore is older than the audit chain: it has had {hsm.serial()} changes, the chain has seen {seen}; "
            "restore the newer one"
        )


async def record_of(bank: Bank, first: date | None, last: date | None) -> list[Act]:
    """Everything done with keys from FIRST to LAST business date, for the record."""
    async with reading(bank) as connection:
        return await ceremonies.acts(connection, first, last)


@dataclass(slots=True)
class _Told:
    """What the end of an act says: the key by its whole name, and the rest."""

    key: str
    detail: dict[str, Any]

    def made(self, bank: Bank, handle: KeyHandle) -> KeyInfo:
        """The act ended with this key."""
        info = bank.hsm.info(handle)
        self.key = info.name
        self.detail |= {
            "usage": info.usage.value,
            "algorithm": info.algorithm.value,
            "bits": info.bits,
            "mode": info.mode.value,
            "exportability": info.exportability.value,
            "kcv": info.kcv.value,
            "kcv_method": info.kcv.method.value,
        }
        return info


@asynccontextmanager
async def _ceremony(bank: Bank, actor: str, act: str, key: str, **detail: object) -> AsyncIterator[_Told]:
    """Write that an act begins; then that it ended, with what was told; or that it was refused, and why.

    Both have one number, so that an act that was cut off is seen by its missing end.
    """
    told = _Told(key, dict(detail))
    number = secrets.token_hex(4)
    async with transaction(bank, actor) as tx:
        await tx.record(Operation.KEY_BEGUN, key, act=act, number=number, **detail)
    try:
        yield told
    except (KeysError, Refused) as error:
        async with transaction(bank, actor) as tx:
            await tx.record(Operation.KEY_FAILED, key, act=act, number=number, reason=str(error))
        raise Refused(str(error)) from None
    async with transaction(bank, actor) as tx:
        ended = told.detail | {"serial": bank.hsm.serial()}
        await tx.record(Operation.KEY_DONE, told.key, act=act, number=number, **ended)


async def _refuse_same_person(bank: Bank, actor: str, key: str, acts: tuple[str, ...], why: str) -> None:
    """Two people are two names, whatever their case. A key of which the chain does not know who did it is refused as well."""
    async with reading(bank) as connection:
        before = await ceremonies.last_actor(connection, key, acts)
    if before is None:
        raise Refused(f"key {key}: the audit chain does not say who did {' or '.join(acts)}: make it anew")
    if before.casefold() == actor.strip().casefold():
        raise Refused(f"key {key}: {actor.strip()} {why}")


def _refuse_from(info: KeyInfo, act: str) -> None:
    """An act that leads to ACTIVE belongs to one state alone: what was never activated is not resumed."""
    start = {"activate": KeyState.PRE_ACTIVE, "resume": KeyState.SUSPENDED}.get(act)
    if start is not None and info.state is not start:
        raise Refused(f"key {info.name}: is {info.state.value}; only a {start.value} key can be {act}d")


def _refuse_fixed(bank: Bank, label: str) -> None:
    if label in FIXED and bank.hsm.versions(label):
        raise Refused(f"key {label}: has one version for good: {FIXED[label]}")


def found(bank: Bank, key: str) -> KeyHandle:
    """The handle of label#version, or of a label's newest version. Raises Refused."""
    label, mark, number = key.partition("#")
    if not mark:
        newest = bank.hsm.versions(label)
        if newest:
            return newest[0]
    elif number.isascii() and number.isdigit():
        return bank.hsm.version(label, int(number))
    raise Refused(f"there is no key {key}: give LABEL or LABEL#VERSION")
