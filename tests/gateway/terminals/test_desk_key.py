"""Tests of gateway.terminals.desk_key."""

from __future__ import annotations

import pytest

from gateway.terminals.desk_key import asked_of, need
from iso.errors import FormatError
from iso.message import Message
from tests.gateway.partner import hot_link

FIELDS = {2: "6013010000000018", 7: "1123120000", 11: "000007", 32: "000002", 37: "A", 60: "3000"}


def test_a_repeat_is_the_same_message() -> None:
    """Type of a repeat and what is no content change nothing; a field of the content does; another key is another message."""
    link = hot_link()
    first = asked_of(Message("0302", FIELDS), link, (2, 60))
    repeat = asked_of(Message("0303", FIELDS | {12: "120000"}), link, (2, 60))
    assert (first.key, first.digest) == (repeat.key, repeat.digest)
    assert 16 == len(first.digest)
    assert "6013010000000018" not in first.key
    other = asked_of(Message("0302", FIELDS | {60: "3001"}), link, (2, 60))
    assert (first.key, True) == (other.key, first.digest != other.digest)
    for number in (7, 11, 32):
        assert first.key != asked_of(Message("0302", FIELDS | {number: "1"}), link, (2, 60)).key
    assert first.key != asked_of(Message("0302", FIELDS), hot_link(key_fields=(7, 11, 37)), (2, 60)).key


def test_what_must_be_there() -> None:
    """DE7 and DE11 name a message; 30 without them."""
    for number in (7, 11):
        fields = {name: value for name, value in FIELDS.items() if name != number}
        with pytest.raises(FormatError, match=f"field {number}: is missing"):
            asked_of(Message("0600", fields), hot_link(), ())
    assert "3000" == need(Message("0302", FIELDS), 60)
