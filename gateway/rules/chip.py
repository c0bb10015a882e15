"""What a link wants as proof that the card itself is there: chip cryptogram, or the value on its magnetic stripe. Pure.

And what a chip is told to do besides (issuer scripts): it follows from why it is refused and from what it was told before.
Refuses to know keys and how a cryptogram is verified (gateway.operations.card_check), and where in a message things stand
(gateway.terminals.card_data). Read next: authorise.py, whose decide() tells the first fault found here.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.rules.authorise import PIN_WAS_RIGHT, STATE_REASONS, DeclineReason, Request, Snapshot, needs_pin_check
from gateway.rules.card import CardState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Need = Literal["off", "optional", "required"]
ScriptUse = Literal["block", "pin"]

ATC_MOST = 65_535
CHIP_SERVICE = ("2", "6")
"""First digits of the service code of a card that has a chip (ISO/IEC 7813)."""


class Entry(StrEnum):
    """How the terminal read the card: the first two digits of DE22."""

    CHIP = "CHIP"
    STRIPE = "STRIPE"
    FALLBACK = "FALLBACK"  # the stripe, or the printed number, after the chip could not be read
    OTHER = "OTHER"  # typed, unknown, or not said


ENTRIES = {
    "05": Entry.CHIP, "07": Entry.CHIP, "95": Entry.CHIP, "02": Entry.STRIPE, "90": Entry.STRIPE, "91": Entry.STRIPE,
    "79": Entry.FALLBACK, "80": Entry.FALLBACK,
}  # fmt: skip


class Script(StrEnum):
    """What a chip can be told to do (EMV book 3, 6.5). Their numbers, by which a terminal names them again, are their places."""

    BLOCK_APPLICATION = "BLOCK_APPLICATION"  # the chip asks for no more transactions
    BLOCK_CARD = "BLOCK_CARD"  # no application of the card works again, ever
    UNBLOCK_PIN = "UNBLOCK_PIN"  # the chip's own count of wrong PINs begins anew


class ScriptResult(StrEnum):
    """What became of a script, as the terminal tells it (EMV book 4, annex A5)."""

    TAKEN = "TAKEN"
    FAILED = "FAILED"
    NOT_DONE = "NOT_DONE"


class ScriptTold(NamedTuple):
    """A terminal's word of a script. SCRIPT: None where it does not say which; ATC: of the transaction it was sent with."""

    script: Script | None
    atc: int
    result: ScriptResult


class ScriptSent(NamedTuple):
    """How often a card was sent a script, and whether a terminal has said that it took it."""

    times: int
    taken: bool


NEVER_SENT: Mapping[Script, ScriptSent] = MappingProxyType({})
COMMANDS = MappingProxyType({
    Script.BLOCK_APPLICATION: bytes.fromhex("841E0000"),
    Script.BLOCK_CARD: bytes.fromhex("84160000"),
    Script.UNBLOCK_PIN: bytes.fromhex("84240000"),
})  # fmt: skip
"""CLA INS P1 P2 of APPLICATION BLOCK, CARD BLOCK and PIN CHANGE/UNBLOCK without a PIN (EMV book 3, 6.5.1, 6.5.3, 6.5.10)."""
SENT_MOST = 10
"""So often a script goes out at most until a terminal says that the card took it: some terminals never say."""
STOPPED_BY = MappingProxyType({
    DeclineReason.CARD_BLOCKED: Script.BLOCK_APPLICATION,
    DeclineReason.CARD_LOST: Script.BLOCK_CARD,
    DeclineReason.CARD_STOLEN: Script.BLOCK_CARD,
    DeclineReason.CARD_CLOSED: Script.BLOCK_CARD,
})  # fmt: skip
_NUMBERS = {script: number for number, script in enumerate(Script, 1)}
_IDENTIFIER_BYTES = 4


class CardRules(NamedTuple):
    """What a link wants. WINDOW: how far above a card's last transaction counter (ATC) the next one may be.

    SCRIPTS: what for a chip may be told something at this link.
    """

    chip: Need
    stripe_value: Need
    fallback_allowed: bool
    window: int
    scripts: Collection[ScriptUse] = ()


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


def asks_though_stopped(request: Request, snapshot: Snapshot) -> bool:
    """Whether decide() refuses a request for its card's state alone, and the chip can be told that it is stopped."""
    card = snapshot.card
    if card is None or STATE_REASONS.get(card.state) not in STOPPED_BY:
        return False
    return needs_pin_check(request, snapshot._replace(card=card._replace(state=CardState.ACTIVE, pin_tries_left=1)))


def script_due(
    uses: Collection[ScriptUse], reason: DeclineReason, sent: Mapping[Script, ScriptSent], *, pin_changed: bool
) -> Script | None:
    """What a chip whose cryptogram was right is told with an answer of REASON; None: nothing. SENT: what it was told before.

    UNBLOCK_PIN is in SENT from when it was wanted, and goes out behind a right PIN alone: whoever has found the card must not
    get new tries at the chip's own PIN. PIN_CHANGED: by this very request.
    """
    if "block" in uses and reason in STOPPED_BY:
        script = STOPPED_BY[reason]
        before = sent.get(script, ScriptSent(0, taken=False))
    elif "pin" in uses and reason in PIN_WAS_RIGHT:
        script = Script.UNBLOCK_PIN
        if pin_changed and reason is DeclineReason.APPROVED:
            return script
        if script not in sent:
            return None
        before = sent[script]
    else:
        return None
    return None if before.taken or before.times >= SENT_MOST else script


def script_identifier(script: Script, atc: int) -> bytes:
    """Tag 9F18, by which a terminal names a script when it tells of it: its number, a zero, and the transaction's counter.

    >>> script_identifier(Script.BLOCK_CARD, 300).hex()
    '0200012c'
    """
    return bytes([_NUMBERS[script], 0]) + atc.to_bytes(2)


def script_named(identifier: bytes) -> tuple[Script, int] | None:
    """Which script of which transaction has this identifier; None: none of ours.

    >>> script_named(bytes.fromhex("0200012C"))
    (<Script.BLOCK_CARD: 'BLOCK_CARD'>, 300)
    """
    for script, number in _NUMBERS.items():
        if len(identifier) == _IDENTIFIER_BYTES and identifier[:2] == bytes([number, 0]):
            return script, int.from_bytes(identifier[2:])
    return None
