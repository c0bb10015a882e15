"""Key check values: a few digits that show two people hold the same key, and nothing else of it.

The method is stored beside the value, because two methods are in use for AES. Refuses to know handles and files. Read next:
keystore.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from keys import mac, rsa_keys, tdes

TDES_BYTES = 3
AES_BYTES = 5
HMAC_BYTES = 5
RSA_BYTES = 5
SHEET_DIGITS = 6


class KcvMethod(StrEnum):
    """How a check value was made."""

    TDES_ECB_ZERO = "TDES-ECB-0"
    """First 3 bytes of the zero block enciphered (ANSI X9.24-1)."""

    AES_CMAC_ZERO = "AES-CMAC-0"
    """First 5 bytes of the CMAC of 16 zero bytes (ANSI X9.143)."""

    AES_ECB_ZERO = "AES-ECB-0"
    """First 3 bytes of the zero block enciphered: what older systems print for an AES key. Never made for a key kept here."""

    HMAC_SHA256_ZERO = "HMAC-SHA256-0"
    """First 5 bytes of the HMAC-SHA256 of 16 zero bytes (our own: no standard names one)."""

    RSA_SHA256 = "RSA-SHA256"
    """First 5 bytes of the SHA-256 of the public key (SubjectPublicKeyInfo in DER; our own: no standard names one)."""


@dataclass(frozen=True, slots=True)
class Kcv:
    """A check value in upper case hex, with its method."""

    value: str
    method: KcvMethod

    def __str__(self) -> str:
        return self.value

    def same_as(self, value: str) -> bool:
        """Whether VALUE, as somebody typed or sent it, is this check value: all of its digits, case aside, in constant time."""
        return mac.same(self.value.encode("ascii"), value.strip().upper().encode("utf-8", "replace"))

    def on_sheet(self, value: str) -> bool:
        """Whether VALUE, as a custodian's sheet shows it, is this check value: all of it, or its first six digits."""
        text = value.strip().upper()
        return len(text) >= SHEET_DIGITS and mac.same(
            self.value[: len(text)].encode("ascii"), text.encode("utf-8", "replace")
        )


def of_tdes(key: bytes) -> Kcv:
    """The check value of a DES key of 16 or 24 bytes (ANSI X9.24-1): 3 bytes. Raises KeyRefused for other lengths.

    The vector is what payment HSMs show for this key.

    >>> str(of_tdes(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")))
    '08D7B4'
    """
    return of_tdes_block(tdes.encipherer(key)(bytes(tdes.BLOCK)))


def of_tdes_block(enciphered: bytes) -> Kcv:
    """The same (ANSI X9.24-1) where a token enciphered the zero block: its first 3 bytes. Vector: of the same key.

    >>> str(of_tdes_block(bytes.fromhex("08D7B4FB629D0885")))
    '08D7B4'
    """
    return Kcv(enciphered[:TDES_BYTES].hex().upper(), KcvMethod.TDES_ECB_ZERO)


def of_aes(key: bytes) -> Kcv:
    """The check value of an AES key of 16, 24 or 32 bytes (ANSI X9.143): 5 bytes. Vector: X9.143:2021 8.1.

    >>> str(of_aes(bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8")))
    '08793E25AB'
    """
    return of_aes_code(mac.aes_cmac(key)(bytes(16)))


def of_aes_code(code: bytes) -> Kcv:
    """The same (ANSI X9.143) where a token made the CMAC of 16 zero bytes: its first 5 bytes. Vector: X9.143:2021 8.1.

    >>> str(of_aes_code(mac.aes_cmac(bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8"))(bytes(16))))
    '08793E25AB'
    """
    return Kcv(code[:AES_BYTES].hex().upper(), KcvMethod.AES_CMAC_ZERO)


def of_aes_legacy(key: bytes) -> Kcv:
    """The check value that older systems show for an AES key of 16, 24 or 32 bytes, to compare with theirs. Key: FIPS 197 C.1.

    >>> str(of_aes_legacy(bytes.fromhex("000102030405060708090A0B0C0D0E0F")))
    'C6A13B'
    """
    zero = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(bytes(16))  # noqa: S305 - one block, as the method says
    return Kcv(zero[:TDES_BYTES].hex().upper(), KcvMethod.AES_ECB_ZERO)


def of_hmac(key: bytes) -> Kcv:
    """The check value of an HMAC key, whatever its digest: 5 bytes, our own rule (KcvMethod)."""
    return of_hmac_code(mac.hmac_sha256(key)(bytes(16)))


def of_hmac_code(code: bytes) -> Kcv:
    """The same where a token made the HMAC-SHA256 of 16 zero bytes: its first 5 bytes."""
    return Kcv(code[:HMAC_BYTES].hex().upper(), KcvMethod.HMAC_SHA256_ZERO)


def of_rsa(der: bytes) -> Kcv:
    """The check value of an RSA key in DER: 5 bytes, of both halves of a pair the same; our own rule (KcvMethod)."""
    digest = hashlib.sha256(rsa_keys.public_of(der)).digest()
    return Kcv(digest[:RSA_BYTES].hex().upper(), KcvMethod.RSA_SHA256)
