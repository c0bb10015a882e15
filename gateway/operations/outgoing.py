"""Messages of ours to partners: queued in the transaction of what they tell of, forwarded later, looked after by people.

Any operation may `queue` one; DE7, DE11 and DE37 are given once, then and there, and stay the same however often it is sent. The
fields are sealed, as a card number may be among them. Who sends them is gateway/terminals/forwarder.py. Read next:
gateway/store/outgoing.py, gateway/rules/outgoing.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.errors import Refused
from gateway.operations.bank import Bank, Transaction, reading, transaction
from gateway.rules.approval import same_person
from gateway.rules.outgoing import FOR_PEOPLE, WAITING, OutgoingState, reference, repeat_mti, stan_of, transmitted
from gateway.store import outgoing
from gateway.store.audit import Operation
from iso.message import Message
from ledger.book import take_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.store.outgoing import Figures, Outgoing

ACTOR = "forwarder"
TRANSMITTED, STAN, REFERENCE = 7, 11, 37
KEY_FIELDS = (TRANSMITTED, STAN, REFERENCE)
TABLE, COLUMN = "outgoing_message", "content"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """What the bank needs to know of a link to queue for it. HOT_LIST_FILE: DE101 of its hot list; None: it has none of ours."""

    name: str
    hot_list_file: str | None
    expire_s: int


class About(NamedTuple):
    """What a message is about, for people: never a card number. DELETES: it takes something off the other side's file."""

    subject: str
    what: str
    deletes: bool = False


async def queue(
    bank: Bank, tx: Transaction, link: str, message: Message, about: About, expire_s: int | None = None
) -> int:
    """Put a message into a link's queue, in the transaction of what it tells of. Returns its number.

    MESSAGE: type of a first sending and all fields but DE7, DE11 and DE37, which it gets here. EXPIRE_S: its own term; None: the
    link's.
    """
    (number,) = await take_ids(tx.connection, "outgoing_message_id_seq", 1)
    fields = {str(name): value for name, value in message.fields.items() if name not in KEY_FIELDS}
    stan, sent, mark = _keys(bank, number)
    await outgoing.add(
        tx.connection,
        {
            "id": number, "link": link, "mti": message.mti, "stan": stan, "transmitted": sent, "reference": mark,
            "content": bank.vault.seal(json.dumps(fields), table=TABLE, row=number, column=COLUMN), "expire_s": expire_s,
            **about._asdict(),
        },
    )  # fmt: skip
    return number


def message_of(bank: Bank, stored: Outgoing) -> Message:
    """The message as it is sent now: the type of a repeat from the second sending on. Raises KeysError where it does not open."""
    fields = json.loads(bank.vault.open(stored.content, table=TABLE, row=stored.id, column=COLUMN))
    mti = stored.mti if stored.attempts <= 1 else repeat_mti(stored.mti)
    keys = {TRANSMITTED: stored.transmitted, STAN: stored.stan, REFERENCE: stored.reference}
    return Message(mti, {int(name): value for name, value in fields.items()} | keys)


async def keep_links(bank: Bank, links: Iterable[LinkTerms]) -> None:
    """Take up the terms of all links, as a running service has read them; links that are gone are told nothing more of cards."""
    wanted = {one.name: (one.hot_list_file, one.expire_s) for one in links}
    async with reading(bank) as connection:
        known = await outgoing.links(connection)
    wanted |= {name: (None, expire_s) for name, (_, expire_s) in known.items() if name not in wanted}
    changed = {name: terms for name, terms in wanted.items() if known.get(name) != terms}
    if not changed:
        return
    async with transaction(bank, ACTOR) as tx:
        for name, (hot_list_file, expire_s) in sorted(changed.items()):
            if hot_list_file is not None and known.get(name, (None, 0))[0] != hot_list_file:
                _log.warning("hot_list.empty", link=name, fill=f"kks outgoing fill {name}")
            await outgoing.keep_link(tx.connection, name, hot_list_file, expire_s)
            await tx.record(
                Operation.LINK_EVENT, f"link {name}", event="outgoing", hot_list=hot_list_file, expire_s=expire_s
            )


async def finish(
    bank: Bank, sent: Outgoing, state: OutgoingState, code: str | None, trouble: str | None = None
) -> bool:
    """An answer has ended a message. False where it had been ended already."""
    async with transaction(bank, f"link {sent.link}") as tx:
        done = await outgoing.end(tx.connection, sent, state, code, trouble, ACTOR)
        await tx.record(
            Operation.OUTGOING, f"outgoing {sent.id}", event=state.value if done else "late answer", about=sent.subject,
            what=sent.what, code=code, attempts=sent.attempts, **({"trouble": trouble} if trouble else {}),
        )  # fmt: skip
    if done and state is OutgoingState.REFUSED:
        _log.warning("outgoing.refused", link=sent.link, outgoing=sent.id, code=code, trouble=trouble)
    return done


async def expire(bank: Bank, link: str) -> int:
    """What is too old of a link's queue goes to people. Returns how many."""
    async with bank.database.engine.connect() as connection:
        if not (await outgoing.work_of(connection, link))[1]:
            return 0
    async with transaction(bank, ACTOR) as tx:
        old = await outgoing.expire(tx.connection, link, ACTOR)
        for one in old:
            _log.warning("outgoing.expired", link=link, outgoing=one.id, attempts=one.attempts)
            await tx.record(
                Operation.OUTGOING, f"outgoing {one.id}", event="EXPIRED", about=one.subject, what=one.what,
                attempts=one.attempts,
            )  # fmt: skip
        if not old:
            await tx.record(Operation.OUTGOING, f"link {link}", event="nothing to expire")
    return len(old)


async def expire_all(bank: Bank) -> int:
    """The same for every link, also those that no process serves any more."""
    async with reading(bank) as connection:
        links = await outgoing.expired_links(connection)
    return sum([await expire(bank, link) for link in links])


async def rejected(bank: Bank, link: str, stan: str, code: str | None, text: str) -> Outgoing | None:
    """A partner rejects (06xx) what it has of us under this DE11: it is refused for good. None: there is no such message."""
    async with bank.database.engine.connect() as connection:
        sent = await outgoing.in_flight(connection, link, stan)
    if sent is None:
        return None
    await finish(bank, sent, OutgoingState.REFUSED, code, f"rejected: {text}"[:200])
    return sent


async def retry(bank: Bank, actor: str, number: int, reason: str) -> Outgoing:
    """A person has what was REFUSED or EXPIRED sent again, in its place of the queue. Raises Refused, or NotFound.

    What was refused goes as a new message, with a new DE11; what may have arrived goes as a repeat of itself. Not where a later
    message of the same subject follows: it says what is true now.
    """
    _check_reason(reason)
    async with transaction(bank, actor) as tx:
        stored = await outgoing.lock(tx.connection, number)
        if stored.state not in FOR_PEOPLE:
            raise Refused(f"outgoing message {number} is {stored.state}: only what is REFUSED or EXPIRED is sent again")
        later = await outgoing.followed(tx.connection, stored)
        if later is not None:
            raise Refused(f"outgoing message {number} is overtaken by {later}, about the same {stored.subject}")
        keys = None
        if stored.state is OutgoingState.REFUSED:
            (fresh,) = await take_ids(tx.connection, "outgoing_message_id_seq", 1)  # a trace number nothing has had
            keys = _keys(bank, fresh)
        await outgoing.requeue(tx.connection, number, keys, reason.strip())
        await tx.record(
            Operation.OUTGOING, f"outgoing {number}", event="retry", before=stored.state, about=stored.subject,
            code=stored.answer_code, reason=reason.strip(),
        )  # fmt: skip
        return await outgoing.lock(tx.connection, number)


async def drop(bank: Bank, maker: str, checker: str, number: int, reason: str) -> Outgoing:
    """Two people decide that the partner is never told. Raises Refused, or NotFound."""
    if not checker.strip() or same_person(maker, checker):
        raise Refused("dropping a message to a partner needs two different people")
    _check_reason(reason)
    async with transaction(bank, maker) as tx:
        stored = await outgoing.lock(tx.connection, number)
        if stored.state not in (*WAITING, *FOR_PEOPLE):
            raise Refused(f"outgoing message {number} is {stored.state} already")
        await outgoing.drop(tx.connection, number, maker.strip(), reason.strip())
        await tx.record(
            Operation.OUTGOING, f"outgoing {number}", event="drop", before=stored.state, about=stored.subject,
            what=stored.what, checker=checker.strip(), reason=reason.strip(),
        )  # fmt: skip
        return await outgoing.lock(tx.connection, number)


async def listed(bank: Bank, limit: int, link: str | None = None, *, ended: bool = False) -> list[Outgoing]:
    """What waits for an answer or for people, oldest first; ENDED: the newest of all."""
    async with reading(bank) as connection:
        return await outgoing.newest(connection, limit, link, ended=ended)


async def shown(bank: Bank, number: int) -> tuple[Outgoing, Message]:
    """One message with what it says. Raises NotFound. Show the message masked (iso.describe)."""
    async with reading(bank) as connection:
        stored = await outgoing.read(connection, number)
    return stored, message_of(bank, stored)


async def figures(bank: Bank, link: str | None = None) -> list[Figures]:
    """How the queues stand: waiting, age of the head, what people must look at. A link with nothing of it is not there."""
    async with reading(bank) as connection:
        return await outgoing.figures(connection, link)


def _keys(bank: Bank, number: int) -> tuple[str, str, str]:
    """DE11, DE7 and DE37 of a message made now."""
    now, stan = bank.now(), stan_of(number)
    return stan, transmitted(now), reference(now, stan)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise Refused("a reason is needed")
