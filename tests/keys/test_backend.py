"""Tests of keys.backend: back ends found by name, and what one refuses that it has not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from keys import backend, pkcs11, software
from keys.backend import Place
from keys.errors import KeystoreError
from keys.keytypes import KeyUsage
from keys.master import Passphrase, read_passphrase_file, write_passphrase_file
from keys.master_ceremony import MasterComponent
from tests.keys.samples import TODAY, one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from keys.hsm import Hsm
    from keys.toolbox import Refusal

LEAST = '''
"""A back end that has the two things all must have."""
from keys.backend import Backend
from keys.software import BACKEND as SOFTWARE


class Least(Backend):
    options = {"host": "name of the device"}

    def create(self, place, today, on_refusal=None):
        return SOFTWARE.create(place, today, on_refusal)

    def open(self, place, today, on_refusal=None):
        return SOFTWARE.open(place, today, on_refusal)


BACKEND = Least()
'''


def test_back_ends_are_found_by_their_names() -> None:
    """Each is the object of its module."""
    assert software.BACKEND is backend.find("software")
    assert pkcs11.BACKEND is backend.find("pkcs11")


@pytest.mark.parametrize(
    "name", ["payshield", "aes", "backend", "hsm", "Software", "../software", "os.path", "", "a" * 5000]
)
def test_a_name_that_is_none(name: str) -> None:
    """Modules of other kinds are no back ends."""
    with pytest.raises(KeystoreError, match="there is no key back end") as caught:
        backend.find(name)
    assert one_line(caught.value)


def test_a_package_that_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyKCS11 might, in a bank that has no token."""
    (tmp_path / "wanting.py").write_text("import package_of_nobody\n")
    monkeypatch.setattr("keys.__path__", [*__import__("keys").__path__, str(tmp_path)])
    with pytest.raises(KeystoreError, match="key back end wanting: needs the package package_of_nobody"):
        backend.find("wanting")


def test_options_are_all_given_and_known() -> None:
    """Those that lack are named with what they mean; those that are not known, by name."""
    whole = dict.fromkeys(pkcs11.BACKEND.options, "x")
    backend.check_options("pkcs11", pkcs11.BACKEND, whole)
    for given, why in (
        ({}, r"lacks the options module \(.*library\), token \(label.*\), pin_file \("),
        (whole | {"token": ""}, r"lacks the options token \(label of the token\)$"),
        (whole | {"slot": "1", "pin": "1234"}, "has no option pin, slot$"),
    ):
        with pytest.raises(KeystoreError, match=why) as caught:
            backend.check_options("pkcs11", pkcs11.BACKEND, given)
        assert "1234" not in str(caught.value)


def test_what_a_back_end_has_not_it_refuses(tmp_path: Path, third: str) -> None:
    """Set up, components, another master key: one line; the two commands it has do their work."""
    found, place = backend.find(third), Place(tmp_path / "keystore", tmp_path / "master.key")
    part = MasterComponent(1, 2, "siti", bytes(range(32)))
    for call, why in (
        (lambda: found.set_up(place, tmp_path / "pin", 1), "would have to be set up"),
        (lambda: found.enter_master_component(place, part), "has no components"),
        (lambda: found.enter_next_component(place, part), "has no components"),
        (lambda: found.rotate_master(place), "is not changed from here"),
        (lambda: found.rotate_passphrase(place, tmp_path / "next"), "comes of no passphrase"),
    ):
        with pytest.raises(KeystoreError, match=why) as caught:
            call()
        assert one_line(caught.value)
    assert 0 == found.forget_master_components(place)
    made: Callable[[Place, Callable[[], date], Callable[[Refusal], None] | None], Hsm] = found.create
    assert [] == made(place, lambda: TODAY, None).keys()
    assert [] == found.open(place, lambda: TODAY).keys()


@pytest.fixture
def third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A third back end: one file, put where the others are."""
    (tmp_path / "third_of_all.py").write_text(LEAST)
    monkeypatch.setattr("keys.__path__", [*__import__("keys").__path__, str(tmp_path)])
    return "third_of_all"


def test_the_next_master_key_of_the_software(tmp_path: Path) -> None:
    """Of components, random, or a passphrase: what the bank's place has not is refused, what it has is done."""
    software_one, place = software.BACKEND, Place(tmp_path / "keystore", tmp_path / "master.key")
    spoken = Place(tmp_path / "spoken", tmp_path / "none.key", tmp_path / "passphrase")
    write_passphrase_file(tmp_path / "passphrase", Passphrase("correct horse battery"))
    write_passphrase_file(tmp_path / "next", Passphrase("staple battery horse"))
    parts = [MasterComponent(n, 2, f"custodian {n}", bytes(range(n, n + 32))) for n in (1, 2)]
    for one in (place, spoken):
        made = software_one.create(one, lambda: TODAY)
        made.generate(KeyUsage.MAC_CMAC, "link")
    for call, why in (
        (lambda: software_one.rotate_passphrase(place, tmp_path / "next"), "is a file: no passphrase opens it"),
        (lambda: software_one.enter_next_component(spoken, parts[0]), "it has no components"),
        (lambda: software_one.rotate_master(spoken), "comes of a passphrase: the next one is --passphrase-file"),
        (lambda: software_one.rotate_passphrase(spoken, tmp_path / "none"), "none: cannot be read"),
        (lambda: software_one.rotate_passphrase(spoken, place.keystore), "is not one short line"),
    ):
        with pytest.raises(KeystoreError, match=why) as caught:
            call()
        assert one_line(caught.value)
    assert 1 == software_one.rotate_passphrase(spoken, tmp_path / "next")
    assert Passphrase("staple battery horse") == read_passphrase_file(tmp_path / "passphrase")
    assert software_one.enter_next_component(place, parts[0]).keys is None
    with pytest.raises(KeystoreError, match="1 components of the next master key wait"):
        software_one.rotate_master(place)
    assert (1, 0) == (software_one.forget_master_components(place), software_one.forget_master_components(spoken))
    assert 1 == software_one.rotate_master(place)
    assert [None, 1] == [software_one.enter_next_component(place, part).keys for part in parts]
    for one in (place, spoken):
        assert 1 == software_one.open(one, lambda: TODAY).find("link").version


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    """First master key, keystore, components, locks: the service's account, whose folder it is, opens them."""
    for name in ("random", "components"):
        folder = tmp_path / name
        folder.mkdir(0o700)
        os.chown(folder, 12_345, 12_346)
        place = Place(folder / "keystore", folder / "master.key")
        if name == "components":
            for n in (1, 2):
                part = MasterComponent(n, 2, f"custodian {n}", bytes(range(n, n + 32)))
                software.BACKEND.enter_master_component(place, part)
                _assert_owned(folder)
        software.BACKEND.create(place, lambda: TODAY).generate(KeyUsage.MAC_CMAC, "link")
        software.BACKEND.enter_next_component(place, MasterComponent(1, 2, "custodian 1", bytes(range(32))))
        _assert_owned(folder)


def _assert_owned(folder: Path) -> None:
    for path in folder.iterdir():
        found = path.stat()
        assert (12_345, 12_346, 0o600) == (found.st_uid, found.st_gid, found.st_mode & 0o777), path
