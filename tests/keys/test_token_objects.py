"""Objects of a token: what each may do, and that neither key leaves, whatever the holder of the user PIN asks for."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from PyKCS11 import LowLevel

from keys import aes, emv, keywrap, mac, rsa_keys, signing, tdes
from keys import token_objects as objects
from keys.envelope import DoesNotOpen
from keys.errors import TokenError
from keys.keytypes import Algorithm
from keys.pkcs11 import HEADER, MASTER
from keys.token_rights import EVERY, SIGN
from keys.token_workshop import DATA
from tests.keys import softhsm
from tests.keys.samples import PAN, SECOND_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keys.token import Template, Token

pytestmark = softhsm.needs_token

TRUE, FALSE = LowLevel.CK_TRUE, LowLevel.CK_FALSE
TRIPLE = tdes.odd_parity(bytes(range(0x20, 0x38)))
KEYS = {(Algorithm.TDES, 16): SECOND_KEY, (Algorithm.TDES, 24): TRIPLE} | {
    (Algorithm.AES, length): bytes(range(length)) for length in (16, 24, 32)
} | {(Algorithm.HMAC, length): bytes(range(length)) for length in (32, 33, 64)}  # fmt: skip
every_key = pytest.mark.parametrize(("algorithm", "length"), KEYS)


@pytest.fixture
def token() -> Iterator[Token]:
    """The token, as its user has it; what a test makes goes with it."""
    opened = softhsm.open_token()
    yield opened
    opened.close()


def master(token: Token) -> Any:  # noqa: ANN401 - an object of the module
    """The first master key."""
    return token.must_find(f"{MASTER}-1")


def works(token: Token, key: Any, algorithm: Algorithm, value: bytes) -> bool:  # noqa: ANN401 - the same
    """Whether an object does what the bytes do."""
    if algorithm is Algorithm.HMAC:
        return bool(token.sign(key, b"text", objects.SHA512_HMAC) == mac.hmac_sha512(value)(b"text"))
    encipher, decipher = (
        (tdes.encipherer, tdes.decipherer) if algorithm is Algorithm.TDES else (aes.encipherer, aes.decipherer)
    )
    mechanism, cmac = (
        (objects.DES3_ECB, objects.DES3_CMAC) if algorithm is Algorithm.TDES else (objects.AES_ECB, objects.AES_CMAC)
    )
    code = (mac.tdes_cmac if algorithm is Algorithm.TDES else mac.aes_cmac)(value)
    block = bytes(range(48))
    return bool(
        token.encrypt(key, block, mechanism) == encipher(value)(block)
        and token.decrypt(key, block, mechanism) == decipher(value)(block)
        and token.sign(key, b"text", cmac) == code(b"text")
    )


def refused(call: Callable[..., object], *arguments: object) -> str:
    """The code that the token refuses a call with."""
    with pytest.raises(TokenError) as caught:
        call(*arguments)
    return str(caught.value).rpartition(" ")[2]


def hidden(token: Token, key: Any) -> bool:  # noqa: ANN401 - the same
    """Whether the token shows no bytes of a key, and says that it never will."""
    (sensitive,) = token.attributes(key, [LowLevel.CKA_SENSITIVE])
    (value,) = token.attributes(key, [LowLevel.CKA_VALUE])
    return bool(sensitive) and not value


@every_key
def test_known_keys_do_their_work_unseen(token: Token, algorithm: Algorithm, length: int) -> None:
    """Brought in, they do what their bytes do, and show none of them."""
    key = objects.bring_in(token, algorithm, KEYS[algorithm, length], EVERY)
    assert works(token, key, algorithm, KEYS[algorithm, length])
    assert hidden(token, key)


@every_key
def test_made_keys_were_never_outside(token: Token, algorithm: Algorithm, length: int) -> None:
    """Sensitive from the first, never readable, never the same; they work."""
    one, other = objects.make(token, algorithm, length, EVERY), objects.make(token, algorithm, length, EVERY)
    assert hidden(token, one)
    assert [True, True] == [
        bool(flag) for flag in token.attributes(one, [LowLevel.CKA_ALWAYS_SENSITIVE, LowLevel.CKA_LOCAL])
    ]
    mechanism = {
        Algorithm.TDES: objects.DES3_CMAC,
        Algorithm.AES: objects.AES_CMAC,
        Algorithm.HMAC: objects.SHA256_HMAC,
    }[algorithm]
    assert token.sign(one, b"text", mechanism) != token.sign(other, b"text", mechanism)


@every_key
def test_keys_go_and_come_wrapped(token: Token, algorithm: Algorithm, length: int) -> None:
    """Under the master key, 8 bytes longer; the same key comes back, and shows itself as little."""
    value = KEYS[algorithm, length]
    wrapped = token.wrap(master(token), objects.bring_in(token, algorithm, value, EVERY), objects.KEY_WRAP)
    assert (64 if algorithm is Algorithm.HMAC else length) + 8 == len(wrapped)
    again = objects.unwrap(token, master(token), wrapped, algorithm, EVERY)
    assert works(token, again, algorithm, value)
    assert "CKR_KEY_UNEXTRACTABLE" == refused(token.wrap, master(token), again, objects.KEY_WRAP)
    anew = objects.unwrap_to_rewrap(token, master(token), wrapped, algorithm)
    assert wrapped == token.wrap(master(token), anew, objects.KEY_WRAP)
    assert wrapped != token.wrap(token.must_find(f"{MASTER}-2"), anew, objects.KEY_WRAP)
    assert hidden(token, again)
    assert hidden(token, anew)


@every_key
def test_every_bit_of_a_wrapped_key_counts(token: Token, algorithm: Algorithm, length: int) -> None:
    """AES-KW finds each change itself; a master key opens what is its own alone."""
    wrapped = token.wrap(
        master(token), objects.bring_in(token, algorithm, KEYS[algorithm, length], EVERY), objects.KEY_WRAP
    )
    for bit in range(0, 8 * len(wrapped), 5):
        changed = (int.from_bytes(wrapped) ^ 1 << bit).to_bytes(len(wrapped))
        with pytest.raises(DoesNotOpen):
            objects.unwrap(token, master(token), changed, algorithm, EVERY)
    with pytest.raises(DoesNotOpen):
        objects.unwrap(token, token.must_find(f"{MASTER}-2"), wrapped, algorithm, EVERY)


# The attack: the holder of the user PIN has a wrapped key of the keystore and asks the token for it in every other way.

WISHES = {
    LowLevel.CKA_EXTRACTABLE: TRUE,
    LowLevel.CKA_SENSITIVE: FALSE,
    LowLevel.CKA_WRAP_WITH_TRUSTED: FALSE,
}
KINDS = [LowLevel.CKK_DES2, LowLevel.CKK_DES3, LowLevel.CKK_AES, LowLevel.CKK_GENERIC_SECRET]


def own_wrapping_key(token: Token) -> Any:  # noqa: ANN401 - the same
    """A wrapping key of the attacker's own, whose bytes he knows."""
    return token.create(
        [
            (LowLevel.CKA_CLASS, LowLevel.CKO_SECRET_KEY), (LowLevel.CKA_KEY_TYPE, LowLevel.CKK_AES),
            (LowLevel.CKA_TOKEN, FALSE), (LowLevel.CKA_SENSITIVE, FALSE), (LowLevel.CKA_EXTRACTABLE, TRUE),
            (LowLevel.CKA_WRAP, TRUE), (LowLevel.CKA_UNWRAP, TRUE), (LowLevel.CKA_ENCRYPT, TRUE), (LowLevel.CKA_DECRYPT, TRUE),
            (LowLevel.CKA_VALUE, bytes(range(32))),
        ]
    )  # fmt: skip


def attempts() -> list[Template]:
    """Every kind of key, with every wish that would let its bytes out, alone and together, said and left out."""
    found: list[Template] = []
    for kind in KINDS:
        bare = [
            (LowLevel.CKA_CLASS, LowLevel.CKO_SECRET_KEY),
            (LowLevel.CKA_KEY_TYPE, kind),
            (LowLevel.CKA_TOKEN, FALSE),
        ]
        chosen = itertools.chain(*(itertools.combinations(WISHES, count) for count in range(len(WISHES) + 1)))
        found.extend([*bare, *((name, WISHES[name]) for name in names)] for names in chosen)
        right = [
            (LowLevel.CKA_SENSITIVE, TRUE),
            (LowLevel.CKA_WRAP_WITH_TRUSTED, TRUE),
            (LowLevel.CKA_EXTRACTABLE, TRUE),
        ]
        found.append([*bare, *right])
        found.append([*bare, *right, (LowLevel.CKA_DECRYPT, TRUE), (LowLevel.CKA_WRAP, TRUE)])
    return found


@pytest.mark.parametrize("value", [SECOND_KEY, TRIPLE, bytes(range(32))], ids=len)
def test_a_wrapped_key_does_not_come_out(token: Token, value: bytes) -> None:
    """As whatever it is asked for: refused, or an object that shows no byte and goes out under no key but a trusted one."""
    algorithm = Algorithm.AES if len(value) == 32 else Algorithm.TDES
    wrapped = token.wrap(master(token), objects.bring_in(token, algorithm, value, EVERY), objects.KEY_WRAP)
    mine = own_wrapping_key(token)
    outcomes = set()
    for template in attempts():
        try:
            key = token.unwrap(master(token), wrapped, template, objects.KEY_WRAP)
        except TokenError as error:
            outcomes.add(str(error).rpartition(" ")[2])
            continue
        outcomes.add("unwrapped")
        assert hidden(token, key)
        trusted_only, sensitive = token.attributes(key, [LowLevel.CKA_WRAP_WITH_TRUSTED, LowLevel.CKA_SENSITIVE])
        assert trusted_only
        assert sensitive
        for mechanism in (objects.KEY_WRAP, objects.KEY_WRAP_PADDED):
            assert refused(token.wrap, mine, key, mechanism) in {"CKR_KEY_NOT_WRAPPABLE", "CKR_KEY_UNEXTRACTABLE"}
    assert {"CKR_TEMPLATE_INCONSISTENT", "unwrapped"} <= outcomes


@every_key
def test_a_key_does_not_go_out_under_ones_own(token: Token, algorithm: Algorithm, length: int) -> None:
    """Made, brought in or unwrapped to be wrapped anew: a key that nobody trusted wraps none of them."""
    mine = own_wrapping_key(token)
    made = objects.make(token, algorithm, length, EVERY)
    known = objects.bring_in(token, algorithm, KEYS[algorithm, length], EVERY)
    wrapped = token.wrap(master(token), known, objects.KEY_WRAP)
    again = objects.unwrap_to_rewrap(token, master(token), wrapped, algorithm)
    for key in (made, known, again):
        for mechanism in (objects.KEY_WRAP, objects.KEY_WRAP_PADDED):
            assert "CKR_KEY_NOT_WRAPPABLE" == refused(token.wrap, mine, key, mechanism)


@every_key
def test_a_key_is_not_talked_into_it(token: Token, algorithm: Algorithm, length: int) -> None:
    """Attributes that keep it in are not taken from it."""
    key = objects.bring_in(token, algorithm, KEYS[algorithm, length], EVERY)
    closed = objects.derive(token, objects.bring_in(token, Algorithm.TDES, SECOND_KEY, EVERY), bytes(24), EVERY)
    for one, name, flag in (
        (key, LowLevel.CKA_SENSITIVE, FALSE),
        (key, LowLevel.CKA_WRAP_WITH_TRUSTED, FALSE),
        (closed, LowLevel.CKA_EXTRACTABLE, TRUE),
    ):
        with token.home() as session, pytest.raises(Exception, match="CKR_"):
            session.setAttributeValue(one.handle, [(name, flag)])
    assert hidden(token, key)
    assert "CKR_KEY_NOT_WRAPPABLE" == refused(token.wrap, own_wrapping_key(token), key, objects.KEY_WRAP)


def test_nobody_but_the_officer_trusts_a_key(token: Token) -> None:
    """Not when it is made, not after."""
    mine = own_wrapping_key(token)
    with token.home() as session, pytest.raises(Exception, match="CKR_"):
        session.setAttributeValue(mine.handle, [(LowLevel.CKA_TRUSTED, TRUE)])
    template = [*objects._own("mine", 32), (LowLevel.CKA_WRAP, TRUE), (LowLevel.CKA_TRUSTED, TRUE)]
    with pytest.raises(TokenError):
        token.generate(LowLevel.CKM_AES_KEY_GEN, template)
    assert token.find("mine") is None


STRANGER = """
import sys
import PyKCS11
from PyKCS11 import LowLevel
library = PyKCS11.PyKCS11Lib()
library.load(sys.argv[1])
for slot in library.getSlotList(tokenPresent=True):
    if library.getTokenInfo(slot).label.strip() == sys.argv[2]:
        session = library.openSession(slot)
        (master,) = session.findObjects([(LowLevel.CKA_LABEL, sys.argv[3])])
        wrapped = bytes.fromhex(sys.argv[4])
        for private in (LowLevel.CK_FALSE, LowLevel.CK_TRUE, None):
            asked = [
                (LowLevel.CKA_CLASS, LowLevel.CKO_SECRET_KEY), (LowLevel.CKA_KEY_TYPE, LowLevel.CKK_DES2),
                (LowLevel.CKA_TOKEN, LowLevel.CK_FALSE), (LowLevel.CKA_SENSITIVE, LowLevel.CK_TRUE),
                (LowLevel.CKA_WRAP_WITH_TRUSTED, LowLevel.CK_TRUE), (LowLevel.CKA_ENCRYPT, LowLevel.CK_TRUE),
            ]
            asked += [] if private is None else [(LowLevel.CKA_PRIVATE, private)]
            try:
                session.unwrapKey(master, wrapped, asked, PyKCS11.Mechanism(LowLevel.CKM_AES_KEY_WRAP, None))
                print("unwrapped")
            except PyKCS11.PyKCS11Error as error:
                print(PyKCS11.CKR[error.value])
"""


def test_nobody_unwraps_without_the_users_pin(token: Token) -> None:
    """The master key is a public object; what it unwraps is private, and so of no use to one who has not logged in."""
    wrapped = token.wrap(master(token), objects.bring_in(token, Algorithm.TDES, SECOND_KEY, EVERY), objects.KEY_WRAP)
    asked = [str(softhsm.module()), softhsm.LABEL, f"{MASTER}-1", wrapped.hex()]
    run = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", STRANGER, *asked], capture_output=True, text=True, check=True, timeout=60
    )
    assert ["CKR_TEMPLATE_INCONSISTENT", "CKR_USER_NOT_LOGGED_IN", "CKR_USER_NOT_LOGGED_IN"] == run.stdout.split()


def test_the_master_key_stays_in(token: Token) -> None:
    """Made inside, trusted, never extractable; it wraps and unwraps, and does nothing else; no key wraps it."""
    key, mine = master(token), own_wrapping_key(token)
    assert hidden(token, key)
    flags = {
        LowLevel.CKA_EXTRACTABLE: False, LowLevel.CKA_NEVER_EXTRACTABLE: True, LowLevel.CKA_ALWAYS_SENSITIVE: True,
        LowLevel.CKA_LOCAL: True, LowLevel.CKA_TRUSTED: True, LowLevel.CKA_MODIFIABLE: False, LowLevel.CKA_TOKEN: True,
        LowLevel.CKA_WRAP: True, LowLevel.CKA_UNWRAP: True, LowLevel.CKA_ENCRYPT: False, LowLevel.CKA_DECRYPT: False,
        LowLevel.CKA_SIGN: False, LowLevel.CKA_VERIFY: False,
    }  # fmt: skip
    assert list(flags.values()) == [bool(flag) for flag in token.attributes(key, list(flags))]
    for other in (mine, token.must_find(f"{MASTER}-2"), key):
        assert "CKR_KEY_UNEXTRACTABLE" == refused(token.wrap, other, key, objects.KEY_WRAP)
    # What it could decipher by ECB would be the attack again, block by block.
    for call in (token.encrypt, token.decrypt):
        assert "CKR_KEY_FUNCTION_NOT_PERMITTED" == refused(call, key, bytes(16), objects.AES_ECB)
    assert "CKR_KEY_FUNCTION_NOT_PERMITTED" == refused(token.sign, key, b"text", objects.AES_CMAC)
    for name, flag in ((LowLevel.CKA_DECRYPT, TRUE), (LowLevel.CKA_EXTRACTABLE, TRUE), (LowLevel.CKA_SENSITIVE, FALSE)):
        with token.home() as session, pytest.raises(Exception, match="CKR_"):
            session.setAttributeValue(key.handle, [(name, flag)])


@pytest.mark.parametrize(("label", "may"), [(HEADER, "sign"), (DATA, "encrypt")])
def test_the_tokens_own_keys_do_one_thing(token: Token, label: str, may: str) -> None:
    """One makes header MACs, one seals; neither does the other's, wraps, unwraps or goes out."""
    key, mine = token.must_find(label), own_wrapping_key(token)
    assert hidden(token, key)
    calls: dict[str, Callable[[], object]] = {
        "sign": lambda: token.sign(key, b"text", objects.AES_CMAC),
        "encrypt": lambda: token.encrypt(key, b"text", objects.gcm(bytes(12), b"")),
        "wrap": lambda: token.wrap(
            key, objects.bring_in(token, Algorithm.AES, bytes(range(32)), EVERY), objects.KEY_WRAP
        ),
        "out": lambda: token.wrap(mine, key, objects.KEY_WRAP),
        "under the master": lambda: token.wrap(master(token), key, objects.KEY_WRAP),
    }
    for name, call in calls.items():
        if name == may:
            assert call()
        else:
            assert refused(call).startswith("CKR_KEY_")


def test_derived_keys(token: Token) -> None:
    """Triple DES of the data, as EMV has it; they stay in, and wrap and are wrapped by nothing."""
    data = emv.option_a_data(PAN)
    parent = objects.bring_in(token, Algorithm.TDES, SECOND_KEY, EVERY)
    key = objects.derive(token, parent, data + data[:8], EVERY)
    expected = emv.derived_key(tdes.encipherer(SECOND_KEY), data)
    assert tdes.encipherer(expected)(bytes(8)) == token.encrypt(key, bytes(8), objects.DES3_ECB)
    assert hidden(token, key)
    assert "CKR_KEY_UNEXTRACTABLE" == refused(token.wrap, master(token), key, objects.KEY_WRAP)


def test_rsa_keys(token: Token) -> None:
    """Made inside or brought in, wrapped and back: they sign what their public half verifies, and never leave."""
    der = rsa_keys.make(2048)
    made, public = objects.make_rsa(token, 2048)
    known = objects.bring_in_rsa(token, der)
    mine = own_wrapping_key(token)
    for key, half in ((made, public), (known, rsa_keys.public_of(der))):
        wrapped = token.wrap(master(token), key, objects.KEY_WRAP_PADDED)
        again = objects.unwrap(token, master(token), wrapped, Algorithm.RSA, SIGN)
        for one in (key, again):
            assert signing.rsa_verifier(half)(b"text", token.sign(one, b"text", objects.SHA256_RSA))
            for name in (LowLevel.CKA_PRIVATE_EXPONENT, LowLevel.CKA_PRIME_1):
                assert [None] == token.attributes(one, [name])
            assert refused(token.wrap, mine, one, objects.KEY_WRAP_PADDED) in {
                "CKR_KEY_NOT_WRAPPABLE",
                "CKR_KEY_UNEXTRACTABLE",
            }
        assert "CKR_KEY_UNEXTRACTABLE" == refused(token.wrap, master(token), again, objects.KEY_WRAP_PADDED)
    assert 2048 == rsa_keys.bits_of(public)
    assert signing.rsa_signer(der)(b"text") == token.sign(known, b"text", objects.SHA256_RSA)


def test_a_wrapped_rsa_key_does_not_come_out(token: Token) -> None:
    """Neither readable, nor extractable, nor as a secret of another kind that shows its bytes."""
    wrapped = token.wrap(master(token), objects.make_rsa(token, 2048)[0], objects.KEY_WRAP_PADDED)
    private = [
        (LowLevel.CKA_CLASS, LowLevel.CKO_PRIVATE_KEY),
        (LowLevel.CKA_KEY_TYPE, LowLevel.CKK_RSA),
        (LowLevel.CKA_TOKEN, FALSE),
    ]
    mine = own_wrapping_key(token)
    for template in ([*private, *WISHES.items()], *([*private, wish] for wish in WISHES.items()), *attempts()):
        try:
            key = token.unwrap(master(token), wrapped, template, objects.KEY_WRAP_PADDED)
        except TokenError:
            continue
        assert [None, None] == token.attributes(key, [LowLevel.CKA_VALUE, LowLevel.CKA_PRIVATE_EXPONENT])
        assert refused(token.wrap, mine, key, objects.KEY_WRAP_PADDED) in {
            "CKR_KEY_NOT_WRAPPABLE",
            "CKR_KEY_UNEXTRACTABLE",
        }


def test_wrapping_is_that_of_keywrap(token: Token) -> None:
    """AES-KW of RFC 3394, by a key whose bytes are known: a token wraps what keywrap.py unwraps."""
    mine = own_wrapping_key(token)
    plain = [
        (LowLevel.CKA_SENSITIVE, FALSE),
        (LowLevel.CKA_EXTRACTABLE, TRUE),
        (LowLevel.CKA_TOKEN, FALSE),
        (LowLevel.CKA_VALUE, SECOND_KEY),
    ]
    key = token.create(
        [(LowLevel.CKA_CLASS, LowLevel.CKO_SECRET_KEY), (LowLevel.CKA_KEY_TYPE, LowLevel.CKK_DES2), *plain]
    )
    assert keywrap.wrap(bytes(range(32)), SECOND_KEY) == token.wrap(mine, key, objects.KEY_WRAP)


def test_keys_of_the_token_are_made_once(token: Token) -> None:
    """A master key is never replaced; the others are made where they lack."""
    header, data = token.must_find(HEADER), token.must_find(DATA)
    objects.make_own(token, HEADER, DATA)
    assert (header.handle.value(), data.handle.value()) == (
        token.must_find(HEADER).handle.value(),
        token.must_find(DATA).handle.value(),
    )
    with pytest.raises(TokenError, match="has a key kks-master-1 already; it is never replaced"):
        objects.make_master(token, f"{MASTER}-1")
    with pytest.raises(TokenError, match="has no key kks-master-9: set it up first"):
        token.must_find(f"{MASTER}-9")


def test_a_master_key_is_the_officers_to_make(token: Token) -> None:
    """The user cannot make one that is trusted, under whatever number."""
    with pytest.raises(TokenError):
        objects.make_master(token, f"{MASTER}-9")
    assert token.find(f"{MASTER}-9") is None


def test_gcm(token: Token) -> None:
    """A tag of 16 bytes behind."""
    key = objects.bring_in(token, Algorithm.AES, bytes(range(32)), EVERY)
    nonce = bytes(range(12))
    assert AESGCM(bytes(range(32))).encrypt(nonce, b"text", b"place") == token.encrypt(
        key, b"text", objects.gcm(nonce, b"place")
    )
