"""The tools of a token: where keys are made, what goes with them, and that nothing derived is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PyKCS11 import LowLevel

from keys import dukpt_tdes, emv, rsa_keys, tdes
from keys.emv import SoftwareDeriver
from keys.envelope import DoesNotOpen
from keys.errors import KeyRefused, TokenError, VaultError
from keys.keytypes import Algorithm, Exportability, KeySpec, KeyUsage
from keys.sensitive import Material
from keys.software import SoftwareWorkshop
from keys.token import Token
from keys.token_workshop import TokenWorkshop
from tests.keys import softhsm
from tests.keys.at_work import KINDS, Kind, check_value, key_of, spec_of
from tests.keys.samples import PAN, SECOND_KEY, vectors
from tests.keys.softhsm import objects_in
from tests.keys.test_key_blocks import info_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keys.token_workshop import TokenKey

pytestmark = softhsm.needs_token

HALVED = {KeyUsage.CARD_VERIFICATION, KeyUsage.MAC_RETAIL}
blocks = st.binary(min_size=16, max_size=16)


@pytest.fixture(scope="module")
def token() -> Iterator[Token]:
    """The token, for this module."""
    opened = softhsm.open_token(sessions=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def workshop(token: Token) -> TokenWorkshop:
    """Its tools."""
    return TokenWorkshop(token)


def taken(workshop: TokenWorkshop, usage: KeyUsage, key: bytes, algorithm: Algorithm | None = None) -> TokenKey:
    """A known key."""
    return workshop.take(KeySpec(usage, algorithm), Material(key))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_keys_are_made_inside_where_they_can(workshop: TokenWorkshop, token: Token, kind: Kind) -> None:
    """All but those whose bytes are wanted for a second object, a copy, or zeros behind."""
    made = workshop.make(spec_of(kind, made=True), kind.bits // 8)
    (local,) = token.attributes(made.inside, [LowLevel.CKA_LOCAL])
    bdk = kind.usage is KeyUsage.BASE_DERIVATION and kind.algorithm is Algorithm.TDES
    short = kind.algorithm is Algorithm.HMAC and kind.bits < 512
    assert (kind.usage not in HALVED and not bdk and not short) is bool(local)
    assert (kind.usage in HALVED or bdk) is (made.companion is not None)
    assert (kind.algorithm, kind.bits, None) == (made.algorithm, made.bits, made.copy)
    assert (kind.algorithm is Algorithm.RSA) is (made.public is not None)
    assert kind.bits == workshop.bits(kind.algorithm, made)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_check_values_are_computed_in_the_token(workshop: TokenWorkshop, kind: Kind) -> None:
    """They are those of the bytes."""
    raw = workshop.take(spec_of(kind), Material(key_of(kind)))
    assert check_value(kind, key_of(kind)) == workshop.check_value(kind.algorithm, raw)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.algorithm is not Algorithm.RSA], ids=str)
def test_only_exportable_keys_come_out(workshop: TokenWorkshop, token: Token, kind: Kind) -> None:
    """Of their sealed copy, which the token opens; of any other there is none."""
    key = key_of(kind)
    for exportability in (Exportability.EXPORTABLE, Exportability.SENSITIVE):
        spec = KeySpec(kind.usage, kind.algorithm, exportability=exportability)
        raw = workshop.take(spec, Material(key))
        assert Material(key) == workshop.give(raw)
        assert key not in (raw.copy or b"")
        made = workshop.make(spec, kind.bits // 8)
        out = workshop.give(made).reveal()
        assert check_value(kind, out) == workshop.check_value(kind.algorithm, made)
        assert kind.algorithm is not Algorithm.TDES or out == tdes.odd_parity(out)
    with pytest.raises(KeyRefused, match="made exportable"):
        workshop.give(workshop.take(spec_of(kind), Material(key)))
    copy = bytearray(raw.copy or b"")
    copy[-1] ^= 1
    with pytest.raises(DoesNotOpen):
        workshop.give(raw.__class__(kind.algorithm, kind.bits, raw.main, copy=bytes(copy)))
    assert token.find("kks-data") is not None


def test_second_objects_are_what_their_usage_needs(workshop: TokenWorkshop) -> None:
    """The first half three times for single DES; a base key under the DUKPT mask."""
    cvk = taken(workshop, KeyUsage.CARD_VERIFICATION, SECOND_KEY)
    info = info_of(KeyUsage.CARD_VERIFICATION, Algorithm.TDES, 128)
    assert tdes.encipherer(SECOND_KEY[:8])(bytes(16)) == workshop.half_encipherer(info, cvk)(bytes(16))
    bdk = taken(workshop, KeyUsage.BASE_DERIVATION, SECOND_KEY)
    info = info_of(KeyUsage.BASE_DERIVATION, Algorithm.TDES, 128)
    masked = tdes.encipherer(dukpt_tdes.masked(SECOND_KEY))
    assert masked(bytes(8)) == workshop.masked_encipherer(info, bdk)(bytes(8))
    zpk = taken(workshop, KeyUsage.PIN_ENCRYPTION, SECOND_KEY)
    for tool in (workshop.half_encipherer, workshop.masked_encipherer):
        with pytest.raises(KeyRefused, match=r"key a\.key#1: lacks the second object"):
            tool(info, zpk)


def test_no_key_is_at_hand(workshop: TokenWorkshop) -> None:
    """Whatever it is."""
    at_hand: Callable[[TokenKey], object] = workshop.at_hand
    assert at_hand(taken(workshop, KeyUsage.PIN_ENCRYPTION, SECOND_KEY)) is None


def test_a_partners_public_key_is_no_object(workshop: TokenWorkshop, token: Token) -> None:
    """There is nothing in it to hide: it is kept as it is, and verifies here."""
    before = objects_in(token)
    der = rsa_keys.make(2048)
    public = workshop.take(KeySpec(KeyUsage.SIGNATURE), Material(rsa_keys.public_of(der)))
    assert (None, rsa_keys.public_of(der), before) == (public.main, public.public, objects_in(token))
    private = workshop.take(KeySpec(KeyUsage.SIGNATURE), Material(der))
    info = info_of(KeyUsage.SIGNATURE, Algorithm.RSA, 2048)
    assert workshop.verifier(info, public)(b"text", workshop.signer(info, private)(b"text"))
    assert not workshop.verifier(info, public)(b"text", bytes(256))


@given(blocks, blocks, st.integers(1, 5).map(lambda count: bytes(range(8 * count))))
def test_derived_keys_same_as_in_software(workshop: TokenWorkshop, one: bytes, other: bytes, data: bytes) -> None:
    """From the issuer's to the card's to the session's: every cipher of each, again and again."""
    raw = taken(workshop, KeyUsage.ISSUER_CRYPTOGRAM, SECOND_KEY)
    info = info_of(KeyUsage.ISSUER_CRYPTOGRAM, Algorithm.TDES, 128)
    software = SoftwareDeriver(SECOND_KEY)
    with workshop.deriving(info, raw)() as issuer:
        for known, found in (
            (software.derive(one), issuer.derive(one)),
            (software.derive(one).derive(other), issuer.derive(one).derive(other)),
        ):
            for _ in range(2):
                assert known.whole(data) == found.whole(data)
                assert known.half(data) == found.half(data)
                assert known.chain(data) == found.chain(data)
                assert known.whole_chain(data) == found.whole_chain(data)


def test_a_published_session_key(workshop: TokenWorkshop) -> None:
    """The vector of a card's own key, which no command takes: a token derives it as the standard says."""
    (vector,) = vectors("emv.common_sk")
    card = taken(workshop, KeyUsage.ISSUER_CRYPTOGRAM, bytes.fromhex(vector["inputs"]["icc_mk"]))
    data = emv.session_data(bytes.fromhex(vector["inputs"]["r"]))
    with workshop.deriving(info_of(KeyUsage.ISSUER_CRYPTOGRAM, Algorithm.TDES, 128), card)() as master:
        expected = tdes.encipherer(bytes.fromhex(vector["expected"]["sk"]))
        assert expected(bytes(8)) == master.derive(data).whole(bytes(8))


def test_derived_objects_are_destroyed(workshop: TokenWorkshop, token: Token) -> None:
    """When their block ends, also by an error; a half is made once, and only where it is asked for."""
    raw = taken(workshop, KeyUsage.ISSUER_CRYPTOGRAM, SECOND_KEY)
    deriving = workshop.deriving(info_of(KeyUsage.ISSUER_CRYPTOGRAM, Algorithm.TDES, 128), raw)
    before = objects_in(token)
    with deriving() as issuer:
        card = issuer.derive(emv.option_a_data(PAN))
        assert before + 1 == objects_in(token)
        for _ in range(3):
            card.half(bytes(8))
            card.chain(bytes(16))
        assert before + 2 == objects_in(token)
    assert before == objects_in(token)
    with pytest.raises(ZeroDivisionError), deriving() as issuer:
        issuer.derive(emv.option_a_data(PAN)).chain(bytes(int(1 / len(b""))))
    assert before == objects_in(token)


def test_what_a_token_cannot_derive(workshop: TokenWorkshop) -> None:
    """A key XOR data, single DES under an issuer's key, and any cipher of its own: refused in one line, and the rest goes on."""
    raw, software = taken(workshop, KeyUsage.ISSUER_CRYPTOGRAM, SECOND_KEY), SoftwareDeriver(SECOND_KEY)
    with workshop.deriving(info_of(KeyUsage.ISSUER_CRYPTOGRAM, Algorithm.TDES, 128), raw)() as issuer:
        with pytest.raises(KeyRefused, match="Visa script session key"):
            issuer.masked(bytes(16))
        for tool in (issuer.half, issuer.chain):
            with pytest.raises(KeyRefused, match="no first half"):
                tool(bytes(8))
        for refused in (issuer.whole, issuer.whole_chain):  # it derives, and does nothing else
            with pytest.raises(TokenError, match="CKR_KEY_FUNCTION_NOT_PERMITTED"):
                refused(bytes(8))
        assert software.derive(bytes(16)).whole(bytes(8)) == issuer.derive(bytes(16)).whole(bytes(8))


@given(st.binary(max_size=60))
def test_seals_are_those_of_software(workshop: TokenWorkshop, text: bytes) -> None:
    """The same bytes for the same nonce; each opens what the other sealed, and neither what was changed."""
    key = bytes(range(32))
    info = info_of(KeyUsage.DATA_SEALING, Algorithm.AES, 256)
    inside = workshop.sealing(info, taken(workshop, KeyUsage.DATA_SEALING, key))
    outside = SoftwareWorkshop().sealing(info, Material(key))
    nonce = bytes(range(12))
    sealed = inside.seal(nonce, text, b"place")
    assert outside.seal(nonce, text, b"place") == sealed
    assert text == inside.unseal(nonce, sealed, b"place") == outside.unseal(nonce, sealed, b"place")
    errors: list[str] = []
    for tools in (inside, outside):
        for changed in (sealed[:-1], b"", sealed + b"\x00", bytes([sealed[0] ^ 1]) + sealed[1:]):
            with pytest.raises(VaultError) as caught:
                tools.unseal(nonce, changed, b"place")
            errors.append(str(caught.value))
    assert 1 == len(set(errors))


def test_both_workshops_have_the_same_tools() -> None:
    """What one has the other has, with the same parameters."""
    public: list[set[str]] = [
        {name for name in vars(one) if not name.startswith("_")} for one in (SoftwareWorkshop, TokenWorkshop)
    ]
    assert public[0] == public[1]


def test_a_token_that_is_not_set_up() -> None:
    """Its own keys are looked for when it is opened, not in the middle of a night."""
    other = Token(softhsm.module(), softhsm.OTHER_LABEL, softhsm.USER)
    with pytest.raises(TokenError, match="has no key kks-data: set it up first"):
        TokenWorkshop(other)
    other.close()
