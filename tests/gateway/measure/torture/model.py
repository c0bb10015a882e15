"""Families and messages of the model, for tests that need no bank."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING, Any

from gateway.measure.torture.oracle import Card, Family, Key, Said, Stage
from gateway.measure.torture.town import PROGRAMMES

if TYPE_CHECKING:
    from gateway.measure.torture.ceilings import Ceiling

DAY = dt.date(2026, 1, 5)
PAN = "6013010000000018"
NUMBERS = itertools.count(1)


def family(*amounts: int, programme: str = "SEMBAKO", ceilings: tuple[Ceiling, ...] = ()) -> Family:
    """A family with a card and one stage for each amount, each credited a day after the one before."""
    made = Family(1, {one.code: one for one in PROGRAMMES}, ceilings)
    made.cards[PAN] = Card(1, dt.date(2027, 1, 31))
    for number, amount in enumerate(amounts):
        credit(made, amount, DAY + dt.timedelta(days=number), programme)
    return made


def credit(to: Family, amount_idr: int, on: dt.date = DAY, programme: str = "SEMBAKO") -> Stage:
    """One more stage."""
    name = f"STAGE{len(to.stages)}"
    stage = Stage(programme, name, frozenset({name}), on, on, on, amount_idr, amount_idr)
    to.stages.append(stage)
    to.transfers += 1
    return stage


def say(kind: str, amount_idr: int = 0, **changes: Any) -> Said:  # noqa: ANN401 - fields of Said
    """A message of its own."""
    number = f"{next(NUMBERS):06d}"
    group = {"HOLD": "1", "REVERSAL": "4"}.get(kind, "2")
    channel = "ATM" if kind == "CASH" else "EWARONG"
    said = Said(Key(group, PAN, number, "0105000000"), (kind, amount_idr), kind, channel, "5411", "BY_RULE", amount_idr)
    return said._replace(**changes)


def left(of: Family) -> list[int]:
    """What each stage has available."""
    return [stage.available_idr for stage in of.stages]
