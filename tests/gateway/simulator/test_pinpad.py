"""Tests of gateway.simulator.pinpad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.errors import ProfileError, WalletError
from gateway.simulator.pinpad import PinPad, dukpt_pad, other_pin, pinpad_of, wrong_pin, zone_pad
from gateway.simulator.testkeys import TestKey, TestKeyKind, TestKeys
from gateway.simulator.wallet import Wallet
from keys.errors import KeyRefused
from keys.hsm import Dukpt
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyUsage
from keys.ksn import AesKsn, TdesKsn
from keys.pin import weakness
from keys.pinblock import PinFormat
from keys.sensitive import Pan, Pin
from keys.software import SoftwareHsm
from tests.gateway.simulator.fake_issuer import COMPONENTS, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

PAN, PIN = Pan("6013010000000018"), Pin("271828")


def test_block_is_what_another_holder_of_the_key_makes() -> None:
    """The wallet's components make the bank's zone key: both sides get the same block."""
    hsm = SoftwareHsm.in_memory()
    zpk = hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk", COMPONENTS)
    expected = hsm.encipher_pin(PIN, zpk, PAN).hex().upper()
    assert expected == pinpad_of(make_wallet(1)).block(PAN, PIN)
    assert len(expected) == 16


def test_a_key_that_may_only_decipher_makes_no_block() -> None:
    """The bank's own handle is of no use in a terminal."""
    hsm = SoftwareHsm.in_memory()
    zpk = hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.DECRYPT), "zpk", COMPONENTS)
    with pytest.raises(KeyRefused):
        PinPad(hsm, zpk).block(PAN, PIN)


def test_wallet_without_components_makes_no_pin_pad() -> None:
    """The refusal says what is missing."""
    with pytest.raises(WalletError, match="holds no components"):
        pinpad_of(Wallet(()))


def test_weak_key_is_refused_in_one_line() -> None:
    """Components that cancel out are no key."""
    with pytest.raises(WalletError, match="the terminals' PIN key") as caught:
        pinpad_of(Wallet((), zpk_components=(COMPONENTS[0], COMPONENTS[0])))
    assert COMPONENTS[0].hex() not in str(caught.value).lower()


@given(st.text("0123456789", min_size=4, max_size=12))
def test_wrong_pin_is_another_pin_of_the_same_length(digits: str) -> None:
    """999999 becomes 000000."""
    wrong = wrong_pin(Pin(digits)).reveal()
    assert wrong != digits
    assert len(digits) == len(wrong)


@given(st.text("0123456789", min_size=6, max_size=6))
def test_other_pin_is_one_that_a_family_may_choose(digits: str) -> None:
    """Not weak, and no day stands in its first four digits; the same every time."""
    other = other_pin(Pin(digits)).reveal()
    assert (None, True) == (weakness(other), other != digits)
    assert (True, True) == (int(other[:2]) > 31, int(other[2:4]) > 31)
    assert other == other_pin(Pin(digits)).reveal()


def dukpt_key(kind: TestKeyKind, device: str, algorithm: Algorithm = Algorithm.TDES) -> TestKey:
    """A test key of DUKPT terminals."""
    return TestKey("k", kind, algorithm, COMPONENTS, bytes.fromhex(device))


def test_each_terminal_of_a_base_key_is_a_device_of_its_own() -> None:
    """Serial numbers count within a device; the base key's holder makes the same blocks."""
    keys = TestKeys((dukpt_key(TestKeyKind.BDK, "FFFF987654"),))
    pad = dukpt_pad(keys, "k", PinFormat.ISO_0)
    one, two = pad.for_terminal(), pad.for_terminal()
    entries = [one.enter(PAN, PIN), one.enter(PAN, PIN, Pin("739146")), two.enter(PAN, PIN)]
    numbers = [TdesKsn.parse(entry.ksn or "") for entry in entries]
    assert ([1, 2, 1], 1, True) == (
        [ksn.counter for ksn in numbers],
        len({ksn.key_set_id for ksn in numbers}),
        numbers[0].device == numbers[1].device != numbers[2].device,
    )
    bank = SoftwareHsm.in_memory()
    bdk = bank.form(KeyUsage.BASE_DERIVATION, "bdk", COMPONENTS)
    for entry, pin in ((entries[0], PIN), (entries[2], PIN)):
        assert (bank.encipher_pin(pin, Dukpt(bdk, bytes.fromhex(entry.ksn or "")), PAN).hex().upper(),) == entry.blocks
    assert 2 == len(entries[1].blocks) == len(set(entries[1].blocks))


def test_no_device_comes_twice(tmp_path: Path) -> None:
    """A bank has counted with the devices of earlier runs: a new run has others, until all have been there."""
    keys = TestKeys((dukpt_key(TestKeyKind.BDK, "FFFF987654"),), tmp_path)
    devices = []
    for _ in range(2):
        pad = dukpt_pad(keys, "k", PinFormat.ISO_0)
        entries = [one.enter(PAN, PIN) for one in (pad, pad.for_terminal())]
        devices += [TdesKsn.parse(entry.ksn or "").device_id for entry in entries]
    kept = tmp_path / "k.devices"
    last = int(kept.read_text())
    assert ([number % 524_287 + 1 for number in devices[:-1]], last) == (devices[1:], devices[-1])
    assert 0o600 == kept.stat().st_mode & 0o777
    kept.write_text("524287\n")
    assert 1 == TdesKsn.parse(dukpt_pad(keys, "k", PinFormat.ISO_0).enter(PAN, PIN).ksn or "").device_id
    kept.write_text("nonsense")
    with pytest.raises(ProfileError, match="is not the number of the last device"):
        dukpt_pad(keys, "k", PinFormat.ISO_0)


def test_a_card_has_a_device_of_its_own_where_many_ask_at_once() -> None:
    """What is sent side by side arrives in any order, and a device's numbers must not; a zone key has none."""
    pad = dukpt_pad(TestKeys((dukpt_key(TestKeyKind.BDK, "FFFF987654"),)), "k", PinFormat.ISO_0).by_card()
    assert pad is pad.for_terminal() is pad.by_card()
    other = Pan("6013010000000026")
    numbers = [TdesKsn.parse(pad.enter(pan, PIN).ksn or "") for pan in (PAN, other, PAN)]
    assert ([1, 1, 2], True) == (
        [ksn.counter for ksn in numbers],
        numbers[0].device == numbers[2].device != numbers[1].device,
    )
    zone = pinpad_of(make_wallet(1))
    assert zone is zone.by_card()


def test_an_initial_key_counts_on_where_it_stopped(tmp_path: Path) -> None:
    """One device for all terminals, whose counter is kept beside the keys, readable by its owner alone."""
    key = dukpt_key(TestKeyKind.INITIAL, "FFFF9876543210E00000")
    for expected in (1, 3):
        pad = dukpt_pad(TestKeys((key,), tmp_path), "k", PinFormat.ISO_0)
        assert pad is pad.for_terminal()
        numbers = [TdesKsn.parse(pad.enter(PAN, PIN).ksn or "") for _ in range(2)]
        assert [(expected, key.device), (expected + 1, key.device)] == [
            (ksn.counter, ksn.initial_ksn) for ksn in numbers
        ]
    kept = tmp_path / "k.ksn"
    assert ("FFFF9876543210E00004", 0o600) == (kept.read_text().strip(), kept.stat().st_mode & 0o777)
    for text, said in (("nonsense", "is not the serial number"), ("FFFF9876543220E00004", "is of another device")):
        kept.write_text(text)
        with pytest.raises(ProfileError, match=said):
            dukpt_pad(TestKeys((key,), tmp_path), "k", PinFormat.ISO_0)


def test_aes_terminals() -> None:
    """Blocks of format 4, 32 characters; serial numbers of 12 bytes."""
    keys = TestKeys((dukpt_key(TestKeyKind.BDK, "12345678", Algorithm.AES),))
    entry = dukpt_pad(keys, "k", PinFormat.ISO_4).enter(PAN, PIN)
    assert (32, "12345678", 1) == (len(entry.blocks[0]), (entry.ksn or "")[:8], AesKsn.parse(entry.ksn or "").counter)
    initial = TestKeys((dukpt_key(TestKeyKind.INITIAL, "1234567890123456", Algorithm.AES),))
    assert "123456789012345600000001" == dukpt_pad(initial, "k", PinFormat.ISO_4).enter(PAN, PIN).ksn


def test_a_serial_number_that_cannot_be() -> None:
    """An initial one has counter zero."""
    with pytest.raises(ProfileError, match="test key k: "):
        dukpt_pad(TestKeys((dukpt_key(TestKeyKind.INITIAL, "FFFF9876543210E00001"),)), "k", PinFormat.ISO_0)


def test_zone_keys_of_other_formats() -> None:
    """Format 3 has random digits, format 4 wants AES."""
    keys = TestKeys(
        (
            TestKey("t", TestKeyKind.ZPK, Algorithm.TDES, COMPONENTS),
            TestKey("a", TestKeyKind.ZPK, Algorithm.AES, COMPONENTS),
        )
    )
    pad = zone_pad(keys, "t", PinFormat.ISO_3)
    assert (pad, 16) == (pad.for_terminal(), len(pad.enter(PAN, PIN).blocks[0]))
    assert 2 == len({pad.block(PAN, PIN) for _ in range(2)})
    assert 32 == len(zone_pad(keys, "a", PinFormat.ISO_4).block(PAN, PIN))
