"""Where is every rupiah of an SP2D today: at families, at RPL, at kas negara, paid out, or never credited.

The parts are told by different tables (rows, tranches, journal) and must add up to the SP2D exactly; adds_up says whether they
do. The chain of one rupiah: gateway.operations.trace.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.errors import NotFound
from gateway.operations.bank import Bank, reading
from gateway.rules.batch import SiState
from gateway.rules.trace_facts import CHANNEL_OF
from gateway.store import trace
from gateway.store import whereabouts as store
from ledger.chart import Control

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.rules.trace_facts import Paper, Return, Settlement
    from gateway.store.whereabouts import Decided, Flow, Standing

RETURN = "treasury_return"
IN_FORCE = (SiState.PROPOSED, SiState.POSTING, SiState.POSTED)


class Where(StrEnum):
    """Where money of an SP2D can be, in the order it travels."""

    NOT_CREDITED = "not credited"
    AT_FAMILIES = "at families"
    AT_RPL = "at RPL"
    AT_KAS_NEGARA = "returned to kas negara"
    ATM = "withdrawn at ATMs"
    AGENT = "withdrawn at agents"
    EWARONG = "purchased at e-Warong"
    CORRECTED = "corrected"
    ARCHIVED = "left before the journal at hand begins"


CORRECTED_TO = {Control.PROGRAMME_FUND: "back in the programme's account"}
PAID_AT = {"ATM": Where.ATM, "AGENT": Where.AGENT, "EWARONG": Where.EWARONG}


@dataclass(frozen=True, slots=True)
class Place:
    """Rupiah in one place and condition. What came back after it was settled is negative until its own day is settled."""

    where: Where
    condition: str
    amount_idr: int


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Every rupiah of an SP2D on a business date. Places without money are left out."""

    sp2d_no: str
    sp2d_date: date
    amount_idr: int
    business_date: date
    si_no: str | None
    state: str | None
    places: tuple[Place, ...]

    @property
    def found_idr(self) -> int:
        """What the places add up to."""
        return sum(place.amount_idr for place in self.places)

    @property
    def adds_up(self) -> bool:
        """Whether that is the SP2D, to the rupiah."""
        return self.found_idr == self.amount_idr

    def total_idr(self, where: Where) -> int:
        """What is in one place, in all conditions."""
        return sum(place.amount_idr for place in self.places if place.where is where)


async def whereabouts(bank: Bank, sp2d_no: str) -> Whereabouts:
    """Where every rupiah of an SP2D is now, in one snapshot. Raises NotFound."""
    today = bank.business_date
    async with reading(bank) as connection:
        await trace.by_index(connection)
        papers = await trace.papers_of_sp2d(connection, sp2d_no)
        if not papers:
            raise NotFound(f"there is no SP2D {sp2d_no}")
        paper = next((one for one in papers if one.state in IN_FORCE), None)
        if paper is None:
            first = papers[-1]
            amounts = {(Where.NOT_CREDITED, f"no SI in force: {first.si_no} is {first.state}"): first.sp2d_amount_idr}
        else:
            first, amounts = paper, await _amounts(connection, paper, today)
    places = sorted(
        (Place(where, condition, amount) for (where, condition), amount in amounts.items() if amount),
        key=lambda place: list(Where).index(place.where),
    )
    return Whereabouts(
        sp2d_no,
        first.sp2d_date,
        first.sp2d_amount_idr,
        today,
        paper and paper.si_no,
        paper and paper.state,
        tuple(places),
    )


async def _amounts(connection: AsyncConnection, paper: Paper, today: date) -> dict[tuple[Where, str], int]:
    rows = await store.decided(connection, paper.si_id)
    standing = await store.standing(connection, paper.si_id, today)
    before = await store.before(connection, paper.si_id)
    first = standing.first
    flows = [] if first is None else await store.flows(connection, paper.si_id, first, paper.rows)
    days = {(one.link, one.settlement_date, CHANNEL_OF[Control(one.control)]) for one in flows if _is_paid(one)}
    settled = await trace.settlements(connection, [(a, b, c) for a, b, c in days if a is not None and b is not None])
    amounts: dict[tuple[Where, str], int] = defaultdict(int)
    returns = await trace.returns(
        connection, {one.source_id for one in flows if one.source_id and one.source == RETURN}
    )
    archived = [
        (Where.ARCHIVED, "paid out or corrected", before.paid_idr),
        (Where.ARCHIVED, "taken to RPL", before.returned_idr),
    ]
    for amounts_of in (_uncredited(paper, rows), _at_families(standing), _gone(flows, settled, returns), archived):
        for where, condition, amount_idr in amounts_of:
            amounts[where, condition] += amount_idr
    return amounts


def _uncredited(paper: Paper, rows: Sequence[Decided]) -> list[tuple[Where, str, int]]:
    """Rows that wait (an SI that is POSTED has none), and rows that were refused, by reason."""
    waiting_idr = paper.amount_idr - sum(one.amount_idr for one in rows)
    waits = {
        SiState.PROPOSED: "rows waiting for the SI's approval",
        SiState.POSTING: "rows waiting to be credited, in the programme's account",
    }
    found = [(Where.NOT_CREDITED, waits[SiState(paper.state)], waiting_idr)] if paper.state in waits else []
    failed = [one for one in rows if one.state == "TOPUP_GAGAL"]
    return found + [
        (Where.NOT_CREDITED, f"TOPUP_GAGAL {one.reason}, in the programme's account", one.amount_idr) for one in failed
    ]


def _at_families(standing: Standing) -> list[tuple[Where, str, int]]:
    conditions = {
        "available": standing.available_idr,
        "not yet available": standing.not_yet_idr,
        "blocked": standing.blocked_idr,
        "held": standing.held_idr,
        "frozen": standing.frozen_idr,
    }
    return [(Where.AT_FAMILIES, condition, amount_idr) for condition, amount_idr in conditions.items()]


def _gone(
    flows: Sequence[Flow], settled: Mapping[tuple[str, date, str], Settlement], returns: Mapping[int, Return]
) -> list[tuple[Where, str, int]]:
    """What has left families, by where it went."""
    found = []
    for one in flows:
        control = Control(one.control)
        sent = returns.get(one.source_id or 0) if one.source == RETURN else None
        if _is_paid(one):
            channel = CHANNEL_OF[control]
            settlement = settled.get((one.link or "", one.settlement_date, channel)) if one.settlement_date else None
            found.append((PAID_AT[channel], _settled(settlement), one.amount_idr))
        elif sent is not None:
            found.append((*_returned(sent), one.amount_idr))
        elif control in CHANNEL_OF:
            found.append((PAID_AT[CHANNEL_OF[control]], f"by {one.source}", one.amount_idr))
        else:
            place = CORRECTED_TO.get(control, f"in {control.name.lower().replace('_', ' ')}")
            found.append((Where.CORRECTED, f"{place}, by {one.source}", one.amount_idr))
    return found


def _returned(sent: Return) -> tuple[Where, str]:
    if sent.returned_on is None:
        return Where.AT_RPL, "on its way to kas negara"
    return Where.AT_KAS_NEGARA, "with NTPN" if sent.ntpn else "without NTPN yet"


def _is_paid(flow: Flow) -> bool:
    """Cash or goods, or what came back of them, by an authorisation."""
    return flow.source == "authorisation" and flow.control in CHANNEL_OF


def _settled(settlement: Settlement | None) -> str:
    if settlement is None:
        return "not yet settled with the partner"
    if settlement.state == "PAID":
        return "settled with the partner and paid"
    return "settlement closed, not yet paid to the partner"
