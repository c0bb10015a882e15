"""Twin of ledger.chart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.chart import (
    PROGRAMME_MAX,
    PURSE_BASE,
    Control,
    Phase,
    control_account,
    describe_account,
    is_purse,
    purse_account,
    purse_parts,
)

account_ids = st.integers(1, 2**49)
programmes = st.integers(0, PROGRAMME_MAX)


@given(account_ids, programmes, st.sampled_from(Phase))
def test_a_purse_account_says_whose_it_is(account_id: int, programme: int, phase: Phase) -> None:
    """Account, programme and phase are read back, and the number fits PostgreSQL's bigint."""
    number = purse_account(account_id, programme, phase)
    assert (account_id, programme, phase) == purse_parts(number)
    assert is_purse(number)
    assert number < 2**63


@given(st.sampled_from(Control), programmes)
def test_a_control_account_is_never_a_purse(control: Control, programme: int) -> None:
    """Control accounts stand below every purse, each in the range the proof adds up."""
    number = control_account(control, programme)
    assert not is_purse(number)
    assert control * 1_000 <= number <= control * 1_000 + 999


def test_every_account_has_its_own_number() -> None:
    """No two accounts share a number, not even at the ends of the ranges."""
    ends = (0, 1, 2, 998, PROGRAMME_MAX)
    numbers = [control_account(control, programme) for control in Control for programme in ends]
    numbers += [
        purse_account(account, programme, phase) for account in (1, 2, 99) for programme in ends for phase in Phase
    ]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("programme", [-1, PROGRAMME_MAX + 1])
def test_a_programme_out_of_range_is_refused(programme: int) -> None:
    """It would otherwise run into the neighbouring account."""
    with pytest.raises(ValueError, match=r"programme number must be 0\.\.999"):
        control_account(Control.RPL, programme)
    with pytest.raises(ValueError, match=r"programme number must be 0\.\.999"):
        purse_account(1, programme, Phase.HELD)


@pytest.mark.parametrize("account_id", [0, -1])
def test_an_account_id_must_be_positive(account_id: int) -> None:
    """Account 0 is where control accounts live."""
    with pytest.raises(ValueError, match="account id must be positive"):
        purse_account(account_id, 1, Phase.AVAILABLE)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (control_account(Control.TREASURY), "treasury, programme 0"),
        (control_account(Control.EWARONG_PAYABLE, 2), "ewarong_payable, programme 2"),
        (control_account(Control.PARTNER_PAID), "partner_paid, programme 0"),
        (PURSE_BASE, "account 1, programme 0, available"),
        (purse_account(42, 12, Phase.HELD), "account 42, programme 12, held"),
    ],
)
def test_an_account_is_named_for_people(number: int, name: str) -> None:
    """The name says what the number says."""
    assert name == describe_account(number)
