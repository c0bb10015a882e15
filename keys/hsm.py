"""What can be asked of an HSM: payment commands over handles. Keys never come out, clear PINs neither.

This is the whole seam: the gateway knows nothing of a back end but this, and a back end (software.py, pkcs11.py, or one that
speaks to a payment HSM over a network) needs nothing of the gateway. tests/keys/test_conformance_*.py are what each must pass.
Every command that takes a handle raises KeyRefused where the key may not do what is asked (usage, mode, state, days, form) or is
not of this HSM, and TokenError where its token does not answer; what a docstring names comes besides. The auditor hears of every
KeyRefused, KeyBlockError and KsnRefused for a key's sake, once.
The master key is changed by `backend.Backend.rotate_master`, not from here: it has no handle, as it is under all of them, and
what it is (file, passphrase, object of a token) only a back end knows, which need not be open for it.
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
    """The key of one transaction of a DUKPT terminal: BDK (usage B0) or initial key (B1), and the KSN (ANSI X9.24-1 and -3).

    KSN: 10 bytes of triple DES, 12 of AES; under an initial key, one of the device that its attributes name. Every other is
    KsnRefused, as is one with more one-bits than a device counts to, or counter zero. Whether the KSN was seen before is for the
    caller to keep (ksn.KsnMemory): an HSM forgets when it is switched off.
    """

    key: KeyHandle
    ksn: bytes


class PinToVerify(NamedTuple):
    """One PIN block with its card and the card's reference value: an IBM 3624 offset, or a PVV, as the verification key is.

    BLOCK: 8 bytes (formats 0, 1, 3) or 16 (4). REFERENCE: as many digits as the key's check length, or the 4 of a PVV.
    """

    block: bytes
    key: KeyHandle | Dukpt
    pan: Pan
    reference: str
    pin_format: PinFormat = PinFormat.ISO_0


class NewPin(NamedTuple):
    """A random PIN, for the PIN letter: its block under the key asked for, and the reference value to keep with the card.

    BLOCK: 8 bytes, or 16 of format 4. REFERENCE: digits, as in PinToVerify.
    """

    block: bytes
    reference: str


class ChipAnswer(NamedTuple):
    """Whether the card's cryptogram is right, and then the issuer's cryptogram for it (4 or 8 bytes): None where it is not."""

    right: bool
    arpc: bytes | None


class KeyCommands(Protocol):
    r"""The life of keys (NIST SP 800-57 part 1, 7). Where they lie in a file that cannot be read or written: KeystoreError.

    A KBPK of two components and a key block under it: X9.143 8.6, with its check value of 8.1.

    >>> from keys.keytypes import KeyUsage
    >>> from keys.software import SoftwareHsm
    >>> hsm = SoftwareHsm.in_memory()
    >>> other = "99F0BA3B3F2CC29D0EB128B427411DD9B96BA8C73CD83D10149EB68E55746CF7"
    >>> kbpk = hsm.form(KeyUsage.KEY_BLOCK_PROTECTION, "kbpk", [b"\x11" * 32, bytes.fromhex(other)])
    >>> block = "D0112P0AE00E0000B82679114F470F540165EDFBF7E250FCEA43F810D215F8D207E2E417C07156A2"
    >>> hsm.kcv(hsm.import_block("zpk", block + "7E8E31DA05F7425509593D03A457DC34", kbpk)).value
    '08793E25AB'
    """

    def generate(self, spec: KeySpec | KeyUsage, label: str) -> KeyHandle:
        """Make and keep a random key: the first of its label, or its next version. A bare usage means its defaults.

        LABEL: 1 to 64 letters, digits and . _ / : -. Raises KeyRefused where no key may be as SPEC says (usages.USAGES), and for
        a label whose other versions are of another usage; so do all commands that bring a key in.
        """
        ...

    def form(self, spec: KeySpec | KeyUsage, label: str, components: Sequence[bytes]) -> KeyHandle:
        """Keep the XOR of two or more components of equal length (NIST SP 800-133, 6.3).

        For a caller who has all of them at once and answers for whose they are: this command cannot know. People enter theirs
        one by one (`enter_component`), and nobody two.
        Raises KeyRefused for fewer, for unequal lengths, components that are equal or all zeros, and a weak key: equal parts,
        single DES, one byte again and again; and where it has not the bits that SPEC asks for.
        """
        ...

    def enter_component(self, spec: KeySpec | KeyUsage, component: Component, value: bytes) -> KeyHandle | None:
        """Keep one custodian's component until all are there; the last one forms the key. None while others are awaited.

        The component's check value is compared with COMPONENT's, as its sheet has it; empty: there is none to compare.
        Raises KeyRefused as `form`; for a check value that is another; where the custodian (usages.same_person) entered a part
        before, the part is there already, or SPEC is not what the others said; and where keys go with the process.
        Cut off when all are there, the key is formed when a custodian enters his again; key and components change in one step.
        """
        ...

    def components(self) -> list[Component]:
        """The components that wait for others. Never their values."""

    def forget_components(self, label: str) -> int:
        """Throw away the components that wait for a key. Returns how many there were."""

    def import_block(
        self, label: str, block: str, kbpk: KeyHandle, spec: KeySpec | None = None, state: KeyState | None = None
    ) -> KeyHandle:
        """Keep the key of a TR-31 block (ANSI X9.143). Its header says what it is; SPEC adds attributes, days, state, or narrows.

        BLOCK: text of 16 to 9999 characters: version D under an AES KBPK, B under triple DES; A and C where the attributes of a
        triple DES KBPK say so. STATE: for a block of which nothing else is to be said.
        Raises KeyBlockError where the block is malformed, of another version, not authentic, its key stronger than the KBPK, or a
        check value in it (KC, KP) is another; KeyRefused where its key may not exist here or SPEC disagrees: usage, algorithm,
        bits, a wider mode, and each attribute that the block says (key_blocks.py).
        """
        ...

    def export_block(self, handle: KeyHandle, kbpk: KeyHandle) -> str:
        """The key in a TR-31 block (ANSI X9.143): version D under an AES key, B under triple DES. Its attributes go with it.

        Raises KeyRefused for a key that is not exportable, KeyBlockError where the KBPK is weaker than the key.
        """
        ...

    def rewrap_block(self, block: str, source: KeyHandle, target: KeyHandle) -> str:
        """A TR-31 block (ANSI X9.143) under KBPK SOURCE, under KBPK TARGET: for another partner. The key is not kept.

        The same key, header and optional blocks, but for version (D under AES, B under triple DES) and KP. Raises KeyBlockError
        as `import_block`, and where TARGET is weaker than the key; KeyRefused where the key is not exportable, might not be
        taken in here as the block says it is, weak, or of a usage that never leaves.
        """
        ...

    def import_signing_key(self, label: str, encoded: bytes, spec: KeySpec | None = None) -> KeyHandle:
        """Keep an RSA key: a private one (PKCS#8, PEM or DER) to sign, or a public one or certificate to verify a partner.

        Raises KeyRefused for what is none of these, for other than 2048 to 8192 bits (2048, 3072 and 4096 are kept), an exponent
        under 65537 (FIPS 186-5), and where SPEC names another usage, mode or length than the key has.
        """

    def import_secret(self, label: str, secret: bytes, spec: KeySpec | None = None) -> KeyHandle:
        """Keep a partner's secret of 16 to 1024 bytes as an HMAC key (RFC 2104) of usage M7: SNAP's symmetric signature.

        SPEC: mode V (verify, the default) or G (make), never both; another digest than SHA-512; days, state. Raises KeyRefused
        for a shorter secret, which is weak, a longer one, one byte again and again, and another usage or mode.
        """

    def public_key(self, handle: KeyHandle) -> bytes:
        """The public half of an RSA key, private or a partner's: SubjectPublicKeyInfo in PEM. Of a PRE_ACTIVE key too."""

    def find(self, label: str) -> KeyHandle:
        """The newest version that may work today, else the newest of all. Raises KeyRefused where there is none."""

    def find_all(self, label: str) -> list[KeyHandle]:
        """Every version that may work today, newest first: two while an old ZPK and a new one overlap. None: an empty list."""

    def versions(self, label: str) -> list[KeyHandle]:
        """Every version, whatever its state, newest first. Of an unknown label: none."""

    def version(self, label: str, number: int) -> KeyHandle:
        """One version, whatever its state. Raises KeyRefused where there is none."""

    def keys(self) -> list[KeyInfo]:
        """All keys kept here, by label and version. Never their material."""

    def info(self, handle: KeyHandle) -> KeyInfo:
        """The header of one key, whatever its state. Raises KeyRefused for a handle of another HSM."""

    def kcv(self, handle: KeyHandle) -> Kcv:
        """The key check value with its method (ANSI X9.24-1, X9.143): 3 bytes of triple DES, 5 of others. Raises as `info`."""

    def set_state(self, handle: KeyHandle, state: KeyState) -> None:
        """Move a key along its life (keytypes.TRANSITIONS). DESTROYED leaves its header and no bytes.

        Raises KeyRefused for a step that its life does not have, also where another process made the one before.
        """

    def end_on(self, handle: KeyHandle, last_day: date) -> None:
        """Let a key work to the end of LAST_DAY, a business date, and no longer: the older one of an overlap.

        Raises KeyRefused for a key that has ended, a day later than its last one, and one before its first.
        """

    def serial(self) -> int:
        """How many changes the keys have had: where it goes down, they were put back to an earlier state. 0: not counted here."""

    def refresh(self) -> bool:
        """Take up what another process changed: new versions, states. Returns whether there was something. Raises TokenError."""


class PinCommands(Protocol):
    r"""PINs (ISO 9564-1). A block is 8 bytes under triple DES (formats 0, 1, 3), 16 under AES (format 4).

    Every command here raises KeyRefused where a format does not go with the algorithm of a key, or is none of its own.

    PIN 1234: its IBM 3624 offset and its PVV (vectors of CryptoCarver), and its block of a DUKPT terminal (X9.24-1:2009 A.4).

    >>> from keys.keytypes import KeyAttributes, KeyMode, KeySpec, KeyUsage
    >>> from keys.sensitive import Pan, Pin
    >>> from keys.software import SoftwareHsm
    >>> hsm, parts = SoftwareHsm.in_memory(), [b"\x11" * 16, bytes.fromhex("1032547698BADCFEEFCDAB8967452301")]
    >>> zpk = hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk")
    >>> four = KeyAttributes("0123456789012345", check_length=4)
    >>> ibm = hsm.form(KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=four), "ibm", parts)
    >>> pvk, pin = hsm.form(KeyUsage.PIN_VERIFICATION_PVV, "pvk", parts), Pin("1234")
    >>> for key, pan, reference in (ibm, Pan("4001111111111110"), "6569"), (pvk, Pan("4111111111111111"), "9464"):
    ...     hsm.verify_pin(PinToVerify(hsm.encipher_pin(pin, zpk, pan), zpk, pan, reference), key)
    True
    True
    >>> terminal = Dukpt(hsm.form(KeyUsage.BASE_DERIVATION, "bdk", parts), bytes.fromhex("FFFF9876543210E00001"))
    >>> hsm.encipher_pin(pin, terminal, Pan("4012345678909")).hex().upper()
    '1B9C1845EB993A7A'
    """

    def encipher_pin(
        self, pin: Pin, key: KeyHandle | Dukpt, pan: Pan, pin_format: PinFormat = PinFormat.ISO_0
    ) -> bytes:
        """A PIN block, as a terminal makes it: 8 bytes of format 0 or 3, 16 of format 4. Raises KsnRefused."""

    def verify_pin(self, asked: PinToVerify, verification_key: KeyHandle) -> bool:
        """Whether the PIN in the block is the card's: IBM 3624 offset, or Visa PVV, as the usage of VERIFICATION_KEY is.

        Everything wrong with block, KSN or reference is False, like a wrong PIN. Raises nothing but for a key's sake.
        """

    def verify_pins(self, asked: Sequence[PinToVerify], verification_key: KeyHandle) -> list[bool]:
        """verify_pin for many at once, in their order: a back end may send them to its cipher together.

        Raises KeyRefused for all of them where one of their keys is refused.
        """

    def choose_pin(
        self,
        block: bytes,
        key: KeyHandle | Dukpt,
        verification_key: KeyHandle,
        pan: Pan,
        birth_date: date | None,
        pin_format: PinFormat = PinFormat.ISO_0,
    ) -> str:
        """The reference value of the PIN in the block: offset of the key's check length, or PVV of 4 digits.

        BIRTH_DATE: the holder's, which the PIN must not be; None: not known. Raises PinRefused BAD_BLOCK (also for a KSN that
        cannot be), WRONG_LENGTH, or one of WEAK_REPEATED, WEAK_PAIRS, WEAK_SEQUENCE, WEAK_BIRTH_DATE (pin.weakness).
        """

    def change_pin(
        self, old: PinToVerify, new_block: bytes, verification_key: KeyHandle, birth_date: date | None
    ) -> str:
        """The new reference value, only where the old PIN is right: else PinRefused WRONG_PIN, and nothing is said of the new.

        The new block is under the key of the old one, in its format. Raises PinRefused as `choose_pin` for the new PIN.
        """

    def random_pin(
        self, key: KeyHandle, verification_key: KeyHandle, pan: Pan, pin_format: PinFormat = PinFormat.ISO_0
    ) -> NewPin:
        """A random PIN that is not weak, of the key's check length; six digits for a PVV."""

    def translate_pin(
        self, block: bytes, source: KeyHandle | Dukpt, target: KeyHandle, pan: Pan, formats: tuple[PinFormat, PinFormat]
    ) -> bytes:
        """The same PIN, of the same PAN, under another key and in another format, where PCI PIN 3-3 permits it.

        FORMATS: source and target; the answer is 8 or 16 bytes as the target has. Raises KeyRefused for a pair that is not
        permitted, PinRefused BAD_BLOCK for a block that is none of the PAN, or of a KSN that cannot be; both are told.
        """


class CardCommands(Protocol):
    r"""Values on magnetic stripe and chip. EXPIRY is YYMM, as on the track (ISO/IEC 7813); PSN two digits, as tag 5F34.

    A CVV of CryptoCarver's, and the cryptogram of a published NSICCS card with the ARPC that pyemv makes for it.

    >>> from keys.emv_profile import profiles
    >>> from keys.keytypes import KeyUsage
    >>> from keys.sensitive import Pan
    >>> from keys.software import SoftwareHsm
    >>> hsm, parts = SoftwareHsm.in_memory(), [b"\x11" * 16, bytes.fromhex("1032547698BADCFEEFCDAB8967452301")]
    >>> cvk = hsm.form(KeyUsage.CARD_VERIFICATION, "cvk", parts)
    >>> hsm.card_value(CardValue.CVV1, cvk, Pan("4111111111111111"), "2512", "201")
    '139'
    >>> imk = hsm.form(KeyUsage.ISSUER_CRYPTOGRAM, "imk", [parts[0], bytes.fromhex("515053525554575659585B5A5D5C5F5E")])
    >>> told = "9F02:000005000000 9F03:000000000000 9F1A:0360 95:0000000000 5F2A:0360 9A:261007 9C:01 9F37:889A0812 82:5400"
    >>> told += " 9F36:012C 9F10:0101A000800000EDB26B8D0000000000000000000000000000000000 9F26:E1D3FFDCBB06F2C8"
    >>> tags = {tag: bytes.fromhex(value) for tag, value in (one.split(":") for one in told.split())}
    >>> answer = hsm.verify_cryptogram(profiles()["nsiccs"], imk, Pan("4889501076030373"), "00", tags, b"00")
    >>> answer.right, answer.arpc.hex().upper()
    (True, '4EBC8F764A2E8B85')
    """

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

    def verify_dynamic_value(
        self, key: KeyHandle, pan: Pan, psn: str, expiry: str, service_code: str, counter: str, value: str
    ) -> bool:
        """Whether VALUE is the dynamic CVV of this COUNTER (the ATC, four digits, as the track has it). KEY: usage E4."""

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


class DataCommands(Protocol):
    r"""MACs, sealing, signatures, randomness. DATA of any length.

    A retail MAC (ISO/IEC 9797-1 B.4), and what SNAP's symmetric signature is, HMAC-SHA512 (RFC 4231, test case 4).

    >>> from keys.keytypes import KeyMode, KeySpec, KeyUsage
    >>> from keys.software import SoftwareHsm
    >>> hsm, parts = SoftwareHsm.in_memory(), [b"\x11" * 16, bytes.fromhex("1032547698BADCFEEFCDAB8967452301")]
    >>> hsm.mac(hsm.form(KeyUsage.MAC_RETAIL, "zak", parts), b"Now is the time for all ").hex().upper()
    'A1C72E74EA3FA9B6'
    >>> secret = hsm.import_secret("snap", bytes(range(1, 26)), KeySpec(KeyUsage.MAC_HMAC, mode=KeyMode.GENERATE))
    >>> hsm.mac(secret, b"\xcd" * 50).hex()[:16]
    'b0ba465637458c69'
    """

    def mac(self, key: KeyHandle | Dukpt, data: bytes) -> bytes:
        """The MAC of the key's usage, as long as its attributes say; under DUKPT 8 bytes, by the answering direction's key.

        M1: ISO/IEC 9797-1 algorithm 1; M3: algorithm 3; M6: CMAC (NIST SP 800-38B); M7: HMAC (RFC 2104), which SNAP's symmetric
        signature is; DUKPT: X9.24-1 and X9.24-3. Raises KsnRefused for a KSN that cannot be, or of another device.
        """

    def verify_mac(self, key: KeyHandle | Dukpt, data: bytes, mac: bytes) -> bool:
        """Whether MAC is the whole MAC of DATA, compared in constant time; under DUKPT by the asking direction's key.

        Raises KsnRefused as `mac`: a terminal that cannot be is no wrong MAC.
        """

    def verify_record(self, key: KeyHandle, data: bytes, mac: bytes) -> bool:
        """verify_mac of a record kept here, which outlives the active life of its HMAC key."""

    def translate_mac(self, source: KeyHandle | Dukpt, target: KeyHandle, data: bytes, mac: bytes) -> bytes | None:
        """The MAC of the same data under another key; None where the first is not right. Raises KsnRefused as `mac`."""

    def seal(self, key: KeyHandle, plaintext: bytes, aad: bytes) -> bytes:
        """Nonce (12 bytes), AES-256-GCM ciphertext, tag (16): NIST SP 800-38D. Opens only with the same AAD."""

    def unseal(self, key: KeyHandle, sealed: bytes, aad: bytes) -> bytes:
        """What was sealed. Raises VaultError where it was changed, or AAD or key are others."""

    def blind_index(self, key: KeyHandle, text: bytes) -> bytes:
        """16 bytes: HMAC-SHA256, its leftmost half. Equal texts give equal indexes; without the key nothing can be tried."""

    def sign(self, key: KeyHandle, data: bytes) -> bytes:
        """RSA signature with SHA-256, PKCS#1 v1.5 (RFC 8017, 8.2), as long as the modulus: SNAP's SHA256withRSA. KEY: private."""

    def verify_signature(self, key: KeyHandle, data: bytes, signature: bytes) -> bool:
        """Whether a partner's signature is right; whatever is wrong with it is False. KEY: public."""

    def random_bytes(self, count: int) -> bytes:
        """Random bytes fit for keys, 1 to 65,536. Raises KeyRefused for another COUNT, TokenError."""

    def self_test(self) -> None:
        """Compute published vectors; raises SelfTestFailed naming the first that does not come out."""


class Hsm(KeyCommands, PinCommands, CardCommands, DataCommands, Protocol):
    """All commands every back end has."""
