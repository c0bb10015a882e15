"""PIN commands: what they ask of the cipher, and that no cause of failure costs less than another.

What they answer is in test_conformance_pins.py and test_conformance_translation.py.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import mac, pin_commands, pinblock, tdes
from keys.errors import KeyRefused, PinRefused
from keys.hsm import PinToVerify
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.pin import weakness
from keys.pinblock import PinFormat
from keys.sensitive import Pan, Pin
from tests.keys.samples import OTHER_PAN, PAN, SECOND_KEY, components
from tests.keys.watched import watched_hsm

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.keytypes import KeyHandle
    from keys.local import LocalHsm
    from keys.sensitive import Material
    from tests.keys.watched import WatchedWorkshop

GOOD = Pin("271828")
BOTH = KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH)
AES_BOTH = KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.AES, KeyMode.BOTH)


class Bank:
    """An HSM over a watched workshop, with two zones, an AES key, and a key for each way to verify."""

    def __init__(self, random: Callable[[int], bytes] | None = None) -> None:
        self.hsm: LocalHsm[Material]
        self.workshop: WatchedWorkshop
        self.hsm, self.workshop = watched_hsm(random)
        self.zpk = self.hsm.form(BOTH, "zpk", components(SECOND_KEY))
        self.other = self.hsm.generate(BOTH, "other")
        self.aes = self.hsm.generate(AES_BOTH, "aes")
        self.ibm = self.hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "ibm")
        self.pvv = self.hsm.generate(KeyUsage.PIN_VERIFICATION_PVV, "pvv")

    def asked(
        self,
        key: KeyHandle | None = None,
        pan: Pan = PAN,
        pin_format: PinFormat = PinFormat.ISO_0,
        pvk: KeyHandle | None = None,
    ) -> PinToVerify:
        """A block of the right PIN, with the reference for it."""
        zone = key or self.zpk
        block = self.hsm.encipher_pin(GOOD, zone, pan, pin_format)
        return PinToVerify(
            block, zone, pan, self.hsm.choose_pin(block, zone, pvk or self.ibm, pan, None, pin_format), pin_format
        )

    def work(self, asked: list[PinToVerify], pvk: KeyHandle) -> list[tuple[str, int]]:
        """What the ciphers were asked while these were verified."""
        self.workshop.forget()
        self.hsm.verify_pins(asked, pvk)
        return self.workshop.calls


def test_many_blocks_take_two_calls_of_the_cipher() -> None:
    """One for all validation data, one for the blocks of each zone: that is what makes a group of requests quick."""
    bank = Bank()
    pans = [Pan(f"60130100000{number:05d}") for number in range(20)]
    mine, theirs = [bank.asked(None, pan) for pan in pans], [bank.asked(bank.other, pan) for pan in pans[:7]]
    assert [("encipher ibm", 160), ("decipher zpk", 160)] == bank.work(mine, bank.ibm)
    mixed = [*mine[:3], *theirs[:2], *mine[3:5]]
    assert [("encipher ibm", 40), ("decipher zpk", 40), ("encipher ibm", 16), ("decipher other", 16)] == bank.work(
        mixed, bank.ibm
    )
    assert [] == bank.work([], bank.ibm)


def test_the_ciphers_do_the_same_for_every_cause() -> None:
    """A block of the right length costs the same whatever is in it, together or alone: nothing to tell the causes apart by."""
    bank = Bank()
    for pin_format, zone, pvk in (
        (PinFormat.ISO_0, bank.zpk, bank.ibm),
        (PinFormat.ISO_0, bank.zpk, bank.pvv),
        (PinFormat.ISO_3, bank.zpk, bank.ibm),
        (PinFormat.ISO_4, bank.aes, bank.ibm),
        (PinFormat.ISO_4, bank.aes, bank.pvv),
    ):
        right = bank.asked(zone, PAN, pin_format, pvk)
        other = (
            "1" * len(right.reference) if right.reference != "1" * len(right.reference) else "2" * len(right.reference)
        )
        causes = [
            right,
            right._replace(block=bytes(len(right.block))),
            right._replace(block=bank.hsm.encipher_pin(Pin("2718"), zone, PAN, pin_format)),
            right._replace(block=bank.hsm.encipher_pin(Pin("314159"), zone, PAN, pin_format)),
            right._replace(reference=other),
            right._replace(pan=OTHER_PAN),
        ]
        work = [bank.work([cause], pvk) for cause in causes]
        assert [work[0]] * len(causes) == work
        assert {name.partition(" ")[0] for name, _ in work[0]} == {"encipher", "decipher"}


def test_every_answer_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each block that can be compared, right or wrong, and never by ==."""
    compared: list[tuple[bytes, bytes]] = []

    def same(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return mac.same(one, other)

    bank = Bank()
    rights = [bank.asked(), bank.asked(bank.aes, PAN, PinFormat.ISO_4)]
    monkeypatch.setattr(pin_commands, "same", same)
    for pvk in (bank.ibm, bank.pvv):
        for right in rights:
            for one in (right, right._replace(block=bytes(len(right.block)))):
                compared.clear()
                bank.hsm.verify_pin(one, pvk)
                assert 1 == len(compared)
                assert len(compared[0][0]) in {4, 6, 8}


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 16, 24])
def test_broken_lengths_never_reach_a_cipher(length: int) -> None:
    """They would put its context out of step for good; nor does a reference that is none."""
    bank = Bank()
    right = bank.asked()
    for broken in (right._replace(block=bytes(length)), right._replace(reference="0" * (length + 7))):
        assert [] == bank.work([broken], bank.ibm)
        assert [("encipher ibm", 8), ("decipher zpk", 8)] == bank.work([broken, right, broken], bank.ibm)
    work = bank.work([right._replace(block=bytes(length))], bank.pvv)
    assert [("encipher pvv", 8)] == work


def test_a_refused_format_reaches_no_cipher() -> None:
    """Key and format are looked at before anything is deciphered, also in the middle of many."""
    bank = Bank()
    right = bank.asked()
    for wrong in (right._replace(key=bank.aes), right._replace(pin_format=PinFormat.ISO_4)):
        bank.workshop.forget()
        with pytest.raises(KeyRefused):
            bank.hsm.verify_pins([right, wrong], bank.ibm)
        assert [] == bank.workshop.calls


def test_a_wrong_old_pin_leaves_the_new_block_alone() -> None:
    """It is not even deciphered."""
    bank = Bank()
    right = bank.asked()
    for old in (right._replace(block=bytes(8)), right._replace(block=b""), right._replace(reference="")):
        bank.workshop.forget()
        with pytest.raises(PinRefused, match="WRONG_PIN"):
            bank.hsm.change_pin(old, right.block, bank.ibm, None)
        assert 2 >= len(bank.workshop.calls)


def test_keys_are_made_ready_once() -> None:
    """A second call finds its tools in a dictionary."""
    bank = Bank()
    right = bank.asked()
    bank.hsm.verify_pin(right, bank.ibm)
    bank.workshop.forget()
    for _ in range(3):
        assert bank.hsm.verify_pin(right, bank.ibm)
    assert [] == bank.workshop.made


def scripted(*parts: bytes) -> Callable[[int], bytes]:
    """A source of random bytes that gives these, again and again."""
    stream = itertools.cycle(b"".join(parts))
    return lambda count: bytes(itertools.islice(stream, count))


def pin_in(block: bytes) -> str | None:
    """The PIN in a block under the zone key."""
    return pinblock.decipher_block(PinFormat.ISO_0, tdes.decipherer(SECOND_KEY), block, PAN)


def test_random_digits_are_fair() -> None:
    """Each of the 256 byte values once gives each digit as often as any other: bytes from 250 on give none."""
    bank = Bank(scripted(bytes(range(256))))
    digits = bank.hsm._random_digits(250)
    assert dict.fromkeys("0123456789", 25) == Counter(digits)
    assert "777777" == Bank(scripted(bytes([250, 251, 252, 253, 254, 255]) * 2, b"\x07" * 12)).hsm._random_digits(6)


def test_weak_random_pins_are_made_anew() -> None:
    """Until one is not weak; what came before it is forgotten."""
    weak = b"".join(bytes(int(digit) for digit in text) for text in ("111111" * 2, "123456" * 2, "112233" * 2))
    good = bytes(int(digit) for digit in "271828" * 2)
    bank = Bank(scripted(weak, good))
    new = bank.hsm.random_pin(bank.zpk, bank.ibm, PAN)
    assert "271828" == pin_in(new.block)
    assert bank.hsm.verify_pin(PinToVerify(new.block, bank.zpk, PAN, new.reference), bank.ibm)


@given(st.integers(4, 12))
def test_random_pins_are_as_long_as_the_key_says(length: int) -> None:
    """Of six digits none that is weak; of other lengths the bank has no rule for what is."""
    bank = Bank()
    attributes = KeyAttributes("0123456789012345", check_length=length)
    pvk = bank.hsm.generate(KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=attributes), f"ibm.{length}")
    new = bank.hsm.random_pin(bank.zpk, pvk, PAN)
    digits = pin_in(new.block)
    assert digits is not None
    assert (length, length) == (len(digits), len(new.reference))
    assert length != 6 or weakness(digits) is None


def test_translation_looks_before_it_deciphers() -> None:
    """Formats, then the key to come, then the block: what is refused anyway costs no cipher."""
    bank = Bank()
    block = bank.asked().block
    one_way = bank.hsm.generate(KeyUsage.PIN_ENCRYPTION, "one-way")
    for target, formats in (
        (bank.zpk, (PinFormat.ISO_0, PinFormat.ISO_1)),
        (bank.zpk, (PinFormat.ISO_1, PinFormat.ISO_1)),
        (bank.zpk, (PinFormat.ISO_2, PinFormat.ISO_0)),
        (bank.zpk, (PinFormat.ISO_0, PinFormat.ISO_4)),
        (one_way, (PinFormat.ISO_0, PinFormat.ISO_3)),
    ):
        bank.workshop.forget()
        with pytest.raises(KeyRefused):
            bank.hsm.translate_pin(block, bank.zpk, target, PAN, formats)
        assert [] == bank.workshop.calls
