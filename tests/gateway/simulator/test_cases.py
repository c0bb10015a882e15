"""Tests of gateway.simulator.cases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.clock import now
from gateway.simulator.cases import FOLDER, CaseResult, Round, run_cases, shipped_cases
from gateway.simulator.errors import CaseError, LoadError
from gateway.simulator.profile import HIMBARA_PROFILE, read_profile
from gateway.simulator.script import read_case
from iso.errors import LinkError
from tests.gateway.simulator.fake_issuer import SERVED, FakeIssuer, clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

    from iso.message import Message

WALLET = make_wallet(40)
PINPAD = make_pinpad()
AT_THE_FAKE = [path for path in shipped_cases() if path.stem in SERVED]
"""What the small bank of these tests can do; all of them: test_cases_at_the_bank.py."""


async def run(bank: FakeIssuer, paths: list[Path], timeout_s: float = 5) -> list[CaseResult]:
    """The cases at an open bank."""
    done = await run_cases(paths, "127.0.0.1", bank.port, WALLET, PINPAD, clock=clock, timeout_s=timeout_s)
    assert (0, None) == (done.cuts, done.load)
    return done.cases


def write(folder: Path, steps: str, head: str = "") -> Path:
    """A case file."""
    path = folder / "case.toml"
    path.write_text(f'name = "x"\n{head}\n{steps}')
    return path


async def test_shipped_cases_pass_at_a_good_bank() -> None:
    """Each of them, in any order of the wallet's cards."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        results = await run(bank, AT_THE_FAKE)
    assert [] == [(result.path.stem, result.failures) for result in results if not result.passed]
    assert 26 == len(results)


def test_shipped_cases_say_what_they_are_about() -> None:
    """Name and reason, and names that differ."""
    cases = [read_case(path) for path in FOLDER.glob("*.toml")]
    assert all(case.about for case in cases)
    assert len(cases) == len({case.name for case in cases})


async def test_no_shipped_case_passes_at_a_bank_that_always_refuses() -> None:
    """Every case expects something that such a bank does not do."""

    def refuse(request: Message, answer: Message) -> Message:
        if request.mti[:2] == "08" or request.fields.get(11, "") >= "900000":
            return answer  # links live, and the search for good cards goes well
        answer.fields[39] = "96"
        answer.fields.pop(54, None)
        return answer

    async with FakeIssuer(WALLET, PINPAD, twist=refuse) as bank:
        results = await run(bank, AT_THE_FAKE)
    assert {"network_echo"} == {result.path.stem for result in results if result.passed}


async def test_failure_names_step_and_difference(tmp_path: Path) -> None:
    """The first bad step ends the case."""
    steps = '[[step]]\naction = "echo"\n[[step]]\nname = "b"\naction = "balance"\nexpect = { 39 = "51", 54 = "!" }\n'
    path = write(tmp_path, steps + '[[step]]\naction = "sign_off"\n')
    async with FakeIssuer(WALLET, PINPAD) as bank:
        (result,) = await run(bank, [path])
        assert "002" not in {message.fields.get(70) for message in bank.seen[:-1]}
    assert (False, 3, path) == (result.passed, result.steps, result.path)
    assert [
        "step 2 (b): field 39: expected 51, got '00'",
        "step 2 (b): field 54: expected !, got '1002360C0001000000009802360C000000000000'",
    ] == list(result.failures)


async def test_card_has_the_money_the_case_needs(tmp_path: Path) -> None:
    """Poorer cards are passed over, and kept for cases that need less; locked ones are never used."""
    rich = write(
        tmp_path, '[[step]]\naction = "withdraw"\namount_idr = 50_000\nexpect = { 39 = "00" }\n', "needs_idr = 50_000"
    )
    poor = tmp_path / "poor.toml"
    poor.write_text('name = "y"\n[[step]]\naction = "balance"\nexpect = { 39 = "00", 2 = "${pan}" }\n')
    async with FakeIssuer(WALLET, PINPAD) as bank:
        accounts = list(bank.accounts.values())
        for account in accounts:
            account.available_idr = 0
        accounts[0].tries_left = 0
        accounts[2].available_idr = 50_000
        results = await run(bank, [rich, poor])
        asked = {message.fields[2] for message in bank.seen if 2 in message.fields}
    assert [(), ()] == [result.failures for result in results]
    assert {card.pan.reveal() for card in WALLET.cards[:3]} == asked


async def test_wallet_without_a_fitting_card_fails_the_case(tmp_path: Path) -> None:
    """The failure says how much was looked for."""
    path = write(tmp_path, '[[step]]\naction = "balance"\n', "needs_idr = 2_000_000")
    async with FakeIssuer(WALLET, PINPAD) as bank:
        (result,) = await run(bank, [path])
    assert ("no card of the wallet is good and has Rp2000000",) == result.failures


async def test_card_has_the_money_in_the_purse_the_case_needs(tmp_path: Path) -> None:
    """The small bank has cash alone: who needs food money finds no card, and is told how much was looked for."""
    steps = '[[step]]\naction = "balance"\nexpect = { 39 = "00" }\n'
    async with FakeIssuer(WALLET, PINPAD) as bank:
        (cash,) = await run(bank, [write(tmp_path, steps, "needs_cash_idr = 1_000_000")])
        (food,) = await run(bank, [write(tmp_path, steps, "needs_idr = 10\nneeds_food_idr = 1")])
        (both,) = await run(bank, [write(tmp_path, steps, "needs_food_idr = 5\nneeds_cash_idr = 7")])
    assert () == cash.failures
    assert ("no card of the wallet is good and has Rp10, Rp1 of it food",) == food.failures
    assert ("no card of the wallet is good and has Rp0, Rp5 of it food, Rp7 of it cash",) == both.failures


async def test_why_no_card_is_good(tmp_path: Path) -> None:
    """What the last one was told stands beside it."""
    path = write(tmp_path, '[[step]]\naction = "balance"\n')
    async with FakeIssuer(WALLET, PINPAD) as bank:
        for account in bank.accounts.values():
            account.tries_left = 0
        (result,) = await run(bank, [path])
    assert ("no card of the wallet is good and has Rp0; a balance was answered 75",) == result.failures


async def test_a_case_for_another_profile_is_not_run(tmp_path: Path) -> None:
    """Its bytes would mean nothing; where no files are named such cases are not there at all."""
    path = write(tmp_path, '[[step]]\naction = "echo"\n', 'profile = "edc"')
    async with FakeIssuer(WALLET, PINPAD) as bank:
        done = await run_cases([path], "127.0.0.1", bank.port, WALLET, PINPAD, clock=clock)
    assert ([], ("x",)) == (done.cases, done.not_run)
    mine, theirs = set(shipped_cases()), set(shipped_cases(read_profile("edc")))
    assert {"himbara"} == {read_case(path).profile for path in mine - theirs}
    assert {"edc"} == {read_case(path).profile for path in theirs - mine}
    assert mine & theirs == set(shipped_cases(replace(HIMBARA_PROFILE, name="a bank's own")))


async def test_a_case_about_parts_is_run_where_there_are_any(tmp_path: Path) -> None:
    """And one that wants 51 for whatever is more than there is, where there are none."""
    step = '[[step]]\naction = "echo"\n'
    in_part, whole = tmp_path / "part.toml", tmp_path / "whole.toml"
    in_part.write_text(f'name = "part"\nneeds_partial = true\n{step}')
    whole.write_text(f'name = "whole"\nneeds_whole = true\n{step}')
    async with FakeIssuer(WALLET, PINPAD) as bank:
        for partial, not_run in ((False, ("part",)), (True, ("whole",))):
            profile = replace(HIMBARA_PROFILE, partial_approval=partial)
            done = await run_cases(
                [in_part, whole], "127.0.0.1", bank.port, WALLET, PINPAD, clock=clock, profile=profile
            )
            assert (1, not_run) == (len(done.cases), done.not_run)


async def test_silence_is_a_failure(tmp_path: Path) -> None:
    """A step that is not answered says so; so does a bank that answers nobody."""
    path = write(tmp_path, '[[step]]\naction = "purchase"\namount_idr = 1_000\n')
    bank = FakeIssuer(WALLET, PINPAD, twist=lambda request, answer: answer if request.mti == "0800" else None)
    async with bank:
        (result,) = await run(bank, [path], 0.1)
        assert ("no card of the wallet is good and has Rp0",) == result.failures
    bank = FakeIssuer(
        WALLET, PINPAD, twist=lambda request, answer: None if request.fields.get(3) == "000000" else answer
    )
    async with bank:
        (result,) = await run(bank, [path], 0.1)
        assert ("step 1 (purchase): no answer to 0200 within 0.1 s",) == result.failures


async def test_unknown_variable_and_unwritable_field_are_failures(tmp_path: Path) -> None:
    """They are the script's fault, and end the case alone."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        (first,) = await run(bank, [write(tmp_path, '[[step]]\naction = "balance"\nset = { 37 = "${x}" }\n')])
        (second,) = await run(bank, [write(tmp_path, '[[step]]\naction = "balance"\nset = { 4 = "X" }\n')])
    assert ("step 1 (balance): variable x has no value",) == first.failures
    assert ("step 1 (balance): field 4: must be 12 digits",) == second.failures


async def test_wrong_file_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """No bank is needed for that."""
    path = write(tmp_path, '[[step]]\naction = "dance"\n')
    with pytest.raises(CaseError, match="action must be"):
        await run_cases([path], "127.0.0.1", 9, WALLET, PINPAD, clock=clock)


async def test_bank_that_is_not_there_is_a_link_error() -> None:
    """Nothing was tested, so there is no result."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        port = bank.port
    with pytest.raises(LinkError):
        await run_cases(shipped_cases(), "127.0.0.1", port, WALLET, PINPAD, clock=clock)


async def test_progress_counts_cases() -> None:
    """Done and total."""
    steps: list[tuple[int, int]] = []
    async with FakeIssuer(WALLET, PINPAD) as bank:
        await run_cases(
            shipped_cases()[:3], "127.0.0.1", bank.port, WALLET, PINPAD, clock=clock,
            progress=lambda done, total: steps.append((done, total)),
        )  # fmt: skip
    assert [(1, 3), (2, 3), (3, 3)] == steps


async def test_many_at_once_and_again() -> None:
    """Every run has a card of its own, and all pass; results stand in the order of the runs."""
    wallet = make_wallet(80)
    paths = [path for path in shipped_cases() if path.stem in ("cash_atm", "reversal", "duplicate", "pin_locked")]
    steps: list[int] = []
    async with FakeIssuer(wallet, PINPAD) as bank:
        done = await run_cases(
            paths, "127.0.0.1", bank.port, wallet, PINPAD, clock=now, plan=Round(repeat=10, clients=8),
            progress=lambda count, _total: steps.append(count),
        )  # fmt: skip
        asked = {
            message.fields[2] for message in bank.seen if message.mti == "0200" and message.fields[41] != "A9999999"
        }
    assert [] == [failure for result in done.cases for failure in result.failures]
    assert [path.stem for path in paths] * 10 == [result.path.stem for result in done.cases]
    assert (40, list(range(1, 41))) == (len(asked), steps)


async def test_the_shipped_cases_under_load_with_cut_connections() -> None:
    """Every tenth message loses its connection: the cases pass all the same, and the load's books agree."""
    wallet = make_wallet(150)
    async with FakeIssuer(wallet, PINPAD) as bank:
        done = await run_cases(
            AT_THE_FAKE, "127.0.0.1", bank.port, wallet, PINPAD, clock=now,
            plan=Round(repeat=3, clients=4, cut=0.1, load_per_s=50),
        )  # fmt: skip
    assert [] == [(result.path.stem, result.failures) for result in done.cases if not result.passed]
    assert done.cuts > 10
    assert 0 < sum(result.repeats for result in done.cases) <= done.cuts
    assert done.load is not None
    assert (50, 0, ()) == (done.load.cards, done.load.books.unsure, done.load.books.differences)
    assert done.load.answered > 0


async def test_load_beside_the_cases_needs_cards() -> None:
    """The bank's cards are all locked: there is nothing to run with."""
    wallet = make_wallet(9)
    async with FakeIssuer(wallet, PINPAD) as bank:
        for account in bank.accounts.values():
            account.tries_left = 0
        with pytest.raises(LoadError, match="only 0 of the wallet are good"):
            await run_cases(
                shipped_cases()[:1], "127.0.0.1", bank.port, wallet, PINPAD, clock=clock, plan=Round(load_per_s=5)
            )
