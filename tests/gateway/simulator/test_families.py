"""Twin of gateway.simulator.families. The oracle for good numbers is python-stdnum, not the bank."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from stdnum.id import nik as oracle

from gateway.simulator import families
from gateway.simulator.families import COLUMNS, FAULTS, MAX_FAMILIES, write_kpm_list

if TYPE_CHECKING:
    from pathlib import Path


def records(path: Path) -> list[dict[str, str]]:
    """The rows of a list by column."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


def test_good_rows_have_valid_and_unique_numbers(tmp_path: Path) -> None:
    """NIK and No KK never repeat, and no person (name, birth date, mother) does."""
    assert write_kpm_list(tmp_path / "a.csv", 3_000, 3) == {}
    rows = records(tmp_path / "a.csv")
    assert all(oracle.is_valid(row["NIK"]) for row in rows)
    assert [
        len({row["NIK"] for row in rows}),
        len({row["NO_KK"] for row in rows}),
        len({(row["NAMA"], row["NIK"][6:12], row["NAMA_IBU_KANDUNG"]) for row in rows}),
    ] == [3_000] * 3
    assert {"SEMBAKO", "PKH", "PKH+SEMBAKO"} == {row["PROGRAM"] for row in rows}
    assert all((row["KOMPONEN"] != "") == row["PROGRAM"].startswith("PKH") for row in rows)


def test_numbers_stay_unique_over_many_rounds() -> None:
    """Rows far apart that share prefix and birth day differ in the serial, also in the last round."""
    rows = [families._family(number, b"")[0] for number in range(0, MAX_FAMILIES, 504)]
    assert len(rows) == len({row[1] for row in rows}) == len({row[2] for row in rows})


def test_the_same_seed_makes_the_same_list(tmp_path: Path) -> None:
    """And another seed another one."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_kpm_list(tmp_path / name, 60, seed, 1)
    lists = [(tmp_path / name).read_bytes() for name in ("a", "b", "c")]
    assert lists[0] == lists[1]
    assert lists[0] != lists[2]


def test_duplicates_are_the_later_row_of_two(tmp_path: Path) -> None:
    """Each copies a good row before it."""
    kinds = {"DUP_NIK_IN_FILE": 4, "DUP_KK_IN_FILE": 3, "DUP_PERSON": 2}
    assert kinds == write_kpm_list(tmp_path / "a.csv", 100, 8, kinds)
    rows = records(tmp_path / "a.csv")
    assert [100 - len({row[column] for row in rows}) for column in ("NIK", "NO_KK")] == [4, 3]
    persons = Counter((row["NAMA"], row["NIK"][6:12], row["NAMA_IBU_KANDUNG"]) for row in rows)
    assert sum(count - 1 for count in persons.values()) == 2
    assert all(oracle.is_valid(row["NIK"]) for row in rows)


def test_each_fault_stands_on_its_own_row(tmp_path: Path) -> None:
    """All kinds together touch as many rows as there are faults."""
    write_kpm_list(tmp_path / "a.csv", 90, 4)
    truth = write_kpm_list(tmp_path / "b.csv", 90, 4, 3)
    pairs = zip(records(tmp_path / "a.csv"), records(tmp_path / "b.csv"), strict=True)
    assert dict.fromkeys(FAULTS, 3) == truth
    assert 3 * len(FAULTS) == sum(good != faulty for good, faulty in pairs)


def test_the_dialect_is_the_callers(tmp_path: Path) -> None:
    """Separator and encoding as asked."""
    write_kpm_list(tmp_path / "a.csv", 1, separator="|", encoding="cp1252")
    assert "|".join(COLUMNS).encode() == (tmp_path / "a.csv").read_bytes().split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("count", "faults"),
    [(0, 0), (MAX_FAMILIES + 1, 0), (10, {"NIK_INVALID": 6}), (10, {"OTHER": 1}), (9, {"NIK_INVALID": -1})],
)
def test_an_impossible_list_is_refused(tmp_path: Path, count: int, faults: int | dict[str, int]) -> None:
    """Before a file is made."""
    with pytest.raises(ValueError, match="cannot make"):
        write_kpm_list(tmp_path / "a.csv", count, 1, faults)
    assert list(tmp_path.iterdir()) == []
