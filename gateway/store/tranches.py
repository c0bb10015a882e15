"""Tranches as the clocks see them: which may be due, moving them from state to state, notices, and treasury returns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.rules.dormancy import TrancheState

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Tranche:
    """A tranche with money in it, as the clocks see it."""

    cell: int
    account_id: int
    id: int
    programme: int
    region: str
    sp2d_no: str
    clock_from: date
    used_on: date | None
    state: TrancheState
    available_idr: int
    frozen_idr: int


@dataclass(frozen=True, slots=True)
class TreasuryReturn:
    """Unused aid of one programme and SP2D on its way back, with its evidence."""

    id: int
    programme: int
    sp2d_no: str
    amount_idr: int
    tranches: int
    rpl_date: date
    rpl_evidence: str
    state: str
    returned_on: date | None
    deposit_evidence: str | None
    ntpn: str | None


class Page(NamedTuple):
    """Some tranches as (cell, account id, tranche id), by their clock and id, and where the next page begins."""

    keys: list[tuple[int, int, int]]
    end: tuple[date, int]


FIRST_PAGE = (date.min, 0)


async def candidates(
    connection: AsyncConnection, *, before: date, used_too: bool, after: tuple[date, int], limit: int
) -> Page:
    """A page of tranches whose clock began on or before a date and that may be due, after where the last page ended.

    In the order of the index, so that going through millions of them looks at each once.
    """
    values = {"before": before, "used_too": used_too, "limit": limit}
    return await _page(connection, CANDIDATES, after, values)


async def frozen(connection: AsyncConnection, after: tuple[date, int], limit: int) -> Page:
    """A page of frozen tranches, after where the last page ended."""
    return await _page(connection, FROZEN, after, {"limit": limit})


async def blocked(
    connection: AsyncConnection, region_prefix: str, account_number: str | None
) -> list[tuple[int, int, int]]:
    """Blocked tranches of a region or of one account."""
    found = await connection.execute(BLOCKED, {"prefix": region_prefix + "%", "number": account_number})
    return [(row.cell, row.account_id, row.id) for row in found]


async def lock(connection: AsyncConnection, keys: list[tuple[int, int, int]]) -> list[Tranche]:
    """Lock the accounts of some tranches, in the order every writer keeps, then read the tranches as they are now."""
    values: dict[str, Any] = {
        "cells": [key[0] for key in keys], "accounts": [key[1] for key in keys], "ids": [key[2] for key in keys]
    }  # fmt: skip
    await connection.execute(LOCK, values)
    return [_tranche(row) for row in await connection.execute(READ, values)]


async def set_state(
    connection: AsyncConnection, moved: list[Tranche], state: TrancheState, on: date, return_id: int | None = None
) -> None:
    """Move tranches; the caller has checked the transitions. The date of the step is kept."""
    values = {
        "cells": [one.cell for one in moved], "accounts": [one.account_id for one in moved],
        "ids": [one.id for one in moved], "state": state.value, "on": on, "return_id": return_id,
    }  # fmt: skip
    await connection.execute(SET_STATE, values)


async def notice(connection: AsyncConnection, moved: list[tuple[Tranche, str, int, int]], on: date) -> int:
    """Write notices (tranche, what, days, rupiah); one that was written for this date already is not repeated."""
    values = {
        "cells": [one.cell for one, _, _, _ in moved], "accounts": [one.account_id for one, _, _, _ in moved],
        "ids": [one.id for one, _, _, _ in moved], "notices": [what for _, what, _, _ in moved],
        "days": [days for _, _, days, _ in moved], "amounts": [amount for _, _, _, amount in moved], "on": on,
    }  # fmt: skip
    return (await connection.execute(NOTICE, values)).rowcount


async def create_return(
    connection: AsyncConnection, programme: int, sp2d_no: str, amount_idr: int, tranches: int, on: date, evidence: str
) -> int:
    """A debit to RPL of one programme and SP2D."""
    values = {"programme": programme, "sp2d_no": sp2d_no, "amount": amount_idr, "tranches": tranches, "on": on,
              "evidence": evidence}  # fmt: skip
    return int((await connection.execute(CREATE_RETURN, values)).scalar_one())


async def returns(connection: AsyncConnection, state: str | None = None) -> list[TreasuryReturn]:
    """Treasury returns, oldest first."""
    found = await connection.execute(READ_RETURNS, {"state": state})
    return [TreasuryReturn(*row) for row in found]


async def lock_return(connection: AsyncConnection, return_id: int) -> TreasuryReturn:
    """One treasury return, locked. Raises NotFound."""
    row = (await connection.execute(LOCK_RETURN, {"id": return_id})).one_or_none()
    if row is None:
        raise NotFound(f"there is no return {return_id}")
    return TreasuryReturn(*row)


async def mark_returned(connection: AsyncConnection, return_id: int, on: date, evidence: str) -> None:
    """The deposit at kas negara was made; its tranches are RETURNED."""
    await connection.execute(MARK_RETURNED, {"id": return_id, "on": on, "evidence": evidence})
    await connection.execute(MARK_TRANCHES, {"id": return_id, "on": on})


async def set_ntpn(connection: AsyncConnection, return_id: int, ntpn: str) -> None:
    """The treasury's receipt."""
    await connection.execute(SET_NTPN, {"id": return_id, "ntpn": ntpn})


async def _page(connection: AsyncConnection, statement: Any, after: tuple[date, int], values: dict[str, Any]) -> Page:  # noqa: ANN401 - text()
    rows = list(await connection.execute(statement, values | {"after_clock": after[0], "after": after[1]}))
    end = (rows[-1].clock_from, rows[-1].id) if rows else after
    return Page([(row.cell, row.account_id, row.id) for row in rows], end)


def _tranche(row: Any) -> Tranche:  # noqa: ANN401 - a database row
    values = {name: getattr(row, name) for name in Tranche.__slots__}
    return Tranche(**(values | {"state": TrancheState(row.state)}))


WANTED = "unnest(CAST(:cells AS smallint[]), CAST(:accounts AS bigint[]), CAST(:ids AS bigint[])) AS w (cell, account_id, id)"
RETURN_COLUMNS = """id, programme, sp2d_no, amount_idr, tranches, rpl_date, rpl_evidence, state, returned_on, deposit_evidence,
                    ntpn"""
CANDIDATES = text("""
    SELECT cell, account_id, id, clock_from FROM tranche
    WHERE state IN ('OPEN', 'BLOCKED') AND clock_from <= :before AND available_idr > 0 AND (:used_too OR used_on IS NULL)
      AND (clock_from, id) > (:after_clock, :after) ORDER BY clock_from, id LIMIT :limit
""")
FROZEN = text("""
    SELECT cell, account_id, id, clock_from FROM tranche
    WHERE state = 'FROZEN' AND (clock_from, id) > (:after_clock, :after) ORDER BY clock_from, id LIMIT :limit
""")
BLOCKED = text("""
    SELECT t.cell, t.account_id, t.id FROM tranche t JOIN account a ON a.cell = t.cell AND a.id = t.account_id
    WHERE t.state = 'BLOCKED' AND t.region LIKE :prefix AND (CAST(:number AS text) IS NULL OR a.number = :number) ORDER BY t.id
""")
LOCK = text(
    """
    SELECT 1 FROM account a WHERE (a.cell, a.id) IN (SELECT w.cell, w.account_id FROM """
    + WANTED
    + """)
    ORDER BY a.cell, a.id FOR UPDATE
"""
)
READ = text(f"""
    SELECT t.cell, t.account_id, t.id, t.programme, t.region, t.sp2d_no, t.clock_from, t.used_on, t.state, t.available_idr,
           t.frozen_idr
    FROM tranche t JOIN {WANTED} ON (t.cell, t.account_id, t.id) = (w.cell, w.account_id, w.id) ORDER BY t.id
""")
SET_STATE = text(f"""
    UPDATE tranche t SET state = :state, return_id = coalesce(:return_id, t.return_id),
           blocked_on = CASE WHEN :state = 'BLOCKED' THEN CAST(:on AS date) ELSE t.blocked_on END,
           frozen_on = CASE WHEN :state = 'FROZEN' THEN CAST(:on AS date) ELSE t.frozen_on END,
           rpl_on = CASE WHEN :state = 'AT_RPL' THEN CAST(:on AS date) ELSE t.rpl_on END,
           clock_from = CASE WHEN :state = 'OPEN' THEN CAST(:on AS date) ELSE t.clock_from END
    FROM {WANTED} WHERE t.cell = w.cell AND t.account_id = w.account_id AND t.id = w.id
""")
NOTICE = text("""
    INSERT INTO dormancy_notice (cell, account_id, tranche_id, notice, days, amount_idr, business_date)
    SELECT cell, account_id, id, notice, days, amount, :on
    FROM unnest(CAST(:cells AS smallint[]), CAST(:accounts AS bigint[]), CAST(:ids AS bigint[]), CAST(:notices AS text[]),
                CAST(:days AS int[]), CAST(:amounts AS bigint[])) AS n (cell, account_id, id, notice, days, amount)
    ON CONFLICT DO NOTHING
""")
CREATE_RETURN = text("""
    INSERT INTO treasury_return (programme, sp2d_no, amount_idr, tranches, rpl_date, rpl_evidence, state)
    VALUES (:programme, :sp2d_no, :amount, :tranches, :on, :evidence, 'AT_RPL') RETURNING id
""")
READ_RETURNS = text(f"""
    SELECT {RETURN_COLUMNS} FROM treasury_return WHERE CAST(:state AS text) IS NULL OR state = :state ORDER BY id
""")
LOCK_RETURN = text(f"SELECT {RETURN_COLUMNS} FROM treasury_return WHERE id = :id FOR UPDATE")
MARK_RETURNED = text("""
    UPDATE treasury_return SET state = 'RETURNED', returned_on = :on, deposit_evidence = :evidence WHERE id = :id
""")
MARK_TRANCHES = text("""
    UPDATE tranche SET state = CASE WHEN state = 'AT_RPL' THEN 'RETURNED' ELSE state END, returned_on = :on WHERE return_id = :id
""")
SET_NTPN = text("UPDATE treasury_return SET ntpn = :ntpn WHERE id = :id")
