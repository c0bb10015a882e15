"""Tests of gateway.operations.whereabouts: every rupiah of an SP2D, after every deed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.operations import instruction
from gateway.operations.correction import take_back
from gateway.operations.whereabouts import Where, whereabouts
from tests.gateway.aid_story import AID_IDR, FIRST, OLDER_IDR, SECOND, archive_2026, live, live_until
from tests.gateway.owner import as_owner, tamper
from tests.gateway.street import assert_proved
from tests.gateway.world import CHECKER, MAKER, holders, open_families, write_si

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

UNSETTLED = "not yet settled with the partner"
WRONG = """
    SELECT id FROM transfer WHERE (kind = 'CREDIT' AND account_id = :account) OR kind = 'WITHDRAWAL' ORDER BY kind
"""
CLOSED = "settlement closed, not yet paid to the partner"
PAID = "settled with the partner and paid"
FAILED = "TOPUP_GAGAL NAME_MISMATCH, in the programme's account"
Amounts = dict[tuple[Where, str], int]


async def _amounts(bank: Bank, sp2d_no: str) -> Amounts:
    found = await whereabouts(bank, sp2d_no)
    assert found.adds_up
    assert found.amount_idr == found.found_idr == sum(found.total_idr(where) for where in Where)
    return {(place.where, place.condition): place.amount_idr for place in found.places}


async def test_the_whole_story_adds_up_after_every_deed(bank: Bank, tmp_path: Path) -> None:
    """Whatever happened last, the places of an SP2D are the SP2D; some of them are looked at closely."""
    seen: dict[str, Amounts] = {}
    async for deed in live(bank, tmp_path):
        seen[deed] = await _amounts(bank, FIRST)
        if not deed.startswith(("a list", "it is approved")):
            await _amounts(bank, SECOND)
    await assert_proved(bank)
    assert {(Where.NOT_CREDITED, "rows waiting for the SI's approval"): AID_IDR * 5} == seen["a list is in"]
    credited = seen["it is approved and credited, but for one row"]
    assert {(Where.NOT_CREDITED, FAILED): AID_IDR, (Where.AT_FAMILIES, "available"): AID_IDR * 4} == credited
    assert 200_000 == seen["cash at an ATM"][Where.ATM, UNSETTLED]
    assert 150_000 == seen["a part of it reversed"][Where.ATM, UNSETTLED]
    assert 450_000 == seen["cash at an agent, out of two tranches"][Where.AGENT, UNSETTLED]
    assert 450_000 == seen["cash that was reversed whole"][Where.AGENT, UNSETTLED]
    assert 135_000 == seen["goods"][Where.EWARONG, UNSETTLED]
    assert 110_000 == seen["some of them brought back"][Where.EWARONG, UNSETTLED]
    assert 50_000 == seen["money held"][Where.AT_FAMILIES, "held"]
    completed = seen["the hold completed, and what is over released"]
    assert (150_000, None) == (completed[Where.EWARONG, UNSETTLED], completed.get((Where.AT_FAMILIES, "held")))
    assert seen["money that stays held"] == seen["a refusal and a balance"]
    next_day = seen["more goods brought back, the day after"]
    assert (140_000, 440_000) == (
        next_day[Where.EWARONG, UNSETTLED],
        next_day[Where.AT_FAMILIES, "available"] - AID_IDR * 2,
    )
    for deed, condition in (("the partner's first day is closed", CLOSED), ("and paid", PAID)):
        assert 150_000 == seen[deed][Where.EWARONG, condition]
        assert -10_000 == seen[deed][Where.EWARONG, UNSETTLED]
        assert (150_000, None) == (seen[deed][Where.ATM, condition], seen[deed].get((Where.ATM, UNSETTLED)))
    lapsed = seen["a hold that nobody completed has lapsed"]
    assert (1_660_000, None) == (lapsed[Where.AT_FAMILIES, "available"], lapsed.get((Where.AT_FAMILIES, "held")))
    assert AID_IDR * 2 == seen["unused aid is blocked"][Where.AT_FAMILIES, "blocked"]
    assert AID_IDR * 2 == seen["unused aid is frozen"][Where.AT_FAMILIES, "frozen"]
    assert AID_IDR * 2 == seen["it is debited to RPL"][Where.AT_RPL, "on its way to kas negara"]
    assert AID_IDR * 2 == seen["it is back at kas negara"][Where.AT_KAS_NEGARA, "without NTPN yet"]
    assert AID_IDR * 2 == seen["the treasury has sent its receipt"][Where.AT_KAS_NEGARA, "with NTPN"]


async def test_the_second_sp2d_has_its_own_money(bank: Bank, tmp_path: Path) -> None:
    """A withdrawal out of two tranches counts for each SP2D with its own part."""
    await live_until(bank, tmp_path, "cash at an agent, out of two tranches")
    own = await _amounts(bank, SECOND)
    assert {(Where.AT_FAMILIES, "available"): OLDER_IDR * 2 - 100_000, (Where.AGENT, UNSETTLED): 100_000} == own


async def test_money_that_may_not_be_spent_yet_is_told_apart(bank: Bank, tmp_path: Path) -> None:
    """A tranche before its first day is the family's and not available."""
    await live_until(bank, tmp_path, "it is approved and credited, but for one row")
    await tamper(
        bank, "tranche", "UPDATE tranche SET available_from = credited_on + 1 WHERE id = (SELECT min(id) FROM tranche)"
    )
    found = await _amounts(bank, FIRST)
    assert AID_IDR == found[Where.AT_FAMILIES, "not yet available"]
    assert AID_IDR * 3 == found[Where.AT_FAMILIES, "available"]


async def test_an_sp2d_without_a_valid_si_is_not_credited(bank: Bank, tmp_path: Path) -> None:
    """An SI that disagrees with its SP2D, or is rejected, leaves all of it where it is; an unknown SP2D is one line."""
    (family,) = await open_families(bank, tmp_path, 1)
    row = [family.nik, family.account_number, family.name, "SEMBAKO", "2026-T4", "2026-10", "200000", family.region]
    path = write_si(tmp_path / "si.csv", [row])
    await instruction.import_instruction(
        bank, MAKER, path, "SI-1", instruction.Sp2d("S-1", bank.business_date, 200_001)
    )
    assert {(Where.NOT_CREDITED, "no SI in force: SI-1 is MISMATCH"): 200_001} == await _amounts(bank, "S-1")
    with pytest.raises(NotFound, match="there is no SP2D S-2"):
        await whereabouts(bank, "S-2")


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("tranche", "UPDATE tranche SET available_idr = available_idr - 1 WHERE id = (SELECT min(id) FROM tranche)"),
        ("si_row", "UPDATE si_row SET amount_idr = amount_idr + 1 WHERE state = 'TOPUP_GAGAL'"),
        ("transfer", "DELETE FROM transfer WHERE kind = 'WITHDRAWAL'"),
        ("transfer", "UPDATE transfer SET amount_idr = amount_idr + 1 WHERE kind = 'WITHDRAWAL'"),
    ],
)
async def test_a_missing_rupiah_is_seen(bank: Bank, tmp_path: Path, table: str, statement: str) -> None:
    """Tranches, rows and journal each tell their part: a rupiah changed in one of them and the sum is not the SP2D."""
    await live_until(bank, tmp_path, "cash at an ATM")
    await tamper(bank, table, statement)
    assert not (await whereabouts(bank, FIRST)).adds_up


async def test_corrections_add_up(bank: Bank, tmp_path: Path) -> None:
    """A credit taken back is the programme's again; a payment that did not happen is taken off where it was paid."""
    await live_until(bank, tmp_path, "cash at an ATM")
    families = await holders(bank)
    credited, paid = [row[0] for row in await as_owner(bank, WRONG, account=families[2].family_id)]
    await take_back(bank, MAKER, CHECKER, families[2].account_number, credited, "letter 1", 250_000)
    await take_back(bank, MAKER, CHECKER, families[0].account_number, paid, "letter 2")
    found = await _amounts(bank, FIRST)
    assert (200_000, -200_000) == (found[Where.ATM, UNSETTLED], found[Where.ATM, "by correction"])
    assert 250_000 == found[Where.CORRECTED, "back in the programme's account, by correction"]
    assert AID_IDR * 4 - 250_000 == found[Where.AT_FAMILIES, "available"]


async def test_what_is_in_the_archive_is_still_counted(bank: Bank, tmp_path: Path) -> None:
    """When the months of the credit are detached, what left in them is one sum, and all of it is the SP2D."""
    await live_until(bank, tmp_path, "it is debited to RPL")
    before = await _amounts(bank, FIRST)
    await archive_2026(bank)
    after = await _amounts(bank, FIRST)
    paid = sum(amount for (where, _), amount in before.items() if where in (Where.ATM, Where.AGENT, Where.EWARONG))
    assert paid == after[Where.ARCHIVED, "paid out or corrected"]
    kept = {place: amount for place, amount in after.items() if place[0] is not Where.ARCHIVED}
    assert kept == {place: before[place] for place in kept}
    assert AID_IDR * 2 == after[Where.AT_RPL, "on its way to kas negara"]
