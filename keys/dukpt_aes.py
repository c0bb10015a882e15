"""AES DUKPT (ANSI X9.24-3:2017): the initial key of a device, the key of one transaction, and its working keys.

Nothing is kept between calls: any intermediate key worth keeping also makes keys of transactions to come. Refuses to know
whether a KSN was used before (ksn.KsnMemory does) and what is enciphered. Read next: ksn.py, dukpt_tdes.py.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from keys import aes
from keys.errors import KeyRefused, KsnRefused
from keys.ksn import INITIAL_KEY_ID_BYTES, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from keys.ksn import AesKsn

VERSION = 0x01


class Use(IntEnum):
    """What a working key is for, from the side that has it: the key usage indicator of X9.24-3:2017 6.3.2, 2 bytes."""

    KEY_ENCRYPTION = 0x0002
    PIN_ENCRYPTION = 0x1000
    MAC_GENERATION = 0x2000
    MAC_VERIFICATION = 0x2001
    MAC_BOTH_WAYS = 0x2002
    DATA_ENCRYPTION = 0x3000
    DATA_DECRYPTION = 0x3001
    DATA_BOTH_WAYS = 0x3002


class KeyType(Enum):
    """What a working key is a key of (X9.24-3:2017 6.2.1): algorithm indicator (2 bytes), length and strength in bits.

    Strength as NIST SP 800-57 part 1, 5.6.1 counts it.
    """

    TDES_2 = (0x0000, 128, 80)
    TDES_3 = (0x0001, 192, 112)
    AES_128 = (0x0002, 128, 128)
    AES_192 = (0x0003, 192, 192)
    AES_256 = (0x0004, 256, 256)
    HMAC_128 = (0x0005, 128, 128)
    HMAC_192 = (0x0005, 192, 192)
    HMAC_256 = (0x0005, 256, 256)

    def __init__(self, algorithm: int, bits: int, strength: int) -> None:
        self.algorithm = algorithm
        self.bits = bits
        self.strength = strength


WORKING_KEYS: Mapping[str, KeyType] = MappingProxyType(
    {
        "AES-128": KeyType.AES_128,
        "AES-192": KeyType.AES_192,
        "AES-256": KeyType.AES_256,
        "TDES-112": KeyType.TDES_2,
        "TDES-168": KeyType.TDES_3,
    }
)
"""Types of the keys for PINs and MACs, by the names that base keys say (keytypes.KeyAttributes): cipher, bits less parity."""

_DERIVATION, _INITIAL_DERIVATION = 0x8000, 0x8001
_MAC_USES = frozenset({Use.MAC_GENERATION, Use.MAC_VERIFICATION, Use.MAC_BOTH_WAYS})
_HMAC_TYPES = frozenset({KeyType.HMAC_128, KeyType.HMAC_192, KeyType.HMAC_256})
_AES_TYPES = {kind.bits: kind for kind in (KeyType.AES_128, KeyType.AES_192, KeyType.AES_256)}


def initial_key(encipher: Callable[[bytes], bytes], initial_key_id: bytes, bits: int) -> bytes:
    """The initial key of a device (X9.24-3:2017 6.3.1). BITS 128, 192 or 256, the length of the base derivation key.

    ENCIPHER: AES ECB under the base derivation key. INITIAL_KEY_ID: 8 bytes. Raises KsnRefused for an id of another length,
    KeyRefused for other bits. Vector: X9.24-3:2017 supplement.

    >>> bdk = bytes.fromhex("FEDCBA9876543210F1F1F1F1F1F1F1F1")
    >>> initial_key(aes.encipherer(bdk), bytes.fromhex("1234567890123456"), 128).hex().upper()
    '1273671EA26AC29AFA4D1084127652A1'
    """
    if len(initial_key_id) != INITIAL_KEY_ID_BYTES:
        raise KsnRefused("an initial key id of AES DUKPT has 8 bytes")
    return _derive(encipher, _INITIAL_DERIVATION, _aes_type(bits), initial_key_id)


def transaction_key(initial: bytes, ksn: AesKsn) -> bytes:
    """The derivation key of the transaction of KSN (X9.24-3:2017 6.3.1), made from INITIAL, of its length.

    It enciphers nothing itself: `working_key` makes what does. Raises KeyRefused for an initial key of another length,
    KsnRefused for counter zero. It costs one or two AES blocks, and a key schedule, for each one-bit of the counter.
    Vector: X9.24-3:2017 supplement.

    >>> from keys.ksn import AesKsn
    >>> initial = bytes.fromhex("1273671EA26AC29AFA4D1084127652A1")
    >>> transaction_key(initial, AesKsn.parse("123456789012345600000003")).hex().upper()
    '031504E530365CF81264238540518318'
    """
    ksn.refuse_initial()
    *_, key = walk(initial, ksn)
    return key


def walk(initial: bytes, ksn: AesKsn) -> Iterator[bytes]:
    """The keys from INITIAL to the transaction key of KSN, that one last (X9.24-3:2017 6.3.1), all of INITIAL's length.

    One for each one-bit of the counter. Those before the last make keys of other transactions too, most of them still to come:
    keep none. Raises KeyRefused for an initial key of another length. Vector: X9.24-3:2017 supplement, transactions 2 and 3.

    >>> from keys.ksn import AesKsn
    >>> initial = bytes.fromhex("1273671EA26AC29AFA4D1084127652A1")
    >>> [key.hex().upper()[:8] for key in walk(initial, AesKsn.parse("123456789012345600000003"))]
    ['2F34D68D', '031504E5']
    """
    kind = _aes_type(8 * len(initial))
    key = initial
    for counter in steps(ksn.counter):
        key = _derive(aes.encipherer(key), _DERIVATION, kind, _context(ksn, counter))
        yield key


def working_key(transaction: bytes, ksn: AesKsn, use: Use, kind: KeyType) -> bytes:
    """The key of KIND for USE in the transaction of KSN (X9.24-3:2017 6.3.1). 16 to 32 bytes, parity as it falls.

    TRANSACTION: what `transaction_key` gave for the same KSN. USE is the device's: the bank checks with the key that the
    device generates with. Raises KeyRefused where KIND is stronger than the transaction key, and so than the initial key
    (a key is never derived from a weaker one), or an HMAC key would do other than MACs; KsnRefused for counter zero.
    Vectors: X9.24-3:2017 supplement, keys of each use.

    >>> from keys.ksn import AesKsn
    >>> ksn = AesKsn.parse("123456789012345600000003")
    >>> transaction = bytes.fromhex("031504E530365CF81264238540518318")
    >>> working_key(transaction, ksn, Use.PIN_ENCRYPTION, KeyType.AES_128).hex().upper()
    '7D69F01F3B45449F62C7816ECE723268'
    >>> working_key(transaction, ksn, Use.MAC_GENERATION, KeyType.AES_128).hex().upper()
    'A5DF7D9D800CA769766F0C77CA4E6E6C'
    >>> working_key(transaction, ksn, Use.DATA_ENCRYPTION, KeyType.AES_128).hex().upper()
    'EF17F6AB45B4820C93A3DCB21BC491AD'
    """
    ksn.refuse_initial()
    if kind.strength > _aes_type(8 * len(transaction)).strength:
        raise KeyRefused("a working key of AES DUKPT is not stronger than the initial key")
    if kind in _HMAC_TYPES and use not in _MAC_USES:
        raise KeyRefused("an HMAC key of AES DUKPT is for MACs alone")
    return _derive(aes.encipherer(transaction), use, kind, _context(ksn, ksn.counter))


def _aes_type(bits: int) -> KeyType:
    kind = _AES_TYPES.get(bits)
    if kind is None:
        raise KeyRefused("a derivation key of AES DUKPT has 128, 192 or 256 bits")
    return kind


def _context(ksn: AesKsn, counter: int) -> bytes:
    """Bytes 8 to 15 of the derivation data of every key but the initial one: derivation id and counter, 4 bytes each."""
    return ksn.initial_key_id[4:] + counter.to_bytes(4)


def _derive(encipher: Callable[[bytes], bytes], usage: int, kind: KeyType, context: bytes) -> bytes:
    """A key of KIND (X9.24-3:2017 6.3.2): as many derivation data blocks as it needs, enciphered, the first bits of them.

    A block has the version 01, the number of the block from 01 (1 byte each), key usage, algorithm, length in bits (2 bytes
    each), and the context (8 bytes).
    """
    tail = usage.to_bytes(2) + kind.algorithm.to_bytes(2) + kind.bits.to_bytes(2) + context
    length = kind.bits // 8
    blocks = -(-length // aes.BLOCK)
    return encipher(b"".join(bytes((VERSION, block)) + tail for block in range(1, blocks + 1)))[:length]
