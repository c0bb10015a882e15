"""What a key of each usage looks like."""

from dataclasses import fields, replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import rsa_keys, usages
from keys.errors import KeyRefused
from keys.kcv import KcvMethod
from keys.keytypes import Algorithm, KeyAttributes, KeyInfo, KeyMode, KeySpec, KeyUsage
from keys.sensitive import Material
from tests.keys.samples import SECOND_KEY, key_of, one_line, rsa_private

T, A, H, R = Algorithm.TDES, Algorithm.AES, Algorithm.HMAC, Algorithm.RSA
MAC_MODES, CIPHER_MODES, DERIVE_MODES = "CGV", "BED", "XN"
SECRETS = {*range(16, 32), 128}
DOUBLE, ANY_TDES, ANY_AES, HMAC = {16}, {16, 24}, {16, 24, 32}, set(range(32, 65))

# Spelled out by hand, apart from the table that the code uses: codes of X9.143, algorithms with their lengths in bytes, modes.
LOOKS: dict[str, tuple[dict[Algorithm, set[int]], str]] = {
    "B0": ({T: DOUBLE, A: ANY_AES}, DERIVE_MODES),
    "B1": ({T: DOUBLE, A: ANY_AES}, DERIVE_MODES),
    "C0": ({T: DOUBLE}, MAC_MODES),
    "D0": ({A: {32}}, CIPHER_MODES),
    "E0": ({T: DOUBLE}, DERIVE_MODES),
    "E1": ({T: DOUBLE}, DERIVE_MODES),
    "E2": ({T: DOUBLE}, DERIVE_MODES),
    "E4": ({T: DOUBLE}, DERIVE_MODES),
    "K1": ({A: ANY_AES, T: ANY_TDES}, CIPHER_MODES),
    "M1": ({T: ANY_TDES}, MAC_MODES),
    "M3": ({T: DOUBLE}, MAC_MODES),
    "M6": ({A: ANY_AES, T: ANY_TDES}, MAC_MODES),
    "M7": ({H: HMAC}, MAC_MODES),
    "P0": ({T: ANY_TDES, A: ANY_AES}, "DEB"),
    "S0": ({R: {256, 384, 512}}, "SV"),
    "V1": ({T: ANY_TDES}, MAC_MODES),
    "V2": ({T: DOUBLE}, MAC_MODES),
    "10": ({H: HMAC}, "G"),
}
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "M1": {"padding": 1, "mac_length": 8},
    "M3": {"padding": 1, "mac_length": 8},
    "M6": {"mac_length": 8},
    "M7": {"mac_length": 32, "digest": "SHA-256"},
    "V1": {"decimalisation_table": "0123456789012345", "check_length": 6},
    "V2": {"pvki": 1},
}
OTHERS: dict[str, Any] = {
    "decimalisation_table": "9876543210987654",
    "check_length": 4,
    "pvki": 6,
    "padding": 2,
    "mac_length": 4,
    "digest": "SHA-512",
    "device": "FFFF9876543210E00000",
    "legacy_versions": "AC",
    "working_key": "AES-128",
}
MAY_HAVE = {("B0", "working_key"), ("B1", "device"), ("B1", "working_key"), ("K1", "legacy_versions")}
OF_ALGORITHM = {"legacy_versions": T, "working_key": A}


def checked(info: KeyInfo, **changes: Any) -> None:  # noqa: ANN401 - any part of a header
    """Check a header that differs in CHANGES."""
    usages.check_header(replace(info, **changes))


@pytest.mark.parametrize("usage", KeyUsage)
def test_usages_look_as_spelled_out(usage: KeyUsage) -> None:
    """Algorithms with their lengths, modes and attributes, the defaults first."""
    rule = usages.USAGES[usage]
    algorithms, modes = LOOKS[usage.value]
    assert list(algorithms.items()) == [(name, set(lengths.taken)) for name, lengths in rule.algorithms.items()]
    assert modes == "".join(rule.modes)
    assert KeyAttributes(**ATTRIBUTES.get(usage.value, {})) == rule.attributes
    assert {name for code, name in MAY_HAVE if code == usage.value} == rule.may_have


@pytest.mark.parametrize("usage", KeyUsage)
def test_defaults_make_a_fit_key(usage: KeyUsage) -> None:
    """A bare usage is enough to make a key, and every algorithm and mode of it has one that is fit."""
    for algorithm, lengths in usages.USAGES[usage].algorithms.items():
        assert lengths.made == usages.bytes_to_make(KeySpec(usage, algorithm))
        for mode in usages.USAGES[usage].modes:
            usages.check_key(*key_of(usage, algorithm, mode=mode))
    assert next(iter(LOOKS[usage.value][0])) is usages.algorithm_of(KeySpec(usage))


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_only_lengths_of_the_usage(usage: KeyUsage, algorithm: Algorithm) -> None:
    """To be made, or come in: a key of any other length is refused, single DES among them."""
    fit = LOOKS[usage.value][0].get(algorithm, set())
    for length in [*range(70), 127, 128, 129, 254, 255, 256, 257, 384, 512, 1024]:
        spec = KeySpec(usage, algorithm, bits=8 * length)
        if length in fit:
            assert length == usages.bytes_to_make(spec)
            continue
        with pytest.raises(KeyRefused):
            usages.bytes_to_make(spec)
        if fit and algorithm is not R and not (usage is KeyUsage.MAC_HMAC and length in SECRETS):
            info, _ = key_of(usage, algorithm)
            with pytest.raises(KeyRefused, match="length"):
                checked(info, bits=8 * length)
            with pytest.raises(KeyRefused, match="length"):
                usages.check_key(info, Material(bytes(at % 251 for at in range(length))))


@pytest.mark.parametrize("bits", [-128, 0, 1, 127, 129, 136])
def test_bits_that_are_no_whole_length(bits: int) -> None:
    """Not negative, not none, not a part of a byte."""
    with pytest.raises(KeyRefused):
        usages.bytes_to_make(KeySpec(KeyUsage.PIN_ENCRYPTION, bits=bits))
    with pytest.raises(KeyRefused):
        checked(key_of(KeyUsage.PIN_ENCRYPTION)[0], bits=bits)


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("mode", KeyMode)
def test_only_modes_of_the_usage(usage: KeyUsage, mode: KeyMode) -> None:
    """A sealing key cannot verify, an index key cannot decipher; no restriction is for derivation keys alone."""
    info, _ = key_of(usage)
    if mode.value in LOOKS[usage.value][1]:
        checked(info, mode=mode)
        return
    with pytest.raises(KeyRefused, match="mode"):
        checked(info, mode=mode)


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_only_algorithms_of_the_usage(usage: KeyUsage, algorithm: Algorithm) -> None:
    """A header that names another is refused."""
    if algorithm in LOOKS[usage.value][0]:
        checked(key_of(usage, algorithm)[0])
        return
    with pytest.raises(KeyRefused, match="algorithm"):
        checked(key_of(usage)[0], algorithm=algorithm)


def test_private_signs_and_public_verifies() -> None:
    """The mode of an RSA key is which half of the pair it is."""
    private, public = key_of(KeyUsage.SIGNATURE), key_of(KeyUsage.SIGNATURE, mode=KeyMode.VERIFY)
    usages.check_key(*private)
    usages.check_key(*public)
    for (info, _), (_, material) in ((private, public), (public, private)):
        with pytest.raises(KeyRefused, match="signs"):
            usages.check_key(info, material)


def test_header_tells_the_length_of_an_rsa_key() -> None:
    """Not another one, though both are taken."""
    info, material = key_of(KeyUsage.SIGNATURE)
    with pytest.raises(KeyRefused, match="length"):
        usages.check_key(replace(info, bits=3072), material)
    assert 2048 == usages.bits_of(R, material) == usages.bits_of(R, Material(rsa_keys.public_of(rsa_private())))


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("name", [field.name for field in fields(KeyAttributes)])
def test_attributes_stand_where_they_belong(usage: KeyUsage, name: str) -> None:
    """One that is missing is refused, and so is one that the usage does not have; another value in range is taken."""
    info, _ = key_of(usage, OF_ALGORITHM.get(name) if OF_ALGORITHM.get(name) in LOOKS[usage.value][0] else None)
    if (usage.value, name) in MAY_HAVE:
        for value in (None, OTHERS[name]):
            checked(info, attributes=replace(info.attributes, **{name: value}))
        return
    belongs = name in ATTRIBUTES.get(usage.value, {})
    changes: dict[str, Any] = {}
    other = 20 if (usage.value, name) == ("M7", "mac_length") else OTHERS[name]
    if belongs:
        changes[name] = other
        checked(info, attributes=replace(info.attributes, **changes))
    changes[name] = None if belongs else other
    with pytest.raises(KeyRefused, match=name):
        checked(info, attributes=replace(info.attributes, **changes))


@pytest.mark.parametrize(
    ("usage", "attributes"),
    [
        (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes("0" * 16, check_length=6)),
        (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes("012345678901234", check_length=6)),
        (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes("012345678901234A", check_length=6)),
        (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes("0123456789012345", check_length=3)),
        (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes("0123456789012345", check_length=13)),
        (KeyUsage.PIN_VERIFICATION_PVV, KeyAttributes(pvki=-1)),
        (KeyUsage.PIN_VERIFICATION_PVV, KeyAttributes(pvki=7)),
        (KeyUsage.MAC_RETAIL, KeyAttributes(padding=0, mac_length=8)),
        (KeyUsage.MAC_RETAIL, KeyAttributes(padding=4, mac_length=8)),
        (KeyUsage.MAC_RETAIL, KeyAttributes(padding=1, mac_length=9)),
        (KeyUsage.MAC_CBC, KeyAttributes(padding=1, mac_length=3)),
        (KeyUsage.MAC_CMAC, KeyAttributes(mac_length=17)),
        (KeyUsage.MAC_HMAC, KeyAttributes(mac_length=8, digest="SHA-256")),
        (KeyUsage.MAC_HMAC, KeyAttributes(mac_length=33, digest="SHA-256")),
        (KeyUsage.MAC_HMAC, KeyAttributes(mac_length=65, digest="SHA-512")),
        (KeyUsage.MAC_HMAC, KeyAttributes(mac_length=32, digest="SHA-1")),
    ],
)
def test_attributes_out_of_range_are_refused(usage: KeyUsage, attributes: KeyAttributes) -> None:
    """Weak tables, PINs too short, codes too short or longer than their algorithm makes them."""
    with pytest.raises(KeyRefused):
        checked(key_of(usage)[0], attributes=attributes)


@pytest.mark.parametrize(
    ("usage", "algorithm", "attributes"),
    [
        (KeyUsage.MAC_CMAC, A, KeyAttributes(mac_length=16)),
        (KeyUsage.MAC_CMAC, T, KeyAttributes(mac_length=8)),
        (KeyUsage.MAC_HMAC, H, KeyAttributes(mac_length=64, digest="SHA-512")),
        (KeyUsage.MAC_HMAC, H, KeyAttributes(mac_length=16, digest="SHA-256")),
        (KeyUsage.PIN_VERIFICATION_IBM, T, KeyAttributes("0123456789012345", check_length=12)),
        (KeyUsage.PIN_VERIFICATION_PVV, T, KeyAttributes(pvki=0)),
        (KeyUsage.MAC_RETAIL, T, KeyAttributes(padding=3, mac_length=4)),
    ],
)
def test_attributes_at_the_bounds_are_taken(usage: KeyUsage, algorithm: Algorithm, attributes: KeyAttributes) -> None:
    """The last of each range."""
    checked(key_of(usage, algorithm)[0], attributes=attributes)


@pytest.mark.parametrize(
    ("algorithm", "device", "fit"),
    [
        (T, "FFFF9876543210E00000", True),
        (T, "FFFF9876543210E00001", False),
        (T, "FFFF9876543210FFFFFF", False),
        (T, "ffff9876543210e00000", False),
        (T, "FFFF9876543210E0000", False),
        (T, "FFFF9876543210E0000 ", False),
        (T, "1234567890123456", False),
        (T, "", False),
        (A, "1234567890123456", True),
        (A, "123456789012345A", True),
        (A, "123456789012345a", False),
        (A, "12345678901234", False),
        (A, "FFFF9876543210E00000", False),
        (A, "1234567890 23456", False),
        (A, "", False),
    ],
)
def test_devices_are_named_in_one_way(algorithm: Algorithm, device: str, fit: bool) -> None:  # noqa: FBT001 - a table of cases
    """By the initial KSN, with counter zero, or by the initial key id: upper case, no digit more or less."""
    info, _ = key_of(KeyUsage.INITIAL_DUKPT, algorithm)
    named = replace(info.attributes, device=device)
    if fit:
        checked(info, attributes=named)
        return
    with pytest.raises(KeyRefused, match="named by its initial") as caught:
        checked(info, attributes=named)
    assert one_line(caught.value)


def test_an_initial_key_without_a_device_is_kept_and_no_longer_made() -> None:
    """Keystores may have one from before; who brings one in says whose it is."""
    info, _ = key_of(KeyUsage.INITIAL_DUKPT)
    nobodys = replace(info, attributes=KeyAttributes())
    usages.check_header(nobodys)
    usages.check_new(info)
    with pytest.raises(KeyRefused, match="attribute device is missing"):
        usages.check_new(nobodys)


@pytest.mark.parametrize(("algorithm", "versions"), [(A, "AC"), (T, "A"), (T, "C"), (T, "CA"), (T, "ABC"), (T, "")])
def test_older_key_blocks_are_asked_for_in_one_way(algorithm: Algorithm, versions: str) -> None:
    """Both versions of old, of a triple DES key; an AES key never opens them."""
    info, _ = key_of(KeyUsage.KEY_BLOCK_PROTECTION, algorithm)
    with pytest.raises(KeyRefused, match="legacy_versions is AC, of a triple DES key"):
        checked(info, attributes=KeyAttributes(legacy_versions=versions))


@pytest.mark.parametrize(
    ("digest", "length", "fit"),
    [
        ("SHA-256", 16, True),
        ("SHA-256", 64, True),
        ("SHA-256", 128, False),
        ("SHA-512", 128, True),
        ("SHA-512", 31, True),
    ],
)
def test_no_hmac_key_is_longer_than_a_block(digest: str, length: int, fit: bool) -> None:  # noqa: FBT001 - a table of cases
    """It would be hashed by some, and filled up with zeros by others."""
    info, material = key_of(KeyUsage.MAC_HMAC, length=length)
    attributes = KeyAttributes(mac_length=32, digest=digest)
    if fit:
        usages.check_key(replace(info, attributes=attributes), material)
        return
    with pytest.raises(KeyRefused, match="longer than a block of SHA-256"):
        checked(info, attributes=attributes)


def test_tdes_cmac_is_no_longer_than_its_block() -> None:
    """What AES makes, triple DES does not."""
    with pytest.raises(KeyRefused, match="MAC of this length"):
        checked(key_of(KeyUsage.MAC_CMAC, T)[0], attributes=KeyAttributes(mac_length=9))


@pytest.mark.parametrize(
    "label", ["", " ", "a b", "-a", ".a", "#", "zpk#2", "a\n", "a" * 65, "ä", "a\x00", "A\u0661", "../a", "a\\b"]
)
def test_bad_labels_are_refused(label: str) -> None:
    """A label can stand in a command and in a log."""
    with pytest.raises(KeyRefused, match="label") as caught:
        checked(key_of(KeyUsage.MAC_HMAC)[0], label=label)
    assert one_line(caught.value)


@pytest.mark.parametrize("label", ["a", "0", "a" * 64, "zpk.himbara/2026:1_A-b"])
def test_good_labels_are_taken(label: str) -> None:
    """1 to 64 letters, digits and a few marks."""
    checked(key_of(KeyUsage.MAC_HMAC)[0], label=label)


@pytest.mark.parametrize(("version", "fit"), [(-1, False), (0, False), (1, True), (9_999, True), (10_000, False)])
def test_versions_are_bounded(version: int, fit: bool) -> None:  # noqa: FBT001 - a table of cases
    """1 to 9,999."""
    info, _ = key_of(KeyUsage.MAC_HMAC)
    if fit:
        checked(info, version=version)
        return
    with pytest.raises(KeyRefused, match="version"):
        checked(info, version=version)


def test_dates_stand_in_order() -> None:
    """A key of a single day is one; one that ends before it begins is none."""
    info, _ = key_of(KeyUsage.MAC_HMAC)
    checked(info, active_from=date(2026, 10, 5), active_to=date(2026, 10, 5))
    checked(info, active_from=date(2026, 10, 5))
    checked(info, active_to=date(2026, 10, 5))
    with pytest.raises(KeyRefused, match="last day"):
        checked(info, active_from=date(2026, 10, 5), active_to=date(2026, 10, 4))


@pytest.mark.parametrize(
    "usage", [usage for usage in KeyUsage if A in LOOKS[usage.value][0] or H in LOOKS[usage.value][0]]
)
def test_constant_keys_are_refused(usage: KeyUsage) -> None:
    """All zeros, or one byte again and again."""
    algorithm = A if A in LOOKS[usage.value][0] else H
    info, material = key_of(usage, algorithm)
    for byte in (b"\x00", b"\x5a", b"\xff"):
        with pytest.raises(KeyRefused, match="no key"):
            usages.check_key(info, Material(byte * len(material.reveal())))


@pytest.mark.parametrize(
    "key",
    [
        SECOND_KEY[:8],
        SECOND_KEY[:8] * 2,
        SECOND_KEY[:8] * 3,
        SECOND_KEY[:8] + bytes(byte ^ 1 for byte in SECOND_KEY[:8]),
        SECOND_KEY + SECOND_KEY[8:],
        SECOND_KEY[:8] * 2 + SECOND_KEY[8:],
        bytes(16),
        b"\x01" * 8 + SECOND_KEY[:8],
        SECOND_KEY[:8] + bytes.fromhex("01FE01FE01FE01FE"),
    ],
)
def test_weak_triple_des_keys_are_refused(key: bytes) -> None:
    """Single DES in any guise, parity aside, and parts that are weak or semi-weak."""
    with pytest.raises(KeyRefused):
        usages.check_strength(T, Material(key))


def test_third_part_like_the_first_is_a_double_key_where_one_is_wanted() -> None:
    """As older systems print it, parity aside: it is no stronger; and an AES key is never cut."""
    long = SECOND_KEY + SECOND_KEY[:8]
    assert SECOND_KEY == usages.normal(KeySpec(KeyUsage.CARD_VERIFICATION), long)
    assert SECOND_KEY == usages.normal(KeySpec(KeyUsage.BASE_DERIVATION), long)
    assert SECOND_KEY == usages.normal(KeySpec(KeyUsage.PIN_ENCRYPTION), long)
    other_parity = SECOND_KEY + bytes(byte ^ 1 for byte in SECOND_KEY[:8])
    assert SECOND_KEY == usages.normal(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, T), other_parity)
    assert long == usages.normal(KeySpec(KeyUsage.BASE_DERIVATION, A), long)
    other = SECOND_KEY + SECOND_KEY[8:]
    assert other == usages.normal(KeySpec(KeyUsage.CARD_VERIFICATION), other)


@pytest.mark.parametrize("usage", KeyUsage)
def test_check_value_must_fit(usage: KeyUsage) -> None:
    """A header put on another key is refused by its check value, whatever else would have found it."""
    info, material = key_of(usage)
    assert info.kcv == usages.check_value(info.algorithm, material)
    wrong = "0" * len(info.kcv.value)
    for value in (wrong, info.kcv.value[:-2], info.kcv.value + "00", ""):
        with pytest.raises(KeyRefused, match="check value"):
            usages.check_key(replace(info, kcv=replace(info.kcv, value=value)), material)
    with pytest.raises(KeyRefused, match="check value"):
        usages.check_key(replace(info, kcv=replace(info.kcv, method=KcvMethod.AES_ECB_ZERO)), material)


@given(st.lists(st.binary(min_size=16, max_size=16).filter(any), min_size=2, max_size=5, unique=True))
def test_components_are_xored(components: list[bytes]) -> None:
    """Byte by byte, in any order."""
    expected = bytes(16)
    for component in components:
        expected = bytes(one ^ other for one, other in zip(expected, component, strict=True))
    assert expected == usages.combine(components) == usages.combine(components[::-1])


ONE, OTHER = bytes(range(16)), bytes(range(1, 17))


@pytest.mark.parametrize(
    "components",
    [[], [ONE], [ONE, OTHER[:8]], [ONE, ONE], [ONE, OTHER, ONE], [ONE, bytes(16)], [ONE, OTHER, bytes(16)]],
)
def test_components_that_split_nothing_are_refused(components: list[bytes]) -> None:
    """One alone, unequal lengths, equal ones, zeros: fewer people would know the key than took part."""
    with pytest.raises(KeyRefused) as caught:
        usages.combine(components)
    assert ONE.hex() not in str(caught.value)
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("value", "number", "of"),
    [
        (b"", 1, 2),
        (ONE[:8], 1, 2),
        (ONE + b"\x01", 1, 2),
        (bytes(16), 1, 2),
        (bytes(range(1, 66)), 1, 2),
        (ONE, 0, 2),
        (ONE, 3, 2),
        (ONE, -1, 2),
        (ONE, 1, 1),
        (ONE, 1, 0),
        (ONE, 1, 10),
    ],
)
def test_component_that_can_be_no_part(value: bytes, number: int, of: int) -> None:
    """Its length, all zeros, its number, or how many there shall be."""
    with pytest.raises(KeyRefused, match=r"a\.key") as caught:
        usages.check_component("a.key", value, number, of)
    assert not value or value.hex() not in str(caught.value)


@pytest.mark.parametrize("length", [16, 24, *range(32, 65)])
def test_component_of_every_length_of_a_key(length: int) -> None:
    """Two to nine, of triple DES, AES and HMAC keys."""
    usages.check_component("a.key", bytes(range(length)), 1, 2)
    usages.check_component("a.key", bytes(range(length)), 9, 9)
