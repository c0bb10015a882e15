"""PIN blocks of ISO 9564-1, formats 0 to 4, and which may be translated into which (PCI PIN 3-3). Pure functions.

Formats 0 to 3 are encoded in clear and enciphered as one triple DES block; format 4 is two AES blocks chained over the PAN. A
cipher comes in as a function over whole blocks (tdes.py, aes.py, or a token's). What does not decode is None whatever the cause,
and all causes take the same steps: an answer that told them apart would be an oracle. Refuses to know keys and which PIN is
right. Read next: pin.py (IBM 3624, weak PINs), pvv.py, pin_commands.py (where these meet keys).
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from keys import aes, tdes
from keys.errors import KeyRefused
from keys.sensitive import PIN_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.sensitive import Pan, Pin

BLOCK_BYTES = tdes.BLOCK
"""Bytes of a block of formats 0 to 3."""
RANDOM_BYTES = 8
"""Random bytes that formats 3 and 4 want for one block."""


class PinFormat(StrEnum):
    """A PIN block format of ISO 9564-1 (2017, 9.3 and 9.4)."""

    ISO_0 = "ISO_0"
    """Bound to the PAN by XOR, fill F: what ATMs send. The same PIN and PAN always give the same block."""

    ISO_1 = "ISO_1"
    """Not bound to a PAN: for a terminal that knows none. Only decoded here."""

    ISO_2 = "ISO_2"
    """Offline PIN and PIN change with a chip card, never between terminal and bank (PCI PIN 3-2)."""

    ISO_3 = "ISO_3"
    """Format 0 with random fill."""

    ISO_4 = "ISO_4"
    """AES, bound to the PAN by chaining, 64 random bits."""

    @property
    def block_bytes(self) -> int:
        """Bytes of a block, clear or enciphered: 8, or 16 for format 4."""
        return aes.BLOCK if self is PinFormat.ISO_4 else BLOCK_BYTES

    @property
    def cipher(self) -> Literal["T", "A"]:
        """The cipher of a PIN encryption key for this format: an algorithm code of ANSI X9.143, as in keytypes.Algorithm."""
        return "A" if self is PinFormat.ISO_4 else "T"


class Translation(StrEnum):
    """What PCI PIN 3-3 says of a translation from one format to another."""

    SAME_PAN = "SAME_PAN"
    """Permitted, where the new block is made with the PAN that the old one is bound to."""

    ANY = "ANY"
    """Permitted; the old block names no PAN, so the new one takes that of the message."""

    REFUSED = "REFUSED"
    """Never."""


def _rule(source: PinFormat, target: PinFormat) -> Translation:
    if PinFormat.ISO_2 in (source, target):
        return Translation.REFUSED  # into format 2 only for submission to a chip, which is no translation between zones
    if source is PinFormat.ISO_1:
        return Translation.ANY
    return Translation.REFUSED if target is PinFormat.ISO_1 else Translation.SAME_PAN


TRANSLATIONS: Mapping[tuple[PinFormat, PinFormat], Translation] = MappingProxyType(
    {(source, target): _rule(source, target) for source in PinFormat for target in PinFormat}
)
"""The table of PCI PIN security requirement 3-3, all 25 pairs (from, to). From 0, 3 or 4 into 1 would cut a PIN from its card."""


def check_translation(source: PinFormat, target: PinFormat) -> Translation:
    """The rule for a translation between two formats (PCI PIN 3-3). Raises KeyRefused where it is never permitted.

    KeyRefused, not PinRefused: formats belong to the links and their keys, and no PIN has been looked at, so it is no wrong try.

    >>> check_translation(PinFormat.ISO_0, PinFormat.ISO_4).value
    'SAME_PAN'
    """
    rule = TRANSLATIONS[source, target]
    if rule is Translation.REFUSED:
        raise KeyRefused(f"a PIN block is never translated from {source.value} to {target.value} (PCI PIN 3-3)")
    return rule


def encipher_block(
    pin_format: PinFormat, encipher: Callable[[bytes], bytes], pin: Pin, pan: Pan, random: Callable[[int], bytes]
) -> bytes:
    """The enciphered block of format 0, 3 or 4 (ISO 9564-1), `pin_format.block_bytes` long. RANDOM: a source such as os.urandom.

    ENCIPHER must be of `pin_format.cipher`. Formats 1 and 2 are KeyRefused: the bank sends neither. Vector: jPOS.

    >>> from keys.sensitive import Pan, Pin
    >>> encipher = tdes.encipherer(bytes.fromhex("12345678" * 4))
    >>> encipher_block(PinFormat.ISO_0, encipher, Pin("1234"), Pan("1234567890128"), bytes).hex().upper()
    '3C0CA40863092C3A'
    """
    if pin_format is PinFormat.ISO_0:
        return encipher(encode_format_0(pin, account_field(pan)))
    if pin_format is PinFormat.ISO_3:
        return encipher(encode_format_3(pin, account_field(pan), random(RANDOM_BYTES)))
    if pin_format is PinFormat.ISO_4:
        return encipher_format_4(encipher, pin, pan, random(RANDOM_BYTES))
    raise KeyRefused(f"the bank makes no enciphered PIN block of {pin_format.value}")


def decipher_block(pin_format: PinFormat, decipher: Callable[[bytes], bytes], block: bytes, pan: Pan) -> str | None:
    """The 4 to 12 PIN digits in an enciphered block of format 0, 1, 3 or 4 (ISO 9564-1), or None.

    Format 2 is KeyRefused: it is never online. A block of another length is None and is kept from the cipher: it would put a
    context out of step. Vectors: jPOS, formats 0 and 1.

    >>> from keys.sensitive import Pan
    >>> decipher, pan = tdes.decipherer(bytes.fromhex("12345678" * 4)), Pan("1234567890128")
    >>> decipher_block(PinFormat.ISO_0, decipher, bytes.fromhex("3C0CA40863092C3A"), pan)
    '1234'
    >>> decipher_block(PinFormat.ISO_1, decipher, bytes.fromhex("07438C40F225BF7D"), pan)
    '1234'
    """
    if pin_format is PinFormat.ISO_2:
        raise KeyRefused("a PIN block of ISO_2 is for a chip card, never for the bank")
    if len(block) != pin_format.block_bytes:
        return None
    if pin_format is PinFormat.ISO_4:
        return decipher_format_4(decipher, block, pan)
    clear = decipher(block)
    if pin_format is PinFormat.ISO_0:
        return decode_format_0(clear, account_field(pan))
    if pin_format is PinFormat.ISO_3:
        return decode_format_3(clear, account_field(pan))
    return decode_format_1(clear)


def account_field(pan: Pan) -> bytes:
    """The account number field of ISO 9564-1 9.3.2: 0000 and the twelve digits of the PAN before its check digit. 8 bytes.

    A PAN that has fewer has zeros before them. The field binds a block of format 0 or 3 to its card, and it is the validation
    data of IBM 3624 here. The PAN is that of ANSI X9.24-1:2009 A.4.

    >>> from keys.sensitive import Pan
    >>> account_field(Pan("4012345678909")).hex()
    '0000401234567890'
    """
    return bytes.fromhex(pan.reveal()[-13:-1].rjust(2 * BLOCK_BYTES, "0"))


def encode_format_0(pin: Pin, account: bytes) -> bytes:
    """The clear PIN block of ISO 9564-1 format 0 (9.3.2): 0, length, PIN, F to 16 digits; XOR the account field. 8 bytes.

    Vector: ANSI X9.24-1:2009 A.4.

    >>> from keys.sensitive import Pan, Pin
    >>> encode_format_0(Pin("1234"), account_field(Pan("4012345678909"))).hex().upper()
    '041274EDCBA9876F'
    """
    digits = pin.reveal()
    return block_of(digits.encode("ascii"), len(digits), account)


def block_of(digits: bytes, length: int, account: bytes) -> bytes:
    """The same (ISO 9564-1 9.3.2) from ASCII digits of LENGTH 4 to 12, unchecked: what a right block must be, to compare with.

    ACCOUNT: of `account_field`. 8 bytes. Vector: of a payment HSM simulator.

    >>> block_of(b"1234", 4, bytes.fromhex("0000550000025321")).hex().upper()
    '041261FFFFFDACDE'
    """
    field = int(_HEADS[length] + digits + _FILLS[length], 16)
    return (field ^ int.from_bytes(account)).to_bytes(BLOCK_BYTES)


def decode_format_0(block: bytes, account: bytes) -> str | None:
    """The 4 to 12 PIN digits in a clear block of 8 bytes; None where it is not of format 0 (ISO 9564-1 9.3.2) and this account.

    Vector: ANSI X9.24-1:2009 A.4.

    >>> from keys.sensitive import Pan
    >>> decode_format_0(bytes.fromhex("041274EDCBA9876F"), account_field(Pan("4012345678909")))
    '1234'
    """
    return _digits(_unbound(block, account), b"0", b"F") if len(block) == BLOCK_BYTES else None


def decode_format_1(block: bytes) -> str | None:
    """The 4 to 12 PIN digits in a clear block of 8 bytes of format 1 (ISO 9564-1 9.3.3), or None.

    1, length, PIN, and to 16 digits whatever the terminal put there. Vector: openemv's tests.

    >>> decode_format_1(bytes.fromhex("1512345EDCBA9876"))
    '12345'
    """
    return _digits(b"%016X" % int.from_bytes(block), b"1", b"0123456789ABCDEF") if len(block) == BLOCK_BYTES else None


def encode_format_2(pin: Pin) -> bytes:
    """The clear PIN block of format 2 (ISO 9564-1 9.3.4): 2, length, PIN, F to 16 digits. 8 bytes.

    As a chip card compares or keeps it. Vector: a payShield manual.

    >>> from keys.sensitive import Pin
    >>> encode_format_2(Pin("34567")).hex().upper()
    '2534567FFFFFFFFF'
    """
    digits = pin.reveal()
    return bytes.fromhex(f"2{len(digits):X}{digits:F<14}")


def decode_format_2(block: bytes) -> str | None:
    """The 4 to 12 PIN digits in a clear block of 8 bytes; None where it is not of format 2 (ISO 9564-1 9.3.4).

    Vector: a payShield manual.

    >>> decode_format_2(bytes.fromhex("2534567FFFFFFFFF"))
    '34567'
    """
    return _digits(b"%016X" % int.from_bytes(block), b"2", b"F") if len(block) == BLOCK_BYTES else None


def encode_format_3(pin: Pin, account: bytes, random: bytes) -> bytes:
    """The clear PIN block of format 3 (ISO 9564-1 9.3.5): 3, length, PIN, random A to F to 16 digits; XOR the account field.

    8 bytes. RANDOM: 8 bytes, else KeyRefused. They give ten fill digits out of six, uneven by less than one part in 2**38.
    Vector: psec's documentation, of what is not random.

    >>> from keys.sensitive import Pan, Pin
    >>> encode_format_3(Pin("1234"), account_field(Pan("5544332211009966")), bytes(8)).hex().upper()[:6]
    '341277'
    """
    _check_random(random)
    digits, left, fill = pin.reveal(), int.from_bytes(random), ""
    for _ in range(14 - len(digits)):
        left, choice = divmod(left, 6)
        fill += "ABCDEF"[choice]
    field = int(f"3{len(digits):X}{digits}{fill}", 16)
    return (field ^ int.from_bytes(account)).to_bytes(BLOCK_BYTES)


def decode_format_3(block: bytes, account: bytes) -> str | None:
    """The 4 to 12 PIN digits in a clear block of 8 bytes; None where it is not of format 3 (ISO 9564-1 9.3.5) and this account.

    Where two account fields differ behind the PIN alone, only the fill can tell, and A to F may turn into A to F: the
    block of one card then reads with the other, as the same PIN. That is the standard's own weakness; formats 0 and 4 tell.
    Vector: psec's documentation.

    >>> from keys.sensitive import Pan
    >>> decode_format_3(bytes.fromhex("341277EEEFCCB43C"), account_field(Pan("5544332211009966")))
    '1234'
    """
    return _digits(_unbound(block, account), b"3", b"ABCDEF") if len(block) == BLOCK_BYTES else None


def encipher_format_4(encipher: Callable[[bytes], bytes], pin: Pin, pan: Pan, random: bytes) -> bytes:
    """The enciphered block of format 4 (ISO 9564-1 9.4.2): AES(AES(PIN field) XOR PAN field). 16 bytes. ENCIPHER: AES.

    PIN field: 4, length, PIN, A to 16 digits, then RANDOM (8 bytes, else KeyRefused). Vector: an external tool (CryptoCarver).

    >>> from keys import aes
    >>> from keys.sensitive import Pan, Pin
    >>> encipher = aes.encipherer(bytes.fromhex("00112233445566778899AABBCCDDEEFF"))
    >>> random = bytes.fromhex("146C6601F4A8035C")
    >>> encipher_format_4(encipher, Pin("1234"), Pan("432198765432109870"), random).hex().upper()
    '88E33C3ACF404F234F10F889C364E377'
    """
    _check_random(random)
    digits = pin.reveal()
    pin_field = bytes.fromhex(f"4{len(digits):X}{digits:A<14}") + random
    return encipher(_xor(encipher(pin_field), pan_field(pan)))


def decipher_format_4(decipher: Callable[[bytes], bytes], block: bytes, pan: Pan) -> str | None:
    """The 4 to 12 PIN digits in an enciphered block of 16 bytes; None where it is not of format 4, this PAN and key.

    ISO 9564-1 9.4.2. DECIPHER: AES. Vector: an external tool (CryptoCarver).

    >>> from keys import aes
    >>> from keys.sensitive import Pan
    >>> decipher = aes.decipherer(bytes.fromhex("00112233445566778899AABBCCDDEEFF"))
    >>> decipher_format_4(decipher, bytes.fromhex("88E33C3ACF404F234F10F889C364E377"), Pan("432198765432109870"))
    '1234'
    """
    if len(block) != aes.BLOCK:
        return None
    pin_field = decipher(_xor(decipher(block), pan_field(pan)))
    return _digits(b"%016X" % int.from_bytes(pin_field[:BLOCK_BYTES]), b"4", b"A")


def pan_field(pan: Pan) -> bytes:
    """The PAN field of format 4 (ISO 9564-1 9.4.2): the PAN's length less 12, the PAN, 0 to 32 digits. 16 bytes.

    A PAN of fewer than 12 digits has zeros before it, and the length of one of 12. Vector: CryptoCarver's; then by hand.

    >>> from keys.sensitive import Pan
    >>> pan_field(Pan("4111111111111111113")).hex()
    '74111111111111111113000000000000'
    >>> pan_field(Pan("60130112")).hex()
    '00000601301120000000000000000000'
    """
    digits = pan.reveal().rjust(12, "0")
    return bytes.fromhex(f"{len(digits) - 12}{digits}".ljust(2 * aes.BLOCK, "0"))


def _digits(field: bytes, control: bytes, fill: bytes) -> str | None:
    """The PIN of a field of 16 hex digits, upper case: CONTROL, length, PIN, then only digits out of FILL.

    Everything is looked at, whatever was wrong before it: no cause of failure is quicker than another.
    """
    length = _LENGTHS.get(field[1:2], 4)
    digits, rest = field[2 : 2 + length], field[2 + length :]
    right = (
        (field[:1] == control)
        & (field[1:2] in _LENGTHS)
        & digits.isdigit()
        & (rest.translate(None, delete=fill) == b"")
    )
    found = digits.decode("ascii")
    return found if right else None


def _unbound(block: bytes, account: bytes) -> bytes:
    """The field under the account field, as 16 hex digits."""
    return b"%016X" % (int.from_bytes(block) ^ int.from_bytes(account))


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(aes.BLOCK)


def _check_random(random: bytes) -> None:
    if len(random) != RANDOM_BYTES:
        raise KeyRefused(f"a PIN block of format 3 or 4 wants {RANDOM_BYTES} random bytes")


_HEADS = {length: b"0%X" % length for length in PIN_DIGITS}
_FILLS = {length: b"F" * (14 - length) for length in PIN_DIGITS}
_LENGTHS = {b"%X" % length: length for length in PIN_DIGITS}
