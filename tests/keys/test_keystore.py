"""The keystore: nothing in it can be changed unnoticed, and every change follows the life of its key."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from keys import keyfile, keystore
from keys.envelope import MasterEnvelope
from keys.errors import KeyRefused, KeystoreError
from keys.keystore import Component, Keystore
from keys.keytypes import TRANSITIONS, KeyInfo, KeyState, KeyUsage
from keys.master import MasterKey, Passphrase
from keys.sensitive import Material
from keys.usages import VERSIONS_MOST
from tests.keys.samples import TODAY, key_of, keys_of_all_usages, one_line

MASTER, OTHER_MASTER = MasterKey(bytes(range(32))), MasterKey(bytes(range(1, 33)))
PASSPHRASE = Passphrase("correct horse battery")
ONE, OTHER = bytes(range(16)), bytes(range(1, 17))

Store = Keystore[Material]
Document = Any


def create(path: Path, master: MasterKey | Passphrase = MASTER) -> Store:
    """A new keystore."""
    return Keystore.create(path, MasterEnvelope(master))


def opened(path: Path, master: MasterKey | Passphrase = MASTER) -> Store:
    """An open one."""
    return Keystore.open(path, lambda head: MasterEnvelope.for_head(master, head))


def load(path: Path, master: MasterKey | Passphrase = MASTER) -> list[tuple[KeyInfo, Material | None]]:
    """Every key of a file."""
    return opened(path, master).load()


def store_with(path: Path, *usages: KeyUsage) -> list[tuple[KeyInfo, Material]]:
    """A keystore with a key of each usage, labelled by its code."""
    store = create(path)
    keys = [(replace(info, label=usage.value), material) for usage in usages for info, material in [key_of(usage)]]
    return [(store.add(info, material), material) for info, material in keys]


def part(number: int, of: int = 2, *, label: str = "zmk", custodian: str | None = None) -> Component:
    """One component."""
    return Component(label, number, of, custodian or f"custodian {number}", TODAY, "08D7B4")


def rewrite(path: Path, change: Callable[[Document], object], *, reseal: MasterKey | None = None) -> None:
    """Change the parsed file and write it in the keystore's form; RESEAL puts the seal of the whole right, as no thief could."""
    document = json.loads(path.read_bytes())
    change(document)
    if reseal is not None:
        store: Store = Keystore(path, MasterEnvelope(reseal), document["head"])
        document["seal"] = MasterEnvelope(reseal).seal_data(b"", store._whole(document))
    path.write_bytes(keyfile._text(document))


def swap(document: Document, name: str) -> None:
    """Exchange one part of the first two keys."""
    one, other = document["keys"][:2]
    one[name], other[name] = other[name], one[name]


def test_keys_come_back_with_their_headers(tmp_path: Path) -> None:
    """Every usage and algorithm, attributes and dates and all."""
    store = create(tmp_path / "store")
    added: list[tuple[KeyInfo, Material | None]] = []
    for at, (info, material) in enumerate(keys_of_all_usages()):
        dated = replace(info, active_from=TODAY if at % 2 else None, active_to=date(2027, 1, 1) if at % 3 else None)
        assert dated == store.add(dated, material)
        added.append((dated, material))
    assert added == store.load() == load(tmp_path / "store")


def test_file_holds_no_key(tmp_path: Path) -> None:
    """Neither as bytes nor in hex, nor a component; its mode is 0600."""
    path = tmp_path / "store"
    store = create(path)
    store.add_component(part(1), ONE)
    for info, material in keys_of_all_usages():
        store.add(info, material)
        assert material.reveal().hex() not in path.read_text("ascii")
    assert ONE.hex() not in path.read_text("ascii")
    assert MASTER.reveal().hex() not in path.read_text("ascii")
    assert 0o600 == path.stat().st_mode & 0o777


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Every bit of every byte of a file with one key: it does not open, in one line with the path."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_ENCRYPTION)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(KeystoreError) as caught:
            opened(path)
        assert str(path) in str(caught.value)
        assert one_line(caught.value)
    path.write_bytes(whole)
    assert 1 == len(load(path))


def test_flipped_bits_of_a_big_file_are_found(tmp_path: Path) -> None:
    """A sample of places over a keystore with a key of each kind."""
    path = tmp_path / "store"
    store = create(path)
    for info, material in keys_of_all_usages():
        store.add(info, material)
    whole = path.read_bytes()
    for place in range(0, len(whole), 37):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(KeystoreError):
            opened(path)


@pytest.mark.parametrize("place", [0, 1, 500, -2, -1])
def test_cut_file_is_found(tmp_path: Path, place: int) -> None:
    """Half a file, or one with more behind."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.MAC_HMAC)
    whole = path.read_bytes()
    for text in (whole[:place], whole + whole[:place] + b" "):
        path.write_bytes(text)
        with pytest.raises(KeystoreError, match="is damaged"):
            opened(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["keys"].reverse(),
        lambda document: document["keys"].pop(),
        lambda document: document["keys"].clear(),
        lambda document: document["keys"].append(document["keys"][0]),
        lambda document: document["components"].clear(),
        lambda document: document["components"].append(document["components"][0]),
        lambda document: document.update(serial=document["serial"] - 1),
        lambda document: document.update(serial=document["serial"] + 1),
        lambda document: swap(document, "header"),
        lambda document: swap(document, "sealed"),
        lambda document: document["keys"][0]["header"].update(usage="D0"),
        lambda document: document["keys"][0].update(more=1),
        lambda document: document["head"].update(store="00" * 16),
        lambda document: document["head"].update(more=1),
        lambda document: document.update(seal={}),
        lambda document: document.update(seal=document["keys"][0]["sealed"]),
        lambda document: document.update(seal=document["components"][0]["sealed"]),
    ],
)
def test_changed_whole_is_found(tmp_path: Path, change: Callable[[Document], object]) -> None:
    """Entries taken out, put in twice, in another order, of swapped headers: the seal over the whole finds it at once."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_ENCRYPTION, KeyUsage.DATA_SEALING)
    opened(path).add_component(part(1), ONE)
    rewrite(path, change)
    with pytest.raises(KeystoreError, match="the master key is another one, or the file is damaged"):
        opened(path)


def test_rolled_back_seal_is_found(tmp_path: Path) -> None:
    """The seal of yesterday on the keys of today, and the keys of yesterday under the seal of today."""
    path = tmp_path / "store"
    ((info, _),) = store_with(path, KeyUsage.MAC_HMAC)
    before = json.loads(path.read_bytes())
    opened(path).set_state(info, KeyState.COMPROMISED)
    after = path.read_bytes()
    for name in ("seal", "keys", "serial"):
        path.write_bytes(after)
        rewrite(path, lambda document, name=name: document.update({name: before[name]}))  # type: ignore[misc]
        with pytest.raises(KeystoreError, match="or the file is damaged"):
            opened(path)


def test_whole_file_rolled_back_shows_in_its_serial(tmp_path: Path) -> None:
    """No file can tell that by itself: each change counts one up, and the ceremony record has the count."""
    path = tmp_path / "store"
    store = create(path)
    assert 0 == store.serial()
    info = store.add(*key_of(KeyUsage.MAC_HMAC))
    before = path.read_bytes()
    store.set_state(info, KeyState.SUSPENDED)
    store.add_component(part(1), ONE)
    store.forget_components("zmk")
    assert (1, 4) == (json.loads(before)["serial"], store.serial())
    path.write_bytes(before)
    assert 1 == opened(path).serial()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", "V2"),
        ("usage", "P0"),
        ("usage", "D0"),
        ("algorithm", "A"),
        ("mode", "G"),
        ("exportability", "E"),
        ("state", "DEACTIVATED"),
        ("state", "DESTROYED"),
        ("version", 2),
        ("created", "2026-01-03"),
        ("active_from", "2026-01-03"),
        ("active_to", "2099-01-03"),
        ("bits", 128),
        ("kcv", "000000"),
        ("kcv_method", "AES-CMAC-0"),
        ("attributes", {"decimalisation_table": "0123456789012345", "check_length": 4}),
        ("attributes", {"decimalisation_table": "9876543210987654", "check_length": 6}),
        ("more", "x"),
        ("created", "yesterday"),
        ("version", "1"),
        ("kcv", 1),
        ("label", None),
        ("attributes", None),
    ],
)
def test_every_part_of_a_header_is_bound_to_its_key(tmp_path: Path, name: str, value: object) -> None:
    """Even were the seal over the whole put right: a key never opens for more, or less, than it was sealed for."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_VERIFICATION_IBM)
    rewrite(path, lambda document: document["keys"][0]["header"].update({name: value}), reseal=MASTER)
    store = opened(path)
    with pytest.raises(KeystoreError, match=r"key 1 (does not open|is not fit)") as caught:
        store.load()
    assert one_line(caught.value)


@pytest.mark.parametrize("name", ["header", "sealed"])
def test_swapped_entries_do_not_open(tmp_path: Path, name: str) -> None:
    """The header of a sealing key on a PIN key, the seal over the whole put right: no key is used for the other."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_ENCRYPTION, KeyUsage.DATA_SEALING)
    rewrite(path, lambda document: swap(document, name), reseal=MASTER)
    with pytest.raises(KeystoreError, match="key 1 does not open"):
        load(path)


def test_entry_of_another_keystore_does_not_open(tmp_path: Path) -> None:
    """Even under the same master key, and with the seal over the whole put right."""
    store_with(tmp_path / "one", KeyUsage.PIN_ENCRYPTION)
    store_with(tmp_path / "other", KeyUsage.MAC_HMAC)
    opened(tmp_path / "other").add_component(part(1), ONE)
    other = json.loads((tmp_path / "other").read_bytes())
    rewrite(tmp_path / "one", lambda document: document["keys"].append(other["keys"][0]), reseal=MASTER)
    with pytest.raises(KeystoreError, match="key 2 does not open"):
        load(tmp_path / "one")
    rewrite(tmp_path / "one", lambda document: document["keys"].pop(), reseal=MASTER)
    rewrite(tmp_path / "one", lambda document: document.update(components=other["components"]), reseal=MASTER)
    with pytest.raises(KeystoreError, match="component 1 does not open"):
        opened(tmp_path / "one").add_component(part(2), OTHER)


def test_key_twice_is_found(tmp_path: Path) -> None:
    """A name stands for one key, whoever sealed the file."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.MAC_HMAC)
    rewrite(path, lambda document: document["keys"].append(document["keys"][0]), reseal=MASTER)
    with pytest.raises(KeystoreError, match="twice"):
        opened(path)


def test_key_that_breaks_the_rules_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rightly sealed but unfit, as another program might have made it: refused by name, not used."""
    path = tmp_path / "store"
    info, material = key_of(KeyUsage.MAC_HMAC)
    with monkeypatch.context() as patched:
        patched.setattr(MasterEnvelope, "check", lambda *_: None)
        create(path).add(info, Material(material.reveal()[::-1]))
    with pytest.raises(KeystoreError, match=r"key 1 is not fit: key a\.key: its check value"):
        load(path)


def test_versions_count_up_within_a_label(tmp_path: Path) -> None:
    """Whatever version is asked for; another label counts for itself."""
    store = create(tmp_path / "store")
    info, material = key_of(KeyUsage.MAC_HMAC)
    assert [1, 2, 3] == [store.add(replace(info, version=7), material).version for _ in range(3)]
    assert 1 == store.add(replace(info, label="b.key"), material).version
    assert [("a.key", 1), ("a.key", 2), ("a.key", 3), ("b.key", 1)] == [
        (known.label, known.version) for known, _ in load(tmp_path / "store")
    ]


def test_versions_of_a_label_have_one_usage(tmp_path: Path) -> None:
    """Else a label would stand for a MAC key today and a PIN key tomorrow. The file is as it was."""
    ((info, _),) = store_with(tmp_path / "store", KeyUsage.MAC_HMAC)
    before = (tmp_path / "store").read_bytes()
    other, material = key_of(KeyUsage.BLIND_INDEX)
    with pytest.raises(KeyRefused, match="of another usage"):
        opened(tmp_path / "store").add(replace(other, label=info.label), material)
    assert before == (tmp_path / "store").read_bytes()


def test_last_version_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """9,999, of which destroyed ones count too."""
    store = create(tmp_path / "store")
    info, material = key_of(KeyUsage.MAC_HMAC)
    store.add(info, material)
    monkeypatch.setattr(keystore, "max", lambda *_, **__: VERSIONS_MOST - 1, raising=False)
    assert 9_999 == store.add(info, material).version
    monkeypatch.undo()
    with pytest.raises(KeyRefused, match="has had 9999 versions"):
        store.add(info, material)
    assert [1, 9_999] == [known.version for known, _ in load(tmp_path / "store")]


def test_unfit_key_is_not_added(tmp_path: Path) -> None:
    """Refused, and the file is as it was."""
    path = tmp_path / "store"
    ((info, material),) = store_with(path, KeyUsage.MAC_HMAC)
    before = path.read_bytes()
    for unfit, raw in (
        (replace(info, label="a b"), material),
        (replace(info, bits=8), material),
        (info, Material(b"short")),
        (info, Material(bytes(64))),
        (info, Material(bytes(range(1, 65)[::-1]))),
    ):
        with pytest.raises(KeyRefused):
            opened(path).add(unfit, raw)
    assert before == path.read_bytes()


def test_header_is_looked_at_whatever_the_envelope_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token knows the length of its key alone: what else a key must look like is the keystore's to see."""
    info, material = key_of(KeyUsage.MAC_HMAC)
    store = create(tmp_path / "store")
    monkeypatch.setattr(MasterEnvelope, "check", lambda *_: None)
    for unfit in (
        replace(info, label="a b"),
        replace(info, bits=8),
        replace(info, active_from=TODAY, active_to=date.min),
    ):
        with pytest.raises(KeyRefused):
            store.add(unfit, material)
    assert [] == store.load()


@pytest.mark.parametrize("before", KeyState)
@pytest.mark.parametrize("after", KeyState)
def test_every_transition(tmp_path: Path, before: KeyState, after: KeyState) -> None:
    """The whole table, in the file; a refused one changes nothing."""
    path = tmp_path / "store"
    info, material = key_of(KeyUsage.MAC_HMAC)
    store = create(path)
    first = KeyState.PRE_ACTIVE if before is KeyState.PRE_ACTIVE else KeyState.ACTIVE
    info = store.add(replace(info, state=first), material)
    if before is KeyState.DESTROYED:
        info = store.set_state(info, KeyState.COMPROMISED)
    if before is not first:
        info = store.set_state(info, before)
    text = path.read_bytes()
    if after not in TRANSITIONS[before]:
        with pytest.raises(KeyRefused, match=rf"is {before.value} and cannot become {after.value}$"):
            store.set_state(info, after)
        assert text == path.read_bytes()
        return
    assert replace(info, state=after) == store.set_state(info, after)
    assert [(replace(info, state=after), None if after is KeyState.DESTROYED else material)] == load(path)


def test_the_file_knows_the_state_best(tmp_path: Path) -> None:
    """A process that has not looked for a while cannot bring a key back."""
    store = create(tmp_path / "store")
    stale = store.add(*key_of(KeyUsage.MAC_HMAC))
    store.set_state(stale, KeyState.COMPROMISED)
    for state in (KeyState.ACTIVE, KeyState.SUSPENDED):
        with pytest.raises(KeyRefused, match="is COMPROMISED and cannot"):
            store.set_state(stale, state)


def test_destroyed_key_leaves_its_header_and_no_bytes(tmp_path: Path) -> None:
    """What is left sealed is empty, the old ciphertext is nowhere in the folder, and its version is never given again."""
    path = tmp_path / "store"
    store = create(path)
    info, material = key_of(KeyUsage.MAC_HMAC)
    first, second = (store.add(info, material) for _ in range(2))
    sealed = [entry["sealed"]["sealed"] for entry in json.loads(path.read_bytes())["keys"]]
    for state in (KeyState.DEACTIVATED, KeyState.DESTROYED):
        store.set_state(second, state)
    entry = json.loads(path.read_bytes())["keys"][1]
    assert b"" == MasterEnvelope(MASTER).open_data(entry["sealed"], store._bound(entry["header"]))
    assert [(first, material), (replace(second, state=KeyState.DESTROYED), None)] == load(path)
    for found in tmp_path.iterdir():
        assert sealed[1] not in found.read_text("ascii")
    assert 3 == store.add(info, material).version
    with pytest.raises(KeyRefused, match="DESTROYED and cannot"):
        store.set_state(second, KeyState.ACTIVE)


def test_state_of_a_key_that_is_not_there(tmp_path: Path) -> None:
    """Another label, or another version."""
    ((info, _),) = store_with(tmp_path / "store", KeyUsage.MAC_HMAC)
    for other in (replace(info, label="b.key"), replace(info, version=2)):
        with pytest.raises(KeyRefused, match=rf"{other.name}: is not in the keystore"):
            opened(tmp_path / "store").set_state(other, KeyState.SUSPENDED)
