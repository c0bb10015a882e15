"""Tests of gateway.cli.switch_side: a host that a real link asks, and captures sent again to a real service."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.capture import read_capture
from gateway.simulator.rules import shipped_rules
from iso.client import LinkClient
from iso.errors import LinkError
from iso.message import Message
from tests.gateway.cli.beside import in_thread, serving
from tests.gateway.cli.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAN = "6013010000000018"
CASH = Message(
    "0200",
    {2: PAN, 3: "010000", 4: "000005000000", 7: "1123173005", 11: "000007", 41: "A0000013", 52: "0123456789ABCDEF"},
)
ECHO = Message("0800", {7: "1123173005", 11: "000042", 70: "301"})


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """`kks` with no bank anywhere."""
    monkeypatch.setenv("KKS_DATA_DIR", str(tmp_path / "var"))
    return Shell(tmp_path)


@pytest.fixture
def bank(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """The same shell with a service running, its port in the settings and its wallet where the demo puts it."""
    with in_thread(lambda: serving(tmp_path)) as port:
        monkeypatch.setenv("KKS_ISO_PORT", str(port))
        yield shell


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def asking(port: int, *messages: Message) -> threading.Thread:
    """Somebody who asks these, once the host is there, and goes away."""

    async def ask() -> None:
        client = LinkClient("127.0.0.1", port, timeout_s=0.3)
        while not client.connected:
            try:
                await client.connect()
            except LinkError:
                await asyncio.sleep(0.02)
        for message in messages:
            try:
                await client.request(message)
            except LinkError:
                await client.connect()
        await asyncio.sleep(0.3)
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    return thread


def test_a_host_answers_by_rules(alone: Shell, tmp_path: Path) -> None:
    """The shipped example: what came is told masked, with the rule that took it; its end comes by itself."""
    port = free_port()
    words = ("simulate", "host", str(shipped_rules()[0]), "--port", str(port), "--seconds", "1.2")
    thread = asking(port, ECHO, CASH)
    shown = alone.text(*words, "--capture", str(tmp_path / "seen"))
    thread.join()
    assert f"listens at 127.0.0.1:{port}, profile himbara" == shown.splitlines()[0]
    assert "0800 de7=1123173005 de11=000042 de70=301: 00" in shown
    assert "de41=A0000013: no answer (rule: a cash terminal whose line breaks)" in shown
    assert ("601301******0018" in shown, PAN in shown) == (True, False)
    assert "requests 2" in shown.splitlines()[-1]
    assert 3 == len(read_capture(tmp_path / "seen"))


def test_a_host_tells_programs_and_asks_echoes(alone: Shell) -> None:
    """A JSON object a message, and one at the end; without rules the answers are sensible."""
    port = free_port()
    thread = asking(port, CASH)
    code, out, _err = alone.run("simulate", "host", "--port", str(port), "--seconds", "1", "--echo", "0.1", "--json")
    thread.join()
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert (0, "0200", "601301******0018", "", "00") == (
        code,
        *(lines[0][name] for name in ("mti", "de2", "rule", "answer")),
    )
    assert (1, {"00": 1}, 1) == tuple(lines[-1][name] for name in ("requests", "answers", "connections"))
    assert "echo: 00 approved" in out


def test_a_host_that_holds_a_bank_to_its_manual(alone: Shell) -> None:
    """The shipped rules of what a bank sends: an update and its repeat are as they must be, or it is said and exit 1."""
    path = next(str(one) for one in shipped_rules() if one.stem == "outgoing")
    update = Message(
        "0302",
        {2: PAN, 7: "1123173005", 11: "000041", 37: "632717000041", 60: "3000", 91: "1", 101: "HOTLIST"},
    )
    for again, faults in (
        (Message("0303", update.fields), []),
        (
            Message("0303", update.fields | {7: "1123173006"}),
            ["it comes again as a repeat, the same in every field: field 7: expected 1123173005, got '1123173006'"],
        ),
    ):
        port = free_port()
        thread = asking(port, update, again)
        code, out, _err = alone.run("simulate", "host", path, "--port", str(port), "--seconds", "1.5", "--json")
        thread.join()
        last = json.loads(out.splitlines()[-1])
        assert (bool(faults), 2, faults) == (bool(code), last["requests"], last["faults"])
    refused = alone.refused("simulate", "host", path, "--port", str(free_port()), "--seconds", "0.1")
    assert "2 faults" in refused


def test_a_host_that_cannot(alone: Shell, tmp_path: Path) -> None:
    """A wrong file, a taken port, a profile that is none: one line each."""
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\ndo = "dance"\n')
    assert f"rules {path}: rule 1: do must be one of answer" in alone.refused("simulate", "host", str(path))
    assert "there is no profile x" in alone.refused("simulate", "host", "--profile", "x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "there is no test key zmk-x" in alone.refused("simulate", "host", "--zmk", "zmk-x")
        port = str(taken.getsockname()[1])
        assert f"cannot listen at 127.0.0.1:{port}" in alone.refused("simulate", "host", "--port", port)


def test_a_capture_is_sent_again(bank: Shell, tmp_path: Path) -> None:
    """Renewed, card and PIN from the wallet: the same answers, and money goes again."""
    path, second = tmp_path / "one", tmp_path / "two"
    bank.json("simulate", "withdraw", "--amount", "50000", "--then-reverse", "--capture", str(path))
    bank.json("simulate", "withdraw", "--amount", "20000", "--capture", str(second))
    before = _left(bank)
    found = bank.json("simulate", "replay", str(path), "--renew", "--speed", "10")
    assert (4, 4, 4, [], {"00": 4}) == tuple(
        found[name] for name in ("sent", "answered", "compared", "differences", "codes")
    )
    assert before == _left(bank)
    assert "3 sent, 3 answered" in bank.text("simulate", "replay", str(second), "--renew", "--rate", "50", "--new-pins")
    assert before - 20_000 == _left(bank)


def test_differences_are_told(bank: Shell, tmp_path: Path) -> None:
    """A card whose money is gone by now: exit 1."""
    path = tmp_path / "one"
    bank.json("simulate", "withdraw", "--amount", "200000", "--capture", str(path))
    while _left(bank) >= 200_000:
        bank.json("simulate", "withdraw", "--amount", "200000")
    assert "1 differences" == bank.refused("simulate", "replay", str(path), "--renew")
    found = bank.json("simulate", "replay", str(path), "--renew", code=1)
    assert "answered 00 then, " in found["differences"][0]
    assert "no message of the capture can be sent" in bank.refused("simulate", "replay", str(path), "--received")


def test_a_replay_that_cannot(alone: Shell, tmp_path: Path) -> None:
    """No file, no capture, nobody there."""
    path = tmp_path / "x"
    assert f"capture {path}: No such file" in alone.refused("simulate", "replay", str(path))
    path.write_text("nonsense")
    assert "line 1 is not" in alone.refused("simulate", "replay", str(path))
    path.write_text(
        "30383030383232303030303030303030303030303034303030303030303030303030303031313233313733303035303030303432333031"
    )
    line = alone.refused("simulate", "replay", str(path), "--port", str(free_port()))
    assert "no bank at 127.0.0.1:" in line


def _left(bank: Shell) -> int:
    return sum(bank.json("simulate", "balance")["balances"].values())
