"""The bank's desk for what partners send that is no authorisation: each message is done once and its answer kept.

A repeat gets the answer of the first; the same key with other content is 94. An advice is always accepted: what could not be
done of it is kept for people. Who does what with which message is file_action.py, partner_totals.py and administrative.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import Refused
from gateway.operations.bank import Bank, Transaction, reading, transaction
from gateway.store import desk
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.store.desk import DeskMessage, ForPeople, Kept

RESPONSE_CODE = 39
APPROVED, DUPLICATE = "00", "94"
REMOVED_AT_ONCE = 10_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A message as the desk knows it. KEY: what tells it from others of its link and class; DIGEST: of what it says."""

    link: str
    mti: str
    key: str
    digest: bytes

    @property
    def group(self) -> str:
        """Its class: requests, advices and repeats of one thing belong together."""
        return self.mti[1]

    @property
    def is_advice(self) -> bool:
        """Whether it tells of what has happened, so that it cannot be refused."""
        return self.mti[2] == "2"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a message. CODE: DE39; ANSWER: the other fields of the answer; TROUBLE: why people must look at it.

    THEN: what else is kept, once the message has its number.
    """

    code: str
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)
    answer: dict[int, str] = field(default_factory=dict)
    trouble: str | None = None
    then: Callable[[int], Awaitable[None]] | None = None


async def once(bank: Bank, asked: Asked, act: Callable[[Transaction], Awaitable[Done]]) -> dict[int, str]:
    """Do what a message asks, unless it was done before. Returns what its answer has that is not echoed, DE39 among it."""
    async with reading(bank) as connection:
        kept = await desk.find(connection, asked.link, asked.group, asked.key)
    if kept is not None:
        return _again(asked, kept)
    async with transaction(bank, f"link {asked.link}") as tx:
        kept = await desk.find(tx.connection, asked.link, asked.group, asked.key)
        if kept is not None:  # the same message came on another connection at the same moment
            await tx.record(Operation.DESK, f"link {asked.link}", mti=asked.mti, event="repeat")
            return _again(asked, kept)
        done = _accepted(await act(tx)) if asked.is_advice else await act(tx)
        answer = done.answer | {RESPONSE_CODE: done.code}
        number = await desk.keep(
            tx.connection,
            {
                "link": asked.link, "class": asked.group, "key": asked.key, "digest": asked.digest, "mti": asked.mti,
                "answer": answer, "subject": done.subject, "detail": done.detail, "business_date": bank.business_date,
                "trouble": done.trouble,
            },
        )  # fmt: skip
        if done.then is not None:
            await done.then(number)
        await tx.record(
            Operation.DESK, f"desk {number}", link=asked.link, mti=asked.mti, about=done.subject, code=done.code,
            **({"trouble": done.trouble} if done.trouble else {}),
        )  # fmt: skip
    if done.trouble is not None:
        _log.warning("desk.trouble", link=asked.link, desk=number, mti=asked.mti, trouble=done.trouble)
    return answer


async def listed(bank: Bank, limit: int, *, everything: bool = False) -> list[DeskMessage]:
    """What waits for people, oldest first; EVERYTHING: the newest of all."""
    async with reading(bank) as connection:
        return await desk.newest(connection, limit, everything=everything)


async def for_people(bank: Bank) -> list[ForPeople]:
    """How many exceptions and messages of each link wait for people."""
    async with reading(bank) as connection:
        return await desk.for_people(connection)


async def remove_ended(bank: Bank, actor: str) -> tuple[int, int]:
    """Remove messages to partners and of them that ended longer ago than the setting says, chunk by chunk.

    Returns how many of both. What waits for an answer or for people stays however old it is, and so do partners' totals; what
    each message did is in the audit chain for good.
    """
    days = bank.settings.message_days
    outgoing = of_partners = 0
    while True:
        async with transaction(bank, actor) as tx:
            removed = await desk.remove_ended(tx.connection, days, REMOVED_AT_ONCE)
            await tx.record(Operation.MESSAGES_REMOVE, f"after {days} days", outgoing=removed[0], desk=removed[1])
        outgoing, of_partners = outgoing + removed[0], of_partners + removed[1]
        if max(removed) < REMOVED_AT_ONCE:
            return outgoing, of_partners


async def handle(bank: Bank, actor: str, number: int, reason: str) -> DeskMessage:
    """A person has looked at a message and says what came of it. Raises Refused where nobody had to, or NotFound."""
    if not reason.strip():
        raise Refused("a reason is needed")
    async with transaction(bank, actor) as tx:
        message = await desk.lock(tx.connection, number)
        if message.trouble is None or message.handled_at is not None:
            raise Refused(f"desk message {number} waits for nobody")
        await desk.handled(tx.connection, number, actor.strip(), reason.strip())
        await tx.record(Operation.DESK, f"desk {number}", event="handled", about=message.subject, reason=reason.strip())
        return await desk.lock(tx.connection, number)


def _again(asked: Asked, kept: Kept) -> dict[int, str]:
    return kept.answer if kept.digest == asked.digest else {RESPONSE_CODE: DUPLICATE}


def _accepted(done: Done) -> Done:
    """An advice tells of what has happened: it gets 00, and people what could not be done."""
    if done.code == APPROVED:
        return done
    trouble = done.trouble or f"an advice that a request would be refused {done.code}"
    return Done(APPROVED, done.subject, done.detail, done.answer, trouble, done.then)
