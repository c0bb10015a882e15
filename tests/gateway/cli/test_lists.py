"""Tests of gateway.cli.lists: `kks kpm`, `kks batch` and `kks si`."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from gateway.simulator.families import write_kpm_list
from tests.gateway.world import write_si

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.shell import Shell

SK = ("--sk-no", "SK-1", "--sk-date", "2026-11-01")


def test_a_list_from_file_to_result(shell: Shell, tmp_path: Path) -> None:
    """Import, look, approve by another person, result file: JSON keys and texts."""
    faults = write_kpm_list(tmp_path / "list.csv", 40, faults=1)
    found = shell.json("kpm", "import", str(tmp_path / "list.csv"), *SK, "--as", "ani")
    assert {"batch", "rows", "accepted", "rejected", "warnings", "reasons"} <= set(found)
    assert found["rows"] == found["accepted"] + found["rejected"]
    assert 0 < found["rejected"] < sum(faults.values())
    number = str(found["batch"])
    assert (
        "seen before" in (again := shell.refused("kpm", "import", str(tmp_path / "list.csv"), *SK, "--as", "ani"))
        or again
    )
    assert [found["batch"]] == [one["batch"] for one in shell.json("batch", "list")["batches"]]
    assert "SK-1" in shell.text("batch", "list")
    shown = shell.json("batch", "show", number)
    assert found["rejected"] <= len({one["line"] for one in shown["findings"]})
    assert "how to mend" in shell.text("batch", "show", number)
    assert "another person" in shell.refused("batch", "approve", number, "--as", "Ani")
    assert found["accepted"] == shell.json("batch", "approve", number, "--as", "budi")["accepted"]
    shell.refused("batch", "approve", number, "--as", "budi")
    shell.refused("batch", "reject", number, "--reason", "late", "--as", "budi")
    out = tmp_path / "result.csv"
    assert str(out) == shell.json("batch", "result", number, "--out", str(out))["file"]
    assert {"NO_REKENING", "KODE_STATUS", "KETERANGAN"} <= set(_header(out))
    assert "rows written" in shell.text("kpm", "batch", "result", number, "--out", str(tmp_path / "result.xlsx"))


def test_a_list_is_rejected(shell: Shell, tmp_path: Path) -> None:
    """Rejected by another person with a reason, then it cannot be approved."""
    write_kpm_list(tmp_path / "list.csv", 5)
    number = str(shell.json("kpm", "import", str(tmp_path / "list.csv"), *SK, "--as", "ani")["batch"])
    assert "another person" in shell.refused("batch", "reject", number, "--reason", "wrong SK", "--as", "ani")
    assert "REJECTED" == shell.json("batch", "reject", number, "--reason", "wrong SK", "--as", "budi")["state"]
    shell.refused("batch", "approve", number, "--as", "budi")


def test_wrong_arguments_of_lists(shell: Shell, tmp_path: Path) -> None:
    """Missing files, bad dates, unknown numbers and missing options: one line each, exit 1 or 2."""
    none = str(tmp_path / "none.csv")
    assert none in shell.refused("kpm", "import", none, *SK)
    assert str(tmp_path) in shell.refused("kpm", "import", str(tmp_path), *SK)
    write_kpm_list(tmp_path / "list.csv", 5)
    line = shell.refused("kpm", "import", str(tmp_path / "list.csv"), "--sk-no", "SK-1", "--sk-date", "1 November")
    assert "--sk-date: '1 November' is not a date" in line
    (tmp_path / "words.csv").write_text("just;some;words\n1;2;3\n", encoding="utf-8")
    assert "words.csv" in shell.refused("kpm", "import", str(tmp_path / "words.csv"), *SK)
    for command in ("show", "approve"):
        assert "99" in shell.refused("batch", command, "99")
    assert "99" in shell.refused("batch", "result", "99", "--out", str(tmp_path / "x.csv"))
    assert "--sk-no" in shell.usage("kpm", "import", str(tmp_path / "list.csv"))
    shell.usage("batch", "show", "nine")
    long_name = shell.refused("kpm", "import", str(tmp_path / "list.csv"), *SK, "--as", "x" * 61)
    assert "user name" in long_name
    assert [] == shell.json("batch", "list")["batches"]


def test_a_standing_instruction_from_file_to_result(shell: Shell, tmp_path: Path) -> None:
    """SI import compared with its SP2D, approval by another person, result: JSON keys, refusals in between."""
    rows = _paid_rows(shell, tmp_path)
    path = write_si(tmp_path / "si.csv", rows)
    sp2d = ("--sp2d-no", "SP2D-1", "--sp2d-date", "2026-11-20", "--sp2d-amount")
    since = ("--available-from", "2026-12-01")
    done = shell.json("si", "import", str(path), "--si-no", "SI-1", *sp2d, "1.800.000", *since, "--as", "ani")
    assert {"si", "rows", "amount_idr", "sp2d_amount_idr", "status"} <= set(done)
    assert ("SI-1", 3, 1_800_000, 1_800_000) == (done["si"], done["rows"], done["amount_idr"], done["sp2d_amount_idr"])
    assert "another person" in shell.refused("si", "approve", "SI-1", "--as", "ANI")
    paid = shell.json("si", "approve", "SI-1", "--as", "budi")
    assert (2, 1, 1_200_000) == (paid["credited"], paid["failed"], paid["credited_idr"])
    assert 1 == sum(paid["reasons"].values())
    shell.refused("si", "approve", "SI-1", "--as", "budi")
    shell.refused("si", "reject", "SI-1", "--reason", "late", "--as", "budi")
    out = tmp_path / "si-result.csv"
    assert 2 == shell.json("si", "result", "SI-1", "--out", str(out))["credited"]
    with out.open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file, delimiter=";"))
    assert ["TOPUP_GAGAL", "TOPUP_SUKSES", "TOPUP_SUKSES"] == sorted(row["KODE_STATUS"] for row in written)
    assert "SI SI-1 is" in shell.text("si", "result", "SI-1")
    assert "SI-1" in shell.text("si", "list")
    assert "2026-12-01" == shell.json("si", "list")["instructions"][0]["available_from"]
    shell.json("ledger", "proof")


def test_an_instruction_that_is_not_its_sp2d(shell: Shell, tmp_path: Path) -> None:
    """A sum that differs from the SP2D credits nothing, and wrong words are one line each."""
    path = write_si(tmp_path / "si.csv", _paid_rows(shell, tmp_path))
    words = ("si", "import", str(path), "--si-no", "SI-1", "--sp2d-no", "SP2D-1", "--sp2d-date")
    assert "--sp2d-amount" in shell.refused(*words, "2026-11-20", "--sp2d-amount", "much")
    assert "--sp2d-amount" in shell.refused(*words, "2026-11-20", "--sp2d-amount=0")
    assert "--sp2d-date" in shell.refused(*words, "2026-13-20", "--sp2d-amount", "1800000")
    late = shell.refused(*words, "2026-11-20", "--sp2d-amount", "1800000", "--available-from", "soon")
    assert "--available-from: 'soon' is not a date" in late
    code, out, err = shell.run(*words, "2026-11-20", "--sp2d-amount", "1800001", "--as", "ani", "--json")
    assert code in (0, 1)
    assert "Traceback" not in out + err
    shell.refused("si", "approve", "SI-1", "--as", "budi")
    for command in ("approve", "result"):
        assert "SI-9" in shell.refused("si", command, "SI-9")
    checks = shell.json("ledger", "proof")
    assert checks["ok"]


def _paid_rows(shell: Shell, folder: Path) -> list[list[str]]:
    """Three families with accounts, the last under a wrong name."""
    write_kpm_list(folder / "list.csv", 3)
    number = str(shell.json("kpm", "import", str(folder / "list.csv"), *SK, "--as", "ani")["batch"])
    shell.json("batch", "approve", number, "--as", "budi")
    shell.json("batch", "result", number, "--out", str(folder / "result.csv"))
    with (folder / "result.csv").open(encoding="utf-8-sig", newline="") as file:
        text = file.read()
    separator = next(one for one in ";,|\t" if one in text.splitlines()[0])
    found = list(csv.DictReader(text.splitlines(), delimiter=separator))
    return [
        [row["NIK"], row["NO_REKENING"], row["NAMA"] + (" X" if place == 2 else ""), row["PROGRAM"].split("+")[0], "2026-T4",
         "2026-10,2026-11,2026-12", "600000", row["KODE_WILAYAH"].replace(".", "")]
        for place, row in enumerate(found)
    ]  # fmt: skip


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline().strip()
    return line.split(next(one for one in ";,|\t" if one in line))
