"""Which order of what was asked at the same time explains every answer and the books that came of it.

Messages that were under way together, at any of the bank's processes, may have been decided in any order; one without an answer
may have been decided or not. But some order there must be, as if they had come one after the other: that is what is looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from gateway.measure.torture.oracle import Family, Said, Told


class Asked(NamedTuple):
    """A message and what its terminal was told in the end; None: nothing, it may have been decided or not."""

    said: Said
    told: Told | None


def explain(family: Family, window: Sequence[Asked], today: date, fits: Callable[[Family], bool]) -> Family | None:
    """The family after an order of WINDOW that gives exactly these answers and that FITS the books; None: there is none."""
    answered = {one.said.key for one in window if one.told is not None}
    open_questions = [one for one in window if one.told is not None or one.said.key not in answered]
    return _search(family, open_questions, today, fits)


def _search(family: Family, window: Sequence[Asked], today: date, fits: Callable[[Family], bool]) -> Family | None:
    if all(one.told is None for one in window) and fits(family):
        return family
    for place, one in enumerate(window):
        if one in window[:place]:
            continue  # the same question with the same answer: tried already
        after = family.copy()
        if one.told is not None and after.answer(one.said, today) != one.told:
            continue
        if one.told is None:
            after.answer(one.said, today)
        found = _search(after, [*window[:place], *window[place + 1 :]], today, fits)
        if found is not None:
            return found
    return None
