"""One keystore file and those who open it: which master key, which format, and several processes at once."""

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keys import keyfile
from keys.envelope import MasterEnvelope
from keys.errors import KeyRefused, KeystoreError
from keys.keytypes import KeyHandle, KeySpec, KeyState, KeyUsage
from keys.master import Passphrase
from keys.software import SoftwareHsm
from tests.keys.samples import TODAY, key_of, one_line
from tests.keys.test_keystore import (
    MASTER,
    OTHER_MASTER,
    PASSPHRASE,
    create,
    load,
    opened,
    rewrite,
    store_with,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, KEYS_EACH = 3, 12

ADDER = """
import pathlib, sys
from keys.keytypes import KeyUsage
from keys.master import MasterKey
from keys.software import SoftwareHsm
hsm = SoftwareHsm.open(pathlib.Path(sys.argv[1]), MasterKey(bytes(range(32))))
print("open", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    hsm.generate(KeyUsage.MAC_HMAC, f"{sys.argv[2]}.{number}")
    print(hsm.generate(KeyUsage.MAC_HMAC, "shared").version)
"""


def test_wrong_master_key(tmp_path: Path) -> None:
    """Refused at once, also where no key is in the file yet."""
    create(tmp_path / "store")
    with pytest.raises(KeystoreError, match="master key is another one") as caught:
        opened(tmp_path / "store", OTHER_MASTER)
    assert str(tmp_path / "store") in str(caught.value)
    assert one_line(caught.value)


def test_passphrase(tmp_path: Path) -> None:
    """Opens what it created; another passphrase, or a key file, does not."""
    path = tmp_path / "store"
    info, material = key_of(KeyUsage.DATA_SEALING)
    create(path, PASSPHRASE).add(info, material)
    assert [(info, material)] == load(path, Passphrase("correct horse battery"))
    with pytest.raises(KeystoreError, match="master key is another one"):
        opened(path, Passphrase("correct horse batterz"))
    with pytest.raises(KeystoreError, match="store: it wants another kind of master key"):
        opened(path, MASTER)


def test_passphrase_does_not_open_what_a_key_file_made(tmp_path: Path) -> None:
    """The kind of master key is part of the file's head."""
    create(tmp_path / "store")
    with pytest.raises(KeystoreError, match="store: it wants another kind of master key"):
        opened(tmp_path / "store", PASSPHRASE)


def test_damaged_salt(tmp_path: Path) -> None:
    """A passphrase with another salt is another key."""
    create(tmp_path / "store", PASSPHRASE)
    for salt, why in (
        ("00" * 16, "another one"),
        ("zz", "salt is damaged"),
        (None, "another kind"),
        (1, "another kind"),
    ):
        rewrite(tmp_path / "store", lambda document, salt=salt: document["head"].update(salt=salt))  # type: ignore[misc]
        with pytest.raises(KeystoreError, match=why):
            opened(tmp_path / "store", PASSPHRASE)


@pytest.mark.parametrize("change", [{"version": 1}, {"version": 3}, {"version": None}, {"format": "other"}])
def test_other_formats_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """A file of a version this program does not know is not touched."""
    path = tmp_path / "store"
    create(path)
    rewrite(path, lambda document: document["head"].update(change))
    with pytest.raises(KeystoreError, match="is not of format kks-keystore 2"):
        opened(path)


@pytest.mark.parametrize("head", [None, [], 1, {}, {"format": "kks-keystore"}])
def test_other_heads_are_refused(tmp_path: Path, head: object) -> None:
    """Whatever stands there."""
    create(tmp_path / "store")
    rewrite(tmp_path / "store", lambda document: document.update(head=head))
    with pytest.raises(KeystoreError, match="is not of format"):
        opened(tmp_path / "store")


def test_never_overwritten(tmp_path: Path) -> None:
    """A second creation is refused, and the first keystore is still there."""
    added = store_with(tmp_path / "store", KeyUsage.MAC_HMAC)
    with pytest.raises(KeystoreError, match="there already"):
        create(tmp_path / "store")
    with pytest.raises(KeystoreError, match="there already"):
        create(tmp_path / "store", OTHER_MASTER)
    assert added == load(tmp_path / "store")


def test_every_keystore_is_told_from_every_other(tmp_path: Path) -> None:
    """By an identity that is in the file, and is bound to its keys."""
    names = {create(tmp_path / f"store.{number}").store_id for number in range(20)}
    assert 20 == len(names)
    assert opened(tmp_path / "store.0").store_id in names


def test_another_file_in_its_place_is_found(tmp_path: Path) -> None:
    """An open keystore does not write into a file that is not its own, and does not read it."""
    store = create(tmp_path / "one")
    store_with(tmp_path / "other", KeyUsage.MAC_HMAC)
    (tmp_path / "other").replace(tmp_path / "one")
    calls: list[Callable[[], object]] = [
        lambda: store.add(*key_of(KeyUsage.DATA_SEALING)),
        lambda: store.set_state(key_of(KeyUsage.MAC_HMAC)[0], KeyState.SUSPENDED),
        lambda: store.rewrap(MasterEnvelope(OTHER_MASTER)),
        store.load,
        store.components,
        store.serial,
    ]
    for call in calls:
        with pytest.raises(KeystoreError, match="another file was put in its place"):
            call()


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """One line with the path, for reading and for writing."""
    with pytest.raises(KeystoreError, match="none: cannot be read"):
        opened(tmp_path / "none")
    with pytest.raises(KeystoreError, match="cannot be locked"):
        create(tmp_path / "none" / "store")


def test_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: one clear error, the keys of before, and the open keystore goes on when there is room again."""
    added = store_with(tmp_path / "store", KeyUsage.MAC_HMAC)
    store = opened(tmp_path / "store")
    info, material = key_of(KeyUsage.DATA_SEALING)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(KeystoreError, match="No space left"):
            store.add(info, material)
        with pytest.raises(KeystoreError, match="No space left"):
            store.rewrap(MasterEnvelope(OTHER_MASTER))
    assert added == load(tmp_path / "store") == store.load()
    store.add(info, material)
    assert 2 == len(load(tmp_path / "store"))


def test_key_that_cannot_be_stored_is_not_used(tmp_path: Path) -> None:
    """A key that would be gone after the next start is not handed out."""
    hsm = SoftwareHsm.create(tmp_path / "store", MASTER)
    (tmp_path / "store").unlink()
    with pytest.raises(KeystoreError):
        hsm.generate(KeyUsage.MAC_HMAC, "audit")
    assert [] == hsm.keys()


def test_processes_adding_at_once_lose_no_key(tmp_path: Path) -> None:
    """Each adds keys of its own and versions of a shared one: all are there, each version once."""
    path = tmp_path / "store"
    create(path)
    adders = [
        subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", ADDER, str(path), f"process.{number}", str(KEYS_EACH)],
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]
    for adder in adders:
        assert adder.stdout is not None
        assert b"open\n" == adder.stdout.readline()
    outputs: list[list[int]] = []
    for adder in adders:  # all are let go before any is waited for
        assert adder.stdin is not None
        adder.stdin.write(b"go\n")
        adder.stdin.flush()
    for adder in adders:
        outputs.append([int(line) for line in adder.communicate(timeout=60)[0].split()])
        assert 0 == adder.returncode
    found = {info.name for info, _ in load(path)}
    shared = range(1, PROCESSES * KEYS_EACH + 1)
    own = {f"process.{process}.{number}#1" for process in range(PROCESSES) for number in range(KEYS_EACH)}
    assert own | {f"shared#{version}" for version in shared} == found
    assert list(shared) == sorted(version for output in outputs for version in output)
    assert 2 * len(shared) == opened(path).serial()


def test_changed_means_by_somebody_else(tmp_path: Path) -> None:
    """Own changes are known; those of others are until the next load, also when own ones come after."""
    one = create(tmp_path / "store")
    one.load()
    assert not one.changed()
    info = one.add(*key_of(KeyUsage.MAC_HMAC))
    one.set_state(info, KeyState.SUSPENDED)
    one.rewrap(MasterEnvelope(MASTER))
    assert not one.changed()
    other = opened(tmp_path / "store")
    other.add(*key_of(KeyUsage.MAC_HMAC))
    assert one.changed()
    one.add(*key_of(KeyUsage.MAC_HMAC))
    assert one.changed()
    assert 3 == len(one.load())
    assert not one.changed()


def two_hsms(folder: Path) -> tuple[SoftwareHsm, SoftwareHsm, KeyHandle]:
    """Two HSMs over one file, and the key of the first, which both know."""
    one = SoftwareHsm.create(folder / "store", MASTER, today=lambda: TODAY)
    key = one.generate(KeyUsage.MAC_HMAC, "audit")
    return one, SoftwareHsm.open(folder / "store", MASTER, today=lambda: TODAY), key


def test_refresh_takes_up_what_another_process_changed(tmp_path: Path) -> None:
    """A new version and a new label; handles that were given out stay good."""
    one, other, key = two_hsms(tmp_path)
    kept = other.find("audit")
    assert not other.refresh()
    second = one.generate(KeyUsage.MAC_HMAC, "audit")
    one.generate(KeyUsage.BLIND_INDEX, "index")
    with pytest.raises(KeyRefused, match="no key 'index'"):
        other.find("index")
    assert other.refresh()
    assert not other.refresh()
    assert one.keys() == other.keys()
    assert [second.version, key.version] == [handle.version for handle in other.find_all("audit")]
    assert kept is other.version("audit", 1)
    assert one.mac(second, b"data") == other.mac(other.find("audit"), b"data")
    assert one.mac(key, b"data") == other.mac(kept, b"data")


def test_refresh_takes_a_lost_key_out_of_use(tmp_path: Path) -> None:
    """A tool that was made ready before does not work on."""
    one, other, key = two_hsms(tmp_path)
    kept = other.find("audit")
    code = other.mac(kept, b"data")
    one.set_state(key, KeyState.COMPROMISED)
    assert other.verify_mac(kept, b"data", code)
    assert other.refresh()
    with pytest.raises(KeyRefused, match="COMPROMISED"):
        other.verify_mac(kept, b"data", code)
    one.set_state(key, KeyState.DESTROYED)
    assert other.refresh()
    assert KeyState.DESTROYED is other.info(kept).state
    with pytest.raises(KeyRefused, match="DESTROYED"):
        other.verify_record(kept, b"data", code)


def test_version_of_one_who_has_not_looked_is_still_the_next(tmp_path: Path) -> None:
    """Two processes that do not know of each other's keys give no version twice."""
    one, other, _ = two_hsms(tmp_path)
    assert [2, 3, 4] == [hsm.generate(KeyUsage.MAC_HMAC, "audit").version for hsm in (one, other, one)]
    assert other.refresh()
    assert one.refresh()
    known = one.keys()
    assert [1, 2, 3, 4] == [info.version for info in known]
    assert known == other.keys()


def test_dates_and_states_come_back(tmp_path: Path) -> None:
    """With the day a key was made."""
    one, _, _ = two_hsms(tmp_path)
    one.generate(KeySpec(KeyUsage.MAC_CMAC, state=KeyState.PRE_ACTIVE, active_from=date(2027, 1, 1)), "link")
    again = SoftwareHsm.open(tmp_path / "store", MASTER)
    assert one.keys() == again.keys()
    info = again.info(again.find("link"))
    assert (TODAY, KeyState.PRE_ACTIVE, date(2027, 1, 1), None) == (
        info.created, info.state, info.active_from, info.active_to,
    )  # fmt: skip


def test_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """Each replaces the other's file whole: what is read between is one of them."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.MAC_HMAC)
    with path.open("rb") as before:
        opened(path).add(*key_of(KeyUsage.DATA_SEALING))
        text = before.read()
    (tmp_path / "old").write_bytes(text)
    assert 1 == len(load(tmp_path / "old"))
    assert 2 == len(load(path))
    assert keyfile.stamp(path) != keyfile.stamp(tmp_path / "old")
