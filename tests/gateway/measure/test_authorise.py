"""Tests of gateway.measure.authorise: the figures are of answers that came and of a pgbench that ran."""

from __future__ import annotations

import stat
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.errors import GatewayError
from gateway.measure import authorise
from gateway.simulator.load import LoadResult, drive

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings
    from gateway.store.embedded import EmbeddedServer

FAMILIES, CLIENTS = 24, 8


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest yardstick and no warming up."""
    monkeypatch.setattr(authorise, "SCALE", 1)
    monkeypatch.setattr(authorise, "PGBENCH_CLIENTS", (1,))
    monkeypatch.setattr(authorise, "WARM_UP_S", 0.1)


async def test_the_measurement(settings: Settings) -> None:
    """Real withdrawals, none declined, on a durable server; the ratio is that of the two rates."""
    figures = await authorise.measure(settings, FAMILIES, CLIENTS, 1, lambda _line: None)
    assert (0, FAMILIES, CLIENTS, 1) == (figures.declined, figures.accounts, figures.clients, figures.seconds)
    assert ("on", "on") == (figures.fsync, figures.synchronous_commit)
    assert 0 < figures.p50_ms <= figures.p99_ms
    assert figures.gateway_cpu_us_per_authorisation > 0
    assert figures.ratio == pytest.approx(figures.authorisations_per_s / figures.pgbench_tps, abs=0.01)


async def test_a_missing_answer_is_no_figure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unanswered authorisation fails the run."""

    async def lossy(*arguments: Any, **options: Any) -> LoadResult:  # noqa: ANN401 - as drive takes them
        done = await drive(*arguments, **options)
        return replace(done, unanswered=1)

    async def no_yardstick(*_arguments: object) -> float:
        return 1.0

    monkeypatch.setattr(authorise, "drive", lossy)
    monkeypatch.setattr(authorise, "_pgbench", no_yardstick)
    with pytest.raises(GatewayError, match=r"1 of .* were not answered"):
        await authorise.measure(settings, FAMILIES, CLIENTS, 0.2, lambda _line: None)


async def test_what_pgbench_prints(tmp_path: Path) -> None:
    """Its figure is read; without one, or where it fails, there is one line."""
    server = _programs(tmp_path, 'echo "tps = 1234.5 (without initial connection time)"')
    assert 1234.5 == await authorise._pgbench(server, 8, 1)
    with pytest.raises(GatewayError, match="printed no figure"):
        await authorise._pgbench(_programs(tmp_path, "echo nothing"), 8, 1)
    with pytest.raises(GatewayError, match=r"pgbench failed: .*no such database"):
        await authorise._pgbench(_programs(tmp_path, 'echo "no such database" >&2; exit 1'), 8, 1)


def _programs(folder: Path, line: str) -> EmbeddedServer:
    """A server whose pgbench is a line of shell."""
    program = folder / "pgbench"
    program.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return cast("EmbeddedServer", SimpleNamespace(bin_dir=folder, socket_dir=folder))
