"""Tests of gateway.measure.torture.steps: the dice."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

from gateway.measure.torture import steps


def test_every_step_comes_and_a_seed_chooses_the_same() -> None:
    """In the order of the dice alone."""
    first, second = ([steps.choose(cast("Any", world)) for _ in range(3_000)] for world in (_dice(), _dice()))
    assert first == second
    assert set(steps.WEIGHTS) == set(first)


def _dice() -> SimpleNamespace:
    return SimpleNamespace(chance=random.Random(5))
