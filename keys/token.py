"""A PKCS#11 token: the module loaded once a process, log-ins, a pool of sessions, errors of this room.

PyKCS11 initialises the module for threads of the operating system, as SoftHSM needs; a session serves one thread at a time.
Objects are made in a session of their own, since they go with the session that made them. The others only compute: one that was
refused something may have an operation half done, which no call can end, so it is closed and another takes its place.
Where all sessions have ended (the token was taken out, or reset) every call fails at once until `restore` has logged in again.
PKCS#11 forbids to use a session after a fork: open the token after it. Refuses to know what keys mean. Read next: pkcs11.py.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import queue
import threading
import weakref
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import PyKCS11
from PyKCS11 import LowLevel

from keys.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from keys.sensitive import Sensitive

Template = list[tuple[int, Any]]

_LOAD_FAILED = -1
_PUBLIC = frozenset({LowLevel.CKS_RO_PUBLIC_SESSION, LowLevel.CKS_RW_PUBLIC_SESSION})
_ENDED = frozenset(
    {
        LowLevel.CKR_SESSION_HANDLE_INVALID,
        LowLevel.CKR_SESSION_CLOSED,
        LowLevel.CKR_USER_NOT_LOGGED_IN,
        LowLevel.CKR_DEVICE_REMOVED,
        LowLevel.CKR_TOKEN_NOT_PRESENT,
        LowLevel.CKR_TOKEN_NOT_RECOGNIZED,
        LowLevel.CKR_SLOT_ID_INVALID,
        LowLevel.CKR_CRYPTOKI_NOT_INITIALIZED,
    }
)
"""What a module answers where a session, or all of them, is no more."""
_PIN_REFUSED = frozenset({LowLevel.CKR_PIN_INCORRECT, LowLevel.CKR_PIN_INVALID, LowLevel.CKR_PIN_LEN_RANGE})

_modules: dict[str, Any] = {}
_one_at_a_time = threading.RLock()
"""For who loads or logs in. The same thread may come twice, where Python takes away an old token meanwhile."""
_DIGEST_KEY = os.urandom(32)
_logged_in: dict[tuple[str, int], bytes] = {}
"""Of module and slot: digest of who logged this process in, and with which PIN. PKCS#11 asks only the first."""


class LogIn:
    """Sessions that live and end together: HOME, where objects are made, and those that are free to compute in."""

    def __init__(self, sessions: list[Any]) -> None:
        self.home = sessions[0]
        self.free: queue.LifoQueue[Any] = queue.LifoQueue()
        for session in sessions[1:]:
            self.free.put(session)
        self.sessions = sessions
        self.ended = False
        self.own: dict[str, Object] = {}
        self.unwanted: list[Object] = []


class Object(NamedTuple):
    """An object of the module: its handle, and whose: after its log-in has ended the same handle may be of another object."""

    handle: Any
    log_in: LogIn


class Token:
    """An open token, logged in as its user (or as its security officer, to set it up)."""

    def __init__(
        self,
        module: Path,
        label: str,
        pin: Sensitive[str] | Callable[[], Sensitive[str]],
        *,
        officer: bool = False,
        sessions: int = 4,
    ) -> None:
        """PIN as a function is asked again when the token must be logged in anew, and not kept.

        Raises TokenError where the module does not load, no token is called LABEL, or the PIN is not right: also where this
        process is logged in already, since PKCS#11 would not look at it.
        """
        self.label = label
        self._module, self._pin = str(module), pin
        self._role = LowLevel.CKU_SO if officer else LowLevel.CKU_USER
        self._state = LowLevel.CKS_RW_SO_FUNCTIONS if officer else LowLevel.CKS_RW_USER_FUNCTIONS
        self._count = 1 + sessions
        self._refused = b""
        self._making = threading.RLock()
        self._now = self._log_in()

    def close(self) -> None:
        """Close its sessions; what they made is gone. The last token of a process that is closed logs it out."""
        self._now.ended = True
        self._end()

    def restore(self) -> bool:
        """Log in again where the sessions have ended. Whether they had: then no object of before is there any more.

        Raises TokenError while the token is away. A PIN that it refused is not tried a second time: tries are counted.
        """
        with self._making:
            if self._is_alive(self._now):
                return False
            self._now.ended = True
            self._end()
            self._now = self._log_in()
        return True

    @contextmanager
    def session(self, *used: Object) -> Iterator[Any]:
        """A session for one thread to compute in with the objects USED, waited for where all are in use.

        What the module refuses is TokenError.
        """
        log_in = self._now
        with self._spoken():
            self._check(log_in, used)
        session = log_in.free.get()
        try:
            with self._spoken():
                yield session
        except TokenError as error:
            session = self._another(log_in, session, error.code)
            raise
        finally:
            log_in.free.put(session)

    @contextmanager
    def home(self, *used: Object) -> Iterator[Any]:
        """The session in which objects are made, for one thread at a time."""
        with self._making:
            log_in = self._now
            try:
                with self._spoken():
                    self._check(log_in, used)
                    yield log_in.home
            except TokenError as error:
                if error.code in _ENDED:
                    log_in.ended = not self._is_alive(log_in)
                raise

    def find(self, label: str) -> Object | None:
        """The object of this label, or None. Raises TokenError where there are two."""
        log_in = self._now
        with self.session() as session:
            found = session.findObjects([(LowLevel.CKA_LABEL, label)])
        if len(found) > 1:
            raise TokenError(f"token {self.label}: holds {len(found)} objects called {label}")
        return Object(found[0], log_in) if found else None

    def must_find(self, label: str) -> Object:
        """One of the token's own keys, looked for once a log-in. Raises TokenError where it is not there."""
        log_in = self._now
        found = log_in.own.get(label) or self.find(label)
        if found is None:
            raise TokenError(f"token {self.label}: has no key {label}: set it up first (docs/keys/backends.md)")
        log_in.own[label] = found
        return found

    def generate(self, mechanism: int, template: Template) -> Object:
        """A random key."""
        with self.home() as session:
            return self._object(session.generateKey(template, PyKCS11.Mechanism(mechanism, None)))

    def create(self, template: Template) -> Object:
        """An object of bytes."""
        with self.home() as session:
            return self._object(session.createObject(template))

    def change(self, one: Object, template: Template) -> None:
        """Attributes of an object that may still be changed."""
        with self.home(one) as session:
            session.setAttributeValue(one.handle, template)

    def destroy(self, *objects: Object) -> None:
        """Destroy objects that nobody will use again. One that does not go now is tried again later, or goes with its session.

        Never raises: it stands where something else has failed, and one object that stays must not keep the others.
        """
        with self._making:
            log_in = self._now
            if log_in.ended:
                return
            unwanted = [*log_in.unwanted, *(one for one in objects if one.log_in is log_in)]
            log_in.unwanted = []
            for one in unwanted:
                try:
                    log_in.home.destroyObject(one.handle)
                except PyKCS11.PyKCS11Error as error:
                    if error.value != LowLevel.CKR_OBJECT_HANDLE_INVALID:
                        log_in.unwanted.append(one)

    def encrypt(self, key: Object, data: bytes, mechanism: Any) -> bytes:  # noqa: ANN401 - a mechanism of the module
        """DATA enciphered. There may be none of it where MECHANISM makes a tag."""
        with self.session(key) as session:
            if not data:  # C_Encrypt takes no empty text, and would leave its operation open
                session.encryptInit(mechanism, key.handle)
                return bytes(session.encryptFinal())
            return bytes(session.encrypt(key.handle, data, mechanism))

    def decrypt(self, key: Object, data: bytes, mechanism: Any) -> bytes:  # noqa: ANN401 - the same
        """DATA deciphered."""
        with self.session(key) as session:
            return bytes(session.decrypt(key.handle, data, mechanism))

    def sign(self, key: Object, data: bytes, mechanism: Any) -> bytes:  # noqa: ANN401 - the same
        """MAC or signature of DATA."""
        with self.session(key) as session:
            if not data:  # the same of C_Sign
                return _sign_nothing(session, key.handle, mechanism)
            return bytes(session.sign(key.handle, data, mechanism))

    def wrap(self, under: Object, key: Object, mechanism: Any) -> bytes:  # noqa: ANN401 - the same
        """KEY wrapped."""
        with self.session(under, key) as session:
            return bytes(session.wrapKey(under.handle, key.handle, mechanism))

    def unwrap(self, under: Object, wrapped: bytes, template: Template, mechanism: Any) -> Object:  # noqa: ANN401 - the same
        """The key that WRAPPED holds."""
        with self.home(under) as session:
            return self._object(session.unwrapKey(under.handle, wrapped, template, mechanism))

    def derive(self, key: Object, template: Template, mechanism: Any) -> Object:  # noqa: ANN401 - the same
        """A key that comes of KEY."""
        with self.home(key) as session:
            return self._object(session.deriveKey(key.handle, template, mechanism))

    def generate_pair(self, public: Template, private: Template, mechanism: int) -> tuple[Object, Object]:
        """A random key pair: public, private."""
        with self.home() as session:
            one, other = session.generateKeyPair(public, private, PyKCS11.Mechanism(mechanism, None))
            return self._object(one), self._object(other)

    def attributes(self, one: Object, names: Sequence[int]) -> list[Any]:
        """Attributes of an object."""
        with self.session(one) as session:
            return list(session.getAttributeValue(one.handle, list(names)))

    def random(self, count: int) -> bytes:
        """Random bytes of the token."""
        with self.session() as session:
            return bytes(session.generateRandom(count))

    def _object(self, handle: Any) -> Object:  # noqa: ANN401 - a handle of the module. While `home` is held
        return Object(handle, self._now)

    def _check(self, log_in: LogIn, used: Sequence[Object]) -> None:
        """Refuse what has ended before the module is asked: it might know a handle of before as something else."""
        if log_in.ended:
            raise PyKCS11.PyKCS11Error(LowLevel.CKR_SESSION_HANDLE_INVALID)
        if any(one.log_in is not log_in for one in used):
            raise PyKCS11.PyKCS11Error(LowLevel.CKR_OBJECT_HANDLE_INVALID)

    def _log_in(self) -> LogIn:
        """New sessions, logged in. Python closes them where the token is no longer used and nobody has."""
        pin = self._pin() if callable(self._pin) else self._pin
        sessions: list[Any] = []
        end = weakref.finalize(self, _close, sessions)
        end.atexit = False  # the module may be gone by then, and the sessions with it
        with self._spoken(), _one_at_a_time:
            library = _load(self._module)
            slot = _slot(library, self.label)
            try:
                while len(sessions) < self._count:
                    sessions.append(_open(library, slot))
                self._prove(sessions[0], slot, pin)
            except BaseException:
                end()
                raise
        self._open, self._end = partial(_open, library, slot), end
        return LogIn(sessions)

    def _prove(self, session: Any, slot: int, pin: Sensitive[str]) -> None:  # noqa: ANN401 - a session of the module
        """Log in. Where this process is already, compare with who did it: the module says only that somebody has."""
        digest = hmac.digest(_DIGEST_KEY, f"{self._role} {pin.reveal()}".encode(), hashlib.sha256)
        state, place = session.getSessionInfo().state, (self._module, slot)
        if state in _PUBLIC:
            if hmac.compare_digest(self._refused, digest):
                raise TokenError(f"token {self.label}: has refused this PIN, which is not tried again")
            try:
                session.login(pin.reveal(), self._role)
            except PyKCS11.PyKCS11Error as error:
                self._refused = digest if error.value in _PIN_REFUSED else b""
                raise
            _logged_in[place] = digest
        elif state != self._state:
            raise PyKCS11.PyKCS11Error(LowLevel.CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
        elif not hmac.compare_digest(_logged_in.get(place, b""), digest):
            raise PyKCS11.PyKCS11Error(LowLevel.CKR_PIN_INCORRECT)

    def _is_alive(self, log_in: LogIn) -> bool:
        with self._making:
            try:
                return not log_in.ended and bool(log_in.home.getSessionInfo().state == self._state)
            except PyKCS11.PyKCS11Error:
                return False

    def _another(self, log_in: LogIn, session: Any, code: int | None) -> Any:  # noqa: ANN401 - a session of the module
        """A session in the place of one that was refused something; the same one where the token opens none."""
        if code in _ENDED and not self._is_alive(log_in):
            log_in.ended = True
        if log_in.ended:
            return session
        try:
            other = self._open()
        except PyKCS11.PyKCS11Error:
            return session
        log_in.sessions[log_in.sessions.index(session)] = other
        _close([session])
        return other

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        """PyKCS11's errors as TokenError: the return code's name, which holds no data."""
        try:
            yield
        except PyKCS11.PyKCS11Error as error:
            # Below zero are PyKCS11's own: its text for them would hold a path, or what was given.
            known = {_LOAD_FAILED: "module does not load"} if error.value < 0 else PyKCS11.CKR
            text = known.get(error.value, f"error {error.value}")
            raise TokenError(f"token {self.label}: {text}", error.value) from None


def _sign_nothing(session: Any, key: Any, mechanism: Any) -> bytes:  # noqa: ANN401 - the same
    """C_SignInit and C_SignFinal, for which PyKCS11 has no method. The first C_SignFinal only asks how long the code is."""
    code = PyKCS11.ckbytelist()
    _refuse_error(session.lib.C_SignInit(session.session, mechanism.to_native(), key))
    _refuse_error(session.lib.C_SignFinal(session.session, code))
    _refuse_error(session.lib.C_SignFinal(session.session, code))
    return bytes(code)


def _refuse_error(result: int) -> None:
    if result != LowLevel.CKR_OK:
        raise PyKCS11.PyKCS11Error(result)


def _load(name: str) -> Any:  # noqa: ANN401 - PyKCS11 has no types
    if name not in _modules:
        library = PyKCS11.PyKCS11Lib()
        library.load(name)
        _modules[name] = library
    return _modules[name]


def _slot(library: Any, label: str) -> int:  # noqa: ANN401 - the same
    found = [
        int(slot)
        for slot in library.getSlotList(tokenPresent=True)
        if library.getTokenInfo(slot).label.strip().rstrip("\x00").strip() == label
    ]
    if len(found) > 1:
        raise TokenError(f"token {label}: there are {len(found)} of this label")
    if not found:
        raise TokenError(f"token {label}: is not there")
    return found[0]


def _open(library: Any, slot: int) -> Any:  # noqa: ANN401 - the same
    return library.openSession(slot, LowLevel.CKF_SERIAL_SESSION | LowLevel.CKF_RW_SESSION)


def _close(sessions: list[Any]) -> None:
    """Close them, as far as they are there still."""
    for session in sessions:
        with suppress(PyKCS11.PyKCS11Error):
            session.closeSession()
