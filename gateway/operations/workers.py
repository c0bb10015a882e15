"""Work on a list's chunks by several processes, in order and with a bound on what is under way.

A task is a picklable object called with a vault and a job; what it makes is bytes, mostly. Short lists are worked on here:
starting a process costs more than judging some ten thousand rows. A worker ends with the process that started it, however that
ends. What its HSM refused comes back with what a job made, or with its failure, and is noted here: a worker writes neither log
nor audit chain.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
from collections import deque
from concurrent.futures import CancelledError, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gateway.operations.custody import custody_of, open_vault
from keys import core_dumps

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable
    from concurrent.futures import Future

    from gateway.operations.bank import Bank
    from gateway.operations.custody import Custody
    from keys.toolbox import Refusal
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


class JobFailed(Exception):
    """A job failed in a worker: its error, and what was refused to it meanwhile."""

    def __init__(self, error: Exception, refusals: list[Refusal]) -> None:
        super().__init__(error, refusals)  # as it is pickled
        self.error = error
        self.refusals = refusals


class Workers(Generic[J, D]):
    """Processes with one task; none at all for a short list."""

    def __init__(self, bank: Bank, task: Task[J, D], rows: int) -> None:
        """ROWS: about how many rows the jobs have together."""
        self._bank = bank
        self._task = task
        self._count = min(len(os.sched_getaffinity(0)), WORKERS_MOST) if rows >= WORTH_A_PROCESS else 0
        self._pool: ProcessPoolExecutor | None = None
        self._under_way: deque[Future[tuple[D, list[Refusal]]]] = deque()

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
        for job in self._under_way:  # nobody waits for them after a failure; what they were refused counts
            with suppress(Exception, CancelledError):
                self._note(job)

    async def run(self, jobs: AsyncIterable[J]) -> AsyncIterator[D]:
        """What was made of each job, in the order of the jobs. A job is asked for when there is room for it."""
        if self._pool is None:
            async for job in jobs:
                self._bank.vault.refresh()  # a list takes long: a sealing key made meanwhile is used from the next job on
                yield self._task(self._bank.vault, job)
            return
        async for job in jobs:
            self._under_way.append(self._pool.submit(_do, job))
            if len(self._under_way) > self._count + AHEAD:
                yield await self._first()
        while self._under_way:
            yield await self._first()

    async def _first(self) -> D:
        """What was made of the first job under way. Its error is the caller's."""
        with suppress(Exception):  # it is looked at with its refusals
            await asyncio.wrap_future(self._under_way[0])
        return self._note(self._under_way.popleft())

    def _note(self, job: Future[tuple[D, list[Refusal]]]) -> D:
        """What was made of a job that has ended. Also where it failed its refusals are noted."""
        try:
            made, refusals = job.result()
        except JobFailed as failed:
            self._note_all(failed.refusals)
            raise failed.error from failed
        self._note_all(refusals)
        return made

    def _note_all(self, refusals: list[Refusal]) -> None:
        for refusal in refusals:
            self._bank.refusals.note(refusal)


async def each(jobs: Iterable[J]) -> AsyncIterator[J]:
    """Jobs that are at hand."""
    for job in jobs:
        yield job


_vault: Vault | None = None
_task: Task[Any, Any] | None = None
_refusals: list[Refusal] = []  # since the last job


def _begin(custody: Custody, task: Task[Any, Any]) -> None:
    """A worker's start: no core dump, keys of its own, and an end with its parent even where that was killed."""
    global _vault, _task
    core_dumps.switch_off()
    gc.disable()  # what a task makes has no cycles, and looking for some takes a fifth of its time
    _vault, _task = open_vault(custody, _refusals.append), task
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - a worker has one
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _do(job: Any) -> tuple[Any, list[Refusal]]:  # noqa: ANN401 - the task knows
    assert _vault is not None  # noqa: S101 - set by _begin
    assert _task is not None  # noqa: S101 - as above
    try:
        _vault.refresh()  # as where the job is done without a worker
        made = _task(_vault, job)
    except Exception as error:
        raise JobFailed(error, _taken()) from error
    return made, _taken()


def _taken() -> list[Refusal]:
    taken = _refusals[:]
    _refusals.clear()
    return taken
