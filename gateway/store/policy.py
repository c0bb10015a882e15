"""Policy: programmes, amounts, purse rules, clocks and limits, as effective-dated rows. From TOML, read as rules' dataclasses."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import text

from gateway.errors import Refused
from gateway.rules.allocation import AmountRate, Per
from gateway.rules.dormancy import ClockPolicy
from gateway.rules.kpm import ProgrammeFacts
from gateway.rules.limits import LimitPeriod, LimitRule, LimitScope, effective
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
    available_after_days: int = Field(default=0, ge=0, le=366)


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


class LimitRow(_Row):
    """How much and how often, a transaction, day or month. A newer row of the same name stands in for an older one."""

    name: str = Field(pattern=r"^[a-z0-9-]{2,40}$")
    per: LimitScope
    period: LimitPeriod
    channels: tuple[Channel, ...] | None = Field(None, min_length=1)
    programme: str | None = None
    terminal: str | None = Field(None, pattern=r"^\d{1,11}:\S{1,16}$")
    max_amount_idr: int | None = Field(None, ge=0)
    max_count: int | None = Field(None, ge=0)
    lifted: bool = False
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        """Refuse what the table would refuse, and a limit that limits nothing."""
        maxima = (self.max_amount_idr, self.max_count) != (None, None)
        if not maxima and not self.lifted:
            raise ValueError("a limit needs max_amount_idr or max_count; lifted = true takes one away")
        if maxima and self.lifted:
            raise ValueError("a limit that is lifted has no maximum")
        if self.period is LimitPeriod.TRANSACTION and self.max_count is not None:
            raise ValueError("a transaction is one: max_count is for a DAY or MONTH")
        if self.per is LimitScope.TERMINAL and self.programme is not None:
            raise ValueError("what a terminal pays out is counted over every programme: no programme here")
        if self.valid_to is not None and self.valid_to < self.valid_from:
            raise ValueError("valid_to is before valid_from")
        return self


class PolicyFile(BaseModel):
    """A TOML file of policy rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    programme: tuple[ProgrammeRow, ...] = ()
    amount: tuple[AmountRow, ...] = ()
    purse_rule: tuple[PurseRuleRow, ...] = ()
    clock: tuple[ClockRow, ...] = ()
    limit: tuple[LimitRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Programme:
    """A programme as stored."""

    number: int
    code: str
    name: str
    purse: Purse
    components: tuple[str, ...]
    available_after_days: int


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
        message = first["msg"].removeprefix("Value error, ")
        raise Refused(f"{path}: {'.'.join(str(part) for part in first['loc'])}: {message}") from None


async def add(connection: AsyncConnection, policy: PolicyFile) -> int:
    """Write the rows of a policy file. Returns how many. Raises Refused for an unknown programme code."""
    for programme in policy.programme:
        await connection.execute(ADD_PROGRAMME, programme.model_dump() | {"components": list(programme.components)})
    known = await programme_numbers(connection)
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
    for limit in draft_limits(policy, known):
        await connection.execute(ADD_LIMIT, _limit_values(limit) | {"reason": policy.limit[limit.id - 1].reason})
    return count + len(policy.amount) + len(policy.purse_rule) + len(policy.clock) + len(policy.limit)


def draft_limits(policy: PolicyFile, known: dict[str, int]) -> list[LimitRule]:
    """The limits of a file, as rules numbered by their place in it from 1. KNOWN: programme code -> number. Raises Refused."""
    seen: set[tuple[str, date]] = set()
    for row in policy.limit:
        if (row.name, row.valid_from) in seen:
            raise Refused(f"policy has two limits named {row.name} from {row.valid_from}")
        seen.add((row.name, row.valid_from))
    return [
        LimitRule(
            place, row.per, row.period, None if row.channels is None else frozenset(row.channels),
            None if row.programme is None else _number(known, row.programme), row.terminal, row.max_amount_idr,
            row.max_count, row.valid_from, row.valid_to, row.name,
        )
        for place, row in enumerate(policy.limit, 1)
    ]  # fmt: skip


async def programme_numbers(connection: AsyncConnection) -> dict[str, int]:
    """Programme code -> number, of every programme there was or will be."""
    return {row.code: row.number for row in await connection.execute(PROGRAMMES)}


async def programmes(connection: AsyncConnection, on: date) -> dict[str, Programme]:
    """Programmes in force on a date, by code."""
    rows = await connection.execute(PROGRAMMES_ON, {"on": on})
    return {
        row.code: Programme(
            row.number, row.code, row.name, Purse(row.purse), tuple(row.components), row.available_after_days
        )
        for row in rows
    }  # fmt: skip


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


async def limit_rules(connection: AsyncConnection) -> list[LimitRule]:
    """Every limit with the periods in which it counts, in the order of ids; which fits a request is the rules' own question."""
    return effective(await limits_as_loaded(connection))


async def limits_as_loaded(connection: AsyncConnection) -> list[LimitRule]:
    """Every limit with the period it was loaded with, those too that another one of the same name stands in for."""
    return [_limit_rule(row) for row in await connection.execute(LIMITS)]


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


def _limit_rule(row: Any) -> LimitRule:  # noqa: ANN401 - a database row
    channels = None if row.channels is None else frozenset(map(Channel, row.channels))
    return LimitRule(
        row.id, LimitScope(row.per), LimitPeriod(row.period), channels, row.programme, row.terminal,
        row.max_amount_idr, row.max_count, row.valid_from, row.valid_to, row.name,
    )  # fmt: skip


def _limit_values(rule: LimitRule) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(rule, name) for name in LimitRule.__slots__ if name != "id"}
    channels = None if rule.channels is None else sorted(rule.channels)
    return values | {"per": rule.per.value, "period": rule.period.value, "channels": channels}


def _period(row: _Row) -> dict[str, date | None]:
    return {"valid_from": row.valid_from, "valid_to": row.valid_to}


def _number(known: dict[str, int], code: str) -> int:
    if code not in known:
        raise Refused(f"policy names the programme {code}, which does not exist")
    return known[code]


ADD_PROGRAMME = text("""
    INSERT INTO programme (number, code, name, purse, components, available_after_days, valid_from, valid_to)
    VALUES (:number, :code, :name, :purse, :components, :available_after_days, :valid_from, :valid_to)
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
    SELECT number, code, name, purse, components, available_after_days FROM programme
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
ADD_LIMIT = text("""
    INSERT INTO limit_rule (name, per, period, channels, programme, terminal, max_amount_idr, max_count, reason, valid_from,
                            valid_to)
    VALUES (:name, :per, :period, CAST(:channels AS text[]), :programme, :terminal, :max_amount_idr, :max_count, :reason,
            :valid_from, :valid_to)
""")
LIMITS = text("""
    SELECT id, name, per, period, channels, programme, terminal, max_amount_idr, max_count, valid_from, valid_to
    FROM limit_rule ORDER BY id
""")
AMOUNTS = text("""
    SELECT p.code, a.component, a.per, a.amount_idr, a.valid_from, a.valid_to
    FROM amount_rate a JOIN programme p ON p.number = a.programme ORDER BY a.id
""")
