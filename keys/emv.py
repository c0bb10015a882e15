"""EMV card keys, session keys, cryptograms and issuer scripts (EMV 4.3 book 2, annex A). Pure functions over bytes and digits.

Derivation data and keys stand apart: functions named ..._data say what is enciphered, and whoever holds the key enciphers it:
software by `issuer` and tdes.encipherer, a token by CKM_DES3_ECB_ENCRYPT_DATA (a double key asks it for data of A || B || A).
MACs take two callables for the same reason: see `mac_through`. Refuses to know tags and schemes. Read next: emv_profile.py.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from keys import mac, tdes
from keys.errors import CardDataRefused, KeyRefused

if TYPE_CHECKING:
    from collections.abc import Callable

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

_DIGITS = 16
_ONES = (1 << 64) - 1
_SEQUENCES = frozenset(f"{number:02d}" for number in range(100))
_LETTERS_TO_DIGITS = str.maketrans("abcdef", "012345")


def option_a_data(pan: Pan, psn: str = "00") -> bytes:
    """What the issuer master key enciphers into a card's master key, option A (EMV book 2 A1.4.1): Y || ~Y, 16 bytes.

    Y: the last 16 digits of PAN || PSN, with zeros on the left where there are fewer. PSN: the two digits of tag 5F34; 00 for
    a card without one. A longer PAN loses its first digits, so such cards use option B. Raises CardDataRefused.

    >>> from keys.sensitive import Pan
    >>> option_a_data(Pan("9901234567890123"), "45").hex().upper()
    '0123456789012345FEDCBA9876FEDCBA'
    """
    if psn not in _SEQUENCES:
        raise CardDataRefused("PAN sequence number: must be two digits")
    return _both((pan.reveal() + psn)[-_DIGITS:])


def option_b_data(pan: Pan, psn: str = "00") -> bytes:
    """The same by option B (EMV book 2 A1.4.2): option A up to 16 digits of PAN; for a longer one Y comes of a SHA-1 digest.

    Y: the first 16 decimal digits of SHA-1(PAN || PSN, an even number of digits); where there are fewer, A to F follow as
    0 to 5 in their order. 16 bytes. Raises CardDataRefused.

    >>> from keys.sensitive import Pan
    >>> derived_key(issuer(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")),
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


def issuer(key: bytes) -> Callable[[bytes], bytes]:
    """An issuer master key made ready: what it enciphers Y || ~Y with. KEY: 16 bytes, or 24 with K3 = K1 (parity aside).

    Raises KeyRefused for any other: EMV derives double length keys with a double length key.
    """
    return tdes.encipherer(_double(key))


def derived_key(encipher: Callable[[bytes], bytes], data: bytes) -> bytes:
    """A key of 16 bytes with odd parity, as cards and key blocks want it: DATA (16 bytes) enciphered under the key above it.

    With `option_a_data` it is the card's master key (and the card key of a dCVV), with `session_data` a session key.

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
    """The diversifier of EMV's common session key: ATC (tag 9F36, 2 bytes) || 00 * 6. Raises CardDataRefused."""
    _exactly(atc, ATC_BYTES, "tag 9F36")
    return atc + bytes(6)


def mchip_r(atc: bytes, unpredictable: bytes) -> bytes:
    """The diversifier of M/Chip: ATC (tag 9F36) || 0000 || unpredictable number (tag 9F37, 4 bytes). Raises CardDataRefused."""
    _exactly(atc, ATC_BYTES, "tag 9F36")
    _exactly(unpredictable, UNPREDICTABLE_BYTES, "tag 9F37")
    return atc + bytes(2) + unpredictable


def visa_script_data(atc: bytes) -> bytes:
    """What is XORed to a card's script master key for Visa's session key: 00 * 6 || ATC || 00 * 6 || ~ATC, 16 bytes.

    A token does it by CKM_XOR_BASE_AND_DATA. Raises CardDataRefused.
    """
    _exactly(atc, ATC_BYTES, "tag 9F36")
    return bytes(6) + atc + bytes(6) + bytes(byte ^ 0xFF for byte in atc)


def mac_ciphers(key: bytes) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """The two callables of `mac_through` for a software key of 16 bytes. Raises KeyRefused for another length."""
    if len(key) != tdes.DOUBLE:
        raise KeyRefused("a card's key has 16 bytes")
    half = tdes.cbc(key[: tdes.BLOCK])
    return lambda blocks: half.encryptor().update(blocks), tdes.encipherer(key)


def mac_through(
    chain: Callable[[bytes], bytes], whole: Callable[[bytes], bytes], data: bytes, padding: int = PADDING_80
) -> bytes:
    """An application cryptogram or script MAC (EMV book 2 A1.2.1: ISO/IEC 9797-1 algorithm 3) through two callables. 8 bytes.

    CHAIN: CBC over whole blocks with a zero initial vector under the first half of the key (as K1 K1 K1); asked once, and
    not at all for a single block. WHOLE: ECB under the key (K1 K2 K1); asked for one block. The code is that of mac.retail.

    >>> mac_through(*mac_ciphers(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")), b"Now is the time for all ", 1).hex().upper()
    'A1C72E74EA3FA9B6'
    """
    blocks = mac.pad(data, padding)
    last = blocks[-tdes.BLOCK :]
    if len(blocks) > tdes.BLOCK:
        # Algorithm 3 ends with E1(D2(E1(x))): that is triple DES of what single DES would have enciphered last.
        last = _xor(last, chain(blocks[: -tdes.BLOCK])[-tdes.BLOCK :])
    return whole(last)


def arpc_1(whole: Callable[[bytes], bytes], arqc: bytes, arc: bytes) -> bytes:
    """The issuer's answer, method 1 (EMV book 2 8.2.1): (ARQC xor (ARC || 00 * 6)) enciphered. 8 bytes.

    WHOLE: ECB under the key. ARQC: 8 bytes; ARC: the authorisation response code, 2 bytes. Raises CardDataRefused.
    """
    _exactly(arqc, AC_BYTES, "tag 9F26")
    _exactly(arc, ARC_BYTES, "authorisation response code")
    return whole(_xor(arqc, arc + bytes(6)))


def arpc_2(
    chain: Callable[[bytes], bytes],
    whole: Callable[[bytes], bytes],
    arqc: bytes,
    csu: bytes,
    proprietary: bytes = b"",
) -> bytes:
    """The issuer's answer, method 2 (EMV book 2 8.2.2): MAC over ARQC || CSU || proprietary data, its first 4 bytes.

    CHAIN and WHOLE: as for `mac_through`. CSU: the card status update, 4 bytes; PROPRIETARY: up to 8. Raises CardDataRefused.
    """
    _exactly(arqc, AC_BYTES, "tag 9F26")
    _exactly(csu, CSU_BYTES, "card status update")
    if len(proprietary) > PROPRIETARY_MOST:
        raise CardDataRefused(f"proprietary authentication data: must be at most {PROPRIETARY_MOST} bytes")
    return mac_through(chain, whole, arqc + csu + proprietary)[:ARPC_2_BYTES]


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
