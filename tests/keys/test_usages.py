"""What a key of each usage looks like."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import usages
from keys.errors import KeyRefused
from keys.keytypes import Algorithm, KeyAttributes, KeyInfo, KeyMode, KeyState, KeyUsage
from keys.permissions import ALLOWED, Operation
from keys.sensitive import Material
from tests.keys.samples import one_line

IN_RANGE = {"decimalisation_table": "9876543210987654", "check_length": 4, "padding": 2, "mac_length": 8}


def key_of(usage: KeyUsage, length: int | None = None) -> tuple[KeyInfo, Material]:
    """A fit key of a usage, with its header."""
    rule = usages.USAGES[usage]
    material = Material(bytes(range(1, 1 + (length or rule.generated_length))))
    info = KeyInfo(
        "a.key", usage, rule.algorithm, rule.modes[0], KeyState.ACTIVE, 1, date(2026, 1, 2),
        usages.check_value(rule.algorithm, material), rule.attributes,
    )  # fmt: skip
    return info, material


@pytest.mark.parametrize("usage", KeyUsage)
def test_every_usage_can_be_made_and_used(usage: KeyUsage) -> None:
    """Each has a rule; its own defaults make a fit key; some operation takes it."""
    usages.check_key(*key_of(usage))
    modes = {mode for names, modes in ALLOWED.values() if usage in names for mode in modes}
    assert modes.intersection(usages.USAGES[usage].modes)


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("length", [*range(1, 40), 64, 65])
def test_only_lengths_of_the_usage(usage: KeyUsage, length: int) -> None:
    """A key of any other length is refused, single DES among them."""
    info, material = key_of(usage, length) if length in usages.USAGES[usage].lengths else (key_of(usage)[0], None)
    if material is not None:
        usages.check_key(info, material)
        return
    with pytest.raises(KeyRefused, match="length"):
        usages.check_key(info, Material(bytes(range(1, 1 + length))))


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("mode", KeyMode)
def test_only_modes_of_the_usage(usage: KeyUsage, mode: KeyMode) -> None:
    """A sealing key cannot verify, an index key cannot decipher."""
    info, material = key_of(usage)
    if mode in usages.USAGES[usage].modes:
        usages.check_key(replace(info, mode=mode), material)
        return
    with pytest.raises(KeyRefused, match="mode"):
        usages.check_key(replace(info, mode=mode), material)


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_only_the_algorithm_of_the_usage(usage: KeyUsage, algorithm: Algorithm) -> None:
    """A header that names another is refused."""
    info, material = key_of(usage)
    if algorithm is info.algorithm:
        return
    with pytest.raises(KeyRefused, match="algorithm"):
        usages.check_key(replace(info, algorithm=algorithm), material)


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("name", IN_RANGE)
def test_attributes_stand_where_they_belong(usage: KeyUsage, name: str) -> None:
    """One that is missing is refused, and so is one that the usage does not have; another value in range is taken."""
    info, material = key_of(usage)
    if getattr(info.attributes, name) is None:
        attributes = replace(info.attributes, **{name: IN_RANGE[name]})  # type: ignore[arg-type]
    else:
        attributes = replace(info.attributes, **{name: None})
        mended = replace(attributes, **{name: IN_RANGE[name] if name != "mac_length" else 16})  # type: ignore[arg-type]
        if (usage, name) != (KeyUsage.MAC_RETAIL, "mac_length"):
            usages.check_key(replace(info, attributes=mended), material)
    with pytest.raises(KeyRefused, match=name):
        usages.check_key(replace(info, attributes=attributes), material)


@pytest.mark.parametrize(
    ("usage", "attributes"),
    [
        (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes("0" * 16, check_length=6)),
        (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes("0123456789012345", check_length=3)),
        (KeyUsage.PIN_VERIFICATION_IBM, KeyAttributes("0123456789012345", check_length=13)),
        (KeyUsage.MAC_RETAIL, KeyAttributes(padding=4, mac_length=8)),
        (KeyUsage.MAC_RETAIL, KeyAttributes(padding=1, mac_length=9)),
        (KeyUsage.MAC_RETAIL, KeyAttributes(padding=1, mac_length=3)),
        (KeyUsage.MAC_CMAC, KeyAttributes(mac_length=17)),
        (KeyUsage.MAC_HMAC, KeyAttributes(mac_length=8)),
    ],
)
def test_attributes_out_of_range_are_refused(usage: KeyUsage, attributes: KeyAttributes) -> None:
    """Weak tables, PINs too short, codes too short or longer than their algorithm makes them."""
    info, material = key_of(usage)
    with pytest.raises(KeyRefused):
        usages.check_key(replace(info, attributes=attributes), material)


@pytest.mark.parametrize("label", ["", " ", "a b", "-a", "a\n", "a" * 65, "ä", "a\x00"])
def test_bad_labels_are_refused(label: str) -> None:
    """A label can stand in a command and in a log."""
    info, material = key_of(KeyUsage.MAC_HMAC)
    with pytest.raises(KeyRefused, match="label") as caught:
        usages.check_key(replace(info, label=label), material)
    assert one_line(caught.value)


@pytest.mark.parametrize("usage", [KeyUsage.DATA_SEALING, KeyUsage.BLIND_INDEX, KeyUsage.MAC_CMAC, KeyUsage.MAC_HMAC])
def test_constant_keys_are_refused(usage: KeyUsage) -> None:
    """All zeros, or one byte again and again."""
    info, _ = key_of(usage)
    with pytest.raises(KeyRefused, match="no key"):
        usages.check_key(info, Material(bytes(32)))


def test_check_value_must_fit() -> None:
    """A header put on another key is refused by its check value, whatever else would have found it."""
    info, _ = key_of(KeyUsage.DATA_SEALING)
    with pytest.raises(KeyRefused, match="check value"):
        usages.check_key(info, Material(bytes(range(2, 34))))


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


def test_every_operation_is_in_the_table() -> None:
    """No operation without its rule."""
    assert set(Operation) == set(ALLOWED)
