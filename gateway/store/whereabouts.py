"""Where the rupiah of one SI stand, added up by the database: its rows, its tranches, and what has left them.

Four statements, each one pass over the SI's rows: fit for a million of them, in a transaction that began with
gateway.store.trace.by_index. The journal is read from the SI's first credit on, so older partitions are never opened. What a
family has is its tranches' word; what has left it is the journal's: two tellings that must add up. Read next:
gateway.operations.whereabouts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection


LOOKED_UP_MAX = (
    100_000  # rows of an SI whose transfers are looked up one by one; more are found by reading whole months
)


class Decided(NamedTuple):
    """Rows of an SI by what became of them."""

    state: str
    reason: str | None
    rows: int
    amount_idr: int


class Standing(NamedTuple):
    """What stands at families, in rupiah. FIRST: the earliest credit, None where there is none."""

    available_idr: int
    not_yet_idr: int
    blocked_idr: int
    held_idr: int
    frozen_idr: int
    first: date | None


class Before(NamedTuple):
    """What had left families, in rupiah, when the journal at hand begins: paid out and corrected, or taken to RPL."""

    paid_idr: int
    returned_idr: int


class Flow(NamedTuple):
    """What has left families by one way, less what came back by it. CONTROL: where to (ledger.chart.Control).

    By authorisations: LINK and SETTLEMENT_DATE. By anything else: its own id.
    """

    control: int
    source: str
    source_id: int | None
    link: str | None
    settlement_date: date | None
    amount_idr: int


async def decided(connection: AsyncConnection, si_id: int) -> list[Decided]:
    """Rows that were credited or refused; those that wait are not among them."""
    found = await connection.execute(DECIDED, {"si": si_id})
    return [Decided(row.state, row.reason, row.rows, int(row.amount)) for row in found]


async def standing(connection: AsyncConnection, si_id: int, today: date) -> Standing:
    """What families have of an SI today."""
    row = (await connection.execute(STANDING, {"si": si_id, "today": today})).one()
    available, not_yet, blocked, held, frozen = (int(value) for value in row[:5])
    return Standing(available, not_yet, blocked, held, frozen, row.first)


async def flows(connection: AsyncConnection, si_id: int, since: date, rows: int) -> list[Flow]:
    """What has left the families of an SI since its first credit: cash, goods, RPL, corrections; what came back is negative.

    ROWS: how many the SI has; a large one is joined otherwise than a small one.
    """
    if rows > LOOKED_UP_MAX:
        await connection.execute(BY_HASH)
    found = await connection.execute(FLOWS, {"si": si_id, "since": since})
    return [
        Flow(row.control, row.source, row.source_id, row.link, row.settlement_date, int(row.amount)) for row in found
    ]


async def before(connection: AsyncConnection, si_id: int) -> Before:
    """What left the families of an SI in months that are no longer in the journal at hand."""
    row = (await connection.execute(BEFORE, {"si": si_id})).one()
    return Before(int(row.paid), int(row.returned))


# A large SI is joined to the journal as a whole, month by month; tranches, authorisations and small SIs are looked up by key.
# Said outright: the planner takes cell, account and tranche for independent of each other and expects one row of a million.
BY_HASH = text("""
    SELECT set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'on', true),
           set_config('enable_hashjoin', 'on', true), set_config('work_mem', '64MB', true)
""")
WANTED = """wanted AS (
        SELECT cell, account_id, tranche_id FROM si_row WHERE si_id = :si AND tranche_id IS NOT NULL
    )"""
DECIDED = text("""
    SELECT state, reason, count(*) AS rows, coalesce(sum(amount_idr), 0) AS amount FROM si_row
    WHERE si_id = :si AND state <> 'WAITING' GROUP BY state, reason ORDER BY state, reason
""")
STANDING = text(f"""
    WITH {WANTED}
    SELECT coalesce(sum(available_idr) FILTER (WHERE state <> 'BLOCKED' AND available_from <= :today), 0),
           coalesce(sum(available_idr) FILTER (WHERE state <> 'BLOCKED' AND available_from > :today), 0),
           coalesce(sum(available_idr) FILTER (WHERE state = 'BLOCKED'), 0),
           coalesce(sum(held_idr), 0), coalesce(sum(frozen_idr), 0), min(credited_on) AS first
    FROM wanted w JOIN tranche t ON t.cell = w.cell AND t.account_id = w.account_id AND t.id = w.tranche_id
""")
BEFORE = text(f"""
    WITH {WANTED}
    SELECT coalesce(sum(o.credited_idr - o.available_idr - o.held_idr - o.frozen_idr - o.returned_idr), 0) AS paid,
           coalesce(sum(o.returned_idr), 0) AS returned
    FROM wanted w
    JOIN tranche_opening o ON o.cell = w.cell AND o.account_id = w.account_id AND o.tranche_id = w.tranche_id
""")
FLOWS = text(f"""
    WITH {WANTED}, moved AS (
        SELECT x.cell, x.source, x.source_id, x.business_date, least(x.debit, x.credit) / 1000 AS control,
               CASE WHEN x.credit < 10000 THEN x.amount_idr ELSE -x.amount_idr END AS amount_idr
        FROM wanted w
        JOIN transfer x ON x.cell = w.cell AND x.account_id = w.account_id AND x.tranche_id = w.tranche_id
        WHERE x.business_date >= :since AND x.kind <> 'CREDIT' AND least(x.debit, x.credit) < 10000
    )
    SELECT m.control, m.source, CASE WHEN a.link IS NULL THEN m.source_id END AS source_id, a.link, a.settlement_date,
           sum(m.amount_idr) AS amount
    FROM moved m
    LEFT JOIN LATERAL (
        SELECT link, settlement_date FROM authorisation
        WHERE m.source = 'authorisation' AND cell = m.cell AND id = m.source_id AND business_date = m.business_date
          AND business_date >= :since
        LIMIT 1
    ) a ON true
    GROUP BY 1, 2, 3, 4, 5
""")
