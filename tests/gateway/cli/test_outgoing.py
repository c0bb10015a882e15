"""Tests of gateway.cli.outgoing: what a person sees and does of messages to and of partners."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.operations import outgoing
from gateway.operations.desk import Asked, Done, once
from gateway.operations.partner_totals import reconcile
from gateway.rules.outgoing import OutgoingState
from gateway.settings import load_settings
from gateway.store import outgoing as store
from tests.gateway.operations.test_desk import acting
from tests.gateway.operations.test_outgoing import PAN, put

if TYPE_CHECKING:
    from tests.gateway.cli.shell import Shell


def _messages() -> None:
    """One refused and one waiting; a desk message in trouble; totals out of balance."""

    async def work() -> None:
        async with open_bank(load_settings()) as bank:
            await put(bank, "card 1")
            await put(bank, "card 2")
            async with bank.database.engine.begin() as connection:
                sent = await store.send_head(connection, "himbara")
            assert sent is not None
            await outgoing.finish(bank, sent, OutgoingState.REFUSED, "57")
            await once(
                bank,
                Asked("himbara", "0302", "k", b"x"),
                acting(Done("57", "card 3", {"reason": "3000"}, trouble="lost"))[1],
            )
            await reconcile(bank, Asked("himbara", "0500", "k", b"x"), bank.business_date, {"debits": 2}, lambda _: {})

    asyncio.run(work())


def test_messages_to_partners(shell: Shell) -> None:
    """List, show, try again, drop by two: numbers and words, never a card number."""
    _messages()
    shown = shell.text("outgoing", "list")
    assert "himbara: 1 waiting, the first for" in shown
    assert "1 refused, 0 expired" in shown
    assert "REFUSED" in shown
    listed = shell.json("outgoing", "list", "--link", "himbara")
    assert [(1, "REFUSED", "57"), (2, "QUEUED", None)] == [
        (one["id"], one["state"], one["answer_code"]) for one in listed["messages"]
    ]
    assert [("himbara", 1, 1)] == [(one["link"], one["waiting"], one["refused"]) for one in listed["queues"]]
    assert {"messages": [], "queues": []} == shell.json("outgoing", "list", "--link", "alto")
    one = shell.text("outgoing", "show", "1")
    assert "601301******0018" in one
    assert "primary account number" in one
    assert "card 1" in one
    assert "there is no outgoing message 9" == shell.refused("outgoing", "show", "9")
    assert "content" not in shell.json("outgoing", "show", "1")
    reason = ("--reason", "they mended it", "--as", "siti")
    assert "message 1 to link himbara about card 1: QUEUED\n" == shell.text("outgoing", "retry", "1", *reason)
    assert "outgoing message 2 is QUEUED" in shell.refused("outgoing", "retry", "2", *reason)
    assert "two different people" in shell.refused("outgoing", "drop", "2", *reason)
    assert "DROPPED" == shell.json("outgoing", "drop", "2", *reason, "--checker", "budi")["state"]
    assert [2, 1] == [one["id"] for one in shell.json("outgoing", "list", "--all")["messages"]]
    assert PAN not in shown + one


def test_messages_of_partners(shell: Shell) -> None:
    """What waits for people, who has dealt with it, and totals beside ours."""
    _messages()
    shown = shell.text("desk", "list")
    assert "reason 3000" in shown
    waiting = shell.json("desk", "list")["messages"]
    assert ["lost", "out of balance: debits 2 and ours 0"] == [one["trouble"] for one in waiting]
    told = shell.text("desk", "done", "1", "--reason", "spoke with them", "--as", "siti")
    assert "message 1 of link himbara: spoke with them, says siti\n" == told
    assert "waits for nobody" in shell.refused("desk", "done", "1", "--reason", "again", "--as", "siti")
    assert "siti" == shell.json("desk", "done", "2", "--reason", "ours is right", "--as", "siti")["handled_by"]
    assert [] == shell.json("desk", "list")["messages"]
    assert [2, 1] == [one["id"] for one in shell.json("desk", "list", "--all")["messages"]]
    (total,) = shell.json("desk", "totals")["totals"]
    assert ({"debits": 2}, 0, False) == (total["theirs"], total["ours"]["debits"], total["in_balance"])
    assert "OUT OF BALANCE" in shell.text("desk", "totals", "--link", "himbara")
    assert {"totals": []} == shell.json("desk", "totals", "--date", "2026-01-01")
    assert "--date: 'soon' is not a date" in shell.refused("desk", "totals", "--date", "soon")


def test_fill(shell: Shell) -> None:
    """What was queued, and whether there is more; a link that wants no cards, or that nobody has had, is one line."""

    async def work() -> None:
        async with open_bank(load_settings()) as bank:
            await outgoing.keep_links(bank, [outgoing.LinkTerms("himbara", "HOTLIST", 600)])

    asyncio.run(work())
    assert "link himbara: 0 cards queued; every stopped card is told" in shell.text(
        "outgoing", "fill", "himbara", "--as", "siti"
    )
    assert "was told of all stopped cards on" in shell.refused("outgoing", "fill", "himbara", "--as", "siti")
    assert "no running service has had a link alto" == shell.refused("outgoing", "fill", "alto", "--as", "siti")
