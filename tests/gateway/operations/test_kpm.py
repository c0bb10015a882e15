"""Tests of gateway.operations.kpm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import Refused
from gateway.operations import kpm
from gateway.simulator.families import write_kpm_list
from tests.gateway.world import CHECKER, MAKER, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_a_list_is_judged_and_opened(bank: Bank, tmp_path: Path) -> None:
    """Every accepted family gets one account and one card."""
    found = await open_families(bank, tmp_path, 20)
    assert len({one.account_number for one in found}) == 20


async def test_the_maker_cannot_approve(bank: Bank, tmp_path: Path) -> None:
    """The person who imported a list cannot approve it, however the name is written."""
    path = tmp_path / "list.csv"
    write_kpm_list(path, 5)
    summary = await kpm.import_list(bank, MAKER, path, "SK-1", bank.business_date)
    with pytest.raises(Refused, match="another person must approve"):
        await kpm.approve(bank, MAKER.upper(), summary.batch)
    assert (await kpm.approve(bank, CHECKER, summary.batch)).accepted == 5
