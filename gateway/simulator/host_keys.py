"""Keys of a switch host: MACs of what it sends, and the next key that the other side's 0800 brings, used once it was answered.

A change is an 0800 with DE70 101 or 161 that holds a TR-31 block under the zone master key (ANSI X9.143). The answer has the new
key's check value and a MAC under the key of before. A test's switch: its keys are test keys, in memory alone. Refuses to know
rules and sockets. Read next: host.py, testkeys.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.simulator.testkeys import TestKeyKind
from iso.codec import encode
from iso.mac import seal
from iso.response_codes import APPROVED, FORMAT_ERROR, KEY_ERROR
from keys.errors import KeysError
from keys.keytypes import KeyUsage

if TYPE_CHECKING:
    from gateway.simulator.profile import Profile
    from gateway.simulator.testkeys import TestKeys
    from iso.dialect import Dialect
    from iso.message import Message
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

CHANGES = ("101", "161")
NETWORK = "080"
MAC_BYTES = 8


class HostKeys:
    """MAC: what it makes MACs under; None: it makes none yet. PIN: what its terminals encipher PINs under; None: nothing."""

    def __init__(
        self,
        hsm: Hsm,
        zone_master: KeyHandle,
        mac: KeyHandle | None = None,
        pin: KeyHandle | None = None,
        field: int = 48,
    ) -> None:
        """FIELD: where a request has the block, and its answer the check value."""
        self.hsm = hsm
        self.mac = mac
        self.pin = pin
        self._zone_master = zone_master
        self._field = field
        self._came: dict[str, KeyHandle] = {}
        self._next: KeyHandle | None = None

    def answer(self, request: Message) -> Message | None:
        """The answer to a change of keys: 00 and the check value, the same again for the same block; 30 without a block, else 81.

        None: the message changes no key. What it brought is used from take_up() on.
        """
        if not request.mti.startswith(NETWORK) or request.get(70) not in CHANGES:
            return None
        answer = request.response()
        block = request.get(self._field, "")
        answer.fields[39] = APPROVED if block else FORMAT_ERROR
        if not block:
            return answer
        try:
            key = self._came.get(block) or self.hsm.import_block(f"new-{len(self._came)}", block, self._zone_master)
        except KeysError:
            answer.fields[39] = KEY_ERROR
            return answer
        if block not in self._came:
            self._came[block] = self._next = key
        answer.fields[self._field] = self.hsm.kcv(key).value
        return answer

    def take_up(self) -> None:
        """The answer has left: the key it was about is used from now on."""
        if self._next is None:
            return
        if self.hsm.info(self._next).usage is KeyUsage.PIN_ENCRYPTION:
            self.pin = self._next
        else:
            self.mac = self._next
        self._next = None

    def encoded(self, message: Message, dialect: Dialect) -> bytes:
        """MESSAGE with its MAC, where there is a key for it. Raises FormatError."""
        key = self.mac
        if key is None:
            return encode(message, dialect)
        return seal(message, lambda data: self.hsm.mac(key, data).ljust(MAC_BYTES, b"\0"), dialect)


def host_keys(profile: Profile, keys: TestKeys, zone_master: str) -> HostKeys:
    """Those of a profile: its MAC key, its zone PIN key, and the zone master key of that label. Raises ProfileError."""
    master = keys.key(zone_master, TestKeyKind.ZMK).form(keys.hsm)
    mac = keys.key(profile.mac_key, TestKeyKind.MAC).form(keys.hsm) if profile.mac_key else None
    pin = keys.key(profile.pin_key, TestKeyKind.ZPK).form(keys.hsm) if profile.pin_scheme == "zpk" else None
    return HostKeys(keys.hsm, master, mac, pin)
