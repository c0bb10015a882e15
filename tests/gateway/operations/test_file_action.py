"""Tests of gateway.operations.file_action: what becomes of a card that a partner tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations import card as card_operations
from gateway.operations import desk, outgoing
from gateway.operations.desk import Asked
from gateway.operations.file_action import FileAction, act_on_file
from gateway.operations.outgoing import LinkTerms
from gateway.rules.card import CardEvent
from gateway.rules.hot_list import FileUpdate
from keys.sensitive import Pan
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import assert_proved
from tests.gateway.world import activate, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from tests.gateway.world import Holder

ADD, CHANGE, DELETE = FileUpdate.ADD, FileUpdate.CHANGE, FileUpdate.DELETE


class Reporter:
    """A partner that reports one card, each time by a message of its own."""

    def __init__(self, bank: Bank, holder: Holder, link: str = "himbara") -> None:
        self.bank, self.holder, self.link = bank, holder, link

    async def says(self, update: FileUpdate, reason: str = "", key: str = "") -> str | None:
        """The answer's code."""
        count = await one_value(self.bank, "SELECT count(*) FROM desk_message")
        asked = Asked(self.link, "0302", key or f"k{count}", repr((update, reason)).encode())
        return (await act_on_file(self.bank, asked, FileAction(self.holder.pan, update, reason))).get(39)

    async def state(self) -> str:
        """Of the card."""
        return str(await one_value(self.bank, "SELECT state FROM card WHERE id = :id", id=self.holder.card_id))


async def test_lost_is_lost_once(bank: Bank, tmp_path: Path) -> None:
    """3000 makes it LOST with the actor `link NAME`; a second report is 00 without effect; nothing takes it back."""
    families = await open_families(bank, tmp_path, 1)
    await activate(bank, families)
    reporter = Reporter(bank, families[0])
    assert ["00", "00", "00"] == [
        await reporter.says(ADD, "3000", "k"), await reporter.says(ADD, "3000", "k"), await reporter.says(ADD, "3000"),
    ]  # fmt: skip
    assert "LOST" == await reporter.state()
    assert "57" == await reporter.says(DELETE)
    assert "LOST" == await reporter.state()
    actors = "SELECT actor, detail::jsonb ->> 'reason' AS why FROM audit_event WHERE detail LIKE '%report lost%'"
    assert [("link himbara", "reported by link himbara: 3000")] == [tuple(row) for row in await as_owner(bank, actors)]
    (trouble,) = await desk.listed(bank, 10)
    assert f"card {families[0].card_id}" == trouble.subject
    assert trouble.trouble is not None
    assert "off the list that is LOST for good" in trouble.trouble
    await assert_proved(bank)


async def test_a_partner_takes_back_its_own_block_alone(bank: Bank, tmp_path: Path) -> None:
    """What it blocked it may unblock, PIN tries as they were; not what another partner or the bank has blocked."""
    families = await open_families(bank, tmp_path, 1)
    await activate(bank, families)
    await as_owner(bank, "UPDATE card SET pin_tries_left = 1")
    himbara, alto = Reporter(bank, families[0]), Reporter(bank, families[0], "alto")
    assert "00" == await himbara.says(ADD, "3003")
    assert ["BLOCKED", "57"] == [await himbara.state(), await alto.says(DELETE)]
    assert ["00", "ACTIVE"] == [await himbara.says(DELETE), await himbara.state()]
    assert 1 == await one_value(bank, "SELECT pin_tries_left FROM card")
    assert "25" == await himbara.says(DELETE)
    await card_operations.change_state(bank, "siti", families[0].card_id, CardEvent.BLOCK, "seen at a market")
    assert ["57", "BLOCKED"] == [await himbara.says(DELETE), await himbara.state()]
    assert ["00", "STOLEN"] == [await himbara.says(CHANGE, "3001"), await himbara.state()]


async def test_other_partners_are_told(bank: Bank, tmp_path: Path) -> None:
    """Who reported it knows it already."""
    families = await open_families(bank, tmp_path, 1)
    await activate(bank, families)
    await outgoing.keep_links(bank, [LinkTerms("himbara", "HOTLIST", 600), LinkTerms("alto", "HOTLIST", 600)])
    await Reporter(bank, families[0]).says(ADD, "3001")
    assert ["alto"] == [one.link for one in await outgoing.listed(bank, 10)]


async def test_an_unknown_card_and_one_that_cannot_be_blocked(bank: Bank, tmp_path: Path) -> None:
    """25 for a card that is none of ours; 57 for one without a PIN yet, and people see it; but it may be reported lost."""
    (family,) = await open_families(bank, tmp_path, 1)
    reporter = Reporter(bank, family)
    assert ["57", "ORDERED"] == [await reporter.says(ADD, "3002"), await reporter.state()]
    assert ["a card that is ORDERED cannot be blocked: 3002"] == [one.trouble for one in await desk.listed(bank, 10)]
    assert ["00", "LOST"] == [await reporter.says(ADD, "3000"), await reporter.state()]
    asked = Asked("himbara", "0302", "unknown", b"x")
    assert {39: "25"} == await act_on_file(bank, asked, FileAction(Pan("6013019999999991"), ADD, "3000"))
