"""PIN blocks of ISO 9564-1 and their translations."""

import os
from collections.abc import Callable
from typing import Any

import psec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keys import aes, pinblock, tdes
from keys.errors import KeyRefused
from keys.keytypes import Algorithm
from keys.pinblock import PinFormat, Translation
from keys.sensitive import Pan, Pin
from tests.keys.samples import OTHER_PAN, PAN, SECOND_KEY, any_pans, pins, vectors

AES_KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
psec_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
blocks = st.binary(min_size=8, max_size=8)
aes_keys = st.sampled_from([16, 24, 32]).flatmap(lambda length: st.binary(min_size=length, max_size=length))


def account_of(vector: dict[str, Any]) -> bytes:
    """The account field of a vector that has a PAN, or only its twelve digits."""
    given_ = vector["inputs"]
    return pinblock.account_field(Pan(given_.get("pan") or f"400{given_['account12']}0"))


def bound(field: str, pan: Pan = PAN) -> bytes:
    """A clear block of format 0 or 3 from its field in hex."""
    return pinblock._xor(bytes.fromhex(field), pinblock.account_field(pan))[8:]


def format_4(field: str, pan: Pan = PAN) -> bytes:
    """An enciphered block of format 4 from the first half of its PIN field in hex, under AES_KEY."""
    encipher = aes.encipherer(AES_KEY)
    return encipher(pinblock._xor(encipher(bytes.fromhex(field) + bytes(range(8))), pinblock.pan_field(pan)))


def open_4(block: bytes, pan: Pan = PAN) -> str | None:
    """Format 4 under AES_KEY."""
    return pinblock.decipher_format_4(aes.decipherer(AES_KEY), block, pan)


DECODE: dict[PinFormat, Callable[[bytes], str | None]] = {
    PinFormat.ISO_0: lambda block: pinblock.decode_format_0(block, pinblock.account_field(PAN)),
    PinFormat.ISO_1: pinblock.decode_format_1,
    PinFormat.ISO_2: pinblock.decode_format_2,
    PinFormat.ISO_3: lambda block: pinblock.decode_format_3(block, pinblock.account_field(PAN)),
    PinFormat.ISO_4: open_4,
}
MAKE: dict[PinFormat, Callable[[str], bytes]] = {
    PinFormat.ISO_0: bound,
    PinFormat.ISO_1: bytes.fromhex,
    PinFormat.ISO_2: bytes.fromhex,
    PinFormat.ISO_3: bound,
    PinFormat.ISO_4: format_4,
}
FILL = {
    PinFormat.ISO_0: "F",
    PinFormat.ISO_1: "0123456789ABCDEF",
    PinFormat.ISO_2: "F",
    PinFormat.ISO_3: "ABCDEF",
    PinFormat.ISO_4: "A",
}
formats = st.sampled_from(PinFormat)


@pytest.mark.parametrize("vector", vectors("pinblock.iso0"), ids=lambda vector: vector["name"])
def test_format_0_vectors(vector: dict[str, Any]) -> None:
    """ANSI X9.24-1, a payShield simulator and jPOS, to the block and back."""
    account, clear = account_of(vector), vector["inputs"]["pin"]
    block = pinblock.encode_format_0(Pin(clear), account)
    if "key" in vector["inputs"]:
        enciphered = tdes.encipherer(bytes.fromhex(vector["inputs"]["key"]))(block)
        assert vector["expected"]["enc_pinblock"] == enciphered.hex().upper()
    else:
        assert vector["expected"]["clear_pinblock"] == block.hex().upper()
    assert clear == pinblock.decode_format_0(block, account)


def test_format_1_vector() -> None:
    """A clear block with a nonce behind the PIN."""
    (vector,) = vectors("pinblock.iso1.openemv")
    assert vector["inputs"]["pin"] == pinblock.decode_format_1(bytes.fromhex(vector["expected"]["clear_pinblock"]))


def test_format_1_enciphered_vector() -> None:
    """jPOS, through the entrance for all formats; the PAN does not count."""
    (vector,) = vectors("pinblock.iso1.enc")
    decipher = tdes.decipherer(bytes.fromhex(vector["inputs"]["key"]))
    block = bytes.fromhex(vector["inputs"]["enc_pinblock"])
    for pan in (PAN, OTHER_PAN):
        assert vector["expected"]["pin"] == pinblock.decipher_block(PinFormat.ISO_1, decipher, block, pan)


@pytest.mark.parametrize("vector", vectors("pinblock.iso2"), ids=lambda vector: vector["name"])
def test_format_2_vectors(vector: dict[str, Any]) -> None:
    """A payShield manual, to the block and back."""
    block = pinblock.encode_format_2(Pin(vector["inputs"]["pin"]))
    assert vector["expected"]["clear_pinblock"] == block.hex().upper()
    assert vector["inputs"]["pin"] == pinblock.decode_format_2(block)


@pytest.mark.parametrize("vector", vectors("pinblock.iso4.panfield"), ids=lambda vector: vector["inputs"]["pan"])
def test_pan_field_vectors(vector: dict[str, Any]) -> None:
    """PANs of 13 and 19 digits."""
    assert vector["expected"]["pan_field"] == pinblock.pan_field(Pan(vector["inputs"]["pan"])).hex()


@pytest.mark.parametrize(
    ("digits", "account", "field"),
    [
        ("60130112", "0000000006013011", "00000601301120000000"),
        ("601301000001", "0000060130100000", "06013010000010000000"),
        ("6013010000019", "0000601301000001", "16013010000019000000"),
    ],
)
def test_short_pans_by_hand(digits: str, account: str, field: str) -> None:
    """ISO 9564-1 9.3.2 and 9.4.2: zeros before them, to the twelve digits of either field."""
    assert account == pinblock.account_field(Pan(digits)).hex()
    assert field + "0" * 12 == pinblock.pan_field(Pan(digits)).hex()


@pytest.mark.parametrize("vector", vectors("pinblock.iso4.external"), ids=lambda vector: vector["name"])
def test_format_4_vectors(vector: dict[str, Any]) -> None:
    """An external tool's block with all its fields: made, and read."""
    given_, expected = vector["inputs"], vector["expected"]
    key, pan, pin_field = bytes.fromhex(given_["key"]), Pan(given_["pan"]), bytes.fromhex(given_["pin_field"])
    seen: list[bytes] = []
    encipher = aes.encipherer(key)

    def watched(block: bytes) -> bytes:
        seen.append(block)
        return encipher(block)

    block = pinblock.encipher_format_4(watched, Pin(expected["pin"]), pan, pin_field[8:])
    assert given_["pan_field"] == pinblock.pan_field(pan).hex()
    assert pin_field == seen[0]
    assert given_["intermediate_a"] == encipher(pin_field).hex().upper()
    assert given_["enciphered"] == block.hex().upper()
    assert expected["pin"] == pinblock.decipher_format_4(aes.decipherer(key), block, pan)


@given(pins, any_pans, blocks)
def test_there_and_back(digits: str, pan: Pan, random: bytes) -> None:
    """Every PIN of 4 to 12 digits comes back, in every format that is made here."""
    account = pinblock.account_field(pan)
    assert digits == pinblock.decode_format_0(pinblock.encode_format_0(Pin(digits), account), account)
    assert digits == pinblock.decode_format_2(pinblock.encode_format_2(Pin(digits)))
    assert digits == pinblock.decode_format_3(pinblock.encode_format_3(Pin(digits), account, random), account)
    assert digits == open_4(pinblock.encipher_format_4(aes.encipherer(AES_KEY), Pin(digits), pan, random), pan)


@pytest.mark.parametrize("pin_format", [PinFormat.ISO_0, PinFormat.ISO_3, PinFormat.ISO_4])
@given(digits=pins, pan=any_pans)
def test_there_and_back_enciphered(pin_format: PinFormat, digits: str, pan: Pan) -> None:
    """The entrances for all formats agree, with the cipher and the length that the format names."""
    room, key = {"T": (tdes, SECOND_KEY), "A": (aes, AES_KEY)}[pin_format.cipher]
    block = pinblock.encipher_block(pin_format, room.encipherer(key), Pin(digits), pan, os.urandom)
    assert pin_format.block_bytes == len(block)
    assert digits == pinblock.decipher_block(pin_format, room.decipherer(key), block, pan)


def padded(pan: Pan) -> str:
    """A PAN with zeros before it to 13 digits, of which psec takes twelve for formats 0 and 3; format 4 it fills up itself."""
    return pan.reveal().zfill(13)


@psec_warns
@given(pins, any_pans)
def test_format_0_same_as_psec(digits: str, pan: Pan) -> None:
    """The psec package makes and reads the same blocks."""
    block = pinblock.encode_format_0(Pin(digits), pinblock.account_field(pan))
    assert psec.pinblock.encode_pinblock_iso_0(digits, padded(pan)) == block
    assert digits == psec.pinblock.decode_pinblock_iso_0(block, padded(pan))


@given(pins)
def test_format_2_same_as_psec(digits: str) -> None:
    """The psec package makes and reads the same blocks."""
    block = pinblock.encode_format_2(Pin(digits))
    assert psec.pinblock.encode_pinblock_iso_2(digits) == block
    assert digits == psec.pinblock.decode_pinblock_iso_2(block)


@given(pins, any_pans, blocks)
def test_format_3_read_as_psec_reads_it(digits: str, pan: Pan, random: bytes) -> None:
    """The psec package reads our blocks, and we read what it makes."""
    account = pinblock.account_field(pan)
    ours = pinblock.encode_format_3(Pin(digits), account, random)
    assert digits == psec.pinblock.decode_pinblock_iso_3(ours, padded(pan))
    assert digits == pinblock.decode_format_3(psec.pinblock.encode_pinblock_iso_3(digits, padded(pan)), account)


@given(pins, any_pans, blocks, aes_keys)
def test_format_4_read_as_psec_reads_it(digits: str, pan: Pan, random: bytes, key: bytes) -> None:
    """The psec package reads our blocks, and we read what it makes, under AES keys of all lengths."""
    ours = pinblock.encipher_format_4(aes.encipherer(key), Pin(digits), pan, random)
    assert digits == psec.pinblock.decipher_pinblock_iso_4(key, ours, pan.reveal())
    theirs = psec.pinblock.encipher_pinblock_iso_4(key, digits, pan.reveal())
    assert digits == pinblock.decipher_format_4(aes.decipherer(key), theirs, pan)
    assert psec.pinblock.encode_pan_field_iso_4(pan.reveal()) == pinblock.pan_field(pan)


def by_psec(pin_format: PinFormat, field: bytes) -> str | None:
    """What psec finds in a field that is not bound to anything."""
    zeros = "0" * 16
    try:
        if pin_format is PinFormat.ISO_4:
            return str(psec.pinblock.decode_pin_field_iso_4(field + bytes(8)))
        if pin_format is PinFormat.ISO_2:
            return str(psec.pinblock.decode_pinblock_iso_2(field))
        decode = {
            PinFormat.ISO_0: psec.pinblock.decode_pinblock_iso_0,
            PinFormat.ISO_3: psec.pinblock.decode_pinblock_iso_3,
        }
        return str(decode[pin_format](field, zeros))
    except ValueError:
        return None


@given(
    st.sampled_from([PinFormat.ISO_0, PinFormat.ISO_2, PinFormat.ISO_3, PinFormat.ISO_4]),
    st.integers(0, 15),
    st.text("0123456789", min_size=4, max_size=13),
    st.text("0123456789ABCDEF", max_size=3),
    st.sampled_from("AF0"),
)
@example(PinFormat.ISO_0, 4, "12345", "", "F")  # one digit too many
@example(PinFormat.ISO_0, 4, "1234", "FFFFFFFFF0", "F")  # wrong fill at the end
@example(PinFormat.ISO_3, 4, "1234", "ABCDEFABCD", "F")
@example(PinFormat.ISO_3, 4, "1234", "ABCDEFABC9", "F")
def test_any_field_is_read_as_psec_reads_it(
    pin_format: PinFormat, length: int, digits: str, after: str, fill: str
) -> None:
    """Nearly right fields of any length nibble and fill: both find the same PIN, or both find none."""
    field = f"{pin_format[-1]}{length:X}{digits}{after}".ljust(16, fill)[:16]
    assert by_psec(pin_format, bytes.fromhex(field)) == DECODE[pin_format](MAKE[pin_format](field))


@given(formats, st.integers(4, 12), st.data())
def test_every_right_field_of_every_format_is_read(pin_format: PinFormat, length: int, data: st.DataObject) -> None:
    """Control, length, digits, and fill out of what the format allows."""
    digits = data.draw(st.text("0123456789", min_size=length, max_size=length))
    fill = data.draw(st.text(FILL[pin_format], min_size=14 - length, max_size=14 - length))
    assert digits == DECODE[pin_format](MAKE[pin_format](f"{pin_format[-1]}{length:X}{digits}{fill}"))


def faulty(pin_format: PinFormat) -> dict[str, str]:
    """A field of each fault that the format has."""
    control, fill = pin_format[-1], FILL[pin_format][-1]
    faults = {f"control of format {other}": f"{other}41234" for other in "01234" if other != control}
    faults |= {
        "control unknown": "541234",
        "three digits": f"{control}3123",
        "thirteen digits": f"{control}D1234567890123",
    }
    faults |= {"a letter among the digits": f"{control}612345A", "a digit is missing": f"{control}4123{fill}"}
    faults = {fault: field.ljust(16, fill) for fault, field in faults.items()}
    if pin_format is not PinFormat.ISO_1:
        faults["wrong last fill"] = f"{control}41234".ljust(15, fill) + "0"
        faults["wrong first fill"] = f"{control}412340".ljust(16, fill)
    if pin_format in {PinFormat.ISO_0, PinFormat.ISO_2, PinFormat.ISO_4}:
        faults |= {f"{letter} as fill": f"{control}41234".ljust(15, fill) + letter for letter in "BCDE"}
    return faults


@pytest.mark.parametrize(
    ("pin_format", "field"),
    [
        pytest.param(pin_format, field, id=f"{pin_format}: {fault}")
        for pin_format in PinFormat
        for fault, field in faulty(pin_format).items()
    ],
)
def test_malformed_fields_are_no_pin(pin_format: PinFormat, field: str) -> None:
    """Each is None, never an error."""
    assert DECODE[pin_format](MAKE[pin_format](field)) is None


@pytest.mark.parametrize("pin_format", PinFormat)
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 32])
def test_blocks_of_other_lengths_are_no_pin_and_reach_no_cipher(pin_format: PinFormat, length: int) -> None:
    """Only a block of the format's length is looked at; a cipher would be out of step after another."""
    reached: list[int] = []

    def decipher(block: bytes) -> bytes:
        reached.append(len(block))
        return block

    if length != pin_format.block_bytes:
        assert DECODE[pin_format](bytes(length)) is None
        assert (
            pin_format is PinFormat.ISO_2 or pinblock.decipher_block(pin_format, decipher, bytes(length), PAN) is None
        )
        assert pinblock.decipher_format_4(decipher, bytes(length), PAN) is None or length == aes.BLOCK
    assert {16} >= set(reached)


@given(formats, st.binary(max_size=40), st.binary(min_size=16, max_size=16), any_pans)
def test_any_bytes_under_any_key(pin_format: PinFormat, block: bytes, key: bytes, pan: Pan) -> None:
    """Whatever comes: None or 4 to 12 digits; format 2 is refused whatever comes."""
    room = aes if pin_format is PinFormat.ISO_4 else tdes
    if pin_format is PinFormat.ISO_2:
        with pytest.raises(KeyRefused):
            pinblock.decipher_block(pin_format, room.decipherer(key), block, pan)
        return
    found = pinblock.decipher_block(pin_format, room.decipherer(key), block, pan)
    assert found is None or (found.isdigit() and len(found) in range(4, 13))


@given(formats, st.binary(max_size=20), blocks)
def test_any_clear_bytes(pin_format: PinFormat, block: bytes, plausible: bytes) -> None:
    """The same for clear blocks, of which more look right."""
    for clear in (block, plausible, bytes([int(pin_format[-1]) << 4 | 4]) + plausible[:7]):
        found = DECODE[pin_format](clear)
        assert found is None or (found.isdigit() and len(found) in range(4, 13))


@pytest.mark.parametrize("fault", ["right", *faulty(PinFormat.ISO_4)])
def test_format_4_takes_the_same_steps_whatever_is_wrong(fault: str) -> None:
    """Two calls of the cipher, for a right block as for each fault."""
    field = (faulty(PinFormat.ISO_4) | {"right": "441234AAAAAAAAAA"})[fault]
    calls: list[int] = []
    decipher = aes.decipherer(AES_KEY)

    def counted(block: bytes) -> bytes:
        calls.append(len(block))
        return decipher(block)

    found = pinblock.decipher_block(PinFormat.ISO_4, counted, format_4(field), PAN)
    assert [16, 16] == calls
    assert (found == "1234") is (fault == "right")


@pytest.mark.parametrize("pin_format", [PinFormat.ISO_0, PinFormat.ISO_3, PinFormat.ISO_4])
def test_block_of_another_card_does_not_read_as_its_pin(pin_format: PinFormat) -> None:
    """The account or PAN field binds the block to the card: here a digit of the PIN would be another."""
    other = Pan(PAN.reveal()[:3] + "9" + PAN.reveal()[4:])
    room, key = (aes, AES_KEY) if pin_format is PinFormat.ISO_4 else (tdes, SECOND_KEY)
    block = pinblock.encipher_block(pin_format, room.encipherer(key), Pin("271828"), PAN, os.urandom)
    assert "271828" != pinblock.decipher_block(pin_format, room.decipherer(key), block, other)


def test_format_3_tells_cards_apart_by_chance_where_they_differ_behind_the_pin() -> None:
    """Formats 0 and 4 always tell; of format 3 some blocks of one card read with the other, always as the same PIN."""
    one, other = pinblock.account_field(PAN), pinblock.account_field(OTHER_PAN)
    assert pinblock.decode_format_0(pinblock.encode_format_0(Pin("271828"), one), other) is None
    assert open_4(format_4("441234AAAAAAAAAA"), OTHER_PAN) is None
    threes = [pinblock.encode_format_3(Pin("271828"), one, random.to_bytes(8)) for random in range(0, 6**8, 9973)]
    assert {"271828", None} == {pinblock.decode_format_3(block, other) for block in threes}


def test_format_4_block_names_its_whole_pan() -> None:
    """Format 0 does not see the issuer and the check digit; format 4 does."""
    other = Pan("5" + PAN.reveal()[1:-1] + "0")
    assert pinblock.account_field(PAN) == pinblock.account_field(other)
    assert open_4(format_4("441234AAAAAAAAAA"), other) is None


@given(st.binary(min_size=16, max_size=16).map(lambda both: (both[:8], both[8:])))
def test_random_bytes_make_other_blocks(both: tuple[bytes, bytes]) -> None:
    """Format 3 turns the random bytes into fill digits by their remainders of six; format 4 carries them whole."""
    one, other = both
    account, pin = pinblock.account_field(PAN), Pin("1234")
    fills = [int.from_bytes(random) % 6**10 for random in both]
    three = [pinblock.encode_format_3(pin, account, random) for random in both]
    assert (fills[0] == fills[1]) is (three[0] == three[1])
    four = [pinblock.encipher_format_4(aes.encipherer(AES_KEY), pin, PAN, random) for random in both]
    assert (one == other) is (four[0] == four[1])


def test_every_fill_digit_of_format_3_comes_up() -> None:
    """A to F at each of the ten places, in some of 1,000 blocks."""
    zeros = bytes(8)
    fields = [pinblock.encode_format_3(Pin("1234"), zeros, os.urandom(8)).hex().upper() for _ in range(1000)]
    assert [set("ABCDEF")] * 10 == [{field[place] for field in fields} for place in range(6, 16)]


@pytest.mark.parametrize("length", [0, 7, 9, 16])
def test_other_lengths_of_random_bytes_are_refused(length: int) -> None:
    """Eight: fewer would weaken the block."""
    with pytest.raises(KeyRefused, match="8 random bytes"):
        pinblock.encode_format_3(Pin("1234"), bytes(8), bytes(length))
    with pytest.raises(KeyRefused, match="8 random bytes"):
        pinblock.encipher_format_4(aes.encipherer(AES_KEY), Pin("1234"), PAN, bytes(length))


@pytest.mark.parametrize("pin_format", [PinFormat.ISO_1, PinFormat.ISO_2])
def test_the_bank_makes_no_block_of_formats_1_and_2(pin_format: PinFormat) -> None:
    """One is not bound to a card, the other is for a chip."""
    with pytest.raises(KeyRefused, match=pin_format.value):
        pinblock.encipher_block(pin_format, tdes.encipherer(SECOND_KEY), Pin("1234"), PAN, os.urandom)


@pytest.mark.parametrize(("pin_format", "length", "cipher"), [
    (PinFormat.ISO_0, 8, Algorithm.TDES),
    (PinFormat.ISO_1, 8, Algorithm.TDES),
    (PinFormat.ISO_2, 8, Algorithm.TDES),
    (PinFormat.ISO_3, 8, Algorithm.TDES),
    (PinFormat.ISO_4, 16, Algorithm.AES),
])  # fmt: skip
def test_length_and_cipher_of_a_format(pin_format: PinFormat, length: int, cipher: Algorithm) -> None:
    """Format 4 alone is AES."""
    assert length == pin_format.block_bytes
    assert cipher is Algorithm(pin_format.cipher)


# Rows: from format 0 to 4; columns: to format 0 to 4. S: the same PAN, A: any, -: never (PCI PIN 3-3).
TABLE = ["S--SS", "AA-AA", "-----", "S--SS", "S--SS"]
SIGNS = {"S": Translation.SAME_PAN, "A": Translation.ANY, "-": Translation.REFUSED}


@pytest.mark.parametrize("source", range(5))
@pytest.mark.parametrize("target", range(5))
def test_translation_table(source: int, target: int) -> None:
    """All 25 pairs; what is never permitted is an error that names both formats."""
    one, other = PinFormat(f"ISO_{source}"), PinFormat(f"ISO_{target}")
    expected = SIGNS[TABLE[source][target]]
    assert expected is pinblock.TRANSLATIONS[one, other]
    if expected is Translation.REFUSED:
        with pytest.raises(KeyRefused, match=f"from {one.value} to {other.value}"):
            pinblock.check_translation(one, other)
    else:
        assert expected is pinblock.check_translation(one, other)


def test_translation_table_is_whole() -> None:
    """Every pair stands in it, and nothing else."""
    assert {(one, other) for one in PinFormat for other in PinFormat} == set(pinblock.TRANSLATIONS)
