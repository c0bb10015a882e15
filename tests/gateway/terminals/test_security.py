"""Tests of gateway.terminals.security."""

from __future__ import annotations

from gateway.terminals.security import LinkSecurity
from iso.codec import encode
from iso.dialect import HIMBARA
from iso.message import Message
from keys.software import SoftwareHsm
from tests.gateway.terminals.counterpart import a_link


def test_a_link_without_macs() -> None:
    """Nothing is asked for, nothing is added, no key is taken."""
    security = LinkSecurity(a_link(), SoftwareHsm.in_memory())
    message = Message("0800", {7: "1123120000", 11: "000001", 70: "101"})
    assert (False, None) == (security.proves, security.refusal(message, encode(message)))
    assert encode(message) == security.encode(message, HIMBARA, None)
    assert ("0810", "12") == ((answer := security.key_change(message)).mti, answer.get(39))
