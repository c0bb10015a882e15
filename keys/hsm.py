"""What can be asked of an HSM: payment commands over handles. Keys never come out, clear PINs neither.

ALLOWED is the one table that says which key may do what; every back end obeys it. Refuses to know where keys are kept.
Read next: usages.py (what a key of each usage looks like), software.py (the back end without hardware).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from keys.errors import KeyRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from keys.kcv import Kcv
    from keys.sensitive import Pan, Pin


class KeyUsage(StrEnum):
    """What a key is for: key usage codes of ANSI X9.143 (TR-31); "10" is from its range for own use."""

    PIN_ENCRYPTION = "P0"
    PIN_VERIFICATION_IBM = "V1"
    DATA_SEALING = "D0"
    BLIND_INDEX = "10"
    MAC_RETAIL = "M3"
    MAC_CMAC = "M6"
    MAC_HMAC = "M7"


class KeyMode(StrEnum):
    """Which half of its usage a key may do: mode of use codes of ANSI X9.143 (TR-31)."""

    ENCRYPT = "E"
    DECRYPT = "D"
    BOTH = "B"
    GENERATE = "G"
    VERIFY = "V"
    GENERATE_AND_VERIFY = "C"


class KeyState(StrEnum):
    """Where a key is in its life (NIST SP 800-57 part 1, 7). Only an ACTIVE key works."""

    PRE_ACTIVE = "PRE_ACTIVE"
    ACTIVE = "ACTIVE"
    DEACTIVATED = "DEACTIVATED"
    COMPROMISED = "COMPROMISED"


class Algorithm(StrEnum):
    """What cipher or code a key is made for: algorithm codes of ANSI X9.143 (TR-31)."""

    TDES = "T"
    AES = "A"
    HMAC = "H"


class Operation(StrEnum):
    """What one key does in a call. A call that needs two keys is two operations, one of each."""

    ENCIPHER_PIN = "ENCIPHER_PIN"
    DECIPHER_PIN = "DECIPHER_PIN"
    MAKE_OFFSET = "MAKE_OFFSET"
    VERIFY_PIN = "VERIFY_PIN"
    SEAL = "SEAL"
    UNSEAL = "UNSEAL"
    BLIND_INDEX = "BLIND_INDEX"
    MAKE_MAC = "MAKE_MAC"
    VERIFY_MAC = "VERIFY_MAC"


_ENCRYPTS = frozenset({KeyMode.ENCRYPT, KeyMode.BOTH})
_DECRYPTS = frozenset({KeyMode.DECRYPT, KeyMode.BOTH})
_GENERATES = frozenset({KeyMode.GENERATE, KeyMode.GENERATE_AND_VERIFY})
_VERIFIES = frozenset({KeyMode.VERIFY, KeyMode.GENERATE_AND_VERIFY})
_MACS = frozenset({KeyUsage.MAC_RETAIL, KeyUsage.MAC_CMAC, KeyUsage.MAC_HMAC})

ALLOWED: Mapping[Operation, tuple[frozenset[KeyUsage], frozenset[KeyMode]]] = MappingProxyType(
    {
        Operation.ENCIPHER_PIN: (frozenset({KeyUsage.PIN_ENCRYPTION}), _ENCRYPTS),
        Operation.DECIPHER_PIN: (frozenset({KeyUsage.PIN_ENCRYPTION}), _DECRYPTS),
        Operation.MAKE_OFFSET: (frozenset({KeyUsage.PIN_VERIFICATION_IBM}), _GENERATES),
        Operation.VERIFY_PIN: (frozenset({KeyUsage.PIN_VERIFICATION_IBM}), _VERIFIES),
        Operation.SEAL: (frozenset({KeyUsage.DATA_SEALING}), _ENCRYPTS),
        Operation.UNSEAL: (frozenset({KeyUsage.DATA_SEALING}), _DECRYPTS),
        Operation.BLIND_INDEX: (frozenset({KeyUsage.BLIND_INDEX}), _GENERATES),
        Operation.MAKE_MAC: (_MACS, _GENERATES),
        Operation.VERIFY_MAC: (_MACS, _VERIFIES),
    }
)


@dataclass(frozen=True, slots=True)
class KeyAttributes:
    """What is fixed with a key and never comes from a request. None where the usage has no such thing.

    `decimalisation_table`: 16 digits; `check_length`: PIN digits that count; `padding`: method 1, 2 or 3 of ISO/IEC 9797-1;
    `mac_length`: bytes of a MAC, its leftmost.
    """

    decimalisation_table: str | None = None
    check_length: int | None = None
    padding: int | None = None
    mac_length: int | None = None


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """All there is to know of a key but the key: the header it is stored under."""

    label: str
    usage: KeyUsage
    algorithm: Algorithm
    mode: KeyMode
    state: KeyState
    version: int
    created: date
    kcv: Kcv
    attributes: KeyAttributes


class PinToVerify(NamedTuple):
    """One PIN block (8 bytes, format 0, under ZPK) with its card and the card's offset."""

    block: bytes
    zpk: KeyHandle
    pan: Pan
    offset: str


@dataclass(frozen=True, slots=True, eq=False)
class KeyHandle:
    """Stands for one key inside one open HSM. Equal to itself only; worth nothing to another HSM."""

    label: str
    usage: KeyUsage
    kcv: Kcv

    def __repr__(self) -> str:
        return f"KeyHandle({self.label}, {self.usage.name}, kcv {self.kcv})"


def check_allowed(info: KeyInfo, operation: Operation) -> None:
    """Raise KeyRefused unless the key's usage, mode and state let it do OPERATION."""
    usages, modes = ALLOWED[operation]
    what = f"key {info.label} (usage {info.usage.value}, mode {info.mode.value}) may not do {operation.value}"
    if info.usage not in usages or info.mode not in modes:
        raise KeyRefused(what)
    if info.state is not KeyState.ACTIVE:
        raise KeyRefused(f"{what}: it is {info.state.value}")


class Hsm(Protocol):
    """The commands every back end has. Each raises KeyRefused where a key may not do what is asked, or is not of this HSM.

    PIN blocks are 8 bytes, ISO 9564 format 0, under `zpk`; offsets are IBM 3624, as many digits as the PVK's check length.
    """

    def generate(
        self, usage: KeyUsage, label: str, *, mode: KeyMode | None = None, attributes: KeyAttributes | None = None
    ) -> KeyHandle:
        """Make and keep a random key. Without mode or attributes it has those of usages.USAGES."""
        ...

    def form(
        self,
        usage: KeyUsage,
        label: str,
        components: Sequence[bytes],
        *,
        mode: KeyMode | None = None,
        attributes: KeyAttributes | None = None,
    ) -> KeyHandle:
        """Keep the XOR of two or more components of equal length, each from another custodian."""
        ...

    def find(self, label: str) -> KeyHandle:
        """The handle of a key kept here."""
        ...

    def keys(self) -> list[KeyInfo]:
        """All keys kept here, by label. Never their material."""
        ...

    def kcv(self, handle: KeyHandle) -> Kcv:
        """The key check value."""
        ...

    def encipher_pin(self, pin: Pin, zpk: KeyHandle, pan: Pan) -> bytes:
        """A PIN block, as a terminal makes it."""
        ...

    def verify_pin(self, block: bytes, zpk: KeyHandle, pvk: KeyHandle, pan: Pan, offset: str) -> bool:
        """Whether the PIN in the block is the card's. Everything wrong with block or offset is False, like a wrong PIN."""
        ...

    def verify_pins(self, asked: Sequence[PinToVerify], pvk: KeyHandle) -> list[bool]:
        """verify_pin for many at once, in their order: a back end may send them to its cipher together."""
        ...

    def choose_pin(self, block: bytes, zpk: KeyHandle, pvk: KeyHandle, pan: Pan, birth_date: date | None) -> str:
        """The offset of the PIN in the block. Raises PinRefused where the block is bad or the PIN weak."""
        ...

    def change_pin(
        self,
        old_block: bytes,
        new_block: bytes,
        zpk: KeyHandle,
        pvk: KeyHandle,
        pan: Pan,
        offset: str,
        birth_date: date | None,
    ) -> str:
        """The new offset, only where the old PIN is right: else PinRefused WRONG_PIN, and nothing is said of the new one."""
        ...

    def seal(self, key: KeyHandle, plaintext: bytes, aad: bytes) -> bytes:
        """Nonce (12 bytes), AES-256-GCM ciphertext, tag (16). Opens only with the same AAD."""
        ...

    def unseal(self, key: KeyHandle, sealed: bytes, aad: bytes) -> bytes:
        """What was sealed. Raises VaultError where it was changed, or AAD or key are others."""
        ...

    def blind_index(self, key: KeyHandle, text: bytes) -> bytes:
        """16 bytes: HMAC-SHA256, its leftmost half. Equal texts give equal indexes; without the key nothing can be tried."""
        ...

    def mac(self, key: KeyHandle, data: bytes) -> bytes:
        """The MAC of the key's usage: retail (M3), AES-CMAC (M6) or HMAC-SHA256 (M7), as long as its attributes say."""
        ...

    def verify_mac(self, key: KeyHandle, data: bytes, mac: bytes) -> bool:
        """Whether MAC is the whole MAC of DATA, compared in constant time."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Random bytes fit for keys, 1 to 65,536."""
        ...

    def self_test(self) -> None:
        """Compute published vectors; raises SelfTestFailed naming the first that does not come out."""
        ...
