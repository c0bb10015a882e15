"""Tests of gateway.operations.link_keys: a change that is cut off, by whom and where ever, ends as one that is not."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import SQLAlchemyError

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.operations import ceremony, link_keys
from gateway.operations.link_keys import NotNow
from gateway.rules.key_turns import Turn
from gateway.store import link_keys as stored
from keys.errors import KeystoreError
from keys.keytypes import KeySpec, KeyState, KeyUsage
from tests.gateway.owner import as_owner
from tests.gateway.partner_keys import NOW, ZONE, Clock, block, refused, states, use
from tests.gateway.rites import SITI, new_zmk, told
from tests.gateway.street import assert_proved

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.settings import Settings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands still."""
    return Clock(monkeypatch)


@pytest.mark.parametrize("state", [KeyState.SUSPENDED, KeyState.COMPROMISED])
async def test_the_new_key_is_stopped_by_people(bank: Bank, clock: Clock, state: KeyState) -> None:
    """The older one is not ended then. A suspended one that is resumed has its overlap behind it."""
    await new_zmk(bank)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    await link_keys.change(bank, ZONE, block())
    use(bank, "zak", 2)
    bank.hsm.set_state(bank.hsm.version("zak", 2), state)
    clock.move(60)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, state] == states(bank)
    over = state is KeyState.COMPROMISED
    assert over is bool(await as_owner(bank, "SELECT 1 FROM link_key WHERE over_at IS NOT NULL"))
    if not over:
        bank.hsm.set_state(bank.hsm.version("zak", 2), KeyState.ACTIVE)
        await link_keys.look(bank)
        assert [KeyState.DEACTIVATED, KeyState.ACTIVE] == states(bank)


@pytest.mark.parametrize(
    "cut", ["before the key", "after the key", "before it works", "before the end is written", "answer"]
)
async def test_cut_off_anywhere_the_same_block_ends_it(
    bank_settings: Settings, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Killed between any two steps: after the restart nothing is made under the key, and the partner's repeat finds it."""

    class Killed(BaseException):
        """The process is gone."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    text, taken = block(), link_keys._import
    async with open_bank(bank_settings) as bank:
        await new_zmk(bank)
        bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")

        def takes(*words: object) -> object:
            taken(*words)  # type: ignore[arg-type]
            raise Killed

        with monkeypatch.context() as patched:
            if cut == "before the key":
                patched.setattr(link_keys, "_import", kill)
            elif cut == "after the key":
                patched.setattr(link_keys, "_import", takes)
            elif cut == "before it works":
                patched.setattr(link_keys, "_let_work", kill)
            elif cut == "before the end is written":
                patched.setattr(ceremony, "_shown", kill)
            if cut == "answer":
                await link_keys.change(bank, ZONE, text)
            else:
                with pytest.raises(Killed):
                    await link_keys.change(bank, ZONE, text)
    async with open_bank(bank_settings) as bank:
        assert {("zak", 2)} == bank.key_turns.pending
        await link_keys.look(bank)
        assert 1 == bank.key_turns.in_order(bank.hsm.find_all("zak"))[0].version
        assert "zak#2" == (await link_keys.change(bank, ZONE, text)).name
        assert [KeyState.ACTIVE] * 2 == states(bank)
        assert ("done", "exchange", "zak#2", "link himbara") == (await told(bank))[-1]
        use(bank, "zak", 2)
        await link_keys.look(bank)
        await refused(bank, text, "came before")
        await assert_proved(bank)


async def test_cut_off_and_never_sent_again(bank: Bank, clock: Clock) -> None:
    """A block whose key never came is forgotten; a key that came and never worked is destroyed when its time is over."""
    await new_zmk(bank)
    turn = Turn("zak", 1, "himbara", NOW, 60, 3_600)
    async with bank.database.engine.begin() as connection:
        assert await stored.begin(connection, turn, bytes(32), NOW)
    clock.move(3_600)
    await link_keys.look(bank)
    assert [(None,)] == await as_owner(bank, "SELECT block_digest FROM link_key WHERE over_at IS NOT NULL")
    async with bank.database.engine.begin() as connection:
        assert await stored.begin(connection, turn, bytes(32), NOW)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL, state=KeyState.PRE_ACTIVE), "zak")
    await link_keys.look(bank)
    assert [KeyState.DESTROYED] == states(bank)


async def test_a_version_that_people_brought_in_is_not_the_links(bank: Bank) -> None:
    """A change that was cut off had no key yet, and people made a version of that number: the repeat does not let it work."""
    await new_zmk(bank)
    text = block()
    turn = Turn("zak", 1, "himbara", bank.now(), 60, 3_600)
    async with bank.database.engine.begin() as connection:
        assert await stored.begin(connection, turn, hashlib.sha256(text.encode()).digest(), NOW)
    await ceremony.generate(bank, SITI, "zak", KeySpec(KeyUsage.MAC_RETAIL))
    await refused(bank, text, "zak#1 was brought in by people")
    assert [KeyState.PRE_ACTIVE] == states(bank)


async def test_a_version_that_people_bring_in_at_the_same_moment(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key gets the next number, and waits for its first use under that one."""
    await new_zmk(bank)
    taken = link_keys._import

    def after_people(*words: object) -> object:
        bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
        return taken(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(link_keys, "_import", after_people)
    assert "zak#2" == (await link_keys.change(bank, ZONE, block())).name
    assert {("zak", 2)} == bank.key_turns.pending
    await link_keys.look(bank)
    assert {("zak", 2)} == bank.key_turns.pending


async def test_the_banks_own_fault(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keystore that cannot be written, a database that is away: the partner may try again with the same block."""
    await new_zmk(bank)
    text = block()

    def full(*_: object) -> None:
        raise KeystoreError("is full")

    def away(*_: object) -> None:
        raise SQLAlchemyError("away")

    with monkeypatch.context() as patched:
        patched.setattr(bank.hsm, "import_block", full)
        with pytest.raises(NotNow, match="is full"):
            await link_keys.change(bank, ZONE, text)
    with monkeypatch.context() as patched:
        patched.setattr(stored, "begin", away)
        with pytest.raises(SQLAlchemyError):
            await link_keys.change(bank, ZONE, text)
    assert "zak#1" == (await link_keys.change(bank, ZONE, text)).name


async def test_what_cannot_be_done_is_tried_once_a_minute(
    bank: Bank, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try is in the audit chain: so a keystore that is full for a night does not fill that too."""
    await new_zmk(bank)
    await link_keys.change(bank, ZONE, block())
    before = len(await told(bank))
    clock.move(3_600)

    def full(*_: object) -> None:
        raise KeystoreError("is full")

    with monkeypatch.context() as patched:
        patched.setattr(bank.hsm, "set_state", full)
        with pytest.raises(Refused, match="is full"):
            await link_keys.look(bank)
        for _ in range(59):
            clock.move(1)
            await link_keys.look(bank)
    assert before + 2 == len(await told(bank))
    clock.move(1)
    await link_keys.look(bank)
    assert [KeyState.DESTROYED] == states(bank)


async def test_two_processes(bank: Bank, bank_settings: Settings, clock: Clock) -> None:
    """The other one knows by its next look what waits, what was used and what is over; both may see the first use."""
    del clock
    await new_zmk(bank)
    async with open_bank(bank_settings) as other:
        await link_keys.change(bank, ZONE, block())
        other.hsm.refresh()
        await link_keys.look(other)
        assert {("zak", 1)} == other.key_turns.pending == bank.key_turns.pending
        for one in (other, bank):
            use(one, "zak", 1)
        await link_keys.look(other)
        await link_keys.look(bank)
        assert frozenset() == other.key_turns.pending == bank.key_turns.pending
        (used,) = await as_owner(bank, "SELECT used_at FROM link_key")
        assert (NOW,) == tuple(used)
