"""Tests of gateway.cli.measure: `kks bench` and `kks chaos`. What they measure: tests/gateway/measure."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.measure import authorise, chaos, codec, keys, lists, proof
from gateway.measure.authorise import AuthoriseFigures
from gateway.measure.chaos import ChaosFigures
from gateway.measure.codec import CodecFigures
from gateway.measure.keys import KeyFigures
from gateway.measure.lists import ListFigures
from gateway.measure.proof import ProofFigures
from gateway.measure.torture import run as torture
from gateway.measure.torture.run import TortureFigures

if TYPE_CHECKING:
    from types import ModuleType

    from tests.gateway.cli.shell import Shell

AUTHORISE = AuthoriseFigures(
    authorisations_per_s=9_000.0, pgbench_tps=4_000.0, ratio=2.25, p50_ms=12.5, p99_ms=30.1, declined=0, accounts=1_000,
    gateway_cpu_us_per_authorisation=95.5, half_per_s=4_500.0, p50_half_ms=3.1, p99_half_ms=6.2, pgbench_tps_8=3_900.0,
    pgbench_tps_32=4_000.0, pgbench_p50_8_ms=1.9, p99_half_ratio=3.26, postgres_cpu_us_per_authorisation=60.0,
    postgres_background_cpu_us_per_authorisation=1.5, load_cpu_us_per_authorisation=5.0,
    wal_bytes_per_authorisation=2_000, wal_pages_per_authorisation=0.1, processes=1, clients=128,
    seconds=15.0, cards=1_000, database_bytes=9_000_000, fsync="on", synchronous_commit="on",
)  # fmt: skip
LISTS = ListFigures(
    1_000, 12_000.0, 200_000.0, 16.67, 0.083, 0.005, 90.0, 40.0, 3.5, 0.024, {"import": 0.083}, 2, same_ledger=True
)
CODEC = CodecFigures(50_000.0, 10_000.0, 5.0, 0.5, 60.0, 120.0, 15, 20_000, 3_000, 2_900, 5, 0, 0.1, 1.5)
KEYS = KeyFigures(
    6.5,
    10.1,
    2.4,
    330_000.0,
    50_000.0,
    700_000.0,
    200_000.0,
    32_000.0,
    1.7,
    11_000.0,
    0.6,
    19_000.0,
    63_000.0,
    26_000.0,
    3.0,
)
PROOF = ProofFigures(2_000_001, 18, 100_000, 16.7, 1.2, 1.1, 0.4, 13.9)
CHAOS = ChaosFigures(100, 110, 0, 0, 7, proof_ok=True, gateway_kills=3, postgres_kills=4, cuts=2, pool_fills=2,
                     restarts=1, abuses=1, longest_silence_s=4.5, repeated=9, reversed=5, seconds=60.0, wrong=[])  # fmt: skip
TORTURE = TortureFigures(7, 3, 60, 200, 9, proof_ok=True, seconds=12.5, last_day="2026-01-09", credited_idr=9_000_000,
                         returned_idr=600_000, crashes_by_kind={"process": 9}, answers={"CASH APPROVED": 30})  # fmt: skip
LIST_KEYS = {"rows_per_s", "copy_rows_per_s", "ratio"}
BENCHES: list[tuple[str, ModuleType, str, Any, set[str]]] = [
    ("authorise", authorise, "measure", AUTHORISE,
     {"authorisations_per_s", "pgbench_tps", "ratio", "p50_ms", "p99_ms", "declined", "accounts",
      "gateway_cpu_us_per_authorisation", "p99_half_ms", "pgbench_p50_8_ms", "p99_half_ratio"}),
    ("intake", lists, "measure_intake", LISTS, LIST_KEYS),
    ("credit", lists, "measure_credit", LISTS, LIST_KEYS),
    ("proof", proof, "measure", PROOF, {"transfers", "full_s", "incremental_s", "close_s", "ratio"}),
    ("codec", codec, "measure", CODEC, {"ops_per_s", "pyiso8583_ops_per_s", "ratio", "server_cost_ratio"}),
    ("keys", keys, "measure", KEYS, {"pin_verify_ratio", "tr31_unwrap_ratio", "arqc_ratio", "pin_verifications_per_s"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "module", "function", "figures", "promised"), BENCHES)
def test_figures(
    name: str,
    module: ModuleType,
    function: str,
    figures: object,
    promised: set[str],
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The promised keys as JSON, and a table for people."""
    monkeypatch.setattr(module, function, _measured(figures))
    found = shell.json("bench", name)
    assert promised <= set(found)
    assert {one.name: getattr(figures, one.name) for one in fields(figures)} == found  # type: ignore[arg-type]
    shown = shell.text("bench", name)
    assert [] == [key for key in promised if key not in shown]


def test_another_ledger_is_a_failure(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credit run that was killed and left another ledger ends with exit 1; how often and with which seed is passed on."""
    seen: list[tuple[Any, ...]] = []

    async def measure_credit(*arguments: Any) -> ListFigures:  # noqa: ANN401 - looked at below
        seen.append(arguments[3:])
        return replace(LISTS, same_ledger=False)

    monkeypatch.setattr(lists, "measure_credit", measure_credit)
    code, out, err = shell.run("bench", "credit", "--kill", "3", "--seed", "9", "--json")
    assert (1, [(3, 9)]) == (code, seen)
    assert "another ledger" in err
    assert '"same_ledger": false' in out


def test_what_is_said_on_the_way_is_for_people(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of progress, and none of them beside JSON."""
    seen: list[tuple[Any, ...]] = []

    async def measure_intake(*arguments: Any) -> ListFigures:  # noqa: ANN401 - looked at below
        seen.append(arguments)
        arguments[-1]("making a list")
        return LISTS

    monkeypatch.setattr(lists, "measure_intake", measure_intake)
    assert shell.text("bench", "intake", "--rows", "2000").startswith("making a list\n")
    code, out, err = shell.run("bench", "intake", "--json")
    assert (0, 1, "") == (code, len(out.splitlines()), err)
    assert [2_000, 100_000] == [arguments[1] for arguments in seen]


def test_chaos_that_loses_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 0 and the promised keys."""
    monkeypatch.setattr(chaos, "run_chaos", _measured(CHAOS))
    promised = {"approved", "answered", "lost", "doubled", "kills", "proof_ok", "pool_fills", "restarts", "cuts"}
    assert promised <= set(shell.json("chaos", "--seconds", "5"))


@pytest.mark.parametrize("change", [{"lost": 1}, {"doubled": 1}, {"proof_ok": False}])
def test_chaos_that_loses_something(change: dict[str, Any], shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1 with one line, and the figures all the same."""
    monkeypatch.setattr(chaos, "run_chaos", _measured(replace(CHAOS, **change)))
    assert "lost or doubled" in shell.refused("chaos")
    found = shell.json("chaos", code=1)
    assert change.items() <= found.items()


@pytest.mark.parametrize(
    "words",
    [
        ("bench", "intake", "--rows", "999"),
        ("bench", "credit", "--rows", "many"),
        ("bench", "authorise", "--accounts", "10"),
        ("bench", "codec", "--seconds", "0"),
        ("bench", "nothing"),
        ("chaos", "--seconds", "1"),
        ("torture", "--days", "0"),
    ],
)
def test_wrong_words_are_usage(words: tuple[str, ...], shell: Shell) -> None:
    """Exit 2; nothing is measured."""
    shell.usage(*words)


def _measured(figures: object) -> object:
    """A measurement that has been made."""

    async def measured(*_arguments: object, **_options: object) -> object:
        return figures

    return measured


def test_torture_that_finds_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 0 and the promised keys."""
    monkeypatch.setattr(torture, "run_torture", _measured(TORTURE))
    found = shell.json("torture", "--seed", "7", "--days", "3", "--families", "5")
    assert {"seed", "days", "steps", "checks", "crashes", "proof_ok", "seconds"} <= set(found)
    assert (True, "") == (found["proof_ok"], found["failure"])


def test_torture_that_finds_something(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1 with the seed, and the figures all the same."""
    failed = replace(TORTURE, proof_ok=False, failure="seed 7, step 12 (crowd) on 2026-01-09: model = bank")
    monkeypatch.setattr(torture, "run_torture", _measured(failed))
    assert "seed 7, step 12" in shell.refused("torture", "--seed", "7")
    found = shell.json("torture", "--seed", "7", code=1)
    assert (False, failed.failure) == (found["proof_ok"], found["failure"])
