"""Tests of gateway.cli.rounds: scripted cases and load against a real service, as a person and as a program use them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.cases import shipped_cases
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.profile import read_profile
from tests.gateway.cli.beside import FAMILIES, in_thread, serving
from tests.gateway.simulator.fake_issuer import FakeIssuer, make_wallet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from iso.message import Message
    from tests.gateway.cli.shell import Shell


@pytest.fixture
def bank(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """The same shell with a service running, its port in the settings and its wallet where the demo puts it."""
    with in_thread(lambda: serving(tmp_path)) as port:
        monkeypatch.setenv("KKS_ISO_PORT", str(port))
        yield shell


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


def test_the_list_of_cases(shell: Shell, tmp_path: Path) -> None:
    """What each is about, by group; no bank is asked. Another profile has other cases, a wrong file is one line."""
    shown = shell.text("simulate", "cases", "--list").splitlines()
    assert {"raw", "  cash_atm: 0200 with DE3 010000 and DE18 6011.", f"{len(shipped_cases())} cases"} <= set(shown)
    assert "edc" not in shown
    found = shell.json("simulate", "cases", "--list", "--profile", "edc")["cases"]
    assert [path.name for path in shipped_cases(read_profile("edc"))] == [one["file"] for one in found]
    assert "none.toml" in shell.refused("simulate", "cases", "--list", str(tmp_path / "none.toml"))
    assert "there is no profile nobody" in shell.refused("simulate", "cases", "--profile", "nobody")


def test_cases_again_and_at_once_with_cuts_under_load(shell: Shell, tmp_path: Path) -> None:
    """Every run passes, and the load's books agree."""
    paths = [str(path) for path in shipped_cases() if path.stem in ("cash_atm", "reversal", "duplicate")]
    words = ("--repeat", "4", "--clients", "3", "--cut", "20%", "--under-load", "20")
    with in_thread(lambda: serving(tmp_path, 24)) as port:
        found = shell.json("simulate", "cases", *paths, *words, "--port", str(port))
    assert (12, 0, True) == (found["passed"], found["failed"], found["cuts"] > 0)
    assert (8, True) == (found["load"]["cards"], found["load"]["books"]["agrees"])


def test_a_link_that_wants_proof(shell: Shell, tmp_path: Path) -> None:
    """Cases, single messages and load of a profile that signs; the chips' counters go on from one command to the next."""
    names = ("mac_right", "chip_replayed", "stripe_right")
    paths = [str(path) for path in shipped_cases(read_profile("chip")) if path.stem in names]
    with in_thread(lambda: serving(tmp_path, 5, "chip")) as port:
        there = ("--profile", "chip", "--port", str(port))
        found = shell.json("simulate", "cases", *paths, *there)
        assert (3, 0, []) == (found["passed"], found["failed"], found["not_run"])
        assert "00" == shell.json("simulate", "withdraw", "--amount", "10000", "--card", "1", *there)["code"]
        load = shell.json("simulate", "load", "--seconds", "0.3", "--clients", "3", *there)
        assert ({"00": load["answered"]}, True) == (load["codes"], load["books"]["agrees"])
        assert "00" == shell.json("simulate", "echo", *there)["code"]
    counters = (tmp_path / "var" / "simulator" / "chip-counters.txt").read_text(encoding="ascii").splitlines()
    assert len(counters) > load["answered"]


def test_load(bank: Shell) -> None:
    """Figures of a short run, at full speed and at a rate; too few cards are one line."""
    found = bank.json("simulate", "load", "--seconds", "0.3", "--clients", str(FAMILIES))
    assert 0 < found["approved"] <= found["answered"] == found["sent"]
    assert {"p50_ms", "p99_ms", "per_s", "codes", "unanswered"} <= set(found)
    slow = bank.json("simulate", "load", "--seconds", "0.5", "--clients", "3", "--rate", "20")
    assert 1 <= slow["sent"] <= 11
    assert "approved" in bank.text("simulate", "load", "--seconds", "0.2", "--clients", "1")
    assert f"the wallet has {FAMILIES}" in bank.refused("simulate", "load", "--clients", "8")
    for words, said in (
        (("--mix", "dance=1"), "a mix is like withdraw=70"),
        (("--cut", "200%"), "--cut: '200%' is not a share"),
        (("--cut", "much"), "--cut: 'much' is not a share"),
        (("--amount", "much"), "--amount"),
    ):
        assert said in bank.refused("simulate", "load", "--clients", "1", *words)


def test_a_mix_with_cut_connections(bank: Shell) -> None:
    """Everything the bank and the terminals say of the money agrees, at a rate, with a fifth of the messages cut."""
    found = bank.json(
        "simulate", "load", "--seconds", "1", "--clients", "3", "--rate", "60", "--amount", "1000", "--cut", "0.2",
        "--mix", "withdraw=4,purchase=2,balance=2,reverse=2,hold=1",
    )  # fmt: skip
    assert (60, True, 0, 0) == (
        sum(found["kinds"].values()), found["books"]["agrees"], found["unresolved"], found["books"]["unsure"],
    )  # fmt: skip
    assert found["sent"] == found["answered"] + found["timeouts"] + found["lost"]
    assert found["cuts"] > 0
    assert {"p90_ms", "p95_ms", "p999_ms", "max_ms", "unmatched"} <= set(found)
    shown = bank.text("simulate", "load", "--seconds", "0.2", "--clients", "1", "--mix", "balance=1")
    assert ("books:" in shown, "balance" in shown) == (True, True)


def test_a_bank_that_forgets_is_refused(shell: Shell, tmp_path: Path) -> None:
    """It answers and pays, and its balances say something else: exit 1, with the card masked."""
    wallet = make_wallet(2)
    path = tmp_path / "wallet.json"
    wallet.save(path)

    @asynccontextmanager
    async def forgetting() -> AsyncIterator[int]:
        def forget(request: Message, answer: Message) -> Message:
            if request.get(3) == "010000" and answer.fields[39] == "00":
                issuer.accounts[request.fields[2]].available_idr += 10_000
            return answer

        async with FakeIssuer(wallet, pinpad_of(wallet), twist=forget) as issuer:
            yield issuer.port

    with in_thread(forgetting) as port:
        words = ("simulate", "load", "--seconds", "0.2", "--clients", "1", "--port", str(port), "--wallet", str(path))
        found = shell.json(*words, code=1)
        line = shell.refused(*words)
    assert (False, 2) == (found["books"]["agrees"], len(found["books"]["differences"]))
    assert "the books of 2 cards differ: card 601301******" in line
    assert wallet.cards[0].pan.reveal() not in line + json.dumps(found)
