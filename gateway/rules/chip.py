"""What a link wants as proof that the card itself is there: chip cryptogram, or the value on its magnetic stripe. Pure.

Refuses to know keys and how a cryptogram is verified (gateway.operations.card_check), and where in a message things stand
(gateway.terminals.card_data). Read next: authorise.py, whose decide() tells the first fault found here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

from gateway.rules.authorise import DeclineReason

Need = Literal["off", "optional", "required"]

ATC_MOST = 65_535
CHIP_SERVICE = ("2", "6")
"""First digits of the service code of a card that has a chip (ISO/IEC 7813)."""


class Entry(StrEnum):
    """How the terminal read the card: the first two digits of DE22."""

    CHIP = "CHIP"
    STRIPE = "STRIPE"
    FALLBACK = "FALLBACK"  # the stripe, after the chip could not be read
    OTHER = "OTHER"  # typed, unknown, or not said


ENTRIES = {
    "05": Entry.CHIP, "07": Entry.CHIP, "95": Entry.CHIP, "02": Entry.STRIPE, "90": Entry.STRIPE, "91": Entry.STRIPE,
    "80": Entry.FALLBACK,
}  # fmt: skip


class CardRules(NamedTuple):
    """What a link wants. WINDOW: how far above a card's last transaction counter (ATC) the next one may be."""

    chip: Need
    stripe_value: Need
    fallback_allowed: bool
    window: int


class Shown(NamedTuple):
    """What came with a request. SERVICE_CODE: of track 2, "" without one. VALUE: whether a card verification value is there."""

    entry: Entry
    chip: bool
    service_code: str
    value: bool


def entry_of(de22: str) -> Entry:
    """How the card was read, by DE22.

    >>> entry_of("051"), entry_of("")
    (<Entry.CHIP: 'CHIP'>, <Entry.OTHER: 'OTHER'>)
    """
    return ENTRIES.get(de22[:2], Entry.OTHER)


def missing_proof(rules: CardRules, shown: Shown) -> DeclineReason | None:
    """Why what came is no proof at all; None: it is one, to be verified, or none is wanted.

    Chip data prove the card however it was read. Without them, at a link that knows chips, the stripe of a card with a chip is a
    fallback, and where chip data are required only the stripe of a card that has no chip can stand for them. A value on the
    stripe that is required is so of whatever has no chip data: otherwise another DE22 would be a way around it.
    """
    if shown.chip:
        return None
    if rules.chip != "off":
        by_stripe = shown.entry in (Entry.STRIPE, Entry.FALLBACK)
        has_chip = shown.entry is Entry.FALLBACK or shown.service_code.startswith(CHIP_SERVICE)
        if by_stripe and has_chip and not rules.fallback_allowed:
            return DeclineReason.FALLBACK_REFUSED
        if rules.chip == "required" and not (by_stripe and shown.service_code):
            return DeclineReason.CHIP_MISSING
    if rules.stripe_value == "required" and not shown.value:
        return DeclineReason.STRIPE_VALUE_MISSING
    return None


def counter_fault(last: int | None, atc: int, window: int) -> DeclineReason | None:
    """Why a right cryptogram's transaction counter is refused; None: it may be the card's next. LAST: its last; None: none yet.

    >>> counter_fault(7, 8, 100), counter_fault(7, 7, 100)
    (None, <DeclineReason.CHIP_REPLAYED: 'CHIP_REPLAYED'>)
    """
    if last is None:
        return None
    if atc <= last:
        return DeclineReason.CHIP_REPLAYED
    return DeclineReason.CHIP_AHEAD if atc - last > window else None
