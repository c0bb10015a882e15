"""Tests of gateway.operations.hot_list: what partners are told when a card changes, in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.operations import card, hot_list, outgoing
from gateway.operations.hot_list import Filled
from gateway.operations.outgoing import LinkTerms
from gateway.rules.card import CardEvent
from iso.codec import decode, encode
from iso.message import Message
from tests.gateway.owner import as_owner, one_value
from tests.gateway.world import activate, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def _told(bank: Bank) -> list[Message]:
    return [(await outgoing.shown(bank, one.id))[1] for one in await outgoing.listed(bank, 100)]


async def test_every_link_that_wants_it_is_told(bank: Bank, tmp_path: Path) -> None:
    """Blocked, good again, lost: add, delete and add, with the card, the reason and the link's own file name."""
    (family,) = await open_families(bank, tmp_path, 1)
    await activate(bank, [family])
    await outgoing.keep_links(
        bank, [LinkTerms("himbara", "HOTLIST", 600), LinkTerms("alto", "CARDS", 600), LinkTerms("jalin", None, 600)]
    )
    for event in (CardEvent.BLOCK, CardEvent.UNBLOCK, CardEvent.REPORT_LOST):
        await card.change_state(bank, "siti", family.card_id, event, "as asked")
    told = await _told(bank)
    assert [("1", "3750", "CARDS"), ("1", "3750", "HOTLIST"), ("3", "3759", "CARDS"), ("3", "3759", "HOTLIST"),
            ("1", "3000", "CARDS"), ("1", "3000", "HOTLIST")] == [
        (one.get(91), one.get(60), one.get(101)) for one in told
    ]  # fmt: skip
    assert {family.pan.reveal()} == {one.get(2) for one in told}
    assert [one.id for one in await outgoing.listed(bank, 100) if one.deletes] == [3, 4]
    for one in told:
        assert Message("0302", one.fields) == decode(encode(one))
    assert {f"card {family.card_id}"} == {one.subject for one in await outgoing.listed(bank, 100)}
    events = (
        "SELECT count(*) FROM audit_event WHERE operation = 'card.event' AND detail::jsonb ->> 'partners_told' = '2'"
    )
    assert 3 == await one_value(bank, events)


async def test_a_replaced_card_and_a_refused_change(bank: Bank, tmp_path: Path) -> None:
    """A card that was replaced is told of; what is refused tells nobody anything."""
    families = await open_families(bank, tmp_path, 2)
    await activate(bank, families)
    await outgoing.keep_links(bank, [LinkTerms("himbara", "HOTLIST", 600)])
    with pytest.raises(Refused):
        await card.change_state(bank, "siti", families[0].card_id, CardEvent.UNBLOCK, "as asked")
    assert [] == await _told(bank)
    await card.replace(bank, "siti", families[1].card_id, "damaged")
    (told,) = await _told(bank)
    assert ("1", "3752", families[1].pan.reveal()) == (told.get(91), told.get(60), told.get(2))


async def test_nobody_wants_to_know(bank: Bank, tmp_path: Path) -> None:
    """Without a link that keeps a hot list a card changes as ever."""
    (family,) = await open_families(bank, tmp_path, 1)
    await card.change_state(bank, "siti", family.card_id, CardEvent.REPORT_STOLEN, "as asked")
    assert [] == await _told(bank)


async def test_a_new_partner_is_told_of_what_is_stopped(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stopped card once, in chunks, from where the last run ended; not good and expired ones, and what it knows."""
    monkeypatch.setattr(hot_list, "CHUNK", 2)
    families = await open_families(bank, tmp_path, 8)
    await activate(bank, families)
    stopped = [family.card_id for family in families[:6]]
    events = (
        CardEvent.BLOCK,
        CardEvent.REPORT_LOST,
        CardEvent.REPORT_STOLEN,
        CardEvent.CLOSE,
        CardEvent.BLOCK,
        CardEvent.BLOCK,
    )
    for number, event in zip(stopped, events, strict=True):
        await card.change_state(bank, "siti", number, event, "as asked")
    await as_owner(bank, "UPDATE card SET expires_on = '2020-01-31' WHERE id = :id", id=stopped[5])
    with pytest.raises(NotFound, match="no running service has had a link alto"):
        await hot_list.fill(bank, "siti", "alto", 10)
    await outgoing.keep_links(bank, [LinkTerms("alto", "CARDS", 600), LinkTerms("jalin", None, 600)])
    with pytest.raises(Refused, match="link jalin is told of no cards"):
        await hot_list.fill(bank, "siti", "jalin", 10)
    await card.change_state(bank, "siti", families[6].card_id, CardEvent.BLOCK, "as asked")
    await card.change_state(bank, "siti", stopped[0], CardEvent.UNBLOCK, "as asked")
    await card.change_state(bank, "siti", stopped[0], CardEvent.BLOCK, "as asked")
    assert Filled("alto", 2, done=False) == await hot_list.fill(bank, "siti", "alto", 2)
    assert Filled("alto", 2, done=True) == await hot_list.fill(bank, "siti", "alto", 10)
    told = [(one.get(2), one.get(91), one.get(60), one.get(101)) for one in await _told(bank)]
    pans = [family.pan.reveal() for family in families]
    assert [(pans[6], "1", "3750", "CARDS"), (pans[0], "3", "3759", "CARDS"), (pans[0], "1", "3750", "CARDS"),
            (pans[1], "1", "3000", "CARDS"), (pans[2], "1", "3001", "CARDS"), (pans[3], "1", "3751", "CARDS"),
            (pans[4], "1", "3750", "CARDS")] == told  # fmt: skip
    with pytest.raises(Refused, match="link alto was told of all stopped cards on "):
        await hot_list.fill(bank, "siti", "alto", 10)
    filled = "SELECT sum((detail::jsonb ->> 'told')::int) FROM audit_event WHERE detail::jsonb ->> 'event' = 'fill'"
    assert 4 == await one_value(bank, filled)


async def test_another_file_is_filled_anew(bank: Bank, tmp_path: Path) -> None:
    """A link that was turned off and on again, or has another file, does not know what happened meanwhile."""
    (family,) = await open_families(bank, tmp_path, 1)
    await outgoing.keep_links(bank, [LinkTerms("alto", "CARDS", 600)])
    assert Filled("alto", 0, done=True) == await hot_list.fill(bank, "siti", "alto", 10)
    await outgoing.keep_links(bank, [LinkTerms("alto", "CARDS", 700)])
    with pytest.raises(Refused, match="link alto was told of all"):
        await hot_list.fill(bank, "siti", "alto", 10)
    await outgoing.keep_links(bank, [LinkTerms("alto", None, 700)])
    await card.change_state(bank, "siti", family.card_id, CardEvent.REPORT_STOLEN, "as asked")
    await outgoing.keep_links(bank, [LinkTerms("alto", "CARDS", 700)])
    assert Filled("alto", 1, done=True) == await hot_list.fill(bank, "siti", "alto", 10)
    with pytest.raises(Refused, match="at least one card"):
        await hot_list.fill(bank, "siti", "alto", 0)
