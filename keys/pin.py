"""IBM 3624 PINs and offsets, decimalisation, and what a weak PIN is. Pure functions over bytes and digits.

Refuses to know keys: what is enciphered comes in enciphered. Read next: pinblock.py (how a PIN travels), pvv.py (the other way to
verify one), pin_commands.py (where these meet the keys).
"""

from __future__ import annotations

from binascii import hexlify
from typing import TYPE_CHECKING

from keys.errors import KeyRefused, PinRefusal, PinRefused

if TYPE_CHECKING:
    from datetime import date

POLICY_DIGITS = 6
DEFAULT_DECIMALISATION = "0123456789012345"

_DECIMALISATION_DIGITS = 16
_DECIMALISATION_MOST = 4
_DECIMALISATION_DIFFERENT = 8


def decimalisation_map(table: str) -> bytes:
    """IBM 3624's decimalisation TABLE (16 digits, one for each of 0 to F) as a map for bytes.translate over lower case hex.

    A table with fewer than 8 different digits, or one digit more than 4 times, helps to guess PINs: KeyRefused (payShield's
    rule). The vector is of `natural_pin`.

    >>> b"64da85".translate(decimalisation_map("0123456789012345"))
    b'643085'
    """
    if len(table) != _DECIMALISATION_DIGITS or not (table.isascii() and table.isdigit()):
        raise KeyRefused("a decimalisation table has 16 digits")
    if len(set(table)) < _DECIMALISATION_DIFFERENT or max(map(table.count, table)) > _DECIMALISATION_MOST:
        raise KeyRefused("a decimalisation table has 8 or more different digits, none of them more than 4 times")
    return bytes.maketrans(b"0123456789abcdef", table.encode("ascii"))


def natural_pin(enciphered: bytes, decimals: bytes, length: int) -> bytes:
    """IBM 3624's natural PIN (ASCII digits): the leftmost LENGTH hex digits of the enciphered validation data, decimalised.

    ENCIPHERED: 8 bytes. DECIMALS: of `decimalisation_map`. LENGTH: 4 to 16. Vector: an exercise of gae.ucm.es.

    >>> natural_pin(bytes.fromhex("64DA85B3795AE4E4"), decimalisation_map("0123456789012345"), 6)
    b'643085'
    """
    return hexlify(enciphered)[:length].translate(decimals)


def numerals(enciphered: bytes, count: int) -> str:
    """The first COUNT numerals of ENCIPHERED in hex; where it has fewer, then its letters as A 0 to F 5. For Visa's PVV and CVV.

    The second pass is rare (once in a few thousand blocks for four digits), and it is where implementations differ. By hand.

    >>> numerals(bytes.fromhex("0FAB9CDEFFACDDEE"), 5)
    '09501'
    """
    digits = hexlify(enciphered)
    both = digits.translate(None, delete=b"abcdef") + digits.translate(_LETTERS, delete=b"0123456789")
    return both[:count].decode("ascii")


def pin_of(natural: bytes, offset: str) -> bytes:
    """IBM 3624: the customer's PIN (ASCII digits), natural PIN plus offset, digit by digit without carry. Both of one length.

    Vector: the same exercise.

    >>> pin_of(b"643085", "456789")
    b'099764'
    """
    # One addition for all digits: no byte overflows, as '9' + '9' is 114.
    both = int.from_bytes(natural) + int.from_bytes(offset.encode("ascii"))
    return both.to_bytes(len(natural)).translate(_SUM_DIGIT)


def offset_of(natural: bytes, pin: str) -> str:
    """IBM 3624: the offset, PIN minus natural PIN, digit by digit without borrow. Both of one length.

    Vector: the same exercise.

    >>> offset_of(b"643085", "099764")
    '456789'
    """
    complement = natural.translate(_TENS_COMPLEMENT)
    both = int.from_bytes(complement) + int.from_bytes(pin.encode("ascii"))
    return both.to_bytes(len(natural)).translate(_SUM_DIGIT).decode("ascii")


def weakness(pin: str, birth_date: date | None = None, digits: int = POLICY_DIGITS) -> PinRefusal | None:
    """Why the bank does not let a family choose this PIN, or None. Six digits (BI SE 17/52/DKSP), and none that is guessed first.

    DIGITS: another length, for cards whose verification key has another.

    >>> weakness("123456")
    <PinRefusal.WEAK_SEQUENCE: 'WEAK_SEQUENCE'>
    >>> weakness("271828") is None
    True
    """
    if not (pin.isascii() and pin.isdigit()):
        return PinRefusal.NOT_DIGITS
    if len(pin) != digits:
        return PinRefusal.WRONG_LENGTH
    if any(pin == (pin[:group] * digits)[:digits] for group in (1, 2, 3)):
        return PinRefusal.WEAK_REPEATED
    if pin[::2] == pin[1::2]:
        return PinRefusal.WEAK_PAIRS
    if pin in _UP or pin in _DOWN:
        return PinRefusal.WEAK_SEQUENCE
    if birth_date is not None and pin in _birth_date_pins(birth_date):
        return PinRefusal.WEAK_BIRTH_DATE
    return None


def refuse_weak(pin: str, birth_date: date | None, digits: int = POLICY_DIGITS) -> None:
    """Raise PinRefused with its reason where `weakness` (BI SE 17/52/DKSP) finds one.

    >>> refuse_weak("123456", None)
    Traceback (most recent call last):
    keys.errors.PinRefused: the PIN is refused: WEAK_SEQUENCE
    """
    reason = weakness(pin, birth_date, digits)
    if reason is not None:
        raise PinRefused(reason)


def _birth_date_pins(birth_date: date) -> set[str]:
    day, month, year = f"{birth_date.day:02d}", f"{birth_date.month:02d}", f"{birth_date.year % 100:02d}"
    return {day + month + year, month + day + year, year + month + day}


_LETTERS = bytes.maketrans(b"abcdef", b"012345")
_UP = "0123456789" * 3
_DOWN = _UP[::-1]
# Sum of two ASCII digits (96 to 114) to the ASCII digit of their sum without its tens.
_SUM_DIGIT = bytes(48 + (value - 96) % 10 for value in range(256))
# ASCII digit d to ASCII '0' + 10 - d, so that adding it is subtracting d.
_TENS_COMPLEMENT = bytes(48 + (58 - value) % 256 if 48 <= value <= 57 else 0 for value in range(256))  # noqa: PLR2004 - ASCII
