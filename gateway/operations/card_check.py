"""Whether the card itself was there: chip cryptogram (EMV book 2, 8), or the verification value on its magnetic stripe.

Asked for all members of a group whose card the rules look at, before their PINs. A right cryptogram counts once: the card's
last transaction counter is moved in the group's transaction, whatever is decided of the money. What comes with a card is in
memory until the answer is sent, and never stored: of a cryptogram four bytes of its digest stay, by which a repeat is known.
A card that is stopped is verified too where the link lets its chip be told so (card_scripts.py). Read next: gateway.rules.chip.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from gateway.operations import card_scripts
from gateway.rules.authorise import APPROVALS, DeclineReason, needs_pin_check
from gateway.rules.chip import (
    ATC_MOST,
    NEVER_SENT,
    CardRules,
    Script,
    ScriptSent,
    Shown,
    asks_though_stopped,
    counter_fault,
    missing_proof,
)
from gateway.store import chip_scripts
from gateway.store.card_counters import ChipCounter, take_chip_counters
from gateway.store.chip_scripts import CardKey
from keys.cvv import CardValue
from keys.emv_profile import ATC, CRYPTOGRAM
from keys.errors import CardDataRefused, KeyRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.operations.authorise import AuthoriseCommand, Keyed
    from gateway.operations.bank import Bank
    from gateway.operations.card_scripts import IssuerScript
    from gateway.store.authorisations import Loaded
    from gateway.store.lane_connection import LaneConnection
    from keys.emv_profile import Profile
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.ksn import AesKsn, TdesKsn
    from keys.pinblock import PinFormat

log = structlog.get_logger(__name__)

ISSUER_APPROVES = b"\x00\x80\x00\x00"
"""Card status update of an approval (EMV book 3, common core definitions C7): issuer approves online transaction."""
ISSUER_DECLINES = bytes(4)
_MARK_BYTES = 4


class Chip(NamedTuple):
    """Chip data as they came. SAME: whether the card signed what is asked for, its amount and currency; PSN: two digits.

    PROFILES: those of its cryptogram version. There are two where it stands at another place in tag 9F10 of each.
    """

    profiles: tuple[Profile, ...]
    key: str  # label of the issuer's master key
    script_key: str  # and of its key for the MACs of scripts
    tags: Mapping[str, bytes]
    psn: str
    same: bool

    def __repr__(self) -> str:
        return "Chip(...)"

    @property
    def atc(self) -> int:
        """The transaction counter. Nobody vouches for it until the cryptogram is right."""
        return int.from_bytes(self.tags[ATC])

    @property
    def mark(self) -> str:
        """What is kept of a cryptogram: 8 hex digits of its digest."""
        return hashlib.sha256(self.tags[CRYPTOGRAM] + self.tags[ATC]).digest()[:_MARK_BYTES].hex()


class Stripe(NamedTuple):
    """Track 2 as it came (ISO/IEC 7813). EXPIRY: YYMM; VALUE: 3 digits, "" where there is none; KIND: CVV1, or iCVV of a chip."""

    key: str  # label of the card verification key
    kind: CardValue
    expiry: str
    service_code: str
    value: str

    def __repr__(self) -> str:
        return "Stripe(...)"


class CardData(NamedTuple):
    """What came with a card, and what the link wants of it. KSN: of a DUKPT terminal, whose key the PIN is under."""

    rules: CardRules
    shown: Shown
    chip: Chip | None
    stripe: Stripe | None
    ksn: TdesKsn | AesKsn | None
    pin_format: PinFormat

    def __repr__(self) -> str:
        return "CardData(...)"


class CardCheck(NamedTuple):
    """What was found. KEY: the version of the issuer's key under which the cryptogram is right; ARPC: tag 91 of an approval.

    PROFILE: by which it is right. SENT: what the chip was told before, where the link lets it be told something.
    """

    fault: DeclineReason | None = None
    key: KeyHandle | None = None
    arpc: bytes | None = None
    profile: Profile | None = None
    sent: Mapping[Script, ScriptSent] = NEVER_SENT


class IssuerAnswer(NamedTuple):
    """What an answer tells a chip. ISSUER_DATA: tag 91; SCRIPT: to follow it, None: nothing."""

    issuer_data: bytes
    script: IssuerScript | None = None

    def __repr__(self) -> str:
        return "IssuerAnswer(...)"


async def check_cards(
    bank: Bank, connection: LaneConnection, group: Sequence[Keyed], loaded: Sequence[Loaded]
) -> list[CardCheck | None]:
    """The check of each member's card, in their order; None where the rules look at none. Moves the counters of right chips.

    A card that is stopped has one where its cryptogram is right and its chip may be told so: without a fault, which no rule sees.

    Raises KeyRefused where a key that a link names is not there or may not work, TokenError.
    """
    checks: list[CardCheck | None] = [None] * len(group)
    told: dict[int, ChipCounter] = {}
    stopped = []
    for place, (member, found) in enumerate(zip(group, loaded, strict=True)):
        command = member.command
        card = command.card
        if card is None:
            continue
        if needs_pin_check(command.request, found.snapshot):
            check = checks[place] = _check(bank.hsm, command, card)
        elif _may_be_told_to_stop(command, card, found):
            check = checks[place] = _check_stopped(bank.hsm, command, card)
            stopped.append(place)
        else:
            continue
        if check.key is not None and card.chip is not None and found.card_id is not None:
            told[place] = ChipCounter(member.cell, found.account_id, found.card_id, card.chip.atc, card.rules.window)
    if told:
        await _count(connection, told, checks)
        await _read_scripts(connection, group, told, checks)
    for place in stopped:  # a card that is stopped is refused for that, whatever else is wrong with it
        checks[place] = _unless_faulty(checks[place])
    for member, found, checked in zip(group, loaded, checks, strict=True):
        if checked is not None and checked.fault is not None:
            origin = member.command.origin
            log.warning(
                "card.refused",
                link=origin.link,
                terminal=origin.terminal,
                card=found.card_id,
                reason=checked.fault.value,
            )
    return checks


def chip_answer(
    bank: Bank, command: AuthoriseCommand, check: CardCheck | None, reason: DeclineReason, code: str
) -> IssuerAnswer | None:
    """For the chip, with response code CODE: ARPC and what it is made over, and a script that is due after REASON.

    None where no cryptogram was found right.
    """
    if check is None or check.key is None or command.card is None or command.card.chip is None:
        return None
    arpc, script = check.arpc, card_scripts.due(command, check, reason)
    if code != command.response_codes[DeclineReason.APPROVED]:
        arpc = _verified(bank.hsm, command, command.card.chip, code, check.key).arpc
    return _told(bank, command, command.card.chip, check._replace(arpc=arpc), script)


def answer_again(bank: Bank, command: AuthoriseCommand, code: str, stored: Mapping[str, Any]) -> IssuerAnswer | None:
    """The same of a repeat's answer, made anew: for the cryptogram of the first sending alone, lest it prove another's.

    STORED: the answer of the first sending, with the mark of its cryptogram and which script it had.
    """
    card, mark = command.card, stored.get("chip")
    if mark is None or card is None or card.chip is None or card.chip.mark != mark:
        return None
    script = Script(stored["script"]) if "script" in stored else None
    return _told(bank, command, card.chip, _verified(bank.hsm, command, card.chip, code), script)


def _told(
    bank: Bank, command: AuthoriseCommand, chip: Chip, check: CardCheck, script: Script | None
) -> IssuerAnswer | None:
    if check.arpc is None:
        return None
    made = None if script is None else card_scripts.make(bank.hsm, command, chip, check, script)
    return IssuerAnswer(check.arpc, made)


def _unless_faulty(check: CardCheck | None) -> CardCheck | None:
    return None if check is None or check.fault is not None else check


def _may_be_told_to_stop(command: AuthoriseCommand, card: CardData, found: Loaded) -> bool:
    return (
        "block" in card.rules.scripts and card.chip is not None and asks_though_stopped(command.request, found.snapshot)
    )


async def _count(connection: LaneConnection, told: Mapping[int, ChipCounter], checks: list[CardCheck | None]) -> None:
    """Move the counters of right chips; what was counted before is a fault."""
    lasts = await take_chip_counters(connection, list(told.values()))
    for (place, counter), last in zip(told.items(), lasts, strict=True):
        fault = counter_fault(last.atc, counter.atc, ATC_MOST if last.open else counter.window)
        if fault is not None:
            checks[place] = CardCheck(fault)


async def _read_scripts(
    connection: LaneConnection,
    group: Sequence[Keyed],
    told: Mapping[int, ChipCounter],
    checks: list[CardCheck | None],
) -> None:
    """What chips were told before, of those whose link lets them be told something."""
    right: dict[int, CardCheck] = {}
    for place in told:
        check, card = checks[place], group[place].command.card
        if check is not None and check.fault is None and card is not None and card.rules.scripts:
            right[place] = check
    if not right:
        return
    sent = await chip_scripts.sent_before(connection, [CardKey(*told[place][:3]) for place in right])
    for (place, check), before in zip(right.items(), sent, strict=True):
        checks[place] = check._replace(sent=before)


def _check_stopped(hsm: Hsm, command: AuthoriseCommand, card: CardData) -> CardCheck:
    """The same of a card that is refused anyhow: no key is missed for it. The HSM has told the auditor."""
    try:
        return _check(hsm, command, card)
    except KeyRefused:
        return CardCheck()


def _check(hsm: Hsm, command: AuthoriseCommand, card: CardData) -> CardCheck:
    fault = missing_proof(card.rules, card.shown)
    if fault is not None:
        return CardCheck(fault)
    if card.chip is not None:
        code = command.response_codes[DeclineReason.APPROVED]
        check = _verified(hsm, command, card.chip, code)
        return check if check.key is not None and card.chip.same else CardCheck(DeclineReason.CHIP_WRONG)
    if card.stripe is not None and card.stripe.value and not _value_is_right(hsm, command, card.stripe):
        return CardCheck(DeclineReason.STRIPE_VALUE_WRONG)
    return CardCheck()


def _verified(hsm: Hsm, command: AuthoriseCommand, chip: Chip, code: str, found: KeyHandle | None = None) -> CardCheck:
    """By which profile and key the cryptogram is right, and tag 91 for response code CODE. No key: it is not right.

    FOUND: the key under which it was found right before. Raises KeyRefused where no key of the issuer's may work.
    """
    approved = code in [command.response_codes[reason] for reason in APPROVALS]
    for profile in chip.profiles:
        arc = code.encode("ascii")
        if profile.arpc_method != 1:
            arc = ISSUER_APPROVES if approved else ISSUER_DECLINES
        for key in _candidates(hsm, chip, profile) if found is None else [found]:
            try:
                answer = hsm.verify_cryptogram(profile, key, command.pan, chip.psn, chip.tags, arc)
            except CardDataRefused:  # of another cryptogram version than the profile's
                break
            if answer.right and answer.arpc is not None:
                return CardCheck(None, key, answer.arpc + arc, profile)
    return CardCheck()


def _candidates(hsm: Hsm, chip: Chip, profile: Profile) -> list[KeyHandle]:
    """Versions of the issuer's key, the one of the card's derivation key index first. Raises KeyRefused where none may work."""
    index = profile.key_index(chip.tags)
    return sorted(_working(hsm, chip.key), key=lambda key: key.version != index)


def _value_is_right(hsm: Hsm, command: AuthoriseCommand, stripe: Stripe) -> bool:
    service_code = stripe.service_code if stripe.kind is CardValue.CVV1 else None
    return any(
        hsm.verify_card_value(stripe.kind, key, command.pan, stripe.expiry, stripe.value, service_code)
        for key in _working(hsm, stripe.key)
    )


def _working(hsm: Hsm, label: str) -> list[KeyHandle]:
    """The versions of a key that may work today, newest first. Where there is none, the one to be refused."""
    return hsm.find_all(label) or [hsm.find(label)]
