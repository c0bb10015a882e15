"""The Visa PVV."""

from collections import Counter
from typing import Any

import psec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import pin, pvv, tdes
from keys.errors import KeyRefused, KeysError, PinRefusal, PinRefused
from keys.sensitive import Pan
from tests.keys.samples import PAN, SECOND_KEY, any_pans, vectors

ENCIPHER = tdes.encipherer(SECOND_KEY)
BEGINNINGS = [f"{number:04d}" for number in range(10_000)]
TAILS = [f"{number:02d}" for number in range(100)]
keys = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize("vector", vectors("pvv"), ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """jPOS, a payShield simulator, and one checked by two implementations."""
    given_ = vector["inputs"]
    pan = Pan(given_.get("pan") or f"400{given_['account12']}0")
    encipher = tdes.encipherer(bytes.fromhex(given_["pvk"]))
    assert vector["expected"]["pvv"] == pvv.pvv(encipher, pan, int(given_["pvki"]), given_["pin"])


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(keys, any_pans, st.sampled_from(pvv.PVKI), st.text("0123456789", min_size=4, max_size=4))
def test_same_as_psec(key: bytes, pan: Pan, pvki: int, digits: str) -> None:
    """The psec package finds the same value under any key."""
    expected = psec.pin.generate_visa_pvv(key, str(pvki), digits, pan.reveal().zfill(12))
    assert expected == pvv.pvv(tdes.encipherer(key), pan, pvki, digits)


@given(st.lists(st.tuples(any_pans, st.text("0123456789", min_size=4, max_size=12)), max_size=5))
def test_many_at_once(cards: list[tuple[Pan, str]]) -> None:
    """One call of the cipher for many cards gives what one call each gives."""
    enciphered = ENCIPHER(b"".join(pvv.security_parameter(pan, 1, digits) for pan, digits in cards))
    at_once = [pvv.of_enciphered(enciphered[8 * at : 8 * at + 8]) for at in range(len(cards))]
    assert [pvv.pvv(ENCIPHER, pan, 1, digits) for pan, digits in cards] == at_once


def test_a_hundred_pins_of_six_digits_and_more_pass() -> None:
    """By enumeration for one card: each PIN of the same four digits passes, and of each other beginning that meets the PVV."""
    value = pvv.pvv(ENCIPHER, PAN, 1, "271828")
    meeting = [beginning for beginning in BEGINNINGS if pvv.pvv(ENCIPHER, PAN, 1, beginning) == value]
    passing = [one + tail for one in meeting for tail in TAILS if pvv.pvv(ENCIPHER, PAN, 1, one + tail) == value]
    assert "2718" in meeting
    assert 100 * len(meeting) == len(passing)
    assert [f"2718{tail}" for tail in TAILS] == [one for one in passing if one.startswith("2718")]


def test_two_hundred_pins_pass_on_average() -> None:
    """Over all beginnings of one card: about two meet in each PVV that is given, the own one and one by chance."""
    values = [pvv.pvv(ENCIPHER, PAN, 1, beginning) for beginning in BEGINNINGS]
    met = Counter(values)
    assert 1.9 < sum(met[value] for value in values) / len(values) < 2.1


def test_an_offset_of_six_digits_lets_one_pin_pass() -> None:
    """The same count for IBM 3624: of the hundred PINs of one beginning, the right one."""
    offset = pin.offset_of(b"643085", "271828")
    assert ["271828"] == [f"2718{tail}" for tail in TAILS if pin.offset_of(b"643085", f"2718{tail}") == offset]
    assert b"271828" == pin.pin_of(b"643085", offset)


def test_the_parts_of_the_security_parameter() -> None:
    """Eleven PAN digits without the check digit, index, PIN; each at its place."""
    assert "01000000001" + "4" + "3987" == pvv.security_parameter(Pan("6013010000000019"), 4, "398765").hex()
    assert "89012345678" + "0" + "0001" == pvv.security_parameter(Pan("1234567890123456789"), 0, "0001").hex()


@pytest.mark.parametrize("pvki", [-1, 7, 9, 10])
def test_other_key_indexes_are_refused(pvki: int) -> None:
    """One digit, 0 to 6."""
    with pytest.raises(KeyRefused, match="0 to 6"):
        pvv.pvv(ENCIPHER, PAN, pvki, "1234")


@pytest.mark.parametrize(
    ("digits", "reason"),
    [
        ("", PinRefusal.NOT_DIGITS),
        ("123", PinRefusal.WRONG_LENGTH),
        ("12A4", PinRefusal.NOT_DIGITS),
        ("1234AB", PinRefusal.NOT_DIGITS),
        ("１２３４", PinRefusal.NOT_DIGITS),
        ("-123", PinRefusal.NOT_DIGITS),
    ],
)
def test_what_is_no_pin_is_refused(digits: str, reason: PinRefusal) -> None:
    """Four ASCII digits at least."""
    with pytest.raises(PinRefused) as caught:
        pvv.pvv(ENCIPHER, PAN, 1, digits)
    assert reason is caught.value.reason


@given(any_pans, st.integers(), st.text(max_size=14) | st.text("0123456789", max_size=14))
def test_any_input_gives_four_digits_or_an_error_of_ours(pan: Pan, pvki: int, digits: str) -> None:
    """Nothing else, and the cipher stays in step."""
    try:
        value = pvv.pvv(ENCIPHER, pan, pvki % 9, digits)
    except KeysError:
        value = "0000"
    assert value.isdigit()
    assert 4 == len(value)
    assert "9464" == pvv.pvv(ENCIPHER, Pan("4111111111111111"), 1, "1234")
