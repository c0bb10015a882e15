"""The security requirements of PINs, by their numbers (04, 05, 06, 13): each line tried as a whole, through the facade.

Read next: docs/threat-model.md; test_conformance_pins and test_conformance_translation for the particulars.
"""

from __future__ import annotations

import dataclasses
import inspect
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from keys import aes, pinblock, tdes
from keys.errors import KeyRefused, KsnRefused, PinRefusal, PinRefused
from keys.hsm import CardCommands, DataCommands, Dukpt, Hsm, KeyCommands, NewPin, PinCommands, PinToVerify
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.ksn import AesKsn, KsnMemory, TdesKsn
from keys.pin import DEFAULT_DECIMALISATION
from keys.pinblock import PinFormat
from keys.sensitive import Pan, Pin
from tests.keys.at_work import formed
from tests.keys.samples import PAN, SECOND_KEY
from tests.keys.watched import watched_hsm
from tests.keys.wrong_pins import OF_FOUR_DIGITS, failing_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.keytypes import KeyHandle

ISO_0, ISO_1, ISO_2, ISO_3, ISO_4 = PinFormat
RIGHT = Pin("271828")
FAR_PAN = Pan("6013999900000010")
"""Another card's, whose account field differs where the PIN is: what format 3 needs to tell two cards apart at all."""
ZPK, OTHER_ZPK = tdes.odd_parity(bytes(range(0x10, 0x28))), tdes.odd_parity(bytes(range(0x60, 0x78)))
AES_ZPK, OTHER_AES_ZPK = bytes(range(0x40, 0x60)), bytes(range(0x90, 0xB0))

# PCI PIN 3-3, a line for each format a block comes in, a column for each it may leave in, both in the order 0 1 2 3 4.
#   s  permitted, the PAN stays the same      a  permitted, and the block that came names no PAN
#   -  never                                  n  permitted by PCI, and made for nobody here: the bank sends no format 1
TABLE = """
    s - - s s
    a n - a a
    - - - - -
    s - - s s
    s - - s s
"""
CELLS = [
    pytest.param(source, target, cell, id=f"{source}-{target}")
    for source, line in zip(PinFormat, TABLE.strip().splitlines(), strict=True)
    for target, cell in zip(PinFormat, line.split(), strict=True)
]


class Zones(NamedTuple):
    """An HSM between two zones, each with a PIN key of triple DES and one of AES, and with a card's reference value."""

    hsm: Hsm
    incoming: Mapping[str, KeyHandle]
    outgoing: Mapping[str, KeyHandle]
    pvk: KeyHandle
    offset: str

    def translate(self, block: bytes, pan: Pan, source: PinFormat, target: PinFormat) -> bytes:
        """From one zone to the other."""
        keys = self.incoming[source.cipher], self.outgoing[target.cipher]
        return self.hsm.translate_pin(block, *keys, pan, (source, target))

    def holds(self, block: bytes, pin_format: PinFormat, pan: Pan = PAN) -> bool:
        """Whether a block that left holds the card's PIN, as whoever gets it would ask."""
        asked = PinToVerify(block, self.outgoing[pin_format.cipher], pan, self.offset, pin_format)
        return self.hsm.verify_pin(asked, self.pvk)


@pytest.fixture(scope="module")
def zones(hsm: Hsm) -> Zones:
    """In each back end."""
    both = {one: KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm(one), KeyMode.BOTH) for one in "TA"}
    incoming = {"T": formed(hsm, both["T"], ZPK), "A": formed(hsm, both["A"], AES_ZPK)}
    outgoing = {"T": formed(hsm, both["T"], OTHER_ZPK), "A": formed(hsm, both["A"], OTHER_AES_ZPK)}
    pvk = formed(hsm, KeyUsage.PIN_VERIFICATION_IBM, SECOND_KEY)
    offset = hsm.choose_pin(hsm.encipher_pin(RIGHT, incoming["T"], PAN), incoming["T"], pvk, PAN, None)
    return Zones(hsm, incoming, outgoing, pvk, offset)


def block_of(pin_format: PinFormat, pan: Pan = PAN) -> bytes:
    """The right PIN as the first zone sends it, in any of the five formats; made without the HSM."""
    if pin_format is ISO_4:
        return pinblock.encipher_block(ISO_4, aes.encipherer(AES_ZPK), RIGHT, pan, bytes)
    if pin_format in {ISO_1, ISO_2}:
        head, fill = ("16", "7") if pin_format is ISO_1 else ("26", "F")
        return tdes.encipherer(ZPK)(bytes.fromhex(f"{head}{RIGHT.reveal()}".ljust(16, fill)))
    return pinblock.encipher_block(pin_format, tdes.encipherer(ZPK), RIGHT, pan, bytes)


@pytest.mark.parametrize(("source", "target", "cell"), CELLS)
def test_requirement_04_pins_are_translated_by_the_table_of_pci_3_3(
    zones: Zones, source: PinFormat, target: PinFormat, cell: str
) -> None:
    """Each of the 25 pairs of formats: the same PIN of the same card leaves, or the pair is refused, whatever the block."""
    if cell in "sa":
        block = zones.translate(block_of(source), PAN, source, target)
        assert (target.block_bytes, True) == (len(block), zones.holds(block, target))
        return
    for block in (block_of(source), b"", bytes(8), bytes(16)):
        with pytest.raises(KeyRefused, match="PCI PIN 3-3" if cell == "-" else "never made"):
            zones.translate(block, PAN, source, target)


@pytest.mark.parametrize(("source", "target", "cell"), [one for one in CELLS if one.values[2] == "s"])
def test_requirement_04_no_translation_changes_the_pan(
    zones: Zones, source: PinFormat, target: PinFormat, cell: str
) -> None:
    """A block is bound to its card: asked for another it is a bad block, and nothing is made. There is no role that may."""
    del cell
    for block, pan in ((block_of(source), FAR_PAN), (block_of(source, FAR_PAN), PAN)):
        with pytest.raises(PinRefused) as caught:
            zones.translate(block, pan, source, target)
        assert PinRefusal.BAD_BLOCK is caught.value.reason
    assert ["pan"] == [name for name in inspect.signature(Hsm.translate_pin).parameters if "pan" in name]


def test_requirement_04_format_1_takes_the_pan_of_its_message(zones: Zones) -> None:
    """It names no card, so what is made of it is bound to the card that was asked for and to no other."""
    for target in (ISO_0, ISO_3, ISO_4):
        block = zones.translate(block_of(ISO_1), PAN, ISO_1, target)
        assert (True, False) == (zones.holds(block, target), zones.holds(block, target, FAR_PAN))


def causes(pin_format: PinFormat) -> dict[str, bytes]:
    """Every cause of a PIN failure, as a block of the right length."""
    keys = (AES_ZPK, OTHER_AES_ZPK) if pin_format is ISO_4 else (ZPK, OTHER_ZPK)
    return failing_blocks(pin_format, keys, (PAN, FAR_PAN), RIGHT)


@pytest.mark.parametrize("pin_format", [ISO_0, ISO_3, ISO_4])
@pytest.mark.parametrize("usage", [KeyUsage.PIN_VERIFICATION_IBM, KeyUsage.PIN_VERIFICATION_PVV])
def test_requirement_05_every_pin_failure_has_one_answer(hsm: Hsm, usage: KeyUsage, pin_format: PinFormat) -> None:
    """Bad fill, wrong format, non digit, wrong PIN, wrong key, wrong length: False, alone and among others, and nothing else."""
    algorithm, key = (Algorithm.AES, AES_ZPK) if pin_format is ISO_4 else (Algorithm.TDES, ZPK)
    zpk = formed(hsm, KeySpec(KeyUsage.PIN_ENCRYPTION, algorithm, KeyMode.BOTH), key)
    pvk = formed(hsm, usage, SECOND_KEY)
    right = PinToVerify(b"", zpk, PAN, "", pin_format)._replace(
        block=hsm.encipher_pin(RIGHT, zpk, PAN, pin_format),
    )
    right = right._replace(reference=hsm.choose_pin(right.block, zpk, pvk, PAN, None, pin_format))
    blocks = causes(pin_format)
    if usage is KeyUsage.PIN_VERIFICATION_PVV:  # which covers four digits
        blocks = {name: block for name, block in blocks.items() if name not in OF_FOUR_DIGITS}
    for length in (0, 1, 7, 9, 15, 17, 24):
        blocks[f"{length} bytes"] = bytes(length)
    wrong = [right._replace(block=block) for block in blocks.values()]
    assert [False] * len(wrong) == [hsm.verify_pin(one, pvk) for one in wrong]
    among = [one for pair in zip(wrong, [right] * len(wrong), strict=True) for one in pair]
    answers = hsm.verify_pins(among, pvk)
    assert [False, True] * len(wrong) == answers
    assert {bool} == set(map(type, answers))
    for one in wrong:
        with pytest.raises(PinRefused) as caught:
            hsm.change_pin(one, right.block, pvk, None)
        assert "the PIN is refused: WRONG_PIN" == str(caught.value)


@pytest.mark.parametrize("pin_format", [ISO_0, ISO_3, ISO_4])
@pytest.mark.parametrize("usage", [KeyUsage.PIN_VERIFICATION_IBM, KeyUsage.PIN_VERIFICATION_PVV])
def test_requirement_05_no_cause_takes_other_work(usage: KeyUsage, pin_format: PinFormat) -> None:
    """So that no clock tells causes apart: the ciphers are asked as often, for as much, whatever is wrong and where nothing is.

    But for a block of another length, which reaches no PIN cipher: whoever sends it knows as much already.
    """
    hsm, workshop = watched_hsm()
    algorithm, key = (Algorithm.AES, AES_ZPK) if pin_format is ISO_4 else (Algorithm.TDES, ZPK)
    zpk = formed(hsm, KeySpec(KeyUsage.PIN_ENCRYPTION, algorithm, KeyMode.BOTH), key)
    pvk = formed(hsm, usage, SECOND_KEY)
    block = hsm.encipher_pin(RIGHT, zpk, PAN, pin_format)
    reference = hsm.choose_pin(block, zpk, pvk, PAN, None, pin_format)
    right = PinToVerify(block, zpk, PAN, reference, pin_format)
    assert hsm.verify_pin(right, pvk)
    workshop.forget()
    assert [True, True] == hsm.verify_pins([right, right], pvk)
    together = list(workshop.calls)
    workshop.forget()
    assert hsm.verify_pin(right, pvk)
    alone = list(workshop.calls)
    assert 2 <= len(alone)
    for name, wrong in causes(pin_format).items():
        asked = right._replace(block=wrong)
        workshop.forget()
        hsm.verify_pin(asked, pvk)
        assert alone == workshop.calls, name
        for pair in ([right, asked], [asked, right], [asked, asked]):
            workshop.forget()
            hsm.verify_pins(pair, pvk)
            assert together == workshop.calls, name
    workshop.forget()
    assert not hsm.verify_pin(right._replace(block=block + b"\0"), pvk)
    assert [] == [call for call in workshop.calls if "decipher" in call[0]]


FIXED_WITH_THE_KEY = (
    "decimal",
    "table",
    "check_length",
    "pvki",
    "attribute",
    "digits",
    "padding",
    "mac_length",
    "digest",
)


def test_requirement_06_no_request_has_what_belongs_to_the_key() -> None:
    """Decimalisation table, PVKI, check length: no command that uses a key takes one, by any name, nor does what it is given."""
    asked = {
        f"{part.__name__}.{name}": inspect.signature(command)
        for part in (PinCommands, CardCommands, DataCommands, KeyCommands)
        for name, command in inspect.getmembers(part, inspect.isfunction)
        if not name.startswith("_")
    }
    assert 40 < len(asked)
    names = {f"{name}({one})" for name, signature in asked.items() for one in signature.parameters}
    names |= {f"{record.__name__}.{one}" for record in (PinToVerify, Dukpt, NewPin) for one in record._fields}
    assert [] == sorted(one for one in names if any(word in one.lower() for word in FIXED_WITH_THE_KEY))
    # A specification has them, and only what brings a key into being takes one.
    makers = {name for name, signature in asked.items() if "KeySpec" in str(signature)}
    assert {"enter_component", "form", "generate", "import_block", "import_secret", "import_signing_key"} == {
        name.removeprefix("KeyCommands.") for name in makers
    }
    assert [] == [name for name, signature in asked.items() if "KeyAttributes" in str(signature)]
    assert set(KeyAttributes.__slots__) == {
        "decimalisation_table", "check_length", "pvki", "padding", "mac_length", "digest", "device", "legacy_versions",
        "working_key",
    }  # fmt: skip


OTHER_TABLE = "9876543210987654"
ATTRIBUTES: Mapping[str, tuple[KeyUsage, KeyAttributes]] = MappingProxyType(
    {
        "table": (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes(OTHER_TABLE, check_length=6)),
        "check length": (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes(DEFAULT_DECIMALISATION, check_length=5)),
        "PVKI": (KeyUsage.PIN_VERIFICATION_PVV, KeyAttributes(pvki=4)),
    }
)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_requirement_06_nothing_but_the_key_decides(hsm: Hsm, name: str) -> None:
    """The same bytes under another table, length or index are another key; no call and no handle makes one into the other."""
    usage, attributes = ATTRIBUTES[name]
    zpk = formed(hsm, KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), ZPK)
    plain, other = formed(hsm, usage, SECOND_KEY), formed(hsm, KeySpec(usage, attributes=attributes), SECOND_KEY)
    assert hsm.info(plain).attributes != hsm.info(other).attributes == attributes
    pin = Pin(RIGHT.reveal()[: attributes.check_length or 6])
    block = hsm.encipher_pin(pin, zpk, PAN)
    reference = hsm.choose_pin(block, zpk, other, PAN, None)
    asked = PinToVerify(block, zpk, PAN, reference)
    assert (True, False) == (hsm.verify_pin(asked, other), hsm.verify_pin(asked, plain))
    command: Any = hsm.verify_pin
    for field in dataclasses.fields(KeyAttributes):
        with pytest.raises(TypeError):
            command(asked, plain, **{field.name: getattr(attributes, field.name)})
    made_up: Any = hsm.info(plain)
    for record, field_name in ((made_up, "attributes"), (plain, "kcv")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field_name, attributes)
    for handle in (dataclasses.replace(plain), dataclasses.replace(made_up, attributes=attributes)):
        with pytest.raises(KeyRefused, match="is not a key of this HSM"):
            hsm.verify_pin(asked, handle)
    assert (True, False) == (hsm.verify_pin(asked, other), hsm.verify_pin(asked, plain))


def counters(bits: int, ones: int) -> set[int]:
    """Counters of BITS with so many one-bits: the lowest, the highest, spread out, and with a gap."""
    low = (1 << ones) - 1
    spread = sum(1 << at for at in sorted(range(bits), key=lambda at: (at % 2, at))[:ones])
    gap = sum(1 << at for at in range(bits) if at not in range(1, bits - ones + 1))
    return {low, low << bits - ones, spread, gap}


@pytest.mark.parametrize(
    ("algorithm", "bits", "most", "ksn_of"),
    [
        (Algorithm.TDES, 21, 10, lambda counter: (0xFFFF9876543210E00000 + counter).to_bytes(10)),
        (Algorithm.AES, 32, 16, lambda counter: bytes.fromhex("1234567890123456") + counter.to_bytes(4)),
    ],
)
def test_requirement_13_a_counter_with_too_many_ones_is_refused(
    hsm: Hsm, algorithm: Algorithm, bits: int, most: int, ksn_of: Callable[[int], bytes]
) -> None:  # fmt: skip
    """More than 10 one-bits (triple DES) or 16 (AES): no key is derived for it; a PIN under it is a wrong PIN, so a try."""
    bdk = formed(hsm, KeySpec(KeyUsage.BASE_DERIVATION, algorithm), SECOND_KEY)
    pvk = formed(hsm, KeyUsage.PIN_VERIFICATION_IBM, SECOND_KEY)
    pin_format = ISO_4 if algorithm is Algorithm.AES else ISO_0
    good = Dukpt(bdk, ksn_of(1))
    block = hsm.encipher_pin(RIGHT, good, PAN, pin_format)
    offset = hsm.choose_pin(block, good, pvk, PAN, None, pin_format)
    assert hsm.verify_pin(PinToVerify(block, good, PAN, offset, pin_format), pvk)
    tried = 0
    for ones in range(1, bits + 1):
        for counter in counters(bits, ones):
            assert ones == counter.bit_count()
            asked = Dukpt(bdk, ksn_of(counter))
            if ones <= most:
                assert 8 == len(hsm.mac(asked, b"message"))
                continue
            with pytest.raises(KsnRefused, match=f"more than {most} one-bits"):
                hsm.mac(asked, b"message")
            with pytest.raises(KsnRefused, match=f"more than {most} one-bits"):
                hsm.encipher_pin(RIGHT, asked, PAN, pin_format)
            assert not hsm.verify_pin(PinToVerify(block, asked, PAN, offset, pin_format), pvk)
            tried += 1
    assert tried > bits - most


@pytest.mark.parametrize("kind", [TdesKsn, AesKsn])
def test_requirement_13_a_repeated_ksn_is_refused(kind: type[TdesKsn | AesKsn]) -> None:
    """Every KSN of a device is taken once, in order; the same and each older one is refused, also after the memory is kept."""
    text = "FFFF9876543210E00000" if kind is TdesKsn else "123456789012345600000000"
    first = kind.parse(text[:-1] + "1")
    sent = [first]
    while len(sent) < 40:
        sent.append(sent[-1].following())
    memory = KsnMemory(2)
    for at, ksn in enumerate(sent):
        memory.take(ksn)
        for again in sent[: at + 1]:
            for place in (memory, KsnMemory(2, memory.state())):
                with pytest.raises(KsnRefused, match="already"):
                    place.take(kind.parse(bytes(again)))
    assert {first.device: sent[-1].counter} == memory.state()
