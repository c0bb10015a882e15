"""Twin of gateway.store.array_text: PostgreSQL reads back exactly what was written, whatever it was."""

from __future__ import annotations

import doctest
from datetime import date
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from gateway.store import array_text as module
from gateway.store.array_text import array_text, arrays_as_text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

NASTY = [
    "",
    " ",
    "NULL",
    "null",
    '"',
    "\\",
    "\\\\",
    '\\"',
    "{",
    "}",
    ",",
    "{a,b}",
    "a'b",
    "\n\t",
    "Rp é 漢",
    "::text",
    ":x",
]


def test_the_examples_hold() -> None:
    """The docstrings' examples."""
    assert (0, 3) == tuple(doctest.testmod(module))


async def test_every_kind_comes_back(engine: AsyncEngine) -> None:
    """Texts of every nasty kind, bytes, numbers, truth values, dates and NULLs."""
    columns: dict[str, list[object]] = {
        "text": [*NASTY, None],
        "bytea": [b"", b'\x00\xff\\"', b"{,}", None],
        "bigint": [0, -1, 2**62, None],
        "boolean": [True, False, None],
        "date": [date(2026, 11, 23), date(1999, 1, 1), None],
    }
    async with engine.connect() as connection:
        for kind, values in columns.items():
            statement = text(arrays_as_text(f"SELECT CAST(:values AS {kind}[])"))
            found = (await connection.execute(statement, {"values": array_text(values)})).scalar_one()
            assert values == found


@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), max_size=5))
async def test_no_text_breaks_out(engine: AsyncEngine, values: list[str]) -> None:
    """Any texts come back as they were, as many as there were."""
    statement = text(arrays_as_text("SELECT CAST(:values AS text[])"))
    async with engine.connect() as connection:
        assert values == (await connection.execute(statement, {"values": array_text(values)})).scalar_one()


def test_only_array_parameters_are_changed() -> None:
    """A cast of a plain parameter stays as it is."""
    assert "CAST(:on AS date), CAST(CAST(:ids AS text) AS date[])" == arrays_as_text(
        "CAST(:on AS date), CAST(:ids AS date[])"
    )
