"""One thing that was stood in for: as the journal keeps it, and as the command that the lane posts when the books are back.

The message itself, with the card's number, is sealed for its own key; neither PIN block nor track is kept. Refuses to know files
(gateway.store.stand_in_journal) and when what is posted (stand_in.py).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.operations.authorise import AuthoriseCommand, Keyed, Origin, Outcome
from gateway.rules.authorise import DeclineReason, Request, RequestKind
from gateway.rules.purse import Channel, PurseChoice
from gateway.rules.stand_in import ISSUER_UNAVAILABLE, StoodIn
from keys.sensitive import Pan

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

TABLE, COLUMN = "stand_in", "message"
"""Where a message is sealed for, with its key in hex as the row."""
WHY = "STAND_IN: approved while the books were away"


class EntryKind(StrEnum):
    """What was told."""

    APPROVED = "APPROVED"
    PIN_WRONG = "PIN_WRONG"
    REVERSED = "REVERSED"  # a reversal of what was stood in for was accepted


@dataclass(slots=True)
class Entry:
    """One decision. CODE: DE39 as it was told; POSTED: what became of it in the books (a reason), None while it waits.

    STUCK: why it cannot be posted at all, for people; None: nothing keeps it. RULES: what was asked, in order.
    """

    seq: int
    kind: EntryKind
    at: datetime
    link: str
    cell: int
    card_id: int
    pan_index: bytes
    key: bytes
    digest: bytes
    original_key: bytes | None
    amount_idr: int
    kept_idr: int
    code: str
    approval: str | None
    rules: tuple[str, ...]
    sealed: bytes
    posted: str | None = None
    stuck: str | None = None

    def told(self) -> Outcome:
        """The answer that was given, for a repeat too."""
        reason = DeclineReason.PIN_WRONG if self.kind is EntryKind.PIN_WRONG else DeclineReason.APPROVED
        return Outcome(reason, self.code, self.approval, None, None, stand_in=ISSUER_UNAVAILABLE)

    def written(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {
            "seq": self.seq, "kind": self.kind.value, "at": self.at.isoformat(), "link": self.link, "cell": self.cell,
            "card": self.card_id, "pan_index": self.pan_index.hex(), "key": self.key.hex(), "digest": self.digest.hex(),
            "original": None if self.original_key is None else self.original_key.hex(), "amount_idr": self.amount_idr,
            "kept_idr": self.kept_idr, "code": self.code, "approval": self.approval, "rules": list(self.rules),
            "message": base64.b64encode(self.sealed).decode(),
        }  # fmt: skip


def read_entry(said: dict[str, Any]) -> Entry:
    """An entry that the journal kept."""
    original = said["original"]
    return Entry(
        said["seq"], EntryKind(said["kind"]), datetime.fromisoformat(said["at"]), said["link"], said["cell"], said["card"],
        bytes.fromhex(said["pan_index"]), bytes.fromhex(said["key"]), bytes.fromhex(said["digest"]),
        None if original is None else bytes.fromhex(original), said["amount_idr"], said["kept_idr"], said["code"],
        said["approval"], tuple(said["rules"]), base64.b64decode(said["message"]),
    )  # fmt: skip


def seal_message(bank: Bank, member: Keyed) -> bytes:
    """A message sealed for its key. Raises KeysError."""
    request, origin = member.command.request, member.command.origin
    said = {
        "request": [
            request.kind, request.channel, request.mcc, request.purse, request.amount_idr, request.content_digest.hex(),
            request.terminal, request.kept_idr,
        ],
        "origin": origin._asdict(),
        "pan": member.command.pan.reveal(),
    }  # fmt: skip
    text = json.dumps(said, default=str, separators=(",", ":"))
    return bank.vault.seal(text, table=TABLE, row=member.message_key.hex(), column=COLUMN)


def to_post(bank: Bank, entry: Entry) -> Keyed:
    """The command that posts an entry, under the key of its message. Raises KeysError where its message does not open.

    What was approved is forced, as an advice is; a wrong PIN is counted; a reversal gives back. All are told what was told then.
    """
    said = json.loads(bank.vault.open(entry.sealed, table=TABLE, row=entry.key.hex(), column=COLUMN))
    kind, channel, mcc, purse, amount, digest, terminal, kept = said["request"]
    approved = entry.kind is EntryKind.APPROVED
    request = Request(
        RequestKind(kind), Channel(channel), mcc, PurseChoice(purse), amount, bytes.fromhex(digest), terminal, kept,
        forced=approved,
    )  # fmt: skip
    stood_in = StoodIn(ISSUER_UNAVAILABLE, entry.approval, approved, entry.kind is EntryKind.PIN_WRONG)
    codes = dict.fromkeys(DeclineReason, entry.code)
    command = AuthoriseCommand(
        request, _origin(said["origin"]), Pan(said["pan"]), None, None, codes, why=WHY if approved else "", stand_in=stood_in
    )  # fmt: skip
    return Keyed(bank, command, entry.cell)


def _origin(said: dict[str, Any]) -> Origin:
    settled, original = said["settlement_date"], said["original"]
    return Origin(**said | {
        "original": None if original is None else tuple(original), "more_key": tuple(said["more_key"]),
        "settlement_date": None if settled is None else date.fromisoformat(settled),
    })  # fmt: skip
