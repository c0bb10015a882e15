"""What every operation works with: the open bank, its clock, its keys, and a transaction that leaves a record.

Built by gateway.app.open_bank. Operations take (bank, actor, ...) and nothing global.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway import clock
from gateway.errors import Refused
from gateway.rules.key_turns import KeyTurns
from gateway.store import audit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.refusals import Refusals
    from gateway.settings import Settings
    from gateway.store.database import Database
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.vault import Vault

ACTOR_MAX = 60
UNIQUE_VIOLATION = "23505"


@dataclass(frozen=True, slots=True)
class BankRow:
    """What was fixed when the bank was set up."""

    name: str
    card_bin: str
    cells: int
    lanes: int


@dataclass(frozen=True, slots=True)
class BankKeys:
    """Handles of the bank's own keys in the HSM.

    PIN_VERSIONS: every version of the PIN verification key that cards may hang on, by number; None for one that has ended.
    """

    pin_verification: KeyHandle
    audit: KeyHandle
    audit_before: Sequence[KeyHandle] = ()
    pin_versions: Mapping[int, KeyHandle | None] = field(default_factory=dict)


@dataclass(slots=True)
class Bank:
    """An open bank. Nothing in it is a secret: keys are handles."""

    settings: Settings
    database: Database
    row: BankRow
    hsm: Hsm
    keys: BankKeys
    vault: Vault
    refusals: Refusals
    moved_date: date | None = field(default=None)
    key_turns: KeyTurns = field(default_factory=KeyTurns)
    key_change: asyncio.Lock = field(default_factory=asyncio.Lock)

    def now(self) -> datetime:
        """This moment in UTC."""
        return clock.now()

    @property
    def business_date(self) -> date:
        """The date the bank's books are on: today in Jakarta, unless moved by hand (demo and tests)."""
        return self.moved_date or clock.jakarta_today()

    def audit_mac(self, data: bytes) -> bytes:
        """HMAC of an audit event, made in the HSM."""
        return self.hsm.mac(self.keys.audit, data)

    def audit_verify(self, data: bytes, mac: bytes) -> bool:
        """Whether an audit event's HMAC is of this bank: under the audit key, or a version of it from before."""
        return any(self.hsm.verify_record(key, data, mac) for key in (self.keys.audit, *self.keys.audit_before))


class Transaction:
    """One database transaction of an operation, with its way to leave a record."""

    def __init__(self, bank: Bank, connection: AsyncConnection, actor: str) -> None:
        self.connection = connection
        self._bank = bank
        self._actor = actor
        self._recorded = False

    async def record(self, operation: audit.Operation, subject: str, **detail: Any) -> None:  # noqa: ANN401 - JSON values
        """Write the operation's audit event in the same transaction."""
        bank = self._bank
        detail["business_date"] = bank.business_date
        await audit.append(self.connection, bank.audit_mac, bank.now(), self._actor, operation, subject, detail)
        self._recorded = True

    @property
    def recorded(self) -> bool:
        """Whether an audit event was written."""
        return self._recorded


@asynccontextmanager
async def transaction(bank: Bank, actor: str) -> AsyncIterator[Transaction]:
    """Begin; commit if the operation recorded itself; roll back on any error. An operation without a record is a bug."""
    if not actor.strip() or len(actor) > ACTOR_MAX or not actor.isprintable():
        raise Refused(f"a user name of 1 to {ACTOR_MAX} printable characters is needed")
    try:
        async with bank.database.engine.begin() as connection:
            opened = Transaction(bank, connection, actor.strip())
            yield opened
            if not opened.recorded:
                raise RuntimeError("an operation ended without its audit event")
    except IntegrityError as error:
        rule = getattr(error.orig and error.orig.__cause__, "constraint_name", None)
        if getattr(error.orig, "sqlstate", None) != UNIQUE_VIOLATION:
            raise
        raise Refused(f"somebody else has just done the same ({rule}); nothing was changed") from None


@asynccontextmanager
async def reading(bank: Bank) -> AsyncIterator[AsyncConnection]:
    """A read-only transaction with one snapshot for all its statements."""
    async with bank.database.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            await connection.execute(READ_ONLY)
            yield connection


async def refresh_business_date(bank: Bank) -> date:
    """Read the date set by hand, if any."""
    async with bank.database.engine.connect() as connection:
        bank.moved_date = (await connection.execute(BUSINESS_DATE)).scalar_one()
    return bank.business_date


READ_ONLY = text("SET TRANSACTION READ ONLY")
BUSINESS_DATE = text("SELECT business_date FROM bank")
