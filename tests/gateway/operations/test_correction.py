"""Tests of gateway.operations.correction."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.jobs.runner import catch_up
from gateway.operations import correction, day, dormancy, history, proof
from gateway.operations.setup import move_business_date
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street, tranches_idr
from tests.gateway.world import CHECKER, MAKER, credit

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

ONE_DAY = timedelta(days=1)
REASON = "letter 12/X"
LAST = "SELECT max(id) FROM transfer WHERE kind = '{}'"


async def last(bank: Bank, kind: str) -> int:
    """Number of the newest transfer of a kind."""
    return int(await one_value(bank, LAST.format(kind)))


async def test_a_wrong_credit_of_a_closed_day_is_taken_back_in_the_open_one(bank: Bank, tmp_path: Path) -> None:
    """A new transfer of the open date that names the old one; the closed day is untouched, the money is the programme's again."""
    first = bank.business_date
    async with open_street(bank, tmp_path, 2) as street:
        number, account = street.families[0].account_number, street.families[0].family_id
    await move_business_date(bank, MAKER, first + 2 * ONE_DAY)
    await catch_up(bank)
    wrong = await one_value(bank, f"SELECT id FROM transfer WHERE kind = 'CREDIT' AND account_id = {account}")
    done = await correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON)
    expected = (number, [wrong], AID_IDR, first, first + 2 * ONE_DAY)
    assert expected == (done.account, done.corrects, done.amount_idr, done.value_date, done.business_date)
    assert (0, AID_IDR) == (
        await available_idr(bank, account),
        await available_idr(bank, street.families[1].family_id),
    )
    assert {2: AID_IDR} == await history.control_balance(bank, "programme-fund", bank.business_date)
    line = (await history.statement(bank, number)).lines[-1]
    assert ("CORRECTION", wrong, -AID_IDR) == (line.kind, line.corrects, line.available_idr)
    assert f"correction 1 for {first}: {REASON}" == line.reference
    detail = await one_value(bank, "SELECT detail FROM audit_event WHERE operation = 'correction'")
    assert f'"value_date":"{first}"' in detail
    assert f'"checker":"{CHECKER}"' in detail
    assert (await day.verify(bank)).first_wrong is None
    assert AID_IDR == (await proof.equation(bank))["credited_idr"]
    await assert_proved(bank)


async def test_nothing_is_taken_back_twice_nor_more_than_it_was(bank: Bank, tmp_path: Path) -> None:
    """Parts add up to the transfer and not a rupiah more, also with two who correct at once."""
    async with open_street(bank, tmp_path) as street:
        number = street.families[0].account_number
    wrong = await last(bank, "CREDIT")
    with pytest.raises(Refused, match=r"of transfer \d+ Rp600,000 can be taken back, not Rp600,001"):
        await correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON, AID_IDR + 1)
    await correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON, 100_000)
    with pytest.raises(Refused, match="Rp500,000 can be taken back, not Rp500,001"):
        await correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON, 500_001)
    work = (correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON) for _ in range(3))
    found = await asyncio.gather(*work, return_exceptions=True)
    assert [500_000] == [one.amount_idr for one in found if isinstance(one, correction.Correction)]
    assert 2 == sum("taken back already" in str(one) for one in found if isinstance(one, Refused))
    again = await last(bank, "CORRECTION")
    with pytest.raises(Refused, match=r"is a CORRECTION: only CAPTURE, CREDIT, PURCHASE, WITHDRAWAL are corrected"):
        await correction.take_back(bank, MAKER, CHECKER, number, again, REASON)
    await assert_proved(bank)


async def test_money_that_is_gone_is_not_taken_back(bank: Bank, tmp_path: Path) -> None:
    """Spent or frozen: what the tranche has available, and no more; nothing is written by a refusal."""
    async with open_street(bank, tmp_path) as street:
        number = street.families[0].account_number
        wrong = await last(bank, "CREDIT")
        await street.atm.withdraw(street.card, 150_000)
        with pytest.raises(Refused, match="the tranche has Rp450,000 available, not Rp600,000"):
            await correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON)
        await correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON, 50_000)
        await credit(bank, tmp_path, street.families, 70_000, si="SI-2", stage="2027-T1", months=("2027-01",))
    on = bank.business_date + timedelta(days=106)
    await move_business_date(bank, MAKER, on)
    await dormancy.freeze_unused(bank, on, 1)
    with pytest.raises(
        Refused, match="the tranche has Rp0 available, not Rp70,000: the rest was spent, held or frozen"
    ):
        await correction.take_back(bank, MAKER, CHECKER, number, await last(bank, "CREDIT"), REASON)
    assert 1 == await one_value(bank, "SELECT count(*) FROM correction")
    await assert_proved(bank)


async def test_a_withdrawal_that_did_not_happen_goes_back_to_its_tranches(bank: Bank, tmp_path: Path) -> None:
    """The last drawn first, as a reversal does; a reversal that comes late gives back only the rest, then nothing."""
    async with open_street(bank, tmp_path) as street:
        number, account = street.families[0].account_number, street.families[0].family_id
        await credit(bank, tmp_path, street.families, 100_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        withdrawn = await street.atm.withdraw(street.card, 650_000)
        assert [0, 50_000] == await tranches_idr(bank, account)
        wrong = await one_value(bank, LAST.format("WITHDRAWAL").replace("max", "min"))
        done = await correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON, 80_000)
        assert (2, 80_000) == (len(done.transfers), done.amount_idr)
        assert [30_000, 100_000] == await tranches_idr(bank, account)
        await assert_proved(bank)
        await street.atm.reverse(withdrawn)
        assert [600_000, 100_000] == await tranches_idr(bank, account)
        with pytest.raises(Refused, match="has been taken back already"):
            await correction.take_back(bank, MAKER, CHECKER, number, wrong, REASON)
    await assert_proved(bank)
    assert 0 == (await proof.equation(bank))["withdrawn_idr"]


async def test_a_reversal_after_a_whole_correction_gives_nothing_back(bank: Bank, tmp_path: Path) -> None:
    """A purchase corrected wholly, and a completed hold: the money is there once."""
    async with open_street(bank, tmp_path) as street:
        number, account = street.families[0].account_number, street.families[0].family_id
        bought = await street.shop.purchase(street.card, 40_000)
        await correction.take_back(bank, MAKER, CHECKER, number, await last(bank, "PURCHASE"), REASON)
        await street.shop.reverse(bought)
        assert AID_IDR == await available_idr(bank, account)
        completed = await street.shop.complete(await street.shop.hold(street.card, 60_000), 50_000)
        assert "00" == completed.code
        await correction.take_back(bank, MAKER, CHECKER, number, await last(bank, "CAPTURE"), REASON, 20_000)
        assert AID_IDR - 30_000 == await available_idr(bank, account)
        await street.shop.reverse(completed)
        assert AID_IDR == await available_idr(bank, account)
    await assert_proved(bank)


async def test_money_of_a_returned_tranche_can_be_used_again(bank: Bank, tmp_path: Path) -> None:
    """A withdrawal corrected after the rest of its tranche was frozen: the tranche is open, as after a reversal."""
    async with open_street(bank, tmp_path) as street:
        number = street.families[0].account_number
        await street.atm.withdraw(street.card, 100_000)
    await as_owner(bank, "UPDATE tranche SET state = 'RETURNED'")
    await correction.take_back(bank, MAKER, CHECKER, number, await last(bank, "WITHDRAWAL"), REASON)
    assert "OPEN" == await one_value(bank, "SELECT state FROM tranche")


async def test_who_and_why(bank: Bank, tmp_path: Path) -> None:
    """Two people, a reason, an account and a transfer of it."""
    async with open_street(bank, tmp_path, 2) as street:
        number, other = (one.account_number for one in street.families)
    wrong = await one_value(bank, f"SELECT id FROM transfer WHERE account_id = {street.families[0].family_id}")
    for checker in ("", MAKER, f" {MAKER.upper()}"):
        with pytest.raises(Refused, match="a correction needs two different people"):
            await correction.take_back(bank, MAKER, checker, number, wrong, REASON)
    with pytest.raises(Refused, match="a correction needs a reason"):
        await correction.take_back(bank, MAKER, CHECKER, number, wrong, " ")
    with pytest.raises(NotFound, match="there is no account 123"):
        await correction.take_back(bank, MAKER, CHECKER, "123", wrong, REASON)
    with pytest.raises(NotFound, match=f"account {other} has no transfer {wrong}"):
        await correction.take_back(bank, MAKER, CHECKER, other, wrong, REASON)
    assert 0 == await one_value(bank, "SELECT count(*) FROM correction")
