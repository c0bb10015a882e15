"""What the proof of settlements adds up: authorisations, journal and settlements, each by itself. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.store.authorisations import APPROVED
from gateway.store.settlement import CORRECTED, MOVED, OWED
from ledger.chart import Control, control_account

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection


async def taken_idr(connection: AsyncConnection) -> dict[str, int]:
    """By channel: what was ever approved, less what was reversed, refunded or corrected of it."""
    return _by_channel(await connection.execute(TAKEN))


async def settled_idr(connection: AsyncConnection) -> dict[str, int]:
    """By channel: what was ever paid of settlements."""
    return _by_channel(await connection.execute(SETTLED))


async def authorised_since(connection: AsyncConnection, since: date) -> dict[str, int]:
    """By channel: what authorisations and corrections since a business date add to what is owed, each by its own row."""
    return _by_channel(await connection.execute(AUTHORISED_SINCE, {"since": since}))


async def booked_since(connection: AsyncConnection, since: date) -> dict[str, int]:
    """By channel: what the journal since a business date adds to what is owed, payments aside."""
    return _by_channel(await connection.execute(BOOKED_SINCE, {"since": since}))


async def not_paid_once(connection: AsyncConnection, since: date | None) -> tuple[int, int | None]:
    """How many paid settlements have not exactly one transfer of their net, or the other way round, and the first's number."""
    wrong, first = (await connection.execute(NOT_PAID_ONCE, {"since": since})).one()
    return wrong, first


def _by_channel(rows: Iterable[Any]) -> dict[str, int]:
    return dict.fromkeys(OWED, 0) | {row.channel: int(row.amount) for row in rows}


ACCOUNTS = ", ".join(f"({control_account(control)}, '{channel}')" for channel, control in OWED.items())
TAKEN = text(f"""
    SELECT channel, sum(amount_idr - reversed_idr) AS amount FROM authorisation
    WHERE {APPROVED} AND kind IN ('CASH', 'PURCHASE', 'COMPLETION') GROUP BY channel
""")
SETTLED = text("SELECT channel, sum(net_idr) AS amount FROM settlement WHERE state = 'PAID' GROUP BY channel")
AUTHORISED_SINCE = text(f"""
    SELECT channel, sum(CASE WHEN kind IN ('REVERSAL', 'REFUND', 'CORRECTION') THEN -amount ELSE amount END) AS amount
    FROM ({MOVED} AND a.business_date >= :since UNION ALL {CORRECTED} AND c.business_date >= :since) moved
    WHERE kind <> 'DECLINED' GROUP BY channel
""")
BOOKED_SINCE = text(f"""
    SELECT o.channel, sum(CASE WHEN t.credit = o.account THEN t.amount_idr ELSE -t.amount_idr END) AS amount
    FROM transfer t JOIN (VALUES {ACCOUNTS}) AS o (account, channel) ON o.account IN (t.credit, t.debit)
    WHERE t.business_date >= :since AND t.kind <> 'SETTLE' GROUP BY o.channel
""")
NOT_PAID_ONCE = text(f"""
    SELECT count(*), min(id) FROM (
        SELECT coalesce(s.id, t.source_id) AS id
        FROM (SELECT id, control, net_idr, paid_on FROM settlement
              WHERE state = 'PAID' AND net_idr <> 0 AND (CAST(:since AS date) IS NULL OR paid_on >= :since)) s
        FULL JOIN (
            SELECT source_id, count(*) AS transfers, min(source) AS source, max(business_date) AS paid_on,
                   sum(CASE WHEN credit = {control_account(Control.PARTNER_PAID)} THEN amount_idr ELSE -amount_idr END) AS net,
                   min(CASE WHEN credit = {control_account(Control.PARTNER_PAID)} THEN debit ELSE credit END) AS control
            FROM transfer
            WHERE cell = 0 AND account_id = 0 AND kind = 'SETTLE' AND (CAST(:since AS date) IS NULL OR business_date >= :since)
            GROUP BY source_id
        ) t ON t.source_id = s.id
        WHERE (t.transfers, t.source, t.net, t.control, t.paid_on)
              IS DISTINCT FROM (1::bigint, 'settlement', s.net_idr, s.control, s.paid_on)
    ) wrong
""")
