"""The statements that run often, as they are, on a bank with some tens of thousands of accounts and half a year of journal.

Each is run by its generic plan on a connection that is set up as PostgreSQL comes. None may read a table that grows with the bank
from one end to the other, or a month that it does not need, or many rows that it then throws away.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from gateway.app import open_bank
from gateway.measure import workbench
from gateway.operations import history as account_history
from gateway.operations import setup
from gateway.settings import load_settings
from gateway.store import (
    authorisations,
    cards,
    holds,
    job_runs,
    lane_connection,
    limits,
    papers,
    seldom,
    settlement,
    settlement_proof,
    tranches,
)
from ledger import book, history, proof
from tests.gateway.plans import Plan, plan_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers import TestServer

ACCOUNTS, REAL = 20_000, 200
ROWS_A_MONTH = 20_000
MONTHS_BEHIND = 5
MEMBERS = 64
THROWN_AWAY_MAX = 3_000  # rows a statement may read and not want: a page of a BRIN index, far below a month's
# A day moves some hundredths of all tranches: the proof of a day may as well read all of them, once, as it does with purses.
TOUCHED = {"purse", "tranche", "tranche_checkpoint"}


SETTLING = {
    "links": settlement.LINKS_SEEN, "close": settlement.CLOSE, "what is open": settlement.READ_OPEN,
    "approved since": settlement_proof.AUTHORISED_SINCE, "booked since": settlement_proof.BOOKED_SINCE,
    "paid since": settlement_proof.NOT_PAID_ONCE,
}  # fmt: skip


class Large:
    """The bank of these tests: where it is, and what day it is there."""

    def __init__(self, url: str, today: date) -> None:
        self.url = url
        self.today = today

    def months(self, first: date) -> set[str]:
        """The months from a date to today, as in the names of partitions."""
        return {f"{first + timedelta(days=days):%Y_%m}" for days in range((self.today - first).days + 1)}

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection that plans every statement once for all values, and is set up as it comes otherwise."""
        address = make_url(self.url)
        connection = await asyncpg.connect(
            host=address.query["host"], user=address.username, database=address.database, statement_cache_size=0
        )
        try:
            await connection.execute("SET plan_cache_mode = force_generic_plan; SET jit = off")
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def large(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """Made once: families by the bank's own operations and their copies, then months of payments by SQL."""
    url = server.new_database()
    folder: Path = tmp_path_factory.mktemp("large")
    today = asyncio.run(_furnish(url, folder))
    yield Large(url, today)
    server.drop_database(url)


async def _furnish(url: str, folder: Path) -> date:
    patch = pytest.MonkeyPatch()
    patch.setattr(workbench, "REAL_MAX", REAL)
    (folder / "var").mkdir()
    settings = load_settings(database_url=url, data_dir=folder / "var", iso_port=0, http_port=0, log_level="error")
    try:
        async with open_bank(settings) as bank:
            today = bank.business_date.replace(day=25)  # so that a day is a small part of its month
            first = (today.replace(day=1) - timedelta(days=30 * MONTHS_BEHIND)).replace(day=1)
            await setup.move_business_date(bank, "owner", first)
            await workbench.furnish(bank, ACCOUNTS, 5_000_000)
            await setup.move_business_date(bank, "owner", today)
    finally:
        patch.undo()
    async with Large(url, today).connect() as connection:
        await connection.execute("SET session_replication_role = replica")  # no tranche moves with these
        await connection.execute(f"SELECT make_partitions('{first}', '{today}')")
        month = first
        while month <= today:
            await connection.execute(PAYMENTS, month, 25, ROWS_A_MONTH)
            month = (month + timedelta(days=32)).replace(day=1)
        await connection.execute("INSERT INTO audit_chain VALUES ('lane-0', 0, sha256('')) ON CONFLICT DO NOTHING")
        await connection.execute("VACUUM ANALYZE")
    return today


async def _group(connection: asyncpg.Connection, large: Large) -> dict[str, Any]:
    """Parameters of LOAD for a group: cards from all over, half of them with an earlier answer, limits that count the month."""
    found = await connection.fetch("SELECT cell, pan_index FROM card ORDER BY md5(id::text) LIMIT $1", MEMBERS)
    earlier = await connection.fetch("SELECT message_key FROM authorisation ORDER BY md5(id::text) LIMIT $1", MEMBERS)
    wanted = [
        authorisations.Wanted(
            row["cell"], row["pan_index"], key["message_key"], key["message_key"] if n % 2 else None, counted=True
        )
        for n, (row, key) in enumerate(zip(found, earlier, strict=True))
    ]
    return authorisations.load_parameters(wanted, ["000002:A0000001"], large.today, "lane-0")


def _assert_lean(plan: Plan, months: set[str], allowed: set[str] | None = None) -> None:
    assert (set(), set(), True) == _faults(plan, months, allowed or set())


def _faults(plan: Plan, months: set[str], allowed: set[str]) -> tuple[set[str], set[str], bool]:
    """Tables scanned, months looked at for nothing, and whether few rows were thrown away. Months to come are empty."""
    needless = {month for month in plan.months - months if month < max(months, default="9999")}
    return plan.scans - allowed, needless, plan.thrown_away(allowed) <= THROWN_AWAY_MAX


async def test_the_load_of_a_group(large: Large) -> None:
    """Cards, tranches, earlier answers and the month's use of 64 members: by index, in the months of the answers' span."""
    async with large.connect() as connection:
        values = await _group(connection, large)
        plan = await plan_of(connection, authorisations.LOAD, values)
    _assert_lean(plan, large.months(large.today - timedelta(days=authorisations.ANSWERED_DAYS)))
    assert {"card", "account", "tranche"} <= {node.get("Relation Name") for node in plan.nodes}


async def test_the_load_in_the_first_minutes_of_a_month(large: Large) -> None:
    """Planned while the month is empty and nobody has counted it: every look-up still has an index that fits it."""
    tomorrow = Large(large.url, (large.today.replace(day=1) + timedelta(days=32)).replace(day=1))
    async with large.connect() as connection:
        values = await _group(connection, tomorrow)
        await connection.execute(lane_connection.NEVER_SCAN)
        plan = await plan_of(connection, authorisations.LOAD, values)
    looked_up = [
        node.get("Index Cond", "") for node in plan.nodes if node.get("Relation Name", "").startswith("authorisation_")
    ]
    assert looked_up
    keys = ("message_key =", "original_key =", "account_id =")
    assert [] == [condition for condition in looked_up if not any(key in condition for key in keys)]
    _assert_lean(plan, tomorrow.months(tomorrow.today - timedelta(days=authorisations.ANSWERED_DAYS)))


async def test_the_write_of_a_group(large: Large) -> None:
    """One transfer, one PIN try, one original given back, one terminal: each row is found by its key."""
    async with large.connect() as connection:
        tranche = await connection.fetchrow("SELECT * FROM tranche ORDER BY md5(id::text) LIMIT 1")
        card = await connection.fetchrow("SELECT * FROM card WHERE account_id = $1", tranche["account_id"])
        original = await connection.fetchrow(
            "SELECT * FROM authorisation WHERE business_date = $1 LIMIT 1", large.today
        )
        names = list(dict.fromkeys(lane_connection.PARAMETER.findall(authorisations.WRITE)))
        values: dict[str, Any] = {name: [] for name in names}
        account = tranche["account_id"]
        values |= {
            "t_cell": [tranche["cell"]], "t_account": [account], "t_id": [10**9], "t_debit": [account * 10_000 + 20],
            "t_credit": [3_002], "t_amount": [10_000], "t_kind": ["WITHDRAWAL"], "t_source": ["authorisation"],
            "t_source_id": [10**9], "t_tranche": [tranche["id"]], "t_corrects": [None], "t_date": [large.today],
            "c_id": [card["id"]], "c_cell": [card["cell"]], "c_account": [account], "c_tries": [2], "c_state": ["ACTIVE"],
            "r_cell": [original["cell"]], "r_id": [original["id"]], "r_date": [large.today], "r_amount": [10_000],
            "r_by": [10**9], "r_kept": ['"{0}"'], "r_closes": [False], "u_terminal": ["000002:A0000001"],
            "u_date": [large.today], "u_debits": [1], "u_amount": [10_000], "stream": "lane-0", "seq": 1,
            "at": "2026-11-25 00:00:00+00", "actor": "iso8583", "operation": "authorise", "subject": "1", "detail": "{}",
            "hash": "\\x00",
        } | authorisations.dates_of(large.today)  # fmt: skip
        values["t_debit"] = [account * 10_000 + tranche["programme"] * 10]
        plan = await plan_of(connection, authorisations.WRITE, values)
    _assert_lean(plan, large.months(large.today))
    touched = {node.get("Relation Name") for node in plan.nodes if node["Node Type"] == "Index Scan"}
    assert {"tranche", "card"} <= touched


def _once(large: Large) -> dict[str, tuple[Any, dict[str, Any], set[str], set[str]]]:
    """Name -> statement, values, the months it needs, and the large tables it may read whole (with the reason beside)."""
    today, yesterday = large.today, large.today - timedelta(days=1)
    recent = large.months(today - timedelta(days=40))
    every = large.months(today - timedelta(days=31 * (MONTHS_BEHIND + 1))) | large.months(today)
    page: dict[str, Any] = {"limit": 2_000, "after": 0, "after_clock": "-infinity"}
    keys = {"cells": [1, 2], "accounts": [1, 2], "ids": [1, 2], "dates": [today, today]}
    account = {"cell": 17 % 16, "account": 17}
    since, here = {"since": yesterday}, large.months(yesterday)
    cases: dict[str, tuple[Any, dict[str, Any], set[str], set[str]]] = {
        "job: tranches that may be due": (
            tranches.CANDIDATES, page | {"before": today - timedelta(days=60), "used_too": False}, set(), set()),
        "job: frozen tranches": (tranches.FROZEN, page, set(), set()),
        "job: accounts locked": (tranches.LOCK, keys, set(), set()),
        "job: tranches read": (tranches.READ, keys, set(), set()),
        "job: tranches moved": (
            tranches.SET_STATE, keys | {"state": "OPEN", "on": today, "return_id": None}, set(), set()),
        "job: tranches returned": (tranches.MARK_TRANCHES, {"id": 1, "on": today}, set(), set()),
        "job: holds that lapsed": (holds.LAPSED, page | {"on": today}, every, set()),
        "job: holds read": (holds.READ, keys, every, set()),
        "job: first day to catch up": (job_runs.BANK_SINCE, {}, set(), set()),
        "statement: account": (account_history.ACCOUNT, {"number": "021700000000171"}, set(), set()),
        "statement: movements": (
            history.MOVEMENTS, account | {"first": today - timedelta(days=40), "last": today}, recent, set()),
        "history: tranches on a date": (history.TRANCHES_ON, account | {"limit": today}, every, set()),
        "history: tranches at an instant": (history.TRANCHES_AT, account | {"limit": f"{today} 12:00+00"}, every, set()),
        "statement: papers of terminals": (
            account_history.PAPERS["authorisation"],
            {"ids": [1, 2, 3], "cell": 1, "first": today - timedelta(days=40), "last": today}, recent, set()),
        "limits: an account's past": (
            limits.OF_ACCOUNT, account | {"since": today - timedelta(days=40), "until": today}, recent, set()),
        "limits: what decided one": (limits.JUDGED, {"cells": list(range(16)), "id": 12}, every, set()),
        "lane: a reversal without DE90": (
            seldom.UNNAMED,
            {"account_id": [17], "card_id": [17], "link": ["himbara"], "terminal": ["A0000001"], "stan": ["000001"],
             "rrn": ["1"], "since": today - timedelta(days=31), "today": today}, recent, set()),
        "lane: a reversal before a repeat": (
            seldom.TOMBSTONES,
            {"account_id": [17], "card_id": [17], "link": ["himbara"], "terminal": ["A0000001"], "rrn": ["1"],
             "amount_idr": [1], "since": today - timedelta(days=31), "today": today}, recent, set()),
        "lane: what was added to a hold": (
            seldom.INCREMENTS, {"keys": [b"k" * 16], "since": today - timedelta(days=31), "today": today}, recent, set()),
        "lane: a mini statement": (
            seldom.MOVEMENTS,
            {"cells": [17 % 16], "accounts": [17], "lines": 5, "since": today - timedelta(days=40), "today": today},
            recent, set()),
        "lane: a hold stands longer": (seldom.EXTEND, keys | {"until": [today, today]}, every, set()),
        "holds of an account": (holds.OF_ACCOUNT, {"account": 17}, every, set()),
        "card: by account number": (cards.CARDS_OF_ACCOUNT, {"number": "021700000000171"}, set(), set()),
        "card: by id": (cards.READ_CARD, {"id": 17}, set(), set()),
        "posting": (book.POST, {name: [] for name in lane_connection.PARAMETER.findall(str(book.POST))}, set(), set()),
    }  # fmt: skip
    for name, query in SETTLING.items():
        given = {"on": today, "first": today, "last": today, "link": None, "actor": "x", "since": today}
        months = (
            every if name == "paid since" else recent
        )  # payments of all months stand together; originals are 31 days back
        cases[f"settlement: {name}"] = (query, given, months, set())
    for name, statement in proof.CHECKS_SINCE.items():
        months = every if "reversal" in name else here  # the transfer that was taken back may be of any month
        cases[f"incremental proof: {name}"] = (statement, since, months, TOUCHED)
    cases["incremental proof: control accounts"] = (proof.CONTROL_BALANCES, since, here, set())
    for name, statement in papers.SINCE.items():
        cases[f"incremental proof: {name}"] = (statement, since, every, set())
    return cases


async def test_every_other_statement(large: Large) -> None:
    """Jobs' pages, statements and history, cards, limits, and the incremental proof."""
    faults = {}
    async with large.connect() as connection:
        for name, (statement, values, months, allowed) in _once(large).items():
            plan = await plan_of(connection, str(getattr(statement, "text", statement)), values)
            if (found := _faults(plan, months, allowed)) != (set(), set(), True):
                faults[name] = found
    assert {} == faults


async def test_the_plans_are_looked_at(large: Large) -> None:
    """A scan, an index read whole, a month too many and rows thrown away are seen."""
    async with large.connect() as connection:
        scan = await plan_of(connection, "SELECT count(holder_name) FROM account", {})
        assert {"account"} == scan.scans
        await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        whole = await plan_of(connection, "SELECT number FROM account ORDER BY number", {})
        assert {"account"} == whole.scans
        wide = await plan_of(connection, "SELECT 1 FROM transfer WHERE cell = 1 AND account_id = :a", {"a": 17})
        assert len(wide.months) > MONTHS_BEHIND
        thrown = await plan_of(connection, "SELECT 1 FROM account WHERE cell = :c AND region = 'x'", {"c": 3})
        assert ACCOUNTS / 16 == thrown.thrown_away()
        assert 0 == thrown.thrown_away({"account"})


# Cash withdrawals spread over the days of a month in order, and over accounts as they come.
PAYMENTS = """
    WITH rows AS (
        SELECT n, 1 + (n * 7919) % 20000 AS account, $1::date + (n * $2 / $3)::int AS day,
               n + 100000 * (to_char($1::date, 'YYYYMM')::bigint % 1000) AS id
        FROM generate_series(0, $3::int - 1) n
    ), paid AS (
        INSERT INTO transfer (cell, account_id, id, debit, credit, amount_idr, kind, source, source_id, tranche_id, business_date)
        SELECT account % 16, account, id, account * 10000 + 20, 3002, 10000, 'WITHDRAWAL', 'authorisation', id, account, day
        FROM rows ORDER BY n
    )
    INSERT INTO authorisation (cell, id, account_id, card_id, link, kind, message_key, content_digest, mti, channel, mcc,
        terminal, acquirer, stan, transmitted, amount_idr, reason, response_code, answer, tranche_ids, programmes, amounts_idr,
        transfer_ids, kept_idr, business_date, settlement_date)
    SELECT account % 16, id, account, account, 'himbara', 'CASH', decode(md5('m' || id), 'hex'), decode(md5('d' || id), 'hex'),
           '0200', 'ATM', '6011', 'A0000001', '000002', '000001', '0101000000', 10000, 'APPROVED', '00', '{}', ARRAY[account],
           ARRAY[2], ARRAY[10000], ARRAY[id], ARRAY[10000], day, day
    FROM rows ORDER BY n
"""
