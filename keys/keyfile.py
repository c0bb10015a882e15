"""The keystore's file: canonical JSON, replaced as a whole, one writer at a time over processes.

Refuses to know what stands in it. Read next: keystore.py.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from keys.errors import KeystoreError
from keys.master import keep_owner, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_MOST = 16 * 1024 * 1024


def read(path: Path, parts: set[str]) -> dict[str, Any]:
    """The parsed file with just these PARTS. What this module would not have written byte for byte is damaged: KeystoreError."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_MOST + 1)
    except OSError as error:
        raise KeystoreError(f"keystore {path}: cannot be read ({error.strerror})") from None
    try:
        document: dict[str, Any] = json.loads(text)
        whole = len(text) <= FILE_MOST and _text(document) == text
        shaped = whole and document.keys() == parts and type(document["serial"]) is int
        shaped = shaped and all(isinstance(document[name], list) for name in ("keys", "components"))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        shaped = False
    if not shaped:
        raise KeystoreError(f"keystore {path}: is damaged, or was written by another version of this software")
    return document


def write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file at once: a reader, or a power cut, finds the old one or the new one. Mode 0600. Only under `locked`.

    The new file has one name until it takes the old one's place: a writer that was killed leaves one file at most, which the
    next takes away, so no key outlives its destruction in a forgotten copy.
    """
    new, text = path.with_name(f".{path.name}.new"), _text(document)
    if len(text) > FILE_MOST:
        raise KeystoreError(f"keystore {path}: would have {len(text)} bytes, and {FILE_MOST} is the most it can have")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            keep_owner(path, file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise KeystoreError(f"keystore {path}: cannot be written ({error.strerror})") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One writer at a time, over processes: a lock file beside the keystore, which itself is replaced and so cannot be locked."""
    descriptor = _lock_file(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """`locked` for one who must not wait, since it may hold another lock. Whether it is."""
    descriptor = _lock_file(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def stamp(path: Path) -> object:
    """What changes whenever the file is replaced. None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def canonical(value: dict[str, Any]) -> bytes:
    """One byte string for one value: what seals are bound to."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _lock_file(path: Path) -> int:
    try:
        # No link: it would be made, or given away, where it leads.
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeystoreError(f"keystore {path}: cannot be locked ({error.strerror})") from None
    with suppress(OSError):  # only root can, and only what root locks would be in the way
        keep_owner(path, descriptor)
    return descriptor


def _text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"
