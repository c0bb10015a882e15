"""Tests of gateway.cli.story: `kks demo`. The story itself: tests/gateway/test_demo.py."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway import demo
from gateway.cli import story
from gateway.demo import DemoResult

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.gateway.cli.shell import Shell

KEYS = {
    "families", "rejected", "accounts", "cards", "activated", "credited_idr", "authorisations", "reversed", "withdrawn_idr",
    "purchased_idr", "frozen_idr", "returned_idr", "remaining_idr", "proof_ok", "seconds",
}  # fmt: skip
RESULT = DemoResult(
    families=1_000, withdrawn_idr=1_500_000, authorisations={"00": 5, "55": 1}, proof_ok=True, seconds=1.5
)


def test_json_has_the_promised_keys(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the keys that outsiders read, and nothing else on standard output."""
    monkeypatch.setattr(demo, "run_demo", _told(RESULT))
    code, out, err = shell.run("demo", "--json")
    assert (0, "", 1) == (code, err, len(out.splitlines()))
    assert set(json.loads(out)) == KEYS
    assert {"00": 5, "55": 1} == json.loads(out)["authorisations"]


def test_a_proof_that_does_not_hold_is_exit_1(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the figures all the same."""
    monkeypatch.setattr(demo, "run_demo", _told(replace(RESULT, proof_ok=False)))
    assert not shell.json("demo", code=1)["proof_ok"]
    code, out, _err = shell.run("demo")
    assert 1 == code
    assert "DOES NOT HOLD" in out


def test_people_read_a_table(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rupiah as Indonesia writes it, and where to look next."""
    monkeypatch.setattr(demo, "run_demo", _told(RESULT))
    shown = shell.text("demo")
    assert [] == [
        word for word in ("Rp1.500.000", "every rupiah is explained", "wallet.json", "kks serve") if word not in shown
    ]


def test_too_few_or_too_many_families(shell: Shell) -> None:
    """Usage, exit 2."""
    for number in (story.FEWEST - 1, story.MOST + 1):
        shell.usage("demo", "--families", str(number))


def test_a_bank_that_is_not_the_demos_is_left_alone(shell: Shell, tmp_path: Path) -> None:
    """A data folder with somebody's bank is refused before anything is touched."""
    (tmp_path / "var" / "pg" / "data").mkdir(parents=True)
    assert "did not make" in shell.refused("demo")


def _told(result: DemoResult) -> object:
    async def run_demo(*_arguments: object) -> DemoResult:
        return result

    return run_demo
