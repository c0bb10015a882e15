"""Twin of ledger.general_ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from ledger import general_ledger
from ledger.chart import PROGRAMME_MAX, Control, Phase, control_account, purse_account
from ledger.general_ledger import GlLine, gl_account, gl_parts
from tests.ledger.history import History
from tests.ledger.model import DAY, PROGRAMMES

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


@given(st.integers(1, 2**49), st.integers(0, PROGRAMME_MAX), st.sampled_from(Phase))
def test_purses_share_an_account_by_programme_and_phase(account_id: int, programme: int, phase: Phase) -> None:
    """Whose purse it is does not matter; programme and phase are read back."""
    assert gl_account(purse_account(account_id, programme, phase)) == gl_account(purse_account(7, programme, phase))
    assert (None, programme, phase) == gl_parts(gl_account(purse_account(account_id, programme, phase)))


@given(st.sampled_from(Control), st.integers(0, PROGRAMME_MAX))
def test_control_accounts_keep_their_numbers(control: Control, programme: int) -> None:
    """And are never taken for purses."""
    account = control_account(control, programme)
    assert account == gl_account(account)
    assert (control, programme, None) == gl_parts(account)


async def test_days_follow_each_other(engine: AsyncEngine) -> None:
    """Over a random history each day opens as the one before closed, and the last closes at the books' balances."""
    async with engine.begin() as connection:
        history = History(connection, 5)
        await history.begin()
        await history.play(60)
        last = DAY + timedelta(days=history.books.steps // 10)
        before: dict[int, int] = {}
        for day in range((last - DAY).days + 1):
            on = DAY + timedelta(days=day)
            lines = await general_ledger.lines(connection, on)
            opening = {line.account: line.opening_idr for line in lines}
            assert {account: amount for account, amount in before.items() if amount} == {
                account: amount for account, amount in opening.items() if amount
            }
            assert sum(line.debit_idr for line in lines) == sum(line.credit_idr for line in lines)
            before = {line.account: line.closing_idr for line in lines}
            after = await general_ledger.moved_after(connection, on)
            balances = {
                account: before.get(account, 0) + after.get(account, 0) for account in before.keys() | after.keys()
            }
            assert {account: amount for account, amount in _books(history).items() if amount} == {
                account: amount for account, amount in balances.items() if amount
            }
        purses = await general_ledger.purse_balances(connection)
    assert {account for account in purses if purses[account] != before.get(account, 0)} == set()
    assert {account // 10 % 1000 for account in purses} == set(PROGRAMMES)


def test_a_line_closes_where_it_opened_and_moved() -> None:
    """Credits add, debits take."""
    assert 130 == GlLine(3000, 100, 20, 50).closing_idr


def _books(history: History) -> dict[int, int]:
    found: dict[int, int] = {}
    for account, amount in history.books.balances.items():
        found[gl_account(account)] = found.get(gl_account(account), 0) + amount
    return found
