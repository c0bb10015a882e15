"""The HSM without hardware: keys live in this process and, sealed, in a keystore file. For tests, trials and banks without one.

Each key is made ready once, for just the operations ALLOWED lets it do; a call then costs a look-up and the cipher itself. One
thread, or calls that never overlap: contexts are shared. Not PCI PIN grade: clear PIN blocks pass through this process.
Read next: hsm.py (what each command means), keystore.py, pinblock.py, pin.py, mac.py.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys import selftest, tdes, usages
from keys.errors import KeyRefused, PinRefusal, PinRefused, VaultError
from keys.hsm import (
    Algorithm,
    KeyAttributes,
    KeyHandle,
    KeyInfo,
    KeyMode,
    KeyState,
    KeyUsage,
    Operation,
    PinToVerify,
    check_allowed,
)
from keys.keystore import Keystore
from keys.mac import aes_cmac, hmac_sha256, retail, same
from keys.pin import decimalisation_map, natural_pin, offset_of, pin_of, refuse_weak
from keys.pinblock import BLOCK_BYTES, account_field, block_of, decode_format_0, encode_format_0
from keys.sensitive import Material

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from keys.kcv import Kcv
    from keys.master import MasterKey, Passphrase
    from keys.sensitive import Pan, Pin

INDEX_BYTES = 16
NONCE_BYTES = 12
RANDOM_MOST = 65_536

Engine = TypeVar("Engine")


class _PinVerification(NamedTuple):
    """A PVK made ready."""

    encipher: Callable[[bytes], bytes]
    decimals: bytes
    check_length: int

    def natural(self, account: bytes) -> bytes:
        return natural_pin(self.encipher(account), self.decimals, self.check_length)


class _Ready(dict[KeyHandle, Engine], Generic[Engine]):
    """The keys that may do one operation, made ready for it. Asking for any other raises KeyRefused with its reason."""

    def __init__(self, operation: Operation, known: dict[KeyHandle, KeyInfo]) -> None:
        super().__init__()
        self._operation = operation
        self._known = known

    def __missing__(self, handle: KeyHandle) -> Engine:
        if handle not in self._known:
            raise KeyRefused(f"{handle!r} is not a key of this HSM")
        check_allowed(self._known[handle], self._operation)
        raise KeyRefused(f"{handle!r} is not ready for {self._operation.value}")

    def admit(self, handle: KeyHandle, make: Callable[[], Engine]) -> None:
        """Make the key ready, if the table lets it do the operation."""
        try:
            check_allowed(self._known[handle], self._operation)
        except KeyRefused:
            return
        self[handle] = make()


class SoftwareHsm:
    """An open HSM of this process. Made by create, open or in_memory."""

    def __init__(self, store: Keystore | None, today: Callable[[], date]) -> None:
        self._store = store
        self._today = today
        self._infos: dict[KeyHandle, KeyInfo] = {}
        self._labels: dict[str, KeyHandle] = {}
        self._encipher_pin: _Ready[Callable[[bytes], bytes]] = _Ready(Operation.ENCIPHER_PIN, self._infos)
        self._decipher_pin: _Ready[Callable[[bytes], bytes]] = _Ready(Operation.DECIPHER_PIN, self._infos)
        self._make_offset: _Ready[_PinVerification] = _Ready(Operation.MAKE_OFFSET, self._infos)
        self._verify_pin: _Ready[_PinVerification] = _Ready(Operation.VERIFY_PIN, self._infos)
        self._seal: _Ready[AESGCM] = _Ready(Operation.SEAL, self._infos)
        self._open: _Ready[AESGCM] = _Ready(Operation.UNSEAL, self._infos)
        self._index: _Ready[Callable[[bytes], bytes]] = _Ready(Operation.BLIND_INDEX, self._infos)
        self._make_mac: _Ready[Callable[[bytes], bytes]] = _Ready(Operation.MAKE_MAC, self._infos)
        self._verify_mac: _Ready[Callable[[bytes], bytes]] = _Ready(Operation.VERIFY_MAC, self._infos)
        for info, material in store.load() if store is not None else ():
            self._admit(info, material)

    @classmethod
    def create(
        cls, keystore_path: Path, master: MasterKey | Passphrase, *, today: Callable[[], date] | None = None
    ) -> SoftwareHsm:
        """An HSM over a new, empty keystore file. Raises KeystoreError where the file is there already. TODAY: dates new keys."""
        return cls(Keystore.create(keystore_path, master), today or _today)

    @classmethod
    def open(
        cls, keystore_path: Path, master: MasterKey | Passphrase, *, today: Callable[[], date] | None = None
    ) -> SoftwareHsm:
        """An HSM over a keystore file. Raises KeystoreError where file or master key are not right. TODAY: dates new keys."""
        return cls(Keystore.open(keystore_path, master), today or _today)

    @classmethod
    def in_memory(cls) -> SoftwareHsm:
        """An HSM whose keys go with the process: a terminal's PIN pad in the simulator, and tests."""
        return cls(None, _today)

    def generate(
        self, usage: KeyUsage, label: str, *, mode: KeyMode | None = None, attributes: KeyAttributes | None = None
    ) -> KeyHandle:
        """Make and keep a random key of the usage's length; a triple DES key has odd parity."""
        rule = usages.USAGES[usage]
        key = os.urandom(rule.generated_length)
        if rule.algorithm is Algorithm.TDES:
            key = tdes.odd_parity(key)
        return self._keep(usage, label, Material(key), mode, attributes)

    def form(
        self,
        usage: KeyUsage,
        label: str,
        components: Sequence[bytes],
        *,
        mode: KeyMode | None = None,
        attributes: KeyAttributes | None = None,
    ) -> KeyHandle:
        """Keep the XOR of two or more components. Weak keys, equal halves and single DES are KeyRefused."""
        return self._keep(usage, label, Material(usages.combine(components)), mode, attributes)

    def find(self, label: str) -> KeyHandle:
        """The handle of a key kept here. Raises KeyRefused where there is none."""
        try:
            return self._labels[label]
        except KeyError:
            raise KeyRefused(f"there is no key {label!r} in this HSM") from None

    def keys(self) -> list[KeyInfo]:
        """All keys kept here, by label."""
        return sorted(self._infos.values(), key=lambda info: info.label)

    def kcv(self, handle: KeyHandle) -> Kcv:
        """The key check value."""
        if handle not in self._infos:
            raise KeyRefused(f"{handle!r} is not a key of this HSM")
        return self._infos[handle].kcv

    def encipher_pin(self, pin: Pin, zpk: KeyHandle, pan: Pan) -> bytes:
        """A PIN block of 8 bytes, format 0, under ZPK."""
        return self._encipher_pin[zpk](encode_format_0(pin, account_field(pan)))

    def verify_pin(self, block: bytes, zpk: KeyHandle, pvk: KeyHandle, pan: Pan, offset: str) -> bool:
        """Whether the PIN in the block is the card's: whether the block is, byte for byte, the one the right PIN makes.

        So there is one comparison for every cause of failure, and nothing to tell one from another by.
        """
        return self.verify_pins([PinToVerify(block, zpk, pan, offset)], pvk)[0]

    def verify_pins(self, asked: Sequence[PinToVerify], pvk: KeyHandle) -> list[bool]:
        """verify_pin for many at once: two calls of the cipher, one for all validation data and one a ZPK for its blocks."""
        verification = self._verify_pin[pvk]
        length = verification.check_length
        answers = [False] * len(asked)
        by_zpk: dict[KeyHandle, list[int]] = {}
        for place, one in enumerate(asked):
            self._decipher_pin[one.zpk]  # a key that may not is refused, whatever the block
            if len(one.block) == BLOCK_BYTES and _is_offset(one.offset, length):
                by_zpk.setdefault(one.zpk, []).append(place)
        for zpk, places in by_zpk.items():
            accounts = [account_field(asked[place].pan) for place in places]
            enciphered = verification.encipher(b"".join(accounts))
            clear = self._decipher_pin[zpk](b"".join([asked[place].block for place in places]))
            for at, (place, account) in enumerate(zip(places, accounts, strict=True)):
                piece = slice(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES)
                right = pin_of(natural_pin(enciphered[piece], verification.decimals, length), asked[place].offset)
                answers[place] = same(block_of(right, length, account), clear[piece])
        return answers

    def choose_pin(self, block: bytes, zpk: KeyHandle, pvk: KeyHandle, pan: Pan, birth_date: date | None) -> str:
        """The offset of the PIN in the block. Raises PinRefused where the block is bad or the PIN weak."""
        decipher = self._decipher_pin[zpk]
        verification = self._make_offset[pvk]
        account = account_field(pan)
        digits = decode_format_0(decipher(block), account) if len(block) == BLOCK_BYTES else None
        if digits is None:
            raise PinRefused(PinRefusal.BAD_BLOCK)
        if len(digits) != verification.check_length:
            raise PinRefused(PinRefusal.WRONG_LENGTH)
        refuse_weak(digits, birth_date)
        return offset_of(verification.natural(account), digits)

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
        """The new offset, if the old PIN is right: else PinRefused WRONG_PIN. Nothing is kept here: the caller stores it."""
        if not self.verify_pin(old_block, zpk, pvk, pan, offset):
            raise PinRefused(PinRefusal.WRONG_PIN)
        return self.choose_pin(new_block, zpk, pvk, pan, birth_date)

    def seal(self, key: KeyHandle, plaintext: bytes, aad: bytes) -> bytes:
        """Nonce (12 bytes, random), ciphertext, tag (16). Change the key before 2**32 seals (NIST SP 800-38D 8.3)."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._seal[key].encrypt(nonce, plaintext, aad)

    def unseal(self, key: KeyHandle, sealed: bytes, aad: bytes) -> bytes:
        """What was sealed. Raises VaultError where it was changed, or AAD or key are others."""
        engine = self._open[key]
        try:
            return engine.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
        except (InvalidTag, ValueError):
            raise VaultError("sealed data does not open: it was changed, moved, or sealed under another key") from None

    def blind_index(self, key: KeyHandle, text: bytes) -> bytes:
        """16 bytes: the leftmost half of HMAC-SHA256."""
        return self._index[key](text)[:INDEX_BYTES]

    def mac(self, key: KeyHandle, data: bytes) -> bytes:
        """The MAC of the key's usage, as long as its attributes say."""
        return self._make_mac[key](data)

    def verify_mac(self, key: KeyHandle, data: bytes, mac: bytes) -> bool:
        """Whether MAC is the whole MAC of DATA."""
        return same(self._verify_mac[key](data), mac)

    def random_bytes(self, count: int) -> bytes:
        """Random bytes of the operating system, 1 to 65,536. Raises KeyRefused for another count."""
        if not 1 <= count <= RANDOM_MOST:
            raise KeyRefused(f"1 to {RANDOM_MOST} random bytes can be asked for at once")
        return os.urandom(count)

    def self_test(self) -> None:
        """Compute the published vectors of selftest.py."""
        selftest.run()

    def _keep(
        self,
        usage: KeyUsage,
        label: str,
        material: Material,
        mode: KeyMode | None,
        attributes: KeyAttributes | None,
    ) -> KeyHandle:
        if label in self._labels:
            raise KeyRefused(f"key {label}: a key of this label is there already")
        rule = usages.USAGES[usage]
        info = KeyInfo(
            label=label,
            usage=usage,
            algorithm=rule.algorithm,
            mode=mode or rule.modes[0],
            state=KeyState.ACTIVE,
            version=1,
            created=self._today(),
            kcv=usages.check_value(rule.algorithm, material),
            attributes=attributes or rule.attributes,
        )
        usages.check_key(info, material)
        if self._store is not None:
            self._store.add(info, material)
        return self._admit(info, material)

    def _admit(self, info: KeyInfo, material: Material) -> KeyHandle:
        """Make a key ready for all it may do."""
        handle = KeyHandle(info.label, info.usage, info.kcv)
        self._infos[handle] = info
        self._labels[info.label] = handle
        key = material.reveal()
        self._encipher_pin.admit(handle, lambda: tdes.encipherer(key))
        self._decipher_pin.admit(handle, lambda: tdes.decipherer(key))
        self._make_offset.admit(handle, lambda: _pin_verification(info, key))
        self._verify_pin.admit(handle, lambda: _pin_verification(info, key))
        self._seal.admit(handle, lambda: AESGCM(key))
        self._open.admit(handle, lambda: AESGCM(key))
        self._index.admit(handle, lambda: hmac_sha256(key))
        self._make_mac.admit(handle, lambda: _mac(info, key))
        self._verify_mac.admit(handle, lambda: _mac(info, key))
        return handle


def _is_offset(offset: str, check_length: int) -> bool:
    return len(offset) == check_length and offset.isascii() and offset.isdigit()


def _pin_verification(info: KeyInfo, key: bytes) -> _PinVerification:
    table, check_length = info.attributes.decimalisation_table, info.attributes.check_length
    if table is None or check_length is None:
        raise KeyRefused(f"key {info.label}: has no decimalisation table or check length")
    return _PinVerification(tdes.encipherer(key), decimalisation_map(table), check_length)


def _mac(info: KeyInfo, key: bytes) -> Callable[[bytes], bytes]:
    length = info.attributes.mac_length
    if info.usage is KeyUsage.MAC_RETAIL:
        whole = retail(key, info.attributes.padding or 0)
    elif info.usage is KeyUsage.MAC_CMAC:
        whole = aes_cmac(key)
    else:
        whole = hmac_sha256(key)
    return lambda data: whole(data)[:length]


def _today() -> date:
    return datetime.now(UTC).date()
