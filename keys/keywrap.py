"""AES key wrap: AES-KW (RFC 3394) and AES-KWP (RFC 5649), as NIST SP 800-38F has them. What an HSM calls CKM_AES_KEY_WRAP.

Refuses to know what the wrapped key is for: nothing here binds its usage, so who unwraps must have that from a place he can
trust. A key block (tr31.py) carries its usage with it. Read next: tr31.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import keywrap

from keys import aes
from keys.errors import KeyBlockError

if TYPE_CHECKING:
    from collections.abc import Callable

UNIT = 8
"""Bytes; what a key wrapped without padding is a multiple of."""

_KEY_LEAST, _WRAPPED_LEAST = 16, 24


def wrap(kek: bytes, key: bytes) -> bytes:
    """KEY under KEK by AES-KW (RFC 3394, 2.2.1). KEK: 16, 24 or 32 bytes; KEY: 16 or more, whole units of 8. 8 bytes longer.

    Raises KeyBlockError for other lengths. Vector: RFC 3394, 4.1.

    >>> kek = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
    >>> wrap(kek, bytes.fromhex("00112233445566778899AABBCCDDEEFF")).hex().upper()
    '1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5'
    """
    _refuse_kek(kek)
    if len(key) < _KEY_LEAST or len(key) % UNIT:
        raise KeyBlockError("AES-KW wraps keys of 16 or more bytes, a multiple of 8")
    return keywrap.aes_key_wrap(kek, key)


def unwrap(kek: bytes, wrapped: bytes) -> bytes:
    """The key in WRAPPED (24 or more bytes, whole units of 8) by AES-KW (RFC 3394, 2.2.2). 8 bytes shorter.

    KEK: 16, 24 or 32 bytes. Raises KeyBlockError where WRAPPED was changed, was wrapped under another key, or one of them has
    another length. Vector: RFC 3394, 4.1.

    >>> kek = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
    >>> unwrap(kek, bytes.fromhex("1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5")).hex().upper()
    '00112233445566778899AABBCCDDEEFF'
    """
    _refuse_kek(kek)
    if len(wrapped) < _WRAPPED_LEAST or len(wrapped) % UNIT:
        raise KeyBlockError("a key wrapped by AES-KW has 24 or more bytes, a multiple of 8")
    return _unwrapped(keywrap.aes_key_unwrap, kek, wrapped)


def wrap_padded(kek: bytes, key: bytes) -> bytes:
    """KEY (1 or more bytes) under KEK by AES-KWP (RFC 5649, 4.1): padded to units of 8, and 8 bytes longer.

    Raises KeyBlockError for an empty key and a KEK that is no AES key. Vector: RFC 5649, 6.

    >>> kek = bytes.fromhex("5840DF6E29B02AF1AB493B705BF16EA1AE8338F4DCC176A8")
    >>> wrap_padded(kek, bytes.fromhex("466F7250617369")).hex().upper()
    'AFBEB0F07DFBF5419200F2CCB50BB24F'
    """
    _refuse_kek(kek)
    if not key:
        raise KeyBlockError("AES-KWP wraps keys of 1 or more bytes")
    return keywrap.aes_key_wrap_with_padding(kek, key)


def unwrap_padded(kek: bytes, wrapped: bytes) -> bytes:
    """The key in WRAPPED (16 or more bytes, whole units of 8) by AES-KWP (RFC 5649, 4.2).

    8 bytes shorter, and as many as were padded. Raises KeyBlockError as `unwrap`. Vector: RFC 5649, 6.

    >>> kek = bytes.fromhex("5840DF6E29B02AF1AB493B705BF16EA1AE8338F4DCC176A8")
    >>> unwrap_padded(kek, bytes.fromhex("AFBEB0F07DFBF5419200F2CCB50BB24F")).hex().upper()
    '466F7250617369'
    """
    _refuse_kek(kek)
    if len(wrapped) < 2 * UNIT or len(wrapped) % UNIT:
        raise KeyBlockError("a key wrapped by AES-KWP has 16 or more bytes, a multiple of 8")
    return _unwrapped(keywrap.aes_key_unwrap_with_padding, kek, wrapped)


def _unwrapped(unwrapping: Callable[[bytes, bytes], bytes], kek: bytes, wrapped: bytes) -> bytes:
    try:
        return unwrapping(kek, wrapped)
    except keywrap.InvalidUnwrap:
        raise KeyBlockError("the wrapped key is not authentic: changed, or wrapped under another key") from None


def _refuse_kek(kek: bytes) -> None:
    if len(kek) not in aes.LENGTHS:
        raise KeyBlockError("a key that wraps keys is an AES key of 16, 24 or 32 bytes")
