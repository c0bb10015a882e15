"""A key's header as the keystore file has it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest

from keys.keytypes import KeyAttributes, KeyState, KeyUsage
from keys.stored_header import header_of, info_of
from tests.keys.samples import key_of, keys_of_all_usages


def test_every_header_comes_back() -> None:
    """Of every usage and algorithm, through JSON, with dates and without."""
    for info, _ in keys_of_all_usages():
        dated = replace(info, active_from=date(2026, 1, 2), active_to=date(2027, 3, 4), state=KeyState.SUSPENDED)
        for one in (info, dated):
            assert one == info_of(json.loads(json.dumps(header_of(one))))


def test_attributes_that_a_key_has_not_are_not_written() -> None:
    """Zero is one that it has."""
    info, _ = key_of(KeyUsage.PIN_VERIFICATION_PVV)
    assert {"pvki": 0} == header_of(replace(info, attributes=KeyAttributes(pvki=0)))["attributes"]
    assert {} == header_of(key_of(KeyUsage.CARD_VERIFICATION)[0])["attributes"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("usage", "Z9"), ("state", "ALIVE"), ("created", "yesterday"), ("kcv_method", ""), ("attributes", {"colour": 1})],
)
def test_what_is_no_header(name: str, value: object) -> None:
    """Raises what its reader takes for damage."""
    header = header_of(key_of(KeyUsage.MAC_RETAIL)[0])
    with pytest.raises((KeyError, TypeError, ValueError)):
        info_of(header | {name: value})
    del header[name]
    with pytest.raises(KeyError):
        info_of(header)
