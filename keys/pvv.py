"""The Visa PIN verification value (PVV): four digits kept with a card, to verify its PIN with. For cards that came with one.

A PVV covers only the first four digits of a PIN. Of 1,000,000 six-digit PINs at least 100 therefore pass, and about 200
on average, as other beginnings meet the same PVV; an IBM 3624 offset of six digits lets one pass. So the bank's own cards
use IBM 3624 (pin.py), and a PVV is for interoperability. Refuses to know keys: what is enciphered comes in enciphered.
Read next: pin.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keys.errors import KeyRefused, PinRefusal, PinRefused
from keys.pin import numerals

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.sensitive import Pan

PVV_DIGITS = 4
PVKI = range(7)
"""PIN verification key indexes: 1 to 6 name the key of a card; 0 says that none is named, and HSMs compute with it too."""

_COVERED = 4


def pvv(encipher: Callable[[bytes], bytes], pan: Pan, pvki: int, pin: str) -> str:
    """The PVV, four digits (Visa's PIN verification value method). ENCIPHER: triple DES under the PVK pair.

    Raises as `security_parameter` does. Vector: of a payment HSM simulator.

    >>> from keys import tdes
    >>> from keys.sensitive import Pan
    >>> encipher = tdes.encipherer(bytes.fromhex("C8199237EA5857BC40EF9DA2B5E96BBF"))
    >>> pvv(encipher, Pan("4005500000253210"), 1, "1234")
    '4402'
    """
    return of_enciphered(encipher(security_parameter(pan, pvki, pin)))


def security_parameter(pan: Pan, pvki: int, pin: str) -> bytes:
    """Visa's transformed security parameter: 11 PAN digits before the check digit, PVKI, first four of the PIN.

    Of a PAN that has fewer, zeros before them. 8 bytes, to encipher; many may be enciphered in one call. PVKI is 0 to 6, else
    KeyRefused: it is fixed with the key. PIN has four digits or more, else PinRefused; whatever follows the fourth does not
    count. By hand, of CryptoCarver's card.

    >>> from keys.sensitive import Pan
    >>> security_parameter(Pan("4111111111111111"), 1, "1234").hex()
    '1111111111111234'
    """
    if pvki not in PVKI:
        raise KeyRefused("a PIN verification key index is 0 to 6")
    if not (pin.isascii() and pin.isdigit()):
        raise PinRefused(PinRefusal.NOT_DIGITS)
    if len(pin) < _COVERED:
        raise PinRefused(PinRefusal.WRONG_LENGTH)
    return bytes.fromhex(f"{pan.reveal()[-12:-1]:0>11}{pvki}{pin[:_COVERED]}")


def of_enciphered(enciphered: bytes) -> str:
    """Visa's PVV from the enciphered security parameter: its first four numerals in hex, then its letters as A 0 to F 5.

    ENCIPHERED: 8 bytes. Vector: what `pvv` enciphers.

    >>> of_enciphered(bytes.fromhex("CBDEB44C0223894C"))
    '4402'
    """
    return numerals(enciphered, PVV_DIGITS)
