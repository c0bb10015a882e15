"""Tests of gateway.terminals.security: MACs of messages as they are on the wire, and their freshness."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.rules.key_turns import Turn
from gateway.terminals.links_file import read_links
from gateway.terminals.profile import Link
from gateway.terminals.security import (
    LOOK_EVERY_S,
    MISPLACED,
    MISSING,
    NO_KEY,
    NOT_MADE,
    STALE,
    WRONG,
    LinkSecurity,
)
from iso.codec import decode, encode
from iso.dialect import DIALECTS, HIMBARA, Dialect, Encoding
from iso.errors import FormatError
from iso.mac import seal
from iso.message import Message
from keys.errors import TokenError
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyState, KeyUsage
from keys.software import SoftwareHsm
from tests.keys.samples import components

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.hsm import Hsm

NOW = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)
TDES_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
AES_KEY = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
ECHO = Message("0800", {7: "1128010203", 11: "000001", 70: "301"})
CASH = Message(
    "0200", {2: "6013010000000019", 3: "010000", 4: "000005000000", 7: "1128010203", 11: "000002", 41: "ATM00001"}
)
REVERSAL = Message("0420", {**CASH.fields, 90: "0200" + "000002" + "1128010203" + "0" * 22})
RETAIL = KeySpec(KeyUsage.MAC_RETAIL)


class Kind(NamedTuple):
    """A kind of MAC, and the codes that psec and OpenSSL's CMAC make of ECHO and CASH in each dialect."""

    spec: KeySpec
    key: bytes
    codes: dict[str, tuple[str, str]]

    @property
    def echo(self) -> str:
        """Of ECHO, all ASCII."""
        return self.codes["himbara"][0]

    @property
    def cash(self) -> str:
        """Of CASH, all ASCII."""
        return self.codes["himbara"][1]


def retail(padding: int, length: int) -> KeySpec:
    """A key of retail MACs."""
    return KeySpec(KeyUsage.MAC_RETAIL, attributes=KeyAttributes(padding=padding, mac_length=length))


KINDS = {
    "CBC, padding 1": Kind(
        KeySpec(KeyUsage.MAC_CBC),
        TDES_KEY,
        {
            "himbara": ("944438792985D6F0", "F52BD7A3B7340F5B"),
            "edc": ("89F2779E5D833523", "3BD5234C6473CC5F"),
            "ebcdic": ("F567595AC7F8D3CB", "E7A2B080CE823BE5"),
        },
    ),
    "CBC, padding 2": Kind(
        KeySpec(KeyUsage.MAC_CBC, attributes=KeyAttributes(padding=2, mac_length=8)),
        TDES_KEY,
        {
            "himbara": ("721E683793A89875", "AA90E81CCCED50C7"),
            "edc": ("9E9B5A758E3C6AE0", "BDA8803902728C72"),
            "ebcdic": ("0C786BB3B659152D", "AEAE4AFC545F0E3D"),
        },
    ),
    "retail, padding 1": Kind(
        RETAIL,
        TDES_KEY,
        {
            "himbara": ("70E4FC5264D6D7F2", "2B01871A3EEE82C5"),
            "edc": ("93645B35FBD49C50", "21B7171DE0C50D61"),
            "ebcdic": ("4BA98F24536E6631", "1DF7FF18BE75F41C"),
        },
    ),
    "retail, padding 2": Kind(
        retail(2, 8),
        TDES_KEY,
        {
            "himbara": ("169C75144905E918", "EBFBF940FEF1DEA5"),
            "edc": ("F2D452A38CBD6BC0", "292C46C3826D96A5"),
            "ebcdic": ("58AF78E6DAC71D4F", "2426E0B31C5B8F2E"),
        },
    ),
    "retail, 4 bytes": Kind(
        retail(1, 4),
        TDES_KEY,
        {
            "himbara": ("70E4FC5200000000", "2B01871A00000000"),
            "edc": ("93645B3500000000", "21B7171D00000000"),
            "ebcdic": ("4BA98F2400000000", "1DF7FF1800000000"),
        },
    ),
    "triple DES CMAC": Kind(
        KeySpec(KeyUsage.MAC_CMAC, Algorithm.TDES),
        TDES_KEY,
        {
            "himbara": ("5FA988A51DEBC89F", "1CD2B4354BDEA296"),
            "edc": ("9A33374FDD63B4F8", "F15947826108395C"),
            "ebcdic": ("EC7CE757737092BF", "F178088232CFCCD0"),
        },
    ),
    "AES CMAC": Kind(
        KeySpec(KeyUsage.MAC_CMAC, Algorithm.AES),
        AES_KEY,
        {
            "himbara": ("AD0C59B150FAC97A", "2FE73ED24B60B84E"),
            "edc": ("FC2C3CD23A75B433", "C874FD6BFAB723F8"),
            "ebcdic": ("72F4882C86FD9611", "6D49A3B8E7693CF2"),
        },
    ),
}


def profile(**changes: object) -> Link:
    """The shipped link with MACs required, and with these changes."""
    shipped = read_links(None).first.model_dump(exclude_defaults=True)
    return Link.model_validate(shipped | {"mac": "required", "mac_key": "zak"} | changes)


def hsm_with(*kinds: Kind) -> SoftwareHsm:
    """An HSM whose key zak has these versions."""
    hsm = SoftwareHsm.in_memory()
    for kind in kinds:
        hsm.form(kind.spec, "zak", components(kind.key))
    return hsm


def security(hsm: Hsm | None = None, now: datetime = NOW, **changes: object) -> LinkSecurity:
    """Of such a link, at NOW. HSM: one with a key of retail MACs, if it is left out."""
    return LinkSecurity(profile(**changes), hsm or hsm_with(KINDS["retail, padding 1"]), now=lambda: now)


def sealed(message: Message, code: str, dialect: Dialect = HIMBARA) -> bytes:
    """MESSAGE with this MAC as its last field."""
    return seal(message, lambda _: bytes.fromhex(code), dialect)


def asked(guard: LinkSecurity, data: bytes, dialect: Dialect = HIMBARA) -> str | None:
    """What a message that came as DATA is refused with."""
    return guard.refusal(decode(data, dialect), data)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_mac(name: str, dialect: Dialect) -> None:
    """Made and checked as psec and OpenSSL have it, in DE64 and DE128, in hex or as bytes; no other code is right."""
    kind = KINDS[name]
    guard = security(hsm_with(kind))
    guard._dialect = dialect
    for message, code in zip((ECHO, CASH), kind.codes[dialect.name], strict=True):
        data = sealed(message, code, dialect)
        assert None is asked(guard, data, dialect)
        assert data == guard.encode(message, dialect, decode(data, dialect))
        for other in {code for one in KINDS.values() for codes in one.codes.values() for code in codes} - {code}:
            assert "63" == asked(guard, sealed(message, other, dialect), dialect)
    assert {WRONG} == set(guard.refused)


def test_a_code_in_lower_case() -> None:
    """Hexadecimal characters are read as they come; ours are upper case."""
    data = sealed(CASH, KINDS["retail, padding 1"].cash)
    assert None is asked(security(), data[:-16] + data[-16:].lower())
    assert data[-16:].isupper()


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=str)
@given(place=st.integers(min_value=0), change=st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_refused(dialect: Dialect, place: int, change: int) -> None:
    """Wherever it is: in type, bitmap, fields or MAC, no changed message is taken for a right one."""
    guard = security()
    guard._dialect = dialect
    right = guard.encode(REVERSAL, dialect, None)
    data, at = bytearray(right), place % len(right)
    assert None is asked(guard, right, dialect)
    data[at] ^= change
    try:
        message = decode(bytes(data), dialect)
    except FormatError:
        return
    hexadecimal = dialect.encoding_of(dialect.field(128)) is not Encoding.RAW
    other_case = (
        hexadecimal and at >= len(data) - 16 and message.fields[128].upper() == decode(right, dialect).fields[128]
    )
    assert other_case is (guard.refusal(message, bytes(data)) is None)


def test_off_means_neither_checked_nor_made() -> None:
    """A MAC that is there all the same is nobody's business, and the HSM is not asked."""
    guard = LinkSecurity(read_links(None).first, None)  # type: ignore[arg-type]
    data = sealed(CASH, "0" * 16)
    assert (False, None) == (guard.proves, asked(guard, data))
    assert encode(CASH) == guard.encode(CASH, HIMBARA, decode(data))


@pytest.mark.parametrize(
    ("changes", "message", "code"),
    [
        ({"mac": "required"}, CASH, "63"), ({"mac": "required"}, REVERSAL, "63"), ({"mac": "required"}, ECHO, None),
        ({"mac": "required", "mac_network": True}, ECHO, "63"), ({"mac": "required", "mac_code": "96"}, CASH, "96"),
        ({"mac": "required"}, Message("0600", {11: "000001"}), "63"),
        ({"mac": "required"}, Message("0210", {11: "000001"}), "63"),
        ({"mac": "optional"}, CASH, None), ({"mac": "optional", "mac_network": True}, ECHO, None),
    ],
)  # fmt: skip
def test_a_missing_mac(changes: dict[str, object], message: Message, code: str | None) -> None:
    """Refused where it is required, by every type of message, known or not; of network management only where the link says so."""
    guard = LinkSecurity(profile(**changes), hsm_with(KINDS["retail, padding 1"]))
    assert code == asked(guard, encode(message))
    assert ({} if code is None else {MISSING: 1}) == dict(guard.refused)
    assert (encode(message) != guard.encode(message, HIMBARA, message)) is (code is not None)
    with_mac = decode(sealed(message, "0" * 16))
    assert encode(message) != guard.encode(message, HIMBARA, with_mac)


def test_a_mac_in_the_wrong_field() -> None:
    """DE64 of a message with a second bitmap covers what is before it and nothing behind: it is no MAC. Nor is a wrong DE128."""
    for policy in ("required", "optional"):
        guard = security(mac=policy)
        right = decode(guard.encode(CASH, HIMBARA, decode(sealed(CASH, "0" * 16))))
        moved = Message("0420", {**REVERSAL.fields, 64: right.fields[64]})
        assert "63" == asked(guard, encode(moved))
        assert "63" == asked(guard, sealed(moved, "0" * 16))
        assert {MISPLACED: 1, WRONG: 1} == dict(guard.refused)


def test_a_mac_behind_an_empty_second_bitmap() -> None:
    """Some hosts always send two bitmaps: DE64 is the last field all the same."""
    data = sealed(CASH, "0" * 16)
    two = data[:4] + f"{int(data[4:20], 16) | 1 << 63:016X}".encode() + b"0" * 16 + data[20:]
    made = two[:-16] + hsm_mac(two[:-16]).encode()
    assert (None, "63") == (asked(security(), made), asked(security(), two))


def hsm_mac(data: bytes) -> str:
    """The retail MAC of DATA in hex."""
    hsm = hsm_with(KINDS["retail, padding 1"])
    return hsm.mac(hsm.find("zak"), data).hex().upper()


def test_the_padding_of_a_short_mac_is_zero() -> None:
    """A MAC of four bytes fills DE64 with zeros: nothing else may stand there."""
    guard = security(hsm_with(KINDS["retail, 4 bytes"]))
    assert (None, "63", "63") == tuple(
        asked(guard, sealed(CASH, code)) for code in ("2B01871A00000000", "2B01871A00000001", "2B01871A3EEE82C5")
    )


@pytest.mark.parametrize(
    "spec",
    [
        KeySpec(KeyUsage.MAC_RETAIL, mode=KeyMode.VERIFY),
        KeySpec(KeyUsage.MAC_CMAC, attributes=KeyAttributes(mac_length=16)),
        KeySpec(KeyUsage.MAC_HMAC),
        KeySpec(KeyUsage.PIN_ENCRYPTION),
        KeySpec(KeyUsage.MAC_RETAIL, state=KeyState.PRE_ACTIVE),
    ],
    ids=["half a mode", "16 bytes", "HMAC", "a PIN key", "not active"],
)
def test_a_key_that_makes_no_macs_of_messages(spec: KeySpec) -> None:
    """Nothing is believed under it, and an answer goes out without a MAC; an 0800 without one passes, to bring another key."""
    hsm = SoftwareHsm.in_memory()
    hsm.generate(spec, "zak")
    guard = security(hsm, mac_network=True)
    with capture_logs() as lines:
        assert ("63", None, "63") == (
            asked(guard, encode(CASH)),
            asked(guard, encode(ECHO)),
            asked(guard, sealed(ECHO, "0" * 16)),
        )
        assert encode(CASH) == guard.encode(CASH, HIMBARA, CASH)
    assert {MISSING: 1, NO_KEY: 1, NOT_MADE: 1} == dict(guard.refused)
    assert ["mac.refused", "mac.refused", "mac.not_made"] == [line["event"] for line in lines]


def test_two_keys_overlap() -> None:
    """Both are believed, the newest makes; one that is suspended is no longer believed at once."""
    hsm = hsm_with(KINDS["retail, padding 1"])
    old = sealed(CASH, KINDS["retail, padding 1"].cash)
    hsm.generate(RETAIL, "zak")
    guard = security(hsm)
    new = guard.encode(CASH, HIMBARA, CASH)
    assert new == sealed(CASH, hsm.mac(hsm.version("zak", 2), old[:-16]).hex())
    assert (None, None) == (asked(guard, old), asked(guard, new))
    hsm.set_state(hsm.version("zak", 1), KeyState.SUSPENDED)
    assert ("63", None) == (asked(guard, old), asked(guard, new))


def test_a_version_that_came_is_seen_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are looked up once a second and not for each message."""
    at = 1_000.0
    monkeypatch.setattr("gateway.terminals.security.monotonic", lambda: at)
    hsm = hsm_with(KINDS["retail, padding 1"])
    guard = security(hsm)
    assert None is asked(guard, sealed(CASH, KINDS["retail, padding 1"].cash))
    hsm.generate(RETAIL, "zak")
    new = sealed(CASH, hsm.mac(hsm.version("zak", 2), sealed(CASH, "0" * 16)[:-16]).hex())
    assert "63" == asked(guard, new)
    at += LOOK_EVERY_S
    assert None is asked(guard, new)


def test_a_pending_key_is_believed_and_makes_nothing_before_its_first_use() -> None:
    """The answer to the first message under it is the first that is made under it: so the partner knows that we have it."""
    hsm = hsm_with(KINDS["retail, padding 1"])
    hsm.generate(RETAIL, "zak")
    guard = security(hsm)
    guard._turns.know([Turn("zak", 2, "himbara", NOW, 60, 60)])
    old, covered = sealed(CASH, KINDS["retail, padding 1"].cash), sealed(CASH, "0" * 16)[:-16]
    new = sealed(CASH, hsm.mac(hsm.version("zak", 2), covered).hex())
    assert (None, old) == (asked(guard, old), guard.encode(CASH, HIMBARA, CASH))
    assert "63" == asked(guard, sealed(CASH, "1" * 16))
    assert {("zak", 2)} == guard._turns.pending
    assert (None, new) == (asked(guard, new), guard.encode(CASH, HIMBARA, CASH))
    assert {("zak", 2): NOW} == guard._turns.unwritten
    assert (None, new) == (asked(guard, old), guard.encode(CASH, HIMBARA, CASH))


def test_network_management_before_the_first_key_is_used() -> None:
    """The answer with the first key may be lost: the change is sent again as it was, without a MAC, until the key is used."""
    hsm = hsm_with(KINDS["retail, padding 1"])
    guard = security(hsm, mac_network=True)
    guard._turns.know([Turn("zak", 1, "himbara", NOW, 60, 60)])
    assert (None, encode(ECHO)) == (asked(guard, encode(ECHO)), guard.encode(ECHO, HIMBARA, ECHO))
    assert None is asked(guard, sealed(ECHO, KINDS["retail, padding 1"].echo))
    assert "63" == asked(guard, encode(ECHO))


def test_a_token_that_is_away() -> None:
    """Nothing can be said of a MAC, so the message is answered 96, to be tried again; an answer goes out without."""
    hsm = hsm_with(KINDS["retail, padding 1"])

    def away(*_: object) -> bool:
        raise TokenError("the token does not answer")

    hsm.verify_mac = hsm.mac = away  # type: ignore[method-assign,assignment]
    guard = security(hsm)
    with capture_logs() as lines:
        assert "96" == asked(guard, sealed(CASH, "0" * 16))
        assert encode(CASH) == guard.encode(CASH, HIMBARA, CASH)
    assert ["mac.not_checked", "mac.not_made"] == [line["event"] for line in lines]
    assert {NOT_MADE: 1} == dict(guard.refused)


@pytest.mark.parametrize(
    ("mti", "age_s", "fresh"),
    [
        ("0200", 900, True), ("0200", 901, False), ("0200", -900, True), ("0200", -901, False), ("0201", 901, False),
        ("0100", 901, False), ("0800", 901, False), ("0810", 10_000_000, True), ("0210", 10_000_000, True),
        ("0400", 901, True), ("0420", 7_200, True), ("0421", 7_201, False), ("0220", 7_200, True), ("0120", -901, False),
    ],
)  # fmt: skip
def test_freshness(mti: str, age_s: int, fresh: bool) -> None:  # noqa: FBT001 - what is expected
    """A request is a quarter of an hour old at most, an advice or reversal two hours here; none comes from the future."""
    guard = security(freshness_s=900, advice_freshness_s=7_200)
    sent = f"{NOW - timedelta(seconds=age_s):%m%d%H%M%S}"
    message = Message(mti, {7: sent, 11: "000001"})
    data = guard.encode(message, HIMBARA, decode(sealed(message, "0" * 16)))
    assert (None if fresh else "63") == asked(guard, data)
    assert ({} if fresh else {STALE: 1}) == dict(guard.refused)
    far = age_s > 2_592_000 and mti[2] != "1"
    assert ("63" if far else None) == asked(security(), data)


@pytest.mark.parametrize("mti", ["0200", "0120", "0220", "0421"])
@pytest.mark.parametrize(("days", "code"), [(29, None), (31, "63"), (100, "63"), (-31, "63")])
def test_no_recorded_message_outlives_its_stored_answer(mti: str, days: int, code: str | None) -> None:
    """Whatever the link says: the bank knows an answer for 31 days, and after that the same bytes would move money again."""
    guard = security()
    message = Message(mti, {7: f"{NOW - timedelta(days=days):%m%d%H%M%S}", 11: "000001"})
    assert code == asked(guard, guard.encode(message, HIMBARA, decode(sealed(message, "0" * 16))))


@pytest.mark.parametrize(
    ("now", "transmitted", "code"),
    [
        (datetime(2026, 12, 31, 23, 55, tzinfo=UTC), "0101000500", None),
        (datetime(2027, 1, 1, 0, 5, tzinfo=UTC), "1231235500", None),
        (datetime(2028, 2, 29, 12, 0, tzinfo=UTC), "0229120000", None),
        (datetime(2026, 2, 28, 12, 0, tzinfo=UTC), "0229120000", "63"),
        (NOW, "1128010260", "63"), (NOW, "0000000000", "63"), (NOW, None, "63"),
    ],
)  # fmt: skip
def test_a_time_without_a_year(now: datetime, transmitted: str | None, code: str | None) -> None:
    """It is of the nearest year; what is no time, or not there, is not fresh."""
    guard = security(now=now, freshness_s=900)
    message = Message("0200", {11: "000001"} if transmitted is None else {7: transmitted, 11: "000001"})
    assert code == asked(guard, guard.encode(message, HIMBARA, message))


def test_a_refusal_shows_no_value() -> None:
    """The log has the type and the reason; no field, no code."""
    guard = security()
    with capture_logs() as lines:
        asked(guard, sealed(CASH, "F" * 16))
    line = {"event": "mac.refused", "log_level": "info", "link": "himbara", "mti": "0200", "field": 64, "reason": WRONG}
    assert [line] == lines


@pytest.mark.parametrize(
    "answered",
    [
        lambda guard, message: guard.encode(message, HIMBARA, None),
        lambda guard, message: guard.encode(message, HIMBARA, message),
    ],
)
def test_a_request_of_ours_has_a_mac_where_one_is_required(answered: Callable[[LinkSecurity, Message], bytes]) -> None:
    """Where it is optional, only the answer to a message that had one."""
    assert encode(CASH) == answered(security(mac="optional"), CASH)
    assert sealed(CASH, KINDS["retail, padding 1"].cash) == answered(security(), CASH)
    assert encode(ECHO) == answered(security(), ECHO)
    assert sealed(ECHO, KINDS["retail, padding 1"].echo) == answered(security(mac_network=True), ECHO)


async def test_no_key_is_changed_without_a_zone_master_key() -> None:
    """12, as any code that the link does not do."""
    answer = await security().key_change(Message("0800", {7: "1128010203", 11: "000001", 48: "D0", 70: "101"}))
    assert ("0810", "12", "101", None) == (answer.mti, answer.get(39), answer.get(70), answer.get(48))
