"""Twin of gateway.rules.authorise: every reason, and which of two reasons is told."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.account import AccountState
from gateway.rules.authorise import (
    APPROVALS,
    PIN_WAS_RIGHT,
    CardView,
    Decision,
    DeclineReason,
    Earlier,
    Original,
    PinOutcome,
    Policy,
    Request,
    RequestKind,
    Snapshot,
    TrancheView,
    decide,
    needs_pin_check,
)
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheState
from gateway.rules.limits import LimitPeriod, LimitRule, LimitScope, Use
from gateway.rules.purse import Channel, Purse, PurseChoice, PurseRule
from ledger.posting import Draw

TODAY = dt.date(2026, 11, 2)
DAY = dt.timedelta(days=1)
TRIES = 3
PKH, SEMBAKO = 1, 2
ATM_PKH = PurseRule(PKH, Purse.CASH, Channel.ATM, "*", 1, dt.date(2017, 1, 1), None)
ATM_SEMBAKO = replace(ATM_PKH, programme=SEMBAKO, purse=Purse.FOOD, priority=2)
CASH = Request(RequestKind.CASH, Channel.ATM, "6011", PurseChoice.BY_RULE, 300_000, b"digest", "000002:A1")


def view(number: int, programme: int, amount_idr: int, state: TrancheState, credited_on: dt.date) -> TrancheView:
    """A tranche that could be spent from the day it was credited."""
    return TrancheView(number, programme, amount_idr, state, credited_on, credited_on, credited_on, False, "1271070001")  # noqa: FBT003 - unused


OLD = view(7, PKH, 200_000, TrancheState.OPEN, TODAY - 40 * DAY)
NEW = view(8, PKH, 150_000, TrancheState.OPEN, TODAY - 2 * DAY)
R = DeclineReason


@dataclass(frozen=True)
class Facts:
    """What decide() sees; by default, a withdrawal that is approved."""

    request: Request = CASH
    known: bool = True
    state: CardState = CardState.ACTIVE
    expires_on: dt.date = TODAY
    tries: int = TRIES
    account: AccountState = AccountState.ACTIVE
    pin: PinOutcome = PinOutcome.RIGHT
    tranches: tuple[TrancheView, ...] = (OLD, NEW)
    rules: tuple[PurseRule, ...] = (ATM_PKH, ATM_SEMBAKO)
    limits: tuple[LimitRule, ...] = ()
    uses: tuple[Use, ...] = ()
    earlier: Earlier | None = None
    original: Original | None = None
    reversed_before: bool = False
    card_fault: DeclineReason | None = None

    @property
    def snapshot(self) -> Snapshot:
        """As it is loaded."""
        card = CardView(self.state, self.expires_on, self.tries, self.account) if self.known else None
        return Snapshot(card, self.tranches, self.earlier, self.original, self.reversed_before, self.uses)

    def decide(self) -> Decision:
        """Ask the rule."""
        policy = Policy(self.rules, self.limits, TRIES)
        return decide(self.request, self.snapshot, self.pin, TODAY, policy, self.card_fault)


@dataclass(frozen=True)
class Fault:
    """What would be declined for REASON."""

    reason: DeclineReason
    change: dict[str, Any] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.reason.value} by {', '.join(self.change)}"

    def fits(self, other: Fault) -> bool:
        """Whether both can be true of one request."""
        return not self.change.keys() & other.change.keys()


BLOCKED_AID = (OLD, NEW._replace(state=TrancheState.BLOCKED))
CARD_CHECKS = [
    R.CHIP_MISSING, R.FALLBACK_REFUSED, R.CHIP_WRONG, R.CHIP_REPLAYED, R.CHIP_AHEAD, R.STRIPE_VALUE_MISSING,
    R.STRIPE_VALUE_WRONG,
]  # fmt: skip
DAILY = LimitRule(5, LimitScope.CARD, LimitPeriod.DAY, None, None, None, 299_999, None, TODAY, None)
FAULTS = [
    Fault(R.KEY_REUSED, {"earlier": Earlier(b"another", R.APPROVED)}),
    Fault(R.REVERSED_BEFORE, {"reversed_before": True}),
    Fault(R.CARD_UNKNOWN, {"known": False}),
    Fault(R.CARD_LOST, {"state": CardState.LOST}),
    Fault(R.CARD_STOLEN, {"state": CardState.STOLEN}),
    Fault(R.CARD_CLOSED, {"state": CardState.CLOSED}),
    Fault(R.CARD_CLOSED, {"state": CardState.REPLACED}),
    Fault(R.CARD_NOT_ACTIVE, {"state": CardState.ORDERED}),
    Fault(R.CARD_NOT_ACTIVE, {"state": CardState.DELIVERED}),
    Fault(R.CARD_NOT_ACTIVE, {"state": CardState.HANDED_OVER}),
    Fault(R.CARD_BLOCKED, {"state": CardState.BLOCKED}),
    Fault(R.CARD_EXPIRED, {"expires_on": TODAY - DAY}),
    Fault(R.PIN_TRIES_EXCEEDED, {"state": CardState.PIN_LOCKED}),
    Fault(R.PIN_TRIES_EXCEEDED, {"tries": 0}),
    *(Fault(reason, {"card_fault": reason}) for reason in CARD_CHECKS),
    Fault(R.PIN_VOID, {"pin": PinOutcome.VOID}),
    Fault(R.PIN_MISSING, {"pin": PinOutcome.MISSING}),
    Fault(R.PIN_MISSING, {"pin": PinOutcome.NOT_CHECKED}),
    Fault(R.PIN_WRONG, {"pin": PinOutcome.WRONG}),
    Fault(R.PIN_REPLAYED, {"pin": PinOutcome.REPLAYED}),
    Fault(R.NEW_PIN_REFUSED, {"pin": PinOutcome.NEW_REFUSED}),
    Fault(R.ACCOUNT_PENDING_ID, {"account": AccountState.PENDING_ID}),
    Fault(R.ACCOUNT_BLOCKED, {"account": AccountState.BLOCKED}),
    Fault(R.ACCOUNT_BLOCKED, {"account": AccountState.CLOSED}),
    Fault(R.NOT_PERMITTED, {"rules": ()}),
    Fault(R.AID_BLOCKED, {"tranches": BLOCKED_AID}),
    Fault(R.INSUFFICIENT_FUNDS, {"tranches": (OLD,)}),
    Fault(R.INSUFFICIENT_FUNDS, {"tranches": (OLD, NEW._replace(available_from=TODAY + DAY))}),
    Fault(
        R.LIMIT_AMOUNT,
        {"limits": (DAILY,)},
    ),
    Fault(
        R.LIMIT_COUNT,
        {"limits": (replace(DAILY, max_amount_idr=None, max_count=0),)},
    ),
]
PAIRS = [(one, other) for one, other in combinations(FAULTS, 2) if one.fits(other)]
ORIGINAL = Original(RequestKind.CASH, R.APPROVED, 300_000, 0, (Draw(7, PKH, 200_000), Draw(8, PKH, 100_000)))
REVERSAL = CASH._replace(kind=RequestKind.REVERSAL)


def test_a_good_withdrawal_is_approved() -> None:
    """The card is good through its last day, and the oldest aid is drawn first."""
    expected = Decision(R.APPROVED, (Draw(7, PKH, 200_000), Draw(8, PKH, 100_000)))
    assert expected == Facts().decide()
    assert expected.approved


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_each_fault_has_its_reason(fault: Fault) -> None:
    """One fault, one reason, and nothing is drawn."""
    decision = replace(Facts(), **fault.change).decide()
    assert fault.reason is decision.reason
    assert () == decision.draws
    assert not decision.approved


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=str)
def test_the_earlier_reason_is_told(first: Fault, second: Fault) -> None:
    """Of two faults the one that stands earlier in DeclineReason is the answer."""
    order = list(DeclineReason)
    expected = min(first.reason, second.reason, key=order.index)
    assert expected is replace(Facts(), **first.change, **second.change).decide().reason


def test_the_faults_of_these_tests_are_all_there_are() -> None:
    """A new reason needs a fault here. What is told apart elsewhere: reversals, completions, advices, overload and outage."""
    advised = {R.ADVICE_DECLINED, R.ADVICE_UNREADABLE, R.ADVICE_NOT_SERVED}
    elsewhere = {*advised, *APPROVALS, R.ORIGINAL_UNKNOWN, R.REVERSAL_AMOUNT, R.HOLD_AMOUNT, R.OVERLOAD, R.SYSTEM_ERROR}
    assert set(DeclineReason) - elsewhere == {fault.reason for fault in FAULTS}
    assert {fault.change["state"] for fault in FAULTS if "state" in fault.change} == set(CardState) - {CardState.ACTIVE}


@pytest.mark.parametrize("reason", DeclineReason)
def test_a_repeated_message_gets_the_first_answer(reason: DeclineReason) -> None:
    """Whatever has become of card, PIN and money since, and nothing is drawn twice or tried again."""
    facts = Facts(earlier=Earlier(b"digest", reason), known=False, pin=PinOutcome.WRONG, tranches=())
    expected = Decision(reason, replayed=True)
    assert expected == facts.decide()
    assert expected == replace(facts, request=REVERSAL, original=ORIGINAL).decide()


def test_the_same_key_with_other_content_is_refused() -> None:
    """It is told so as a repetition: the first answer stays stored."""
    facts = Facts(earlier=Earlier(b"another", R.APPROVED))
    assert Decision(R.KEY_REUSED, replayed=True) == facts.decide()
    assert Decision(R.KEY_REUSED, replayed=True) == replace(facts, request=REVERSAL, original=ORIGINAL).decide()


@pytest.mark.parametrize(("pin", "reason"), [(PinOutcome.WRONG, R.PIN_WRONG), (PinOutcome.REPLAYED, R.PIN_REPLAYED)])
@pytest.mark.parametrize(("tries", "left"), [(3, 2), (2, 1), (1, 0)])
def test_a_wrong_pin_uses_up_a_try(tries: int, left: int, pin: PinOutcome, reason: DeclineReason) -> None:
    """The third wrong one leaves none; a balance inquiry counts too, and so does a block that was sent before."""
    facts = Facts(tries=tries, pin=pin)
    expected = Decision(reason, pin_tries_left=left)
    assert expected == facts.decide()
    assert expected == replace(facts, request=CASH._replace(kind=RequestKind.BALANCE)).decide()


@pytest.mark.parametrize(("tries", "left"), [(3, None), (2, TRIES), (1, TRIES)])
def test_a_right_pin_gives_all_tries_back(tries: int, left: int | None) -> None:
    """Also where the request is then declined for another reason; None where nothing changes."""
    assert left == Facts(tries=tries).decide().pin_tries_left
    declined = replace(Facts(tries=tries), tranches=()).decide()
    assert Decision(R.INSUFFICIENT_FUNDS, pin_tries_left=left) == declined


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.reason not in (R.PIN_WRONG, R.PIN_REPLAYED)], ids=str
)
def test_only_a_checked_pin_changes_the_tries(fault: Fault) -> None:
    """A fault that is told before the PIN leaves the tries as they are, one behind it resets them."""
    decision = replace(Facts(tries=2), **fault.change).decide()
    behind = list(DeclineReason).index(fault.reason) > list(DeclineReason).index(R.PIN_WRONG)
    assert (TRIES if behind else None) == decision.pin_tries_left


@pytest.mark.parametrize("fault", [None, *FAULTS], ids=str)
def test_what_a_balance_is_told_with(fault: Fault | None) -> None:
    """PIN_WAS_RIGHT is what is told behind a right PIN, and nothing that may be told without one."""
    facts = replace(Facts(), **({} if fault is None else fault.change))
    others = [
        replace(facts, pin=pin).decide().reason for pin in (PinOutcome.WRONG, PinOutcome.MISSING, PinOutcome.VOID)
    ]
    right = facts.decide().reason
    assert (right in PIN_WAS_RIGHT) is (right not in others and right is not R.PIN_REPLAYED)


@given(fault=st.sampled_from([None, *FAULTS]), kind=st.sampled_from(RequestKind), expired=st.booleans())
def test_the_pin_is_asked_for_when_it_matters(fault: Fault | None, kind: RequestKind, *, expired: bool) -> None:
    """Where no check is needed, no outcome of one changes the decision; where it is, a wrong PIN does."""
    facts = replace(Facts(), **({} if fault is None else fault.change))
    wrong = R.ADVICE_NOT_SERVED if kind is RequestKind.ADVICE else None  # such an advice has one always
    request = CASH._replace(kind=kind, fault=wrong)
    facts = replace(facts, request=request, expires_on=TODAY - DAY if expired else facts.expires_on)
    facts = replace(facts, original=ORIGINAL)
    answers = {replace(facts, pin=outcome).decide() for outcome in PinOutcome}
    needed = needs_pin_check(facts.request, facts.snapshot)
    if not needed or facts.expires_on < TODAY or facts.card_fault is not None:
        assert 1 == len(answers)
    else:
        assert R.PIN_WRONG in {answer.reason for answer in answers}


@pytest.mark.parametrize("account", AccountState)
def test_a_balance_is_told_whatever_the_account(account: AccountState) -> None:
    """A family may see its aid also while it cannot take it out; the PIN is asked all the same."""
    facts = Facts(request=CASH._replace(kind=RequestKind.BALANCE, amount_idr=0), account=account, rules=())
    assert Decision(R.APPROVED) == facts.decide()
    assert replace(facts, pin=PinOutcome.MISSING).decide().reason is R.PIN_MISSING


def test_blocked_aid_is_told_apart_from_too_little() -> None:
    """AID_BLOCKED only where the blocked aid would have been enough; frozen aid is no longer counted."""
    blocked = NEW._replace(state=TrancheState.BLOCKED)
    exactly = CASH._replace(amount_idr=350_000)
    assert Facts(exactly, tranches=(OLD, blocked)).decide().reason is R.AID_BLOCKED
    more = CASH._replace(amount_idr=350_001)
    assert Facts(more, tranches=(OLD, blocked)).decide().reason is R.INSUFFICIENT_FUNDS
    for state in (TrancheState.FROZEN, TrancheState.AT_RPL, TrancheState.RETURNED):
        gone = NEW._replace(state=state)
        assert Facts(exactly, tranches=(OLD, gone)).decide().reason is R.INSUFFICIENT_FUNDS
    elsewhere = blocked._replace(programme=SEMBAKO)
    assert Facts(exactly, tranches=(OLD, elsewhere), rules=(ATM_PKH,)).decide().reason is R.INSUFFICIENT_FUNDS


def test_open_aid_is_spent_though_other_aid_is_blocked() -> None:
    """A blocked tranche is passed over, however old it is."""
    older = view(1, PKH, 500_000, TrancheState.BLOCKED, TODAY - 95 * DAY)
    assert (Draw(7, PKH, 200_000), Draw(8, PKH, 100_000)) == Facts(tranches=(older, NEW, OLD)).decide().draws


def test_the_last_rupiah_can_be_taken() -> None:
    """All there is, and not one rupiah more."""
    assert Facts(CASH._replace(amount_idr=350_000)).decide().approved
    assert Facts(CASH._replace(amount_idr=350_001)).decide().reason is R.INSUFFICIENT_FUNDS


def test_the_purse_of_the_first_priority_is_drawn_first() -> None:
    """Priority comes before age; within a purse the oldest credit, whatever its id; on the same day the lower id."""
    oldest, newest = view(9, SEMBAKO, 900_000, TrancheState.OPEN, TODAY - 80 * DAY), NEW._replace(id=2)
    facts = Facts(CASH._replace(amount_idr=600_000), tranches=(oldest, newest, OLD, OLD._replace(id=6)))
    expected = (Draw(6, PKH, 200_000), Draw(7, PKH, 200_000), Draw(2, PKH, 150_000), Draw(9, SEMBAKO, 50_000))
    assert expected == facts.decide().draws
    other_way = replace(facts, rules=(replace(ATM_PKH, priority=3), ATM_SEMBAKO))
    assert (Draw(9, SEMBAKO, 600_000),) == other_way.decide().draws


@pytest.mark.parametrize(
    ("valid_from", "valid_to", "expected"),
    [
        (TODAY, None, R.APPROVED),
        (TODAY, TODAY, R.APPROVED),
        (TODAY + DAY, None, R.NOT_PERMITTED),
        (TODAY - DAY, TODAY - DAY, R.NOT_PERMITTED),
    ],
)
def test_a_purse_rule_counts_on_its_days(
    valid_from: dt.date, valid_to: dt.date | None, expected: DeclineReason
) -> None:
    """Effective dates decide, both ends included."""
    assert expected is Facts(rules=(replace(ATM_PKH, valid_from=valid_from, valid_to=valid_to),)).decide().reason


@pytest.mark.parametrize("change", [{"channel": Channel.AGENT}, {"channel": Channel.EWARONG}, {"mcc": "6010"}])
def test_another_channel_or_mcc_is_not_permitted(change: dict[str, Any]) -> None:
    """Where no rule lets the money out, it stays where it is."""
    request = CASH._replace(**change)
    assert Facts(request, rules=(replace(ATM_PKH, mcc="6011"),)).decide().reason is R.NOT_PERMITTED


views = st.builds(view, st.integers(1, 10**6), st.sampled_from([PKH, SEMBAKO, 3]), st.integers(0, 500_000),
                  st.sampled_from(TrancheState), st.dates(dt.date(2026, 1, 1), TODAY))  # fmt: skip


@given(st.lists(views, max_size=6, unique_by=lambda view: view.id), st.integers(1, 900_000))
def test_what_is_drawn_is_there_and_may_be_spent(tranches: list[TrancheView], amount: int) -> None:
    """Approved: the draws add up and come from open tranches of the rules' programmes. Declined: none, and too little."""
    decision = Facts(CASH._replace(amount_idr=amount), tranches=tuple(tranches)).decide()
    open_ = {t.id: t for t in tranches if t.state is TrancheState.OPEN and t.programme in (PKH, SEMBAKO)}
    total = sum(tranche.available_idr for tranche in open_.values())
    assert (total >= amount) is decision.approved
    assert (amount if decision.approved else 0) == sum(draw.amount_idr for draw in decision.draws)
    for draw in decision.draws:
        assert 0 < draw.amount_idr <= open_[draw.tranche_id].available_idr
        assert draw.programme == open_[draw.tranche_id].programme


def test_a_full_reversal_gives_all_back_last_drawn_first() -> None:
    """Whatever has become of the card since: the family gets its money back."""
    expected = Decision(R.APPROVED, (Draw(8, PKH, 100_000), Draw(7, PKH, 200_000)))
    assert expected == Facts(REVERSAL, original=ORIGINAL).decide()
    for fault in FAULTS:
        if fault.reason is not R.KEY_REUSED:
            assert expected == replace(Facts(REVERSAL, original=ORIGINAL), **fault.change).decide()


def test_a_partial_reversal_keeps_what_was_paid_out() -> None:
    """KEPT_IDR of the original stays taken, from the tranches drawn first."""
    kept = REVERSAL._replace(kept_idr=50_000)
    assert (Draw(8, PKH, 100_000), Draw(7, PKH, 150_000)) == Facts(kept, original=ORIGINAL).decide().draws
    later = replace(ORIGINAL, reversed_idr=250_000)
    assert (Draw(7, PKH, 50_000),) == Facts(REVERSAL, original=later).decide().draws


@pytest.mark.parametrize(("kept", "reversed_idr"), [(0, 300_000), (50_000, 250_000), (50_000, 300_000), (300_000, 0)])
def test_a_second_reversal_is_approved_and_gives_nothing(kept: int, reversed_idr: int) -> None:
    """What was given back is not given again, nor taken again when a later reversal keeps more."""
    facts = Facts(REVERSAL._replace(kept_idr=kept), original=replace(ORIGINAL, reversed_idr=reversed_idr))
    assert Decision(R.APPROVED) == facts.decide()


@pytest.mark.parametrize("change", [{"amount_idr": 299_999}, {"amount_idr": 300_001}, {"kept_idr": 300_001}])
def test_a_reversal_of_another_amount_is_refused(change: dict[str, Any]) -> None:
    """It must name the original's amount and keep no more than that, also when all was given back already."""
    request = REVERSAL._replace(**change)
    assert Decision(R.REVERSAL_AMOUNT) == Facts(request, original=ORIGINAL).decide()
    assert Decision(R.REVERSAL_AMOUNT) == Facts(request, original=replace(ORIGINAL, reversed_idr=300_000)).decide()


@pytest.mark.parametrize("reason", [reason for reason in DeclineReason if reason is not R.APPROVED])
def test_a_declined_original_needs_no_reversal(reason: DeclineReason) -> None:
    """It took nothing: approved, nothing given, whatever amount the reversal names."""
    original = Original(RequestKind.CASH, reason, 300_000, 0, ())
    assert Decision(R.APPROVED) == Facts(REVERSAL, original=original).decide()
    assert Decision(R.APPROVED) == Facts(REVERSAL._replace(amount_idr=5), original=original).decide()


def test_a_reversal_before_its_original_is_a_tombstone() -> None:
    """The reversal finds nothing; the original that comes after it is refused and draws nothing."""
    assert Decision(R.ORIGINAL_UNKNOWN) == Facts(REVERSAL).decide()
    assert Decision(R.REVERSED_BEFORE) == Facts(reversed_before=True).decide()
    balance = CASH._replace(kind=RequestKind.BALANCE)
    assert Decision(R.REVERSED_BEFORE) == Facts(balance, reversed_before=True).decide()


@given(st.lists(st.integers(0, 300_000), max_size=6))
def test_no_sequence_of_reversals_gives_back_more_than_was_drawn(kept: list[int]) -> None:
    """After any partial reversals and a full one, each tranche has exactly what was drawn from it."""
    original = ORIGINAL
    back: dict[int, int] = {}
    least = 300_000
    for keep in (*kept, 0, 0):
        decision = Facts(REVERSAL._replace(kept_idr=keep), original=original).decide()
        assert decision.approved
        for draw in decision.draws:
            back[draw.tranche_id] = back.get(draw.tranche_id, 0) + draw.amount_idr
        original = replace(original, reversed_idr=sum(back.values()))
        least = min(least, keep)
        assert 300_000 - least == original.reversed_idr
    assert {7: 200_000, 8: 100_000} == back
