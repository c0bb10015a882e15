"""One chunk of a KPM list: judged row by row, indexed, packed and sealed, ready to be stored. Runs here or in a worker process.

What is stored of a chunk: the rows as they stood in the file, for the result file; the accepted families as they will be
opened; both sealed for their list and line; and, of each row, what finds duplicates and tells its findings (kpm_row).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.files.columns import named_values
from gateway.files.packed import pack
from gateway.rules.kpm import check_row
from gateway.rules.names import comparable
from gateway.store import copy_format as field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from gateway.files.blocks import Block
    from gateway.rules.findings import Finding
    from gateway.rules.kpm import KpmFamily, KpmPolicy
    from keys.vault import Vault

ROW_COLUMNS = ("batch_id", "line", "state", "nik_index", "kk_index", "person_index", "programmes", "findings")
_START = field.row_start(len(ROW_COLUMNS))
_REJECTED, _ACCEPTED = field.text("REJECTED"), field.text("ACCEPTED")
_NO_FINDINGS, _NO_PROGRAMMES = field.jsonb("[]"), field.text_array(())
_NO_INDEXES = field.NULL * 3


class FamilyRecord(NamedTuple):
    """A family as it is sealed with its chunk until its account is opened: all texts, in this order."""

    nik: str
    nik_index: str  # hexadecimal
    no_kk: str
    kk_index: str
    person_index: str  # "" where the mother's name is not known
    name: str
    mother_name: str
    birth_place: str
    birth_date: str  # as 1990-12-31
    sex: str
    address: str
    rt: str
    rw: str
    region: str
    phone: str
    dtsen_id: str
    programmes: str  # PKH+SEMBAKO
    components: str  # JSON
    branch: str


_FIELD_END, _FAMILY_END = "\x1f", "\x1e"  # characters that no normalised text holds


@dataclass(frozen=True, slots=True)
class KpmChunk:
    """A chunk as it is stored. KPM_ROWS: a COPY into kpm_row."""

    first_line: int
    last_line: int
    rows: int
    record: bytes
    families: int
    family_record: bytes | None
    kpm_rows: bytes


@dataclass(frozen=True, slots=True)
class KpmTask:
    """What is done with each block of a list."""

    batch_id: int
    columns: tuple[str, ...]
    rules: KpmPolicy
    on: date

    def __call__(self, vault: Vault, job: Block) -> KpmChunk:
        """Judge, index, pack and seal."""
        lines: list[int] = []
        cells: list[tuple[str, ...]] = []
        stored: list[bytes] = []
        accepted: list[int] = []
        families: list[FamilyRecord] = []
        start = _START + field.int8(self.batch_id)
        find = Finders(vault)
        for row in job.rows():
            values, numeric = named_values(self.columns, row)
            checked = check_row(values, on=self.on, policy=self.rules, numeric=numeric, surplus=row.surplus)
            family = checked.family
            lines.append(row.line)
            cells.append(row.cells)
            findings = field.jsonb(_as_json(checked.findings)) if checked.findings else _NO_FINDINGS
            if family is None:
                parts = (start, field.int4(row.line), _REJECTED, _NO_INDEXES, _NO_PROGRAMMES, findings)
            else:
                nik, kk, person = find.indexes(family)
                accepted.append(row.line)
                families.append(family_texts(family, nik, kk, person))
                parts = (start, field.int4(row.line), _ACCEPTED, field.raw(nik) + field.raw(kk) + field.raw_or_null(person),
                         field.text_array(family.programmes), findings)  # fmt: skip
            stored.append(b"".join(parts))
        first, last = job.first_line, lines[-1] if lines else job.first_line
        record = vault.seal(pack(lines, cells), **record_place(self.batch_id, first))
        sealed = sealed_families(vault, self.batch_id, first, accepted, families)
        return KpmChunk(first, last, len(lines), record, len(families), sealed, field.payload(stored))


class Finders:
    """What a family is found by."""

    def __init__(self, vault: Vault) -> None:
        self._nik, self._no_kk, self._person = (vault.indexer(purpose) for purpose in ("nik", "no_kk", "person"))

    def indexes(self, family: KpmFamily) -> tuple[bytes, bytes, bytes | None]:
        """Of NIK, No KK, and the person where the mother's name is known."""
        person = None
        if family.mother_name:
            told = f"{comparable(family.name)}|{family.birth_date}|{comparable(family.mother_name)}"
            person = self._person(told)
        return self._nik(family.nik), self._no_kk(family.no_kk), person


def family_texts(family: KpmFamily, nik: bytes, kk: bytes, person: bytes | None) -> FamilyRecord:
    """A family's record."""
    return FamilyRecord(
        family.nik, nik.hex(), family.no_kk, kk.hex(), person.hex() if person else "", family.name, family.mother_name,
        family.birth_place, family.birth_date.isoformat(), family.sex.value, family.address, family.rt, family.rw,
        family.region, family.phone, family.dtsen_id, "+".join(family.programmes),
        _counted(tuple(family.components.items())), family.branch,
    )  # fmt: skip


def sealed_families(
    vault: Vault, batch_id: int, first_line: int, lines: list[int], families: list[FamilyRecord]
) -> bytes | None:
    """The accepted families of a chunk, sealed; None where there is none."""
    if not families:
        return None
    told = [f"{line}{_FIELD_END}{_FIELD_END.join(family)}" for line, family in zip(lines, families, strict=True)]
    whole = _FAMILY_END.join(told)
    if whole.count(_FIELD_END) != len(lines) * len(FamilyRecord._fields) or whole.count(_FAMILY_END) != len(lines) - 1:
        raise ValueError("a normalised text holds a control character")
    return vault.seal(whole, **families_place(batch_id, first_line))


def opened_families(vault: Vault, batch_id: int, first_line: int, sealed: bytes) -> Iterator[tuple[int, FamilyRecord]]:
    """Line and record of each family of a chunk."""
    for told in vault.open(sealed, **families_place(batch_id, first_line)).split(_FAMILY_END):
        line, *texts = told.split(_FIELD_END)
        yield int(line), FamilyRecord(*texts)


def record_place(batch_id: int, first_line: int) -> dict[str, Any]:
    """What a chunk's rows are sealed for."""
    return {"table": "kpm_chunk", "row": f"{batch_id}:{first_line}", "column": "record"}


def families_place(batch_id: int, first_line: int) -> dict[str, Any]:
    """What a chunk's families are sealed for."""
    return {"table": "kpm_chunk", "row": f"{batch_id}:{first_line}", "column": "family_record"}


@lru_cache(maxsize=4_096)
def _counted(components: tuple[tuple[str, int], ...]) -> str:
    return json.dumps(dict(components))


def _as_json(findings: Iterable[Finding]) -> str:
    return json.dumps([
        {"code": one.code.value, "column": one.column, "shown": one.shown, "mend": one.mend, "severity": one.severity.value}
        for one in findings
    ])  # fmt: skip
