"""The shipped cases against a real `kks serve`: alone, many at once, under load, and with connections cut."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.clock import now
from gateway.simulator.cases import Round, run_cases, shipped_cases
from gateway.simulator.profile import read_profile, with_keys
from gateway.simulator.testkeys import load_test_keys
from gateway.testlink import test_keys_path as keys_path
from tests.gateway.serving import serving
from tests.gateway.street import AID_IDR, assert_proved
from tests.gateway.world import activate, credit, open_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.cases import RoundResult
    from gateway.simulator.wallet import Wallet
    from tests.gateway.serving import Served

PROFILES = ("himbara", "edc")
GROUPS = {
    "admin", "advice", "amount", "answer", "balance", "card", "cash", "currency", "duplicate", "echo", "format", "hold",
    "hotlist", "insufficient", "network", "pin", "processing", "purchase", "purse", "raw", "refund", "reversal", "statement",
    "totals", "type",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counter:
    """A running process and the cards of its families."""

    served: Served
    wallet: Wallet
    settings: Settings

    async def play(self, profile: str, plan: Round | None = None) -> RoundResult:
        """All shipped cases of a profile."""
        keys = load_test_keys(keys_path(self.settings.data_dir))
        chosen = with_keys(read_profile(profile), keys)
        host, port = self.served.links[profile]
        return await run_cases(
            shipped_cases(profile), host, port, self.wallet, chosen.pinpad(keys), clock=now, profile=chosen, plan=plan
        )


@asynccontextmanager
async def counter(bank: Bank, settings: Settings, folder: Path, families: int) -> AsyncIterator[Counter]:
    """Families with food money, and those of PKH with cash money too; and the process that serves them."""
    found = await open_families(bank, folder, families)
    wallet = await activate(bank, found)
    await credit(bank, folder, [one for one in found if "SEMBAKO" in one.programmes], AID_IDR)
    of_pkh = [one for one in found if "PKH" in one.programmes]
    await credit(bank, folder, of_pkh, AID_IDR, programme="PKH", si="SI-PKH")
    async with serving(settings) as served:
        yield Counter(served, wallet, settings)


@pytest.mark.parametrize("profile", PROFILES)
async def test_the_shipped_cases(bank: Bank, bank_settings: Settings, tmp_path: Path, profile: str) -> None:
    """One after the other, each with a card of its own: all pass, and the proofs hold."""
    many = len(shipped_cases(profile))
    async with counter(bank, bank_settings, tmp_path, many + many // 4) as here:
        done = await here.play(profile)
    assert [] == failures(done)
    assert many == len(done.cases)
    await assert_proved(bank)


async def test_under_load_with_connections_cut(bank: Bank, bank_settings: Settings, tmp_path: Path) -> None:
    """Many at once, a load beside them, every fifth message cut off: all pass, proofs and the terminals' own books agree."""
    many = len(shipped_cases())
    async with counter(bank, bank_settings, tmp_path, 2 * many) as here:
        done = await here.play("himbara", Round(clients=8, cut=0.2, load_per_s=30))
    assert [] == failures(done)
    assert done.cuts > many // 2
    assert sum(one.repeats for one in done.cases) > 0
    assert done.load is not None
    assert (0, 0, ()) == (done.load.unresolved, done.load.books.unsure, done.load.books.differences)
    assert done.load.cuts > 0
    await assert_proved(bank)


def test_the_tables_are_covered() -> None:
    """Sixty cases and more, grouped by the first word of their names, each with the rule it is about."""
    assert len(shipped_cases()) >= 60
    assert GROUPS == {path.stem.split("_")[0] for path in shipped_cases()}
    assert GROUPS | {"edc"} == {path.stem.split("_")[0] for path in shipped_cases("edc")}


def failures(done: RoundResult) -> list[str]:
    """Names and reasons of the cases that did not pass."""
    return [f"{one.path.stem}: {line}" for one in done.cases for line in one.failures]
