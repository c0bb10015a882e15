"""Tests of gateway.cli.days: closing days, and looking back."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from gateway.simulator.families import write_kpm_list

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.shell import Shell


def test_days_are_closed_listed_and_verified(shell: Shell) -> None:
    """After the jobs; before them, and for a day that is not past, one line says why not."""
    today = shell.json("day", "show")["business_date"]
    first, second = (str(date.fromisoformat(today) + timedelta(days=n)) for n in (1, 2))
    assert {"days": []} == shell.json("day", "close")
    assert f"{today} cannot be closed yet" in shell.refused("day", "close", "--date", today)
    shell.json("day", "move", second)
    assert f"{today} is not closed: " in shell.refused("day", "close", "--as", "siti")
    assert "(`kks job catch-up` does what is missing)" in shell.refused("day", "close")
    assert {"mode": "full", "since": None} == _mode(shell.json("ledger", "proof"))
    shell.json("job", "catch-up")
    listed = shell.json("day", "list")["days"]
    assert [(first, "CLOSED", "jobs"), (today, "CLOSED", "jobs")] == [
        (one["business_date"], one["state"], one["actor"]) for one in listed
    ]
    assert {"transfers", "amount_idr", "day_hash", "chain_hash", "closed_at"} <= set(listed[0])
    assert 1 == len(shell.json("day", "list", "--limit", "1")["days"])
    assert listed[0]["chain_hash"][:16] in shell.text("day", "list")
    assert {"ok": True, "days": 2, "first_wrong": None, "detail": ""} == shell.json("day", "verify")
    assert "1 closed days are as they were closed." in shell.text("day", "verify", "--from", first, "--to", first)
    assert {"mode": "incremental", "since": first} == _mode(shell.json("ledger", "proof"))
    assert {"mode": "full", "since": None} == _mode(shell.json("ledger", "proof", "--full"))
    assert f"since the close of {first}" in shell.text("ledger", "proof")
    assert f"{first} is closed" in shell.refused("day", "move", first)
    assert "--from" in shell.refused("day", "verify", "--from", "yesterday")
    assert "--date" in shell.refused("day", "close", "--date", "soon")


def _mode(found: dict[str, object]) -> dict[str, object]:
    assert found["ok"]
    return {name: found[name] for name in ("mode", "since")}


def test_looking_back(shell: Shell, tmp_path: Path) -> None:
    """Balances and statements of an account without money, of a control account; what is not there is one line."""
    write_kpm_list(tmp_path / "kpm.csv", 2, seed=3)
    batch = shell.json(
        "kpm", "import", str(tmp_path / "kpm.csv"), "--sk-no", "SK-1", "--sk-date", "2026-10-01", "--as", "ani"
    )
    shell.json("batch", "approve", str(batch["batch"]), "--as", "budi")
    number = shell.json("card", "show", "1")["cards"][0]["account"]
    today = shell.json("day", "show")["business_date"]
    assert {"account": number, "programmes": {}, "tranches": []} == shell.json("account", "balance", number)
    for words in (("--on", today), ("--at", f"{today}T10:00"), ("--at", f"{today}T10:00:00+00:00")):
        assert f"Account {number}" in shell.text("account", "balance", number, *words)
    assert "give one of them" in shell.refused("account", "balance", number, "--on", today, "--at", today)
    assert "--at: 'noon' is not an instant" in shell.refused("account", "balance", number, "--at", "noon")
    found = shell.json("account", "statement", number, "--programme", "PKH")
    nothing = {"available_idr": 0, "held_idr": 0, "frozen_idr": 0}
    assert ([], nothing, nothing) == (found["lines"], found["opening"], found["closing"])
    assert "closing balance" in shell.text("account", "statement", number, "--from", today, "--to", today)
    assert "there is no programme X" in shell.refused("account", "statement", number, "--programme", "X")
    assert "there is no account 9" in shell.refused("account", "statement", "9")
    none = shell.json("ledger", "balance", "rpl", "--on", today)
    assert {"control": "rpl", "on": today, "balance_idr": 0, "programmes": {}} == none
    assert "Rp0" in shell.text("ledger", "balance", "programme-fund")
    assert "there is no control account x" in shell.refused("ledger", "balance", "x")
    wrong = ("account", "correct", number, "--transfer", "7", "--reason", "a letter")
    assert "two different people" in shell.refused(*wrong, "--as", "ani")
    assert "has no transfer 7" in shell.refused(*wrong, "--as", "ani", "--checker", "budi")
    assert "--amount" in shell.refused(*wrong, "--as", "ani", "--checker", "budi", "--amount", "-5")
    shell.usage("account", "correct", number)
