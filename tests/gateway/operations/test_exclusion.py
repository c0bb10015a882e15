"""Twin of gateway.operations.exclusion: the list is taken in whole, and whoever stands on it is neither opened nor paid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.files.errors import FileRefused
from gateway.operations import exclusion, kpm
from gateway.simulator.families import write_kpm_list
from tests.gateway.owner import one_value
from tests.gateway.world import MAKER, credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_a_listed_family_is_not_credited(bank: Bank, tmp_path: Path) -> None:
    """An entry in force stops the credit of its family alone; one that has ended stops nobody."""
    families = await open_families(bank, tmp_path, 3)
    path = tmp_path / "exclude.csv"
    path.write_text(
        f"nik;alasan;mulai;sampai\n{families[0].nik};MENINGGAL;;\n{families[1].nik};PPATK;01-01-2020;31-12-2020\n",
        encoding="utf-8",
    )
    summary = await exclusion.load_exclusions(bank, "ops", path)
    assert (2, {"MENINGGAL": 1, "PPATK": 1}) == (summary.rows, summary.reasons)
    paid = await credit(bank, tmp_path, families)
    assert (2, {"EXCLUDED": 1}) == (paid.credited, paid.reasons)


async def test_a_listed_family_is_not_opened(bank: Bank, tmp_path: Path) -> None:
    """A row of a list whose NIK is excluded is rejected with EXCLUDED."""
    path = tmp_path / "list.csv"
    write_kpm_list(path, 3)
    nik = path.read_text(encoding="utf-8-sig").splitlines()[2].split(";")[1]
    (tmp_path / "x.csv").write_text(f"NIK,ALASAN\n{nik},ASN\n", encoding="utf-8")
    await exclusion.load_exclusions(bank, "ops", tmp_path / "x.csv")
    summary = await kpm.import_list(bank, MAKER, path, "SK-1", bank.business_date)
    assert ({"EXCLUDED": 1}, 2) == (summary.reasons, summary.accepted)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("12345;X;;", "line 2: column NIK: NIK_INVALID"),
        ("1271015810060001;;;", "line 2: column ALASAN"),
        ("1271015810060001;X;soon;", "line 2: column MULAI"),
        ("1271015810060001;X;01-02-2026;01-01-2026", "line 2: column SAMPAI"),
    ],
)
async def test_a_wrong_file_adds_nothing(bank: Bank, tmp_path: Path, row: str, message: str) -> None:
    """One wrong row refuses the file, naming line and column."""
    path = tmp_path / "exclude.csv"
    path.write_text(f"NIK;ALASAN;MULAI;SAMPAI\n{row}\n1271015810060002;X;;\n", encoding="utf-8")
    with pytest.raises(FileRefused, match=message):
        await exclusion.load_exclusions(bank, "ops", path)
    assert 0 == await one_value(bank, "SELECT count(*) FROM exclusion")


async def test_a_file_without_rows_is_refused(bank: Bank, tmp_path: Path) -> None:
    """A header alone is not a list."""
    path = tmp_path / "exclude.csv"
    path.write_text("NIK;ALASAN\n", encoding="utf-8")
    with pytest.raises(FileRefused, match="no rows"):
        await exclusion.load_exclusions(bank, "ops", path)
