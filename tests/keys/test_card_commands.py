"""Card commands: what they ask of a key, and that nothing derived is left behind.

What they answer is in test_conformance_cards.py and test_conformance_emv.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keys import card_commands, emv_profile, emv_script, mac
from keys.cvv import CardValue
from keys.emv_profile import profiles
from keys.errors import CardDataRefused, KeyRefused, KeysError
from keys.keytypes import KeyUsage
from tests.keys.at_work import COMMAND, NSICCS, TAGS
from tests.keys.samples import PAN, SECOND_KEY, components
from tests.keys.test_emv_profile import sent_by
from tests.keys.watched import watched_hsm

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.keytypes import KeyHandle
    from keys.local import LocalHsm
    from keys.sensitive import Material
    from tests.keys.watched import WatchedWorkshop

Bank = tuple["LocalHsm[Material]", "WatchedWorkshop", "dict[KeyUsage, KeyHandle]"]
USAGES = (
    KeyUsage.CARD_VERIFICATION, KeyUsage.ISSUER_CRYPTOGRAM, KeyUsage.ISSUER_SCRIPT_MAC, KeyUsage.ISSUER_SCRIPT_SECRECY,
    KeyUsage.ISSUER_DYNAMIC_NUMBER,
)  # fmt: skip


@pytest.fixture
def bank() -> Bank:
    """An HSM over a watched workshop, with known keys."""
    hsm, workshop = watched_hsm()
    keys = {usage: hsm.form(usage, usage.name, components(SECOND_KEY)) for usage in USAGES}
    workshop.forget()
    return hsm, workshop, keys


def calls(bank: Bank) -> list[Callable[[str], object]]:
    """Every command that derives, over chip data or a track with PSN."""
    hsm, _, keys = bank
    return [
        lambda psn: hsm.verify_cryptogram(NSICCS, keys[KeyUsage.ISSUER_CRYPTOGRAM], PAN, psn, TAGS, b"00"),
        lambda psn: hsm.script_mac(NSICCS, keys[KeyUsage.ISSUER_SCRIPT_MAC], PAN, psn, TAGS, COMMAND),
        lambda psn: hsm.script_encipher(NSICCS, keys[KeyUsage.ISSUER_SCRIPT_SECRECY], PAN, psn, TAGS, b"PIN"),
        lambda psn: hsm.verify_dynamic_value(
            keys[KeyUsage.ISSUER_DYNAMIC_NUMBER], PAN, psn, "2912", "201", "0001", "123"
        ),
    ]


def test_nothing_derived_is_left_behind(bank: Bank) -> None:
    """A token's card and session keys are objects: they go when the command ends, well or not."""
    _, workshop, _ = bank
    for call in calls(bank):
        for psn in ("00", "0x"):
            try:
                call(psn)
            except KeysError as error:
                assert isinstance(error, CardDataRefused)  # noqa: PT017 - either is fine, and nothing else
            assert 0 == workshop.open_derivers
    assert 4 == sum(name.startswith("derive") for name, _ in workshop.calls)


def test_nothing_is_left_behind_where_the_tool_fails(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in the middle."""
    _, workshop, _ = bank

    def broken(*_: object, **__: object) -> None:
        raise KeyRefused("in the middle")

    monkeypatch.setattr(emv_profile, "verify", broken)
    monkeypatch.setattr(emv_script, "_session_key", broken)
    monkeypatch.setattr("keys.cvv.maker", broken)
    for call in calls(bank):
        with pytest.raises(KeyRefused, match="in the middle"):
            call("00")
        assert 0 == workshop.open_derivers


def test_chip_data_are_read_before_a_key_is_derived(bank: Bank) -> None:
    """A missing tag costs a token nothing, where it can be seen before."""
    hsm, workshop, keys = bank
    for tag in ("9F36", "9F26"):
        without = {name: value for name, value in TAGS.items() if name != tag}
        with pytest.raises(CardDataRefused, match=f"^profile nsiccs: tag {tag}: missing$"):
            hsm.script_mac(NSICCS, keys[KeyUsage.ISSUER_SCRIPT_MAC], PAN, "00", without, COMMAND)
        with pytest.raises(CardDataRefused, match=f"^profile nsiccs: tag {tag}: missing$"):
            hsm.script_encipher(NSICCS, keys[KeyUsage.ISSUER_SCRIPT_SECRECY], PAN, "00", without, b"PIN")
    with pytest.raises(CardDataRefused, match="header of 5 bytes"):
        hsm.script_mac(NSICCS, keys[KeyUsage.ISSUER_SCRIPT_MAC], PAN, "00", TAGS, COMMAND[:4])
    with pytest.raises(CardDataRefused, match="PAN sequence number"):
        hsm.verify_cryptogram(NSICCS, keys[KeyUsage.ISSUER_CRYPTOGRAM], PAN, "1", TAGS, b"00")
    assert not hsm.verify_dynamic_value(keys[KeyUsage.ISSUER_DYNAMIC_NUMBER], PAN, "00", "2912", "999", "0001", "123")
    assert [] == workshop.calls


def test_values_are_compared_in_constant_time(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Static and dynamic ones, right and wrong."""
    hsm, _, keys = bank
    compared: list[int] = []

    def same(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return mac.same(one, other)

    value = hsm.card_value(CardValue.CVV2, keys[KeyUsage.CARD_VERIFICATION], PAN, "2912")
    monkeypatch.setattr(card_commands, "same", same)
    for given in (value, "000", "", "0" * 50, "１２３", "\ud800"):
        hsm.verify_card_value(CardValue.CVV2, keys[KeyUsage.CARD_VERIFICATION], PAN, "2912", given)
        hsm.verify_dynamic_value(keys[KeyUsage.ISSUER_DYNAMIC_NUMBER], PAN, "00", "2912", "201", "0001", given)
    assert [3] * 12 == compared


def test_a_value_takes_one_block_of_each_cipher(bank: Bank) -> None:
    """Single DES of one block, triple DES of one: the key is made ready once, for making and for verifying."""
    hsm, workshop, keys = bank
    cvk = keys[KeyUsage.CARD_VERIFICATION]
    for _ in range(3):
        value = hsm.card_value(CardValue.ICVV, cvk, PAN, "2912")
        assert hsm.verify_card_value(CardValue.ICVV, cvk, PAN, "2912", value)
    assert [("encipher CARD_VERIFICATION", 8)] * 6 == workshop.calls
    assert 2 == len(workshop.made)


@pytest.mark.parametrize("name", sorted(profiles()))
def test_the_answer_is_of_the_profiles_method(bank: Bank, name: str) -> None:
    """Two bytes for method 1, four for method 2: the other's answer is refused by its own length."""
    hsm, _, keys = bank
    profile = profiles()[name]
    right, wrong = (b"00", bytes(4)) if profile.arpc_method == 1 else (bytes(4), b"00")
    sent = sent_by(name, TAGS)
    assert not hsm.verify_cryptogram(profile, keys[KeyUsage.ISSUER_CRYPTOGRAM], PAN, "00", sent, right).right
    with pytest.raises(CardDataRefused, match="answers by method"):
        hsm.verify_cryptogram(profile, keys[KeyUsage.ISSUER_CRYPTOGRAM], PAN, "00", sent, wrong)
