"""The HSM of this process: put together of parts that know nothing of each other, and all that hsm.py asks for."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from keys import hsm as facade
from keys.card_commands import CardOperations
from keys.data_commands import DataOperations
from keys.keytypes import KeyUsage
from keys.lifecycle import Lifecycle
from keys.local import LocalHsm
from keys.pin_commands import PinOperations
from keys.pkcs11 import Pkcs11Hsm
from keys.software import SoftwareHsm, SoftwareWorkshop
from keys.toolbox import Toolbox
from tests.keys.at_work import new_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.sensitive import Material

PARTS: dict[type, type] = {
    Lifecycle: facade.KeyCommands,
    PinOperations: facade.PinCommands,
    CardOperations: facade.CardCommands,
    DataOperations: facade.DataCommands,
}


def commands(protocol: type) -> dict[str, Callable[..., object]]:
    """The commands that a protocol names."""
    return {name: member for name, member in vars(protocol).items() if not name.startswith("_") and callable(member)}


def attributes_of(part: type) -> set[str]:
    """What an instance of one part alone has, methods and all."""
    tools: Toolbox[Material] = Toolbox(lambda: datetime.now(UTC).date(), None)
    workshop = SoftwareWorkshop()
    made = Lifecycle(tools, workshop, None) if part is Lifecycle else part(tools, workshop)
    return set(vars(made)) | {name for name in vars(part) if not name.startswith("__")}


def test_no_two_parts_share_a_name() -> None:
    """Each is a mixin of one object: a name that two had would be one part's tool in the other's hands."""
    owned = {part.__name__: attributes_of(part) - {"_is_protocol", "_abc_impl"} for part in PARTS}
    names = [name for names in owned.values() for name in names]
    assert len(names) > 50
    assert [] == sorted({name for name in names if names.count(name) > 1})


def test_each_part_has_its_commands_and_no_others() -> None:
    """What hsm.py names for it, by the same parameters, defaults and all; nothing else is public."""
    for part, protocol in PARTS.items():
        expected = commands(protocol)
        found = {name: member for name, member in vars(part).items() if not name.startswith("_")}
        assert expected.keys() == found.keys()
        for name, command in expected.items():
            assert str(inspect.signature(command)) == str(inspect.signature(found[name])), name


@pytest.mark.parametrize("back_end", [LocalHsm, SoftwareHsm, Pkcs11Hsm])
def test_every_back_end_has_every_command(back_end: type) -> None:
    """All of Hsm; what a back end adds is how it is made."""
    names = {name for protocol in PARTS.values() for name in commands(protocol)}
    assert 46 == len(names)
    assert names <= {name for name in dir(back_end) if not name.startswith("_")}
    added = {name for name in vars(back_end) if not name.startswith("_")}
    assert added <= {"create", "open", "in_memory", "set_up", "set_up_master"}


def test_every_command_says_what_it_does() -> None:
    """In the protocol and in the part."""
    for part, protocol in PARTS.items():
        for name, command in commands(protocol).items():
            assert command.__doc__, name
            assert getattr(part, name).__doc__, name


def test_keys_are_made_today() -> None:
    """By the day in UTC, where nobody says another."""
    before = datetime.now(UTC).date()
    hsm = LocalHsm(SoftwareWorkshop(), None)
    created = hsm.info(hsm.generate(KeyUsage.MAC_CMAC, new_label())).created
    assert before <= created <= datetime.now(UTC).date()
