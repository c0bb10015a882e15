"""Tests of gateway.simulator.tally."""

from __future__ import annotations

from gateway.simulator import tally as tally_module
from gateway.simulator.exchange import Exchange
from gateway.simulator.tally import Tally
from iso.message import Message

REQUEST = Message("0200", {4: "0" * 12, 11: "000001", 41: "A0000001"})


def answered(code: str, **fields: str) -> Exchange:
    """An exchange answered with `code`."""
    answer = REQUEST.response()
    answer.fields |= {39: code} | {int(name[1:]): value for name, value in fields.items()}
    return Exchange(REQUEST, answer, 1)


def test_expected_codes_are_counted_without_surprise() -> None:
    """Any of the codes is good."""
    tally = Tally()
    assert tally.check(answered("75"), "75", "38")
    assert tally.check(answered("00"), "00")
    assert ({"75": 1, "00": 1}, 2, []) == (tally.codes, tally.exchanges, tally.surprises)


def test_other_code_is_a_surprise() -> None:
    """It says where, what was expected and what came."""
    tally = Tally()
    assert not tally.check(answered("51"), "00", "10")
    assert ["0200 000001 at A0000001: expected 00 or 10, got 51"] == tally.surprises


def test_silence_is_a_surprise_with_its_reason() -> None:
    """It is counted under none."""
    tally = Tally()
    assert not tally.check(Exchange(REQUEST, None, 1, "no answer within 1 s"), "00")
    assert ({"none": 1}, ["0200 000001 at A0000001: no answer within 1 s"]) == (tally.codes, tally.surprises)


def test_bad_form_is_a_surprise_unless_it_is_allowed() -> None:
    """Fields that need no echo are named by the caller."""
    exchange = answered("30")
    assert exchange.answer is not None
    del exchange.answer.fields[4]
    tally = Tally()
    assert tally.check(exchange, "30", but=(4,))
    assert not tally.check(exchange, "30")
    assert ["0200 000001 at A0000001: field 4 is not echoed"] == tally.surprises


def test_repeat_must_be_answered_alike() -> None:
    """Another approval code, or another response code, is a surprise."""
    tally = Tally()
    first = answered("00", f38="000001")
    assert tally.check_repeated(first, answered("00", f38="000001"))
    assert not tally.check_repeated(first, answered("00", f38="000002"))
    assert not tally.check_repeated(first, answered("94"))
    assert len(tally.surprises) == 2
    assert "a repeated message was answered differently" in tally.surprises[0]


def test_told_balance_must_add_up() -> None:
    """An answer that tells no balance is not held against the bank."""
    tally = Tally()
    told = answered("00", f54="1002360C000005000000")
    tally.check_balance(told, 50_000)
    tally.check_balance(answered("00"), 1)
    assert [] == tally.surprises
    tally.check_balance(told, 49_999)
    assert ["0200 000001 at A0000001: expected a balance of Rp49999, got Rp50000"] == tally.surprises


def test_money_is_net_of_what_came_back() -> None:
    """Withdrawn and purchased fall by what a reversal gives back."""
    tally = Tally()
    tally.spent(100_000, purchase=False)
    tally.spent(30_000, purchase=True)
    tally.given_back(40_000, purchase=False)
    tally.given_back(30_000, purchase=True)
    assert (60_000, 0, 2, 70_000) == (tally.withdrawn_idr, tally.purchased_idr, tally.reversed, tally.reversed_idr)


def test_flood_of_surprises_is_bounded() -> None:
    """The rest is counted."""
    tally = Tally()
    for _ in range(tally_module._SURPRISES_KEPT + 5):
        tally.surprise(answered("96"), "x")
    assert (tally_module._SURPRISES_KEPT, 5) == (len(tally.surprises), tally.surprises_lost)
