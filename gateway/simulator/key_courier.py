"""New keys for a link, in key blocks as a partner sends them: TR-31 (ANSI X9.143) under the zone master key both sides have.

The keys are made at random and go no further: nothing here uses them. Knows no message. Read next: composer.py; keys/tr31.py.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from keys import kcv, tr31
from keys.keytypes import Algorithm
from keys.tdes import odd_parity
from keys.tr31_header import Header

_KEY_BYTES = 16


class NewKey(StrEnum):
    """Which key of a link is to change."""

    PIN = "pin"
    """The zone PIN key (TR-31 usage P0, mode D)."""
    MAC = "mac"
    """The MAC key (M3, mode C)."""
    OTHER = "other"
    """None of a link's: one of the values on stripes (C0, mode C)."""


class Under(StrEnum):
    """What a new key travels under."""

    RIGHT = "right"
    """The zone master key of the profile."""
    WRONG = "wrong"
    """One that nobody else has."""


_HEADERS = MappingProxyType({NewKey.PIN: ("P0", "D"), NewKey.MAC: ("M3", "C"), NewKey.OTHER: ("C0", "C")})


@dataclass(frozen=True, slots=True, repr=False)
class KeyCourier:
    """Has the zone master key; ALGORITHM is that of it."""

    zone_master_key: bytes
    algorithm: Algorithm

    def block(self, key: NewKey, under: Under = Under.RIGHT) -> tuple[str, str]:
        """A key block with a new triple DES key, and the key's check value (6 hexadecimal digits)."""
        new = odd_parity(secrets.token_bytes(_KEY_BYTES))
        usage, mode = _HEADERS[key]
        version = "D" if self.algorithm is Algorithm.AES else "B"
        master = self.zone_master_key if under is Under.RIGHT else secrets.token_bytes(len(self.zone_master_key))
        return tr31.wrap(master, Header(version, usage, "T", mode, "00", "E"), new), kcv.of_tdes(new).value
