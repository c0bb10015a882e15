"""The master key that seals every key of the keystore: 32 random bytes in a file of mode 0600, or a passphrase through scrypt.

The file belongs on another disk or secret store than the keystore. Refuses to know the keystore's format. Read next: keystore.py.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from keys.errors import KeystoreError
from keys.sensitive import Sensitive

if TYPE_CHECKING:
    from pathlib import Path

MASTER_BYTES = 32
SALT_BYTES = 16
PASSPHRASE_LEAST = 12
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**16, 8, 1  # 64 MiB, about a fifth of a second
_FILE_MOST = 1024
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)  # how a file system says that it has no hard links
# Surrogates stand for input that is not UTF-8: the passphrase would be no text, and be shown in an error about its encoding.
_NO_TEXT = range(0xD800, 0xE000)


@final
class MasterKey(Sensitive[bytes]):
    """32 bytes. Raises KeystoreError for another length."""

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        if len(value) != MASTER_BYTES:
            raise KeystoreError("a master key has 32 bytes")
        super().__init__(value)


@final
class Secret(Sensitive[str]):
    """A text that nobody should see: the content of a secret file, a token's PIN."""

    __slots__ = ()


@final
class Passphrase(Sensitive[str]):
    """12 characters or more, from which a master key is derived. Raises KeystoreError for fewer, and for what is no text."""

    __slots__ = ()

    def __init__(self, value: str) -> None:
        if len(value) < PASSPHRASE_LEAST:
            raise KeystoreError("a passphrase has 12 characters or more")
        if any(ord(character) in _NO_TEXT for character in value):
            raise KeystoreError("a passphrase is text: what was given has bytes that are none")
        super().__init__(value)

    def derive(self, salt: bytes) -> MasterKey:
        """The master key of this passphrase and salt (RFC 7914)."""
        scrypt = Scrypt(salt=salt, length=MASTER_BYTES, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
        return MasterKey(scrypt.derive(self.reveal().encode("utf-8")))


def new_master_key() -> MasterKey:
    """A random one."""
    return MasterKey(os.urandom(MASTER_BYTES))


def create_master_key_file(path: Path, key: MasterKey | None = None) -> MasterKey:
    """Write KEY, or a new random one, to a new file of mode 0600, on disk before this returns.

    Raises KeystoreError if PATH is there.
    """
    key = key or new_master_key()
    write_secret_file(path, "master key file", key.reveal().hex())
    return key


def read_master_key_file(path: Path) -> MasterKey:
    """The key in the file. Raises KeystoreError where it is missing, not 64 hex digits, or group or others may touch it."""
    text = read_secret_file(path, "master key file")
    try:
        return MasterKey(bytes.fromhex(text.reveal()))
    except (ValueError, KeystoreError):
        raise KeystoreError(f"master key file {path}: is not 32 bytes in hex") from None


def read_passphrase_file(path: Path) -> Passphrase:
    """The passphrase in the file, its line end aside. Raises KeystoreError as read_secret_file does, or for a short one."""
    text = read_secret_file(path, "passphrase file").reveal()
    try:
        return Passphrase(text)
    except KeystoreError as error:
        raise KeystoreError(f"passphrase file {path}: {error}") from None


def write_passphrase_file(path: Path, passphrase: Passphrase) -> None:
    """Write the passphrase to a new file of mode 0600, on disk before this returns. Raises KeystoreError if PATH is there."""
    write_secret_file(path, "passphrase file", passphrase.reveal())


def write_secret_file(path: Path, what: str, text: str) -> None:
    """Write one line to a new file of mode 0600, which has its name when it is whole and on disk. For whoever holds the lock.

    Raises KeystoreError if PATH is there: it is never overwritten. Killed at any point it leaves no PATH, or the whole one; what
    it leaves under another name the next one takes away. Made by root it belongs to whom the folder does.
    """
    try:
        drop_unfinished(path)
        _write_unfinished(path, text)
        _finish(path)
    except FileExistsError:
        with suppress(OSError):
            drop_unfinished(path)
        raise KeystoreError(f"{what} {path}: is there already; it is never overwritten") from None
    except OSError as error:
        with suppress(OSError):
            drop_unfinished(path)
        raise KeystoreError(f"{what} {path}: cannot be written ({error.strerror})") from None
    try:
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            path.unlink()  # it may be gone after a power cut: nobody may count on it
        raise KeystoreError(f"{what} {path}: cannot be written ({error.strerror})") from None


def drop_unfinished(path: Path) -> None:
    """Take away what a killed write of the secret file PATH has left. For whoever holds the lock. Raises OSError."""
    new = _unfinished(path)
    try:
        found = new.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:  # else it may be PATH itself, under its first name
        with suppress(OSError):
            wipe(new)
    new.unlink()


def read_secret_file(path: Path, what: str) -> Secret:
    """The text of a file that its owner alone may read. Raises KeystoreError: missing, too long, no file, or of another mode."""
    named = f"{what} {path}"
    if path.name.isdecimal() or (len(path.parts) == 1 and not os.path.lexists(path)):
        named = f"{what} that was named"  # it may be the secret itself, given where its file's name belongs
    try:
        # Nothing is waited for: a pipe is refused before anybody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_FILE_MOST + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise KeystoreError(f"{named}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise KeystoreError(f"{named}: is no regular file")
    if mode & 0o077:
        raise KeystoreError(f"{named}: mode must be 0600, so that only its owner can read it (chmod 600)")
    # Replaced, not refused: an error of decoding would carry the bytes.
    text = data.decode("utf-8", "replace").removesuffix("\n")
    if not text or "\n" in text or "\ufffd" in text or len(data) > _FILE_MOST:
        raise KeystoreError(f"{named}: is not one short line of text")
    return Secret(text)


def wipe(path: Path) -> None:
    """Write zeros over a file that is to go, on disk before this returns: what a file system keeps elsewhere it cannot reach.

    Raises OSError, for a link too: it would be wiped where it leads.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), "r+b") as file:
        file.write(bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())


def _unfinished(path: Path) -> Path:
    """The name that a secret file has until it is whole."""
    return path.with_name(f".{path.name}.new")


def _write_unfinished(path: Path, text: str) -> None:
    descriptor = os.open(_unfinished(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        belong_to(path.parent, file.fileno())
        file.write(text.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _finish(path: Path) -> None:
    """Give the whole file its name, in one step that overwrites nothing. Raises FileExistsError, OSError."""
    new = _unfinished(path)
    try:
        os.link(new, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError from None
        new.rename(path)  # whoever would write PATH meanwhile waits for the lock
        return
    with suppress(OSError):  # a second name in the same folder is taken away by the next
        new.unlink()


def keep_owner(path: Path, new: Path | int) -> None:
    """NEW, a path or an open file, belongs to whom PATH does; where there is no PATH, as `belong_to` its folder. Raises OSError.

    A ceremony by root must not lock the service out of its keys.
    """
    if path.exists():
        _give(path, new)
    else:
        belong_to(path.parent, new)


def belong_to(folder: Path, new: Path | int) -> None:
    """NEW, a path or an open file in FOLDER made by root, belongs to whom the folder does. Raises OSError."""
    if os.geteuid() == 0:  # nobody else can give anything away
        _give(folder, new)


def _give(like: Path, new: Path | int) -> None:
    """Never through a link: whoever owns the folder could put one there, and root would give away what it leads to.

    Nor what has a second name, which is a link too; a folder has some.
    """
    wanted, found = like.stat(), os.fstat(new) if isinstance(new, int) else new.lstat()
    if found.st_nlink != 1 and not stat.S_ISDIR(found.st_mode):
        return
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        if isinstance(new, int):
            os.fchown(new, wanted.st_uid, wanted.st_gid)
        else:
            os.lchown(new, wanted.st_uid, wanted.st_gid)


def sync_folder(folder: Path) -> None:
    """Make a new or renamed entry of FOLDER last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
