"""Tests of gateway.operations.instruction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import NotFound, Refused
from gateway.operations import instruction, proof
from gateway.operations.instruction import SiResult, Sp2d
from gateway.store import crediting
from tests.gateway.lists import read_rows
from tests.gateway.owner import as_owner, exclude, one_value
from tests.gateway.world import CHECKER, MAKER, credit, open_families, write_si

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.operations.instruction import SiSummary
    from tests.gateway.world import Holder

AMOUNT_IDR = 200_000
FUND = """
    SELECT coalesce(sum(CASE WHEN credit / 1000 = 2 THEN amount_idr ELSE -amount_idr END), 0) FROM transfer
    WHERE 2 IN (credit / 1000, debit / 1000)
"""
LEDGER = """
    SELECT t.account_id, t.kind, t.debit, t.credit, t.amount_idr, r.stage, r.si_line
    FROM transfer t LEFT JOIN tranche r ON (r.cell, r.account_id, r.id) = (t.cell, t.account_id, t.tranche_id)
    ORDER BY t.account_id, r.id
"""


def _row(
    holder: Holder,
    stage: str = "2026-T4",
    months: str = "2026-10",
    amount_idr: int = AMOUNT_IDR,
    programme: str = "SEMBAKO",
) -> list[str]:
    return [holder.nik, holder.account_number, holder.name, programme, stage, months, str(amount_idr), holder.region]


async def _propose(
    bank: Bank, folder: Path, rows: list[list[str]], si: str = "SI-1", more_idr: int = 0, count: int | None = None
) -> SiSummary:
    total = sum(int(row[6]) for row in rows) + more_idr
    path = write_si(folder / f"{si}.csv", rows)
    return await instruction.import_instruction(
        bank, MAKER, path, si, Sp2d(f"SP2D-{si}", bank.business_date, total, count)
    )


async def _proved(bank: Bank) -> None:
    assert [] == [f"{check.name}: {check.detail}" for check in await proof.prove_ledger(bank) if not check.ok]


@pytest.mark.parametrize(("more_idr", "count"), [(1, None), (-1, None), (0, 3), (0, 1)])
async def test_a_list_that_is_not_its_sp2d_never_credits(
    bank: Bank, tmp_path: Path, more_idr: int, count: int | None
) -> None:
    """One rupiah or one row more or less: the SI is a MISMATCH, cannot be approved, and no money moves."""
    families = await open_families(bank, tmp_path, 2)
    summary = await _propose(bank, tmp_path, [_row(one) for one in families], more_idr=more_idr, count=count)
    assert ("MISMATCH", 2, 2 * AMOUNT_IDR) == (summary.status, summary.rows, summary.amount_idr)
    with pytest.raises(Refused, match=r"SI SI-1 cannot be approved: (its rows add up|it has 2 rows)"):
        await instruction.approve(bank, CHECKER, "SI-1")
    assert 0 == await one_value(bank, "SELECT count(*) FROM transfer")
    await instruction.reject(bank, CHECKER, "SI-1", "wrong list")
    await _proved(bank)


def _rows_that_fail(h: list[Holder]) -> list[list[str]]:
    return [
        _row(h[0]),
        _row(replace(h[1], account_number="99990000123458")),
        _row(replace(h[2], nik=h[3].nik)),
        _row(replace(h[3], name="ORANG LAIN")),
        _row(h[4]),
        _row(h[5]),
        _row(h[6], months="2026-10,2026-11"),
        _row(h[6], months="2026-10,2026-11"),
        _row(h[6], stage="2026-T5", months="2026-11"),
        _row(h[7]),
        _row(h[7], stage="2026-T9"),
        _row(h[8], programme="XYZ"),
        _row(h[8], stage="nonsense"),
    ]


EXPECTED = [
    "", "ACCOUNT_NOT_FOUND", "NIK_MISMATCH", "NAME_MISMATCH", "ACCOUNT_NOT_ACTIVE", "EXCLUDED", "", "DUP_ROW", "DUP_ROW",
    "ALREADY_PAID", "ALREADY_PAID", "PROGRAM_UNKNOWN", "ROW_INVALID",
]  # fmt: skip


async def test_rows_that_cannot_be_credited_keep_their_money_in_the_fund(bank: Bank, tmp_path: Path) -> None:
    """Each such row becomes TOPUP_GAGAL with its own reason; the rest is credited, and the ledger holds."""
    families = await open_families(bank, tmp_path, 9)
    await credit(bank, tmp_path, [families[7]], AMOUNT_IDR, si="SI-0", months=("2026-10",))
    await as_owner(
        bank, "UPDATE account SET state = 'BLOCKED' WHERE number = :number", number=families[4].account_number
    )
    await exclude(bank, families[5].nik, bank.business_date)
    rows = _rows_that_fail(families)
    assert "PROPOSED" == (await _propose(bank, tmp_path, rows, count=len(rows))).status
    done = await instruction.approve(bank, CHECKER, "SI-1")
    counted = {code: EXPECTED.count(code) for code in set(EXPECTED) - {""}}
    assert SiResult("SI-1", "POSTED", 2, 11, 2 * AMOUNT_IDR, counted) == done
    assert 11 * AMOUNT_IDR == await one_value(bank, FUND)
    await _proved(bank)

    assert done == await instruction.result(bank, MAKER, "SI-1", tmp_path / "out.csv")
    written = read_rows(tmp_path / "out.csv")
    assert [row[5] for row in rows] == [row["BULAN"] for row in written]
    statuses = ["TOPUP_GAGAL" if code else "TOPUP_SUKSES" for code in EXPECTED]
    assert statuses == [row["KODE_STATUS"] for row in written]
    assert EXPECTED == [row["KETERANGAN"].split(" ")[0].rstrip(":") for row in written]


async def test_the_earlier_chunk_counts_as_this_si(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that stands twice in an SI is DUP_ROW also where the two are credited in different transactions."""
    monkeypatch.setattr(instruction, "CHUNK", 1)
    (family,) = await open_families(bank, tmp_path, 1)
    await _propose(bank, tmp_path, [_row(family), _row(family)])
    assert {"DUP_ROW": 1} == (await instruction.approve(bank, CHECKER, "SI-1")).reasons


async def test_several_stages_may_stand_in_one_si(bank: Bank, tmp_path: Path) -> None:
    """A family is paid each stage of an SI as a tranche of its own; blocked PENDING_ID accounts are credited as well."""
    (family,) = await open_families(bank, tmp_path, 1)
    await as_owner(bank, "UPDATE account SET state = 'PENDING_ID'")
    rows = [_row(family, "2026-T3", "2026-07,2026-08,2026-09"), _row(family, "2026-T4", "2026-10,2026-11", 400_000)]
    await _propose(bank, tmp_path, rows)
    done = await instruction.approve(bank, CHECKER, "SI-1")
    assert (2, 600_000) == (done.credited, done.credited_idr)
    found = await as_owner(
        bank, "SELECT stage, months, amount_idr, available_idr, state, sp2d_no FROM tranche ORDER BY stage"
    )
    assert [
        ("2026-T3", ["2026-07", "2026-08", "2026-09"], 200_000, 200_000, "OPEN", "SP2D-SI-1"),
        ("2026-T4", ["2026-10", "2026-11"], 400_000, 400_000, "OPEN", "SP2D-SI-1"),
    ] == [tuple(row) for row in found]
    assert 600_000 == await one_value(bank, "SELECT available_idr FROM purse")


async def test_what_was_seen_before_is_refused(bank: Bank, tmp_path: Path) -> None:
    """The same file, SI number or SP2D is refused in one line that says which."""
    families = await open_families(bank, tmp_path, 2)
    await _propose(bank, tmp_path, [_row(families[0])])
    today = bank.business_date
    same, other = tmp_path / "SI-1.csv", write_si(tmp_path / "other.csv", [_row(families[1])])
    for path, si, sp2d, message in (
        (same, "SI-2", "SP2D-2", r"this file was imported before, as SI SI-1 \(same SHA-256\)"),
        (other, "SI-1", "SP2D-2", "SI SI-1 was imported before"),
        (other, "SI-2", "SP2D-SI-1", "SP2D SP2D-SI-1 belongs to SI SI-1 already"),
        (other, " ", "SP2D-2", "numbers of the SI and of the SP2D are needed"),
    ):
        with pytest.raises(Refused, match=message):
            await instruction.import_instruction(bank, MAKER, path, si, Sp2d(sp2d, today, AMOUNT_IDR))
    with pytest.raises(Refused, match="must be positive rupiah, not 0"):
        await instruction.import_instruction(bank, MAKER, other, "SI-2", Sp2d("SP2D-2", today, 0))
    other.write_text(other.read_text().splitlines()[0] + "\n")
    with pytest.raises(Refused, match=r"other.csv has a header and no rows"):
        await instruction.import_instruction(bank, MAKER, other, "SI-2", Sp2d("SP2D-2", today, 1))
    assert 1 == await one_value(bank, "SELECT count(*) FROM si")
    with pytest.raises(NotFound, match="there is no SI SI-9"):
        await instruction.approve(bank, CHECKER, "SI-9")


async def test_the_right_list_may_follow_a_wrong_one(bank: Bank, tmp_path: Path) -> None:
    """An SI that disagreed with its SP2D is not in the way of the corrected one: same SI number, same SP2D, same file."""
    families = await open_families(bank, tmp_path, 2)
    rows = [[h.nik, h.account_number, h.name, "SEMBAKO", "2026-T4", "2026-10", "200000", h.region] for h in families]
    path = write_si(tmp_path / "si.csv", rows)
    mistyped = Sp2d("SP2D-9", bank.business_date, 500_000)
    wrong = await instruction.import_instruction(bank, MAKER, path, "SI-9", mistyped)
    assert "MISMATCH" == wrong.status
    right = await instruction.import_instruction(bank, MAKER, path, "SI-9", replace(mistyped, amount_idr=400_000))
    assert "PROPOSED" == right.status
    paid = await instruction.approve(bank, CHECKER, "SI-9")
    assert (2, 400_000) == (paid.credited, paid.credited_idr)
    assert all(check.ok for check in await proof.prove_ledger(bank))
    with pytest.raises(Refused, match="imported before"):
        await instruction.import_instruction(bank, MAKER, path, "SI-9", replace(mistyped, amount_idr=400_000))


async def test_two_people_and_one_credit(bank: Bank, tmp_path: Path) -> None:
    """The maker cannot decide; a posted SI can be neither approved nor rejected again, and was credited once."""
    families = await open_families(bank, tmp_path, 2)
    await _propose(bank, tmp_path, [_row(one) for one in families])
    with pytest.raises(Refused, match="another person must approve"):
        await instruction.approve(bank, " MAKER ", "SI-1")
    with pytest.raises(Refused, match="another person must decide"):
        await instruction.reject(bank, "Maker", "SI-1", "no")
    with pytest.raises(Refused, match="needs a reason"):
        await instruction.reject(bank, CHECKER, "SI-1", "")
    before = await one_value(bank, "SELECT count(*) FROM transfer")
    seen: list[int] = []
    await instruction.approve(bank, CHECKER, "SI-1", seen.append)
    assert (0, 2) == (before, sum(seen))
    for work in (instruction.approve(bank, "third", "SI-1"), instruction.reject(bank, "third", "SI-1", "late")):
        with pytest.raises(Refused, match="SI SI-1 is POSTED"):
            await work
    assert 2 * AMOUNT_IDR == await one_value(bank, "SELECT sum(available_idr) FROM purse")
    assert 2 == await one_value(bank, "SELECT count(*) FROM transfer WHERE kind = 'CREDIT'")


async def test_a_broken_run_ends_in_the_same_ledger(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off inside its second chunk and resumed, an SI is funded once and leaves what an unbroken run leaves."""
    monkeypatch.setattr(instruction, "CHUNK", 2)
    families = await open_families(bank, tmp_path, 8)
    calls = 0

    async def break_third(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - handed on
        nonlocal calls
        calls += 1
        number = calls  # lanes work side by side
        await store_credit(*arguments, **options)
        if number == 3:
            raise ConnectionError

    store_credit = crediting.credit
    await _propose(bank, tmp_path, [_row(one) for one in families])
    with monkeypatch.context() as broken:
        broken.setattr(crediting, "credit", break_third)
        with pytest.raises(ConnectionError):
            await instruction.approve(bank, CHECKER, "SI-1")
    state, done = (await as_owner(bank, "SELECT state, (SELECT count(*) FROM tranche) FROM si"))[0]
    assert "POSTING" == state
    assert 0 < done < 8
    await _proved(bank)
    await instruction.result(bank, MAKER, "SI-1", tmp_path / "half.csv")
    told = [row["KODE_STATUS"] for row in read_rows(tmp_path / "half.csv")]
    assert (done, 8 - done) == (told.count("TOPUP_SUKSES"), told.count("SI"))

    result = await instruction.approve(bank, CHECKER, "SI-1")
    assert ("POSTED", 8, 0) == (result.status, result.credited, result.failed)
    ledger = [tuple(row) for row in await as_owner(bank, LEDGER)]
    fund = (0, "FUND", 1000, 2002, 8 * AMOUNT_IDR, None, None)
    credited = [(n, "CREDIT", 2002, n * 10_000 + 20, AMOUNT_IDR, "2026-T4", n + 1) for n in range(1, 9)]
    assert [fund, *credited] == ledger
    assert 0 == await one_value(bank, "SELECT count(*) FROM si_part WHERE staged IS NOT NULL")
    await _proved(bank)


async def test_money_may_be_spent_from_a_date_on(bank: Bank, tmp_path: Path) -> None:
    """The programme's days after the credit, or a later date of the SI; the clock begins there."""
    families = await open_families(bank, tmp_path, 1)
    await as_owner(bank, "UPDATE programme SET available_after_days = 3")
    today = bank.business_date
    for si, stage, asked, days in (("A", "2026-T4", None, 3), ("B", "2027-T1", 1, 3), ("C", "2027-T2", 9, 9)):
        path = write_si(tmp_path / f"{si}.csv", [_row(families[0], stage, f"{stage[:4]}-0{stage[-1]}")])
        sp2d = Sp2d(f"SP2D-{si}", today, AMOUNT_IDR)
        since = None if asked is None else today + timedelta(days=asked)
        await instruction.import_instruction(bank, MAKER, path, si, sp2d, available_from=since)
        await instruction.approve(bank, CHECKER, si)
        (row,) = await as_owner(
            bank, "SELECT available_from, clock_from, credited_on FROM tranche WHERE stage = :s", s=stage
        )
        from_date = today + timedelta(days=days)
        assert (from_date, from_date, today) == tuple(row)


async def test_rows_tell_their_tranche(bank: Bank, tmp_path: Path) -> None:
    """A credited row has the whole key of its tranche; a refused one its account, where there is one; no name is kept."""
    families = await open_families(bank, tmp_path, 3)
    rows = [
        _row(families[0]),
        _row(replace(families[1], name="ORANG LAIN")),
        _row(replace(families[2], account_number="9" * 15)),
    ]
    await _propose(bank, tmp_path, rows)
    await instruction.approve(bank, CHECKER, "SI-1")
    found = await as_owner(bank, """
        SELECT r.line, r.account_id, r.account_number, r.holder_name, t.si_line FROM si_row r
        LEFT JOIN tranche t ON (t.cell, t.account_id, t.id) = (r.cell, r.account_id, r.tranche_id) ORDER BY r.line
    """)  # fmt: skip
    ids = [families[0].family_id, families[1].family_id, None]
    numbers = [row[1] for row in rows]
    assert list(zip([2, 3, 4], ids, numbers, [None] * 3, [2, None, None], strict=True)) == [tuple(row) for row in found]


async def test_two_approvers_at_once_credit_once(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people who approve at the same moment take turns; each family is credited once and the SI is funded once."""
    monkeypatch.setattr(instruction, "CHUNK", 2)
    families = await open_families(bank, tmp_path, 7)
    await _propose(bank, tmp_path, [_row(one) for one in families])
    work = [instruction.approve(bank, name, "SI-1") for name in (CHECKER, "second checker")]
    done = await asyncio.gather(*work, return_exceptions=True)
    assert [] == [one for one in done if isinstance(one, BaseException) and not isinstance(one, Refused)]
    assert any(isinstance(one, SiResult) and one.credited == 7 for one in done)
    counts = await as_owner(bank, "SELECT kind, count(*), sum(amount_idr) FROM transfer GROUP BY kind ORDER BY kind")
    assert [("CREDIT", 7, 7 * AMOUNT_IDR), ("FUND", 1, 7 * AMOUNT_IDR)] == [tuple(row) for row in counts]
    await _proved(bank)


async def test_two_instructions_at_once_do_not_pay_a_stage_twice(bank: Bank, tmp_path: Path) -> None:
    """The same stage in two SIs that are approved at the same moment is paid by one of them."""
    families = await open_families(bank, tmp_path, 3)
    await _propose(bank, tmp_path, [_row(one) for one in families], "SI-1")
    await _propose(bank, tmp_path, [_row(one) for one in reversed(families)], "SI-2")
    done = await asyncio.gather(*(instruction.approve(bank, CHECKER, si) for si in ("SI-1", "SI-2")))
    assert 3 == sum(one.credited for one in done)
    assert 3 == sum(one.reasons.get("ALREADY_PAID", 0) for one in done)
    assert 3 * AMOUNT_IDR == await one_value(bank, FUND)
    await _proved(bank)
