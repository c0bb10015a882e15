"""Tests of gateway.terminals.card_data: what comes with a card, read of any message, and what is malformed named by its field."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.operations.card_check import IssuerAnswer
from gateway.operations.card_scripts import IssuerScript
from gateway.rules.chip import Entry, Script, ScriptResult, ScriptTold
from gateway.simulator.chip_card import ChipCard
from gateway.simulator.wallet import TestCard
from gateway.terminals.card_data import card_data, chip_field, pin_block, script_words
from gateway.terminals.links_file import read_links
from gateway.terminals.profile import Link
from iso import tlv
from iso.errors import FormatError
from iso.message import Message
from keys.cvv import CardValue
from keys.emv_profile import profiles
from keys.pinblock import PinFormat
from keys.sensitive import Pan, Pin

SHIPPED = read_links(None).first
CARD = TestCard(Pan("6013010000000018"), Pin("204817"), date(2031, 12, 31), "001", "SITI")
AMOUNT = "000010000000"
TODAY = date(2026, 11, 23)
TDES_KSN, AES_KSN = "FFFF9876543210E00001", "123456789012345600000001"


def link(**changes: Any) -> Link:  # noqa: ANN401 - any setting
    """The shipped link with other settings."""
    return Link.model_validate(SHIPPED.model_dump(exclude_defaults=True) | changes)


CHIP = link(chip="required", stripe_value="required")
DUKPT = link(pin_scheme="dukpt", pin_key="bdk")


def chip(**changes: Any) -> ChipCard:  # noqa: ANN401 - any part of it
    """A test card's chip."""
    return ChipCard(CARD, b"\x11" * 8 + b"\x22" * 8, b"\x33" * 8 + b"\x44" * 8, **changes)


def asked(fields: dict[int, str] | None = None) -> Message:
    """A withdrawal with its chip data; with FIELDS changed, or taken out where they are empty."""
    known = {
        2: CARD.pan.reveal(),
        4: AMOUNT,
        22: "051",
        49: "360",
        52: "0123456789ABCDEF",
        55: chip().sign(AMOUNT, TODAY),
    }
    return Message("0200", {number: value for number, value in (known | (fields or {})).items() if value})


def refused(message: Message, by: Link = CHIP) -> tuple[int | None, str]:
    """Which field is named, and why."""
    with pytest.raises(FormatError) as error:
        card_data(message, by)
    return error.value.field, error.value.reason


def named(message: Message, by: Link) -> int | None:
    """Which field is named; None where all are well."""
    try:
        card_data(message, by)
    except FormatError as error:
        return error.field
    return None


def test_a_plain_link_looks_at_nothing() -> None:
    """A ZPK and format 0: nothing is read of a card, whatever stands there."""
    assert card_data(asked({55: "malformed", 35: "malformed"}), SHIPPED) is None


def test_what_comes_with_a_chip() -> None:
    """The profile's tags, the sequence number, and whether the card signed this request."""
    data = card_data(asked({23: "007", 55: chip(psn="07", atc=41).sign(AMOUNT, TODAY)}), CHIP)
    assert data is not None
    assert data.chip is not None
    assert (Entry.CHIP, True, "", False) == data.shown
    assert ("nsiccs", "imk-ac", 42, "07", True) == (
        data.chip.profiles[0].name, data.chip.key, data.chip.atc, data.chip.psn, data.chip.same
    )  # fmt: skip
    assert (None, None, PinFormat.ISO_0) == (data.stripe, data.ksn, data.pin_format)


def test_a_card_of_one_of_several_profiles() -> None:
    """The cryptogram version in tag 9F10 says which; of none, one stays, which refuses it; of two, both are tried."""
    several = link(chip="required", chip_profile=["nsiccs", "mchip-cvn14", "visa-cvn18"])
    for name, found in (("nsiccs", "nsiccs"), ("mchip-cvn14", "mchip-cvn14"), ("visa-cvn10", "visa-cvn18")):
        signed = chip(profile=profiles()[name], key_index=9).sign(AMOUNT, TODAY)
        data = card_data(asked({55: signed}), several)
        assert data is not None
        assert data.chip is not None
        assert [found] == [profile.name for profile in data.chip.profiles]
    tags = dict(tlv.parse(bytes.fromhex(chip().sign(AMOUNT, TODAY)))) | {"9F10": bytes.fromhex("06011203A0A000")}
    data = card_data(asked({55: tlv.build(tags.items()).hex()}), several)
    assert data is not None
    assert data.chip is not None
    assert ["visa-cvn18", "nsiccs"] == [profile.name for profile in data.chip.profiles]


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({4: "000010000100"}, {}),
        ({49: "840"}, {}),
        ({}, {"t9F27": "40"}),
        ({}, {"t9F27": "00"}),
        ({}, {"t5F2A": "0840"}),
        ({}, {"t9F02": "000010000001"}),
    ],
)
def test_what_the_card_did_not_sign(fields: dict[int, str], changes: dict[str, str]) -> None:
    """Another amount, another currency, or no request: a cryptogram for something else than what is asked."""
    data = card_data(asked({55: chip().sign(AMOUNT, TODAY, **changes)} | fields), CHIP)
    assert data is not None
    assert data.chip is not None
    assert not data.chip.same


@pytest.mark.parametrize(
    ("number", "said", "psn"), [("", "07", "07"), ("003", "", "03"), ("", "", "00"), ("007", "07", "07")]
)
def test_the_sequence_number(number: str, said: str, psn: str) -> None:
    """DE23, or tag 5F34, or none; where both are there they are the same."""
    tags = dict(tlv.parse(bytes.fromhex(chip().sign(AMOUNT, TODAY))))
    del tags["5F34"]
    if said:
        tags["5F34"] = bytes.fromhex(said)
    data = card_data(asked({23: number, 55: tlv.build(tags.items()).hex()}), CHIP)
    assert data is not None
    assert data.chip is not None
    assert psn == data.chip.psn


@pytest.mark.parametrize("number", ["100", "00X", "001"])
def test_a_sequence_number_that_is_none(number: str) -> None:
    """Three digits of which the first is 0, and the same as the chip's."""
    assert 23 == refused(asked({23: number}))[0]


@pytest.mark.parametrize("tag", ["9F26", *(one.tag for one in profiles()["nsiccs"].data)])
def test_a_missing_or_short_tag_is_named(tag: str) -> None:
    """Every tag that the cryptogram is made of, and the cryptogram."""
    tags = dict(tlv.parse(bytes.fromhex(chip().sign(AMOUNT, TODAY))))
    short = tlv.build((tags | {tag: b""}).items()).hex()
    assert (55, f"tag {tag} has a wrong length") == refused(asked({55: short}))
    del tags[tag]
    assert (55, f"tag {tag} is missing") == refused(asked({55: tlv.build(tags.items()).hex()}))


@given(data=st.binary(max_size=300), end=st.integers(0, 200))
def test_hostile_chip_data(data: bytes, end: int) -> None:
    """Any bytes, and real chip data cut off and gone on with any bytes: chip data or a FormatError of field 55."""
    real = bytes.fromhex(chip().sign(AMOUNT, TODAY))
    for one in (data, real[:end] + data):
        if one:
            assert named(asked({55: one.hex()}), CHIP) in (None, 23, 55)


@given(text=st.text(max_size=40))
def test_hostile_text_in_every_field_of_a_card(text: str) -> None:
    """No other error than one that names the field."""
    for number in (22, 23, 35, 55, 62):
        for by in (CHIP, link(chip="optional", stripe_value="optional", pin_scheme="dukpt", pin_key="bdk")):
            found = named(asked({62: TDES_KSN} | {number: text}), by)
            assert found in (None, number) or (found == 62 and by is not CHIP)


def test_the_stripe_and_its_value() -> None:
    """Read by stripe its value is CVV1 over the service code, read of the chip it is an iCVV; either separator, or padding."""
    track = chip().track2("601")
    for said in (track, track.replace("=", "D"), track + "F"):
        data = card_data(asked({22: "901", 35: said, 55: ""}), CHIP)
        assert data is not None
        assert ("cvk", CardValue.CVV1, "3112", "601", track[-3:]) == data.stripe
        assert (Entry.STRIPE, False, "601", True) == data.shown
    data = card_data(asked({35: track, 2: ""}), CHIP)
    assert data is not None
    assert data.stripe is not None
    assert CardValue.ICVV is data.stripe.kind
    off = card_data(asked({35: track}), link(chip="optional"))
    assert off is not None
    assert off.stripe is not None
    assert ("", False) == (off.stripe.value, off.shown.value)


@pytest.mark.parametrize("at", range(7))
def test_where_the_value_stands(at: int) -> None:
    """By profile, counted from behind the service code; what is too short for it has none."""
    data = card_data(
        asked({22: "901", 35: f"{CARD.pan.reveal()}=31126011234567"}), link(stripe_value="required", stripe_value_at=at)
    )
    assert data is not None
    assert data.stripe is not None
    assert ("1234567"[at : at + 3] if at < 5 else "") == data.stripe.value


@pytest.mark.parametrize(
    "track",
    [
        "6013010000000018",
        "6013010000000018=31",
        "6013010000000018=3112601X",
        "=31126010000",
        "6013010000000026=3112601",
    ],
)
def test_a_track_that_is_none_of_the_card(track: str) -> None:
    """Malformed, or of another card than DE2: field 35, and no digit of it."""
    number, reason = refused(asked({35: track}))
    assert 35 == number
    assert track[:12] not in reason


@pytest.mark.parametrize(
    ("text", "counter"), [(TDES_KSN, 1), (AES_KSN, 1), (TDES_KSN.lower(), 1), (f"{TDES_KSN}    ", 1)]
)
def test_the_key_serial_number(text: str, counter: int) -> None:
    """Triple DES or AES by its length, in the link's field."""
    data = card_data(asked({62: text}), DUKPT)
    assert data is not None
    assert data.ksn is not None
    assert (counter, text.strip().upper()) == (data.ksn.counter, str(data.ksn))
    elsewhere = link(pin_scheme="dukpt", pin_key="bdk", ksn_field=120)
    assert 120 == refused(asked({62: text}), elsewhere)[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        TDES_KSN[:-1],
        TDES_KSN + "0",
        "X" * 20,
        "FFFF9876543210E00000",
        "FFFF9876543210FFFFFF",
        "12345678901234560001FFFF",
    ],
)
def test_requirement_13_a_key_serial_number_that_no_terminal_has(text: str) -> None:
    """Missing, malformed, counter zero, or more one-bits than a device counts to: the field is named."""
    assert 62 == refused(asked({62: text}), DUKPT)[0]


def test_the_pin_block() -> None:
    """8 bytes in DE52, 16 of format 4 in the profile's field; one that is damaged is empty: a wrong PIN."""
    four = link(pin_format=4, pin_block_field=126)
    assert bytes.fromhex("0123456789ABCDEF") == pin_block(asked(), SHIPPED)
    assert bytes(range(16)) == pin_block(asked({126: bytes(range(16)).hex()}), four)
    assert None is pin_block(asked({52: ""}), SHIPPED)
    assert None is pin_block(asked(), four)
    for text in ("0123456789ABCDE", "0123456789ABCDEX", "0" * 32):
        assert b"" == pin_block(asked({52: text}), SHIPPED)
    assert b"" == pin_block(asked({126: "0" * 16}), four)
    data = card_data(asked(), four)
    assert data is not None
    assert PinFormat.ISO_4 is data.pin_format


def test_what_the_chip_is_answered() -> None:
    """Tag 91; and where there is a script, template 72 with its identifier and its command."""
    assert (("91", bytes(range(10))),) == tlv.parse(bytes.fromhex(chip_field(IssuerAnswer(bytes(range(10))))))
    script = IssuerScript(Script.BLOCK_CARD, b"\x02\x00\x01\x2c", bytes(range(13)))
    field = chip_field(IssuerAnswer(bytes(range(10)), script))
    (answer, (tag, template)) = tlv.parse(bytes.fromhex(field))
    assert (("91", bytes(range(10))), "72") == (answer, tag)
    assert (("9F18", b"\x02\x00\x01\x2c"), ("86", bytes(range(13)))) == tlv.parse(template)
    assert ("IssuerAnswer(...)", "IssuerScript(BLOCK_CARD)") == (repr(IssuerAnswer(b"", script)), repr(script))


TAKEN_300 = ScriptTold(Script.BLOCK_CARD, 300, ScriptResult.TAKEN)
FAILED_300 = ScriptTold(Script.BLOCK_APPLICATION, 300, ScriptResult.FAILED)
NOT_DONE = ScriptTold(Script.UNBLOCK_PIN, 255, ScriptResult.NOT_DONE)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ([("9F5B", "200200012C")], (TAKEN_300,)),
        ([("9F5B", "110100012C0F030000FF")], (FAILED_300, NOT_DONE)),
        ([("9F5B", "2000000000200200012C")], (TAKEN_300,)),  # the first is none of ours
        ([("9F5B", "3002000120200200012C")], (TAKEN_300,)),  # the first has a result that nobody knows
        ([("9F5B", "20020001")], ()),
        ([("9F5B", "200200012C"), ("95", "0000000010"), ("9F36", "012C")], (TAKEN_300,)),
        ([("95", "0000000010"), ("9F36", "012C")], (ScriptTold(None, 300, ScriptResult.FAILED),)),
        ([("95", "0000000020"), ("9F36", "012C")], (ScriptTold(None, 300, ScriptResult.FAILED),)),
        ([("95", "00000000CF"), ("9F36", "012C")], ()),
        ([("95", "0000000010"), ("9F36", "01")], ()),
        ([("95", "10"), ("9F36", "012C")], ()),
        ([("95", "0000000010")], ()),
        ([("9F5B", "200200012C" * 9)], (TAKEN_300,) * 8),
        ([], ()),
    ],
)  # fmt: skip
def test_what_a_terminal_says_of_scripts(tags: list[tuple[str, str]], words: tuple[ScriptTold, ...]) -> None:
    """Tag 9F5B names ours; without it the terminal's verification results say that one failed."""
    field = tlv.build((tag, bytes.fromhex(value)) for tag, value in tags).hex()
    assert words == script_words(asked({55: field}))


@given(data=st.binary(max_size=300))
def test_hostile_words_of_scripts(data: bytes) -> None:
    """Any DE55, and any results: some words or none, and never an error, since an advice is not refused for them."""
    assert all(word.script is None or 0 <= word.atc <= 65_535 for word in script_words(asked({55: data.hex()})))
    results = tlv.build([("9F5B", data)]).hex()
    assert 8 >= len(script_words(asked({55: results})))
    assert () == script_words(Message("0220", {55: "malformed"}))


def test_nothing_of_a_card_is_printed() -> None:
    """Neither cryptogram nor track stands in what a crash would print."""
    message = asked({35: chip().track2()})
    data = card_data(message, CHIP)
    assert data is not None
    printed = f"{data!r} {data} {data.chip!r} {data.stripe!r} {[data]}"
    for secret in (message.fields[35], message.fields[35][-3:], CARD.pan.reveal()):
        assert secret not in printed
    for value in () if data.chip is None else data.chip.tags.values():
        assert len(value) < 3 or f"{value!r}" not in printed
