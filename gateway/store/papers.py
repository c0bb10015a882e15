"""The papers against the book: SP2D, SI, authorisations, corrections and returns say what the journal says. Reads only.

Each check is one statement that returns how many disagree, and the first. The whole form looks at every paper whose journal is
at hand; the form since a closed day looks at what was touched after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from ledger.proof import Check

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection


async def check_all(connection: AsyncConnection, rpl_idr: int) -> list[Check]:
    """Every paper whose journal is at hand. RPL_IDR: what is booked at RPL."""
    checks = [await _run(connection, name, text(statement), {}) for name, statement in WHOLE.items()]
    checks.append(await _rpl(connection, rpl_idr))
    return checks


async def check_since(connection: AsyncConnection, closed: date, rpl_idr: int) -> list[Check]:
    """The papers that were touched after a closed day. RPL_IDR: what is booked at RPL."""
    checks = [await _run(connection, name, text(statement), {"since": closed}) for name, statement in SINCE.items()]
    checks.append(await _rpl(connection, rpl_idr))
    return checks


async def _run(connection: AsyncConnection, name: str, statement: object, values: dict[str, object]) -> Check:
    wrong, first = (await connection.execute(statement, values)).one()  # type: ignore[call-overload]
    return Check(name, not wrong, "holds" if not wrong else f"{wrong} disagree, the first: {first}")


async def _rpl(connection: AsyncConnection, booked_idr: int) -> Check:
    said = int((await connection.execute(RPL_OPEN)).scalar_one())
    return _equal("RPL account = returns at RPL", booked_idr, said)


def _equal(name: str, booked: int, said: int) -> Check:
    return Check(name, booked == said, f"booked Rp{booked:,}, papers say Rp{said:,}")


AT_HAND = "coalesce((SELECT detached_through FROM journal_opening), '-infinity')"
# What an authorisation says it drew or gave back, and what the journal has from it: transfer by transfer, and owed to the
# partners of its channel. What is released of a hold has no amount of its own in the authorisation, or (lapsed) no entry.
AUTHORISATIONS = """
    SELECT count(*), min(coalesce(b.source_id, s.id))::text
    FROM (SELECT a.cell, a.account_id, a.id, a.kind, a.channel, u.transfer_id, u.amount_idr
          FROM authorisation a CROSS JOIN LATERAL unnest(a.transfer_ids, a.amounts_idr) AS u (transfer_id, amount_idr)
          WHERE a.business_date > {since} AND cardinality(a.transfer_ids) > 0) s
    FULL JOIN (SELECT cell, account_id, id, kind, source_id, amount_idr, least(debit, credit) / 1000 AS control
               FROM transfer WHERE business_date > {since} AND source = 'authorisation') b
         ON (b.cell, b.account_id, b.id) = (s.cell, s.account_id, s.transfer_id)
    WHERE (s.id IS NULL AND b.kind <> 'RELEASE')
       OR (s.id IS NOT NULL AND (b.source_id, b.amount_idr) IS DISTINCT FROM (s.id, coalesce(s.amount_idr, b.amount_idr)))
       OR (s.kind IN ('CASH', 'PURCHASE') AND b.control <> CASE s.channel WHEN 'ATM' THEN 3 WHEN 'AGENT' THEN 4 ELSE 5 END)
"""
CORRECTIONS = """
    SELECT count(*), min(coalesce(c.id, b.source_id))::text
    FROM (SELECT id, amount_idr FROM correction WHERE business_date > {since}) c
    FULL JOIN (SELECT source_id, sum(amount_idr) AS amount_idr FROM transfer
               WHERE business_date > {since} AND kind = 'CORRECTION' AND source = 'correction' GROUP BY source_id) b
         ON b.source_id = c.id
    WHERE c.amount_idr IS DISTINCT FROM b.amount_idr
"""
SI_ROWS = "every SI that was credited: rows = tranches = transfers"
SI_FUNDS = "no SI credited more than its SP2D, and each was funded with exactly that"
BY_TRANSFER, BY_CORRECTION = "every authorisation equals its transfers", "every correction equals its transfers"
# Touched: SI with a transfer after the closed day. Their transfers began on the day they were imported, at the earliest.
TOUCHED = """
    WITH touched AS MATERIALIZED (
        SELECT s.id, s.si_no, s.sp2d_no, s.state, s.business_date FROM si s
        WHERE s.id IN (SELECT source_id FROM transfer WHERE business_date > CAST(:since AS date) AND source = 'si')
    ), moves AS MATERIALIZED (
        SELECT cell, account_id, tranche_id, source_id, kind, amount_idr FROM transfer
        WHERE business_date >= (SELECT min(business_date) FROM touched) AND source = 'si'
          AND source_id IN (SELECT id FROM touched)
    )
"""
WHOLE = {
    SI_ROWS: f"""
        WITH rows AS (SELECT si_id, sum(amount_idr) AS amount_idr FROM si_row WHERE state = 'TOPUP_SUKSES' GROUP BY si_id),
        tranches AS (SELECT si_id, sum(amount_idr) AS amount_idr FROM tranche GROUP BY si_id),
        transfers AS (SELECT source_id, sum(amount_idr) AS amount_idr FROM transfer
                      WHERE source = 'si' AND kind = 'CREDIT' GROUP BY source_id)
        SELECT count(*), min(s.si_no) FROM si s
        LEFT JOIN rows r ON r.si_id = s.id LEFT JOIN tranches t ON t.si_id = s.id LEFT JOIN transfers x ON x.source_id = s.id
        WHERE s.business_date > {AT_HAND} AND (coalesce(r.amount_idr, 0) <> coalesce(t.amount_idr, 0)
           OR coalesce(t.amount_idr, 0) <> coalesce(x.amount_idr, 0))
    """,
    SI_FUNDS: f"""
        WITH funds AS (SELECT source_id, sum(amount_idr) AS amount_idr FROM transfer
                       WHERE source = 'si' AND kind = 'FUND' GROUP BY source_id),
        tranches AS (SELECT si_id, sum(amount_idr) AS amount_idr FROM tranche GROUP BY si_id)
        SELECT count(*), min(s.si_no) FROM si s JOIN sp2d p ON p.no = s.sp2d_no
        LEFT JOIN funds f ON f.source_id = s.id LEFT JOIN tranches t ON t.si_id = s.id
        WHERE s.business_date > {AT_HAND} AND (coalesce(t.amount_idr, 0) > p.amount_idr
           OR coalesce(f.amount_idr, 0) <> CASE WHEN s.state IN ('POSTING', 'POSTED') THEN p.amount_idr ELSE 0 END)
    """,
    BY_TRANSFER: AUTHORISATIONS.format(since="CAST('-infinity' AS date)"),
    BY_CORRECTION: CORRECTIONS.format(since=AT_HAND),
    "one account, one live card a family": """
        SELECT count(*), min(account_id)::text FROM (
            SELECT account_id FROM card WHERE state NOT IN ('LOST', 'STOLEN', 'REPLACED', 'CLOSED')
            GROUP BY account_id HAVING count(*) > 1) c
    """,
}
SINCE = {
    f"{SI_ROWS} (SI touched since)": f"""
        {TOUCHED}, rows AS (SELECT r.si_id, sum(r.amount_idr) AS amount_idr FROM si_row r
                            WHERE r.si_id IN (SELECT id FROM touched) AND r.state = 'TOPUP_SUKSES' GROUP BY r.si_id),
        credits AS (SELECT m.source_id, sum(m.amount_idr) AS amount_idr, sum(t.amount_idr) AS tranches_idr FROM moves m
                    LEFT JOIN tranche t ON (t.cell, t.account_id, t.id) = (m.cell, m.account_id, m.tranche_id)
                                       AND t.si_id = m.source_id
                    WHERE m.kind = 'CREDIT' GROUP BY m.source_id)
        SELECT count(*), min(s.si_no) FROM touched s
        LEFT JOIN rows r ON r.si_id = s.id LEFT JOIN credits c ON c.source_id = s.id
        WHERE coalesce(r.amount_idr, 0) <> coalesce(c.amount_idr, 0)
           OR coalesce(c.amount_idr, 0) <> coalesce(c.tranches_idr, 0)
    """,
    f"{SI_FUNDS} (SI touched since)": f"""
        {TOUCHED}, sums AS (SELECT source_id, sum(amount_idr) FILTER (WHERE kind = 'FUND') AS funded_idr,
                                   sum(amount_idr) FILTER (WHERE kind = 'CREDIT') AS credited_idr FROM moves GROUP BY source_id)
        SELECT count(*), min(s.si_no) FROM touched s JOIN sp2d p ON p.no = s.sp2d_no LEFT JOIN sums m ON m.source_id = s.id
        WHERE coalesce(m.credited_idr, 0) > p.amount_idr
           OR coalesce(m.funded_idr, 0) <> CASE WHEN s.state IN ('POSTING', 'POSTED') THEN p.amount_idr ELSE 0 END
    """,
    f"{BY_TRANSFER} (since)": AUTHORISATIONS.format(since="CAST(:since AS date)"),
    f"{BY_CORRECTION} (since)": CORRECTIONS.format(since="CAST(:since AS date)"),
}
RPL_OPEN = text("SELECT coalesce(sum(amount_idr), 0) FROM treasury_return WHERE state = 'AT_RPL'")
