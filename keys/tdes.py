"""Triple DES as payment networks use it: key lengths, weak keys, parity, and ECB contexts that stay open.

Double keys become K1 K2 K1, single DES (only the half of a retail MAC) becomes K K K, so OpenSSL always sees 24 bytes. A context
is fed whole blocks only and never finalised: that is what makes it fast, and one odd byte would put it out of step for good.
NIST disallows triple DES for new uses (SP 800-131A); ISO 9564 format 0 and the networks still need it. Read next: kcv.py, mac.py.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from keys.errors import KeyRefused

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 8
SINGLE, DOUBLE, TRIPLE = 8, 16, 24


def encipherer(key: bytes) -> Callable[[bytes], bytes]:
    """A function that enciphers whole 8-byte blocks, ECB (NIST SP 800-67). KEY: 8 (as K K K), 16 or 24 bytes.

    Raises KeyRefused for other lengths. The vector is the check value that payment HSMs show for this key (ANSI X9.24-1).

    >>> encipherer(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))(bytes(8)).hex().upper()[:6]
    '08D7B4'
    """
    return Cipher(TripleDES(expand(key)), _ECB).encryptor().update


def decipherer(key: bytes) -> Callable[[bytes], bytes]:
    """A function that deciphers whole 8-byte blocks, ECB (NIST SP 800-67). KEY: 8 (as K K K), 16 or 24 bytes.

    Raises KeyRefused for other lengths. Vector: FIPS 81 table B1.

    >>> decipherer(bytes.fromhex("0123456789ABCDEF"))(bytes.fromhex("3FA40E8A984D4815"))
    b'Now is t'
    """
    return Cipher(TripleDES(expand(key)), _ECB).decryptor().update


def cbc(key: bytes) -> Cipher[modes.CBC]:
    """CBC (NIST SP 800-38A) with a zero initial vector, as MACs need it. KEY: 8 (as K K K), 16 or 24 bytes.

    Raises KeyRefused for other lengths. Vector: ISO/IEC 9797-1 annex B, whose blocks these are.

    >>> cbc(bytes.fromhex("0123456789ABCDEF")).encryptor().update(b"Now is the time for all ").hex().upper()
    '3FA40E8A984D48150B2E73F88DC5856A70A30640CC76DD8B'
    """
    return Cipher(TripleDES(expand(key)), _CBC_FROM_ZERO)


def expand(key: bytes) -> bytes:
    """KEY as 24 bytes: K1 K2 K1 of 16, K K K of 8 (ANSI X9.52, keying options 2 and 3).

    Raises KeyRefused for a length that no DES key has.

    >>> expand(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")).hex().upper()
    '0123456789ABCDEFFEDCBA98765432100123456789ABCDEF'
    """
    if len(key) == TRIPLE:
        return key
    if len(key) == DOUBLE:
        return key + key[:BLOCK]
    if len(key) == SINGLE:
        return key * 3
    raise KeyRefused("a triple DES key has 16 or 24 bytes")


def refuse_weak(key: bytes) -> None:
    """Raise KeyRefused for single DES, equal neighbouring parts, and parts that are weak or semi-weak, parity aside.

    NIST SP 800-67 rev. 2, 3.3.2, whose list of keys it is. KEY: 16 or 24 bytes.

    >>> refuse_weak(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))
    >>> refuse_weak(bytes.fromhex("0123456789ABCDEF01FE01FE01FE01FE"))
    Traceback (most recent call last):
    keys.errors.KeyRefused: a part of the triple DES key is a weak or semi-weak DES key
    """
    if len(key) not in (DOUBLE, TRIPLE):
        raise KeyRefused("a triple DES key has 16 or 24 bytes; single DES is not accepted")
    bare = bytes(byte & 0xFE for byte in key)
    parts = [bare[start : start + BLOCK] for start in range(0, len(bare), BLOCK)]
    if any(one == other for one, other in pairwise(parts)):
        raise KeyRefused("equal parts make a triple DES key as weak as single DES")
    if any(part in _WEAK for part in parts):
        raise KeyRefused("a part of the triple DES key is a weak or semi-weak DES key")


def odd_parity(key: bytes) -> bytes:
    """KEY with the lowest bit of each byte set so that its bits are odd in number (NIST SP 800-67). Any length.

    >>> odd_parity(bytes.fromhex("0022446688AACCEE")).hex().upper()
    '0123456789ABCDEF'
    """
    return bytes(byte & 0xFE | (byte >> 1).bit_count() & 1 ^ 1 for byte in key)


_ECB = modes.ECB()  # noqa: S305 - ISO 9564 format 0 and IBM 3624 are single ECB blocks
_CBC_FROM_ZERO = modes.CBC(bytes(BLOCK))
# The 4 weak and 12 semi-weak DES keys (NIST SP 800-67 rev. 2, 3.3.2), parity bits cleared.
_WEAK = frozenset(
    bytes(byte & 0xFE for byte in bytes.fromhex(weak))
    for weak in (
        "0101010101010101", "FEFEFEFEFEFEFEFE", "E0E0E0E0F1F1F1F1", "1F1F1F1F0E0E0E0E",
        "011F011F010E010E", "1F011F010E010E01", "01E001E001F101F1", "E001E001F101F101",
        "01FE01FE01FE01FE", "FE01FE01FE01FE01", "1FE01FE00EF10EF1", "E01FE01FF10EF10E",
        "1FFE1FFE0EFE0EFE", "FE1FFE1FFE0EFE0E", "E0FEE0FEF1FEF1FE", "FEE0FEE0FEF1FEF1",
    )
)  # fmt: skip
