"""Tests of gateway.terminals.profile_tables: what stands in tables of its own. More in test_profile.py."""

from __future__ import annotations

from gateway.rules.purse import Channel
from gateway.rules.stand_in import StandInPolicy
from gateway.terminals.links_file import read_links
from gateway.terminals.profile import Link

SHIPPED = read_links(None).first


def test_stand_in_is_off_unless_it_is_asked_for() -> None:
    """And bounded in everything, with nothing in it but what it names."""
    assert SHIPPED.stand_in is None
    asked = {"stand_in": {"cash": ["ATM"], "most_idr": 200_000, "most_card_idr": 300_000}}
    link = Link.model_validate(SHIPPED.model_dump(exclude_defaults=True) | asked)
    assert link.stand_in is not None
    assert StandInPolicy(frozenset({Channel.ATM}), False, 200_000, 300_000, 3_600, 14_400) == link.stand_in.policy  # noqa: FBT003
