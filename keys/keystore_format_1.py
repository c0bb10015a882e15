"""Keystores of format 1, which a bank may still have: read once, and written anew in the format of today.

Format 1 knew one version of a key, no exportability and no dates, and had no seal over the whole. Refuses to write it. Read next:
keystore.py.
"""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

from keys import keyfile, usages
from keys.envelope import MasterEnvelope
from keys.errors import KeyRefused, KeystoreError
from keys.kcv import Kcv, KcvMethod
from keys.keystore import FORMAT, Keystore
from keys.keytypes import Algorithm, Exportability, KeyAttributes, KeyInfo, KeyMode, KeyState, KeyUsage
from keys.master import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from keys.master import MasterKey, Passphrase
    from keys.sensitive import Material

COPY = ".format-1"
_VERSION = 1


def upgrade(path: Path, master: MasterKey | Passphrase) -> bool:
    """Write a keystore of format 1 anew under the same master key, and keep a copy beside it. False where it is none.

    Until the last step the old file is in its place, whole. Raises KeystoreError where a key of it does not open.
    """
    if _read(path) is None:
        return False
    with keyfile.locked(path):
        document = _read(path)
        if document is None:  # another process did it
            return True
        keys = _open(path, document, master)
        waiting = path.with_name(f"{path.name}.upgrade")
        waiting.unlink(missing_ok=True)
        store: Keystore[Material] = Keystore.create(waiting, MasterEnvelope(master))
        for info, material in keys:
            store.add(info, material)
        if len(store.load()) != len(keys):
            raise KeystoreError(f"keystore {path}: lacks keys in its new format; the old file is kept")
        copy = path.with_name(path.name + COPY)
        copy.unlink(missing_ok=True)
        copy.hardlink_to(path)
        waiting.replace(path)
        sync_folder(path.parent)
        waiting.with_name(f"{waiting.name}.lock").unlink(missing_ok=True)
    return True


def is_format_1(path: Path) -> bool:
    """Whether there is a keystore of format 1."""
    return _read(path) is not None


def _read(path: Path) -> dict[str, Any] | None:
    """The file, where it is one of format 1."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(keyfile.FILE_MOST))
        head = document["head"]
        format_1 = head["format"] == FORMAT and head["version"] == _VERSION and isinstance(document["keys"], list)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return document if format_1 else None


def _open(path: Path, document: dict[str, Any], master: MasterKey | Passphrase) -> list[tuple[KeyInfo, Material]]:
    head = document["head"]
    try:
        envelope = MasterEnvelope(master, head["salt"])
        envelope.open_data(document["check"], keyfile.canonical({"head": head}))
    except (KeystoreError, ValueError, TypeError, KeyError, AttributeError):
        raise KeystoreError(f"keystore {path}: the master key is another one, or the file's head is damaged") from None
    found = []
    for place, entry in enumerate(document["keys"], start=1):
        try:
            header = entry["header"]
            bound = keyfile.canonical({"head": head, "header": header})
            material = envelope.open({"nonce": entry["nonce"], "sealed": entry["sealed"]}, bound)
            info = _info(header, material)
            usages.check_key(info, material)
        except (KeystoreError, KeyRefused, ValueError, TypeError, KeyError, AttributeError):
            raise KeystoreError(f"keystore {path}: is damaged: key {place} does not open") from None
        found.append((info, material))
    return found


def _info(header: dict[str, Any], material: Material) -> KeyInfo:
    """The header of today: HMAC keys were of SHA-256, and no key was exportable."""
    usage, algorithm = KeyUsage(header["usage"]), Algorithm(header["algorithm"])
    digest = "SHA-256" if usage is KeyUsage.MAC_HMAC else None
    return KeyInfo(
        label=header["label"],
        usage=usage,
        algorithm=algorithm,
        mode=KeyMode(header["mode"]),
        exportability=Exportability.NOT_EXPORTABLE,
        state=KeyState(header["state"]),
        version=1,
        created=date.fromisoformat(header["created"]),
        active_from=None,
        active_to=None,
        bits=usages.bits_of(algorithm, material),
        kcv=Kcv(header["kcv"], KcvMethod(header["kcv_method"])),
        attributes=KeyAttributes(**header["attributes"], digest=digest),
    )
