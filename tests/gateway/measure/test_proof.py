"""Tests of gateway.measure.proof: the journal that is measured is a proved one, and the figures fit together."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.app import open_bank
from gateway.errors import GatewayError
from gateway.measure import proof as measured
from gateway.operations import day, proof
from gateway.operations.bank import reading

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from ledger.proof import Check


async def test_a_journal_is_made_closed_and_proved(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every family credited with every stage and paid nine times; all days before today closed, today's open."""
    monkeypatch.setattr(measured, "DAY_TRANSFERS", 40)
    said: list[str] = []
    figures = await measured.measure(settings, 1_000, said.append)
    assert (1_001, 23, 40) == (figures.transfers, figures.days, figures.day_transfers)
    assert pytest.approx(figures.full_s / figures.incremental_s, rel=0.2) == figures.ratio
    assert min(figures.full_s, figures.incremental_s, figures.close_s, figures.verify_s) > 0
    assert ["making a journal of 1000 transfers", "closing 23 days", "proving"] == said
    async with open_bank(settings.model_copy(update={"data_dir": settings.data_dir / "bench-proof"})) as bank:
        assert (bank.business_date - timedelta(days=1)) == await proof.proven_from(bank)
        assert 23 == (await day.verify(bank)).days
        async with reading(bank) as connection:
            today = await connection.execute(text("SELECT count(*) FROM transfer WHERE business_date > :on"),
                                             {"on": bank.business_date - timedelta(days=1)})  # fmt: skip
            assert 20 == today.scalar_one()


async def test_a_proof_that_does_not_hold_is_no_figure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement fails and names the check."""
    real = proof.prove_ledger

    async def prove(bank: Bank, *, incremental: bool) -> list[Check]:
        checks = await real(bank, incremental=incremental)
        return [type(one)(one.name, ok=False, detail="off by Rp1") for one in checks[:1]]

    monkeypatch.setattr(proof, "prove_ledger", prove)
    with pytest.raises(GatewayError, match=r"a proof does not hold: every tranche .*: off by Rp1"):
        await measured.measure(settings, 1_000, lambda _line: None)
