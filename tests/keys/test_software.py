"""What is particular to the HSM without hardware: how it is opened, and the tools its workshop makes of key bytes."""

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import aes, dukpt_tdes, emv, mac, rsa_keys, signing, tdes
from keys.errors import KeyRefused, KeystoreError, PinRefused, SelfTestFailed, VaultError
from keys.hsm import PinToVerify
from keys.keytypes import Algorithm, KeyAttributes, KeyInfo, KeyMode, KeySpec, KeyState, KeyUsage
from keys.master import MasterKey, Passphrase, create_master_key_file, read_master_key_file
from keys.permissions import Operation
from keys.sensitive import Material, Pin
from keys.software import SoftwareHsm, SoftwareWorkshop
from keys.toolbox import Refusal
from tests.keys.samples import PAN, SECOND_KEY, TODAY, bank_hsm, components, key_of, rsa_private, vectors

WORKSHOP = SoftwareWorkshop()
MASTER = MasterKey(bytes(range(32)))
BLOCKS = bytes(range(48))
GOOD = Pin("271828")


def of(usage: KeyUsage, algorithm: Algorithm | None = None, **attributes: Any) -> tuple[KeyInfo, Material]:  # noqa: ANN401
    """A sample key, with other attributes."""
    info, material = key_of(usage, algorithm)
    return replace(info, attributes=replace(info.attributes, **attributes)), material


def kinds(*usages: KeyUsage) -> list[tuple[KeyInfo, Material]]:
    """Sample keys of these usages, of triple DES and of AES."""
    return [key_of(usage, algorithm) for usage in usages for algorithm in (Algorithm.TDES, Algorithm.AES)]


# How it is opened


def test_keys_are_there_after_opening_again(tmp_path: Path) -> None:
    """All of them, by label, working as before, with the day they were made; the master key from its file."""
    path, master = tmp_path / "store", create_master_key_file(tmp_path / "master.key")
    hsm = SoftwareHsm.create(path, master, today=lambda: TODAY)
    zpk = hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk")
    pvk = hsm.form(KeyUsage.PIN_VERIFICATION_IBM, "pvk", components(SECOND_KEY))
    offset = hsm.choose_pin(hsm.encipher_pin(GOOD, zpk, PAN), zpk, pvk, PAN, None)
    again = SoftwareHsm.open(path, read_master_key_file(tmp_path / "master.key"))
    known = again.keys()
    assert hsm.keys() == known
    assert [("pvk#1", TODAY), ("zpk#1", TODAY)] == [(key.name, key.created) for key in known]
    zpk, pvk = again.find("zpk"), again.find("pvk")
    assert again.verify_pin(PinToVerify(again.encipher_pin(GOOD, zpk, PAN), zpk, PAN, offset), pvk)


def test_passphrase_opens_an_hsm(tmp_path: Path) -> None:
    """Instead of a master key file."""
    SoftwareHsm.create(tmp_path / "store", Passphrase("correct horse battery")).generate(KeyUsage.MAC_HMAC, "audit")
    (info,) = SoftwareHsm.open(tmp_path / "store", Passphrase("correct horse battery")).keys()
    assert "audit" == info.label
    with pytest.raises(KeystoreError, match="master key is another one"):
        SoftwareHsm.open(tmp_path / "store", Passphrase("correct horse batterz"))


def test_create_never_overwrites_and_open_never_creates(tmp_path: Path) -> None:
    """Each does the one thing."""
    with pytest.raises(KeystoreError, match="cannot be read"):
        SoftwareHsm.open(tmp_path / "store", MASTER)
    SoftwareHsm.create(tmp_path / "store", MASTER)
    with pytest.raises(KeystoreError, match="there already"):
        SoftwareHsm.create(tmp_path / "store", MASTER)


def test_keys_in_memory_go_with_the_process(tmp_path: Path) -> None:
    """No file is written, nothing is there to be refreshed."""
    hsm = SoftwareHsm.in_memory()
    hsm.generate(KeyUsage.MAC_HMAC, "audit")
    assert not hsm.refresh()
    assert [] == list(tmp_path.iterdir())
    assert [] == SoftwareHsm.in_memory().keys()


@pytest.mark.parametrize("kind", ["create", "open", "in_memory"])
def test_day_and_auditor_are_those_given(tmp_path: Path, kind: str) -> None:
    """However it is opened."""
    refusals: list[Refusal] = []
    make = {
        "create": lambda: SoftwareHsm.create(
            tmp_path / "new", MASTER, today=lambda: date(2031, 2, 3), on_refusal=refusals.append
        ),
        "open": lambda: SoftwareHsm.open(
            tmp_path / "store", MASTER, today=lambda: date(2031, 2, 3), on_refusal=refusals.append
        ),
        "in_memory": lambda: SoftwareHsm.in_memory(today=lambda: date(2031, 2, 3), on_refusal=refusals.append),
    }
    SoftwareHsm.create(tmp_path / "store", MASTER)
    hsm = make[kind]()
    key = hsm.generate(KeyUsage.MAC_HMAC, "audit")
    assert date(2031, 2, 3) == hsm.info(key).created
    with pytest.raises(KeyRefused) as caught:
        hsm.seal(key, b"text", b"row")
    assert [Refusal("audit#1", Operation.SEAL, str(caught.value))] == refusals


def test_day_is_that_of_utc_unless_given() -> None:
    """The business date is for the bank to say."""
    before = datetime.now(UTC).date()
    hsm = SoftwareHsm.in_memory()
    created = hsm.info(hsm.generate(KeyUsage.MAC_HMAC, "audit")).created
    assert before <= created <= datetime.now(UTC).date()


def test_self_test_runs_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes here, and fails where a vector does not come out."""
    hsm = SoftwareHsm.in_memory()
    hsm.self_test()
    monkeypatch.setattr("keys.selftest.VECTORS", [("broken", lambda: "1", "2")])
    with pytest.raises(SelfTestFailed, match="broken"):
        hsm.self_test()


HSM = bank_hsm()
ZPK, PVK = HSM.find("zpk"), HSM.find("pvk")
BLOCK = HSM.encipher_pin(GOOD, ZPK, PAN)
OFFSET = HSM.choose_pin(BLOCK, ZPK, PVK, PAN, None)


@given(st.binary(max_size=40))
def test_whatever_came_before_the_next_is_right(garbage: bytes) -> None:
    """Contexts stay open, so one odd byte fed to one would put all PINs after it out of step."""
    asked = PinToVerify(BLOCK, ZPK, PAN, OFFSET)
    assert [False, True] == HSM.verify_pins([asked._replace(block=garbage), asked], PVK)
    with pytest.raises(PinRefused):
        HSM.choose_pin(garbage, ZPK, PVK, PAN, None)
    assert HSM.verify_pin(asked, PVK)
    assert HSM.encipher_pin(GOOD, ZPK, PAN) == BLOCK


# The workshop


def test_made_keys_are_random_and_of_their_length() -> None:
    """A triple DES key has odd parity in every byte; no other key has its bytes changed for it."""
    for usage, algorithm, length in (
        (KeyUsage.PIN_ENCRYPTION, Algorithm.TDES, 24),
        (KeyUsage.MAC_RETAIL, Algorithm.TDES, 16),
        (KeyUsage.PIN_ENCRYPTION, Algorithm.AES, 32),
        (KeyUsage.MAC_HMAC, Algorithm.HMAC, 64),
    ):
        made = [WORKSHOP.make(KeySpec(usage, algorithm), length).reveal() for _ in range(50)]
        assert (50, {length}) == (len(set(made)), {len(key) for key in made})
        odd = [byte.bit_count() % 2 for byte in b"".join(made)]
        assert all(odd) is (algorithm is Algorithm.TDES)


def test_made_rsa_key_is_a_private_one() -> None:
    """Its length is that of its modulus."""
    key = WORKSHOP.make(KeySpec(KeyUsage.SIGNATURE), 256)
    assert rsa_keys.is_private(key.reveal())
    assert 2048 == WORKSHOP.bits(Algorithm.RSA, key)


def test_taken_keys_are_kept_and_given_as_they_came() -> None:
    """Parity too: another system's check value must come out."""
    key = Material(bytes(16))
    taken = WORKSHOP.take(KeySpec(KeyUsage.MAC_RETAIL), key)
    assert key == taken == WORKSHOP.give(taken)
    assert key.reveal() == WORKSHOP.at_hand(taken)
    assert 128 == WORKSHOP.bits(Algorithm.TDES, taken)
    assert "08D7B4" == str(WORKSHOP.check_value(Algorithm.TDES, Material(SECOND_KEY)))


@pytest.mark.parametrize(("info", "raw"), kinds(KeyUsage.PIN_ENCRYPTION, KeyUsage.KEY_BLOCK_PROTECTION))
def test_block_ciphers(info: KeyInfo, raw: Material) -> None:
    """ECB of the key's own algorithm, there and back."""
    room = aes if info.algorithm is Algorithm.AES else tdes
    enciphered = WORKSHOP.encipherer(info, raw)(BLOCKS)
    assert room.encipherer(raw.reveal())(BLOCKS) == enciphered
    assert BLOCKS == WORKSHOP.decipherer(info, raw)(enciphered)
    assert enciphered[:16] == WORKSHOP.encipherer(info, raw)(BLOCKS[:16])


def test_half_and_masked_ciphers() -> None:
    """Of a CVK its first half, of a BDK the DUKPT variant."""
    cvk, bdk = key_of(KeyUsage.CARD_VERIFICATION), key_of(KeyUsage.BASE_DERIVATION, Algorithm.TDES)
    assert tdes.encipherer(cvk[1].reveal()[:8])(BLOCKS) == WORKSHOP.half_encipherer(*cvk)(BLOCKS)
    masked = bytes(
        byte ^ mask for byte, mask in zip(bdk[1].reveal(), bytes.fromhex("C0C0C0C000000000") * 2, strict=True)
    )
    assert tdes.encipherer(masked)(BLOCKS) == WORKSHOP.masked_encipherer(*bdk)(BLOCKS)
    assert masked == dukpt_tdes.masked(bdk[1].reveal())


@pytest.mark.parametrize("vector", vectors("mac.iso9797_alg3"), ids=lambda vector: vector["name"])
def test_retail_vectors(vector: dict[str, Any]) -> None:
    """The padding is the key's own."""
    info, _ = of(KeyUsage.MAC_RETAIL, padding=vector["inputs"]["padding"])
    make = WORKSHOP.mac(info, Material(bytes.fromhex(vector["inputs"]["key"])))
    assert vector["expected"]["mac8"] == make(bytes.fromhex(vector["inputs"]["message"])).hex().upper()


@pytest.mark.parametrize("vector", vectors("cmac.aes"), ids=lambda vector: vector["name"])
def test_cmac_vectors(vector: dict[str, Any]) -> None:
    """The whole 16 bytes: who asks cuts."""
    info, _ = of(KeyUsage.MAC_CMAC, Algorithm.AES)
    make = WORKSHOP.mac(info, Material(bytes.fromhex(vector["inputs"]["key"])))
    assert vector["expected"]["mac"] == make(bytes.fromhex(vector["inputs"]["message"])).hex().upper()


@given(st.binary(max_size=60))
def test_macs_are_those_of_their_usage(data: bytes) -> None:
    """Algorithm, padding and digest are told by the key, and no two of them are the same code."""
    tdes_key, aes_key, hmac_key = bytes(range(1, 17)), bytes(range(1, 33)), bytes(range(1, 65))
    long_key = bytes(range(1, 25))
    for padding in mac.PADDINGS:
        cbc, retail = of(KeyUsage.MAC_CBC, padding=padding), of(KeyUsage.MAC_RETAIL, padding=padding)
        assert mac.cbc_mac(long_key, padding)(data) == WORKSHOP.mac(*cbc)(data)
        assert mac.retail(tdes_key, padding)(data) == WORKSHOP.mac(*retail)(data)
    assert mac.aes_cmac(aes_key)(data) == WORKSHOP.mac(*of(KeyUsage.MAC_CMAC))(data)
    assert mac.tdes_cmac(long_key)(data) == WORKSHOP.mac(*of(KeyUsage.MAC_CMAC, Algorithm.TDES))(data)
    assert mac.hmac_sha256(hmac_key)(data) == WORKSHOP.mac(*of(KeyUsage.MAC_HMAC))(data)
    assert mac.hmac_sha512(hmac_key)(data) == WORKSHOP.mac(*of(KeyUsage.MAC_HMAC, digest="SHA-512"))(data)
    assert mac.hmac_sha256(hmac_key)(data) == WORKSHOP.mac(*key_of(KeyUsage.BLIND_INDEX))(data)


@pytest.mark.parametrize(("info", "raw"), kinds(KeyUsage.KEY_BLOCK_PROTECTION))
def test_cmac_of_a_key_block_key(info: KeyInfo, raw: Material) -> None:
    """Of its own algorithm."""
    make = mac.aes_cmac if info.algorithm is Algorithm.AES else mac.tdes_cmac
    assert make(raw.reveal())(BLOCKS) == WORKSHOP.cmac(info, raw)(BLOCKS)


@given(st.binary(max_size=100), st.binary(max_size=40))
def test_sealed_opens_with_its_place_only(plaintext: bytes, aad: bytes) -> None:
    """Comes back with the same nonce and associated data, not with others."""
    sealing = WORKSHOP.sealing(*key_of(KeyUsage.DATA_SEALING))
    sealed = sealing.seal(bytes(12), plaintext, aad)
    assert plaintext == sealing.unseal(bytes(12), sealed, aad)
    for nonce, changed, other in (
        (bytes(12), sealed, aad + b"x"),
        (bytes(11) + b"x", sealed, aad),
        (bytes(12), sealed[:-1], aad),
        (bytes(12), sealed + b"x", aad),
        (b"", sealed, aad),
        (bytes(12), b"", aad),
    ):
        with pytest.raises(VaultError, match="does not open"):
            sealing.unseal(nonce, changed, other)


def test_sealed_by_the_hsm_is_new_each_time() -> None:
    """Nonce, ciphertext and tag: 28 bytes longer, never the same."""
    key = HSM.find("seal")
    sealed = {HSM.seal(key, b"text", b"row") for _ in range(1_000)}
    assert (1_000, {4 + 28}) == (len(sealed), {len(one) for one in sealed})
    assert 1_000 == len({one[:12] for one in sealed})


def test_derived_keys_are_those_of_emv() -> None:
    """Each block of use begins at the issuer's key; another one within it does it no harm."""
    info, raw = key_of(KeyUsage.ISSUER_CRYPTOGRAM)
    deriving = WORKSHOP.deriving(info, raw)
    data = emv.option_a_data(PAN, "00")
    expected = emv.SoftwareDeriver(raw.reveal()).derive(data).whole(BLOCKS)
    with deriving() as issuer:
        card = issuer.derive(data)
        with deriving() as again:
            assert expected == again.derive(data).whole(BLOCKS)
        assert expected == card.whole(BLOCKS) == issuer.derive(data).whole(BLOCKS)


def test_signatures() -> None:
    """Made by the private half, checked by the public one, and by another program."""
    private, public = key_of(KeyUsage.SIGNATURE), key_of(KeyUsage.SIGNATURE, mode=KeyMode.VERIFY)
    signature = WORKSHOP.signer(*private)(b"data")
    verify = WORKSHOP.verifier(*public)
    assert signing.rsa_signer(rsa_private())(b"data") == signature
    assert [True, False, False, False] == [
        verify(b"data", signature), verify(b"datA", signature), verify(b"data", signature[:-1]), verify(b"data", b""),
    ]  # fmt: skip


def test_random_bytes_are_of_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as asked for, never the same, within bounds."""
    assert [1, 16, 65_536] == [len(HSM.random_bytes(count)) for count in (1, 16, 65_536)]
    assert 1_000 == len({HSM.random_bytes(16) for _ in range(1_000)})
    for count in (0, -1, 65_537):
        with pytest.raises(KeyRefused):
            HSM.random_bytes(count)
    numbers = itertools.count()
    monkeypatch.setattr("os.urandom", lambda count: bytes([next(numbers)] * count))
    assert [b"\x00" * 4, b"\x01" * 2] == [HSM.random_bytes(count) for count in (4, 2)]


def test_keys_tell_all_but_the_key() -> None:
    """The header, as the keystore has it."""
    hsm = SoftwareHsm.in_memory()
    handle = hsm.form(KeySpec(KeyUsage.MAC_CMAC, mode=KeyMode.VERIFY), "link.mac", components(SECOND_KEY))
    (info,) = hsm.keys()
    assert ("link.mac", "M6", "A", "V", KeyState.ACTIVE, 1, 128) == (
        info.label, info.usage, info.algorithm, info.mode, info.state, info.version, info.bits,
    )  # fmt: skip
    assert (handle.kcv, KeyAttributes(mac_length=8)) == (info.kcv, info.attributes)
