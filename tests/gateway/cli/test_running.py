"""Tests of gateway.cli.running: who acts, words into values, what becomes of failures."""

from __future__ import annotations

import getpass
from datetime import date
from typing import TYPE_CHECKING, NoReturn

import pytest
import typer

from gateway.cli import running
from gateway.errors import GatewayError, Refused, SettingsError

if TYPE_CHECKING:
    from tests.gateway.cli.shell import Shell


def test_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name given, else the user of the system, else the user's number."""
    assert "ani" == running.who(" ani ")
    monkeypatch.setattr(getpass, "getuser", lambda: "system")
    assert "system" == running.who("")
    monkeypatch.setattr(getpass, "getuser", _nobody)
    assert running.who(" ").startswith("uid-")


def test_dates_and_amounts() -> None:
    """ISO dates; rupiah with or without dots; anything else is refused by the option's name."""
    assert date(2026, 11, 23) == running.parse_date("2026-11-23", "--on")
    assert 1_500_000 == running.parse_amount("1.500.000", "--amount") == running.parse_amount("1500000", "--amount")
    for word in ("", "23-11-2026", "2026-02-30"):
        with pytest.raises(Refused, match="--on: "):
            running.parse_date(word, "--on")
    for word in ("", "0", "-5", "many", "1,5"):
        with pytest.raises(Refused, match="--amount: "):
            running.parse_amount(word, "--amount")


def test_a_refusal_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Any failure of the gateway's own; a bug keeps its traceback."""
    for error in (Refused("no"), SettingsError("no"), GatewayError("no")):
        with pytest.raises(typer.Exit) as stopped:
            running.run(_raise(error))
        assert 1 == stopped.value.exit_code
        assert "kks: no\n" == capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        running.run(_raise(ZeroDivisionError()))


def test_ctrl_c_is_exit_130() -> None:
    """As a shell expects of a program stopped by a signal."""
    with pytest.raises(typer.Exit) as stopped:
        running.run(_raise(KeyboardInterrupt()))
    assert 130 == stopped.value.exit_code


def test_the_environment_names_the_actor(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """KKS_USER stands for --as, and is no unknown setting."""
    monkeypatch.setenv("KKS_USER", "x" * 61)
    assert "user name" in shell.refused("day", "move", "2031-01-01")


def _nobody() -> NoReturn:
    raise OSError("no such user")


async def _raise(error: BaseException) -> None:
    raise error
