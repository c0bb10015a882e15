"""Keys of a token in a keystore file: each entry whole or refused before the token sees it; a second master key; threads."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from keys import pkcs11
from keys.envelope import DoesNotOpen
from keys.errors import KeyRefused, KeystoreError, TokenError
from keys.hsm import PinToVerify
from keys.keystore import Component
from keys.keytypes import Algorithm, Exportability, KeyMode, KeySpec, KeyState, KeyUsage
from keys.pkcs11 import Pkcs11Hsm, TokenEnvelope
from keys.sensitive import Material, Pan, Pin
from keys.token import Token
from keys.token_workshop import TokenWorkshop
from tests.keys import softhsm
from tests.keys.at_work import KINDS, Kind, formed, key_of, spec_of, taken, works
from tests.keys.backends import BACKENDS, lacks
from tests.keys.samples import SECOND_KEY, components
from tests.keys.test_key_blocks import info_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keys.envelope import Entry
    from keys.hsm import Hsm
    from keys.token import Object
    from keys.token_workshop import TokenKey

pytestmark = softhsm.needs_token

ODD: list[Any] = [None, 7, True, [], {}, b"00", "0"]
"""What stands where hex should."""
BOUND, OTHER = b"header of one key", b"header of another"
SAMPLES = [
    Kind(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES, 192),
    Kind(KeyUsage.BASE_DERIVATION, Algorithm.TDES, 128),
    Kind(KeyUsage.MAC_HMAC, Algorithm.HMAC, 264),
    Kind(KeyUsage.SIGNATURE, Algorithm.RSA, 2048),
]


class Sealed(NamedTuple):
    """An envelope over a token, and what its unwrap was asked."""

    envelope: TokenEnvelope
    workshop: TokenWorkshop
    unwrapped: list[bytes]

    def entry(self, kind: Kind, *, exportable: bool = True) -> Entry:
        """A known key, sealed for BOUND."""
        spec = spec_of(kind, exportable=exportable and kind.algorithm is not Algorithm.RSA)
        return self.envelope.seal(self.workshop.take(spec, Material(key_of(kind))), BOUND)

    def refused(self, entry: Entry, bound: bytes = BOUND) -> bool:
        """Whether an entry does not open, and the token was not asked to unwrap anything of it."""
        self.unwrapped.clear()
        try:
            self.envelope.open(entry, bound)
        except DoesNotOpen:
            return self.unwrapped == []
        return False


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sealed]:
    """Over a token whose unwrap is watched."""
    token, unwrapped = softhsm.open_token(), list[bytes]()
    unwrap = token.unwrap

    def watched(under: Object, wrapped: bytes, template: list[tuple[int, object]], mechanism: object) -> Object:
        unwrapped.append(wrapped)
        return unwrap(under, wrapped, template, mechanism)

    monkeypatch.setattr(token, "unwrap", watched)
    yield Sealed(TokenEnvelope(token, 1), TokenWorkshop(token), unwrapped)
    token.close()


@pytest.mark.parametrize("kind", SAMPLES, ids=str)
def test_every_bit_of_an_entry_is_bound(sealed: Sealed, kind: Kind) -> None:
    """Of the wrapped keys, the copy, the public half, the MAC: each is refused before anything of it reaches the token."""
    entry = sealed.entry(kind)
    assert not sealed.refused(entry)
    assert 1 + ("companion" in entry) == len(sealed.unwrapped)
    for name, text in entry.items():
        if name in {"algorithm", "bits"}:
            continue
        value = bytes.fromhex(text)
        for bit in range(0, 8 * len(value), 1 if len(value) < 64 else 37):
            changed = (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value)).hex()
            assert sealed.refused(entry | {name: changed}), (name, bit)


@pytest.mark.parametrize("kind", SAMPLES, ids=str)
def test_every_field_of_an_entry_is_bound(sealed: Sealed, kind: Kind) -> None:
    """Another algorithm or length, a field left out, added, emptied, of another type, swapped, written another way."""
    entry = sealed.entry(kind)
    for name in entry:
        assert sealed.refused({key: value for key, value in entry.items() if key != name})
        for other in (
            "",
            "00",
            "T",
            "A",
            "H",
            "R",
            "128",
            entry[name] + "00",
            entry[name].upper() + " ",
            " " + entry[name],
        ):
            if other != entry[name]:
                assert sealed.refused(entry | {name: other})
        for odd in ODD:
            assert sealed.refused(entry | {name: odd})
    assert sealed.refused(entry | {"more": "00"})
    assert sealed.refused({})
    other_entry = sealed.entry(SAMPLES[0] if kind is not SAMPLES[0] else SAMPLES[1])
    for name in set(entry) & set(other_entry) - {"algorithm", "bits"}:
        assert sealed.refused(entry | {name: other_entry[name]})
    if "companion" in entry:
        assert sealed.refused(entry | {"wrapped": entry["companion"], "companion": entry["wrapped"]})


def test_an_entry_is_of_one_header(sealed: Sealed) -> None:
    """A wrapped PIN key under the header of a sealing key is refused: AES-KW alone would not see it."""
    entry = sealed.entry(SAMPLES[0])
    for bound in (OTHER, b"", BOUND + b"\x00", BOUND[:-1], BOUND + b"{"):
        assert sealed.refused(entry, bound)
    anew = sealed.envelope.rebind(entry, BOUND, OTHER)
    assert not sealed.refused(anew, OTHER)
    assert sealed.refused(anew, BOUND)
    assert {name: value for name, value in entry.items() if name != "mac"} == {
        name: value for name, value in anew.items() if name != "mac"
    }
    for wrong in (OTHER, b""):
        with pytest.raises(DoesNotOpen):
            sealed.envelope.rebind(entry, wrong, BOUND)
    with pytest.raises(DoesNotOpen):
        sealed.envelope.rebind(entry | {"wrapped": entry["wrapped"][:-2] + "00"}, BOUND, OTHER)


def test_a_mac_is_over_all_of_it(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The length of what is bound, that, and the entry in one way of writing it: no byte moves from the one to the other."""
    signed: list[bytes] = []
    token = sealed.envelope._token
    sign = token.sign

    def watched(key: Object, data: bytes, mechanism: object) -> bytes:
        signed.append(data)
        return sign(key, data, mechanism)

    monkeypatch.setattr(token, "sign", watched)
    entry = sealed.entry(SAMPLES[1])
    bare = {name: value for name, value in entry.items() if name != "mac"}
    body = json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()
    assert {"algorithm", "bits", "wrapped", "companion", "copy"} == set(bare)
    assert len(BOUND).to_bytes(4) + BOUND + body == signed[-1]


def test_a_right_mac_over_a_wrong_key(sealed: Sealed) -> None:
    """Even then the token refuses what it cannot unwrap, and the error says so in one line."""
    entry = {name: value for name, value in sealed.entry(SAMPLES[0]).items() if name != "mac"}
    for change in ({"wrapped": "00" * 32}, {"wrapped": "0"}, {"wrapped": "XX"}, {"algorithm": "Q"}, {"bits": "many"}):
        bare = entry | change
        forged = bare | {"mac": sealed.envelope._code(bare, BOUND).hex()}
        with pytest.raises(DoesNotOpen, match="does not open in the token"):
            sealed.envelope.open(forged, BOUND)


def test_data_beside_keys(sealed: Sealed) -> None:
    """What waits, and the seal over the file: any bytes, also none, bound; every bit counts."""
    for data in (b"", b"component", bytes(64)):
        entry = sealed.envelope.seal_data(data, BOUND)
        assert data == sealed.envelope.open_data(entry, BOUND)
        assert entry != sealed.envelope.seal_data(data, BOUND)
        with pytest.raises(DoesNotOpen):
            sealed.envelope.open_data(entry, OTHER)
        for name, text in entry.items():
            value = bytes.fromhex(text)
            for bit in range(0, 8 * len(value), 3):
                changed = (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value)).hex()
                with pytest.raises(DoesNotOpen):
                    sealed.envelope.open_data(entry | {name: changed}, BOUND)
            for odd in (*ODD, "0", "XX", text.upper() if text.upper() != text else " "):
                with pytest.raises(DoesNotOpen):
                    sealed.envelope.open_data(entry | {name: odd}, BOUND)
        with pytest.raises(DoesNotOpen):
            sealed.envelope.open_data(entry | {"more": ""}, BOUND)


def test_a_key_is_what_its_header_says(sealed: Sealed) -> None:
    """Length and algorithm; the check value was computed when the key came, and is bound with the header."""
    raw: TokenKey = sealed.workshop.take(spec_of(SAMPLES[0]), Material(key_of(SAMPLES[0])))
    sealed.envelope.check(info_of(*SAMPLES[0]), raw)
    for info in (info_of(*SAMPLES[1]), info_of(SAMPLES[0].usage, Algorithm.AES, 192)):
        with pytest.raises(KeyRefused, match="not of the length or algorithm of its header"):
            sealed.envelope.check(info, raw)


def test_heads_name_their_token() -> None:
    """Kind, token and number of the master key: another is refused before anything is opened."""
    token = softhsm.shared_token()
    head = TokenEnvelope(token, 2).head
    assert {"kind": "token", "token": softhsm.LABEL, "master": 2} == head
    assert head == TokenEnvelope.for_head(token, head).head
    changes: list[dict[str, object]] = [
        {"kind": "key file"},
        {"token": "another"},
        {"master": "2"},
        {"master": True},
        {"master": None},
    ]
    for change in changes:
        with pytest.raises(KeystoreError, match="another kind of master key, or another token"):
            TokenEnvelope.for_head(token, head | change)
    with pytest.raises(TokenError, match="has no key kks-master-9"):
        TokenEnvelope.for_head(token, head | {"master": 9})
    with pytest.raises(TokenError, match="has no key kks-master-9"):
        TokenEnvelope(token, 9)


def hsm_in(folder: Path) -> Hsm:
    """An HSM of the token in a folder."""
    return BACKENDS["pkcs11"](folder)


def test_every_byte_of_the_file_counts(tmp_path: Path) -> None:
    """A changed byte anywhere in a keystore does not open, and names the file."""
    hsm = hsm_in(tmp_path)
    formed(hsm, KeyUsage.MAC_RETAIL, SECOND_KEY)
    path = tmp_path / "keystore"
    text = path.read_bytes()
    for at in range(0, len(text), 11):
        for put in {b"0", b"}", b'"'} - {text[at : at + 1]}:
            path.write_bytes(text[:at] + put + text[at + 1 :])
            with pytest.raises(KeystoreError, match=str(path)):
                hsm_in(tmp_path)
    path.write_bytes(text)
    assert hsm.keys() == hsm_in(tmp_path).keys()


def test_entries_of_another_keystore_are_not_taken(tmp_path: Path) -> None:
    """Of the same token and master key: the head of the file is bound to each key."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        formed(hsm_in(tmp_path / name), KeyUsage.MAC_RETAIL, SECOND_KEY)
    one, other = (json.loads((tmp_path / name / "keystore").read_bytes()) for name in ("one", "other"))
    (tmp_path / "one" / "keystore").write_text(
        json.dumps(one | {"keys": other["keys"]}, indent=1, sort_keys=True) + "\n"
    )
    with pytest.raises(KeystoreError):
        hsm_in(tmp_path / "one")


def test_back_ends_know_their_files(tmp_path: Path) -> None:
    """A keystore of software does not open in a token, nor the other way round; one that is there is not overwritten."""
    for mine, other in (("pkcs11", "software"), ("software", "pkcs11")):
        folder = tmp_path / mine
        folder.mkdir()
        BACKENDS[mine](folder)
        with pytest.raises(KeystoreError, match="another kind of master key"):
            BACKENDS[other](folder)
    with pytest.raises(KeystoreError, match="is there already"):
        Pkcs11Hsm.create(tmp_path / "pkcs11" / "keystore", softhsm.shared_token())


def test_a_token_without_its_keys_opens_nothing(tmp_path: Path) -> None:
    """A master key that is not there, and a token that is not set up: told when the HSM is made."""
    with pytest.raises(TokenError, match="has no key kks-master-9"):
        Pkcs11Hsm.create(tmp_path / "keystore", softhsm.shared_token(), master=9)
    other = Token(softhsm.module(), softhsm.OTHER_LABEL, softhsm.USER)
    with pytest.raises(TokenError, match="has no key kks-master-1: set it up first"):
        Pkcs11Hsm.create(tmp_path / "keystore", other)
    hsm_in(tmp_path)
    with pytest.raises(KeystoreError, match="or another token"):
        Pkcs11Hsm.open(tmp_path / "keystore", other)
    other.close()


class Old(NamedTuple):
    """A keystore with a key of each kind, some of them no longer in use, and a component that waits."""

    folder: Path
    labels: dict[Kind, str]
    component: Component


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    """Under the first master key."""
    folder = tmp_path_factory.mktemp("old")
    hsm = hsm_in(folder)
    labels = {kind: taken(hsm, kind).label for kind in KINDS}
    leaves = KeySpec(KeyUsage.MAC_RETAIL, exportability=Exportability.EXPORTABLE)
    hsm.form(leaves, "leaves", components(SECOND_KEY))
    for state in (KeyState.COMPROMISED, KeyState.DESTROYED):
        hsm.set_state(
            hsm.find("gone") if state is KeyState.DESTROYED else hsm.generate(KeyUsage.MAC_CMAC, "gone"), state
        )
    component = Component("zmk", 1, 2, "one", date(2026, 10, 5), "")
    hsm.enter_component(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.TDES), component, components(SECOND_KEY)[0])
    return Old(folder, labels, component)


def copied(old: Old, tmp_path: Path) -> Path:
    """The keystore for one test."""
    shutil.copy(old.folder / "keystore", tmp_path / "keystore")
    return tmp_path / "keystore"


def test_keys_go_to_a_second_master_key(old: Old, tmp_path: Path) -> None:
    """All of them, and what waits, with nothing changed but the wrapping; and on to a third, and back to the first."""
    path, before = copied(old, tmp_path), hsm_in(old.folder)
    wrapped = [entry["sealed"] for entry in json.loads(path.read_bytes())["keys"]]
    for master in (2, 3, 1, 2):
        assert len(before.keys()) == pkcs11.rewrap(path, softhsm.shared_token(), master)
        document = json.loads(path.read_bytes())
        assert master == document["head"]["master"]
    anew = [entry["sealed"] for entry in document["keys"]]
    assert all(one != other for one, other in zip(wrapped, anew, strict=True))
    hsm = hsm_in(tmp_path)
    assert (before.keys(), [old.component]) == (
        hsm.keys(),
        [one._replace(purpose="", kcv="") for one in hsm.components()],
    )
    for kind, label in old.labels.items():
        if not (kind.usage is KeyUsage.INITIAL_DUKPT and lacks("pkcs11", "initial DUKPT key")):
            assert works(hsm, hsm.find(label), key_of(kind)), kind
    zone = hsm.find(old.labels[Kind(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.AES, 256)])
    assert hsm.kcv(hsm.import_block("back", hsm.export_block(hsm.find("leaves"), zone), zone)) == hsm.kcv(
        hsm.find("leaves")
    )
    second = old.component._replace(number=2, custodian="two")
    assert hsm.enter_component(
        KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.TDES), second, components(SECOND_KEY)[1]
    )


def test_a_wrapped_key_is_of_one_master_key(old: Old, tmp_path: Path) -> None:
    """A head that names another master key than the file was wrapped by does not open it."""
    path = copied(old, tmp_path)
    pkcs11.rewrap(path, softhsm.shared_token(), 2)
    text = path.read_text()
    path.write_text(text.replace('"master": 2', '"master": 1'))
    with pytest.raises(KeystoreError):
        hsm_in(tmp_path)
    path.write_text(text)
    hsm_in(tmp_path)


def test_a_rewrap_that_fails_leaves_the_file(old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wholly old: a master key that is not there, a token that fails in the middle."""
    path = copied(old, tmp_path)
    text = path.read_bytes()
    with pytest.raises(TokenError, match="has no key kks-master-9"):
        pkcs11.rewrap(path, softhsm.shared_token(), 9)
    token = softhsm.open_token()
    wrap, left = token.wrap, [5]

    def failing(under: Object, key: Object, mechanism: object) -> bytes:
        left[0] -= 1
        if not left[0]:
            raise TokenError("token kks-test: CKR_DEVICE_REMOVED")
        return wrap(under, key, mechanism)

    monkeypatch.setattr(token, "wrap", failing)
    with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED"):
        pkcs11.rewrap(path, token, 2)
    token.close()
    assert text == path.read_bytes()
    assert ["keystore", "keystore.lock"] == sorted(one.name for one in tmp_path.iterdir())


def test_keys_in_use_are_not_extractable(old: Old) -> None:
    """Opened for use, a key is wrapped by nothing any more: only a rewrap opens it so that a master key may."""
    token = softhsm.open_token()
    hsm = Pkcs11Hsm.open(old.folder / "keystore", token)
    raw = hsm._tools.known(hsm.find(old.labels[SAMPLES[0]])).raw
    assert raw is not None
    with pytest.raises(TokenError, match="CKR_KEY_UNEXTRACTABLE"):
        TokenEnvelope(token, 1).seal(raw, BOUND)
    token.close()


def test_four_threads_of_pin_verification() -> None:
    """Right and wrong PINs of many cards at once, in one HSM: every answer is its own."""
    token = softhsm.open_token(sessions=3)
    hsm = Pkcs11Hsm(TokenWorkshop(token), None)
    zpk = hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk")
    pvk = hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "pvk")
    cases = []
    for number in range(40):
        pan = Pan(f"60130100000{number:05d}")
        block = hsm.encipher_pin(Pin(f"27{number:04d}"), zpk, pan)
        reference = hsm.choose_pin(block, zpk, pvk, pan, None)
        wrong = reference[:-1] + str((int(reference[-1]) + 1) % 10)
        cases += [(PinToVerify(block, zpk, pan, reference), True), (PinToVerify(block, zpk, pan, wrong), False)]

    def verified(start: int) -> int:
        done = 0
        for step in range(400):
            asked, right = cases[(start + 7 * step) % len(cases)]
            some = [one for one, _ in cases[start : start + 5]]
            assert right is hsm.verify_pin(asked, pvk)
            assert [answer for _, answer in cases[start : start + 5]] == hsm.verify_pins(some, pvk)
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        assert [400] * 4 == list(pool.map(verified, (0, 11, 22, 33)))
    token.close()
