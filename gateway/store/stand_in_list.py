"""The list of cards for stand-in: written from the database in the order of the PAN index, found in by bisection, never changed.

Records of one length, one a card that may be spent with and has money: PAN index (16 bytes), cell (2), account (8), card (8),
expiry (4: days since 2000), PIN tries left (2), version of the PIN verification key (2), offset (12, spaces behind), and what can
be spent of each programme of the header (8 each); numbers big-endian. PostgreSQL makes the records, so none is an object here.
Behind them a footer: JSON with header and its MAC, the footer's length (4), a mark (8). The header has the records' SHA-256. No
PAN and no name is in it. Refuses to know keys: MAC and its verification are given. Read next: gateway.operations.stand_in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import mmap
import os
import struct
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from gateway.errors import Refused
from gateway.rules.purse import Channel, Purse, PurseRule
from gateway.rules.stand_in import ListedCard
from keys.master import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

FORMAT = 1
MARK = b"KKSLIST\x01"
PURPOSE = b"kks stand-in list\x00"
INDEX_BYTES = 16
FIRST_DAY = date(2000, 1, 1)
AT_ONCE = 5_000  # records fetched and written at once
FOOTER_MOST = 1 << 20
_FIXED = struct.Struct(">16shqqihh12s")
_LENGTH = struct.Struct(">I")


class ListHeader(NamedTuple):
    """What a list says of itself. ID: its MAC in hex, by which a journal names it."""

    id: str
    bank: str
    business_date: date
    made_at: datetime
    cards: int
    programmes: tuple[int, ...]
    purse_rules: tuple[PurseRule, ...]


async def write(
    connection: AsyncConnection,
    path: Path,
    mac: Callable[[bytes], bytes],
    bank: str,
    today: date,
    made_at: datetime,
    purse_rules: Sequence[PurseRule],
) -> ListHeader:
    """Write a list of what CONNECTION's snapshot has to PATH, which nobody reads yet; place() puts it where it belongs.

    MADE_AT: no later than the snapshot. Mode 0600. Raises OSError, and what the database raises.
    """
    programmes = tuple(sorted({rule.programme for rule in purse_rules})) or (0,)
    drop(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        digest, cards = hashlib.sha256(), 0
        found = await connection.stream(
            _records(programmes), {"today": today}, execution_options={"yield_per": AT_ONCE}
        )
        async for rows in found.partitions(AT_ONCE):
            chunk = b"".join([row[0] for row in rows])
            cards += len(rows)
            digest.update(chunk)
            file.write(chunk)
        header = {
            "format": FORMAT, "bank": bank, "business_date": today, "made_at": made_at.isoformat(), "cards": cards,
            "programmes": programmes, "purse_rules": [_told(rule) for rule in purse_rules], "sha256": digest.hexdigest(),
        }  # fmt: skip
        body = json.dumps(header, default=str, separators=(",", ":"), sort_keys=True)
        footer = json.dumps({"header": body, "mac": mac(PURPOSE + body.encode()).hex()}).encode()
        file.write(footer + _LENGTH.pack(len(footer)) + MARK)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    return _header(body, json.loads(footer)["mac"])


def place(new: Path, path: Path) -> None:
    """Put a list that was written in the place of the one before: a reader finds the one or the other. Raises OSError."""
    new.replace(path)
    sync_folder(path.parent)


class CardList:
    """An open list, in the memory of the file system. close() lets it go."""

    def __init__(self, path: Path, verify: Callable[[bytes, bytes], bool]) -> None:
        """Open, and check what proves it; prove() checks the records. VERIFY: whether data (first) has this MAC (second).

        Raises Refused where there is none, it is damaged, was changed, or is of another bank.
        """
        self._path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise Refused(f"{path}: no list of cards ({getattr(error, 'strerror', None) or 'empty'})") from None
        try:
            self.header = self._checked(verify)
        except BaseException:
            self._map.close()
            raise

    def prove(self) -> None:
        """Whether every record is as it was written. It asks no key, and may run in a thread. Raises Refused."""
        with memoryview(self._map) as view, view[: self.header.cards * self._size] as records:
            if hashlib.sha256(records).hexdigest() != self._digest:
                raise Refused(f"{self._path}: was changed")

    def find(self, pan_index: bytes) -> ListedCard | None:
        """The card whose number has this index; None where the list has none."""
        low, high, size = 0, self.header.cards, self._size
        while low < high:
            middle = (low + high) // 2
            if self._map[middle * size : middle * size + INDEX_BYTES] < pan_index:
                low = middle + 1
            else:
                high = middle
        at = low * size
        if low == self.header.cards or self._map[at : at + INDEX_BYTES] != pan_index:
            return None
        _, cell, account, card, days, tries, version, offset = _FIXED.unpack_from(self._map, at)
        amounts = struct.unpack_from(f">{len(self.header.programmes)}q", self._map, at + _FIXED.size)
        available = dict(zip(self.header.programmes, amounts, strict=True))
        expires = FIRST_DAY + timedelta(days=days)
        return ListedCard(cell, account, card, expires, tries, version, offset.decode().rstrip(), available)

    def close(self) -> None:
        """Let the file go."""
        self._map.close()

    def _checked(self, verify: Callable[[bytes, bytes], bool]) -> ListHeader:
        whole, behind = len(self._map), _LENGTH.size + len(MARK)
        if whole < behind or self._map[whole - len(MARK) :] != MARK:
            raise Refused(f"{self._path}: is no list of cards, or is not whole")
        (length,) = _LENGTH.unpack_from(self._map, whole - behind)
        records = whole - behind - length
        if length > FOOTER_MOST or records < 0:
            raise Refused(f"{self._path}: is no list of cards, or is not whole")
        try:
            footer = json.loads(self._map[records : whole - behind])
            body, mac = footer["header"], bytes.fromhex(footer["mac"])
            proved = verify(PURPOSE + body.encode(), mac)
        except (ValueError, TypeError, KeyError, AttributeError):
            proved = False
        if not proved:
            raise Refused(f"{self._path}: was changed, or is another bank's")
        said: dict[str, Any] = json.loads(body)
        if said["format"] != FORMAT:
            raise Refused(f"{self._path}: is of format {said['format']}, this version reads {FORMAT}")
        header = _header(body, footer["mac"])
        self._size = _FIXED.size + 8 * len(header.programmes)
        self._digest = said["sha256"]
        if records != header.cards * self._size:
            raise Refused(f"{self._path}: was changed")
        return header


def drop(path: Path) -> None:
    """Take a list away that was not put to use."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _header(body: str, mac: str) -> ListHeader:
    said = json.loads(body)
    rules = tuple(
        PurseRule(
            one[0], Purse(one[1]), Channel(one[2]), one[3], one[4], date.fromisoformat(one[5]),
            None if one[6] is None else date.fromisoformat(one[6]),
        )
        for one in said["purse_rules"]
    )  # fmt: skip
    return ListHeader(
        mac, said["bank"], date.fromisoformat(said["business_date"]), datetime.fromisoformat(said["made_at"]), said["cards"],
        tuple(said["programmes"]), rules,
    )  # fmt: skip


def _told(rule: PurseRule) -> list[object]:
    return [rule.programme, rule.purse, rule.channel, rule.mcc, rule.priority, rule.valid_from, rule.valid_to]


def _records(programmes: Sequence[int]) -> Any:  # noqa: ANN401 - a statement
    """A record a card: of active cards with a PIN, of active accounts, with something that can be spent today."""
    sums = ", ".join(
        f"CAST(coalesce(sum(t.available_idr) FILTER (WHERE t.programme = {int(number)}), 0) AS bigint) AS p{int(number)}"
        for number in programmes
    )
    parts = " || ".join(f"int8send(s.p{int(number)})" for number in programmes)
    named = ", ".join(str(int(number)) for number in programmes)
    return text(f"""
        SELECT c.pan_index || int2send(c.cell) || int8send(c.account_id) || int8send(c.id)
               || int4send(c.expires_on - DATE '{FIRST_DAY}') || int2send(c.pin_tries_left)
               || int2send(CAST(c.pin_key_version AS smallint)) || convert_to(rpad(c.pin_offset, 12), 'UTF8') || {parts}
        FROM card c JOIN account a ON a.cell = c.cell AND a.id = c.account_id,
        LATERAL (
            SELECT {sums}, sum(t.available_idr) AS whole FROM tranche t
            WHERE t.cell = c.cell AND t.account_id = c.account_id AND t.available_idr > 0 AND t.state = 'OPEN'
              AND t.available_from <= :today AND t.programme IN ({named})) s
        WHERE c.state = 'ACTIVE' AND a.state = 'ACTIVE' AND c.pin_offset IS NOT NULL AND c.pin_key_version IS NOT NULL
          AND c.pin_tries_left > 0 AND c.expires_on >= :today AND s.whole > 0
        ORDER BY c.pan_index
    """)
