"""Tests of gateway.simulator.exchange."""

from __future__ import annotations

import pytest

from gateway.simulator.exchange import Exchange, ask
from iso.client import LinkClient
from iso.message import Message

REQUEST = Message("0200", {3: "300000", 4: "0" * 12, 7: "1123173005", 11: "000001", 41: "A0000001", 49: "360"})
ASKED = Message("0200", REQUEST.fields | {3: "000000", 4: "000010000000"})
TOLD = "1002360C000005000000" + "9802360C000001000000"


def answered(**fields: str) -> Exchange:
    """An exchange whose answer echoes all, with DE39 00 and `fields` (f39="51") put over it."""
    answer = REQUEST.response()
    answer.fields[39] = "00"
    answer.fields.update({int(name[1:]): value for name, value in fields.items()})
    return Exchange(REQUEST, answer, 1.5)


def test_code_and_approval_are_those_of_the_answer() -> None:
    """DE39 says it all."""
    assert ("00", True) == (answered().code, answered().approved)
    assert ("51", False) == (answered(f39="51").code, answered(f39="51").approved)


def test_missing_answer_is_neither_yes_nor_no() -> None:
    """The code is empty, and the failure is the fault."""
    exchange = Exchange(REQUEST, None, 3.0, "no answer to 0200 within 1 s")
    assert ("", False, {}, 0) == (exchange.code, exchange.approved, exchange.balances, exchange.available_idr)
    assert ["no answer to 0200 within 1 s"] == exchange.faults()


def test_balances_are_rupiah_by_account_type() -> None:
    """Two decimals are taken off, purses are kept apart and can be summed."""
    exchange = answered(f54=TOLD)
    assert {"10": 50_000, "98": 10_000} == exchange.balances
    assert exchange.available_idr == 60_000


def test_ledger_balances_are_not_spendable() -> None:
    """Amount type 01 is not counted."""
    assert {"98": 10_000} == answered(f54=TOLD.replace("1002", "1001", 1)).balances


def test_unreadable_balances_are_a_fault() -> None:
    """They are told as none, and noted."""
    exchange = answered(f54="1002360")
    assert {} == exchange.balances
    assert ["field 54 holds no balance that can be read"] == exchange.faults()


@pytest.mark.parametrize("number", [3, 4, 7, 11, 41, 49])
def test_field_that_is_not_echoed_is_a_fault(number: int) -> None:
    """Each echoed field is compared, unless the caller says that it need not be."""
    exchange = answered()
    assert exchange.answer is not None
    del exchange.answer.fields[number]
    assert [f"field {number} is not echoed"] == exchange.faults()
    assert [] == exchange.faults(but=(number,))


def test_padding_of_echoed_text_does_not_matter() -> None:
    """Trailing spaces are the dialect's."""
    assert [] == answered(f41="A0000001  ").faults()


def test_answer_of_another_type_is_a_fault() -> None:
    """0210 answers 0200."""
    answer = REQUEST.response()
    answer.mti = "0230"
    assert ["type 0230 where 0210 is due"] == Exchange(REQUEST, answer, 0).faults()


def test_same_answer_compares_all_but_macs() -> None:
    """A MAC may differ, an approval code may not; what was not answered is never the same."""
    assert answered(f38="123456", f64="00" * 8).same_answer(answered(f38="123456", f64="11" * 8))
    assert not answered(f38="123456").same_answer(answered(f38="123457"))
    assert not answered().same_answer(Exchange(REQUEST, None, 0))
    assert not Exchange(REQUEST, None, 0).same_answer(answered())


def test_place_tells_the_message_but_no_card() -> None:
    """Type, trace number and terminal."""
    assert answered().place == "0200 000001 at A0000001"
    assert Exchange(Message("0800", {11: "000002"}), None, 0).place == "0800 000002 at the link"


async def test_asking_a_closed_link_is_a_value() -> None:
    """No exception: the exchange says why."""
    exchange = await ask(LinkClient("127.0.0.1", 9), REQUEST)
    assert (None, "not connected") == (exchange.answer, exchange.failure)


def test_a_part_is_a_yes_to_less() -> None:
    """DE4 of the answer is what was approved, and what a reversal is about."""
    whole = Exchange(ASKED, Message("0210", ASKED.fields | {39: "00"}), 1.0)
    assert (True, False, 100_000, 100_000, ASKED) == (
        whole.approved, whole.in_part, whole.asked_idr, whole.approved_idr, whole.taken,
    )  # fmt: skip
    part = Exchange(
        ASKED, Message("0210", ASKED.fields | {4: "000006000000", 39: "10", 54: "0057360C000010000000"}), 1.0
    )
    assert (True, True, 100_000, 60_000) == (part.approved, part.in_part, part.asked_idr, part.approved_idr)
    assert ASKED.fields | {4: "000006000000"} == part.taken.fields
    assert ([], {}) == (part.faults(), part.balances)
    refused = Exchange(ASKED, Message("0210", ASKED.fields | {39: "51"}), 1.0)
    assert (0, ASKED) == (refused.approved_idr, refused.taken)


@pytest.mark.parametrize("told", ["000010000000", "000010000100", "000000000000", "00001000000X", ""])
def test_a_part_that_is_none_is_a_fault(told: str) -> None:
    """All that was asked for, more, nothing, or no amount."""
    answer = Message("0210", {number: text for number, text in (ASKED.fields | {4: told, 39: "10"}).items() if text})
    assert ["field 4 of a partial approval is not a part of what was asked for"] == Exchange(
        ASKED, answer, 1.0
    ).faults()
