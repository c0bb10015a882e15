"""Tests of gateway.terminals.incoming: what becomes of a request is counted and told, whatever it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.operations.authorise import Outcome
from gateway.rules.authorise import DeclineReason
from gateway.terminals import mapping
from gateway.terminals.incoming import ABANDONED, EXPIRED, FAILED, UNDECIDED
from tests.gateway.terminals.counterpart import Heard, HeldLanes, a_line, a_link, at_the_line, cash, reversal, until

if TYPE_CHECKING:
    from gateway.terminals.line import Line

APPROVED = Outcome(DeclineReason.APPROVED, "00", "123456", None)


def _held(**changes: object) -> tuple[HeldLanes, Heard, Line]:
    lanes, heard = HeldLanes(), Heard()
    return lanes, heard, a_line(a_link(sign_on_required=False, **changes), lanes, events=heard)


async def test_an_answered_request() -> None:
    """Its kind, what was answered, and its time, in the event and among the answer times."""
    lanes, heard, line = _held()
    async with at_the_line(line) as partner:
        await partner.send(cash(1))
        await lanes.hold(1)
        assert [] == heard.lines
        lanes.release()
        assert "00" == (await partner.receive()).get(39)
        (event,) = await heard.has(1)
    assert ("CASH", "ATM", "00", "APPROVED", "000001") == tuple(
        event[name] for name in ("kind", "channel", "code", "reason", "de11")
    )
    assert 1 == sum(line.counters.times["CASH"])
    assert "stopped" not in event


async def test_nobody_waits_any_more() -> None:
    """Gone before it was decided, or too old: told with the reason, and nothing of an answer."""
    lanes, heard, line = _held(answer_timeout_s=0.05)
    async with at_the_line(line) as partner:
        await partner.send(cash(1))
        await lanes.hold(1)
        await asyncio.sleep(0.06)
        lanes.release()
        await partner.send(cash(2))
        await lanes.hold(1)
        await partner.hang_up()
        await until(lambda: not line.connections)
        lanes.release()
        found = await heard.has(2)
    assert [EXPIRED, ABANDONED] == [one["stopped"] for one in found]
    assert [["read", "queued"]] * 2 == [list(one["steps"]) for one in found]
    assert not any({"code", "reason"} & set(one) for one in found)
    assert (1, 1) == (line.counters.expired, line.counters.abandoned)


async def test_an_answer_that_finds_nobody() -> None:
    """A reversal is done all the same: what was decided is told, and that nobody was told of it."""
    lanes, heard, line = _held()
    async with at_the_line(line) as partner:
        await partner.send(reversal())
        await lanes.hold(1)
        await partner.hang_up()
        await until(lambda: not line.connections)
        lanes.release()
        (event,) = await heard.has(1)
    assert ("gone", "APPROVED", None) == (event["stopped"], event["reason"], event.get("code"))
    assert (1, {}) == (line.counters.unsent, line.counters.answered)


async def test_no_honest_answer() -> None:
    """Nobody knows whether it was committed: counted, told, not answered."""
    lanes, heard, line = _held()
    async with at_the_line(line) as partner:
        await partner.send(cash(1))
        await lanes.hold(1)
        _, answer, _ = lanes.held.pop()
        answer(None)
        (event,) = await heard.has(1)
    assert (UNDECIDED, 1) == (event["stopped"], line.counters.undecided)


@pytest.mark.parametrize(
    ("outcome", "stopped"), [(APPROVED._replace(response_code="é"), "unwritable"), (APPROVED, FAILED)]
)
async def test_an_answer_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, stopped: str) -> None:
    """What the dialect cannot say, and a bug of ours: one event, with what was decided."""
    lanes, heard, line = _held()
    if stopped == FAILED:
        monkeypatch.setattr(mapping, "to_answer", _bug)
    async with at_the_line(line) as partner:
        await partner.send(cash(1))
        await lanes.hold(1)
        _, answer, _ = lanes.held.pop()
        try:
            answer(outcome)
        except ZeroDivisionError:
            assert FAILED == stopped
        (event,) = await heard.has(1)
    assert (stopped, "APPROVED", None) == (event["stopped"], event["reason"], event.get("code"))


def _bug(*_: object) -> None:
    raise ZeroDivisionError


async def test_without_a_log_nothing_is_told() -> None:
    """Everything is counted all the same."""
    lanes = HeldLanes()
    line = a_line(a_link(sign_on_required=False), lanes)
    async with at_the_line(line) as partner:
        await partner.send(cash(1), cash(2))
        await lanes.hold(2)
        lanes.release()
        _, answer, _ = lanes.held.pop()
        answer(None)
        assert "00" == (await partner.receive()).get(39)
    assert ({"00": 1}, 1, 0) == (line.counters.answered, line.counters.undecided, line.in_flight)
