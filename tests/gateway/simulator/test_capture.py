"""Tests of gateway.simulator.capture."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.capture import SENSITIVE, Capture, Line, Way, read_capture
from gateway.simulator.errors import CaptureError
from gateway.simulator.host import RulesHost
from gateway.simulator.profile import HIMBARA_PROFILE
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import TerminalKind
from iso.codec import decode, encode
from iso.message import Message
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

WALLET = make_wallet(3)
PINPAD = make_pinpad()
CARD = WALLET.cards[1]
LEFT = frozenset({2, 14, 35, 52})
CASH = Message(
    "0200",
    {
        2: CARD.pan.reveal(),
        4: "000005000000",
        11: "000001",
        14: "3111",
        35: f"{CARD.pan.reveal()}=3111",
        52: "0123456789ABCDEF",
        64: "F" * 16,
    },
)


def test_what_is_sensitive_is_left_out(tmp_path: Path) -> None:
    """Not in any form; which card and fields is noted, the MAC goes as well; the file is its owner's alone."""
    path = tmp_path / "x.capture"
    with Capture(path, HIMBARA_PROFILE, WALLET.cards, clock=clock) as capture:
        capture.sent(CASH)
        capture.received(Message("0210", {2: "6013019999999999", 39: "00"}))
        capture.sent(Message("0800", {11: "000002", 70: "301"}))
    text = path.read_text()
    assert 0o600 == path.stat().st_mode & 0o777
    for secret in (CARD.pan.reveal(), "0123456789ABCDEF", "6013019999999999"):
        assert secret not in text
        assert secret.encode().hex() not in text.lower()
    one, two, three = read_capture(path)
    assert (Way.SENT, 2, LEFT) == (one.way, one.card, one.left)
    assert Message("0200", {4: "000005000000", 11: "000001"}) == decode(one.data)
    assert (Way.RECEIVED, 0, frozenset({2}), Message("0210", {39: "00"})) == (
        two.way,
        two.card,
        two.left,
        decode(two.data),
    )
    assert (None, frozenset(), datetime(2026, 11, 23, 17, 30, 5, tzinfo=UTC)) == (three.card, three.left, three.moment)


def test_unmasked_is_of_the_wallets_cards_alone(tmp_path: Path) -> None:
    """Another card's message is masked whatever was asked for."""
    path = tmp_path / "x.capture"
    with Capture(path, HIMBARA_PROFILE, WALLET.cards, clock=clock, unmasked=True) as capture:
        capture.sent(CASH)
        capture.sent(Message(CASH.mti, CASH.fields | {2: "6013019999999999"}))
    one, two = read_capture(path)
    assert (CASH, None, frozenset()) == (decode(one.data), one.card, one.left)
    assert (0, LEFT) == (two.card, two.left)


def test_what_cannot_be_written_is_a_comment(tmp_path: Path) -> None:
    """A message that breaks the dialect."""
    path = tmp_path / "x.capture"
    with Capture(path, HIMBARA_PROFILE, (), clock=clock) as capture:
        capture.sent(Message("0200", {4: "X"}))
    assert "# > a message of type '0200' that cannot be written\n" == path.read_text()


async def test_a_link_and_a_host_write_both_ways(tmp_path: Path) -> None:
    """Requests and answers of a terminal; what a host received and sent."""
    paths = tmp_path / "terminal", tmp_path / "host"
    async with FakeIssuer(WALLET, PINPAD) as bank:
        with Capture(paths[0], HIMBARA_PROFILE, WALLET.cards, clock=clock) as capture:
            async with Switch("127.0.0.1", bank.port, clock=clock, capture=capture) as switch:
                await switch.terminal(PINPAD, TerminalKind.ATM, 1).withdraw(CARD, 50_000)
    with Capture(paths[1], HIMBARA_PROFILE, (), clock=clock) as capture:
        async with RulesHost(capture=capture) as host, Switch("127.0.0.1", host.port, clock=clock):
            pass
    seen = [[(line.way, decode(line.data).mti) for line in read_capture(path)] for path in paths]
    there, back = (Way.SENT, Way.RECEIVED)
    assert [(there, "0800"), (back, "0810"), (there, "0200"), (back, "0210"), (there, "0800"), (back, "0810")] == seen[
        0
    ]
    assert [(back, "0800"), (there, "0810")] * 2 == seen[1]
    assert not any(SENSITIVE & set(decode(line.data).fields) for line in read_capture(paths[0]))


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    """One line names it; so does a folder that is not there."""
    path = tmp_path / "x"
    path.write_text("evidence")
    with pytest.raises(CaptureError, match="File exists"):
        Capture(path, HIMBARA_PROFILE, (), clock=clock)
    with pytest.raises(CaptureError, match="No such file"):
        Capture(tmp_path / "no" / "x", HIMBARA_PROFILE, (), clock=clock)


def test_lines_written_by_hand(tmp_path: Path) -> None:
    """Time, direction and notes may be missing; comments and empty lines are skipped; small letters are hexadecimal too."""
    data = encode(Message("0800", {11: "000002", 70: "301"})).hex()
    path = tmp_path / "x"
    path.write_text(
        f"# by hand\n\n{data}\n< {data}  # an answer\n2026-11-28T12:00:01Z {data} card=2 left=2,52\n>{data}"
    )
    found = read_capture(path)
    raw, moment = bytes.fromhex(data), datetime(2026, 11, 28, 12, 0, 1, tzinfo=UTC)
    assert [
        Line(3, raw), Line(4, raw, Way.RECEIVED), Line(5, raw, Way.SENT, moment, 2, frozenset({2, 52})), Line(6, raw),
    ] == found  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no message"),
        ("# nothing\n", "holds no message"),
        ("00\nnonsense", "line 2 is not: time, < or >"),
        ("000", "line 1 is not"),
        ("00" * 20_000, "line 1 is not"),
        ("2026-13-28T12:00:01Z 00", "line 1: the time is none like"),
        ("2026-11-28T12:00:01 00", "line 1: the time is none like"),
        ("\xff", "is not text"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """File and line; nothing of what stands in it."""
    path = tmp_path / "x"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CaptureError, match=said) as caught:
        read_capture(path)
    assert str(caught.value).startswith(f"capture {path}: ")
    assert "nonsense" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """What the system says."""
    with pytest.raises(CaptureError, match="No such file"):
        read_capture(tmp_path / "none")


def test_pin_blocks_are_left_out_wherever_they_stand(tmp_path: Path) -> None:
    """Of a profile that has them in fields of its own."""
    profile = replace(HIMBARA_PROFILE, pin_block_field=110, new_pin_field=111)
    path = tmp_path / "x"
    with Capture(path, profile, WALLET.cards, clock=clock) as capture:
        capture.sent(Message("0200", {11: "000001", 110: "0123456789ABCDEF" * 2, 111: "FEDCBA9876543210" * 2}))
    (line,) = read_capture(path)
    assert ({110, 111}, {11}) == (set(line.left), set(decode(line.data).fields))
