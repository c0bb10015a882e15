"""Triple DES DUKPT (ANSI X9.24-1:2009): the initial key of a device, the key of one transaction, and its working keys.

Nothing is kept between calls: any intermediate key worth keeping also makes keys of transactions to come. Refuses to know
whether a KSN was used before (ksn.KsnMemory does) and what is enciphered. New terminals get AES DUKPT.
Read next: ksn.py, dukpt_aes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keys import tdes
from keys.errors import KeyRefused
from keys.ksn import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keys.ksn import TdesKsn

MASK = bytes.fromhex("C0C0C0C000000000C0C0C0C000000000")
"""What a key is XORed with to make the left half of the key derived from it."""

_MASK = int.from_bytes(MASK)
_HALF_MASK = int.from_bytes(MASK[: tdes.SINGLE])

# X9.24-1:2009 table A-1: one byte of each half of the transaction key is inverted, another one for each use.
_PIN = 0x00000000000000FF_00000000000000FF
_MAC_REQUEST = 0x000000000000FF00_000000000000FF00
_MAC_RESPONSE = 0x00000000FF000000_00000000FF000000
_DATA_REQUEST = 0x0000000000FF0000_0000000000FF0000
_DATA_RESPONSE = 0x000000FF00000000_000000FF00000000


def masked(bdk: bytes) -> bytes:
    """BDK (16 bytes, else KeyRefused) XOR `MASK` (X9.24-1:2009 A.6): the second key a token must hold for `initial_key`.

    By hand; `initial_key` shows what comes of it.

    >>> masked(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")).hex().upper()
    'C1E385A789ABCDEF3E1C7A5876543210'
    """
    return _xor(bdk, _MASK)


def initial_key(encipher: Callable[[bytes], bytes], encipher_masked: Callable[[bytes], bytes], ksn: TdesKsn) -> bytes:
    """The initial key of a device (X9.24-1:2009 A.6). 16 bytes, parity as it falls. KSN: any of the device's.

    ENCIPHER: triple DES ECB under the base derivation key; ENCIPHER_MASKED: under that key as `masked` makes it.
    Raises KeyRefused where both are under one key. Vector: X9.24-1:2009 A.4.

    >>> from keys.ksn import TdesKsn
    >>> bdk = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    >>> ksn = TdesKsn.parse_initial("FFFF9876543210E00000")
    >>> initial_key(tdes.encipherer(bdk), tdes.encipherer(masked(bdk)), ksn).hex().upper()
    '6AC292FAA1315B4D858AB3A3D7D5933A'
    """
    name = ksn.initial_ksn[: tdes.BLOCK]
    left, right = encipher(name), encipher_masked(name)
    if left == right:
        raise KeyRefused("the halves of a DUKPT initial key came out equal: the base derivation key is not masked")
    return left + right


def transaction_key(initial: bytes, ksn: TdesKsn) -> bytes:
    """The key of the transaction of KSN (X9.24-1:2009 A.3), made from INITIAL, the device's initial key. 16 bytes both.

    It enciphers nothing itself: the working keys below are made from it. Raises KeyRefused for an initial key of another
    length, KsnRefused for counter zero. It costs two single DES for each one-bit of the counter: 2 to 20. Vector: A.4.

    >>> from keys.ksn import TdesKsn
    >>> initial = bytes.fromhex("6AC292FAA1315B4D858AB3A3D7D5933A")
    >>> transaction_key(initial, TdesKsn.parse("FFFF9876543210E00003")).hex().upper()
    '0DF3D9422ACA56E547676D07AD6BADFA'
    """
    ksn.refuse_initial()
    *_, key = walk(initial, ksn)
    return key


def walk(initial: bytes, ksn: TdesKsn) -> Iterator[bytes]:
    """The keys from INITIAL to the transaction key of KSN, that one last (X9.24-1:2009 A.2, non-reversible key generation).

    16 bytes each, one for each one-bit of the counter. Those before the last make keys of other transactions too, most of them
    still to come: keep none. Raises KeyRefused for an initial key of another length. Vector: A.4, transactions 2 and 3.

    >>> from keys.ksn import TdesKsn
    >>> initial = bytes.fromhex("6AC292FAA1315B4D858AB3A3D7D5933A")
    >>> [key.hex().upper()[:8] for key in walk(initial, TdesKsn.parse("FFFF9876543210E00003"))]
    ['C46551CE', '0DF3D942']
    """
    if len(initial) != tdes.DOUBLE:
        raise KeyRefused("a DUKPT initial key has 16 bytes")
    # The crypto register: the right 8 bytes of the KSN, of which only the counter's bits change.
    device = int.from_bytes(ksn.initial_ksn[-tdes.BLOCK :])
    left, right = int.from_bytes(initial[: tdes.SINGLE]), int.from_bytes(initial[tdes.SINGLE :])
    for counter in steps(ksn.counter):
        register = device | counter
        left, right = _one_way(left ^ _HALF_MASK, right ^ _HALF_MASK, register), _one_way(left, right, register)
        yield left.to_bytes(tdes.SINGLE) + right.to_bytes(tdes.SINGLE)


def pin_key(transaction: bytes) -> bytes:
    """The key of the PIN block, from the transaction key (X9.24-1:2009 A.4.1, table A-1). 16 bytes both, else KeyRefused.

    Vector: A.4.2, the PIN block of transaction 3.

    >>> from keys.pinblock import account_field, encode_format_0
    >>> from keys.sensitive import Pan, Pin
    >>> key = pin_key(bytes.fromhex("0DF3D9422ACA56E547676D07AD6BADFA"))
    >>> tdes.encipherer(key)(encode_format_0(Pin("1234"), account_field(Pan("4012345678909")))).hex().upper()
    '18DC07B94797B466'
    """
    return _xor(transaction, _PIN)


def mac_request_key(transaction: bytes) -> bytes:
    """The key of the MAC of a request, or of both ways (X9.24-1:2009 A.4.1, table A-1). 16 bytes both, else KeyRefused.

    Vector: A.4.2, the MAC of the request of transaction 3.

    >>> from keys import mac
    >>> key = mac_request_key(bytes.fromhex("0DF3D9422ACA56E547676D07AD6BADFA"))
    >>> mac.retail(key, 1)(b"4012345678909D987").hex().upper()[:8]
    '20B59A4F'
    """
    return _xor(transaction, _MAC_REQUEST)


def mac_response_key(transaction: bytes) -> bytes:
    """The key of the MAC of a response (X9.24-1:2009 A.4.1, table A-1). 16 bytes both, else KeyRefused.

    Vector: A.4.2, the MAC of the response of transaction 3.

    >>> from keys import mac
    >>> key = mac_response_key(bytes.fromhex("0DF3D9422ACA56E547676D07AD6BADFA"))
    >>> mac.retail(key, 1)(b"4012345678909D987").hex().upper()[:8]
    'BAD4CC9C'
    """
    return _xor(transaction, _MAC_RESPONSE)


def data_request_key(transaction: bytes) -> bytes:
    """The key of the data of a request, or of both ways (X9.24-1:2009 A.4.1, table A-1). 16 bytes both, else KeyRefused.

    The variant enciphers its own halves: whoever finds this key, which may leave the secure device, still does not know the
    transaction key and with it the PIN key. Vector: A.4.2, the data of the request of transaction 3.

    >>> from keys import mac
    >>> key = data_request_key(bytes.fromhex("0DF3D9422ACA56E547676D07AD6BADFA"))
    >>> tdes.cbc(key).encryptor().update(mac.pad(b"4012345678909D987", 1)).hex().upper()
    'BD751E65F10E75B6C1D5B1D283496A36C2DE21D993C387A7'
    """
    return _enciphered(_xor(transaction, _DATA_REQUEST))


def data_response_key(transaction: bytes) -> bytes:
    """The key of the data of a response (X9.24-1:2009 A.4.1, table A-1), made as that of a request. 16 bytes, else KeyRefused."""
    return _enciphered(_xor(transaction, _DATA_RESPONSE))


def _one_way(left: int, right: int, register: int) -> int:
    """Half a key: REGISTER XOR the RIGHT half of a key, single DES under its LEFT half, XOR the right half again."""
    encipher = tdes.encipherer(left.to_bytes(tdes.SINGLE))
    return int.from_bytes(encipher((register ^ right).to_bytes(tdes.BLOCK))) ^ right


def _xor(key: bytes, mask: int) -> bytes:
    if len(key) != tdes.DOUBLE:
        raise KeyRefused("a key of triple DES DUKPT has 16 bytes")
    return (int.from_bytes(key) ^ mask).to_bytes(tdes.DOUBLE)


def _enciphered(variant: bytes) -> bytes:
    return tdes.encipherer(variant)(variant)
