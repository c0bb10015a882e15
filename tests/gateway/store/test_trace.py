"""Tests of gateway.store.trace: what a trace reads, it finds by index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from gateway.operations.bank import reading
from gateway.store import trace
from tests.gateway.aid_story import FIRST, live_through
from tests.gateway.owner import one_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import TextClause

    from gateway.operations.bank import Bank

GROWING = {"transfer", "authorisation", "tranche", "tranche_opening", "si_row", "account", "card"}
KEY = {"w_cells": [1], "w_accounts": [1], "w_ids": [1]}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


async def _scanned(bank: Bank, statement: TextClause, values: dict[str, Any]) -> list[str]:
    """Tables that grow and are read from end to end by a statement, as a trace runs it."""
    async with reading(bank) as connection:
        await trace.by_index(connection)
        found = await connection.execute(text(f"EXPLAIN (FORMAT JSON) {statement.text}"), values)
        told = found.scalar_one()
    plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
    tables = [node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"]
    return sorted({name for name in tables if name.partition("_2")[0] in GROWING})


async def test_a_trace_never_scans(bank: Bank, tmp_path: Path) -> None:
    """Every statement of a trace reaches the tables that grow through an index, whatever part it reads."""
    await live_through(bank, tmp_path)
    today = bank.business_date
    for statement, values in (
        (trace.MOVEMENTS, KEY | {"since": today}),
        (trace.TRANCHES, KEY),
        (trace.OPENINGS, KEY),
        (trace.ROWS_AT, {"sis": [1], "lines": [1]}),
        (trace.ROWS_AFTER, {"id": 1, "after": 0, "limit": 20}),
        (trace.KEY_OF_TRANCHE, {"id": 1}),
        (trace.ACCOUNT, {"number": "1"}),
        (trace.KEYS_OF_ACCOUNT, {"cell": 1, "id": 1, "after": 0, "limit": 20}),
        (trace.KEYS_OF_TRANSFERS, {"cell": 1, "account": 1, "ids": [1], "on": today}),
        (trace.DEBITS_OF_RETURN, {"id": 1, "on": today, "after": 0, "limit": 20}),
        (trace.AUTHORISATION, {"id": 1, "cells": list(range(16)), "on": None}),
        (trace.OF_RRN, {"rrn": "1", "on": today}),
        (trace.TRANSFER, {"id": 1, "on": None}),
    ):
        assert [] == await _scanned(bank, statement, values), statement.text


async def test_a_scan_would_be_seen(bank: Bank) -> None:
    """The test above is not blind: a question without an index is found out."""
    assert ["tranche"] == await _scanned(bank, text("SELECT 1 FROM tranche WHERE region = :r"), {"r": "1"})


async def test_old_partitions_are_not_opened(bank: Bank, tmp_path: Path) -> None:
    """The journal of a tranche is read from its credit on; months before it are not in the plan."""
    await live_through(bank, tmp_path)
    async with reading(bank) as connection:
        await trace.by_index(connection)
        values = KEY | {"since": bank.business_date}
        plan = "\n".join((await connection.execute(text(f"EXPLAIN {trace.MOVEMENTS.text}"), values)).scalars())
    assert f"transfer_{bank.business_date:%Y_%m}" in plan
    assert "transfer_2026_11" not in plan
    assert "authorisation_2026_11" not in plan


async def test_what_is_read_of_a_tranche(bank: Bank, tmp_path: Path) -> None:
    """A tranche by its number, its movements in order with their authorisations, and its row."""
    await live_through(bank, tmp_path)
    number = await one_value(bank, "SELECT id FROM tranche WHERE sp2d_no = :no AND si_line = 3", no=FIRST)
    async with reading(bank) as connection:
        keys = await trace.tranche_keys(connection, number)
        (tranche,) = await trace.tranches(connection, keys)
        moves = await trace.movements(connection, [tranche])
        (row,) = await trace.rows_of_tranches(connection, [tranche])
        assert [] == await trace.movements(connection, [])
        assert [] == await trace.tranche_keys(connection, 99)
    assert keys == [tranche.key] == [row.tranche]
    assert (number, tranche.si_id, tranche.si_line) == (tranche.id, row.si_id, row.line)
    kinds = [move.kind for move in moves]
    expected = "CREDIT WITHDRAWAL REVERSAL PURCHASE PURCHASE REVERSAL HOLD CAPTURE RELEASE HOLD REVERSAL RELEASE"
    assert expected.split() == kinds
    assert [False, *[True] * 10, False] == [move.cause is not None for move in moves]
    assert all("******" in (move.cause.pan_masked or "") for move in moves if move.cause)
    partners = [move.settled_as and move.settled_as[2] for move in moves]
    assert [None, "AGENT", "AGENT", *["EWARONG"] * 3, None, "EWARONG", None, None, "EWARONG", None] == partners


@pytest.mark.parametrize("kind", ["evidence", "ntpn"])
async def test_a_return_that_is_not_there(bank: Bank, kind: str) -> None:
    """None, by any paper."""
    async with reading(bank) as connection:
        assert None is await trace.return_named(connection, kind, "X")
        assert {} == await trace.returns(connection, {7})
        assert {} == await trace.settlements(connection, [("himbara", bank.business_date, "ATM")])
        assert {} == await trace.settlements(connection, [])
