"""Tests of gateway.store.settlement_proof; what each check finds is in tests/gateway/operations/test_settlement.py."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.operations.bank import reading
from gateway.operations.settlement import close_settlement, order_payment, pay_settlement
from gateway.rules.authorise import RequestKind
from gateway.rules.purse import Channel
from gateway.store import settlement_proof
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

ONE_DAY = timedelta(days=1)


async def test_what_is_added_up(bank: Bank, tmp_path: Path) -> None:
    """Taken, settled, and since a date: each channel by itself, holds and refusals left out, reversals on their own date."""
    async with open_till(bank, tmp_path) as till:
        first = bank.business_date
        cash = await till.ask(RequestKind.CASH, 100_000)
        hold = await till.ask(RequestKind.HOLD, 40_000, Channel.EWARONG)
        await till.ask(RequestKind.CASH, 9_000_000)
        second = await till.next_day()
        await till.ask(RequestKind.REVERSAL, 100_000, original=cash, kept_idr=70_000)
        await till.ask(RequestKind.COMPLETION, 15_000, Channel.ATM, original=hold)
        await till.ask(RequestKind.CASH, 5_000, Channel.AGENT)
        await close_settlement(bank, "siti", "himbara", first)
        await order_payment(bank, "siti", "himbara", first, "TRF-1")
        await pay_settlement(bank, "budi", "himbara", first)
        async with reading(bank) as connection:
            assert _channels(70_000, 5_000, 15_000) == await settlement_proof.taken_idr(connection)
            assert _channels(100_000, 0, 0) == await settlement_proof.settled_idr(connection)
            for since, expected in (
                (first, _channels(70_000, 5_000, 15_000)),
                (second, _channels(-30_000, 5_000, 15_000)),
                (second + ONE_DAY, _channels(0, 0, 0)),
            ):
                assert expected == await settlement_proof.authorised_since(connection, since)
                assert expected == await settlement_proof.booked_since(connection, since)
            assert (0, None) == await settlement_proof.not_paid_once(connection, None)
            assert (0, None) == await settlement_proof.not_paid_once(connection, second + ONE_DAY)


def _channels(atm: int, agent: int, e_warong: int) -> dict[str, int]:
    return {"ATM": atm, "AGENT": agent, "EWARONG": e_warong}
