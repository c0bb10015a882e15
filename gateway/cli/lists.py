"""`kks kpm`, `kks batch` and `kks si`: lists of families and standing instructions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, parse_amount, parse_date, who, with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.operations.instruction import SiResult
    from gateway.operations.kpm import ImportSummary
    from gateway.store.batches import Batch

kpm = typer.Typer(help="Approved lists of families (KPM).", no_args_is_help=True)
batch = typer.Typer(help="Imported lists: list, show, approve, reject, result.", no_args_is_help=True)
si = typer.Typer(help="Standing instructions: credit what an SP2D pays.", no_args_is_help=True)
kpm.add_typer(batch, name="batch")

File = Annotated[Path, typer.Argument(help="CSV or XLSX file")]
Out = Annotated[Path, typer.Option("--out", help="where to write; .csv or .xlsx")]
Reason = Annotated[str, typer.Option("--reason", help="why")]
FINDINGS_SHOWN = 20


@kpm.command("import")
def import_list(
    file: File,
    sk_no: Annotated[str, typer.Option("--sk-no", help="number of the SK penetapan")],
    sk_date: Annotated[str, typer.Option("--sk-date", help="date of the SK, as 2026-11-23")],
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Take in a list: every row is judged, duplicates are found, nothing is opened before a second person approves."""
    from gateway.operations import kpm as operations

    async def work(bank: Bank) -> ImportSummary:
        with output.progress("reading", None, quiet=json) as done:
            return await operations.import_list(bank, who(by), file, sk_no, parse_date(sk_date, "--sk-date"), done)

    _show_summary(with_bank(work), json=json)


@batch.command("list")
def batch_list(*, json: Json = False) -> None:
    """Every imported list."""
    from gateway.operations.bank import reading
    from gateway.store import batches

    async def work(bank: Bank) -> list[Batch]:
        async with reading(bank) as connection:
            return await batches.read_all(connection)

    found = with_bank(work)
    if json:
        output.as_json({"batches": [_batch_values(one) for one in found]})
        return
    rows = [
        (b.id, b.file_name, b.sk_no, b.state, b.rows, b.accepted, b.rejected, b.maker, b.checker or "") for b in found
    ]
    columns = ["list", "file", "SK", "state", "rows", "accepted", "rejected", "maker", "checker"]
    output.table("Lists", columns, rows, numbers=["list", "rows", "accepted", "rejected"])


@batch.command("show")
def batch_show(number: int, *, json: Json = False) -> None:
    """One list with its findings (values masked)."""
    from gateway.operations import kpm as operations
    from gateway.operations.bank import reading
    from gateway.store import batches

    async def work(bank: Bank) -> tuple[Batch, list[tuple[int, dict[str, str]]]]:
        async with reading(bank) as connection:
            found = await batches.read(connection, number)
        return found, await operations.findings(bank, number)

    found, findings = with_bank(work)
    if json:
        output.as_json(_batch_values(found) | {"findings": [{"line": line} | one for line, one in findings]})
        return
    output.say(
        f"List {found.id}: {found.file_name}, SK {found.sk_no}, {found.state}: {found.rows} rows, "
        f"{found.accepted} accepted, {found.rejected} rejected, {found.warnings} warnings"
    )
    rows = [(line, f["column"], f["shown"], f["code"], f["mend"]) for line, f in findings[:FINDINGS_SHOWN]]
    output.table("", ["line", "column", "value", "reason", "how to mend"], rows, numbers=["line"])
    if len(findings) > FINDINGS_SHOWN:
        output.say(
            f"... and {len(findings) - FINDINGS_SHOWN} more: `kks batch result {number} --out FILE` has them all"
        )


@batch.command("approve")
def batch_approve(number: int, *, by: As = "", json: Json = False) -> None:
    """Approve a list (not the person who imported it): opens accounts and orders cards."""
    from gateway.operations import kpm as operations

    async def work(bank: Bank) -> ImportSummary:
        with output.progress("opening accounts", None, quiet=json) as done:
            return await operations.approve(bank, who(by), number, done)

    _show_summary(with_bank(work), json=json)


@batch.command("reject")
def batch_reject(number: int, reason: Reason, *, by: As = "", json: Json = False) -> None:
    """Refuse a list (not the person who imported it); nothing of it is opened."""
    from gateway.operations import kpm as operations

    with_bank(lambda bank: operations.reject(bank, who(by), number, reason))
    if json:
        output.as_json({"batch": number, "state": "REJECTED"})
    else:
        output.say(f"List {number} is rejected.")


@batch.command("result")
def batch_result(number: int, out: Out, *, by: As = "", json: Json = False) -> None:
    """Write the result file: the same rows plus NO_REKENING, KODE_STATUS and KETERANGAN."""
    from gateway.operations import kpm as operations

    summary = with_bank(lambda bank: operations.write_result_file(bank, who(by), number, out))
    if json:
        output.as_json(asdict(summary) | {"file": str(out)})
    else:
        output.say(f"List {number}: {summary.rows} rows written to {out}")


@si.command("import")
def si_import(
    file: File,
    si_no: Annotated[str, typer.Option("--si-no", help="number of the standing instruction")],
    sp2d_no: Annotated[str, typer.Option("--sp2d-no", help="number of the SP2D")],
    sp2d_date: Annotated[str, typer.Option("--sp2d-date", help="date of the SP2D, as 2026-11-23")],
    sp2d_amount: Annotated[str, typer.Option("--sp2d-amount", help="rupiah of the SP2D")],
    sp2d_count: Annotated[
        int | None, typer.Option("--sp2d-count", help="recipients, where the SP2D states them")
    ] = None,
    available_from: Annotated[
        str, typer.Option("--available-from", help="families may spend it from this date on, as 2026-12-01")
    ] = "",
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Take in an SI list and compare it with its SP2D; nothing is credited before a second person approves."""
    from gateway.operations import instruction as operations

    async def work(bank: Bank) -> operations.SiSummary:
        amount = parse_amount(sp2d_amount, "--sp2d-amount")
        sp2d = operations.Sp2d(sp2d_no, parse_date(sp2d_date, "--sp2d-date"), amount, sp2d_count)
        with output.progress("reading", None, quiet=json) as done:
            since = parse_date(available_from, "--available-from") if available_from else None
            return await operations.import_instruction(bank, who(by), file, si_no, sp2d, done, available_from=since)

    summary = with_bank(work)
    if json:
        output.as_json(asdict(summary))
        return
    output.say(
        f"SI {summary.si}: {summary.rows} rows, {output.rupiah(summary.amount_idr)}; "
        f"SP2D {output.rupiah(summary.sp2d_amount_idr)}: {summary.status}"
    )


@si.command("list")
def si_list(*, json: Json = False) -> None:
    """Every standing instruction."""
    from gateway.operations.bank import reading
    from gateway.store import instructions

    async def work(bank: Bank) -> list[instructions.Instruction]:
        async with reading(bank) as connection:
            return await instructions.read_all(connection)

    found = with_bank(work)
    if json:
        output.as_json({"instructions": [{name: getattr(one, name) for name in one.__slots__} for one in found]})
        return
    rows = [
        (s.si_no, s.sp2d_no, s.state, s.rows, output.rupiah(s.amount_idr), s.maker, s.checker or "", s.reason)
        for s in found
    ]
    columns = ["SI", "SP2D", "state", "rows", "amount", "maker", "checker", "remark"]
    output.table("Standing instructions", columns, rows, numbers=["rows", "amount"])


@si.command("approve")
def si_approve(si_no: str, *, by: As = "", json: Json = False) -> None:
    """Approve an SI (not the person who imported it): credits the families."""
    from gateway.operations import instruction as operations

    async def work(bank: Bank) -> SiResult:
        with output.progress("crediting", None, quiet=json) as done:
            return await operations.approve(bank, who(by), si_no, done)

    _show_result(with_bank(work), json=json)


@si.command("reject")
def si_reject(si_no: str, reason: Reason, *, by: As = "", json: Json = False) -> None:
    """Refuse an SI (not the person who imported it); nothing of it is credited."""
    from gateway.operations import instruction as operations

    with_bank(lambda bank: operations.reject(bank, who(by), si_no, reason))
    if json:
        output.as_json({"si": si_no, "status": "REJECTED"})
    else:
        output.say(f"SI {si_no} is rejected.")


@si.command("result")
def si_result(
    si_no: str,
    out: Annotated[Path | None, typer.Option("--out", help="write the result file; .csv or .xlsx")] = None,
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """What was credited and what was not, with reasons; with --out the result file."""
    from gateway.operations import instruction as operations

    _show_result(with_bank(lambda bank: operations.result(bank, who(by), si_no, out)), json=json)


def _show_summary(summary: ImportSummary, *, json: bool) -> None:
    if json:
        output.as_json(asdict(summary))
        return
    output.say(
        f"List {summary.batch}: {output.number(summary.rows)} rows, {output.number(summary.accepted)} accepted, "
        f"{output.number(summary.rejected)} rejected, {output.number(summary.warnings)} warnings"
    )
    if summary.reasons:
        output.table("", ["reason", "rows"], sorted(summary.reasons.items()), numbers=["rows"])


def _show_result(result: SiResult, *, json: bool) -> None:
    if json:
        output.as_json(asdict(result))
        return
    output.say(
        f"SI {result.si} is {result.status}: {output.number(result.credited)} credited with "
        f"{output.rupiah(result.credited_idr)}, {output.number(result.failed)} failed"
    )
    if result.reasons:
        output.table("", ["reason", "rows"], sorted(result.reasons.items()), numbers=["rows"])


def _batch_values(one: Batch) -> dict[str, object]:
    return {"batch" if name == "id" else name: getattr(one, name) for name in one.__slots__ if name != "header"}
