"""Looking at an account: purses, tranches, and what is lost next if it is not used, as a branch officer sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.operations.bank import reading
from gateway.rules.dormancy import TrancheClock, TrancheState
from gateway.rules.expiring import Expiring, earliest_expiring
from gateway.store import policy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy import RowMapping

    from gateway.operations.bank import Bank
    from gateway.rules.dormancy import ClockPolicy

HIDDEN = ("number", "region", "clock_from")  # read for the clocks, told by what comes of them


async def show(bank: Bank, number: str) -> dict[str, Any]:
    """An account by its number, with its purses, its tranches and the next loss of unused aid (None: none). Raises NotFound."""
    async with reading(bank) as connection:
        account = (await connection.execute(ACCOUNT, {"number": number})).one_or_none()
        if account is None:
            raise NotFound(f"there is no account {number}")
        tranches = (await connection.execute(TRANCHES, {"cell": account.cell, "id": account.id})).mappings().all()
        purses = await connection.execute(PURSES, {"cell": account.cell, "id": account.id})
        expiring = _expiring(tranches, await policy.clock_policies(connection), bank.business_date)
        return {
            "number": account.number,
            "state": account.state,
            "holder": account.holder_name,
            "region": account.region,
            "opened_on": str(account.opened_on),
            "purses": [dict(row) for row in purses.mappings()],
            "tranches": [{name: row[name] for name in row if name not in HIDDEN} for row in tranches],
            "expiring": None if expiring is None else expiring._asdict(),
        }


def _expiring(tranches: Sequence[RowMapping], policies: Sequence[ClockPolicy], today: date) -> Expiring | None:
    clocks = [
        (
            TrancheClock(
                row["number"], row["region"], row["clock_from"], row["used_on"] is not None, TrancheState(row["state"])
            ),
            row["available_idr"],
        )
        for row in tranches
    ]
    return earliest_expiring(clocks, policies, today)


ACCOUNT = text("SELECT cell, id, number, state, holder_name, region, opened_on FROM account WHERE number = :number")
PURSES = text("""
    SELECT p.code AS programme, u.available_idr, u.held_idr, u.frozen_idr FROM purse u JOIN programme p ON p.number = u.programme
    WHERE u.cell = :cell AND u.account_id = :id ORDER BY p.number
""")
TRANCHES = text("""
    SELECT p.code AS programme, t.stage, t.months, t.sp2d_no, t.credited_on, t.available_from, t.amount_idr, t.available_idr,
           t.frozen_idr, t.returned_idr, t.state, t.used_on, t.blocked_on, t.frozen_on, t.rpl_on, t.returned_on,
           t.programme AS number, t.region, t.clock_from
    FROM tranche t JOIN programme p ON p.number = t.programme
    WHERE t.cell = :cell AND t.account_id = :id ORDER BY t.credited_on, t.id
""")
