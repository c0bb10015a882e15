"""Every published vector by the pure functions of keys/: one function a family, whether what it expects comes out."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keys import aes, cvv, dukpt_aes, dukpt_tdes, emv, kcv, keywrap, mac, pin, pinblock, pvv, tdes, tr31
from keys.cvv import CardValue
from keys.dukpt_aes import KeyType, Use
from keys.emv_profile import profiles, verify
from keys.errors import KeyBlockError
from keys.ksn import AesKsn, TdesKsn
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Vector = dict[str, Any]

EMV_PROFILES: Mapping[str, str] = MappingProxyType(
    {"emv.nsiccs.arqc.1": "nsiccs", "emv.vsdc.cvn10.cck": "visa-cvn10", "emv.mchip.cvn16.cck": "mchip"}
)
"""Vectors with all tags of a request, and the profile they are of."""


def data(vector: Vector, name: str) -> bytes:
    """An input in hex."""
    return bytes.fromhex(vector["inputs"][name])


def pan_of(vector: Vector) -> Pan:
    """The PAN; where a vector only has its twelve digits before the check digit, one around them."""
    given = vector["inputs"]
    return Pan(given["pan"] if "pan" in given else f"4{given['account12']}0")


def tags_of(vector: Vector) -> dict[str, bytes]:
    """Chip data."""
    return {tag: bytes.fromhex(value) for tag, value in vector["inputs"]["tags"].items()}


def expects(vector: Vector, name: str, found: bytes | str | None) -> bool:
    """Whether FOUND is what the vector expects under NAME; of a shorter value, whether it begins so."""
    text = found.hex().upper() if isinstance(found, bytes) else found or ""
    expected = str(vector["expected"][name])
    return bool(expected) and text[: len(expected)] == expected


def pin_block(vector: Vector) -> bool:
    """Formats 0 to 4, clear and enciphered."""
    name, given = vector["name"], vector["inputs"]
    if ".panfield." in name:
        return expects(vector, "pan_field", pinblock.pan_field(pan_of(vector)))
    if name.startswith("pinblock.iso4"):
        decipher = aes.decipherer(data(vector, "key"))
        return expects(vector, "pin", pinblock.decipher_format_4(decipher, data(vector, "enciphered"), pan_of(vector)))
    if name.startswith("pinblock.iso2"):
        return expects(vector, "clear_pinblock", pinblock.encode_format_2(Pin(given["pin"])))
    if name == "pinblock.iso1.openemv":
        return str(given["pin"]) == pinblock.decode_format_1(bytes.fromhex(vector["expected"]["clear_pinblock"]))
    if name.startswith("pinblock.iso1"):
        return expects(
            vector, "pin", pinblock.decode_format_1(tdes.decipherer(data(vector, "key"))(data(vector, "enc_pinblock")))
        )
    clear = pinblock.encode_format_0(Pin(given["pin"]), pinblock.account_field(pan_of(vector)))
    if "key" in given:
        return expects(vector, "enc_pinblock", tdes.encipherer(data(vector, "key"))(clear))
    return expects(vector, "clear_pinblock", clear)


def pin_verification_value(vector: Vector) -> bool:
    """The PVV."""
    given = vector["inputs"]
    found = pvv.pvv(tdes.encipherer(data(vector, "pvk")), pan_of(vector), int(given["pvki"]), given["pin"])
    return expects(vector, "pvv", found)


def ibm_3624(vector: Vector) -> bool:
    """Natural PIN, and PIN or offset."""
    given, expected = vector["inputs"], vector["expected"]
    enciphered = tdes.encipherer(data(vector, "pvk"))(data(vector, "validation_data"))
    natural = pin.natural_pin(enciphered, pin.decimalisation_map(given["dectable"]), given["pin_length"])
    if "offset" in expected:
        return expects(vector, "natural_pin", natural.decode()) and expects(
            vector, "offset", pin.offset_of(natural, given["pin"])
        )
    right = pin.pin_of(natural, given["offset"]).decode()
    return expects(vector, "natural_pin", natural.decode()) and expects(vector, "customer_pin", right)


def card_value(vector: Vector) -> bool:
    """CVV, CVV2, iCVV."""
    given, key = vector["inputs"], data(vector, "cvk")
    make = cvv.maker(tdes.encipherer(key[:8]), tdes.encipherer(key))
    return expects(vector, "cvv", make(cvv.data_of(given["pan"], given["expiry"], given["service_code"])))


def dynamic_value(vector: Vector) -> bool:
    """The dCVV."""
    given = vector["inputs"]
    card = emv.derived_key(tdes.encipherer(data(vector, "mdk")), emv.option_a_data(pan_of(vector), given["psn"]))
    made = cvv.card_data(CardValue.DCVV, pan_of(vector), given["expiry"], given["service_code"], given["atc"])
    return expects(vector, "dcvv", cvv.maker(tdes.encipherer(card[:8]), tdes.encipherer(card))(made))


def check_value(vector: Vector) -> bool:
    """By CMAC, and by the method of older systems."""
    if "kcv3" in vector["expected"]:
        return expects(vector, "kcv3", str(kcv.of_aes_legacy(data(vector, "key"))))
    return expects(vector, "kcv5", str(kcv.of_aes(data(vector, "key"))))


def key_block(vector: Vector) -> bool:
    """A key block opened."""
    block = vector["inputs"]["key_block"]
    header, key = tr31.Opener(data(vector, "kbpk"), block[0]).unwrap(block)
    of_key = kcv.of_aes(key) if header.algorithm == "A" else kcv.of_tdes(key)
    return expects(vector, "key", key) and expects(vector, "kcv", str(of_key))


def tdes_dukpt(vector: Vector) -> bool:
    """Initial key, transaction key, PIN block, MACs both ways, data of the request."""
    bdk, given = data(vector, "bdk"), vector["inputs"]
    ksn = (TdesKsn.parse_initial if "ik" in vector["expected"] else TdesKsn.parse)(given["ksn"])
    initial = dukpt_tdes.initial_key(tdes.encipherer(bdk), tdes.encipherer(dukpt_tdes.masked(bdk)), ksn)
    if "ik" in vector["expected"]:
        return expects(vector, "ik", initial)
    key = dukpt_tdes.transaction_key(initial, ksn)
    found = {"txn_key": key}
    if "pin" in given:
        text = given["txn_data_ascii"].encode("ascii")
        block = pinblock.encode_format_0(Pin(given["pin"]), pinblock.account_field(pan_of(vector)))
        found["enc_pinblock_iso0"] = tdes.encipherer(dukpt_tdes.pin_key(key))(block)
        found["mac_request4"] = mac.retail(dukpt_tdes.mac_request_key(key), 1)(text)
        found["mac_response4"] = mac.retail(dukpt_tdes.mac_response_key(key), 1)(text)
        padded = text + bytes(-len(text) % 8)
        found["enc_request_data"] = tdes.cbc(dukpt_tdes.data_request_key(key)).encryptor().update(padded)
    return found.keys() == vector["expected"].keys() and all(
        expects(vector, name, value) for name, value in found.items()
    )


def aes_dukpt(vector: Vector) -> bool:
    """Initial key, transaction key, working keys, PIN block."""
    bdk, given, expected = data(vector, "bdk"), vector["inputs"], dict(vector["expected"])
    if "ik" in expected:
        return expects(vector, "ik", dukpt_aes.initial_key(aes.encipherer(bdk), data(vector, "ikid"), 8 * len(bdk)))
    ksn = AesKsn.parse(given["ksn"])
    initial = dukpt_aes.initial_key(aes.encipherer(bdk), ksn.initial_key_id, 8 * len(bdk))
    key = dukpt_aes.transaction_key(initial, ksn)
    found = {"txn_key": key}
    uses = {"pin": Use.PIN_ENCRYPTION, "cmac": Use.MAC_GENERATION, "data": Use.DATA_ENCRYPTION}
    kinds = {"aes128": KeyType.AES_128, "aes256": KeyType.AES_256}
    for name in expected:
        use, _, rest = name.partition("_")
        if use in uses:
            kind = next(kinds[word] for word in kinds if word in rest)
            found[name] = dukpt_aes.working_key(key, ksn, uses[use], kind)
    if "encrypted_pinblock_verify" in expected:
        encipher, random = aes.encipherer(found["pin_key_aes128_verify"]), data(vector, "pin_field")[8:]
        found["encrypted_pinblock_verify"] = pinblock.encipher_format_4(
            encipher, Pin(given["pin"]), pan_of(vector), random
        )
    return found.keys() == expected.keys() and all(expects(vector, name, value) for name, value in found.items())


def retail_mac(vector: Vector) -> bool:
    """ISO 9797-1 algorithm 3."""
    make = mac.retail(data(vector, "key"), vector["inputs"]["padding"])
    return expects(vector, "mac8", make(data(vector, "message")))


def cbc_mac(vector: Vector) -> bool:
    """ISO 9797-1 algorithm 1."""
    make = mac.cbc_mac(data(vector, "key"), vector["inputs"]["padding"])
    return expects(vector, "mac4", make(data(vector, "message")))


def cmac(vector: Vector) -> bool:
    """CMAC of both ciphers."""
    make = mac.tdes_cmac if vector["name"].startswith("cmac.3des") else mac.aes_cmac
    return expects(vector, "mac", make(data(vector, "key"))(data(vector, "message")))


def hmac(vector: Vector) -> bool:
    """A signature of a bank's interface."""
    make = mac.hmac_sha256(vector["inputs"]["secret"].encode("ascii"))
    return make(vector["inputs"]["string_to_sign"].encode("ascii")).hex() == str(vector["expected"]["signature"])


def key_wrap(vector: Vector) -> bool:
    """AES-KW and AES-KWP, there and back, and what must be refused."""
    padded = vector["name"].startswith(("aeskwp", "kwp_"))
    unwrap = keywrap.unwrap_padded if padded else keywrap.unwrap
    if "result" in vector["expected"]:
        try:
            unwrap(data(vector, "kek"), data(vector, "ciphertext"))
        except KeyBlockError:
            return str(vector["expected"]["result"]) == "must be rejected"
        return False
    wrapped = (keywrap.wrap_padded if padded else keywrap.wrap)(data(vector, "kek"), data(vector, "plaintext"))
    return expects(vector, "ciphertext", wrapped) and unwrap(data(vector, "kek"), wrapped) == data(vector, "plaintext")


def chip(vector: Vector) -> bool:
    """Session keys, cryptograms, answers."""
    name, given = vector["name"], vector["inputs"]
    if name in EMV_PROFILES:
        issuer, arqc = emv.issuer(data(vector, "imk_ac")), bytes.fromhex(vector["expected"]["arqc"])
        return verify(profiles()[EMV_PROFILES[name]], issuer, pan_of(vector), given["psn"], tags_of(vector), arqc).ok
    if "icc_mk" in given:
        return expects(
            vector, "sk", emv.derived_key(tdes.encipherer(data(vector, "icc_mk")), emv.session_data(data(vector, "r")))
        )
    card = emv.issuer(bytes.fromhex(given.get("imk") or given["imk_ac"])).derive(
        emv.option_a_data(pan_of(vector), given["psn"])
    )
    if "r" in given:
        r = data(vector, "r")
    elif "M/Chip" in given.get("session_key", ""):
        r = emv.mchip_r(data(vector, "atc"), data(vector, "un"))
    else:
        r = emv.common_r(data(vector, "atc"))
    session = card.derive(emv.session_data(r))
    if name.startswith("emv.optA"):
        arqc = emv.code(session, data(vector, "data"))
        kcvs = expects(vector, "icc_mk_kcv2", card.whole(bytes(8))) and expects(
            vector, "sk_kcv2", session.whole(bytes(8))
        )
        arpc = "arpc" if "arpc" in vector["expected"] else "arpc_with_icc_mk_arc0000"
        return kcvs and expects(vector, "arqc", arqc) and expects(vector, arpc, emv.arpc_1(card, arqc, bytes(2)))
    if "arpc" in vector["expected"]:
        return expects(vector, "arpc", emv.arpc_1(session, data(vector, "arqc"), data(vector, "arc")))
    if "arpc4" in vector["expected"]:
        return expects(vector, "arpc4", emv.arpc_2(session, data(vector, "arqc"), data(vector, "csu")))
    padding = {"00": emv.PADDING_00, "80": emv.PADDING_80}[given["padding"]]
    return expects(vector, "arqc", emv.code(session, data(vector, "data"), padding))


FUNCTIONS: Mapping[str, Callable[[Vector], bool]] = MappingProxyType(
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

_PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "pinblock.": "PIN blocks",
        "pvv.": "PVV",
        "ibm3624.": "IBM 3624",
        "cvv.": "CVV, CVV2, iCVV",
        "dcvv.": "dynamic CVV",
        "kcv.": "check values",
        "tr31.": "key blocks",
        "dukpt.tdes.": "DUKPT, triple DES",
        "dukpt.aes": "DUKPT, AES",
        "mac.iso9797_alg3": "retail MAC",
        "mac.iso9797_alg1": "CBC-MAC",
        "cmac.": "CMAC",
        "hmac.": "HMAC",
        "aeskw": "AES key wrap",
        "kw_": "AES key wrap",
        "kwp_": "AES key wrap",
        "emv.": "EMV",
    }
)


def family_of(vector: Vector) -> str:
    """The family of a vector."""
    (family,) = {family for prefix, family in _PREFIXES.items() if vector["name"].startswith(prefix)}
    return family
