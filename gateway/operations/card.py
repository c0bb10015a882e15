"""What happens to a card: delivered, handed over, PIN chosen, locked and unlocked, lost and replaced.

The family chooses its PIN on the branch's PIN pad; only the enciphered PIN block comes here and goes to the HSM. Every change
goes through the transition table of gateway.rules.card and leaves an audit event with the card's id, never its PAN.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.errors import Refused
from gateway.operations import hot_list, pin_keys
from gateway.operations.bank import Bank, Transaction, transaction
from gateway.operations.custody import PIN_LABEL
from gateway.operations.opening import NewCard, order_cards
from gateway.rules.account import TRANSITIONS as ACCOUNT_TRANSITIONS
from gateway.rules.account import AccountEvent, AccountState
from gateway.rules.card import ENDED, TRANSITIONS, CardEvent, CardState
from gateway.rules.chip import Script
from gateway.rules.transitions import TransitionRefused, move
from gateway.store import cards, chip_scripts
from gateway.store.audit import Operation
from keys.errors import PinRefused
from keys.sensitive import Pan

if TYPE_CHECKING:
    from keys.keytypes import KeyHandle

REASON_EVENTS = {
    CardEvent.UNLOCK_PIN, CardEvent.RESET_PIN, CardEvent.BLOCK, CardEvent.UNBLOCK, CardEvent.TRUST_CHIP, CardEvent.REPORT_LOST,
    CardEvent.REPORT_STOLEN, CardEvent.CLOSE,
}  # fmt: skip

KEPT = ("reason", "delivered_to", "ktp_seen", "kk_seen", "pin_key_version")  # in the audit event


@dataclass(frozen=True, slots=True)
class HandOver:
    """Proof of a hand-over: both papers were seen by the officer who hands over; the mother's name where the list had none."""

    ktp_seen: bool
    kk_seen: bool
    mother_name: str = field(default="", repr=False)


async def deliver(bank: Bank, actor: str, card_id: int, branch: str) -> CardState:
    """The card has arrived at the branch."""
    async with transaction(bank, actor) as tx:
        card = await cards.read(tx.connection, card_id, lock=True)
        return await _move(bank, tx, card, CardEvent.DELIVER, delivered_at=bank.now(), delivered_to=branch)


async def deliver_many(bank: Bank, actor: str, card_ids: list[int], branch: str) -> int:
    """A box of cards has arrived at the branch: all of them or none."""
    async with transaction(bank, actor) as tx:
        for card_id in card_ids:
            card = await cards.read(tx.connection, card_id, lock=True)
            await _move(bank, tx, card, CardEvent.DELIVER, delivered_at=bank.now(), delivered_to=branch)
    return len(card_ids)


async def hand_over(bank: Bank, actor: str, card_id: int, proof: HandOver) -> CardState:
    """The family has come with KTP and KK and takes its card. An account PENDING_ID is identified here.

    Raises Refused when a paper was not seen, or the mother's name is still missing.
    """
    if not (proof.ktp_seen and proof.kk_seen):
        missing = " and ".join(name for name, seen in (("KTP", proof.ktp_seen), ("KK", proof.kk_seen)) if not seen)
        raise Refused(f"card {card_id}: a card is handed over only when KTP and KK were seen; not seen: {missing}")
    async with transaction(bank, actor) as tx:
        card = await cards.read(tx.connection, card_id, lock=True)
        if card.account_state is AccountState.PENDING_ID:
            await _identify(bank, tx, card, proof.mother_name)
        return await _move(
            bank,
            tx,
            card,
            CardEvent.HAND_OVER,
            handed_over_at=bank.now(),
            handed_over_by=actor,
            ktp_seen=True,
            kk_seen=True,
        )


async def choose_pin(bank: Bank, actor: str, card_id: int, pin_block: bytes, pin_pad_key: KeyHandle) -> CardState:
    """The family has typed its PIN. PIN_BLOCK: 8 bytes, ISO 9564 format 0 under the PIN pad's key. A weak PIN is Refused.

    The offset is made under the newest version of the PIN verification key, and kept with it.
    """
    async with transaction(bank, actor) as tx:
        key = await pin_keys.newest(bank, tx.connection)
        card = await cards.read(tx.connection, card_id, lock=True)
        _check_possible(card, CardEvent.CHOOSE_PIN)
        pan = Pan(bank.vault.open(card.pan, table="card", row=card.id, column="pan"))
        try:
            offset = bank.hsm.choose_pin(pin_block, pin_pad_key, key, pan, card.birth_date)
        except PinRefused as error:
            raise Refused(f"card {card_id}: the PIN is refused: {error.reason.value}") from None
        return await _move(
            bank, tx, card, CardEvent.CHOOSE_PIN, pin_offset=offset, pin_key_version=key.version,
            pin_tries_left=bank.settings.pin_tries, activated_at=bank.now(),
        )  # fmt: skip


async def change_state(bank: Bank, actor: str, card_id: int, event: CardEvent, reason: str) -> CardState:
    """Unlock, reset the PIN, block, unblock, trust the chip, report lost or stolen, close: each with a reason that is kept."""
    if event not in REASON_EVENTS:
        raise Refused(f"card {card_id}: {event.value} has its own command")
    _check_reason(card_id, event, reason)
    async with transaction(bank, actor) as tx:
        card = await cards.read(tx.connection, card_id, lock=True)
        changes: dict[str, Any] = {"reason": reason}
        if event in (CardEvent.UNLOCK_PIN, CardEvent.UNBLOCK):
            changes["pin_tries_left"] = bank.settings.pin_tries
        if event is CardEvent.RESET_PIN:
            changes |= {"pin_tries_left": bank.settings.pin_tries, "pin_offset": None, "pin_key_version": None}
        if event is CardEvent.TRUST_CHIP:
            changes["atc_open"] = True
        if event is CardEvent.UNLOCK_PIN:
            _check_pin_counts(bank, card)
        return await _move(bank, tx, card, event, **changes)


async def report(bank: Bank, tx: Transaction, card: cards.Card, event: CardEvent, reason: str, link: str) -> CardState:
    """A partner has reported something of a card, in the transaction that keeps its report. PIN tries stay as they are.

    CARD: locked. Every other link that keeps a hot list of ours is told.
    """
    return await _move(bank, tx, card, event, reported_by=link, reason=reason)


async def replace(bank: Bank, actor: str, card_id: int, reason: str) -> NewCard:
    """Order a card with a new PAN for a family whose card is lost, stolen, damaged or expired. The old one never works again."""
    _check_reason(card_id, CardEvent.REPLACE, reason)
    async with transaction(bank, actor) as tx:
        card = await cards.read(tx.connection, card_id, lock=True)
        newest = (await cards.of_account(tx.connection, card.account_number))[0]
        if newest.id != card.id:
            raise Refused(f"card {card_id} was replaced by card {newest.id} already")
        if card.state is CardState.CLOSED:
            raise Refused(f"card {card_id} is CLOSED: replace is not possible")
        if card.state not in ENDED:
            await _move(bank, tx, card, CardEvent.REPLACE, reason=reason)
        (new,) = await order_cards(bank, tx.connection, [(card.cell, card.account_id, card.id)])
        await tx.record(Operation.CARD_ORDER, f"card {new.id}", replaces=card.id, reason=reason)
        return new


async def _identify(bank: Bank, tx: Transaction, card: cards.Card, mother_name: str) -> None:
    name = " ".join(mother_name.split())
    if not name:
        raise Refused(f"card {card.id}: the account is PENDING_ID: the mother's name is needed at hand-over")
    sealed = bank.vault.seal(name, table="family", row=card.account_id, column="mother_name")
    await cards.set_mother_name(tx.connection, card.account_id, sealed)
    after = move("account", ACCOUNT_TRANSITIONS, card.account_state, AccountEvent.IDENTIFY)
    await cards.set_account_state(tx.connection, card.cell, card.account_id, after)
    await tx.record(Operation.ACCOUNT_EVENT, f"account {card.account_number}", event=AccountEvent.IDENTIFY.value)


async def _move(
    bank: Bank, tx: Transaction, card: cards.Card, event: CardEvent, *, reported_by: str | None = None, **changes: Any,  # noqa: ANN401
) -> CardState:  # fmt: skip
    after = _check_possible(card, event)
    await cards.update(tx.connection, card, state=after.value, **changes)
    if event in (CardEvent.RESET_PIN, CardEvent.UNLOCK_PIN):  # the chip counts wrong PINs too, by itself
        await chip_scripts.want(tx.connection, card, Script.UNBLOCK_PIN, bank.now())
    elif event is CardEvent.BLOCK:
        await chip_scripts.want_again(tx.connection, card, Script.BLOCK_APPLICATION, bank.now())
    kept = {key: changes[key] for key in KEPT if key in changes}
    told = await hot_list.tell(bank, tx, card, after, reported_by)
    kept |= {"partners_told": told} if told else {}
    await tx.record(Operation.CARD_EVENT, f"card {card.id}", event=event.value, before=card.state, after=after, **kept)
    return after


def _check_possible(card: cards.Card, event: CardEvent) -> CardState:
    try:
        return move(f"card {card.id}", TRANSITIONS, card.state, event)
    except TransitionRefused as error:
        raise Refused(str(error)) from None


def _check_pin_counts(bank: Bank, card: cards.Card) -> None:
    """Raise Refused where a PIN would be tried again that can never be right: its key has ended."""
    version = card.pin_key_version
    if version is not None and version in bank.keys.pin_versions and bank.keys.pin_versions[version] is None:
        raise Refused(f"card {card.id}: the key of its PIN, {PIN_LABEL}#{version}, has ended: reset the PIN")


def _check_reason(card_id: int, event: CardEvent, reason: str) -> None:
    if not reason.strip():
        raise Refused(f"card {card_id}: {event.value} needs a reason")
