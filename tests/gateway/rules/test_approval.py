"""Twin of gateway.rules.approval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.approval import same_person

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=20)


@given(names, st.sampled_from([str.upper, str.title, str.lower]), st.sampled_from(["", " ", "\t", " \n"]))
def test_nobody_is_two_people(name: str, case: type[str], space: str) -> None:
    """Case and surrounding spaces do not make a second person."""
    assert same_person(name, f"{space}{case(name)}{space}")


@given(names, names)
def test_two_names_are_one_person_only_when_equal(first: str, second: str) -> None:
    """Among plain lower-case names, equality is the whole rule, in both directions."""
    assert (first == second) is same_person(first, second)
    assert same_person(second, first) is same_person(first, second)


@pytest.mark.parametrize(("maker", "checker"), [("siti", "siti2"), ("siti", "si ti"), ("siti", "")])
def test_other_names_are_other_people(maker: str, checker: str) -> None:
    """A space inside a name or a digit behind it is another name."""
    assert not same_person(maker, checker)


def test_full_case_folding_is_used() -> None:
    """A name that only differs by how its capitals are written is one person."""
    assert same_person("STRASSE", "stra\u00dfe")
