"""The keys of DUKPT transactions: what is asked of the base key, and which working key is whose.

What PINs and MACs come of them is in test_conformance_dukpt.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keys import aes, dukpt_aes, dukpt_tdes, mac, tdes
from keys.dukpt_aes import KeyType, Use
from keys.dukpt_commands import DukptKeys
from keys.errors import KeyRefused, KsnRefused
from keys.hsm import Dukpt
from keys.keytypes import Algorithm, KeySpec, KeyUsage
from keys.permissions import Operation
from keys.software import SoftwareWorkshop
from tests.keys.at_work import AES_KSN, TDES_KSN
from tests.keys.samples import SECOND_KEY, attributes_of, components
from tests.keys.watched import WatchedWorkshop, watched_hsm

if TYPE_CHECKING:
    from keys.sensitive import Material

AES_BDK = bytes.fromhex("FEDCBA9876543210F1F1F1F1F1F1F1F1")


def keys_over(workshop: SoftwareWorkshop) -> tuple[DukptKeys[Material], Dukpt, Dukpt]:
    """The keys of transactions of two terminals, over a workshop."""
    hsm, _ = watched_hsm()
    tdes_bdk = hsm.form(KeyUsage.BASE_DERIVATION, "bdk", components(SECOND_KEY))
    aes_bdk = hsm.form(KeySpec(KeyUsage.BASE_DERIVATION, Algorithm.AES), "bdk.aes", components(AES_BDK))
    keys = DukptKeys(hsm._tools, workshop, Operation.DERIVE_MAC_KEY)
    return keys, Dukpt(tdes_bdk, bytes(TDES_KSN)), Dukpt(aes_bdk, bytes(AES_KSN))


def tdes_key() -> bytes:
    """The transaction key of the triple DES terminal."""
    masked = tdes.encipherer(dukpt_tdes.masked(SECOND_KEY))
    initial = dukpt_tdes.initial_key(tdes.encipherer(SECOND_KEY), masked, TDES_KSN)
    return dukpt_tdes.transaction_key(initial, TDES_KSN)


def aes_key(use: Use) -> bytes:
    """A working key of the AES terminal."""
    initial = dukpt_aes.initial_key(aes.encipherer(AES_BDK), AES_KSN.initial_key_id, 128)
    return dukpt_aes.working_key(dukpt_aes.transaction_key(initial, AES_KSN), AES_KSN, use, KeyType.AES_128)


def test_each_direction_has_its_key() -> None:
    """Named from the terminal's side: what it asks with the bank verifies, what the bank answers with it verifies."""
    keys, of_tdes, of_aes = keys_over(SoftwareWorkshop())
    assert mac.retail(dukpt_tdes.mac_request_key(tdes_key()), 1)(b"data") == keys.mac(of_tdes, answer=False)(b"data")
    assert mac.retail(dukpt_tdes.mac_response_key(tdes_key()), 1)(b"data") == keys.mac(of_tdes, answer=True)(b"data")
    for answer, use in ((False, Use.MAC_GENERATION), (True, Use.MAC_VERIFICATION)):
        assert mac.aes_cmac(aes_key(use))(b"data")[:8] == keys.mac(of_aes, answer=answer)(b"data")


def test_pin_keys_go_both_ways() -> None:
    """Enciphering and deciphering under one key, of the cipher that the base key is of."""
    keys, of_tdes, of_aes = keys_over(SoftwareWorkshop())
    for asked, code, encipher in (
        (of_tdes, "T", tdes.encipherer(dukpt_tdes.pin_key(tdes_key()))),
        (of_aes, "A", aes.encipherer(aes_key(Use.PIN_ENCRYPTION))),
    ):
        out, algorithm = keys.pin_cipher(asked, encipher=True)
        back, same = keys.pin_cipher(asked, encipher=False)
        block = bytes(range(16))
        assert (code, code) == (algorithm, same)
        assert encipher(block) == out(block)
        assert block == back(encipher(block))


def test_the_base_key_is_asked_for_the_initial_key_alone() -> None:
    """One block under it, for triple DES one more under its mask, whatever the counter: the walk is of one terminal."""
    workshop = WatchedWorkshop()
    keys, of_tdes, of_aes = keys_over(workshop)
    for _ in range(2):
        workshop.calls.clear()
        keys.mac(of_tdes, answer=False)
        assert [("encipher bdk", 8)] == workshop.calls
        workshop.calls.clear()
        keys.pin_cipher(of_aes, encipher=True)
        assert [("encipher bdk.aes", 16)] == workshop.calls
    assert ["encipher bdk", "encipher bdk.aes"] == workshop.made


def test_a_bad_number_is_refused_before_the_key_works() -> None:
    """No block is enciphered for a KSN that cannot be; a key that may not derive is refused before its KSN."""
    workshop = WatchedWorkshop()
    keys, of_tdes, of_aes = keys_over(workshop)
    for asked in (of_tdes, of_aes):
        for ksn in (b"", bytes(10), bytes(12), asked.ksn[:-1], asked.ksn + b"\x00", b"\xff" * len(asked.ksn)):
            with pytest.raises(KsnRefused):
                keys.mac(asked._replace(ksn=ksn), answer=True)
            with pytest.raises(KsnRefused):
                keys.pin_cipher(asked._replace(ksn=ksn), encipher=True)
    assert [] == workshop.calls
    hsm, _ = watched_hsm()
    with pytest.raises(KeyRefused):
        hsm.mac(Dukpt(hsm.generate(KeyUsage.MAC_RETAIL, "zak"), b""), b"data")


def test_an_initial_key_must_be_at_hand() -> None:
    """Where a back end keeps it, it is refused by name; where it is at hand, no base key is asked."""

    class Keeping(SoftwareWorkshop):
        """Shows no key."""

        def at_hand(self, raw: Material) -> bytes:
            """Never: as a token's."""
            del raw
            return None  # type: ignore[return-value]

    hsm, _ = watched_hsm()
    masked = tdes.encipherer(dukpt_tdes.masked(SECOND_KEY))
    initial = dukpt_tdes.initial_key(tdes.encipherer(SECOND_KEY), masked, TDES_KSN)
    spec = KeySpec(KeyUsage.INITIAL_DUKPT, attributes=attributes_of(KeyUsage.INITIAL_DUKPT))
    handle = hsm.form(spec, "terminal", components(initial))
    asked = Dukpt(handle, bytes(TDES_KSN))
    with pytest.raises(KeyRefused, match="key terminal#1: an initial DUKPT key is of no use in a token"):
        DukptKeys(hsm._tools, Keeping(), Operation.DERIVE_MAC_KEY).mac(asked, answer=True)
    made = DukptKeys(hsm._tools, SoftwareWorkshop(), Operation.DERIVE_MAC_KEY).mac(asked, answer=True)
    assert mac.retail(dukpt_tdes.mac_response_key(tdes_key()), 1)(b"data") == made(b"data")
