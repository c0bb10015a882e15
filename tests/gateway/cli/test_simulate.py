"""Tests of gateway.cli.simulate: `kks simulate` against a real service, as a person and as a program use it."""

from __future__ import annotations

import re
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import typer.main

from gateway.cli import app
from gateway.simulator.capture import read_capture
from gateway.simulator.profile import read_profile
from gateway.terminals.links_file import DEFAULT_FILE
from iso.codec import encode
from iso.message import Message
from tests.gateway.cli.beside import FAMILIES, in_thread, serving
from tests.gateway.cli.shell import Shell
from tests.gateway.simulator.fake_issuer import FakeIssuer, make_pinpad, make_wallet
from tests.gateway.street import AID_IDR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PAN = "6013010000000018"
CASH = Message("0200", {2: PAN, 3: "010000", 4: "000005000000", 11: "000007", 41: "A0000001", 52: "0123456789ABCDEF"})
COMMANDS = {
    "withdraw", "purchase", "balance", "sign-on", "echo", "cases", "load", "explain", "pin-block", "host", "replay",
}  # fmt: skip


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


@pytest.fixture
def _in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of links that approve purchases in part."""
    path = tmp_path / "links.toml"
    shipped = DEFAULT_FILE.read_text(encoding="utf-8")
    path.write_text(
        shipped.replace("expiring_in_48", 'partial_approval = "purchases"\nexpiring_in_48', 1), encoding="utf-8"
    )
    monkeypatch.setenv("KKS_LINKS_FILE", str(path))


@pytest.mark.usefixtures("_in_part")
def test_a_purchase_approved_in_part(bank: Shell) -> None:
    """What was approved of what was asked for, in words and as values; then there is nothing."""
    shown = bank.text("simulate", "purchase", "--amount", "900000")
    assert "10 approved for a part of the amount" in shown
    assert "Rp600.000 of Rp900.000 asked for, approval " in shown
    told = bank.json("simulate", "purchase", "--amount", "900000", "--card", "2")
    assert (True, "10", 900_000, AID_IDR, {"10": 0, "98": 0}) == tuple(
        told[name] for name in ("approved", "code", "amount_idr", "approved_idr", "balances")
    )
    assert ("51", 0) == tuple(
        bank.json("simulate", "purchase", "--amount", "1000")[name] for name in ("code", "approved_idr")
    )


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
        ("load", "--clients", "2"),
    ):  # fmt: skip
        line = alone.refused("simulate", *words)
        assert "no bank at 127.0.0.1:" in line
        assert "kks serve" in line


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
        (("explain", "00", "--profile", "morse"), "there is no profile morse: chip, edc, himbara"),
        (("balance", "--profile", "edc"), "there is no test key bdk-edc"),
        (("balance", "--unmasked-capture"), "goes with --capture"),
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


def test_explain_in_another_profile(alone: Shell) -> None:
    """Packed, alone or behind length and TPDU."""
    profile = read_profile("edc")
    data = encode(CASH, profile.dialect)
    for one in (data, profile.framing.frame(data)):
        shown = alone.text("simulate", "explain", one.hex(), "--profile", "edc")
        assert ("MTI 0200", True, False) == (shown.splitlines()[0], "601301******0018" in shown, PAN in shown)
    assert "MTI" in alone.refused("simulate", "explain", data.hex())


def test_explain_hides_the_same_in_json(alone: Shell, tmp_path: Path) -> None:
    """A field that a bank made longer may hold anything; a BIN of eight digits shows where that is said."""
    own = tmp_path / "own.toml"
    own.write_text(
        'name = "own"\ndialect = "himbara"\n[changes]\nfields.40 = { kind = "ans", length = 40, length_digits = 2 }\n'
    )
    data = encode(Message("0200", {2: PAN, 40: PAN}), read_profile(str(own)).dialect).hex()
    for flags, card in (((), "601301******0018"), (("--long-bin",), "60130100****0018")):
        words = alone.text("simulate", "explain", data, "--profile", str(own), *flags)
        fields = alone.json("simulate", "explain", data, "--profile", str(own), *flags)["fields"]
        assert (True, True, False) == (card in words, "[16 characters]" in words, PAN in words)
        assert {"2": card, "40": "[16 characters]"} == fields


def test_a_capture_of_a_visit(bank: Shell, tmp_path: Path) -> None:
    """A new file of what was sent and answered, without the card; whole only where that was said by name."""
    masked, whole = tmp_path / "masked", tmp_path / "whole"
    wallet = (tmp_path / "var" / "demo" / "wallet.json").read_text(encoding="utf-8")
    pan = next(line.split('"')[3] for line in wallet.splitlines() if '"pan"' in line)
    bank.json("simulate", "withdraw", "--amount", "50000", "--then-reverse", "--capture", str(masked))
    bank.json("simulate", "balance", "--capture", str(whole), "--unmasked-capture")
    assert 8 == len(read_capture(masked))
    hidden = pan.encode().hex().upper()
    assert (False, True) == tuple(hidden in path.read_text() for path in (masked, whole))
    assert "File exists" in bank.refused("simulate", "balance", "--capture", str(whole))


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
    used = set(re.findall(r"kks simulate ([a-z-]+)", shown))
    known = set(typer.main.get_command(app).commands["simulate"].commands)  # type: ignore[attr-defined]
    assert COMMANDS == known
    assert COMMANDS - {"explain", "pin-block"} == used


def _left(bank: Shell, *words: str) -> int:
    return sum(bank.json("simulate", "balance", *words)["balances"].values())


@asynccontextmanager
async def _refusing(code: str) -> AsyncIterator[int]:
    """An issuer that answers every sign-on so."""

    def twist(request: Message, answer: Message) -> Message:
        return Message(answer.mti, answer.fields | {39: code}) if request.mti == "0800" else answer

    async with FakeIssuer(make_wallet(1), make_pinpad(), twist=twist) as issuer:
        yield issuer.port
