"""Tests of gateway.operations.authorise, over TCP: repeats, reversals, and groups."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.operations.bank import reading
from gateway.simulator.terminal import Asked, TerminalKind
from iso.message import Message
from keys.sensitive import Pin
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street, reasons, tranches_idr
from tests.gateway.world import credit

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_a_repeat_gets_the_stored_answer(bank: Bank, tmp_path: Path) -> None:
    """The same message again, as 0200 or 0201, gets the same answer in every field, and the money moves once."""
    async with open_street(bank, tmp_path) as street:
        for first in (
            await street.atm.withdraw(street.card, 100_000),
            await street.shop.purchase(street.card, 20_000),
            await street.atm.balance(street.card),
            await street.atm.withdraw(street.card, 990_000),
        ):
            await street.agent.withdraw(street.card, 10_000)
            for marked in (False, True):
                again = await street.atm.repeat(first, marked=marked)
                assert again.same_answer(first)
        assert AID_IDR - 160_000 == await available_idr(bank, street.families[0].family_id)
    assert 8 == len(await reasons(bank))
    await assert_proved(bank)


async def test_a_repeat_in_flight_gets_the_first_answer(bank: Bank, tmp_path: Path) -> None:
    """Ten copies sent before the first answer is there: one withdrawal, ten equal answers, on two connections."""
    async with open_street(bank, tmp_path) as street, street.new_switch() as other:
        message = street.atm.request(Asked.CASH, street.card, 100_000)
        clients = (street.switch.client, other.client) * 5
        answers = await asyncio.gather(*(client.request(replace(message), again=True) for client in clients))
        assert [answers[0].fields] * 10 == [one.fields for one in answers]
        assert "00" == answers[0].get(39)
        assert AID_IDR - 100_000 == await available_idr(bank, street.families[0].family_id)


async def test_the_same_key_with_other_content_is_refused(bank: Bank, tmp_path: Path) -> None:
    """STAN, DE7, acquirer and card of an answered message with another amount, terminal or reference: 94, nothing moves."""
    async with open_street(bank, tmp_path) as street:
        first = await street.atm.withdraw(street.card, 100_000)
        for number, value in (
            (4, "000000000100"),
            (3, "300000"),
            (37, "999999999999"),
            (41, "OTHER001"),
            (42, "OTHER"),
        ):
            other = Message("0200", first.request.fields | {number: value})
            assert (number, "94") == (number, (await street.atm.send(other)).code)
        padded = Message("0200", first.request.fields | {32: "2"})
        again = await street.atm.send(padded)
        assert first.answer is not None
        assert again.answer is not None
        assert ("00", first.answer.get(38)) == (again.code, again.answer.get(38))
        assert AID_IDR - 100_000 == await available_idr(bank, street.families[0].family_id)


async def test_a_full_reversal_gives_all_back_once(bank: Bank, tmp_path: Path) -> None:
    """0420, its repeat 0421, and a second reversal of the same original: money comes back once, each is answered 00."""
    async with open_street(bank, tmp_path) as street:
        family = street.families[0].family_id
        first = await street.atm.withdraw(street.card, 250_000)
        done = [await street.atm.reverse(first)]
        assert AID_IDR == await available_idr(bank, family)
        done.append(await street.atm.reverse(first, repeat=True))
        done.append(await street.atm.repeat(done[0]))
        done.append(await street.atm.reverse(first))
        assert [("00", "0430")] * 4 == [(one.code, one.answer.mti if one.answer else "") for one in done]
        assert [] == [fault for one in done for fault in one.faults()]
        assert AID_IDR == (await street.atm.balance(street.card)).available_idr
        assert (await street.atm.repeat(first)).same_answer(first)
        assert AID_IDR == await available_idr(bank, family)
    await assert_proved(bank)


async def test_a_reversal_request_is_answered_0410(bank: Bank, tmp_path: Path) -> None:
    """0400 and 0401 are answered 0410 and give back like 0420."""
    async with open_street(bank, tmp_path) as street:
        first = await street.shop.purchase(street.card, 80_000)
        reversal = street.shop.reversal(first.request)
        asked = await street.shop.send(replace(reversal, mti="0400"))
        again = await street.shop.send(replace(reversal, mti="0401"))
        told = [("00", one.answer.mti) for one in (asked, again) if one.answer]
        assert [("00", "0410")] * 2 == told
        assert reversal.get(90) == (asked.answer.get(90) if asked.answer else None)
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)


async def test_a_partial_reversal_keeps_what_was_paid(bank: Bank, tmp_path: Path) -> None:
    """DE95 says what was really paid out; a later full reversal gives back the rest, a smaller one nothing more."""
    async with open_street(bank, tmp_path) as street:
        family = street.families[0].family_id
        first = await street.atm.withdraw(street.card, 300_000)
        assert "00" == (await street.atm.reverse(first, kept_idr=100_000)).code
        assert AID_IDR - 100_000 == await available_idr(bank, family)
        assert "00" == (await street.atm.reverse(first, kept_idr=200_000)).code
        assert AID_IDR - 100_000 == await available_idr(bank, family)
        assert "00" == (await street.atm.reverse(first)).code
        assert AID_IDR == await available_idr(bank, family)
    await assert_proved(bank)


async def test_a_reversal_before_its_original_stops_it(bank: Bank, tmp_path: Path) -> None:
    """The advice is accepted and kept; when the late original comes it is refused, and again when it is repeated."""
    async with open_street(bank, tmp_path) as street:
        late = street.atm.request(Asked.CASH, street.card, 100_000)
        reversal = await street.atm.send(street.atm.reversal(late))
        original = await street.atm.send(late)
        again = await street.atm.repeat(original)
        fresh = await street.atm.withdraw(street.card, 100_000)
        assert ("00", "68", "68", "00") == (reversal.code, original.code, again.code, fresh.code)
        assert AID_IDR - 100_000 == await available_idr(bank, street.families[0].family_id)
    assert ["ORIGINAL_UNKNOWN", "REVERSED_BEFORE", "APPROVED"] == await reasons(bank)


async def test_reversals_that_give_nothing(bank: Bank, tmp_path: Path) -> None:
    """A reversal of nothing known, of a declined original, of a balance or of another amount gives nothing back."""
    async with open_street(bank, tmp_path) as street:
        never = street.atm.request(Asked.CASH, street.card, 100_000)
        asked = await street.atm.send(replace(street.atm.reversal(never), mti="0400"))
        declined = await street.atm.reverse(await street.atm.withdraw(street.card, 990_000))
        balance = await street.atm.reverse(await street.atm.balance(street.card))
        good = await street.atm.withdraw(street.card, 100_000)
        codes = []
        for mti in ("0400", "0420"):
            wrong = replace(street.atm.reversal(good.request), mti=mti)
            wrong.fields[4] = "000050000000"
            codes.append((await street.atm.send(wrong)).code)
        assert ("25", "00", "00", ["13", "00"]) == (asked.code, declined.code, balance.code, codes)
        assert AID_IDR - 100_000 == await available_idr(bank, street.families[0].family_id)
        other = street.atm.reversal(good.request)
        other.fields[90] = other.fields[90].replace("0200", "0420", 1)
        assert "12" == (await street.atm.send(replace(other, mti="0400"))).code
        del other.fields[90], other.fields[37]
        assert "30" == (await street.atm.send(other)).code
    await assert_proved(bank)


async def test_a_reversal_needs_no_working_card(bank: Bank, tmp_path: Path) -> None:
    """Money goes back to a family whose card was reported lost, or was locked, in between."""
    async with open_street(bank, tmp_path) as street:
        first = await street.atm.withdraw(street.card, 100_000)
        async with bank.database.engine.begin() as connection:
            await connection.execute(text("UPDATE card SET state = 'LOST'"))
        assert "00" == (await street.atm.reverse(first)).code
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)


async def test_a_reversal_fills_the_tranches_it_took_from(bank: Bank, tmp_path: Path) -> None:
    """A withdrawal over two stages: each gets back exactly what was taken from it."""
    async with open_street(bank, tmp_path, amount_idr=200_000) as street:
        await credit(bank, tmp_path, street.families, 400_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        family = street.families[0].family_id
        first = await street.atm.withdraw(street.card, 150_000)
        second = await street.atm.withdraw(street.card, 250_000)
        assert [0, 200_000] == await tranches_idr(bank, family)
        await street.atm.reverse(second)
        assert [50_000, 400_000] == await tranches_idr(bank, family)
        await street.atm.reverse(first)
        assert [200_000, 400_000] == await tranches_idr(bank, family)
    await assert_proved(bank)


async def test_reversals_race_with_their_originals(bank: Bank, tmp_path: Path) -> None:
    """Original and reversal sent together on two connections, either may win: the money is there in the end."""
    async with open_street(bank, tmp_path, families=8) as street, street.new_switch() as other:
        messages = [street.atm.request(Asked.CASH, card, 100_000) for card in street.wallet.cards]
        reversals = [street.atm.reversal(message) for message in messages]
        sent = [street.switch.client.request(one) for one in messages] + [
            other.client.request(one) for one in reversals
        ]
        answers = await asyncio.gather(*sent)
        assert {"00"} == {one.get(39) for one in answers[8:]}
        assert {"00", "68"} >= {one.get(39) for one in answers[:8]}
        assert [AID_IDR] * 8 == [await available_idr(bank, one.family_id) for one in street.families]
    await assert_proved(bank)


async def test_two_hundred_requests_on_fifty_cards(bank: Bank, tmp_path: Path) -> None:
    """200 requests in flight: every card is right to the rupiah, in fewer transactions than requests."""
    async with open_street(bank, tmp_path, families=50) as street:
        terminals = [street.terminal(TerminalKind.ATM, 10 + n, 300_000 + 1_000 * n) for n in range(4)]
        done = await asyncio.gather(
            *(t.withdraw(card, 100_000 + 10_000 * n) for n, t in enumerate(terminals) for card in street.wallet.cards)
        )
        assert {"00"} == {one.code for one in done}
        assert [] == [fault for one in done for fault in one.faults()]
        left = [await available_idr(bank, one.family_id) for one in street.families]
        assert [AID_IDR - 460_000] * 50 == left
        lanes = street.service.lanes.statistics
        assert 200 == sum(lane.decided for lane in lanes)
        assert 100 > sum(lane.groups for lane in lanes)
        assert 0 == sum(lane.retried + lane.refused + lane.unknown for lane in lanes)
    await assert_proved(bank)


async def test_one_card_at_many_terminals_is_never_overdrawn(bank: Bank, tmp_path: Path) -> None:
    """Twelve withdrawals of Rp100,000 of one card at once, with Rp600,000 on it: six are paid, six refused."""
    async with open_street(bank, tmp_path) as street:
        done = await asyncio.gather(
            *(street.terminal(TerminalKind.ATM, n, 1_000 * n).withdraw(street.card, 100_000) for n in range(10, 22))
        )
        assert ["00"] * 6 + ["51"] * 6 == sorted(one.code for one in done)
        assert {500_000, 400_000, 300_000, 200_000, 100_000, 0} == {one.available_idr for one in done if one.approved}
        assert 0 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_stored_answers_hold_nothing_of_the_card(bank: Bank, tmp_path: Path) -> None:
    """What is kept of an answer is its approval code and balances, nothing else."""
    async with open_street(bank, tmp_path) as street:
        await street.atm.withdraw(street.card, 100_000)
        async with reading(bank) as connection:
            answer = json.loads((await connection.execute(text("SELECT answer FROM authorisation"))).scalar_one())
        assert {"approval_code", "balances"} == set(answer)
        assert {"CASH": 0, "FOOD": 500_000} == answer["balances"]


async def test_the_family_is_told_what_it_loses_next(bank: Bank, tmp_path: Path) -> None:
    """Inquiry, refusal and approval tell the earliest loss of unused aid as it is afterwards, and a repeat tells it again."""
    async with open_street(bank, tmp_path) as street:
        await credit(bank, tmp_path, street.families, 100_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        lost_on = bank.business_date + timedelta(days=90)
        asked = await street.atm.balance(street.card)
        assert asked.answer is not None
        assert f"EXP{lost_on:%Y%m%d}{(AID_IDR + 100_000) * 100:012d}" == asked.answer.get(48)
        again = await street.atm.repeat(asked)
        assert again.answer is not None
        assert asked.answer.get(48) == again.answer.get(48)
        refused = await street.atm.withdraw(street.card, AID_IDR + 150_000)
        assert refused.answer is not None
        assert ("51", asked.answer.get(48)) == (refused.code, refused.answer.get(48))
        paid = await street.atm.withdraw(street.card, 50_000)  # the clock of a used tranche has stopped
        assert paid.answer is not None
        assert ("00", f"EXP{lost_on:%Y%m%d}{100_000 * 100:012d}") == (paid.code, paid.answer.get(48))
        repeated = await street.atm.repeat(paid)
        assert repeated.same_answer(paid)
        last = await street.atm.withdraw(street.card, AID_IDR - 50_000 + 10_000)
        assert last.answer is not None
        assert ("00", None) == (last.code, last.answer.get(48))


async def test_a_balance_is_told_behind_a_right_pin_alone(bank: Bank, tmp_path: Path) -> None:
    """Every refusal behind the PIN tells DE54 and DE48; with a wrong or locked one, or a lost card, nothing is told."""
    async with open_street(bank, tmp_path) as street:
        told, untold = [], []
        told.append(await street.agent.withdraw(street.card, AID_IDR + 10_000))
        odd = street.shop.request(Asked.PURCHASE, street.card, 10_000)
        odd.fields[18] = "5812"  # food may not be bought there
        told.append(await street.shop.send(odd))
        async with bank.database.engine.begin() as connection:
            await connection.execute(text("UPDATE account SET state = 'BLOCKED'"))
        told.append(await street.atm.withdraw(street.card, 10_000))
        untold += [await street.atm.withdraw(street.card, 10_000, Pin("909182")) for _ in range(3)]
        untold.append(await street.atm.balance(street.card))
        async with bank.database.engine.begin() as connection:
            await connection.execute(text("UPDATE card SET state = 'LOST', pin_tries_left = 3"))
        untold.append(await street.atm.balance(street.card))
        assert ["51", "57", "62"] == [one.code for one in told]
        assert ["55", "55", "55", "75", "41"] == [one.code for one in untold]
        assert [AID_IDR] * 3 == [one.available_idr for one in told]
        assert [True] * 3 == [one.answer is not None and 48 in one.answer.fields for one in told]
        assert [(False, False)] * 5 == [
            (54 in one.answer.fields, 48 in one.answer.fields) for one in untold if one.answer is not None
        ]
