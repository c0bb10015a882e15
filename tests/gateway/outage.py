"""A bank whose PostgreSQL can be taken away and brought back, with a street before it and links that are stood in for."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.operations import lane as lane_module
from gateway.settings import load_settings
from gateway.terminals.links_file import DEFAULT_FILE
from tests.gateway.street import open_street
from tests.servers import kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from tests.gateway.street import Street

POLICY = """
[link.stand_in]
cash = ["ATM"]
purchases = true
most_idr = 200_000
most_card_idr = 300_000
"""
FIRST_LINK = "expiring_in_48 = true\n"
WAIT_S = 30.0


def links_file(folder: Path, policy: str = POLICY) -> Path:
    """The shipped links, the first of which is stood in for."""
    text = DEFAULT_FILE.read_text(encoding="utf-8")
    assert FIRST_LINK in text
    path = folder / "links.toml"
    path.write_text(text.replace(FIRST_LINK, FIRST_LINK + policy, 1), encoding="utf-8")
    return path


def outage_settings(folder: Path, policy: str = POLICY) -> Settings:
    """A bank on an embedded server of its own."""
    return load_settings(
        data_dir=folder / "var", iso_port=0, http_port=0, log_level="warning", links_file=links_file(folder, policy)
    )


@asynccontextmanager
async def stood_in_street(
    folder: Path, patch: pytest.MonkeyPatch, families: int = 1, policy: str = POLICY
) -> AsyncIterator[tuple[Bank, Street]]:
    """The bank and its street, once a list of cards is in use. The lanes find out soon that the books are away."""
    patch.setattr(lane_module, "RETRY_WAIT_S", 0.001)
    async with open_bank(outage_settings(folder, policy)) as bank, open_street(bank, folder, families) as street:
        if policy:
            await until_listed(street)
        yield bank, street


async def until_listed(street: Street) -> None:
    """Wait for a list of cards."""
    async with asyncio.timeout(WAIT_S):
        while not street.service.stand_in.status()["stands_in"]:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.02)


async def until_posted(street: Street) -> None:
    """Wait until nothing waits any more."""
    async with asyncio.timeout(WAIT_S):
        while street.service.stand_in.owes_any:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.02)


@asynccontextmanager
async def frozen(bank: Bank) -> AsyncIterator[None]:
    """With a PostgreSQL that neither answers nor closes a connection until the block ends."""
    server = bank.database.embedded
    assert server is not None
    postmaster = server.postmaster_pid()
    assert postmaster is not None
    os.kill(postmaster, signal.SIGSTOP)  # first: it makes no more of them
    found = [postmaster, *children_of(postmaster)]
    for pid in found[1:]:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(found):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def children_of(parent: int) -> list[int]:
    """Process ids."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state = path.read_text().rpartition(")")[2].split()
            if int(state[1]) == parent:
                found.append(int(path.parent.name))
    return found


@asynccontextmanager
async def away(bank: Bank) -> AsyncIterator[None]:
    """Without PostgreSQL, which is killed, until the block ends."""
    server = bank.database.embedded
    assert server is not None
    await asyncio.to_thread(kill, server)
    try:
        yield
    finally:
        await asyncio.to_thread(server.start)
