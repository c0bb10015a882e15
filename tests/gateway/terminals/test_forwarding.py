"""Tests of gateway.terminals.forwarding: a running service tells a partner of a card that a command has blocked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.app import open_bank, run_service
from gateway.operations import card as card_operations
from gateway.operations import outgoing
from gateway.operations.outgoing import LinkTerms
from gateway.rules.card import CardEvent
from gateway.settings import load_settings
from gateway.store import outgoing as store
from gateway.terminals.forwarding import terms_of
from gateway.terminals.links_file import DEFAULT_FILE
from gateway.terminals.profile_tables import Outgoing
from iso.message import Message
from tests.gateway.owner import as_owner
from tests.gateway.partner import hot_link
from tests.gateway.street import framed, raw_link
from tests.gateway.world import activate, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

QUIET = (None, 259_200)
SIGN_ON = Message("0800", {7: "1123120000", 11: "000001", 70: "001"})
OUTGOING = '\n[link.outgoing]\nhot_list = {}\nretry_s = 0.05\nhot_list_file = "CARDS"\n'


def _links(path: Path, *, hot_list: bool) -> Path:
    """The shipped file, whose partner wants to know or does not."""
    first, *others = DEFAULT_FILE.read_text(encoding="utf-8").partition("[response_codes]")
    path.write_text(first + OUTGOING.format(str(hot_list).lower()) + "".join(others), encoding="utf-8")
    return path


async def test_a_running_service_tells_its_partner(bank: Bank, tmp_path: Path) -> None:
    """The partner signs on and is told of what another process blocks; after 91 comes 0303; a changed file ends it."""
    families = await open_families(bank, tmp_path, 2)
    await activate(bank, families)
    file = _links(tmp_path / "links.toml", hot_list=True)
    settings = load_settings(**bank.settings.model_dump() | {"links_file": file})
    async with open_bank(settings) as serving, run_service(serving, jobs=False) as service, raw_link(service) as link:
        await link.send(framed(SIGN_ON))
        assert "0810" == (await link.receive()).mti
        await card_operations.change_state(bank, "siti", families[0].card_id, CardEvent.REPORT_LOST, "as asked")
        told = await link.receive()
        assert ("0302", families[0].pan.reveal(), "1", "CARDS", "3000") == (
            told.mti, told.get(2), told.get(91), told.get(101), told.get(60),
        )  # fmt: skip
        answer = told.response()
        answer.fields[39] = "91"
        await link.send(framed(answer))
        repeat = await link.receive()
        assert Message("0303", told.fields) == repeat
        answer.fields[39] = "00"
        await link.send(framed(answer))
        await _until(bank, "ANSWERED")
        _links(file, hot_list=False)
        service.room.wake()
        await _taken_up(bank, {"chip": QUIET, "edc": QUIET, "himbara": QUIET})
        await card_operations.change_state(bank, "siti", families[1].card_id, CardEvent.REPORT_LOST, "as asked")
        assert [1] == [one.id for one in await outgoing.listed(bank, 10, ended=True)]
        assert [] == service.forwarding.status()


async def test_links_come_and_go(bank: Bank, tmp_path: Path) -> None:
    """A link that leaves the file is forwarded no more, and keeps no hot list; a new one is taken up."""
    await activate(bank, [])
    file = _links(tmp_path / "links.toml", hot_list=True)
    settings = load_settings(**bank.settings.model_dump() | {"links_file": file})
    async with open_bank(settings) as serving, run_service(serving, jobs=False) as service:
        file.write_text(file.read_text(encoding="utf-8").replace('name = "himbara"', 'name = "alto"'), encoding="utf-8")
        service.room.wake()
        await _taken_up(bank, {"alto": ("CARDS", 259_200), "chip": QUIET, "edc": QUIET, "himbara": QUIET})


def test_terms_of_a_link() -> None:
    """A link that is told of no cards has no file; its term is its own."""
    assert LinkTerms("himbara", "HOTLIST", 259_200) == terms_of(hot_link())
    assert LinkTerms("himbara", None, 60) == terms_of(hot_link(outgoing=Outgoing(expire_s=60)))


async def _taken_up(bank: Bank, wanted: dict[str, tuple[str | None, int]]) -> None:
    """The bank knows the links so."""
    for _ in range(500):
        async with bank.database.engine.connect() as connection:
            found = await store.links(connection)
        if found == wanted:
            return
        await asyncio.sleep(0.02)
    assert wanted == found


async def _until(bank: Bank, state: str) -> None:
    for _ in range(500):
        rows = await as_owner(bank, "SELECT state FROM outgoing_message")
        if [state] == [row.state for row in rows]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(rows)
