"""Tests of gateway.operations.lane: bounds, one bad member, and what is promised when the database goes away."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from asyncpg import CannotConnectNowError, ConnectionDoesNotExistError
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.operations import lane as lane_module
from gateway.operations.authorise import authorise_group
from gateway.operations.lane import Lanes, _next_group
from gateway.operations.refusals import write_refusals
from gateway.simulator.switch import NetworkCode
from gateway.simulator.terminal import Asked
from gateway.store.lane_connection import LaneConnection
from gateway.terminals import mapping
from gateway.terminals.links_file import read_links
from keys.errors import TokenError
from keys.keytypes import KeyMode, KeySpec, KeyState, KeyUsage
from tests.gateway.street import AID_IDR, assert_proved, available_idr, framed, open_street, raw_link, reasons

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.operations.bank import Bank
    from keys.keytypes import KeyHandle
    from tests.gateway.street import Street


STARTING_UP = CannotConnectNowError("the database system is starting up")


@given(cards=st.lists(st.integers(0, 5), max_size=30), limit=st.integers(1, 10))
def test_groups_hold_one_request_a_card(cards: list[int], limit: int) -> None:
    """Taking groups until the queue is empty serves every request once, one a card and group, each card's in order."""
    queue: deque[Any] = deque(
        SimpleNamespace(
            keyed=SimpleNamespace(pan_index=bytes([card])), number=number, alive=(None, lambda: True)[number % 2]
        )
        for number, card in enumerate(cards)
    )
    order: dict[int, list[int]] = {}
    served = 0
    while queue:
        formed: Any = _next_group(queue, limit)
        group, dropped = formed
        assert [] == dropped
        indexes = [one.keyed.pan_index for one in group]
        assert 1 <= len(group) <= limit
        assert len(set(indexes)) == len(indexes)
        for one in group:
            order.setdefault(one.keyed.pan_index[0], []).append(one.number)
        served += len(group)
    assert len(cards) == served
    assert all(numbers == sorted(numbers) for numbers in order.values())


@given(alive=st.lists(st.sampled_from([None, True, False]), max_size=30), limit=st.integers(1, 10))
def test_those_nobody_waits_for_are_left_out(alive: list[bool | None], limit: int) -> None:
    """They take no place in a group; who does not ask to be left out never is."""
    queue: deque[Any] = deque(
        SimpleNamespace(
            keyed=SimpleNamespace(pan_index=number), said=said, alive=None if said is None else lambda said=said: said
        )
        for number, said in enumerate(alive)
    )
    served: list[Any] = []
    left_out: list[Any] = []
    while queue:
        formed: Any = _next_group(queue, limit)
        assert len(formed[0]) == limit or not queue
        served += formed[0]
        left_out += formed[1]
    assert [said for said in alive if said is not False] == [one.said for one in served]
    assert alive.count(False) == len(left_out)


async def test_whoever_hung_up_before_the_commit_gets_nothing_posted(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request whose connection is lost while it waits is dropped; its repeat is decided; a reversal is done all the same."""
    async with open_street(bank, tmp_path, families=3) as street:
        held, deciding = asyncio.Event(), authorise_group

        async def slow(*arguments: Any) -> Any:  # noqa: ANN401 - stands for authorise_group
            await held.wait()
            return await deciding(*arguments)

        done = await street.atm.withdraw(street.wallet.cards[2], 50_000)
        monkeypatch.setattr(lane_module, "authorise_group", slow)
        first = asyncio.ensure_future(street.atm.withdraw(street.wallet.cards[0], 50_000))
        line = street.service.room.places[0].line
        assert line is not None
        await _until(lambda: line.in_flight == 1 and not street.service.lanes.waiting)
        gone = street.atm.request(Asked.CASH, street.wallet.cards[0], 100_000)
        back = street.atm.reversal(done.request)
        async with raw_link(street.service) as link:
            await link.send(framed(street.switch.network_message(NetworkCode.SIGN_ON)))
            await link.receive()
            await link.send(framed(gone) + framed(back))
            await _until(lambda: line.in_flight == 3)
        await _until(lambda: len(line.connections) == 1)
        held.set()
        assert "00" == (await first).code
        await _until(lambda: not line.in_flight)
        assert (1, 1) == (line.counters.abandoned, sum(one.dropped for one in street.service.lanes.statistics))
        left = [await available_idr(bank, one.family_id) for one in street.families]
        assert [AID_IDR - 50_000, AID_IDR, AID_IDR] == left
        assert "00" == (await street.atm.send(gone)).code
        assert AID_IDR - 150_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_whoever_hung_up_while_the_database_was_away_gets_nothing_posted(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane tries again when PostgreSQL is back, but not for a request that nobody waits for; its repeat is decided."""
    monkeypatch.setattr(lane_module, "RETRY_WAIT_S", 0.1)
    async with open_street(bank, tmp_path) as street:
        line = street.service.room.places[0].line
        assert line is not None
        gone = street.atm.request(Asked.CASH, street.card, 100_000)
        with monkeypatch.context() as patch:
            no_connections(patch, after=0, error=ConnectionRefusedError("no server"))
            async with raw_link(street.service) as link:
                await link.send(framed(street.switch.network_message(NetworkCode.SIGN_ON)))
                await link.receive()
                await link.send(framed(gone))
                await _until(lambda: line.in_flight == 1 and not street.service.lanes.waiting)
            await _until(lambda: len(line.connections) == 1)
        await _until(lambda: not line.in_flight)
        assert (1, 1) == (line.counters.abandoned, sum(one.dropped for one in street.service.lanes.statistics))
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)
        assert "00" == (await street.atm.send(gone)).code
        assert AID_IDR - 100_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_a_full_queue_is_answered_91(bank: Bank, tmp_path: Path) -> None:
    """Over the bound a request is refused at once and not kept: its repeat is served when there is room again."""
    async with open_street(bank, tmp_path, families=30) as street:
        bank.settings = bank.settings.model_copy(update={"queue_max": 5})
        done = await asyncio.gather(*(street.atm.withdraw(card, 50_000) for card in street.wallet.cards))
        codes = [one.code for one in done]
        assert {"00", "91"} == set(codes)
        assert codes.count("91") == sum(one.refused for one in street.service.lanes.statistics)
        left = [await available_idr(bank, one.family_id) for one in street.families]
        assert [AID_IDR - 50_000 if code == "00" else AID_IDR for code in codes] == left
        refused = next(one for one in done if one.code == "91")
        assert "00" == (await street.atm.repeat(refused)).code
        assert 0 == street.service.lanes.waiting
    await assert_proved(bank)


async def test_a_request_without_keys_is_answered_96(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HSM is away, at whatever step: an answer and nothing moved; the link stays, and works when it is back."""

    def away(*_: object) -> bytes:
        raise TokenError("token kks: CKR_DEVICE_REMOVED")

    async with open_street(bank, tmp_path) as street:
        for command in ("blind_index", "verify_pins", "mac"):
            with monkeypatch.context() as patch:
                patch.setattr(type(bank.hsm), command, away)
                assert "96" == (await street.atm.withdraw(street.card, 50_000)).code
            assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
        assert 3 * 50_000 == AID_IDR - await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_a_member_the_database_refuses_does_not_fail_its_group(bank: Bank, tmp_path: Path) -> None:
    """A database error for one card: that one is answered 96 and moves nothing, the others of its group are approved."""
    async with open_street(bank, tmp_path, families=12) as street:
        bad = street.families[4].family_id
        await _as_owner(bank, REFUSE, REFUSE_ONE.format(account=bad))
        await _burst(street, bad)
        await _as_owner(bank, "DROP TRIGGER refuse_one ON authorisation")
        assert "00" == (await street.atm.withdraw(street.wallet.cards[4], 50_000)).code
    await assert_proved(bank)


async def test_a_member_the_ledger_refuses_does_not_fail_its_group(bank: Bank, tmp_path: Path) -> None:
    """A purse that cannot pay what its tranches promise: 96 for that card, approvals for the others."""
    async with open_street(bank, tmp_path, families=12) as street:
        bad = street.families[4].family_id
        await _as_owner(bank, f"UPDATE purse SET available_idr = 0 WHERE account_id = {bad}")
        await _burst(street, bad)
        await _as_owner(bank, f"UPDATE purse SET available_idr = {AID_IDR} WHERE account_id = {bad}")
    await assert_proved(bank)


def _one_way(bank: Bank) -> KeyHandle:
    """The next version of the link's key: it only enciphers, and was activated all the same."""
    label = read_links(bank.settings.links_file).first.pin_key
    return bank.hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.ENCRYPT), label)


async def test_a_link_key_that_only_enciphers_fails_those_with_a_pin(bank: Bank, tmp_path: Path) -> None:
    """A PIN that cannot be read is answered 96 and counts as no try; who needs none is served in the same group."""
    async with open_street(bank, tmp_path, families=2) as street:
        first, second = street.wallet.cards
        done = await street.atm.withdraw(first, 50_000)
        old = bank.hsm.find(_one_way(bank).label)
        assert 2 == old.version
        bank.hsm.set_state(bank.hsm.version(old.label, 1), KeyState.SUSPENDED)
        refused, back = await asyncio.gather(street.atm.withdraw(second, 50_000), street.atm.reverse(done))
        assert ("96", "00") == (refused.code, back.code)
        assert [AID_IDR] * 2 == [await available_idr(bank, one.family_id) for one in street.families]
        bank.hsm.set_state(bank.hsm.version(old.label, 1), KeyState.ACTIVE)
        assert "00" == (await street.atm.withdraw(second, 50_000)).code
        assert 0 < await write_refusals(bank)
    await assert_proved(bank)


async def test_an_older_link_key_that_reads_goes_on(bank: Bank, tmp_path: Path) -> None:
    """A newer version that only enciphers does not stand in its way."""
    async with open_street(bank, tmp_path) as street:
        _one_way(bank)
        assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
    await assert_proved(bank)


def _unmakable(*_: object) -> None:
    raise KeyError("FOOD")


async def test_a_bug_in_one_group_does_not_stop_the_lane(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody expected is answered 96, moves nothing, and the next request is served."""
    async with open_street(bank, tmp_path) as street:
        with monkeypatch.context() as patch:
            patch.setattr(lane_module, "authorise_group", _broken)
            assert "96" == (await street.atm.withdraw(street.card, 50_000)).code
        assert ("00", AID_IDR - 50_000) == (
            (again := await street.atm.withdraw(street.card, 50_000)).code,
            again.available_idr,
        )
    assert ["APPROVED"] == await reasons(bank)


async def test_an_answer_that_cannot_be_made_does_not_deny_what_was_done(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group is committed: a bug behind it leaves one without an answer, whom a repeat tells the truth."""
    async with open_street(bank, tmp_path) as street:
        message = street.atm.request(Asked.CASH, street.card, 50_000)
        with monkeypatch.context() as patch:
            patch.setattr(mapping, "to_answer", _unmakable)
            waiting = asyncio.ensure_future(street.switch.client.request(message))
            await asyncio.wait({waiting}, timeout=0.8)
            assert not waiting.done()
        waiting.cancel()
        async with street.new_switch() as other:
            assert "00" == (await other.client.request(message)).get(39)
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)


async def test_a_commit_whose_answer_was_lost_is_looked_up(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COMMIT reached the database and its answer did not: the stored answer is found, told, and the money moved once."""
    async with open_street(bank, tmp_path) as street:
        lose_commits(monkeypatch, committed=True, times=1)
        first = await street.atm.withdraw(street.card, 50_000)
        assert ("00", AID_IDR - 50_000) == (first.code, first.available_idr)
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_a_commit_that_never_arrived_is_done_again(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke before COMMIT: the group is decided again, once."""
    async with open_street(bank, tmp_path) as street:
        lose_commits(monkeypatch, committed=False, times=2)
        first = await street.atm.withdraw(street.card, 50_000)
        assert ("00", AID_IDR - 50_000) == (first.code, first.available_idr)
    assert ["APPROVED"] == await reasons(bank)
    await assert_proved(bank)


@pytest.mark.parametrize("error", [ConnectionRefusedError("no server"), STARTING_UP], ids=["refused", "starting up"])
async def test_an_outcome_nobody_knows_is_not_answered(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Where a commit may have happened and cannot be looked up, silence is the honest answer; a repeat finds the truth."""
    monkeypatch.setattr(lane_module, "RETRY_WAIT_S", 0.001)
    async with open_street(bank, tmp_path) as street, street.new_switch() as other:
        message = street.atm.request(Asked.CASH, street.card, 50_000)
        with monkeypatch.context() as patch:
            lose_commits(patch, committed=True, times=1)
            no_connections(patch, after=1, error=error)
            waiting = asyncio.ensure_future(street.switch.client.request(message))
            await asyncio.wait({waiting}, timeout=0.8)
            assert (False, 1) == (waiting.done(), _unknown(street))
        assert "00" == (await other.client.request(message)).get(39)
        waiting.cancel()
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_without_a_database_new_requests_are_answered_91(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While PostgreSQL is away or starting, a request that was never committed is declined 91, and served when it is back."""
    monkeypatch.setattr(lane_module, "RETRY_WAIT_S", 0.001)
    async with open_street(bank, tmp_path) as street:
        for error in (ConnectionRefusedError("no server"), STARTING_UP):
            with monkeypatch.context() as patch:
                no_connections(patch, after=0, error=error)
                assert "91" == (await street.atm.withdraw(street.card, 50_000)).code
            assert "00" == (await street.atm.withdraw(street.card, 50_000)).code


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a number is waited for, which nobody announces
            await asyncio.sleep(0.005)


async def _burst(street: Street, bad: int) -> None:
    done = await asyncio.gather(*(street.atm.withdraw(card, 50_000) for card in street.wallet.cards))
    expected = ["96" if one.family_id == bad else "00" for one in street.families]
    assert expected == [one.code for one in done]
    assert {AID_IDR - 50_000} == {one.available_idr for one in done if one.approved}
    assert 0 < sum(one.retried for one in street.service.lanes.statistics)


def _unknown(street: Street) -> int:
    return sum(one.unknown for one in street.service.lanes.statistics)


async def _as_owner(bank: Bank, *statements: str) -> None:
    """Run statements as the owner of the schema: the service itself may not."""
    engine = create_async_engine(bank.database.url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no triggers
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


async def _broken(*_arguments: object) -> None:
    raise RuntimeError("a bug")


def lose_commits(patch: pytest.MonkeyPatch, *, committed: bool, times: int) -> None:
    """The first TIMES commits lose their connection: after the database has committed, or before."""
    commit = LaneConnection.commit
    lost = 0

    async def losing(connection: LaneConnection) -> None:
        nonlocal lost
        lost += 1
        if committed or lost > times:
            await commit(connection)
        if lost <= times:
            raise ConnectionDoesNotExistError("gone")

    patch.setattr(LaneConnection, "commit", losing)


def no_connections(patch: pytest.MonkeyPatch, *, after: int, error: Exception | None = None) -> None:
    """After AFTER transactions the lanes get no connection."""
    connected = Lanes._connected
    asked = 0

    async def refusing(lanes: Lanes, lane: Any) -> LaneConnection:  # noqa: ANN401 - a lane's own state
        nonlocal asked
        asked += 1
        if asked > after:
            raise error or ConnectionRefusedError("no database")
        return await connected(lanes, lane)

    patch.setattr(Lanes, "_connected", refusing)


REFUSE = """
    CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused by a test'; END $$
"""
REFUSE_ONE = """
    CREATE TRIGGER refuse_one BEFORE INSERT ON authorisation FOR EACH ROW WHEN (NEW.account_id = {account})
    EXECUTE FUNCTION refuse_one()
"""
