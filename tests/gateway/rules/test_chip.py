"""Twin of gateway.rules.chip: what is no proof of a card, and which transaction counters are refused."""

from __future__ import annotations

from datetime import date
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.account import AccountState
from gateway.rules.authorise import PIN_WAS_RIGHT, CardView, DeclineReason, Earlier, Request, RequestKind, Snapshot
from gateway.rules.card import CardState
from gateway.rules.chip import (
    ATC_MOST,
    COMMANDS,
    NEVER_SENT,
    SENT_MOST,
    CardRules,
    Entry,
    Need,
    Script,
    ScriptSent,
    ScriptUse,
    Shown,
    asks_though_stopped,
    counter_fault,
    entry_of,
    missing_proof,
    script_due,
    script_identifier,
    script_named,
)
from gateway.rules.purse import Channel, PurseChoice

R = DeclineReason
NEEDS: tuple[Need, ...] = get_args(Need)
RULES = st.builds(CardRules, st.sampled_from(NEEDS), st.sampled_from(NEEDS), st.booleans(), st.integers(1, ATC_MOST))
SHOWN = st.builds(
    Shown, st.sampled_from(Entry), st.booleans(), st.sampled_from(["", "101", "201", "501", "601"]), st.booleans()
)
ATCS = st.integers(0, ATC_MOST)


def shown(words: str) -> Shown:
    """What came, in words: how the card was read, whether with chip data, a service code, a value."""
    entry, *rest = words.split()
    code = next((word for word in rest if word.isdigit()), "")
    return Shown(Entry(entry), "chip" in rest, code, "value" in rest)


@pytest.mark.parametrize(
    ("de22", "entry"),
    [
        ("051", Entry.CHIP), ("071", Entry.CHIP), ("951", Entry.CHIP), ("021", Entry.STRIPE), ("901", Entry.STRIPE),
        ("911", Entry.STRIPE), ("801", Entry.FALLBACK), ("791", Entry.FALLBACK),
        ("011", Entry.OTHER), ("000", Entry.OTHER), ("", Entry.OTHER),
        ("5", Entry.OTHER),
    ],
)  # fmt: skip
def test_de22_says_how_the_card_was_read(de22: str, entry: Entry) -> None:
    """Its first two digits; what says neither chip nor stripe is neither."""
    assert entry is entry_of(de22)


@pytest.mark.parametrize(
    ("chip", "value", "allowed", "came", "reason"),
    [
        ("off", "off", False, shown("FALLBACK 601"), None),
        ("required", "required", False, shown("CHIP chip"), None),
        ("required", "required", False, shown("STRIPE chip 601"), None),
        ("required", "off", False, shown("CHIP"), R.CHIP_MISSING),
        ("required", "off", False, shown("OTHER 101 value"), R.CHIP_MISSING),
        ("required", "off", False, shown("STRIPE"), R.CHIP_MISSING),
        ("required", "off", True, shown("FALLBACK"), R.CHIP_MISSING),
        ("required", "off", False, shown("STRIPE 101"), None),
        ("required", "off", False, shown("STRIPE 601"), R.FALLBACK_REFUSED),
        ("optional", "off", False, shown("STRIPE 201 value"), R.FALLBACK_REFUSED),
        ("optional", "off", False, shown("FALLBACK 101 value"), R.FALLBACK_REFUSED),
        ("required", "off", True, shown("FALLBACK 601"), None),
        ("required", "required", True, shown("FALLBACK 601"), R.STRIPE_VALUE_MISSING),
        ("required", "required", True, shown("FALLBACK 601 value"), None),
        ("optional", "off", False, shown("CHIP"), None),
        ("off", "required", False, shown("CHIP"), R.STRIPE_VALUE_MISSING),
        ("off", "required", False, shown("OTHER"), R.STRIPE_VALUE_MISSING),
        ("off", "optional", False, shown("STRIPE 601"), None),
    ],
)  # fmt: skip
def test_what_is_no_proof(chip: Need, value: Need, *, allowed: bool, came: Shown, reason: DeclineReason | None) -> None:
    """Policies of a link beside what came."""
    assert reason is missing_proof(CardRules(chip, value, allowed, 100), came)


@given(rules=RULES, came=SHOWN)
def test_a_stricter_link_never_lets_more_through(rules: CardRules, came: Shown) -> None:
    """Whatever is refused stays refused where a policy is tightened, and a link that wants nothing refuses nothing."""
    refused = missing_proof(rules, came) is not None
    if rules.chip == rules.stripe_value == "off":
        assert not refused
    stricter = [rules._replace(chip=need) for need in NEEDS[NEEDS.index(rules.chip) :]]
    stricter += [rules._replace(stripe_value=need) for need in NEEDS[NEEDS.index(rules.stripe_value) :]]
    for one in (*stricter, rules._replace(fallback_allowed=False)):
        assert missing_proof(one, came) is not None or not refused


@given(rules=RULES, entry=st.sampled_from(Entry), code=st.sampled_from(["", "101", "601"]))
def test_no_other_de22_is_a_way_around_what_is_required(rules: CardRules, entry: Entry, code: str) -> None:
    """Without chip data and without a value nothing passes a link that requires both."""
    assert missing_proof(rules._replace(chip="required", stripe_value="required"), shown(f"{entry} {code}"))


@given(last=st.none() | ATCS, atc=ATCS, window=st.integers(1, ATC_MOST))
def test_a_counter_goes_up_within_its_window(last: int | None, atc: int, window: int) -> None:
    """Any first one; then above the last, and not too far."""
    fault = counter_fault(last, atc, window)
    if last is None or atc in range(last + 1, last + window + 1):
        assert fault is None
    else:
        assert fault is (R.CHIP_REPLAYED if atc <= last else R.CHIP_AHEAD)


BLOCK: tuple[ScriptUse, ...] = ("block",)
PIN: tuple[ScriptUse, ...] = ("pin",)
STOPPED = (CardState.BLOCKED, CardState.LOST, CardState.STOLEN, CardState.REPLACED, CardState.CLOSED)
ASKED = Request(RequestKind.CASH, Channel.ATM, "6011", PurseChoice.BY_RULE, 10_000, b"")
DUE = {
    R.CARD_BLOCKED: Script.BLOCK_APPLICATION, R.CARD_LOST: Script.BLOCK_CARD, R.CARD_STOLEN: Script.BLOCK_CARD,
    R.CARD_CLOSED: Script.BLOCK_CARD,
}  # fmt: skip


def of_card(state: CardState, **changes: object) -> Snapshot:
    """What is known of a request of a card in this state."""
    snapshot = Snapshot(CardView(state, date(2031, 12, 31), 0, AccountState.ACTIVE))
    return snapshot._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", CardState)
def test_a_card_that_asks_though_it_is_stopped(state: CardState) -> None:
    """One that was good once, and whose request is refused for its state alone; how many PIN tries are left does not count."""
    assert (state in STOPPED) is asks_though_stopped(ASKED, of_card(state))


def test_what_is_no_request_of_a_stopped_card() -> None:
    """A repeat, what was reversed before, what has happened already, and no card at all."""
    lost = of_card(CardState.LOST)
    assert asks_though_stopped(ASKED, lost)
    assert not asks_though_stopped(ASKED, lost._replace(earlier=Earlier(b"", R.CARD_LOST)))
    assert not asks_though_stopped(ASKED, lost._replace(reversed_before=True))
    assert not asks_though_stopped(ASKED._replace(forced=True), lost)
    assert not asks_though_stopped(ASKED._replace(kind=RequestKind.REVERSAL), lost)
    assert not asks_though_stopped(ASKED, Snapshot())


@pytest.mark.parametrize("reason", R)
def test_what_is_due_by_reason(reason: DeclineReason) -> None:
    """A card that is stopped is told to stop; its PIN tries begin anew behind a right PIN, where that is wanted."""
    wanted = {Script.UNBLOCK_PIN: ScriptSent(0, taken=False)}
    assert None is script_due((), reason, wanted, pin_changed=True)
    assert DUE.get(reason) is script_due(BLOCK, reason, wanted, pin_changed=True)
    unblocks = Script.UNBLOCK_PIN if reason in PIN_WAS_RIGHT else None
    assert unblocks is script_due(PIN, reason, wanted, pin_changed=False)
    assert None is script_due(PIN, reason, NEVER_SENT, pin_changed=False)
    changed = Script.UNBLOCK_PIN if reason is R.APPROVED else None
    assert changed is script_due(PIN, reason, NEVER_SENT, pin_changed=True)
    assert (DUE.get(reason) or unblocks) is script_due(BLOCK + PIN, reason, wanted, pin_changed=False)


@given(st.integers(0, 2 * SENT_MOST), st.booleans())
def test_a_script_goes_out_until_it_was_taken_or_often_enough(times: int, taken: bool) -> None:  # noqa: FBT001 - drawn
    """Then no more; only a PIN that is changed now is told of again."""
    goes = not taken and times < SENT_MOST
    for script, use, reason in (
        (Script.BLOCK_CARD, BLOCK, R.CARD_STOLEN), (Script.BLOCK_APPLICATION, BLOCK, R.CARD_BLOCKED),
        (Script.UNBLOCK_PIN, PIN, R.APPROVED),
    ):  # fmt: skip
        sent = {script: ScriptSent(times, taken=taken)}
        assert (script if goes else None) is script_due(use, reason, sent, pin_changed=False)
    assert Script.UNBLOCK_PIN is script_due(PIN, R.APPROVED, sent, pin_changed=True)


@given(st.sampled_from(Script), ATCS)
def test_an_identifier_names_its_script(script: Script, atc: int) -> None:
    """And transaction; 4 bytes, no two alike, and zeros (a terminal that kept none) name nothing."""
    identifier = script_identifier(script, atc)
    assert (4, (script, atc)) == (len(identifier), script_named(identifier))
    for other in (identifier[:3], identifier + b"\0", bytes(4), b"\xff" + identifier[1:], b""):
        assert None is script_named(other)


def test_commands_are_those_of_the_standard() -> None:
    """EMV book 3, tables 9, 11 and 23: class 84 (with a MAC), APPLICATION BLOCK, CARD BLOCK, PIN CHANGE/UNBLOCK without a PIN."""
    assert {"BLOCK_APPLICATION": "841e0000", "BLOCK_CARD": "84160000", "UNBLOCK_PIN": "84240000"} == {
        script.value: command.hex() for script, command in COMMANDS.items()
    }
