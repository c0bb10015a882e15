"""Group authorisation: what one lane does with the requests that came in while its last commit was under way.

load -> PIN checks -> rules.authorise.decide for each -> write -> COMMIT -> everyone is answered. See docs/architecture.md,
"One authorisation". The queueing is gateway.operations.lane's; the wire is gateway.terminals'.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.rules.authorise import Decision, DeclineReason, PinOutcome, Request, RequestKind, decide, needs_pin_check
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheState
from gateway.rules.purse import Channel, Purse
from gateway.store import audit
from gateway.store.array_text import array_text
from gateway.store.authorisations import (
    WRITE,
    Loaded,
    NewAuthorisation,
    Wanted,
    digest,
    load,
    write_arrays,
)
from ledger.book import check_counts, post_arrays
from ledger.chart import Control
from ledger.posting import Account, Kind, Source, Transfer, reverse, spend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank
    from gateway.rules.purse import PurseRule
    from keys.hsm import KeyHandle
    from keys.sensitive import Pan

ANSWER_TEXT = json.JSONEncoder(separators=(",", ":")).encode
OWED_TO = {
    Channel.ATM: Control.ATM_SETTLEMENT,
    Channel.AGENT: Control.AGENT_PAYABLE,
    Channel.EWARONG: Control.EWARONG_PAYABLE,
}


class Origin(NamedTuple):
    """Where a request came from: link, message and terminal, as kept with the authorisation."""

    link: str
    mti: str
    terminal: str
    merchant: str
    acquirer: str
    stan: str
    transmitted: str
    rrn: str
    original: tuple[str, str, str] | None = None  # a reversal's original: STAN, DE7, acquirer


class AuthoriseCommand(NamedTuple):
    """One request with its card, its enciphered PIN and the link's way to say results."""

    request: Request
    origin: Origin
    pan: Pan
    pin_block: bytes | None
    pin_key: KeyHandle | None
    response_codes: Mapping[DeclineReason, str]


class Outcome(NamedTuple):
    """What to answer. BALANCES: rupiah that can be spent, by purse, where the answer tells them; None where it does not."""

    reason: DeclineReason
    response_code: str
    approval_code: str | None
    balances: dict[Purse, int] | None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Policy in memory: purse rules, and each programme's purse. Kept for a few seconds (gateway.operations.lane)."""

    purse_rules: Sequence[PurseRule]
    purse_of: Mapping[int, Purse]
    _by_place: dict[tuple[Channel, str], list[PurseRule]] = field(default_factory=dict)

    def rules_at(self, channel: Channel, mcc: str) -> list[PurseRule]:
        """The purse rules that can count at a channel and MCC; what they say of dates and purses is the rules' own question."""
        found = self._by_place.get((channel, mcc))
        if found is None:
            found = [rule for rule in self.purse_rules if rule.channel is channel and rule.mcc in ("*", mcc)]
            self._by_place[channel, mcc] = found
        return found


@dataclass(slots=True)
class Ids:
    """Ids taken ahead from sequences, so a group needs no round trip for them."""

    authorisations: list[int]
    transfers: list[int]


class Keyed:
    """A command with what identifies it: its card's index and cell, its message key and its original's."""

    __slots__ = ("cell", "command", "message_key", "original_key", "pan_index")

    def __init__(self, bank: Bank, command: AuthoriseCommand, cell: int) -> None:
        """Compute the keys once, before the command waits for its group."""
        self.command = command
        self.cell = cell
        self.pan_index = bank.vault.index(command.pan.reveal(), "pan")
        origin = command.origin
        reversal = command.request.kind is RequestKind.REVERSAL
        message_class = "4" if reversal else "2"
        self.message_key = _key(
            origin.link, message_class, self.pan_index, origin.stan, origin.transmitted, origin.acquirer
        )
        self.original_key = None
        if origin.original is not None:
            self.original_key = _key(origin.link, "2", self.pan_index, *origin.original)


async def authorise_group(
    bank: Bank, connection: AsyncConnection, lane: int, group: Sequence[Keyed], rulebook: Rulebook, ids: Ids
) -> list[Outcome]:
    """Decide and write one group inside the connection's transaction. The caller commits, then answers.

    At most one member a card. Raises PostingError or a database error when the group cannot be written; nothing moved then.
    """
    stream = f"lane-{lane}"
    head = await audit.lock_head(connection, stream)  # one writer a lane, over all processes; LOAD sees what it left
    wanted = [Wanted(one.cell, one.pan_index, one.message_key, one.original_key) for one in group]
    loaded = await load(connection, wanted)
    today = bank.business_date
    work = _Work(bank, rulebook, ids, today)
    outcomes = [work.one(member, found) for member, found in zip(group, loaded, strict=True)]
    if work.rows:
        detail = {"decided": [[one.cell, one.id, digest(one)] for one in work.rows]}
        event = audit.chained(
            bank.audit_mac,
            head,
            stream,
            bank.now(),
            "iso8583",
            audit.Operation.AUTHORISE,
            f"{len(work.rows)} decided",
            detail,
        )
        arrays = post_arrays(work.transfers, ids.transfers[: len(work.transfers)])
        del ids.transfers[: len(work.transfers)]
        columns = arrays | write_arrays(work.rows) | work.card_arrays() | work.reversal_arrays()
        parameters = {name: array_text(values) for name, values in columns.items()}
        parameters |= audit.event_parameters(event)
        counts = (await connection.execute(WRITE, parameters)).one()
        check_counts(len(work.transfers), tuple(counts))
    return outcomes


class _Work:
    """What a group's decisions add up to."""

    def __init__(self, bank: Bank, rulebook: Rulebook, ids: Ids, today: date) -> None:
        self.bank = bank
        self.rulebook = rulebook
        self.ids = ids
        self.today = today
        self.rows: list[NewAuthorisation] = []
        self.transfers: list[Transfer] = []
        self.cards: list[tuple[int, int, int, int, str]] = []
        self.reversed: list[tuple[int, int, int, int]] = []

    def one(self, member: Keyed, found: Loaded) -> Outcome:
        """Decide one member and note what is to be written for it."""
        command, snapshot = member.command, found.snapshot
        request = command.request
        pin = self._check_pin(command, found)
        decision = decide(
            request,
            snapshot,
            pin,
            self.today,
            self.rulebook.rules_at(request.channel, request.mcc),
            self.bank.settings.pin_tries,
        )
        if decision.replayed:
            return self._replay(command, decision, found)
        authorisation_id = self.ids.authorisations.pop()
        source = Source("authorisation", authorisation_id, self.today)
        account = Account(member.cell, found.account_id)
        transfers = self._transfers(request, decision, found, account, source)
        first = len(self.transfers)
        self.transfers += transfers
        if decision.pin_tries_left is not None and found.card_id is not None:
            state = CardState.PIN_LOCKED if decision.pin_tries_left == 0 else CardState.ACTIVE
            self.cards.append((found.card_id, member.cell, found.account_id, decision.pin_tries_left, state.value))
        if request.kind is RequestKind.REVERSAL and decision.draws and found.original_id is not None:
            given = sum(draw.amount_idr for draw in decision.draws)
            self.reversed.append((member.cell, found.original_id, given, authorisation_id))
        outcome = self._outcome(command, decision, found, authorisation_id)
        transfer_ids = self.ids.transfers[first : first + len(transfers)]
        self.rows.append(_row(member, decision, found, outcome, authorisation_id, transfer_ids, self.today))
        return outcome

    def card_arrays(self) -> dict[str, list[Any]]:
        """PIN tries and locks to write."""
        names = ("c_id", "c_cell", "c_account", "c_tries", "c_state")
        return {name: [row[place] for row in self.cards] for place, name in enumerate(names)}

    def reversal_arrays(self) -> dict[str, list[Any]]:
        """Originals to mark."""
        names = ("r_cell", "r_id", "r_amount", "r_by")
        return {name: [row[place] for row in self.reversed] for place, name in enumerate(names)}

    def _check_pin(self, command: AuthoriseCommand, found: Loaded) -> PinOutcome:
        if not needs_pin_check(command.request, found.snapshot):
            return PinOutcome.NOT_CHECKED
        if command.pin_block is None or command.pin_key is None or found.pin_offset is None:
            return PinOutcome.MISSING
        bank = self.bank
        right = bank.hsm.verify_pin(
            command.pin_block, command.pin_key, bank.keys.pin_verification, command.pan, found.pin_offset
        )
        return PinOutcome.RIGHT if right else PinOutcome.WRONG

    def _transfers(
        self, request: Request, decision: Decision, found: Loaded, account: Account, source: Source
    ) -> list[Transfer]:
        if not decision.draws:
            return []
        if request.kind is RequestKind.REVERSAL:
            channel = Channel(found.original_channel or "")
            pairs = [(draw, found.original_transfers.get(draw.tranche_id)) for draw in decision.draws]
            return reverse(account, pairs, OWED_TO[channel], source)
        kind = Kind.PURCHASE if request.kind is RequestKind.PURCHASE else Kind.WITHDRAWAL
        return spend(account, decision.draws, kind, OWED_TO[request.channel], source)

    def _outcome(self, command: AuthoriseCommand, decision: Decision, found: Loaded, authorisation_id: int) -> Outcome:
        told = decision.approved or decision.reason is DeclineReason.INSUFFICIENT_FUNDS
        balances = None
        if told and found.snapshot.card is not None and command.request.kind is not RequestKind.REVERSAL:
            balances = self._balances(decision, found)
        approval = f"{authorisation_id % 1_000_000:06d}" if decision.approved else None
        return Outcome(decision.reason, command.response_codes[decision.reason], approval, balances)

    def _balances(self, decision: Decision, found: Loaded) -> dict[Purse, int]:
        """What can be spent after the decision, by purse."""
        balances = dict.fromkeys(Purse, 0)
        for tranche in found.snapshot.tranches:
            if tranche.state is TrancheState.OPEN:
                balances[self.rulebook.purse_of[tranche.programme]] += tranche.available_idr
        for draw in decision.draws:
            balances[self.rulebook.purse_of[draw.programme]] -= draw.amount_idr
        return balances

    def _replay(self, command: AuthoriseCommand, decision: Decision, found: Loaded) -> Outcome:
        """Answer from the stored answer; another message under the same key is refused."""
        if decision.reason is DeclineReason.KEY_REUSED:
            return Outcome(decision.reason, command.response_codes[decision.reason], None, None, replayed=True)
        stored = found.earlier_answer or {}
        balances = stored.get("balances")
        told = None if balances is None else {Purse(name): amount for name, amount in balances.items()}
        return Outcome(decision.reason, found.earlier_code or "", stored.get("approval_code"), told, replayed=True)


def _row(
    member: Keyed,
    decision: Decision,
    found: Loaded,
    outcome: Outcome,
    authorisation_id: int,
    transfer_ids: list[int],
    today: date,
) -> NewAuthorisation:
    request, origin = member.command.request, member.command.origin
    answer: dict[str, Any] = {"approval_code": outcome.approval_code}
    if outcome.balances is not None:
        answer["balances"] = {purse.value: amount for purse, amount in outcome.balances.items()}
    return NewAuthorisation(
        member.cell, authorisation_id, found.account_id, found.card_id, origin.link, request.kind.value, member.message_key,
        request.content_digest, member.original_key, origin.mti, request.channel.value, request.mcc, origin.terminal,
        origin.merchant, origin.acquirer, origin.stan, origin.transmitted, origin.rrn, request.amount_idr,
        decision.reason.value, outcome.response_code, ANSWER_TEXT(answer),
        [draw.tranche_id for draw in decision.draws], [draw.programme for draw in decision.draws],
        [draw.amount_idr for draw in decision.draws], transfer_ids, today,
    )  # fmt: skip


def _key(link: str, message_class: str, pan_index: bytes, stan: str, transmitted: str, acquirer: str) -> bytes:
    """16 bytes that one message of one card on one link has. Institutions count as numbers: hosts pad them differently."""
    number = acquirer.strip().lstrip("0") or "0"
    parts = f"{link}|{message_class}|{stan}|{transmitted}|{number}".encode()
    return hashlib.sha256(parts + b"|" + pan_index).digest()[:16]
