"""Stand-in over TCP: PostgreSQL is taken away, cards are served within the bank's bounds, and the books catch up once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.operations import lane, link_exceptions
from gateway.operations.bank import reading
from gateway.simulator.terminal import Asked
from keys.sensitive import Pin
from tests.gateway.outage import POLICY, away, frozen, stood_in_street, until_posted
from tests.gateway.street import AID_IDR, assert_proved, available_idr, reasons

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

WRONG = Pin("999931")


@pytest.mark.parametrize("policy", ["", POLICY])
async def test_a_database_that_is_silent_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    """PostgreSQL hangs with every connection open: soon requests are answered 91, or stood in for, and it all goes on later."""
    monkeypatch.setattr(lane, "DATABASE_WAIT_S", 1.0)
    monkeypatch.setattr(lane, "AWAY_WAIT_S", 0.3)
    async with stood_in_street(tmp_path, monkeypatch, policy=policy) as (bank, street):
        (card,) = street.wallet.cards
        assert "00" == (await street.atm.withdraw(card, 50_000)).code
        code, left_idr = ("00", AID_IDR - 200_000) if policy else ("91", AID_IDR - 100_000)
        async with frozen(bank):
            async with asyncio.timeout(20):
                assert code == (await street.atm.withdraw(card, 50_000)).code
                assert code == (await street.atm.withdraw(card, 50_000)).code
                assert "91" == (await street.atm.balance(card)).code
        await until_posted(street)
        async with asyncio.timeout(20):
            while (paid := await street.atm.withdraw(card, 50_000)).code == "91":  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.1)
        assert ("00", left_idr) == (paid.code, await available_idr(bank, street.families[0].family_id))
        await assert_proved(bank)


async def test_within_its_bounds_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cash and goods, repeats and a reversal while the books are away; afterwards they agree, flagged, with the codes told."""
    async with stood_in_street(tmp_path, monkeypatch, families=3) as (bank, street):
        first, second, third = street.wallet.cards
        online = await street.atm.withdraw(second, 50_000)
        async with away(bank):
            paid = await street.atm.withdraw(first, 200_000)
            assert ("00", "S") == (paid.code, (paid.answer or paid.request).fields[38][0])
            assert [] == paid.faults()
            assert (await street.atm.repeat(paid)).same_answer(paid)
            assert (await street.atm.repeat(paid, marked=True)).same_answer(paid)
            other = dict(paid.request.fields) | {4: "000010000000"}
            assert "94" == (await street.atm.send(type(paid.request)("0200", other))).code
            assert "91" == (await street.atm.withdraw(first, 100_001)).code  # 300,000 a card
            assert "00" == (await street.shop.purchase(first, 100_000)).code
            assert "91" == (await street.shop.purchase(first, 1)).code
            assert "91" == (await street.atm.withdraw(second, 200_001)).code
            assert "91" == (await street.agent.withdraw(second, 50_000)).code  # no cash at agents
            assert ["91"] * 3 == [
                one.code
                for one in (
                    await street.atm.balance(second), await street.shop.hold(second, 50_000),
                    await street.atm.reverse(online),
                )
            ]  # fmt: skip
            assert "91" == (await street.atm.repeat(online, marked=True)).code  # it may have been decided already
            back = await street.atm.withdraw(third, 150_000)
            assert "00" == (await street.atm.reverse(back)).code
            assert "00" == (await street.atm.reverse(back, repeat=True)).code
            assert "00" == (await street.atm.withdraw(third, 200_000)).code
        await until_posted(street)
        left = [await available_idr(bank, one.family_id) for one in street.families]
        assert [AID_IDR - 300_000, AID_IDR - 50_000, AID_IDR - 200_000] == left
        assert (await street.atm.repeat(paid)).same_answer(paid)
        assert "00" == (await street.atm.reverse(paid)).code
        assert AID_IDR - 100_000 == await available_idr(bank, street.families[0].family_id)
        assert "00" == (await street.atm.reverse(online)).code
        assert [1003] * 5 == await _flags(bank)
        await assert_proved(bank)


async def test_wrong_pins_lock_the_card_in_the_books_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three are told, a fourth is not looked at; a wrong PIN moves nothing, and its repeat is not another try."""
    async with stood_in_street(tmp_path, monkeypatch) as (bank, street):
        async with away(bank):
            wrong = await street.atm.withdraw(street.card, 50_000, WRONG)
            assert (await street.atm.repeat(wrong)).same_answer(wrong)
            tries = [await street.atm.withdraw(street.card, 50_000, WRONG) for _ in range(3)]
            assert ["55", "55", "55", "91"] == [wrong.code, *(one.code for one in tries)]
            assert "91" == (await street.atm.withdraw(street.card, 50_000)).code
        await until_posted(street)
        assert "75" == (await street.atm.withdraw(street.card, 50_000)).code
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)
        assert ["PIN_WRONG"] * 3 + ["PIN_TRIES_EXCEEDED"] == await reasons(bank)
        await assert_proved(bank)


async def test_what_overdraws_is_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spent after the list was made: what stand-in gave cannot be posted, and stands open until it is reversed."""
    async with stood_in_street(tmp_path, monkeypatch) as (bank, street):
        assert "00" == (await street.atm.withdraw(street.card, 550_000)).code
        async with away(bank):
            gone = await street.atm.withdraw(street.card, 100_000)
            assert "00" == gone.code
        await until_posted(street)
        assert AID_IDR - 550_000 == await available_idr(bank, street.families[0].family_id)
        counted, (found,) = await link_exceptions.overview(bank)
        assert [("INSUFFICIENT_FUNDS", 1, 100_000)] == [(one.reason, one.messages, one.amount_idr) for one in counted]
        assert found.detail.startswith("STAND_IN")
        assert (await street.atm.repeat(gone)).same_answer(gone)
        assert "00" == (await street.atm.reverse(gone)).code
        assert ([], []) == await link_exceptions.overview(bank)
        assert AID_IDR - 550_000 == await available_idr(bank, street.families[0].family_id)
        await assert_proved(bank)


async def test_nothing_new_of_a_card_before_what_it_owes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A withdrawal that waits for the books to come back is decided behind what was stood in for."""
    async with stood_in_street(tmp_path, monkeypatch) as (bank, street):
        async with away(bank):
            assert "00" == (await street.atm.withdraw(street.card, 200_000)).code
        done = await asyncio.gather(*(street.shop.purchase(street.card, 400_000) for _ in range(2)))
        assert ["00", "51"] == sorted(one.code for one in done)
        assert 0 == await available_idr(bank, street.families[0].family_id)
        assert ([], []) == await link_exceptions.overview(bank)
        await assert_proved(bank)


async def test_without_the_opt_in_all_is_told_91(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no file is made."""
    async with stood_in_street(tmp_path, monkeypatch, policy="") as (bank, street):
        async with away(bank):
            assert "91" == (await street.atm.withdraw(street.card, 50_000)).code
        assert not (bank.settings.data_dir / "stand-in").exists()
        assert "00" == (await street.atm.withdraw(street.card, 50_000)).code


async def test_a_second_outage_counts_against_the_same_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until there is a newer list, what was posted counts on; nobody gets the most of a card twice from one list."""
    async with stood_in_street(tmp_path, monkeypatch) as (bank, street):
        async with away(bank):
            message = street.atm.request(Asked.CASH, street.card, 200_000)
            assert "00" == (await street.atm.send(message)).code
        await until_posted(street)
        async with away(bank):
            assert "91" == (await street.atm.withdraw(street.card, 200_000)).code
            assert "00" == (await street.atm.send(message)).code
            assert "00" == (await street.atm.withdraw(street.card, 100_000)).code
        await until_posted(street)
        assert await street.service.stand_in.renew()
        async with away(bank):
            assert "00" == (await street.atm.withdraw(street.card, 200_000)).code
        await until_posted(street)
        assert AID_IDR - 500_000 == await available_idr(bank, street.families[0].family_id)
        await assert_proved(bank)


async def _flags(bank: Bank) -> list[int]:
    async with reading(bank) as connection:
        return list((await connection.execute(FLAGS)).scalars())


FLAGS = text(
    "SELECT CAST(CAST(answer AS json) ->> 'stand_in' AS int) FROM authorisation WHERE answer LIKE '%stand_in%'"
)
