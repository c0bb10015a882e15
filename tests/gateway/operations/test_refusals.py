"""Tests of gateway.operations.refusals: a refused use of a key is in the log at once and in the audit chain soon."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import SQLAlchemyError
from structlog.testing import capture_logs

from gateway.app import open_bank, run_service
from gateway.operations import key_watch, refusals
from gateway.operations.custody import SEALING_LABEL
from gateway.operations.refusals import Refusals, write_refusals
from gateway.settings import load_settings
from gateway.store import audit
from gateway.telemetry import mask
from gateway.testlink import ensure_test_link
from keys.errors import KeyRefused
from keys.keytypes import KeyState
from keys.permissions import Operation
from keys.toolbox import Refusal
from tests.gateway.rites import details, told
from tests.gateway.street import assert_proved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

ONE = Refusal("zpk#1", Operation.DECIPHER_PIN, "key zpk#1 may not")
OTHER = Refusal("zpk#2", Operation.DECIPHER_PIN, "key zpk#2 may not")
AWAY = SQLAlchemyError("the database is away")


def refuse(bank: Bank, times: int = 1) -> str:
    """Ask a key for what it may not do. Gives the reason."""
    reason = ""
    for _ in range(times):
        with pytest.raises(KeyRefused) as caught:
            bank.hsm.mac(bank.hsm.find(SEALING_LABEL), b"data")
        reason = str(caught.value)
    return reason


async def test_a_refused_use_is_logged_and_written(bank: Bank) -> None:
    """Key, operation and reason, in the log at once, with a number in the chain after; the caller has its error."""
    with capture_logs() as lines:
        reason = refuse(bank, 3)
    line = {"event": "key_refused", "log_level": "warning", "key_name": "vault-sealing#1"}
    line |= {"operation": "MAKE_MAC", "reason": reason}
    assert [line] * 3 == lines
    assert line == mask(None, "", dict(line))  # what is never logged are keys, not their names
    assert [] == await told(bank)
    assert 3 == await write_refusals(bank)
    assert [("refused", "", "vault-sealing#1", "hsm")] == await told(bank)
    assert [{"refused": "MAKE_MAC", "reason": reason, "times": 3}] == await details(bank)
    assert "vault-sealing#1 (usage D0, mode B) may not do MAKE_MAC" in reason
    await assert_proved(bank)


async def test_each_kind_once(bank: Bank) -> None:
    """As many events as there are keys, operations and reasons; nothing is written twice, and nothing for nothing."""
    assert 0 == await write_refusals(bank)
    refuse(bank, 2)
    bank.hsm.set_state(bank.hsm.find("vault-index"), KeyState.SUSPENDED)
    for _ in range(4):
        with pytest.raises(KeyRefused, match="it is SUSPENDED"):
            bank.vault.index("1", "nik")
    with pytest.raises(KeyRefused):
        bank.hsm.mac("no handle", b"data")  # type: ignore[arg-type]
    assert 7 == await write_refusals(bank)
    found = zip(await told(bank), await details(bank), strict=True)
    written = [(key, one["refused"], one["times"]) for (_, _, key, _), one in found]
    assert [
        ("no handle", "MAKE_MAC", 1),
        ("vault-index#1", "BLIND_INDEX", 4),
        ("vault-sealing#1", "MAKE_MAC", 2),
    ] == written
    assert 0 == await write_refusals(bank)
    assert 3 == len(await told(bank))


async def test_a_compromised_audit_key_cannot_hide_itself(bank: Bank) -> None:
    """What cannot be written, since the audit key itself is refused, is kept, and grows by that refusal."""
    refuse(bank)
    bank.hsm.set_state(bank.keys.audit, KeyState.SUSPENDED)
    for times in (1, 2):
        with pytest.raises(KeyRefused):
            await write_refusals(bank)
        assert times + 1 == sum(bank.refusals._counts.values())
    bank.hsm.set_state(bank.keys.audit, KeyState.ACTIVE)
    assert 3 == await write_refusals(bank)
    assert [("vault-sealing#1", 1), ("audit#1", 2)][::-1] == sorted(
        (key, one["times"]) for (_, _, key, _), one in zip(await told(bank), await details(bank), strict=True)
    )


@pytest.mark.parametrize(
    "error", [AWAY, ConnectionRefusedError(), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)
async def test_what_could_not_be_written_is_put_back(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The database is away, or the process is told to stop: nothing is forgotten, what comes meanwhile is added."""
    reason = refuse(bank, 2)

    def fail(*_: object) -> None:
        refuse(bank)  # one more, while the others are out
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(refusals, "transaction", fail)
        with pytest.raises(type(error)):
            await write_refusals(bank)
    assert 3 == await write_refusals(bank)
    assert [{"refused": "MAKE_MAC", "reason": reason, "times": 3}] == await details(bank)


async def test_half_a_write_is_none(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two events fails: neither is there, and both are written later."""
    bank.refusals.note(ONE)
    bank.refusals.note(OTHER)
    append, calls = audit.append, []

    async def failing(*words: Any) -> None:  # noqa: ANN401 - whatever append takes
        calls.append(words)
        if len(calls) == 2:
            raise AWAY
        await append(*words)

    with monkeypatch.context() as patched:
        patched.setattr(audit, "append", failing)
        with pytest.raises(SQLAlchemyError):
            await write_refusals(bank)
    assert [] == await told(bank)
    assert 2 == await write_refusals(bank)
    assert ["zpk#1", "zpk#2"] == [key for _, _, key, _ in await told(bank)]


def test_threads_lose_none() -> None:
    """Noted from many threads while another takes."""
    notes, taken = Refusals(), 0

    def note() -> None:
        for _ in range(500):
            notes.note(ONE)

    workers = [threading.Thread(target=note) for _ in range(4)]
    with capture_logs():
        for one in workers:
            one.start()
        while any(one.is_alive() for one in workers):
            taken += notes.take().total()
        for one in workers:
            one.join()
    assert 2_000 == taken + notes.take().total()
    assert 0 == notes.take().total()


async def test_what_a_partner_brings_about_is_written_once_a_minute(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first at once, then all of its kind together; another kind has its own minute; nothing is lost at the end."""
    now = 1_000.0
    monkeypatch.setattr(refusals, "monotonic", lambda: now)
    bank.refusals.note_of_peer(ONE)
    assert 1 == await write_refusals(bank)
    for _ in range(3):
        bank.refusals.note_of_peer(ONE)
    bank.refusals.note_of_peer(OTHER)
    now += refusals.PEER_EVERY_S - 0.1
    assert [1, 0] == [await write_refusals(bank) for _ in range(2)]
    now += 0.1
    assert 3 == await write_refusals(bank)
    bank.refusals.note_of_peer(ONE)
    assert (0, 1) == (await write_refusals(bank), await write_refusals(bank, every=True))
    assert [("zpk#1", 1), ("zpk#2", 1), ("zpk#1", 3), ("zpk#1", 1)] == [
        (key, one["times"]) for (_, _, key, _), one in zip(await told(bank), await details(bank), strict=True)
    ]


async def test_a_command_writes_them_when_it_ends(bank_settings: Settings) -> None:
    """Also where it ended badly."""
    with suppress(ZeroDivisionError):
        async with open_bank(bank_settings) as bank:
            refuse(bank)
            raise ZeroDivisionError
    async with open_bank(bank_settings) as again:
        assert [("refused", "", "vault-sealing#1", "hsm")] == await told(again)


async def test_a_command_without_its_database_ends_as_it_would(
    bank_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database went away: what the command said stays what is seen, and the log says how many were not written."""

    def away(*_: object) -> None:
        raise AWAY

    async def work(bank: Bank) -> None:
        refuse(bank, 2)
        monkeypatch.setattr(refusals, "transaction", away)
        raise ZeroDivisionError

    async def command() -> None:
        async with open_bank(bank_settings) as bank:
            await work(bank)

    with capture_logs() as lines:
        with pytest.raises(ZeroDivisionError):
            await command()
        async with open_bank(bank_settings) as bank:
            refuse(bank)
    said = [(line["refusals"], line["error"]) for line in lines if line["event"] == "refusals_not_written"]
    assert [(2, "SQLAlchemyError"), (1, "SQLAlchemyError")] == said


async def test_a_service_writes_them_while_it_runs(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within moments; a database that is away for a while only makes it later; the keys that are loaded go on working."""
    ensure_test_link(bank)
    monkeypatch.setattr(key_watch, "KEY_WATCH_S", 0.01)
    tries: list[str] = []

    def away(*_: object) -> None:
        tries.append("away")
        raise AWAY

    with capture_logs() as lines:
        async with run_service(bank, jobs=False):
            refuse(bank)
            await _until(lambda: _written(bank))
            with monkeypatch.context() as patched:
                patched.setattr(refusals, "transaction", away)
                refuse(bank)
                await _until(lambda: _enough(tries))
                refuse(bank)
            await _until(lambda: _written(bank, 3))
    assert [1, 2] == [one["times"] for one in await details(bank)]
    assert ["refusals_held_back"] == [line["event"] for line in lines if line["log_level"] == "error"]
    await assert_proved(bank)


async def test_the_database_is_really_away(tmp_path: Path) -> None:
    """PostgreSQL is stopped and started again under an open bank."""
    settings = load_settings(data_dir=tmp_path / "var", log_level="error")
    async with open_bank(settings) as bank:
        assert bank.database.embedded is not None
        refuse(bank)
        bank.database.embedded.stop()
        with pytest.raises((SQLAlchemyError, OSError)):
            await write_refusals(bank)
        bank.database.embedded.start()
        await bank.database.engine.dispose()
        assert 1 == await write_refusals(bank)
        assert [("refused", "", "vault-sealing#1", "hsm")] == await told(bank)


async def _written(bank: Bank, times: int = 1) -> bool:
    return times == sum(int(one["times"]) for one in await details(bank))


async def _enough(tries: list[str]) -> bool:
    return len(tries) > 2


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1_000):
        if await done():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError
