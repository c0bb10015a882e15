"""Group authorisation: what one lane does with the requests that came in while its last commit was under way.

load -> PIN checks -> rules.authorise.decide for each -> write -> COMMIT -> everyone is answered. See docs/architecture.md,
"One authorisation". The queueing is gateway.operations.lane's; the wire is gateway.terminals'.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.operations.pin_check import check_pins
from gateway.rules.authorise import (
    GIVING_BACK,
    PIN_WAS_RIGHT,
    SPENDING,
    WITH_PIN,
    Decision,
    DeclineReason,
    Policy,
    Request,
    RequestKind,
    Snapshot,
    decide,
    kept_amounts,
)
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheClock, TrancheState
from gateway.rules.expiring import Expiring, earliest, lost_on
from gateway.rules.limits import LimitPeriod, LimitScope, TerminalUse
from gateway.rules.purse import Channel, Purse
from gateway.store import audit, decided
from gateway.store.array_text import array_text
from gateway.store.authorisations import Loaded, NewAuthorisation, Wanted, write_parameters
from ledger.book import check_counts, post_arrays
from ledger.chart import Control
from ledger.posting import (
    Account,
    Kind,
    PostingError,
    Source,
    Transfer,
    capture,
    hold,
    release,
    reverse,
    spend,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.operations.bank import Bank
    from gateway.rules.authorise import PinOutcome, TrancheView
    from gateway.rules.dormancy import ClockPolicy
    from gateway.rules.limits import LimitRule
    from gateway.rules.purse import PurseRule
    from gateway.store.lane_connection import LaneConnection
    from keys.keytypes import KeyHandle
    from keys.sensitive import Pan

NOTHING = dict.fromkeys(Purse, 0)
# The class of the message that asks for it: part of its key, so that a request and its reversal never collide.
MESSAGE_CLASS = dict.fromkeys(RequestKind, "2") | {RequestKind.HOLD: "1", RequestKind.REVERSAL: "4"}
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
    original: tuple[str, str, str, str] | None = None  # message class, STAN, DE7, acquirer of what it names
    settlement_date: date | None = None  # the partner's day; None: the business date


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
    expiring: Expiring | None = None  # what the family loses next if it does nothing
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Policy in memory: purse rules, spending limits, and each programme's purse. Kept for seconds (gateway.operations.lane)."""

    purse_rules: Sequence[PurseRule]
    purse_of: Mapping[int, Purse]
    pin_tries: int
    limits: Sequence[LimitRule] = ()
    clocks: Sequence[ClockPolicy] = ()
    _at: dict[tuple[Channel, str], Policy] = field(default_factory=dict)
    _counted: dict[Channel, bool] = field(default_factory=dict)
    _lost_on: dict[tuple[int, str, date, bool, date], date | None] = field(default_factory=dict)

    @property
    def terminal_limits(self) -> bool:
        """Whether any limit counts what a terminal pays out."""
        return any(limit.per is LimitScope.TERMINAL for limit in self.limits)

    def policy_at(self, channel: Channel, mcc: str) -> Policy:
        """The rules that can count at a channel and MCC; what they say of dates and purses is their own question."""
        found = self._at.get((channel, mcc))
        if found is None:
            purse_rules = [rule for rule in self.purse_rules if rule.channel is channel and rule.mcc in ("*", mcc)]
            limits = [limit for limit in self.limits if limit.concerns(channel)]
            found = self._at[channel, mcc] = Policy(purse_rules, limits, self.pin_tries)
        return found

    def lost_on(self, tranche: TrancheView, today: date, *, used: bool) -> date | None:
        """When a clock takes an open tranche; few programmes, regions and dates stand for all families."""
        key = (tranche.programme, tranche.region, tranche.clock_from, used, today)
        if key not in self._lost_on:
            clock = TrancheClock(tranche.programme, tranche.region, tranche.clock_from, used, tranche.state)
            self._lost_on[key] = lost_on(clock, self.clocks, today)
        return self._lost_on[key]

    def counts(self, request: Request) -> bool:
        """Whether a limit adds up what the request's family has spent before."""
        if request.kind not in SPENDING:
            return False
        found = self._counted.get(request.channel)
        if found is None:
            found = self._counted[request.channel] = any(
                limit.per is LimitScope.CARD
                and limit.period is not LimitPeriod.TRANSACTION
                and limit.concerns(request.channel)
                for limit in self.limits
            )
        return found

    def counts_terminal(self, request: Request) -> bool:
        """Whether a limit adds up what the request's terminal has paid out."""
        return request.kind in SPENDING and any(
            limit.per is LimitScope.TERMINAL
            and limit.concerns(request.channel)
            and limit.terminal in (None, request.terminal)
            for limit in self.limits
        )


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
        self.message_key = _key(
            origin.link,
            MESSAGE_CLASS[command.request.kind],
            self.pan_index,
            origin.stan,
            origin.transmitted,
            origin.acquirer,
        )
        self.original_key = None
        if origin.original is not None:
            message_class, *rest = origin.original
            self.original_key = _key(origin.link, message_class, self.pan_index, *rest)


async def authorise_group(
    bank: Bank, connection: LaneConnection, group: Sequence[Keyed], rulebook: Rulebook, ids: Ids
) -> list[Outcome]:
    """Decide and write one group inside the connection's transaction. The caller commits, then answers.

    At most one member a card. Raises PostingError or a database error when the group cannot be written; nothing moved then.
    """
    await connection.begin()
    today = bank.business_date
    wanted = [
        Wanted(one.cell, one.pan_index, one.message_key, one.original_key, rulebook.counts(one.command.request))
        for one in group
    ]
    terminals = {one.command.request.terminal for one in group if rulebook.counts_terminal(one.command.request)}
    head, loaded = await connection.load(wanted, terminals, today)
    work = _Work(bank, rulebook, ids, today)
    pins = check_pins(bank, [one.command for one in group], loaded)
    outcomes = [work.one(*one) for one in zip(group, loaded, pins, strict=True)]
    if work.rows:
        if len(ids.transfers) < len(work.transfers):
            ids.transfers += await connection.take_ids("transfer_id_seq", len(work.transfers))
        counts = await connection.write(work.parameters(head, connection.stream))
        check_counts(len(work.transfers), counts)
        if counts[3] != len(work.undone):
            raise PostingError(f"{counts[3]} of {len(work.undone)} originals were found again")
    return outcomes


class _Work:
    """What a group's decisions add up to."""

    def __init__(self, bank: Bank, rulebook: Rulebook, ids: Ids, today: date) -> None:
        self.bank = bank
        self.rulebook = rulebook
        self.ids = ids
        self.today = today
        self.decided: list[_Decided] = []
        self.transfers: list[Transfer] = []
        self.cards: list[tuple[int, int, int, int, str]] = []
        self.undone: list[tuple[int, int, date | None, int, int, str, bool]] = []
        self.terminals: dict[str, tuple[int, int]] = {}  # in this group: debits and rupiah by acquirer:terminal

    @property
    def rows(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.decided)

    def one(self, member: Keyed, found: Loaded, pin: PinOutcome) -> Outcome:
        """Decide one member and note what is to be written for it."""
        command = member.command
        request = command.request
        snapshot = self._with_this_group(request, found.snapshot)
        decision = decide(request, snapshot, pin, self.today, self.rulebook.policy_at(request.channel, request.mcc))
        if decision.replayed:
            return self._replay(command, decision, found)
        authorisation_id = self.ids.authorisations.pop()
        first = len(self.transfers)
        if decision.draws:
            source = Source("authorisation", authorisation_id, self.today)
            self.transfers += _transfers(request, decision, found, Account(member.cell, found.account_id), source)
            self._note_original(member, decision, found, authorisation_id)
            if request.kind in SPENDING:
                debits, amount = self.terminals.get(request.terminal, (0, 0))
                self.terminals[request.terminal] = debits + 1, amount + request.amount_idr
        if decision.pin_tries_left is not None and found.card_id is not None:
            state = CardState.PIN_LOCKED if decision.pin_tries_left == 0 else CardState.ACTIVE
            self.cards.append((found.card_id, member.cell, found.account_id, decision.pin_tries_left, state.value))
        outcome = self._outcome(command, decision, found, authorisation_id)
        self.decided.append(_Decided(member, decision, found, outcome, authorisation_id, first, len(self.transfers)))
        return outcome

    def parameters(self, head: audit.Head, stream: str) -> dict[str, Any]:
        """Parameters of WRITE: transfers, cards, originals, terminals, the authorisations and the audit event that names them."""
        transfer_ids = self.ids.transfers[: len(self.transfers)]
        del self.ids.transfers[: len(self.transfers)]
        rows = [_row(one, transfer_ids[one.first : one.end], self.today) for one in self.decided]
        columns = post_arrays(self.transfers, transfer_ids) | write_parameters(rows)
        columns |= _columns(("c_id", "c_cell", "c_account", "c_tries", "c_state"), self.cards)
        columns |= _columns(("r_cell", "r_id", "r_date", "r_amount", "r_by", "r_kept", "r_closes"), self.undone)
        used = [(name, self.today, *use) for name, use in self.terminals.items() if self.rulebook.terminal_limits]
        columns |= _columns(("u_terminal", "u_date", "u_debits", "u_amount"), used)
        parameters: dict[str, Any] = {name: array_text(values) for name, values in columns.items()}
        event = audit.chained(
            self.bank.audit_mac, head, stream, self.bank.now(), "iso8583", audit.Operation.AUTHORISE,
            f"{len(rows)} decided", decided.detail_of(rows, parameters, self.today),
        )  # fmt: skip
        return parameters | audit.event_parameters(event)

    def _with_this_group(self, request: Request, snapshot: Snapshot) -> Snapshot:
        """The snapshot, with what this group has already let the terminal pay out."""
        if request.terminal not in snapshot.terminal_uses or request.terminal not in self.terminals:
            return snapshot
        uses = [*snapshot.terminal_uses[request.terminal], TerminalUse(self.today, *self.terminals[request.terminal])]
        return snapshot._replace(terminal_uses={request.terminal: uses})

    def _note_original(self, member: Keyed, decision: Decision, found: Loaded, authorisation_id: int) -> None:
        """What a reversal, refund or completion changes of the row it names."""
        original = found.snapshot.original
        if original is None or found.original_id is None:
            return
        undone = sum(draw.amount_idr for draw in (*decision.draws, *decision.released))
        kept = kept_amounts(original.draws, original.reversed_idr + undone)
        self.undone.append((
            member.cell, found.original_id, found.original_date, undone, authorisation_id,
            "{" + ",".join(map(str, kept)) + "}", not any(kept),
        ))  # fmt: skip

    def _outcome(self, command: AuthoriseCommand, decision: Decision, found: Loaded, authorisation_id: int) -> Outcome:
        approval = f"{authorisation_id % 1_000_000:06d}" if decision.approved else None
        balances = expiring = None
        if decision.reason in PIN_WAS_RIGHT and command.request.kind in WITH_PIN:
            balances, expiring = self._told(decision, found)
        return Outcome(decision.reason, command.response_codes[decision.reason], approval, balances, expiring)

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
        balances = stored.get("balances")
        told = None if balances is None else {Purse(name): amount for name, amount in balances.items()}
        expiring = None
        if "expiring" in stored:
            on, amount = stored["expiring"]
            expiring = Expiring(date.fromisoformat(on), amount)
        return Outcome(
            decision.reason, found.earlier_code or "", stored.get("approval_code"), told, expiring, replayed=True
        )


class _Decided(NamedTuple):
    """One decided member, until its row is written. FIRST and END: which of the group's transfers are its own."""

    member: Keyed
    decision: Decision
    found: Loaded
    outcome: Outcome
    id: int
    first: int
    end: int


def _transfers(request: Request, decision: Decision, found: Loaded, account: Account, source: Source) -> list[Transfer]:
    """A decision's draws as the ledger books them."""
    if request.kind is RequestKind.HOLD:
        return hold(account, decision.draws, source)
    original = found.snapshot.original
    if request.kind is RequestKind.COMPLETION:
        taken = capture(account, decision.draws, OWED_TO[Channel(found.original_channel or "")], source)
        return [*taken, *release(account, decision.released, source)]
    if request.kind in GIVING_BACK:
        if original is not None and original.kind is RequestKind.HOLD:
            return release(account, decision.draws, source)
        channel = Channel(found.original_channel or "")
        pairs = [(draw, found.original_transfers.get(draw.tranche_id)) for draw in decision.draws]
        return reverse(account, pairs, OWED_TO[channel], source)
    kind = Kind.PURCHASE if request.kind is RequestKind.PURCHASE else Kind.WITHDRAWAL
    return spend(account, decision.draws, kind, OWED_TO[request.channel], source)


def _row(one: _Decided, transfer_ids: list[int], today: date) -> NewAuthorisation:
    member, decision, found, outcome = one.member, one.decision, one.found, one.outcome
    request, origin = member.command.request, member.command.origin
    told = ""
    if outcome.balances is not None:
        told = ',"balances":{' + ",".join([f'"{purse}":{amount}' for purse, amount in outcome.balances.items()]) + "}"
    if outcome.expiring is not None:
        told += f',"expiring":["{outcome.expiring.on}",{outcome.expiring.amount_idr}]'
    approval = "null" if outcome.approval_code is None else f'"{outcome.approval_code}"'
    amounts = [draw.amount_idr for draw in decision.draws]
    held = request.kind is RequestKind.HOLD and bool(decision.draws)
    # What takes back or completes is booked, counted and settled where its original stood; its message need not repeat it.
    channel = str(request.channel if request.kind in WITH_PIN else found.original_channel or request.channel)
    return NewAuthorisation(
        member.cell, one.id, found.account_id, found.card_id, origin.link, str(request.kind), member.message_key,
        request.content_digest, member.original_key, origin.mti, channel, request.mcc, origin.terminal,
        origin.merchant, origin.acquirer, origin.stan, origin.transmitted, origin.rrn, request.amount_idr,
        str(decision.reason), outcome.response_code, f'{{"approval_code":{approval}{told}}}',
        [draw.tranche_id for draw in decision.draws], [draw.programme for draw in decision.draws],
        amounts, transfer_ids, today, max(today, origin.settlement_date or today), list(decision.limits.evaluated),
        decision.limits.decided_by, [0] * len(amounts) if request.kind in GIVING_BACK else amounts,
        today + timedelta(days=request.hold_days) if held else None,
    )  # fmt: skip


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Rows as one list a column."""
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {name: [] for name in names}


def _key(link: str, message_class: str, pan_index: bytes, stan: str, transmitted: str, acquirer: str) -> bytes:
    """16 bytes that one message of one card on one link has. Institutions count as numbers: hosts pad them differently."""
    number = acquirer.strip().lstrip("0") or "0"
    parts = f"{link}|{message_class}|{stan}|{transmitted}|{number}".encode()
    return hashlib.sha256(parts + b"|" + pan_index).digest()[:16]
