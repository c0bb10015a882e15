"""Published vectors, computed when the HSM starts: a broken library or build is found before it touches a PIN.

Refuses to know the bank's keys. Read next: pinblock.py, pin.py, mac.py, kcv.py (what is tested).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys import aes, cvv, dukpt_aes, dukpt_tdes, emv, kcv, mac, pin, pinblock, pvv, tdes, tr31
from keys.cvv import CardValue
from keys.emv_profile import profiles, verify
from keys.errors import SelfTestFailed
from keys.ksn import TdesKsn
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


def _cbc_mac() -> str:
    return mac.cbc_mac(bytes.fromhex("0123456789ABCDEF"), 2)(b"Now is the time for all ").hex()[:8]


def _tdes_cmac() -> str:
    return mac.tdes_cmac(bytes.fromhex("8AA83BF8CBDA10620BC1BF19FBB6CD58BC313D4A371CA8B5"))(b"").hex()


def _hmac_512() -> str:
    return mac.hmac_sha512(b"\x0b" * 20)(b"Hi There").hex()[:32]


def _pin_format_4() -> str:
    decipher = aes.decipherer(bytes.fromhex("00112233445566778899AABBCCDDEEFF"))
    block = bytes.fromhex("88E33C3ACF404F234F10F889C364E377")
    return pinblock.decipher_format_4(decipher, block, Pan("432198765432109870")) or "none"


def _pvv() -> str:
    encipher = tdes.encipherer(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))
    return pvv.pvv(encipher, Pan("4111111111111111"), 1, "1234")


def _cvv() -> str:
    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    make = cvv.maker(tdes.encipherer(key[: tdes.BLOCK]), tdes.encipherer(key))
    return make(cvv.card_data(CardValue.CVV1, Pan("4111111111111111"), "2512", "201"))


def _key_block_d() -> str:
    kbpk = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
    block = (
        "D0112P0AE00E0000B82679114F470F540165EDFBF7E250FCEA43F810D215F8D207E2E417C07156A2"
        "7E8E31DA05F7425509593D03A457DC34"
    )
    return tr31.Opener(kbpk).unwrap(block)[1].hex()


def _key_block_b() -> str:
    kbpk = bytes.fromhex("DD7515F2BFC17F85CE48F3CA25CB21F6")
    block = "B0080P0TE00E000094B420079CC80BA3461F86FE26EFC4A3B8E4FA4C5F5341176EED7B727B8A248E"
    return tr31.Opener(kbpk, "B").unwrap(block)[1].hex()


def _dukpt_tdes() -> str:
    bdk = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    ksn = TdesKsn.parse_initial("FFFF9876543210E00000")
    return dukpt_tdes.initial_key(tdes.encipherer(bdk), tdes.encipherer(dukpt_tdes.masked(bdk)), ksn).hex()


def _dukpt_aes() -> str:
    bdk = bytes.fromhex("FEDCBA9876543210F1F1F1F1F1F1F1F1")
    return dukpt_aes.initial_key(aes.encipherer(bdk), bytes.fromhex("1234567890123456"), 128).hex()


def _arqc() -> str:
    tags = {
        "9F02": "000005000000", "9F03": "000000000000", "9F1A": "0360", "95": "0000000000", "5F2A": "0360",
        "9A": "261007", "9C": "01", "9F37": "889A0812", "82": "5400", "9F36": "012C",
        "9F10": "0101A000800000EDB26B8D0000000000000000000000000000000000",
    }  # fmt: skip
    issuer = emv.issuer(bytes.fromhex("404142434445464748494A4B4C4D4E4F4041424344454647"))
    asked = {tag: bytes.fromhex(value) for tag, value in tags.items()}
    arqc = bytes.fromhex("E1D3FFDCBB06F2C8")
    return str(verify(profiles()["nsiccs"], issuer, Pan("4889501076030373"), "00", asked, arqc).ok)


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
    ("CBC-MAC (ISO/IEC 9797-1 B.2)", _cbc_mac, "10e1f0f1"),
    ("triple DES CMAC (SP 800-38B)", _tdes_cmac, "b7a688e122ffaf95"),
    ("HMAC-SHA512 (RFC 4231)", _hmac_512, "87aa7cdea5ef619d4ff0b4241a1d6cb0"),
    ("PIN out of block format 4", _pin_format_4, "1234"),
    ("PVV", _pvv, "9464"),
    ("CVV", _cvv, "139"),
    ("key block D (TR-31:2018 A.7.4)", _key_block_d, "3f419e1cb7079442aa37474c2efbf8b8"),
    ("key block B (TR-31:2018 A.7.2.2)", _key_block_b, "3f419e1cb7079442aa37474c2efbf8b8"),
    ("initial key, triple DES DUKPT (X9.24-1 A.4)", _dukpt_tdes, "6ac292faa1315b4d858ab3a3d7d5933a"),
    ("initial key, AES DUKPT (X9.24-3)", _dukpt_aes, "1273671ea26ac29afa4d1084127652a1"),
    ("ARQC (NSICCS test card)", _arqc, "True"),
)
