"""Tests of gateway.operations.pin_check: a group of cards whose PINs hang on different versions of the verification key."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import clock
from gateway.operations import custody
from gateway.operations.authorise import AuthoriseCommand
from gateway.operations.custody import BANK_KEYS, PIN_LABEL, bank_keys, vault_of
from gateway.operations.pin_check import check_pins
from gateway.rules.account import AccountState
from gateway.rules.authorise import CardView, PinOutcome, Request, RequestKind, Snapshot
from gateway.rules.card import CardState
from gateway.rules.key_turns import KeyTurns, Turn
from gateway.rules.purse import Channel, PurseChoice
from gateway.store.authorisations import Loaded
from gateway.terminals.links_file import read_links
from keys.errors import KeyRefused
from keys.keytypes import KeyMode, KeySpec, KeyState, KeyUsage
from keys.sensitive import Pan, Pin
from keys.software import SoftwareHsm
from tests.gateway.rites import ZPK
from tests.gateway.till import MCC

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from gateway.operations.bank import Bank
    from keys.hsm import Hsm, PinToVerify
    from keys.keytypes import KeyHandle

VERSIONS = 3
RIGHT, WRONG = Pin("204817"), Pin("314159")
PANS = [Pan(f"60130100000{number:05d}") for number in range(10)]
LIVING = (KeyState.ACTIVE, KeyState.DEACTIVATED, KeyState.COMPROMISED)
VOID, MISSING = PinOutcome.VOID, PinOutcome.MISSING
CODES = read_links(None).first.response_codes


class Member(NamedTuple):
    """One of a group: its card, under which version its PIN was chosen, and what is typed; None: nothing."""

    card: int
    version: int
    typed: str | None


TYPED = {"right": RIGHT, "wrong": WRONG}
EXPECTED = {"right": PinOutcome.RIGHT, "wrong": PinOutcome.WRONG, "damaged": PinOutcome.WRONG, None: MISSING}
GROUPS = st.lists(
    st.builds(Member, st.integers(0, 9), st.integers(1, VERSIONS), st.sampled_from(["right", "wrong", "damaged", None])),
    max_size=12,
)  # fmt: skip


class Counting:
    """An HSM that counts how often it is asked for PINs."""

    def __init__(self, hsm: Hsm) -> None:
        self._hsm = hsm
        self.groups: list[int] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the HSM has
        return getattr(self._hsm, name)

    def verify_pins(self, asked: Sequence[PinToVerify], verification_key: KeyHandle) -> list[bool]:
        """The HSM's own, counted."""
        self.groups.append(len(asked))
        return self._hsm.verify_pins(asked, verification_key)


class Keyed(NamedTuple):
    """A bank of keys alone, and the offset of each card's right PIN by card and version."""

    bank: Bank
    offsets: dict[tuple[int, int], str]


def keyed(states: Sequence[KeyState] = (KeyState.ACTIVE,) * VERSIONS) -> Keyed:
    """The PIN verification key has versions of these states; offsets were made while they worked."""
    hsm = SoftwareHsm.in_memory()
    for label, usage in BANK_KEYS.items():
        hsm.generate(usage, label)
    for _ in states[1:]:
        hsm.generate(BANK_KEYS[PIN_LABEL], PIN_LABEL)
    hsm.generate(ZPK, "zpk")
    offsets = {
        (card, version): hsm.choose_pin(
            hsm.encipher_pin(RIGHT, hsm.find("zpk"), pan), hsm.find("zpk"), hsm.version(PIN_LABEL, version), pan, None
        )
        for card, pan in enumerate(PANS)
        for version in range(1, len(states) + 1)
    }
    for version, state in enumerate(states, 1):
        if state is not KeyState.ACTIVE:
            hsm.set_state(hsm.version(PIN_LABEL, version), state)
    return Keyed(
        cast(
            "Bank",
            SimpleNamespace(hsm=hsm, keys=bank_keys(hsm), vault=vault_of(hsm), key_turns=KeyTurns(), now=clock.now),
        ),
        offsets,
    )


WORKING = keyed()


def checked(keys: Keyed, group: Sequence[Member], hsm: Hsm | None = None) -> list[PinOutcome]:
    """The group's outcomes."""
    bank, offsets = keys
    zpk = bank.hsm.find("zpk")
    request = Request(RequestKind.CASH, Channel.ATM, MCC[Channel.ATM], PurseChoice.BY_RULE, 1, b"")
    commands, loaded = [], []
    for member in group:
        block = None
        if member.typed is not None:
            block = bytes(8)
            if member.typed in TYPED:
                block = bank.hsm.encipher_pin(TYPED[member.typed], zpk, PANS[member.card])
        commands.append(AuthoriseCommand(request, cast("Any", None), PANS[member.card], block, zpk, CODES))
        offset = offsets.get((member.card, member.version), "000000")
        loaded.append(loaded_card(offset, member.version))
    asked = (
        bank
        if hsm is None
        else cast(
            "Bank", SimpleNamespace(hsm=hsm, keys=bank.keys, vault=bank.vault, key_turns=bank.key_turns, now=bank.now)
        )
    )
    return check_pins(asked, commands, loaded)


def loaded_card(offset: str | None, version: int | None, state: CardState = CardState.ACTIVE) -> Loaded:
    """A card as LOAD finds it."""
    card = CardView(state, cast("date", None), 3, AccountState.ACTIVE)
    return Loaded(Snapshot(card), 1, 1, offset, version, None, None, None, None, None, {})


@given(group=GROUPS)
def test_each_pin_is_verified_under_its_cards_version(group: list[Member]) -> None:
    """Whatever the mixture, right is right and wrong is wrong, and the HSM is asked once a version."""
    counting = Counting(WORKING.bank.hsm)
    assert [EXPECTED[member.typed] for member in group] == checked(WORKING, group, cast("Hsm", counting))
    versions = {member.version for member in group if member.typed is not None}
    first = [count for count in counting.groups if count]
    assert len(versions) == len(first)
    assert sum(member.typed is not None for member in group) == sum(first)


@given(group=GROUPS, states=st.lists(st.sampled_from(LIVING), min_size=VERSIONS, max_size=VERSIONS))
def test_under_a_version_that_has_ended_no_pin_is_looked_at(group: list[Member], states: list[KeyState]) -> None:
    """Retired or lost: the same answer for a right, a wrong, a damaged and no PIN; the others are verified beside it."""
    keys = keyed(states)
    expected = [EXPECTED[member.typed] if states[member.version - 1] is KeyState.ACTIVE else VOID for member in group]
    assert expected == checked(keys, group)
    for version, state in enumerate(states, 1):
        if state is not KeyState.ACTIVE:  # and whoever asked all the same is refused by the permission table
            with pytest.raises(KeyRefused, match=f"it is {state.value}"):
                keys.bank.hsm.verify_pins([], keys.bank.hsm.version(PIN_LABEL, version))


def test_a_destroyed_version_is_one_that_has_ended() -> None:
    """Its header says so for good."""
    keys = keyed((KeyState.DEACTIVATED, KeyState.ACTIVE))
    bank = keys.bank
    bank.hsm.set_state(bank.hsm.version(PIN_LABEL, 1), KeyState.DESTROYED)
    bank.keys = bank_keys(bank.hsm)
    assert [VOID, PinOutcome.RIGHT] == checked(keys, [Member(0, 1, "right"), Member(1, 2, "right")])


def test_a_suspended_version_answers_nothing() -> None:
    """It may come back: nobody is sent to the branch for it, and nothing is counted."""
    keys = keyed((KeyState.SUSPENDED, KeyState.ACTIVE))
    bank = keys.bank
    assert [PinOutcome.RIGHT] == checked(keys, [Member(0, 2, "right")])
    with pytest.raises(KeyRefused, match="it is SUSPENDED"):
        checked(keys, [Member(0, 2, "right"), Member(1, 1, "right")])
    bank.hsm.set_state(bank.hsm.version(PIN_LABEL, 1), KeyState.ACTIVE)
    assert [PinOutcome.RIGHT] * 2 == checked(keys, [Member(0, 2, "right"), Member(1, 1, "right")])


@pytest.mark.parametrize("waited", [False, True])
def test_a_version_that_has_just_come_is_taken_up(monkeypatch: pytest.MonkeyPatch, *, waited: bool) -> None:
    """A card may have moved to it before this process looked: made and activated meanwhile, or known as not yet active."""
    keys = keyed((KeyState.ACTIVE,))
    bank = keys.bank
    if waited:
        bank.hsm.generate(KeySpec(BANK_KEYS[PIN_LABEL], state=KeyState.PRE_ACTIVE), PIN_LABEL)
        bank.keys = bank_keys(bank.hsm)
        bank.hsm.set_state(bank.hsm.version(PIN_LABEL, 2), KeyState.ACTIVE)
    else:
        bank.hsm.generate(BANK_KEYS[PIN_LABEL], PIN_LABEL)
    zpk, new = bank.hsm.find("zpk"), bank.hsm.version(PIN_LABEL, 2)
    block = bank.hsm.encipher_pin(RIGHT, zpk, PANS[0])
    keys.offsets[0, 2] = bank.hsm.choose_pin(block, zpk, new, PANS[0], None)
    assert [1] == list(bank.keys.pin_versions)
    taken: list[object] = []
    monkeypatch.setattr(
        "gateway.operations.pin_check.take_up_keys", lambda one: taken.append(custody.take_up_keys(one))
    )
    group = [Member(1, 1, "right"), Member(0, 2, "right"), Member(0, 2, "wrong")]
    for _ in range(2):
        assert [PinOutcome.RIGHT, PinOutcome.RIGHT, PinOutcome.WRONG] == checked(keys, group)
    assert (1, [2, 1]) == (len(taken), list(bank.keys.pin_versions))


@pytest.mark.parametrize("waits", [False, True])
def test_a_version_that_the_keystore_lacks(*, waits: bool) -> None:
    """Not there at all, or not yet active: no answer about the PIN, which is neither wrong nor void."""
    keys = keyed((KeyState.ACTIVE,))
    bank = keys.bank
    if waits:
        bank.hsm.generate(KeySpec(BANK_KEYS[PIN_LABEL], state=KeyState.PRE_ACTIVE), PIN_LABEL)
    with pytest.raises(KeyRefused, match="it is PRE_ACTIVE" if waits else "no key pin-verification#2"):
        checked(keys, [Member(0, 2, "right")])


def test_what_is_not_asked() -> None:
    """A card that may not pay is not checked; one without an offset, or a link without a PIN key, has no PIN to check."""
    bank = WORKING.bank
    zpk = bank.hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "other")
    block = bank.hsm.encipher_pin(RIGHT, zpk, PANS[0])
    request = Request(RequestKind.CASH, Channel.ATM, MCC[Channel.ATM], PurseChoice.BY_RULE, 1, b"")
    command = AuthoriseCommand(request, cast("Any", None), PANS[0], block, zpk, CODES)
    offset = WORKING.offsets[0, 1]
    for expected, one, found in (
        (PinOutcome.RIGHT, command, loaded_card(offset, 1)),
        (PinOutcome.NOT_CHECKED, command, loaded_card(offset, 1, CardState.BLOCKED)),
        (MISSING, command, loaded_card(None, None)),
        (MISSING, command._replace(pin_key=None), loaded_card(offset, 1)),
        (MISSING, command._replace(pin_block=None), loaded_card(offset, 1)),
    ):
        assert [expected] == check_pins(bank, [one], [found])


@pytest.mark.parametrize("alone", [False, True])
def test_the_first_right_pin_under_a_key_of_a_link(*, alone: bool) -> None:
    """A key that came over a link waits for it: neither a wrong PIN nor one under the older key is its first use."""
    keys = keyed((KeyState.ACTIVE,))
    bank, label = keys.bank, "new" if alone else "zpk"
    bank.hsm.generate(ZPK, label)
    old, new = bank.hsm.find("zpk") if alone else bank.hsm.version("zpk", 1), bank.hsm.find(label)
    bank.key_turns.know([Turn(label, new.version, "himbara", bank.now(), 60, 60)])
    request = Request(RequestKind.CASH, Channel.ATM, MCC[Channel.ATM], PurseChoice.BY_RULE, 1, b"")
    found, seen = loaded_card(keys.offsets[0, 1], 1), []
    for pin, key in ((RIGHT, old), (WRONG, new), (RIGHT, new)):
        block = bank.hsm.encipher_pin(pin, key, PANS[0])
        command = AuthoriseCommand(request, cast("Any", None), PANS[0], block, key, CODES)
        seen.append((*check_pins(bank, [command], [found]), bool(bank.key_turns.pending)))
    assert [(PinOutcome.RIGHT, True), (PinOutcome.WRONG, True), (PinOutcome.RIGHT, False)] == seen
    assert [(label, new.version)] == list(bank.key_turns.unwritten)
