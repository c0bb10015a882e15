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
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.cases import RoundResult
    from gateway.simulator.wallet import Wallet
    from tests.gateway.serving import Served

PROFILES = ("himbara", "edc", "chip")
NOT_RUN = {"himbara": 0, "edc": 5, "chip": 0}
"""About sign-on where there is none, and letters where digits are packed."""
PROOFS = {"mac", "chip", "stripe", "key"}
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

    async def play(self, profile: str, plan: Round | None = None, paths: Sequence[Path] = ()) -> RoundResult:
        """All shipped cases of a profile, or those of PATHS, by a simulator that has just been started."""
        keys = load_test_keys(keys_path(self.settings.data_dir))
        chosen = with_keys(read_profile(profile), keys)
        host, port = self.served.links[profile]
        return await run_cases(
            paths or shipped_cases(chosen),
            host,
            port,
            self.wallet,
            chosen.pinpad(keys),
            clock=now,
            profile=chosen,
            plan=plan,
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
    many = len(shipped_cases(read_profile(profile)))
    async with counter(bank, bank_settings, tmp_path, many + many // 4) as here:
        done = await here.play(profile)
    assert [] == failures(done)
    assert many == len(done.cases) + len(done.not_run)
    assert NOT_RUN[profile] == len(done.not_run)
    await assert_proved(bank)


@pytest.mark.parametrize("profile", ["himbara", "chip"])
async def test_under_load_with_connections_cut(
    bank: Bank, bank_settings: Settings, tmp_path: Path, profile: str
) -> None:
    """Many at once, a load beside them, every fifth message cut off: all pass, proofs and the terminals' own books agree.

    Where cards and messages prove themselves, counters and MACs hold too.
    """
    many = len(shipped_cases(read_profile(profile)))
    async with counter(bank, bank_settings, tmp_path, 2 * many) as here:
        done = await here.play(profile, Round(clients=8, cut=0.2, load_per_s=30))
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
    assert GROUPS | {"edc"} == {path.stem.split("_")[0] for path in shipped_cases(read_profile("edc"))}
    of_proofs = [path for path in shipped_cases(read_profile("chip")) if path.stem.split("_")[0] in PROOFS]
    assert PROOFS == {path.stem.split("_")[0] for path in of_proofs}
    assert len(of_proofs) >= 30


async def test_chips_go_on_counting_in_the_next_run(bank: Bank, bank_settings: Settings, tmp_path: Path) -> None:
    """The simulator keeps each card's counter: what it signs another time is above what the bank saw, and stays in the window."""
    wanted = ("chip_right", "chip_replayed", "mac_right")
    paths = [path for path in shipped_cases(read_profile("chip")) if path.stem in wanted]
    async with counter(bank, bank_settings, tmp_path, 8) as here:
        first = await here.play("chip", Round(repeat=2), paths)
        again = await here.play("chip", Round(repeat=2, clients=3, stans_from=500_000), paths)
    assert [] == failures(first) + failures(again)
    assert (6, 6) == (len(first.cases), len(again.cases))
    await assert_proved(bank)


def failures(done: RoundResult) -> list[str]:
    """Names and reasons of the cases that did not pass."""
    return [f"{one.path.stem}: {line}" for one in done.cases for line in one.failures]
