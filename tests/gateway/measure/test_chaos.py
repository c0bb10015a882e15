"""Tests of gateway.measure.chaos: real kills lose nothing, and the comparison would see what was lost or doubled."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.measure import chaos, havoc
from gateway.measure.chaos import AMOUNT_IDR, Scene, Slip
from tests.gateway.street import Street, open_street

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.measure.chaos import ChaosFigures
    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.exchange import Exchange

SECONDS = 6


async def test_nothing_is_lost_or_doubled(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gateways or PostgreSQL are killed under load; every approved withdrawal is booked once, and the proofs hold."""
    monkeypatch.setattr(chaos, "FAMILIES", 32)
    monkeypatch.setattr(chaos, "HARM_EVERY_S", (0.5, 1.0))
    monkeypatch.setattr(havoc, "EVERY", (havoc.kill_gateway, havoc.kill_postgres))
    figures = await chaos.run_chaos(settings, SECONDS, 1, lambda _line: None)
    assert [] == figures.wrong
    assert (0, 0, True) == (figures.lost, figures.doubled, figures.proof_ok)
    assert figures.kills >= 1
    assert figures.kills == figures.gateway_kills + figures.postgres_kills
    assert 0 < figures.approved <= figures.answered


@pytest.fixture
async def street(bank: Bank, tmp_path: Path) -> AsyncIterator[Street]:
    """A bank with an ATM in front of it."""
    async with open_street(bank, tmp_path) as opened:
        yield opened


async def test_honest_journals_agree(street: Street) -> None:
    """Paid, declined, reversed and repeated withdrawals: nothing wrong."""
    slips = [await _paid(street), await _paid(street), await _reversed(street)]
    declined = await street.atm.withdraw(street.card, 50_000_000)
    assert not declined.approved
    slips.append(_slip(declined))
    figures = await _compare(street, slips)
    assert (0, 0, True, []) == (figures.lost, figures.doubled, figures.proof_ok, figures.wrong)
    assert (3, 4, 1) == (figures.approved, figures.answered, figures.reversed)


async def test_a_lost_withdrawal_is_seen(street: Street) -> None:
    """Cash that was paid out and is not in the ledger."""
    paid = await _paid(street)
    phantom = Slip(paid.terminal, "654321", paid.transmitted, approved=True, answered=True)
    figures = await _compare(street, [paid, phantom])
    assert (1, 0) == (figures.lost, figures.doubled)
    assert ["terminal A0000001 trace 654321: paid out Rp10,000, booked Rp0"] == figures.wrong


async def test_cash_whose_booking_was_taken_back_is_lost(street: Street) -> None:
    """The ledger has reversed what the terminal says it has paid out."""
    slip = await _reversed(street)
    slip.reversed = False
    figures = await _compare(street, [slip])
    assert (1, 0) == (figures.lost, figures.doubled)


async def test_a_doubled_withdrawal_is_seen(street: Street) -> None:
    """A second booking of what was paid out once."""
    slip = await _paid(street)
    twin = (await street.atm.withdraw(street.card, AMOUNT_IDR)).request
    await _alter(street.bank, DOUBLE, first=slip.stan, second=twin.get(11))
    figures = await _compare(street, [slip])
    assert (0, 1) == (figures.lost, figures.doubled)
    assert f"terminal A0000001 trace {slip.stan}: paid out Rp10,000, booked Rp20,000" in figures.wrong


async def test_a_booking_no_terminal_knows_is_doubled(street: Street) -> None:
    """Money left an account and no terminal has paid anything out."""
    first, second = await _paid(street), await _paid(street)
    figures = await _compare(street, [first])
    assert (0, 1) == (figures.lost, figures.doubled)
    assert [f"terminal A0000001 trace {second.stan}: booked Rp10,000, unknown to it"] == figures.wrong


async def test_a_reversal_that_was_not_booked_is_doubled(street: Street) -> None:
    """The terminal took it back, the ledger did not."""
    slip = await _paid(street)
    slip.reversed = True
    figures = await _compare(street, [slip])
    assert (0, 1) == (figures.lost, figures.doubled)


async def test_a_repeat_answered_otherwise_is_told(street: Street) -> None:
    """Even where the books agree."""
    slip = await _paid(street)
    slip.disagreed = True
    figures = await _compare(street, [slip])
    assert (0, 0, 1) == (figures.lost, figures.doubled, len(figures.wrong))


async def test_a_proof_that_does_not_hold_is_told(street: Street) -> None:
    """Balances that are not what the journal says."""
    slip = await _paid(street)
    await _alter(street.bank, TAMPER)
    figures = await _compare(street, [slip])
    assert (0, 0, False) == (figures.lost, figures.doubled, figures.proof_ok)
    assert figures.wrong


async def _paid(street: Street) -> Slip:
    exchange = await street.atm.withdraw(street.card, AMOUNT_IDR)
    assert exchange.approved
    return _slip(exchange)


async def _reversed(street: Street) -> Slip:
    exchange = await street.atm.withdraw(street.card, AMOUNT_IDR)
    assert (await street.atm.reverse(exchange)).approved
    slip = _slip(exchange)
    slip.reversed = True
    return slip


def _slip(exchange: Exchange) -> Slip:
    get = exchange.request.get
    return Slip(get(41, "").strip(), get(11, ""), get(7, ""), approved=exchange.approved, answered=True)


async def _compare(street: Street, slips: list[Slip]) -> ChaosFigures:
    scene = Scene(street.bank.settings, street.bank, random.Random(1), [], slips)  # nothing runs that could be killed
    return await chaos._compare(scene, SECONDS)


async def _alter(bank: Bank, statement: str, **values: object) -> None:
    """Change the books as only a fault could: as their owner, with the triggers off."""
    engine = create_async_engine(bank.database.url)
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        done = await connection.execute(text(statement), values)
        assert cast("Any", done).rowcount == 1
    await engine.dispose()


DOUBLE = """
    UPDATE transfer SET source_id = (SELECT id FROM authorisation WHERE stan = :first)
    WHERE source = 'authorisation' AND source_id = (SELECT id FROM authorisation WHERE stan = :second)
"""
TAMPER = "UPDATE purse SET available_idr = available_idr + 1 WHERE available_idr > 0"
