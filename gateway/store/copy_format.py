"""PostgreSQL's binary COPY format: fields, rows and whole payloads as bytes, so that a chunk of rows can be made ready anywhere.

A payload made in another process, or kept sealed, goes to the server as it is (gateway.store.database, copy_payload). Refuses to
know tables. The format: PostgreSQL manual, COPY, Binary Format.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NULL = b"\xff\xff\xff\xff"
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_TEXT_OID = 25
_EPOCH = date(2000, 1, 1).toordinal()
_LENGTH = tuple(size.to_bytes(4, "big") for size in range(1_024))
_INT2, _INT4, _INT8, _ARRAY = Struct("!ih"), Struct("!ii"), Struct("!iq"), Struct("!iiiiii")


def payload(rows: Iterable[bytes]) -> bytes:
    """A whole COPY of rows."""
    return b"".join((_HEADER, *rows, _TRAILER))


def row_start(fields: int) -> bytes:
    """What stands before the fields of a row."""
    return fields.to_bytes(2, "big")


def raw(data: bytes) -> bytes:
    """A bytea, or any field from its bytes."""
    try:
        return _LENGTH[len(data)] + data
    except IndexError:
        return len(data).to_bytes(4, "big") + data


def raw_or_null(data: bytes | None) -> bytes:
    """The same, or NULL."""
    return NULL if data is None else raw(data)


def text(value: str) -> bytes:
    """A text."""
    data = value.encode()
    try:
        return _LENGTH[len(data)] + data
    except IndexError:
        return len(data).to_bytes(4, "big") + data


def text_or_null(value: str | None) -> bytes:
    """A text or NULL."""
    return NULL if value is None else raw(value.encode())


def int2(value: int) -> bytes:
    """A smallint."""
    return _INT2.pack(2, value)


def int4(value: int) -> bytes:
    """An int."""
    return _INT4.pack(4, value)


def int8(value: int) -> bytes:
    """A bigint."""
    return _INT8.pack(8, value)


def int8_or_null(value: int | None) -> bytes:
    """A bigint or NULL."""
    return NULL if value is None else _INT8.pack(8, value)


def jsonb(value: str) -> bytes:
    """A jsonb from its text."""
    return raw(b"\x01" + value.encode())


@lru_cache(maxsize=65_536)
def day(value: date) -> bytes:
    """A date."""
    return _INT4.pack(4, value.toordinal() - _EPOCH)


@lru_cache(maxsize=4_096)
def text_array(values: tuple[str, ...]) -> bytes:
    """A text[]."""
    if not values:
        return raw(_ARRAY.pack(0, 0, _TEXT_OID, 0, 0, 0)[:12])
    head = _ARRAY.pack(1, 0, _TEXT_OID, len(values), 1, 0)[:20]
    return raw(head + b"".join(map(text, values)))
