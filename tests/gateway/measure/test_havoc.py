"""Tests of gateway.measure.havoc: every harm is really done, and a terminal is answered again afterwards."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.measure import chaos, havoc
from gateway.measure.workbench import bench_settings, furnish, start_gateway
from gateway.simulator.pinpad import pinpad_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from gateway.measure.chaos import Scene
    from gateway.settings import Settings
    from gateway.simulator.pinpad import PinPad
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import Wallet

FAMILIES = 4
AMOUNT_IDR = 10_000


@asynccontextmanager
async def _scene(settings: Settings) -> AsyncIterator[tuple[Scene, Wallet, PinPad]]:
    """Two gateways in processes of their own."""
    chosen = bench_settings(settings, "chaos")
    async with open_bank(chosen) as bank:
        wallet = await furnish(bank, FAMILIES, 10_000_000)
        gateways = [await start_gateway(chosen, chaos._free_port()) for _ in range(2)]
        scene = chaos.Scene(chosen, bank, random.Random(1), gateways)
        try:
            yield scene, wallet, pinpad_of(wallet)
        finally:
            for switch in scene.switches.values():
                await switch.close()
            for gateway in scene.gateways:
                await gateway.stop()


async def test_every_harm(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other on one scene; between them a withdrawal succeeds, if need be after some tries."""
    monkeypatch.setattr(havoc, "HOLD_S", (0.3, 0.5))
    async with _scene(settings) as (scene, wallet, pinpad):
        stan = 1
        pids = {gateway.process.pid for gateway in scene.gateways}
        for harm in dict.fromkeys(havoc.EVERY):
            stan = await chaos._withdraw(scene, pinpad, 0, await _atm(scene, pinpad, stan), wallet.cards[0], stan)
            await harm(scene)
        while not scene.slips[-1].approved or len(scene.slips) <= len(set(havoc.EVERY)):
            stan = await chaos._withdraw(scene, pinpad, 0, await _atm(scene, pinpad, stan), wallet.cards[0], stan)
        assert {"gateway": 1, "postgres": 1, "cut": 1, "pool": 2, "restart": 1, "sockets": 1} == dict(scene.harm)
        assert pids != {gateway.process.pid for gateway in scene.gateways}
        figures = await chaos._compare(scene, 1)
        assert (0, 0, True, []) == (figures.lost, figures.doubled, figures.proof_ok, figures.wrong)


async def _atm(scene: Scene, pinpad: PinPad, stan: int) -> Terminal:
    terminal = await chaos._terminal(scene, pinpad, 0, stan)
    assert terminal is not None
    return terminal
