"""What tests of keys that come over a link share: the partner's blocks, a zone, versions and their states, a clock to move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import Refused
from gateway.operations import link_keys
from gateway.operations.bank import Bank
from gateway.operations.link_keys import Zone
from keys import tr31
from keys.keytypes import Algorithm
from keys.tr31_header import Header
from tests.gateway.rites import FIRST, SECOND

if TYPE_CHECKING:
    from keys.keytypes import KeyState

ZMK = bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))
ONE = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
TWO = bytes.fromhex("89B07B35A1B3F47E89B07B35A1B3F488")
AES_KEY = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
ZONE = Zone("himbara", "zmk", "zpk", Algorithm.TDES, "zak", 60, 3_600)
NOW = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)


class Clock:
    """Time of every bank: it stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        monkeypatch.setattr(Bank, "now", lambda _: self.now)

    def move(self, seconds: float) -> None:
        """On by so much."""
        self.now += timedelta(seconds=seconds)


def block(key: bytes = ONE, usage: str = "M3", mode: str = "C", algorithm: str = "T", zmk: bytes = ZMK) -> str:
    """A key block as a partner makes it."""
    return tr31.wrap(zmk, Header("D", usage, algorithm, mode, "00", "E"), key)


def states(bank: Bank, label: str = "zak") -> list[KeyState]:
    """Of each version, the oldest first."""
    return [bank.hsm.info(key).state for key in reversed(bank.hsm.versions(label))]


async def refused(bank: Bank, text: str, why: str, zone: Zone = ZONE) -> None:
    """The block is refused, in one line."""
    with pytest.raises(Refused, match=why) as caught:
        await link_keys.change(bank, zone, text)
    assert "\n" not in str(caught.value)


def use(bank: Bank, label: str, version: int) -> None:
    """Something is right under a version."""
    bank.key_turns.uses(bank.hsm.version(label, version), bank.now())
