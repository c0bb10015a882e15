"""Tests of gateway.measure.torture.terminals: messages and what they mean."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING

from gateway.measure.torture.terminals import TerminalPost, make_terminals, other_content
from gateway.rules.authorise import RequestKind
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.wallet import Wallet, strangers
from gateway.terminals.links_file import read_links
from gateway.terminals.mapping import to_command
from tests.gateway.measure.torture.model import DAY

if TYPE_CHECKING:
    from gateway.measure.torture.terminals import Sent
    from gateway.operations.authorise import AuthoriseCommand
    from gateway.simulator.wallet import TestCard

NOW = dt.datetime(2026, 1, 5, 3, 4, 5, tzinfo=dt.UTC)


def _terminals() -> tuple[list[TerminalPost], TestCard]:
    wallet = Wallet((), "zpk", (bytes(range(1, 17)), bytes(range(31, 47))))
    return make_terminals(pinpad_of(wallet), lambda: NOW, lambda: DAY), next(strangers((), random.Random(1)))


def _command(sent: Sent) -> AuthoriseCommand:
    """What the bank's own mapping reads in it; no PIN is looked at."""
    return to_command(sent.message, read_links(None).first, None)  # type: ignore[arg-type]


def test_the_bank_reads_what_was_meant() -> None:
    """Each kind, its channel, amount, terminal and the message it names."""
    posts, card = _terminals()
    shop = posts[4]
    cash = posts[0].request("CASH", card, 50_000, purse="CASH")
    hold = shop.request("HOLD", card, 70_000)
    done = shop.request("COMPLETION", card, 60_000, original=hold)
    goods = shop.request("PURCHASE", card, 20_000)
    refund = shop.request("REFUND", card, 10_000, original=goods)
    back = shop.reversal(hold, 30_000)
    for sent in (cash, hold, done, goods, refund, back):
        command = _command(sent)
        request, said = command.request, sent.said
        assert (said.kind, said.channel, said.amount_idr) == (
            request.kind.value,
            request.channel.value,
            request.amount_idr,
        )
        assert (said.key.stan, said.key.transmitted, said.kept_idr) == (
            command.origin.stan, command.origin.transmitted, request.kept_idr
        )  # fmt: skip
        named = command.origin.original
        assert (None if said.original is None else (said.original.kind, said.original.stan)) == (named and named[:2])
        if request.kind in (RequestKind.CASH, RequestKind.PURCHASE, RequestKind.HOLD):
            assert said.terminal == request.terminal
    assert len({sent.said.key for sent in (cash, hold, done, goods, refund, back)}) == 6


def test_other_content_under_the_same_key() -> None:
    """The amount differs, what makes the message one message does not."""
    posts, card = _terminals()
    first = posts[0].request("CASH", card, 50_000)
    other = other_content(first, 60_000)
    assert first.said.key == other.said.key
    assert first.said.content != other.said.content
    assert (60_000, 50_000) == (_command(other).request.amount_idr, _command(first).request.amount_idr)


def test_a_message_in_words() -> None:
    """Without a card number."""
    posts, card = _terminals()
    sent = posts[4].request("PURCHASE", card, 50_000, pin_right=False, purse="FOOD")
    assert "PURCHASE 500000 at W0000005 Rp50,000 FOOD, wrong PIN" == str(sent)
    assert "REVERSAL 500001 of 500000 at W0000005 Rp50,000 keeping Rp10,000 BY_RULE" == str(
        posts[4].reversal(sent, 10_000)
    )
