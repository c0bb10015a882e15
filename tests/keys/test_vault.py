"""Sealing of personal data, and its indexes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import KeyRefused, VaultError
from keys.keytypes import KeyUsage
from keys.vault import Purpose, Vault, key_id
from tests.keys.samples import bank_hsm

HSM = bank_hsm()
VAULT = Vault(HSM, [HSM.find("seal")], HSM.find("index"))
NIK = "1271014507900003"

texts = st.text(st.characters(codec="utf-8"), max_size=60)
names = st.text("abc:123", max_size=6)
places = st.tuples(names, st.integers(0, 300) | names, names)


@given(texts, places)
def test_opens_where_it_was_sealed(text: str, place: tuple[str, int | str, str]) -> None:
    """Any text, any place; 37 bytes more than its UTF-8."""
    table, row, column = place
    sealed = VAULT.seal(text, table=table, row=row, column=column)
    assert text == VAULT.open(sealed, table=table, row=row, column=column)
    assert len(text.encode("utf-8")) + 37 == len(sealed)


@given(places, places)
def test_does_not_open_anywhere_else(one: tuple[str, int | str, str], other: tuple[str, int | str, str]) -> None:
    """Places that look alike when written one after the other are still different."""
    sealed = VAULT.seal(NIK, table=one[0], row=one[1], column=one[2])
    if (one[0], str(one[1]), one[2]) == (other[0], str(other[1]), other[2]):
        assert NIK == VAULT.open(sealed, table=other[0], row=other[1], column=other[2])
    else:
        with pytest.raises(VaultError):
            VAULT.open(sealed, table=other[0], row=other[1], column=other[2])


@pytest.mark.parametrize(
    ("table", "row", "column"),
    [
        ("card", 1, "nik"),
        ("family", 2, "nik"),
        ("family", 1, "no_kk"),
        ("famil", 1, "ynik"),
        ("family", "1n", "ik"),
        ("", 1, ""),
    ],
)
def test_moved_value_does_not_open(table: str, row: int | str, column: str) -> None:
    """Another table, row or column, or the same letters cut elsewhere."""
    sealed = VAULT.seal(NIK, table="family", row=1, column="nik")
    with pytest.raises(VaultError):
        VAULT.open(sealed, table=table, row=row, column=column)


def test_any_flipped_bit_is_found() -> None:
    """Version, key id, nonce, ciphertext and tag."""
    sealed = VAULT.seal(NIK, table="family", row=1, column="nik")
    for bit in range(8 * len(sealed)):
        flipped = (int.from_bytes(sealed, "big") ^ 1 << bit).to_bytes(len(sealed), "big")
        with pytest.raises(VaultError):
            VAULT.open(flipped, table="family", row=1, column="nik")


@pytest.mark.parametrize("length", range(40))
def test_cut_value_does_not_open(length: int) -> None:
    """However much is left."""
    sealed = VAULT.seal(NIK, table="family", row=1, column="nik")
    with pytest.raises(VaultError):
        VAULT.open(sealed[:length], table="family", row=1, column="nik")


def test_same_text_is_never_sealed_the_same() -> None:
    """Equal families cannot be found by comparing ciphertext, and none of the text shows."""
    sealed = {VAULT.seal(NIK, table="family", row=1, column="nik") for _ in range(50)}
    assert 50 == len(sealed)
    assert not any(NIK.encode("ascii") in one for one in sealed)


def test_key_is_named_beside_the_value() -> None:
    """Version 1 and the id of the key, so that values of an older key can be found; another vault says it is not its own."""
    sealed = VAULT.seal(NIK, table="family", row=1, column="nik")
    assert b"\x01" + key_id(HSM.find("seal")) == sealed[:9]
    stranger = bank_hsm()
    with pytest.raises(VaultError, match="another key"):
        Vault(stranger, [stranger.find("seal")], stranger.find("index")).open(
            sealed, table="family", row=1, column="nik"
        )


@given(texts, texts)
def test_index_finds_equal_texts_only(one: str, other: str) -> None:
    """16 bytes, the same for the same text and no other."""
    assert (one == other) is (VAULT.index(one, "nik") == VAULT.index(other, "nik"))
    assert 16 == len(VAULT.index(one, "nik"))


def test_index_is_apart_for_each_purpose() -> None:
    """The same digits as PAN and as NIK cannot be matched."""
    assert len(Purpose) == len({VAULT.index(NIK, purpose) for purpose in Purpose})
    assert VAULT.index(NIK, "nik") == VAULT.index(NIK, Purpose.NIK)


def test_index_hangs_on_its_key() -> None:
    """Nobody without the key can try all NIKs."""
    stranger = bank_hsm()
    assert VAULT.index(NIK, "nik") != Vault(stranger, [stranger.find("seal")], stranger.find("index")).index(NIK, "nik")


def test_unknown_purpose_is_refused() -> None:
    """A mistyped purpose would find nothing, silently."""
    with pytest.raises(VaultError, match="purpose"):
        VAULT.index(NIK, "nick")


@pytest.mark.parametrize(
    ("sealing", "index"), [("index", "index"), ("seal", "seal"), ("seal", "hmac"), ("pvk", "index")]
)
def test_keys_of_other_usages_are_refused(sealing: str, index: str) -> None:
    """Found when the vault is made, not at the first customer."""
    with pytest.raises(KeyRefused):
        Vault(HSM, [HSM.find(sealing)], HSM.find(index))


def test_vault_key_of_the_sample_is_for_sealing() -> None:
    """The usages the vault asks for are those the bank's keys have."""
    assert (KeyUsage.DATA_SEALING, KeyUsage.BLIND_INDEX) == (HSM.find("seal").usage, HSM.find("index").usage)


@given(st.binary(max_size=60), texts, st.integers(0, 300))
def test_bytes_and_many_rows_are_sealed_alike(data: bytes, text: str, row: int) -> None:
    """Bytes come back as bytes; what a column's sealer sealed opens as if sealed one by one; an indexer is the index."""
    sealed = VAULT.seal_bytes(data, table="t", row=row, column="c")
    assert data == VAULT.open_bytes(sealed, table="t", row=row, column="c")
    assert text == VAULT.open(VAULT.sealer("t", "c")(text, row), table="t", row=row, column="c")
    with pytest.raises(VaultError):
        VAULT.open_bytes(sealed, table="t", row=row + 1, column="c")
    assert VAULT.index(text, "nik") == VAULT.indexer("nik")(text)
    with pytest.raises(VaultError):
        VAULT.indexer("other")
