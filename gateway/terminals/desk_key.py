"""Which message of a link's desk this is, so that a repeat is known. Refuses to know what is asked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.operations.desk import Asked
from iso.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.terminals.profile import Link
    from iso.message import Message

NEEDED = (7, 11)


def asked_of(message: Message, link: Link, content: Iterable[int]) -> Asked:
    """Its key (DE7, DE11 and the link's key fields) and a digest of CONTENT: the fields that a repeat must have the same.

    Raises FormatError where DE7 or DE11 is missing.
    """
    for number in NEEDED:
        need(message, number)
    key = "|".join(message.get(number, "") for number in sorted({*NEEDED, *link.key_fields}))
    said = repr((message.mti[1:3], [message.get(number) for number in content]))
    return Asked(link.name, message.mti, key, hashlib.sha256(said.encode()).digest()[:16])


def need(message: Message, number: int) -> str:
    """A field that must be there. Raises FormatError."""
    value = message.get(number)
    if value is None:
        raise FormatError(number, "is missing")
    return value
