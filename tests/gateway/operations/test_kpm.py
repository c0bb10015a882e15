"""Tests of gateway.operations.kpm."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.operations import kpm, opening
from gateway.simulator.families import FAULTS, write_kpm_list
from gateway.store import batches
from tests.gateway.lists import good_rows, read_rows, write_rows
from tests.gateway.owner import as_owner, exclude, one_value
from tests.gateway.world import CHECKER, MAKER, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.operations.kpm import ImportSummary
    from tests.gateway.lists import Row

FAMILIES = "SELECT count(*), count(DISTINCT nik_index), count(DISTINCT kk_index) FROM family"
CARDS = "SELECT count(*), count(DISTINCT account_id), count(DISTINCT pan_index) FROM card"


async def _import(bank: Bank, path: Path, sk: str = "SK-1") -> ImportSummary:
    return await kpm.import_list(bank, MAKER, path, sk, bank.business_date)


async def _each_family_once(bank: Bank, families: int) -> None:
    assert (families,) * 3 == tuple((await as_owner(bank, FAMILIES))[0])
    assert (families,) * 3 == tuple((await as_owner(bank, CARDS))[0])
    assert families == await one_value(bank, "SELECT count(*) FROM account")


async def test_a_list_is_judged_and_opened(bank: Bank, tmp_path: Path) -> None:
    """Every accepted family gets one account and one card."""
    found = await open_families(bank, tmp_path, 20)
    assert len({one.account_number for one in found}) == 20
    await _each_family_once(bank, 20)


async def test_the_maker_cannot_decide(bank: Bank, tmp_path: Path) -> None:
    """The person who imported a list can neither approve nor reject it, however the name is written."""
    path = tmp_path / "list.csv"
    write_kpm_list(path, 5)
    summary = await _import(bank, path)
    with pytest.raises(Refused, match="another person must approve"):
        await kpm.approve(bank, MAKER.upper(), summary.batch)
    with pytest.raises(Refused, match="another person must decide"):
        await kpm.reject(bank, f" {MAKER}", summary.batch, "no")
    assert (await kpm.approve(bank, CHECKER, summary.batch)).accepted == 5


async def test_every_fault_is_counted_by_its_reason(bank: Bank, tmp_path: Path) -> None:
    """A list with every kind of fault twice: the reasons are those faults, and only a missing mother's name is let in."""
    path = tmp_path / "faults.csv"
    made = write_kpm_list(path, 80, faults=2)
    assert set(FAULTS) == set(made)
    summary = await _import(bank, path)
    assert made == summary.reasons
    rejected = sum(made.values()) - made["MOTHER_NAME_EMPTY"]
    assert (80, 80 - rejected, rejected, 2) == (summary.rows, summary.accepted, summary.rejected, summary.warnings)
    opened = await kpm.approve(bank, CHECKER, summary.batch)
    assert summary == opened
    await _each_family_once(bank, summary.accepted)
    assert 2 == await one_value(bank, "SELECT count(*) FROM account WHERE state = 'PENDING_ID'")


def _second_list(rows: list[Row]) -> list[Row]:
    """What a later list says of the families of rows 0 to 3, and four more."""
    pkh = {"PROGRAM": "PKH", "KOMPONEN": "SD:1"}
    born = {name: rows[1][name] for name in ("NAMA", "TGL_LAHIR", "JENIS_KELAMIN", "NAMA_IBU_KANDUNG")}
    nik = rows[6]["NIK"][:6] + rows[1]["NIK"][6:12] + rows[6]["NIK"][12:]
    return [
        rows[0] | {"PROGRAM": "PKH+SEMBAKO", "KOMPONEN": "SD:1"},
        rows[1],
        rows[2] | pkh,
        rows[4] | {"NO_KK": rows[3]["NO_KK"]},
        rows[5],
        rows[6] | born | {"NIK": nik},
        rows[7],
    ]


async def test_a_second_list_makes_no_second_card(bank: Bank, tmp_path: Path) -> None:
    """NIK, No KK or person with a KKS, and the excluded, are rejected; a further programme goes to the first card."""
    rows = good_rows(tmp_path, 8)
    first = await _import(bank, write_rows(tmp_path / "first.csv", rows[:4]))
    await kpm.approve(bank, CHECKER, first.batch)
    for row in (rows[2], rows[5]):
        await exclude(bank, row["NIK"], bank.business_date)
    second = await _import(bank, write_rows(tmp_path / "second.csv", _second_list(rows)), "SK-2")
    reasons = {"DUP_NIK_EXISTING_KKS": 2, "DUP_KK_EXISTING_KKS": 1, "DUP_PERSON": 1, "EXCLUDED": 2}
    assert reasons == second.reasons
    assert (1, 6) == (second.accepted, second.rejected)
    await kpm.approve(bank, CHECKER, second.batch)
    await _each_family_once(bank, 5)
    enrolled = await as_owner(
        bank, "SELECT family_id, array_agg(programme ORDER BY programme) FROM enrolment GROUP BY 1 ORDER BY 1"
    )
    assert [[1, 2], [2], [2], [2], [2]] == [list(row[1]) for row in enrolled]

    await kpm.write_result_file(bank, CHECKER, second.batch, tmp_path / "out.csv")
    result = read_rows(tmp_path / "out.csv")
    assert ["BUREKOL_GAGAL"] * 6 + ["BUREKOL_SUKSES"] == [row["KODE_STATUS"] for row in result]
    accounts = [row[0] for row in await as_owner(bank, "SELECT number FROM account ORDER BY id")]
    assert [accounts[0], "", "", "", "", "", accounts[4]] == [row["NO_REKENING"].lstrip("'") for row in result]
    assert "routed to the first card" in result[0]["KETERANGAN"]
    assert "EXCLUDED" in result[2]["KETERANGAN"]


async def test_who_is_excluded_after_the_import_is_not_opened(bank: Bank, tmp_path: Path) -> None:
    """The exclusion list is asked on the day of approval; one that has ended by then keeps nobody out."""
    rows = good_rows(tmp_path, 3)
    today = bank.business_date
    summary = await _import(bank, write_rows(tmp_path / "list.csv", rows))
    await exclude(bank, rows[0]["NIK"], today + timedelta(days=2))
    await exclude(bank, rows[1]["NIK"], today - timedelta(days=9), today + timedelta(days=1))
    bank.moved_date = today + timedelta(days=2)
    opened = await kpm.approve(bank, CHECKER, summary.batch)
    assert (2, {"EXCLUDED": 1}) == (opened.accepted, opened.reasons)
    await _each_family_once(bank, 2)


async def test_the_same_file_is_refused(bank: Bank, tmp_path: Path) -> None:
    """A file is known by its content: another name or SK number does not make it new, nor does a rejection."""
    path, copy = tmp_path / "list.csv", tmp_path / "copy.csv"
    write_kpm_list(path, 3)
    copy.write_bytes(path.read_bytes())
    summary = await _import(bank, path)
    await kpm.reject(bank, CHECKER, summary.batch, "wrong month")
    with pytest.raises(Refused, match=rf"^copy.csv was imported before, as list {summary.batch} \(same SHA-256\)$"):
        await _import(bank, copy, "SK-2")


async def test_a_bad_file_changes_nothing(bank: Bank, tmp_path: Path) -> None:
    """A file or command that is refused leaves no list, no row and no event."""
    path = tmp_path / "list.csv"
    header, rows = good_rows(tmp_path, 1)[0], good_rows(tmp_path, 2)
    before = await one_value(bank, "SELECT count(*) FROM audit_event")
    for content in (b"", b"\x00\x01binary", b"NIK;NAMA\n1;2\n", ";".join(header).encode() + b"\n"):
        path.write_bytes(content)
        with pytest.raises(Refused, match=r"list\.csv"):
            await _import(bank, path)
    write_rows(path, rows)
    with pytest.raises(Refused, match="after the business date"):
        await kpm.import_list(bank, MAKER, path, "SK-1", bank.business_date + timedelta(days=1))
    with pytest.raises(Refused, match="number of the SK"):
        await _import(bank, path, "  ")
    with pytest.raises(Refused, match="user name"):
        await kpm.import_list(bank, " ", path, "SK-1", bank.business_date)
    assert (0, 0, before) == tuple(
        (
            await as_owner(
                bank,
                "SELECT (SELECT count(*) FROM kpm_batch), (SELECT count(*) FROM kpm_row), count(*) FROM audit_event",
            )
        )[0]
    )
    assert 2 == (await _import(bank, path)).accepted


async def test_the_result_file_adds_three_columns(bank: Bank, tmp_path: Path) -> None:
    """The result holds the ministry's rows as they came, each with account number, status and explanation."""
    rows = good_rows(tmp_path, 4)
    rows[1]["NAMA_IBU_KANDUNG"] = "-"
    rows[2]["NIK"] = rows[2]["NIK"][:15]
    summary = await _import(bank, write_rows(tmp_path / "list.csv", rows))
    await kpm.write_result_file(bank, MAKER, summary.batch, tmp_path / "early.csv")
    early = [row["KODE_STATUS"] for row in read_rows(tmp_path / "early.csv")]
    assert ["BUREKOL_PROSES", "BUREKOL_PROSES", "BUREKOL_GAGAL", "BUREKOL_PROSES"] == early
    await kpm.approve(bank, CHECKER, summary.batch)
    await kpm.write_result_file(bank, MAKER, summary.batch, tmp_path / "out.csv")
    result = read_rows(tmp_path / "out.csv")
    assert [*rows[0], "NO_REKENING", "KODE_STATUS", "KETERANGAN"] == list(result[0])
    assert [row["NAMA"] for row in rows] == [row["NAMA"] for row in result]
    assert [True, True, False, True] == [bool(row["NO_REKENING"]) for row in result]
    assert "BUREKOL_SUKSES" == result[1]["KODE_STATUS"]
    assert "MOTHER_NAME_EMPTY" in result[1]["KETERANGAN"]
    assert "NIK_INVALID" in result[2]["KETERANGAN"]
    assert "" == result[3]["KETERANGAN"]


async def test_approval_goes_on_after_a_failure(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that broke between and inside chunks is resumed, and opens each family exactly once."""
    monkeypatch.setattr(kpm, "CHUNK", 3)
    summary = await _import(bank, write_rows(tmp_path / "list.csv", good_rows(tmp_path, 7)))
    chunks = 0

    async def broken_chunk(*arguments: object) -> int:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            raise ConnectionError
        return await open_chunk(*arguments)  # type: ignore[arg-type]

    open_chunk = opening.open_chunk
    with monkeypatch.context() as broken:
        broken.setattr(opening, "open_chunk", broken_chunk)
        with pytest.raises(ConnectionError):
            await kpm.approve(bank, CHECKER, summary.batch)
    await _each_family_once(bank, 3)

    async def broken_mark(*_arguments: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(batches, "mark_opened", broken_mark)
        with pytest.raises(ConnectionError):
            await kpm.approve(bank, CHECKER, summary.batch)
    await _each_family_once(bank, 3)
    assert "OPENING" == await one_value(bank, "SELECT state FROM kpm_batch")
    assert 7 == (await kpm.approve(bank, CHECKER, summary.batch)).accepted
    await _each_family_once(bank, 7)
    assert 0 == await one_value(bank, "SELECT count(*) FROM kpm_chunk WHERE family_record IS NOT NULL")
    with pytest.raises(Refused, match="is DONE: approve is not possible"):
        await kpm.approve(bank, CHECKER, summary.batch)


async def test_a_programme_that_has_ended_stops_the_opening(bank: Bank, tmp_path: Path) -> None:
    """A list whose programme is not in force on the day of approval is refused in one line; nothing is opened."""
    summary = await _import(bank, write_rows(tmp_path / "list.csv", good_rows(tmp_path, 2)))
    await as_owner(bank, "UPDATE programme SET valid_to = valid_from WHERE code = 'SEMBAKO'")
    with pytest.raises(Refused, match=rf"^list {summary.batch} names SEMBAKO: not in force on {bank.business_date}$"):
        await kpm.approve(bank, CHECKER, summary.batch)
    await _each_family_once(bank, 0)


async def test_two_approvals_at_once_open_each_family_once(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people who approve at the same moment share the work; no family is opened twice."""
    monkeypatch.setattr(kpm, "CHUNK", 2)
    summary = await _import(bank, write_rows(tmp_path / "list.csv", good_rows(tmp_path, 9)))
    work = [kpm.approve(bank, name, summary.batch) for name in (CHECKER, "second checker")]
    done = await asyncio.gather(*work, return_exceptions=True)
    assert [] == [one for one in done if isinstance(one, BaseException) and not isinstance(one, Refused)]
    assert any(not isinstance(one, BaseException) and one.accepted == 9 for one in done)
    await _each_family_once(bank, 9)
    assert "DONE" == await one_value(bank, "SELECT state FROM kpm_batch")


async def test_a_rejected_list_is_never_opened(bank: Bank, tmp_path: Path) -> None:
    """A rejection needs a reason and ends the list; a list that is not there is said so."""
    summary = await _import(bank, write_rows(tmp_path / "list.csv", good_rows(tmp_path, 2)))
    with pytest.raises(Refused, match="needs a reason"):
        await kpm.reject(bank, CHECKER, summary.batch, " ")
    await kpm.reject(bank, CHECKER, summary.batch, "wrong month")
    with pytest.raises(Refused, match="is REJECTED"):
        await kpm.approve(bank, CHECKER, summary.batch)
    with pytest.raises(NotFound, match="there is no list 99"):
        await kpm.approve(bank, CHECKER, 99)
    await _each_family_once(bank, 0)


async def test_rows_are_copied_in_chunks_and_findings_are_masked(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress adds up to the rows of the list, and a finding never shows a whole identity number."""
    monkeypatch.setattr(kpm, "CHUNK", 4)
    rows = good_rows(tmp_path, 10)
    rows[8]["JENIS_KELAMIN"] = "L" if rows[8]["JENIS_KELAMIN"] == "P" else "P"
    seen: list[int] = []
    path = write_rows(tmp_path / "list.csv", rows)
    summary = await kpm.import_list(bank, MAKER, path, "SK-1", bank.business_date, seen.append)
    assert [4, 4, 2] == seen
    ((line, finding),) = await kpm.findings(bank, summary.batch)
    assert (10, "NIK_MISMATCH") == (line, finding["code"])
    assert rows[8]["NIK"] not in str(finding)
