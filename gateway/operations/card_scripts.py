"""What an answer tells a card's chip to do (issuer scripts, EMV book 3, 10.10), and what terminals say became of it.

Nothing is queued: each answer to a right cryptogram is made with what the decision and the card's record ask for. The MAC is made
in the HSM under a session key of that very transaction, and anew for a repeat. Each sending, and each word of a terminal that is
news, is an event in the lane's audit chain. Refuses to know where in a message a script stands (gateway.terminals.card_data).
Read next: gateway.rules.chip (script_due), card_check.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.rules.authorise import RequestKind
from gateway.rules.chip import COMMANDS, Script, script_due, script_identifier
from gateway.store import audit, chip_scripts
from gateway.store.audit import Operation
from gateway.store.chip_scripts import Sending, Word
from keys.errors import CardDataRefused, KeyRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.operations.authorise import AuthoriseCommand, Keyed
    from gateway.operations.bank import Bank
    from gateway.operations.card_check import CardCheck, Chip, IssuerAnswer
    from gateway.rules.authorise import DeclineReason
    from gateway.store.audit import Head
    from gateway.store.authorisations import Loaded
    from gateway.store.lane_connection import LaneConnection
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

log = structlog.get_logger(__name__)


class IssuerScript(NamedTuple):
    """A script with its one command. IDENTIFIER: tag 9F18, 4 bytes; COMMAND: tag 86, with its MAC."""

    script: Script
    identifier: bytes
    command: bytes

    def __repr__(self) -> str:
        return f"IssuerScript({self.script})"


def due(command: AuthoriseCommand, check: CardCheck, reason: DeclineReason) -> Script | None:
    """What the chip is told with an answer of REASON; None: nothing."""
    if command.card is None or not command.card.rules.scripts:
        return None
    changed = command.request.kind is RequestKind.PIN_CHANGE
    return script_due(command.card.rules.scripts, reason, check.sent, pin_changed=changed)


def make(hsm: Hsm, command: AuthoriseCommand, chip: Chip, check: CardCheck, script: Script) -> IssuerScript | None:
    """The script with its MAC by the profile and under the issuer's key of the card that CHECK found.

    None where no script key may work, or a token cannot make the session key: the answer goes without, and it is logged.
    """
    if check.profile is None or check.key is None:
        return None
    profile = check.profile
    header = COMMANDS[script] + bytes([profile.script_mac_length])
    try:
        key = _key_beside(hsm, chip.script_key, check.key)
        mac = hsm.script_mac(profile, key, command.pan, chip.psn, chip.tags, header)
    except (KeyRefused, CardDataRefused) as error:
        log.error("script.not_made", link=command.origin.link, script=script.value, why=str(error))  # noqa: TRY400 - no traceback
        return None
    return IssuerScript(script, script_identifier(script, chip.atc), header + mac)


def sendings(member: Keyed, found: Loaded, answer: IssuerAnswer | None) -> tuple[Sending, ...]:
    """The script that goes out with a member's answer, to be counted; none where it has none."""
    card = member.command.card
    if answer is None or answer.script is None or card is None or card.chip is None or found.card_id is None:
        return ()
    return (Sending(member.cell, found.account_id, found.card_id, answer.script.script.value, card.chip.atc),)


async def note_sent(bank: Bank, connection: LaneConnection, head: Head, sendings: Sequence[Sending]) -> Head:
    """Count what goes out with a group's answers. Returns the new head of the lane's audit chain."""
    counts = await chip_scripts.note_sent(connection, sendings, bank.now())
    for one, count in zip(sendings, counts, strict=True):
        detail = {"script": one.script, "atc": one.atc, "sent": count}
        head = await _record(bank, connection, head, one.card_id, detail)
    return head


async def keep_words(
    bank: Bank, connection: LaneConnection, head: Head, group: Sequence[Keyed], loaded: Sequence[Loaded]
) -> Head:
    """Keep what the members' terminals say of earlier scripts. Returns the head of the lane's audit chain."""
    words = [
        Word(member.cell, found.account_id, found.card_id, one.script, one.atc, one.result)
        for member, found in zip(group, loaded, strict=True)
        for one in member.command.script_words
        if found.card_id is not None
    ]
    if not words:
        return head
    for card_id, script, atc, result in await chip_scripts.keep_words(connection, words, bank.now()):
        head = await _record(bank, connection, head, card_id, {"script": script, "atc": atc, "result": result})
    return head


async def _record(bank: Bank, connection: LaneConnection, head: Head, card_id: int, detail: dict[str, object]) -> Head:
    event = audit.chained(
        bank.audit_mac, head, connection.stream, bank.now(), "iso8583", Operation.CARD_SCRIPT, f"card {card_id}", detail
    )
    await chip_scripts.append_event(connection, event)
    return audit.Head(event.seq, event.hash)


def _key_beside(hsm: Hsm, label: str, other: KeyHandle) -> KeyHandle:
    """The version of the script key that a card of this version of the issuer's other key has. Raises KeyRefused."""
    working = hsm.find_all(label) or [hsm.find(label)]
    return min(working, key=lambda key: key.version != other.version)
