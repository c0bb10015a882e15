"""Approve or decline: the one file that says why a family gets its money or not.

decide() is pure and flat: refusals stand in order of precedence, the order of DeclineReason. It sees facts loaded before it
(Snapshot) and the outcome of the PIN check, and says what to change; gateway.operations.authorise writes it. How a reason is
told to a terminal (DE39) belongs to the partner link, gateway.terminals.profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from gateway.rules.account import AccountState
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheState
from gateway.rules.draws import by_tranche, what_is_left
from gateway.rules.limits import NO_LIMITS, LimitKind, Verdict, check_limits
from gateway.rules.purse import Channel, PurseChoice, PurseRule, drawable_programmes
from ledger.posting import Draw, draw_oldest_first, give_back

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from gateway.rules.limits import LimitRule, TerminalUse, Use


class RequestKind(StrEnum):
    """What is asked for."""

    CASH = "CASH"
    PURCHASE = "PURCHASE"
    BALANCE = "BALANCE"
    STATEMENT = "STATEMENT"  # the family's last movements
    PIN_CHANGE = "PIN_CHANGE"  # the family chooses another PIN at a terminal
    HOLD = "HOLD"  # money set aside for a purchase that is completed later (0100)
    COMPLETION = "COMPLETION"  # takes a hold's money, all or a part; the rest is released (0220)
    REFUND = "REFUND"  # goods brought back: gives back what a purchase took, all or a part
    REVERSAL = "REVERSAL"  # what was asked did not happen, all or a part: cash, purchase, completion or hold
    ADVICE = "ADVICE"  # an advice that tells of nothing that is done here, or is not readable: kept for people


class DeclineReason(StrEnum):
    """Why not, in order of precedence. APPROVALS stand first because a stored result is one of these too."""

    APPROVED = "APPROVED"
    PARTIALLY_APPROVED = "PARTIALLY_APPROVED"  # there was less than was asked for: all that could be spent
    KEY_REUSED = "KEY_REUSED"  # the same message key with other content
    ADVICE_DECLINED = "ADVICE_DECLINED"  # the partner declined in our name and tells us: kept, nothing moves
    ADVICE_UNREADABLE = "ADVICE_UNREADABLE"  # a field of an advice is missing or malformed: answered 30, and kept
    ADVICE_NOT_SERVED = "ADVICE_NOT_SERVED"  # an advice of a transaction, currency or place that this link does not do
    REVERSED_BEFORE = "REVERSED_BEFORE"  # its reversal came first
    ORIGINAL_UNKNOWN = "ORIGINAL_UNKNOWN"  # a reversal of nothing we have seen; kept as a tombstone
    REVERSAL_AMOUNT = "REVERSAL_AMOUNT"  # a reversal or refund that wants more back than was taken
    HOLD_AMOUNT = "HOLD_AMOUNT"  # a completion of more than is held: too much, lapsed, released or completed before
    CARD_UNKNOWN = "CARD_UNKNOWN"
    CARD_LOST = "CARD_LOST"
    CARD_STOLEN = "CARD_STOLEN"
    CARD_CLOSED = "CARD_CLOSED"
    CARD_NOT_ACTIVE = "CARD_NOT_ACTIVE"  # ordered, delivered or handed over, no PIN chosen yet
    CARD_BLOCKED = "CARD_BLOCKED"
    CARD_EXPIRED = "CARD_EXPIRED"
    PIN_TRIES_EXCEEDED = "PIN_TRIES_EXCEEDED"
    # card checks (gateway.rules.chip): before the PIN, so that a copied card uses up no tries
    CHIP_MISSING = "CHIP_MISSING"
    FALLBACK_REFUSED = "FALLBACK_REFUSED"  # the stripe of a card that has a chip
    CHIP_WRONG = "CHIP_WRONG"  # the cryptogram is not the card's, or is one of another amount or currency
    CHIP_REPLAYED = "CHIP_REPLAYED"  # its transaction counter is not above the card's last one
    CHIP_AHEAD = "CHIP_AHEAD"  # its transaction counter is further above than the link's window
    STRIPE_VALUE_MISSING = "STRIPE_VALUE_MISSING"
    STRIPE_VALUE_WRONG = "STRIPE_VALUE_WRONG"
    PIN_VOID = "PIN_VOID"  # the key it was chosen under has ended: the branch has a new one chosen, whatever was typed
    PIN_MISSING = "PIN_MISSING"
    PIN_WRONG = "PIN_WRONG"
    PIN_REPLAYED = "PIN_REPLAYED"  # the terminal's key serial number (DUKPT) was used before: told like a wrong PIN
    NEW_PIN_REFUSED = "NEW_PIN_REFUSED"  # the PIN is right, the one to take its place is weak, or is none
    ACCOUNT_PENDING_ID = "ACCOUNT_PENDING_ID"
    ACCOUNT_BLOCKED = "ACCOUNT_BLOCKED"
    NOT_PERMITTED = "NOT_PERMITTED"  # no purse may be spent through this channel and MCC
    AID_BLOCKED = "AID_BLOCKED"  # there is enough, but a dormancy clock blocked it
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    LIMIT_AMOUNT = "LIMIT_AMOUNT"  # a spending limit: rupiah (gateway.rules.limits)
    LIMIT_COUNT = "LIMIT_COUNT"  # a spending limit: number of transactions
    OVERLOAD = "OVERLOAD"
    SYSTEM_ERROR = "SYSTEM_ERROR"


APPROVALS = (DeclineReason.APPROVED, DeclineReason.PARTIALLY_APPROVED)
"""What says yes."""
PIN_WAS_RIGHT = frozenset({
    *APPROVALS, DeclineReason.ACCOUNT_PENDING_ID, DeclineReason.ACCOUNT_BLOCKED, DeclineReason.NOT_PERMITTED,
    DeclineReason.AID_BLOCKED, DeclineReason.INSUFFICIENT_FUNDS, DeclineReason.LIMIT_AMOUNT, DeclineReason.LIMIT_COUNT,
    DeclineReason.NEW_PIN_REFUSED,
})  # fmt: skip
"""What is told behind a right PIN alone, to a request that was asked for one: the family may hear its balance then."""


class PinOutcome(StrEnum):
    """What the HSM said of the PIN block."""

    NOT_CHECKED = "NOT_CHECKED"
    VOID = "VOID"
    MISSING = "MISSING"
    RIGHT = "RIGHT"
    WRONG = "WRONG"
    REPLAYED = "REPLAYED"  # right, under a key serial number that was used before
    NEW_REFUSED = "NEW_REFUSED"  # right; the new one of a PIN change is refused


class Request(NamedTuple):
    """One authorisation request without its wire and its secrets. Amounts in rupiah."""

    kind: RequestKind
    channel: Channel
    mcc: str
    purse: PurseChoice
    amount_idr: int
    content_digest: bytes
    terminal: str = ""  # acquirer:terminal
    kept_idr: int = 0  # a partial reversal: what of the original amount stays taken
    hold_days: int = 7  # a hold lapses after so many days
    forced: bool = False  # it has happened: the partner approved it in our name (0120, 0220 without a hold)
    fault: DeclineReason | None = None  # why an advice can move nothing, whatever there is: ADVICE_DECLINED and so on
    increments: bool = False  # a hold that adds to an earlier one, which it names
    lines: int = 0  # at most so many movements of a statement
    partial: bool = False  # a purchase or hold that can do with less than it asks for


class CardView(NamedTuple):
    """What the decision needs to know of a card."""

    state: CardState
    expires_on: date
    pin_tries_left: int
    account_state: AccountState


class TrancheView(NamedTuple):
    """A tranche with money in it. It is spent from AVAILABLE_FROM on; its clock stops where it was USED."""

    id: int
    programme: int
    available_idr: int
    state: TrancheState
    credited_on: date
    available_from: date
    clock_from: date
    used: bool
    region: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """An answer given before under the same message key. REVERSED_IDR: what of it is no longer taken."""

    content_digest: bytes
    reason: DeclineReason
    kind: RequestKind = RequestKind.CASH
    amount_idr: int = 0
    reversed_idr: int = 0


@dataclass(frozen=True, slots=True)
class Original:
    """The request that a reversal, refund or completion names. REVERSED_IDR: what of it is no longer taken.

    SETTLED: its day is closed with the partner. RETURNING: a tranche it drew from was frozen or is gone to the treasury since.
    EXPIRED: a hold that lapsed. INCREMENT: a hold that added to another. MORE: what those that added to it still hold.
    ASKED_IDR: what it asked for, where less (AMOUNT_IDR) was approved.
    """

    kind: RequestKind
    reason: DeclineReason
    amount_idr: int
    reversed_idr: int
    draws: tuple[Draw, ...]
    settled: bool = False
    returning: bool = False
    expired: bool = False
    increment: bool = False
    more: tuple[Draw, ...] = ()
    asked_idr: int | None = None

    @property
    def taken_idr(self) -> int:
        """What of it is still taken; 0 where nothing ever was."""
        return self.amount_idr - self.reversed_idr if self.draws else 0

    @property
    def left(self) -> tuple[Draw, ...]:
        """What is still taken of each draw; reversals give back from the last drawn on."""
        return what_is_left(self.draws, self.reversed_idr)


NO_TERMINAL_USES: Mapping[str, Sequence[TerminalUse]] = MappingProxyType({})


class Snapshot(NamedTuple):
    """Everything loaded for one request."""

    card: CardView | None = None
    tranches: Sequence[TrancheView] = ()
    earlier: Earlier | None = None
    original: Original | None = None
    reversed_before: bool = False
    uses: Sequence[Use] = ()
    terminal_uses: Mapping[str, Sequence[TerminalUse]] = NO_TERMINAL_USES  # acquirer:terminal -> what it has paid out


@dataclass(frozen=True, slots=True)
class Policy:
    """The bank's rules that fit a request's channel and MCC, and how many wrong PINs lock a card."""

    purse_rules: Sequence[PurseRule]
    limits: Sequence[LimitRule]
    pin_tries: int


class Decision(NamedTuple):
    """The outcome: a reason, what is drawn or given back, and the PIN tries that are left afterwards (None: unchanged).

    RELEASED: what a completion gives back of its hold. LIMITS: the spending limits that were evaluated.
    APPROVED_IDR: of a partial approval, what is drawn.
    """

    reason: DeclineReason
    draws: tuple[Draw, ...] = ()
    pin_tries_left: int | None = None
    replayed: bool = False
    released: tuple[Draw, ...] = ()
    limits: Verdict = NO_LIMITS
    approved_idr: int | None = None

    @property
    def approved(self) -> bool:
        """Whether the answer is yes."""
        return self.reason in APPROVALS


GIVING_BACK = (RequestKind.REVERSAL, RequestKind.REFUND)
REFUNDABLE = (RequestKind.PURCHASE, RequestKind.COMPLETION)
COMPLETABLE = (RequestKind.HOLD, RequestKind.PURCHASE)  # what a 0100 or 0120 may have been
TELLING = (RequestKind.BALANCE, RequestKind.STATEMENT, RequestKind.PIN_CHANGE)  # with a PIN, and without money
WITH_PIN = (RequestKind.CASH, RequestKind.PURCHASE, RequestKind.HOLD, *TELLING)
SPENDING = (RequestKind.CASH, RequestKind.PURCHASE, RequestKind.HOLD)  # what spending limits are asked for
EXCEEDED = {LimitKind.AMOUNT: DeclineReason.LIMIT_AMOUNT, LimitKind.COUNT: DeclineReason.LIMIT_COUNT}
STATE_REASONS = {
    CardState.LOST: DeclineReason.CARD_LOST,
    CardState.STOLEN: DeclineReason.CARD_STOLEN,
    CardState.REPLACED: DeclineReason.CARD_CLOSED,
    CardState.CLOSED: DeclineReason.CARD_CLOSED,
    CardState.BLOCKED: DeclineReason.CARD_BLOCKED,
    CardState.ORDERED: DeclineReason.CARD_NOT_ACTIVE,
    CardState.DELIVERED: DeclineReason.CARD_NOT_ACTIVE,
    CardState.HANDED_OVER: DeclineReason.CARD_NOT_ACTIVE,
}


def decide(
    request: Request,
    snapshot: Snapshot,
    pin: PinOutcome,
    today: date,
    policy: Policy,
    card_fault: DeclineReason | None = None,
) -> Decision:
    """Approve or decline one request. Refusals stand in order of precedence (DeclineReason).

    CARD_FAULT: what the check of chip or stripe found. It stands before the PIN: whoever has a copied card uses up no tries of
    the family's, and learns nothing of the PIN; and after the card's state, as no proof is asked of a card that is stopped.
    """
    if snapshot.earlier is not None:
        return _earlier_answer(request, snapshot.earlier)
    if request.fault is not None:
        return Decision(request.fault)
    if snapshot.reversed_before and request.kind is not RequestKind.REVERSAL:
        return Decision(DeclineReason.REVERSED_BEFORE)
    if request.kind in GIVING_BACK:
        return _decide_giving_back(request, snapshot.original)
    card = snapshot.card
    if request.kind is RequestKind.COMPLETION:
        return _decide_completion(request, snapshot.original)
    if request.increments and (refusal := _refuse_increment(snapshot.original)) is not None:
        return Decision(refusal)
    if card is None:
        return Decision(DeclineReason.CARD_UNKNOWN)
    if request.forced:
        return _decide_funds(request, card, snapshot, today, policy, None)
    if card.state not in (CardState.ACTIVE, CardState.PIN_LOCKED):
        return Decision(STATE_REASONS[card.state])
    if card.expires_on < today:
        return Decision(DeclineReason.CARD_EXPIRED)
    if card.state is CardState.PIN_LOCKED or card.pin_tries_left == 0:
        return Decision(DeclineReason.PIN_TRIES_EXCEEDED)
    if card_fault is not None:
        return Decision(card_fault)
    if pin is PinOutcome.VOID:
        return Decision(DeclineReason.PIN_VOID)
    if pin in (PinOutcome.MISSING, PinOutcome.NOT_CHECKED):
        return Decision(DeclineReason.PIN_MISSING)
    if pin is PinOutcome.WRONG:
        return Decision(DeclineReason.PIN_WRONG, pin_tries_left=card.pin_tries_left - 1)
    if pin is PinOutcome.REPLAYED:
        return Decision(DeclineReason.PIN_REPLAYED, pin_tries_left=card.pin_tries_left - 1)
    tries = policy.pin_tries if card.pin_tries_left != policy.pin_tries else None
    if pin is PinOutcome.NEW_REFUSED:
        return Decision(DeclineReason.NEW_PIN_REFUSED, pin_tries_left=tries)
    if request.kind in TELLING:
        return Decision(DeclineReason.APPROVED, pin_tries_left=tries)
    decision = _decide_funds(request, card, snapshot, today, policy, tries)
    if not decision.draws:
        return decision
    at_terminal = snapshot.terminal_uses.get(request.terminal, ())
    limits = check_limits(
        policy.limits, today, request.channel, request.terminal, decision.draws, snapshot.uses, at_terminal
    )
    if limits.exceeded is not None:
        return Decision(EXCEEDED[limits.exceeded], pin_tries_left=tries, limits=limits)
    return Decision(decision.reason, decision.draws, tries, limits=limits, approved_idr=decision.approved_idr)


def needs_pin_check(request: Request, snapshot: Snapshot) -> bool:
    """Whether decide() will look at the PIN: then, and only then, the HSM is asked and a try may be used up."""
    card = snapshot.card
    return (
        card is not None
        and snapshot.earlier is None
        and request.kind in WITH_PIN
        and not request.forced
        and request.fault is None
        and not snapshot.reversed_before
        and card.state is CardState.ACTIVE
        and card.pin_tries_left > 0
    )


def _earlier_answer(request: Request, earlier: Earlier) -> Decision:
    """The same message gets the same answer; another message under the same key is refused (94).

    An advice of what we approved ourselves under its key, the answer of which was lost on its way, moves nothing more. One that
    says that the partner declined it, or that comes when what we approved was given back, is another message: people must look.
    """
    if earlier.content_digest == request.content_digest:
        return Decision(earlier.reason, replayed=True)
    approved = earlier.reason in APPROVALS and earlier.amount_idr == request.amount_idr
    if earlier.kind is not RequestKind.HOLD and earlier.reversed_idr:
        approved = False
    if request.forced and request.fault is None and approved and earlier.kind in (request.kind, RequestKind.HOLD):
        return Decision(DeclineReason.APPROVED, replayed=True)
    return Decision(DeclineReason.KEY_REUSED, replayed=True)


def _decide_funds(
    request: Request, card: CardView, snapshot: Snapshot, today: date, policy: Policy, tries: int | None
) -> Decision:
    """What is left to ask once the card is trusted: account, purses, and whether there is enough. Never more than there is.

    A request that can do with less gets what is open. TRIES: the PIN tries that are left afterwards; None: unchanged.
    """
    if card.account_state is AccountState.PENDING_ID:
        return Decision(DeclineReason.ACCOUNT_PENDING_ID, pin_tries_left=tries)
    if card.account_state is not AccountState.ACTIVE:
        return Decision(DeclineReason.ACCOUNT_BLOCKED, pin_tries_left=tries)
    programmes = drawable_programmes(policy.purse_rules, request.channel, request.mcc, request.purse, today)
    if not programmes:
        return Decision(DeclineReason.NOT_PERMITTED, pin_tries_left=tries)
    drawable = _oldest_first(snapshot.tranches, programmes, TrancheState.OPEN, today)
    there_idr = sum([draw.amount_idr for draw in drawable])
    if there_idr < request.amount_idr:
        if request.partial and not request.forced and there_idr > 0:
            return Decision(DeclineReason.PARTIALLY_APPROVED, tuple(drawable), tries, approved_idr=there_idr)
        blocked = _oldest_first(snapshot.tranches, programmes, TrancheState.BLOCKED, today)
        with_blocked = sum(draw.amount_idr for draw in (*drawable, *blocked))
        enough = with_blocked >= request.amount_idr
        reason = DeclineReason.AID_BLOCKED if enough else DeclineReason.INSUFFICIENT_FUNDS
        return Decision(reason, pin_tries_left=tries)
    return Decision(DeclineReason.APPROVED, draw_oldest_first(drawable, request.amount_idr), tries)


def _decide_giving_back(request: Request, original: Original | None) -> Decision:
    """Give back what the original took. An original that took nothing, or was given back already, needs no more: approved.

    But for a completion that took nothing: its money was taken by the advice (0120) that it completes, and is so still. The
    reversal of a partial approval may name what was approved or what was asked for: terminals do both.
    """
    refund = request.kind is RequestKind.REFUND
    if original is None or original.kind in GIVING_BACK or (refund and original.kind not in REFUNDABLE):
        return Decision(DeclineReason.ORIGINAL_UNKNOWN)
    if original.reason not in APPROVALS or not original.draws:
        if refund:
            return Decision(DeclineReason.ORIGINAL_UNKNOWN)
        by_advice = original.kind is RequestKind.COMPLETION and original.reason in APPROVALS
        return Decision(DeclineReason.REVERSAL_AMOUNT if by_advice else DeclineReason.APPROVED)
    taken = original.amount_idr - original.reversed_idr
    if refund:
        if request.amount_idr > taken:
            return Decision(DeclineReason.REVERSAL_AMOUNT)
        return Decision(DeclineReason.APPROVED, give_back(original.draws, original.reversed_idr, request.amount_idr))
    more_idr = sum(draw.amount_idr for draw in original.more)
    named = (original.amount_idr, original.amount_idr if original.asked_idr is None else original.asked_idr)
    amounts = {*named, *(amount_idr + more_idr for amount_idr in named)}
    if request.amount_idr not in amounts or request.kept_idr > original.amount_idr:
        return Decision(DeclineReason.REVERSAL_AMOUNT)
    wanted = taken - request.kept_idr
    more = original.more if request.kept_idr == 0 else ()  # a hold given back as a whole takes with it what was added
    back = give_back(original.draws, original.reversed_idr, wanted) if wanted > 0 else ()
    return Decision(DeclineReason.APPROVED, by_tranche((*back, *more)) if more else back)


def _refuse_increment(original: Original | None) -> DeclineReason | None:
    """Why nothing can be added to what a 0100 names; None: it is a hold that stands open, and the first of its kind."""
    if original is None or original.kind is not RequestKind.HOLD or original.increment:
        return DeclineReason.ORIGINAL_UNKNOWN
    standing = original.reason in APPROVALS and original.left
    return None if standing else DeclineReason.HOLD_AMOUNT


def _decide_completion(request: Request, original: Original | None) -> Decision:
    """Take a hold's money, from the tranches it remembers, oldest first; what is not needed is released.

    An advised authorisation (0120) was taken when it came: a completion of the same amount moves nothing more.
    """
    if original is None or original.kind not in COMPLETABLE or original.increment:
        return Decision(DeclineReason.ORIGINAL_UNKNOWN)
    if original.kind is RequestKind.PURCHASE:
        same = original.reason in APPROVALS and request.amount_idr == original.taken_idr
        return Decision(DeclineReason.APPROVED if same else DeclineReason.HOLD_AMOUNT)
    held = by_tranche((*original.left, *original.more)) if original.more else original.left
    left = sum(draw.amount_idr for draw in held)
    if original.reason not in APPROVALS or request.amount_idr > left:
        return Decision(DeclineReason.HOLD_AMOUNT)
    draws = draw_oldest_first(held, request.amount_idr)
    released = give_back(held, 0, left - request.amount_idr) if left > request.amount_idr else ()
    return Decision(DeclineReason.APPROVED, draws, released=released)


def _oldest_first(
    tranches: Sequence[TrancheView], programmes: dict[int, int], state: TrancheState, today: date
) -> list[Draw]:
    """Tranches of the purses that may be spent, once they are available: by the purse's priority, then by age."""
    fitting = [
        t
        for t in tranches
        if t.state is state and t.programme in programmes and t.available_idr > 0 and t.available_from <= today
    ]
    if len(fitting) > 1:
        fitting.sort(key=lambda t: (programmes[t.programme], t.credited_on, t.id))
    return [Draw(t.id, t.programme, t.available_idr) for t in fitting]
