"""Twin of gateway.store.copy_format: PostgreSQL reads what was put together here."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from gateway.store import copy_format as field
from gateway.store.database import copy_payload

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

COLUMNS = ("a", "b", "c", "d", "e", "f", "g", "h")
TABLE = "CREATE TEMP TABLE landed (a bytea, b text, c smallint, d int, e bigint, f jsonb, g date, h text[])"
ROWS: list[tuple[Any, ...]] = [
    (b"\x00\xff", "rupiah \u20b9; 'x'\n", -3, 2**31 - 1, -(2**63), {"SD": 1}, date(1945, 8, 17), ("2026-10", "a,b")),
    (b"", "", 0, 0, 0, [], date(2000, 1, 1), ()),
    (b"x" * 5_000, "y" * 5_000, 1, 1, 1, None, date(2100, 2, 28), ("\u00e9",)),
]
JSON = ['{"SD": 1}', "[]", "null"]


async def test_every_kind_of_field_arrives(engine: AsyncEngine) -> None:
    """Short and long values, signs, dates before 2000, empty arrays, and NULL in each column."""
    rows = [
        b"".join((
            field.row_start(8), field.raw(a), field.text(b), field.int2(c), field.int4(d), field.int8(e), field.jsonb(f),
            field.day(g), field.text_array(h),
        ))
        for (a, b, c, d, e, _, g, h), f in zip(ROWS, JSON, strict=True)
    ]  # fmt: skip
    rows.append(field.row_start(8) + field.NULL * 8)
    async with engine.connect() as connection:
        await connection.execute(text(TABLE))
        await copy_payload(connection, "landed", COLUMNS, field.payload(rows))
        found = [tuple(row) for row in await connection.execute(text("SELECT * FROM landed"))]
    assert [(*row[:7], list(row[7])) for row in ROWS] == found[:3]
    assert (None,) * 8 == found[3]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (field.raw_or_null(None), field.NULL), (field.text_or_null(None), field.NULL), (field.int8_or_null(None), field.NULL),
        (field.raw_or_null(b"a"), field.raw(b"a")), (field.text_or_null("a"), field.text("a")),
        (field.int8_or_null(7), field.int8(7)),
    ],
)  # fmt: skip
def test_null_or_value(made: bytes, expected: bytes) -> None:
    """None is NULL, anything else is itself."""
    assert expected == made
