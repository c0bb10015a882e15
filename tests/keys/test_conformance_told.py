"""Every back end: what no table of permissions decides is refused and told too: formats, key blocks, KSN, the life of keys."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from keys import rsa_keys, tr31
from keys.cvv import CardValue
from keys.errors import KeysError
from keys.hsm import Dukpt, PinToVerify
from keys.keystore import Component
from keys.keytypes import Algorithm, KeySpec, KeyState, KeyUsage
from keys.permissions import Handling, Operation
from keys.pinblock import PinFormat
from keys.toolbox import Refusal
from keys.tr31_header import Header
from tests.keys.at_work import AES_KSN, PIN, TDES_KSN, new_label
from tests.keys.audited import KBPK, TOLD, Audited, audited_hsm
from tests.keys.backends import BACKENDS
from tests.keys.samples import PAN, SECOND_KEY, components, rsa_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.keytypes import KeyHandle

U = KeyUsage
ISO_0, ISO_1, ISO_2, ISO_3, ISO_4 = PinFormat
_NEW = "new.key"


@pytest.fixture(scope="module")
def audited(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """In each back end."""
    return audited_hsm(backend, tmp_path_factory.mktemp(backend))


class Refused(NamedTuple):
    """A call that is refused, what is told of it (key and operation), and a part of its words."""

    call: Callable[[Audited], object]
    key: KeyUsage | str
    operation: Operation | Handling
    said: str


def _translated(on: Audited, formats: tuple[PinFormat, PinFormat], source: KeyHandle | Dukpt | None = None) -> bytes:
    zpk = on.keys[U.PIN_ENCRYPTION]
    return on.hsm.translate_pin(bytes(8), source or zpk, zpk, PAN, formats)


def _asked(key: KeyHandle | Dukpt, pin_format: PinFormat = PinFormat.ISO_0) -> PinToVerify:
    return PinToVerify(bytes(8), key, PAN, "000000", pin_format)


def _bdk(on: Audited, ksn: bytes = bytes(TDES_KSN)) -> Dukpt:
    return Dukpt(on.keys[U.BASE_DERIVATION], ksn)


def _import(on: Audited, block: str, spec: KeySpec | None = None) -> KeyHandle:
    return on.hsm.import_block(new_label(), block, on.keys[U.KEY_BLOCK_PROTECTION], spec)


def _block(usage: str, key: bytes = SECOND_KEY) -> str:
    return tr31.wrap(KBPK, Header("D", usage, "T", "C"), key)


REFUSED: Mapping[str, Refused] = {
    "encipher in a format of AES": Refused(
        lambda on: on.hsm.encipher_pin(PIN, on.keys[U.PIN_ENCRYPTION], PAN, ISO_4),
        U.PIN_ENCRYPTION, Operation.ENCIPHER_PIN, "ISO_4 is not made or read with a key of algorithm T",
    ),
    "encipher in a format that is only read": Refused(
        lambda on: on.hsm.encipher_pin(PIN, on.keys[U.PIN_ENCRYPTION], PAN, ISO_1),
        U.PIN_ENCRYPTION, Operation.ENCIPHER_PIN, "makes no enciphered PIN block of ISO_1",
    ),
    "encipher for an AES terminal with a key of triple DES": Refused(
        lambda on: on.hsm.encipher_pin(PIN, _bdk(on), PAN, ISO_4),
        U.BASE_DERIVATION, Operation.DERIVE_PIN_KEY, "with a key of algorithm T",
    ),
    "verify a format of AES": Refused(
        lambda on: on.hsm.verify_pin(_asked(on.keys[U.PIN_ENCRYPTION], ISO_4), on.keys[U.PIN_VERIFICATION_IBM]),
        U.PIN_ENCRYPTION, Operation.DECIPHER_PIN, "with a key of algorithm T",
    ),
    "verify format 0 with a key of AES": Refused(
        lambda on: on.hsm.verify_pins([_asked(_aes_zpk(on))], on.keys[U.PIN_VERIFICATION_IBM]),
        "PIN_ENCRYPTION.aes#1", Operation.DECIPHER_PIN, "with a key of algorithm A",
    ),
    "choose in a format of chip cards": Refused(
        lambda on: on.hsm.choose_pin(
            bytes(8), on.keys[U.PIN_ENCRYPTION], on.keys[U.PIN_VERIFICATION_IBM], PAN, None, ISO_2
        ),
        U.PIN_ENCRYPTION, Operation.DECIPHER_PIN, "ISO_2",
    ),
    "translate what PCI PIN 3-3 forbids": Refused(
        lambda on: _translated(on, (ISO_0, ISO_2)), U.PIN_ENCRYPTION, Operation.DECIPHER_PIN, "PCI PIN 3-3",
    ),
    "translate into a format that is only read": Refused(
        lambda on: _translated(on, (ISO_1, ISO_1)), U.PIN_ENCRYPTION, Operation.DECIPHER_PIN, "never made",
    ),
    "translate a terminal's block so": Refused(
        lambda on: _translated(on, (ISO_3, ISO_2), _bdk(on)),
        U.BASE_DERIVATION, Operation.DERIVE_PIN_KEY, "PCI PIN 3-3",
    ),
    "translate into a format of AES": Refused(
        lambda on: _translated(on, (ISO_0, ISO_4)), U.PIN_ENCRYPTION, Operation.ENCIPHER_PIN, "of algorithm T",
    ),
    "make a dynamic value": Refused(
        lambda on: on.hsm.card_value(CardValue.DCVV, on.keys[U.CARD_VERIFICATION], PAN, "2912"),
        U.CARD_VERIFICATION, Operation.MAKE_CARD_VALUE, "never made here",
    ),
    "verify a dynamic value with a CVK": Refused(
        lambda on: on.hsm.verify_card_value(CardValue.DCVV, on.keys[U.CARD_VERIFICATION], PAN, "2912", "123"),
        U.CARD_VERIFICATION, Operation.VERIFY_CARD_VALUE, "never made here",
    ),
    "a KSN of another length": Refused(
        lambda on: on.hsm.mac(_bdk(on, bytes(AES_KSN)), b"data"),
        U.BASE_DERIVATION, Operation.DERIVE_MAC_KEY, "has not 10 bytes",
    ),
    "a KSN with too many one-bits": Refused(
        lambda on: on.hsm.verify_mac(_bdk(on, bytes.fromhex("FFFF9876543210FFFFFF")), b"data", bytes(8)),
        U.BASE_DERIVATION, Operation.DERIVE_MAC_KEY, "one-bits",
    ),
    "a KSN of counter zero": Refused(
        lambda on: on.hsm.encipher_pin(PIN, _bdk(on, bytes.fromhex("FFFF9876543210E00000")), PAN),
        U.BASE_DERIVATION, Operation.DERIVE_PIN_KEY, "counter zero",
    ),
    "a state that does not follow": Refused(
        lambda on: on.hsm.set_state(on.keys[U.MAC_CBC], KeyState.DESTROYED),
        U.MAC_CBC, Handling.CHANGE_STATE, "is ACTIVE and cannot become DESTROYED",
    ),
    "a last day before the first": Refused(
        lambda on: on.hsm.end_on(_dated(on), date(2026, 9, 30)), "dated#1", Handling.END, "last day",
    ),
    "a last day that is later": Refused(
        lambda on: on.hsm.end_on(_dated(on), date(2027, 1, 1)), "dated#1", Handling.END, "and no later",
    ),
    "a stranger looked at": Refused(lambda on: on.hsm.info(_stranger()), "stranger#1", Handling.LOOK, "not a key of"),
    "no key looked at": Refused(
        lambda on: on.hsm.kcv(None), "no handle", Handling.LOOK, "not a key of",  # type: ignore[arg-type]
    ),
    "a stranger suspended": Refused(
        lambda on: on.hsm.set_state(_stranger(), KeyState.SUSPENDED), "stranger#1", Handling.CHANGE_STATE, "not a key of",
    ),
    "a stranger ended": Refused(
        lambda on: on.hsm.end_on(_stranger(), date(2027, 1, 1)), "stranger#1", Handling.END, "not a key of",
    ),
    "a block that was changed": Refused(
        lambda on: _import(on, on.block[:-1] + ("0" if on.block[-1] != "0" else "1")),
        U.KEY_BLOCK_PROTECTION, Operation.UNWRAP_KEY, "not authentic",
    ),
    "a block whose header was changed": Refused(
        lambda on: _import(on, on.block.replace("M3TC", "M3TG", 1)),
        U.KEY_BLOCK_PROTECTION, Operation.UNWRAP_KEY, "not authentic",
    ),
    "what is no block": Refused(
        lambda on: _import(on, "Z"), U.KEY_BLOCK_PROTECTION, Operation.UNWRAP_KEY, "16 to 9999",
    ),
    "a block of an older version": Refused(
        lambda on: _import(on, "C" + on.block[1:]), U.KEY_BLOCK_PROTECTION, Operation.UNWRAP_KEY, "not opened here",
    ),
    "a block with a usage that is not kept": Refused(
        lambda on: _import(on, _block("G0")), U.KEY_BLOCK_PROTECTION, Operation.UNWRAP_KEY, "not kept here",
    ),
    "a block with a weak key": Refused(
        lambda on: _import(on, _block("M3", SECOND_KEY[:8] * 2)),
        U.KEY_BLOCK_PROTECTION, Operation.UNWRAP_KEY, "equal parts",
    ),
    "a block with another key than told": Refused(
        lambda on: _import(on, on.block, KeySpec(U.PIN_ENCRYPTION)),
        U.KEY_BLOCK_PROTECTION, Operation.UNWRAP_KEY, "and no other",
    ),
    "a block with a key of another length than told": Refused(
        lambda on: _import(on, on.block, KeySpec(U.MAC_RETAIL, bits=192)),
        U.KEY_BLOCK_PROTECTION, Operation.UNWRAP_KEY, "has 128 bits, not the 192 asked for",
    ),
    "a key that is stronger than its protection": Refused(
        lambda on: on.hsm.export_block(on.keys[U.MAC_HMAC], _weak_kbpk(on)),
        U.MAC_HMAC, Operation.LEAVE, "weaker than the key it protects",
    ),
    "a key made that may not be": Refused(
        lambda on: on.hsm.generate(KeySpec(U.MAC_RETAIL, Algorithm.AES), _NEW),
        _NEW, Handling.BRING_IN, "does not go with algorithm A",
    ),
    "a label that is none": Refused(
        lambda on: on.hsm.generate(U.MAC_RETAIL, "a\nb"), "no label", Handling.BRING_IN, "a key label has",
    ),
    "a weak key formed": Refused(
        lambda on: on.hsm.form(U.MAC_RETAIL, _NEW, components(SECOND_KEY[:8] * 2)),
        _NEW, Handling.BRING_IN, "equal parts",
    ),
    "a key formed of another length than told": Refused(
        lambda on: on.hsm.form(KeySpec(U.PIN_ENCRYPTION, bits=192), _NEW, components(SECOND_KEY)),
        _NEW, Handling.BRING_IN, "key new.key: has 128 bits, not the 192 asked for",
    ),
    "a component of zeros": Refused(
        lambda on: on.hsm.enter_component(
            U.MAC_RETAIL, Component(_NEW, 1, 2, "siti", date(2026, 10, 5), ""), bytes(16)
        ),
        _NEW, Handling.BRING_IN, "not all of them zero",
    ),
    "an RSA key that is none": Refused(
        lambda on: on.hsm.import_signing_key(_NEW, b"no key"), _NEW, Handling.BRING_IN, "public key",
    ),
    "an RSA key of another length than told": Refused(
        lambda on: on.hsm.import_signing_key(_NEW, rsa_keys.public_of(rsa_private()), KeySpec(U.SIGNATURE, bits=3072)),
        _NEW, Handling.BRING_IN, "has 2048 bits, not the 3072 asked for",
    ),
    "a short secret": Refused(
        lambda on: on.hsm.import_secret(_NEW, b"fifteen letters"), _NEW, Handling.BRING_IN, "16 to 1024 bytes",
    ),
}  # fmt: skip


def _aes_zpk(on: Audited) -> KeyHandle:
    label = on.keys[U.PIN_ENCRYPTION].label + ".aes"
    known = on.hsm.versions(label)
    return known[0] if known else on.hsm.generate(KeySpec(U.PIN_ENCRYPTION, Algorithm.AES), label)


def _dated(on: Audited) -> KeyHandle:
    known = on.hsm.versions("dated")
    first, last = date(2026, 10, 1), date(2026, 12, 31)
    return known[0] if known else on.hsm.generate(KeySpec(U.MAC_CMAC, active_from=first, active_to=last), "dated")


def _weak_kbpk(on: Audited) -> KeyHandle:
    known = on.hsm.versions("weak")
    return known[0] if known else on.hsm.generate(KeySpec(U.KEY_BLOCK_PROTECTION, Algorithm.AES, bits=128), "weak")


def _stranger() -> KeyHandle:
    return BACKENDS["memory"](Path()).generate(U.MAC_CMAC, "stranger")


@pytest.mark.parametrize("case", REFUSED)
def test_what_else_is_refused_is_told(audited: Audited, case: str) -> None:
    """Key, operation and the very words of the error, once; and no key has come into being, or changed."""
    refused = REFUSED[case]
    for make in (_aes_zpk, _dated, _weak_kbpk):
        make(audited)
    before, key = audited.hsm.keys(), refused.key
    name = f"{audited.keys[key].label}#1" if isinstance(key, KeyUsage) else key
    error = audited.told(name, refused.operation, lambda: refused.call(audited))
    assert isinstance(error, TOLD), case
    assert refused.said in str(error)
    assert before == audited.hsm.keys()


def test_a_pin_of_a_number_that_cannot_be_is_wrong_and_told(audited: Audited) -> None:
    """Outside it is a wrong PIN like every other; the auditor hears of the number."""
    asked = _asked(_bdk(audited, bytes(10)))
    audited.heard.clear()
    assert [False] == audited.hsm.verify_pins([asked], audited.keys[U.PIN_VERIFICATION_IBM])
    key = audited.keys[U.BASE_DERIVATION]
    reason = "counter zero of a KSN is the initial key's: no transaction has it"
    assert [Refusal(f"{key.label}#1", Operation.DERIVE_PIN_KEY, reason)] == audited.heard


def test_what_is_wrong_for_no_key_is_not_told(audited: Audited) -> None:
    """A wrong PIN, a wrong MAC, sealed data that was changed: the caller's to count."""
    audited.heard.clear()
    assert not audited.hsm.verify_pin(_asked(audited.keys[U.PIN_ENCRYPTION]), audited.keys[U.PIN_VERIFICATION_IBM])
    assert not audited.hsm.verify_mac(audited.keys[U.MAC_RETAIL], b"data", bytes(8))
    with pytest.raises(KeysError):
        audited.hsm.unseal(audited.keys[U.DATA_SEALING], bytes(40), b"place")
    assert [] == audited.heard
