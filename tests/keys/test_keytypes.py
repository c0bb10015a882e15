"""What a key is besides its bytes: codes, states, dates, handles."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import date, timedelta

import pytest

from keys.errors import KeyRefused
from keys.keytypes import (
    TRANSITIONS,
    Algorithm,
    Exportability,
    KeyAttributes,
    KeyHandle,
    KeyMode,
    KeySpec,
    KeyState,
    KeyUsage,
    check_transition,
)
from tests.keys.samples import bank_hsm, key_of

FIRST, LAST = date(2026, 10, 5), date(2026, 12, 31)
DAY = timedelta(days=1)

# Spelled out by hand, apart from the table that the code uses.
MOVES = {
    "PRE_ACTIVE": "ACTIVE COMPROMISED DESTROYED",
    "ACTIVE": "SUSPENDED DEACTIVATED COMPROMISED",
    "SUSPENDED": "ACTIVE DEACTIVATED COMPROMISED",
    "DEACTIVATED": "COMPROMISED DESTROYED",
    "COMPROMISED": "DESTROYED",
    "DESTROYED": "",
}


def test_codes_are_those_of_the_standard() -> None:
    """Usage, mode, algorithm and exportability codes as X9.143 prints them."""
    assert "B0 B1 C0 D0 E0 E1 E2 E4 K1 M1 M3 M6 M7 P0 S0 V1 V2 10" == " ".join(KeyUsage)
    assert "E D B G V C X S N" == " ".join(KeyMode)
    assert "T A H R" == " ".join(Algorithm)
    assert "E S N" == " ".join(Exportability)


@pytest.mark.parametrize("before", KeyState)
@pytest.mark.parametrize("after", KeyState)
def test_every_transition(before: KeyState, after: KeyState) -> None:
    """The whole table: what it does not name is refused, staying where it is too."""
    info = replace(key_of(KeyUsage.MAC_HMAC)[0], state=before, version=3)
    if after.value in MOVES[before.value].split():
        check_transition(info, after)
        return
    with pytest.raises(KeyRefused, match=rf"key a\.key#3: is {before.value} and cannot become {after.value}$"):
        check_transition(info, after)


def test_nothing_leads_back() -> None:
    """From each state on, however the moves are put together: no key becomes PRE_ACTIVE again, and none that was lost works."""
    for state in KeyState:
        reached, new = set[KeyState](), {state}
        while new:
            reached |= new
            new = {after for before in reached for after in TRANSITIONS[before]} - reached
        assert KeyState.PRE_ACTIVE not in reached - {state}
        if state in (KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED):
            assert KeyState.ACTIVE not in reached
        assert KeyState.DESTROYED in reached


@pytest.mark.parametrize(
    ("active_from", "active_to", "day", "expected"),
    [
        (None, None, date.min, KeyState.ACTIVE),
        (None, None, date.max, KeyState.ACTIVE),
        (FIRST, LAST, FIRST - DAY, KeyState.PRE_ACTIVE),
        (FIRST, LAST, FIRST, KeyState.ACTIVE),
        (FIRST, LAST, LAST, KeyState.ACTIVE),
        (FIRST, LAST, LAST + DAY, KeyState.DEACTIVATED),
        (FIRST, None, FIRST - DAY, KeyState.PRE_ACTIVE),
        (FIRST, None, date.max, KeyState.ACTIVE),
        (None, LAST, date.min, KeyState.ACTIVE),
        (None, LAST, LAST + DAY, KeyState.DEACTIVATED),
        (FIRST, FIRST, FIRST, KeyState.ACTIVE),
        (FIRST, FIRST, FIRST + DAY, KeyState.DEACTIVATED),
    ],
)
def test_dates_narrow_an_active_key(
    active_from: date | None, active_to: date | None, day: date, expected: KeyState
) -> None:
    """Both days count; any other state stays what it is whatever the day."""
    info = replace(key_of(KeyUsage.MAC_HMAC)[0], active_from=active_from, active_to=active_to)
    assert expected is info.state_on(day)
    for state in set(KeyState) - {KeyState.ACTIVE}:
        assert state is replace(info, state=state).state_on(day)


def test_name_is_label_and_version() -> None:
    """As commands and messages write it."""
    assert "zpk-himbara#2" == replace(key_of(KeyUsage.MAC_HMAC)[0], label="zpk-himbara", version=2).name


def test_handle_shows_label_version_usage_and_check_value_only() -> None:
    """That is all its repr has."""
    handle = bank_hsm().find("pvk")
    assert f"KeyHandle(pvk#1, PIN_VERIFICATION_IBM, kcv {handle.kcv.value})" == repr(handle) == str(handle)


def test_handles_are_equal_to_themselves_only() -> None:
    """They can be keys of a dictionary; two keys of one label in two HSMs are two, and a copy of a handle is worth nothing."""
    hsm = bank_hsm()
    handle = hsm.find("pvk")
    assert handle is hsm.find("pvk")
    assert 2 == len({handle, bank_hsm().find("pvk"), hsm.find("pvk")})
    for made in (
        copy.copy(handle),
        pickle.loads(pickle.dumps(handle)),  # noqa: S301 - made on this line
        KeyHandle(handle.label, handle.version, handle.usage, handle.kcv),
    ):
        assert made != handle
        with pytest.raises(KeyRefused, match="not a key of this HSM"):
            hsm.info(made)


def test_headers_cannot_be_changed_in_place() -> None:
    """Neither what is known of a key nor what is asked for."""
    info, _ = key_of(KeyUsage.PIN_VERIFICATION_IBM)
    for holder, name in ((info, "mode"), (info.attributes, "check_length"), (KeySpec(info.usage), "state")):
        with pytest.raises(FrozenInstanceError):
            setattr(holder, name, None)


def test_spec_asks_for_the_safest() -> None:
    """A bare specification: not exportable, in use, no bound in time, all else as the usage has it."""
    spec = KeySpec(KeyUsage.MAC_CMAC)
    assert (Exportability.NOT_EXPORTABLE, KeyState.ACTIVE, None, None) == (
        spec.exportability, spec.state, spec.active_from, spec.active_to,
    )  # fmt: skip
    assert (None, None, None, None) == (spec.algorithm, spec.mode, spec.bits, spec.attributes)
    assert all(getattr(KeyAttributes(), name) is None for name in KeyAttributes.__slots__)
