"""Every back end that keeps components: a ceremony that is killed at its last custodian, and done to its end."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from keys.errors import KeyRefused, KeystoreError
from keys.keystore import Component
from keys.keytypes import KeySpec, KeyUsage
from tests.keys.at_work import works
from tests.keys.backends import BACKENDS
from tests.keys.samples import SECOND_KEY, TODAY, components

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keys.local import LocalHsm

SPEC = KeySpec(KeyUsage.MAC_RETAIL)
FIRST, SECOND = components(SECOND_KEY)
FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def part(number: int, custodian: str, of: int = 2) -> Component:
    """One component of the key."""
    return Component("link", number, of, custodian, TODAY, "")


def hsm_of(lasting: str, folder: Path) -> LocalHsm[object]:
    """An HSM of a back end over a keystore in FOLDER, without keys or as it was left."""
    return BACKENDS[lasting](folder, today=lambda: TODAY)  # type: ignore[return-value]


def die(*_: object, **__: object) -> None:
    """As by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed(act: Callable[[], object]) -> None:
    """ACT in a child that does not come to its end."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert signal.SIGKILL == os.WTERMSIG(status)


@FORKS
def test_killed_before_the_key_is_formed(lasting: str, tmp_path: Path) -> None:
    """All parts are there and no key: either custodian enters the same again, nobody anything else, and the key is formed."""
    hsm = hsm_of(lasting, tmp_path)
    assert hsm.enter_component(SPEC, part(1, "siti"), FIRST) is None

    def last() -> None:
        hsm._store.add = die  # type: ignore[union-attr,method-assign]
        hsm.enter_component(SPEC, part(2, "budi"), SECOND)

    killed(last)
    again = hsm_of(lasting, tmp_path)
    assert ([1, 2], []) == ([one.number for one in again.components()], again.keys())
    for custodian, number, value in (("budi", 2, FIRST), ("ratna", 2, SECOND), ("siti", 2, SECOND), ("budi", 1, FIRST)):
        with pytest.raises(KeyRefused, match=r"was entered already|nobody enters two"):
            again.enter_component(SPEC, part(number, custodian), value)
    with pytest.raises(KeyRefused, match="another kind of key"):
        again.enter_component(KeySpec(KeyUsage.MAC_CBC), part(2, "budi"), SECOND)
    key = again.enter_component(SPEC, part(2, "Budi")._replace(entered=TODAY.replace(day=6)), SECOND)
    assert key is not None
    assert ("link#1", []) == (again.info(key).name, again.components())
    assert works(again, key, SECOND_KEY)


@FORKS
def test_killed_when_the_key_is_formed(lasting: str, tmp_path: Path) -> None:
    """The key is there and no part of it: the next version can be begun at once."""
    hsm = hsm_of(lasting, tmp_path)
    hsm.enter_component(SPEC, part(1, "siti"), FIRST)

    def last() -> None:
        hsm._tools.put = die  # type: ignore[assignment,method-assign]
        hsm.enter_component(SPEC, part(2, "budi"), SECOND)

    killed(last)
    again = hsm_of(lasting, tmp_path)
    known = again.keys()
    assert (["link#1"], []) == ([info.name for info in known], again.components())
    assert works(again, again.find("link"), SECOND_KEY)
    assert again.enter_component(SPEC, part(1, "siti"), FIRST) is None
    made = again.enter_component(SPEC, part(2, "budi"), SECOND)
    assert made is not None
    assert "link#2" == again.info(made).name


def test_a_key_and_its_parts_are_one_change(lasting: str, tmp_path: Path) -> None:
    """The file has never both, nor neither: one more change for each component, and one for the key."""
    hsm = hsm_of(lasting, tmp_path)
    before = hsm.serial()
    hsm.enter_component(SPEC, part(1, "siti"), FIRST)
    hsm.enter_component(SPEC, part(2, "budi"), SECOND)
    assert 3 == hsm.serial() - before


def test_parts_that_were_thrown_away_meanwhile_form_no_key(lasting: str, tmp_path: Path) -> None:
    """By another process, between the last entry and the key: refused, and nothing is kept."""
    hsm, other = hsm_of(lasting, tmp_path), hsm_of(lasting, tmp_path)
    hsm.enter_component(SPEC, part(1, "siti"), FIRST)
    take = hsm._take

    def late(*words: object) -> object:
        other.forget_components("link")
        return take(*words)  # type: ignore[arg-type]

    hsm._take = late  # type: ignore[assignment,method-assign]
    with pytest.raises(KeystoreError, match="changed meanwhile"):
        hsm.enter_component(SPEC, part(2, "budi"), SECOND)
    assert ([], [], []) == (hsm.keys(), other.components(), hsm_of(lasting, tmp_path).keys())
