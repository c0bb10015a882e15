"""Tests of gateway.terminals.network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.terminals import network
from iso.message import Message
from tests.gateway.terminals.counterpart import a_line, a_link


async def _asked(code: str | None, **changes: object) -> tuple[Any, Message, list[str]]:
    noted: list[str] = []

    async def note(_link: str, event: str, _times: int) -> None:
        noted.append(event)

    line = a_line(a_link(**changes), note=note)
    connection: Any = SimpleNamespace(line=line, signed_on=code == "002")
    request = Message("0800", {7: "1123120000", 11: "000001"} | ({} if code is None else {70: code}))
    answer = network.answer(connection, request)
    await line.finish()
    return connection, answer, noted


@pytest.mark.parametrize(
    ("code", "answered", "event", "signed_on"),
    [
        ("001", "00", ["sign-on"], True),
        ("002", "00", ["sign-off"], False),
        ("201", "00", ["cut-over"], False),
        ("301", "00", [], False),
        ("101", "12", [], False),
        ("161", "12", [], False),
        ("999", "12", [], False),
        (None, "30", [], False),
    ],
)
async def test_codes(code: str | None, answered: str, event: list[str], signed_on: bool) -> None:  # noqa: FBT001 - a parameter
    """What is done, said and kept for each DE70. Without a zone master key no key is taken."""
    connection, answer, noted = await _asked(code)
    assert (answered, event, signed_on) == (answer.get(39), noted, connection.signed_on)
    assert ("0810", "000001", code) == (answer.mti, answer.get(11), answer.get(70))


def test_a_key_change_is_securitys() -> None:
    """Where the link has a zone master key its 0800 101 and 161 go there, and no other."""
    for zone_master_key, codes in (("zmk", {"101", "161"}), (None, set())):
        link = a_link(zone_master_key=zone_master_key)
        line: Any = SimpleNamespace(link=link)
        found = {
            code for code in ("001", "101", "161", "301") if network.changes_key(line, Message("0800", {70: code}))
        }
        assert codes == found


async def test_our_own() -> None:
    """DE7, DE11 and DE70, as Indonesian hosts send them."""
    line = a_line(a_link())
    message = network.ours(line, network.ECHO)
    assert ("0800", {7, 11, 70}, "301", "000001") == (
        message.mti,
        set(message.fields),
        message.get(70),
        message.get(11),
    )
