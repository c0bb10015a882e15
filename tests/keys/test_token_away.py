"""A token that fails, is taken out or reset: told from data that was changed, and back at work when it is there again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import PyKCS11
import pytest
from PyKCS11 import LowLevel

from keys import token as token_module
from keys import token_objects as objects
from keys.envelope import DoesNotOpen
from keys.errors import KeystoreError, TokenError, VaultError
from keys.hsm import PinToVerify
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyState, KeyUsage
from keys.master import Passphrase
from keys.pkcs11 import Pkcs11Hsm, TokenEnvelope
from keys.sensitive import Pan, Pin
from keys.token import Token
from keys.token_rights import EVERY
from keys.token_workshop import TokenKey, TokenWorkshop
from tests.keys import softhsm
from tests.keys.samples import SECOND_KEY, components
from tests.keys.softhsm import objects_in, take_out
from tests.keys.test_key_blocks import info_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = softhsm.needs_token

BOUND = b"header"
SEALING = info_of(KeyUsage.DATA_SEALING, Algorithm.AES, 256)
DEVICE = [
    LowLevel.CKR_DEVICE_REMOVED, LowLevel.CKR_DEVICE_ERROR, LowLevel.CKR_DEVICE_MEMORY, LowLevel.CKR_HOST_MEMORY,
    LowLevel.CKR_SESSION_HANDLE_INVALID, LowLevel.CKR_SESSION_CLOSED, LowLevel.CKR_TOKEN_NOT_PRESENT,
    LowLevel.CKR_USER_NOT_LOGGED_IN, LowLevel.CKR_CRYPTOKI_NOT_INITIALIZED, LowLevel.CKR_FUNCTION_FAILED,
    LowLevel.CKR_GENERAL_ERROR, LowLevel.CKR_KEY_HANDLE_INVALID, LowLevel.CKR_TOKEN_RESOURCE_EXCEEDED,
]  # fmt: skip
"""What a module answers when the token fails at every call."""
DATA = [
    LowLevel.CKR_ENCRYPTED_DATA_INVALID, LowLevel.CKR_ENCRYPTED_DATA_LEN_RANGE, LowLevel.CKR_AEAD_DECRYPT_FAILED,
    LowLevel.CKR_DATA_INVALID, LowLevel.CKR_DATA_LEN_RANGE, LowLevel.CKR_WRAPPED_KEY_INVALID, LowLevel.CKR_WRAPPED_KEY_LEN_RANGE,
]  # fmt: skip
"""What it answers where what it was given is not what was sealed or wrapped."""
EITHER = [LowLevel.CKR_GENERAL_ERROR, LowLevel.CKR_FUNCTION_FAILED]


def named(code: int) -> str:
    """A code, for the name of a test."""
    return str(PyKCS11.CKR[code])


@pytest.fixture
def token() -> Iterator[Token]:
    """A token that is taken out."""
    with closing(softhsm.open_token(label=softhsm.AWAY_LABEL)) as opened:
        yield opened


def answering(code: int, monkeypatch: pytest.MonkeyPatch, *functions: str, times: int | None = None) -> None:
    """Let the module answer CODE to FUNCTIONS, always or so many times."""
    left = [times]

    def answered(function: Callable[..., object]) -> Callable[..., object]:
        def call(*asked: object) -> object:
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    return function(*asked)
            raise PyKCS11.PyKCS11Error(code)

        return call

    for name in functions:
        monkeypatch.setattr(PyKCS11.Session, name, answered(getattr(PyKCS11.Session, name)))


def openings(token: Token) -> list[tuple[Callable[[], object], type[Exception]]]:
    """Everything that opens something in a token, with what it raises where that was changed."""
    envelope, workshop = TokenEnvelope(token, 1), TokenWorkshop(token)
    spec = KeySpec(KeyUsage.DATA_SEALING)
    raw = workshop.make(spec, 32)
    entry, beside = envelope.seal(raw, BOUND), envelope.seal_data(b"data", BOUND)
    sealing = workshop.sealing(SEALING, raw)
    sealed = sealing.seal(bytes(12), b"text", b"row")
    assert (b"text", b"data") == (sealing.unseal(bytes(12), sealed, b"row"), envelope.open_data(beside, BOUND))
    envelope.let_go(envelope.open(entry, BOUND))
    return [
        (lambda: sealing.unseal(bytes(12), sealed, b"row"), VaultError),
        (lambda: envelope.open_data(beside, BOUND), DoesNotOpen),
        (lambda: envelope.open(entry, BOUND), DoesNotOpen),
    ]


@pytest.mark.parametrize("code", DEVICE, ids=named)
def test_a_token_that_fails_is_no_tampering(token: Token, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Whatever is opened: TokenError with the code, and never a word of changed data."""
    for call, _ in openings(token):
        with monkeypatch.context() as patched:
            answering(code, patched, "decrypt", "unwrapKey")
            with pytest.raises(TokenError, match=named(code)) as caught:
                call()
        assert code == caught.value.code
        call()


@pytest.mark.parametrize("code", DATA, ids=named)
def test_changed_data_is_no_failure_of_the_token(token: Token, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """As PKCS#11 says it, in whatever release."""
    for call, error in openings(token):
        with monkeypatch.context() as patched:
            answering(code, patched, "decrypt", "unwrapKey")
            with pytest.raises(error):
                call()
        call()


@pytest.mark.parametrize("code", EITHER, ids=named)
def test_an_answer_that_says_nothing_is_looked_into(token: Token, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The token is asked for something right: where it does that, what it refused was wrong."""
    for call, error in openings(token):
        before = objects_in(token)
        with monkeypatch.context() as patched:
            answering(code, patched, "decrypt", "unwrapKey", times=1)
            with pytest.raises(error):
                call()
        assert before == objects_in(token)


def test_a_keystore_whose_token_fails_is_not_damaged(
    tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every call it makes to open one: the error is the token's, and an open HSM goes on with what it has."""
    hsm = Pkcs11Hsm.create(tmp_path / "keystore", token)
    key = hsm.form(KeyUsage.MAC_RETAIL, "zak", components(SECOND_KEY))
    Pkcs11Hsm.open(tmp_path / "keystore", token).generate(KeyUsage.MAC_CMAC, "other")
    for function in ("decrypt", "sign", "unwrapKey"):
        with monkeypatch.context() as patched:
            answering(LowLevel.CKR_DEVICE_ERROR, patched, function)
            for call in (lambda: Pkcs11Hsm.open(tmp_path / "keystore", token), hsm.refresh):
                with pytest.raises(TokenError, match="CKR_DEVICE_ERROR"):
                    call()
    for function in ("decrypt", "sign"):
        with monkeypatch.context() as patched:
            answering(LowLevel.CKR_DEVICE_ERROR, patched, function)
            with pytest.raises(TokenError, match="CKR_DEVICE_ERROR"):
                hsm.set_state(key, KeyState.SUSPENDED)
    assert hsm.refresh()
    hsm.set_state(key, KeyState.SUSPENDED)


def test_short_and_long_seals_are_not_asked_for(token: Token) -> None:
    """A nonce of another length, a text shorter than its tag, a wrapped key of no bytes: changed, whatever a module says."""
    workshop, envelope = TokenWorkshop(token), TokenEnvelope(token, 1)
    sealing = workshop.sealing(SEALING, workshop.make(KeySpec(KeyUsage.DATA_SEALING), 32))
    sealed = sealing.seal(bytes(12), b"text", b"row")
    for nonce, text in (
        (b"", sealed),
        (bytes(11), sealed),
        (bytes(500), sealed),
        (bytes(12), b""),
        (bytes(12), sealed[:15]),
    ):
        with pytest.raises(VaultError):
            sealing.unseal(nonce, text, b"row")
    entry = envelope.seal_data(b"data", BOUND)
    with pytest.raises(DoesNotOpen):
        envelope.open_data(entry | {"nonce": entry["nonce"] + "00"}, BOUND)
    for wrapped in (b"", b"1", bytes(8), bytes(15)):
        with pytest.raises(DoesNotOpen):
            objects.unwrap(token, token.must_find("kks-master-1"), wrapped, Algorithm.AES, EVERY)


def working(folder: Path, token: Token) -> tuple[Pkcs11Hsm, Callable[[], bool]]:
    """An HSM with a few keys, and whether all of them work as they did."""
    hsm = Pkcs11Hsm.create(folder / "keystore", token)
    zak = hsm.form(KeyUsage.MAC_RETAIL, "zak", components(SECOND_KEY))
    seal = hsm.generate(KeyUsage.DATA_SEALING, "seal")
    sign = hsm.generate(KeyUsage.SIGNATURE, "sign")
    code, sealed, signature = hsm.mac(zak, b"data"), hsm.seal(seal, b"text", b"row"), hsm.sign(sign, b"data")

    def works() -> bool:
        return (code, b"text", signature) == (
            hsm.mac(zak, b"data"), hsm.unseal(seal, sealed, b"row"), hsm.sign(sign, b"data"),
        )  # fmt: skip

    assert works()
    return hsm, works


def test_a_token_that_was_taken_out_is_back_with_a_refresh(tmp_path: Path, token: Token) -> None:
    """Calls fail at once until then; handles stay good, and the token has each key once. As often as it happens."""
    hsm, works = working(tmp_path, token)
    before = objects_in(token)
    for _ in range(5):
        take_out(token)
        for _ in range(10):  # more than it has sessions
            with pytest.raises(TokenError, match="CKR_SESSION_HANDLE_INVALID"):
                works()
        assert hsm.refresh()
        assert works()
        assert (before, False) == (objects_in(token), hsm.refresh())


def test_a_refresh_finds_out_by_itself(tmp_path: Path, token: Token) -> None:
    """Before any call has failed; also where somebody logged the process out, and sessions stayed."""
    hsm, works = working(tmp_path, token)
    take_out(token)
    assert hsm.refresh()
    assert works()
    token._now.home.logout()
    assert hsm.refresh()
    assert works()
    hsm.generate(KeyUsage.MAC_CMAC, "more")


def test_while_it_stays_away(tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refresh says so; what another process did meanwhile is taken up when it is back."""
    hsm, works = working(tmp_path, token)
    take_out(token)

    def absent(*_: object) -> None:
        raise PyKCS11.PyKCS11Error(LowLevel.CKR_TOKEN_NOT_PRESENT)

    with monkeypatch.context() as patched:
        patched.setattr(token_module, "_open", absent)
        for _ in range(3):
            with pytest.raises(TokenError, match="CKR_TOKEN_NOT_PRESENT"):
                hsm.refresh()
            with pytest.raises(TokenError, match="CKR_SESSION_HANDLE_INVALID"):
                works()
    with closing(softhsm.open_token(label=softhsm.AWAY_LABEL)) as another:
        Pkcs11Hsm.open(tmp_path / "keystore", another).generate(KeyUsage.MAC_CMAC, "meanwhile")
        assert hsm.refresh()
    assert works()
    assert hsm.mac(hsm.find("meanwhile"), b"data")


def test_a_loss_in_the_middle_of_coming_back(tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logged in again, and then a key is not unwrapped: the next refresh loads all of them."""
    hsm, works = working(tmp_path, token)
    take_out(token)
    with monkeypatch.context() as patched:
        answering(LowLevel.CKR_DEVICE_ERROR, patched, "unwrapKey")
        with pytest.raises(TokenError, match="CKR_DEVICE_ERROR"):
            hsm.refresh()
    with pytest.raises(TokenError, match="CKR_OBJECT_HANDLE_INVALID"):
        works()
    assert hsm.refresh()
    assert works()
    assert 4 == objects_in(token)


def test_every_open_token_comes_back(tmp_path: Path, token: Token) -> None:
    """Two HSMs of one process: the second finds the process logged in, with its own PIN."""
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with closing(softhsm.open_token(label=softhsm.AWAY_LABEL)) as second:
        (one, one_works), (other, other_works) = working(tmp_path / "one", token), working(tmp_path / "other", second)
        take_out(token)
        assert one.refresh()
        assert one_works()
        with pytest.raises(TokenError):
            other_works()
        assert other.refresh()
        assert other_works()
        assert one_works()


def test_a_handle_of_before_reaches_no_module(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another object's now: refused here."""
    key = objects.bring_in(token, Algorithm.AES, bytes(range(32)), EVERY)
    take_out(token)
    assert token.restore()
    asked: list[object] = []
    monkeypatch.setattr(PyKCS11.Session, "encrypt", lambda *given: asked.append(given))
    monkeypatch.setattr(PyKCS11.Session, "destroyObject", lambda *given: asked.append(given))
    with pytest.raises(TokenError, match="CKR_OBJECT_HANDLE_INVALID"):
        token.encrypt(key, bytes(16), objects.AES_ECB)
    TokenWorkshop(token).let_go(TokenKey(Algorithm.AES, 256, key))
    assert [] == asked


def test_one_session_that_ends_is_replaced(tmp_path: Path) -> None:
    """A module that ends idle sessions: one call fails, the keys are there, and nothing is loaded anew."""
    with closing(softhsm.open_token(sessions=1, label=softhsm.AWAY_LABEL)) as token:
        hsm, works = working(tmp_path, token)
        token._now.sessions[1].closeSession()
        with pytest.raises(TokenError, match="CKR_SESSION_HANDLE_INVALID"):
            token.random(1)
        assert works()
        assert not hsm.refresh()


def test_a_refused_pin_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token counts wrong PINs and locks: a service that tries once a second would lock it. Another PIN is tried."""
    pins, tried = [softhsm.USER], list[str]()
    login = PyKCS11.Session.login

    def watched(session: object, pin: str, user_type: int) -> None:
        tried.append(pin)
        login(session, pin, user_type)

    monkeypatch.setattr(PyKCS11.Session, "login", watched)
    with closing(Token(softhsm.module(), softhsm.OTHER_LABEL, lambda: pins[-1])) as token:
        take_out(token)
        pins.append(Passphrase("another PIN meanwhile"))
        with pytest.raises(TokenError, match="CKR_PIN_INCORRECT"):
            token.restore()
        for _ in range(5):
            with pytest.raises(TokenError, match="has refused this PIN, which is not tried again"):
                token.restore()
        pins.append(softhsm.USER)
        assert token.restore()
        assert 8 == len(token.random(8))
    assert [softhsm.USER.reveal(), pins[1].reveal(), softhsm.USER.reveal()] == tried


def test_a_loss_under_load(tmp_path: Path, token: Token) -> None:
    """Four threads verify PINs while the token is taken out and comes back: each answer is right, or an error of the token."""
    hsm = Pkcs11Hsm.create(tmp_path / "keystore", token)
    zpk = hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk")
    pvk = hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "pvk")
    pan = Pan("6013010000000019")
    block = hsm.encipher_pin(Pin("271828"), zpk, pan)
    right = hsm.choose_pin(block, zpk, pvk, pan, None)
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    stop, counts = threading.Event(), [0, 0]

    def verify(reference: str) -> None:
        while not stop.is_set():
            try:
                assert (reference == right) is hsm.verify_pin(PinToVerify(block, zpk, pan, reference), pvk)
                counts[0] += 1
            except TokenError:
                counts[1] += 1

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(verify, reference) for reference in (right, wrong) * 2]
        for _ in range(6):
            stop.wait(0.1)
            take_out(token)
            stop.wait(0.05)
            while not hsm_is_back(hsm):
                pass
        stop.wait(0.1)
        stop.set()
        for one in running:
            one.result()
    assert min(counts) > 0
    hsm.refresh()
    assert hsm.verify_pin(PinToVerify(block, zpk, pan, right), pvk)
    assert 2 == objects_in(token)


def hsm_is_back(hsm: Pkcs11Hsm) -> bool:
    """As the service asks once a second."""
    with suppress(TokenError, KeystoreError):
        return hsm.refresh()
    return False
