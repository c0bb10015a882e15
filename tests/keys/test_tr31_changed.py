"""Key blocks that somebody changed, cut, lengthened or made up: no key ever comes out, and no error but the package's own."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import tr31
from keys.errors import KeyBlockError
from tests.keys.samples import one_line
from tests.keys.test_tr31 import AES_KBPK, KEY, PIN_KEY, TDES_HEADER, TDES_KBPK, VECTORS, open_one


def sealed_blocks() -> list[Any]:
    """A block of each version, with its KBPK: published, and of our own."""
    found = {vector["name"].split(".")[1]: vector["inputs"] for vector in VECTORS}
    published = [(bytes.fromhex(inputs["kbpk"]), inputs["key_block"]) for inputs in found.values()]
    own = [(AES_KBPK, tr31.wrap(AES_KBPK, PIN_KEY, KEY)), (TDES_KBPK, tr31.wrap(TDES_KBPK, TDES_HEADER, KEY))]
    return [pytest.param(kbpk, block, id=f"{block[0]}{number}") for number, (kbpk, block) in enumerate(published + own)]


every_block = pytest.mark.parametrize(("kbpk", "block"), sealed_blocks())


def refused(kbpk: bytes, block: str) -> bool:
    """Whether every opener of this KBPK refuses the block, by the package's own error, and shows no key in it."""
    for versions in ("DE", "ABC"):
        try:
            opener = tr31.Opener(kbpk, versions, allow_weak_kbpk=True)
        except KeyBlockError:
            continue
        try:
            opener.unwrap(block)
        except KeyBlockError as error:
            if not one_line(error):
                return False
        else:
            return False
    return True


@every_block
def test_each_character_changed_is_found(kbpk: bytes, block: str) -> None:
    """Every character of header, ciphertext and MAC, to every kind of other one."""
    assert not refused(kbpk, block)
    for at, was in enumerate(block):
        for put in {"0", "1", "9", "A", "B", "F", "N", "Z", "a", "f", " ", "é", "\n", "\0", "٣", chr(ord(was) ^ 1)} - {
            was
        }:
            assert refused(kbpk, block[:at] + put + block[at + 1 :]), (at, put)


@every_block
def test_each_bit_of_the_sealed_part_is_bound(kbpk: bytes, block: str) -> None:
    """Every bit of ciphertext and MAC, with the refusal that says so."""
    header, _ = open_one(kbpk, block)
    end = len(header.build(0))
    sealed = bytes.fromhex(block[end:])
    opener = tr31.Opener(kbpk, block[0])
    for bit in range(8 * len(sealed)):
        changed = (int.from_bytes(sealed) ^ 1 << bit).to_bytes(len(sealed)).hex().upper()
        with pytest.raises(KeyBlockError, match="not authentic"):
            opener.unwrap(block[:end] + changed)


@every_block
@pytest.mark.parametrize(
    ("at", "text"),
    [(5, "D0"), (5, "K1"), (7, "A"), (7, "H"), (7, "T"), (8, "B"), (8, "N"), (9, "01"), (11, "E"), (11, "S")],
)
def test_each_field_of_the_header_is_bound(kbpk: bytes, block: str, at: int, text: str) -> None:
    """A header that says something else, well formed, is not authentic: P0 does not become D0."""
    changed = block[:at] + text + block[at + len(text) :]
    if changed == block:
        assert not refused(kbpk, changed)
    else:
        with pytest.raises(KeyBlockError, match="not authentic"):
            tr31.Opener(kbpk, block[0]).unwrap(changed)


@every_block
def test_cut_and_longer_blocks_are_refused(kbpk: bytes, block: str) -> None:
    """At every length, as it stands and with a length field that fits."""
    for length in range(len(block)):
        cut = block[:length]
        assert refused(kbpk, cut)
        assert refused(kbpk, cut[:1] + f"{length:04d}" + cut[5:])
    for more in range(1, 65):
        longer = block + "0" * more
        assert refused(kbpk, longer)
        assert refused(kbpk, longer[:1] + f"{len(longer):04d}" + longer[5:])


@every_block
def test_a_block_of_one_version_is_not_taken_as_another(kbpk: bytes, block: str) -> None:
    """Neither by its first character, nor by an opener for other versions, nor under another KBPK."""
    for version in set("ABCDE") - {block[0]}:
        assert refused(kbpk, version + block[1:])
    others = set("DE" if block[0] in "DE" else "ABC") - {block[0]}
    with pytest.raises(KeyBlockError, match=f"version {block[0]} are not opened here"):
        tr31.Opener(kbpk, "".join(sorted(others))).unwrap(block)
    with pytest.raises(KeyBlockError, match="not authentic"):
        tr31.Opener(bytes(byte ^ 0x55 for byte in kbpk), block[0]).unwrap(block)


def test_an_opener_survives_what_it_refuses() -> None:
    """Contexts stay open: neither a broken length nor a wrong MAC puts them out of step."""
    for kbpk, header in ((AES_KBPK, PIN_KEY), (TDES_KBPK, TDES_HEADER)):
        opener = tr31.Opener(kbpk, header.version)
        block = tr31.wrap(kbpk, header, KEY)
        end = len(header.build(0))
        short = block[:end] + block[end + 16 :] if header.version == "D" else block[:end] + block[end + 8 :]
        for broken in (
            short[:1] + f"{len(short):04d}" + short[5:],
            block[:-1] + ("0" if block[-1] != "0" else "1"),
            "",
        ):
            with pytest.raises(KeyBlockError):
                opener.unwrap(broken)
            assert (header, KEY) == opener.unwrap(block)


@given(st.text(max_size=200) | st.text("0123456789ABCDEFNPTX", max_size=200), st.sampled_from("ABCDE"))
def test_random_text_is_no_key_block(text: str, version: str) -> None:
    """As it comes, and behind a header that is well formed."""
    kbpk = AES_KBPK if version in "DE" else TDES_KBPK
    assert refused(kbpk, text)
    assert refused(kbpk, f"{version}{len(text) + 16:04d}P0TE00N0000{text}")


@settings(max_examples=300)
@given(st.sampled_from("ABCDE"), st.binary(max_size=200))
def test_random_bytes_behind_a_header_are_no_key(version: str, sealed: bytes) -> None:
    """Of whatever length."""
    kbpk = AES_KBPK if version in "DE" else TDES_KBPK
    assert refused(kbpk, f"{version}{2 * len(sealed) + 16:04d}P0TE00N0000{sealed.hex().upper()}")
