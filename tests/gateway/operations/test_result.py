"""Tests of gateway.operations.result."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.files.errors import FileRefused
from gateway.files.packed import Page, tail
from gateway.operations.result import PAGES_WAITING, ROWS_A_PAGE, in_pages, write_streamed
from tests.gateway.lists import read_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def _pages(count: int, breaks_at: int | None = None) -> AsyncIterator[Page]:
    for number in range(count):
        if number == breaks_at:
            raise ConnectionError
        yield Page([f"{number}a", f"{number}b"], [tail(f"row {number}")] * 2)


@pytest.mark.parametrize("count", [0, 1, PAGES_WAITING, PAGES_WAITING * 20])
async def test_every_row_is_written_in_order(tmp_path: Path, count: int) -> None:
    """Whatever the number of pages, the file holds the header and each row once."""
    out = tmp_path / "out.csv"
    assert 2 * count == await write_streamed(out, ["NO", "TEXT"], _pages(count))
    expected = [{"NO": f"{n}{half}", "TEXT": f"row {n}"} for n in range(count) for half in "ab"]
    assert expected == read_rows(out)


@pytest.mark.parametrize("count", [0, 1, ROWS_A_PAGE, ROWS_A_PAGE + 1])
async def test_rows_that_were_not_packed_are_written_too(tmp_path: Path, count: int) -> None:
    """As pages of records; formulas are made harmless as ever."""

    async def rows() -> AsyncIterator[list[str]]:
        for number in range(count):
            yield [str(number), "=a;b"]

    out = tmp_path / "out.csv"
    assert count == await write_streamed(out, ["NO", "TEXT"], in_pages(rows()))
    assert [{"NO": str(n), "TEXT": "'=a;b"} for n in range(count)] == read_rows(out)


async def test_a_stream_that_breaks_leaves_the_old_file(tmp_path: Path) -> None:
    """The error is the stream's own, the file stays as it was, and no part of a new one nor a thread is left."""
    out = tmp_path / "out.csv"
    out.write_text("old")
    for breaks_at in (0, 1, 15):
        with pytest.raises(ConnectionError):
            await write_streamed(out, ["NO", "TEXT"], _pages(20, breaks_at))
    assert ("old", ["out.csv"]) == (out.read_text(), os.listdir(tmp_path))  # noqa: PTH208 - a small folder, once
    await asyncio.get_running_loop().shutdown_default_executor()
    assert [] == [one.name for one in threading.enumerate() if one.name.startswith("asyncio_")]


async def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A folder that is not there fails at once, also while there are more rows than fit between the two sides."""
    out = tmp_path / "nowhere" / "out.csv"
    with pytest.raises(FileRefused, match="nowhere"):
        await write_streamed(out, ["NO", "TEXT"], _pages(20))
