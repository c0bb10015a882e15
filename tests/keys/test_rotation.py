"""Another master key file for a keystore: cut off anywhere, run twice, run by two, run under a service that has it open."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keys import keyfile, rotation
from keys.envelope import MasterEnvelope
from keys.errors import KeystoreError
from keys.keystore import Component, Keystore
from keys.keytypes import KeySpec, KeyState, KeyUsage
from keys.master import MasterKey, Passphrase, create_master_key_file, read_master_key_file
from keys.rotation import master_key_of, rotate_master_key
from keys.software import SoftwareHsm
from tests.keys.samples import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keys.keytypes import KeyInfo
    from keys.sensitive import Material

ROOT = Path(__file__).resolve().parents[2]
KILLS = 40
KEYS = 5
ROTATIONS_EACH = 12
WRITES = 6  # of a rotation: new key and its folder, keystore and its folder, folder again, old key

ROTATOR = """
import pathlib, sys
from keys.rotation import rotate_master_key
keystore, master = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
print("open", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    assert int(sys.argv[4]) <= rotate_master_key(keystore, master)
"""


class Cut(Exception):
    """Stands for a power cut: no code of ours catches it."""


class House:
    """A keystore with its master key file, as a bank has them, and what was in it when it was made."""

    def __init__(self, folder: Path) -> None:
        self.keystore, self.master = folder / "keystore.json", folder / "master.key"
        self.following = folder / "master.key.next"
        create_master_key_file(self.master)
        hsm = SoftwareHsm.create(self.keystore, read_master_key_file(self.master))
        hsm.generate(KeyUsage.MAC_HMAC, "audit")
        hsm.generate(KeyUsage.DATA_SEALING, "seal")
        hsm.generate(KeyUsage.DATA_SEALING, "seal")
        hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, state=KeyState.PRE_ACTIVE), "zpk")
        hsm.set_state(hsm.find("zpk"), KeyState.DESTROYED)
        hsm.generate(KeyUsage.MAC_CMAC, "link")
        hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(1), bytes(range(32)))
        self.held = self.load()
        assert KEYS == len(self.held)

    def master_key(self) -> MasterKey:
        """As a process of the bank asks for it."""
        return master_key_of(self.keystore, self.master)

    def store(self, master: MasterKey | None = None) -> Keystore[Material]:
        """The keystore, opened by MASTER or by whichever file opens it."""
        return Keystore.open(self.keystore, lambda head: MasterEnvelope.for_head(master or self.master_key(), head))

    def load(self) -> list[tuple[KeyInfo, Material | None]]:
        """Every key, with its bytes."""
        return self.store().load()

    def opened(self) -> SoftwareHsm:
        """As a service has it open: it asks for the master key whenever it needs it."""
        return SoftwareHsm.open(self.keystore, self.master_key)

    def rotate(self) -> int:
        """Another master key."""
        return rotate_master_key(self.keystore, self.master)

    def assert_nothing_lost(self) -> None:
        """Every key and component is there; what was cut off is finished by whoever opens, or has left nothing."""
        assert self.held == self.load()
        assert [1] == [one.number for one in self.store().components()]
        assert self.master_key() == read_master_key_file(self.master)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A house of its own."""
    return House(tmp_path)


def part(number: int) -> Component:
    """One of two components."""
    return Component("zmk", number, 2, f"custodian {number}", date(2026, 10, 5), "")


def test_every_key_is_under_a_new_master_key(house: House) -> None:
    """Another key, of mode 0600, alone in the folder; the keys, the components and the keystore's identity stay."""
    old, before = read_master_key_file(house.master), house.store()
    assert KEYS == house.rotate()
    new = read_master_key_file(house.master)
    assert old != new == house.master_key()
    assert 0o600 == house.master.stat().st_mode & 0o777
    assert not house.following.exists()
    house.assert_nothing_lost()
    assert (before.store_id, 8) == (house.store().store_id, house.store().serial())
    with pytest.raises(KeystoreError, match="the master key is another one"):
        house.store(old)


def test_the_old_key_is_wiped(house: House) -> None:
    """Not only its name is gone: its place on the disk holds zeros."""
    house.master.with_name("watched").hardlink_to(house.master)
    house.rotate()
    assert bytes(65) == house.master.with_name("watched").read_bytes()


def test_again_and_again(house: House) -> None:
    """Each time another key."""
    seen = {read_master_key_file(house.master)}
    for _ in range(5):
        house.rotate()
        seen.add(read_master_key_file(house.master))
        house.assert_nothing_lost()
    assert 6 == len(seen)


STEPS: dict[str, tuple[object, str]] = {
    "before the new key is written": (rotation, "create_master_key_file"),
    "before the keystore is written": (keyfile, "write"),
    "before all of it is looked at": (rotation, "_take_over"),
    "before the new key takes its name": (Path, "replace"),
    "before the old key is wiped": (rotation, "sync_folder"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_off_at_each_step(house: House, monkeypatch: pytest.MonkeyPatch, step: str, when: str) -> None:
    """Right before it, or right after: every key opens, nobody waits for anything, and a second rotation goes through."""
    place, name = STEPS[step]
    called = getattr(place, name)

    def cut(*words: Any) -> Any:  # noqa: ANN401 - whatever is cut
        if when == "after":
            called(*words)
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(place, name, cut)
        with pytest.raises(Cut):
            house.rotate()
    house.assert_nothing_lost()
    old = read_master_key_file(house.master)
    assert KEYS == house.rotate()
    assert not house.following.exists()
    house.assert_nothing_lost()
    assert old != house.master_key()


def test_what_was_cut_off_is_finished_by_the_next_to_open(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key is sealed with but not yet in its place: any process that opens the keystore puts it there."""
    old = read_master_key_file(house.master)
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_take_over", _cut)
        with pytest.raises(Cut):
            house.rotate()
    assert old == read_master_key_file(house.master)
    waiting = read_master_key_file(house.following)
    assert KEYS == len(house.opened().keys())
    assert waiting == read_master_key_file(house.master)
    assert not house.following.exists()


@pytest.mark.parametrize("text", [b"", b"00", b"0" * 64 + b"\n", b"\xff" * 65])
def test_half_a_next_file_is_no_key(house: House, text: bytes) -> None:
    """Empty, short, another key, rubbish: the keystore opens with the old one, and a rotation writes its own."""
    house.following.write_bytes(text)
    house.following.chmod(0o600)
    house.assert_nothing_lost()
    assert text == house.following.read_bytes()
    assert KEYS == house.rotate()
    house.assert_nothing_lost()
    assert not house.following.exists()


def test_a_next_file_that_others_may_read_is_no_key(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it would open: whoever made it so could have read it. One line says which file and what to do, nothing is lost."""
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_take_over", _cut)
        with pytest.raises(Cut):
            house.rotate()
    house.following.chmod(0o644)
    with pytest.raises(KeystoreError, match="the master key is another one") as caught:
        house.rotate()
    assert one_line(caught.value)
    house.following.chmod(0o600)
    house.assert_nothing_lost()


def test_a_keystore_that_does_not_open_is_left_alone(house: House) -> None:
    """Damaged, missing, or of another master key: one line, and both files are as they were."""
    whole, key = house.keystore.read_bytes(), house.master.read_bytes()
    for text in (whole.replace(b"ACTIVE", b"ACTIVF", 1), b"{}", b""):
        house.keystore.write_bytes(text)
        with pytest.raises(KeystoreError) as caught:
            house.rotate()
        assert one_line(caught.value)
        assert (text, key) == (house.keystore.read_bytes(), house.master.read_bytes())
    house.keystore.write_bytes(whole)
    house.master.write_text("00" * 32 + "\n")
    with pytest.raises(KeystoreError, match="the master key is another one"):
        house.rotate()
    assert whole == house.keystore.read_bytes()
    house.master.unlink()
    with pytest.raises(KeystoreError, match="cannot be read"):
        house.rotate()
    assert not house.following.exists()


def test_a_keystore_of_a_passphrase_has_no_file_to_rotate(tmp_path: Path) -> None:
    """It wants another kind of master key; the file that lies there is not touched."""
    SoftwareHsm.create(tmp_path / "keystore.json", Passphrase("correct horse battery"))
    key = create_master_key_file(tmp_path / "master.key")
    with pytest.raises(KeystoreError, match="wants another kind of master key"):
        rotate_master_key(tmp_path / "keystore.json", tmp_path / "master.key")
    assert key == read_master_key_file(tmp_path / "master.key")


def test_keys_that_lack_keep_the_old_key(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new file did not hold what it must, the old master key would not be wiped. Both keys stay, and it is said."""
    rewrap = Keystore.rewrap
    monkeypatch.setattr(Keystore, "rewrap", lambda store, envelope: rewrap(store, envelope) + 1)
    with pytest.raises(KeystoreError, match="lacks keys under the new master key; the old one is kept"):
        house.rotate()
    assert house.following.exists()
    assert read_master_key_file(house.master) != read_master_key_file(house.following)


def test_killed_at_any_moment(house: House) -> None:
    """By -9, again and again: each time every key opens, and the next rotation starts where the last one lay down."""
    chance = random.Random(20261005)
    before, seen = house.store().serial(), set()
    for number in range(KILLS):
        with _rotators(house, 1, 1_000) as (child,):
            time.sleep(chance.uniform(0, 0.03) * (number % 4))
            child.kill()
        assert -9 == child.returncode
        seen.add((house.following.exists(), house.keystore.with_name(".keystore.json.new").exists()))
        house.assert_nothing_lost()
    assert KEYS == house.rotate()
    house.assert_nothing_lost()
    assert KILLS // 2 < house.store().serial() - before  # some are killed before their first
    assert {True, False} == {following for following, _ in seen}
    assert {"keystore.json", "master.key"} == {
        path.name for path in house.master.parent.iterdir() if path.suffix != ".lock"
    }


def test_two_rotations_at_once(house: House) -> None:
    """In two processes: one waits for the other, each makes its own key, none is lost; who opens meanwhile is not disturbed."""
    before, looked = house.store().serial(), 0
    with _rotators(house, 2, ROTATIONS_EACH) as children:
        while any(child.poll() is None for child in children):
            assert house.held == house.load()
            looked += 1
    assert [0, 0] == [child.returncode for child in children]
    assert 0 < looked
    assert 2 * ROTATIONS_EACH == house.store().serial() - before
    house.assert_nothing_lost()


def test_a_service_follows(house: House) -> None:
    """What another process rotates, a service that has the keystore open takes up; what either changes after, both see."""
    service, other = house.opened(), house.opened()
    sealed = service.seal(service.find("seal"), b"text", b"row")
    assert KEYS == house.rotate()
    assert service.refresh()
    assert not service.refresh()
    assert other.keys() == service.keys()
    mine = service.generate(KeyUsage.MAC_CMAC, "of-the-service")
    assert other.refresh()
    assert mine.kcv == other.find("of-the-service").kcv
    theirs = other.generate(KeyUsage.MAC_CMAC, "link")
    assert service.refresh()
    assert (2, theirs.kcv) == (service.find("link").version, service.find("link").kcv)
    assert b"text" == service.unseal(service.version("seal", 2), sealed, b"row")
    assert [1] == [one.number for one in service.components()]
    assert other.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(2), bytes(range(1, 33))) is not None


def test_a_service_changes_before_it_looks(house: House) -> None:
    """It need not refresh first: its change goes under the new master key, and into the history once."""
    service = house.opened()
    for version in (2, 3, 4):
        house.rotate()
        assert version == service.generate(KeyUsage.MAC_HMAC, "audit").version
    assert [4, 3, 2, 1] == [key.version for key in house.opened().versions("audit")]
    house.rotate()
    service.set_state(service.version("audit", 2), KeyState.DEACTIVATED)
    house.rotate()
    service.end_on(service.version("audit", 3), date(2027, 1, 1))
    house.rotate()
    assert 1 == service.forget_components("zmk")
    found = {info.name: (info.state, info.active_to) for info, _ in house.load()}
    assert (KeyState.DEACTIVATED, None) == found["audit#2"]
    assert (KeyState.ACTIVE, date(2027, 1, 1)) == found["audit#3"]


def test_a_service_that_has_a_fixed_key_does_not_follow(house: House) -> None:
    """Opened with a key instead of a way to ask for it: refused in one line, and the keys that are loaded work on."""
    service = SoftwareHsm.open(house.keystore, read_master_key_file(house.master))
    house.rotate()
    with pytest.raises(KeystoreError, match="the master key is another one") as caught:
        service.refresh()
    assert one_line(caught.value)
    assert service.mac(service.find("audit"), b"data")


def test_a_change_that_could_not_be_read_is_looked_at_again(house: House) -> None:
    """The master key cannot be read just now: refused each time, and taken up when it can."""
    service, other = house.opened(), house.opened()
    other.generate(KeyUsage.MAC_CMAC, "link")
    house.rotate()
    house.master.chmod(0o640)
    for _ in range(2):
        with pytest.raises(KeystoreError, match="mode must be 0600"):
            service.refresh()
    house.master.chmod(0o600)
    assert service.refresh()
    assert 2 == service.find("link").version


def test_a_strangers_file_in_its_place_is_refused(house: House, tmp_path: Path) -> None:
    """Another keystore, whole and under the same master key; one with our identity written into it; a later format."""
    service = house.opened()
    whole = house.keystore.read_bytes()
    ours, key = house.store().store_id, read_master_key_file(house.master)
    SoftwareHsm.create(tmp_path / "stranger", key).generate(KeyUsage.MAC_HMAC, "audit")
    stranger = (tmp_path / "stranger").read_bytes()
    theirs = Keystore.open(tmp_path / "stranger", lambda head: MasterEnvelope.for_head(key, head)).store_id
    for text, why in (
        (stranger, "another file was put in its place"),
        (stranger.replace(theirs.encode(), ours.encode()), "the master key is another one, or the file is damaged"),
        (whole.replace(b'"key file"', b'"passphrase"'), "wants another kind of master key"),
        (whole.replace(b'\n  "version": 2\n', b'\n  "version": 3\n'), "is not of format kks-keystore 2"),
        (whole.replace(b'"store": "', b'"store": "00'), "another file was put in its place"),
    ):
        assert text != whole
        house.keystore.write_bytes(text)
        for call in _calls(service):
            with pytest.raises(KeystoreError, match=why) as caught:
                call()
            assert one_line(caught.value)
        assert text == house.keystore.read_bytes()
    house.keystore.write_bytes(whole)
    assert 2 == service.generate(KeyUsage.MAC_HMAC, "audit").version
    assert KEYS + 1 == len(house.load())


def test_whoever_holds_the_keystore_does_not_wait_for_a_rotation(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that changes a key holds the keystore's lock, which the rotation wants: asking for the master key never waits."""
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_take_over", _cut)
        with pytest.raises(Cut):
            house.rotate()
    waiting = read_master_key_file(house.following)
    found: list[MasterKey] = []
    with keyfile.locked(house.master):  # a rotation that is at it
        asks = threading.Thread(target=lambda: found.append(house.master_key()), daemon=True)
        asks.start()
        asks.join(10)
        assert [waiting] == found
        assert house.following.exists()
        service = house.opened()
        assert 2 == service.generate(KeyUsage.MAC_HMAC, "audit").version
    assert waiting == house.master_key()
    assert not house.following.exists()


def test_services_that_change_keys_under_rotations(house: House) -> None:
    """Two processes rotate again and again while this one makes keys: every key is there at the end, and nobody hangs."""
    service, made = house.opened(), 0
    with _rotators(house, 2, ROTATIONS_EACH) as children:
        while any(child.poll() is None for child in children):
            made += 1
            assert made + 1 == service.generate(KeyUsage.MAC_HMAC, "audit").version
    assert [0, 0] == [child.returncode for child in children]
    assert 0 < made
    assert made + KEYS == len(house.load()) == len(house.opened().keys())


@pytest.mark.parametrize("failing", range(8))
def test_a_full_disk_changes_nothing(house: House, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """Whichever write of the rotation it is that fails: one line, and all is as before or as after."""
    flush, left = os.fsync, [failing]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise OSError(28, "No space left on device")
        flush(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        if failing < WRITES:
            with pytest.raises(KeystoreError, match="No space left") as caught:
                house.rotate()
            assert one_line(caught.value)
        else:
            house.rotate()
    house.assert_nothing_lost()
    assert KEYS == house.rotate()
    house.assert_nothing_lost()


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    """No such folder."""
    with pytest.raises(KeystoreError, match="cannot be locked") as caught:
        rotate_master_key(tmp_path / "none" / "keystore.json", tmp_path / "none" / "master.key")
    assert one_line(caught.value)


def _cut(*_: object) -> None:
    raise Cut


def _calls(service: SoftwareHsm) -> list[Callable[[], object]]:
    return [
        service.refresh,
        service.components,
        lambda: service.generate(KeyUsage.MAC_HMAC, "audit"),
        lambda: service.set_state(service.version("audit", 1), KeyState.SUSPENDED),
        lambda: service.forget_components("zmk"),
    ]


@contextmanager
def _rotators(house: House, count: int, times: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """COUNT processes that begin at once to rotate, each TIMES times. They have ended afterwards."""
    words = [sys.executable, "-c", ROTATOR, str(house.keystore), str(house.master), str(times), str(KEYS)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own interpreter
                    words, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for _ in range(count)
        ]
        for child in children:
            assert child.stdout is not None
            assert b"open\n" == child.stdout.readline()
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"go\n")
            child.stdin.flush()
        yield children
