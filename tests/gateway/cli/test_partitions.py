"""Tests of gateway.cli.partitions: `kks db partitions` and `kks db retire`. What they do: tests/gateway/operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gateway.cli.shell import Shell


def test_partitions_are_listed(shell: Shell) -> None:
    """Each month of each table with rows, size and state."""
    today = shell.json("day", "show")["business_date"]
    found = shell.json("db", "partitions")["partitions"]
    here = [one for one in found if one["month"] == today[:7]]
    assert [f"transfer_{today[:7].replace('-', '_')}", f"authorisation_{today[:7].replace('-', '_')}"] == [
        one["table"] for one in here
    ]
    assert {"table", "month", "rows", "bytes", "state"} == set(here[0])
    assert ["open"] * 2 == [one["state"] for one in here]
    assert "ahead" in shell.text("db", "partitions")


def test_what_is_to_be_detached(shell: Shell) -> None:
    """On a young bank nothing; a month within the retention and a wrong word are one line."""
    assert {"months": [], "waits": "no day is closed", "dry_run": True} == shell.json("db", "retire", "--dry-run")
    told = shell.text("db", "retire", "--as", "siti")
    assert "No month is to be detached." in told
    assert "Then: no day is closed." in told
    assert "only months before" in shell.refused("db", "retire", "--before", "2099-01")
    assert "--before: 'May' is not a month like 2016-01" == shell.refused("db", "retire", "--before", "May")
