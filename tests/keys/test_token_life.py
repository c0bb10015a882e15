"""What is in a token while keys are made, changed, taken up and destroyed: the keys in use, and nothing of before."""

from __future__ import annotations

import gc
from contextlib import closing
from typing import TYPE_CHECKING

import PyKCS11
import pytest
from PyKCS11 import LowLevel

from keys import pkcs11
from keys import token_objects as objects
from keys.errors import KeyRefused, KeystoreError, TokenError
from keys.keytypes import Algorithm, Exportability, KeySpec, KeyState, KeyUsage
from keys.pkcs11 import Pkcs11Hsm
from keys.token_rights import EVERY
from keys.token_workshop import TokenWorkshop
from tests.keys import softhsm
from tests.keys.samples import SECOND_KEY, components, rsa_private
from tests.keys.softhsm import objects_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keys.keytypes import KeyHandle
    from keys.token import Object, Token

pytestmark = softhsm.needs_token

ACTIVE, SUSPENDED, COMPROMISED, DESTROYED = (
    KeyState.ACTIVE, KeyState.SUSPENDED, KeyState.COMPROMISED, KeyState.DESTROYED,
)  # fmt: skip
ROUNDS = 25


@pytest.fixture
def token() -> Iterator[Token]:
    """A token that nobody else in the process has open: what is counted in it is the test's own."""
    gc.collect()
    with closing(softhsm.open_token(label=softhsm.AWAY_LABEL)) as opened:
        assert 0 == objects_in(opened)
        yield opened


@pytest.fixture
def other_token() -> Iterator[Token]:
    """The same token, as another process has it."""
    with closing(softhsm.open_token(label=softhsm.AWAY_LABEL)) as opened:
        yield opened


def filled(folder: Path, token: Token) -> tuple[Pkcs11Hsm, list[KeyHandle]]:
    """An HSM with three keys, which are four objects: a retail MAC key has a companion."""
    hsm = Pkcs11Hsm.create(folder / "keystore", token)
    keys = [
        hsm.form(KeyUsage.MAC_RETAIL, "zak", components(SECOND_KEY)),
        hsm.generate(KeyUsage.MAC_CMAC, "link"),
        hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, exportability=Exportability.EXPORTABLE), "zpk"),
    ]
    assert 4 == objects_in(token)
    return hsm, keys


def failing_at(call: int, monkeypatch: pytest.MonkeyPatch, name: str, code: int = LowLevel.CKR_DEVICE_REMOVED) -> None:
    """Let the module fail at one of its coming calls of a function, counted from 1."""
    left, function = [call], getattr(PyKCS11.Session, name)

    def failing(session: object, *asked: object) -> object:
        left[0] -= 1
        if not left[0]:
            raise PyKCS11.PyKCS11Error(code)
        return function(session, *asked)

    monkeypatch.setattr(PyKCS11.Session, name, failing)


def test_states_and_refreshes_leave_nothing_behind(tmp_path: Path, token: Token, other_token: Token) -> None:
    """One changes states, the other takes them up, again and again: the objects are those of the keys, and all work."""
    one, (zak, *_) = filled(tmp_path, token)
    other = Pkcs11Hsm.open(tmp_path / "keystore", other_token)
    mac = one.mac(zak, b"message")
    assert 8 == objects_in(token)
    for _ in range(ROUNDS):
        for state in (SUSPENDED, ACTIVE):
            one.set_state(zak, state)
            assert other.refresh()
            assert 8 == objects_in(token)
        assert not one.refresh()
        assert mac == other.mac(other.find("zak"), b"message") == one.mac(zak, b"message")
    for _ in range(3):
        other.generate(KeyUsage.MAC_CMAC, "link")
        assert one.refresh()
    assert 8 + 2 * 3 == objects_in(token)


def test_a_refresh_unwraps_what_changed(
    tmp_path: Path, token: Token, other_token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others stay the objects they were."""
    one, (zak, link, zpk) = filled(tmp_path, token)
    other = Pkcs11Hsm.open(tmp_path / "keystore", other_token)
    unwrapped, unwrap = list[bytes](), other_token.unwrap

    def watched(under: Object, wrapped: bytes, template: list[tuple[int, object]], mechanism: object) -> Object:
        unwrapped.append(wrapped)
        return unwrap(under, wrapped, template, mechanism)

    monkeypatch.setattr(other_token, "unwrap", watched)
    for key, objects_of_it in ((zak, 2), (link, 1), (zpk, 1)):
        one.set_state(key, SUSPENDED)
        assert other.refresh()
        assert objects_of_it == len(unwrapped)
        unwrapped.clear()
    one.generate(KeyUsage.MAC_CMAC, "link")
    assert other.refresh()
    assert 1 == len(unwrapped)


def test_a_destroyed_key_leaves_the_token_at_once(tmp_path: Path, token: Token, other_token: Token) -> None:
    """All of its objects; in another process when it takes it up. The keys beside it work."""
    one, (zak, link, _) = filled(tmp_path, token)
    other = Pkcs11Hsm.open(tmp_path / "keystore", other_token)
    raw = one._tools.known(zak).raw
    assert raw is not None
    one.set_state(zak, COMPROMISED)
    assert 8 == objects_in(token)
    one.set_state(zak, DESTROYED)
    assert 6 == objects_in(token)
    for gone in raw.objects:
        with pytest.raises(TokenError, match="HANDLE_INVALID"):
            token.encrypt(gone, bytes(8), objects.DES3_ECB)
    assert other.refresh()
    assert 4 == objects_in(token)
    assert one.mac(link, b"message") == other.mac(other.find("link"), b"message")


def test_keys_that_go_with_the_process_are_let_go_too(token: Token) -> None:
    """Without a keystore file it is the same."""
    hsm = Pkcs11Hsm(TokenWorkshop(token), None)
    key = hsm.generate(KeyUsage.MAC_RETAIL, "a")
    hsm.set_state(key, SUSPENDED)
    assert 2 == objects_in(token)
    hsm.set_state(key, COMPROMISED)
    hsm.set_state(key, DESTROYED)
    assert 0 == objects_in(token)


def test_keys_that_were_refused_are_not_kept(tmp_path: Path, token: Token) -> None:
    """Made or brought in, and then not taken: another usage of the label, a wrong header, a state no key begins in."""
    hsm, _ = filled(tmp_path, token)
    refused: list[Callable[[], object]] = [
        lambda: hsm.generate(KeyUsage.MAC_RETAIL, "link"),
        lambda: hsm.generate(KeyUsage.MAC_CMAC, "no label"),
        lambda: hsm.generate(KeySpec(KeyUsage.MAC_CMAC, state=SUSPENDED), "link"),
        lambda: hsm.form(KeyUsage.CARD_VERIFICATION, "link", components(SECOND_KEY)),
        lambda: hsm.generate(KeyUsage.SIGNATURE, "link"),
        lambda: hsm.import_signing_key("link", rsa_private()),
    ]
    for call in refused:
        with pytest.raises(KeyRefused):
            call()
        assert 4 == objects_in(token)
    (tmp_path / "keystore").unlink()
    with pytest.raises(KeystoreError):
        hsm.generate(KeyUsage.MAC_RETAIL, "other")
    assert 4 == objects_in(token)


@pytest.mark.parametrize(
    ("function", "call"), [("createObject", 1), ("createObject", 2), ("wrapKey", 1), ("wrapKey", 2), ("sign", 1)]
)
def test_keys_that_failed_half_way(
    tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch, function: str, call: int
) -> None:
    """A key of two objects, with the module failing at each step of making and storing it: none of it stays."""
    hsm, _ = filled(tmp_path, token)
    before = hsm.keys()
    with monkeypatch.context() as patched:
        failing_at(call, patched, function)
        with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED"):
            hsm.generate(KeyUsage.CARD_VERIFICATION, "cvk")
    assert (4, before) == (objects_in(token), hsm.keys())
    hsm.generate(KeyUsage.CARD_VERIFICATION, "cvk")
    assert 6 == objects_in(token)


def test_an_rsa_pair_that_failed_half_way(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, and its public half not told: neither half stays; of one that is made only the private one does."""
    with monkeypatch.context() as patched:
        failing_at(1, patched, "getAttributeValue")
        with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED"):
            objects.make_rsa(token, 2048)
    assert 0 == objects_in(token)
    objects.make_rsa(token, 2048)
    assert 1 == objects_in(token)


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_load_that_fails_in_the_middle(
    tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """At a start, or at a refresh of a service: what it unwrapped goes, what was held before stays and works."""
    one, (zak, *_) = filled(tmp_path, token)
    mac = one.mac(zak, b"message")
    with monkeypatch.context() as patched:
        failing_at(call, patched, "unwrapKey")
        with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED"):
            Pkcs11Hsm.open(tmp_path / "keystore", token)
    assert 4 == objects_in(token)
    for label in ("a", "b"):
        Pkcs11Hsm.open(tmp_path / "keystore", token).generate(KeyUsage.MAC_RETAIL, label)
    known, held = one.keys(), objects_in(token)
    with monkeypatch.context() as patched:
        failing_at(call, patched, "unwrapKey")
        with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED"):
            one.refresh()
    assert (known, held) == (one.keys(), objects_in(token))
    assert mac == one.mac(zak, b"message")
    assert one.refresh()
    assert held + 4 == objects_in(token)
    assert len(known) + 2 == len(one.keys())


def test_another_master_key_leaves_nothing_behind(
    tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All keys are unwrapped for it; none stays, whether it comes to its end or not. The open HSM has its own, once."""
    hsm, (zak, *_) = filled(tmp_path, token)
    mac = hsm.mac(zak, b"message")
    for call in (1, 3):
        with monkeypatch.context() as patched:
            failing_at(call, patched, "wrapKey")
            with pytest.raises(TokenError, match="CKR_DEVICE_REMOVED"):
                pkcs11.rewrap(tmp_path / "keystore", token, 1)
        assert 4 == objects_in(token)
    assert 3 == pkcs11.rewrap(tmp_path / "keystore", token, 1)
    assert 4 == objects_in(token)
    assert hsm.refresh()
    assert 4 == objects_in(token)
    assert mac == hsm.mac(zak, b"message")


def test_the_self_test_leaves_nothing_behind(tmp_path: Path, token: Token) -> None:
    """Its published keys are in the token for the moment."""
    hsm, _ = filled(tmp_path, token)
    hsm.self_test()
    assert 4 == objects_in(token)


def test_proofs_leave_nothing_behind(token: Token) -> None:
    """What is made in the token to find out who is to blame for an answer that says nothing."""
    master = token.must_find(f"{pkcs11.MASTER}-1")
    with pytest.raises(KeystoreError):
        objects.unwrap(token, master, bytes(40), Algorithm.AES, EVERY)
    assert 0 == objects_in(token)
