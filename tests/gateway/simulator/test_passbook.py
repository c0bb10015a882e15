"""Tests of gateway.simulator.passbook."""

from __future__ import annotations

from gateway.simulator.exchange import Exchange
from gateway.simulator.passbook import PassBook
from iso.additional_amounts import AdditionalAmount, write_additional_amounts
from iso.message import Message
from tests.gateway.simulator.fake_issuer import make_wallet

CARDS = make_wallet(30).cards


def told(amount_idr: int | None) -> Exchange:
    """An answer with that balance, or with none."""
    fields = {39: "00"}
    if amount_idr is not None:
        fields[54] = write_additional_amounts([AdditionalAmount("10", "02", amount_idr)], 2)
    return Exchange(Message("0200", {}), Message("0210", fields), 1.0)


def test_what_was_spent_is_what_is_missing() -> None:
    """Payments and what was given back, over several cards."""
    book = PassBook()
    for card in CARDS[:2]:
        book.begin(card, told(1_000))
    book.spent(CARDS[0], 300)
    book.spent(CARDS[0], -100)
    book.end(CARDS[0], told(800))
    book.end(CARDS[1], told(1_000))
    found = book.compare()
    assert (2, 0, 0, 200, 200, (), True) == (
        found.compared, found.unsure, found.untold, found.spent_idr, found.bank_spent_idr, found.differences, found.agrees,
    )  # fmt: skip


def test_a_difference_names_the_card_masked() -> None:
    """Both sums are told."""
    book = PassBook()
    book.begin(CARDS[0], told(1_000))
    book.spent(CARDS[0], 300)
    book.end(CARDS[0], told(1_000))
    found = book.compare()
    assert (f"card {CARDS[0].pan.masked}: expected Rp700, the bank says Rp1000",) == found.differences
    assert (False, 300, 0) == (found.agrees, found.spent_idr, found.bank_spent_idr)
    assert CARDS[0].pan.reveal() not in found.differences[0]


def test_what_cannot_be_compared_is_counted() -> None:
    """A payment of unknown fate, and a bank that tells no balance."""
    book = PassBook()
    for card in CARDS[:3]:
        book.begin(card, told(None if card is CARDS[2] else 1_000))
    book.is_unsure(CARDS[0])
    book.end(CARDS[0], told(5))
    book.end(CARDS[1], told(None))
    book.end(CARDS[2], told(5))
    found = book.compare()
    assert (0, 1, 2, True) == (found.compared, found.unsure, found.untold, found.agrees)


def test_many_differences_are_cut_short() -> None:
    """Twenty are enough."""
    book = PassBook()
    for card in CARDS:
        book.begin(card, told(1_000))
        book.end(card, told(999))
    found = book.compare()
    assert (21, "and 10 more") == (len(found.differences), found.differences[-1])
