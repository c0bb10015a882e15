"""Twin of gateway.files.blocks: whatever the block, its rows are the table's."""

from __future__ import annotations

import csv
import io
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.files.blocks import LineBlock, RowBlock, in_blocks, is_record
from gateway.files.row import TableRow
from gateway.files.table import open_table

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5) | st.sampled_from(
    ["", '"']
)


short = st.lists(st.text("ab ,", max_size=3), max_size=4)  # a row over several lines has as many cells as the header


@given(st.lists(short | st.lists(cells, min_size=3, max_size=3), max_size=12), st.integers(1, 5))
def test_blocks_hold_the_rows_a_csv_reader_finds(rows: list[list[str]], size: int) -> None:
    """With and without quotation marks, short, long and blank rows, however the blocks fall; also after another process."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("NIK", "NAMA", "ALAMAT"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_text(out.getvalue(), encoding="utf-8", newline="")
        table = open_table(path)
        found = [row for block in table.blocks(size) for row in pickle.loads(pickle.dumps(block)).rows()]  # noqa: S301
        whole = list(table.rows())
    expected = [row for row in csv.reader(io.StringIO(out.getvalue(), newline="")) if any(map(str.strip, row))][1:]
    assert [(*row, "", "", "")[:3] for row in expected] == [row.cells for row in found]
    assert whole == found


def test_lines_stay_lines_where_each_is_a_record(tmp_path: Path) -> None:
    """They are cut apart where they are needed; a block with a cell over two lines is read at once."""
    path = tmp_path / "list.csv"
    path.write_text('A;B\n1;2\n3;4\n"5;";6\n7;8\n"a\nb";9\n10;11\n\n12;13\n')
    blocks = list(open_table(path).blocks(2))
    told = [(type(one), one.first_line, [row.cells for row in one.rows()]) for one in blocks]
    assert [
        (LineBlock, 2, [("1", "2"), ("3", "4")]),
        (LineBlock, 4, [("5;", "6"), ("7", "8")]),
        (RowBlock, 6, [("a\nb", "9"), ("10", "11")]),
        (LineBlock, 9, [("12", "13")]),
    ] == told
    assert [False, True, False] == [one.quoted for one in blocks if isinstance(one, LineBlock)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('"a;b";c\r\n', True), ('a;"b ""c"""', True), ('a;""\n', True), ("a;b", True), ('a;"b', False), ('a;5";"x', False),
        ('"a"b;c', False), ('a;" b', False),
    ],
)  # fmt: skip
def test_a_record_ends_with_its_line_only_if_its_quotation_marks_do(line: str, *, expected: bool) -> None:
    """Marks in the middle of a cell, or not closed, leave the question to a reader."""
    assert expected is is_record(line, ";")


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (4, [2, 2]), (5, [2, 2, 1])])
def test_rows_are_put_into_blocks(count: int, sizes: list[int]) -> None:
    """Each as large as asked for, but the last."""
    blocks = list(in_blocks([TableRow(line, ("a",)) for line in range(2, count + 2)], 2))
    assert sizes == [len(list(block.rows())) for block in blocks]
    assert [2 + 2 * place for place in range(len(blocks))] == [block.first_line for block in blocks]
