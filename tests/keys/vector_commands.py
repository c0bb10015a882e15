"""Every published vector by the commands of an HSM, where one computes it; else why not, as the HSM itself says."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from PyKCS11 import LowLevel

from keys import aes, dukpt_aes, dukpt_tdes, keywrap, mac, pinblock, tdes
from keys import token_objects as objects
from keys.cvv import CardValue
from keys.dukpt_aes import KeyType, Use
from keys.emv_profile import profiles
from keys.errors import CardDataRefused, KeyBlockError, KeyRefused, KeysError, TokenError
from keys.hsm import Dukpt, PinToVerify
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.ksn import AesKsn, TdesKsn
from keys.pinblock import PinFormat
from keys.pkcs11 import Pkcs11Hsm
from keys.sensitive import Pin
from tests.keys.at_work import formed, new_label, works
from tests.keys.samples import PAN, SECOND_KEY
from tests.keys.softhsm import shared_token
from tests.keys.test_emv_profile import changed
from tests.keys.vector_functions import EMV_PROFILES, data, expects, pan_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from tests.keys.vector_functions import Vector

ZPK = KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH)
AES_ZPK = KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.AES, KeyMode.BOTH)
ISO_0, ISO_1, ISO_2, _, ISO_4 = PinFormat


class NoCommand(Exception):
    """No command computes this; the message is the reason."""


# What an HSM answers to a vector that it does not take, and what the table of docs/keys/vectors.md says of it.
REASONS: Mapping[tuple[type[KeysError], str], str] = MappingProxyType(
    {
        (KeyRefused, "equal parts"): "key with equal halves",
        (KeyRefused, "takes no TDES key of 64 bits"): "single DES key",
        (KeyRefused, "one byte again"): "protection key of one byte repeated",
        (KeyRefused, "of usage K0.*not kept here"): "a usage that is not kept",
        (KeyRefused, "ISO_2"): "format 2, which never travels",
        (KeyBlockError, "version C are not opened here"): "version C, whose protection key a token does not show",
        (KeyBlockError, "version E are not opened here"): "version E",
        (CardDataRefused, "month"): "expiry date without a month",
    }
)


def outcome(hsm: Hsm, family: str, vector: Vector) -> str:
    """Empty where the vector came out by the commands of HSM; else why it cannot be asked."""
    try:
        right = COMMANDS[family](hsm, vector)
    except NoCommand as why:
        return str(why)
    except KeysError as refused:
        for (kind, text), reason in REASONS.items():
            if type(refused) is kind and re.search(text, str(refused)):
                return reason
        raise
    assert right, vector["name"]
    return ""


def pin_block(hsm: Hsm, vector: Vector) -> bool:
    """Made by the HSM and looked at from outside, or from outside and translated."""
    name, given = vector["name"], vector["inputs"]
    if ".panfield." in name:
        key = bytes(range(16))
        block = hsm.encipher_pin(Pin("1234"), formed(hsm, AES_ZPK, key), pan_of(vector), ISO_4)
        field = int.from_bytes(aes.decipherer(key)(block)) ^ int(vector["expected"]["pan_field"], 16)
        return aes.decipherer(key)(field.to_bytes(16)).hex().startswith("441234aaaaaaaaaa")
    if name.startswith("pinblock.iso4"):
        return expects(
            vector,
            "pin",
            _translated(hsm, formed(hsm, AES_ZPK, data(vector, "key")), data(vector, "enciphered"), vector, ISO_4),
        )
    zpk = formed(hsm, ZPK, bytes.fromhex(given.get("key") or SECOND_KEY.hex()))
    if name.startswith("pinblock.iso1"):
        block = tdes.encipherer(SECOND_KEY)(bytes.fromhex(vector["expected"]["clear_pinblock"]))
        return str(given["pin"]) == _translated(hsm, zpk, block, vector, ISO_1)
    block = hsm.encipher_pin(
        Pin(given["pin"]), zpk, PAN if name.startswith("pinblock.iso2") else pan_of(vector), _format(name)
    )
    return expects(vector, "clear_pinblock", tdes.decipherer(SECOND_KEY)(block))


def _format(name: str) -> PinFormat:
    return ISO_2 if name.startswith("pinblock.iso2") else ISO_0


def _translated(hsm: Hsm, source: KeyHandle | Dukpt, block: bytes, vector: Vector, pin_format: PinFormat) -> str | None:
    """The digits of a block, by way of a known zone key."""
    pan = PAN if pin_format is ISO_1 else pan_of(vector)
    moved = hsm.translate_pin(block, source, formed(hsm, ZPK, SECOND_KEY), pan, (pin_format, ISO_0))
    return pinblock.decipher_block(ISO_0, tdes.decipherer(SECOND_KEY), moved, pan)


def pin_verification_value(hsm: Hsm, vector: Vector) -> bool:
    """Verified, and no other."""
    given = vector["inputs"]
    spec = KeySpec(KeyUsage.PIN_VERIFICATION_PVV, attributes=KeyAttributes(pvki=int(given["pvki"])))
    return _verified(hsm, spec, vector, given["pin"], vector["expected"]["pvv"])


def ibm_3624(hsm: Hsm, vector: Vector) -> bool:
    """The same of an offset."""
    given = vector["inputs"]
    spec = KeySpec(
        KeyUsage.PIN_VERIFICATION_IBM, attributes=KeyAttributes(given["dectable"], check_length=given["pin_length"])
    )
    digits = given["validation_data"][4:]
    vector = vector | {"inputs": given | {"account12": digits}}
    return _verified(hsm, spec, vector, given.get("pin", "1234"), vector["expected"].get("offset", "0000"))


def _verified(hsm: Hsm, spec: KeySpec, vector: Vector, digits: str, reference: str) -> bool:
    pvk, zpk, pan = formed(hsm, spec, data(vector, "pvk")), formed(hsm, ZPK, SECOND_KEY), pan_of(vector)
    asked = PinToVerify(hsm.encipher_pin(Pin(digits), zpk, pan), zpk, pan, reference)
    other = reference[:-1] + str((int(reference[-1]) + 1) % 10)
    return [True, False] == hsm.verify_pins([asked, asked._replace(reference=other)], pvk)


def card_value(hsm: Hsm, vector: Vector) -> bool:
    """Made, by the kind that its service code says."""
    given = vector["inputs"]
    cvk = formed(hsm, KeyUsage.CARD_VERIFICATION, data(vector, "cvk"))
    kind = {"000": CardValue.CVV2, "999": CardValue.ICVV}.get(given["service_code"], CardValue.CVV1)
    code = given["service_code"] if kind is CardValue.CVV1 else None
    return expects(vector, "cvv", hsm.card_value(kind, cvk, pan_of(vector), given["expiry"], code))


def dynamic_value(hsm: Hsm, vector: Vector) -> bool:
    """Verified."""
    given = vector["inputs"]
    key = formed(hsm, KeyUsage.ISSUER_DYNAMIC_NUMBER, data(vector, "mdk"))
    asked = (key, pan_of(vector), given["psn"], given["expiry"], given["service_code"], given["atc"])
    return hsm.verify_dynamic_value(*asked, vector["expected"]["dcvv"])


def check_value(hsm: Hsm, vector: Vector) -> bool:
    """Of a key that was formed."""
    if "kcv3" in vector["expected"]:
        raise NoCommand("the method of older systems, to compare with theirs")
    handle = formed(hsm, KeySpec(KeyUsage.MAC_CMAC, Algorithm.AES), data(vector, "key"))
    return expects(vector, "kcv5", str(hsm.kcv(handle)))


def key_block(hsm: Hsm, vector: Vector) -> bool:
    """Imported, and at work."""
    block = vector["inputs"]["key_block"]
    algorithm = Algorithm.AES if block[0] in "DE" else Algorithm.TDES
    attributes = KeyAttributes(legacy_versions="AC") if block[0] in "AC" else None
    kbpk = formed(hsm, KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, algorithm, attributes=attributes), data(vector, "kbpk"))
    handle = hsm.import_block(new_label(), block, kbpk)
    return expects(vector, "kcv", str(hsm.kcv(handle))) and works(hsm, handle, bytes.fromhex(vector["expected"]["key"]))


def tdes_dukpt(hsm: Hsm, vector: Vector) -> bool:
    """The PIN block and MACs of the transaction whose key is expected; for an initial key, of its first transaction."""
    given, expected = vector["inputs"], vector["expected"]
    bdk = formed(hsm, KeyUsage.BASE_DERIVATION, data(vector, "bdk"))
    if "ik" in expected:
        ksn = TdesKsn.parse_initial(given["ksn"]).following()
        key = dukpt_tdes.transaction_key(bytes.fromhex(expected["ik"]), ksn)
    else:
        ksn, key = TdesKsn.parse(given["ksn"]), bytes.fromhex(expected["txn_key"])
    asked, text = Dukpt(bdk, bytes(ksn)), given.get("txn_data_ascii", "text").encode("ascii")
    request = mac.retail(dukpt_tdes.mac_request_key(key), 1)(text)
    right = hsm.verify_mac(asked, text, request)
    if "pin" not in given:
        block = pinblock.encode_format_0(Pin("1234"), pinblock.account_field(PAN))
        return right and hsm.encipher_pin(Pin("1234"), asked, PAN) == tdes.encipherer(dukpt_tdes.pin_key(key))(block)
    block = hsm.encipher_pin(Pin(given["pin"]), asked, pan_of(vector))
    macs = expects(vector, "mac_request4", request) and expects(vector, "mac_response4", hsm.mac(asked, text))
    return right and macs and expects(vector, "enc_pinblock_iso0", block)


def aes_dukpt(hsm: Hsm, vector: Vector) -> bool:
    """A PIN block and a MAC under the working keys that are expected, or that come of the key that is; of each type published."""
    given, expected = vector["inputs"], vector["expected"]
    bits = 4 * len(given["bdk"])
    if "ik" in expected:
        ksn = AesKsn(data(vector, "ikid"), 1)
        key = dukpt_aes.transaction_key(bytes.fromhex(expected["ik"]), ksn)
    else:
        ksn, key = AesKsn.parse(given["ksn"]), bytes.fromhex(expected["txn_key"])
    asked = {}
    for length, kind in ((128, KeyType.AES_128), (256, KeyType.AES_256)):
        if length != bits and f"pin_key_aes{length}_verify" not in expected:
            continue
        attributes = None if length == bits else KeyAttributes(working_key=f"AES-{length}")
        spec = KeySpec(KeyUsage.BASE_DERIVATION, Algorithm.AES, attributes=attributes)
        asked[length] = Dukpt(formed(hsm, spec, data(vector, "bdk")), bytes(ksn))
        names = {Use.PIN_ENCRYPTION: f"pin_key_aes{length}_verify", Use.MAC_GENERATION: f"cmac_aes{length}_key_verify"}
        pin_key, mac_key = (
            bytes.fromhex(expected[name]) if name in expected else dukpt_aes.working_key(key, ksn, use, kind)
            for use, name in names.items()
        )
        if not _works_as(hsm, asked[length], pin_key, mac_key):
            return False
    if "encrypted_pinblock_verify" not in expected:
        return True
    block = bytes.fromhex(expected["encrypted_pinblock_verify"])
    return _translated(hsm, asked[bits], block, vector, ISO_4) == str(given["pin"])


def _works_as(hsm: Hsm, asked: Dukpt, pin_key: bytes, mac_key: bytes) -> bool:
    """Whether the terminal of these working keys reads what the HSM makes, and is understood."""
    block = hsm.encipher_pin(Pin("1234"), asked, PAN, ISO_4)
    digits = pinblock.decipher_block(ISO_4, aes.decipherer(pin_key), block, PAN)
    return digits == "1234" and hsm.verify_mac(asked, b"text", mac.aes_cmac(mac_key)(b"text")[:8])


def _coded(
    hsm: Hsm, usage: KeyUsage, vector: Vector, name: str, attributes: KeyAttributes, algorithm: Algorithm
) -> bool:
    handle = formed(hsm, KeySpec(usage, algorithm, attributes=attributes), data(vector, "key"))
    code, message = hsm.mac(handle, data(vector, "message")), data(vector, "message")
    return expects(vector, name, code) and hsm.verify_mac(handle, message, code)


def retail_mac(hsm: Hsm, vector: Vector) -> bool:
    """Made and verified."""
    attributes = KeyAttributes(padding=vector["inputs"]["padding"], mac_length=8)
    return _coded(hsm, KeyUsage.MAC_RETAIL, vector, "mac8", attributes, Algorithm.TDES)


def cbc_mac(hsm: Hsm, vector: Vector) -> bool:
    """Made and verified."""
    attributes = KeyAttributes(padding=vector["inputs"]["padding"], mac_length=8)
    return _coded(hsm, KeyUsage.MAC_CBC, vector, "mac4", attributes, Algorithm.TDES)


def cmac(hsm: Hsm, vector: Vector) -> bool:
    """Made and verified."""
    algorithm = Algorithm.TDES if vector["name"].startswith("cmac.3des") else Algorithm.AES
    attributes = KeyAttributes(mac_length=8 if algorithm is Algorithm.TDES else 16)
    return _coded(hsm, KeyUsage.MAC_CMAC, vector, "mac", attributes, algorithm)


def hmac(hsm: Hsm, vector: Vector) -> bool:
    """Made and verified."""
    handle = formed(hsm, KeyUsage.MAC_HMAC, vector["inputs"]["secret"].encode("ascii"))
    text, code = vector["inputs"]["string_to_sign"].encode("ascii"), bytes.fromhex(vector["expected"]["signature"])
    return hsm.mac(handle, text) == code and hsm.verify_mac(handle, text, code)


def key_wrap(hsm: Hsm, vector: Vector) -> bool:
    """By the token's own mechanisms, those that keep its keys, under a key of the vector's own."""
    if not isinstance(hsm, Pkcs11Hsm):
        raise NoCommand("the keystore of software seals by AES-GCM")
    token, padded = shared_token(), vector["name"].startswith(("aeskwp", "kwp_"))
    mechanism = objects.KEY_WRAP_PADDED if padded else objects.KEY_WRAP
    rights = [(name, LowLevel.CK_TRUE) for name in (LowLevel.CKA_WRAP, LowLevel.CKA_UNWRAP)]
    kek = token.create(_plain(LowLevel.CKK_AES, data(vector, "kek")) + rights)
    made = [kek]
    try:
        if "result" in vector["expected"]:
            made.append(token.unwrap(kek, data(vector, "ciphertext"), _plain(LowLevel.CKK_GENERIC_SECRET), mechanism))
            return False
        plain = data(vector, "plaintext")
        made.append(token.create(_plain(LowLevel.CKK_GENERIC_SECRET, plain)))
        wrapped = token.wrap(kek, made[-1], mechanism)
        if (
            padded
            and wrapped == keywrap.wrap_padded(data(vector, "kek"), plain + bytes(-len(plain) % 8))
            and len(plain) % 8
        ):
            raise NoCommand("key of no whole units of 8 bytes, which SoftHSM fills up before AES-KWP does")
        made.append(token.unwrap(kek, wrapped, _plain(LowLevel.CKK_GENERIC_SECRET), mechanism))
        (value,) = token.attributes(made[-1], [LowLevel.CKA_VALUE])
        return expects(vector, "ciphertext", wrapped) and bytes(value) == plain
    except TokenError:
        return bool(vector["expected"].get("result") == "must be rejected")
    finally:
        token.destroy(*made)


def _plain(kind: int, value: bytes | None = None) -> list[tuple[int, Any]]:
    """A secret that the token may show: of a published vector alone."""
    template: list[tuple[int, Any]] = [
        (LowLevel.CKA_CLASS, LowLevel.CKO_SECRET_KEY),
        (LowLevel.CKA_KEY_TYPE, kind),
        (LowLevel.CKA_TOKEN, LowLevel.CK_FALSE),
        (LowLevel.CKA_SENSITIVE, LowLevel.CK_FALSE),
        (LowLevel.CKA_EXTRACTABLE, LowLevel.CK_TRUE),
    ]
    return template if value is None else [*template, (LowLevel.CKA_VALUE, value)]


def chip(hsm: Hsm, vector: Vector) -> bool:
    """A cryptogram verified; a code under a session key made as a script's MAC, by a profile that says so."""
    name, given = vector["name"], vector["inputs"]
    if name in EMV_PROFILES:
        imk = formed(hsm, KeyUsage.ISSUER_CRYPTOGRAM, data(vector, "imk_ac"))
        tags = tags_of(vector) | {"9F26": bytes.fromhex(vector["expected"]["arqc"])}
        return hsm.verify_cryptogram(
            profiles()[EMV_PROFILES[name]], imk, pan_of(vector), given["psn"], tags, b"00"
        ).right
    if "icc_mk" in given:
        raise NoCommand("a card's own key is never in an HSM")
    imk = formed(hsm, KeyUsage.ISSUER_SCRIPT_MAC, bytes.fromhex(given.get("imk") or given["imk_ac"]))
    profile = changed("nsiccs", script_key="common-arqc", script_mac="command")
    tags = {"9F36": bytes(2), "9F26": data(vector, "r")}
    return expects(
        vector, "arqc", hsm.script_mac(profile, imk, pan_of(vector), given["psn"], tags, data(vector, "data"))
    )


COMMANDS: Mapping[str, Callable[[Hsm, Vector], bool]] = MappingProxyType(
    {
        "PIN blocks": pin_block,
        "PVV": pin_verification_value,
        "IBM 3624": ibm_3624,
        "CVV, CVV2, iCVV": card_value,
        "dynamic CVV": dynamic_value,
        "check values": check_value,
        "key blocks": key_block,
        "DUKPT, triple DES": tdes_dukpt,
        "DUKPT, AES": aes_dukpt,
        "retail MAC": retail_mac,
        "CBC-MAC": cbc_mac,
        "CMAC": cmac,
        "HMAC": hmac,
        "AES key wrap": key_wrap,
        "EMV": chip,
    }
)
"""By family."""
