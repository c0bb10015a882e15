"""Every back end: card verification values of stripe, print, chip and tap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keys import cvv, emv, tdes
from keys.cvv import CardValue, ExpiryOrder
from keys.errors import CardDataRefused, KeyRefused, KeysError
from keys.keytypes import KeyMode, KeySpec, KeyUsage
from tests.keys.at_work import formed
from tests.keys.samples import OTHER_PAN, PAN, SECOND_KEY, one_line, pans

if TYPE_CHECKING:
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.sensitive import Pan

psec_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
STATIC = [CardValue.CVV1, CardValue.CVV2, CardValue.ICVV]
expiries = st.tuples(st.integers(0, 99), st.integers(1, 12)).map(lambda when: f"{when[0]:02d}{when[1]:02d}")
service_codes = st.integers(1, 998).map("{:03d}".format)


@pytest.fixture(scope="module")
def cvk(hsm: Hsm) -> KeyHandle:
    """A known card verification key."""
    return formed(hsm, KeyUsage.CARD_VERIFICATION, SECOND_KEY)


@pytest.fixture(scope="module")
def imk(hsm: Hsm) -> KeyHandle:
    """A known issuer master key for dynamic values."""
    return formed(hsm, KeyUsage.ISSUER_DYNAMIC_NUMBER, SECOND_KEY)


def code_of(kind: CardValue, code: str) -> str | None:
    """The service code, for the one kind that has it."""
    return code if kind is CardValue.CVV1 else None


@psec_warns
@settings(max_examples=40)
@given(st.sampled_from(STATIC), pans, expiries, service_codes, st.sampled_from(ExpiryOrder))
def test_values_same_as_psec(
    hsm: Hsm, cvk: KeyHandle, kind: CardValue, pan: Pan, expiry: str, code: str, order: ExpiryOrder
) -> None:
    """CVV, CVV2 and iCVV of any card in both orders of the date; each is verified, and no other is."""
    fixed = {CardValue.CVV2: "000", CardValue.ICVV: "999"}.get(kind, code)
    date = expiry if order is ExpiryOrder.YYMM else expiry[2:] + expiry[:2]
    value = hsm.card_value(kind, cvk, pan, expiry, code_of(kind, code), order)
    of_psec = psec.cvv.generate_cvv(SECOND_KEY, pan.reveal(), date, fixed)  # stops short of three numerals: test_cvv.py
    assert (3, of_psec) == (len(value), value[: len(of_psec)])
    assert hsm.verify_card_value(kind, cvk, pan, expiry, value, code_of(kind, code), order)
    for digit in range(3):
        wrong = value[:digit] + str((int(value[digit]) + 1) % 10) + value[digit + 1 :]
        assert not hsm.verify_card_value(kind, cvk, pan, expiry, wrong, code_of(kind, code), order)


def test_a_value_is_good_in_one_place(hsm: Hsm, cvk: KeyHandle) -> None:
    """Of another kind, card, date, service code, order or key it is wrong."""
    value = hsm.card_value(CardValue.CVV1, cvk, PAN, "2912", "201")
    other = hsm.generate(KeyUsage.CARD_VERIFICATION, "cvk")
    assert hsm.verify_card_value(CardValue.CVV1, cvk, PAN, "2912", value, "201")
    assert not hsm.verify_card_value(CardValue.CVV2, cvk, PAN, "2912", value)
    assert not hsm.verify_card_value(CardValue.ICVV, cvk, PAN, "2912", value)
    assert not hsm.verify_card_value(CardValue.CVV1, cvk, OTHER_PAN, "2912", value, "201")
    assert not hsm.verify_card_value(CardValue.CVV1, cvk, PAN, "3012", value, "201")
    assert not hsm.verify_card_value(CardValue.CVV1, cvk, PAN, "2912", value, "221")
    assert not hsm.verify_card_value(CardValue.CVV1, cvk, PAN, "2912", value, "201", ExpiryOrder.MMYY)
    made = {
        hsm.card_value(CardValue.CVV1, key, PAN, "2912", f"{code}01") for code in range(1, 10) for key in (cvk, other)
    }
    assert 10 < len(made)


@pytest.mark.parametrize(
    ("kind", "expiry", "code"),
    [
        (CardValue.CVV1, "2912", None),
        (CardValue.CVV1, "2912", "000"),
        (CardValue.CVV1, "2912", "999"),
        (CardValue.CVV1, "2912", "20"),
        (CardValue.CVV1, "2912", "2O1"),
        (CardValue.CVV2, "2912", "201"),
        (CardValue.ICVV, "2912", "201"),
        (CardValue.CVV1, "2913", "201"),
        (CardValue.CVV1, "2900", "201"),
        (CardValue.CVV1, "29", "201"),
        (CardValue.CVV2, "29 2", None),
        (CardValue.CVV2, "٢٩١٢", None),
    ],
)
def test_data_that_cannot_be(hsm: Hsm, cvk: KeyHandle, kind: CardValue, expiry: str, code: str | None) -> None:
    """Nothing is made of it, and it verifies as False: a clerk hears, a terminal does not."""
    with pytest.raises(CardDataRefused):
        hsm.card_value(kind, cvk, PAN, expiry, code)
    for value in ("000", "", "1"):
        assert hsm.verify_card_value(kind, cvk, PAN, expiry, value, code) is False


def test_a_dynamic_value_is_not_made_here(hsm: Hsm, cvk: KeyHandle, imk: KeyHandle) -> None:
    """It is the chip's to make; and its key makes no other."""
    with pytest.raises(KeyRefused, match="dynamic"):
        hsm.card_value(CardValue.DCVV, cvk, PAN, "2912")
    with pytest.raises(KeyRefused, match="dynamic"):
        hsm.verify_card_value(CardValue.DCVV, cvk, PAN, "2912", "123")
    with pytest.raises(KeyRefused, match="MAKE_CARD_VALUE"):
        hsm.card_value(CardValue.CVV2, imk, PAN, "2912")
    with pytest.raises(KeyRefused, match="VERIFY_DYNAMIC_VALUE"):
        hsm.verify_dynamic_value(cvk, PAN, "00", "2912", "201", "0001", "123")


def dynamic_of(pan: Pan, psn: str, expiry: str, code: str, counter: str) -> str:
    """What the chip shows, by the key it has. Of a block with fewer than three numerals psec makes too short a value."""
    card = emv.derived_key(tdes.encipherer(SECOND_KEY), emv.option_a_data(pan, psn))
    made: str = psec.cvv.generate_cvv(card, counter + pan.reveal()[4:], expiry, code)
    assume(3 == len(made))
    return made


@psec_warns
@settings(max_examples=40)
@given(pans, st.integers(0, 99), expiries, service_codes, st.integers(0, 9999))
def test_dynamic_values(hsm: Hsm, imk: KeyHandle, pan: Pan, psn: int, expiry: str, code: str, counter: int) -> None:
    """Of any card and counter, as psec makes it of the card's key; of another counter it is another."""
    asked = (imk, pan, f"{psn:02d}", expiry, code, f"{counter:04d}")
    value = dynamic_of(*asked[1:])
    assert hsm.verify_dynamic_value(*asked, value)
    assert not hsm.verify_dynamic_value(*asked, f"{(int(value) + 1) % 1000:03d}")
    following = f"{(counter + 1) % 10000:04d}"
    same_again = dynamic_of(pan, f"{psn:02d}", expiry, code, following) == value
    assert same_again is hsm.verify_dynamic_value(imk, pan, f"{psn:02d}", expiry, code, following, value)


@settings(max_examples=80)
@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=4), st.text(max_size=5), st.text(max_size=6))
def test_any_text_is_a_wrong_value(
    hsm: Hsm, cvk: KeyHandle, imk: KeyHandle, psn: str, expiry: str, code: str, counter: str, value: str
) -> None:
    """Whatever stands on a track: False, or an error of ours in one line; and the key works for the next."""
    for kind in STATIC:
        assert hsm.verify_card_value(kind, cvk, PAN, expiry, value, code_of(kind, code)) is False
    assert hsm.verify_dynamic_value(imk, PAN, psn, expiry, code, counter, value) is False
    error: KeysError | None = None
    try:
        hsm.card_value(CardValue.CVV2, cvk, PAN, expiry)
    except CardDataRefused as refused:
        error = refused
    assert error is None or one_line(error)
    make = cvv.maker(tdes.encipherer(SECOND_KEY[:8]), tdes.encipherer(SECOND_KEY))
    assert make(cvv.card_data(CardValue.CVV2, PAN, "2912")) == hsm.card_value(CardValue.CVV2, cvk, PAN, "2912")


def test_one_may_make_and_another_verify(hsm: Hsm) -> None:
    """The personalisation bureau's key makes values; the one beside the terminals only checks them."""
    makes, checks = (
        formed(hsm, KeySpec(KeyUsage.CARD_VERIFICATION, mode=mode), SECOND_KEY)
        for mode in (KeyMode.GENERATE, KeyMode.VERIFY)
    )
    value = hsm.card_value(CardValue.CVV2, makes, PAN, "2912")
    assert hsm.verify_card_value(CardValue.CVV2, checks, PAN, "2912", value)
    with pytest.raises(KeyRefused, match="VERIFY_CARD_VALUE"):
        hsm.verify_card_value(CardValue.CVV2, makes, PAN, "2912", value)
    with pytest.raises(KeyRefused, match="MAKE_CARD_VALUE"):
        hsm.card_value(CardValue.CVV2, checks, PAN, "2912")
