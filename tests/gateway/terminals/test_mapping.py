"""Tests of gateway.terminals.mapping, without a socket: words of the wire become a command, an outcome becomes an answer."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.operations.authorise import AuthoriseCommand, Outcome
from gateway.rules.authorise import DeclineReason, RequestKind
from gateway.rules.expiring import Expiring
from gateway.rules.purse import Channel, Purse, PurseChoice
from gateway.store.authorisations import Movement
from gateway.terminals import mapping
from gateway.terminals.links_file import read_links
from iso.errors import FormatError
from iso.message import Message
from keys.keytypes import KeyUsage
from keys.sensitive import Pan
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from keys.keytypes import KeyHandle

LINK = read_links(None).first
CASH = {2: "6013010000000018", 3: "010000", 4: "000010000000", 7: "1123120000", 11: "000007", 18: "6011", 32: "000002",
        37: "632712000007", 41: "A0000001", 42: "SIMA00000000001", 49: "360", 52: "0123456789ABCDEF"}  # fmt: skip
DE90 = "0200" + "000006" + "1123115959" + "00000000002" + "0" * 11


PIN_KEY = SoftwareHsm.in_memory().generate(KeyUsage.PIN_ENCRYPTION, "zpk-himbara")


@pytest.fixture(scope="module")
def key() -> KeyHandle:
    """A PIN key; the mapping only passes its handle on."""
    return SoftwareHsm.in_memory().generate(KeyUsage.PIN_ENCRYPTION, "zpk-himbara")


def command(key: KeyHandle, mti: str = "0200", **change: str) -> AuthoriseCommand:
    """The command in a cash message with fields changed (F4="..."; "" takes one out)."""
    fields = CASH | {int(name[1:]): value for name, value in change.items()}
    return mapping.to_command(Message(mti, {n: v for n, v in fields.items() if v}), LINK, key)


def test_cash_at_an_atm(key: KeyHandle) -> None:
    """Every part of the command comes from its field; two decimals become whole rupiah."""
    made = command(key)
    assert (RequestKind.CASH, Channel.ATM, "6011", PurseChoice.BY_RULE, 100_000) == (
        made.request.kind, made.request.channel, made.request.mcc, made.request.purse, made.request.amount_idr
    )  # fmt: skip
    origin = made.origin
    assert ("himbara", "0200", "A0000001", "SIMA00000000001", "000002", "000007", "1123120000", "632712000007", None) == (
        origin.link, origin.mti, origin.terminal, origin.merchant, origin.acquirer, origin.stan, origin.transmitted, origin.rrn,
        origin.original,
    )  # fmt: skip
    assert bytes.fromhex("0123456789ABCDEF") == made.pin_block


@pytest.mark.parametrize(
    ("code", "mcc", "kind", "channel", "purse"),
    [
        ("010000", "6010", RequestKind.CASH, Channel.AGENT, PurseChoice.BY_RULE),
        ("011000", "6012", RequestKind.CASH, Channel.AGENT, PurseChoice.CASH),
        ("019800", "6011", RequestKind.CASH, Channel.ATM, PurseChoice.FOOD),
        ("009600", "5411", RequestKind.PURCHASE, Channel.EWARONG, PurseChoice.CASH),
        ("000000", "5999", RequestKind.PURCHASE, Channel.EWARONG, PurseChoice.BY_RULE),
        ("300000", "5411", RequestKind.BALANCE, Channel.EWARONG, PurseChoice.BY_RULE),
        ("310000", "6011", RequestKind.BALANCE, Channel.ATM, PurseChoice.BY_RULE),
    ],
)
def test_kinds_channels_and_purses(
    key: KeyHandle, code: str, mcc: str, kind: RequestKind, channel: Channel, purse: PurseChoice
) -> None:
    """DE3 says what is asked and of which purse, DE18 where."""
    request = command(key, f3=code, f18=mcc).request
    assert (kind, channel, purse) == (request.kind, request.channel, request.purse)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"f3": "210000"}, "12"),
        ({"f3": "200000", "f18": "5411", "f90": DE90.replace("0200", "0400", 1)}, "12"),
        ({"f3": "200000", "f18": "5411", "f90": DE90.replace("0200", "0100", 1)}, "12"),
        ({"f18": "5411"}, "57"),
        ({"f49": "840"}, "12"),
        ({"f4": "0" * 12}, "13"),
        ({"f3": "012000"}, "57"),
    ],
)
def test_what_this_link_does_not_do(key: KeyHandle, change: dict[str, str], code: str) -> None:
    """A well-formed request for something not served carries its answer's code."""
    with pytest.raises(mapping.Declined) as error:
        command(key, **change)
    assert code == error.value.code


@pytest.mark.parametrize("number", [2, 3, 4, 7, 11, 18, 32, 41, 49, 52])
def test_a_missing_field_is_named(key: KeyHandle, number: int) -> None:
    """FormatError names the field that is missing."""
    with pytest.raises(FormatError) as error:
        command(key, **{f"f{number}": ""})
    assert number == error.value.field


@pytest.mark.parametrize("pan", ["60130112", "601301000000", "60130100000000180000", "60130100000000X8"])
def test_a_card_number_that_is_none_is_never_shown(key: KeyHandle, pan: str) -> None:
    """A bad card number is FormatError of field 2 without the digits."""
    with pytest.raises(FormatError) as error:
        command(key, f2=pan)
    assert 2 == error.value.field
    assert pan not in str(error.value)


@pytest.mark.parametrize("track2", ["6013010000000018=31126010000", "6013010000000018D31126010000"])
def test_the_card_number_may_stand_on_track_2(key: KeyHandle, track2: str) -> None:
    """Without DE2 the card number is read from DE35, up to either separator."""
    assert "6013010000000018" == command(key, f2="", f35=track2).pan.reveal()


@pytest.mark.parametrize("track2", ["6013010000000018", "=31126010000"])
def test_track_2_without_a_card_number(key: KeyHandle, track2: str) -> None:
    """A track 2 without separator or number is FormatError of field 2."""
    with pytest.raises(FormatError) as error:
        command(key, f2="", f35=track2)
    assert 2 == error.value.field


@pytest.mark.parametrize("block", ["01234567", "0123456789ABCDEX", "XYZ"])
def test_a_pin_block_that_is_none_counts_as_a_wrong_pin(key: KeyHandle, block: str) -> None:
    """It becomes an empty block, which no PIN check accepts."""
    assert b"" == command(key, f52=block).pin_block


@given(field=st.sampled_from((3, 4, 37, 41, 42)), digit=st.integers(0, 9))
def test_content_tells_messages_apart(field: int, digit: int) -> None:
    """Changing a field of the content changes its digest; changing one that says nothing of it does not."""
    key = SoftwareHsm.in_memory().generate(KeyUsage.PIN_ENCRYPTION, "zpk-himbara")
    value = CASH[field]
    changed = value[:-1] + str(digit)
    if field in (3, 4):
        changed = {3: f"3{value[1:]}", 4: f"00{digit}0{value[4:]}"}[field]
    same = command(key).request.content_digest == command(key, **{f"f{field}": changed}).request.content_digest
    assert (changed == value) == same
    assert (
        command(key).request.content_digest == command(key, f12="101010", f22="051", mti="0201").request.content_digest
    )


@given(
    st.sampled_from(("0200", "0201", "0100", "0220", "0400")),
    st.dictionaries(
        st.sampled_from((2, 3, 4, 7, 11, 18, 32, 37, 41, 42, 49, 52, 90)),
        st.sampled_from(("", "000000", "310000", "380000", "900000", "5411", "9999", "0", "0" * 12, "000000000050", "2", "x y")),
        max_size=3,
    ),
)  # fmt: skip
def test_the_short_way_says_what_the_long_one_says(mti: str, changes: dict[int, str]) -> None:
    """Whatever is missing, wrong or another thing: the same command, or the same refusal."""
    message = Message(mti, {number: value for number, value in (CASH | changes).items() if value})
    said = []
    for plain in (True, False):
        link = LINK.model_copy()
        link.__dict__["plain"] = plain
        for _ in range(2):  # the first time nothing is known of such messages
            try:
                found: object = mapping.to_command(message, link, PIN_KEY)._replace(pan=Pan(CASH[2]))
            except (FormatError, mapping.Declined) as error:
                found = type(error), str(error)
            said.append(found)
    assert [said[0]] * 4 == said


def test_the_short_way_is_gone() -> None:
    """Cash at the shipped link, from the second message on; never at a link that wants more."""
    link, message = LINK.model_copy(), Message("0200", CASH)
    assert mapping.frequent_command(message, link, PIN_KEY, None) is None
    taken = mapping.to_command(message, link, PIN_KEY)
    found = mapping.frequent_command(message, link, PIN_KEY, None)
    assert found is not None
    assert (taken.request, taken.origin, taken.pan.reveal()) == (found.request, found.origin, found.pan.reveal())
    assert (True, False) == (LINK.plain, LINK.model_copy(update={"chip": "optional"}).plain)


@given(place=st.text(st.characters(codec="ascii"), min_size=1, max_size=15), declined=st.booleans())
def test_the_digest_is_what_stored_answers_have(place: str, declined: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    """Written once, it is compared with for as long as answers are kept: no version of this software changes it."""
    key = SoftwareHsm.in_memory().generate(KeyUsage.PIN_ENCRYPTION, "zpk-himbara")
    marks = ("advice", "declined") if declined else ("advice",)
    values = [CASH[3], CASH[4], CASH[37], CASH[41], place, CASH[49], None, None]
    stored = hashlib.sha256(repr(("1", values, *marks)).encode()).digest()[:16]
    found = command(key, "0120", f42=place, f39="51" if declined else "00").request.content_digest
    assert stored == found


def test_a_reversal_names_its_original(key: KeyHandle) -> None:
    """DE90 gives STAN, DE7 and acquirer of the original; no PIN is needed; DE95 says what stays taken."""
    made = command(key, "0420", f90=DE90, f52="", f18="", f95="000006000000" + "0" * 12 + "D00000000" + "D00000000")
    assert RequestKind.REVERSAL is made.request.kind
    assert ("2", "000006", "1123115959", "2") == made.origin.original
    assert (100_000, 60_000, None) == (made.request.amount_idr, made.request.kept_idr, made.pin_block)


def test_a_reversal_without_acquirer_means_its_own(key: KeyHandle) -> None:
    """An original acquirer of zeros is the reversal's DE32."""
    made = command(key, "0420", f90=DE90[:20] + "0" * 22)
    assert ("2", "000006", "1123115959", "000002") == made.origin.original


def test_only_financial_requests_are_reversed(key: KeyHandle) -> None:
    """A reversal of a reversal or of a network message is answered 12."""
    for mti in ("0420", "0800"):
        with pytest.raises(mapping.Declined) as error:
            command(key, "0400", f90=mti + DE90[4:])
        assert "12" == error.value.code
        advised = command(key, "0420", f90=mti + DE90[4:])
        assert DeclineReason.ADVICE_NOT_SERVED is advised.request.fault
    with pytest.raises(FormatError):
        command(key, "0400", f90="", f37="")


def test_an_advice_is_always_accepted(key: KeyHandle) -> None:
    """0420 is told 00 where a 0400 is told that the original is unknown."""
    asked, advised = command(key, "0400", f90=DE90), command(key, "0421", f90=DE90)
    unknown = DeclineReason.ORIGINAL_UNKNOWN
    assert ("25", "00") == (asked.response_codes[unknown], advised.response_codes[unknown])


@pytest.mark.parametrize(
    ("mti", "change", "kind"),
    [
        ("0120", {"f3": "000000", "f18": "5411"}, RequestKind.PURCHASE),
        ("0121", {}, RequestKind.CASH),
        ("0220", {"f3": "000000", "f18": "5411"}, RequestKind.PURCHASE),
        ("0221", {"f39": "00"}, RequestKind.CASH),
        ("0220", {"f3": "000000", "f18": "5411", "f90": "0" * 42}, RequestKind.PURCHASE),
    ],
)
def test_what_has_happened_is_forced(key: KeyHandle, mti: str, change: dict[str, str], kind: RequestKind) -> None:
    """An advice without a hold tells of what the partner approved; no PIN is needed, and all that can be is accepted."""
    made = command(key, mti, f52="", **change)
    assert (kind, True, None, "") == (made.request.kind, made.request.forced, made.request.fault, made.why)
    assert "00" == made.response_codes[DeclineReason.INSUFFICIENT_FUNDS]


def test_a_completion_names_its_hold(key: KeyHandle) -> None:
    """0220 with DE90 of a 0100 or 0120; of anything else it is kept for people, so that nothing is taken twice."""
    hold = DE90.replace("0200", "0100", 1)
    made = command(key, "0220", f3="000000", f18="5411", f90=hold)
    assert (RequestKind.COMPLETION, False, "1") == (
        made.request.kind,
        made.request.forced,
        (made.origin.original or "")[0],
    )
    for mti, change in (
        ("0220", {"f90": DE90}),
        ("0220", {"f3": "010000", "f18": "6011", "f90": hold}),
        ("0120", {"f90": hold}),
    ):
        odd = command(key, mti, **({"f3": "000000", "f18": "5411"} | change))
        assert (RequestKind.ADVICE, DeclineReason.ADVICE_NOT_SERVED) == (odd.request.kind, odd.request.fault)


@pytest.mark.parametrize(("code", "declined"), [("00", False), ("10", False), ("51", True), ("05", True), ("91", True)])
def test_a_refusal_in_our_name_is_told_by_de39(key: KeyHandle, code: str, *, declined: bool) -> None:
    """DE39 of an advice that lets no money out: it is recorded and moves nothing."""
    made = command(key, "0120", f39=code)
    assert (DeclineReason.ADVICE_DECLINED if declined else None) is made.request.fault
    assert (made.request.content_digest == command(key, "0120").request.content_digest) is not declined


@pytest.mark.parametrize(
    ("change", "fault", "why"),
    [
        ({"f49": "840"}, DeclineReason.ADVICE_NOT_SERVED, "currency"),
        ({"f3": "400000"}, DeclineReason.ADVICE_NOT_SERVED, "processing code 40"),
        ({"f4": "0" * 12}, DeclineReason.ADVICE_NOT_SERVED, "zero"),
        ({"f18": "5411"}, DeclineReason.ADVICE_NOT_SERVED, "cash at MCC"),
        ({"f4": "000000000150"}, DeclineReason.ADVICE_UNREADABLE, "field 4"),
        ({"f41": ""}, DeclineReason.ADVICE_UNREADABLE, "field 41"),
    ],
)
def test_a_faulty_advice_is_kept(key: KeyHandle, change: dict[str, str], fault: DeclineReason, why: str) -> None:
    """What is wrong goes with it, without a value of the card; the same message asked for would be refused."""
    made = command(key, "0220", **change)
    assert (RequestKind.ADVICE, fault) == (made.request.kind, made.request.fault)
    assert why in made.why
    with pytest.raises((mapping.Declined, FormatError)):
        command(key, "0200", **change)


@pytest.mark.parametrize(
    ("mti", "change"),
    [
        ("0120", {"f3": "400000"}),
        ("0120", {"f49": "840"}),
        ("0220", {"f3": "010000", "f18": "6011", "f90": DE90}),
        ("0420", {"f90": DE90.replace("0200", "0800", 1)}),
    ],
)
def test_the_repeat_of_a_faulty_advice_is_the_same(key: KeyHandle, mti: str, change: dict[str, str]) -> None:
    """Its type does not make it another message, which would be answered 94."""
    first, again = (command(key, one, **change).request for one in (mti, f"{mti[:3]}1"))
    assert (first.fault, first.content_digest) == (again.fault, again.content_digest)
    assert first.content_digest != command(key, mti, **change, f37="777777777777").request.content_digest


@pytest.mark.parametrize("field", ["f2", "f7", "f11", "f32"])
def test_an_advice_of_no_card_or_key_is_not_kept(key: KeyHandle, field: str) -> None:
    """Nobody could say which message it was."""
    with pytest.raises(FormatError):
        command(key, "0220", **{field: ""})


def test_a_pin_change_brings_two_blocks(key: KeyHandle) -> None:
    """DE52 and the link's field, without amount and currency; a new block that is none counts as a refused PIN."""
    fields = {"f3": "901000", "f4": "", "f49": "", "f18": "6011"}
    made = command(key, **fields, f125="FEDCBA9876543210")
    assert (RequestKind.PIN_CHANGE, 0, bytes.fromhex("FEDCBA9876543210")) == (
        made.request.kind, made.request.amount_idr, made.new_pin_block
    )  # fmt: skip
    assert b"" == command(key, **fields, f125="12").new_pin_block
    elsewhere = LINK.model_copy(update={"new_pin_field": 53})
    message = Message("0200", CASH | {3: "900000", 53: "FEDCBA9876543210"})
    assert made.new_pin_block == mapping.to_command(message, elsewhere, key).new_pin_block
    for missing, field in (({"f125": ""}, 125), ({"f52": "", "f125": "12"}, 52)):
        with pytest.raises(FormatError) as error:
            command(key, **(fields | missing))
        assert field == error.value.field


def test_a_statement_has_the_links_length(key: KeyHandle) -> None:
    """DE3 38, without amount and currency; as many lines as the link's answer holds, in the link's field."""
    assert (RequestKind.STATEMENT, 5) == (
        command(key, f3="380000", f4="", f49="").request[0],
        command(key, f3="380000").request.lines,
    )
    link = LINK.model_copy(update={"statement_lines": 9, "statement_field": 48, "amount_exponent": 0})
    assert 9 == mapping.to_command(Message("0200", CASH | {3: "380000"}), link, key).request.lines
    lines = (Movement(date(2026, 11, 23), "CREDIT", 600_000), Movement(date(2026, 1, 2), "TO_RPL", -1))
    answer = mapping.to_answer(
        Message("0200", CASH), Outcome(DeclineReason.APPROVED, "00", None, None, statement=lines), link
    )
    assert "20261123CRDC00000060000020260102OTHD000000000001" == answer.get(48)


def test_a_hold_may_add_to_another(key: KeyHandle) -> None:
    """A 0100 with DE90 of a 0100; of another message it is no transaction of this link."""
    plain = command(key, "0100", f3="000000", f18="5411")
    made = command(key, "0100", f3="000000", f18="5411", f90=DE90.replace("0200", "0100", 1))
    assert ((False, None), (True, "1")) == (
        (plain.request.increments, plain.origin.original), (made.request.increments, (made.origin.original or "")[0])
    )  # fmt: skip
    with pytest.raises(mapping.Declined):
        command(key, "0100", f3="000000", f18="5411", f90=DE90)


def test_a_reversal_may_leave_its_original_to_be_found(key: KeyHandle) -> None:
    """Without DE90, or with zeros, it is what its own DE11 and DE7 name, or is looked for; without DE37 too it is none."""
    for change in ({"f90": ""}, {"f90": "0" * 42}):
        made = command(key, "0420", **change)
        assert (True, ("2", "000007", "1123120000", "000002")) == (made.origin.guessed, made.origin.original)
        with pytest.raises(FormatError):
            command(key, "0400", f37="", f90="")
    assert not command(key, "0420", f90=DE90).origin.guessed


def test_the_key_has_what_the_link_says(key: KeyHandle) -> None:
    """7, 11 and 32 always; 37 and 41 where the profile says so."""
    assert () == command(key).origin.more_key
    link = LINK.model_copy(update={"key_fields": (7, 11, 32, 37, 41)})
    assert ("632712000007", "A0000001") == mapping.to_command(Message("0200", CASH), link, key).origin.more_key


def test_an_answer_tells_code_approval_and_balances() -> None:
    """DE39, DE38 and DE54, where the outcome has them; the request's echo fields, never its PIN."""
    request = Message("0200", CASH)
    outcome = Outcome(DeclineReason.APPROVED, "00", "000123", {Purse.CASH: 5, Purse.FOOD: 1_000_000})
    answer = mapping.to_answer(request, outcome, LINK)
    assert "0210" == answer.mti
    assert ("00", "000123", "1002360C000000000500" + "9802360C000100000000") == (
        answer.get(39),
        answer.get(38),
        answer.get(54),
    )
    assert 52 not in answer.fields
    plain = mapping.to_answer(request, Outcome(DeclineReason.CARD_LOST, "41", None, None), LINK)
    assert ("41", None, None) == (plain.get(39), plain.get(38), plain.get(54))


def test_what_is_told_is_the_links_to_say() -> None:
    """DE54 and DE48 are left out where the profile says so; account types are the profile's."""
    outcome = Outcome(
        DeclineReason.APPROVED, "00", "000123", {Purse.CASH: 5, Purse.FOOD: 6}, Expiring(date(2027, 1, 2), 5)
    )
    quiet = LINK.model_copy(update={"balance_in_54": False, "expiring_in_48": False})
    other = LINK.model_copy(update={"account_types": {Purse.CASH: "20", Purse.FOOD: "96"}})
    answers = [mapping.to_answer(Message("0200", CASH), outcome, link) for link in (LINK, quiet, other)]
    assert ["EXP20270102000000000500", None, "EXP20270102000000000500"] == [one.get(48) for one in answers]
    assert ["10", None, "20"] == [one.get(54) and one.fields[54][:2] for one in answers]


@pytest.mark.parametrize(
    ("mti", "change", "partial"),
    [
        ("0200", {"f3": "000000", "f18": "5411"}, True),
        ("0201", {"f3": "009800", "f18": "6012"}, True),
        ("0100", {"f3": "000000", "f18": "5411"}, True),
        ("0100", {"f3": "000000", "f18": "5411", "f90": DE90.replace("0200", "0100", 1)}, False),
        ("0200", {"f3": "000000", "f18": "6011"}, False),
        ("0200", {}, False),
        ("0200", {"f18": "6012"}, False),
        ("0200", {"f3": "300000"}, False),
        ("0220", {"f3": "000000", "f18": "5411"}, False),
        ("0120", {"f3": "000000", "f18": "5411"}, False),
    ],
)
def test_what_may_be_approved_in_part(key: KeyHandle, mti: str, change: dict[str, str], partial: bool) -> None:  # noqa: FBT001 - a fact
    """Goods, where the link wants it: no cash, at no ATM, no increment, nothing that has happened; asked again, the same."""
    fields = CASH | {int(name[1:]): value for name, value in change.items()}
    link = LINK.model_copy(update={"partial_approval": "purchases"})
    for chosen, expected in ((link, partial), (link, partial), (LINK, False)):
        assert expected is mapping.to_command(Message(mti, dict(fields)), chosen, key).request.partial


def test_a_part_is_told_in_the_answer() -> None:
    """DE4 is what was approved; what was asked for stands behind the balance, or alone, where the link wants it."""
    request = Message("0200", CASH | {3: "009800", 4: "000010000000"})
    outcome = Outcome(
        DeclineReason.PARTIALLY_APPROVED, "10", "000123", {Purse.CASH: 5, Purse.FOOD: 0}, approved_idr=60_000
    )
    told = "1002360C000000000500" + "9802360C000000000000"
    asked = "9857360C000010000000"
    for changes, expected in (
        ({}, told),
        ({"asked_in_54": True}, told + asked),
        ({"asked_in_54": True, "balance_in_54": False}, asked),
        ({"balance_in_54": False}, None),
    ):
        answer = mapping.to_answer(request, outcome, LINK.model_copy(update=changes))
        assert ("000006000000", "10", "000123", expected) == tuple(answer.get(number) for number in (4, 39, 38, 54))
    assert "000010000000" == request.get(4)


def test_places_and_purses_are_the_links(key: KeyHandle) -> None:
    """Where cash is paid and which digits of DE3 choose a purse, the profile says."""
    link = LINK.model_copy(update={"cash_places": {"6017": Channel.AGENT}, "purses": {"20": PurseChoice.CASH}})
    made = mapping.to_command(Message("0200", CASH | {3: "012000", 18: "6017"}), link, key).request
    assert (Channel.AGENT, PurseChoice.CASH) == (made.channel, made.purse)
    for fields in (CASH | {3: "012000"}, CASH | {18: "6017"}):
        with pytest.raises(mapping.Declined):
            mapping.to_command(Message("0200", fields), link, key)


def test_commands_mask_their_card(key: KeyHandle) -> None:
    """Neither the command nor its parts show the card number in text."""
    assert "6013010000000018" not in f"{command(key)!r} {command(key)}"


def test_an_acquirer_is_written_as_the_profile_writes_it(key: KeyHandle) -> None:
    """However its number is filled, it is one to limits and settlement; one that the profile does not name stays as it came."""
    for sent, kept in (
        ("000002", "000002"),
        ("2", "000002"),
        ("00000000002", "000002"),
        ("0014", "0014"),
        ("14", "14"),
    ):
        made = command(key, F32=sent)
        assert (kept, f"{kept}:A0000001") == (made.origin.acquirer, made.request.terminal)


def test_only_acquirers_of_the_profile(key: KeyHandle) -> None:
    """Its own and those it names, compared as numbers: 58 to others; an advice of others is kept for people."""
    link = LINK.model_copy(update={"acquirers": ("000014", "7")})
    for sent in ("000002", "2", "14", "00000000007"):
        assert RequestKind.CASH is mapping.to_command(Message("0200", CASH | {32: sent}), link, key).request.kind
    for mti in ("0200", "0100", "0400"):
        fields = CASH | {3: "000000", 18: "5411", 32: "000003", 90: DE90}
        with pytest.raises(mapping.Declined, match="DE32 is no acquirer of this link") as refused:
            mapping.to_command(Message(mti, fields), link, key)
        assert "58" == refused.value.code
    advice = mapping.to_command(Message("0420", CASH | {32: "000003", 90: DE90}), link, key)
    assert (RequestKind.ADVICE, DeclineReason.ADVICE_NOT_SERVED) == (advice.request.kind, advice.request.fault)
