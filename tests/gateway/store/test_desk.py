"""Tests of gateway.store.desk: what the database refuses. Its reading is tested with the operations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.operations import desk as operations
from gateway.operations.desk import Asked, Done
from gateway.rules.authorise import RequestKind
from gateway.store import desk
from tests.gateway.operations.test_desk import acting
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

ASKED = Asked("himbara", "0500", "k", b"x")


async def test_totals_are_for_good(bank: Bank) -> None:
    """What a partner told is kept as it was told: the service may add, and nobody may change."""
    await operations.once(bank, ASKED, acting(Done("00", "totals"))[1])
    async with bank.database.engine.begin() as connection:
        await desk.keep_total(
            connection, 1, "himbara", bank.business_date, {"debits": 1}, {"debits": 2}, in_balance=False
        )
        (kept,) = await desk.totals(connection, bank.business_date)
        assert ({"debits": 1}, {"debits": 2}, False) == (kept.theirs, kept.ours, kept.in_balance)
        assert [] == await desk.totals(connection, bank.business_date, "alto")
    with pytest.raises(DBAPIError, match=r"permission denied|append-only"):
        async with bank.database.engine.begin() as connection:
            await connection.execute(text("UPDATE partner_total SET in_balance = true"))


async def test_a_kept_answer_comes_back_as_it_was(bank: Bank) -> None:
    """Numbers of fields are numbers again."""
    await operations.once(bank, ASKED, acting(Done("00", "totals", answer={97: "C0000000000000000"}))[1])
    async with bank.database.engine.begin() as connection:
        kept = await desk.find(connection, "himbara", "5", "k")
        assert None is await desk.find(connection, "himbara", "3", "k")
    assert kept is not None
    assert (b"x", {39: "00", 97: "C0000000000000000"}) == (kept.digest, kept.answer)


async def test_what_waits_for_people(bank: Bank, tmp_path: Path) -> None:
    """Open exceptions and messages that somebody must look at, by link, and nothing that is over."""
    async with bank.database.engine.connect() as connection:
        assert [] == await desk.for_people(connection)
    for number, link in enumerate(("himbara", "himbara", "alto")):
        asked = Asked(link, "0320", str(number), b"x")
        await operations.once(bank, asked, acting(Done("25", "a card"))[1])
    await operations.handle(bank, "siti", 1, "looked at")
    async with open_till(bank, tmp_path) as till:
        paid = await till.ask(RequestKind.CASH, 1_000)
        other = replace(paid, origin=paid.origin._replace(stan="999999"))
        for amount in (1_000, 1_001):
            await till.ask(RequestKind.REVERSAL, amount, original=other)
        found = await operations.for_people(bank)
    assert [("alto", 0, 1), ("himbara", 2, 1)] == [(one.link, one.exceptions, one.desk) for one in found]
    assert all(0 <= one.oldest_s < 600 for one in found)


async def test_what_settles_nothing_is_counted(bank: Bank, tmp_path: Path) -> None:
    """Approved holds and inquiries of the link and date alone."""
    async with open_till(bank, tmp_path) as till:
        for kind, amount, link in ((RequestKind.HOLD, 1_000, ""), (RequestKind.BALANCE, 0, ""), (RequestKind.BALANCE, 0, "alto"),
                                   (RequestKind.CASH, 2_000, ""), (RequestKind.HOLD, 9_000_000, "")):  # fmt: skip
            await till.ask(kind, amount, link=link)
        async with bank.database.engine.connect() as connection:
            assert {"HOLD": 1, "BALANCE": 1} == await desk.count_others(connection, "himbara", bank.business_date)
