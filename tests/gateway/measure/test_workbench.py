"""Tests of gateway.measure.workbench: a fresh bank below the data folder, furnished, with `kks serve` as a process on it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway import clock
from gateway.errors import GatewayError, Refused
from gateway.measure import workbench
from gateway.operations import proof
from gateway.operations.bank import reading
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import TerminalKind
from gateway.store import policy

if TYPE_CHECKING:
    from gateway.settings import Settings

FAMILIES, AMOUNT_IDR = 6, 700_000


def test_a_bench_has_a_folder_of_its_own(settings: Settings) -> None:
    """Free ports, the embedded server, and nothing left of the run before; the user's own bank beside it is not touched."""
    old = settings.data_dir / "bench" / "kpm.csv"
    mine = settings.data_dir / "pg" / "data"
    for path in (old, mine):
        path.mkdir(parents=True)
    chosen = workbench.bench_settings(
        settings.model_copy(update={"database_url": "postgresql://elsewhere/kks"}), "bench"
    )
    assert (None, 0, 0) == (chosen.database_url, chosen.iso_port, chosen.http_port)
    assert settings.data_dir / "bench" == chosen.data_dir
    assert (False, True) == (old.exists(), mine.exists())


def test_the_limits_of_a_measurement() -> None:
    """As many as the shipped ones, under their names, and newer; only the maxima are others."""
    maxima = {"max_amount_idr", "max_count", "reason", "valid_from"}
    shipped, bench = (
        [row.model_dump(exclude=maxima) for row in policy.read_policy_file(path).limit]
        for path in (policy.DEFAULT_FILE, workbench.LIMITS_FILE)
    )
    assert shipped == bench
    assert all(
        one.valid_from > other.valid_from
        for one in policy.read_policy_file(workbench.LIMITS_FILE).limit
        for other in policy.read_policy_file(policy.DEFAULT_FILE).limit
    )


async def test_a_furnished_bank_and_its_gateway(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every family has an active card and the money; a terminal can take it from a gateway in a process of its own."""
    chosen = workbench.bench_settings(settings, "bench")
    async with workbench.furnished_bank(chosen, FAMILIES, AMOUNT_IDR) as (bank, wallet):
        with pytest.raises(Refused, match="another measurement"):
            workbench.bench_settings(settings, "bench")
        async with reading(bank) as connection:
            found = (await connection.execute(STATES)).one()
        assert (FAMILIES, FAMILIES, FAMILIES * AMOUNT_IDR) == tuple(int(value) for value in found)
        assert FAMILIES == len({card.account_number for card in wallet.cards})
        assert FAMILIES == await workbench.write_si_list(bank, chosen.data_dir / "again.csv", AMOUNT_IDR)
        async with workbench.gateway_process(chosen) as gateway:
            async with Switch("127.0.0.1", gateway.port, clock=clock.now) as switch:
                atm = switch.terminal(pinpad_of(wallet), TerminalKind.ATM, 1)
                assert ["00"] * FAMILIES == [(await atm.withdraw(card, 50_000)).code for card in wallet.cards]
            assert gateway.cpu_seconds() > 0
            taken = gateway.port
            with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(GatewayError, match="did not come up"):
                await workbench.start_gateway(chosen, other.getsockname()[1])
        assert gateway.process.returncode is not None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", taken)).close()
        monkeypatch.setattr(workbench, "START_TIMEOUT_S", 0.01)
        with pytest.raises(GatewayError, match="did not come up"):
            await workbench.start_gateway(chosen)
        assert [] == [check.name for check in await proof.prove_ledger(bank) if not check.ok]


STATES = text("""
    SELECT (SELECT count(*) FROM card WHERE state = 'ACTIVE' AND pin_offset IS NOT NULL),
           (SELECT count(*) FROM account WHERE state = 'ACTIVE'), (SELECT sum(available_idr) FROM purse)
""")
