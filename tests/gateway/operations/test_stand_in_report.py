"""Tests of gateway.operations.stand_in_report: what people see while books and service are away."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.operations import lane as lane_module
from gateway.operations.stand_in_folder import JOURNAL, LIST, folder_of
from gateway.operations.stand_in_report import look, remove_ended
from gateway.store.stand_in_journal import Journal
from tests.gateway.operations.test_lane import no_connections
from tests.gateway.outage import links_file, until_listed, until_posted
from tests.gateway.owner import as_owner
from tests.gateway.street import open_street

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gateway.operations.bank import Bank


async def test_what_is_there(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at first; then the list, what waits, what could not be posted; and what was changed."""
    folder = folder_of(bank.settings.data_dir)
    found = look(folder, bank.audit_verify)
    assert (False, None, 0, None, 0, []) == (
        found.running, found.list_made_at, found.list_cards, found.wrong, found.torn_bytes, found.entries,
    )  # fmt: skip
    monkeypatch.setattr(lane_module, "RETRY_WAIT_S", 0.001)
    bank.settings = bank.settings.model_copy(update={"links_file": links_file(tmp_path)})
    async with open_street(bank, tmp_path, 2) as street:
        await until_listed(street)
        assert "00" == (await street.atm.withdraw(street.wallet.cards[1], 550_000)).code
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            for card in street.wallet.cards:
                assert "00" == (await street.atm.withdraw(card, 100_000)).code
            found = look(folder, bank.audit_verify)
            assert (True, 2, 2, 0, None) == (
                found.running, found.list_cards, len(found.waiting), len(found.not_posted), found.wrong,
            )  # fmt: skip
        await until_posted(street)
        (gone,) = look(folder, bank.audit_verify).not_posted
        assert (street.families[1].card_id, "INSUFFICIENT_FUNDS", 100_000) == (
            gone.card_id,
            gone.posted,
            gone.amount_idr,
        )
    found = look(folder, bank.audit_verify)
    assert (False, [], 2) == (found.running, found.waiting, len(found.entries))
    with (folder / JOURNAL).open("ab") as file:
        file.write(b"\x00\x00")
    assert (None, 2) == ((found := look(folder, bank.audit_verify)).wrong, found.torn_bytes)
    (folder / LIST).write_bytes(b"x" + (folder / LIST).read_bytes()[1:])
    assert "was changed" in (look(folder, bank.audit_verify).wrong or "")


async def test_journals_of_past_outages_are_removed_with_a_record(bank: Bank) -> None:
    """Where all of them is posted and they are older than messages are kept; the one in use is never looked at."""
    folder = folder_of(bank.settings.data_dir)
    folder.mkdir(parents=True)
    days = bank.settings.message_days
    names = [f"{JOURNAL}.{bank.now() - timedelta(days=days + more):%Y%m%dT%H%M%S}" for more in (1, 2, -1)]
    for name in (*names, JOURNAL):
        journal = Journal.create(folder / name, bank.audit_mac, {"list": "x", "first": 0})
        journal.close()
    assert 2 == await remove_ended(bank, "jobs")
    assert sorted((JOURNAL, names[2])) == sorted(path.name for path in folder.iterdir())
    assert 0 == await remove_ended(bank, "jobs")
    events = "SELECT detail::jsonb ->> 'journals' FROM audit_event WHERE operation = 'messages.remove'"
    assert [f'["{names[1]}", "{names[0]}"]'] == [row[0] for row in await as_owner(bank, events)]
