"""Which keys of a keystore are opened, and how often: each once, those of a change alone, and none stays open for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keys import keyfile, keystore
from keys.envelope import MasterEnvelope
from keys.errors import KeyRefused, KeystoreError, TokenError
from keys.keystore import Component, Keystore
from keys.keytypes import Algorithm, KeyState, KeyUsage
from tests.keys.samples import TODAY, key_of
from tests.keys.test_keystore import MASTER, OTHER_MASTER, create, load, opened, rewrite

if TYPE_CHECKING:
    from pathlib import Path

    from keys.envelope import Entry
    from keys.keytypes import KeyInfo
    from keys.master import MasterKey
    from keys.sensitive import Material


class Counted(MasterEnvelope):
    """Which keys were opened, and let go: by their lengths, each of the tests' keys having its own."""

    def __init__(self, master: MasterKey) -> None:
        super().__init__(master)
        self.opened: list[int] = []
        self.gone: list[int] = []

    def open(self, entry: Entry, bound: bytes) -> Material:
        """Counted."""
        raw = super().open(entry, bound)
        self.opened.append(len(raw.reveal()))
        return raw

    def let_go(self, raw: Material) -> None:
        """Counted."""
        self.gone.append(len(raw.reveal()))


def counted_store(folder: Path) -> tuple[Keystore[Material], Counted, list[KeyInfo]]:
    """A keystore with four keys, of 32 to 35 bytes."""
    create(folder / "store")
    counted = Counted(MASTER)
    store = Keystore.open(folder / "store", lambda _: counted)
    infos = []
    for length in range(32, 36):
        info, material = key_of(KeyUsage.MAC_HMAC, length=length)
        infos.append(store.add(replace(info, label=f"key.{length}"), material))
    return store, counted, infos


def forge(path: Path, at: int, change: dict[str, str]) -> None:
    """Another header for one key, sealed by who has the master key."""
    rewrite(path, lambda document: document["keys"][at]["header"].update(change), reseal=MASTER)


def test_each_key_is_opened_once(tmp_path: Path) -> None:
    """At the first load; what is held of it later is not opened again, but where its header is another."""
    store, counted, infos = counted_store(tmp_path)
    assert [] == counted.opened
    held = dict(store.load())
    assert [32, 33, 34, 35] == counted.opened
    counted.opened.clear()
    assert held == dict(store.load(held))
    assert [] == counted.opened
    changed = opened(tmp_path / "store").set_state(infos[2], KeyState.SUSPENDED)
    again = dict(store.load(held))
    assert [34] == counted.opened
    assert {changed, *infos} - {infos[2]} == set(again)
    assert all(held[info] is again[info] for info in again if info is not changed and info in held)
    assert [] == counted.gone


def test_a_change_opens_no_other_key(tmp_path: Path) -> None:
    """A state, a last day, a destruction: the seal over the file vouches for the others."""
    store, counted, infos = counted_store(tmp_path)
    store.end_on(store.set_state(infos[1], KeyState.SUSPENDED), TODAY)
    assert [33, 33] == counted.opened
    store.add(replace(infos[0], label="more"), key_of(KeyUsage.MAC_HMAC, length=32)[1])
    store.set_state(infos[3], KeyState.COMPROMISED)
    store.set_state(infos[3], KeyState.DESTROYED)
    assert [33, 33, 35, 35] == counted.opened
    assert ["SUSPENDED", "DESTROYED"] == [
        info.state.value for info, _ in load(tmp_path / "store") if info.state is not KeyState.ACTIVE
    ]


def test_a_change_of_a_key_that_does_not_open(tmp_path: Path) -> None:
    """Its own entry is opened with its header, whoever sealed the whole: a forged one gets no new header."""
    store, _, infos = counted_store(tmp_path)
    text = (tmp_path / "store").read_bytes()
    for change in ({"mode": "G"}, {"label": "a b"}):
        forge(tmp_path / "store", 0, change)
        named = replace(infos[0], label=change.get("label", infos[0].label))
        for state in (KeyState.SUSPENDED, KeyState.COMPROMISED):
            with pytest.raises(KeystoreError, match=r"key 1 (does not open|is not fit)"):
                store.set_state(named, state)
        (tmp_path / "store").write_bytes(text)
    store.set_state(infos[0], KeyState.SUSPENDED)


def test_the_type_of_working_keys_is_bound(tmp_path: Path) -> None:
    """A base key that says none is kept as before there was a word for it; one that is given to it afterwards does not open."""
    create(tmp_path / "store")
    info, material = key_of(KeyUsage.BASE_DERIVATION, Algorithm.AES)
    opened(tmp_path / "store").add(info, material)
    assert b"working_key" not in (tmp_path / "store").read_bytes()
    assert [info] == [found for found, _ in load(tmp_path / "store")]
    rewrite(tmp_path / "store", _give_working_key, reseal=MASTER)
    with pytest.raises(KeystoreError, match="key 1 does not open"):
        load(tmp_path / "store")


def _give_working_key(document: dict[str, Any]) -> None:
    document["keys"][0]["header"]["attributes"]["working_key"] = "TDES-112"


def test_a_full_keystore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key more, and no component; every state and last day of those that are in it still has room."""
    store, _, infos = counted_store(tmp_path)
    monkeypatch.setattr(keyfile, "FILE_MOST", (tmp_path / "store").stat().st_size + keystore.ROOM)
    with pytest.raises(KeystoreError, match="is full"):
        store.add(replace(infos[0], label="more"), key_of(KeyUsage.MAC_HMAC, length=32)[1])
    with pytest.raises(KeystoreError, match="is full"):
        store.add_component(Component("zmk", 1, 2, "siti", TODAY, ""), bytes(range(32)))
    for info in infos:
        store.set_state(store.end_on(info, TODAY), KeyState.COMPROMISED)
    assert 4 == len(load(tmp_path / "store"))
    for info in infos:
        store.set_state(info, KeyState.DESTROYED)
    assert [None] * 4 == [raw for _, raw in load(tmp_path / "store")]


def test_a_load_that_fails_leaves_no_key_open(tmp_path: Path) -> None:
    """What it opened goes again, also the key that is not fit; what was held before stays."""
    store, counted, infos = counted_store(tmp_path)
    held = dict(store.load())
    counted.opened.clear()
    for change in ({"kcv": "000000"}, {"mode": "G"}):
        forge(tmp_path / "store", 3, change)
        with pytest.raises(KeystoreError, match="key 4 does not open"):
            store.load({infos[0]: held[infos[0]]})
        assert [33, 34] == counted.opened == counted.gone
        counted.opened.clear()
        counted.gone.clear()


def test_a_key_that_is_not_fit_does_not_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was opened to be looked at."""
    store, counted, _ = counted_store(tmp_path)

    def unfit(info: KeyInfo, _: Material) -> None:
        raise KeyRefused(f"key {info.name}: is none")

    monkeypatch.setattr(counted, "check", unfit)
    with pytest.raises(KeystoreError, match="key 1 is not fit"):
        store.load()
    assert [32] == counted.opened == counted.gone


def test_another_master_key_leaves_no_key_open(tmp_path: Path) -> None:
    """Each is opened, sealed anew and let go, and none is forgotten where it fails in the middle."""
    store, counted, _ = counted_store(tmp_path)
    other = MasterEnvelope(OTHER_MASTER)

    def failing(raw: Material, bound: bytes) -> Entry:
        if len(raw.reveal()) == 34:
            raise TokenError("token: CKR_DEVICE_REMOVED")
        return other.seal_data(raw.reveal(), bound)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(other, "seal", failing)
        with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED"):
            store.rewrap(other)
    assert [32, 33, 34] == counted.opened == counted.gone
    assert 4 == store.rewrap(other)
    assert [32, 33, 34, 32, 33, 34, 35] == counted.opened == counted.gone
    assert 4 == len(load(tmp_path / "store", OTHER_MASTER))
