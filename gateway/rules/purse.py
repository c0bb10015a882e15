"""Which purse may be spent where: programme x channel x MCC, effective-dated data (PurseRule rows).

A rule that names an MCC is for that MCC; '*' is for every one. A family's money of a programme that no rule names for a
channel stays where it is. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date


class Channel(StrEnum):
    """Where the family stands."""

    ATM = "ATM"
    AGENT = "AGENT"
    EWARONG = "EWARONG"


class Purse(StrEnum):
    """The two purses a terminal can name: cash (account type 10) and food (98, as in EBT messages)."""

    CASH = "CASH"
    FOOD = "FOOD"


class PurseChoice(StrEnum):
    """What the terminal asked for in DE3: a purse, or whatever the rules say."""

    BY_RULE = "BY_RULE"
    CASH = "CASH"
    FOOD = "FOOD"


@dataclass(frozen=True, slots=True)
class PurseRule:
    """PROGRAMME's money (of PURSE) may be spent through CHANNEL at MCC while valid; lower PRIORITY is drawn first."""

    programme: int
    purse: Purse
    channel: Channel
    mcc: str
    priority: int
    valid_from: date
    valid_to: date | None


def drawable_programmes(
    rules: Sequence[PurseRule], channel: Channel, mcc: str, choice: PurseChoice, today: date
) -> dict[int, int]:
    """Programme number -> priority of the purses that may be spent. Empty: nothing may."""
    found: dict[int, int] = {}
    for rule in rules:
        if (
            rule.channel is not channel
            or rule.mcc not in ("*", mcc)
            or not in_force(rule.valid_from, rule.valid_to, today)
        ):
            continue
        if choice is not PurseChoice.BY_RULE and choice.value != rule.purse.value and not _cashable(rule, choice):
            continue
        found[rule.programme] = min(rule.priority, found.get(rule.programme, rule.priority))
    return found


def in_force(valid_from: date, valid_to: date | None, today: date) -> bool:
    """Whether an effective-dated row counts on TODAY (both ends included)."""
    return valid_from <= today and (valid_to is None or today <= valid_to)


def _cashable(rule: PurseRule, choice: PurseChoice) -> bool:
    """Account type 10 means the cashable purses: at a machine or an agent every purse that a rule lets out as cash."""
    return choice is PurseChoice.CASH and rule.channel in (Channel.ATM, Channel.AGENT)
