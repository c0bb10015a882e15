"""The security requirements of the payment keys, by their numbers: what this room does about each, tried as a whole.

Read next: docs/threat-model.md; the modules named below for the particulars.
"""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keys import kcv, keyfile, tdes, tr31
from keys.envelope import DoesNotOpen, MasterEnvelope
from keys.errors import KeyBlockError, KeyRefused, KeystoreError
from keys.kcv import Kcv, KcvMethod
from keys.keystore import Component
from keys.keytypes import Algorithm, Exportability, KeyMode, KeySpec, KeyUsage
from keys.master import MASTER_BYTES, MasterKey, Passphrase
from keys.permissions import Operation
from keys.sensitive import Material
from keys.software import SoftwareHsm
from keys.tr31_header import Header
from keys.usages import USAGES
from tests.keys import test_permissions, test_rewrap
from tests.keys.answers import every_answer, holds_a_key
from tests.keys.backends import BACKENDS
from tests.keys.calls import CALLS, Trial, keep
from tests.keys.samples import SECOND_KEY, TODAY, components, key_of, keys_of_all_usages
from tests.keys.test_keystore import MASTER, OTHER_MASTER, create, load, opened, rewrite, store_with

if TYPE_CHECKING:
    from keys.hsm import Hsm

ROOT = Path(__file__).resolve().parents[2]
EXPORTABLE = Exportability.EXPORTABLE
FIRST, SECOND = components(SECOND_KEY)


def test_requirement_01_no_key_does_what_it_is_not_for() -> None:
    """A call is refused, and the auditor told, unless usage, mode, algorithm, state and dates of its key fit.

    All usages x all operations; with all states and dates the same calls are made in test_permissions.
    """
    pairs: set[tuple[KeyUsage, Operation]] = set()
    refused = 0
    for usage, algorithm, mode in test_permissions.KINDS:
        trial = Trial()
        key = keep(trial.hsm, KeySpec(usage, algorithm, mode, exportability=EXPORTABLE), "tried")
        for call in CALLS:
            wrong = next((one for one in call.needs if not test_permissions.may(key, mode, "ACTIVE", one)), None)
            test_permissions.check_call(trial, call, key, wrong)
            pairs |= {(usage, operation) for operation in call.needs}
            refused += wrong is not None
    assert {(usage, operation) for usage in KeyUsage for operation in Operation} == pairs
    assert refused > len(pairs)


def test_requirement_02_no_bit_of_a_stored_key_can_be_flipped(tmp_path: Path) -> None:
    """Any bit of a stored key, in its header, its ciphertext or its tag: the keystore does not load, and no key of it is used.

    Each entry holds by itself, even were the seal over the whole file put right, as here.
    """
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_ENCRYPTION, KeyUsage.MAC_RETAIL)
    whole = json.loads(path.read_bytes())
    entry = whole["keys"][0]
    tried = 0
    for changed in _flipped(entry):
        rewrite(path, lambda document, changed=changed: document["keys"].__setitem__(0, changed), reseal=MASTER)  # type: ignore[misc]
        with pytest.raises(KeystoreError, match="key 1 "):
            load(path)
        with pytest.raises(KeystoreError, match="key 1 "):
            SoftwareHsm.open(path, MASTER)
        tried += 1
    assert 8 * (12 + 24 + 16) < tried
    path.write_bytes(keyfile._text(whole))
    assert 2 == len(load(path))


def _flipped(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The entry with one bit of nonce, ciphertext and tag changed, and with each part of its header changed."""
    found = []
    for name, text in entry["sealed"].items():
        data = bytes.fromhex(text)
        for bit in range(8 * len(data)):
            flipped = (int.from_bytes(data) ^ 1 << bit).to_bytes(len(data)).hex()
            found.append(entry | {"sealed": entry["sealed"] | {name: flipped}})
    for name, value in entry["header"].items():
        others = [f"{value}0", None, "", 7]
        if isinstance(value, str):
            others += [
                value[:at] + chr(ord(value[at]) ^ 1 << bit) + value[at + 1 :]
                for at in range(len(value))
                for bit in range(7)
            ]
        found += [entry | {"header": entry["header"] | {name: other}} for other in others if other != value]
    return found


def test_requirement_02_no_key_takes_the_header_of_another(tmp_path: Path) -> None:
    """The header of a data key on a PIN key (P0 to D0): in the keystore and in a key block it does not load."""
    path = tmp_path / "store"
    store_with(path, KeyUsage.PIN_ENCRYPTION, KeyUsage.DATA_SEALING)

    def swap(document: Any) -> None:  # noqa: ANN401 - parsed JSON
        one, other = document["keys"]
        one["header"], other["header"] = other["header"], one["header"]

    before = path.read_bytes()
    for change in (swap, lambda document: document["keys"][0]["header"].update(usage="D0")):
        for reseal in (None, MASTER):
            path.write_bytes(before)
            rewrite(path, change, reseal=reseal)
            with pytest.raises(KeystoreError):
                SoftwareHsm.open(path, MASTER)
    hsm = SoftwareHsm.in_memory()
    kbpk = hsm.generate(KeyUsage.KEY_BLOCK_PROTECTION, "kbpk")
    aes = KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.AES, exportability=EXPORTABLE)
    block = hsm.export_block(hsm.generate(aes, "zpk"), kbpk)
    assert "P0" == block[5:7]
    with pytest.raises(KeyBlockError, match="not authentic"):
        hsm.import_block("came", f"{block[:5]}D0{block[7:]}", kbpk)
    for at, character in enumerate(block):
        other = "1" if character != "1" else "2"
        with pytest.raises((KeyBlockError, KeyRefused)):
            hsm.import_block("came", block[:at] + other + block[at + 1 :], kbpk)
    assert hsm.import_block("came", block, kbpk).kcv == hsm.find("zpk").kcv


def part(number: int, custodian: str, value: bytes, of: int = 2) -> Component:
    """A component with its right check value."""
    return Component("zpk", number, of, custodian, TODAY, str(kcv.of_tdes(value)))


def test_requirement_08_a_key_is_formed_by_different_people(tmp_path: Path) -> None:
    """Two people or more, none of whom enters two components; each has its check value, and so has the key they form."""
    hsm = SoftwareHsm.create(tmp_path / "store", MASTER, today=lambda: TODAY)
    for of in (-1, 0, 1):
        with pytest.raises(KeyRefused):
            hsm.enter_component(KeyUsage.PIN_ENCRYPTION, part(1, "siti", FIRST, of), FIRST)
    assert hsm.enter_component(KeyUsage.PIN_ENCRYPTION, part(1, "siti", FIRST), FIRST) is None
    with pytest.raises(KeyRefused, match="nobody enters two"):
        hsm.enter_component(KeyUsage.PIN_ENCRYPTION, part(2, "siti", SECOND), SECOND)
    again = SoftwareHsm.open(tmp_path / "store", MASTER, today=lambda: TODAY)
    with pytest.raises(KeyRefused, match="nobody enters two"):
        again.enter_component(KeyUsage.PIN_ENCRYPTION, part(2, "siti", SECOND), SECOND)
    assert [] == again.keys()
    assert [str(kcv.of_tdes(FIRST))] == [waiting.kcv for waiting in again.components()]
    key = again.enter_component(KeyUsage.PIN_ENCRYPTION, part(2, "budi", SECOND), SECOND)
    assert key is not None
    assert Kcv("08D7B4", KcvMethod.TDES_ECB_ZERO) == again.kcv(key)
    for fewer in ([], [SECOND_KEY]):
        with pytest.raises(KeyRefused, match="two components or more"):
            again.form(KeyUsage.PIN_ENCRYPTION, "alone", fewer)


def test_requirement_08_a_component_is_the_one_on_its_sheet(tmp_path: Path) -> None:
    """A slip of the fingers is found when the component is entered, not when the ceremony is over: by its check value."""
    hsm = SoftwareHsm.create(tmp_path / "store", MASTER, today=lambda: TODAY)
    with pytest.raises(KeyRefused):
        hsm.enter_component(KeyUsage.PIN_ENCRYPTION, part(1, "siti", SECOND), FIRST)


def test_requirement_08_no_path_gives_a_clear_key() -> None:
    """No command of the facade has an answer with a key, or a part of one, in it: all commands, with all kinds of keys."""
    answers, answered = every_answer()
    assert {call.command for call in CALLS} == answered
    assert len(answers) > 100
    assert [] == [type(answer).__name__ for answer in answers if holds_a_key(answer)]


ROOMS = ("gateway", "iso", "keys", "ledger")
OTHER_CIPHERS = (
    "cryptography",
    "PyKCS11",
    "Crypto",
    "Cryptodome",
    "nacl",
    "pyDes",
    "psec",
    "pyemv",
    "M2Crypto",
    "OpenSSL",
)
BENCH = "gateway/measure/keys.py"  # measures beside psec and pyemv, and computes nothing of a bank


def test_requirement_09_triple_des_lives_in_keys_alone() -> None:
    """Nobody else imports a cipher or names one; within keys/ two modules import it, and single DES is a half of a key alone."""
    importing, naming, single = set(), set(), set()
    for path in sorted(one for room in ROOMS for one in (ROOT / room).rglob("*.py")):
        name, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
        importing |= {name for module in _imported(tree) if module.split(".")[0] in OTHER_CIPHERS}
        words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        words |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        naming |= {name for word in words if word in ("TripleDES", "DES", "tdes") or "DES3" in word or "3DES" in word}
        single |= {name for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_single_des(node)}
    assert {BENCH} == {name for name in importing | naming if not name.startswith("keys/")}
    assert {"keys/tdes.py", "keys/mac.py"} <= naming
    # The left half in CVV and retail MAC, the one of a chip's session key, the register of DUKPT; and the self test of CVV.
    assert {"keys/software.py", "keys/mac.py", "keys/emv.py", "keys/dukpt_tdes.py", "keys/selftest.py"} == single


def _imported(tree: ast.Module) -> set[str]:
    """The modules that a module imports, in functions and under `if` too."""
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def _is_single_des(call: ast.Call) -> bool:
    """Whether a cipher of triple DES is made of a slice of a key, or of so many bytes: tdes.encipherer(key[: tdes.BLOCK])."""
    made = isinstance(call.func, ast.Attribute) and call.func.attr in ("encipherer", "decipherer", "cbc")
    return made and any(isinstance(one, ast.Subscript) or "tdes.SINGLE" in ast.unparse(one) for one in call.args)


HALF, OTHER_HALF = SECOND_KEY[:8], SECOND_KEY[8:]
OTHER_PARITY = bytes(byte ^ 1 for byte in HALF)
WEAK = {
    "single DES": HALF,
    "equal halves": HALF * 2,
    "equal but for parity": HALF + OTHER_PARITY,
    "three equal parts": HALF * 3,
    "first two equal": HALF + OTHER_PARITY + OTHER_HALF,
    "last two equal": HALF + OTHER_HALF * 2,
    "all zeros": bytes(16),
    "weak part": b"\x01" * 8 + HALF,
    "semi-weak part": HALF + bytes.fromhex("01FE01FE01FE01FE"),
    "weak third part": SECOND_KEY + b"\xe0\xe0\xe0\xe0\xf1\xf1\xf1\xf1",
}
TDES_USAGES = [usage for usage, rule in USAGES.items() if Algorithm.TDES in rule.algorithms]


@pytest.mark.parametrize("weak", WEAK)
def test_requirement_09_no_weak_key_comes_in(lasting: str, tmp_path: Path, weak: str) -> None:
    """Single DES, equal, weak and semi-weak parts, at each entrance of each usage: components in one run or two, key blocks."""
    hsm = BACKENDS[lasting](tmp_path, today=lambda: TODAY)
    kbpks = {"D": bytes(range(32)), "B": bytes(range(0x40, 0x58))}
    under = {
        "D": hsm.form(KeyUsage.KEY_BLOCK_PROTECTION, "aes", components(kbpks["D"])),
        "B": hsm.form(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.TDES), "tdes", components(kbpks["B"])),
    }
    before, key = hsm.keys(), WEAK[weak]
    for usage in TDES_USAGES:
        spec = KeySpec(usage, Algorithm.TDES)
        with pytest.raises(KeyRefused):
            hsm.form(spec, "weak", components(key))
        for version, kbpk in under.items():
            with pytest.raises((KeyRefused, KeyBlockError)):
                hsm.import_block("weak", key_block(kbpks[version], version, usage, key), kbpk)
    for number, value in enumerate(components(key), 1):
        entered = Component("weak", number, 2, f"custodian {number}", TODAY, "")
        if number == 1 and len(key) > tdes.SINGLE:
            assert hsm.enter_component(KeyUsage.PIN_ENCRYPTION, entered, value) is None
            continue
        with pytest.raises(KeyRefused):
            hsm.enter_component(KeyUsage.PIN_ENCRYPTION, entered, value)
    assert (before, []) == (hsm.keys(), hsm.components())


def test_requirement_09_no_weak_key_is_made(hsm: Hsm) -> None:
    """Nobody gets a random key of single DES, and what is made has parts that differ."""
    for usage in TDES_USAGES:
        for bits in (56, 64, 112):
            with pytest.raises(KeyRefused, match=f"takes no TDES key of {bits} bits"):
                hsm.generate(KeySpec(usage, Algorithm.TDES, bits=bits), "single")
        assert hsm.info(hsm.generate(KeySpec(usage, Algorithm.TDES), f"made.{usage}")).bits in (128, 192)


@pytest.mark.parametrize("weak", WEAK)
def test_requirement_09_no_weak_key_is_loaded(tmp_path: Path, weak: str) -> None:
    """Even one that somebody with the master key put into the keystore, with its right check value and every seal put right."""
    path, key = tmp_path / "store", WEAK[weak]
    store_with(path, KeyUsage.PIN_ENCRYPTION, KeyUsage.MAC_RETAIL)

    def plant(document: Any) -> None:  # noqa: ANN401 - parsed JSON
        header = document["keys"][0]["header"] | {"bits": 8 * len(key), "kcv": kcv.of_tdes(key).value}
        bound = keyfile.canonical({"head": document["head"], "header": header})
        document["keys"][0] = {"header": header, "sealed": MasterEnvelope(MASTER).seal(Material(key), bound)}

    rewrite(path, plant, reseal=MASTER)
    with pytest.raises(KeystoreError, match="key 1 is not fit"):
        SoftwareHsm.open(path, MASTER)


def key_block(kbpk: bytes, version: str, usage: KeyUsage, key: bytes) -> str:
    """A key block with a right MAC, of any key: one of single DES no writer would write."""
    writer = tr31.Writer(kbpk, version)
    clear = (8 * len(key)).to_bytes(2) + key
    clear += bytes(-len(clear) % writer._unit)
    mode = USAGES[usage].modes[0].value
    text = Header(version, usage.value, "T", mode).build(2 * (len(clear) + writer._unit)).encode("ascii")
    tag = writer._code(text + clear)
    first = bytes(one ^ other for one, other in zip(clear[: writer._unit], tag, strict=True))
    return text.decode("ascii") + (writer._chain.encryptor().update(first + clear[writer._unit :]) + tag).hex().upper()


def test_requirement_09_the_blocks_of_these_tests_are_right(hsm: Hsm) -> None:
    """What was refused was refused for its key: a strong one in such a block is taken, and works as itself."""
    for version, kbpk in (("D", bytes(range(32))), ("B", bytes(range(0x40, 0x58)))):
        spec = KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.AES if version == "D" else Algorithm.TDES)
        under = hsm.form(spec, f"kbpk.{version}", components(kbpk))
        came = hsm.import_block(f"came.{version}", key_block(kbpk, version, KeyUsage.MAC_RETAIL, SECOND_KEY), under)
        assert kcv.of_tdes(SECOND_KEY) == hsm.kcv(came)


def test_requirement_10_no_key_travels_under_a_weaker_one() -> None:
    """The key that protects another is as strong at least, on the way out and on the way in."""
    strengths = {"T16": 80, "T24": 112, "A16": 128, "A24": 192, "A32": 256}
    for under, strength in strengths.items():
        hsm = SoftwareHsm.in_memory()
        kbpk = hsm.form(_spec(KeyUsage.KEY_BLOCK_PROTECTION, under), "kbpk", components(_bytes(under)))
        for inside, needed in strengths.items():
            key = hsm.form(_spec(KeyUsage.PIN_ENCRYPTION, inside), "zpk", components(_bytes(inside)[::-1]))
            if needed <= strength:
                assert key.kcv == hsm.import_block("came", hsm.export_block(key, kbpk), kbpk).kcv
                continue
            with pytest.raises((KeyBlockError, KeyRefused)):
                hsm.export_block(key, kbpk)
    with pytest.raises(KeyBlockError):
        tr31.check_strength(128, "A", 32)


def _spec(usage: KeyUsage, name: str) -> KeySpec:
    return KeySpec(usage, Algorithm(name[0]), exportability=EXPORTABLE)


def _bytes(name: str) -> bytes:
    return bytes(range(3, 3 + int(name[1:])))


def test_requirement_10_the_master_key_is_of_256_bits(tmp_path: Path) -> None:
    """No key kept here is stronger than what it is kept under: AES-256, from a file or from a passphrase."""
    assert 32 == MASTER_BYTES == len(Passphrase("correct horse battery").derive(bytes(16)).reveal())
    for length in (0, 16, 24, 31, 33):
        with pytest.raises(KeystoreError):
            MasterKey(bytes(length))
    info, material = key_of(KeyUsage.DATA_SEALING)
    create(tmp_path / "store").add(info, material)
    assert [(info, material)] == load(tmp_path / "store")


def test_requirement_11_a_killed_rewrap_loses_no_key(tmp_path: Path) -> None:
    """However and whenever the change of master key is killed, every key remains usable. More often: test_rewrap."""
    test_rewrap.kill_rewraps(tmp_path / "store", 9)


def test_requirement_11_nothing_is_left_under_the_old_master_key(tmp_path: Path) -> None:
    """It may be destroyed when it opens no key any more: after the one step of the change it opens none, nor anything else."""
    path = tmp_path / "store"
    test_rewrap.full_store(path, rsa=False)
    assert (_count(path, MASTER), 0) == (len(load(path)) + 2, _count(path, OTHER_MASTER))
    opened(path).rewrap(MasterEnvelope(OTHER_MASTER))
    assert (0, len(load(path, OTHER_MASTER)) + 2) == (_count(path, MASTER), _count(path, OTHER_MASTER))


def _count(path: Path, master: MasterKey) -> int:
    """How many keys and components of a file a master key opens."""
    document, envelope, found = json.loads(path.read_bytes()), MasterEnvelope(master), 0
    for entry in document["keys"] + document["components"]:
        try:
            envelope.open_data(
                entry["sealed"], keyfile.canonical({"head": document["head"], "header": entry["header"]})
            )
        except DoesNotOpen:
            continue
        found += 1
    return found


def test_requirement_12_check_values_are_kept_with_their_method(tmp_path: Path) -> None:
    """In the file beside each key; 3 bytes of triple DES, 5 at most of any other; another method or a part of one is refused."""
    path = tmp_path / "store"
    store = create(path)
    for info, material in keys_of_all_usages():
        store.add(info, material)
    methods = {
        "T": (KcvMethod.TDES_ECB_ZERO, 3),
        "A": (KcvMethod.AES_CMAC_ZERO, 5),
        "H": (KcvMethod.HMAC_SHA256_ZERO, 5),
        "R": (KcvMethod.RSA_SHA256, 5),
    }
    for entry in json.loads(path.read_bytes())["keys"]:
        header = entry["header"]
        method, length = methods[header["algorithm"]]
        assert (method.value, 2 * length) == (header["kcv_method"], len(header["kcv"]))
    for info, material in keys_of_all_usages():
        for wrong in (
            Kcv(info.kcv.value[:-2], info.kcv.method),
            Kcv(info.kcv.value, KcvMethod.AES_ECB_ZERO),
        ):
            with pytest.raises(KeyRefused, match="check value"):
                store.add(replace(info, kcv=wrong), material)


def test_requirement_12_check_values_are_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a time that does not tell where they differ: by the one function that does so."""
    asked: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        asked.append((one, other))
        return True

    monkeypatch.setattr("hmac.compare_digest", compare)
    _, material = key_of(KeyUsage.PIN_ENCRYPTION)
    info, _ = key_of(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH)
    MasterEnvelope(MASTER).check(info, material)
    assert [(info.kcv.value.encode(), info.kcv.value.encode())] == asked
