"""Every back end: keys made at random and of components, their headers, labels, versions and days."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from keys.errors import KeyRefused
from keys.keystore import Component
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
from keys.usages import USAGES
from tests.keys.at_work import KINDS, Kind, check_value, formed, key_of, new_label, spec_of, taken, works
from tests.keys.backends import BACKENDS, FORGETFUL, lacks
from tests.keys.samples import SECOND_KEY, attributes_of, components

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keys.hsm import Hsm

TODAY = date(2026, 10, 5)
RETAIL = Kind(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128)
of_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def test_kinds_are_all_there_are() -> None:
    """The list below, spelled out by its numbers: usages, and kinds of key."""
    assert (18, 42) == (len({kind.usage for kind in KINDS}), len(KINDS))


@of_kind
def test_made_keys(hsm: Hsm, kind: Kind) -> None:
    """Of every usage, algorithm and length: the header says what it is, and no two are the same key."""
    spec = spec_of(kind, made=True)
    one, other = hsm.generate(spec, new_label()), hsm.generate(spec, new_label())
    info = hsm.info(one)
    rule = USAGES[kind.usage]
    assert kind == Kind(info.usage, info.algorithm, info.bits)
    assert (spec.mode or rule.modes[0], attributes_of(*kind[:2])) == (info.mode, info.attributes)
    assert (KeyState.ACTIVE, 1, Exportability.NOT_EXPORTABLE) == (info.state, info.version, info.exportability)
    assert (one.label, kind.usage, info.kcv) == (info.label, one.usage, one.kcv)
    assert hsm.kcv(one) == info.kcv != hsm.kcv(other)


@of_kind
def test_known_keys_do_what_they_should(backend: str, hsm: Hsm, kind: Kind) -> None:
    """Of every usage, algorithm and length: the check value and the work of the same bytes by the pure functions."""
    handle = taken(hsm, kind)
    assert check_value(kind, key_of(kind)) == hsm.kcv(handle)
    assert kind == Kind(hsm.info(handle).usage, hsm.info(handle).algorithm, hsm.info(handle).bits)
    if kind.usage is KeyUsage.INITIAL_DUKPT and lacks(backend, "initial DUKPT key"):
        with pytest.raises(KeyRefused, match="initial DUKPT key"):
            works(hsm, handle, key_of(kind))
    else:
        assert works(hsm, handle, key_of(kind))


def test_longer_signing_keys(hsm: Hsm) -> None:
    """Of 3072 bits; they are made too, which takes longer than a test should."""
    kind = Kind(KeyUsage.SIGNATURE, Algorithm.RSA, 3072)
    handle = taken(hsm, kind)
    assert (3072, check_value(kind, key_of(kind))) == (hsm.info(handle).bits, hsm.kcv(handle))
    assert works(hsm, handle, key_of(kind))


@pytest.mark.parametrize("usage", [usage for usage in KeyUsage if usage is not KeyUsage.INITIAL_DUKPT])
def test_a_usage_alone_means_its_defaults(hsm: Hsm, usage: KeyUsage) -> None:
    """The first of its algorithms and modes, and the length that is made; whose an initial key is, must be said."""
    info = hsm.info(hsm.generate(usage, new_label()))
    algorithm, lengths = next(iter(USAGES[usage].algorithms.items()))
    assert (algorithm, 8 * lengths.made, USAGES[usage].modes[0]) == (info.algorithm, info.bits, info.mode)


def test_a_key_is_the_xor_of_its_components(hsm: Hsm) -> None:
    """Of two or of nine; a third part equal to the first is no part of a double length key."""
    two, nine = formed(hsm, KeyUsage.MAC_RETAIL, SECOND_KEY), new_label()
    parts = [bytes([number] * 16) for number in range(1, 9)]
    last = SECOND_KEY
    for part in parts:
        last = bytes(one ^ other for one, other in zip(last, part, strict=True))
    assert hsm.kcv(two) == hsm.kcv(hsm.form(KeyUsage.MAC_RETAIL, nine, [*parts, last]))
    triple = formed(hsm, KeyUsage.MAC_RETAIL, SECOND_KEY + SECOND_KEY[:8])
    assert (128, hsm.kcv(two)) == (hsm.info(triple).bits, hsm.kcv(triple))


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [SECOND_KEY],
        [SECOND_KEY, SECOND_KEY],
        [SECOND_KEY, bytes(16)],
        [SECOND_KEY, SECOND_KEY[::-1], SECOND_KEY],
        [SECOND_KEY, SECOND_KEY[:8]],
        [SECOND_KEY[:8], SECOND_KEY[8:]],
        components(SECOND_KEY[:8] * 2),
        components(SECOND_KEY[:8] + bytes(byte ^ 1 for byte in SECOND_KEY[:8])),
        components(bytes.fromhex("E01FE01FF10EF10E") + SECOND_KEY[:8]),
        components(SECOND_KEY + bytes(range(8))),
        components(SECOND_KEY + b"x"),
    ],
    ids=lambda parts: str(len(parts)),
)
def test_weak_and_single_keys_are_not_formed(hsm: Hsm, parts: list[bytes]) -> None:
    """Fewer than two components, zeros, equal ones; single DES in any guise; a length that the usage has not."""
    before = hsm.keys()
    with pytest.raises(KeyRefused):
        hsm.form(KeyUsage.MAC_RETAIL, new_label(), parts)
    assert before == hsm.keys()


@pytest.mark.parametrize(
    ("usage", "key"),
    [
        (KeyUsage.DATA_SEALING, bytes([7]) * 32),
        (KeyUsage.MAC_HMAC, b"x" * 40),
        (KeyUsage.DATA_SEALING, bytes(range(16))),
    ],
)
def test_weak_keys_of_other_algorithms(hsm: Hsm, usage: KeyUsage, key: bytes) -> None:
    """One byte again and again; a length that the usage has not."""
    with pytest.raises(KeyRefused):
        formed(hsm, usage, key)


SPECS = [
    KeySpec(KeyUsage.MAC_RETAIL, Algorithm.AES),
    KeySpec(KeyUsage.MAC_RETAIL, mode=KeyMode.DECRYPT),
    KeySpec(KeyUsage.MAC_RETAIL, state=KeyState.SUSPENDED),
    KeySpec(KeyUsage.MAC_RETAIL, state=KeyState.DESTROYED),
    KeySpec(KeyUsage.MAC_RETAIL, attributes=KeyAttributes(padding=1)),
    KeySpec(KeyUsage.MAC_RETAIL, attributes=KeyAttributes(padding=4, mac_length=8)),
    KeySpec(KeyUsage.MAC_RETAIL, attributes=KeyAttributes(padding=1, mac_length=3)),
    KeySpec(KeyUsage.MAC_RETAIL, attributes=KeyAttributes(padding=1, mac_length=9)),
    KeySpec(KeyUsage.MAC_HMAC, attributes=KeyAttributes(mac_length=32, digest="MD5")),
    KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=KeyAttributes("0" * 16, check_length=6)),
    KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=KeyAttributes("0123456789012345", check_length=3)),
    KeySpec(KeyUsage.PIN_VERIFICATION_PVV, attributes=KeyAttributes(pvki=7)),
    KeySpec(KeyUsage.DATA_SEALING, attributes=KeyAttributes(pvki=1)),
    KeySpec(KeyUsage.MAC_RETAIL, active_from=date(2026, 2, 1), active_to=date(2026, 1, 31)),
]


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_keys_that_cannot_be(hsm: Hsm, spec: KeySpec) -> None:
    """Algorithm, length, mode, first state, attributes and days that do not go with the usage: nothing is kept."""
    before = hsm.keys()
    with pytest.raises(KeyRefused):
        hsm.generate(spec, new_label())
    algorithm, lengths = next(iter(USAGES[spec.usage].algorithms.items()))
    with pytest.raises(KeyRefused):
        formed(hsm, spec, key_of(Kind(spec.usage, algorithm, 8 * lengths.made)))
    assert before == hsm.keys()


@pytest.mark.parametrize("bits", [0, 64, 100, 127, 192, 256, 512, -128])
def test_lengths_that_are_not_made(hsm: Hsm, bits: int) -> None:
    """Of the usage's own, in whole bytes."""
    for usage in (KeyUsage.MAC_RETAIL, KeyUsage.SIGNATURE):
        with pytest.raises(KeyRefused, match=f"takes no [A-Z]+ key of {bits} bits"):
            hsm.generate(KeySpec(usage, bits=bits), new_label())


@pytest.mark.parametrize("label", ["", "a b", "-a", "x" * 65, "kunci\n", "clé", "a#1"])
def test_labels_that_cannot_be(hsm: Hsm, label: str) -> None:
    """A label is what commands and logs write."""
    before = hsm.keys()
    with pytest.raises(KeyRefused, match="label"):
        hsm.generate(KeyUsage.MAC_CMAC, label)
    assert before == hsm.keys()


@pytest.fixture
def day() -> list[date]:
    """Today, for tests that change it."""
    return [TODAY]


@pytest.fixture
def dated(backend: str, tmp_path: Path, day: list[date]) -> Hsm:
    """An HSM whose today is DAY."""
    return BACKENDS[backend](tmp_path, today=lambda: day[0])


def test_versions_of_a_label(dated: Hsm, day: list[date]) -> None:
    """Each new key of a label is its next version, made today; another usage is refused; each is found by its number."""
    made = [dated.generate(KeyUsage.MAC_CMAC, "link")]
    day[0] = date(2026, 10, 6)
    made.append(dated.form(KeyUsage.MAC_CMAC, "link", components(bytes(range(32)))))
    with pytest.raises(KeyRefused, match="another usage"):
        dated.generate(KeyUsage.MAC_RETAIL, "link")
    infos = dated.keys()
    assert [("link", 1, TODAY), ("link", 2, day[0])] == [(info.label, info.version, info.created) for info in infos]
    assert ["link#1", "link#2"] == [info.name for info in infos]
    assert made == [dated.version("link", 1), dated.version("link", 2)]
    for number in (0, 3):
        with pytest.raises(KeyRefused, match=f"no key link#{number}"):
            dated.version("link", number)
    for find in (dated.find, lambda label: dated.version(label, 1)):
        with pytest.raises(KeyRefused, match="no key"):
            find("nobody")
    assert ([], []) == (dated.find_all("nobody"), dated.versions("nobody"))
    dated.set_state(made[1], KeyState.COMPROMISED)
    assert ([made[1], made[0]], [made[0]]) == (dated.versions("link"), dated.find_all("link"))


def test_old_and_new_overlap(dated: Hsm, day: list[date]) -> None:
    """Two versions work on the days that both have; `find` gives the newest that works, else the newest of all."""
    old = dated.generate(KeySpec(KeyUsage.MAC_CMAC, active_to=date(2026, 10, 10)), "zak")
    new = dated.generate(KeySpec(KeyUsage.MAC_CMAC, active_from=date(2026, 10, 8), active_to=date(2026, 10, 20)), "zak")
    for today, working, found in (
        (date(2026, 10, 7), [old], old),
        (date(2026, 10, 8), [new, old], new),
        (date(2026, 10, 10), [new, old], new),
        (date(2026, 10, 11), [new], new),
        (date(2026, 10, 21), [], new),
    ):
        day[0] = today
        assert (working, found) == (dated.find_all("zak"), dated.find("zak"))
        for handle in (old, new):
            assert (handle in working) is _makes(dated, handle)


def test_versions_that_are_not_yet_active(dated: Hsm) -> None:
    """A key that waits for its KCV to be confirmed is not found in the place of one that works."""
    old = dated.generate(KeyUsage.MAC_CMAC, "zak")
    new = dated.generate(KeySpec(KeyUsage.MAC_CMAC, state=KeyState.PRE_ACTIVE), "zak")
    assert (old, [old]) == (dated.find("zak"), dated.find_all("zak"))
    dated.set_state(new, KeyState.ACTIVE)
    assert (new, [new, old]) == (dated.find("zak"), dated.find_all("zak"))
    dated.set_state(old, KeyState.COMPROMISED)
    dated.set_state(new, KeyState.COMPROMISED)
    assert (new, []) == (dated.find("zak"), dated.find_all("zak"))


def _makes(hsm: Hsm, handle: object) -> bool:
    try:
        hsm.mac(handle, b"message")  # type: ignore[arg-type]
    except KeyRefused:
        return False
    return True


def test_handles_of_another_hsm(backend: str, hsm: Hsm, tmp_path: Path) -> None:
    """Same label, version and key in two HSMs: each knows its own handle alone; and what is no handle is none."""
    stranger = BACKENDS[backend](tmp_path)
    label = new_label()
    mine, other = (one.form(KeyUsage.MAC_RETAIL, label, components(SECOND_KEY)) for one in (hsm, stranger))
    assert mine != other
    calls: list[Callable[[], object]] = [
        lambda: hsm.info(other),
        lambda: hsm.kcv(other),
        lambda: hsm.set_state(other, KeyState.SUSPENDED),
        lambda: hsm.mac(other, b""),
        lambda: hsm.export_block(other, other),
        lambda: hsm.mac(label, b""),  # type: ignore[arg-type]
        lambda: hsm.mac(None, b""),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(KeyRefused, match="not a key of this HSM"):
            call()


def test_components_one_by_one(lasting: str, tmp_path: Path) -> None:
    """Three custodians, on three days, in any order; the last one makes the key, and nothing waits any more."""
    label, parts = "zmk", _three(SECOND_KEY)
    for number, day in ((3, 1), (1, 2)):
        opened = BACKENDS[lasting](tmp_path, today=lambda: TODAY)
        component = Component(label, number, 3, f"custodian {number}", date(2026, 10, day), "")
        assert opened.enter_component(spec_of(RETAIL), component, parts[number - 1]) is None
        assert component in [one._replace(kcv="", purpose="") for one in opened.components()]
    opened = BACKENDS[lasting](tmp_path)
    assert [3, 1] == [component.number for component in opened.components()]
    last = Component(label, 2, 3, "custodian 2", TODAY, "")
    handle = opened.enter_component(spec_of(RETAIL), last, parts[1])
    assert handle is not None
    assert works(opened, handle, SECOND_KEY)
    assert [] == opened.components()
    assert [label] == [info.label for info in BACKENDS[lasting](tmp_path).keys()]  # noqa: SIM118 - not a dictionary


def _three(key: bytes) -> list[bytes]:
    one, other = components(key)
    return [one, b"\x5a" * len(key), bytes(byte ^ 0x5A for byte in other)]


def test_components_that_do_not_fit(lasting: str, tmp_path: Path) -> None:
    """A part twice, a custodian twice, another number or length of parts, zeros: refused, and the others go on waiting."""
    opened = BACKENDS[lasting](tmp_path)
    first = Component("zmk", 1, 2, "one", TODAY, "")
    assert opened.enter_component(KeyUsage.MAC_RETAIL, first, SECOND_KEY) is None
    for changed, value in (
        (first._replace(custodian="two"), SECOND_KEY[::-1]),
        (first._replace(number=2), SECOND_KEY[::-1]),
        (first._replace(number=2, custodian="two", of=3), SECOND_KEY[::-1]),
        (first._replace(number=2, custodian="two"), SECOND_KEY + SECOND_KEY[:8]),
        (first._replace(number=2, custodian="two"), bytes(16)),
        (first._replace(number=2, custodian="two"), b""),
        (first._replace(number=0, custodian="two"), SECOND_KEY[::-1]),
        (first._replace(number=3, custodian="two"), SECOND_KEY[::-1]),
        (first._replace(number=1, custodian="two", of=1), SECOND_KEY[::-1]),
        (first._replace(number=1, custodian="two", of=10), SECOND_KEY[::-1]),
    ):
        with pytest.raises(KeyRefused):
            opened.enter_component(KeyUsage.MAC_RETAIL, changed, value)
        assert [first] == [one._replace(kcv="", purpose="") for one in opened.components()]
    assert [] == opened.keys()


def test_components_are_compared_with_their_sheets(lasting: str, tmp_path: Path) -> None:
    """A check value that is not the part's, or a key that is to be another than its other custodians said, is refused."""
    opened = BACKENDS[lasting](tmp_path)
    first, second = components(SECOND_KEY)
    sheet = Component("zmk", 1, 2, "one", TODAY, check_value(RETAIL, first).value)
    with pytest.raises(KeyRefused, match="its check value is"):
        opened.enter_component(KeyUsage.MAC_RETAIL, sheet._replace(kcv=check_value(RETAIL, second).value), first)
    assert [] == opened.components()
    assert opened.enter_component(KeyUsage.MAC_RETAIL, sheet, first) is None
    other = Component("zmk", 2, 2, "two", TODAY, "")
    leaves = KeySpec(KeyUsage.MAC_RETAIL, exportability=Exportability.EXPORTABLE)
    for spec in (KeySpec(KeyUsage.PIN_ENCRYPTION), leaves, KeySpec(KeyUsage.MAC_RETAIL, mode=KeyMode.GENERATE)):
        with pytest.raises(KeyRefused, match="another kind of key"):
            opened.enter_component(spec, other, second)
    with pytest.raises(KeyRefused, match="nobody enters two"):
        opened.enter_component(KeyUsage.MAC_RETAIL, other._replace(custodian="ONE"), second)
    handle = opened.enter_component(KeyUsage.MAC_RETAIL, other, second)
    assert handle is not None
    assert works(opened, handle, SECOND_KEY)


def test_components_are_forgotten(lasting: str, tmp_path: Path) -> None:
    """By name; and a key that cannot be forgets its components too, so that the ceremony starts anew."""
    opened = BACKENDS[lasting](tmp_path)
    for label in ("a", "b"):
        opened.enter_component(KeyUsage.MAC_RETAIL, Component(label, 1, 3, "one", TODAY, ""), SECOND_KEY)
    opened.enter_component(KeyUsage.MAC_RETAIL, Component("a", 2, 3, "two", TODAY, ""), SECOND_KEY[::-1])
    assert (2, 0, ["b"]) == (
        opened.forget_components("a"),
        opened.forget_components("a"),
        [component.label for component in opened.components()],
    )
    opened.enter_component(KeyUsage.MAC_RETAIL, Component("weak", 1, 2, "one", TODAY, ""), SECOND_KEY)
    with pytest.raises(KeyRefused, match="all zeros"):
        opened.enter_component(KeyUsage.MAC_RETAIL, Component("weak", 2, 2, "two", TODAY, ""), SECOND_KEY)
    assert ["b"] == [component.label for component in opened.components()]


def test_components_do_not_wait_where_keys_go(backend: str, hsm: Hsm) -> None:
    """An HSM without a file keeps none, and says so."""
    if backend in FORGETFUL:
        with pytest.raises(KeyRefused, match="keeps no components"):
            hsm.enter_component(KeyUsage.MAC_RETAIL, Component("zmk", 1, 2, "one", TODAY, ""), SECOND_KEY)
    assert ([], 0) == (hsm.components(), hsm.forget_components("zmk"))


def test_infos_tell_all_but_the_key(hsm: Hsm) -> None:
    """They are equal to themselves, and their text has no key in it."""
    handle = formed(hsm, replace(spec_of(RETAIL), active_to=TODAY), SECOND_KEY)
    info = hsm.info(handle)
    assert isinstance(info, KeyInfo)
    assert 1 == hsm.keys().count(info)
    for text in (repr(info), repr(handle), repr(hsm.keys())):
        assert SECOND_KEY.hex() not in text.lower()
        assert repr(SECOND_KEY)[2:12] not in text
