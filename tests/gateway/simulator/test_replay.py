"""Tests of gateway.simulator.replay: a captured visit sent again to a bank in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.clock import now
from gateway.simulator.capture import Capture, Line, Way, read_capture
from gateway.simulator.card_reader import Entry, Shown
from gateway.simulator.errors import CaptureError
from gateway.simulator.profile import HIMBARA_PROFILE, Profile, read_profile, with_keys
from gateway.simulator.replay import ReplayPlan, ReplayResult, read_message, replay
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import Asked, TerminalKind
from iso.codec import encode
from iso.errors import LinkClosed
from iso.message import Message
from keys.ksn import TdesKsn
from tests.gateway.simulator.fake_issuer import CHIP_KEYS, TEST_KEYS, FakeIssuer, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

WALLET = make_wallet(3)
CARD = WALLET.cards[0]
PINPAD = HIMBARA_PROFILE.pinpad(TEST_KEYS)
RENEWED = ReplayPlan(renew=True)


def issuer(profile: Profile = HIMBARA_PROFILE, money_idr: int = 1_000_000) -> FakeIssuer:
    """A bank of that profile."""
    return FakeIssuer(WALLET, profile.pinpad(TEST_KEYS), profile=profile, money_idr=money_idr)


async def captured(folder: Path, profile: Profile = HIMBARA_PROFILE, *, unmasked: bool = False) -> list[Line]:
    """A visit: cash, the same again, its reversal twice, and more than there is."""
    path = folder / "visit.capture"
    async with issuer(profile) as bank:
        with Capture(path, profile, WALLET.cards, clock=now, unmasked=unmasked) as capture:
            async with Switch("127.0.0.1", bank.port, clock=now, profile=profile, capture=capture) as switch:
                terminal = switch.terminal(profile.pinpad(TEST_KEYS), TerminalKind.ATM, 1, first_stan=501)
                cash = await terminal.withdraw(CARD, 50_000)
                await terminal.repeat(cash, marked=True)
                await terminal.reverse(cash)
                await terminal.reverse(cash, repeat=True)
                await terminal.withdraw(CARD, 900_000_000)
        assert 0 == bank.paid_idr
    return read_capture(path)


async def again(
    lines: list[Line], bank: FakeIssuer, plan: ReplayPlan = RENEWED, profile: Profile = HIMBARA_PROFILE
) -> ReplayResult:
    """Sent again to that bank."""
    link = Switch("127.0.0.1", bank.port, clock=now, profile=profile, timeout_s=3)
    return await replay(
        lines, link, plan, cards=WALLET.cards, pinpad=profile.pinpad(TEST_KEYS), clock=now, first_stan=7_001
    )


@pytest.mark.parametrize("unmasked", [False, True])
async def test_a_visit_is_answered_as_before(tmp_path: Path, *, unmasked: bool) -> None:
    """Card and PIN come from the wallet where they were left out; what belongs together still does, with numbers of now."""
    lines = await captured(tmp_path, unmasked=unmasked)
    async with issuer() as bank:
        result = await again(lines, bank)
        assert (0, ()) == (bank.paid_idr, result.differences)
        seen = {message.mti: message for message in bank.seen}
    assert (7, 7, 7, 0, {}, {"00": 6, "51": 1}) == (
        result.sent, result.answered, result.compared, result.unanswered, result.skipped, result.codes,
    )  # fmt: skip
    first, marked, reversal = (seen[mti] for mti in ("0201", "0201", "0420"))
    assert first.fields == marked.fields
    assert (True, first.fields[37]) == ("007001" <= first.fields[11] <= "007007", reversal.fields[37])
    assert first.fields[11] + first.fields[7] == reversal.fields[90][4:20]
    assert ("0421", reversal.fields) == (seen["0421"].mti, seen["0421"].fields)


async def test_what_is_not_renewed_is_a_duplicate(tmp_path: Path) -> None:
    """Byte for byte the same, so that the same bank answers what it answered."""
    lines = await captured(tmp_path, unmasked=True)
    async with issuer() as bank:
        for _ in range(2):
            result = await again(lines, bank, ReplayPlan())
            assert (0, ()) == (bank.paid_idr, result.differences)
        assert 5 == len({message.fields[11] for message in bank.seen})


async def test_other_answers_are_told(tmp_path: Path) -> None:
    """A bank where there is less money, and one that echoes nothing."""
    lines = await captured(tmp_path)
    async with issuer(money_idr=1_000) as bank:
        result = await again(lines, bank)
    assert ["line 3 (0200 000501): answered 00 then, 51 now", "line 5 (0201 000501): answered 00 then, 51 now"] == list(
        result.differences
    )
    async with issuer() as bank:
        bank.twist = lambda _request, answer: Message(answer.mti, {n: t for n, t in answer.fields.items() if n != 41})
        assert "line 3 (0200 000501): field 41 is not echoed" in (await again(lines, bank)).differences


async def test_pace() -> None:
    """The file's own, faster, at a rate, and one after the other where there are no times."""
    echo = encode(Message("0800", {7: "1123173005", 11: "000001", 70: "301"}))
    loop = asyncio.get_running_loop()
    start = now()
    tenths, seconds = (
        [Line(n, echo, moment=start + n * timedelta(seconds=step)) for n in range(4)] for step in (0.1, 1.0)
    )
    plain = [Line(n, echo) for n in range(4)]
    async with issuer() as bank:
        for lines, plan, least_s, most_s in (
            (tenths, ReplayPlan(renew=True), 0.29, 60),
            (seconds, ReplayPlan(renew=True, speed=100), 0.02, 2.9),
            (seconds, ReplayPlan(renew=True, rate_per_s=20), 0.14, 2.9),
            (plain, ReplayPlan(renew=True), 0, 60),
        ):
            began = loop.time()
            assert 4 == (await again(lines, bank, plan)).answered
            assert least_s <= loop.time() - began < most_s


async def test_what_cannot_be_sent_is_skipped_and_told(tmp_path: Path) -> None:
    """A card that is in no wallet, chip data that was left out, bytes that are no message; the rest is sent."""
    lines = await captured(tmp_path)
    cash = next(line for line in lines if line.left)
    wrong = [
        replace(cash, card=0), replace(cash, card=99), replace(cash, left=cash.left | {55}), Line(9, b"nonsense"),
    ]  # fmt: skip
    async with issuer() as bank:
        result = await again([*wrong, *lines], bank)
        assert ((), 7) == (result.differences, result.sent)
        with pytest.raises(
            CaptureError, match="no message of the capture can be sent: 1 holds no message of the profile"
        ):
            await again(wrong[3:], bank)
        link = Switch("127.0.0.1", bank.port, clock=now)
        with pytest.raises(CaptureError, match="needs a PIN pad"):
            await replay([cash], link, ReplayPlan(), cards=WALLET.cards, clock=now)
        port = bank.port
    assert {
        "needs a card that the wallet does not have": 2, "needs what a wallet does not have: fields 55": 1,
        "holds no message of the profile": 1,
    } == result.skipped  # fmt: skip
    with pytest.raises(LinkClosed):
        await replay(lines[:1], Switch("127.0.0.1", port, clock=now), ReplayPlan(), clock=now)


async def test_the_other_side_of_a_file(tmp_path: Path) -> None:
    """What a host received can be sent to somebody else."""
    lines = [replace(line, way=Way.RECEIVED if line.way is Way.SENT else Way.SENT) for line in await captured(tmp_path)]
    async with issuer() as bank:
        with pytest.raises(CaptureError, match="it has no request"):
            await again(lines, bank)
        assert 7 == (await again(lines, bank, ReplayPlan(renew=True, way=Way.RECEIVED))).answered


async def test_silence_is_a_difference(tmp_path: Path) -> None:
    """With the line it came for."""
    lines = await captured(tmp_path)
    async with issuer() as bank:
        bank.twist = lambda request, answer: None if request.get(4) == "090000000000" else answer
        result = await again(lines, bank)
    assert 1 == result.unanswered
    assert any("(0200" in line and "no answer" in line for line in result.differences)


async def test_each_card_is_typed_at_a_device_of_its_own(tmp_path: Path) -> None:
    """DUKPT numbers of one device would come in any order, as messages are sent before the last is answered."""
    edc, path = read_profile("edc"), tmp_path / "two.capture"
    async with issuer(edc) as bank:
        with Capture(path, edc, WALLET.cards, clock=now) as capture:
            async with Switch("127.0.0.1", bank.port, clock=now, profile=edc, capture=capture) as switch:
                terminal = switch.terminal(edc.pinpad(TEST_KEYS), TerminalKind.ATM, 1, first_stan=501)
                for card in WALLET.cards[:2]:
                    await terminal.withdraw(card, 50_000)
        seen = len(bank.seen)
        assert () == (await again(read_capture(path), bank, RENEWED, edc)).differences
        typed = {
            message.fields[2]: TdesKsn.parse(message.fields[62]) for message in bank.seen[seen:] if 62 in message.fields
        }
    assert ([1, 1], 2) == ([ksn.counter for ksn in typed.values()], len({ksn.device for ksn in typed.values()}))


async def test_profile_edc_and_macs(tmp_path: Path) -> None:
    """New PIN blocks come with their serial numbers; MACs are made anew."""
    for name, profile in (
        ("edc", read_profile("edc")),
        ("sealed", with_keys(replace(HIMBARA_PROFILE, mac_key="mac-himbara"), TEST_KEYS)),
    ):
        (tmp_path / name).mkdir()
        lines = await captured(tmp_path / name, profile, unmasked=True)
        async with issuer(profile) as bank:
            result = await again(lines, bank, ReplayPlan(renew=True, new_pins=True), profile)
            assert (7, ()) == (result.answered, result.differences)


def test_messages_with_and_without_headers() -> None:
    """Length, or length and TPDU, before it; what is neither is none."""
    echo = Message("0800", {7: "1123173005", 11: "000001", 70: "301"})
    for profile in (HIMBARA_PROFILE, read_profile("edc")):
        data = encode(echo, profile.dialect)
        assert [echo, echo, None, None] == [
            read_message(one, profile) for one in (data, profile.framing.frame(data), data[:-1], b"\0\xff\0")
        ]


async def test_chips_and_stripes_are_read_again(tmp_path: Path) -> None:
    """What a capture left out of DE35 and 55 is what the card says now, and the same to a repeat as to its original."""
    profile = replace(with_keys(read_profile("chip"), CHIP_KEYS), freshness_s=0)
    pinpad = profile.pinpad(CHIP_KEYS)
    path = tmp_path / "visit.capture"
    async with FakeIssuer(WALLET, pinpad, profile=profile) as bank:
        with Capture(path, profile, WALLET.cards, clock=now) as capture:
            async with Switch("127.0.0.1", bank.port, clock=now, profile=profile, capture=capture) as switch:
                terminal = switch.terminal(pinpad, TerminalKind.ATM, 1, first_stan=501)
                cash = await terminal.withdraw(CARD, 50_000)
                await terminal.repeat(cash, marked=True)
                assert profile.reader is not None
                by_stripe = profile.reader.put(
                    terminal.request(Asked.BALANCE, CARD, 0), CARD, now().date(), Shown(Entry.STRIPE)
                )
                await terminal.send(by_stripe)
                before = [message.fields.get(55) for message in bank.seen if message.mti[:2] == "02"]
    async with FakeIssuer(WALLET, pinpad, profile=profile) as bank:
        link = Switch("127.0.0.1", bank.port, clock=now, profile=profile, timeout_s=3)
        done = await replay(
            read_capture(path), link, RENEWED, cards=WALLET.cards, pinpad=pinpad, clock=now, first_stan=7_001
        )
        first, second, third = (message.fields for message in bank.seen if message.mti[:2] == "02")
    assert ((), {}, 5) == (done.differences, done.skipped, done.compared)
    assert first[55] == second[55] != before[0]
    assert (by_stripe.fields[35], False) == (third[35], 55 in third)
