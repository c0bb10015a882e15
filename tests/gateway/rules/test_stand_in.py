"""Tests of gateway.rules.stand_in: what is let through, what each rule refuses, and what no rule ever lets through."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.authorise import DeclineReason, Request, RequestKind
from gateway.rules.purse import Channel, Purse, PurseChoice, PurseRule
from gateway.rules.stand_in import ListedCard, Moment, Since, StandInPolicy, StandInRule, judge, reversal_fits

if TYPE_CHECKING:
    from gateway.rules.stand_in import Verdict

TODAY = date(2026, 11, 23)
PKH, SEMBAKO = 1, 2
POLICY = StandInPolicy(frozenset({Channel.ATM}), True, 300_000, 500_000, 3_600, 7_200)  # noqa: FBT003 - purchases
CARD = ListedCard(3, 19, 7, date(2030, 1, 31), 3, 1, "123456", {PKH: 400_000, SEMBAKO: 250_000})
RULES = [
    PurseRule(PKH, Purse.CASH, Channel.ATM, "*", 1, date(2017, 1, 1), None),
    PurseRule(PKH, Purse.CASH, Channel.AGENT, "*", 1, date(2017, 1, 1), None),
    PurseRule(SEMBAKO, Purse.FOOD, Channel.EWARONG, "5411", 1, date(2017, 1, 1), None),
]
NOW = Moment(TODAY, 60.0, 30.0)
CASH = Request(RequestKind.CASH, Channel.ATM, "6011", PurseChoice.BY_RULE, 200_000, b"d" * 16)
FOOD = Request(RequestKind.PURCHASE, Channel.EWARONG, "5411", PurseChoice.BY_RULE, 200_000, b"d" * 16)


def _judged(request: Request = CASH, **changes: Any) -> Verdict:  # noqa: ANN401 - whatever judge takes
    facts: dict[str, Any] = {"card": CARD, "since": Since(), "policy": POLICY, "moment": NOW, "repeat": False} | changes
    return judge(
        request, facts["card"], facts["since"], facts["policy"], RULES, facts["moment"], repeat=facts["repeat"]
    )


@pytest.mark.parametrize("request_", [CASH, FOOD], ids=["cash", "food"])
def test_what_every_rule_lets_through(request_: Request) -> None:
    """Every rule was asked, in the order of StandInRule."""
    assert (tuple(StandInRule), None) == _judged(request_)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        (StandInRule.KIND, {"request": CASH._replace(channel=Channel.AGENT, mcc="6010")}),
        (StandInRule.KIND, {"request": CASH._replace(kind=RequestKind.BALANCE, amount_idr=0)}),
        (StandInRule.KIND, {"request": FOOD._replace(kind=RequestKind.HOLD)}),
        (StandInRule.KIND, {"request": FOOD._replace(kind=RequestKind.REFUND)}),
        (StandInRule.KIND, {"request": CASH._replace(kind=RequestKind.PIN_CHANGE, amount_idr=0)}),
        (StandInRule.KIND, {"request": CASH._replace(forced=True)}),
        (StandInRule.KIND, {"request": CASH._replace(fault=DeclineReason.ADVICE_DECLINED)}),
        (StandInRule.KIND, {"request": FOOD, "policy": StandInPolicy(frozenset(), False, 1, 1, 1, 1)}),  # noqa: FBT003
        (StandInRule.FIRST_SENDING, {"repeat": True}),
        (StandInRule.OUTAGE, {"moment": NOW._replace(outage_s=7_201)}),
        (StandInRule.LIST_AGE, {"moment": NOW._replace(list_age_s=3_601)}),
        (StandInRule.LIST_AGE, {"moment": NOW._replace(list_age_s=-1)}),
        (StandInRule.CARD_LISTED, {"card": None}),
        (StandInRule.CARD_EXPIRY, {"card": CARD._replace(expires_on=date(2026, 11, 22))}),
        (StandInRule.PIN_TRIES, {"since": Since(0, 3)}),
        (StandInRule.PIN_TRIES, {"card": CARD._replace(pin_tries_left=0)}),
        (StandInRule.PURSE, {"request": FOOD._replace(mcc="5812")}),
        (StandInRule.PURSE, {"request": FOOD._replace(purse=PurseChoice.CASH)}),
        (StandInRule.TRANSACTION, {"request": CASH._replace(amount_idr=300_001)}),
        (StandInRule.CARD_TOTAL, {"since": Since(300_001)}),
        (StandInRule.FUNDS, {"since": Since(200_001)}),
        (StandInRule.FUNDS, {"card": CARD._replace(available_idr={PKH: 199_999, SEMBAKO: 9_000_000})}),
    ],
)
def test_each_rule_refuses(rule: StandInRule, changes: dict[str, Any]) -> None:
    """It is named, and nothing after it was asked."""
    found = _judged(changes.pop("request", CASH), **changes)
    assert rule is found.refused
    assert tuple(StandInRule)[: len(found.asked)] == found.asked
    assert rule is found.asked[-1]


@given(
    amounts=st.lists(st.integers(1, 400_000), max_size=12),
    had=st.integers(0, 1_000_000),
    most=st.integers(1, 500_000),
    total=st.integers(1, 900_000),
)
def test_no_card_gets_more_than_the_policy_or_than_it_had(amounts: list[int], had: int, most: int, total: int) -> None:
    """Whatever is asked, in whatever order."""
    policy = StandInPolicy(frozenset({Channel.ATM}), True, most, total, 3_600, 7_200)  # noqa: FBT003 - purchases
    card, since = CARD._replace(available_idr={PKH: had}), Since()
    for amount in amounts:
        found = _judged(CASH._replace(amount_idr=amount), card=card, since=since, policy=policy)
        fits = amount <= most and since.given_idr + amount <= min(total, had)
        assert (found.refused is None) is fits
        since.given_idr += amount if found.refused is None else 0
    assert since.given_idr <= min(total, had)


@given(kind=st.sampled_from(list(RequestKind)), channel=st.sampled_from(list(Channel)), forced=st.booleans())
def test_nothing_but_cash_and_purchases(kind: RequestKind, channel: Channel, *, forced: bool) -> None:
    """Whatever the policy names."""
    policy = StandInPolicy(frozenset(Channel), True, 10**9, 10**9, 10**6, 10**6)  # noqa: FBT003 - purchases
    found = _judged(CASH._replace(kind=kind, channel=channel, mcc="5411", forced=forced), policy=policy)
    if found.refused is None:
        assert kind in (RequestKind.CASH, RequestKind.PURCHASE)
        assert not forced


@pytest.mark.parametrize(
    ("amount", "kept", "before", "fits"),
    [(200, 0, 200, True), (200, 50, 200, True), (200, 51, 50, False), (199, 0, 200, False), (200, 201, 200, False)],
)
def test_reversals_of_what_was_stood_in_for(amount: int, kept: int, before: int, *, fits: bool) -> None:
    """The amount that was taken, and no more kept than before."""
    request = CASH._replace(kind=RequestKind.REVERSAL, amount_idr=amount, kept_idr=kept)
    assert fits is reversal_fits(request, 200, before)
