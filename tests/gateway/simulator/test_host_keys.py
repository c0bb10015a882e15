"""Tests of gateway.simulator.host_keys: a host takes keys, and uses them after its answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.simulator.errors import ProfileError
from gateway.simulator.host import RulesHost
from gateway.simulator.host_keys import HostKeys, host_keys
from gateway.simulator.profile import HIMBARA_PROFILE
from gateway.simulator.testkeys import TestKey, TestKeyKind, TestKeys
from iso.client import LinkClient
from iso.codec import decode
from iso.dialect import HIMBARA
from iso.mac import mac_input
from iso.message import Message
from keys import tr31
from keys.keytypes import Algorithm, KeyUsage
from keys.software import SoftwareHsm
from keys.tr31_header import Header
from tests.keys.samples import components

ZMK = bytes(range(32))
ONE = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
TWO = bytes.fromhex("89B07B35A1B3F47E89B07B35A1B3F488")
ECHO = Message("0800", {7: "1123173005", 11: "000042", 70: "301"})


def block(usage: str = "M3", mode: str = "C", zmk: bytes = ZMK) -> str:
    """A key block of the bank."""
    return tr31.wrap(zmk, Header("D", usage, "T", mode, "00", "E"), TWO)


def change(text: str | None, code: str = "161", mti: str = "0800") -> Message:
    """A change of keys."""
    return Message(mti, {7: "1123173005", 11: "000043", 70: code} | ({} if text is None else {48: text}))


@pytest.fixture
def keys() -> HostKeys:
    """Of a host that has a MAC key."""
    hsm = SoftwareHsm.in_memory()
    master = hsm.form(KeyUsage.KEY_BLOCK_PROTECTION, "zmk", components(ZMK))
    return HostKeys(hsm, master, hsm.form(KeyUsage.MAC_RETAIL, "one", components(ONE)))


def test_the_new_key_is_used_after_the_answer(keys: HostKeys) -> None:
    """The answer has the check value and a MAC under the key of before; the same block is the same key."""
    before = keys.mac
    answer = keys.answer(change(block()))
    assert answer is not None
    assert ("0810", "00", before) == (answer.mti, answer.fields[39], keys.mac)
    keys.take_up()
    assert keys.mac is not None
    assert str(answer.fields[48]) == keys.hsm.kcv(keys.mac).value
    text = block()
    first, taken = keys.answer(change(text, "101", "0801")), keys.answer(change(text))
    assert first is not None
    assert taken is not None
    assert first.fields[48] == taken.fields[48]
    keys.take_up()
    data = keys.encoded(ECHO, HIMBARA)
    code = bytes.fromhex(decode(data).fields[128])
    assert keys.hsm.verify_mac(keys.mac, mac_input(data), code)


def test_a_pin_key(keys: HostKeys) -> None:
    """It is what terminals encipher under; MACs go on under theirs."""
    before = keys.mac
    keys.answer(change(block("P0", "B")))
    keys.take_up()
    assert keys.pin is not None
    assert (KeyUsage.PIN_ENCRYPTION, before) == (keys.hsm.info(keys.pin).usage, keys.mac)


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        (change(None), "30"), (change("x"), "81"), (change(block(zmk=ZMK[::-1])), "81"), (ECHO, None),
        (change(block(), mti="0302"), None),
    ],
)  # fmt: skip
def test_what_changes_nothing(keys: HostKeys, request_of: Message, code: str | None) -> None:
    """No block, a wrong one, a block under another key; and messages of another kind."""
    before, answer = keys.mac, keys.answer(request_of)
    keys.take_up()
    assert (code, before) == (None if answer is None else answer.fields[39], keys.mac)


def test_a_host_without_a_mac_key(keys: HostKeys) -> None:
    """It makes none."""
    keys.mac = None
    assert ECHO == decode(keys.encoded(ECHO, HIMBARA))


async def test_over_tcp(keys: HostKeys) -> None:
    """Answered under the old key, and the next one under the new."""
    async with RulesHost(keys=keys) as host, LinkClient("127.0.0.1", host.port) as client:
        answers = [await client.request(message) for message in (change(block()), ECHO)]
    assert ["00", "00"] == [answer.fields[39] for answer in answers]
    assert keys.mac is not None
    assert [True, True] == [128 in answer.fields for answer in answers]
    assert answers[0].fields[48] == keys.hsm.kcv(keys.mac).value


def test_keys_of_a_profile() -> None:
    """By the labels of the profile, of the file of test keys."""
    parts = tuple(components(ZMK[:16]))
    some = [
        TestKey("zmk-x", TestKeyKind.ZMK, Algorithm.AES, parts), TestKey("zpk-himbara", TestKeyKind.ZPK, Algorithm.TDES, parts),
        TestKey("mac-x", TestKeyKind.MAC, Algorithm.AES, parts),
    ]  # fmt: skip
    found = host_keys(replace(HIMBARA_PROFILE, mac_key="mac-x"), TestKeys(tuple(some)), "zmk-x")
    assert (True, True) == (found.mac is not None, found.pin is not None)
    dukpt = host_keys(replace(HIMBARA_PROFILE, pin_scheme="dukpt"), TestKeys(tuple(some)), "zmk-x")
    assert (None, None) == (dukpt.mac, dukpt.pin)
    with pytest.raises(ProfileError, match="there is no test key other"):
        host_keys(HIMBARA_PROFILE, TestKeys(tuple(some)), "other")
