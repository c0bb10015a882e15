"""Errors of the room."""

import pytest

from keys import errors
from keys.errors import KeysError, PinRefusal, PinRefused


@pytest.mark.parametrize(
    "name", ["KeyRefused", "KeystoreError", "PanRefused", "PinRefused", "SelfTestFailed", "VaultError"]
)
def test_one_root(name: str) -> None:
    """Whoever catches KeysError catches all of them."""
    assert issubclass(getattr(errors, name), KeysError)


@pytest.mark.parametrize("reason", PinRefusal)
def test_pin_refused_says_why(reason: PinRefusal) -> None:
    """The reason is there for the program and, in words, for a person."""
    refused = PinRefused(reason)
    assert reason is refused.reason
    assert f"the PIN is refused: {reason.value}" == str(refused)
