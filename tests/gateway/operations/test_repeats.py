"""Repeats that say so (0101, 0121, 0201, 0221) and come with another DE7 are the message they repeat: nobody is charged twice."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from gateway.operations import link_exceptions
from gateway.simulator.terminal import Asked
from gateway.terminals import mapping
from iso.message import Message
from keys.sensitive import Pin
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.simulator.exchange import Exchange

LATER, LATEST = "1224000000", "1225000000"


def again(done: Exchange, **changes: str) -> Message:
    """A message as its repeat, with these fields changed (de7="...")."""
    message = done.request
    return Message(message.mti[:3] + "1", message.fields | {int(name[2:]): text for name, text in changes.items()})


async def test_a_repeat_with_another_time_gets_the_stored_answer(bank: Bank, tmp_path: Path) -> None:
    """However often, each with a DE7 of its own: one withdrawal, the first answer."""
    async with open_street(bank, tmp_path) as street:
        done = await street.atm.withdraw(street.card, 50_000)
        for time in (LATER, LATEST, LATER):
            repeat = await street.atm.send(again(done, de7=time))
            assert (done.code, done.answer.get(38)) == (repeat.code, repeat.answer.get(38))  # type: ignore[union-attr]
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_a_declined_one_stays_declined(bank: Bank, tmp_path: Path) -> None:
    """More than there is, and its repeat after a smaller withdrawal: still 51."""
    async with open_street(bank, tmp_path) as street:
        done = await street.atm.withdraw(street.card, AID_IDR + 10_000)
        assert ("51", "51") == (done.code, (await street.atm.send(again(done, de7=LATER))).code)
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)


@pytest.mark.parametrize("mti", ["0120", "0220"])
async def test_an_advice_is_posted_once(bank: Bank, tmp_path: Path, mti: str) -> None:
    """What the partner paid in the bank's name, told three times with three times of sending."""
    async with open_street(bank, tmp_path) as street:
        message = (await street.atm.withdraw(street.card, 10_000)).request
        fields = {number: text for number, text in message.fields.items() if number != 52}
        advice = Message(mti, fields | {4: "000004000000", 11: "000777", 37: "633200000777", 39: "00"})
        told = await street.atm.send(advice)
        assert "00" == told.code
        assert "00" == (await street.atm.send(again(told, de7=LATER))).code
        assert "00" == (await street.atm.send(again(told, de7=LATEST))).code
        assert AID_IDR - 10_000 - 40_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


@pytest.mark.parametrize(
    "changes",
    [{"de11": "000999"}, {"de37": "633200000999"}, {"de37": ""}, {"de41": "A0000099"}, {"de4": "000003000000"}],
)
async def test_what_differs_is_another_message(bank: Bank, tmp_path: Path, changes: dict[str, str]) -> None:
    """In trace number, reference, terminal or amount; and without a reference nothing says which one it repeats."""
    async with open_street(bank, tmp_path) as street:
        done = await street.atm.withdraw(street.card, 20_000)
        other = again(done, de7=LATER, **changes)
        fields = {number: text for number, text in other.fields.items() if text}
        assert "00" == (await street.atm.send(Message(other.mti, fields))).code
        moved_idr = 20_000 + int(fields[4]) // 100
        assert AID_IDR - moved_idr == await available_idr(bank, street.families[0].family_id)


async def test_one_that_does_not_say_so_is_another_message(bank: Bank, tmp_path: Path) -> None:
    """A 0200 with another DE7 is a request of its own, as the standard has it."""
    async with open_street(bank, tmp_path) as street:
        done = await street.atm.withdraw(street.card, 20_000)
        assert "00" == (await street.atm.send(Message("0200", done.request.fields | {7: LATER}))).code
        assert AID_IDR - 40_000 == await available_idr(bank, street.families[0].family_id)


@pytest.mark.parametrize(
    ("changes", "code"), [({}, "68"), ({"de37": "633200000999"}, "00"), ({"de4": "000003000000"}, "00")]
)
async def test_its_reversal_came_first(bank: Bank, tmp_path: Path, changes: dict[str, str], code: str) -> None:
    """A request that was lost, its reversal, and then its repeat with a time of its own: nothing moves, however often."""
    async with open_street(bank, tmp_path) as street:
        lost = street.atm.request(Asked.CASH, street.card, 50_000)
        reversal = {number: text for number, text in lost.fields.items() if number not in (52, 35, 22)}
        named = f"0200{lost.fields[11]}{lost.fields[7]}{lost.fields[32]:0>11}" + "0" * 11
        told = await street.atm.send(Message("0420", reversal | {11: "000888", 90: named}))
        assert "00" == told.code
        fields = lost.fields | {7: LATER} | {int(name[2:]): text for name, text in changes.items()}
        for _ in range(2):
            assert code == (await street.atm.send(Message("0201", fields))).code
        assert code == (await street.atm.send(Message("0201", fields | {7: LATEST}))).code
        moved_idr = 0 if code == "68" else int(fields[4]) // 100
        assert AID_IDR - moved_idr == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


def digest_of_0_1(message: Message, *marks: str) -> bytes:
    """The content digest that version 0.1 stored with an authorisation."""
    told = [message.get(number) for number in (3, 4, 37, 41, 42, 49, 90, 95)]
    return hashlib.sha256(repr((message.mti[1], told, *marks)).encode()).digest()[:16]


async def test_what_was_decided_before_an_upgrade_is_known(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of version 0.1 have another content digest: their repeats, with the same DE7 or another, move nothing all the same."""
    async with open_street(bank, tmp_path, families=2) as street:
        first, second = street.wallet.cards
        with monkeypatch.context() as patch:
            patch.setattr(mapping, "_digest", digest_of_0_1)
            cash, held = await street.atm.withdraw(first, 50_000), await street.shop.hold(first, 70_000)
            gone = await street.atm.withdraw(second, 60_000)
            back = await street.atm.reverse(gone)
            advice = await street.shop.send(street.shop.advice(Asked.PURCHASE, second, 40_000))
            refused = Message("0120", advice.request.fields | {11: "000777", 37: "633200000777", 39: "51"})
            told = await street.shop.send(refused)
            change = await street.atm.send(street.atm.pin_change(second, second.pin, Pin("271828")))
        done = (cash, held, gone, back, advice, told, change)
        assert {"00"} == {one.code for one in done}
        for one in done:
            for marked in (False, True):
                assert (await street.atm.repeat(one, marked=marked)).same_answer(one)
        for one in (cash, held, gone, advice):
            late = await street.atm.send(again(one, de7=LATER))
            assert (one.answer or one.request).get(38) == (late.answer or late.request).get(38)
        other = Message("0200", cash.request.fields | {4: "000000100000"})
        assert "94" == (await street.atm.send(other)).code
        left = [await available_idr(bank, one.family_id) for one in street.families]
        assert [AID_IDR - 120_000, AID_IDR - 40_000] == left
        assert ([], []) == await link_exceptions.overview(bank)
    await assert_proved(bank)
