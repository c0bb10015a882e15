"""The HSM without hardware, command by command."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import pin, pinblock, tdes
from keys.errors import KeyRefused, KeystoreError, PinRefusal, PinRefused, SelfTestFailed, VaultError
from keys.keytypes import KeyAttributes, KeyHandle, KeyInfo, KeyMode, KeyState, KeyUsage
from keys.master import MasterKey, Passphrase, create_master_key_file, read_master_key_file
from keys.sensitive import Pan, Pin
from keys.software import SoftwareHsm
from tests.keys.samples import OTHER_PAN, PAN, SECOND_KEY, bank_hsm, components, pans, six_digits, vectors

HSM = bank_hsm()
ZPK, PVK = HSM.find("zpk"), HSM.find("pvk")
GOOD, OTHER = Pin("271828"), Pin("314159")
BORN = date(1987, 3, 25)


def block(digits: Pin, pan: Pan = PAN) -> bytes:
    """A PIN block under the sample ZPK."""
    return HSM.encipher_pin(digits, ZPK, pan)


def formed(usage: KeyUsage, key: bytes, **more: Any) -> tuple[SoftwareHsm, KeyHandle]:  # noqa: ANN401 - mode or attributes
    """A new HSM with a known key in it."""
    hsm = SoftwareHsm.in_memory()
    return hsm, hsm.form(usage, "known", components(key), **more)


strong = st.sampled_from(
    [number for number in range(100_000, 1_000_000, 997) if pin.weakness(str(number)) is None]
).map(lambda number: Pin(str(number)))


@given(strong, pans)
def test_chosen_pin_is_right_and_no_other(digits: Pin, pan: Pan) -> None:
    """The offset lets in the PIN it was made from, and none of its neighbours."""
    offset = HSM.choose_pin(block(digits, pan), ZPK, PVK, pan, BORN)
    assert 6 == len(offset)
    assert HSM.verify_pin(block(digits, pan), ZPK, PVK, pan, offset)
    for place in range(6):
        clear = digits.reveal()
        neighbour = Pin(clear[:place] + str((int(clear[place]) + 1) % 10) + clear[place + 1 :])
        assert not HSM.verify_pin(block(neighbour, pan), ZPK, PVK, pan, offset)


@given(six_digits, st.sampled_from(["000000", "999999", "123456"]))
def test_exactly_one_pin_fits_an_offset(digits: str, offset: str) -> None:
    """Verification agrees with offset arithmetic for any PIN and any offset."""
    natural = HSM.choose_pin(block(GOOD), ZPK, PVK, PAN, None)
    fits = str(pin.pin_of(natural_of(natural), offset), "ascii") == digits
    assert fits is HSM.verify_pin(block(Pin(digits)), ZPK, PVK, PAN, offset)


def natural_of(offset: str) -> bytes:
    """The natural PIN of the sample card, from the offset of GOOD."""
    return bytes(48 + (int(one) - int(other)) % 10 for one, other in zip(GOOD.reveal(), offset, strict=True))


def test_verify_vector_through_the_facade() -> None:
    """A published IBM 3624 example with check length 4: PIN 1234 is right with offset 6569."""
    attributes = KeyAttributes("0123456789012345", check_length=4)
    hsm, pvk = formed(KeyUsage.PIN_VERIFICATION_IBM, SECOND_KEY, attributes=attributes)
    zpk = hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk", mode=KeyMode.BOTH)
    pan = Pan("4001111111111110")
    enciphered = hsm.encipher_pin(Pin("1234"), zpk, pan)
    assert hsm.verify_pin(enciphered, zpk, pvk, pan, "6569")
    assert not hsm.verify_pin(enciphered, zpk, pvk, pan, "6568")


def test_enciphered_block_is_the_formed_key_at_work() -> None:
    """The block is format 0 under the XOR of the components."""
    hsm, zpk = formed(KeyUsage.PIN_ENCRYPTION, SECOND_KEY, mode=KeyMode.ENCRYPT)
    clear = tdes.decipherer(SECOND_KEY)(hsm.encipher_pin(GOOD, zpk, PAN))
    assert GOOD.reveal() == pinblock.decode_format_0(clear, pinblock.account_field(PAN))


def test_pin_of_another_card_is_wrong() -> None:
    """A block cut from one card's message does not fit another card."""
    offset = HSM.choose_pin(block(GOOD), ZPK, PVK, PAN, None)
    other = HSM.choose_pin(block(GOOD, OTHER_PAN), ZPK, PVK, OTHER_PAN, None)
    assert not HSM.verify_pin(block(GOOD), ZPK, PVK, OTHER_PAN, other)
    assert not HSM.verify_pin(block(GOOD, OTHER_PAN), ZPK, PVK, PAN, offset)


def test_block_under_another_key_is_wrong() -> None:
    """Deciphered with the wrong ZPK, nothing fits."""
    offset = HSM.choose_pin(block(GOOD), ZPK, PVK, PAN, None)
    assert not HSM.verify_pin(block(GOOD), HSM.find("zpk.bank"), PVK, PAN, offset)


@given(st.binary(max_size=24))
def test_any_bytes_are_just_a_wrong_pin(data: bytes) -> None:
    """Whatever a terminal sends as a block: False, no error, and the key still works for the next."""
    offset = HSM.choose_pin(block(GOOD), ZPK, PVK, PAN, None)
    assert not HSM.verify_pin(data, ZPK, PVK, PAN, offset)
    assert HSM.verify_pin(block(GOOD), ZPK, PVK, PAN, offset)


@pytest.mark.parametrize("field", ["141234FFFFFFFFFF", "03123FFFFFFFFFFF", "0612345AFFFFFFFF", "0627182800000000"])
def test_malformed_block_is_just_a_wrong_pin(field: str) -> None:
    """Blocks of another format, with letters or wrong fill, enciphered rightly."""
    hsm, zpk = formed(KeyUsage.PIN_ENCRYPTION, SECOND_KEY)
    pvk = hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "pvk")
    account = pinblock.account_field(PAN)
    clear = bytes(one ^ other for one, other in zip(bytes.fromhex(field), account, strict=True))
    assert not hsm.verify_pin(tdes.encipherer(SECOND_KEY)(clear), zpk, pvk, PAN, "000000")


@pytest.mark.parametrize("offset", ["", "12345", "1234567", "12345a", "１２３４５６", "-12345", "      "])
def test_bad_offset_fits_no_pin(offset: str) -> None:
    """A damaged record lets nobody in."""
    assert not HSM.verify_pin(block(GOOD), ZPK, PVK, PAN, offset)


@pytest.mark.parametrize(
    ("digits", "reason"),
    [
        ("123456", PinRefusal.WEAK_SEQUENCE),
        ("111111", PinRefusal.WEAK_REPEATED),
        ("112233", PinRefusal.WEAK_PAIRS),
        ("250387", PinRefusal.WEAK_BIRTH_DATE),
        ("2718", PinRefusal.WRONG_LENGTH),
        ("27182818", PinRefusal.WRONG_LENGTH),
    ],
)
def test_weak_and_short_pins_cannot_be_chosen(digits: str, reason: PinRefusal) -> None:
    """Neither at first nor in a change."""
    offset = HSM.choose_pin(block(GOOD), ZPK, PVK, PAN, BORN)
    with pytest.raises(PinRefused) as chosen:
        HSM.choose_pin(block(Pin(digits)), ZPK, PVK, PAN, BORN)
    with pytest.raises(PinRefused) as changed:
        HSM.change_pin(block(GOOD), block(Pin(digits)), ZPK, PVK, PAN, offset, BORN)
    assert (reason, reason) == (chosen.value.reason, changed.value.reason)


@pytest.mark.parametrize("bad", [b"", bytes(7), bytes(8), bytes(16)])
def test_bad_block_cannot_be_chosen(bad: bytes) -> None:
    """There is no PIN in it."""
    with pytest.raises(PinRefused) as caught:
        HSM.choose_pin(bad, ZPK, PVK, PAN, None)
    assert PinRefusal.BAD_BLOCK is caught.value.reason


def test_changed_pin_replaces_the_old() -> None:
    """With the new offset the new PIN is right and the old one wrong."""
    before = HSM.choose_pin(block(GOOD), ZPK, PVK, PAN, None)
    after = HSM.change_pin(block(GOOD), block(OTHER), ZPK, PVK, PAN, before, None)
    assert HSM.verify_pin(block(OTHER), ZPK, PVK, PAN, after)
    assert not HSM.verify_pin(block(GOOD), ZPK, PVK, PAN, after)


@pytest.mark.parametrize("new", [b"", bytes(8), block(Pin("123456")), block(OTHER)])
@pytest.mark.parametrize("old", [b"", bytes(8), block(OTHER), block(Pin("2718"))])
def test_wrong_old_pin_says_nothing_else(old: bytes, new: bytes) -> None:
    """Wrong or malformed, whatever the new PIN is: one reason."""
    offset = HSM.choose_pin(block(GOOD), ZPK, PVK, PAN, None)
    with pytest.raises(PinRefused) as caught:
        HSM.change_pin(old, new, ZPK, PVK, PAN, offset, None)
    assert PinRefusal.WRONG_PIN is caught.value.reason


def test_bank_key_cannot_make_pin_blocks() -> None:
    """A ZPK is made to decipher only, unless asked for otherwise."""
    with pytest.raises(KeyRefused, match="ENCIPHER_PIN"):
        HSM.encipher_pin(GOOD, HSM.find("zpk.bank"), PAN)


@given(st.binary(max_size=100), st.binary(max_size=40))
def test_sealed_opens_with_its_place_only(plaintext: bytes, aad: bytes) -> None:
    """Comes back with the same associated data, not with other."""
    key = HSM.find("seal")
    sealed = HSM.seal(key, plaintext, aad)
    assert plaintext == HSM.unseal(key, sealed, aad)
    with pytest.raises(VaultError):
        HSM.unseal(key, sealed, aad + b"x")


@pytest.mark.parametrize("label", ["retail", "cmac", "hmac"])
@given(data=st.binary(max_size=100))
def test_mac_verifies_whole_and_unchanged_only(label: str, data: bytes) -> None:
    """Not for other data, not cut, not lengthened."""
    key = HSM.find(label)
    code = HSM.mac(key, data)
    assert HSM.verify_mac(key, data, code)
    assert not HSM.verify_mac(key, data + b"\x01", code)
    assert not HSM.verify_mac(key, data, code[:-1])
    assert not HSM.verify_mac(key, data, code + b"\x00")
    assert not HSM.verify_mac(key, data, b"")


def test_mac_lengths() -> None:
    """Eight bytes for link MACs, 32 for the audit chain, unless the key says otherwise."""
    assert [8, 8, 32] == [len(HSM.mac(HSM.find(label), b"data")) for label in ("retail", "cmac", "hmac")]


@pytest.mark.parametrize("vector", vectors("mac.iso9797_alg3"), ids=lambda vector: vector["name"])
def test_retail_vectors_through_the_facade(vector: dict[str, Any]) -> None:
    """The padding is the key's own."""
    attributes = KeyAttributes(padding=vector["inputs"]["padding"], mac_length=4)
    hsm, key = formed(KeyUsage.MAC_RETAIL, bytes.fromhex(vector["inputs"]["key"]), attributes=attributes)
    code = hsm.mac(key, bytes.fromhex(vector["inputs"]["message"]))
    assert vector["expected"]["mac8"][:8] == code.hex().upper()


@pytest.mark.parametrize("vector", vectors("cmac.aes"), ids=lambda vector: vector["name"])
def test_cmac_vectors_through_the_facade(vector: dict[str, Any]) -> None:
    """The whole 16 bytes where the key says so."""
    attributes = KeyAttributes(mac_length=16)
    hsm, key = formed(KeyUsage.MAC_CMAC, bytes.fromhex(vector["inputs"]["key"]), attributes=attributes)
    assert vector["expected"]["mac"] == hsm.mac(key, bytes.fromhex(vector["inputs"]["message"])).hex().upper()


def test_form_checks_and_says_the_check_value() -> None:
    """Custodians compare it: 08D7B4 for the double length key of many standards."""
    hsm, key = formed(KeyUsage.PIN_ENCRYPTION, SECOND_KEY)
    assert "08D7B4" == str(hsm.kcv(key)) == str(key.kcv)


@pytest.mark.parametrize(
    "key", [SECOND_KEY[:8], SECOND_KEY[:8] * 2, bytes(16), bytes.fromhex("01" * 8) + SECOND_KEY[:8]]
)
def test_weak_keys_cannot_be_formed(key: bytes) -> None:
    """Single DES, equal halves, zeros, weak parts: nothing is kept."""
    hsm = SoftwareHsm.in_memory()
    with pytest.raises(KeyRefused):
        hsm.form(KeyUsage.PIN_ENCRYPTION, "weak", [bytes(range(1, 1 + len(key))), bytes(
            one ^ other for one, other in zip(range(1, 1 + len(key)), key, strict=True)
        )])  # fmt: skip
    assert [] == hsm.keys()


def test_label_in_use_is_refused() -> None:
    """A label stands for one key; an unknown one for none."""
    hsm = SoftwareHsm.in_memory()
    first = hsm.generate(KeyUsage.MAC_HMAC, "audit")
    with pytest.raises(KeyRefused, match="there already"):
        hsm.generate(KeyUsage.MAC_HMAC, "audit")
    assert first is hsm.find("audit")
    with pytest.raises(KeyRefused, match="no key 'audi'"):
        hsm.find("audi")


def test_generated_keys_differ() -> None:
    """Keys of one usage have check values of their own."""
    hsm = SoftwareHsm.in_memory()
    values = {str(hsm.kcv(hsm.generate(KeyUsage.PIN_ENCRYPTION, f"zpk.{number}"))) for number in range(8)}
    assert 8 == len(values)


def test_keys_are_there_after_opening_again(tmp_path: Path) -> None:
    """All of them, by label, working as before, with the day they were made."""
    path, master = tmp_path / "store", create_master_key_file(tmp_path / "master.key")
    hsm = SoftwareHsm.create(path, master, today=lambda: date(2026, 10, 5))
    zpk = hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk", mode=KeyMode.BOTH)
    pvk = hsm.form(KeyUsage.PIN_VERIFICATION_IBM, "pvk", components(SECOND_KEY))
    offset = hsm.choose_pin(hsm.encipher_pin(GOOD, zpk, PAN), zpk, pvk, PAN, None)
    again = SoftwareHsm.open(path, read_master_key_file(tmp_path / "master.key"))
    known = again.keys()
    assert hsm.keys() == known
    assert [("pvk", date(2026, 10, 5)), ("zpk", date(2026, 10, 5))] == [(key.label, key.created) for key in known]
    zpk, pvk = again.find("zpk"), again.find("pvk")
    assert again.verify_pin(again.encipher_pin(GOOD, zpk, PAN), zpk, pvk, PAN, offset)


def test_keys_tell_all_but_the_key() -> None:
    """The header, as the keystore has it."""
    hsm = SoftwareHsm.in_memory()
    handle = hsm.form(KeyUsage.MAC_CMAC, "link.mac", components(SECOND_KEY), mode=KeyMode.VERIFY)
    (info,) = hsm.keys()
    assert isinstance(info, KeyInfo)
    assert ("link.mac", "M6", "A", "V", KeyState.ACTIVE, 1) == (
        info.label, info.usage, info.algorithm, info.mode, info.state, info.version,
    )  # fmt: skip
    assert (handle.kcv, KeyAttributes(mac_length=8)) == (info.kcv, info.attributes)


def test_key_that_cannot_be_stored_is_not_used(tmp_path: Path) -> None:
    """A key that would be gone after the next start is not handed out."""
    master = MasterKey(bytes(range(32)))
    hsm = SoftwareHsm.create(tmp_path / "store", master)
    (tmp_path / "store").unlink()
    with pytest.raises(KeystoreError):
        hsm.generate(KeyUsage.MAC_HMAC, "audit")
    assert [] == hsm.keys()


def test_passphrase_opens_an_hsm(tmp_path: Path) -> None:
    """Instead of a master key file."""
    SoftwareHsm.create(tmp_path / "store", Passphrase("correct horse battery")).generate(KeyUsage.MAC_HMAC, "audit")
    (info,) = SoftwareHsm.open(tmp_path / "store", Passphrase("correct horse battery")).keys()
    assert "audit" == info.label


def test_random_bytes() -> None:
    """As many as asked for, never the same, within bounds."""
    assert [1, 16, 65_536] == [len(HSM.random_bytes(count)) for count in (1, 16, 65_536)]
    assert HSM.random_bytes(16) != HSM.random_bytes(16)
    for count in (0, -1, 65_537):
        with pytest.raises(KeyRefused):
            HSM.random_bytes(count)


def test_self_test_runs_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes here, and fails where a vector does not come out."""
    HSM.self_test()
    monkeypatch.setattr("keys.selftest.VECTORS", [("broken", lambda: "1", "2")])
    with pytest.raises(SelfTestFailed, match="broken"):
        HSM.self_test()
