"""Tests of gateway.terminals.transaction_log: one event a message, its shape, its steps, and what is left out."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.operations import lane as lane_module
from gateway.operations.authorise import Outcome
from gateway.operations.lane import STEPS, Passage
from gateway.rules.authorise import DeclineReason, Request, RequestKind
from gateway.rules.purse import Channel, PurseChoice
from gateway.settings import load_settings
from gateway.simulator.switch import NetworkCode
from gateway.simulator.terminal import Asked, track2
from gateway.telemetry import NEVER_LOGGED, Outlet
from gateway.terminals.transaction_log import AGAIN_S, Decided, Told, TransactionLog, lines_of, transaction_log
from iso.message import Message
from tests.gateway.operations.test_lane import lose_commits
from tests.gateway.street import framed, open_street, raw_link
from tests.gateway.terminals.counterpart import CASH, ECHO, Heard, cash, until

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

STAMP = "2026-11-28T22:56:34.123456Z"
REQUEST = Request(RequestKind.CASH, Channel.ATM, "6011", PurseChoice.BY_RULE, 50_000, b"", "000002:A0000001")
OUTCOME = Outcome(DeclineReason.APPROVED, "00", "123456", None)
ALL_STEPS = ["read", "queued", *STEPS, "answered"]


def _passage(*spans: float, formed: float = 10.003, attempts: int = 1, began: float | None = None) -> Passage:
    at = began or formed
    stamps = [at := at + span for span in spans]
    return Passage(1, 7, formed, attempts, began or formed, stamps)


SIX = (0.001, 0.002, 0.003, 0.0005, 0.004, 0.006)


def _one(told: Told | Decided) -> dict[str, Any]:
    (line,) = lines_of([told], STAMP)
    found: dict[str, Any] = json.loads(line)
    return found


def test_an_event_in_full() -> None:
    """Every field of one that was decided, by name, and its steps in the order they happened."""
    found = _one(Decided("himbara", cash(7), 10.0, 10.02, REQUEST, OUTCOME, 10.001, _passage(*SIX)))
    fields = {f"de{number}": value for number, value in CASH.items() if number != 52} | {"de2": "601301******0018"}
    assert found == fields | {
        "event": "transaction", "level": "info", "timestamp": STAMP, "link": "himbara", "mti": "0200", "kind": "CASH",
        "channel": "ATM", "code": "00", "reason": "APPROVED", "replayed": False, "lane": 1, "group": 7, "ms": 20.0,
        "steps": {
            "read": 1.0, "queued": 2.0, "locked": 1.0, "loaded": 2.0, "checked": 3.0, "decided": 0.5, "written": 4.0,
            "committed": 6.0, "answered": 0.5,
        },
    }  # fmt: skip
    assert (sorted(found), ALL_STEPS) == (list(found), list(found["steps"]))


@given(
    spans=st.lists(st.floats(0, 2), min_size=9, max_size=9),
    replayed=st.booleans(),
    reason=st.sampled_from([DeclineReason.APPROVED, DeclineReason.PIN_WRONG]),
    stan=st.sampled_from(["000001", '"', "\\", "é\n"]),
)
def test_the_short_way_makes_the_same_line(
    spans: list[float], *, replayed: bool, reason: DeclineReason, stan: str
) -> None:
    """As the long one, and in both the steps add up to the total."""
    formed = 10.0 + spans[0] + spans[1]
    passage = _passage(*spans[2:8], formed=formed)
    ended = passage.stamps[-1] + spans[8]
    outcome = OUTCOME._replace(replayed=replayed, reason=reason)
    message = Message("0200", CASH | {11: stan})
    decided = Decided("himbara", message, 10.0, ended, REQUEST, outcome, 10.0 + spans[0], passage)
    told = Told(
        "himbara", message, 10.0, ended, "00", request=REQUEST, outcome=outcome, read=decided.read, passage=passage
    )
    assert lines_of([told], STAMP) == lines_of([decided], STAMP)
    found = _one(decided)
    assert round(found["ms"] * 1_000) == sum(round(step * 1_000) for step in found["steps"].values())


async def test_what_was_stood_in_for_says_so() -> None:
    """With its reason, at its place in the line; and is told where only trouble is."""
    passage, outcome = _passage(), OUTCOME._replace(stand_in=1003)
    told = Told("himbara", cash(7), 10.0, 10.02, "00", request=REQUEST, outcome=outcome, read=10.001, passage=passage)
    found = _one(told)
    assert 1003 == found["stand_in"]
    assert sorted(found) == list(found)
    heard = Heard(every=False, slow_ms=500)
    heard.tell(told)
    await asyncio.sleep(0)
    assert [1003] == [one["stand_in"] for one in heard.lines]


NO_PASSAGE = dict.fromkeys(("group", "lane", "attempts"))


@pytest.mark.parametrize(
    ("told", "steps", "rest"),
    [
        (
            Told("l", None, 1.0, 1.002, "30", "unreadable", "message: MTI must be 4 digits"),
            {"read": 2.0},
            {"stopped": "unreadable", "code": "30", "why": "message: MTI must be 4 digits", "mti": None, "kind": None},
        ),
        (
            Told("l", ECHO, 1.0, 1.002, "00", marks=(("answered", 1.002),)),
            {"answered": 2.0},
            {"kind": "NETWORK", "code": "00", "de70": "301", "stopped": None},
        ),
        (
            Told("l", Message("0500", {}), 1.0, 1.004, "95", marks=(("read", 1.001), ("served", 1.003), ("answered", 1.004))),
            {"read": 1.0, "served": 2.0, "answered": 1.0},
            {"kind": "TOTALS", "mti": "0500"},
        ),
        (
            Told("l", cash(1), 1.0, 1.002, "91", request=REQUEST, outcome=OUTCOME),
            {"read": 2.0},
            {"kind": "CASH", **NO_PASSAGE},
        ),
        (
            Told("l", cash(1), 1.0, 1.005, None, "expired", request=REQUEST, read=1.002),
            {"read": 2.0, "queued": 3.0},
            {"stopped": "expired", "code": None, "reason": None, **NO_PASSAGE},
        ),
        (
            Told("l", cash(1), 1.0, 1.008, None, "undecided", request=REQUEST, read=1.002,
                 passage=_passage(0.001, formed=1.003, attempts=5, began=1.004)),
            {"read": 2.0, "queued": 1.0, "failed": 5.0},
            {"stopped": "undecided", "attempts": 5, "group": 7, "lane": 1},
        ),
        (
            Told("l", cash(1), 1.0, 1.009, "00", request=REQUEST, outcome=OUTCOME, read=1.001,
                 passage=_passage(*[0.0005] * 6, formed=1.002, attempts=2, began=1.005)),
            {"read": 1.0, "queued": 1.0, "failed": 3.0, **dict.fromkeys(STEPS, 0.5), "answered": 1.0},
            {"attempts": 2, "stopped": None, "reason": "APPROVED"},
        ),
        (
            Told("l", cash(1), 1.0, 1.009, "96", request=REQUEST, outcome=OUTCOME, read=1.001,
                 passage=_passage(formed=1.002, attempts=1, began=1.008)),
            {"read": 1.0, "queued": 1.0, "failed": 6.0, "answered": 1.0},
            {"attempts": None},
        ),
        (
            Told("l", cash(1), 1.0, 1.009, None, "gone", request=REQUEST, outcome=OUTCOME, read=1.001,
                 passage=_passage(*[0.001] * 6, formed=1.002)),
            {"read": 1.0, "queued": 1.0, **dict.fromkeys(STEPS, 1.0), "answered": 1.0},
            {"stopped": "gone", "reason": "APPROVED", "code": None},
        ),
        (
            Told("l", Message("0302", {2: CASH[2]}), 1.0, 2.0, None, "timed out", marks=(("answered", 2.0),), ours=True),
            {"answered": 1000.0},
            {"ours": True, "kind": "FILE_ACTION", "de2": "601301******0018"},
        ),
    ],
    ids=["unreadable", "echo", "errand", "overload", "expired", "undecided", "again", "failed", "unsent", "ours"],
)  # fmt: skip
def test_what_went_another_way(told: Told, steps: dict[str, float], rest: dict[str, object]) -> None:
    """What stopped it, and the steps it did go through, one behind the other; nothing is said of what it never had."""
    found = _one(told)
    assert (list(steps), rest) == (list(found["steps"]), {name: found.get(name) for name in rest})
    assert steps == pytest.approx(found["steps"], abs=0.0011)
    assert sorted(found) == list(found)
    assert not NEVER_LOGGED & set(found)


def test_members_of_groups_side_by_side_have_each_the_steps_of_their_own() -> None:
    """The steps of a group are made once, and never told of another's members."""
    first, second = _passage(*SIX), _passage(*[0.001] * 6)
    told = [
        Decided("l", cash(n), 10.0, 10.1, REQUEST, OUTCOME, 10.001, passage)
        for n, passage in enumerate((first, first, second, first))
    ]
    found = [json.loads(line)["steps"]["committed"] for line in lines_of(told, STAMP)]
    assert [6.0, 6.0, 1.0, 6.0] == found


@pytest.mark.parametrize(
    ("told", "trouble"),
    [
        (Decided("l", cash(1), 1.0, 1.4, REQUEST, OUTCOME, 1.0, _passage(*SIX)), False),
        (Decided("l", cash(1), 1.0, 1.5, REQUEST, OUTCOME, 1.0, _passage(*SIX)), True),
        (
            Decided("l", cash(1), 1.0, 1.1, REQUEST, OUTCOME._replace(reason=DeclineReason.PIN_WRONG), 1, _passage(*SIX)),
            False,
        ),
        (Decided("l", cash(1), 1.0, 1.1, REQUEST, OUTCOME._replace(reason=DeclineReason.OVERLOAD), 1, _passage()), True),
        (Told("l", ECHO, 1.0, 1.1, "00"), False),
        (Told("l", cash(1), 1.0, 1.1, "96"), True),
        (Told("l", cash(1), 1.0, 1.1, "12", "refused"), True),
        (Told("l", cash(1), 1.0, 1.1, "00", request=REQUEST, outcome=OUTCOME, passage=_passage(*SIX, attempts=2)), True),
    ],
    ids=["right", "slow", "declined", "overload", "echo", "failed", "refused", "again"],
)  # fmt: skip
async def test_those_in_trouble(told: Told | Decided, *, trouble: bool) -> None:
    """Slow, refused before it was decided, tried again, or not possible: those alone where the setting says so."""
    heard, every = Heard(every=False, slow_ms=500), Heard()
    for log in (heard, every):
        log.tell(told)
        await asyncio.sleep(0)
    assert (int(trouble), 1) == (len(heard.lines), len(every.lines))


async def test_the_guard_looks_at_events_too() -> None:
    """What a partner puts into a field that is told plainly is masked where it looks like a card or a key."""
    heard = Heard()
    card, key = "6013010000000018", "0123456789ABCDEF"
    heard.tell(
        Told("l", Message("0200", {42: card, 37: key, 11: "000007"}), 1.0, 1.1, "30", "wrong", f"field 2: {card}")
    )
    await asyncio.sleep(0)
    assert not any(secret in heard.file.getvalue() for secret in (card, key))
    assert ("601301***0018", "[hex]", "000007") == tuple(heard.lines[0][name] for name in ("de42", "de37", "de11"))


async def test_events_of_a_turn_leave_in_one_write_behind_the_answers() -> None:
    """Nothing is written while a turn of the loop goes on."""
    heard = Heard()
    for number in range(5):
        heard.tell(Told("l", cash(number), 1.0, 1.1, "91", "full"))
    assert [] == heard.lines
    await asyncio.sleep(0)
    assert [f"{number:06d}" for number in range(5)] == [line["de11"] for line in heard.lines]
    assert 1 == len({line["timestamp"] for line in heard.lines})


async def test_what_was_lost_is_told_when_somebody_reads_again() -> None:
    """A pipe that nobody empties holds up nobody: the number of lost events is an event itself."""
    reads, writes = os.pipe()
    os.set_blocking(reads, False)
    with os.fdopen(writes, "w", encoding="utf-8") as file, os.fdopen(reads, "rb", buffering=0) as reader:
        log = TransactionLog(Outlet(file))
        for _ in range(60):
            for number in range(100):
                log.tell(Told("l", cash(number), 1.0, 1.1, "91", "full"))
            await asyncio.sleep(0)
        assert 0 < log.lost < 6_000
        found = b""
        async with asyncio.timeout(10):
            while b"transactions.lost" not in found:
                found += reader.read(65_536) or b""
                await asyncio.sleep(AGAIN_S)
        log.close()
        *events, last = [json.loads(line) for line in found.splitlines()]
        assert (6_000 - log.lost, log.lost, "warning") == (len(events), last["lost"], last["level"])


def test_the_settings_say_what_is_told() -> None:
    """All at level info by default; nothing where it is turned off or the level is above."""
    before = structlog.get_config()
    try:
        for level, chosen, is_there in (("info", "all", True), ("info", "none", False), ("warning", "all", False)):
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())))
            assert is_there is (transaction_log(load_settings(transaction_log=chosen)) is not None)
    finally:
        structlog.configure(**before)


async def test_a_whole_run_has_one_event_a_message(bank: Bank, tmp_path: Path) -> None:
    """Money, declines, repeats, reversals, network, desk, refusals, rubbish: each its event, masked, with steps that add up."""
    with redirect_stderr(io.StringIO()) as shown:
        async with open_street(bank, tmp_path, families=2) as street:
            card = street.card
            done = await street.atm.withdraw(card, 50_000)
            await street.atm.repeat(done)
            await street.shop.purchase(card, 900_000)
            await street.atm.reverse(done)
            await asyncio.gather(*(street.atm.balance(one) for one in street.wallet.cards))
            asked = street.atm.request(Asked.CASH, card, 10_000)
            asked.fields[35] = track2(card)
            for change in ({4: ""}, {49: "840"}, {3: "990000"}):
                fields = {number: value for number, value in (asked.fields | change).items() if value}
                await street.atm.send(Message("0200", fields))
            async with raw_link(street.service) as link:
                early = framed(asked)
                rubbish = early.replace(asked.fields[4].encode(), b"0000010000X0")
                totals = framed(Message("0500", {7: "1123120000", 11: "000009", 32: "000002", 76: "0000000002"}))
                sign_on = framed(street.switch.network_message(NetworkCode.SIGN_ON))
                unknown, late = framed(Message("9200", asked.fields)), framed(Message("0312", {11: "000001", 39: "00"}))
                await link.send(b"".join((early, sign_on, rubbish, totals, unknown, late)))
                for _ in range(5):
                    await link.receive()
            counters = [place.line.counters for place in street.service.room.places if place.line is not None]
            block = street.pinpad.block(card.pan, card.pin)
    text = shown.getvalue()
    events = [json.loads(line) for line in text.splitlines() if '"event": "transaction"' in line]
    assert sum(one.received for one in counters) == len(events) > 15
    assert {"unreadable", "not signed on", "wrong", "refused", "unknown type", "unmatched"} == {
        one["stopped"] for one in events if "stopped" in one
    }
    assert {"CASH", "PURCHASE", "BALANCE", "REVERSAL", "NETWORK", "TOTALS"} <= {one.get("kind") for one in events}
    for one in events:
        assert sum(round(step * 1_000) for step in one["steps"].values()) == round(one["ms"] * 1_000)
        assert all(step >= 0 for step in one["steps"].values())
        if "reason" in one:
            assert ALL_STEPS == list(one["steps"])
    assert [True] == [one["replayed"] for one in events if one.get("replayed")]
    assert not any(secret in text for secret in (card.pan.reveal(), block, track2(card), card.pin.reveal()))


async def test_what_was_tried_again(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit whose answer was lost, and a database that stays away: how often, and how long that took."""

    async def away(*_: object) -> None:
        raise ConnectionRefusedError("no database")

    monkeypatch.setattr(lane_module, "RETRY_WAIT_S", 0.002)
    with redirect_stderr(io.StringIO()) as shown:
        async with open_street(bank, tmp_path) as street:
            with monkeypatch.context() as patch:
                lose_commits(patch, committed=True, times=1)
                assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
            with monkeypatch.context() as patch:
                patch.setattr(lane_module.Lanes, "_connected", away)
                assert "00" != (await street.atm.withdraw(street.card, 50_000)).code
    lines = [json.loads(line) for line in shown.getvalue().splitlines() if '"kind": "CASH"' in line]
    again, overload = (one for one in lines if one["event"] == "transaction")
    assert (2, "APPROVED", True) == tuple(again[name] for name in ("attempts", "reason", "replayed"))
    assert ["read", "queued", "failed", *STEPS, "answered"] == list(again["steps"])
    assert again["steps"]["failed"] >= 2
    assert (lane_module.RETRIES, "OVERLOAD") == (overload["attempts"], overload["reason"])
    assert ["read", "queued", "failed", "answered"] == list(overload["steps"])


async def test_standard_error_that_nobody_reads_stops_no_service(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminals are answered as before."""
    reads, writes = os.pipe()
    with os.fdopen(writes, "w", encoding="utf-8") as file, os.fdopen(reads, "rb", buffering=0):
        monkeypatch.setattr(sys, "stderr", file)
        async with open_street(bank, tmp_path) as street, asyncio.timeout(60):
            for _ in range(200):
                assert "00" == (await street.atm.balance(street.card)).code
            events = street.service.room.events
            assert events is not None
            await until(lambda: events._outlet.waiting)
            assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
