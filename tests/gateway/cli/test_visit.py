"""Tests of gateway.cli.visit: what is shown of an exchange, which card is meant, and one line for what fails."""

from __future__ import annotations

import pytest
import typer

from gateway.cli import visit
from gateway.errors import Refused
from gateway.simulator.errors import WalletError
from gateway.simulator.exchange import Exchange
from iso.errors import FormatError, LinkClosed, SignOnRefused
from iso.message import Message
from keys.errors import KeyRefused
from tests.gateway.simulator.fake_issuer import make_wallet

PAN = "6013010000000018"
REQUEST = Message("0200", {2: PAN, 4: "000005000000", 11: "000007", 41: "A0000001", 52: "0123456789ABCDEF"})
ANSWER = Message("0210", REQUEST.fields | {38: "A1B2C3", 39: "00", 54: "1002360C0000000300009802360C000000040000"})


def test_an_exchange_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Code and meaning, masked card, amount, approval, what can be spent from each purse."""
    visit.show(Exchange(REQUEST, ANSWER, 12.4))
    shown = capsys.readouterr().out
    assert "0200 000007 at A0000001: 00 approved, 12 ms" == shown.splitlines()[0]
    assert "  card 601301******0018, Rp50.000, approval A1B2C3" == shown.splitlines()[1]
    assert "  can be spent: cash Rp300, food Rp400" == shown.splitlines()[2]


def test_a_part_is_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    """What was approved of what was asked for."""
    part = Exchange(REQUEST, Message("0210", ANSWER.fields | {4: "000002000000", 39: "10"}), 12.4)
    visit.show(part)
    shown = capsys.readouterr().out.splitlines()
    assert "0200 000007 at A0000001: 10 approved for a part of the amount, 12 ms" == shown[0]
    assert "  card 601301******0018, Rp20.000 of Rp50.000 asked for, approval A1B2C3" == shown[1]
    assert (True, 50_000, 20_000) == tuple(
        visit.values_of(part)[name] for name in ("approved", "amount_idr", "approved_idr")
    )


def test_values_hold_no_secret() -> None:
    """Neither PAN nor PIN block; numbers are numbers."""
    values = visit.values_of(Exchange(REQUEST, ANSWER, 12.44))
    assert (50_000, 12.4, {"10": 300, "98": 400}) == (values["amount_idr"], values["elapsed_ms"], values["balances"])
    assert [] == [secret for secret in (PAN, REQUEST.fields[52]) if secret in str(values)]


def test_silence_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """No answer: shown as such, then one line and exit 1."""
    silent = Exchange(REQUEST, None, 30_000.0, "no answer within 30 s")
    visit.show(silent)
    visit.refuse_silence([Exchange(REQUEST, ANSWER, 1.0)])
    with pytest.raises(typer.Exit) as ended:
        visit.refuse_silence([Exchange(REQUEST, ANSWER, 1.0), silent])
    assert 1 == ended.value.exit_code
    out, err = capsys.readouterr()
    assert "0200 000007 at A0000001: no answer\n" == out
    assert "kks: 0200 000007 at A0000001: no answer within 30 s; what the bank did is not known\n" == err
    assert ("", "no answer", None) == tuple(visit.values_of(silent)[name] for name in ("code", "meaning", "answer"))


def test_which_card() -> None:
    """Place from 1, account number, or the first; what is not there is refused."""
    wallet = make_wallet(3)
    first, second, third = wallet.cards
    assert first is visit.card_of(wallet, None, "")
    assert second is visit.card_of(wallet, 2, "")
    assert third is visit.card_of(wallet, None, third.account_number)
    for place, account in ((4, ""), (None, "77"), (1, third.account_number)):
        with pytest.raises(Refused):
            visit.card_of(wallet, place, account)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LinkClosed("no connection: refused"), "no bank at here:1: no connection: refused; `kks serve` starts one"),
        (
            SignOnRefused("91"),
            "here:1: not signed on: sign-on refused with response code 91 (issuer or switch inoperative)",
        ),
        (WalletError("wallet x: is not JSON"), "wallet x: is not JSON"),
        (FormatError(4, "is too long"), "field 4: is too long"),
        (KeyRefused("the key may not"), "the key may not"),
        (Refused("not so"), "not so"),
    ],
)
def test_failures_are_one_line(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of failure, exit 1."""
    with pytest.raises(typer.Exit) as ended, visit.in_one_line("here:1"):
        raise error
    assert (1, f"kks: {said}\n") == (ended.value.exit_code, capsys.readouterr().err)


def test_a_bug_keeps_its_traceback() -> None:
    """What is nobody's refusal goes through."""
    with pytest.raises(ZeroDivisionError), visit.in_one_line("here:1"):
        raise ZeroDivisionError
