"""Every back end: what a key may not do is refused and told to the auditor, operation by operation, usage by usage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keys.cvv import CardValue
from keys.errors import KeyRefused
from keys.hsm import Dukpt
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyState, KeyUsage
from keys.permissions import Operation
from keys.usages import USAGES
from tests.keys.at_work import COMMAND, NSICCS, PIN, TAGS, TDES_KSN, new_label
from tests.keys.audited import Audited, audited_hsm, spec_of
from tests.keys.backends import BACKENDS
from tests.keys.samples import PAN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.keytypes import KeyHandle

U = KeyUsage
_MACS = {U.MAC_CBC, U.MAC_RETAIL, U.MAC_CMAC, U.MAC_HMAC}

# Spelled out by hand, apart from the table that the code uses.
MAY: Mapping[Operation, set[KeyUsage]] = {
    Operation.ENCIPHER_PIN: {U.PIN_ENCRYPTION},
    Operation.DECIPHER_PIN: {U.PIN_ENCRYPTION},
    Operation.DERIVE_PIN_KEY: {U.BASE_DERIVATION, U.INITIAL_DUKPT},
    Operation.DERIVE_MAC_KEY: {U.BASE_DERIVATION, U.INITIAL_DUKPT},
    Operation.MAKE_REFERENCE: {U.PIN_VERIFICATION_IBM, U.PIN_VERIFICATION_PVV},
    Operation.VERIFY_PIN: {U.PIN_VERIFICATION_IBM, U.PIN_VERIFICATION_PVV},
    Operation.MAKE_CARD_VALUE: {U.CARD_VERIFICATION},
    Operation.VERIFY_CARD_VALUE: {U.CARD_VERIFICATION},
    Operation.VERIFY_DYNAMIC_VALUE: {U.ISSUER_DYNAMIC_NUMBER},
    Operation.VERIFY_CRYPTOGRAM: {U.ISSUER_CRYPTOGRAM},
    Operation.MAC_SCRIPT: {U.ISSUER_SCRIPT_MAC},
    Operation.ENCIPHER_SCRIPT: {U.ISSUER_SCRIPT_SECRECY},
    Operation.MAKE_MAC: _MACS,
    Operation.VERIFY_MAC: _MACS,
    Operation.VERIFY_RECORD: {U.MAC_HMAC},
    Operation.SEAL: {U.DATA_SEALING},
    Operation.UNSEAL: {U.DATA_SEALING},
    Operation.BLIND_INDEX: {U.BLIND_INDEX},
    Operation.SIGN: {U.SIGNATURE},
    Operation.SHOW_PUBLIC: {U.SIGNATURE},
    Operation.VERIFY_SIGNATURE: set(),  # the signing key of the samples is private, and signs alone
    Operation.WRAP_KEY: {U.KEY_BLOCK_PROTECTION},
    Operation.UNWRAP_KEY: {U.KEY_BLOCK_PROTECTION},
    Operation.LEAVE: set(U) - {U.DATA_SEALING, U.BLIND_INDEX, U.SIGNATURE},
}


def refused(audited: Audited, operation: Operation, key: KeyHandle) -> KeyRefused | None:
    """How the auditor heard of it, if the table refused it; whatever else is wrong does not matter here."""
    error = audited.told(f"{key.label}#{key.version}", operation, lambda: CALLS[operation](audited, key))
    table = f"may not do {operation.value}", "is not a key of this HSM"
    return error if isinstance(error, KeyRefused) and any(said in str(error) for said in table) else None


CALLS: Mapping[Operation, Callable[[Audited, KeyHandle], object]] = {
    Operation.ENCIPHER_PIN: lambda on, key: on.hsm.encipher_pin(PIN, key, PAN),
    Operation.DECIPHER_PIN: lambda on, key: on.hsm.choose_pin(
        bytes(8), key, on.keys[U.PIN_VERIFICATION_IBM], PAN, None
    ),
    Operation.DERIVE_PIN_KEY: lambda on, key: on.hsm.encipher_pin(PIN, Dukpt(key, bytes(TDES_KSN)), PAN),
    Operation.DERIVE_MAC_KEY: lambda on, key: on.hsm.mac(Dukpt(key, bytes(TDES_KSN)), b"data"),
    Operation.MAKE_REFERENCE: lambda on, key: on.hsm.choose_pin(bytes(8), on.keys[U.PIN_ENCRYPTION], key, PAN, None),
    Operation.VERIFY_PIN: lambda on, key: on.hsm.verify_pins([], key),
    Operation.MAKE_CARD_VALUE: lambda on, key: on.hsm.card_value(CardValue.CVV2, key, PAN, "2912"),
    Operation.VERIFY_CARD_VALUE: lambda on, key: on.hsm.verify_card_value(CardValue.CVV2, key, PAN, "2912", "123"),
    Operation.VERIFY_DYNAMIC_VALUE: lambda on, key: on.hsm.verify_dynamic_value(
        key, PAN, "00", "2912", "201", "0001", "1"
    ),
    Operation.VERIFY_CRYPTOGRAM: lambda on, key: on.hsm.verify_cryptogram(NSICCS, key, PAN, "00", TAGS, b"00"),
    Operation.MAC_SCRIPT: lambda on, key: on.hsm.script_mac(NSICCS, key, PAN, "00", TAGS, COMMAND),
    Operation.ENCIPHER_SCRIPT: lambda on, key: on.hsm.script_encipher(NSICCS, key, PAN, "00", TAGS, b"PIN"),
    Operation.MAKE_MAC: lambda on, key: on.hsm.mac(key, b"data"),
    Operation.VERIFY_MAC: lambda on, key: on.hsm.verify_mac(key, b"data", bytes(8)),
    Operation.VERIFY_RECORD: lambda on, key: on.hsm.verify_record(key, b"data", bytes(8)),
    Operation.SEAL: lambda on, key: on.hsm.seal(key, b"text", b"place"),
    Operation.UNSEAL: lambda on, key: on.hsm.unseal(key, bytes(40), b"place"),
    Operation.BLIND_INDEX: lambda on, key: on.hsm.blind_index(key, b"text"),
    Operation.SIGN: lambda on, key: on.hsm.sign(key, b"data"),
    Operation.VERIFY_SIGNATURE: lambda on, key: on.hsm.verify_signature(key, b"data", bytes(256)),
    Operation.SHOW_PUBLIC: lambda on, key: on.hsm.public_key(key),
    Operation.WRAP_KEY: lambda on, key: on.hsm.export_block(on.keys[U.MAC_RETAIL], key),
    Operation.UNWRAP_KEY: lambda on, key: on.hsm.import_block(new_label(), on.block, key),
    Operation.LEAVE: lambda on, key: on.hsm.export_block(key, on.keys[U.KEY_BLOCK_PROTECTION]),
}


@pytest.fixture(scope="module")
def audited(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """In each back end."""
    return audited_hsm(backend, tmp_path_factory.mktemp(backend))


def test_the_tables_are_whole() -> None:
    """Every operation, spelled out and called."""
    assert set(Operation) == set(MAY) == set(CALLS)


@pytest.mark.parametrize("operation", Operation)
def test_every_usage_does_its_own_and_nothing_else(audited: Audited, operation: Operation) -> None:
    """All usages: what the table does not name is refused, named in one line, and told; what it names is neither."""
    errors = {usage: refused(audited, operation, key) for usage, key in audited.keys.items()}
    assert MAY[operation] == {usage for usage, error in errors.items() if error is None}
    for usage, error in errors.items():
        if error is not None:
            key = audited.keys[usage]
            assert f"key {key.label}#{key.version} (usage {usage.value}, " in str(error)
            assert f"may not do {operation.value}" in str(error)


@pytest.mark.parametrize("operation", [operation for operation in Operation if MAY[operation]])
def test_a_key_out_of_use_is_told(audited: Audited, operation: Operation) -> None:
    """Suspended, a key that could do it before is refused with its state; in use again, it does it again."""
    usage = min(MAY[operation])
    key = audited.keys[usage]
    assert refused(audited, operation, key) is None
    audited.hsm.set_state(key, KeyState.SUSPENDED)
    try:
        assert str(refused(audited, operation, key)).endswith(f"may not do {operation.value}: it is SUSPENDED")
    finally:
        audited.hsm.set_state(key, KeyState.ACTIVE)
    assert refused(audited, operation, key) is None


@pytest.mark.parametrize("operation", Operation)
def test_a_stranger_is_told(
    audited: Audited, operation: Operation, backend: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A handle of another HSM, though label and usage are known here; and what is no handle at all."""
    other = BACKENDS[backend](tmp_path_factory.mktemp("other"))
    usage = min(MAY[operation] or {U.SIGNATURE})
    stranger = other.generate(spec_of(usage), usage.name)
    error = refused(audited, operation, stranger)
    assert error is not None
    assert "is not a key of this HSM" in str(error)
    audited.heard.clear()
    with pytest.raises(KeyRefused, match="is not a key of this HSM"):
        CALLS[operation](audited, None)  # type: ignore[arg-type]
    assert [("no handle", operation)] == [(one.key, one.operation) for one in audited.heard]


def test_modes_are_halves(audited: Audited) -> None:
    """Each mode of each usage: what a half may not do is refused and told as the whole usage would be."""
    pairs = {
        KeyMode.ENCRYPT: {Operation.ENCIPHER_PIN, Operation.SEAL, Operation.WRAP_KEY},
        KeyMode.DECRYPT: {Operation.DECIPHER_PIN, Operation.UNSEAL, Operation.UNWRAP_KEY},
        KeyMode.GENERATE: {
            Operation.MAKE_REFERENCE,
            Operation.MAKE_CARD_VALUE,
            Operation.MAKE_MAC,
            Operation.BLIND_INDEX,
        },
        KeyMode.VERIFY: {
            Operation.VERIFY_PIN,
            Operation.VERIFY_CARD_VALUE,
            Operation.VERIFY_MAC,
            Operation.VERIFY_RECORD,
        },
    }
    for usage in set(U) - {U.SIGNATURE}:
        for mode in set(USAGES[usage].modes) & set(pairs):
            key = audited.hsm.generate(replace(spec_of(usage), mode=mode), new_label())
            done = {operation for operation in Operation if refused(audited, operation, key) is None}
            mine = {operation for operation in Operation if usage in MAY[operation]}
            assert (mine & pairs[mode]) | (mine & {Operation.LEAVE}) == done


def test_what_is_not_exportable_does_not_leave(audited: Audited) -> None:
    """Told with its reason."""
    key = audited.hsm.generate(replace(KeySpec(U.MAC_RETAIL), algorithm=Algorithm.TDES), new_label())
    assert str(refused(audited, Operation.LEAVE, key)).endswith("may not do LEAVE: it is not exportable")
