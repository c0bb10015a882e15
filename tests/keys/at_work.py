"""Known keys of every kind, and whether a key in an HSM does what the same bytes do by the pure functions of keys/."""

from __future__ import annotations

import functools
import hashlib
import itertools
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys import (
    aes,
    cvv,
    dukpt_aes,
    dukpt_tdes,
    emv,
    emv_script,
    kcv,
    mac,
    pin,
    pinblock,
    pvv,
    rsa_keys,
    signing,
    tdes,
    tr31,
)
from keys.cvv import CardValue
from keys.dukpt_aes import KeyType, Use
from keys.emv_profile import profiles
from keys.hsm import Dukpt
from keys.keytypes import Algorithm, Exportability, KeyMode, KeySpec, KeyUsage
from keys.ksn import AesKsn, TdesKsn
from keys.pinblock import PinFormat
from keys.sensitive import Pin
from keys.usages import USAGES
from tests.keys.samples import PAN, components

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.hsm import Hsm
    from keys.kcv import Kcv
    from keys.keytypes import KeyHandle

PIN = Pin("271828")
TDES_KSN = TdesKsn.parse("FFFF9876543210E0001B")
AES_KSN = AesKsn.parse("12345678901234560000001B")
NSICCS = profiles()["nsiccs"]
TAGS: Mapping[str, bytes] = MappingProxyType(
    {
        tag: bytes.fromhex(value)
        for tag, value in (
            ("9F02", "000005000000"), ("9F03", "000000000000"), ("9F1A", "0360"), ("95", "0000000000"),
            ("5F2A", "0360"), ("9A", "261007"), ("9C", "01"), ("9F37", "889A0812"), ("82", "5400"), ("9F36", "012C"),
            ("9F10", "0101A000800000EDB26B8D0000000000000000000000000000000000"), ("9F26", "1122334455667788"),
        )
    }
)  # fmt: skip
"""Chip data with all that the profiles of this package want."""
COMMAND = bytes.fromhex("8424000210") + b"a PIN block"

_numbers = itertools.count(1)


class Kind(NamedTuple):
    """One usage, algorithm and length in bits that keys may have."""

    usage: KeyUsage
    algorithm: Algorithm
    bits: int

    def __str__(self) -> str:
        return f"{self.usage.name}-{self.algorithm.name}-{self.bits}"


KINDS = [
    Kind(usage, algorithm, 8 * length)
    for usage, rule in USAGES.items()
    for algorithm, lengths in rule.algorithms.items()
    for length in lengths.taken
    if algorithm is not Algorithm.HMAC or length in (32, 33, 64)
    if algorithm is not Algorithm.RSA or length == 256  # longer ones take seconds to make
]


def new_label() -> str:
    """A label that no test has had."""
    return f"key.{next(_numbers)}"


def spec_of(kind: Kind, *, exportable: bool = False, made: bool = False) -> KeySpec:
    """A key that may do all its usage can, so that it can be tried."""
    return KeySpec(
        kind.usage,
        kind.algorithm,
        KeyMode.BOTH if kind.usage is KeyUsage.PIN_ENCRYPTION else None,
        kind.bits if made else None,
        exportability=Exportability.EXPORTABLE if exportable else Exportability.NOT_EXPORTABLE,
    )


def key_of(kind: Kind) -> bytes:
    """The bytes of a known key; of an RSA key its DER."""
    if kind.algorithm is Algorithm.RSA:
        return _rsa(kind.bits)
    key = hashlib.sha512(str(kind).encode()).digest()[: kind.bits // 8]
    return tdes.odd_parity(key) if kind.algorithm is Algorithm.TDES else key


def check_value(kind: Kind, key: bytes) -> Kcv:
    """Of the bytes."""
    makers = {
        Algorithm.TDES: kcv.of_tdes,
        Algorithm.AES: kcv.of_aes,
        Algorithm.HMAC: kcv.of_hmac,
        Algorithm.RSA: kcv.of_rsa,
    }
    return makers[kind.algorithm](key)


def formed(hsm: Hsm, spec: KeySpec | KeyUsage, key: bytes) -> KeyHandle:
    """A key of known bytes, under a label of its own."""
    return hsm.form(spec, new_label(), components(key))


def taken(hsm: Hsm, kind: Kind) -> KeyHandle:
    """The known key of KIND."""
    if kind.algorithm is Algorithm.RSA:
        return hsm.import_signing_key(new_label(), key_of(kind))
    return formed(hsm, spec_of(kind), key_of(kind))


def works(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    """Whether the key of HANDLE does what KEY does."""
    return _WORK[handle.usage](hsm, handle, key)


@functools.cache
def _rsa(bits: int) -> bytes:
    return rsa_keys.make(bits)


def _of_aes(hsm: Hsm, handle: KeyHandle) -> bool:
    return hsm.info(handle).algorithm is Algorithm.AES


def _dukpt(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    """Of a base derivation key."""
    if _of_aes(hsm, handle):
        return _initial(hsm, handle, dukpt_aes.initial_key(aes.encipherer(key), AES_KSN.initial_key_id, 8 * len(key)))
    masked = tdes.encipherer(dukpt_tdes.masked(key))
    return _initial(hsm, handle, dukpt_tdes.initial_key(tdes.encipherer(key), masked, TDES_KSN))


def _initial(hsm: Hsm, handle: KeyHandle, initial: bytes) -> bool:
    """A PIN block and a MAC of one transaction."""
    if _of_aes(hsm, handle):
        kind = {one.bits: one for one in (KeyType.AES_128, KeyType.AES_192, KeyType.AES_256)}[8 * len(initial)]
        transaction = dukpt_aes.transaction_key(initial, AES_KSN)
        asked, pin_format = Dukpt(handle, bytes(AES_KSN)), PinFormat.ISO_4
        pin_key = dukpt_aes.working_key(transaction, AES_KSN, Use.PIN_ENCRYPTION, kind)
        mac_key = dukpt_aes.working_key(transaction, AES_KSN, Use.MAC_VERIFICATION, kind)
        decipher, code = aes.decipherer(pin_key), mac.aes_cmac(mac_key)(b"answer")[:8]
    else:
        transaction = dukpt_tdes.transaction_key(initial, TDES_KSN)
        asked, pin_format = Dukpt(handle, bytes(TDES_KSN)), PinFormat.ISO_3
        decipher = tdes.decipherer(dukpt_tdes.pin_key(transaction))
        code = mac.retail(dukpt_tdes.mac_response_key(transaction), 1)(b"answer")
    block = hsm.encipher_pin(PIN, asked, PAN, pin_format)
    digits = pinblock.decipher_block(pin_format, decipher, block, PAN)
    return (PIN.reveal(), code) == (digits, hsm.mac(asked, b"answer"))


def _card_value(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    make = cvv.maker(tdes.encipherer(key[:8]), tdes.encipherer(key), 3)
    expected = make(cvv.card_data(CardValue.CVV1, PAN, "2912", "201"))
    return hsm.card_value(CardValue.CVV1, handle, PAN, "2912", "201") == expected


def _sealing(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    sealed = hsm.seal(handle, b"text", b"place")
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], b"place") == b"text" == hsm.unseal(handle, sealed, b"place")


def _cryptogram(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    signed = NSICCS.read(TAGS)
    session = emv.issuer(key).derive(NSICCS.master_data(PAN)).derive(emv.session_data(signed.r or b""))
    arqc = emv.code(session, signed.data)
    answer = hsm.verify_cryptogram(NSICCS, handle, PAN, "00", {**TAGS, "9F26": arqc}, b"00")
    return (answer.right, answer.arpc) == (True, emv.arpc_1(session, arqc, b"00"))


def _script_mac(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    expected = emv_script.mac(NSICCS, emv.issuer(key), PAN, "00", TAGS, [COMMAND])
    return hsm.script_mac(NSICCS, handle, PAN, "00", TAGS, COMMAND) == expected


def _script_secrecy(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    expected = emv_script.encipher(NSICCS, emv.issuer(key), PAN, "00", TAGS, b"PIN")
    return hsm.script_encipher(NSICCS, handle, PAN, "00", TAGS, b"PIN") == expected


def _dynamic(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    card = tdes.encipherer(key)(emv.option_a_data(PAN, "00"))
    value = cvv.maker(tdes.encipherer(card[:8]), tdes.encipherer(card))(
        cvv.card_data(CardValue.DCVV, PAN, "2912", "201", "0007")
    )
    return hsm.verify_dynamic_value(handle, PAN, "00", "2912", "201", "0007", value)


def _protection(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    """A key block is opened with KEY, and one written with KEY by the HSM."""
    version = "D" if _of_aes(hsm, handle) else "B"
    inside = tdes.odd_parity(hashlib.sha256(b"inside").digest()[:16])
    kind = Kind(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128)
    exportable = formed(hsm, spec_of(kind, exportable=True), inside)
    header, found = tr31.Opener(key, version).unwrap(hsm.export_block(exportable, handle))
    again = hsm.import_block(new_label(), tr31.wrap(key, header, inside), handle)
    return found == inside and works(hsm, again, inside)


def _mac_cbc(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    return hsm.mac(handle, b"message") == mac.cbc_mac(key, hsm.info(handle).attributes.padding or 0)(b"message")


def _mac_retail(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    return hsm.mac(handle, b"message") == mac.retail(key, hsm.info(handle).attributes.padding or 0)(b"message")


def _mac_cmac(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    make = mac.aes_cmac(key) if _of_aes(hsm, handle) else mac.tdes_cmac(key)
    return hsm.mac(handle, b"message") == make(b"message")[:8]


def _mac_hmac(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    make = mac.hmac_sha512 if hsm.info(handle).attributes.digest == "SHA-512" else mac.hmac_sha256
    return hsm.mac(handle, b"message") == make(key)(b"message")


def _pin_encryption(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    of_aes = _of_aes(hsm, handle)
    pin_format = PinFormat.ISO_4 if of_aes else PinFormat.ISO_3
    block = hsm.encipher_pin(PIN, handle, PAN, pin_format)
    decipher = aes.decipherer(key) if of_aes else tdes.decipherer(key)
    return pinblock.decipher_block(pin_format, decipher, block, PAN) == PIN.reveal()


def _reference(hsm: Hsm, handle: KeyHandle) -> str:
    zpk = formed(hsm, KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), tdes.odd_parity(bytes(range(24))))
    return hsm.choose_pin(hsm.encipher_pin(PIN, zpk, PAN), zpk, handle, PAN, None)


def _ibm_3624(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    enciphered = tdes.encipherer(key)(pinblock.account_field(PAN))
    natural = pin.natural_pin(enciphered, pin.decimalisation_map(pin.DEFAULT_DECIMALISATION), 6)
    return _reference(hsm, handle) == pin.offset_of(natural, PIN.reveal())


def _pvv(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    return _reference(hsm, handle) == pvv.pvv(tdes.encipherer(key), PAN, 1, PIN.reveal())


def _signature(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    if rsa_keys.is_private(key):
        return signing.rsa_verifier(rsa_keys.public_of(key))(b"message", hsm.sign(handle, b"message"))
    raise AssertionError("a public key makes nothing that could be looked at")


def _index(hsm: Hsm, handle: KeyHandle, key: bytes) -> bool:
    return hsm.blind_index(handle, b"text") == mac.hmac_sha256(key)(b"text")[:16]


_WORK: Mapping[KeyUsage, Callable[[Hsm, KeyHandle, bytes], bool]] = MappingProxyType(
    {
        KeyUsage.BASE_DERIVATION: _dukpt,
        KeyUsage.INITIAL_DUKPT: _initial,
        KeyUsage.CARD_VERIFICATION: _card_value,
        KeyUsage.DATA_SEALING: _sealing,
        KeyUsage.ISSUER_CRYPTOGRAM: _cryptogram,
        KeyUsage.ISSUER_SCRIPT_SECRECY: _script_secrecy,
        KeyUsage.ISSUER_SCRIPT_MAC: _script_mac,
        KeyUsage.ISSUER_DYNAMIC_NUMBER: _dynamic,
        KeyUsage.KEY_BLOCK_PROTECTION: _protection,
        KeyUsage.MAC_CBC: _mac_cbc,
        KeyUsage.MAC_RETAIL: _mac_retail,
        KeyUsage.MAC_CMAC: _mac_cmac,
        KeyUsage.MAC_HMAC: _mac_hmac,
        KeyUsage.PIN_ENCRYPTION: _pin_encryption,
        KeyUsage.SIGNATURE: _signature,
        KeyUsage.PIN_VERIFICATION_IBM: _ibm_3624,
        KeyUsage.PIN_VERIFICATION_PVV: _pvv,
        KeyUsage.BLIND_INDEX: _index,
    }
)
