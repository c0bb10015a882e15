"""Tests of gateway.simulator.journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.simulator.errors import JournalError
from gateway.simulator.exchange import Exchange
from gateway.simulator.journal import Entry, Event, TerminalJournal, read_journal
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import Asked, Terminal, TerminalKind
from tests.gateway.simulator.fake_issuer import clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

CARD = make_wallet(1).cards[0]


def terminal() -> Terminal:
    """An ATM that makes messages and sends none."""
    return Switch("127.0.0.1", 9, clock=clock).terminal(make_pinpad(), TerminalKind.ATM, 1)


def test_every_event_is_on_disk_at_once(tmp_path: Path) -> None:
    """Lines can be read while the journal is still open."""
    request = terminal().request(Asked.CASH, CARD, 50_000)
    with TerminalJournal(tmp_path / "j") as journal:
        journal.sent(request)
        expected = Entry(
            Event.SENT, "0200", "000001", "1123173005", "A0000001", "000002", "632717000001", "010000", 50_000
        )
        assert [expected] == read_journal(tmp_path / "j")


def test_answer_and_its_lack_are_told_apart(tmp_path: Path) -> None:
    """ANSWERED has response and approval code, UNANSWERED neither."""
    request = terminal().request(Asked.CASH, CARD, 50_000)
    answer = request.response()
    answer.fields |= {38: "654321", 39: "00"}
    with TerminalJournal(tmp_path / "j") as journal:
        journal.ended(Exchange(request, answer, 1))
        journal.ended(Exchange(request, None, 1, "no answer"))
    told = [(entry.event, entry.code, entry.approval_code) for entry in read_journal(tmp_path / "j")]
    assert [(Event.ANSWERED, "00", "654321"), (Event.UNANSWERED, "", "")] == told


def test_reversal_names_its_original(tmp_path: Path) -> None:
    """Trace number, time and what stays taken."""
    atm = terminal()
    request = atm.request(Asked.CASH, CARD, 150_000)
    with TerminalJournal(tmp_path / "j") as journal:
        journal.sent(atm.reversal(request, 50_000))
    entry = read_journal(tmp_path / "j")[0]
    assert ("000001", "1123173005", 150_000, 50_000) == (
        entry.original_stan, entry.original_transmitted, entry.amount_idr, entry.kept_idr,
    )  # fmt: skip
    assert entry.stan == "000002"


def test_journal_holds_no_card_and_no_pin(tmp_path: Path) -> None:
    """Neither the number nor the PIN block."""
    request = terminal().request(Asked.CASH, CARD, 50_000)
    with TerminalJournal(tmp_path / "j") as journal:
        journal.sent(request)
    text = (tmp_path / "j").read_text()
    assert CARD.pan.reveal() not in text
    assert request.fields[52] not in text


def test_torn_last_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    """A crash of the terminal's own process loses only the line it was writing."""
    path = tmp_path / "j"
    request = terminal().request(Asked.CASH, CARD, 50_000)
    with TerminalJournal(path) as journal:
        journal.sent(request)
    with path.open("a") as file:
        file.write('{"event":"SE')
    assert len(read_journal(path)) == 1
    with TerminalJournal(path) as journal:
        journal.sent(request)
    assert len(read_journal(path)) == 2


@pytest.mark.parametrize("line", ["x", "{}", '{"event": "LOST"}', "[1]", '{"event": "SENT"}'])
def test_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    """File and number of the line."""
    (tmp_path / "j").write_text(line + "\n")
    with pytest.raises(JournalError, match="line 1 is damaged"):
        read_journal(tmp_path / "j")


def test_missing_and_binary_files_are_one_line(tmp_path: Path) -> None:
    """Both are a JournalError that names the file."""
    with pytest.raises(JournalError, match="No such file"):
        read_journal(tmp_path / "none")
    (tmp_path / "j").write_bytes(b"\xff\xfe\n")
    with pytest.raises(JournalError, match="is not text"):
        read_journal(tmp_path / "j")
