"""Twin of gateway.store.decided: what the chain says of a group, and that any change of a row is found."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.operations.bank import reading
from gateway.store import decided
from gateway.store.array_text import array_text
from gateway.store.authorisations import NewAuthorisation, write_parameters
from gateway.store.decided import COLUMNS, FIRST_DIGESTED, UNDIGESTED, group_digest
from tests.gateway.owner import as_owner, one_value, tamper
from tests.gateway.store.test_authorisations import NEW
from tests.gateway.street import open_street

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


def _digest(*rows: NewAuthorisation) -> str:
    return group_digest({name: array_text(list(values)) for name, values in write_parameters(rows).items()})


@pytest.mark.parametrize("name", COLUMNS)
def test_the_digest_holds_every_column(name: str) -> None:
    """Changing any part of an authorisation changes what the chain says of its group."""
    value = getattr(NEW, name)
    other = {int: 5, str: "other", bytes: b"o" * 16, list: [1, 2], date: date(2020, 1, 1), type(None): b"o" * 16}[
        type(value)
    ]
    change: dict[str, Any] = {name: other}
    assert _digest(NEW, NEW) == _digest(NEW._replace(), NEW)
    assert _digest(NEW, NEW) != _digest(NEW, NEW._replace(**change))


def test_what_changes_later_is_not_in_the_digest() -> None:
    """What is kept of an original, and how long a hold lasts."""
    assert set(UNDIGESTED) == set(NewAuthorisation._fields) - set(COLUMNS)
    assert _digest(NEW) == _digest(NEW._replace(kept_idr=[0], held_until=date(2026, 12, 1)))


def test_rows_do_not_flow_into_each_other() -> None:
    """The same texts cut in another place are another group."""
    one, two = NEW._replace(terminal="A1", merchant="M1"), NEW._replace(terminal="A1M", merchant="1")
    assert _digest(one) != _digest(two)
    assert _digest(NEW, NEW._replace(id=8)) != _digest(NEW._replace(id=8), NEW)


async def test_groups_of_the_first_version_still_hold(bank: Bank, tmp_path: Path) -> None:
    """A chain written before version 0.2 has a digest a row."""
    async with open_street(bank, tmp_path) as street:
        await street.atm.withdraw(street.card, 50_000)
    (row,) = await as_owner(bank, "SELECT * FROM authorisation")
    digest = hashlib.sha256(repr(FIRST_DIGESTED(row)).encode()).hexdigest()
    old = json.dumps({"decided": [[row.cell, row.id, digest]]})
    await as_owner(bank, "UPDATE audit_event SET detail = :old WHERE operation = 'authorise'", old=old)
    async with reading(bank) as connection:
        assert (1, None) == await decided.verify(connection)
    await as_owner(bank, "UPDATE authorisation SET terminal = 'OTHER'")
    async with reading(bank) as connection:
        assert (0, f"authorisation {row.id} was changed") == await decided.verify(connection)


async def test_rows_of_detached_months_are_not_looked_for(bank: Bank, tmp_path: Path) -> None:
    """Their events stand; nothing of them counts as removed."""
    async with open_street(bank, tmp_path) as street:
        await street.atm.withdraw(street.card, 50_000)
    number = await one_value(bank, "SELECT id FROM authorisation")
    await as_owner(bank, "DELETE FROM authorisation")
    today = bank.business_date
    async with reading(bank) as connection:
        assert f"authorisation {number} was removed" == (await decided.verify(connection)).wrong
        assert (0, None) == await decided.verify(connection, kept_since=today + timedelta(days=1))


async def test_a_row_that_no_event_names_is_found(bank: Bank, tmp_path: Path) -> None:
    """Somebody wrote an authorisation past the lanes."""
    async with open_street(bank, tmp_path) as street:
        await street.atm.withdraw(street.card, 50_000)
    number = await one_value(bank, "SELECT id FROM authorisation")
    stream = await one_value(bank, "SELECT stream FROM audit_event WHERE operation = 'authorise'")
    await tamper(bank, "audit_event", f"DELETE FROM audit_event WHERE stream = '{stream}'")
    async with reading(bank) as connection:
        assert f"authorisation {number} is in no chain" == (await decided.verify(connection)).wrong
