"""Settlements as stored, and what authorisations say of a partner's day. LINE adds authorisations up; the rest builds on it.

A cash withdrawal, purchase or completion adds to what is owed, a reversal or refund takes from it, each in its own settlement
date by its own row; a payment that is corrected as booked by mistake, on the day of the correction. A completion, reversal or
refund counts for the channel and merchant of the request it names, which is where the ledger books it; the message itself need
not repeat them. Holds owe nothing until they are completed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.store.authorisations import ANSWERED_DAYS, APPROVED
from gateway.store.lane_connection import LANE_LOCK
from ledger.chart import Control, control_account

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

OWED = {"ATM": Control.ATM_SETTLEMENT, "AGENT": Control.AGENT_PAYABLE, "EWARONG": Control.EWARONG_PAYABLE}
"""Which control account holds what is owed for a channel."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a partner's day comes to in one channel. Amounts in rupiah; NET_IDR above zero is owed to the partner.

    A date that is not closed has state OPEN, no id, and totals that still change.
    """

    id: int | None
    link: str
    settlement_date: date
    channel: str
    control: int
    withdrawals: int
    withdrawals_idr: int
    purchases: int
    purchases_idr: int
    completions: int
    completions_idr: int
    reversals: int
    reversals_idr: int
    refunds: int
    refunds_idr: int
    corrections: int
    corrections_idr: int
    declined: int
    net_idr: int
    state: str
    closed_by: str | None
    closed_at: datetime | None
    ordered_by: str | None
    evidence: str | None
    paid_by: str | None
    paid_on: date | None

    @property
    def taken(self) -> int:
        """How many add to what is owed."""
        return self.withdrawals + self.purchases + self.completions

    @property
    def taken_idr(self) -> int:
        """What they add."""
        return self.withdrawals_idr + self.purchases_idr + self.completions_idr

    @property
    def given_back(self) -> int:
        """How many take from what is owed."""
        return self.reversals + self.refunds + self.corrections

    @property
    def given_back_idr(self) -> int:
        """What they take."""
        return self.reversals_idr + self.refunds_idr + self.corrections_idr


@dataclass(frozen=True, slots=True)
class Payee:
    """What is owed to one agent or e-Warong over a span of closed dates, and what of it is not paid yet."""

    link: str
    channel: str
    acquirer: str
    merchant: str
    terminal: str
    count: int
    amount_idr: int
    reversed: int
    reversed_idr: int
    net_idr: int
    unpaid_idr: int


@dataclass(frozen=True, slots=True)
class Position:
    """A partner's account for one channel over a span of dates: OPENING + NET - PAID = CLOSING. Above zero: the bank owes.

    OPEN_IDR: what dates of the span that are not closed come to so far; None where it was not asked for.
    """

    link: str
    channel: str
    opening_idr: int
    taken_idr: int
    given_back_idr: int
    net_idr: int
    paid_idr: int
    closing_idr: int
    open_idr: int | None = None


async def let_lanes_pass(connection: AsyncConnection, lanes: int) -> None:
    """Wait until every group that is being decided now has committed. Whatever comes after is of a later business date.

    Holds up the lanes for as long as their slowest group; the caller commits at once.
    """
    await connection.execute(LET_PASS, {"lock": LANE_LOCK, "lanes": lanes})


async def links_seen(connection: AsyncConnection, on: date) -> list[str]:
    """The links that have authorisations of a settlement date."""
    return list((await connection.execute(LINKS_SEEN, {"on": on})).scalars())


async def close(connection: AsyncConnection, link: str, on: date, actor: str) -> list[Settlement]:
    """Write the settlements of a link's date and the lines of its payees. Nothing is written where there was nothing."""
    values = {"first": on, "last": on, "link": link, "actor": actor}
    await connection.execute(CLOSE, values)
    return await read(connection, on, on, link)


async def read(connection: AsyncConnection, first: date, last: date, link: str | None = None) -> list[Settlement]:
    """Closed settlements of a span of dates, oldest first."""
    found = await connection.execute(READ, {"first": first, "last": last, "link": link})
    return [Settlement(*row) for row in found]


async def read_open(connection: AsyncConnection, first: date, last: date, link: str | None = None) -> list[Settlement]:
    """What is not closed yet of a span of dates, as its authorisations say now. Reads them all: for a few dates."""
    found = await connection.execute(READ_OPEN, {"first": first, "last": last, "link": link})
    return [Settlement(*row) for row in found]


async def lock(connection: AsyncConnection, link: str, on: date, channel: str | None) -> list[Settlement]:
    """The closed settlements of a link's date (one channel, or all), locked."""
    found = await connection.execute(LOCK, {"first": on, "last": on, "link": link, "channel": channel})
    return [Settlement(*row) for row in found]


async def order(connection: AsyncConnection, ids: Sequence[int], actor: str, evidence: str) -> None:
    """The first person of a payment and the number of its transfer order."""
    await connection.execute(ORDER, {"ids": list(ids), "actor": actor, "evidence": evidence})


async def mark_paid(connection: AsyncConnection, ids: Sequence[int], actor: str, on: date) -> None:
    """The second person; the transfer is posted in the same transaction."""
    await connection.execute(MARK_PAID, {"ids": list(ids), "actor": actor, "on": on})


async def positions(connection: AsyncConnection, first: date, last: date) -> list[Position]:
    """Every partner's account by channel over a span of dates, from closed settlements."""
    return [Position(*row) for row in await connection.execute(POSITIONS, {"first": first, "last": last})]


async def payees(
    connection: AsyncConnection, first: date, last: date, link: str | None = None, *, unpaid: bool = False
) -> AsyncIterator[Payee]:
    """Agents and e-Warong over a span of closed dates, by channel, merchant and terminal. UNPAID: those with something unpaid."""
    found = await connection.stream(PAYEES, {"first": first, "last": last, "link": link, "unpaid": unpaid})
    async for row in found:
        yield Payee(*row)


async def differences(connection: AsyncConnection, first: date, last: date, link: str | None = None) -> list[str]:
    """What closed settlements of a span of dates, or their lines, have other than their authorisations; the first few, named."""
    return list((await connection.execute(DIFFERENCES, {"first": first, "last": last, "link": link})).scalars())


async def span(connection: AsyncConnection) -> tuple[date, date] | None:
    """The first and the last closed settlement date."""
    first, last = (await connection.execute(SPAN)).one()
    return None if first is None else (first, last)


CONTROL = "CASE channel " + " ".join(f"WHEN '{c}' THEN {control_account(a)}" for c, a in OWED.items()) + " END"
TOTALS = ("withdrawals", "withdrawals_idr", "purchases", "purchases_idr", "completions", "completions_idr", "reversals",
          "reversals_idr", "refunds", "refunds_idr", "corrections", "corrections_idr", "declined")  # fmt: skip
MOVED = f"""
    SELECT a.link, a.settlement_date, CASE WHEN a.{APPROVED} THEN a.kind ELSE 'DECLINED' END AS kind,
           coalesce(o.channel, a.channel) AS channel, coalesce(o.acquirer, a.acquirer) AS acquirer,
           coalesce(o.merchant, a.merchant, '') AS merchant, coalesce(o.terminal, a.terminal) AS terminal,
           CASE cardinality(a.amounts_idr) WHEN 1 THEN a.amounts_idr[1]
               ELSE (SELECT sum(part) FROM unnest(a.amounts_idr) AS part) END AS amount
    FROM authorisation a
    LEFT JOIN LATERAL (
        SELECT x.kind, x.channel, x.acquirer, x.merchant, x.terminal FROM authorisation x
        WHERE x.cell = a.cell AND x.message_key = a.original_key
          AND x.business_date BETWEEN a.business_date - {ANSWERED_DAYS} AND a.business_date
        ORDER BY x.business_date DESC LIMIT 1
    ) o ON a.kind IN ('COMPLETION', 'REVERSAL', 'REFUND') AND a.{APPROVED}
    WHERE (NOT a.{APPROVED} OR (a.kind NOT IN ('HOLD', 'BALANCE') AND a.amounts_idr <> '{{}}'))
      AND (o.kind IS DISTINCT FROM 'HOLD' OR a.kind = 'COMPLETION')
"""
CORRECTED = """
    SELECT a.link, c.business_date, 'CORRECTION', a.channel, a.acquirer, coalesce(a.merchant, ''), a.terminal, c.amount_idr
    FROM correction c
    JOIN transfer w ON (w.cell, w.account_id, w.id, w.business_date) = (c.cell, c.account_id, c.transfer_id, c.value_date)
    JOIN authorisation a ON (a.cell, a.id, a.business_date) = (w.cell, w.source_id, w.business_date)
    WHERE w.source = 'authorisation'
"""
LINE = f"""
    SELECT link, settlement_date, channel, acquirer, merchant, terminal,
           count(*) FILTER (WHERE kind = 'CASH') AS withdrawals,
           coalesce(sum(amount) FILTER (WHERE kind = 'CASH'), 0)::bigint AS withdrawals_idr,
           count(*) FILTER (WHERE kind = 'PURCHASE') AS purchases,
           coalesce(sum(amount) FILTER (WHERE kind = 'PURCHASE'), 0)::bigint AS purchases_idr,
           count(*) FILTER (WHERE kind = 'COMPLETION') AS completions,
           coalesce(sum(amount) FILTER (WHERE kind = 'COMPLETION'), 0)::bigint AS completions_idr,
           count(*) FILTER (WHERE kind = 'REVERSAL') AS reversals,
           coalesce(sum(amount) FILTER (WHERE kind = 'REVERSAL'), 0)::bigint AS reversals_idr,
           count(*) FILTER (WHERE kind = 'REFUND') AS refunds,
           coalesce(sum(amount) FILTER (WHERE kind = 'REFUND'), 0)::bigint AS refunds_idr,
           count(*) FILTER (WHERE kind = 'CORRECTION') AS corrections,
           coalesce(sum(amount) FILTER (WHERE kind = 'CORRECTION'), 0)::bigint AS corrections_idr,
           count(*) FILTER (WHERE kind = 'DECLINED') AS declined
    FROM ({MOVED}
          AND a.business_date BETWEEN CAST(:first AS date) - 1 AND CAST(:last AS date)
          AND a.settlement_date BETWEEN CAST(:first AS date) AND CAST(:last AS date)
          AND (CAST(:link AS text) IS NULL OR a.link = :link)
          UNION ALL {CORRECTED}
          AND c.business_date BETWEEN CAST(:first AS date) AND CAST(:last AS date)
          AND (CAST(:link AS text) IS NULL OR a.link = :link)) moved
    GROUP BY 1, 2, 3, 4, 5, 6
"""
TOTAL = f"""
    SELECT link, settlement_date, channel, {", ".join(f"sum({name})::bigint AS {name}" for name in TOTALS)}
    FROM line GROUP BY 1, 2, 3
"""
GIVING = "withdrawals_idr + purchases_idr + completions_idr"
GIVEN_BACK = "reversals_idr + refunds_idr + corrections_idr"
BACK = "reversals + refunds + corrections"
TAKEN = "withdrawals + purchases + completions"
COLUMNS = f"""id, link, settlement_date, channel, control, {", ".join(TOTALS)}, net_idr, state, closed_by, closed_at, ordered_by,
              evidence, paid_by, paid_on"""
WITHIN = "settlement_date BETWEEN CAST(:first AS date) AND CAST(:last AS date) AND (CAST(:link AS text) IS NULL OR link = :link)"
PLACES = "link, settlement_date, array_position(ARRAY['ATM', 'AGENT', 'EWARONG'], channel)"

LET_PASS = text("""
    SELECT pg_advisory_xact_lock(CAST(:lock AS bigint) + lane) FROM generate_series(0, CAST(:lanes AS int) - 1) AS lane
""")
LINKS_SEEN = text(f"""
    SELECT link FROM authorisation
    WHERE business_date BETWEEN CAST(:on AS date) - 1 AND CAST(:on AS date) AND settlement_date = CAST(:on AS date)
    UNION SELECT link FROM ({CORRECTED} AND c.business_date = CAST(:on AS date)) corrected ORDER BY link
""")
CLOSE = text(f"""
    WITH line AS MATERIALIZED ({LINE}), total AS ({TOTAL}), closed AS (
        INSERT INTO settlement (link, settlement_date, channel, control, {", ".join(TOTALS)}, closed_by)
        SELECT link, settlement_date, channel, {CONTROL}, {", ".join(TOTALS)}, :actor FROM total
        RETURNING id, channel
    )
    INSERT INTO settlement_payee (settlement_id, acquirer, merchant, terminal, count, amount_idr, reversed, reversed_idr)
    SELECT c.id, l.acquirer, l.merchant, l.terminal, {TAKEN}, {GIVING}, {BACK}, {GIVEN_BACK}
    FROM line l JOIN closed c USING (channel)
    WHERE channel <> 'ATM' AND {TAKEN} + {BACK} > 0
""")
READ = text(f"SELECT {COLUMNS} FROM settlement WHERE {WITHIN} ORDER BY {PLACES}")
READ_OPEN = text(f"""
    WITH line AS ({LINE}), total AS ({TOTAL})
    SELECT NULL, link, settlement_date, channel, {CONTROL}, {", ".join(TOTALS)}, {GIVING} - ({GIVEN_BACK}), 'OPEN', NULL, NULL,
           NULL, NULL, NULL, NULL
    FROM total t
    WHERE NOT EXISTS (SELECT FROM settlement s WHERE s.link = t.link AND s.settlement_date = t.settlement_date)
    ORDER BY {PLACES}
""")
LOCK = text(f"""
    SELECT {COLUMNS} FROM settlement WHERE {WITHIN} AND (CAST(:channel AS text) IS NULL OR channel = :channel)
    ORDER BY {PLACES} FOR UPDATE
""")
ORDER = text("UPDATE settlement SET ordered_by = :actor, evidence = :evidence WHERE id = ANY(CAST(:ids AS bigint[]))")
MARK_PAID = text("""
    UPDATE settlement SET state = 'PAID', paid_by = :actor, paid_on = :on WHERE id = ANY(CAST(:ids AS bigint[]))
""")
POSITIONS = text(f"""
    SELECT link, channel, opening, taken, given_back, taken - given_back, paid, opening + taken - given_back - paid
    FROM (SELECT link, channel,
                 (coalesce(sum(net_idr) FILTER (WHERE settlement_date < :first), 0)
                     - coalesce(sum(net_idr) FILTER (WHERE paid_on < :first), 0))::bigint AS opening,
                 coalesce(sum({GIVING}) FILTER (WHERE settlement_date >= :first), 0)::bigint AS taken,
                 coalesce(sum({GIVEN_BACK}) FILTER (WHERE settlement_date >= :first), 0)::bigint AS given_back,
                 coalesce(sum(net_idr) FILTER (WHERE paid_on BETWEEN :first AND :last), 0)::bigint AS paid
          FROM settlement WHERE settlement_date <= CAST(:last AS date) GROUP BY 1, 2) x
    ORDER BY link, array_position(ARRAY['ATM', 'AGENT', 'EWARONG'], channel)
""")
PAYEES = text(f"""
    SELECT link, channel, acquirer, merchant, terminal, sum(count)::bigint, sum(amount_idr)::bigint, sum(reversed)::bigint,
           sum(reversed_idr)::bigint, sum(p.net_idr)::bigint,
           coalesce(sum(p.net_idr) FILTER (WHERE state = 'CLOSED'), 0)::bigint AS unpaid
    FROM settlement s JOIN settlement_payee p ON p.settlement_id = s.id
    WHERE {WITHIN} AND (NOT CAST(:unpaid AS boolean) OR state = 'CLOSED')
    GROUP BY 1, 2, 3, 4, 5 ORDER BY channel, link, acquirer, merchant, terminal
""")
DIFFERENCES = text(f"""
    WITH line AS MATERIALIZED ({LINE}), total AS ({TOTAL}),
    stored AS (SELECT * FROM settlement WHERE {WITHIN}),
    payee AS (
        SELECT link, settlement_date, channel, acquirer, merchant, terminal, {TAKEN} AS count, {GIVING} AS amount_idr,
               {BACK} AS reversed, {GIVEN_BACK} AS reversed_idr
        FROM line l WHERE channel <> 'ATM' AND {TAKEN} + {BACK} > 0
          AND EXISTS (SELECT FROM stored s WHERE (s.link, s.settlement_date) = (l.link, l.settlement_date))
    ), stored_payee AS (
        SELECT s.link, s.settlement_date, s.channel, p.acquirer, p.merchant, p.terminal, p.count::bigint, p.amount_idr,
               p.reversed::bigint, p.reversed_idr
        FROM stored s JOIN settlement_payee p ON p.settlement_id = s.id
    )
    SELECT format('%s of %s at %s', channel, settlement_date, link) FROM (
        SELECT link, settlement_date, channel FROM total t FULL JOIN stored s USING (link, settlement_date, channel)
        WHERE (s.id IS NOT NULL OR EXISTS (SELECT FROM stored x WHERE (x.link, x.settlement_date) = (t.link, t.settlement_date)))
          AND (({", ".join(f"t.{name}" for name in TOTALS)}, {CONTROL})
               IS DISTINCT FROM ({", ".join(f"s.{name}" for name in TOTALS)}, s.control))
    ) d
    UNION ALL
    SELECT format('%s of %s at %s, merchant %s terminal %s', channel, settlement_date, link, merchant, terminal) FROM (
        (SELECT * FROM payee EXCEPT SELECT * FROM stored_payee) UNION (SELECT * FROM stored_payee EXCEPT SELECT * FROM payee)
    ) d
    LIMIT 20
""")
SPAN = text("SELECT min(settlement_date), max(settlement_date) FROM settlement")
