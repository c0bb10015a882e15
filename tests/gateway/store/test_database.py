"""Tests of gateway.store.database."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import DatabaseUnavailable
from gateway.settings import load_settings
from gateway.store import database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.settings import Settings

SECRET = "hunter2-zq"


async def _refused(settings: Settings, message: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=message) as refused:
        await database.open_database(settings)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


async def test_a_database_that_cannot_be_reached_is_one_line(bank_settings: Settings) -> None:
    """Nobody listens, no such name, no such database: the address without its password, and the reason."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        url = f"postgresql://kks:{SECRET}@127.0.0.1:{port}/kks"
        await _refused(
            load_settings(database_url=url), rf"^cannot reach PostgreSQL at .*kks:\*\*\*@127.0.0.1:{port}/kks: "
        )
    other = make_url(bank_settings.database_url or "").set(database="nowhere").render_as_string()
    await _refused(load_settings(database_url=other), 'database "nowhere" does not exist')
    missing = f"postgresql://kks@/kks?host=/nowhere&password={SECRET}"
    await _refused(load_settings(database_url=missing), "cannot reach PostgreSQL at .*: ")


async def test_a_server_that_says_nothing_is_one_line() -> None:
    """A time-out has no text of its own; its name is told."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        url = make_url(f"postgresql+asyncpg://kks@127.0.0.1:{server.sockets[0].getsockname()[1]}/kks")
        engine = create_async_engine(url, connect_args={"timeout": 0.2})
        with pytest.raises(DatabaseUnavailable, match=r"TimeoutError$"):
            await database._check_version(engine, url)
        await engine.dispose()
        await gone.wait()


async def test_an_old_server_is_refused(bank_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says which version is needed and which is there."""
    monkeypatch.setattr(database, "OLDEST_POSTGRESQL", 990_000)
    await _refused(bank_settings, r"^PostgreSQL 15 or newer is needed; .* is version \d\d$")


async def test_a_database_is_migrated_once(bank_settings: Settings) -> None:
    """An empty one is refused with what to do, then migrated by two processes at once, and then opened."""
    owner = create_async_engine(bank_settings.database_url or "")
    async with owner.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await owner.dispose()
    await _refused(bank_settings, r"^the schema is at nothing, this version wants \d{4}: run `kks db migrate`$")
    opened = await database.open_database(bank_settings, migrated=False)
    assert not (await database.migration_status(opened.engine)).up_to_date
    done = await asyncio.gather(*(database.migrate(opened.engine) for _ in range(3)))
    assert {True} == {status.up_to_date for status in done}
    await opened.close()
    again = await database.open_database(bank_settings)
    await again.close()


async def test_the_service_works_with_fewer_rights(engine: AsyncEngine) -> None:
    """It is the role kks_app, in UTC, and may neither change the journal nor remove anything."""
    async with engine.connect() as connection:
        role, zone = (await connection.execute(text("SELECT current_user::text, current_setting('timezone')"))).one()
        assert ("kks_app", "UTC") == (role, zone)
    for statement in (
        "UPDATE transfer SET amount_idr = 1", "DELETE FROM transfer", "UPDATE audit_event SET actor = 'x'",
        "DELETE FROM audit_event", "DELETE FROM family", "TRUNCATE purse", "DROP TABLE purse",
    ):  # fmt: skip
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            await _run(engine, statement)


async def test_rows_are_copied_in_the_transaction(engine: AsyncEngine) -> None:
    """COPY belongs to the transaction of the connection: rolled back with it, and kept with it."""
    day = (await _run(engine, "SELECT current_date"))[0][0]
    for keep in (False, True):
        async with engine.connect() as connection:
            await database.copy_rows(
                connection, "sp2d", ["no", "sp2d_date", "amount_idr"], [("A", day, 1), ("B", day, 2)]
            )
            await (connection.commit() if keep else connection.rollback())
        assert (2 if keep else 0) == (await _run(engine, "SELECT count(*) FROM sp2d"))[0][0]


async def test_an_errors_text_has_no_values(engine: AsyncEngine) -> None:
    """What a failed statement was given does not stand in its error."""
    with pytest.raises(IntegrityError) as failed:
        await _run(engine, "INSERT INTO sp2d VALUES (:no, now(), :amount)", no="SITI AMINAH", amount=-1)
    assert "SITI AMINAH" not in str(failed.value).split("DETAIL")[0]


async def _run(engine: AsyncEngine, statement: str, **values: object) -> list[tuple[object, ...]]:
    async with engine.begin() as connection:
        done = await connection.execute(text(statement), values)
        return [tuple(row) for row in done] if done.returns_rows else []
