"""Tests of gateway.measure.processor: processor time of trees of processes and of a PostgreSQL server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.measure.processor import server_cpu, tree_cpu_s

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.servers import TestServer

BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BUSY!r}], check=True)
child = subprocess.Popen([sys.executable, "-c", {BUSY + "print('done', flush=True); input()"!r}], stdin=subprocess.PIPE)
sys.stdin.readline()
child.communicate()
"""


def test_a_tree_counts_children_that_live_and_that_have_ended() -> None:
    """A parent that does nothing, with one child that has worked and ended and one that has worked and lives."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:  # noqa: S603 - ours
        assert parent.stdout is not None
        assert b"done\n" == parent.stdout.readline()
        assert 0.6 <= tree_cpu_s(parent.pid) < 3
        parent.communicate(b"\n")


def test_time_only_grows_and_unknown_processes_have_used_none() -> None:
    """Of this process it is what the operating system says; a process that is not there has used nothing."""
    before = tree_cpu_s(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert before + 0.08 <= tree_cpu_s(os.getpid())
    assert 0 == tree_cpu_s(2**30)


async def test_a_server(server: TestServer, engine: AsyncEngine) -> None:
    """Work of a connection is the server's and not the background's."""
    postmaster = server.server.postmaster_pid()
    assert postmaster is not None
    before = server_cpu(postmaster)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT sum(sqrt(n)) FROM generate_series(1, 2000000) n"))
        used = server_cpu(postmaster).since(before)
    assert used.whole_s >= 0.05
    assert used.background_s <= used.whole_s / 2
