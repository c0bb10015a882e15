"""The journal of stand-in: what was decided without the books, on disk before it is told, each part proving the one before.

A file of parts: length (4 bytes), its complement (4), JSON, MAC (32) over the MAC before and the JSON. The first part says which
list of cards the journal belongs to. A part is written and synced as one, whatever it holds: a group's one wait for the disk.
A power cut leaves at most one part that is not whole, at the end: nobody was told of it, so it is cut off, and kept beside for
people. Anything else that does not fit was changed, and the file is refused. Refuses to know keys and what its parts say.
"""

from __future__ import annotations

import json
import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import Refused
from keys.master import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMAT = 1
PURPOSE = b"kks stand-in journal\x00"
FIRST_MAC = bytes(32)
MAC_BYTES = 32
PART_MOST = 16 << 20
_LENGTHS = struct.Struct(">II")
_ALL = 0xFFFFFFFF


class JournalBroken(Exception):
    """A part could not be made to last. RESTORED: the file is as it was before, so what the part said has not happened."""

    def __init__(self, why: str, *, restored: bool) -> None:
        """WHY: for the log."""
        super().__init__(why)
        self.restored = restored


class Read(NamedTuple):
    """What a journal holds: its head, the parts behind it, its last MAC, where the last whole part ends, bytes after that."""

    head: dict[str, Any]
    parts: list[dict[str, Any]]
    mac: bytes
    end: int
    torn: int


class Journal:
    """A journal that is written. One process at a time: whoever holds the folder's lock."""

    def __init__(self, path: Path, mac: Callable[[bytes], bytes], before: bytes, end: int) -> None:
        self._path = path
        self._mac = mac
        self._before = before
        self._end = end
        self._uncertain = False  # what stands behind the end
        self._descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    @classmethod
    def create(cls, path: Path, mac: Callable[[bytes], bytes], head: dict[str, Any]) -> Journal:
        """A new journal with its head, in the place of whatever is at PATH. Mode 0600. Raises OSError."""
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        journal = cls(new, mac, FIRST_MAC, 0)
        try:
            journal.append({"format": FORMAT, **head})
        except JournalBroken as error:
            journal.close()
            raise OSError(str(error)) from None
        new.replace(path)
        sync_folder(path.parent)
        return journal

    @classmethod
    def resume(cls, path: Path, mac: Callable[[bytes], bytes], read: Read) -> Journal:
        """Go on behind what was READ; what is torn is cut off, and kept beside. Raises OSError."""
        if read.torn:
            beside = path.with_name(f"{path.name}.torn")
            with path.open("rb") as file:
                file.seek(read.end)
                tail = file.read()
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as kept:
                kept.write(tail)
        journal = cls(path, mac, read.mac, read.end)
        os.ftruncate(journal._descriptor, read.end)
        os.fsync(journal._descriptor)
        return journal

    def append(self, part: dict[str, Any]) -> None:
        """prepare() and put()."""
        self.put(self.prepare(part))

    def prepare(self, part: dict[str, Any]) -> bytes:
        """A part as it is written. Raises KeysError; ValueError where it is too large."""
        body = json.dumps(part, separators=(",", ":"), sort_keys=True).encode()
        if len(body) > PART_MOST:
            raise ValueError("a part of the journal is too large")
        mac = self._mac(PURPOSE + self._before + body)
        return _LENGTHS.pack(len(body), len(body) ^ _ALL) + body + mac

    def put(self, data: bytes) -> None:
        """Write what was prepared and make it last. Nothing else is prepared or put meanwhile. Raises JournalBroken.

        It asks no key, and may run in a thread.
        """
        try:
            if self._uncertain:
                os.ftruncate(self._descriptor, self._end)
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._end + written)
            os.fsync(self._descriptor)
        except OSError as error:
            self._uncertain = not self._restored()
            raise JournalBroken(error.strerror or str(error), restored=not self._uncertain) from None
        self._uncertain = False
        self._before = data[-MAC_BYTES:]
        self._end += len(data)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._descriptor)

    def _restored(self) -> bool:
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._end)
            os.fsync(self._descriptor)
            return True
        return False


def read(path: Path, verify: Callable[[bytes, bytes], bool]) -> Read | None:
    """Read a journal and prove it; None where there is none. VERIFY: whether data (first) has this MAC (second) of the bank.

    Raises Refused where it was changed, or is another bank's.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None
    parts: list[dict[str, Any]] = []
    before, at = FIRST_MAC, 0
    while at < len(data):
        length = _length(data, at)
        if length is None:
            if _may_be_torn(data, at):
                break
            raise Refused(f"{path}: was changed at byte {at}")
        end = at + _LENGTHS.size + length + MAC_BYTES
        body, mac = data[at + _LENGTHS.size : end - MAC_BYTES], data[end - MAC_BYTES : end]
        if end > len(data):
            break
        if not verify(PURPOSE + before + body, mac):
            if end == len(data) and parts:
                break  # its last bytes did not get to the disk
            raise Refused(f"{path}: was changed at byte {at}, or is another bank's")
        parts.append(json.loads(body))
        before, at = mac, end
    if not parts:
        raise Refused(f"{path}: has no head")
    if parts[0].get("format") != FORMAT:
        raise Refused(f"{path}: is of format {parts[0].get('format')}, this version reads {FORMAT}")
    return Read(parts[0], parts[1:], before, at, len(data) - at)


def _length(data: bytes, at: int) -> int | None:
    """The length of the part that begins here; None where that is no length."""
    if at + _LENGTHS.size > len(data):
        return None
    length, complement = _LENGTHS.unpack_from(data, at)
    return length if length ^ _ALL == complement and length <= PART_MOST else None


def _may_be_torn(data: bytes, at: int) -> bool:
    """Whether the end of a file is what a power cut leaves: less than two lengths, or room that was never filled."""
    return len(data) - at < _LENGTHS.size or not any(data[at:])
