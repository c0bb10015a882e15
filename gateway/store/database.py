"""Opening PostgreSQL: the engine, its role, its version, its migrations. Knows no table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.errors import DatabaseUnavailable
from gateway.settings import shown_url
from gateway.store.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.engine import Connection

    from gateway.settings import Settings

OLDEST_POSTGRESQL = 150000
MIGRATION_LOCK = 8_583_001
SERVICE_ROLE = "kks_app"
FIRST_STATE = {"timezone": "UTC", "application_name": "kks", "jit": "off", "client_connection_check_interval": "10s"}


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where the schema stands and where this version of the program wants it."""

    current: str | None
    wanted: str | None

    @property
    def up_to_date(self) -> bool:
        """Whether nothing is left to migrate."""
        return self.current == self.wanted


@dataclass(slots=True)
class Database:
    """An open database: the engine to work with, and the embedded server if it is ours to stop."""

    engine: AsyncEngine
    url: URL
    embedded: EmbeddedServer | None

    async def close(self) -> None:
        """Close every connection, and the embedded server if nobody else uses it."""
        await self.engine.dispose()
        if self.embedded is not None:
            self.embedded.stop()


async def open_database(settings: Settings, *, migrated: bool = True) -> Database:
    """Reach (or start) PostgreSQL. Raises DatabaseUnavailable in one line: unreachable, too old, not migrated."""
    embedded = None
    if settings.database_url is None:
        embedded = EmbeddedServer(settings.data_dir / "pg", settings.pg_bin)
        embedded.start()
        url = make_url(embedded.url)
    else:
        url = make_url(settings.database_url).set(drivername="postgresql+asyncpg")
    plain = _engine(url, settings.pool_size + settings.lanes, role=None)
    try:
        await _check_version(plain, url)
        if migrated:
            await _check_migrated(plain)
    except BaseException:
        await plain.dispose()
        if embedded is not None:
            embedded.stop()
        raise
    opened = Database(plain, url, embedded)
    return await as_service(opened, settings) if migrated else opened


async def as_service(opened: Database, settings: Settings) -> Database:
    """The same database as the role that may add to the journal and change nothing in it."""
    role = await _service_role(opened.engine)
    if role is None:
        return opened
    await opened.engine.dispose()
    return Database(_engine(opened.url, settings.pool_size + settings.lanes, role=role), opened.url, opened.embedded)


async def migrate(engine: AsyncEngine) -> MigrationStatus:
    """Bring the schema to the newest revision, under a lock so that two processes do not migrate at once."""
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        await connection.run_sync(_upgrade)
    return await migration_status(engine)


async def migration_status(engine: AsyncEngine) -> MigrationStatus:
    """Read the schema's revision."""

    def current(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    async with engine.connect() as connection:
        return MigrationStatus(
            await connection.run_sync(current), ScriptDirectory.from_config(_config()).get_current_head()
        )


async def copy_rows(connection: AsyncConnection, table: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """COPY rows into a table inside the connection's transaction (asyncpg's binary COPY)."""
    driver = await driver_of(connection)
    await driver.copy_records_to_table(table, columns=columns, records=rows)


async def copy_payload(connection: AsyncConnection, table: str, columns: Sequence[str], data: bytes) -> None:
    """COPY rows made ready before (gateway.store.copy_format) into a table inside the connection's transaction."""

    async def whole() -> AsyncIterator[bytes]:
        yield data

    driver = await driver_of(connection)
    await driver.copy_to_table(table, source=whole(), columns=list(columns), format="binary")


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """The asyncpg connection under a SQLAlchemy one, with its transaction begun."""
    await connection.execute(text("SELECT 1"))
    raw = await connection.get_raw_connection()
    driver: asyncpg.Connection = raw.driver_connection
    return driver


def _engine(url: URL, pool_size: int, *, role: str | None) -> AsyncEngine:
    state = dict(FIRST_STATE) | ({"role": role} if role else {})
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text must not carry a family's data
        connect_args={"server_settings": state, "timeout": 30},
    )


async def _check_migrated(engine: AsyncEngine) -> None:
    status = await migration_status(engine)
    if not status.up_to_date:
        raise DatabaseUnavailable(
            f"the schema is at {status.current or 'nothing'}, this version wants {status.wanted}: run `kks db migrate`"
        )


async def _check_version(engine: AsyncEngine, url: URL) -> None:
    try:
        async with engine.connect() as connection:
            number = int((await connection.execute(text("SHOW server_version_num"))).scalar_one())
    except (OSError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise DatabaseUnavailable(f"cannot reach PostgreSQL at {shown_url(url)}: {reason}") from None
    if number < OLDEST_POSTGRESQL:
        raise DatabaseUnavailable(f"PostgreSQL 15 or newer is needed; {shown_url(url)} is version {number // 10000}")


async def _service_role(engine: AsyncEngine) -> str | None:
    """Name of the service role, or None where the owner of the schema was not allowed to make it."""
    found = text("SELECT 1 FROM pg_roles WHERE rolname = :role AND pg_has_role(session_user, oid, 'MEMBER')")
    async with engine.connect() as connection:
        return SERVICE_ROLE if (await connection.execute(found, {"role": SERVICE_ROLE})).scalar() else None


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
