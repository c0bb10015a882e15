"""The keystore's file: canonical JSON, replaced as a whole, one writer at a time over processes.

Refuses to know what stands in it. Read next: keystore.py.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from keys.errors import KeystoreError
from keys.master import keep_owner, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_MOST = 16 * 1024 * 1024
"""Bytes of a keystore: some 25,000 keys. A key takes 500 to 700 bytes, an RSA key 3,000; a destroyed one keeps its header."""


def read(path: Path, parts: set[str]) -> dict[str, Any]:
    """The parsed file with just these PARTS. What this module would not have written byte for byte is damaged: KeystoreError."""
    try:
        # Not waiting for whoever would write into a pipe: it reads as empty.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
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


def write(path: Path, document: dict[str, Any], *, room: int = 0) -> None:
    """Replace the file at once: a reader, or a power cut, finds the old one or the new one. Mode 0600. Only under `locked`.

    ROOM: bytes that must be left up to FILE_MOST. Raises KeystoreError where there are fewer, or it cannot be written.

    The new file has one name until it takes the old one's place: a writer that was killed leaves one file at most, which the
    next takes away, so no key outlives its destruction in a forgotten copy.
    """
    new, text = path.with_name(f".{path.name}.new"), _text(document)
    if len(text) > FILE_MOST - room:
        most = f"{FILE_MOST - room} is the most it can have, some 25,000 keys"
        raise KeystoreError(f"keystore {path}: is full: it would have {len(text)} bytes, and {most}")
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
    return _indented(document, "\n").encode("ascii") + b"\n"


def _indented(value: Any, line: str) -> str:  # noqa: ANN401 - any JSON value
    """json.dumps(value, indent=1, sort_keys=True), which takes twice as long. LINE: how its last line begins."""
    text, inner = encode_basestring_ascii, line + " "
    if isinstance(value, dict) and value:
        parts = [
            f"{text(name)}: {text(one) if type(one) is str else _indented(one, inner)}"
            for name, one in sorted(value.items())
        ]
        return "{" + inner + ("," + inner).join(parts) + line + "}"
    if isinstance(value, list) and value:
        return "[" + inner + ("," + inner).join([_indented(one, inner) for one in value]) + line + "]"
    return json.dumps(value)
