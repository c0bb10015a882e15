"""What the proof of settlements adds up: authorisations, journal and settlements, each by itself. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.store.settlement import MOVED, OWED
from ledger.chart import Control, control_account

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection


async def taken_idr(connection: AsyncConnection, channel: str) -> int:
    """What was ever approved in a channel, less what was reversed or refunded of it."""
    return int((await connection.execute(TAKEN, {"channel": channel})).scalar_one())


async def settled_idr(connection: AsyncConnection, channel: str | None = None) -> int:
    """What was ever paid of a channel's settlements, or of all."""
    return int((await connection.execute(SETTLED, {"channel": channel})).scalar_one())


async def authorised_since(connection: AsyncConnection, channel: str, since: date) -> int:
    """What the authorisations since a business date add to what is owed, reversals and refunds by their own rows."""
    return int((await connection.execute(AUTHORISED_SINCE, {"channel": channel, "since": since})).scalar_one())


async def booked_since(connection: AsyncConnection, channel: str, since: date) -> int:
    """What the journal since a business date adds to what is owed, payments aside."""
    values = {"account": control_account(OWED[channel]), "since": since}
    return int((await connection.execute(BOOKED_SINCE, values)).scalar_one())


async def not_paid_once(connection: AsyncConnection, since: date | None) -> tuple[int, int | None]:
    """How many paid settlements have not exactly one transfer of their net, or the other way round, and the first's number."""
    wrong, first = (await connection.execute(NOT_PAID_ONCE, {"since": since})).one()
    return wrong, first


TAKEN = text("""
    SELECT coalesce(sum(amount_idr - reversed_idr), 0) FROM authorisation
    WHERE reason = 'APPROVED' AND kind IN ('CASH', 'PURCHASE', 'COMPLETION') AND channel = :channel
""")
SETTLED = text("""
    SELECT coalesce(sum(net_idr), 0) FROM settlement
    WHERE state = 'PAID' AND (CAST(:channel AS text) IS NULL OR channel = :channel)
""")
AUTHORISED_SINCE = text(f"""
    SELECT coalesce(sum(CASE WHEN kind IN ('REVERSAL', 'REFUND') THEN -amount ELSE amount END), 0)
    FROM ({MOVED} AND a.business_date >= :since) moved WHERE kind <> 'DECLINED' AND channel = :channel
""")
BOOKED_SINCE = text("""
    SELECT coalesce(sum(CASE WHEN credit = :account THEN amount_idr ELSE -amount_idr END), 0) FROM transfer
    WHERE business_date >= :since AND (credit = :account OR debit = :account) AND kind <> 'SETTLE'
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
