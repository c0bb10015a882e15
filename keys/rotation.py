"""Another master key for a keystore file, in steps of which each can be the last before a power cut.

    1  FILE.next is written: the new key, or the new passphrase; nothing else has changed
    2  the keystore is written anew, sealed under it, in one step; until then the old one opens, from then on the new one
    3  the keystore is opened with the new one, every key of it
    4  FILE.next takes the old one's name; the old one is wiped

FILE is whichever opens the keystore: a key file or a passphrase file. Whoever opens a keystore between 2 and 4 finds that only
FILE.next opens it; unless somebody is at it just now, they finish. So at every moment one of the two files opens the keystore.
Components of a next key wait beside FILE.next and go after step 4: whoever was cut off as the last enters his again, and the
rotation goes on from where it was. Refuses to know tokens: their master keys never leave them (pkcs11.rewrap).
Read next: keystore.py, master.py, master_ceremony.py.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from keys import keyfile
from keys.envelope import MasterEnvelope
from keys.errors import KeystoreError
from keys.keystore import Keystore
from keys.master import (
    MasterKey,
    Passphrase,
    create_master_key_file,
    drop_unfinished,
    keep_owner,
    new_master_key,
    sync_folder,
    write_passphrase_file,
)
from keys.master_ceremony import collect_component, drop_components, drop_or_tell, master_components

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keys.master_ceremony import Entered, MasterComponent
    from keys.sensitive import Material


class MasterFile(NamedTuple):
    """The file that opens a keystore, and how it is read. READ raises KeystoreError where the file is none of its kind."""

    path: Path
    read: Callable[[Path], MasterKey | Passphrase]

    @property
    def following(self) -> MasterFile:
        """Where the next one waits until it takes the place of this one."""
        return self._replace(path=self.path.with_name(f"{self.path.name}.next"))


def finish_rotation(keystore: Path, master: MasterFile) -> MasterKey | Passphrase:
    """Finish a rotation that was cut off, if there is one and nobody is at it. Gives the master key that opens KEYSTORE.

    Never waits for a rotation, as its caller may hold the keystore's lock, which the rotation wants. Raises KeystoreError where
    the file of MASTER is none.
    """
    if not master.following.path.exists():
        return master.read(master.path)
    with (
        keyfile.locked_if_free(master.path) as ours,
        suppress(KeystoreError),
    ):  # whoever cannot finish it leaves it to the next
        if ours:
            return _settled(keystore, master)
    return _waiting(keystore, master) or master.read(master.path)


def rotate_master_key(keystore: Path, master: MasterFile, new: Passphrase | None = None) -> int:
    """Seal the keystore under another master key: NEW, or a random one. Returns how many keys it has.

    Goes on with a rotation that was cut off; where that was to NEW, it is done. Raises KeystoreError where the keystore does not
    open, or custodians have begun with components of the next: then nothing has changed.
    """
    with keyfile.locked(master.path):
        current = _settled(keystore, master)
        if waiting := master_components(master.following.path):
            raise KeystoreError(
                f"{len(waiting)} components of the next master key wait for others: "
                "`kks keys rotate-master --component`, or --forget"
            )
        return _reseal(keystore, master, current, new or new_master_key())


def rotate_by_component(keystore: Path, master: MasterFile, component: MasterComponent) -> Entered:
    """Keep one custodian's component of the next master key. The last one makes it, and the keystore is sealed under it.

    Raises KeyRefused and KeystoreError as enter_master_component and rotate_master_key do. Cut off as the last: entered again,
    the rotation goes on, or is found to be done.
    """
    with keyfile.locked(master.path):
        current = _settled(keystore, master)
        _open(keystore, current)
        entered, key = collect_component(master.following.path, component)
        if key is None:
            for path in master_components(master.following.path):
                _keep_owner(master, path)
            return entered
        count = _reseal(keystore, master, current, key)
        left = drop_or_tell(master.following.path)
    return entered._replace(keys=count, left=left)


def forget_next(keystore: Path, master: MasterFile) -> int:
    """Throw away what waits of a next master key, and what is left of the first one's ceremony. Returns how many components.

    What is half done is finished first.

    Raises KeystoreError where the keystore does not open: FILE.next may be the only one that opens it.
    """
    with keyfile.locked(master.path):
        _open(keystore, _settled(keystore, master))
        count = drop_components(master.following.path) + drop_components(master.path)
        master.following.path.unlink(missing_ok=True)  # it seals nothing
    return count


def _reseal(keystore: Path, master: MasterFile, current: MasterKey | Passphrase, new: MasterKey | Passphrase) -> int:
    """The four steps. For whoever holds the lock, after _settled. Where NEW is the one it has, they were done before."""
    store = _open(keystore, current)
    if new == current:
        return len(store.load())
    following = master.following.path
    try:
        with master.path.open("r+b"):  # or the last step could not be done
            following.unlink(missing_ok=True)  # of a rotation cut off before its second step: it seals nothing
    except OSError as error:
        raise KeystoreError(_cannot_replace(master, error)) from None
    _write(following, new)
    _keep_owner(master, following)
    count = store.rewrap(MasterEnvelope(new))
    if len(_open(keystore, new).load()) < count:  # somebody may have added one since
        raise KeystoreError(f"keystore {keystore}: lacks keys under the new master key; the old one is kept")
    _take_over(master)
    return count


def _settled(keystore: Path, master: MasterFile) -> MasterKey | Passphrase:
    """What opens the keystore, once a rotation that had passed its second step is finished. For whoever holds the lock.

    Raises KeystoreError where it cannot be finished: FILE.next must stay then.
    """
    waiting = _waiting(keystore, master)
    if waiting is None:
        return master.read(master.path)
    _take_over(master)
    return waiting


def _waiting(keystore: Path, master: MasterFile) -> MasterKey | Passphrase | None:
    """The key or passphrase of a rotation that has passed its second step and not its fourth."""
    following = master.following
    try:
        waiting = following.read(following.path)
        _open(keystore, waiting)
    except KeystoreError:  # there is none, it was not wholly written, or the keystore is still sealed under the old one
        return None
    return waiting


def _open(keystore: Path, master: MasterKey | Passphrase) -> Keystore[Material]:
    return Keystore.open(keystore, lambda head: MasterEnvelope.for_head(master, head))


def _write(path: Path, new: MasterKey | Passphrase) -> None:
    if isinstance(new, Passphrase):
        write_passphrase_file(path, new)
    else:
        create_master_key_file(path, new)


def _take_over(master: MasterFile) -> None:
    """Give the old one's name to the new one, and wipe the old one."""
    try:
        with master.path.open("r+b") as old:
            drop_unfinished(master.following.path)  # its second name, if it was not wholly written
            master.following.path.replace(master.path)
            sync_folder(master.path.parent)
            old.write(bytes(os.fstat(old.fileno()).st_size))
            old.flush()
            os.fsync(old.fileno())
    except OSError as error:
        raise KeystoreError(_cannot_replace(master, error)) from None


def _keep_owner(master: MasterFile, new: Path) -> None:
    try:
        keep_owner(master.path, new)
    except OSError as error:
        raise KeystoreError(_cannot_replace(master, error)) from None


def _cannot_replace(master: MasterFile, error: OSError) -> str:
    return f"file of the master key {master.path}: cannot be replaced ({error.strerror})"
