"""Twin of gateway.rules.names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.names import TITLES, comparable, same_person_name, tidy


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Hj. Siti  Nur'aini-Lubis", "SITI NURAINI LUBIS"),
        ("  rina\tlubis d\u2019souza ", "RINA LUBIS DSOUZA"),
        ("Dr. H. M.Yusuf", "M YUSUF"),
        ("Andr\u00e9 Nasution", "ANDRE NASUTION"),
        ("H.", "H"),
        ("-", ""),
    ],
)
def test_a_name_is_made_comparable(written: str, expected: str) -> None:
    """Case, accents, points, apostrophes and leading titles do not matter."""
    assert expected == comparable(written)


@given(st.text(max_size=40))
def test_a_comparable_name_stays_as_it_is(name: str) -> None:
    """Making it comparable twice changes nothing."""
    assert comparable(name) == comparable(comparable(name))


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ ", min_size=1), st.sampled_from(sorted(TITLES)))
def test_a_title_before_a_name_does_not_matter(name: str, title: str) -> None:
    """HJ. SITI is SITI."""
    assert (comparable(name) != "") == same_person_name(name, f"{title.lower()}. {name}") or comparable(name) in TITLES


def test_another_word_is_another_name() -> None:
    """Nothing is guessed: a missing word or no name at all is not the same person."""
    assert not same_person_name("SITI AMINAH", "SITI")
    assert not same_person_name("-", ".")
    assert same_person_name("siti aminah", "SITI  AMINAH.")


@given(st.text(max_size=40))
def test_a_tidy_text_prints_on_one_line(text: str) -> None:
    """No control character, no double space, nothing lost but spaces and what does not print."""
    kept = tidy(text)
    assert kept.isprintable()
    assert "  " not in kept
    assert tidy("a \u200b b") == "A B"
    assert [char for char in text.upper() if char.isalnum()] == [char for char in kept if char.isalnum()]
