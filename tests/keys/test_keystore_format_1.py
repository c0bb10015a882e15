"""Keystores of format 1."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys import usages
from keys.errors import KeystoreError
from keys.keystore_format_1 import COPY, upgrade
from keys.keytypes import Algorithm, KeyState, KeyUsage
from keys.master import MasterKey, Passphrase
from keys.sensitive import Material
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from pathlib import Path

MASTER = MasterKey(bytes(range(32)))
AUDIT, SEALING, PVK = bytes(range(1, 33)), bytes(range(2, 34)), bytes(range(3, 27))


def canonical(value: object) -> bytes:
    """As format 1 bound it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def entry(cipher: AESGCM, head: dict[str, Any], header: dict[str, Any], key: bytes) -> dict[str, Any]:
    """One key as format 1 had it."""
    nonce = os.urandom(12)
    sealed = cipher.encrypt(nonce, key, canonical({"head": head, "header": header}))
    return {"header": header, "nonce": nonce.hex(), "sealed": sealed.hex()}


def header(label: str, usage: str, algorithm: str, mode: str, key: bytes, **attributes: object) -> dict[str, Any]:
    """Its header."""
    kcv = usages.check_value(Algorithm(algorithm), Material(key))
    return {
        "label": label, "usage": usage, "algorithm": algorithm, "mode": mode, "state": "ACTIVE", "version": 1,
        "created": "2026-11-20", "kcv": kcv.value, "kcv_method": kcv.method.value, "attributes": attributes,
    }  # fmt: skip


def write_format_1(path: Path, master: MasterKey | Passphrase, salt: str | None = None) -> None:
    """A keystore of format 1 with three keys, written by hand."""
    key = master.derive(bytes.fromhex(salt or "")) if isinstance(master, Passphrase) else master
    cipher = AESGCM(key.reveal())
    head = {"format": "kks-keystore", "version": 1, "store": "00" * 16, "salt": salt}
    nonce = os.urandom(12)
    check = {"nonce": nonce.hex(), "sealed": cipher.encrypt(nonce, b"", canonical({"head": head})).hex()}
    table = {"decimalisation_table": "0123456789012345", "check_length": 6}
    keys = [
        entry(cipher, head, header("audit", "M7", "H", "C", AUDIT, mac_length=32), AUDIT),
        entry(cipher, head, header("pin-verification", "V1", "T", "C", PVK, **table), PVK),
        entry(cipher, head, header("vault-sealing", "D0", "A", "B", SEALING), SEALING),
    ]
    text = json.dumps({"head": head, "check": check, "keys": keys}, indent=1, sort_keys=True)
    path.write_text(text + "\n")


@pytest.mark.parametrize(("master", "salt"), [(MASTER, None), (Passphrase("correct horse battery"), "11" * 16)])
def test_every_key_is_there_afterwards(tmp_path: Path, master: MasterKey | Passphrase, salt: str | None) -> None:
    """Same labels, check values, states; the keys compute what they computed; a copy of the old file is kept."""
    path = tmp_path / "keystore.json"
    write_format_1(path, master, salt)
    before = path.read_bytes()
    hsm = SoftwareHsm.open(path, master)
    known = hsm.keys()
    assert ["audit#1", "pin-verification#1", "vault-sealing#1"] == [info.name for info in known]
    assert {KeyState.ACTIVE} == {info.state for info in known}
    expected = SoftwareHsm.in_memory().form(KeyUsage.MAC_HMAC, "audit", [AUDIT[:31] + b"\xff", bytes(31) + b"\xdf"])
    assert expected.kcv == hsm.kcv(hsm.find("audit"))
    assert before == path.with_name(path.name + COPY).read_bytes()
    assert not upgrade(path, master)
    assert hsm.keys() == SoftwareHsm.open(path, master).keys()


def test_a_wrong_master_key_changes_nothing(tmp_path: Path) -> None:
    """The old file stays as it was."""
    path = tmp_path / "keystore.json"
    write_format_1(path, MASTER)
    before = path.read_bytes()
    with pytest.raises(KeystoreError, match="master key"):
        SoftwareHsm.open(path, MasterKey(bytes(32)))
    assert before == path.read_bytes()


def test_every_changed_part_is_refused(tmp_path: Path) -> None:
    """A header or a sealed key of format 1 that was changed is not carried over."""
    path = tmp_path / "keystore.json"
    write_format_1(path, MASTER)
    for name, value in (("label", "other"), ("usage", "10"), ("kcv", "0000000000"), ("state", "DEACTIVATED")):
        document = json.loads(path.read_text())
        document["keys"][0]["header"][name] = value
        changed = tmp_path / f"changed-{name}.json"
        changed.write_text(json.dumps(document))
        with pytest.raises(KeystoreError, match="key 1 does not open"):
            upgrade(changed, MASTER)
        assert value == json.loads(changed.read_text())["keys"][0]["header"][name]


def test_what_is_no_format_1_is_left_alone(tmp_path: Path) -> None:
    """A file of today, rubbish, and none at all."""
    path = tmp_path / "keystore.json"
    SoftwareHsm.create(path, MASTER)
    assert not upgrade(path, MASTER)
    (tmp_path / "rubbish").write_bytes(b"\xff\x00 not json")
    assert not upgrade(tmp_path / "rubbish", MASTER)
    assert not upgrade(tmp_path / "none", MASTER)
