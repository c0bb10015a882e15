"""Tests of gateway.operations.day."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.jobs.catalogue import AWAITED, job_named
from gateway.jobs.runner import catch_up, run_job
from gateway.operations import day, proof
from gateway.operations.bank import transaction
from gateway.operations.setup import move_business_date
from gateway.store.audit import Operation
from ledger import days
from ledger.posting import PostingError
from tests.gateway.owner import as_owner, one_value, tamper
from tests.gateway.street import assert_proved, open_street
from tests.gateway.world import MAKER, credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

STATES = "SELECT business_date, state FROM closed_day ORDER BY business_date"
ONE_DAY = timedelta(days=1)


async def test_days_close_as_the_jobs_catch_up(bank: Bank, tmp_path: Path) -> None:
    """Each day after its jobs, in order, the one of today never; what was paid on the terminals is in it, and all is proved."""
    first = bank.business_date
    async with open_street(bank, tmp_path, 2) as street:
        assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
        await move_business_date(bank, MAKER, first + 3 * ONE_DAY)
        await catch_up(bank)
        assert [(first + n * ONE_DAY, "CLOSED") for n in range(3)] == [
            tuple(row) for row in await as_owner(bank, STATES)
        ]
        newest = await day.newest_days(bank, 10)
        assert (first + 2 * ONE_DAY, 0) == (newest[0].business_date, newest[0].transfers)
        assert (4, 2 * 1_200_000 + 50_000) == (newest[-1].transfers, newest[-1].amount_idr)
        assert days.Verdict(3) == await day.verify(bank)
        assert "00" == (await street.shop.purchase(street.card, 20_000)).code
        await assert_proved(bank)
    assert (first + 2 * ONE_DAY, 0) == (await proof.proven_from(bank), await catch_up(bank))


async def test_a_day_that_is_not_past_is_not_closed(bank: Bank) -> None:
    """Neither today nor tomorrow."""
    today = bank.business_date
    for through in (today, today + ONE_DAY):
        with pytest.raises(Refused, match=f"{through} cannot be closed yet: the business date is {today}"):
            await day.close(bank, MAKER, through, ())
    assert [] == await as_owner(bank, STATES)


async def test_a_day_waits_for_its_jobs(bank: Bank) -> None:
    """One that failed, or never ran, can still post into its date: the day stays open until it is done."""
    today = bank.business_date
    await move_business_date(bank, MAKER, today + 2 * ONE_DAY)
    waits = await day.close(bank, MAKER, today + ONE_DAY, AWAITED)
    assert ([], f"{today} is not closed: {', '.join(AWAITED)} not done for it") == (waits.closed, waits.waits)
    for name in AWAITED[1:]:
        await run_job(bank, job_named(name), today)
    run = await run_job(bank, job_named("close-day"), today + ONE_DAY)
    assert {"closed": [], "waits": f"{today} is not closed: {AWAITED[0]} not done for it"} == run.summary
    await run_job(bank, job_named(AWAITED[0]), today)
    closed = await day.close(bank, MAKER, today + ONE_DAY, AWAITED)
    assert ([today], True) == ([one.business_date for one in closed.closed], str(today + ONE_DAY) in closed.waits)


async def test_a_close_cut_off_is_taken_up(bank: Bank) -> None:
    """Locked and not hashed: nobody posts into it, and the next close goes on there."""
    today = bank.business_date
    await move_business_date(bank, MAKER, today + ONE_DAY)
    async with transaction(bank, MAKER) as tx:
        await days.lock(tx.connection, today, MAKER)
        await tx.record(Operation.DAY_LOCK, str(today))
    assert await proof.proven_from(bank) is None
    closed = await day.close(bank, "other", today, ())
    assert [(today, "CLOSED", MAKER)] == [(one.business_date, one.state, one.actor) for one in closed.closed]
    assert days.Verdict(1) == await day.verify(bank)


async def test_many_who_close_at_once_close_each_day_once(bank: Bank) -> None:
    """Others are refused or find it closed; the chain is whole."""
    today = bank.business_date
    await move_business_date(bank, MAKER, today + 4 * ONE_DAY)
    async with open_bank(bank.settings) as second:
        work = (day.close(one, MAKER, today + 3 * ONE_DAY, ()) for one in (bank, second, bank, second))
        done = await asyncio.gather(*work, return_exceptions=True)
    assert [] == [one for one in done if isinstance(one, BaseException) and not isinstance(one, Refused)]
    await day.close(bank, MAKER, today + 3 * ONE_DAY, ())
    assert 4 == len(await as_owner(bank, STATES))
    assert days.Verdict(4) == await day.verify(bank)


async def test_the_business_date_never_goes_back_onto_a_closed_day(bank: Bank) -> None:
    """By command, by going back to Jakarta's today, or by SQL; forward and to an open day it does."""
    today = bank.business_date
    await move_business_date(bank, MAKER, today + 3 * ONE_DAY)
    await day.close(bank, MAKER, today + ONE_DAY, ())
    for to in (today + ONE_DAY, today, None):
        said = to or "today"
        with pytest.raises(Refused, match=f"the business date cannot be {said}: {today + ONE_DAY} is closed"):
            await move_business_date(bank, MAKER, to)
    for value in (f"DATE '{today}'", "NULL"):
        with pytest.raises(IntegrityError, match="the business date cannot be"):
            async with bank.database.engine.begin() as connection:
                await connection.exec_driver_sql(f"UPDATE bank SET business_date = {value}")
    assert today + 2 * ONE_DAY == await move_business_date(bank, MAKER, today + 2 * ONE_DAY)


async def test_a_credit_of_a_closed_day_is_refused(bank: Bank, tmp_path: Path) -> None:
    """A process that has not learnt of the new date cannot post into the old one."""
    families = await open_families(bank, tmp_path, 1)
    today = bank.business_date
    await move_business_date(bank, MAKER, today + ONE_DAY)
    await day.close(bank, MAKER, today, ())
    bank.moved_date = today
    with pytest.raises(PostingError, match="breaks a rule of the book: open_day"):
        await credit(bank, tmp_path, families)
    assert 0 == await one_value(bank, "SELECT count(*) FROM transfer")


async def test_a_chain_made_anew_disagrees_with_the_audit_chain(bank: Bank, tmp_path: Path) -> None:
    """Whoever changes a transfer and hashes every day after it again, with checkpoints and all, is found by the events."""
    families = await open_families(bank, tmp_path, 1)
    await credit(bank, tmp_path, families)
    first = bank.business_date
    await move_business_date(bank, MAKER, first + 3 * ONE_DAY)
    await day.close(bank, MAKER, first + 2 * ONE_DAY, ())
    await tamper(bank, "transfer", "UPDATE transfer SET posted_at = posted_at + interval '1 second'")
    assert first == (await day.verify(bank)).first_wrong
    forged = (
        "state = 'CLOSING', closed_at = NULL, transfers = NULL, amount_idr = NULL, day_hash = NULL, chain_hash = NULL"
    )
    await as_owner(bank, "DELETE FROM control_checkpoint")
    await as_owner(bank, "DELETE FROM purse_checkpoint")
    await as_owner(bank, "DELETE FROM tranche_checkpoint")
    await as_owner(bank, f"UPDATE closed_day SET {forged}")
    for n in range(3):
        async with bank.database.engine.begin() as connection:
            await days.close(connection, first + n * ONE_DAY)
    async with bank.database.engine.connect() as connection:
        assert days.Verdict(3) == await days.verify(connection)  # by itself the chain holds
    found = await day.verify(bank)
    assert (first, "the audit chain has another hash for it, or none") == (found.first_wrong, found.detail)
    await as_owner(bank, f"DELETE FROM closed_day WHERE business_date = '{first + 2 * ONE_DAY}'")
    found = await day.verify(bank, first + 2 * ONE_DAY)
    assert (first + 2 * ONE_DAY, "the audit chain says it was closed") == (found.first_wrong, found.detail)


async def test_a_posting_that_does_not_end_is_named(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The close gives up after a while and says so; nobody else was kept waiting for good."""
    families = await open_families(bank, tmp_path, 1)
    await credit(bank, tmp_path, families)
    today = bank.business_date
    await move_business_date(bank, MAKER, today + ONE_DAY)
    monkeypatch.setattr(day, "LOCK_TIMEOUT", text("SET LOCAL lock_timeout = '200ms'"))
    async with bank.database.engine.begin() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO transfer SELECT cell, account_id, 999, debit, credit, 1, kind, source, source_id, tranche_id, NULL, "
            "business_date FROM transfer WHERE kind = 'CREDIT'"
        )
        with pytest.raises(Refused, match=f"{today} is not closed: a posting into it has been under way"):
            await day.close(bank, MAKER, today, ())
        await connection.rollback()
    assert [today] == [one.business_date for one in (await day.close(bank, MAKER, today, ())).closed]
