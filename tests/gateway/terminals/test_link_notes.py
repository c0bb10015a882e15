"""Tests of gateway.terminals.link_notes: a partner that signs on without end fills neither the audit chain nor the bank."""

from __future__ import annotations

import asyncio

import pytest

from gateway.terminals import link_notes
from gateway.terminals.link_notes import AT_ONCE, LinkNotes
from tests.gateway.terminals.counterpart import until


def notes() -> tuple[list[tuple[str, int]], LinkNotes]:
    """Notes, and where they are written."""
    kept: list[tuple[str, int]] = []

    async def write(event: str, times: int) -> None:
        await asyncio.sleep(0)
        kept.append((event, times))

    return kept, LinkNotes(write)


async def test_what_comes_now_and_then_is_kept_one_by_one() -> None:
    """In order, at once."""
    kept, said = notes()
    for number, event in enumerate(("sign-on", "cut-over", "sign-off"), 1):
        said.add(event)
        await until(lambda number=number: len(kept) == number)  # type: ignore[misc]
    await said.finish()
    assert [("sign-on", 1), ("cut-over", 1), ("sign-off", 1)] == kept


async def test_a_flood_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first are kept one by one, what follows as so many times: when there is room again, or at the end."""
    monkeypatch.setattr(link_notes, "WITHIN_S", 0.2)
    kept, said = notes()
    for _ in range(AT_ONCE):
        said.add("sign-on")
        await until(lambda: said._task is None)
    assert [("sign-on", 1)] * AT_ONCE == kept
    for _ in range(500):
        said.add("sign-on")
    await asyncio.sleep(0)
    assert AT_ONCE == len(kept)
    await until(lambda: len(kept) > AT_ONCE)
    assert ("sign-on", 500) == kept[-1]
    monkeypatch.setattr(link_notes, "WITHIN_S", 600.0)
    for _ in range(AT_ONCE):
        said.add("sign-on")
        said.add("sign-off")
        await asyncio.sleep(0.001)
    await said.finish()
    assert 500 + 3 * AT_ONCE == sum(times for _, times in kept)


async def test_a_record_that_fails_stops_none_that_follow() -> None:
    """A bug in one is no end of all."""
    kept: list[str] = []

    async def write(event: str, _times: int) -> None:
        kept.append(event)
        if len(kept) == 1:
            raise KeyError(event)

    said = LinkNotes(write)
    said.add("sign-on")
    task = said._task
    assert task is not None
    with pytest.raises(KeyError):
        await task
    said.add("sign-off")
    await said.finish()
    assert ["sign-on", "sign-off"] == kept
