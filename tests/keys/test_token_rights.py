"""What the token lets each payment key do: tried on its objects, for every usage, mode and way a key comes to be there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import PyKCS11
import pytest
from PyKCS11 import LowLevel

from keys import token_objects as objects
from keys import token_rights
from keys.errors import KeyRefused, TokenError
from keys.keytypes import Algorithm, KeyMode, KeyUsage
from keys.pkcs11 import MASTER, TokenEnvelope
from keys.sensitive import Material
from keys.token_workshop import TokenWorkshop
from keys.usages import USAGES
from tests.keys import softhsm
from tests.keys.at_work import KINDS, Kind, check_value, key_of, spec_of
from tests.keys.samples import SECOND_KEY
from tests.keys.test_key_blocks import info_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keys.keytypes import KeySpec
    from keys.token import Object, Token

pytestmark = softhsm.needs_token

BOUND = b"header of one key"
CALLS = ("encrypt", "decrypt", "sign", "verify", "derive", "wrap")
MAY: dict[KeyUsage, str] = {
    KeyUsage.BASE_DERIVATION: "encrypt",
    KeyUsage.INITIAL_DUKPT: "",
    KeyUsage.CARD_VERIFICATION: "encrypt",
    KeyUsage.ISSUER_CRYPTOGRAM: "derive",
    KeyUsage.ISSUER_SCRIPT_SECRECY: "derive",
    KeyUsage.ISSUER_SCRIPT_MAC: "derive",
    KeyUsage.ISSUER_DYNAMIC_NUMBER: "derive",
    KeyUsage.KEY_BLOCK_PROTECTION: "sign encrypt",
    KeyUsage.MAC_CBC: "encrypt",
    KeyUsage.MAC_RETAIL: "encrypt",
    KeyUsage.MAC_CMAC: "sign",
    KeyUsage.MAC_HMAC: "sign",
    KeyUsage.SIGNATURE: "sign",
    KeyUsage.PIN_VERIFICATION_IBM: "encrypt",
    KeyUsage.PIN_VERIFICATION_PVV: "encrypt",
    KeyUsage.BLIND_INDEX: "sign",
}
"""Written down here once more, as calls. Not of ciphers, which go by their mode."""
CIPHERS = {KeyMode.ENCRYPT: "encrypt", KeyMode.DECRYPT: "decrypt", KeyMode.BOTH: "encrypt decrypt"}
MODES = [
    (kind, mode)
    for kind in KINDS
    for mode in USAGES[kind.usage].modes
    if (kind.algorithm, mode) != (Algorithm.RSA, KeyMode.VERIFY)  # a public key is no object
]
every_mode = pytest.mark.parametrize(("kind", "mode"), MODES, ids=str)


@pytest.fixture(scope="module")
def token() -> Iterator[Token]:
    """The token, for this module."""
    opened = softhsm.open_token()
    yield opened
    opened.close()


def may(kind: Kind, mode: KeyMode) -> set[str]:
    """The calls that a key is for."""
    return set((CIPHERS[mode] if kind.usage not in MAY else MAY[kind.usage]).split())


def allowed(token: Token, key: Object, algorithm: Algorithm) -> set[str]:
    """The calls that the token answers for an object. Each of the others it refuses for the key's own sake."""
    cipher, code = {
        Algorithm.TDES: (objects.DES3_ECB, objects.DES3_CMAC),
        Algorithm.AES: (objects.AES_ECB, objects.AES_CMAC),
        Algorithm.HMAC: (objects.AES_ECB, objects.SHA256_HMAC),
        Algorithm.RSA: (PyKCS11.Mechanism(LowLevel.CKM_RSA_PKCS, None), objects.SHA256_RSA),
    }[algorithm]
    mine = objects.bring_in(token, Algorithm.AES, bytes(range(16)), token_rights.NONE)
    calls: dict[str, Callable[[], object]] = {
        "encrypt": lambda: token.encrypt(key, bytes(16), cipher),
        "decrypt": lambda: token.decrypt(key, bytes(16), cipher),
        "sign": lambda: token.sign(key, b"text", code),
        "verify": lambda: verify(token, key, code),
        "derive": lambda: objects.derive(token, key, bytes(24), token_rights.NONE),
        "wrap": lambda: token.wrap(key, mine, objects.KEY_WRAP),
    }
    assert set(CALLS) == set(calls)
    answered = set()
    for name, call in calls.items():
        try:
            call()
        except TokenError as error:
            refusals = {LowLevel.CKR_KEY_FUNCTION_NOT_PERMITTED, LowLevel.CKR_KEY_NOT_WRAPPABLE}
            if name == "wrap":  # by AES key wrap: a key of another kind is refused for that first
                refusals.add(LowLevel.CKR_WRAPPING_KEY_TYPE_INCONSISTENT)
            if error.code not in refusals:
                raise
        else:
            answered.add(name)
    assert [False, False] == [bool(flag) for flag in token.attributes(key, [LowLevel.CKA_WRAP, LowLevel.CKA_UNWRAP])]
    token.destroy(mine)
    return answered


def verify(token: Token, key: Object, mechanism: Any) -> bool:  # noqa: ANN401 - a mechanism of the module
    """Ask the token about a code."""
    with token.session(key) as session:
        return bool(session.verify(key.handle, b"text", bytes(16), mechanism))


def spec_with(kind: Kind, mode: KeyMode) -> KeySpec:
    """A key of this kind and mode."""
    return replace(spec_of(kind, made=True), mode=mode)


@every_mode
def test_a_key_brought_in_does_what_it_is_for(token: Token, kind: Kind, mode: KeyMode) -> None:
    """As components or in a key block; and once it was sealed and loaded again."""
    workshop, envelope = TokenWorkshop(token), TokenEnvelope(token, 1)
    raw = workshop.take(spec_with(kind, mode), Material(key_of(kind)))
    assert check_value(kind, key_of(kind)) == workshop.check_value(kind.algorithm, raw)
    assert may(kind, mode) == allowed(token, raw.inside, kind.algorithm)
    loaded = envelope.open(envelope.seal(raw, BOUND), BOUND, replace(info_of(*kind), mode=mode))
    assert may(kind, mode) == allowed(token, loaded.inside, kind.algorithm)
    for one in (raw, loaded):
        if one.companion is not None:
            assert {"encrypt"} == allowed(token, one.companion, Algorithm.TDES)
        token.destroy(*one.objects)


@every_mode
def test_a_key_made_inside_does_what_it_is_for(token: Token, kind: Kind, mode: KeyMode) -> None:
    """The right to compute its check value is gone again, where the key is not for the same."""
    workshop = TokenWorkshop(token)
    raw = workshop.make(spec_with(kind, mode), kind.bits // 8)
    assert workshop.check_value(kind.algorithm, raw).value
    assert may(kind, mode) == allowed(token, raw.inside, kind.algorithm)
    token.destroy(*raw.objects)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_key_on_its_way_to_another_master_key_does_nothing(token: Token, kind: Kind) -> None:
    """Opened to be sealed anew, or where nobody says what it is: no call is answered, and a trusted key wraps the first alone."""
    workshop, there = TokenWorkshop(token), TokenEnvelope(token, 1)
    raw = workshop.take(spec_of(kind), Material(key_of(kind)))
    entry = there.seal(raw, BOUND)
    moving = TokenEnvelope(token, 1, rewrappable=True).open(entry, BOUND, info_of(*kind))
    unsaid = there.open(entry, BOUND)
    for one in (moving, unsaid):
        assert set() == allowed(token, one.inside, kind.algorithm)
    assert entry["wrapped"] == there.seal(moving, BOUND)["wrapped"]
    with pytest.raises(TokenError, match="CKR_KEY_UNEXTRACTABLE"):
        there.seal(unsaid, BOUND)
    for one in (raw, moving, unsaid):
        token.destroy(*one.objects)


def test_derived_keys_do_what_their_level_needs(token: Token) -> None:
    """A card's key makes the session's, which only enciphers."""
    issuer = objects.bring_in(token, Algorithm.TDES, SECOND_KEY, token_rights.DERIVE)
    card = objects.derive(token, issuer, bytes(24), token_rights.CARD)
    session = objects.derive(token, card, bytes(range(24)), token_rights.SESSION)
    assert [{"derive"}, {"derive", "encrypt"}, {"encrypt"}] == [
        allowed(token, one, Algorithm.TDES) for one in (issuer, card, session)
    ]


def test_a_pin_verification_key_does_not_decipher(token: Token) -> None:
    """Nor does a key that deciphers PIN blocks make any: what a thief of natural PINs, and a forger of blocks, would ask."""
    workshop = TokenWorkshop(token)
    for usage, mode in ((KeyUsage.PIN_VERIFICATION_IBM, None), (KeyUsage.PIN_ENCRYPTION, KeyMode.DECRYPT)):
        kind = Kind(usage, Algorithm.TDES, 128)
        key = workshop.take(replace(spec_of(kind), mode=mode), Material(SECOND_KEY)).inside
        call = token.encrypt if mode else token.decrypt
        with pytest.raises(TokenError, match="CKR_KEY_FUNCTION_NOT_PERMITTED"):
            call(key, bytes(8), objects.DES3_ECB)


def test_every_usage_and_mode_has_its_rights() -> None:
    """The table is whole, gives nothing but what there is to give, and takes the usage's first mode where none is said."""
    assert set(KeyUsage) == set(token_rights.NEEDED)
    for usage, rule in USAGES.items():
        assert token_rights.needed(usage) == token_rights.needed(usage, rule.modes[0])
        for mode in rule.modes:
            assert token_rights.needed(usage, mode) <= token_rights.EVERY
    assert set(Algorithm) == set(token_rights.TO_CHECK)


def test_a_check_value_is_computed_once(token: Token) -> None:
    """Of a key that was loaded it is in the header; its object might not have the right to compute it."""
    workshop, envelope = TokenWorkshop(token), TokenEnvelope(token, 1)
    kind = Kind(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES, 128)
    entry = envelope.seal(workshop.take(spec_of(kind), Material(key_of(kind))), BOUND)
    assert token.must_find(f"{MASTER}-1")
    with pytest.raises(KeyRefused, match="computed when it comes"):
        workshop.check_value(kind.algorithm, envelope.open(entry, BOUND, info_of(*kind)))
