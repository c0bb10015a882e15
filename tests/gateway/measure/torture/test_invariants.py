"""Tests of gateway.measure.torture.invariants: each finds the fault it looks for."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture import invariants, visits
from gateway.measure.torture.invariants import Books, StageRow, Violated
from gateway.measure.torture.town import PROGRAMMES
from tests.gateway.measure.torture.model import DAY
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from gateway.measure.torture.world import World

FAULTS = {
    "purse = tranches": "UPDATE purse SET available_idr = available_idr + 1 WHERE account_id = 1",
    "tranche = journal": "UPDATE tranche SET available_idr = available_idr - 1 WHERE account_id = 1",
    "paid twice": """
        INSERT INTO transfer SELECT cell, account_id, nextval('transfer_id_seq'), debit, credit, amount_idr, kind, source,
               source_id, tranche_id, corrects, business_date FROM transfer WHERE account_id = 1 AND kind = 'CREDIT'
    """,
    "where it came from": """
        UPDATE transfer SET corrects = (SELECT min(id) FROM transfer WHERE account_id = 1 AND kind = 'CREDIT')
        WHERE account_id = 1 AND kind = 'REVERSAL'
    """,
}


ROW = StageRow(1, "PKH", "T1", 9, 9, 0, 0, 0, "OPEN", False, DAY, DAY, None, None, 9, 0, 0, 9, 0, 1)  # noqa: FBT003


async def _paid_and_reversed(town: World) -> None:
    cash = town.terminals[0].request("CASH", town.members[1].card, 20_000)
    await town.settle(await town.put([(cash, town.processes[0])]))
    await town.settle(await town.put([(cash.terminal.reversal(cash, 10_000), town.processes[1])]))


async def test_honest_books(town: World) -> None:
    """Nothing is found, and model and bank agree."""
    await _paid_and_reversed(town)
    numbers = sorted(town.members)
    for number, books in (await invariants.read(town.home, numbers)).items():
        assert invariants.agree(town.families[number], books) is None
    await invariants.check_totals(town.home, town.real_families(), town.treasury, town.settled_idr)
    await invariants.prove(town.home)


@pytest.mark.parametrize("fault", FAULTS)
async def test_books_with_a_fault(town: World, fault: str) -> None:
    """Put in as only the owner of the database could."""
    await _paid_and_reversed(town)
    if fault == "paid twice":
        await as_owner(town.home, "UPDATE tranche SET available_idr = 2 * available_idr, amount_idr = 2 * amount_idr")
        await as_owner(town.home, "UPDATE purse SET available_idr = 2 * available_idr")
    await as_owner(town.home, FAULTS[fault])
    with pytest.raises(Violated, match=fault if fault != "paid twice" else "paid twice|tranche = journal"):
        await invariants.read(town.home, [1])


async def test_what_only_the_model_sees(town: World) -> None:
    """Books that agree with themselves and not with what happened: stages, movements, cards, answers."""
    await _paid_and_reversed(town)
    (books,) = (await invariants.read(town.home, [1])).values()
    family = town.families[1]
    for change, said in (
        ("stages", "the family was credited"), ("transfers", "the journal of"), ("cards", "the family's cards"),
        ("decided", "the bank has decided"),
    ):  # fmt: skip
        other = Books(list(books.stages), books.transfers, dict(books.cards), books.since, dict(books.decided))
        if change == "transfers":
            other.transfers += 1
        else:
            getattr(other, change).clear()
        assert said in (invariants.agree(family, other) or "")
    moved = books.stages[0]._replace(available_idr=books.stages[0].available_idr + 1)
    assert "the family's stage is" in (
        invariants.agree(family, Books([moved, *books.stages[1:]], 0, {}, DAY, {})) or ""
    )


async def test_totals_that_do_not_add_up(town: World) -> None:
    """The treasury knows what it gave, terminals what they paid."""
    town.treasury.funded_idr["PKH"] = town.treasury.funded_idr.get("PKH", 0) + 1
    with pytest.raises(Violated, match="conservation: families, terminals and treasury"):
        await invariants.check_totals(town.home, town.real_families(), town.treasury, town.settled_idr)


async def test_a_broken_chain(town: World) -> None:
    """Audit events are part of the proof."""
    await visits.visit(town)
    await as_owner(town.home, "UPDATE audit_event SET actor = 'nobody' WHERE stream = 'operations' AND seq = 3")
    with pytest.raises(Violated, match="proof: chain operations"):
        await invariants.prove(town.home)


@pytest.mark.parametrize("changes", [{"held_idr": -1}, {"returned_idr": 1}])
def test_components(changes: dict[str, int]) -> None:
    """None below zero, and together no more than was credited; the database would refuse it first."""
    with pytest.raises(Violated, match="components: account 1, PKH T1"):
        invariants._check_stage(ROW._replace(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("days", "changes", "said"),
    [
        (89, {}, ""),
        (90, {}, "due to be blocked"),
        (95, {"state": "BLOCKED", "blocked_on": 90}, ""),
        (95, {"state": "BLOCKED", "blocked_on": 89}, "blocked on"),
        (106, {"state": "BLOCKED", "blocked_on": 90}, "due to be frozen"),
        (106, {"used": True}, ""),
        (106, {"state": "AT_RPL", "available_idr": 0, "frozen_on": 106}, ""),
        (106, {"state": "AT_RPL", "available_idr": 0, "frozen_on": 105}, "frozen on"),
        (106, {"state": "FROZEN", "available_idr": 0, "frozen_idr": 9, "frozen_on": 106}, "still frozen"),
    ],
)
def test_clocks(days: int, changes: dict[str, object], said: str) -> None:
    """Nothing before its day, nothing left open past it."""
    on = {
        name: DAY + dt.timedelta(days=int(str(changes[name])))
        for name in ("blocked_on", "frozen_on")
        if name in changes
    }
    books = {1: Books([ROW._replace(**changes | on)], 1, {}, DAY, {})}  # type: ignore[arg-type]
    programmes = {one.code: one for one in PROGRAMMES}
    today = DAY + dt.timedelta(days=days)
    if said:
        with pytest.raises(Violated, match=said):
            invariants.check_clocks(books, programmes, today)
    else:
        invariants.check_clocks(books, programmes, today)
