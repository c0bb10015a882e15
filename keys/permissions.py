"""Which key may do what: one table, asked before every use of every key.

A call that needs two keys is two operations, one of each. Refuses to know how operations are computed. Read next: usages.py,
local.py (who asks).
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from keys.errors import KeyRefused
from keys.keytypes import Exportability, KeyMode, KeyState, KeyUsage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from keys.keytypes import KeyInfo


class Operation(StrEnum):
    """What one key does in a call."""

    ENCIPHER_PIN = "ENCIPHER_PIN"
    DECIPHER_PIN = "DECIPHER_PIN"
    DERIVE_PIN_KEY = "DERIVE_PIN_KEY"
    DERIVE_MAC_KEY = "DERIVE_MAC_KEY"
    MAKE_REFERENCE = "MAKE_REFERENCE"
    VERIFY_PIN = "VERIFY_PIN"
    MAKE_CARD_VALUE = "MAKE_CARD_VALUE"
    VERIFY_CARD_VALUE = "VERIFY_CARD_VALUE"
    VERIFY_DYNAMIC_VALUE = "VERIFY_DYNAMIC_VALUE"
    VERIFY_CRYPTOGRAM = "VERIFY_CRYPTOGRAM"
    MAC_SCRIPT = "MAC_SCRIPT"
    ENCIPHER_SCRIPT = "ENCIPHER_SCRIPT"
    MAKE_MAC = "MAKE_MAC"
    VERIFY_MAC = "VERIFY_MAC"
    VERIFY_RECORD = "VERIFY_RECORD"
    """Check the MAC of a record that this bank kept, as its audit chain is."""
    SEAL = "SEAL"
    UNSEAL = "UNSEAL"
    BLIND_INDEX = "BLIND_INDEX"
    SIGN = "SIGN"
    VERIFY_SIGNATURE = "VERIFY_SIGNATURE"
    SHOW_PUBLIC = "SHOW_PUBLIC"
    """Give the public half of an RSA key: to a partner, before the key works."""
    WRAP_KEY = "WRAP_KEY"
    UNWRAP_KEY = "UNWRAP_KEY"
    LEAVE = "LEAVE"
    """Be exported, in a key block."""


class Handling(StrEnum):
    """What is done with a key itself. Not in the table: header, state and life of the key decide."""

    LOOK = "LOOK"
    """Read its header."""
    CHANGE_STATE = "CHANGE_STATE"
    END = "END"
    """Give it a last day."""
    BRING_IN = "BRING_IN"
    """Make it, form it, take it in: it may not exist."""


class Permission(NamedTuple):
    """Who may: keys of these usages, in these modes, in these states."""

    usages: frozenset[KeyUsage]
    modes: frozenset[KeyMode]
    states: frozenset[KeyState]


def _permission(usages: set[KeyUsage], modes: set[KeyMode], *also: KeyState) -> Permission:
    return Permission(frozenset(usages), frozenset(modes), frozenset({KeyState.ACTIVE, *also}))


_ENCRYPTS = {KeyMode.ENCRYPT, KeyMode.BOTH}
_DECRYPTS = {KeyMode.DECRYPT, KeyMode.BOTH}
_GENERATES = {KeyMode.GENERATE, KeyMode.GENERATE_AND_VERIFY}
_VERIFIES = {KeyMode.VERIFY, KeyMode.GENERATE_AND_VERIFY}
_DERIVES = {KeyMode.DERIVE, KeyMode.NO_RESTRICTION}
_DUKPT = {KeyUsage.BASE_DERIVATION, KeyUsage.INITIAL_DUKPT}
_PIN_VERIFICATION = {KeyUsage.PIN_VERIFICATION_IBM, KeyUsage.PIN_VERIFICATION_PVV}
_MACS = {KeyUsage.MAC_CBC, KeyUsage.MAC_RETAIL, KeyUsage.MAC_CMAC, KeyUsage.MAC_HMAC}
# What was protected before stays readable: a deactivated key may still process, a compromised one only opens what must
# be sealed anew (NIST SP 800-57 part 1, 7.4 and 7.5). No transaction is ever accepted on either.
_OLD = KeyState.DEACTIVATED
_LOST = KeyState.COMPROMISED

ALLOWED: Mapping[Operation, Permission] = MappingProxyType(
    {
        Operation.ENCIPHER_PIN: _permission({KeyUsage.PIN_ENCRYPTION}, _ENCRYPTS),
        Operation.DECIPHER_PIN: _permission({KeyUsage.PIN_ENCRYPTION}, _DECRYPTS),
        Operation.DERIVE_PIN_KEY: _permission(_DUKPT, _DERIVES),
        Operation.DERIVE_MAC_KEY: _permission(_DUKPT, _DERIVES),
        Operation.MAKE_REFERENCE: _permission(_PIN_VERIFICATION, _GENERATES),
        Operation.VERIFY_PIN: _permission(_PIN_VERIFICATION, _VERIFIES),
        Operation.MAKE_CARD_VALUE: _permission({KeyUsage.CARD_VERIFICATION}, _GENERATES),
        Operation.VERIFY_CARD_VALUE: _permission({KeyUsage.CARD_VERIFICATION}, _VERIFIES),
        Operation.VERIFY_DYNAMIC_VALUE: _permission({KeyUsage.ISSUER_DYNAMIC_NUMBER}, _DERIVES),
        Operation.VERIFY_CRYPTOGRAM: _permission({KeyUsage.ISSUER_CRYPTOGRAM}, _DERIVES),
        Operation.MAC_SCRIPT: _permission({KeyUsage.ISSUER_SCRIPT_MAC}, _DERIVES),
        Operation.ENCIPHER_SCRIPT: _permission({KeyUsage.ISSUER_SCRIPT_SECRECY}, _DERIVES),
        Operation.MAKE_MAC: _permission(_MACS, _GENERATES),
        Operation.VERIFY_MAC: _permission(_MACS, _VERIFIES),
        Operation.VERIFY_RECORD: _permission({KeyUsage.MAC_HMAC}, _VERIFIES, _OLD),
        Operation.SEAL: _permission({KeyUsage.DATA_SEALING}, _ENCRYPTS),
        Operation.UNSEAL: _permission({KeyUsage.DATA_SEALING}, _DECRYPTS, _OLD, _LOST),
        Operation.BLIND_INDEX: _permission({KeyUsage.BLIND_INDEX}, {KeyMode.GENERATE}),
        Operation.SIGN: _permission({KeyUsage.SIGNATURE}, {KeyMode.SIGN}),
        Operation.VERIFY_SIGNATURE: _permission({KeyUsage.SIGNATURE}, {KeyMode.VERIFY}),
        Operation.SHOW_PUBLIC: _permission({KeyUsage.SIGNATURE}, {KeyMode.SIGN, KeyMode.VERIFY}, KeyState.PRE_ACTIVE),
        Operation.WRAP_KEY: _permission({KeyUsage.KEY_BLOCK_PROTECTION}, _ENCRYPTS),
        Operation.UNWRAP_KEY: _permission({KeyUsage.KEY_BLOCK_PROTECTION}, _DECRYPTS),
        # A sealing or index key must never be where the data is not; a public key needs no key block.
        Operation.LEAVE: _permission(
            set(KeyUsage) - {KeyUsage.DATA_SEALING, KeyUsage.BLIND_INDEX, KeyUsage.SIGNATURE}, set(KeyMode)
        ),
    }
)


def check_allowed(info: KeyInfo, operation: Operation, day: date) -> None:
    """Raise KeyRefused unless the key's usage, mode, state and dates let it do OPERATION on DAY."""
    allowed = ALLOWED[operation]
    what = f"key {info.name} (usage {info.usage.value}, mode {info.mode.value}) may not do {operation.value}"
    if info.usage not in allowed.usages or info.mode not in allowed.modes:
        raise KeyRefused(what)
    if info.state_on(day) not in allowed.states:
        raise KeyRefused(f"{what}: it is {info.state_on(day).value}")
    if operation is Operation.LEAVE and info.exportability is Exportability.NOT_EXPORTABLE:
        raise KeyRefused(f"{what}: it is not exportable")
