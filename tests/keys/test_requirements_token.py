"""The security requirements of keys in a token's keystore (02, 09, 11), by their numbers. Read next: test_requirements.py."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PyKCS11 import LowLevel

from keys import kcv, keyfile, tdes, token_rights
from keys import token_objects as objects
from keys.errors import KeystoreError, TokenError
from keys.keystore import Component, Keystore
from keys.keytypes import Algorithm, KeySpec, KeyState, KeyUsage
from keys.pkcs11 import Pkcs11Hsm, TokenEnvelope
from tests.keys import softhsm
from tests.keys.at_work import Kind, key_of, taken, works
from tests.keys.samples import SECOND_KEY, TODAY, components
from tests.keys.test_requirements import WEAK, _flipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.hsm import Hsm
    from keys.token import Token
    from keys.token_workshop import TokenKey

pytestmark = softhsm.needs_token

ROOT = Path(__file__).resolve().parents[2]
KINDS = [
    Kind(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES, 192),
    Kind(KeyUsage.PIN_VERIFICATION_IBM, Algorithm.TDES, 128),
    Kind(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128),
    Kind(KeyUsage.DATA_SEALING, Algorithm.AES, 256),
    Kind(KeyUsage.MAC_HMAC, Algorithm.HMAC, 512),
    Kind(KeyUsage.SIGNATURE, Algorithm.RSA, 2048),
]
KILLS = 12

# Back and forth between two master keys for ever; or, told a number, until that many steps: then it kills itself.
REWRAPPER = """
import os, pathlib, signal, sys
from keys import keyfile, pkcs11
from keys.master import Passphrase
from keys.token import Token
path, module, label, pin, last = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), *sys.argv[3:5], int(sys.argv[5])
token, steps = Token(module, label, Passphrase(pin)), 0
def counted(call):
    def step(*given, **named):
        global steps
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        return call(*given, **named)
    return step
token.unwrap, token.wrap, token.encrypt = counted(token.unwrap), counted(token.wrap), counted(token.encrypt)
os.fsync, os.replace, pathlib.Path.replace = counted(os.fsync), counted(os.replace), counted(pathlib.Path.replace)
print("open", flush=True)
at = 2
while last < 0 or at == 2:
    pkcs11.rewrap(path, token, at)
    at = 3 - at
print(steps, flush=True)
"""


def opened(path: Path) -> Hsm:
    """The HSM over a keystore of the token, whichever of its master keys it is under."""
    return Pkcs11Hsm.open(path, softhsm.shared_token(), today=lambda: TODAY)


def filled(path: Path) -> Mapping[Kind, str]:
    """A new keystore with a key of each kind, one that is destroyed, and a component that waits."""
    hsm = Pkcs11Hsm.create(path, softhsm.shared_token(), today=lambda: TODAY)
    labels = {kind: taken(hsm, kind).label for kind in KINDS}
    gone = hsm.generate(KeyUsage.MAC_CMAC, "gone")
    for state in (KeyState.COMPROMISED, KeyState.DESTROYED):
        hsm.set_state(gone, state)
    waiting = Component("zmk", 1, 2, "one", TODAY, "")
    hsm.enter_component(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.TDES), waiting, components(SECOND_KEY)[0])
    return labels


def rewrapping(path: Path, last: int) -> subprocess.Popen[bytes]:
    """A child that changes the master key: until step LAST, or for ever."""
    words = [str(path), str(softhsm.module()), softhsm.LABEL, softhsm.USER.reveal(), str(last)]
    environment = {"PYTHONPATH": str(ROOT), "SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"]}
    child = subprocess.Popen([sys.executable, "-c", REWRAPPER, *words], env=environment, stdout=subprocess.PIPE)  # noqa: S603 - ours
    assert child.stdout is not None
    assert b"open\n" == child.stdout.readline()
    return child


def all_there(path: Path, before: Hsm, labels: Mapping[Kind, str]) -> int:
    """Look in a copy that every key is there and does its work, and what waits too. Which master key the file is under."""
    looked_at = path.with_name("looked at")
    shutil.copy(path, looked_at)
    hsm = opened(looked_at)
    assert (before.keys(), before.components()) == (hsm.keys(), hsm.components())
    for kind, label in labels.items():
        assert works(hsm, hsm.find(label), key_of(kind)), kind
    return int(json.loads(path.read_bytes())["head"]["master"])


def test_requirement_11_a_killed_rewrap_of_a_token_loses_no_key(tmp_path: Path) -> None:
    """By -9 at varying moments, again and again: one of the two master keys opens the file, with every key at work."""
    path, chance = tmp_path / "keystore", random.Random(20261128)
    labels = filled(path)
    before, under = opened(path), set()
    for number in range(KILLS):
        stamp = keyfile.stamp(path)
        with rewrapping(path, -1) as child:
            while number % 3 and keyfile.stamp(path) == stamp:  # two of three are killed after a whole rewrap at least
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.1))
            child.kill()
        assert -9 == child.returncode
        under.add(all_there(path, before, labels))
    assert {1, 2} == under


def test_requirement_11_a_rewrap_of_a_token_is_killed_at_each_step(tmp_path: Path) -> None:
    """Before each key is unwrapped, wrapped, sealed, and before each step of the write: wholly old, then wholly new."""
    path, under = tmp_path / "keystore", []
    labels = filled(path)
    before, text = opened(path), path.read_bytes()
    with rewrapping(path, 1_000_000) as child:
        assert child.stdout is not None
        steps = int(child.stdout.readline())
    assert 2 * len(KINDS) < steps
    for last in range(steps):
        path.write_bytes(text)
        with rewrapping(path, last) as child:
            child.wait()
        assert -9 == child.returncode
        under.append(all_there(path, before, labels))
    assert sorted(under) == under  # old until one step, and new from there on
    assert {1, 2} == set(under)


def resealed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the parsed file, and put the seal over all of it right, as only who has the token could."""
    envelope, document = TokenEnvelope(softhsm.shared_token(), 1), json.loads(path.read_bytes())
    change(document)
    store: Keystore[TokenKey] = Keystore(path, envelope, document["head"])
    document["seal"] = envelope.seal_data(b"", store._whole(document))
    path.write_bytes(keyfile._text(document))


def test_requirement_02_no_bit_of_a_tokens_keystore_can_be_flipped(tmp_path: Path) -> None:
    """Of the wrapped key, its companion, the MAC, or any part of the header: the keystore does not load."""
    path, tried = tmp_path / "keystore", 0
    hsm = Pkcs11Hsm.create(path, softhsm.shared_token(), today=lambda: TODAY)
    hsm.form(KeyUsage.MAC_RETAIL, "zak", components(SECOND_KEY))
    whole = path.read_bytes()
    entry = json.loads(whole)["keys"][0]
    words = {name: entry["sealed"].pop(name) for name in ("algorithm", "bits")}
    assert {"wrapped", "companion", "mac"} == set(entry["sealed"])
    changes = [one | {"sealed": one["sealed"] | words} for one in _flipped(entry)]
    whole_entry = entry | {"sealed": entry["sealed"] | words}
    for name, value in words.items():
        changes += [
            whole_entry | {"sealed": whole_entry["sealed"] | {name: other}} for other in ("A", "H", "192", value + "0")
        ]
    for changed in changes:
        resealed(path, lambda document, changed=changed: document["keys"].__setitem__(0, changed))  # type: ignore[misc]
        with pytest.raises(KeystoreError, match="key 1 "):
            opened(path)
        tried += 1
    assert 8 * (24 + 32 + 16) < tried
    path.write_bytes(whole)
    resealed(path, lambda _: None)
    assert hsm.keys() == opened(path).keys()


@pytest.mark.parametrize("sealed_anew", [False, True])
def test_requirement_02_no_key_of_a_token_takes_the_header_of_another(tmp_path: Path, *, sealed_anew: bool) -> None:
    """Two entries with each other's header, or one with a header changed: refused, though each part is genuine."""
    path = tmp_path / "keystore"
    hsm = Pkcs11Hsm.create(path, softhsm.shared_token(), today=lambda: TODAY)
    hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, bits=128), "a")
    hsm.generate(KeyUsage.MAC_RETAIL, "b")
    document = json.loads(path.read_bytes())
    one, other = document["keys"]
    swapped = [
        {"header": one["header"], "sealed": other["sealed"]},
        {"header": other["header"], "sealed": one["sealed"]},
    ]
    changes = [swapped, [one, one], [one | {"header": one["header"] | {"mode": "B"}}, other]]
    if not sealed_anew:  # the seal over all of it binds order and number too
        changes += [[other, one], [one]]
    for keys in changes:
        path.write_bytes(keyfile._text(document | {"keys": keys}))
        if sealed_anew:
            resealed(path, lambda _: None)
        with pytest.raises(KeystoreError):
            opened(path)


def planted(token: Token, document: dict[str, Any], key: bytes, *, bits: int, coded: bool) -> None:
    """Put a weak KEY in the place of the first: wrapped by the token, with its right check value; CODED: with a right MAC."""
    header = document["keys"][0]["header"] | {"bits": bits, "kcv": kcv.of_tdes(key).value}
    template = objects._secret(Algorithm.HMAC, len(key), token_rights.NONE, extractable=True)
    value = token.create([*template, (LowLevel.CKA_VALUE, key)])
    wrapped = token.wrap(token.must_find("kks-master-1"), value, objects.KEY_WRAP)
    entry = document["keys"][0]["sealed"] | {"wrapped": wrapped.hex(), "bits": str(bits)}
    if coded:
        bare = {name: text for name, text in entry.items() if name != "mac"}
        bound = keyfile.canonical({"head": document["head"], "header": header})
        entry["mac"] = TokenEnvelope(token, 1)._code(bare, bound).hex()
    document["keys"][0] = {"header": header, "sealed": entry}
    token.destroy(value)


@pytest.mark.parametrize("weak", WEAK)
def test_requirement_09_no_weak_key_is_loaded_from_a_tokens_keystore(tmp_path: Path, weak: str) -> None:
    """Wrapped by the token itself, with its right check value, in the place of a good one: its MAC is not of it.

    Even with a right MAC none is loaded whose bytes are not as many as its header says; single DES is not even wrapped.
    """
    path, key, token = tmp_path / "keystore", WEAK[weak], softhsm.shared_token()
    hsm = Pkcs11Hsm.create(path, token, today=lambda: TODAY)
    hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, bits=128), "zpk")
    whole = path.read_bytes()
    if len(key) == tdes.SINGLE:
        with pytest.raises(TokenError, match="CKR_KEY_SIZE_RANGE"):
            planted(token, json.loads(whole), key, bits=128, coded=True)
        return
    resealed(path, lambda document: planted(token, document, key, bits=8 * len(key), coded=False))
    with pytest.raises(KeystoreError, match="key 1 "):
        opened(path)
    for bits in {64, 128, 192} - {8 * len(key)}:
        path.write_bytes(whole)
        resealed(path, lambda document, bits=bits: planted(token, document, key, bits=bits, coded=True))  # type: ignore[misc]
        with pytest.raises(KeystoreError, match="key 1 "):
            opened(path)
