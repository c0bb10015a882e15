"""Tests of gateway.simulator.errors."""

from __future__ import annotations

import inspect

from gateway.simulator import errors


def test_every_error_of_the_room_is_a_simulator_error() -> None:
    """One except clause catches whatever goes wrong on the simulator's own side."""
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    expected = {
        "SimulatorError", "WalletError", "CaseError", "JournalError", "LoadError", "RuleError", "ProfileError", "CaptureError",
        "WrongArpc", "WrongMac",
    }  # fmt: skip
    assert expected == {kind.__name__ for kind in found if issubclass(kind, errors.SimulatorError)}
    assert expected == {kind.__name__ for kind in found if kind.__module__ == errors.__name__}
