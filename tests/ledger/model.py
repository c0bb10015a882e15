"""A bank in memory that the posting rules are held against: a balance an account by plain double entry, and nothing clever.

What tests.ledger.effects says of purses and tranches is added up beside it, so that the two can disagree.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field

from ledger.chart import Control, Phase, control_account, is_purse, purse_account
from ledger.posting import (
    Account,
    Draw,
    Kind,
    Source,
    Transfer,
    capture,
    correct,
    credit,
    draw_oldest_first,
    freeze,
    fund,
    give_back,
    hold,
    release,
    return_to_treasury,
    reverse,
    settle,
    spend,
    to_rpl,
    unfreeze,
)
from tests.ledger.effects import PurseDelta, TrancheDelta, effects

FAMILIES = (Account(3, 19), Account(3, 35), Account(4, 20))
PROGRAMMES = (1, 2)
DAY = dt.date(2026, 11, 2)
PARTNERS = (Control.ATM_SETTLEMENT, Control.AGENT_PAYABLE, Control.EWARONG_PAYABLE)
BELOW_ZERO = {control_account(control) for control in (Control.TREASURY, Control.PARTNER_PAID, *PARTNERS)}
"""The treasury gave; a partner that was paid owes what is reversed afterwards, and pays it back."""
Key = tuple[int, int, int]


@dataclass(slots=True)
class Stage:
    """A tranche as it was credited."""

    account: Account
    id: int
    programme: int
    amount_idr: int


@dataclass(slots=True)
class Taken:
    """A debit or a hold: what it drew, from which tranche by which transfer, and what was undone of it."""

    account: Account
    draws: tuple[Draw, ...]
    to: Control
    transfers: dict[int, int] = field(default_factory=dict)
    undone_idr: int = 0
    given_back: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def left_idr(self) -> int:
        """What of it has not been undone."""
        return sum(draw.amount_idr for draw in self.draws) - self.undone_idr


class Books:
    """Every balance of the bank, and the errands that change them. Each errand returns its transfers; apply() books them."""

    def __init__(self) -> None:
        self.balances: defaultdict[int, int] = defaultdict(int)
        self.purses: defaultdict[Key, PurseDelta] = defaultdict(PurseDelta)
        self.tranches: defaultdict[Key, TrancheDelta] = defaultdict(TrancheDelta)
        self.stages: list[Stage] = []
        self.debits: list[Taken] = []
        self.holds: list[Taken] = []
        self.journal: list[Transfer] = []
        self.steps = 0

    def source(self) -> Source:
        """A new cause for each errand."""
        self.steps += 1
        return Source("authorisation", self.steps, DAY + dt.timedelta(days=self.steps // 10))

    def apply(self, transfers: list[Transfer]) -> None:
        """Book transfers by double entry, and what effects() says of them beside it."""
        self.journal += transfers
        for transfer in transfers:
            self.balances[transfer.debit] -= transfer.amount_idr
            self.balances[transfer.credit] += transfer.amount_idr
        total = effects(transfers)
        for key, purse in total.purses.items():
            now = self.purses[key]
            now.available_idr += purse.available_idr
            now.held_idr += purse.held_idr
            now.frozen_idr += purse.frozen_idr
        for key, change in total.tranches.items():
            part = self.tranches[key]
            part.available_idr += change.available_idr
            part.held_idr += change.held_idr
            part.frozen_idr += change.frozen_idr
            part.returned_idr += change.returned_idr

    def fund(self, programme: int, amount_idr: int) -> list[Transfer]:
        """SP2D money arrives."""
        return [fund(programme, amount_idr, self.source())]

    def credit(self, account: Account, programme: int, amount_idr: int) -> list[Transfer]:
        """A new stage for a family."""
        stage = Stage(account, len(self.stages) + 1, programme, amount_idr)
        self.stages.append(stage)
        return [credit(account, Draw(stage.id, programme, amount_idr), self.source())]

    def available(self, account: Account) -> list[Draw]:
        """What each tranche of a family has to spend, oldest first."""
        found = []
        for stage in self.stages:
            amount = self.part(stage).available_idr
            if stage.account == account and amount > 0:
                found.append(Draw(stage.id, stage.programme, amount))
        return found

    def part(self, stage: Stage) -> TrancheDelta:
        """Where the money of a tranche stands."""
        return self.tranches[stage.account.cell, stage.account.id, stage.id]

    def spend(self, account: Account, amount_idr: int, kind: Kind, to: Control) -> list[Transfer]:
        """Cash or goods."""
        before = self.available(account)
        draws = draw_oldest_first(before, amount_idr)
        assert_oldest_first(before, draws, amount_idr)
        self.debits.append(Taken(account, draws, to))
        return spend(account, draws, kind, to, self.source())

    def reverse(self, debit: Taken, amount_idr: int) -> list[Transfer]:
        """Give a part of a debit back."""
        draws = self._undo(debit, amount_idr)
        pairs = [(draw, debit.transfers.get(draw.tranche_id)) for draw in draws]
        return reverse(debit.account, pairs, debit.to, self.source())

    def hold(self, account: Account, amount_idr: int, to: Control) -> list[Transfer]:
        """Set money aside."""
        before = self.available(account)
        draws = draw_oldest_first(before, amount_idr)
        assert_oldest_first(before, draws, amount_idr)
        self.holds.append(Taken(account, draws, to))
        return hold(account, draws, self.source())

    def release(self, held: Taken, amount_idr: int) -> list[Transfer]:
        """Let a part of a hold go."""
        return release(held.account, self._undo(held, amount_idr), self.source())

    def capture(self, held: Taken, amount_idr: int) -> list[Transfer]:
        """Pay a part of a hold out."""
        return capture(held.account, self._undo(held, amount_idr), held.to, self.source())

    def freeze(self, stage: Stage) -> list[Transfer]:
        """Freeze what a tranche still has."""
        return [freeze(stage.account, self._draw(stage, self.part(stage).available_idr), self.source())]

    def unfreeze(self, stage: Stage, amount_idr: int) -> list[Transfer]:
        """Give frozen money back to the family."""
        return [unfreeze(stage.account, self._draw(stage, amount_idr), self.source())]

    def to_rpl(self, stage: Stage, amount_idr: int) -> list[Transfer]:
        """Take frozen money to RPL."""
        return [to_rpl(stage.account, self._draw(stage, amount_idr), self.source())]

    def return_to_treasury(self, programme: int, amount_idr: int) -> list[Transfer]:
        """Deposit RPL money at kas negara."""
        return [return_to_treasury(programme, amount_idr, self.source())]

    def settle(self, owed: Control) -> list[Transfer]:
        """Pay a partner all that is owed, or be paid."""
        return [settle(owed, self.control(owed), self.source())]

    def correct_credit(self, stage: Stage, transfer_id: int, amount_idr: int) -> list[Transfer]:
        """Take back what a family was credited by mistake."""
        wrong = credit(stage.account, self._draw(stage, stage.amount_idr), self.source())
        return [correct(wrong, transfer_id, amount_idr, self.source())]

    def control(self, control: Control, programme: int = 0) -> int:
        """Balance of a control account."""
        return self.balances[control_account(control, programme)]

    def check(self) -> None:
        """What must hold after every step."""
        self._check_signs()
        self._check_purses()
        self._check_undone()
        assert sum(self.balances.values()) == 0

    def _check_signs(self) -> None:
        for account, balance in self.balances.items():
            assert balance >= 0 or account in BELOW_ZERO, account
        for purse in self.purses.values():
            assert min(purse.available_idr, purse.held_idr, purse.frozen_idr) >= 0
        for part in self.tranches.values():
            assert min(part.available_idr, part.held_idr, part.frozen_idr, part.returned_idr) >= 0

    def _check_purses(self) -> None:
        sums: defaultdict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])
        for stage in self.stages:
            part = self.part(stage)
            total = sums[stage.account.cell, stage.account.id, stage.programme]
            for phase, amount in enumerate((part.available_idr, part.held_idr, part.frozen_idr)):
                total[phase] += amount
            assert part.available_idr + part.held_idr + part.frozen_idr + part.returned_idr <= stage.amount_idr
        assert sums.keys() == self.purses.keys()
        for (cell, account_id, programme), purse in self.purses.items():
            phases = [purse.available_idr, purse.held_idr, purse.frozen_idr]
            assert sums[cell, account_id, programme] == phases
            assert [self.balances[purse_account(account_id, programme, phase)] for phase in Phase] == phases
        in_purses = sum(balance for account, balance in self.balances.items() if is_purse(account))
        assert in_purses == sum(sum(phases) for phases in sums.values())

    def _check_undone(self) -> None:
        for taken in (*self.debits, *self.holds):
            drawn = {draw.tranche_id: draw.amount_idr for draw in taken.draws}
            assert all(amount <= drawn[tranche] for tranche, amount in taken.given_back.items())
            assert taken.undone_idr == sum(taken.given_back.values())

    def _undo(self, taken: Taken, amount_idr: int) -> tuple[Draw, ...]:
        draws = give_back(taken.draws, taken.undone_idr, amount_idr)
        assert sum(draw.amount_idr for draw in draws) == amount_idr
        taken.undone_idr += amount_idr
        for draw in draws:
            taken.given_back[draw.tranche_id] += draw.amount_idr
        return draws

    @staticmethod
    def _draw(stage: Stage, amount_idr: int) -> Draw:
        return Draw(stage.id, stage.programme, amount_idr)


def assert_oldest_first(before: list[Draw], draws: tuple[Draw, ...], amount_idr: int) -> None:
    """The draws are the first tranches that had money, all but the last one emptied, and add up."""
    assert [one.tranche_id for one in before][: len(draws)] == [draw.tranche_id for draw in draws]
    assert all(draw == had for draw, had in zip(draws[:-1], before, strict=False))
    assert draws[-1].amount_idr <= before[len(draws) - 1].amount_idr
    assert sum(draw.amount_idr for draw in draws) == amount_idr
