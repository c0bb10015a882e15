"""The PINs of a group, asked of the HSM at once: each under its link's key, and its card's version of the PIN verification key.

A card whose version has ended is told so without a look at its PIN, so the answer is the same whatever was typed. Refuses to
count tries: that is gateway.rules.authorise's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.operations.custody import PIN_LABEL, pin_keys, take_up_keys
from gateway.rules.authorise import PinOutcome, needs_pin_check
from keys.hsm import PinToVerify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.operations.authorise import AuthoriseCommand
    from gateway.operations.bank import Bank
    from gateway.store.authorisations import Loaded
    from keys.keytypes import KeyHandle


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
    outcomes = [PinOutcome.NOT_CHECKED] * len(commands)
    asked: defaultdict[KeyHandle, _Asked] = defaultdict(_Asked)
    for place, (command, found) in enumerate(zip(commands, loaded, strict=True)):
        if not needs_pin_check(command.request, found.snapshot):
            continue
        if found.pin_offset is None or found.pin_key_version is None:
            outcomes[place] = PinOutcome.MISSING
            continue
        verification_key = _made_under(bank, found.pin_key_version)
        if verification_key is None:
            outcomes[place] = PinOutcome.VOID
            continue
        if command.pin_block is None or command.pin_key is None:
            outcomes[place] = PinOutcome.MISSING
            continue
        under = asked[verification_key]
        under.places.append(place)
        under.blocks.append(PinToVerify(command.pin_block, command.pin_key, command.pan, found.pin_offset))
        under.labels.append(command.pin_key.label)
    for verification_key, under in asked.items():
        answers = _verified(bank, under.blocks, under.labels, verification_key)
        for place, right in zip(under.places, answers, strict=True):
            outcomes[place] = PinOutcome.RIGHT if right else PinOutcome.WRONG
    return outcomes


def _made_under(bank: Bank, version: int) -> KeyHandle | None:
    """A version of the PIN verification key; None where it has ended. One we do not know yet may have come just now."""
    if version not in bank.keys.pin_versions:
        take_up_keys(bank)
    if version not in bank.keys.pin_versions:
        return bank.hsm.version(PIN_LABEL, version)
    return bank.keys.pin_versions[version]


def _verified(
    bank: Bank, blocks: Sequence[PinToVerify], labels: Sequence[str], verification_key: KeyHandle
) -> list[bool]:
    """Whether each PIN is right, under any of the versions of its link's key (LABELS) that work today, the newest first.

    There are two while a link changes its ZPK. Trying both is one try: a wrong PIN is no likelier right under the other key.
    """
    versions = {label: bank.key_turns.in_order(pin_keys(bank.hsm, label)) for label in set(labels)}
    newest = [block._replace(key=versions[label][0]) for block, label in zip(blocks, labels, strict=True)]
    answers = bank.hsm.verify_pins(newest, verification_key)
    if bank.key_turns.pending:
        for label, right in zip(labels, answers, strict=True):
            _first_use(bank, versions[label][0], right=right)
    for depth in range(1, max(map(len, versions.values()), default=0)):
        places = [at for at, label in enumerate(labels) if not answers[at] and depth < len(versions[label])]
        again = [blocks[at]._replace(key=versions[labels[at]][depth]) for at in places]
        for at, right in zip(places, bank.hsm.verify_pins(again, verification_key), strict=True):
            answers[at] = right
            _first_use(bank, versions[labels[at]][depth], right=right)
    return answers


def _first_use(bank: Bank, key: KeyHandle, *, right: bool) -> None:
    """A right PIN under a key that a link has changed is the first use that the key waits for."""
    if right and bank.key_turns.pending:
        bank.key_turns.uses(key, bank.now())
