"""Twin of gateway.files.packed."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from gateway.files.packed import NUL, Page, defuse, pack, page_text, pages_rows, record_of, tail, unpack

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=NUL), max_size=6) | st.sampled_from(
    ["", "=1", "-", '"', ";", "\n", "\r\n", "a;b", '=";"', "@x", "\t"]
)
rows_of_two = st.lists(st.tuples(cells, cells), max_size=8)


@given(st.sets(st.integers(1, 60)), st.data())
def test_what_is_packed_is_unpacked(lines: set[int], data: st.DataObject) -> None:
    """Lines with gaps, cells with separators, quotation marks and line ends come out as they went in."""
    ordered = sorted(lines)
    rows = data.draw(st.lists(st.tuples(cells, cells), min_size=len(ordered), max_size=len(ordered)))
    packed = unpack(pack(ordered, rows))
    assert ordered == packed.lines
    assert [list(row) for row in rows] == list(packed.cells())


def test_lines_are_kept_as_spans() -> None:
    """A whole run of lines is two numbers; gaps make more spans."""
    assert pack([2, 3, 4], [["a"]] * 3).startswith("2-4\r\n")
    assert pack([2, 4, 5, 9], [["a"]] * 4).startswith("2-2 4-5 9-9\r\n")


def test_a_nul_of_a_sheet_is_dropped() -> None:
    """It would end a record too early."""
    assert [["ab", "c"]] == list(unpack(pack([2], [[f"a{NUL}b", "c"]])).cells())


@given(rows_of_two)
def test_a_page_reads_as_its_cells_and_runs_no_formula(rows: list[tuple[str, str]]) -> None:
    """The text of a page is the CSV of its rows with the tails behind, each cell that starts like a formula defused."""
    packed = unpack(pack(range(2, len(rows) + 2), rows))
    page = Page(packed.records, [tail("TOPUP_SUKSES", "")] * len(rows))
    read = list(csv.reader(io.StringIO(page_text(page), newline=""), delimiter=";"))
    assert [[*map(defuse, row), "TOPUP_SUKSES", ""] for row in rows] == read
    assert [[*row, "TOPUP_SUKSES", ""] for row in rows] == list(pages_rows([page]))


@given(st.text(max_size=12))
def test_no_cell_starts_like_a_formula(cell: str) -> None:
    """And a harmless one is not touched."""
    assert defuse(cell) in (cell, f"'{cell}")
    assert not defuse(cell).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_a_tail_is_one_record_behind_another() -> None:
    """It starts with the separator and quotes what must be quoted."""
    assert ';a;"b;c"' == tail("a", "b;c")
    assert ";'=1" == tail("=1")
    assert 'a;"b"""' == record_of(["a", 'b"'])
