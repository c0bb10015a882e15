"""Tests of gateway.measure.authorise: the figures are of answers that came and of a pgbench that ran."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import GatewayError
from gateway.measure import authorise, yardstick
from gateway.measure.yardstick import PgbenchRun
from gateway.simulator.load import LoadResult, PreparedLoad

if TYPE_CHECKING:
    from gateway.settings import Settings

FAMILIES, CLIENTS = 24, 8


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest yardstick and no warming up."""
    monkeypatch.setattr(yardstick, "SCALE", 1)
    monkeypatch.setattr(authorise, "PGBENCH_CLIENTS", (1, 2))
    monkeypatch.setattr(authorise, "WARM_UP_S", 0.1)


async def test_the_measurement(settings: Settings) -> None:
    """Real withdrawals by two gateway processes, none declined, on a durable server; the ratios are those of the figures."""
    figures = await authorise.measure(settings, FAMILIES, CLIENTS, 1, lambda _line: None, processes=2)
    assert (0, FAMILIES, FAMILIES) == (figures.declined, figures.accounts, figures.cards)
    assert (CLIENTS, 1, 2) == (figures.clients, figures.seconds, figures.processes)
    assert ("on", "on") == (figures.fsync, figures.synchronous_commit)
    assert 0 < figures.p50_ms <= figures.p99_ms
    assert 0 < figures.p50_half_ms <= figures.p99_half_ms
    assert 0 < figures.half_per_s <= figures.authorisations_per_s * 0.6
    assert figures.pgbench_tps == max(figures.pgbench_tps_8, figures.pgbench_tps_32)
    assert figures.ratio == pytest.approx(figures.authorisations_per_s / figures.pgbench_tps, abs=0.01)
    assert figures.p99_half_ratio == pytest.approx(figures.p99_half_ms / figures.pgbench_p50_8_ms, rel=0.02)
    for used in ("gateway", "postgres", "load"):
        assert getattr(figures, f"{used}_cpu_us_per_authorisation") > 0
    assert 0 <= figures.postgres_background_cpu_us_per_authorisation <= figures.postgres_cpu_us_per_authorisation
    assert figures.wal_bytes_per_authorisation > 500  # a transfer, an authorisation, a tranche, a purse
    assert figures.wal_pages_per_authorisation >= 0
    assert figures.database_bytes > 1_000_000


async def test_a_missing_answer_is_no_figure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unanswered authorisation fails the run."""
    run = PreparedLoad.run

    async def lossy(*arguments: Any, **options: Any) -> LoadResult:  # noqa: ANN401 - as run takes them
        return replace(await run(*arguments, **options), unanswered=1)

    async def no_yardstick(_server: object, clients: int, _seconds: float) -> PgbenchRun:
        return PgbenchRun(clients, 1.0, 1.0, 1.0)

    monkeypatch.setattr(PreparedLoad, "run", lossy)
    monkeypatch.setattr(authorise, "pgbench", no_yardstick)
    with pytest.raises(GatewayError, match=r"1 of .* were not answered"):
        await authorise.measure(settings, FAMILIES, CLIENTS, 0.2, lambda _line: None)
