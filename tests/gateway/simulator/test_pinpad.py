"""Tests of gateway.simulator.pinpad."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.errors import WalletError
from gateway.simulator.pinpad import PinPad, other_pin, pinpad_of, wrong_pin
from gateway.simulator.wallet import Wallet
from keys.errors import KeyRefused
from keys.keytypes import KeyMode, KeySpec, KeyUsage
from keys.pin import weakness
from keys.sensitive import Pan, Pin
from keys.software import SoftwareHsm
from tests.gateway.simulator.fake_issuer import COMPONENTS, make_wallet

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
