"""What a key is besides its bytes: usage, algorithm, mode, exportability, state, dates, attributes. Names and codes of X9.143.

Refuses to know which key may do what and how keys are kept. Read next: permissions.py (which operation each may do), usages.py
(what a key of each usage looks like), hsm.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from keys.errors import KeyRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from keys.kcv import Kcv


class KeyUsage(StrEnum):
    """What a key is for: key usage codes of ANSI X9.143 (TR-31); "10" is from its range for own use."""

    BASE_DERIVATION = "B0"
    """BDK: the initial keys of DUKPT terminals come from it."""
    INITIAL_DUKPT = "B1"
    """IK: what one DUKPT terminal was given."""
    CARD_VERIFICATION = "C0"
    """CVK: CVV, CVV2, iCVV."""
    DATA_SEALING = "D0"
    ISSUER_CRYPTOGRAM = "E0"
    """IMK-AC: application cryptograms of chip cards."""
    ISSUER_SCRIPT_SECRECY = "E1"
    """IMK-SMC: enciphers what a script sends to the chip."""
    ISSUER_SCRIPT_MAC = "E2"
    """IMK-SMI: MACs of scripts to the chip."""
    ISSUER_DYNAMIC_NUMBER = "E4"
    """IMK-DN: dynamic CVV."""
    KEY_BLOCK_PROTECTION = "K1"
    """KBPK: protects TR-31 blocks; of a zone with a partner it is the ZMK."""
    MAC_CBC = "M1"
    MAC_RETAIL = "M3"
    MAC_CMAC = "M6"
    MAC_HMAC = "M7"
    PIN_ENCRYPTION = "P0"
    """ZPK, TPK: enciphers PIN blocks on a link."""
    SIGNATURE = "S0"
    """RSA: a private key signs, a partner's public key verifies."""
    PIN_VERIFICATION_IBM = "V1"
    PIN_VERIFICATION_PVV = "V2"
    BLIND_INDEX = "10"


class KeyMode(StrEnum):
    """Which half of its usage a key may do: mode of use codes of ANSI X9.143 (TR-31)."""

    ENCRYPT = "E"
    DECRYPT = "D"
    BOTH = "B"
    GENERATE = "G"
    VERIFY = "V"
    GENERATE_AND_VERIFY = "C"
    DERIVE = "X"
    SIGN = "S"
    NO_RESTRICTION = "N"
    """As older systems send derivation keys; taken for those alone."""


class Algorithm(StrEnum):
    """What cipher or code a key is made for: algorithm codes of ANSI X9.143 (TR-31)."""

    TDES = "T"
    AES = "A"
    HMAC = "H"
    RSA = "R"


class Exportability(StrEnum):
    """Whether a key may leave in a key block: codes of ANSI X9.143 (TR-31)."""

    EXPORTABLE = "E"
    """Under a KBPK, in a key block."""
    SENSITIVE = "S"
    """Exportable in forms other than key blocks too: kept as it came, and exported here in key blocks alone."""
    NOT_EXPORTABLE = "N"


class KeyState(StrEnum):
    """Where a key is in its life (NIST SP 800-57 part 1, 7)."""

    PRE_ACTIVE = "PRE_ACTIVE"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    DEACTIVATED = "DEACTIVATED"
    COMPROMISED = "COMPROMISED"
    DESTROYED = "DESTROYED"
    """Its bytes are gone; its header stays as a record, and its version number is never given again."""


TRANSITIONS: Mapping[KeyState, frozenset[KeyState]] = MappingProxyType(
    {
        KeyState.PRE_ACTIVE: frozenset({KeyState.ACTIVE, KeyState.COMPROMISED, KeyState.DESTROYED}),
        KeyState.ACTIVE: frozenset({KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED}),
        KeyState.SUSPENDED: frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED, KeyState.COMPROMISED}),
        KeyState.DEACTIVATED: frozenset({KeyState.COMPROMISED, KeyState.DESTROYED}),
        KeyState.COMPROMISED: frozenset({KeyState.DESTROYED}),
        KeyState.DESTROYED: frozenset(),
    }
)


@dataclass(frozen=True, slots=True)
class KeyAttributes:
    """What is fixed with a key and never comes from a request. None where the usage has no such thing.

    `decimalisation_table`: 16 digits; `check_length`: of IBM 3624, how many digits a PIN has, which all count: a PIN of more or
    fewer is a wrong one, since systems disagree about which of them would count (the bank's have six, BI SE 17/52/DKSP);
    `pvki`: PIN verification key index, 0 to 6; `padding`: method 1, 2 or 3 of ISO/IEC 9797-1; `mac_length`: bytes of a MAC, its
    leftmost; `digest`: SHA-256 or SHA-512. `device`: whose initial DUKPT key it is: the initial KSN (triple DES, 20 hex digits)
    or the initial key id (AES, 16), in upper case. `legacy_versions`: AC, of a triple DES KBPK that opens key blocks of versions
    A and C of old as well. `working_key`: what the terminals of an AES base or initial key encipher PINs and make MACs with
    (dukpt_aes.WORKING_KEYS): AES-128, AES-192, AES-256, TDES-112 or TDES-168, no stronger than the key; None: AES of its length.
    """

    decimalisation_table: str | None = None
    check_length: int | None = None
    pvki: int | None = None
    padding: int | None = None
    mac_length: int | None = None
    digest: str | None = None
    device: str | None = None
    legacy_versions: str | None = None
    working_key: str | None = None


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a key to be made or taken in shall be. What is left out is the usage's default (usages.USAGES).

    `bits` of the random key, or what one that comes must have; `active_from` and `active_to` (both included) are business dates,
    None: no bound.
    """

    usage: KeyUsage
    algorithm: Algorithm | None = None
    mode: KeyMode | None = None
    bits: int | None = None
    attributes: KeyAttributes | None = None
    exportability: Exportability = Exportability.NOT_EXPORTABLE
    state: KeyState = KeyState.ACTIVE
    active_from: date | None = None
    active_to: date | None = None


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """All there is to know of a key but the key: the header it is stored under. `version` counts from 1 within a label."""

    label: str
    usage: KeyUsage
    algorithm: Algorithm
    mode: KeyMode
    exportability: Exportability
    state: KeyState
    version: int
    created: date
    active_from: date | None
    active_to: date | None
    bits: int
    kcv: Kcv
    attributes: KeyAttributes

    @property
    def name(self) -> str:
        """Label and version, as commands and messages write them: zpk-himbara#2."""
        return f"{self.label}#{self.version}"

    def state_on(self, day: date) -> KeyState:
        """The state with its dates: an ACTIVE key is PRE_ACTIVE before its first day and DEACTIVATED after its last."""
        if self.state is not KeyState.ACTIVE:
            return self.state
        if self.active_from is not None and day < self.active_from:
            return KeyState.PRE_ACTIVE
        if self.active_to is not None and day > self.active_to:
            return KeyState.DEACTIVATED
        return KeyState.ACTIVE


@dataclass(frozen=True, slots=True, eq=False)
class KeyHandle:
    """Stands for one key inside one open HSM. Equal to itself only; worth nothing to another HSM."""

    label: str
    version: int
    usage: KeyUsage
    kcv: Kcv

    def __repr__(self) -> str:
        return f"KeyHandle({self.label}#{self.version}, {self.usage.name}, kcv {self.kcv})"


def check_end(info: KeyInfo, last_day: date) -> None:
    """Raise KeyRefused unless a key's last day may become LAST_DAY: earlier than it was, and of a key that has not ended."""
    if info.state not in (KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.SUSPENDED):
        raise KeyRefused(f"key {info.name}: is {info.state.value}: it has ended")
    if info.active_to is not None and last_day > info.active_to:
        raise KeyRefused(f"key {info.name}: ends on {info.active_to}, and no later")


def check_transition(info: KeyInfo, state: KeyState) -> None:
    """Raise KeyRefused unless a key may go from its state to STATE."""
    if state not in TRANSITIONS[info.state]:
        raise KeyRefused(f"key {info.name}: is {info.state.value} and cannot become {state.value}")
