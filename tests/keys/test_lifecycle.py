"""The life of keys: in what order a key is looked at, taken, kept, given out. What it may do is in the conformance tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from keys import rsa_keys, tr31
from keys.envelope import MasterEnvelope
from keys.errors import KeyBlockError, KeyRefused, KeystoreError
from keys.hsm import Dukpt
from keys.keystore import Component, Keystore
from keys.keytypes import Algorithm, Exportability, KeyAttributes, KeyMode, KeySpec, KeyState, KeyUsage
from keys.local import LocalHsm
from keys.master import MasterKey
from keys.permissions import Operation
from keys.sensitive import Material
from keys.software import SoftwareWorkshop
from keys.toolbox import Refusal
from keys.tr31_header import Header
from tests.keys.samples import SECOND_KEY, components, key_of
from tests.keys.watched import WatchedWorkshop, watched_hsm

if TYPE_CHECKING:
    from pathlib import Path


KBPK = bytes(range(32))
RETAIL = KeySpec(KeyUsage.MAC_RETAIL)


def stored(tmp_path: Path) -> tuple[LocalHsm[Material], WatchedWorkshop, Keystore[Material]]:
    """An HSM with a keystore, over a watched workshop."""
    store = Keystore.create(tmp_path / "keystore", MasterEnvelope(MasterKey(KBPK)))
    workshop = WatchedWorkshop()
    return LocalHsm(workshop, store), workshop, store


@pytest.mark.parametrize(
    ("usage", "key"),
    [
        (KeyUsage.MAC_RETAIL, SECOND_KEY[:8] * 2),
        (KeyUsage.MAC_RETAIL, SECOND_KEY[:8]),
        (KeyUsage.MAC_RETAIL, bytes(range(24))),
        (KeyUsage.MAC_CMAC, b"\x07" * 32),
        (KeyUsage.MAC_CMAC, bytes(range(33))),
    ],
)
def test_unfit_keys_never_reach_the_workshop(usage: KeyUsage, key: bytes) -> None:
    """A token would have an object of it: length and strength are looked at before."""
    hsm, workshop = watched_hsm()
    with pytest.raises(KeyRefused):
        hsm.form(usage, "a", components(key))
    assert ([], []) == (workshop.taken, hsm.keys())


def test_blocks_that_are_not_authentic_never_reach_the_workshop() -> None:
    """Nor those of a key that has no place here."""
    hsm, workshop = watched_hsm()
    zone = hsm.form(KeyUsage.KEY_BLOCK_PROTECTION, "zone", components(KBPK))
    workshop.taken.clear()
    block = tr31.wrap(KBPK, Header("D", "M3", "T", "C"), SECOND_KEY)
    with pytest.raises(KeyBlockError):
        hsm.import_block("a", block[:-1] + ("0" if block[-1] != "0" else "1"), zone)
    with pytest.raises(KeyRefused):
        hsm.import_block("a", block, zone, KeySpec(KeyUsage.PIN_ENCRYPTION))
    assert [] == workshop.taken
    hsm.import_block("a", block, zone)
    assert [KeyUsage.MAC_RETAIL] == [spec.usage for spec in workshop.taken]


def test_a_key_is_given_out_only_where_both_may() -> None:
    """The workshop is not asked for its bytes before the protection key and the key itself are found free to."""
    hsm, workshop = watched_hsm()
    zone = hsm.generate(KeyUsage.KEY_BLOCK_PROTECTION, "zone")
    closed = hsm.generate(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, mode=KeyMode.DECRYPT), "closed")
    stays = hsm.generate(RETAIL, "stays")
    leaves = hsm.generate(KeySpec(KeyUsage.MAC_RETAIL, exportability=Exportability.EXPORTABLE), "leaves")
    for handle, kbpk in ((stays, zone), (leaves, closed), (leaves, leaves), (zone, zone)):
        with pytest.raises(KeyRefused):
            hsm.export_block(handle, kbpk)
    assert 0 == workshop.given
    assert "D" == hsm.export_block(leaves, zone)[0]
    assert 1 == workshop.given


def test_versions_in_memory() -> None:
    """Counted by label, as a keystore counts them; another usage is refused."""
    hsm, _ = watched_hsm()
    assert [1, 2, 1, 3] == [hsm.generate(RETAIL, label).version for label in ("a", "a", "b", "a")]
    with pytest.raises(KeyRefused, match="key a: is of another usage in its other versions"):
        hsm.generate(KeyUsage.MAC_CBC, "a")
    for state in (KeyState.COMPROMISED, KeyState.DESTROYED):
        hsm.set_state(hsm.version("a", 3), state)
    assert 4 == hsm.generate(RETAIL, "a").version


def test_a_destroyed_key_is_not_kept_in_memory_either() -> None:
    """Its record stays, without its bytes and without what was made ready of them."""
    hsm, _ = watched_hsm()
    handle = hsm.form(RETAIL, "a", components(SECOND_KEY))
    hsm.mac(handle, b"message")
    hsm.set_state(handle, KeyState.DEACTIVATED)
    assert Material(SECOND_KEY) == hsm._tools.known(handle).raw
    hsm.set_state(handle, KeyState.DESTROYED)
    assert hsm._tools.known(handle).raw is None
    assert all(handle not in tools for tools in hsm._tools._ready)


def test_what_the_store_refuses_is_not_known(tmp_path: Path) -> None:
    """A key, or a state, that is not in the file is not in the HSM either."""
    hsm, _, _ = stored(tmp_path)
    handle = hsm.generate(RETAIL, "a")
    kept = (tmp_path / "keystore").read_bytes()
    (tmp_path / "keystore").write_bytes(kept[:-2])
    with pytest.raises(KeystoreError):
        hsm.generate(RETAIL, "a")
    with pytest.raises(KeystoreError):
        hsm.set_state(handle, KeyState.SUSPENDED)
    known = hsm.keys()
    assert [(1, KeyState.ACTIVE)] == [(info.version, info.state) for info in known]
    (tmp_path / "keystore").write_bytes(kept)
    assert 2 == hsm.generate(RETAIL, "a").version


def test_the_last_component_forms_the_key_or_none_is_left(tmp_path: Path) -> None:
    """Whatever becomes of it: nobody can add a part to those of a ceremony that failed."""
    hsm, workshop, store = stored(tmp_path)
    weak = components(SECOND_KEY[:8] * 2)
    for number, value in enumerate(weak, 1):
        component = Component("a", number, 2, f"custodian {number}", date(2026, 10, 5), "")
        if number == 1:
            assert hsm.enter_component(RETAIL, component, value) is None
        else:
            with pytest.raises(KeyRefused, match="equal parts"):
                hsm.enter_component(RETAIL, component, value)
    assert ([], [], []) == (store.components(), workshop.taken, hsm.keys())


def test_a_component_is_looked_at_before_it_is_kept(tmp_path: Path) -> None:
    """Its number, its length, its bytes: what could never be a part does not wait."""
    hsm, _, store = stored(tmp_path)
    serial = store.serial()
    for number, of, value in ((1, 1, SECOND_KEY), (3, 2, SECOND_KEY), (1, 2, SECOND_KEY[:8]), (1, 2, bytes(16))):
        with pytest.raises(KeyRefused):
            hsm.enter_component(RETAIL, Component("a", number, of, "one", date(2026, 10, 5), ""), value)
    assert serial == store.serial()


def test_an_initial_key_of_before_is_kept_and_not_used(tmp_path: Path) -> None:
    """A keystore may have one that does not say whose it is: it opens, and the key can be looked at and ended, not used."""
    _, _, store = stored(tmp_path)
    info, material = key_of(KeyUsage.INITIAL_DUKPT)
    store.add(replace(info, attributes=KeyAttributes()), material)
    heard: list[Refusal] = []
    again = Keystore.open(store.path, lambda _: MasterEnvelope(MasterKey(KBPK)))
    hsm = LocalHsm(SoftwareWorkshop(), again, on_refusal=heard.append)
    handle = hsm.find("a.key")
    assert KeyAttributes() == hsm.info(handle).attributes
    with pytest.raises(KeyRefused, match=r"key a\.key#1: does not say whose initial key it is") as caught:
        hsm.mac(Dukpt(handle, bytes.fromhex("FFFF9876543210E00003")), b"data")
    assert [Refusal("a.key#1", Operation.DERIVE_MAC_KEY, str(caught.value))] == heard
    hsm.set_state(handle, KeyState.DEACTIVATED)


def test_a_key_has_the_bits_that_were_asked_for(tmp_path: Path) -> None:
    """Told with both numbers, before anything is taken; custodians of components must have asked for the same."""
    hsm, workshop, store = stored(tmp_path)
    for bits in (192, 64, 0):
        with pytest.raises(KeyRefused, match=f"key a: has 128 bits, not the {bits} asked for"):
            hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, bits=bits), "a", components(SECOND_KEY))
    assert [] == workshop.taken
    assert 128 == hsm.info(hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, bits=128), "a", components(SECOND_KEY))).bits
    one, other = (Component("b", number, 2, name, date(2026, 10, 5), "") for number, name in ((1, "siti"), (2, "budi")))
    parts = components(SECOND_KEY)
    assert hsm.enter_component(KeySpec(KeyUsage.PIN_ENCRYPTION, bits=128), one, parts[0]) is None
    with pytest.raises(KeyRefused, match=r"another kind of key than component 1: .*bits 128"):
        hsm.enter_component(KeySpec(KeyUsage.PIN_ENCRYPTION, bits=192), other, parts[1])
    assert ["b"] == [component.label for component in store.components()]
    made = hsm.enter_component(KeySpec(KeyUsage.PIN_ENCRYPTION, bits=128), other, parts[1])
    assert made is not None
    assert 128 == hsm.info(made).bits


def test_refresh_reads_only_what_changed(tmp_path: Path) -> None:
    """Nothing is read again while the file is the same, and handles stay what they are."""
    hsm, _, store = stored(tmp_path)
    handle = hsm.generate(RETAIL, "a")
    tool = hsm._make_mac[handle]
    assert not hsm.refresh()
    other = LocalHsm(WatchedWorkshop(), Keystore.open(store.path, lambda _: MasterEnvelope(MasterKey(KBPK))))
    other.generate(RETAIL, "a")
    assert hsm.refresh()
    assert tool is hsm._make_mac[handle]
    assert handle is hsm.version("a", 1)


def test_an_rsa_key_is_named_by_its_half() -> None:
    """Mode and algorithm come of the key; a specification adds days and state."""
    hsm, workshop = watched_hsm()
    der = rsa_keys.make(2048)
    day = date(2026, 10, 5)
    spec = KeySpec(KeyUsage.SIGNATURE, state=KeyState.PRE_ACTIVE, active_from=day)
    info = hsm.info(hsm.import_signing_key("partner", rsa_keys.public_of(der), spec))
    assert (KeyMode.VERIFY, Algorithm.RSA, KeyState.PRE_ACTIVE, day) == (
        info.mode,
        info.algorithm,
        info.state,
        info.active_from,
    )
    assert KeyMode.SIGN is hsm.info(hsm.import_signing_key("mine", der)).mode
    assert 2 == len(workshop.taken)
    with pytest.raises(KeyRefused, match="other versions"):
        hsm.generate(RETAIL, "mine")
