"""Twin of gateway.files.delimited."""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.files.delimited import CHUNK_BYTES, MAX_RECORD_LINES, SEPARATORS, Delimited, open_delimited
from gateway.files.errors import FileRefused

ENCODINGS = ("utf-8", "utf-8-sig", "cp1252")


def opened(folder: Path, content: bytes) -> Delimited:
    """The content as an opened file."""
    path = folder / "list.csv"
    path.write_bytes(content)
    return open_delimited(path)


def cells_of(text: Delimited) -> list[tuple[int, tuple[str, ...]]]:
    """Line and cells of every row."""
    return [(row.line, row.cells) for row in text.rows()]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_separator_encoding_and_line_end_is_found_out(
    tmp_path: Path, separator: str, encoding: str, end: str
) -> None:
    """The same cells come out, whatever the dialect."""
    lines = [separator.join(cells) for cells in (("NIK", "NAMA"), ("1", "Andr\u00e9"), ("2", "S\u00e9ti"))]
    content = end.join(lines).encode(encoding)
    text = opened(tmp_path, content)
    assert (separator, ("NIK", "NAMA")) == (text.separator, text.header)
    assert cells_of(text) == [(2, ("1", "Andr\u00e9")), (3, ("2", "S\u00e9ti"))]
    assert hashlib.sha256(content).hexdigest() == text.sha256
    assert text.row_hint == 2


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=8)] * 3)
    ),
    st.sampled_from(SEPARATORS),
)
def test_what_a_csv_writer_wrote_is_read_back(rows: list[tuple[str, str, str]], separator: str) -> None:
    """Separators and quotation marks inside cells survive; blank rows do not."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator)
    writer.writerows([("NIK", "NAMA", "ALAMAT"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        text = opened(Path(folder), out.getvalue().encode())
        assert [row for row in rows if "".join(row).strip()] == [cells for _, cells in cells_of(text)]


def test_a_quoted_field_may_hold_separators_and_line_ends(tmp_path: Path) -> None:
    """The next row's line number counts the physical lines."""
    text = opened(tmp_path, b'"NIK";"NAMA, LENGKAP";ALAMAT\n1;A;"JL. X; NO. 1\nMEDAN"\n\n;;\n2;B;"say ""x"""\n')
    assert text.header == ("NIK", "NAMA, LENGKAP", "ALAMAT")
    assert cells_of(text) == [(2, ("1", "A", "JL. X; NO. 1\nMEDAN")), (6, ("2", "B", 'say "x"'))]


def test_lines_before_the_header_may_be_blank_or_name_the_separator(tmp_path: Path) -> None:
    """A spreadsheet's sep=; line is no header."""
    text = opened(tmp_path, b"sep=;\n\nNIK;NAMA\n1;A\n")
    assert (text.header, text.header_line) == (("NIK", "NAMA"), 3)
    assert cells_of(text) == [(4, ("1", "A"))]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"NIK;NAMA\n1;A\0B\n", "line 2: a NUL byte"),
        (b"\xff\xfeN\0I\0K\0", "UTF-16"),
        (b"NIK;NAMA\n1;A\x81\n", "line 2: the text is neither UTF-8 nor Windows-1252"),
        (b"NIK;NAMA\n1;" + b"A" * CHUNK_BYTES + b"\n", f"line 2: the line is longer than {CHUNK_BYTES} bytes"),
        (b"\n \n", "no header row"),
    ],
)
def test_what_is_not_a_list_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    """One line with the fault and where it stands."""
    with pytest.raises(FileRefused, match=says) as refused:
        opened(tmp_path, content)
    assert "\n" not in str(refused.value)


def test_the_line_of_a_fault_is_counted_across_chunks(tmp_path: Path) -> None:
    """CRLF cut in two by a chunk's end is one line end."""
    head = b"N;M\r\n"
    lines = b"1;2\r\n" * (CHUNK_BYTES // 5)
    with pytest.raises(FileRefused, match=f"line {CHUNK_BYTES // 5 + 2}: a NUL"):
        opened(tmp_path, head + lines + b"\0")


@pytest.mark.parametrize(
    "tail",
    [
        b'1;"A\n2;B\n3;C\n',
        b'1;"A\n' + b"2;B\n" * MAX_RECORD_LINES + b'9;"Z"\n',
        b'1;"' + b"A" * 60_000 + b"\n" + b"B" * 60_000 + b"\n" + b"C" * 60_000 + b'"\n',
    ],
)
def test_a_quotation_mark_left_open_loses_no_row_in_silence(tmp_path: Path, tail: bytes) -> None:
    """The file is refused with the line where it was opened."""
    text = opened(tmp_path, b"NIK;NAMA;X\n0;Z;Y\n" + tail)
    with pytest.raises(FileRefused, match=r"line 3: .*quotation mark"):
        cells_of(text)


def test_surplus_cells_are_counted(tmp_path: Path) -> None:
    """The row is kept for its own finding."""
    text = opened(tmp_path, b"NIK,BULAN\n1,2026-10,2026-11\n")
    assert [row.surplus for row in text.rows()] == [1]
