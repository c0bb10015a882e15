"""A master key that is rotated under processes that have the keystore open: they follow, change, and are never held up."""

from __future__ import annotations

import threading
from datetime import date
from typing import TYPE_CHECKING

import pytest

from keys import keyfile, master, rotation
from keys.envelope import MasterEnvelope
from keys.errors import KeystoreError
from keys.keystore import Keystore
from keys.keytypes import KeyState, KeyUsage
from keys.software import SoftwareHsm
from tests.keys.house import CHEAP_N, COMPONENTS, FORMS, KEYS, PASSPHRASE, Cut, House, cut, part, rotators
from tests.keys.samples import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keys.master import MasterKey, Passphrase

ROTATIONS_EACH = 12


@pytest.fixture(params=FORMS)
def house(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house of its own, with each form of a master key."""
    monkeypatch.setattr(master, "_SCRYPT_N", CHEAP_N)
    return House(tmp_path, request.param).furnish()


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
    service = SoftwareHsm.open(house.keystore, house.read())
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
    kind, other = (b"passphrase", b"key file") if house.form == PASSPHRASE else (b"key file", b"passphrase")
    ours, key = house.store().store_id, house.read()
    SoftwareHsm.create(tmp_path / "stranger", key).generate(KeyUsage.MAC_HMAC, "audit")
    stranger = (tmp_path / "stranger").read_bytes()
    theirs = Keystore.open(tmp_path / "stranger", lambda head: MasterEnvelope.for_head(key, head)).store_id
    for text, why in (
        (stranger, "another file was put in its place"),
        (stranger.replace(theirs.encode(), ours.encode()), "the master key is another one, or the file is damaged"),
        (whole.replace(kind, other), "wants another kind of master key"),
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
        patched.setattr(rotation, "_take_over", cut)
        with pytest.raises(Cut):
            house.rotate()
    waiting = house.read_following()
    found: list[MasterKey | Passphrase] = []
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
    """Processes rotate again and again while this one makes keys: every key is there at the end, and nobody hangs."""
    service, made, count = house.opened(), 0, 1 if house.form == COMPONENTS else 2
    with rotators(house, count, ROTATIONS_EACH) as children:
        while any(child.poll() is None for child in children):
            made += 1
            assert made + 1 == service.generate(KeyUsage.MAC_HMAC, "audit").version
    assert [0] * count == [child.returncode for child in children]
    assert 0 < made
    assert made + KEYS == len(house.load()) == len(house.opened().keys())


def _calls(service: SoftwareHsm) -> list[Callable[[], object]]:
    return [
        service.refresh,
        service.components,
        lambda: service.generate(KeyUsage.MAC_HMAC, "audit"),
        lambda: service.set_state(service.version("audit", 1), KeyState.SUSPENDED),
        lambda: service.forget_components("zmk"),
    ]
