"""Errors of the room."""

import ast
import inspect
from pathlib import Path

import pytest

import keys
from keys import errors
from keys.envelope import DoesNotOpen
from keys.errors import KeysError, PinRefusal, PinRefused

MODULES = sorted(Path(keys.__path__[0]).glob("*.py"))
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


def test_each_says_what_it_is() -> None:
    """In a docstring of its own; what an entry of a keystore raises is one of them."""
    assert all(error.__doc__ and error.__doc__ != KeysError.__doc__ for error in ERRORS if error is not KeysError)
    assert issubclass(DoesNotOpen, errors.KeystoreError)


# Who raises something else, and why it never leaves the room: see each.
INNER = {
    ("emv_profile", "_WrongValue"),  # caught where the profile is read
    ("sensitive", "AttributeError"),  # what Python expects of an object that cannot be changed
    ("sensitive", "TypeError"),  # the same, of one that cannot be pickled
    ("envelope", "ValueError"),  # caught where an entry is opened
    ("master", "FileExistsError"),  # caught where a secret file is written
    ("luhn", "ValueError"),  # a mistake of the program: digits are made by it, never given by anybody
    ("token", "PyKCS11.PyKCS11Error"),  # caught where the token is asked
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_else_is_raised(path: Path) -> None:
    """Every error that a module names is one of errors.py, or a part of one; no raise without a name but to hand one on."""
    known = {error.__name__ for error in ERRORS} | {"DoesNotOpen"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Raise) or node.exc is None:
            continue
        made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        name = ast.unparse(made)
        assert name in known or (path.stem, name) in INNER, f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_error_is_chained_to_another_by_chance(path: Path) -> None:
    """What is raised in an except block says `from None`: the error beneath may hold what it was given, and logs show it."""
    for handler in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(handler, ast.ExceptHandler):
            continue
        for node in ast.walk(handler):
            if isinstance(node, ast.Raise) and node.exc is not None:
                assert isinstance(node.cause, ast.Constant) and node.cause.value is None, f"line {node.lineno}"  # noqa: PT018 - one thought
