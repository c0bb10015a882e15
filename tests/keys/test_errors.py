"""Errors of the room."""

import inspect

import pytest

from keys import errors
from keys.errors import KeysError, PinRefusal, PinRefused

ERRORS = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, Exception)]


@pytest.mark.parametrize("error", ERRORS)
def test_one_root(error: type[Exception]) -> None:
    """Whoever catches KeysError catches all of them."""
    assert issubclass(error, KeysError)


@pytest.mark.parametrize("reason", PinRefusal)
def test_pin_refused_says_why(reason: PinRefusal) -> None:
    """The reason is there for the program and, in words, for a person."""
    refused = PinRefused(reason)
    assert reason is refused.reason
    assert f"the PIN is refused: {reason.value}" == str(refused)
