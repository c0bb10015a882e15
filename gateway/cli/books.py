"""`kks db`, `kks job`, `kks return`, `kks ledger`, `kks audit`, `kks policy`, `kks day`, `kks settings`: running the bank."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, parse_date, run, settings, who, with_bank

if TYPE_CHECKING:
    from datetime import date

    from gateway.operations.bank import Bank
    from gateway.store.database import MigrationStatus
    from gateway.store.job_runs import JobRun
    from gateway.store.tranches import TreasuryReturn
    from ledger.proof import Check

db = typer.Typer(help="The database: migrate, status.", no_args_is_help=True)
job = typer.Typer(help="Scheduled work, by hand.", no_args_is_help=True)
returns = typer.Typer(help="Unused aid on its way back to the treasury.", no_args_is_help=True)
ledger = typer.Typer(help="The ledger: its proof, and balances of control accounts.", no_args_is_help=True)
audit = typer.Typer(help="The audit chain's proof.", no_args_is_help=True)
policy = typer.Typer(help="Programmes, amounts, purse rules and clocks.", no_args_is_help=True)
day = typer.Typer(help="The business date, and closing days.", no_args_is_help=True)
exclusion = typer.Typer(help="People who may not be paid: deceased, occupation, PPATK.", no_args_is_help=True)
RUNS_SHOWN = 30


def show_settings(*, json: Json = False) -> None:
    """Every setting: name, value (secrets masked), meaning."""
    from gateway.settings import describe_settings

    rows = describe_settings(settings())
    if json:
        output.as_json({name: value for name, value, _ in rows})
    else:
        output.table(
            "Settings: environment, or kks.toml without KKS_ and in small letters", ["name", "value", "meaning"], rows
        )


@db.command("migrate")
def db_migrate(*, json: Json = False) -> None:
    """Bring the schema up to date."""
    from gateway.store import database

    async def work() -> MigrationStatus:
        opened = await database.open_database(settings(), migrated=False)
        try:
            return await database.migrate(opened.engine)
        finally:
            await opened.close()

    _show_status(run(work()), json=json)


@db.command("status")
def db_status(*, json: Json = False) -> None:
    """Where the schema stands. Exit 1 where it is not up to date."""
    from gateway.store import database

    async def work() -> MigrationStatus:
        opened = await database.open_database(settings(), migrated=False)
        try:
            return await database.migration_status(opened.engine)
        finally:
            await opened.close()

    status = run(work())
    _show_status(status, json=json)
    if not status.up_to_date:
        raise typer.Exit(1)


@job.command("list")
def job_list(*, json: Json = False) -> None:
    """The jobs there are and their newest runs."""
    from gateway.jobs.catalogue import JOBS
    from gateway.operations.bank import reading
    from gateway.store import job_runs

    async def work(bank: Bank) -> list[JobRun]:
        async with reading(bank) as connection:
            return await job_runs.newest(connection, RUNS_SHOWN)

    runs = with_bank(work)
    if json:
        output.as_json(
            {
                "jobs": [
                    {"name": one.name, "meaning": one.meaning, "at": f"{one.hour:02}:{one.minute:02}"} for one in JOBS
                ],
                "runs": [_run_values(one) for one in runs],
            }
        )
        return
    output.table(
        "Jobs (Jakarta time)", ["job", "at", "does"], [(j.name, f"{j.hour:02}:{j.minute:02}", j.meaning) for j in JOBS]
    )
    rows = [(r.business_date, r.job, r.state, r.summary.get("tranches", ""), r.error) for r in runs]
    output.table("Newest runs", ["date", "job", "state", "tranches", "error"], rows, numbers=["tranches"])


@job.command("run")
def job_run(
    name: str,
    on: Annotated[str, typer.Option("--date", help="business date, as 2026-11-23; default: the bank's")] = "",
    *,
    json: Json = False,
) -> None:
    """Run a job for a date. A run that is done is not done again."""
    from gateway.jobs.catalogue import job_named
    from gateway.jobs.runner import run_job

    async def work(bank: Bank) -> JobRun:
        return await run_job(bank, job_named(name), parse_date(on, "--date") if on else bank.business_date)

    found = with_bank(work)
    if json:
        output.as_json(_run_values(found))
    else:
        output.say(f"{found.job} for {found.business_date}: {found.state} {found.summary}")


@job.command("catch-up")
def job_catch_up(*, json: Json = False) -> None:
    """Run every job for every date that is missing, day by day."""
    from gateway.jobs.runner import catch_up

    async def work(bank: Bank) -> int:
        with output.progress("days", None, quiet=json) as done:
            return await catch_up(bank, lambda _on: done(1))

    count = with_bank(work)
    if json:
        output.as_json({"runs": count})
    else:
        output.say(f"{count} runs.")


@returns.command("list")
def return_list(*, json: Json = False) -> None:
    """Every return with its evidence."""
    from gateway.operations.bank import reading
    from gateway.store import tranches

    async def work(bank: Bank) -> list[TreasuryReturn]:
        async with reading(bank) as connection:
            return await tranches.returns(connection)

    found = with_bank(work)
    if json:
        output.as_json({"returns": [{name: getattr(one, name) for name in one.__slots__} for one in found]})
        return
    rows = [
        (r.id, r.sp2d_no, r.tranches, output.rupiah(r.amount_idr), r.state, r.rpl_evidence, r.deposit_evidence, r.ntpn)
        for r in found
    ]
    columns = ["return", "SP2D", "tranches", "amount", "state", "RPL debit", "deposit", "NTPN"]
    output.table("Returns to the treasury", columns, rows, numbers=["return", "tranches", "amount"])


@returns.command("confirm")
def return_confirm(
    number: int,
    ntpn: Annotated[str, typer.Option("--ntpn", help="the treasury's receipt")],
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Keep the treasury's receipt of a deposit."""
    from gateway.operations import dormancy

    one = with_bank(lambda bank: dormancy.confirm_receipt(bank, who(by), number, ntpn))
    if json:
        output.as_json({"return": one.id, "ntpn": one.ntpn})
    else:
        output.say(f"Return {one.id} has the receipt {one.ntpn}.")


@ledger.command("proof")
def ledger_proof(
    full: Annotated[bool, typer.Option("--full", help="add up the whole journal, also where days are closed")] = False,
    *,
    json: Json = False,
) -> None:
    """Prove the books: journal, purses, tranches, SP2D, SI, partners, returns. Exit 1 where anything disagrees.

    Where days are closed it proves what came after the last of them, on its checkpoints; --full adds up everything.
    """
    from gateway.operations import proof

    async def work(bank: Bank) -> tuple[date | None, list[Check]]:
        closed = None if full else await proof.proven_from(bank)
        return closed, await proof.prove_ledger(bank, incremental=not full)

    closed, checks = with_bank(work)
    title = "Proof of the whole ledger" if closed is None else f"Proof of the ledger since the close of {closed}"
    _show_checks(title, checks, json=json, mode="full" if closed is None else "incremental", since=closed)


@audit.command("verify")
def audit_verify(*, json: Json = False) -> None:
    """Verify the audit chains. Exit 1 where an event was changed, moved, added or removed."""
    from gateway.operations import proof

    _show_checks("Audit chains", with_bank(proof.verify_audit), json=json)


@policy.command("load")
def policy_load(file: Path, *, by: As = "", json: Json = False) -> None:
    """Add programmes, amounts, purse rules or clocks from a TOML file (see gateway/store/policy_default.toml)."""
    from gateway.operations import setup

    count = with_bank(lambda bank: setup.load_policy(bank, who(by), file))
    if json:
        output.as_json({"rows": count})
    else:
        output.say(f"{count} rows of policy added.")


@exclusion.command("import")
def exclusion_import(file: Path, *, by: As = "", json: Json = False) -> None:
    """Add entries from a CSV or XLSX file with the columns NIK, ALASAN, MULAI, SAMPAI."""
    from gateway.operations import exclusion as operations

    summary = with_bank(lambda bank: operations.load_exclusions(bank, who(by), file))
    if json:
        output.as_json({"rows": summary.rows, "reasons": summary.reasons})
    else:
        output.say(f"{summary.rows} entries added.")
        output.table("", ["reason", "rows"], list(summary.reasons.items()), numbers=["rows"])


@day.command("show")
def day_show(*, json: Json = False) -> None:
    """The business date."""

    async def work(bank: Bank) -> date:
        return bank.business_date

    on = with_bank(work)
    if json:
        output.as_json({"business_date": on})
    else:
        output.say(f"The business date is {on}.")


@day.command("move")
def day_move(to: Annotated[str, typer.Argument(help="date, or `today`")], *, by: As = "", json: Json = False) -> None:
    """Set the business date by hand (demo and tests); `today` follows Jakarta again. Then run `kks job catch-up`."""
    from gateway.operations import setup

    on = with_bank(
        lambda bank: setup.move_business_date(bank, who(by), None if to == "today" else parse_date(to, "the date"))
    )
    if json:
        output.as_json({"business_date": on})
    else:
        output.say(f"The business date is {on}.")


def _show_checks(title: str, checks: list[Check], *, json: bool, **more: object) -> None:
    ok = all(check.ok for check in checks)
    if json:
        found = [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks]
        output.as_json({"ok": ok, **more, "checks": found})
    else:
        output.table(title, ["check", "", "detail"], [(c.name, "ok" if c.ok else "WRONG", c.detail) for c in checks])
    if not ok:
        output.fail(f"{title}: {next(check.name for check in checks if not check.ok)} does not hold")
        raise typer.Exit(1)


def _show_status(status: MigrationStatus, *, json: bool) -> None:
    if json:
        output.as_json({"current": status.current, "wanted": status.wanted, "up_to_date": status.up_to_date})
    else:
        verdict = "up to date" if status.up_to_date else "run `kks db migrate`"
        output.say(f"schema {status.current or 'empty'}, wanted {status.wanted}: {verdict}")


def _run_values(one: JobRun) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__slots__}
