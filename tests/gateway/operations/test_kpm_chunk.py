"""Tests of gateway.operations.kpm_chunk."""

from __future__ import annotations

import pickle
from datetime import date
from typing import TYPE_CHECKING

import pytest

from gateway.files.blocks import RowBlock
from gateway.files.kpm_list import open_kpm_list
from gateway.files.packed import unpack
from gateway.operations.kpm_chunk import FamilyRecord, KpmTask, opened_families, record_place, sealed_families
from gateway.rules.kpm import KpmPolicy
from gateway.rules.names import comparable
from tests.gateway.lists import good_rows, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


def test_a_chunk_keeps_its_rows_and_its_families(bank: Bank, tmp_path: Path) -> None:
    """Rows as they came; accepted families normalised, with what they are found by; refused ones only among the rows."""
    rows = good_rows(tmp_path, 3)
    rows[0] |= {"PROGRAM": "PKH+SEMBAKO", "KOMPONEN": "SD:2;HAMIL:1"}
    rows[1]["NIK"] = "12"
    rows[2]["NAMA_IBU_KANDUNG"] = "-"
    listing = open_kpm_list(write_rows(tmp_path / "list.csv", rows))
    policy = KpmPolicy(programmes=dict(KpmPolicy().programmes))
    task: KpmTask = pickle.loads(pickle.dumps(KpmTask(5, listing.columns, policy, date(2026, 11, 20))))  # noqa: S301
    (block,) = listing.table.blocks(10)
    chunk = task(bank.vault, block)
    assert (2, 4, 3, 2) == (chunk.first_line, chunk.last_line, chunk.rows, chunk.families)
    packed = unpack(bank.vault.open(chunk.record, **record_place(5, 2)))
    assert [list(row.values()) for row in rows] == list(packed.cells())
    assert chunk.family_record is not None
    (two, first), (four, last) = opened_families(bank.vault, 5, 2, chunk.family_record)
    assert (2, 4) == (two, four)
    assert (rows[0]["NIK"], "PKH+SEMBAKO", '{"SD": 2, "HAMIL": 1}') == (first.nik, first.programmes, first.components)
    assert bank.vault.index(first.nik, "nik").hex() == first.nik_index
    person = f"{comparable(first.name)}|{first.birth_date}|{comparable(first.mother_name)}"
    assert bank.vault.index(person, "person").hex() == first.person_index
    assert ("", "", "{}") == (last.mother_name, last.person_index, last.components)
    for secret in (first.nik, first.no_kk, first.mother_name):
        assert secret.encode() not in chunk.kpm_rows


def test_a_chunk_of_refused_rows_has_no_families(bank: Bank, tmp_path: Path) -> None:
    """Nothing is sealed for nobody; an empty block is an empty chunk."""
    rows = [good_rows(tmp_path, 1)[0] | {"NIK": ""}]
    listing = open_kpm_list(write_rows(tmp_path / "list.csv", rows))
    task = KpmTask(5, listing.columns, KpmPolicy(), date(2026, 11, 20))
    (block,) = listing.table.blocks(10)
    assert (0, None) == (task(bank.vault, block).families, task(bank.vault, block).family_record)
    assert 0 == task(bank.vault, RowBlock(9, [])).rows


def test_a_control_character_never_shifts_a_field(bank: Bank) -> None:
    """The rules let none through; if one came, the chunk is not sealed."""
    family = FamilyRecord(*["x"] * len(FamilyRecord._fields))
    assert sealed_families(bank.vault, 1, 2, [2], [family]) is not None
    for bad in ("a\x1fb", "a\x1eb"):
        with pytest.raises(ValueError, match="control character"):
            sealed_families(bank.vault, 1, 2, [2], [family._replace(address=bad)])
