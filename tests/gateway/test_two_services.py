"""Two services on one database with the same cards: they share every promise."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank, run_service
from gateway.simulator.terminal import Asked
from gateway.testlink import ensure_test_link
from tests.gateway.serving import serving
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street, reasons, stand_before
from tests.keys.test_core_dumps import core_limit

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from tests.gateway.street import Street


async def test_two_services_in_one_process(bank: Bank, bank_settings: Settings, tmp_path: Path) -> None:
    """Two Bank objects, each with its lanes: repeats are replayed across them and no card is overdrawn."""
    async with (
        open_street(bank, tmp_path, families=3) as here,
        open_bank(bank_settings) as other,
        run_service(other, jobs=False) as service,
        stand_before(other, service, here.wallet, here.families) as there,
    ):
        await _share(bank, here, there)
    await assert_proved(bank)


async def test_a_second_process(bank: Bank, bank_settings: Settings, tmp_path: Path) -> None:
    """The same with `kks serve` as another process, which stops cleanly on SIGTERM."""
    async with (
        open_street(bank, tmp_path, families=3) as here,
        serving(bank_settings) as service,
        stand_before(bank, service, here.wallet, here.families) as there,  # type: ignore[arg-type]
    ):
        await _share(bank, here, there)
    await assert_proved(bank)


async def _share(bank: Bank, here: Street, there: Street) -> None:
    """Repeats, races of one message, races of one card, and a reversal at the other service."""
    first, second, third = here.wallet.cards
    paid = await here.atm.withdraw(first, 100_000)
    assert (await there.atm.repeat(paid, marked=True)).same_answer(paid)
    assert "00" == (await there.atm.reverse(paid)).code
    assert "00" == (await here.atm.reverse(paid, repeat=True)).code
    assert AID_IDR == await available_idr(bank, here.families[0].family_id)
    message = here.atm.request(Asked.CASH, second, 100_000)
    answers = await asyncio.gather(
        *(street.switch.client.request(message, again=True) for _ in range(5) for street in (here, there))
    )
    assert [answers[0].fields] * 10 == [one.fields for one in answers]
    assert AID_IDR - 100_000 == await available_idr(bank, here.families[1].family_id)
    there.agent._stan = 500_000
    many = [street.agent.withdraw(third, 100_000) for _ in range(6) for street in (here, there)]
    codes = [one.code for one in await asyncio.gather(*many)]
    assert ["00"] * 6 + ["51"] * 6 == sorted(codes)
    assert 0 == await available_idr(bank, here.families[2].family_id)
    assert 1 + 2 + 1 + 12 == len(await reasons(bank))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_requirement_03_the_service_leaves_no_core_dump(bank: Bank, bank_settings: Settings) -> None:
    """`kks serve` has keys, PINs and PANs in its memory: from its start on it has switched core dumps off."""
    ensure_test_link(bank)
    async with serving(bank_settings) as service:
        assert ["0", "0"] == core_limit(service.pid)
