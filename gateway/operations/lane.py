"""The queues of group authorisation: a lane takes what has gathered while its last group was committing, and never waits.

A lane owns some of the cells and one database connection. A group holds at most one request a card. If a group's transaction
fails, its members are tried one by one; what still fails is declined and nothing moved. The one case with no honest answer is a
commit whose outcome is not known and cannot be found out: then nobody is answered, and the terminal's reversal settles it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from gateway.operations.authorise import Ids, Keyed, Outcome, authorise_group
from gateway.operations.rulebook import Rulebook, read_rulebook
from gateway.rules.authorise import DeclineReason
from gateway.rules.issuing import cell_of_pan
from gateway.store.lane_connection import DATABASE_ERRORS, LaneConnection, cause, unreachable
from keys.errors import KeysError
from ledger.posting import PostingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.operations.authorise import AuthoriseCommand
    from gateway.operations.bank import Bank
    from gateway.operations.stand_in import StandIn

log = structlog.get_logger(__name__)

IDS_AHEAD = 2_000  # ids taken from the sequences at once
POLICY_AGE_S = 5.0  # purse rules and the business date are read again after this long
RETRIES = 5
RETRY_WAIT_S = 0.2
DATABASE_WAIT_S = 8.0  # for a group's decision, and again for its commit; a PostgreSQL that takes longer is away
AWAY_WAIT_S = 2.0  # the same while it is away
STEPS = ("locked", "loaded", "checked", "decided", "written", "committed")
"""What a group goes through, in this order: a stamp each."""


class CommitUnknown(Exception):
    """The commit was sent and its outcome could not be learnt: nothing may be answered."""


@dataclass(slots=True)
class Passage:
    """How a group went through its lane: moments of the monotonic clock, in seconds, the same for all members.

    FORMED: it left the queue. BEGAN: the attempt that counted; what was before it failed. STAMPS: the end of each of STEPS in
    that attempt; none: no attempt was of use.
    """

    lane: int
    size: int
    formed: float
    attempts: int = 0
    began: float = 0.0
    stamps: list[float] = field(default_factory=list)

    def begin(self) -> list[float]:
        """One more attempt. Returns where it puts its stamps."""
        self.began = monotonic() if self.attempts else self.formed
        self.attempts += 1
        self.stamps = []
        return self.stamps

    def alone(self) -> Passage:
        """Of one member that goes on by itself."""
        return Passage(self.lane, 1, self.formed, self.attempts)

    def fail(self) -> None:
        """The last attempt was of no use either."""
        self.began = monotonic()
        self.stamps = []


@dataclass(slots=True)
class Pending:
    """One request in a lane's queue. ANSWER is called once: with the outcome, or None after a commit nobody knows of.

    PASSED: called before ANSWER, with how it went through the lane; not for those that never left the queue. ALIVE: asked when
    its group is formed, whether somebody still waits: where not nothing moves and ANSWER gets None. Without it the request is
    decided whoever waits. COMMIT_SENT: a commit with it was sent and its fate not learnt yet; until it is found out, no refusal
    is honest.
    """

    keyed: Keyed
    answer: Callable[[Outcome | None], None]
    alive: Callable[[], bool] | None = None
    passed: Callable[[Passage], None] | None = None
    commit_sent: bool = False


@dataclass(slots=True)
class Statistics:
    """What a lane has done since it started."""

    groups: int = 0
    decided: int = 0
    retried: int = 0
    refused: int = 0
    unknown: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Lane:
    number: int
    queue: deque[Pending] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ids: Ids = field(default_factory=lambda: Ids([], []))
    rulebook: Rulebook | None = None
    rulebook_at: float = 0.0
    connection: LaneConnection | None = None
    away: bool = False  # PostgreSQL could not be reached the last time
    away_since: float = 0.0
    statistics: Statistics = field(default_factory=Statistics)


class Lanes:
    """All lanes of one process. submit() never blocks; close() finishes what has been accepted."""

    def __init__(self, bank: Bank) -> None:
        """Make the lanes; start() starts them."""
        self._bank = bank
        self._lanes = [_Lane(number) for number in range(bank.row.lanes)]
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self.stand_in: StandIn | None = None  # asked where PostgreSQL is away, and what it owes is posted first

    async def start(self) -> None:
        """Start one task a lane."""
        self._tasks = [asyncio.create_task(self._run(lane), name=f"lane-{lane.number}") for lane in self._lanes]

    async def close(self) -> None:
        """Stop taking requests, finish those accepted, close the connections."""
        self._closing = True
        for lane in self._lanes:
            lane.wake.set()
        await asyncio.gather(*self._tasks)

    def submit(
        self,
        command: AuthoriseCommand,
        answer: Callable[[Outcome | None], None],
        alive: Callable[[], bool] | None = None,
        passed: Callable[[Passage], None] | None = None,
    ) -> None:
        """Queue a request. ANSWER gets its outcome; None when no honest answer exists. Over the bound it is refused at once.

        ALIVE: whether anybody still waits for it, asked before it is decided; where nobody does nothing moves. PASSED: told
        before ANSWER how it went through its lane.
        """
        cell = cell_of_pan(command.pan.reveal(), self._bank.row.cells)
        lane = self._lanes[cell % len(self._lanes)]
        if self._closing or len(lane.queue) >= self._bank.settings.queue_max:
            lane.statistics.refused += 1
            answer(_declined(command, DeclineReason.OVERLOAD))
            return
        try:
            keyed = Keyed(self._bank, command, cell)
        except KeysError as error:  # the HSM is away; the link is not, and wants its answer
            log.error("authorisation.failed", lane=lane.number, error=type(error).__name__)  # noqa: TRY400 - may hold data
            answer(_declined(command, DeclineReason.SYSTEM_ERROR))
            return
        lane.queue.append(Pending(keyed, answer, alive, passed))
        lane.wake.set()

    def nudge(self) -> None:
        """Let every lane post what is owed, though nobody asks anything."""
        for lane in self._lanes:
            lane.wake.set()

    @property
    def waiting(self) -> int:
        """Requests that wait for their group."""
        return sum(len(lane.queue) for lane in self._lanes)

    @property
    def statistics(self) -> list[Statistics]:
        """Figures of each lane."""
        return [lane.statistics for lane in self._lanes]

    async def _run(self, lane: _Lane) -> None:
        while not (self._closing and not lane.queue):
            await lane.wake.wait()
            lane.wake.clear()
            if not lane.queue and self.stand_in is not None and self.stand_in.owes(lane.number):
                try:
                    await self._catch_up(self.stand_in, lane)
                except Exception:  # a bug must not stop the lane; what is owed stays owed
                    log.exception("stand_in.failed", lane=lane.number)
                    await self._reset(lane)
            while lane.queue:
                group, dropped = _next_group(lane.queue, self._bank.settings.group_max)
                for member in dropped:
                    lane.statistics.dropped += 1
                    member.answer(None)
                if not group:
                    continue
                passage = Passage(lane.number, len(group), monotonic())
                try:
                    await self._serve(lane, group, passage)
                except Exception:  # a bug must not stop the lane; its members are answered 96
                    log.exception("lane.failed", lane=lane.number, members=len(group))
                    await self._reset(lane)
                    passage.fail()
                    for member in group:
                        _tell(member, passage)
                        member.answer(_undecided(lane, member, DeclineReason.SYSTEM_ERROR))
        await self._reset(lane)

    async def _serve(self, lane: _Lane, group: list[Pending], passage: Passage) -> None:
        """Decide a group; one bad member is found by deciding its members one by one."""
        passages = [passage] * len(group)
        try:
            outcomes = await self._decide(lane, group, passage)
        except (PostingError, KeysError, *DATABASE_ERRORS) as error:
            log.warning("group.failed", lane=lane.number, members=len(group), error=type(error).__name__)
            lane.statistics.retried += len(group)
            passages = [passage.alone() for _ in group]
            outcomes = [await self._alone(lane, *each) for each in zip(group, passages, strict=True)]
        lane.statistics.groups += 1
        lane.statistics.decided += len(group)
        for member, outcome, how in zip(group, outcomes, passages, strict=True):
            try:
                _tell(member, how)
                member.answer(outcome)
            except Exception:  # a bug: what is committed must not be denied, to this one or to the others
                log.exception("answer.failed", lane=lane.number)

    async def _alone(self, lane: _Lane, member: Pending, passage: Passage) -> Outcome | None:
        """Decide one member by itself; what still fails is declined."""
        if self._dropped(lane, member):
            return None
        try:
            return (await self._decide(lane, [member], passage))[0]
        except (PostingError, KeysError, *DATABASE_ERRORS) as error:
            passage.fail()
            log.error("authorisation.failed", lane=lane.number, error=type(error).__name__)  # noqa: TRY400 - may hold data
            return _undecided(lane, member, DeclineReason.SYSTEM_ERROR)

    async def _decide(self, lane: _Lane, group: list[Pending], passage: Passage) -> list[Outcome | None]:
        """One transaction, tried again while PostgreSQL is away; after a lost commit the stored answers are looked up.

        While it stays away everyone is declined 91, or, after a commit that may have happened, not answered at all.
        """
        outcomes: list[Outcome | None] = [None] * len(group)
        left = list(range(len(group)))
        if self.stand_in is not None and self.stand_in.owes(lane.number):
            if not await self._catch_up(self.stand_in, lane):
                return await self._without_database(lane, group, left, outcomes, passage)
            left = self._not_held(self.stand_in, lane, group, outcomes)
        attempts = 1 if lane.away else RETRIES
        for attempt in range(attempts):
            if attempt:
                left = [place for place in left if not self._dropped(lane, group[place])]
            if not left:
                return outcomes
            try:
                found = await self._transact(lane, [group[place] for place in left], passage.begin())
            except CommitUnknown as error:
                for place in left:
                    group[place].commit_sent = True
                if isinstance(error.__cause__, TimeoutError):
                    break
            except DATABASE_ERRORS as error:
                if not unreachable(error):
                    raise
                log.warning("database.away", lane=lane.number, error=type(error).__name__, cause=cause(error))
                if isinstance(error, TimeoutError):  # it is silent: whoever waits has waited long
                    break
            else:
                lane.away = False
                for place, outcome in zip(left, found, strict=True):
                    outcomes[place] = outcome
                return outcomes
            if attempt + 1 < attempts:
                await asyncio.sleep(RETRY_WAIT_S * 2**attempt)
        return await self._without_database(lane, group, left, outcomes, passage)

    async def _without_database(
        self, lane: _Lane, group: list[Pending], left: list[int], outcomes: list[Outcome | None], passage: Passage
    ) -> list[Outcome | None]:
        """Answer the members LEFT while PostgreSQL is away: what is stood in for, else 91, or not at all (_undecided)."""
        now = asyncio.get_running_loop().time()
        if not lane.away:
            lane.away, lane.away_since = True, now
        passage.fail()
        stood_in: dict[int, Outcome | None] = {}
        if self.stand_in is not None and self.stand_in.ready:
            left = [place for place in left if not self._dropped(lane, group[place])]
            asked = [place for place in left if not group[place].commit_sent]
            found = await self.stand_in.decide([group[place].keyed for place in asked], now - lane.away_since)
            stood_in = {asked[at]: outcome for at, outcome in found.items()}
        for place in left:
            if place in stood_in:
                outcomes[place] = stood_in[place]
            else:
                outcomes[place] = _undecided(lane, group[place], DeclineReason.OVERLOAD)
        return outcomes

    async def _catch_up(self, stand_in: StandIn, lane: _Lane) -> bool:
        """Post what was stood in for, before anything new is decided. False: PostgreSQL is away still."""

        async def transact(keyed: Sequence[Keyed]) -> list[Outcome]:
            try:
                return await self._transact(lane, [Pending(one, _unheard) for one in keyed], [])
            except CommitUnknown as error:  # found out by posting it again
                raise ConnectionError("the fate of a commit is not known") from error

        posted = await stand_in.post(lane.number, transact)
        if posted:
            lane.away = False
        return posted

    @staticmethod
    def _not_held(stand_in: StandIn, lane: _Lane, group: list[Pending], outcomes: list[Outcome | None]) -> list[int]:
        """The members that may be decided; those whose card waits for something that could not be posted are told 91."""
        free = []
        for place, member in enumerate(group):
            if stand_in.holds(lane.number, member.keyed.pan_index):
                outcomes[place] = _undecided(lane, member, DeclineReason.OVERLOAD)
            else:
                free.append(place)
        return free

    @staticmethod
    def _dropped(lane: _Lane, member: Pending) -> bool:
        """Whether nobody waits for a member any more, of which nothing can have been committed: then nothing moves."""
        gone = not member.commit_sent and member.alive is not None and not member.alive()
        lane.statistics.dropped += gone
        return gone

    async def _transact(self, lane: _Lane, group: list[Pending], stamps: list[float]) -> list[Outcome]:
        """One transaction for a group; STAMPS gets a time for each of STEPS.

        Raises what the database raises, PostingError, or CommitUnknown.
        """
        limit_s = AWAY_WAIT_S if lane.away else DATABASE_WAIT_S
        try:
            async with asyncio.timeout(limit_s):
                connection = await self._connected(lane)
                rulebook = await self._prepare(lane, connection, len(group))
                outcomes = await authorise_group(
                    self._bank, connection, [member.keyed for member in group], rulebook, lane.ids, stamps
                )
        except BaseException:
            await self._reset(lane)
            raise
        try:
            async with asyncio.timeout(limit_s):
                await connection.commit()
        except DATABASE_ERRORS as error:
            await self._reset(lane)
            if unreachable(error):
                raise CommitUnknown from error
            raise
        stamps.append(monotonic())
        return outcomes

    async def _connected(self, lane: _Lane) -> LaneConnection:
        if lane.connection is None:
            if self.stand_in is not None and self.stand_in.owed_elsewhere(lane.number):
                raise ConnectionError("what another process stood in for is posted first")
            lane.connection = await LaneConnection.open(self._bank.database.engine, lane.number)
        return lane.connection

    async def _prepare(self, lane: _Lane, connection: LaneConnection, members: int) -> Rulebook:
        """Have enough ids and a fresh rulebook; both are rare."""
        if len(lane.ids.authorisations) < members:
            lane.ids.authorisations += await connection.take_ids("authorisation_id_seq", IDS_AHEAD)
        if len(lane.ids.transfers) < members:
            lane.ids.transfers += await connection.take_ids("transfer_id_seq", IDS_AHEAD)
        now = asyncio.get_running_loop().time()
        if lane.rulebook is None or now - lane.rulebook_at > POLICY_AGE_S:
            lane.rulebook = await read_rulebook(self._bank)
            lane.rulebook_at = now
        return lane.rulebook

    async def _reset(self, lane: _Lane) -> None:
        """Drop the lane's connection; the next group opens another."""
        connection, lane.connection = lane.connection, None
        if connection is not None:
            await connection.close()


def _next_group(queue: deque[Pending], limit: int) -> tuple[list[Pending], list[Pending]]:
    """Take up to LIMIT requests in order of arrival, one a card; a card's second request stays for the next group.

    The second list holds those for which nobody waits any more.
    """
    group: list[Pending] = []
    dropped: list[Pending] = []
    cards: set[bytes] = set()
    kept: list[Pending] = []
    while queue and len(group) < limit:
        pending = queue.popleft()
        if pending.keyed.pan_index in cards:
            kept.append(pending)
        elif pending.alive is not None and not pending.alive():
            dropped.append(pending)
        else:
            cards.add(pending.keyed.pan_index)
            group.append(pending)
    queue.extendleft(reversed(kept))
    return group, dropped


def _tell(member: Pending, passage: Passage) -> None:
    if member.passed is not None:
        member.passed(passage)


def _undecided(lane: _Lane, member: Pending, reason: DeclineReason) -> Outcome | None:
    """Decline a member that nothing moved for; None, so no answer, where a commit may have moved something."""
    if member.commit_sent:
        lane.statistics.unknown += 1
        log.error("authorisation.unknown", lane=lane.number)
        return None
    return _declined(member.keyed.command, reason)


def _unheard(_outcome: Outcome | None) -> None:
    """Nobody waits for what is posted afterwards: it was told long ago."""


def _declined(command: AuthoriseCommand, reason: DeclineReason) -> Outcome:
    return Outcome(reason, command.response_codes[reason], None, None)
