"""Twin of gateway.files.table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import xlsxwriter

from gateway.files.errors import FileRefused
from gateway.files.table import open_table

if TYPE_CHECKING:
    from pathlib import Path


def test_the_content_decides_the_format(tmp_path: Path) -> None:
    """A workbook under another name is still a workbook, and both give the same cells."""
    odd = tmp_path / "list.dat"
    with xlsxwriter.Workbook(str(odd)) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["NIK", "NAMA"])
        sheet.write_row(1, 0, ["1", "A"])
    text = tmp_path / "list.txt"
    text.write_text("NIK|NAMA\n1|A\n")
    tables = [open_table(odd), open_table(str(text))]
    assert [table.separator for table in tables] == ["", "|"]
    assert [[row.cells for row in table.rows()] for table in tables] == [[("1", "A")]] * 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.csv", b"", "the file is empty"),
        ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "save it as plain .xlsx"),
        ("text.xlsx", b"NIK;NAMA\n", "the workbook is broken"),
        ("broken.csv", b"PK\x03\x04 no archive", "the workbook is broken"),
    ],
)
def test_what_cannot_be_a_list_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    """The path and the fault in one line."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileRefused, match=f"{name}: .*{says}"):
        open_table(path)


def test_a_folder_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    """None of them is read."""
    os.mkfifo(tmp_path / "pipe")
    for name, says in ((".", "is a folder"), ("none.csv", "no such file"), ("pipe", "not a regular file")):
        with pytest.raises(FileRefused, match=says):
            open_table(tmp_path / name)


def test_an_unreadable_path_is_refused(tmp_path: Path) -> None:
    """An error of the system is one line as well."""
    with pytest.raises(FileRefused, match="cannot be read"):
        open_table(tmp_path / ("x" * 300))


def test_a_file_that_changed_is_not_read_on(tmp_path: Path) -> None:
    """What was hashed is what is read."""
    path = tmp_path / "list.csv"
    path.write_text("NIK;NAMA\n1;A\n")
    table = open_table(path)
    assert len(list(table.rows())) == 1
    path.write_text("NIK;NAMA\n1;A\n2;B\n")
    with pytest.raises(FileRefused, match="changed"):
        table.rows()
    path.unlink()
    with pytest.raises(FileRefused, match="changed"):
        table.rows()
