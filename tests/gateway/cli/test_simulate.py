"""Tests of gateway.cli.simulate: `kks simulate` against a real service, as a person and as a program use it."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest
import typer.main

from gateway.app import open_bank
from gateway.cli import app
from gateway.settings import load_settings
from gateway.simulator.cases import shipped_cases
from iso.codec import encode
from iso.message import Message
from tests.gateway.cli.shell import Shell
from tests.gateway.simulator.fake_issuer import FakeIssuer, make_pinpad, make_wallet
from tests.gateway.street import AID_IDR, open_street

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

FAMILIES = 4
PAN = "6013010000000018"
CASH = Message("0200", {2: PAN, 3: "010000", 4: "000005000000", 11: "000007", 41: "A0000001", 52: "0123456789ABCDEF"})
COMMANDS = {"withdraw", "purchase", "balance", "sign-on", "echo", "cases", "load", "explain", "pin-block"}


@pytest.fixture
def bank(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """The same shell with a service running, its port in the settings and its wallet where the demo puts it."""
    with in_thread(lambda: serving(tmp_path)) as port:
        monkeypatch.setenv("KKS_ISO_PORT", str(port))
        yield shell


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """`kks` with no bank anywhere, and a wallet of cards nobody issued."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        monkeypatch.setenv("KKS_ISO_PORT", str(probe.getsockname()[1]))
    monkeypatch.setenv("KKS_DATA_DIR", str(tmp_path / "var"))
    (tmp_path / "var" / "demo").mkdir(parents=True)
    make_wallet(3).save(tmp_path / "var" / "demo" / "wallet.json")
    return Shell(tmp_path)


def test_a_round_of_the_terminals(bank: Shell) -> None:
    """Balance, cash at ATM and agent, a purchase, reversals in whole and in part: money goes and comes back."""
    left = AID_IDR
    assert left == _left(bank)
    done = bank.json("simulate", "withdraw", "--amount", "50.000")
    assert ("0200", "0210", "00", "approved", True) == tuple(
        done[name] for name in ("mti", "answer", "code", "meaning", "approved")
    )
    assert (50_000, "A") == (done["amount_idr"], done["terminal"][0])
    assert done["approval_code"]
    assert "G" == bank.json("simulate", "withdraw", "--amount", "20000", "--agent")["terminal"][0]
    assert "W" == bank.json("simulate", "purchase", "--amount", "30000")["terminal"][0]
    left -= 100_000
    assert left == _left(bank)
    back = bank.json("simulate", "withdraw", "--amount", "100000", "--then-reverse")
    assert ("0420", "0430", "00") == tuple(back["reversal"][name] for name in ("mti", "answer", "code"))
    assert left == _left(bank)
    bank.json("simulate", "withdraw", "--amount", "100000", "--then-reverse", "--kept", "30000")
    assert left - 30_000 == _left(bank)


def test_cards_are_chosen(bank: Shell) -> None:
    """By place or account number; one card's money is not another's."""
    bank.json("simulate", "withdraw", "--amount", "50000", "--card", "2")
    account = bank.json("simulate", "pin-block", "--pin", "204817", "--card", "2")["account"]
    assert [AID_IDR - 50_000] * 2 == [_left(bank, "--card", "2"), _left(bank, "--account", account)]
    assert AID_IDR == _left(bank)


def test_a_decline_is_an_answer(bank: Shell) -> None:
    """Its code and meaning are told, exit 0; nothing is reversed."""
    poor = bank.json("simulate", "withdraw", "--amount", "900000", "--then-reverse")
    assert (False, None) == (poor["approved"], poor.get("reversal"))
    assert poor["meaning"] in bank.text("simulate", "withdraw", "--amount", "900000")
    assert "55" == bank.json("simulate", "balance", "--pin", "111112")["code"]
    assert "wrong PIN" in bank.text("simulate", "balance", "--pin", "111112")


def test_people_read_no_card_number(bank: Shell, tmp_path: Path) -> None:
    """The card is masked and the PIN is nowhere; rupiah as Indonesia writes it."""
    wallet = (tmp_path / "var" / "demo" / "wallet.json").read_text(encoding="utf-8")
    shown = bank.text("simulate", "withdraw", "--amount", "50000", "--then-reverse")
    shown += bank.text("simulate", "balance")
    assert [] == [
        word for word in ("0200 ", "0420 ", "00 approved", "601301", "Rp50.000", "can be spent") if word not in shown
    ]
    assert f"Rp{AID_IDR // 1000}.000" in shown
    pans = [line.split('"')[3] for line in wallet.splitlines() if '"pan"' in line]
    assert FAMILIES == len(pans)
    assert [] == [pan for pan in pans if pan in shown]
    assert "204817" not in shown


def test_network_management(bank: Shell, tmp_path: Path) -> None:
    """Sign-on and echo need no wallet."""
    (tmp_path / "var" / "demo" / "wallet.json").unlink()
    for name in ("sign-on", "echo"):
        found = bank.json("simulate", name)
        assert ("0800", "0810", "00") == (found["mti"], found["answer"], found["code"])
        assert "00 approved" in bank.text("simulate", name)


def test_cases(bank: Shell, tmp_path: Path) -> None:
    """Files that are named are run; one that fails is told with its reason and exit 1."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    step = '[[step]]\naction = "echo"\nexpect = { 39 = "%s" }\n'
    good.write_text('name = "Good"\n' + step % "00", encoding="utf-8")
    bad.write_text('name = "Bad"\n' + step % "99", encoding="utf-8")
    assert "1 passed, 0 failed" in bank.text("simulate", "cases", str(good))
    found = bank.json("simulate", "cases", str(good), str(bad), code=1)
    assert (1, 1, [True, False]) == (found["passed"], found["failed"], [one["passed"] for one in found["cases"]])
    assert "expected 99" in found["cases"][1]["failures"][0]
    assert "1 of 2 cases failed" == bank.refused("simulate", "cases", str(good), str(bad))
    assert str(tmp_path / "none.toml") in bank.refused("simulate", "cases", str(tmp_path / "none.toml"))


def test_the_shipped_cases(shell: Shell, tmp_path: Path) -> None:
    """Every case that comes along passes on our own bank."""
    count = len(shipped_cases())
    with in_thread(lambda: serving(tmp_path, count)) as port:
        found = shell.json("simulate", "cases", "--port", str(port))
    assert (count, 0) == (found["passed"], found["failed"])


def test_load(bank: Shell) -> None:
    """Figures of a short run, at full speed and at a rate; too few cards are one line."""
    found = bank.json("simulate", "load", "--seconds", "0.3", "--clients", str(FAMILIES))
    assert 0 < found["approved"] <= found["answered"] == found["sent"]
    assert {"p50_ms", "p99_ms", "per_s", "codes", "unanswered"} <= set(found)
    slow = bank.json("simulate", "load", "--seconds", "0.5", "--clients", "3", "--rate", "20")
    assert 1 <= slow["sent"] <= 11
    assert "approved" in bank.text("simulate", "load", "--seconds", "0.2", "--clients", "1")
    assert f"the wallet has {FAMILIES}" in bank.refused("simulate", "load", "--clients", "8")


def test_a_pin_block_chooses_a_pin(bank: Shell) -> None:
    """What pin-block makes is what `kks card choose-pin` takes: the family's new PIN works."""
    block = bank.text("simulate", "pin-block", "--pin", "739146").strip()
    assert (16, block.upper()) == (len(bytes.fromhex(block)) * 2, block)
    account = bank.json("simulate", "pin-block", "--pin", "739146")["account"]
    (card,) = bank.json("card", "list", account)["cards"]
    bank.json("card", "reset-pin", str(card["card"]), "--reason", "forgotten", "--as", "branch")
    bank.json("card", "choose-pin", str(card["card"]), "--pin-block", block, "--as", "branch")
    assert ["55", "00"] == [bank.json("simulate", "balance", *words)["code"] for words in ((), ("--pin", "739146"))]


def test_nobody_is_there(alone: Shell) -> None:
    """One line with the address, for every command that asks a bank."""
    for words in (
        ("withdraw", "--amount", "50000"), ("purchase", "--amount", "50000"), ("balance",), ("sign-on",), ("echo",), ("cases",),
    ):  # fmt: skip
        line = alone.refused("simulate", *words)
        assert "no bank at 127.0.0.1:" in line
        assert "kks serve" in line
    assert "no connection to 127.0.0.1:" in alone.refused("simulate", "load", "--clients", "2")


def test_there_is_no_wallet(alone: Shell, tmp_path: Path) -> None:
    """One line names the file and who makes one; an empty or damaged one as well."""
    wallet = tmp_path / "var" / "demo" / "wallet.json"
    wallet.unlink()
    for words in (("balance",), ("cases",), ("load",), ("pin-block", "--pin", "204817")):
        line = alone.refused("simulate", *words)
        assert (True, True) == (str(wallet) in line, "kks demo" in line)
    make_wallet(0).save(wallet)
    assert "holds no card" in alone.refused("simulate", "balance")
    wallet.write_text("nonsense", encoding="utf-8")
    assert "is not JSON" in alone.refused("simulate", "balance", "--wallet", str(wallet))


def test_a_bank_that_refuses_the_sign_on(alone: Shell) -> None:
    """One line says that the terminal is not signed on, and why."""
    with in_thread(lambda: _refusing("91")) as port:
        for words in (("withdraw", "--amount", "50000"), ("balance",), ("cases",)):
            line = alone.refused("simulate", *words, "--port", str(port))
            assert "not signed on: sign-on refused with response code 91 (issuer or switch inoperative)" in line
        assert "91" == alone.json("simulate", "sign-on", "--port", str(port))["code"]


def test_wrong_arguments(alone: Shell) -> None:
    """One line, exit 1, or usage, exit 2; nothing is sent and no digit of a PIN is told."""
    for words, said in (
        (("withdraw", "--amount", "much"), "--amount"),
        (("withdraw", "--amount", "100", "--then-reverse", "--kept", "100"), "--kept"),
        (("balance", "--pin", "12a4"), "--pin"),
        (("balance", "--card", "4"), "the wallet has 3 cards"),
        (("balance", "--card", "1", "--account", "1"), "give one of them"),
        (("balance", "--account", "77"), "--account"),
        (("explain", "nonsense"), "is not hex"),
    ):
        line = alone.refused("simulate", *words)
        assert said in line
        assert "12a4" not in line
    for usage in (
        ("withdraw",),
        ("withdraw", "--amount", "1", "--kept", "1"),
        ("balance", "--card", "0"),
        ("load", "--seconds", "0"),
    ):
        alone.usage("simulate", *usage)


def test_explain(alone: Shell) -> None:
    """With or without its header, masked unless asked; a broken message shows what could be read."""
    data = encode(CASH)
    for one in (data, b"%04d" % len(data) + data):
        shown = alone.text("simulate", "explain", one.hex())
        assert ("MTI 0200", True, False) == (shown.splitlines()[0], "601301******0018" in shown, PAN in shown)
        assert CASH.fields[52] not in shown
        open_words = alone.text("simulate", "explain", one.hex(" "), "--unmasked")
        assert (True, True) == (PAN in open_words, CASH.fields[52] in open_words)
    found = alone.json("simulate", "explain", data.hex())
    assert ("0200", "601301******0018", None) == (found["mti"], found["fields"]["2"], found["fault"])
    assert PAN == alone.json("simulate", "explain", data.hex(), "--unmasked")["fields"]["2"]
    broken = data[:-3]
    code, out, err = alone.run("simulate", "explain", broken.hex())
    assert (1, True) == (code, "601301******0018" in out)
    assert "field 52" in err


def test_a_type_that_looks_like_a_length(alone: Shell) -> None:
    """A message of 204 bytes begins with 0200, which could be the length of the rest."""
    message = Message(CASH.mti, {number: text for number, text in CASH.fields.items() if number != 52} | {48: ""})
    short = len(encode(Message(message.mti, message.fields | {48: "X"}))) - 1
    data = encode(Message(message.mti, message.fields | {48: "X" * (204 - short)}))
    assert 204 == len(data)
    assert "0200" == alone.json("simulate", "explain", data.hex())["mti"]


def test_the_manual(alone: Shell) -> None:
    """`kks simulate --help` shows a first round whose commands there are."""
    shown = alone.text("simulate", "--help")
    used = {line.split()[2] for line in shown.splitlines() if line.strip().startswith("kks simulate ")}
    known = set(typer.main.get_command(app).commands["simulate"].commands)  # type: ignore[attr-defined]
    assert COMMANDS == known
    assert {"echo", "balance", "withdraw", "purchase", "cases", "load"} == used


def _left(bank: Shell, *words: str) -> int:
    return sum(bank.json("simulate", "balance", *words)["balances"].values())


@contextmanager
def in_thread(opened: Callable[[], AbstractAsyncContextManager[int]]) -> Iterator[int]:
    """Something that listens, on an event loop of its own: commands run theirs in this thread. Yields its port."""
    ready = threading.Event()
    ports: list[int] = []
    stops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    failures: list[BaseException] = []

    async def stay() -> None:
        stop = asyncio.Event()
        stops.append((asyncio.get_running_loop(), stop))
        async with opened() as port:
            ports.append(port)
            ready.set()
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(stay())
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        ready.wait()
        if failures:
            raise failures[0]
        yield ports[0]
    finally:
        if not failures:
            loop, stop = stops[0]
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    assert [] == failures


@asynccontextmanager
async def serving(folder: Path, families: int = FAMILIES) -> AsyncIterator[int]:
    """The bank of the environment with families, cards and money."""
    async with open_bank(load_settings()) as bank, open_street(bank, folder, families=families) as street:
        (folder / "var" / "demo").mkdir()
        street.wallet.save(folder / "var" / "demo" / "wallet.json")
        yield street.service.iso_address[1]


@asynccontextmanager
async def _refusing(code: str) -> AsyncIterator[int]:
    """An issuer that answers every sign-on so."""

    def twist(request: Message, answer: Message) -> Message:
        return Message(answer.mti, answer.fields | {39: code}) if request.mti == "0800" else answer

    async with FakeIssuer(make_wallet(1), make_pinpad(), twist=twist) as issuer:
        yield issuer.port
