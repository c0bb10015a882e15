"""The whole story on one bank: from an approved list to a paid-out, proven and returned rupiah.

Works on the embedded PostgreSQL in the data folder, which it marks as its own; said again, it starts over. Everything is done
by the same operations and over the same TCP listener as in production; the families, terminals and the treasury are simulated.
"""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import text

from gateway import clock
from gateway.app import open_bank, run_service
from gateway.errors import Refused
from gateway.files.result_file import write_result
from gateway.jobs.runner import catch_up
from gateway.operations import card as card_operations
from gateway.operations import dormancy, instruction, kpm, proof
from gateway.operations.bank import reading
from gateway.operations.setup import move_business_date
from gateway.rules.allocation import expected_amount
from gateway.rules.card import CardState
from gateway.simulator.families import write_kpm_list
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.story import StoryResult, choose_untouched, tell
from gateway.simulator.wallet import TestCard, Wallet
from gateway.store import policy, tranches
from gateway.store.embedded import EmbeddedServer
from gateway.testlink import ensure_test_link, read_test_key
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import date
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.pinpad import PinPad
    from keys.keytypes import KeyHandle

MAKER, CHECKER, OFFICER = "demo-maker", "demo-checker", "demo-branch"
FAULTS_EACH = 4
SEED = 601301
CLOCK_DAYS = 115  # past the return term, with working days to spare for the deposit
MARK = "kks-demo"
HEADER = ["NIK", "NO_REKENING", "NAMA", "PROGRAM", "TAHAP", "BULAN", "NOMINAL", "KODE_WILAYAH"]
WRONG_NAMES = 3  # rows of the PKH instruction whose name is not the account's


class Teller(Protocol):
    """How the story is told: a line, and a progress bar."""

    def line(self, text: str) -> None:
        """Tell one line."""
        ...

    def bar(self, what: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Show progress; what it yields is called with how much more is done."""
        ...


@dataclass(slots=True)
class DemoResult:
    """What happened, in the keys that `kks demo --json` prints."""

    families: int = 0
    rejected: int = 0
    accounts: int = 0
    cards: int = 0
    activated: int = 0
    credited_idr: int = 0
    authorisations: dict[str, int] = field(default_factory=dict)
    reversed: int = 0
    withdrawn_idr: int = 0
    purchased_idr: int = 0
    frozen_idr: int = 0
    returned_idr: int = 0
    remaining_idr: int = 0
    proof_ok: bool = False
    seconds: float = 0.0
    surprises: list[str] = field(default_factory=list)


async def run_demo(settings: Settings, families: int, teller: Teller) -> DemoResult:
    """Tell the story from an empty bank. Raises Refused where the data folder holds a bank that is not the demo's."""
    started = time.monotonic()
    settings = settings.model_copy(update={"database_url": None, "iso_port": 0, "http_port": 0})
    start_over(settings)
    result = DemoResult()
    async with open_bank(settings) as bank:
        ensure_test_link(bank)
        folder = settings.data_dir / "demo"
        await _lists(bank, folder, families, result, teller)
        wallet = await _cards(bank, folder, result, teller)
        await _credits(bank, folder, teller)
        seen = await _terminals(bank, wallet, result, teller)
        await _clocks(bank, teller)
        await _prove(bank, result, seen, teller)
    result.seconds = round(time.monotonic() - started, 1)
    return result


def start_over(settings: Settings) -> None:
    """Empty the demo's data folder. A folder with a bank that the demo did not make is left alone: Refused."""
    folder = settings.data_dir
    mark = folder / MARK
    server = EmbeddedServer(folder / "pg", settings.pg_bin)
    if server.data.exists() and not mark.exists():
        raise Refused(f"{folder} holds a bank that the demo did not make: set KKS_DATA_DIR to another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text("made by `kks demo`, which empties this folder when it is run again\n", encoding="utf-8")
        (folder / "demo").mkdir(exist_ok=True)
    except OSError as error:
        raise Refused(f"cannot use the data folder {folder}: {error.strerror}") from None
    if server.data.exists():
        server.start()
        try:
            server.reset_database()
        finally:
            server.stop()
    for name in ("keys", "simulator", "demo"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / proof.ROOTS_FILE).unlink(missing_ok=True)
    (folder / "demo").mkdir()


async def _lists(bank: Bank, folder: Path, families: int, result: DemoResult, teller: Teller) -> None:
    path = folder / "kpm.csv"
    faults = write_kpm_list(path, families, seed=SEED, faults=FAULTS_EACH)
    teller.line(f"1. The ministry's list of {families} families arrives ({sum(faults.values())} rows have a fault).")
    with teller.bar("reading the list", families) as done:
        summary = await kpm.import_list(bank, MAKER, path, "SK-DEMO-1", bank.business_date, done)
    result.families, result.rejected = summary.rows, summary.rejected
    reasons = ", ".join(f"{code} {count}" for code, count in sorted(summary.reasons.items()))
    teller.line(f"   {summary.accepted} accepted, {summary.rejected} rejected: {reasons}")
    with teller.bar("opening accounts", summary.accepted) as done:
        await kpm.approve(bank, CHECKER, summary.batch, done)
    await kpm.write_result_file(bank, MAKER, summary.batch, folder / "kpm-result.csv")
    teller.line(f"   {CHECKER} approves what {MAKER} imported; accounts are opened, cards ordered.")


async def _cards(bank: Bank, folder: Path, result: DemoResult, teller: Teller) -> Wallet:
    """Deliver and hand over every card; each family chooses its PIN on the branch's PIN pad."""
    async with reading(bank) as connection:
        rows = list(await connection.execute(CARDS))
    result.accounts, result.cards = len({row.account_number for row in rows}), len(rows)
    label, components = read_test_key(bank.settings.data_dir)
    pinpad = pinpad_of(Wallet((), label, tuple(components)))
    pin_key = bank.hsm.find(label)
    await card_operations.deliver_many(bank, OFFICER, [row.id for row in rows], "0014")
    cards = []
    with teller.bar("handing over cards", len(rows)) as done:
        for row in rows:
            mother = "" if row.identified else "SITI AMINAH"
            await card_operations.hand_over(
                bank, OFFICER, row.id, card_operations.HandOver(ktp_seen=True, kk_seen=True, mother_name=mother)
            )
            pan = Pan(bank.vault.open(bytes(row.pan), table="card", row=row.id, column="pan"))
            pin, state = await _choose_pin(bank, row.id, pan, pinpad, pin_key)
            result.activated += state is CardState.ACTIVE
            cards.append(TestCard(pan, pin, row.expires_on, row.account_number, row.holder_name))
            done(1)
    wallet = Wallet(tuple(cards), label, tuple(components))
    wallet.save(folder / "wallet.json")
    teller.line(
        f"2. {result.cards} cards handed over with KTP and KK seen, PIN chosen by the family: {result.activated} active."
    )
    return wallet


async def _choose_pin(bank: Bank, card_id: int, pan: Pan, pinpad: PinPad, pin_key: KeyHandle) -> tuple[Pin, CardState]:
    """The family types an invented PIN; where the bank finds it weak, another."""
    chance = random.Random(f"{SEED}:{card_id}")
    while True:
        pin = Pin(f"{chance.randrange(1_000_000):06d}")
        try:
            block = bytes.fromhex(pinpad.block(pan, pin))
            return pin, await card_operations.choose_pin(bank, OFFICER, card_id, block, pin_key)
        except Refused:
            continue


async def _credits(bank: Bank, folder: Path, teller: Teller) -> None:
    """One SP2D and SI each for PKH and Sembako, with the amounts that the policy says."""
    today = bank.business_date
    quarter = (today.month - 1) // 3 + 1
    stage = f"{today.year}-T{quarter}"
    months = [f"{today.year}-{month:02}" for month in range(quarter * 3 - 2, quarter * 3 + 1)]
    async with reading(bank) as connection:
        rates = await policy.amounts(connection)
        rows = list(await connection.execute(ENROLLED))
    teller.line(f"3. The treasury pays stage {stage}: one SP2D and one standing instruction each.")
    for code in ("PKH", "SEMBAKO"):
        lines: list[list[str]] = []
        for row in rows:
            if row.code != code:
                continue
            amount = expected_amount(code, row.components, len(months), today, rates)
            name = f"{row.holder_name} X" if code == "PKH" and len(lines) < WRONG_NAMES else row.holder_name
            nik = bank.vault.open(bytes(row.nik), table="family", row=row.id, column="nik")
            lines.append([nik, row.number, name, code, stage, ",".join(months), str(amount), row.region])
        path = folder / f"si-{code.lower()}.csv"
        write_result(path, HEADER, lines)
        total = sum(int(line[6]) for line in lines)
        sp2d = instruction.Sp2d(f"SP2D-{code}-{stage}", today, total, len(lines))
        with teller.bar(f"crediting {code}", len(lines)) as done:
            await instruction.import_instruction(bank, MAKER, path, f"SI-{code}-{stage}", sp2d)
            paid = await instruction.approve(bank, CHECKER, f"SI-{code}-{stage}", done)
        await instruction.result(bank, MAKER, f"SI-{code}-{stage}", folder / f"si-{code.lower()}-result.csv")
        failed = f"; {paid.failed} not credited ({', '.join(paid.reasons)})" if paid.failed else ""
        teller.line(f"   {code}: {paid.credited} families, {_rupiah(paid.credited_idr)} of {_rupiah(total)}{failed}")


async def _terminals(bank: Bank, wallet: Wallet, result: DemoResult, teller: Teller) -> StoryResult:
    """A day at ATMs, agents and e-Warong, over TCP."""
    untouched = choose_untouched(wallet, SEED)
    teller.line(f"4. The families go to ATMs, agents and e-Warong; {len(untouched)} stay at home.")
    pinpad = pinpad_of(wallet)
    async with run_service(bank, jobs=False) as service:
        host, port = service.iso_address
        with teller.bar("visits to terminals", len(wallet.cards) - len(untouched)) as advance:
            before = 0

            def progress(done: int, _total: int) -> None:
                nonlocal before
                advance(done - before)
                before = done

            seen = await tell(
                wallet, pinpad, host, port, clock=clock.now, seed=SEED, untouched=untouched,
                pin_tries=bank.settings.pin_tries, progress=progress,
            )  # fmt: skip
    result.authorisations, result.reversed, result.surprises = seen.codes, seen.reversed, list(seen.surprises)
    codes = ", ".join(f"{code} x {count}" for code, count in seen.codes.items())
    teller.line(f"   {seen.exchanges} messages answered: {codes}; {seen.reversed} reversed.")
    for surprise in seen.surprises:
        teller.line(f"   NOT AS EXPECTED: {surprise}")
    return seen


async def _clocks(bank: Bank, teller: Teller) -> None:
    """Move the business date past every clock, day by day, and let the jobs of each day run."""
    start = bank.business_date
    end = start + timedelta(days=CLOCK_DAYS)
    await move_business_date(bank, MAKER, end)
    with teller.bar("days pass", CLOCK_DAYS) as done:
        await catch_up(bank, lambda _on: done(1))
    async with reading(bank) as connection:
        notices = {row.notice: row for row in await connection.execute(NOTICES)}
        returned = await tranches.returns(connection)
    teller.line(f"5. {CLOCK_DAYS} days pass, to {end}. Aid that nobody touched:")
    for name, what in (("WARN", "warned"), ("BLOCK", "blocked"), ("FREEZE", "frozen and debited to RPL")):
        if name in notices:
            teller.line(f"   {what}: {notices[name].tranches} tranches (first on {notices[name].first})")
    for number, one in enumerate(returned, 1):
        await dormancy.confirm_receipt(bank, OFFICER, one.id, _receipt(end, number))
        teller.line(
            f"   returned: {_rupiah(one.amount_idr)} of {one.sp2d_no}, {one.rpl_evidence}, {one.deposit_evidence}"
        )


async def _prove(bank: Bank, result: DemoResult, seen: StoryResult, teller: Teller) -> None:
    """The proofs: the ledger's, the audit chain's, the equation, and the terminals' own totals."""
    checks = [*await proof.prove_ledger(bank), *await proof.verify_audit(bank)]
    totals = await proof.equation(bank)
    result.credited_idr, result.withdrawn_idr = totals["credited_idr"], totals["withdrawn_idr"]
    result.purchased_idr, result.frozen_idr = totals["purchased_idr"], totals["frozen_idr"]
    result.returned_idr, result.remaining_idr = totals["returned_idr"], totals["remaining_idr"]
    explained = result.withdrawn_idr + result.purchased_idr + result.returned_idr + result.remaining_idr
    same_as_terminals = (seen.withdrawn_idr, seen.purchased_idr) == (result.withdrawn_idr, result.purchased_idr)
    wrong = [f"{check.name}: {check.detail}" for check in checks if not check.ok]
    if result.credited_idr != explained:
        wrong.append(f"credited {_rupiah(result.credited_idr)}, explained {_rupiah(explained)}")
    if not same_as_terminals:
        wrong.append("the terminals' own totals are not the ledger's")
    result.proof_ok = not wrong and not result.surprises
    teller.line(f"6. {len(checks)} proofs: {'all hold' if not wrong else '; '.join(wrong)}.")


def _rupiah(amount_idr: int) -> str:
    """Rupiah as Indonesia writes it."""
    return f"Rp{amount_idr:,}".replace(",", ".")


def _receipt(on: date, number: int) -> str:
    """A receipt number as the simulated treasury gives it."""
    return f"{on:%y%m%d}{number:010X}"


CARDS = text("""
    SELECT c.id, c.pan, c.expires_on, a.number AS account_number, a.holder_name, f.birth_date,
           f.mother_name IS NOT NULL AS identified
    FROM card c JOIN account a ON a.cell = c.cell AND a.id = c.account_id JOIN family f ON f.id = c.account_id ORDER BY c.id
""")
ENROLLED = text("""
    SELECT f.id, f.nik, a.number, a.holder_name, a.region, p.code, e.components
    FROM enrolment e JOIN family f ON f.id = e.family_id JOIN account a ON a.cell = f.cell AND a.id = f.id
         JOIN programme p ON p.number = e.programme ORDER BY f.id, p.number
""")
NOTICES = text("""
    SELECT notice, count(DISTINCT tranche_id) AS tranches, min(business_date) AS first FROM dormancy_notice GROUP BY notice
""")


def describe(result: DemoResult) -> list[tuple[str, Any]]:
    """The table at the end: what, how much."""
    return [
        ("rows of the list", result.families), ("rejected", result.rejected), ("accounts opened", result.accounts),
        ("cards", result.cards), ("active cards", result.activated), ("credited", result.credited_idr),
        ("withdrawn", result.withdrawn_idr), ("purchased", result.purchased_idr), ("frozen", result.frozen_idr),
        ("returned to the treasury", result.returned_idr), ("remaining with families", result.remaining_idr),
    ]  # fmt: skip
