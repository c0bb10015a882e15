"""`kks bench proof`: what closing a day and proving the ledger cost, beside the proof of the whole journal.

The journal is made by SQL, with every paper that the proof compares: an SI credits each family STAGES times, then each withdraws
nine times and takes a little of every stage, DAY_TRANSFERS transfers a day, up to today. Every day before today is closed by the
bank's own operation. The proof since the last close then has one day to look at, however long the journal is.
Read next: workbench.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.app import open_bank
from gateway.errors import GatewayError
from gateway.measure.workbench import CHECKER, MAKER, bench_settings
from gateway.operations import day, proof

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

STAGES = 10  # tranches of each family
WITHDRAWALS = 9  # of each family
DAY_TRANSFERS = 300_000  # at most: a hundred million a year
AMOUNT_IDR, WITHDRAWN_IDR = 600_000, 10_000
PROGRAMME = 2
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ProofFigures:
    """What was measured; the keys of `--json`. RATIO: the whole proof's time / that of the proof since the last close.

    CLOSE_S, VERIFY_S: closing the last closed day, and hashing it again.
    """

    transfers: int
    days: int
    day_transfers: int
    full_s: float
    incremental_s: float
    close_s: float
    verify_s: float
    ratio: float


async def measure(settings: Settings, transfers: int, say: Callable[[str], None]) -> ProofFigures:
    """A journal of about so many transfers, closed up to yesterday. Raises GatewayError where a proof does not hold."""
    chosen = bench_settings(settings, "bench-proof")
    async with open_bank(chosen) as bank:
        owner = create_async_engine(bank.database.url)
        try:
            say(f"making a journal of {transfers} transfers")
            first = await _make_journal(bank, owner, max(1, transfers // (STAGES * (WITHDRAWALS + 1))))
        finally:
            await owner.dispose()
        yesterday = bank.business_date - ONE_DAY
        say(f"closing {(yesterday - first).days + 1} days")
        await day.close(bank, MAKER, yesterday - ONE_DAY, ())
        close_s = await _timed(day.close(bank, MAKER, yesterday, ()))
        await _vacuum(bank)
        say("proving")
        incremental_s = await _proved(bank, incremental=True)
        full_s = await _proved(bank, incremental=False)
        verify_s = await _timed(day.verify(bank, yesterday, yesterday))
        (last, *_), days = await day.newest_days(bank, 1), (yesterday - first).days + 1
        async with bank.database.engine.connect() as connection:
            count = int((await connection.execute(text("SELECT count(*) FROM transfer"))).scalar_one())
        return ProofFigures(
            count, days, last.transfers or 0, round(full_s, 3), round(incremental_s, 3), round(close_s, 3), round(verify_s, 3),
            round(full_s / incremental_s, 1),
        )  # fmt: skip


async def _make_journal(bank: Bank, owner: AsyncEngine, families: int) -> date:
    """Returns the first date: the credits'."""
    per_day = min(DAY_TRANSFERS // STAGES, families)
    days = -(-families * WITHDRAWALS // per_day)
    first = bank.business_date - days * ONE_DAY
    values: dict[str, Any] = {
        "families": families, "cells": bank.row.cells, "first": first, "last": bank.business_date, "amount": AMOUNT_IDR,
        "withdrawn": WITHDRAWN_IDR, "withdrawals": WITHDRAWALS, "programme": PROGRAMME, "maker": MAKER, "checker": CHECKER,
        "stages": STAGES,
    }  # fmt: skip
    async with owner.begin() as connection:
        for statement in PAPERS:
            await connection.exec_driver_sql(statement.format(**values))
    for number in range(days):
        begin, end = number * per_day, min((number + 1) * per_day, families * WITHDRAWALS)
        values |= {"begin": begin, "end": end, "on": first + (number + 1) * ONE_DAY}
        async with owner.begin() as connection:
            for statement in DAY:
                await connection.exec_driver_sql(statement.format(**values))
    async with owner.begin() as connection:
        await connection.execute(SEQUENCES)
    return first


async def _vacuum(bank: Bank) -> None:
    engine = create_async_engine(bank.database.url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("VACUUM (ANALYZE)"))
    await engine.dispose()


async def _timed(work: Any) -> float:  # noqa: ANN401 - any coroutine
    started = time.monotonic()
    await work
    return time.monotonic() - started


async def _proved(bank: Bank, *, incremental: bool) -> float:
    started = time.monotonic()
    checks = await proof.prove_ledger(bank, incremental=incremental)
    taken = time.monotonic() - started
    wrong = [f"{one.name}: {one.detail}" for one in checks if not one.ok]
    if wrong:
        raise GatewayError(f"a proof does not hold: {'; '.join(wrong)}")
    return taken


FAMILY = "CAST(f % {cells} AS smallint), f"
PURSE = "f * 10000 + {programme} * 10"
# Tranche t (from 0) of family f is (f - 1) * stages + t + 1, and so is the line of its SI.
TRANCHE = "(f - 1) * {stages} + t + 1"
TRANCHES = "generate_series(CAST(1 AS bigint), {families}) f, generate_series(0, {stages} - 1) t"
CREDITED = "CAST({families} AS bigint) * {stages} * {amount}"
# Withdrawal number i (from 0) is of family i modulo families. Its authorisation is i + 1; its transfers follow the credits'.
TAKEN = """
    (SELECT i, i % {families} + 1 AS f, ({families} + i) * {stages} + 2 AS id
     FROM generate_series(CAST({begin} AS bigint), {end} - 1) i) w
"""
TRANSFER = """
    INSERT INTO transfer (cell, account_id, id, debit, credit, amount_idr, kind, source, source_id, tranche_id, business_date)
"""
PAPERS = (
    "SELECT make_partitions('{first}', '{last}')",
    f"INSERT INTO sp2d VALUES ('SP2D-BENCH', '{{first}}', {CREDITED})",
    f"""
    INSERT INTO si (si_no, sp2d_no, file_name, file_sha256, header, rows, amount_idr, state, maker, checker, business_date)
    VALUES ('SI-BENCH', 'SP2D-BENCH', 'si.csv', '', '{{{{}}}}', {{families}} * {{stages}}, {CREDITED}, 'POSTED',
            '{{maker}}', '{{checker}}', '{{first}}')
    """,
    f"""
    INSERT INTO si_row (si_id, line, record, amount_idr, state, tranche_id)
    SELECT 1, {TRANCHE}, '', {{amount}}, 'TOPUP_SUKSES', {TRANCHE} FROM {TRANCHES}
    """,
    f"""
    INSERT INTO tranche (cell, account_id, id, programme, stage, months, si_id, si_line, sp2d_no, region, credited_on,
                         available_from, clock_from, amount_idr, available_idr, state, used_on)
    SELECT {FAMILY}, {TRANCHE}, {{programme}}, 'BENCH-' || t, '{{{{}}}}', 1, {TRANCHE}, 'SP2D-BENCH', '1271070001',
           DATE '{{first}}', '{{first}}', '{{first}}', {{amount}}, {{amount}} - {{withdrawals}} * {{withdrawn}}, 'OPEN',
           '{{first}}'
    FROM {TRANCHES}
    """,
    f"""
    {TRANSFER} VALUES (0, 0, 1, 1000, 2000 + {{programme}}, {CREDITED}, 'FUND', 'si', 1, NULL, '{{first}}')
    """,
    f"""
    {TRANSFER} SELECT {FAMILY}, {TRANCHE} + 1, 2000 + {{programme}}, {PURSE}, {{amount}}, 'CREDIT', 'si', 1, {TRANCHE},
                      '{{first}}'
               FROM {TRANCHES}
    """,
)
DAY = (
    f"""
    {TRANSFER} SELECT {FAMILY}, id + t, {PURSE}, 3000, {{withdrawn}}, 'WITHDRAWAL', 'authorisation', i + 1, {TRANCHE}, '{{on}}'
               FROM {TAKEN}, generate_series(0, {{stages}} - 1) t
    """,
    f"""
    INSERT INTO authorisation (cell, account_id, id, link, kind, message_key, content_digest, mti, channel, terminal, acquirer,
                               stan, transmitted, amount_idr, reason, response_code, answer, tranche_ids, programmes,
                               amounts_idr, kept_idr, transfer_ids, business_date, settlement_date)
    SELECT {FAMILY}, i + 1, 'bench', 'CASH', int8send(i) || int8send(i), '', '0200', 'ATM', 'T', '2', '1', '1',
           {{withdrawn}} * {{stages}}, 'APPROVED', '00', '{{{{}}}}',
           ARRAY(SELECT {TRANCHE} FROM generate_series(0, {{stages}} - 1) t),
           array_fill(CAST({{programme}} AS smallint), ARRAY[{{stages}}]),
           array_fill(CAST({{withdrawn}} AS bigint), ARRAY[{{stages}}]),
           array_fill(CAST({{withdrawn}} AS bigint), ARRAY[{{stages}}]),
           ARRAY(SELECT id + t FROM generate_series(0, {{stages}} - 1) t), '{{on}}', '{{on}}'
    FROM {TAKEN}
    """,
)
SEQUENCES = text("""
    SELECT setval('transfer_id_seq', max(id)), setval('tranche_id_seq', max(tranche_id)),
           setval('authorisation_id_seq', max(source_id) FILTER (WHERE source = 'authorisation'))
    FROM transfer
""")
