"""Sealing of PAN, NIK and other personal text for the database, and keyed indexes to find it again.

A sealed value opens only in the table, row and column it was sealed for. Layout: version (1 byte), key id (8), nonce (12),
ciphertext, tag (16). Refuses to know SQL and what the columns mean. Read next: hsm.py (seal, unseal, blind_index).
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from keys.errors import KeyRefused, VaultError
from keys.keytypes import KeyState, KeyUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

VERSION = b"\x01"
KEY_ID_BYTES = 8
_PREFIX_BYTES = len(VERSION) + KEY_ID_BYTES


class Purpose(StrEnum):
    """What an index is of: the same digits as PAN and as NIK have nothing in common."""

    PAN = "pan"
    NIK = "nik"
    NO_KK = "no_kk"
    PERSON = "person"
    NEW_PIN = "new_pin"


_PURPOSES = {purpose.value: purpose.value.encode("ascii") + b"\x00" for purpose in Purpose}


class Vault:
    """Seals (AES-256-GCM, NIST SP 800-38D) with the newest of its sealing keys, opens with any, indexes (HMAC) with one key.

    SEALING_KEYS: newest first; an older one stays as long as something sealed under it does (`reseal` is how it goes).
    Raises KeyRefused where a key is of another usage.
    """

    def __init__(self, hsm: Hsm, sealing_keys: Sequence[KeyHandle], index_key: KeyHandle) -> None:
        usages = {key.usage for key in sealing_keys}
        if usages != {KeyUsage.DATA_SEALING} or index_key.usage is not KeyUsage.BLIND_INDEX:
            raise KeyRefused("a vault wants keys of usage DATA_SEALING and one of usage BLIND_INDEX")
        self._hsm = hsm
        self._index_key = index_key
        self._label: str | None = None
        self._use(sealing_keys)

    @classmethod
    def of_labels(cls, hsm: Hsm, sealing: str, index: str) -> Vault:
        """The vault over all versions of the sealing key that still have their bytes, and the index key of that label.

        Raises KeyRefused where there is none, or one is of another usage.
        Versions made later, by another process too, are taken up by `refresh`, and where a value of one of them is found.
        """
        vault = cls(hsm, _versions(hsm, sealing), hsm.find(index))
        vault._label = sealing
        return vault

    def refresh(self) -> None:
        """Take up what has become of the sealing key's versions; of a vault that was made of labels."""
        if self._label is not None:
            self._hsm.refresh()
            self._use(_versions(self._hsm, self._label))

    @property
    def sealing_key(self) -> KeyHandle:
        """What new values are sealed with."""
        return self._sealing_key

    @property
    def current(self) -> bytes:
        """The 9 bytes with which every value sealed now begins: version and key id."""
        return self._prefix

    def seal(self, text: str, *, table: str, row: int | str, column: str) -> bytes:
        """TEXT sealed for one place. 37 bytes longer than its UTF-8, and never the same twice."""
        return self.seal_bytes(text.encode("utf-8"), table=table, row=row, column=column)

    def seal_bytes(self, data: bytes, *, table: str, row: int | str, column: str) -> bytes:
        """DATA sealed for one place, 37 bytes longer."""
        return self._prefix + self._hsm.seal(self._sealing_key, data, _place(self._prefix, table, row, column))

    def sealer(self, table: str, column: str) -> Callable[[str, int], bytes]:
        """`seal` for many rows of one column: a function of text and row. It keeps the key that is newest now."""
        seal, key, prefix = self._hsm.seal, self._sealing_key, self._prefix
        place = prefix + _column(table, column)
        return lambda text, row: prefix + seal(key, text.encode("utf-8"), place + str(row).encode())

    def open(self, sealed: bytes, *, table: str, row: int | str, column: str) -> str:
        """The text sealed for this place. Raises VaultError where it was changed, moved, or sealed under another key."""
        return self.open_bytes(sealed, table=table, row=row, column=column).decode("utf-8")

    def open_bytes(self, sealed: bytes, *, table: str, row: int | str, column: str) -> bytes:
        """The data sealed for this place by seal_bytes or seal. Raises as open does."""
        prefix = sealed[:_PREFIX_BYTES]
        if prefix not in self._by_prefix:
            self.refresh()
        key = self._by_prefix.get(prefix)
        if key is None:
            raise VaultError("sealed data is of another key or version than this vault's")
        return self._hsm.unseal(key, sealed[_PREFIX_BYTES:], _place(prefix, table, row, column))

    def reseal(self, sealed: bytes, *, table: str, row: int | str, column: str) -> bytes | None:
        """The same data sealed with the newest key; None where it is already. Raises as open does."""
        if sealed.startswith(self._prefix):
            return None
        data = self.open_bytes(sealed, table=table, row=row, column=column)
        return self.seal_bytes(data, table=table, row=row, column=column)

    def index(self, text: str, purpose: str) -> bytes:
        """16 bytes by which TEXT is found again. PURPOSE: one of Purpose. Raises VaultError for another."""
        return self.indexer(purpose)(text)

    def indexer(self, purpose: str) -> Callable[[str], bytes]:
        """`index` for many texts of one purpose: 16 bytes each. Raises VaultError for a purpose that is none."""
        prefix = _PURPOSES.get(purpose)
        if prefix is None:
            raise VaultError(f"there is no index for purpose {purpose!r}")
        index, key = self._hsm.blind_index, self._index_key
        return lambda text: index(key, prefix + text.encode("utf-8"))

    def _use(self, sealing_keys: Sequence[KeyHandle]) -> None:
        self._sealing_key = sealing_keys[0]
        self._prefix = VERSION + key_id(self._sealing_key)
        self._by_prefix = {VERSION + key_id(key): key for key in sealing_keys}


def _versions(hsm: Hsm, label: str) -> list[KeyHandle]:
    """The version to seal with, then the others that have their bytes, newest first."""
    newest = hsm.find(label)
    others = [key for key in hsm.versions(label) if key is not newest]
    return [newest, *(key for key in others if hsm.info(key).state is not KeyState.DESTROYED)]


def _place(prefix: bytes, table: str, row: int | str, column: str) -> bytes:
    """Associated data: version, key id, table, column and row; lengths stand before, so no place is like another."""
    return prefix + _column(table, column) + str(row).encode("utf-8")


def key_id(handle: KeyHandle) -> bytes:
    """8 bytes that name a sealing key beside what it sealed: of its label and check value."""
    return hashlib.sha256(f"kks vault key {handle.label} {handle.kcv}".encode()).digest()[:KEY_ID_BYTES]


@lru_cache(maxsize=256)
def _column(table: str, column: str) -> bytes:
    return f"{len(table)}:{table}{len(column)}:{column}".encode()
