"""The rows of new accounts: a chunk's families sealed and numbered, as COPY takes them. Runs here or in a worker process.

It draws a card number for each; whether one was drawn before is for gateway.operations.opening to see, which knows the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.operations.kpm_chunk import opened_families
from gateway.rules.account import AccountState
from gateway.rules.card import CardState
from gateway.rules.issuing import account_number, cell_of_account, pan_for, serial_for
from gateway.rules.names import comparable
from gateway.store import copy_format as field
from keys.sensitive import Pan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.operations.kpm_chunk import FamilyRecord
    from keys.vault import Vault

ACCOUNT_COLUMNS = ("cell", "id", "number", "state", "branch", "region", "holder_name", "opened_on", "holder_comparable")
FAMILY_COLUMNS = ("id", "cell", "nik", "nik_index", "no_kk", "kk_index", "mother_name", "person_index", "name",
                  "birth_place", "birth_date", "sex", "address", "rt", "rw", "phone", "dtsen_id", "batch_id", "line")  # fmt: skip
ENROLMENT_COLUMNS = ("family_id", "programme", "components", "batch_id", "valid_from")
CARD_COLUMNS = ("cell", "account_id", "id", "pan", "pan_index", "pan_masked", "expires_on", "state", "pin_tries_left",
                "ordered_on", "replaces")  # fmt: skip
RANDOM_BYTES = 8  # of a card's number
_STATES = {state: field.text(state.value) for state in AccountState}
_ACCOUNT, _FAMILY, _ENROLMENT, _CARD = (
    field.row_start(len(columns)) for columns in (ACCOUNT_COLUMNS, FAMILY_COLUMNS, ENROLMENT_COLUMNS, CARD_COLUMNS)
)
_ORDERED = field.text(CardState.ORDERED.value)


@dataclass(frozen=True, slots=True)
class OpeningJob:
    """A chunk to be opened: its sealed families, and as many new ids and random numbers as there are families."""

    first_line: int
    family_record: bytes
    account_ids: list[int]
    card_ids: list[int]
    random: bytes


@dataclass(frozen=True, slots=True)
class NewAccounts:
    """The rows of a chunk, one a family in each list but ENROLMENTS, where a family may have several."""

    first_line: int
    lines: list[int]
    account_ids: list[int]
    card_ids: list[int]
    accounts: list[bytes]
    families: list[bytes]
    enrolments: list[bytes]
    cards: list[bytes]
    pan_indexes: list[bytes]


@dataclass(frozen=True, slots=True)
class CardTerms:
    """What every card ordered on a day has in common."""

    ordered_on: date
    expires_on: date
    pin_tries: int


@dataclass(frozen=True, slots=True)
class OpeningTask:
    """What is done with each chunk. PROGRAMMES: code -> number, and whether its components are kept."""

    batch_id: int
    bank: str
    cells: int
    card_bin: str
    terms: CardTerms
    programmes: Mapping[str, tuple[int, bool]]

    def __call__(self, vault: Vault, job: OpeningJob) -> NewAccounts:
        """Number, seal and draw card numbers."""
        made = NewAccounts(job.first_line, [], job.account_ids, job.card_ids, [], [], [], [], [])
        today = field.day(self.terms.ordered_on)
        seals, find = Seals(vault), vault.indexer("pan")
        told = opened_families(vault, self.batch_id, job.first_line, job.family_record)
        for place, (line, family) in enumerate(told):
            family_id = job.account_ids[place]
            cell = cell_of_account(family_id, self.cells)
            key = field.int2(cell), field.int8(family_id)
            made.lines.append(line)
            made.accounts.append(self._account(family, family_id, key, today))
            made.families.append(self._family(seals, family, family_id, key, line))
            made.enrolments.append(self._enrolments(family, key[1], today))
            number = int.from_bytes(job.random[place * RANDOM_BYTES : (place + 1) * RANDOM_BYTES], "big")
            pan = pan_for(self.card_bin, serial_for(number, cell, self.cells))
            index = find(pan)
            made.pan_indexes.append(index)
            made.cards.append(card_row(seals, self.terms, key, job.card_ids[place], pan, index))
        return made

    def _account(self, family: FamilyRecord, family_id: int, key: tuple[bytes, bytes], today: bytes) -> bytes:
        state = AccountState.ACTIVE if family.mother_name else AccountState.PENDING_ID
        number = account_number(self.bank, family.branch, family_id)
        return b"".join((
            _ACCOUNT, *key, field.text(number), _STATES[state], field.text(family.branch), field.text(family.region),
            field.text(family.name), today, field.text(comparable(family.name)),
        ))  # fmt: skip

    def _family(self, seals: Seals, family: FamilyRecord, family_id: int, key: tuple[bytes, bytes], line: int) -> bytes:
        mother, person = family.mother_name, family.person_index
        return b"".join((
            _FAMILY, key[1], key[0], field.raw(seals.nik(family.nik, family_id)),
            field.raw(bytes.fromhex(family.nik_index)), field.raw(seals.no_kk(family.no_kk, family_id)),
            field.raw(bytes.fromhex(family.kk_index)),
            field.raw(seals.mother_name(mother, family_id)) if mother else field.NULL,
            field.raw(bytes.fromhex(person)) if person else field.NULL, field.text(family.name),
            field.text(family.birth_place), field.day(date.fromisoformat(family.birth_date)), field.text(family.sex),
            field.text(family.address), field.text(family.rt), field.text(family.rw), field.text(family.phone),
            field.text(family.dtsen_id), _int8(self.batch_id), field.int4(line),
        ))  # fmt: skip

    def _enrolments(self, family: FamilyRecord, family_id: bytes, today: bytes) -> bytes:
        rows: list[bytes] = []
        for code in family.programmes.split("+"):
            number, counted = self.programmes[code]
            components = field.jsonb(family.components) if counted else _NO_COMPONENTS
            rows += (_ENROLMENT, family_id, field.int2(number), components, _int8(self.batch_id), today)
        return b"".join(rows)


class Seals:
    """What seals each column of a family and its card."""

    def __init__(self, vault: Vault) -> None:
        self.nik, self.no_kk, self.mother_name = (
            vault.sealer("family", column) for column in ("nik", "no_kk", "mother_name")
        )
        self.pan = vault.sealer("card", "pan")


def card_row(
    seals: Seals,
    terms: CardTerms,
    key: tuple[bytes, bytes],
    card_id: int,
    pan: str,
    index: bytes,
    replaces: int | None = None,
) -> bytes:
    """One ordered card. KEY: cell and account id as fields."""
    return b"".join((
        _CARD, *key, field.int8(card_id), field.raw(seals.pan(pan, card_id)), field.raw(index), field.text(Pan(pan).masked),
        field.day(terms.expires_on), _ORDERED, field.int2(terms.pin_tries), field.day(terms.ordered_on),
        field.int8_or_null(replaces),
    ))  # fmt: skip


_int8 = lru_cache(maxsize=16)(field.int8)
_NO_COMPONENTS = field.jsonb("{}")
