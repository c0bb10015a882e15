"""Every job of the bank: its name, what it does, and at which hour of Jakarta it runs. The order is the order of a day."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import holidays

from gateway.errors import NotFound, Refused
from gateway.operations import day, desk, dormancy, holds, outgoing, partitions, reseal, settlement, stand_in_report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from gateway.operations.bank import Bank

SATURDAY = 5
ACTOR = "jobs"


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of scheduled work. RUN(bank, date, run id) returns what it did."""

    name: str
    meaning: str
    hour: int
    minute: int
    run: Callable[[Bank, date, int], Awaitable[dict[str, Any]]]


def job_named(name: str) -> Job:
    """The job of that name. Raises NotFound listing the names there are."""
    for job in JOBS:
        if job.name == name:
            return job
    raise NotFound(f"there is no job {name}; jobs: {', '.join(job.name for job in JOBS)}")


def is_working_day(on: date) -> bool:
    """Whether banks and the treasury work on a date: not on Saturday, Sunday and Indonesia's public holidays."""
    return on.weekday() < SATURDAY and on not in holidays.country_holidays("ID", years=on.year)


async def _warn(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    return asdict(await dormancy.warn(bank, on, run_id))


async def _block(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    return asdict(await dormancy.block(bank, on, run_id))


async def _freeze(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    return asdict(await dormancy.freeze_unused(bank, on, run_id))


async def _rpl(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    return asdict(await dormancy.debit_to_rpl(bank, on, run_id))


async def _return(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    if not is_working_day(on):
        return {"skipped": "the treasury does not work today; deposited on the next working day"}
    return asdict(await dormancy.return_unused(bank, on, run_id))


async def _release_holds(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    return asdict(await holds.release_lapsed(bank, on, run_id))


async def _close_day(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    """Close what is past: a day waits for the other jobs of its date, and is closed by a later run."""
    del run_id
    done = await day.close(bank, "jobs", on - timedelta(days=1), AWAITED)
    return {"closed": [str(one.business_date) for one in done.closed]} | ({"waits": done.waits} if done.waits else {})


async def _settle(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    del run_id
    closed = await settlement.close_all(bank, settlement.ACTOR, on - settlement.ONE_DAY)
    return {"settlements": len(closed), "net_idr": sum(one.net_idr for one in closed)}


async def _make_partitions(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    del run_id
    done = await partitions.make_ahead(bank, ACTOR, on)
    return {"made": done.made, "through": str(done.through)}


async def _reseal(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    """What is sealed has no date: a run for a day that is over is nothing to do. What does not open fails no job."""
    del run_id
    if on != bank.business_date or not await reseal.has_older_keys(bank):
        return {"resealed": 0}
    done = await reseal.reseal(bank, ACTOR)
    counts = {"resealed": done.resealed, "left": done.left, "unreadable": done.unreadable}
    told = {name: count.total() for name, count in counts.items() if count or name == "resealed"}
    return told | ({"named": [str(one) for one in done.named]} if done.named else {})


async def _expire_outgoing(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    """What a running link has not sent in time it puts aside itself; this is for links that nobody serves any more."""
    del on, run_id
    return {"expired": await outgoing.expire_all(bank)}


async def _retention(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    """What cannot be detached today is tried again tomorrow: nothing waits for it."""
    del run_id
    try:
        done = await partitions.retire(bank, ACTOR, on=on)
    except Refused as error:
        return {"months": [], "waits": str(error)}
    return {"months": [f"{one.month:%Y-%m}" for one in done.months]} | ({"waits": done.waits} if done.waits else {})


async def _remove_messages(bank: Bank, on: date, run_id: int) -> dict[str, Any]:
    """Ages are by the clock: a run for a date that is over is nothing to do."""
    del run_id
    if on != bank.business_date:
        return {"to_partners": 0, "of_partners": 0, "journals": 0}
    to_partners, of_partners = await desk.remove_ended(bank, ACTOR)
    journals = await stand_in_report.remove_ended(bank, ACTOR)
    return {"to_partners": to_partners, "of_partners": of_partners, "journals": journals}


JOBS = (
    Job("make-partitions", "months of the journal for the days ahead", 0, 5, _make_partitions),
    Job("reseal", "seal under the newest sealing key what is sealed under an older one", 1, 30, _reseal),
    Job("expire-outgoing", "put aside for people what could not be sent to a partner in time", 1, 40, _expire_outgoing),
    Job("release-holds", "give back what holds set aside that nobody completed in time", 4, 50, _release_holds),
    Job("dormancy-warn", "notices to families whose aid will be blocked", 5, 0, _warn),
    Job("dormancy-block", "block aid that was not used in time", 5, 10, _block),
    Job("dormancy-freeze", "freeze aid past its term", 5, 20, _freeze),
    Job("rpl-debit", "debit frozen aid to RPL", 5, 30, _rpl),
    Job("settle", "close yesterday's settlement date of every link", 5, 40, _settle),
    Job("treasury-return", "deposit what stands at RPL at kas negara, on working days", 8, 0, _return),
    Job("close-day", "close the days before: lock, hash, checkpoints", 8, 30, _close_day),
    Job("remove-messages", "ended messages of partners and to them, when they are old", 8, 50, _remove_messages),
    Job("retention", "months older than the retention are detached and kept apart", 9, 0, _retention),
)
HOUSEKEEPING = ("make-partitions", "reseal", "expire-outgoing", "close-day", "remove-messages", "retention")
AWAITED = tuple(job.name for job in JOBS if job.name not in HOUSEKEEPING)  # a day is closed when these are done for it
