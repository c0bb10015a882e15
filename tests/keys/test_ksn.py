"""Key serial numbers, and the memory that refuses a used one."""

import itertools
import threading
import time
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import KsnRefused
from keys.ksn import AesKsn, KsnMemory, TdesKsn, steps
from tests.keys.samples import one_line

TDES_LAST, AES_LAST = 0x1FF800, 0xFFFF0000
"""The highest counters with 10 and 16 one-bits."""


def few_ones(bits: int, most: int) -> st.SearchStrategy[int]:
    """Counters that a device may count to, zero aside."""
    places = st.sets(st.integers(0, bits - 1), min_size=1, max_size=most)
    return places.map(lambda chosen: sum(1 << place for place in chosen))


tdes_ksns = st.builds(
    TdesKsn, st.binary(min_size=5, max_size=5), st.integers(0, (1 << 19) - 1), few_ones(bits=21, most=10)
)
aes_ksns = st.builds(AesKsn, st.binary(min_size=8, max_size=8), few_ones(bits=32, most=16))
kinds = pytest.mark.parametrize("kind", [TdesKsn, AesKsn])
Kind = type[TdesKsn] | type[AesKsn]


def size(kind: Kind) -> int:
    """Bytes of a KSN."""
    return 10 if kind is TdesKsn else 12


def test_tdes_layout() -> None:
    """40 bits of key set, 19 of device, 21 of counter; the counter's highest bit stands in the low half of the 8th byte."""
    ksn = TdesKsn.parse("FFFF9876543210F00000")
    assert (bytes.fromhex("FFFF987654"), 0x3210E00000 >> 21, 0x100000) == (ksn.key_set_id, ksn.device_id, ksn.counter)
    assert bytes.fromhex("FFFF9876543210E00000") == ksn.initial_ksn
    assert TdesKsn(b"\xff" * 5, (1 << 19) - 1, 1) == TdesKsn.parse("FFFFFFFFFFFFFFE00001")


def test_aes_layout() -> None:
    """64 bits of initial key id, 32 of counter."""
    ksn = AesKsn.parse("1234567890123456FFFF0000")
    assert (bytes.fromhex("1234567890123456"), AES_LAST) == (ksn.initial_key_id, ksn.counter)


@given(tdes_ksns | aes_ksns)
def test_there_and_back(ksn: TdesKsn | AesKsn) -> None:
    """Bytes, upper and lower case text read as the KSN they were written from."""
    for written in (bytes(ksn), str(ksn), str(ksn).lower()):
        assert ksn == type(ksn).parse(written)


def test_frozen() -> None:
    """A KSN does not change."""
    with pytest.raises(FrozenInstanceError):
        TdesKsn.parse("FFFF9876543210E00001").counter = 2  # type: ignore[misc]


@kinds
def test_wrong_lengths_are_refused(kind: Kind) -> None:
    """One byte or one digit more or less, none, and text given as bytes."""
    octets = bytes(size(kind) - 1) + b"\x01"
    assert 1 == kind.parse(octets).counter
    wrong: list[bytes | str] = [octets[1:], b"\x00" + octets, b"", "", octets.hex()[1:], "0" + octets.hex()]
    for given_ in [*wrong, octets.hex().encode("ascii")]:
        with pytest.raises(KsnRefused, match="has not"):
            kind.parse(given_)


@kinds
@pytest.mark.parametrize("odd", ["G1", " 1", "1 ", "\u0660\u0661", "+1", "\n1", "0x"])
def test_text_that_is_not_hex_is_refused(kind: Kind, odd: str) -> None:
    """Signs, spaces and foreign digits, though the length is right."""
    with pytest.raises(KsnRefused, match=r"not hexadecimal|has not"):
        kind.parse("00" * (size(kind) - 1) + odd)


def test_spaces_between_digits_are_refused() -> None:
    """As many characters as digits are wanted, some of them spaces that fromhex would let pass."""
    with pytest.raises(KsnRefused, match="has not"):
        TdesKsn.parse("FF FF 98 76 54 32 01")
    with pytest.raises(KsnRefused, match="has not"):
        TdesKsn.parse("FFFF98 765432 E00001")


@kinds
def test_counter_zero_is_the_initial_keys(kind: Kind) -> None:
    """It is no transaction, and nothing else is loaded with an initial key."""
    zero = bytes(size(kind))
    assert 0 == kind.parse_initial(zero).counter
    assert kind.parse_initial(zero).following() == kind.parse(zero[1:] + b"\x01")
    with pytest.raises(KsnRefused, match="counter zero"):
        kind.parse(zero)
    with pytest.raises(KsnRefused, match="counter zero"):
        kind.parse_initial(zero[1:] + b"\x01")


@given(st.integers(1, (1 << 21) - 1))
def test_at_most_ten_ones_of_a_tdes_counter(counter: int) -> None:
    """Any counter of 21 bits is accepted if and only if it has at most ten."""
    given_ = ((0xFFFF9876543210E00000) + counter).to_bytes(10)
    if counter.bit_count() <= 10:
        assert counter == TdesKsn.parse(given_).counter
    else:
        with pytest.raises(KsnRefused, match="10 one-bits"):
            TdesKsn.parse(given_)


@given(st.integers(1, (1 << 32) - 1))
def test_at_most_sixteen_ones_of_an_aes_counter(counter: int) -> None:
    """Any counter of 32 bits is accepted if and only if it has at most sixteen."""
    given_ = bytes(8) + counter.to_bytes(4)
    if counter.bit_count() <= 16:
        assert counter == AesKsn.parse(given_).counter
    else:
        with pytest.raises(KsnRefused, match="16 one-bits"):
            AesKsn.parse(given_)


@pytest.mark.parametrize(
    "parts",
    [(bytes(4), 0, 1), (bytes(6), 0, 1), (bytes(5), 1 << 19, 1), (bytes(5), -1, 1), (bytes(5), 0, 1 << 21), (bytes(5), 0, -1)],
)  # fmt: skip
def test_tdes_parts_out_of_range_are_refused(parts: tuple[bytes, int, int]) -> None:
    """A KSN made of parts is as strict as one that is read."""
    with pytest.raises(KsnRefused):
        TdesKsn(*parts)


@pytest.mark.parametrize("parts", [(bytes(7), 1), (bytes(9), 1), (bytes(8), 1 << 32), (bytes(8), -1)])
def test_aes_parts_out_of_range_are_refused(parts: tuple[bytes, int]) -> None:
    """A KSN made of parts is as strict as one that is read."""
    with pytest.raises(KsnRefused):
        AesKsn(*parts)


def outcome(kind: Kind, given_: bytes | str) -> TdesKsn | AesKsn | KsnRefused:
    """The KSN or its refusal; any other error goes on."""
    try:
        return kind.parse(given_)
    except KsnRefused as refused:
        return refused


def refused_or_as_written(kind: Kind, given_: bytes | str) -> bool:
    """Whether GIVEN_ was refused in one line, or read as a KSN that writes itself the same."""
    found = outcome(kind, given_)
    if isinstance(found, KsnRefused):
        return one_line(found)
    return (str(found) == given_.upper()) if isinstance(given_, str) else (bytes(found) == given_)


@kinds
@given(given_=st.binary(max_size=14) | st.text(max_size=26) | st.text("01aF \u0660", min_size=20, max_size=24))
def test_nothing_but_a_refusal_comes_out_of_rubbish(kind: Kind, given_: bytes | str) -> None:
    """Random bytes and text."""
    assert refused_or_as_written(kind, given_)


@given(tdes_ksns | aes_ksns, st.integers(0, 23), st.text(max_size=2))
def test_nothing_but_a_refusal_comes_out_of_changed_text(ksn: TdesKsn | AesKsn, place: int, put: str) -> None:
    """A good KSN with one digit replaced by none, one or two characters."""
    text = str(ksn)
    assert refused_or_as_written(type(ksn), text[:place] + put + text[place + 1 :])


@given(few_ones(bits=21, most=10))
def test_following_tdes_counter_is_the_next_with_few_ones(counter: int) -> None:
    """Found again by counting up one by one."""
    ksn = TdesKsn(bytes(5), 7, counter)
    if counter == TDES_LAST:
        return
    expected = next(number for number in itertools.count(counter + 1) if number.bit_count() <= 10)
    assert TdesKsn(bytes(5), 7, expected) == ksn.following()


@given(st.integers(0, 1 << 20))
def test_following_aes_counter_is_the_next_with_few_ones(counter: int) -> None:
    """Found again by counting up one by one, from high counters whose low bits are few."""
    start = 0xFFF00000 | counter
    if start.bit_count() > 16 or start == AES_LAST:
        return
    expected = next(number for number in itertools.count(start + 1) if number.bit_count() <= 16)
    assert expected == AesKsn(bytes(8), start).following().counter


def test_no_keys_left() -> None:
    """After its last counter a device has none."""
    with pytest.raises(KsnRefused, match="new initial key"):
        TdesKsn(bytes(5), 0, TDES_LAST).following()
    with pytest.raises(KsnRefused, match="new initial key"):
        AesKsn(bytes(8), AES_LAST).following()


@given(st.integers(0, (1 << 32) - 1))
def test_steps_set_one_bit_more_each(counter: int) -> None:
    """As many steps as one-bits, each with one lower bit more, the last of them the counter."""
    taken = [0, *steps(counter)]
    assert counter == taken[-1]
    assert counter.bit_count() == len(taken) - 1
    for before, after in itertools.pairwise(taken):
        assert before == after & (after - 1)


@given(st.lists(tdes_ksns | aes_ksns, max_size=8), st.data())
def test_memory_takes_what_is_newer_and_nothing_else(ksns: list[TdesKsn | AesKsn], data: st.DataObject) -> None:
    """Any order of takes, with the state stored and given back at any time: taken exactly if above all taken before."""
    memory, model = KsnMemory(100), dict[str, int]()
    for ksn in data.draw(st.permutations(ksns * 2)):
        if data.draw(st.booleans()):
            memory = KsnMemory(100, memory.state())
        if ksn.counter > model.get(ksn.device, 0):
            memory.take(ksn)
            model[ksn.device] = ksn.counter
        else:
            with pytest.raises(KsnRefused, match="already"):
                memory.take(ksn)
        assert model == memory.state()


def test_memory_refuses_repeated_and_older() -> None:
    """The same, one less, and counter zero; one more is taken."""
    memory = KsnMemory(1)
    device = bytes.fromhex("FFFF987654"), 0x19087
    memory.take(TdesKsn(*device, 5))
    for counter in (5, 4, 0):
        with pytest.raises(KsnRefused, match="already"):
            memory.take(TdesKsn(*device, counter))
    memory.take(TdesKsn(*device, 6))
    assert {"FFFF9876543210E00000": 6} == memory.state()


def test_memory_refuses_counter_zero_of_a_new_device() -> None:
    """An initial KSN is no transaction, whoever made it."""
    memory = KsnMemory(1)
    with pytest.raises(KsnRefused):
        memory.take(AesKsn(bytes(8), 0))
    assert {} == memory.state()


def test_full_memory_refuses_new_devices_and_keeps_the_old() -> None:
    """Nothing is forgotten to make room: a device it knows goes on, and still cannot replay."""
    memory = KsnMemory(2)
    for number in (1, 2):
        memory.take(TdesKsn(bytes(5), number, 9))
    with pytest.raises(KsnRefused, match="full with 2"):
        memory.take(TdesKsn(bytes(5), 3, 1))
    memory.take(TdesKsn(bytes(5), 1, 10))
    with pytest.raises(KsnRefused, match="already"):
        memory.take(TdesKsn(bytes(5), 2, 9))
    assert 2 == len(memory.state())


def test_devices_of_both_kinds_are_apart() -> None:
    """The same first bytes name two devices."""
    memory = KsnMemory(2)
    memory.take(AesKsn(bytes(8), 9))
    memory.take(TdesKsn(bytes(5), 0, 1))
    assert {"0" * 16: 9, "0" * 20: 1} == memory.state()


def test_state_is_a_copy() -> None:
    """Neither what was given nor what was got is the memory itself."""
    given_ = {"0" * 16: 9}
    memory = KsnMemory(2, given_)
    given_.clear()
    memory.state().clear()
    with pytest.raises(KsnRefused, match="already"):
        memory.take(AesKsn(bytes(8), 9))


@pytest.mark.parametrize(
    "state",
    [
        {"": 1}, {"0" * 15: 1}, {"0" * 24: 1}, {"x" * 16: 1},
        {"FFFF9876543210E00001": 1},  # not an initial KSN: no device would be found under it
        {"ffff9876543210e00000": 1},  # lower case: the same
        {"0" * 20: 0}, {"0" * 20: -1}, {"0" * 20: 1 << 21}, {"0" * 20: 0x7FF},
        {"0" * 16: 0}, {"0" * 16: 1 << 32}, {"0" * 16: 0x1FFFF},
        {"0" * 16: 1, "1" * 16: 1, "2" * 16: 1},
    ],
)  # fmt: skip
def test_bad_states_are_refused(state: dict[str, int]) -> None:
    """A damaged state is an error, for it would let replays pass."""
    with pytest.raises(KsnRefused):
        KsnMemory(2, state)


@pytest.mark.parametrize("limit", [0, -1])
def test_memory_of_no_device_is_refused(limit: int) -> None:
    """It would refuse everything."""
    with pytest.raises(KsnRefused, match="at least one"):
        KsnMemory(limit)


class SlowLook(dict[str, int]):
    """Lets the other threads run between the look at a device's counter and its change."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as dict has it
        """What dict gets, told a little later."""
        found = super().get(key, default)
        time.sleep(0.001)
        return found


def test_one_of_many_threads_takes_a_ksn() -> None:
    """Eight threads at once take the same ten KSN: each is taken once."""
    memory, taken, start = KsnMemory(100), list[int](), threading.Barrier(8)
    memory._last = SlowLook()

    def take_all() -> None:
        start.wait()
        for number in range(10):
            try:
                memory.take(TdesKsn(bytes(5), number, 1))
            except KsnRefused:
                continue
            taken.append(number)

    threads = [threading.Thread(target=take_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(range(10)) == sorted(taken)
