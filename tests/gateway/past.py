"""Authorisations of the past, put in by the owner: for what looks back on more of them than can be made over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from datetime import date

    from gateway.operations.bank import Bank


async def add_past(
    bank: Bank, number: int, amount_idr: int, on: date, *, account: int = 1, kind: str = "CASH", channel: str = "ATM",
    terminal: str = "ATM00001", reason: str = "APPROVED", limits: tuple[int, ...] = (), limit: int | None = None,
    of: int | None = None, programme: int = 2, kept_idr: int | None = None,
) -> None:  # fmt: skip
    """One row. Its id, its message key and the moment it was decided are NUMBER; OF: the debit it came of."""
    moved = reason == "APPROVED"
    await as_owner(
        bank, ADD, id=number, account=account, kind=kind, key=b"%d" % number, channel=channel, terminal=terminal,
        amount=amount_idr, reason=reason, limits=list(limits), limit=limit, on=on,
        original=None if of is None else b"%d" % of, programmes=[programme] if moved else [],
        amounts=[amount_idr] if moved else [], kept=[amount_idr if kept_idr is None else kept_idr] if moved else [],
    )  # fmt: skip


ADD = """
    INSERT INTO authorisation (cell, id, account_id, link, kind, message_key, content_digest, original_key, mti, channel,
        terminal, acquirer, stan, transmitted, amount_idr, reason, response_code, answer, programmes, amounts_idr,
        kept_idr, limit_ids, limit_id, business_date, settlement_date, decided_at)
    VALUES (CAST(:account AS bigint) % 16, CAST(:id AS bigint), CAST(:account AS bigint), 'himbara', :kind, :key, '',
        CAST(:original AS bytea), '0200', :channel, :terminal, '000200', '1', '1', :amount, :reason, '00', '{}',
        CAST(:programmes AS smallint[]), CAST(:amounts AS bigint[]), CAST(:kept AS bigint[]), CAST(:limits AS int[]),
        CAST(:limit AS int), CAST(:on AS date), CAST(:on AS date),
        timestamptz '2026-01-01 00:00:00+00' + CAST(:id AS bigint) * interval '1 minute')
"""
