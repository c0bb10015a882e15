"""What PostgreSQL means to do with a statement, and what it did: plans walked for scans of tables that grow with the bank."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.store.lane_connection import PARAMETER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import asyncpg

# Tables with a row a family, a tranche, a transfer, an authorisation or more.
LARGE = re.compile(
    r"^(account|card|family|enrolment|purse|tranche|tranche_checkpoint|tranche_opening|si_row|audit_event|dormancy_notice"
    r"|(transfer|authorisation)_\d{4}_\d{2})$"
)
MONTH = re.compile(r"^(?:transfer|authorisation)_(\d{4}_\d{2})$")
NEEDS_CONDITION = ("Index Scan", "Index Only Scan", "Bitmap Index Scan")


class Plan(NamedTuple):
    """A plan's nodes as PostgreSQL tells them, flat, with what each has read."""

    nodes: list[dict[str, Any]]

    @property
    def scans(self) -> set[str]:
        """Large tables that were read from one end to the other, themselves or through an index, and were not empty."""
        return {_name(node) for node in self.nodes if _is_whole(node) and LARGE.match(_name(node)) and _read(node)}

    @property
    def months(self) -> set[str]:
        """Months of the journal and the authorisations that were looked at."""
        found = (MONTH.match(_name(node)) for node in self.nodes if node["Actual Loops"])
        return {name[1] for name in found if name}

    def thrown_away(self, allowed: Collection[str] = ()) -> int:
        """Rows that one node has read and did not want, at most; those of ALLOWED tables are not counted."""
        return max((_removed(node) for node in self.nodes if _name(node) not in allowed), default=0)


def _name(node: Mapping[str, Any]) -> str:
    return str(node.get("Relation Name", ""))


def _is_whole(node: Mapping[str, Any]) -> bool:
    kind = node["Node Type"]
    return kind == "Seq Scan" or (kind in NEEDS_CONDITION and "Index Cond" not in node)


def _removed(node: Mapping[str, Any]) -> int:
    reasons = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    return int(sum(node.get(reason, 0) for reason in reasons) * node["Actual Loops"])


def _read(node: Mapping[str, Any]) -> int:
    return int(node["Actual Rows"] * node["Actual Loops"]) + _removed(node)


async def plan_of(connection: asyncpg.Connection, statement: str, values: Mapping[str, object]) -> Plan:
    """Run a statement by its generic plan and roll it back. Parameters are :names, values are given as PostgreSQL reads them."""
    names = list(dict.fromkeys(PARAMETER.findall(statement)))
    prepared = PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement)
    given = ", ".join(_literal(values[name]) for name in names)
    await connection.execute(f"PREPARE one AS {prepared}")
    transaction = connection.transaction()
    await transaction.start()
    try:
        execute = f"EXECUTE one ({given})" if names else "EXECUTE one"
        (row,) = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT JSON) {execute}")
    finally:
        await transaction.rollback()
        await connection.execute("DEALLOCATE one")
    return Plan(list(_walk(json.loads(row[0])[0]["Plan"])))


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        value = "{" + ",".join("NULL" if one is None else str(one) for one in value) + "}"
    return "'" + str(value).replace("'", "''") + "'"
