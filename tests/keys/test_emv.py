"""EMV derivation, cryptograms, answers."""

import hashlib
from typing import TYPE_CHECKING, Any

import pyemv
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keys import emv, mac, tdes
from keys.emv import SoftwareDeriver
from keys.errors import CardDataRefused, KeyRefused
from keys.sensitive import Pan
from tests.keys.samples import PAN, SECOND_KEY, any_pans, vectors

if TYPE_CHECKING:
    from collections.abc import Callable

pyemv_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
double_keys = st.binary(min_size=16, max_size=16)
blocks = st.binary(min_size=8, max_size=8)
sequences = st.integers(0, 99).map("{:02d}".format)


def master_of(given_: dict[str, Any]) -> bytes:
    """The card's master key of a vector, option A."""
    issuer = emv.issuer(bytes.fromhex(given_.get("imk") or given_["imk_ac"]))
    return emv.derived_key(issuer.whole, emv.option_a_data(Pan(given_["pan"]), given_["psn"]))


def session_of(given_: dict[str, Any]) -> bytes:
    """The session key of a vector: by its R, or by what it calls its method."""
    if "r" in given_:
        r = bytes.fromhex(given_["r"])
    elif "M/Chip" in given_.get("session_key", ""):
        r = emv.mchip_r(bytes.fromhex(given_["atc"]), bytes.fromhex(given_["un"]))
    else:
        r = emv.common_r(bytes.fromhex(given_["atc"]))
    return emv.derived_key(tdes.encipherer(master_of(given_)), emv.session_data(r))


@pytest.mark.parametrize("vector", vectors("emv.optA"), ids=lambda vector: vector["name"])
def test_option_a_vectors(vector: dict[str, Any]) -> None:
    """Check values of card and session key, cryptogram and answer, out of an HSM. It takes the last 16 digits of a longer PAN."""
    given_, expected = vector["inputs"], vector["expected"]
    master, session = master_of(given_), session_of(given_)
    assert expected["icc_mk_kcv2"] == tdes.encipherer(master)(bytes(8)).hex().upper()[:4]
    assert expected["sk_kcv2"] == tdes.encipherer(session)(bytes(8)).hex().upper()[:4]
    arqc = emv.code(SoftwareDeriver(session), bytes.fromhex(given_["data"]))
    assert expected["arqc"] == arqc.hex().upper()
    arpc = expected.get("arpc") or expected["arpc_with_icc_mk_arc0000"]
    assert arpc == emv.arpc_1(SoftwareDeriver(master), arqc, bytes(2)).hex().upper()


@pytest.mark.parametrize("vector", vectors("emv.jpos.arqc"), ids=lambda vector: vector["name"])
def test_session_key_and_padding_vectors(vector: dict[str, Any]) -> None:
    """M/Chip and EMV common session keys, with padding 00 and 80."""
    given_ = vector["inputs"]
    padding = {"00": emv.PADDING_00, "80": emv.PADDING_80}[given_["padding"]]
    session = SoftwareDeriver(session_of(given_))
    assert vector["expected"]["arqc"] == emv.code(session, bytes.fromhex(given_["data"]), padding).hex().upper()


@pytest.mark.parametrize("vector", vectors("emv.jpos.arpc1"), ids=lambda vector: vector["name"])
def test_arpc_1_vector(vector: dict[str, Any]) -> None:
    """Method 1 under the session key."""
    given_ = vector["inputs"]
    session = SoftwareDeriver(session_of(given_))
    arpc = emv.arpc_1(session, bytes.fromhex(given_["arqc"]), bytes.fromhex(given_["arc"]))
    assert vector["expected"]["arpc"] == arpc.hex().upper()


@pytest.mark.parametrize("vector", vectors("emv.jpos.arpc2"), ids=lambda vector: vector["name"])
def test_arpc_2_vector(vector: dict[str, Any]) -> None:
    """Method 2 under the session key."""
    given_ = vector["inputs"]
    session = SoftwareDeriver(session_of(given_))
    arpc = emv.arpc_2(session, bytes.fromhex(given_["arqc"]), bytes.fromhex(given_["csu"]))
    assert vector["expected"]["arpc4"] == arpc.hex().upper()


@pytest.mark.parametrize("vector", vectors("emv.common_sk"), ids=lambda vector: vector["name"])
def test_common_session_key_vector(vector: dict[str, Any]) -> None:
    """With the parity that tokens give it too."""
    master = tdes.encipherer(bytes.fromhex(vector["inputs"]["icc_mk"]))
    session = emv.derived_key(master, emv.session_data(bytes.fromhex(vector["inputs"]["r"])))
    assert vector["expected"]["sk"] == session.hex().upper()


@pyemv_warns
@given(double_keys, any_pans, sequences)
def test_option_a_same_as_pyemv(key: bytes, pan: Pan, psn: str) -> None:
    """PANs of 8 to 19 digits."""
    expected = pyemv.kd.derive_icc_mk_a(key, pan.reveal(), psn)
    assert expected == emv.derived_key(emv.issuer(key).whole, emv.option_a_data(pan, psn))


@pyemv_warns
@given(double_keys, any_pans, sequences)
def test_option_b_same_as_pyemv(key: bytes, pan: Pan, psn: str) -> None:
    """PANs of 8 to 19 digits: up to 16 as option A, longer ones by digest, of odd and even length."""
    expected = pyemv.kd.derive_icc_mk_b(key, pan.reveal(), psn)
    assert expected == emv.derived_key(emv.issuer(key).whole, emv.option_b_data(pan, psn))


@pyemv_warns
@given(double_keys, blocks)
@example(SECOND_KEY, bytes(8))
def test_session_key_same_as_pyemv(master: bytes, r: bytes) -> None:
    """Any R."""
    assert pyemv.kd.derive_common_sk(master, r) == emv.derived_key(tdes.encipherer(master), emv.session_data(r))


@pyemv_warns
@given(double_keys, st.binary(min_size=1, max_size=80), st.sampled_from([emv.PADDING_00, emv.PADDING_80]))
def test_cryptogram_same_as_pyemv_and_as_retail_mac(key: bytes, data: bytes, padding: int) -> None:
    """By a deriver the same as in one piece, one block or many, again and again."""
    session = SoftwareDeriver(key)
    expected = pyemv.ac.generate_ac(key, data, pyemv.ac.PaddingType(padding))
    assert expected == mac.retail(key, padding)(data)
    assert [expected, expected] == [emv.code(session, data, padding), emv.code(session, data, padding)]


@pyemv_warns
@given(double_keys, st.binary(min_size=5, max_size=255))
def test_script_mac_same_as_pyemv(key: bytes, command: bytes) -> None:
    """Padding 80 unless something else is asked for."""
    assert pyemv.sm.generate_command_mac(key, command) == emv.code(SoftwareDeriver(key), command)


@pyemv_warns
@given(double_keys, blocks, st.binary(min_size=2, max_size=2))
def test_arpc_1_same_as_pyemv(key: bytes, arqc: bytes, arc: bytes) -> None:
    """Any cryptogram and response code."""
    assert pyemv.ac.generate_arpc_1(key, arqc, arc) == emv.arpc_1(SoftwareDeriver(key), arqc, arc)


@pyemv_warns
@given(double_keys, blocks, st.binary(min_size=4, max_size=4), st.binary(max_size=8))
def test_arpc_2_same_as_pyemv(key: bytes, arqc: bytes, csu: bytes, proprietary: bytes) -> None:
    """With and without proprietary data."""
    expected = pyemv.ac.generate_arpc_2(key, arqc, csu, proprietary)
    assert expected == emv.arpc_2(SoftwareDeriver(key), arqc, csu, proprietary)


@given(double_keys, st.binary(min_size=2, max_size=2))
def test_visa_script_key_same_as_pyemv(master: bytes, atc: bytes) -> None:
    """Master key and data xored; pyemv sets parity after."""
    mixed = bytes(one ^ other for one, other in zip(master, emv.visa_script_data(atc), strict=True))
    assert pyemv.kd.derive_visa_sm_sk(master, atc) == tdes.odd_parity(mixed)


@pyemv_warns
@pytest.mark.parametrize("digits", ["601301000000001827", "60130100000001307"])
def test_digests_with_few_digits(digits: str) -> None:
    """Where a digest has fewer than 16 decimal digits, its letters follow as 0 to 5."""
    packed = bytes.fromhex("0" * (len(digits) % 2) + digits + "00")
    assert 16 > sum(map(str.isdigit, hashlib.sha1(packed, usedforsecurity=False).hexdigest()))
    expected = pyemv.kd.derive_icc_mk_b(SECOND_KEY, digits, "00")
    assert expected == emv.derived_key(emv.issuer(SECOND_KEY).whole, emv.option_b_data(Pan(digits)))


def test_a_token_needs_no_more_than_the_data() -> None:
    """A double key derived as a triple one: a token enciphers A || B || A and gets K1 K2 K1."""
    token = tdes.encipherer(SECOND_KEY)
    data = emv.option_a_data(PAN)
    derived = token(data + data[:8])
    assert derived == token(data) + token(data)[:8]
    assert bytes(byte ^ 0xFF for byte in data[:8]) == data[8:]


def test_one_block_is_no_chain() -> None:
    """A token is not troubled for nothing, nor with an empty text."""

    class Whole(SoftwareDeriver):
        """A key that is never asked for a chain."""

        def chain(self, blocks: bytes) -> bytes:
            """Never."""
            raise AssertionError(len(blocks))

    key = Whole(SECOND_KEY)
    assert mac.retail(SECOND_KEY, emv.PADDING_80)(b"1234567") == emv.code(key, b"1234567")
    assert key.whole(bytes(8)) == emv.code(key, b"", emv.PADDING_00)
    with pytest.raises(AssertionError):
        emv.code(key, b"12345678")


@given(double_keys, double_keys, double_keys.map(lambda key: key * 3))
def test_a_deriver_is_its_key_at_work(key: bytes, data: bytes, blocks: bytes) -> None:
    """Each of its ciphers, of the key itself, of one derived from it and of one masked, again and again."""
    deriver = SoftwareDeriver(key)
    mixed = bytes(one ^ other for one, other in zip(key, data, strict=True))
    for made, known in (
        (deriver, key),
        (deriver.derive(data), tdes.encipherer(key)(data)),
        (deriver.masked(data), mixed),
    ):
        for _ in range(2):
            assert tdes.encipherer(known)(blocks) == made.whole(blocks)
            assert tdes.encipherer(known[:8])(blocks) == made.half(blocks)
            assert tdes.cbc(known[:8]).encryptor().update(blocks) == made.chain(blocks)
            assert tdes.cbc(known).encryptor().update(blocks) == made.whole_chain(blocks)


def test_a_deriver_is_a_context_too() -> None:
    """As that of a token is, which has something to clean up."""
    with emv.issuer(SECOND_KEY) as issuer:
        assert tdes.encipherer(SECOND_KEY)(bytes(8)) == issuer.whole(bytes(8))


def test_derived_keys_have_odd_parity() -> None:
    """What leaves this module as bytes has it; what stays a deriver needs none and works the same."""
    data = emv.option_a_data(PAN)
    card = emv.derived_key(tdes.encipherer(SECOND_KEY), data)
    assert {1} == {byte.bit_count() % 2 for byte in card}
    assert emv.issuer(SECOND_KEY).derive(data).whole(bytes(8)) == SoftwareDeriver(card).whole(bytes(8))


def test_issuer_keys() -> None:
    """16 bytes, or 24 with the first 8 again, whatever its parity bits; nothing else."""
    expected = emv.issuer(SECOND_KEY).whole(bytes(8))
    again = bytes(byte ^ 1 for byte in SECOND_KEY[:8])
    for key in (SECOND_KEY + SECOND_KEY[:8], SECOND_KEY + again):
        assert expected == emv.issuer(key).whole(bytes(8))
    other = bytes(byte ^ 2 for byte in SECOND_KEY[:8])
    for key in (b"", SECOND_KEY[:8], SECOND_KEY + other, SECOND_KEY + SECOND_KEY[8:], SECOND_KEY * 2, SECOND_KEY[:15]):
        with pytest.raises(KeyRefused):
            emv.issuer(key)


@pytest.mark.parametrize("psn", ["", "0", "000", "0A", " 1", "1 ", "-1", "+1", "０１", "0\n"])
def test_bad_sequence_numbers(psn: str) -> None:
    """Two ASCII digits, for both options and all lengths of PAN."""
    for pan in (PAN, Pan("6013010000000000019")):
        for data in (emv.option_a_data, emv.option_b_data):
            with pytest.raises(CardDataRefused, match=r"^PAN sequence number: must be two digits$"):
                data(pan, psn)


def test_wrong_lengths_are_refused_by_name() -> None:
    """Each input that has a length, one byte short and one too long."""
    key = SoftwareDeriver(SECOND_KEY)
    calls: list[tuple[Callable[[int], bytes], str]] = [
        (lambda n: emv.session_data(bytes(8 + n)), "session key diversifier"),
        (lambda n: emv.common_r(bytes(2 + n)), "tag 9F36"),
        (lambda n: emv.mchip_r(bytes(2 + n), bytes(4)), "tag 9F36"),
        (lambda n: emv.mchip_r(bytes(2), bytes(4 + n)), "tag 9F37"),
        (lambda n: emv.visa_script_data(bytes(2 + n)), "tag 9F36"),
        (lambda n: emv.arpc_1(key, bytes(8 + n), bytes(2)), "tag 9F26"),
        (lambda n: emv.arpc_1(key, bytes(8), bytes(2 + n)), "authorisation response code"),
        (lambda n: emv.arpc_2(key, bytes(8 + n), bytes(4)), "tag 9F26"),
        (lambda n: emv.arpc_2(key, bytes(8), bytes(4 + n)), "card status update"),
        (lambda n: emv.arpc_2(key, bytes(8), bytes(4), bytes(10 + n)), "proprietary authentication data"),
    ]
    for call, name in calls:
        for change in (-1, 1):
            with pytest.raises(CardDataRefused, match=f"^{name}: must be "):
                call(change)


@pytest.mark.parametrize("length", [0, 8, 15, 24])
def test_keys_of_the_tree_have_16_bytes(length: int) -> None:
    """Single DES would pass for a triple DES key that is all one part."""
    with pytest.raises(KeyRefused):
        SoftwareDeriver(bytes(length))
    deriver = SoftwareDeriver(SECOND_KEY)
    for call in (deriver.derive, deriver.masked):
        with pytest.raises(KeyRefused):
            call(bytes(range(length)))
        assert tdes.encipherer(SECOND_KEY)(bytes(8)) == deriver.whole(bytes(8))
