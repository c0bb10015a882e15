"""What transfers change of purses and tranches, added up in Python: the oracle of the SQL that does it in ledger.book."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ledger.chart import Phase, is_purse, purse_parts
from ledger.posting import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.posting import Transfer


@dataclass(slots=True)
class TrancheDelta:
    """What transfers change of one tranche, in rupiah by phase; RETURNED_IDR is what left for RPL."""

    available_idr: int = 0
    held_idr: int = 0
    frozen_idr: int = 0
    returned_idr: int = 0


@dataclass(slots=True)
class PurseDelta:
    """What transfers change of one purse, in rupiah by phase."""

    available_idr: int = 0
    held_idr: int = 0
    frozen_idr: int = 0


@dataclass(slots=True)
class Effects:
    """Changes of purses by (cell, account id, programme) and of tranches by (cell, account id, tranche id)."""

    purses: dict[tuple[int, int, int], PurseDelta] = field(default_factory=lambda: defaultdict(PurseDelta))
    tranches: dict[tuple[int, int, int], TrancheDelta] = field(default_factory=lambda: defaultdict(TrancheDelta))


def effects(transfers: Iterable[Transfer]) -> Effects:
    """Add up what transfers change of purses and tranches."""
    total = Effects()
    for transfer in transfers:
        for account, sign in ((transfer.debit, -1), (transfer.credit, 1)):
            if is_purse(account):
                account_id, programme, phase = purse_parts(account)
                amount = sign * transfer.amount_idr
                _add(total.purses[transfer.cell, account_id, programme], phase, amount)
                if transfer.tranche_id is not None:
                    _add(total.tranches[transfer.cell, account_id, transfer.tranche_id], phase, amount)
        if transfer.kind is Kind.TO_RPL and transfer.tranche_id is not None:
            total.tranches[transfer.cell, transfer.account_id, transfer.tranche_id].returned_idr += transfer.amount_idr
    return total


def _add(delta: PurseDelta | TrancheDelta, phase: Phase, amount_idr: int) -> None:
    if phase is Phase.AVAILABLE:
        delta.available_idr += amount_idr
    elif phase is Phase.HELD:
        delta.held_idr += amount_idr
    else:
        delta.frozen_idr += amount_idr
