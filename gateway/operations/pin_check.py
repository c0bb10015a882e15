"""The PINs of a group, asked of the HSM at once: each under its link's key, and its card's version of the PIN verification key.

A card whose version has ended is told so without a look at its PIN, so the answer is the same whatever was typed. A link's key is
a ZPK, or a base key of DUKPT terminals: then each block is under a key of its own, which its key serial number names, and a
number counts once. Refuses to count tries: that is gateway.rules.authorise's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from gateway.operations.custody import PIN_LABEL, pin_keys, take_up_keys
from gateway.rules.authorise import PinOutcome, needs_pin_check
from gateway.store.card_counters import DeviceCounter, take_device_counters
from keys.hsm import Dukpt, PinToVerify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.operations.authorise import AuthoriseCommand
    from gateway.operations.bank import Bank
    from gateway.operations.card_check import CardCheck, CardData
    from gateway.store.authorisations import Loaded
    from gateway.store.lane_connection import LaneConnection
    from keys.keytypes import KeyHandle

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Asked:
    """What is asked under one version of the PIN verification key: where in the group, what, and of which link's key."""

    places: list[int] = field(default_factory=list)
    blocks: list[PinToVerify] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def check_pins(bank: Bank, commands: Sequence[AuthoriseCommand], loaded: Sequence[Loaded]) -> list[PinOutcome]:
    """What the HSM says of each member's PIN, asked for all whose PIN the rules will look at: once a version of the key.

    Raises KeyRefused where a version is suspended, or one that the keystore lacks.
    """
    return _checked(bank, commands, loaded, frozenset())[0]


async def check_pins_once(
    bank: Bank,
    connection: LaneConnection,
    commands: Sequence[AuthoriseCommand],
    loaded: Sequence[Loaded],
    checks: Sequence[CardCheck | None],
) -> list[PinOutcome]:
    """check_pins for a group with card data. Cards that CHECKS refuses are not asked about; no key serial number counts twice.

    A number is taken where the PIN is right, which shows that the terminal has the key: anybody can make up numbers, and one far
    ahead would lock the true terminal out. Whatever is right under a number that the terminal has reached before is a replay.
    """
    refused = frozenset(place for place, check in enumerate(checks) if check is not None and check.fault is not None)
    outcomes, under = _checked(bank, commands, loaded, refused)
    told = []
    for place, key in under.items():
        card = commands[place].card
        if card is not None and card.ksn is not None:
            told.append((DeviceCounter(f"{key.label}#{key.version}", card.ksn.device, card.ksn.counter), place))
    if told:
        reached = await take_device_counters(connection, [counter for counter, _ in told])
        for (base_key, device, counter), place in sorted(told):
            if counter <= reached[base_key, device]:
                outcomes[place] = PinOutcome.REPLAYED
                origin = commands[place].origin
                log.warning("pin.replayed", link=origin.link, terminal=origin.terminal, device=device, counter=counter)
            else:
                reached[base_key, device] = counter
    return outcomes


def _checked(
    bank: Bank, commands: Sequence[AuthoriseCommand], loaded: Sequence[Loaded], refused: frozenset[int]
) -> tuple[list[PinOutcome], dict[int, KeyHandle]]:
    """The outcomes, and for each right PIN the version of the link's key that its block is under. REFUSED: not asked about."""
    outcomes = [PinOutcome.NOT_CHECKED] * len(commands)
    asked: defaultdict[KeyHandle, _Asked] = defaultdict(_Asked)
    right: dict[int, KeyHandle] = {}
    for place, (command, found) in enumerate(zip(commands, loaded, strict=True)):
        if place in refused or not needs_pin_check(command.request, found.snapshot):
            continue
        if found.pin_offset is None or found.pin_key_version is None:
            outcomes[place] = PinOutcome.MISSING
            continue
        verification_key = _madeunder_version(bank, found.pin_key_version)
        if verification_key is None:
            outcomes[place] = PinOutcome.VOID
            continue
        if command.pin_block is None or command.pin_key is None:
            outcomes[place] = PinOutcome.MISSING
            continue
        under = asked[verification_key]
        under.places.append(place)
        block = PinToVerify(command.pin_block, command.pin_key, command.pan, found.pin_offset)
        under.blocks.append(block if command.card is None else as_the_link_has_it(block, command.card))
        under.labels.append(command.pin_key.label)
    for verification_key, under in asked.items():
        for place, key in zip(under.places, _verified(bank, under.blocks, under.labels, verification_key), strict=True):
            outcomes[place] = PinOutcome.WRONG
            if key is not None:
                outcomes[place] = PinOutcome.RIGHT
                right[place] = key
    return outcomes, right


def _madeunder_version(bank: Bank, version: int) -> KeyHandle | None:
    """A version of the PIN verification key; None where it has ended. One we do not know yet may have come just now."""
    if version not in bank.keys.pin_versions:
        take_up_keys(bank)
    if version not in bank.keys.pin_versions:
        return bank.hsm.version(PIN_LABEL, version)
    return bank.keys.pin_versions[version]


def _verified(
    bank: Bank, blocks: Sequence[PinToVerify], labels: Sequence[str], verification_key: KeyHandle
) -> list[KeyHandle | None]:
    """Under which version of its link's key (LABELS) each PIN is right: of those that work today, the newest first. None: wrong.

    There are two while a link changes its ZPK. Trying both is one try: a wrong PIN is no likelier right under the other key.
    """
    versions = {label: bank.key_turns.in_order(pin_keys(bank.hsm, label)) for label in set(labels)}
    found: list[KeyHandle | None] = [None] * len(blocks)
    for depth in range(max(map(len, versions.values()), default=0)):
        places = [at for at, label in enumerate(labels) if found[at] is None and depth < len(versions[label])]
        keys = [versions[labels[at]][depth] for at in places]
        asked = [under_version(blocks[at], key) for at, key in zip(places, keys, strict=True)]
        for at, key, right in zip(places, keys, bank.hsm.verify_pins(asked, verification_key), strict=True):
            if right:
                found[at] = key
                if bank.key_turns.pending:  # the first use that a key a link has changed waits for
                    bank.key_turns.uses(key, bank.now())
    return found


def as_the_link_has_it(block: PinToVerify, card: CardData) -> PinToVerify:
    """The same block in the link's format, and under the terminal's key where the link has DUKPT."""
    key = block.key
    if card.ksn is not None and not isinstance(key, Dukpt):
        key = Dukpt(key, bytes(card.ksn))
    return block._replace(key=key, pin_format=card.pin_format)


def under_version(block: PinToVerify, version: KeyHandle) -> PinToVerify:
    """The same block under another version of its link's key."""
    return block._replace(key=block.key._replace(key=version) if isinstance(block.key, Dukpt) else version)
