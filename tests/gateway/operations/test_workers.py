"""Tests of gateway.operations.workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.app import open_keystore
from gateway.operations import workers
from gateway.operations.custody import SEALING_LABEL, custody_of
from gateway.operations.refusals import write_refusals
from gateway.operations.workers import Workers, each
from gateway.settings import load_settings
from keys.errors import KeyRefused
from keys.keytypes import KeyState, KeyUsage
from tests.gateway.rites import details, told
from tests.keys.test_core_dumps import core_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.operations.bank import Bank
    from keys.vault import Vault

MANY = workers.WORTH_A_PROCESS


@dataclass(frozen=True)
class Doubled:
    """A task: twice the job, with its index and who did it."""

    factor: int

    def __call__(self, vault: Vault, job: int) -> tuple[int, bytes, int]:
        """Fail at 13; take longer for even ones."""
        if job == 13:
            raise ValueError("thirteen")
        time.sleep(0.02 if job % 2 == 0 else 0)
        return job * self.factor, vault.index(str(job), "nik"), os.getpid()


@pytest.mark.parametrize("rows", [1, MANY])
async def test_what_is_made_comes_in_the_order_of_the_jobs(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """By processes for a long list, here for a short one; the keys are the bank's."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    async with Workers(bank, Doubled(2), rows) as work:
        made = [one async for one in work.run(each(range(12)))]
    assert [(2 * job, bank.vault.index(str(job), "nik")) for job in range(12)] == [one[:2] for one in made]
    assert (rows == 1) is ({os.getpid()} == {one[2] for one in made})


@dataclass(frozen=True)
class Sealed:
    """A task: what a value sealed now begins with."""

    def __call__(self, vault: Vault, job: int) -> bytes:
        """As whoever does a job would seal."""
        del job
        return vault.seal("text", table="t", row=1, column="c")[:9]


@pytest.mark.parametrize("rows", [1, MANY])
async def test_a_sealing_key_made_meanwhile_is_used_from_the_next_job_on(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """By another process, while a long list is under way: neither this process nor a worker goes on with the old one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    other = open_keystore(bank.settings)
    old = bank.vault.current

    async def jobs() -> AsyncIterator[int]:
        for job in range(12):
            if job == 8:
                other.generate(KeyUsage.DATA_SEALING, SEALING_LABEL)
            yield job

    async with Workers(bank, Sealed(), rows) as work:
        made = [one async for one in work.run(jobs())]
    bank.vault.refresh()
    assert ({old}, {bank.vault.current}) == (set(made[:4]), set(made[8:]))
    assert old != bank.vault.current


@pytest.mark.parametrize("rows", [1, MANY])
async def test_a_failure_is_the_callers(bank: Bank, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """The error of a job comes out where its result would; no process is left behind."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    made: list[int] = []

    async def work() -> None:
        async with Workers(bank, Doubled(1), rows) as workers_:
            async for one in workers_.run(each(range(10, 20))):
                made.append(one[0])  # noqa: PERF401 - what came before the failure is looked at

    with pytest.raises(ValueError, match="thirteen"):
        await work()
    assert [10, 11, 12] == made


@dataclass(frozen=True)
class Sealing:
    """A task that needs what it may not have: it goes on without, or it fails."""

    fails: bool

    def __call__(self, vault: Vault, job: int) -> int:
        """Seal; the third job tries twice."""
        for _ in range(2 if job == 3 else 1):
            try:
                vault.seal("text", table="t", row=job, column="c")
            except KeyRefused:
                if self.fails:
                    raise
        return job


def suspend_sealing(bank: Bank) -> str:
    """Every seal is refused from now on. Gives the key's name."""
    handle = bank.hsm.find(SEALING_LABEL)
    bank.hsm.set_state(handle, KeyState.SUSPENDED)
    return bank.hsm.info(handle).name


@pytest.mark.parametrize("rows", [1, MANY])
async def test_what_a_worker_is_refused_is_logged_and_audited(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """As often as it was refused, whoever did the job; and nothing of it twice."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    key = suspend_sealing(bank)
    with capture_logs() as lines:
        async with Workers(bank, Sealing(fails=False), rows) as work:
            made = [one async for one in work.run(each(range(5)))]
    assert list(range(5)) == made
    assert [(key, "SEAL")] * 6 == [
        (line["key_name"], line["operation"]) for line in lines if line["event"] == "key_refused"
    ]
    assert 6 == await write_refusals(bank)
    assert [("refused", "", key, "hsm")] == await told(bank)
    assert [("SEAL", 6)] == [(one["refused"], one["times"]) for one in await details(bank)]


@pytest.mark.parametrize("rows", [1, MANY])
async def test_a_job_that_fails_tells_what_was_refused(bank: Bank, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """The error is the job's own; the refusal that it was made of is noted once."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    key = suspend_sealing(bank)

    async def work() -> None:
        async with Workers(bank, Sealing(fails=True), rows) as workers_:
            async for _ in workers_.run(each(range(1))):
                pass

    with pytest.raises(KeyRefused, match="may not do SEAL: it is SUSPENDED"):
        await work()
    assert 1 == await write_refusals(bank)
    assert [("refused", "", key, "hsm")] == await told(bank)


async def test_what_others_were_refused_counts_too(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs that were under way when one failed: nobody waits for what they make, yet nothing they were refused is lost."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    suspend_sealing(bank)

    async def work() -> None:
        async with Workers(bank, Sealing(fails=True), MANY) as workers_:
            await anext(workers_.run(each(range(2))))

    with pytest.raises(KeyRefused, match="SUSPENDED"):
        await work()
    assert 2 == await write_refusals(bank)


async def test_jobs_are_asked_for_when_there_is_room(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, only a few are under way."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    asked = 0

    def jobs() -> object:
        nonlocal asked
        for job in range(14, 40):
            asked += 1
            yield job

    async with Workers(bank, Doubled(1), MANY) as work:
        run = work.run(each(jobs()))  # type: ignore[arg-type]
        await anext(run)
        assert asked <= 2 + workers.AHEAD + 1
        await run.aclose()  # type: ignore[attr-defined]


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves no worker, though nobody told it to stop; and nothing of a worker is ever dumped."""
    settings = load_settings(data_dir=tmp_path / "var")
    open_keystore(settings)
    custody = custody_of(settings)
    script = textwrap.dedent(f"""
        import multiprocessing, time
        from concurrent.futures import ProcessPoolExecutor
        from pathlib import Path
        from gateway.operations import workers
        from gateway.operations.custody import Custody
        from keys.backend import Place
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            place = Place(Path({str(custody.place.keystore)!r}), Path({str(custody.place.master_key)!r}))
            pool = ProcessPoolExecutor(1, context, workers._begin, (Custody("software", place), print))
            pool.submit(time.monotonic).result()
            print(*pool._processes, flush=True)
            time.sleep(60)
    """)
    place = tmp_path / "parent.py"
    place.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(workers.__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(place)], stdout=subprocess.PIPE, text=True, env=environment) as parent:  # noqa: S603 - our own script
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert lives(worker)
        assert ["0", "0"] == core_limit(worker)
        parent.send_signal(signal.SIGKILL)
    for _ in range(200):
        if not lives(worker):
            break
        time.sleep(0.05)
    assert not lives(worker)


def lives(process: int) -> bool:
    """Whether there is such a process, and it has not ended. Of one that cannot be dumped root alone may read more."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
