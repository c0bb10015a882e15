"""Tests of gateway.operations.opening_task. What comes of its rows in the database: test_opening.py."""

from __future__ import annotations

import os
import pickle
from datetime import date
from typing import TYPE_CHECKING

from gateway.operations.kpm_chunk import FamilyRecord, sealed_families
from gateway.operations.opening_task import RANDOM_BYTES, CardTerms, OpeningJob, OpeningTask
from gateway.rules.issuing import account_number
from gateway.store import copy_format as field

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

TERMS = CardTerms(date(2026, 11, 20), date(2031, 11, 30), 3)
TASK = OpeningTask(4, "BRI", 16, "601301", TERMS, {"PKH": (1, True), "SEMBAKO": (2, False)})
FAMILY = FamilyRecord(
    "1271074112900001", "aa" * 16, "1271070101080001", "bb" * 16, "cc" * 16, "SITI AMINAH", "NGATIYEM", "MEDAN", "1990-12-01",
    "P", "JL. A", "001", "002", "1271071008", "0812", "77", "PKH+SEMBAKO", '{"SD": 1}', "0014",
)  # fmt: skip


def test_each_family_gets_its_rows(bank: Bank) -> None:
    """One account, family and card each, an enrolment for each programme; secrets are sealed and ids are those given."""
    families = [FAMILY, FAMILY._replace(mother_name="", person_index="", programmes="SEMBAKO")]
    sealed = sealed_families(bank.vault, 4, 2, [2, 5], families)
    assert sealed is not None
    task: OpeningTask = pickle.loads(pickle.dumps(TASK))  # noqa: S301 - as for a worker
    made = task(bank.vault, OpeningJob(2, sealed, [33, 34], [8, 9], os.urandom(2 * RANDOM_BYTES)))
    assert ([2, 5], [33, 34], [8, 9]) == (made.lines, made.account_ids, made.card_ids)
    assert [
        field.text(account_number("BRI", "0014", one)) in row for one, row in zip([33, 34], made.accounts, strict=True)
    ]
    assert [b"ACTIVE" in made.accounts[0], b"PENDING_ID" in made.accounts[1]] == [True, True]
    assert [2, 1] == [
        row.count(field.row_start(5) + field.int8(one)) for one, row in zip([33, 34], made.enrolments, strict=True)
    ]
    assert [True, False] == [b'{"SD": 1}' in row for row in made.enrolments]
    assert 2 == len(set(made.pan_indexes)) == len(made.cards)
    assert all(index in row for index, row in zip(made.pan_indexes, made.cards, strict=True))
    whole = b"".join(made.accounts + made.families + made.enrolments + made.cards)
    assert [] == [secret for secret in (FAMILY.nik, FAMILY.no_kk, FAMILY.mother_name) if secret.encode() in whole]
