"""The chart of accounts: every account of the ledger is a whole number that says what it is.

A family's purse has three accounts, one a phase. Control accounts (programme funding, settlement, treasury) have no balance
row, so nothing that everyone touches is hot; their balance is what the journal adds up to (ledger.proof).
"""

from __future__ import annotations

from enum import IntEnum

PURSE_BASE = 10_000  # control accounts are below, purse accounts above
PROGRAMME_MAX = 999


class Phase(IntEnum):
    """Where money of a family's purse stands."""

    AVAILABLE = 0
    HELD = 1
    FROZEN = 2


class Control(IntEnum):
    """Accounts of the bank itself. Each is kept apart by programme number (0: none)."""

    TREASURY = 1  # kas negara: where aid comes from and goes back to (debit balance: aid in the bank's care)
    PROGRAMME_FUND = 2  # the aid giver's account at the bank: SP2D money not yet credited to families
    ATM_SETTLEMENT = 3  # owed to the ATM switch for cash paid out
    AGENT_PAYABLE = 4  # owed to agents for cash paid out
    EWARONG_PAYABLE = 5  # owed to e-Warong for goods
    RPL = 6  # Rekening Pemerintah Lainnya: taken from families, on its way to kas negara
    TELLER_CASH = 7  # paid out by hand
    PARTNER_PAID = 8  # has left the bank to its partners: what settled ATM switch, agents and e-Warong


def control_account(control: Control, programme: int = 0) -> int:
    """Number of a control account.

    >>> control_account(Control.RPL, 1)
    6001
    """
    _check_programme(programme)
    return control * 1_000 + programme


def purse_account(account_id: int, programme: int, phase: Phase) -> int:
    """Number of one phase of a family's purse.

    >>> purse_account(42, 1, Phase.FROZEN)
    420012
    """
    if account_id < 1:
        raise ValueError(f"account id must be positive, not {account_id}")
    if not 0 <= programme <= PROGRAMME_MAX:
        _check_programme(programme)
    return account_id * PURSE_BASE + programme * 10 + phase


def is_purse(account: int) -> bool:
    """Whether a ledger account belongs to a family."""
    return account >= PURSE_BASE


def purse_parts(account: int) -> tuple[int, int, Phase]:
    """Account id, programme number and phase of a purse account.

    >>> purse_parts(420012)
    (42, 1, <Phase.FROZEN: 2>)
    """
    account_id, rest = divmod(account, PURSE_BASE)
    programme, phase = divmod(rest, 10)
    return account_id, programme, Phase(phase)


def describe_account(account: int) -> str:
    """A name for people.

    >>> describe_account(420012)
    'account 42, programme 1, frozen'
    >>> describe_account(6001)
    'rpl, programme 1'
    """
    if is_purse(account):
        account_id, programme, phase = purse_parts(account)
        return f"account {account_id}, programme {programme}, {phase.name.lower()}"
    control, programme = divmod(account, 1_000)
    return f"{Control(control).name.lower()}, programme {programme}"


def _check_programme(programme: int) -> None:
    if not 0 <= programme <= PROGRAMME_MAX:
        raise ValueError(f"programme number must be 0..{PROGRAMME_MAX}, not {programme}")
