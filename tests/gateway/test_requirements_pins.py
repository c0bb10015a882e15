"""The security requirements of PINs through the doors of the bank (05, 07, 22): what a terminal is told, and what it costs it.

Read next: docs/threat-model.md; tests/keys/test_requirements_pins.py for the same lines within keys/.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from asyncpg.exceptions import ConnectionDoesNotExistError

from gateway.app import open_bank, run_service
from gateway.settings import load_settings
from gateway.simulator.exchange import ECHOED
from gateway.simulator.terminal import Asked
from gateway.store.lane_connection import LaneConnection
from gateway.terminals import mapping
from gateway.testlink import read_test_key
from keys.pinblock import PinFormat
from keys.sensitive import Pan, Pin
from keys.software import SoftwareWorkshop
from keys.usages import combine
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import framed, open_street, raw_link, reasons, stand_before
from tests.gateway.world import PIN
from tests.keys.wrong_pins import failing_blocks
from tests.servers import kill

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.operations.authorise import Outcome
    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.exchange import Exchange
    from iso.message import Message
    from keys.keytypes import KeyInfo
    from keys.sensitive import Material
    from tests.gateway.street import Street

TRIES = "SELECT pin_tries_left FROM card"
FAR_PAN = Pan("6013019999000003")
OTHER_ZPK = bytes(range(0x60, 0x70))
WRONG = [Pin(f"91827{digit}") for digit in range(10)] + [Pin(f"36271{digit}") for digit in range(10)]


def wrong_blocks(street: Street) -> dict[str, bytes]:
    """Every cause of a PIN failure, for the street's card under the link's key."""
    zpk = combine(read_test_key(street.bank.settings.data_dir)[1])
    return failing_blocks(PinFormat.ISO_0, (zpk, OTHER_ZPK), (street.card.pan, FAR_PAN), street.card.pin)


def balance_with(street: Street, block: str) -> Message:
    """A balance inquiry at the ATM with these 16 hex digits for a PIN block."""
    message = street.atm.request(Asked.BALANCE, street.card, 0)
    message.fields[52] = block
    return message


async def test_requirement_05_every_pin_failure_is_one_answer_and_one_try(bank: Bank, tmp_path: Path) -> None:
    """Bad fill, wrong format, non digit, wrong PIN, wrong key, wrong length: the same answer, to the last field; one try each."""
    async with open_street(bank, tmp_path) as street:
        answers, causes = [], wrong_blocks(street)
        assert 17 == len(causes)
        for name, block in causes.items():
            answer = (await street.atm.send(balance_with(street, block.hex().upper()))).answer
            assert answer is not None, name
            answers.append({number: value for number, value in answer.fields.items() if number not in ECHOED})
            assert 2 == await one_value(bank, TRIES), name
            assert "00" == (await street.atm.balance(street.card)).code  # which gives the try back
            assert 3 == await one_value(bank, TRIES)
        assert [{39: "55"}] * len(causes) == answers
        assert {"APPROVED", "PIN_WRONG"} == set(await reasons(bank))
        written = "SELECT DISTINCT reason, response_code, answer FROM authorisation WHERE reason <> 'APPROVED'"
        assert [("PIN_WRONG", "55")] == [tuple(row)[:2] for row in await as_owner(bank, written)]
        assert not any(name.lower() in text for (text,) in await as_owner(bank, "SELECT detail FROM audit_event")
                       for name in ("bad_block", "wrong_length", "not_digits"))  # fmt: skip


async def test_requirement_05_a_block_of_another_length_is_a_wrong_pin(bank: Bank, tmp_path: Path) -> None:
    """Should a link ever let one through, it costs a try like any other; none of this link's messages has one."""
    async with open_street(bank, tmp_path) as street:
        for block in (b"", bytes(7), bytes(9), bytes(16)):
            outcome = await _decided(street, block)
            assert ("PIN_WRONG", "55", None, 2) == (
                outcome.reason.value, outcome.response_code, outcome.balances, await one_value(bank, TRIES),
            )  # fmt: skip
            assert "00" == (await street.atm.balance(street.card)).code
        good = framed(balance_with(street, "0" * 16))
        async with raw_link(street.service) as link:
            await link.send(framed(street.switch.network_message("001")))
            await link.receive()
            for text in (b"G" * 16, b"0" * 15 + b"\n", b"0" * 15 + b" "):
                await link.send(_with_block(good, text))
                assert "30" == (await link.receive()).get(39)
        assert 3 == await one_value(bank, TRIES)  # what is no message is no try


def _with_block(frame: bytes, text: bytes) -> bytes:
    """The frame with TEXT in the place of its PIN block of zeros, the last such place."""
    at = frame.rindex(b"0" * 16)
    return frame[:at] + text + frame[at + 16 :]


async def _decided(street: Street, block: bytes) -> Outcome:
    """A balance inquiry past the wire, with a PIN block of any length."""
    message = street.atm.request(Asked.BALANCE, street.card, 0)
    key = street.bank.hsm.find(street.wallet.zpk_label)
    command = mapping.to_command(message, street.service.link, key)._replace(pin_block=block)
    answer: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
    street.service.lanes.submit(command, answer.set_result)
    outcome = await answer
    assert outcome is not None
    return outcome


class Watch:
    """Counts what the ciphers of keys are asked by one workshop, `of`: key and bytes. Others are the terminals' own."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.of: SoftwareWorkshop | None = None
        self.calls: list[tuple[str, int]] = []
        for name in ("encipherer", "decipherer"):
            patch.setattr(SoftwareWorkshop, name, self._watched(name, getattr(SoftwareWorkshop, name)))

    def _watched(self, name: str, make: Callable[..., Callable[[bytes], bytes]]) -> Callable[..., Any]:
        def made(workshop: SoftwareWorkshop, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
            tool = make(workshop, info, raw)

            def use(data: bytes) -> bytes:
                if workshop is self.of:
                    self.calls.append((f"{name} {info.label}", len(data)))
                return tool(data)

            return use

        return made

    def taken(self) -> list[tuple[str, int]]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


async def test_requirement_05_no_cause_costs_the_bank_other_work(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the message to the answer: each cause, and the right PIN, asks the ciphers the same, in the same order."""
    watch = Watch(monkeypatch)
    async with open_street(bank, tmp_path) as street:
        watch.of = bank.hsm._workshop  # type: ignore[attr-defined]
        assert "00" == (await street.atm.balance(street.card)).code
        right = watch.taken()
        assert [("encipherer pin-verification", 8), (f"decipherer {street.wallet.zpk_label}", 8)] == right
        for name, block in wrong_blocks(street).items():
            assert "55" == (await street.atm.send(balance_with(street, block.hex().upper()))).code
            assert right == watch.taken(), name
            assert "00" == (await street.atm.balance(street.card)).code
            assert right == watch.taken()


async def test_requirement_07_guesses_at_once_never_exceed_the_tries(
    bank: Bank, bank_settings: Settings, tmp_path: Path
) -> None:
    """Twenty wrong PINs at the same moment, at three kinds of terminals of two services: three are looked at, none more."""
    async with (
        open_street(bank, tmp_path) as here,
        open_bank(bank_settings) as other,
        run_service(other, jobs=False) as service,
        stand_before(other, service, here.wallet, here.families) as there,
    ):
        there.agent._stan, there.shop._stan, there.atm._stan = 500_000, 600_000, 700_000
        places = [here.atm, here.agent, here.shop, there.agent, there.shop]
        asked = [places[at % len(places)].balance(here.card, pin) for at, pin in enumerate(WRONG)]
        codes = sorted(one.code for one in await asyncio.gather(*asked))
        assert ["55"] * 3 + ["75"] * 17 == codes
        assert [(0, "PIN_LOCKED")] == await as_owner(bank, "SELECT pin_tries_left, state FROM card")
        assert ["75", "75"] == [(await street.atm.balance(here.card)).code for street in (here, there)]
    assert 3 == (await reasons(bank)).count("PIN_WRONG")


async def test_requirement_07_the_try_is_on_disk_before_the_answer_leaves(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the commit is under way nobody is answered; when it has ended, and not before, another connection sees the try."""
    seen: list[tuple[int, bool, int]] = []
    commit = LaneConnection.commit
    async with open_street(bank, tmp_path) as street:
        waiting: list[asyncio.Future[Exchange]] = []

        async def watched(connection: LaneConnection) -> None:
            before = await one_value(bank, TRIES)
            await asyncio.sleep(0.05)  # an answer sent too soon would be here by now
            answered = waiting[-1].done()
            await commit(connection)
            seen.append((before, answered, await one_value(bank, TRIES)))

        monkeypatch.setattr(LaneConnection, "commit", watched)
        for pin in WRONG[:3]:
            waiting.append(asyncio.ensure_future(street.atm.balance(street.card, pin)))
            assert "55" == (await waiting[-1]).code
    assert [(3, False, 2), (2, False, 1), (1, False, 0)] == seen
    durable = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') ORDER BY name"
    assert [("fsync", "on"), ("synchronous_commit", "on")] == await as_owner(bank, durable)


@pytest.mark.parametrize("committed", [True, False])
async def test_requirement_07_a_lost_commit_gives_no_guess(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    """Cut off between the check and the answer, before or after the commit: one guess, one try, and the third one locks."""
    commit, cuts = LaneConnection.commit, 0

    async def cut(connection: LaneConnection) -> None:
        nonlocal cuts
        cuts += 1
        lost = cuts % 2 == 1
        if committed or not lost:
            await commit(connection)
        if lost:
            raise ConnectionDoesNotExistError("gone")

    async with open_street(bank, tmp_path) as street:
        monkeypatch.setattr(LaneConnection, "commit", cut)
        codes = [(await street.atm.balance(street.card, pin)).code for pin in WRONG[:5]]
        assert ["55"] * 3 + ["75"] * 2 == codes
        assert 5 <= cuts
    assert [0] == [tries for (tries,) in await as_owner(bank, TRIES)]
    assert 3 == (await reasons(bank)).count("PIN_WRONG")


async def test_requirement_07_a_try_outlives_the_death_of_the_database(tmp_path: Path) -> None:
    """PostgreSQL is killed the moment a wrong PIN is answered: after its recovery each answered guess has cost its try."""
    settings = load_settings(data_dir=tmp_path / "var", iso_port=0, http_port=0, log_level="error")
    async with open_bank(settings) as bank, open_street(bank, tmp_path) as street:
        assert bank.database.embedded is not None
        assert "55" == (await street.atm.balance(street.card, WRONG[0])).code
        await asyncio.to_thread(kill, bank.database.embedded)
        await asyncio.to_thread(bank.database.embedded.start)
        assert 2 == await one_value(bank, TRIES)
        codes = [(await street.atm.balance(street.card, pin)).code for pin in (*WRONG[1:3], Pin(PIN))]
        assert ["55", "55", "75"] == codes


async def test_requirement_22_pin_guesses_add_up_wherever_they_are_made(bank: Bank, tmp_path: Path) -> None:
    """PIN velocity is by card: terminals, channels, amounts and kinds of request share its tries; another card has its own."""
    async with open_street(bank, tmp_path, families=2) as street:
        first, second = street.wallet.cards
        codes = [
            (await street.atm.withdraw(first, 50_000, WRONG[0])).code,
            (await street.shop.purchase(first, 20_000, WRONG[1])).code,
            (await street.agent.balance(first, WRONG[2])).code,
            (await street.atm.balance(first)).code,
            (await street.agent.withdraw(first, 50_000)).code,
            (await street.atm.balance(second)).code,
        ]
        assert ["55", "55", "55", "75", "75", "00"] == codes
        assert {0, 3} == {tries for (tries,) in await as_owner(bank, TRIES)}
        stranger = replace(second, pin=WRONG[3])
        repeated: Sequence[Exchange] = [await street.atm.balance(stranger)]
        repeated = [*repeated, *[await street.atm.repeat(repeated[0]) for _ in range(5)]]
        assert {"55"} == {one.code for one in repeated}  # one message is one try, however often it is sent
        assert {0, 2} == {tries for (tries,) in await as_owner(bank, TRIES)}
