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


# What computes nothing that a standard publishes by itself: types, storage, tables, and commands over keys.
WITHOUT = {
    "keys.backend",
    "keys.card_commands",
    "keys.data_commands",
    "keys.dukpt_commands",
    "keys.envelope",
    "keys.errors",
    "keys.hsm",
    "keys.key_blocks",
    "keys.keyfile",
    "keys.keystore",
    "keys.keystore_format_1",
    "keys.keytypes",
    "keys.lifecycle",
    "keys.local",
    "keys.master_ceremony",
    "keys.rotation",
    "keys.master",
    "keys.permissions",
    "keys.pin_commands",
    "keys.pkcs11",
    "keys.rsa_keys",
    "keys.selftest",
    "keys.software",
    "keys.token",
    "keys.token_objects",
    "keys.token_workshop",
    "keys.toolbox",
    "keys.vault",
    "keys.workshop",
}


def test_there_are_examples() -> None:
    """Every module that computes something published shows it."""
    finder = doctest.DocTestFinder()
    shown = {name for name in MODULES if any(found.examples for found in finder.find(importlib.import_module(name)))}
    assert set(MODULES) - WITHOUT == shown
