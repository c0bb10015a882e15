"""Tests of gateway.terminals.needed_keys."""

from __future__ import annotations

import pytest

from gateway.terminals.needed_keys import lacking
from keys.keytypes import KeyMode, KeySpec, KeyUsage
from keys.software import SoftwareHsm
from tests.gateway.terminals.counterpart import a_link


@pytest.mark.parametrize(
    ("changes", "label", "usage"),
    [
        ({}, "zpk-himbara", KeyUsage.PIN_ENCRYPTION),
        ({"pin_scheme": "dukpt"}, "zpk-himbara", KeyUsage.BASE_DERIVATION),
        ({"mac": "optional", "mac_key": "zak"}, "zak", KeyUsage.MAC_RETAIL),
        ({"mac": "required", "mac_key": "zak"}, "zak", KeyUsage.MAC_CMAC),
        ({"chip": "required", "chip_key": "imk"}, "imk", KeyUsage.ISSUER_CRYPTOGRAM),
        ({"stripe_value": "optional", "stripe_key": "cvk"}, "cvk", KeyUsage.CARD_VERIFICATION),
        ({"zone_master_key": "zmk"}, "zmk", KeyUsage.KEY_BLOCK_PROTECTION),
    ],
)
def test_each_key_a_link_names(changes: dict[str, object], label: str, usage: KeyUsage) -> None:
    """It must be there, and be for what the link needs it for; a version of that usage is enough."""
    link = a_link(**changes)
    hsm, wrong = SoftwareHsm.in_memory(), SoftwareHsm.in_memory()
    for one in (hsm, wrong):
        if label != link.pin_key:
            one.generate(KeyUsage.PIN_ENCRYPTION, link.pin_key)
    assert f"link himbara wants the key {label}, which the keystore lacks: `kks keys component`" == lacking(link, hsm)
    hsm.generate(usage, label)
    assert None is lacking(link, hsm)
    wrong.generate(KeyUsage.MAC_HMAC, label)
    assert f"and no version of {label} does: its usage is" in str(lacking(link, wrong))


def test_a_pin_key_must_read() -> None:
    """One that only enciphers is of no use."""
    hsm = SoftwareHsm.in_memory()
    hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.ENCRYPT), "zpk-himbara")
    assert "wants a key that reads PIN blocks, and no version of zpk-himbara does" in str(lacking(a_link(), hsm))


def test_the_first_mac_key_may_come_over_the_link() -> None:
    """A link with a zone master key opens without its MAC key; one that is there must be of such a usage all the same."""
    hsm, link = SoftwareHsm.in_memory(), a_link(mac="required", mac_key="zak", zone_master_key="zmk")
    hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk-himbara")
    hsm.generate(KeyUsage.KEY_BLOCK_PROTECTION, "zmk")
    assert None is lacking(link, hsm)
    hsm.generate(KeyUsage.MAC_HMAC, "zak")
    assert "no version of zak does" in str(lacking(link, hsm))


def test_scripts_need_a_key_of_their_own() -> None:
    """Where chips are told something at the link, and only there."""
    hsm = SoftwareHsm.in_memory()
    link = a_link(chip="optional", chip_scripts=["pin"])
    hsm.generate(KeyUsage.PIN_ENCRYPTION, link.pin_key)
    hsm.generate(KeyUsage.ISSUER_CRYPTOGRAM, link.chip_key)
    assert None is lacking(a_link(chip="optional"), hsm)
    assert "link himbara wants the key imk-smi" in str(lacking(link, hsm))
    hsm.generate(KeyUsage.ISSUER_SCRIPT_MAC, link.chip_script_key)
    assert None is lacking(link, hsm)
