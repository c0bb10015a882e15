"""Tests of gateway.simulator.play: one case at a time, on a real connection to a bank in memory."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.play import Play
from gateway.simulator.script import read_case
from gateway.simulator.steady import Cutter
from gateway.simulator.switch import Switch
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

    from iso.message import Message

WALLET = make_wallet(2)
PINPAD = make_pinpad()
PRESENCE = "30383030"  # "0800"
ECHO = "0055080082200000000000000400000000000000" + "1123173005" + "%06d" + "301"
"""A whole frame; % its trace number."""


async def play(
    bank: FakeIssuer, folder: Path, steps: str, head: str = "", cutter: Cutter | None = None, place: int = 0
) -> list[str]:
    """The failures of a case with these steps."""
    path = folder / "case.toml"
    path.write_text(f'name = "x"\n{head}\n{steps}')
    card, unknown = WALLET.cards

    def new_link() -> Switch:
        return Switch("127.0.0.1", bank.port, clock=clock, timeout_s=2)

    return await Play(read_case(path), new_link, PINPAD, (card, unknown), place, cutter).run()


HOLD = """
[[step]]
name = "hold"
action = "hold"
at = "EWARONG"
amount_idr = 50_000
expect = { mti = "0110", 39 = "00" }
[[step]]
action = "increment"
of = "hold"
amount_idr = 20_000
expect = { mti = "0110", 39 = "00" }
[[step]]
name = "done"
action = "complete"
of = "hold"
amount_idr = 60_000
expect = { mti = "0230", 39 = "00" }
[[step]]
action = "repeat"
of = "done"
marked = true
same_as = "done"
[[step]]
action = "balance"
expect = { 39 = "00", 54 = "/1002360C000094000000.*/" }
"""
ALL = """
[[step]]
name = "goods"
action = "purchase"
at = "EWARONG"
amount_idr = 40_000
expect = { 39 = "00" }
[[step]]
action = "refund"
of = "goods"
amount_idr = 10_000
expect = { mti = "0210", 39 = "00" }
[[step]]
action = "advice"
amount_idr = 5_000
expect = { mti = "0130", 39 = "00" }
[[step]]
action = "pin_change"
new_pin = "other"
expect = { 39 = "00" }
[[step]]
says = "the new PIN"
action = "balance"
expect = { 39 = "00", 54 = "/1002360C000096500000.*/" }
[[step]]
action = "statement"
expect = { 39 = "00" }
[[step]]
action = "totals"
expect = { mti = "0510", 39 = "00" }
[[step]]
action = "file_action"
expect = { mti = "0312", 39 = "00" }
[[step]]
action = "admin"
expect = { mti = "0630", 39 = "00" }
[[step]]
action = "key_change"
expect = { mti = "0810", 39 = "00" }
[[step]]
name = "second"
action = "hold"
amount_idr = 7_000
[[step]]
action = "release"
of = "second"
mti = "0400"
expect = { mti = "0410", 39 = "00" }
"""


@pytest.mark.parametrize("steps", [HOLD, ALL])
async def test_the_whole_message_table(tmp_path: Path, steps: str) -> None:
    """Every action is sent and answered; the card has its first PIN again at the end."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        card = WALLET.cards[0]
        first = bank.accounts[card.pan.reveal()].block
        assert [] == await play(bank, tmp_path, steps)
        assert first == bank.accounts[card.pan.reveal()].block


async def test_the_pin_is_given_back_after_a_failure_too(tmp_path: Path) -> None:
    """The wallet stays true."""
    steps = '[[step]]\naction = "pin_change"\nnew_pin = "739146"\nexpect = { 39 = "99" }\n'
    async with FakeIssuer(WALLET, PINPAD) as bank:
        account = bank.accounts[WALLET.cards[0].pan.reveal()]
        first = account.block
        assert ["step 1 (pin_change): field 39: expected 99, got '00'"] == await play(bank, tmp_path, steps)
        assert first == account.block


async def test_raw_bytes(tmp_path: Path) -> None:
    """In pieces, answered when whole; garbage closes, and the next raw step has a new connection."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        steps = f"""
        [[step]]
        action = "raw"
        hex = "30303636{PRESENCE}"
        expect_silence_ms = 30
        [[step]]
        action = "raw"
        hex = "${{rest}}"
        expect = {{ mti = "0810", 39 = "00" }}
        keep = {{ stan = "11" }}
        [[step]]
        action = "raw"
        hex = "474554"
        [[step]]
        action = "raw"
        hex = "20"
        expect_closed = true
        [[step]]
        action = "raw"
        hex = "30303636{PRESENCE}${{rest}}"
        expect = {{ mti = "0810", 11 = "${{stan}}" }}
        """
        rest = ("8220000000000000" + "0400000000000000" + "1123173005" + "000099" + "301").encode().hex()
        length = 4 + len(rest) // 2
        steps = steps.replace("30303636", f"{length:04d}".encode().hex())
        assert [] == await play(bank, tmp_path, steps, f'variables = {{ rest = "{rest}" }}')
        sign_ons = [message for message in bank.seen if message.get(70) == "001"]
    assert 3 == len(sign_ons)  # the case's own, and one for each raw connection


async def test_bytes_as_text_and_what_comes_next(tmp_path: Path) -> None:
    """Two messages at once get two answers, and the second is heard without sending; "now" is in a message's form."""
    two = f"{ECHO % 1}{ECHO % 2}".replace("1123173005", "${now}")
    steps = f"""
    [[step]]
    action = "raw"
    text = "{two}"
    expect = {{ mti = "0810", 7 = "1123173005", 11 = "000001" }}
    [[step]]
    action = "hear"
    expect = {{ mti = "0810", 11 = "000002" }}
    [[step]]
    action = "hear"
    expect_silence_ms = 30
    """
    async with FakeIssuer(WALLET, PINPAD) as bank:
        assert [] == await play(bank, tmp_path, steps)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ('action = "raw"\nhex = "3030"\nexpect_closed = true', "expected a closed connection, got none"),
        (
            'action = "raw"\nhex = "58585858"\nexpect_silence_ms = 2000',
            "expected silence for 2000 ms, got a closed connection",
        ),
        ('action = "raw"\nhex = "XX"', "hex is not hex digits"),
        ('action = "raw"\ntext = "Ä"', "text is not ASCII"),
        ('action = "hear"\nexpect_closed = true', "expected a closed connection, got none"),
        (
            f'action = "raw"\ntext = "{ECHO % 1}"\nexpect = {{ 39 = "00" }}\nwithin_ms = 1',
            "ms, more than 1 ms",
        ),
        ('action = "echo"\nexpect_closed = true', "expected a closed connection, got 00"),
        ('action = "echo"\nexpect_silence_ms = 3000', "expected silence for 3000 ms, got 00 after"),
        ('action = "cut_over"\nwithin_ms = 5', "the answer took"),
        ('action = "sign_off"\nexpect_closed = true', "expected a closed connection, got none: no answer to 0800"),
    ],
)
async def test_what_did_not_come_is_said(tmp_path: Path, step: str, said: str) -> None:
    """Neither silence nor a closed connection nor time passes for another."""

    def twist(request: Message, answer: Message) -> Message | None:
        if request.get(70) == "201" or (request.get(70) == "301" and "within_ms" in step):
            time.sleep(0.02)
        return None if request.get(70) == "002" else answer

    async with FakeIssuer(WALLET, PINPAD, twist=twist) as bank:
        (failure,) = await play(bank, tmp_path, f"[[step]]\n{step}\n")
    assert failure.startswith("step 1 (")
    assert said in failure


async def test_silence_that_is_expected(tmp_path: Path) -> None:
    """The case goes on after it."""
    steps = """
    [[step]]
    action = "cut_over"
    expect_silence_ms = 40
    wait_ms = 20
    [[step]]
    action = "echo"
    expect = { 39 = "00" }
    """
    async with FakeIssuer(WALLET, PINPAD, twist=lambda r, a: None if r.get(70) == "201" else a) as bank:
        assert [] == await play(bank, tmp_path, steps)


async def test_a_second_connection(tmp_path: Path) -> None:
    """Signed on like the first, which stays as it was."""
    steps = """
    [[step]]
    action = "balance"
    connection = "new"
    expect = { 39 = "00" }
    [[step]]
    action = "balance"
    expect = { 39 = "00" }
    """
    async with FakeIssuer(WALLET, PINPAD) as bank:
        assert [] == await play(bank, tmp_path, steps)
        assert ["001", "001"] == [code for message in bank.seen if (code := message.get(70))]
        early = await play(bank, tmp_path, steps, "sign_on = false")
    assert ["step 1 (balance): field 39: expected 00, got '91'"] == early


async def test_a_cut_case_goes_on_and_passes(tmp_path: Path) -> None:
    """With every second message cut: repeats are marked, PIN changes and holds are done once."""
    cuts = 0
    async with FakeIssuer(WALLET, PINPAD) as bank:
        for seed in range(6):
            bank.accounts[WALLET.cards[0].pan.reveal()].available_idr = 1_000_000
            cutter = Cutter(0.5, random.Random(seed))
            assert [] == await play(bank, tmp_path, HOLD if seed % 2 else ALL, cutter=cutter, place=seed)
            cuts += cutter.cuts
        marked = {message.mti for message in bank.seen} & {
            "0101",
            "0201",
            "0221",
            "0401",
            "0303",
            "0621",
            "0121",
            "0501",
        }
    assert cuts > 6
    assert len(marked) > 3


async def test_a_cut_sign_off_stays_signed_off(tmp_path: Path) -> None:
    """What a new connection does follows what the case did last."""
    steps = """
    [[step]]
    action = "sign_off"
    expect = { 39 = "00" }
    [[step]]
    action = "balance"
    expect = { 39 = "91" }
    [[step]]
    action = "sign_on"
    expect = { 39 = "00" }
    [[step]]
    action = "balance"
    expect = { 39 = "00" }
    """
    async with FakeIssuer(WALLET, PINPAD) as bank:
        for seed in range(8):
            assert [] == await play(bank, tmp_path, steps, cutter=Cutter(0.5, random.Random(seed)), place=seed)
