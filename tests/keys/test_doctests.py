"""The examples in the docstrings: all come out, and whatever computes something published has one and names its standard."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MODULES = [found.name.removeprefix("keys.") for found in pkgutil.iter_modules(keys.__path__, "keys.")]

STANDARD = re.compile(
    r"\b(ISO(/IEC)? [0-9]|EMV|X9\.[0-9]|TR-31|RFC [0-9]|FIPS [0-9]|SP 800-[0-9]|PCI |PKCS#[0-9]|IBM 3624|GPIC|NSICCS|SNAP|BI SE)"
    r"|\bVisa|\bM/Chip"
)
"""What a rule may be taken from; of Visa and M/Chip the schemes' own manuals, which have no public clauses."""

# Nothing in these computes what a standard publishes by itself.
MODULES_WITHOUT = {
    "commands over keys; what they compute is a pure function's": {
        "card_commands", "data_commands", "dukpt_commands", "lifecycle", "local", "permissions", "pin_commands",
        "toolbox", "workshop",
    },
    "how keys are kept, in formats of our own": {
        "envelope", "keyfile", "keystore", "keystore_format_1", "master", "master_ceremony", "rotation",
        "stored_header",
    },
    "back ends: the ciphers are others', and the conformance suite compares them": {
        "backend", "pkcs11", "software", "token", "token_objects", "token_workshop",
    },
    "words and records": {"errors", "keytypes"},
    "it runs published vectors itself": {"selftest"},
}  # fmt: skip

# Names that need no example, and no standard either.
NAMES_WITHOUT = {
    "our own rule, where no standard has one": {
        "kcv.Kcv", "kcv.KcvMethod", "kcv.of_hmac", "kcv.of_hmac_code", "kcv.of_rsa", "vault.Purpose", "vault.key_id",
        "sensitive.Material", "sensitive.Sensitive",
    },
    "what is asked and answered; the commands of hsm show them": {
        "hsm.ChipAnswer", "hsm.Hsm", "hsm.NewPin", "hsm.PinToVerify",
    },
    "it compares, reads or looks up": {
        "emv_profile.read_profiles", "emv_profile.tag_of", "mac.same", "key_blocks.header_of", "key_blocks.opener",
        "key_blocks.passed_on", "key_blocks.spec_of", "key_blocks.wrapper",
    },
    "what keys must look like to be kept here: a table and its checks": {
        "usages.Lengths", "usages.UsageRule", "usages.algorithm_of", "usages.bits_of", "usages.bytes_to_make",
        "usages.check_component", "usages.check_custodian", "usages.check_header", "usages.check_key", "usages.check_label",
        "usages.check_length", "usages.check_new", "usages.is_label", "usages.normal", "usages.purpose_of", "usages.same_person",
    },
    "encodings of RSA keys": {
        "rsa_keys.bits_of", "rsa_keys.kept", "rsa_keys.public_der", "rsa_keys.public_of", "rsa_keys.public_of_numbers",
        "rsa_keys.public_pem",
    },
}  # fmt: skip

# Names that need no example, but name their standard.
NAMES_WITHOUT_EXAMPLE = {
    "what is asked and answered; the commands show them": {"hsm.Dukpt"},
    "words and records of a standard": {
        "cvv.CardValue", "cvv.ExpiryOrder", "dukpt_aes.KeyType", "dukpt_aes.Use", "emv.Deriver", "emv_profile.ArpcKey",
        "emv_profile.Element", "emv_profile.MasterKey", "emv_profile.ScriptKey", "emv_profile.ScriptMac",
        "emv_profile.ScriptMode", "emv_profile.ScriptPadding", "emv_profile.SessionKey", "emv_profile.Signed",
        "emv_profile.Verdict", "pinblock.PinFormat", "pinblock.Translation", "signing.Encoding",
    },
    "its functions show what it does": {"emv.SoftwareDeriver"},
    "its nonces are random": {"vault.Vault"},
    "no vector of it is published": {"dukpt_tdes.data_response_key"},
    "a signature with its key is a page long, and stands in test_signing.py": {"signing.rsa_signer", "signing.rsa_verifier"},
}  # fmt: skip


def public(module: ModuleType) -> Mapping[str, object]:
    """The public functions and classes that a module defines."""
    return {
        name: found
        for name, found in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(found) or inspect.isclass(found))
        and found.__module__ == module.__name__
    }


def without_example(module: ModuleType) -> set[str]:
    """Those that show nothing: an example counts where something comes out of it. A class may show it in a method."""
    finder = doctest.DocTestFinder()
    return {
        name
        for name, found in public(module).items()
        if not any(example.want for test in finder.find(found, name, module) for example in test.examples)
    }


def without_standard(module: ModuleType) -> set[str]:
    """Those whose own docstring names no standard."""
    return {name for name, found in public(module).items() if not STANDARD.search(inspect.getdoc(found) or "")}


def of_all(groups: Mapping[str, Iterable[str]]) -> list[str]:
    """The names of all groups."""
    return [name for names in groups.values() for name in names]


def checked() -> Mapping[str, ModuleType]:
    """The modules that compute what is published."""
    left_out = of_all(MODULES_WITHOUT)
    return {name: importlib.import_module(f"keys.{name}") for name in MODULES if name not in left_out}


def in_full(module: str, names: Iterable[str]) -> set[str]:
    """NAMES with their module."""
    return {f"{module}.{name}" for name in names}


@pytest.mark.parametrize("name", MODULES)
def test_examples_come_out(name: str) -> None:
    """Each example of each module."""
    assert 0 == doctest.testmod(importlib.import_module(f"keys.{name}")).failed


@pytest.mark.parametrize("name", sorted(checked()))
def test_every_public_function_shows_a_vector_and_names_its_standard(name: str) -> None:
    """Name by name, but for those listed above, each for a reason."""
    module, exempt = checked()[name], of_all(NAMES_WITHOUT)
    no_example = in_full(name, without_example(module)) - {*exempt, *of_all(NAMES_WITHOUT_EXAMPLE)}
    assert [] == sorted(no_example), "no example"
    assert [] == sorted(in_full(name, without_standard(module)) - {*exempt}), "no standard"


def test_the_lists_of_exceptions_hold_nothing_else() -> None:
    """A module or name that is not there, stands twice, or has by now what it was excused from."""
    assert [] == sorted(set(of_all(MODULES_WITHOUT)) - set(MODULES))
    listed = [*of_all(NAMES_WITHOUT), *of_all(NAMES_WITHOUT_EXAMPLE)]
    assert len(set(listed)) == len(listed)
    lacks_example = {full for name, module in checked().items() for full in in_full(name, without_example(module))}
    lacks_standard = {full for name, module in checked().items() for full in in_full(name, without_standard(module))}
    assert [] == sorted(set(of_all(NAMES_WITHOUT_EXAMPLE)) - lacks_example)
    assert [] == sorted(set(of_all(NAMES_WITHOUT)) - (lacks_example | lacks_standard))


def test_most_of_what_is_public_is_checked() -> None:
    """The exceptions are the fewer, and modules of ciphers, PINs, blocks and terminals have none but words."""
    names = {full for name, module in checked().items() for full in in_full(name, public(module))}
    excused = {*of_all(NAMES_WITHOUT), *of_all(NAMES_WITHOUT_EXAMPLE)}
    assert 2 * len(excused & names) < len(names)
    for name in ("aes", "tdes", "pin", "pvv", "keywrap", "tr31", "tr31_header", "ksn", "luhn", "emv_script"):
        assert set() == in_full(name, public(checked()[name])) & excused


def test_the_checks_see_what_they_look_for() -> None:
    """In a module that has each fault."""
    module = ModuleType("made_up")
    exec(  # noqa: S102 - a text of this test
        "def good():\n    '''EMV book 2 A1.\n\n    >>> 1 + 1\n    2\n    '''\n"
        "def silent():\n    '''ISO 9564-1.\n\n    >>> x = 1\n    '''\n"
        "def bare():\n    '''Nothing.'''\n"
        "def nameless():\n    '''It isolates.\n\n    >>> 1\n    1\n    '''\n"
        "def _private():\n    pass\n"
        "class Shown:\n    '''RFC 3394.'''\n    def way(self):\n        '''>>> 2\n        2\n        '''\n"
        "from re import compile\n",
        vars(module),
    )
    assert {"good", "silent", "bare", "nameless", "Shown"} == set(public(module))
    assert {"silent", "bare"} == without_example(module)
    assert {"bare", "nameless"} == without_standard(module)
