"""Another master key for a keystore file, in steps of which each can be the last before a power cut.

    1  master.key.next is written: a new key, nothing else has changed
    2  the keystore is written anew, sealed under it, in one step; until then the old key opens, from then on the new one
    3  the keystore is opened with the new key, every key of it
    4  master.key.next takes the old key's name; the old key is wiped

Whoever opens a keystore between 2 and 4 finds that only the new key opens it; unless somebody is at it just now, they finish.
So at every moment one of the two files opens the keystore. Refuses to know tokens: their master keys never leave them
(pkcs11.rewrap). Read next: keystore.py, master.py.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from keys import keyfile
from keys.envelope import MasterEnvelope
from keys.errors import KeystoreError
from keys.keystore import Keystore
from keys.master import create_master_key_file, read_master_key_file, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from keys.master import MasterKey
    from keys.sensitive import Material


def master_key_of(keystore: Path, master_file: Path) -> MasterKey:
    """The master key that opens KEYSTORE: of MASTER_FILE, or of the one beside it where a rotation was cut off; it finishes that.

    Never waits for a rotation, as its caller may hold the keystore's lock, which the rotation wants. Raises KeystoreError where
    MASTER_FILE is none.
    """
    if not _following(master_file).exists():
        return read_master_key_file(master_file)
    with (
        keyfile.locked_if_free(master_file) as ours,
        suppress(KeystoreError),
    ):  # whoever cannot finish it leaves it to the next
        if ours:
            return _settled(keystore, master_file)
    return _waiting(keystore, master_file) or read_master_key_file(master_file)


def rotate_master_key(keystore: Path, master_file: Path) -> int:
    """Seal the keystore under a new random master key. Returns how many keys it has. Goes on with a rotation that was cut off.

    Raises KeystoreError where the keystore does not open: then nothing has changed.
    """
    with keyfile.locked(master_file):
        store = _open(keystore, _settled(keystore, master_file))
        following = _following(master_file)
        try:
            with master_file.open("r+b"):  # or the last step could not be done
                following.unlink(missing_ok=True)  # of a rotation cut off before its second step: it seals nothing
            new = create_master_key_file(following)
            keyfile.keep_owner(master_file, following)
        except OSError as error:
            raise KeystoreError(f"master key file {master_file}: cannot be replaced ({error.strerror})") from None
        count = store.rewrap(MasterEnvelope(new))
        if len(_open(keystore, new).load()) < count:  # somebody may have added one since
            raise KeystoreError(f"keystore {keystore}: lacks keys under the new master key; the old one is kept")
        _take_over(master_file, following)
    return count


def _settled(keystore: Path, master_file: Path) -> MasterKey:
    """The key of MASTER_FILE, once a rotation that had passed its second step is finished. For whoever holds the lock.

    Raises KeystoreError where it cannot be finished: master.key.next must stay then.
    """
    waiting = _waiting(keystore, master_file)
    if waiting is None:
        return read_master_key_file(master_file)
    _take_over(master_file, _following(master_file))
    return waiting


def _waiting(keystore: Path, master_file: Path) -> MasterKey | None:
    """The key of a rotation that has passed its second step and not its fourth."""
    try:
        waiting = read_master_key_file(_following(master_file))
        _open(keystore, waiting)
    except KeystoreError:  # there is none, it was not wholly written, or the keystore is still sealed under the old one
        return None
    return waiting


def _open(keystore: Path, master: MasterKey) -> Keystore[Material]:
    return Keystore.open(keystore, lambda head: MasterEnvelope.for_head(master, head))


def _take_over(master_file: Path, following: Path) -> None:
    """Give the old key's name to the new one, and wipe the old one."""
    try:
        with master_file.open("r+b") as old:
            following.replace(master_file)
            sync_folder(master_file.parent)
            old.write(bytes(os.fstat(old.fileno()).st_size))
            old.flush()
            os.fsync(old.fileno())
    except OSError as error:
        raise KeystoreError(f"master key file {master_file}: cannot be replaced ({error.strerror})") from None


def _following(master_file: Path) -> Path:
    return master_file.with_name(f"{master_file.name}.next")
