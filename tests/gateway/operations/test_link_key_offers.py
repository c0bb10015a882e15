"""Tests of gateway.operations.link_key_offers: a key that the bank makes for a link, from two people to the partner's use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.operations import ceremony, link_key_offers, link_keys, outgoing
from gateway.operations.link_key_offers import may_go, offer, outcome
from gateway.rules.outgoing import Verdict
from iso.message import Message
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyState, KeyUsage
from keys.software import SoftwareHsm
from tests.gateway.owner import as_owner
from tests.gateway.partner_keys import ZMK, ZONE, Clock, refused, states, use
from tests.gateway.rites import BUDI, SITI, new_zmk, told
from tests.gateway.street import assert_proved
from tests.keys.samples import components

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.operations.link_key_offers import Kind
    from gateway.settings import Settings
    from keys.keytypes import KeyHandle, KeyInfo

PENDING = frozenset({("zak", 2)})
DONE, AGAIN, REFUSED = Verdict.DONE, Verdict.AGAIN, Verdict.REFUSED


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands still."""
    return Clock(monkeypatch)


async def _offered(bank: Bank, kind: Kind = "mac", spec: KeySpec | None = None) -> tuple[KeyInfo, Message]:
    """A link with its first key, and the offer of the second."""
    if not bank.hsm.versions("zmk"):
        await new_zmk(bank)
        bank.hsm.generate(spec or KeySpec(KeyUsage.MAC_RETAIL), "zak" if kind == "mac" else "zpk")
    info = await offer(bank, SITI, BUDI, ZONE, kind)
    return info, await _queued(bank)


async def _queued(bank: Bank) -> Message:
    """The newest message of the queue."""
    (newest, *_) = await outgoing.listed(bank, 1, "himbara", ended=True)
    return outgoing.message_of(bank, newest)


def _answer(message: Message, code: str = "00", value: str | None = None) -> Message:
    fields = {7: message.fields[7], 11: message.fields[11], 39: code, 70: "161"}
    return Message("0810", fields | ({} if value is None else {48: value}))


def _partner_has(message: Message) -> KeyHandle:
    """The key of a message, as a partner takes it in."""
    hsm = SoftwareHsm.in_memory()
    zmk = hsm.form(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION), "zmk", components(ZMK))
    return hsm.import_block("theirs", message.fields[48], zmk)


async def test_an_offer_from_two_people_to_the_first_use(bank: Bank, clock: Clock) -> None:
    """Queued under the ZMK, pending; let out when it goes; the right check value is its first use, then the overlap runs out."""
    info, message = await _offered(bank)
    assert ("zak#2", KeyState.PRE_ACTIVE, "N") == (info.name, info.state, info.exportability.value)
    assert ("0800", "161") == (message.mti, message.fields[70])
    assert info.kcv == _partner_has(message).kcv
    assert {("zak", 2)} == bank.key_turns.pending
    assert await may_go(bank, ZONE, message)
    assert await may_go(bank, ZONE, message)
    assert ([KeyState.ACTIVE] * 2, PENDING) == (states(bank), bank.key_turns.pending)
    assert (DONE, None) == await outcome(bank, ZONE, message, _answer(message, value=info.kcv.value), DONE)
    assert frozenset() == bank.key_turns.pending
    assert 1 == len(await as_owner(bank, "SELECT 1 FROM link_key WHERE used_at IS NOT NULL"))
    clock.move(60)
    await link_keys.look(bank)
    assert [KeyState.DEACTIVATED, KeyState.ACTIVE] == states(bank)
    assert [KeyState.DESTROYED] == states(bank, "zak-draft")
    assert [
        ("offer", "zak#2", SITI), ("send", "zak#2", "link himbara"), ("activate", "zak#2", "link himbara"),
        ("retire", "zak#1", "link himbara"),
    ] == [(act, key, who) for how, act, key, who in await told(bank) if how == "done"][-4:]  # fmt: skip
    acts = await ceremony.record_of(bank, None, None)
    (offered,) = [act.detail for act in acts if act.operation == "key.done" and act.detail["act"] == "offer"]
    assert (BUDI, "himbara", "zmk", info.kcv.value) == tuple(
        offered[name] for name in ("checker", "link", "under", "kcv")
    )
    await assert_proved(bank)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (KeySpec(KeyUsage.MAC_CMAC, Algorithm.AES), "mac"),
        (KeySpec(KeyUsage.MAC_CBC, Algorithm.TDES), "mac"),
        (KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES, KeyMode.DECRYPT), "pin"),
        (KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.AES, KeyMode.DECRYPT, bits=128), "pin"),
    ],
)
async def test_the_next_key_is_as_the_one_before(bank: Bank, spec: KeySpec, kind: Kind) -> None:
    """Usage, algorithm and length; of a PIN key the bank keeps the half that deciphers, the partner may do both."""
    info, message = await _offered(bank, kind, spec)
    before = bank.hsm.info(bank.hsm.version(info.label, 1))
    assert (before.usage, before.algorithm, before.bits, before.mode) == (
        info.usage, info.algorithm, info.bits, info.mode,
    )  # fmt: skip
    assert info.kcv == _partner_has(message).kcv


async def test_a_pin_key_waits_for_its_first_pin(bank: Bank) -> None:
    """The check value says that the partner has it; it is the partner who uses it."""
    info, message = await _offered(bank, "pin", KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.DECRYPT))
    await may_go(bank, ZONE, message)
    assert (DONE, None) == await outcome(bank, ZONE, message, _answer(message, value=info.kcv.value), DONE)
    assert {("zpk", 2)} == bank.key_turns.pending


@pytest.mark.parametrize("value", [None, "", "the block", "the block in lower case"])
async def test_an_answer_without_a_check_value(bank: Bank, value: str | None) -> None:
    """The key waits for its first use, as one of a partner does; a host that echoes the block has said nothing."""
    _, message = await _offered(bank)
    await may_go(bank, ZONE, message)
    block = message.fields[48]
    told_back = {"the block": block, "the block in lower case": block.lower()}.get(value or "", value)
    assert (DONE, None) == await outcome(bank, ZONE, message, _answer(message, value=told_back), DONE)
    assert (PENDING, [KeyState.ACTIVE] * 2) == (bank.key_turns.pending, states(bank))
    use(bank, "zak", 2)
    await link_keys.look(bank)
    assert frozenset() == bank.key_turns.pending


@pytest.mark.parametrize(
    ("code", "value", "verdict", "trouble"),
    [
        ("81", None, REFUSED, None),
        ("00", "FFFFFF", DONE, link_key_offers.ANOTHER),
        ("00", "F", DONE, link_key_offers.ANOTHER),
    ],
)
async def test_a_key_that_the_partner_refuses(
    bank: Bank, code: str, value: str | None, verdict: Verdict, trouble: str | None
) -> None:
    """It is destroyed and never goes again; the one before works on, and another may be offered."""
    _, message = await _offered(bank)
    await may_go(bank, ZONE, message)
    assert (REFUSED, trouble) == await outcome(bank, ZONE, message, _answer(message, code, value), verdict)
    assert ([KeyState.ACTIVE, KeyState.DESTROYED], frozenset()) == (states(bank), bank.key_turns.pending)
    assert not await may_go(bank, ZONE, message)
    assert (REFUSED, None) == await outcome(bank, ZONE, message, _answer(message, code, value), REFUSED)
    assert "zak#3" == (await _offered(bank))[0].name


async def test_an_answer_that_is_none(bank: Bank) -> None:
    """The key waits, and the same block goes again; once it is used, no later answer ends it."""
    _, message = await _offered(bank)
    await may_go(bank, ZONE, message)
    assert (AGAIN, None) == await outcome(bank, ZONE, message, _answer(message, "96"), AGAIN)
    assert {("zak", 2)} == bank.key_turns.pending
    use(bank, "zak", 2)
    assert await may_go(bank, ZONE, message)
    assert (DONE, None) == await outcome(bank, ZONE, message, _answer(message, "81"), REFUSED)
    assert [KeyState.ACTIVE] * 2 == states(bank)


async def test_a_repeat_that_is_refused(bank: Bank) -> None:
    """The first one may have been taken in, so the key waits on for its first use, and people look at the message."""
    info, message = await _offered(bank)
    await may_go(bank, ZONE, message)
    repeat = Message("0801", message.fields)
    assert await may_go(bank, ZONE, repeat)
    assert (REFUSED, link_key_offers.OF_REPEAT) == await outcome(bank, ZONE, repeat, _answer(message, "81"), REFUSED)
    assert ([KeyState.ACTIVE] * 2, PENDING) == (states(bank), bank.key_turns.pending)
    assert (DONE, None) == await outcome(bank, ZONE, repeat, _answer(message, value=info.kcv.value), DONE)
    assert frozenset() == bank.key_turns.pending


async def test_an_offer_that_has_waited_goes_no_more(bank: Bank, clock: Clock) -> None:
    """After half of its time it is not sent, so that no partner takes a key that is about to be dropped; then it is dropped."""
    _, message = await _offered(bank)
    clock.move(1_799)
    assert await may_go(bank, ZONE, message)
    clock.move(1)
    assert not await may_go(bank, ZONE, message)
    (row,) = await as_owner(bank, "SELECT extract(epoch FROM expires_at - queued_at)::int FROM outgoing_message")
    assert 1_800 == row[0]
    clock.move(1_800)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.DESTROYED] == states(bank)


async def test_who_may_and_what(bank: Bank) -> None:
    """Two people, a key of the link that has a version, and its ZMK."""
    for checker in ("", " ", SITI, f" {SITI.upper()} "):
        with pytest.raises(Refused, match="two different people"):
            await offer(bank, SITI, checker, ZONE, "mac")
    with pytest.raises(Refused, match="no MAC key that is changed"):
        await offer(bank, SITI, BUDI, replace(ZONE, mac_key=None), "mac")
    with pytest.raises(Refused, match="has none yet"):
        await offer(bank, SITI, BUDI, ZONE, "mac")
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    with pytest.raises(Refused, match="no key 'zmk'"):
        await offer(bank, SITI, BUDI, ZONE, "mac")
    assert ([], frozenset()) == (await outgoing.listed(bank, 9), bank.key_turns.pending)
    assert [] == await as_owner(bank, "SELECT 1 FROM link_key")


async def test_our_own_block_comes_back(bank: Bank) -> None:
    """Whoever mirrors it learns nothing, not its check value, before and after it has left; the key goes on waiting."""
    _, message = await _offered(bank)
    await refused(bank, message.fields[48], "is offered by the bank")
    await may_go(bank, ZONE, message)
    await refused(bank, message.fields[48], "is offered by the bank")
    assert ([KeyState.ACTIVE] * 2, PENDING) == (states(bank), bank.key_turns.pending)


async def test_other_messages_go_as_they_are(bank: Bank) -> None:
    """They are none of its business; one that offers a key does not go over a link that changes none any more."""
    _, offered = await _offered(bank)
    for zone, message, goes in (
        (ZONE, Message("0302", {48: "text", 70: "161"}), True), (None, Message("0302", {2: "6"}), True),
        (ZONE, Message("0800", {48: "text", 70: "301"}), True), (None, offered, False),
        (ZONE, Message("0800", {48: "x", 70: "161"}), False), (ZONE, Message("0800", {70: "161"}), False),
        (ZONE, Message("0800", offered.fields | {48: offered.fields[48][:-1] + "x"}), False),
    ):  # fmt: skip
        assert goes is await may_go(bank, zone, message)
        assert (REFUSED, None) == await outcome(bank, None, message, _answer(offered), REFUSED)


@pytest.mark.parametrize("cut", ["the draft", "before the key", "before the queue", "before it goes", "the answer"])
async def test_cut_off_anywhere(
    bank_settings: Settings, monkeypatch: pytest.MonkeyPatch, clock: Clock, cut: str
) -> None:
    """Killed between any two steps nothing works that the partner cannot have; what was queued goes on, else one offers again."""

    class Killed(BaseException):
        """The process is gone."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    queued = cut in ("before it goes", "the answer")
    async with open_bank(bank_settings) as bank:
        await new_zmk(bank)
        bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
        with monkeypatch.context() as patched:
            if cut == "the draft":
                patched.setattr(type(bank.hsm), "export_block", kill)
            elif cut == "before the key":
                patched.setattr(link_key_offers, "_keep", kill)
            elif cut == "before the queue":
                patched.setattr(outgoing, "queue", kill)
            if queued:
                _, message = await _offered(bank)
            else:
                with pytest.raises(Killed):
                    await offer(bank, SITI, BUDI, ZONE, "mac")
            if cut == "before it goes":
                patched.setattr(ceremony, "act_of_link", kill)
                with pytest.raises(Killed):
                    await may_go(bank, ZONE, message)
            elif cut == "the answer":
                await may_go(bank, ZONE, message)
    async with open_bank(bank_settings) as bank:
        await link_keys.look(bank)
        assert 1 == bank.key_turns.in_order(bank.hsm.find_all("zak"))[0].version
        if not queued:
            assert [] == await outgoing.listed(bank, 9)
            clock.move(61)  # so long the number of a version is somebody's who may still be at it
            _, message = await _offered(bank)
        assert await may_go(bank, ZONE, await _queued(bank))
        newest = bank.hsm.info(bank.hsm.versions("zak")[0])
        assert (DONE, None) == await outcome(bank, ZONE, message, _answer(message, value=newest.kcv.value), DONE)
        assert newest.version == bank.key_turns.in_order(bank.hsm.find_all("zak"))[0].version
        assert KeyState.ACTIVE not in states(bank, "zak-draft")
        await assert_proved(bank)


async def test_a_change_of_another_process_at_the_same_moment(bank: Bank, clock: Clock) -> None:
    """It has the version's number for a minute: ours is tried again, and its turn is not overwritten."""
    await new_zmk(bank)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    theirs = await link_keys.begin(bank, ZONE, "zak", bytes(32))
    with pytest.raises(Refused, match="another change of zak is under way"):
        await offer(bank, SITI, BUDI, ZONE, "mac")
    assert [(bytes(32),)] == [tuple(row) for row in await as_owner(bank, "SELECT block_digest FROM link_key")]
    assert 2 == theirs.version
    clock.move(61)
    assert "zak#2" == (await offer(bank, SITI, BUDI, ZONE, "mac")).name
