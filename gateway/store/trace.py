"""What a trace reads, noun by noun: papers, rows, tranches, the journal of some tranches, settlements and returns.

Everything is found by key; a transfer or tranche by its bare number through a block-range index. The journal is read from the
oldest credit of the tranches on, so older partitions are never opened. Read next: gateway.rules.trace, which joins it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from gateway.rules.trace_facts import Cause, Correction, Movement, Opening, Paper, Return, Row, Settlement, TrancheFacts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

Key = tuple[int, int, int]  # cell, account id, tranche id


class Authorised(NamedTuple):
    """An authorisation, with the transfers it caused."""

    id: int
    cell: int
    account_id: int
    transfer_ids: list[int]
    business_date: date
    cause: Cause


class Posted(NamedTuple):
    """A transfer as the journal has it, tranche or none."""

    id: int
    cell: int
    account_id: int
    tranche_id: int | None
    kind: str
    source: str
    source_id: int
    amount_idr: int
    business_date: date


async def by_index(connection: AsyncConnection) -> None:
    """Have the transaction's statements find their rows by index, whatever the planner has heard of the tables' sizes."""
    await connection.execute(BY_INDEX)


async def papers_of_sp2d(connection: AsyncConnection, sp2d_no: str) -> list[Paper]:
    """Every SI of an SP2D, also those that disagreed with it or were rejected."""
    return [Paper(*row) for row in await connection.execute(OF_SP2D, {"no": sp2d_no})]


async def papers_of_si(connection: AsyncConnection, si_no: str) -> list[Paper]:
    """The newest SI of that number."""
    return [Paper(*row) for row in await connection.execute(OF_SI, {"no": si_no})]


async def papers(connection: AsyncConnection, si_ids: Collection[int]) -> list[Paper]:
    """SIs by their ids."""
    return [Paper(*row) for row in await connection.execute(PAPERS, {"ids": sorted(si_ids)})]


async def rows_of_si(connection: AsyncConnection, si_id: int, after: int, limit: int) -> list[Row]:
    """Rows of an SI's list after a line, in the order of the list."""
    return [_row(row) for row in await connection.execute(ROWS_AFTER, {"id": si_id, "after": after, "limit": limit})]


async def rows_of_tranches(connection: AsyncConnection, tranches: Sequence[TrancheFacts]) -> list[Row]:
    """The rows that tranches were credited from."""
    values = {"sis": [one.si_id for one in tranches], "lines": [one.si_line for one in tranches]}
    return [_row(row) for row in await connection.execute(ROWS_AT, values)]


async def tranche_keys(connection: AsyncConnection, tranche_id: int) -> list[Key]:
    """The tranche of a number."""
    return await _keys(connection, KEY_OF_TRANCHE, {"id": tranche_id})


async def keys_of_account(connection: AsyncConnection, number: str, after: int, limit: int) -> list[Key] | None:
    """Tranches of an account, oldest first, after a tranche id; None where there is no such account."""
    account = (await connection.execute(ACCOUNT, {"number": number})).one_or_none()
    if account is None:
        return None
    values = {"cell": account.cell, "id": account.id, "after": after, "limit": limit}
    return await _keys(connection, KEYS_OF_ACCOUNT, values)


async def keys_of_authorisation(connection: AsyncConnection, one: Authorised) -> list[Key]:
    """Tranches that an authorisation's transfers moved."""
    values = {"cell": one.cell, "account": one.account_id, "ids": one.transfer_ids, "on": one.business_date}
    return await _keys(connection, KEYS_OF_TRANSFERS, values)


async def debits_of_return(
    connection: AsyncConnection, sent: Return, after: int, limit: int
) -> tuple[list[Key], list[int]]:
    """Tranches a return was debited from, after a tranche id, and the transfers that did it. Reads one day of the journal."""
    values = {"id": sent.id, "on": sent.rpl_date, "after": after, "limit": limit}
    found = list(await connection.execute(DEBITS_OF_RETURN, values))
    return [(row.cell, row.account_id, row.tranche_id) for row in found], [row.id for row in found]


async def tranches(connection: AsyncConnection, keys: Collection[Key]) -> list[TrancheFacts]:
    """Tranches as they stand."""
    return [TrancheFacts(*row) for row in await connection.execute(TRANCHES, _wanted(keys))]


async def movements(connection: AsyncConnection, found: Sequence[TrancheFacts]) -> list[Movement]:
    """Every transfer of some tranches with what caused it, in order."""
    if not found:
        return []
    values = _wanted([one.key for one in found]) | {"since": min(one.credited_on for one in found)}
    return [_movement(row) for row in await connection.execute(MOVEMENTS, values)]


async def settlements(
    connection: AsyncConnection, keys: Iterable[tuple[str, date, str]]
) -> dict[tuple[str, date, str], Settlement]:
    """What became of some links' days and channels. A day that is still open has none."""
    wanted = sorted(set(keys))
    values = {
        "links": [link for link, _, _ in wanted], "days": [day for _, day, _ in wanted],
        "channels": [channel for _, _, channel in wanted],
    }  # fmt: skip
    found = await connection.execute(SETTLEMENTS, values)
    return {(row.link, row.settlement_date, row.channel): Settlement(*row[3:]) for row in found}


async def returns(connection: AsyncConnection, ids: Collection[int]) -> dict[int, Return]:
    """Returns to the treasury, by id."""
    return {row.id: Return(*row) for row in await connection.execute(RETURNS, {"ids": sorted(ids)})}


async def corrections(connection: AsyncConnection, ids: Collection[int]) -> dict[int, Correction]:
    """Corrections, by id."""
    return {row.id: Correction(*row) for row in await connection.execute(CORRECTIONS, {"ids": sorted(ids)})}


async def openings(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Opening]:
    """What tranches were when the journal at hand begins; most have nothing before it."""
    return {(row[0], row[1], row[2]): Opening(*row[3:]) for row in await connection.execute(OPENINGS, _wanted(keys))}


async def return_named(connection: AsyncConnection, kind: str, value: str) -> Return | None:
    """The return with an evidence number of the bank (`evidence`) or a receipt of the treasury (`ntpn`)."""
    statement = RETURN_OF_NTPN if kind == "ntpn" else RETURN_OF_EVIDENCE
    row = (await connection.execute(statement, {"value": value})).first()
    return None if row is None else Return(*row)


async def authorisation(connection: AsyncConnection, number: int, cells: int, on: date | None) -> list[Authorised]:
    """The authorisation of a number."""
    values = {"id": number, "cells": list(range(cells)), "on": on}
    return [_authorised(row) for row in await connection.execute(AUTHORISATION, values)]


async def authorisations_of_rrn(connection: AsyncConnection, rrn: str, on: date) -> list[Authorised]:
    """Authorisations of a business date that carry a retrieval reference. Reads that one day."""
    return [_authorised(row) for row in await connection.execute(OF_RRN, {"rrn": rrn, "on": on})]


async def transfer(connection: AsyncConnection, number: int, on: date | None) -> Posted | None:
    """The transfer of a number."""
    row = (await connection.execute(TRANSFER, {"id": number, "on": on})).one_or_none()
    return None if row is None else Posted(*row)


async def _keys(connection: AsyncConnection, statement: Any, values: dict[str, Any]) -> list[Key]:  # noqa: ANN401 - text()
    return [(row.cell, row.account_id, row.id) for row in await connection.execute(statement, values)]


def _wanted(keys: Collection[Key]) -> dict[str, Any]:
    return {
        "w_cells": [key[0] for key in keys], "w_accounts": [key[1] for key in keys], "w_ids": [key[2] for key in keys]
    }  # fmt: skip


def _row(row: Any) -> Row:  # noqa: ANN401 - a database row
    key = None if row.tranche_id is None else (row.cell, row.account_id, row.tranche_id)
    return Row(
        row.si_id, row.line, row.account_number, row.programme, row.stage, row.amount_idr, row.state, row.reason, key
    )


def _cause(row: Any) -> Cause | None:  # noqa: ANN401 - a database row
    if row.request is None:
        return None
    return Cause(
        row.request, row.channel, row.acquirer, row.terminal, row.merchant, row.link, row.rrn, row.stan, row.answer_reason,
        row.response_code, row.asked_idr, row.settlement_date, row.message_key, row.original_key, row.pan_masked,
        row.stand_in,
    )  # fmt: skip


def _movement(row: Any) -> Movement:  # noqa: ANN401 - a database row
    return Movement(
        row.cell, row.account_id, row.tranche_id, row.id, row.debit, row.credit, row.amount_idr, row.kind, row.source,
        row.source_id, row.corrects, row.business_date, row.posted_at, _cause(row),
    )  # fmt: skip


def _authorised(row: Any) -> Authorised:  # noqa: ANN401 - a database row
    cause = _cause(row)
    assert cause is not None  # noqa: S101 - kind is NOT NULL
    return Authorised(row.id, row.cell, row.account_id, row.transfer_ids, row.business_date, cause)


BY_INDEX = text("""
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
           set_config('enable_mergejoin', 'off', true)
""")
FROM_PAPERS = """
    SELECT s.id, s.si_no, s.state, s.file_name, s.file_sha256, s.rows, s.amount_idr, s.maker, s.checker, s.reason,
           s.business_date, p.no, p.sp2d_date, p.amount_idr
    FROM si s JOIN sp2d p ON p.no = s.sp2d_no
"""
OF_SP2D = text(f"{FROM_PAPERS} WHERE p.no = :no ORDER BY s.id")
OF_SI = text(f"{FROM_PAPERS} WHERE s.si_no = :no ORDER BY s.id DESC LIMIT 1")
PAPERS = text(f"{FROM_PAPERS} WHERE s.id = ANY (CAST(:ids AS bigint[])) ORDER BY s.id")
FROM_ROWS = """
    SELECT r.si_id, r.line, r.account_number, r.programme, r.stage, r.amount_idr, r.state, r.reason, r.cell, r.account_id,
           r.tranche_id
    FROM si_row r
"""
ROWS_AFTER = text(f"{FROM_ROWS} WHERE r.si_id = :id AND r.line > CAST(:after AS bigint) ORDER BY r.line LIMIT :limit")
ROWS_AT = text(f"""
    {FROM_ROWS} JOIN unnest(CAST(:sis AS bigint[]), CAST(:lines AS int[])) AS w (si_id, line)
    ON r.si_id = w.si_id AND r.line = w.line
""")
KEY_OF_TRANCHE = text("SELECT cell, account_id, id FROM tranche WHERE id = :id")
ACCOUNT = text("SELECT cell, id FROM account WHERE number = :number")
KEYS_OF_ACCOUNT = text("""
    SELECT cell, account_id, id FROM tranche WHERE cell = :cell AND account_id = :id AND id > :after ORDER BY id LIMIT :limit
""")
KEYS_OF_TRANSFERS = text("""
    SELECT DISTINCT cell, account_id, tranche_id AS id FROM transfer
    WHERE cell = :cell AND account_id = :account AND id = ANY (CAST(:ids AS bigint[])) AND business_date = :on
""")
DEBITS_OF_RETURN = text("""
    SELECT cell, account_id, tranche_id, id FROM transfer
    WHERE business_date = :on AND source = 'treasury_return' AND source_id = :id AND tranche_id > :after
    ORDER BY tranche_id LIMIT :limit
""")
WANTED = """unnest(CAST(:w_cells AS smallint[]), CAST(:w_accounts AS bigint[]), CAST(:w_ids AS bigint[]))
            AS w (cell, account_id, id)"""
TRANCHES = text(f"""
    SELECT t.cell, t.account_id, t.id, a.number, p.code, t.stage, t.si_id, t.si_line, t.credited_on, t.available_from,
           t.amount_idr, t.available_idr, t.held_idr, t.frozen_idr, t.returned_idr, t.state
    FROM {WANTED}
    JOIN tranche t ON t.cell = w.cell AND t.account_id = w.account_id AND t.id = w.id
    JOIN account a ON a.cell = w.cell AND a.id = w.account_id
    JOIN programme p ON p.number = t.programme
    ORDER BY t.id
""")
AUTHORISATION_COLUMNS = """a.kind AS request, a.channel, a.acquirer, a.terminal, a.merchant, a.link, a.rrn, a.stan,
           a.reason AS answer_reason, a.response_code,
           CASE WHEN a.reason = 'PARTIALLY_APPROVED' THEN CAST(CAST(a.answer AS json) ->> 'asked' AS bigint) ELSE a.amount_idr END
               AS asked_idr, a.settlement_date, a.message_key,
           a.original_key, c.pan_masked, CAST(CAST(a.answer AS json) ->> 'stand_in' AS int) AS stand_in"""
MOVEMENTS = text(f"""
    SELECT x.cell, x.account_id, x.tranche_id, x.id, x.debit, x.credit, x.amount_idr, x.kind, x.source, x.source_id,
           x.corrects, x.business_date, x.posted_at, {AUTHORISATION_COLUMNS}
    FROM {WANTED}
    JOIN transfer x ON x.cell = w.cell AND x.account_id = w.account_id AND x.tranche_id = w.id AND x.business_date >= :since
    LEFT JOIN authorisation a ON x.source = 'authorisation' AND a.cell = x.cell AND a.id = x.source_id
                             AND a.business_date = x.business_date AND a.business_date >= :since
    LEFT JOIN card c ON c.cell = a.cell AND c.account_id = a.account_id AND c.id = a.card_id
    ORDER BY x.posted_at, x.id
""")
SETTLEMENTS = text("""
    SELECT s.link, s.settlement_date, s.channel, s.id, s.state, s.evidence, s.paid_on
    FROM unnest(CAST(:links AS text[]), CAST(:days AS date[]), CAST(:channels AS text[])) AS w (link, day, channel)
    JOIN settlement s ON s.link = w.link AND s.settlement_date = w.day AND s.channel = w.channel
""")
FROM_RETURNS = """
    SELECT id, amount_idr, tranches, rpl_date, rpl_evidence, state, returned_on, deposit_evidence, ntpn FROM treasury_return
"""
RETURNS = text(f"{FROM_RETURNS} WHERE id = ANY (CAST(:ids AS bigint[]))")
RETURN_OF_EVIDENCE = text(f"{FROM_RETURNS} WHERE rpl_evidence = :value OR deposit_evidence = :value")
RETURN_OF_NTPN = text(f"{FROM_RETURNS} WHERE ntpn = :value")
CORRECTIONS = text("""
    SELECT id, reason, maker, checker, value_date FROM correction WHERE id = ANY (CAST(:ids AS bigint[]))
""")
OPENINGS = text(f"""
    SELECT o.cell, o.account_id, o.tranche_id, o.credited_idr, o.available_idr, o.held_idr, o.frozen_idr, o.returned_idr
    FROM {WANTED} JOIN tranche_opening o ON o.cell = w.cell AND o.account_id = w.account_id AND o.tranche_id = w.id
""")
FROM_AUTHORISATIONS = f"""
    SELECT a.id, a.cell, a.account_id, a.transfer_ids, a.business_date, {AUTHORISATION_COLUMNS}
    FROM authorisation a LEFT JOIN card c ON c.cell = a.cell AND c.account_id = a.account_id AND c.id = a.card_id
"""
AUTHORISATION = text(f"""
    {FROM_AUTHORISATIONS} WHERE a.cell = ANY (CAST(:cells AS smallint[])) AND a.id = :id
    AND (CAST(:on AS date) IS NULL OR a.business_date = :on)
""")
OF_RRN = text(f"{FROM_AUTHORISATIONS} WHERE a.business_date = :on AND a.rrn = :rrn ORDER BY a.id")
TRANSFER = text("""
    SELECT id, cell, account_id, tranche_id, kind, source, source_id, amount_idr, business_date FROM transfer
    WHERE id = :id AND (CAST(:on AS date) IS NULL OR business_date = :on)
""")
