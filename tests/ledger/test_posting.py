"""Twin of ledger.posting. A machine of any errands in any order (RuleBasedStateMachine) holds the rules against plain books."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.book import post_arrays
from ledger.chart import Control, Phase, control_account, purse_account
from ledger.posting import (
    Account,
    Draw,
    Kind,
    PostingError,
    Source,
    Transfer,
    correct,
    draw_oldest_first,
    give_back,
    settle,
    spend,
    to_rpl,
)
from tests.ledger.effects import PurseDelta, TrancheDelta, effects
from tests.ledger.model import FAMILIES, PARTNERS, PROGRAMMES, Books, Stage, Taken

if TYPE_CHECKING:
    from collections.abc import Callable

FUNDED = 1_000_000
SOURCE = Source("si", 7, dt.date(2026, 11, 2))
accounts = st.sampled_from(FAMILIES)
amounts = st.integers(1, 1_200)
picks = st.integers(0, 1_000)
partners = st.sampled_from(PARTNERS)
draw_lists = st.lists(st.builds(Draw, st.integers(1, 10**6), st.sampled_from(PROGRAMMES), st.integers(1, 10_000)),
                      min_size=1, max_size=8, unique_by=lambda draw: draw.tranche_id)  # fmt: skip


class Bank(RuleBasedStateMachine):
    """Any sequence of what may happen to the money of three families and two programmes."""

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()

    @initialize()
    def money_arrives(self) -> None:
        """Each programme has SP2D money to give."""
        for programme in PROGRAMMES:
            self.books.apply(self.books.fund(programme, FUNDED))

    @rule(account=accounts, programme=st.sampled_from(PROGRAMMES), amount=amounts)
    def credit(self, account: Account, programme: int, amount: int) -> None:
        """A new tranche."""
        self.books.apply(self.books.credit(account, programme, amount))

    @rule(account=accounts, amount=amounts, to=partners, kind=st.sampled_from([Kind.WITHDRAWAL, Kind.PURCHASE]))
    def spend(self, account: Account, amount: int, to: Control, kind: Kind) -> None:
        """Cash or goods, refused when there is not enough."""
        self._take(account, amount, lambda: self.books.spend(account, amount, kind, to))

    @rule(account=accounts, amount=amounts, to=partners)
    def hold(self, account: Account, amount: int, to: Control) -> None:
        """Money set aside, refused when there is not enough."""
        self._take(account, amount, lambda: self.books.hold(account, amount, to))

    @precondition(lambda self: self.books.debits)
    @rule(pick=picks, amount=amounts)
    def reverse(self, pick: int, amount: int) -> None:
        """A part or all of a debit, refused when it is more than was drawn."""
        self._undo(self.books.debits, self.books.reverse, pick, amount)

    @precondition(lambda self: self.books.debits)
    @rule(pick=picks)
    def reverse_all(self, pick: int) -> None:
        """All that is left of a debit; a second time there is nothing to give."""
        debit = self.books.debits[pick % len(self.books.debits)]
        if debit.left_idr:
            self.books.apply(self.books.reverse(debit, debit.left_idr))
        assert {d.tranche_id: d.amount_idr for d in debit.draws} == dict(debit.given_back)
        with pytest.raises(PostingError, match="short by 1"):
            self.books.reverse(debit, 1)

    @precondition(lambda self: self.books.holds)
    @rule(pick=picks, amount=amounts)
    def release(self, pick: int, amount: int) -> None:
        """A part of a hold goes back."""
        self._undo(self.books.holds, self.books.release, pick, amount)

    @precondition(lambda self: self.books.holds)
    @rule(pick=picks, amount=amounts)
    def capture(self, pick: int, amount: int) -> None:
        """A part of a hold is paid out."""
        self._undo(self.books.holds, self.books.capture, pick, amount)

    @precondition(lambda self: self._with("available_idr"))
    @rule(pick=picks)
    def freeze(self, pick: int) -> None:
        """What a tranche has is frozen: nothing of it can be spent."""
        stages = self._with("available_idr")
        stage = stages[pick % len(stages)]
        self.books.apply(self.books.freeze(stage))
        assert self.books.part(stage).available_idr == 0

    @precondition(lambda self: self._with("frozen_idr"))
    @rule(pick=picks, amount=amounts, rpl=st.booleans())
    def thaw(self, pick: int, amount: int, *, rpl: bool) -> None:
        """Frozen money goes back to the family or on to RPL."""
        stages = self._with("frozen_idr")
        stage = stages[pick % len(stages)]
        amount = min(amount, self.books.part(stage).frozen_idr)
        self.books.apply(self.books.to_rpl(stage, amount) if rpl else self.books.unfreeze(stage, amount))

    @precondition(lambda self: any(self.books.control(Control.RPL, programme) for programme in PROGRAMMES))
    @rule(amount=amounts)
    def return_to_treasury(self, amount: int) -> None:
        """RPL money is deposited at kas negara."""
        for programme in PROGRAMMES:
            there = self.books.control(Control.RPL, programme)
            if there:
                self.books.apply(self.books.return_to_treasury(programme, min(amount, there)))

    @rule(owed=partners)
    def settle(self, owed: Control) -> None:
        """A partner is paid what is owed, or pays; nothing is left owed."""
        if self.books.control(owed):
            self.books.apply(self.books.settle(owed))
        assert 0 == self.books.control(owed)

    @invariant()
    def books_hold(self) -> None:
        """Nothing below zero, a purse is its tranches, and the system is closed."""
        self.books.check()
        assert self.books.control(Control.TREASURY) <= 0

    def _take(self, account: Account, amount: int, errand: Callable[[], list[Transfer]]) -> None:
        if sum(draw.amount_idr for draw in self.books.available(account)) >= amount:
            self.books.apply(errand())
        else:
            with pytest.raises(PostingError, match="short by"):
                errand()

    def _undo(self, of: list[Taken], errand: Callable[[Taken, int], list[Transfer]], pick: int, amount: int) -> None:
        taken = of[pick % len(of)]
        if amount <= taken.left_idr:
            self.books.apply(errand(taken, amount))
        else:
            with pytest.raises(PostingError, match="short by"):
                errand(taken, amount)

    def _with(self, phase: str) -> list[Stage]:
        return [stage for stage in self.books.stages if getattr(self.books.part(stage), phase) > 0]


TestBank = Bank.TestCase
TestBank.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(draw_lists, st.data())
def test_a_draw_takes_the_oldest_first(available: list[Draw], data: st.DataObject) -> None:
    """All but the last tranche are emptied, and the sum is what was asked for."""
    total = sum(draw.amount_idr for draw in available)
    amount = data.draw(st.integers(1, total))
    draws = draw_oldest_first(available, amount)
    assert amount == sum(draw.amount_idr for draw in draws)
    assert list(draws[:-1]) == available[: len(draws) - 1]
    assert draws[-1].tranche_id == available[len(draws) - 1].tranche_id


@given(draw_lists, st.integers(1, 10**6))
def test_a_draw_of_more_than_there_is_is_refused(available: list[Draw], more: int) -> None:
    """The message says by how much it is short."""
    with pytest.raises(PostingError, match=f"^short by {more}$"):
        draw_oldest_first(available, sum(draw.amount_idr for draw in available) + more)


@pytest.mark.parametrize("amount", [0, -1])
def test_a_draw_of_nothing_is_refused(amount: int) -> None:
    """Neither nothing nor less than nothing can be drawn."""
    with pytest.raises(PostingError, match=f"cannot draw {amount}"):
        draw_oldest_first([Draw(1, 1, 100)], amount)


def test_empty_tranches_are_left_out_of_a_draw() -> None:
    """A tranche without money makes no transfer of nothing."""
    assert (Draw(2, 1, 40),) == draw_oldest_first([Draw(1, 1, 0), Draw(2, 1, 50)], 40)


@given(draw_lists, st.data())
def test_parts_given_back_in_any_sizes_are_the_whole(draws: list[Draw], data: st.DataObject) -> None:
    """Reversal after reversal, each tranche gets exactly what was drawn from it, the last drawn first."""
    total = sum(draw.amount_idr for draw in draws)
    cuts = sorted(data.draw(st.sets(st.integers(0, total), max_size=5)) | {0, total})
    given: list[Draw] = []
    for already, until in pairwise(cuts):
        given += give_back(draws, already, until - already)
    back: dict[int, int] = {}
    for part in given:
        back[part.tranche_id] = back.get(part.tranche_id, 0) + part.amount_idr
    assert {draw.tranche_id: draw.amount_idr for draw in draws} == back
    assert [draw.tranche_id for draw in reversed(draws)] == list(back)
    with pytest.raises(PostingError, match="short by 1"):
        give_back(draws, total, 1)


@pytest.mark.parametrize("amount", [0, -600_000])
def test_a_transfer_is_of_a_positive_amount(amount: int) -> None:
    """A transfer of a negative amount would be one the other way round."""
    with pytest.raises(PostingError, match="positive amount"):
        post_arrays([Transfer(0, 0, 1000, 2001, amount, Kind.FUND, SOURCE)], [1])


def test_a_transfer_needs_two_accounts() -> None:
    """Money does not move from an account to itself."""
    with pytest.raises(PostingError, match="two different accounts"):
        post_arrays([Transfer(0, 0, 2001, 2001, 5, Kind.FUND, SOURCE)], [1])


def test_a_spend_names_the_tranche_of_every_rupiah() -> None:
    """One transfer a tranche, from the purse of its programme to what is owed to the partner."""
    transfers = spend(Account(3, 19), [Draw(8, 1, 30), Draw(9, 2, 5)], Kind.PURCHASE, Control.EWARONG_PAYABLE, SOURCE)
    owed = control_account(Control.EWARONG_PAYABLE)
    expected = [
        Transfer(3, 19, purse_account(19, 1, Phase.AVAILABLE), owed, 30, Kind.PURCHASE, SOURCE, 8),
        Transfer(3, 19, purse_account(19, 2, Phase.AVAILABLE), owed, 5, Kind.PURCHASE, SOURCE, 9),
    ]
    assert expected == transfers


def test_a_settlement_takes_what_is_owed_or_brings_what_is_owed_to_the_bank() -> None:
    """A net below zero goes the other way; one of nothing is no transfer."""
    owed, paid = control_account(Control.AGENT_PAYABLE), control_account(Control.PARTNER_PAID)
    assert Transfer(0, 0, owed, paid, 70, Kind.SETTLE, SOURCE) == settle(Control.AGENT_PAYABLE, 70, SOURCE)
    assert Transfer(0, 0, paid, owed, 70, Kind.SETTLE, SOURCE) == settle(Control.AGENT_PAYABLE, -70, SOURCE)
    with pytest.raises(PostingError, match="positive amount"):
        post_arrays([settle(Control.AGENT_PAYABLE, 0, SOURCE)], [1])


def test_effects_add_up_transfers_of_the_same_purse() -> None:
    """Two tranches of one purse are one change of the purse and two of tranches; RPL money counts as returned."""
    account = Account(3, 19)
    transfers = spend(account, [Draw(8, 1, 30), Draw(9, 1, 5)], Kind.PURCHASE, Control.EWARONG_PAYABLE, SOURCE)
    total = effects([*transfers, to_rpl(account, Draw(9, 1, 11), SOURCE)])
    assert {(3, 19, 1): PurseDelta(available_idr=-35, frozen_idr=-11)} == total.purses
    expected = {
        (3, 19, 8): TrancheDelta(available_idr=-30),
        (3, 19, 9): TrancheDelta(available_idr=-5, frozen_idr=-11, returned_idr=11),
    }
    assert expected == total.tranches


def test_a_correction_is_the_way_back() -> None:
    """The same accounts the other way round, naming the wrong transfer; what was held comes back available."""
    purse, held, owed = purse_account(19, 1, Phase.AVAILABLE), purse_account(19, 1, Phase.HELD), 3000
    for wrong, expected in (
        (Transfer(3, 19, 2001, purse, 100, Kind.CREDIT, SOURCE, 7), (purse, 2001)),
        (Transfer(3, 19, purse, owed, 100, Kind.WITHDRAWAL, SOURCE, 7), (owed, purse)),
        (Transfer(3, 19, held, owed, 100, Kind.CAPTURE, SOURCE, 7), (owed, purse)),
    ):
        found = correct(wrong, 41, 60, SOURCE)
        assert (*expected, 60, Kind.CORRECTION) == (found.debit, found.credit, found.amount_idr, found.kind)
        assert (3, 19, 7, 41) == (found.cell, found.account_id, found.tranche_id, found.corrects)
        with pytest.raises(PostingError, match="the transfer was of 100, not of 101"):
            correct(wrong, 41, 101, SOURCE)
    with pytest.raises(PostingError, match="a FREEZE is not corrected"):
        correct(Transfer(3, 19, purse, purse + 2, 100, Kind.FREEZE, SOURCE, 7), 41, 60, SOURCE)
