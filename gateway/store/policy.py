"""Policy: programmes, amounts, purse rules and clocks, as effective-dated rows. Loaded from TOML, read as rules' dataclasses."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date  # noqa: TC003 - pydantic reads the annotation
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import text

from gateway.errors import Refused
from gateway.rules.allocation import AmountRate, Per
from gateway.rules.dormancy import ClockPolicy
from gateway.rules.kpm import ProgrammeFacts
from gateway.rules.purse import Channel, Purse, PurseRule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

DEFAULT_FILE = Path(__file__).with_name("policy_default.toml")


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    valid_from: date
    valid_to: date | None = None


class ProgrammeRow(_Row):
    """A programme: PKH, SEMBAKO, a top-up."""

    number: int = Field(ge=1, le=999)
    code: str = Field(pattern=r"^[A-Z0-9_]{2,20}$")
    name: str
    purse: Purse
    components: tuple[str, ...] = ()


class AmountRow(_Row):
    """What a programme pays: per stage or month, for a component or for every family."""

    programme: str
    component: str | None = None
    per: Literal["STAGE", "MONTH"]
    amount_idr: int = Field(gt=0)


class PurseRuleRow(_Row):
    """Where a programme's money may be spent."""

    programme: str
    channels: tuple[Channel, ...]
    mccs: tuple[str, ...]
    priority: int = 1


class ClockRow(_Row):
    """Days of the dormancy clocks, for a programme and region prefix or for all."""

    programme: str | None = None
    region_prefix: str = Field("", pattern=r"^\d{0,10}$")
    warn_days: tuple[int, ...] = ()
    block_days: int | None = Field(None, gt=0)
    return_days: int | None = Field(None, gt=0)
    partly_used: bool = False
    reason: str


class PolicyFile(BaseModel):
    """A TOML file of policy rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    programme: tuple[ProgrammeRow, ...] = ()
    amount: tuple[AmountRow, ...] = ()
    purse_rule: tuple[PurseRuleRow, ...] = ()
    clock: tuple[ClockRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Programme:
    """A programme as stored."""

    number: int
    code: str
    name: str
    purse: Purse
    components: tuple[str, ...]


def read_policy_file(path: Path) -> PolicyFile:
    """Read and check a policy file. Raises Refused with the file, the place and what is wrong."""
    try:
        return PolicyFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Refused(f"{path}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


async def add(connection: AsyncConnection, policy: PolicyFile) -> int:
    """Write the rows of a policy file. Returns how many. Raises Refused for an unknown programme code."""
    for programme in policy.programme:
        await connection.execute(ADD_PROGRAMME, programme.model_dump() | {"components": list(programme.components)})
    known = {row.code: row.number for row in await connection.execute(PROGRAMMES)}
    count = len(policy.programme)
    for amount in policy.amount:
        await connection.execute(ADD_AMOUNT, amount.model_dump() | {"programme": _number(known, amount.programme)})
    for rule in policy.purse_rule:
        for channel in rule.channels:
            for mcc in rule.mccs:
                values = {"channel": channel.value, "mcc": mcc, "priority": rule.priority}
                values |= {"programme": _number(known, rule.programme)}
                await connection.execute(ADD_PURSE_RULE, values | _period(rule))
    for clock in policy.clock:
        number = None if clock.programme is None else _number(known, clock.programme)
        changed = {"warn_days": list(clock.warn_days), "programme": number}
        await connection.execute(ADD_CLOCK, clock.model_dump() | changed)
    return count + len(policy.amount) + len(policy.purse_rule) + len(policy.clock)


async def programmes(connection: AsyncConnection, on: date) -> dict[str, Programme]:
    """Programmes in force on a date, by code."""
    rows = await connection.execute(PROGRAMMES_ON, {"on": on})
    return {
        row.code: Programme(row.number, row.code, row.name, Purse(row.purse), tuple(row.components)) for row in rows
    }


async def purse_rules(connection: AsyncConnection) -> list[PurseRule]:
    """Every purse rule; which is in force is the rules' own question."""
    rows = await connection.execute(PURSE_RULES)
    return [
        PurseRule(
            row.programme, Purse(row.purse), Channel(row.channel), row.mcc, row.priority, row.valid_from, row.valid_to
        )
        for row in rows
    ]


async def clock_policies(connection: AsyncConnection) -> list[ClockPolicy]:
    """Every clock policy; which is in force is the rules' own question."""
    rows = await connection.execute(CLOCKS)
    return [
        ClockPolicy(row.programme, row.region_prefix, tuple(row.warn_days), row.block_days, row.return_days,
                    row.partly_used, row.valid_from, row.valid_to)
        for row in rows
    ]  # fmt: skip


async def amounts(connection: AsyncConnection) -> list[AmountRate]:
    """Every amount row."""
    rows = await connection.execute(AMOUNTS)
    return [
        AmountRate(row.code, row.component, row.amount_idr, Per(row.per), row.valid_from, row.valid_to) for row in rows
    ]


def programme_facts(known: Iterable[Programme]) -> dict[str, ProgrammeFacts]:
    """What the rules ask of a list's PROGRAM column; BPNT is the older name of SEMBAKO."""
    facts = {one.code: ProgrammeFacts(one.code, needs_components=bool(one.components)) for one in known}
    if "SEMBAKO" in facts:
        facts["BPNT"] = facts["SEMBAKO"]
    return facts


def _period(row: _Row) -> dict[str, date | None]:
    return {"valid_from": row.valid_from, "valid_to": row.valid_to}


def _number(known: dict[str, int], code: str) -> int:
    if code not in known:
        raise Refused(f"policy names the programme {code}, which does not exist")
    return known[code]


ADD_PROGRAMME = text("""
    INSERT INTO programme (number, code, name, purse, components, valid_from, valid_to)
    VALUES (:number, :code, :name, :purse, :components, :valid_from, :valid_to)
""")
PROGRAMMES = text("SELECT number, code FROM programme")
ADD_AMOUNT = text("""
    INSERT INTO amount_rate (programme, component, per, amount_idr, valid_from, valid_to)
    VALUES (:programme, :component, :per, :amount_idr, :valid_from, :valid_to)
""")
ADD_PURSE_RULE = text("""
    INSERT INTO purse_rule (programme, channel, mcc, priority, valid_from, valid_to)
    VALUES (:programme, :channel, :mcc, :priority, :valid_from, :valid_to)
""")
ADD_CLOCK = text("""
    INSERT INTO clock_policy (programme, region_prefix, warn_days, block_days, return_days, partly_used, reason, valid_from,
                              valid_to)
    VALUES (:programme, :region_prefix, :warn_days, :block_days, :return_days, :partly_used, :reason, :valid_from, :valid_to)
""")
PROGRAMMES_ON = text("""
    SELECT number, code, name, purse, components FROM programme
    WHERE valid_from <= :on AND (valid_to IS NULL OR :on <= valid_to) ORDER BY number
""")
PURSE_RULES = text("""
    SELECT r.programme, p.purse, r.channel, r.mcc, r.priority, r.valid_from, r.valid_to
    FROM purse_rule r JOIN programme p ON p.number = r.programme ORDER BY r.id
""")
CLOCKS = text("""
    SELECT programme, region_prefix, warn_days, block_days, return_days, partly_used, valid_from, valid_to
    FROM clock_policy ORDER BY id
""")
AMOUNTS = text("""
    SELECT p.code, a.component, a.per, a.amount_idr, a.valid_from, a.valid_to
    FROM amount_rate a JOIN programme p ON p.number = a.programme ORDER BY a.id
""")
