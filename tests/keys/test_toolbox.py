"""The keys of an open HSM: made ready once, asked about each time it matters, refusals told to the auditor."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from keys.errors import KeyRefused
from keys.keytypes import KeyHandle, KeyInfo, KeyState, KeyUsage
from keys.permissions import Operation
from keys.sensitive import Material
from keys.toolbox import Known, Refusal, Toolbox
from tests.keys.samples import TODAY, key_of

DAY = timedelta(days=1)
INFO, MATERIAL = key_of(KeyUsage.MAC_HMAC)


class Bench:
    """A toolbox with a day that can be set, what its auditor heard, and which keys were made ready."""

    def __init__(self) -> None:
        self.day: date = TODAY
        self.refusals: list[Refusal] = []
        self.made: list[str] = []
        self.box: Toolbox[Material] = Toolbox(lambda: self.day, self.refusals.append)
        self.ready = self.box.ready(Operation.MAKE_MAC, self.make)

    def make(self, info: KeyInfo, raw: Material) -> str:
        """A tool: the state of a key when it was made ready."""
        assert raw == MATERIAL
        self.made.append(info.name)
        return info.state.value


def test_key_is_made_ready_once() -> None:
    """Then it is found in a dictionary, without a question."""
    bench = Bench()
    handle = bench.box.put(INFO, MATERIAL)
    assert [] == bench.made
    assert ["ACTIVE"] * 3 == [bench.ready[handle] for _ in range(3)]
    assert ["a.key#1"] == bench.made
    assert handle in bench.ready


def test_key_with_dates_is_made_ready_once_and_asked_each_time() -> None:
    """Its tool is kept, its permission is not."""
    bench = Bench()
    for dated in (replace(INFO, active_from=TODAY), replace(INFO, active_to=TODAY, version=2)):
        handle = bench.box.put(dated, MATERIAL)
        assert ["ACTIVE"] * 2 == [bench.ready[handle] for _ in range(2)]
        assert handle not in bench.ready
        bench.day = TODAY - DAY if dated.active_from else TODAY + DAY
        with pytest.raises(KeyRefused, match="it is"):
            bench.ready[handle]
        bench.day = TODAY
        assert "ACTIVE" == bench.ready[handle]
    assert ["a.key#1", "a.key#2"] == bench.made


def test_tools_go_when_the_header_changes() -> None:
    """Also the tool of a key whose state came back; a header that is the same leaves them."""
    bench = Bench()
    handle = bench.box.put(INFO, MATERIAL)
    assert "ACTIVE" == bench.ready[handle]
    assert handle is bench.box.put(replace(INFO), MATERIAL)
    assert handle in bench.ready
    assert handle is bench.box.put(replace(INFO, state=KeyState.SUSPENDED), MATERIAL)
    with pytest.raises(KeyRefused, match="SUSPENDED"):
        bench.ready[handle]
    bench.box.put(INFO, MATERIAL)
    assert "ACTIVE" == bench.ready[handle]
    assert ["a.key#1"] * 2 == bench.made


def test_destroyed_key_is_known_and_does_nothing() -> None:
    """Its header can be read; its bytes are let go."""
    bench = Bench()
    handle = bench.box.put(INFO, MATERIAL)
    destroyed = replace(INFO, state=KeyState.DESTROYED)
    bench.box.put(destroyed, None)
    assert Known(destroyed, None) == bench.box.known(handle)
    for operation in Operation:
        with pytest.raises(KeyRefused):
            bench.box.allowed(handle, operation)


def test_key_without_bytes_is_refused_whatever_its_header_says() -> None:
    """Should one ever be active: no tool is made of nothing."""
    bench = Bench()
    handle = bench.box.put(INFO, None)
    with pytest.raises(KeyRefused, match="destroyed"):
        bench.ready[handle]
    assert [] == bench.made


def test_every_refusal_is_told_with_its_reason() -> None:
    """Key, operation and the very words of the error, each time it is tried."""
    bench = Bench()
    handle = bench.box.put(replace(INFO, state=KeyState.SUSPENDED), MATERIAL)
    for count in (1, 2):
        with pytest.raises(KeyRefused) as caught:
            bench.ready[handle]
        assert [Refusal("a.key#1", Operation.MAKE_MAC, str(caught.value))] * count == bench.refusals
    with pytest.raises(KeyRefused):
        bench.box.allowed(handle, Operation.SEAL)
    assert Operation.SEAL is bench.refusals[-1].operation


def test_nothing_is_told_of_what_was_done() -> None:
    """The auditor hears refusals only."""
    bench = Bench()
    handle = bench.box.put(INFO, MATERIAL)
    assert "ACTIVE" == bench.ready[handle]
    assert (INFO, MATERIAL) == bench.box.allowed(handle, Operation.VERIFY_MAC)
    assert [] == bench.refusals


@pytest.mark.parametrize("wrong", [None, 1, "a.key", b"a.key", ("a.key", 1)])
def test_what_is_no_handle_is_refused_and_told(wrong: KeyHandle) -> None:
    """Whatever it is."""
    bench = Bench()
    with pytest.raises(KeyRefused, match="not a key of this HSM"):
        bench.ready[wrong]
    assert ["no handle"] == [refusal.key for refusal in bench.refusals]


def test_handle_of_another_toolbox_is_refused_and_told() -> None:
    """Of the same label, version and bytes."""
    bench, stranger = Bench(), Bench()
    bench.box.put(INFO, MATERIAL)
    handle = stranger.box.put(INFO, MATERIAL)
    with pytest.raises(KeyRefused, match="not a key of this HSM"):
        bench.ready[handle]
    assert ["a.key#1"] == [refusal.key for refusal in bench.refusals]
    assert [] == stranger.refusals


def test_nobody_need_listen() -> None:
    """Without an auditor the refusal is the same."""
    box: Toolbox[Material] = Toolbox(lambda: TODAY, None)
    handle = box.put(INFO, MATERIAL)
    with pytest.raises(KeyRefused, match="SEAL"):
        box.allowed(handle, Operation.SEAL)


def test_auditor_that_fails_stops_the_call() -> None:
    """What cannot be audited is not answered either: its error comes out, and the key is not used."""

    def full(_: Refusal) -> None:
        raise OSError(28, "No space left on device")

    box: Toolbox[Material] = Toolbox(lambda: TODAY, full)
    handle = box.put(INFO, MATERIAL)
    with pytest.raises(OSError, match="No space left"):
        box.allowed(handle, Operation.SEAL)


def test_tool_that_cannot_be_made_is_tried_anew() -> None:
    """A refusal of the workshop is no tool."""
    box: Toolbox[Material] = Toolbox(lambda: TODAY, None)

    def make(info: KeyInfo, raw: Material) -> str:
        del info, raw
        tries.append(1)
        if len(tries) == 1:
            raise KeyRefused("not now")
        return "a tool"

    tries: list[int] = []
    ready, handle = box.ready(Operation.MAKE_MAC, make), box.put(INFO, MATERIAL)
    with pytest.raises(KeyRefused, match="not now"):
        ready[handle]
    assert "a tool" == ready[handle]


def test_handles_by_label_and_version() -> None:
    """Newest first; one handle for one version, however often it is put."""
    bench = Bench()
    handles = [bench.box.put(replace(INFO, version=version), MATERIAL) for version in (2, 1, 10)]
    other = bench.box.put(replace(INFO, label="a.key.b"), MATERIAL)
    assert [handles[2], handles[0], handles[1]] == bench.box.versions("a.key")
    assert ([other], []) == (bench.box.versions("a.key.b"), bench.box.versions("none"))
    assert handles[2] is bench.box.handle("a.key", 10)
    with pytest.raises(KeyRefused, match=r"no key a\.key#3 in this HSM"):
        bench.box.handle("a.key", 3)
    assert ["a.key#1", "a.key#2", "a.key#10", "a.key.b#1"] == [info.name for info in bench.box.infos()]


def test_tools_of_one_operation_are_not_those_of_another() -> None:
    """A key that may make MACs was not thereby asked about verifying."""
    bench = Bench()
    verifiers = bench.box.ready(Operation.VERIFY_MAC, bench.make)
    handle = bench.box.put(INFO, MATERIAL)
    assert "ACTIVE" == bench.ready[handle]
    assert handle not in verifiers
    assert "ACTIVE" == verifiers[handle]
    assert ["a.key#1"] * 2 == bench.made


def test_keys_that_are_replaced_are_let_go() -> None:
    """The one of before, once: not where a header alone is another, and not the one that is known already."""
    gone: list[Material] = []
    box: Toolbox[Material] = Toolbox(lambda: TODAY, None, gone.append)
    first, second = (Material(MATERIAL.reveal()) for _ in range(2))
    handle = box.put(INFO, first)
    suspended = replace(INFO, state=KeyState.SUSPENDED)
    for info in (INFO, suspended, suspended):
        box.put(info, first)
    assert ([], {suspended: first}) == (gone, box.held())
    box.put(suspended, second)
    assert [first] == gone
    assert gone[0] is first
    assert box.known(handle).raw is second
    destroyed = replace(INFO, state=KeyState.DESTROYED)
    for _ in range(2):
        box.put(destroyed, None)
    assert gone[1] is second
    assert (2, {destroyed: None}) == (len(gone), box.held())
