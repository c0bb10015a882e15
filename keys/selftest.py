"""Published vectors, computed when the HSM starts: a broken library or build is found before it touches a PIN.

Refuses to know the bank's keys. Read next: pinblock.py, pin.py, mac.py, kcv.py (what is tested).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys import kcv, mac, pin, pinblock, tdes
from keys.errors import SelfTestFailed
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run(vectors: Sequence[tuple[str, Callable[[], str], str]] | None = None) -> None:
    """Compute each vector (name, function, expected in hex or digits). Raises SelfTestFailed naming the first that is wrong."""
    for name, compute, expected in VECTORS if vectors is None else vectors:
        if compute() != expected:
            raise SelfTestFailed(f"self test: {name} does not give its published value")


def _pin_block() -> str:
    key = bytes.fromhex("12345678123456781234567812345678")
    return tdes.encipherer(key)(
        pinblock.encode_format_0(Pin("1234"), pinblock.account_field(Pan("4001234567890120")))
    ).hex()


def _pin_from_block() -> str:
    key = bytes.fromhex("12345678123456781234567812345678")
    block = tdes.decipherer(key)(bytes.fromhex("3C0CA40863092C3A"))
    return pinblock.decode_format_0(block, pinblock.account_field(Pan("4001234567890120"))) or "none"


def _ibm_3624() -> str:
    enciphered = tdes.encipherer(bytes.fromhex("1313131313131313"))(bytes.fromhex("1234567890123456"))
    natural = pin.natural_pin(enciphered, pin.decimalisation_map(pin.DEFAULT_DECIMALISATION), 6)
    return pin.pin_of(natural, "456789").decode("ascii")


def _ibm_3624_offset() -> str:
    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    enciphered = tdes.encipherer(key)(pinblock.account_field(Pan("4001111111111110")))
    natural = pin.natural_pin(enciphered, pin.decimalisation_map(pin.DEFAULT_DECIMALISATION), 4)
    return pin.offset_of(natural, "1234")


def _retail() -> str:
    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    return mac.retail(key, 2)(b"Now is the time for it").hex()


def _aes_cmac() -> str:
    key = bytes.fromhex("603DEB1015CA71BE2B73AEF0857D77811F352C073B6108D72D9810A30914DFF4")
    return mac.aes_cmac(key)(bytes.fromhex("6BC1BEE22E409F96E93D7E117393172A")).hex()


def _hmac() -> str:
    return mac.hmac_sha256(b"\x0b" * 20)(b"Hi There").hex()


def _gcm() -> str:
    return AESGCM(bytes(32)).encrypt(bytes(12), bytes(16), None).hex()


VECTORS: Sequence[tuple[str, Callable[[], str], str]] = (
    ("PIN block format 0 (jPOS)", _pin_block, "3c0ca40863092c3a"),
    ("PIN out of block format 0 (jPOS)", _pin_from_block, "1234"),
    ("IBM 3624 PIN", _ibm_3624, "099764"),
    ("IBM 3624 offset", _ibm_3624_offset, "6569"),
    ("retail MAC (ISO/IEC 9797-1 B.4)", _retail, "5a692ce64f404145"),
    ("AES-CMAC (SP 800-38B)", _aes_cmac, "28a7023f452e8f82bd4bf28d8c37c35c"),
    ("HMAC-SHA256 (RFC 4231)", _hmac, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        "AES-256-GCM (McGrew and Viega, test case 14)",
        _gcm,
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    ),
    ("triple DES check value", lambda: str(kcv.of_tdes(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))), "08D7B4"),
    (
        "AES check value (X9.143 8.1)",
        lambda: str(kcv.of_aes(bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8"))),
        "08793E25AB",
    ),
)
