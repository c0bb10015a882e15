"""What can be asked of an HSM: payment commands over handles. Keys never come out, clear PINs neither.

This is the whole seam: the gateway knows nothing of a back end but this, and a back end (software.py, pkcs11.py, or one that
speaks to a payment HSM over a network) needs nothing of the gateway. tests/keys/test_conformance_*.py are what each must pass.
Every command raises KeyRefused where a key may not do what is asked, or is not of this HSM: the auditor hears of each use that
the permission table refuses.
Read next: permissions.py (which key may do what), usages.py, local.py (the commands of the back ends of this process).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from keys.cvv import CardValue, ExpiryOrder
from keys.pinblock import PinFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from keys.emv_profile import Profile
    from keys.kcv import Kcv
    from keys.keystore import Component
    from keys.keytypes import KeyHandle, KeyInfo, KeySpec, KeyState, KeyUsage
    from keys.sensitive import Pan, Pin


class Dukpt(NamedTuple):
    """The key of one transaction of a DUKPT terminal: BDK (usage B0) or initial key (B1), and the KSN: 10 (TDES) or 12 bytes.

    Whether the KSN was seen before is for the caller to keep (ksn.KsnMemory): an HSM forgets when it is switched off.
    """

    key: KeyHandle
    ksn: bytes


class PinToVerify(NamedTuple):
    """One PIN block with its card and the card's reference value: an IBM 3624 offset, or a PVV, as the verification key is."""

    block: bytes
    key: KeyHandle | Dukpt
    pan: Pan
    reference: str
    pin_format: PinFormat = PinFormat.ISO_0


class NewPin(NamedTuple):
    """A random PIN, for the PIN letter: its block under the key asked for, and the reference value to keep with the card."""

    block: bytes
    reference: str


class ChipAnswer(NamedTuple):
    """Whether the card's cryptogram is right, and then the issuer's cryptogram for it. `arpc` is None where it is not."""

    right: bool
    arpc: bytes | None


class KeyCommands(Protocol):
    """The life of keys."""

    def generate(self, spec: KeySpec | KeyUsage, label: str) -> KeyHandle:
        """Make and keep a random key: the first of its label, or its next version. A bare usage means its defaults."""
        ...

    def form(self, spec: KeySpec | KeyUsage, label: str, components: Sequence[bytes]) -> KeyHandle:
        """Keep the XOR of two or more components of equal length, each from another custodian."""
        ...

    def enter_component(self, spec: KeySpec | KeyUsage, component: Component, value: bytes) -> KeyHandle | None:
        """Keep one custodian's component until all are there; the last one forms the key. None while others are awaited.

        The component's check value is compared with COMPONENT's, as its sheet has it; empty: there is none to compare.
        """
        ...

    def components(self) -> list[Component]:
        """The components that wait for others. Never their values."""
        ...

    def forget_components(self, label: str) -> int:
        """Throw away the components that wait for a key. Returns how many there were."""
        ...

    def import_block(
        self, label: str, block: str, kbpk: KeyHandle, spec: KeySpec | None = None, state: KeyState | None = None
    ) -> KeyHandle:
        """Keep the key of a TR-31 block. Its header says what it is; SPEC adds attributes, dates and state, or narrows.

        STATE: for a block of which nothing else is to be said.

        Raises KeyBlockError where the block is not authentic, KeyRefused where its key may not exist here or SPEC disagrees.
        """
        ...

    def export_block(self, handle: KeyHandle, kbpk: KeyHandle) -> str:
        """The key in a TR-31 block: version D under an AES key, B under triple DES. Only of a key that is exportable."""
        ...

    def import_signing_key(self, label: str, encoded: bytes, spec: KeySpec | None = None) -> KeyHandle:
        """Keep an RSA key: a private one (PKCS#8, PEM or DER) to sign, or a public one or certificate to verify a partner."""
        ...

    def find(self, label: str) -> KeyHandle:
        """The newest version that may work today, else the newest of all. Raises KeyRefused where there is none."""
        ...

    def find_all(self, label: str) -> list[KeyHandle]:
        """Every version that may work today, newest first: two while an old ZPK and a new one overlap."""
        ...

    def versions(self, label: str) -> list[KeyHandle]:
        """Every version, whatever its state, newest first."""
        ...

    def version(self, label: str, number: int) -> KeyHandle:
        """One version, whatever its state. Raises KeyRefused where there is none."""
        ...

    def keys(self) -> list[KeyInfo]:
        """All keys kept here, by label and version. Never their material."""
        ...

    def info(self, handle: KeyHandle) -> KeyInfo:
        """The header of one key."""
        ...

    def kcv(self, handle: KeyHandle) -> Kcv:
        """The key check value."""
        ...

    def set_state(self, handle: KeyHandle, state: KeyState) -> None:
        """Move a key along its life (keytypes.TRANSITIONS). DESTROYED leaves its header and no bytes."""
        ...

    def end_on(self, handle: KeyHandle, last_day: date) -> None:
        """Let a key work to the end of LAST_DAY, a business date, and no longer: the older one of an overlap."""
        ...

    def serial(self) -> int:
        """How many changes the keys have had: where it goes down, they were put back to an earlier state. 0: not counted here."""
        ...

    def refresh(self) -> bool:
        """Take up what another process changed: new versions, states. Returns whether there was something."""
        ...


class PinCommands(Protocol):
    """PINs. A block is 8 bytes under triple DES (formats 0, 1, 3), 16 under AES (format 4)."""

    def encipher_pin(
        self, pin: Pin, key: KeyHandle | Dukpt, pan: Pan, pin_format: PinFormat = PinFormat.ISO_0
    ) -> bytes:
        """A PIN block, as a terminal makes it."""
        ...

    def verify_pin(self, asked: PinToVerify, verification_key: KeyHandle) -> bool:
        """Whether the PIN in the block is the card's. Everything wrong with block or reference is False, like a wrong PIN."""
        ...

    def verify_pins(self, asked: Sequence[PinToVerify], verification_key: KeyHandle) -> list[bool]:
        """verify_pin for many at once, in their order: a back end may send them to its cipher together."""
        ...

    def choose_pin(
        self,
        block: bytes,
        key: KeyHandle | Dukpt,
        verification_key: KeyHandle,
        pan: Pan,
        birth_date: date | None,
        pin_format: PinFormat = PinFormat.ISO_0,
    ) -> str:
        """The reference value of the PIN in the block. Raises PinRefused where the block is bad or the PIN weak."""
        ...

    def change_pin(
        self, old: PinToVerify, new_block: bytes, verification_key: KeyHandle, birth_date: date | None
    ) -> str:
        """The new reference value, only where the old PIN is right: else PinRefused WRONG_PIN, and nothing is said of the new."""
        ...

    def random_pin(
        self, key: KeyHandle, verification_key: KeyHandle, pan: Pan, pin_format: PinFormat = PinFormat.ISO_0
    ) -> NewPin:
        """A random PIN that is not weak."""
        ...

    def translate_pin(
        self, block: bytes, source: KeyHandle | Dukpt, target: KeyHandle, pan: Pan, formats: tuple[PinFormat, PinFormat]
    ) -> bytes:
        """The same PIN, of the same PAN, under another key and in another format, where PCI PIN 3-3 permits it.

        Raises KeyRefused for a pair of formats that it does not, PinRefused BAD_BLOCK for a block that is none.
        """
        ...


class CardCommands(Protocol):
    """Values on magnetic stripe and chip. EXPIRY is YYMM, as on the track (ISO/IEC 7813); PSN two digits, as tag 5F34."""

    def card_value(
        self,
        kind: CardValue,
        key: KeyHandle,
        pan: Pan,
        expiry: str,
        service_code: str | None = None,
        order: ExpiryOrder = ExpiryOrder.YYMM,
    ) -> str:
        """CVV, CVV2 or iCVV (cvv.py) of a card to be issued, 3 digits. KEY: usage C0.

        SERVICE_CODE is the stripe's, and for CVV alone; ORDER is the scheme's. Raises CardDataRefused for fields that cannot be,
        KeyRefused for a dynamic CVV, which is never made here.
        """
        ...

    def verify_card_value(
        self,
        kind: CardValue,
        key: KeyHandle,
        pan: Pan,
        expiry: str,
        value: str,
        service_code: str | None = None,
        order: ExpiryOrder = ExpiryOrder.YYMM,
    ) -> bool:
        """Whether VALUE is the card's, compared in constant time. Everything wrong with it is False. KEY: usage C0."""
        ...

    def verify_dynamic_value(
        self, key: KeyHandle, pan: Pan, psn: str, expiry: str, service_code: str, counter: str, value: str
    ) -> bool:
        """Whether VALUE is the dynamic CVV of this COUNTER (the ATC, four digits, as the track has it). KEY: usage E4."""
        ...

    def verify_cryptogram(
        self,
        profile: Profile,
        key: KeyHandle,
        pan: Pan,
        psn: str,
        tags: Mapping[str, bytes],
        answer: bytes,
        proprietary: bytes = b"",
    ) -> ChipAnswer:
        """ARQC verification and ARPC in one call (EMV book 2, 8). KEY: usage E0; which, `profile.key_index(tags)` says.

        TAGS: chip data by tag, with 9F26. ANSWER: ARC (2 bytes) for method 1, CSU (4) for method 2, that one with up to 8 bytes
        of PROPRIETARY authentication data. Raises CardDataRefused where a tag is missing, has another length, or a cryptogram
        version that is not the profile's. An HSM remembers no card: that the ATC (tag 9F36) is above the card's last one is for
        the caller to check, in the row he keeps of the card.
        """
        ...

    def script_mac(
        self,
        profile: Profile,
        key: KeyHandle,
        pan: Pan,
        psn: str,
        tags: Mapping[str, bytes],
        command: bytes,
        before: Sequence[bytes] = (),
    ) -> bytes:
        """The MAC of an issuer script command (EMV book 2, 9.2), `profile.script_mac_length` bytes. KEY: usage E2.

        COMMAND: CLA INS P1 P2 Lc and data, enciphered where they are. BEFORE: the commands of the script that stand before it:
        a chained MAC goes on from theirs, and M/Chip counts them. TAGS: 9F26 and 9F36 of the transaction. Raises
        CardDataRefused.
        """
        ...

    def script_encipher(
        self,
        profile: Profile,
        key: KeyHandle,
        pan: Pan,
        psn: str,
        tags: Mapping[str, bytes],
        data: bytes,
        place: int = 0,
    ) -> bytes:
        """The confidential data of an issuer script command (EMV book 2, 9.3), whole blocks of 8 bytes. KEY: usage E1.

        DATA: 1 to 238 bytes. PLACE: how many commands of the script stand before. TAGS as for `script_mac`. Raises
        CardDataRefused.
        """
        ...


class DataCommands(Protocol):
    """MACs, sealing, signatures, randomness."""

    def mac(self, key: KeyHandle | Dukpt, data: bytes) -> bytes:
        """The MAC of the key's usage, as long as its attributes say; under DUKPT 8 bytes, by the answering direction's key."""
        ...

    def verify_mac(self, key: KeyHandle | Dukpt, data: bytes, mac: bytes) -> bool:
        """Whether MAC is the whole MAC of DATA, compared in constant time; under DUKPT by the asking direction's key."""
        ...

    def verify_record(self, key: KeyHandle, data: bytes, mac: bytes) -> bool:
        """verify_mac of a record kept here, which outlives the active life of its HMAC key."""
        ...

    def translate_mac(self, source: KeyHandle | Dukpt, target: KeyHandle, data: bytes, mac: bytes) -> bytes | None:
        """The MAC of the same data under another key; None where the first is not right."""
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

    def sign(self, key: KeyHandle, data: bytes) -> bytes:
        """RSA signature with SHA-256, PKCS#1 v1.5, as SNAP wants it."""
        ...

    def verify_signature(self, key: KeyHandle, data: bytes, signature: bytes) -> bool:
        """Whether a partner's signature is right."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Random bytes fit for keys, 1 to 65,536."""
        ...

    def self_test(self) -> None:
        """Compute published vectors; raises SelfTestFailed naming the first that does not come out."""
        ...


class Hsm(KeyCommands, PinCommands, CardCommands, DataCommands, Protocol):
    """All commands every back end has."""
