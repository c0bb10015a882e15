"""Chip data on the wire: BER-TLV as EMV writes it into DE55 (EMV 4.3 book 3, annex B; ISO/IEC 8825-1). Tags to values and back.

Knows how data objects are cut, not what they mean; a constructed one (a template) keeps its value as it came, and whoever wants
what is in it gives that value to `parse` again. Indefinite lengths and what is cut off are refused. Read next: errors.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iso.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

CHIP_DATA = 55
REPEATABLE = frozenset({"71", "72", "86"})
"""Issuer script templates and commands: the tags that EMV sends more than once (book 3, 10.10)."""

BYTES_MOST = 65_535
"""No field is longer, so nothing longer is read or written."""

_TAG_BYTES_MOST = 4
_LENGTH_BYTES_MOST = 3
_MULTI_BYTE = 0x1F
_MORE = 0x80
_CONSTRUCTED = 0x20
_INDEFINITE = 0x80
_TAG = re.compile(r"(?!00)(?:[0-9A-F][0-9A-E]|[02468ACE]F|[13579BDF]F(?:[89A-F][0-9A-F]){0,2}[0-7][0-9A-F])")


def parse(data: bytes, field: int = CHIP_DATA) -> tuple[tuple[str, bytes], ...]:
    r"""The data objects of `data` in their order: tag (upper case hex) and value. Raises FormatError naming `field`.

    A tag has 1 to 4 bytes, a length 1 byte or 81 to 83 and as many more (not only the shortest form). Bytes 00 between objects
    are padding. A tag that comes twice is refused, since nobody could say which value was meant, unless it is REPEATABLE.

    >>> parse(bytes.fromhex("9F360200019C0101000082020000"))
    (('9F36', b'\x00\x01'), ('9C', b'\x01'), ('82', b'\x00\x00'))
    """
    if len(data) > BYTES_MOST:
        raise FormatError(field, f"chip data: at most {BYTES_MOST} bytes")
    items: list[tuple[str, bytes]] = []
    seen: set[str] = set()
    at, end = 0, len(data)
    while at < end:
        if data[at] == 0:
            at += 1
            continue
        start = at
        at = _after_tag(data, at, field)
        tag = data[start:at].hex().upper()
        at, length = _length(data, at, field)
        if length > end - at:
            raise FormatError(field, f"chip data: the value of tag {tag} is cut off")
        if tag in seen and tag not in REPEATABLE:
            raise FormatError(field, f"chip data: tag {tag} comes twice")
        seen.add(tag)
        items.append((tag, bytes(data[at : at + length])))
        at += length
    return tuple(items)


def build(items: Iterable[tuple[str, bytes]], field: int = CHIP_DATA) -> bytes:
    """Tags (upper case hex) and values as data objects in their order, lengths as short as can be. Raises FormatError.

    Whatever `parse` reads can be written again, tags that nobody knows too; and what is written is read as it was.

    >>> build([("9F36", bytes.fromhex("0001")), ("9C", bytes.fromhex("01"))]).hex().upper()
    '9F360200019C0101'
    """
    parts: list[bytes] = []
    seen: set[str] = set()
    total = 0
    for tag, value in items:
        _check_tag(tag, field)
        if tag in seen and tag not in REPEATABLE:
            raise FormatError(field, f"chip data: tag {tag} comes twice")
        seen.add(tag)
        head = bytes.fromhex(tag) + _write_length(len(value))
        total += len(head) + len(value)
        if total > BYTES_MOST:
            raise FormatError(field, f"chip data: at most {BYTES_MOST} bytes")
        parts += (head, value)
    return b"".join(parts)


def is_constructed(tag: str) -> bool:
    """Whether the value of `tag` (upper case hex) is itself data objects: a template. Raises FormatError for what is no tag.

    >>> is_constructed("71"), is_constructed("9F36")
    (True, False)
    """
    _check_tag(tag, CHIP_DATA)
    return bool(int(tag[:2], 16) & _CONSTRUCTED)


def _after_tag(data: bytes, at: int, field: int) -> int:
    """Where the tag that starts at `at` ends."""
    if data[at] & _MULTI_BYTE != _MULTI_BYTE:
        return at + 1
    for after in range(at + 1, at + _TAG_BYTES_MOST):
        if after >= len(data):
            raise FormatError(field, "chip data: a tag is cut off")
        if not data[after] & _MORE:
            return after + 1
    raise FormatError(field, f"chip data: a tag has at most {_TAG_BYTES_MOST} bytes")


def _length(data: bytes, at: int, field: int) -> tuple[int, int]:
    """Where the length that starts at `at` ends, and the length."""
    if at >= len(data):
        raise FormatError(field, "chip data: a length is cut off")
    first = data[at]
    if first < _INDEFINITE:
        return at + 1, first
    count = first - _INDEFINITE
    if count == 0:
        raise FormatError(field, "chip data: an indefinite length")
    if count > _LENGTH_BYTES_MOST:
        raise FormatError(field, f"chip data: a length has at most {_LENGTH_BYTES_MOST} bytes after its first")
    after = at + 1 + count
    if after > len(data):
        raise FormatError(field, "chip data: a length is cut off")
    return after, int.from_bytes(data[at + 1 : after])


def _check_tag(tag: str, field: int) -> None:
    if not _TAG.fullmatch(tag):
        raise FormatError(
            field, f"chip data: a tag is 1 to {_TAG_BYTES_MOST} bytes in upper case hex, as BER-TLV forms them"
        )


def _write_length(length: int) -> bytes:
    if length < _INDEFINITE:
        return bytes([length])
    count = (length.bit_length() + 7) // 8
    return bytes([_INDEFINITE + count]) + length.to_bytes(count)
