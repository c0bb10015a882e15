"""Tests of gateway.terminals.forwarder: over TCP, with a partner that answers, is silent, hangs up or refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.operations import card as card_operations
from gateway.operations import outgoing
from gateway.operations.outgoing import LinkTerms
from gateway.rules.card import CardEvent
from gateway.rules.outgoing import OutgoingState
from gateway.store.link_locks import LinkLocks
from gateway.store.outgoing import Figures
from gateway.terminals.forwarder import Forwarder
from iso.errors import FormatError
from tests.gateway.owner import as_owner, one_value
from tests.gateway.partner import CLOSE, DROP, SILENT_CODE, Partner, hot_link, open_partner
from tests.gateway.world import activate, open_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from iso.message import Message
    from tests.gateway.world import Holder

ROOT = Path(__file__).resolve().parents[3]
LINK = hot_link()
KEYS = (2, 7, 11, 37, 60, 91, 101)
ALL_ENDED = "SELECT count(*) FROM outgoing_message WHERE state IN ('QUEUED', 'SENT')"


def _forwarder(bank: Bank, partner: Partner, locks: LinkLocks | None = None) -> Forwarder:
    return Forwarder(bank, LINK, partner.ask, partner.ready, locks or LinkLocks(bank.database.engine), 0.02)


@asynccontextmanager
async def _queue(bank: Bank, folder: Path, cards: int = 1) -> AsyncIterator[tuple[Partner, list[Holder]]]:
    """A partner that wants to know, and cards that were blocked one after the other."""
    families = await open_families(bank, folder, cards)
    await activate(bank, families)
    await outgoing.keep_links(bank, [LinkTerms("himbara", "HOTLIST", 3_600)])
    for one in families:
        await card_operations.change_state(bank, "siti", one.card_id, CardEvent.BLOCK, "as asked")
    async with open_partner() as partner:
        yield partner, families


async def _states(bank: Bank) -> list[tuple[str, int, str | None]]:
    rows = await as_owner(bank, "SELECT state, attempts, answer_code FROM outgoing_message ORDER BY id")
    return [tuple(row) for row in rows]


async def _until_ended(bank: Bank, forwarder: Forwarder) -> None:
    """Forward until nothing waits."""
    forwarder.start()
    for _ in range(1_000):
        if not await one_value(bank, ALL_ENDED):
            break
        await asyncio.sleep(0.02)
    await forwarder.close()
    assert 0 == await one_value(bank, ALL_ENDED)


async def test_what_is_queued_is_sent_in_order_and_answered(bank: Bank, tmp_path: Path) -> None:
    """One after the other, each once, as first sendings; figures and the audit chain tell of it."""
    async with _queue(bank, tmp_path, 3) as (partner, families):
        forwarder = _forwarder(bank, partner)
        before = await forwarder.figures()
        assert (3, 0, 0, 0) == (before.waiting, before.head_attempts, before.refused, before.expired)
        assert before.head_age_s is not None
        await _until_ended(bank, forwarder)
        assert ["0302"] * 3 == partner.types
        assert [one.pan.reveal() for one in families] == [message.get(2) for message in partner.received]
        assert [("ANSWERED", 1, "00")] * 3 == await _states(bank)
        assert Figures("himbara", 0, None, 0, 0, 0) == await forwarder.figures()
    events = await as_owner(bank, "SELECT actor, detail FROM audit_event WHERE operation = 'outgoing' ORDER BY seq")
    assert ["link himbara"] * 3 == [event.actor for event in events]
    assert all('"event":"ANSWERED"' in event.detail for event in events)


@pytest.mark.parametrize("act", [DROP, CLOSE, "91", SILENT_CODE])
async def test_no_answer_for_good_is_repeated(bank: Bank, tmp_path: Path, act: str) -> None:
    """After silence, a lost connection, 91 or an answer without DE39 the same message goes again as 0303; the next one waits."""
    async with _queue(bank, tmp_path, 2) as (partner, families):
        partner.acts = [act, act]
        await _until_ended(bank, _forwarder(bank, partner))
        assert ["0302", "0303", "0303", "0302"] == partner.types
        first = [[message.get(number) for number in KEYS] for message in partner.received[:3]]
        assert [first[0]] * 3 == first
        assert families[1].pan.reveal() == partner.received[3].get(2)
        assert [("ANSWERED", 3, "00"), ("ANSWERED", 1, "00")] == await _states(bank)


async def test_a_repeat_that_had_arrived_is_done(bank: Bank, tmp_path: Path) -> None:
    """94 to a repeat says that the first one arrived; to a first sending it is a refusal."""
    async with _queue(bank, tmp_path, 2) as (partner, _):
        partner.acts = [DROP, "94", "94"]
        await _until_ended(bank, _forwarder(bank, partner))
        assert [("ANSWERED", 2, "94"), ("REFUSED", 1, "94")] == await _states(bank)


async def test_a_refusal_goes_to_people_and_the_next_goes_on(bank: Bank, tmp_path: Path) -> None:
    """REFUSED with its code, counted among the figures; sent again by a person as a new message."""
    async with _queue(bank, tmp_path, 2) as (partner, _):
        partner.acts = ["57"]
        forwarder = _forwarder(bank, partner)
        await _until_ended(bank, forwarder)
        assert [("REFUSED", 1, "57"), ("ANSWERED", 1, "00")] == await _states(bank)
        assert Figures("himbara", 0, None, 0, 1, 0) == await forwarder.figures()
        await outgoing.retry(bank, "siti", 1, "they have mended it")
        await _until_ended(bank, forwarder)
        assert ["0302", "0302", "0302"] == partner.types
        assert partner.received[0].get(11) != partner.received[2].get(11)
        assert partner.received[0].get(2) == partner.received[2].get(2)
        assert [("ANSWERED", 1, "00")] * 2 == await _states(bank)


async def test_what_is_too_old_is_not_sent(bank: Bank, tmp_path: Path) -> None:
    """EXPIRED, seen by people, and the next one goes; also while the partner is away. Sent again it is a repeat of itself."""
    async with _queue(bank, tmp_path, 2) as (partner, _):
        partner.acts = [DROP]
        forwarder = _forwarder(bank, partner)
        assert await forwarder.step()
        partner.up = False
        assert not await forwarder.step()
        await as_owner(bank, "UPDATE outgoing_message SET expires_at = now() WHERE id = 1")
        assert not await forwarder.step()
        assert [("EXPIRED", 1, None), ("QUEUED", 0, None)] == await _states(bank)
        partner.up = True
        await _until_ended(bank, forwarder)
        assert ["0302", "0302"] == partner.types
        await outgoing.retry(bank, "siti", 1, "they are back")
        await _until_ended(bank, forwarder)
        assert "0303" == partner.types[-1]
        assert partner.received[0].fields == partner.received[-1].fields
    assert 1 == await one_value(bank, 'SELECT count(*) FROM audit_event WHERE detail LIKE \'%"event":"EXPIRED"%\'')


async def test_nothing_is_sent_while_the_link_is_not_ready(bank: Bank, tmp_path: Path) -> None:
    """A partner that is not signed on gets nothing, and no attempt is counted."""
    async with _queue(bank, tmp_path) as (partner, _):
        partner.up = False
        forwarder = _forwarder(bank, partner)
        assert not await forwarder.step()
        assert ([], [("QUEUED", 0, None)]) == (partner.types, await _states(bank))
        partner.up = True
        assert await forwarder.step()
        assert [("ANSWERED", 1, "00")] == await _states(bank)


async def test_a_message_its_dialect_cannot_say_is_refused(bank: Bank, tmp_path: Path) -> None:
    """It never will: people see it, and the queue goes on. A bug is tried again later, and stops nothing."""

    async def unwritable(_message: Message, _timeout_s: float) -> Message:
        raise FormatError(101, "is not in dialect edc")

    async def bug(_message: Message, _timeout_s: float) -> Message:
        raise ZeroDivisionError

    async with _queue(bank, tmp_path, 2):
        locks = LinkLocks(bank.database.engine)
        assert await Forwarder(bank, LINK, unwritable, lambda: True, locks).step()
        assert await Forwarder(bank, LINK, bug, lambda: True, locks).step()
    rows = await as_owner(bank, "SELECT state, trouble, next_at IS NULL FROM outgoing_message ORDER BY id")
    assert [
        ("REFUSED", "cannot be written: field 101: is not in dialect edc", True),
        ("SENT", "failed: ZeroDivisionError", False),
    ] == [tuple(row) for row in rows]


async def test_a_message_that_does_not_open_waits(bank: Bank, tmp_path: Path) -> None:
    """A sealed value that was tampered with is not sent; the reason is kept with it."""
    async with _queue(bank, tmp_path) as (partner, _):
        await as_owner(bank, "UPDATE outgoing_message SET content = 'nothing'")
        assert await _forwarder(bank, partner).step()
        assert ([], [("SENT", 1, None)]) == (partner.types, await _states(bank))
    assert "sealed" in await one_value(bank, "SELECT trouble FROM outgoing_message")


async def test_a_database_that_is_away_stops_nothing(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task goes on when it is back."""
    async with _queue(bank, tmp_path) as (partner, _):
        forwarder = _forwarder(bank, partner)
        step, calls = Forwarder.step, []

        async def away(self: Forwarder) -> bool:
            calls.append(1)
            if len(calls) < 3:
                raise ConnectionRefusedError
            return await step(self)

        monkeypatch.setattr(Forwarder, "step", away)
        await _until_ended(bank, forwarder)
        assert ["0302"] == partner.types


async def test_a_reject_ends_what_is_on_its_way(bank: Bank, tmp_path: Path) -> None:
    """A reject comes while an answer is waited for: the message is REFUSED, and the time-out that follows changes nothing."""
    async with _queue(bank, tmp_path) as (partner, _):
        partner.acts = [DROP]
        sending = asyncio.create_task(_forwarder(bank, partner).step())
        await asyncio.wait_for(partner.arrived.wait(), 10)
        sent = await outgoing.rejected(bank, "himbara", partner.received[0].fields[11], "30", "field 60")
        assert sent is not None
        assert await sending
        assert [("REFUSED", 1, "30")] == await _states(bank)
        assert await outgoing.rejected(bank, "himbara", partner.received[0].fields[11], "30", "again") is None


async def test_two_processes_send_each_message_once(bank: Bank, bank_settings: Settings, tmp_path: Path) -> None:
    """Two forwarders with their own locks and connections: one at a time, in order, nothing twice, nothing lost."""
    async with _queue(bank, tmp_path, 6) as (partner, families), open_bank(bank_settings) as other:
        forwarders = [_forwarder(bank, partner), _forwarder(other, partner)]
        for one in forwarders:
            one.start()
        await _until_ended(bank, forwarders[0])
        await forwarders[1].close()
        assert ["0302"] * 6 == partner.types
        assert [one.pan.reveal() for one in families] == [message.get(2) for message in partner.received]


async def test_a_second_process_waits_for_the_first(bank: Bank, bank_settings: Settings, tmp_path: Path) -> None:
    """While one waits for its answer the other sends nothing."""
    async with _queue(bank, tmp_path, 2) as (partner, _), open_bank(bank_settings) as other:
        partner.acts = [DROP]
        sending = asyncio.create_task(_forwarder(bank, partner).step())
        await asyncio.wait_for(partner.arrived.wait(), 10)
        assert not await _forwarder(other, partner).step()
        assert await sending
        assert ["0302"] == partner.types


@pytest.mark.parametrize("point", ["marked", "sent", "answered"])
async def test_killed_anywhere_it_is_sent_as_a_repeat(
    bank: Bank, bank_settings: Settings, tmp_path: Path, point: str
) -> None:
    """SIGKILL after it was marked, after it left, and after its answer came but before that was written: 0303, the same keys."""
    async with _queue(bank, tmp_path, 2) as (partner, _):
        partner.acts = [DROP] if point == "sent" else []
        await _killed(bank_settings, partner, point)
        sent_before = 0 if point == "marked" else 1
        assert sent_before == len(partner.received)
        assert [("SENT", 1, None), ("QUEUED", 0, None)] == await _states(bank)
        await _until_ended(bank, _forwarder(bank, partner))
        assert ["0302"] * sent_before + ["0303", "0302"] == partner.types
        assert [partner.received[-2].fields] * sent_before == [one.fields for one in partner.received[:sent_before]]
        assert [("ANSWERED", 2, "00"), ("ANSWERED", 1, "00")] == await _states(bank)


async def _killed(settings: Settings, partner: Partner, point: str) -> None:
    """Another process forwards, and is killed at POINT."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KKS_")} | {
        "KKS_DATABASE_URL": str(settings.database_url), "KKS_DATA_DIR": str(settings.data_dir), "PYTHONPATH": str(ROOT),
        "COVERAGE_PROCESS_START": "",
    }  # fmt: skip
    host, port = partner.address
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gateway.forward_and_die", host, str(port), point, cwd=settings.data_dir, env=environment,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert f"{point}\n".encode() == await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert -signal.SIGKILL == process.returncode


def test_states_are_those_of_the_database() -> None:
    """The states that the rule knows are those the table lets in."""
    script = (ROOT / "gateway/migrations/sql/0007_outgoing.sql").read_text(encoding="utf-8")
    assert f"({', '.join(repr(state.value) for state in OutgoingState)})" in script
