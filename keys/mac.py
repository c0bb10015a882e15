"""Message authentication codes: ISO/IEC 9797-1 algorithms 1 and 3, CMAC, HMAC. Each is made ready once for its key, then called.

Refuses to know which key may do what. Read next: permissions.py (who may), software.py and token_workshop.py (who calls).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hmac import HMAC

from keys import tdes
from keys.errors import KeyRefused

if TYPE_CHECKING:
    from collections.abc import Callable

PADDINGS = (1, 2, 3)


def cbc_mac(key: bytes, padding: int) -> Callable[[bytes], bytes]:
    """ISO/IEC 9797-1 MAC algorithm 1: CBC, the last block. 8 bytes. KEY: 8 (only to check a vector), 16 or 24 bytes.

    PADDING as for `retail`. Raises KeyRefused for another padding or length of key. It is safe only where all messages of a
    key have one length, so new links use CMAC. Vector: ISO/IEC 9797-1 annex B.2.

    >>> cbc_mac(bytes.fromhex("0123456789ABCDEF"), 1)(b"Now is the time for all ").hex().upper()
    '70A30640CC76DD8B'
    """
    if padding not in PADDINGS:
        raise KeyRefused("a MAC wants padding 1, 2 or 3")
    chain = tdes.cbc(key)
    return lambda data: chain.encryptor().update(pad(data, padding))[-tdes.BLOCK :]


def retail(key: bytes, padding: int) -> Callable[[bytes], bytes]:
    """ISO/IEC 9797-1 MAC algorithm 3 (ANSI X9.19): DES CBC under K1, the last block through D(K2) and E(K1). 8 bytes.

    KEY: 16 bytes. PADDING: a method of `pad`. Raises KeyRefused for another padding or length of key. Vector: annex B.4.

    >>> make = retail(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"), 1)
    >>> make(b"Now is the time for all ").hex().upper()
    'A1C72E74EA3FA9B6'
    """
    if len(key) != tdes.DOUBLE or padding not in PADDINGS:
        raise KeyRefused("a retail MAC wants a key of 16 bytes and padding 1, 2 or 3")
    half, whole = tdes.cbc(key[: tdes.BLOCK]), tdes.encipherer(key)
    return lambda data: retail_through(lambda blocks: half.encryptor().update(blocks), whole, data, padding)


def retail_through(
    chain: Callable[[bytes], bytes], whole: Callable[[bytes], bytes], data: bytes, padding: int
) -> bytes:
    """`retail` (ISO/IEC 9797-1 algorithm 3) of a key that is known by two callables alone, as one in a token is. 8 bytes.

    CHAIN: CBC over whole blocks with a zero initial vector under the first half of the key (as K1 K1 K1); asked once, and
    not at all for a single block. WHOLE: ECB under the key (K1 K2 K1); asked for one block. Vector: annex B.4.

    >>> key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    >>> chain, whole = tdes.cbc(key[:8]).encryptor().update, tdes.encipherer(key)
    >>> retail_through(chain, whole, b"Now is the time for all ", 1).hex().upper()
    'A1C72E74EA3FA9B6'
    """
    blocks = pad(data, padding)
    last = blocks[-tdes.BLOCK :]
    if len(blocks) > tdes.BLOCK:
        # Algorithm 3 ends with E1(D2(E1(x))): that is triple DES of what single DES would have enciphered last.
        before = chain(blocks[: -tdes.BLOCK])[-tdes.BLOCK :]
        last = (int.from_bytes(last) ^ int.from_bytes(before)).to_bytes(tdes.BLOCK)
    return whole(last)


def aes_cmac(key: bytes) -> Callable[[bytes], bytes]:
    """AES-CMAC (NIST SP 800-38B). KEY: 16, 24 or 32 bytes. 16 bytes. Vector: SP 800-38B D.1.

    >>> aes_cmac(bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"))(b"").hex().upper()
    'BB1D6929E95937287FA37D129B756746'
    """
    return _copying(CMAC(algorithms.AES(key)))


def tdes_cmac(key: bytes) -> Callable[[bytes], bytes]:
    """Triple DES CMAC (NIST SP 800-38B). KEY: 16 or 24 bytes. 8 bytes. Vector: SP 800-38B D.4.

    >>> tdes_cmac(bytes.fromhex("8AA83BF8CBDA10620BC1BF19FBB6CD58BC313D4A371CA8B5"))(b"").hex().upper()
    'B7A688E122FFAF95'
    """
    return _copying(CMAC(TripleDES(tdes.expand(key))))


def hmac_sha256(key: bytes) -> Callable[[bytes], bytes]:
    r"""HMAC-SHA256 (FIPS 198-1). 32 bytes. Vector: RFC 4231, test case 1.

    >>> hmac_sha256(b"\x0b" * 20)(b"Hi There").hex()[:16]
    'b0344c61d8db3853'
    """
    return _copying(HMAC(key, hashes.SHA256()))


def hmac_sha512(key: bytes) -> Callable[[bytes], bytes]:
    r"""HMAC-SHA512 (FIPS 198-1), the symmetric signature of SNAP. 64 bytes. Vector: RFC 4231, test case 1.

    >>> hmac_sha512(b"\x0b" * 20)(b"Hi There").hex()[:16]
    '87aa7cdea5ef619d'
    """
    return _copying(HMAC(key, hashes.SHA512()))


def same(one: bytes, other: bytes) -> bool:
    """Whether two codes are equal, in a time that does not tell where they differ. Codes of other lengths are not."""
    return hmac.compare_digest(one, other)


def _copying(ready: CMAC | HMAC) -> Callable[[bytes], bytes]:
    """A function that feeds a copy of READY: the key is expanded once."""

    def make(data: bytes) -> bytes:
        context = ready.copy()
        context.update(data)
        return context.finalize()

    return make


def pad(data: bytes, padding: int) -> bytes:
    r"""DATA to whole 8-byte blocks by method 1, 2 or 3 of ISO/IEC 9797-1 (6.3), whose annex B has this text.

    1: zeros to a positive multiple of the block, so that no DATA is one block of them; 2: a byte 80, then zeros; 3: a block with
    the length of DATA in bits, then what method 1 makes.

    >>> [pad(b"Now is the time for it", padding)[-8:] for padding in (1, 2)]
    [b'for it\x00\x00', b'for it\x80\x00']
    >>> pad(b"Now is the time for it", 3)[:8].hex()
    '00000000000000b0'
    """
    head = (8 * len(data)).to_bytes(tdes.BLOCK) if padding == PADDINGS[2] else b""
    filled = data + b"\x80" if padding == PADDINGS[1] else data or bytes(1)
    return head + filled + bytes(-len(filled) % tdes.BLOCK)
