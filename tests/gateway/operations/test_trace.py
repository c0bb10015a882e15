"""Tests of gateway.operations.trace: the chains from both ends meet."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.operations.correction import take_back
from gateway.operations.trace import ROWS_MAX, follow
from gateway.rules.trace import Level, Step, Trace
from tests.gateway.aid_story import FIRST, NTPN, PAID_BY, SECOND, archive_2026, live, live_through, live_until
from tests.gateway.owner import as_owner, one_value
from tests.gateway.world import CHECKER, MAKER, holders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.operations.bank import Bank

SP2DS_OF = """
    SELECT a.id, a.rrn, a.business_date, a.transfer_ids, array_agg(DISTINCT t.sp2d_no ORDER BY t.sp2d_no) AS sp2ds,
           array_agg(DISTINCT x.id ORDER BY x.id) AS transfers
    FROM authorisation a JOIN transfer x ON x.source = 'authorisation' AND x.source_id = a.id
    JOIN tranche t ON t.id = x.tranche_id GROUP BY 1, 2, 3, 4 ORDER BY 1
"""
TRANSFERS_OF = """
    SELECT x.id FROM transfer x JOIN tranche t ON t.id = x.tranche_id WHERE t.sp2d_no = :no ORDER BY x.id
"""


def _walk(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        yield from _walk(step.steps)


def _of(trace: Trace, level: Level) -> list[Step]:
    return [step for step in _walk(trace.steps) if step.level is level]


def _references(trace: Trace, level: Level) -> list[str]:
    return [step.reference for step in _of(trace, level)]


async def test_from_the_top_every_transfer_is_reached_once(bank: Bank, tmp_path: Path) -> None:
    """After every deed the tree of an SP2D holds each transfer of its tranches exactly once, and agrees with every tranche."""
    async for _ in live(bank, tmp_path):
        for sp2d_no in await _sp2ds(bank):
            found = await follow(bank, f"sp2d:{sp2d_no}")
            expected = [f"transfer:{row.id}" for row in await as_owner(bank, TRANSFERS_OF, no=sp2d_no)]
            assert sorted(expected) == sorted(_references(found, Level.TRANSFER))
            assert [] == [step for step in _of(found, Level.TRANCHE) if "DISAGREES" in step.text]
            (sp2d,) = found.steps
            (si,) = sp2d.steps
            decided = sum(row.amount_idr for row in si.steps)
            assert (sp2d.amount_idr, decided) == (si.amount_idr, si.amount_idr if si.kind == "POSTED" else 0)
            for row in si.steps:
                assert row.amount_idr == sum(tranche.amount_idr for tranche in row.steps) or not row.steps


async def test_from_the_bottom_every_authorisation_reaches_its_sp2d(bank: Bank, tmp_path: Path) -> None:
    """Each authorisation, each of its transfers and its RRN lead to the SP2Ds whose tranches it moved, and to nothing else."""
    await live_through(bank, tmp_path)
    moved = await as_owner(bank, SP2DS_OF)
    assert 12 == len(moved)
    from_the_top = {
        sp2d_no: {step.cause for step in _of(await follow(bank, f"sp2d:{sp2d_no}"), Level.TRANSFER)}
        for sp2d_no in (FIRST, SECOND)
    }
    for row in moved:
        expected = [f"sp2d:{sp2d_no}" for sp2d_no in row.sp2ds]
        found = await follow(bank, f"authorisation:{row.id}")
        assert expected == _references(found, Level.SP2D)
        assert {f"transfer:{number}" for number in row.transfer_ids} == found.asked
        assert {f"transfer:{number}" for number in row.transfers} <= set(_references(found, Level.TRANSFER))
        assert all(f"authorisation:{row.id}" in from_the_top[sp2d_no] for sp2d_no in row.sp2ds)
        for number in row.transfers:
            assert f"transfer:{number}" in _references(await follow(bank, f"transfer:{number}"), Level.TRANSFER)
        by_rrn = await follow(bank, f"rrn:{row.rrn}", on=row.business_date)
        assert set(expected) <= set(_references(by_rrn, Level.SP2D))
        assert found.asked <= by_rrn.asked
        assert found.steps == (await follow(bank, f"authorisation:{row.id}", on=row.business_date)).steps
    assert {one for causes in from_the_top.values() for one in causes if one.startswith("authorisation:")} == {
        f"authorisation:{row.id}" for row in moved
    }


async def test_a_withdrawal_out_of_two_tranches(bank: Bank, tmp_path: Path) -> None:
    """It has two chains, one an SP2D, and their parts are the whole."""
    await live_through(bank, tmp_path)
    number = await one_value(bank, "SELECT id FROM authorisation WHERE amount_idr = 550000")
    found = await follow(bank, f"authorisation:{number}")
    assert [f"sp2d:{FIRST}", f"sp2d:{SECOND}"] == _references(found, Level.SP2D)
    assert [450_000, 100_000] == [step.amount_idr for step in _of(found, Level.TRANSFER)]
    assert all("a part of Rp550.000" in step.text for step in _of(found, Level.TRANSFER))


async def test_a_reversal_is_shown_with_what_it_reverses(bank: Bank, tmp_path: Path) -> None:
    """From the reversal up one comes to the withdrawal, and the other way round."""
    await live_through(bank, tmp_path)
    row = (
        await as_owner(bank, "SELECT id, reversed_by FROM authorisation WHERE amount_idr = 200000 AND reversed_by > 0")
    )[0]
    one, other = await follow(bank, f"authorisation:{row.id}"), await follow(bank, f"authorisation:{row.reversed_by}")
    assert one.steps == other.steps
    assert one.asked != other.asked
    paid, back = _of(one, Level.TRANSFER)
    assert (back, 200_000, 50_000) == (paid.steps[-1], paid.amount_idr, back.amount_idr)


async def test_money_paid_out_ends_at_its_settlement(bank: Bank, tmp_path: Path) -> None:
    """Below each transfer of the first day stands its settlement; together they are what was settled. The next day has none."""
    await live_through(bank, tmp_path)
    settled: dict[str, int] = {}
    for sp2d_no in (FIRST, SECOND):
        for step in _of(await follow(bank, f"sp2d:{sp2d_no}"), Level.TRANSFER):
            for below in [one for one in step.steps if one.level is Level.SETTLEMENT]:
                assert below.text.endswith(f": PAID, evidence {PAID_BY}")
                sign = -1 if step.kind == "REVERSAL" else 1
                settled[below.reference] = settled.get(below.reference, 0) + sign * below.amount_idr
            if step.amount_idr == 10_000 and step.kind == "REVERSAL":
                assert "is not settled" in step.text
    rows = await as_owner(bank, "SELECT id, net_idr FROM settlement")
    assert {f"settlement:{row.id}": row.net_idr for row in rows} == settled


async def test_a_return_by_any_of_its_papers(bank: Bank, tmp_path: Path) -> None:
    """Number, RPL evidence, deposit evidence, NTPN and the treasury transfer lead to the same chains, receipts at their ends."""
    await live_through(bank, tmp_path)
    (row,) = await as_owner(bank, "SELECT * FROM treasury_return WHERE ntpn IS NOT NULL")
    deposit = await one_value(bank, "SELECT id FROM transfer WHERE kind = 'RETURN' AND source_id = :id", id=row.id)
    subjects = (f"return:{row.id}", f"evidence:{row.rpl_evidence}", f"evidence:{row.deposit_evidence}",
                f"ntpn:{NTPN.lower()}", f"transfer:{deposit}")  # fmt: skip
    traces = [await follow(bank, subject) for subject in subjects]
    assert 1 == len({trace.steps for trace in traces})
    assert {frozenset({f"return:{row.id}"})} == {trace.asked for trace in traces}
    ends = _of(traces[0], Level.RETURN)
    assert (row.tranches, row.amount_idr) == (len(ends), sum(step.amount_idr for step in ends))
    assert all(NTPN in step.text and row.deposit_evidence in step.text for step in ends)
    assert {"TO_RPL"} == {step.kind for step in _of(traces[0], Level.TRANSFER)}
    first = await follow(bank, f"return:{row.id}", rows=1)
    second = await follow(bank, f"return:{row.id}", rows=1, after=first.next_after or 0)
    assert None is second.next_after
    assert _of(traces[0], Level.TRANCHE) == _of(first, Level.TRANCHE) + _of(second, Level.TRANCHE)


async def test_a_correction_stands_below_what_it_corrects(bank: Bank, tmp_path: Path) -> None:
    """From the withdrawal or from the correction, one sees both, and the tranche agrees with its journal."""
    await live_until(bank, tmp_path, "cash at an ATM")
    number = await one_value(bank, "SELECT id FROM transfer WHERE kind = 'WITHDRAWAL'")
    account = (await holders(bank))[0].account_number
    (new,) = (await take_back(bank, MAKER, CHECKER, account, number, "letter 12/X")).transfers
    one, other = await follow(bank, f"transfer:{number}"), await follow(bank, f"transfer:{new}")
    assert one.steps == other.steps
    paid, back = _of(one, Level.TRANSFER)
    assert ((back,), f"transfer:{new}", "CORRECTION") == (paid.steps, back.reference, back.kind)
    assert "letter 12/X, made by maker, checked by checker" in back.text
    assert [] == [step for step in _of(one, Level.TRANCHE) if "DISAGREES" in step.text]


async def test_a_tranche_whose_beginning_is_in_the_archive(bank: Bank, tmp_path: Path) -> None:
    """It says so, agrees with what is left of its journal, and still leads to the treasury."""
    await live_through(bank, tmp_path)
    await archive_2026(bank)
    found = await follow(bank, f"sp2d:{FIRST}")
    tranches = _of(found, Level.TRANCHE)
    assert 4 == sum("its older transfers are in the archive" in step.text for step in tranches)
    assert [] == [step for step in tranches if "DISAGREES" in step.text]
    assert {"FREEZE", "TO_RPL"} == {step.kind for step in _of(found, Level.TRANSFER)}
    assert 2 == len(_of(found, Level.RETURN))


async def test_rows_a_page_at_a_time(bank: Bank, tmp_path: Path) -> None:
    """Pages of an SP2D, an SI and an account put together are all their rows, in the order of the list."""
    await live_through(bank, tmp_path)
    number = (await holders(bank))[1].account_number
    for subject, level in ((f"sp2d:{FIRST}", Level.ROW), ("si:SI-1", Level.ROW), (f"account:{number}", Level.TRANCHE)):
        whole = _references(await follow(bank, subject), level)
        pages: list[str] = []
        after: int | None = 0
        while after is not None:
            page = await follow(bank, subject, rows=1, after=after)
            assert 1 == len(_references(page, level))
            pages += _references(page, level)
            after = page.next_after
        assert whole == pages
    assert [f"si:SI-1:{line}" for line in range(2, 7)] == _references(await follow(bank, "si:SI-1"), Level.ROW)


async def test_one_row_and_one_tranche(bank: Bank, tmp_path: Path) -> None:
    """A row that was credited leads to its tranche, one that failed to its reason; a tranche leads back to its row."""
    await live_through(bank, tmp_path)
    row = await follow(bank, "si:SI-1:4")
    (tranche,) = _references(row, Level.TRANCHE)
    assert row.steps == (await follow(bank, tranche)).steps
    assert frozenset({"si:SI-1:4"}) == row.asked
    (failed,) = _of(await follow(bank, "si:SI-1:6"), Level.ROW)
    assert ("TOPUP_GAGAL", ()) == (failed.kind, failed.steps)


async def test_what_moved_nothing(bank: Bank, tmp_path: Path) -> None:
    """A refusal and a balance are told as such, without a chain; SP2D money arriving leads to its SI."""
    await live_through(bank, tmp_path)
    rows = await as_owner(bank, "SELECT id FROM authorisation WHERE transfer_ids = '{}' ORDER BY kind DESC")
    steps = [(await follow(bank, f"authorisation:{row.id}")).steps for row in rows]
    assert [[Level.AUTHORISATION]] * 2 == [[step.level for step in one] for one in steps]
    assert ["refused: INSUFFICIENT_FUNDS", "moved nothing"] == [one[0].text.split(": ", 1)[1] for one in steps]
    fund = await one_value(bank, "SELECT min(id) FROM transfer WHERE kind = 'FUND'")
    found = await follow(bank, f"transfer:{fund}")
    assert (["si:SI-1"], []) == (_references(found, Level.SI), _references(found, Level.ROW))


async def test_bad_subjects(bank: Bank, tmp_path: Path) -> None:
    """Each is one clear line."""
    await live_until(bank, tmp_path, "it is approved and credited, but for one row")
    number = (await holders(bank))[4].account_number
    for subject, line in (
        ("sp2d:S-9", "there is no SP2D S-9"),
        ("si:SI-9", "there is no SI SI-9"),
        ("si:SI-9:2", "there is no SI SI-9:2"),
        ("si:SI-1:1", "SI SI-1 has no row 1 that was credited or refused"),
        ("si:SI-1:9223372036854775807", "SI SI-1 has no row 9223372036854775807 that was credited or refused"),
        ("account:1", "there is no account 1"),
        (f"account:{number}", f"account {number} was never credited"),
        ("tranche:99", "there is no tranche 99"),
        ("transfer:999999", "there is no transfer 999999"),
        ("authorisation:999999", "there is no authorisation 999999"),
        ("return:9", "there is no return 9"),
        ("evidence:RPL-9", "there is no return with evidence RPL-9"),
        ("ntpn:9", "there is no return with NTPN 9"),
    ):
        with pytest.raises(NotFound) as refused:
            await follow(bank, subject)
        assert line == str(refused.value)
    with pytest.raises(NotFound, match=f"there is no authorisation with RRN 1 on {bank.business_date}"):
        await follow(bank, "rrn:1", on=bank.business_date)
    tomorrow = bank.business_date + timedelta(days=1)
    with pytest.raises(NotFound, match=f"there is no transfer 2 on {tomorrow}"):
        await follow(bank, "transfer:2", on=tomorrow)
    for subject, line in (("rrn:1", "needs its business date"), ("nonsense", "is not one of sp2d:")):
        with pytest.raises(Refused, match=line):
            await follow(bank, subject)
    with pytest.raises(Refused, match="a date narrows"):
        await follow(bank, "tranche:1", on=bank.business_date)
    for rows, after in ((0, 0), (ROWS_MAX + 1, 0), (1, -1)):
        with pytest.raises(Refused, match="rows"):
            await follow(bank, "si:SI-1", rows=rows, after=after)


async def test_nobody_is_named(bank: Bank, tmp_path: Path) -> None:
    """No name, NIK or card number of a family is in any trace."""
    await live_through(bank, tmp_path)
    told = repr(await follow(bank, f"sp2d:{FIRST}")) + repr(await follow(bank, f"sp2d:{SECOND}"))
    for one in await holders(bank):
        assert one.name not in told
        assert one.nik not in told
        assert one.pan.reveal() not in told
        assert one.account_number in told


async def _sp2ds(bank: Bank) -> list[str]:
    return [row.no for row in await as_owner(bank, "SELECT no FROM sp2d ORDER BY no")]
