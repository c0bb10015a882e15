"""Twin of gateway.files.columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.files.columns import Layout, name_columns, named_values, squeeze
from gateway.files.errors import FileRefused
from gateway.files.row import TableRow
from gateway.files.table import Table, open_table

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = Layout(required=("NIK", "NO_KK"), optional=("TGL_LAHIR",), aliases={"NOMORKK": "NO_KK"})


def headed(folder: Path, header: str) -> Table:
    """A list with this header."""
    path = folder / "list.csv"
    path.write_text(f"{header}\n")
    return open_table(path)


@given(st.permutations(["N", "O", "_", " ", ".", "-", "K"]))
def test_only_letters_and_digits_of_a_name_count(chars: list[str]) -> None:
    """Case, spaces, dots and underscores do not."""
    name = "".join(chars)
    assert squeeze(name) == squeeze(name.lower()) == "".join(char for char in chars if char.isalpha())


def test_columns_are_named_in_the_files_order(tmp_path: Path) -> None:
    """Known ones by the layout, unknown ones by themselves."""
    table = headed(tmp_path, "No.;tgl lahir (31-12-1990);Nomor KK;nik;Ket (lain)")
    assert name_columns(table, LAYOUT) == ("No.", "TGL_LAHIR", "NO_KK", "NIK", "Ket (lain)")


def test_all_missing_columns_are_told(tmp_path: Path) -> None:
    """The sender mends the header once."""
    with pytest.raises(FileRefused, match="missing columns: NIK, NO_KK"):
        name_columns(headed(tmp_path, "NAMA;TGL_LAHIR"), LAYOUT)


@pytest.mark.parametrize("header", ["NIK;NO_KK;no kk", "NIK;NO_KK;Nomor KK", "NIK;NO_KK;KET;KET"])
def test_a_column_that_stands_twice_is_refused(tmp_path: Path, header: str) -> None:
    """Also where the spelling differs, and also an unknown one."""
    with pytest.raises(FileRefused, match=r"twice: (NO_KK|KET)$"):
        name_columns(headed(tmp_path, header), LAYOUT)


def test_cells_and_numbers_get_their_names() -> None:
    """A number beyond the header is not named."""
    row = TableRow(2, ("1", "2"), frozenset({1, 5}), 1)
    assert ({"NIK": "1", "NO_KK": "2"}, frozenset({"NO_KK"})) == named_values(("NIK", "NO_KK"), row)
