"""A PKCS#11 token: the module loaded once a process, one login, a pool of sessions, errors of this room.

PyKCS11 initialises the module for threads of the operating system, as SoftHSM needs; a session serves one thread at a time.
Objects are made in a session of their own, since they go with the session that made them. The others only compute: one that was
refused something may have an operation half done, which no call can end, so it is closed and another takes its place.
PKCS#11 forbids to use a session after a fork: open the token after it. Refuses to know what keys mean. Read next: pkcs11.py.
"""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import PyKCS11
from PyKCS11 import LowLevel

from keys.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from keys.sensitive import Sensitive

Object = Any
"""An object handle of the module. Lives as long as its session, or for ever where it is a token object."""

Template = list[tuple[int, Any]]

_LOAD_FAILED = -1

_modules: dict[str, Any] = {}
_loading = threading.Lock()


class Token:
    """An open token, logged in as its user (or as its security officer, to set it up)."""

    def __init__(
        self, module: Path, label: str, pin: Sensitive[str], *, officer: bool = False, sessions: int = 4
    ) -> None:
        """Raises TokenError where the module does not load, no token is called LABEL, or the PIN is not right."""
        self.label = label
        with _spoken(f"token {label}"):
            library = _load(module)
            self._library, self._slot = library, _slot(library, label)
            self._home = self._open()
            self._open_sessions = [self._home, *(self._open() for _ in range(sessions))]
            try:
                self._home.login(pin.reveal(), LowLevel.CKU_SO if officer else LowLevel.CKU_USER)
            except PyKCS11.PyKCS11Error as error:
                if error.value != LowLevel.CKR_USER_ALREADY_LOGGED_IN:
                    self.close()
                    raise
        self._making = threading.Lock()
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        for session in self._open_sessions[1:]:
            self._free.put(session)

    def close(self) -> None:
        """Close its sessions; what they made is gone."""
        with _spoken(f"token {self.label}"):
            for session in self._open_sessions:
                session.closeSession()
        self._open_sessions = []

    @contextmanager
    def session(self) -> Iterator[Any]:
        """A session for one thread to compute in, waited for where all are in use. What the module refuses is TokenError."""
        session = self._free.get()
        try:
            with _spoken(f"token {self.label}"):
                yield session
        except TokenError:
            session = self._another(session)
            raise
        finally:
            self._free.put(session)

    @contextmanager
    def home(self) -> Iterator[Any]:
        """The session in which objects are made, for one thread at a time."""
        with self._making, _spoken(f"token {self.label}"):
            yield self._home

    def find(self, label: str) -> Object | None:
        """The object of this label, or None. Raises TokenError where there are two."""
        with self.session() as session:
            found = session.findObjects([(LowLevel.CKA_LABEL, label)])
        if len(found) > 1:
            raise TokenError(f"token {self.label}: holds {len(found)} objects called {label}")
        return found[0] if found else None

    def generate(self, mechanism: int, template: Template) -> Object:
        """A random key."""
        with self.home() as session:
            return session.generateKey(template, PyKCS11.Mechanism(mechanism, None))

    def create(self, template: Template) -> Object:
        """An object of bytes."""
        with self.home() as session:
            return session.createObject(template)

    def destroy(self, *objects: Object) -> None:
        """Objects that are no longer needed."""
        with self.home() as session:
            for one in objects:
                session.destroyObject(one)

    def encrypt(self, key: Object, data: bytes, mechanism: Any) -> bytes:  # noqa: ANN401 - a mechanism of the module
        """DATA enciphered. There may be none of it where MECHANISM makes a tag."""
        with self.session() as session:
            if not data:  # C_Encrypt takes no empty text, and would leave its operation open
                session.encryptInit(mechanism, key)
                return bytes(session.encryptFinal())
            return bytes(session.encrypt(key, data, mechanism))

    def decrypt(self, key: Object, data: bytes, mechanism: Any) -> bytes:  # noqa: ANN401 - the same
        """DATA deciphered."""
        with self.session() as session:
            return bytes(session.decrypt(key, data, mechanism))

    def sign(self, key: Object, data: bytes, mechanism: Any) -> bytes:  # noqa: ANN401 - the same
        """MAC or signature of DATA."""
        with self.session() as session:
            if not data:  # the same of C_Sign
                return _sign_nothing(session, key, mechanism)
            return bytes(session.sign(key, data, mechanism))

    def wrap(self, under: Object, key: Object, mechanism: Any) -> bytes:  # noqa: ANN401 - the same
        """KEY wrapped."""
        with self.session() as session:
            return bytes(session.wrapKey(under, key, mechanism))

    def unwrap(self, under: Object, wrapped: bytes, template: Template, mechanism: Any) -> Object:  # noqa: ANN401 - the same
        """The key that WRAPPED holds."""
        with self.home() as session:
            return session.unwrapKey(under, wrapped, template, mechanism)

    def derive(self, key: Object, template: Template, mechanism: Any) -> Object:  # noqa: ANN401 - the same
        """A key that comes of KEY."""
        with self.home() as session:
            return session.deriveKey(key, template, mechanism)

    def generate_pair(self, public: Template, private: Template, mechanism: int) -> tuple[Object, Object]:
        """A random key pair: public, private."""
        with self.home() as session:
            pair: tuple[Object, Object] = session.generateKeyPair(public, private, PyKCS11.Mechanism(mechanism, None))
            return pair

    def attributes(self, one: Object, names: Sequence[int]) -> list[Any]:
        """Attributes of an object."""
        with self.session() as session:
            return list(session.getAttributeValue(one, list(names)))

    def random(self, count: int) -> bytes:
        """Random bytes of the token."""
        with self.session() as session:
            return bytes(session.generateRandom(count))

    def _open(self) -> Any:  # noqa: ANN401 - a session of the module
        return self._library.openSession(self._slot, LowLevel.CKF_SERIAL_SESSION | LowLevel.CKF_RW_SESSION)

    def _another(self, session: Any) -> Any:  # noqa: ANN401 - the same
        """A session in the place of one that was refused something; the same one where the token opens none."""
        try:
            other = self._open()
            session.closeSession()
        except PyKCS11.PyKCS11Error:
            return session
        self._open_sessions[self._open_sessions.index(session)] = other
        return other


def _sign_nothing(session: Any, key: Object, mechanism: Any) -> bytes:  # noqa: ANN401 - the same
    """C_SignInit and C_SignFinal, for which PyKCS11 has no method. The first C_SignFinal only asks how long the code is."""
    code = PyKCS11.ckbytelist()
    _refuse_error(session.lib.C_SignInit(session.session, mechanism.to_native(), key))
    _refuse_error(session.lib.C_SignFinal(session.session, code))
    _refuse_error(session.lib.C_SignFinal(session.session, code))
    return bytes(code)


def _refuse_error(result: int) -> None:
    if result != LowLevel.CKR_OK:
        raise PyKCS11.PyKCS11Error(result)


@contextmanager
def _spoken(who: str) -> Iterator[None]:
    """PyKCS11's errors as TokenError: the return code's name, which holds no data."""
    try:
        yield
    except PyKCS11.PyKCS11Error as error:
        # Below zero are PyKCS11's own: its text for them would hold a path, or what was given.
        known = {_LOAD_FAILED: "module does not load"} if error.value < 0 else PyKCS11.CKR
        raise TokenError(f"{who}: {known.get(error.value, f'error {error.value}')}") from None


def _load(module: Path) -> Any:  # noqa: ANN401 - PyKCS11 has no types
    with _loading:
        name = str(module)
        if name not in _modules:
            library = PyKCS11.PyKCS11Lib()
            library.load(name)
            _modules[name] = library
        return _modules[name]


def _slot(library: Any, label: str) -> int:  # noqa: ANN401 - the same
    for slot in library.getSlotList(tokenPresent=True):
        if library.getTokenInfo(slot).label.strip().rstrip("\x00").strip() == label:
            return int(slot)
    raise TokenError(f"token {label}: is not there")
