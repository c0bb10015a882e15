"""Making a bank out of an empty database: its row, its first policy, its keys; and moving its business date by hand.

Cells and lanes are fixed here for the life of the database. Keys are made in the HSM; nothing of them is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway import clock
from gateway.errors import Refused
from gateway.operations.bank import BankRow, refresh_business_date, transaction
from gateway.store import partitions, policy
from gateway.store.audit import Operation
from ledger import days

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

CELLS = 16


async def read_bank_row(connection: AsyncConnection) -> BankRow | None:
    """The bank's row, or None before setup."""
    row = (await connection.execute(READ_BANK)).one_or_none()
    return None if row is None else BankRow(row.name, row.card_bin, row.cells, row.lanes)


async def create_bank_row(connection: AsyncConnection, settings: Settings) -> BankRow:
    """First start on an empty database: write the bank's row and the first policy. Safe against another process's first start."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(8583002)"))
    existing = await read_bank_row(connection)
    if existing is not None:
        return existing
    values = {"name": settings.bank, "bin": settings.card_bin, "cells": CELLS, "lanes": settings.lanes}
    await connection.execute(CREATE_BANK, values)
    await policy.add(connection, policy.read_policy_file(settings.policy_file or policy.DEFAULT_FILE))
    return BankRow(settings.bank, settings.card_bin, CELLS, settings.lanes)


def check_settings_match(row: BankRow, settings: Settings) -> None:
    """The settings that may not change after setup. Raises Refused naming the one that did."""
    for name, stored, wanted in (
        ("KKS_BANK", row.name, settings.bank),
        ("KKS_CARD_BIN", row.card_bin, settings.card_bin),
        ("KKS_LANES", row.lanes, settings.lanes),
    ):
        if stored != wanted:
            raise Refused(f"this database was set up with {name}={stored}; the setting says {wanted}")


async def load_policy(bank: Bank, actor: str, path: Path) -> int:
    """Add the rows of a policy file: a new programme or top-up, new amounts, purse rules or clocks. Returns how many."""
    rows = policy.read_policy_file(path)
    async with transaction(bank, actor) as tx:
        try:
            count = await policy.add(tx.connection, rows)
        except IntegrityError as error:
            rule = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
            raise Refused(f"{path}: a row is there already or breaks a rule of the table ({rule})") from None
        await tx.record(Operation.POLICY_LOAD, path.name, rows=count)
    return count


async def move_business_date(bank: Bank, actor: str, to: date | None) -> date:
    """Set the bank's date by hand (demo, tests, a bank that closes its own days); None goes back to Jakarta's today.

    The date never goes back to before the last entry of the journal, nor onto a closed day: Refused.
    """
    async with transaction(bank, actor) as tx:
        await tx.connection.execute(LOCK_BANK)  # a close that is under way has locked its day or has not begun
        closed = await days.newest(tx.connection)
        if closed is not None and (to or clock.jakarta_today()) <= closed.business_date:
            raise Refused(f"the business date cannot be {to or 'today'}: {closed.business_date} is closed")
        newest = (await tx.connection.execute(NEWEST_ENTRY)).scalar_one()
        if to is not None and newest is not None and to < newest:
            raise Refused(f"the business date cannot go back to {to}: the journal has entries of {newest}")
        await partitions.make_around(tx.connection, to or clock.jakarta_today())
        await tx.connection.execute(MOVE_DATE, {"to": to})
        await tx.record(Operation.BUSINESS_DATE, "bank", to=to)
    return await refresh_business_date(bank)


READ_BANK = text("SELECT name, card_bin, cells, lanes FROM bank")
CREATE_BANK = text("INSERT INTO bank (name, card_bin, cells, lanes) VALUES (:name, :bin, :cells, :lanes)")
LOCK_BANK = text("SELECT 1 FROM bank FOR UPDATE")
NEWEST_ENTRY = text("""
    SELECT max(business_date) FROM transfer
    WHERE business_date > coalesce((SELECT max(business_date) FROM closed_day), '-infinity')
""")
MOVE_DATE = text("UPDATE bank SET business_date = :to")
