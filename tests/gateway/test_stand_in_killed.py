"""Stand-in when the service itself is killed: what it told is in the journal, and comes into the books once, whenever it dies."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from gateway.app import open_bank
from gateway.operations import link_exceptions
from gateway.operations.bank import reading
from gateway.operations.stand_in_folder import JOURNAL, folder_of
from gateway.operations.stand_in_report import look
from gateway.settings import load_settings
from gateway.store.embedded import EmbeddedServer
from keys.sensitive import Pin
from tests.gateway.outage import WAIT_S, links_file
from tests.gateway.serving import ready, start
from tests.gateway.street import AID_IDR, assert_proved, available_idr, stand_before
from tests.gateway.world import activate, credit, open_families
from tests.servers import TestServer, kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

WRONG = Pin("999931")
FAMILIES = 12
KILLED_AFTER_S = (0.02, 0.3, 0.9)


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL of the test's own, which it may kill."""
    folder = Path(tempfile.mkdtemp(prefix="kks-test-pg-"))
    server = EmbeddedServer(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _bank(own_server: EmbeddedServer, folder: Path) -> AsyncIterator[tuple[Settings, Bank, Any, Any]]:
    made = TestServer(own_server)
    made.start()
    settings = load_settings(
        database_url=made.new_database(), data_dir=folder / "var", iso_port=0, http_port=0, log_level="warning",
        links_file=links_file(folder),
    )  # fmt: skip
    async with open_bank(settings) as bank:
        families = await open_families(bank, folder, FAMILIES)
        wallet = await activate(bank, families)
        await credit(bank, folder, families, AID_IDR)
        yield settings, bank, families, wallet


async def test_killed_while_the_books_are_away_and_while_it_posts(own_server: EmbeddedServer, tmp_path: Path) -> None:
    """SIGKILL in the outage; no start without a database; then killed again and again while it posts: each rupiah once."""
    async with _bank(own_server, tmp_path) as (settings, bank, families, wallet):
        process = await start(settings)
        served: Any = await ready(process)
        journal = folder_of(settings.data_dir) / JOURNAL
        await _until(journal.exists)
        async with stand_before(bank, served, wallet, families) as street:
            assert "00" == (await street.atm.withdraw(wallet.cards[1], 550_000)).code
            await asyncio.to_thread(kill, own_server)
            paid = [await street.atm.withdraw(card, 100_000) for card in wallet.cards]
            assert {"00"} == {one.code for one in paid}
            back = await street.atm.reverse(paid[2])
            wrong = await street.atm.withdraw(wallet.cards[3], 50_000, WRONG)
            assert ("00", "55") == (back.code, wrong.code)
            process.kill()
            await process.wait()
        refused = await start(settings, asyncio.subprocess.PIPE)
        _, err = await refused.communicate()
        assert (1, 1) == (refused.returncode, err.count(b"cannot reach PostgreSQL")), err
        found = look(folder_of(settings.data_dir), bank.audit_verify)
        assert (None, False, FAMILIES + 2) == (found.wrong, found.running, len(found.waiting))
        await asyncio.to_thread(own_server.start)
        for after_s in KILLED_AFTER_S:
            process = await start(settings)
            await _until(lambda: look(folder_of(settings.data_dir), bank.audit_verify).running)
            await asyncio.sleep(after_s)
            process.kill()
            await process.wait()
        process = await start(settings)
        served = await ready(process)
        await _until(lambda: not look(folder_of(settings.data_dir), bank.audit_verify).waiting)
        async with stand_before(bank, served, wallet, families) as street:
            for one in (*paid, back, wrong):
                assert (await street.atm.repeat(one)).same_answer(one)
            left = [await available_idr(bank, one.family_id) for one in families]
            assert [AID_IDR - 100_000, AID_IDR - 550_000, AID_IDR, *[AID_IDR - 100_000] * (FAMILIES - 3)] == left
        process.terminate()
        assert 0 == await process.wait()
        _, opened = await link_exceptions.overview(bank)
        assert [("INSUFFICIENT_FUNDS", 100_000)] == [(one.reason, one.amount_idr) for one in opened]
        async with reading(bank) as connection:
            assert FAMILIES + 2 == (await connection.execute(STOOD_IN)).scalar_one()
        await assert_proved(bank)


async def _until(condition: Any) -> None:  # noqa: ANN401 - a function
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.02)


STOOD_IN = text("SELECT count(*) FROM authorisation WHERE answer LIKE '%stand_in%'")
