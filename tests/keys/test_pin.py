"""IBM 3624, decimalisation, weak PINs."""

import re
from datetime import date
from typing import Any

import psec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import pin, pinblock, tdes
from keys.errors import KeyRefused, PinRefusal, PinRefused
from keys.sensitive import Pan
from tests.keys.samples import SECOND_KEY, pans, pins, six_digits, vectors

TABLE = pin.decimalisation_map(pin.DEFAULT_DECIMALISATION)
psec_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


@pytest.mark.parametrize("vector", vectors("ibm3624"), ids=lambda vector: vector["name"])
def test_ibm_3624_vectors(vector: dict[str, Any]) -> None:
    """Natural PIN, customer PIN and offset of three published examples."""
    given_, expected = vector["inputs"], vector["expected"]
    enciphered = tdes.encipherer(bytes.fromhex(given_["pvk"]))(bytes.fromhex(given_["validation_data"]))
    natural = pin.natural_pin(enciphered, pin.decimalisation_map(given_["dectable"]), given_["pin_length"])
    assert expected["natural_pin"].encode("ascii") == natural
    offset = given_.get("offset") or expected["offset"]
    customer = given_.get("pin") or expected["customer_pin"]
    assert offset == pin.offset_of(natural, customer)
    assert customer.encode("ascii") == pin.pin_of(natural, offset)


@pytest.mark.parametrize(
    ("enciphered", "count", "expected"),
    [
        ("1A2B3C4D5E6F7890", 4, "1234"),  # numerals first, wherever they stand
        ("ABCDEFABCDEF0123", 4, "0123"),
        ("ABCDEFABCDEFAB12", 4, "1201"),  # then letters, from the left, as A 0 to F 5
        ("FEDCBAFEDCBAFE91", 5, "91543"),
        ("FEDCBAFEDCBAFEDC", 3, "543"),
    ],
)
def test_numerals(enciphered: str, count: int, expected: str) -> None:
    """Two passes over the hex digits, by hand."""
    assert expected == pin.numerals(bytes.fromhex(enciphered), count)


@given(st.binary(min_size=8, max_size=8) | st.text("ABCDEF12", min_size=16, max_size=16).map(bytes.fromhex))
def test_numerals_are_what_two_passes_find(enciphered: bytes) -> None:
    """The rule once more, digit by digit."""
    digits = enciphered.hex()
    found = [one for one in digits if one in "0123456789"]
    found += [str(int(one, 16) - 10) for one in digits if one in "abcdef"]
    assert ["".join(found[:count]) for count in range(1, 6)] == [
        pin.numerals(enciphered, count) for count in range(1, 6)
    ]


@given(six_digits, six_digits)
def test_offset_there_and_back(natural: str, customer: str) -> None:
    """Natural PIN plus offset is the PIN, digit by digit, for any digits."""
    offset = pin.offset_of(natural.encode("ascii"), customer)
    by_hand = "".join(str((int(one) - int(other)) % 10) for one, other in zip(customer, natural, strict=True))
    assert by_hand == offset
    assert customer.encode("ascii") == pin.pin_of(natural.encode("ascii"), offset)


@psec_warns
@given(pans, pins, st.permutations("0123456789012345"))
def test_ibm_3624_same_as_psec(pan: Pan, digits: str, table: list[str]) -> None:
    """The psec package finds the same offset and the same PIN under any decimalisation table."""
    account = pinblock.account_field(pan)
    natural = pin.natural_pin(tdes.encipherer(SECOND_KEY)(account), pin.decimalisation_map("".join(table)), len(digits))
    same: dict[str, Any] = {"pvk": SECOND_KEY, "conversion_table": "".join(table), "pan": account.hex()}
    same |= {"pan_verify_offset": 0, "pan_verify_length": 16, "pan_pad": "F"}
    offset = psec.pin.generate_ibm3624_offset(pin=digits, **same)
    assert offset == pin.offset_of(natural, digits)
    assert digits.encode("ascii") == pin.pin_of(natural, offset)
    assert digits == psec.pin.generate_ibm3624_pin(offset=offset, **same)


@pytest.mark.parametrize("table", ["", "012345678901234", "01234567890123456", "012345678901234A", "０123456789012345"])
def test_bad_decimalisation_tables_are_refused(table: str) -> None:
    """A table has 16 ASCII digits."""
    with pytest.raises(KeyRefused, match="16 digits"):
        pin.decimalisation_map(table)


@pytest.mark.parametrize("table", ["0000000000000000", "0000012345678999", "0123456012345601"])
def test_lopsided_decimalisation_tables_are_refused(table: str) -> None:
    """One digit more than four times, or fewer than eight different ones."""
    with pytest.raises(KeyRefused, match="different digits"):
        pin.decimalisation_map(table)


BORN = date(1987, 3, 25)


@pytest.mark.parametrize(
    ("digits", "reason"),
    [
        ("000000", PinRefusal.WEAK_REPEATED),
        ("777777", PinRefusal.WEAK_REPEATED),
        ("121212", PinRefusal.WEAK_REPEATED),
        ("123123", PinRefusal.WEAK_REPEATED),
        ("112233", PinRefusal.WEAK_PAIRS),
        ("998800", PinRefusal.WEAK_PAIRS),
        ("123456", PinRefusal.WEAK_SEQUENCE),
        ("012345", PinRefusal.WEAK_SEQUENCE),
        ("567890", PinRefusal.WEAK_SEQUENCE),
        ("654321", PinRefusal.WEAK_SEQUENCE),
        ("210987", PinRefusal.WEAK_SEQUENCE),
        ("250387", PinRefusal.WEAK_BIRTH_DATE),
        ("032587", PinRefusal.WEAK_BIRTH_DATE),
        ("870325", PinRefusal.WEAK_BIRTH_DATE),
        ("12345", PinRefusal.WRONG_LENGTH),
        ("1234567", PinRefusal.WRONG_LENGTH),
        ("", PinRefusal.NOT_DIGITS),
        ("27182B", PinRefusal.NOT_DIGITS),
        ("271828", None),
        ("250388", None),
        ("124578", None),
        ("135790", None),
    ],
)
def test_weak_pins(digits: str, reason: PinRefusal | None) -> None:
    """Each weak PIN has its reason; others pass."""
    assert reason is pin.weakness(digits, BORN)


def test_birth_date_only_counts_where_it_is_known() -> None:
    """Without a date the same digits are a PIN like any other."""
    assert pin.weakness("250387") is None


WEAK = re.compile(r"(\d)\1{5}|(\d\d)\2\2|(\d{3})\3|(\d)\4(\d)\5(\d)\6|250387|032587|870325")
STEPS = {"".join(str((start + step * place) % 10) for place in range(6)) for start in range(10) for step in (1, -1)}
likely = st.lists(st.sampled_from(["11", "22", "12", "121", "33", "123", "456"]), min_size=2, max_size=6).map(
    lambda parts: ("".join(parts) * 3)[:6]
)


@given(six_digits | likely | st.sampled_from(sorted(STEPS)))
def test_weak_is_what_the_rules_say_and_nothing_else(digits: str) -> None:
    """The rules once more, as a pattern and a list of steps."""
    assert bool(WEAK.fullmatch(digits) or digits in STEPS) is (pin.weakness(digits, BORN) is not None)


def test_refuse_weak_raises_the_reason() -> None:
    """The reason of `weakness` as an error; nothing for a good PIN."""
    with pytest.raises(PinRefused) as caught:
        pin.refuse_weak("123456", None)
    assert PinRefusal.WEAK_SEQUENCE is caught.value.reason
    pin.refuse_weak("271828", None)
