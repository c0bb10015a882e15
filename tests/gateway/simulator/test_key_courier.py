"""Tests of gateway.simulator.key_courier: blocks that a bank's keystore opens, or must not."""

from __future__ import annotations

import pytest

from gateway.simulator.key_courier import KeyCourier, NewKey, Under
from keys.errors import KeyBlockError
from keys.keytypes import Algorithm, KeySpec, KeyUsage
from keys.software import SoftwareHsm

ZMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543211")
PARTS = (bytes(15) + b"\x01", ZMK[:15] + bytes([ZMK[15] ^ 1]))


@pytest.mark.parametrize(("algorithm", "version"), [(Algorithm.AES, "D"), (Algorithm.TDES, "B")])
@pytest.mark.parametrize(
    ("key", "usage"),
    [
        (NewKey.PIN, KeyUsage.PIN_ENCRYPTION),
        (NewKey.MAC, KeyUsage.MAC_RETAIL),
        (NewKey.OTHER, KeyUsage.CARD_VERIFICATION),
    ],
)
def test_the_other_side_forms_the_key(algorithm: Algorithm, version: str, key: NewKey, usage: KeyUsage) -> None:
    """Usage and check value are as the courier says; each key is another."""
    hsm = SoftwareHsm.in_memory()
    master = hsm.form(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, algorithm), "zmk", PARTS)
    courier = KeyCourier(ZMK, algorithm)
    block, check_value = courier.block(key)
    found = hsm.import_block("new", block, master)
    assert (version, usage, check_value) == (block[0], hsm.info(found).usage, hsm.kcv(found).value)
    assert check_value != courier.block(key)[1]


def test_under_another_master_key_it_does_not_open() -> None:
    """Nobody has that one."""
    hsm = SoftwareHsm.in_memory()
    master = hsm.form(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.AES), "zmk", PARTS)
    courier = KeyCourier(ZMK, Algorithm.AES)
    with pytest.raises(KeyBlockError, match="not authentic"):
        hsm.import_block("new", courier.block(NewKey.PIN, Under.WRONG)[0], master)
    assert ZMK.hex() not in repr(courier).lower()
