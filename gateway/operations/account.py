"""Looking at an account: purses and tranches, as a branch officer sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.operations.bank import reading

if TYPE_CHECKING:
    from gateway.operations.bank import Bank


async def show(bank: Bank, number: str) -> dict[str, Any]:
    """An account by its number, with its purses and tranches. Raises NotFound."""
    async with reading(bank) as connection:
        account = (await connection.execute(ACCOUNT, {"number": number})).one_or_none()
        if account is None:
            raise NotFound(f"there is no account {number}")
        tranches = await connection.execute(TRANCHES, {"cell": account.cell, "id": account.id})
        purses = await connection.execute(PURSES, {"cell": account.cell, "id": account.id})
        return {
            "number": account.number,
            "state": account.state,
            "holder": account.holder_name,
            "region": account.region,
            "opened_on": str(account.opened_on),
            "purses": [dict(row) for row in purses.mappings()],
            "tranches": [dict(row) for row in tranches.mappings()],
        }


ACCOUNT = text("SELECT cell, id, number, state, holder_name, region, opened_on FROM account WHERE number = :number")
PURSES = text("""
    SELECT p.code AS programme, u.available_idr, u.held_idr, u.frozen_idr FROM purse u JOIN programme p ON p.number = u.programme
    WHERE u.cell = :cell AND u.account_id = :id ORDER BY p.number
""")
TRANCHES = text("""
    SELECT p.code AS programme, t.stage, t.months, t.sp2d_no, t.credited_on, t.amount_idr, t.available_idr, t.frozen_idr,
           t.returned_idr, t.state, t.used_on, t.blocked_on, t.frozen_on, t.rpl_on, t.returned_on
    FROM tranche t JOIN programme p ON p.number = t.programme
    WHERE t.cell = :cell AND t.account_id = :id ORDER BY t.credited_on, t.id
""")
