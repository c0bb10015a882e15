"""Twin of gateway.files.kpm_list: also the whole way from an invented file to judged rows."""

from __future__ import annotations

import csv
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gateway.files.errors import FileRefused
from gateway.files.kpm_list import KPM_LAYOUT, RawKpmRow, open_kpm_list
from gateway.rules.kpm import KpmPolicy, check_row
from gateway.simulator.families import COLUMNS, FAULTS, LIST_DATE, write_kpm_list

if TYPE_CHECKING:
    from pathlib import Path

OF_ONE_ROW = [kind for kind in FAULTS if not kind.startswith("DUP_")]
SPELLINGS = {"NO_KK": "No. KK", "TGL_LAHIR": "Tanggal Lahir", "NIK": "nik", "NAMA_IBU_KANDUNG": "NAMA IBU KANDUNG"}


def reasons_of(path: Path) -> Counter[str]:
    """Rows by reason, and all rows under ""."""
    policy, counts = KpmPolicy(), Counter[str]()
    for row in open_kpm_list(path).rows():
        checked = check_row(row.values, on=LIST_DATE, policy=policy, numeric=row.numeric, surplus=row.surplus)
        counts.update({finding.code.value for finding in checked.findings} | {""})
    return counts


@pytest.mark.parametrize("name", ["list.csv", "list.xlsx"])
def test_every_known_fault_is_found_and_nothing_else(tmp_path: Path, name: str) -> None:
    """The simulator's true counts are the counts found, in text and in a workbook."""
    truth = write_kpm_list(tmp_path / name, 400, 5, dict.fromkeys(OF_ONE_ROW, 5))
    assert Counter(truth) + Counter({"": 400}) == reasons_of(tmp_path / name)


@pytest.mark.parametrize(
    ("separator", "encoding"), [(",", "utf-8"), ("|", "cp1252"), ("\t", "utf-8-sig"), (";", "cp1252")]
)
def test_columns_may_stand_in_any_order_and_spelling(tmp_path: Path, separator: str, encoding: str) -> None:
    """The same rows with shuffled and respelled columns are judged the same."""
    plain, shuffled = tmp_path / "a.csv", tmp_path / "b.csv"
    write_kpm_list(plain, 120, 9, 2)
    with plain.open(encoding="utf-8-sig", newline="") as file:
        records = list(csv.DictReader(file, delimiter=";"))
    order = random.Random(1).sample(COLUMNS, len(COLUMNS))
    with shuffled.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow([SPELLINGS.get(column, column.replace("_", " ").title()) for column in order])
        writer.writerows([[record[column] for column in order] for record in records])
    assert reasons_of(plain) == reasons_of(shuffled)
    assert set(KPM_LAYOUT.required) < set(open_kpm_list(shuffled).columns)


def test_unknown_columns_are_kept_for_the_result(tmp_path: Path) -> None:
    """Header as written, values in the file's order."""
    write_kpm_list(tmp_path / "a.csv", 2)
    kpm = open_kpm_list(tmp_path / "a.csv")
    rows = list(kpm.rows())
    assert (kpm.header, tuple(rows[0].values), kpm.row_hint) == (COLUMNS, COLUMNS, 2)
    assert [row.values["NO"] for row in rows] == ["1", "2"]
    assert len(kpm.sha256) == 64


def test_a_list_without_a_required_column_is_refused(tmp_path: Path) -> None:
    """By name."""
    (tmp_path / "a.csv").write_text("NIK;NO_KK\n1;2\n")
    with pytest.raises(FileRefused, match="missing columns: NAMA, TEMPAT_LAHIR, TGL_LAHIR"):
        open_kpm_list(tmp_path / "a.csv")


def test_the_repr_of_a_row_shows_no_cell() -> None:
    """A log line names nobody."""
    assert repr(RawKpmRow(3, {"NIK": "1271074112900001"}, frozenset())) == "RawKpmRow(line=3)"
