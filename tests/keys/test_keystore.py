"""The keystore file: nothing in it can be changed unnoticed, and nothing is lost."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keys import keystore
from keys.errors import KeyRefused, KeystoreError
from keys.keytypes import KeyInfo, KeyMode, KeyUsage
from keys.keystore import Keystore
from keys.master import MasterKey, Passphrase
from keys.sensitive import Material
from tests.keys.samples import one_line
from tests.keys.test_usages import key_of

MASTER = MasterKey(bytes(range(32)))


def store_with(path: Path, *usages: KeyUsage) -> list[tuple[KeyInfo, Material]]:
    """A keystore at PATH with a key of each usage, labelled by its code."""
    store = Keystore.create(path, MASTER)
    added = [(replace(info, label=usage.value), material) for usage in usages for info, material in [key_of(usage)]]
    for info, material in added:
        store.add(info, material)
    return added


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    """Change the parsed file and write it just as the keystore would."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(keystore._text(document))


def load_again(path: Path) -> list[tuple[KeyInfo, Material]]:
    """Open and load."""
    return Keystore.open(path, MASTER).load()


def test_keys_come_back_with_their_headers(tmp_path: Path) -> None:
    """Every usage, attributes and dates and all."""
    added = store_with(tmp_path / "store", *KeyUsage)
    assert added == load_again(tmp_path / "store")


def test_file_holds_no_key(tmp_path: Path) -> None:
    """Neither as bytes nor in hex; its mode is 0600."""
    path = tmp_path / "store"
    for _, material in store_with(path, *KeyUsage):
        assert material.reveal().hex() not in path.read_text("ascii").lower()
    assert MASTER.reveal().hex() not in path.read_text("ascii")
    assert 0o600 == path.stat().st_mode & 0o777


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    """One bit of every byte of the file, head and entry: it does not load, and the error is one line with the path."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_VERIFICATION_IBM)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(KeystoreError) as caught:
            load_again(path)
        assert str(path) in str(caught.value)
        assert one_line(caught.value)
    path.write_bytes(whole)
    assert 1 == len(load_again(path))


@pytest.mark.parametrize("name", ["nonce", "sealed"])
def test_any_flipped_bit_of_the_seal_is_found(tmp_path: Path, name: str) -> None:
    """Every bit of nonce, ciphertext and tag, in a file that is otherwise as written."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.MAC_RETAIL)
    sealed = bytes.fromhex(json.loads(path.read_bytes())["keys"][0][name])
    for bit in range(8 * len(sealed)):
        flipped = (int.from_bytes(sealed, "big") ^ 1 << bit).to_bytes(len(sealed), "big").hex()
        document = json.loads(path.read_bytes())
        document["keys"][0][name] = flipped
        path.write_bytes(keystore._text(document))
        with pytest.raises(KeystoreError, match="key 1 does not open"):
            load_again(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", "V2"),
        ("usage", "P0"),
        ("algorithm", "A"),
        ("mode", "G"),
        ("state", "DEACTIVATED"),
        ("version", 2),
        ("created", "2026-01-03"),
        ("kcv", "000000"),
        ("kcv_method", "AES-CMAC-0"),
        ("attributes", {"decimalisation_table": "0123456789012345", "check_length": 4}),
        ("attributes", {"decimalisation_table": "9876543210987654", "check_length": 6}),
        ("more", "x"),
    ],
)
def test_any_changed_header_is_found(tmp_path: Path, name: str, value: object) -> None:
    """Each field is bound to its key: a key never opens for more, or less, than it was sealed for."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_VERIFICATION_IBM)
    rewrite(path, lambda document: document["keys"][0]["header"].update({name: value}))
    with pytest.raises(KeystoreError, match="key 1 does not open"):
        load_again(path)


def test_swapped_headers_are_found(tmp_path: Path) -> None:
    """The header of one key on the seal of another."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_ENCRYPTION, KeyUsage.PIN_VERIFICATION_IBM)

    def swap(document: Any) -> None:  # noqa: ANN401 - parsed JSON
        one, other = document["keys"]
        one["header"], other["header"] = other["header"], one["header"]

    rewrite(path, swap)
    with pytest.raises(KeystoreError, match="key 1 does not open"):
        load_again(path)


def test_key_twice_is_found(tmp_path: Path) -> None:
    """A label stands for one key."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.MAC_HMAC)
    rewrite(path, lambda document: document["keys"].append(document["keys"][0]))
    with pytest.raises(KeystoreError, match="twice"):
        load_again(path)


def test_entry_of_another_keystore_does_not_open(tmp_path: Path) -> None:
    """Even under the same master key."""
    store_with(tmp_path / "one", KeyUsage.PIN_ENCRYPTION)
    store_with(tmp_path / "other", KeyUsage.MAC_HMAC)
    entry = json.loads((tmp_path / "other").read_bytes())["keys"][0]
    rewrite(tmp_path / "one", lambda document: document["keys"].append(entry))
    with pytest.raises(KeystoreError, match="key 2 does not open"):
        load_again(tmp_path / "one")


def test_key_that_breaks_the_rules_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rightly sealed but unfit, as another program might have made it: refused by name, not used."""
    path = tmp_path / "store"
    info, material = key_of(KeyUsage.MAC_HMAC)
    with monkeypatch.context() as patched:
        patched.setattr(keystore, "check_key", lambda *_: None)
        Keystore.create(path, MASTER).add(replace(info, mode=KeyMode.DECRYPT), material)
    with pytest.raises(KeystoreError, match=r"key 1 is not fit: key a\.key"):
        load_again(path)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"null", b"1", b"\xff", b'{"head": 1, "check": 2, "keys": []}', b"[" * 100_000, b"NaN"]
)
def test_other_files_are_refused(tmp_path: Path, text: bytes) -> None:
    """Whatever stands in it, it is one clear error."""
    path = tmp_path / "store"
    path.write_bytes(text)
    with pytest.raises(KeystoreError, match="is damaged"):
        load_again(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [("head", {}), ("head", []), ("head", 1), ("check", 1), ("keys", {}), ("keys", [1]), ("keys", [{}])],
)
def test_other_shapes_are_refused(tmp_path: Path, part: str, value: object) -> None:
    """The right text form with something else in it."""
    path = tmp_path / "store"
    store_with(path)
    rewrite(path, lambda document: document.update({part: value}))
    with pytest.raises(KeystoreError):
        load_again(path)


def test_wrong_master_key(tmp_path: Path) -> None:
    """Refused at once, also where no key is in the file yet."""
    Keystore.create(tmp_path / "store", MASTER)
    with pytest.raises(KeystoreError, match="master key is another one"):
        Keystore.open(tmp_path / "store", MasterKey(bytes(range(1, 33))))


def test_passphrase(tmp_path: Path) -> None:
    """Opens what it created; another passphrase, or a key file, does not."""
    path = tmp_path / "store"
    info, material = key_of(KeyUsage.DATA_SEALING)
    Keystore.create(path, Passphrase("correct horse battery")).add(info, material)
    assert [(info, material)] == Keystore.open(path, Passphrase("correct horse battery")).load()
    with pytest.raises(KeystoreError, match="master key is another one"):
        Keystore.open(path, Passphrase("correct horse batterz"))
    with pytest.raises(KeystoreError, match="other kind of master key"):
        Keystore.open(path, MASTER)


def test_passphrase_does_not_open_what_a_key_file_made(tmp_path: Path) -> None:
    """The kind of master key is part of the file's head."""
    Keystore.create(tmp_path / "store", MASTER)
    with pytest.raises(KeystoreError, match="other kind of master key"):
        Keystore.open(tmp_path / "store", Passphrase("correct horse battery"))


def test_later_format_is_refused(tmp_path: Path) -> None:
    """A file of a version this program does not know is not touched."""
    path = tmp_path / "store"
    Keystore.create(path, MASTER)
    rewrite(path, lambda document: document["head"].update(version=2))
    with pytest.raises(KeystoreError, match="not of format"):
        Keystore.open(path, MASTER)


def test_never_overwritten(tmp_path: Path) -> None:
    """A second creation is refused, and the first keystore is still there."""
    added = store_with(tmp_path / "store", KeyUsage.MAC_HMAC)
    with pytest.raises(KeystoreError, match="there already"):
        Keystore.create(tmp_path / "store", MASTER)
    assert added == load_again(tmp_path / "store")


def test_label_in_use_and_unfit_keys_are_not_added(tmp_path: Path) -> None:
    """Refused, and the file is as it was."""
    path = tmp_path / "store"
    ((info, material),) = store_with(path, KeyUsage.MAC_HMAC)
    before = path.read_bytes()
    with pytest.raises(KeyRefused, match="there already"):
        Keystore.open(path, MASTER).add(info, material)
    with pytest.raises(KeyRefused, match="length"):
        Keystore.open(path, MASTER).add(replace(info, label="short"), Material(b"short"))
    assert before == path.read_bytes()


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    """Four processes' worth of adding at once: every key is there after."""
    path = tmp_path / "store"
    Keystore.create(path, MASTER)
    info, material = key_of(KeyUsage.MAC_HMAC)
    labels = [f"key.{number:02d}" for number in range(12)]

    def add(label: str) -> None:
        Keystore.open(path, MASTER).add(replace(info, label=label), material)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, labels))
    assert labels == sorted(found.label for found, _ in load_again(path))


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: one clear error, the keys of before, and no litter."""
    path = tmp_path / "store"
    added = store_with(path, KeyUsage.MAC_HMAC)
    info, material = key_of(KeyUsage.DATA_SEALING)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("keys.keystore.os.fsync", full)
        with pytest.raises(KeystoreError, match="No space left"):
            Keystore.open(path, MASTER).add(info, material)
    assert added == load_again(path)
    assert ["store", "store.lock"] == sorted(found.name for found in tmp_path.iterdir())


def test_another_file_in_its_place_is_found(tmp_path: Path) -> None:
    """An open keystore does not write into a file that is not its own."""
    store = Keystore.create(tmp_path / "one", MASTER)
    store_with(tmp_path / "other", KeyUsage.MAC_HMAC)
    (tmp_path / "other").replace(tmp_path / "one")
    with pytest.raises(KeystoreError, match="another file"):
        store.add(*key_of(KeyUsage.DATA_SEALING))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """One line with the path, for reading and for writing."""
    with pytest.raises(KeystoreError, match="cannot be read"):
        Keystore.open(tmp_path / "none", MASTER)
    with pytest.raises(KeystoreError, match="cannot be locked"):
        Keystore.create(tmp_path / "none" / "store", MASTER)
