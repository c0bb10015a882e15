"""From the header of a key block to the specification of a key, and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import kcv, key_blocks, tr31
from keys.errors import KeyBlockError, KeyRefused
from keys.kcv import Kcv, KcvMethod
from keys.keytypes import (
    Algorithm,
    Exportability,
    KeyAttributes,
    KeyInfo,
    KeyMode,
    KeySpec,
    KeyState,
    KeyUsage,
)
from keys.sensitive import Material
from keys.software import SoftwareWorkshop
from keys.tr31_header import Header
from keys.usages import USAGES
from tests.keys.at_work import KINDS, Kind, key_of
from tests.keys.samples import SECOND_KEY
from tests.keys.test_tr31_header import headers

if TYPE_CHECKING:
    from collections.abc import Callable


AES_KBPK, TDES_KBPK = bytes(range(32)), bytes.fromhex("0123456789ABCDEFFEDCBA98765432101122334455667788")


def info_of(usage: KeyUsage, algorithm: Algorithm, bits: int, **changes: object) -> KeyInfo:
    """A header as a keystore has it."""
    rule = USAGES[usage]
    info = KeyInfo(
        "a.key", usage, algorithm, rule.modes[0], Exportability.EXPORTABLE, KeyState.ACTIVE, 1, date(2026, 10, 5),
        None, None, bits, Kcv("", KcvMethod.TDES_ECB_ZERO), rule.attributes,
    )  # fmt: skip
    return replace(info, **changes)  # type: ignore[arg-type]


def tools(
    kbpk: bytes, algorithm: Algorithm
) -> tuple[Callable[[KeyInfo, bytes], str], Callable[[str], tuple[Header, bytes]]]:
    """Writer and opener of a KBPK of software."""
    workshop, info = SoftwareWorkshop(), info_of(KeyUsage.KEY_BLOCK_PROTECTION, algorithm, 8 * len(kbpk))
    write = key_blocks.wrapper(workshop, info, Material(kbpk))
    return (
        lambda inside, key: write(key_blocks.header_of(inside), key),
        key_blocks.opener(workshop, info, Material(kbpk)),
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.usage is not KeyUsage.SIGNATURE], ids=str)
def test_a_key_comes_back_as_it_went(kind: Kind) -> None:
    """Every usage, mode, exportability and algorithm in a header and out of it."""
    write, unwrap = tools(AES_KBPK, Algorithm.AES)
    for mode in USAGES[kind.usage].modes:
        for exportability in Exportability:
            info = info_of(*kind, mode=mode, exportability=exportability)
            header, key = unwrap(write(info, key_of(kind)))
            spec = key_blocks.spec_of(header, None)
            assert (key_of(kind), "D") == (key, header.version)
            assert (kind.usage, kind.algorithm, mode, info.attributes) == (
                spec.usage,
                spec.algorithm,
                spec.mode,
                spec.attributes,
            )
            assert exportability is spec.exportability
            assert (KeyState.ACTIVE, None, None) == (spec.state, spec.active_from, spec.active_to)


@pytest.mark.parametrize(("version", "field"), [(1, "01"), (42, "42"), (99, "99"), (100, "00"), (9999, "00")])
def test_version_numbers_have_two_digits(version: int, field: str) -> None:
    """Above 99 a header cannot say which; 00 says that the version is not told."""
    write, unwrap = tools(AES_KBPK, Algorithm.AES)
    assert (
        field
        == unwrap(write(info_of(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128, version=version), SECOND_KEY))[0].key_version
    )


@pytest.mark.parametrize(
    ("kbpk", "algorithm", "version"), [(AES_KBPK, Algorithm.AES, "D"), (TDES_KBPK, Algorithm.TDES, "B")]
)
def test_versions_follow_the_protection_key(kbpk: bytes, algorithm: Algorithm, version: str) -> None:
    """D of AES, B of triple DES; what is written opens by the pure functions; the other cipher's blocks are refused."""
    write, unwrap = tools(kbpk, algorithm)
    block = write(info_of(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128), SECOND_KEY)
    assert (version, SECOND_KEY) == (block[0], tr31.Opener(kbpk, version).unwrap(block)[1])
    other = "D" if version == "B" else "B"
    foreign = tr31.wrap(AES_KBPK if other == "D" else TDES_KBPK, Header(other, "M3", "T", "C"), SECOND_KEY)
    with pytest.raises(KeyBlockError, match="not opened here"):
        unwrap(foreign)


def test_the_hash_of_an_hmac_key() -> None:
    """Read from block HM; where it is not there, that of the usage; a hash of another kind is refused."""
    for code, digest, length in (("21", "SHA-256", 32), ("23", "SHA-512", 64)):
        attributes = key_blocks.spec_of(Header("D", "M7", "H", "C", blocks=(("HM", code),)), None).attributes
        assert attributes is not None
        assert (digest, length) == (attributes.digest, attributes.mac_length)
    assert USAGES[KeyUsage.MAC_HMAC].attributes == key_blocks.spec_of(Header("D", "M7", "H", "C"), None).attributes
    for code in ("10", "20", "22", "00", "2"):
        with pytest.raises(KeyRefused, match=f"hash {code} is not kept here"):
            key_blocks.spec_of(Header("D", "M7", "H", "C", blocks=(("HM", code),)), None)


@pytest.mark.parametrize("digest", ["SHA-256", "SHA-512"])
def test_nobody_asks_for_another_hash_than_the_block_has(digest: str) -> None:
    """HM is authentic: a specification may say the MAC's length, and the same hash; where the block has none, it says which."""
    wanted = KeyAttributes(mac_length=16, digest=digest)
    spec = KeySpec(KeyUsage.MAC_HMAC, attributes=wanted)
    for code, its in (("21", "SHA-256"), ("23", "SHA-512")):
        header = Header("D", "M7", "H", "C", blocks=(("HM", code),))
        if its == digest:
            assert wanted == key_blocks.spec_of(header, spec).attributes
        else:
            with pytest.raises(KeyRefused, match=f"of digest {its}, and no other"):
                key_blocks.spec_of(header, spec)
    assert wanted == key_blocks.spec_of(Header("D", "M7", "H", "C"), spec).attributes
    for code in ("10", "20", "22", "00", "2"):
        with pytest.raises(KeyRefused, match=f"hash {code} is not kept here"):
            key_blocks.spec_of(Header("D", "M7", "H", "C", blocks=(("HM", code),)), spec)


def test_the_hash_of_an_index_key() -> None:
    """It has no digest to choose: SHA-256, and no other is taken."""
    header = Header("D", "10", "H", "G", blocks=(("HM", "21"),))
    assert KeyAttributes() == key_blocks.spec_of(header, None).attributes
    with pytest.raises(KeyRefused, match="hash 23 is not kept here"):
        key_blocks.spec_of(replace(header, blocks=(("HM", "23"),)), None)


def with_text(text: str, usage: str = "V1", name: str = "10") -> Header:
    """A header with our own optional block."""
    return Header("D", usage, "T", "C", blocks=((name, text),))


def test_attributes_that_are_not_the_usages_are_in_the_header() -> None:
    """As a short text, all that the key has; of the usage's own nothing is said, so those blocks are as they always were."""
    table, usage = "9876543210987654", KeyUsage.PIN_VERIFICATION_IBM
    for attributes, text in (
        (KeyAttributes(table, check_length=6), f"kks: decimalisation_table={table} check_length=6"),
        (
            KeyAttributes("0123456789012345", check_length=4),
            "kks: decimalisation_table=0123456789012345 check_length=4",
        ),
        (USAGES[usage].attributes, None),
    ):
        header = key_blocks.header_of(info_of(usage, Algorithm.TDES, 128, attributes=attributes))
        assert text == header.block("10")
        assert attributes == key_blocks.spec_of(header, None).attributes
    zero = info_of(KeyUsage.PIN_VERIFICATION_PVV, Algorithm.TDES, 128, attributes=KeyAttributes(pvki=0))
    assert 0 == (key_blocks.spec_of(key_blocks.header_of(zero), None).attributes or KeyAttributes(pvki=1)).pvki
    for mac_length, own in ((64, None), (32, "kks: mac_length=32")):
        long = KeyAttributes(mac_length=mac_length, digest="SHA-512")
        header = key_blocks.header_of(info_of(KeyUsage.MAC_HMAC, Algorithm.HMAC, 512, attributes=long))
        assert ("23", own) == (header.block("HM"), header.block("10"))


def test_attributes_of_a_block_are_not_overruled() -> None:
    """They are as authentic as its usage: a specification says the same, or is refused."""
    table = KeyAttributes("9876543210987654", check_length=4)
    header = key_blocks.header_of(info_of(KeyUsage.PIN_VERIFICATION_IBM, Algorithm.TDES, 128, attributes=table))
    for told in (
        None,
        KeySpec(KeyUsage.PIN_VERIFICATION_IBM),
        KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=table),
    ):
        assert table == key_blocks.spec_of(header, told).attributes
    for name, other in (
        ("check_length", replace(table, check_length=6)),
        ("decimalisation_table", replace(table, decimalisation_table="0" * 16)),
    ):
        with pytest.raises(KeyRefused, match=f"of {name} .*, and no other"):
            key_blocks.spec_of(header, KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=other))


@pytest.mark.parametrize(
    "text",
    ["kks: colour=red", "kks: check_length=" + "9" * 5000,
     "kks: check_length=04", "kks: check_length=x", "kks:check_length=4", "kks: check_length=4 ",
     "kks: check_length=4 check_length=4", "kks: pvki=1 check_length=4", "kks: check_length", "kks: digest=SHA-256"],
)  # fmt: skip
def test_what_is_not_known_of_a_key_is_not_passed_over(text: str) -> None:
    """A text that begins like ours and is none that is written here: the key has something that would be lost."""
    with pytest.raises(KeyRefused, match="optional block 10 of the key block"):
        key_blocks.spec_of(with_text(text), None)


@pytest.mark.parametrize(
    "header", [with_text("vendor text"), with_text("kks: check_length=4", name="11"), with_text("")]
)
def test_blocks_of_others_are_passed_over(header: Header) -> None:
    """The numbers are anybody's: what does not begin like ours says nothing here."""
    assert USAGES[KeyUsage.PIN_VERIFICATION_IBM].attributes == key_blocks.spec_of(header, None).attributes


# X9.143:2021 8.6: KBPK and AES key with the check values that blocks carry; and by the older method (FIPS 197 ECB of zeros).
CHECKED_KBPK = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
CHECKED_KEY = bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8")
KC, KP = "0108793E25AB", "012331550BC9"


@pytest.mark.parametrize(
    "blocks",
    [(("KC", KC), ("KP", KP)), (("KC", KC.lower()),), (("KP", KP[:6]),), (("KC", "00" + kcv.of_aes_legacy(CHECKED_KEY).value),),
     (("KP", "00" + kcv.of_aes_legacy(CHECKED_KBPK).value),)],
)  # fmt: skip
def test_right_check_values_of_a_block(blocks: tuple[tuple[str, str], ...]) -> None:
    """By either method, whole or shorter."""
    _, unwrap = tools(CHECKED_KBPK, Algorithm.AES)
    header = Header("D", "P0", "A", "E", blocks=blocks)
    assert (header, CHECKED_KEY) == unwrap(tr31.wrap(CHECKED_KBPK, header, CHECKED_KEY))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("KC", KP, "KC: is not the check value of the key in it"), ("KP", KC, "KP: is not the check value of the KBPK"),
        ("KC", KC[:-1] + "C", "KC: is not"), ("KC", "00" + KC[2:8], "KC: is not"), ("KP", "00" + KP[2:8], "KP: is not"),
        ("KC", "02" + KC[2:], "KC: a check value of this method"), ("KP", "", "KP: a check value of this method"),
        ("KC", "01", "KC: a check value of method 01 has another length"), ("KC", KC + "00", "another length"),
        ("KC", KC[:-1], "another length"), ("KC", "00" + kcv.of_aes_legacy(CHECKED_KEY).value + "00", "another length"),
        ("KP", "01zzzzzz", "KP: is not"),
    ],
)  # fmt: skip
def test_wrong_check_values_of_a_block(name: str, text: str, said: str) -> None:
    """The block is authentic and says that it is another key: it does not open, and which of the two is wrong is told."""
    _, unwrap = tools(CHECKED_KBPK, Algorithm.AES)
    with pytest.raises(KeyBlockError, match=said):
        unwrap(tr31.wrap(CHECKED_KBPK, Header("D", "P0", "A", "E", blocks=((name, text),)), CHECKED_KEY))


def test_a_check_value_of_no_block_cipher() -> None:
    """KC has no method for an HMAC key: one that is there cannot be compared, and is not passed over."""
    _, unwrap = tools(AES_KBPK, Algorithm.AES)
    header = Header("D", "M7", "H", "C", blocks=(("HM", "21"), ("KC", "0108793E25AB")))
    with pytest.raises(KeyBlockError, match="KC: a check value of this method is not made of such a key"):
        unwrap(tr31.wrap(AES_KBPK, header, bytes(range(32))))


# Spelled out by hand: for each mode of a block, which narrower ones a key may be kept for.
NARROWER = {mode: {mode} for mode in KeyMode} | {
    KeyMode.BOTH: {KeyMode.BOTH, KeyMode.ENCRYPT, KeyMode.DECRYPT},
    KeyMode.GENERATE_AND_VERIFY: {KeyMode.GENERATE_AND_VERIFY, KeyMode.GENERATE, KeyMode.VERIFY},
    KeyMode.NO_RESTRICTION: set(KeyMode),
}


@pytest.mark.parametrize("permitted", KeyMode)
@pytest.mark.parametrize("wanted", KeyMode)
def test_modes_are_narrowed_and_never_widened(permitted: KeyMode, wanted: KeyMode) -> None:
    """All 81 pairs of what a block permits and what is wanted of it."""
    header, spec = Header("D", "P0", "T", permitted.value), KeySpec(KeyUsage.PIN_ENCRYPTION, mode=wanted)
    if wanted in NARROWER[permitted]:
        assert wanted is key_blocks.spec_of(header, spec).mode
    else:
        with pytest.raises(KeyRefused, match=f"permits mode {permitted.value}, not {wanted.value}"):
            key_blocks.spec_of(header, spec)


@pytest.mark.parametrize(
    ("usage", "algorithm", "mode"),
    [("P0", "T", KeyMode.DECRYPT), ("M3", "T", KeyMode.GENERATE_AND_VERIFY), ("B0", "T", KeyMode.NO_RESTRICTION)],
)
def test_a_block_that_restricts_nothing(usage: str, algorithm: str, mode: KeyMode) -> None:
    """Its key is kept in the usage's own mode, as little as that is; derivation keys have that mode themselves."""
    assert mode is key_blocks.spec_of(Header("D", usage, algorithm, "N"), None).mode


@pytest.mark.parametrize(("block", "wanted", "kept"), ["EEE", "ESE", "ENN", "SES", "SNN", "NEN", "NSN", "NNN"])
def test_exportability_is_narrowed_and_never_widened(block: str, wanted: str, kept: str) -> None:
    """What its owner did not let out stays in; a specification may close it, not open it."""
    spec = KeySpec(KeyUsage.MAC_RETAIL, exportability=Exportability(wanted))
    assert kept == key_blocks.spec_of(Header("D", "M3", "T", "C", exportability=block), spec).exportability.value


def test_what_a_specification_adds() -> None:
    """Attributes, days and state; never usage or algorithm."""
    header, day = Header("D", "V1", "T", "C"), date(2027, 1, 1)
    table = KeyAttributes("9876543210987654", check_length=4)
    spec = KeySpec(
        KeyUsage.PIN_VERIFICATION_IBM, attributes=table, state=KeyState.PRE_ACTIVE, active_from=day, active_to=day
    )
    found = key_blocks.spec_of(header, spec)
    assert (table, KeyState.PRE_ACTIVE, day, day) == (found.attributes, found.state, found.active_from, found.active_to)
    for other in (KeySpec(KeyUsage.PIN_VERIFICATION_PVV), KeySpec(KeyUsage.PIN_VERIFICATION_IBM, Algorithm.AES)):
        with pytest.raises(KeyRefused, match="of usage V1, algorithm T, and no other"):
            key_blocks.spec_of(header, other)


@given(headers("BD"))
def test_any_header_is_taken_or_refused(header: Header) -> None:
    """Nothing but what keytypes.py knows, and no component."""
    try:
        spec = key_blocks.spec_of(header, None)
    except KeyRefused:
        return
    assert (header.usage, header.algorithm) == (spec.usage.value, (spec.algorithm or Algorithm.RSA).value)
    assert not header.is_component


@pytest.mark.parametrize(
    "header", [Header("D", "G0", "T", "C"), Header("D", "M3", "E", "C"), Header("D", "M3", "T", "Y")]
)
def test_what_is_not_kept_here_is_named(header: Header) -> None:
    """Usage, algorithm and mode as the block says them."""
    said = f"usage {header.usage}, algorithm {header.algorithm}, mode {header.mode} is not kept here"
    with pytest.raises(KeyRefused, match=said):
        key_blocks.spec_of(header, None)


def test_components_are_entered_as_such() -> None:
    """A key block may hold one; it is no key."""
    with pytest.raises(KeyRefused, match="component"):
        key_blocks.spec_of(Header("D", "M3", "T", "C", "c1"), None)


@given(st.binary(max_size=40))
def test_random_bytes_come_from_the_workshop(fill: bytes) -> None:
    """What hides the length of a key is as random as the back end's own keys."""
    asked: list[int] = []

    class Workshop(SoftwareWorkshop):
        """Its random bytes are written down."""

        def random(self, count: int) -> bytes:
            """FILL, again and again."""
            asked.append(count)
            return (fill or b"\x00").ljust(count, b"\x00")[:count]

    info = info_of(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.AES, 256)
    write = key_blocks.wrapper(Workshop(), info, Material(AES_KBPK))
    inside = key_blocks.header_of(info_of(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128))
    assert write(inside, SECOND_KEY) == write(inside, SECOND_KEY)
    assert 2 == len(asked)
