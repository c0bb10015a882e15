"""A token of SoftHSM for the tests: its own folder, made once a process, with three master keys; and why there is none.

SoftHSM reads where its tokens are when it is loaded, which PyKCS11 does once a process: so SOFTHSM2_CONF is set here, before.
KKS_REQUIRE_TOKEN makes its absence a failure; without it the tests of a token are skipped.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from PyKCS11 import LowLevel

from keys.master import Passphrase
from keys.pkcs11 import Pkcs11Hsm
from keys.token import Token

REQUIRED = bool(os.environ.get("KKS_REQUIRE_TOKEN"))
"""Read when the tests are collected: their environment has no KKS_* in it."""

LABEL, OTHER_LABEL, AWAY_LABEL = "kks-test", "kks-test-other", "kks-test-away"
"""Three tokens: one that is set up, an empty one for tests of logging in, and one that is set up to be taken out."""
USER, OFFICER = Passphrase("the user of the tests"), Passphrase("the officer of the tests")
MASTERS = (1, 2, 3)

_PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
MODULE = next((Path(place) for place in _PLACES if Path(place).exists()), None)
_UTIL = shutil.which("softhsm2-util")


def is_there() -> bool:
    """Whether the tests of a token run: where one is required, they do, and fail."""
    return REQUIRED or (MODULE is not None and _UTIL is not None)


needs_token = pytest.mark.skipif(not is_there(), reason="SoftHSM is not installed (apt-get install softhsm2)")
"""For a test, or the pytestmark of a module, that wants a token."""


@functools.cache
def module() -> Path:
    """The module, with a token made and its master keys in it."""
    if MODULE is None or _UTIL is None:
        pytest.fail("KKS_REQUIRE_TOKEN is set, and SoftHSM is not installed")
    folder = Path(tempfile.mkdtemp(prefix="kks-test-token-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
        "slots.removable = false\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(conf)
    for label in (LABEL, OTHER_LABEL, AWAY_LABEL):
        command = [
            _UTIL,
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            USER.reveal(),
            "--so-pin",
            OFFICER.reveal(),
        ]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - the tool of the path, with words of our own
    for label, masters in ((LABEL, MASTERS), (AWAY_LABEL, MASTERS[:1])):
        with closing(Token(MODULE, label, OFFICER, officer=True)) as officer:
            for number in masters:
                Pkcs11Hsm.set_up_master(officer, number)
        with closing(Token(MODULE, label, USER)) as user:
            Pkcs11Hsm.set_up(user)
    return MODULE


def open_token(sessions: int = 4, label: str = LABEL) -> Token:
    """A token, open as its user. What is made in these sessions goes with them: the caller closes it, or the process does."""
    return Token(module(), label, USER, sessions=sessions)


def objects_in(token: Token) -> int:
    """Session objects that the process has in a token, of whatever kind."""
    with token.session() as session:
        return len(session.findObjects([(LowLevel.CKA_TOKEN, LowLevel.CK_FALSE)]))


def take_out(token: Token) -> None:
    """End every session with its token, and so its log-in and all session objects, as taking it out does."""
    home = token._now.home
    home.pykcs11.closeAllSessions(home.getSessionInfo().slotID)


@functools.cache
def shared_token() -> Token:
    """One token for all tests that only want it to work."""
    return open_token()
