"""Tests of gateway.store.ceremonies."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from gateway.store import audit, ceremonies
from gateway.store.audit import FIRST_HASH, Operation

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

AT = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)


async def write(connection: AsyncConnection, actor: str, operation: Operation, key: str, **detail: Any) -> None:  # noqa: ANN401 - JSON values
    """One audit event, on the first business date unless another is named."""
    told = {"business_date": "2026-11-28"} | detail
    await audit.append(connection, lambda data: data[:32].ljust(32), AT, actor, operation, key, told)


async def test_acts_are_those_of_keys_in_their_order(engine: AsyncEngine) -> None:
    """Other events are left out, and so are other days."""
    async with engine.begin() as connection:
        await write(connection, "siti", Operation.KEY_BEGUN, "zpk", act="generate", business_date="2026-11-27")
        await write(connection, "siti", Operation.LINK_EVENT, "zpk", act="generate")
        await write(connection, "siti", Operation.KEY_DONE, "zpk#1", act="generate", kcv="08D7B4")
        await write(connection, "hsm", Operation.KEY_REFUSED, "zpk#1", refused="SEAL", business_date="2026-11-29")
        found = await ceremonies.acts(connection)
        assert ["key.begun", "key.done", "key.refused"] == [act.operation for act in found]
        assert ("siti", "zpk#1", "08D7B4", AT) == (found[1].actor, found[1].key, found[1].detail["kcv"], found[1].at)
        days = [(date(2026, 11, 28), None), (None, date(2026, 11, 28)), (date(2026, 11, 28), date(2026, 11, 28))]
        counts = [len(await ceremonies.acts(connection, *pair)) for pair in days]
        assert [2, 2, 1] == counts


async def test_who_did_it(engine: AsyncEngine) -> None:
    """Of the acts asked for, with this key, that have ended."""
    async with engine.begin() as connection:
        assert not await ceremonies.done_by(connection, "zpk#1", ["generate"])
        await write(connection, "siti", Operation.KEY_DONE, "zpk#1", act="generate")
        await write(connection, "budi", Operation.KEY_DONE, "zpk#2", act="generate")
        await write(connection, "budi", Operation.KEY_DONE, "zpk#1", act="activate")
        await write(connection, "budi", Operation.KEY_BEGUN, "zpk#1", act="import")
        await write(connection, "budi", Operation.KEY_FAILED, "zpk#1", act="import")
        assert ["siti"] == await ceremonies.done_by(connection, "zpk#1", ["generate", "import"])
        assert ["budi"] == await ceremonies.done_by(connection, "zpk#1", ["activate"])
        await write(connection, "ratna", Operation.KEY_DONE, "zpk#1", act="import")
        assert ["ratna", "siti"] == await ceremonies.done_by(connection, "zpk#1", ["generate", "import"])


async def test_who_began_it_and_was_not_refused(engine: AsyncEngine) -> None:
    """An act that was cut off counts: whoever began it may have done it. It takes no other's place."""
    async with engine.begin() as connection:
        await write(connection, "siti", Operation.KEY_BEGUN, "zpk#1", act="retire")
        assert ["siti"] == await ceremonies.begun_by(connection, "zpk#1", ["retire"])
        await write(connection, "budi", Operation.KEY_BEGUN, "zpk#1", act="retire")
        assert ["budi", "siti"] == await ceremonies.begun_by(connection, "zpk#1", ["retire"])
        await write(connection, "budi", Operation.KEY_FAILED, "zpk#1", act="retire")
        assert ["siti"] == await ceremonies.begun_by(connection, "zpk#1", ["retire"])
        assert not await ceremonies.begun_by(connection, "zpk#2", ["retire"])


async def test_last_serial(engine: AsyncEngine) -> None:
    """Of the last act that ended; None before the first."""
    async with engine.begin() as connection:
        assert await ceremonies.last_serial(connection) is None
        await write(connection, "siti", Operation.KEY_DONE, "zpk#1", act="generate", serial=7)
        await write(connection, "siti", Operation.KEY_BEGUN, "zpk#1", act="activate")
        assert 7 == await ceremonies.last_serial(connection)


async def test_a_note_that_is_in_the_chain(engine: AsyncEngine) -> None:
    """By its digest, of events of keys alone."""
    async with engine.begin() as connection:
        await write(connection, "siti", Operation.KEY_DONE, "master key", act="init", note="ab")
        await write(connection, "siti", Operation.LINK_EVENT, "master key", note="cd")
        assert [True, False, False] == [await ceremonies.is_taken_in(connection, one) for one in ("ab", "cd", "a")]


async def test_an_act_that_was_refused_and_done_again(engine: AsyncEngine) -> None:
    """Each beginning with its own end: of the same person, the same act, the same key; a use that was refused is no end."""
    async with engine.begin() as connection:
        who = partial(ceremonies.begun_by, connection, "zpk#1", ["retire", "compromise"])
        await write(connection, "siti", Operation.KEY_BEGUN, "zpk#1", act="retire")
        await write(connection, "siti", Operation.KEY_FAILED, "zpk#1", act="retire")
        assert not await who()
        await write(connection, "siti", Operation.KEY_BEGUN, "zpk#1", act="retire")
        await write(connection, "hsm", Operation.KEY_REFUSED, "zpk#1", refused="SEAL", reason="may not", times=1)
        await write(connection, "siti", Operation.KEY_FAILED, "zpk#1", act="suspend")
        await write(connection, "siti", Operation.KEY_FAILED, "zpk#2", act="retire")
        await write(connection, "budi", Operation.KEY_FAILED, "zpk#1", act="retire")
        assert ["siti"] == await who()
        await write(connection, "siti", Operation.KEY_DONE, "zpk#1", act="retire")
        await write(connection, "budi", Operation.KEY_BEGUN, "zpk#1", act="compromise")
        assert ["budi", "siti"] == await who()
        await write(connection, "budi", Operation.KEY_FAILED, "zpk#1", act="compromise")
        assert ["siti"] == await who()


@pytest.mark.parametrize(
    "rubbish",
    [r'"/tmp/nix\udcff: no"', r'"t\u0000x"', r'"\\\ud800\ud801\\"', r'"\\u0000"', "NaN", "-Infinity", "[Infinity,NaN]"],
)
async def test_a_chain_that_has_what_a_database_does_not_take(engine: AsyncEngine, rubbish: str) -> None:
    """Written before it was cleaned on its way in: every look bears it, and finds what else that event says."""
    told = f'{{"act":"retire","business_date":"2026-11-28","note":"ab","reason":{rubbish}}}'
    row = {"stream": "operations", "at": AT, "actor": "siti", "operation": "key.begun", "hash": FIRST_HASH}
    async with engine.begin() as connection:
        await connection.execute(audit.INSERT_EVENT, row | {"seq": 1, "subject": "zpk#1", "detail": told})
        assert await ceremonies.is_taken_in(connection, "ab")
        assert await ceremonies.last_serial(connection) is None
        assert ["siti"] == await ceremonies.begun_by(connection, "zpk#1", ["retire"])
        assert not await ceremonies.done_by(connection, "zpk#1", ["retire"])
        (act,) = await ceremonies.acts(connection, date(2026, 11, 28), date(2026, 11, 28))
        assert str(act.detail["reason"]).isprintable()


@pytest.mark.parametrize("serial", [10**9, 10**30, "x"])
async def test_a_note_says_nothing_of_the_serial(engine: AsyncEngine, serial: object) -> None:
    """It is no more believable than the folder it stood in: what it claims closes no bank."""
    async with engine.begin() as connection:
        await write(connection, "siti", Operation.KEY_DONE, "zpk#1", act="generate", serial=7)
        await write(connection, "siti", Operation.KEY_DONE, "master key", act="init", serial=serial, note="ab")
        assert 7 == await ceremonies.last_serial(connection)


@pytest.mark.parametrize("statement", ["ACTS", "DONE_BY", "BEGUN_BY", "LAST_SERIAL", "TAKEN_IN"])
async def test_the_few_events_of_keys_are_found_by_their_index(engine: AsyncEngine, statement: str) -> None:
    """Not by reading all that a bank has ever done."""
    values = {"first": None, "last": None, "key": "zpk#1", "acts": ["retire"], "note": "ab"}
    query = getattr(ceremonies, statement)
    named = {name: values[name] for name in query.compile().params}
    async with engine.begin() as connection:
        await write(connection, "siti", Operation.KEY_DONE, "zpk#1", act="generate", serial=7)
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = await connection.execute(text(f"EXPLAIN {query.text}"), named)
        assert "audit_event_key" in " ".join(plan.scalars())
