"""Which key may do what: the whole table, asked of the facade itself with real calls, whose every refusal is audited."""

import inspect
from dataclasses import replace
from datetime import date, timedelta

import pytest

from keys import hsm
from keys.errors import KeyRefused
from keys.keytypes import Algorithm, Exportability, KeyHandle, KeyMode, KeySpec, KeyState, KeyUsage
from keys.permissions import ALLOWED, Operation, check_allowed
from keys.toolbox import Refusal
from keys.usages import USAGES
from tests.keys.calls import CALLS, Call, Trial, keep
from tests.keys.samples import TODAY, key_of, one_line

# Spelled out by hand, apart from the table that the code uses: codes of usage and mode, and what such a key may do.
MAY = {
    (usage, mode): set(operations.split())
    for usage, mode, operations in (
        ("B0", "X", "DERIVE_PIN_KEY DERIVE_MAC_KEY LEAVE"),
        ("B0", "N", "DERIVE_PIN_KEY DERIVE_MAC_KEY LEAVE"),
        ("B1", "X", "DERIVE_PIN_KEY DERIVE_MAC_KEY LEAVE"),
        ("B1", "N", "DERIVE_PIN_KEY DERIVE_MAC_KEY LEAVE"),
        ("C0", "C", "MAKE_CARD_VALUE VERIFY_CARD_VALUE LEAVE"),
        ("C0", "G", "MAKE_CARD_VALUE LEAVE"),
        ("C0", "V", "VERIFY_CARD_VALUE LEAVE"),
        ("D0", "B", "SEAL UNSEAL"),
        ("D0", "E", "SEAL"),
        ("D0", "D", "UNSEAL"),
        ("E0", "X", "VERIFY_CRYPTOGRAM LEAVE"),
        ("E0", "N", "VERIFY_CRYPTOGRAM LEAVE"),
        ("E1", "X", "ENCIPHER_SCRIPT LEAVE"),
        ("E1", "N", "ENCIPHER_SCRIPT LEAVE"),
        ("E2", "X", "MAC_SCRIPT LEAVE"),
        ("E2", "N", "MAC_SCRIPT LEAVE"),
        ("E4", "X", "VERIFY_DYNAMIC_VALUE LEAVE"),
        ("E4", "N", "VERIFY_DYNAMIC_VALUE LEAVE"),
        ("K1", "B", "WRAP_KEY UNWRAP_KEY LEAVE"),
        ("K1", "E", "WRAP_KEY LEAVE"),
        ("K1", "D", "UNWRAP_KEY LEAVE"),
        ("M1", "C", "MAKE_MAC VERIFY_MAC LEAVE"),
        ("M1", "G", "MAKE_MAC LEAVE"),
        ("M1", "V", "VERIFY_MAC LEAVE"),
        ("M3", "C", "MAKE_MAC VERIFY_MAC LEAVE"),
        ("M3", "G", "MAKE_MAC LEAVE"),
        ("M3", "V", "VERIFY_MAC LEAVE"),
        ("M6", "C", "MAKE_MAC VERIFY_MAC LEAVE"),
        ("M6", "G", "MAKE_MAC LEAVE"),
        ("M6", "V", "VERIFY_MAC LEAVE"),
        ("M7", "C", "MAKE_MAC VERIFY_MAC VERIFY_RECORD LEAVE"),
        ("M7", "G", "MAKE_MAC LEAVE"),
        ("M7", "V", "VERIFY_MAC VERIFY_RECORD LEAVE"),
        ("P0", "B", "ENCIPHER_PIN DECIPHER_PIN LEAVE"),
        ("P0", "E", "ENCIPHER_PIN LEAVE"),
        ("P0", "D", "DECIPHER_PIN LEAVE"),
        ("S0", "S", "SIGN SHOW_PUBLIC"),
        ("S0", "V", "VERIFY_SIGNATURE SHOW_PUBLIC"),
        ("V1", "C", "MAKE_REFERENCE VERIFY_PIN LEAVE"),
        ("V1", "G", "MAKE_REFERENCE LEAVE"),
        ("V1", "V", "VERIFY_PIN LEAVE"),
        ("V2", "C", "MAKE_REFERENCE VERIFY_PIN LEAVE"),
        ("V2", "G", "MAKE_REFERENCE LEAVE"),
        ("V2", "V", "VERIFY_PIN LEAVE"),
        ("10", "G", "BLIND_INDEX"),
    )
}
# Besides ACTIVE.
ALSO_IN = {"SHOW_PUBLIC": {"PRE_ACTIVE"}, "VERIFY_RECORD": {"DEACTIVATED"}, "UNSEAL": {"DEACTIVATED", "COMPROMISED"}}

DAY = timedelta(days=1)
# First day, last day, and what an ACTIVE key is today.
DATES: list[tuple[date | None, date | None, str]] = [
    (None, None, "ACTIVE"),
    (TODAY, None, "ACTIVE"),
    (None, TODAY, "ACTIVE"),
    (TODAY, TODAY, "ACTIVE"),
    (TODAY - DAY, TODAY + DAY, "ACTIVE"),
    (TODAY + DAY, None, "PRE_ACTIVE"),
    (None, TODAY - DAY, "DEACTIVATED"),
]
# How a new key comes to its state.
PATHS = {
    KeyState.PRE_ACTIVE: [],
    KeyState.ACTIVE: [],
    KeyState.SUSPENDED: [KeyState.SUSPENDED],
    KeyState.DEACTIVATED: [KeyState.DEACTIVATED],
    KeyState.COMPROMISED: [KeyState.COMPROMISED],
    KeyState.DESTROYED: [KeyState.DEACTIVATED, KeyState.DESTROYED],
}
KINDS = [
    (usage, algorithm, mode) for usage, rule in USAGES.items() for algorithm in rule.algorithms for mode in rule.modes
]


def may(key: KeyHandle, mode: KeyMode, state: str, operation: Operation) -> bool:
    """What the table by hand says."""
    works = state == "ACTIVE" or state in ALSO_IN.get(operation.value, set())
    return works and operation.value in MAY[key.usage.value, mode.value]


def check_call(trial: Trial, call: Call, key: KeyHandle, refused: Operation | None) -> None:
    """Make the call: rightly answered without a word to the auditor, or refused and heard of once with the reason."""
    trial.refusals.clear()
    if refused is None:
        assert call.is_right(trial, key), (call, key)
        assert [] == trial.refusals
        return
    with pytest.raises(KeyRefused) as caught:
        call.is_right(trial, key)
    assert [Refusal(f"{key.label}#{key.version}", refused, str(caught.value))] == trial.refusals
    assert refused.value in str(caught.value)
    assert f"key {key.label}#{key.version} " in str(caught.value)
    assert one_line(caught.value)


def check_all(trial: Trial, key: KeyHandle, mode: KeyMode, state: str) -> int:
    """Make every call with the key. Returns how many were done."""
    done = 0
    for call in CALLS:
        refused = next((needed for needed in call.needs if not may(key, mode, state, needed)), None)
        check_call(trial, call, key, refused)
        done += refused is None
    return done


@pytest.mark.parametrize(("usage", "algorithm", "mode"), KINDS, ids="-".join)
def test_every_key_does_only_what_it_may(usage: KeyUsage, algorithm: Algorithm, mode: KeyMode) -> None:
    """All usages x algorithms x modes x states x dates x commands: what the table does not name is refused and audited."""
    trial = Trial()
    for state, path in PATHS.items():
        # A private RSA key takes its time to be taken in, so dates are tried where they count.
        dates = DATES if state is KeyState.ACTIVE or mode is not KeyMode.SIGN else DATES[:1]
        for first, last, active_is in dates:
            spec = KeySpec(
                usage,
                algorithm,
                mode,
                exportability=Exportability.EXPORTABLE,
                state=KeyState.PRE_ACTIVE if state is KeyState.PRE_ACTIVE else KeyState.ACTIVE,
                active_from=first,
                active_to=last,
            )
            key = keep(trial.hsm, spec, "tried")
            for step in path:
                trial.hsm.set_state(key, step)
            now = active_is if state is KeyState.ACTIVE else state.value
            done = check_all(trial, key, mode, now)
            assert (done > 0) is (now in WORKS_IN.get((usage.value, mode.value), {"ACTIVE"})), (now, done)


# What opens or proves what was written before goes on after its active life; a public key is given out before it.
WORKS_IN = {
    ("M7", "C"): {"ACTIVE", "DEACTIVATED"},
    ("M7", "V"): {"ACTIVE", "DEACTIVATED"},
    ("D0", "B"): {"ACTIVE", "DEACTIVATED", "COMPROMISED"},
    ("D0", "D"): {"ACTIVE", "DEACTIVATED", "COMPROMISED"},
    ("S0", "S"): {"ACTIVE", "PRE_ACTIVE"},
    ("S0", "V"): {"ACTIVE", "PRE_ACTIVE"},
}


def test_table_by_hand_is_whole() -> None:
    """It names every usage with every mode that it has, and every operation, and nothing else."""
    assert {(usage.value, mode.value) for usage, _, mode in KINDS} == set(MAY)
    assert {operation.value for operation in Operation} == set().union(*MAY.values())
    assert set(Operation) == set(ALLOWED)


def test_every_command_is_called() -> None:
    """Each parameter of the facade that takes a key is tried, with DUKPT keys where it takes them."""
    found = set()
    for name, command in inspect.getmembers(hsm.Hsm, inspect.isfunction):
        for parameter in inspect.signature(command).parameters.values():
            kind = str(parameter.annotation)
            if "KeyHandle" in kind or "PinToVerify" in kind:
                found.add((name, parameter.name, False))
            if "Dukpt" in kind or "PinToVerify" in kind:
                found.add((name, parameter.name, True))
    for name in ("info", "kcv", "set_state", "end_on"):  # these ask only whether the key is known
        found.remove((name, "handle", False))
    assert found == {(call.command, call.place, call.dukpt) for call in CALLS}


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("mode", KeyMode)
def test_modes_that_cannot_be_made(usage: KeyUsage, mode: KeyMode) -> None:
    """What the table by hand does not name cannot come to be: neither formed nor generated."""
    if (usage.value, mode.value) in MAY:
        return
    trial = Trial()
    before = trial.hsm.keys()
    with pytest.raises(KeyRefused):
        trial.hsm.form(KeySpec(usage, mode=mode), "never", [bytes(range(32)), bytes(range(1, 33))])
    if usage is not KeyUsage.SIGNATURE:  # which would take its time
        with pytest.raises(KeyRefused):
            trial.hsm.generate(KeySpec(usage, mode=mode), "never")
    assert before == trial.hsm.keys()


@pytest.mark.parametrize("usage", KeyUsage)
def test_key_that_may_not_leave_stays(usage: KeyUsage) -> None:
    """Not exportable unless it was made so: refused and audited, whatever else it may do."""
    trial = Trial()
    key = keep(trial.hsm, KeySpec(usage), "stays")
    trial.refusals.clear()
    with pytest.raises(KeyRefused, match="LEAVE") as caught:
        trial.hsm.export_block(key, trial.kbpk)
    assert [Refusal("stays#1", Operation.LEAVE, str(caught.value))] == trial.refusals
    if usage.value not in ("D0", "S0", "10"):
        assert "not exportable" in str(caught.value)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.command}-{call.place}-{call.dukpt}")
def test_key_of_another_hsm_is_refused(call: Call) -> None:
    """Same bytes, same label, another HSM: unknown, and audited."""
    trial, stranger = Trial(), Trial()
    usage = next(usage for (usage, _), operations in MAY.items() if call.needs[0].value in operations)
    mode = next(mode for (name, mode), operations in MAY.items() if name == usage and call.needs[0] in operations)
    spec = KeySpec(KeyUsage(usage), mode=KeyMode(mode), exportability=Exportability.EXPORTABLE)
    keep(trial.hsm, spec, "same")
    key = keep(stranger.hsm, spec, "same")
    if len(call.needs) == 1:
        check_call(stranger, call, key, None)
    trial.refusals.clear()
    with pytest.raises(KeyRefused, match=r"same#1.* is not a key of this HSM$") as caught:
        call.is_right(trial, key)
    assert [Refusal("same#1", call.needs[0], str(caught.value))] == trial.refusals


def test_state_is_looked_at_after_first_use() -> None:
    """A tool that was made ready does not outlive the state of its key; and works again when the state does."""
    trial = Trial()
    key = keep(trial.hsm, KeySpec(KeyUsage.MAC_HMAC, exportability=Exportability.EXPORTABLE), "tried")
    check_all(trial, key, KeyMode.GENERATE_AND_VERIFY, "ACTIVE")
    for state in (KeyState.SUSPENDED, KeyState.ACTIVE, KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED):
        trial.hsm.set_state(key, state)
        check_all(trial, key, KeyMode.GENERATE_AND_VERIFY, state.value)


@pytest.mark.parametrize(("usage", "algorithm", "mode"), KINDS, ids="-".join)
def test_dates_are_looked_at_at_each_use(usage: KeyUsage, algorithm: Algorithm, mode: KeyMode) -> None:
    """The clock passes first and last day while the HSM is open: no tool made ready yesterday works longer."""
    trial = Trial()
    spec = KeySpec(
        usage, algorithm, mode, exportability=Exportability.EXPORTABLE, active_from=TODAY, active_to=TODAY + DAY
    )
    key = keep(trial.hsm, spec, "tried")
    for passed, state in ((0, "ACTIVE"), (-1, "PRE_ACTIVE"), (1, "ACTIVE"), (2, "DEACTIVATED"), (1, "ACTIVE")):
        trial.day = TODAY + passed * DAY
        check_all(trial, key, mode, state)


def test_state_stands_in_the_refusal() -> None:
    """The operator sees that it is the state, or the date, and not the usage."""
    info = replace(key_of(KeyUsage.MAC_HMAC)[0], active_to=TODAY)
    for state in set(KeyState) - {KeyState.ACTIVE}:
        with pytest.raises(KeyRefused, match=f"MAKE_MAC: it is {state.value}$"):
            check_allowed(replace(info, state=state), Operation.MAKE_MAC, TODAY)
    with pytest.raises(KeyRefused, match=r"MAKE_MAC: it is DEACTIVATED$"):
        check_allowed(info, Operation.MAKE_MAC, TODAY + DAY)
