"""The general ledger of one business date: every account with its opening, debits, credits and closing, as the journal says.

A bank's general ledger has no room for millions of families: their purses are one account a programme and phase, numbered
90000 + programme * 10 + phase (ledger.chart.Phase). Control accounts keep their numbers. Balances are credits less debits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from ledger.chart import PURSE_BASE, Control, Phase, is_purse

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

PURSES = 90_000


class GlLine(NamedTuple):
    """One account on one business date, in rupiah. OPENING and CLOSING above zero are credit balances."""

    account: int
    opening_idr: int
    debit_idr: int
    credit_idr: int

    @property
    def closing_idr(self) -> int:
        """What stands at the end of the date."""
        return self.opening_idr + self.credit_idr - self.debit_idr


def gl_account(account: int) -> int:
    """The general ledger's number of a ledger account.

    >>> gl_account(420012), gl_account(6001)
    (90012, 6001)
    """
    return PURSES + account % PURSE_BASE if is_purse(account) else account


def gl_parts(account: int) -> tuple[Control | None, int, Phase | None]:
    """Control account or phase of purses, and the programme (0: none).

    >>> gl_parts(90012)
    (None, 1, <Phase.FROZEN: 2>)
    """
    if account >= PURSES:
        programme, phase = divmod(account - PURSES, 10)
        return None, programme, Phase(phase)
    control, programme = divmod(account, 1_000)
    return Control(control), programme, None


async def lines(connection: AsyncConnection, on: date) -> list[GlLine]:
    """Every account that holds money at the beginning or the end of a business date, or moves on it.

    Added up from the checkpoints of the last day closed before it, where there is one.
    """
    base = (await connection.execute(CLOSED_BEFORE, {"on": on})).scalar_one()
    return [GlLine(*row) for row in await connection.execute(LINES, {"on": on, "base": base})]


async def checkpoint(connection: AsyncConnection, on: date) -> dict[int, int] | None:
    """What each account held at the end of a closed day, as its close wrote it; None where the day is not closed."""
    if not (await connection.execute(IS_CLOSED, {"on": on})).scalar_one():
        return None
    return {row.account: int(row.amount) for row in await connection.execute(CHECKPOINT, {"on": on})}


async def moved_after(connection: AsyncConnection, on: date) -> dict[int, int]:
    """What each account moved after a business date, credits less debits."""
    found = await connection.execute(MOVED_AFTER, {"on": on})
    return {row.account: int(row.moved) for row in found}


async def purse_balances(connection: AsyncConnection) -> dict[int, int]:
    """What the purses hold now, by the general ledger's accounts."""
    found: dict[int, int] = {}
    for row in await connection.execute(PURSE_SUMS):
        for phase, amount in zip(Phase, (row.available, row.held, row.frozen), strict=True):
            found[PURSES + row.programme * 10 + phase] = int(amount)
    return found


LEGS = f"""
    SELECT CASE WHEN leg.account >= {PURSE_BASE} THEN {PURSES} + leg.account % {PURSE_BASE} ELSE leg.account END AS account,
           leg.debit, leg.credit, business_date
    FROM transfer CROSS JOIN LATERAL (VALUES (debit, amount_idr, 0), (credit, 0, amount_idr)) AS leg (account, debit, credit)
"""
CHECKPOINTS = f"""
    SELECT account, balance_idr AS amount, business_date FROM control_checkpoint
    UNION ALL
    SELECT {PURSES} + p.programme * 10 + phase.number, phase.amount, p.business_date
    FROM purse_checkpoint p
    CROSS JOIN LATERAL (VALUES (0, available_idr), (1, held_idr), (2, frozen_idr)) AS phase (number, amount)
"""
LINES = text(f"""
    SELECT account, sum(opening)::bigint, sum(debit)::bigint, sum(credit)::bigint
    FROM (SELECT account, amount AS opening, 0 AS debit, 0 AS credit FROM ({CHECKPOINTS}) c
          WHERE business_date = CAST(:base AS date)
          UNION ALL
          SELECT account, CASE WHEN business_date < :on THEN credit - debit ELSE 0 END,
                 CASE WHEN business_date = :on THEN debit ELSE 0 END, CASE WHEN business_date = :on THEN credit ELSE 0 END
          FROM ({LEGS}) legs
          WHERE business_date <= CAST(:on AS date) AND business_date > coalesce(CAST(:base AS date), '-infinity')) parts
    GROUP BY account HAVING sum(opening) <> 0 OR sum(debit) <> 0 OR sum(credit) <> 0 ORDER BY account
""")
CHECKPOINT = text(f"""
    SELECT account, sum(amount) AS amount FROM ({CHECKPOINTS}) c WHERE business_date = CAST(:on AS date) GROUP BY account
""")
CLOSED_BEFORE = text(
    "SELECT max(business_date) FROM closed_day WHERE state = 'CLOSED' AND business_date < CAST(:on AS date)"
)
IS_CLOSED = text("SELECT EXISTS (SELECT FROM closed_day WHERE state = 'CLOSED' AND business_date = CAST(:on AS date))")
MOVED_AFTER = text(f"""
    SELECT account, sum(credit - debit) AS moved FROM ({LEGS}) legs WHERE business_date > CAST(:on AS date) GROUP BY account
""")
PURSE_SUMS = text("""
    SELECT programme, sum(available_idr) AS available, sum(held_idr) AS held, sum(frozen_idr) AS frozen FROM purse GROUP BY 1
""")
