"""Stand-in: what the lanes ask when the books are away, and what they post first when the books are back.

An opt-in, link by link (`[link.stand_in]`). While PostgreSQL is away a purchase or a withdrawal may be approved from a list of
cards, under the bank's own bounds (gateway.rules.stand_in), with a right PIN; each decision is on disk, proved by a MAC, before
it is told. When PostgreSQL is back a lane posts what it owes before it takes a new request, head first, through the same group
as ever, under the message's own key: killed anywhere, nothing is posted twice. What is not stood in for is answered 91, as ever.
Never asked where a commit may have happened. Read next: stand_in_folder.py (files), lane.py (who asks), docs/decisions/0017.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from gateway.errors import Refused
from gateway.operations import stand_in_folder
from gateway.operations.authorise import ADVICE, Outcome
from gateway.operations.bank import reading, refresh_business_date
from gateway.operations.pin_check import check_pins
from gateway.operations.seldom import REPEATS
from gateway.operations.stand_in_entry import Entry, EntryKind, seal_message, to_post
from gateway.operations.stand_in_folder import JOURNAL, NEW_LIST, StandInFolder, folder_of
from gateway.rules.account import AccountState
from gateway.rules.authorise import CardView, DeclineReason, PinOutcome, RequestKind, Snapshot
from gateway.rules.card import CardState
from gateway.rules.stand_in import Moment, judge, reversal_fits
from gateway.store import policy as policies_store
from gateway.store import stand_in_list as lists
from gateway.store.authorisations import NO_TRANSFERS, Loaded
from gateway.store.lane_connection import DATABASE_ERRORS, cause, unreachable
from gateway.store.stand_in_journal import JournalBroken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.operations.authorise import Keyed
    from gateway.operations.bank import Bank
    from gateway.rules.stand_in import ListedCard, StandInPolicy

log = structlog.get_logger(__name__)

LOOK_S = 1.0  # between two looks at what waits and how old the list is
RENEW_S = 900.0  # a list is made anew after so long at the latest; sooner where a policy wants it younger
LIST_AGAIN_S = 10.0  # a list that could not be made is tried again after so long
ENTRIES_MAX = 200_000  # of a journal: some 150 MB on disk; above it nothing new is stood in for
ELSEWHERE_S = 60.0  # what another process has to post is waited for so long
STUCK_S = 30.0  # what could not be posted is tried again after so long


class _Candidate(NamedTuple):
    """A request that every rule let through, if its PIN is right."""

    place: int
    member: Keyed
    card: ListedCard
    rules: tuple[str, ...]


class StandIn:
    """Stand-in of one process. Off, and costing nothing, where no link asks for it and nothing is left of before."""

    def __init__(self, bank: Bank, policies: Callable[[], Mapping[str, StandInPolicy]]) -> None:
        """POLICIES: of the links that are stood in for now, by link."""
        self._bank = bank
        self._policies = policies
        self._folder = StandInFolder(
            folder_of(bank.settings.data_dir), bank.row.lanes, bank.audit_mac, bank.audit_verify
        )
        self._gate = asyncio.Lock()
        self._again: dict[int, float] = {}  # by lane, when what is stuck is tried again
        self._waits_since: dict[int, float] = {}  # by lane, for what another process has to post

    def open(self) -> None:
        """Read what a process before has left, where there is anything to do."""
        if not self._policies() and not (self._folder.path / JOURNAL).exists():
            return
        try:
            self._folder.take()
        except OSError as error:
            log.error("stand_in.broken", why=error.strerror)  # noqa: TRY400 - no traceback wanted
        if self._folder.broken:
            log.error("stand_in.broken", why=self._folder.why)

    def close(self) -> None:
        """Let go of list, journal and lock."""
        self._folder.close()

    def owes(self, lane: int) -> bool:
        """Whether something of a lane's cards waits to be posted."""
        return bool(self._folder.owed(lane))

    @property
    def owes_any(self) -> bool:
        """Whether something waits to be posted."""
        return self._folder.waiting > 0

    @property
    def can_post(self) -> bool:
        """Whether something waits that nothing is known to keep from being posted."""
        lanes = range(self._bank.row.lanes)
        return any(entry.stuck is None for lane in lanes for entry in self._folder.owed(lane))

    @property
    def ready(self) -> bool:
        """Whether anything can be stood in for: a list of cards is in use."""
        return self._folder.cards is not None

    def owed_elsewhere(self, lane: int) -> bool:
        """Whether another process of this data folder has something of a lane to post: that comes first, for a while.

        Asked when a lane connects, as it does after every outage.
        """
        folder, now = self._folder, asyncio.get_running_loop().time()
        owed = False
        if not folder.holds_lock and (folder.path / JOURNAL).exists():
            with suppress(Refused):  # nobody posts what was changed
                kept = stand_in_folder.read_journal(folder.path, self._bank.audit_verify)
                cells = [entry.cell for entry in kept.entries.values() if entry.posted is None] if kept else []
                owed = lane in {cell % self._bank.row.lanes for cell in cells}
        since = self._waits_since.setdefault(lane, now) if owed else self._waits_since.pop(lane, now)
        return owed and now - since < ELSEWHERE_S

    def holds(self, lane: int, pan_index: bytes) -> bool:
        """Whether something of a card waits that could not be posted: nothing of it is decided before that is."""
        return any(entry.pan_index == pan_index for entry in self._folder.owed(lane))

    def status(self) -> dict[str, Any]:
        """For the status of the service."""
        return {"links": sorted(self._policies())} | stand_in_folder.status(self._folder, self._bank.now())

    async def decide(self, members: Sequence[Keyed], outage_s: float) -> dict[int, Outcome | None]:
        """What is told to those that are stood in for, by place; who is not there is told 91. None: no honest answer exists.

        A group's decisions are on disk before this returns. Raises KeysError; nothing has happened then.
        """
        told: dict[int, Outcome | None] = {}
        async with self._gate:
            cards, policies = self._folder.cards, self._policies()
            if cards is None:
                return told
            now = self._bank.now()
            age_s = (now - cards.header.made_at).total_seconds()
            moment = Moment(self._bank.business_date, age_s, outage_s)
            new: list[tuple[int, Entry]] = []
            candidates: list[_Candidate] = []
            for place, member in enumerate(members):
                known = self._folder.entries.get(member.message_key)
                if known is not None:
                    told |= _again(place, member, known)
                elif member.command.request.kind is RequestKind.REVERSAL:
                    entry = self._reversal(member, policies)
                    new += [] if entry is None else [(place, entry)]
                elif (
                    self._folder.count < ENTRIES_MAX
                    and (found := self._candidate(place, member, policies, moment)) is not None
                ):
                    candidates.append(found)
            new += self._with_pins(candidates)
            told |= await self._keep(new)
        return told

    async def post(self, lane: int, transact: Callable[[Sequence[Keyed]], Awaitable[list[Outcome]]]) -> bool:
        """Post what a lane owes, head first, one entry a card and group. False: the books are away again, and all else waits.

        TRANSACT: decide, write and commit a group; it raises ConnectionError where the commit's fate is not known. What cannot be
        posted for another reason is stuck: it stays, its card waits with it, and it is tried again later.
        """
        loop = asyncio.get_running_loop()
        if loop.time() >= self._again.get(lane, 0.0):
            for entry in self._folder.owed(lane):
                entry.stuck = None
        while entries := self._next(lane):
            try:
                await self._post_group(entries, transact)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is found out one by one
                if unreachable(error):
                    log.warning("stand_in.waits", lane=lane, error=type(error).__name__, cause=cause(error))
                    return False
                if not await self._one_by_one(lane, entries, transact):
                    return False
        return True

    async def run(self, nudge: Callable[[], None]) -> None:
        """Look after what waits and the list's age until cancelled. NUDGE: wakes the lanes, which post."""
        loop, again = asyncio.get_running_loop(), 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            if self._folder.waiting:
                nudge()
            async with self._gate:
                self._folder.write_marks()
            if loop.time() < again:
                continue
            try:
                await self._look()
            except DATABASE_ERRORS as error:  # a full disk too
                again = loop.time() + LIST_AGAIN_S
                log.warning("stand_in.list", error=type(error).__name__, cause=cause(error))
            except Exception:  # a bug must not end it: what waits is to be posted
                again = loop.time() + LIST_AGAIN_S
                log.exception("stand_in.failed")

    async def renew(self) -> bool:
        """Make a new list and put it to use, with a new journal. False: something was stood in for meanwhile.

        Raises OSError, KeysError, and what the database raises.
        """
        bank, folder = self._bank, self._folder
        count, made_at = folder.count, bank.now()
        today = await refresh_business_date(bank)
        async with reading(bank) as connection:
            rules = await policies_store.purse_rules(connection)
            new = folder.path / NEW_LIST
            await lists.write(connection, new, bank.audit_mac, bank.row.name, today, made_at, rules)
        cards = lists.CardList(new, bank.audit_verify)
        await asyncio.to_thread(cards.prove)
        async with self._gate:
            installed = folder.install(cards, count, made_at)
        log.info("stand_in.list", cards=cards.header.cards if installed else 0, installed=installed)
        return installed

    async def _look(self) -> None:
        """Make a new list where it is time for one."""
        folder, policies = self._folder, self._policies()
        if not policies or folder.broken or not folder.take() or folder.waiting or folder.broken:
            return
        every_s = min(RENEW_S, *(one.list_age_s / 3 for one in policies.values()))
        made_at = None if folder.cards is None else folder.cards.header.made_at
        if made_at is None or not 0 <= (self._bank.now() - made_at).total_seconds() < every_s:
            await self.renew()

    def _candidate(
        self, place: int, member: Keyed, policies: Mapping[str, StandInPolicy], moment: Moment
    ) -> _Candidate | None:
        """A request that every rule lets through, if its PIN is right. None: it is not stood in for, and why is in the log."""
        command, cards = member.command, self._folder.cards
        policy = policies.get(command.origin.link)
        if policy is None or command.card is not None or cards is None:  # card data is checked against the books
            return None
        card = cards.find(member.pan_index)
        since = self._folder.since(member.pan_index)
        repeat = command.origin.mti[3] in REPEATS
        verdict = judge(command.request, card, since, policy, cards.header.purse_rules, moment, repeat=repeat)
        if verdict.refused is not None or card is None or card.cell != member.cell:
            log.info("stand_in.refused", rule=str(verdict.refused), **_named(member))
            return None
        return _Candidate(place, member, card, tuple(rule.value for rule in verdict.asked))

    def _reversal(self, member: Keyed, policies: Mapping[str, StandInPolicy]) -> Entry | None:
        """A reversal of what was stood in for is accepted, and posted behind it. None: the partner comes again."""
        original = self._folder.entries.get(member.original_key or b"")
        if original is None or original.kind is not EntryKind.APPROVED or member.command.origin.link not in policies:
            return None
        if self._folder.count >= 2 * ENTRIES_MAX:
            return None
        if not reversal_fits(member.command.request, original.amount_idr, original.kept_idr):
            return None
        return self._entry(EntryKind.REVERSED, member, original.card_id, member.command.request.kept_idr, ())

    def _with_pins(self, candidates: Sequence[_Candidate]) -> list[tuple[int, Entry]]:
        """The PINs of all that the rules let through, in one call: right is approved, wrong is counted, anything else is left."""
        if not candidates:
            return []
        loaded = [_loaded(one.card, self._folder.since(one.member.pan_index).wrong_pins) for one in candidates]
        pins = check_pins(self._bank, [one.member.command for one in candidates], loaded)
        kinds = {PinOutcome.RIGHT: EntryKind.APPROVED, PinOutcome.WRONG: EntryKind.PIN_WRONG}
        return [
            (one.place, self._entry(kinds[pin], one.member, one.card.card_id, one.member.command.request.amount_idr, one.rules))
            for one, pin in zip(candidates, pins, strict=True)
            if pin in kinds
        ]  # fmt: skip

    def _entry(self, kind: EntryKind, member: Keyed, card_id: int, kept_idr: int, rules: tuple[str, ...]) -> Entry:
        """An entry without its number, which it gets with its place in the journal."""
        command = member.command
        wrong = kind is EntryKind.PIN_WRONG
        code = command.response_codes[DeclineReason.PIN_WRONG if wrong else DeclineReason.APPROVED]
        return Entry(
            0, kind, self._bank.now(), command.origin.link, member.cell, card_id, member.pan_index, member.message_key,
            command.request.content_digest, member.original_key, command.request.amount_idr, kept_idr, code,
            None, rules, seal_message(self._bank, member),
        )  # fmt: skip

    async def _keep(self, new: Sequence[tuple[int, Entry]]) -> dict[int, Outcome | None]:
        """Put decisions on disk, then tell them. Where the disk fails they have not happened, or nobody can know."""
        if not new:
            return {}
        for number, (_, entry) in enumerate(new, self._folder.count):
            entry.seq = number
            entry.approval = None if entry.kind is EntryKind.PIN_WRONG else self._folder.approval(number)
        try:
            await self._folder.append([entry for _, entry in new])
        except JournalBroken as error:
            log.error("stand_in.broken", why=str(error), restored=error.restored)  # noqa: TRY400 - no traceback wanted
            return {} if error.restored else {place: None for place, _ in new}
        for _, entry in new:
            log.info(
                "stand_in.decided", decided=entry.kind.value, link=entry.link, card_id=entry.card_id, number=entry.seq,
                amount_idr=entry.amount_idr, stand_in=entry.told().stand_in,
            )  # fmt: skip
        return {place: entry.told() for place, entry in new}

    def _next(self, lane: int) -> list[Entry]:
        """The entries that are posted next: the oldest of each card, but of cards with one that is stuck."""
        found: dict[bytes, Entry] = {}
        held: set[bytes] = set()
        for entry in self._folder.owed(lane):
            if entry.stuck is not None:
                held.add(entry.pan_index)
            elif entry.pan_index not in held:
                found.setdefault(entry.pan_index, entry)
            if len(found) >= self._bank.settings.group_max:
                break
        return list(found.values())

    async def _post_group(
        self, entries: Sequence[Entry], transact: Callable[[Sequence[Keyed]], Awaitable[list[Outcome]]]
    ) -> None:
        outcomes = await transact([to_post(self._bank, entry) for entry in entries])
        posted = [(entry, outcome.reason.value) for entry, outcome in zip(entries, outcomes, strict=True)]
        for entry, reason in posted:
            followed = entry.kind is not EntryKind.APPROVED or reason == DeclineReason.APPROVED.value
            tell = log.info if followed else log.error
            tell("stand_in.posted", number=entry.seq, card_id=entry.card_id, decided=entry.kind.value, reason=reason)
        async with self._gate:
            self._folder.mark_posted(posted)

    async def _one_by_one(
        self, lane: int, entries: Sequence[Entry], transact: Callable[[Sequence[Keyed]], Awaitable[list[Outcome]]]
    ) -> bool:
        """Find what keeps a group from being posted. False: the books are away again."""
        for entry in entries:
            try:
                await self._post_group([entry], transact)
            except Exception as error:  # noqa: BLE001 - whatever keeps it, its card waits and the others do not
                if unreachable(error):
                    return False
                entry.stuck = type(error).__name__
                self._again[lane] = asyncio.get_running_loop().time() + STUCK_S
                log.error("stand_in.stuck", number=entry.seq, card_id=entry.card_id, error=entry.stuck)  # noqa: TRY400 - as above
        return True


def _again(place: int, member: Keyed, known: Entry) -> dict[int, Outcome | None]:
    """The same message gets the same answer, another one under its key is refused; but an advice waits for the books."""
    command = member.command
    if command.request.content_digest == known.digest:
        return {place: known.told()._replace(replayed=True)}
    if command.origin.mti[2] == ADVICE:
        return {}
    reason = DeclineReason.KEY_REUSED
    return {place: Outcome(reason, command.response_codes[reason], None, None, replayed=True)}


def _loaded(card: ListedCard, wrong_pins: int) -> Loaded:
    """A card of the list as the PIN check wants it."""
    view = CardView(CardState.ACTIVE, card.expires_on, card.pin_tries_left - wrong_pins, AccountState.ACTIVE)
    return Loaded(
        Snapshot(view), card.account_id, card.card_id, card.pin_offset, card.pin_key_version, None, None, None, None, None,
        NO_TRANSFERS,
    )  # fmt: skip


def _named(member: Keyed) -> dict[str, object]:
    """A message, for the log: no card number, no terminal's text of its own choosing."""
    origin, request = member.command.origin, member.command.request
    return {"link": origin.link, "mti": origin.mti, "stan": origin.stan, "kind": request.kind.value}
