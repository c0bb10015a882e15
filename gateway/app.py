"""The composition root: settings, database, keys and links become an open Bank, and a Bank becomes the running service."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway import clock
from gateway.api.server import ApiServer
from gateway.errors import GatewayError, Refused
from gateway.jobs.runner import catch_up
from gateway.jobs.schedule import make_schedule
from gateway.operations import link_keys
from gateway.operations.bank import Bank, refresh_business_date
from gateway.operations.ceremony import compare_keystore
from gateway.operations.custody import bank_keys, custody_of, vault_of
from gateway.operations.key_watch import KeyWatch
from gateway.operations.lane import Lanes
from gateway.operations.noted_acts import take_in_notes
from gateway.operations.refusals import Refusals, write_refusals
from gateway.operations.setup import check_settings_match, create_bank_row
from gateway.operations.stand_in import StandIn
from gateway.store import database, partitions
from gateway.terminals.desk import DESK_MTIS, REJECTS, Desk
from gateway.terminals.forwarding import Forwarding
from gateway.terminals.links import LinkRoom
from keys.errors import KeysError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import date

    from gateway.settings import Settings
    from gateway.terminals.profile import Link
    from keys.hsm import Hsm
    from keys.toolbox import Refusal


_log = structlog.get_logger(__name__)

OWED_S, OWED_LOOK_S = 60.0, 0.05  # what was stood in for is posted before jobs run, if it can be within so long
GC_YOUNG = 50_000  # allocations before the collector looks at new objects


@asynccontextmanager
async def open_bank(settings: Settings) -> AsyncIterator[Bank]:
    """Open the bank: start or reach PostgreSQL, make the schema and keys of a new embedded one, check that all fits together."""
    db = await _open_database(settings)
    try:
        async with db.engine.begin() as connection:
            row = await create_bank_row(connection, settings)
            used = (await connection.exec_driver_sql("SELECT count(*) FROM audit_event")).scalar_one()
        keystore = custody_of(settings).place.keystore
        if used and not keystore.exists():  # before a new one is made: the next start must refuse as well
            raise Refused(f"the database has data and {keystore} does not exist: restore the keystore")
        check_settings_match(row, settings)
        refusals = Refusals()
        bank: Bank | None = None

        def business_date() -> date:
            return clock.jakarta_today() if bank is None else bank.business_date

        hsm = await asyncio.to_thread(open_keystore, settings, refusals.note, business_date)
        bank = Bank(settings, db, row, hsm, bank_keys(hsm), vault_of(hsm), refusals)
        today = await refresh_business_date(bank)
        async with db.engine.begin() as connection:
            await partitions.make_around(connection, today)
        await compare_keystore(bank)
        await take_in_notes(bank)
        await link_keys.take_up(bank)
        try:
            yield bank
        finally:
            await _write_last_refusals(bank)
    except KeysError as error:
        raise GatewayError(str(error)) from None
    finally:
        await db.close()


@asynccontextmanager
async def run_service(
    bank: Bank, *, jobs: bool = True, say: Callable[[str], None] | None = None
) -> AsyncIterator[Service]:
    """Listen for terminals and HTTP and run jobs, until the block ends; then finish what was accepted."""
    service = Service(bank)
    try:
        await service.start(jobs=jobs, say=say)
        yield service
    finally:
        await service.close()


class Service:
    """The running service of one process."""

    def __init__(self, bank: Bank) -> None:
        """Put the parts together; start() starts them. Raises SettingsError or Refused for a wrong link or a missing key."""
        self.bank = bank
        self.lanes = Lanes(bank)
        self.room = LinkRoom(bank, self.lanes, dict.fromkeys(DESK_MTIS | REJECTS, Desk(bank).serve))
        self.forwarding = Forwarding(bank, self.room)
        self.stand_in = self.lanes.stand_in = StandIn(bank, self.room.stand_ins)
        self.watch = KeyWatch(bank)
        self.api = ApiServer(bank, self.lanes, self.links_status, self.watch)
        self.scheduler = make_schedule(bank)
        self.http_address = ("", 0)
        self._watch: asyncio.Task[None] | None = None
        self._links_watch: asyncio.Task[None] | None = None
        self._stand_in_watch: asyncio.Task[None] | None = None

    @property
    def link(self) -> Link:
        """The link that stands first: terminals of the demo and of tests use it."""
        return self.room.places[0].link

    @property
    def iso_address(self) -> tuple[str, int]:
        """Where the first link listens."""
        return self.room.places[0].address

    def links_status(self) -> dict[str, object]:
        """The links' part of the status."""
        return {
            "link": self.link.name,
            "connections": self.room.connections,
            "links": self.room.status(),
            "outgoing": self.forwarding.status(),
            "people": self.forwarding.for_people(),
            "transaction_log": {
                "told": "none" if self.room.events is None else self.bank.settings.transaction_log,
                "lost": 0 if self.room.events is None else self.room.events.lost,
            },
            "stand_in": self.stand_in.status(),
            "links_file": {"state": "ok" if self.room.refused is None else "refused", "why": self.room.refused},
        }

    async def start(self, *, jobs: bool, say: Callable[[str], None] | None = None) -> None:
        """Catch up missed jobs, then listen. Raises GatewayError where a port is taken."""
        settings = self.bank.settings
        self.stand_in.open()
        await self.lanes.start()
        await self._post_owed()
        if jobs:
            try:
                await catch_up(self.bank)
            except Refused as error:
                if say is not None:
                    say(f"jobs: {error}")
            self.scheduler.start()
        await self.room.start()
        await self.forwarding.look()
        self.forwarding.start()
        self._watch = asyncio.create_task(self.watch.run())
        self._links_watch = asyncio.create_task(self.room.run())
        self._stand_in_watch = asyncio.create_task(self.stand_in.run(self.lanes.nudge))
        self.http_address = await _listen("HTTP", settings.host, settings.http_port, self.api.start)

    async def close(self) -> None:
        """Stop taking new work, answer what was accepted, close everything."""
        if self.scheduler.running:
            self.scheduler.shutdown(wait=False)
        for task in (self._watch, self._links_watch, self._stand_in_watch):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self.forwarding.close()
        await self.room.drain()
        await self.lanes.close()
        self.stand_in.close()
        await self.room.close()
        await self.api.close()

    async def _post_owed(self) -> None:
        """What was stood in for before comes before jobs take what a family has; whatever cannot be posted soon waits on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OWED_S):
                while self.stand_in.can_post:
                    self.lanes.nudge()
                    await asyncio.sleep(OWED_LOOK_S)


def settle_collector() -> None:
    """Set the garbage collector for a process that serves: a message makes many short-lived objects and hardly a cycle."""
    gc.collect()
    gc.freeze()  # what is loaded by now lives as long as the process
    gc.set_threshold(GC_YOUNG)


def open_keystore(
    settings: Settings,
    on_refusal: Callable[[Refusal], None] | None = None,
    today: Callable[[], date] = clock.jakarta_today,
) -> Hsm:
    """The bank's HSM. A new one gets the bank's own keys; they never leave it."""
    custody = custody_of(settings)
    if not custody.place.keystore.exists():
        custody.create()
    return custody.open(on_refusal, today)


async def _open_database(settings: Settings) -> database.Database:
    """A new embedded database is migrated by itself; one that others run is migrated by `kks db migrate` only."""
    if settings.database_url is not None:
        return await database.open_database(settings)
    db = await database.open_database(settings, migrated=False)
    if not (await database.migration_status(db.engine)).up_to_date:
        await database.migrate(db.engine)
    return await database.as_service(db, settings)


async def _write_last_refusals(bank: Bank) -> None:
    """What is left when the bank is closed. Where the database is away it stays in the log alone."""
    try:
        await write_refusals(bank, every=True)
    except (KeysError, SQLAlchemyError, OSError) as error:
        _log.error("refusals_not_written", refusals=bank.refusals.take(every=True).total(), error=type(error).__name__)


async def _listen(
    what: str, host: str, port: int, start: Callable[[str, int], Awaitable[tuple[str, int]]]
) -> tuple[str, int]:
    try:
        return await start(host, port)
    except OSError as error:
        raise GatewayError(f"cannot listen for {what} on {host} port {port}: {error.strerror}") from None
