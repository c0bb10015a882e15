"""How a keystore protects a key: the seam between the file and whatever holds its master key.

`Raw` is a key as its back end has it: Material (bytes of this process) or an object of a token. Whatever is bound to a key opens
with exactly the same bytes alone. Refuses to know the file's format and what keys are for. Read next: keystore.py,
master.py (whose key MasterEnvelope takes), pkcs11.py (the envelope of a token).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.errors import KeystoreError
from keys.master import SALT_BYTES, MasterKey, Passphrase
from keys.sensitive import Material
from keys.usages import check_key

if TYPE_CHECKING:
    from keys.keytypes import KeyInfo

Raw = TypeVar("Raw")
Entry = dict[str, str]

NONCE_BYTES = 12


class DoesNotOpen(KeystoreError):
    """A sealed entry was changed, is bound to something else, or is of another master key."""


class Envelope(Protocol[Raw]):
    """Seals keys under one master key. Every `open` raises DoesNotOpen unless entry and bound bytes are those of the seal."""

    @property
    def head(self) -> dict[str, Any]:
        """What the file's head must say so that the same envelope can be made again: kind, salt, token. JSON values."""
        ...

    def seal(self, raw: Raw, bound: bytes) -> Entry:
        """A key, bound to BOUND."""
        ...

    def open(self, entry: Entry, bound: bytes, info: KeyInfo | None = None) -> Raw:
        """The key, fit for what a key of INFO does; for nothing but to be sealed again where there is none."""
        ...

    def let_go(self, raw: Raw) -> None:
        """A key that was opened, and is not used any more: what the back end holds of it goes. Never raises."""
        ...

    def rebind(self, entry: Entry, bound: bytes, anew: bytes) -> Entry:
        """The same key bound to ANEW: its header changed. Raises DoesNotOpen as `open` does."""
        ...

    def check(self, info: KeyInfo, raw: Raw) -> None:
        """Raise KeyRefused unless the key is what its header says: length, strength, check value."""
        ...

    def seal_data(self, data: bytes, bound: bytes) -> Entry:
        """Bytes that are no key of their own: a component that waits, or nothing, to vouch for BOUND."""
        ...

    def open_data(self, entry: Entry, bound: bytes) -> bytes:
        """Those bytes."""
        ...


class MasterEnvelope:
    """AES-256-GCM under a master key of this process; BOUND is the associated data."""

    def __init__(self, master: MasterKey | Passphrase, salt: str | None = None) -> None:
        """SALT: hex, of the file's head; a passphrase without one gets a new one."""
        if isinstance(master, Passphrase):
            self._salt: str | None = salt or os.urandom(SALT_BYTES).hex()
            key = master.derive(bytes.fromhex(self._salt))
        else:
            self._salt, key = None, master
        self._cipher = AESGCM(key.reveal())

    @classmethod
    def for_head(cls, master: MasterKey | Passphrase, head: dict[str, Any]) -> MasterEnvelope:
        """The envelope that HEAD names. Raises KeystoreError where it names one of another kind."""
        kind, salt = head.get("kind"), head.get("salt")
        if kind != _kind(master) or (kind == "passphrase") is not isinstance(salt, str):
            raise KeystoreError("it wants another kind of master key (key file, passphrase or token)")
        try:
            return cls(master, salt)
        except ValueError:
            raise KeystoreError("its salt is damaged") from None

    @property
    def head(self) -> dict[str, Any]:
        """Kind of master key, and the salt of a passphrase."""
        return {"kind": "passphrase" if self._salt else "key file", "salt": self._salt}

    def seal(self, raw: Material, bound: bytes) -> Entry:
        """Nonce and ciphertext."""
        return self.seal_data(raw.reveal(), bound)

    def open(self, entry: Entry, bound: bytes, info: KeyInfo | None = None) -> Material:
        """The key."""
        del info
        return Material(self.open_data(entry, bound))

    def let_go(self, raw: Material) -> None:
        """Nothing: bytes go when nobody refers to them."""
        del raw

    def rebind(self, entry: Entry, bound: bytes, anew: bytes) -> Entry:
        """Opened and sealed again."""
        return self.seal(self.open(entry, bound), anew)

    def check(self, info: KeyInfo, raw: Material) -> None:
        """Length, strength, check value."""
        check_key(info, raw)

    def seal_data(self, data: bytes, bound: bytes) -> Entry:
        """Nonce and ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        return {"nonce": nonce.hex(), "sealed": self._cipher.encrypt(nonce, data, bound).hex()}

    def open_data(self, entry: Entry, bound: bytes) -> bytes:
        """The data."""
        try:
            if entry.keys() != {"nonce", "sealed"}:
                raise DoesNotOpen("another kind of entry")
            return self._cipher.decrypt(unhex(entry["nonce"]), unhex(entry["sealed"]), bound)
        except (InvalidTag, ValueError, TypeError, AttributeError):
            raise DoesNotOpen("an entry was changed, or is of another master key") from None


def unhex(text: str) -> bytes:
    """The bytes of lower case hex, as it is written here: no second way to write the same. Raises ValueError."""
    value = bytes.fromhex(text)
    if value.hex() != text:
        raise ValueError("hex is lower case, without spaces")
    return value


def _kind(master: MasterKey | Passphrase) -> str:
    return "passphrase" if isinstance(master, Passphrase) else "key file"
