"""A partner's ZPK is changed by the bank's people on their command line while its service answers: no PIN is refused for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.operations import pin_check
from gateway.operations.setup import move_business_date
from gateway.simulator.pinpad import PinPad
from gateway.simulator.terminal import TerminalKind
from keys import tr31
from keys.errors import KeyRefused
from keys.hsm import PinToVerify
from keys.keytypes import KeyMode, KeySpec, KeyState, KeyUsage
from keys.sensitive import Pan, Pin
from keys.software import SoftwareHsm
from keys.tr31_header import Header
from tests.gateway.owner import one_value
from tests.gateway.rites import BUDI, FIRST, RATNA, SECOND, SITI, ZPK, new_zpk
from tests.gateway.street import assert_proved, open_street, reasons

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.simulator.exchange import Exchange
    from gateway.simulator.terminal import Terminal
    from keys.hsm import Hsm
    from tests.gateway.street import Street

ROOT = Path(__file__).resolve().parents[2]
LABEL = "zpk-himbara"
NEW_ZPK = bytes.fromhex("89B07B35A1B3F47E89B07B35A1B3F488")
PAN = Pan("6013010000000019")
WRONG = Pin("314159")
TRIES = "SELECT pin_tries_left FROM card WHERE id = :id"
RIGHT_CODE, WRONG_CODE = "00", "55"


@dataclass(slots=True)
class Corner:
    """A street with two PIN pads: one has the old key, one the partner's new one."""

    street: Street
    bank: Bank
    old: Terminal
    new: Terminal

    async def asks(self, terminal: Terminal, pin: Pin | None = None, card: int = 0) -> str:
        """A balance, asked with a PIN: what is answered."""
        return (await terminal.balance(self.street.wallet.cards[card], pin)).code

    async def tries(self, card: int = 0) -> int:
        """Wrong PINs that the card may still have."""
        return int(await one_value(self.bank, TRIES, id=self.street.families[card].card_id))

    async def knows(self, *states: KeyState) -> None:
        """Until the running service sees the versions of the key in these states, oldest first, and all that came with them."""
        for _ in range(1_000):
            versions = reversed(self.bank.hsm.versions(LABEL))
            if list(states) == [self.bank.hsm.info(key).state_on(self.bank.business_date) for key in versions]:
                self.bank.hsm.refresh()  # an activation is two changes: the new version's state, and the last day of the old one
                return
            await asyncio.sleep(0.02)
        raise TimeoutError


def corner_of(street: Street) -> Corner:
    """The old pad is the street's own."""
    hsm = SoftwareHsm.in_memory()
    mask = bytes(range(1, 17))
    parts = [mask, bytes(one ^ other for one, other in zip(mask, NEW_ZPK, strict=True))]
    pad = PinPad(hsm, hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.ENCRYPT), "zpk", parts))
    new = street.switch.terminal(pad, TerminalKind.ATM, 7, first_stan=500_000)
    return Corner(street, street.bank, street.atm, new)


async def kks(bank: Bank, *words: str, by: str, typed: str = "") -> dict[str, Any]:
    """A command of another process, as a person types it."""
    settings = bank.settings
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "KKS_DATABASE_URL": str(settings.database_url),
        "KKS_DATA_DIR": str(settings.data_dir), "KKS_LOG_LEVEL": "error",
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *words, "--as", by, "--json", env=environment, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await child.communicate(typed.encode())
    assert (0, b"") == (child.returncode, err), err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


async def change_zpk(bank: Bank, overlap_days: int | None = 1) -> None:
    """The partner's new ZPK comes in a key block under the ZMK that both have, and is activated by another person."""
    zmk = bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))
    for number, (by, value) in enumerate(((SITI, FIRST), (BUDI, SECOND)), 1):
        entering = ("keys", "component", "zmk-himbara", "--usage", "K1", "--number", str(number))
        await kks(bank, *entering, by=by, typed=f"{value.hex()}\n")
    block = tr31.wrap(zmk, Header("D", "P0", "T", "B", "00", "E"), NEW_ZPK)
    taken = await kks(bank, "keys", "import", LABEL, "--under", "zmk-himbara", "--block", block, by=SITI)
    assert (f"{LABEL}#2", "PRE_ACTIVE") == (taken["key"]["key"], taken["key"]["state"])
    days = () if overlap_days is None else ("--overlap-days", str(overlap_days))
    await kks(bank, "keys", "activate", f"{LABEL}#2", *days, by=BUDI)


async def test_both_keys_work_until_the_overlap_ends(bank: Bank, tmp_path: Path) -> None:
    """Terminals go on all through the change; a wrong PIN costs one try under either key; then the old key is wrong."""
    async with open_street(bank, tmp_path, families=2) as street:
        corner = corner_of(street)
        asked = asyncio.create_task(_go_on(corner))
        await asyncio.sleep(0)
        await change_zpk(bank)
        await corner.knows(KeyState.ACTIVE, KeyState.ACTIVE)
        asked.cancel()
        assert {RIGHT_CODE} == await _codes(asked, corner)
        for terminal, left in ((corner.old, 2), (corner.new, 1)):
            assert WRONG_CODE == await corner.asks(terminal, WRONG)
            assert left == await corner.tries()
        assert RIGHT_CODE == await corner.asks(corner.new)
        assert 3 == await corner.tries()
        together = await asyncio.gather(
            corner.asks(corner.old, card=0), corner.asks(corner.new, WRONG, card=1), corner.asks(corner.new, card=0),
            corner.asks(corner.old, card=1), corner.asks(corner.new, card=1),
        )  # fmt: skip
        assert [RIGHT_CODE, WRONG_CODE, *[RIGHT_CODE] * 3] == list(together)
        await move_business_date(bank, "ops", bank.business_date + timedelta(days=1))
        assert [RIGHT_CODE] * 2 == [await corner.asks(terminal) for terminal in (corner.old, corner.new)]
        await move_business_date(bank, "ops", bank.business_date + timedelta(days=1))
        assert [WRONG_CODE, RIGHT_CODE] == [await corner.asks(terminal) for terminal in (corner.old, corner.new)]
        assert WRONG_CODE == await corner.asks(corner.old)
        assert 2 == await corner.tries()
        assert "PIN_WRONG" == (await reasons(bank))[-1]
    await assert_proved(bank)


async def test_a_new_key_works_when_it_is_activated(bank: Bank, tmp_path: Path) -> None:
    """Not when it has only come in; and without a last day the old one works on until it is retired."""
    async with open_street(bank, tmp_path) as street:
        corner = corner_of(street)
        assert [RIGHT_CODE, WRONG_CODE] == [await corner.asks(terminal) for terminal in (corner.old, corner.new)]
        await change_zpk(bank, None)
        await corner.knows(KeyState.ACTIVE, KeyState.ACTIVE)
        assert [RIGHT_CODE] * 2 == [await corner.asks(terminal) for terminal in (corner.old, corner.new)]
        await kks(bank, "keys", "state", "suspend", f"{LABEL}#2", by=RATNA)
        await corner.knows(KeyState.ACTIVE, KeyState.SUSPENDED)
        assert [RIGHT_CODE, WRONG_CODE] == [await corner.asks(terminal) for terminal in (corner.old, corner.new)]
        await kks(bank, "keys", "state", "resume", f"{LABEL}#2", by=RATNA)
        await kks(bank, "keys", "state", "compromise", f"{LABEL}#1", by=SITI)
        await kks(bank, "keys", "rotate-master", by=SITI)
        await kks(bank, "keys", "state", "destroy", f"{LABEL}#1", by=BUDI)
        await corner.knows(KeyState.DESTROYED, KeyState.ACTIVE)
        assert [WRONG_CODE, RIGHT_CODE] == [await corner.asks(terminal) for terminal in (corner.old, corner.new)]
    await assert_proved(bank)


async def test_the_card_is_locked_after_as_many_wrong_pins_as_ever(bank: Bank, tmp_path: Path) -> None:
    """Two keys give nobody more guesses, nor fewer: three wrong PINs, under whichever."""
    async with open_street(bank, tmp_path) as street:
        corner = corner_of(street)
        await change_zpk(bank)
        await corner.knows(KeyState.ACTIVE, KeyState.ACTIVE)
        codes = [await corner.asks(terminal, WRONG) for terminal in (corner.old, corner.new, corner.old)]
        assert [WRONG_CODE] * 2 == codes[:2]
        assert ("PIN_LOCKED", 0) == (await one_value(bank, "SELECT state FROM card"), await corner.tries())
        assert RIGHT_CODE not in [await corner.asks(terminal) for terminal in (corner.old, corner.new)]


async def test_as_many_versions_as_work(bank: Bank) -> None:
    """Each PIN is tried under every version of its own link's key that works today, and under no other."""
    await new_zpk(bank)
    for _ in range(2):
        bank.hsm.generate(ZPK, "zpk")
    bank.hsm.generate(ZPK, "other")
    pvk = bank.keys.pin_verification
    offset = bank.hsm.choose_pin(_block(bank.hsm, "zpk", 1), bank.hsm.version("zpk", 1), pvk, PAN, None)

    def asked(label: str, version: int, reference: str = offset) -> PinToVerify:
        return PinToVerify(_block(bank.hsm, label, version), bank.hsm.find(label), PAN, reference)

    wrong = f"{(int(offset) + 1) % 1_000_000:06d}"
    blocks = [asked("zpk", 3), asked("zpk", 1), asked("zpk", 2, wrong), asked("other", 1), asked("zpk", 2)]
    labels = ["zpk", "zpk", "zpk", "other", "zpk"]

    def under(places: list[int], labels: list[str]) -> list[int | None]:
        found = pin_check._verified(bank, [blocks[place] for place in places], labels, pvk)
        return [None if key is None else key.version for key in found]

    everyone = list(range(len(blocks)))
    assert [3, 1, None, 1, 2] == under(everyone, labels)
    assert [None, None] == under([3, 1], ["zpk", "other"])
    assert [] == under([], [])
    bank.hsm.set_state(bank.hsm.version("zpk", 3), KeyState.SUSPENDED)
    assert [None, 1, None, 1, 2] == under(everyone, labels)
    for version in (1, 2):
        bank.hsm.set_state(bank.hsm.version("zpk", version), KeyState.DEACTIVATED)
    with pytest.raises(KeyRefused, match="it is SUSPENDED"):
        under(everyone, labels)
    with pytest.raises(KeyRefused, match="no key 'none'"):
        under([0], ["none"])


def _block(hsm: Hsm, label: str, version: int) -> bytes:
    return hsm.encipher_pin(Pin("204817"), hsm.version(label, version), PAN)


async def _go_on(corner: Corner) -> None:
    """The old terminal, again and again."""
    while True:
        await corner.asks(corner.old)


async def _codes(asked: asyncio.Task[None], corner: Corner) -> set[str]:
    """What was answered until the task was stopped."""
    with pytest.raises(asyncio.CancelledError):
        await asked
    answered: list[Exchange] = [one for one in corner.old.journal if one.answer is not None]
    assert len(answered) > 10
    return {one.code for one in answered}
