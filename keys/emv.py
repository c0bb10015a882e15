"""EMV card keys, session keys, cryptograms and issuer scripts (EMV 4.3 book 2, annex A). Pure functions over bytes and digits.

Derivation data and keys stand apart: functions named ..._data say what is enciphered, and whoever holds the key enciphers it as a
`Deriver`: in software, or in a token by CKM_DES3_ECB_ENCRYPT_DATA (a double key asks it for data of A || B || A).
Refuses to know tags and schemes. Read next: emv_profile.py, emv_script.py, mac.py (retail_through makes the cryptograms).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from keys import mac, tdes
from keys.errors import CardDataRefused, KeyRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from keys.sensitive import Pan

PADDING_00, PADDING_80 = 1, 2
"""The two paddings of EMV, as keys.mac numbers them (ISO/IEC 9797-1 methods 1 and 2)."""

AC_BYTES = 8
ATC_BYTES = 2
UNPREDICTABLE_BYTES = 4
ARC_BYTES = 2
CSU_BYTES = 4
ARPC_2_BYTES = 4
PROPRIETARY_MOST = 8

_NO_KEY_DATA = "a key is derived from 16 bytes"
_DIGITS = 16
_ONES = (1 << 64) - 1
_SEQUENCES = frozenset(f"{number:02d}" for number in range(100))
_LETTERS_TO_DIGITS = str.maketrans("abcdef", "012345")


def option_a_data(pan: Pan, psn: str = "00") -> bytes:
    """What the issuer master key enciphers into a card's master key, option A (EMV book 2 A1.4.1): Y || ~Y, 16 bytes.

    Y: the last 16 digits of PAN || PSN, with zeros on the left where there are fewer. PSN: the two digits of tag 5F34; 00 for
    a card without one. A longer PAN loses its first digits, so such cards use option B. Raises CardDataRefused. Vector: an
    HSM's, by its check value of the card's key, 1DA5 (pyemv's tests).

    >>> from keys.sensitive import Pan
    >>> option_a_data(Pan("9901234567890123"), "45").hex().upper()
    '0123456789012345FEDCBA9876FEDCBA'
    >>> master = issuer(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))
    >>> master.derive(option_a_data(Pan("9901234567890123"), "45")).whole(bytes(8)).hex().upper()[:4]
    '1DA5'
    """
    if psn not in _SEQUENCES:
        raise CardDataRefused("PAN sequence number: must be two digits")
    return _both((pan.reveal() + psn)[-_DIGITS:])


def option_b_data(pan: Pan, psn: str = "00") -> bytes:
    """The same by option B (EMV book 2 A1.4.2): option A up to 16 digits of PAN; for a longer one Y comes of a SHA-1 digest.

    Y: the first 16 decimal digits of SHA-1(PAN || PSN, an even number of digits); where there are fewer, A to F follow as
    0 to 5 in their order. 16 bytes. Raises CardDataRefused. Vector: pyemv's documentation.

    >>> from keys.sensitive import Pan
    >>> derived_key(issuer(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")).whole,
    ...     option_b_data(Pan("12345678901234567"), "01")).hex().upper()
    'AD406D7F6D7570916D75E5DCAB8CF737'
    """
    digits = pan.reveal()
    if len(digits) <= _DIGITS:
        return option_a_data(pan, psn)
    if psn not in _SEQUENCES:
        raise CardDataRefused("PAN sequence number: must be two digits")
    packed = bytes.fromhex("0" * (len(digits) % 2) + digits + psn)
    # SHA-1 only spreads the digits here, as the standard says; the secret is the key that enciphers them.
    return _both(_decimalise(hashlib.sha1(packed, usedforsecurity=False).hexdigest()))


class Deriver(Protocol):
    """A double length key of the tree issuer, card, session (EMV book 2 A1.3, A1.4), wherever it is.

    Blocks are whole blocks of 8 bytes.
    """

    def derive(self, data: bytes) -> Deriver:
        """The key that is DATA (16 bytes of `option_a_data`, `option_b_data` or `session_data`) enciphered under this one."""
        ...

    def masked(self, mask: bytes) -> Deriver:
        """This key XOR MASK (16 bytes of `visa_script_data`). Raises KeyRefused where it cannot be done."""
        ...

    def whole(self, blocks: bytes, /) -> bytes:
        """Triple DES, ECB."""
        ...

    def half(self, blocks: bytes, /) -> bytes:
        """Single DES under the first half, ECB."""
        ...

    def chain(self, blocks: bytes, /) -> bytes:
        """Single DES under the first half, CBC from zero."""
        ...

    def whole_chain(self, blocks: bytes, /) -> bytes:
        """Triple DES, CBC from zero."""
        ...


class SoftwareDeriver:
    """A Deriver of bytes in this process (EMV book 2 A1.3, A1.4). No parity is set: DES does not look at it.

    KEY: 16 bytes, else KeyRefused: single DES would pass for a triple DES key that is all one part.
    Also a context manager, as a token's is: there is nothing to clean up.
    """

    __slots__ = ("_key", "whole")

    def __init__(self, key: bytes) -> None:
        if len(key) != tdes.DOUBLE:
            raise KeyRefused("a key of the tree issuer, card, session has 16 bytes")
        self._key = key
        self.whole = tdes.encipherer(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def derive(self, data: bytes) -> SoftwareDeriver:
        """DATA enciphered."""
        if len(data) != tdes.DOUBLE:  # an odd byte would put the context out of step for good
            raise KeyRefused(_NO_KEY_DATA)
        return SoftwareDeriver(self.whole(data))

    def masked(self, mask: bytes) -> SoftwareDeriver:
        """XOR."""
        if len(mask) != tdes.DOUBLE:
            raise KeyRefused(_NO_KEY_DATA)
        return SoftwareDeriver(bytes(one ^ other for one, other in zip(self._key, mask, strict=True)))

    def half(self, blocks: bytes) -> bytes:
        """Single DES, ECB: a new context for each call."""
        return tdes.encipherer(self._key[: tdes.BLOCK])(blocks)

    def chain(self, blocks: bytes) -> bytes:
        """Single DES, CBC: a new context for each chain."""
        return tdes.cbc(self._key[: tdes.BLOCK]).encryptor().update(blocks)

    def whole_chain(self, blocks: bytes) -> bytes:
        """Triple DES, CBC."""
        return tdes.cbc(self._key).encryptor().update(blocks)


def issuer(key: bytes) -> SoftwareDeriver:
    """An issuer master key made ready (EMV book 2 A1.4). KEY: 16 bytes, or 24 with K3 = K1 (parity aside).

    Raises KeyRefused for any other: EMV derives double length keys with a double length key. Vector: GlobalPlatform's
    key of 40 to 4F, of which 8BAF47 is the check value.

    >>> issuer(bytes.fromhex("404142434445464748494A4B4C4D4E4F4041424344454647")).whole(bytes(8)).hex().upper()[:6]
    '8BAF47'
    """
    return SoftwareDeriver(_double(key))


def derived_key(encipher: Callable[[bytes], bytes], data: bytes) -> bytes:
    """A key of 16 bytes with odd parity, as cards and key blocks want it: DATA enciphered under the key above it.

    DATA: 16 bytes. With `option_a_data` it is the card's master key (EMV book 2 A1.4; also the card key of a dCVV), with
    `session_data` a session key (A1.3). Vector: pyemv's documentation.

    >>> master = tdes.encipherer(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))
    >>> derived_key(master, session_data(bytes.fromhex("001C000000000000"))).hex().upper()
    'E9FB384AF807B940FEDCEA613461B0C4'
    """
    return tdes.odd_parity(encipher(data))


def session_data(r: bytes) -> bytes:
    """What a card's master key enciphers into a session key (EMV book 2 A1.3.1): R with F0, then R with 0F, in its third byte.

    R: 8 bytes, by `common_r` or `mchip_r`, or an application cryptogram. 16 bytes. Raises CardDataRefused.

    >>> session_data(bytes.fromhex("001C000000000000")).hex().upper()
    '001CF00000000000001C0F0000000000'
    """
    _exactly(r, AC_BYTES, "session key diversifier")
    return r[:2] + b"\xf0" + r[3:] + r[:2] + b"\x0f" + r[3:]


def common_r(atc: bytes) -> bytes:
    """The diversifier R of EMV's common session key (EMV book 2 A1.3.1): ATC (tag 9F36, 2 bytes) || 00 * 6. 8 bytes.

    Raises CardDataRefused. Vector: pyemv's documentation, whose session key comes of it (`session_data`, `derived_key`).

    >>> common_r(bytes.fromhex("001C")).hex().upper()
    '001C000000000000'
    """
    _exactly(atc, ATC_BYTES, "tag 9F36")
    return atc + bytes(6)


def mchip_r(atc: bytes, unpredictable: bytes) -> bytes:
    """The diversifier R of M/Chip's session key: ATC (tag 9F36, 2 bytes) || 0000 || unpredictable number (tag 9F37, 4).

    8 bytes, for `session_data` (EMV book 2 A1.3.1, with Mastercard's R). Raises CardDataRefused. Vector: jPOS (ARQC).

    >>> from keys.sensitive import Pan
    >>> card = issuer(bytes.fromhex("12345678" * 4)).derive(option_a_data(Pan("1234567890123456")))
    >>> session = card.derive(session_data(mchip_r(bytes.fromhex("3456"), bytes.fromhex("11111111"))))
    >>> data = "000000010000000000001000084000000010800840980704001111111158003456A08003242000"
    >>> code(session, bytes.fromhex(data)).hex().upper()
    'AC8074C9E62EE6EF'
    """
    _exactly(atc, ATC_BYTES, "tag 9F36")
    _exactly(unpredictable, UNPREDICTABLE_BYTES, "tag 9F37")
    return atc + bytes(2) + unpredictable


def visa_script_data(atc: bytes) -> bytes:
    """What is XORed to a card's script master key for Visa's session key (CVN 10 and 18): 00 * 6 || ATC || 00 * 6 || ~ATC.

    16 bytes; ATC: tag 9F36, 2 bytes. PKCS#11 has CKM_XOR_BASE_AND_DATA for it, which tokens tried here lack. Raises
    CardDataRefused. Vector: pyemv's documentation (the session key, with odd parity).

    >>> master = int.from_bytes(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))
    >>> mask = int.from_bytes(visa_script_data(bytes.fromhex("001C")))
    >>> tdes.odd_parity((master ^ mask).to_bytes(16)).hex().upper()
    '0123456789ABCDF2FEDCBA987654CDF2'
    """
    _exactly(atc, ATC_BYTES, "tag 9F36")
    return bytes(6) + atc + bytes(6) + bytes(byte ^ 0xFF for byte in atc)


def code(key: Deriver, data: bytes, padding: int = PADDING_80) -> bytes:
    """An application cryptogram or script MAC (EMV book 2 A1.2.1: ISO/IEC 9797-1 algorithm 3) under a session key. 8 bytes.

    DATA: any length, padded by PADDING 1 (00) or 2 (80). Vector: an HSM's (pyemv's tests).

    >>> from keys.sensitive import Pan
    >>> master = issuer(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))
    >>> card = master.derive(option_a_data(Pan("9901234567890123"), "45"))
    >>> session = card.derive(session_data(bytes.fromhex("1234567890123456")))
    >>> code(session, bytes.fromhex("0123456789ABCDEF0123456789ABCDEF")).hex().upper()
    '4B46013359B7A58B'
    """
    return mac.retail_through(key.chain, key.whole, data, padding)


def arpc_1(key: Deriver, arqc: bytes, arc: bytes) -> bytes:
    """The issuer's answer, method 1 (EMV book 2 8.2.1): (ARQC xor (ARC || 00 * 6)) enciphered. 8 bytes.

    ARQC: 8 bytes; ARC: the authorisation response code, 2 bytes. Raises CardDataRefused. Vector: jPOS.

    >>> from keys.sensitive import Pan
    >>> card = issuer(bytes.fromhex("12345678" * 4)).derive(option_a_data(Pan("1234567890123456")))
    >>> session = card.derive(session_data(common_r(bytes.fromhex("3456"))))
    >>> arpc_1(session, bytes.fromhex("55BE45DD2C9E0CBF"), bytes.fromhex("0012")).hex().upper()
    '01BAE8DE6A0DE9E0'
    """
    _exactly(arqc, AC_BYTES, "tag 9F26")
    _exactly(arc, ARC_BYTES, "authorisation response code")
    return key.whole(_xor(arqc, arc + bytes(6)))


def arpc_2(key: Deriver, arqc: bytes, csu: bytes, proprietary: bytes = b"") -> bytes:
    """The issuer's answer, method 2 (EMV book 2 8.2.2): MAC over ARQC || CSU || proprietary data, its first 4 bytes.

    CSU: the card status update, 4 bytes; PROPRIETARY: up to 8. Raises CardDataRefused. Vector: jPOS.

    >>> from keys.sensitive import Pan
    >>> card = issuer(bytes.fromhex("12345678" * 4)).derive(option_a_data(Pan("1234567890123456")))
    >>> session = card.derive(session_data(common_r(bytes.fromhex("3456"))))
    >>> arpc_2(session, bytes.fromhex("55BE45DD2C9E0CBF"), bytes.fromhex("00120000")).hex().upper()
    'B4C698B6'
    """
    _exactly(arqc, AC_BYTES, "tag 9F26")
    _exactly(csu, CSU_BYTES, "card status update")
    if len(proprietary) > PROPRIETARY_MOST:
        raise CardDataRefused(f"proprietary authentication data: must be at most {PROPRIETARY_MOST} bytes")
    return code(key, arqc + csu + proprietary)[:ARPC_2_BYTES]


def _double(key: bytes) -> bytes:
    """KEY as its 16 bytes."""
    if len(key) == tdes.TRIPLE and tdes.odd_parity(key[: tdes.BLOCK]) == tdes.odd_parity(key[tdes.DOUBLE :]):
        return key[: tdes.DOUBLE]
    if len(key) != tdes.DOUBLE:
        raise KeyRefused("an issuer master key has 16 bytes, or 24 of which the last 8 are the first 8 again")
    return key


def _decimalise(digest: str) -> str:
    """The first 16 decimal digits of DIGEST (lower case hex), filled up with its letters as digits."""
    digits = "".join(filter(str.isdigit, digest))
    letters = "".join(filter(str.isalpha, digest)).translate(_LETTERS_TO_DIGITS)
    return (digits + letters)[:_DIGITS]


def _both(digits: str) -> bytes:
    """Y || ~Y of up to 16 digits."""
    y = int(digits, 16)
    return (y << 64 | y ^ _ONES).to_bytes(2 * tdes.BLOCK)


def _xor(one: bytes, other: bytes) -> bytes:
    """Two blocks of 8 bytes."""
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(tdes.BLOCK)


def _exactly(value: bytes, length: int, name: str) -> None:
    if len(value) != length:
        raise CardDataRefused(f"{name}: must be {length} bytes")
