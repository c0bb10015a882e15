"""Every command of the facade that asks something of a key, as a call with right data, which says whether the answer is right.

A trial has an HSM with one key of each kind; a twin, with the same bytes and every mode, makes the data and judges answers.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from keys import aes, cvv, dukpt_aes, dukpt_tdes, emv, mac, tdes
from keys.cvv import CardValue
from keys.emv_profile import profiles
from keys.hsm import Dukpt, PinToVerify
from keys.kcv import KcvMethod
from keys.keytypes import Algorithm, Exportability, KeyHandle, KeyMode, KeySpec, KeyUsage
from keys.ksn import AesKsn, TdesKsn
from keys.permissions import Operation
from keys.pinblock import PinFormat
from keys.sensitive import Pin
from keys.software import SoftwareHsm
from keys.usages import USAGES
from tests.keys.samples import PAN, TODAY, components, key_of, vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.toolbox import Refusal

PIN, OTHER_PIN = Pin("271828"), Pin("314159")
ARC = b"00"
COMMAND = bytes.fromhex("8424000008")
KSN = {
    KcvMethod.TDES_ECB_ZERO: bytes.fromhex("FFFF9876543210E00003"),
    KcvMethod.AES_CMAC_ZERO: bytes.fromhex("123456789012345600000003"),
}
EXPORTABLE = Exportability.EXPORTABLE
WIDEST = (KeyMode.BOTH, KeyMode.GENERATE_AND_VERIFY, KeyMode.DERIVE, KeyMode.SIGN, KeyMode.GENERATE)


class Trial:
    """An HSM to be asked, the refusals its auditor heard of, and the day it has."""

    def __init__(self) -> None:
        self.day = TODAY
        self.refusals: list[Refusal] = []
        self.hsm = SoftwareHsm.in_memory(today=lambda: self.day, on_refusal=self.refusals.append)
        self.zpk = keep(self.hsm, KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk")
        self.pvk = keep(self.hsm, KeySpec(KeyUsage.PIN_VERIFICATION_IBM), "pvk")
        self.kbpk = keep(self.hsm, KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.AES), "kbpk")
        self.link = keep(self.hsm, KeySpec(KeyUsage.MAC_RETAIL, exportability=EXPORTABLE), "link")


class Call(NamedTuple):
    """A command, which of its keys is tried, what it needs that key to be allowed, in order, and the call itself."""

    command: str
    place: str
    needs: tuple[Operation, ...]
    is_right: Callable[[Trial, KeyHandle], bool]
    dukpt: bool = False


def keep(hsm: SoftwareHsm, spec: KeySpec, label: str) -> KeyHandle:
    """A key of known bytes: those of samples.key_of."""
    info, material = key_of(spec.usage, spec.algorithm, mode=spec.mode)
    spec = replace(spec, attributes=spec.attributes or info.attributes)
    if info.algorithm is Algorithm.RSA:
        return hsm.import_signing_key(label, material.reveal(), spec)
    return hsm.form(spec, label, components(material.reveal()))


TWIN = SoftwareHsm.in_memory()
_TWINS: dict[tuple[KeyUsage, str], KeyHandle] = {}
for _usage, _rule in USAGES.items():
    for _algorithm in _rule.algorithms:
        _mode = next(mode for mode in WIDEST if mode in _rule.modes)
        _spec = KeySpec(_usage, _algorithm, _mode, exportability=EXPORTABLE)
        _handle = keep(TWIN, _spec, f"{_usage}.{_algorithm}")
        _TWINS[_usage, str(_handle.kcv)] = _handle
PUBLIC = keep(TWIN, KeySpec(KeyUsage.SIGNATURE, mode=KeyMode.VERIFY), "public")


def twin(key: KeyHandle, *wanted: KeyUsage) -> KeyHandle:
    """The twin of a key; for one that is not of a usage WANTED, the twin's first of that."""
    if key.usage in wanted:
        return _TWINS[key.usage, str(key.kcv)]
    return next(handle for (usage, _), handle in _TWINS.items() if usage is wanted[0])


def _format(key: KeyHandle) -> PinFormat:
    return PinFormat.ISO_4 if key.kcv.method is KcvMethod.AES_CMAC_ZERO else PinFormat.ISO_0


def _dukpt(key: KeyHandle) -> Dukpt:
    return Dukpt(key, KSN.get(key.kcv.method, KSN[KcvMethod.TDES_ECB_ZERO]))


def _pin_key(key: KeyHandle) -> KeyHandle:
    return twin(key, KeyUsage.PIN_ENCRYPTION)


def _dukpt_key(key: KeyHandle) -> Dukpt:
    return _dukpt(twin(key, KeyUsage.BASE_DERIVATION, KeyUsage.INITIAL_DUKPT))


def _pvk(key: KeyHandle | None = None) -> KeyHandle:
    own = twin(PUBLIC, KeyUsage.PIN_VERIFICATION_IBM) if key is None else key
    return twin(own, KeyUsage.PIN_VERIFICATION_IBM, KeyUsage.PIN_VERIFICATION_PVV)


_ZPK = twin(PUBLIC, KeyUsage.PIN_ENCRYPTION)
_KBPK = next(handle for (usage, _), handle in _TWINS.items() if usage is KeyUsage.KEY_BLOCK_PROTECTION)
_LINK = twin(PUBLIC, KeyUsage.MAC_RETAIL)


@functools.cache
def _block(key: KeyHandle | Dukpt, pin: Pin = PIN) -> bytes:
    """A PIN block by the twin."""
    return TWIN.encipher_pin(pin, key, PAN, _format(key.key if isinstance(key, Dukpt) else key))


@functools.cache
def _reference(pvk: KeyHandle, pin: Pin = PIN) -> str:
    return TWIN.choose_pin(_block(_ZPK, pin), _ZPK, pvk, PAN, None)


def _is_pin(block: bytes, key: KeyHandle | Dukpt) -> bool:
    """Whether the twin finds the PIN in a block."""
    handle = key.key if isinstance(key, Dukpt) else key
    return TWIN.verify_pin(PinToVerify(block, key, PAN, _reference(_pvk()), _format(handle)), _pvk())


def _to_verify(key: KeyHandle | Dukpt, by: KeyHandle | Dukpt) -> PinToVerify:
    """What the twin enciphered BY its key, to be deciphered with KEY."""
    handle = by.key if isinstance(by, Dukpt) else by
    return PinToVerify(_block(by), key, PAN, _reference(_pvk()), _format(handle))


def _pin_calls(
    operation: Operation, key_of_call: Callable[[KeyHandle], KeyHandle | Dukpt], *, dukpt: bool
) -> list[Call]:
    """The commands that take a PIN block, by the key it is under: a ZPK, or one of DUKPT."""
    peer = _dukpt_key if dukpt else _pin_key

    def verify(trial: Trial, key: KeyHandle) -> bool:
        return trial.hsm.verify_pin(_to_verify(key_of_call(key), peer(key)), trial.pvk)

    def verify_many(trial: Trial, key: KeyHandle) -> bool:
        asked = _to_verify(key_of_call(key), peer(key))
        other = asked._replace(reference=_reference(_pvk(), OTHER_PIN))
        return [True, False, True] == trial.hsm.verify_pins([asked, other, asked], trial.pvk)

    def choose(trial: Trial, key: KeyHandle) -> bool:
        asked = _to_verify(key_of_call(key), peer(key))
        chosen = trial.hsm.choose_pin(asked.block, asked.key, trial.pvk, PAN, None, asked.pin_format)
        return _reference(_pvk()) == chosen

    def change(trial: Trial, key: KeyHandle) -> bool:
        old = _to_verify(key_of_call(key), peer(key))
        changed = trial.hsm.change_pin(old, _block(peer(key), OTHER_PIN), trial.pvk, None)
        return _reference(_pvk(), OTHER_PIN) == changed

    def translate(trial: Trial, key: KeyHandle) -> bool:
        asked = _to_verify(key_of_call(key), peer(key))
        formats = (asked.pin_format, PinFormat.ISO_0)
        return _is_pin(trial.hsm.translate_pin(asked.block, asked.key, trial.zpk, PAN, formats), _ZPK)

    needs = (operation,)
    return [
        Call("verify_pin", "asked", needs, verify, dukpt),
        Call("verify_pins", "asked", needs, verify_many, dukpt),
        Call("choose_pin", "key", needs, choose, dukpt),
        Call("change_pin", "old", needs, change, dukpt),
        Call("translate_pin", "source", needs, translate, dukpt),
    ]


def _encipher(trial: Trial, key: KeyHandle) -> bool:
    return _is_pin(trial.hsm.encipher_pin(PIN, key, PAN, _format(key)), _pin_key(key))


def _encipher_dukpt(trial: Trial, key: KeyHandle) -> bool:
    return _is_pin(trial.hsm.encipher_pin(PIN, _dukpt(key), PAN, _format(key)), _dukpt_key(key))


def _random(trial: Trial, key: KeyHandle) -> bool:
    new = trial.hsm.random_pin(key, trial.pvk, PAN, _format(key))
    return TWIN.verify_pin(PinToVerify(new.block, _pin_key(key), PAN, new.reference, _format(key)), _pvk())


def _translate_to(trial: Trial, key: KeyHandle) -> bool:
    formats = (PinFormat.ISO_0, _format(key))
    return _is_pin(trial.hsm.translate_pin(_block(_ZPK), trial.zpk, key, PAN, formats), _pin_key(key))


def _verify_with(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.verify_pin(PinToVerify(_block(_ZPK), trial.zpk, PAN, _reference(_pvk(key))), key)


def _verify_many_with(trial: Trial, key: KeyHandle) -> bool:
    asked = [PinToVerify(_block(_ZPK, pin), trial.zpk, PAN, _reference(_pvk(key))) for pin in (PIN, OTHER_PIN)]
    return [True, False] == trial.hsm.verify_pins(asked, key)


def _choose_with(trial: Trial, key: KeyHandle) -> bool:
    return _reference(_pvk(key)) == trial.hsm.choose_pin(_block(_ZPK), trial.zpk, key, PAN, None)


def _change_with(trial: Trial, key: KeyHandle) -> bool:
    old = PinToVerify(_block(_ZPK), trial.zpk, PAN, _reference(_pvk(key)))
    return _reference(_pvk(key), OTHER_PIN) == trial.hsm.change_pin(old, _block(_ZPK, OTHER_PIN), key, None)


def _random_with(trial: Trial, key: KeyHandle) -> bool:
    new = trial.hsm.random_pin(trial.zpk, key, PAN)
    return TWIN.verify_pin(PinToVerify(new.block, _ZPK, PAN, new.reference), _pvk(key))


def _card_value(trial: Trial, key: KeyHandle) -> bool:
    made = trial.hsm.card_value(CardValue.CVV2, key, PAN, "2912")
    return made == TWIN.card_value(CardValue.CVV2, twin(key, KeyUsage.CARD_VERIFICATION), PAN, "2912")


def _verify_card_value(trial: Trial, key: KeyHandle) -> bool:
    value = TWIN.card_value(CardValue.ICVV, twin(key, KeyUsage.CARD_VERIFICATION), PAN, "2912")
    return trial.hsm.verify_card_value(CardValue.ICVV, key, PAN, "2912", value)


def _verify_dynamic_value(trial: Trial, key: KeyHandle) -> bool:
    _, material = key_of(KeyUsage.ISSUER_DYNAMIC_NUMBER)
    card = emv.SoftwareDeriver(material.reveal()).derive(emv.option_a_data(PAN, "00"))
    value = cvv.maker(card.half, card.whole)(cvv.card_data(CardValue.DCVV, PAN, "2912", "201", "0007"))
    return trial.hsm.verify_dynamic_value(key, PAN, "00", "2912", "201", "0007", value)


_PROFILE = profiles()["nsiccs"]


@functools.cache
def _chip() -> dict[str, bytes]:
    """The data of a transaction, with a cryptogram under the sample issuer key."""
    tags = {tag: bytes.fromhex(value) for tag, value in vectors("emv.nsiccs")[0]["inputs"]["tags"].items()}
    signed, issuer = _PROFILE.read(tags), emv.issuer(key_of(KeyUsage.ISSUER_CRYPTOGRAM)[1].reveal())
    session = issuer.derive(_PROFILE.master_data(PAN, "00")).derive(emv.session_data(signed.r or b""))
    return tags | {"9F26": emv.code(session, signed.data, _PROFILE.padding)}


def _verify_cryptogram(trial: Trial, key: KeyHandle) -> bool:
    answer = trial.hsm.verify_cryptogram(_PROFILE, key, PAN, "00", _chip(), ARC)
    return answer.right and answer.arpc is not None


def _script_mac(trial: Trial, key: KeyHandle) -> bool:
    made = trial.hsm.script_mac(_PROFILE, key, PAN, "00", _chip(), COMMAND)
    return made == TWIN.script_mac(_PROFILE, twin(key, KeyUsage.ISSUER_SCRIPT_MAC), PAN, "00", _chip(), COMMAND)


def _script_encipher(trial: Trial, key: KeyHandle) -> bool:
    made = trial.hsm.script_encipher(_PROFILE, key, PAN, "00", _chip(), bytes(8))
    own = twin(key, KeyUsage.ISSUER_SCRIPT_SECRECY)
    return made == TWIN.script_encipher(_PROFILE, own, PAN, "00", _chip(), bytes(8))


def _mac_key(key: KeyHandle) -> KeyHandle:
    return twin(key, KeyUsage.MAC_RETAIL, KeyUsage.MAC_CBC, KeyUsage.MAC_CMAC, KeyUsage.MAC_HMAC)


def _mac(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.mac(key, b"data") == TWIN.mac(_mac_key(key), b"data")


def _verify_mac(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.verify_mac(key, b"data", TWIN.mac(_mac_key(key), b"data"))


def _verify_record(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.verify_record(key, b"data", TWIN.mac(_mac_key(key), b"data"))


def _translate_mac(trial: Trial, key: KeyHandle) -> bool:
    made = trial.hsm.translate_mac(key, trial.link, b"data", TWIN.mac(_mac_key(key), b"data"))
    return made == TWIN.mac(_LINK, b"data")


def _translate_mac_to(trial: Trial, key: KeyHandle) -> bool:
    made = trial.hsm.translate_mac(trial.link, key, b"data", TWIN.mac(_LINK, b"data"))
    return made == TWIN.mac(_mac_key(key), b"data")


def _mac_dukpt(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.mac(_dukpt(key), b"data") == TWIN.mac(_dukpt_key(key), b"data")


def _verify_mac_dukpt(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.verify_mac(_dukpt(key), b"data", _terminal_mac(_dukpt_key(key)))


def _translate_mac_dukpt(trial: Trial, key: KeyHandle) -> bool:
    made = trial.hsm.translate_mac(_dukpt(key), trial.link, b"data", _terminal_mac(_dukpt_key(key)))
    return made == TWIN.mac(_LINK, b"data")


@functools.cache
def _terminal_mac(asked: Dukpt) -> bytes:
    """What a terminal sends: no HSM makes it, so here it is made of the bytes of the key."""
    info = TWIN.info(asked.key)
    initial = key_of(info.usage, info.algorithm)[1].reveal()
    if info.algorithm is Algorithm.TDES:
        ksn = TdesKsn.parse(asked.ksn)
        if info.usage is KeyUsage.BASE_DERIVATION:
            encipher, masked = tdes.encipherer(initial), tdes.encipherer(dukpt_tdes.masked(initial))
            initial = dukpt_tdes.initial_key(encipher, masked, ksn)
        return mac.retail(dukpt_tdes.mac_request_key(dukpt_tdes.transaction_key(initial, ksn)), 1)(b"data")
    aes_ksn = AesKsn.parse(asked.ksn)
    if info.usage is KeyUsage.BASE_DERIVATION:
        initial = dukpt_aes.initial_key(aes.encipherer(initial), aes_ksn.initial_key_id, info.bits)
    transaction = dukpt_aes.transaction_key(initial, aes_ksn)
    key = dukpt_aes.working_key(transaction, aes_ksn, dukpt_aes.Use.MAC_GENERATION, dukpt_aes.KeyType.AES_256)
    return mac.aes_cmac(key)(b"data")[:8]


def _seal(trial: Trial, key: KeyHandle) -> bool:
    return b"text" == TWIN.unseal(twin(key, KeyUsage.DATA_SEALING), trial.hsm.seal(key, b"text", b"row 1"), b"row 1")


def _unseal(trial: Trial, key: KeyHandle) -> bool:
    sealed = TWIN.seal(twin(key, KeyUsage.DATA_SEALING), b"text", b"row 1")
    return b"text" == trial.hsm.unseal(key, sealed, b"row 1")


def _blind_index(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.blind_index(key, b"text") == TWIN.blind_index(twin(key, KeyUsage.BLIND_INDEX), b"text")


def _sign(trial: Trial, key: KeyHandle) -> bool:
    return TWIN.verify_signature(PUBLIC, b"data", trial.hsm.sign(key, b"data"))


@functools.cache
def _signature() -> bytes:
    return TWIN.sign(twin(PUBLIC, KeyUsage.SIGNATURE), b"data")


def _verify_signature(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.verify_signature(key, b"data", _signature())


def _public_key(trial: Trial, key: KeyHandle) -> bool:
    return trial.hsm.public_key(key) == TWIN.public_key(twin(key, KeyUsage.SIGNATURE))


def _import(trial: Trial, key: KeyHandle) -> bool:
    block = TWIN.export_block(_LINK, twin(key, KeyUsage.KEY_BLOCK_PROTECTION))
    return _LINK.kcv == trial.hsm.import_block("came", block, key).kcv


def _export_under(trial: Trial, key: KeyHandle) -> bool:
    block = trial.hsm.export_block(trial.link, key)
    return _LINK.kcv == TWIN.import_block("went", block, twin(key, KeyUsage.KEY_BLOCK_PROTECTION)).kcv


def _export(trial: Trial, key: KeyHandle) -> bool:
    block = trial.hsm.export_block(key, trial.kbpk)
    return key.kcv == TWIN.import_block(f"went.{key.usage}", block, _KBPK).kcv


def _rewrap_from(trial: Trial, key: KeyHandle) -> bool:
    block = TWIN.export_block(_LINK, twin(key, KeyUsage.KEY_BLOCK_PROTECTION))
    return _LINK.kcv == TWIN.import_block("passed", trial.hsm.rewrap_block(block, key, trial.kbpk), _KBPK).kcv


def _rewrap_to(trial: Trial, key: KeyHandle) -> bool:
    block = trial.hsm.rewrap_block(TWIN.export_block(_LINK, _KBPK), trial.kbpk, key)
    return _LINK.kcv == TWIN.import_block("passed", block, twin(key, KeyUsage.KEY_BLOCK_PROTECTION)).kcv


CALLS = [
    Call("encipher_pin", "key", (Operation.ENCIPHER_PIN,), _encipher),
    Call("encipher_pin", "key", (Operation.DERIVE_PIN_KEY,), _encipher_dukpt, dukpt=True),
    *_pin_calls(Operation.DECIPHER_PIN, lambda key: key, dukpt=False),
    *_pin_calls(Operation.DERIVE_PIN_KEY, _dukpt, dukpt=True),
    Call("random_pin", "key", (Operation.ENCIPHER_PIN,), _random),
    Call("translate_pin", "target", (Operation.ENCIPHER_PIN,), _translate_to),
    Call("verify_pin", "verification_key", (Operation.VERIFY_PIN,), _verify_with),
    Call("verify_pins", "verification_key", (Operation.VERIFY_PIN,), _verify_many_with),
    Call("choose_pin", "verification_key", (Operation.MAKE_REFERENCE,), _choose_with),
    Call("change_pin", "verification_key", (Operation.VERIFY_PIN, Operation.MAKE_REFERENCE), _change_with),
    Call("random_pin", "verification_key", (Operation.MAKE_REFERENCE,), _random_with),
    Call("card_value", "key", (Operation.MAKE_CARD_VALUE,), _card_value),
    Call("verify_card_value", "key", (Operation.VERIFY_CARD_VALUE,), _verify_card_value),
    Call("verify_dynamic_value", "key", (Operation.VERIFY_DYNAMIC_VALUE,), _verify_dynamic_value),
    Call("verify_cryptogram", "key", (Operation.VERIFY_CRYPTOGRAM,), _verify_cryptogram),
    Call("script_mac", "key", (Operation.MAC_SCRIPT,), _script_mac),
    Call("script_encipher", "key", (Operation.ENCIPHER_SCRIPT,), _script_encipher),
    Call("mac", "key", (Operation.MAKE_MAC,), _mac),
    Call("mac", "key", (Operation.DERIVE_MAC_KEY,), _mac_dukpt, dukpt=True),
    Call("verify_mac", "key", (Operation.VERIFY_MAC,), _verify_mac),
    Call("verify_mac", "key", (Operation.DERIVE_MAC_KEY,), _verify_mac_dukpt, dukpt=True),
    Call("verify_record", "key", (Operation.VERIFY_RECORD,), _verify_record),
    Call("translate_mac", "source", (Operation.VERIFY_MAC,), _translate_mac),
    Call("translate_mac", "source", (Operation.DERIVE_MAC_KEY,), _translate_mac_dukpt, dukpt=True),
    Call("translate_mac", "target", (Operation.MAKE_MAC,), _translate_mac_to),
    Call("seal", "key", (Operation.SEAL,), _seal),
    Call("unseal", "key", (Operation.UNSEAL,), _unseal),
    Call("blind_index", "key", (Operation.BLIND_INDEX,), _blind_index),
    Call("sign", "key", (Operation.SIGN,), _sign),
    Call("verify_signature", "key", (Operation.VERIFY_SIGNATURE,), _verify_signature),
    Call("public_key", "handle", (Operation.SHOW_PUBLIC,), _public_key),
    Call("import_block", "kbpk", (Operation.UNWRAP_KEY,), _import),
    Call("rewrap_block", "source", (Operation.UNWRAP_KEY,), _rewrap_from),
    Call("rewrap_block", "target", (Operation.WRAP_KEY,), _rewrap_to),
    Call("export_block", "kbpk", (Operation.WRAP_KEY,), _export_under),
    Call("export_block", "handle", (Operation.LEAVE,), _export),
]
