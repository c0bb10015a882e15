"""Limits as they are stored, the rules an authorisation was judged by, and authorisations of the past in order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.rules.authorise import APPROVALS, GIVING_BACK, SPENDING, RequestKind
from gateway.rules.purse import Channel
from gateway.rules.replay import Past
from gateway.store.authorisations import APPROVED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

PAGE = 2_000  # rows fetched from the server's cursor at once


@dataclass(frozen=True, slots=True)
class StoredLimit:
    """A row of limit_rule in words. CHANNELS, PROGRAMME and TERMINAL None: every one."""

    id: int
    name: str
    per: str
    period: str
    channels: tuple[str, ...] | None
    programme: str | None
    terminal: str | None
    max_amount_idr: int | None
    max_count: int | None
    reason: str
    valid_from: date
    valid_to: date | None


@dataclass(frozen=True, slots=True)
class Judged:
    """An authorisation with the limit rules that were evaluated for it and the one that decided."""

    cell: int
    id: int
    account_id: int
    account_number: str | None
    kind: str
    channel: Channel
    terminal: str
    amount_idr: int
    reason: str
    limit_ids: tuple[int, ...]
    limit_id: int | None
    business_date: date


async def stored(connection: AsyncConnection) -> dict[int, StoredLimit]:
    """Every limit there is or was, by id."""
    rows = await connection.execute(STORED)
    return {
        row.id: StoredLimit(
            row.id, row.name, row.per, row.period, None if row.channels is None else tuple(row.channels), row.programme,
            row.terminal, row.max_amount_idr, row.max_count, row.reason, row.valid_from, row.valid_to,
        )
        for row in rows
    }  # fmt: skip


async def judged(connection: AsyncConnection, authorisation_id: int, cells: int) -> Judged:
    """One authorisation by its number, looked for in every cell. Raises NotFound."""
    values = {"cells": list(range(cells)), "id": authorisation_id}
    row = (await connection.execute(JUDGED, values)).one_or_none()
    if row is None:
        raise NotFound(f"there is no authorisation {authorisation_id}")
    return Judged(
        row.cell, row.id, row.account_id, row.number, row.kind, Channel(row.channel),
        f"{row.acquirer}:{row.terminal}", row.amount_idr, row.reason, tuple(row.limit_ids), row.limit_id,
        row.business_date,
    )  # fmt: skip


async def replayed(connection: AsyncConnection, since: date, until: date, *, by_account: bool) -> AsyncIterator[Past]:
    """Authorisations of a span of business dates that limits concern, streamed: by account and time, or by time alone."""
    query = BY_ACCOUNT if by_account else BY_TIME
    result = await connection.stream(query.execution_options(yield_per=PAGE), {"since": since, "until": until})
    async for row in result:
        yield _past(row)


async def of_account(connection: AsyncConnection, cell: int, account_id: int, since: date, until: date) -> list[Past]:
    """The same for one account."""
    values = {"cell": cell, "account": account_id, "since": since, "until": until}
    return [_past(row) for row in await connection.execute(OF_ACCOUNT, values)]


def _past(row: Any) -> Past:  # noqa: ANN401 - a database row
    taken: defaultdict[int, int] = defaultdict(int)
    for programme, idr in zip(row.programmes, row.amounts_idr, strict=True):
        taken[programme] += idr
    return Past(
        id=row.id,
        account_id=row.account_id,
        on=row.business_date,
        kind=RequestKind(row.kind),
        channel=Channel(row.channel),
        terminal=f"{row.acquirer}:{row.terminal}",
        key=bytes(row.message_key),
        original_key=None if row.original_key is None else bytes(row.original_key),
        approved=row.reason in APPROVALS,
        limit_id=row.limit_id,
        amount_idr=row.amount_idr,
        amounts_idr=dict(taken),
        link=row.link,
    )


def _kinds(*kinds: RequestKind) -> str:
    return ", ".join(f"'{kind}'" for kind in kinds)


# What limits concern: debits that were approved or declined for a limit, and what came of approved ones.
ROWS = f"""
    SELECT id, account_id, business_date, kind, channel, acquirer, terminal, message_key, original_key, reason, limit_id,
           amount_idr, programmes, amounts_idr, link
    FROM authorisation
    WHERE account_id > 0 AND business_date BETWEEN :since AND :until
      AND (kind IN ({_kinds(*SPENDING)}) AND ({APPROVED} OR limit_id IS NOT NULL)
           OR kind IN ({_kinds(*GIVING_BACK, RequestKind.COMPLETION)}) AND {APPROVED} AND amounts_idr <> '{{}}')
"""
BY_ACCOUNT = text(f"{ROWS} ORDER BY account_id, business_date, decided_at, id")
BY_TIME = text(f"{ROWS} ORDER BY business_date, decided_at, id")
OF_ACCOUNT = text(f"{ROWS} AND cell = :cell AND account_id = :account ORDER BY business_date, decided_at, id")
STORED = text("""
    SELECT l.id, l.name, l.per, l.period, l.channels, p.code AS programme, l.terminal, l.max_amount_idr, l.max_count, l.reason,
           l.valid_from, l.valid_to
    FROM limit_rule l LEFT JOIN programme p ON p.number = l.programme ORDER BY l.id
""")
JUDGED = text("""
    SELECT a.cell, a.id, a.account_id, c.number, a.kind, a.channel, a.acquirer, a.terminal, a.amount_idr, a.reason,
           a.limit_ids, a.limit_id, a.business_date
    FROM authorisation a LEFT JOIN account c ON c.cell = a.cell AND c.id = a.account_id
    WHERE a.cell = ANY(CAST(:cells AS smallint[])) AND a.id = :id
""")
