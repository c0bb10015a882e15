"""Looks once a second whether a ceremony changed the keys of a running service, and writes what the HSM refused.

A keystore that cannot be taken up (put back to an earlier state, damaged, gone) does not stop the service: the keys that are
loaded go on working. But whoever looks must see it, so since when is kept here for the status, and the log has one line when it
begins and one when it ends. Refuses to know who shows it. Read next: custody.py, refusals.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import Refused
from gateway.operations import link_keys
from gateway.operations.custody import take_up_keys
from gateway.operations.refusals import write_refusals
from keys.errors import KeysError

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.operations.bank import Bank

KEY_WATCH_S = 1.0

_log = structlog.get_logger(__name__)


class KeyWatch:
    """Of one running service."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._keys = _Trouble("keys_not_taken_up", "keys_taken_up_again")
        self._turns = _Trouble("link_keys_held_back", "link_keys_go_on")
        self._refusals = _Trouble("refusals_held_back", "refusals_written")

    @property
    def not_taken_up_since(self) -> datetime | None:
        """Since when the keystore cannot be taken up, in UTC; None: all is well."""
        return self._keys.since

    async def run(self) -> None:
        """Look once a second until cancelled."""
        while True:
            await asyncio.sleep(KEY_WATCH_S)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        try:
            async with self._bank.key_change:  # before a key is known that waits for its first use
                await link_keys.take_up(self._bank)
        except (KeysError, SQLAlchemyError, OSError) as error:
            self._turns.goes_on(self._bank.now(), str(error))
        try:
            if take_up_keys(self._bank):
                _log.info("keys_changed", keys=len(self._bank.hsm.keys()))
            self._keys.ends()
        except (KeysError, OSError) as error:
            self._keys.goes_on(self._bank.now(), str(error))
        try:
            await link_keys.look(self._bank)
            self._turns.ends()
        except (KeysError, Refused, SQLAlchemyError, OSError) as error:
            self._turns.goes_on(self._bank.now(), str(error))
        try:
            await write_refusals(self._bank)
            self._refusals.ends()
        except (KeysError, SQLAlchemyError, OSError) as error:
            self._refusals.goes_on(self._bank.now(), str(error))


class _Trouble:
    """Something that goes wrong each second: told when it begins, and when it ends."""

    def __init__(self, begins: str, ends: str) -> None:
        self.since: datetime | None = None
        self._begins, self._ends = begins, ends

    def goes_on(self, now: datetime, error: str) -> None:
        """It goes wrong now."""
        if self.since is None:
            self.since = now
            _log.error(self._begins, error=error)

    def ends(self) -> None:
        """It does not."""
        if self.since is not None:
            _log.warning(self._ends, since=self.since.isoformat())
            self.since = None
