"""Components: a key of two custodians or more, of whom none knows it, and what is kept of it until all were there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from keys import usages
from keys.errors import KeyRefused
from keys.keystore import Component
from keys.keytypes import Exportability, KeyMode, KeySpec, KeyUsage
from keys.master import MasterKey
from keys.software import SoftwareHsm
from tests.keys.samples import SECOND_KEY, TODAY, components, one_line

MASTER = MasterKey(bytes(range(32)))
USAGE = KeyUsage.PIN_ENCRYPTION
FIRST, SECOND = components(SECOND_KEY)
THIRD = bytes(range(100, 116))


def part(number: int, of: int = 2, *, label: str = "zpk", custodian: str | None = None) -> Component:
    """One component, of a custodian of its own unless one is named."""
    return Component(label, number, of, custodian or f"custodian {number}", TODAY, "")


def waiting(hsm: SoftwareHsm) -> list[Component]:
    """The components that wait, as they were handed in: without what the HSM adds."""
    return [one._replace(kcv="", purpose="") for one in hsm.components()]


def new_hsm(folder: Path) -> SoftwareHsm:
    """An HSM with a keystore."""
    return SoftwareHsm.create(folder / "store", MASTER, today=lambda: TODAY)


def opened(folder: Path) -> SoftwareHsm:
    """The same keystore in another process, as good as."""
    return SoftwareHsm.open(folder / "store", MASTER, today=lambda: TODAY)


def test_two_custodians_form_a_key(tmp_path: Path) -> None:
    """On different days, in different processes, in any order; the key is the XOR, and nothing waits any longer."""
    hsm = new_hsm(tmp_path)
    assert hsm.enter_component(USAGE, part(2), SECOND) is None
    assert [part(2)] == waiting(hsm) == waiting(opened(tmp_path))
    key = opened(tmp_path).enter_component(USAGE, part(1), FIRST)
    assert key is not None
    assert "08D7B4" == str(key.kcv)
    assert [] == opened(tmp_path).components()
    known = opened(tmp_path).keys()
    assert ["zpk#1"] == [info.name for info in known]
    assert opened(tmp_path).find("zpk").kcv == key.kcv


def test_nine_custodians_form_a_key(tmp_path: Path) -> None:
    """Each waits for all the others."""
    hsm = new_hsm(tmp_path)
    values = [bytes([number] * 15 + [7 * number]) for number in range(1, 9)]
    total = SECOND_KEY
    for value in values:
        total = bytes(one ^ other for one, other in zip(total, value, strict=True))
    for number, value in enumerate(values, 1):
        assert hsm.enter_component(USAGE, part(number, 9), value) is None
        assert number == len(hsm.components())
    key = hsm.enter_component(USAGE, part(9, 9), total)
    assert key is not None
    assert "08D7B4" == str(key.kcv)


def test_nobody_enters_two(tmp_path: Path) -> None:
    """One person never knows two components of a key, whichever comes first; of another key they may."""
    hsm = new_hsm(tmp_path)
    hsm.enter_component(USAGE, part(1, custodian="siti"), FIRST)
    with pytest.raises(KeyRefused, match="siti entered component 1; nobody enters two") as caught:
        opened(tmp_path).enter_component(USAGE, part(2, custodian="siti"), SECOND)
    assert one_line(caught.value)
    assert [part(1, custodian="siti")] == waiting(hsm)
    assert [] == hsm.keys()
    assert hsm.enter_component(USAGE, part(2, label="other", custodian="siti"), SECOND) is None


def test_no_number_is_entered_twice(tmp_path: Path) -> None:
    """Not even the same value again."""
    hsm = new_hsm(tmp_path)
    hsm.enter_component(USAGE, part(1), FIRST)
    for value in (FIRST, SECOND):
        with pytest.raises(KeyRefused, match="component 1 of zpk: was entered already"):
            hsm.enter_component(USAGE, part(1, custodian="budi"), value)
    assert [part(1)] == waiting(hsm)


@pytest.mark.parametrize(
    ("component", "value"),
    [(part(2), bytes(range(1, 25))), (part(2, 3), SECOND), (part(3, 3), SECOND)],
    ids=["other length", "other count", "other count and number"],
)
def test_components_of_a_key_fit_each_other(tmp_path: Path, component: Component, value: bytes) -> None:
    """One length, and one number of how many there are."""
    hsm = new_hsm(tmp_path)
    hsm.enter_component(USAGE, part(1), FIRST)
    with pytest.raises(KeyRefused, match="the other components are 2 of 16 bytes"):
        hsm.enter_component(USAGE, component, value)
    assert [part(1)] == waiting(hsm)


@pytest.mark.parametrize(
    ("component", "value"),
    [
        (part(1), bytes(16)),
        (part(1), b""),
        (part(1), FIRST[:8]),
        (part(0), FIRST),
        (part(3), FIRST),
        (part(1, 1), FIRST),
        (part(1, 10), FIRST),
    ],
)
def test_component_that_can_be_no_part_is_not_kept(tmp_path: Path, component: Component, value: bytes) -> None:
    """All zeros, no length of a key, a number that is not of so many."""
    hsm = new_hsm(tmp_path)
    with pytest.raises(KeyRefused):
        hsm.enter_component(USAGE, component, value)
    assert [] == hsm.components()


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (FIRST, FIRST, "differ"),
        (FIRST, FIRST[:8] + SECOND[8:], "parts?"),
    ],
    ids=["equal", "weak"],
)
def test_key_that_may_not_be_is_forgotten_whole(tmp_path: Path, first: bytes, second: bytes, why: str) -> None:
    """What does not make a fit key must be entered anew by all: no key, and nothing waits."""
    hsm = new_hsm(tmp_path)
    hsm.enter_component(USAGE, part(1), first)
    with pytest.raises(KeyRefused, match=why) as caught:
        hsm.enter_component(USAGE, part(2), second)
    assert first.hex()[:8] not in str(caught.value).lower()
    assert ([], []) == (hsm.components(), hsm.keys())


def test_forgotten_components_can_be_entered_anew(tmp_path: Path) -> None:
    """Of the one key that is named; how many they were is told."""
    hsm = new_hsm(tmp_path)
    hsm.enter_component(USAGE, part(1, 3), FIRST)
    hsm.enter_component(USAGE, part(2, 3), SECOND)
    hsm.enter_component(USAGE, part(1, label="other"), THIRD)
    assert (2, 0, 0) == tuple(opened(tmp_path).forget_components(label) for label in ("zpk", "zpk", "none"))
    assert [part(1, label="other")] == waiting(hsm)
    assert hsm.enter_component(USAGE, part(1), FIRST) is None
    assert hsm.enter_component(USAGE, part(2), SECOND) is not None


def test_next_version_of_a_key_has_components_too(tmp_path: Path) -> None:
    """The yearly change of a ZMK, by the same custodians."""
    hsm = new_hsm(tmp_path)
    spec = KeySpec(KeyUsage.KEY_BLOCK_PROTECTION)
    for version in (1, 2):
        assert hsm.enter_component(spec, part(1, label="zmk"), bytes(range(version, 32 + version))) is None
        key = hsm.enter_component(spec, part(2, label="zmk"), bytes(range(60, 92)))
        assert key is not None
        assert version == key.version


def test_components_wait_in_a_file_only() -> None:
    """Keys that go with the process have no custodians."""
    hsm = SoftwareHsm.in_memory()
    with pytest.raises(KeyRefused, match="keeps no components"):
        hsm.enter_component(USAGE, part(1), FIRST)
    assert ([], 0) == (hsm.components(), hsm.forget_components("zpk"))


@pytest.mark.parametrize(
    "look",
    [
        lambda hsm: repr(hsm.components()),
        lambda hsm: str([tuple(one) for one in hsm.components()]),
        lambda hsm: repr(vars(hsm)),
    ],
)
def test_values_of_components_never_come_out(tmp_path: Path, look: Callable[[SoftwareHsm], str]) -> None:
    """Neither by a command nor in the file."""
    hsm = new_hsm(tmp_path)
    hsm.enter_component(USAGE, part(1), FIRST)
    for seen in (look(hsm), (tmp_path / "store").read_text("ascii")):
        assert FIRST.hex() not in seen.lower()
        assert repr(FIRST)[2:-1] not in seen


def test_a_component_is_the_one_on_its_sheet(tmp_path: Path) -> None:
    """Its check value, in full or by its first six digits, is compared where it is told; and it is shown to all afterwards."""
    hsm = new_hsm(tmp_path)
    right = str(usages.component_check_value(KeySpec(USAGE), FIRST))
    for told in ("000000", right[:4], right + "00", "ä"):
        with pytest.raises(KeyRefused, match=right):
            hsm.enter_component(USAGE, part(1)._replace(kcv=told), FIRST)
    assert [] == hsm.components()
    assert hsm.enter_component(USAGE, part(1)._replace(kcv=f" {right.lower()} "), FIRST) is None
    assert [right] == [one.kcv for one in hsm.components()]


def test_custodians_agree_on_what_the_key_is(tmp_path: Path) -> None:
    """The second cannot make another kind of key of the first one's component."""
    hsm = new_hsm(tmp_path)
    assert hsm.enter_component(USAGE, part(1), FIRST) is None
    for other in (
        KeySpec(KeyUsage.MAC_RETAIL),
        KeySpec(USAGE, mode=KeyMode.BOTH),
        KeySpec(USAGE, exportability=Exportability.EXPORTABLE),
        KeySpec(USAGE, active_to=TODAY),
    ):
        with pytest.raises(KeyRefused, match="another kind of key"):
            hsm.enter_component(other, part(2), SECOND)
    assert [part(1)] == waiting(hsm)


ALIKE = [
    ("siti", "SITI"),
    ("Al", "AI"),
    ("siti", "si-ti"),
    ("siti.a", "si_ti.a"),
    ("O'neil", "0neil"),
    ("siti1", "sitil"),
]
"""Two names that one person could go by."""


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_look_alike_are_one_person(tmp_path: Path, one: str, other: str) -> None:
    """Whatever their case, their spaces and points, and with 1 for l or 0 for O: nobody is two custodians so."""
    hsm = new_hsm(tmp_path)
    hsm.enter_component(USAGE, part(1, custodian=one), FIRST)
    with pytest.raises(KeyRefused, match="nobody enters two"):
        hsm.enter_component(USAGE, part(2, custodian=other), SECOND)
    assert hsm.enter_component(USAGE, part(2, custodian="budi"), SECOND) is not None


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_same_person_is_asked_either_way(one: str, other: str) -> None:
    """Which of the two came first does not matter."""
    assert usages.same_person(one, other)
    assert usages.same_person(other, one)


@pytest.mark.parametrize("other", ["siti.b", "siti2", "sit", "budi", "s", ""])
def test_other_names_are_other_people(other: str) -> None:
    """A letter or digit more or less, unless it only looks like another."""
    assert not usages.same_person("siti", other)
    assert not usages.same_person(other, "siti")


@pytest.mark.parametrize(
    ("usage", "length"), [(USAGE, 32), (USAGE, 40), (KeyUsage.KEY_BLOCK_PROTECTION, 40), (KeyUsage.SIGNATURE, 32)]
)
def test_no_component_of_a_length_that_no_key_has(tmp_path: Path, usage: KeyUsage, length: int) -> None:
    """Refused when it is entered."""
    with pytest.raises(KeyRefused, match=f"{length} bytes forms no"):
        new_hsm(tmp_path).enter_component(usage, part(1), bytes(range(1, 1 + length)))
