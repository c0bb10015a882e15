"""Tests of gateway.measure.keys."""

from __future__ import annotations

import builtins
from dataclasses import asdict
from typing import Any

import psec
import pyemv
import pytest

from gateway.errors import Refused
from gateway.measure import keys
from keys.errors import KeyRefused
from keys.software import SoftwareHsm


async def test_each_side_is_measured() -> None:
    """Every ratio is of two rates of one run, and the names are those that outside checks read."""
    figures = asdict(await keys.measure(0.02))
    assert {"pin_verify_ratio", "tr31_unwrap_ratio", "arqc_ratio"} <= set(figures)
    pairs = {
        "pin_verify_ratio": ("pin_verifications_per_s", "psec_pin_verifications_per_s"),
        "tr31_unwrap_ratio": ("tr31_unwraps_per_s", "psec_tr31_unwraps_per_s"),
        "tr31_fresh_unwrap_ratio": ("tr31_fresh_unwraps_per_s", "psec_tr31_unwraps_per_s"),
        "tr31_import_ratio": ("tr31_imports_per_s", "psec_tr31_unwraps_per_s"),
        "arqc_ratio": ("arqcs_per_s", "pyemv_arqcs_per_s"),
    }
    for ratio, (ours, theirs) in pairs.items():
        assert figures[ours] > 0 < figures[theirs]
        assert figures[ratio] == pytest.approx(figures[ours] / figures[theirs], abs=0.02)


async def test_our_side_is_the_facades_own_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed asks for the key's permission each time: a key that is refused is refused to the measurement too."""
    for name in ("verify_pin", "verify_pins", "verify_cryptogram", "import_block"):
        with monkeypatch.context() as patch:
            patch.setattr(SoftwareHsm, name, _refuses)
            with pytest.raises(KeyRefused):
                await keys.measure(0.02)


async def test_answers_of_ours_that_are_wrong_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything right is as wrong as nothing right."""
    for name, answer in (("verify_pins", [False] * keys.SHAPES), ("verify_pin", True)):
        with monkeypatch.context() as patch:
            patch.setattr(SoftwareHsm, name, lambda *_, answer=answer: answer)
            with pytest.raises(Refused, match="which PIN is right: nothing to compare"):
                await keys.measure(0.02)


def test_turns_are_fair() -> None:
    """Whoever has had least time is next: a slow side gets as much time as a quick one, and as many calls as it earns."""
    counts = [0, 0]

    def quick(_: int) -> None:
        counts[0] += 1

    def slow(_: int) -> None:
        counts[1] += 1
        sum(range(2_000))

    fast, late = keys._rates(0.02, (quick, slow))
    assert counts[0] > counts[1] > 0
    assert fast > late


async def test_answers_that_differ_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A yardstick that does something else measures nothing."""
    for owner, name, other in (
        (psec.pin, "generate_ibm3624_offset", lambda *_: "000000"),
        (psec.tr31, "unwrap", lambda *_: (None, bytes(16))),
        (pyemv.ac, "generate_arpc_1", lambda *_: bytes(8)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, other)
            with pytest.raises(Refused, match="nothing to compare"):
                await keys.measure(0.02)


def _refuses(*_: object) -> object:
    raise KeyRefused("key a#1: may not")


async def test_without_the_yardsticks_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank does not install them."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:  # noqa: ANN401 - as __import__ is
        if name == "pyemv":
            raise ImportError("no such package", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Refused, match="pyemv is not installed"):
        await keys.measure(0.02)
