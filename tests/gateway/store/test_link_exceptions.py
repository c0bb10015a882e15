"""Tests of gateway.store.link_exceptions: what a lane opens and ends."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from gateway.operations.bank import reading
from gateway.store import link_exceptions
from gateway.store.lane_connection import LaneConnection
from gateway.store.link_exceptions import NewException

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

NEW = NewException(
    "CARD_UNKNOWN", "himbara", date(2026, 11, 23), 3, 0, None, 7, None, b"k" * 16, b"d" * 16, None, "0220", "PURCHASE",
    "EWARONG", "000002", "W1", "000007", "1123120000", "632712000007", 50_000, None, "",
)  # fmt: skip


async def test_once_a_message_and_reason(bank: Bank) -> None:
    """The same again opens no second one while its key is remembered; other content, another reason and a later year do."""
    connection = await LaneConnection.open(bank.database.engine, 9)
    await connection.begin()
    year = NEW._replace(business_date=date(2027, 11, 23))
    for one in (NEW, NEW._replace(business_date=date(2026, 12, 24)), NEW._replace(content_digest=b"o" * 16),
                NEW._replace(reason="KEY_REUSED"), year, year):  # fmt: skip
        await link_exceptions.keep(connection, [one], [])
    await connection.commit()
    async with reading(bank) as found:
        rows = await link_exceptions.find(found, None, 10)
        counts = await link_exceptions.counts(found, "himbara")
    assert [date(2026, 11, 23)] * 3 + [date(2027, 11, 23)] == [one.business_date for one in rows]
    assert [("CARD_UNKNOWN", 3, 150_000), ("KEY_REUSED", 1, 50_000)] == [
        (one.reason, one.messages, one.amount_idr) for one in counts
    ]
    await connection.begin()
    await link_exceptions.keep(connection, [], [(None, NEW.message_key, 11, date(2026, 12, 1))])
    await connection.commit()
    async with reading(bank) as found:
        assert [] == await link_exceptions.find(found, None, 10)
        ended = await link_exceptions.find(found, None, 10, resolved=True)
    assert [(11, date(2026, 12, 1))] * 4 == [(one.settled_by, one.resolved_on) for one in ended]
    await connection.close()
