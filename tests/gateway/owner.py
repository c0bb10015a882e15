"""SQL as the owner of the database, past role and triggers: for tests that tamper, and for what has no operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from datetime import date

    from gateway.operations.bank import Bank


async def as_owner(bank: Bank, statement: str, **values: object) -> list[Any]:
    """Run one statement in a transaction of its own; returns its rows."""
    engine = create_async_engine(bank.database.url)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no triggers
            done = await connection.execute(text(statement), values)
            return list(done) if done.returns_rows else []
    finally:
        await engine.dispose()


async def one_value(bank: Bank, statement: str, **values: object) -> Any:  # noqa: ANN401 - a database value
    """The first column of the first row."""
    return (await as_owner(bank, statement, **values))[0][0]


async def tamper(bank: Bank, table: str, *statements: str) -> None:
    """Change an append-only table with its triggers switched off, all statements or none."""
    engine = create_async_engine(bank.database.url)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            for statement in statements:
                await connection.execute(text(statement))
            await connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
    finally:
        await engine.dispose()


async def exclude(bank: Bank, nik: str, since: date, until: date | None = None) -> None:
    """Put a NIK on the exclusion list."""
    await as_owner(
        bank,
        EXCLUDE,
        nik=bank.vault.index(nik, "nik"), since=since, until=until,
    )  # fmt: skip


EXCLUDE = """
    INSERT INTO exclusion (nik_index, reason, valid_from, valid_to, listed_by) VALUES (:nik, 'moved', :since, :until, 'owner')
"""
