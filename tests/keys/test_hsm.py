"""Which key may do what: the whole table, asked of the facade itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from keys.errors import KeyRefused, PinRefused, VaultError
from keys.hsm import Hsm
from keys.keytypes import Algorithm, KeyHandle, KeyMode, KeyState, KeyUsage
from keys.permissions import Operation, check_allowed
from keys.keystore import Keystore
from keys.master import MasterKey
from keys.sensitive import Pin
from keys.software import SoftwareHsm
from keys.usages import USAGES
from tests.keys.samples import PAN, bank_hsm
from tests.keys.test_usages import key_of

BLOCK = bytes(8)

# Spelled out by hand, apart from the table that the code uses.
MAY: dict[tuple[KeyUsage, KeyMode], set[Operation]] = {
    (KeyUsage.PIN_ENCRYPTION, KeyMode.BOTH): {Operation.ENCIPHER_PIN, Operation.DECIPHER_PIN},
    (KeyUsage.PIN_ENCRYPTION, KeyMode.ENCRYPT): {Operation.ENCIPHER_PIN},
    (KeyUsage.PIN_ENCRYPTION, KeyMode.DECRYPT): {Operation.DECIPHER_PIN},
    (KeyUsage.PIN_VERIFICATION_IBM, KeyMode.GENERATE_AND_VERIFY): {Operation.MAKE_OFFSET, Operation.VERIFY_PIN},
    (KeyUsage.PIN_VERIFICATION_IBM, KeyMode.GENERATE): {Operation.MAKE_OFFSET},
    (KeyUsage.PIN_VERIFICATION_IBM, KeyMode.VERIFY): {Operation.VERIFY_PIN},
    (KeyUsage.DATA_SEALING, KeyMode.BOTH): {Operation.SEAL, Operation.UNSEAL},
    (KeyUsage.DATA_SEALING, KeyMode.ENCRYPT): {Operation.SEAL},
    (KeyUsage.DATA_SEALING, KeyMode.DECRYPT): {Operation.UNSEAL},
    (KeyUsage.BLIND_INDEX, KeyMode.GENERATE): {Operation.BLIND_INDEX},
} | {
    (usage, mode): operations
    for usage in (KeyUsage.MAC_RETAIL, KeyUsage.MAC_CMAC, KeyUsage.MAC_HMAC)
    for mode, operations in (
        (KeyMode.GENERATE_AND_VERIFY, {Operation.MAKE_MAC, Operation.VERIFY_MAC}),
        (KeyMode.GENERATE, {Operation.MAKE_MAC}),
        (KeyMode.VERIFY, {Operation.VERIFY_MAC}),
    )
}  # fmt: skip

# Each operation as a call of the facade; the other key of a call of two is one that may.
CALLS: dict[Operation, Callable[[Hsm, KeyHandle], object]] = {
    Operation.ENCIPHER_PIN: lambda hsm, key: hsm.encipher_pin(Pin("271828"), key, PAN),
    Operation.DECIPHER_PIN: lambda hsm, key: hsm.verify_pin(BLOCK, key, hsm.find("pvk"), PAN, "000000"),
    Operation.MAKE_OFFSET: lambda hsm, key: hsm.choose_pin(BLOCK, hsm.find("zpk"), key, PAN, None),
    Operation.VERIFY_PIN: lambda hsm, key: hsm.verify_pin(BLOCK, hsm.find("zpk"), key, PAN, "000000"),
    Operation.SEAL: lambda hsm, key: hsm.seal(key, b"text", b"place"),
    Operation.UNSEAL: lambda hsm, key: hsm.unseal(key, bytes(40), b"place"),
    Operation.BLIND_INDEX: lambda hsm, key: hsm.blind_index(key, b"text"),
    Operation.MAKE_MAC: lambda hsm, key: hsm.mac(key, b"data"),
    Operation.VERIFY_MAC: lambda hsm, key: hsm.verify_mac(key, b"data", BLOCK),
}


def refused(call: Callable[[Hsm, KeyHandle], object], hsm: Hsm, key: KeyHandle) -> bool:
    """Whether the call was refused for its key. What it thinks of the data does not matter here."""
    try:
        call(hsm, key)
    except KeyRefused:
        return True
    except (PinRefused, VaultError):
        return False
    return False


@pytest.mark.parametrize("usage", KeyUsage)
def test_every_key_does_only_what_it_may(usage: KeyUsage) -> None:
    """All usages x modes x operations: what the table does not name is refused."""
    hsm = bank_hsm()
    for mode in USAGES[usage].modes:
        key = hsm.generate(usage, f"tried.{mode.value}", mode=mode)
        done = {operation for operation, call in CALLS.items() if not refused(call, hsm, key)}
        assert MAY[usage, mode] == done


def test_table_by_hand_is_whole() -> None:
    """It names every usage with every mode the usage has."""
    assert set(MAY) == {(usage, mode) for usage in KeyUsage for mode in USAGES[usage].modes}


@pytest.mark.parametrize("operation", Operation)
def test_refusal_names_key_and_operation(operation: Operation) -> None:
    """One line for the log: label, usage, mode and what was asked."""
    hsm = bank_hsm()
    wrong = hsm.find("index") if operation is not Operation.BLIND_INDEX else hsm.find("seal")
    with pytest.raises(KeyRefused, match=operation.value) as caught:
        CALLS[operation](hsm, wrong)
    assert wrong.label in str(caught.value)


@pytest.mark.parametrize("operation", Operation)
def test_handle_of_another_hsm_is_refused(operation: Operation) -> None:
    """Same label, same usage, another HSM: unknown."""
    hsm, stranger = bank_hsm(), bank_hsm()
    known = stranger.keys()
    label = next(info.label for info in known if operation in MAY[info.usage, info.mode])
    with pytest.raises(KeyRefused, match="not a key of this HSM"):
        CALLS[operation](hsm, stranger.find(label))
    with pytest.raises(KeyRefused, match="not a key of this HSM"):
        hsm.kcv(stranger.find(label))


@pytest.mark.parametrize("state", KeyState)
@pytest.mark.parametrize("usage", KeyUsage)
def test_only_active_keys_work(usage: KeyUsage, state: KeyState, tmp_path: Path) -> None:
    """A key that was taken out of use, or is not yet in use, does nothing."""
    info, material = key_of(usage)
    master = MasterKey(bytes(range(32)))
    Keystore.create(tmp_path / "store", master).add(replace(info, state=state), material)
    hsm = SoftwareHsm.open(tmp_path / "store", master)
    hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk", mode=KeyMode.BOTH)
    hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "pvk")
    done = {operation for operation, call in CALLS.items() if not refused(call, hsm, hsm.find("a.key"))}
    assert (MAY[usage, info.mode] if state is KeyState.ACTIVE else set()) == done


def test_state_stands_in_the_refusal() -> None:
    """The operator sees that it is the state, not the usage."""
    info = replace(key_of(KeyUsage.MAC_HMAC)[0], state=KeyState.COMPROMISED)
    with pytest.raises(KeyRefused, match="COMPROMISED"):
        check_allowed(info, Operation.MAKE_MAC)


def test_handle_shows_label_usage_and_check_value_only() -> None:
    """That is all its repr has."""
    handle = bank_hsm().find("pvk")
    assert f"KeyHandle(pvk, PIN_VERIFICATION_IBM, kcv {handle.kcv.value})" == repr(handle) == str(handle)


def test_handles_are_equal_to_themselves_only() -> None:
    """They can be keys of a dictionary; two keys of one label in two HSMs are two."""
    hsm = bank_hsm()
    assert hsm.find("pvk") is hsm.find("pvk")
    assert 2 == len({hsm.find("pvk"), bank_hsm().find("pvk"), hsm.find("pvk")})


def test_codes_are_those_of_the_standard() -> None:
    """Usage, mode and algorithm codes as X9.143 prints them."""
    assert ["P0", "V1", "D0", "10", "M3", "M6", "M7"] == [usage.value for usage in KeyUsage]
    assert ["E", "D", "B", "G", "V", "C"] == [mode.value for mode in KeyMode]
    assert ["T", "A", "H"] == [algorithm.value for algorithm in Algorithm]
