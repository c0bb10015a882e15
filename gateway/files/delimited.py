"""Comma, semicolon, bar or tab separated text, read as a stream: never more than one record in memory.

One pass before reading takes the SHA-256, decides the encoding (strict UTF-8, else Windows-1252) and finds what is not
text. Refuses to know what a column means. Read next: gateway.files.table.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import re
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from gateway.files.blocks import LineBlock, RowBlock, is_record
from gateway.files.errors import FileRefused
from gateway.files.row import clean_header, fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import TextIOWrapper
    from pathlib import Path

    from gateway.files.blocks import Block
    from gateway.files.row import TableRow

SEPARATORS = (",", ";", "|", "\t")
CHUNK_BYTES = 65_536
"""Also the longest line allowed: then a line that is too long shows as a chunk's first line end, without a search."""
MAX_RECORD_LINES = 20
ROWS_AT_ONCE = 1_000
_WINDOWS_1252_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"
_SEPARATOR_HINT = re.compile(r"\"?sep=.\"?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Delimited:
    """An opened delimited file. `row_hint` is the most rows there can be, for a progress bar."""

    path: Path
    sha256: str
    encoding: str
    separator: str
    header: tuple[str, ...]
    row_hint: int
    header_line: int

    def rows(self) -> Iterator[TableRow]:
        """Each record under the header, blank ones left out. FileRefused where the quoting is broken."""
        for block in self.blocks(ROWS_AT_ONCE):
            yield from block.rows()

    def blocks(self, size: int) -> Iterator[Block]:
        """The rows in blocks of at most SIZE lines, or records where those may go over several lines."""
        with _open_text(self.path, self.encoding) as text:
            source: Iterator[str] = iter(text)
            line = self._after_header(source)
            while lines := list(islice(source, size)):
                quoted = [one for one in lines if '"' in one]
                if all(is_record(one, self.separator) for one in quoted):
                    yield LineBlock(line, lines, self.separator, len(self.header), bool(quoted))
                    line += len(lines)
                    continue
                source = chain(lines, source)
                block, line = self._quoted(source, line, size)
                yield block

    def _after_header(self, source: Iterator[str]) -> int:
        """Read past the header. Returns the next line's number."""
        for line, span, _ in _records(self.path, source, self.separator):
            if line >= self.header_line:
                return line + span
        raise FileRefused(self.path, "the header row is gone")

    def _quoted(self, source: Iterator[str], line: int, size: int) -> tuple[RowBlock, int]:
        """SIZE records, and the line after them. A record may go over several lines."""
        found = []
        width = len(self.header)
        following = line
        for at, span, cells in islice(_records(self.path, source, self.separator, line), size):
            following = at + span
            if not any(map(str.strip, cells)):
                continue
            if span > 1 and len(cells) != width:
                raise FileRefused(self.path, "a quotation mark is opened here and not closed", at)
            found.append(fit(at, cells, width))
        return RowBlock(line, found), following


@dataclass(frozen=True, slots=True)
class _Scan:
    sha256: str
    encoding: str
    lines: int


def open_delimited(path: Path) -> Delimited:
    """Scan the file and read its header. FileRefused: empty, not text, a NUL byte, a line too long, no header."""
    scan = _scan(path)
    separator = _find_separator(path, scan.encoding)
    with _open_text(path, scan.encoding) as text:
        for line, _, cells in _records(path, text, separator):
            if "".join(cells).strip() and not _SEPARATOR_HINT.fullmatch(separator.join(cells)):
                header = clean_header(path, cells, line)
                return Delimited(path, scan.sha256, scan.encoding, separator, header, scan.lines - line, line)
    raise FileRefused(path, "the file has no header row")


def _scan(path: Path) -> _Scan:
    digest = hashlib.sha256()
    utf8 = codecs.getincrementaldecoder("utf-8")("strict")
    is_utf8 = True
    undefined_line: int | None = None
    ended, tail_bytes, after_return = 0, 0, False
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            _refuse_not_text(path, chunk, ended)
            tail_bytes = _tail(path, chunk, tail_bytes, ended)
            if is_utf8:
                is_utf8 = _decodes(utf8, chunk)
            if undefined_line is None and not chunk.isascii():
                undefined_line = _undefined_line(chunk, ended)
            ended += _line_ends(chunk) - (after_return and chunk[:1] == b"\n")
            after_return = chunk[-1:] == b"\r"
    is_utf8 = is_utf8 and _decodes(utf8, b"", final=True)
    if not is_utf8 and undefined_line is not None:
        raise FileRefused(path, "the text is neither UTF-8 nor Windows-1252", undefined_line)
    return _Scan(digest.hexdigest(), "utf-8-sig" if is_utf8 else "cp1252", ended + (1 if tail_bytes else 0))


def _refuse_not_text(path: Path, chunk: bytes, ended: int) -> None:
    if ended == 0 and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileRefused(path, "the text is UTF-16: save it as UTF-8")
    found = chunk.find(b"\0")
    if found >= 0:
        raise FileRefused(path, "a NUL byte: this is not a text file", ended + _line_ends(chunk[:found]) + 1)


def _tail(path: Path, chunk: bytes, tail_bytes: int, ended: int) -> int:
    """Bytes of the last, unfinished line after this chunk."""
    first = min((at for at in (chunk.find(b"\n"), chunk.find(b"\r")) if at >= 0), default=len(chunk))
    if tail_bytes + first > CHUNK_BYTES:
        raise FileRefused(path, f"the line is longer than {CHUNK_BYTES} bytes", ended + 1)
    if first == len(chunk):
        return tail_bytes + first
    return len(chunk) - 1 - max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final=final)
    except UnicodeDecodeError:
        return False
    return True


def _undefined_line(chunk: bytes, ended: int) -> int | None:
    places = [at for at in (chunk.find(code) for code in _WINDOWS_1252_UNDEFINED) if at >= 0]
    return ended + _line_ends(chunk[: min(places)]) + 1 if places else None


def _line_ends(chunk: bytes) -> int:
    returns = chunk.count(b"\r")
    return chunk.count(b"\n") + (returns - chunk.count(b"\r\n") if returns else 0)


def _find_separator(path: Path, encoding: str) -> str:
    """The separator that cuts the first filled record into the most cells, quoted fields honoured."""
    most, best = 0, SEPARATORS[0]
    for separator in SEPARATORS:
        with _open_text(path, encoding) as text:
            for _, _, cells in _records(path, text, separator):
                if not "".join(cells).strip() or _SEPARATOR_HINT.fullmatch(separator.join(cells)):
                    continue
                if len(cells) > most:
                    most, best = len(cells), separator
                break
    return best


def _records(
    path: Path, text: Iterable[str], separator: str, first_line: int = 1
) -> Iterator[tuple[int, int, list[str]]]:
    """(first line, number of lines, cells) of each record. No line is taken from TEXT before its record is asked for."""
    reader = csv.reader(text, delimiter=separator)
    ended = first_line - 1
    try:
        for cells in reader:
            span = reader.line_num + first_line - 1 - ended
            if span > MAX_RECORD_LINES:
                raise FileRefused(path, "a quotation mark is opened here and not closed", ended + 1)
            yield ended + 1, span, cells
            ended += span
    except csv.Error as error:
        raise FileRefused(path, "the quotation marks of this record are broken", ended + 1) from error


def _open_text(path: Path, encoding: str) -> TextIOWrapper:
    return path.open(encoding=encoding, newline="")
