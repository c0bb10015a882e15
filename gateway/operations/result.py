"""Writing a result file from a database stream: rows flow from the connection to a writer thread, a page at a time.

Memory stays at a few pages, however long the list is.
"""

from __future__ import annotations

import asyncio
import queue
from typing import TYPE_CHECKING

from gateway.files.result_file import write_result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

PAGE = 500
PAGES_WAITING = 8
LOOK_S = 0.02
BROKEN_OFF: list[list[str]] = [[]]  # a mark, compared by identity


async def write_streamed(out: Path, header: Sequence[str], rows: AsyncIterator[list[str]]) -> int:
    """Write HEADER and ROWS to OUT. Returns how many rows. Raises FileRefused where the file cannot be written."""
    pages: queue.Queue[list[list[str]] | None] = queue.Queue(PAGES_WAITING)
    writer = asyncio.create_task(asyncio.to_thread(write_result, out, header, _rows_of(pages)))
    try:
        page: list[list[str]] = []
        async for row in rows:
            page.append(row)
            if len(page) == PAGE:
                await _hand_over(pages, page, writer)
                page = []
        await _hand_over(pages, page, writer)
        await _hand_over(pages, None, writer)
    except BaseException:
        await _hand_over(pages, BROKEN_OFF, writer)
        await asyncio.gather(writer, return_exceptions=True)
        raise
    return await writer


async def _hand_over(
    pages: queue.Queue[list[list[str]] | None], page: list[list[str]] | None, writer: asyncio.Task[int]
) -> None:
    """Give the writer a page; if it has failed, let its error be heard."""
    while not writer.done():
        try:
            pages.put_nowait(page)
        except queue.Full:
            await asyncio.sleep(LOOK_S)
        else:
            return


def _rows_of(pages: queue.Queue[list[list[str]] | None]) -> Iterator[list[str]]:
    """Rows until the end mark. A stream that broke off fails the writer, so the old file stays."""
    while (page := pages.get()) is not None:
        if page is BROKEN_OFF:
            raise StreamBrokenOff
        yield from page


class StreamBrokenOff(Exception):
    """The rows ended before their time; nothing was written."""
