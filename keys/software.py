"""The HSM without hardware: keys live in this process and, sealed, in a keystore file. For tests, trials and banks without one.

Each key is made ready once; a call then costs a look-up and the cipher itself. One thread, or calls that never overlap: contexts
are shared. Not PCI PIN grade: keys and clear PIN blocks are in the memory of this process (docs/threat-model.md).
Read next: local.py (the commands), keystore.py, envelope.py.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys import (
    aes,
    dukpt_tdes,
    emv,
    keystore_format_1,
    mac,
    master_ceremony,
    rotation,
    rsa_keys,
    selftest,
    signing,
    tdes,
    usages,
)
from keys.backend import Backend
from keys.envelope import MasterEnvelope
from keys.errors import KeystoreError, VaultError
from keys.keystore import Keystore
from keys.keytypes import Algorithm, KeyInfo, KeySpec, KeyUsage
from keys.local import LocalHsm
from keys.master import read_master_key_file, read_passphrase_file
from keys.rotation import MasterFile, finish_rotation
from keys.sensitive import Material
from keys.workshop import Sealing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import date
    from pathlib import Path

    from keys.backend import Place
    from keys.emv import Deriver
    from keys.kcv import Kcv
    from keys.master import MasterKey, Passphrase
    from keys.master_ceremony import Entered, MasterComponent
    from keys.toolbox import Refusal


class SoftwareHsm(LocalHsm[Material]):
    """An open HSM of this process. Made by create, open or in_memory. TODAY dates new keys; ON_REFUSAL hears of refused uses."""

    @classmethod
    def create(
        cls,
        keystore_path: Path,
        master: MasterKey | Passphrase,
        *,
        today: Callable[[], date] | None = None,
        on_refusal: Callable[[Refusal], None] | None = None,
    ) -> SoftwareHsm:
        """An HSM over a new, empty keystore file. Raises KeystoreError where the file is there already."""
        store = Keystore.create(keystore_path, MasterEnvelope(master))
        return cls(SoftwareWorkshop(), store, today=today, on_refusal=on_refusal)

    @classmethod
    def open(
        cls,
        keystore_path: Path,
        master: MasterKey | Passphrase | Callable[[], MasterKey | Passphrase],
        *,
        today: Callable[[], date] | None = None,
        on_refusal: Callable[[Refusal], None] | None = None,
    ) -> SoftwareHsm:
        """An HSM over a keystore file. Raises KeystoreError where file or master key are not right.

        MASTER as a function is asked again when the keystore has come under another master key.
        """

        def envelope(head: dict[str, Any]) -> MasterEnvelope:
            return MasterEnvelope.for_head(master() if callable(master) else master, head)

        if keystore_format_1.is_format_1(keystore_path):
            keystore_format_1.upgrade(keystore_path, master() if callable(master) else master)
        store = Keystore.open(keystore_path, envelope)
        return cls(SoftwareWorkshop(), store, today=today, on_refusal=on_refusal)

    @classmethod
    def in_memory(
        cls, *, today: Callable[[], date] | None = None, on_refusal: Callable[[Refusal], None] | None = None
    ) -> SoftwareHsm:
        """An HSM whose keys go with the process: a terminal's PIN pad in the simulator, and tests."""
        return cls(SoftwareWorkshop(), None, today=today, on_refusal=on_refusal)


class SoftwareWorkshop:
    """Tools over OpenSSL contexts that stay open."""

    def make(self, spec: KeySpec, length: int) -> Material:
        """A random key; a triple DES key has odd parity."""
        algorithm = usages.algorithm_of(spec)
        if algorithm is Algorithm.RSA:
            return Material(rsa_keys.make(8 * length))
        key = os.urandom(length)
        return Material(tdes.odd_parity(key) if algorithm is Algorithm.TDES else key)

    def take(self, spec: KeySpec, material: Material) -> Material:
        """The key as it came."""
        del spec
        return material

    def let_go(self, raw: Material) -> None:
        """Nothing: bytes go when nobody refers to them."""
        del raw

    def restore(self) -> bool:
        """This process is never away."""
        return False

    def give(self, raw: Material) -> Material:
        """The key."""
        return raw

    def check_value(self, algorithm: Algorithm, raw: Material) -> Kcv:
        """The check value."""
        return usages.check_value(algorithm, raw)

    def bits(self, algorithm: Algorithm, raw: Material) -> int:
        """Length of the key."""
        return usages.bits_of(algorithm, raw)

    def encipherer(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """ECB."""
        make = aes.encipherer if info.algorithm is Algorithm.AES else tdes.encipherer
        return make(raw.reveal())

    def decipherer(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """ECB."""
        make = aes.decipherer if info.algorithm is Algorithm.AES else tdes.decipherer
        return make(raw.reveal())

    def half_encipherer(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """Single DES under the first half."""
        del info
        return tdes.encipherer(raw.reveal()[: tdes.SINGLE])

    def masked_encipherer(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """Under the BDK with the DUKPT mask on it."""
        del info
        return tdes.encipherer(dukpt_tdes.masked(raw.reveal()))

    def at_hand(self, raw: Material) -> bytes:
        """They are."""
        return raw.reveal()

    def mac(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """The whole MAC by the key's usage."""
        key, padding = raw.reveal(), info.attributes.padding or 0
        if info.usage is KeyUsage.MAC_CBC:
            return mac.cbc_mac(key, padding)
        if info.usage is KeyUsage.MAC_RETAIL:
            return mac.retail(key, padding)
        if info.usage is KeyUsage.MAC_CMAC:
            return self.cmac(info, raw)
        return mac.hmac_sha512(key) if info.attributes.digest == "SHA-512" else mac.hmac_sha256(key)

    def sealing(self, info: KeyInfo, raw: Material) -> Sealing:
        """AES-256-GCM."""
        del info
        cipher = AESGCM(raw.reveal())

        def unseal(nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
            try:
                return cipher.decrypt(nonce, sealed, aad)
            except (InvalidTag, ValueError):
                raise VaultError(
                    "sealed data does not open: it was changed, moved, or sealed under another key"
                ) from None

        return Sealing(cipher.encrypt, unseal)

    def deriving(self, info: KeyInfo, raw: Material) -> Callable[[], AbstractContextManager[Deriver]]:
        """Card and session keys are bytes of this process for the moment; the issuer's context stays."""
        del info
        issuer = emv.SoftwareDeriver(raw.reveal())
        return lambda: issuer

    def cmac(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """CMAC."""
        return mac.aes_cmac(raw.reveal()) if info.algorithm is Algorithm.AES else mac.tdes_cmac(raw.reveal())

    def signer(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """RSA, PKCS#1 v1.5, SHA-256."""
        del info
        return signing.rsa_signer(raw.reveal())

    def verifier(self, info: KeyInfo, raw: Material) -> Callable[[bytes, bytes], bool]:
        """Of such a signature."""
        del info
        return signing.rsa_verifier(raw.reveal())

    def public(self, raw: Material) -> bytes:
        """Of a private key as of a public one."""
        return rsa_keys.public_of(raw.reveal())

    def self_test(self) -> None:
        """The vectors of selftest.py: they run on the ciphers of this process."""
        selftest.run()

    def random(self, count: int) -> bytes:
        """Of the operating system."""
        return os.urandom(count)


class SoftwareBackend(Backend):
    """This back end, as the bank finds it: a keystore file under a master key file or a passphrase."""

    def create(
        self, place: Place, today: Callable[[], date], on_refusal: Callable[[Refusal], None] | None = None
    ) -> SoftwareHsm:
        """Over a new keystore. A master key file that is not there is made, unless custodians have begun with components."""
        if place.passphrase is None:
            master_ceremony.make_master_key(place.master_key)
        master = _master_file(place)
        return SoftwareHsm.create(place.keystore, master.read(master.path), today=today, on_refusal=on_refusal)

    def open(
        self, place: Place, today: Callable[[], date], on_refusal: Callable[[Refusal], None] | None = None
    ) -> SoftwareHsm:
        """Over a keystore that is there; a change of master key that was cut off is finished."""
        master = _master_file(place)
        return SoftwareHsm.open(
            place.keystore, lambda: finish_rotation(place.keystore, master), today=today, on_refusal=on_refusal
        )

    def enter_master_component(self, place: Place, component: MasterComponent) -> Entered:
        """In files beside the master key file, until the last has come."""
        _refuse_passphrase(place)
        return master_ceremony.enter_master_component(place.master_key, component)

    def enter_next_component(self, place: Place, component: MasterComponent) -> Entered:
        """In files beside master.key.next, until the last has come and the keystore is sealed under the whole."""
        _refuse_passphrase(place)
        return rotation.rotate_by_component(place.keystore, _master_file(place), component)

    def forget_master_components(self, place: Place) -> int:
        """The files go. Where there is a keystore, they are those of a next master key, and what is left of the first one's."""
        if not place.keystore.exists():
            return master_ceremony.forget_master_components(place.master_key)
        return rotation.forget_next(place.keystore, _master_file(place))

    def rotate_master(self, place: Place, number: int | None = None) -> int:
        """A new random key in the file."""
        if number is not None:
            raise KeystoreError("master keys have numbers in a device, and this one is a file")
        if place.passphrase is not None:
            raise KeystoreError("the master key of this bank comes of a passphrase: the next one is --passphrase-file")
        return rotation.rotate_master_key(place.keystore, _master_file(place))

    def rotate_passphrase(self, place: Place, passphrase_file: Path) -> int:
        """Another passphrase; the bank's own file holds it at the end."""
        if place.passphrase is None:
            raise KeystoreError("the master key of this bank is a file: no passphrase opens it")
        new = read_passphrase_file(passphrase_file)
        return rotation.rotate_master_key(place.keystore, _master_file(place), new)


def _master_file(place: Place) -> MasterFile:
    """The file that opens the keystore."""
    if place.passphrase is not None:
        return MasterFile(place.passphrase, read_passphrase_file)
    return MasterFile(place.master_key, read_master_key_file)


def _refuse_passphrase(place: Place) -> None:
    if place.passphrase is not None:
        raise KeystoreError("the master key of this bank comes of a passphrase: it has no components")


BACKEND = SoftwareBackend()
