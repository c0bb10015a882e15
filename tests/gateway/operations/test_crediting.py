"""Tests of gateway.operations.crediting: SQL decides as the rule says, whatever the rows and however they fall into parts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from gateway.operations import crediting, instruction
from gateway.operations.instruction import Sp2d
from gateway.operations.si_chunk import STAGED_COLUMNS
from gateway.rules.account import AccountState
from gateway.rules.credit import CreditAccount, CreditReason, CreditRow, refuse_credit
from gateway.rules.names import comparable
from gateway.store import copy_format as field
from gateway.store import instructions
from tests.gateway.owner import as_owner, exclude, one_value
from tests.gateway.world import CHECKER, MAKER, credit, open_families, write_si

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank
    from gateway.store.instructions import Instruction
    from tests.gateway.world import Holder

KNOWN = {"PKH": 1, "SEMBAKO": 2}
S = AccountState
STATES = (S.ACTIVE, S.PENDING_ID, S.BLOCKED, S.CLOSED, S.ACTIVE, S.ACTIVE)
EXCLUDED, UNNAMED = 4, 5  # places of the family on the exclusion list, and of the one without a comparable name
NOBODY = len(STATES)


@dataclass(frozen=True)
class Asked:
    """A row of an SI, in terms of the six families; NOBODY is one that the bank does not know."""

    account: int
    nik: int | None
    name: int | None
    programme: str | None
    stage: str | None
    months: tuple[str, ...] | None
    amount_idr: int | None


MONTHS = st.lists(
    st.sampled_from(["2027-01", "2027-02", "2027-03", "2027-04"]), min_size=1, max_size=2, unique=True
).map(tuple)
STAGES = st.sampled_from(["2027-T1", "2027-T2", "2027-T3", "2027-T4"])
PLACES = st.integers(0, NOBODY)
GOOD = st.builds(
    lambda family, programme, stage, months: Asked(family, family, family, programme, stage, months, 1_000),
    st.sampled_from([0, 0, 1, UNNAMED, 2, EXCLUDED]), st.sampled_from(["SEMBAKO", "SEMBAKO", "PKH"]), STAGES, MONTHS,
)  # fmt: skip
"""A row with nothing wrong in itself: what it meets is another of its family, in this part or another, or in another SI."""
NEARLY = st.one_of(
    st.builds(replace, GOOD, nik=PLACES | st.none()), st.builds(replace, GOOD, name=PLACES | st.none()),
    st.builds(replace, GOOD, account=PLACES), st.builds(replace, GOOD, programme=st.sampled_from(["BLT", None])),
    st.builds(replace, GOOD, stage=st.none()), st.builds(replace, GOOD, months=st.just(()) | st.none()),
    st.builds(replace, GOOD, amount_idr=st.none()),
)  # fmt: skip
"""A row with one thing wrong."""
ANY = st.builds(
    Asked, PLACES, PLACES | st.none(), PLACES | st.none(), st.sampled_from(["SEMBAKO", "BLT", None]), STAGES | st.none(),
    MONTHS | st.just(()) | st.none(), st.sampled_from([1_000, 2_000, None]),
)  # fmt: skip
PARTS = st.lists(st.lists(GOOD | GOOD | NEARLY | ANY, min_size=1, max_size=8), min_size=1, max_size=3)


@dataclass
class Town:
    """Six families and an SI to credit them by."""

    bank: Bank
    families: list[Holder]
    si: Instruction
    paid: dict[int, dict[str, set[str]]]

    @classmethod
    async def settle(cls, bank: Bank, folder: Path) -> Town:
        """Families in every state; one is excluded, one was paid before, one has no comparable name."""
        families = await open_families(bank, folder, len(STATES))
        await credit(bank, folder, families[:2], 1_000, stage="2027-T1", months=("2027-01",), si="SI-0")
        for holder, state in zip(families, STATES, strict=True):
            await as_owner(bank, "UPDATE account SET state = :s WHERE id = :id", s=state.value, id=holder.family_id)
        await as_owner(
            bank, "UPDATE account SET holder_comparable = NULL WHERE id = :id", id=families[UNNAMED].family_id
        )
        await exclude(bank, families[EXCLUDED].nik, bank.business_date)
        path = write_si(folder / "si.csv", [[families[0].nik, *["x"] * 5, "1000", ""]])
        await instruction.import_instruction(bank, MAKER, path, "SI-1", Sp2d("SP2D-1", bank.business_date, 1_000))
        async with bank.database.engine.connect() as connection:
            si = await instructions.read(connection, "SI-1")
        paid = {place: {"SEMBAKO": {"2027-T1", "2027-01"}} for place in (0, 1)}
        return cls(bank, families, si, paid)

    def staged(self, line: int, row: Asked) -> bytes:
        """The row as COPY takes it."""
        number = self.families[row.account].account_number if row.account < NOBODY else "99999999"
        months = field.NULL if row.months is None else field.text_array(row.months)
        return b"".join((
            field.row_start(len(STAGED_COLUMNS)), field.int4(line), field.raw_or_null(self.index(row.nik)), field.text(number),
            field.text_or_null(None if row.name is None else comparable(self.name(row.name))),
            field.text_or_null(row.programme), field.text_or_null(row.stage), months,
            field.int8_or_null(row.amount_idr), field.NULL,
        ))  # fmt: skip

    def index(self, place: int | None) -> bytes | None:
        """What a row's NIK is found by."""
        if place is None:
            return None
        return self.bank.vault.index(self.families[place].nik if place < NOBODY else "0" * 16, "nik")

    def name(self, place: int) -> str:
        """A family's name, as another might write it."""
        return f"Hj. {self.families[place].name.lower()}" if place < NOBODY else "ORANG LAIN"

    def expected(self, rows: list[Asked]) -> list[CreditReason | None]:
        """What the rule says, one row after the other."""
        here: dict[int, dict[str, set[str]]] = {}
        told = []
        for row in rows:
            months = row.months or ()
            name = None if row.name is None else self.name(row.name)
            wanted = CreditRow(self.index(row.nik), name, row.programme, row.stage, months, row.amount_idr)
            account = None
            if row.account < NOBODY:
                holder, state = self.families[row.account], STATES[row.account]
                account = CreditAccount(self.index(row.account) or b"", holder.name, state, row.account == EXCLUDED)
            in_this_si = here.setdefault(row.account, {})
            reason = refuse_credit(wanted, account, KNOWN, self.paid.get(row.account, {}), in_this_si)
            told.append(reason)
            if reason is None and row.programme is not None and row.stage is not None:
                in_this_si.setdefault(row.programme, set()).update((row.stage, *months))
        return told


_town: list[tuple[object, Town]] = []


@settings(max_examples=150)
@given(parts=PARTS)
async def test_sql_decides_as_the_rule_does(bank: Bank, tmp_path: Path, parts: list[list[Asked]]) -> None:
    """Every reason and every credit, in one part and over several; money, tranches and rows agree with it."""
    if not _town or _town[0][0] is not bank:
        _town[:] = [(bank, await Town.settle(bank, tmp_path))]
    town = _town[0][1]
    expected = town.expected([row for rows in parts for row in rows])
    async with bank.database.engine.connect() as connection:
        line = 2
        for rows in parts:
            staged = [town.staged(line + place, row) for place, row in enumerate(rows)]
            await crediting._credit_rows(bank, connection, town.si, field.payload(staged))
            await connection.execute(text("DELETE FROM si_staged"))  # as the end of a part's transaction does
            await connection.execute(text("DELETE FROM si_found"))
            line += len(rows)
        await _compare(connection, town.si.id, expected, [row.amount_idr for rows in parts for row in rows])
        await connection.rollback()


async def _compare(
    connection: AsyncConnection, si_id: int, expected: list[CreditReason | None], amounts: list[int | None]
) -> None:
    rows = list(await connection.execute(ROWS, {"id": si_id}))
    assert [None if reason is None else reason.value for reason in expected] == [row.reason for row in rows]
    assert ["TOPUP_SUKSES" if reason is None else "TOPUP_GAGAL" for reason in expected] == [row.state for row in rows]
    credited = [amount for amount, reason in zip(amounts, expected, strict=True) if reason is None]
    assert credited == [row.credited for row in rows if row.credited is not None]
    assert credited == [row.moved for row in rows if row.moved is not None]
    assert sum(filter(None, credited)) + 2_000 == (await connection.execute(PURSES)).scalar_one()


ROWS = text("""
    SELECT r.line, r.state, r.reason, t.amount_idr AS credited, x.amount_idr AS moved FROM si_row r
    LEFT JOIN tranche t ON (t.cell, t.account_id, t.id) = (r.cell, r.account_id, r.tranche_id) AND t.si_id = r.si_id
         AND t.si_line = r.line
    LEFT JOIN transfer x ON (x.cell, x.account_id, x.tranche_id) = (r.cell, r.account_id, r.tranche_id) AND x.kind = 'CREDIT'
    WHERE r.si_id = :id ORDER BY r.line
""")
PURSES = text("SELECT sum(available_idr) FROM purse")


async def test_a_comparable_name_is_made_once(bank: Bank, tmp_path: Path) -> None:
    """An account opened before names were kept for comparing is credited by the rule, and has its name from then on."""
    families = await open_families(bank, tmp_path, 2)
    names = [row[0] for row in await as_owner(bank, "SELECT holder_comparable FROM account ORDER BY id")]
    assert [comparable(one.name) for one in families] == names
    await as_owner(bank, "UPDATE account SET holder_comparable = NULL")
    assert 2 == (await credit(bank, tmp_path, families)).credited
    assert names == [row[0] for row in await as_owner(bank, "SELECT holder_comparable FROM account ORDER BY id")]


async def test_a_lane_does_not_wait_for_the_others_accounts(bank: Bank, tmp_path: Path) -> None:
    """While one account is held by somebody else, the lanes that do not name it are credited."""
    families = await open_families(bank, tmp_path, 12)
    path = write_si(tmp_path / "si.csv", [
        [h.nik, h.account_number, h.name, "SEMBAKO", "2026-T4", "2026-10", "1000", h.region] for h in families
    ])  # fmt: skip
    await instruction.import_instruction(bank, MAKER, path, "SI-1", Sp2d("SP2D-1", bank.business_date, 12_000))
    async with bank.database.engine.connect() as holder:
        await holder.execute(text("SELECT 1 FROM account WHERE id = :id FOR UPDATE"), {"id": families[0].family_id})
        work = asyncio.create_task(instruction.approve(bank, CHECKER, "SI-1"))
        done = 0
        for _ in range(400):
            done = await one_value(bank, "SELECT count(*) FROM tranche")
            if done:
                break
            await asyncio.sleep(0.05)
        assert 0 < done < 12
        assert not work.done()
        await holder.rollback()
    assert 12 == (await work).credited
