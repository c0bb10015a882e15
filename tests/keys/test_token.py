"""A PKCS#11 token: logging in, sessions, errors."""

from __future__ import annotations

import gc
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import PyKCS11
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from PyKCS11 import LowLevel

from keys import aes, mac
from keys import token as token_module
from keys import token_objects as objects
from keys.errors import TokenError
from keys.keytypes import Algorithm
from keys.master import Passphrase
from keys.token import Token
from keys.token_rights import EVERY
from tests.keys import softhsm
from tests.keys.samples import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = softhsm.needs_token

KEY = bytes(range(32))
WRONG = Passphrase("not the words of anybody")


@pytest.fixture
def token() -> Iterator[Token]:
    """The token with a single session to compute in, so that nothing wrong with it goes unseen."""
    opened = softhsm.open_token(sessions=1)
    yield opened
    opened.close()


def open_other(pin: Passphrase = softhsm.USER, *, officer: bool = False) -> Token:
    """The empty token."""
    return Token(softhsm.module(), softhsm.OTHER_LABEL, pin, officer=officer)


def held(token: Token) -> Any:  # noqa: ANN401 - an object of the module
    """A known AES key in the token."""
    return objects.bring_in(token, Algorithm.AES, KEY, EVERY)


def test_a_module_that_is_none(tmp_path: Path) -> None:
    """Not there, or no module: one error in one line, that names the token and no PIN."""
    (tmp_path / "text.so").write_text("no module")
    for path in (tmp_path / "nothing.so", tmp_path / "text.so", tmp_path):
        with pytest.raises(TokenError, match=r"^token kks-test: module does not load$") as caught:
            Token(path, softhsm.LABEL, softhsm.USER)
        assert one_line(caught.value)


@pytest.mark.parametrize("label", ["kks", "kks-test-2", "kks-test\x00", "KKS-TEST"])
def test_a_token_that_is_not_there(label: str) -> None:
    """Labels are compared whole."""
    with pytest.raises(TokenError, match="is not there"):
        Token(softhsm.module(), label, softhsm.USER)


def test_errors_come_whole_out_of_a_worker() -> None:
    """With their return code, through the pickle that a process pool sends them in."""
    error = pickle.loads(pickle.dumps(TokenError("token kks: CKR_DEVICE_REMOVED", LowLevel.CKR_DEVICE_REMOVED)))  # noqa: S301 - our own
    assert ("token kks: CKR_DEVICE_REMOVED", LowLevel.CKR_DEVICE_REMOVED) == (str(error), error.code)
    assert TokenError("token kks: is not there").code is None


def test_a_wrong_pin_opens_nothing() -> None:
    """The error says that it was the PIN, and not which; the right one opens after it."""
    for officer in (False, True):
        with pytest.raises(TokenError, match="CKR_PIN_INCORRECT") as caught:
            Token(softhsm.module(), softhsm.OTHER_LABEL, WRONG, officer=officer)
        assert WRONG.reveal() not in str(caught.value)
        right = softhsm.OFFICER if officer else softhsm.USER
        Token(softhsm.module(), softhsm.OTHER_LABEL, right, officer=officer).close()


@pytest.fixture
def open_sessions(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many of the sessions opened since are open."""
    opened: list[Any] = []
    open_one = token_module._open

    def watched(library: object, slot: int) -> object:
        opened.append(open_one(library, slot))
        return opened[-1]

    def is_open(session: Any) -> bool:  # noqa: ANN401 - a session of the module
        try:
            session.getSessionInfo()
        except PyKCS11.PyKCS11Error:
            return False
        return True

    monkeypatch.setattr(token_module, "_open", watched)
    return lambda: sum(map(is_open, opened))


def test_a_wrong_pin_is_refused_where_the_right_one_is_logged_in(open_sessions: Callable[[], int]) -> None:
    """PKCS#11 logs in a process, and looks at no PIN while it is: so it is compared here, with whose it was."""
    with closing(open_other()) as one:
        key = held(one)
        for pin in (WRONG, softhsm.OFFICER, Passphrase(softhsm.USER.reveal() + " ")):
            with pytest.raises(TokenError, match="CKR_PIN_INCORRECT"):
                open_other(pin)
        for pin in (WRONG, softhsm.OFFICER, softhsm.USER):
            with pytest.raises(TokenError, match="CKR_USER_ANOTHER_ALREADY_LOGGED_IN"):
                open_other(pin, officer=True)
        assert 5 == open_sessions()
        with closing(open_other()):
            assert 10 == open_sessions()
        assert 5 == open_sessions()
        assert aes.encipherer(KEY)(bytes(16)) == one.encrypt(key, bytes(16), objects.AES_ECB)
    with closing(open_other(softhsm.OFFICER, officer=True)):
        for pin in (softhsm.USER, softhsm.OFFICER):
            with pytest.raises(TokenError, match="CKR_USER_ANOTHER_ALREADY_LOGGED_IN"):
                open_other(pin)
        with pytest.raises(TokenError, match="CKR_PIN_INCORRECT"):
            open_other(softhsm.USER, officer=True)
        open_other(softhsm.OFFICER, officer=True).close()


def test_the_last_one_logs_out() -> None:
    """Not the first: whoever is left works on; after the last the token itself is asked again, and refuses."""
    one, other = open_other(), open_other()
    key = held(other)
    one.close()
    assert aes.encipherer(KEY)(bytes(16)) == other.encrypt(key, bytes(16), objects.AES_ECB)
    with pytest.raises(TokenError, match="CKR_PIN_INCORRECT"):
        open_other(WRONG)
    other.close()
    with pytest.raises(TokenError, match="CKR_PIN_INCORRECT"):
        open_other(WRONG)
    open_other(softhsm.OFFICER, officer=True).close()


def test_a_log_in_of_a_stranger_is_not_used() -> None:
    """Somebody else in the process keeps it logged in, nobody here knows with which PIN: even the right one is refused."""
    with closing(open_other()) as one:
        home = one._now.home
        slot = home.getSessionInfo().slotID
        stranger = home.pykcs11.openSession(slot, LowLevel.CKF_SERIAL_SESSION | LowLevel.CKF_RW_SESSION)
    token_module._logged_in.pop((str(softhsm.module()), slot))
    with pytest.raises(TokenError, match="CKR_PIN_INCORRECT"):
        open_other()
    stranger.closeSession()
    open_other().close()


def test_threads_log_in_at_once() -> None:
    """Each is let in by its own PIN, whoever came first."""
    started = threading.Barrier(8)

    def try_pin(number: int) -> str:
        started.wait()
        try:
            opened.append(open_other(softhsm.USER if number % 2 else WRONG))
        except TokenError as error:
            return str(error).rpartition(" ")[2]
        return "open"

    opened: list[Token] = []
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            assert ["CKR_PIN_INCORRECT", "open"] * 4 == list(pool.map(try_pin, range(8)))
        while opened:
            opened.pop().close()


def test_a_token_that_nobody_has_any_more(open_sessions: Callable[[], int]) -> None:
    """Its sessions, and what was made in them, do not wait for the end of the process."""
    with closing(open_other()) as kept:
        dropped = open_other()
        held(dropped)
        assert (10, 1) == (open_sessions(), softhsm.objects_in(kept))
        del dropped
        gc.collect()
        assert (5, 0) == (open_sessions(), softhsm.objects_in(kept))


def test_a_token_that_cannot_be_opened_leaves_no_session(open_sessions: Callable[[], int]) -> None:
    """Refused by the token, or here."""
    with pytest.raises(TokenError, match="CKR_PIN_INCORRECT"):
        open_other(WRONG)
    assert 0 == open_sessions()
    with closing(open_other()):
        with pytest.raises(TokenError, match="CKR_PIN_INCORRECT"):
            open_other(WRONG)
        assert 5 == open_sessions()


def test_what_was_made_goes_with_its_token(token: Token) -> None:
    """Session objects are the open token's; closed, it does nothing more."""
    opened = softhsm.open_token()
    key = held(opened)
    assert aes.encipherer(KEY)(bytes(16)) == opened.encrypt(key, bytes(16), objects.AES_ECB)
    with pytest.raises(TokenError, match="CKR_OBJECT_HANDLE_INVALID"):
        token.encrypt(key, bytes(16), objects.AES_ECB)
    opened.close()
    calls: list[Callable[[], object]] = [
        lambda: opened.encrypt(key, bytes(16), objects.AES_ECB),
        lambda: opened.random(8),
        lambda: held(opened),
        lambda: opened.find("a"),
    ]
    for call in calls:
        with pytest.raises(TokenError, match="CKR_SESSION_HANDLE_INVALID"):
            call()
    opened.destroy(key)
    opened.close()


def test_a_refused_call_leaves_nothing_half_done(token: Token) -> None:
    """Whatever the module refused in the middle of an operation: the next one works, and keys are still there."""
    key = held(token)
    refusals: list[tuple[Any, ...]] = [
        (token.encrypt, key, b"no whole block", objects.AES_ECB),
        (token.decrypt, key, b"", objects.AES_ECB),
        (token.decrypt, key, bytes(15), objects.AES_ECB),
        (token.encrypt, key, b"", objects.AES_ECB),
        (token.decrypt, key, b"", objects.gcm(bytes(12), b"")),
        (token.decrypt, key, bytes(40), objects.gcm(bytes(12), b"")),
        (token.encrypt, key, bytes(8), objects.DES3_ECB),
        (token.sign, key, b"text", objects.SHA256_HMAC),
        (token.sign, key, b"", objects.SHA256_HMAC),
        (token.sign, key, b"", objects.DES3_CMAC),
        (token.wrap, key, key, objects.KEY_WRAP),
        (token.unwrap, key, bytes(40), [], objects.KEY_WRAP),
        (token.derive, key, [], objects.DES3_ECB),
        (token.create, []),
        (token.random, 0),
    ]
    for call, *arguments in refusals:
        try:
            call(*arguments)
        except TokenError as error:
            assert one_line(error)  # noqa: PT017 - a call that a module takes is no fault of this test
            assert str(error).startswith("token kks-test: CKR_")  # noqa: PT017 - the same
        assert aes.encipherer(KEY)(bytes(16)) == token.encrypt(key, bytes(16), objects.AES_ECB)
        assert bytes(16) == token.decrypt(key, aes.encipherer(KEY)(bytes(16)), objects.AES_ECB)
        assert mac.aes_cmac(KEY)(b"text") == token.sign(key, b"text", objects.AES_CMAC)
        assert token.find("kks-header-mac") is not None


def test_where_no_other_session_opens(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal stays what it was, and the pool keeps its session."""
    key = held(token)

    def none_left() -> None:
        raise PyKCS11.PyKCS11Error(LowLevel.CKR_SESSION_COUNT)

    monkeypatch.setattr(token, "_open", none_left)
    with pytest.raises(TokenError, match=r"CKR_(ENCRYPTED_)?DATA_LEN_RANGE"):
        token.encrypt(key, b"no whole block", objects.AES_ECB)
    assert 8 == len(token.random(8))


def test_empty_texts(token: Token) -> None:
    """Codes and seals of nothing are as good as any: the module has another call for them."""
    key = held(token)
    assert mac.aes_cmac(KEY)(b"") == token.sign(key, b"", objects.AES_CMAC)
    sealed = token.encrypt(key, b"", objects.gcm(bytes(12), b"place"))
    assert AESGCM(KEY).encrypt(bytes(12), b"", b"place") == sealed
    assert b"" == token.decrypt(key, sealed, objects.gcm(bytes(12), b"place"))


def test_threads_share_its_sessions() -> None:
    """More threads than sessions wait for each other; what each computes is its own."""
    token = softhsm.open_token(sessions=2)
    keys = [objects.bring_in(token, Algorithm.AES, bytes([number]) + KEY[1:], EVERY) for number in range(8)]
    started = threading.Barrier(8)

    def work(number: int) -> bool:
        started.wait()
        right = aes.encipherer(bytes([number]) + KEY[1:])
        for count in range(60):
            block = count.to_bytes(16)
            made = objects.bring_in(token, Algorithm.AES, KEY, EVERY)
            if token.encrypt(keys[number], block, objects.AES_ECB) != right(block):
                return False
            if count % 7 == 0:
                with pytest.raises(TokenError):
                    token.encrypt(made, b"no whole block", objects.AES_ECB)
            token.destroy(made)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert [True] * 8 == list(pool.map(work, range(8)))
    token.close()


def test_objects_are_found_by_label(token: Token) -> None:
    """None where there is none; two of one label are an error, as nobody could tell which was meant."""
    assert token.find("nothing") is None
    template = objects._secret(Algorithm.AES, 32, EVERY, extractable=False)
    named = [*template, (LowLevel.CKA_VALUE, KEY), (LowLevel.CKA_LABEL, "named")]
    token.create(named)
    assert token.find("named") is not None
    token.create(named)
    with pytest.raises(TokenError, match="holds 2 objects called named"):
        token.find("named")


def test_destroyed_objects_are_gone(token: Token) -> None:
    """At once, for every session; none at all are no trouble, and no more what is gone already."""
    before, key = softhsm.objects_in(token), held(token)
    token.destroy(key)
    assert before == softhsm.objects_in(token)
    with pytest.raises(TokenError, match="HANDLE_INVALID"):
        token.encrypt(key, bytes(16), objects.AES_ECB)
    token.destroy(key)
    token.destroy()


def test_what_is_not_destroyed_now_is_tried_again(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that fails for a moment: nothing is raised, the others go, and the one that stayed goes with the next."""
    before, keys = softhsm.objects_in(token), [held(token) for _ in range(4)]
    home = token._now.home
    destroy = home.destroyObject

    def failing(handle: object) -> None:
        if handle is keys[1].handle:
            raise PyKCS11.PyKCS11Error(LowLevel.CKR_DEVICE_ERROR)
        destroy(handle)

    with monkeypatch.context() as patched:
        patched.setattr(home, "destroyObject", failing)
        token.destroy(*keys[:3])
        assert before + 2 == softhsm.objects_in(token)
    token.destroy(keys[3])
    assert before == softhsm.objects_in(token)


def test_random_bytes(token: Token) -> None:
    """As many as asked for, never the same."""
    assert [1, 16, 65_536] == [len(token.random(count)) for count in (1, 16, 65_536)]
    assert token.random(16) != token.random(16)


def test_the_module_is_loaded_once() -> None:
    """Tokens of one module share it: PKCS#11 is initialised once in a process."""
    one, other = softhsm.open_token(), softhsm.open_token()
    assert one._now.home.pykcs11 is other._now.home.pykcs11
    one.close()
    other.close()
