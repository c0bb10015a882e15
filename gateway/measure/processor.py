"""Processor time as the kernel counts it in /proc: of a process with all its children, and of a PostgreSQL server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BACKGROUND = (
    "checkpointer",
    "background writer",
    "walwriter",
    "io worker",
    "autovacuum",
    "logical replication",
    "archiver",
)


@dataclass(frozen=True, slots=True)
class ServerCpu:
    """Seconds of processor time of a PostgreSQL server: of all its processes, and of those that serve no connection."""

    whole_s: float
    background_s: float

    def since(self, before: ServerCpu) -> ServerCpu:
        """What was used after BEFORE was read."""
        return ServerCpu(self.whole_s - before.whole_s, self.background_s - before.background_s)


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    own_ticks: int
    reaped_ticks: int  # of children that have ended


def tree_cpu_s(pid: int) -> float:
    """Seconds of processor time, user and system, that a process and its descendants have used."""
    processes = _processes()
    return _tree_ticks(pid, processes) / TICKS_PER_S


def server_cpu(postmaster: int) -> ServerCpu:
    """The processor time of a server so far."""
    processes = _processes()
    background = sum(
        one.own_ticks
        for one in processes.values()
        if one.parent == postmaster and _title(one.pid).startswith(BACKGROUND)
    )
    return ServerCpu(_tree_ticks(postmaster, processes) / TICKS_PER_S, background / TICKS_PER_S)


def _tree_ticks(pid: int, processes: dict[int, _Process]) -> int:
    root = processes.get(pid)
    if root is None:
        return 0
    children = sum(_tree_ticks(one.pid, processes) for one in processes.values() if one.parent == pid)
    return root.own_ticks + root.reaped_ticks + children


def _processes() -> dict[int, _Process]:
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            pid = int(folder.name)
            found[pid] = _Process(
                pid, int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
            )
    return found


def _title(pid: int) -> str:
    """What a process of PostgreSQL says it is: `postgres: checkpointer`."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").removeprefix("postgres: ")
    except OSError:
        return ""
