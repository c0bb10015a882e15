"""Sealing of personal data, and its indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import KeyRefused, VaultError
from keys.keytypes import KeySpec, KeyState, KeyUsage
from keys.master import create_master_key_file, read_master_key_file
from keys.software import SoftwareHsm
from keys.vault import Purpose, Vault, key_id

if TYPE_CHECKING:
    from pathlib import Path


def bank_hsm() -> SoftwareHsm:
    """An HSM with a sealing key, an index key, and two keys of other usages."""
    hsm = SoftwareHsm.in_memory()
    hsm.generate(KeyUsage.DATA_SEALING, "seal")
    hsm.generate(KeyUsage.BLIND_INDEX, "index")
    hsm.generate(KeyUsage.MAC_HMAC, "hmac")
    hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "pvk")
    return hsm


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
    with pytest.raises(KeyRefused):
        Vault(HSM, [HSM.find("seal"), HSM.find(sealing)], HSM.find(index))


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


def test_a_vault_without_a_sealing_key_is_refused() -> None:
    """There is none to seal with."""
    with pytest.raises(KeyRefused):
        Vault(HSM, [], HSM.find("index"))


def test_newest_seals_and_every_version_opens() -> None:
    """Each value names its key; what an older one sealed opens beside what the newest does, and nowhere without its key."""
    hsm, sealed = bank_hsm(), []
    for _ in range(3):
        sealed.append(_seal(_vault(hsm)))
        hsm.generate(KeyUsage.DATA_SEALING, "seal")
    vault = _vault(hsm)
    sealed.append(_seal(vault))
    versions = hsm.versions("seal")[::-1]
    assert [b"\x01" + key_id(key) for key in versions] == [value[:9] for value in sealed]
    assert 4 == len({value[:9] for value in sealed})
    assert (versions[-1], sealed[-1][:9]) == (vault.sealing_key, vault.current)
    assert [NIK] * 4 == [_open(vault, value) for value in sealed]
    alone = Vault(hsm, [versions[-1]], hsm.find("index"))
    for value in sealed[:-1]:
        with pytest.raises(VaultError, match="another key"):
            _open(alone, value)


def test_a_value_is_bound_to_its_key_id() -> None:
    """Bytes that name another version of the key do not open, though that version is there."""
    hsm = bank_hsm()
    old = _seal(_vault(hsm))
    hsm.generate(KeyUsage.DATA_SEALING, "seal")
    vault = _vault(hsm)
    with pytest.raises(VaultError, match="does not open"):
        _open(vault, vault.current + old[9:])


@given(st.binary(max_size=60))
def test_reseal_keeps_the_data(data: bytes) -> None:
    """Any bytes, under the newest key and for the same place; what is under it already is left as it is."""
    old = OLDER.seal_bytes(data, table="family", row=1, column="nik")
    new = ROTATED.reseal(old, table="family", row=1, column="nik")
    assert new is not None
    assert ROTATED.current == new[:9]
    assert data == NEW_ALONE.open_bytes(new, table="family", row=1, column="nik")
    assert ROTATED.reseal(new, table="family", row=1, column="nik") is None


def test_reseal_does_not_mend() -> None:
    """A changed, moved or foreign value raises as when it is opened, so that nothing wrong gets a good seal."""
    old = _seal(OLDER)
    changed = old[:-1] + bytes([old[-1] ^ 1])
    for value, row in ((changed, 1), (old, 2), (_seal(_vault(bank_hsm())), 1), (b"", 1), (old[:9], 1)):
        with pytest.raises(VaultError):
            ROTATED.reseal(value, table="family", row=row, column="nik")


def test_an_index_outlives_the_sealing_key() -> None:
    """It is made with another key: after a rotation the same text is still found."""
    assert OLDER.index(NIK, "nik") == ROTATED.index(NIK, "nik")


def test_a_destroyed_version_is_passed_over() -> None:
    """A vault of labels does without it; what it sealed does not open any more, the rest does."""
    hsm = bank_hsm()
    lost, old = _seal(_vault(hsm)), hsm.find("seal")
    hsm.generate(KeyUsage.DATA_SEALING, "seal")
    kept = _seal(_vault(hsm))
    hsm.set_state(old, KeyState.DEACTIVATED)
    assert [NIK, NIK] == [_open(_vault(hsm), value) for value in (lost, kept)]
    hsm.set_state(old, KeyState.DESTROYED)
    vault = _vault(hsm)
    assert NIK == _open(vault, kept)
    with pytest.raises(VaultError, match="another key"):
        _open(vault, lost)


def test_a_compromised_version_opens_and_does_not_seal() -> None:
    """What it sealed must be sealed anew, so it opens; new values go under the newest version that is not compromised."""
    hsm = bank_hsm()
    hsm.generate(KeyUsage.DATA_SEALING, "seal")
    value = _seal(_vault(hsm))
    old, newest = hsm.version("seal", 1), hsm.version("seal", 2)
    hsm.set_state(newest, KeyState.COMPROMISED)
    vault = _vault(hsm)
    assert (old, NIK) == (vault.sealing_key, _open(vault, value))
    anew = vault.reseal(value, table="family", row=1, column="nik")
    assert anew is not None
    assert b"\x01" + key_id(old) == anew[:9]
    with pytest.raises(KeyRefused, match="COMPROMISED"):
        _seal(Vault(hsm, [newest], hsm.find("index")))


@pytest.mark.parametrize("state", [KeyState.SUSPENDED, KeyState.DEACTIVATED])
def test_a_newest_version_out_of_use_does_not_seal(state: KeyState) -> None:
    """The one before it does. What a suspended one sealed waits for its return; a deactivated one still opens."""
    hsm = bank_hsm()
    hsm.generate(KeyUsage.DATA_SEALING, "seal")
    value = _seal(_vault(hsm))
    hsm.set_state(hsm.version("seal", 2), state)
    vault = _vault(hsm)
    assert hsm.version("seal", 1) is vault.sealing_key
    assert NIK == _open(vault, _seal(vault))
    if state is KeyState.DEACTIVATED:
        assert NIK == _open(vault, value)
    else:
        with pytest.raises(KeyRefused, match="SUSPENDED"):
            _open(vault, value)
        hsm.set_state(hsm.version("seal", 2), KeyState.ACTIVE)
        assert NIK == _open(vault, value)


def test_a_version_made_ahead_does_not_seal_yet() -> None:
    """PRE_ACTIVE is not used; after `refresh` finds it ACTIVE it is."""
    hsm = bank_hsm()
    ahead = hsm.generate(KeySpec(KeyUsage.DATA_SEALING, state=KeyState.PRE_ACTIVE), "seal")
    vault = _vault(hsm)
    assert hsm.version("seal", 1) is vault.sealing_key
    hsm.set_state(ahead, KeyState.ACTIVE)
    vault.refresh()
    assert ahead is vault.sealing_key


def test_with_no_version_in_use_old_values_open() -> None:
    """Nothing new is sealed, and what is there is still read."""
    hsm = bank_hsm()
    value = _seal(_vault(hsm))
    hsm.set_state(hsm.find("seal"), KeyState.DEACTIVATED)
    vault = _vault(hsm)
    assert NIK == _open(vault, value)
    with pytest.raises(KeyRefused, match="DEACTIVATED"):
        _seal(vault)


def test_a_version_of_another_process_is_taken_up(tmp_path: Path) -> None:
    """Where a value of it is found, or by `refresh`; a vault that was given its keys knows those and no other."""
    create_master_key_file(tmp_path / "master.key")
    master = read_master_key_file(tmp_path / "master.key")
    here = SoftwareHsm.create(tmp_path / "keystore.json", master)
    here.generate(KeyUsage.DATA_SEALING, "seal")
    here.generate(KeyUsage.BLIND_INDEX, "index")
    vault, other, given = _vault(here), _vault(here), Vault(here, [here.find("seal")], here.find("index"))
    there = SoftwareHsm.open(tmp_path / "keystore.json", master)
    there.generate(KeyUsage.DATA_SEALING, "seal")
    value = _seal(_vault(there))
    given.refresh()
    with pytest.raises(VaultError, match="another key"):
        _open(given, value)
    assert (1, NIK, 2) == (vault.sealing_key.version, _open(vault, value), vault.sealing_key.version)
    other.refresh()
    assert value[:9] == other.current
    with pytest.raises(VaultError, match="another key"):
        _open(vault, b"\x01" + bytes(8) + value[9:])


def _vault(hsm: SoftwareHsm) -> Vault:
    return Vault.of_labels(hsm, "seal", "index")


def _seal(vault: Vault) -> bytes:
    return vault.seal(NIK, table="family", row=1, column="nik")


def _open(vault: Vault, sealed: bytes) -> str:
    return vault.open(sealed, table="family", row=1, column="nik")


def _rotated() -> tuple[Vault, Vault, Vault]:
    """Vaults of one HSM: with the older key, with both, with the newest alone."""
    hsm = bank_hsm()
    older = Vault(hsm, [hsm.find("seal")], hsm.find("index"))
    newest = hsm.generate(KeyUsage.DATA_SEALING, "seal")
    return older, _vault(hsm), Vault(hsm, [newest], hsm.find("index"))


OLDER, ROTATED, NEW_ALONE = _rotated()
