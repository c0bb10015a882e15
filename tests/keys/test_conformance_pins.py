"""Every back end: PINs verified one by one and together, chosen, changed, made at random. A PIN fails in one way alone."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import aes, pinblock, pvv, tdes
from keys.errors import KeyRefused, PinRefusal, PinRefused
from keys.hsm import Hsm, PinToVerify
from keys.keytypes import Algorithm, KeyAttributes, KeyHandle, KeyMode, KeySpec, KeyUsage
from keys.pin import DEFAULT_DECIMALISATION, decimalisation_map, natural_pin, offset_of, weakness
from keys.pinblock import PinFormat
from keys.sensitive import Pan, Pin
from tests.keys.at_work import formed
from tests.keys.samples import OTHER_PAN, PAN, SECOND_KEY, any_pans

ZPK_BYTES, AES_BYTES = tdes.odd_parity(bytes(range(0x30, 0x48))), bytes(range(0x50, 0x70))
GOOD, OTHER = Pin("271828"), Pin("314159")
FAR_PAN = Pan("6013999900000010")
"""Differs where the PIN is. Where two PANs differ behind it alone, format 3 does not always tell (pinblock.decode_format_3)."""
BORN = date(1987, 3, 25)
TDES_FORMATS = [PinFormat.ISO_0, PinFormat.ISO_3]
MADE = [*TDES_FORMATS, PinFormat.ISO_4]
"""Formats that are made as well as read."""


class Keys(NamedTuple):
    """An HSM with known PIN keys: of two zones, of AES, and for each way to verify."""

    hsm: Hsm
    zpk: KeyHandle
    other_zpk: KeyHandle
    aes: KeyHandle
    ibm: KeyHandle
    ibm_four: KeyHandle
    pvv: KeyHandle

    def block(self, pin: Pin, pan: Pan = PAN, pin_format: PinFormat = PinFormat.ISO_0) -> bytes:
        """A block as a terminal makes it."""
        return self.hsm.encipher_pin(pin, self.key(pin_format), pan, pin_format)

    def key(self, pin_format: PinFormat) -> KeyHandle:
        """The zone key for a format."""
        return self.aes if pin_format is PinFormat.ISO_4 else self.zpk

    def chosen(self, pvk: KeyHandle, pin: Pin = GOOD, pan: Pan = PAN) -> str:
        """The reference value of a PIN."""
        return self.hsm.choose_pin(self.block(pin, pan), self.zpk, pvk, pan, None)

    def right(
        self, pvk: KeyHandle, block: bytes, reference: str, pan: Pan = PAN, pin_format: PinFormat = PinFormat.ISO_0
    ) -> bool:
        """Whether the PIN in a block is the card's; the answer is a bool, and the same alone and among others."""
        asked = PinToVerify(block, self.key(pin_format), pan, reference, pin_format)
        alone = self.hsm.verify_pin(asked, pvk)
        assert [alone, alone] == self.hsm.verify_pins([asked, asked], pvk)
        assert type(alone) is bool
        return alone


@pytest.fixture(scope="module")
def keys(hsm: Hsm) -> Keys:
    """Known keys in each back end."""
    both = KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH)
    four = KeyAttributes("9876543210987654", check_length=4)
    return Keys(
        hsm,
        formed(hsm, both, ZPK_BYTES),
        hsm.generate(both, "other-zone"),
        formed(hsm, KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.AES, KeyMode.BOTH), AES_BYTES),
        formed(hsm, KeyUsage.PIN_VERIFICATION_IBM, SECOND_KEY),
        formed(hsm, KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=four), SECOND_KEY),
        formed(hsm, KeySpec(KeyUsage.PIN_VERIFICATION_PVV, attributes=KeyAttributes(pvki=3)), SECOND_KEY),
    )


strong = st.sampled_from([f"{number:06d}" for number in range(0, 1_000_000, 997) if weakness(f"{number:06d}") is None])


@settings(max_examples=40)
@given(strong.map(Pin), any_pans, st.sampled_from(MADE), st.data())
def test_a_chosen_pin_is_right_and_no_neighbour(
    keys: Keys, digits: Pin, pan: Pan, pin_format: PinFormat, data: st.DataObject
) -> None:
    """In every format, whichever it was chosen in; one digit changed makes it wrong."""
    offset = keys.chosen(keys.ibm, digits, pan)
    clear = digits.reveal()
    place, step = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 9))
    neighbour = Pin(clear[:place] + str((int(clear[place]) + step) % 10) + clear[place + 1 :])
    assert 6 == len(offset)
    assert keys.right(keys.ibm, keys.block(digits, pan, pin_format), offset, pan, pin_format)
    assert not keys.right(keys.ibm, keys.block(neighbour, pan, pin_format), offset, pan, pin_format)


@pytest.mark.parametrize("pin_format", MADE)
def test_choosing_in_every_format(keys: Keys, pin_format: PinFormat) -> None:
    """The reference value belongs to PIN and card, not to how the PIN came."""
    block = keys.block(GOOD, PAN, pin_format)
    for pvk in (keys.ibm, keys.pvv):
        found = keys.hsm.choose_pin(block, keys.key(pin_format), pvk, PAN, BORN, pin_format)
        assert keys.chosen(pvk) == found


def test_a_check_length_of_four(keys: Keys) -> None:
    """PINs of four digits and no others; published: PIN 1234 has offset 6569 under another table."""
    table = KeyAttributes("0123456789012345", check_length=4)
    pvk, pan = (
        formed(keys.hsm, KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=table), SECOND_KEY),
        Pan("4001111111111110"),
    )
    assert keys.right(pvk, keys.block(Pin("1234"), pan), "6569", pan)
    assert not keys.right(pvk, keys.block(Pin("1234"), pan), "6568", pan)
    assert not keys.right(pvk, keys.block(Pin("123456"), pan), "6569", pan)
    new = keys.hsm.random_pin(keys.zpk, keys.ibm_four, PAN)
    assert (4, True) == (len(new.reference), keys.right(keys.ibm_four, new.block, new.reference))
    with pytest.raises(PinRefused) as caught:
        keys.hsm.choose_pin(keys.block(GOOD), keys.zpk, keys.ibm_four, PAN, None)
    assert PinRefusal.WRONG_LENGTH is caught.value.reason


def test_a_pvv_covers_four_digits(keys: Keys) -> None:
    """That is its weakness: what follows the fourth digit is not looked at. Any other beginning is wrong."""
    reference = keys.chosen(keys.pvv)
    assert 4 == len(reference)
    for digits in ("271828", "271899", "2718", "271828182845"):
        assert keys.right(keys.pvv, keys.block(Pin(digits)), reference)
    for digits in ("371828", "261828", "270828", "271728"):
        assert not keys.right(keys.pvv, keys.block(Pin(digits)), reference)


def enciphered(field: str, pan: Pan = PAN, *, bound: bool = True) -> bytes:
    """A block of 16 hex digits under the zone key, bound to a PAN or not."""
    clear = int(field, 16) ^ (int.from_bytes(pinblock.account_field(pan)) if bound else 0)
    return tdes.encipherer(ZPK_BYTES)(clear.to_bytes(8))


def test_format_1_is_read(keys: Keys) -> None:
    """It names no card: whoever sends it answers for the PAN; it is never made here."""
    for fill in ("00000000", "FEDCBA98"):
        block = enciphered(f"16271828{fill}", bound=False)
        for pvk in (keys.ibm, keys.pvv):
            assert keys.right(pvk, block, keys.chosen(pvk), PAN, PinFormat.ISO_1)
            assert not keys.right(pvk, block, keys.chosen(pvk, OTHER), PAN, PinFormat.ISO_1)
    with pytest.raises(KeyRefused, match="ISO_1"):
        keys.hsm.encipher_pin(GOOD, keys.zpk, PAN, PinFormat.ISO_1)


def test_a_bad_block_is_no_pin_of_zeros(keys: Keys) -> None:
    """Whatever a command reckons with in the place of digits that are not there: a card of that PIN does not take it."""
    zeros = Pin("000000")
    natural = natural_pin(
        tdes.encipherer(SECOND_KEY)(pinblock.account_field(PAN)), decimalisation_map(DEFAULT_DECIMALISATION), 6
    )
    references = {
        keys.ibm: offset_of(natural, "000000"),
        keys.pvv: pvv.pvv(tdes.encipherer(SECOND_KEY), PAN, 3, "0000"),
    }
    for pvk, reference in references.items():
        for pin_format in MADE:
            right = keys.block(zeros, PAN, pin_format)
            assert keys.right(pvk, right, reference, PAN, pin_format)
            for broken in (bytes(len(right)), right[:-1], b"", bytes([right[0] ^ 1]) + right[1:]):
                assert not keys.right(pvk, broken, reference, PAN, pin_format)


def test_format_2_is_for_chips_alone(keys: Keys) -> None:
    """Neither made nor read here, whatever is in the block."""
    asked = PinToVerify(bytes(8), keys.zpk, PAN, "000000", PinFormat.ISO_2)
    for pvk in (keys.ibm, keys.pvv):
        with pytest.raises(KeyRefused, match="ISO_2"):
            keys.hsm.verify_pin(asked, pvk)
    with pytest.raises(KeyRefused, match="ISO_2"):
        keys.hsm.encipher_pin(GOOD, keys.zpk, PAN, PinFormat.ISO_2)


def test_a_format_wants_its_cipher(keys: Keys) -> None:
    """Format 4 is AES, the others triple DES: another key is refused before the block is looked at."""
    for pin_format, key in (
        (PinFormat.ISO_4, keys.zpk),
        *((one, keys.aes) for one in (PinFormat.ISO_1, *TDES_FORMATS)),
    ):
        asked = PinToVerify(b"", key, PAN, "", pin_format)
        for pvk in (keys.ibm, keys.pvv):
            with pytest.raises(
                KeyRefused, match=f"block of {pin_format.value} is not made or read with a key of algorithm"
            ):
                keys.hsm.verify_pin(asked, pvk)
        with pytest.raises(KeyRefused, match="of algorithm"):
            keys.hsm.encipher_pin(GOOD, key, PAN, pin_format)
        with pytest.raises(KeyRefused, match="of algorithm"):
            keys.hsm.random_pin(key, keys.ibm, PAN, pin_format)


WRONG_FIELDS = {
    PinFormat.ISO_0: [
        "16271828FFFFFFFF", "36271828FFFFFFFF", "03271FFFFFFFFFFF", "0D271828FFFFFFFF", "00FFFFFFFFFFFFFF",
        "0627182AFFFFFFFF", "0627182800000000", "06271828FFFFFFF0", "06271828EFFFFFFF", "05271828FFFFFFFF", "07271828FFFFFFFF",
    ],
    PinFormat.ISO_1: ["06271828FFFFFFFF", "13271FFFFFFFFFFF", "1D27182800000000", "1627182A00000000"],
    PinFormat.ISO_3: [
        "06271828FFFFFFFF", "16271828ABCDEFAB", "33271ABCDEFABCDE", "3D271828ABCDEFAB", "3627182AABCDEFAB",
        "36271828ABCDEFA9", "3627182800000000",
    ],
}  # fmt: skip


def test_every_cause_of_failure_has_one_answer(keys: Keys) -> None:
    """False: wrong PIN, block of another card, key, format or length, malformed, random; a reference of any wrong form."""
    for pvk, wrong_reference in ((keys.ibm, "999999"), (keys.pvv, "9999")):
        reference = keys.chosen(pvk)
        assert wrong_reference != reference
        causes = [
            (keys.block(OTHER), reference, PAN, PinFormat.ISO_0),
            (keys.block(GOOD, OTHER_PAN), reference, PAN, PinFormat.ISO_0),
            (keys.block(GOOD), reference, OTHER_PAN, PinFormat.ISO_0),
            (keys.hsm.encipher_pin(GOOD, keys.other_zpk, PAN), reference, PAN, PinFormat.ISO_0),
            *((keys.block(Pin(digits), PAN, one), reference, PAN, one) for one in MADE for digits in OTHER_LENGTHS),
            (keys.block(GOOD, PAN, PinFormat.ISO_4), reference, OTHER_PAN, PinFormat.ISO_4),
            (keys.block(OTHER, PAN, PinFormat.ISO_4), reference, PAN, PinFormat.ISO_4),
            (keys.block(GOOD, FAR_PAN, PinFormat.ISO_3), reference, PAN, PinFormat.ISO_3),
        ]
        causes += [(keys.block(GOOD, PAN, one), reference, PAN, other) for one, other in SWAPPED]
        causes += [
            (enciphered(field, bound=pin_format is not PinFormat.ISO_1), reference, PAN, pin_format)
            for pin_format, fields in WRONG_FIELDS.items()
            for field in fields
        ]
        for pin_format in (*TDES_FORMATS, PinFormat.ISO_1, PinFormat.ISO_4):
            causes += [(bytes(length), reference, PAN, pin_format) for length in (0, 1, 7, 8, 9, 15, 16, 17, 24)]
        causes += [
            (keys.block(GOOD, PAN, pin_format), bad, PAN, pin_format)
            for pin_format in MADE
            for bad in (
                wrong_reference, "", reference[:-1], reference + "0", reference[:-1] + "a", " " * len(reference),
                "-" + reference[1:], "１２３４５６"[: len(reference)], "\ud800" * len(reference), "0" * 300,
            )
        ]  # fmt: skip
        for block, given_reference, pan, pin_format in causes:
            # A check length of six makes another reference for another card; a PVV may meet by chance, but these do not.
            assert keys.right(pvk, block, given_reference, pan, pin_format) is False
        assert keys.right(pvk, keys.block(GOOD), reference)


OTHER_LENGTHS = ["3718", "37182", "3718281", "371828182845"]
SWAPPED = [(one, other) for one in TDES_FORMATS for other in (*TDES_FORMATS, PinFormat.ISO_1) if one is not other]


@settings(max_examples=60)
@given(
    st.binary(max_size=24) | st.binary(min_size=8, max_size=8),
    st.sampled_from([*MADE, PinFormat.ISO_1]),
    st.text(max_size=8),
)
def test_any_bytes_are_just_a_wrong_pin(keys: Keys, block: bytes, pin_format: PinFormat, reference: str) -> None:
    """Whatever a terminal sends and whatever a record has become: False, no error, and the key still works for the next."""
    for pvk in (keys.ibm, keys.pvv):
        assert not keys.right(pvk, block, reference, PAN, pin_format) or pvk is keys.pvv
        assert keys.right(pvk, keys.block(GOOD), keys.chosen(pvk))


@settings(max_examples=60)
@given(st.binary(max_size=24), st.sampled_from([*MADE, PinFormat.ISO_1, PinFormat.ISO_2]))
def test_any_bytes_are_chosen_or_refused(keys: Keys, block: bytes, pin_format: PinFormat) -> None:
    """A random block holds a PIN once in a great while; else it is a bad block, and never another error."""
    for pvk in (keys.ibm, keys.pvv):
        try:
            answer = keys.hsm.choose_pin(block, keys.key(pin_format), pvk, PAN, None, pin_format)
        except PinRefused:
            answer = "0"
        except KeyRefused:
            answer = "0" if pin_format is PinFormat.ISO_2 else ""
        assert answer.isdigit()


@settings(max_examples=25)
@given(st.data())
def test_many_together_are_answered_as_one_by_one(keys: Keys, data: st.DataObject) -> None:
    """Any mixture of cards, zones, formats, right, wrong and broken, in their order; none for none."""
    cards = data.draw(
        st.lists(st.tuples(any_pans, st.sampled_from([*MADE, PinFormat.ISO_1]), st.integers(0, 5)), max_size=12)
    )
    for pvk in (keys.ibm, keys.pvv):
        asked, expected = [], []
        for pan, pin_format, how in cards:
            reference = keys.chosen(pvk, GOOD, pan)
            block = (
                enciphered("16271828ABCDEF01", bound=False)
                if pin_format is PinFormat.ISO_1
                else keys.block(GOOD, pan, pin_format)
            )
            if how == 1:
                block = block[:-1]
            elif how == 2:
                block = bytes(len(block))
            elif how == 3:
                reference = reference[::-1] + "0"
            key = keys.key(pin_format)
            if how == 4 and pin_format is PinFormat.ISO_0:
                block, key = keys.hsm.encipher_pin(GOOD, keys.other_zpk, pan), keys.other_zpk
            asked.append(PinToVerify(block, key, pan, reference, pin_format))
            expected.append(how not in {1, 2, 3})
        assert expected == keys.hsm.verify_pins(asked, pvk) == [keys.hsm.verify_pin(one, pvk) for one in asked]


def test_one_refused_key_refuses_all(keys: Keys) -> None:
    """A key that may not decipher is nobody's wrong PIN: the caller asked for what cannot be, and hears so."""
    one_way = formed(keys.hsm, KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.ENCRYPT), ZPK_BYTES)
    good = PinToVerify(keys.block(GOOD), keys.zpk, PAN, keys.chosen(keys.ibm))
    for bad in (good._replace(key=one_way), good._replace(key=one_way, block=b""), good._replace(key=keys.ibm)):
        with pytest.raises(KeyRefused, match="DECIPHER_PIN"):
            keys.hsm.verify_pins([good, bad], keys.ibm)
    with pytest.raises(KeyRefused, match="VERIFY_PIN"):
        keys.hsm.verify_pins([], keys.zpk)


@pytest.mark.parametrize(
    ("digits", "reason"),
    [
        ("123456", PinRefusal.WEAK_SEQUENCE),
        ("987654", PinRefusal.WEAK_SEQUENCE),
        ("111111", PinRefusal.WEAK_REPEATED),
        ("121212", PinRefusal.WEAK_REPEATED),
        ("112233", PinRefusal.WEAK_PAIRS),
        ("250387", PinRefusal.WEAK_BIRTH_DATE),
        ("870325", PinRefusal.WEAK_BIRTH_DATE),
        ("2718", PinRefusal.WRONG_LENGTH),
        ("27182818", PinRefusal.WRONG_LENGTH),
    ],
)
def test_weak_pins_are_not_chosen(keys: Keys, digits: str, reason: PinRefusal) -> None:
    """By whichever method, in whichever format; and a change into one leaves the old."""
    for pin_format in MADE:
        block, key = keys.block(Pin(digits), PAN, pin_format), keys.key(pin_format)
        for pvk in (keys.ibm, keys.pvv):
            old = PinToVerify(keys.block(GOOD, PAN, pin_format), key, PAN, keys.chosen(pvk), pin_format)
            with pytest.raises(PinRefused) as caught:
                keys.hsm.choose_pin(block, key, pvk, PAN, BORN, pin_format)
            assert reason is caught.value.reason
            with pytest.raises(PinRefused) as caught:
                keys.hsm.change_pin(old, block, pvk, BORN)
            assert reason is caught.value.reason


def test_a_change_is_all_or_nothing(keys: Keys) -> None:
    """The new reference where the old PIN is right; a wrong old one says nothing of the new, whatever the new one is."""
    for pvk in (keys.ibm, keys.pvv):
        for pin_format in MADE:
            key, reference = keys.key(pin_format), keys.chosen(pvk)
            old = PinToVerify(keys.block(GOOD, PAN, pin_format), key, PAN, reference, pin_format)
            new = keys.block(OTHER, PAN, pin_format)
            assert keys.chosen(pvk, OTHER) == keys.hsm.change_pin(old, new, pvk, BORN)
            wrong = [
                old._replace(block=new),
                old._replace(block=b""),
                old._replace(reference="9" * len(reference)),
                old._replace(reference=""),
            ]
            for given_old in wrong:
                for given_new in (new, b"", bytes(len(new)), keys.block(Pin("123456"), PAN, pin_format)):
                    with pytest.raises(PinRefused) as caught:
                        keys.hsm.change_pin(given_old, given_new, pvk, BORN)
                    assert PinRefusal.WRONG_PIN is caught.value.reason
            with pytest.raises(PinRefused) as caught:
                keys.hsm.change_pin(old, bytes(len(new)), pvk, BORN)
            assert PinRefusal.BAD_BLOCK is caught.value.reason


def test_a_change_needs_both_rights(keys: Keys) -> None:
    """To verify the old PIN and to make the reference of the new one."""
    old = PinToVerify(keys.block(GOOD), keys.zpk, PAN, keys.chosen(keys.ibm))
    for mode, said in ((KeyMode.VERIFY, "MAKE_REFERENCE"), (KeyMode.GENERATE, "VERIFY_PIN")):
        pvk = formed(keys.hsm, KeySpec(KeyUsage.PIN_VERIFICATION_IBM, mode=mode), SECOND_KEY)
        with pytest.raises(KeyRefused, match=said):
            keys.hsm.change_pin(old, keys.block(OTHER), pvk, None)


@pytest.mark.parametrize("pin_format", MADE)
def test_random_pins(keys: Keys, pin_format: PinFormat) -> None:
    """Six digits, not weak, hardly ever the same, right at once; the block is of the key and format asked for."""
    found = set()
    decipher = aes.decipherer(AES_BYTES) if pin_format is PinFormat.ISO_4 else tdes.decipherer(ZPK_BYTES)
    for pvk in (keys.ibm, keys.pvv):
        for _ in range(50):
            new = keys.hsm.random_pin(keys.key(pin_format), pvk, PAN, pin_format)
            digits = pinblock.decipher_block(pin_format, decipher, new.block, PAN)
            assert digits is not None
            assert weakness(digits) is None
            assert keys.right(pvk, new.block, new.reference, PAN, pin_format)
            found.add(digits)
    assert 95 < len(found)
    assert set("0123456789") == set("".join(found))


def test_fill_is_new_in_each_block(keys: Keys) -> None:
    """Formats 3 and 4 never repeat a block; format 0 always does, which is its nature."""
    for pin_format, different in ((PinFormat.ISO_0, 1), (PinFormat.ISO_3, 5), (PinFormat.ISO_4, 5)):
        assert different == len({keys.block(GOOD, PAN, pin_format) for _ in range(5)})
