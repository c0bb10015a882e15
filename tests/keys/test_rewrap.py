"""Another master key for the whole keystore: wholly old or wholly new, every key usable, whatever happens on the way."""

import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from keys import keyfile
from keys.envelope import MasterEnvelope
from keys.errors import KeystoreError
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyState, KeyUsage
from keys.master import MasterKey, Passphrase
from keys.software import SoftwareHsm
from tests.keys.samples import TODAY, keys_of_all_usages
from tests.keys.test_keystore import MASTER, ONE, OTHER, OTHER_MASTER, PASSPHRASE, create, load, opened, part, rewrite

ROOT = Path(__file__).resolve().parents[2]
KILLS = 24

# Back and forth between the two master keys for ever.
REWRAPPER = """
import pathlib, sys
from keys.envelope import MasterEnvelope
from keys.keystore import Keystore
from keys.master import MasterKey
path, at = pathlib.Path(sys.argv[1]), int(sys.argv[2])
masters = [MasterKey(bytes(range(32))), MasterKey(bytes(range(1, 33)))]
store = Keystore.open(path, lambda head: MasterEnvelope.for_head(masters[at], head))
print("open", flush=True)
while True:
    at = 1 - at
    store.rewrap(MasterEnvelope(masters[at]))
"""


def full_store(path: Path, master: MasterKey | Passphrase = MASTER, *, rsa: bool = True) -> None:
    """A keystore with a key of each kind, in each state, and components that wait. RSA keys take their time to be read."""
    store = create(path, master)
    for at, (info, material) in enumerate(keys_of_all_usages()):
        if info.algorithm is Algorithm.RSA and not rsa:
            continue
        added = store.add(replace(info, state=(KeyState.ACTIVE, KeyState.PRE_ACTIVE)[at % 2]), material)
        if at % 4 == 2:
            added = store.set_state(added, KeyState.DEACTIVATED)
        if at % 8 == 2:
            store.set_state(added, KeyState.DESTROYED)
    store.add_component(part(1, 3), ONE)
    store.add_component(part(2, 3), OTHER)


@pytest.mark.parametrize(
    ("old", "new"),
    [(MASTER, OTHER_MASTER), (MASTER, PASSPHRASE), (PASSPHRASE, MASTER), (PASSPHRASE, PASSPHRASE)],
    ids=["key to key", "key to passphrase", "passphrase to key", "same passphrase with a new salt"],
)
def test_every_key_moves_to_another_master_key(
    tmp_path: Path, old: MasterKey | Passphrase, new: MasterKey | Passphrase
) -> None:
    """All of them, with their headers, destroyed ones and components too; it is still the same keystore, changed once."""
    path = tmp_path / "store"
    full_store(path, old)
    store = opened(path, old)
    keys, waiting, serial, before = store.load(), store.components(), store.serial(), path.read_bytes()
    assert len(keys) == store.rewrap(MasterEnvelope(new))
    after = opened(path, new)
    assert (keys, waiting, serial + 1, store.store_id) == (
        after.load(), after.components(), after.serial(), after.store_id,
    )  # fmt: skip
    assert {None} < {None if raw is None else b"a key" for _, raw in keys}
    entries = [json.loads(text)[name] for text in (before, path.read_bytes()) for name in ("keys", "components")]
    assert not {entry["sealed"]["sealed"] for part_ in entries[:2] for entry in part_} & {
        entry["sealed"]["sealed"] for part_ in entries[2:] for entry in part_
    }


def test_old_master_key_no_longer_opens(tmp_path: Path) -> None:
    """Neither the file, nor in a process that has it open and is not the one that rewrapped."""
    path = tmp_path / "store"
    full_store(path)
    left_open = opened(path)
    opened(path).rewrap(MasterEnvelope(OTHER_MASTER))
    with pytest.raises(KeystoreError, match="master key is another one"):
        opened(path, MASTER)
    assert left_open.changed()
    with pytest.raises(KeystoreError, match="master key is another one"):
        left_open.load()
    with pytest.raises(KeystoreError, match="another kind"):
        opened(path, PASSPHRASE)


def test_open_keystore_goes_on_under_the_new_master_key(tmp_path: Path) -> None:
    """What it adds and changes after is sealed under the new one; the components form their key."""
    path = tmp_path / "store"
    full_store(path)
    store = opened(path)
    (first, material), *_ = store.load()
    assert material is not None
    store.rewrap(MasterEnvelope(OTHER_MASTER))
    store.add(replace(first, label="later"), material)
    store.set_state(first, KeyState.COMPROMISED)
    assert 3 == len(store.add_component(part(3, 3), bytes(range(2, 18))))
    found = {info.label: info.state for info, _ in load(path, OTHER_MASTER)}
    assert (KeyState.ACTIVE, KeyState.COMPROMISED) == (found["later"], found[first.label])


def test_keys_work_after_as_before(tmp_path: Path) -> None:
    """What was sealed, enciphered and signed under the old master key's time."""
    path = tmp_path / "store"
    hsm = SoftwareHsm.create(path, MASTER, today=lambda: TODAY)
    seal, audit = hsm.generate(KeyUsage.DATA_SEALING, "seal"), hsm.generate(KeyUsage.MAC_HMAC, "audit")
    hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk")
    sealed, code = hsm.seal(seal, b"text", b"row"), hsm.mac(audit, b"data")
    assert 3 == opened(path).rewrap(MasterEnvelope(PASSPHRASE))
    again = SoftwareHsm.open(path, PASSPHRASE, today=lambda: TODAY)
    assert hsm.keys() == again.keys()
    assert b"text" == again.unseal(again.find("seal"), sealed, b"row")
    assert again.verify_mac(again.find("audit"), b"data", code)


def test_damaged_keystore_is_not_rewrapped(tmp_path: Path) -> None:
    """One key that does not open, or one component: nothing is written, since what is lost would be lost for good."""
    path = tmp_path / "store"
    for name in ("keys", "components"):
        path.unlink(missing_ok=True)
        full_store(path, rsa=False)
        rewrite(path, lambda document, name=name: document[name][1]["header"].update(label="x"), reseal=MASTER)  # type: ignore[misc]
        before = path.read_bytes()
        with pytest.raises(KeystoreError, match="2 does not open"):
            opened(path).rewrap(MasterEnvelope(OTHER_MASTER))
        assert before == path.read_bytes()


def test_killed_rewrap_leaves_every_key_usable(tmp_path: Path) -> None:
    """By -9 at varying moments, again and again: one of the two master keys opens the file, with every key and component."""
    kill_rewraps(tmp_path / "store", KILLS)


def kill_rewraps(path: Path, kills: int) -> None:
    """Kill a child that rewraps without end, and look at what it left."""
    full_store(path, rsa=False)
    keys, waiting = opened(path).load(), opened(path).components()
    chance = random.Random(20261005)
    started = time.perf_counter()
    assert len(keys) == opened(path).rewrap(MasterEnvelope(MASTER))
    pace = time.perf_counter() - started
    at, serials, seen = 0, [opened(path).serial()], set()
    for number in range(kills):
        before = keyfile.stamp(path)
        with subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", REWRAPPER, str(path), str(at)],
            env={"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None
            assert b"open\n" == child.stdout.readline()
            while number % 3 and keyfile.stamp(path) == before:  # two of three are killed after a whole rewrap at least
                time.sleep(pace / 10)
            time.sleep(chance.uniform(0, 3 * pace))
            child.kill()
        assert -9 == child.returncode
        opening = []
        for place, master in enumerate((MASTER, OTHER_MASTER)):
            try:
                store = opened(path, master)
            except KeystoreError:
                continue
            opening.append(place)
            assert keys == store.load()
            assert waiting == store.components()
            serials.append(store.serial())
        (at,) = opening
        seen.add(at)
    assert sorted(serials) == serials
    assert kills * 2 // 3 <= serials[-1] - serials[0]
    assert {0, 1} == seen
