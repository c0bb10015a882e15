"""Tests of gateway.cli.exceptions: `kks exceptions`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.settings import load_settings
from gateway.simulator.terminal import Asked
from tests.gateway.street import AID_IDR, open_street

if TYPE_CHECKING:
    from tests.gateway.cli.shell import Shell


@pytest.fixture
def advised(shell: Shell) -> str:
    """A bank that was told of more than it has. The family's account number."""

    async def work() -> str:
        async with open_bank(load_settings()) as bank, open_street(bank, shell.folder) as street:
            message = street.shop.request(Asked.PURCHASE, street.card, 2 * AID_IDR, mti="0220")
            await street.shop.send(message)
            return street.families[0].account_number

    return asyncio.run(work())


def test_a_life_of_an_exception(shell: Shell, advised: str) -> None:
    """Listed and counted while it is open, shown, ended by two people; each failure is one line."""
    said = shell.json("exceptions", "list")
    (found,) = said["exceptions"]
    assert ("INSUFFICIENT_FUNDS", "0220", "OPEN", advised, 2 * AID_IDR, 0) == (
        found["reason"], found["mti"], found["state"], found["account"], found["amount_idr"], found["age_days"]
    )  # fmt: skip
    assert [("INSUFFICIENT_FUNDS", 1)] == [(one["reason"], one["messages"]) for one in said["open"]]
    for text in (shell.text("exceptions", "list"), shell.text("exceptions", "show", "1")):
        assert "INSUFFICIENT_FUNDS" in text
        assert advised in text
    assert found == shell.json("exceptions", "show", "1")
    assert [] == shell.json("exceptions", "list", "--link", "another")["exceptions"]
    resolve = ("exceptions", "resolve", "1", "--note", "partner repaid")
    assert "two different people" in shell.refused(*resolve, "--checker", "siti", "--as", "siti")
    assert "RESOLVED" in shell.text(*resolve, "--checker", "budi", "--as", "siti")
    assert "was resolved on" in shell.refused(*resolve, "--checker", "budi", "--as", "siti")
    assert [] == shell.json("exceptions", "list")["exceptions"]
    assert ["partner repaid"] == [one["note"] for one in shell.json("exceptions", "list", "--all")["exceptions"]]
    assert "there is no exception 2" in shell.refused("exceptions", "show", "2")
    assert "--note" in shell.usage("exceptions", "resolve", "1", "--checker", "budi")
