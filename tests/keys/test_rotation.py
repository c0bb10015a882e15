"""Another master key for a keystore, whatever it is and comes of: cut off anywhere, run twice, run by two."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from keys import keyfile, master, rotation
from keys.errors import KeyRefused, KeystoreError
from keys.keystore import Keystore
from keys.master import MasterKey, Passphrase, create_master_key_file, read_master_key_file
from keys.master_ceremony import master_components
from keys.rotation import MasterFile, forget_next, rotate_master_key
from keys.software import SoftwareHsm
from tests.keys.house import (
    CHEAP_N,
    COMPONENTS,
    FORMS,
    KEYS,
    PASSPHRASE,
    RANDOM,
    Cut,
    House,
    cut,
    new_passphrase,
    rotators,
)
from tests.keys.samples import one_line

ROOT = Path(__file__).resolve().parents[2]
ONE, OTHER = bytes(range(32)), bytes(range(100, 132))
BOTH = bytes(one ^ other for one, other in zip(ONE, OTHER, strict=True))
KILLS = 40
ROTATIONS_EACH = 12
WRITES = {RANDOM: 6, PASSPHRASE: 6, COMPONENTS: 8}
"""Of a rotation: new key and its folder, keystore and its folder, folder again, old key; a component, its folder. Whether its end
is written decides nothing."""


@pytest.fixture(params=FORMS)
def house(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house of its own, with each form of a master key."""
    monkeypatch.setattr(master, "_SCRYPT_N", CHEAP_N)
    return House(tmp_path, request.param).furnish()


def test_every_key_is_under_a_new_master_key(house: House) -> None:
    """Another key, of mode 0600, alone in the folder; the keys, the components and the keystore's identity stay."""
    old, before = house.read(), house.store()
    assert KEYS == house.rotate()
    new = house.read()
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
    size = house.master.stat().st_size
    house.rotate()
    assert bytes(size) == house.master.with_name("watched").read_bytes()


def test_again_and_again(house: House) -> None:
    """Each time another key."""
    seen = {house.read()}
    for _ in range(5):
        house.rotate()
        seen.add(house.read())
        house.assert_nothing_lost()
    assert 6 == len(seen)


STEPS: dict[str, tuple[object, str]] = {
    "before the new key is written": (rotation, "_write"),
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

    def cut(*words: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever is cut
        if when == "after":
            called(*words, **named)
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(place, name, cut)
        with pytest.raises(Cut):
            house.rotate()
    house.assert_nothing_lost()
    old = house.read()
    assert KEYS == house.rotate()
    assert not house.following.exists()
    house.assert_nothing_lost()
    assert old != house.master_key()


def test_what_was_cut_off_is_finished_by_the_next_to_open(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key is sealed with but not yet in its place: any process that opens the keystore puts it there."""
    old = house.read()
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_take_over", cut)
        with pytest.raises(Cut):
            house.rotate()
    assert old == house.read()
    waiting = house.read_following()
    assert KEYS == len(house.opened().keys())
    assert waiting == house.read()
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
        patched.setattr(rotation, "_take_over", cut)
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
        rotate_master_key(tmp_path / "keystore.json", MasterFile(tmp_path / "master.key", read_master_key_file))
    assert key == read_master_key_file(tmp_path / "master.key")


def test_keys_that_lack_keep_the_old_key(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new file did not hold what it must, the old master key would not be wiped. Both keys stay, and it is said."""
    rewrap = Keystore.rewrap
    monkeypatch.setattr(Keystore, "rewrap", lambda store, envelope: rewrap(store, envelope) + 1)
    with pytest.raises(KeystoreError, match="lacks keys under the new master key; the old one is kept"):
        house.rotate()
    assert house.following.exists()
    assert house.read() != house.read_following()


def test_killed_at_any_moment(house: House) -> None:
    """By -9, again and again: each time every key opens, and the next rotation starts where the last one lay down."""
    chance = random.Random(20261005)
    before, done, seen = house.store().serial(), 0, set()
    for number in range(KILLS):
        with rotators(house, 1, 1_000) as (child,):
            assert child.stdout is not None
            for _ in range(number % 3):
                assert b"rotated\n" == child.stdout.readline()
                done += 1
            time.sleep(chance.uniform(0, 0.03))
            child.kill()
        assert -9 == child.returncode
        seen.add((house.following.exists(), house.keystore.with_name(".keystore.json.new").exists()))
        house.assert_nothing_lost()
    assert KEYS == house.rotate()
    house.assert_nothing_lost()
    assert done < house.store().serial() - before
    assert {True, False} == {following for following, _ in seen}
    assert {"keystore.json", house.master.name} == names(house)


@pytest.mark.parametrize("house", [RANDOM, PASSPHRASE], indirect=True)  # custodians do not do it at once
def test_two_rotations_at_once(house: House) -> None:
    """In two processes: one waits for the other, each makes its own key, none is lost; who opens meanwhile is not disturbed."""
    before, looked = house.store().serial(), 0
    with rotators(house, 2, ROTATIONS_EACH) as children:
        while any(child.poll() is None for child in children):
            assert house.held == house.load()
            looked += 1
    assert [0, 0] == [child.returncode for child in children]
    assert 0 < looked
    assert 2 * ROTATIONS_EACH == house.store().serial() - before
    house.assert_nothing_lost()


@pytest.mark.parametrize("failing", range(10))
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
        if failing < WRITES[house.form]:
            with pytest.raises(KeystoreError, match="No space left") as caught:
                house.rotate()
            assert one_line(caught.value)
        else:
            house.rotate()
    house.assert_nothing_lost()
    assert KEYS == house.rotate()
    house.assert_nothing_lost()


@pytest.mark.parametrize("failing", ["open", "replace", "fsync"])
def test_what_cannot_be_finished_is_kept(house: House, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """A rotation that was cut off, and cannot be finished just now: the keystore opens, and nobody throws its only key away."""
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_take_over", cut)
        with pytest.raises(Cut):
            house.rotate()

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os if failing == "fsync" else Path, failing, fail)
        if failing != "open":
            with pytest.raises(KeystoreError, match="Input/output error") as caught:
                house.rotate()
            assert one_line(caught.value)
            assert house.held == house.load()
    house.assert_nothing_lost()
    assert KEYS == house.rotate()
    house.assert_nothing_lost()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_stay_with_their_owner(house: House) -> None:
    """Root's ceremony does not lock the service's user out: keystore, master key and locks stay that user's, mode 0600."""
    for path in (house.keystore, house.master):
        os.chown(path, 12_345, 12_346)
    house.rotate()
    house.opened().forget_components("zmk")
    for path in house.master.parent.iterdir():
        found = path.stat()
        assert (12_345, 12_346, 0o600) == (found.st_uid, found.st_gid, found.st_mode & 0o777), path


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    """No such folder."""
    with pytest.raises(KeystoreError, match="cannot be locked") as caught:
        rotate_master_key(
            tmp_path / "none" / "keystore.json", MasterFile(tmp_path / "none" / "master.key", read_master_key_file)
        )
    assert one_line(caught.value)


RESUMED = [(step, when) for step in STEPS for when in ("before", "after")] + [("before the components go", "before")]


@pytest.mark.parametrize("house", [COMPONENTS], indirect=True)
@pytest.mark.parametrize(("step", "when"), RESUMED)
@pytest.mark.parametrize("opened", [False, True], ids=["entered at once", "opened first"])
def test_the_last_custodian_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str, when: str, *, opened: bool
) -> None:
    """Cut off anywhere as the last, he enters his again: the very key that both made, and nothing left of its components."""
    place, name = {**STEPS, "before the components go": (rotation, "drop_or_tell")}[step]
    called = getattr(place, name)

    def cut(*words: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever is cut
        if when == "after":
            called(*words, **named)
        raise Cut

    house.enter(1, ONE)
    with monkeypatch.context() as patched:
        patched.setattr(place, name, cut)
        with pytest.raises(Cut):
            house.enter(2, OTHER)
    if opened:
        house.assert_nothing_lost()
    entered = house.enter(2, OTHER)
    assert (KEYS, {1: "custodian 1", 2: "custodian 2"}) == (entered.keys, entered.custodians)
    assert MasterKey(BOTH) == house.read()
    house.assert_nothing_lost()
    assert {"keystore.json", "master.key"} == names(house)


LAST = """
import pathlib, sys
from tests.keys.house import COMPONENTS, House
house = House(pathlib.Path(sys.argv[1]), COMPONENTS)
print("open", flush=True)
sys.stdin.readline()
house.enter(2, bytes.fromhex(sys.argv[2]))
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("house", [COMPONENTS], indirect=True)
def test_the_last_custodian_is_killed(house: House) -> None:
    """By -9 at any moment, again and again: he enters his again, and it is the key of both."""
    chance, cut_off = random.Random(20261005), 0
    for _ in range(KILLS // 2):
        one, other = chance.randbytes(32), chance.randbytes(32)
        house.enter(1, one)
        with subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", LAST, str(house.keystore.parent), other.hex()],
            env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as child:  # fmt: skip
            assert child.stdin is not None
            assert child.stdout is not None
            assert b"open\n" == child.stdout.readline()
            child.stdin.write(b"go\n")
            child.stdin.flush()
            time.sleep(chance.uniform(0, 0.015))
            child.kill()
            child.wait()
        house.assert_nothing_lost()
        if master_components(house.following):
            cut_off += 1
            assert KEYS == house.enter(2, other).keys
        forget_next(house.keystore, house.file)  # cut off while it threw the components away
        assert MasterKey(bytes(a ^ b for a, b in zip(one, other, strict=True))) == house.read()
        house.assert_nothing_lost()
        assert {"keystore.json", "master.key"} <= names(house)
    assert 0 < cut_off


@pytest.mark.parametrize("house", [COMPONENTS], indirect=True)
def test_a_random_key_does_not_come_between(house: House) -> None:
    """While one custodian waits for the other: refused in one line, until his component is thrown away."""
    before = house.read()
    entered = house.enter(1, ONE)
    assert (None, None, {1: "custodian 1"}) == (entered.keys, entered.check_value, entered.custodians)
    with pytest.raises(KeystoreError, match="1 components of the next master key wait for others") as caught:
        rotate_master_key(house.keystore, house.file)
    assert one_line(caught.value)
    assert before == house.read()
    assert (1, 0) == (forget_next(house.keystore, house.file), forget_next(house.keystore, house.file))
    assert KEYS == rotate_master_key(house.keystore, house.file)
    house.assert_nothing_lost()


@pytest.mark.parametrize("house", [COMPONENTS], indirect=True)
def test_what_is_refused_of_a_component(house: House) -> None:
    """Twice the same, twice the same custodian: nothing has changed, and the other one still makes the key."""
    house.enter(1, ONE)
    for number, value, why in ((1, OTHER, "entered already"), (2, ONE, "differ from each other")):
        with pytest.raises(KeyRefused, match=why):
            house.enter(number, value)
    house.assert_nothing_lost()
    assert KEYS == house.enter(2, OTHER).keys
    house.assert_nothing_lost()


@pytest.mark.parametrize("house", [PASSPHRASE], indirect=True)
def test_the_same_passphrase_again(house: House) -> None:
    """Nothing to do: whoever was cut off and says it again is told the same."""
    new = new_passphrase()
    assert KEYS == rotate_master_key(house.keystore, house.file, new)
    before = house.keystore.read_bytes()
    assert KEYS == rotate_master_key(house.keystore, house.file, new)
    assert before == house.keystore.read_bytes()
    assert new == house.read()


def names(house: House) -> set[str]:
    """What is in its folder, locks aside."""
    return {path.name for path in house.master.parent.iterdir() if path.suffix != ".lock"}


def test_what_is_left_of_a_first_ceremony_is_forgotten_too(house: House) -> None:
    """Its components, and halves of files: no custodian can enter the rest once there is a keystore."""
    (house.master.parent / f"{house.master.name}.component-1").write_text("{}")
    for name in (".{}.new", ".{}.next.new", ".{}.component-3.new", ".{}.next.component-3.new"):
        (house.master.parent / name.format(house.master.name)).write_text("half")
    before = house.master.read_bytes()
    assert 1 == forget_next(house.keystore, house.file)
    assert before == house.master.read_bytes()
    assert {house.keystore.name, house.master.name} == names(house)
    house.assert_nothing_lost()
