"""What tests of key ceremonies share: people, specifications, keys made by two, and what the record says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import Refused
from gateway.operations import ceremony
from keys.keytypes import Exportability, KeyMode, KeySpec, KeyUsage
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.operations.bank import Bank
    from keys.keytypes import KeyInfo

ZPK = KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH, exportability=Exportability.EXPORTABLE)
ZMK = KeySpec(KeyUsage.KEY_BLOCK_PROTECTION)
FIRST, SECOND = bytes(range(32)), bytes(range(100, 132))
LEFT_OUT = {"business_date", "serial"}
SITI, BUDI, RATNA = "siti", "budi", "ratna"


async def told(bank: Bank) -> list[tuple[str, str, str, str]]:
    """What the record says, without details: operation, act, key, who."""
    acts = await ceremony.record_of(bank, None, None)
    return [(one.operation.removeprefix("key."), one.detail.get("act", ""), one.key, one.actor) for one in acts]


async def details(bank: Bank) -> list[dict[str, Any]]:
    """The details of each act, in order, without its date and the keystore's serial."""
    acts = await ceremony.record_of(bank, None, None)
    return [{name: value for name, value in one.detail.items() if name not in LEFT_OUT} for one in acts]


async def last_reason(bank: Bank) -> str:
    """Why the last act was refused, as the record has it."""
    *_, last = await ceremony.record_of(bank, None, None)
    assert "key.failed" == last.operation
    return str(last.detail["reason"])


async def refused(bank: Bank, why: str, act: Awaitable[object]) -> None:
    """It is refused in one line, which is the last thing the record says."""
    with pytest.raises(Refused, match=why) as caught:
        await act
    assert "\n" not in str(caught.value)
    assert str(caught.value) == await last_reason(bank)


async def new_zpk(bank: Bank, label: str = "zpk") -> KeyInfo:
    """A ZPK of two people."""
    made = await ceremony.generate(bank, SITI, label, ZPK)
    return await ceremony.activate(bank, BUDI, made.name, None)


async def new_zmk(bank: Bank, label: str = "zmk", first: bytes = FIRST) -> KeyInfo:
    """A ZMK of two custodians."""
    await ceremony.enter_component(bank, SITI, label, ZMK, 1, 2, first)
    _, info = await ceremony.enter_component(bank, BUDI, label, ZMK, 2, 2, SECOND)
    assert info is not None
    return info


async def assert_no_material(bank: Bank) -> None:
    """No component, and no key of any, stands in the audit chain."""
    text = " ".join(str(one) for one in await as_owner(bank, "SELECT * FROM audit_event")).lower()
    whole = bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))
    for secret in (FIRST, SECOND, whole):
        assert secret.hex()[:12] not in text
        assert repr(secret)[2:14] not in text
