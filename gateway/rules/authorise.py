"""Approve or decline: the one file that says why a family gets its money or not.

decide() is pure and flat: refusals stand in order of precedence, the order of DeclineReason. It sees facts loaded before it
(Snapshot) and the outcome of the PIN check, and says what to change; gateway.operations.authorise writes it. How a reason is
told to a terminal (DE39) belongs to the partner link, gateway.terminals.profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.rules.account import AccountState
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheState
from gateway.rules.purse import Channel, PurseChoice, PurseRule, drawable_programmes
from ledger.posting import Draw, draw_oldest_first, give_back

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date


class RequestKind(StrEnum):
    """What is asked for."""

    CASH = "CASH"
    PURCHASE = "PURCHASE"
    BALANCE = "BALANCE"
    REVERSAL = "REVERSAL"


class DeclineReason(StrEnum):
    """Why not, in order of precedence. APPROVED stands first because a stored result is one of these too."""

    APPROVED = "APPROVED"
    KEY_REUSED = "KEY_REUSED"  # the same message key with other content
    REVERSED_BEFORE = "REVERSED_BEFORE"  # its reversal came first
    ORIGINAL_UNKNOWN = "ORIGINAL_UNKNOWN"  # a reversal of nothing we have seen; kept as a tombstone
    REVERSAL_AMOUNT = "REVERSAL_AMOUNT"  # a reversal that wants more back than was taken
    CARD_UNKNOWN = "CARD_UNKNOWN"
    CARD_LOST = "CARD_LOST"
    CARD_STOLEN = "CARD_STOLEN"
    CARD_CLOSED = "CARD_CLOSED"
    CARD_NOT_ACTIVE = "CARD_NOT_ACTIVE"  # ordered, delivered or handed over, no PIN chosen yet
    CARD_BLOCKED = "CARD_BLOCKED"
    CARD_EXPIRED = "CARD_EXPIRED"
    PIN_TRIES_EXCEEDED = "PIN_TRIES_EXCEEDED"
    PIN_MISSING = "PIN_MISSING"
    PIN_WRONG = "PIN_WRONG"
    ACCOUNT_PENDING_ID = "ACCOUNT_PENDING_ID"
    ACCOUNT_BLOCKED = "ACCOUNT_BLOCKED"
    NOT_PERMITTED = "NOT_PERMITTED"  # no purse may be spent through this channel and MCC
    AID_BLOCKED = "AID_BLOCKED"  # there is enough, but a dormancy clock blocked it
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    OVERLOAD = "OVERLOAD"
    SYSTEM_ERROR = "SYSTEM_ERROR"


class PinOutcome(StrEnum):
    """What the HSM said of the PIN block."""

    NOT_CHECKED = "NOT_CHECKED"
    MISSING = "MISSING"
    RIGHT = "RIGHT"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Request:
    """One authorisation request without its wire and its secrets. Amounts in rupiah."""

    kind: RequestKind
    channel: Channel
    mcc: str
    purse: PurseChoice
    amount_idr: int
    content_digest: bytes
    kept_idr: int = 0  # a partial reversal: what of the original amount stays taken


class CardView(NamedTuple):
    """What the decision needs to know of a card."""

    state: CardState
    expires_on: date
    pin_tries_left: int
    account_state: AccountState


class TrancheView(NamedTuple):
    """A tranche with money in it."""

    id: int
    programme: int
    available_idr: int
    state: TrancheState
    credited_on: date


@dataclass(frozen=True, slots=True)
class Earlier:
    """An answer given before under the same message key."""

    content_digest: bytes
    reason: DeclineReason


@dataclass(frozen=True, slots=True)
class Original:
    """The request that a reversal names."""

    reason: DeclineReason
    amount_idr: int
    reversed_idr: int
    draws: tuple[Draw, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything loaded for one request."""

    card: CardView | None = None
    tranches: Sequence[TrancheView] = ()
    earlier: Earlier | None = None
    original: Original | None = None
    reversed_before: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome: a reason, what is drawn or given back, and the PIN tries that are left afterwards (None: unchanged)."""

    reason: DeclineReason
    draws: tuple[Draw, ...] = ()
    pin_tries_left: int | None = None
    replayed: bool = False

    @property
    def approved(self) -> bool:
        """Whether the answer is yes."""
        return self.reason is DeclineReason.APPROVED


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
    request: Request, snapshot: Snapshot, pin: PinOutcome, today: date, purse_rules: Sequence[PurseRule], pin_tries: int
) -> Decision:
    """Approve or decline one request. Refusals stand in order of precedence (DeclineReason)."""
    if snapshot.earlier is not None:
        return _earlier_answer(request, snapshot.earlier)
    if request.kind is RequestKind.REVERSAL:
        return _decide_reversal(request, snapshot.original)
    card = snapshot.card
    if snapshot.reversed_before:
        return Decision(DeclineReason.REVERSED_BEFORE)
    if card is None:
        return Decision(DeclineReason.CARD_UNKNOWN)
    if card.state not in (CardState.ACTIVE, CardState.PIN_LOCKED):
        return Decision(STATE_REASONS[card.state])
    if card.expires_on < today:
        return Decision(DeclineReason.CARD_EXPIRED)
    if card.state is CardState.PIN_LOCKED or card.pin_tries_left == 0:
        return Decision(DeclineReason.PIN_TRIES_EXCEEDED)
    if pin in (PinOutcome.MISSING, PinOutcome.NOT_CHECKED):
        return Decision(DeclineReason.PIN_MISSING)
    if pin is PinOutcome.WRONG:
        return Decision(DeclineReason.PIN_WRONG, pin_tries_left=card.pin_tries_left - 1)
    tries = pin_tries if card.pin_tries_left != pin_tries else None
    if request.kind is RequestKind.BALANCE:
        return Decision(DeclineReason.APPROVED, pin_tries_left=tries)
    if card.account_state is AccountState.PENDING_ID:
        return Decision(DeclineReason.ACCOUNT_PENDING_ID, pin_tries_left=tries)
    if card.account_state is not AccountState.ACTIVE:
        return Decision(DeclineReason.ACCOUNT_BLOCKED, pin_tries_left=tries)
    programmes = drawable_programmes(purse_rules, request.channel, request.mcc, request.purse, today)
    if not programmes:
        return Decision(DeclineReason.NOT_PERMITTED, pin_tries_left=tries)
    drawable = _oldest_first(snapshot.tranches, programmes, TrancheState.OPEN)
    if sum(draw.amount_idr for draw in drawable) < request.amount_idr:
        blocked = _oldest_first(snapshot.tranches, programmes, TrancheState.BLOCKED)
        with_blocked = sum(draw.amount_idr for draw in (*drawable, *blocked))
        enough = with_blocked >= request.amount_idr
        reason = DeclineReason.AID_BLOCKED if enough else DeclineReason.INSUFFICIENT_FUNDS
        return Decision(reason, pin_tries_left=tries)
    return Decision(DeclineReason.APPROVED, draw_oldest_first(drawable, request.amount_idr), pin_tries_left=tries)


def needs_pin_check(request: Request, snapshot: Snapshot) -> bool:
    """Whether decide() will look at the PIN: then, and only then, the HSM is asked and a try may be used up."""
    card = snapshot.card
    return (
        request.kind is not RequestKind.REVERSAL
        and snapshot.earlier is None
        and not snapshot.reversed_before
        and card is not None
        and card.state is CardState.ACTIVE
        and card.pin_tries_left > 0
    )


def _earlier_answer(request: Request, earlier: Earlier) -> Decision:
    """The same message gets the same answer; another message under the same key is refused (94)."""
    if earlier.content_digest != request.content_digest:
        return Decision(DeclineReason.KEY_REUSED, replayed=True)
    return Decision(earlier.reason, replayed=True)


def _decide_reversal(request: Request, original: Original | None) -> Decision:
    """Give back what the original took. An original that took nothing, or was reversed already, needs no more: approved."""
    if original is None:
        return Decision(DeclineReason.ORIGINAL_UNKNOWN)
    if original.reason is not DeclineReason.APPROVED or not original.draws:
        return Decision(DeclineReason.APPROVED)
    if request.amount_idr != original.amount_idr or request.kept_idr > original.amount_idr:
        return Decision(DeclineReason.REVERSAL_AMOUNT)
    wanted = original.amount_idr - request.kept_idr - original.reversed_idr
    if wanted <= 0:
        return Decision(DeclineReason.APPROVED)
    return Decision(DeclineReason.APPROVED, give_back(original.draws, original.reversed_idr, wanted))


def _oldest_first(tranches: Sequence[TrancheView], programmes: dict[int, int], state: TrancheState) -> list[Draw]:
    """Tranches of the purses that may be spent: by the purse's priority, then by age."""
    fitting = [t for t in tranches if t.state is state and t.programme in programmes and t.available_idr > 0]
    fitting.sort(key=lambda t: (programmes[t.programme], t.credited_on, t.id))
    return [Draw(t.id, t.programme, t.available_idr) for t in fitting]
