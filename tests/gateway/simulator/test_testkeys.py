"""Tests of gateway.simulator.testkeys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.simulator.errors import ProfileError
from gateway.simulator.testkeys import TestKey, TestKeyKind, TestKeys, load_test_keys
from keys.keytypes import Algorithm, KeyMode, KeyUsage

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = "0123456789ABCDEFFEDCBA9876543210", "1111111122222222333333334444444A"
ZPK = {"label": "zpk-x", "kind": "zpk", "components": [ONE, TWO]}
BDK = ZPK | {"label": "bdk-x", "kind": "bdk", "key_set": "FFFF987654"}
INITIAL = ZPK | {"label": "ik-x", "kind": "initial", "ksn": "FFFF9876543210E00000"}
MAC = ZPK | {"label": "mac-x", "kind": "mac", "algorithm": "A"}


def write(folder: Path, *keys: dict[str, Any]) -> Path:
    """A file of keys."""
    path = folder / "test-keys.json"
    path.write_text(json.dumps(keys))
    return path


def test_every_kind_is_read_and_formed(tmp_path: Path) -> None:
    """Usage by kind and algorithm; a zone key can encipher only."""
    zmk = MAC | {"label": "zmk-x", "kind": "zmk"}
    keys = load_test_keys(write(tmp_path, ZPK, BDK, INITIAL, MAC, MAC | {"label": "mac-t", "algorithm": "T"}, zmk))
    infos = [keys.hsm.info(one.form(keys.hsm)) for one in keys.keys]
    assert [
        KeyUsage.PIN_ENCRYPTION, KeyUsage.BASE_DERIVATION, KeyUsage.INITIAL_DUKPT, KeyUsage.MAC_CMAC, KeyUsage.MAC_RETAIL,
        KeyUsage.KEY_BLOCK_PROTECTION,
    ] == [info.usage for info in infos]  # fmt: skip
    assert (KeyMode.ENCRYPT, "FFFF9876543210E00000") == (infos[0].mode, infos[2].attributes.device)
    assert (tmp_path, "FFFF987654") == (keys.folder, keys.key("bdk-x", TestKeyKind.BDK).device.hex().upper())


def test_the_file_that_a_bank_writes(tmp_path: Path) -> None:
    """Keys of other uses are passed over; a base key without a key set has one of ours."""
    others = [{"link": "x", "label": kind, "kind": kind, "components": [ONE, TWO]} for kind in ("imk-smi", "imk-smc")]
    bdk = {"link": "edc", "label": "bdk-edc", "kind": "bdk", "components": [ONE, TWO]}
    (key,) = load_test_keys(write(tmp_path, *others, bdk)).keys
    assert ("bdk-edc", "FFFF987654", Algorithm.TDES) == (key.label, key.device.hex().upper(), key.algorithm)
    assert key.form(TestKeys().hsm)


def test_keys_of_an_issuer_and_of_a_zone(tmp_path: Path) -> None:
    """Each of the usage that the bank's half has; the value is what a card keeps of it."""
    kinds = ("imk-ac", "cvk", "zmk")
    entries = [{"label": kind, "kind": kind, "algorithm": "T", "components": [ONE, TWO]} for kind in kinds]
    keys = load_test_keys(write(tmp_path, *entries))
    assert [KeyUsage.ISSUER_CRYPTOGRAM, KeyUsage.CARD_VERIFICATION, KeyUsage.KEY_BLOCK_PROTECTION] == [
        keys.hsm.info(one.form(keys.hsm)).usage for one in keys.keys
    ]
    value = f"{int(ONE, 16) ^ int(TWO, 16):032x}"
    assert [value] * 3 == [one.value.hex() for one in keys.keys]


def test_keys_by_label_and_kind(tmp_path: Path) -> None:
    """What is not there, or for something else, is said."""
    keys = load_test_keys(write(tmp_path, ZPK))
    assert "zpk-x" == keys.key("zpk-x", TestKeyKind.ZPK).label
    with pytest.raises(ProfileError, match="test key zpk-x: is of kind zpk, not bdk or initial"):
        keys.key("zpk-x", TestKeyKind.BDK, TestKeyKind.INITIAL)
    with pytest.raises(ProfileError, match="there is no test key zpk-y: --keys names a file"):
        keys.key("zpk-y", TestKeyKind.ZPK)


def test_others_join_where_the_label_is_free() -> None:
    """The first of a label counts."""
    one, two = (TestKey("a", TestKeyKind.ZPK, Algorithm.TDES, (bytes(16), bytes([n] * 16))) for n in (1, 2))
    three = TestKey("b", TestKeyKind.ZPK, Algorithm.TDES, (bytes(16), bytes(16)))
    assert (one, three) == TestKeys((one,)).joined((two, three)).keys


def test_a_key_that_is_none_is_one_line() -> None:
    """Components that cancel out; no component is shown."""
    weak = TestKey("a", TestKeyKind.ZPK, Algorithm.TDES, (bytes.fromhex(ONE), bytes.fromhex(ONE)))
    with pytest.raises(ProfileError, match="test key a: ") as caught:
        weak.form(TestKeys().hsm)
    assert ONE not in str(caught.value) + repr(weak)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({"label": "a"}, "kind is missing"),
        (ZPK | {"kind": "master"}, "is not as the manual says"),
        (ZPK | {"components": ["XX", TWO]}, "is not as the manual says"),
        (ZPK | {"components": [ONE]}, "wants two or more components"),
        (ZPK | {"components": [ONE, TWO + "00"]}, "wants two or more components"),
        (ZPK | {"components": ["00" * 32, "11" * 32]}, "wants two or more components"),
        ({name: value for name, value in INITIAL.items() if name != "ksn"}, "ksn is missing"),
        (BDK | {"key_set": "FF"}, "key_set must be of 5 bytes"),
        (BDK | {"algorithm": "A"}, "key_set must be of 4 bytes"),
        (INITIAL | {"ksn": "FF"}, "ksn must be of 10 bytes"),
        ("text", "is not as the manual says"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, key: dict[str, Any], said: str) -> None:
    """File and place, and what is wrong; nothing of a component."""
    path = write(tmp_path, MAC, key)
    with pytest.raises(ProfileError, match=said) as caught:
        load_test_keys(path)
    assert str(caught.value).startswith(f"test keys {path}: key 2: ")
    assert ONE not in str(caught.value)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    """Missing, no JSON, no list."""
    path = tmp_path / "none.json"
    with pytest.raises(ProfileError, match="No such file"):
        load_test_keys(path)
    path.write_text("x")
    with pytest.raises(ProfileError, match="is not JSON"):
        load_test_keys(path)
    path.write_text('{"keys": []}')
    with pytest.raises(ProfileError, match="is not a list of test keys"):
        load_test_keys(path)
