"""AES as whole blocks: ECB contexts that stay open, and CBC where a key block wants it.

One block at a time is how ISO 9564 format 4, AES DUKPT and key derivation use AES; nothing longer is ever enciphered so. A
context is fed whole blocks only and never finalised. Read next: tdes.py (the same for triple DES), pinblock.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from keys.errors import KeyRefused

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 16
LENGTHS = (16, 24, 32)


def encipherer(key: bytes) -> Callable[[bytes], bytes]:
    """A function that enciphers whole 16-byte blocks, ECB (FIPS 197). KEY: 16, 24 or 32 bytes, else KeyRefused.

    Vector: FIPS 197 C.1.

    >>> key = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
    >>> encipherer(key)(bytes.fromhex("00112233445566778899AABBCCDDEEFF")).hex().upper()
    '69C4E0D86A7B0430D8CDB78070B4C55A'
    """
    return _ecb(key).encryptor().update


def decipherer(key: bytes) -> Callable[[bytes], bytes]:
    """A function that deciphers whole 16-byte blocks, ECB (FIPS 197). KEY: 16, 24 or 32 bytes, else KeyRefused.

    Vector: FIPS 197 C.1.

    >>> key = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
    >>> decipherer(key)(bytes.fromhex("69C4E0D86A7B0430D8CDB78070B4C55A")).hex().upper()
    '00112233445566778899AABBCCDDEEFF'
    """
    return _ecb(key).decryptor().update


def cbc(key: bytes, initial: bytes) -> Cipher[modes.CBC]:
    """CBC (NIST SP 800-38A) with the initial vector INITIAL, 16 bytes. KEY: 16, 24 or 32 bytes, else KeyRefused.

    Vector: SP 800-38A F.2.1.

    >>> cipher = cbc(bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"), bytes(range(16)))
    >>> cipher.encryptor().update(bytes.fromhex("6BC1BEE22E409F96E93D7E117393172A")).hex().upper()
    '7649ABAC8119B246CEE98E9B12E9197D'
    """
    return Cipher(_algorithm(key), modes.CBC(initial))


def _ecb(key: bytes) -> Cipher[modes.ECB]:
    return Cipher(_algorithm(key), modes.ECB())  # noqa: S305 - single blocks, as the standards above define them


def _algorithm(key: bytes) -> algorithms.AES:
    if len(key) not in LENGTHS:
        raise KeyRefused("an AES key has 16, 24 or 32 bytes")
    return algorithms.AES(key)
