"""An account's past: its balance at any instant or business date, and its statement with the running balance.

Amounts come from the journal (ledger.history); what caused each movement is read from the papers beside it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound, Refused
from gateway.operations.bank import Bank, reading
from ledger import days, history
from ledger.chart import Control
from ledger.history import HistoryGone, Movement, TrancheBalance
from ledger.posting import Account

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Balance:
    """Rupiah of a purse, or of several, by phase."""

    available_idr: int = 0
    held_idr: int = 0
    frozen_idr: int = 0

    def plus(self, other: Balance | TrancheBalance | Movement) -> Balance:
        """Both together."""
        return Balance(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Balance)))


@dataclass(frozen=True, slots=True)
class Line:
    """A movement of a statement: what it was, its paper, what it changed, and the balance after it."""

    business_date: date
    posted_at: datetime
    transfer: int
    kind: str
    reference: str
    programme: str
    tranche: int
    corrects: int | None
    available_idr: int
    held_idr: int
    frozen_idr: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Statement:
    """An account from one date to another, both included, over all programmes or one."""

    account: str
    first: date
    last: date
    programme: str | None
    opening: Balance
    lines: list[Line]
    closing: Balance


@dataclass(frozen=True, slots=True)
class PastBalance:
    """An account's balance then: by programme, and of each tranche."""

    account: str
    programmes: dict[str, Balance]
    tranches: list[TrancheBalance]

    def values(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "account": self.account,
            "programmes": {code: asdict(balance) for code, balance in self.programmes.items()},
            "tranches": [asdict(one) for one in self.tranches],
        }


async def balance(bank: Bank, number: str, *, on: date | None = None, at: datetime | None = None) -> PastBalance:
    """What an account held at the end of a business date, or at an instant. Raises NotFound, Refused."""
    async with reading(bank) as connection:
        account, _ = await _account(connection, number)
        codes = await _programmes(connection)
        try:
            if at is not None:
                found = await history.tranches_at(connection, account, at)
            else:
                found = await history.tranches_on(connection, account, on or bank.business_date)
        except HistoryGone as error:
            raise Refused(str(error)) from None
    totals: dict[str, Balance] = {}
    for one in found:
        code = codes[one.programme]
        totals[code] = totals.get(code, Balance()).plus(one)
    return PastBalance(number, totals, found)


async def statement(
    bank: Bank, number: str, first: date | None = None, last: date | None = None, programme: str | None = None
) -> Statement:
    """Opening balance, every movement with its paper and the balance after it, closing balance.

    Default: from the opening of the account, or the first day at hand, to the business date. Raises NotFound, Refused.
    """
    async with reading(bank) as connection:
        account, opened_on = await _account(connection, number)
        codes = await _programmes(connection)
        if programme is not None and programme not in codes.values():
            raise NotFound(f"there is no programme {programme}; programmes: {', '.join(codes.values())}")
        through = await days.detached_through(connection)
        begin = opened_on if through is None else max(opened_on, through + timedelta(days=1))
        start, end = first or begin, last or bank.business_date
        if end < start:
            raise Refused(f"a statement cannot go from {start} to {end}")
        try:
            before = await history.tranches_on(connection, account, start - timedelta(days=1))
            moves = await history.movements(connection, account, start, end)
        except HistoryGone as error:
            raise Refused(str(error)) from None
        papers = await _papers(connection, account, moves)
    running = opening = _total(one for one in before if programme in (None, codes[one.programme]))
    lines = []
    for move in moves:
        code = codes[move.programme]
        if programme not in (None, code):
            continue
        running = running.plus(move)
        paper = papers.get((move.source, move.source_id), f"{move.source} {move.source_id}")
        lines.append(
            Line(move.business_date, move.posted_at, move.id, move.kind, paper, code, move.tranche_id, move.corrects,
                 move.available_idr, move.held_idr, move.frozen_idr, running)
        )  # fmt: skip
    return Statement(number, start, end, programme, opening, lines, running)


async def control_balance(bank: Bank, name: str, on: date) -> dict[int, int]:
    """Balance of a control account at the end of a business date, by programme (0: none). Raises NotFound, Refused."""
    try:
        control = Control[name.strip().upper().replace("-", "_")]
    except KeyError:
        known = ", ".join(one.name.lower().replace("_", "-") for one in Control)
        raise NotFound(f"there is no control account {name}; control accounts: {known}") from None
    async with reading(bank) as connection:
        try:
            return await history.control_on(connection, control, on)
        except HistoryGone as error:
            raise Refused(str(error)) from None


def _total(found: Iterable[TrancheBalance]) -> Balance:
    total = Balance()
    for one in found:
        total = total.plus(one)
    return total


async def _account(connection: AsyncConnection, number: str) -> tuple[Account, date]:
    row = (await connection.execute(ACCOUNT, {"number": number})).one_or_none()
    if row is None:
        raise NotFound(f"there is no account {number}")
    return Account(row.cell, row.id), row.opened_on


async def _programmes(connection: AsyncConnection) -> dict[int, str]:
    return {row.number: row.code for row in await connection.execute(PROGRAMMES)}


async def _papers(connection: AsyncConnection, account: Account, moves: list[Movement]) -> dict[tuple[str, int], str]:
    """What a person calls the cause of each movement."""
    papers: dict[tuple[str, int], str] = {}
    for source, query in PAPERS.items():
        found = [one for one in moves if one.source == source]
        if found:
            values: dict[str, Any] = {"ids": sorted({one.source_id for one in found})}
            if source == "authorisation":
                dates = [one.business_date for one in found]
                values |= {"cell": account.cell, "first": min(dates), "last": max(dates)}
            papers |= {(source, row.id): row.paper for row in await connection.execute(query, values)}
    return papers


ACCOUNT = text("SELECT cell, id, opened_on FROM account WHERE number = :number")
PROGRAMMES = text("SELECT number, code FROM programme ORDER BY number")
WANTED = "ANY(CAST(:ids AS bigint[]))"
PAPERS = {
    "authorisation": text(f"""
        SELECT id, concat_ws(' ', channel, nullif(trim(terminal), ''), 'STAN ' || stan, 'RRN ' || nullif(rrn, '')) AS paper
        FROM authorisation WHERE cell = :cell AND id = {WANTED} AND business_date BETWEEN :first AND :last
    """),
    "si": text(f"SELECT id, 'SI ' || si_no || ', SP2D ' || sp2d_no AS paper FROM si WHERE id = {WANTED}"),
    "treasury_return": text(f"""
        SELECT id, concat_ws(', ', rpl_evidence, deposit_evidence, 'NTPN ' || ntpn) AS paper
        FROM treasury_return WHERE id = {WANTED}
    """),
    "job_run": text(f"SELECT id, job || ' of ' || business_date AS paper FROM job_run WHERE id = {WANTED}"),
    "correction": text(f"""
        SELECT id, 'correction ' || id || ' for ' || value_date || ': ' || reason AS paper FROM correction WHERE id = {WANTED}
    """),
}
