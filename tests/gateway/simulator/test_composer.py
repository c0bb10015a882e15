"""Tests of gateway.simulator.composer: what each action sends, field by field where it matters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.card_reader import ChipWord, Entry
from gateway.simulator.composer import Composer
from gateway.simulator.errors import CaseError
from gateway.simulator.exchange import Exchange
from gateway.simulator.pinpad import other_pin, wrong_pin
from gateway.simulator.profile import read_profile, with_keys
from gateway.simulator.script import Action, Case, MacWord, Slot, Step, TypedPin
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import TerminalKind
from iso import tlv
from iso.codec import decode, encode
from iso.original_data import read_original_data
from keys.sensitive import Pin
from tests.gateway.simulator.fake_issuer import CHIP_KEYS, clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from iso.message import Message

CARD, UNKNOWN = make_wallet(2).cards
PINPAD = make_pinpad()


@pytest.fixture
def composer() -> Composer:
    """Of a case with no steps, whose terminals send nothing."""
    switch = Switch("127.0.0.1", 9, clock=clock)
    terminals = {kind: switch.terminal(PINPAD, kind, 1, first_stan=1 + 100 * n) for n, kind in enumerate(TerminalKind)}
    return Composer(Case(Path("x"), "x", (), variables={"sum": "000000000700"}), switch, terminals, CARD, UNKNOWN)


def test_variables_from_the_start(composer: Composer) -> None:
    """The card's number and track, the time of now as in DE7, and Jakarta's yesterday as in DE15."""
    assert {
        "pan": CARD.pan.reveal(), "unknown_pan": UNKNOWN.pan.reveal(), "track2": f"{CARD.pan.reveal()}=311160100000",
        "now": "1123173005", "yesterday": "1123", "undated": "30",
        "sum": "000000000700",
    } == composer.variables  # fmt: skip


def approve(composer: Composer, step: Step) -> Message:
    """The step's message, answered 00."""
    message = composer.message(step)
    answer = message.response()
    answer.fields[39] = "00"
    composer.answered(step, Exchange(message, answer, 1.0))
    return message


def block(pin: Pin) -> str:
    """DE52 of the case's card."""
    return PINPAD.block(CARD.pan, pin)


@pytest.mark.parametrize(
    ("action", "mti", "code", "has_pin"),
    [
        (Action.WITHDRAW, "0200", "010000", True),
        (Action.PURCHASE, "0200", "000000", True),
        (Action.BALANCE, "0200", "300000", True),
        (Action.STATEMENT, "0200", "380000", True),
        (Action.HOLD, "0100", "000000", True),
        (Action.ADVICE, "0120", "010000", False),
    ],
)
def test_messages_of_a_card(composer: Composer, action: Action, mti: str, code: str, has_pin: bool) -> None:  # noqa: FBT001
    """Type, processing code, PIN or none; every one can be encoded."""
    message = composer.message(Step(action, amount_idr=50_000))
    assert (mti, code, has_pin) == (message.mti, message.fields[3], 52 in message.fields)
    assert CARD.pan.reveal() == message.fields[2]
    assert message == decode(encode(message))


@pytest.mark.parametrize(
    ("first", "action", "mti", "code"),
    [
        (Action.HOLD, Action.INCREMENT, "0100", "000000"),
        (Action.HOLD, Action.COMPLETE, "0220", "000000"),
        (Action.HOLD, Action.RELEASE, "0420", "000000"),
        (Action.PURCHASE, Action.REFUND, "0200", "200000"),
        (Action.WITHDRAW, Action.REVERSE, "0420", "010000"),
    ],
)
def test_messages_about_an_earlier_one(composer: Composer, first: Action, action: Action, mti: str, code: str) -> None:
    """DE90 names it; no PIN."""
    original = composer.message(Step(first, name="one", amount_idr=50_000))
    message = composer.message(Step(action, of="one", amount_idr=20_000))
    assert (mti, code, False) == (message.mti, message.fields[3], 52 in message.fields)
    assert read_original_data(message.fields[90]).names(original)
    assert ("000005000000" if action in (Action.RELEASE, Action.REVERSE) else "000002000000") == message.fields[4]
    assert message == decode(encode(message))


def test_an_increment_may_come_with_a_pin(composer: Composer) -> None:
    """Right or wrong, where the step says so."""
    composer.message(Step(Action.HOLD, name="one", amount_idr=50_000))
    right, wrong = (
        composer.message(Step(Action.INCREMENT, of="one", amount_idr=1_000, pin=pin))
        for pin in (TypedPin.RIGHT, TypedPin.WRONG)
    )
    assert (block(CARD.pin), block(wrong_pin(CARD.pin))) == (right.fields[52], wrong.fields[52])


def test_repeats_are_marked_by_their_type(composer: Composer) -> None:
    """0201, 0101, 0221, 0421; the fields are the same."""
    composer.message(Step(Action.HOLD, name="hold", amount_idr=50_000))
    for name, step, marked in (
        ("w", Step(Action.WITHDRAW, name="w", amount_idr=1_000), "0201"),
        ("h", Step(Action.HOLD, name="h", amount_idr=1_000), "0101"),
        ("c", Step(Action.COMPLETE, name="c", of="hold", amount_idr=1_000), "0221"),
        ("r", Step(Action.RELEASE, name="r", of="hold"), "0421"),
        ("f", Step(Action.FILE_ACTION, name="f"), "0303"),
        ("e", Step(Action.ECHO, name="e"), "0800"),
    ):
        first = composer.message(step)
        again = composer.message(Step(Action.REPEAT, of=name, marked=True))
        assert (marked, first.fields) == (again.mti, again.fields)
        assert first == composer.message(Step(Action.REPEAT, of=name))


def test_network_and_administrative_messages(composer: Composer) -> None:
    """0800 with its code; 0302 with the card; 0620 with a text; each with time, trace number and, of the last two, acquirer."""
    for action, code in (
        (Action.SIGN_ON, "001"), (Action.SIGN_OFF, "002"), (Action.KEY_CHANGE, "101"), (Action.CUT_OVER, "201"),
        (Action.ECHO, "301"),
    ):  # fmt: skip
        message = composer.message(Step(action))
        assert ("0800", code, {7, 11, 70}) == (message.mti, message.fields[70], set(message.fields))
    hot = composer.message(Step(Action.FILE_ACTION))
    assert ("0302", CARD.pan.reveal(), "1", "HOTLIST", "000002") == (
        hot.mti,
        *(hot.fields[n] for n in (2, 91, 101, 32)),
    )
    text = composer.message(Step(Action.ADMIN, set={48: "LINK DOWN 02:00-03:00"}))
    assert ("0620", "LINK DOWN 02:00-03:00") == (text.mti, text.fields[48])
    assert hot.fields[11] != text.fields[11]


def test_a_changed_pin_is_the_right_one_from_then_on(composer: Composer) -> None:
    """Old block in DE52, new one in DE125; wrong is wrong beside the new one; the way back is known."""
    assert (False,) == (composer.pin_was_changed,)
    step = Step(Action.PIN_CHANGE, name="change", new_pin="other")
    message = approve(composer, step)
    assert ("900000", block(CARD.pin), block(other_pin(CARD.pin))) == tuple(message.fields[n] for n in (3, 52, 125))
    assert block(other_pin(CARD.pin)) == composer.message(Step(Action.BALANCE)).fields[52]
    wrong = composer.message(Step(Action.BALANCE, pin=TypedPin.WRONG)).fields[52]
    assert block(wrong_pin(other_pin(CARD.pin))) == wrong
    assert (True,) == (composer.pin_was_changed,)
    back = composer.pin_back()
    assert (block(other_pin(CARD.pin)), block(CARD.pin)) == (back.fields[52], back.fields[125])
    for word, expected in (("same", other_pin(CARD.pin)), ("weak", Pin("111111")), ("739146", Pin("739146"))):
        assert block(expected) == composer.message(Step(Action.PIN_CHANGE, new_pin=word)).fields[125]
    approve(composer, Step(Action.PIN_CHANGE, new_pin="first"))
    assert (False,) == (composer.pin_was_changed,)


def test_a_declined_change_changes_nothing(composer: Composer) -> None:
    """The old PIN stays the right one."""
    step = Step(Action.PIN_CHANGE, new_pin="weak")
    message = composer.message(step)
    answer = message.response()
    answer.fields[39] = "55"
    composer.answered(step, Exchange(message, answer, 1.0))
    assert block(CARD.pin) == composer.message(Step(Action.BALANCE)).fields[52]


def test_totals_are_what_the_case_was_told(composer: Composer) -> None:
    """Numbers and sums of approved messages; refused ones and repeats do not count."""
    empty = composer.message(Step(Action.TOTALS)).fields
    assert ("0" * 10, "0" * 16, "C" + "0" * 16) == (empty[76], empty[88], empty[97])
    approve(composer, Step(Action.WITHDRAW, name="cash", amount_idr=50_000))
    approve(composer, Step(Action.REPEAT, of="cash"))
    approve(composer, Step(Action.PURCHASE, name="goods", amount_idr=30_000))
    composer.message(Step(Action.PURCHASE, amount_idr=9_000))
    approve(composer, Step(Action.REVERSE, of="cash", kept_idr=20_000))
    approve(composer, Step(Action.REFUND, name="back", of="goods", amount_idr=10_000))
    approve(composer, Step(Action.REVERSE, of="back"))
    approve(composer, Step(Action.BALANCE))
    totals = composer.message(Step(Action.TOTALS))
    assert "0500" == totals.mti
    assert [1, 1, 2, 1] == [int(totals.fields[number]) for number in (74, 75, 76, 77)]
    assert [1_000_000, 1_000_000, 8_000_000, 3_000_000] == [int(totals.fields[number]) for number in (86, 87, 88, 89)]
    assert f"D{5_000_000:016d}" == totals.fields[97]
    assert totals == decode(encode(totals))


def test_changes_of_a_step(composer: Composer) -> None:
    """Variables are put in, empty fields go, the type may be another, the card may be a stranger's, the PIN may be left out."""
    message = composer.message(
        Step(Action.WITHDRAW, mti="9200", card=Slot.UNKNOWN, pin=TypedPin.NONE, set={4: "${sum}", 41: ""})
    )
    assert ("9200", UNKNOWN.pan.reveal(), "000000000700") == (message.mti, message.fields[2], message.fields[4])
    assert {41, 52} & set(message.fields) == set()
    with pytest.raises(CaseError, match="variable nothing has no value"):
        composer.message(Step(Action.ECHO, set={48: "${nothing}"}))


@pytest.fixture
def proving() -> Composer:
    """Of a link that wants proof: MACs, chips, stripes; and takes new keys."""
    profile = with_keys(read_profile("chip"), CHIP_KEYS)
    switch = Switch("127.0.0.1", 9, clock=clock, profile=profile)
    pinpad = profile.pinpad(CHIP_KEYS)
    terminals = {
        kind: switch.terminal(pinpad, kind, 1, first_stan=1 + 100 * n, reads=False)
        for n, kind in enumerate(TerminalKind)
    }
    return Composer(Case(Path("x"), "x", ()), switch, terminals, CARD, UNKNOWN)


@pytest.mark.parametrize(
    ("step", "fields"),
    [
        (Step(Action.WITHDRAW, amount_idr=1_000), {22, 55}),
        (Step(Action.HOLD, amount_idr=1_000), {22, 55}),
        (Step(Action.PIN_CHANGE, new_pin="other"), {22, 55}),
        (Step(Action.WITHDRAW, amount_idr=1_000, chip=ChipWord.NONE), {22}),
        (Step(Action.WITHDRAW, amount_idr=1_000, read=Entry.STRIPE), {22, 35}),
        (Step(Action.ADVICE, amount_idr=1_000), {22}),
        (Step(Action.ADVICE, amount_idr=1_000, chip=ChipWord.RIGHT), {22, 55}),
        (Step(Action.ECHO), set()),
    ],
    ids=lambda one: str(one.action) if isinstance(one, Step) else "",
)
def test_which_messages_show_the_card(proving: Composer, step: Step, fields: set[int]) -> None:
    """Requests of a card, as a good one is shown; others where the step says so."""
    assert fields == {22, 35, 55} & set(proving.message(step).fields)


def test_the_chip_signs_what_the_message_says(proving: Composer) -> None:
    """What `set` puts in place is signed; a repeat keeps what was signed; what `set` says of the card itself counts."""
    paid = Step(Action.WITHDRAW, name="paid", amount_idr=1_000, set={4: "000000200000", 49: "840"})
    first = proving.message(paid)
    told = dict(tlv.parse(bytes.fromhex(first.fields[55])))
    assert ("000000200000", "0840") == (told["9F02"].hex(), told["5F2A"].hex())
    assert first.fields == proving.message(Step(Action.REPEAT, of="paid")).fields
    own = proving.message(Step(Action.BALANCE, set={22: "021", 55: ""}))
    assert ("021", False) == (own.fields[22], 55 in own.fields)


def test_a_stale_message_is_a_minute_too_old(proving: Composer) -> None:
    """By the profile's freshness; what lacks DE7 is told so too."""
    assert "1123172405" == proving.message(Step(Action.BALANCE, mac=MacWord.STALE)).fields[7]
    assert "63" == proving.variables["undated"]


def test_a_new_key_and_the_same_block_again(proving: Composer) -> None:
    """Block and check value are variables from then on; `set` puts another block, or none."""
    first = proving.message(Step(Action.KEY_CHANGE))
    block, check_value = proving.variables["block"], proving.variables["kcv"]
    assert ("101", block, 6) == (first.fields[70], first.fields[48], len(check_value))
    again = proving.message(Step(Action.KEY_CHANGE, set={48: "${block}"}))
    assert (block, check_value) == (again.fields[48], proving.variables["kcv"])
    assert 48 not in proving.message(Step(Action.KEY_CHANGE, set={48: ""})).fields


def test_cards_are_shown_where_the_profile_reads_them(composer: Composer) -> None:
    """Elsewhere the words mean nothing, and a case that has them says so."""
    with pytest.raises(CaseError, match="reads neither chips nor stripes"):
        composer.message(Step(Action.BALANCE, chip=ChipWord.WRONG))
    assert 48 not in composer.message(Step(Action.KEY_CHANGE)).fields
