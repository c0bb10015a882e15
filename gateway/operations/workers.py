"""Work on a list's chunks by several processes, in order and with a bound on what is under way.

A task is a picklable object called with a vault and a job; what it makes is bytes, mostly. Short lists are worked on here:
starting a process costs more than judging some ten thousand rows. A worker ends with the process that started it, however that
ends.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gateway.operations.custody import custody_of, open_vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable

    from gateway.operations.bank import Bank
    from gateway.operations.custody import Custody
    from keys.vault import Vault

WORTH_A_PROCESS = 50_000  # rows
WORKERS_MOST = 4
AHEAD = 1  # jobs more than workers that are under way: none waits for the other side

Job = TypeVar("Job", contravariant=True)  # noqa: PLC0105 - the protocol's own names
Done = TypeVar("Done", covariant=True)  # noqa: PLC0105 - as above
J = TypeVar("J")
D = TypeVar("D")


class Task(Protocol[Job, Done]):
    """What is done with each job. It must be picklable and keep nothing from one job to the next but caches."""

    def __call__(self, vault: Vault, job: Job) -> Done:
        """Do one job."""
        ...


class Workers(Generic[J, D]):
    """Processes with one task; none at all for a short list."""

    def __init__(self, bank: Bank, task: Task[J, D], rows: int) -> None:
        """ROWS: about how many rows the jobs have together."""
        self._bank = bank
        self._task = task
        self._count = min(len(os.sched_getaffinity(0)), WORKERS_MOST) if rows >= WORTH_A_PROCESS else 0
        self._pool: ProcessPoolExecutor | None = None

    async def __aenter__(self) -> Workers[J, D]:
        if self._count > 1:
            self._pool = ProcessPoolExecutor(
                self._count,
                multiprocessing.get_context("spawn"),
                _begin,
                (custody_of(self._bank.settings), self._task),
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    async def run(self, jobs: AsyncIterable[J]) -> AsyncIterator[D]:
        """What was made of each job, in the order of the jobs. A job is asked for when there is room for it."""
        if self._pool is None:
            async for job in jobs:
                self._bank.vault.refresh()  # a list takes long: a sealing key made meanwhile is used from the next job on
                yield self._task(self._bank.vault, job)
            return
        loop = asyncio.get_running_loop()
        under_way: deque[asyncio.Future[D]] = deque()
        async for job in jobs:
            under_way.append(loop.run_in_executor(self._pool, _do, job))
            if len(under_way) > self._count + AHEAD:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()


async def each(jobs: Iterable[J]) -> AsyncIterator[J]:
    """Jobs that are at hand."""
    for job in jobs:
        yield job


_vault: Vault | None = None
_task: Task[Any, Any] | None = None


def _begin(custody: Custody, task: Task[Any, Any]) -> None:
    """A worker's start: keys of its own, and an end with its parent even where that was killed."""
    global _vault, _task
    gc.disable()  # what a task makes has no cycles, and looking for some takes a fifth of its time
    _vault, _task = open_vault(custody), task
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - a worker has one
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _do(job: Any) -> Any:  # noqa: ANN401 - the task knows
    assert _vault is not None  # noqa: S101 - set by _begin
    assert _task is not None  # noqa: S101 - as above
    _vault.refresh()  # as where the job is done without a worker
    return _task(_vault, job)
