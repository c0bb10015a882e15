"""What a link proves and asks to be proved: MACs of its messages, their freshness, and keys that come over it.

The connection asks it whether a message is refused, how an answer is written, and who answers a change of keys; it knows nothing
else of keys. A MAC is checked over the bytes as they came, before any field is read. Refuses to know sockets and what a message
asks for. Read next: iso/mac.py (which bytes), gateway/operations/link_keys.py (changes of keys), docs/iso8583.md, "MAC".
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway import clock
from gateway.errors import Refused
from gateway.operations import link_keys
from gateway.rules.authorise import DeclineReason
from gateway.rules.key_turns import KeyTurns
from gateway.store.authorisations import ANSWERED_DAYS
from iso.codec import encode
from iso.errors import FormatError
from iso.mac import mac_field, mac_input, seal
from iso.response_codes import APPROVED, FORMAT_ERROR, INVALID_TRANSACTION, KEY_ERROR
from keys.errors import KeyRefused, KeysError
from keys.keytypes import Algorithm, KeyMode
from keys.permissions import Operation
from keys.toolbox import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.operations.bank import Bank
    from gateway.rules.key_turns import Asker
    from gateway.terminals.profile import Link
    from iso.dialect import Dialect
    from iso.message import Message
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

log = structlog.get_logger(__name__)

MISSING, WRONG, MISPLACED = "no MAC", "a wrong MAC", "a MAC that is not the last field"
NO_KEY, STALE = "a MAC, and no key verifies MACs today", "a DE7 that is too old or too new"
TOO_SOON = "a change of keys too soon after one that failed"
NOT_MADE = "a message of ours without its MAC"
MAC_FIELDS = frozenset({64, 128, 192})
MAC_BYTES = 8
DE7_DIGITS = 10
HALF_A_YEAR = timedelta(days=182)
REMEMBERED = timedelta(days=ANSWERED_DAYS - 1)
"""So long the answer to a message is known by its key, a day of grace taken off."""
TELL_EVERY_S = 60.0
"""Between two lines of the log that say that no MAC was made: whoever reaches the port could have one for each message."""
LOOK_EVERY_S = 1.0
"""How long the versions of a key are believed to be as they were: as often as the keystore is looked at."""
AES_PIN_FORMAT = 4


class _MacKey(NamedTuple):
    """A version that may work today, and how many bytes its MACs have."""

    handle: KeyHandle
    length: int


class LinkSecurity:
    """Of one link, as its profile says. REFUSED: messages, by reason, and ours without a MAC: counted on where it is given."""

    def __init__(
        self,
        link: Link,
        hsm: Hsm,
        bank: Bank | None = None,
        refused: Counter[str] | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """HSM has the keys. BANK: for what is kept and recorded; without it no key is changed over the link."""
        self.proves = link.mac != "off"
        self.refused: Counter[str] = Counter() if refused is None else refused
        self._link = link
        self._dialect = link.wire
        self._hsm = hsm
        self._bank = bank
        self._now = now
        self._turns = KeyTurns() if bank is None else bank.key_turns
        self._keys: list[_MacKey] = []
        self._keys_until = 0.0
        self._changing = False
        self._not_made, self._tell_at = 0, 0.0

    def refusal(self, message: Message, data: bytes) -> str | None:
        """DE39 for a message whose MAC is missing, misplaced or wrong, or that is too old; None where all is well.

        To be asked for every message before anything else of it is looked at, also for an answer to a request of ours, which is
        not to be believed where it is refused. DATA: the message as it came, without length and message header.
        """
        if not self.proves:
            return None
        number = mac_field(message)
        code = message.get(number)
        try:
            if code is not None:
                reason = self._look(message, data, code)
            elif _has_mac(message):
                reason = MISPLACED
            else:
                reason = MISSING if self._needs(message) else None
        except KeysError as error:  # the token is away: nothing can be said of the MAC
            log.error("mac.not_checked", link=self._link.name, mti=message.mti, error=str(error))  # noqa: TRY400 - one line
            return self._link.response_codes[DeclineReason.SYSTEM_ERROR]
        if reason is None:
            return None
        self._refuse(reason, Operation.VERIFY_MAC, str(self._link.mac_key))
        log.info("mac.refused", link=self._link.name, mti=message.mti, field=number, reason=reason)
        return self._link.mac_code

    def encode(self, message: Message, dialect: Dialect, request: Message | None) -> bytes:
        """Bytes of MESSAGE, with a MAC where the link wants one or REQUEST, which it answers, had one. None: we ask.

        Under the newest key that the partner has used; where there is none, without. Raises FormatError.
        """
        if not self.proves or not self._makes(message, request):
            return encode(message, dialect)
        try:
            newest = self._newest()
            if newest is not None:
                return seal(message, lambda data: self._hsm.mac(newest.handle, data).ljust(MAC_BYTES, b"\0"), dialect)
            error = "no key makes MACs today"
        except KeysError as refused:
            self._keys_until = 0.0
            error = str(refused)
        self._without(message, error)
        return encode(message, dialect)

    async def key_change(self, request: Message, asker: Asker | None = None) -> Message:
        """The answer to a change of keys (0800, DE70 101 or 161): with the check value of the new key, or why there is none.

        ASKER: the connection it came over, which rests after one that failed; None: none is kept waiting.
        """
        answer, field = request.response(), self._link.key_exchange_field
        zone, block = zone_of(self._link), request.get(field)
        if self._bank is None or zone is None:
            answer.fields[39] = INVALID_TRANSACTION
        elif block is None:
            answer.fields[39] = FORMAT_ERROR
        else:
            answer.fields[39], value = await self._change(self._bank, zone, block.strip(), asker)
            if value is not None:
                answer.fields[field] = value
        return answer

    async def _change(
        self, bank: Bank, zone: link_keys.Zone, block: str, asker: Asker | None
    ) -> tuple[str, str | None]:
        """DE39, and the check value of the key where it was taken in. One at a time: whoever asks meanwhile asks again."""
        attempts = self._turns.attempts(zone.link)
        later = self._link.response_codes[DeclineReason.SYSTEM_ERROR]
        if self._changing:
            return later, None
        if asker is not None and not attempts.may_try(asker, monotonic()):
            self._refuse(TOO_SOON, Operation.UNWRAP_KEY, zone.master_key)
            log.info("key.change.too_soon", link=zone.link)
            return later, None
        self._changing = True
        try:
            info = await link_keys.change(bank, zone, block)
        except (link_keys.NotNow, KeysError, SQLAlchemyError, OSError) as error:
            log.error("key.not_changed", link=zone.link, error=type(error).__name__)  # noqa: TRY400 - one line
            return later, None
        except Refused as error:
            self._refuse("a change of keys that was refused", Operation.UNWRAP_KEY, zone.master_key)
            log.warning("key.change.refused", link=zone.link, reason=str(error))
            if asker is not None:
                attempts.failed(asker, monotonic())
            return KEY_ERROR, None
        finally:
            self._changing, self._keys_until = False, 0.0
        if asker is not None:
            attempts.succeeded(asker)
        log.info("key.changed", link=zone.link, key_name=info.name, kcv=info.kcv.value)
        return APPROVED, info.kcv.value

    def _without(self, message: Message, error: str) -> None:
        """Count a message of ours that goes out without the MAC it should have; a line of the log tells of so many TIMES."""
        self.refused[NOT_MADE] += 1
        self._not_made += 1
        now = monotonic()
        if now >= self._tell_at:
            log.error("mac.not_made", link=self._link.name, mti=message.mti, error=error, times=self._not_made)
            self._not_made, self._tell_at = 0, now + TELL_EVERY_S

    def _needs(self, message: Message) -> bool:
        """Whether a message must have a MAC: where the link requires it, and of network management only as it says.

        Sign-on and the first change of keys come before there is a key: until one works, network management goes without.
        """
        if self._link.mac != "required":
            return False
        return message.mti[1] != "8" or (self._link.mac_network and self._newest() is not None)

    def _makes(self, message: Message, request: Message | None) -> bool:
        """Whether a message of ours gets a MAC: where it must have one, and where what it answers had one."""
        return (request is not None and _has_mac(request)) or self._needs(message)

    def _look(self, message: Message, data: bytes, code: str) -> str | None:
        """Why a message with a MAC is refused; None: it is right, and fresh."""
        try:
            covered, mac = mac_input(data, self._dialect), bytes.fromhex(code)
        except (FormatError, ValueError):
            return WRONG
        if not self._right(covered, mac):
            return WRONG if self._versions() else NO_KEY
        return None if self._fresh(message) else STALE

    def _right(self, covered: bytes, mac: bytes) -> bool:
        """Whether a MAC is right under any version that may work; the first time under a new one makes that the link's key."""
        for key in self._versions():
            try:
                right = self._hsm.verify_mac(key.handle, covered, mac[: key.length])
            except KeyRefused:  # suspended or ended within the last second
                self._keys_until = 0.0
                continue
            if right and not any(mac[key.length :]):
                self._turns.uses(key.handle, self._now())
                return True
        return False

    def _versions(self) -> list[_MacKey]:
        """The versions of the MAC key that may work today, newest first, and behind them those that wait for their first use."""
        if monotonic() >= self._keys_until:
            self._keys = []
            for handle in self._hsm.find_all(self._link.mac_key or ""):
                info = self._hsm.info(handle)
                length = info.attributes.mac_length or 0
                fits = info.usage in link_keys.MAC_USAGES and length in link_keys.MAC_LENGTHS
                if fits and info.mode is KeyMode.GENERATE_AND_VERIFY:
                    self._keys.append(_MacKey(handle, length))
            self._keys_until = monotonic() + LOOK_EVERY_S
        if not self._turns.pending:
            return self._keys
        return sorted(self._keys, key=lambda key: self._turns.is_pending(key.handle))

    def _newest(self) -> _MacKey | None:
        """The version to make MACs under: the newest that the partner has used. None: no key was agreed yet."""
        return next((key for key in self._versions() if not self._turns.is_pending(key.handle)), None)

    def _fresh(self, message: Message) -> bool:
        """Whether DE7 of a request (MMDDhhmmss, UTC) is near enough to our clock. Advices and reversals may be older."""
        if not message.is_request:
            return True
        limit_s = self._link.freshness_s
        age = _age(message.get(7, ""), self._now())
        if not limit_s:  # any time will do, but that a recorded message must not outlive its stored answer
            return age is None or abs(age) < REMEMBERED
        kept = message.mti[1] == "4" or message.mti[2] != "0"
        oldest_s = max(self._link.advice_freshness_s, limit_s) if kept else limit_s
        return age is not None and -timedelta(seconds=limit_s) <= age <= timedelta(seconds=oldest_s)

    def _refuse(self, reason: str, operation: Operation, key: str) -> None:
        """Count a refusal, and keep it for the audit chain, where its kind stands once a minute at most."""
        self.refused[reason] += 1
        if self._bank is not None:
            self._bank.refusals.note_of_peer(Refusal(key, operation, f"link {self._link.name} sent {reason}"))


def zone_of(link: Link) -> link_keys.Zone | None:
    """What may be changed over a link; None: nothing."""
    if link.zone_master_key is None:
        return None
    algorithm = Algorithm.AES if link.pin_format == AES_PIN_FORMAT else Algorithm.TDES
    pin_key = link.pin_key if link.pin_scheme == "zpk" else None
    return link_keys.Zone(
        link.name, link.zone_master_key, pin_key, algorithm, link.mac_key, link.key_overlap_s, link.key_pending_s,
        link.key_exchange_field, link.key_exchange_code,
    )  # fmt: skip


def _has_mac(message: Message) -> bool:
    """Whether a message has a MAC, right or wrong, in its place or not."""
    return not MAC_FIELDS.isdisjoint(message.fields)


def _age(transmitted: str, now: datetime) -> timedelta | None:
    """How long ago a DE7 was, which has no year: of the years around now, the nearest. None: it is no date and time."""
    if len(transmitted) != DE7_DIGITS or not transmitted.isdigit():
        return None
    parts = [int(transmitted[at : at + 2]) for at in range(0, DE7_DIGITS, 2)]
    nearest: timedelta | None = None
    for year in (now.year, now.year - 1, now.year + 1):
        with suppress(ValueError):
            month, day, hour, minute, second = parts
            age = now - datetime(year, month, day, hour, minute, second, tzinfo=UTC)
            nearest = age if nearest is None else min(nearest, age, key=abs)
        if nearest is not None and abs(nearest) < HALF_A_YEAR:
            break
    return nearest
