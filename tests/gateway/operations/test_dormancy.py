"""Tests of gateway.operations.dormancy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.operations import dormancy, proof
from gateway.operations.bank import transaction
from gateway.operations.setup import load_policy
from gateway.store import tranches
from gateway.store.audit import Operation
from ledger import book
from ledger.chart import Control
from ledger.posting import Account, Draw, Kind, Source, spend
from tests.gateway.owner import as_owner, one_value
from tests.gateway.world import CHECKER, MAKER, credit, open_families

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from gateway.operations.bank import Bank

RUN = 7
AMOUNT_IDR = 600_000
NOTICES = "SELECT notice, days, count(*), sum(amount_idr) FROM dormancy_notice GROUP BY 1, 2 ORDER BY 2, 1"
STATES = "SELECT state, count(*) FROM tranche GROUP BY state ORDER BY state"


async def _after(bank: Bank, days: int) -> date:
    """The date DAYS after the first credit."""
    first: date = await one_value(bank, "SELECT min(credited_on) FROM tranche")
    return first + timedelta(days=days)


async def _day(bank: Bank, days: int) -> tuple[int, int, int]:
    """The clocks of the day DAYS after the credit: how many tranches were warned, blocked and frozen."""
    on = await _after(bank, days)
    steps = (dormancy.warn, dormancy.block, dormancy.freeze_unused)
    warned, blocked, frozen = [(await step(bank, on, RUN)).tranches for step in steps]
    return warned, blocked, frozen


async def _use(bank: Bank, amount_idr: int) -> None:
    """The first family takes cash from its first tranche today."""
    (row,) = await as_owner(bank, "SELECT cell, account_id, id, programme FROM tranche ORDER BY id LIMIT 1")
    source = Source("authorisation", 1, bank.business_date)
    draws = [Draw(row.id, row.programme, amount_idr)]
    async with transaction(bank, "test") as tx:
        await book.post(
            tx.connection,
            spend(Account(row.cell, row.account_id), draws, Kind.WITHDRAWAL, Control.ATM_SETTLEMENT, source),
        )
        await tx.record(Operation.AUTHORISE, "a test's own withdrawal", decided=[])


async def _states(bank: Bank) -> dict[str, int]:
    return {row[0]: row[1] for row in await as_owner(bank, STATES)}


async def _proved(bank: Bank) -> None:
    assert [] == [f"{check.name}: {check.detail}" for check in await proof.prove_ledger(bank) if not check.ok]


async def test_the_clocks_from_credit_to_treasury(bank: Bank, tmp_path: Path) -> None:
    """Warned on day 60 and 80, blocked on day 90, frozen on day 106, debited to RPL, returned; each once, with evidence."""
    families = await open_families(bank, tmp_path, 3)
    await credit(bank, tmp_path, families, AMOUNT_IDR)
    expected = {
        59: (0, 0, 0),
        60: (3, 0, 0),
        61: (0, 0, 0),
        80: (3, 0, 0),
        89: (0, 0, 0),
        90: (0, 3, 0),
        105: (0, 0, 0),
    }
    assert expected == {days: await _day(bank, days) for days in expected}
    assert {"BLOCKED": 3} == await _states(bank)
    assert (0, 0, 3) == await _day(bank, 106)
    assert (0, 0, 0) == await _day(bank, 106)
    total = 3 * AMOUNT_IDR
    assert [("WARN", 60, 3, total), ("WARN", 80, 3, total), ("BLOCK", 90, 3, total), ("FREEZE", 106, 3, total)] == [
        tuple(row) for row in await as_owner(bank, NOTICES)
    ]
    assert (0, total) == tuple((await as_owner(bank, "SELECT sum(available_idr), sum(frozen_idr) FROM purse"))[0])
    await _proved(bank)

    on = await _after(bank, 106)
    debit = await dormancy.debit_to_rpl(bank, on, RUN)
    assert (3, total, 1) == (debit.tranches, debit.amount_idr, len(debit.evidence))
    assert {"AT_RPL": 3} == await _states(bank)
    await _proved(bank)
    assert 0 == (await dormancy.debit_to_rpl(bank, on, RUN)).tranches
    back = await dormancy.return_unused(bank, on, RUN)
    assert (3, total, 1) == (back.tranches, back.amount_idr, len(back.evidence))
    assert {"RETURNED": 3} == await _states(bank)
    assert 0 == (await dormancy.return_unused(bank, on, RUN)).tranches
    await _proved(bank)
    found = await proof.equation(bank)
    assert (total, total, total, 0) == tuple(
        found[f"{name}_idr"] for name in ("credited", "frozen", "returned", "remaining")
    )
    (row,) = await as_owner(bank, "SELECT rpl_evidence, deposit_evidence, amount_idr, tranches FROM treasury_return")
    assert (debit.evidence[0], back.evidence[0], total, 3) == tuple(row)
    kinds = await as_owner(
        bank, "SELECT kind, count(*) FROM transfer WHERE kind IN ('FREEZE', 'TO_RPL', 'RETURN') GROUP BY 1 ORDER BY 1"
    )
    assert [("FREEZE", 3), ("RETURN", 1), ("TO_RPL", 3)] == [tuple(one) for one in kinds]


async def test_a_used_tranche_is_left_alone(bank: Bank, tmp_path: Path) -> None:
    """Aid of which a part was used is never warned, blocked or frozen; the family's untouched tranche is."""
    families = await open_families(bank, tmp_path, 1)
    await credit(bank, tmp_path, families, AMOUNT_IDR)
    await credit(bank, tmp_path, families, AMOUNT_IDR, si="SI-2", stage="2026-T5", months=("2027-01",))
    await _use(bank, 50_000)
    assert (1, 0, 0) == await _day(bank, 60)
    assert (0, 1, 0) == await _day(bank, 90)
    assert (0, 0, 1) == await _day(bank, 200)
    assert {"OPEN": 1, "FROZEN": 1} == await _states(bank)
    assert (550_000, 600_000) == tuple((await as_owner(bank, "SELECT available_idr, frozen_idr FROM purse"))[0])


async def test_a_policy_file_makes_an_exception_for_a_region(bank: Bank, tmp_path: Path) -> None:
    """A region that the ministry excepts keeps its aid; every other region goes on by the usual clocks."""
    families = await open_families(bank, tmp_path, 6)
    await credit(bank, tmp_path, families, AMOUNT_IDR)
    region = families[0].region
    there = sum(one.region == region for one in families)
    assert 0 < there < 6
    path = tmp_path / "flood.toml"
    path.write_text(f"""
        [[clock]]
        region_prefix = "{region}"
        warn_days = [100]
        reason = "flood: letter 12/2026"
        valid_from = 2026-01-01
    """)
    assert 1 == await load_policy(bank, MAKER, path)
    assert (6 - there, 0, 0) == await _day(bank, 60)
    assert (0, 6 - there, 0) == await _day(bank, 90)
    assert (there, 0, 0) == await _day(bank, 100)
    assert (0, 0, 6 - there) == await _day(bank, 300)
    assert {"OPEN": there, "FROZEN": 6 - there} == await _states(bank)


async def test_unblocking_restarts_the_clock(bank: Bank, tmp_path: Path) -> None:
    """Opened again by two people, aid can be spent for another 105 days from that day; other accounts stay blocked."""
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families, AMOUNT_IDR)
    await _day(bank, 90)
    bank.moved_date = await _after(bank, 100)
    done = await dormancy.unblock(bank, MAKER, CHECKER, "letter 7", account_number=families[0].account_number)
    assert (1, AMOUNT_IDR) == (done.tranches, done.amount_idr)
    assert (0, 0, 1) == await _day(bank, 106)
    assert (0, 0, 0) == await _day(bank, 159)
    assert (1, 0, 0) == await _day(bank, 160)
    assert (0, 1, 0) == await _day(bank, 190)
    assert (0, 0, 0) == await _day(bank, 205)
    assert (0, 0, 1) == await _day(bank, 206)
    await _proved(bank)


async def test_unblocking_needs_two_people_a_reason_and_a_place(bank: Bank, tmp_path: Path) -> None:
    """What is not complete is refused and opens nothing; a region is digits and nothing that matches more."""
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families, AMOUNT_IDR)
    await _day(bank, 90)
    for maker, checker in (("siti", " SITI"), ("siti", ""), ("siti", "  ")):
        with pytest.raises(Refused, match="two different people"):
            await dormancy.unblock(bank, maker, checker, "letter", region_prefix="1271")
    with pytest.raises(Refused, match="needs a reason"):
        await dormancy.unblock(bank, MAKER, CHECKER, " ", region_prefix="1271")
    with pytest.raises(Refused, match="account number or a region"):
        await dormancy.unblock(bank, MAKER, CHECKER, "letter")
    for region in ("%", "12_1", "12.71"):
        with pytest.raises(Refused, match="first digits of its code"):
            await dormancy.unblock(bank, MAKER, CHECKER, "letter", region_prefix=region)
    assert 0 == (await dormancy.unblock(bank, MAKER, CHECKER, "letter", region_prefix="99")).tranches
    assert {"BLOCKED": 2} == await _states(bank)
    assert 2 == (await dormancy.unblock(bank, MAKER, CHECKER, "letter", region_prefix="1271")).tranches
    assert {"OPEN": 2} == await _states(bank)
    who = "SELECT actor, detail::jsonb ->> 'checker' FROM audit_event WHERE operation = 'aid.unblock' ORDER BY seq DESC LIMIT 1"
    assert (MAKER, CHECKER) == tuple((await as_owner(bank, who))[0])


async def test_a_broken_debit_goes_on_with_what_is_left(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that broke after its first page is taken up under the same number and debits the rest, nothing twice."""
    monkeypatch.setattr(dormancy, "PAGE", 1)
    families = await open_families(bank, tmp_path, 3)
    await credit(bank, tmp_path, families, AMOUNT_IDR)
    assert (0, 0, 3) == await _day(bank, 106)
    on = await _after(bank, 106)
    pages = 0

    async def breaks(*arguments: object) -> int:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise ConnectionError
        return await create_return(*arguments)  # type: ignore[arg-type]

    create_return = tranches.create_return
    with monkeypatch.context() as broken:
        broken.setattr(tranches, "create_return", breaks)
        with pytest.raises(ConnectionError):
            await dormancy.debit_to_rpl(bank, on, RUN)
    assert {"AT_RPL": 1, "FROZEN": 2} == await _states(bank)
    assert 2 == (await dormancy.debit_to_rpl(bank, on, RUN)).tranches
    assert 3 == await one_value(bank, "SELECT count(DISTINCT rpl_evidence) FROM treasury_return")
    recorded = (
        "SELECT jsonb_array_length(detail::jsonb -> 'evidence') FROM audit_event WHERE detail LIKE '%debit to RPL%'"
    )
    assert 3 == sum(row[0] for row in await as_owner(bank, recorded))
    await _proved(bank)


async def test_a_deposit_made_meanwhile_is_not_made_again(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A return that another run deposited after it was looked up is passed over."""
    families = await open_families(bank, tmp_path, 1)
    await credit(bank, tmp_path, families, AMOUNT_IDR)
    await _day(bank, 106)
    on = await _after(bank, 106)
    await dormancy.debit_to_rpl(bank, on, RUN)
    async with bank.database.engine.connect() as connection:
        looked_up = await tranches.returns(connection, "AT_RPL")
    await dormancy.return_unused(bank, on, RUN)

    async def stale(*_arguments: object) -> list[tranches.TreasuryReturn]:
        return looked_up

    monkeypatch.setattr(tranches, "returns", stale)
    assert 0 == (await dormancy.return_unused(bank, on, RUN + 1)).tranches
    await _proved(bank)


async def test_the_treasurys_receipt_is_kept(bank: Bank, tmp_path: Path) -> None:
    """An NTPN has 16 letters and digits, belongs to one deposit that was made, and is not changed."""
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families[:1], AMOUNT_IDR)
    await credit(bank, tmp_path, families[1:], AMOUNT_IDR, si="SI-2")
    await _day(bank, 106)
    on = await _after(bank, 106)
    await dormancy.debit_to_rpl(bank, on, RUN)
    first, second = [row[0] for row in await as_owner(bank, "SELECT id FROM treasury_return ORDER BY id")]
    with pytest.raises(Refused, match="is AT_RPL: nothing was deposited yet"):
        await dormancy.confirm_receipt(bank, CHECKER, first, "A" * 16)
    await dormancy.return_unused(bank, on, RUN)
    for wrong in ("A" * 15, "A" * 17, "A" * 15 + "-"):
        with pytest.raises(Refused, match="16 letters and digits"):
            await dormancy.confirm_receipt(bank, CHECKER, first, wrong)
    assert "A" * 16 == (await dormancy.confirm_receipt(bank, CHECKER, first, " " + "a" * 16)).ntpn
    assert "A" * 16 == (await dormancy.confirm_receipt(bank, CHECKER, first, "A" * 16)).ntpn
    with pytest.raises(Refused, match=r"has the receipt A{16} already"):
        await dormancy.confirm_receipt(bank, CHECKER, first, "B" * 16)
    with pytest.raises(Refused, match=r"the receipt A{16} belongs to another return"):
        await dormancy.confirm_receipt(bank, CHECKER, second, "A" * 16)
    with pytest.raises(NotFound, match="there is no return 99"):
        await dormancy.confirm_receipt(bank, CHECKER, 99, "B" * 16)


async def test_the_clock_counts_from_the_day_it_can_be_spent(bank: Bank, tmp_path: Path) -> None:
    """Money of a programme with days to wait is warned, blocked and frozen so many days later."""
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families, AMOUNT_IDR)
    later = await _after(bank, 14)
    await as_owner(bank, "UPDATE tranche SET available_from = :later, clock_from = :later", later=later)
    seen = {days: await _day(bank, days) for days in (60, 74, 90, 103, 104, 119, 120)}
    assert {
        60: (0, 0, 0), 74: (2, 0, 0), 90: (0, 0, 0), 103: (0, 0, 0), 104: (0, 2, 0), 119: (0, 0, 0), 120: (0, 0, 2),
    } == seen  # fmt: skip
