"""Group authorisation: what one lane does with the requests that came in while its last commit was under way.

load -> PIN checks -> rules.authorise.decide for each -> write -> COMMIT -> everyone is answered. See docs/architecture.md,
"One authorisation". The queueing is gateway.operations.lane's; the wire is gateway.terminals'.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.operations import card_scripts, seldom
from gateway.operations.card_check import answer_again, check_cards, chip_answer
from gateway.operations.decision_rows import Decided, columns, exceptions_of, row_of, transfers_of
from gateway.operations.pin_check import check_pins, check_pins_once
from gateway.rules.authorise import (
    GIVING_BACK,
    PIN_WAS_RIGHT,
    SPENDING,
    WITH_PIN,
    Decision,
    DeclineReason,
    Request,
    RequestKind,
    Snapshot,
    decide,
)
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheState
from gateway.rules.draws import kept_amounts
from gateway.rules.expiring import Expiring, earliest
from gateway.rules.limits import TerminalUse
from gateway.rules.link_exception import exceptions_for, settles_by_itself
from gateway.rules.purse import Purse
from gateway.store import audit, decided, link_exceptions
from gateway.store.array_text import array_text
from gateway.store.authorisations import Loaded, Movement, Wanted, write_parameters
from gateway.store.seldom import ChangedPin, extend, keep_pins
from ledger.book import check_counts, post_arrays
from ledger.posting import (
    Account,
    PostingError,
    Source,
    Transfer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.operations.bank import Bank
    from gateway.operations.card_check import CardCheck, CardData, IssuerAnswer
    from gateway.operations.rulebook import Rulebook
    from gateway.rules.authorise import PinOutcome
    from gateway.rules.chip import ScriptTold
    from gateway.rules.stand_in import StoodIn
    from gateway.store.chip_scripts import Sending
    from gateway.store.lane_connection import LaneConnection
    from gateway.store.link_exceptions import NewException
    from keys.keytypes import KeyHandle
    from keys.sensitive import Pan

ADVICE = "2"  # third digit of an MTI (ISO 8583:1987, 4.1.2)
NOTHING = dict.fromkeys(Purse, 0)


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
    original: tuple[str, str, str, str] | None = None  # message class, STAN, DE7, acquirer of what it names
    settlement_date: date | None = None  # the partner's day; None: the business date
    guessed: bool = False  # the message does not name its original: `original` is what it would be with the same DE7
    more_key: tuple[str, ...] = ()  # other fields that tell messages of the link apart


class AuthoriseCommand(NamedTuple):
    """One message with its card, its enciphered PIN and the link's way to say results.

    WHY: what is wrong with an advice that is kept for people, without its values.
    """

    request: Request
    origin: Origin
    pan: Pan
    pin_block: bytes | None
    pin_key: KeyHandle | None
    response_codes: Mapping[DeclineReason, str]
    card: CardData | None = None  # None: the link wants nothing of the card but its number and a plain PIN block
    why: str = ""
    new_pin_block: bytes | None = None  # of a PIN change, under the same key
    script_words: tuple[ScriptTold, ...] = ()  # what the terminal says of scripts that chips were sent
    stand_in: StoodIn | None = None  # it was answered while the books were away, and is posted now


class Outcome(NamedTuple):
    """What to answer. BALANCES: rupiah that can be spent, by purse, where the answer tells them; None where it does not."""

    reason: DeclineReason
    response_code: str
    approval_code: str | None
    balances: dict[Purse, int] | None
    expiring: Expiring | None = None  # what the family loses next if it does nothing
    replayed: bool = False
    chip_answer: IssuerAnswer | None = None  # DE55, for the card's chip; never stored
    statement: tuple[Movement, ...] = ()  # newest first
    approved_idr: int | None = None  # of a partial approval, which is less than what was asked for
    stand_in: int | None = None  # why it was stood in for (gateway.rules.stand_in); None: it was not


@dataclass(slots=True)
class Ids:
    """Ids taken ahead from sequences, so a group needs no round trip for them."""

    authorisations: list[int]
    transfers: list[int]


class Keyed:
    """A command with what identifies it: its card's index and cell, its message key and its original's."""

    __slots__ = ("cell", "command", "message_key", "original_key", "pan_index", "seldom")

    def __init__(self, bank: Bank, command: AuthoriseCommand, cell: int) -> None:
        """Compute the keys once, before the command waits for its group. SELDOM: it needs more than most."""
        if command.new_pin_block is not None:
            command = _with_new_pin(bank, command, command.new_pin_block)
        self.command = command
        self.cell = cell
        self.pan_index = bank.vault.index(command.pan.reveal(), "pan")
        origin = command.origin
        self.message_key = _key(
            origin.link,
            origin.mti[1],  # its class, so that a request and its reversal never collide
            self.pan_index,
            origin.stan,
            origin.transmitted,
            origin.acquirer,
            origin.more_key,
        )
        self.original_key = None
        if origin.original is not None:
            message_class, *rest = origin.original
            stan, transmitted, acquirer = rest
            self.original_key = _key(
                origin.link, message_class, self.pan_index, stan, transmitted, acquirer, origin.more_key
            )
        self.seldom = seldom.is_seldom(command)


async def authorise_group(
    bank: Bank, connection: LaneConnection, group: Sequence[Keyed], rulebook: Rulebook, ids: Ids, stamps: list[float]
) -> list[Outcome]:
    """Decide and write one group inside the connection's transaction. The caller commits, then answers.

    At most one member a card. STAMPS gets a time for each step that is done: locked, loaded, checked, decided, written.
    Raises PostingError or a database error when the group cannot be written; nothing moved then.
    """
    await connection.begin()
    stamps.append(monotonic())
    today = bank.business_date
    wanted = [
        Wanted(one.cell, one.pan_index, one.message_key, one.original_key, rulebook.counts(one.command.request))
        for one in group
    ]
    terminals = {counted_at(one.command) for one in group if rulebook.counts_terminal(one.command.request)}
    needs_more = any([one.seldom for one in group])  # noqa: C419 - a list is faster than a generator here
    if needs_more:
        await seldom.before_load(bank, connection, group)
    head, loaded = await connection.load(wanted, terminals, today)
    if needs_more:
        await seldom.find_first_sendings(bank, connection, group, loaded)
        head = await card_scripts.keep_words(bank, connection, head, group, loaded)
    stamps.append(monotonic())
    work = _Work(bank, rulebook, ids, today)
    commands = [one.command for one in group]
    checks: list[CardCheck | None] = [None] * len(group)
    if any([command.card is not None for command in commands]):  # noqa: C419 - a list is faster than a generator here
        checks = await check_cards(bank, connection, group, loaded)
        pins = await check_pins_once(bank, connection, commands, loaded, checks)
    else:
        pins = check_pins(bank, commands, loaded)
    if needs_more:
        await seldom.after_load(bank, connection, group, loaded, pins)
    stamps.append(monotonic())
    outcomes = [work.one(*one) for one in zip(group, loaded, pins, checks, strict=True)]
    stamps.append(monotonic())
    if work.scripts:
        head = await card_scripts.note_sent(bank, connection, head, work.scripts)
    if work.rows:
        if len(ids.transfers) < len(work.transfers):
            ids.transfers += await connection.take_ids("transfer_id_seq", len(work.transfers))
        counts = await connection.write(work.parameters(head, connection.stream))
        check_counts(len(work.transfers), counts)
        if counts[3] != len(work.undone):
            raise PostingError(f"{counts[3]} of {len(work.undone)} originals were found again")
    if work.exceptions or work.settling:
        await link_exceptions.keep(connection, work.exceptions, work.settling)
    if work.pins:
        await keep_pins(connection, work.pins)
    if work.holds:
        await extend(connection, work.holds)
    stamps.append(monotonic())
    return outcomes


def counted_at(command: AuthoriseCommand) -> str:
    """Under what a terminal's use is counted: link:acquirer:terminal, so that no partner uses up what is another's."""
    return f"{command.origin.link}:{command.request.terminal}"


class _Work:
    """What a group's decisions add up to."""

    def __init__(self, bank: Bank, rulebook: Rulebook, ids: Ids, today: date) -> None:
        self.bank = bank
        self.rulebook = rulebook
        self.ids = ids
        self.today = today
        self.decided: list[Decided] = []
        self.transfers: list[Transfer] = []
        self.cards: list[tuple[int, int, int, int, str]] = []
        self.undone: list[tuple[int, int, date | None, int, int, str, bool]] = []
        self.terminals: dict[str, tuple[int, int]] = {}  # in this group: debits and rupiah by counted_at()
        self.counts_terminals = rulebook.terminal_limits
        self.exceptions: list[NewException] = []
        self.pins: list[ChangedPin] = []
        self.scripts: list[Sending] = []
        self.holds: list[
            tuple[int, int, date, date]
        ] = []  # to which something was added: they stand as long as that does
        self.settling: list[tuple[bytes | None, bytes | None, int, date]] = []
        self.stood_in: list[int] = []  # authorisations that were answered while the books were away

    @property
    def rows(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.decided)

    def one(self, member: Keyed, found: Loaded, pin: PinOutcome, check: CardCheck | None) -> Outcome:
        """Decide one member and note what is to be written for it."""
        command = member.command
        request = command.request
        snapshot = self._with_this_group(command, found.snapshot)
        policy = self.rulebook.policy_at(request.channel, request.mcc)
        decision = decide(request, snapshot, pin, self.today, policy, None if check is None else check.fault)
        if decision.replayed:
            self._note_exceptions(member, snapshot, decision, found, found.earlier_id)
            return self._replay(command, decision, found)
        authorisation_id = self.ids.authorisations.pop()
        if not decision.approved or request.kind in GIVING_BACK:
            self._note_exceptions(member, snapshot, decision, found, authorisation_id)
        first = len(self.transfers)
        if decision.draws:
            source = Source("authorisation", authorisation_id, self.today)
            self.transfers += transfers_of(request, decision, found, Account(member.cell, found.account_id), source)
            self._note_original(member, decision, found, authorisation_id)
            if self.counts_terminals and request.kind in SPENDING:
                debits, amount = self.terminals.get(counted_at(command), (0, 0))
                taken_idr = request.amount_idr if decision.approved_idr is None else decision.approved_idr
                self.terminals[counted_at(command)] = debits + 1, amount + taken_idr
        if decision.pin_tries_left is not None and found.card_id is not None:
            state = CardState.PIN_LOCKED if decision.pin_tries_left == 0 else CardState.ACTIVE
            self.cards.append((found.card_id, member.cell, found.account_id, decision.pin_tries_left, state.value))
        if found.new_reference is not None and decision.approved and found.card_id is not None:
            self.pins.append(ChangedPin(member.cell, found.account_id, found.card_id, *found.new_reference))
        outcome = self._outcome(command, decision, found, authorisation_id)
        if command.stand_in is not None:
            outcome = outcome._replace(approval_code=command.stand_in.approval, stand_in=command.stand_in.reason)
            self.stood_in.append(authorisation_id)
        if check is not None and check.key is not None:
            chip = chip_answer(self.bank, command, check, outcome.reason, outcome.response_code)
            outcome = outcome._replace(chip_answer=chip)
            self.scripts += card_scripts.sendings(member, found, chip)
        self.decided.append(Decided(member, decision, found, outcome, authorisation_id, first, len(self.transfers)))
        return outcome

    def parameters(self, head: audit.Head, stream: str) -> dict[str, Any]:
        """Parameters of WRITE: transfers, cards, originals, terminals, the authorisations and the audit event that names them."""
        transfer_ids = self.ids.transfers[: len(self.transfers)]
        del self.ids.transfers[: len(self.transfers)]
        rows = [row_of(one, transfer_ids[one.first : one.end], self.today) for one in self.decided]
        arrays = post_arrays(self.transfers, transfer_ids) | write_parameters(rows)
        arrays |= columns(("c_id", "c_cell", "c_account", "c_tries", "c_state"), self.cards)
        arrays |= columns(("r_cell", "r_id", "r_date", "r_amount", "r_by", "r_kept", "r_closes"), self.undone)
        used = [(name, self.today, *use) for name, use in self.terminals.items()]
        arrays |= columns(("u_terminal", "u_date", "u_debits", "u_amount"), used)
        parameters: dict[str, Any] = {name: array_text(values) for name, values in arrays.items()}
        detail = decided.detail_of(rows, parameters, self.today)
        if self.stood_in:
            detail["stand_in"] = self.stood_in
        event = audit.chained(
            self.bank.audit_mac, head, stream, self.bank.now(), "iso8583", audit.Operation.AUTHORISE,
            f"{len(rows)} decided", detail,
        )  # fmt: skip
        return parameters | audit.event_parameters(event)

    def _with_this_group(self, command: AuthoriseCommand, snapshot: Snapshot) -> Snapshot:
        """The snapshot, with what the terminal has paid out over its link, what this group has let it among that."""
        if not snapshot.terminal_uses:
            return snapshot
        place = counted_at(command)
        uses = list(snapshot.terminal_uses.get(place, ()))
        if place in self.terminals:
            uses.append(TerminalUse(self.today, *self.terminals[place]))
        return snapshot._replace(terminal_uses={command.request.terminal: uses})

    def _note_original(self, member: Keyed, decision: Decision, found: Loaded, authorisation_id: int) -> None:
        """What a reversal, refund or completion changes of the row it names."""
        original = found.snapshot.original
        if original is None or found.original_id is None:
            return
        if member.command.request.kind is RequestKind.HOLD:
            until = self.today + timedelta(days=member.command.request.hold_days)
            self.holds.append((member.cell, found.original_id, found.original_date or self.today, until))
            self.holds += [(member.cell, one.id, one.business_date, until) for one in found.increments]
            return
        undone = sum(draw.amount_idr for draw in (*decision.draws, *decision.released))
        if original.more and member.command.request.kept_idr == 0:  # what was added to a hold ends with it
            for one in found.increments:
                left = sum(draw.amount_idr for draw in one.draws)
                self.undone.append(
                    (member.cell, one.id, one.business_date, left, authorisation_id, _numbers(one.kept_idr), True)
                )
                undone -= left
        kept = kept_amounts(original.draws, original.reversed_idr + undone)
        self.undone.append((
            member.cell, found.original_id, found.original_date, undone, authorisation_id, _numbers(kept), not any(kept),
        ))  # fmt: skip

    def _note_exceptions(
        self, member: Keyed, snapshot: Snapshot, decision: Decision, found: Loaded, number: int | None
    ) -> None:
        """What people must look at, and what they need look at no longer. NUMBER: of the authorisation."""
        request, stand_in = member.command.request, member.command.stand_in
        reasons = exceptions_for(request, snapshot, decision, advice=member.command.origin.mti[2] == ADVICE)
        if stand_in is not None and stand_in.approved and decision.reason is not DeclineReason.APPROVED:
            reasons = (decision.reason.value,)  # its money is out
        if reasons:
            self.exceptions += exceptions_of(member, found, reasons, number, self.today)
        if number is not None and settles_by_itself(request, snapshot, decision):
            came = member.message_key if request.kind is not RequestKind.REVERSAL else None
            self.settling.append((came, member.original_key if came is None else None, number, self.today))

    def _outcome(self, command: AuthoriseCommand, decision: Decision, found: Loaded, authorisation_id: int) -> Outcome:
        approval = f"{authorisation_id % 1_000_000:06d}" if decision.approved else None
        balances = expiring = None
        if decision.reason in PIN_WAS_RIGHT and command.request.kind in WITH_PIN and not command.request.forced:
            balances, expiring = self._told(decision, found)
        return Outcome(
            decision.reason, command.response_codes[decision.reason], approval, balances, expiring,
            statement=found.statement if decision.approved else (), approved_idr=decision.approved_idr,
        )  # fmt: skip

    def _told(self, decision: Decision, found: Loaded) -> tuple[dict[Purse, int], Expiring | None]:
        """What can be spent after the decision, by purse, and what a clock takes next if nothing is done."""
        balances = NOTHING.copy()
        drawn = {draw.tranche_id: draw.amount_idr for draw in decision.draws}
        purse_of, today = self.rulebook.purse_of, self.today
        losses = []
        for tranche in found.snapshot.tranches:
            if tranche.state is TrancheState.OPEN:
                taken = drawn.get(tranche.id, 0)
                left = tranche.available_idr - taken
                if tranche.available_from <= today:
                    balances[purse_of[tranche.programme]] += left
                used = tranche.used or taken > 0
                losses.append((self.rulebook.lost_on(tranche, today, used=used), left))
        return balances, earliest(losses)

    def _replay(self, command: AuthoriseCommand, decision: Decision, found: Loaded) -> Outcome:
        """Answer from the stored answer; another message under the same key is refused."""
        if decision.reason is DeclineReason.KEY_REUSED:
            return Outcome(decision.reason, command.response_codes[decision.reason], None, None, replayed=True)
        stored = found.earlier_answer or {}
        if command.request.forced:  # an advice tells no balance, nor what the request under its key was told
            return Outcome(
                decision.reason,
                command.response_codes[decision.reason],
                stored.get("approval_code"),
                None,
                replayed=True,
            )
        balances = stored.get("balances")
        told = None if balances is None else {Purse(name): amount for name, amount in balances.items()}
        expiring = None
        if "expiring" in stored:
            on, amount = stored["expiring"]
            expiring = Expiring(date.fromisoformat(on), amount)
        lines = tuple(
            Movement(date.fromisoformat(on), kind, amount) for on, kind, amount in stored.get("statement", ())
        )
        earlier, in_part = found.snapshot.earlier, decision.reason is DeclineReason.PARTIALLY_APPROVED
        code = found.earlier_code or ""
        chip = answer_again(self.bank, command, code, stored)
        return Outcome(
            decision.reason,
            code,
            stored.get("approval_code"),
            told,
            expiring,
            replayed=True,
            chip_answer=chip,
            statement=lines,
            approved_idr=earlier.amount_idr if in_part and earlier is not None else None,
        )


def _with_new_pin(bank: Bank, command: AuthoriseCommand, new_pin_block: bytes) -> AuthoriseCommand:
    """A PIN change whose content is its new PIN block too, as a keyed hash: neither block nor a plain hash of it is stored.

    Under a ZPK the same PIN is the same block. Under DUKPT a PIN that is typed again is another block: a repeat is the first
    sending once more, byte for byte, and anything else is other content.
    """
    request, block = command.request, bank.vault.index(new_pin_block.hex(), "new_pin")
    digest = hashlib.sha256(request.content_digest + block).digest()[:16]
    return command._replace(request=request._replace(content_digest=digest))


def _numbers(values: Sequence[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _key(
    link: str, message_class: str, pan_index: bytes, stan: str, transmitted: str, acquirer: str, more: tuple[str, ...]
) -> bytes:
    """16 bytes that one message of one card on one link has. Institutions count as numbers: hosts pad them differently."""
    number = acquirer.strip().lstrip("0") or "0"
    parts = "|".join((link, message_class, stan, transmitted, number, *more)).encode()
    return hashlib.sha256(parts + b"|" + pan_index).digest()[:16]
