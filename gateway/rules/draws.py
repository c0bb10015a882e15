"""What is left of draws: of a payment that was given back in part, and of holds that stand together. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.posting import Draw

if TYPE_CHECKING:
    from collections.abc import Sequence


def what_is_left(draws: Sequence[Draw], undone_idr: int) -> tuple[Draw, ...]:
    """What is still taken of each draw after UNDONE_IDR were given back, last drawn first; draws of nothing are left out.

    >>> what_is_left([Draw(1, 1, 300), Draw(2, 1, 100)], 150)
    (Draw(tranche_id=1, programme=1, amount_idr=250),)
    """
    kept = kept_amounts(draws, undone_idr)
    return tuple(Draw(draw.tranche_id, draw.programme, left) for draw, left in zip(draws, kept, strict=True) if left)


def kept_amounts(draws: Sequence[Draw], undone_idr: int) -> list[int]:
    """The same as rupiah, one amount a draw."""
    kept = [draw.amount_idr for draw in draws]
    for place in reversed(range(len(kept))):
        part = min(undone_idr, kept[place])
        kept[place] -= part
        undone_idr -= part
    return kept


def by_tranche(draws: Sequence[Draw]) -> tuple[Draw, ...]:
    """One draw a tranche, in the order in which they were drawn first.

    >>> by_tranche([Draw(1, 1, 300), Draw(2, 1, 100), Draw(1, 1, 50)])
    (Draw(tranche_id=1, programme=1, amount_idr=350), Draw(tranche_id=2, programme=1, amount_idr=100))
    """
    together: dict[int, Draw] = {}
    for draw in draws:
        before = together.get(draw.tranche_id)
        amount = draw.amount_idr if before is None else before.amount_idr + draw.amount_idr
        together[draw.tranche_id] = draw._replace(amount_idr=amount)
    return tuple(together.values())
