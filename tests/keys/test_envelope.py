"""How a master key of this process seals keys: each opens with what it was bound to, and with nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.envelope import NONCE_BYTES, DoesNotOpen, MasterEnvelope, unhex
from keys.errors import KeyRefused, KeystoreError
from keys.keytypes import KeyMode, KeyUsage
from keys.master import MasterKey, Passphrase
from keys.sensitive import Material
from tests.keys.samples import key_of, one_line

MASTER, OTHER = MasterKey(bytes(range(32))), MasterKey(bytes(range(1, 33)))
PASSPHRASE = Passphrase("correct horse battery")
SEALER = MasterEnvelope(MASTER)
KEY = Material(bytes(range(100, 132)))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_sealed_opens_with_what_it_was_bound_to(data: bytes, bound: bytes) -> None:
    """A key, or any data; with other bytes it does not."""
    entry = SEALER.seal_data(data, bound)
    assert data == SEALER.open_data(entry, bound)
    assert Material(data) == SEALER.open(SEALER.seal(Material(data), bound), bound)
    for other in (bound + b"x", bound[:-1] if bound else b"x", b"x" + bound):
        with pytest.raises(DoesNotOpen):
            SEALER.open_data(entry, other)


@pytest.mark.parametrize("name", ["nonce", "sealed"])
def test_every_flipped_bit_is_found(name: str) -> None:
    """Of nonce, ciphertext and tag."""
    entry = SEALER.seal(KEY, b"header")
    whole = bytes.fromhex(entry[name])
    for bit in range(8 * len(whole)):
        flipped = (int.from_bytes(whole) ^ 1 << bit).to_bytes(len(whole)).hex()
        with pytest.raises(DoesNotOpen):
            SEALER.open(entry | {name: flipped}, b"header")


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": ""},
        {"nonce": "00"},
        {"nonce": "0" * 4000},
        {"sealed": ""},
        {"sealed": "00" * 15},
        {"sealed": "0"},
        {"sealed": "zz" * 48},
        {"sealed": None},
        {"nonce": 1},
        {"nonce": ["00"]},
        {"more": "00"},
        {"nonce": "\ud800"},
    ],
)
def test_other_shapes_do_not_open(changes: dict[str, Any]) -> None:
    """Whatever an entry holds, it is one error, which says nothing of what is sealed."""
    entry = SEALER.seal(KEY, b"header")
    with pytest.raises(DoesNotOpen) as caught:
        SEALER.open(entry | changes, b"header")
    assert one_line(caught.value)


@pytest.mark.parametrize("entry", [None, [], "", 1, {}, {"nonce": "00" * 12}, {"sealed": "00" * 48}])
def test_what_is_no_entry_does_not_open(entry: Any) -> None:  # noqa: ANN401 - whatever a file holds
    """Nothing where an entry should be."""
    with pytest.raises(DoesNotOpen):
        SEALER.open(entry, b"header")


def test_hex_has_one_way_to_be_written() -> None:
    """Upper case or spaces would be a change that no seal sees."""
    entry = SEALER.seal(KEY, b"header")
    assert "0aff" == unhex("0aff").hex()
    for text in ("0AFF", "0a ff", " 0aff", "0aff\n", "0af", "0x0a", "०a"):
        with pytest.raises(ValueError, match="hex"):
            unhex(text)
    with pytest.raises(DoesNotOpen):
        SEALER.open({name: text.upper() for name, text in entry.items()}, b"header")


def test_another_master_key_does_not_open() -> None:
    """Nor does another passphrase, or the same with another salt."""
    with pytest.raises(DoesNotOpen):
        MasterEnvelope(OTHER).open(SEALER.seal(KEY, b"header"), b"header")
    first = MasterEnvelope(PASSPHRASE)
    entry = first.seal(KEY, b"header")
    assert KEY == MasterEnvelope.for_head(PASSPHRASE, first.head).open(entry, b"header")
    for other in (MasterEnvelope(PASSPHRASE), MasterEnvelope.for_head(Passphrase("correct horse batterz"), first.head)):
        with pytest.raises(DoesNotOpen):
            other.open(entry, b"header")


def test_nothing_is_sealed_twice_alike() -> None:
    """A nonce is never used again; the ciphertext holds nothing of the key."""
    entries = [SEALER.seal(KEY, b"header") for _ in range(2_000)]
    assert 2_000 == len({entry["nonce"] for entry in entries}) == len({entry["sealed"] for entry in entries})
    assert {2 * NONCE_BYTES} == {len(entry["nonce"]) for entry in entries}
    assert {2 * (32 + 16)} == {len(entry["sealed"]) for entry in entries}
    assert not any(KEY.reveal().hex()[:8] in entry["sealed"] for entry in entries)


def test_rebound_key_opens_with_the_new_header_alone() -> None:
    """The same key; only who knows what it was bound to can bind it anew."""
    entry = SEALER.seal(KEY, b"old")
    anew = SEALER.rebind(entry, b"old", b"new")
    assert KEY == SEALER.open(anew, b"new")
    assert entry["nonce"] != anew["nonce"]
    with pytest.raises(DoesNotOpen):
        SEALER.open(anew, b"old")
    with pytest.raises(DoesNotOpen):
        SEALER.rebind(entry, b"other", b"new")


def test_check_compares_key_and_header() -> None:
    """Length, mode, check value."""
    info, material = key_of(KeyUsage.DATA_SEALING)
    SEALER.check(info, material)
    with pytest.raises(KeyRefused, match="check value"):
        SEALER.check(info, KEY)
    with pytest.raises(KeyRefused, match="mode"):
        SEALER.check(replace(info, mode=KeyMode.VERIFY), material)
    with pytest.raises(KeyRefused, match="length"):
        SEALER.check(info, Material(material.reveal()[:16]))


def test_head_says_how_to_open_again() -> None:
    """The kind of master key, a passphrase's salt, and nothing of either."""
    assert {"kind": "key file", "salt": None} == SEALER.head
    head, other = MasterEnvelope(PASSPHRASE).head, MasterEnvelope(PASSPHRASE).head
    assert ("passphrase", 32) == (head["kind"], len(head["salt"]))
    assert head["salt"] != other["salt"]
    assert head == MasterEnvelope.for_head(PASSPHRASE, head).head


@pytest.mark.parametrize("master", [MASTER, PASSPHRASE], ids=["key", "passphrase"])
@pytest.mark.parametrize(
    "head",
    [
        {},
        {"kind": None, "salt": None},
        {"kind": "token", "salt": None},
        {"kind": "key file", "salt": "00" * 16},
        {"kind": "key file", "salt": ""},
        {"kind": "passphrase", "salt": None},
        {"kind": "passphrase"},
        {"kind": "passphrase", "salt": 16},
        {"kind": ["key file"], "salt": None},
    ],
)
def test_head_of_another_kind_is_refused(master: MasterKey | Passphrase, head: dict[str, Any]) -> None:
    """A token's, or one that fits no kind."""
    with pytest.raises(KeystoreError, match="another kind"):
        MasterEnvelope.for_head(master, head)


def test_kinds_do_not_stand_for_each_other() -> None:
    """A key file does not open what a passphrase sealed, nor the other way about."""
    with pytest.raises(KeystoreError, match="another kind"):
        MasterEnvelope.for_head(MASTER, MasterEnvelope(PASSPHRASE).head)
    with pytest.raises(KeystoreError, match="another kind"):
        MasterEnvelope.for_head(PASSPHRASE, SEALER.head)


def test_damaged_salt() -> None:
    """It is told from a wrong passphrase."""
    with pytest.raises(KeystoreError, match="salt is damaged"):
        MasterEnvelope.for_head(PASSPHRASE, {"kind": "passphrase", "salt": "zz"})
