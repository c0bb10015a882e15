"""The shipped cases against a real `kks serve`: alone, many at once, under load, and with connections cut."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.clock import now
from gateway.simulator.cases import Round, run_cases, shipped_cases
from gateway.simulator.profile import read_profile, with_keys
from gateway.simulator.script import read_case
from gateway.simulator.testkeys import load_test_keys
from gateway.terminals.links_file import DEFAULT_FILE
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
OF_IT_ALONE = {"himbara": 0, "edc": 5, "chip": 0}
"""Not run: about sign-on where there is none, and letters where digits are packed."""
PROOFS = {"mac", "chip", "stripe", "key"}
IN_PART = {one.name for one in map(read_case, shipped_cases()) if one.needs_partial}
WHOLE = {one.name for one in map(read_case, shipped_cases()) if one.needs_whole}
SETTINGS = {
    "purchases": 'partial_approval = "purchases"\nasked_in_54 = true\n',
    "marked": 'partial_approval = "marked"\npartial_mark = { field = 60, column = "part" }\n'
    "layouts = { 60 = { kind = 9, part = 1 } }\n",
}
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

    async def play(
        self,
        profile: str,
        plan: Round | None = None,
        only: Sequence[str] = ("",),
        **changes: Any,  # noqa: ANN401
    ) -> RoundResult:
        """All shipped cases of a profile, with CHANGES, by a simulator that has just been started.

        ONLY: those with one of these in their names.
        """
        keys = load_test_keys(keys_path(self.settings.data_dir))
        chosen = replace(with_keys(read_profile(profile), keys), **changes)
        host, port = self.served.links[profile]
        paths = [path for path in shipped_cases(chosen) if any(one in path.stem for one in only)]
        return await run_cases(
            paths, host, port, self.wallet, chosen.pinpad(keys), clock=now, profile=chosen, timeout_s=30.0, plan=plan
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
    assert len(IN_PART) == len([name for name in done.not_run if name in IN_PART])
    assert OF_IT_ALONE[profile] + len(IN_PART) == len(done.not_run)
    await assert_proved(bank)


@pytest.mark.parametrize("words", SETTINGS)
async def test_the_cases_of_a_link_that_approves_in_part(
    bank: Bank, bank_settings: Settings, tmp_path: Path, words: str
) -> None:
    """Whoever asks, where all other cases pass as well; or who says that the terminal can do with a part."""
    shipped = DEFAULT_FILE.read_text(encoding="utf-8")
    path = tmp_path / "links.toml"
    path.write_text(shipped.replace("expiring_in_48 = true\n", SETTINGS[words], 1), encoding="utf-8")
    changes: dict[str, Any] = {
        "partial_approval": True,
        "partial_fields": {60: "0000000001"} if words == "marked" else {},
    }
    only, families = {"purchases": ([""], 200), "marked": (["in_part"], 20)}[words]
    async with counter(bank, bank_settings.model_copy(update={"links_file": path}), tmp_path, families) as here:
        done = await here.play("himbara", only=only, **changes)
    assert [] == failures(done)
    assert set() == IN_PART - {one.name for one in done.cases}
    assert set() == set(done.not_run) - WHOLE
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
    assert done.cuts > many // 3
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
    async with counter(bank, bank_settings, tmp_path, 8) as here:
        first = await here.play("chip", Round(repeat=2), wanted)
        again = await here.play("chip", Round(repeat=2, clients=3, stans_from=500_000), wanted)
    assert [] == failures(first) + failures(again)
    assert (6, 6) == (len(first.cases), len(again.cases))
    await assert_proved(bank)


def failures(done: RoundResult) -> list[str]:
    """Names and reasons of the cases that did not pass."""
    return [f"{one.path.stem}: {line}" for one in done.cases for line in one.failures]
