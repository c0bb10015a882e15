"""Tests of gateway.measure.yardstick: what pgbench prints and logs."""

from __future__ import annotations

import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.errors import GatewayError
from gateway.measure import yardstick

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.store.embedded import EmbeddedServer

PRINTS = """
for one in "$@"; do case "$one" in --log-prefix=*) prefix="${one#--log-prefix=}";; esac; done
for client in 0 1; do
    for number in 1 2 3 4 5; do
        echo "$client $number $((number * 1000 + client * 500)) 0 1700000000 123456"
    done > "$prefix.$client"
done
echo "tps = 1234.5 (without initial connection time)"
"""


async def test_rate_and_latencies(tmp_path: Path) -> None:
    """The rate is the one it prints; percentiles are of every transaction it has logged, of all its threads."""
    run = await yardstick.pgbench(_server(tmp_path, PRINTS), 8, 1)
    assert (8, 1234.5) == (run.clients, run.tps)
    assert (3.0, 5.5) == (run.p50_ms, run.p99_ms)


async def test_a_run_without_figures_is_one_line(tmp_path: Path) -> None:
    """No rate printed, or a failure: said in one line."""
    with pytest.raises(GatewayError, match="printed no figure"):
        await yardstick.pgbench(_server(tmp_path, "echo nothing"), 8, 1)
    with pytest.raises(GatewayError, match=r"pgbench failed: .*no such database"):
        await yardstick.pgbench(_server(tmp_path, 'echo "no such database" >&2; exit 1'), 8, 1)


def _server(folder: Path, script: str) -> EmbeddedServer:
    """A server whose pgbench is a shell script."""
    program = folder / "pgbench"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return cast("EmbeddedServer", SimpleNamespace(bin_dir=folder, socket_dir=folder))
