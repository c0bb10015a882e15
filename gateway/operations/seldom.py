"""What few members of a group need beside the two statements all groups have: done here, so that the others do not pay for it.

A PIN change makes the card's new reference value; a mini statement reads its lines; a message about a hold finds what was added
to it; a reversal that does not name its original has it looked for by DE37, DE41 and DE11, and so has a repeat that came with
another DE7 its first sending, or the reversal that overtook both. Decides nothing. Read next: authorise.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from gateway.operations.custody import pin_keys, take_up_keys
from gateway.operations.pin_check import as_the_link_has_it, under_version
from gateway.rules.authorise import DeclineReason, Earlier, PinOutcome, RequestKind
from gateway.store import seldom
from gateway.store.authorisations import NewReference, read_original
from gateway.store.seldom import Overtaken, Repeated, Unnamed
from keys.errors import PinRefusal, PinRefused
from keys.hsm import PinToVerify

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from gateway.operations.authorise import AuthoriseCommand, Keyed
    from gateway.operations.bank import Bank
    from gateway.store.authorisations import Loaded
    from gateway.store.lane_connection import LaneConnection

REPEATS = frozenset("135")
"""Last digits of the message type of a repeat (ISO 8583:1987, 4.1.3)."""
OF_HOLDS = (RequestKind.HOLD, RequestKind.COMPLETION, RequestKind.REVERSAL)


def is_seldom(command: AuthoriseCommand) -> bool:
    """Whether a group with this member asks for more than its two statements."""
    kind, original = command.request.kind, command.origin.original
    return (
        kind in (RequestKind.PIN_CHANGE, RequestKind.STATEMENT)
        or bool(command.script_words)
        or command.stand_in is not None
        or (original is not None and (command.origin.guessed or (original[0] == "1" and kind in OF_HOLDS)))
        or is_repeat(command)
    )


def is_repeat(command: AuthoriseCommand) -> bool:
    """Whether it says that it was sent before, and which it was. A reversal names what it reverses: it needs no more."""
    origin = command.origin
    return origin.mti[3] in REPEATS and origin.rrn != "" and command.request.kind is not RequestKind.REVERSAL


async def before_load(bank: Bank, connection: LaneConnection, group: Sequence[Keyed]) -> None:
    """What has to be locked before the cards are."""
    if any(one.command.request.kind is RequestKind.PIN_CHANGE for one in group):
        await seldom.let_pins_be_chosen(connection)
        take_up_keys(bank)


async def find_first_sendings(
    bank: Bank, connection: LaneConnection, group: Sequence[Keyed], loaded: list[Loaded]
) -> None:
    """Before anything is checked: the stored answers of repeats whose own key is not there, since their DE7 is another."""
    places = [
        place
        for place, (one, found) in enumerate(zip(group, loaded, strict=True))
        if is_repeat(one.command) and found.snapshot.earlier is None and found.card_id is not None
    ]
    if not places:
        return
    wanted = []
    for place in places:
        origin, found = group[place].command.origin, loaded[place]
        card = found.account_id, found.card_id or 0, origin.link, origin.terminal, origin.stan, origin.rrn
        wanted.append(Repeated(*card, origin.mti[:3], group[place].command.request.content_digest))
    overtaken = []
    for place, one in zip(places, await seldom.first_sendings(connection, wanted, bank.business_date), strict=True):
        if one is None:
            overtaken.append(place)
            continue
        digest = group[place].command.request.content_digest
        earlier = Earlier(digest, DeclineReason(one.reason), RequestKind(one.kind), one.amount_idr)
        loaded[place] = loaded[place]._replace(
            snapshot=loaded[place].snapshot._replace(earlier=earlier), earlier_code=one.response_code,
            earlier_answer=json.loads(one.answer), earlier_id=one.id,
        )  # fmt: skip
    if overtaken:
        await _find_tombstones(bank, connection, group, loaded, overtaken)


async def _find_tombstones(
    bank: Bank, connection: LaneConnection, group: Sequence[Keyed], loaded: list[Loaded], places: Sequence[int]
) -> None:
    """Repeats of what nobody has seen, whose reversal came first. It names DE7 of the first sending, so DE37 and DE4 find it."""
    wanted = []
    for place in places:
        command, found = group[place].command, loaded[place]
        origin = command.origin
        card = found.account_id, found.card_id or 0, origin.link, origin.terminal, origin.rrn
        wanted.append(Overtaken(*card, command.request.amount_idr))
    found_ones = await seldom.reversed_already(connection, wanted, bank.business_date)
    for place, is_reversed in zip(places, found_ones, strict=True):
        if is_reversed:
            snapshot = loaded[place].snapshot._replace(reversed_before=True)
            loaded[place] = loaded[place]._replace(snapshot=snapshot)


async def after_load(
    bank: Bank, connection: LaneConnection, group: Sequence[Keyed], loaded: list[Loaded], pins: list[PinOutcome]
) -> None:
    """Complete what was LOADED of a group, and what is known of its PINs, in place."""
    today = bank.business_date
    for place, one in enumerate(group):
        stand_in = one.command.stand_in  # no PIN block is kept: what was found then counts
        if stand_in is not None and stand_in.pin_wrong and pins[place] is PinOutcome.MISSING:
            pins[place] = PinOutcome.WRONG
    await _find_unnamed(connection, group, loaded, today)
    await _add_increments(connection, group, loaded, today)
    await _read_statements(connection, group, loaded, today)
    await _change_pins(bank, connection, group, loaded, pins)


async def _find_unnamed(connection: LaneConnection, group: Sequence[Keyed], loaded: list[Loaded], today: date) -> None:
    """The originals of reversals without DE90, where the key they would have under the reversal's own DE7 is not there."""
    places = [
        place
        for place, (one, found) in enumerate(zip(group, loaded, strict=True))
        if one.command.origin.guessed and found.snapshot.original is None and found.card_id is not None
    ]
    if not places:
        return
    wanted = []
    for place in places:
        origin, found = group[place].command.origin, loaded[place]
        wanted.append(
            Unnamed(found.account_id, found.card_id or 0, origin.link, origin.terminal, origin.stan, origin.rrn)
        )
    for place, one in zip(places, await seldom.unnamed(connection, wanted, today), strict=True):
        if one is None:
            continue
        group[place].original_key, row = one
        original, number, channel, on, transfers = read_original(row)
        loaded[place] = loaded[place]._replace(
            snapshot=loaded[place].snapshot._replace(original=original), original_id=number, original_channel=channel,
            original_date=on, original_transfers=transfers,
        )  # fmt: skip


async def _add_increments(
    connection: LaneConnection, group: Sequence[Keyed], loaded: list[Loaded], today: date
) -> None:
    places, keys = [], []
    for place, (one, found) in enumerate(zip(group, loaded, strict=True)):
        original = found.snapshot.original
        about = one.command.request.kind in OF_HOLDS and original is not None and original.kind is RequestKind.HOLD
        if about and one.original_key is not None:
            places.append(place)
            keys.append(one.original_key)
    if not places:
        return
    for place, added in zip(places, await seldom.increments(connection, keys, today), strict=True):
        snapshot = loaded[place].snapshot
        if added and snapshot.original is not None:
            more = tuple(chain.from_iterable(one.draws for one in added))
            snapshot = snapshot._replace(original=replace(snapshot.original, more=more))
            loaded[place] = loaded[place]._replace(snapshot=snapshot, increments=added)


async def _read_statements(
    connection: LaneConnection, group: Sequence[Keyed], loaded: list[Loaded], today: date
) -> None:
    places = [
        place
        for place, (one, found) in enumerate(zip(group, loaded, strict=True))
        if one.command.request.kind is RequestKind.STATEMENT and found.account_id
    ]
    if not places:
        return
    accounts = [(group[place].cell, loaded[place].account_id) for place in places]
    lines = max(group[place].command.request.lines for place in places)
    for place, found in zip(places, await seldom.movements(connection, accounts, lines, today), strict=True):
        shown = found[: group[place].command.request.lines]
        loaded[place] = loaded[place]._replace(statement=tuple(shown))


async def _change_pins(
    bank: Bank, connection: LaneConnection, group: Sequence[Keyed], loaded: list[Loaded], pins: list[PinOutcome]
) -> None:
    """The new reference value of each card whose PIN was right; whether it is kept, the decision says."""
    places = [
        place
        for place, (one, pin) in enumerate(zip(group, pins, strict=True))
        if one.command.request.kind is RequestKind.PIN_CHANGE and pin is PinOutcome.RIGHT
    ]
    if not places:
        return
    births = await seldom.birth_dates(connection, [loaded[place].account_id for place in places])
    for place in places:
        found = loaded[place]
        reference = new_reference(bank, group[place].command, found, births.get(found.account_id))
        if reference is None:
            pins[place] = PinOutcome.NEW_REFUSED
        loaded[place] = found._replace(new_reference=reference)


def new_reference(bank: Bank, command: AuthoriseCommand, found: Loaded, birth_date: date | None) -> NewReference | None:
    """What the card is verified by once its PIN is changed; None where the new PIN is weak or none, or the old one is wrong.

    Made under the newest version of the PIN verification key, whatever version the old PIN hangs on; both blocks are under one
    key of the link, which is any that works today.
    """
    newest = bank.keys.pin_verification
    made_under = bank.keys.pin_versions.get(found.pin_key_version or 0)
    block, new_block = command.pin_block, command.new_pin_block
    if made_under is None or block is None or new_block is None or command.pin_key is None:
        return None
    asked = PinToVerify(block, command.pin_key, command.pan, found.pin_offset or "")
    if command.card is not None:
        asked = as_the_link_has_it(asked, command.card)
    for key in pin_keys(bank.hsm, command.pin_key.label):
        old = under_version(asked, key)
        try:
            offset = bank.hsm.change_pin(old, new_block, made_under, birth_date)
            if made_under != newest:
                offset = bank.hsm.choose_pin(new_block, old.key, newest, command.pan, birth_date, old.pin_format)
        except PinRefused as error:
            if error.reason is PinRefusal.WRONG_PIN:  # under another key of the link, perhaps
                continue
            return None
        return NewReference(offset, newest.version)
    return None
