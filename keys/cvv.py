"""Card verification values (CVV, CVC): of the stripe (1), of the print (2), of the chip (iCVV), of each tap (dCVV).

One computation of Visa's (Mastercard's CVC is the same) over PAN, expiry date and service code; the kinds differ only in what
stands in those fields, which is what keeps a value read at one place from being used at another. Refuses to know keys, and
which card is whose.
Read next: pin.py (numerals), card_commands.py (who calls).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from keys import tdes
from keys.errors import CardDataRefused
from keys.pin import numerals

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.sensitive import Pan

VALUE_DIGITS = range(3, 6)
DATA_BYTES = 16
CVV2_SERVICE_CODE = "000"
ICVV_SERVICE_CODE = "999"

_ACCOUNT_DIGITS = range(12, 20)
_FOUR = range(4, 5)
_THREE = range(3, 4)
_MONTHS = {f"{month:02d}" for month in range(1, 13)}


class CardValue(StrEnum):
    """Where a card verification value (Visa CVV) stands, and so what it is computed over."""

    CVV1 = "CVV1"
    """Tracks 1 and 2 of the stripe; the service code is the card's."""

    CVV2 = "CVV2"
    """Printed on the card; service code 000."""

    ICVV = "ICVV"
    """Track 2 as the chip tells it; service code 999, so that a stripe cannot be made of what a chip said."""

    DCVV = "DCVV"
    """Made anew by a chip for each tap: its transaction counter in place of the first four PAN digits, and a key of the card."""


class ExpiryOrder(StrEnum):
    """How an expiry date enters the computation. Tracks have YYMM (ISO/IEC 7813); for CVV2 the schemes and issuers differ."""

    YYMM = "YYMM"
    MMYY = "MMYY"


def maker(
    encipher_left: Callable[[bytes], bytes], encipher: Callable[[bytes], bytes], digits: int = 3
) -> Callable[[bytes], str]:
    """A function that makes Visa's CVV of 16 bytes from `card_data` or `data_of`: DIGITS 3 to 5, else CardDataRefused.

    ENCIPHER_LEFT: single DES under the left half of the CVK (a token has it as K1 K1 K1); ENCIPHER: triple DES under the CVK.
    The first block goes through single DES, the second is added, and E D E of that is triple DES. Vector: CryptoCarver's.

    >>> from keys import tdes
    >>> from keys.sensitive import Pan
    >>> key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    >>> make = maker(tdes.encipherer(key[:8]), tdes.encipherer(key))
    >>> make(card_data(CardValue.CVV1, Pan("4111111111111111"), "2512", "201"))
    '139'
    """
    if digits not in VALUE_DIGITS:
        raise CardDataRefused("a card verification value has 3 to 5 digits")

    def make(data: bytes) -> str:
        if len(data) != DATA_BYTES:
            raise CardDataRefused("a card verification value is made over 16 bytes")
        first, second = encipher_left(data[: tdes.BLOCK]), data[tdes.BLOCK :]
        both = int.from_bytes(first) ^ int.from_bytes(second)
        return numerals(encipher(both.to_bytes(tdes.BLOCK)), digits)

    return make


def card_data(
    kind: CardValue, pan: Pan, expiry: str, service_code: str | None = None, counter: str | None = None
) -> bytes:
    """What a Visa CVV of KIND is made over, 16 bytes. Raises CardDataRefused.

    EXPIRY: four digits in the order of the scheme, see `ordered_expiry`. SERVICE_CODE: the card's, for CVV1 and DCVV alone; there
    000 and 999 are refused, as they would make the value of another kind. COUNTER: for DCVV alone, the application
    transaction counter as the track tells it, four digits. Layout by hand; the value of it, 970, is an external tool's
    (CryptoCarver): the card's key is made by EMV option A.

    >>> from keys.sensitive import Pan
    >>> data = card_data(CardValue.DCVV, Pan("4111111111111111"), "1225", "101", "0010")
    >>> data.hex()
    '00101111111111111225101000000000'
    >>> from keys import emv
    >>> card = emv.issuer(bytes.fromhex("0123456789ABCDEF" * 2)).derive(emv.option_a_data(Pan("4111111111111111")))
    >>> maker(card.half, card.whole)(data)
    '970'
    """
    fixed = _FIXED.get(kind)
    if (fixed is None) is (service_code is None) or service_code in _FIXED.values():
        raise CardDataRefused("a service code of the card, not 000 or 999, is for CVV1 and dCVV alone")
    if (counter is None) is (kind is CardValue.DCVV):
        raise CardDataRefused("a transaction counter is for dCVV alone")
    account = pan.reveal()
    if counter is not None:
        account = _checked(counter, _FOUR, "a transaction counter has 4 digits") + account[4:]
    return data_of(account, expiry, fixed or service_code or "")


def data_of(account: str, expiry: str, service_code: str) -> bytes:
    """The same (Visa's CVV) from the fields as they are: ACCOUNT (12 to 19 digits), EXPIRY (4), SERVICE_CODE (3), 0 to 32.

    A month is not looked for: a published vector has none, and only the scheme's order says where it would be. 16 bytes. Raises
    CardDataRefused. Vector: psec's tests, whose month is 33.

    >>> from keys import tdes
    >>> key = bytes.fromhex("9999999999999999" "8888888888888888")
    >>> maker(tdes.encipherer(key[:8]), tdes.encipherer(key))(data_of("2222222222222222", "3333", "111"))
    '361'
    """
    fields = (
        _checked(account, _ACCOUNT_DIGITS, "an account number has 12 to 19 digits")
        + _checked(expiry, _FOUR, "an expiry date has 4 digits")
        + _checked(service_code, _THREE, "a service code has 3 digits")
    )
    return bytes.fromhex(fields.ljust(2 * DATA_BYTES, "0"))


def ordered_expiry(yymm: str, order: ExpiryOrder) -> str:
    """An expiry date of a track (YYMM, ISO/IEC 7813) in the order of a scheme, four digits.

    Raises CardDataRefused where its month is not 01 to 12.

    >>> ordered_expiry("2512", ExpiryOrder.MMYY)
    '1225'
    """
    year, month = _checked(yymm, _FOUR, "an expiry date has 4 digits")[:2], yymm[2:]
    if month not in _MONTHS:
        raise CardDataRefused("the month of an expiry date is 01 to 12")
    return year + month if order is ExpiryOrder.YYMM else month + year


_FIXED = {CardValue.CVV2: CVV2_SERVICE_CODE, CardValue.ICVV: ICVV_SERVICE_CODE}


def _checked(text: str, lengths: range, what: str) -> str:
    if not (len(text) in lengths and text.isascii() and text.isdigit()):
        raise CardDataRefused(what)
    return text
