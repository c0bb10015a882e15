"""Every back end: PIN blocks from zone to zone and format to format, the whole table of PCI PIN 3-3."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import aes, pinblock, tdes
from keys.errors import KeyRefused, PinRefusal, PinRefused
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyUsage
from keys.pinblock import PinFormat
from keys.sensitive import Pan, Pin
from tests.keys.at_work import formed
from tests.keys.samples import OTHER_PAN, PAN, any_pans, pins

if TYPE_CHECKING:
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

TDES_ONE, TDES_TWO = (tdes.odd_parity(bytes(range(start, start + 24))) for start in (0x10, 0x60))
AES_ONE, AES_TWO = (bytes(range(start, start + 32)) for start in (0x40, 0x90))
FAR_PAN = Pan("6013999900000010")
GOOD = Pin("271828")
ISO_0, ISO_1, ISO_2, ISO_3, ISO_4 = PinFormat

# Spelled out by hand: from each format, what a block may become here. Format 1 into itself PCI permits; it is never made here.
BECOMES = {
    ISO_0: {ISO_0, ISO_3, ISO_4},
    ISO_1: {ISO_0, ISO_3, ISO_4},
    ISO_2: set(),
    ISO_3: {ISO_0, ISO_3, ISO_4},
    ISO_4: {ISO_0, ISO_3, ISO_4},
}
PERMITTED = [(source, target) for source, targets in BECOMES.items() for target in targets]


class Zones(NamedTuple):
    """Two zones, each with a key for triple DES and one for AES, known here."""

    hsm: Hsm
    tdes_one: KeyHandle
    tdes_two: KeyHandle
    aes_one: KeyHandle
    aes_two: KeyHandle

    def source(self, pin_format: PinFormat) -> KeyHandle:
        """The key that a block comes under."""
        return self.aes_one if pin_format is ISO_4 else self.tdes_one

    def target(self, pin_format: PinFormat) -> KeyHandle:
        """The key that it leaves under."""
        return self.aes_two if pin_format is ISO_4 else self.tdes_two

    def translated(self, block: bytes, pan: Pan, source: PinFormat, target: PinFormat) -> bytes:
        """From zone one to zone two."""
        return self.hsm.translate_pin(block, self.source(source), self.target(target), pan, (source, target))


@pytest.fixture(scope="module")
def zones(hsm: Hsm) -> Zones:
    """In each back end."""
    both, out = (KeySpec(KeyUsage.PIN_ENCRYPTION, mode=mode) for mode in (KeyMode.BOTH, KeyMode.ENCRYPT))
    aes_both, aes_out = (
        KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.AES, mode) for mode in (KeyMode.BOTH, KeyMode.ENCRYPT)
    )
    known = ((both, TDES_ONE), (out, TDES_TWO), (aes_both, AES_ONE), (aes_out, AES_TWO))
    return Zones(hsm, *(formed(hsm, spec, key) for spec, key in known))


def block_of(pin: Pin, pan: Pan, pin_format: PinFormat) -> bytes:
    """A block under the keys of zone one, made without the HSM."""
    if pin_format in {ISO_1, ISO_2}:
        digits = pin.reveal()
        field = f"{'1' if pin_format is ISO_1 else '2'}{len(digits):X}{digits}".ljust(
            16, "7" if pin_format is ISO_1 else "F"
        )
        return tdes.encipherer(TDES_ONE)(bytes.fromhex(field))
    encipher = aes.encipherer(AES_ONE) if pin_format is ISO_4 else tdes.encipherer(TDES_ONE)
    return pinblock.encipher_block(pin_format, encipher, pin, pan, bytes)


def read(block: bytes, pan: Pan, pin_format: PinFormat) -> str | None:
    """The digits in a block under the keys of zone two, read without the HSM."""
    decipher = aes.decipherer(AES_TWO) if pin_format is ISO_4 else tdes.decipherer(TDES_TWO)
    return pinblock.decipher_block(pin_format, decipher, block, pan)


@pytest.mark.parametrize("target", PinFormat)
@pytest.mark.parametrize("source", PinFormat)
def test_the_table(zones: Zones, source: PinFormat, target: PinFormat) -> None:
    """All 25 pairs: the same PIN of the same card comes out, or the pair is refused before the block is looked at."""
    if target in BECOMES[source]:
        block = zones.translated(block_of(GOOD, PAN, source), PAN, source, target)
        assert (target.block_bytes, GOOD.reveal()) == (len(block), read(block, PAN, target))
        return
    for block in (block_of(GOOD, PAN, source), b"", bytes(8), bytes(16)):
        with pytest.raises(KeyRefused, match=r"PCI PIN 3-3|read here and never made"):
            zones.translated(block, PAN, source, target)


def test_the_table_is_whole() -> None:
    """Twelve of 25 pairs."""
    assert (12, 5) == (len(PERMITTED), len(BECOMES))


@settings(max_examples=40)
@given(pins.map(Pin), any_pans, st.sampled_from(PERMITTED))
def test_any_pin_of_any_card(zones: Zones, pin: Pin, pan: Pan, formats: tuple[PinFormat, PinFormat]) -> None:
    """4 to 12 digits, PANs of 13 to 19."""
    source, target = formats
    block = zones.translated(block_of(pin, pan, source), pan, source, target)
    assert pin.reveal() == read(block, pan, target)


@pytest.mark.parametrize(("source", "target"), PERMITTED)
def test_a_block_keeps_its_card(zones: Zones, source: PinFormat, target: PinFormat) -> None:
    """No PIN is ever moved to another card: the PAN must be the block's. Format 1 names none, and takes that of the message."""
    other = FAR_PAN if ISO_3 in (source, target) else OTHER_PAN
    if source is ISO_1:
        block = zones.translated(block_of(GOOD, PAN, source), other, source, target)
        assert (GOOD.reveal(), None) == (read(block, other, target), read_other(block, target))
        return
    with pytest.raises(PinRefused) as caught:
        zones.translated(block_of(GOOD, PAN, source), other, source, target)
    assert PinRefusal.BAD_BLOCK is caught.value.reason


def read_other(block: bytes, target: PinFormat) -> str | None:
    """What the block is to the card that it was not made for: nothing, or in format 3 another PIN."""
    found = read(block, PAN, target)
    return None if found != GOOD.reveal() else found


@settings(max_examples=60)
@given(st.binary(max_size=24) | st.binary(min_size=8, max_size=8), st.sampled_from(PERMITTED))
def test_any_bytes_are_translated_or_refused(zones: Zones, block: bytes, formats: tuple[PinFormat, PinFormat]) -> None:
    """No error but a bad block; and the next block is translated as if nothing had been."""
    try:
        answer = len(zones.translated(block, PAN, *formats))
    except PinRefused as refused:
        reason, answer = refused.reason, 0
        assert PinRefusal.BAD_BLOCK is reason
    assert answer in {0, formats[1].block_bytes}
    good = zones.translated(block_of(GOOD, PAN, formats[0]), PAN, *formats)
    assert GOOD.reveal() == read(good, PAN, formats[1])


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 16, 17, 24])
def test_other_lengths_are_bad_blocks(zones: Zones, length: int) -> None:
    """A block of format 4 has 16 bytes, the others 8."""
    for source, target in PERMITTED:
        if length != source.block_bytes:
            with pytest.raises(PinRefused, match="BAD_BLOCK"):
                zones.translated(bytes(length), PAN, source, target)


def test_both_keys_must_be_allowed(zones: Zones) -> None:
    """One deciphers, the other enciphers; each is of its format's cipher; whatever the block is."""
    hsm, block = zones.hsm, block_of(GOOD, PAN, ISO_0)
    incoming = formed(hsm, KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.DECRYPT), TDES_ONE)
    assert GOOD.reveal() == read(hsm.translate_pin(block, incoming, zones.tdes_two, PAN, (ISO_0, ISO_3)), PAN, ISO_3)
    pvk = hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "pvk")
    for source, target, formats, said in (
        (zones.tdes_two, zones.tdes_two, (ISO_0, ISO_0), "DECIPHER_PIN"),
        (pvk, zones.tdes_two, (ISO_0, ISO_0), "DECIPHER_PIN"),
        (zones.tdes_one, incoming, (ISO_0, ISO_0), "ENCIPHER_PIN"),
        (zones.tdes_one, pvk, (ISO_0, ISO_0), "ENCIPHER_PIN"),
        (zones.tdes_one, zones.tdes_two, (ISO_0, ISO_4), "algorithm T"),
        (zones.tdes_one, zones.aes_two, (ISO_0, ISO_3), "algorithm A"),
        (zones.aes_one, zones.tdes_two, (ISO_0, ISO_3), "algorithm A"),
        (zones.tdes_one, zones.tdes_two, (ISO_4, ISO_0), "algorithm T"),
    ):
        for given_block in (block, b""):
            with pytest.raises(KeyRefused, match=said):
                hsm.translate_pin(given_block, source, target, PAN, formats)
