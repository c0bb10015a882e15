"""Twin of gateway.rules.draws: what is left adds up, whatever was given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.draws import by_tranche, kept_amounts, what_is_left
from ledger.posting import Draw

DRAWS = st.lists(st.builds(Draw, st.integers(1, 5), st.just(1), st.integers(1, 500)), max_size=6)


@given(DRAWS, st.integers(0, 3_000))
def test_what_is_left_and_what_was_given_back_are_the_whole(draws: list[Draw], undone: int) -> None:
    """Last drawn first: a draw keeps something only where all before it keep everything; never below nothing."""
    total = sum(draw.amount_idr for draw in draws)
    kept = kept_amounts(draws, undone)
    assert max(0, total - undone) == sum(kept) == sum(draw.amount_idr for draw in what_is_left(draws, undone))
    touched = [place for place, (draw, left) in enumerate(zip(draws, kept, strict=True)) if left < draw.amount_idr]
    assert touched == list(range(min(touched, default=0), len(draws))) or not touched
    assert all(left == 0 for left in [kept[place] for place in touched][1:])


@given(DRAWS)
def test_holds_together_are_one_draw_a_tranche(draws: list[Draw]) -> None:
    """Each tranche once, in the order of its first draw, with all of it."""
    together = by_tranche(draws)
    assert list(dict.fromkeys(draw.tranche_id for draw in draws)) == [draw.tranche_id for draw in together]
    for one in together:
        assert sum(draw.amount_idr for draw in draws if draw.tranche_id == one.tranche_id) == one.amount_idr
