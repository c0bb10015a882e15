"""Fixtures of this folder: the back ends, one after another, and an HSM of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.keys.backends import BACKENDS, FORGETFUL, MARKS

if TYPE_CHECKING:
    from keys.hsm import Hsm

_all = [pytest.param(name, marks=MARKS.get(name, ())) for name in BACKENDS]
_lasting = [pytest.param(name, marks=MARKS.get(name, ())) for name in BACKENDS if name not in FORGETFUL]


@pytest.fixture(scope="module", params=_all)
def backend(request: pytest.FixtureRequest) -> str:
    """Every back end, by name."""
    return str(request.param)


@pytest.fixture(scope="module", params=_lasting)
def lasting(request: pytest.FixtureRequest) -> str:
    """Every back end whose keys outlive its process, by name."""
    return str(request.param)


@pytest.fixture(scope="module")
def hsm(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Hsm:
    """An HSM of each back end that the tests of a module share: each makes its own keys in it."""
    return BACKENDS[backend](tmp_path_factory.mktemp(backend))
