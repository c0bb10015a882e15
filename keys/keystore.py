"""The keystore: one JSON file that holds every key sealed under the master key, each bound to its own header.

A header (usage, mode, attributes, check value and so on) is the associated data of its key's AES-256-GCM seal, together with the
file's own head. So a changed bit, a header swapped with another, or an entry from another keystore does not open. What it cannot
see is a whole file put back to an earlier state: backups are guarded elsewhere. Refuses to know what keys are used for.
Read next: master.py (the master key), usages.py (what a key must look like), software.py (who opens it).
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.errors import KeyRefused, KeystoreError
from keys.hsm import Algorithm, KeyAttributes, KeyInfo, KeyMode, KeyState, KeyUsage
from keys.kcv import Kcv, KcvMethod
from keys.master import SALT_BYTES, MasterKey, Passphrase, sync_folder
from keys.sensitive import Material
from keys.usages import check_key

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = "kks-keystore"
VERSION = 1
NONCE_BYTES = 12
FILE_MOST = 16 * 1024 * 1024


class Keystore:
    """An open keystore. It holds the master key's cipher, not the keys: `load` gives them once."""

    def __init__(self, path: Path, master: AESGCM, head: dict[str, Any]) -> None:
        self.path = path
        self._master = master
        self._head = head

    @classmethod
    def create(cls, path: Path, master: MasterKey | Passphrase) -> Keystore:
        """Write a new keystore without keys. Raises KeystoreError where PATH is there already or cannot be written."""
        salt = os.urandom(SALT_BYTES).hex() if isinstance(master, Passphrase) else None
        head = {"format": FORMAT, "version": VERSION, "store": os.urandom(SALT_BYTES).hex(), "salt": salt}
        cipher = _cipher(master, salt)
        with _locked(path):
            if path.exists():
                raise KeystoreError(f"keystore {path}: is there already; it is never overwritten")
            check = _seal(cipher, b"", _canonical({"head": head}))
            _write(path, {"head": head, "check": check, "keys": []})
        return cls(path, cipher, head)

    @classmethod
    def open(cls, path: Path, master: MasterKey | Passphrase) -> Keystore:
        """Open a keystore. Raises KeystoreError where it is missing, damaged, or of another master key."""
        document = _read(path)
        head = document["head"]
        if head.get("format") != FORMAT or head.get("version") != VERSION:
            raise KeystoreError(f"keystore {path}: is not of format {FORMAT} {VERSION}")
        if (head.get("salt") is not None) is not isinstance(master, Passphrase):
            raise KeystoreError(f"keystore {path}: wants the other kind of master key (key file or passphrase)")
        try:
            cipher = _cipher(master, head.get("salt"))
            _unseal(cipher, document["check"], _canonical({"head": head}))
        except (InvalidTag, ValueError, TypeError, KeyError):
            raise KeystoreError(
                f"keystore {path}: the master key is another one, or the file's head is damaged"
            ) from None
        return cls(path, cipher, head)

    def load(self) -> list[tuple[KeyInfo, Material]]:
        """Every key with its header. Raises KeystoreError naming the file where any one of them does not open or is not fit."""
        return self._open_entries(_read(self.path))

    def add(self, info: KeyInfo, material: Material) -> None:
        """Seal one more key and write the file anew, all or nothing. Raises KeyRefused for an unfit key or a label in use."""
        check_key(info, material)
        header = _header(info)
        entry = {"header": header, **_seal(self._master, material.reveal(), self._bound(header))}
        with _locked(self.path):
            document = _read(self.path)
            if any(known.label == info.label for known, _ in self._open_entries(document)):
                raise KeyRefused(f"key {info.label}: a key of this label is there already")
            document["keys"].append(entry)
            _write(self.path, document)

    def _open_entries(self, document: dict[str, Any]) -> list[tuple[KeyInfo, Material]]:
        if document["head"] != self._head:
            raise KeystoreError(f"keystore {self.path}: another file was put in its place")
        found = [self._open_entry(place, entry) for place, entry in enumerate(document["keys"], start=1)]
        if len({info.label for info, _ in found}) < len(found):
            raise KeystoreError(f"keystore {self.path}: is damaged: a key is in it twice")
        return found

    def _open_entry(self, place: int, entry: dict[str, Any]) -> tuple[KeyInfo, Material]:
        try:
            material = Material(_unseal(self._master, entry, self._bound(entry["header"])))
            info = _info(entry["header"])
            check_key(info, material)
        except (InvalidTag, ValueError, TypeError, KeyError):
            raise KeystoreError(f"keystore {self.path}: is damaged: key {place} does not open") from None
        except KeyRefused as error:
            raise KeystoreError(f"keystore {self.path}: key {place} is not fit: {error}") from None
        return info, material

    def _bound(self, header: dict[str, Any]) -> bytes:
        """The associated data of an entry: the file's head and the key's header."""
        return _canonical({"head": self._head, "header": header})


def _cipher(master: MasterKey | Passphrase, salt: str | None) -> AESGCM:
    key = master.derive(bytes.fromhex(salt or "")) if isinstance(master, Passphrase) else master
    return AESGCM(key.reveal())


def _seal(cipher: AESGCM, plaintext: bytes, aad: bytes) -> dict[str, str]:
    nonce = os.urandom(NONCE_BYTES)
    return {"nonce": nonce.hex(), "sealed": cipher.encrypt(nonce, plaintext, aad).hex()}


def _unseal(cipher: AESGCM, entry: dict[str, Any], aad: bytes) -> bytes:
    return cipher.decrypt(_unhex(entry["nonce"]), _unhex(entry["sealed"]), aad)


def _unhex(text: str) -> bytes:
    """The bytes of lower case hex, as this module writes it: no second way to write the same."""
    value = bytes.fromhex(text)
    if value.hex() != text:
        raise ValueError("hex is lower case, without spaces")
    return value


def _header(info: KeyInfo) -> dict[str, Any]:
    attributes = {name: getattr(info.attributes, name) for name in KeyAttributes.__slots__}
    return {
        "label": info.label,
        "usage": info.usage.value,
        "algorithm": info.algorithm.value,
        "mode": info.mode.value,
        "state": info.state.value,
        "version": info.version,
        "created": info.created.isoformat(),
        "kcv": info.kcv.value,
        "kcv_method": info.kcv.method.value,
        "attributes": {name: value for name, value in attributes.items() if value is not None},
    }


def _info(header: dict[str, Any]) -> KeyInfo:
    return KeyInfo(
        label=header["label"],
        usage=KeyUsage(header["usage"]),
        algorithm=Algorithm(header["algorithm"]),
        mode=KeyMode(header["mode"]),
        state=KeyState(header["state"]),
        version=header["version"],
        created=date.fromisoformat(header["created"]),
        kcv=Kcv(header["kcv"], KcvMethod(header["kcv_method"])),
        attributes=KeyAttributes(**header["attributes"]),
    )


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"


def _read(path: Path) -> dict[str, Any]:
    """The parsed file. What this module would not have written byte for byte is damaged."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_MOST + 1)
    except OSError as error:
        raise KeystoreError(f"keystore {path}: cannot be read ({error.strerror})") from None
    try:
        document: dict[str, Any] = json.loads(text)
        whole = len(text) <= FILE_MOST and _text(document) == text
        shaped = whole and document.keys() == {"head", "check", "keys"} and isinstance(document["keys"], list)
    except (ValueError, TypeError, AttributeError, RecursionError):
        shaped = False
    if not shaped or not isinstance(document["head"], dict):
        raise KeystoreError(f"keystore {path}: is damaged")
    return document


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file at once: a reader, or a power cut, finds the old one or the new one."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    except OSError as error:
        raise KeystoreError(f"keystore {path}: cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_text(document))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise KeystoreError(f"keystore {path}: cannot be written ({error.strerror})") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, over processes: a lock file beside the keystore, which itself is replaced and so cannot be locked."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeystoreError(f"keystore {path}: cannot be locked ({error.strerror})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
