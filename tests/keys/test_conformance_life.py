"""Every back end: keys from state to state, kept over the end of a process, and taken up from another one."""

from __future__ import annotations

import hmac
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest

from keys.errors import KeyRefused, KeystoreError, VaultError
from keys.keytypes import KeyMode, KeySpec, KeyState, KeyUsage
from tests.keys.at_work import KINDS, Kind, formed, key_of, new_label, spec_of, taken, works
from tests.keys.backends import BACKENDS, FORGETFUL, lacks
from tests.keys.samples import SECOND_KEY, components

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

TODAY = date(2026, 10, 5)
PRE_ACTIVE, ACTIVE, SUSPENDED = KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.SUSPENDED
DEACTIVATED, COMPROMISED, DESTROYED = KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED

# Spelled out by hand, apart from the table that the code uses: how a key comes to a state, and where it may go from there.
PATHS = {
    PRE_ACTIVE: [],
    ACTIVE: [ACTIVE],
    SUSPENDED: [ACTIVE, SUSPENDED],
    DEACTIVATED: [ACTIVE, DEACTIVATED],
    COMPROMISED: [COMPROMISED],
    DESTROYED: [DESTROYED],
}
NEXT = {
    PRE_ACTIVE: {ACTIVE, COMPROMISED, DESTROYED},
    ACTIVE: {SUSPENDED, DEACTIVATED, COMPROMISED},
    SUSPENDED: {ACTIVE, DEACTIVATED, COMPROMISED},
    DEACTIVATED: {COMPROMISED, DESTROYED},
    COMPROMISED: {DESTROYED},
    DESTROYED: set(),
}


def brought_to(hsm: Hsm, state: KeyState, spec: KeySpec) -> KeyHandle:
    """A new key in STATE."""
    handle = hsm.generate(replace(spec, state=PRE_ACTIVE), new_label())
    for step in PATHS[state]:
        hsm.set_state(handle, step)
    return handle


@pytest.mark.parametrize("state", KeyState)
def test_states_follow_each_other(hsm: Hsm, state: KeyState) -> None:
    """All 36 pairs: what the life of a key does not allow is refused, and changes nothing."""
    for target in KeyState:
        handle = brought_to(hsm, state, KeySpec(KeyUsage.MAC_CMAC))
        if target in NEXT[state]:
            hsm.set_state(handle, target)
        else:
            with pytest.raises(KeyRefused, match=f"is {state.value} and cannot become {target.value}"):
                hsm.set_state(handle, target)
        assert (target if target in NEXT[state] else state) is hsm.info(handle).state


@pytest.mark.parametrize("state", KeyState)
def test_what_keys_do_in_each_state(hsm: Hsm, state: KeyState) -> None:
    """Only ACTIVE keys process; old seals open under an old or lost key, and old records verify under an old one."""
    handle = brought_to(hsm, ACTIVE, KeySpec(KeyUsage.DATA_SEALING))
    audit = brought_to(hsm, ACTIVE, KeySpec(KeyUsage.MAC_HMAC))
    sealed, mac = hsm.seal(handle, b"text", b"place"), hsm.mac(audit, b"record")
    young = state is PRE_ACTIVE
    for one in (handle, audit):
        steps = [step for step in PATHS[state] if step is not ACTIVE]
        for step in [COMPROMISED, DESTROYED] if state is DESTROYED else steps:
            hsm.set_state(one, step)
    if young:  # a key that worked never is again; so of a new one, what it refuses
        handle, audit = (brought_to(hsm, state, KeySpec(usage)) for usage in (KeyUsage.DATA_SEALING, KeyUsage.MAC_HMAC))
    done = {
        "seal": allowed(lambda: hsm.seal(handle, b"text", b"place")),
        "unseal": allowed(lambda: hsm.unseal(handle, sealed, b"place")),
        "mac": allowed(lambda: hsm.mac(audit, b"record")),
        "verify_mac": allowed(lambda: hsm.verify_mac(audit, b"record", mac)),
        "verify_record": allowed(lambda: hsm.verify_record(audit, b"record", mac)),
    }
    expected = {
        ACTIVE: {"seal", "unseal", "mac", "verify_mac", "verify_record"},
        DEACTIVATED: {"unseal", "verify_record"},
        COMPROMISED: {"unseal"},
    }.get(state, set())
    assert expected == {name for name, did in done.items() if did}


def allowed(call: Callable[[], object]) -> bool:
    """Whether it is not refused for its key. What it thinks of the data does not matter here."""
    try:
        call()
    except KeyRefused:
        return False
    except VaultError:
        return True
    return True


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_days_of_a_key(backend: str, tmp_path: Path, days: int) -> None:
    """Before its first day a key is not yet, after its last no longer; on both it works. A tool made ready is asked again."""
    today = [TODAY]
    hsm = BACKENDS[backend](tmp_path, today=lambda: today[0])
    handle = hsm.generate(KeySpec(KeyUsage.MAC_CMAC, active_from=TODAY, active_to=TODAY), "one-day")
    for _ in range(2):
        today[0] = TODAY
        assert 8 == len(hsm.mac(handle, b"message"))
        today[0] = TODAY + timedelta(days=days)
        if days:
            with pytest.raises(KeyRefused, match="PRE_ACTIVE" if days < 0 else "DEACTIVATED"):
                hsm.mac(handle, b"message")


def test_a_destroyed_key_leaves_its_record(lasting: str, tmp_path: Path) -> None:
    """Its header stays, its bytes are gone, and its version is never given again, also after opening anew."""
    hsm = BACKENDS[lasting](tmp_path)
    handle = hsm.generate(KeyUsage.DATA_SEALING, "seal")
    sealed = hsm.seal(handle, b"text", b"")
    size = (tmp_path / "keystore").stat().st_size
    for state in (COMPROMISED, DESTROYED):
        hsm.set_state(handle, state)
    assert size > (tmp_path / "keystore").stat().st_size
    for again in (hsm, BACKENDS[lasting](tmp_path)):
        destroyed = again.version("seal", 1)
        assert (DESTROYED, handle.kcv) == (again.info(destroyed).state, again.kcv(destroyed))
        with pytest.raises(KeyRefused, match="DESTROYED"):
            again.unseal(destroyed, sealed, b"")
    assert 2 == hsm.generate(KeyUsage.DATA_SEALING, "seal").version


def test_destroyed_at_once_everywhere(hsm: Hsm) -> None:
    """Whatever was made ready of a key before is gone with it."""
    handle = formed(hsm, KeyUsage.MAC_RETAIL, SECOND_KEY)
    mac = hsm.mac(handle, b"message")
    assert hsm.verify_mac(handle, b"message", mac)
    hsm.set_state(handle, DEACTIVATED)
    hsm.set_state(handle, DESTROYED)
    for call in (lambda: hsm.mac(handle, b"message"), lambda: hsm.verify_mac(handle, b"message", mac)):
        with pytest.raises(KeyRefused, match="DESTROYED"):
            call()


class Reopened(NamedTuple):
    """An HSM opened again, with what it was before."""

    hsm: Hsm
    handles: dict[Kind, KeyHandle]


@pytest.fixture(scope="module")
def reopened(lasting: str, tmp_path_factory: pytest.TempPathFactory) -> Reopened:
    """One known key of each kind, kept and opened again."""
    folder = tmp_path_factory.mktemp("reopened")
    first = BACKENDS[lasting](folder)
    labels = {kind: taken(first, kind).label for kind in KINDS}
    again = BACKENDS[lasting](folder)
    assert first.keys() == again.keys()
    return Reopened(again, {kind: again.find(label) for kind, label in labels.items()})


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_known_keys_do_the_same_when_opened_again(lasting: str, reopened: Reopened, kind: Kind) -> None:
    """Of every usage, algorithm and length."""
    handle = reopened.handles[kind]
    if kind.usage is KeyUsage.INITIAL_DUKPT and lacks(lasting, "initial DUKPT key"):
        with pytest.raises(KeyRefused, match="initial DUKPT key"):
            works(reopened.hsm, handle, key_of(kind))
    else:
        assert works(reopened.hsm, handle, key_of(kind))


@pytest.mark.parametrize("length", [16, 20, 64, 65, 128, 300])
def test_secrets_do_the_same_when_opened_again(lasting: str, tmp_path: Path, length: int) -> None:
    """Of lengths that no other key has."""
    secret = bytes(range(16)) + bytes(length - 16)
    spec = KeySpec(KeyUsage.MAC_HMAC, mode=KeyMode.GENERATE)
    BACKENDS[lasting](tmp_path).import_secret("partner", secret, spec)
    again = BACKENDS[lasting](tmp_path)
    assert hmac.digest(secret, b"message", "sha512") == again.mac(again.find("partner"), b"message")


def test_headers_are_the_same_when_opened_again(lasting: str, tmp_path: Path) -> None:
    """States, days, versions, modes, exportability, attributes; made and formed keys alike."""
    hsm = BACKENDS[lasting](tmp_path, today=lambda: TODAY)
    for state in KeyState:
        brought_to(hsm, state, KeySpec(KeyUsage.MAC_CMAC))
    hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.ENCRYPT, active_from=TODAY, active_to=TODAY), "zpk")
    for kind in KINDS:
        if kind.bits < 2048:
            hsm.generate(spec_of(kind, made=True, exportable=kind.usage is KeyUsage.MAC_CMAC), new_label())
    hsm.generate(KeyUsage.SIGNATURE, "sign")
    assert hsm.keys() == BACKENDS[lasting](tmp_path).keys()


def test_a_key_ends_on_a_day(backend: str, tmp_path: Path) -> None:
    """It works to the end of that day and no longer, tool made ready or not. The day moves only nearer."""
    today = [TODAY]
    hsm = BACKENDS[backend](tmp_path, today=lambda: today[0])
    old, new = (hsm.generate(KeyUsage.MAC_CMAC, "zak") for _ in range(2))
    mac = hsm.mac(old, b"message")
    hsm.end_on(old, TODAY)
    assert (TODAY, ACTIVE, [new, old]) == (hsm.info(old).active_to, hsm.info(old).state, hsm.find_all("zak"))
    assert mac == hsm.mac(old, b"message")
    today[0] = TODAY + timedelta(days=1)
    assert [new] == hsm.find_all("zak")
    with pytest.raises(KeyRefused, match="DEACTIVATED"):
        hsm.mac(old, b"message")
    with pytest.raises(KeyRefused, match="and no later"):
        hsm.end_on(old, today[0])
    hsm.end_on(old, TODAY - timedelta(days=1))
    hsm.set_state(new, KeyState.COMPROMISED)
    with pytest.raises(KeyRefused, match="it has ended"):
        hsm.end_on(new, TODAY)
    if backend not in FORGETFUL:
        again = BACKENDS[backend](tmp_path, today=lambda: today[0])
        assert hsm.keys() == again.keys()
        with pytest.raises(KeyRefused, match="DEACTIVATED"):
            again.mac(again.version("zak", 1), b"message")


def test_a_key_does_not_end_before_it_begins(hsm: Hsm) -> None:
    """Nothing is changed; nor is a key of another HSM."""
    handle = hsm.generate(KeySpec(KeyUsage.MAC_CMAC, active_from=TODAY), new_label())
    info = hsm.info(handle)
    with pytest.raises(KeyRefused, match="its last day is before its first"):
        hsm.end_on(handle, TODAY - timedelta(days=1))
    assert info == hsm.info(handle)
    with pytest.raises(KeyRefused, match="not a key of this HSM"):
        hsm.end_on(None, TODAY)  # type: ignore[arg-type]


def test_changes_are_counted(backend: str, tmp_path: Path) -> None:
    """Each by one, over the end of a process and of another's too; looking changes nothing. In memory none are counted."""
    hsm = BACKENDS[backend](tmp_path)
    start = hsm.serial()
    handle = hsm.generate(KeyUsage.MAC_CMAC, "a")
    hsm.set_state(handle, SUSPENDED)
    hsm.end_on(handle, TODAY)
    hsm.mac(hsm.generate(KeyUsage.MAC_CMAC, "b"), b"message")
    hsm.keys()
    if backend in FORGETFUL:
        assert (0, 0) == (start, hsm.serial())
        return
    assert (0, 4) == (start, hsm.serial())
    other = BACKENDS[backend](tmp_path)
    other.generate(KeyUsage.MAC_CMAC, "b")
    assert (5, 5) == (other.serial(), hsm.serial())


def test_a_keystore_put_back_is_found(lasting: str, tmp_path: Path) -> None:
    """While it is open: an earlier file in its place is refused, whole as it is."""
    hsm = BACKENDS[lasting](tmp_path)
    handle = hsm.generate(KeyUsage.MAC_CMAC, "a")
    earlier = (tmp_path / "keystore").read_bytes()
    hsm.set_state(handle, SUSPENDED)
    (tmp_path / "keystore").write_bytes(earlier)
    with pytest.raises(KeystoreError, match="put back to an earlier state"):
        hsm.refresh()
    with pytest.raises(KeyRefused, match="SUSPENDED"):
        hsm.mac(handle, b"message")


def test_another_process_is_taken_up(lasting: str, tmp_path: Path) -> None:
    """New versions and states of another process come with refresh; handles stay; nothing new is False."""
    one = BACKENDS[lasting](tmp_path)
    old = one.form(KeyUsage.MAC_RETAIL, "zak", components(SECOND_KEY))
    other = BACKENDS[lasting](tmp_path)
    seen = other.find("zak")
    assert (False, False) == (one.refresh(), other.refresh())
    mac = other.mac(seen, b"message")

    new = one.generate(KeyUsage.MAC_RETAIL, "zak")
    one.set_state(old, SUSPENDED)
    assert mac == other.mac(seen, b"message")
    assert (True, False) == (other.refresh(), other.refresh())
    assert one.keys() == other.keys()
    with pytest.raises(KeyRefused, match="SUSPENDED"):
        other.mac(seen, b"message")
    assert (seen, 2, new.kcv) == (other.version("zak", 1), other.find("zak").version, other.find("zak").kcv)
    one.set_state(old, ACTIVE)
    assert other.refresh()
    assert mac == other.mac(seen, b"message")


def test_a_change_of_ones_own_hides_none_of_others(lasting: str, tmp_path: Path) -> None:
    """What another process wrote before is still to be taken up after a change of ours, and versions never meet."""
    one, other = BACKENDS[lasting](tmp_path), BACKENDS[lasting](tmp_path)
    one.generate(KeyUsage.MAC_RETAIL, "zak")
    assert 2 == other.generate(KeyUsage.MAC_RETAIL, "zak").version
    assert other.refresh()
    known = other.keys()
    assert [1, 2] == [info.version for info in known]
    assert one.refresh()
    other.set_state(other.version("zak", 2), DEACTIVATED)
    with pytest.raises(KeyRefused, match="is DEACTIVATED and cannot become SUSPENDED"):
        one.set_state(one.version("zak", 2), SUSPENDED)


def test_nothing_to_refresh_where_keys_go_with_the_process(backend: str, hsm: Hsm) -> None:
    """Nobody else can change them."""
    if backend in FORGETFUL:
        hsm.generate(KeyUsage.MAC_CMAC, new_label())
    assert not hsm.refresh()


def test_a_key_that_cannot_be_stored_is_not_used(lasting: str, tmp_path: Path) -> None:
    """A key that would be gone after the next start is not handed out."""
    hsm = BACKENDS[lasting](tmp_path)
    (tmp_path / "keystore").unlink()
    with pytest.raises(KeystoreError):
        hsm.generate(KeyUsage.MAC_HMAC, "audit")
    with pytest.raises(KeystoreError):
        formed(hsm, KeyUsage.MAC_RETAIL, SECOND_KEY)
    assert [] == hsm.keys()
