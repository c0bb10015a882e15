"""Tests of gateway.operations.bank."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway import clock
from gateway.errors import Refused
from gateway.operations.bank import ACTOR_MAX, reading, refresh_business_date, transaction
from gateway.store.audit import Operation
from tests.gateway.owner import as_owner, one_value

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

EVENTS = "SELECT count(*) FROM audit_event"


async def _end_a_job(bank: Bank, *, record: bool, fail: bool = False) -> None:
    async with transaction(bank, " siti ") as tx:
        await tx.connection.execute(text("INSERT INTO sp2d (no, sp2d_date, amount_idr) VALUES ('X', now(), 1)"))
        if record:
            assert not tx.recorded
            await tx.record(Operation.SI_IMPORT, "SI X", rows=1)
            assert tx.recorded
        if fail:
            raise ConnectionError


async def test_an_operation_without_a_record_is_undone(bank: Bank) -> None:
    """What leaves no audit event is rolled back and raises: a bug, not a refusal."""
    with pytest.raises(RuntimeError, match="an operation ended without its audit event"):
        await _end_a_job(bank, record=False)
    assert 0 == await one_value(bank, "SELECT count(*) FROM sp2d")


async def test_a_failed_operation_leaves_no_event(bank: Bank) -> None:
    """Work and event are in one transaction: both stay or neither."""
    with pytest.raises(ConnectionError):
        await _end_a_job(bank, record=True, fail=True)
    assert (0, 0) == (await one_value(bank, "SELECT count(*) FROM sp2d"), await one_value(bank, EVENTS))
    await _end_a_job(bank, record=True)
    (row,) = await as_owner(bank, "SELECT actor, operation, subject, detail::jsonb AS detail FROM audit_event")
    assert ("siti", "si.import", "SI X") == (row.actor, row.operation, row.subject)
    assert {"rows": 1, "business_date": str(bank.business_date)} == row.detail
    assert 1 == await one_value(bank, "SELECT count(*) FROM sp2d")


@pytest.mark.parametrize("actor", ["", "  ", "x" * (ACTOR_MAX + 1), "a\nb", "a\x00"])
async def test_who_acts_must_have_a_name(bank: Bank, actor: str) -> None:
    """A name is 1 to 60 printable characters, else nothing is begun."""
    with pytest.raises(Refused, match="user name of 1 to 60 printable characters"):
        async with transaction(bank, actor):
            raise AssertionError
    assert 0 == await one_value(bank, EVENTS)


async def test_reading_cannot_write_and_sees_one_moment(bank: Bank) -> None:
    """A read-only transaction refuses to write, and what is committed meanwhile is not seen in it."""
    async with reading(bank) as connection:
        before = (await connection.execute(text(EVENTS))).scalar_one()
        await _end_a_job(bank, record=True)
        assert before == (await connection.execute(text(EVENTS))).scalar_one()
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await connection.execute(text("UPDATE bank SET name = 'BNI'"))
    assert 1 == await one_value(bank, EVENTS)


async def test_events_of_many_at_once_make_one_chain(bank: Bank) -> None:
    """Operations that end at the same moment get consecutive numbers."""

    async def note(number: int) -> None:
        async with transaction(bank, f"user {number}") as tx:
            await tx.record(Operation.LINK_EVENT, "link")

    await asyncio.gather(*(note(number) for number in range(12)))
    assert list(range(1, 13)) == [row[0] for row in await as_owner(bank, "SELECT seq FROM audit_event ORDER BY seq")]


async def test_the_business_date_is_jakartas_unless_moved(bank: Bank) -> None:
    """A date set in the database counts for every process once it has looked."""
    assert clock.jakarta_today() == bank.business_date
    await as_owner(bank, "UPDATE bank SET business_date = '2027-02-01'")
    assert bank.business_date == clock.jakarta_today()
    assert date(2027, 2, 1) == await refresh_business_date(bank) == bank.business_date
