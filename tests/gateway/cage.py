"""Canaries: what must never be seen, where it was looked for, and every table of the database as text."""

from __future__ import annotations

import base64
import re
import subprocess
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.errors import GatewayError
from gateway.operations.bank import reading

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.operations.bank import Bank
    from gateway.store.embedded import EmbeddedServer


@dataclass(slots=True)
class Cage:
    """What was seen, and the canaries that must not be in it."""

    seen: dict[str, str] = field(default_factory=dict)
    canaries: dict[str, str] = field(default_factory=dict)
    may_hold: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Canaries by their names without number, where they are meant to be: a NIK in a result file."""

    async def fails(self, work: Awaitable[object]) -> None:
        """Await what must be refused, and keep its exception as it would be printed."""
        with pytest.raises(GatewayError) as error:
            await work
        shown = "".join(traceback.format_exception(error.value)) + repr(error.value)
        self.seen[f"exception {len(self.seen)}"] = shown

    def escaped(self) -> list[str]:
        """Which canary was found where."""
        found = []
        for name, value in self.canaries.items():
            forms = {
                value,
                value.lower(),
                value.encode().hex(),
                base64.b64encode(value.encode()).decode("ascii").rstrip("="),
            }
            pattern = re.compile("|".join(f"(?<![0-9A-Fa-f]){re.escape(one)}(?![0-9A-Fa-f])" for one in forms))
            loose = [] if len(value) < 8 else sorted(forms)
            for where, content in self.seen.items():
                if name.rpartition(" ")[0] in self.may_hold.get(where, ()):
                    continue
                if pattern.search(content) or any(one in content for one in loose):
                    found.append(f"{name} in {where}")
        return found


async def tables(bank: Bank) -> dict[str, str]:
    """Every table as text; bytea stands there as hex."""
    async with reading(bank) as connection:
        names = list((await connection.execute(TABLES)).scalars())
        assert {"family", "card", "kpm_row", "si_row", "authorisation", "audit_event"} <= set(names)
        return {
            f"table {name}": "\n".join((await connection.execute(text(f'SELECT t::text FROM "{name}" t'))).scalars())
            for name in names
        }


def dumped(server: EmbeddedServer, database: str) -> str:
    """A whole database as pg_dump writes it: schema, comments, functions and rows, of partitions too."""
    program = server.bin_dir / "pg_dump"
    command = [str(program), "-h", str(server.socket_dir), "-U", "postgres", database]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own server


TABLES = text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1
""")
