"""Stand-in: what the bank approves while its books are away, and how much of it at most. Pure.

An opt-in of the bank, link by link: it bears what it pays out without its books. The rules see the request, the card as the
list of cards has it, and what was stood in for since; they ask only whether the PIN may be looked at, which they do last of all
(gateway.operations.stand_in). Whatever no rule lets through stays unanswered by stand-in, and is told 91 as ever. Refuses to know
files and PINs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.rules.authorise import RequestKind
from gateway.rules.purse import drawable_programmes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from gateway.rules.authorise import Request
    from gateway.rules.purse import Channel, PurseRule

ISSUER_UNAVAILABLE = 1003
"""Why it was stood in for: "card issuer unavailable" (jPOS-CMF, reason codes of DE25, 1000 to 1011)."""


class StandInRule(StrEnum):
    """What is asked, in this order; the first that does not hold refuses."""

    KIND = "KIND"  # purchases and cash at the channels that the link's policy names, and nothing else
    FIRST_SENDING = "FIRST_SENDING"  # a repeat of what was not stood in for may have been decided already
    OUTAGE = "OUTAGE"  # the books have not been away for too long
    LIST_AGE = "LIST_AGE"  # the list of cards is not too old
    CARD_LISTED = "CARD_LISTED"  # an active card of an active account with money, when the list was made
    CARD_EXPIRY = "CARD_EXPIRY"
    PIN_TRIES = "PIN_TRIES"  # not used up, by the list or since
    PURSE = "PURSE"  # a purse that may be spent here
    TRANSACTION = "TRANSACTION"  # the most of one transaction
    CARD_TOTAL = "CARD_TOTAL"  # the most of one card since the list was made
    FUNDS = "FUNDS"  # what the family had when the list was made, less what was stood in for since


@dataclass(frozen=True, slots=True)
class StandInPolicy:
    """What a link is stood in for. Amounts in rupiah; MOST_CARD_IDR: of one card on all links, since the list was made."""

    cash: frozenset[Channel]
    purchases: bool
    most_idr: int
    most_card_idr: int
    list_age_s: int
    outage_s: int


class ListedCard(NamedTuple):
    """A card as the list has it. AVAILABLE_IDR: what could be spent then, by programme."""

    cell: int
    account_id: int
    card_id: int
    expires_on: date
    pin_tries_left: int
    pin_key_version: int
    pin_offset: str
    available_idr: Mapping[int, int]


@dataclass(slots=True)
class Since:
    """What was stood in for of one card since the list was made: rupiah not given back, and wrong PINs."""

    given_idr: int = 0
    wrong_pins: int = 0


class Moment(NamedTuple):
    """When it is asked: the business date, seconds since the list was made, and since the books went away."""

    today: date
    list_age_s: float
    outage_s: float


class StoodIn(NamedTuple):
    """How something stood in for is posted. APPROVED: its money is out, so what cannot be posted is an exception for people."""

    reason: int
    approval: str | None
    approved: bool
    pin_wrong: bool = False


class Verdict(NamedTuple):
    """The rules that were asked, in order, and the one that refused; None: the PIN may be looked at."""

    asked: tuple[StandInRule, ...]
    refused: StandInRule | None


def judge(
    request: Request,
    card: ListedCard | None,
    since: Since,
    policy: StandInPolicy,
    purse_rules: Sequence[PurseRule],
    moment: Moment,
    *,
    repeat: bool = False,
) -> Verdict:
    """Whether a request may be stood in for, if its PIN is right. REPEAT: its message type says that it was sent before."""
    asked: list[StandInRule] = []
    for rule, holds in _rules(request, card, since, policy, purse_rules, moment, repeat):
        asked.append(rule)
        if not holds:
            return Verdict(tuple(asked), rule)
    return Verdict(tuple(asked), None)


def _rules(
    request: Request,
    card: ListedCard | None,
    since: Since,
    policy: StandInPolicy,
    purse_rules: Sequence[PurseRule],
    moment: Moment,
    repeat: bool,  # noqa: FBT001 - a fact like the others
) -> Iterator[tuple[StandInRule, bool]]:
    """Each rule and whether it holds; what stands later is not worked out when one before refuses."""
    rule, amount = StandInRule, request.amount_idr
    plain = not request.forced and request.fault is None and amount > 0
    cash = request.kind is RequestKind.CASH and request.channel in policy.cash
    yield rule.KIND, plain and (cash or (request.kind is RequestKind.PURCHASE and policy.purchases))
    yield rule.FIRST_SENDING, not repeat
    yield rule.OUTAGE, moment.outage_s <= policy.outage_s
    yield rule.LIST_AGE, 0 <= moment.list_age_s <= policy.list_age_s
    yield rule.CARD_LISTED, card is not None
    assert card is not None  # noqa: S101 - the rule before
    yield rule.CARD_EXPIRY, card.expires_on >= moment.today
    yield rule.PIN_TRIES, card.pin_tries_left > since.wrong_pins
    programmes = drawable_programmes(purse_rules, request.channel, request.mcc, request.purse, moment.today)
    yield rule.PURSE, bool(programmes)
    yield rule.TRANSACTION, amount <= policy.most_idr
    yield rule.CARD_TOTAL, since.given_idr + amount <= policy.most_card_idr
    had = sum(idr for programme, idr in card.available_idr.items() if programme in programmes)
    yield rule.FUNDS, since.given_idr + amount <= had


def reversal_fits(request: Request, taken_idr: int, kept_before_idr: int) -> bool:
    """Whether a reversal can be accepted of a request that was stood in for. TAKEN_IDR: of it; KEPT_BEFORE_IDR: after reversals.

    It names the amount that was taken, and keeps no more of it than the reversal before has left.
    """
    return request.amount_idr == taken_idr and 0 <= request.kept_idr <= kept_before_idr
