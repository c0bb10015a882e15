"""Tests of gateway.measure.torture.run: short runs of several seeds, and faults that are planted and caught."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture import days, run, steps
from gateway.measure.torture.run import TortureFailed
from gateway.measure.torture.town import open_town
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.measure.torture.world import World
    from gateway.settings import Settings
    from tests.servers import TestServer

SEED = 7


@pytest.fixture(autouse=True)
def _short_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "JUMPS_DAYS", (1, 1, 2, 5))
    monkeypatch.setattr(days, "LONG_JUMP_SHARE", 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_few_days(bank_settings: Settings, seed: int) -> None:
    """Whatever the dice say, everything holds."""
    async with open_town(bank_settings, seed, 6) as world:
        for _ in range(2):
            await run.play_day(world, seed)
        await run.finish(world, seed)
        assert world.step >= 2 * run.STEPS_OF_A_DAY[0]
        assert world.checks > world.step


async def test_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fresh bank of its own, with figures; a step that fails is told with its seed and how to play it again."""
    said: list[str] = []
    monkeypatch.setattr(run, "SAY_EVERY", 1)
    figures = await run.run_torture(settings, SEED, 1, 3, said.append)
    assert (SEED, 1, True, "") == (figures.seed, figures.days, figures.proof_ok, figures.failure)
    assert figures.crashes == sum(figures.crashes_by_kind.values())
    assert ["seed 7: 3 families, 1 days", f"day 1 of 1: {figures.last_day}, {figures.steps} steps"] == [
        said[0], said[1].rpartition(", ")[0]
    ]  # fmt: skip

    async def fail(_world: World) -> str:
        raise LookupError("a test's own")

    monkeypatch.setattr(steps, "choose", lambda _world: fail)
    figures = await run.run_torture(settings, SEED, 1, 3, said.append)
    assert (False, 2) == (figures.proof_ok, figures.steps)
    assert figures.failure.startswith(
        "seed 7, step 2 (fail) on 2026-01-05: LookupError: a test's own\n  1. 2026-01-05 SI "
    )
    assert figures.failure.endswith("again: ./kks torture --seed 7 --days 1 --families 3")


async def test_a_seed_plays_the_same_day(bank_settings: Settings, server: TestServer, tmp_path: Path) -> None:
    """The same messages in the same order, whatever PostgreSQL made of their crowds."""
    played = []
    for number in range(2):
        url = server.new_database()
        changes = {"database_url": url, "data_dir": tmp_path / f"bank-{number}"}
        async with open_town(bank_settings.model_copy(update=changes), SEED, 4) as world:
            await run.play_day(world, SEED)
            played.append(([str(sent) for sent in world.sent], world.today, world.chance.getstate()))
        server.drop_database(url)
    assert len(played[0][0]) > run.STEPS_OF_A_DAY[0]
    assert played[0] == played[1]


FAULTS = {
    "a tampered purse": ["UPDATE purse SET available_idr = available_idr + 1000 WHERE account_id = 1"],
    "a doubled transfer": ["""
        INSERT INTO transfer SELECT cell, account_id, nextval('transfer_id_seq'), debit, credit, amount_idr, kind, source,
               source_id, tranche_id, corrects, business_date FROM transfer WHERE account_id = 1 AND kind = 'WITHDRAWAL'
    """],
    "a changed tranche": ["UPDATE tranche SET available_idr = available_idr - 1000 WHERE account_id = 1"],
    "a lost reversal, with books that agree": [
        "DELETE FROM transfer WHERE account_id = 1 AND kind = 'REVERSAL'",
        "UPDATE tranche SET available_idr = available_idr - 20000, used_on = credited_on WHERE account_id = 1 AND id = {tranche}",
        "UPDATE purse SET available_idr = available_idr - 20000 WHERE account_id = 1 AND programme = {programme}",
        "UPDATE authorisation SET reversed_idr = 0, kept_idr = amounts_idr WHERE account_id = 1 AND kind = 'CASH'",
    ],
    "a withdrawal nobody made, with books that agree": [
        """
        INSERT INTO transfer SELECT cell, account_id, nextval('transfer_id_seq'), debit, credit, amount_idr, kind, source,
               source_id, tranche_id, corrects, business_date FROM transfer WHERE account_id = 1 AND kind = 'WITHDRAWAL'
        """,
        "UPDATE tranche SET available_idr = available_idr - 20000, used_on = credited_on WHERE account_id = 1 AND id = {tranche}",
        "UPDATE purse SET available_idr = available_idr - 20000 WHERE account_id = 1 AND programme = {programme}",
    ],
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_planted_fault_is_caught(town: World, fault: str) -> None:
    """Before the day is over, with the seed and the steps before."""
    cash = town.terminals[0].request("CASH", town.members[1].card, 20_000)
    await town.settle(await town.put([(cash, town.processes[0])]))
    await town.settle(await town.put([(cash.terminal.reversal(cash), town.processes[0])]))
    ((tranche, programme),) = await as_owner(town.home, DRAWN)
    for statement in FAULTS[fault]:
        await as_owner(town.home, statement.format(tranche=tranche, programme=programme))
    with pytest.raises(
        TortureFailed, match=rf"^seed {SEED}, step \d+ \(.*account 1\b|^seed {SEED}, step \d+ \(.*family 1\b"
    ):
        await run.play_day(town, SEED)


DRAWN = "SELECT tranche_id, (debit % 10000) / 10 FROM transfer WHERE account_id = 1 AND kind = 'WITHDRAWAL'"
