"""Writing a result file from the database: pages of rows flow from the connection to a writer thread.

Memory stays at a few pages, however long the list is.
"""

from __future__ import annotations

import asyncio
import queue
from typing import TYPE_CHECKING

from gateway.files.packed import Page, record_of
from gateway.files.result_file import write_pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

PAGES_WAITING = 2
ROWS_A_PAGE = 500
LOOK_S = 0.005
BROKEN_OFF = Page([], [])  # a mark, compared by identity


async def write_streamed(out: Path, header: Sequence[str], pages: AsyncIterator[Page]) -> int:
    """Write HEADER and the rows of PAGES to OUT. Returns how many rows. Raises FileRefused where the file cannot be written."""
    waiting: queue.Queue[Page | None] = queue.Queue(PAGES_WAITING)
    writer = asyncio.create_task(asyncio.to_thread(write_pages, out, header, _pages_of(waiting)))
    try:
        async for page in pages:
            await _hand_over(waiting, page, writer)
        await _hand_over(waiting, None, writer)
    except BaseException:
        await _hand_over(waiting, BROKEN_OFF, writer)
        await asyncio.gather(writer, return_exceptions=True)
        raise
    return await writer


async def in_pages(rows: AsyncIterator[Sequence[str]]) -> AsyncIterator[Page]:
    """Rows that were not packed before, as pages."""
    records: list[str] = []
    async for row in rows:
        records.append(record_of(row))
        if len(records) == ROWS_A_PAGE:
            yield Page(records, [""] * len(records))
            records = []
    yield Page(records, [""] * len(records))


async def _hand_over(waiting: queue.Queue[Page | None], page: Page | None, writer: asyncio.Task[int]) -> None:
    """Give the writer a page; if it has failed, let its error be heard."""
    while not writer.done():
        try:
            waiting.put_nowait(page)
        except queue.Full:
            await asyncio.sleep(LOOK_S)
        else:
            return


def _pages_of(waiting: queue.Queue[Page | None]) -> Iterator[Page]:
    """Pages until the end mark. A stream that broke off fails the writer, so the old file stays."""
    while (page := waiting.get()) is not None:
        if page is BROKEN_OFF:
            raise StreamBrokenOff
        yield page


class StreamBrokenOff(Exception):
    """The rows ended before their time; nothing was written."""
