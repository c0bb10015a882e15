"""The examples in the docstrings."""

import doctest
import importlib
import pkgutil

import pytest

import keys

MODULES = [found.name for found in pkgutil.iter_modules(keys.__path__, "keys.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_come_out(name: str) -> None:
    """Each example of each module."""
    assert 0 == doctest.testmod(importlib.import_module(name)).failed


def test_there_are_examples() -> None:
    """The modules with published vectors show them."""
    finder = doctest.DocTestFinder()
    shown = {name for name in MODULES if any(found.examples for found in finder.find(importlib.import_module(name)))}
    assert {"keys.kcv", "keys.luhn", "keys.mac", "keys.pin", "keys.sensitive", "keys.tdes", "keys.usages"} == shown
