"""What the token lets each payment key do: no more than its usage and mode need there. A table as data.

permissions.py says what commands may ask of a key; this says what the object of the key does even for who asks the token without
asking permissions.py. Nothing has the right to verify, to wrap or to unwrap: codes are made and compared here, and payment keys
carry no keys. Refuses to know objects. Read next: token_objects.py (who makes them), token_workshop.py (whose calls these are).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from PyKCS11 import LowLevel

from keys.keytypes import Algorithm, KeyMode, KeyUsage
from keys.usages import USAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

Rights = frozenset[int]
"""Attributes of PKCS#11 that are true of an object."""

ENCRYPT: Rights = frozenset({LowLevel.CKA_ENCRYPT})
DECRYPT: Rights = frozenset({LowLevel.CKA_DECRYPT})
SIGN: Rights = frozenset({LowLevel.CKA_SIGN})
DERIVE: Rights = frozenset({LowLevel.CKA_DERIVE})
NONE: Rights = frozenset()
EVERY: Rights = ENCRYPT | DECRYPT | SIGN | DERIVE
"""What there is to give. All that is not given is false, said so: modules differ in what they take for granted."""

_BY_MODE: Mapping[KeyMode, Rights] = MappingProxyType(
    {KeyMode.ENCRYPT: ENCRYPT, KeyMode.DECRYPT: DECRYPT, KeyMode.BOTH: ENCRYPT | DECRYPT}
)

NEEDED: Mapping[KeyUsage, Rights | Mapping[KeyMode, Rights]] = MappingProxyType(
    {
        KeyUsage.BASE_DERIVATION: ENCRYPT,  # initial keys are enciphered data
        KeyUsage.INITIAL_DUKPT: NONE,  # of no use in a token, and kept alone
        KeyUsage.CARD_VERIFICATION: ENCRYPT,
        KeyUsage.DATA_SEALING: _BY_MODE,
        KeyUsage.ISSUER_CRYPTOGRAM: DERIVE,
        KeyUsage.ISSUER_SCRIPT_SECRECY: DERIVE,
        KeyUsage.ISSUER_SCRIPT_MAC: DERIVE,
        KeyUsage.ISSUER_DYNAMIC_NUMBER: DERIVE,
        # KBEK and KBAK are its CMACs, whichever way a block goes; a block may tell its check value, by either method.
        KeyUsage.KEY_BLOCK_PROTECTION: SIGN | ENCRYPT,
        KeyUsage.MAC_CBC: ENCRYPT,  # CBC with its padding: no mechanism for it in PKCS#11
        KeyUsage.MAC_RETAIL: ENCRYPT,
        KeyUsage.MAC_CMAC: SIGN,
        KeyUsage.MAC_HMAC: SIGN,
        KeyUsage.PIN_ENCRYPTION: _BY_MODE,
        KeyUsage.SIGNATURE: SIGN,
        KeyUsage.PIN_VERIFICATION_IBM: ENCRYPT,
        KeyUsage.PIN_VERIFICATION_PVV: ENCRYPT,
        KeyUsage.BLIND_INDEX: SIGN,
    }
)

COMPANION = ENCRYPT
"""Of the second object: single DES under the first half, and the BDK with the DUKPT mask, encipher alone."""
CARD, SESSION = ENCRYPT | DERIVE, ENCRYPT
"""Of what is derived of an issuer master key, and of what is derived of that (or is the first half of one)."""

TO_CHECK: Mapping[Algorithm, Rights] = MappingProxyType(
    {Algorithm.TDES: ENCRYPT, Algorithm.AES: SIGN, Algorithm.HMAC: SIGN, Algorithm.RSA: NONE}
)
"""What the check value is computed by, once: zeros enciphered, or a CMAC or HMAC of zeros."""


def needed(usage: KeyUsage, mode: KeyMode | None = None) -> Rights:
    """What a key of this usage and mode (None: the usage's first) needs in the token."""
    rights = NEEDED[usage]
    return rights if isinstance(rights, frozenset) else rights[mode or USAGES[usage].modes[0]]
